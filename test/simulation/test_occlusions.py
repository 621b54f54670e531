"""DiffHPE's patterns of missing joints, at its 27 frames."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.simulation.occlusions import PATTERNS, occlude

LEG = [1, 2, 3]
ARM_AND_LEG = [1, 2, 3, 11, 12, 13]


def windows(pattern: str, count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([occlude(np.ones((27, 17, 2)), pattern, rng) for _ in range(count)])


def missing(pattern: str) -> np.ndarray:
    made = windows(pattern)
    assert (np.isnan(made).any(-1) == np.isnan(made).all(-1)).all()
    assert np.nanmin(made) == np.nanmax(made) == 1
    return np.isnan(made).any(-1)


def test_random() -> None:
    assert missing("random").mean() == pytest.approx(0.2, rel=0.02)


def test_frames() -> None:
    flags = missing("frames")
    assert (flags.all(-1) == flags.any(-1)).all()
    gone = flags.all(-1)
    assert (gone.sum(-1) == 5).all()
    first = gone.argmax(-1)
    assert all(gone[k, first[k] : first[k] + 5].all() for k in range(len(gone)))
    assert set(first) == set(range(23))


def test_right_leg() -> None:
    flags = missing("right_leg")
    assert not np.delete(flags, LEG, axis=-1).any()
    gone = flags[..., LEG].all(-1)
    assert (gone == flags[..., LEG].any(-1)).all() and (gone.sum(-1) == 10).all()
    first = gone.argmax(-1)
    assert all(gone[k, first[k] : first[k] + 10].all() for k in range(len(gone)))


def test_left_arm_and_right_leg() -> None:
    flags = missing("left_arm_right_leg")
    assert not np.delete(flags, ARM_AND_LEG, axis=-1).any()
    gone = flags[..., ARM_AND_LEG].all(-1)
    assert (gone == flags[..., ARM_AND_LEG].any(-1)).all() and (gone.sum(-1) == 10).all()
    # anywhere: each frame as likely
    np.testing.assert_allclose(gone.mean(0), 10 / 27, atol=0.15)


def test_noise_is_in_pixels() -> None:
    errors = windows("noisy") - 1
    assert errors.std() == pytest.approx(5.0, rel=0.02) and np.isfinite(errors).all()
    rng = np.random.default_rng(0)
    assert occlude(np.zeros((27, 17, 2)), "noisy", rng, noise_px=0.0).max() == 0


def test_all_is_each_of_them() -> None:
    made = windows("all", 1000)
    flags = np.isnan(made).any(-1)
    noisy = (made.std(axis=(1, 2, 3)) > 1) & ~flags.any((1, 2))
    frames = (flags.all(-1).sum(-1) == 5) & (flags.sum((1, 2)) == 85)
    leg = (flags[..., LEG].all(-1).sum(-1) == 10) & (flags.sum((1, 2)) == 30)
    both = (flags[..., ARM_AND_LEG].all(-1).sum(-1) == 10) & (flags.sum((1, 2)) == 60)
    each = [kind.mean() for kind in (noisy, frames, leg, both)]
    np.testing.assert_allclose([*each, 1 - sum(each)], 0.2, atol=0.04)


def test_input_is_kept_and_checked() -> None:
    keypoints = np.ones((27, 17, 2))
    for pattern in PATTERNS:
        first, again = (occlude(keypoints, pattern, np.random.default_rng(1)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
    assert (keypoints == 1).all()
    with pytest.raises(ValueError, match="unknown pattern 'structured', there are random, frames"):
        occlude(keypoints, "structured", np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"h36m17 wants \(frames, 17, 2\), got \(27, 14, 2\)"):
        occlude(np.ones((27, 14, 2)), "random", np.random.default_rng(0))
