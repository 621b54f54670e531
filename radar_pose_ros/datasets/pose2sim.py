"""Recordings in Pose2Sim's folders: several calibrated cameras and OpenPose's keypoints.

The top folder holds one of calibration (``*alib*/*.toml``) and trials, or a folder of trials
for each participant. In a trial::

    pose/cam01_json/cam01.0000.json ...    what was found, one file per frame, as OpenPose has it
    pose-associated/cam01_json/...         of these, the person that is the same in all views
    pose-3d/*.trc                          markers, as OpenSim reads them

``pose.npz`` beside these holds what is in ``pose`` in one array: ``keypoints``, ``(cameras,
frames, people, joints, 3)``, x, y and score, NaN where there is no such person; ``cams``;
``model``.

26 joints are those of RTMPose, `halpe26`. OpenPose has two sets of 25, BODY_25 and BODY_25B, and
its files do not say which is in them. A score is what a detector's network says; of what is above
1, as of some of RTMPose's joints, 1 is taken. Axes of a .trc are y, z and x of the calibration, so
that y is up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros import documents
from radar_pose_ros.datasets import object_arrays
from radar_pose_ros.datasets.multiview import MultiViewRecording, ViewShots
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera_names import pair

SKELETONS = ("body25", "body25b", "halpe26")
_JOINTS = (25, 26)
# Trials lie beside the calibration, or in a participant's folder there.
_LEVELS = 2
_COUNTS = " or ".join(map(str, _JOINTS))
_MODELS = {"BODY_25": "body25", "BODY_25B": "body25b", "HALPE_26": "halpe26"}

_FROM_TRC = (2, 0, 1)
_TO_TRC = (1, 2, 0)
_UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_LEFT_OUT = 8  # markers per character of a file: each has three fields [choice]
_MOST_PEOPLE = 256  # in one image [choice]
_HEADER = (
    *("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"),
    *("OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"),
)


@dataclass(frozen=True)
class Detections:
    """What was found in the images of one camera.

    Parameters
    ----------
    name : str
        The camera's.
    frames : ndarray of int64, shape (shots,)
        Numbers of the frames, increasing.
    keypoints_px : ndarray of float32, shape (shots, people, joints, 2)
        NaN where there is no such person, or a joint was not found.
    confidence : ndarray of float32, shape (shots, people, joints)
        The score, 1 at most, and where none is stated (NaN); 0 where the keypoint is NaN.
    """

    name: str
    frames: np.ndarray = field(repr=False)
    keypoints_px: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)


def load(
    trial: Path | str,
    *,
    calibration: Path | str | None = None,
    rate_hz: float | None = None,
    skeleton: str | None = None,
    kind: str | None = None,
    person: int = 0,
    how_rate: str = "",
) -> MultiViewRecording:
    """Read a trial.

    Parameters
    ----------
    trial : Path
        Its folder.
    calibration : Path, optional
        The TOML file; by default the one in a folder ``*alib*`` beside the trial or above it.
        Cameras in it belong to those of the trial that are called alike (`vision.camera_names`)
        or, where none is, in the order of their names.
    rate_hz : float, optional
        Frames per second; by default what the trial's .trc files say.
    skeleton : {"body25", "body25b", "halpe26"}, optional
        Whose joints these are; by default what the .npz file or the number of joints says.
    kind : {"pose-associated", "pose"}, optional
        By default the first of these that is there. In "pose" people are in the order in which
        OpenPose found them, which differs from view to view and from frame to frame.
    person : int
        Which of the people.
    how_rate : str
        What an error says of where else the rate can be said, see `find_rate`.

    Returns
    -------
    MultiViewRecording
        Named after the trial's folder, the subject after the one that this is in. Frame k was
        taken at k / rate; all cameras fired together. There is no truth: what Pose2Sim
        triangulated is another program's estimate.

    Raises
    ------
    FileNotFoundError
        If the trial has no keypoints, or no calibration is found.
    ValueError
        If a file is not of this layout, or what it does not say was not given.
    """
    trial = Path(trial)
    kinds = ("pose-associated", "pose") if kind is None else (kind,)
    there = [k for k in kinds if (trial / f"{k}.npz").is_file() or (trial / k).is_dir()]
    if not there:
        raise FileNotFoundError(f"{trial}: no keypoints in {' or '.join(kinds)}")
    detections, said = read_detections(trial / there[0])
    try:
        skeleton = skeleton_of(detections, said, skeleton)
    except ValueError as error:
        raise ValueError(f"{trial}: {error}") from None
    path = find_calibration(trial) if calibration is None else Path(calibration)
    cameras = calibration_files.read(path, "pose2sim")
    if len(cameras) != len(detections):
        raise ValueError(
            f"{trial}: keypoints of {len(detections)} cameras, but {path} has {len(cameras)}"
        )
    rate_hz = find_rate(trial, how_rate) if rate_hz is None else rate_hz
    if not rate_hz > 0:
        raise ValueError(f"{trial}: the rate must be positive, got {rate_hz} Hz")
    paired = pair([found.name for found in detections], cameras, str(path), in_order=True)
    views = []
    for found in detections:
        people = found.keypoints_px.shape[1]
        if not 0 <= person < people:
            raise ValueError(f"{trial}, {found.name}: want a person of {people}, got {person}")
        views.append(
            ViewShots(
                name=found.name,
                camera=cameras[paired[found.name]],
                stamps_s=found.frames / rate_hz,
                keypoints_px=found.keypoints_px[:, person],
                confidence=found.confidence[:, person],
            )
        )
    return MultiViewRecording(
        name=trial.name,
        subject=trial.resolve().parent.name,
        action="",
        skeleton=skeleton,
        views=tuple(views),
    )


def read_detections(path: Path | str) -> tuple[list[Detections], str | None]:
    """Read what was found in all views.

    Parameters
    ----------
    path : Path
        For instance ``<trial>/pose``: ``pose.npz`` is read if it is there, else the folder's
        folders, one for each camera, of files that end in the frame's number.

    Returns
    -------
    detections : list of Detections
        In the order of the cameras' names.
    skeleton : str or None
        Name of the skeleton, if the file or the number of joints says it.

    Raises
    ------
    FileNotFoundError
        If there is neither.
    ValueError
        If a file is not of this layout.
    """
    path = Path(path)
    archive = path.with_name(f"{path.name}.npz")
    if archive.is_file():
        return _read_archive(archive)
    folders = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    if not folders:
        raise FileNotFoundError(f"{path}: no {archive.name}, and no folder of a camera in it")
    return _read_folders(folders)


def _read_archive(path: Path) -> tuple[list[Detections], str | None]:
    content = object_arrays.read(path, ("keypoints", "cams"), ("model",))
    keypoints = object_arrays.numbers(content["keypoints"], f"{path}: keypoints")
    names = [str(name) for name in np.ravel(np.asarray(content["cams"], dtype=object))]
    shaped = keypoints.ndim == 5 and keypoints.shape[3] in _JOINTS and keypoints.shape[4] == 3
    if not shaped or len(names) != len(keypoints):
        raise ValueError(
            f"{path}: want keypoints ({len(names)}, frames, people, {_COUNTS}, 3), got "
            f"{keypoints.shape}"
        )
    model = str(content.get("model", "")).rpartition(" ")[2]
    detections = [
        _detections(name, np.arange(len(values)), values)
        for name, values in zip(names, keypoints, strict=True)
    ]
    skeleton = _MODELS.get(model, _by_count(keypoints.shape[3]))
    return sorted(detections, key=lambda found: found.name), skeleton


def _by_count(joints: int) -> str | None:
    """Return the only skeleton with so many joints, None if there are several."""
    found = [name for name in SKELETONS if len(definitions.get(name).joints) == joints]
    return found[0] if len(found) == 1 else None


def _read_folders(folders: Sequence[Path]) -> tuple[list[Detections], str | None]:
    by_folder = {folder: _read_folder(folder) for folder in folders}
    sizes = {
        flat.size // 3: folder
        for folder, frames in by_folder.items()
        for people in frames.values()
        for flat in people
        if flat.size  # Pose2Sim writes empty people where it found none
    }
    if len(sizes) > 1:
        said = ", ".join(f"{joints} in {folder}" for joints, folder in sizes.items())
        raise ValueError(f"people of different numbers of joints: {said}")
    joints = next(iter(sizes), _JOINTS[0])
    found = []
    for folder, frames in by_folder.items():
        most = max(1, *(len(people) for people in frames.values()))
        values = np.full((len(frames), most, joints, 3), np.nan, np.float32)
        order = sorted(frames)
        for row, number in enumerate(order):
            for person, flat in enumerate(frames[number]):
                if flat.size:
                    values[row, person] = flat.reshape(joints, 3)
        found.append(_detections(folder.name.removesuffix("_json"), np.array(order), values))
    return found, _by_count(joints)


def _read_folder(folder: Path) -> dict[int, list[np.ndarray]]:
    """Return the people (3 joints,) of each frame."""
    frames: dict[int, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*.json")):
        number = re.search(r"(\d+)(?:_keypoints)?$", path.stem)
        if number is None:
            raise ValueError(f"{path}: the name does not end in the number of a frame")
        if int(number[1]) in frames:
            raise ValueError(f"{path}: a second file of frame {int(number[1])}")
        frames[int(number[1])] = _read_people(path)
    if not frames:
        raise FileNotFoundError(f"{folder}: no .json file")
    return frames


def _read_people(path: Path) -> list[np.ndarray]:
    try:
        people = documents.read_json(path)["people"]
        joints = [np.asarray(person["pose_keypoints_2d"], np.float32) for person in people]
    except documents.DocumentError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: not OpenPose's file of people: {error!r:.200}") from error
    if len(joints) > _MOST_PEOPLE:
        raise ValueError(f"{path}: {len(joints)} people, {_MOST_PEOPLE} are allowed")
    for flat in joints:
        if flat.size and flat.shape not in [(3 * count,) for count in _JOINTS]:
            raise ValueError(f"{path}: want x, y and score of {_COUNTS} joints, got {flat.shape}")
    return joints


def _detections(name: str, frames: np.ndarray, values: np.ndarray) -> Detections:
    """Split x, y and score; a joint of score 0 was not found."""
    keypoints = np.array(values[..., :2], np.float32)
    score = np.asarray(values[..., 2], np.float32)
    absent = (score <= 0) | ~np.isfinite(keypoints).all(-1)
    keypoints[absent] = np.nan
    confidence = np.where(absent, np.float32(0), np.fmin(score, np.float32(1)))
    return Detections(name, frames.astype(np.int64), keypoints, confidence)


def skeleton_of(detections: Sequence[Detections], said: str | None, given: str | None) -> str:
    """Return whose joints detections are.

    Parameters
    ----------
    detections, said
        As from `read_detections`.
    given : str, optional
        What the user says.

    Raises
    ------
    ValueError
        If nobody says it, or what is given is not what the files say.
    """
    skeleton = said if given is None else given
    if skeleton not in SKELETONS:
        raise ValueError(f"say whose joints these are: {' or '.join(SKELETONS)}, got {skeleton}")
    if said not in (None, skeleton):
        raise ValueError(f"keypoints of {said}, not of {skeleton}")
    joints, wanted = detections[0].keypoints_px.shape[2], len(definitions.get(skeleton).joints)
    if joints != wanted:
        raise ValueError(f"keypoints of {joints} joints, not of the {wanted} of {skeleton}")
    return skeleton


def find_calibration(trial: Path) -> Path:
    """Return the TOML file in a folder ``*alib*`` beside a trial, or above it.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If there are several.
    """
    above = [trial, *trial.resolve().parents[:_LEVELS]]
    for folder in above:
        found = sorted(folder.glob("*alib*/*.toml"))
        if len(found) > 1:
            raise ValueError(f"{trial}: calibrations {', '.join(map(str, found))}; say which")
        if found:
            return found[0]
    raise FileNotFoundError(f"{trial}: no *alib*/*.toml here or in {_LEVELS} folders above")


def find_rate(trial: Path, how: str = "") -> float:
    """Return how many frames per second a trial's .trc files say it has.

    Parameters
    ----------
    trial : Path
    how : str
        What errors say of where else it can be said.

    Raises
    ------
    ValueError
        If there is none, or they differ.
    """
    rates = {read_trc(path).rate_hz for path in sorted((trial / "pose-3d").glob("*.trc"))}
    if len(rates) != 1:
        said = ", ".join(f"{rate} Hz" for rate in sorted(rates)) or "nothing"
        where = f" {how}" if how else ""
        raise ValueError(
            f"{trial}: say how many frames per second{where}; files in pose-3d say {said}"
        )
    return rates.pop()


@dataclass(frozen=True)
class Trc:
    """Markers over time, as OpenSim reads them.

    Parameters
    ----------
    markers : tuple of str
        Names.
    rate_hz : float
    times_s : ndarray of float64, shape (frames,)
        As the file has them; Pose2Sim's begin at 1 / rate, with the first image.
    positions_m : ndarray of float64, shape (frames, markers, 3)
        In the file's axes, y up; NaN is unknown.
    """

    markers: tuple[str, ...]
    rate_hz: float
    times_s: np.ndarray = field(repr=False)
    positions_m: np.ndarray = field(repr=False)

    def joints(self, skeleton: Skeleton) -> np.ndarray:
        """Return the joints of a skeleton in the calibration's axes.

        Parameters
        ----------
        skeleton : Skeleton
            Its joints are found by `marker_names`.

        Returns
        -------
        ndarray, shape (frames, joints, 3)
            Metres; NaN for joints without a marker.
        """
        names = marker_names(skeleton)
        made = np.full((len(self.times_s), len(names), 3), np.nan)
        for joint, name in enumerate(names):
            if name in self.markers:
                made[:, joint] = self.positions_m[:, self.markers.index(name)]
        return from_trc_axes(made)


def from_trc_axes(positions: ArrayLike) -> np.ndarray:
    """Turn positions of a .trc, y up, shape ``(..., 3)``, into the calibration's axes, z up."""
    return np.asarray(positions)[..., list(_FROM_TRC)]


def to_trc_axes(positions: ArrayLike) -> np.ndarray:
    """Turn positions in the calibration's axes, z up, shape ``(..., 3)``, into those of a .trc."""
    return np.asarray(positions)[..., list(_TO_TRC)]


def marker_names(skeleton: Skeleton) -> tuple[str, ...]:
    """Return what Pose2Sim calls the joints of a skeleton: "LBigToe", "RHip", "Neck", "CHip"."""
    special = {"pelvis": "Hip" if skeleton.name == "halpe26" else "CHip", "upper_neck": "Neck"}
    if "head" not in skeleton.joints:
        special["head_top"] = "Head"
    names = []
    for joint in skeleton.joints:
        side = {"left": "L", "right": "R"}.get(joint.partition("_")[0], "")
        part = joint.partition("_")[2] if side else joint
        names.append(special.get(joint, side + part.title().replace("_", "")))
    return tuple(names)


def read_trc(path: Path | str) -> Trc:
    """Read markers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not of this format, its unit is not known, or it is cut off: says the line.
    """
    lines = documents.read_text(path).splitlines()
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise ValueError(f"{path}: no .trc file: want PathFileType and four more lines of header")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    markers = tuple(name.strip() for name in lines[3].split("\t")[2:] if name.strip())
    unit = header.get("Units", "").strip()
    if unit not in _UNITS_M:
        raise ValueError(f"{path} line 3: unit {unit!r:.80}, there are {', '.join(_UNITS_M)}")
    rate_hz = _header_number(header, "DataRate", path)
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"{path} line 3: want a positive DataRate, got {rate_hz}")
    if _header_number(header, "NumMarkers", path) != len(markers):
        said = header["NumMarkers"]
        raise ValueError(f"{path} line 4: {len(markers)} markers, not {said:.80}")
    # A line may lack its last fields; many such lines would stand for much more than is there.
    if len(lines) * len(markers) > _LEFT_OUT * sum(map(len, lines)):
        raise ValueError(f"{path}: {len(lines)} lines of {len(markers)} markers are not in it")
    rows = [
        _trc_row(line, 3 * len(markers), f"{path} line {number}")
        for number, line in enumerate(lines[5:], 6)
        if line.strip()
    ]
    if _header_number(header, "NumFrames", path) != len(rows):
        raise ValueError(f"{path}: {len(rows)} frames, not {header['NumFrames']:.80}")
    values = np.array(rows).reshape(len(rows), 1 + 3 * len(markers))
    return Trc(
        markers=markers,
        rate_hz=rate_hz,
        times_s=values[:, 0],
        positions_m=values[:, 1:].reshape(len(rows), -1, 3) * _UNITS_M[unit],
    )


def _header_number(header: dict[str, str], key: str, path: Path | str) -> float:
    try:
        return float(header[key])
    except (KeyError, ValueError):
        raise ValueError(f"{path} line 3: want a number as {key}") from None


def _trc_row(line: str, count: int, where: str) -> list[float]:
    """Return time and coordinates; an empty field is not known."""
    fields = line.rstrip("\r\n").split("\t")[1 : 2 + count]
    fields += [""] * (1 + count - len(fields))
    try:
        row = [float(text) if text.strip() else np.nan for text in fields]
    except ValueError as error:
        raise ValueError(f"{where}: {documents.shortened(error)}") from None
    if not np.isfinite(row[0]):
        raise ValueError(f"{where}: want a number of the frame, and its time")
    return row


def write_trc(
    path: Path | str,
    markers: Sequence[str],
    positions_m: ArrayLike,
    rate_hz: float,
    *,
    times_s: ArrayLike | None = None,
    unit: str = "m",
) -> None:
    """Write markers as OpenSim reads them.

    Parameters
    ----------
    path : Path
    markers : sequence of str
        Names, as from `marker_names`.
    positions_m : array_like, shape (frames, markers, 3)
        In the file's axes, y up, see `to_trc_axes`; NaN is left empty.
    rate_hz : float
        Frames per second.
    times_s : array_like, optional, shape (frames,)
        From 0 at the rate by default.
    unit : {"m", "cm", "mm"}
        What the file is in.

    Raises
    ------
    ValueError
        If shapes or names do not belong together, or the unit or the rate is out of range.
    """
    positions = np.asarray(positions_m, np.float64)
    if positions.ndim != 3 or positions.shape[1:] != (len(markers), 3):
        raise ValueError(f"{path}: want (frames, {len(markers)}, 3), got {positions.shape}")
    if len({*markers}) != len(markers) or not all(name.isprintable() for name in markers):
        raise ValueError(f"{path}: names of markers repeat, or cannot be written")
    if unit not in _UNITS_M:
        raise ValueError(f"{path}: unit {unit!r}, there are {', '.join(_UNITS_M)}")
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"{path}: the rate must be positive, got {rate_hz} Hz")
    times = np.arange(len(positions)) / rate_hz if times_s is None else np.asarray(times_s)
    if times.shape != (len(positions),):
        raise ValueError(f"{path}: {len(positions)} frames, but times {times.shape}")
    rate, count = f"{rate_hz:.10g}", str(len(positions))
    header = dict.fromkeys(_HEADER, rate) | {"Units": unit, "NumMarkers": str(len(markers))}
    header |= {"NumFrames": count, "OrigNumFrames": count, "OrigDataStartFrame": "1"}
    axes = [f"{axis}{number}" for number in range(1, len(markers) + 1) for axis in "XYZ"]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "\t".join(header),
        "\t".join(header.values()),
        "\t".join(["Frame#", "Time", *(part for name in markers for part in (name, "", ""))]),
        "\t".join(["", "", *axes]),
    ]
    scaled = positions.reshape(len(positions), -1) / _UNITS_M[unit]
    # nanoseconds, also of seconds since 1970
    for number, (time_s, row) in enumerate(zip(np.round(times, 9), scaled, strict=True), 1):
        lines.append("\t".join([str(number), f"{time_s:.16g}", *map(_written, row)]))
    Path(path).write_text("\n".join(lines) + "\n")


def _written(value: Any) -> str:
    return f"{value:.9g}" if np.isfinite(value) else ""
