"""What a tracker makes of faces in videos, beside their pulse: what networks are trained on.

Faces are found and followed once, and trained on many times. A folder holds for each video::

    <name>.npz                times, colours, truth of each track, and what is known of them
    <name>.thumbnails.npy     uint16 (T of all tracks, S, S, 3) in 1/256 of a level, RGB

and one ``settings.json``: what is made with other settings goes to another folder.

A thumbnail's pixel is a mean over many of the picture's, so that it holds much less than a level
of eight bits; the pulse is as small. The file is not read but mapped into memory: the training
parts of some sets do not fit into it.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from radar_pose_ros.datasets import face_video_sets
from radar_pose_ros.datasets.face_videos import FaceVideo
from radar_pose_ros.simulation.body import SPLITS
from radar_pose_ros.simulation.face_drawing import TONES
from radar_pose_ros.simulation.faces import (
    LIGHTS,
    MOTIONS,
    FaceScene,
    SimulatedFaceVideo,
    draw_scene,
)
from radar_pose_ros.vision.face import Face, FaceTracker, RegionTracker
from radar_pose_ros.vision.skin import FaceSample
from radar_pose_ros.vision.video import Frame

PER_LEVEL = 256  # steps of the stored thumbnails
# A face that was followed for less is left out [choice]: windows of networks are longer.
LEAST_S = 3.0
# So far from where a simulated face is, in widths of its box, a found one is another [choice].
_NEAR = 0.5
# Keeps these people apart from those of other data sets.
_STREAM = 0x66616365
# Frames per second of simulated cameras, each as often. Faster ones show networks nothing else,
# for tracks are brought to 30 Hz, and cost twice as much.
_RATES_HZ = (15.0, 20.0, 25.0, 30.0, 30.0, 30.0)
_SETTINGS = "settings.json"
# Of how faces are drawn and followed: raise it when either changes, or old tracks pass for new.
_VERSION = 2


@dataclass(frozen=True)
class FaceTrack:
    """One person's face in one video, for as long as the tracker followed it.

    Attributes
    ----------
    name : str
        Of the video, and of the track if it has several.
    subject : str
        The same person has the same name.
    rate_hz : float
        Frames per second, nominal; NaN is unknown.
    times_s : ndarray of float64, shape (T,)
        Stamps of the frames in which the face was seen; they increase.
    colours : ndarray of float32, shape (T, R, 3)
        Mean RGB of the skin in each region, 0 to 255; NaN where there is none.
    pixels : ndarray of float32, shape (T, R)
        How many pixels of skin these are means of.
    thumbnails : ndarray of uint16, shape (T, S, S, 3)
        RGB in 1/256 of a level; see `images`.
    brightness, motion : ndarray of float32, shape (T,)
        As `FaceSample`.
    pulse : ndarray of float64, shape (T,)
        The truth at the times; NaN is unknown.
    heart_rate_bpm : ndarray of float64, shape (T,)
        The truth at the times: the momentary rate of simulated people, what the device says of
        others; NaN is unknown.
    attributes : mapping of str to str
        What is known of the person and the scene.
    """

    name: str
    subject: str
    rate_hz: float
    times_s: np.ndarray = field(repr=False)
    colours: np.ndarray = field(repr=False)
    pixels: np.ndarray = field(repr=False)
    thumbnails: np.ndarray = field(repr=False)
    brightness: np.ndarray = field(repr=False)
    motion: np.ndarray = field(repr=False)
    pulse: np.ndarray = field(repr=False)
    heart_rate_bpm: np.ndarray = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return float(self.times_s[-1] - self.times_s[0])

    def images(self, frames: slice = slice(None)) -> np.ndarray:
        """Return the thumbnails of some frames, float32 (T, S, S, 3), 0 to 255."""
        return self.thumbnails[frames].astype(np.float32) / np.float32(PER_LEVEL)


# -- following -----------------------------------------------------------------------------------


class _Seen(NamedTuple):
    number: int  # of the frame
    time_s: float
    sample: FaceSample  # without the thumbnail
    thumbnail: np.ndarray  # uint16


# Says of a frame's number and its faces, which of them is which person.
_Choose = Callable[[int, Sequence[Face]], Iterable[tuple[int, Face]]]


def track(video: FaceVideo, tracker: RegionTracker) -> list[FaceTrack]:
    """Follow the person of a recording: in each frame, the largest face.

    Parameters
    ----------
    video : FaceVideo
    tracker : RegionTracker
        A new one, with thumbnails.

    Returns
    -------
    list of FaceTrack
        More than one if the tracker lost the face and took it for another one when it came back;
        none if there was no face for `LEAST_S`.
    """

    def largest(_: int, faces: Sequence[Face]) -> list[tuple[int, Face]]:
        return [(0, max(faces, key=lambda face: face.box_px[2]))] if faces else []

    return [
        _joined(
            seen,
            name=video.name,
            subject=video.subject,
            rate_hz=video.rate_hz,
            pulse=video.pulse_at([one.time_s for one in seen]),
            heart_rate_bpm=video.heart_rate_at([one.time_s for one in seen]),
            attributes=video.attributes,
            number=number,
        )
        for number, (_, seen) in enumerate(_follow(video.frames(), tracker, largest))
    ]


def track_simulated(
    video: SimulatedFaceVideo, tracker: RegionTracker, name: str
) -> list[FaceTrack]:
    """Follow everybody in a simulated video; parameters and result as `track`.

    A face that is found where nobody is, is nobody's.
    """
    boxes = [video.box(video.times_s, person) for person in range(video.faces)]
    middles = [box[:, :2] + box[:, 2:] / 2 for box in boxes]

    def nearest(number: int, faces: Sequence[Face]) -> Iterator[tuple[int, Face]]:
        for face in faces:
            x, y, width, height = face.box_px
            at = (x + width / 2, y + height / 2)
            distances = [
                np.linalg.norm(middle[number] - at) / box[number, 2]
                for middle, box in zip(middles, boxes, strict=True)
            ]
            if distances and min(distances) < _NEAR:
                yield int(np.argmin(distances)), face

    made = []
    scene = video.scene
    for number, (person, seen) in enumerate(_follow(video.frames(), tracker, nearest)):
        # what the camera saw, whatever the stamps say
        taken_s = video.times_s[[one.number for one in seen]]
        made.append(
            _joined(
                seen,
                name=name,
                subject=f"{name}/{person}",
                rate_hz=scene.rate_hz,
                pulse=video.pulse(taken_s, person),
                heart_rate_bpm=video.heart_rate_bpm(taken_s, person),
                attributes={
                    "skin_tone": str(scene.people[person].tone),
                    "motion": scene.motion,
                    "light": scene.light,
                    "compression": "none" if scene.jpeg_quality is None else "jpeg",
                },
                number=number,
            )
        )
    return made


def _follow(
    frames: Iterable[Frame], tracker: RegionTracker, choose: _Choose
) -> list[tuple[int, list[_Seen]]]:
    """Return each person and what was seen of them, for every face that the tracker followed."""
    found: dict[tuple[int, int], list[_Seen]] = defaultdict(list)
    for number, (time_s, image_bgr) in enumerate(frames):
        for person, face in choose(number, tracker.update(image_bgr, time_s)):
            sample = tracker.sample(image_bgr, face)
            if sample.thumbnail is None:
                raise ValueError("want a tracker with thumbnails, thumbnail_px is 0")
            levels = np.clip(np.rint(PER_LEVEL * sample.thumbnail), 0, np.iinfo(np.uint16).max)
            seen = _Seen(number, time_s, sample._replace(thumbnail=None), levels.astype(np.uint16))
            found[person, face.id].append(seen)
    return [
        (person, seen)
        for (person, _), seen in found.items()
        if seen[-1].time_s - seen[0].time_s >= LEAST_S
    ]


def _joined(seen: Sequence[_Seen], *, name: str, number: int, **known: Any) -> FaceTrack:
    return FaceTrack(
        name=f"{name}#{number + 1}" if number else name,
        times_s=np.array([one.time_s for one in seen]),
        colours=np.array([one.sample.colours for one in seen], np.float32),
        pixels=np.array([one.sample.pixels for one in seen], np.float32),
        thumbnails=np.array([one.thumbnail for one in seen]),
        brightness=np.array([one.sample.brightness for one in seen], np.float32),
        motion=np.array([one.sample.motion for one in seen], np.float32),
        **known,
    )


# -- files ---------------------------------------------------------------------------------------

_ARRAYS = ("times_s", "colours", "pixels", "brightness", "motion", "pulse", "heart_rate_bpm")


def save(tracks: Sequence[FaceTrack], path: Path) -> None:
    """Write the tracks of a video, also if there is none, to ``path`` and beside it.

    Parameters
    ----------
    tracks : sequence of FaceTrack
    path : Path
        Ends with ".npz"; folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{name}_{number}": getattr(one, name)
        for number, one in enumerate(tracks)
        for name in _ARRAYS
    }
    about = [
        {
            "name": one.name,
            "subject": one.subject,
            "rate_hz": one.rate_hz,
            "attributes": dict(one.attributes),
        }
        for one in tracks
    ]
    thumbnails = np.concatenate([one.thumbnails for one in tracks]) if tracks else np.empty(0)
    np.save(_thumbnails(path), thumbnails)
    # Whoever finds this file finds the other one complete.
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, about=json.dumps(about), **arrays)
    part.replace(path)


def load(path: Path) -> list[FaceTrack]:
    """Read the tracks of a video.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged.
    """
    try:
        thumbnails = np.load(_thumbnails(path), mmap_mode="r")
        with np.load(path) as stored:
            tracks, start = [], 0
            for number, known in enumerate(json.loads(str(stored["about"]))):
                arrays = {name: stored[f"{name}_{number}"] for name in _ARRAYS}
                frames = slice(start, start + len(arrays["times_s"]))
                start = frames.stop
                tracks.append(FaceTrack(thumbnails=thumbnails[frames], **arrays, **known))
    except FileNotFoundError:
        raise
    except Exception as error:  # zip, numpy and json raise whatever they stumble over
        raise ValueError(f"{path} is damaged, remove it: {error!s:.200}") from error
    if start != len(thumbnails):
        raise ValueError(f"{path}: {start} frames, but {len(thumbnails)} thumbnails: remove both")
    return tracks


def _thumbnails(path: Path) -> Path:
    return path.with_suffix(".thumbnails.npy")


# -- data sets -----------------------------------------------------------------------------------


def scene(split: str, number: int, *, seconds: float, seed: int) -> FaceScene:
    """Return a scene with one person; no two splits share anybody.

    Skin tones, motions, lights, and whether the video is compressed, take turns: 108 numbers in a
    row hold each combination once, and parts of 18 each of them alike often. The rest is drawn
    (`draw_scene`).
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
    rng = np.random.default_rng([_STREAM, seed, SPLITS.index(split), number])
    round_, tone = divmod(number, TONES)
    quality = int(rng.integers(40, 96))
    return draw_scene(
        rng,
        duration_s=seconds,
        tone=tone + 1,
        motion=list(MOTIONS)[(tone + round_) % len(MOTIONS)],
        light=list(LIGHTS)[(tone + round_ // 3) % len(LIGHTS)],
        jpeg_quality=quality if (tone + round_) % 2 else None,
        rate_hz=float(rng.choice(_RATES_HZ)),
    )


def simulated(
    root: Path,
    split: str,
    count: int,
    *,
    seconds: float,
    seed: int,
    thumbnail_px: int,
    processes: int = 1,
    report: Callable[[str], None] = print,
) -> list[FaceTrack]:
    """Return the tracks of the first ``count`` scenes of a split; missing ones are made.

    Parameters
    ----------
    root : Path
        Folder that keeps them, ``simulated/<split>/<number>.npz`` in it.
    split : {"train", "validation", "test"}
    seconds : float
        Length of a video.
    seed : int
    thumbnail_px : int
        Side of the thumbnails.
    processes : int
        Videos that are simulated at the same time.
    report : callable
        Gets a line for each video that was made.

    Raises
    ------
    ValueError
        If the folder holds what was made with other settings, or a file is damaged.
    """
    settings = {
        "version": _VERSION,
        "seconds": seconds,
        "seed": seed,
        "thumbnail_px": thumbnail_px,
    }
    folder = _claim(root / "simulated" / split, settings)
    paths = [folder / f"{number:05d}.npz" for number in range(count)]
    make = partial(_simulate, split=split, seconds=seconds, seed=seed, thumbnail_px=thumbnail_px)
    _make_missing(list(enumerate(paths)), make, processes, f"simulated {split}", report)
    return [one for path in paths for one in load(path)]


def recorded(
    root: Path,
    kind: str,
    source: Path,
    videos: Sequence[FaceVideo],
    *,
    thumbnail_px: int,
    processes: int = 1,
    report: Callable[[str], None] = print,
) -> list[FaceTrack]:
    """Return the tracks of recordings; missing ones are made.

    Parameters
    ----------
    root : Path
        Folder that keeps them, ``<the recording's name>.npz`` in it.
    kind, source
        Of the set, as `face_video_sets.load` has them.
    videos : sequence of FaceVideo
        Some of it.
    thumbnail_px, processes, report
        As in `simulated`; so are the errors.
    """
    _claim(root / kind, {"thumbnail_px": thumbnail_px})
    paths = [root / f"{video.name}.npz" for video in videos]
    jobs = [(video.name, path) for video, path in zip(videos, paths, strict=True)]
    make = partial(_record, kind=kind, source=source, thumbnail_px=thumbnail_px)
    _make_missing(jobs, make, processes, kind, report)
    return [one for path in paths for one in load(path)]


def _claim(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Return a folder for tracks that are made with these settings."""
    path = folder / _SETTINGS
    if path.is_file():
        there = json.loads(path.read_text())
        if there != settings:
            raise ValueError(
                f"{folder} holds face tracks made with {there}, not {dict(settings)}: name "
                "another folder, or remove this one"
            )
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n")
    return folder


def _make_missing(
    jobs: Sequence[tuple[Any, Path]],
    make: Callable[[tuple[Any, Path]], None],
    processes: int,
    what: str,
    report: Callable[[str], None],
) -> None:
    missing = [job for job in jobs if not job[1].is_file()]
    done = len(jobs) - len(missing)
    for number, _ in enumerate(_carried_out(make, missing, processes), start=done + 1):
        report(f"{what}: {number} of {len(jobs)}")


def _carried_out(
    make: Callable[[tuple[Any, Path]], None], jobs: Sequence[tuple[Any, Path]], processes: int
) -> Iterator[None]:
    if processes == 1 or not jobs:
        yield from map(make, jobs)
        return
    # spawn, not fork: OpenMP's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap_unordered(make, jobs)


def _simulate(
    job: tuple[int, Path], split: str, seconds: float, seed: int, thumbnail_px: int
) -> None:
    number, path = job
    video = SimulatedFaceVideo(scene(split, number, seconds=seconds, seed=seed))
    name = f"simulated/{split}/{number:05d}"
    save(track_simulated(video, FaceTracker(thumbnail_px=thumbnail_px), name), path)


def _record(job: tuple[str, Path], kind: str, source: Path, thumbnail_px: int) -> None:
    name, path = job
    save(track(_videos(kind, source)[name], FaceTracker(thumbnail_px=thumbnail_px)), path)


@lru_cache(maxsize=1)
def _videos(kind: str, source: Path) -> dict[str, FaceVideo]:
    """Return a set by name, read once in each process."""
    found = face_video_sets.load(kind, source, lambda line: None)
    return {video.name: video for video in found}
