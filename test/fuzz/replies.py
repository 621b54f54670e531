"""Replies of the DCA1000, commands to it, and what a radar's command line answers."""

from __future__ import annotations

import re

import serial
from fuzz.material import Material, refusal

from radar_pose_ros.radar import dca1000
from radar_pose_ros.radar.ports import ConfigPortError, SerialConfigPort

_COMMANDS = ("sensorStop", "flushCfg", "sensorStart")


class _Line:
    """A serial port that says what it is told to, in pieces, and is unplugged at the end."""

    def __init__(self, said: bytes, piece: int) -> None:
        self._said, self._piece = Material(said), piece

    @property
    def in_waiting(self) -> int:
        return min(self._piece, self._said.left)

    def read(self, count: int) -> bytes:
        if not self._said.left:
            raise serial.SerialException("unplugged")
        return self._said.take(count)

    def write(self, command: bytes) -> int:
        assert command.endswith(b"\n")
        return len(command)

    def reset_input_buffer(self) -> None:
        pass

    def close(self) -> None:
        pass


def one_input(data: bytes) -> None:
    """Decode a reply, a command, or all that a command line says."""
    material = Material(data)
    kind = material.number() % 3
    if kind == 0:
        _reply(material.rest())
    elif kind == 1:
        _command(material.rest())
    else:
        _command_line(1 + material.number(), material.rest())


def _reply(datagram: bytes) -> None:
    try:
        reply = dca1000.decode_reply(datagram)
    except dca1000.PacketError:
        return
    assert dca1000.encode_reply(reply.command, reply.status) == datagram
    assert dca1000.describe_reply(reply)
    known = reply.command in {int(command) for command in dca1000.Command}
    assert known or not reply.ok, "an unknown command succeeded"
    telling = (dca1000.Command.READ_FPGA_VERSION, dca1000.Command.SYSTEM_STATUS)
    assert reply.ok == (reply.status == 0 and known) or reply.command in telling


def _command(datagram: bytes) -> None:
    try:
        code, content = dca1000.decode_command(datagram)
    except dca1000.PacketError:
        return
    if len(content) <= dca1000.MAX_COMMAND_DATA_BYTES:
        assert dca1000.encode_command(code, content) == datagram


def _command_line(piece: int, said: bytes) -> None:
    port = SerialConfigPort("/dev/ttyACM0")
    port._serial = _Line(said, piece)  # type: ignore[assignment]
    refused = refusal(lambda: port.send(_COMMANDS), ConfigPortError)
    accepted = sum(
        re.fullmatch(r"\s*(\w+:/>\s*)*Done\s*", line.decode("ascii", "replace")) is not None
        for line in re.split(rb"[\r\n]+", said)[:-1]
    )
    assert refused or accepted >= len(_COMMANDS), "accepted without Done"
    if refused:
        assert refused.startswith("/dev/ttyACM0: ")
        assert any(repr(command) in refused for command in _COMMANDS), refused


def seeds() -> dict[str, bytes]:
    """One of each kind."""
    status = dca1000.encode_reply(dca1000.Command.SYSTEM_STATUS, 0x0101)
    version = dca1000.encode_reply(dca1000.Command.READ_FPGA_VERSION, 0x0102)
    answers = b"".join(b"mmwDemo:/>%s\r\nDone\r\n\r\n" % c.encode() for c in _COMMANDS)
    return {
        "status": b"\0" + status,
        "version": b"\0" + version,
        "success": b"\0" + dca1000.encode_reply(dca1000.Command.RECORD_START, 0),
        "command": b"\1" + dca1000.encode_command(dca1000.Command.CONFIGURE_FPGA, b"123456"),
        "answers": b"\2\x10" + answers,
        "refused": b"\2\xffDone\rError -1\n",
        "unknown": b"\2\x01'sensor' is not recognized as a CLI command\r\nDone\n",
    }
