"""``radar-pose soak``: a whole graph for hours, with faults; what must stay as it is does, or not.

Each node is a process of its own. All of them are looked at every two seconds from outside; what
they print is read; poses are received and timed. At the end the sources are stopped, and what was
under way arrives or is counted: then the accounts of all stages have to close exactly.
"""

from __future__ import annotations

import contextlib
import csv
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from radar_pose_ros import bringup, soak_accounts
from radar_pose_ros.demo import free_port_base
from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.graphs import BringupError, NodeSpec, flat, process_environment
from radar_pose_ros.soak_accounts import Balance
from radar_pose_ros.soak_measures import (
    LIMIT_MIB_PER_H,
    PoseFindings,
    Processes,
    ProcessFindings,
    RecentRate,
    Sample,
    Slope,
    Words,
    findings,
    pose_findings,
    together,
)

SAMPLE_S = 2.0
PROGRESS_S = 60.0
START_TIMEOUT_S = 180.0
PREPARED_S = 10.0  # of radar data, which is then repeated: to simulate it takes most of a core
FACE_S, FACE_RATE_HZ, FACE_WIDTH_PX = 12.0, 15.0, 320
NOTICED_S = 2.0  # drivers say that a radar is silent, and that it is back, after half of that
BACK_WITHIN_S = 2.0
AFTER_PLUG_S = 5.0  # without faults at the end, at least
QUIET_S = 4.0  # so long no counter may move: streams that ended are flushed after 2 s
QUIET_TIMEOUT_S = 60.0
REPORTS = 2  # of each node in that time: the first may have been under way
POSE_TOPICS = ("pose2d", "refined/pose2d", "pose3d", "refined/pose3d")
OUTPUTS = ("report.md", "soak.png", "samples.csv", "nodes.log")
# What a graph is started with, if nobody says otherwise: all that it can do.
WHOLE: dict[str, dict[str, Any]] = {
    "radar_pose": {"refiner": True, "lifter": True, "prepare_s": PREPARED_S},
    "points_pose": {},
    "multiview": {"refiner": True},
    "everything": {
        "radar_refiner": True,
        "camera_refiner": True,
        "radar_prepare_s": PREPARED_S,
        "face_at_end": "loop",
    },
}
LOSS = {"radar_pose": "loss", "points_pose": "loss", "everything": "radar_loss"}
PORT_BASE = {"radar_pose": "port_base", "everything": "radar_port_base"}
# Nodes that are stopped at the end so that nothing new comes: a driver tells its board to stop.
SOURCES = ("radar_driver", "rig_emulator", "camera_source")


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Parameters
    ----------
    graph : str
    arguments : mapping
        Arguments of the graph, as text.
    duration_s : float
        From the first pose on.
    loss : float
        Share of packets, or shots, that get lost.
    unplug_every_s, unplug_for_s : float
        From one unplugging to the next, and how long each lasts.
    warm_up_s : float
        What memory, files and threads do before this is not judged.
    out : str
        Folder for the report.
    """

    graph: str = "everything"
    arguments: Mapping[str, str] = field(default_factory=dict)
    duration_s: float = 3600.0
    loss: float = 0.001
    unplug_every_s: float = 600.0
    unplug_for_s: float = 10.0
    warm_up_s: float = 600.0
    out: str = "soak_out"


class Pull(NamedTuple):
    """One way to unplug something: a parameter of an emulator, and its values."""

    node: str
    parameter: str
    value: Any
    back: Any
    what: str


class Event(NamedTuple):
    """What was done to the graph, and when."""

    time_s: float
    what: str


class Check(NamedTuple):
    """One thing that must hold; None if it cannot be told."""

    name: str
    held: bool | None
    figures: str


@dataclass
class Record:
    """What came of a soak.

    Attributes
    ----------
    seconds : float
        From the first pose to the end; 0 if there was none.
    interrupted : bool
    failure : str
        Why it ended early, if it did by itself.
    """

    options: Options
    seconds: float = 0.0
    interrupted: bool = False
    failure: str = ""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    poses: dict[str, PoseFindings] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    expected_back: int = 0  # radars that were unplugged for so long that drivers noticed it
    back_s: list[float] = field(default_factory=list)  # from plugging in to their frames
    words: Words = field(default_factory=lambda: Words(lambda: 0.0))
    silences_s: dict[str, float] = field(default_factory=dict)  # longest between reports, by node
    balances: list[Balance] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    exit_code: int = 0

    @property
    def processes(self) -> dict[str, ProcessFindings]:
        """Findings by label."""
        warm_up_s = self.options.warm_up_s
        return {label: findings(of, warm_up_s) for label, of in self.samples.items()}

    @property
    def together(self) -> Slope:
        """How the memory of all processes together grew, MiB per hour."""
        return together(self.samples, self.options.warm_up_s)

    def checks(self) -> list[Check]:
        """Return all that must hold, and whether it did."""
        again = {label: n for label, n in self.restarts.items() if n}
        found = [
            Check(
                "no unhandled exception, no error",
                not self.words.count,
                f"{self.words.count} in what the nodes printed",
            ),
            Check(
                "no node ended",
                not again and not self.failure,
                self.failure or ", ".join(f"{k} {n} times" for k, n in again.items()) or "none",
            ),
            Check("the end within its time", self.exit_code == 0, f"code {self.exit_code}"),
        ]
        failed = [event.what for event in self.events if event.what.startswith("could not")]
        found.append(Check("faults as planned", not failed, "; ".join(failed) or "all of them"))
        if self.expected_back:
            latest_s = max(self.back_s, default=math.nan)
            came = len(self.back_s) == self.expected_back
            found.append(
                Check(
                    f"frames again within {BACK_WITHIN_S:g} s",
                    came and latest_s <= BACK_WITHIN_S,
                    f"{len(self.back_s)} of {self.expected_back} radars, the last after "
                    f"{latest_s:.2f} s",
                )
            )
        for topic, poses in self.poses.items():
            p50, p95, p99 = poses.age_ms
            found.append(
                Check(
                    f"{topic} comes",
                    poses.count > 0,
                    f"{poses.count}, {poses.rate_hz:.2f} Hz, age p50 {p50:.0f}, p95 {p95:.0f}, "
                    f"p99 {p99:.0f} ms",
                )
            )
        limit = LIMIT_MIB_PER_H
        for label, process in self.processes.items():
            growth = process.growth
            found.append(Check(f"memory of {label}", growth.verdict(limit), describe(growth)))
            for name, count in (("files", process.files), ("threads", process.threads)):
                figures = f"{count.first:.0f} to {count.last:.0f}, at most {count.most:.0f}"
                told = count.flat is not None
                found.append(
                    Check(f"{name} of {label}", count.flat, figures if told else "not seen")
                )
        whole = self.together
        found.append(
            Check("memory of all together", whole.verdict(limit), describe(whole)),
        )
        found += [Check(b.name, b.closes, str(b).partition(": ")[2]) for b in self.balances]
        return found

    @property
    def held(self) -> bool:
        """Whether nothing failed that could be told."""
        return bool(self.seconds) and all(check.held is not False for check in self.checks())


def describe(growth: Slope) -> str:
    """Return how something grows, in words."""
    if not math.isfinite(growth.per_h):
        return "too short to tell"
    return f"{growth.per_h:+.2f} ± {growth.error:.2f} MiB/h"


# -- the graph -------------------------------------------------------------------------------


def graph_nodes(options: Options, face: Callable[[], str] = lambda: "") -> list[NodeSpec]:
    """Return the nodes of the graph, emulated where it can be, with losses.

    Parameters
    ----------
    options : Options
    face : callable
        Returns a video of a face, if one is needed.

    Raises
    ------
    BringupError
        If there is no such graph, it has no emulator, or an argument is wrong.
    """
    name, given = options.graph, options.arguments
    of = bringup.graph(name)
    if name not in WHOLE:
        raise BringupError(f"soak wants a graph that goes on for ever: {', '.join(WHOLE)}")
    emulated = given.get("emulated", "true").lower() == "true"
    values: dict[str, Any] = {
        key: value
        for key, value in WHOLE[name].items()
        if emulated or not key.endswith("prepare_s")
    }
    values["emulated"] = emulated
    if emulated and name in LOSS:
        values[LOSS[name]] = options.loss
    if emulated and name in PORT_BASE:
        values[PORT_BASE[name]] = free_port_base()
    if emulated and name == "everything" and given.get("face", "true").lower() == "true":
        values["face_source"] = given.get("face_source") or face()
    nodes = of.nodes({**values, **given})
    return [_with_loss(node, options.loss) for node in nodes]


def _with_loss(node: NodeSpec, loss: float) -> NodeSpec:
    if node.executable != "rig_emulator":
        return node
    return replace(node, parameters={**node.parameters, "loss": loss})


def write_face(folder: Path) -> str:
    """Write a short video of a drawn face; return its path."""
    import numpy as np

    from radar_pose_ros.simulation.face_scenes import draw_scene
    from radar_pose_ros.simulation.faces import write_video

    about = {"rate_hz": FACE_RATE_HZ, "duration_s": FACE_S, "width_px": FACE_WIDTH_PX}
    path = folder / "face.mp4"
    write_video(draw_scene(np.random.default_rng(0), **about), path)
    return str(path)


def pulls(nodes: Sequence[NodeSpec]) -> list[Pull]:
    """Return what can be unplugged: it is done in turn."""
    found = []
    for node in flat(nodes):
        name = f"/{node.label}"
        if node.executable == "radar_emulator":
            for radars in ("radar_h", "radar_v", "radar_h radar_v"):
                what = radars.replace(" ", " and ")
                found.append(Pull(name, "unplugged", radars, "", what))
        elif node.executable == "rig_emulator":
            view = str(node.parameters["views"]).split()[0]
            found.append(Pull(name, "silent", view, "", view))
        elif node.executable == "uart_emulator":
            found.append(Pull(name, "silent", True, False, "the board"))
    return found


def pose_topics(nodes: Sequence[NodeSpec]) -> list[str]:
    """Return the full names of the topics of poses that a graph publishes."""
    published = {
        "mamba_pose": lambda node: ["pose2d", "pose3d"][node.parameters.get("input") == "points"],
        "pose_refiner": lambda node: f"refined/{node.parameters.get('poses', 'pose2d')}",
        "pose_lifter": lambda node: "pose3d",
        "densewarper": lambda node: "pose3d",
    }
    found: dict[str, None] = {}
    for node in flat(nodes):
        if node.executable in published:
            namespace = f"/{node.namespace.strip('/')}".rstrip("/")
            found[f"{namespace}/{published[node.executable](node)}"] = None
    return [*found]


# -- a run -----------------------------------------------------------------------------------


def run(options: Options, say: Callable[[str], None] = print) -> Record:
    """Run a soak and write its report.

    Parameters
    ----------
    options : Options
    say : callable
        Gets lines for the user.

    Raises
    ------
    BringupError, OSError
        If it cannot begin.
    """
    # Other graphs on this machine are none of its business.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(process_environment(1))
    out = Path(options.out)
    with tempfile.TemporaryDirectory(prefix="radar_pose_soak_") as folder:
        os.environ.setdefault("ROS_LOG_DIR", folder)  # nodes.log has all of it
        nodes = graph_nodes(options, lambda: write_face(Path(folder)))
        out.mkdir(parents=True, exist_ok=True)
        with (out / "nodes.log").open("w", encoding="utf-8") as log, _stoppable() as stopping:
            record = _Soak(options, nodes, log, stopping, say).run()
    write_samples(out / "samples.csv", record.samples)
    return record


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; the second one interrupts."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Soak:
    """One run."""

    def __init__(
        self,
        options: Options,
        nodes: Sequence[NodeSpec],
        log: TextIO,
        stopping: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._nodes, self._say = options, nodes, say
        self._log, self._stopping = log, stopping
        self._writing = threading.Lock()
        self._began_s = time.monotonic()
        self._record = Record(options, words=Words(self._now_s))
        self._processes = Processes()
        self._rates: dict[str, RecentRate] = {}
        self._pulls = pulls(nodes)
        self._pulled: Pull | None = None
        self._plug_in_s = math.inf  # when to
        self._plugged_s = math.inf  # when it was, last
        self._accounts = soak_accounts.accounts(nodes)
        self._record.unaccounted = soak_accounts.without_account(nodes)

    def _now_s(self) -> float:
        """Seconds since the first pose, or since the start before it."""
        return time.monotonic() - self._began_s

    def _hear(self, line: str) -> None:
        """Take a line that a node printed; called in several threads."""
        with self._writing:
            if not self._log.closed:
                self._log.write(f"{self._now_s():9.1f} {line}\n")
                self._log.flush()
            self._record.words.take(line)
            if "frames again, after" in line and math.isfinite(self._plugged_s):
                self._record.back_s.append(self._now_s() - self._plugged_s)

    def run(self) -> Record:
        """Run the graph until the end; return what was seen."""
        from radar_pose_ros.nodes.soak_watch import SoakWatch

        record = self._record
        self._say(
            f"{len(self._nodes)} processes of the graph {self._options.graph}, "
            f"{self._options.duration_s:g} s from the first pose on"
        )
        with SoakWatch(pose_topics(self._nodes)) as watch:
            self._watch = watch
            runner = self._runner = GraphRunner(self._nodes, self._hear)
            with runner:
                if self._wait_for_poses():
                    self._soak()
                    record.seconds = self._now_s()
                    self._settle()
            record.exit_code = runner.exit_code
            record.failure = record.failure or runner.failure
            record.silences_s = dict(watch.silences_s)
            for topic, arrivals in watch.arrivals.items():
                record.poses[topic] = pose_findings(arrivals.times_s, arrivals.ages_s)
        record.samples = self._processes.samples
        return record

    def _wait_for_poses(self) -> bool:
        """Wait for the first pose of each topic; return whether they came."""
        record, deadline_s = self._record, time.monotonic() + START_TIMEOUT_S
        while not all(a.times_s for a in self._watch.arrivals.values()):
            if self._stopping.is_set():
                record.interrupted = True
                return False
            if not self._runner.poll() or time.monotonic() > deadline_s:
                missing = [t for t, a in self._watch.arrivals.items() if not a.times_s]
                record.failure = self._runner.failure or f"nothing came on {', '.join(missing)}"
                return False
            time.sleep(0.1)
        self._say(f"first poses after {self._now_s():.1f} s")
        self._began_s = time.monotonic()
        return True

    def _soak(self) -> None:
        """Watch, and work the faults, until the time is over."""
        options = self._options
        next_sample_s, next_say_s = 0.0, PROGRESS_S
        next_pull_s = options.unplug_every_s
        while (now_s := self._now_s()) < options.duration_s:
            if self._stopping.is_set():
                self._record.interrupted = True
                self._say("stopping: what was until now follows")
                break
            if not self._runner.poll():
                self._record.failure = self._runner.failure or "the graph ended by itself"
                break
            if now_s >= next_sample_s:
                self._processes.look(self._runner.process_ids, round(now_s, 1))
                next_sample_s += SAMPLE_S
            if now_s >= next_say_s:
                self._say(self._progress(now_s))
                next_say_s += PROGRESS_S
            if now_s >= self._plug_in_s:
                self._plug_in()
            left_s = options.duration_s - now_s
            if now_s >= next_pull_s:
                next_pull_s += options.unplug_every_s
                if self._pulls and left_s > options.unplug_for_s + AFTER_PLUG_S:
                    self._unplug()
            self._stopping.wait(0.1)
        self._plug_in()

    def _unplug(self) -> None:
        done = sum(event.what.startswith("unplugged") for event in self._record.events)
        pull = self._pulls[done % len(self._pulls)]
        self._set(pull, pull.value, f"unplugged: {pull.what}")
        self._pulled, self._plugged_s = pull, math.inf
        self._plug_in_s = self._now_s() + self._options.unplug_for_s
        if pull.parameter == "unplugged" and self._options.unplug_for_s > NOTICED_S:
            self._record.expected_back += len(pull.value.split())

    def _plug_in(self) -> None:
        pull, self._pulled, self._plug_in_s = self._pulled, None, math.inf
        if pull is not None:
            self._plugged_s = self._now_s()
            self._set(pull, pull.back, f"plugged in: {pull.what}")

    def _set(self, pull: Pull, value: Any, what: str) -> None:
        if not self._watch.set_parameter(pull.node, pull.parameter, value):
            what = f"could not be {what}"
        self._record.events.append(Event(self._now_s(), what))

    def _progress(self, now_s: float) -> str:
        parts = [f"{now_s / 60:.0f} min"]
        for topic, arrivals in self._watch.arrivals.items():
            rate = self._rates.setdefault(topic, RecentRate(PROGRESS_S))
            rate_hz = rate.rate_hz(now_s, len(arrivals.times_s))
            if math.isnan(rate_hz):
                rate_hz = len(arrivals.times_s) / now_s
            parts.append(f"{topic.lstrip('/')} {rate_hz:.1f} Hz")
        pulled = sum(event.what.startswith("unplugged") for event in self._record.events)
        parts += [
            f"{self._processes.memory_mib:.0f} MiB",
            f"{sum(self._runner.restarts.values())} restarts",
            f"{self._record.words.count} errors",
            f"{pulled} times unplugged",
        ]
        return " | ".join(parts)

    # -- the end -----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Stop the sources, wait until nothing is under way, and close the accounts."""
        if self._record.interrupted:  # perhaps just now
            time.sleep(AFTER_PLUG_S)
        for node in flat(self._nodes):
            if node.executable in SOURCES:
                stopped = self._watch.change_state(f"/{node.label}", "deactivate", 15.0)
                if not stopped:
                    self._hear(f"[{node.label}] [ERROR] was not stopped by deactivate")
        silent = self._wait_until_quiet()
        values = {name: of for name, of in self._values().items() if name not in silent}
        self._record.restarts = dict(self._runner.restarts)
        again = [
            f"/{part.label}"
            for process in self._nodes
            for part in process.each
            if self._record.restarts[process.label]
        ]
        self._record.balances = [
            soak_accounts.balance(account, values, again) for account in self._accounts
        ]

    def _wait_until_quiet(self) -> set[str]:
        """Wait until no number moves; return who has not said so."""
        deadline_s = time.monotonic() + QUIET_TIMEOUT_S
        named = {name for account in self._accounts for name in account.nodes}
        numbers, heard, since_s = self._numbers(), self._heard(), time.monotonic()
        last: list[str] = []
        while time.monotonic() < deadline_s:
            time.sleep(0.2)
            self._runner.poll()
            now = self._numbers()
            moved = [
                a.name for a, b, c in zip(self._accounts, now, numbers, strict=True) if b != c
            ]
            if moved:
                numbers, heard, since_s, last = now, self._heard(), time.monotonic(), moved
            silent = {n for n in named if self._heard().get(n, 0) < heard.get(n, 0) + REPORTS}
            if time.monotonic() - since_s >= QUIET_S and not silent:
                return set()
        if not silent:
            self._hear(
                f"[soak] [ERROR] {QUIET_TIMEOUT_S:g} s after the sources were stopped these still "
                f"counted: {'; '.join(last)}"
            )
        return silent

    def _heard(self) -> dict[str, int]:
        """Return how many reports each node has sent."""
        return {name: report.count for name, report in self._watch.snapshot().reports.items()}

    def _values(self) -> dict[str, Mapping[str, str]]:
        reports = self._watch.snapshot().reports
        return {name: report.values for name, report in reports.items()}

    def _numbers(self) -> list[tuple[int, int]]:
        """Return the sums of all accounts, which no longer move when everything has come."""
        values = self._values()
        found = [soak_accounts.balance(account, values) for account in self._accounts]
        return [(sum(n for _, n in b.given), sum(n for _, n in b.found)) for b in found]


def write_samples(path: Path, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Write all samples as a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["process", *Sample._fields])
        for label, of_process in samples.items():
            for sample in of_process:
                table.writerow([label, *(f"{value:.6g}" for value in sample)])
