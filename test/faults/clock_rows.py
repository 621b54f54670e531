"""R6: clocks that jump, stand still, or begin anew with each round of a bag."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults.observer import FaultyError, Observer, Said, surroundings
from faults.repeat_rows import content
from faults.rows import Outcome, row
from faults.running import RunningGraph

from radar_pose_ros.bringup import RADARS
from radar_pose_ros.graphs import NodeSpec, process_environment
from radar_pose_ros.models import weights

PERIOD_NS = 100_000_000
BEGIN_NS = 1_700_000_000 * 10**9
WINDOW = 9  # frames
RANGE_STEP_M = 0.043
JUMPS_S = (-10.0, 3600.0)
# What a node counts, and what it writes, when its window, or stream, begins anew.
ANEW = {
    "mamba_pose": ("windows emptied by a gap or a jump in time", "a new window begins"),
    "pose_refiner": ("streams begun anew after a gap or a jump in time", "a new stream begins"),
    "pose_lifter": ("streams begun anew after a gap or a jump in time", "a new stream begins"),
}


class Heatmaps:
    """Publishes heatmaps of both radars and the time, as a simulation would."""

    def __init__(self, observer: Observer, seed: int, tells_time: bool = True) -> None:
        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock

        from radar_pose_ros import msg
        from radar_pose_ros.nodes import convert

        self._convert, self._clock_type = convert, Clock
        entry = weights.load("edge", "millimamba")[1]
        network = weights.network("edge", "millimamba")[0].config
        shape = (network.angle_bins, network.doppler_bins, network.range_bins)
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))
        first_m = entry["heatmap"].get("range_first", 0) * RANGE_STEP_M
        self._messages = []
        for views in noise.astype(np.complex64):
            message = msg.RadarHeatmap(range_first_m=first_m, range_step_m=RANGE_STEP_M)
            message.angle_bins, message.doppler_bins, message.range_bins = shape
            message.valid_ratio = 1.0
            message.data = convert.to_array(views.view(np.float32))
            self._messages.append(message)
        qos = QoSProfile(depth=20)
        self.publishers = [
            observer.node.create_publisher(msg.RadarHeatmap, f"/{radar}/heatmap", qos)
            for radar in RADARS
        ]
        self._clock = observer.node.create_publisher(Clock, "/clock", 10) if tells_time else None
        self.now_ns = BEGIN_NS
        self.sent = 0
        for publisher in self.publishers:
            observer.wait(publisher.get_subscription_count, 90.0, "a reader of heatmaps")
        time.sleep(1.0)  # the reader may learn of the publisher a moment later

    def messages_at(self, stamp_ns: int) -> list[Any]:
        """Return a frame of both radars."""
        for message in self._messages:
            message.header = self._convert.header(stamp_ns, "radar")
            message.frame_index = self.sent
        return self._messages

    def jump(self, step_s: float) -> None:
        """Let the time jump; frames go on from there, a period later."""
        self.now_ns += round(step_s * 1e9)
        self._tell_time()

    def play(self, frames: int, rate: float = 1.0) -> None:
        """Publish frames at their pace."""
        next_s = time.monotonic()
        for _ in range(frames):
            next_s += PERIOD_NS / 1e9 / rate
            self.now_ns += PERIOD_NS
            self._tell_time()
            for publisher, message in zip(
                self.publishers, self.messages_at(self.now_ns), strict=True
            ):
                publisher.publish(message)
            self.sent += 1
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _tell_time(self) -> None:
        if self._clock is not None:
            stamp = self._convert.header(self.now_ns, "").stamp
            self._clock.publish(self._clock_type(clock=stamp))


def nodes(*names: str, sim_time: bool = True, **parameters: Any) -> list[NodeSpec]:
    """Return nodes that make poses of heatmaps, refine and lift them."""
    own: dict[str, dict[str, Any]] = {
        "mamba_pose": {"threads": 1, **parameters},
        "pose_refiner": {"weights": ""},
        "pose_lifter": {"weights": "wrapper"},
    }
    environment = process_environment(1)
    return [
        NodeSpec(name, name, "", {**own[name], "use_sim_time": sim_time}, environment=environment)
        for name in names
    ]


def negative_durations(reports: Sequence[Said]) -> list[str]:
    """Return the values in diagnostics that are times and below zero."""
    found = []
    for said in reports:
        for key, value in said.values.items():
            if key.split("_")[-1] in ("ms", "s") and _number(value) < 0:
                found.append(f"{key} {value}")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class ClockJudge:
    """Counts beginnings anew, lines in the log and negative durations."""

    def __init__(self, graph: RunningGraph, observer: Observer, names: Sequence[str]) -> None:
        self._graph, self._observer, self._names = graph, observer, names
        self.faults: list[str] = []
        self._ids = dict(graph.runner.process_ids)

    def anew(self, name: str) -> int:
        """Return how often a node began anew, as it says in a report that is still to come."""
        now_s = time.monotonic()
        self._observer.wait(
            lambda: self._observer.last(name).at_s > now_s + 0.2, 5.0, f"report of {name}"
        )
        return self._observer.last(name).count(ANEW[name][0])

    def expect(self, name: str, times: int, lowest: int | None = None) -> None:
        """Judge that a node began anew that often in all, and wrote as many lines."""
        found, lines = self.anew(name), len(self.lines(name))
        least = times if lowest is None else lowest
        for what, number in (("began anew", found), ("wrote that", lines)):
            if not least <= number <= times:
                self.faults.append(f"{name} {what} {number} times, not {times}")

    def lines(self, name: str) -> list[str]:
        """Return the lines in which a node says that it begins anew."""
        return [line for line in self._graph.printed(ANEW[name][1]) if f"[{name}]" in line]

    def finish(self) -> None:
        """Judge what holds at any time."""
        for name in self._names:
            below = negative_durations(self._observer.since(name, 0.0))
            if below:
                self.faults.append(f"{name} says {below[0]} ({len(below)} times)")
        if self._graph.printed("Traceback"):
            self.faults.append("a traceback")
        if self._graph.runner.process_ids != self._ids:
            self.faults.append("a node ended")


def _judged(
    run: Callable[[Observer, ClockJudge, list[Any]], str], *names: str, **parameters: Any
) -> Outcome:
    """Start nodes, do something with them, and judge."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    with (
        surroundings(),
        RunningGraph(nodes(*names, **parameters)) as graph,
        Observer() as observer,
    ):
        judge = ClockJudge(graph, observer, names)
        poses: list[Any] = []
        observer.node.create_subscription(
            msg.HumanPose2DArray,
            "/pose2d",
            lambda pose: poses.append((time.monotonic(), pose)),
            RELIABLE,
        )
        figures = ""
        try:
            for name in names:
                observer.wait_active(name, timeout_s=90.0)
            figures = run(observer, judge, poses)
        except FaultyError as error:
            judge.faults.append(str(error))
        judge.finish()
    return Outcome(not judge.faults, "; ".join([figures, *judge.faults[:6]]))


@row(
    "R6",
    fault="simulated time jumps by -10 s or by 1 h, with the stamps",
    must_hold=(
        "every window begins anew once, which one line says; poses again within two windows; no "
        "negative duration in the diagnostics"
    ),
    volume=20,
    unit="jumps",
)
def jump(volume: int, seed: int) -> Outcome:
    """Poses of heatmaps, refined and lifted: each in a process of its own."""
    names = ("mamba_pose", "pose_refiner", "pose_lifter")
    rng = np.random.default_rng(seed)

    def run(observer: Observer, judge: ClockJudge, poses: list[Any]) -> str:
        source = Heatmaps(observer, seed)
        source.play(4 * WINDOW)
        observer.wait(lambda: poses, 10.0, "poses")
        back: list[int] = []
        for number in range(1, volume + 1):
            source.jump(float(rng.choice(JUMPS_S)))
            jumped_s, frames = time.monotonic(), 0
            # The last poses from before may still be on their way when time has jumped.
            after_ns = source.now_ns
            while frames < 4 * WINDOW and not _again(poses, jumped_s, after_ns):
                source.play(1)
                frames += 1
            back.append(frames)
            if frames > 2 * WINDOW:
                judge.faults.append(f"jump {number}: poses again after {frames} frames")
            source.play(3 * WINDOW + int(rng.integers(0, WINDOW)))
        for name in names:
            judge.expect(name, volume)
        return (
            f"{volume} jumps; poses again after at most {max(back)} frames, a window is {WINDOW}"
        )

    return _judged(run, *names)


def _again(poses: list[Any], since_s: float, after_ns: int) -> bool:
    """Whether a pose of a frame after the jump came."""
    return any(
        at_s > since_s
        and abs(_stamp_ns(pose) - after_ns) < 2 * WINDOW * PERIOD_NS
        and _stamp_ns(pose) > after_ns
        for at_s, pose in poses[-40:]
    )


def _stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@row(
    "R6",
    fault="simulated time stands still for 60 s, and goes on",
    must_hold=(
        "no node ends; a window begins anew once at most; poses again within two windows; no "
        "negative duration in the diagnostics"
    ),
    volume=60,
    unit="seconds",
)
def pause(volume: int, seed: int) -> Outcome:
    """A simulation that is paused: neither time nor data."""
    names = ("mamba_pose", "pose_refiner", "pose_lifter")

    def run(observer: Observer, judge: ClockJudge, poses: list[Any]) -> str:
        source = Heatmaps(observer, seed)
        source.play(4 * WINDOW)
        observer.wait(lambda: poses, 10.0, "poses")
        time.sleep(volume)
        silent = [observer.last(name).level for name in names]
        before, began_s = len(poses), time.monotonic()
        source.play(2 * WINDOW)
        if len(poses) == before:
            judge.faults.append("no poses within two windows")
        for name in names:
            judge.expect(name, 1, 0)
        first = poses[before][0] - began_s if len(poses) > before else math.nan
        return f"{volume} s; levels meanwhile {silent}; first pose {first:.2f} s after it"

    return _judged(run, *names)


@row(
    "R6",
    fault="a bag of heatmaps that is played again and again, with its time",
    must_hold=(
        "the window begins anew once a round and says so in one line; every round gives the same "
        "poses; no negative duration in the diagnostics"
    ),
    volume=20,
    unit="rounds",
)
def loop_bag(volume: int, seed: int) -> Outcome:
    """At half the speed, so that a slow machine does not leave out frames."""
    frames = 2 * WINDOW

    def run(observer: Observer, judge: ClockJudge, poses: list[Any]) -> str:
        with surroundings() as folder:
            bag = _write_bag(folder / "bag", observer, frames, seed)
            parameters = {"bag": str(bag), "loop": True, "rate": 0.5, "wait_for": "mamba_pose"}
            player = NodeSpec("replayer", "replayer", "", parameters)
            per_round = frames - WINDOW + 1
            with RunningGraph([player]) as playing:
                round_s = 2 * frames * PERIOD_NS / 1e9
                observer.wait(
                    lambda: len(poses) >= volume * per_round, 60 + 1.3 * volume * round_s, "rounds"
                )
                if playing.printed("Traceback"):
                    judge.faults.append("a traceback of the replayer")
                judge.faults += negative_durations(observer.since("replayer", 0.0))[:1]
        rounds: dict[int, set[Any]] = {}
        for _, pose in poses:
            rounds.setdefault(_stamp_ns(pose), set()).add(content(pose))
        if len(rounds) != per_round:
            judge.faults.append(f"{len(rounds)} instants with a pose instead of {per_round}")
        different = sum(len(found) > 1 for found in rounds.values())
        if different:
            judge.faults.append(f"poses of {different} instants differ between rounds")
        begun = math.ceil(len(poses) / per_round) - 1
        judge.expect("mamba_pose", begun + 1, begun)
        return f"{len(poses)} poses of {begun + 1} rounds, {per_round} a round"

    return _judged(run, "mamba_pose", queue_size=16)


def _write_bag(path: Path, observer: Observer, frames: int, seed: int) -> Path:
    from rclpy.serialization import serialize_message

    from radar_pose_ros.recording import BagWriter

    source = Heatmaps(observer, seed, tells_time=False)
    topics = [f"/{radar}/heatmap" for radar in RADARS]
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, "radar_pose_ros/msg/RadarHeatmap", reliable=True)
        for k in range(frames):
            stamp_ns = BEGIN_NS + k * PERIOD_NS
            for topic, message in zip(topics, source.messages_at(stamp_ns), strict=True):
                bag.write(topic, stamp_ns, serialize_message(message))
            source.sent += 1
    for publisher in source.publishers:
        observer.node.destroy_publisher(publisher)
    return path
