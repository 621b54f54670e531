"""Interpolation and filters against curves that are known on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import savgol_coeffs
from tolerances import assert_close

from radar_pose_ros.models.interpolation import METHODS, interpolate, one_euro, savitzky_golay

IRREGULAR_S = np.array([0.0, 0.1, 0.25, 0.3, 0.45, 0.6, 0.62, 0.8])
ASKED_S = np.array([0.8, 0.0, 0.05, 0.2, 0.33, 0.61, 0.79])


def polynomial(times_s: np.ndarray, degree: int) -> np.ndarray:
    """Two joints with three values each, each another polynomial: (times, 2, 3)."""
    factors = np.random.default_rng(degree).normal(size=(degree + 1, 2, 3))
    powers = times_s[:, None] ** np.arange(degree + 1)
    return np.tensordot(powers, factors, axes=1)


@pytest.mark.parametrize(("method", "degree"), [("linear", 1), ("quadratic", 2), ("cubic", 3)])
def test_splines_are_exact_for_polynomials_of_their_degree(method: str, degree: int) -> None:
    """At irregular times, asked for in any order; not for those of the next degree."""
    result = interpolate(IRREGULAR_S, polynomial(IRREGULAR_S, degree), ASKED_S, method)
    assert_close(result.poses, polynomial(ASKED_S, degree))
    assert result.known.all()
    beyond = interpolate(IRREGULAR_S, polynomial(IRREGULAR_S, degree + 1), ASKED_S, method)
    assert np.abs(beyond.poses - polynomial(ASKED_S, degree + 1)).max() > 1e-5


def test_nearest() -> None:
    poses = np.arange(3.0).reshape(3, 1, 1)
    at_s = np.array([0.0, 0.4, 0.5, 0.6, 1.9, 2.0, 2.5, 2.6, 3.0])
    result = interpolate([0.0, 1.0, 3.0], poses, at_s, "nearest")
    assert result.poses.ravel().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_joint_is_left_out_of_its_own_curve(method: str) -> None:
    """The other joints go on as if nothing had happened; ends are NaN and flagged."""
    truth = polynomial(IRREGULAR_S, 2)
    poses = truth.copy()
    poses[[0, 3, 7], 1, 2] = np.nan  # one number of a joint is enough to lose it
    result = interpolate(IRREGULAR_S, poses, ASKED_S, method)
    whole = interpolate(IRREGULAR_S, truth, ASKED_S, method)
    assert_close(result.poses[:, 0], whole.poses[:, 0])
    kept = np.array([1, 2, 4, 5, 6])
    alone = interpolate(IRREGULAR_S[kept], truth[kept][:, 1:], ASKED_S, method)
    assert_close(result.poses[:, 1:], alone.poses)
    assert result.known[:, 1].tolist() == [False, False, False, True, True, True, False]
    assert result.known[:, 0].all()
    assert (np.isnan(result.poses).any(2) == ~result.known).all()


@pytest.mark.parametrize("method", METHODS)
def test_few_keyframes(method: str) -> None:
    """Two give a line, or the nearer one; one its own time; none nothing."""
    line = np.array([1.0, 3.0]).reshape(2, 1, 1)
    two = interpolate([0.0, 1.0], line, [0.0, 0.25, 1.0], method, **_open(method))
    expected = [1, 1, 3] if method == "nearest" else [1, 1.5, 3]
    np.testing.assert_allclose(two.poses.ravel(), expected, rtol=1e-6)
    one = interpolate([1.0], line[:1], [0.9, 1.0, 1.1], method)
    assert one.known.ravel().tolist() == [False, True, False]
    none = interpolate([], np.zeros((0, 2, 3)), [0.0], method)
    assert none.poses.shape == (1, 2, 3) and not none.known.any()


def _open(method: str) -> dict[str, float]:
    """A One-Euro filter that lets everything through."""
    return {"cutoff_hz": 1e9} if method == "one_euro" else {}


def test_one_euro_of_a_step_at_rest_is_an_exponential() -> None:
    """Without a slope each step of dt takes r / (r + 1) of what is left, r = 2 pi f dt."""
    times_s = np.arange(6) * 0.1
    values = np.array([0.0, 1, 1, 1, 1, 1])[:, None]
    filtered = one_euro(times_s, values, cutoff_hz=2.0, slope=0.0)
    ratio = 2 * math.pi * 2.0 * 0.1
    assert_close(filtered[:, 0], 1 - (1 / (1 + ratio)) ** np.arange(6))


def test_one_euro_by_hand() -> None:
    """Three irregular samples; the second step's cutoff rises with the filtered speed."""

    def share(cutoff_hz: float, step_s: float) -> float:
        return 2 * math.pi * cutoff_hz * step_s / (2 * math.pi * cutoff_hz * step_s + 1)

    filtered = one_euro([0.0, 0.1, 0.3], [[0.0], [1.0], [1.5]], cutoff_hz=1.0, slope=0.5)
    speed = share(1.0, 0.1) * 10.0
    first = share(1.0 + 0.5 * speed, 0.1) * 1.0
    speed += share(1.0, 0.2) * ((1.5 - first) / 0.2 - speed)
    second = first + share(1.0 + 0.5 * speed, 0.2) * (1.5 - first)
    assert_close(filtered[:, 0], [0.0, first, second])


def test_savitzky_golay_keeps_polynomials_and_is_the_known_convolution() -> None:
    """A parabola passes; of noise the middle is the published weights' sum."""
    times_s = np.arange(20.0)
    assert_close(savitzky_golay(polynomial(times_s, 2)), polynomial(times_s, 2))
    noise = np.random.default_rng(0).normal(size=20)
    expected = savgol_coeffs(5, 2, use="dot") @ noise[8:13]
    assert_close(savitzky_golay(noise, window=5)[10], expected)
    # Savitzky and Golay's table for five points: -3, 12, 17, 12, -3, over 35
    assert_close(savgol_coeffs(5, 2, use="dot"), np.array([-3, 12, 17, 12, -3]) / 35)


def test_filters_smooth_what_they_interpolate() -> None:
    """On a regular grid "savgol" is the filter and a line to the next sample."""
    times_s = np.arange(9) * 0.5
    values = np.random.default_rng(1).normal(size=(9, 1, 1))
    filtered = savitzky_golay(values)
    result = interpolate(times_s, values, [1.0, 1.25], "savgol")
    assert_close(result.poses[0], filtered[2])
    assert_close(result.poses[1], (filtered[2] + filtered[3]) / 2)
    lagging = one_euro(times_s, values)
    assert_close(interpolate(times_s, values, [2.0], "one_euro").poses[0], lagging[4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], np.zeros((2, 1, 2)), [0.0], "spline"), "'spline' is none of nearest, "),
        (([0.0, 1.0], np.zeros((3, 1, 2)), [0.0]), r"got \(2,\), \(3, 1, 2\) and \(1,\)"),
        (([0.0, 0.0], np.zeros((2, 1, 2)), [0.0]), "must be finite and rise"),
        (([0.0, np.nan], np.zeros((2, 1, 2)), [0.0]), "must be finite and rise"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate(*arguments)
    with pytest.raises(ValueError, match="window must be odd"):
        savitzky_golay(np.zeros(9), window=4)
