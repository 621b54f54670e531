"""``radar-pose calibrate``: from pictures of a printed board to a file of cameras.

Each camera's lens comes from its own pictures of the board, held in every direction. Where the
cameras are comes from one picture each of the board lying still, so that its world is theirs, or
from points whose places are known, such as marks on the floor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import documents, measurements
from radar_pose_ros.vision import calibration, calibration_files
from radar_pose_ros.vision.calibration import (
    Board,
    Calibration,
    CharucoBoard,
    Checkerboard,
    Placed,
)
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.camera_names import find, pair

LARGEST_SQUARE_M = 2.0  # of a board; more is another unit than metres [choice]
LARGEST_ERROR_PX = 1.0  # root of the mean square; good pictures leave a few tenths [choice]
BOARDS = "checkerboard:COLUMNSxROWS:SQUARE_M or charuco:COLUMNSxROWS:SQUARE_M:MARKER_M:DICT"
UNPLACED = "none"
POINTS = (".yaml", ".yml")


@dataclass(frozen=True)
class Options:
    """What to calibrate from.

    Parameters
    ----------
    images : sequence of str
        A folder of pictures, or a video, for each camera, called like the camera, see
        `camera_name`; or ``NAME=FOLDER``.
    board : str
        See `read_board`.
    extrinsics : str
        A folder with one picture per camera, see `common_pictures`; a file of points, see
        `read_points`; or `UNPLACED`.
    out : str
        The file to write, or the folder for formats with a file per camera.
    format : str
        One of `radar_pose_ros.vision.calibration_files.FORMATS`.
    every_s : float
        Seconds between the frames that are taken from a video.
    """

    images: Sequence[str]
    board: str
    extrinsics: str
    out: str
    format: str = "pose2sim"
    every_s: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes
    ----------
    lenses : dict of str to Calibration
        By the camera's name.
    placed : dict of str to Placed
        The same cameras in the world of the board, or of the points; empty if they were not to
        be placed, or one of them could not be.
    not_placed : str
        Why that one could not be; empty if all could.
    """

    lenses: dict[str, Calibration]
    placed: dict[str, Placed]
    not_placed: str = ""

    def complaint(self) -> str:
        """Return what is wrong, a camera without a place or errors that are too large; or ""."""
        errors_px = [lens.error_px for lens in self.lenses.values()]
        errors_px += [place.error_px for place in self.placed.values()]
        sentences = [self.not_placed] if self.not_placed else []
        if max(errors_px, default=0.0) > LARGEST_ERROR_PX:
            sentences.append(f"Not to be relied on: errors of more than {LARGEST_ERROR_PX:g} px.")
        return "\n".join(sentences)


def run(options: Options) -> Outcome:
    """Calibrate cameras and write their file; of cameras that cannot be placed, the lenses alone.

    Raises
    ------
    ValueError
        If the board, a folder or a picture is none, or a lens cannot be calibrated: says which
        camera. Then nothing is written.
    """
    board = read_board(options.board)
    folders = folders_by_name(options.images)
    if options.format not in calibration_files.FORMATS:
        allowed = ", ".join(calibration_files.FORMATS)
        raise ValueError(f"format must be one of {allowed}, got {options.format!r}")
    if options.format in ("opencv", "ros") and Path(options.out).is_file():
        raise ValueError(
            f"{options.out}: for {options.format} want a folder to write to, this is a file"
        )
    pictures, points = {}, None
    if Path(options.extrinsics).suffix in POINTS:
        points = read_points(options.extrinsics, list(folders))
    elif options.extrinsics != UNPLACED:  # what is wrong with these is better said before the work
        board.check_orientation()
        pictures = common_pictures(options.extrinsics, list(folders))
    lenses = {}
    for name, folder in folders.items():
        try:
            seen = calibration.views(folder, options.every_s)
            lenses[name] = calibration.calibrate_intrinsics(seen, board)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    cameras = {name: lens.camera for name, lens in lenses.items()}
    placed: dict[str, Placed] = {}
    not_placed = ""
    try:
        if pictures:
            placed = _placed_by_board(pictures, cameras, board)
        elif points is not None:
            placed = calibration.calibrate_extrinsics_by_points(*points, cameras)
    except ValueError as error:
        not_placed = (
            f"{error}; the lenses alone are written to {options.out}, as with --extrinsics "
            f"{UNPLACED}"
        )
    cameras |= {name: place.camera for name, place in placed.items()}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    calibration_files.write(cameras, options.out, options.format, placed=bool(placed))
    return Outcome(lenses, placed, not_placed)


def _placed_by_board(
    pictures: Mapping[str, Path], cameras: Mapping[str, PinholeCamera], board: Board
) -> dict[str, Placed]:
    """Return the cameras in the world of the board; an error says in which picture."""
    placed: dict[str, Placed] = {}
    for name, path in pictures.items():
        _, image = next(calibration.views(path))
        try:
            placed |= calibration.calibrate_extrinsics({name: image}, {name: cameras[name]}, board)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return placed


def read_board(text: str) -> Board:
    """Return the board that a text describes.

    Parameters
    ----------
    text : str
        ``checkerboard:7x4:0.06``: 7 x 4 corners inside, squares of 0.06 m; or
        ``charuco:5x7:0.04:0.03:DICT_5X5_100``: 5 x 7 squares of 0.04 m, markers of 0.03 m, and
        OpenCV's name of their dictionary, which may be left out.

    Raises
    ------
    ValueError
        If it is not of this form, or there is no such board.
    """
    kind, *parts = text.split(":")
    try:
        columns, rows = (int(number) for number in parts[0].split("x"))
        if kind == "checkerboard" and len(parts) == 2:
            sizes = [float(parts[1])]
        elif kind == "charuco" and len(parts) in (3, 4):
            sizes = [float(part) for part in parts[1:3]]
        else:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"a board is {BOARDS}, got {text!r}") from None
    if sizes[0] > LARGEST_SQUARE_M:
        raise ValueError(
            f"--board {text}: squares of {sizes[0]:g} m? Their size is in metres, at most "
            f"{LARGEST_SQUARE_M:g}: 0.06 are 6 cm"
        )
    if kind == "checkerboard":
        return Checkerboard(columns, rows, sizes[0])
    square_m, marker_m = sizes
    if len(parts) == 3:
        return CharucoBoard(columns, rows, square_m, marker_m)
    return CharucoBoard(columns, rows, square_m, marker_m, parts[3])


def folders_by_name(images: Sequence[str]) -> dict[str, Path]:
    """Return where each camera's pictures are: of ``NAME=FOLDER``, or called like the folder.

    Raises
    ------
    ValueError
        If a name repeats or cannot be a file's, or there is nothing at a path.
    """
    found: dict[str, Path] = {}
    for text in images:
        name, given, rest = text.partition("=")
        path = Path(rest if given else text)
        if not given:
            name = camera_name(path.resolve().name if path.is_dir() else path.stem)
        if not name or Path(name).name != name:
            raise ValueError(f"a camera's name becomes a file's: not {name!r} of {text!r}")
        if name in found:
            raise ValueError(f"{name}: two cameras of this name, {found[name]} and {path}")
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or folder")
        found[name] = path
    return found


def camera_name(called: str) -> str:
    """Return the camera of a folder or picture; ``int_NAME_img`` is Pose2Sim's, as with "ext"."""
    found = re.fullmatch("(?:int|ext)_(.+)_img", called)
    return found[1] if found else called


def common_pictures(folder: Path | str, names: Sequence[str]) -> dict[str, Path]:
    """Return each camera's picture of the board that lies still.

    Parameters
    ----------
    folder : Path or str
        In it is, for each camera, a picture called like it (``NAME.png``) or a folder called like
        it, see `camera_name` and `vision.camera_names`, with one picture in it.
    names : sequence of str
        The cameras'.

    Raises
    ------
    ValueError
        If there is none, or more than one, or a name may be several cameras'.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    found = {}
    entries = sorted(folder.iterdir())
    folders = {path: camera_name(path.name) for path in entries if path.is_dir()}
    files = {path: camera_name(path.stem) for path in entries if _is_picture(path)}
    for name in names:
        within = _called(name, folders, folder)
        pictures = [path for place in within for path in sorted(place.iterdir())]
        pictures = [path for path in pictures if _is_picture(path)]
        if not within:
            pictures = _called(name, files, folder)
        if len(pictures) != 1:
            raise ValueError(
                f"{folder}: want one picture of {name}, {name}.png or {name}/*.png, got "
                f"{len(pictures)}"
            )
        found[name] = pictures[0]
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in calibration.IMAGES


def _called(name: str, names: Mapping[Path, str], folder: Path) -> list[Path]:
    """Return the paths whose camera a name means."""
    meant = find(name, names.values(), str(folder))
    return [path for path, camera in names.items() if camera == meant]


def read_points(
    path: Path | str, names: Sequence[str]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return where each camera sees points, and where these are.

    Parameters
    ----------
    path : Path or str
        A YAML file with ``points``, three metres in the world by a point's name, and ``pixels``,
        by the camera's name two pixels by a point's name; a camera need not see all points. One
        that sees none is not among them, and cannot be placed.
    names : sequence of str
        The cameras'.

    Returns
    -------
    pixels : dict of str to dict of str to ndarray, shape (2,)
    points_m : dict of str to ndarray, shape (3,)

    Raises
    ------
    ValueError
        If it is not of this form, a camera is not known, or sees a point that is not among these.
    """
    try:
        entries = documents.read_yaml(path)
    except OSError as error:
        raise ValueError(f"{path}: no YAML file: {documents.shortened(error)}") from None
    points_m = _places(entries, "points", 3, str(path))
    by_camera = entries.get("pixels")
    if not isinstance(by_camera, dict):
        raise ValueError(f"{path}: want `pixels`, by camera and point")
    pixels = {str(name): _places(by_camera, name, 2, f"{path}: pixels") for name in by_camera}
    meant = pair(list(pixels), names, f"{path}: pixels")
    pixels = {meant[name]: seen for name, seen in pixels.items()}
    for name, seen in pixels.items():
        if strange := [point for point in seen if point not in points_m]:
            raise ValueError(f"{path}: {name} sees {strange[0]!r}, which is not in `points`")
    return pixels, points_m


def _places(entries: Any, key: Any, count: int, where: str) -> dict[str, np.ndarray]:
    """Return an entry's lists of so many finite numbers, by name."""
    places = entries.get(key) if isinstance(entries, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{where}: want `{key}`, names with {count} numbers each")
    made = {}
    for name, values in places.items():
        try:
            made[str(name)] = np.array(values, np.float64)
        except (TypeError, ValueError, OverflowError):
            made[str(name)] = np.full(0, np.nan)
        if made[str(name)].shape != (count,) or not np.isfinite(made[str(name)]).all():
            said = documents.shortened(values)
            raise ValueError(f"{where}: {key}: {name!s:.80} wants {count} numbers, got {said}")
    return made


def table(outcome: Outcome) -> str:
    """Return what was found as lines of text: cameras, and errors by view."""
    lines = []
    for name, lens in outcome.lenses.items():
        camera, spread = lens.camera, lens.spread_px
        lines.append(
            f"{name}: {camera.size_px[0]} x {camera.size_px[1]}, focal lengths "
            f"{camera.focal_px[0]:.1f} and {camera.focal_px[1]:.1f} px "
            f"(within {spread[0]:.1f} and {spread[1]:.1f}), principal point "
            f"{camera.centre_px[0]:.1f} {camera.centre_px[1]:.1f}"
        )
        entries = {view: f"{error:8.3f} px" for view, error in lens.errors_px.items()}
        entries |= dict.fromkeys(lens.not_found, "   board not found")
        entries["all views"] = f"{lens.error_px:8.3f} px"
        if name in outcome.placed:
            place = outcome.placed[name]
            x, y, z = place.camera.position_m
            entries["placed"] = f"{place.error_px:8.3f} px, at {x:.3f} {y:.3f} {z:.3f} m"
        width = max(map(len, entries))
        lines += [f"  {entry:<{width}} {value}" for entry, value in entries.items()]
    return "\n".join(lines)


def results(outcome: Outcome) -> list[dict[str, Any]]:
    """Return rows of results; NaN is a camera that could not be placed."""
    rows = []
    for name, lens in outcome.lenses.items():
        where, seen = f"calibrate.{name}", f"{len(lens.errors_px)} views"
        rows.append(
            measurements.result(
                f"{where}.error_px", lens.error_px, "px", LARGEST_ERROR_PX, seen, at_most=True
            )
        )
        for axis, focal_px in zip("xy", lens.camera.focal_px, strict=True):
            rows.append(measurements.result(f"{where}.focal_{axis}_px", focal_px, "px"))
        missed = len(lens.not_found)
        rows.append(measurements.result(f"{where}.not_found", missed, "images", 0, at_most=True))
        for view, error_px in lens.errors_px.items():
            rows.append(measurements.result(f"{where}.views.{view}.error_px", error_px, "px"))
    errors_px = {name: place.error_px for name, place in outcome.placed.items()}
    if outcome.not_placed:
        errors_px = dict.fromkeys(outcome.lenses, np.nan)
    for name, error_px in errors_px.items():
        identifier = f"calibrate.{name}.placed.error_px"
        rows.append(
            measurements.result(identifier, error_px, "px", LARGEST_ERROR_PX, at_most=True)
        )
    return rows
