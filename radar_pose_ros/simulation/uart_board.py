"""An emulated radar board that sends points: the two serial ports of a real one, as terminals.

Its command line and its data port are pseudo-terminals. What goes over the data port are the bytes
of TI's demo firmware at the pace of its UART, and what may happen to them on the way.
"""

from __future__ import annotations

import logging
import math
import os
import select
import threading
import time
import tty
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.points import PointCloud, PointFrame
from radar_pose_ros.radar.ti_config import parse_cfg
from radar_pose_ros.radar.tlv import (
    Dialect,
    fixed_point_blocks,
    packet_bytes,
    point_blocks,
)
from radar_pose_ros.radar.uart import DATA_BAUD
from radar_pose_ros.simulation.boards import EmulatedRadarCli
from radar_pose_ros.simulation.body import MotionClip
from radar_pose_ros.simulation.radar import AntennaPattern, RadarPlacement
from radar_pose_ros.simulation.recordings import make_movement
from radar_pose_ros.simulation.surface import BodySurface

_log = logging.getLogger(__name__)

_BITS_PER_BYTE = 10  # start and stop bit
_BURST_S = 0.002  # bytes that are due within this time are sent at once
_LATE_S = 0.5  # a frame that is later than this moves all that follow

Encoder = Callable[[PointFrame], bytes]


def sdk3_packet(frame: PointFrame) -> bytes:
    """A frame as an IWR1843 with SDK 3.5 sends it."""
    points = len(frame.points)
    return packet_bytes(point_blocks(frame.points), frame.number, points=points)


def sdk2_packet(frame: PointFrame, velocity_step_mps: float = 0.1) -> bytes:
    """A frame as an IWR1443 with SDK 2.1 sends it."""
    return packet_bytes(
        fixed_point_blocks(frame.points, velocity_step_mps),
        frame.number,
        points=len(frame.points),
        dialect=Dialect.XWR14XX,
        version=0x02010004,
        platform=0xA1443,
    )


@dataclass
class UartFaults:
    """What happens to packets on their way, and an account of it.

    Probabilities are per packet; the packets are the only other input, so the same seed disturbs
    the same stream in the same way.

    Parameters
    ----------
    loss : float
        Probability that a packet does not come at all.
    truncation : float
        Probability that bytes at the end of a packet get lost.
    corruption : float
        Probability that one byte of a packet is another one.
    garbage : float
        Probability that up to 500 bytes that mean nothing come before a packet.
    seed : int
        Of the random numbers.
    """

    loss: float = 0.0
    truncation: float = 0.0
    corruption: float = 0.0
    garbage: float = 0.0
    seed: int = 0

    packets_lost: int = field(default=0, init=False)
    packets_truncated: int = field(default=0, init=False)
    packets_corrupted: int = field(default=0, init=False)
    garbage_bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("loss", "truncation", "corruption", "garbage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")
        self._random = np.random.default_rng(self.seed)

    def apply(self, packet: bytes) -> bytes:
        """The bytes that arrive of a packet, and of what comes before it."""
        lose, cut, change, add = self._random.random(4)
        before = b""
        if add < self.garbage:
            before = self._random.bytes(int(self._random.integers(1, 501)))
            self.garbage_bytes += len(before)
        if lose < self.loss:
            self.packets_lost += 1
            return before
        if cut < self.truncation:
            self.packets_truncated += 1
            packet = packet[: int(self._random.integers(1, len(packet)))]
        if change < self.corruption:
            self.packets_corrupted += 1
            changed = bytearray(packet)
            changed[self._random.integers(len(packet))] ^= int(self._random.integers(1, 256))
            packet = bytes(changed)
        return before + packet


@dataclass(frozen=True)
class UartBoardStatistics:
    """What an emulated board has done since it was opened.

    Parameters
    ----------
    frames_sent : int
        Frames that went out, whatever became of them.
    bytes_sent : int
        Bytes that the terminal took.
    bytes_unread : int
        Bytes that it did not take as nobody read.
    frames_slipped : int
        Frames that were late.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    bytes_unread: int = 0
    frames_slipped: int = 0


class _CommandLine(EmulatedRadarCli):
    """Takes configurations that make the radar send points."""

    def _start(self) -> str:
        if self._running:
            return "Ignored: Sensor is already started\r\nDone"
        try:
            config = parse_cfg("\n".join(self._lines), "emulated radar", self._device, "points")
        except ConfigError as error:
            return f"Error: {error}\r\nError -1"
        self._running = True
        if self._on_start is not None:
            self._on_start(config)
        return "Done"


class EmulatedUartBoard:
    """A radar board with TI's demo firmware, on two pseudo-terminals.

    It sends while the radar is on: from ``sensorStart`` on its command line, or `start_radar`, to
    ``sensorStop``, or `stop_radar`.

    Parameters
    ----------
    frames : iterable of PointFrame
        What to send, each at its time, counted from the first. Asked for one at a time by the
        sending thread; when they end, so does the radar.
    faults : UartFaults, optional
        What to do to the packets.
    encode : callable
        Makes the bytes of a frame.
    baud : int
        Pace of the data port.
    paced : bool
        If False, frames go out as fast as they are read, and nothing is lost.
    radar_on : bool
        Whether the radar is on from the beginning.
    device : str
        See `parse_cfg`.
    on_frame : callable, optional
        Called in the sending thread with (frame, time.time()) as it begins.
    """

    def __init__(
        self,
        frames: Iterable[PointFrame],
        faults: UartFaults | None = None,
        *,
        encode: Encoder = sdk3_packet,
        baud: int = DATA_BAUD,
        paced: bool = True,
        radar_on: bool = False,
        device: str = "IWR1843",
        on_frame: Callable[[PointFrame, float], None] | None = None,
    ) -> None:
        self._frames = iter(frames)
        self.faults = UartFaults() if faults is None else faults
        self._encode = encode
        self._bytes_per_s = baud / _BITS_PER_BYTE
        self._paced = paced
        self._on_frame = on_frame
        self.silent = False
        """Whether nothing goes out although the radar is on."""
        self.command_line = _CommandLine(
            on_start=self._started, on_stop=self.stop_radar, device=device
        )
        self._master: int | None = None
        self._slave: int | None = None
        self._thread: threading.Thread | None = None
        self._state = threading.Condition()  # guards what follows
        self._radar_on = radar_on
        self._closing = False
        self._sent = self._bytes = self._unread = self._slipped = 0

    def open(self) -> None:
        """Make the terminals and begin to serve them."""
        self.command_line.open()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._closing = False
        self._thread = threading.Thread(
            target=self._send_frames, name="emulated radar: points", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Vanish, as when the cable is pulled."""
        with self._state:
            self._closing = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        for descriptor in (self._master, self._slave):
            if descriptor is not None:
                os.close(descriptor)
        self._master = self._slave = self._thread = None
        self.command_line.close()

    def __enter__(self) -> EmulatedUartBoard:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def command_port(self) -> str:
        """Path of the command line's terminal; only while open."""
        return self.command_line.port

    @property
    def data_port(self) -> str:
        """Path of the data port's terminal; only while open."""
        if self._slave is None:
            raise RuntimeError("the emulated board is not open")
        return os.ttyname(self._slave)

    @property
    def statistics(self) -> UartBoardStatistics:
        """Counts so far."""
        return UartBoardStatistics(self._sent, self._bytes, self._unread, self._slipped)

    def start_radar(self) -> None:
        """Let frames begin."""
        with self._state:
            self._radar_on = True
            self._state.notify_all()

    def stop_radar(self) -> None:
        """Let frames end after the current one."""
        with self._state:
            self._radar_on = False
            self._state.notify_all()

    def wait_sent(self, frames: int, timeout_s: float) -> bool:
        """Wait until that many frames went out; False if they did not in time."""
        with self._state:
            return self._state.wait_for(lambda: self._sent >= frames, timeout_s)

    # -------------------------------------------------------------- inside

    def _started(self, _: RadarConfig) -> None:
        self.start_radar()

    def _send_frames(self) -> None:
        """The thread that streams."""
        begin_s = math.nan
        for frame in self._frames:
            with self._state:
                if not self._radar_on:
                    begin_s = math.nan
                self._state.wait_for(lambda: self._closing or self._radar_on)
                now_s = time.monotonic()
                if math.isnan(begin_s) or not self._paced:
                    begin_s = now_s - frame.time_s
                elif now_s > begin_s + frame.time_s + _LATE_S:
                    self._slipped += 1
                    begin_s = now_s - frame.time_s
                due_s = begin_s + frame.time_s
                if self._state.wait_for(lambda: self._closing, max(due_s - now_s, 0.0)):
                    return
            if self._on_frame is not None:
                self._on_frame(frame, time.time())
            if not self.silent:
                self._send(self.faults.apply(self._encode(frame)), due_s)
            with self._state:
                self._sent += 1
                self._state.notify_all()
        self.stop_radar()

    def _send(self, data: bytes, begin_s: float) -> None:
        burst = max(int(_BURST_S * self._bytes_per_s), 1) if self._paced else 4096
        for first in range(0, len(data), burst):
            wait_s = begin_s + first / self._bytes_per_s - time.monotonic()
            if self._paced and wait_s > 0:
                time.sleep(wait_s)
            self._write(data[first : first + burst])
            if self._closing:
                return

    def _write(self, data: bytes) -> None:
        assert self._master is not None
        while data and not self._closing:
            try:
                written = os.write(self._master, data)
            except BlockingIOError:
                if self._paced:  # nobody reads; a serial line loses what it sends then, too
                    self._unread += len(data)
                    return
                select.select([], [self._master], [], 0.05)
                continue
            except OSError as error:
                _log.debug("emulated board: bytes not sent, %s", error)
                return
            self._bytes += written
            data = data[written:]


def simulated_frames(
    rate_hz: float = 10.0,
    *,
    seed: int = 0,
    motion: str = "random",
    split: str = "test",
    clip_s: float = 60.0,
    points: int = 64,
    placement: RadarPlacement | None = None,
) -> Iterator[PointFrame]:
    """People who move before a radar, one after the other, as a board might report them.

    Points are drawn from the scatterers of the body's surface (`BodySurface`), more often those
    that return more, with velocities from their movement. Positions are off by what such a board
    resolves: range by up to half a bin of 4.3 cm, angles by 2 degrees (standard deviation), and
    velocities by up to half a bin of 0.14 m/s. What moves by less than that, or is fainter than
    8 dB, is left out, as by a board that removes what stands still. All this is our choice:
    neither clutter nor the detector of a board is simulated.

    Parameters
    ----------
    rate_hz : float
        Frames per second.
    seed, motion, split
        As for `make_movement`; the k-th person has the seed ``seed + k``.
    clip_s : float
        Time after which another person begins.
    points : int
        Most points of a frame.
    placement : RadarPlacement, optional
        Where the radar is: 1 m above the floor, by default.
    """
    placement = RadarPlacement("radar_link", (0.0, 0.0, 1.0)) if placement is None else placement
    random = np.random.default_rng(seed)
    number = 0
    while True:
        clip = make_movement(rate_hz, clip_s, seed, split, motion)
        surface = BodySurface(clip.shape)
        for time_s in clip.times_s:
            cloud = _seen(clip, surface, float(time_s), placement, points, random)
            yield PointFrame(number, number / rate_hz, cloud)
            number += 1
        seed += 1


_RANGE_STEP_M, _VELOCITY_STEP_MPS = 0.043, 0.14
_ANGLE_RAD = math.radians(2.0)
_INSTANTS_S = np.array([-0.005, 0.0, 0.005])
_REFERENCE_DB = 50.0  # signal-to-noise ratio of 0.01 square metres at 1 m
_FAINTEST_DB = 8.0


def _seen(
    clip: MotionClip,
    surface: BodySurface,
    time_s: float,
    placement: RadarPlacement,
    points: int,
    random: np.random.Generator,
) -> PointCloud:
    """What a radar reports of a person at one instant."""
    times_s = time_s + _INSTANTS_S
    scatterers = surface.scatterers(
        clip.joints_at(times_s),
        np.asarray(placement.position_m),
        clip.breathing.chest_m(times_s),
    )
    link_m = placement.to_link(scatterers.positions_m)
    ranges_m = np.linalg.norm(link_m, axis=-1)
    velocity = (ranges_m[2] - ranges_m[0]) / (_INSTANTS_S[2] - _INSTANTS_S[0])
    echo = np.abs(scatterers.amplitudes_m) * AntennaPattern().gain(link_m[1]) / ranges_m[1] ** 2
    snr_db = _REFERENCE_DB + 20 * np.log10(np.maximum(echo, 1e-12) / 0.1)
    seen = (np.abs(velocity) > _VELOCITY_STEP_MPS / 2) & (snr_db > _FAINTEST_DB)
    weight = np.where(seen, echo**2, 0.0)
    count = min(points, int(np.count_nonzero(weight)))
    if not count:
        return PointCloud(*np.empty((5, 0), np.float32))
    chosen = random.choice(len(weight), count, replace=False, p=weight / weight.sum())
    x, y, z = link_m[1, chosen].T
    azimuth = np.arctan2(y, x) + _ANGLE_RAD * random.standard_normal(count)
    elevation = np.arctan2(z, np.hypot(x, y)) + _ANGLE_RAD * random.standard_normal(count)
    distance = ranges_m[1, chosen] + _RANGE_STEP_M * (random.random(count) - 0.5)
    level = distance * np.cos(elevation)
    table = (
        level * np.cos(azimuth),
        level * np.sin(azimuth),
        distance * np.sin(elevation),
        velocity[chosen] + _VELOCITY_STEP_MPS * (random.random(count) - 0.5),
        snr_db[chosen],
    )
    return PointCloud(*(np.asarray(column, np.float32) for column in table))
