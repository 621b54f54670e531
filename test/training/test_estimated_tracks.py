"""What the pose network says of simulated people, as tracks."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.simulation.body import SPLITS, random_sequence
from radar_pose_ros.skeleton.projection import project
from radar_pose_ros.training import estimated_tracks
from radar_pose_ros.training.pose_tracks import TrackBatches, TrackData

EVERY = 3  # frames of 30 Hz from radar frame to radar frame
HALF_WINDOW = 4  # of the nine radar frames that the network looks at


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("estimated")


load = partial(
    estimated_tracks.load, split="test", count=1, seconds=2.5, rate_hz=30.0, seed=7, report=len
)


@pytest.fixture(scope="module")
def track(root):
    (track,) = load(root)
    return track


def test_truth_is_the_simulated_movement(track):
    """At every frame from the first estimate to the last; estimates at the radars' frames."""
    stream = np.random.SeedSequence([estimated_tracks._STREAM, 7, SPLITS.index("test"), 0])
    clip = random_sequence(np.random.default_rng(stream), 2.5, 10.0, "test")
    frames = len(clip.times_s) - 2 * HALF_WINDOW
    assert len(track) == EVERY * (frames - 1) + 1
    inner = slice(HALF_WINDOW, HALF_WINDOW + frames)
    assert_close(track.truth[::EVERY], project(clip.joints_m[inner]).astype(np.float32))
    known = np.isfinite(track.detected).all(axis=(1, 2))
    assert np.flatnonzero(known).tolist() == list(range(0, len(track), EVERY))
    assert (track.skeleton, track.unit, track.rate_hz) == ("hupr14", "px", 30.0)


def test_estimates_are_the_networks(track):
    """Far better than a guess: the middle of the image is some 40 px away."""
    error_px = np.linalg.norm(track.detected - track.truth, axis=-1)[::EVERY]
    assert np.median(error_px) < 15


def test_movements_shorter_than_the_networks_window_are_refused(tmp_path):
    sentence = "seconds 0.2 at 10 Hz are 2 frames, fewer than the 9 of a window: want at least 0.9"
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path, seconds=0.2)


def test_what_is_kept_is_not_made_again(root, track, monkeypatch):
    monkeypatch.setattr(estimated_tracks, "_estimates", None)
    (again,) = load(root)
    np.testing.assert_array_equal(again.truth, track.truth)
    with pytest.raises(ValueError, match=r"00000\.npz was made with seed 7, .*, not seed 8"):
        load(root, seed=8)
    path = root / "test" / "00000.npz"
    kept = dict(np.load(path))
    np.savez(path, **(kept | {"truth": kept["truth"] + 1}))
    with pytest.raises(ValueError, match="a movement of another version"):
        load(root)
    np.savez(path, **kept)
    with pytest.raises(ValueError, match="no multiple of the radars' 10"):
        load(root, rate_hz=25.0)


def test_windows_begin_at_an_estimate(track):
    class Config:
        frames, interval, segments = 7, EVERY, 2

    data = TrackData(30.0, image=True, turned=False, mirrored=False)
    batch = TrackBatches([track], Config, 20, data, seed=0)(0)
    seen = track.detected[::EVERY]
    for keyframes in batch.keyframes.numpy():
        place = int(np.abs(seen - keyframes[0]).sum(axis=(1, 2)).argmin())
        np.testing.assert_array_equal(keyframes, seen[place : place + 3])
