"""A card's stream, to be had from any place on, and what must become of it if packets are lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import psutil
from faults.rows import Outcome

from radar_pose_ros.radar.assembler import Address, AssembledFrame, FrameAssembler
from radar_pose_ros.radar.dca1000 import USUAL_PAYLOAD_BYTES, encode_data_packet
from radar_pose_ros.simulation.boards import Packet, PacketStream, split_packets

CARD = ("192.168.33.180", 1024)
MIB = 1 << 20
NOTHING_LOST = np.empty(0, np.int64)


class Complaints:
    """What did not hold, counted; the first of it in words."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a complaint unless it holds."""
        if not holds:
            self.first = self.first or otherwise
            self.count += 1

    def outcome(self, figures: str) -> Outcome:
        """Return what a row returns: its figures, and where it did not hold what was seen."""
        if not self.count:
            return Outcome(True, figures)
        times = "once" if self.count == 1 else f"{self.count:,} times"
        return Outcome(False, f"{figures}. Did not hold {times}, first: {self.first}")


class Stream:
    """What a card sends without end: its bytes follow from their place, none is stored.

    Packets are numbered from 0, frames too. Bytes come again after a period that is neither a
    multiple of a packet nor of a frame.

    Parameters
    ----------
    seed : int or sequence of int
    frame_bytes, chirp_bytes, payload_bytes : int
        Sizes on the wire.
    """

    def __init__(
        self,
        seed: int | list[int],
        frame_bytes: int,
        chirp_bytes: int,
        payload_bytes: int = USUAL_PAYLOAD_BYTES,
    ) -> None:
        self.frame_bytes, self.chirp_bytes = frame_bytes, chirp_bytes
        self.payload_bytes = payload_bytes
        self._period = max(frame_bytes, MIB) + 2 * 65_537
        block = np.random.default_rng(seed).integers(0, 256, self._period, np.uint8)
        self._twice = np.concatenate([block, block])

    def data(self, start: int, count: int) -> np.ndarray:
        """Return bytes of the stream, uint8 (count,): up to a frame, or a MiB."""
        at = start % self._period
        return self._twice[at : at + count]

    def packets(self, first: int, last: int) -> Iterator[Packet]:
        """Give packets first to last, the latter exclusive."""
        step = MIB // self.payload_bytes
        for begin in range(first, last, step):
            end = min(begin + step, last)
            size = self.payload_bytes
            stream = PacketStream(size, sequence=begin + 1, byte_count=begin * size)
            part = self.data(begin * size, (end - begin) * size)
            yield from split_packets(stream.packets(part.view("<i2")))

    def ending(self, frames: int) -> list[Packet]:
        """Return what the card sends at the end of that many frames: a short packet, or none."""
        size = self.payload_bytes
        whole, rest = divmod(frames * self.frame_bytes, size)
        if not rest:
            return []
        return [encode_data_packet(whole + 1, whole * size, self.data(whole * size, rest))]

    def packets_of(self, frames: int) -> int:
        """Return the number of whole packets that so many frames fill."""
        return frames * self.frame_bytes // self.payload_bytes

    def missing(self, lost: np.ndarray, frames: int) -> np.ndarray:
        """Return the bytes that each frame lacks, int64 (frames,), if these packets are lost."""
        start = lost * self.payload_bytes
        end = start + self.payload_bytes
        first, last = start // self.frame_bytes, (end - 1) // self.frame_bytes
        missing = np.zeros(frames + 1, np.int64)
        np.add.at(missing, first, np.minimum(end, (first + 1) * self.frame_bytes) - start)
        two = last > first
        np.add.at(missing, last[two], (end - last * self.frame_bytes)[two])
        return missing[:frames]

    def complaint(self, frame: AssembledFrame, lost: np.ndarray) -> str:
        """Return what is wrong with a frame of which these packets (sorted) are lost, or nothing.

        Every byte, every mark of a chirp and the count of what is missing must be right.
        """
        base, size = frame.index * self.frame_bytes, self.payload_bytes
        span = base // size, (base + self.frame_bytes - 1) // size
        inside = lost[np.searchsorted(lost, span[0]) : np.searchsorted(lost, span[1], "right")]
        starts = np.maximum(inside * size - base, 0)
        ends = np.minimum((inside + 1) * size - base, self.frame_bytes)
        expected = self.data(base, self.frame_bytes)
        marks = np.ones(self.frame_bytes // self.chirp_bytes, np.uint8)
        if len(inside):
            expected = expected.copy()
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                expected[start:end] = 0
                marks[start // self.chirp_bytes : (end - 1) // self.chirp_bytes + 1] = 0
        if not np.array_equal(frame.data.view(np.uint8), expected):
            return f"frame {frame.index} holds other bytes than were sent"
        if not np.array_equal(frame.chirp_valid, marks):
            return f"frame {frame.index} marks other chirps than those that lack bytes"
        if frame.bytes_missing != int((ends - starts).sum()):
            return f"frame {frame.index} says that {frame.bytes_missing} bytes are missing"
        return ""


class Receiver:
    """An assembler, what was pushed into it, and what it said.

    Parameters
    ----------
    stream : Stream
    complaints : Complaints
    options
        Of `FrameAssembler`.
    """

    def __init__(self, stream: Stream, complaints: Complaints, **options) -> None:
        self.assembler = FrameAssembler(stream.frame_bytes, stream.chirp_bytes, **options)
        self.pushed = self.published = self.exceptions = 0
        self._stream, self._complaints = stream, complaints

    def push(
        self, datagrams: Iterable[Packet], source: Address | None = CARD
    ) -> Iterator[AssembledFrame]:
        """Push datagrams; gives the frames that they close."""
        push = self.assembler.push
        for datagram in datagrams:
            self.pushed += 1
            try:
                frames = push(datagram, source, 0.0)
            except Exception as error:
                self.exceptions += 1
                self._complaints.expect(False, f"datagram {self.pushed} raised {error!r}")
                continue
            if frames:
                self.published += len(frames)
                yield from frames

    def push_all(self, datagrams: Iterable[Packet]) -> Iterator[AssembledFrame]:
        """Push the datagrams of a whole stream and end it; gives the frames."""
        yield from self.push(datagrams)
        yield from self.flush()

    def flush(self) -> list[AssembledFrame]:
        """End the stream, and check that both accounts close."""
        frames = self.assembler.flush()
        self.published += len(frames)
        counts = self.assembler.statistics
        self._complaints.expect(
            counts.datagrams == self.pushed,
            f"{self.pushed} datagrams pushed, {counts.datagrams} accounted for",
        )
        self._complaints.expect(
            counts.bytes_received + counts.bytes_missing
            == counts.frames_closed * self._stream.frame_bytes,
            f"{counts.bytes_received} bytes received and {counts.bytes_missing} missing are not "
            f"{counts.frames_closed} frames",
        )
        self._complaints.expect(
            self.published == counts.frames_complete + counts.frames_incomplete,
            f"{self.published} frames published, "
            f"{counts.frames_complete + counts.frames_incomplete} counted",
        )
        return frames


class Memory:
    """How far this process has grown since a moment, at most; MiB of resident memory."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self.grown_mib = 0.0

    def look(self) -> None:
        """Take a sample."""
        grown = (self._process.memory_info().rss - self._before) / MIB
        self.grown_mib = max(self.grown_mib, grown)
