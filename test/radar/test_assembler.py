"""Datagrams to frames, under every kind of disturbance."""

import random

import numpy as np
import pytest

from radar_pose_ros.radar.assembler import FrameAssembler
from radar_pose_ros.radar.dca1000 import DATA_HEADER_BYTES, encode_data_packet
from radar_pose_ros.simulation.boards import Faults, PacketStream, split_packets

CARD = ("192.168.33.180", 1024)
CHIRP = 512
FRAME = 24 * CHIRP  # 12,288 bytes: 8.44 packets


def make_stream(rng, frames, frame_bytes=FRAME, **counters):
    """Frames of random samples, and the packets that carry them."""
    data = rng.integers(-32768, 32768, (frames, frame_bytes // 2), dtype=np.int16)
    stream = PacketStream(**counters)
    packets = [p for frame in data for p in split_packets(stream.packets(frame))]
    return data, packets + split_packets(stream.flush())


def run(assembler, packets, source=CARD):
    """Push all packets; returns the frames, and checks that the accounts close."""
    frames = []
    before = assembler.statistics.datagrams
    for number, packet in enumerate(packets):
        frames += assembler.push(packet, source, float(number))
    assert assembler.statistics.datagrams == before + len(packets)
    frames += assembler.flush()
    check_accounts(assembler, frames[0].data.nbytes if frames else None)
    return frames


def check_accounts(assembler, frame_bytes=None):
    counts = assembler.statistics
    if frame_bytes is not None:
        assert (
            counts.bytes_received - counts.bytes_pending + counts.bytes_missing
            == counts.frames_closed * frame_bytes
        )
    return counts


def check_frame(frame, sent, chirp_bytes=CHIRP):
    """Every sample is the one sent or zero where it is missing, and the marks agree with that."""
    wrong = frame.data != sent
    assert not frame.data[wrong].any()  # only zeros differ
    chirp_of = np.arange(len(sent)) * 2 // chirp_bytes
    assert not wrong[frame.chirp_valid[chirp_of] == 1].any()
    assert wrong.sum() * 2 <= frame.bytes_missing
    assert (frame.bytes_missing == 0) == bool(frame.chirp_valid.all())


def test_sizes_that_are_refused():
    """W9: frames above max_frame_bytes, and sizes that cannot be."""
    FrameAssembler(64 << 20, 64 << 20)
    with pytest.raises(ValueError, match=r"larger than the limit of 67108864 bytes"):
        FrameAssembler((64 << 20) + 2, 2)
    with pytest.raises(ValueError, match="larger than the limit of 1000 bytes"):
        FrameAssembler(1002, 2, max_frame_bytes=1000)
    with pytest.raises(ValueError, match="whole 16-bit values, got 3 bytes"):
        FrameAssembler(3, 3)
    with pytest.raises(ValueError, match="chirps of 5 bytes do not fill a frame of 12 bytes"):
        FrameAssembler(12, 5)
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        FrameAssembler(12, 6, max_missing_ratio=1.5)


@pytest.mark.parametrize("payload", [2, 100, 512, 1024, 1456, 1462])
def test_any_payload_size(payload, rng):
    data, packets = make_stream(rng, 3, payload_bytes=payload)
    frames = run(FrameAssembler(FRAME, CHIRP), packets)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)


def test_frames_carry_the_arrival_of_their_packets(rng):
    _, packets = make_stream(rng, 2, 2912)  # two packets each
    frames = run(FrameAssembler(2912, 2912), packets)
    assert [(f.first_packet_s, f.last_packet_s) for f in frames] == [(0.0, 1.0), (2.0, 3.0)]


def test_an_empty_datagram_is_malformed():
    """Before the first packet, and while every packet fills a frame."""
    packets = make_stream(np.random.default_rng(0), 3, 16)[1]
    assembler = FrameAssembler(16, 16, source=(CARD[0], None))
    for packet in (b"", *packets, b""):
        assembler.push(packet, CARD, 0.0)
        assembler.push(b"", CARD, 0.0)
    assert assembler.statistics.packets_malformed == len(packets) + 4


def test_memory_of_datagrams_may_be_reused(rng):
    data, packets = make_stream(rng, 4)
    random.Random(0).shuffle(packets[4:8])
    assembler = FrameAssembler(FRAME, CHIRP)
    buffer = bytearray(2048)
    frames = []
    for packet in packets:
        buffer[: len(packet)] = packet
        frames += assembler.push(memoryview(buffer)[: len(packet)], CARD, 0.0)
        buffer[:] = b"\xee" * 2048
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)


# --------------------------------------------------------------------------- loss


def test_default_ratio_is_one_percent(rng):
    """W3: one packet in a frame of 540 is published with its mark, six are not."""
    data, packets = make_stream(rng, 3, 786_432)
    for lost, published in ((1, True), (5, True), (6, False)):
        assembler = FrameAssembler(786_432, 4096)
        frames = run(assembler, packets[:600] + packets[600 + lost :])
        assert [f.index for f in frames] == ([0, 1, 2] if published else [0, 2])
        if published:
            assert frames[1].bytes_missing == lost * 1456
            check_frame(frames[1], data[1], 4096)
            first = 600 * 1456 - 786_432
            invalid = np.flatnonzero(frames[1].chirp_valid == 0)
            assert invalid.tolist() == list(
                range(first // 4096, (first + lost * 1456 - 1) // 4096 + 1)
            )
        assert assembler.statistics.frames_dropped == (not published)


def test_loss_at_the_start_is_counted(rng):
    _, packets = make_stream(rng, 4)
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    frames = run(assembler, packets[20:])
    assert [f.index for f in frames] == [2, 3]
    counts = assembler.statistics
    assert (counts.frames_lost, counts.packets_lost) == (2, 20)
    assert counts.bytes_missing == 20 * 1456
    assert frames[0].bytes_missing == 20 * 1456 - 2 * FRAME


def test_joining_a_running_stream(rng):
    _, packets = make_stream(rng, 4, sequence=10**6, byte_count=(10**6 - 1) * 1456)
    assembler = FrameAssembler(FRAME, CHIRP, from_start=False)
    frames = run(assembler, packets)
    assert assembler.statistics.frames_lost == 0
    assert assembler.statistics.packets_lost == 0
    assert all(f.bytes_missing == 0 for f in frames)
    assert frames[0].index == -(-(10**6 - 1) * 1456 // FRAME)


def test_stragglers_from_before_the_joining_do_not_hide_loss(rng):
    """Packets 0 and 1 come after 2, where reading began; 10 and 11 never come."""
    data, packets = make_stream(rng, 3)
    assembler = FrameAssembler(FRAME, CHIRP, from_start=False, max_missing_ratio=1.0)
    shuffled = [*packets[2:5], *packets[:2], *packets[5:10], *packets[12:]]
    frames = run(assembler, shuffled)
    counts = assembler.statistics
    assert (counts.packets_reordered, counts.packets_lost) == (2, 2)
    assert counts.bytes_missing == sum(f.bytes_missing for f in frames) == 2 * 1456
    check_frame(frames[0], data[0], CHIRP)


def test_what_never_came_at_the_end_is_missing_in_the_last_frame(rng):
    _, packets = make_stream(rng, 3)
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    frames = run(assembler, packets[:-2])
    assert frames[2].bytes_missing == sum(len(p) - DATA_HEADER_BYTES for p in packets[-2:])


# --------------------------------------------------------------------------- order


def test_loss_reordering_and_duplicates_together(rng):
    """W3, W5: the count stays exact."""
    data, packets = make_stream(rng, 300)
    faults = Faults(loss=0.05, burst_loss=0.002, burst_packets=30, reorder=0.2, duplicate=0.01)
    arrived = faults.apply(packets[:-70]) + faults.drain() + packets[-70:]
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    frames = run(assembler, arrived)
    for frame in frames:
        check_frame(frame, data[frame.index])
    assert assembler.statistics.bytes_missing == faults.bytes_lost
    assert assembler.statistics.packets_lost == faults.packets_lost


def test_the_window_is_64_packets(rng):
    data, packets = make_stream(rng, 20)
    for distance, late in ((64, 0), (65, 1)):
        arrived = packets[:30] + packets[31 : 31 + distance] + [packets[30]]
        arrived += packets[31 + distance :]
        assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
        frames = run(assembler, arrived)
        counts = assembler.statistics
        assert (counts.packets_late, counts.packets_lost) == (late, late)
        assert counts.bytes_missing == late * 1456
        assert counts.epochs == 1
        for frame in frames:
            check_frame(frame, data[frame.index])


def test_late_packets_do_not_touch_published_frames(rng):
    """W5: late packets are counted and ignored."""
    data, packets = make_stream(rng, 20)
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    frames = []
    for packet in packets[:10] + packets[11:]:
        frames += assembler.push(packet, CARD, 0.0)
    copies = [f.data.copy() for f in frames]
    assembler.push(packets[10], CARD, 0.0)
    assert assembler.statistics.packets_late == 1
    for frame, copy in zip(frames, copies, strict=True):
        np.testing.assert_array_equal(frame.data, copy)
    assert frames[1].bytes_missing == 1456
    check_frame(frames[1], data[1])


# --------------------------------------------------------------------------- wraps


def test_loss_and_disorder_across_a_wrap(rng):
    """W6, W3: counting stays exact where counters wrap."""
    start = 2**48 - 40 * FRAME
    start -= start % FRAME
    _, packets = make_stream(rng, 80, sequence=2**32 - 300, byte_count=start)
    faults = Faults(loss=0.05, reorder=0.2, duplicate=0.02, seed=9)
    arrived = packets[:5] + faults.apply(packets[5:-70]) + faults.drain() + packets[-70:]
    assembler = FrameAssembler(FRAME, CHIRP, from_start=False, max_missing_ratio=1.0)
    run(assembler, arrived)
    assert assembler.statistics.bytes_missing == faults.bytes_lost
    assert assembler.statistics.epochs == 1


# --------------------------------------------------------------------------- restarts, senders


@pytest.mark.parametrize("trial", range(20))
def test_restarts(trial, rng):
    """W7: counters that start again begin a new epoch; only the frame in progress is lost."""
    data, packets = make_stream(rng, 40)
    again, more = make_stream(rng, 40)
    cut = int(rng.integers(1, len(packets)))
    missed = int(rng.integers(0, 3)) if cut > 4 * 64 + 3 else 0
    assembler = FrameAssembler(FRAME, CHIRP)
    frames = run(assembler, packets[:cut] + more[missed:])
    assert assembler.statistics.epochs == 2
    whole = cut * 1456 // FRAME
    assert [(f.epoch, f.index) for f in frames if f.epoch == 0] == [(0, i) for i in range(whole)]
    assert [f.index for f in frames if f.epoch == 1] == list(range(missed > 0, 40))
    for frame in frames:
        np.testing.assert_array_equal(frame.data, (again if frame.epoch else data)[frame.index])


def test_restart_with_stragglers(rng):
    """W7: packets of the old stream that arrive after the new one began are not mixed in."""
    data, packets = make_stream(rng, 40)
    again, more = make_stream(rng, 40)
    arrived = packets[:300] + more[:5] + packets[300:303] + more[5:]
    assembler = FrameAssembler(FRAME, CHIRP)
    frames = run(assembler, arrived)
    assert assembler.statistics.epochs == 2
    assert [f.index for f in frames if f.epoch == 1] == list(range(40))
    for frame in frames:
        np.testing.assert_array_equal(frame.data, (again if frame.epoch else data)[frame.index])


def test_flush_ends_an_epoch(rng):
    data, packets = make_stream(rng, 3)
    assembler = FrameAssembler(FRAME, CHIRP)
    first, second = run(assembler, packets), run(assembler, packets)
    assert [f.epoch for f in first + second] == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(np.stack([f.data for f in second]), data)


@pytest.mark.parametrize(
    ("allowed", "foreign"),
    [
        (("192.168.33.180", None), ("192.168.33.181", 1024)),
        (("192.168.33.180", 1024), ("192.168.33.180", 1025)),
        (("192.168.33.180", None), ("192.168.33.180", 1025)),
        (None, ("192.168.33.181", 1024)),
    ],
    ids=["address", "port", "learned port", "learned address"],
)
def test_foreign_senders(allowed, foreign, rng):
    """W7: a second sender on the same port is rejected and counted, whatever it sends."""
    data, packets = make_stream(rng, 30)
    _, other = make_stream(rng, 30)
    assembler = FrameAssembler(FRAME, CHIRP, source=allowed)
    frames = assembler.push(packets[0], CARD, 0.0)
    for number, (packet, intruder) in enumerate(zip(packets[1:], other, strict=False)):
        frames += assembler.push(intruder, foreign, number * 1e-4)
        frames += assembler.push(packet, CARD, number * 1e-4)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)
    assert assembler.statistics.packets_foreign == len(packets) - 1
    assert assembler.statistics.epochs == 1


def test_a_configured_sender_may_come_second(rng):
    """W7: with an address configured, a foreign stream is never followed, not even at first."""
    data, packets = make_stream(rng, 3)
    assembler = FrameAssembler(FRAME, CHIRP, source=("192.168.33.180", None))
    for packet in packets:
        assert assembler.push(packet, ("10.0.0.1", 1024), 0.0) == []
    frames = run(assembler, packets)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)
    assert assembler.statistics.packets_foreign == len(packets)


def test_another_port_of_the_card_after_silence(rng):
    """W7: a card that comes back from another port is followed once the old one is silent."""
    data, packets = make_stream(rng, 10)
    other = ("192.168.33.180", 5000)
    assembler = FrameAssembler(FRAME, CHIRP, source=("192.168.33.180", None), sender_timeout_s=1.0)
    frames = []
    for number, packet in enumerate(packets[:40]):
        frames += assembler.push(packet, CARD, number * 0.001)
    frames += assembler.push(packets[0], other, 0.5)
    assert assembler.statistics.packets_foreign == 1
    for packet in packets:
        frames += assembler.push(packet, other, 2.0)
    assert [(f.epoch, f.index) for f in frames] == [(0, i) for i in range(4)] + [
        (1, i) for i in range(10)
    ]
    for frame in frames:
        np.testing.assert_array_equal(frame.data, data[frame.index])


# --------------------------------------------------------------------------- damage


def test_a_first_packet_that_was_cut_short(rng):
    _, packets = make_stream(rng, 3)
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    frames = run(assembler, [packets[0][:110], *packets[1:]])
    assert [f.bytes_missing for f in frames] == [1356, 0, 0]
    assert assembler.statistics.epochs == 1


def test_a_short_packet_within_the_stream(rng):
    """A card that empties its buffer in a pause goes on from there."""
    data = rng.integers(-32768, 32768, (2, 4, FRAME // 2), dtype=np.int16)
    stream = PacketStream()
    packets = []
    for part in data:
        packets += [p for frame in part for p in split_packets(stream.packets(frame))]
        packets += split_packets(stream.flush())
    assembler = FrameAssembler(FRAME, CHIRP)
    frames = run(assembler, packets)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data.reshape(8, -1))
    # The same, where the packet after the short one is lost.
    short = next(i for i, p in enumerate(packets) if len(p) < 1466)
    assembler = FrameAssembler(FRAME, CHIRP, max_missing_ratio=1.0)
    run(assembler, packets[: short + 1] + packets[short + 2 :])
    counts = assembler.statistics
    assert (counts.bytes_missing, counts.packets_lost, counts.epochs) == (1456, 1, 1)


def test_encoded_packets_are_those_of_the_stream(rng):
    """The vectorised packets equal those of the codec."""
    _, packets = make_stream(rng, 2, sequence=2**32 - 3, byte_count=2**48 - 2 * 1456)
    count = 2**48 - 2 * 1456
    for number, packet in enumerate(packets):
        payload = packet[DATA_HEADER_BYTES:]
        assert bytes(packet) == encode_data_packet(2**32 - 3 + number, count, payload)
        count += len(payload)
