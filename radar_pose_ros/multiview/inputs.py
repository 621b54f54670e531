"""What `radar-pose multiview` is given: a folder of videos, keypoints, instants and cameras.

In the folder, or in ``videos`` in it, is a video for each camera, called like the camera in the
calibration (`vision.camera_names`: "Cam_01" where there is no "cam1"). Beside a video there may be

* ``NAME.npz``, its keypoints: ``keypoints_px`` (frames, joints, 2), NaN is unknown; ``confidence``
  (frames, joints), 0 to 1, NaN is not stated; and ``skeleton``, the name of one;
* ``NAME.csv`` or ``NAME.txt``: when each frame was taken, a line each, seconds in its first
  column. Of a hundred one may be not after those before: that frame is left out.

Or the folder is a trial of Pose2Sim's, with keypoints in ``pose-associated`` or ``pose``
(`datasets.pose2sim`), with or without videos.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from radar_pose_ros.datasets import object_arrays, pose2sim
from radar_pose_ros.datasets.multiview import MultiViewRecording, ViewShots
from radar_pose_ros.multiview.times import apart, instants, read_offsets
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.vision import calibration_files, comparators
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.camera_names import find, pair, plain

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
POSE2SIM = ("pose-associated", "pose")
# A video whose sides differ more from those of its calibration, relatively, is of another camera
# or was made smaller; less is what encoders cut off or add [choice].
SIZE_TOLERANCE = 0.02
_CALIBRATIONS = re.compile(r"calib|^cameras?$", re.IGNORECASE)
_CALIBRATION_FILES = (".toml", ".yml", ".yaml", ".xml")

# From the images of a video to keypoints (frames, joints, 2) and confidences (frames, joints).
Detect = Callable[[Iterator[np.ndarray]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Track:
    """Keypoints of one person in the frames of one camera.

    Attributes
    ----------
    frames : ndarray of int64, shape (shots,)
        Numbers of frames, from 0, increasing.
    keypoints_px : ndarray of float32, shape (shots, joints, 2)
        NaN is unknown.
    confidence : ndarray of float32, shape (shots, joints)
        NaN is not stated.
    """

    frames: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray

    def only(self, shots: np.ndarray) -> Track:
        """Return some of the shots, by flags of all."""
        return Track(self.frames[shots], self.keypoints_px[shots], self.confidence[shots])


@dataclass(frozen=True)
class Tracks:
    """Keypoints of all cameras.

    Attributes
    ----------
    by_name : dict of str to Track
    skeleton : str
    source : str
        Where they are from, in words.
    notes : list of str
        What is missing.
    in_order : bool
        Whether cameras that are called otherwise in the calibration are meant in their order.
    """

    by_name: dict[str, Track]
    skeleton: str
    source: str
    notes: list[str] = field(default_factory=list)
    in_order: bool = False


@dataclass(frozen=True)
class Footage:
    """What poses are made of.

    Attributes
    ----------
    recording : MultiViewRecording
        A view per camera, called like its video or keypoints.
    frames : dict of str to ndarray of int64
        Of each view, which frame of the video each shot is.
    videos : dict of str to Path
        Of views that have one.
    source : str
        Where the keypoints are from, in words.
    notes : list of str
        What is missing, a sentence each.
    offsets_s : dict of str to float
        By how much later than its own times say each view's frames were taken, which is in the
        recording.
    """

    recording: MultiViewRecording
    frames: dict[str, np.ndarray]
    videos: dict[str, Path]
    source: str
    notes: list[str]
    offsets_s: dict[str, float]


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the videos in a folder, or in ``videos`` in it, by name without ending.

    Raises
    ------
    ValueError
        If two have the same name.
    """
    for place in (folder, folder / "videos"):
        paths = sorted(place.iterdir()) if place.is_dir() else []
        found: dict[str, Path] = {}
        for path in paths:
            hidden = path.name.startswith(".")
            if path.suffix.lower() in VIDEOS and path.is_file() and not hidden:
                if path.stem in found:
                    raise ValueError(f"{path}: a second video of {path.stem}, {found[path.stem]}")
                found[path.stem] = path
        if found:
            return found
    return {}


def find_calibration(folder: Path) -> Path:
    """Return the calibration of a folder: in it or, of a trial of Pose2Sim's, above it.

    It is a file or folder whose name has "calib" in it, or is "camera" or "cameras". Of a folder,
    the .toml file in it, if there is one.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if not _CALIBRATIONS.search(path.stem):
            continue
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix in _CALIBRATION_FILES]
            tables = [p for p in inside if p.suffix == ".toml"]
            found += tables or ([path] if inside else [])
        elif path.suffix in _CALIBRATION_FILES:
            found.append(path)
    if len(found) > 1:
        raise ValueError(
            f"{folder}: calibrations {', '.join(map(str, found))}; say which with --calibration"
        )
    if found:
        return found[0]
    is_trial = any((folder / kind).is_dir() for kind in POSE2SIM)
    try:
        if is_trial:
            return pose2sim.find_calibration(folder)
    except FileNotFoundError:
        pass
    above = ", nor above it as Pose2Sim has it" if is_trial else ""
    raise ValueError(
        f"{folder}: no calibration in it (cameras.toml, *calib*.toml or a folder *calib*){above}: "
        "say where with --calibration"
    )


def images(video: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video, uint8 (height, width, 3), blue, green and red.

    All of them, whatever their times: `vision.video` leaves some out, and would count otherwise
    than keypoints do.

    Raises
    ------
    ValueError
        If it cannot be read or has none.
    """
    capture = cv2.VideoCapture(str(video))
    try:
        good, image = capture.read()
        if not good:
            raise ValueError(f"{video}: it cannot be read as a video")
        while good:
            yield np.asarray(image, np.uint8)
            good, image = capture.read()
    finally:
        capture.release()


def detect_tracks(
    videos: Mapping[str, Path],
    detect: Detect,
    skeleton: str,
    source: str,
    progress: Callable[[str], None] = print,
) -> Tracks:
    """Return the keypoints that a detector finds in videos."""
    made: dict[str, Track] = {}
    for name, path in videos.items():
        keypoints, confidence = detect(images(path))
        made[name] = Track(np.arange(len(keypoints)), keypoints, confidence)
        found = (confidence > 0).mean()
        progress(f"{path.name}: {len(keypoints)} frames, {100 * found:.0f} % of the joints found")
    return Tracks(made, skeleton, source)


def read_tracks(folder: Path, videos: Mapping[str, Path], skeleton: str = "") -> Tracks:
    """Return the keypoints that lie beside videos, or in Pose2Sim's folders.

    Parameters
    ----------
    folder : Path
    videos : mapping of str to Path
        As from `find_videos`; if there are none, all of ``NAME.npz`` in the folder are read.
    skeleton : str
        Whose joints they are, if the files do not say it.

    Raises
    ------
    ValueError
        If there are none, or only of some videos, or nobody says whose joints they are.
    """
    trials = [kind for kind in POSE2SIM if _pose2sim_has(folder, kind)]
    if videos:
        beside = {name: path.with_suffix(".npz") for name, path in videos.items()}
    else:
        of_trial = {"poses.npz", *(f"{kind}.npz" for kind in POSE2SIM)}
        beside = {p.stem: p for p in sorted(folder.glob("*.npz")) if p.name not in of_trial}
    there = [name for name, path in beside.items() if path.is_file()]
    if there:
        for name, path in beside.items():
            if name not in there:
                raise ValueError(f"{path}: there is no such file, though {there[0]} has its own")
        return _archives(beside, skeleton)
    if trials:
        return _pose2sim_tracks(folder / trials[0], skeleton)
    what = "a detector" if videos else "videos and a detector"
    raise ValueError(
        f"{folder}: no keypoints: want NAME.npz for each camera, or {' or '.join(POSE2SIM)} as "
        f"Pose2Sim has it, or {what} (--detector)"
    )


def write_track(path: Path, track: Track, skeleton: str) -> None:
    """Write keypoints as `read_tracks` takes them."""
    np.savez_compressed(
        path,
        keypoints_px=track.keypoints_px,
        confidence=track.confidence,
        skeleton=np.array(skeleton),
    )


def _pose2sim_has(folder: Path, kind: str) -> bool:
    return (folder / f"{kind}.npz").is_file() or (folder / kind).is_dir()


def _archives(paths: Mapping[str, Path], skeleton: str) -> Tracks:
    made: dict[str, Track] = {}
    for name, path in paths.items():
        file = object_arrays.read(path, ("keypoints_px", "confidence"), ("skeleton",))
        keypoints, confidence = (
            object_arrays.numbers(file[key], f"{path}: {key}").astype(np.float32)
            for key in ("keypoints_px", "confidence")
        )
        said = str(file.get("skeleton", "")) or skeleton
        if not said:
            raise ValueError(f"{path}: it does not say its skeleton: give --skeleton")
        if skeleton and said != skeleton:
            raise ValueError(f"{path}: keypoints of {said}, not of {skeleton}")
        joints = len(definitions.get(said).joints)
        if (
            keypoints.ndim != 3
            or keypoints.shape[1:] != (joints, 2)
            or (confidence.shape != keypoints.shape[:2])
        ):
            raise ValueError(
                f"{path}: want keypoints_px (frames, {joints}, 2) and confidence (frames, "
                f"{joints}), got {keypoints.shape} and {confidence.shape}"
            )
        skeleton = said
        made[name] = Track(np.arange(len(keypoints)), keypoints, confidence)
    return Tracks(made, skeleton, "files of keypoints")


def _pose2sim_tracks(path: Path, skeleton: str) -> Tracks:
    detections, said = pose2sim.read_detections(path)
    try:
        skeleton = pose2sim.skeleton_of(detections, said, skeleton or None)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (--skeleton)") from None
    people = max(found.keypoints_px.shape[1] for found in detections)
    notes = []
    if people > 1 and path.name == POSE2SIM[1]:
        notes.append(
            f"{path}: up to {people} people in a frame; the first one of each is taken for the "
            "same person"
        )
    made = {
        found.name: Track(found.frames, found.keypoints_px[:, 0], found.confidence[:, 0])
        for found in detections
    }
    return Tracks(made, skeleton, f"{path.name} of Pose2Sim", notes, in_order=True)


def footage(
    folder: Path,
    tracks: Tracks,
    videos: Mapping[str, Path],
    calibration: Path,
    offsets: Sequence[str] = (),
    rate_hz: float | None = None,
    unit_m: float = 1.0,
) -> Footage:
    """Return keypoints with their cameras and instants.

    Parameters
    ----------
    folder : Path
    tracks : Tracks
    videos : mapping of str to Path
        As from `find_videos`.
    calibration : Path
        File or folder.
    offsets : sequence of str
        See `times.read_offsets`.
    rate_hz : float, optional
        Frames per second of all cameras that have no file of times; by default what each video
        says or, without videos, the trial's .trc files.
    unit_m : float
        Length in metres of what the calibration counts in.

    Raises
    ------
    ValueError
        If fewer than two cameras are left, or some do not belong together.
    """
    notes = list(tracks.notes)
    cameras = calibration_files.read(calibration, unit_m=unit_m)
    names = list(tracks.by_name)
    paired = pair(names, cameras, str(calibration), tracks.in_order)
    if any(plain(name) != plain(camera) for name, camera in paired.items()):
        pairs = ", ".join(f"{name} is {camera}" for name, camera in paired.items())
        notes.append(f"{calibration}: cameras of other names, taken in their order: {pairs}")
    for unused in sorted({*cameras} - {*paired.values()}):
        notes.append(f"{unused} of {calibration}: there is no video and no keypoints of it")
    if len(names) < 2:
        raise ValueError(
            f"{folder}: poses in space need two cameras or more, got {', '.join(names) or 'none'}"
        )
    called = {name: find(name, videos, str(folder)) for name in names}
    found = {name: videos[video] for name, video in called.items() if video is not None}
    if videos:
        notes += [f"{folder}: no video of {name}" for name in names if name not in found]
    late_s = read_offsets(offsets, names)
    views = []
    frames: dict[str, np.ndarray] = {}
    for name, track in tracks.by_name.items():
        if not len(track.frames):
            raise ValueError(f"{folder}: the keypoints of {name} are of no frame")
        camera = cameras[paired[name]]
        if name in found:
            notes += _check_size(found[name], camera)
        stamps, said = instants(folder, name, track.frames, found.get(name), rate_hz)
        notes += said
        dated = np.isfinite(stamps)
        stamps, track = stamps[dated], track.only(dated)
        confidence, possible, said = _confidence(name, track)
        notes += said
        view = ViewShots(name, camera, stamps + late_s[name], track.keypoints_px, confidence)
        views.append(view.only(possible))
        frames[name] = track.frames[possible]
        if not (views[-1].confidence > 0).any():
            notes.append(f"{name}: nobody was found in any of its {len(stamps)} frames")
    recording = MultiViewRecording(
        name=folder.resolve().name,
        subject="",
        action="",
        skeleton=tracks.skeleton,
        views=tuple(views),
    )
    return Footage(recording, frames, found, tracks.source, notes, late_s)


def _confidence(name: str, track: Track) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return confidences, which shots have possible ones, (shots,), and notes.

    As of messages: a confidence that is not stated counts as sure, and a shot with one outside of
    0 to 1 is left out.

    Raises
    ------
    ValueError
        If that is every shot.
    """
    given = track.confidence
    unstated = np.isnan(given)
    wrong = ~(unstated | ((given >= 0) & (given <= 1)))
    possible = ~wrong.any(-1)
    notes = []
    if wrong.any():
        told = (
            f"a confidence of {given[wrong][0]:g}, allowed is 0 to 1, or NaN if it is not stated"
        )
        if not possible.any():
            raise ValueError(f"{name}: each of its {len(given)} frames has {told}")
        notes.append(f"{name}: {(~possible).sum()} of {len(given)} frames left out: {told}")
    unstated &= np.isfinite(track.keypoints_px).all(-1)
    if unstated.any():
        notes.append(
            f"{name}: {unstated.sum()} keypoints whose confidence is not stated count as sure"
        )
    return np.where(unstated, np.float32(1), given), possible, notes


def later(footage: Footage, offsets_s: np.ndarray) -> Footage:
    """Return footage of which each camera's frames were taken so much later, (views,)."""
    views = footage.recording.views
    more_s = dict(zip((view.name for view in views), offsets_s.tolist(), strict=True))
    moved = [replace(view, stamps_s=view.stamps_s + more_s[view.name]) for view in views]
    return replace(
        footage,
        recording=replace(footage.recording, views=tuple(moved)),
        offsets_s={name: footage.offsets_s[name] + more for name, more in more_s.items()},
    )


def together(footage: Footage) -> Footage:
    """Return only the shots of instants at which all cameras fired.

    Raises
    ------
    ValueError
        If there is no such instant.
    """
    views = footage.recording.views
    shared = np.logical_and.reduce(
        [comparators.rows_at(view.stamps_s, views[0].stamps_s) >= 0 for view in views]
    )
    stamps = views[0].stamps_s[shared]
    if not len(stamps):
        why = apart(views) or "take another method than synchronous"
        raise ValueError(f"{footage.recording.name}: the cameras never fired together: {why}")
    rows = [comparators.rows_at(view.stamps_s, stamps) for view in views]
    lost = sum(len(view.stamps_s) for view in views) - len(views) * len(stamps)
    notes = list(footage.notes)
    if lost:
        notes.append(f"{lost} frames are of instants at which not all cameras fired: left out")
    return replace(
        footage,
        recording=replace(
            footage.recording,
            views=tuple(view.only(kept) for view, kept in zip(views, rows, strict=True)),
        ),
        frames={
            view.name: footage.frames[view.name][kept]
            for view, kept in zip(views, rows, strict=True)
        },
        notes=notes,
    )


def _check_size(video: Path, camera: PinholeCamera) -> list[str]:
    """Return a note if a video is a little larger or smaller than its camera's images."""
    size = next(images(video)).shape[1::-1]
    if size == tuple(camera.size_px):
        return []
    said = f"{video}: {size[0]} x {size[1]} px, but {' x '.join(map(str, camera.size_px))} px"
    if any(
        abs(side - other) > SIZE_TOLERANCE * other
        for side, other in zip(size, camera.size_px, strict=True)
    ):
        raise ValueError(f"{said} in the calibration; they must be the same")
    return [f"{said} in the calibration; taken as they are, upper left corners together"]
