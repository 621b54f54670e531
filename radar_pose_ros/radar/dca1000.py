"""Wire formats of the DCA1000EVM capture card: commands, replies, data packets, sample order.

Everything here is a pure function of bytes. All fields are little-endian.

* Command: ``5A A5``, uint16 code, uint16 data length, data, ``AA EE``.
* Reply: ``5A A5``, uint16 code of the command, uint16 status, ``AA EE``.
* Data packet: uint32 sequence number (from 1), 48-bit count of payload bytes sent before this
  packet, payload.

Sources: DCA1000EVM user's guide (SPRUIJ4) and its command-line tool; checked against two captures
of a real card.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Literal

import numpy as np
import numpy.typing as npt

COMMAND_HEADER = b"\x5a\xa5"
COMMAND_FOOTER = b"\xaa\xee"
MAX_COMMAND_DATA_BYTES = 504

DATA_HEADER = struct.Struct("<IIH")  # sequence, low 32 and high 16 bits of the byte count
DATA_HEADER_BYTES = DATA_HEADER.size
SEQUENCE_MODULUS = 1 << 32
BYTE_COUNT_MODULUS = 1 << 48
# What fits into one Ethernet frame of 1500 bytes; the card cannot send fragments.
MAX_DATAGRAM_BYTES = 1472
USUAL_PAYLOAD_BYTES = 1456

FPGA_TICKS_PER_US = 125  # 8 ns per tick
_MIN_DELAY_US, _MAX_DELAY_US = 5.0, 500.0
_WIRE_TIME_US = 11.7  # 1466 bytes, one usual datagram, at 1 Gbit/s


class PacketError(ValueError):
    """A datagram that is not what it should be."""


class Command(IntEnum):
    """Codes that the card understands."""

    RESET_FPGA = 0x01
    RESET_RADAR = 0x02
    CONFIGURE_FPGA = 0x03
    WRITE_EEPROM = 0x04
    RECORD_START = 0x05
    RECORD_STOP = 0x06
    PLAYBACK_START = 0x07
    PLAYBACK_STOP = 0x08
    SYSTEM_CONNECT = 0x09
    SYSTEM_STATUS = 0x0A  # sent by the card on its own account
    CONFIGURE_PACKET = 0x0B
    CONFIGURE_DATA_MODE = 0x0C
    INITIALISE_PLAYBACK = 0x0D
    READ_FPGA_VERSION = 0x0E


class SystemStatus(IntFlag):
    """Bits of the status word that the card sends on its own account."""

    NO_LVDS_DATA = 1 << 0
    NO_HEADER = 1 << 1
    EEPROM_FAILURE = 1 << 2
    SD_CARD_DETECTED = 1 << 3
    SD_CARD_REMOVED = 1 << 4
    SD_CARD_FULL = 1 << 5
    MODE_CONFIGURATION_FAILURE = 1 << 6
    DDR_FULL = 1 << 7
    RECORD_COMPLETED = 1 << 8
    LVDS_BUFFER_FULL = 1 << 9
    PLAYBACK_COMPLETED = 1 << 10
    PLAYBACK_OUT_OF_SEQUENCE = 1 << 11


_HARMLESS_STATUS = (
    SystemStatus.SD_CARD_DETECTED
    | SystemStatus.SD_CARD_REMOVED
    | SystemStatus.RECORD_COMPLETED
    | SystemStatus.PLAYBACK_COMPLETED
)
_STATUS_NAMES = {
    SystemStatus.NO_LVDS_DATA: "no LVDS data",
    SystemStatus.NO_HEADER: "no header",
    SystemStatus.EEPROM_FAILURE: "EEPROM failure",
    SystemStatus.SD_CARD_DETECTED: "SD card detected",
    SystemStatus.SD_CARD_REMOVED: "SD card removed",
    SystemStatus.SD_CARD_FULL: "SD card full",
    SystemStatus.MODE_CONFIGURATION_FAILURE: "mode configuration failure",
    SystemStatus.DDR_FULL: "DDR memory full",
    SystemStatus.RECORD_COMPLETED: "record completed",
    SystemStatus.LVDS_BUFFER_FULL: "LVDS buffer full",
    SystemStatus.PLAYBACK_COMPLETED: "playback completed",
    SystemStatus.PLAYBACK_OUT_OF_SEQUENCE: "playback out of sequence",
}
STATUS_SUCCESS = 0
STATUS_FAILURE = 1


@dataclass(frozen=True)
class FpgaVersion:
    """Version word of the card: bits 0-6 major, 7-13 minor, 14 set in playback mode."""

    major: int
    minor: int
    playback: bool

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}, {'playback' if self.playback else 'record'} mode"


@dataclass(frozen=True)
class Reply:
    """An answer of the card; its meaning depends on the command."""

    command: int
    status: int

    @property
    def ok(self) -> bool:
        """True only if the status is known to mean that all is well."""
        if self.command == Command.READ_FPGA_VERSION:
            return self.fpga_version is not None
        if self.command == Command.SYSTEM_STATUS:
            return self.status & ~int(_HARMLESS_STATUS) == 0
        return self.command in _COMMAND_CODES and self.status == STATUS_SUCCESS

    @property
    def fpga_version(self) -> FpgaVersion | None:
        """The version, if this answers READ_FPGA_VERSION and is a valid version word."""
        version = self.status & 0x3FFF
        if self.command != Command.READ_FPGA_VERSION or version == 0 or self.status >> 15:
            return None
        return FpgaVersion(version & 0x7F, version >> 7, bool(self.status >> 14 & 1))


_COMMAND_CODES = frozenset(int(command) for command in Command)


def encode_command(command: Command | int, data: bytes = b"") -> bytes:
    """The datagram of a command.

    Raises
    ------
    ValueError
        If the code does not fit 16 bits or the data is longer than the card accepts.
    """
    if not 0 <= command <= 0xFFFF:
        raise ValueError(f"a command code has 16 bits, got {command}")
    if len(data) > MAX_COMMAND_DATA_BYTES:
        raise ValueError(
            f"a command carries up to {MAX_COMMAND_DATA_BYTES} bytes of data, got {len(data)}"
        )
    return COMMAND_HEADER + struct.pack("<HH", command, len(data)) + data + COMMAND_FOOTER


def decode_command(datagram: bytes) -> tuple[int, bytes]:
    """Code and data of a command datagram.

    Raises
    ------
    PacketError
        If it is not a well-formed command.
    """
    if len(datagram) < 8:
        raise PacketError(f"a command has at least 8 bytes, got {len(datagram)}")
    _check_frame(datagram)
    command, length = struct.unpack_from("<HH", datagram, 2)
    if len(datagram) != 8 + length:
        raise PacketError(f"command announces {length} bytes of data, carries {len(datagram) - 8}")
    return command, bytes(datagram[6:-2])


def encode_reply(command: Command | int, status: int) -> bytes:
    """The datagram of a reply."""
    return COMMAND_HEADER + struct.pack("<HH", command, status) + COMMAND_FOOTER


def decode_reply(datagram: bytes) -> Reply:
    """Decode a reply; what its status means is asked of the `Reply`.

    Raises
    ------
    PacketError
        If it is not a well-formed reply.
    """
    if len(datagram) != 8:
        raise PacketError(f"a reply has 8 bytes, got {len(datagram)}")
    _check_frame(datagram)
    command, status = struct.unpack_from("<HH", datagram, 2)
    return Reply(command, status)


def command_name(command: int) -> str:
    """A command code in words."""
    if command in _COMMAND_CODES:
        words = Command(command).name.split("_")
        return " ".join(w if w in ("FPGA", "EEPROM") else w.lower() for w in words)
    return f"unknown command 0x{command:02X}"


def describe_reply(reply: Reply) -> str:
    """A reply in words, such as "configure FPGA: success"."""
    return f"{command_name(reply.command)}: {_status_text(reply)}"


def _status_text(reply: Reply) -> str:
    if reply.command == Command.READ_FPGA_VERSION:
        version = reply.fpga_version
        return f"unknown code {reply.status}" if version is None else f"version {version}"
    if reply.command == Command.SYSTEM_STATUS:
        if reply.status == 0:
            return "nothing to report"
        return ", ".join(
            _STATUS_NAMES[SystemStatus(1 << bit)]
            if 1 << bit in _STATUS_NAMES
            else f"unknown code {1 << bit}"
            for bit in range(16)
            if reply.status >> bit & 1
        )
    if reply.command in _COMMAND_CODES and reply.status in (STATUS_SUCCESS, STATUS_FAILURE):
        return "success" if reply.status == STATUS_SUCCESS else "failure"
    return f"unknown code {reply.status}"


def fpga_config(lanes: int = 2, timer: int = 30) -> bytes:
    """Data of CONFIGURE_FPGA: raw capture of 16-bit samples to Ethernet.

    Parameters
    ----------
    lanes : int
        LVDS lanes; only 2, which is what the supported radars have.
    timer : int
        Timer of the card, as the vendor's tools set it.

    Raises
    ------
    ValueError
        For any other number of lanes.
    """
    refuse_four_lanes(lanes)
    raw_logging, two_lanes, capture, ethernet, sixteen_bit = 1, 2, 1, 2, 3
    return bytes((raw_logging, two_lanes, capture, ethernet, sixteen_bit, timer))


def packet_config(bytes_per_packet: int = 1472, delay_us: float = 25.0) -> bytes:
    """Data of CONFIGURE_PACKET.

    Parameters
    ----------
    bytes_per_packet : int
        Packet size setting. The usual 1470 or 1472 give payloads of 1456 bytes.
    delay_us : float
        Pause between packets, 5 to 500 us; 25 us allow 325 Mbit/s.

    Raises
    ------
    ValueError
        If a value is out of range.
    """
    if not 64 <= bytes_per_packet <= MAX_DATAGRAM_BYTES:
        raise ValueError(
            f"bytes per packet must be from 64 to {MAX_DATAGRAM_BYTES}, got {bytes_per_packet}"
        )
    if not _MIN_DELAY_US <= delay_us <= _MAX_DELAY_US:
        raise ValueError(
            f"the packet delay must be from {_MIN_DELAY_US:g} to {_MAX_DELAY_US:g} us, "
            f"got {delay_us!r}"
        )
    return struct.pack("<HHH", bytes_per_packet, round(delay_us * FPGA_TICKS_PER_US), 0)


def packet_interval_s(delay_us: float) -> float:
    """Time from one full data packet to the next at a packet delay, in seconds.

    Reproduces the throughput table of the card's manual (5, 10, 25, 50 us: 706, 545, 325,
    193 Mbit/s) within 3 %.
    """
    return (delay_us + _WIRE_TIME_US) * 1e-6


@dataclass(frozen=True)
class DataPacket:
    """A data packet: ``byte_count`` payload bytes were sent before it."""

    sequence: int
    byte_count: int
    payload: memoryview


def encode_data_packet(
    sequence: int, byte_count: int, payload: bytes | memoryview | np.ndarray
) -> bytes:
    """The datagram of a data packet; counters wrap as they do on the card."""
    count = byte_count % BYTE_COUNT_MODULUS
    header = DATA_HEADER.pack(sequence % SEQUENCE_MODULUS, count & 0xFFFFFFFF, count >> 32)
    return header + bytes(payload)


def decode_data_packet(datagram: bytes | memoryview) -> DataPacket:
    """Split a data packet without copying its payload.

    Raises
    ------
    PacketError
        If it is too short or too long, or does not hold whole int16 values.
    """
    length = len(datagram)
    if not DATA_HEADER_BYTES + 2 <= length <= MAX_DATAGRAM_BYTES:
        raise PacketError(
            f"a data packet has {DATA_HEADER_BYTES + 2} to {MAX_DATAGRAM_BYTES} bytes, "
            f"got {length}"
        )
    sequence, low, high = DATA_HEADER.unpack_from(datagram)
    if (length | low) & 1:
        raise PacketError("a data packet holds whole 16-bit values, got an odd number of bytes")
    return DataPacket(sequence, high << 32 | low, memoryview(datagram)[DATA_HEADER_BYTES:])


def refuse_four_lanes(lanes: int) -> None:
    """Raise ValueError unless there are two LVDS lanes."""
    if lanes != 2:
        raise ValueError(
            f"{lanes} LVDS lanes are not supported, only 2: the four-lane layout of xWR12xx, "
            "xWR14xx and AWR2243 interleaves the receivers"
        )


def decode_samples(
    samples: npt.NDArray[np.int16],
    adc_shape: tuple[int, ...],
    iq_order: Literal["IQ", "QI"],
    lanes: int = 2,
) -> npt.NDArray[np.complex64]:
    """Complex samples of a frame.

    Two lanes carry two samples at a time: ``[I0, I1, Q0, Q1]``, or ``[Q0, Q1, I0, I1]``.

    Parameters
    ----------
    samples : int16 (n,)
        As stored by the card.
    adc_shape : tuple
        Shape of the result, (loops, transmitters, receivers, samples); samples must be even.
    iq_order : {"IQ", "QI"}
        Which part comes first.
    lanes : int
        Only 2 is supported.

    Returns
    -------
    complex64 array of ``adc_shape``
        Exact: every int16 is a float32.

    Raises
    ------
    ValueError
        If sizes do not agree.
    """
    refuse_four_lanes(lanes)
    _check_layout(adc_shape, iq_order)
    samples = np.asarray(samples)
    if samples.dtype != np.int16:
        raise ValueError(f"samples must be int16, got {samples.dtype}")
    if samples.size != 2 * math.prod(adc_shape):
        raise ValueError(
            f"shape {tuple(adc_shape)} takes {2 * math.prod(adc_shape)} values, got {samples.size}"
        )
    groups = samples.reshape(-1, 2, 2).transpose(0, 2, 1)  # (pair, sample, part)
    cube = np.empty(math.prod(adc_shape), np.complex64)
    parts = cube.view(np.float32).reshape(-1, 2, 2)
    parts[...] = groups if iq_order == "IQ" else groups[..., ::-1]
    return cube.reshape(adc_shape)


def encode_samples(
    cube: np.ndarray, iq_order: Literal["IQ", "QI"], lanes: int = 2
) -> npt.NDArray[np.int16]:
    """The inverse of `decode_samples`.

    Parameters
    ----------
    cube : complex (..., samples) or int16 (..., samples, 2)
        Complex values are rounded to the nearest integer and saturate like an ADC; integer pairs
        are (real, imaginary).
    iq_order : {"IQ", "QI"}
        Which part comes first.

    Returns
    -------
    int16 (n,)

    Raises
    ------
    ValueError
        If the array has another type, an odd number of samples, or holds NaN.
    """
    refuse_four_lanes(lanes)
    cube = np.asarray(cube)
    if np.iscomplexobj(cube):
        shape = cube.shape
        parts = np.ascontiguousarray(cube, np.complex64).view(np.float32)
        parts = np.rint(parts)
        if np.isnan(parts).any():
            raise ValueError("samples must be numbers, got NaN")
        np.clip(parts, -32768, 32767, out=parts)
    elif cube.dtype == np.int16 and cube.ndim >= 2 and cube.shape[-1] == 2:
        shape, parts = cube.shape[:-1], cube
    else:
        raise ValueError(
            f"samples must be complex, or int16 pairs of shape (..., samples, 2); "
            f"got {cube.dtype} {cube.shape}"
        )
    _check_layout(shape, iq_order)
    groups = parts.reshape(-1, 2, 2)  # (pair, sample, part)
    if iq_order == "QI":
        groups = groups[..., ::-1]
    stored = np.empty(groups.shape, np.int16)
    stored[...] = groups.transpose(0, 2, 1)
    return stored.reshape(-1)


def _check_layout(shape: tuple[int, ...], iq_order: str) -> None:
    if iq_order not in ("IQ", "QI"):
        raise ValueError(f"iq_order must be 'IQ' or 'QI', got {iq_order!r}")
    if not shape or shape[-1] % 2:
        raise ValueError(
            f"the two-lane layout stores samples in pairs: shape {tuple(shape)} must end in an "
            "even number"
        )


def _check_frame(datagram: bytes) -> None:
    if datagram[:2] != COMMAND_HEADER or datagram[-2:] != COMMAND_FOOTER:
        raise PacketError(
            f"a command or reply is framed by 5A A5 and AA EE, got {bytes(datagram[:2]).hex(' ')} "
            f"and {bytes(datagram[-2:]).hex(' ')}"
        )
