"""``radar-pose import videos``: videos of calibrated cameras, and keypoints that lie beside them.

A folder as `radar-pose multiview` takes it, see `radar_pose_ros.multiview.inputs`. Of each camera,
in a namespace called like its video: ``image/compressed`` or ``image``, ``camera_info``, and,
where there are keypoints, ``pose2d``; and where the cameras are, on ``/tf_static``, in ``map``. Of
Pose2Sim's ``pose`` all people of an image are taken, in the order in which they were found.
"""

from __future__ import annotations

import argparse
import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import ViewShots
from radar_pose_ros.imports import messages, writing
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.multiview import inputs
from radar_pose_ros.multiview.inputs import Footage
from radar_pose_ros.multiview.times import instants
from radar_pose_ros.recording import MADE_OF
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.camera_names import pair

WORLD_FRAME = "map"
_ALL_PEOPLE = f"{inputs.POSE2SIM[1]} of Pose2Sim"  # keypoints of everybody in an image
IMAGES: dict[str, tuple[str, Callable[[np.ndarray, int, str], Any]] | None] = {
    "compressed": ("image/compressed", messages.compressed_image),
    "raw": ("image", messages.image),
    "none": None,
}
# A time since 1970, and not since a video's beginning: that of nobody's video is so late [choice].
_DATES_FROM_S = 1e8


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose import videos``."""
    parser.description = "Videos of calibrated cameras, with their keypoints, become a bag."
    parser.add_argument("source", metavar="DIR", help="videos, or a trial as Pose2Sim has it")
    parser.add_argument(
        "--calibration",
        default="",
        metavar="PATH",
        help="file or folder of the cameras (default: what is in DIR, or above it)",
    )
    parser.add_argument(
        "--images",
        default="compressed",
        choices=tuple(IMAGES),
        help=f"JPEG of quality {messages.JPEG_QUALITY}, pixels as they are, or keypoints only",
    )
    parser.add_argument(
        "--skeleton",
        default="",
        metavar="NAME",
        help="whose keypoints, if the files do not say it",
    )
    parser.add_argument(
        "--offsets",
        nargs="+",
        default=[],
        metavar="NAME=S",
        help="seconds by which a camera started late; or a file of lines NAME,SECONDS",
    )
    parser.add_argument(
        "--unit-m",
        type=float,
        default=1.0,
        metavar="M",
        help="length in metres of what the calibration counts in, 0.001 for millimetres",
    )
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="frames per second (default: the videos')"
    )
    writing.add_start_argument(parser)
    parser.set_defaults(start_ns=None)  # to know whether it is given
    writing.add_out_argument(parser)


@dataclass(frozen=True)
class View:
    """One camera.

    Parameters
    ----------
    name : str
        Its namespace.
    camera : PinholeCamera
    stamps_ns : ndarray of int64, shape (shots,)
    frames : ndarray of int64, shape (shots,)
        Of each shot, which frame of the video it is.
    video : Path or None
    keypoints_px : ndarray, shape (shots, people, joints, 2), or None
        NaN is unknown, and where there is no such person.
    confidence : ndarray, shape (shots, people, joints), or None
    """

    name: str
    camera: PinholeCamera
    stamps_ns: np.ndarray
    frames: np.ndarray
    video: Path | None
    keypoints_px: np.ndarray | None = None
    confidence: np.ndarray | None = None

    @property
    def frame_id(self) -> str:
        """The camera's optical frame."""
        return f"{self.name}_optical_frame"


def import_bag(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose import videos``.

    Raises
    ------
    FileNotFoundError, RecordingError, ValueError
        If there is no video, no keypoints and no calibration, one of them cannot be read or they
        do not belong together, or the bag exists already.
    """
    folder = Path(arguments.source)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    for name in ("unit_m", "rate"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"--{name.replace('_', '-')}: want a number above 0, got {value:g}")
    views, skeleton, model, notes = read(folder, arguments)
    if arguments.images != "none" and not any(view.video for view in views):
        notes.append(f"{folder}: no videos, so no images")
    stream = shots(views, skeleton, model, arguments.images)
    writing.write(arguments.out, stream, notes)
    return 0


def read(folder: Path, arguments: argparse.Namespace) -> tuple[list[View], str, str, list[str]]:
    """Return the cameras, name of the keypoints' skeleton, where they are from, and notes.

    Without keypoints the skeleton's name is empty.
    """
    videos = inputs.find_videos(folder)
    calibration = Path(arguments.calibration or inputs.find_calibration(folder))
    if has_keypoints(folder, videos):
        tracks = inputs.read_tracks(folder, videos, arguments.skeleton)
        everybody = _everybody(folder) if tracks.source == _ALL_PEOPLE else {}
        footage = inputs.footage(
            folder,
            replace(tracks, notes=[]) if everybody else tracks,
            videos,
            calibration,
            arguments.offsets,
            arguments.rate,
            unit_m=arguments.unit_m,
        )
        seconds = {view.name: view.stamps_s for view in footage.recording.views}
        stamps, said = _dated(folder, seconds, arguments)
        views = [
            _view(view, at, footage, everybody.get(view.name))
            for view, at in zip(footage.recording.views, stamps, strict=True)
        ]
        model = f"keypoints ({tracks.source.replace(MADE_OF, ', ')})"
        skeleton, notes = tracks.skeleton, [*footage.notes, said]
    else:
        views, said = _without_keypoints(folder, videos, calibration, arguments)
        skeleton, model, notes = "", "", [said, f"{folder}: no keypoints, so images only"]
    if len({view.name for view in views}) != len(views):
        raise ValueError(f"{folder}: two cameras would be called alike: rename the videos")
    return views, skeleton, model, notes


def _everybody(folder: Path) -> dict[str, pose2sim.Detections]:
    """Return all people that were found in the images of each camera."""
    found, _ = pose2sim.read_detections(folder / inputs.POSE2SIM[1])
    return {one.name: one for one in found}


def _view(
    shots: ViewShots, stamps_ns: np.ndarray, footage: Footage, found: pose2sim.Detections | None
) -> View:
    """Return a camera with the person in its shots, or with all who were found in them."""
    frames = footage.frames[shots.name]
    keypoints_px, confidence = shots.keypoints_px[:, None], shots.confidence[:, None]
    if found is not None:
        rows = np.searchsorted(found.frames, frames)
        keypoints_px, confidence = found.keypoints_px[rows], found.confidence[rows]
    video = footage.videos.get(shots.name)
    return View(
        *(topic(shots.name), shots.camera, stamps_ns, frames, video, keypoints_px, confidence)
    )


def has_keypoints(folder: Path, videos: dict[str, Path]) -> bool:
    """Return whether keypoints lie beside videos, or in Pose2Sim's folders."""
    beside = [path.with_suffix(".npz") for path in videos.values()] or folder.glob("*.npz")
    trial = any((folder / k).is_dir() or (folder / f"{k}.npz").is_file() for k in inputs.POSE2SIM)
    return trial or any(path.is_file() for path in beside)


def _without_keypoints(
    folder: Path, videos: dict[str, Path], calibration: Path, arguments: argparse.Namespace
) -> tuple[list[View], str]:
    if not videos or arguments.images == "none":
        what = "no video" if not videos else "no keypoints, and no images are wanted"
        raise ValueError(f"{folder}: {what}: there is nothing to import")
    cameras = calibration_files.read(calibration, unit_m=arguments.unit_m)
    paired = pair(list(videos), cameras, str(calibration))
    late_s = inputs.read_offsets(arguments.offsets, list(videos))
    numbers: list[np.ndarray] = []
    seconds: dict[str, np.ndarray] = {}
    for name, path in videos.items():
        count = sum(1 for _ in inputs.images(path))
        stamps_s, _ = instants(folder, name, np.arange(count), path, arguments.rate)
        numbers.append(np.flatnonzero(np.isfinite(stamps_s)))
        seconds[name] = stamps_s[numbers[-1]] + late_s[name]
    stamps, said = _dated(folder, seconds, arguments)
    return [
        View(topic(name), cameras[paired[name]], at, frames, videos[name])
        for name, at, frames in zip(videos, stamps, numbers, strict=True)
    ], said


def _dated(
    folder: Path, seconds: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[list[np.ndarray], str]:
    """Return all cameras' times in ns since 1970, and how they were found.

    Raises
    ------
    ValueError
        If only some cameras have dates, or a start is given though there are dates.
    """
    dated = [name for name, times in seconds.items() if times[0] > _DATES_FROM_S]
    if 0 < len(dated) < len(seconds):
        others = ", ".join(name for name in seconds if name not in dated)
        raise ValueError(
            f"{folder}: the times of {', '.join(dated)} are since 1970, those of {others} since a "
            "beginning that nobody dates: want files of times since 1970 for all cameras, or none"
        )
    if dated:
        if arguments.start_ns is not None:
            raise ValueError(
                f"--start: the files beside the videos in {folder} say when frames were taken; it "
                "is for videos without dates"
            )
        start_ns, said = 0, "times are those of the files beside the videos, since 1970"
    else:
        start_ns = arguments.start_ns
        if start_ns is None:
            start_ns = writing.DEFAULT_START_S * NANOSECONDS
        rate = "as the videos or the files beside them say"
        if arguments.rate is not None:
            rate = f"{arguments.rate:g} frames per second where no file says when"
        said = writing.start_note(start_ns, rate)
    counted = [np.round(times * NANOSECONDS).astype(np.int64) for times in seconds.values()]
    return [start_ns + times for times in counted], said


def topic(name: str) -> str:
    """Return a name that ROS allows for a namespace: letters, digits and underscores."""
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{made}" if made[:1].isdigit() else made


def shots(views: list[View], skeleton: str, model: str, images: str) -> Iterator[Timed]:
    """Yield where the cameras are, then all that they saw in the order of time."""
    begin_ns = min(int(view.stamps_ns[0]) for view in views)
    cameras = {view.frame_id: view.camera for view in views}
    yield Timed(begin_ns, "/tf_static", messages.static_transforms(WORLD_FRAME, cameras, begin_ns))
    if skeleton:
        yield Timed(begin_ns, "/skeleton", messages.skeleton(definitions.get(skeleton)))
    seen = (_shots_of(view, skeleton, model, images) for view in views)
    yield from heapq.merge(*seen, key=lambda item: item.received_ns)


def _shots_of(view: View, skeleton: str, model: str, images: str) -> Iterator[Timed]:
    picture = IMAGES[images]
    pixels = _chosen(view) if view.video is not None and picture is not None else None
    for row, stamp in enumerate(view.stamps_ns):
        stamp_ns = int(stamp)
        info = messages.camera_info(view.camera, stamp_ns, view.frame_id)
        yield Timed(stamp_ns, f"/{view.name}/camera_info", info)
        if pixels is not None and picture is not None:
            name, make = picture
            yield Timed(
                stamp_ns, f"/{view.name}/{name}", make(next(pixels), stamp_ns, view.frame_id)
            )
        if view.keypoints_px is not None and view.confidence is not None:
            people = zip(view.keypoints_px[row], view.confidence[row], strict=True)
            message = messages.pose2d(
                [(places, sure) for places, sure in people if np.isfinite(places).any()],
                stamp_ns,
                view.frame_id,
                skeleton=skeleton,
                model=model,
                size_px=view.camera.size_px,
            )
            yield Timed(stamp_ns, f"/{view.name}/pose2d", message)


def _chosen(view: View) -> Iterator[np.ndarray]:
    """Yield the frames of the video that the shots are."""
    assert view.video is not None
    wanted = set(view.frames.tolist())
    number = -1
    for number, pixels in enumerate(inputs.images(view.video)):
        if number in wanted:
            yield pixels
    raise ValueError(f"{view.video}: it ends with frame {number}, but shots are of later ones")
