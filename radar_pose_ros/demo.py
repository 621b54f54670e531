"""``radar-pose demo``: from emulated boards to a skeleton, recorded, measured and drawn.

The graph runs as it would on a robot: each node a process of its own, Fast DDS between them, real
UDP packets into the real driver. Everything that is reported is taken from the recorded bag and
from what the nodes say of themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from radar_pose_ros import bringup, measurements, recording
from radar_pose_ros.bringup import GraphRunner, NodeSpec, process_environment

RADARS = bringup.RADARS
START_TIMEOUT_S = 120.0  # from the start of the processes to the first frame, without preparation
SPARE_S = 3.0  # so much more is prepared than is recorded: after it the person jumps back
MAX_PREPARED_S = 60.0  # a longer demo is simulated while it runs
PREPARE_TIMEOUT_RATIO = 8.0  # longest preparation, per second of data
NODES_TO_WAIT_FOR = 2  # reports of each node after the radars have stopped
SHORT_S = 10.0  # in less, refined and lifted poses may not come before the end
# What topics hold, in words.
_CALLED = {
    "refined/pose2d": "refined",
    "pose3d": "lifted",
    "refined/pose3d": "lifted and refined",
}
MAX_PICTURES = 200  # in pose.gif: more would have to be smaller to fit
OUTPUTS = ("bag", "pose.gif", "summary.json", "nodes.log")
# Not needed to recompute or judge anything, or too large.
NEVER_RECORDED = "parameter_events transition_event rosout"
EMULATOR = "/radar_emulator"


class DemoError(RuntimeError):
    """The demo cannot go on: says why."""


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Parameters
    ----------
    seconds : float
        Time to record, from the first frame on.
    out : str
        Folder for what the demo leaves.
    with_adc : bool
        Record raw samples too.
    seed : int
        Of person, motion, noise and faults.
    motion : str
        One motion's name, or "random".
    loss : float
        Share of the data packets that get lost, 0..1.
    weights : str
        Preset or path; "" for the shipped ones.
    refine, lift : bool
        Whether poses are brought to 30 Hz, and lifted to space.
    gif : bool
        Draw ``pose.gif``.
    """

    seconds: float = 20.0
    out: str = "demo_out"
    with_adc: bool = False
    seed: int = 0
    motion: str = "random"
    loss: float = 0.0
    weights: str = ""
    refine: bool = False
    lift: bool = False
    gif: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Parameters
    ----------
    exit_code : int
        0 if poses were published and all numbers are finite, else 1; 130 after Ctrl-C.
    summary : dict, optional
        What ``summary.json`` holds; None if there was nothing to measure.
    """

    exit_code: int
    summary: dict[str, Any] | None = None


def run(options: Options, say: Callable[[str], None] = print) -> Outcome:
    """Run the demo.

    Parameters
    ----------
    options : Options
    say : callable
        Gets lines for the user.

    Raises
    ------
    DemoError, models.weights.WeightsError, bringup.BringupError
        If it cannot begin.
    """
    from radar_pose_ros.models import weights
    from radar_pose_ros.models.baselines import MeanPoseBaseline
    from radar_pose_ros.simulation.body import MOTIONS

    if options.motion not in ("random", *MOTIONS):
        raise DemoError(
            f"unknown motion {options.motion!r}, there are random, {', '.join(MOTIONS)}"
        )
    chosen = options.weights or "edge"
    # what is missing is better known before anything starts
    entries = {"mamba_pose": weights.load(chosen, "millimamba")[1]}
    for node, name, model, wanted in (
        ("pose_refiner", "refiner_weights", "mixsynthformer", options.refine),
        ("pose_lifter", "lifter_weights", "diffhpe", options.lift),
        (
            "pose_refiner_3d",
            "refiner_3d_weights",
            "mixsynthformer",
            options.refine and options.lift,
        ),
    ):
        if wanted:
            entries[node] = weights.load(bringup.default("radar_pose", name), model)[1]
    baseline = MeanPoseBaseline.load(entries["mamba_pose"])
    out = Path(options.out)
    nodes = graph(replace(options, weights=chosen), out / "bag")
    with _taken_over(out):
        return _run(options, out, nodes, entries, baseline, say)


def _run(
    options: Options,
    out: Path,
    nodes: list[NodeSpec],
    entries: dict[str, dict[str, Any]],
    baseline: Any,
    say: Callable[[str], None],
) -> Outcome:
    """Run the graph, measure what it recorded, and say so."""
    load_before = os.getloadavg()[0]  # what else the machine has to do
    try:
        counts = _run_graph(nodes, options, out, say)
    except KeyboardInterrupt:
        say("Stopped.")
        return Outcome(130)
    if counts is None:
        return Outcome(1)
    say("Measuring ...")
    summary = summarize(
        options, out / "bag", counts, entries, baseline, load_before, out / "pose.gif"
    )
    measurements.write_json(out / "summary.json", summary)
    say(describe(summary))
    say(f"In {out}/: " + ", ".join(p for p in OUTPUTS if (out / p).exists()))
    short = too_short(summary)
    missing = [name for name in unusable(summary) if name.rpartition(".")[0] not in short]
    if short:
        what = ", ".join(_CALLED[name] for name in short)
        say(
            f"Not measured: poses that are {what}. {summary['seconds']:g} s are too short, for "
            f"networks look at seconds of poses, one after the other: take {SHORT_S:g} s."
        )
    if missing:
        say(f"Not measured: {', '.join(missing)}.")
        _quote(out / "nodes.log", say)
    return Outcome(1 if short or missing else 0, summary)


@contextlib.contextmanager
def _taken_over(out: Path) -> Iterator[None]:
    """Make the folder this demo's own: remove what an earlier one left in it, and nothing else.

    Raises
    ------
    DemoError
        If another demo is writing there, or there is a ``bag`` that no demo left.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(f"another demo is writing to {out}: name another folder") from None
        if (out / "bag").exists() and not (out / "nodes.log").exists():
            raise DemoError(
                f"{out / 'bag'} is not an earlier demo's, which leaves nodes.log beside it: name "
                "another folder, or remove it"
            )
        for name in OUTPUTS:
            path = out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(folder)


def prepared_s(options: Options) -> float:
    """Return how much radar data is simulated before the graph begins; 0 to do it meanwhile.

    Simulating takes most of a core, which a small computer needs for the network.
    """
    return options.seconds + SPARE_S if options.seconds <= MAX_PREPARED_S else 0.0


def graph(options: Options, bag: Path) -> list[NodeSpec]:
    """Return the nodes: the graph ``radar_pose`` with emulated boards, and a recorder."""
    nodes = bringup.graph("radar_pose").nodes(
        {
            "emulated": True,
            "weights": options.weights,
            "refiner": options.refine,
            "lifter": options.lift,
            "motion": options.motion,
            "seed": options.seed,
            "loss": options.loss,
            "prepare_s": prepared_s(options),
            "split": "test",
            "port_base": free_port_base(),
        }
    )
    exclude = NEVER_RECORDED if options.with_adc else f"adc {NEVER_RECORDED}"
    recorder = NodeSpec(
        "recorder",
        "recorder",
        parameters={"bag": str(bag.absolute()), "exclude": exclude},
        environment=process_environment(1),
    )
    return [
        recorder,
        *(replace(n, parameters={**n.parameters, **tolerance(n, options.loss)}) for n in nodes),
    ]


def tolerance(node: NodeSpec, loss: float) -> dict[str, float]:
    """Return the parameters that let a node accept frames with this share of packets missing.

    By default a driver drops frames that lack more than 1 %: with more loss than that on purpose,
    nothing would be left to look at.
    """
    if not loss:
        return {}
    if node.executable == "radar_driver":
        return {"max_missing_ratio": min(1.0, 0.01 + 2 * loss)}
    if node.executable == "radar_preprocessor":
        return {"min_valid_ratio": max(0.0, 0.9 - 10 * loss)}  # a chirp takes up to five packets
    return {}


_RESERVATIONS: list[IO[str]] = []


def free_port_base(first: int = 4096, step: int = 200, tries: int = 20) -> int:
    """Return the first UDP port base at which no other emulated pair of boards is running.

    A locked file reserves it until this process ends: the boards bind their ports seconds later.
    Raises `DemoError` if there is none.
    """
    for base in range(first, first + step * tries, step):
        reservation = (Path(tempfile.gettempdir()) / f"radar_pose_ports_{base}.lock").open("w")
        with contextlib.ExitStack() as stack:
            try:
                fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for offset in (0, 2, 100, 102):
                    probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    probe.bind(("127.0.0.1", base + offset))
            except OSError:
                reservation.close()
                continue
            _RESERVATIONS.append(reservation)
            return base
    raise DemoError(f"no free UDP ports between {first} and {first + step * tries}")


def _run_graph(
    nodes: list[NodeSpec], options: Options, out: Path, say: Callable[[str], None]
) -> dict[str, dict[str, int]] | None:
    """Run the graph for the time asked for; return the radars' counts, or None if it failed."""
    # Other graphs on this machine are none of the demo's business.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.update(process_environment(1))
    from radar_pose_ros.nodes.monitor import Monitor

    with (
        tempfile.TemporaryDirectory(prefix="radar_pose_demo_") as ros_log,
        _Log(out / "nodes.log") as log,
        _terminable(),
    ):
        os.environ.setdefault("ROS_LOG_DIR", ros_log)  # nodes.log has all of it
        with (
            Monitor() as monitor,
            GraphRunner(nodes, log.write, respawn=False) as runner,
            _display() as show,
        ):
            failure = _watch(runner, monitor, options, show)
            counts = None if failure else _stop_radars(monitor)
    if failure:
        say(f"{failure}.")
        _quote(log.path, say)
    return counts


def _quote(log: Path, say: Callable[[str], None], lines: int = 12) -> None:
    """Show the end of what the nodes printed."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    say(f"The last lines of {log}:")
    for line in text.splitlines()[-lines:]:
        say(f"  {line}")


def _watch(
    runner: GraphRunner, monitor: Any, options: Options, show: Callable[[str], None]
) -> str | None:
    """Wait until enough is recorded, showing progress; return what went wrong, if anything."""
    began_s = time.monotonic()
    patience_s = START_TIMEOUT_S + PREPARE_TIMEOUT_RATIO * prepared_s(options)
    first_frame_s = math.inf
    while True:
        if not runner.poll():
            return "A node ended by itself"
        now_s = time.monotonic()
        snapshot = monitor.snapshot()
        failed = failures(snapshot)
        if failed:
            return failed
        if first_frame_s == math.inf and all(_frames_received(snapshot, r) for r in RADARS):
            first_frame_s = now_s
        if first_frame_s == math.inf:
            doing = snapshot.value(EMULATOR, "prepared") or "nodes are starting"
            show(f"{now_s - began_s:5.1f} s | {doing}")
            if now_s - began_s > patience_s:
                return f"No frames after {now_s - began_s:.0f} s"
        else:
            show(progress(snapshot, now_s - first_frame_s, options.seconds))
            if now_s - first_frame_s >= options.seconds:
                return None
        time.sleep(0.25)


def failures(snapshot: Any) -> str:
    """Return what nodes say that could not configure or activate, or ``""``."""
    return "; ".join(
        f"{name.strip('/')}: {report.message}"
        for name, report in sorted(snapshot.reports.items())
        if report.message.startswith("cannot ")
    )


def _number(text: str) -> int:
    try:
        return int(float(text))
    except ValueError:
        return 0


def _frames_received(snapshot: Any, radar: str) -> int:
    driver = f"/{radar}/radar_driver"
    return sum(
        _number(snapshot.value(driver, key)) for key in ("frames_complete", "frames_incomplete")
    )


def progress(snapshot: Any, elapsed_s: float, total_s: float) -> str:
    """Return one line on how the graph is doing."""
    parts = [f"{min(elapsed_s, total_s):5.1f} of {total_s:.0f} s"]
    for radar in RADARS:
        lost = _number(snapshot.value(f"/{radar}/radar_driver", "packets_lost"))
        parts.append(f"{radar} {_frames_received(snapshot, radar)} frames, {lost} packets lost")
    parts.append(f"{snapshot.poses} poses, {snapshot.pose_rate_hz:.1f} Hz")
    if math.isfinite(snapshot.pose_age_s):
        parts.append(f"{1e3 * snapshot.pose_age_s:.0f} ms old")
    return " | ".join(parts)


def _stop_radars(monitor: Any) -> dict[str, dict[str, int]]:
    """Stop both radars, let what is under way arrive, and return what was sent and received."""
    for radar in RADARS:
        monitor.change_state(f"/{radar}/radar_driver", "deactivate")
    wanted = [EMULATOR, *(f"/{radar}/radar_driver" for radar in RADARS)]
    before = monitor.snapshot().reports
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        reports = monitor.snapshot().reports
        heard = [
            reports[n].count - before[n].count for n in wanted if n in reports and n in before
        ]
        if heard and min(heard) >= NODES_TO_WAIT_FOR:
            break
        time.sleep(0.1)
    return {radar: radar_counts(monitor.snapshot(), radar) for radar in RADARS}


def radar_counts(snapshot: Any, radar: str) -> dict[str, int]:
    """Return what a radar's board sent and its driver received, as they say."""
    driver = f"/{radar}/radar_driver"
    return {
        "frames_sent": _number(snapshot.value(EMULATOR, f"{radar} frames_sent")),
        "frames_received": _frames_received(snapshot, radar),
        "frames_incomplete": _number(snapshot.value(driver, "frames_incomplete")),
        "packets_sent": _number(snapshot.value(EMULATOR, f"{radar} packets_sent")),
        "packets_received": _number(snapshot.value(driver, "packets_accepted")),
        "packets_lost": _number(snapshot.value(driver, "packets_lost")),
        "packets_lost_on_purpose": _number(snapshot.value(EMULATOR, f"{radar} packets_dropped")),
        "bytes_missing": _number(snapshot.value(driver, "bytes_missing")),
    }


def summarize(
    options: Options,
    bag: Path,
    counts: dict[str, dict[str, int]],
    entries: dict[str, dict[str, Any]],
    baseline: Any,
    load_before: float,
    gif: Path,
) -> dict[str, Any]:
    """Measure what was recorded, and draw it.

    Parameters
    ----------
    options : Options
    bag : Path
    counts : dict
        By radar, see `radar_counts`.
    entries : dict
        By node, the entries of its weights in the manifest.
    baseline : models.baselines.MeanPoseBaseline
    load_before : float
        Processes that wanted to run, on average over the minute before.
    gif : Path
        Where to draw, if `options.gif`.

    Returns
    -------
    dict
        The content of ``summary.json``.
    """
    from radar_pose_ros import drawing, evaluation, refined_evaluation
    from radar_pose_ros.models.millimamba import PRESETS

    with contextlib.suppress(recording.RecordingError):
        recording.repair(bag)  # only if the recorder had to be killed
    evidence = evaluation.read(bag, baseline)
    config = PRESETS[entries["mamba_pose"]["preset"]]
    refined = refined_evaluation.measure(bag, evidence)
    summary: dict[str, Any] = {
        "radars": counts,
        "poses_published": len(evidence.poses.stamps_ns),
        **evaluation.timing(evidence, frames_ahead=config.frames // 2),
        **evaluation.windows(evidence, frames_ahead=config.frames // 2),
        **evaluation.score(evidence),
        **refined,
        "weights": {node: _weights(entry) for node, entry in entries.items()},
        "bodies": "test",
        "motion": options.motion,
        "seed": options.seed,
        "seconds": options.seconds,
        "loss": options.loss,
        "load_before": load_before,
        "machine": measurements.machine(),
    }
    if options.gif and len(evidence.poses.stamps_ns):
        pictures = islice(evaluation.pictures(evidence, *_last_poses(bag)), MAX_PICTURES)
        drawing.write_gif(gif, pictures, rate_hz=10.0)
    return summary


def _last_poses(bag: Path) -> tuple[Any, Any]:
    """Return what `evaluation.pictures` draws besides: refined poses, and those in space.

    The latter refined, if there are such; None without any.
    """
    import numpy as np

    from radar_pose_ros import evaluation, refined_evaluation

    with recording.BagReader(bag) as reader:
        plane, refined, lifted = (
            next((topic for topic in reader.topics if topic.endswith(f"/{name}")), None)
            for name in ("refined/pose2d", "refined/pose3d", "pose3d")
        )
        poses = evaluation.read_poses(reader, plane) if plane else None
        topic = refined or lifted
        if topic is None:
            return poses, None
        space = refined_evaluation.read_poses_3d(reader, topic)
    return poses, (space.stamps_ns, np.where(space.placed[:, None, None], space.joints_m, np.nan))


def _weights(entry: dict[str, Any]) -> dict[str, str]:
    """Return a network's name, as messages have it, and its file's hash."""
    sha256 = str(entry["sha256"])
    return {"id": f"{entry['model']}/{entry['preset']}@{sha256[:8]}", "sha256": sha256}


def too_short(summary: dict[str, Any]) -> list[str]:
    """Return the topics of which a number is missing after so short a time."""
    if summary["seconds"] >= SHORT_S:
        return []
    numbers = {name: summary[name].values() for name in _CALLED if name in summary}
    return [name for name, values in numbers.items() if not all(map(math.isfinite, values))]


def unusable(summary: dict[str, Any]) -> list[str]:
    """Return the names of the numbers that are not finite."""
    numbers = {name: value for name, value in _flat(summary) if not isinstance(value, str)}
    return sorted(
        name
        for name, value in numbers.items()
        if not name.startswith("machine") and (value is None or not math.isfinite(value))
    )


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def results(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the summary as rows of results."""
    row = measurements.result
    mean_pose = "mean training pose at the strongest return"
    rows = [
        row("demo.pose_rate_hz", summary["pose_rate_hz"], "Hz", None, "radars: 10 Hz"),
        row("demo.latency_p50_ms", summary["latency_ms"]["p50"], "ms"),
        row("demo.latency_p95_ms", summary["latency_ms"]["p95"], "ms", 550.0, at_most=True),
        row("demo.windows_dropped", summary["windows_dropped"], "", 0.0, at_most=True),
        row("demo.pck_0_2", summary["pck_0_2"], "", summary["baseline"]["pck_0_2"], mean_pose),
        row("demo.ap", summary["ap"], "", summary["baseline"]["ap"], mean_pose),
        row("demo.load_before", summary["load_before"]),
    ]
    for radar, counts in summary["radars"].items():
        on_purpose = counts["packets_lost_on_purpose"]
        lost = counts["packets_lost"]
        rows.append(
            row(f"demo.{radar}.packets_lost", lost, "", on_purpose, "injected", at_most=True)
        )
    for topic in _CALLED:
        measured = summary.get(topic, {})
        for name, value in measured.items():
            if name.startswith("linear_"):
                continue
            lines = measured.get(f"linear_{name}")
            against = None if lines is None else f"straight lines: {lines:.4g}"
            identifier = f"demo.{topic.replace('/', '_')}.{name}"
            rows.append(row(identifier, value, _unit(name), None, against))
    return rows


def _unit(name: str) -> str:
    """Return the unit that the end of a number's name says."""
    if name.endswith("accel_px"):
        return "px per frame^2"
    units = {"hz": "Hz", "ms": "ms", "mm": "mm", "px": "px"}
    return units.get(name.rpartition("_")[2], "")


def describe(summary: dict[str, Any]) -> str:
    """Return the summary in a few lines."""
    lines = []
    for radar, counts in summary["radars"].items():
        lines.append(
            f"{radar}: {counts['frames_received']} of {counts['frames_sent']} frames received, "
            f"{counts['packets_lost']} packets lost"
        )
    latency, baseline = summary["latency_ms"], summary["baseline"]
    lines += [
        f"poses: {summary['poses_published']} at {summary['pose_rate_hz']:.1f} Hz, "
        f"{latency['p50']:.0f} ms after the {latency['from']} (p95 {latency['p95']:.0f} ms)",
        f"windows dropped: {summary['windows_dropped']} of {summary['windows']}",
        f"PCK 0.2: {summary['pck_0_2']:.3f} (baseline {baseline['pck_0_2']:.3f})",
        f"AP: {summary['ap']:.3f} (baseline {baseline['ap']:.3f})",
    ]
    measured = {name: summary[name] for name in _CALLED if name in summary}
    for name in too_short(summary):
        del measured[name]
    if refined := measured.get("refined/pose2d"):
        lines.append(
            f"refined: {refined['rate_hz']:.1f} Hz, {refined['age_ms'] / 1e3:.1f} s old, "
            f"{refined['error_px']:.1f} px off (straight lines "
            f"{refined['linear_error_px']:.1f} px), acceleration "
            f"{refined['accel_px']:.2f} px per frame^2 ({refined['linear_accel_px']:.2f})"
        )
    for name, what in (("pose3d", "lifted"), ("refined/pose3d", "lifted, refined")):
        if lifted := measured.get(name):
            lines.append(
                f"{what}: {lifted['rate_hz']:.1f} Hz, {lifted['age_ms'] / 1e3:.1f} s old, MPJPE "
                f"{lifted['mpjpe_mm']:.0f} mm, aligned {lifted['p_mpjpe_mm']:.0f} mm, bones "
                f"change by {lifted['bone_length_mm']:.0f} mm, {lifted['place_mm'] / 1e3:.2f} m "
                "from the true place"
            )
            if "coverage_90" in lifted:
                lines[-1] += f", 90 % ellipsoids hold {lifted['coverage_90']:.0%} of the joints"
            if "lost" in lifted:
                lines[-1] += f"; no time for {lifted['lost']:.1%} of the poses"
            if "placed_by_range" in lifted:
                lines[-1] += f", {lifted['placed_by_range']:.0%} of the people placed by range"
    return "\n".join(lines)


class _Log:
    """What the nodes print."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def __enter__(self) -> _Log:
        self._stream = self.path.open("w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stream.close()

    def write(self, line: str) -> None:
        """Add a line; lines that come after the end are left out."""
        with self._lock:
            if not self._stream.closed:
                self._stream.write(line + "\n")
                self._stream.flush()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does: with all its processes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _display() -> Iterator[Callable[[str], None]]:
    """Give a function that shows a line of progress: in place on a terminal, else now and then."""
    if sys.stdout.isatty():
        from rich.console import Console

        with Console().status("", refresh_per_second=4) as status:
            yield status.update
        return
    last_s = -math.inf

    def show(text: str) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= 2.0:
            last_s = time.monotonic()
            print(text, flush=True)

    yield show
