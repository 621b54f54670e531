"""Refined and lifted poses in a bag: errors that are put in come out as numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_evaluation import (
    PERIOD_NS,
    START_NS,
    header,
    make,
    message_in_space,
    pose_message,
    true_joints_m,
)

from radar_pose_ros import refined_evaluation
from radar_pose_ros.evaluation import Evidence, Poses, Truth
from radar_pose_ros.recording import BagWriter, RecordingError
from radar_pose_ros.refined_evaluation import measure, of_lifter
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import project, to_camera

FRAME_NS = PERIOD_NS // 3
FRAMES = range(60)
AGE_NS = 700_000_000


def seconds(stamp_ns: int) -> float:
    return (stamp_ns - START_NS) / 1e9


@pytest.fixture
def evidence() -> Evidence:
    """Of somebody who glides, seen at 10 Hz, every pose 3 px too low."""
    stamps = START_NS + PERIOD_NS * np.arange(30)
    joints = np.stack([true_joints_m(seconds(stamp)) for stamp in stamps])
    seen = project(joints) + [0.0, 3.0]
    poses = Poses(stamps, stamps, seen, np.ones(seen.shape[:2]), "")
    return Evidence(poses, Truth(stamps, joints), {}, {}, {})


def lifted_message(stamp_ns: int, joints_m: np.ndarray, *, relative=False, skeleton=H36M17.name):
    return message_in_space(stamp_ns, joints_m, skeleton, "diffhpe/wrapper@12345678", relative)


def truth(stamp_ns: int) -> np.ndarray:
    joints = to_camera(true_joints_m(seconds(stamp_ns)))
    return mapping.convert(joints[None], HUPR14.name, H36M17.name)[0]


def with_covariance(message, covariances_m2):
    """Give the joints of the person covariances, (17, 3, 3)."""
    for keypoint, matrix in zip(message.poses[0].keypoints, covariances_m2, strict=True):
        keypoint.covariance = matrix[np.triu_indices(3)].astype(np.float32)
    return message


def write(path, topic: str, messages):
    with BagWriter(path) as writer:
        for stamp, message in messages:
            writer.write_message(topic, stamp + AGE_NS, message)
    return path


def test_the_cameras_frame():
    """x right, y down, z forward, from one metre above the floor."""
    assert to_camera(np.array([2.0, 0.5, 1.3])).tolist() == pytest.approx([-0.5, -0.3, 2.0])


def test_refined_poses_beside_straight_lines(tmp_path, evidence):
    """One pixel beside the truth in every frame, against three."""
    stamps = [START_NS + k * FRAME_NS for k in FRAMES]
    messages = [(stamp, pose_message(stamp, error_px=1.0)) for stamp in stamps]
    found = measure(write(tmp_path / "bag", "/refined/pose2d", messages), evidence)
    assert set(found) == {"refined/pose2d"}
    refined = found["refined/pose2d"]
    assert refined["poses"] == len(FRAMES)
    assert refined["rate_hz"] == pytest.approx(30.0, rel=1e-6)
    assert refined["age_ms"] == pytest.approx(700.0)
    assert refined["error_px"] == pytest.approx(1.0, abs=1e-4)  # float32 in the message
    assert refined["linear_error_px"] == pytest.approx(3.0, abs=0.01)  # a glide is nearly straight
    assert refined["accel_px"] < 1e-3 and refined["pck_0_2"] == refined["linear_pck_0_2"] == 1.0


def test_missing_poses_are_missing_in_the_rate(tmp_path, evidence):
    """Every third one is gone."""
    stamps = [START_NS + k * FRAME_NS for k in FRAMES if k % 3]
    messages = [(stamp, pose_message(stamp, error_px=1.0)) for stamp in stamps]
    found = measure(write(tmp_path / "bag", "/refined/pose2d", messages), evidence)
    assert found["refined/pose2d"]["rate_hz"] == pytest.approx(20.0, rel=0.05)


def test_the_truth_has_no_kinks(tmp_path):
    """It is known at 10 Hz: a swinging arm, estimated perfectly at 30 Hz, has hardly an error."""

    def swinging(stamp_ns):
        joints = true_joints_m(seconds(stamp_ns))
        joints[HUPR14.index("left_wrist"), 2] += 0.3 * np.sin(2 * np.pi * seconds(stamp_ns))
        return joints

    stamps = START_NS + PERIOD_NS * np.arange(30)
    truth = Truth(stamps, np.stack([swinging(stamp) for stamp in stamps]))
    seen = Poses(stamps, stamps, project(truth.joints_m), np.ones((30, 14)), "")
    messages = []
    for stamp in (START_NS + k * FRAME_NS for k in range(3, 80)):
        message = pose_message(stamp, error_px=0.0)
        for keypoint, (x, y) in zip(
            message.poses[0].keypoints, project(swinging(stamp)), strict=True
        ):
            keypoint.x, keypoint.y = x, y
        messages.append((stamp, message))
    path = write(tmp_path / "bag", "/refined/pose2d", messages)
    found = measure(path, Evidence(seen, truth, {}, {}, {}))["refined/pose2d"]
    assert found["error_px"] < 0.02 < found["linear_error_px"]
    assert found["accel_px"] < 0.01 < found["linear_accel_px"]


def test_jitter_is_acceleration(tmp_path, evidence):
    """One pixel back and forth: 4 px per frame squared."""
    stamps = [START_NS + k * FRAME_NS for k in FRAMES]
    messages = [(s, pose_message(s, error_px=(-1.0) ** k)) for k, s in enumerate(stamps)]
    found = measure(write(tmp_path / "bag", "/refined/pose2d", messages), evidence)
    assert found["refined/pose2d"]["accel_px"] == pytest.approx(4.0, abs=1e-3)


def test_lifted_poses(tmp_path, evidence):
    """A head 34 mm too high is 2 mm of MPJPE; bones that do not change; 1 m too far away."""

    def lifted(stamp):
        joints = truth(stamp) + [0.0, 0.0, 1.0]
        joints[H36M17.index("head")] += [0.0, -0.034, 0.0]
        return joints

    stamps = [START_NS + k * FRAME_NS for k in FRAMES]
    messages = [(s, lifted_message(s, lifted(s), relative=k < 15)) for k, s in enumerate(stamps)]
    found = measure(write(tmp_path / "bag", "/pose3d", messages), evidence)["pose3d"]
    assert found["mpjpe_mm"] == pytest.approx(34 / 17, abs=1e-3)
    assert found["bone_length_mm"] < 1e-3
    assert (found["placed"], found["place_mm"]) == (0.75, pytest.approx(1000.0, abs=0.1))


def test_ellipsoids_hold_what_they_hold(tmp_path, evidence):
    """Errors of 2 and 3 standard deviations along x, where 2.5 are the limit: those of 16 joints.

    Half the poses are placed 0.3 m too far away, with 0.1 m and with 0.2 m stated for it.
    """
    messages = []
    for k, stamp in enumerate(START_NS + k * FRAME_NS for k in FRAMES):
        joints = truth(stamp) + [0.0, 0.0, 0.3]
        joints[1:, 0] += 0.02 * np.where(np.arange(1, 17) <= 12, 2.0, 3.0)
        own = np.tile(4e-4 * np.eye(3), (17, 1, 1))
        own[0] = 1e-6 * np.eye(3)
        of_place = np.diag([1e-6, 1e-6, (0.1 if k % 2 else 0.2) ** 2])
        messages.append((stamp, with_covariance(lifted_message(stamp, joints), own + of_place)))
    found = measure(write(tmp_path / "bag", "/pose3d", messages), evidence)["pose3d"]
    assert found["coverage_90"] == pytest.approx(12 / 16)
    # 0.2 m: the pelvis and the twelve, 4 + 2.25 = 6.2 of 6.25 at most; 0.1 m: 9 are too many
    assert found["coverage_90_placed"] == pytest.approx(13 / 17 / 2)
    assert found["known"] == 1.0


def test_joints_that_are_missing_are_said(tmp_path, evidence):
    """A wrist in every second pose; nobody's covariance is known; one pose has no root."""
    messages = []
    for k, stamp in enumerate(START_NS + k * FRAME_NS for k in FRAMES):
        joints = truth(stamp)
        if k % 2:
            joints[H36M17.index("left_wrist")] = np.nan
        if k == 10:
            joints[H36M17.root] = np.nan
        unknown = np.full((17, 3, 3), np.nan)
        messages.append((stamp, with_covariance(lifted_message(stamp, joints), unknown)))
    found = measure(write(tmp_path / "bag", "/pose3d", messages), evidence)["pose3d"]
    assert found["known"] == pytest.approx(1 - (30 + 17) / (60 * 17))
    assert not {"coverage_90", "coverage_90_placed"} & set(found)


def test_bones_that_change(tmp_path, evidence):
    """Somebody 10 % larger in every second frame: bones change by 5 %, the shape does not."""
    stamps = [START_NS + k * FRAME_NS for k in FRAMES]
    messages = [
        (s, lifted_message(s, truth(s) * (1 + 0.1 * (k % 2)))) for k, s in enumerate(stamps)
    ]
    path = write(tmp_path / "bag", "/rig/refined/pose3d", messages)
    ends = np.array(H36M17.edges).T
    lengths = np.linalg.norm(np.subtract(*truth(START_NS)[ends]), axis=-1)
    expected = 50 * lengths.mean() * math.sqrt(60 / 59)
    (measured,) = measure(path, evidence).values()  # it is not pose3d as well
    assert set(measure(path, evidence)) == {"refined/pose3d"}
    assert measured["bone_length_mm"] == pytest.approx(expected, rel=1e-4)
    assert measured["p_mpjpe_mm"] < 1e-3 < measured["mpjpe_mm"]


def test_nothing_is_measured_of_what_is_not_there(tmp_path, evidence):
    assert measure(write(tmp_path / "bag", "/pose2d", [(1, pose_message(1, 0.0))]), evidence) == {}


def test_what_the_lifter_lost_and_placed_by_size(tmp_path, evidence):
    """Of 40 poses that it took it had no time for 3 and 7; of 30 people 6 are placed by size."""
    early = {"state": "active", "pose2d total": "10"}
    late = {
        "state": "active",
        "pose2d total": "40",
        "dropped: poses for which there was no time": "3",
        "dropped: poses that there was no time to lift": "7",
        "people placed without the radars' range": "6",
    }
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in evidence.poses.stamps_ns:
            writer.write_message("/pose3d", int(stamp), lifted_message(int(stamp), truth(stamp)))
        for values in (early, late, {"state": "unconfigured"}):
            message = diagnostics_of("/pose_lifter", values)
            writer.write_message("/diagnostics", START_NS, message)
    found = measure(tmp_path / "bag", evidence)["pose3d"]
    assert found["lost"] == 0.25
    assert found["placed"] == 1.0 and found["placed_by_range"] == pytest.approx(0.8)
    assert of_lifter({}, 30) == {}
    assert of_lifter(late, 0) == {"lost": 0.25}


def diagnostics_of(node: str, values: dict[str, str]):
    pairs = [make("diagnostic_msgs/msg/KeyValue", key=k, value=v) for k, v in values.items()]
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=0,
        name=node,
        message="running",
        hardware_id="",
        values=pairs,
    )
    return make(
        "diagnostic_msgs/msg/DiagnosticArray", header=header(START_NS, ""), status=[status]
    )


@pytest.mark.ros
def test_the_words_of_the_diagnostics_are_the_lifters():
    from radar_pose_ros.nodes import pose_lifter

    lost = {pose_lifter.NO_TIME, pose_lifter.DROPS["lost"]}
    assert {f"dropped: {reason}" for reason in lost} == set(refined_evaluation.LOST)
    assert pose_lifter.COUNTS["without_range"] == refined_evaluation.BY_SIZE


def test_another_skeleton_is_refused(tmp_path, evidence):
    message = lifted_message(START_NS, truth(START_NS), skeleton="coco17")
    path = write(tmp_path / "bag", "/pose3d", [(START_NS, message)])
    with pytest.raises(RecordingError, match="not of the skeleton h36m17"):
        measure(path, evidence)
