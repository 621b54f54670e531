"""W1 to W6 and W9: what arrives at the data port, pushed into the assembler."""

from __future__ import annotations

import itertools
import math

import numpy as np
from faults.rows import Outcome, row
from faults.wire import MIB, NOTHING_LOST, Complaints, Memory, Receiver, Stream
from loopback import LOOPBACK, SMALL

from radar_pose_ros.radar.assembler import MAX_FRAME_BYTES, AssembledFrame, FrameAssembler
from radar_pose_ros.radar.dca1000 import (
    BYTE_COUNT_MODULUS,
    DATA_HEADER,
    DATA_HEADER_BYTES,
    SEQUENCE_MODULUS,
)
from radar_pose_ros.radar.ports import DcaUdpSource
from radar_pose_ros.simulation.boards import Faults, Packet

HUPR_FRAME, HUPR_CHIRP = 786_432, 4096
FRAME, CHIRP = 12_288, 512  # 8.44 packets: many frames for little time
RATIO = 0.01  # of a frame may be missing, by default

# --------------------------------------------------------------------------- W1


@row(
    "W1",
    fault="random bytes as datagrams, half of them of 0 to 65,507 bytes, half not longer than a "
    "packet",
    must_hold="no exception, no frame, all counted, less than 10 MiB grown; the stream that "
    "follows is whole",
    volume=1_000_000,
    unit="datagrams",
)
def random_datagrams(volume: int, seed: int) -> Outcome:
    """W1."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    stream = Stream(seed, FRAME, CHIRP)
    receiver = Receiver(stream, complaints)
    noise = memoryview(rng.bytes(MIB))
    batches = -(-volume // 10_000)
    memory = None
    for batch in range(batches):
        many = min(10_000, volume - 10_000 * batch)
        longest = np.where(rng.random(many) < 0.5, 65_507, 1472)
        sizes = rng.integers(0, longest + 1)
        starts = rng.integers(0, MIB - sizes)
        cuts = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        for _ in receiver.push(noise[start:end] for start, end in cuts):
            complaints.expect(False, "noise made a frame")
        memory = memory or Memory()  # from the end of the first batch on
        memory.look()
    assert memory is not None
    refused = receiver.assembler.statistics
    complaints.expect(memory.grown_mib < 10, "more than 10 MiB grown")
    complaints.expect(refused.bytes_received == 0, "bytes of noise were received")
    frames = [*receiver.push(stream.packets(0, stream.packets_of(20)))]
    frames += [*receiver.push(stream.ending(20)), *receiver.flush()]
    complaints.expect(
        [frame.index for frame in frames] == list(range(20)), "the stream after it has gaps"
    )
    for frame in frames:
        found = stream.complaint(frame, NOTHING_LOST)
        complaints.expect(not found, found)
    return complaints.outcome(
        f"{volume:,} datagrams: {receiver.exceptions} exceptions, 0 frames, "
        f"{refused.packets_malformed:,} malformed and {refused.packets_stray:,} stray, "
        f"{refused.packets_pending} pending; {memory.grown_mib:.1f} MiB grown"
    )


@row(
    "W1",
    fault="random bytes, one in four of them none at all, between the packets of a stream, from "
    "its own sender; frames of half a packet, of one, of 8 and of 540 packets",
    must_hold="no exception; the frames are bit for bit those of the stream; all counted",
    volume=250_000,
    unit="datagrams for each size",
)
def noise_within_a_stream(volume: int, seed: int) -> Outcome:
    """W1: a datagram of noise before each packet."""
    complaints, frames_seen, refused = Complaints(), 0, 0
    for number, frame_bytes in enumerate((728, 1456, FRAME, HUPR_FRAME)):
        rng = np.random.default_rng([seed, number])
        noise = rng.bytes(MIB)
        stream = Stream([seed, number], frame_bytes, math.gcd(frame_bytes, CHIRP))
        frames = max(-(-volume * stream.payload_bytes // frame_bytes), 1)
        count = stream.packets_of(frames)
        sizes = np.where(rng.random(count) < 0.25, 0, rng.integers(1, 1480, count)).tolist()
        starts = rng.integers(0, MIB - 1480, count).tolist()
        between = (noise[at : at + size] for at, size in zip(starts, sizes, strict=True))
        receiver = Receiver(stream, complaints)
        pairs = zip(stream.packets(0, count), between, strict=True)
        arrived = itertools.chain(itertools.chain.from_iterable(pairs), stream.ending(frames))
        indices = 0
        for frame in receiver.push_all(arrived):
            complaint = stream.complaint(frame, NOTHING_LOST)
            complaints.expect(
                not complaint and frame.index == indices, complaint or f"no frame {indices}"
            )
            indices += 1
        counts = receiver.assembler.statistics
        seen = counts.packets_malformed + counts.packets_stray
        for what, is_, wanted in (
            ("frames", indices, frames),
            ("refused", seen, count),
            ("epochs", counts.epochs, 1),
            ("missing bytes", counts.bytes_missing, 0),
        ):
            complaints.expect(
                is_ == wanted, f"frames of {frame_bytes} bytes: {what} {is_}, not {wanted}"
            )
        frames_seen, refused = frames_seen + indices, refused + seen
    return complaints.outcome(
        f"{refused:,} datagrams of noise refused, {frames_seen:,} frames bit for bit"
    )


# --------------------------------------------------------------------------- W2

KINDS = (
    *("bits of the header flipped, beside", "odd or without payload, beside", "too long, beside"),
    *("cut short", "payload flipped", "bits of the header flipped", "header cut off"),
    "other payload under a header that was there",
)
BATCH = 5_000  # datagrams; after it another assembler and another stream
BESIDE, CUT, FLIPPED, INSTEAD, AGAIN = (0, 1, 2), 3, 4, (5, 6), 7


class _Damage:
    """What becomes of the packets of a stream, and what must become of its frames."""

    def __init__(self, stream: Stream, count: int, rng: np.random.Generator) -> None:
        self._stream, self._rng = stream, rng
        kinds = rng.integers(0, len(KINDS), count)
        kinds[:3] = kinds[-1] = FLIPPED  # the first ones tell the size of a packet
        after = np.flatnonzero((kinds[:-1] == CUT) & np.isin(kinds[1:], (0, 5))) + 1
        # Flipped bits may name exactly the place where a short packet ended: then the header is
        # right, and nothing can tell that it was another.
        kinds[after] = FLIPPED
        # Headers that are alike damaged, with nothing between, are a stream of their own.
        near = np.flatnonzero(np.isin(kinds[1:], INSTEAD) & np.isin(kinds[:-1], INSTEAD)) + 1
        kinds[near] = FLIPPED
        self.kinds = kinds
        self.cuts = 2 * rng.integers(1, stream.payload_bytes // 2, count)  # bytes that are left
        self._noise = rng.bytes(MIB)
        self._changed: dict[int, list[tuple[int, int]]] = {}  # of frames: place, value
        self._gaps: dict[int, list[tuple[int, int]]] = {}

    def datagrams(self, packets: list[Packet], first: int):
        """Give what arrives instead of these packets."""
        rng, size = self._rng, self._stream.payload_bytes
        flips = rng.integers(0, 8 * DATA_HEADER_BYTES, (len(packets), 3)).tolist()
        many = rng.integers(1, 4, len(packets)).tolist()
        places = rng.integers(0, size, len(packets)).tolist()
        values = rng.integers(1, 256, len(packets)).tolist()
        kinds = self.kinds[first : first + len(packets)].tolist()
        for at, (packet, kind) in enumerate(zip(packets, kinds, strict=True)):
            number = first + at
            mutant = bytearray(packet)
            if kind in (0, 5):
                for bit in set(flips[at][: many[at]]):
                    mutant[bit >> 3] ^= 1 << (bit & 7)
            elif kind == 1:
                del mutant[places[at] | 1 :]
            elif kind == 2:
                mutant += bytes(2 + places[at] // 36 * 2)
            elif kind == CUT:
                left = int(self.cuts[number])
                del mutant[DATA_HEADER_BYTES + left :]
                self._lose(number * size + left, (number + 1) * size)
            elif kind == FLIPPED:
                mutant[DATA_HEADER_BYTES + places[at]] ^= values[at]
                self._change(number * size + places[at], mutant[DATA_HEADER_BYTES + places[at]])
            elif kind == 6:
                del mutant[places[at] % (DATA_HEADER_BYTES + 2) :]
            elif kind == AGAIN:
                start = places[at] * 600
                mutant[DATA_HEADER_BYTES:] = self._noise[start : start + size]
            if kind in INSTEAD:
                self._lose(number * size, (number + 1) * size)
            if kind in BESIDE:
                yield mutant
                yield packet
            elif kind == AGAIN:
                yield packet
                yield mutant
            else:
                yield mutant

    def _lose(self, start: int, end: int) -> None:
        index, offset = divmod(start, self._stream.frame_bytes)
        over = offset + end - start - self._stream.frame_bytes
        self._gaps.setdefault(index, []).append(
            (offset, min(offset + end - start, self._stream.frame_bytes))
        )
        if over > 0:
            self._gaps.setdefault(index + 1, []).append((0, over))

    def _change(self, place: int, value: int) -> None:
        index, offset = divmod(place, self._stream.frame_bytes)
        self._changed.setdefault(index, []).append((offset, value))

    def complaint(self, frame: AssembledFrame) -> str:
        """Return what is wrong with a frame: each frame once."""
        stream = self._stream
        expected = stream.data(frame.index * stream.frame_bytes, stream.frame_bytes).copy()
        marks = np.ones(stream.frame_bytes // stream.chirp_bytes, np.uint8)
        for offset, value in self._changed.pop(frame.index, ()):
            expected[offset] = value
        missing = 0
        for start, end in self._gaps.pop(frame.index, ()):
            expected[start:end] = 0
            marks[start // stream.chirp_bytes : (end - 1) // stream.chirp_bytes + 1] = 0
            missing += end - start
        if not np.array_equal(frame.data.view(np.uint8), expected):
            return f"frame {frame.index} holds bytes that no accepted packet carried there"
        if not np.array_equal(frame.chirp_valid, marks) or frame.bytes_missing != missing:
            return f"frame {frame.index} marks or counts other bytes than it lacks"
        return ""


@row(
    "W2",
    fault="valid packets damaged, each one: bits of the header flipped, odd, too long, cut short, "
    "payload changed, header cut off, the same header with another payload",
    must_hold="no exception; every byte of every frame came from an accepted packet; what is "
    "refused, repeated and missing is counted to the packet and to the byte",
    volume=1_000_000,
    unit="damaged packets",
)
def damaged_packets(volume: int, seed: int) -> Outcome:
    """W2: valid ones come beside some of the damaged, so that frames are made all the time."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    stream = Stream(seed, FRAME, CHIRP)
    frames = max(-(-volume * stream.payload_bytes // FRAME), 2)
    count = stream.packets_of(frames)
    damage = _Damage(stream, count, rng)
    receiver = Receiver(stream, complaints, max_missing_ratio=1.0)
    indices = []

    def judge(found: list[AssembledFrame]) -> None:
        for frame in found:
            indices.append(frame.index)
            complaint = damage.complaint(frame)
            complaints.expect(not complaint, complaint)

    for first in range(0, count, 700):
        packets = [*stream.packets(first, min(first + 700, count))]
        judge([*receiver.push(damage.datagrams(packets, first))])
    judge([*receiver.push(stream.ending(frames)), *receiver.flush()])
    counts = receiver.assembler.statistics
    of = np.bincount(damage.kinds, minlength=len(KINDS))
    refused, again = int(of[[0, 1, 2, 5, 6]].sum()), int(of[AGAIN])
    lost = int(of[list(INSTEAD)].sum())
    missing = lost * stream.payload_bytes
    missing += int((stream.payload_bytes - damage.cuts[damage.kinds == CUT]).sum())
    complaints.expect(indices == list(range(frames)), "frames are missing, or come twice")
    for what, seen, wanted in (
        ("refused", counts.packets_malformed + counts.packets_stray, refused),
        ("repeated", counts.packets_duplicate + counts.packets_late, again),
        ("lost", counts.packets_lost, lost),
        ("epochs", counts.epochs, 1),
        ("missing bytes", counts.bytes_missing, missing),
    ):
        complaints.expect(seen == wanted, f"{what}: {seen} instead of {wanted}")
    return complaints.outcome(
        f"{count:,} damaged packets in {receiver.pushed:,} datagrams: {receiver.exceptions} "
        f"exceptions; {refused:,} refused, {again:,} repeated, {missing:,} bytes missing, all of "
        f"them counted; {frames:,} frames as they must be"
    )


@row(
    "W2",
    fault="packets of one stream in any order, three of ten with up to three of their first "
    "sixteen bytes changed, one of twenty cut and lengthened",
    must_hold="no exception; every byte of every frame came from a packet with that place in its "
    "header; both accounts close",
    volume=1_000_000,
    unit="datagrams",
)
def packets_in_any_order(volume: int, seed: int) -> Outcome:
    """W2: streams begin and end all the time, by chance."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    exceptions = published = epochs = 0
    for begin in range(0, volume, BATCH):
        stream = Stream([seed, begin], FRAME, CHIRP)
        receiver = Receiver(stream, complaints, max_missing_ratio=1.0)
        base = [*stream.packets(0, stream.packets_of(20)), *stream.ending(20)]
        seen: dict[int, list[tuple[int, Packet]]] = {}  # by frame: place in the stream, payload
        datagrams = _shuffled(base, min(BATCH, volume - begin), rng, seen)
        for frame in receiver.push_all(datagrams):
            wrong = _without_origin(frame, seen)
            complaints.expect(
                not wrong,
                f"batch {begin}, frame {frame.index}: {wrong} bytes that no packet had there",
            )
        exceptions += receiver.exceptions
        published += receiver.published
        epochs += receiver.assembler.statistics.epochs
    complaints.expect(volume < BATCH or published > 0, "nothing was ever published")
    return complaints.outcome(
        f"{volume:,} datagrams: {exceptions} exceptions; {epochs:,} streams begun, "
        f"{published:,} frames, of all their bytes the origin found"
    )


def _shuffled(base, count, rng, seen):
    """Give packets in any order, some changed; notes where each says that it belongs."""
    choices = rng.integers(0, len(base), count).tolist()
    # In runs of the right order, too: without them hardly a frame would ever be made.
    for at in np.flatnonzero(rng.random(count) < 0.002).tolist():
        for step in range(min(40, count - at)):
            choices[at + step] = (choices[at] + step) % len(base)
    changes = np.where(rng.random(count) < 0.3, rng.integers(1, 4, count), 0).tolist()
    places = rng.integers(0, 16, (count, 3)).tolist()
    values = rng.integers(0, 256, (count, 3)).tolist()
    cut = np.where(rng.random(count) < 0.05, rng.integers(0, 1466, count), -1).tolist()
    for packet in base:
        _note(packet, seen)
    for at, choice in enumerate(choices):
        packet = base[choice]
        if changes[at] or cut[at] >= 0:
            packet = bytearray(packet)
            for place, value in zip(places[at][: changes[at]], values[at], strict=False):
                packet[place] = value
            if cut[at] >= 0:
                del packet[cut[at] :]
                packet += bytes(values[at][0] % 30)
            _note(packet, seen)
        yield packet


def _note(packet, seen) -> None:
    """Note where a packet says that it belongs."""
    if len(packet) >= DATA_HEADER_BYTES:
        _, low, high = DATA_HEADER.unpack_from(packet)
        start = high << 32 | low
        for index in {start // FRAME, (start + len(packet)) // FRAME}:
            seen.setdefault(index, []).append((start, packet))


def _without_origin(frame: AssembledFrame, seen: dict[int, list[tuple[int, Packet]]]) -> int:
    """Return how many bytes no packet carried there; what is marked as missing may be zero."""
    data = frame.data.view(np.uint8)
    valid = np.repeat(frame.chirp_valid.astype(bool), CHIRP)
    found = ~valid & (data == 0)
    base = frame.index * FRAME
    for start, packet in seen.get(frame.index, ()):
        payload = np.frombuffer(packet, np.uint8)[DATA_HEADER_BYTES:]
        low, high = max(start, base), min(start + len(payload), base + FRAME)
        if low < high:
            here = slice(low - base, high - base)
            found[here] |= data[here] == payload[low - start : high - start]
    return int((~found).sum())


# --------------------------------------------------------------------------- W3, W4

LOSSES = (0.0, 0.0001, 0.001, 0.01, 0.05, 0.2, 0.5)


def _lossy(stream: Stream, lost: np.ndarray, frames: int, complaints: Complaints):
    """Push all but these packets; returns the assembler's counts, checked against what is due.

    The end of the stream must arrive: nothing tells of a loss after it.
    """
    receiver = Receiver(stream, complaints)
    missing = stream.missing(lost, frames)
    due = iter(np.flatnonzero(missing <= RATIO * stream.frame_bytes).tolist())

    def judge(found) -> None:
        for frame in found:
            complaints.expect(
                frame.index == next(due, None), f"frame {frame.index} is not the next one due"
            )
            complaint = stream.complaint(frame, lost)
            complaints.expect(not complaint, complaint)

    arrives = np.ones(stream.packets_of(frames), bool)
    arrives[lost] = False
    for begin in range(0, len(arrives), 700):
        part = arrives[begin : begin + 700]
        if part.any():
            packets = stream.packets(begin, begin + len(part))
            judge(receiver.push(itertools.compress(packets, part.tolist())))
    judge(receiver.push(stream.ending(frames)))
    judge(receiver.flush())
    counts = receiver.assembler.statistics
    complete = int((missing == 0).sum())
    gone = int((missing == stream.frame_bytes).sum())
    dropped = int((missing > RATIO * stream.frame_bytes).sum()) - gone
    for what, seen, wanted in (
        ("bytes missing", counts.bytes_missing, len(lost) * stream.payload_bytes),
        ("packets lost", counts.packets_lost, len(lost)),
        ("frames complete", counts.frames_complete, complete),
        ("frames incomplete", counts.frames_incomplete, frames - complete - gone - dropped),
        ("frames dropped", counts.frames_dropped, dropped),
        ("frames lost", counts.frames_lost, gone),
        ("epochs", counts.epochs, 1),
    ):
        complaints.expect(seen == wanted, f"{what}: {seen} instead of {wanted}")
    complaints.expect(next(due, None) is None, "a frame that was due did not come")
    return counts


@row(
    "W3",
    fault="independent loss of 0, 0.01, 0.1, 1, 5, 20 and 50 %, HuPR's frames of 540 packets",
    must_hold="the bytes reported as missing are those lost, exactly; frames that lack at most "
    "1 % are published with their chirps marked, others dropped and counted; without loss bit "
    "for bit what was sent",
    volume=2_000,
    unit="frames at each rate",
)
def independent_loss(volume: int, seed: int) -> Outcome:
    """W3."""
    complaints, lost_bytes = Complaints(), 0
    published, dropped = [], []
    for number, loss in enumerate(LOSSES):
        stream = Stream([seed, number], HUPR_FRAME, HUPR_CHIRP)
        count = stream.packets_of(volume)
        lost = np.flatnonzero(np.random.default_rng([seed, number]).random(count - 1) < loss)
        counts = _lossy(stream, lost, volume, complaints)
        published.append(counts.frames_complete + counts.frames_incomplete)
        dropped.append(counts.frames_dropped + counts.frames_lost)
        lost_bytes += counts.bytes_missing
    of = ", ".join(
        f"{100 * loss:g} %: {out:,} and {gone:,}"
        for loss, out, gone in zip(LOSSES, published, dropped, strict=True)
    )
    return complaints.outcome(
        f"{lost_bytes:,} bytes lost and as many reported; frames published and dropped at {of}"
    )


BURSTS = {"a packet": 1, "a chirp": 3, "a frame": 541, "a second": 5401, "ten frames": 5402}


@row(
    "W4",
    fault="bursts of loss: a packet, a chirp, a frame, a second at 10 Hz, ten frames; HuPR's size",
    must_hold="whole again at the next frame boundary, at most one more frame lost",
    volume=1_000,
    unit="bursts of each length",
)
def bursts_of_loss(volume: int, seed: int) -> Outcome:
    """W4: no frame is lost but those that lack more than 1 %."""
    complaints, said = Complaints(), []
    for number, (name, length) in enumerate(BURSTS.items()):
        rng = np.random.default_rng([seed, number])
        stream = Stream([seed, number], HUPR_FRAME, HUPR_CHIRP)
        pauses = rng.integers(541, 3 * 541, volume)  # packets; a burst begins anywhere in a frame
        starts = np.cumsum(pauses + length) - length
        lost = (starts[:, None] + np.arange(length)).reshape(-1)
        frames = int((lost[-1] + 1) * stream.payload_bytes // HUPR_FRAME) + 2
        counts = _lossy(stream, lost, frames, complaints)
        said.append(f"{name}: {counts.frames_dropped + counts.frames_lost:,} of {frames:,} frames")
    more = "" if complaints.count else "; none besides those that lack more than 1 %"
    return complaints.outcome(f"{volume:,} bursts each; lost by bursts of {', '.join(said)}{more}")


# --------------------------------------------------------------------------- W5, W6


@row(
    "W5",
    fault="3 of 10 packets delayed by up to 64, 1 % twice, and packets of frames that were "
    "published; HuPR's frames, and frames of 8 packets",
    must_hold="bit for bit as if in order; packets that come late are counted and change nothing",
    volume=1_000,
    unit="frames of each size",
)
def disorder(volume: int, seed: int) -> Outcome:
    """W5."""
    complaints, said = Complaints(), []
    for number, (frame_bytes, chirp_bytes) in enumerate(
        ((HUPR_FRAME, HUPR_CHIRP), (FRAME, CHIRP))
    ):
        rng = np.random.default_rng([seed, number])
        stream = Stream([seed, number], frame_bytes, chirp_bytes)
        faults = Faults(reorder=0.3, reorder_window=64, duplicate=0.01, seed=seed + number)
        receiver = Receiver(stream, complaints)
        late, kept, indices = 0, [], []
        count = stream.packets_of(volume)
        for first in range(0, count, 64):
            arrived = faults.apply([*stream.packets(first, min(first + 64, count))])
            if first + 64 >= count:
                arrived += faults.apply(stream.ending(volume)) + faults.drain()
            found = [*receiver.push(arrived)]
            if found:
                # A packet that lay wholly in what is published by now, once more.
                whole = stream.packets_of(found[-1].index + 1) - 1
                place = max(whole - int(rng.integers(0, 60)), 1)
                again = [*receiver.push(stream.packets(place, place + 1))]
                late += 1
                complaints.expect(not again, "a late packet made a frame")
            kept = [*kept[-1:], *found]  # the last one was there when the late one came
            for frame in kept:
                complaint = stream.complaint(frame, NOTHING_LOST)
                complaints.expect(not complaint, complaint)
            indices += [frame.index for frame in found]
        complaints.expect(not receiver.flush(), "frames waited for the end of the stream")
        complaints.expect(indices == list(range(volume)), "frames are missing or out of order")
        counts = receiver.assembler.statistics
        twice = faults.packets_duplicated + late
        for what, seen, wanted in (
            ("late or twice", counts.packets_late + counts.packets_duplicate, twice),
            ("lost", counts.packets_lost, 0),
            ("stray", counts.packets_stray, 0),
            ("missing bytes", counts.bytes_missing, 0),
            ("epochs", counts.epochs, 1),
        ):
            complaints.expect(seen == wanted, f"{what}: {seen} instead of {wanted}")
        complaints.expect(counts.packets_late >= late, "late packets were not called so")
        said.append(
            f"{volume:,} frames of {frame_bytes:,} bytes bit for bit, "
            f"{counts.packets_reordered:,} packets overtaken, {twice:,} late or twice"
        )
    return complaints.outcome("; ".join(said))


WRAPS = {
    "2³² packets": SEQUENCE_MODULUS,
    "2³² bytes": (1 << 32) // 1456,
    "2⁴⁸ bytes": BYTE_COUNT_MODULUS // 1456,
}


@row(
    "W6",
    fault="sequence number past 2³², byte counter past 2³² and 2⁴⁸, in order and with packets "
    "delayed and twice",
    must_hold="no gap is reported, frames go on bit for bit",
    volume=1_000,
    unit="passages of each counter",
)
def counters_that_wrap(volume: int, seed: int) -> Outcome:
    """W6: a reader joins the stream shortly before."""
    complaints, frames_seen = Complaints(), 0
    rng = np.random.default_rng(seed)
    stream = Stream(seed, FRAME, CHIRP)
    for number, (name, packet) in enumerate(WRAPS.items()):
        for trial in range(volume):
            first = packet - int(rng.integers(10, 100))
            last_frame = packet * stream.payload_bytes // FRAME + int(rng.integers(2, 12))
            packets = [*stream.packets(first, stream.packets_of(last_frame))]
            packets += stream.ending(last_frame)
            much = 0.3 if trial % 2 else 0.0
            faults = Faults(
                reorder=much, reorder_window=40, duplicate=much / 6, seed=volume * number + trial
            )
            # The first packet tells where reading began, the second how long packets are.
            arrived = packets[:2] + faults.apply(packets[2:]) + faults.drain()
            receiver = Receiver(stream, complaints, from_start=False)
            frames = [*receiver.push(arrived), *receiver.flush()]
            begun = first * stream.payload_bytes
            whole = [f for f in frames if f.index * FRAME >= begun]
            indices = list(range(-(-begun // FRAME), last_frame))
            where = f"{name}, passage {trial}"
            complaints.expect([f.index for f in whole] == indices, f"{where}: frames are missing")
            for frame in whole:
                complaint = stream.complaint(frame, NOTHING_LOST)
                complaints.expect(not complaint, f"{where}: {complaint}")
            counts = receiver.assembler.statistics
            for what, seen, wanted in (
                ("packets lost", counts.packets_lost, 0),
                ("epochs", counts.epochs, 1),
                ("bytes missing", counts.bytes_missing, begun % FRAME),  # before reading began
                ("twice", counts.packets_duplicate + counts.packets_late,
                 faults.packets_duplicated),
            ):  # fmt: skip
                complaints.expect(seen == wanted, f"{where}: {what} {seen} instead of {wanted}")
            frames_seen += len(whole)
    return complaints.outcome(
        f"{volume:,} passages each of {', '.join(WRAPS)}: 0 gaps, {frames_seen:,} frames bit for "
        "bit"
        if not complaints.count
        else f"{volume:,} passages each, {frames_seen:,} frames"
    )


# --------------------------------------------------------------------------- W9

SIZES = {
    "2 B": 2,
    "10 B": 10,
    "a packet": 1456,
    "3 packets": 3 * 1456,
    "2 B less than a packet": 1454,
    "HuPR": HUPR_FRAME,
    "a prime number of samples": 2 * 393_241,
    "16 MiB": 16 * MIB,
    "64 MiB, the limit": MAX_FRAME_BYTES,
}


@row(
    "W9",
    fault="frames of 2 bytes to 64 MiB, among them one packet, whole packets, a prime number of "
    "samples; sizes that cannot be",
    must_hold="bit for bit what was sent; above max_frame_bytes refused before anything opens",
    volume=20,
    unit="frames of each size",
)
def frame_sizes(volume: int, seed: int) -> Outcome:
    """W9."""
    complaints = Complaints()
    for name, size in SIZES.items():
        stream = Stream(seed, size, size)
        receiver = Receiver(stream, complaints)
        count = volume if size < MIB else max(volume // 10, 1)
        indices = []
        packets = itertools.chain(
            stream.packets(0, stream.packets_of(count)), stream.ending(count)
        )
        for frame in receiver.push_all(packets):
            indices.append(frame.index)
            complaint = stream.complaint(frame, NOTHING_LOST)
            complaints.expect(not complaint, f"{name}: {complaint}")
        complaints.expect(indices == list(range(count)), f"{name}: frames are missing")
    refusals = {
        "one above the limit": lambda: FrameAssembler(MAX_FRAME_BYTES + 2, 2),
        "above a limit of one's own": lambda: FrameAssembler(1002, 2, max_frame_bytes=1000),
        "half a sample": lambda: FrameAssembler(3, 3),
        "nothing": lambda: FrameAssembler(0, 0),
        "chirps that do not fill it": lambda: FrameAssembler(12, 5),
        "a card's source": lambda: DcaUdpSource(
            SMALL, host_ip=LOOPBACK, card_ip=LOOPBACK, max_frame_bytes=1000
        ),
    }
    for name, make in refusals.items():
        try:
            make()
        except ValueError:
            continue
        complaints.expect(False, f"{name} was not refused")
    return complaints.outcome(
        f"{len(SIZES)} sizes ({', '.join(SIZES)}) bit for bit, {volume:,} frames each, "
        f"{max(volume // 10, 1)} of the largest; {len(refusals)} impossible ones refused"
    )
