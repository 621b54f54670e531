"""Several machines: the graph split over hosts with a bad network between them."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from faults.rows import Outcome, row
from hosts.heatmap_stream import Stream
from hosts.network import WIFI, Network, unavailable

from radar_pose_ros.environment import local_environment, ros_is_ready
from radar_pose_ros.nodes import transport

UP = ("-m", "radar_pose_ros.cli", "up", "radar_pose", "composed:=true")
EMULATED = ("emulated:=true", "motion:=walk", "prepare_s:=3.0")
COMPRESSED = "heatmap_transport:=compressed"
WATCHER = str(Path(__file__).parents[1] / "hosts" / "pose_watcher.py")
STREAM = str(Path(__file__).parents[1] / "hosts" / "heatmap_stream.py")

PERIOD_S = 0.1
LEAST_RATE_HZ = 9.5  # what rounds to 10
MOST_MISSING = 0.05  # share of the frames without a pose at the viewer [choice]
LONGEST_GAP_S = 0.5  # without a pose at the viewer [choice]
OLDEST_S = 1.0  # 95 of 100 poses are younger there; half a window is 0.4 s of it [choice]
STARTS_WITHIN_S = 60.0
STEADY_S = 2.0  # that long poses come at the rate before they are looked at


@dataclass(frozen=True)
class Watched:
    """Poses as they came to a viewer, in order of arrival: stamps and times, in s."""

    stamps_s: np.ndarray
    times_s: np.ndarray

    def judge(self) -> Outcome:
        """Return whether they came at 10 Hz, none missing, and in time."""
        if len(self.stamps_s) < 2:
            return Outcome(False, f"{len(self.stamps_s)} poses at the viewer")
        rate_hz = (len(self.times_s) - 1) / (self.times_s[-1] - self.times_s[0])
        gap_s = np.diff(self.times_s).max()
        age_s = np.percentile(self.times_s - self.stamps_s, 95)
        steps = np.round(np.diff(np.unique(self.stamps_s)) / PERIOD_S)
        missing = int(np.maximum(steps - 1, 0).sum())
        held = rate_hz >= LEAST_RATE_HZ and gap_s <= LONGEST_GAP_S and age_s <= OLDEST_S
        return Outcome(
            bool(held and missing <= MOST_MISSING * (1 + steps.sum())),
            f"{len(self.stamps_s)} poses at {rate_hz:.2f} Hz, {missing} missing, longest gap "
            f"{gap_s:.2f} s, age of 95 % below {age_s:.2f} s",
        )


def host_environment(folder: str) -> dict[str, str]:
    """Return the variables of processes that talk to other hosts."""
    base = dict(os.environ) if ros_is_ready() else local_environment(os.environ)
    tests = str(Path(__file__).parents[1])
    return {
        **base,
        "PYTHONPATH": f"{tests}{os.pathsep}{base.get('PYTHONPATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "ROS_DOMAIN_ID": "81",
        "ROS_LOG_DIR": folder,
        "XDG_RUNTIME_DIR": folder,  # links to emulated serial ports, which all hosts see
        "OMP_NUM_THREADS": "1",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(transport.profile()),
    }


def watch(parts: Mapping[str, Sequence[Sequence[str]]], seconds: float, seed: int) -> Outcome:
    """Run programs on hosts, by host, and judge the poses that come to the last one.

    Parameters
    ----------
    parts : mapping
        By host, arguments of Python for each program.
    seconds : float
        How long to watch, once poses come steadily.
    seed : int
        Of the network's losses.
    """
    reason = unavailable()
    if reason:
        return Outcome(False, f"not run: {reason}")
    link = replace(WIFI, seed=seed)
    network = Network(dict.fromkeys(parts, link))
    with tempfile.TemporaryDirectory(prefix="hosts_run_") as folder:
        logs = Path(folder) / "log.txt"
        poses = Path(folder) / "poses.txt"
        environment = host_environment(folder)
        with network, logs.open("w") as log, poses.open("w") as printed:
            *_, viewer = network.hosts.values()
            for name, programs in parts.items():
                for words in programs:
                    network[name].start([sys.executable, *words], environment, log)
            viewer.start([sys.executable, WATCHER], environment, printed)
            watched = _watched(poses, seconds)
        outcome = watched.judge()
        said = "" if outcome.held else f"; the programs said: {logs.read_text()[-2000:]}"
    counts = network.counts.values()
    lost, full, unread = (sum(c[key] for c in counts) for key in ("lost", "queue_full", "unread"))
    frames, megabits = sum(c["frames"] for c in counts), 8e-6 * sum(c["bytes"] for c in counts)
    return Outcome(
        outcome.held,
        f"{outcome.figures}; relay of {len(parts)} hosts, 20 ms, 1 %, 50 Mbit/s: {frames} frames, "
        f"{megabits:.0f} Mbit, {lost} lost, {full} for full queues, {unread} unread{said}",
    )


def _watched(poses: Path, seconds: float) -> Watched:
    """Return what came to the viewer in that time, from when poses have come steadily."""
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    enough = STEADY_S * LEAST_RATE_HZ - 1
    while time.monotonic() < deadline_s and len(_since(poses, STEADY_S).times_s) < enough:
        time.sleep(0.1)
    time.sleep(seconds)
    return _since(poses, seconds)


def _since(poses: Path, seconds: float) -> Watched:
    """Return what came in the last seconds."""
    now_s = time.time()
    lines = [line.split() for line in poses.read_text().splitlines() if line[:1].isdigit()]
    table = 1e-9 * np.array([line[:2] for line in lines if len(line) == 3], float).reshape(-1, 2)
    table = table[table[:, 1] >= now_s - seconds]
    return Watched(table[:, 0], table[:, 1])


@row(
    "hosts",
    fault="three machines, links of 20 ms, 1 % loss, 50 Mbit/s",
    must_hold="poses at 10 Hz at the viewer",
    volume=120,
    unit="s",
)
def three_hosts(volume: int, seed: int) -> Outcome:
    """Radars here, inference there, viewing elsewhere."""
    return watch(
        {
            "radars": [(*UP, "part:=radars", f"seed:={seed}", *EMULATED)],
            "inference": [(*UP, "part:=inference", COMPRESSED)],
            "view": [(*UP, "part:=view", COMPRESSED)],
        },
        volume,
        seed,
    )


@row(
    "hosts",
    fault="two machines, links of 20 ms, 1 % loss, 50 Mbit/s",
    must_hold="poses at 10 Hz at the viewer",
    volume=60,
    unit="s",
)
def two_hosts(volume: int, seed: int) -> Outcome:
    """Radars on the robot, everything else on a laptop."""
    return watch(
        {
            "robot": [(*UP, "part:=radars", f"seed:={seed}", *EMULATED)],
            "laptop": [
                (*UP, "part:=inference", COMPRESSED),
                (*UP, "part:=view", COMPRESSED),
            ],
        },
        volume,
        seed,
    )


WAYS = tuple((t, reliable) for t in ("raw", "compressed") for reliable in (False, True))
SIZES = {"32 x 8 x 64": ((12, 8, 64), 32), "64 x 8 x 256": ((12, 8, 256), 64)}
LEAST_SHARE = 0.99
OLDEST_HEATMAP_S = 0.25  # mamba_pose waits two and a half periods for the other radar's


@dataclass(frozen=True)
class Came:
    """What came of a stream: its share, and the age of 95 % of it."""

    share: float
    age_s: float


def stream(sent: Stream, seed: int) -> Came:
    """Send heatmaps of two radars from one host to another, over the air."""
    network = Network(dict.fromkeys(("radars", "inference"), replace(WIFI, seed=seed)))
    settings = json.dumps(asdict(sent))
    with tempfile.TemporaryDirectory(prefix="hosts_stream_") as folder, network:
        environment = host_environment(folder)
        receiver, sender = (
            network[host].start([sys.executable, STREAM, word, settings], environment)
            for host, word in (("inference", "receive"), ("radars", "send"))
        )
        assert sender.stdout is not None
        if sender.stdout.readline() != "sent\n":
            raise RuntimeError(f"the sender said {sender.stdout.read()}")
        time.sleep(1.0)  # what was lost is asked for again
        os.killpg(receiver.pid, signal.SIGTERM)
        out, _ = receiver.communicate(timeout=10.0)
    messages = [entry for of_one in json.loads(out) for entry in of_one]
    ages_s = [age_s for _, age_s in messages]
    share = len(messages) / (2 * sent.frames)
    return Came(share, float(np.percentile(ages_s, 95)) if ages_s else float("nan"))


@row(
    "hosts",
    fault="heatmaps of two radars over 20 ms, 1 % loss, 50 Mbit/s",
    must_hold="99 % of the compressed, reliable ones come, 95 % within 0.25 s",
    volume=300,
    unit="frames",
)
def heatmaps_by_air(volume: int, seed: int) -> Outcome:
    """What each way of sending heatmaps is worth; noise, which packs worst."""
    reason = unavailable()
    if reason:
        return Outcome(False, f"not run: {reason}")
    held, figures = True, []
    for size, (shape, angle_bins) in SIZES.items():
        for way, reliable in WAYS:
            came = stream(Stream(shape, angle_bins, way, reliable, volume), seed)
            if way == "compressed" and reliable:
                held &= came.share >= LEAST_SHARE and came.age_s <= OLDEST_HEATMAP_S
            kind = "reliable" if reliable else "best-effort"
            figures.append(f"{size} {way} {kind} {came.share:.1%} within {came.age_s:.2f} s")
    return Outcome(bool(held), "; ".join(figures))
