"""Sets of calibrated cameras in files: what other programs write, and what they read.

=========== =================================================================================
format      what it is
=========== =================================================================================
`pose2sim`  one TOML file, a table per camera: name, size, matrix, distortions, rotation (axis
            times angle), translation, fisheye. Metres.
`anipose`   the same tables; often in millimetres, or in squares of the board.
`opencv`    a file of ``cv2.FileStorage`` per camera (.yml, .yaml or .xml), or a folder of them:
            camera_matrix, distortion_coefficients, R or rvec, T or tvec, image_width and
            image_height or image_size. The file's name is the camera's.
`ros`       a folder with a CameraInfo file per camera, ``NAME.yaml``, as camera_calibration and
            camera_info_manager write it, and our `EXTRINSICS`, which says where each is.
=========== =================================================================================

`EXTRINSICS` has what a transform from the world to the optical frame has::

    cameras:
      left:
        position: [x, y, z]            # metres, in the world
        orientation: [x, y, z, w]      # of the optical frame in the world
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from radar_pose_ros import documents
from radar_pose_ros.vision.camera import PinholeCamera

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMATS = ("pose2sim", "anipose", "opencv", "ros")
EXTRINSICS = "extrinsics.yaml"
LARGEST_SIDE_PX = 1 << 16  # of an image [choice]
SMALLEST_PERSON_M, TALLEST_PERSON_M = 0.5, 2.5  # from child to giant [choice]
# Text has few digits: a matrix so near to a rotation, in each element, stands for it [choice].
_ROUNDED = 1e-3
_MOST_NUMBERS = 100  # of a matrix, or a lens
_STORAGE = (".yml", ".yaml", ".xml")
# Keys that programs use in cv2.FileStorage; the first is what we write.
_MATRIX = ("camera_matrix", "K")
_LENS = ("distortion_coefficients", "dist_coeffs", "D")
_TURN = ("R", "rvec", "rotation")
_SHIFT = ("T", "tvec", "translation")
_ROS_LENSES = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8,)}


def read(
    path: Path | str, format: str = "auto", unit_m: float = 1.0, placed: bool = True
) -> dict[str, PinholeCamera]:
    """Read the cameras of a file or folder.

    Parameters
    ----------
    path : Path or str
    format : str
        One of `FORMATS`, or "auto": by the path's ending and contents. TOML is read alike
        whichever program wrote it.
    unit_m : float
        Length in metres of what the file counts in: 1.0 for metres, 0.001 for millimetres. No
        file says so: try `check_scale` on somebody's height.
    placed : bool
        With False, a camera of which only the lens is known is returned in its own optical frame,
        as `calibration.calibrate_extrinsics` takes it; else that is an error.

    Returns
    -------
    dict of str to PinholeCamera
        In the order of the file, or of the names in a folder.

    Raises
    ------
    ValueError
        If the path does not exist or holds no camera, or something in it is missing or wrong; a
        fisheye lens is no pinhole.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    _check_unit(unit_m)
    name = _guess(path) if format == "auto" else _known(format)
    if name in ("pose2sim", "anipose"):
        cameras = _read_toml(path, unit_m, placed)
    elif name == "opencv":
        cameras = _read_storage(path, unit_m, placed)
    else:
        cameras = _read_ros(path, unit_m, placed)
    if not cameras:
        raise ValueError(f"{path}: no camera in it")
    return cameras


def write(
    cameras: Mapping[str, PinholeCamera],
    path: Path | str,
    format: str,
    unit_m: float = 1.0,
    placed: bool = True,
) -> None:
    """Write cameras as `read` takes them.

    Parameters
    ----------
    cameras : mapping of str to PinholeCamera
        By name.
    path : Path or str
        The TOML file to write; for the formats "opencv" and "ros" the folder to write into, made
        if it is not there.
    format : str
        One of `FORMATS`.
    unit_m : float
        Length in metres of what the file shall count in.
    placed : bool
        With False nothing is written of where the cameras are, only of their lenses.

    Raises
    ------
    ValueError
        If there is no camera, the format is not known, or a name cannot be a file's.
    """
    path, name = Path(path), _known(format)
    _check_unit(unit_m)
    if not cameras:
        raise ValueError(f"{path}: no camera to write")
    if name in ("pose2sim", "anipose"):
        text = _toml(cameras, unit_m, 4 if name == "pose2sim" else 5, placed)
        path.write_text(text, "utf-8")
        return
    for camera in cameras:
        if not camera or Path(camera).name != camera or f"{camera}.yaml" == EXTRINSICS:
            raise ValueError(f"{path}: a camera's name becomes a file's: not {camera!r}")
    path.mkdir(parents=True, exist_ok=True)
    if name == "opencv":
        _write_storage(cameras, path, unit_m, placed)
    else:
        _write_ros(cameras, path, unit_m, placed)


def check_scale(height_m: float) -> str:
    """Say whether a person's height, as triangulated, lets the calibration's unit look wrong.

    Parameters
    ----------
    height_m : float
        From the floor, or the feet, to the head.

    Returns
    -------
    str
        Empty from `SMALLEST_PERSON_M` to `TALLEST_PERSON_M`; else a warning for the user.
    """
    if SMALLEST_PERSON_M <= height_m <= TALLEST_PERSON_M:
        return ""
    allowed = f"expected {SMALLEST_PERSON_M:g} m to {TALLEST_PERSON_M:g} m"
    if not math.isfinite(height_m) or height_m <= 0:
        return f"the calibration's scale cannot be checked: a height of {height_m:g} m, {allowed}"
    for unit, unit_m in (("millimetres", 0.001), ("centimetres", 0.01)):
        if SMALLEST_PERSON_M <= height_m * unit_m <= TALLEST_PERSON_M:
            return (
                f"a person {height_m:g} m tall, {allowed}: is the calibration in {unit}? Then its "
                f"unit_m is {unit_m:g}"
            )
    return f"a person {height_m:g} m tall, {allowed}: is the calibration's unit_m right?"


def _known(format: str) -> str:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    return format


def _check_unit(unit_m: float) -> None:
    if not (math.isfinite(unit_m) and unit_m > 0):
        raise ValueError(f"unit_m must be positive, got {unit_m}")


def _guess(path: Path) -> str:
    if path.is_dir():
        if (path / EXTRINSICS).exists():
            return "ros"
        files = _storages(path)
        return _guess(files[0]) if files else "opencv"
    if path.suffix == ".toml":
        return "pose2sim"
    with documents.open_file(path) as file:
        begin = file.read(5)
    if path.suffix == ".xml" or begin == b"%YAML":
        return "opencv"
    if path.suffix in _STORAGE:
        return "ros"
    raise ValueError(f"{path}: its format cannot be told: give one of {', '.join(FORMATS)}")


def _storages(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix in _STORAGE and p.name != EXTRINSICS)


def _camera(
    where: str,
    matrix: object,
    size: object,
    distortion: object,
    turn: object,
    shift: object,
    unit_m: float,
    placed: bool,
) -> PinholeCamera:
    """Check what a file says of one camera; None is what it does not say."""
    width, height = _numbers(size, (2,), f"{where}: the image's size")
    if not (width.is_integer() and height.is_integer() and max(width, height) <= LARGEST_SIDE_PX):
        raise ValueError(
            f"{where}: the image's size wants whole pixels up to {LARGEST_SIDE_PX}, got "
            f"{width:g} x {height:g}"
        )
    lens: ArrayLike = ()
    if distortion is not None:
        lens = _numbers(distortion, None, f"{where}: the distortion")
    if (turn is None or shift is None) and placed:
        raise ValueError(
            f"{where}: it says nothing of where the camera is (rotation, translation)"
        )
    place = np.zeros(3) if shift is None else _numbers(shift, (3,), f"{where}: the translation")
    try:
        return PinholeCamera.from_matrix(
            _numbers(matrix, (3, 3), f"{where}: the camera matrix"),
            np.eye(3) if turn is None else _rotation(turn, where),
            place * unit_m,
            (int(width), int(height)),
            lens,
        )
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(where) else f"{where}: {error}") from None


def _numbers(values: object, shape: tuple[int, ...] | None, what: str) -> np.ndarray:
    """Return finite numbers of this shape, whether they lie in a row or a column."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.full(1, np.nan)
    wanted = array.size if shape is None else math.prod(shape)
    if values is None or array.size != wanted or not np.isfinite(array).all():
        count = "" if shape is None else f"{wanted} "
        raise ValueError(f"{what} wants {count}numbers, got {documents.shortened(values)}")
    return array.reshape(-1 if shape is None else shape)


def _rotation(values: object, where: str) -> np.ndarray:
    """Return the matrix (3, 3) of an axis times angle, or of a matrix with rounded numbers."""
    if np.size(np.asarray(values, dtype=object)) == 3:
        return Rotation.from_rotvec(_numbers(values, (3,), f"{where}: the rotation")).as_matrix()
    matrix = _numbers(values, (3, 3), f"{where}: the rotation")
    left, _, right = np.linalg.svd(matrix)
    nearest = left @ right
    if np.abs(nearest - matrix).max() > _ROUNDED or np.linalg.det(nearest) < 0:
        raise ValueError(f"{where}: want a rotation matrix, got {matrix.tolist()}")
    return nearest


# -- TOML -----------------------------------------------------------------------------------------


def _read_toml(path: Path, unit_m: float, placed: bool) -> dict[str, PinholeCamera]:
    try:
        tables = tomllib.loads(documents.read_text(path, documents.LARGEST_YAML_BYTES))
    except documents.DocumentError:
        raise
    except (OSError, RecursionError, ValueError) as error:  # also of dates that are none
        raise ValueError(f"{path}: no TOML file: {documents.shortened(error)}") from None
    cameras: dict[str, PinholeCamera] = {}
    for section, table in tables.items():
        if not isinstance(table, dict) or "matrix" not in table:
            continue  # such as [metadata]
        name, where = str(table.get("name", section)), f"{path}: [{section}]"
        if table.get("fisheye"):
            raise ValueError(f"{where} has a fisheye lens, which is not supported")
        if name in cameras:
            raise ValueError(f"{where}: a second camera of the name {name!r}")
        cameras[name] = _camera(
            where,
            table["matrix"],
            table.get("size"),
            table.get("distortions"),
            table.get("rotation"),
            table.get("translation"),
            unit_m,
            placed,
        )
    return cameras


def _toml(cameras: Mapping[str, PinholeCamera], unit_m: float, least: int, placed: bool) -> str:
    """Return the file's text; a JSON string and a list of numbers are TOML, too."""
    lines: list[str] = []
    for name, camera in cameras.items():
        entries: dict[str, Any] = {
            "name": name,
            "size": list(camera.size_px),
            "matrix": camera.matrix.tolist(),
            "distortions": _lens(camera, least),
        }
        if placed:
            entries["rotation"] = Rotation.from_matrix(camera.rotation).as_rotvec().tolist()
            entries["translation"] = (camera.translation_m / unit_m).tolist()
        entries["fisheye"] = False
        lines.append(f"[{json.dumps(name, ensure_ascii=False)}]")
        lines += [f"{key} = {json.dumps(v, ensure_ascii=False)}" for key, v in entries.items()]
        lines.append("")
    return "\n".join([*lines, "[metadata]", "adjusted = false", "error = 0.0", ""])


def _lens(camera: PinholeCamera, least: int) -> list[float]:
    """Return so few coefficients as say the same, at least so many."""
    values = [*map(float, camera.distortion), *[0.0] * 8][:8]
    return next(values[:n] for n in (4, 5, 8) if n >= least and not any(values[n:]))


# -- OpenCV ---------------------------------------------------------------------------------------


def _read_storage(path: Path, unit_m: float, placed: bool) -> dict[str, PinholeCamera]:
    files = _storages(path) if path.is_dir() else [path]
    return {file.stem: _one_storage(file, unit_m, placed) for file in _unique(files)}


def _unique(files: Iterable[Path]) -> list[Path]:
    by_name: dict[str, Path] = {}
    for file in files:
        if file.stem in by_name:
            raise ValueError(f"{file}: a second camera of the name {file.stem!r}")
        by_name[file.stem] = file
    return list(by_name.values())


def _one_storage(path: Path, unit_m: float, placed: bool) -> PinholeCamera:
    storage = cv2.FileStorage()
    try:
        text = documents.read_text(path, documents.LARGEST_YAML_BYTES)
        if not storage.open(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY):
            raise ValueError(f"{path}: no file of cv2.FileStorage")
        size = _entry(storage, ("image_size",))
        if size is None:
            size = [_entry(storage, (f"image_{side}",)) for side in ("width", "height")]
        matrix = _entry(storage, _MATRIX)
        if matrix is None:
            raise ValueError(f"{path}: no {' or '.join(_MATRIX)} in it")
        lens, turn, shift = (_entry(storage, keys) for keys in (_LENS, _TURN, _SHIFT))
    except (cv2.error, OSError) as error:
        said = documents.shortened(error)
        raise ValueError(f"{path}: no file of cv2.FileStorage: {said}") from None
    finally:
        storage.release()
    return _camera(str(path), matrix, size, lens, turn, shift, unit_m, placed)


def _entry(storage: cv2.FileStorage, keys: Iterable[str]) -> Any:
    """Return the first of these entries, a matrix, sequence or number; None if there is none."""
    for key in keys:
        node = storage.getNode(key)
        if node.empty() or node.isNone():
            continue
        if node.isSeq():
            return [_number(node.at(index)) for index in range(min(node.size(), _MOST_NUMBERS))]
        if not node.isMap():
            return _number(node)
        # Memory for a matrix is taken before its numbers are counted.
        sides = [_number(node.getNode(side)) for side in ("rows", "cols")]
        return node.mat() if 0 < math.prod(sides) <= _MOST_NUMBERS else math.nan
    return None


def _number(node: cv2.FileNode) -> float:
    return node.real() if node.isReal() or node.isInt() else math.nan


def _write_storage(
    cameras: Mapping[str, PinholeCamera], path: Path, unit_m: float, placed: bool
) -> None:
    for name, camera in cameras.items():
        file = path / f"{name}.yml"
        storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
        if not storage.isOpened():
            raise ValueError(f"{file}: it cannot be written")
        storage.write("image_width", int(camera.size_px[0]))
        storage.write("image_height", int(camera.size_px[1]))
        storage.write(_MATRIX[0], camera.matrix)
        storage.write(_LENS[0], np.array([_lens(camera, 5)]))
        if placed:
            storage.write(_TURN[0], camera.rotation)
            storage.write(_SHIFT[0], camera.translation_m[:, None] / unit_m)
        storage.release()


# -- ROS ------------------------------------------------------------------------------------------


def _read_ros(path: Path, unit_m: float, placed: bool) -> dict[str, PinholeCamera]:
    folder = path if path.is_dir() else path.parent
    files = _unique(_storages(path)) if path.is_dir() else [path]
    places: Any = {}
    if (folder / EXTRINSICS).exists():
        places = _yaml(folder / EXTRINSICS).get("cameras")
        if not isinstance(places, dict):
            raise ValueError(f"{folder / EXTRINSICS}: want an entry `cameras`, by name")
    elif placed:
        raise ValueError(f"{folder}: no {EXTRINSICS}, which says where the cameras are")
    cameras: dict[str, PinholeCamera] = {}
    for file in files:
        turn = shift = None
        if file.stem in places:
            where = f"{folder / EXTRINSICS}: {file.stem}"
            turn, shift = _place(places[file.stem], where, unit_m)
        elif placed:
            raise ValueError(f"{folder / EXTRINSICS}: {file.stem} is not in it")
        cameras[file.stem] = _camera_info(file, turn, shift, placed)
    missing = [str(name) for name in places if name not in cameras and path.is_dir()]
    if missing:
        raise ValueError(f"{folder}: no {missing[0]}.yaml, though {EXTRINSICS} places it")
    return cameras


def _yaml(path: Path) -> dict[str, Any]:
    try:
        entries = documents.read_yaml(path)
    except OSError as error:
        raise ValueError(f"{path}: no YAML file: {documents.shortened(error)}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: want entries by name")
    return entries


def _place(entries: Any, where: str, unit_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return R and t of ``x_camera = R x_world + t``, t in metres."""
    if not isinstance(entries, dict):
        raise ValueError(f"{where}: want a position and an orientation")
    position = _numbers(entries.get("position"), (3,), f"{where}: position") * unit_m
    quaternion = _numbers(entries.get("orientation"), (4,), f"{where}: orientation")
    if not np.isclose(np.linalg.norm(quaternion), 1.0, atol=_ROUNDED):
        raise ValueError(f"{where}: orientation is no unit quaternion: {quaternion.tolist()}")
    turn = Rotation.from_quat(quaternion).inv().as_matrix()
    return turn, -turn @ position


def _camera_info(
    path: Path, turn: ArrayLike | None, shift: ArrayLike | None, placed: bool
) -> PinholeCamera:
    entries = _yaml(path)
    matrix, lens = (entries.get(key) for key in ("camera_matrix", "distortion_coefficients"))
    if not isinstance(matrix, dict):
        raise ValueError(f"{path}: no camera_matrix with rows, cols and data in it")
    numbers = None if not isinstance(lens, dict) else lens.get("data")
    model = entries.get("distortion_model", "plumb_bob")
    if not isinstance(model, str) or model not in _ROS_LENSES:
        raise ValueError(
            f"{path}: distortion_model {model!r:.80} is not supported, only "
            f"{', '.join(_ROS_LENSES)}"
        )
    count = np.size(np.asarray(numbers, dtype=object))
    if numbers is not None and count not in _ROS_LENSES[model]:
        allowed = ", ".join(map(str, _ROS_LENSES[model]))
        raise ValueError(f"{path}: {model} has {allowed} coefficients, got {count}")
    size = [entries.get("image_width"), entries.get("image_height")]
    return _camera(str(path), matrix.get("data"), size, numbers, turn, shift, 1.0, placed)


def _write_ros(
    cameras: Mapping[str, PinholeCamera], path: Path, unit_m: float, placed: bool
) -> None:
    places: dict[str, dict[str, list[float]]] = {}
    for name, camera in cameras.items():
        lens = _lens(camera, 5)
        projection = np.column_stack([camera.matrix, np.zeros(3)])
        entries = {
            "image_width": int(camera.size_px[0]),
            "image_height": int(camera.size_px[1]),
            "camera_name": name,
            "camera_matrix": _block(camera.matrix),
            "distortion_model": "plumb_bob" if len(lens) == 5 else "rational_polynomial",
            "distortion_coefficients": _block(np.array([lens])),
            "rectification_matrix": _block(np.eye(3)),
            "projection_matrix": _block(projection),
        }
        _dump(entries, path / f"{name}.yaml")
        places[name] = {
            "position": (camera.position_m / unit_m).tolist(),
            "orientation": Rotation.from_matrix(camera.rotation).inv().as_quat().tolist(),
        }
    if placed:
        _dump({"cameras": places}, path / EXTRINSICS)
    else:  # places of an earlier calibration are not those of these lenses
        (path / EXTRINSICS).unlink(missing_ok=True)


def _block(values: np.ndarray) -> dict[str, Any]:
    return {"rows": len(values), "cols": values.shape[1], "data": values.ravel().tolist()}


def _dump(entries: dict[str, Any], path: Path) -> None:
    text = yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, allow_unicode=True)
    path.write_text(text, "utf-8")
