"""`edge` live: two emulated radars at 10 Hz, all nodes in their processes, recorded and measured.

It is `radar-pose demo`. ``edge.latency_p95_ms`` runs from a radar's last packet to the pose's
arrival at the recorder; ``edge.windows_dropped`` counts the windows, of those that the recorded
heatmaps make, without a pose.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from radar_pose_ros.measurements import result

SECONDS, QUICK_SECONDS = 40.0, 8.0
TARGET_LATENCY_MS = 150.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Run the demo and return its numbers.

    Raises
    ------
    RuntimeError
        If the demo failed, with what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="radar_pose_bench_") as folder:
        command = [sys.executable, "-m", "radar_pose_ros.cli", "demo", "--no-gif", "--out", folder]
        command += ["--weights", "edge", "--seconds", str(QUICK_SECONDS if quick else SECONDS)]
        demo = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if demo.returncode:
            raise RuntimeError(f"the demo ended with {demo.returncode}:\n{demo.stdout}")
        summary = json.loads((Path(folder) / "summary.json").read_text("utf-8"))
    return rows(summary)


def rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that follow from a demo's summary."""
    latency = summary["latency_ms"]
    windows, p95 = f"of {summary['windows']}", latency["p95"]
    return [
        result("edge.latency_p50_ms", latency["p50"], "ms", None, latency["from"]),
        result("edge.latency_p95_ms", p95, "ms", TARGET_LATENCY_MS, latency["from"], at_most=True),
        result("edge.windows_dropped", summary["windows_dropped"], "", 0.0, windows, at_most=True),
        result("edge.pose_rate_hz", summary["pose_rate_hz"], "Hz", None, "radars: 10 Hz"),
    ]
