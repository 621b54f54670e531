"""Weights: the manifest and, behind a zero byte, the safetensors file that it speaks of.

Where the manifest says ``HASH`` the file's own hash is put, or nothing would get past it. Networks
have but two parameters here, or no input would be small enough.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any
from unittest import mock

import torch
from fuzz.material import folder, refusal

from radar_pose_ros.models import mars_cnn, weights

_FILE = "fuzz.safetensors"


def one_input(data: bytes) -> None:
    """Load the file that the manifest lists; what is loaded is finite and fits its network."""
    manifest, _, content = data.partition(b"\0")
    manifest = manifest.replace(b"HASH", hashlib.sha256(content).hexdigest().encode())
    found: dict[str, Any] = {}
    with folder() as here, mock.patch.object(weights, "_shapes", return_value={"a": (2,)}):
        (here / weights.MANIFEST).write_bytes(manifest)
        (here / _FILE).write_bytes(content)
        refused = refusal(
            lambda: found.update(zip(("state", "entry"), weights.load(here / _FILE), strict=True)),
            weights.WeightsError,
        )
        assert not refused or str(here) in refused, f"names no file: {refused}"
    if found:
        assert all(bool(torch.isfinite(value).all()) for value in found["state"].values())
        assert {*weights.FIELDS} <= {*found["entry"]}
        assert found["entry"]["sha256"] == hashlib.sha256(content).hexdigest()


def _entry(**changes: Any) -> dict[str, Any]:
    made = {
        "model": "mars_cnn",
        "preset": next(iter(mars_cnn.PRESETS)),
        "config": {},
        "file": _FILE,
        "sha256": "HASH",
        "parameters": 1,
        "training_data": {"licence": "none"},
        "git_revision": "unknown",
        "command": "radar-pose train",
        "metrics": {"split": "test"},
        "heatmap": {},
        "baseline": "",
        "poses": {"skeleton": "kinect25", "unit": "m", "root_relative": False, "rate_hz": 10.0},
    }
    return made | changes


def _stored(tensors: dict[str, Any], content: bytes) -> bytes:
    head = json.dumps(tensors).encode()
    return struct.pack("<Q", len(head)) + head + content


def seeds() -> dict[str, bytes]:
    """Manifests with a file of two numbers."""
    two = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}
    stored = _stored({"a": two, "__metadata__": {"format": "pt"}}, bytes(4))

    def manifest(**changes: Any) -> bytes:
        return json.dumps({"weights": [_entry(**changes)]}).encode() + b"\0" + stored

    return {
        "whole": manifest(),
        "other_model": manifest(model="points", preset="points"),
        "wrong_hash": manifest(sha256="0" * 64),
        "nan": manifest(confidence={}, sampling={"hypotheses": 5}, spread={"a": 1.0}),
    }
