"""What docs/python.md and docs/command_line.md show in Python runs, and gives what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from radar_pose_ros import cli
from radar_pose_ros.models.hypotheses import squared_distance

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shown(root):
    """All names after the last block."""
    blocks = BLOCK.findall((root / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 5
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_refined_frames(shown) -> None:
    """As many, and as far off, as the page says; what was not seen lies between two sightings."""
    frames, truth_m = shown["frames"], shown["truth_m"][:118]
    assert shown["truth_m"].shape == (120, 17, 3)
    assert frames.poses.shape == (118, 17, 3)
    np.testing.assert_allclose(frames.times_s, np.arange(118) / 30)
    assert frames.origin[36, 3] == 1 and frames.origin[36, 4] == 0
    off_m = {
        name: np.linalg.norm(shown[name].poses - truth_m, axis=-1).mean()
        for name in ("frames", "lines")
    }
    assert off_m["frames"] == pytest.approx(0.028, abs=1e-3)
    assert off_m["lines"] == pytest.approx(0.050, abs=1e-3)


def test_lifted_and_placed(shown) -> None:
    """Placed 2.6 m away with 1 px of noise; wider for the radar network's joints."""
    lifter, lifted = shown["lifter"], shown["lifted"]
    assert (lifter.frames, lifter.rate_hz, lifter.calibration.level) == (27, 30.0, 0.9)
    assert lifted.poses_m.shape == (1, 27, 17, 3)
    assert lifted.covariance_m2.shape == (1, 27, 17, 3, 3)
    assert np.linalg.eigvalsh(shown["covariance_m2"]).min() > 0
    assert shown["off_m"].shape == (17,) and shown["off_m"].max() < 0.15
    relative_m = shown["truth_m"][:27] - shown["truth_m"][:27, :1]
    squared = squared_distance(lifted.poses_m[0] - relative_m, lifted.covariance_m2[0])
    assert (squared[:, 1:] < chi2.ppf(0.9, 3)).mean() > 0.9
    of_radars = lifter.lift(shown["pixels"][None], shown["size_px"], model="millimamba/edge")
    wider = of_radars.covariance_m2 - lifted.covariance_m2
    assert np.linalg.eigvalsh(wider[:, :, 1:]).max(-1).min() > 0


def test_hypotheses(shown) -> None:
    """Five, which are not the same; their mean is near that of the five that `lift` drew."""
    poses_m = shown["hypotheses_m"]
    assert poses_m.shape == (1, 5, 27, 17, 3)
    assert poses_m.std(axis=1).max() > 1e-3
    apart_m = np.abs(poses_m.mean(axis=1) - shown["lifted"].poses_m).mean()
    assert apart_m < poses_m.std(axis=1).mean()


def test_the_drawn_video_has_the_pulse_that_the_page_says(root, tmp_path, monkeypatch):
    text = (root / "docs" / "command_line.md").read_text(encoding="utf-8")
    [block] = [block for block in BLOCK.findall(text) if "write_video" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/command_line.md", "exec"), {})
    assert cli.main(["video", "face.avi", "--out", "pulse", "--no-overlay"]) == 0
    [face] = json.loads(Path("pulse/summary.json").read_text())["faces"]
    assert face["heart_rate_bpm"]["median"] == pytest.approx(72, abs=3)
    assert Path("face.csv").read_text().startswith("time_s,pulse_0,heart_rate_bpm_0,")
