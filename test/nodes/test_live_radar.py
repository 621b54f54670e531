"""The nodes of one radar, live: board -> driver -> preprocessor."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.boards import EmulatedDca1000, EmulatedRadarCli, Faults

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

PERIOD_S = 0.05
CONFIG_PORT, DATA_PORT = 14096, 14098


@pytest.fixture
def cfg(tmp_path: Path, root: Path) -> Path:
    """The reference configuration with 16 loops and 20 frames per second."""
    text = (root / "config" / "iwr1843.cfg").read_text()
    lines = [
        "frameCfg 0 2 16 0 50 1 0" if line.startswith("frameCfg") else line
        for line in text.splitlines()
    ]
    path = tmp_path / "small.cfg"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def config(cfg: Path) -> RadarConfig:
    return load_cfg(cfg)


def random_frames(config: RadarConfig, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    values = config.bytes_per_frame // 2
    return [rng.integers(-(2**15), 2**15, values, dtype=np.int16) for _ in range(count)]


class Bench:
    """One emulated board whose frames are known."""

    def __init__(self, frames: list[np.ndarray], faults: Faults | None = None) -> None:
        self._frames = frames
        self.go = threading.Event()  # frames come from now on
        self.card = EmulatedDca1000(
            self._when_ready(),
            ("127.0.0.1", DATA_PORT),
            ("127.0.0.2", CONFIG_PORT),
            faults,
            frame_period_s=PERIOD_S,
            active_time_s=0.01,
            radar_on=False,
        )
        self.command_line = EmulatedRadarCli(
            on_start=lambda _: self.card.start_radar(), on_stop=self.card.stop_radar
        )

    def _when_ready(self) -> Iterator[np.ndarray]:
        self.go.wait()
        yield from self._frames

    def release(self, live: LiveGraph) -> None:
        """Let frames come once the driver and the observer know of each other."""
        live.wait(lambda: live.node.count_publishers("/radar_h/adc"), what="a publisher of adc")
        time.sleep(1.5)  # the driver has to find the observer, too, on a busy machine
        self.go.set()

    def __enter__(self) -> Bench:
        self.card.open()
        self.command_line.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.card.close()
        self.command_line.close()

    def parameters(self, cfg: Path) -> dict[str, Any]:
        """Parameters of the driver for this board."""
        return {
            "config_file": str(cfg),
            "host_ip": "127.0.0.1",
            "card_ip": "127.0.0.2",
            "config_port": CONFIG_PORT,
            "data_port": DATA_PORT,
            "serial_port": self.command_line.port,
            "frame_id": "radar_h_link",
        }


def reliable(depth: int = 100) -> Any:
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=depth)


def latched() -> Any:
    from radar_pose_ros.nodes.base import LATCHED

    return LATCHED


def test_driver_publishes_what_the_board_sent(
    live: LiveGraph, cfg: Path, config: RadarConfig, rng: np.random.Generator
) -> None:
    """Frames arrive bit for bit, in order, stamped; SIGINT stops the radar and exits with 0."""
    from radar_pose_ros import msg

    frames = random_frames(config, 20, rng)
    received = live.collect(msg.RadarAdcFrame, "/radar_h/adc", reliable())
    begin_s = time.time()
    with Bench(frames) as bench:
        process = live.start("radar_driver", "radar_h", **bench.parameters(cfg))
        bench.release(live)
        live.wait(lambda: len(received) >= 19, what="19 frames")  # the last may wait for a stop
        late = live.collect(msg.RadarConfig, "/radar_h/radar_config", latched())
        live.wait(lambda: late, what="the configuration, for a late reader")
        code = live.interrupt(process)
        assert bench.command_line.commands[-1] == "sensorStop"
        assert bench.command_line.commands[: len(config.commands)] == list(config.commands)
    assert code == 0
    for number, message in enumerate(received):
        assert message.frame_index == number
        assert message.bytes_missing == 0
        assert message.header.frame_id == "radar_h_link"
        np.testing.assert_array_equal(np.frombuffer(message.data, np.int16), frames[number])
        np.testing.assert_array_equal(np.frombuffer(message.chirp_valid, np.uint8), 1)
    stamps_s = np.array([m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in received])
    assert begin_s < stamps_s[0] < stamps_s[-1] < time.time()
    assert np.median(np.diff(stamps_s)) == pytest.approx(PERIOD_S, abs=0.01)
    assert late[0].commands.splitlines() == list(config.commands)


def test_driver_counts_lost_packets_exactly(
    live: LiveGraph, cfg: Path, config: RadarConfig, rng: np.random.Generator
) -> None:
    """Injected loss shows in the messages to the byte, and in the diagnostics to the packet."""
    from radar_pose_ros import msg

    received = live.collect(msg.RadarAdcFrame, "/radar_h/adc", reliable())
    faults = Faults(loss=0.02, seed=3)
    with Bench(random_frames(config, 20, rng), faults) as bench:
        live.start("radar_driver", "radar_h", max_missing_ratio=1.0, **bench.parameters(cfg))
        live.diagnostics()
        bench.release(live)
        live.wait(lambda: len(received) >= 18, what="18 frames")
        live.wait(lambda: bench.card.wait_sent(20, 0.0), what="all frames sent")
        live.change("radar_h/radar_driver", "deactivate")
        live.wait(lambda: len(received) == 20, what="all frames")

    def packets_lost() -> int:
        status = live.diagnostics().get("radar_h/radar_driver")
        values = {v.key: v.value for v in status.values} if status else {}
        return int(values.get("packets_lost", -1))

    assert faults.packets_lost > 20
    assert sum(m.bytes_missing for m in received) == faults.bytes_lost
    live.wait(lambda: packets_lost() == faults.packets_lost, what="the number of lost packets")
    valid = np.array([np.frombuffer(m.chirp_valid, np.uint8) for m in received])
    data = np.array([np.frombuffer(m.data, np.int16) for m in received])
    chirps = data.reshape(*valid.shape, -1)
    assert 0 < (valid == 0).sum() < valid.size
    assert all(0 in chirp for chirp in chirps[valid == 0])  # what is missing is zero


def test_a_recording_is_published_like_a_board(
    live: LiveGraph, cfg: Path, config: RadarConfig, rng: np.random.Generator, tmp_path: Path
) -> None:
    """A .bin file at the frame rate, again and again; diagnostics say how long a frame arrives."""
    from radar_pose_ros import evaluation, msg

    frames = random_frames(config, 3, rng)
    recording = tmp_path / "adc_data.bin"
    recording.write_bytes(b"".join(frame.tobytes() for frame in frames))
    received = live.collect(msg.RadarAdcFrame, "/radar_h/adc", reliable())
    live.diagnostics()
    live.start(
        "radar_driver",
        "radar_h",
        config_file=str(cfg),
        replay_file=str(recording),
        silence_timeout_s=0.3,
    )
    live.wait(lambda: len(received) >= 5, what="frames of the second round")
    for message in received:
        data = np.frombuffer(message.data, np.int16)
        np.testing.assert_array_equal(data, frames[message.frame_index])
        assert abs(message.header.stamp.sec - time.time()) < 30

    def arrival_ms() -> str:
        status = live.diagnostics().get("radar_h/radar_driver")
        values = {v.key: v.value for v in status.values} if status else {}
        return values.get(evaluation.ARRIVAL_KEY, "")

    # In a file a frame takes the time in which its chirps were sent.
    expected_ms = f"{1e3 * config.waveform.active_time_s:.1f}"
    live.wait(lambda: arrival_ms() == expected_ms, what=f"{expected_ms} ms of arrival")


@pytest.fixture
def preprocessor(live: LiveGraph) -> Any:
    """A running preprocessor, and publishers for what it reads."""
    from radar_pose_ros import msg

    live.process = live.start("radar_preprocessor", "radar_h", range_first=31, range_bins=64)
    live.configs = live.node.create_publisher(msg.RadarConfig, "/radar_h/radar_config", latched())
    live.frames = live.node.create_publisher(msg.RadarAdcFrame, "/radar_h/adc", reliable(10))
    live.diagnostics()
    live.wait(lambda: live.frames.get_subscription_count(), what="a subscriber of adc")
    live.wait(lambda: live.configs.get_subscription_count(), what="a subscriber of radar_config")
    return live


def frame_message(config: RadarConfig, data: np.ndarray, index: int = 0) -> Any:
    from types import SimpleNamespace

    from radar_pose_ros.nodes import convert

    frame = SimpleNamespace(
        index=index,
        epoch=0,
        data=data,
        chirp_valid=np.ones(config.adc_shape[0] * config.adc_shape[1], np.uint8),
        bytes_missing=0,
    )
    return convert.adc_to_message(frame, config.adc_shape, time.time_ns(), "radar_h_link")


def test_preprocessor_publishes_the_ground_floors_heatmap(
    preprocessor: Any, config: RadarConfig, rng: np.random.Generator
) -> None:
    """The live heatmap equals the function's, and bad messages are dropped and counted (R5)."""
    from sensor_msgs.msg import Image

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    live = preprocessor
    heatmaps = live.collect(msg.RadarHeatmap, "/radar_h/heatmap", reliable())
    previews = live.collect(Image, "/radar_h/heatmap/preview", reliable())
    live.configs.publish(convert.config_to_message(config, time.time_ns(), "radar_h_link"))
    (data,) = random_frames(config, 1, rng)
    good = frame_message(config, data)

    def first_heatmap() -> bool:
        live.frames.publish(good)
        time.sleep(0.1)
        return bool(heatmaps and previews)

    live.wait(first_heatmap, what="a heatmap and a preview")
    processor = HeatmapProcessor(config, HeatmapConfig(range_first=31, range_bins=64))
    message = heatmaps[0]
    expected = processor(data)  # the last digit depends on the threads of a product of matrices
    np.testing.assert_allclose(
        convert.message_to_heatmap(message), expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )
    assert message.header == good.header
    assert message.range_first_m == pytest.approx(31 * 0.0429, abs=0.01)
    assert message.valid_ratio == 1.0
    assert (previews[0].height, previews[0].width, previews[0].encoding) == (64, 64, "mono8")
    assert max(previews[0].data) == 255

    bad = [frame_message(config, data, index) for index in range(1, 5)]
    bad[0].loops = 17
    bad[1].header.stamp.sec = bad[1].header.stamp.nanosec = 0
    bad[2].data = bad[2].data[:100]
    bad[3].chirp_valid[:] = type(bad[3].chirp_valid)("B", [0] * len(bad[3].chirp_valid))
    time.sleep(0.3)
    before = len(heatmaps)
    for message in bad:
        live.frames.publish(message)
        time.sleep(0.05)

    def drops() -> dict[str, int]:
        status = live.diagnostics().get("radar_h/radar_preprocessor")
        values = {v.key: v.value for v in status.values} if status else {}
        return {k: int(v) for k, v in values.items() if k.startswith("dropped: adc:")}

    wanted = {
        "dropped: adc: frame size differs from its shape": 2,
        "dropped: adc: time stamp not set": 1,
        "dropped: adc: too few complete chirps": 1,
    }
    live.wait(lambda: wanted.items() <= drops().items(), what=f"drops {wanted}")
    assert len(heatmaps) == before
    assert live.state("radar_h/radar_preprocessor") == "active"


def test_parameters_are_refused_with_their_range(preprocessor: Any) -> None:
    """R13: out of range, of the wrong type, or changed while active."""
    live, node = preprocessor, "radar_h/radar_preprocessor"
    live.wait(lambda: live.state(node) == "active", what="an active node")
    ok, reason = live.set(node, "angle_bins", 9)
    assert not ok
    assert "16" in reason and "256" in reason
    ok, reason = live.set(node, "angle_bins", 0.5)
    assert not ok
    assert "type" in reason
    ok, reason = live.set(node, "angle_bins", 32)
    assert not ok
    assert "only while the node is unconfigured" in reason
    assert live.set(node, "min_valid_ratio", 0.5) == (True, "")
    assert not live.set(node, "min_valid_ratio", float("nan"))[0]
    assert not live.set(node, "autostart", False)[0]
    assert live.change(node, "deactivate")
    assert live.change(node, "cleanup")
    assert live.set(node, "angle_bins", 32) == (True, "")
    ok, reason = live.set(node, "window", "kaiser")
    assert not ok
    assert reason == 'parameter window is \'kaiser\', allowed is "none" | "hann"'


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-p", "angle_bins:="], "Couldn't parse parameter override rule: '-p angle_bins:='"),
        (["--params-file", "/no.yaml"], "Couldn't parse params file: '--params-file /no.yaml'"),
    ],
)
def test_arguments_that_rcl_cannot_read_are_one_sentence(
    arguments: list[str], sentence: str, ros_environment: dict[str, str]
) -> None:
    """R13: no traceback, exit code 2, and nothing of where rcl was compiled."""
    program = [sys.executable, "-m", "radar_pose_ros.nodes", "radar_preprocessor", "--ros-args"]
    done = subprocess.run(
        [*program, *arguments], env=ros_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ") and sentence in error
    assert "/src/" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_still_imports_ends_quietly(
    number: int, ros_environment: dict[str, str]
) -> None:
    """By the signal, at once: nothing is open yet, so there is nothing to say."""
    script = (
        "import builtins, os, runpy, sys\n"
        "sys.argv = ['nodes', 'mamba_pose']\n"
        "find = __import__\n"
        "def trap(name, *rest, **more):\n"
        f"    if name == 'torch': os.kill(os.getpid(), {int(number)})\n"
        "    return find(name, *rest, **more)\n"
        "builtins.__import__ = trap\n"
        "runpy.run_module('radar_pose_ros.nodes', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=ros_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        ("angle_bins", 9, "allowed is 16 .. 256"),
        ("min_valid_ratio", 1.5, "allowed is 0 .. 1"),
        ("chirps", "some", 'allowed is "subsample" | "central_doppler"'),
        ("input_timeout_s", 2, "expecting type"),
    ],
)
def test_a_wrong_parameter_at_the_start_is_one_sentence(
    live: LiveGraph, parameter: str, value: Any, sentence: str
) -> None:
    """R13: exit code 2, which tells whoever starts nodes again not to."""
    process = live.start("radar_preprocessor", **{parameter: value})
    assert process.wait(10.0) == 2
    live.wait(lambda: live.log(process), 2.0)
    assert sentence in live.log(process)
    assert "Traceback" not in live.log(process)


def test_a_bad_file_is_a_failure_with_a_sentence(live: LiveGraph, tmp_path: Path) -> None:
    """A configuration with a mistake: FAILURE, the line in the diagnostics, the node stays up."""
    broken = tmp_path / "broken.cfg"
    broken.write_text("sensorStop\nprofileCfg 0 77 7\n")
    process = live.start("radar_driver", config_file=str(broken))
    live.diagnostics()
    live.wait(lambda: "radar_driver" in live.diagnostics(), what="diagnostics")
    status = live.diagnostics()["radar_driver"]
    assert status.level == b"\x02"
    assert "cannot configure" in status.message
    assert "line 2" in status.message and "profileCfg" in status.message
    assert live.state("radar_driver") == "unconfigured"
    assert "Traceback" not in live.log(process)
