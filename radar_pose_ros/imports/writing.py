"""What all formats have in common: the options of times, and how messages become a bag.

Messages are stored at their own stamps, as if they had been received when they were measured,
unless the source says when they were. What a source does not say is said: in notes that are
printed, and stand in the bag's ``metadata.yaml``.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from radar_pose_ros.recording import BagReader, BagWriter

NANOSECONDS = 1_000_000_000
# Stamps must be positive, and some nodes look back a little; nobody takes it for a date [choice].
DEFAULT_START_S = 1000
# Told once, to everybody who comes later, by the last part of the topic's name.
_LATCHED = ("radar_config", "skeleton", "tf_static")
_DEPTH, _LATCHED_DEPTH = 5, 1  # of the nodes that publish such topics


class Timed(NamedTuple):
    """A message, when it was received, and where.

    Attributes
    ----------
    received_ns : int
        Nanoseconds since 1970.
    topic : str
        Absolute.
    message : object
        Made by `imports.messages`.
    """

    received_ns: int
    topic: str
    message: Any


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--out``."""
    parser.add_argument("--out", required=True, metavar="BAG", help="folder to make")


def add_start_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--start``, for sources that do not say when they were recorded."""
    parser.add_argument(
        "--start",
        dest="start_ns",
        type=_instant_ns,
        default=DEFAULT_START_S * NANOSECONDS,
        metavar="TIME",
        help="when the first frame was taken, as the files do not say it: seconds since 1970, or "
        f"a date as 2024-11-19T20:02:23+01:00 (default {DEFAULT_START_S} s, which is no date)",
    )


def _instant_ns(text: str) -> int:
    """Read an instant, as nanoseconds since 1970."""
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < 2**31:
            return round(seconds * NANOSECONDS)
    with contextlib.suppress(ValueError):
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if date.tzinfo is not None and date.timestamp() > 0:
            return round(date.timestamp() * NANOSECONDS)
    raise argparse.ArgumentTypeError(
        f"want seconds since 1970, above 0, or a date and time with its zone as "
        f"2024-11-19T20:02:23+01:00, got {text!r}"
    )


def start_note(start_ns: int, how: str) -> str:
    """Return the sentence that says that times were counted, and how."""
    return f"the source has no dates: counted from {start_ns / NANOSECONDS:g} s since 1970, {how}"


def write(out: str | Path, messages: Iterable[Timed], notes: Sequence[str] = ()) -> None:
    """Write messages to a bag and print what it holds.

    Parameters
    ----------
    out : path
        Folder to make.
    messages : iterable of Timed
        In the order of their times.
    notes : sequence of str
        What the reader of the bag should know; read when all messages are, who may add to it.

    Raises
    ------
    RecordingError
        If the folder exists already.
    Exception
        Whatever reading the source raises; then no bag is left.
    """
    bag = BagWriter(out)
    try:
        with bag:
            for item in messages:
                latched = item.topic.rpartition("/")[2] in _LATCHED
                depth = _LATCHED_DEPTH if latched else _DEPTH
                kind = item.message.__msgtype__
                bag.add_topic(item.topic, kind, latched=latched, depth=depth)
                bag.write_message(item.topic, item.received_ns, item.message)
            bag.describe("import", "\n".join(notes))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    print(_summary(out, notes))


def _summary(out: str | Path, notes: Sequence[str]) -> str:
    with BagReader(out) as reader:
        length_s = (reader.end_ns - reader.begin_ns) / NANOSECONDS
        topics = reader.details
    total = sum(topic.count for topic in topics)
    width = max(len(topic.name) for topic in topics)
    lines = [f"{out}: {total} messages in {length_s:.2f} s"]
    lines += [f"  {topic.name:<{width}}  {topic.count:6}  {topic.type_name}" for topic in topics]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])
