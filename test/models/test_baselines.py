"""The mean-pose baseline on echoes whose place is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.models.baselines import MeanPoseBaseline, strongest_return
from radar_pose_ros.radar.heatmap import angle_transform
from radar_pose_ros.skeleton.projection import project

FIRST_M, STEP_M = 1.33, 0.043


def echo(angle_bin: int, range_bin: int, bins: int = 64, gain: float = 1.0) -> np.ndarray:
    """A heatmap with one strong return in weak noise, in the middle of a bin of 64."""
    rng = np.random.default_rng(angle_bin * 1000 + range_bin)
    antennas = rng.standard_normal((12, 8, 64, 2)) @ [1, 1j] * 0.01
    sine = (angle_bin - 32) / 32
    x = np.array([0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7])  # from the board's drawing
    antennas[:, 3, range_bin] += 5j * np.exp(1j * np.pi * x * sine)
    return gain * angle_transform(antennas.astype(np.complex64), bins)


def samples(frames: int, rng: np.random.Generator, pose_m: np.ndarray) -> list:
    """People of one pose whose strongest return is where the radars see it."""
    found = []
    for _ in range(frames):
        left, up, distance = rng.integers(20, 44), rng.integers(20, 44), rng.integers(5, 60)
        heatmaps = echo(left, distance), echo(up, distance, gain=100)
        place_m = strongest_return(*heatmaps, FIRST_M, STEP_M)
        found.append((*heatmaps, project(place_m + pose_m)))
    return found


def test_strongest_return_closed_form() -> None:
    """Bin 40 of 64 is a sine of 1/4, bin 24 of -1/4: to the left and below the camera."""
    place_m = strongest_return(echo(40, 30), echo(24, 30, gain=1000), FIRST_M, STEP_M)
    range_m = FIRST_M + 30 * STEP_M
    expected = [range_m * np.sqrt(1 - 2 / 16), range_m / 4, 1 - range_m / 4]
    assert_close(place_m, expected)
    # half the bins: the same angle
    place_m = strongest_return(echo(40, 30, 32), echo(24, 30, 32), FIRST_M, STEP_M)
    assert_close(place_m, expected)


def test_prediction_is_exact_if_everyone_has_one_pose(rng: np.random.Generator) -> None:
    """A flat pose, beside its strongest return by a constant offset, at any distance."""
    pose_m = np.concatenate((np.zeros((14, 1)), rng.uniform(-0.8, 0.8, (14, 2))), axis=1)
    baseline = MeanPoseBaseline.fit(samples(20, rng, pose_m), FIRST_M, STEP_M)
    assert baseline.frames == 20
    assert_close(baseline.offsets_m, -pose_m[:, 1:])
    for heatmap_h, heatmap_v, keypoints_px in samples(5, rng, pose_m):
        assert_close(baseline.predict(heatmap_h, heatmap_v), keypoints_px)


def test_mean_of_two_poses(rng: np.random.Generator) -> None:
    lower = np.tile([0.0, 0.1, -0.2], (14, 1))
    both = samples(1, rng, lower) + samples(1, rng, 3 * lower)
    baseline = MeanPoseBaseline.fit(both, FIRST_M, STEP_M)
    assert_close(baseline.offsets_m, np.tile([-0.2, 0.4], (14, 1)))


def test_round_trip(tmp_path: Path, rng: np.random.Generator) -> None:
    """By path, and by the entry of the weights beside which it lies."""
    baseline = MeanPoseBaseline.fit(samples(3, rng, np.zeros((14, 3))), FIRST_M, STEP_M)
    baseline.save(tmp_path / "mean_pose.json")
    assert MeanPoseBaseline.load(tmp_path / "mean_pose.json") == baseline
    entry = {"file": "x", "directory": str(tmp_path), "baseline": "mean_pose.json"}
    assert MeanPoseBaseline.load(entry) == baseline


def test_no_echo_no_pose() -> None:
    nothing = np.zeros((64, 8, 64), np.complex64)
    baseline = MeanPoseBaseline(((0.0, 0.0),) * 14, FIRST_M, STEP_M, 1)
    assert np.isnan(baseline.predict(nothing, echo(32, 32))).all()
    # angles whose sines exclude each other point nowhere
    assert np.isnan(baseline.predict(echo(0, 32), echo(63, 32))).all()
    with pytest.raises(ValueError, match="no frame with an echo"):
        MeanPoseBaseline.fit([(nothing, nothing, np.zeros((14, 2)))], FIRST_M, STEP_M)


def test_frames_with_the_strongest_return_at_no_distance_are_left_out(rng) -> None:
    """They have no place in the image, and would make every joint of the mean NaN."""
    pose_m = np.tile([0.0, 0.1, -0.2], (14, 1))
    usual = samples(2, rng, pose_m)
    near = (echo(32, 0), echo(32, 0), np.full((14, 2), 128.0))
    baseline = MeanPoseBaseline.fit([near, *usual], 0.0, STEP_M)
    assert baseline.frames == 2
    assert np.isfinite(baseline.offsets_m).all()
    assert np.isnan(baseline.predict(*near[:2])).all()


@pytest.mark.parametrize("text", ["{", "[]", '{"offsets_m": [[0, 1]]}', '{"offsets_m": [[0]]}'])
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mean_pose.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mean_pose\.json does not hold a mean pose"):
        MeanPoseBaseline.load(path)
    with pytest.raises(FileNotFoundError, match="there is no baseline"):
        MeanPoseBaseline.load(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError, match="come with no baseline"):
        MeanPoseBaseline.load({"file": "x.safetensors", "baseline": ""})
