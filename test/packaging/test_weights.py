"""The weights in the repository are those that the manifest describes: all of them, no others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "weights"
PARAMETERS = ROOT / "config" / "parameters"
MAX_FILE_BYTES = 50_000_000
ENTRIES = json.loads((FOLDER / "manifest.json").read_text())["weights"]


def test_the_network_of_the_demo_is_there() -> None:
    """`make demo` needs milliMamba's edge preset."""
    assert ("millimamba", "edge") in {(entry["model"], entry["preset"]) for entry in ENTRIES}


def test_hashes_are_those_of_the_files() -> None:
    """A file that was trained again without a new entry is noticed."""
    for entry in ENTRIES:
        content = (FOLDER / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]
        assert len(content) < MAX_FILE_BYTES, f"{entry['file']} is too large for a repository"


def test_every_entry_says_where_it_comes_from() -> None:
    """Data with its licence, the program's revision, the command, the metric and its split."""
    for entry in ENTRIES:
        assert entry["training_data"]["licence"], entry["file"]
        assert entry["git_revision"], entry["file"]
        assert entry["command"], entry["file"]
        assert entry["metrics"]["split"], entry["file"]


@pytest.mark.parametrize("path", sorted(PARAMETERS.glob("*.yaml")), ids=lambda path: path.stem)
def test_default_weights_of_nodes_are_there(path: Path) -> None:
    """A node that is started by itself finds what it asks for, or does without."""
    declared = yaml.safe_load(path.read_text("utf-8")).get("weights", {"default": ""})
    assert declared["default"] in {"", *(entry["preset"] for entry in ENTRIES)}


def test_every_file_is_in_the_manifest() -> None:
    """Nothing lies in the folder that nobody vouches for."""
    known = {entry[key] for entry in ENTRIES for key in ("file", "baseline") if entry[key]}
    files = {path.name for path in FOLDER.iterdir() if path.suffix not in {".json", ".md"}}
    assert files == {name for name in known if not name.endswith(".json")}
    assert all((FOLDER / name).is_file() for name in known)
