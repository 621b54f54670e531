"""Offsets of clocks: in simulated rigs, where they are known, and in a published recording."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import ViewShots
from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.multiview import offsets

LATE_S = (0.0, 0.31, -0.17, 0.05)
NOTHING_GIVEN = {"a": 0.0, "b": 0.0}


def late(views: Sequence[ViewShots], late_s: Sequence[float]) -> list[ViewShots]:
    """Clocks that do not know by how much their cameras are late."""
    return [replace(v, stamps_s=v.stamps_s - s) for v, s in zip(views, late_s, strict=True)]


@pytest.mark.parametrize("shutters", ["synchronous", "interleaved"])
@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_perfect_detectors_know_the_time(names: str, shutters: str) -> None:
    """To 2 ms of 67 ms between shots, also if the clocks begin in 1970."""
    rig = SimulatedRig(tuple(names), clip_s=8.0, shutters=shutters, detector="perfect")
    views = late(rig.recording(0).views, LATE_S[: len(names)])
    np.testing.assert_allclose(offsets.find(views), LATE_S[: len(names)], atol=0.002)
    views = late(views, [-1.7e9] * len(names))
    np.testing.assert_allclose(offsets.find(views), LATE_S[: len(names)], atol=0.002)


def test_what_cannot_be_found_is_said() -> None:
    views = SimulatedRig(("a", "b"), clip_s=8.0, detector="perfect").recording(0).views
    with pytest.raises(ValueError, match=r"no offsets within 0\.5 s of a fit much better"):
        offsets.find(late(views, (0.0, 0.8)))
    with pytest.raises(ValueError, match="a: 5 frames are too few for an offset"):
        offsets.find([views[0].only(range(5)), views[1]])
    with pytest.raises(ValueError, match="a and b never saw the same joints"):
        offsets.find(late(views, (0.0, 100.0)))
    with pytest.raises(ValueError, match=r"; the times of b are -.* s, of a are \d"):
        offsets.find(late(views, (0.0, 100.0)))
    assert offsets.doubt(late(views, (0.0, 100.0)), NOTHING_GIVEN) == ""
    together = [replace(view, camera=views[0].camera) for view in views]
    with pytest.raises(ValueError, match="never saw the same joints"):
        offsets.find(together)


def test_the_clocks_of_a_real_recording(shared_data: Path) -> None:
    """The balancing trial's cameras fired together: within 0.03 s, also with one 0.2 s late."""
    session = shared_data / "multiview_pose2sim"
    trial = session / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
    if not trial.is_dir():
        pytest.skip(f"needs the recording in {trial}")
    views = list(pose2sim.load(trial).views)
    np.testing.assert_allclose(offsets.find(views), 0.0, atol=0.03)
    given_s = {"cam01": 0.0, "cam02": 0.0, "cam03": -1.5, "cam04": 0.0}
    assert offsets.doubt(views, given_s) == ""
    views[1] = replace(views[1], stamps_s=views[1].stamps_s - 0.2)
    np.testing.assert_allclose(offsets.find(views), [0.0, 0.2, 0.0, 0.0], atol=0.03)
    said = offsets.doubt(views, given_s)
    assert re.search(r"other clocks, --offsets cam02=0\.\d+ cam03=-1\.5: check", said)
