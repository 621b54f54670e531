"""Trained weights: where they are, and whether they are what they should be.

A folder of weights holds safetensors files and ``manifest.json``, one entry per file:

==================  ===============================================================================
model               which network, one of `NETWORKS`
preset              which of its configurations; also the name by which `load` finds it
config              that configuration, in numbers
file                the safetensors file, beside the manifest
sha256              of that file
parameters          how many parameters the network has, frozen ones among them; running means and
                    the like are none
training_data       what it was trained on, with its "licence"
git_revision        of the program that trained it
command             by which it was made
metrics             what it reached: "split" and the numbers
heatmap             the settings of the heatmap chain that it needs (`HeatmapConfig`); empty if
                    it does not look at heatmaps
baseline            the mean pose of its training set, a file beside it; empty if there is none
confidence          optional: the calibration of its confidence (`confidence.Calibration`)
sampling            optional: how poses are drawn: "hypotheses", and the fields of
                    `diffusion.Sampler`
spread              optional: what the spread of its hypotheses is worth
                    (`hypotheses.SpreadCalibration`)
estimated_spread    optional: what comes on top where a radar network estimated what is lifted
                    (`lifting.EstimatedCalibration`)
poses               optional, for networks that give poses: which they learnt to give, "skeleton",
                    "unit" ("m"; "px" of the rig's image; "share" of an image's sides;
                    "rotation6d", as `skeleton.rotations` writes them), "root_relative" (whether
                    joints are relative to the root) and "rate_hz" (frames per second); optional
                    "axes", of joints in space, where it is known: "world" (z up), "camera"
                    (optical) or "any"
==================  ===============================================================================

Nothing is ever downloaded, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from radar_pose_ros import documents, resources

MANIFEST = "manifest.json"
ENVIRONMENT_VARIABLE = "RADAR_POSE_WEIGHTS"
FIELDS: dict[str, type] = {
    "model": str,
    "preset": str,
    "config": dict,
    "file": str,
    "sha256": str,
    "parameters": int,
    "training_data": dict,
    "git_revision": str,
    "command": str,
    "metrics": dict,
    "heatmap": dict,
    "baseline": str,
}
OPTIONAL_FIELDS: dict[str, type] = {
    "confidence": dict,
    "sampling": dict,
    "spread": dict,
    "estimated_spread": dict,
    "poses": dict,
}
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)
POSES_FIELDS: dict[str, type | tuple[type, ...]] = {
    "skeleton": str,
    "unit": str,
    "root_relative": bool,
    "rate_hz": (int, float),
}
# Which class of which module a model is; its configurations are the module's PRESETS.
NETWORKS = {
    "millimamba": "MilliMamba",
    "points": "PointPose",
    "mars_cnn": "MarsCnn",
    "mixsynthformer": "MixSynthFormer",
    "deciwatch": "DeciWatch",
    "mixste": "MixSTE",
    "diffhpe": "DiffHPE",
    "densewarper": "DenseWarper",
    "pose_resnet": "PoseResNet",
    "physmamba": "PhysMamba",
}


class WeightsError(ValueError):
    """Weights that cannot be used: one sentence that says which, and why."""


def weights_directory() -> Path:
    """Return the folder of the weights that belong to this package.

    It is the one that the environment variable ``RADAR_POSE_WEIGHTS`` names, else ``weights/`` in
    the source tree or in the installation's share folder (`resources.share_directory`).

    Raises
    ------
    WeightsError
        If it does not exist.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        directory = Path(named).expanduser()
        if not directory.is_dir():
            raise WeightsError(f"{ENVIRONMENT_VARIABLE} names {directory}, which is no folder")
        return directory
    try:
        directory = resources.share_directory() / "weights"
    except FileNotFoundError as error:
        raise WeightsError(str(error)) from error
    if not directory.is_dir():
        raise WeightsError(f"there is no folder of weights, {directory}")
    return directory


def read_manifest(directory: Path) -> list[dict[str, Any]]:
    """Return the entries of a folder's manifest.

    Raises
    ------
    WeightsError
        If it is missing or is no manifest; names the entry and the field.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise WeightsError(f"there is no {path}")
    try:
        manifest = documents.read_json(path)
    except (documents.DocumentError, OSError) as error:
        raise WeightsError(f"{path} is no manifest of weights: {error}") from error
    entries = manifest.get("weights") if isinstance(manifest, dict) else None
    if not isinstance(entries, list):
        raise WeightsError(
            f"{path} is no manifest of weights: want an object whose 'weights' is a list"
        )
    for number, entry in enumerate(entries):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict):
            raise WeightsError(f"{where} is no mapping")
        present = {k: v for k, v in OPTIONAL_FIELDS.items() if k in entry}
        for field, kind in {**FIELDS, **present}.items():
            if not isinstance(entry.get(field), kind) or isinstance(entry[field], bool):
                raise WeightsError(f"{where}: {field} must be a {kind.__name__}")
        for field in ("file", "baseline"):
            if entry[field] and not _is_name(entry[field]):
                raise WeightsError(
                    f"{where}: {field} wants a file's name without folders, got "
                    f"{entry[field]!r:.80}"
                )
        if "poses" in entry:
            for field, kinds in POSES_FIELDS.items():
                if not isinstance(value := entry["poses"].get(field), kinds):
                    raise WeightsError(f"{where}: {field} of poses is {value!r:.80}")
            if not 0 < entry["poses"]["rate_hz"] < math.inf:
                raise WeightsError(f"{where}: rate_hz of poses must be above 0")
    return entries


def _is_name(text: str) -> bool:
    return Path(text).name == text and "\0" not in text and text != ".."


def load(name: str | Path, model: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a network's weights, checked, and what the manifest says of them.

    Parameters
    ----------
    name : str or Path
        A preset's name, to be looked up in `weights_directory`, or the path of a safetensors file
        with a manifest beside it.
    model : str
        Which network it must be, one of `NETWORKS`; any if empty.

    Returns
    -------
    state : dict of str to Tensor
        For ``load_state_dict``.
    entry : dict
        The manifest's entry, and "directory", the folder that it was found in.

    Raises
    ------
    WeightsError
        If the file is missing or not listed, has another hash than the manifest says, holds NaN
        or infinite numbers, is of another model, or does not fit the network of that preset.
    """
    directory, entry = _find(str(name), model)
    path = directory / entry["file"]
    if model and entry["model"] != model:
        raise WeightsError(f"{path} is a {entry['model']}, not a {model}")
    if not path.is_file():
        raise WeightsError(f"{path} is missing, though {directory / MANIFEST} lists it")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise WeightsError(
            f"{path} is not the file that the manifest lists: its SHA-256 begins with "
            f"{digest[:12]}, not {entry['sha256'][:12]}"
        )
    try:
        state = safetensors.torch.load(content)
    except Exception as error:  # of types that it does not know the library raises KeyError
        said = documents.shortened(error)
        raise WeightsError(f"{path} is no safetensors file: {said}") from error
    _check_fit(state, entry, path)
    return state, {**entry, "directory": str(directory)}


def network(name: str | Path, model: str = "") -> tuple[Any, dict[str, Any]]:
    """Return a trained network, ready for use, and what the manifest says of it.

    Parameters are those of `load`.

    Returns
    -------
    network : nn.Module
        Of the class of `NETWORKS`, in float32 on the CPU, in evaluation mode.
    entry : dict

    Raises
    ------
    WeightsError
        As `load`.
    """
    state, entry = load(name, model)
    module: Any = importlib.import_module(f"radar_pose_ros.models.{entry['model']}")
    made = getattr(module, NETWORKS[entry["model"]])(module.PRESETS[entry["preset"]])
    made.load_state_dict(state)
    return made.eval(), entry


def save(
    network: nn.Module,
    directory: Path,
    preset: str,
    *,
    training_data: Mapping[str, Any],
    git_revision: str,
    command: str,
    metrics: Mapping[str, Any],
    heatmap: Mapping[str, Any] | None = None,
    baseline: str = "",
    confidence: Mapping[str, Any] | None = None,
    sampling: Mapping[str, Any] | None = None,
    spread: Mapping[str, Any] | None = None,
    poses: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``<model>_<preset>.safetensors`` and its entry in the folder's manifest.

    Numbers are stored in half precision, which takes half the space, but for whole ones; a network
    that loads them computes in its own.

    An entry of the same file is replaced; the others stay.

    Parameters
    ----------
    network : nn.Module
        Of one of the classes of `NETWORKS`.
    directory : Path
        Made if it does not exist.
    preset : str
        Name of the network's configuration.
    training_data, git_revision, command, metrics, heatmap, baseline
        See the module.
    confidence, sampling, spread, poses : dict, optional
        See the module.

    Returns
    -------
    dict
        The entry.

    Raises
    ------
    WeightsError
        If there is no such model, or the network is not of that preset or holds NaN or infinite
        numbers.
    """
    kind = type(network).__name__
    model = {name: model for model, name in NETWORKS.items()}.get(kind, kind)
    config: Any = network.config
    optional = {
        "confidence": confidence,
        "sampling": sampling,
        "spread": spread,
        "poses": poses,
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{model}_{preset}.safetensors"
    state = {key: _stored(value) for key, value in network.state_dict().items()}
    content = safetensors.torch.save(state)
    entry: dict[str, Any] = {
        "model": model,
        "preset": preset,
        "config": _plain(asdict(config)),
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(value.numel() for value in network.parameters()),
        "training_data": dict(training_data),
        "git_revision": git_revision,
        "command": command,
        "metrics": dict(metrics),
        "heatmap": dict(heatmap or {}),
        "baseline": baseline,
        **{name: dict(value) for name, value in optional.items() if value},
    }
    _check_fit(state, entry, path)
    listed = read_manifest(directory) if (directory / MANIFEST).is_file() else []
    listed = [other for other in listed if other["file"] != path.name]
    _replace(path, content)
    text = json.dumps({"weights": [*listed, entry]}, indent=2) + "\n"
    _replace(directory / MANIFEST, text.encode())
    return entry


def _find(name: str, model: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the entry that a user means."""
    if name.endswith(".safetensors") or os.sep in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise WeightsError(f"there is no file of weights {path}")
        directory = path.parent
        matches = [entry for entry in read_manifest(directory) if entry["file"] == path.name]
        if not matches:
            raise WeightsError(f"{directory / MANIFEST} does not list {path.name}")
    else:
        directory = weights_directory()
        entries = read_manifest(directory)
        matches = [entry for entry in entries if entry["preset"] == name]
        # of networks whose presets have the same name, the one that is asked for
        matches = [entry for entry in matches if entry["model"] == model] or matches
        if not matches:
            fitting = [e["preset"] for e in entries if model in ("", e["model"])]
            there = ", ".join(sorted(fitting)) or "none"
            raise WeightsError(
                f"there are no weights {name!r} in {directory}, {f'of {model} ' if model else ''}"
                f"only {there}; a path to a .safetensors file is allowed too"
            )
    return directory, matches[0]


def _check_fit(state: Mapping[str, Tensor], entry: Mapping[str, Any], path: Path) -> None:
    """Raise `WeightsError` unless the numbers are finite and those of the preset's network."""
    if entry["model"] not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise WeightsError(f"{path}: there is no model {entry['model']!r}, only {known}")
    module: Any = importlib.import_module(f"radar_pose_ros.models.{entry['model']}")
    presets: Mapping[str, Any] = module.PRESETS
    if entry["preset"] not in presets:
        raise WeightsError(
            f"{path}: there is no preset {entry['preset']!r}, only {', '.join(sorted(presets))}"
        )
    config = _plain(asdict(presets[entry["preset"]]))
    for field, value in entry["config"].items():
        if config.get(field) != value:
            raise WeightsError(
                f"{path} was trained with {field} = {value!r}, but preset {entry['preset']} has "
                f"{config.get(field)!r}: train it anew"
            )
    kind = getattr(module, NETWORKS[entry["model"]])
    expected = _shapes(kind, presets[entry["preset"]])
    for key in sorted(expected.keys() - state.keys()):
        raise WeightsError(f"{path} lacks {key}, which preset {entry['preset']} has")
    for key, tensor in state.items():
        if key not in expected:
            raise WeightsError(f"{path} holds {key}, which preset {entry['preset']} has not")
        if tuple(tensor.shape) != expected[key]:
            raise WeightsError(
                f"{path}: {key} has the shape {tuple(tensor.shape)}, but preset {entry['preset']} "
                f"wants {expected[key]}"
            )
        if tensor.dtype not in _TYPES:
            raise WeightsError(f"{path}: {key} is of the type {tensor.dtype}, which is not used")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {key} holds NaN or infinite numbers")


def _shapes(kind: type[nn.Module], config: Any) -> dict[str, tuple[int, ...]]:
    # Not on the device "meta": what torch imports for that takes seconds on a small computer.
    with torch.random.fork_rng(devices=[]):
        state = kind(config).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value.half() if value.is_floating_point() else value


def _plain(value: Any) -> Any:
    """Return what JSON would make of it: lists for tuples."""
    return json.loads(json.dumps(value))


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is never there by half."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)
