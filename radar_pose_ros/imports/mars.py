"""``radar-pose import mars``: a subject of MARS, the radar's points beside the Kinect's joints.

Points are on ``/points`` as the driver publishes them, in ``radar_link``: x away from the radar, y
left, z up. The joints are on ``/ground_truth`` in the same frame: the truth of this data set,
though a Kinect's, which is an estimate too. Frames that the radar lost have no message.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from radar_pose_ros.datasets import mars
from radar_pose_ros.datasets.mars import PointSequence
from radar_pose_ros.imports import messages, writing
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.skeleton.definitions import KINECT25

FRAME_ID = "radar_link"
MODEL = "truth (MARS, Kinect V2)"
PAUSE_S = 10.0  # between movements: longer than any window, so that each begins anew [choice]


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose import mars``."""
    parser.description = "Points and joints of one subject of MARS become a bag."
    parser.add_argument("source", metavar="FILE", help="mars_subject<number>.npz")
    parser.add_argument(
        "--movement",
        type=int,
        choices=tuple(mars.MOVEMENTS),
        metavar="N",
        help="the only one to take, 1 to 10 (default: all, one after the other)",
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="take the first ones of each movement only"
    )
    writing.add_start_argument(parser)
    writing.add_out_argument(parser)


def import_bag(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose import mars``.

    Raises
    ------
    FileNotFoundError, RecordingError, ValueError
        If the file is not there or damaged or has no such movement, or the bag exists already.
    """
    sequences = mars.load_points(arguments.source)
    if arguments.movement is not None:
        wanted = f"movement {arguments.movement}"
        sequences = [one for one in sequences if one.action == wanted]
        if not sequences:
            raise ValueError(f"{arguments.source} has no {wanted}")
    if arguments.frames is not None:
        if arguments.frames < 1:
            raise ValueError(f"--frames: want a whole number above 0, got {arguments.frames}")
        sequences = [one.between(0, min(arguments.frames, len(one))) for one in sequences]
    notes = [
        writing.start_note(arguments.start_ns, f"{mars.RATE_HZ:g} frames per second"),
        "strength is ten times the logarithm of an intensity whose unit is not published",
    ]
    if len(sequences) > 1:
        notes.append(
            f"movements begin {PAUSE_S:g} s after the one before, as the file does not say when"
        )
    without = sum(int(np.isnan(one.joints_m).all((1, 2)).sum()) for one in sequences)
    if without:
        notes.append(f"{without} frames have no joints, or were lost by the radar")
    writing.write(arguments.out, clouds(sequences, arguments.start_ns), notes)
    return 0


def clouds(sequences: Sequence[PointSequence], start_ns: int) -> Iterator[Timed]:
    """Yield points and joints of movements, one after the other."""
    yield Timed(start_ns, "/skeleton", messages.skeleton(KINECT25))
    for one in sequences:
        for place in range(len(one)):
            stamp_ns = start_ns + round(place / one.rate_hz * NANOSECONDS)
            joints_m = one.joints_m[place]
            if one.parts[place] >= 0:
                cloud = messages.points(one.cloud(place), stamp_ns, FRAME_ID)
                yield Timed(stamp_ns, "/points", cloud)
            if not np.isnan(joints_m).all():
                truth = messages.pose3d(
                    joints_m, stamp_ns, FRAME_ID, skeleton=KINECT25.name, model=MODEL
                )
                yield Timed(stamp_ns, "/ground_truth", truth)
        start_ns += round((len(one) / one.rate_hz + PAUSE_S) * NANOSECONDS)
