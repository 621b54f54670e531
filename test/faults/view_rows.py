"""R9: rigs of cameras of which one is missing, two are exchanged, late, or wrongly calibrated."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from faults.bench import Bench
from faults.node_cases import BEGIN_NS, SIZE_PX, camera, person_m
from faults.rows import Outcome, row
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.nodes.transforms import camera_transform
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.vision.camera import PinholeCamera

VIEWS = ("camera_0", "camera_1", "camera_2", "camera_3")
RATE_HZ = 15.0
EXACT_M = 5e-3  # the middle of two joints in an image is not that in space
JUDGED_S = 20.0
BESIDE_M = np.array([0.6, 0.4, 0.0])  # in the middle of the rig views that are exchanged agree
SHOTS = 45  # of each view: what is judged needs some seconds of them
SKEW_TOLERANCE_MS = 5.0
DISPLACED_M = 0.1


class Rig:
    """Cameras on the bench, and what they see of one person."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cameras = {view: camera(view) for view in VIEWS}
        self.poses: list[Any] = []

    def tell_places(self, told: dict[str, PinholeCamera], views: tuple[str, ...] = VIEWS) -> None:
        """Tell lenses and places, as whoever calibrated them says."""
        placed = [camera_transform("map", f"{v}_eye", told[v], BEGIN_NS) for v in VIEWS]
        self.bench.deliver("tf_static", TFMessage(transforms=placed))
        for view in views:
            head = Header(frame_id=f"{view}_eye")
            self.bench.deliver(f"{view}/camera_info", convert.camera_to_message(told[view], head))

    def fire(self, view: str, at_s: float, seen_by: str = "") -> None:
        """Let a view fire; what it publishes may be what another one sees."""
        pixels = self.cameras[seen_by or view].project(self.joints_m())
        person = Person(pixels, np.full(len(pixels), 0.9), 0.9, 4)
        message = convert.people_to_message(
            msg.HumanPose2DArray,
            [person],
            convert.header(BEGIN_NS + round(at_s * 1e9), f"{view}_eye"),
            skeleton="hupr14",
            model="test",
            image_width=SIZE_PX[0],
            image_height=SIZE_PX[1],
        )
        self.bench.deliver(f"{view}/pose2d", message)
        until_s = time.monotonic() + 0.06  # instants with partners wait so long
        while self.bench.node._instants._waiting is not None and time.monotonic() < until_s:
            time.sleep(0.001)
        self.poses += [s.message for s in self.bench.take_sent() if s.topic == "pose3d"]

    @staticmethod
    def joints_m() -> np.ndarray:
        """Return the joints of a person who does not move, (14, 3) m."""
        return person_m(0) + BESIDE_M

    def errors_m(self) -> np.ndarray:
        """Return by how much the joints of the last pose are off; empty if there is none."""
        if not self.poses or not self.poses[-1].poses:
            return np.zeros(0)
        places = [k.position for k in self.poses[-1].poses[0].keypoints]
        found = np.array([(p.x, p.y, p.z) for p in places])
        wanted = mapping.convert(self.joints_m(), "hupr14", "h36m17")
        errors = np.linalg.norm(found - wanted, axis=1)
        return errors[np.isfinite(errors)]

    def play(self, views: tuple[str, ...], seen_by: Callable[[str], str] = str) -> None:
        """Let views fire in turn."""
        for shot in range(SHOTS):
            for number, view in enumerate(views):
                self.fire(view, 100.0 + (shot + number / len(views)) / RATE_HZ, seen_by(view))

    def said(self) -> str:
        """Return what the diagnostics say, after the views have been judged."""
        node, until_s = self.bench.node, time.monotonic() + JUDGED_S
        node._judge_s = 0.0
        while not node._judge_s and time.monotonic() < until_s:
            time.sleep(0.01)
        return self.bench.node.health.report(True)[1]

    def shown(self, name: str) -> str:
        """Return one of the values of the diagnostics."""
        return self.bench.node.health.report(True)[2].get(name, "")


def _missing(rig: Rig, rng: random.Random) -> str:
    away = rng.choice(VIEWS)
    rig.tell_places(rig.cameras)
    rig.play(tuple(v for v in VIEWS if v != away))
    if f"{away} is missing" not in rig.said():
        return f"said {rig.said()!r} of {away}"
    if not rig.poses or list(rig.poses[-1].missing_sources) != [away]:
        return "the message names another view"
    return _exact(rig)


def _exact(rig: Rig, within_m: float = EXACT_M) -> str:
    errors = rig.errors_m()
    if len(errors) < 10:
        return f"{len(errors)} joints"
    return f"{errors.max():.4f} m off" if errors.max() > within_m else ""


def _exchanged(rig: Rig, rng: random.Random) -> str:
    one, other = rng.sample(VIEWS, 2)
    rig.tell_places(rig.cameras)
    rig.play(VIEWS, lambda view: {one: other, other: one}.get(view, view))
    said = rig.said()
    return "" if one in said and other in said else f"said {said!r} of {one} and {other}"


def _late(rig: Rig, rng: random.Random) -> str:
    rig.tell_places(rig.cameras)
    skew_ms = rng.uniform(0.0, 490.0)
    late, between, newest = rng.sample(VIEWS, 3)
    rig.fire(late, 100.0 - skew_ms / 1e3)
    rig.fire(between, 100.0 - skew_ms / 2e3)
    rig.fire(newest, 100.0)
    told = rig.shown("skew_ms")
    near = told and abs(float(told) - skew_ms) <= SKEW_TOLERANCE_MS
    return _exact(rig) if near else f"skew of {skew_ms:.1f} ms told as {told!r}"


def _too_late(rig: Rig, rng: random.Random) -> str:
    rig.tell_places(rig.cameras)
    for view in VIEWS[:2]:
        rig.fire(view, 100.0)
    count = len(rig.poses)
    rig.fire(VIEWS[2], 100.0 - rng.uniform(0.52, 5.0))
    dropped = rig.bench.drops().get(f"{VIEWS[2]}: shots that came too late", 0)
    return "" if dropped == 1 and len(rig.poses) == count else f"{dropped} dropped"


def _displaced(rig: Rig, rng: random.Random) -> str:
    """What a shift along the line of sight changes is little; what it changes is bounded."""
    wrong = rng.choice(VIEWS)
    by_m = np.array([rng.gauss(0, 1) for _ in range(3)])
    by_m *= DISPLACED_M / np.linalg.norm(by_m)
    shifted = replace(rig.cameras[wrong], position_m=rig.cameras[wrong].position_m + by_m)
    rig.tell_places({**rig.cameras, wrong: shifted})
    rig.play(VIEWS)
    return _exact(rig, DISPLACED_M)


def _uncalibrated(rig: Rig, rng: random.Random) -> str:
    away = rng.choice(VIEWS)
    others = tuple(view for view in VIEWS if view != away)
    rig.tell_places(rig.cameras, others)
    zero = CameraInfo(width=SIZE_PX[0], height=SIZE_PX[1], header=Header(frame_id=f"{away}_eye"))
    rig.bench.deliver(f"{away}/camera_info", zero)
    rig.play(VIEWS)
    said = rig.said()
    if f"{away} is left out" not in said or "not calibrated" not in said:
        return f"said {said!r} of {away}"
    return _exact(rig)


FAULTS: tuple[Callable[[Rig, random.Random], str], ...] = (
    *(_missing, _exchanged, _late, _too_late, _displaced, _uncalibrated),
)


@row(
    "R9",
    fault="of four views one is missing, two are exchanged, late by 0 to 490 ms or by more, 10 cm "
    "from where the calibration says, or with a CameraInfo of zeros",
    must_hold="the others' pose, exact to 5 mm (10 cm with the wrong calibration); the view named "
    "with the reason; skew told within 5 ms",
    volume=120,
    unit="rigs",
)
def faulty_rigs(volume: int, seed: int) -> Outcome:
    """Let something be wrong with a rig, again and again."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    for number in range(volume):
        try_one = FAULTS[number % len(FAULTS)]
        name = try_one.__name__.strip("_")
        with Bench("densewarper", {"views": " ".join(VIEWS), "threads": 1}) as bench:
            bench.start()
            fault = try_one(Rig(bench), random.Random(f"{seed}/{number}"))
        counts[name] += 1
        if fault:
            faults.append(f"rig {number}, {name}: {fault}")
    told = ", ".join(f"{n} {name}" for name, n in counts.items())
    more = f"; seed {seed}: " + "; ".join(faults[:4]) if faults else ""
    return Outcome(not faults, f"{told}{more}")
