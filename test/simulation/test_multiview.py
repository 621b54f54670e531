"""A rig of cameras: when they fire, what hides a joint, and what a detector makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.simulation.cameras import CameraRanges, PinholeCamera
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.simulation.multiview import (
    DETECTOR,
    Detector,
    detect,
    drift,
    hidden_by_body,
    hidden_by_boxes,
    observe,
    rig,
    runs_in_time,
    shutter_times,
)
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import BODY25B, H36M17, HUPR14

SIZE = (1000, 1000)


def standing(**moved: tuple[float, float, float]) -> np.ndarray:
    """HUPR14's joints of somebody at the origin who looks along +x; left is +y."""
    places = {
        "hip": (0.0, 0.1, 0.95),
        "knee": (0.0, 0.1, 0.5),
        "ankle": (0.0, 0.1, 0.1),
        "shoulder": (0.0, 0.2, 1.45),
        "elbow": (0.0, 0.35, 1.2),
        "wrist": (0.0, 0.4, 0.95),
    }
    joints = np.empty((1, 14, 3))
    for name in HUPR14.joints:
        side, _, part = name.partition("_")
        sign = np.array([1.0, -1.0 if side == "right" else 1.0, 1.0])
        middle = (0.0, 0.0, {"neck": 1.5, "head": 1.8}.get(name, 0.0))
        joints[0, HUPR14.index(name)] = moved.get(name, places[part] * sign if part else middle)
    return joints


def hidden_names(joints: np.ndarray, position_m: tuple[float, float, float]) -> set[str]:
    return {HUPR14.joints[k] for k in np.flatnonzero(hidden_by_body(joints, HUPR14, position_m))}


def test_seen_from_the_front_and_from_behind_nothing_is_hidden() -> None:
    for x in (4.0, -4.0):
        assert hidden_names(standing(), (x, 0.0, 1.2)) == set()


def test_a_hand_behind_the_trunk_is_hidden_and_one_before_it_is_not() -> None:
    hand = standing(left_wrist=(-0.25, 0.0, 1.2))
    assert hidden_names(hand, (4.0, 0.0, 1.2)) == {"left_wrist"}
    assert hidden_names(hand, (-4.0, 0.0, 1.2)) == set()
    beside = standing(left_wrist=(-0.25, 0.45, 1.2))
    assert hidden_names(beside, (4.0, 0.0, 1.2)) == set()


def test_from_the_side_the_far_half_is_hidden() -> None:
    """The near leg hides the far one, the trunk the far hip, shoulder and arm.

    The near hand hangs before its hip, and the near shoulder is before the base of the neck.
    """
    far = {"hip", "knee", "ankle", "shoulder", "elbow", "wrist"}
    for y, near_side, far_side in ((-4.0, "right", "left"), (4.0, "left", "right")):
        expected = {f"{far_side}_{part}" for part in far} | {f"{near_side}_hip", "neck"}
        assert hidden_names(standing(), (0.0, y, 1.0)) == expected


def test_arm_before_the_face_hides_it() -> None:
    arm = standing(right_elbow=(0.3, -0.2, 1.65), right_wrist=(0.3, 0.2, 1.65))
    arm[0, HUPR14.index("head")] = 0.0, 0.0, 1.68
    assert "head" in hidden_names(arm, (4.0, 0.0, 1.65))
    assert "head" not in hidden_names(arm, (-4.0, 0.0, 1.65))


def test_far_ear_is_hidden_and_near_one_is_not() -> None:
    joints = np.full((1, 25, 3), np.nan)
    for name, place in {
        "upper_neck": (0, 0, 1.5),
        "head_top": (0, 0, 1.75),
        "left_ear": (0, 0.07, 1.63),
        "right_ear": (0, -0.07, 1.63),
        "nose": (0.1, 0, 1.6),
    }.items():
        joints[0, BODY25B.index(name)] = place
    hidden = hidden_by_body(joints, BODY25B, (0.0, 4.0, 1.6))
    assert [BODY25B.joints[k] for k in np.flatnonzero(hidden)] == ["right_ear"]
    assert not hidden_by_body(joints, BODY25B, (4.0, 0.0, 1.6)).any()


def test_unknown_joints_hide_nothing_and_are_not_hidden() -> None:
    joints = standing(left_wrist=(-0.25, 0.0, 1.2))
    for name in ("left_hip", "right_hip"):
        joints[0, HUPR14.index(name)] = np.nan
    assert hidden_names(joints, (4.0, 0.0, 1.2)) == set()


def test_boxes() -> None:
    table = [[[1.0, -0.5, 0.0], [1.5, 0.5, 1.0]]]
    points = np.array([[0, 0, 0.5], [0, 0, 1.4], [2.0, 0, 0.5], [0, 1, 0.5], [1.2, 0, 0.5]])
    hidden = hidden_by_boxes(points, (4.0, 0.0, 0.5), table)
    # behind it, above it, before it, beside it, inside of it
    assert hidden.tolist() == [True, False, False, False, True]
    assert not hidden_by_boxes([[np.nan] * 3], (4.0, 0.0, 0.5), table).any()
    assert not hidden_by_boxes(points, (4.0, 0.0, 0.5), ()).any()
    with pytest.raises(ValueError, match="want lower and upper corners of boxes"):
        hidden_by_boxes(points, (4.0, 0.0, 0.5), [[[1.0, 0, 0], [0.5, 1, 1]]])


def test_shutter_times(rng: np.random.Generator) -> None:
    together = shutter_times(2, 0.3, 10.0, "synchronous")
    assert_close(together[0], [0.0, 0.1, 0.2])
    assert_close(together[1], together[0])
    four = shutter_times(4, 0.25, 10.0, "interleaved")
    assert_close(four[0], [0.0, 0.1, 0.2])
    assert_close(four[1], [0.025, 0.125, 0.225])
    assert_close(four[3], [0.075, 0.175])
    drawn = shutter_times(50, 1.0, 10.0, "random", rng)
    firsts = np.array([stamps[0] for stamps in drawn])
    assert ((firsts >= 0) & (firsts < 0.1)).all() and 0.03 < firsts.mean() < 0.07
    assert all(len(stamps) == 10 for stamps in drawn)
    assert_close(np.diff(drawn[7]), np.full(9, 0.1))
    early = shutter_times(1, 10.0, 10.0, "synchronous", rng, jitter_s=0.04)[0]
    off = early - np.round(early, 1)
    assert np.abs(off).max() <= 0.04 and off.std() > 0.015
    for arguments, sentence in (
        ((1, 1.0, 10.0, "global"), "unknown shutters 'global', there are synchronous"),
        ((1, 1.0, 10.0, "random"), "want a generator"),
        ((1, 0.0, 10.0, "random", rng), "length and rate must be positive"),
        ((1, 1.0, 10.0, "random", rng, 0.05), "jitter must be from 0 to less than 0.05 s"),
    ):
        with pytest.raises(ValueError, match=sentence):
            shutter_times(*arguments)


def test_rig_stands_all_around(rng: np.random.Generator) -> None:
    cameras = rig(4, [1.0, 2.0, 1.0], rng, CameraRanges(aim_m=0.0, roll=0.0))
    for number, camera in enumerate(cameras):
        assert_close(camera.project([1.0, 2.0, 1.0]), [500, 500])
        x, y = camera.position_m[:2] - [1.0, 2.0]
        quarter = (np.arctan2(y, x) + np.pi) / (np.pi / 2)
        assert number + 0.25 <= quarter <= number + 0.75
        assert 3.5 <= np.hypot(x, y) <= 6.0 and 0.6 <= camera.position_m[2] <= 2.2
    with pytest.raises(ValueError, match="at least one camera, got 0"):
        rig(0, [0, 0, 1], rng)


def test_a_rig_of_two_does_not_face_itself() -> None:
    """Their rays are 30 to 90 degrees apart on the floor, unless a range is said."""
    target = np.array([1.0, 2.0, 1.0])

    def between(ranges: CameraRanges | None, seed: int) -> float:
        rays = [
            target[:2] - camera.position_m[:2]
            for camera in rig(2, target, np.random.default_rng(seed), ranges)
        ]
        cosine = rays[0] @ rays[1] / np.linalg.norm(rays[0]) / np.linalg.norm(rays[1])
        return float(np.degrees(np.arccos(cosine)))

    angles = [between(None, seed) for seed in range(200)]
    assert 30 <= min(angles) < 40 and 80 < max(angles) <= 90
    assert max(between(CameraRanges(), seed) for seed in range(50)) > 150
    first = [rig(2, target, np.random.default_rng(seed))[0].position_m for seed in range(200)]
    around = np.arctan2(*(np.array(first) - target)[:, 1::-1].T)
    assert np.histogram(around, 4, (-np.pi, np.pi))[0].min() > 30  # to all sides


def walking(stamps_s: np.ndarray) -> np.ndarray:
    """A metre per second along y, in H36M17."""
    joints = mapping.convert(standing(), "hupr14", "h36m17")
    return joints + stamps_s[:, None, None] * np.array([0.0, 1.0, 0.0])


CAMERAS = [
    PinholeCamera.looking_at([4, 0, 1], [0, 0, 1], 1000.0, SIZE),
    PinholeCamera.looking_at([0, -4, 1], [0, 0, 1], 1000.0, SIZE),
]


def test_a_perfect_detector_says_exact_pixels_at_the_stamps(rng: np.random.Generator) -> None:
    stamps = shutter_times(2, 0.4, 5.0, "interleaved")
    front, side = observe(walking, H36M17, CAMERAS, stamps, rng)
    assert_close(front.keypoints_px, CAMERAS[0].project(walking(np.array([0.0, 0.2]))))
    assert_close(side.stamps_s, [0.1, 0.3])
    assert_close(side.keypoints_px, CAMERAS[1].project(walking(np.array([0.1, 0.3]))))
    assert (front.score == 1).all() and (side.score == 1).all()
    # a metre per second at four metres: 250 pixels per second to the right
    assert_close(front.keypoints_px[1] - front.keypoints_px[0], np.tile([50.0, 0.0], (17, 1)))
    assert side.hidden[:, H36M17.index("left_knee")].all() and not front.hidden.any()


def test_out_of_the_image_is_not_seen(rng: np.random.Generator) -> None:
    (view,) = observe(walking, H36M17, CAMERAS[:1], [[0.0, 1.9, 2.5]], rng)
    assert np.isfinite(view.keypoints_px[0]).all()
    assert np.isnan(view.keypoints_px[2]).all() and (view.score[2] == 0).all()
    assert 0 < (view.score[1] == 0).sum() < 17


def test_hidden_joints_are_worse_and_less_sure(rng: np.random.Generator) -> None:
    """By the numbers of the detector: errors four times as large, confidence 0.35, not 0.85."""
    stamps = np.arange(4000) * 0.5
    true = np.full((4000, 17, 2), 500.0)
    hidden = np.zeros((4000, 17), bool)
    hidden[:, 5] = True
    plain = Detector(
        **{
            **{name: getattr(DETECTOR, name) for name in DETECTOR.__dataclass_fields__},
            "noise": DetectorNoise(white=3.0),
            "missed_rate": 0.1,
        }
    )
    made, score = detect(true, hidden, H36M17, stamps, plain, rng)
    off = made - true
    assert np.nanstd(off[:, 4]) == pytest.approx(3.0, rel=0.03)
    assert np.nanstd(off[:, 5]) == pytest.approx(12.0, rel=0.03)
    seen = ~np.isnan(made).any(-1)
    assert seen[:, 4].mean() == pytest.approx(0.9, abs=0.02)
    assert seen[:, 5].mean() == pytest.approx(0.9 * 0.7, abs=0.03)
    assert score[:, 4][seen[:, 4]].mean() == pytest.approx(0.85, abs=0.01)
    assert score[:, 5][seen[:, 5]].mean() == pytest.approx(0.35, abs=0.01)
    assert (score[~seen] == 0).all() and (score[seen] > 0).all() and score.max() <= 1


def test_outliers_are_far_and_unsure(rng: np.random.Generator) -> None:
    noise = DetectorNoise(outlier_rate=0.1, outlier=50.0)
    detector = Detector(noise=noise, confidence=0.9, hidden_confidence=0.2)
    true = np.zeros((500, 17, 2))
    made, score = detect(true, np.zeros((500, 17), bool), H36M17, np.arange(500.0), detector, rng)
    far = (made != 0).any(-1)
    assert far.mean() == pytest.approx(0.1, abs=0.01)
    assert np.std(made[far]) == pytest.approx(50.0, rel=0.05)
    assert (score[far] == 0.2).all() and (score[~far] == 0.9).all()


def test_sides_are_exchanged_whole(rng: np.random.Generator) -> None:
    noise = DetectorNoise(swap_hz=0.5, swap_s=1.0)
    true = np.random.default_rng(0).normal(size=(1000, 17, 2))
    stamps = np.arange(1000) * 0.1
    hidden = np.zeros((1000, 17), bool)
    made, _ = detect(true, hidden, H36M17, stamps, Detector(noise=noise), rng)
    knees = [H36M17.index("left_knee"), H36M17.index("right_knee")]
    swapped = (made[:, knees[0]] == true[:, knees[1]]).all(-1)
    assert 0.25 < swapped.mean() < 0.55  # 1 - exp(-0.5) = 0.39
    ankle, other = H36M17.index("left_ankle"), H36M17.index("right_ankle")
    assert_close(made[swapped, ankle], true[swapped, other])
    assert_close(made[~swapped][:, knees], true[~swapped][:, knees])


def test_a_bias_stays_the_same_for_all_of_a_recording(rng: np.random.Generator) -> None:
    true = np.zeros((3, 17, 2))
    nothing = np.zeros((3, 17), bool)
    many = np.stack(
        [
            detect(true, nothing, H36M17, np.arange(3.0), Detector(bias=6.0), rng)[0]
            for _ in range(200)
        ]
    )
    assert (many == many[:, :1]).all()
    assert many[:, 0].std() == pytest.approx(6.0, rel=0.03)
    assert abs(many[:, 0].mean()) < 0.2
    assert np.corrcoef(many[:, 0, 3, 0], many[:, 0, 4, 0])[0, 1] < 0.3


def test_drift_depends_on_time_alone(rng: np.random.Generator) -> None:
    """Its correlation over dt is exp(-dt / 0.5 s), however the shots lie between."""
    stamps = np.array([0.0, 0.05, 0.5, 1.5])
    made = drift((4, 40000), stamps, 0.5, rng)
    assert_close(made.std(1).round(1), np.ones(4))
    correlation = np.corrcoef(made)
    expected = np.exp(-np.abs(stamps[:, None] - stamps) / 0.5)
    np.testing.assert_allclose(correlation, expected, atol=0.02)
    assert abs(np.corrcoef(drift((2, 40000), stamps[:2], 0.0, rng))[0, 1]) < 0.02


def test_runs_last_as_long_as_they_should(rng: np.random.Generator) -> None:
    stamps = np.sort(rng.uniform(0, 100, 3000))
    flags = runs_in_time(stamps, 60, 0.5, 0.8, rng)
    assert flags.mean() == pytest.approx(1 - np.exp(-0.4), abs=0.02)
    later = flags[np.searchsorted(stamps, stamps[:-100] + 0.2).clip(0, 2999)][flags[:-100]]
    assert 0.75 < later.mean() < 0.9  # exp(-0.25) = 0.78, and new runs
    assert not runs_in_time(stamps, 3, 0.0, 0.8, rng).any()
    assert runs_in_time(np.zeros(0), 3, 0.5, 0.8, rng).shape == (0, 3)


def test_same_seed_same_errors_and_each_camera_its_own() -> None:
    stamps = shutter_times(2, 1.0, 10.0, "interleaved")

    def once(cameras: int) -> list[np.ndarray]:
        rng = np.random.default_rng(7)
        seen = observe(walking, H36M17, CAMERAS[:cameras], stamps[:cameras], rng, DETECTOR)
        return [view.keypoints_px for view in seen]

    assert_close(once(2)[1], once(2)[1])
    assert_close(once(2)[0], once(1)[0])
    assert not np.allclose(np.nan_to_num(once(2)[0]), np.nan_to_num(once(2)[1]))


def test_wrong_input_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="2 cameras, but stamps of 1"):
        observe(walking, H36M17, CAMERAS, [[0.0]], rng)
    with pytest.raises(ValueError, match="camera 0: want increasing stamps"):
        observe(walking, H36M17, CAMERAS[:1], [[0.0, 0.0]], rng)
    with pytest.raises(ValueError, match=r"camera 0: hupr14 wants joints \(1, 14, 3\), got"):
        observe(walking, HUPR14, CAMERAS[:1], [[0.0]], rng)
    with pytest.raises(ValueError, match=r"missed_rate must be from 0 to 1\.0, got 2"):
        Detector(missed_rate=2)
    with pytest.raises(ValueError, match=r"hidden_factor must be from 0 to inf, got -1"):
        Detector(hidden_factor=-1)
    noise = Detector(noise=DetectorNoise(joint_factors=(1.0, 2.0)))
    with pytest.raises(ValueError, match="want 17 joint_factors or none, got 2"):
        observe(walking, H36M17, CAMERAS[:1], [[0.0]], rng, noise)
