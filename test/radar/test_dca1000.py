"""Wire formats of the capture card."""

import numpy as np
import pytest

from radar_pose_ros.radar import dca1000
from radar_pose_ros.radar.dca1000 import (
    Command,
    FpgaVersion,
    PacketError,
    Reply,
    SystemStatus,
    decode_command,
    decode_data_packet,
    decode_reply,
    decode_samples,
    describe_reply,
    encode_command,
    encode_data_packet,
    encode_reply,
    encode_samples,
    fpga_config,
    packet_config,
)

# --------------------------------------------------------------------------- commands


def test_commands_on_the_wire():
    """Bytes as the card's manual and other tools send them."""
    assert encode_command(Command.SYSTEM_CONNECT) == bytes.fromhex("5aa509000000aaee")
    assert encode_command(Command.CONFIGURE_FPGA, fpga_config()) == bytes.fromhex(
        "5aa503000600 01020102031e aaee"
    )
    assert encode_command(Command.CONFIGURE_PACKET, packet_config()) == bytes.fromhex(
        "5aa50b000600 c005350c0000 aaee"
    )


@pytest.mark.parametrize("command", list(Command))
@pytest.mark.parametrize("data", [b"", b"\x00", bytes(range(100))])
def test_commands_come_back(command, data):
    assert decode_command(encode_command(command, data)) == (command, data)


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (b"", "at least 8 bytes, got 0"),
        (bytes.fromhex("5aa509000000aa"), "at least 8 bytes, got 7"),
        (bytes.fromhex("a55a09000000aaee"), "framed by 5A A5 and AA EE, got a5 5a"),
        (bytes.fromhex("5aa509000000aaef"), "framed by"),
        (bytes.fromhex("5aa509000100aaee"), "announces 1 bytes of data, carries 0"),
        (bytes.fromhex("5aa50900000000aaee"), "announces 0 bytes of data, carries 1"),
    ],
)
def test_broken_commands(datagram, message):
    with pytest.raises(PacketError, match=message):
        decode_command(datagram)


def test_commands_that_cannot_be():
    with pytest.raises(ValueError, match="16 bits"):
        encode_command(0x10000)
    with pytest.raises(ValueError, match="up to 504 bytes"):
        encode_command(Command.WRITE_EEPROM, bytes(505))


def test_packet_delay_in_ticks_of_8_ns():
    assert int.from_bytes(packet_config(delay_us=10.0)[2:4], "little") == 1250
    assert packet_config(bytes_per_packet=1470)[:2] == bytes.fromhex("be05")
    for delay_us in (4.9, 501.0, float("nan")):
        with pytest.raises(ValueError, match="from 5 to 500 us"):
            packet_config(delay_us=delay_us)
    with pytest.raises(ValueError, match="from 64 to 1472"):
        packet_config(bytes_per_packet=9000)


@pytest.mark.parametrize(("delay_us", "mbit_s"), [(5, 706), (10, 545), (25, 325), (50, 193)])
def test_packet_interval_agrees_with_the_manual(delay_us, mbit_s):
    interval_s = dca1000.packet_interval_s(delay_us)
    assert 1466 * 8 / interval_s == pytest.approx(mbit_s * 1e6, rel=0.03)


# --------------------------------------------------------------------------- replies

ORDINARY = [c for c in Command if c not in (Command.SYSTEM_STATUS, Command.READ_FPGA_VERSION)]


def test_every_status_of_ordinary_commands():
    """W12: of 65,536 status values only 0 is success; those not known are called so."""
    for status in range(0x10000):
        assert [Reply(command, status).ok for command in ORDINARY] == [status == 0] * len(ORDINARY)
        command = ORDINARY[status % len(ORDINARY)] if status > 1 else ORDINARY[0]
        reply = decode_reply(encode_reply(command, status))
        assert reply == Reply(command, status)
        text = describe_reply(reply)
        if status > 1:
            assert text.endswith(f": unknown code {status}")
        else:
            assert text == f"reset FPGA: {'success' if status == 0 else 'failure'}"


def test_every_asynchronous_status():
    """W12: each bit is named; errors and unknown bits are never success."""
    harmless = {3, 4, 8, 10}
    for status in range(0x10000):
        reply = Reply(Command.SYSTEM_STATUS, status)
        bits = {bit for bit in range(16) if status >> bit & 1}
        assert reply.ok == (bits <= harmless)
        named = describe_reply(reply).removeprefix("system status: ").split(", ")
        assert len(named) == max(len(bits), 1)
        assert sum(name.startswith("unknown code") for name in named) == len(
            bits & set(range(12, 16))
        )
    assert describe_reply(Reply(Command.SYSTEM_STATUS, 0x0101)) == (
        "system status: no LVDS data, record completed"
    )
    assert [s.name for s in SystemStatus] == [
        "NO_LVDS_DATA", "NO_HEADER", "EEPROM_FAILURE", "SD_CARD_DETECTED", "SD_CARD_REMOVED",
        "SD_CARD_FULL", "MODE_CONFIGURATION_FAILURE", "DDR_FULL", "RECORD_COMPLETED",
        "LVDS_BUFFER_FULL", "PLAYBACK_COMPLETED", "PLAYBACK_OUT_OF_SEQUENCE",
    ]  # fmt: skip


def test_every_version_word():
    """W12: all version words."""
    for status in range(0x10000):
        reply = Reply(Command.READ_FPGA_VERSION, status)
        if status >= 0x8000 or status & 0x3FFF == 0:
            assert not reply.ok
            assert describe_reply(reply) == f"read FPGA version: unknown code {status}"
        else:
            assert reply.ok
            assert reply.fpga_version == FpgaVersion(
                major=status % 128, minor=status // 128 % 128, playback=status >= 0x4000
            )
    reply = Reply(Command.READ_FPGA_VERSION, 0x0402)
    assert describe_reply(reply) == "read FPGA version: version 2.8, record mode"
    assert Reply(Command.RECORD_START, 0x0402).fpga_version is None


def test_unknown_commands_are_never_success():
    """W12: replies with a code that is none."""
    for code in sorted({*range(0x200), *range(0, 0x10000, 97)} - {int(c) for c in Command}):
        reply = decode_reply(encode_reply(code, 0))
        assert not reply.ok
        assert describe_reply(reply) == f"unknown command 0x{code:02X}: unknown code 0"


@pytest.mark.parametrize(
    "datagram", ["", "5aa5", "5aa509000000aa", "5aa50900000000aaee", "5aa609000000aaee", "00" * 8]
)
def test_broken_replies(datagram):
    """W12: wrong magic, wrong length."""
    with pytest.raises(PacketError):
        decode_reply(bytes.fromhex(datagram))


# --------------------------------------------------------------------------- data packets


@pytest.mark.parametrize("sequence", [1, 2, 0xFFFFFFFF, 0])
@pytest.mark.parametrize("count", [0, 1456, 0xFFFFFFFE, 1 << 32, (1 << 48) - 2])
@pytest.mark.parametrize("size", [2, 368, 1456, 1462])
def test_data_packets_come_back(sequence, count, size, rng):
    """W6: the whole 32-bit sequence number and 48-bit byte count."""
    payload = rng.bytes(size)
    packet = decode_data_packet(encode_data_packet(sequence, count, payload))
    assert (packet.sequence, packet.byte_count) == (sequence, count)
    assert bytes(packet.payload) == payload


def test_data_packet_on_the_wire():
    assert encode_data_packet(0x04030201, 0x0A0908070604, b"\xaa\xbb") == bytes.fromhex(
        "01020304 04060708090a aabb"
    )
    assert encode_data_packet((1 << 32) + 5, (1 << 48) + 6, b"") == bytes.fromhex(
        "05000000 060000000000"
    )


@pytest.mark.parametrize("size", [0, 1, 10, 11, 13, 1473, 65507])
def test_broken_data_packets(size):
    with pytest.raises(PacketError):
        decode_data_packet(bytes(size))


def test_odd_byte_count():
    with pytest.raises(PacketError, match="whole 16-bit values"):
        decode_data_packet(encode_data_packet(1, 3, b"\0\0"))


# --------------------------------------------------------------------------- samples


def test_sample_order():
    """Two samples at a time: first one part of both, then the other."""
    wire = np.arange(1, 9, dtype=np.int16)
    iq = decode_samples(wire, (1, 1, 2, 2), "IQ")
    assert iq.tolist() == [[[[1 + 3j, 2 + 4j], [5 + 7j, 6 + 8j]]]]
    qi = decode_samples(wire, (1, 1, 2, 2), "QI")
    assert qi.tolist() == [[[[3 + 1j, 4 + 2j], [7 + 5j, 8 + 6j]]]]


@pytest.mark.parametrize("iq_order", ["IQ", "QI"])
def test_samples_come_back_exactly(iq_order, rng):
    wire = rng.integers(-32768, 32768, 6 * 3 * 4 * 64 * 2, dtype=np.int16)
    cube = decode_samples(wire, (6, 3, 4, 64), iq_order)
    assert cube.dtype == np.complex64
    np.testing.assert_array_equal(encode_samples(cube, iq_order), wire)
    pairs = np.stack([cube.real, cube.imag], axis=-1).astype(np.int16)
    np.testing.assert_array_equal(encode_samples(pairs, iq_order), wire)


def test_wrong_order_mirrors_the_spectrum():
    """A positive beat decoded in the wrong order shows at negative frequencies."""
    beat = 1000 * np.exp(2j * np.pi * 20 * np.arange(256) / 256)
    wire = encode_samples(beat[np.newaxis], "QI")
    right = np.abs(np.fft.fft(decode_samples(wire, (1, 256), "QI")[0]))
    wrong = np.abs(np.fft.fft(decode_samples(wire, (1, 256), "IQ")[0]))
    assert right.argmax() == 20
    assert wrong.argmax() == 256 - 20


def test_complex_samples_are_rounded_and_saturate():
    wire = encode_samples(np.array([1.4 - 1.6j, 1e9 - 1e9j]), "IQ")
    assert wire.tolist() == [1, 32767, -2, -32768]


@pytest.mark.parametrize("lanes", [1, 4])
def test_other_lanes_are_refused(lanes):
    for call in (
        lambda: decode_samples(np.zeros(8, np.int16), (2, 2), "IQ", lanes=lanes),
        lambda: encode_samples(np.zeros((2, 2), complex), "IQ", lanes=lanes),
        lambda: fpga_config(lanes=lanes),
    ):
        with pytest.raises(ValueError, match=f"{lanes} LVDS lanes are not supported, only 2"):
            call()


def test_sizes_and_types_are_checked():
    with pytest.raises(ValueError, match="takes 16 values, got 8"):
        decode_samples(np.zeros(8, np.int16), (2, 4), "IQ")
    with pytest.raises(ValueError, match="end in an even number"):
        decode_samples(np.zeros(6, np.int16), (3,), "IQ")
    with pytest.raises(ValueError, match="must be int16, got float64"):
        decode_samples(np.zeros(4), (2,), "IQ")
    with pytest.raises(ValueError, match="'IQ' or 'QI', got 'iq'"):
        decode_samples(np.zeros(4, np.int16), (2,), "iq")
    with pytest.raises(ValueError, match="must be complex, or int16 pairs"):
        encode_samples(np.zeros((2, 2)), "IQ")
    with pytest.raises(ValueError, match="got NaN"):
        encode_samples(np.array([np.nan, 0j]), "IQ")
