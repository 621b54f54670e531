"""The report of a soak: a page, a figure, and rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from radar_pose_ros import measurements
from radar_pose_ros.drawing import BACKGROUND, FRAME_COLOUR, TEXT_COLOUR, write_png
from radar_pose_ros.soak import Record, describe
from radar_pose_ros.soak_measures import LIMIT_MIB_PER_H, Sample, Slope

_DPI = 100
_SIZE_IN = (11.0, 9.0)
_SAID = {True: "held", False: "**did not hold**", None: "not told"}
MARGIN = 0.08  # of the height


def verdict(record: Record) -> str:
    """Return in a sentence what came of it."""
    if not record.seconds:
        return "There were no poses: " + (record.failure or "stopped before the first one") + "."
    checks = record.checks()
    failed = [check.name for check in checks if check.held is False]
    untold = [check.name for check in checks if check.held is None]
    sentence = f"Did not hold: {'; '.join(failed)}." if failed else "All held that could be told."
    if untold:
        # One name for the many that a short soak leaves open.
        sentence += f" Too short, or too unsteady, to tell: {len(untold)} of {len(checks)}."
    return sentence


def summary(record: Record) -> str:
    """Return what to print at the end: everything but what held and is many times the same."""
    lines = []
    for check in record.checks():
        of_process = check.name.startswith(("memory of ", "files of ", "threads of "))
        if check.held and of_process and "together" not in check.name:
            continue
        if check.held is None and "together" not in check.name:
            continue
        said = _SAID[check.held].strip("*")
        lines.append(f"{said:<12} {check.name}: {check.figures}")
    return "\n".join([*lines, verdict(record)])


def markdown(record: Record) -> str:
    """Return the page."""
    options, machine = record.options, measurements.machine()
    lines = [
        "# Soak",
        "",
        f"The graph `{options.graph}` for {_duration(record.seconds)} of "
        f"{_duration(options.duration_s)}, {options.loss:.2%} of the packets lost, "
        f"unplugged every {_duration(options.unplug_every_s)} for "
        f"{_duration(options.unplug_for_s)}; warm-up {_duration(options.warm_up_s)}. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}.",
        "",
        verdict(record) + (" It was stopped early." if record.interrupted else ""),
        "",
        "| what must hold | | seen |",
        "|---|---|---|",
    ]
    lines += [f"| {c.name} | {_SAID[c.held]} | {c.figures} |" for c in record.checks()]
    lines += ["", "![memory, files and threads over time](soak.png)", "", "## Processes", ""]
    lines += ["| process | MiB | growth | files | threads | cores | started again | warnings |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for label, p in record.processes.items():
        lines.append(
            f"| {label} | {p.memory_mib:.0f} | {describe(p.growth)} | {p.files.last:.0f} | "
            f"{p.threads.last:.0f} | {p.cores:.2f} | {record.restarts.get(label, 0)} | "
            f"{record.words.warnings.get(label, 0)} |"
        )
    lines += [
        "",
        "Growth is Theil and Sen's slope after the warm-up, with its standard error; it holds if "
        f"it is at most {LIMIT_MIB_PER_H:g} MiB/h by two of them, fails if it is more by two, and "
        "is not told else. Memory is what is resident, with what several processes share.",
        "",
        "## What was done to it",
        "",
    ]
    lines += [f"* {event.time_s:.1f} s: {event.what}" for event in record.events] or ["Nothing."]
    lines += ["", "## Accounts", ""]
    lines += [f"* {balance}" for balance in record.balances]
    lines += [
        "",
        "## Reports",
        "",
        "Longest time between two diagnostic reports of each node, s: ",
    ]
    silences = sorted(record.silences_s.items(), key=lambda item: -item[1])
    lines[-1] += ", ".join(f"{name} {silence_s:.1f}" for name, silence_s in silences) + "."
    if record.unaccounted:
        lines += ["", f"In no account: {', '.join(record.unaccounted)}."]
    if record.words.troubles:
        lines += ["", "## Errors", "", "```text", *record.words.troubles, "```"]
    return "\n".join(lines) + "\n"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "never"
    if seconds >= 120 and seconds % 60 < 1:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s"


def results(record: Record) -> list[dict[str, Any]]:
    """Return rows of results."""
    row = measurements.result
    rows = [
        row("soak.seconds", record.seconds, "s", record.options.duration_s),
        row("soak.errors", record.words.count, "", 0, at_most=True),
        row("soak.restarts", sum(record.restarts.values()), "", 0, at_most=True),
        row("soak.unplugged", sum(e.what.startswith("unplugged") for e in record.events)),
        row("soak.frames_again_s", max(record.back_s, default=math.nan), "s"),
    ]
    for topic, poses in record.poses.items():
        name = f"soak.{topic.lstrip('/').replace('/', '_')}"
        rows.append(row(f"{name}.rate_hz", poses.rate_hz, "Hz"))
        for share, age_ms in zip((50, 95, 99), poses.age_ms, strict=True):
            rows.append(row(f"{name}.age_p{share}_ms", age_ms, "ms"))
    growths = {label: process.growth for label, process in record.processes.items()}
    for label, growth in [*growths.items(), ("all", record.together)]:
        rows += _growth_rows(f"soak.{label.replace('/', '_')}", growth)
    for label, process in record.processes.items():
        name = f"soak.{label.replace('/', '_')}"
        for what, count in (("files", process.files), ("threads", process.threads)):
            first = count.first if math.isfinite(count.first) else None
            rows.append(
                row(f"{name}.{what}", count.last, "", first, "after warm-up", at_most=True)
            )
            rows.append(row(f"{name}.{what}_at_most", count.most))
        rows.append(row(f"{name}.cores", process.cores))
    open_ = sum(not balance.closes for balance in record.balances)
    rows.append(row("soak.accounts", len(record.balances)))
    rows.append(row("soak.accounts_open", open_, "", 0, at_most=True))
    return rows


def _growth_rows(name: str, growth: Slope) -> list[dict[str, Any]]:
    made = measurements.result(f"{name}.memory_growth", growth.per_h, "MiB/h", LIMIT_MIB_PER_H)
    made["met"] = growth.verdict(LIMIT_MIB_PER_H)
    return [made, measurements.result(f"{name}.memory_growth_error", growth.error, "MiB/h")]


def content(record: Record) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "machine": measurements.machine(),
        "results": results(record),
        "held": record.held,
        "interrupted": record.interrupted,
        "failure": record.failure,
        "checks": [check._asdict() for check in record.checks()],
        "accounts": [
            {
                "name": balance.name,
                "given": [*balance.given],
                "found": [*balance.found],
                "closes": balance.closes,
                "difference": balance.difference,
            }
            for balance in record.balances
        ],
        "events": [event._asdict() for event in record.events],
        "errors": record.words.troubles,
    }


def write(record: Record, out: str | Path) -> None:
    """Write page and figure into a folder."""
    out = Path(out)
    draw(record, out / "soak.png")
    (out / "report.md").write_text(markdown(record), encoding="utf-8")


def draw(record: Record, path: str | Path) -> None:
    """Draw memory, files and threads of all processes over time, as a PNG file."""
    made = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(made)
    axes: Any = made.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 1))
    labels = [*record.samples]
    shades = colormaps["turbo"](np.linspace(0.08, 0.95, max(len(labels), 1)))
    kinds = (
        ("grown since the warm-up, MiB", lambda s: s.memory_mib),
        ("open files", lambda s: s.files),
        ("threads", lambda s: s.threads),
    )
    minutes = record.seconds > 300
    for axis, (title, value) in zip(axes, kinds, strict=True):
        _prepare(axis, title)
        for label, shade in zip(labels, shades, strict=True):
            samples = record.samples[label]
            times = np.array([s.time_s for s in samples]) / (60 if minutes else 1)
            values = np.array([value(s) for s in samples], float)
            if axis is axes[0]:
                values -= _at_warm_up(samples, record.options.warm_up_s)
            axis.plot(times, values, color=shade, linewidth=1.0, label=label)
        for event in record.events:
            at = event.time_s / (60 if minutes else 1)
            dashes = ":" if event.what.startswith("plugged") else "-"
            axis.axvline(at, color=FRAME_COLOUR, linewidth=0.8, linestyle=dashes)
    # What a process takes at first would hide what it takes later.
    warm = [
        s.memory_mib - _at_warm_up(of, record.options.warm_up_s)
        for of in record.samples.values()
        for s in of
        if s.time_s >= record.options.warm_up_s
    ]
    if warm:
        low, high = min(warm), max(warm)
        margin = max(MARGIN * (high - low), 0.5)
        axes[0].set_ylim(low - margin, high + margin)
    if labels:
        axes[0].legend(
            fontsize=7,
            ncols=2,
            facecolor=BACKGROUND,
            edgecolor=FRAME_COLOUR,
            labelcolor=TEXT_COLOUR,
            loc="upper left",
        )
    unit = "min" if minutes else "s"
    axes[-1].set_xlabel(f"time since the first poses, {unit}", color=TEXT_COLOUR, fontsize=8)
    made.tight_layout()
    canvas.draw()
    write_png(path, np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


def _at_warm_up(samples: Sequence[Sample], warm_up_s: float) -> float:
    """Return the memory when the warm-up was over, or at the end if it was not."""
    later = (sample.memory_mib for sample in samples if sample.time_s >= warm_up_s)
    return next(later, samples[-1].memory_mib if samples else 0.0)


def _prepare(axis: Any, title: str) -> None:
    axis.set_facecolor("#000000")
    axis.set_title(title, color=TEXT_COLOUR, fontsize=9, loc="left")
    axis.tick_params(colors=TEXT_COLOUR, labelsize=7, length=2)
    axis.grid(color=FRAME_COLOUR, linewidth=0.4)
    axis.set_axisbelow(True)
    for spine in axis.spines.values():
        spine.set_color(FRAME_COLOUR)
