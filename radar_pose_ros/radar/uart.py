"""Points from a radar board's own firmware, over the two serial ports that it has on USB.

Commands go to one port (115,200 baud), and packets come from the other (921,600 baud). Boards are
found by the USB ids of what makes the ports: the XDS110 of the BOOST boards, whose first port is
for commands and whose second, "auxiliary", one is for data, and the CP2105 of ISK and AOP modules,
whose "enhanced" port is for commands and whose "standard" one is for data. On both the command
port has the lower USB interface number.
"""

from __future__ import annotations

import errno
import grp
import logging
import math
import os
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import serial
from serial.tools import list_ports

from radar_pose_ros.radar.frame_queue import FrameQueue
from radar_pose_ros.radar.points import PointFrame
from radar_pose_ros.radar.ports import PortError, SerialConfigPort
from radar_pose_ros.radar.tlv import TlvStatistics, TlvStream

AUTO = "auto"
DATA_BAUD = 921_600
_GATHER_S = 0.002
USB_BRIDGES = {(0x0451, 0xBEF3): "XDS110", (0x10C4, 0xEA70): "CP2105"}

_log = logging.getLogger(__name__)


class BoardPorts(NamedTuple):
    """The serial ports of one board, and what makes them."""

    bridge: str
    serial_number: str
    command_port: str
    data_port: str


def find_boards(ports: Iterable[Any] | None = None) -> list[BoardPorts]:
    """Radar boards on USB, by their ids.

    Parameters
    ----------
    ports : iterable of ListPortInfo, optional
        Those of this machine by default.
    """
    groups: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for port in list_ports.comports() if ports is None else ports:
        bridge = USB_BRIDGES.get((port.vid, port.pid))
        device, _, interface = (port.location or "").partition(":")
        number = interface.rpartition(".")[2]
        if bridge is not None and number.isdigit():
            found = groups.setdefault((bridge, port.serial_number or "", device), [])
            found.append((int(number), port.device))
    return [
        BoardPorts(bridge, number, sorted(found)[0][1], sorted(found)[1][1])
        for (bridge, number, _), found in sorted(groups.items())
        if len(found) == 2
    ]


def resolve_ports(
    data_port: str, command_port: str, boards: Sequence[BoardPorts] | None = None
) -> tuple[str, str]:
    """Data and command port, where "auto" stands for those of the only board on USB.

    Raises
    ------
    PortError
        If there is none, or more than one.
    """
    if AUTO not in (data_port, command_port):
        return data_port, command_port
    boards = find_boards() if boards is None else boards
    if not boards:
        known = " or ".join(
            f"{name} {vendor:04x}:{product:04x}" for (vendor, product), name in USB_BRIDGES.items()
        )
        raise PortError(
            f"no radar board was found on USB ({known}): is it connected and powered? Else name "
            "its ports"
        )
    if len(boards) > 1:
        listed = "; ".join(
            f"{b.bridge} {b.serial_number}: commands {b.command_port}, data {b.data_port}"
            for b in boards
        )
        raise PortError(f"{len(boards)} radar boards are on USB, name the ports of one: {listed}")
    return (
        boards[0].data_port if data_port == AUTO else data_port,
        boards[0].command_port if command_port == AUTO else command_port,
    )


@dataclass(frozen=True)
class UartStatistics:
    """What a source has done so far.

    Parameters
    ----------
    stream : TlvStatistics
        Bytes and packets.
    frames_delivered : int
        Frames that were read.
    frames_overwritten : int
        Frames that were dropped because newer ones came before they were read.
    frames_queued : int
        Frames waiting to be read.
    """

    stream: TlvStatistics
    frames_delivered: int = 0
    frames_overwritten: int = 0
    frames_queued: int = 0


class UartPointSource:
    """Points from a radar board over its data port; a `FrameSource` of `PointFrame`.

    A thread of its own reads the port from `open` to `close`, every 2 ms while bytes come, which
    costs a fraction of waking up for each. A frame's time is when the last byte of its magic word
    was read: nothing is taken off for the radar's own work, which is done by then, nor for the way
    through USB.

    Parameters
    ----------
    data_port : str
        A path such as /dev/ttyACM1, or "auto".
    command_port : str
        A path such as /dev/ttyACM0, or "auto"; "" if something else starts the radar.
    commands : sequence of str
        What `start` sends.
    velocity_step_mps : float
        See `TlvStream`.
    baud : int
        Of the data port.
    queue_frames : int
        Frames kept for the reader; the newest win.
    clock : callable
        Gives the times of frames.
    """

    def __init__(
        self,
        data_port: str = AUTO,
        command_port: str = "",
        commands: Sequence[str] = (),
        *,
        velocity_step_mps: float = math.nan,
        baud: int = DATA_BAUD,
        queue_frames: int = 8,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if commands and not command_port:
            raise ValueError("commands need a command_port")
        if command_port == data_port != AUTO:
            raise ValueError(f"{data_port} cannot be both: commands and data have a port each")
        self._wanted = data_port, command_port
        self._data_port = self._command_port = ""
        self._commands = tuple(commands)
        self._baud = baud
        self._clock = clock
        self._stream = TlvStream(velocity_step_mps)
        self._serial: serial.Serial | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._radar_on = False

        self._queue: FrameQueue[PointFrame] = FrameQueue(queue_frames)

    def __enter__(self) -> UartPointSource:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -------------------------------------------------------------- life

    def open(self) -> None:
        """Find and open the data port, and start the reader thread.

        Raises
        ------
        PortError
            If there is no such port, or it may not be used.
        """
        if self._thread is not None:
            return
        self._data_port, self._command_port = resolve_ports(*self._wanted)
        try:
            self._serial = serial.Serial(self._data_port, self._baud, timeout=0.1, exclusive=True)
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise PortError(f"{self._data_port}: {_reason(self._data_port, error)}") from error
        self._queue.open()
        self._closing = False
        self._thread = threading.Thread(
            target=self._read_port, name=f"points {self._data_port}", daemon=True
        )
        self._thread.start()

    def start(self) -> None:
        """Let the radar begin, if there are commands for it.

        Raises
        ------
        PortError
            If it does not take them.
        """
        if self._thread is None:
            raise PortError("the source is not open")
        if self._commands:
            with SerialConfigPort(self._command_port) as port:
                port.send(self._commands)
            self._radar_on = True

    def stop(self) -> None:
        """Let the radar end, if it was started here; frames that came can still be read.

        Raises
        ------
        PortError
            If it does not answer.
        """
        if self._radar_on:
            self._radar_on = False
            with SerialConfigPort(self._command_port, total_timeout_s=1.0) as port:
                port.send(["sensorStop"])

    def close(self) -> None:
        """Stop the thread and close the port. Never raises."""
        self._closing = True
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5.0)
        opened, self._serial = self._serial, None
        if opened is not None:
            try:
                opened.close()
            except (serial.SerialException, OSError, termios.error) as error:
                _log.debug("closing %s: %s", self._data_port, error)
        self._radar_on = False
        self._queue.close()

    # -------------------------------------------------------------- frames

    def read(self, timeout_s: float) -> PointFrame | None:
        """The oldest frame not yet read, or None if none came in time or the source is closed.

        Raises
        ------
        PortError
            If the port was lost.
        """
        return self._queue.get(timeout_s)

    def frames(self) -> Iterator[PointFrame]:
        """Frames until `close`."""
        while self._thread is not None or self._queue:
            frame = self.read(timeout_s=0.5)
            if frame is not None:
                yield frame

    @property
    def statistics(self) -> UartStatistics:
        """Counts so far."""
        return UartStatistics(
            stream=self._stream.statistics,
            frames_delivered=self._queue.delivered,
            frames_overwritten=self._queue.overwritten,
            frames_queued=len(self._queue),
        )

    # -------------------------------------------------------------- inside

    def _read_port(self) -> None:
        """The reader thread."""
        opened = self._serial
        assert opened is not None
        self._stream.clear()
        try:
            while not self._closing:
                data = opened.read(1)
                if not data:
                    continue
                data += opened.read(opened.in_waiting)
                frames = self._stream.feed(data, self._clock())
                if frames:
                    self._queue.put(PointFrame(f.number, f.time_s, f.points) for f in frames)
                time.sleep(_GATHER_S)
        except (serial.SerialException, OSError, termios.error) as error:
            self._queue.fail(
                PortError(
                    f"{self._data_port}: was lost ({error}), is the radar still connected and "
                    "powered?"
                )
            )


def _reason(port: str, error: BaseException) -> str:
    """Why a port cannot be opened, and what may help."""
    number = getattr(error, "errno", None)
    if number is None and isinstance(error.__context__, termios.error):
        number = error.__context__.args[0]
    if number == errno.ENOENT:
        return "there is no such port, is the radar connected and powered?"
    if number == errno.EACCES:
        try:
            group = grp.getgrgid(os.stat(port).st_gid).gr_name
        except (OSError, KeyError):
            group = "dialout"
        return f"no permission; sudo usermod -aG {group} $USER, then log in again"
    if number in (errno.EBUSY, errno.EAGAIN):
        return "is in use by another program"
    if number in (errno.ENOTTY, errno.EINVAL):
        return "is no serial port"
    return str(error)
