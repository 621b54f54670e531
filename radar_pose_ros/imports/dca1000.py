"""``radar-pose import dca1000``: raw samples in a file of a DCA1000, frame after frame.

Such a file says neither when it was recorded nor what was lost: programs that write it fill what
did not arrive with zeros. Frames are counted from a stated start at the configuration's rate, and
all bytes count as received. What mmWave Studio's log beside the file says of this is handed on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from radar_pose_ros import documents
from radar_pose_ros.imports import samples, writing
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ports import FileFrameSource

_LONGEST_LOG_BYTES = 1 << 16  # it has 1 kB
_LOGGED = ("Capture start time", "Number of received packets", "Number of zero filled bytes")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose import dca1000``."""
    parser.description = "Raw samples in files of a DCA1000 become a bag of frames."
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FILE",
        help="ending in .bin: of one radar; two are those of radar_h and radar_v, frame k of both "
        "at the same instant",
    )
    samples.add_radar_arguments(parser)
    writing.add_start_argument(parser)
    writing.add_out_argument(parser)


def import_bag(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose import dca1000``.

    Raises
    ------
    FileNotFoundError, ConfigError, PortError, RecordingError, ValueError
        If a file cannot be read or does not hold a frame, or the bag exists already.
    """
    config = samples.read_config(arguments)
    files = samples.by_radar(arguments.sources, arguments.radar, "file")
    logged: list[str] = []
    for path in map(Path, files.values()):
        if path.suffix != ".bin":
            raise ValueError(f"{path}: want a file of raw samples that ends in .bin")
        logged += log_notes(path)
    notes = [
        writing.start_note(
            arguments.start_ns, f"{config.waveform.frame_rate_hz:g} frames per second"
        ),
        "what the card or its program lost is not marked in such files",
        *logged,
    ]
    counts: dict[str, int] = {}
    streams = {
        radar: frames(path, radar, config, arguments.start_ns, counts, notes)
        for radar, path in files.items()
    }
    writing.write(arguments.out, together(streams, counts, notes), notes)
    return 0


def together(
    streams: Mapping[str, Iterator[Timed]], counts: Mapping[str, int], notes: list[str]
) -> Iterator[Timed]:
    """Yield the messages of all radars, then note whether one has fewer frames."""
    yield from samples.merged(streams)
    longer, shorter = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if more := counts[longer] - counts[shorter]:
        notes.append(
            f"{shorter} has {counts[shorter]} frames, {more} fewer than {longer}: the last of "
            f"{longer} are alone"
        )


def log_notes(path: Path) -> list[str]:
    """Return what a log of mmWave Studio's, if there is one, says of when and of losses.

    Its times are local ones of a place that it does not name, so no stamp is made of them.
    """
    log = path.with_name(f"{path.stem}_LogFile.csv")
    if not log.is_file():
        return []
    with documents.open_file(log) as file:
        text = file.read(_LONGEST_LOG_BYTES).decode("utf-8", errors="replace")
    told = [line.strip() for line in text.splitlines() if line.strip().startswith(_LOGGED)]
    return [f"{log.name} says: {documents.shortened('; '.join(told))}"] if told else []


def frames(
    path: str | Path,
    radar: str,
    config: RadarConfig,
    start_ns: int,
    counts: dict[str, int],
    notes: list[str],
) -> Iterator[Timed]:
    """Yield a radar's configuration and all frames of a file, then say how many there were.

    Parameters
    ----------
    path : path
    radar : str
        Its namespace.
    config : RadarConfig
    start_ns : int
        When the first frame was taken.
    counts : dict of str to int
        Gets the radar's frames.
    notes : list of str
        Gets a sentence if the end of the file is no whole frame.

    Raises
    ------
    PortError
        If the file cannot be read or does not hold a frame.
    """
    period_ns = config.waveform.frame_period_s * NANOSECONDS

    def times(frame: AssembledFrame) -> tuple[int, int]:
        stamp_ns = start_ns + round(frame.index * period_ns)
        return stamp_ns, stamp_ns  # when it was received is not known

    with FileFrameSource(path, config, report=notes.append) as source:
        source.start()
        yield from samples.frames_of(radar, config, source.frames(), times)
        counts[radar] = source.statistics.frames_delivered
