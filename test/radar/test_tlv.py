"""The bytes of a radar board's data UART: what is read of them, and that nothing upsets it."""

import itertools
import math
import struct

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.tlv import (
    FARTHEST_POINT_M,
    MAGIC,
    MAX_PACKET_BYTES,
    Dialect,
    Kind,
    TlvStream,
    fixed_point_blocks,
    packet_bytes,
    point_blocks,
)

VERSION, PLATFORM = 0x03060200, 0xA1843


def random_cloud(rng, count):
    low, high = [0, -5, -2, -4], [10, 5, 2, 4]
    table = rng.uniform(low, high, (count, 4)).astype(np.float32).T
    snr_db = (rng.integers(80, 400, count) / 10).astype(np.float32)
    return PointCloud(*table, snr_db)


def columns(cloud):
    return np.stack([cloud.x, cloud.y, cloud.z, cloud.velocity, cloud.snr])


def random_packets(rng, count, first=1):
    return [
        packet_bytes(point_blocks(cloud), number, points=len(cloud))
        for number in range(first, first + count)
        for cloud in [random_cloud(rng, int(rng.integers(0, 80)))]
    ]


def written_out(*blocks, head, announced=2, pad=True, lengths_count_themselves=False):
    """A packet, field by field, without the builders of the module."""
    content = b""
    for kind, value in blocks:
        length = len(value) + 8 * lengths_count_themselves
        content += struct.pack("<II", kind, length) + value
    length = 8 + 4 * 3 + len(head) + len(content)
    padding = (-length % 32) if pad else 0
    start = struct.pack("<4H", 0x0102, 0x0304, 0x0506, 0x0708)
    return (
        start
        + struct.pack("<3I", VERSION, length + padding, PLATFORM)
        + head
        + content
        + (b"\xee" * padding)
    )


def sdk_head(blocks, number=7, announced=2, subframe=0):
    return struct.pack("<5I", number, 123456, announced, blocks, subframe)


POINTS = struct.pack("<8f", -0.5, 2.0, 0.25, -1.5, 1.0, 4.0, -0.75, 0.0)
SIDE = struct.pack("<4h", 156, 870, 203, 645)


def one(data, **options):
    (frame,) = TlvStream(**options).feed(data)
    return frame


# --------------------------------------------------------------------------- what is read


def test_a_packet_of_sdk_3():
    """Every kind of block of the out-of-box demo, in the link's axes and in SI units."""
    profile = np.arange(256, dtype="<u2")
    azimuth = np.array([3, -4, 10, 20], "<i2")  # imaginary part first
    temperature = struct.pack("<iI10h", 0, 5000, 40, 41, 42, 43, 50, 51, 52, 60, 70, 71)
    data = written_out(
        (1, POINTS),
        (7, SIDE),
        (2, profile.tobytes()),
        (3, profile[::-1].tobytes()),
        (4, azimuth.tobytes()),
        (5, profile.tobytes()),
        (6, struct.pack("<6I", 2000, 9000, 90000, 0, 12, 5)),
        (8, azimuth.tobytes()),
        (9, temperature),
        (1012, b"abc"),
        head=sdk_head(10, subframe=3),
    )
    stream = TlvStream()
    (frame,) = stream.feed(data, 12.5)
    assert (frame.dialect, frame.version, frame.platform) == (Dialect.SDK, VERSION, PLATFORM)
    assert (frame.number, frame.subframe, frame.time_s) == (7, 3, 12.5)
    assert frame.length == len(data) and len(data) % 32 == 0
    # x right, y away, z up become x away, y left, z up
    expected = [[2, 4], [0.5, -1], [0.25, -0.75], [-1.5, 0], [15.6, 20.3]]
    assert_close(columns(frame.points), np.float32(expected))
    assert all(column.dtype == np.float32 for column in vars(frame.points).values())
    assert_close(frame.noise_db, np.float32([87.0, 64.5]))
    np.testing.assert_array_equal(frame.range_profile, profile)
    np.testing.assert_array_equal(frame.noise_profile, profile[::-1])
    np.testing.assert_array_equal(frame.range_doppler, profile)
    np.testing.assert_array_equal(frame.azimuth_heatmap, [-4 + 3j, 20 + 10j])
    np.testing.assert_array_equal(frame.azimuth_elevation_heatmap, [-4 + 3j, 20 + 10j])
    assert frame.statistics.inter_frame_processing_us == 2000
    assert frame.statistics.inter_frame_load_percent == 5
    assert frame.temperature.time_ms == 5000
    assert frame.temperature.receivers == (40, 41, 42, 43)
    assert frame.temperature.transmitters == (50, 51, 52)
    assert (frame.temperature.power_management, frame.temperature.digital) == (60, (70, 71))
    assert frame.payload(Kind.TARGETS) is None and frame.targets is None
    assert stream.statistics.unknown_blocks == {1012: 1}
    assert frame.blocks[-1] == (1012, b"abc")


def test_what_the_radar_calls_invalid_or_is_of_another_length_is_none():
    report = struct.pack("<iI10h", -1, 5000, *range(10))
    data = written_out(
        (9, report), (6, bytes(28)), (2, bytes(3)), (4, bytes(6)), head=sdk_head(4, announced=0)
    )
    frame = one(data)
    assert frame.temperature is None and frame.statistics is None
    assert frame.range_profile is None and frame.azimuth_heatmap is None
    assert frame.noise_db is None
    assert frame.payload(Kind.STATISTICS) == bytes(28)
    assert len(frame.points) == 0


def test_a_packet_of_sdk_2_on_xwr14xx():
    """36 bytes of header, numbers of a fixed point, Doppler bins; no signal-to-noise ratios."""
    points = struct.pack("<HH", 2, 9)
    points += struct.pack("<HhHhhh", 20, -3, 500, -256, 1024, 128)
    points += struct.pack("<HhHhhh", 31, 5, 400, 512, 2048, -384)
    start = MAGIC + struct.pack("<7I", 0x02010004, 96, 0xA1443, 9, 1, 2, 1)
    data = start + struct.pack("<II", 1, len(points)) + points + bytes(96 - 36 - 8 - len(points))
    frame = one(data, velocity_step_mps=0.5)
    assert (frame.dialect, frame.number) == (Dialect.XWR14XX, 9)
    expected = [[2, 4], [0.5, -1], [0.25, -0.75], [-1.5, 2.5], [np.nan, np.nan]]
    assert_close(columns(frame.points), np.float32(expected))
    assert np.isnan(one(data).points.velocity).all()
    # The same points behind the header that an xWR16xx has.
    data = MAGIC + struct.pack("<8I", 0x02000004, 96, 0xA1642, 9, 1, 2, 1, 0)
    data += struct.pack("<II", 1, len(points)) + points + bytes(96 - 40 - 8 - len(points))
    assert_close(columns(one(data, velocity_step_mps=0.5).points), np.float32(expected))


def people_head(blocks, number=4):
    fields = struct.pack("<6IH", number, 0, 11, 12568, 13, 14, blocks)
    return lambda length: fields + struct.pack("<H", header_checksum(length, fields))


def header_checksum(length, fields):
    words = MAGIC + struct.pack("<3I", VERSION, length, PLATFORM) + fields
    total = sum(words[i] + 256 * words[i + 1] for i in range(0, len(words), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


COMPRESSED = struct.pack("<5f", 0.01, 0.02, 0.25, 0.5, 0.04) + (
    struct.pack("<bbhHH", 10, -25, -4, 6, 250) + struct.pack("<bbhHH", -20, 50, 8, 10, 2500)
)
TARGET = struct.pack("<I27f", 5, 0.5, 3.0, -0.25, 1.0, -2.0, 0.5, *range(21))


def check_people(frame):
    distance, azimuth, elevation = np.array([[3, 5], [-0.5, 1.0], [0.1, -0.2]])
    np.testing.assert_allclose(
        columns(frame.points),
        [
            distance * np.cos(elevation) * np.cos(azimuth),
            -distance * np.cos(elevation) * np.sin(azimuth),  # to the right is positive there
            distance * np.sin(elevation),
            [-1, 2],
            [10, 20],  # ratios of 10 and 100
        ],
        rtol=1e-5,
    )
    assert frame.targets.ids.tolist() == [5]
    assert_close(frame.targets.positions_m, np.float32([[3.0, -0.5, -0.25]]))
    assert_close(frame.targets.velocities_mps, np.float32([[-2.0, -1.0, 0.5]]))
    assert frame.target_index.tolist() == [5, 255, 253]


def test_people_counting():
    """With the SDK's header and types, and the older one, whose lengths count their headers."""
    blocks = (COMPRESSED, TARGET, bytes([5, 255, 253]))
    data = written_out(
        *zip((1020, 1010, 1011), blocks, strict=True), head=sdk_head(3, announced=0)
    )
    check_people(one(data))
    length = 48 + sum(len(block) + 8 for block in blocks)
    data = written_out(
        *zip((6, 7, 8), blocks, strict=True),
        head=people_head(3)(length),
        pad=False,
        lengths_count_themselves=True,
    )
    assert len(data) == length
    frame = one(data)
    assert (frame.dialect, frame.number) == (Dialect.PEOPLE, 4)
    check_people(frame)
    assert frame.statistics is None and frame.noise_db is None
    stream = TlvStream()
    assert not stream.feed(data[:46] + b"\0\0" + data[48:])
    assert stream.statistics.frames_malformed == 1


def test_checksums_whose_carries_carry():
    """In one header of some thousand the sum of a sum's halves has a carry itself."""
    base = packet_bytes([], 0, dialect=Dialect.PEOPLE)[:46]
    total = sum(struct.unpack("<23H", base))
    full = 0xFFFF - (total & 0xFFFF)  # with this number the lower half is full
    for number in range(full - 2, full + 3):
        data = packet_bytes([], number, dialect=Dialect.PEOPLE)
        (length,) = struct.unpack_from("<I", data, 12)
        words = struct.unpack("<24H", data[:48])
        folded = sum(words)
        while folded > 0xFFFF:
            folded = (folded & 0xFFFF) + (folded >> 16)
        assert folded == 0xFFFF and length == len(data)
        assert one(data).number == number


@pytest.mark.filterwarnings("error")
def test_ratio_of_zero_is_not_known_in_db():
    silent = COMPRESSED[:-2] + b"\0\0"
    frame = one(written_out((1020, silent), head=sdk_head(1, announced=0)))
    assert_close(frame.points.snr, np.float32([10, np.nan]))


def test_spherical_points_with_side_info():
    points = struct.pack("<8f", 2.0, 0.5, 0.0, -1.0, 3.0, 0.0, -0.25, 1.0)
    frame = one(written_out((1000, points), (7, SIDE), head=sdk_head(2, announced=2)))
    expected = [
        [2 * math.cos(0.5), 3 * math.cos(0.25)],
        [-2 * math.sin(0.5), 0],
        [0, -3 * math.sin(0.25)],
        [-1, 1],
        [15.6, 20.3],
    ]
    assert_close(columns(frame.points), np.float32(expected))


@pytest.mark.parametrize("count", [0, 1, 7, 200, 1000])
def test_built_packets_come_back(count, rng):
    """Exactly, but for ratios of signal to noise in tenths of a dB, and fixed points' steps."""
    cloud = random_cloud(rng, count)
    frame = one(packet_bytes(point_blocks(cloud, 40.0), 12, points=count, subframe=2))
    assert (frame.number, frame.subframe, frame.length % 32) == (12, 2, 0)
    np.testing.assert_array_equal(columns(frame.points)[:4], columns(cloud)[:4])
    assert_close(frame.points.snr, cloud.snr)
    data = packet_bytes(
        fixed_point_blocks(cloud, 0.125, 10),
        12,
        points=count,
        dialect=Dialect.XWR14XX,
        version=0x02010004,
        platform=0xA1443,
    )
    frame = one(data, velocity_step_mps=0.125)
    off = np.abs(columns(frame.points) - columns(cloud))
    assert (off[:3] <= 2.0**-11).all() and (off[3] <= 0.0626).all()
    data = packet_bytes([(8, bytes(count))], 3, dialect=Dialect.PEOPLE)
    assert len(one(data).target_index) == count


def test_unknown_ratios_have_no_block(rng):
    cloud = random_cloud(rng, 3)
    cloud.snr[1] = np.nan
    frame = one(packet_bytes(point_blocks(cloud), 1, points=3))
    assert np.isnan(frame.points.snr).all() and len(frame.points) == 3


# --------------------------------------------------------------------------- damaged streams


def delivered(stream, data, cuts):
    frames = []
    for begin, end in itertools.pairwise([0, *cuts, len(data)]):
        frames += stream.feed(data[begin:end])
    return frames


def disturbed(rng, packets):
    """A stream with everything that may happen to it."""
    pieces = []
    for packet in packets:
        change = rng.integers(6)
        if change == 0:
            pieces.append(rng.bytes(int(rng.integers(1, 200))))
        if change == 1:
            packet = packet[: rng.integers(len(packet))]
        if change == 2:
            packet = bytearray(packet)
            packet[rng.integers(len(packet))] ^= 1 << rng.integers(8)
        if change == 3:
            begin = int(rng.integers(len(packet)))
            packet = packet[:begin] + packet[begin + int(rng.integers(1, 40)) :]
        if change == 4:
            begin = int(rng.integers(len(packet)))
            packet = packet[:begin] + MAGIC + packet[begin:]
        pieces.append(bytes(packet))
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_how_the_stream_is_cut(seed):
    """Frames and counters are the same, byte by byte, in any pieces, and at once."""
    rng = np.random.default_rng(seed)
    data = disturbed(rng, random_packets(rng, 25))
    cuts = np.sort(rng.integers(0, len(data) + 1, int(rng.integers(1, 300)))).tolist()
    results = []
    for pieces in ([], cuts, range(1, len(data))):
        stream = TlvStream()
        frames = delivered(stream, data, pieces)
        results.append((stream.statistics, [(f.number, f.blocks) for f in frames]))
    assert results[0] == results[1] == results[2]
    assert results[0][0].frames == len(results[0][1]) > 5


@pytest.mark.parametrize("seed", range(5))
def test_every_packet_between_garbage_arrives(seed):
    """And every byte is accounted for."""
    rng = np.random.default_rng(seed)
    packets = random_packets(rng, 30)
    garbage = [rng.bytes(int(rng.integers(0, 300))) for _ in packets]
    data = b"".join(g + p for g, p in zip(garbage, packets, strict=True))
    stream = TlvStream()
    frames = delivered(stream, data, np.sort(rng.integers(0, len(data), 100)).tolist())
    assert [f.number for f in frames] == list(range(1, 31))
    counts = stream.statistics
    assert counts.bytes_received == len(data)
    assert counts.bytes_skipped == sum(map(len, garbage))
    assert (counts.frames_lost, counts.frames_malformed) == (0, 0)


def test_a_million_bytes_of_garbage(rng):
    """W1: no exception, no frame, and the packet after them arrives."""
    stream = TlvStream()
    for _ in range(100):
        assert not stream.feed(rng.bytes(10_000))
    assert stream.statistics.bytes_received == 1_000_000
    assert stream.statistics.bytes_skipped >= 1_000_000 - len(MAGIC)
    (packet,) = random_packets(rng, 1)
    assert len(stream.feed(packet)) == 1
    assert stream.statistics.bytes_skipped == 1_000_000


def test_a_million_bytes_behind_magic_words(rng):
    """Garbage that begins like packets, again and again: bounded memory, no frame."""
    stream = TlvStream()
    held = 0
    for _ in range(50):
        headers = rng.integers(0, 2**32, (500, 8), dtype=np.uint32)
        headers[:, 1] = rng.integers(0, 2 * MAX_PACKET_BYTES, 500)
        data = b"".join(MAGIC + header.tobytes() for header in headers.astype("<u4"))
        assert not stream.feed(data)
        counts = stream.statistics
        held = max(held, counts.bytes_received - counts.bytes_skipped)
    assert counts.bytes_received == 1_000_000
    assert held <= MAX_PACKET_BYTES
    assert counts.frames_malformed > 20_000
    packets = random_packets(rng, 5)
    assert [f.number for f in stream.feed(b"".join(packets))] == [1, 2, 3, 4, 5]


def test_mutated_packets_are_whole_or_refused(rng):
    """W2: bits flipped and bytes gone, 20,000 times; frames hold possible points only."""
    packets = random_packets(rng, 50)
    stream = TlvStream()
    for _ in range(400):
        for frame in stream.feed(disturbed(rng, packets)):
            cloud = columns(frame.points)[:4]
            assert np.isfinite(cloud).all() and (np.abs(cloud) <= FARTHEST_POINT_M).all()
    counts = stream.statistics
    assert counts.frames > 10_000 and counts.frames_malformed > 2000


def test_cut_anywhere_the_next_packet_arrives(rng):
    """A packet that lacks its end is dropped, unless hardly any of its padding is missing."""
    first, second, third = random_packets(rng, 3)
    for length in range(1, len(first)):
        stream = TlvStream()
        numbers = [f.number for f in stream.feed(first[:length] + second + third)]
        assert numbers[-2:] == [2, 3], length
        missing = len(first) - length
        assert (numbers[0] == 1) == (missing < 4), length
        if len(MAGIC) <= length and len(MAGIC) <= missing:
            assert stream.statistics.frames_malformed >= 1, length


@pytest.mark.parametrize("lost", range(4, 20, 4))
def test_points_that_are_not_where_they_should_be_are_not_taken(lost, rng):
    """What is missing within the last block is filled up by the beginning of the next packet."""
    clouds = [random_cloud(rng, 6) for _ in range(2)]
    first, second = (
        packet_bytes(point_blocks(cloud)[:1], number, points=6)
        for number, cloud in enumerate(clouds)
    )
    assert len(first) == 40 + 8 + 6 * 16 + 16  # padding that would hide what is missing
    stream = TlvStream()
    assert [f.number for f in stream.feed(first[:60] + first[60 + lost :] + second)] == [1]
    assert stream.statistics.malformed == {"packet cut short": 1}


@pytest.mark.parametrize("length", [0, 35, MAX_PACKET_BYTES + 1, 2**31, 2**32 - 1])
def test_impossible_lengths_are_refused_at_once(length, rng):
    (packet,) = random_packets(rng, 1)
    wrong = packet[:12] + struct.pack("<I", length) + packet[16:]
    stream = TlvStream()
    assert [f.number for f in stream.feed(wrong + packet)] == [1]
    assert stream.statistics.malformed == {"packet length out of range": 1}
    assert stream.statistics.bytes_skipped == len(wrong)


def test_a_length_that_is_too_long_does_not_hold_up_the_next_packet(rng):
    first, second = random_packets(rng, 2)
    wrong = first[:12] + struct.pack("<I", MAX_PACKET_BYTES) + first[16:]
    stream = TlvStream()
    assert [f.number for f in stream.feed(wrong + second)] == [2]
    assert stream.statistics.malformed == {"packet cut short": 1}


def test_a_magic_word_within_a_packet_is_not_the_next_one(rng):
    """Unless a whole packet lies there, or the beginning of one of the same board."""
    inner = bytearray(random_packets(rng, 1)[0])
    inner[8] ^= 1  # version
    inner[13] ^= 0x80  # length
    for content in (MAGIC, MAGIC * 20, b"ab" + MAGIC + bytes(50), bytes(inner)):
        data = packet_bytes([(77, content + b"12345678")], 5)
        stream = TlvStream()
        (frame,) = delivered(stream, data, range(1, len(data)))
        assert frame.blocks == ((77, content + b"12345678"),)
        assert stream.statistics.frames_malformed == 0


BAD = {
    "points of another number than announced": (
        written_out((1, POINTS), head=sdk_head(1, announced=2**32 - 1)),
        "other number of points than announced",
    ),
    "ratios of another number than points": (
        written_out((1, POINTS), (7, SIDE[:4]), head=sdk_head(2)),
        "other number of points than announced",
    ),
    "points of a broken length": (
        written_out((1, POINTS[:-4]), head=sdk_head(1)),
        "points block of impossible length",
    ),
    "compressed points of a broken length": (
        written_out((1020, COMPRESSED[:-3]), head=sdk_head(1)),
        "points block of impossible length",
    ),
    "no units": (
        written_out((1020, b""), head=sdk_head(1)),
        "points block of impossible length",
    ),
    "spherical points of a broken length": (
        written_out((1000, b"1"), head=sdk_head(1)),
        "points block of impossible length",
    ),
    "a unit that is no number": (
        written_out((1020, struct.pack("<f", math.nan) + COMPRESSED[4:]), head=sdk_head(1)),
        "points that are nowhere",
    ),
    "a unit beyond all numbers": (
        written_out(
            (1020, COMPRESSED[:12] + struct.pack("<f", 3e38) + COMPRESSED[16:]), head=sdk_head(1)
        ),
        "points that are nowhere",
    ),
    "a spherical point that is no number": (
        written_out((1000, struct.pack("<4f", math.inf, 0, 0, 0)), head=sdk_head(1)),
        "points that are nowhere",
    ),
    "a point at infinity": (
        written_out((1, POINTS[:-4] + struct.pack("<f", math.inf)), head=sdk_head(1)),
        "points that are nowhere",
    ),
    "a point that is no number": (
        written_out((1, struct.pack("<f", math.nan) + POINTS[4:]), head=sdk_head(1)),
        "points that are nowhere",
    ),
    "a point too far away": (
        written_out((1, struct.pack("<f", 1001.0) + POINTS[4:]), head=sdk_head(1)),
        "points that are nowhere",
    ),
    "fewer blocks than announced": (
        written_out((1, POINTS), head=sdk_head(2)),
        "blocks do not fill the packet",
    ),
    "more blocks than announced": (
        written_out((1, POINTS), (7, SIDE), (2, bytes(64)), head=sdk_head(2)),
        "blocks do not fill the packet",
    ),
    "billions of blocks": (
        written_out((1, POINTS), head=sdk_head(2**32 - 1)),
        "blocks do not fill the packet",
    ),
    "65 blocks": (
        written_out(*[(2, b"")] * 65, head=sdk_head(65)),
        "blocks do not fill the packet",
    ),
    "a block of billions of bytes": (
        written_out((1, POINTS), head=sdk_head(1)).replace(
            struct.pack("<II", 1, 32), struct.pack("<II", 1, 2**32 - 1)
        ),
        "blocks do not fill the packet",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BAD)
def test_malformed_packets_are_refused_and_the_next_one_arrives(what, rng):
    data, reason = BAD[what]
    packets = random_packets(rng, 2)
    stream = TlvStream()
    frames = stream.feed(packets[0] + data + packets[1])
    assert [f.number for f in frames] == [1, 2]
    counts = stream.statistics
    assert counts.malformed == {reason: 1} and counts.frames_malformed == 1
    assert counts.bytes_skipped == len(data)


@pytest.mark.parametrize(
    ("count", "bits", "length"), [(3, 9, 24), (65535, 9, 24), (2, 16, 24), (0, 0, 24), (0, 0, -2)]
)
def test_descriptors_of_fixed_points_are_checked(count, bits, length):
    block = (struct.pack("<HH", count, bits) + bytes(max(length, 0)))[: 4 + length]
    data = packet_bytes(
        [(1, block)], 1, dialect=Dialect.XWR14XX, version=0x02010004, platform=0xA1443
    )
    stream = TlvStream()
    assert not stream.feed(data)
    assert stream.statistics.malformed == {"points block of impossible length": 1}


# --------------------------------------------------------------------------- numbers and times


def feed_numbers(stream, numbers):
    for number, subframe in numbers:
        stream.feed(packet_bytes([], number, subframe=subframe))


@pytest.mark.parametrize(
    ("numbers", "lost", "restarts"),
    [
        ([(5, 0), (6, 0), (7, 0)], 0, 0),
        ([(5, 0), (8, 0), (9, 0)], 2, 0),
        ([(2**32 - 2, 0), (2**32 - 1, 0), (1, 0)], 1, 0),
        ([(5, 0), (1, 0), (2, 0)], 0, 1),
        ([(5, 0), (5, 0)], 0, 1),
        ([(5, 0), (5, 1), (6, 0), (6, 1)], 0, 0),
        ([(5, 0), (10**9, 0), (10**9 + 1, 0)], 0, 1),
    ],
)
def test_lost_frames_and_restarts_are_counted(numbers, lost, restarts):
    stream = TlvStream()
    feed_numbers(stream, numbers)
    assert (stream.statistics.frames_lost, stream.statistics.restarts) == (lost, restarts)


def test_what_follows_a_pause_is_no_gap(rng):
    """`clear` forgets half a packet, and the number of the last one."""
    first, second = random_packets(rng, 2)
    stream = TlvStream()
    stream.feed(first + second[:40])
    stream.clear()
    assert stream.statistics.bytes_skipped == 40
    feed_numbers(stream, [(90, 0)])
    counts = stream.statistics
    assert (counts.frames, counts.frames_lost, counts.restarts) == (2, 0, 0)


def test_the_time_of_a_frame_is_that_of_its_magic_word(rng):
    """Of the piece in which the magic word ends, however late the packet does."""
    first, second, third = random_packets(rng, 3)
    stream = TlvStream()
    assert not stream.feed(b"garbage" + first[:7], 1.0)
    assert not stream.feed(first[7:20], 2.0)
    frames = stream.feed(first[20:] + second + third[:8], 3.0)
    frames += stream.feed(third[8:], 4.0)
    assert [f.time_s for f in frames] == [2.0, 3.0, 3.0]


def test_many_unknown_blocks_do_not_fill_the_memory():
    stream = TlvStream()
    for number in range(40):
        kinds = range(2000 + 10 * number, 2010 + 10 * number)
        stream.feed(packet_bytes([(kind, b"") for kind in kinds], number))
    unknown = stream.statistics.unknown_blocks
    assert sum(unknown.values()) == 400 and len(unknown) == 65 and unknown[-1] == 336
