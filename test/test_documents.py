"""YAML and JSON of others: what is read of them, and what is too much."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from radar_pose_ros import documents
from radar_pose_ros.documents import DEEPEST, DocumentError, parse_yaml, read_json, read_yaml

# Each name stands for ten of the one before: together for ten thousand million texts.
LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)
LONG = "a: &a '" + "x" * 100_000 + "'\nb: [" + ", ".join(["*a"] * 1000) + "]\n"


def test_what_yaml_says(tmp_path: Path) -> None:
    """As PyYAML reads it, names among it, and a byte-order mark passed over."""
    text = "a: &a {x: [1, 2.5, true, null]}\nb: *a\nc: {<<: *a, y: ü}\n"
    (tmp_path / "a.yaml").write_text("\ufeff" + text, "utf-8")
    wanted = {"a": {"x": [1, 2.5, True, None]}, "b": {"x": [1, 2.5, True, None]}}
    wanted |= {"c": {"x": [1, 2.5, True, None], "y": "ü"}}
    assert read_yaml(tmp_path / "a.yaml") == wanted == yaml.safe_load(text)
    assert parse_yaml("") is None and parse_yaml("# nothing") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LAUGHS, "more than 1048576 entries come of it"),
        (MERGES, "more than 1048576 entries come of it"),
        (LONG, "more than 1048576 entries come of it"),
        ("a: &a [*a]", f"nested deeper than {DEEPEST}"),
        ("a: &a {b: *a}", f"nested deeper than {DEEPEST}"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"nested deeper than {DEEPEST}"),
        ("[" * 100_000, f"nested deeper than {DEEPEST}"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: !!bool maybe", "maybe"),
        ("a: !!timestamp never", "NoneType"),
        ("a: " + "1" * 5000, "a number of 5000 characters"),
        ("a: 1" + ":1" * 5000, "a number of 10001 characters"),
        ("a: !!python/object/apply:os.getpid []", "could not determine a constructor"),
        ("a: [1", "expected ',' or ']'"),
        ("- x\n" * 300_000, "longer than 1048576 bytes"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """One sentence with the file's name, and within seconds."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    begin_s = time.process_time()
    with pytest.raises(DocumentError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value) and sentence in str(caught.value)
    assert len(str(caught.value)) < 600
    assert time.process_time() - begin_s < 5.0


def test_deep_but_allowed() -> None:
    """A text of the depth that is allowed is read, whoever named parts of it."""
    value = parse_yaml("[" * DEEPEST + "]" * DEEPEST)
    for _ in range(DEEPEST - 1):
        (value,) = value
    assert value == []


def test_json(tmp_path: Path) -> None:
    """What it says, or why not."""
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, "\xc3\xbc", {}]}')
    assert read_json(path) == {"a": [1, 2.5, "ü", {}]}
    for content, sentence in (
        (b"[" * 100_000, "nested deeper"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested deeper"),
        (b'{"a": ' * 300 + b"1" + b"}" * 300, "nested deeper"),
        (b"\xff\xfe", "'utf-8' codec"),
        (b"[1, 2", "Expecting"),
        (b"1" * 5000, "4300"),
    ):
        path.write_bytes(content)
        with pytest.raises(DocumentError, match=sentence) as caught:
            read_json(path)
        assert str(path) in str(caught.value)
    path.write_text(json.dumps([[]]))
    assert read_json(path) == [[]]


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than what is allowed is read."""
    monkeypatch.setattr(documents, "LARGEST_JSON_BYTES", 100)
    (tmp_path / "a.json").write_text(" " * 100)
    with pytest.raises(DocumentError, match="Expecting value"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(" " * 101)
    with pytest.raises(DocumentError, match="longer than 100 bytes"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A device, a folder, and a pipe, which would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "pipe"):
        for read in (read_json, read_yaml, documents.read_text, documents.open_file):
            with pytest.raises(DocumentError, match="is no file"):
                read(path)
    with pytest.raises(DocumentError, match="is no file: embedded null byte"):
        read_json("a\0b")


def test_errors_quote_little() -> None:
    """What a file holds may be long; what is said of it is not."""
    assert documents.shortened(ValueError("a\n  b")) == "a b"
    assert documents.shortened(KeyError()) == "KeyError"
    assert len(documents.shortened("x" * 10_000)) == 303
