"""What TI's demo firmware sends over its data UART: packets of blocks, type, length and value.

A packet begins with a magic word and a header. Three kinds of header are known:

* mmWave SDK 3.x, and 2.x on xWR16xx: 40 bytes;
* SDK 1.x and 2.x on xWR14xx: the same without the number of the sub-frame, 36 bytes;
* earlier people counting demos for xWR68xx: 48 bytes; there the length of a block counts its own
  header, too. Later ones have the header of SDK 3.x.

After the last block comes padding to a multiple of 32 bytes. Only the third header has a
checksum, of itself: a packet is taken only if its blocks fill it exactly and its points are
possible ones. `TlvStream` finds packets in a stream of bytes that may be damaged in any way; it
never raises. Builders of packets, for emulated boards and tests, stand at the end.

The firmware's axes are x to the right, y away from the radar, z up. Everything here that holds
positions is in the radar's link: x away from the radar, y to the left, z up, in metres.

Sources: "Understanding UART Data Output Format" of TI's radar toolbox; ``mmw_output.h`` and
``detected_obj.h`` of the mmWave SDK; for people counting a packet of a real board, too.
"""

from __future__ import annotations

import enum
import math
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from radar_pose_ros.radar.points import PointCloud

MAGIC = bytes((2, 1, 4, 3, 6, 5, 8, 7))
MAX_PACKET_BYTES = 64 * 1024  # 0.7 s of a UART of 921,600 baud
FARTHEST_POINT_M = 1000.0  # nor does anything move faster, in m/s
SEGMENT_BYTES = 32  # packets are padded to multiples of it
_TELLING = 4  # bytes of a magic word that nothing else ends in
_MAX_BLOCKS = 64
_MAX_KINDS = 64  # of unknown blocks that are counted apart
_LONGEST_GAP = 36_000  # frames: an hour at 10 Hz; a larger step is a new count
_MODULUS = 1 << 32

_COMMON = struct.Struct("<8sIII")  # magic word, version, bytes of the packet, platform
_BLOCK = struct.Struct("<II")  # type, length
_XWR14XX = 0xA1443


class Dialect(enum.Enum):
    """Kind of header: its bytes."""

    XWR14XX = 36
    SDK = 40
    PEOPLE = 48


_REST = {  # after the platform
    Dialect.XWR14XX: struct.Struct("<4I"),  # number, CPU cycles, points, blocks
    Dialect.SDK: struct.Struct("<5I"),  # the same, sub-frame
    Dialect.PEOPLE: struct.Struct("<6I2H"),  # number, sub-frame, four times, blocks, checksum
}


class Kind(enum.IntEnum):
    """Types of blocks."""

    POINTS = 1
    RANGE_PROFILE = 2
    NOISE_PROFILE = 3
    AZIMUTH_HEATMAP = 4
    RANGE_DOPPLER_HEATMAP = 5
    STATISTICS = 6
    SIDE_INFO = 7
    AZIMUTH_ELEVATION_HEATMAP = 8
    TEMPERATURE = 9
    SPHERICAL_POINTS = 1000
    TARGETS = 1010
    TARGET_INDEX = 1011
    COMPRESSED_POINTS = 1020


_PEOPLE_KINDS = {6: Kind.COMPRESSED_POINTS, 7: Kind.TARGETS, 8: Kind.TARGET_INDEX}
_SDK_KINDS = {int(kind): kind for kind in Kind}


class Block(NamedTuple):
    """Type, as sent, and value of a block."""

    type: int
    payload: bytes


class Statistics(NamedTuple):
    """Times of the board's own work, in us, and its loads, in per cent."""

    inter_frame_processing_us: int
    transmit_output_us: int
    inter_frame_margin_us: int
    inter_chirp_margin_us: int
    active_frame_load_percent: int
    inter_frame_load_percent: int


class Temperature(NamedTuple):
    """Sensors of the radar chip in degrees Celsius, and its time since power-up in ms."""

    time_ms: int
    receivers: tuple[int, ...]
    transmitters: tuple[int, ...]
    power_management: int
    digital: tuple[int, ...]


class Targets(NamedTuple):
    """People whom the board itself follows: ids (n,), positions in m and speeds in m/s (n, 3)."""

    ids: np.ndarray
    positions_m: np.ndarray
    velocities_mps: np.ndarray


_STATISTICS = struct.Struct("<6I")
_TEMPERATURE = struct.Struct("<iI10h")
_UNITS = struct.Struct("<5f")  # elevation, azimuth, Doppler, range, ratio of signal to noise
_FIXED_HEADER = struct.Struct("<HH")  # points, fractional bits
_FIXED = np.dtype(
    {
        "names": ("range", "doppler", "peak", "x", "y", "z"),
        "formats": ("<u2", "<i2", "<u2", "<i2", "<i2", "<i2"),
    }
)
_COMPRESSED = np.dtype(
    [("elevation", "i1"), ("azimuth", "i1"), ("doppler", "<i2"), ("range", "<u2"), ("snr", "<u2")]
)
_TARGET = np.dtype(
    [
        ("id", "<u4"),
        ("position", "<f4", 3),
        ("velocity", "<f4", 3),
        ("acceleration", "<f4", 3),
        ("covariance", "<f4", 16),
        ("gain", "<f4"),
        ("confidence", "<f4"),
    ]
)


@dataclass(frozen=True)
class TlvFrame:
    """One packet.

    Properties are None where the packet has no such block, or one of another length than is
    documented: such blocks stay in `blocks` as they came.

    Parameters
    ----------
    dialect : Dialect
    version : int
        Of the SDK: major, minor, bug-fix and build, a byte each.
    platform : int
        Such as 0xA1843.
    number, subframe : int
        As the board counts.
    points : PointCloud
        In the order in which they were sent; none if the packet has none.
    blocks : tuple of Block
        All of them.
    time_s : float
        When the magic word arrived; NaN if nobody said.
    length : int
        Of the packet, in bytes.
    """

    dialect: Dialect
    version: int
    platform: int
    number: int
    subframe: int
    points: PointCloud
    blocks: tuple[Block, ...]
    time_s: float
    length: int

    def payload(self, kind: Kind) -> bytes | None:
        """The value of the first block of a kind."""
        return _payload(self.dialect, self.blocks, kind)

    def _values(self, kind: Kind, dtype: str) -> np.ndarray | None:
        payload = self.payload(kind)
        if payload is None or len(payload) % np.dtype(dtype).itemsize:
            return None
        return np.frombuffer(payload, dtype)

    @property
    def range_profile(self) -> np.ndarray | None:
        """Per range bin at standstill: sum of the antennas' log2 magnitudes, uint16, Q9 or Q8."""
        return self._values(Kind.RANGE_PROFILE, "<u2")

    @property
    def noise_profile(self) -> np.ndarray | None:
        """The same at the highest velocity."""
        return self._values(Kind.NOISE_PROFILE, "<u2")

    @property
    def range_doppler(self) -> np.ndarray | None:
        """Detection matrix, uint16, flat; of (range bins, Doppler bins), Doppler fastest."""
        return self._values(Kind.RANGE_DOPPLER_HEATMAP, "<u2")

    @property
    def azimuth_heatmap(self) -> np.ndarray | None:
        """Antennas' values at standstill, complex64, flat; of (range bins, azimuth antennas)."""
        return _complex(self._values(Kind.AZIMUTH_HEATMAP, "<i2"))

    @property
    def azimuth_elevation_heatmap(self) -> np.ndarray | None:
        """The same for all virtual antennas."""
        return _complex(self._values(Kind.AZIMUTH_ELEVATION_HEATMAP, "<i2"))

    @property
    def noise_db(self) -> np.ndarray | None:
        """Level of the noise around each point in dB, (points,)."""
        side = self._values(Kind.SIDE_INFO, "<i2")
        if side is None or len(side) != 2 * len(self.points):
            return None
        return side[1::2] * np.float32(0.1)

    @property
    def statistics(self) -> Statistics | None:
        """Times and loads of the frame before."""
        payload = self.payload(Kind.STATISTICS)
        if payload is None or len(payload) != _STATISTICS.size:
            return None
        return Statistics(*_STATISTICS.unpack(payload))

    @property
    def temperature(self) -> Temperature | None:
        """None, too, if the radar said that its report is not valid."""
        payload = self.payload(Kind.TEMPERATURE)
        if payload is None or len(payload) != _TEMPERATURE.size:
            return None
        error, time_ms, *degrees = _TEMPERATURE.unpack(payload)
        if error:
            return None
        sensors = tuple(degrees)
        return Temperature(time_ms, sensors[:4], sensors[4:7], sensors[7], sensors[8:])

    @property
    def targets(self) -> Targets | None:
        """Whom the board follows."""
        payload = self.payload(Kind.TARGETS)
        if payload is None or len(payload) % _TARGET.itemsize:
            return None
        table = np.frombuffer(payload, _TARGET)
        return Targets(table["id"], _to_link(table["position"]), _to_link(table["velocity"]))

    @property
    def target_index(self) -> np.ndarray | None:
        """Whose each point of the frame before is, uint8; 253 to 255: nobody's."""
        return self._values(Kind.TARGET_INDEX, "u1")


@dataclass(frozen=True)
class TlvStatistics:
    """What a stream held so far.

    Parameters
    ----------
    bytes_received, bytes_skipped : int
        All, and those that were in no packet.
    frames : int
        Packets that were good.
    frames_lost : int
        Numbers missing between good packets: those that were malformed are among them.
    restarts : int
        How often the board began to count anew.
    malformed : mapping of str to int
        Packets that began and were not good, by reason.
    unknown_blocks : mapping of int to int
        Blocks of types that are not known, by type; -1 stands for further types.
    """

    bytes_received: int
    bytes_skipped: int
    frames: int
    frames_lost: int
    restarts: int
    malformed: Mapping[str, int]
    unknown_blocks: Mapping[int, int]

    @property
    def frames_malformed(self) -> int:
        """Packets that were not good, whatever the reason."""
        return sum(self.malformed.values())


@dataclass(eq=False)
class _Candidate:
    """A magic word in the stream, and why no packet begins there; "" while one may."""

    start: int
    reason: str = ""


class TlvStream:
    """Finds packets in a stream of bytes, cut anywhere, with anything between and within them.

    Each magic word may begin a packet. The one that is whole first and good wins: so a packet
    whose end got lost, or whose length is wrong, holds up none that follows. What comes out does
    not depend on how the stream was cut. Memory is bounded by `MAX_PACKET_BYTES` and what is fed
    at once; time by the bytes, and one look at so many of them per magic word.

    Parameters
    ----------
    velocity_step_mps : float
        Velocity per Doppler bin: boards before SDK 3 number velocities only. By default these are
        unknown.
    """

    def __init__(self, velocity_step_mps: float = math.nan) -> None:
        self._velocity_step_mps = velocity_step_mps
        # Places are counted from the beginning of the stream.
        self._buffer = bytearray()
        self._received = 0  # place behind its last byte
        self._searched = 0  # no unknown magic word begins before
        self._accounted = 0  # all bytes before were in a packet, or skipped
        self._candidates: deque[_Candidate] = deque()
        self._headless: deque[_Candidate] = deque()  # those whose length is not there yet
        self._ends: list[tuple[int, int, _Candidate]] = []  # heap of ends and starts
        self._arrivals: deque[tuple[int, float]] = deque()  # ends of what was fed, and times
        self._skipped = 0
        self._frames = self._lost = self._restarts = 0
        self._last: tuple[int, int] | None = None  # number, sub-frame
        self._malformed: dict[str, int] = {}
        self._unknown: dict[int, int] = {}

    @property
    def _base(self) -> int:
        """Place of the buffer's first byte."""
        return self._received - len(self._buffer)

    @property
    def statistics(self) -> TlvStatistics:
        """Counts so far."""
        return TlvStatistics(
            bytes_received=self._received,
            bytes_skipped=self._skipped,
            frames=self._frames,
            frames_lost=self._lost,
            restarts=self._restarts,
            malformed=dict(self._malformed),
            unknown_blocks=dict(self._unknown),
        )

    def clear(self) -> None:
        """Forget packets that have begun: what comes next does not follow on them."""
        for candidate in self._candidates:
            self._count_malformed(candidate.reason or _CUT)
        self._candidates.clear()
        self._headless.clear()
        self._ends.clear()
        self._last = None
        self._searched = self._received
        self._drop(self._received)

    def feed(
        self, data: bytes | bytearray | memoryview, time_s: float = math.nan
    ) -> list[TlvFrame]:
        """Take the next bytes of the stream; return the packets that end in them.

        Parameters
        ----------
        data : bytes
        time_s : float
            When they arrived.
        """
        if not data:
            return []
        self._buffer += data
        self._received += len(data)
        self._arrivals.append((self._received, time_s))
        self._find()
        frames = []
        while self._ends and self._ends[0][0] <= self._received:
            end, _, candidate = heappop(self._ends)
            if not candidate.reason:
                frame = self._examine(candidate, end)
                if isinstance(frame, str):
                    candidate.reason = frame
                else:
                    self._take(candidate, end, frame)
                    frames.append(frame)
        while self._candidates and self._candidates[0].reason:
            self._count_malformed(self._candidates.popleft().reason)
        keep = self._candidates[0].start if self._candidates else self._searched
        self._drop(keep)
        return frames

    def _find(self) -> None:
        """Look for magic words and for the lengths behind them."""
        buffer, base = self._buffer, self._base
        while (place := buffer.find(MAGIC, self._searched - base)) >= 0:
            candidate = _Candidate(base + place)
            self._candidates.append(candidate)
            self._headless.append(candidate)
            self._searched = candidate.start + len(MAGIC)
        self._searched = max(self._searched, self._received - len(MAGIC) + 1)
        while self._headless:
            candidate = self._headless[0]
            if not candidate.reason and candidate.start + _COMMON.size > self._received:
                break
            self._headless.popleft()
            if candidate.reason:
                continue
            _, _, length, _ = _COMMON.unpack_from(buffer, candidate.start - base)
            if Dialect.XWR14XX.value <= length <= MAX_PACKET_BYTES:
                heappush(self._ends, (candidate.start + length, candidate.start, candidate))
            else:
                candidate.reason = "packet length out of range"

    def _examine(self, candidate: _Candidate, end: int) -> TlvFrame | str:
        """Read a packet that is whole, or say what is wrong with it."""
        buffer = self._buffer
        first, last = candidate.start - self._base, end - self._base
        # The beginning of the same board's next packet, which may be cut by the end of this one:
        # bytes got lost, and what follows them, such as points, is not where it should be.
        head = bytes(buffer[first : first + 12])
        if buffer.find(head, first + 1, last) >= 0 or any(
            buffer.endswith(head[:count], first + 1, last) for count in range(_TELLING, len(head))
        ):
            return _CUT
        while self._arrivals[0][0] < candidate.start + len(MAGIC):
            self._arrivals.popleft()
        packet = bytes(buffer[first:last])
        return _decode(packet, self._arrivals[0][1], self._velocity_step_mps)

    def _take(self, candidate: _Candidate, end: int, frame: TlvFrame) -> None:
        """Count a good packet, and forget what lies before and within it."""
        # A magic word may begin in its last bytes, if some within it got lost.
        while self._candidates and self._candidates[0].start <= end - len(MAGIC):
            other = self._candidates.popleft()
            if other.start < candidate.start:
                self._count_malformed(other.reason or _CUT)
            other.reason = other.reason or _CUT
        self._skipped += max(candidate.start - self._accounted, 0)
        self._accounted = end
        self._count(frame)

    def _drop(self, place: int) -> None:
        """Let go of all bytes before a place."""
        self._skipped += max(place - self._accounted, 0)
        self._accounted = max(place, self._accounted)
        del self._buffer[: place - self._base]
        while self._arrivals and self._arrivals[0][0] <= place:
            self._arrivals.popleft()

    def _count_malformed(self, reason: str) -> None:
        self._malformed[reason] = self._malformed.get(reason, 0) + 1

    def _count(self, frame: TlvFrame) -> None:
        self._frames += 1
        known = _PEOPLE_KINDS if frame.dialect is Dialect.PEOPLE else _SDK_KINDS
        for block in frame.blocks:
            if block.type not in known:
                room = len(self._unknown) < _MAX_KINDS or block.type in self._unknown
                kind = block.type if room else -1
                self._unknown[kind] = self._unknown.get(kind, 0) + 1
        if self._last is not None:
            number, subframe = self._last
            step = (frame.number - number) % _MODULUS
            if 0 < step <= _LONGEST_GAP:
                self._lost += step - 1
            elif step or frame.subframe <= subframe:
                self._restarts += 1
        self._last = (frame.number, frame.subframe)


_CUT = "packet cut short"
_CHAIN = "blocks do not fill the packet"
_LENGTH = "points block of impossible length"
_COUNT = "other number of points than announced"
_PLACE = "points that are nowhere"


def _decode(packet: bytes, time_s: float, velocity_step_mps: float) -> TlvFrame | str:
    """Read one packet, from its magic word to the end of its padding.

    Returns
    -------
    TlvFrame or str
        A few words if it is malformed, the same for all packets with this fault.
    """
    _, version, _, platform = _COMMON.unpack_from(packet)
    # The header with a checksum first: the other one may fit it by chance.
    choices = (Dialect.XWR14XX,) if platform == _XWR14XX else (Dialect.PEOPLE, Dialect.SDK)
    for dialect in choices:
        if len(packet) < dialect.value:
            continue
        rest = _REST[dialect].unpack_from(packet, _COMMON.size)
        announced = -1
        if dialect is Dialect.PEOPLE:
            if _checksum(packet[: dialect.value]):
                continue
            number, subframe, count = rest[0], rest[1], rest[6]
        else:
            number, announced, count = rest[0], rest[2], rest[3]
            subframe = rest[4] if dialect is Dialect.SDK else 0
        blocks = _blocks(packet, dialect, count)
        if blocks is None:
            continue
        with np.errstate(all="ignore"):  # damaged numbers overflow; `_points` looks at results
            points = _points(dialect, version, blocks, announced, velocity_step_mps)
        if isinstance(points, str):
            return points
        return TlvFrame(
            dialect, version, platform, number, subframe, points, blocks, time_s, len(packet)
        )
    return _CHAIN


def _checksum(header: bytes) -> int:
    """Complement of the sum of all 16-bit words, carries added; 0 if its own is among them."""
    return -sum(struct.unpack(f"<{len(header) // 2}H", header)) % 0xFFFF


def _blocks(packet: bytes, dialect: Dialect, count: int) -> tuple[Block, ...] | None:
    """All blocks, or None unless they fill the packet up to its padding."""
    if count > _MAX_BLOCKS:
        return None
    place = dialect.value
    counted = _BLOCK.size if dialect is Dialect.PEOPLE else 0
    blocks = []
    for _ in range(count):
        if place + _BLOCK.size > len(packet):
            return None
        kind, length = _BLOCK.unpack_from(packet, place)
        place += _BLOCK.size
        end = place + length - counted
        if not place <= end <= len(packet):
            return None
        blocks.append(Block(kind, packet[place:end]))
        place = end
    return tuple(blocks) if len(packet) - place < SEGMENT_BYTES else None


def _payload(dialect: Dialect, blocks: Iterable[Block], kind: Kind) -> bytes | None:
    known = _PEOPLE_KINDS if dialect is Dialect.PEOPLE else _SDK_KINDS
    return next((b.payload for b in blocks if known.get(b.type) is kind), None)


def _points(
    dialect: Dialect,
    version: int,
    blocks: tuple[Block, ...],
    announced: int,
    velocity_step_mps: float,
) -> PointCloud | str:
    """The points of a packet, or what is wrong with them."""
    cloud: PointCloud | str = _cloud(np.empty((4, 0), np.float32))
    if (payload := _payload(dialect, blocks, Kind.POINTS)) is not None:
        read = _float_points if version >> 24 >= 3 else _fixed_points
        cloud = read(payload, velocity_step_mps)
        if not isinstance(cloud, str) and len(cloud) != announced:
            return _COUNT
    elif (payload := _payload(dialect, blocks, Kind.COMPRESSED_POINTS)) is not None:
        cloud = _compressed_points(payload)
    elif (payload := _payload(dialect, blocks, Kind.SPHERICAL_POINTS)) is not None:
        cloud = _spherical_points(payload)
    if isinstance(cloud, str) or not len(cloud):
        return cloud
    table = np.stack([cloud.x, cloud.y, cloud.z, cloud.velocity])
    largest = np.abs(table).max(axis=1)
    if not (largest[:3] <= FARTHEST_POINT_M).all() or largest[3] > FARTHEST_POINT_M:
        return _PLACE
    side = _payload(dialect, blocks, Kind.SIDE_INFO)
    if side is None:
        return cloud
    if len(side) != 4 * len(cloud):
        return _COUNT
    snr_db = np.frombuffer(side, "<i2")[::2] * np.float32(0.1)
    return replace(cloud, snr=snr_db)


def _float_points(payload: bytes, _: float) -> PointCloud | str:
    if len(payload) % 16:
        return _LENGTH
    table = np.frombuffer(payload, "<f4").reshape(-1, 4)
    # A board that is right never sends NaN; where velocities are unknown they are NaN later on.
    return _cloud(_to_link(table).T) if np.isfinite(table).all() else _PLACE


def _fixed_points(payload: bytes, velocity_step_mps: float) -> PointCloud | str:
    if len(payload) < _FIXED_HEADER.size:
        return _LENGTH
    count, bits = _FIXED_HEADER.unpack_from(payload)
    if len(payload) != _FIXED_HEADER.size + count * _FIXED.itemsize or bits > 15:
        return _LENGTH
    table = np.frombuffer(payload, _FIXED, offset=_FIXED_HEADER.size)
    scaled = np.stack([table["x"], table["y"], table["z"]], -1) / np.float32(1 << bits)
    return _cloud(np.vstack([_to_link(scaled).T, table["doppler"] * velocity_step_mps]))


def _compressed_points(payload: bytes) -> PointCloud | str:
    if len(payload) < _UNITS.size or (len(payload) - _UNITS.size) % _COMPRESSED.itemsize:
        return _LENGTH
    units = np.frombuffer(payload, "<f4", 5)
    if not np.isfinite(units).all():
        return _PLACE
    table = np.frombuffer(payload, _COMPRESSED, offset=_UNITS.size)
    names = ("elevation", "azimuth", "doppler", "range", "snr")
    elevation, azimuth, velocity, distance, ratio = (
        table[name] * unit for name, unit in zip(names, units, strict=True)
    )
    snr_db = 10 * np.log10(ratio)
    return _spherical(distance, azimuth, elevation, velocity, np.where(ratio > 0, snr_db, np.nan))


def _spherical_points(payload: bytes) -> PointCloud | str:
    if len(payload) % 16:
        return _LENGTH
    distance, azimuth, elevation, velocity = np.frombuffer(payload, "<f4").reshape(-1, 4).T
    if not all(np.isfinite(a).all() for a in (distance, azimuth, elevation, velocity)):
        return _PLACE
    return _spherical(distance, azimuth, elevation, velocity, np.full(len(distance), np.nan))


def _spherical(
    distance: np.ndarray,
    azimuth: np.ndarray,
    elevation: np.ndarray,
    velocity: np.ndarray,
    snr_db: np.ndarray,
) -> PointCloud:
    """A cloud from ranges in m and angles in rad, azimuth to the right."""
    level = distance * np.cos(elevation)
    x, y, z = level * np.cos(azimuth), -level * np.sin(azimuth), distance * np.sin(elevation)
    return _cloud(np.stack([x, y, z, velocity]), snr_db)


def _cloud(table: np.ndarray, snr_db: np.ndarray | None = None) -> PointCloud:
    """A cloud from (4, points): position in the link and velocity."""
    if snr_db is None:
        snr_db = np.full(table.shape[1], np.nan, np.float32)
    x, y, z, velocity = table.astype(np.float32)
    return PointCloud(x, y, z, velocity, snr_db.astype(np.float32))


def _to_link(table: np.ndarray) -> np.ndarray:
    """From (n, 3 or more) in the board's axes to the link's; further columns stay."""
    turned = np.array(table, np.float32)
    turned[:, 0], turned[:, 1] = table[:, 1], -table[:, 0]
    return turned


def _complex(values: np.ndarray | None) -> np.ndarray | None:
    """Complex numbers from pairs, imaginary part first."""
    if values is None or len(values) % 2:
        return None
    return (values[1::2] + 1j * values[::2]).astype(np.complex64)


# --------------------------------------------------------------------------- builders


def packet_bytes(
    blocks: Iterable[tuple[int, bytes]],
    number: int,
    *,
    points: int = 0,
    dialect: Dialect = Dialect.SDK,
    version: int = 0x03050004,
    platform: int = 0xA1843,
    subframe: int = 0,
) -> bytes:
    """A packet with these blocks, types as sent, padded; of ``points`` points, says its header."""
    counted = _BLOCK.size if dialect is Dialect.PEOPLE else 0
    values = [_BLOCK.pack(kind, len(value) + counted) + value for kind, value in blocks]
    content = b"".join(values)
    length = dialect.value + len(content)
    padding = -length % SEGMENT_BYTES
    head = _COMMON.pack(MAGIC, version, length + padding, platform)
    if dialect is Dialect.PEOPLE:
        rest = (number % _MODULUS, subframe, 0, 0, 0, 0, len(values))
        checksum = _checksum(head + _REST[dialect].pack(*rest, 0))
        head += _REST[dialect].pack(*rest, checksum)
    else:
        fields = (number % _MODULUS, 0, points, len(values), subframe)
        head += _REST[dialect].pack(*fields[: 5 if dialect is Dialect.SDK else 4])
    return head + content + bytes(padding)


def point_blocks(cloud: PointCloud, noise_db: float = 0.0) -> list[Block]:
    """The blocks in which SDK 3.x sends a cloud: none for an empty one.

    Signal-to-noise ratios are rounded to 0.1 dB; if one of them is NaN there is no block for them.
    """
    if not len(cloud):
        return []
    table = np.stack([-cloud.y, cloud.x, cloud.z, cloud.velocity], axis=-1)
    blocks = [Block(Kind.POINTS, table.astype("<f4").tobytes())]
    if np.isfinite(cloud.snr).all():
        noise = np.full(len(cloud), noise_db)
        tenths = np.rint(10 * np.stack([cloud.snr, noise], axis=-1))
        side = np.clip(tenths, -32768, 32767).astype("<i2")
        blocks.append(Block(Kind.SIDE_INFO, side.tobytes()))
    return blocks


def fixed_point_blocks(
    cloud: PointCloud, velocity_step_mps: float, fractional_bits: int = 9
) -> list[Block]:
    """The block in which SDK 1.x and 2.x send a cloud: none for an empty one.

    Positions are rounded to multiples of ``2 ** -fractional_bits`` m, velocities to bins. Range
    bins and peaks are 0.
    """
    if not len(cloud):
        return []
    table = np.zeros(len(cloud), _FIXED)
    scaled = {"x": -cloud.y, "y": cloud.x, "z": cloud.z}
    columns = {name: column * 2.0**fractional_bits for name, column in scaled.items()}
    columns["doppler"] = cloud.velocity / velocity_step_mps
    for name, column in columns.items():
        table[name] = np.clip(np.rint(column), -32768, 32767)
    header = _FIXED_HEADER.pack(len(cloud), fractional_bits)
    return [Block(Kind.POINTS, header + table.tobytes())]
