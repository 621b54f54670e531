"""The fault campaign: rows at their whole volume, each in a process of its own.

    make campaign                              all rows: hours
    make campaign ARGS="W1 R2 --seed 7"        some, by id, by letter, or by name
    make campaign ARGS="W --volume-scale 0.01"
    make campaign-page                         what out/campaign.json has at whole volume to docs

What a run showed is merged into ``out/campaign.json``, row by row as they end. The page
``docs/campaign.md`` is made of ``docs/campaign.json``; `make campaign-page` renews both.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import psutil
from faults import rows
from faults.rows import Outcome, Row

from radar_pose_ros import measurements, shared_memory

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = ROOT / "out" / "campaign.json"
DATA, PAGE = ROOT / "docs" / "campaign.json", ROOT / "docs" / "campaign.md"
LIMIT_S = 3 * 3600.0
MARK = "RADAR_POSE_CAMPAIGN"  # in the environment of a row's processes
DESCRIPTION = ("id", "name", "fault", "must_hold", "whole_volume", "unit")

# The rows that there are to be. One without a figure stands on the page as not run.
LISTED = {
    "W1": "random bytes as datagrams",
    "W2": "damaged packets",
    "W3": "independent loss, 0 to 50 %",
    "W4": "bursts of loss, a packet to a second",
    "W5": "reordering within 64 packets, 1 % duplicates",
    "W6": "counters that wrap",
    "W7": "radar or card restarted, a second sender",
    "W8": "start and stop, 50 times",
    "W9": "frames of any size",
    "W10": "configuration files, mutated",
    "W11": "serial port: garbage, half lines, silence, unplugged",
    "W12": "every status word",
    "R1": "a radar that is unplugged: 3 s, 30 s, 10 min",
    "R2": "`kill -9` of each node, 20 times",
    "R3": "100 lifecycle cycles, every illegal transition",
    "R4": "weights missing, damaged, of another network",
    "R5": "10⁵ damaged messages for each subscriber",
    "R6": "clocks that jump, stop, or never start",
    "R7": "quality of service that does not match",
    "R8": "inference ten times too slow",
    "R9": "views missing, exchanged, late; calibration off",
    "R10": "no pulse to be seen",
    "R11": "bags cut off or with flipped bits",
    "R12": "the same bag twice",
    "R13": "parameters out of range or of another type",
    "R14": "disk full, home read-only, no network",
}
CHAPTERS = {
    "W": "On the wire",
    "R": "In the graph",
    "load": "Under load",
    "soak": "For hours",
    "hosts": "Several machines",
    "security": "Security",
}
Result = dict[str, Any]


# ------------------------------------------------------------------------ which rows


def discover(folder: Path = HERE) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of all ``*_rows.py`` in a folder, by id, and why modules have none."""
    broken: dict[str, str] = {}
    modules = []
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    for path in sorted(folder.glob("*_rows.py")):
        modules.append(f"{folder.name}.{path.stem}")
        try:
            importlib.import_module(modules[-1])
        except Exception as error:
            broken[modules[-1]] = f"{type(error).__name__}: {error}"
    found = [row for row in rows.ROWS if row.run.__module__ in modules]
    return sorted(found, key=lambda row: _place(row.id)), broken


def choose(words: Sequence[str], found: Sequence[Row]) -> list[Row]:
    """Return the rows that are meant by ids, names, or the letters of ids; all if by nothing.

    Raises
    ------
    ValueError
        If nothing bears one of the words.
    """
    for word in words:
        if not any(word in _names(row) for row in found):
            known = ", ".join(dict.fromkeys(row.id for row in found))
            raise ValueError(f"no row is called {word!r}, there are {known}")
    return [row for row in found if not words or set(words) & _names(row)]


def _names(row: Row) -> set[str]:
    return {row.id, row.name, _chapter(row.id)}


def _chapter(identifier: str) -> str:
    return identifier.rstrip("0123456789")


def _place(identifier: str) -> tuple[int, str, int]:
    """Where a row stands among others."""
    chapter, known = _chapter(identifier), list(CHAPTERS)
    place = known.index(chapter) if chapter in known else len(known)
    return place, chapter, int(identifier[len(chapter) :] or 0)


# ------------------------------------------------------------------------ one row

_domains = itertools.count(os.getpid())


def run_row(row: Row, volume: int, seed: int, limit_s: float) -> Result:
    """Run a row in a process of its own; whatever becomes of that process, there is a result.

    The row has a ROS domain, a working folder and a folder for temporary files of its own. What
    it leaves running is ended, and means that it did not hold.
    """
    begin_s, date = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    with TemporaryDirectory(prefix="campaign_") as name:
        folder = Path(name)
        file, token = folder / "outcome.json", uuid.uuid4().hex
        environment = _environment(folder, token)
        words = [row.run.__module__, row.name, str(volume), str(seed), str(file)]
        with (folder / "printed").open("wb") as printed:
            process = subprocess.Popen(
                [sys.executable, "-m", "faults.campaign", "--in-this-process", *words],
                cwd=_made(folder / "work"),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(limit_s)
                late = False
            except subprocess.TimeoutExpired:
                late = True
            finally:
                left = _end(process, token)
        outcome = _outcome(file, process.returncode, folder / "printed")
    if late:
        outcome = Outcome(False, f"not done within {limit_s:g} s. {outcome.figures}".strip())
    elif left:
        outcome = Outcome(False, f"{outcome.figures}. Left running: {', '.join(left)}")
    shared_memory.free_abandoned()
    return {
        **describe(row),
        "volume": volume,
        "seed": seed,
        "held": outcome.held,
        "figures": outcome.figures,
        "seconds": round(time.monotonic() - begin_s, 1),
        "date": date,
    }


def describe(row: Row) -> Result:
    """Return what stands about a row beside its figures."""
    values = row.id, row.name, row.fault, row.must_hold, row.volume, row.unit
    return dict(zip(DESCRIPTION, values, strict=True))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _environment(folder: Path, token: str) -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "test"), *sys.path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path)),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "passive",
        "ROS_DOMAIN_ID": str(1 + next(_domains) % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(folder / "ros_log"),
        "TMPDIR": str(_made(folder / "tmp")),
        MARK: token,
    }


def _outcome(file: Path, code: int, printed: Path) -> Outcome:
    """What a row said, or what became of its process instead."""
    if code == 0:
        with contextlib.suppress(OSError, ValueError, KeyError):
            said = json.loads(file.read_text("utf-8"))
            return Outcome(bool(said["held"]), str(said["figures"]))
    lines = printed.read_text("utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1][:300]}" if lines else ""
    if code < 0:
        return Outcome(False, f"killed by {signal.Signals(-code).name}{last}")
    return Outcome(False, f"ended with code {code} and without an outcome{last}")


def _end(process: subprocess.Popen[bytes], token: str) -> list[str]:
    """End a row's process and all that it started; returns what of that was still running."""
    process.poll()
    left: dict[int, str] = {}
    for _ in range(20):
        others = [other for other in psutil.process_iter() if _is_of(other, process.pid, token)]
        for other in others:
            with contextlib.suppress(psutil.Error):
                if other.pid != process.pid:
                    left[other.pid] = other.name()
                other.kill()
        process.poll()
        if not others:
            break
        time.sleep(0.1)
    process.wait()
    return sorted(left.values())


def _is_of(other: psutil.Process, session: int, token: str) -> bool:
    """Whether a process belongs to a row: by its session, or by the mark in its environment."""
    with contextlib.suppress(psutil.Error, OSError):
        if other.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(other.pid) == session or other.environ().get(MARK) == token
    return False


def _in_this_process(module: str, name: str, volume: str, seed: str, file: str) -> int:
    """Run a row here; what it returns or raises goes into a file."""
    importlib.import_module(module)
    [row] = [row for row in rows.ROWS if (row.run.__module__, row.name) == (module, name)]
    try:
        outcome = row.run(int(volume), int(seed))
        held, figures = bool(outcome.held), str(outcome.figures)
    except BaseException as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        held = False
        figures = f"raised {error!r:.300} in {Path(where.filename).name} line {where.lineno}"
    Path(file).write_text(json.dumps({"held": held, "figures": figures}), "utf-8")
    return 0


# ------------------------------------------------------------------------ what is kept


def load(path: Path) -> list[Result]:
    """Return the rows of a file; none if there is no file.

    Raises
    ------
    ValueError
        If it is not such a file.
    """
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text("utf-8"))["rows"]
        if not all(isinstance(entry["id"], str) and entry["name"] for entry in found):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: does not hold rows of a campaign") from error
    return found


def merge(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Return all rows in order; of those in both, the new ones."""
    kept = {(entry["id"], entry["name"]): entry for entry in (*old, *new)}
    return sorted(kept.values(), key=lambda entry: _place(entry["id"]))


def save(path: Path, entries: Sequence[Result]) -> None:
    """Write rows to a file, whole or not at all."""
    measurements.write_json(path, {"rows": list(entries)})


def _where_and_what() -> Result:
    """Return the machine, the package's version and its revision."""
    described = measurements.machine()
    kept = ("cpu", "cores", "memory_gib", "os", "python")
    return {
        "machine": {key: described[key] for key in kept},
        "version": (ElementTree.parse(ROOT / "package.xml").findtext("version") or "").strip(),
        "revision": _revision(),
    }


def _revision() -> str | None:
    """Return the commit, with a "+" if files differ from it; None without git."""
    try:
        ask = ["git", "-C", str(ROOT)]
        commit = subprocess.run(
            [*ask, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*ask, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


# ------------------------------------------------------------------------ the page


def published(found: Sequence[Row], old: Sequence[Result], runs: Sequence[Result]) -> list[Result]:
    """Return what the page is made of: runs at whole volume, and rows that were not run.

    Rows that are no more are left out. What stood about a row when it was run stays beside its
    figures.
    """
    rows_now = [{**describe(row), "held": None} for row in found]
    names = {(entry["id"], entry["name"]) for entry in rows_now}
    whole = [entry for entry in runs if entry["volume"] >= entry["whole_volume"]]
    ran = [entry for entry in merge(old, whole) if entry["held"] is not None]
    return merge(rows_now, (entry for entry in ran if (entry["id"], entry["name"]) in names))


def page(entries: Sequence[Result]) -> str:
    """Return the text of the page."""
    ran = [entry for entry in entries if entry["held"] is not None]
    broken = [entry for entry in ran if not entry["held"]]
    missing = [name for name in LISTED if name not in {entry["id"] for entry in ran}]
    parts = [
        "# Fault campaign",
        "Every fault at its whole volume, each row in a process of its own. The same functions "
        "run in the tests, with less. `make campaign` runs all rows, for hours, and "
        '`make campaign ARGS="X"` some: what stands in the last column in place of X shows a row '
        "again, with the same random numbers. `make campaign-page` makes this page of the runs.",
        f"Of {len(LISTED)} ids {len(LISTED) - len(missing)} have figures; "
        f"{len(ran)} rows were run, {len(ran) - len(broken)} of them held."
        + (f" Not run: {', '.join(missing)}." if missing else ""),
    ]
    chapters = {_chapter(name) for name in (*LISTED, *(entry["id"] for entry in entries))}
    for chapter in sorted(chapters, key=_place):
        parts += [f"## {CHAPTERS.get(chapter, chapter)}", _table(chapter, entries)]
    if ran:
        parts += ["## Where", _machines(ran)]
    return "\n\n".join(parts) + "\n"


def _table(chapter: str, entries: Sequence[Result]) -> str:
    lines = [
        "| id | what goes wrong | what must hold | how much | what was seen | run | again |",
        "|---|---|---|---|---|---|---|",
    ]
    of = [entry for entry in entries if _chapter(entry["id"]) == chapter]
    there = {entry["id"] for entry in of}
    for name, fault in LISTED.items():
        if _chapter(name) == chapter and name not in there:
            of.append({"id": name, "name": "", "fault": fault, "must_hold": "", "held": None})
    for entry in sorted(of, key=lambda entry: _place(entry["id"])):
        cells = [entry["id"], entry["fault"], entry["must_hold"], _volume(entry), *_seen(entry)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _volume(entry: Result) -> str:
    """How much was tried, or is to be."""
    if not entry["name"]:
        return ""
    return f"{entry.get('volume', entry['whole_volume']):,} {entry['unit']}"


def _seen(entry: Result) -> tuple[str, str, str]:
    """What was seen, when, and how to see it again."""
    if entry["held"] is None:
        return "not run", "", f"`{entry['name']}`" if entry["name"] else ""
    mark = "" if entry["held"] else "**did not hold**: "
    revision = f", {entry['revision']}" if entry["revision"] else ""
    ran = f"{entry['date'][:10]}, {entry['seconds']:,.0f} s, {entry['version']}{revision}"
    again = f"`{entry['name']} --seed {entry['seed']}`"
    return mark + entry["figures"], ran, again


def _machines(ran: Sequence[Result]) -> str:
    """On which machines the rows were run."""
    of: dict[str, list[str]] = {}
    for entry in ran:
        m = entry["machine"]
        text = (
            f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']:g} GiB, {m['os']}, "
            f"Python {m['python']}"
        )
        of.setdefault(text, []).append(entry["id"])
    if len(of) == 1:
        return f"All on {next(iter(of))}."
    return "\n".join(f"* {', '.join(dict.fromkeys(ids))}: {text}" for text, ids in of.items())


# ------------------------------------------------------------------------ the command


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="campaign", description="Runs rows of faults.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="an id, its letter, or a name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--volume-scale", type=float, default=1.0, metavar="X")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="for each row")
    parser.add_argument("--out", type=Path, default=RUNS, metavar="FILE")
    parser.add_argument("--page", action="store_true", help="run nothing, make the page")
    parsed = parser.parse_args(words)
    if parsed.volume_scale <= 0 or parsed.limit <= 0 or parsed.seed < 0:
        parser.error("--volume-scale and --limit must be above 0, --seed not below")
    return parsed


def main(words: Sequence[str], folder: Path = HERE) -> int:
    """Run rows; returns 0 if all held, 1 if not, 2 for a mistake in the command."""
    parsed = parse(words)
    found, broken = discover(folder)
    for module, why in broken.items():
        print(f"{module}: cannot be imported, {why}", file=sys.stderr)
    try:
        chosen = choose(parsed.rows, found)
        kept = load(parsed.out)
        if parsed.page:
            return _make_page(found, bool(broken), kept)
    except ValueError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 2
    about = _where_and_what()
    failed = bool(broken) and not parsed.rows
    for row in chosen:
        volume = max(1, round(row.volume * parsed.volume_scale))
        print(f"{row.id:<4} {row.name}: {volume:,} {row.unit} ... ", end="", flush=True)
        try:
            result = {**run_row(row, volume, parsed.seed, parsed.limit), **about}
        except KeyboardInterrupt:
            print("interrupted")
            return 130
        kept = merge(kept, [result])
        save(parsed.out, kept)
        said = "held" if result["held"] else "DID NOT HOLD"
        print(f"{said}, {result['seconds']:g} s: {result['figures']}", flush=True)
        failed |= not result["held"]
    return int(failed)


def _make_page(found: Sequence[Row], some_missing: bool, runs: Sequence[Result]) -> int:
    if some_missing:
        print("campaign: no page is made while rows cannot be imported", file=sys.stderr)
        return 1
    entries = published(found, load(DATA), runs)
    save(DATA, entries)
    PAGE.write_text(page(entries), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(entry['held'] is not None for entry in entries)} rows")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-this-process"]:
        sys.exit(_in_this_process(*sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
