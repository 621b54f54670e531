"""Declarations of node parameters."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest

from radar_pose_ros.nodes import parameters
from radar_pose_ros.nodes.parameters import ParameterError, ParameterSpec

DECLARATIONS = Path(__file__).resolve().parents[2] / "config" / "parameters"
NODES = sorted(p.stem for p in DECLARATIONS.glob("*.yaml") if p.stem != "common")


@pytest.mark.parametrize("node", NODES)
def test_declarations_are_complete(node: str) -> None:
    """Every parameter has a description, numbers have a range, defaults lie within."""
    for spec in parameters.load(node).values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.name)
        assert spec.description.endswith("."), spec.name
        if spec.type in ("int", "double"):
            assert spec.range is not None, f"{node}: {spec.name} has no range"


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_the_common_ones(node: str) -> None:
    assert parameters.load(node)["autostart"].read_only


def test_values_are_a_frozen_dataclass() -> None:
    specs = parameters.load("radar_preprocessor")
    values = parameters.values_class("radar_preprocessor", specs)(
        **{name: spec.default for name, spec in specs.items()}
    )
    assert type(values).__name__ == "RadarPreprocessorParameters"
    assert values.angle_bins == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        values.angle_bins = 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "int", "default": 5, "range": (0, 4)}, "allowed is 0 .. 4"),
        ({"type": "int", "default": -1, "range": (0, 268435456)}, "allowed is 0 .. 268435456"),
        ({"type": "double", "default": math.nan, "range": (0.0, 4.0)}, "allowed is 0 .. 4"),
        ({"type": "string", "default": "c", "choices": ("a", "b")}, 'allowed is "a" | "b"'),
        ({"type": "double_array", "default": [1.0], "length": 2}, "allowed is 2 finite numbers"),
        ({"type": "double", "default": 1}, "default 1 is not a double"),
        ({"type": "complex", "default": 1}, "type 'complex' is none of"),
    ],
)
def test_a_bad_declaration_says_what_is_allowed(fields: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        ParameterSpec(name="gain", description="A gain.", **fields)


def test_description_is_required() -> None:
    with pytest.raises(ParameterError, match="description is missing"):
        ParameterSpec(name="gain", type="int", default=1, description="")


@pytest.mark.parametrize("node", NODES)
def test_documentation_is_up_to_date(node: str, root: Path) -> None:
    """Each node's page holds the table that the declarations give."""
    text = (root / "docs" / "nodes" / f"{node}.md").read_text("utf-8")
    assert parameters.markdown_table(parameters.load(node)) in text, (
        f"the table in docs/nodes/{node}.md is not that of config/parameters/{node}.yaml"
    )
