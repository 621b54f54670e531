"""Captured packets (.pcap) and files of raw samples, as ``radar-pose import`` reads them."""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from fuzz.material import Material, folder, refusal

from radar_pose_ros import resources
from radar_pose_ros.imports import dca1000, pcap
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.dca1000 import encode_data_packet
from radar_pose_ros.radar.ports import DATA_PORT, PortError
from radar_pose_ros.radar.ti_config import parse_cfg


def one_input(data: bytes) -> None:
    """Import a capture as it is, one made of packets, raw samples, or a card's log."""
    material = Material(data)
    kind = material.number() % 4
    with folder() as here:
        path = here / ("fuzz.bin" if kind >= 2 else "fuzz.pcap")
        notes: list[str] = []
        if kind < 2:
            path.write_bytes(material.rest() if kind == 0 else _made(material))
            refused = _imported(
                lambda: pcap.frames(path, "radar_h", _config(), None, DATA_PORT, 1.0, notes)
            )
        elif kind == 2:
            path.write_bytes(material.rest() * 8)
            refused = _imported(
                lambda: dca1000.frames(path, "radar_h", _config(), 10**18, {}, notes)
            )
        else:
            (here / "fuzz_LogFile.csv").write_bytes(material.rest())
            assert all(len(note) < 4000 for note in dca1000.log_notes(path)), "a long note"
            return
        assert not refused or str(path) in refused, f"names no file: {refused}"


def _imported(messages: Callable[[], Iterable[Any]]) -> str:
    return refusal(lambda: _check(messages()), PortError, ValueError)


def _check(messages: Iterable[Any]) -> None:
    expected = _config().bytes_per_frame
    for number, timed in enumerate(messages):
        assert number < 100_000, "more frames than the file can hold"
        assert 0 <= timed.received_ns < 1 << 63
        if timed.topic.endswith("/adc"):
            assert timed.message.data.nbytes == expected
            assert 0 <= timed.message.bytes_missing <= expected


@functools.cache
def _config() -> RadarConfig:
    """Frames of 1 kB."""
    text = resources.find("config", "iwr1843.cfg").read_text()
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["profileCfg"]:
            words[10] = "8"
        if words[:1] == ["frameCfg"]:
            words[3] = "2"
        lines.append(" ".join(words))
    return parse_cfg("\n".join(lines))


def _made(material: Material) -> bytes:
    """Return a capture of data packets whose numbers and sizes the material says."""
    made = _HEAD
    sequence, count = 1, 0
    while material.left:
        kind = material.number()
        sequence += (kind & 3) == 3
        size = 2 * (1 + material.number())
        datagram = encode_data_packet(sequence, count, bytes([kind]) * size)
        made += _record(datagram, sequence)
        if kind < 128:
            sequence, count = sequence + 1, count + size
        elif kind > 250:
            sequence, count = 1, 0
    return made


_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def _record(datagram: bytes, number: int) -> bytes:
    udp = struct.pack(">HHHH", 1024, DATA_PORT, 8 + len(datagram), 0) + datagram
    card, host = map(socket.inet_aton, ("192.168.33.180", "192.168.33.30"))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + card + host + udp
    packet = bytes(12) + b"\x08\x00" + ip
    return struct.pack("<IIII", 1_700_000_000 + number, 0, len(packet), len(packet)) + packet


def seeds() -> dict[str, bytes]:
    """One of each kind."""
    packets = b"".join(
        _record(encode_data_packet(1 + n, 256 * n, bytes(256)), n) for n in range(9)
    )
    tagged = bytearray(_record(encode_data_packet(1, 0, bytes(16)), 0))
    tagged[28:28] = b"\x81\x00\x00\x07"
    tagged[8:16] = struct.pack("<II", len(tagged) - 16, len(tagged) - 16)
    log = b"Capture start time - Fri Nov 20 10:00:00\nNumber of received packets - 7\n"
    return {
        "pcap": b"\0" + _HEAD + packets,
        "tagged": b"\0" + _HEAD + bytes(tagged),
        "packets": b"\1" + bytes([0, 255] * 9),
        "samples": b"\2" + bytes(range(256)),
        "log": b"\3" + log,
    }
