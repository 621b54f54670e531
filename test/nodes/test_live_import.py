"""What is imported is what nodes publish, and a replay of it is worth what it should be."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from radar_pose_ros import bag_contents, bag_evaluation, bringup, cli
from radar_pose_ros.imports import messages
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio
from radar_pose_ros.recording import BagReader, stamp_ns, type_store

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

STAMP_NS = 1_700_000_000_123_456_789


def pairs(rng: np.random.Generator) -> dict[str, tuple[Any, Any]]:
    """Messages of the imports, and what the nodes make of the same numbers."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.people import Person
    from radar_pose_ros.nodes.transforms import camera_transform
    from radar_pose_ros.radar.assembler import AssembledFrame
    from radar_pose_ros.radar.points import PointCloud
    from radar_pose_ros.resources import find
    from radar_pose_ros.skeleton.definitions import COCO17, KINECT25
    from radar_pose_ros.vision.camera import PinholeCamera

    head = convert.header(STAMP_NS, "frame")
    at = (STAMP_NS, "frame")
    config = load_cfg(find("config", "iwr1843.cfg"))
    data = rng.integers(-(2**15), 2**15, config.bytes_per_frame // 2, np.int16)
    valid = rng.integers(0, 2, config.adc_shape[0] * config.adc_shape[1], np.uint8)
    frame = AssembledFrame(7, 2, data, valid, 12, 0.0, 0.0)
    cloud = rng.normal(size=(9, 5)).astype(np.float32)
    camera = PinholeCamera.looking_at([5.0, 1.0, 1.5], [2.0, 0.0, 1.0], 300.0, (640, 480))
    keypoints_px = rng.uniform(0, 480, (17, 2))
    confidence = rng.uniform(size=17)
    joints_m = rng.normal(size=(25, 3))
    joints_m[4] = np.nan
    unknown = np.where(np.isnan(joints_m[:, 0]), 0.0, np.nan)
    flat = {"skeleton": "coco17", "model": "a model"}
    space = {"skeleton": "kinect25", "model": "a model"}
    one = Person(keypoints_px, confidence, float(np.mean(confidence)), -1)
    other = Person(joints_m, unknown, np.nan, 0)
    size = {"image_width": 640, "image_height": 480}
    [theirs] = messages.static_transforms("frame", {"eye": camera}, STAMP_NS).transforms
    return {
        "config": (messages.radar_config(config, *at), convert.config_to_message(config, *at)),
        "samples": (
            messages.adc_frame(frame, config, *at),
            convert.adc_to_message(frame, config.adc_shape, *at),
        ),
        "points": (
            messages.points(cloud, *at),
            convert.cloud_to_message(PointCloud(*cloud.T.copy()), head),
        ),
        "skeleton": (messages.skeleton(COCO17), convert.skeleton_to_message(COCO17)),
        "another": (messages.skeleton(KINECT25), convert.skeleton_to_message(KINECT25)),
        "pose2d": (
            messages.pose2d([(keypoints_px, confidence)], *at, **flat, size_px=(640, 480)),
            convert.people_to_message(msg.HumanPose2DArray, [one], head, **flat, **size),
        ),
        "pose3d": (
            messages.pose3d(joints_m, *at, **space),
            convert.people_to_message(msg.HumanPose3DArray, [other], head, **space),
        ),
        "camera": (messages.camera_info(camera, *at), convert.camera_to_message(camera, head)),
        "place": (theirs, camera_transform("frame", "eye", camera, STAMP_NS)),
    }


@pytest.mark.parametrize(
    "name",
    ["config", "samples", "points", "skeleton", "another", "pose2d", "pose3d", "camera", "place"],
)
def test_messages_are_those_of_the_nodes(name: str, rng: np.random.Generator) -> None:
    """To the last bit; of a place, which is computed by other means, to the last digits."""
    from rclpy.serialization import serialize_message

    ours, theirs = pairs(rng)[name]
    if name == "place":
        for part, fields in (("translation", "xyz"), ("rotation", "xyzw")):
            values = [
                [getattr(getattr(m.transform, part), field) for field in fields]
                for m in (ours, theirs)
            ]
            sign = np.sign(np.dot(*values)) if part == "rotation" else 1.0
            np.testing.assert_allclose(values[0], sign * np.array(values[1]), atol=1e-12)
        assert ours.header.frame_id == theirs.header.frame_id
        assert ours.child_frame_id == theirs.child_frame_id
        return
    kind, store = ours.__msgtype__, type_store()
    wanted = store.deserialize_cdr(serialize_message(theirs), kind)  # what it fills gaps with goes
    assert bytes(store.serialize_cdr(ours, kind)) == bytes(store.serialize_cdr(wanted, kind))


def offline_errors(bag: Path, stamps: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and truth at instants, by the network on the bag's clouds, without any node."""
    import torch

    from radar_pose_ros.models import weights
    from radar_pose_ros.models.point_windows import PointWindows

    network = weights.network("points", "points")[0]
    windows = PointWindows(network.config)
    found, true = {}, {}
    with BagReader(bag) as reader:
        for item in reader.messages(["/points", "/ground_truth"]):
            at = stamp_ns(item.message)
            if item.topic == "/ground_truth":
                places = (k.position for k in item.message.poses[0].keypoints)
                true[at] = np.array([(p.x, p.y, p.z) for p in places])
                continue
            windows.add(item.message.data.view("<f4").reshape(-1, 5), at)
            people = [person for person in windows.people() if person.tells(-1)]
            if len(people) == 1:
                with torch.inference_mode():
                    joints_m = network(torch.from_numpy(people[0].points[None]))
                found[at] = joints_m[0, -1].numpy()
    shared = sorted(stamps & found.keys() & true.keys())
    return np.array([found[at] for at in shared]), np.array([true[at] for at in shared])


def test_mars_imported_replayed_and_evaluated(
    live: LiveGraph, shared_data: Path, tmp_path: Path
) -> None:
    """The error that `evaluate` reports of the recorded run is the network's own on the file."""
    file = shared_data / "radar_points_mars" / "mars_subject3.npz"
    bag, run = tmp_path / "bag", tmp_path / "run"
    words = ["import", "mars", str(file), "--movement", "1", "--frames", "60", "--out", str(bag)]
    assert cli.main(words) == 0
    about = {"input": "points", "output_frame": "latest", "threads": 1, "queue_size": 16}
    live.start("mamba_pose", **about)
    recorder = live.start("recorder", bag=str(run), level="pose")
    live.wait(lambda: live.node.count_subscribers("/pose3d"), 60.0, "a recorder of poses")
    player = live.start(
        "replayer",
        **{"bag": str(bag), "from_level": "sensor", "rate": 1.0},
        **{"wait_for": "mamba_pose recorder", "wait_s": 120.0},
    )
    live.wait(lambda: player.poll() is not None, 180.0, "the end of the bag")
    assert player.poll() == 0
    time.sleep(0.5)
    assert live.interrupt(recorder) == 0

    evaluation = bag_evaluation.measure(run)
    (one,) = evaluation.comparisons
    assert (one.topic, one.truth, one.unit) == ("/pose3d", "/ground_truth", "m")
    assert one.truth_instants == 59 and one.instants == one.exact
    assert one.covered >= 45  # but for those before somebody is seen, and what a busy machine lost
    with BagReader(run) as reader:
        stamps = {
            stamp_ns(item.message)
            for item in reader.messages(["/pose3d"])
            if len(item.message.poses) == 1
        }
    estimate_m, true_m = offline_errors(bag, stamps)
    assert len(estimate_m) == one.with_somebody
    reported = {name: value for name, (value, _) in one.numbers.items()}
    assert reported["mpjpe"] == pytest.approx(pose3d.mpjpe(estimate_m, true_m), abs=1e-4)
    assert reported["p_mpjpe"] == pytest.approx(pose3d.p_mpjpe(estimate_m, true_m), abs=1e-4)
    assert reported["mpjpe"] < 0.13  # of somebody whom these weights have seen
    # and the bag that was imported says the same truth
    assert bag_evaluation.measure(run, bag).comparisons[0].numbers == one.numbers


def replay(
    bag: Path, run: Path, environment: dict[str, str], *arguments: str
) -> bag_evaluation.Evaluation:
    """Play a bag through `radar-pose up replay`, and evaluate what was recorded."""
    words = ["up", "replay", f"bag:={bag}", f"record:={run}", "visualizer:=false", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "radar_pose_ros.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = bag_evaluation.measure(run)
    computed = {"/pose2d", "/pose3d"} & {c.topic for c in evaluation.contents if c.messages}
    assert ("computed none from the bag" in done.stderr) is not bool(computed), done.stderr
    return evaluation


def facts(evaluation: bag_evaluation.Evaluation, topic: str) -> dict[str, float]:
    [found] = [one for one in evaluation.contents if one.topic == topic]
    return {"messages": found.messages, **{fact.name: fact.value for fact in found.facts}}


def heatmap_of(config: RadarConfig, samples: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor

    return HeatmapProcessor(config, HeatmapConfig(**settings))(samples)


@pytest.mark.slow
def test_a_room_s_frame_imported_replayed_and_evaluated(
    ros_environment: dict[str, str], shared_data: Path, tmp_path: Path
) -> None:
    """The heatmap of the replay is the one of the file."""
    folder = shared_data / "radar_adc" / "iwr6843_frame"
    mmwave = folder / "mmwaveDevice.mmwave.json"
    words = ["dca1000", str(folder / "adc_data.bin"), "--config", str(mmwave)]
    assert cli.main(["import", *words, "--out", str(tmp_path / "bag")]) == 0
    more = ("from_level:=adc",)
    evaluation = replay(tmp_path / "bag", tmp_path / "run", ros_environment, *more)
    found = facts(evaluation, "/radar_h/heatmap")
    assert (found["messages"], found["chirps_used_complete"]) == (1, 1.0)
    config = load_mmwave_studio(mmwave)
    samples = np.fromfile(folder / "adc_data.bin", "<i2")
    settings = bringup.heatmap_settings("edge")
    power = np.abs(heatmap_of(config, samples, settings)).max((0, 1))
    expected_m = config.waveform.range_axis_m()[settings["range_first"] + int(power.argmax())]
    assert found["strongest_range"] == pytest.approx(expected_m, abs=1e-4)
    assert not evaluation.truth_bag


@pytest.mark.slow
def test_a_capture_imported_replayed_and_evaluated(
    ros_environment: dict[str, str], shared_data: Path, tmp_path: Path
) -> None:
    """A frame of two loops gets through whole; nobody makes a heatmap of an eighth of a frame."""
    folder = shared_data / "radar_adc" / "dca1000_pcap"
    cfg = tmp_path / "two_loops.cfg"
    text = (folder / "xwr18xx_profile_2023_01_01T00_00_00_000.cfg").read_text()
    cfg.write_text(text.replace("frameCfg 0 1 16 ", "frameCfg 0 1 2 "))
    words = ["pcap", str(folder / "test_one_frame.pcap"), "--config", str(cfg)]
    assert cli.main(["import", *words, "--radar", "radar_v", "--out", str(tmp_path / "bag")]) == 0
    settings = {"doppler_bins": 2, "range_bins": 128, "range_first": 0}
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"/radar_v/radar_preprocessor": {"ros__parameters": settings}}))
    more = ("from_level:=adc", f"params_file:={file}")
    evaluation = replay(tmp_path / "bag", tmp_path / "run", ros_environment, *more)
    found = facts(evaluation, "/radar_v/heatmap")
    assert (found["messages"], found["chirps_used_complete"]) == (1, 1.0)
    config = load_cfg(cfg)
    with BagReader(tmp_path / "bag") as reader:
        (item,) = reader.messages(["/radar_v/adc"])
    power = np.abs(heatmap_of(config, item.message.data, settings)).max((0, 1))
    expected_m = config.waveform.range_axis_m()[int(power.argmax())]
    assert found["strongest_range"] == pytest.approx(expected_m, abs=1e-4)


@pytest.mark.slow
def test_videos_imported_replayed_and_evaluated(
    ros_environment: dict[str, str], shared_data: Path, tmp_path: Path
) -> None:
    """Poses of the replay are those of the method on the files, and fit the keypoints as well."""
    from radar_pose_ros.datasets import pose2sim
    from radar_pose_ros.vision.windows import aligned

    participant = shared_data / "multiview_pose2sim" / "S00_P00_SingleParticipant"
    trial = participant / "S00_P00_T01_BalancingTrial"
    words = ["import", "videos", str(trial), "--images", "none", "--out", str(tmp_path / "bag")]
    assert cli.main(words) == 0
    more = ("of:=multiview", "rate:=0.2")
    evaluation = replay(tmp_path / "bag", tmp_path / "run", ros_environment, *more)
    assert {fit.view for fit in evaluation.fits} == {f"/cam0{k}/pose2d" for k in (1, 2, 3, 4)}
    with BagReader(tmp_path / "run") as reader:
        poses = bag_contents.read_poses(reader, "/pose3d")
    assert poses is not None and len(poses.stamps_ns) >= 50
    offline = aligned(pose2sim.load(trial).converted("h36m17"))
    at_s = (poses.stamps_ns - 1000 * 10**9) / 1e9
    rows = np.abs(offline.stamps_s[:, None] - at_s).argmin(0)
    np.testing.assert_allclose(offline.stamps_s[rows], at_s, atol=1e-6)
    apart_m = np.linalg.norm(
        np.array([people[0] for people in poses.people]) - offline.joints_m[rows], axis=-1
    )
    assert np.median(apart_m) < 1e-6  # the first of an instant may have come before all views
    # 12 px in the middle is what is published for the triangulation of these keypoints
    assert 8 < np.median([fit.median_px for fit in evaluation.fits]) < 20
