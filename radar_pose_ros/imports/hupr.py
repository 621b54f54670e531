"""``radar-pose import hupr``: a recording of HuPR's layout, two radars and what a camera saw.

Frame k of both radars is of the same instant. The annotated joints are on
``/pose2d/ground_truth``, in the image plane in which networks that learnt from them estimate
(`skeleton.projection`): they are a network's estimates in camera images, the truth of this data
set.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from radar_pose_ros.datasets.hupr import ANNOTATIONS, RAW_FILE, Labels, Layout, read_annotations
from radar_pose_ros.datasets.hupr import RADARS as FOLDERS
from radar_pose_ros.imports import dca1000, messages, samples, writing
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import CAMERA_FRAME, IMAGE_SIZE_PX

_RECORDING = re.compile(r"single_(\d+)")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose import hupr``."""
    parser.description = "A recording in HuPR's layout becomes a bag of both radars."
    parser.add_argument("source", metavar="DIR", help="root of the data set")
    parser.add_argument(
        "--recording",
        type=int,
        metavar="K",
        help="number of the recording, as in single_<k> (default: the only one)",
    )
    writing.add_start_argument(parser)
    writing.add_out_argument(parser)


def import_bag(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose import hupr``.

    Raises
    ------
    FileNotFoundError, ConfigError, PortError, RecordingError, ValueError
        If the data set has no such recording with raw samples, a file is not what it should be, or
        the bag exists already.
    """
    root = Path(arguments.source)
    layout = Layout.of(root)
    number, folder = find_recording(root, arguments.recording)
    labels = find_labels(root, layout, number)
    rate_hz = layout.radar.waveform.frame_rate_hz
    notes = [writing.start_note(arguments.start_ns, f"{rate_hz:g} frames per second")]
    if labels is None:
        notes.append(f"single_{number} has no annotations: no truth")
    if layout.note:
        notes.append(f"{layout.name}: {layout.note}")
    counts: dict[str, int] = {}
    streams = {
        radar: dca1000.frames(
            folder / name / RAW_FILE, radar, layout.radar, arguments.start_ns, counts, notes
        )
        for radar, name in zip(samples.RADARS, FOLDERS, strict=True)
    }
    if labels is not None:
        streams["truth"] = truth(labels, arguments.start_ns, rate_hz, f"truth ({layout.name})")
    writing.write(arguments.out, dca1000.together(streams, counts, notes), notes)
    return 0


def find_recording(root: Path, number: int | None) -> tuple[int, Path]:
    """Return number and folder of a recording with raw samples of both radars.

    Raises
    ------
    ValueError
        If there is none, or no number says which.
    """
    found: dict[int, Path] = {}
    for path in sorted(root.rglob(RAW_FILE)):
        folder = path.parents[1]
        match = _RECORDING.fullmatch(folder.name)
        if match and all((folder / name / RAW_FILE).is_file() for name in FOLDERS):
            found.setdefault(int(match[1]), folder)
    if not found:
        files = " and ".join(f"{name}/{RAW_FILE}" for name in FOLDERS)
        raise ValueError(
            f"{root}: no single_<k> in it with {files}; HuPR's own heatmaps, without raw samples, "
            "cannot be imported"
        )
    if number is None and len(found) == 1:
        return next(iter(found.items()))
    if number not in found:
        there = ", ".join(map(str, sorted(found)))
        said = "say which recording" if number is None else f"no recording {number}"
        raise ValueError(f"{root}: {said} (--recording); there are {there}")
    return number, found[number]


def find_labels(root: Path, layout: Layout, number: int) -> Labels | None:
    """Return the labels of a recording; None if its split, or it, has none."""
    for split, name in ANNOTATIONS.items():
        files = sorted(root.rglob(name))
        if number in layout.splits[split] and files:
            labels = read_annotations(files[0], layout.splits[split])[number]
            return labels if len(labels.frames) else None
    return None


def truth(labels: Labels, start_ns: int, rate_hz: float, model: str) -> Iterator[Timed]:
    """Yield the annotated joints of a recording."""
    yield Timed(start_ns, "/skeleton", messages.skeleton(HUPR14))
    unstated = np.full(len(HUPR14.joints), np.nan)
    for frame, keypoints_px in zip(labels.frames, labels.keypoints_px, strict=True):
        stamp_ns = start_ns + round(int(frame) / rate_hz * NANOSECONDS)
        message = messages.pose2d(
            [(keypoints_px, unstated)],
            stamp_ns,
            CAMERA_FRAME,
            skeleton=HUPR14.name,
            model=model,
            size_px=(IMAGE_SIZE_PX, IMAGE_SIZE_PX),
        )
        yield Timed(stamp_ns, "/pose2d/ground_truth", message)
