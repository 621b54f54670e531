"""Heatmaps made small on their way: what arrives, what is refused, and who is asked for them."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.nodes.base import RELIABLE
from radar_pose_ros.nodes.convert import InvalidMessageError
from radar_pose_ros.radar.heatmap import angle_matrix, angle_transform

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

SHAPE, ANGLE_BINS = (12, 8, 64), 32
PERIOD_NS = 100_000_000
RADARS = ("radar_h", "radar_v")


def cube_of(rng: np.random.Generator) -> np.ndarray:
    real, imaginary = rng.normal(0, 100, (2, *SHAPE))
    return (real + 1j * imaginary).astype(np.complex64)


def whole(cube: np.ndarray, stamp_ns: int, number: int = 7) -> msg.RadarHeatmap:
    """A RadarHeatmap of this cube, all of its fields other than 0."""
    heatmap = angle_transform(cube, ANGLE_BINS)
    axes = tuple(np.linspace(k + 0.5, k + 1.5, 9) for k in range(3))
    frame = SimpleNamespace(
        stamp_ns=stamp_ns, frame_id="radar_h_link", frame_index=number, epoch=2
    )
    message = convert.heatmap_to_message(heatmap, axes, frame, 0.75)
    message.range_first_m, message.range_step_m = 31 * 0.043, 0.043
    return message


def test_a_heatmap_arrives_with_all_that_is_said_of_it(rng: np.random.Generator) -> None:
    cube = cube_of(rng)
    sent = whole(cube, time.time_ns())
    small = heatmap_transport.compressed(sent, cube)
    assert len(small.data) < 0.1 * sent.data.itemsize * len(sent.data)
    found = heatmap_transport.expanded(small)
    for name in sent.get_fields_and_field_types():
        if name != "data":
            assert getattr(found, name) == getattr(sent, name), name
    values, expected = map(convert.message_to_heatmap, (found, sent))
    error = np.sqrt(np.mean(np.abs(values - expected) ** 2) / np.mean(np.abs(expected) ** 2))
    assert error == pytest.approx(1 / (np.sqrt(6) * 16), rel=0.05)


def test_the_message_says_how_it_is_read(rng: np.random.Generator) -> None:
    """By the words of the definition alone, without this package's decoder."""
    import zlib

    cube = cube_of(rng)
    small = heatmap_transport.compressed(whole(cube, time.time_ns()), cube)
    planes = zlib.decompress(bytes(small.data))
    count = len(planes) // 2
    steps = []
    for low, high in zip(planes[:count], planes[count:], strict=True):
        code = low + 256 * high
        steps.append(code // 2 if code % 2 == 0 else -(code + 1) // 2)
    parts = np.array(steps, float).reshape(*SHAPE, 2) * small.step
    read = parts[..., 0] + 1j * parts[..., 1]
    k, n = np.arange(ANGLE_BINS)[:, None], np.arange(small.antennas)
    kernel = np.exp(-2j * np.pi * (k - small.angle_bins / 2) * n / small.angle_bins)
    np.testing.assert_allclose(kernel, angle_matrix(ANGLE_BINS, small.antennas), atol=1e-5)
    heatmap = np.einsum("kn,ndr->kdr", kernel, read)
    found = convert.message_to_heatmap(heatmap_transport.expanded(small))
    np.testing.assert_allclose(found, heatmap, atol=1e-4 * np.abs(heatmap).max())


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("encoding", "jpeg", "heatmap of unknown encoding"),
        ("encoding", "x" * 100_000, "heatmap of unknown encoding"),
        ("antennas", 0, "heatmap of impossible size"),
        ("antennas", 4_000_000_000, "heatmap of impossible size"),
        ("angle_bins", 4_000_000_000, "heatmap of impossible size"),
        ("angle_bins", 11, "heatmap that cannot be unpacked"),
        ("antennas", 11, "heatmap that cannot be unpacked"),
        ("range_bins", 65, "heatmap that cannot be unpacked"),
        ("step", float("nan"), "heatmap that cannot be unpacked"),
        ("step", -1.0, "heatmap that cannot be unpacked"),
        ("data", b"", "heatmap that cannot be unpacked"),
        ("data", b"\0" * 1000, "heatmap that cannot be unpacked"),
    ],
)
def test_what_cannot_be_a_heatmap_is_refused(
    field: str, value: Any, reason: str, rng: np.random.Generator
) -> None:
    cube = cube_of(rng)
    small = heatmap_transport.compressed(whole(cube, time.time_ns()), cube)
    setattr(small, field, value)
    with pytest.raises(InvalidMessageError) as error:
        heatmap_transport.expanded(small)
    assert error.value.reason == reason
    assert len(str(error.value)) < 300


def counters(live: LiveGraph, node: str) -> dict[str, str]:
    found = live.diagnostics().get(node)
    return {v.key: v.value for v in found.values} if found else {}


class Radars:
    """Publishes small heatmaps of both radars."""

    def __init__(self, live: LiveGraph) -> None:
        self._publishers = [
            live.node.create_publisher(
                msg.CompressedRadarHeatmap, f"/{radar}/{heatmap_transport.COMPRESSED}", RELIABLE
            )
            for radar in RADARS
        ]
        self._live = live

    def wait(self) -> None:
        """Wait until somebody listens."""
        for publisher in self._publishers:
            self._live.wait(publisher.get_subscription_count, 40.0, "a subscriber of the heatmap")
        time.sleep(0.5)

    def publish(self, cubes: list[list[np.ndarray]], behind_s: float = 0.0) -> None:
        """Publish frames; the clock of radar_v is that much behind."""
        for number, views in enumerate(cubes):
            now_ns = time.time_ns()
            stamps_ns = (now_ns, now_ns - int(behind_s * 1e9))
            for publisher, cube, stamp_ns in zip(self._publishers, views, stamps_ns, strict=True):
                heatmap = whole(cube, stamp_ns, number)
                publisher.publish(heatmap_transport.compressed(heatmap, cube))
            time.sleep(0.15)


def test_poses_of_small_heatmaps_are_the_networks_and_clocks_are_compared(
    live: LiveGraph, rng: np.random.Generator
) -> None:
    """First the clock of radar_v is 0.2 s behind, which the diagnostics say; then it is right."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros.models import weights
    from radar_pose_ros.models.engine import Engine

    network, _ = weights.network("edge", "millimamba")
    thresholds = {"person_min_confidence": 0.0, "joint_min_confidence": 0.0}
    usual = {"threads": 1, "precision": "float32", "max_gap_s": 2.0}
    live.start("mamba_pose", heatmap_transport="compressed", **usual, **thresholds)
    poses = live.collect(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=50))
    radars = Radars(live)
    radars.wait()
    cubes = [[cube_of(rng) for _ in RADARS] for _ in range(12)]
    radars.publish(cubes, behind_s=0.2)
    said = live.wait(
        lambda: (s := live.diagnostics().get("mamba_pose")) and "radar_v come" in s.message and s,
        what="a warning of clocks",
    )
    apart_s = float(re.search(r"messages of radar_v come (\S+) s later", said.message).group(1))
    assert apart_s == pytest.approx(0.2, abs=0.02)
    ages_ms = [
        float(counters(live, "mamba_pose")[f"{radar}/heatmap: least age on arrival_ms"])
        for radar in RADARS
    ]
    assert ages_ms[1] - ages_ms[0] == pytest.approx(200, abs=20)
    assert 0 <= ages_ms[0] < 60

    assert live.change("mamba_pose", "deactivate")
    assert live.change("mamba_pose", "activate")
    radars.wait()
    poses.clear()
    radars.publish(cubes)
    live.wait(lambda: len(poses) >= 4, what="poses")
    engine, expected = Engine(network, precision="float32"), []
    for views in cubes:
        small = [heatmap_transport.compressed(whole(cube, 1), cube) for cube in views]
        heatmaps = [convert.message_to_heatmap(heatmap_transport.expanded(m)) for m in small]
        engine.push(np.stack(heatmaps), np.ones(2, bool))
        output = engine.estimate()
        if output is not None:
            expected.append(output.keypoints[0, 4].numpy())
    for pose, keypoints_px in zip(poses, expected, strict=True):
        (person,) = convert.message_to_pose2d(pose, 14)
        np.testing.assert_allclose(person[:, :2], keypoints_px, atol=0.05)
    live.wait(
        lambda: "clocks differ" not in live.diagnostics()["mamba_pose"].message,
        what="clocks that agree",
    )


def test_the_preprocessor_makes_small_heatmaps_for_those_who_ask(
    live: LiveGraph, rng: np.random.Generator
) -> None:
    """They stand for the heatmaps of the same frames."""
    from radar_pose_ros import resources
    from radar_pose_ros.nodes.base import LATCHED
    from radar_pose_ros.radar.ti_config import load_cfg

    config = load_cfg(resources.find("config", "iwr1843.cfg"))
    live.start("radar_preprocessor", "radar_h", angle_bins=32, range_first=31, range_bins=64)
    configs = live.node.create_publisher(msg.RadarConfig, "/radar_h/radar_config", LATCHED)
    configs.publish(convert.config_to_message(config, time.time_ns(), "radar_h_link"))
    frames = live.node.create_publisher(msg.RadarAdcFrame, "/radar_h/adc", RELIABLE)
    live.wait(frames.get_subscription_count, 40.0, "a subscriber of adc")
    heatmaps = live.collect(msg.RadarHeatmap, "/radar_h/heatmap", RELIABLE)
    small = live.collect(
        msg.CompressedRadarHeatmap, f"/radar_h/{heatmap_transport.COMPRESSED}", RELIABLE
    )
    loops, transmitters, _, _ = config.adc_shape
    samples = rng.integers(-200, 200, config.bytes_per_frame // 2).astype(np.int16)
    frame = SimpleNamespace(
        index=3,
        epoch=1,
        data=samples,
        chirp_valid=np.ones(loops * transmitters, np.uint8),
        bytes_missing=0,
    )

    def both() -> bool:
        now_ns = time.time_ns()
        frames.publish(convert.adc_to_message(frame, config.adc_shape, now_ns, "radar_h_link"))
        time.sleep(0.1)
        return bool(heatmaps and small)

    live.wait(both, what="heatmaps of both kinds")
    expected = convert.message_to_heatmap(heatmaps[-1])
    found = convert.message_to_heatmap(heatmap_transport.expanded(small[-1]))
    assert small[-1].frame_index == 3
    error = np.sqrt(np.mean(np.abs(found - expected) ** 2) / np.mean(np.abs(expected) ** 2))
    assert error == pytest.approx(1 / (np.sqrt(6) * 16), rel=0.05)
