"""Numbers from a bag: a bag whose content is known gives the numbers that follow from it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from radar_pose_ros import evaluation, recording
from radar_pose_ros.recording import BagWriter, RecordingError
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import project, to_camera

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
FRAMES = 30
STANDING_M = np.array(
    [
        [2.5, -0.1, 0.9], [2.5, -0.1, 0.5], [2.5, -0.1, 0.1], [2.5, 0.1, 0.9], [2.5, 0.1, 0.5],
        [2.5, 0.1, 0.1], [2.5, 0.0, 1.4], [2.5, 0.0, 1.65], [2.5, 0.2, 1.4], [2.5, 0.35, 1.15],
        [2.5, 0.4, 0.9], [2.5, -0.2, 1.4], [2.5, -0.35, 1.15], [2.5, -0.4, 0.9],
    ]
)  # fmt: skip


def true_joints_m(time_s: float) -> np.ndarray:
    """Somebody who glides to the left at 0.2 m/s."""
    return STANDING_M + np.array([0.0, 0.2 * time_s, 0.0])


def make(type_name: str, **fields):
    return recording.message_class(type_name)(**fields)


def header(stamp_ns: int, frame_id: str = "map"):
    time = make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def message_in_space(stamp_ns: int, joints_m, skeleton: str, model: str, relative: bool = False):
    """One person."""
    keypoints = [
        make(
            "radar_pose_ros/msg/Keypoint3D",
            position=make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            confidence=1.0,
            covariance=np.zeros(6, np.float32),
            origin=0,
        )
        for x, y, z in joints_m
    ]
    person = make(
        "radar_pose_ros/msg/HumanPose3D",
        id=0,
        confidence=1.0,
        root_relative=relative,
        keypoints=keypoints,
    )
    return make(
        "radar_pose_ros/msg/HumanPose3DArray",
        header=header(stamp_ns),
        skeleton=skeleton,
        model=model,
        missing_sources=[],
        poses=[person],
    )


def truth_message(stamp_ns: int):
    joints = true_joints_m((stamp_ns - START_NS) / 1e9)
    return message_in_space(stamp_ns, joints, HUPR14.name, "simulation")


def pose_message(
    stamp_ns: int, error_px: float, skeleton: str = HUPR14.name, unknown: int = 0, people: int = 1
):
    """One person at most, the first joints of whom may be unknown."""
    points = project(true_joints_m((stamp_ns - START_NS) / 1e9)) + np.array([error_px, 0.0])
    points[:unknown] = np.nan
    keypoints = [
        make("radar_pose_ros/msg/Keypoint2D", x=x, y=y, confidence=0.5, origin=0)
        for x, y in points
    ]
    person = make("radar_pose_ros/msg/HumanPose2D", id=-1, confidence=0.5, keypoints=keypoints)
    return make(
        "radar_pose_ros/msg/HumanPose2DArray",
        header=header(stamp_ns),
        skeleton=skeleton,
        model="millimamba/edge@12345678",
        image_width=256,
        image_height=256,
        missing_sources=[],
        poses=[person][:people],
    )


def heatmap_message(stamp_ns: int):
    values = np.zeros((16, 2, 8), np.complex64)
    values[8, 0, 4] = 3 + 4j
    return make(
        "radar_pose_ros/msg/RadarHeatmap",
        header=header(stamp_ns),
        frame_index=0,
        epoch=0,
        angle_bins=16,
        doppler_bins=2,
        range_bins=8,
        data=values.view(np.float32).ravel(),
        sin_angle_first=-1.0,
        sin_angle_step=0.125,
        velocity_first_mps=-1.0,
        velocity_step_mps=1.0,
        range_first_m=1.3,
        range_step_m=0.35,
        valid_ratio=1.0,
    )


def diagnostics_message(radar: str, arrival_ms: str):
    pair = make("diagnostic_msgs/msg/KeyValue", key=evaluation.ARRIVAL_KEY, value=arrival_ms)
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=0,
        name=f"/{radar}/radar_driver",
        message="running",
        hardware_id="",
        values=[pair],
    )
    return make("diagnostic_msgs/msg/DiagnosticArray", header=header(START_NS), status=[status])


LATENCY_NS = 40_000_000
SKEW_NS = 8_000_000


@pytest.fixture
def write_bag(tmp_path):
    def write(
        error_px: float = 0.0,
        arrival_ms: str | None = None,
        lost: dict[str, set[int]] | None = None,
        without: set[int] | None = None,
        **pose,
    ):
        """Poses of frame k come `LATENCY_NS` after frame k + 4 begins, as with a window of 9.

        `lost` are frames of a radar, "radar_h" for instance, that are not there, `without` frames
        of which there is no pose. More arguments are `pose_message`'s.
        """
        path = tmp_path / "bag"
        lost = {"radar_h": set(), "radar_v": set(), **(lost or {})}
        with BagWriter(path) as writer:
            for k in range(FRAMES):
                stamp = START_NS + k * PERIOD_NS
                # Truth begins earlier and between the frames: it has to be interpolated.
                writer.write_message("/ground_truth", stamp, truth_message(stamp - 30_000_000))
                for radar, begin in (("radar_h", stamp), ("radar_v", stamp + SKEW_NS)):
                    if k not in lost[radar]:
                        message = heatmap_message(begin)
                        writer.write_message(f"/{radar}/heatmap", begin + 1000, message)
                if 4 <= k < FRAMES - 5 and k not in (without or ()):
                    described = stamp if k not in lost["radar_h"] else stamp + SKEW_NS
                    received = stamp + 4 * PERIOD_NS + LATENCY_NS
                    writer.write_message(
                        "/pose2d", received, pose_message(described, error_px, **pose)
                    )
            if arrival_ms is not None:
                for radar in evaluation.RADARS:
                    writer.write_message("/diagnostics", 1, diagnostics_message(radar, arrival_ms))
        return path

    return write


class Baseline:
    """Always answers the same, and notes what it was shown."""

    def __init__(self):
        self.seen = []

    def predict(self, heatmap_h, heatmap_v):
        self.seen.append((heatmap_h, heatmap_v))
        return project(STANDING_M) + np.array([0.0, 200.0])


def test_perfect_poses_score_one_and_a_far_baseline_nothing(write_bag):
    baseline = Baseline()
    evidence = evaluation.read(write_bag(), baseline)
    scores = evaluation.score(evidence)
    assert scores["poses"] == FRAMES - 9
    assert scores["pck_0_2"] == 1.0
    assert scores["ap"] == pytest.approx(1.0)
    assert scores["ap_fraction"] == 1.0
    assert scores["baseline"] == {
        "poses": FRAMES - 9,
        "pck_0_2": 0.0,
        "ap": 0.0,
        "ap_fraction": 0.0,
    }
    assert len(baseline.seen) == FRAMES
    for heatmap in baseline.seen[0]:
        assert heatmap.shape == (16, 2, 8) and heatmap.dtype == np.complex64
        assert heatmap[8, 0, 4] == 3 + 4j


@pytest.mark.parametrize(("error_of_torso", "pck"), [(0.19, 1.0), (0.21, 0.0)])
def test_pck_counts_joints_within_a_fifth_of_the_torso(write_bag, error_of_torso, pck):
    from radar_pose_ros.metrics.keypoints import torso_length

    length_px = float(torso_length(project(STANDING_M)))
    evidence = evaluation.read(write_bag(error_px=error_of_torso * length_px))
    assert evaluation.score(evidence)["pck_0_2"] == pytest.approx(pck)


def test_joints_that_are_not_known_count_as_wrong(write_bag):
    scores = evaluation.score(evaluation.read(write_bag(unknown=6)))
    assert (scores["poses"], scores["without_person"]) == (FRAMES - 9, 0)
    assert scores["pck_0_2"] == pytest.approx(8 / 14)
    assert scores["ap_fraction"] == pytest.approx(0.2)  # an OKS of 0.57 reaches 0.5 and 0.55


def test_a_person_who_is_not_found_counts_as_wrong(write_bag):
    evidence = evaluation.read(write_bag(people=0))
    scores = evaluation.score(evidence)
    assert scores["poses"] == scores["without_person"] == FRAMES - 9
    assert (scores["pck_0_2"], scores["ap"]) == (0.0, 0.0)
    assert evaluation.timing(evidence, frames_ahead=4)["pose_rate_hz"] == pytest.approx(10.0)
    assert len(list(evaluation.pictures(evidence))) == FRAMES - 9  # nobody can be drawn, too


def test_windows_without_an_estimate_are_counted(write_bag):
    """From the first pose, of frame 4, to the last frame that four others follow."""
    evidence = evaluation.read(write_bag(without={7, 8}))
    last = FRAMES - 1 - 4
    # The fixture leaves out the pose of the last window.
    assert evaluation.windows(evidence, 4) == {"windows": last - 4 + 1, "windows_dropped": 3}


def test_windows_are_counted_by_what_either_radar_sees(write_bag):
    """And not beyond the last frame that both saw: the radars were stopped one by one."""
    lost = {"radar_h": {10, 11}, "radar_v": {20, *range(FRAMES - 2, FRAMES)}}
    evidence = evaluation.read(write_bag(lost=lost))
    stamps = evaluation.frame_stamps(evidence) - START_NS
    skew = np.where(np.isin(np.arange(FRAMES - 2), (10, 11)), SKEW_NS, 0)
    np.testing.assert_array_equal(stamps, np.arange(FRAMES - 2) * PERIOD_NS + skew)
    assert evaluation.windows(evidence, 4) == {"windows": FRAMES - 10, "windows_dropped": 0}


def test_latency_is_not_counted_across_missing_frames(write_bag):
    """Frame 15 is lost by both: of the windows with it the newest frame is not known."""
    lost = {"radar_h": {10, 15}, "radar_v": {15, 20}}
    timing = evaluation.timing(evaluation.read(write_bag(lost=lost, arrival_ms="0")), 4)
    assert timing["latency_ms"]["p50"] == pytest.approx(32.0)
    # Where radar_v lost the newest frame, there is only radar_h's, which began earlier.
    assert 32.0 < timing["latency_ms"]["p99"] <= 40.0


@pytest.mark.parametrize(
    ("arrival_ms", "expected_ms", "since"),
    [(None, 40.0 - 8.0, "first packet"), ("27.6", 40.0 - 8.0 - 27.6, "last packet")],
)
def test_latency_is_counted_from_the_newest_frame(write_bag, arrival_ms, expected_ms, since):
    """And from the later radar: radar_v's frames begin `SKEW_NS` after radar_h's."""
    evidence = evaluation.read(write_bag(arrival_ms=arrival_ms))
    timing = evaluation.timing(evidence, frames_ahead=4)
    assert timing["latency_ms"]["p50"] == pytest.approx(expected_ms, abs=0.01)
    assert timing["latency_ms"]["p95"] == pytest.approx(expected_ms, abs=0.01)
    assert timing["latency_ms"]["from"] == since
    assert timing["pose_age_ms"]["p50"] == pytest.approx(440.0, abs=0.01)
    assert timing["pose_rate_hz"] == pytest.approx(10.0)


def test_truth_is_interpolated_but_not_invented():
    stamps = START_NS + np.array([0, 1, 2, 9, 10]) * PERIOD_NS
    joints = np.stack([true_joints_m((s - START_NS) / 1e9) for s in stamps])
    truth = evaluation.Truth(stamps, joints)
    asked = START_NS + np.array([-1, 50_000_000, 2 * PERIOD_NS, 5 * PERIOD_NS, 11 * PERIOD_NS])
    got = truth.at(asked)
    np.testing.assert_allclose(got[1], true_joints_m(0.05))
    np.testing.assert_allclose(got[2], true_joints_m(0.2))
    for k in (0, 3, 4):  # before, in a gap of 0.7 s, and after
        assert np.isnan(got[k]).all()


def test_a_bag_without_poses_gives_no_numbers(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/pose2d", "radar_pose_ros/msg/HumanPose2DArray")
        for radar in evaluation.RADARS:
            writer.write_message(f"/{radar}/heatmap", 1, heatmap_message(START_NS))
        writer.write_message("/ground_truth", 1, truth_message(START_NS))
    evidence = evaluation.read(tmp_path / "bag")
    scores = evaluation.score(evidence)
    timing = evaluation.timing(evidence, 4)
    assert scores["poses"] == 0
    for value in (scores["pck_0_2"], scores["ap"], scores["baseline"]["ap"]):
        assert math.isnan(value)
    for value in (
        timing["pose_rate_hz"],
        timing["latency_ms"]["p50"],
        timing["pose_age_ms"]["p50"],
    ):
        assert math.isnan(value)


def test_a_bag_that_lacks_a_topic_is_refused(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_message("/ground_truth", 1, truth_message(START_NS))
    with pytest.raises(RecordingError, match="pose2d, found no topic"):
        evaluation.read(tmp_path / "bag")


def test_poses_of_another_skeleton_are_refused(write_bag):
    with pytest.raises(RecordingError, match="not of the skeleton hupr14"):
        evaluation.read(write_bag(skeleton="coco17"))


def test_every_pose_is_drawn(write_bag):
    pictures = list(evaluation.pictures(evaluation.read(write_bag())))
    assert len(pictures) == FRAMES - 9
    assert all(p.shape == pictures[0].shape and p.dtype == np.uint8 for p in pictures)
    assert any((a != b).any() for a, b in pairwise(pictures))


def test_refined_poses_are_drawn_instead_and_lifted_ones_beside(write_bag, monkeypatch):
    """Those of the nearest stamps; what is not known, or not within 60 ms, is not drawn."""
    drawn = []

    class Film:
        def __init__(self, panels, skeleton, size_px, width_px=960, side=None):
            drawn.append(side)

        def picture(self, heatmaps, keypoints, confidence, truth, links, title, side_m):
            drawn.append((keypoints, title[-7:], side_m))

    monkeypatch.setattr(evaluation, "PoseFilm", Film)
    evidence = evaluation.read(write_bag())
    instants = evidence.poses.stamps_ns
    list(evaluation.pictures(evidence))
    side, (keypoints, _, (estimate, _)), *_ = drawn
    assert side is None and np.isnan(estimate).all()
    np.testing.assert_allclose(keypoints, evidence.poses.keypoints_px[0])

    drawn.clear()
    stamps = np.concatenate([instants[:5] + 20_000_000, instants[:5] - 40_000_000])
    values = np.arange(10.0)[:, None, None] * np.ones((1, 14, 2))
    refined = evaluation.Poses(stamps, stamps, values, values[..., 0], "refined")
    true_m = mapping.convert(evidence.truth.at(instants), HUPR14.name, H36M17.name)
    joints_m = to_camera(true_m)
    joints_m[2] = np.nan
    list(evaluation.pictures(evidence, refined, (instants, joints_m)))
    side, *found = drawn
    assert side is H36M17 and {title for _, title, _ in found} == {"refined"}
    for k, (keypoints, _, (estimate, truth)) in enumerate(found):
        np.testing.assert_array_equal(keypoints, np.full((14, 2), k if k < 5 else np.nan))
        np.testing.assert_allclose(truth, true_m[k][:, [0, 2]])
        np.testing.assert_allclose(estimate, truth if k != 2 else np.full((17, 2), np.nan))
    assert len(found) == len(instants)


def test_the_nearest_stamp_is_found_if_it_is_near():
    maps = evaluation.Heatmaps(stamps_ns=[START_NS + 200_000_000, START_NS])  # as they came
    steps_ms = np.array([-70, -50, 0, 50, 90, 150, 250, 270])
    found = maps.stamps_near(START_NS + steps_ms * 1_000_000) - START_NS
    assert (found / 1e6).tolist() == [-70, 0, 0, 0, 90, 200, 200, 270]
    asked = np.array([START_NS])
    assert evaluation.Heatmaps().stamps_near(asked).tolist() == [START_NS]
