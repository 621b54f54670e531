"""The serial ports of a radar board: how they are found, opened, lost."""

import errno
import os
import tty
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import serial

from radar_pose_ros.radar import uart
from radar_pose_ros.radar.config import ConfigError
from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.ports import ConfigPortError, PortError
from radar_pose_ros.radar.ti_config import load_cfg, parse_cfg
from radar_pose_ros.radar.tlv import packet_bytes, point_blocks
from radar_pose_ros.radar.uart import (
    BoardPorts,
    UartPointSource,
    find_boards,
    resolve_ports,
)


def port(device, vid, pid, serial_number, location):
    return SimpleNamespace(
        device=device, vid=vid, pid=pid, serial_number=serial_number, location=location
    )


BOOST = [
    port("/dev/ttyACM1", 0x0451, 0xBEF3, "R0081038", "1-2:1.3"),
    port("/dev/ttyACM0", 0x0451, 0xBEF3, "R0081038", "1-2:1.0"),
]
ISK = [
    port("/dev/ttyUSB0", 0x10C4, 0xEA70, "00E24282", "3-11:1.0"),
    port("/dev/ttyUSB1", 0x10C4, 0xEA70, "00E24282", "3-11:1.1"),
]
OTHERS = [
    port("/dev/ttyS0", None, None, None, None),
    port("/dev/ttyUSB9", 0x0403, 0x6001, "A1", "1-4"),
    port("/dev/ttyACM7", 0x0451, 0xBEF3, "half", "1-9:1.0"),  # a board with one port only
]
FOUND = {
    "XDS110": BoardPorts("XDS110", "R0081038", "/dev/ttyACM0", "/dev/ttyACM1"),
    "CP2105": BoardPorts("CP2105", "00E24282", "/dev/ttyUSB0", "/dev/ttyUSB1"),
}


def test_boards_are_found_by_their_usb_ids():
    """The command port has the lower interface number, in whichever order ports are listed."""
    assert find_boards(OTHERS) == []
    assert find_boards(OTHERS + BOOST) == [FOUND["XDS110"]]
    assert find_boards(ISK[::-1] + OTHERS) == [FOUND["CP2105"]]
    assert find_boards(BOOST + ISK) == [FOUND["CP2105"], FOUND["XDS110"]]
    # Two boards without serial numbers are told apart by where they are plugged in.
    twins = [
        port(f"/dev/ttyUSB{k}", 0x10C4, 0xEA70, None, f"1-{1 + k // 2}:1.{k % 2}")
        for k in range(4)
    ]
    assert [b.data_port for b in find_boards(twins)] == ["/dev/ttyUSB1", "/dev/ttyUSB3"]


def test_ports_of_this_machine_are_listed():
    assert isinstance(find_boards(), list)


def test_auto_stands_for_the_only_board():
    one, two = [FOUND["XDS110"]], list(FOUND.values())
    assert resolve_ports("auto", "auto", one) == ("/dev/ttyACM1", "/dev/ttyACM0")
    assert resolve_ports("auto", "", one) == ("/dev/ttyACM1", "")
    assert resolve_ports("/dev/a", "auto", one) == ("/dev/a", "/dev/ttyACM0")
    assert resolve_ports("/dev/a", "/dev/b", []) == ("/dev/a", "/dev/b")
    with pytest.raises(PortError, match=r"no radar board.*0451:bef3 or CP2105 10c4:ea70.*powered"):
        resolve_ports("auto", "", [])
    with pytest.raises(PortError, match=r"2 radar boards.*R0081038: commands /dev/ttyACM0, data"):
        resolve_ports("auto", "", two)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, r"no permission; sudo usermod -aG \w+ \$USER, then log in again"),
        (errno.ENOENT, "there is no such port, is the radar connected and powered"),
        (errno.EBUSY, "is in use by another program"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_port_that_cannot_be_opened_says_why(number, sentence, monkeypatch):
    def refuse(*_, **__):
        raise serial.SerialException(number, os.strerror(number))

    monkeypatch.setattr(uart.serial, "Serial", refuse)
    with pytest.raises(PortError, match=f"^/dev/null: .*{sentence}"):
        UartPointSource("/dev/null").open()


def test_the_group_is_that_of_the_port(monkeypatch):
    """Whatever it is called on this machine."""
    monkeypatch.setattr(uart.os, "stat", lambda _: SimpleNamespace(st_gid=4711))
    monkeypatch.setattr(uart.grp, "getgrgid", lambda n: SimpleNamespace(gr_name=f"group{n}"))
    monkeypatch.setattr(
        uart.serial, "Serial", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EACCES, "no"))
    )
    with pytest.raises(PortError, match="usermod -aG group4711"):
        UartPointSource("/dev/null").open()


def test_there_is_no_such_port():
    with pytest.raises(PortError, match="/dev/no_radar: there is no such port"):
        UartPointSource("/dev/no_radar").open()


def test_what_is_no_serial_port():
    with pytest.raises(PortError, match=r"^/dev/null: is no serial port$"):
        UartPointSource("/dev/null").open()
    with pytest.raises(ValueError, match="/dev/x cannot be both: commands and data have a port"):
        UartPointSource("/dev/x", "/dev/x")


@pytest.fixture
def terminal():
    """Both ends of a pseudo-terminal: descriptor of the board's, path of the host's."""
    board, host = os.openpty()
    tty.setraw(host)
    ends = SimpleNamespace(board=board, host=host, path=os.ttyname(host))
    yield ends
    for descriptor in (ends.board, ends.host):
        if descriptor >= 0:
            os.close(descriptor)


def packet(number, points=3):
    cloud = PointCloud(*np.full((5, points), number, np.float32))
    return packet_bytes(point_blocks(cloud), number, points=points)


def test_a_source_that_is_not_open_is_nothing():
    source = UartPointSource("/dev/null")
    assert source.read(0.0) is None
    assert list(source.frames()) == []
    with pytest.raises(PortError, match="not open"):
        source.start()
    source.stop()
    source.close()
    with pytest.raises(ValueError, match="queue_frames"):
        UartPointSource("/dev/null", queue_frames=0)
    with pytest.raises(ValueError, match="commands need a command_port"):
        UartPointSource("/dev/null", commands=["sensorStart"])


def test_frames_and_their_times(terminal):
    """By the given clock; an empty cloud is a frame, too; the newest frames win."""
    now = iter(np.arange(100.0, 200.0).tolist())
    with UartPointSource(terminal.path, queue_frames=2, clock=lambda: next(now)) as source:
        source.open()  # a second time it is open already
        source.start()
        os.write(terminal.board, packet(1))
        frame = source.read(5.0)
        assert (frame.number, frame.time_s, len(frame.points)) == (1, 100.0, 3)
        assert frame.points.x.tolist() == [1, 1, 1]
        os.write(terminal.board, packet(2, points=0))
        frame = source.read(5.0)
        assert (frame.number, len(frame.points)) == (2, 0)
        os.write(terminal.board, b"".join(packet(number) for number in range(3, 8)))
        while source.statistics.stream.frames < 7:
            pass
        assert [source.read(1.0).number for _ in range(2)] == [6, 7]
        counts = source.statistics
        assert (counts.frames_delivered, counts.frames_overwritten) == (4, 3)
        assert source.read(0.01) is None


def test_what_came_before_opening_is_forgotten(terminal):
    os.write(terminal.board, packet(1))
    with UartPointSource(terminal.path) as source:
        os.write(terminal.board, packet(2))
        assert source.read(5.0).number == 2


def test_a_cable_that_is_pulled(terminal):
    """The frames that came can be read, then the error says what was lost; it opens again."""
    source = UartPointSource(terminal.path)
    source.open()
    os.write(terminal.board, packet(1) + packet(2)[:50])
    while source.statistics.stream.frames < 1:
        pass
    os.close(terminal.board)
    os.close(terminal.host)
    terminal.board = terminal.host = -1
    assert source.read(1.0).number == 1
    with pytest.raises(PortError, match=f"{terminal.path}: was lost .*connected and powered"):
        source.read(5.0)
    source.close()
    with pytest.raises(PortError, match="there is no such port"):
        source.open()
    terminal.board, terminal.host = os.openpty()
    tty.setraw(terminal.host)
    source = UartPointSource(os.ttyname(terminal.host))
    with source:
        os.write(terminal.board, packet(3))
        assert source.read(5.0).number == 3


def test_a_radar_that_does_not_answer(terminal):
    """Bounded in time, and the port is named."""
    board, host = os.openpty()
    tty.setraw(host)
    path = os.ttyname(host)
    try:
        with UartPointSource(terminal.path, path, ["sensorStart"]) as source:
            with pytest.raises(ConfigPortError, match=f"{path}: 'sensorStart'.*not answered"):
                source.start()
            source.stop()  # it was not started, so there is nothing to stop
    finally:
        os.close(board)
        os.close(host)


# --------------------------------------------------------------------------- configurations

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_shipped_configuration_sends_points():
    """As its comments say: 4.29 cm, 0.137 m/s; the lower row's transmitters first."""
    config = load_cfg(CONFIG / "iwr1843_points.cfg", output="points")
    wave = config.waveform
    assert wave.range_resolution_m == pytest.approx(0.0429, abs=5e-5)
    assert wave.max_range_m == pytest.approx(11.0, abs=0.05)
    assert wave.velocity_resolution_mps == pytest.approx(0.137, abs=5e-4)
    assert wave.max_velocity_mps == pytest.approx(4.39, abs=0.005)
    assert (config.tx_order, wave.loops, wave.frame_period_s) == ((1, 3, 2), 64, 0.1)
    assert config.unknown_commands == ()
    with pytest.raises(ConfigError, match=r"lvdsStreamCfg wants 1 \(ADC samples\) as argument 3"):
        load_cfg(CONFIG / "iwr1843_points.cfg")


def edited(find, put):
    text = (CONFIG / "iwr1843_points.cfg").read_text()
    assert find in text
    return text.replace(find, put)


@pytest.mark.parametrize(
    "put", ["", "lvdsStreamCfg -1 0 1 0", "lvdsStreamCfg -1 1 4 1", "lvdsStreamCfg"]
)
def test_what_goes_to_a_capture_card_does_not_matter_for_points(put):
    config = parse_cfg(edited("lvdsStreamCfg -1 0 0 0", put), output="points")
    assert config.waveform.loops == 64
    assert (put in config.commands) == bool(put)


@pytest.mark.parametrize(
    "put", ["guiMonitor -1 2 0 0 0 0 0", "guiMonitor 0 1 1 1 1 1 1", "guiMonitor 1 1 0 0 0 1"]
)
def test_points_with_or_without_anything_else(put):
    """The last one is of SDK 2 on an xWR14xx, without the number of the sub-frame."""
    config = parse_cfg(edited("guiMonitor -1 1 0 0 0 0 1", put), output="points")
    assert put in config.commands


@pytest.mark.parametrize(
    ("put", "sentence"),
    [
        ("", "line 45: the file ends without guiMonitor, so the radar would not send points"),
        ("guiMonitor -1 0 1 0 0 0 1", "guiMonitor wants 1 .* or 2 .points. as argument 2, or no"),
        ("guiMonitor 0 1 0 0 0 1", "as argument 1, or no points arrive"),
        ("guiMonitor -1 3 0 0 0 0 1", "wants points .argument 2. as a whole number from 0 to 2"),
        ("guiMonitor -1 1", "guiMonitor wants 7 numbers, got 2"),
        ("guiMonitor -1 1 0 0 0 0 1\nguiMonitor -1 2 0 0 0 0 1", "contradicts line"),
    ],
)
def test_a_configuration_that_sends_no_points_is_refused(put, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_cfg(edited("guiMonitor -1 1 0 0 0 0 1", put), output="points")
