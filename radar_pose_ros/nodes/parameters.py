"""Node parameters, declared once in ``config/parameters/<node>.yaml``.

Each entry of such a file is ``name: {type, default, description}`` and optionally

* ``range: [lowest, highest]`` for numbers, both ends allowed;
* ``length``: how many numbers a ``double_array`` has;
* ``choices: [...]`` for strings;
* ``read_only: true``: fixed when the node starts;
* ``while_active: true``: may be changed while the node runs. All others may only be changed while
  the node is unconfigured.

``common.yaml`` holds what every node has.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import yaml

from radar_pose_ros import resources

TYPES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
    "double_array": list,
}


LONGEST_TEXT = 4096  # nothing that has a name needs more: paths, lists of names


class ParameterError(ValueError):
    """A parameter that cannot be used: says which, and what is allowed."""


@dataclass(frozen=True)
class ParameterSpec:
    """Declaration of one parameter; see the module's text for the meaning of each field."""

    name: str
    type: str
    default: Any
    description: str
    range: tuple[float, float] | None = None
    length: int = 0
    choices: tuple[str, ...] = ()
    read_only: bool = False
    while_active: bool = False

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ParameterError(f"{self.name}: type {self.type!r} is none of {', '.join(TYPES)}")
        if type(self.default) is not TYPES[self.type]:
            raise ParameterError(f"{self.name}: default {self.default!r} is not a {self.type}")
        if not self.description:
            raise ParameterError(f"{self.name}: a description is missing")
        self.check(self.default)

    @property
    def allowed(self) -> str:
        """Allowed values in words; empty if every value of the type is allowed."""
        if self.length:
            return f"{self.length} finite numbers"
        if self.range is not None:
            lowest, highest = (str(b) if isinstance(b, int) else f"{b:g}" for b in self.range)
            return f"{lowest} .. {highest}"
        return " | ".join(f'"{choice}"' for choice in self.choices)

    def check(self, value: Any) -> None:
        """Raise a `ParameterError` if the value, of the right type, is not allowed."""
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ParameterError(
                f"parameter {self.name} has {len(value)} characters, allowed are {LONGEST_TEXT}"
            )
        if self.length:
            outside = len(value) != self.length or not all(map(math.isfinite, value))
        else:
            outside = self.range is not None and not self.range[0] <= value <= self.range[1]
        if outside or (self.choices and value not in self.choices):
            raise ParameterError(f"parameter {self.name} is {value!r}, allowed is {self.allowed}")


def load(node: str) -> dict[str, ParameterSpec]:
    """Read the declarations of a node and the common ones.

    Raises
    ------
    ParameterError
        If a declaration is not of the form that the module's text describes.
    """
    specs: dict[str, ParameterSpec] = {}
    for file in ("common", node):
        path = resources.find("config", "parameters", f"{file}.yaml")
        for name, entry in (yaml.safe_load(path.read_text("utf-8")) or {}).items():
            fields = dict(entry)
            fields["description"] = " ".join(str(entry.get("description", "")).split())
            if "range" in fields:
                fields["range"] = tuple(fields["range"])
            fields["choices"] = tuple(fields.get("choices", ()))
            try:
                specs[name] = ParameterSpec(name=name, **fields)
            except (ParameterError, TypeError) as error:
                raise ParameterError(f"{path.name}: {error}") from None
    return specs


def values_class(node: str, specs: dict[str, ParameterSpec]) -> type:
    """Return a frozen dataclass with one typed field per parameter."""
    name = "".join(part.capitalize() for part in node.split("_")) + "Parameters"
    fields = [(spec.name, TYPES[spec.type]) for spec in specs.values()]
    return dataclasses.make_dataclass(name, fields, frozen=True)


def markdown_table(specs: dict[str, ParameterSpec]) -> str:
    """Return the parameters as the table that stands in ``docs/nodes.md``."""
    lines = ["| parameter | type | default | range | meaning |", "|---|---|---|---|---|"]
    for spec in specs.values():
        default = f'"{spec.default}"' if spec.type == "string" else f"{spec.default}".lower()
        notes = " *Read-only.*" if spec.read_only else ""
        notes += " *May change while active.*" if spec.while_active else ""
        allowed = spec.allowed.replace(" | ", ", ")
        lines.append(
            f"| `{spec.name}` | {spec.type} | {default} | {allowed} | {spec.description}{notes} |"
        )
    return "\n".join(lines)
