"""Which method a pulse is measured with, and what is said if it is not the one wished for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from radar_pose_ros import cli, pulse_methods
from radar_pose_ros.models import weights
from radar_pose_ros.models.physmamba import PRESETS, PhysMamba


def test_the_command_line_knows_them() -> None:
    assert cli.PULSE_METHODS == pulse_methods.METHODS


def test_without_weights_of_the_network_it_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text('{"weights": []}')
    monkeypatch.setenv("RADAR_POSE_WEIGHTS", str(tmp_path))
    method, rate_hz, note = pulse_methods.choose("auto", "", 10.0)
    assert (method.name, method.thumbnail_px, rate_hz) == ("combined", 0, 30.0)
    assert note.startswith("combined, for there are no weights of physmamba: there are no weights")
    for name, named in (("physmamba", ""), ("auto", "edge")):  # who names it wants it
        with pytest.raises(ValueError, match="there are no weights 'edge'"):
            pulse_methods.choose(name, named, 10.0)


def test_colours_alone_need_no_weights() -> None:
    method, _, note = pulse_methods.choose("green", "", 10.0)
    assert (method.name, note) == ("green", "")
    with pytest.raises(ValueError, match="weights are for physmamba, not for pos, got 'edge'"):
        pulse_methods.choose("pos", "edge", 10.0)
    with pytest.raises(ValueError, match=r"must be one of auto, physmamba, .* got 'magic'"):
        pulse_methods.choose("magic", "", 10.0)


def test_a_network_of_named_weights_measures(tmp_path: Path) -> None:
    """It is taken with its own rate, and wants a window that it fits into."""
    torch.manual_seed(0)
    about = {"training_data": {"licence": "none"}, "git_revision": "none", "command": "a test"}
    entry = weights.save(
        PhysMamba(PRESETS["edge"]), tmp_path, "edge", metrics={"split": "none"}, **about
    )
    path = tmp_path / entry["file"]
    method, rate_hz, note = pulse_methods.choose("physmamba", str(path), 6.0)
    assert method.name == f"physmamba/edge@{entry['sha256'][:8]}"
    assert (rate_hz, method.thumbnail_px, note) == (30.0, 32, "")
    with pytest.raises(ValueError, match=r"edge@.* wants a window of 5\.7 s, got 5"):
        pulse_methods.choose("physmamba", str(path), 5.0)
