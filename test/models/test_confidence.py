"""Confidence: fitted where the answer is known, applied, and what is withheld because of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from radar_pose_ros.models import confidence
from radar_pose_ros.models.confidence import Calibration


def test_without_a_calibration_confidence_stays_as_it_is() -> None:
    values = np.array([[0.0, 0.3, 1.0], [np.nan, 0.5, 0.25]])
    np.testing.assert_array_equal(Calibration().apply(values), values)
    assert Calibration.of_weights({"preset": "edge"}) == Calibration()


def test_a_known_curve_is_found(rng: np.random.Generator) -> None:
    """Joints whose similarity is 0 or 1, the latter with the probability raw^2."""
    raw = rng.uniform(size=(20_000, 10))
    similarity = (rng.uniform(size=raw.shape) < raw**2).astype(float)
    fitted = confidence.fit(raw, similarity)
    asked = np.linspace(0.02, 0.98, 49)
    # 5000 joints per point: a standard error of at most 0.007
    np.testing.assert_allclose(fitted.apply(asked), asked**2, atol=0.025)
    before = confidence.calibration_error(confidence.reliability(raw, similarity))
    after = confidence.calibration_error(confidence.reliability(fitted.apply(raw), similarity))
    assert before == pytest.approx(1 / 2 - 1 / 3, abs=0.005)  # mean of raw - raw^2
    assert after < 0.01


def test_the_curve_is_the_isotonic_regression(rng: np.random.Generator) -> None:
    """Against scipy's, with a bin per joint."""
    raw = np.sort(rng.uniform(size=(1, 30)))
    similarity = np.clip(raw + rng.normal(scale=0.3, size=raw.shape), 0, 1)
    fitted = confidence.fit(raw, similarity, bins=30)
    np.testing.assert_allclose(fitted.raw, raw[0])
    np.testing.assert_allclose(fitted.similarity, isotonic_regression(similarity[0]).x)
    assert len(set(fitted.similarity)) < 30  # it did fall somewhere


def test_joints_whose_truth_is_unknown_do_not_count() -> None:
    raw = np.array([[0.2, 0.4, 0.9], [0.2, 0.4, 0.9]])
    similarity = np.array([[0.1, 0.3, np.nan], [0.3, 0.5, np.nan]])
    fitted = confidence.fit(raw, similarity)
    np.testing.assert_allclose(fitted.raw, [0.2, 0.4])
    np.testing.assert_allclose(fitted.similarity, [0.2, 0.4])
    np.testing.assert_allclose(fitted.apply([0.0, 0.3, 1.0]), [0.2, 0.3, 0.4])


def test_a_person_begins_between_empty_scenes_and_people() -> None:
    raw = np.array([[0.02, 0.04], [0.03, 0.05], [0.6, 0.7], [0.8, 0.9]])
    similarity = np.array([[0.0, 0.0], [0.0, 0.0], [0.6, 0.7], [0.8, 0.9]])
    occupied = np.array([False, False, True, True])
    fitted = confidence.fit(raw, similarity, occupied)
    assert fitted.person_min == pytest.approx((0.0 + 0.65) / 2)
    assert confidence.fit(raw, similarity).person_min == confidence.PERSON_MIN


def test_overlapping_scenes_are_parted_with_the_least_mistakes() -> None:
    """Means 0.1, 0.2, 0.6 of empty scenes, 0.5, 0.7, 0.8, 0.9 of people."""
    means = np.array([0.1, 0.2, 0.6, 0.5, 0.7, 0.8, 0.9])
    occupied = np.array([0, 0, 0, 1, 1, 1, 1], bool)
    # One person missed (1/4) is less than one empty scene taken for a person (1/3).
    assert confidence._threshold(means, occupied) == pytest.approx(0.65)


def test_reliability_is_counted_by_forecast() -> None:
    raw = np.array([[0.05, 0.15, 0.55], [1.0, 0.55, np.nan]])
    similarity = np.array([[0.0, 0.5, 0.4], [0.9, 0.6, 0.3]])
    table = confidence.reliability(raw, similarity, bins=2)
    assert table == [
        {
            "lowest": 0.0,
            "highest": 0.5,
            "count": 2,
            "confidence": pytest.approx(0.1),
            "similarity": pytest.approx(0.25),
        },
        {
            "lowest": 0.5,
            "highest": 1.0,
            "count": 3,
            "confidence": pytest.approx(0.7),
            "similarity": pytest.approx(1.9 / 3),
        },
    ]
    error = (2 * 0.15 + 3 * (0.7 - 1.9 / 3)) / 5
    assert confidence.calibration_error(table) == pytest.approx(error)
    assert np.isnan(confidence.calibration_error([]))


def test_joints_below_the_threshold_are_withheld_with_their_confidence() -> None:
    calibration = Calibration((0.2, 0.6), (0.0, 0.8), joint_min=0.2, person_min=0.3)
    keypoints_px = np.arange(8.0).reshape(4, 2)
    judged = calibration.judge(keypoints_px, np.array([0.6, 0.4, 0.25, 0.31]))
    assert judged is not None
    known_px, values = judged
    np.testing.assert_allclose(values, [0.8, 0.4, 0.1, 0.22])
    np.testing.assert_array_equal(known_px[[0, 1, 3]], keypoints_px[[0, 1, 3]])
    assert np.isnan(known_px[2]).all()


def test_little_confidence_is_nobody() -> None:
    calibration = Calibration(joint_min=0.2, person_min=0.3)
    keypoints_px = np.zeros((2, 2))
    assert calibration.judge(keypoints_px, np.array([0.1, 0.49])) is None
    assert calibration.judge(keypoints_px, np.array([0.1, 0.51])) is not None
    # No joint can be placed: that is no pose either.
    assert Calibration(joint_min=0.9, person_min=0).judge(keypoints_px, np.zeros(2)) is None


def test_nothing_is_withheld_where_no_confidence_is_stated() -> None:
    keypoints_px = np.ones((2, 2))
    judged = Calibration().judge(keypoints_px, np.full(2, np.nan))
    assert judged is not None
    np.testing.assert_array_equal(judged[0], keypoints_px)
    assert np.isnan(judged[1]).all()


def test_it_goes_through_a_manifest() -> None:
    fitted = Calibration((0.1, 0.5, 0.7), (0.0, 0.2, 0.9), 0.15, 0.25)
    entry = json.loads(json.dumps({"confidence": fitted.as_dict()}))
    assert Calibration.of_weights(entry) == fitted


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"raw": [0.5], "similarity": [0.5]}, "at least 2, got 1 and 1"),
        ({"raw": [0.1, 0.2, 0.3]}, "got 3 and 2"),
        ({"raw": [0.2, 0.2]}, "rising raw confidences"),
        ({"similarity": [0.5, 0.4]}, "no falling similarities"),
        ({"similarity": [0.5, 1.4]}, "similarity of a calibration must be 0 to 1"),
        ({"joint_min": -1}, "joint_min of a calibration must be 0 to 1, got -1"),
        ({"person_min": float("nan")}, "person_min of a calibration must be 0 to 1"),
        ({"persons": 2}, "unknown fields persons"),
    ],
)
def test_nonsense_in_a_manifest_is_refused(fields: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Calibration.of_weights({"confidence": fields})


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="of 6 joints hardly differ"):
        confidence.fit(np.full((3, 2), 0.5), np.ones((3, 2)))
    with pytest.raises(ValueError, match="of 0 joints"):
        confidence.fit(np.empty((0, 14)), np.empty((0, 14)))
    with pytest.raises(ValueError, match=r"confidences \(3, 2\), but similarities \(3, 1\)"):
        confidence.fit(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"must be \(poses, joints\)"):
        confidence.fit(np.ones(3), np.ones(3))
    raw = np.array([[0.1, 0.9]])
    with pytest.raises(ValueError, match="1 poses, but occupied"):
        confidence.fit(raw, raw, [True, False])
