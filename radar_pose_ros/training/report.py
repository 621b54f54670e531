"""The report of ``radar-pose reproduce``: what was measured, and what it says of the claims."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from radar_pose_ros import measurements
from radar_pose_ros.training.claims import CONFIDENCE, Measure, Results, Table, Verdict

RULE = (
    "The rule, fixed before anything was trained: every row is trained with the same number of "
    "steps and windows, from several seeds, and measured on the same test recordings, whose "
    "people were never seen in training. A claim is *reproduced in direction* if the mean "
    "difference is above 0 by more than chance, over seeds and over recordings (Student's t, "
    f"one-sided, {CONFIDENCE:.0%}; *needed* is the larger of the two margins). Else it is *not "
    "reproduced*: *opposite* if the reverse holds by the same rule, else *not clear*. Each claim "
    "is judged by itself: of twenty that are not so, about one would pass by chance."
)

# A column of the rows beside what is measured.
Column = Callable[[Sequence[Mapping[str, Any]]], str]


def claim_lines(table: Table, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the claims with what is said of them, in Markdown."""
    yield "\n## Claims\n"
    yield "| claim | published | measured | needed | outcome |"
    yield "|---" * 5 + "|"
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        unit = table.measures[claim.measure].unit
        measured = "" if np.isnan(verdict.difference) else f"{verdict.difference:+.2f} {unit}"
        needed = "" if np.isnan(verdict.margins).any() else f"> {max(verdict.margins):.2f}"
        outcome = f"**{verdict.outcome}**" + (f": {verdict.remark}" if verdict.remark else "")
        yield f"| {claim.name} | {claim.published} | {measured} | {needed} | {outcome} |"
    for item in table.elsewhere:
        yield f"| | {item['published']} | | | measured elsewhere: {item['why']} |"
    for item in table.not_testable:
        yield f"| | {item['published']} | | | **not testable here**: {item['why']} |"


def row_lines(
    rows: Mapping[str, Any],
    results: Results,
    measures: Mapping[str, Measure],
    others: Mapping[str, Column],
) -> Iterator[str]:
    """Yield rows with measures, and other columns behind them, in Markdown."""
    titles = [*(measure.title for measure in measures.values()), *others]
    yield "| row | seeds | " + " | ".join(titles) + " |"
    yield "|---" * (len(titles) + 2) + "|"
    for row, what in rows.items():
        found = results.get(row, ())
        cells = [_cell(found, name, measure) for name, measure in measures.items()]
        cells += [column(found) if found else "" for column in others.values()]
        yield f"| `{row}`: {what} | {len(found)} | " + " | ".join(cells) + " |"


def _cell(found: Sequence[Mapping[str, Any]], name: str, measure: Measure) -> str:
    if not found:
        return ""
    mean, deviation = statistics(found, name)
    cell = measure.style.format(measure.factor * mean)
    if np.isnan(deviation):
        return cell
    return f"{cell} ± {measure.style.format(measure.factor * deviation)}"


def statistics(found: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float]:
    """Return mean and standard deviation of a measure over seeds; the latter NaN for one."""
    values = [result["whole"][name] for result in found]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def parameters(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how many numbers a row's network has, a `Column`."""
    return f"{found[0]['network']['parameters']:,}" if found[0]["network"] else ""


def minutes(found: Sequence[Mapping[str, Any]]) -> str:
    """Return how long a row was trained on average, a `Column`."""
    return f"{np.mean([result['training']['minutes'] for result in found]):.1f}"


def budget_line(results: Results) -> str:
    """Return how much the rows were trained and measured, and where."""
    some = next((found[0] for found in results.values() if found), None)
    if some is None:
        return "Nothing has been measured yet."
    recipe, machine = some["recipe"], some["machine"]
    recordings = len(next(iter(some["by_recording"].values())))
    return (
        f"Mean ± standard deviation over seeds, of {recordings} test recordings. "
        f"{recipe['loop']['steps']} steps of {recipe['batch']} windows each. "
        f"{machine['cpu']}, torch {machine['torch']}; times with other work beside."
    )


def publish(
    arguments: argparse.Namespace,
    table: Table,
    results: Results,
    verdicts: Sequence[Verdict],
    lines: Iterator[str],
) -> None:
    """Write ``report.md`` and ``report.json``, print the former, and do as ``--json`` says."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (arguments.out / "report.md").write_text(text, encoding="utf-8")
    found = rows(table, results, verdicts)
    measurements.write_results(arguments.out / "report.json", found)
    print(text)
    if arguments.json:
        measurements.write_results(arguments.json, found)


def rows(table: Table, results: Results, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return means over seeds by row, and by claim 1 if reproduced, 0 if not, else NaN."""
    found = [
        measurements.result(
            f"reproduce.{row}.{name}", statistics(of_seeds, name)[0], _unit_of_value(name)
        )
        for row, of_seeds in results.items()
        if of_seeds
        for name in of_seeds[0]["whole"]
    ]
    outcomes = {"reproduced in direction": 1.0, "not reproduced": 0.0}
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        name = f"reproduce.claim.{claim.name.replace(' ', '_').replace(',', '')}"
        unit = table.measures[claim.measure].unit
        found += [
            measurements.result(f"{name}.reproduced", outcomes.get(verdict.outcome, np.nan)),
            measurements.result(f"{name}.difference", verdict.difference, unit, 0.0),
        ]
    return found


def _unit_of_value(name: str) -> str:
    return "px" if name.endswith("_px") else "mm" if "_mm" in name else ""
