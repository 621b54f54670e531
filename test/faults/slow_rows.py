"""R8: networks that are ten times slower than what comes in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from faults.clock_rows import PERIOD_NS, WINDOW, Heatmaps
from faults.observer import FaultyError, Observer, surroundings
from faults.rows import Outcome, row

SLOWER = 10
MARGIN_S = 0.25  # for what is on its way between processes [choice]
# A node whose network takes longer; the rest is as it is.
SLOW_POSES = """
import sys, time
from radar_pose_ros.models.engine import Engine
from radar_pose_ros.nodes import mamba_pose
estimate = Engine.estimate
def slowly(self):
    time.sleep({})
    return estimate(self)
Engine.estimate = slowly
sys.exit(mamba_pose.main())
"""
NO_TIME = "dropped: frames for which the network had no time"
# Of the frames that were looked at, all that became of them but a pose.
WITHOUT_POSE = (
    "frames that only filled a window",
    "dropped: windows without an estimate: newer frames were waiting",
    "dropped: windows with too many missing frames",
    "dropped: estimates with NaN",
)


class Script:
    """A program of a few lines in a process of its own, and what it prints."""

    def __init__(self, code: str, words: Sequence[str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(iter(self._process.stdout.readline, ""))

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)


@row(
    "R8",
    fault="a network that takes 10 times as long as heatmaps take to come, for a minute",
    must_hold=(
        "poses of the newest frame, none older when it comes than two estimates take; every frame "
        "is one with a pose, or one that is counted"
    ),
    volume=600,
    unit="frames",
)
def slow_network(volume: int, seed: int) -> Outcome:
    """Of `mamba_pose`; estimates take ten periods of the frames, and what they take anyway."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    slow_s = SLOWER * PERIOD_NS / 1e9
    words = ["--ros-args", "-p", "threads:=1", "-p", "output_frame:=latest"]
    faults: list[str] = []
    ages_s: list[float] = []
    figures = ""
    with (
        surroundings(),
        Script(SLOW_POSES.format(slow_s), words) as script,
        Observer() as observer,
    ):

        def take(pose: Any) -> None:
            stamp = pose.header.stamp
            ages_s.append(time.time() - stamp.sec - stamp.nanosec / 1e9)

        observer.node.create_subscription(msg.HumanPose2DArray, "/pose2d", take, RELIABLE)
        try:
            observer.wait_active("mamba_pose", timeout_s=90.0)
            source = Heatmaps(observer, seed, tells_time=False)
            source.now_ns = time.time_ns()
            source.play(volume)
            time.sleep(3 * slow_s)
            begin_s = time.monotonic()
            observer.wait(lambda: observer.last("mamba_pose").at_s > begin_s + 0.2, 5.0, "report")
        except FaultyError as error:
            faults.append(str(error))
        said = observer.last("mamba_pose")
        took_s = float(said.values.get("estimation_ms", "nan")) / 1e3
        frames, no_time = said.count("pairs"), said.count(NO_TIME)
        looked_at = said.count("frames looked at")
        without = {name: said.count(name) for name in WITHOUT_POSE}
        figures = (
            f"{volume} frames, {frames} came; {len(ages_s)} poses, {no_time} pushed out, "
            f"{sum(without.values())} looked at without a pose"
        )
        if ages_s:
            figures += f"; estimate {took_s:.2f} s, age at most {max(ages_s):.2f} s"
        lost = sum(
            said.count(f"dropped: heatmaps of {radar} lost on the way here")
            for radar in ("radar_h", "radar_v")
        )
        if frames + said.count("heatmaps that went on alone") + lost < volume:
            faults.append("frames are missing that nobody counted")
        if frames != looked_at + no_time:
            faults.append(f"{frames} frames, {looked_at} looked at and {no_time} pushed out")
        if looked_at != len(ages_s) + sum(without.values()):
            faults.append(f"{looked_at} looked at, {len(ages_s)} poses, {without}")
        if ages_s and max(ages_s) > 2 * took_s + MARGIN_S:
            faults.append("poses are too old")
        least = (volume - WINDOW) * PERIOD_NS / 1e9 / (2 * slow_s)
        if len(ages_s) < int(least):
            faults.append(f"less than {int(least)} poses")
        if not script.runs:
            faults.append("the node ended")
    if any("Traceback" in line for line in script.lines):
        faults.append("a traceback")
    return Outcome(not faults, "; ".join([figures, *faults]))
