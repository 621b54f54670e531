"""What is special in the report of ``radar-pose reproduce millimamba``: cost, and the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radar_pose_ros.training import report
from radar_pose_ros.training.claims import Measure, Results, Table, Verdict
from radar_pose_ros.training.report import statistics

MEASURES = {
    "ap": Measure("AP", "points", 100.0, True),
    "oks": Measure("OKS", "points", 100.0, True),
    "error_px": Measure("error, px", "px", style="{:.2f}"),
    "velocity_error_px": Measure("velocity error, px", "px per frame", style="{:.2f}"),
    "jerk_px": Measure("jerk, px", "px per frame^3", style="{:.2f}"),
}
# Also COCO's measures, which are of all recordings together.
_COLUMNS = {
    "ap": MEASURES["ap"],
    "ap_coco": Measure("AP, COCO", "points", 100.0, True),
    "ap50": Measure("AP50", "points", 100.0, True),
    **MEASURES,
}

# Rows of each encoder by frames, for the figure.
_BY_FRAMES = {
    "Mamba": {1: "frames_1", 3: "frames_3", 5: "frames_5", 9: "base", 15: "frames_15"},
    "Transformer": {3: "transformer_3", 9: "transformer", 15: "transformer_15"},
}
_COLOURS = {"mamba": "#0072B2", "transformer": "#D55E00"}


def lines(
    table: Table,
    results: Results,
    verdicts: Sequence[Verdict],
    cost: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Yield the report, in Markdown; ``cost`` is what `millimamba_reproduce.costs` yields."""
    yield "# milliMamba's ablations, on simulated people\n"
    yield report.RULE + (
        " AP here is the share of frames whose OKS passes, averaged over the thresholds 0.50 to "
        "0.95; COCO's interpolated AP stands beside it."
    )
    yield from report.claim_lines(table, verdicts)
    yield "\n## Rows\n"
    others: dict[str, report.Column] = {
        "parameters": report.parameters,
        "GMACs": lambda found: f"{found[0]['network']['gmacs']:.3f}",
        "minutes": report.minutes,
    }
    yield from report.row_lines(table.rows, results, _COLUMNS, others)
    yield f"\n{report.budget_line(results)}"
    for found in filter(None, results.values()):
        jerk = found[0]["whole"]["jerk_of_truth_px"]
        yield f"The jerk of the true poses is {jerk:.2f} px per frame^3."
        break
    if cost:
        yield "\n## Time and memory of an encoder layer\n"
        yield from _cost_lines(cost)
    yield "\n![accuracy and cost against the number of frames](report.png)"


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


def draw(path: Path, results: Results, cost: Sequence[Mapping[str, Any]]) -> None:
    """Draw accuracy, and the cost of a layer, against the number of frames."""
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
        points = [statistics(of_seeds, "ap") for of_seeds in there.values() if of_seeds]
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
