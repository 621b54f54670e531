"""radar_driver with a board that sends points: emulated boards and real nodes, live."""

from __future__ import annotations

import itertools
import os
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros import resources
from radar_pose_ros.radar.points import PointCloud, PointFrame
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.uart_board import (
    EmulatedUartBoard,
    UartFaults,
    sdk2_packet,
    sdk3_packet,
    simulated_frames,
)

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

DRIVER = "radar_h/radar_driver"
CFG = "iwr1843_points.cfg"
FIELDS = ["x", "y", "z", "doppler", "snr"]


@pytest.fixture
def frames() -> Iterator[PointFrame]:
    """Clouds of a person at 20 frames per second; every fifth is empty."""
    empty = PointCloud(*np.empty((5, 0), np.float32))
    people = itertools.islice(simulated_frames(20.0, clip_s=5.0), 100)
    return (frame._replace(points=empty) if frame.number % 5 == 4 else frame for frame in people)


def reliable(depth: int = 100) -> Any:
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=depth)


def latched() -> Any:
    from radar_pose_ros.nodes.base import LATCHED

    return LATCHED


def clouds(live: LiveGraph) -> list[Any]:
    from sensor_msgs.msg import PointCloud2

    return live.collect(PointCloud2, "/radar_h/points", reliable())


def table(message: Any) -> np.ndarray:
    """The values of a cloud, (points, 5), after checking that the message is one."""
    assert [field.name for field in message.fields] == FIELDS
    assert [field.offset for field in message.fields] == [0, 4, 8, 12, 16]
    assert {(field.datatype, field.count) for field in message.fields} == {(7, 1)}
    assert (message.height, message.point_step) == (1, 20)
    assert message.row_step == 20 * message.width == len(message.data)
    return np.frombuffer(message.data, "<f4").reshape(-1, 5)


def stamp_s(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def wait_for_both(live: LiveGraph) -> None:
    """The driver and the observer have to find each other, on a busy machine."""
    live.wait(lambda: live.node.count_publishers("/radar_h/points"), what="a publisher of points")
    time.sleep(1.5)


def status(live: LiveGraph, node: str = DRIVER) -> Any:
    return live.diagnostics().get(node)


def values(live: LiveGraph, node: str = DRIVER) -> dict[str, str]:
    found = status(live, node)
    return {v.key: v.value for v in found.values} if found else {}


def columns(cloud: PointCloud) -> np.ndarray:
    return np.stack([cloud.x, cloud.y, cloud.z, cloud.velocity, cloud.snr], axis=-1)


def expect_recorded(received: np.ndarray, sent: np.ndarray) -> None:
    """Exact, but for signal-to-noise ratios in tenths of a dB."""
    np.testing.assert_array_equal(received[:, :4], sent[:, :4])
    np.testing.assert_allclose(received[:, 4], sent[:, 4], atol=0.0501)


def test_driver_publishes_what_the_board_sent(
    live: LiveGraph, frames: Iterator[PointFrame]
) -> None:
    """Every cloud, empty ones too, in order, stamped; SIGINT stops the radar and exits with 0."""
    from radar_pose_ros import msg

    sent = list(frames)
    received = clouds(live)
    begun_s: list[float] = []
    config = load_cfg(resources.find("config", CFG), output="points")
    go = threading.Event()  # frames come when everybody is ready
    board = EmulatedUartBoard(
        (frame for frame in sent if go.wait()),
        on_frame=lambda _, now_s: begun_s.append(now_s),
    )
    with board:
        process = live.start(
            "radar_driver",
            "radar_h",
            source="uart",
            config_file=CFG,
            serial_port=board.command_port,
            points_port=board.data_port,
            frame_id="radar_h_link",
        )
        wait_for_both(live)
        live.wait(lambda: board.command_line.running, what="a started radar")
        assert board.command_line.commands[: len(config.commands)] == list(config.commands)
        go.set()
        live.wait(lambda: len(received) == len(sent), what=f"{len(sent)} clouds")
        late = live.collect(msg.RadarConfig, "/radar_h/radar_config", latched())
        live.wait(lambda: late, what="the configuration, for a late reader")
        live.wait(lambda: values(live).get("frames") == str(len(sent)), what="the count of frames")
        code = live.interrupt(process)
        assert board.command_line.commands[-1] == "sensorStop"
    assert code == 0
    for message, frame in zip(received, sent, strict=True):
        assert message.header.frame_id == "radar_h_link" and message.is_dense
        assert message.width == len(frame.points)
        expect_recorded(table(message), columns(frame.points))
    stamps_s = np.array([stamp_s(message) for message in received])
    late_s = stamps_s - begun_s
    assert late_s.min() > -1e-6 and np.median(late_s) < 0.02
    assert np.median(np.diff(stamps_s)) == pytest.approx(0.05, abs=0.005)
    assert late[0].commands.splitlines() == list(config.commands)
    assert late[0].loops == 64 and list(late[0].tx_order) == [1, 3, 2]


def test_a_board_that_is_on_already_is_configured_all_the_same(
    live: LiveGraph, frames: Iterator[PointFrame]
) -> None:
    """What it sends before is of another configuration; readers learn the one that it gets."""
    from radar_pose_ros import msg

    sent = list(frames)
    endless = (frame._replace(time_s=5.0 * k + frame.time_s) for k in range(99) for frame in sent)
    received = clouds(live)
    configs = live.collect(msg.RadarConfig, "/radar_h/radar_config", latched())
    with EmulatedUartBoard(endless, radar_on=True) as board:
        assert board.wait_sent(5, 10.0)
        live.start(
            "radar_driver",
            "radar_h",
            source="uart",
            config_file=CFG,
            serial_port=board.command_port,
            points_port=board.data_port,
        )
        live.wait(lambda: board.command_line.running, what="a started radar")
        live.wait(lambda: configs, what="the configuration")
        live.wait(lambda: len(received) > 30, what="30 clouds")
        commands = board.command_line.commands
        assert commands.count("sensorStart") == 1, "frames come, so it is not started again"


def test_a_radar_to_be_started_needs_commands() -> None:
    """The empty port says that something else starts it."""
    from radar_pose_ros.nodes.radar_outputs import commands_for
    from radar_pose_ros.radar.config import ConfigError

    config = load_cfg(resources.find("config", CFG), output="points")
    assert commands_for("auto", config) == config.commands
    assert commands_for("", config) == commands_for("", None) == ()
    with pytest.raises(ConfigError, match="serial_port wants a config_file"):
        commands_for("auto", None)
    export = replace(config, commands=(), source="radar.mmwave.json")
    with pytest.raises(ConfigError, match="holds no commands for /dev/ttyACM0"):
        commands_for("/dev/ttyACM0", export)


def test_damage_is_counted_and_the_rest_arrives(
    live: LiveGraph, frames: Iterator[PointFrame]
) -> None:
    """Of SDK 2, velocities from the configuration; a board that something else has started."""
    faults = UartFaults(loss=0.1, truncation=0.1, garbage=0.2, seed=1)
    received = clouds(live)
    config = load_cfg(resources.find("config", CFG), output="points")
    step_mps = config.waveform.velocity_resolution_mps
    with EmulatedUartBoard(
        list(frames), faults, encode=lambda frame: sdk2_packet(frame, step_mps)
    ) as board:
        live.start(
            "radar_driver",
            "radar_h",
            source="uart",
            config_file=CFG,
            points_port=board.data_port,
            silence_timeout_s=10.0,
        )
        wait_for_both(live)
        board.start_radar()
        assert board.wait_sent(100, 20.0)

        def counts() -> dict[str, int]:
            found = values(live)
            names = ("bytes_received", "bytes_skipped", "frames", "frames_lost")
            return {name: int(found.get(name, -1)) for name in names}

        sent = board.statistics.bytes_sent
        live.wait(lambda: counts()["bytes_received"] == sent, what=f"{sent} bytes")
    damaged = faults.packets_lost + faults.packets_truncated
    assert damaged > 5
    live.wait(lambda: len(received) == counts()["frames"], what="all clouds")
    assert 100 - damaged <= len(received) <= 100 - faults.packets_lost
    assert counts()["frames_lost"] >= damaged - 3  # the first and last are not between others
    assert counts()["bytes_skipped"] > 0
    reasons = [key for key in values(live) if key.startswith("dropped: malformed: ")]
    assert reasons
    assert values(live)["dropped: frames that never came"] == str(counts()["frames_lost"])
    for message in received:
        cloud = table(message)
        if len(cloud):
            assert np.isnan(cloud[:, 4]).all() and not message.is_dense
            assert np.abs(cloud[:, 3] / step_mps - np.rint(cloud[:, 3] / step_mps)).max() < 1e-3


def test_a_recording_at_its_own_rate(live: LiveGraph, shared_data: Path, tmp_path: Path) -> None:
    """uart_emulator plays MARS; R1: it is killed and comes back, the driver stays and goes on."""
    from radar_pose_ros.datasets import mars

    file = shared_data / "radar_points_mars" / "mars_subject3.npz"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    sequence = mars.load_points(file)[0]
    recorded = {place: sequence.cloud(place) for place in np.flatnonzero(sequence.parts >= 0)}
    received = clouds(live)
    ports = {"command_port": str(tmp_path / "command"), "points_port": str(tmp_path / "points")}
    emulated = {"recording": str(file), "movement": 1, **ports}
    emulator = live.start("uart_emulator", "radar_h", **emulated)
    driver = live.start(
        "radar_driver",
        "radar_h",
        source="uart",
        config_file=CFG,
        serial_port=ports["command_port"],
        points_port=ports["points_port"],
    )
    live.wait(lambda: len(received) >= 40, 60.0, "40 clouds")
    messages = received[5:40]
    stamps_s = np.array([stamp_s(message) for message in messages])
    steps_s = np.diff(stamps_s)
    assert np.median(steps_s) == pytest.approx(0.1, abs=0.01)
    assert 0 < time.time() - stamps_s[-1] < 10
    # The observer may have missed the first ones; from there on they are the recording's.
    clouds_sent = [recorded[place] for place in sorted(recorded)]
    first = next(
        k
        for k in range(40)
        if len(clouds_sent[k]) == messages[0].width
        and np.array_equal(table(messages[0])[:, :4], clouds_sent[k][:, :4])
    )
    for message, cloud in zip(messages, clouds_sent[first:], strict=False):
        expect_recorded(table(message), cloud)

    emulator.kill()
    live.wait(lambda: status(live).level == b"\x02", 8.0, "level ERROR")
    live.wait(lambda: "is the radar connected" in status(live).message, 8.0, "a reason")
    before = len(received)
    time.sleep(2.0)
    assert len(received) == before
    emulator = live.start("uart_emulator", "radar_h", **emulated)
    live.wait(lambda: len(received) > before + 10, 60.0, "clouds after the emulator is back")
    live.wait(lambda: status(live).level in (b"\x00", b"\x01"), 6.0, "no more error")
    assert driver.poll() is None
    log = live.log(driver)
    assert log.count("there is no such port") <= 4, "what stays as it is is said once"


def test_bytes_that_are_no_packets_are_told(
    live: LiveGraph, frames: Iterator[PointFrame], rng: np.random.Generator
) -> None:
    """As of a wrong baud rate: said once, with what it may be; and when there are frames again."""
    board, port = os.openpty()
    tty.setraw(port)
    received = clouds(live)
    process = live.start(
        "radar_driver",
        "radar_h",
        source="uart",
        config_file="",
        points_port=os.ttyname(port),
        silence_timeout_s=1.0,
    )

    def feed(data: bytes) -> bool:
        os.write(board, data)
        return True

    wrong = "bytes come, but no packets of points"
    live.wait(
        lambda: feed(rng.bytes(500)) and status(live) and wrong in status(live).message,
        40.0,
        wrong,
    )
    assert "points silent for" in status(live).message
    live.wait(lambda: feed(rng.bytes(500)) and wrong in live.log(process), what="a line of it")
    for frame in frames:
        feed(sdk3_packet(frame))
        time.sleep(0.02)
        if len(received) > 5:
            break
    live.wait(lambda: "frames again, after " in live.log(process), what="the end of it")
    assert live.log(process).count(wrong) == 1
    live.wait(lambda: wrong not in status(live).message, what="no more of it")
    assert live.interrupt(process) == 0
    os.close(board)
    os.close(port)


def test_faults_of_the_emulator_can_be_changed(live: LiveGraph, tmp_path: Path) -> None:
    """A simulated person; silence is an error and ends by itself."""
    received = clouds(live)
    port = str(tmp_path / "points")
    live.start("uart_emulator", "radar_h", points_port=port, rate_hz=20.0, clip_s=5.0)
    live.start("radar_driver", "radar_h", source="uart", config_file="", points_port=port)
    live.wait(lambda: sum(map(len, map(table, received))) > 100, 60.0, "points")
    assert all(np.isfinite(table(message)).all() for message in received)
    emulator = "radar_h/uart_emulator"
    assert live.set(emulator, "truncation", 1.0) == (True, "")
    live.wait(lambda: int(values(live).get("frames_malformed", 0)) > 5, what="malformed packets")
    assert live.set(emulator, "truncation", 0.0) == (True, "")
    assert live.set(emulator, "silent", True) == (True, "")
    live.wait(lambda: status(live).level == b"\x02", 8.0, "level ERROR")
    assert "points silent" in status(live).message
    assert live.set(emulator, "silent", False) == (True, "")
    live.wait(lambda: status(live).level in (b"\x00", b"\x01"), 8.0, "no more error")
    assert not live.set(emulator, "loss", 1.5)[0]
    assert int(values(live, emulator)["packets_truncated"]) > 5


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"config_file": "iwr1843.cfg"}, "line 27: guiMonitor wants 1"),
        ({"config_file": "iwr1843.cfg"}, "; iwr1843_points.cfg sends points"),
        ({"config_file": CFG, "serial_port": "/dev/x", "points_port": "/dev/x"}, "cannot be both"),
        ({"config_file": "", "serial_port": "/dev/null"}, "serial_port wants a config_file"),
    ],
)
def test_what_cannot_work_is_a_failure_with_a_sentence(
    live: LiveGraph, parameters: dict[str, str], sentence: str
) -> None:
    process = live.start("radar_driver", "radar_h", source="uart", **parameters)
    live.wait(lambda: status(live) and sentence in status(live).message, what=sentence)
    assert "cannot configure" in status(live).message
    assert live.state(DRIVER) == "unconfigured"
    assert "Traceback" not in live.log(process)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"points_port": "/no/where"}, "points_port: there is no folder /no to put a link in"),
        ({"points_port": "p", "recording": "none.npz"}, "recording: there is no file none.npz"),
    ],
)
def test_what_cannot_be_emulated_is_a_failure_with_a_sentence(
    live: LiveGraph, parameters: dict[str, str], sentence: str
) -> None:
    process = live.start("uart_emulator", "radar_h", **parameters)
    live.wait(lambda: sentence in live.log(process), what=sentence)
    assert "Traceback" not in live.log(process)


def test_no_board_is_an_error_that_says_how_to_name_one(live: LiveGraph) -> None:
    """Unless this machine has one: then it is opened, or belongs to somebody."""
    from radar_pose_ros.radar.uart import find_boards

    if find_boards():
        pytest.skip("a radar board is connected")
    live.start("radar_driver", "radar_h", source="uart", config_file="")
    live.wait(
        lambda: status(live) and "no radar board was found on USB" in status(live).message,
        what="the reason",
    )
