"""The report of ``radar-pose reproduce``: what was measured, and what it says of the claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import measurements
from radar_pose_ros.training.claims import CONFIDENCE, MEASURES, Table, Verdict

Results = Mapping[str, Sequence[Mapping[str, Any]]]

_TABLE = (
    ("AP", "ap", 100.0, "{:.1f}"),
    ("AP, COCO", "ap_coco", 100.0, "{:.1f}"),
    ("AP50", "ap50", 100.0, "{:.1f}"),
    ("OKS", "oks", 100.0, "{:.1f}"),
    ("error, px", "error_px", 1.0, "{:.2f}"),
    ("velocity error, px", "velocity_error_px", 1.0, "{:.2f}"),
    ("jerk, px", "jerk_px", 1.0, "{:.2f}"),
)

# Rows of each encoder by frames, for the figure.
_BY_FRAMES = {
    "Mamba": {1: "frames_1", 3: "frames_3", 5: "frames_5", 9: "base", 15: "frames_15"},
    "Transformer": {3: "transformer_3", 9: "transformer", 15: "transformer_15"},
}
_COLOURS = {"mamba": "#0072B2", "transformer": "#D55E00"}

_RULE = (
    "The rule, fixed before anything was trained: every row is trained with the same number of "
    "steps and windows, from several seeds, and measured on the same frames of the same test "
    "recordings, whose people were never seen in training. A claim is *reproduced in direction* "
    "if the mean difference is above 0 by more than chance, over seeds and over recordings "
    f"(Student's t, one-sided, {CONFIDENCE:.0%}; *needed* is the larger of the two margins). Else "
    "it is *not reproduced*: *opposite* if the reverse holds by the same rule, else *not clear*. "
    "AP here is the share of frames whose OKS passes, averaged over the thresholds 0.50 to 0.95; "
    "COCO's interpolated AP stands beside it. Each claim is judged by itself: of twenty that are "
    "not so, about one would pass by chance."
)


def write(
    directory: Path,
    table: Table,
    results: Results,
    verdicts: Sequence[Verdict],
    cost: Sequence[Mapping[str, Any]],
) -> None:
    """Write ``report.md``, ``report.json`` and ``report.png`` to ``directory``.

    Parameters
    ----------
    table : Table
    results : dict of str to sequence of dict
        By row, one per seed.
    verdicts : sequence of Verdict
        One per claim of the table.
    cost : sequence of dict
        As `reproduce.encoder_cost` returns them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = _lines(table, results, verdicts, cost)
    (directory / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    measurements.write_results(directory / "report.json", rows(table, results, verdicts))
    _draw(directory / "report.png", results, cost)


def rows(table: Table, results: Results, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return means over seeds by row, and by claim 1 if reproduced, 0 if not, else NaN."""
    found = []
    for row, of_seeds in results.items():
        for measure in of_seeds[0]["whole"] if of_seeds else ():
            unit = "px" if measure.endswith("_px") else ""
            value, _ = _mean(of_seeds, measure)
            found.append(measurements.result(f"reproduce.{row}.{measure}", value, unit))
    outcomes = {"reproduced in direction": 1.0, "not reproduced": 0.0}
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        name = claim.name.replace(" ", "_").replace(",", "")
        unit = MEASURES[claim.measure][0]
        found += [
            measurements.result(
                f"reproduce.claim.{name}.reproduced", outcomes.get(verdict.outcome, np.nan)
            ),
            measurements.result(
                f"reproduce.claim.{name}.difference", verdict.difference, unit, 0.0
            ),
        ]
    return found


def _mean(of_seeds: Sequence[Mapping[str, Any]], measure: str) -> tuple[float, float]:
    """Mean and standard deviation over seeds; the latter NaN for one."""
    values = [result["whole"][measure] for result in of_seeds]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _lines(
    table: Table,
    results: Results,
    verdicts: Sequence[Verdict],
    cost: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield "# milliMamba's ablations, on simulated people\n"
    yield _RULE
    yield "\n## Claims\n"
    yield "| claim | published | measured | needed | outcome |"
    yield "|---|---|---|---|---|"
    for claim, verdict in zip(table.claims, verdicts, strict=True):
        unit = MEASURES[claim.measure][0]
        measured = "" if np.isnan(verdict.difference) else f"{verdict.difference:+.2f} {unit}"
        needed = "" if np.isnan(verdict.margins).any() else f"> {max(verdict.margins):.2f}"
        outcome = f"**{verdict.outcome}**" + (f": {verdict.remark}" if verdict.remark else "")
        yield f"| {claim.name} | {claim.published} | {measured} | {needed} | {outcome} |"
    for item in table.elsewhere:
        yield f"| | {item['published']} | | | measured elsewhere: {item['why']} |"
    for item in table.not_testable:
        yield f"| | {item['published']} | | | **not testable here**: {item['why']} |"
    yield "\n## Rows\n"
    yield from _row_lines(table, results)
    if cost:
        yield "\n## Time and memory of an encoder layer\n"
        yield from _cost_lines(cost)
    yield "\n![accuracy and cost against the number of frames](report.png)"


def _row_lines(table: Table, results: Results) -> Iterator[str]:
    titles = [title for title, *_ in _TABLE]
    yield "| row | seeds | " + " | ".join(titles) + " | parameters | GMACs | minutes |"
    yield "|---" * (len(titles) + 5) + "|"
    for row, what in table.rows.items():
        of_seeds = results.get(row, ())
        if not of_seeds:
            yield f"| `{row}`: {what} | 0 |" + " |" * (len(titles) + 3)
            continue
        cells = []
        for _, measure, scale, style in _TABLE:
            mean, deviation = _mean(of_seeds, measure)
            cell = style.format(scale * mean)
            spread = "" if np.isnan(deviation) else f" ± {style.format(scale * deviation)}"
            cells.append(cell + spread)
        network = of_seeds[0]["network"]
        minutes = np.mean([result["training"]["minutes"] for result in of_seeds])
        cells += [f"{network['parameters']:,}", f"{network['gmacs']:.3f}", f"{minutes:.1f}"]
        yield f"| `{row}`: {what} | {len(of_seeds)} | " + " | ".join(cells) + " |"
    some = next((of_seeds[0] for of_seeds in results.values() if of_seeds), None)
    if some is not None:
        loop, machine = some["recipe"]["loop"], some["machine"]
        yield (
            f"\nMean ± standard deviation over seeds. {loop['steps']} steps of "
            f"{some['recipe']['batch']} windows each. The jerk of the true poses is "
            f"{some['whole']['jerk_of_truth_px']:.2f} px per frame^3. "
            f"{machine['cpu']}, torch {machine['torch']}; times with other work beside."
        )


def _cost_lines(cost: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    frames = sorted({row["frames"] for row in cost})
    yield "One layer, one window of 2,048 tokens per frame as the paper's, one thread.\n"
    yield "| | " + " | ".join(f"T = {count}" for count in frames) + " |"
    yield "|---" * (len(frames) + 1) + "|"
    for training in (False, True):
        for encoder in ("mamba", "transformer"):
            cells = {
                row["frames"]: f"{row['seconds']:.2f} s, {row['mebibytes']:.0f} MiB"
                for row in cost
                if row["encoder"] == encoder and row["training"] == training
            }
            what = "forward and backward" if training else "forward"
            values = " | ".join(cells.get(count, "") for count in frames)
            yield f"| {encoder}, {what} | {values} |"


def _draw(path: Path, results: Results, cost: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = 3 if cost else 1
    figure, axes = plt.subplots(
        1, panels, figsize=(4 * panels, 3.6), layout="constrained", squeeze=False
    )
    accuracy, *of_cost = axes[0]
    for label, by_frames in _BY_FRAMES.items():
        there = {count: results.get(row) for count, row in by_frames.items() if results.get(row)}
        points = [_mean(of_seeds, "ap") for of_seeds in there.values() if of_seeds]
        means, deviations = ([100 * p[k] for p in points] for k in (0, 1))
        accuracy.errorbar(
            list(there), means, deviations, fmt="o-", capsize=3, label=label,
            color=_COLOURS[label.lower()],
        )  # fmt: skip
    accuracy.set(title="accuracy", ylabel="AP, points")
    quantities = (
        ("seconds", "time of a layer and its gradient, s"),
        ("mebibytes", "memory of it, MiB"),
    )
    for axis, (quantity, title) in zip(of_cost, quantities, strict=False):
        for encoder, colour in _COLOURS.items():
            chosen = [row for row in cost if row["encoder"] == encoder and row["training"]]
            axis.plot(
                [row["frames"] for row in chosen], [row[quantity] for row in chosen], "o-",
                color=colour, label=encoder.capitalize(),
            )  # fmt: skip
        axis.set(title=title, xscale="log", yscale="log")
    for axis in axes[0]:
        axis.set_xlabel("frames of a window")
        axis.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)
