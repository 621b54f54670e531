"""Hypotheses: choices among them, and whether an ellipsoid of 90 % holds 90 %."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.models import hypotheses
from radar_pose_ros.models.hypotheses import SpreadCalibration

JOINTS = 4


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def project(points_m: np.ndarray) -> np.ndarray:
    """A pinhole of focal length 1000 px."""
    depth = np.where(points_m[..., 2:] > 0, points_m[..., 2:], np.nan)
    return 1000 * points_m[..., :2] / depth


def test_average(rng) -> None:
    poses = rng.standard_normal((5, 2, 3, JOINTS, 3))
    assert_close(hypotheses.average(poses), poses.sum(0) / 5)


def test_reprojection_chooses_by_joint_and_frame(rng) -> None:
    """Each joint of each frame is right in one hypothesis, another one each time."""
    true = rng.uniform(-1, 1, (6, JOINTS, 3))
    root = np.tile([0.1, 0.2, 5.0], (6, 1))
    right = rng.integers(0, 5, (6, JOINTS))
    poses = true + rng.uniform(0.1, 0.3, (5, 6, JOINTS, 3))
    np.put_along_axis(poses, right[None, ..., None], true[None], axis=0)
    seen = project(true + root[:, None])
    assert_close(hypotheses.best_by_reprojection(poses, seen, project, root), true)
    # a joint that was not seen: the mean
    seen[2, 1] = np.nan
    found = hypotheses.best_by_reprojection(poses, seen, project, root)
    assert_close(found[2, 1], poses[:, 2, 1].mean(0))
    assert_close(found[2, 2], true[2, 2])


def test_reprojection_does_not_see_depth() -> None:
    """Two hypotheses on one ray are equally good; the first is taken."""
    poses = np.array([[[0.1, 0.1, 1.0]], [[0.2, 0.2, 2.0]], [[0.1, 0.2, 1.0]]])
    found = hypotheses.best_by_reprojection(poses, [[100.0, 100.0]], project)
    assert_close(found, poses[0])
    behind = hypotheses.best_by_reprojection(-poses, [[100.0, 100.0]], project)
    assert_close(behind, -poses.mean(0))


def test_oracle_chooses_by_window() -> None:
    """Hypothesis h is off by |h - w| in window w, on one joint of four: on all means alike."""
    true = np.zeros((3, 5, JOINTS, 3))
    poses = np.zeros((4, *true.shape))
    for h in range(4):
        for w in range(3):
            poses[h, w, :, 2, 0] = h - w
    best = hypotheses.oracle(poses, true)
    assert_close(best, true)
    worst = hypotheses.oracle(poses, true, worst=True)
    assert worst[:, 0, 2, 0].tolist() == [3, 2, -2]  # the first of two that are alike


def test_covariance_of_known_samples() -> None:
    """Five samples along x: variance 2.5 of 0 to 4, of which 6 of 13 parts become a sphere."""
    poses = np.zeros((5, 1, 3))
    poses[:, 0, 0] = np.arange(5.0)
    floor = hypotheses.FLOOR_M**2 * np.eye(3)
    share = 6 / 13  # (1/3 tr S^2 + tr^2 S) / (13/3 (tr S^2 - tr^2 S / 3)), tr S^2 = tr^2 S
    expected = np.diag([(1 - share) * 2.5, 0, 0]) + share * 2.5 / 3 * np.eye(3) + floor
    assert_close(hypotheses.covariance(poses)[0], expected)


def test_shrinking_comes_nearer_to_the_truth(rng) -> None:
    """In the mean square, of five samples of a covariance that is no sphere.

    Much nearer than the sample covariance, and not much less near than its sphere.
    """
    true = np.diag([0.04, 0.01, 0.02])
    poses = rng.standard_normal((5, 20_000, 3)) * np.sqrt(np.diag(true))
    off = poses - poses.mean(0)
    sample = np.einsum("h...i,h...j->...ij", off, off) / 4
    sphere = np.trace(sample, axis1=-2, axis2=-1)[..., None, None] / 3 * np.eye(3)
    plain, shrunk, round_ = (
        ((found - true) ** 2).sum((-2, -1)).mean()
        for found in (sample, hypotheses.covariance(poses), sphere)
    )
    assert shrunk < 0.7 * plain
    assert shrunk < 1.5 * round_


@pytest.mark.parametrize("count", [2, 3, 5])
def test_covariance_has_full_rank(count: int, rng) -> None:
    """Two or three samples span a line or a plane, and even equal ones leave the floor."""
    found = hypotheses.covariance(rng.standard_normal((count, 7, JOINTS, 3)))
    assert found.shape == (7, JOINTS, 3, 3)
    assert np.linalg.eigvalsh(found).min() > 1e-2
    alike = hypotheses.covariance(np.ones((count, 1, 3)))
    assert_close(alike[0], hypotheses.FLOOR_M**2 * np.eye(3))


def test_squared_distance() -> None:
    assert_close(hypotheses.squared_distance([2.0, 3.0, 0.0], np.diag([4.0, 1.0, 9.0])), 10.0)


def test_calibration_holds_on_other_poses(rng) -> None:
    """A network three times too sure of one joint, and twice too unsure of another."""
    scale = np.array([0.1, 0.3, 0.05, 0.1])[:, None]
    poses = rng.standard_normal((5, 20_000, JOINTS, 3)) * [[0.1], [0.1], [0.1], [0.1]]
    true = rng.standard_normal((20_000, JOINTS, 3)) * scale
    first, second = slice(0, 10_000), slice(10_000, None)
    calibration = hypotheses.fit(poses[:, first], true[first])
    assert calibration.hypotheses == 5
    factors = np.array(calibration.factors)
    assert factors[1] > 3 * factors[0] > 2 * factors[2]
    assert factors[3] == pytest.approx(factors[0], rel=0.1)
    found = hypotheses.coverage(poses[:, second], true[second], calibration)
    assert found == pytest.approx(np.full(JOINTS, 0.9), abs=0.015)


def test_calibration_of_a_root_that_never_moves(rng) -> None:
    poses = rng.standard_normal((5, 200, 2, 3))
    true = rng.standard_normal((200, 2, 3))
    poses[:, :, 0] = true[:, 0] = 0
    calibration = hypotheses.fit(poses, true)
    assert calibration.factors[0] == 1e-3
    found = calibration.covariance(poses)
    assert np.linalg.eigvalsh(found[:, 0]).min() > 0


def test_calibration_round_trip() -> None:
    calibration = SpreadCalibration((1.5, 2.25), 5)
    fields = json.loads(json.dumps(calibration.as_dict()))
    assert SpreadCalibration.of_weights(fields) == calibration
    with pytest.raises(ValueError, match=r"no calibration of a spread: .*'sharpness'"):
        SpreadCalibration.of_weights({**fields, "sharpness": 1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hypotheses.covariance(np.zeros((1, 2, 3))), "at least 2 hypotheses, got 1"),
        (lambda: hypotheses.average(np.zeros((5, 2))), r"got \(5, 2\)"),
        (lambda: hypotheses.fit(np.zeros((5, 4, 2, 3)), np.zeros((4, 3, 3))), "do not fit"),
        (lambda: hypotheses.fit(np.zeros((5, 4, 2, 3)), np.zeros((4, 2, 3))), "in 4 poses: too f"),
        (lambda: SpreadCalibration((1.0, 0.0), 5), "factors of a calibration must be positive"),
        (lambda: SpreadCalibration((1.0,), 5, 1.0), r"level .* must lie in \(0, 1\), got 1.0"),
        (
            lambda: SpreadCalibration((1.0,), 5).covariance(np.zeros((6, 1, 3))),
            r"calibrated are 5 hypotheses of 1 joints, got an array of shape \(6, 1, 3\)",
        ),
        (
            lambda: hypotheses.best_by_reprojection(
                np.zeros((5, 2, 3)), np.zeros((3, 2)), project
            ),
            r"keypoints must be \(2, 2\), got \(3, 2\)",
        ),
    ],
)
def test_wrong_arguments_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_calibration_holds_for_nine_people_of_ten() -> None:
    """The spread is the same for all, the errors of the n-th are n times as large."""
    rng = np.random.default_rng(0)
    count, people = 400, 19
    poses = rng.standard_normal((5, people * count, 1, 3)) * 0.05
    scale = np.repeat(np.arange(1, people + 1), count)[:, None, None]
    true = poses.mean(0) + scale * rng.standard_normal((people * count, 1, 3)) * 0.01
    names = [f"p{k}" for k in range(people) for _ in range(count)]
    found = hypotheses.fit(poses, true, people=names)
    held = [
        hypotheses.coverage(poses[:, part], true[part], found)[0]
        for part in (np.arange(k * count, (k + 1) * count) for k in range(people))
    ]
    assert held[17] == pytest.approx(0.9, abs=0.01)  # of 19, and one more, the 18th
    assert min(held[:17]) > 0.9 > held[18]
    with pytest.raises(ValueError, match="2 people are named for"):
        hypotheses.fit(poses, true, people=["a", "b"])
