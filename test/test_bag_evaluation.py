"""``radar-pose evaluate bag``: known errors come out, unknown ones are said to be unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radar_pose_ros import bag_evaluation, cli
from radar_pose_ros.imports import messages
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.dca1000 import decode_samples
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError, message_class
from radar_pose_ros.resources import find
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14, KINECT25, Skeleton
from radar_pose_ros.skeleton.projection import CAMERA_FRAME, project, to_camera
from radar_pose_ros.vision.camera import PinholeCamera

BEGIN_NS = 1_700_000_000 * 10**9
STEP_NS = 10**8


def truth_m(stamps_ns: np.ndarray, skeleton: Skeleton = KINECT25) -> np.ndarray:
    """A stiff person who goes along a parabola, (n, joints, 3): splines are exact."""
    rng = np.random.default_rng(len(skeleton.joints))
    body = rng.uniform((-0.3, -0.4, 0.0), (0.3, 0.4, 1.7), (len(skeleton.joints), 3))
    seconds = (np.asarray(stamps_ns) - BEGIN_NS) / 1e9
    way = np.stack([2 + 0.2 * seconds, 0.1 * seconds**2, 0 * seconds], axis=-1)
    return body + way[:, None]


def close(actual: float, wanted: float, within: float = 1e-9) -> None:
    assert actual == pytest.approx(wanted, abs=within)


class Bag:
    """Writes a bag; poses are received 30 ms after their stamps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._items: list[tuple[int, str, Any]] = []

    def add(self, topic: str, stamp_ns: int, message: Any) -> Bag:
        self._items.append((int(stamp_ns) + 30_000_000, topic, message))
        return self

    def poses(
        self, topic: str, stamps_ns: Any, joints: Any, skeleton: Skeleton = KINECT25, **about: Any
    ) -> Bag:
        """Poses in space or in an image; None is nobody."""
        about = {"frame_id": "radar_link", "model": "a model", **about}
        for stamp, one in zip(stamps_ns, joints, strict=True):
            if np.shape(one)[-1:] == (2,):
                people = [(one, np.full(len(one), 0.5))]
                about.setdefault("size_px", (256, 256))
                made = messages.pose2d(people, int(stamp), skeleton=skeleton.name, **about)
            else:
                there = np.zeros((len(skeleton.joints), 3)) if one is None else one
                made = messages.pose3d(there, int(stamp), skeleton=skeleton.name, **about)
                made.poses = made.poses if one is not None else []
            self.add(topic, stamp, made)
        return self

    def write(self) -> Path:
        with BagWriter(self.path) as bag:
            for received_ns, topic, message in sorted(self._items, key=lambda item: item[0]):
                bag.write_message(topic, received_ns, message)
        return self.path


@pytest.fixture
def bag(tmp_path: Path) -> Callable[[str], Bag]:
    return lambda name="run": Bag(tmp_path / name)


def stamps(count: int, first: float = 0.0, step: float = 1.0) -> np.ndarray:
    """Instants, in steps of the truth."""
    return BEGIN_NS + np.round((first + step * np.arange(count)) * STEP_NS).astype(np.int64)


def numbers(evaluation: bag_evaluation.Evaluation) -> dict[str, float]:
    (one,) = evaluation.comparisons
    return {name: value for name, (value, _) in one.numbers.items()}


# -- errors that are known -------------------------------------------------------------------


def test_a_shifted_person_between_the_truth_s_instants(bag):
    """0.1 m aside, one joint 0.5 m more; the truth is a parabola, which splines follow exactly."""
    at, true_at = stamps(20, 0.25, 0.5), stamps(11)
    moved = truth_m(at) + (0.06, 0.08, 0.0)
    wrist = KINECT25.index("left_wrist")
    moved[:, wrist, 2] += 0.5
    moved[3, 7] = np.nan
    path = bag().poses("/ground_truth", true_at, truth_m(true_at)).poses("/pose3d", at, moved)
    (one,) = bag_evaluation.measure(path.write()).comparisons
    assert (one.instants, one.exact, one.with_somebody) == (20, 0, 20)
    assert (one.truth_instants, one.covered, one.other_people) == (11, 11, 0)
    there = 20 * 25 - 1
    off = np.hypot(0.1, 0.5)
    found = {name: value for name, (value, _) in one.numbers.items()}
    close(found["mpjpe"], ((there - 20) * 0.1 + 20 * off) / there, within=1e-6)
    close(found["root_relative_mpjpe"], 20 * 0.5 / there, within=1e-6)
    assert 0 < found["p_mpjpe"] < 0.1
    close(found["joints_missing"], 1 / 500)
    close(one.by_joint["left_wrist"], off, within=1e-6)
    close(one.by_joint["head"], 0.1, within=1e-6)


def test_nobody_and_gaps_count(bag):
    """Half of the messages say that nobody is there; truth is not known in a gap of 0.5 s."""
    at = stamps(20)
    found = [pose if k % 2 else None for k, pose in enumerate(truth_m(at))]
    known = np.array([k for k in range(20) if not 8 <= k < 12])
    path = bag().poses("/ground_truth", at[known], truth_m(at[known])).poses("/pose3d", at, found)
    evaluation = bag_evaluation.measure(path.write())
    (one,) = evaluation.comparisons
    assert (one.instants, one.exact, one.with_somebody) == (16, 16, 8)
    assert numbers(evaluation)["mpjpe"] == pytest.approx(0, abs=1e-7)
    assert numbers(evaluation)["joints_missing"] == pytest.approx(0.5)
    assert one.other_people == 8
    about = {c.topic: c for c in evaluation.contents}["/pose3d"]
    assert about.messages == 20 and about.rate_hz == pytest.approx(10)
    facts = {fact.name: fact.value for fact in about.facts}
    assert facts["with_somebody"] == 0.5
    assert facts["age_p50"] == pytest.approx(30, abs=1e-3)


def test_the_truth_of_another_bag_and_skeleton(bag):
    """Joints of Kinect are made to those of H36M17, in which the estimate is."""
    at = stamps(12)
    estimate = mapping.convert(truth_m(at), "kinect25", "h36m17") * (1, 1, 1) + (0, 0, 0.2)
    run = bag("run").poses("/a/pose3d", at, estimate, H36M17).write()
    truth = bag("truth").poses("/ground_truth", at, truth_m(at)).write()
    assert not bag_evaluation.measure(run).comparisons
    evaluation = bag_evaluation.measure(run, truth)
    (one,) = evaluation.comparisons
    assert one.joints == H36M17.joints and one.notes == [
        "joints of kinect25 and h36m17 compared as h36m17"
    ]
    close(numbers(evaluation)["mpjpe"], 0.2, within=1e-6)
    close(numbers(evaluation)["root_relative_mpjpe"], 0.0, within=1e-6)


def test_an_emulator_s_truth_in_image_and_space(bag):
    """Its joints in the rig's frame are projected, and brought to the camera's frame."""
    at = stamps(10)
    rig_m = truth_m(at, HUPR14)
    estimate_px = project(rig_m) + (3.0, 4.0)
    lifted = mapping.convert(to_camera(rig_m), "hupr14", "h36m17")
    about = {"frame_id": CAMERA_FRAME}
    path = (
        bag()
        .poses("/ground_truth", at, rig_m, HUPR14, frame_id="radar_rig", model="simulation")
        .poses("/pose2d", at, estimate_px, HUPR14, **about)
        .poses("/pose3d", at, lifted, H36M17, **about)
        .write()
    )
    flat, space = bag_evaluation.measure(path).comparisons
    assert (flat.topic, flat.unit, space.topic) == ("/pose2d", "px", "/pose3d")
    close(flat.numbers["error"][0], 5.0, within=1e-3)
    torso_px = np.linalg.norm(
        project(rig_m)[:, HUPR14.index("neck")]
        - project(rig_m)[:, [HUPR14.index("left_hip"), HUPR14.index("right_hip")]].mean(1),
        axis=-1,
    )
    close(flat.numbers["pck_0_2"][0], (0.2 * torso_px > 5).mean())
    close(space.numbers["mpjpe"][0], 0.0, within=1e-6)


def test_two_people_are_matched_to_the_nearest(bag):
    at = stamps(6)
    first, second = truth_m(at), truth_m(at) + (0, 2.0, 0)
    path = bag()
    for stamp, one, other in zip(at, first, second, strict=True):
        about = {"skeleton": "kinect25", "model": "truth (made)"}
        truth = messages.pose3d(one, int(stamp), "radar_link", **about)
        also = messages.pose3d(other, int(stamp), "radar_link", **about)
        also.poses[0].id = 5
        truth.poses += also.poses
        path.add("/ground_truth", stamp, truth)
        found = messages.pose3d(other + (0.1, 0, 0), int(stamp), "radar_link", **about)
        found.poses += messages.pose3d(one, int(stamp), "radar_link", **about).poses
        path.add("/pose3d", stamp, found)
    evaluation = bag_evaluation.measure(path.write())
    close(numbers(evaluation)["mpjpe"], 0.05, within=1e-6)
    assert evaluation.comparisons[0].other_people == 0


def test_poses_relative_to_the_root_have_no_place(bag):
    at = stamps(6)
    path = bag().poses("/ground_truth", at, truth_m(at))
    for stamp, joints in zip(at, truth_m(at), strict=True):
        message = messages.pose3d(
            joints - joints[0], int(stamp), "radar_link", skeleton="kinect25", model="a model"
        )
        message.poses[0].root_relative = True
        path.add("/pose3d", stamp, message)
    found = numbers(bag_evaluation.measure(path.write()))
    assert np.isnan(found["mpjpe"])
    close(found["root_relative_mpjpe"], 0.0, within=1e-6)


# -- what cannot be compared -----------------------------------------------------------------


def test_bags_of_different_origins_of_time_are_refused(bag, capsys):
    at = stamps(5)
    poses = bag("run").poses("/pose3d", at, truth_m(at))
    run = poses.poses("/pose3d/refined", at + 3 * 10**9, truth_m(at)).write()
    counted = at - BEGIN_NS + 1000 * 10**9
    truth = bag("truth").poses("/ground_truth", counted, truth_m(at)).write()
    assert cli.main(["evaluate", "bag", str(run), "--truth", str(truth)]) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    topics = "/pose3d, /pose3d/refined (2023-11-14 22:13:20 to 2023-11-14 22:13:23 UTC)"
    assert f"{topics} are not compared: no instant in common with /ground_truth" in said
    assert "/ground_truth, whose stamps are 1000.000 to 1000.400 s since 1970" in said
    assert said.count("no instant in common") == 1


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"frame_id": "lidar"}, "there is no frame"),
        ({"skeleton": Skeleton("odd", ("nose",), (), (), (1.0,), 0)}, "odd"),
    ],
)
def test_what_cannot_be_compared_is_said(bag, about, sentence):
    at = stamps(5)
    skeleton = about.get("skeleton", KINECT25)
    joints = truth_m(at)[:, : len(skeleton.joints)]
    path = bag().poses("/ground_truth", at, truth_m(at)).poses("/pose3d", at, joints, **about)
    evaluation = bag_evaluation.measure(path.write())
    assert not evaluation.comparisons
    (note,) = evaluation.notes
    assert note.startswith("/pose3d is not compared: ") and sentence in note
    with pytest.raises(RecordingError, match="cannot be compared with"):
        bag_evaluation.measure(path.path, path.path)


def test_frames_that_transforms_connect(bag):
    """The truth is in the map; the radar stands 1 m high and looks along the map's y."""
    at = stamps(5)
    in_map = truth_m(at)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    in_radar = (in_map - (0, 0, 1.0)) @ turn
    radar = PinholeCamera((1.0, 1.0), (0.0, 0.0), (1, 1), turn.T, np.array([0.0, 0.0, 1.0]))
    path = (
        bag()
        .add("/tf_static", at[0], messages.static_transforms("map", {"radar": radar}, int(at[0])))
        .poses("/ground_truth", at, in_map, frame_id="map")
        .poses("/pose3d", at, in_radar, frame_id="radar")
    )
    close(numbers(bag_evaluation.measure(path.write()))["mpjpe"], 0.0, within=1e-6)


# -- what there is ---------------------------------------------------------------------------


def test_without_a_truth_it_says_what_there_is(bag, capsys, tmp_path):
    """Samples with gaps, a heatmap with a peak, points of a strongest one, and no error."""
    config = load_cfg(find("config", "iwr1843.cfg"))
    chirps = config.adc_shape[0] * config.adc_shape[1]
    path = bag()
    for number, missing in ((4, 0), (5, 4096), (8, 0)):
        valid = np.ones(chirps, np.uint8)
        valid[: missing // 4096] = 0
        data = np.zeros(config.bytes_per_frame // 2, np.int16)
        frame = AssembledFrame(number, 0, data, valid, missing, 0.0, 0.0)
        made = messages.adc_frame(frame, config, int(stamps(9)[number]), "radar_h_link")
        path.add("/radar_h/adc", stamps(9)[number], made)
    values = np.zeros((8, 4, 16, 2), np.float32)
    values[3, 1, 11, 1] = 2.0
    heatmap = message_class("radar_pose_ros/msg/RadarHeatmap")
    made = heatmap(
        header=messages.header(int(stamps(1)[0]), "radar_h_link"),
        **{"frame_index": 0, "epoch": 0, "angle_bins": 8, "doppler_bins": 4, "range_bins": 16},
        **{"data": values.ravel(), "sin_angle_first": -1.0, "sin_angle_step": 0.25},
        **{"velocity_first_mps": -1.0, "velocity_step_mps": 0.5, "range_first_m": 1.0},
        **{"range_step_m": 0.1, "valid_ratio": 0.75},
    )
    path.add("/radar_h/heatmap", stamps(1)[0], made)
    cloud = np.array([[1.0, 2.0, 2.0, 0.0, 9.0], [5.0, 0.0, 0.0, 0.0, 3.0]])
    path.add("/points", stamps(1)[0], messages.points(cloud, int(stamps(1)[0]), "radar_link"))
    path.add("/points", stamps(2)[1], messages.points(cloud[:0], int(stamps(2)[1]), "radar_link"))
    written = tmp_path / "numbers.json"
    assert cli.main(["evaluate", "bag", str(path.write()), "--json", str(written)]) == 0
    printed = capsys.readouterr().out
    assert "no truth is there (no poses on a topic ground_truth): no error is known" in printed
    rows = {row["id"]: row["value"] for row in json.loads(written.read_text())["results"]}
    assert rows["bag.radar_h/adc.messages"] == 3
    assert rows["bag.radar_h/adc.frames_lost_between"] == 2
    assert rows["bag.radar_h/adc.frames_with_gaps"] == 1
    assert rows["bag.radar_h/adc.bytes_missing"] == 4096
    close(rows["bag.radar_h/adc.chirps_incomplete"], 1 / chirps / 3)
    close(rows["bag.radar_h/adc.rate_hz"], 5.0)
    close(rows["bag.radar_h/heatmap.strongest_range"], 2.1, within=1e-6)
    assert rows["bag.radar_h/heatmap.chirps_used_complete"] == 0.75
    assert rows["bag.points.points_per_frame"] == 1.0
    assert (rows["bag.points.fewest_points"], rows["bag.points.most_points"]) == (0, 2)
    close(rows["bag.points.strongest_range"], 3.0)


def test_how_poses_in_space_fit_what_cameras_saw(bag):
    """A person 2 px aside in every image, by a camera that camera_info and transforms describe."""
    at = stamps(5)
    camera = PinholeCamera.looking_at([5.0, 1.0, 1.5], [2.0, 0.0, 1.0], 300.0, (640, 480))
    joints_m = truth_m(at)
    path = bag().add(
        "/tf_static", at[0], messages.static_transforms("map", {"eye": camera}, int(at[0]))
    )
    for stamp in at:
        path.add("/a/camera_info", stamp, messages.camera_info(camera, int(stamp), "eye"))
    seen_px = np.array([camera.project(pose) for pose in joints_m]) + (0.0, 2.0)
    path.poses("/a/pose2d", at, seen_px, frame_id="eye", size_px=(640, 480))
    path.poses("/pose3d", at, joints_m, frame_id="map")
    (fit,) = bag_evaluation.measure(path.write()).fits
    assert (fit.topic, fit.view, fit.instants) == ("/pose3d", "/a/pose2d", 5)
    close(fit.median_px, 2.0, within=1e-3)


def test_transforms_and_lenses_that_are_no_good_are_said(bag):
    """Of a fisheye, and of a quaternion of no length; what else there is is told all the same."""
    at = stamps(3)
    camera = PinholeCamera.looking_at([5.0, 1.0, 1.5], [2.0, 0.0, 1.0], 300.0, (640, 480))
    where = messages.static_transforms("map", {"eye": camera}, int(at[0]))
    turn = where.transforms[0].transform.rotation
    turn.x = turn.y = turn.z = turn.w = 0.0
    info = messages.camera_info(camera, int(at[0]), "eye")
    info.distortion_model = "equidistant"
    path = bag().add("/tf_static", at[0], where).add("/a/camera_info", at[0], info)
    path.poses("/ground_truth", at, truth_m(at)).poses("/pose3d", at, truth_m(at))
    evaluation = bag_evaluation.measure(path.write())
    close(numbers(evaluation)["mpjpe"], 0.0)
    said = "\n".join(evaluation.notes)
    assert "/tf_static" in said and "quaternion of length 1" in said
    assert "/a/camera_info" in said and "lens model 'equidistant'" in said


def test_a_message_whose_sizes_disagree_is_one_sentence(bag, capsys):
    cloud = messages.points(np.zeros((3, 5)), int(stamps(1)[0]), "radar_link")
    cloud.width = 9
    path = bag().add("/points", stamps(1)[0], cloud).write()
    assert cli.main(["evaluate", "bag", str(path)]) == cli.USAGE_ERROR
    assert "/points holds a message whose sizes disagree" in capsys.readouterr().err


# -- published recordings, imported ----------------------------------------------------------


def imported(*words: Any) -> None:
    assert cli.main(["import", *map(str, words)]) == 0


def test_the_published_frame_of_a_room(shared_data, tmp_path, capsys):
    folder = shared_data / "radar_adc" / "iwr6843_frame"
    mmwave = folder / "mmwaveDevice.mmwave.json"
    imported("dca1000", folder / "adc_data.bin", "--config", mmwave, "--out", tmp_path / "bag")
    printed = capsys.readouterr().out
    assert "adc_data_LogFile.csv says: Number of received packets - 143473;" in printed
    assert "Capture start time - Tue Nov 19 20:02:23 2024" in printed
    evaluation = bag_evaluation.measure(tmp_path / "bag")
    assert not evaluation.truth_bag and not evaluation.notes
    samples = {c.topic: c for c in evaluation.contents}["/radar_h/adc"]
    assert samples.messages == 1 and {f.name: f.value for f in samples.facts}["bytes_missing"] == 0
    config = load_mmwave_studio(mmwave)
    raw = np.fromfile(folder / "adc_data.bin", "<i2")
    with BagReader(tmp_path / "bag") as reader:
        (item,) = reader.messages(["/radar_h/adc"])
    frame = item.message
    shape = (frame.loops, frame.transmitters, frame.receivers, frame.samples)
    np.testing.assert_array_equal(
        decode_samples(frame.data, shape, "IQ"), decode_samples(raw, config.adc_shape, "IQ")
    )


def test_the_published_capture(shared_data, tmp_path):
    """It holds an eighth of the frame that the file beside it describes."""
    folder = shared_data / "radar_adc" / "dca1000_pcap"
    cfg = folder / "xwr18xx_profile_2023_01_01T00_00_00_000.cfg"
    words = ("pcap", folder / "test_one_frame.pcap", "--config", cfg, "--max-missing", 1)
    imported(*words, "--out", tmp_path / "bag")
    samples = {c.topic: c for c in bag_evaluation.measure(tmp_path / "bag").contents}
    facts = {fact.name: fact.value for fact in samples["/radar_h/adc"].facts}
    assert facts["bytes_missing"] == 131_072 - 16_384
    assert facts["chirps_incomplete"] == 28 / 32
    assert facts["frames_with_gaps"] == 1


def test_a_published_person_before_a_radar(shared_data, tmp_path):
    """The truth beside itself is no error at all."""
    file = shared_data / "radar_points_mars" / "mars_subject3.npz"
    imported("mars", file, "--movement", 1, "--frames", 60, "--out", tmp_path / "bag")
    with BagReader(tmp_path / "bag") as reader, BagWriter(tmp_path / "run") as run:
        for item in reader.messages(["/ground_truth"]):
            run.write_message("/pose3d", item.received_ns, item.message)
    evaluation = bag_evaluation.measure(tmp_path / "run", tmp_path / "bag")
    (one,) = evaluation.comparisons
    assert one.instants == one.exact == one.with_somebody == one.covered == 59
    close(numbers(evaluation)["mpjpe"], 0.0)
    points = {c.topic: c for c in bag_evaluation.measure(tmp_path / "bag").contents}["/points"]
    facts = {fact.name: fact.value for fact in points.facts}
    assert points.messages == 59 and 5 < facts["points_per_frame"] < 64
    assert 1 < facts["strongest_range"] < 4  # where MARS's people stand


def test_published_videos(shared_data, tmp_path):
    """What Pose2Sim triangulated of the same keypoints fits them in the imported bag."""
    from radar_pose_ros.datasets import pose2sim
    from radar_pose_ros.skeleton.definitions import BODY25B

    participant = shared_data / "multiview_pose2sim" / "S00_P00_SingleParticipant"
    trial = participant / "S00_P00_T01_BalancingTrial"
    imported("videos", trial, "--images", "none", "--out", tmp_path / "bag")
    peer = pose2sim.read_trc(next((trial / "pose-3d").glob("*_0-100.trc")))
    joints_m = peer.joints(BODY25B)
    run = Bag(tmp_path / "run")
    with BagReader(tmp_path / "bag") as reader:
        for item in reader.messages():
            run.add(item.topic, item.received_ns, item.message)
        at = [i.received_ns for i in reader.messages(["/cam01/pose2d"])]
    run.poses("/pose3d", at[: len(joints_m)], joints_m, BODY25B, frame_id="map")
    fits = {fit.view: fit for fit in bag_evaluation.measure(run.write()).fits}
    assert len(fits) == 4 and all(fit.instants == len(joints_m) for fit in fits.values())
    # the reprojection of the published triangulation: 12 px in the middle, over all cameras
    assert 8 < np.median([fit.median_px for fit in fits.values()]) < 16
