"""What `make audit` says: a weakness, none, or plainly that nobody could be asked."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

SPEC = spec_from_file_location("audit", Path(__file__).parents[2] / "underlay" / "audit.py")
assert SPEC is not None and SPEC.loader is not None
audit = module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

FOUND = {"id": "PYSEC-1", "fix_versions": ["2.20.0"]}
CONTROL = {"name": "requests", "version": "2.19.0", "vulns": [FOUND]}
BLIND = {"name": "requests", "version": "2.19.0", "vulns": []}
SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
WEAK = {"name": "numpy", "version": "2.4.6", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
UNKNOWN = {"name": "ros-rclpy", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("osv", "pypi", "code", "said"),
    [
        ([], [], 0, "audit not run: service unreachable (osv, pypi)"),
        ([BLIND, SOUND], [UNKNOWN], 0, "audit not run: service unreachable"),
        (
            [CONTROL, SOUND, UNKNOWN],
            [],
            0,
            "1 packages, no known weakness\nosv does not know 1: ros-",
        ),
        ([CONTROL, WEAK], [], 1, "numpy 2.4.6: PYSEC-2, mended in no version yet"),
        ([], [CONTROL, WEAK, SOUND], 1, "numpy 2.4.6: PYSEC-2"),
    ],
)
def test_what_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    osv: list[Any],
    pypi: list[Any],
    code: int,
    said: str,
) -> None:
    """A service that does not know what everybody knows is not believed."""
    answers = {"osv": osv, "pypi": pypi}
    monkeypatch.setattr(audit, "report", lambda service, _: answers[service])
    assert audit.main() == code
    assert capsys.readouterr().out.startswith(said)
