"""The targets of the fuzzer without it: seeds, what it has found before, and some mutations."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import run
from fuzz.material import FINDINGS, TARGETS, mutations

MUTATIONS, SEED = 300, 9


def one_input(target: str) -> Callable[[bytes], None]:
    return importlib.import_module(f"fuzz.{target}").one_input


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_mutations(target: str) -> None:
    """What must hold holds for whole inputs, none at all, and changed ones."""
    module = importlib.import_module(f"fuzz.{target}")
    seeds = list(module.seeds().values())
    for data in (b"", b"\0", *seeds):
        module.one_input(data)
    for number, data in enumerate(mutations(seeds, MUTATIONS, SEED)):
        try:
            module.one_input(data)
        except Exception as error:
            raise AssertionError(f"mutation {number} of seed {SEED}: {data[:99]!r}") from error


@pytest.mark.parametrize(
    "path", sorted(FINDINGS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_findings(path: Path) -> None:
    """Inputs that once broke something do so no more."""
    one_input(path.parent.name)(path.read_bytes())


def test_the_page_shows_the_results() -> None:
    """What `make fuzz ARGS=--table` wrote down last."""
    page = run.PAGE.read_text("utf-8")
    assert run.with_table(page) == page


def test_a_target_can_fail() -> None:
    """What must hold is looked at: a reader that invents is found out."""
    module = importlib.import_module("fuzz.dca1000")
    script = module._Script(module.Material(b"\0\x12"))
    script.push(script.packet(16))
    script.claims.clear()
    with pytest.raises(AssertionError, match="nobody sent"):
        script.flush()
