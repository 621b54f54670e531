"""Weights: a round trip, and one clear sentence for everything that can be wrong (R4)."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from radar_pose_ros.datasets import mars
from radar_pose_ros.models import densewarper, mixsynthformer, weights
from radar_pose_ros.models.confidence import Calibration
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.training import points

NAME = "millimamba_edge.safetensors"


def describe(**changes: object) -> dict:
    return {
        "training_data": {"name": "simulated", "licence": "Apache-2.0"},
        "git_revision": "0123abc",
        "command": "radar-pose train millimamba",
        "metrics": {"split": "test", "ap": 0.5},
        "heatmap": {"range_first": 31, "range_bins": 64, "chirps": "subsample"},
        **changes,
    }


@pytest.fixture(scope="module")
def network() -> MilliMamba:
    torch.manual_seed(0)
    return MilliMamba(PRESETS["edge"]).eval()


@pytest.fixture
def folder(tmp_path: Path, network: MilliMamba, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights, which the environment variable names."""
    weights.save(network, tmp_path / "weights", "edge", **describe())
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


def rewrite(folder: Path, change: object) -> None:
    """Change the numbers and make the manifest's hash fit again."""
    state = safetensors.torch.load_file(folder / NAME)
    change(state)  # type: ignore[operator]
    content = safetensors.torch.save(state)
    (folder / NAME).write_bytes(content)
    edit(folder, sha256=weights.hashlib.sha256(content).hexdigest())


def edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / weights.MANIFEST).read_text())
    manifest["weights"][0].update(changes)
    (folder / weights.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("by_path", [False, True])
def test_round_trip(folder: Path, network: MilliMamba, by_path: bool) -> None:
    """The loaded network gives the saved one's answer, in half precision's rounding."""
    state, entry = weights.load(folder / NAME if by_path else "edge")
    again = MilliMamba(PRESETS[entry["preset"]]).eval()
    again.load_state_dict(state)
    c = PRESETS["edge"]
    x = torch.randn(1, c.views, c.frames, 2, c.angle_bins, c.doppler_bins, c.range_bins)
    with torch.no_grad():
        torch.testing.assert_close(
            again(x).keypoints, network(x).keypoints, atol=0.5, rtol=0
        )  # px, of 256
    for key, value in network.state_dict().items():
        assert torch.equal(state[key], value.half())
    assert entry["directory"] == str(folder)
    assert entry["heatmap"]["range_first"] == 31
    assert entry["parameters"] == sum(p.numel() for p in network.parameters())


def test_other_networks_are_kept_beside_it(folder: Path) -> None:
    """Of each model in one manifest; who wants one model is told if it is another."""
    torch.manual_seed(0)
    other = mixsynthformer.MixSynthFormer(mixsynthformer.PRESETS["radar_2d"])
    about = describe()
    del about["heatmap"]
    saved = weights.save(other, folder, "radar_2d", **about)
    assert (saved["model"], saved["heatmap"]) == ("mixsynthformer", {})
    assert saved["file"] == "mixsynthformer_radar_2d.safetensors"
    state, entry = weights.load("radar_2d", "mixsynthformer")
    for key, value in other.state_dict().items():
        assert torch.equal(state[key], value.half())
    assert entry["config"]["interval"] == 3
    assert weights.load("edge", "millimamba")[1]["model"] == "millimamba"
    with pytest.raises(weights.WeightsError, match="is a millimamba, not a mixsynthformer"):
        weights.load("edge", "mixsynthformer")
    for model, sentence in (
        ("mixsynthformer", f"'near' in {folder}, of mixsynthformer only radar_2d; a path"),
        ("diffhpe", f"'near' in {folder}, of diffhpe only none; a path"),
        ("", f"'near' in {folder}, only edge, radar_2d; a path"),
    ):
        with pytest.raises(weights.WeightsError, match=f"there are no weights {sentence}"):
            weights.load("near", model)


def test_presets_of_the_same_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says which model gets it; a preset's name alone gives the first."""
    monkeypatch.setitem(mixsynthformer.PRESETS, "edge", mixsynthformer.PRESETS["radar_2d"])
    about = describe()
    del about["heatmap"]
    refines = mixsynthformer.MixSynthFormer(mixsynthformer.PRESETS["edge"])
    weights.save(refines, folder, "edge", **about)
    assert weights.load("edge")[1]["model"] == "millimamba"
    for model in ("millimamba", "mixsynthformer"):
        assert weights.load("edge", model)[1]["model"] == model


def test_the_network_of_weights(folder: Path, network: MilliMamba) -> None:
    made, entry = weights.network("edge", "millimamba")
    assert type(made) is MilliMamba and not made.training
    assert entry["preset"] == "edge" and made.config == PRESETS["edge"]
    for key, value in network.state_dict().items():
        assert torch.equal(made.state_dict()[key], value.half().float())


def test_which_poses_it_learnt_from_is_kept(folder: Path, network: MilliMamba) -> None:
    poses = {"skeleton": "hupr14", "unit": "px", "root_relative": False, "rate_hz": 30}
    weights.save(network, folder, "edge", **describe(), poses=poses)
    assert weights.load("edge")[1]["poses"] == poses
    manifest = folder / weights.MANIFEST
    manifest.write_text(manifest.read_text().replace('"rate_hz": 30', '"rate_hz": "fast"'))
    with pytest.raises(weights.WeightsError, match="entry 0: rate_hz of poses is 'fast'"):
        weights.load("edge")
    manifest.write_text(manifest.read_text().replace('"rate_hz": "fast"', '"rate_hz": 0'))
    with pytest.raises(weights.WeightsError, match="entry 0: rate_hz of poses must be above 0"):
        weights.load("edge")


def test_every_network_has_presets() -> None:
    for model, name in weights.NETWORKS.items():
        module = importlib.import_module(f"radar_pose_ros.models.{model}")
        assert issubclass(getattr(module, name), torch.nn.Module)
        assert module.PRESETS


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    """Half precision ends at 65,504: a count of batches may be above it."""
    network = densewarper.DenseWarper(densewarper.PRESETS["light"])
    counts = [key for key in network.state_dict() if key.endswith("num_batches_tracked")]
    for key in counts:
        network.state_dict()[key].fill_(70_001)
    about = describe()
    del about["heatmap"]
    weights.save(network, tmp_path, "light", **about)
    state, _ = weights.load(tmp_path / "densewarper_light.safetensors")
    assert counts and all(int(state[key]) == 70_001 for key in counts)


def test_saving_again_replaces_the_entry(folder: Path, network: MilliMamba) -> None:
    weights.save(network, folder, "edge", **describe(git_revision="new"))
    entries = weights.read_manifest(folder)
    assert [entry["git_revision"] for entry in entries] == ["new"]
    assert sorted(path.name for path in folder.iterdir()) == [weights.MANIFEST, NAME]


def test_a_calibration_is_kept_if_there_is_one(folder: Path, network: MilliMamba) -> None:
    assert "confidence" not in weights.load("edge")[1]
    calibration = Calibration((0.1, 0.9), (0.0, 0.8))
    weights.save(network, folder, "edge", **describe(confidence=calibration.as_dict()))
    assert Calibration.of_weights(weights.load("edge")[1]) == calibration


def test_how_poses_are_drawn_is_kept_if_they_are(folder: Path, network: MilliMamba) -> None:
    """Both optional entries of networks that draw hypotheses; what is no mapping is refused."""
    assert not {"sampling", "spread"} & weights.load("edge")[1].keys()
    sampling, spread = {"hypotheses": 5, "steps": 10}, {"factors": [1.0, 2.0]}
    weights.save(network, folder, "edge", **describe(sampling=sampling, spread=spread))
    entry = weights.load("edge")[1]
    assert (entry["sampling"], entry["spread"]) == (sampling, spread)
    edit(folder, sampling=5)
    with pytest.raises(weights.WeightsError, match="entry 0: sampling must be a dict"):
        weights.load("edge")


def test_the_manifest_in_the_repository(root: Path) -> None:
    """Every file that it lists is there and loads, and it says how large the networks are."""
    sizes = {}
    for entry in weights.read_manifest(root / "weights"):
        network, loaded = weights.network(root / "weights" / entry["file"])
        assert loaded["sha256"] == entry["sha256"]
        sizes[entry["file"]] = entry["parameters"]
        assert sum(value.numel() for value in network.parameters()) == entry["parameters"]
    assert sizes["diffhpe_wrapper.safetensors"] == 3_749_043  # as published
    assert sizes["mixste_paper.safetensors"] == 539_139


def test_the_shipped_network_of_points(root: Path, shared_data: Path) -> None:
    """What its entry says of where it comes from is so, and it knows the people it learnt from."""
    network, entry = weights.network(root / "weights" / "points_points.safetensors", "points")
    said, metrics = entry["training_data"], entry["metrics"]
    assert said["licence"] == "MIT, (c) 2021 SizheAn"
    assert metrics["split"] == "leave one subject out"
    subjects = [f"{name}_mpjpe_m" for name in said["subjects"]]
    assert metrics["mpjpe_m"] == pytest.approx(np.mean([metrics[s] for s in subjects]), abs=1e-4)
    files = mars.files(shared_data / "radar_points_mars")
    people = [one for path in files.values() for one in mars.load_points(path)]
    assert said["sha256"] == points.digest(people)
    assert said["joints_left_of_points_m"] == pytest.approx(points.aside_m(people), abs=1e-3)
    assert points.mean_error_m(network, people, every=50) < 0.13 < metrics["mpjpe_m"]


def test_axes_are_stated_of_joints_in_space_only(root: Path) -> None:
    for entry in weights.read_manifest(root / "weights"):
        poses = entry.get("poses", {})
        assert poses.get("unit") == "m" or "axes" not in poses, entry["file"]


def test_running_means_are_no_parameters(tmp_path: Path) -> None:
    """A network with batch normalisation holds more numbers than can be trained."""
    network = densewarper.DenseWarper(densewarper.PRESETS["light"])
    about = describe()
    del about["heatmap"]
    entry = weights.save(network, tmp_path, "light", **about)
    held = sum(value.numel() for value in network.state_dict().values())
    assert entry["parameters"] == sum(p.numel() for p in network.parameters()) < held


def test_installed_folder_is_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable it is the share folder, in a source tree the repository's own."""
    monkeypatch.delenv(weights.ENVIRONMENT_VARIABLE)
    share = tmp_path / "share"
    shutil.copytree(folder, share / "weights")
    monkeypatch.setattr(weights.resources, "share_directory", lambda: share)
    assert weights.load("edge")[1]["directory"] == str(share / "weights")


WRONG = {
    "unknown preset": (
        "middle",
        lambda folder: None,
        r"no weights 'middle' in .*, only edge; a path",
    ),
    "no such file": ("/nowhere/x.safetensors", lambda folder: None, "no file of weights /nowhere"),
    "no manifest": ("edge", lambda folder: (folder / "manifest.json").unlink(), "there is no"),
    "broken manifest": (
        "edge",
        lambda folder: (folder / "manifest.json").write_text("{"),
        "is no manifest of weights",
    ),
    "manifest of something else": (
        "edge",
        lambda folder: (folder / "manifest.json").write_text('{"weights": {}}'),
        r"manifest\.json is no manifest of weights: want an object whose 'weights' is a list",
    ),
    "manifest that is a list": (
        "edge",
        lambda folder: (folder / "manifest.json").write_text('[{"model": "millimamba"}]'),
        r"manifest\.json is no manifest of weights: want an object whose 'weights' is a list",
    ),
    "manifest without weights": (
        "edge",
        lambda folder: (folder / "manifest.json").write_text('{"networks": []}'),
        r"manifest\.json is no manifest of weights: want an object whose 'weights' is a list",
    ),
    "field missing": (
        "edge",
        lambda folder: edit(folder, sha256=None),
        "entry 0: sha256 must be a str",
    ),
    "optional field of another kind": (
        "edge",
        lambda folder: edit(folder, confidence=[0.1]),
        "entry 0: confidence must be a dict",
    ),
    "file elsewhere": (
        "edge",
        lambda folder: edit(folder, file="../" + NAME),
        r"entry 0: file wants a file's name without folders, got '\.\./",
    ),
    "baseline elsewhere": (
        "edge",
        lambda folder: edit(folder, baseline="/etc/hostname"),
        "entry 0: baseline wants a file's name without folders",
    ),
    "nested manifest": (
        "edge",
        lambda folder: (folder / "manifest.json").write_text("[" * 3000 + "]" * 3000),
        "is no manifest of weights: .*nested deeper than 64",
    ),
    "numbers of another type": (
        "edge",
        lambda folder: rewrite(
            folder, lambda state: state.update(missing=state["missing"].to(torch.complex64))
        ),
        "missing is of the type torch.complex64, which is not used",
    ),
    "file missing": ("edge", lambda folder: (folder / NAME).unlink(), "is missing, though"),
    "bit flipped": (
        "edge",
        lambda folder: (folder / NAME).write_bytes((folder / NAME).read_bytes()[:-1] + b"x"),
        "is not the file that the manifest lists",
    ),
    "not safetensors": (
        "edge",
        lambda folder: (
            (folder / NAME).write_bytes(b"hello"),
            edit(folder, sha256=weights.hashlib.sha256(b"hello").hexdigest()),
        ),
        "is no safetensors file",
    ),
    "NaN inside": (
        "edge",
        lambda folder: rewrite(folder, lambda state: state["queries"][0, 0].fill_(torch.nan)),
        "queries holds NaN or infinite numbers",
    ),
    "infinity inside": (
        "edge",
        lambda folder: rewrite(folder, lambda state: state["missing"][0].fill_(torch.inf)),
        "missing holds NaN or infinite numbers",
    ),
    "wrong shape": (
        "edge",
        lambda folder: rewrite(folder, lambda state: state.update(missing=torch.zeros(2, 5))),
        r"missing has the shape \(2, 5\), but preset edge wants \(2, 128\)",
    ),
    "unknown key": (
        "edge",
        lambda folder: rewrite(folder, lambda state: state.update(extra=torch.zeros(1))),
        "holds extra, which preset edge has not",
    ),
    "key missing": (
        "edge",
        lambda folder: rewrite(folder, lambda state: state.pop("queries")),
        "lacks queries",
    ),
    "other configuration": (
        "edge",
        lambda folder: edit(folder, config={"frames": 15}),
        "trained with frames = 15, but preset edge has 9",
    ),
    "other model": ("edge", lambda folder: edit(folder, model="vim"), "there is no model 'vim'"),
    "preset gone": (
        "old",
        lambda folder: edit(folder, preset="old"),
        "there is no preset 'old', only " + ", ".join(sorted(PRESETS)),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(folder: Path, name: str) -> None:
    wanted, damage, sentence = WRONG[name]
    damage(folder)
    with pytest.raises(weights.WeightsError, match=sentence) as caught:
        weights.load(wanted)
    assert "\n" not in str(caught.value)


def test_a_file_that_the_manifest_does_not_list(folder: Path) -> None:
    shutil.copy(folder / NAME, folder / "other.safetensors")
    with pytest.raises(weights.WeightsError, match=r"does not list other\.safetensors"):
        weights.load(folder / "other.safetensors")


def test_variable_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, "/nowhere")
    with pytest.raises(weights.WeightsError, match="RADAR_POSE_WEIGHTS names /nowhere"):
        weights.load("edge")


def test_damaged_networks_are_not_saved(tmp_path: Path) -> None:
    network = MilliMamba(PRESETS["edge"])
    torch.nn.init.constant_(network.queries, torch.nan)
    with pytest.raises(weights.WeightsError, match="queries holds NaN"):
        weights.save(network, tmp_path, "edge", **describe())
    assert not list(tmp_path.iterdir())
