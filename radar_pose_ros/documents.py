"""Files of YAML and JSON that others wrote, read with limits.

A few lines of YAML can stand for more than any machine holds (a name for a list of names for
lists, and so on), and brackets in brackets exhaust whoever walks through them. Both, and whatever
else a file ends in that is none, is one error here: `DocumentError`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

LARGEST_YAML_BYTES = 1 << 20  # the description of a large bag has 100 kB [choice]
LARGEST_TEXT_BYTES = 1 << 26  # an hour of a person's markers has some 30 MB [choice]
LARGEST_JSON_BYTES = 1 << 28  # HuPR's annotations have some tens of MB [choice]
DEEPEST = 64  # so many lists and mappings within each other [choice]
# Characters and entries; what has a name is counted as often as the name stands there. No file
# without names has more.
MOST_ENTRIES = 1 << 20
_LONGEST_NUMBER = 100  # characters; reading a number takes time that grows as their square
_QUOTED = 300  # a message says no more of a file than this


class DocumentError(ValueError):
    """A file that is no YAML or JSON, or too much of it: names it and says what."""


def read_yaml(path: Path | str) -> Any:
    """Return what a YAML file holds; None if that is nothing.

    Raises
    ------
    OSError
        If the file cannot be read.
    DocumentError
        If it is no YAML of plain data, larger than `LARGEST_YAML_BYTES`, or nested deeper or with
        more in it than the module says.
    """
    content = _read(path, LARGEST_YAML_BYTES)
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, DocumentError) as error:
        raise DocumentError(f"{path}: no YAML file: {shortened(error)}") from None


class _Loader(yaml.SafeLoader):
    """Composes no deeper than allowed: what looks for keys takes ever longer on the way down."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        # A name, or a text, may stand in the deepest list.
        if self._depth > DEEPEST + 1:
            raise DocumentError(f"nested deeper than {DEEPEST}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parse_yaml(text: str) -> Any:
    """Return what a text in YAML holds; errors as of `read_yaml`, without a file's name."""
    if len(text) > LARGEST_YAML_BYTES:
        raise DocumentError(f"longer than {LARGEST_YAML_BYTES} bytes")
    try:
        reader = _Loader(text)
        try:
            root = reader.get_single_node()
            if root is None:
                return None
            _check_nodes(root)
            return reader.construct_document(root)
        finally:
            reader.dispose()
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError(f"nested deeper than {DEEPEST}") from None
    except Exception as error:  # dates and numbers that are none end in whatever Python says
        raise DocumentError(shortened(error)) from None


def read_json(path: Path | str) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    OSError
        If the file cannot be read.
    DocumentError
        If it is no JSON, larger than `LARGEST_JSON_BYTES`, or nested deeper than `DEEPEST`.
    """
    content = _read(path, LARGEST_JSON_BYTES)
    try:
        value = json.loads(content.decode("utf-8-sig"))
        _check_depth(value)
    except RecursionError:
        raise DocumentError(f"{path}: no JSON file: nested deeper than {DEEPEST}") from None
    except ValueError as error:
        raise DocumentError(f"{path}: no JSON file: {shortened(error)}") from None
    return value


def read_text(path: Path | str, largest_bytes: int = LARGEST_TEXT_BYTES) -> str:
    """Return a file's text, without a byte-order mark.

    Raises
    ------
    OSError
        If the file cannot be read.
    DocumentError
        If it is larger than allowed, or no text in UTF-8.
    """
    try:
        return _read(path, largest_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: no text in UTF-8: {shortened(error)}") from None


def open_file(path: Path | str) -> BufferedReader:
    """Open a file to read bytes.

    Raises
    ------
    OSError
        If it is not there, or must not be read.
    DocumentError
        If it is a folder, a device or a pipe, which might be waited for without end.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a zero in the name
        raise DocumentError(f"{str(path)!r} is no file: {error}") from None
    if not stat.S_ISREG(mode):
        raise DocumentError(f"{path} is no file")
    return open(path, "rb")


def shortened(said: object) -> str:
    """Return what an error or a value says, on one line that is not too long."""
    text = " ".join(str(said).split()) or type(said).__name__
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def _read(path: Path | str, largest_bytes: int) -> bytes:
    with open_file(path) as file:
        content = file.read(min(largest_bytes, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > largest_bytes:
        raise DocumentError(f"{path}: longer than {largest_bytes} bytes")
    return content


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        if depth > DEEPEST:
            raise DocumentError(f"nested deeper than {DEEPEST}")
        level = [
            part for item in level for part in (item.values() if isinstance(item, dict) else item)
        ]


def _check_nodes(root: yaml.Node) -> None:
    """Raise `DocumentError` for nodes too deep, too many, or numbers that are too long."""
    level, depth, entries = [root], 0, 0
    while level:
        depth += 1
        if depth > DEEPEST and not all(isinstance(node, yaml.ScalarNode) for node in level):
            raise DocumentError(f"nested deeper than {DEEPEST}")
        # Also what is in them, or the next level may not fit into memory; a text by its length.
        entries += sum(1 + len(node.value) for node in level)
        if entries > 2 * MOST_ENTRIES:
            raise DocumentError(f"more than {MOST_ENTRIES} entries come of it")
        level = [part for node in level for part in _parts(node)]


def _parts(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
        raise DocumentError(f"a number of {len(node.value)} characters")
    return ()
