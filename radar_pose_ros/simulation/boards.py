"""Emulated boards: a capture card on UDP and a radar's command line on a pseudo-terminal.

They speak the protocols of the real ones through real sockets and a real terminal device, so that
whatever drives real boards can be run, tested and disturbed without any.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.dca1000 import (
    BYTE_COUNT_MODULUS,
    DATA_HEADER_BYTES,
    FPGA_TICKS_PER_US,
    SEQUENCE_MODULUS,
    STATUS_FAILURE,
    STATUS_SUCCESS,
    USUAL_PAYLOAD_BYTES,
    Command,
    PacketError,
    SystemStatus,
    decode_command,
    encode_reply,
    fpga_config,
    packet_interval_s,
)
from radar_pose_ros.radar.ports import refuse_many
from radar_pose_ros.radar.ti_config import ARGUMENTS, WITHOUT_EFFECT, parse_cfg

FPGA_VERSION_STATUS = 0x0402  # 2.8 in record mode, as a real card answers

_log = logging.getLogger(__name__)

_HEADER = np.dtype([("sequence", "<u4"), ("count_low", "<u4"), ("count_high", "<u2")])
_BURST_S = 0.001  # packets that are due within this time are sent at once

Frame = npt.NDArray[np.int16]
Packet = bytes | memoryview


@dataclass
class Faults:
    """What happens to packets on their way, and an exact account of it.

    Probabilities are per packet. The order of the packets is the only input, so the same seed
    disturbs the same stream in the same way.

    Parameters
    ----------
    loss : float
        Probability that a packet is lost.
    burst_loss, burst_packets
        Probability that a burst of losses begins, and its length.
    duplicate : float
        Probability that a packet arrives twice.
    reorder, reorder_window
        Probability that a packet is delayed, and by how many packets at most.
    restart_before_frames : sequence of int
        Frames (counted from 0 by the emulated card) before which the counters start again.
    seed : int
        Of the random numbers.
    """

    loss: float = 0.0
    burst_loss: float = 0.0
    burst_packets: int = 1
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_window: int = 64
    restart_before_frames: Sequence[int] = ()
    seed: int = 0

    packets: int = field(default=0, init=False)
    packets_lost: int = field(default=0, init=False)
    bytes_lost: int = field(default=0, init=False)  # payload, without headers
    packets_duplicated: int = field(default=0, init=False)
    packets_delayed: int = field(default=0, init=False)
    restarts: int = field(default=0, init=False)
    bytes_forgotten: int = field(default=0, init=False)  # waited for a full packet at a restart

    def __post_init__(self) -> None:
        for name in ("loss", "burst_loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")
        if self.burst_packets < 1 or self.reorder_window < 1:
            raise ValueError("burst_packets and reorder_window must be at least 1")
        self._random = np.random.default_rng(self.seed)
        self._burst_left = 0
        self._waiting: list[tuple[int, int, Packet]] = []  # (due after packet, tie-break, packet)
        self._order = itertools.count()

    @property
    def active(self) -> bool:
        """Whether any packet may be touched."""
        return any((self.loss, self.burst_loss, self.duplicate, self.reorder))

    def apply(self, packets: Iterable[Packet]) -> list[Packet]:
        """The packets that arrive now, in order of arrival.

        Parameters
        ----------
        packets : iterable of data packets
            The next ones of the stream. Delayed ones are kept until they are due, or `drain`.
        """
        arrived: list[Packet] = []
        for packet in packets:
            number = self.packets
            self.packets += 1
            lose, burst, duplicate, delay = self._random.random(4)
            if not self._burst_left and burst < self.burst_loss:
                self._burst_left = self.burst_packets
            if self._burst_left or lose < self.loss:
                self._burst_left -= self._burst_left > 0
                self.packets_lost += 1
                self.bytes_lost += len(packet) - DATA_HEADER_BYTES
            else:
                copies = 1
                if duplicate < self.duplicate:
                    copies = 2
                    self.packets_duplicated += 1
                for _ in range(copies):
                    due = number
                    if delay < self.reorder:
                        due += int(self._random.integers(1, self.reorder_window + 1))
                        self.packets_delayed += 1
                    heapq.heappush(self._waiting, (due, next(self._order), packet))
            while self._waiting and self._waiting[0][0] <= number:
                arrived.append(heapq.heappop(self._waiting)[2])
        return arrived

    def drain(self) -> list[Packet]:
        """The packets still delayed: nothing comes after them."""
        arrived = [packet for _, _, packet in sorted(self._waiting, key=lambda w: w[:2])]
        self._waiting.clear()
        return arrived


class PacketStream:
    """Cuts frames into data packets as the card does: by size, without regard to frames.

    Parameters
    ----------
    payload_bytes : int
        Payload of each packet; even.
    sequence, byte_count : int
        Counters of the first packet.
    """

    def __init__(
        self,
        payload_bytes: int = USUAL_PAYLOAD_BYTES,
        *,
        sequence: int = 1,
        byte_count: int = 0,
    ) -> None:
        if payload_bytes < 2 or payload_bytes % 2:
            raise ValueError(f"a payload holds whole 16-bit values, got {payload_bytes} bytes")
        self.payload_bytes = payload_bytes
        self._first = (sequence, byte_count)
        self.restart()

    def restart(self) -> None:
        """Start counting again; what is not yet sent is forgotten."""
        self.sequence, self.byte_count = self._first
        self.made = 0  # packets
        self._rest = np.empty(0, np.uint8)

    @property
    def bytes_held(self) -> int:
        """Bytes that wait for a packet to be full."""
        return len(self._rest)

    def place(self, packet: Packet) -> int:
        """Return which packet since the start it is, from 1."""
        sequence = int.from_bytes(packet[:4], "little")
        return (sequence - self._first[0]) % SEQUENCE_MODULUS + 1

    def packets(self, frame: Frame) -> npt.NDArray[np.uint8]:
        """Packets that this frame fills, headers included.

        Parameters
        ----------
        frame : int16 (n,)
            Samples in the card's order.

        Returns
        -------
        uint8 (packets, 10 + payload_bytes)
            One packet per row. What does not fill a packet is held for the next frame.
        """
        samples = np.ascontiguousarray(frame, "<i2").reshape(-1).view(np.uint8)
        data = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        count = len(data) // self.payload_bytes
        self._rest = data[count * self.payload_bytes :].copy()
        return self._build(data[: count * self.payload_bytes].reshape(count, self.payload_bytes))

    def flush(self) -> npt.NDArray[np.uint8]:
        """The last, short packet, if anything is held; shape (0 or 1, ...)."""
        rest, self._rest = self._rest, np.empty(0, np.uint8)
        return self._build(rest.reshape(min(len(rest), 1), len(rest)))

    def _build(self, payloads: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        number, size = payloads.shape
        packets = np.empty((number, DATA_HEADER_BYTES + size), np.uint8)
        steps = np.arange(number, dtype=np.int64)
        counts = (self.byte_count + steps * size) % BYTE_COUNT_MODULUS
        headers = np.empty(number, _HEADER)
        headers["sequence"] = (self.sequence + steps) % SEQUENCE_MODULUS
        headers["count_low"] = counts & 0xFFFFFFFF
        headers["count_high"] = counts >> 32
        packets[:, :DATA_HEADER_BYTES] = headers.view(np.uint8).reshape(number, DATA_HEADER_BYTES)
        packets[:, DATA_HEADER_BYTES:] = payloads
        self.made += number
        self.sequence = (self.sequence + number) % SEQUENCE_MODULUS
        self.byte_count = (self.byte_count + number * size) % BYTE_COUNT_MODULUS
        return packets


@dataclass(frozen=True)
class CardStatistics:
    """What an emulated card has done since it was opened.

    Parameters
    ----------
    frames_sent : int
        Frames that went out while recording.
    packets_sent, bytes_sent : int
        Packets that were given to the network, and their payload; duplicates count twice.
    packets_unsent : int
        Packets that the network did not get: the cable was unplugged, or nobody listened.
    packets_untold : int
        Packets after the last one of their stream that was sent: nothing tells the host that they
        are missing. Without reordering, all other packets that were made and not sent are a gap
        in the numbers of those that were.
    frames_slipped : int
        Frames that began more than half a period late.
    commands : int
        Commands answered.
    """

    frames_sent: int
    packets_sent: int
    bytes_sent: int
    packets_unsent: int
    packets_untold: int
    frames_slipped: int
    commands: int


def _frames_of(frames: Iterable[Frame] | Callable[[], Frame | None]) -> Iterator[Frame]:
    if not callable(frames):
        yield from frames
        return
    while (frame := frames()) is not None:
        yield frame


def split_packets(packets: npt.NDArray[np.uint8]) -> list[memoryview]:
    """Rows of an array of packets, each as bytes, without copying."""
    number, size = packets.shape
    if packets.size == 0:
        return []
    flat = packets.reshape(-1).data
    return [flat[index * size : (index + 1) * size] for index in range(number)]


class EmulatedDca1000:
    """A DCA1000EVM: answers commands and streams frames as the card does.

    It streams while the radar is on (`start_radar`) and the card records (commands record start
    and record stop). As on the card, bytes that do not fill a packet wait for the next frame, or
    for record stop.

    Parameters
    ----------
    frames : iterable of int16 (n,), or callable returning one
        Samples of the frames, in the card's order. Asked for one frame at a time, ahead of need,
        by the sending thread. When an iterable ends, or a callable returns None, so does the
        radar.
    data_address : (address, port)
        Where data goes: the host.
    config_address : (address, port)
        Where this card listens for commands; port 0 picks one (see `config_address`).
    faults : Faults, optional
        What to do to the packets.
    frame_period_s : float
        From frame to frame.
    active_time_s : float
        Time within a frame during which the radar delivers samples. The card sends no faster than
        its packet delay allows, nor than the radar delivers.
    payload_bytes : int
        Payload of a packet.
    paced : bool
        If False, frames go out as fast as they can.
    radar_on : bool
        Whether the radar is on from the beginning.
    on_frame : callable, optional
        Called in the sending thread with (number, time.time()) as a frame begins.

    Attributes
    ----------
    plugged : bool
        Whether the network cable is in. While it is not, packets go nowhere and commands do not
        come; card and radar go on.
    """

    def __init__(
        self,
        frames: Iterable[Frame] | Callable[[], Frame | None],
        data_address: tuple[str, int],
        config_address: tuple[str, int],
        faults: Faults | None = None,
        *,
        frame_period_s: float = 0.1,
        active_time_s: float = 0.0276,
        payload_bytes: int = USUAL_PAYLOAD_BYTES,
        paced: bool = True,
        radar_on: bool = True,
        on_frame: Callable[[int, float], None] | None = None,
    ) -> None:
        refuse_many("config_address", config_address[0])
        self._frames = _frames_of(frames)
        self._data_address = data_address
        self._config_address = config_address
        self.faults = Faults() if faults is None else faults
        self._frame_period_s = frame_period_s
        self._active_time_s = active_time_s
        self._paced = paced
        self._on_frame = on_frame
        self._packet_interval_s = packet_interval_s(25.0)
        self._stream = PacketStream(payload_bytes)

        self._state = threading.Condition()  # guards what follows
        self._radar_on = radar_on
        self._recording = False
        self._restart = False
        self._closing = False
        self._busy = False  # the sending thread is within a frame

        self._data: socket.socket | None = None
        self._control: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._threads: list[threading.Thread] = []
        self._frames_sent = self._packets_sent = self._bytes_sent = 0
        self._slipped = self._commands = 0
        self._unsent = self._untold = 0
        self._told = 0  # place of the last packet of this stream that was sent
        self._recorded = False
        self.plugged = True

    # -------------------------------------------------------------- life

    def open(self) -> None:
        """Bind the sockets and begin to answer.

        Raises
        ------
        OSError
            If an address cannot be used.
        """
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._control.bind(self._config_address)
            self._data.bind((self._config_address[0], 0))
            # Connected sockets save the kernel a route look-up per packet.
            self._data.connect(self._data_address)
        except OSError:
            self._control.close()
            self._data.close()
            raise
        self._wake = socket.socketpair()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._answer, name="emulated card: commands", daemon=True),
            threading.Thread(target=self._send_frames, name="emulated card: data", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Fall silent and close the sockets."""
        with self._state:
            self._closing = True
            self._state.notify_all()
        if self._wake is not None:
            self._wake[1].close()
        for thread in self._threads:
            thread.join(timeout=5.0)
        self._threads = []
        for opened in (self._data, self._control, *(self._wake or ())):
            if opened is not None:
                opened.close()
        self._data = self._control = self._wake = None

    def __enter__(self) -> EmulatedDca1000:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def config_address(self) -> tuple[str, int]:
        """Where this card listens for commands."""
        return self._config_address if self._control is None else self._control.getsockname()

    @property
    def card_data_address(self) -> tuple[str, int]:
        """Where its data comes from; only while open."""
        if self._data is None:
            raise RuntimeError("the emulated card is not open")
        return self._data.getsockname()

    @property
    def statistics(self) -> CardStatistics:
        """Counts so far."""
        return CardStatistics(
            frames_sent=self._frames_sent,
            packets_sent=self._packets_sent,
            bytes_sent=self._bytes_sent,
            packets_unsent=self._unsent,
            packets_untold=self._untold + max(self._stream.made - self._told, 0),
            frames_slipped=self._slipped,
            commands=self._commands,
        )

    # -------------------------------------------------------------- the radar on the card

    def start_radar(self) -> None:
        """Let frames begin, as sensorStart does."""
        with self._state:
            self._radar_on = True
            self._state.notify_all()

    def stop_radar(self) -> None:
        """Let frames end after the current one, as sensorStop does."""
        with self._state:
            self._radar_on = False
            self._state.notify_all()

    def restart(self) -> None:
        """Let counters start again with the next frame, as when card or radar are reset."""
        with self._state:
            self._restart = True

    def wait_sent(self, frames: int, timeout_s: float) -> bool:
        """Wait until that many frames went out; False if they did not in time."""
        with self._state:
            return self._state.wait_for(
                lambda: self._frames_sent >= frames and not self._busy, timeout_s
            )

    # -------------------------------------------------------------- commands

    def _answer(self) -> None:
        """The thread that answers commands."""
        assert self._control is not None and self._wake is not None
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake[0], select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._wake[0].fileno() in ready:
                return
            try:
                datagram, host = self._control.recvfrom(2048)
                command, data = decode_command(datagram)
            except (OSError, PacketError) as error:
                _log.debug("emulated card: not a command, %s", error)
                continue
            if not self.plugged:
                continue
            self._commands += 1
            try:
                self._control.sendto(encode_reply(command, self._obey(command, data)), host)
                if command == Command.RECORD_STOP and self._finish_recording():
                    self._control.sendto(
                        encode_reply(Command.SYSTEM_STATUS, SystemStatus.RECORD_COMPLETED), host
                    )
            except OSError as error:
                _log.debug("emulated card: reply not sent, %s", error)

    def _obey(self, command: int, data: bytes) -> int:
        """Carry a command out; returns its status."""
        if command == Command.READ_FPGA_VERSION:
            return FPGA_VERSION_STATUS
        if command not in set(Command):
            return STATUS_FAILURE
        if command == Command.CONFIGURE_FPGA:
            # Only what a two-lane radar can deliver; a write to the timer is free.
            return STATUS_SUCCESS if data[:5] == fpga_config()[:5] else STATUS_FAILURE
        if command == Command.CONFIGURE_PACKET:
            ticks = int.from_bytes(data[2:4], "little")
            if len(data) != 6 or ticks == 0:
                return STATUS_FAILURE
            self._packet_interval_s = packet_interval_s(ticks / FPGA_TICKS_PER_US)
        with self._state:
            if command in (Command.RESET_FPGA, Command.RECORD_START):
                self._recording = False
                self._state.wait_for(lambda: not self._busy, 2.0)
                self._restart_stream()
                self._recorded = False
            if command == Command.RECORD_START:
                self._recording = True
            if command == Command.RECORD_STOP:
                self._recording = False
            self._state.notify_all()
        return STATUS_SUCCESS

    def _finish_recording(self) -> bool:
        """Send what is held. False if nothing was recorded at all."""
        with self._state:
            self._state.wait_for(lambda: not self._busy, 2.0)
            if not self._recorded:
                return False
            packets: list[Packet] = [*split_packets(self._stream.flush())]
            if self.faults.active:
                packets = self.faults.apply(packets) + self.faults.drain()
            self._send_all(packets)
            self._recorded = False
            return True

    # -------------------------------------------------------------- data

    def _send_frames(self) -> None:
        """The thread that streams."""
        due_s: float | None = None
        for number, frame in enumerate(self._frames):
            with self._state:
                if not (self._radar_on and self._recording):
                    due_s = None
                self._state.wait_for(lambda: self._closing or (self._radar_on and self._recording))
                now_s = time.monotonic()
                if due_s is None or not self._paced:
                    due_s = now_s
                elif now_s > due_s + 0.5 * self._frame_period_s:
                    self._slipped += 1
                    due_s = now_s
                if self._state.wait_for(lambda: self._closing, max(due_s - now_s, 0.0)):
                    return
                if not (self._radar_on and self._recording):
                    continue
                self._busy = True
            if self._restart or number in self.faults.restart_before_frames:
                self._restart = False
                self._send_all(self.faults.drain())
                self.faults.restarts += 1
                self.faults.bytes_forgotten += self._stream.bytes_held
                self._restart_stream()
            if self._on_frame is not None:
                self._on_frame(number, time.time())
            self._send_frame(frame, due_s)
            due_s += self._frame_period_s
            with self._state:
                self._busy = False
                self._frames_sent += 1
                self._state.notify_all()
        with self._state:
            self._radar_on = False
            self._state.notify_all()

    def _restart_stream(self) -> None:
        self._untold += max(self._stream.made - self._told, 0)
        self._told = 0
        self._stream.restart()

    def _send_frame(self, frame: Frame, start_s: float) -> None:
        packets: Sequence[Packet] = split_packets(self._stream.packets(frame))
        self._recorded = True
        interval_s = max(self._packet_interval_s, self._active_time_s / max(len(packets), 1))
        if self.faults.active:
            packets = self.faults.apply(packets)
        burst = max(int(_BURST_S / interval_s), 1) if self._paced else max(len(packets), 1)
        for first in range(0, len(packets), burst):
            wait_s = start_s + first * interval_s - time.monotonic()
            if self._paced and wait_s > 0:
                time.sleep(wait_s)
            self._send_all(packets[first : first + burst])
            if self._closing:
                return

    def _send_all(self, packets: Sequence[Packet]) -> None:
        assert self._data is not None
        send = self._data.send
        if not self.plugged:
            self._unsent += len(packets)
            return
        last: Packet | None = None
        for packet in packets:
            try:
                send(packet)
            except ConnectionRefusedError:
                # Nobody listens; the error belongs to an earlier packet, this one was not sent.
                try:
                    send(packet)
                except OSError:
                    self._unsent += 1
                    continue
            except OSError as error:
                _log.debug("emulated card: packet not sent, %s", error)
                self._unsent += 1
                continue
            self._packets_sent += 1
            self._bytes_sent += len(packet) - DATA_HEADER_BYTES
            last = packet
        if last is not None:
            self._told = max(self._told, self._stream.place(last))


class EmulatedRadarCli:
    """The command line of a radar with the SDK's demo firmware, on a pseudo-terminal.

    It echoes what it gets, answers ``Done`` or ``Error -1``, and shows its prompt. ``sensorStart``
    succeeds if the commands so far make a usable configuration.

    Parameters
    ----------
    on_start : callable, optional
        Called with the `RadarConfig` at ``sensorStart``.
    on_stop : callable, optional
        Called at ``sensorStop``, if the sensor was started.
    device : str
        See `parse_cfg`.
    """

    PROMPT = "mmwDemo:/>"

    def __init__(
        self,
        on_start: Callable[[RadarConfig], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        device: str = "IWR1843",
    ) -> None:
        self._on_start = on_start
        self._on_stop = on_stop
        self._device = device
        self._lines: list[str] = []
        self._running = False
        self._master: int | None = None
        self._slave: int | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self.commands: list[str] = []
        """Every command received."""

    def open(self) -> None:
        """Make the terminal and begin to answer."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._wake = socket.socketpair()
        self._thread = threading.Thread(
            target=self._serve, name="emulated radar: command line", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Vanish, as when the cable is pulled."""
        if self._wake is not None:
            self._wake[1].close()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        for descriptor in (self._master, self._slave):
            if descriptor is not None:
                os.close(descriptor)
        if self._wake is not None:
            self._wake[0].close()
        self._master = self._slave = self._wake = self._thread = None

    def __enter__(self) -> EmulatedRadarCli:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> str:
        """Path of the terminal, to be used like a serial port; only while open."""
        if self._slave is None:
            raise RuntimeError("the emulated radar is not open")
        return os.ttyname(self._slave)

    @property
    def running(self) -> bool:
        """Whether the sensor is started."""
        return self._running

    def _serve(self) -> None:
        assert self._master is not None and self._wake is not None
        poller = select.poll()
        poller.register(self._master, select.POLLIN)
        poller.register(self._wake[0], select.POLLIN)
        pending = b""
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if self._wake[0].fileno() in ready:
                return
            pending += os.read(self._master, 4096)
            *lines, pending = pending.replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                text = line.decode("ascii", errors="replace").strip()
                if not text:
                    continue
                answer = self._obey(text)
                reply = f"{text}\r\n{answer}\r\n\r\n{self.PROMPT}".encode()
                try:
                    os.write(self._master, reply)
                except BlockingIOError:
                    continue  # nobody reads; a serial line loses what it sends then, too

    def _obey(self, text: str) -> str:
        """Carry a command out; returns the answer."""
        if text.startswith("%"):
            return "Done"
        self.commands.append(text)
        name, *words = text.split()
        if name not in ARGUMENTS and name not in WITHOUT_EFFECT:
            return f"'{name}' is not recognized as a CLI command"
        if len(words) != ARGUMENTS.get(name, len(words)):
            return "Error: Invalid usage of the CLI command\r\nError -1"
        if name == "sensorStop":
            if not self._running:
                return "Ignored: Sensor is already stopped\r\nDone"
            self._running = False
            if self._on_stop is not None:
                self._on_stop()
        elif name == "sensorStart":
            return self._start()
        elif name == "flushCfg":
            self._lines.clear()
        else:
            self._lines.append(text)
        return "Done"

    def _start(self) -> str:
        if self._running:
            return "Ignored: Sensor is already started\r\nDone"
        try:
            config = parse_cfg("\n".join(self._lines), "emulated radar", self._device)
        except ConfigError as error:
            return f"Error: {error}\r\nError -1"
        self._running = True
        if self._on_start is not None:
            self._on_start(config)
        return "Done"
