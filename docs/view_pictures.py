"""Draw docs/view_*.png: record three emulated graphs, and take a picture of the view of each bag.

    .venv/bin/python docs/view_pictures.py

Takes some two minutes; needs Chromium. `make pictures` does it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import demo
from radar_pose_ros.bringup import GraphRunner, NodeSpec, graph, process_environment
from radar_pose_ros.environment import ensure_ros_environment
from radar_pose_ros.simulation.faces import draw_scene, write_video
from radar_pose_ros.view import browser, command

HERE = Path(__file__).resolve().parent
NEVER_RECORDED = "parameter_events transition_event rosout adc"
# Two faces in good light, who sit still, at 65 to 71 and 88 to 91 beats per minute.
FACES_SEED = 11
FACES: dict[str, Any] = {
    **{"faces": 2, "rate_hz": 25.0, "duration_s": 30.0, "width_px": 320, "face_px": 90.0},
    **{"motion": "still", "light": "bright", "drift": 0.0, "flicker": 0.0, "pumping": 0.0},
    **{"jpeg_quality": None, "dropped": 0.0, "jitter_s": 0.0, "stamp_error_s": 0.0},
}


def record(name: str, bag: Path, seconds: float, **arguments: Any) -> None:
    """Run a graph for so long, and record it."""
    values = {"bag": str(bag), "exclude": NEVER_RECORDED}
    recorder = NodeSpec(
        "recorder", "recorder", parameters=values, environment=process_environment(1)
    )
    with GraphRunner([recorder, *graph(name).nodes(arguments)], print, respawn=False) as runner:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and runner.poll():
            time.sleep(0.2)


def main() -> int:
    """Draw all of them."""
    browser.find()  # what is missing is better known at once
    ensure_ros_environment()
    with tempfile.TemporaryDirectory(prefix="radar_pose_") as folder:
        out = Path(folder)
        asked = demo.Options(
            seconds=10.0, out=str(out / "demo"), motion="walk", seed=2, lift=True, gif=False
        )
        demo.run(asked)
        record("multiview", out / "multiview", 15.0, emulated=True, motion="walk", seed=2)
        video = out / "faces.avi"
        write_video(draw_scene(np.random.default_rng(FACES_SEED), **FACES), video, "FFV1")
        record("heart_rate", out / "heart_rate", 45.0, source=str(video))
        for name, bag, at_s in (
            ("radar_pose", "demo/bag", 5.9),
            ("multiview", "multiview", 6.0),
            ("heart_rate", "heart_rate", 28.0),
        ):
            path = HERE / f"view_{name}.png"
            command.picture(str(out / bag), str(path), at_s)
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
