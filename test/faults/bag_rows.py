"""R11: bags that were cut off, flipped, or stripped of their metadata."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from faults.observer import surroundings
from faults.parameter_rows import unconfigured_ends
from faults.rows import Outcome, row

from radar_pose_ros import recording
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

BEGIN_NS = 1_700_000_000 * 10**9
STEP_NS = 10_000_000
IN_CHUNK = 7
SLOWEST_S = 5.0  # to read, or to repair, a bag of a few hundred kilobytes
HANGS_AFTER_S = 30.0


def words(text: str) -> Any:
    """Return a message."""
    return recording.message_class("std_msgs/msg/String")(data=text)


def write_bag(path: Path, messages: int) -> list[tuple[str, int, bytes]]:
    """Write a bag of several chunks and topics; return what is in it."""
    with BagWriter(path) as bag:
        bag.add_topic("/fact", "std_msgs/msg/String", latched=True)
        bag.write_message("/fact", BEGIN_NS, words("so it is"))
        for k in range(messages):
            text = f"{k} " + chr(97 + k % 26) * 400
            bag.write_message(f"/words_{k % 3}", BEGIN_NS + k * STEP_NS, words(text))
            if k % IN_CHUNK == IN_CHUNK - 1:
                bag.flush()
    with BagReader(path) as reader:
        return list(reader.serialized())


def read(path: Path) -> list[tuple[str, int, bytes]]:
    """Return what a bag gives before it ends or breaks off."""
    got: list[tuple[str, int, bytes]] = []
    with contextlib.suppress(RecordingError), BagReader(path) as reader:
        for item in reader.serialized():
            got.append(item)
    return got


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return what was done to a file, and what it is then."""
    how = rng.choice(("cut", "cut", "bit", "bit", "bits", "hole", "garbage", "twice"))
    data = bytearray(content)
    if how == "cut":
        share = rng.choice([0.0, 0.01, 0.5, 0.99, rng.random(), rng.random()])
        return how, bytes(data[: int(len(data) * share)])
    if how in ("bit", "bits"):
        for _ in range(1 if how == "bit" else rng.randint(2, 64)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return how, bytes(data)
    first = rng.randrange(len(data))
    last = min(len(data), first + rng.choice([1, 100, 5000]))
    if how == "hole":
        return how, bytes(data[:first] + data[last:])
    if how == "twice":
        return how, bytes(data[:last] + data[first:])
    data[first:last] = rng.randbytes(last - first)
    return how, bytes(data)


@row(
    "R11",
    fault="bags cut off at 1, 50, 99 % and anywhere, bits flipped, bytes lost, doubled or "
    "overwritten; metadata missing, damaged or of another version",
    must_hold="read, or refused with a sentence, within 5 s; no message that was not written; "
    "repaired, all whole chunks before a cut are there",
    volume=2000,
    unit="bags",
)
def damaged_bags(volume: int, seed: int) -> Outcome:
    """Read and repair damaged bags."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "whole"
        written = write_bag(source, 60)
        known = {(topic, data) for topic, _, data in written}
        [file] = source.glob("*.mcap")
        whole, metadata = file.read_bytes(), (source / "metadata.yaml").read_text()
        for number in range(volume):
            rng = random.Random(f"{seed}/{number}")
            bag = Path(folder) / f"bag_{number}"
            bag.mkdir()
            how, content = damaged(whole, rng)
            copy = bag / file.name
            copy.write_bytes(content)
            _write_metadata(bag / "metadata.yaml", metadata, rng)
            begin_s = time.monotonic()
            fault = _judge(bag, copy, how, len(content), whole, written, known, counts)
            slowest_s = max(slowest_s, time.monotonic() - begin_s)
            if fault:
                faults.append(f"bag {number} ({how}): {fault}")
            for path in bag.iterdir():
                path.unlink()
            bag.rmdir()
    if slowest_s > SLOWEST_S:
        faults.append(f"a bag took {slowest_s:.1f} s")
    figures = (
        f"{volume} bags: {counts['whole']} read whole, {counts['part']} in part or refused, "
        f"{counts['repaired']} repaired, slowest {slowest_s:.2f} s"
    )
    return Outcome(not faults, "; ".join([figures, *faults[:4]]))


def _write_metadata(path: Path, text: str, rng: random.Random) -> None:
    how = rng.choice(("as it was", "as it was", "missing", "version", "cut", "bytes"))
    if how == "version":
        text = text.replace("version: 8", "version: 99")
    if how == "cut":
        text = text[: rng.randrange(len(text))]
    if how == "bytes":
        path.write_bytes(rng.randbytes(200))
    elif how != "missing":
        path.write_text(text)


def _judge(
    bag: Path,
    copy: Path,
    how: str,
    length: int,
    whole: bytes,
    written: list[tuple[str, int, bytes]],
    known: set[tuple[str, bytes]],
    counts: Counter[str],
) -> str:
    """Read a bag as it is and repaired; say what is wrong with what came, "" if nothing is."""
    try:
        got = read(bag)
        counts["whole" if len(got) == len(written) else "part"] += 1
        if not {(topic, data) for topic, _, data in got} <= known:
            return "a message that nobody wrote"
        repaired = True
        try:
            recording.repair(copy)
        except RecordingError as error:
            repaired = False
            if not str(error) or "\n" in str(error):
                return f"refused with {str(error)!r}"
        if not repaired:
            return ""
        counts["repaired"] += 1
        again = read(copy)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if not {(topic, data) for topic, _, data in again} <= known:
        return "a message that nobody wrote, in the repaired bag"
    if how == "cut":
        before = sum(whole.find(data) + len(data) <= length for _, _, data in written)
        if len(again) < before - IN_CHUNK - 1:
            return f"{len(again)} of {before} messages before the cut"
    return ""


@row(
    "R11",
    fault="damaged bags given to the replayer",
    must_hold="it plays what can be read and ends with code 0 or 1, or refuses with code 2 and "
    "one sentence; never hangs",
    volume=40,
    unit="bags",
)
def damaged_bags_played(volume: int, seed: int) -> Outcome:
    """Start the replayer with damaged bags."""
    codes: Counter[int] = Counter()
    faults: list[str] = []
    with surroundings() as folder, unconfigured_ends():
        source = folder / "whole"
        write_bag(source, 60)
        [file] = source.glob("*.mcap")
        whole = file.read_bytes()
        for number in range(volume):
            rng = random.Random(f"{seed}/{number}")
            copy = folder / f"{number}.mcap"
            how, content = damaged(whole, rng)
            copy.write_bytes(content)
            code, printed = _play(copy, folder)
            codes[code] += 1
            errors = [line for line in printed.splitlines() if line.startswith("error: ")]
            if code not in (0, 1, 2) or "Traceback" in printed or (code == 2) != bool(errors):
                faults.append(f"bag {number} ({how}): code {code}, {printed[-200:]!r}")
    told = ", ".join(f"{n} x code {code}" for code, n in sorted(codes.items()))
    return Outcome(not faults, "; ".join([f"{volume} bags: {told}", *faults[:4]]))


def _play(bag: Path, folder: Path) -> tuple[int, str]:
    """Return the exit code of the replayer, -1 if it hangs, and what it printed."""
    parameters = {"bag": str(bag), "rate": 100.0, "wait_s": 0.0, "clock": False}
    file = folder / "replayer.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    command = [sys.executable, "-m", "radar_pose_ros.nodes", "replayer", "--ros-args"]
    try:
        done = subprocess.run(
            [*command, "--params-file", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANGS_AFTER_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return -1, str(error.output)
    return done.returncode, done.stdout
