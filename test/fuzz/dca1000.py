"""Data packets of a DCA1000, and the assembler that they go to: a script of what arrives.

Whatever comes, both of the assembler's accounts close, frames come in order, and every value in a
frame was in a packet of the allowed sender that claimed that place.
"""

from __future__ import annotations

import struct

import numpy as np
from fuzz.material import Material

from radar_pose_ros.radar.assembler import AssembledFrame, FrameAssembler
from radar_pose_ros.radar.dca1000 import (
    BYTE_COUNT_MODULUS,
    SEQUENCE_MODULUS,
    PacketError,
    decode_data_packet,
    encode_data_packet,
)

# Bytes of a frame, of a chirp, of a payload.
_SIZES = ((64, 16, 16), (96, 32, 14), (4096, 1024, 1456), (2, 2, 2), (500, 50, 64), (48, 12, 96))
_CARD, _OTHER = ("192.168.33.180", 1024), ("192.168.33.7", 1024)
_MOST_STEPS = 400


class _Script:
    """The card, the network, and what the assembler makes of them."""

    def __init__(self, material: Material) -> None:
        self.material = material
        options = material.number()
        self.frame_bytes, self.chirp_bytes, self.payload = _SIZES[options % len(_SIZES)]
        options = material.number()
        self.assembler = FrameAssembler(
            self.frame_bytes,
            self.chirp_bytes,
            max_missing_ratio=(0.01, 0.3, 1.0, 0.0)[options & 3],
            source=((_CARD[0], None), _CARD, None)[(options >> 2) % 3],
            from_start=bool(options & 16),
            reorder_window=(64, 3, 0, 1)[options >> 5 & 3],
        )
        self.any_sender = (options >> 2) % 3 == 2
        self.sequence, self.count, self.value = 1, 0, 1
        self.now_s, self.pushed = 0.0, 0
        self.sent: list[bytes] = []
        self.claims: dict[int, set[bytes]] = {}
        self.last: tuple[int, int] = (-1, -1)

    def packet(self, length: int) -> bytes:
        """Return the next packet of the stream; its values are no others'."""
        words = [(self.value + n) % 65535 + 1 for n in range(length // 2)]
        self.value += len(words)
        made = encode_data_packet(
            self.sequence, self.count, struct.pack(f"<{len(words)}H", *words)
        )
        self.sequence += 1
        self.count += 2 * len(words)
        return made

    def push(self, datagram: bytes, source: tuple[str, int] = _CARD) -> None:
        self.pushed += 1
        self.sent = [*self.sent[-80:], datagram]
        if self.any_sender or source[0] == _CARD[0]:
            try:
                packet = decode_data_packet(datagram)
            except PacketError:
                pass
            else:
                for at in range(0, len(packet.payload), 2):
                    place = (packet.byte_count + at) % BYTE_COUNT_MODULUS
                    self.claims.setdefault(place, set()).add(bytes(packet.payload[at : at + 2]))
        self.check(self.assembler.push(datagram, source, self.now_s))

    def step(self) -> None:
        """Do what the next byte says."""
        material, kind = self.material, self.material.number()
        if kind < 128:  # some packets in order
            for _ in range(1 + kind % 8):
                self.push(self.packet(self.payload))
        elif kind < 144:
            for _ in range(1 + material.number()):
                self.packet(self.payload)
        elif kind < 160 and self.sent:
            self.push(self.sent[-1 - material.number() % len(self.sent)])
        elif kind < 170:
            self.push(material.take(material.number(2) % 1500))
        elif kind < 180:
            damaged = bytearray(self.packet(self.payload))
            damaged[material.number() % len(damaged)] ^= 1 + material.number() % 255
            self.push(bytes(damaged[: len(damaged) - material.number() % 4]))
        elif kind < 190:
            self.sequence, self.count = 1, 0
        elif kind < 200:
            self.push(self.packet(self.payload), _OTHER)
        elif kind < 210:
            self.sequence = material.number(4) or 1
            self.count = material.number(6) & ~1
        elif kind < 220:
            self.now_s += material.number() / 50.0 - 1.0
        elif kind < 230:
            self.push(self.packet(2 * (material.number() % 728) + 2))
        elif kind < 245:
            first, second = self.packet(self.payload), self.packet(self.payload)
            self.push(second)
            self.push(first)
        elif kind < 250:
            self.sequence = (SEQUENCE_MODULUS - 2 + self.sequence % 2) % SEQUENCE_MODULUS
            self.count = BYTE_COUNT_MODULUS - 2 * self.payload
        else:
            self.flush()

    def flush(self) -> None:
        self.check(self.assembler.flush())
        assert self.assembler.statistics.bytes_pending == 0

    def check(self, frames: list[AssembledFrame]) -> None:
        counts = self.assembler.statistics
        assert counts.datagrams == self.pushed, counts
        received = counts.bytes_received - counts.bytes_pending + counts.bytes_missing
        assert received == counts.frames_closed * self.frame_bytes, counts
        assert min(vars(counts).values()) >= 0, counts
        for frame in frames:
            assert (frame.epoch, frame.index) > self.last, "frames out of order"
            self.last = (frame.epoch, frame.index)
            self.check_frame(frame)

    def check_frame(self, frame: AssembledFrame) -> None:
        assert frame.data.nbytes == self.frame_bytes
        values = frame.data.tobytes()
        begin, missing = frame.index * self.frame_bytes, 0
        for at in range(0, self.frame_bytes, 2):
            word = values[at : at + 2]
            claimed = self.claims.get((begin + at) % BYTE_COUNT_MODULUS, set())
            assert word in claimed or word == b"\0\0", f"nobody sent {word!r} for {begin + at}"
            if word not in claimed:
                missing += 2
                assert not frame.chirp_valid[at // self.chirp_bytes], "valid, but not received"
        assert missing <= frame.bytes_missing <= self.frame_bytes
        assert bool(frame.bytes_missing) == bool((frame.chirp_valid == 0).any())
        assert np.isin(frame.chirp_valid, (0, 1)).all()


def one_input(data: bytes) -> None:
    """Play a script."""
    script = _Script(Material(data))
    for _ in range(_MOST_STEPS):
        if not script.material.left:
            break
        script.step()
    script.flush()


def seeds() -> dict[str, bytes]:
    """Scripts that end in frames."""
    made = {
        "in_order": bytes([0, 17, *[7] * 12]),
        "loss": bytes([0, 18, 7, 130, 3, 7, 7, 150, 9, 7, 7]),
        "joined_later": bytes([4, 2, 130, 40, *[5] * 8]),
        "restarted": bytes([1, 17, 7, 7, 185, 7, 7, 255, 7]),
        "disordered": bytes([5, 17, 7, 231, 232, 240, 145, 3, 7, 7]),
        "other_sender": bytes([0, 25, 7, 195, 195, 215, 255, 195, 195, 195, 7]),
        "wrapped": bytes([2, 16, 246, 7, 7, 7]),
        "damaged": bytes([0, 17, 7, 175, 3, 8, 0, 172, 11, 1, 0, 165, 12, 0, *b"123456789012", 7]),
    }
    jump = struct.pack("<IQ", 77, 4096)[:10]
    return made | {"jumped": bytes([0, 24, 7, 205, *jump, 7, 7, 225, 9, 7])}
