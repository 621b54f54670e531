"""Every field of every message says what it holds, in which unit, and how "unknown" looks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

MESSAGES = sorted((Path(__file__).resolve().parents[2] / "msg").glob("*.msg"))
FLOAT_SAYS = re.compile(
    r"\b(m|m\^2|m/s|s|Hz|Hz/s|dB|px|rad|degrees|beats per minute|breaths per minute|ADC counts"
    r"|arbitrary unit|sigma|sine)\b|(?<!\d)-?[01]\.\.1\b"
)


class Field(NamedTuple):
    """One field with the comment beside it, or the one that it shares with its neighbours."""

    type: str
    name: str
    comment: str


def fields(text: str) -> list[Field]:
    """Return the fields of a message definition, without its constants.

    A comment goes on in the indented lines below it. A field without one shares that of the field
    or constants of the same type right above it.
    """
    found: list[Field] = []
    above = Field("", "", "")
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        comment = comment.strip()
        if code.strip():
            kind, name, *value = code.replace("=", " = ").split()
            if not comment and kind == above.type:
                comment = above.comment
            above = Field(kind, name, comment)
            if not value:
                found.append(above)
        elif comment and line[0] == " " and found and above == found[-1]:
            above = above._replace(comment=f"{above.comment} {comment}")
            found[-1] = above
        else:
            above = Field("", "", "")
    return found


def test_fields_are_read() -> None:
    """Comments go on below, neighbours of one type share them, a title or an empty line parts."""
    text = """# About
uint8 A=1 # no
uint8 a
float32 x # m, to
          # the left
float32 y
# Part
float32 z
"""
    assert fields(text) == [
        Field("uint8", "a", "no"),
        Field("float32", "x", "m, to the left"),
        Field("float32", "y", "m, to the left"),
        Field("float32", "z", ""),
    ]


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_fields_are_documented(path: Path) -> None:
    """A message says what it is; so does each field; a real number also says its unit or range."""
    text = path.read_text()
    assert text.startswith("# "), "the message does not say what it is"
    for field in fields(text):
        assert field.comment, f"{field.name} is not documented"
        if field.type.startswith("float"):
            assert FLOAT_SAYS.search(field.comment), f"{field.name}: no unit, no range"
