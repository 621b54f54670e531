"""R14: full disks, no network, a home and outputs that cannot be written to."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faults.bag_rows import BEGIN_NS, IN_CHUNK, STEP_NS, words
from faults.observer import FaultyError, Observer, surroundings
from faults.parameter_rows import ACTIVE, Process
from faults.rows import Outcome, row

from radar_pose_ros import recording
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

COMMAND_S = 120.0
DEMO_S = 5.0
# In a namespace of its own: loopback alone, and a home that cannot be written to.
ALONE = """
set -e
ip link set lo up
mount --bind "$HOME" "$HOME"
mount -o remount,ro,bind "$HOME"
! touch "$HOME/x" 2>/dev/null
exec "$@"
"""


@row(
    "R14",
    fault="the disk is full at a random moment of a recording",
    must_hold="one sentence, which names the bag and what helps; repaired, it has all that was "
    "handed over before, but for the last chunk",
    volume=200,
    unit="bags",
)
def disk_full(volume: int, seed: int) -> Outcome:
    """Record until files may not grow any longer."""
    faults: list[str] = []
    saved = 0
    for number in range(volume):
        rng = random.Random(f"{seed}/{number}")
        limit, length = rng.randint(1, 2_000_000), rng.choice([10, 1000, 30_000])
        with tempfile.TemporaryDirectory() as folder:
            bag, said = Path(folder) / "bag", Path(folder) / "said"
            _record_until_full(bag, said, limit, length)
            reason = said.read_text() if said.exists() else ""
            ends = "`radar-pose repair" in reason and str(bag) in reason
            if reason and (not ends or "\n" in reason):
                faults.append(f"bag {number}: {reason!r}")
            if not reason:
                continue  # all of it fitted
            try:
                recording.repair(bag)
                with BagReader(bag) as reader:
                    got = [int(item.message.data.split()[0]) for item in reader.messages()]
            except RecordingError as error:
                got = []
                if limit > 10_000:
                    faults.append(f"bag {number}, of {limit} bytes: {error}")
            if got != list(range(len(got))):
                faults.append(f"bag {number}: messages {got[:20]}")
            least = limit // (length + 200) - 2 * IN_CHUNK
            if len(got) < min(least, 300 - IN_CHUNK):
                faults.append(f"bag {number}: {len(got)} messages of {limit} bytes")
            saved += len(got)
    figures = f"{volume} bags, {saved} messages saved"
    return Outcome(not faults, "; ".join([figures, *faults[:4]]))


def _record_until_full(bag: Path, said: Path, limit: int, length: int) -> None:
    """Record 300 messages in a process whose files may be so long; note the sentence."""
    process_id = os.fork()
    if process_id:
        os.waitpid(process_id, 0)
        return
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with BagWriter(bag) as writer:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                for k in range(300):
                    text = f"{k} " + "x" * length
                    writer.write_message("/words", BEGIN_NS + k * STEP_NS, words(text))
                    if k % IN_CHUNK == 0:
                        writer.flush()
        except RecordingError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            said.write_text(str(error))
    finally:
        os._exit(0)


# -- outputs that cannot be written ------------------------------------------------------------

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("demo", "--seconds", "1", "--no-gif", "--out"),
    ("record", "--out"),
    ("simulate", "--seconds", "1", "--out"),
    ("doctor", "--json"),
    ("policy", "radar_pose", "--out"),
)


def places(folder: Path) -> list[str]:
    """Return paths at which nothing can be made, whoever one is."""
    file = folder / "file"
    file.write_text("")
    return ["/proc/nothing/here", str(file / "below"), str(folder / ("x" * 300))]


@row(
    "R14",
    fault="outputs of commands below /proc, below a file, with a name that is too long",
    must_hold="code 1 or 2 and one sentence that names the place; no traceback; within 2 min",
    volume=15,
    unit="commands",
)
def unwritable_outputs(volume: int, seed: int) -> Outcome:
    """Let commands write where nothing can be."""
    faults = []
    with surroundings() as folder:
        tries = [(c, p) for p in places(folder) for c in COMMANDS][:volume]
        for command, place in tries:
            done = _radar_pose([*command, place], folder)
            told = [line for line in done.stderr.splitlines() if line.strip()]
            what = f"{' '.join(command)} {place[:40]}"
            if done.returncode not in (1, 2) or "Traceback" in done.stderr + done.stdout:
                faults.append(f"{what}: code {done.returncode}, {done.stderr[-200:]!r}")
            elif not told:
                faults.append(f"{what}: code {done.returncode} without a word")
    return Outcome(not faults, "; ".join([f"{len(tries)} commands", *faults[:4]]))


def _radar_pose(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [sys.executable, "-m", "radar_pose_ros.cli", *words],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(words, -1, "", f"hangs: {error.stderr!r}")


# -- alone -------------------------------------------------------------------------------------


def can_be_alone() -> bool:
    """Whether this system lets one have a network and mounts of one's own."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", "ip link set lo up"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def alone(words: Sequence[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without a network but loopback, and with a home that cannot be written to."""
    environment = {k: v for k, v in os.environ.items() if k != "ROS_LOG_DIR"}
    tests = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([tests, environment.get("PYTHONPATH", "")])
    environment["HOME"] = str(home)
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c", ALONE, "sh", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600.0,
        check=False,
    )


def come_up(nodes: Sequence[str]) -> list[str]:
    """Start nodes, one after the other; say what went wrong. To be called where one is alone."""
    faults = []
    with surroundings() as folder, Observer() as observer:
        del os.environ["ROS_LOG_DIR"]
        for node in nodes:
            begin_s = time.monotonic()
            process = Process(node, ACTIVE[node], folder, observer)
            try:
                observer.wait_active(node, begin_s)
            except FaultyError as error:
                faults.append(f"{node}: {error}")
            if fault := process.end():
                faults.append(f"{node}: {fault}")
    return faults


def come_up_alone(nodes: Sequence[str]) -> list[str]:
    """Start nodes where there is nothing but loopback, and no home to write to."""
    program = f"from faults.file_rows import come_up; print(*come_up({list(nodes)!r}), sep='\\n')"
    with tempfile.TemporaryDirectory() as home:
        done = alone([sys.executable, "-c", program], Path(home))
    said = done.stdout.strip().splitlines()
    return said if done.returncode == 0 else [f"code {done.returncode}: {done.stderr[-400:]}"]


@row(
    "R14",
    fault="no network but loopback, and a home that cannot be written to",
    must_hold="every node that needs no hardware comes up and ends; the demo has its poses; "
    "nothing is downloaded",
    volume=1,
    unit="times all nodes and a demo",
)
def no_network_no_home(volume: int, seed: int) -> Outcome:
    """Start nodes and the demo alone."""
    if not can_be_alone():
        return Outcome(False, "not run: this system does not allow a network of one's own")
    faults: list[str] = []
    counts: Counter[str] = Counter()
    for number in range(volume):
        faults += come_up_alone(list(ACTIVE))
        counts["nodes"] += len(ACTIVE)
        with tempfile.TemporaryDirectory() as folder:
            home, out = Path(folder) / "home", Path(folder) / "out"
            home.mkdir()
            words = ["demo", "--seconds", f"{DEMO_S:g}", "--seed", f"{seed + number}"]
            program = [sys.executable, "-m", "radar_pose_ros.cli", *words, "--out", str(out)]
            done = alone(program, home)
            if done.returncode:
                faults.append(f"demo: code {done.returncode}, {done.stderr[-300:]!r}")
            elif not json.loads((out / "summary.json").read_text()):
                faults.append("demo: an empty summary")
    return Outcome(not faults, "; ".join([f"{counts['nodes']} nodes, {volume} demos", *faults]))
