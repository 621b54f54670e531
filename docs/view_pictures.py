"""Draw docs/view_*.png: record three emulated graphs, and take a picture of the view of each bag.

    .venv/bin/python docs/view_pictures.py [radar_pose] [multiview] [heart_rate]

Takes some three minutes; needs Chromium, and a machine that has nothing else to do: of poses that
came late no picture is drawn. `make pictures` does it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import bag_contents, demo
from radar_pose_ros.bringup import GraphRunner, NodeSpec, graph, process_environment
from radar_pose_ros.environment import ensure_ros_environment
from radar_pose_ros.recording import BagReader, stamp_ns
from radar_pose_ros.simulation.faces import draw_scene, write_video
from radar_pose_ros.view import browser, command
from radar_pose_ros.view.drawer import TIMED, TRUTH

HERE = Path(__file__).resolve().parent
NEVER_RECORDED = "parameter_events transition_event rosout adc"
OLDEST_S = 1.0  # of the poses in a picture
NOW_S = 0.2  # so long before a picture's instant the last pose of each topic may be
LATER_S = 2.0  # by how much a picture's instant may be moved
# What two cores can do in time, with as little delay as each node allows.
RADAR_POSE: dict[str, Any] = {
    **{"emulated": True, "motion": "walk", "seed": 2, "prepare_s": 15.0, "visualizer": False},
    **{"output_frame": "latest", "threads": 1},
    **{"refiner": True, "refiner_weights": "radar_2d_live", "lifter": True},
}
EARLY: dict[str, dict[str, Any]] = {
    "pose_refiner": {"predict": True},
    "pose_lifter": {"output_frames": "latest", "stride": 10},
}
LEFT_OUT = ("pose_refiner_3d",)
# Two faces in good light, who sit still, at 65 to 71 and 88 to 91 beats per minute.
FACES_SEED = 11
FACES: dict[str, Any] = {
    **{"faces": 2, "rate_hz": 25.0, "duration_s": 30.0, "width_px": 320, "face_px": 90.0},
    **{"motion": "still", "light": "bright", "drift": 0.0, "flicker": 0.0, "pumping": 0.0},
    **{"jpeg_quality": None, "dropped": 0.0, "jitter_s": 0.0, "stamp_error_s": 0.0},
}


def record(
    name: str,
    bag: Path,
    seconds: float,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **arguments: Any,
) -> None:
    """Run a graph for so long, with settings of nodes by their names, and record it."""
    values = {"bag": str(bag), "exclude": NEVER_RECORDED}
    recorder = NodeSpec(
        "recorder", "recorder", parameters=values, environment=process_environment(1)
    )
    nodes = [
        replace(node, parameters={**node.parameters, **(settings or {}).get(node.name, {})})
        for node in graph(name).nodes(arguments)
        if node.name not in LEFT_OUT
    ]
    with GraphRunner([recorder, *nodes], print, respawn=False) as runner:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and runner.poll():
            time.sleep(0.2)


class LateError(RuntimeError):
    """A recording has no instant for a picture: says why."""


def instant(bag: Path, at_s: float) -> float:
    """Return the first instant from `at_s` on at which poses came in time and people are complete.

    Parameters
    ----------
    bag : Path
    at_s : float
        From the first measurement on, as in what is returned.

    Raises
    ------
    LateError
        If there is none within `LATER_S`.
    """
    with BagReader(bag) as reader:
        kinds = reader.topics
        timed = [topic for topic, kind in kinds.items() if kind in TIMED]
        begin_ns = stamp_ns(next(iter(reader.messages(timed))).message)
        read = [
            bag_contents.read_poses(reader, topic)
            for topic, kind in kinds.items()
            if kind in (bag_contents.POSES_2D, bag_contents.POSES_3D)
        ]
    estimates = [poses for poses in read if poses and TRUTH not in poses.models]
    why = ""
    for later_s in np.arange(0.0, LATER_S, 0.1):
        now_ns = begin_ns + round(1e9 * (at_s + later_s))
        found = next(filter(None, (_hindrance(poses, now_ns) for poses in estimates)), "")
        if not found:
            return float(at_s + later_s)
        why = why or found
    raise LateError(
        f"no picture of {bag.name} from {at_s:g} to {at_s + LATER_S:g} s: {why}. Run it when the "
        "machine has nothing else to do"
    )


def _hindrance(poses: bag_contents.Poses, now_ns: int) -> str:
    """Return why these poses are none for a picture at an instant; empty if they are."""
    last = int(np.searchsorted(poses.stamps_ns, now_ns, side="right")) - 1
    if last < 0 or now_ns - poses.stamps_ns[last] > 1e9 * NOW_S:
        return f"{poses.topic} is missing"
    age_s = (poses.received_ns[last] - poses.stamps_ns[last]) / 1e9
    if age_s > OLDEST_S:
        return f"{poses.topic} is {age_s:.1f} s old, {OLDEST_S:g} s are allowed"
    people = poses.people[last]
    if not len(people) or (not poses.flat and np.isnan(people).any()):
        return f"{poses.topic} lacks people or joints"
    return ""


def record_radar_pose(bag: Path) -> None:
    """Record the graph of two radars, with poses in space."""
    record("radar_pose", bag, 35.0, EARLY, **RADAR_POSE, port_base=demo.free_port_base())


def record_multiview(bag: Path) -> None:
    """Record the graph of four cameras."""
    record("multiview", bag, 15.0, emulated=True, motion="walk", seed=2)


def record_heart_rate(bag: Path) -> None:
    """Record the graph of a camera that sees two faces."""
    video = bag.with_name("faces.avi")
    write_video(draw_scene(np.random.default_rng(FACES_SEED), **FACES), video, "FFV1")
    record("heart_rate", bag, 45.0, source=str(video))


PICTURES: dict[str, tuple[Callable[[Path], None], float]] = {
    "radar_pose": (record_radar_pose, 3.4),
    "multiview": (record_multiview, 6.0),
    "heart_rate": (record_heart_rate, 27.0),
}


def main() -> int:
    """Draw those that are named, or all of them."""
    names = sys.argv[1:] or [*PICTURES]
    if unknown := [name for name in names if name not in PICTURES]:
        print(f"no such picture: {unknown[0]}; there are {', '.join(PICTURES)}", file=sys.stderr)
        return 2
    browser.find()  # what is missing is better known at once
    ensure_ros_environment()
    late = 0
    with tempfile.TemporaryDirectory(prefix="radar_pose_") as folder:
        for name in names:
            make, at_s = PICTURES[name]
            bag, path = Path(folder) / name, HERE / f"view_{name}.png"
            make(bag)
            try:
                command.picture(str(bag), str(path), instant(bag, at_s))
                print(f"written: {path}")
            except LateError as error:
                late += 1
                print(f"error: {error}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
