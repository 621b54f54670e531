"""Puts the datagrams of a capture card together to frames.

Each packet says how many payload bytes were sent before it. That count alone decides where its
payload goes, so packets may be of any size, straddle frames, arrive out of order or twice, or not
at all. What did not arrive is zero in the frame, marked per chirp, and counted to the byte.

How a datagram is judged
    A stream is a line: every packet but the last carries the same number of payload bytes, so the
    byte count follows from the sequence number. A datagram on the line and ahead of the stream
    belongs to it, however many packets were lost before it. One on the line but behind fills a gap
    or is a duplicate. Any other datagram is a suspect: it is kept aside until three suspects lie
    on a line of their own, with no packet of the current stream between them, and then opens a new
    stream (a restart, hence a new epoch; or the same one, if the line continues forwards) without
    a byte being lost. Single stray or damaged packets never get that far.

What cannot be known
    * Loss at the very end. Nothing tells how long the stream should have been: packets lost after
      the last one received leave no trace, except that the frame in progress is incomplete when
      `FrameAssembler.flush` closes it, and all that it lacks counts as missing then, whether it
      was lost or never sent.
    * A restart while nothing was received, if the new stream is found further along the same line
      than the old one was left: it looks like loss, and is counted so.
    * Damage to a payload. The UDP checksum covers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from radar_pose_ros.radar.dca1000 import (
    BYTE_COUNT_MODULUS,
    DATA_HEADER,
    DATA_HEADER_BYTES,
    MAX_DATAGRAM_BYTES,
    SEQUENCE_MODULUS,
    PacketError,
    decode_data_packet,
)

REORDER_WINDOW_PACKETS = 64
MAX_FRAME_BYTES = 64 * 1024 * 1024

_BYTE_COUNT_MASK = BYTE_COUNT_MODULUS - 1
_SEQUENCE_MASK = SEQUENCE_MODULUS - 1
_MAX_PAYLOAD_BYTES = MAX_DATAGRAM_BYTES - DATA_HEADER_BYTES
_SUSPECTS_THAT_MAKE_A_STREAM = 3
_MAX_SUSPECTS = 64
_unpack_header = DATA_HEADER.unpack_from

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class AssembledFrame:
    """One frame as the card sent it.

    Parameters
    ----------
    index : int
        Frames since the recording started, from the byte count; lost frames count.
    epoch : int
        Restarts of the stream seen before it.
    data : int16 (n,)
        Samples in the card's order, 0 where bytes are missing. Owned by the receiver.
    chirp_valid : uint8 (loops * transmitters,)
        1 where every byte of the chirp arrived, else 0.
    bytes_missing : int
        Bytes that never arrived.
    first_packet_s, last_packet_s : float
        Arrival of the first and of the last packet that belongs to the frame.
    """

    index: int
    epoch: int
    data: npt.NDArray[np.int16]
    chirp_valid: npt.NDArray[np.uint8]
    bytes_missing: int
    first_packet_s: float
    last_packet_s: float


@dataclass(frozen=True)
class AssemblerStatistics:
    """Counts since the assembler was made. Two accounts close exactly.

    Every datagram pushed is one of ``packets_accepted``, ``packets_duplicate``, ``packets_late``,
    ``packets_foreign``, ``packets_malformed``, ``packets_stray`` or ``packets_pending``.

    Every byte of the closed frames (complete, incomplete, dropped, lost) was received or is
    missing: ``bytes_received - bytes_pending + bytes_missing == frames_closed * bytes_per_frame``.

    Parameters
    ----------
    packets_accepted : int
        Brought bytes that were not there before.
    packets_lost : int
        Gaps in the sequence numbers that nothing filled in time.
    packets_duplicate : int
        Brought nothing new to a frame still open.
    packets_late : int
        Arrived after their frame was closed, for the first time or again.
    packets_foreign : int
        From another sender.
    packets_malformed : int
        Not data packets.
    packets_stray : int
        Data packets that fit into no stream.
    packets_pending : int
        Kept aside, not yet judged.
    packets_reordered : int
        Accepted packets that came after a later one.
    bytes_received, bytes_missing : int
        Payload bytes put into frames; bytes that closed frames lack.
    bytes_pending : int
        Of the bytes received, those in frames still open.
    frames_complete : int
        Published without a gap.
    frames_incomplete : int
        Published with gaps up to the permitted ratio.
    frames_dropped : int
        Not published: too much was missing.
    frames_lost : int
        Of which nothing arrived.
    epochs : int
        Streams begun, so restarts plus one once data has arrived.
    """

    packets_accepted: int
    packets_lost: int
    packets_duplicate: int
    packets_late: int
    packets_foreign: int
    packets_malformed: int
    packets_stray: int
    packets_pending: int
    packets_reordered: int
    bytes_received: int
    bytes_missing: int
    bytes_pending: int
    frames_complete: int
    frames_incomplete: int
    frames_dropped: int
    frames_lost: int
    epochs: int

    @property
    def datagrams(self) -> int:
        """Datagrams pushed."""
        return (
            self.packets_accepted
            + self.packets_duplicate
            + self.packets_late
            + self.packets_foreign
            + self.packets_malformed
            + self.packets_stray
            + self.packets_pending
        )

    @property
    def frames_closed(self) -> int:
        """Frames whose fate is known."""
        return (
            self.frames_complete + self.frames_incomplete + self.frames_dropped + self.frames_lost
        )


class _OpenFrame:
    """A frame being filled. ``gaps`` holds what is missing: sorted, disjoint [start, end)."""

    __slots__ = ("data", "first_s", "gaps", "index", "last_s", "start", "view")

    def __init__(self, index: int, size: int, arrival_s: float) -> None:
        self.index = index
        self.start = index * size  # in the stream
        self.data = np.empty(size // 2, np.int16)
        self.view = self.data.data.cast("B")
        self.gaps = [[0, size]]
        self.first_s = self.last_s = arrival_s

    def fill(self, start: int, payload: memoryview) -> int:
        """Put bytes where none were before; returns how many."""
        end = start + len(payload)
        gaps = self.gaps
        filled = 0
        at = len(gaps) - 1
        while at >= 0 and gaps[at][0] >= end:
            at -= 1
        while at >= 0 and gaps[at][1] > start:
            gap_start, gap_end = gaps[at]
            low, high = max(gap_start, start), min(gap_end, end)
            self.view[low:high] = payload[low - start : high - start]
            filled += high - low
            rest = [[gap_start, low], [high, gap_end]]
            gaps[at : at + 1] = [piece for piece in rest if piece[0] < piece[1]]
            at -= 1
        return filled


@dataclass(frozen=True, eq=False)
class _Suspect:
    """A packet that may begin another stream; ``verdict`` is what it counts as if it does not."""

    sequence: int
    count: int
    payload: memoryview
    source: Address | None
    arrival_s: float
    verdict: Literal["stray", "duplicate", "late"]


class FrameAssembler:
    """Turns datagrams into frames.

    Not thread-safe, except that `statistics` may be read from another thread.

    Parameters
    ----------
    bytes_per_frame, bytes_per_chirp : int
        Sizes on the wire.
    max_missing_ratio : float
        Frames that lack more than this share of their bytes are dropped and counted.
    source : (address, port), optional
        The only sender to accept. Without a port, the first port from which a stream comes is the
        only one until it has been silent for ``sender_timeout_s``; without an address, the same
        holds for the address. The source None, for datagrams from a file, always fits.
    reorder_window : int
        A packet counts as lost once this many later packets have come and one more comes.
    max_frame_bytes : int
        Larger frames are refused.
    from_start : bool
        Whether the stream is received from its start, so that bytes before the first packet are
        missing. If False, frames before the first packet are not counted at all.
    sender_timeout_s : float
        See ``source``.

    Raises
    ------
    ValueError
        If sizes are not positive, odd, too large, or chirps do not fill the frame; or if the ratio
        is not within 0..1.
    """

    def __init__(
        self,
        bytes_per_frame: int,
        bytes_per_chirp: int,
        *,
        max_missing_ratio: float = 0.01,
        source: tuple[str, int | None] | None = None,
        reorder_window: int = REORDER_WINDOW_PACKETS,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        from_start: bool = True,
        sender_timeout_s: float = 1.0,
    ) -> None:
        if bytes_per_frame < 2 or bytes_per_frame % 2:
            raise ValueError(f"a frame holds whole 16-bit values, got {bytes_per_frame} bytes")
        if bytes_per_frame > max_frame_bytes:
            raise ValueError(
                f"a frame of {bytes_per_frame} bytes is larger than the limit of "
                f"{max_frame_bytes} bytes (max_frame_bytes)"
            )
        if bytes_per_chirp < 1 or bytes_per_frame % bytes_per_chirp:
            raise ValueError(
                f"chirps of {bytes_per_chirp} bytes do not fill a frame of {bytes_per_frame} bytes"
            )
        if not 0 <= max_missing_ratio <= 1:
            raise ValueError(f"max_missing_ratio must be from 0 to 1, got {max_missing_ratio!r}")
        if reorder_window < 0:
            raise ValueError(f"reorder_window must not be negative, got {reorder_window}")
        self._frame_bytes = bytes_per_frame
        self._chirp_bytes = bytes_per_chirp
        self._max_missing_bytes = max_missing_ratio * bytes_per_frame
        self._allowed_source = source
        self._window = reorder_window
        self._from_start = from_start
        self._sender_timeout_s = sender_timeout_s

        # The stream. `_next_*` is what the next packet in order will carry; `_anchor_*` ties the
        # 48-bit counter to the offset in the stream, which does not wrap.
        self._synchronised = False
        self._sender: Address | None = None
        self._payload = 0
        self._payload_certain = False
        self._next_sequence = 0
        self._next_count = 0
        self._anchor_count = 0
        self._anchor_offset = 0
        self._first_offset = 0  # no gap is counted before it
        self._high = 0  # end of the furthest byte received
        self._last_arrival_s = float("-inf")
        self._former_sequence: int | None = None  # where the stream before a restart ended,
        self._former_until = 0  # of interest until that many packets were accepted
        self._suspects: list[_Suspect] = []
        self._suspects_since = 0

        # Frames by index; those before `_next_index` are closed.
        self._open: dict[int, _OpenFrame] = {}
        self._next_index = 0

        # What `push` needs for a packet in order within the current frame; the limit is 0 when
        # such a packet needs more than a copy.
        self._fast_length = -1  # no datagram has it, not even an empty one
        self._fast_limit = 0
        self._fast_packets = 0
        self._fast_frame: _OpenFrame | None = None
        self._fast_bytes = memoryview(b"")
        self._fast_gap = [0, 0]

        self._accepted = self._gap_packets = self._reordered = 0
        self._duplicate = self._late = self._foreign = self._malformed = self._stray = 0
        self._bytes_received = self._bytes_missing = self._bytes_in_closed_frames = 0
        self._complete = self._incomplete = self._dropped = self._lost = 0
        self._epochs = 0

    def push(
        self, datagram: bytes | memoryview, source: Address | None, arrival_s: float
    ) -> list[AssembledFrame]:
        """Take one datagram.

        Parameters
        ----------
        datagram : bytes or memoryview of bytes
            Anything at all. It is not kept: its memory may be reused after the call.
        source : (address, port) or None
            Where it came from.
        arrival_s : float
            When it came, on any clock.

        Returns
        -------
        list of AssembledFrame
            Frames that this datagram closed, in order; mostly empty.
        """
        if len(datagram) == self._fast_length and source == self._sender:
            sequence, low, high = _unpack_header(datagram)
            count = high << 32 | low
            if sequence == self._next_sequence and count == self._next_count:
                gap = self._fast_gap
                start = gap[0]
                end = start + self._payload
                if end < self._fast_limit:
                    self._fast_bytes[start:end] = datagram[DATA_HEADER_BYTES:]
                    gap[0] = end
                    self._next_sequence = sequence + 1 & _SEQUENCE_MASK
                    self._next_count = count + self._payload & _BYTE_COUNT_MASK
                    self._fast_packets += 1
                    self._last_arrival_s = arrival_s
                    return []
        return self._push_any(datagram, source, arrival_s)

    def flush(self) -> list[AssembledFrame]:
        """End the stream: close what is open. The next datagram begins a new epoch.

        Returns
        -------
        list of AssembledFrame
            What could be published of the frames in progress.
        """
        self._settle()
        frames: list[AssembledFrame] = []
        self._end_stream(frames)
        self._discard_suspects()
        return frames

    @property
    def statistics(self) -> AssemblerStatistics:
        """Counts so far."""
        fast = self._fast_packets
        received = self._bytes_received + fast * self._payload
        return AssemblerStatistics(
            packets_accepted=self._accepted + fast,
            packets_lost=max(self._gap_packets, 0),
            packets_duplicate=self._duplicate,
            packets_late=self._late,
            packets_foreign=self._foreign,
            packets_malformed=self._malformed,
            packets_stray=self._stray,
            packets_pending=len(self._suspects),
            packets_reordered=self._reordered,
            bytes_received=received,
            bytes_missing=self._bytes_missing,
            bytes_pending=received - self._bytes_in_closed_frames,
            frames_complete=self._complete,
            frames_incomplete=self._incomplete,
            frames_dropped=self._dropped,
            frames_lost=self._lost,
            epochs=self._epochs,
        )

    # ------------------------------------------------------------------ judging a datagram

    def _push_any(
        self, datagram: bytes | memoryview, source: Address | None, arrival_s: float
    ) -> list[AssembledFrame]:
        if source != self._sender and self._is_foreign(source, arrival_s):
            self._foreign += 1
            return []
        try:
            packet = decode_data_packet(datagram)
        except PacketError:
            self._malformed += 1
            return []
        self._settle()
        frames: list[AssembledFrame] = []
        sequence, count, payload = packet.sequence, packet.byte_count, packet.payload
        if not self._synchronised and sequence == 1 and count == 0:
            self._begin_stream(1, 0, len(payload), source)
            self._payload_certain = False
            self._take(sequence, count, payload, arrival_s, frames)
            suspects, self._suspects = self._suspects, []
            self._replay(suspects, frames)
        elif not (
            self._synchronised
            and source == self._sender
            and self._take(sequence, count, payload, arrival_s, frames)
        ):
            copy = memoryview(bytes(payload))
            self._suspect(_Suspect(sequence, count, copy, source, arrival_s, "stray"), frames)
        self._close_frames(frames)
        self._prepare_fast_path()
        return frames

    def _is_foreign(self, source: Address | None, arrival_s: float) -> bool:
        """Whether a datagram that is not from the current sender is to be turned away."""
        if source is not None and self._allowed_source is not None:
            address, port = self._allowed_source
            if source[0] != address or (port is not None and source[1] != port):
                return True
        # Another port of the card, or another host if none was named: only after a silence.
        return self._synchronised and arrival_s - self._last_arrival_s <= self._sender_timeout_s

    def _take(
        self,
        sequence: int,
        count: int,
        payload: memoryview,
        arrival_s: float,
        frames: list[AssembledFrame],
    ) -> bool:
        """Put a packet into its frames if it belongs to the stream."""
        ahead = _signed(sequence - self._next_sequence, SEQUENCE_MODULUS)
        ahead_bytes = _signed(count - self._next_count, BYTE_COUNT_MODULUS)
        if not self._on_the_line(sequence, count, ahead, ahead_bytes, len(payload)):
            return False
        if ahead < -4 * self._window - 1:
            return False
        if ahead > self._window and self._is_of_former_stream(sequence):
            self._late += 1
            return True
        offset = self._anchor_offset + _signed(count - self._anchor_count, BYTE_COUNT_MODULUS)
        filled = self._place(offset, payload, arrival_s)
        if ahead >= 0:
            self._gap_packets += ahead
            self._next_sequence = sequence + 1 & _SEQUENCE_MASK
            self._next_count = count + self._payload & _BYTE_COUNT_MASK
            self._anchor_count, self._anchor_offset = count, offset
            self._high = max(self._high, offset + len(payload))
        if filled:
            self._accepted += 1
            self._bytes_received += filled
            if ahead < 0:
                self._reordered += 1
                self._gap_packets -= offset >= self._first_offset
            self._last_arrival_s = arrival_s
        else:
            late = offset < self._next_index * self._frame_bytes
            suspect = _Suspect(
                sequence,
                count,
                memoryview(bytes(payload)),
                self._sender,
                arrival_s,
                "late" if late else "duplicate",
            )
            # A stream that restarts before it has got far looks like duplicates, from packet 1 on.
            if (sequence == 1 and count == 0) or self._suspects:
                self._suspect(suspect, frames)
            else:
                self._count_discarded(suspect)
        return True

    def _on_the_line(
        self, sequence: int, count: int, ahead: int, ahead_bytes: int, length: int
    ) -> bool:
        """Whether byte count and length agree with the sequence number; may learn the payload."""
        if ahead_bytes == ahead * self._payload and length <= self._payload:
            if ahead and length == self._payload:
                self._payload_certain = True
            return True
        if ahead == 0 and count == (self._anchor_count + self._high - self._anchor_offset) % (
            BYTE_COUNT_MODULUS
        ):
            # The packet before was short, yet the stream goes on from its end.
            if length <= self._payload or not self._payload_certain:
                self._payload = max(self._payload, length)
                return True
            return False
        if self._payload_certain:
            return False
        # So far there is one packet, which may have been cut short: two tell the payload.
        packets = _signed(sequence - self._next_sequence + 1, SEQUENCE_MODULUS)
        size = _signed(count - self._anchor_count, BYTE_COUNT_MODULUS)
        if packets < 1 or size % packets or not self._payload <= size // packets:
            return False
        if not length <= size // packets <= _MAX_PAYLOAD_BYTES:
            return False
        self._payload = size // packets
        self._payload_certain = True
        return True

    def _is_of_former_stream(self, sequence: int) -> bool:
        """Whether a packet is a straggler from before a restart.

        Both streams start at packet 1, so their packets lie on one line.
        """
        if self._former_sequence is None or self._accepted > self._former_until:
            return False
        behind = _signed(self._former_sequence - sequence, SEQUENCE_MODULUS)
        return -self._window <= behind <= self._window

    def _suspect(self, suspect: _Suspect, frames: list[AssembledFrame]) -> None:
        """Keep a packet aside, and begin a new stream if there are enough on one line."""
        if self._suspects and self._suspects_since != self._accepted:
            self._discard_suspects()  # the stream went on meanwhile
        self._suspects_since = self._accepted
        by_payload: dict[int, list[_Suspect]] = {}
        for other in self._suspects:
            payload = _common_payload(other, suspect)
            if payload:
                by_payload.setdefault(payload, []).append(other)
        self._suspects.append(suspect)
        for payload, others in by_payload.items():
            if len(others) + 1 >= _SUSPECTS_THAT_MAKE_A_STREAM:
                self._follow([*others, suspect], payload, frames)
                return
        if len(self._suspects) > _MAX_SUSPECTS:
            self._count_discarded(self._suspects.pop(0))

    def _follow(self, stream: list[_Suspect], payload: int, frames: list[AssembledFrame]) -> None:
        """Go over to the stream that these suspects are part of."""
        self._suspects = [suspect for suspect in self._suspects if suspect not in stream]
        self._discard_suspects()
        newest = stream[-1]
        first = min(stream, key=lambda s: _signed(s.sequence - newest.sequence, SEQUENCE_MODULUS))
        ahead = _signed(first.sequence - self._next_sequence, SEQUENCE_MODULUS)
        end_of_received = self._anchor_count + self._high - self._anchor_offset
        ahead_bytes = _signed(first.count - end_of_received, BYTE_COUNT_MODULUS)
        if (
            self._synchronised
            and first.source == self._sender
            and ahead >= 0
            and 0 <= ahead_bytes <= (ahead + 1) * _MAX_PAYLOAD_BYTES
        ):
            self._gap_packets += ahead
            self._anchor_offset = self._high + ahead_bytes
            self._anchor_count = first.count
            self._next_sequence, self._next_count = first.sequence, first.count
            self._payload, self._payload_certain = payload, True
        else:
            former = self._next_sequence if self._synchronised else None
            self._end_stream(frames)
            self._begin_stream(first.sequence, first.count, payload, first.source)
            self._former_sequence, self._former_until = former, self._accepted + self._window
        self._replay(stream, frames)

    def _replay(self, suspects: list[_Suspect], frames: list[AssembledFrame]) -> None:
        """Take packets that were kept aside."""
        for suspect in suspects:
            if suspect.source != self._sender or not self._take(
                suspect.sequence, suspect.count, suspect.payload, suspect.arrival_s, frames
            ):
                self._count_discarded(suspect)

    def _discard_suspects(self) -> None:
        for suspect in self._suspects:
            self._count_discarded(suspect)
        self._suspects = []

    def _count_discarded(self, suspect: _Suspect) -> None:
        if suspect.verdict == "late":
            self._late += 1
        elif suspect.verdict == "duplicate":
            self._duplicate += 1
        else:
            self._stray += 1

    # ------------------------------------------------------------------ streams and frames

    def _begin_stream(
        self, sequence: int, count: int, payload: int, source: Address | None
    ) -> None:
        self._synchronised = True
        self._sender = source
        self._payload, self._payload_certain = payload, True
        self._next_sequence, self._next_count = sequence, count
        self._anchor_count = self._anchor_offset = self._high = count
        self._former_sequence = None
        self._epochs += 1
        if self._from_start:
            self._next_index = self._first_offset = 0
            self._gap_packets += count // payload
        else:
            self._next_index = count // self._frame_bytes
            self._first_offset = count

    def _end_stream(self, frames: list[AssembledFrame]) -> None:
        """Close every open frame; what they lack is missing."""
        for index in sorted(self._open):
            self._lose_frames_before(index)
            self._close(self._open.pop(index), frames)
        self._synchronised = False

    def _settle(self) -> None:
        """Book what the fast path did."""
        if self._fast_packets:
            assert self._fast_frame is not None
            self._accepted += self._fast_packets
            self._bytes_received += self._fast_packets * self._payload
            self._fast_packets = 0
            self._fast_frame.last_s = self._last_arrival_s
            self._high = self._fast_frame.start + self._fast_gap[0]
            self._payload_certain = True
        self._fast_limit = 0

    def _prepare_fast_path(self) -> None:
        """Allow it if the next packet in order only continues the one frame that is open."""
        index = self._high // self._frame_bytes
        frame = self._open.get(index)
        next_offset = self._anchor_offset + _signed(
            self._next_count - self._anchor_count, BYTE_COUNT_MODULUS
        )
        if (
            frame is None
            or not self._synchronised
            or index != self._next_index
            or next_offset != self._high
        ):
            self._fast_frame = None
            return
        self._fast_length = self._payload + DATA_HEADER_BYTES
        self._fast_limit = self._frame_bytes
        self._fast_frame = frame
        self._fast_bytes = frame.view
        self._fast_gap = frame.gaps[-1]

    def _place(self, offset: int, payload: memoryview, arrival_s: float) -> int:
        """Copy payload into the frames it belongs to; returns the bytes that were new."""
        filled = 0
        while payload:
            index, start = divmod(offset, self._frame_bytes)
            part = payload[: self._frame_bytes - start]
            if index >= self._next_index:
                frame = self._open.get(index)
                if frame is None:
                    frame = self._open[index] = _OpenFrame(index, self._frame_bytes, arrival_s)
                new = frame.fill(start, part)
                if new:
                    frame.last_s = arrival_s
                filled += new
            offset += len(part)
            payload = payload[len(part) :]
        return filled

    def _close_frames(self, frames: list[AssembledFrame]) -> None:
        """Close, in order, every frame that is complete or has waited long enough."""
        given_up = self._high - self._window * self._payload  # gaps that end before it are final
        while True:
            frame = self._open.get(self._next_index)
            if frame is None:
                end = min(self._open, default=self._next_index)
                end = min(end, (given_up - 1) // self._frame_bytes)
                if end <= self._next_index:
                    return
                self._lose_frames_before(end)
            elif frame.gaps and frame.start + frame.gaps[-1][1] >= given_up:
                return
            else:
                self._close(self._open.pop(self._next_index), frames)

    def _lose_frames_before(self, index: int) -> None:
        self._lost += index - self._next_index
        self._bytes_missing += (index - self._next_index) * self._frame_bytes
        self._next_index = index

    def _close(self, frame: _OpenFrame, frames: list[AssembledFrame]) -> None:
        """Publish a frame, or drop it."""
        self._next_index = frame.index + 1
        missing = sum(end - start for start, end in frame.gaps)
        self._bytes_missing += missing
        self._bytes_in_closed_frames += self._frame_bytes - missing
        if missing > self._max_missing_bytes:
            self._dropped += 1
            return
        chirp_valid = np.ones(self._frame_bytes // self._chirp_bytes, np.uint8)
        whole = frame.data.view(np.uint8)
        for start, end in frame.gaps:
            whole[start:end] = 0
            chirp_valid[start // self._chirp_bytes : -(-end // self._chirp_bytes)] = 0
        if missing:
            self._incomplete += 1
        else:
            self._complete += 1
        frames.append(
            AssembledFrame(
                index=frame.index,
                epoch=self._epochs - 1,
                data=frame.data,
                chirp_valid=chirp_valid,
                bytes_missing=missing,
                first_packet_s=frame.first_s,
                last_packet_s=frame.last_s,
            )
        )


def _signed(difference: int, modulus: int) -> int:
    """A difference of two counters that wrap, taken the short way round."""
    difference %= modulus
    return difference - modulus if difference >= modulus // 2 else difference


def _common_payload(a: _Suspect, b: _Suspect) -> int:
    """Payload size of the stream that holds both packets; 0 if there is none."""
    packets = _signed(b.sequence - a.sequence, SEQUENCE_MODULUS)
    size = _signed(b.count - a.count, BYTE_COUNT_MODULUS)
    if a.source != b.source or packets == 0 or size % packets:
        return 0
    payload = size // packets
    longest = max(len(a.payload), len(b.payload))
    return payload if longest <= payload <= _MAX_PAYLOAD_BYTES else 0
