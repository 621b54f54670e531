"""Calibration of cameras with a printed board: lenses from many views, places from a common one.

The board's world has x along its columns, y along its rows and z out of its printed face, its
origin at one corner of what is printed: so a board on the floor gives a world with z up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from radar_pose_ros.vision.camera import PinholeCamera

FEWEST_VIEWS = 3  # of which a plane's say all of a lens: Zhang, PAMI 2000
FEWEST_CORNERS = 6  # of a board that is partly seen [choice]
FEWEST_POINTS = 4  # to place a camera
# With fewer views k3 and the tangential coefficients follow the noise, not the lens [choice].
VIEWS_FOR_FIVE = 10
LARGEST_SPREAD = 0.05  # standard deviation of a focal length, relative to it [choice]
LEAST_ERROR_PX = 0.1  # of a corner that was found [choice]: few views may fit better by chance
# Two poses of a board whose errors differ by less than this factor cannot be told apart [choice].
AMBIGUITY = 1.2
LARGEST_DOUBT = np.radians(3.0)  # unless they are the same pose but for so much [choice]
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
_LEVEL = 1e-4  # of points in a plane: their thickness, relative to their extent [choice]
_DEGENERATE = (
    "the views do not determine the lens: turn the board to all sides, nearer and farther"
)
# OpenCV's flags by the number of coefficients to estimate.
_LENSES = {
    0: cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3,
    1: cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3,
    2: cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K3,
    4: cv2.CALIB_FIX_K3,
    5: 0,
    8: cv2.CALIB_RATIONAL_MODEL,
}


class Corners(NamedTuple):
    """What was found of a board in one image.

    Attributes
    ----------
    points_m : ndarray, shape (n, 3)
        In the board's world.
    pixels : ndarray, shape (n, 2)
    """

    points_m: np.ndarray
    pixels: np.ndarray


class Board(Protocol):
    """Something flat with corners that can be told apart."""

    def find(self, image: np.ndarray) -> Corners | None:
        """Return the corners in an image, (height, width[, 3]) of uint8; None without a board."""
        ...

    def check_orientation(self) -> None:
        """Raise ValueError if it looks the same upside down, so that cameras may disagree."""
        ...


@dataclass(frozen=True)
class Checkerboard:
    """A plain checkerboard, found only where the whole of it is seen.

    Parameters
    ----------
    columns, rows : int
        Corners inside, where four squares meet: one less than squares.
    square_m : float
        Side of a square. It scales what is placed by the board, not the lens.

    Raises
    ------
    ValueError
        If there are fewer than 3 columns or rows, or the side is not positive.
    """

    columns: int
    rows: int
    square_m: float

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 3 or not self.square_m > 0:
            raise ValueError(
                "a checkerboard has at least 3 x 3 corners inside and squares of positive size, "
                f"got {self.columns} x {self.rows} of {self.square_m} m"
            )

    def check_orientation(self) -> None:
        """Raise ValueError unless one of columns and rows is even and the other odd."""
        if (self.columns + self.rows) % 2 == 0:
            raise ValueError(
                f"a checkerboard of {self.columns} x {self.rows} corners looks the same upside "
                "down: to place cameras take one with an even and an odd number, or a ChArUco "
                "board"
            )

    def find(self, image: np.ndarray) -> Corners | None:
        """Return the corners in an image, (height, width[, 3]) of uint8; None without a board.

        The first corner is that whose inner square is black, seen from the front; with both
        numbers even, or both odd, it may be the last as well.
        """
        grey = _grey(image)
        found, corners = cv2.findChessboardCorners(grey, (self.columns, self.rows))
        if not found:
            return None
        grid = np.asarray(corners, np.float32).reshape(self.rows, self.columns, 2)
        sides = [np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (0, 1)]
        reach = int(np.clip(min(sides) / 4, 2, 15))  # px: stays within the squares around
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
        corners = cv2.cornerSubPix(
            grey, grid.reshape(-1, 1, 2), (reach, reach), (-1, -1), criteria
        )
        grid = _seen_from_front(np.asarray(corners, np.float64).reshape(grid.shape))
        if _brightness(grey, grid, 0) > _brightness(grey, grid, 1):
            grid = grid[::-1, ::-1]
        return Corners(self._points(), grid.reshape(-1, 2))

    def _points(self) -> np.ndarray:
        rows, columns = np.mgrid[: self.rows, : self.columns]
        flat = np.stack([columns, self.rows - 1 - rows, np.zeros_like(rows)], axis=-1)
        return flat.reshape(-1, 3) * self.square_m


@dataclass(frozen=True)
class CharucoBoard:
    """A checkerboard with ArUco markers in its white squares, found where a part is seen.

    Parameters
    ----------
    columns, rows : int
        Squares.
    square_m, marker_m : float
        Side of a square and of a marker.
    dictionary : str
        OpenCV's name of the markers' dictionary.

    Raises
    ------
    ValueError
        If a number is too small, a marker does not fit into a square, or the dictionary is not
        known.
    RuntimeError
        If OpenCV is older than 4.7, which finds such boards in another way.
    """

    columns: int
    rows: int
    square_m: float
    marker_m: float
    dictionary: str = "DICT_5X5_100"

    def __post_init__(self) -> None:
        if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
            raise RuntimeError(
                f"ChArUco boards want OpenCV 4.7 or newer, this is {cv2.__version__}"
            )
        if min(self.columns, self.rows) < 3 or not 0 < self.marker_m < self.square_m:
            raise ValueError(
                "a ChArUco board has at least 3 x 3 squares, and markers smaller than these, got "
                f"{self.columns} x {self.rows} of {self.square_m} m with {self.marker_m} m"
            )
        if not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            raise ValueError(
                "dictionary must be one of cv2.aruco's DICT_..., such as DICT_5X5_100, got "
                f"{self.dictionary!r}"
            )

    def check_orientation(self) -> None:
        """Do nothing: its markers say which end is which."""

    def find(self, image: np.ndarray) -> Corners | None:
        """Return the corners in an image, (height, width[, 3]) of uint8; None without a board."""
        board = self.opencv()
        pixels, numbers, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(_grey(image))
        if numbers is None or len(numbers) < FEWEST_CORNERS:
            return None
        points = np.asarray(board.getChessboardCorners(), np.float64)[np.ravel(numbers)]
        points[:, 1] = self.rows * self.square_m - points[:, 1]  # OpenCV's y is down
        return Corners(points, np.asarray(pixels, np.float64).reshape(-1, 2))

    def opencv(self) -> cv2.aruco.CharucoBoard:
        """Return OpenCV's board, which can be drawn with ``generateImage``."""
        markers = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))
        size = (self.columns, self.rows)
        return cv2.aruco.CharucoBoard(size, self.square_m, self.marker_m, markers)


@dataclass(frozen=True)
class Calibration:
    """A lens, and how well the views agree on it.

    Attributes
    ----------
    camera : PinholeCamera
        In its own optical frame: where it is in the world is not known yet.
    error_px : float
        What is left between the corners and their projections, root of the mean square.
    errors_px : dict of str to float
        The same by view; a view far above the others is blurred or misread.
    spread_px : ndarray, shape (4,)
        Standard deviations of both focal lengths and of the principal point, for errors of the
        corners like ``error_px``, at least `LEAST_ERROR_PX`.
    not_found : tuple of str
        The images without a board.
    """

    camera: PinholeCamera
    error_px: float
    errors_px: dict[str, float]
    spread_px: np.ndarray
    not_found: tuple[str, ...]


@dataclass(frozen=True)
class Placed:
    """A camera with its place in the world.

    Attributes
    ----------
    camera : PinholeCamera
    error_px : float
        What is left between the points seen and their projections, root of the mean square.
    """

    camera: PinholeCamera
    error_px: float


def views(path: Path | str, every_s: float = 1.0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the images of a folder, or frames of a video, and what to call each.

    Parameters
    ----------
    path : Path or str
        A folder with images (`IMAGES`), an image, or a video.
    every_s : float
        Seconds between the frames that are taken from a video.

    Yields
    ------
    (str, ndarray of uint8, shape (height, width))
        Name and grey image.

    Raises
    ------
    ValueError
        If nothing can be read there.
    """
    path = Path(path)
    if not every_s > 0:
        raise ValueError(f"every_s must be positive, got {every_s}")
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if not path.is_dir() and path.suffix.lower() not in IMAGES:
        yield from _frames(path, every_s)
        return
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() in IMAGES]
    if not files:
        raise ValueError(f"{path}: no image ({', '.join(IMAGES)}) in it")
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise ValueError(f"{file}: it cannot be read as an image")
        yield file.name, np.asarray(image, np.uint8)


def calibrate_intrinsics(
    images: Iterable[tuple[str, np.ndarray]], board: Board, coefficients: int | None = None
) -> Calibration:
    """Estimate a camera's focal lengths, principal point and distortion.

    OpenCV's ``calibrateCamera`` (Zhang, "A flexible new technique for camera calibration", PAMI
    2000).

    Parameters
    ----------
    images : iterable of (str, ndarray of uint8, shape (height, width[, 3]))
        Name and image of each view, all of one size, such as `views` yields or ``dict.items()``.
        The board should be turned in each direction and reach the image's corners.
    board : Board
    coefficients : int, optional
        Distortion to estimate: 0, 1 (k1), 2 (and k2), 4 (and p1, p2), 5 (and k3) or 8 (rational).
        By default 2 with fewer than `VIEWS_FOR_FIVE` views, else 5.

    Raises
    ------
    ValueError
        If fewer than `FEWEST_VIEWS` images show the board, sizes differ, or the views do not
        determine the lens, as when the board faces the camera in all of them.
    """
    if coefficients is not None and coefficients not in _LENSES:
        allowed = ", ".join(map(str, _LENSES))
        raise ValueError(f"coefficients must be one of {allowed}, got {coefficients}")
    found, not_found, size = _find_all(images, board)
    if len(found) < FEWEST_VIEWS:
        missing = f": no board in {', '.join(not_found)}" if not_found else ""
        raise ValueError(
            f"a lens needs {FEWEST_VIEWS} views of the board or more, got {len(found)}{missing}"
        )
    if coefficients is None:
        coefficients = 2 if len(found) < VIEWS_FOR_FIVE else 5
    try:
        error_px, matrix, lens, turns, shifts, _, _, errors = cv2.calibrateCameraExtended(
            [corners.points_m.astype(np.float32) for corners in found.values()],
            [corners.pixels.astype(np.float32) for corners in found.values()],
            size,
            np.eye(3),
            np.zeros(5),
            flags=_LENSES[coefficients],
        )
    except cv2.error as error:
        raise ValueError(f"{_DEGENERATE} ({getattr(error, 'err', error)})") from None
    focal = np.array([matrix[0, 0], matrix[1, 1]])
    if not np.isfinite(np.ravel(matrix)).all() or (focal <= 0).any():
        raise ValueError(_DEGENERATE)
    projections = [
        cv2.projectPoints(corners.points_m, turn, shift, matrix, lens)[1][:, : 10 + coefficients]
        for corners, turn, shift in zip(found.values(), turns, shifts, strict=True)
    ]
    # By coordinate; an error is a distance.
    spread_px = max(error_px, LEAST_ERROR_PX) / np.sqrt(2) * _spread(projections)
    if not (spread_px[:2] <= LARGEST_SPREAD * focal).all():
        raise ValueError(
            f"{_DEGENERATE}; focal lengths of {focal[0]:.0f} and {focal[1]:.0f} px within "
            f"{spread_px[0]:.0f} and {spread_px[1]:.0f} px"
        )
    values = np.ravel(lens)[: 8 if coefficients == 8 else 5]
    camera = PinholeCamera.from_matrix(matrix, np.eye(3), np.zeros(3), size, values)
    by_view = dict(zip(found, np.ravel(errors).tolist(), strict=True))
    return Calibration(camera, float(error_px), by_view, spread_px, not_found)


def calibrate_extrinsics(
    images: Mapping[str, np.ndarray], cameras: Mapping[str, PinholeCamera], board: Board
) -> dict[str, Placed]:
    """Place cameras in the world of a board that all of them see at the same place.

    Parameters
    ----------
    images : mapping of str to ndarray of uint8, shape (height, width[, 3])
        By the camera's name.
    cameras : mapping of str to PinholeCamera
        Whose lenses are known; where they are is not looked at.
    board : Board

    Raises
    ------
    ValueError
        If a camera has no image or an image no camera, does not have the camera's size, or shows
        no board; if the board looks the same upside down; or if two poses fit equally well.
    """
    board.check_orientation()
    _check_names(images, cameras, "image")
    placed: dict[str, Placed] = {}
    for name, camera in cameras.items():
        image = images[name]
        if image.shape[1::-1] != tuple(camera.size_px):
            raise ValueError(
                f"{name}: the image is {image.shape[1]} x {image.shape[0]}, its camera was "
                f"calibrated with {camera.size_px[0]} x {camera.size_px[1]}"
            )
        corners = board.find(image)
        if corners is None:
            raise ValueError(f"{name}: the board was not found in its image")
        placed[name] = place_camera(camera, *corners, name=name)
    return placed


def calibrate_extrinsics_by_points(
    pixels: Mapping[str, Mapping[str, ArrayLike]],
    points_m: Mapping[str, ArrayLike],
    cameras: Mapping[str, PinholeCamera],
) -> dict[str, Placed]:
    """Place cameras in a world in which some points are known, such as marks on the floor.

    Parameters
    ----------
    pixels : mapping of str to mapping of str to array_like, shape (2,)
        By the camera's name and the point's; a camera need not see all of them.
    points_m : mapping of str to array_like, shape (3,)
        By the point's name, in the world.
    cameras : mapping of str to PinholeCamera
        Whose lenses are known; where they are is not looked at.

    Raises
    ------
    ValueError
        If a camera has no pixels or pixels no camera, a point is not known or is seen outside of
        the image, or `place_camera` refuses what a camera sees.
    """
    _check_names(pixels, cameras, "pixels")
    placed: dict[str, Placed] = {}
    for name, camera in cameras.items():
        unknown = [point for point in pixels[name] if point not in points_m]
        if unknown:
            raise ValueError(f"{name}: the point {unknown[0]!r} is not known")
        known = np.array([points_m[point] for point in pixels[name]], np.float64).reshape(-1, 3)
        seen = np.array(list(pixels[name].values()), np.float64).reshape(-1, 2)
        outside = ((seen < -1) | (seen > camera.size_px)).any(-1)
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"{name}: the point {list(pixels[name])[row]!r} at ({seen[row, 0]:g}, "
                f"{seen[row, 1]:g}) is outside of its image of {camera.size_px[0]} x "
                f"{camera.size_px[1]} px"
            )
        placed[name] = place_camera(camera, known, seen, name=name)
    return placed


def place_camera(
    camera: PinholeCamera, points_m: ArrayLike, pixels: ArrayLike, name: str = "camera"
) -> Placed:
    """Find where a camera is from points that are known and where it sees them.

    OpenCV's ``solvePnP``: IPPE (Collins and Bartoli, IJCV 2014) where the points lie in a plane,
    else SQPnP (Terzakis and Lourakis, ECCV 2020); then the errors in pixels are made the smallest.

    Parameters
    ----------
    camera : PinholeCamera
        Whose lens is known; where it is is not looked at.
    points_m : array_like, shape (n, 3)
        In the world.
    pixels : array_like, shape (n, 2)
        In the image as it was taken.
    name : str
        Of the camera, for errors.

    Raises
    ------
    ValueError
        If there are fewer than `FEWEST_POINTS`, a number is not finite, all lie on a line, or two
        poses fit equally well, as of a small board seen from far away.
    """
    points, seen = np.asarray(points_m, np.float64), np.asarray(pixels, np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or seen.shape != (len(points), 2):
        raise ValueError(
            f"{name}: want points (n, 3), pixels (n, 2), got {points.shape}, {seen.shape}"
        )
    if len(points) < FEWEST_POINTS:
        raise ValueError(
            f"{name}: a camera is placed by {FEWEST_POINTS} points or more, got {len(points)}"
        )
    flat = camera.undistort(seen)
    if not (np.isfinite(points).all() and np.isfinite(flat).all()):
        raise ValueError(f"{name}: a point or its pixels are not known, or beyond the lens")
    extent = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if extent[1] <= _LEVEL * extent[0]:
        raise ValueError(f"{name}: all points lie on one line, which places no camera")
    in_a_plane = extent[2] <= _LEVEL * extent[0]
    method = cv2.SOLVEPNP_IPPE if in_a_plane else cv2.SOLVEPNP_SQPNP
    try:
        _, turns, shifts, _ = cv2.solvePnPGeneric(points, flat, camera.matrix, None, flags=method)
    except cv2.error as error:
        message = getattr(error, "err", error)
        raise ValueError(f"{name}: no place fits the points ({message})") from None
    found = [
        _refined(camera, points, flat, turn, shift)
        for turn, shift in zip(turns, shifts, strict=True)
    ]
    found = sorted(
        (one for one in found if np.isfinite(one.error_px)), key=lambda one: one.error_px
    )
    if not found:
        raise ValueError(f"{name}: no place fits the points")
    best = found[0]
    for other in found[1:]:
        between = Rotation.from_matrix(best.camera.rotation @ other.camera.rotation.T).magnitude()
        if other.error_px < AMBIGUITY * best.error_px and between > LARGEST_DOUBT:
            raise ValueError(
                f"{name}: two places fit equally well, {np.degrees(between):.0f} degrees apart "
                f"({best.error_px:.2f} px and {other.error_px:.2f} px): bring the board nearer or "
                "tilt it, or take points that are not in one plane"
            )
    return best


def _refined(
    camera: PinholeCamera,
    points: np.ndarray,
    flat: np.ndarray,
    turn: np.ndarray,
    shift: np.ndarray,
) -> Placed:
    """Return the camera where errors in pixels are least, and infinity if a point is behind it."""
    turn, shift = cv2.solvePnPRefineLM(points, flat, camera.matrix, None, turn, shift)
    rotation = Rotation.from_rotvec(np.ravel(turn)).as_matrix()
    moved = replace(camera, rotation=rotation, position_m=-rotation.T @ np.ravel(shift))
    errors = moved.with_perfect_lens.project(points) - flat
    error_px = float(np.sqrt((errors**2).sum(axis=1).mean()))
    return Placed(moved, error_px if np.isfinite(error_px) else np.inf)


def _find_all(
    images: Iterable[tuple[str, np.ndarray]], board: Board
) -> tuple[dict[str, Corners], tuple[str, ...], tuple[int, int]]:
    """Return the corners by view, the views without a board, and the images' size."""
    found: dict[str, Corners] = {}
    not_found: list[str] = []
    size: tuple[int, int] | None = None
    for name, image in images:
        here = (int(image.shape[1]), int(image.shape[0]))
        size = here if size is None else size
        if here != size:
            raise ValueError(
                f"{name}: it is {here[0]} x {here[1]}, the views before {size[0]} x {size[1]}"
            )
        corners = board.find(image)
        if corners is None:
            not_found.append(name)
        else:
            found[name] = corners
    if size is None:
        raise ValueError("no image to calibrate with")
    return found, tuple(not_found), size


def _spread(jacobians: list[np.ndarray]) -> np.ndarray:
    """Return the standard deviations (4,) of focal lengths and principal point by 1 px of error.

    Of how pixels move, (2 n, 10 + coefficients) by view, the first six columns are the board's
    place in that view: what these can do is taken out. OpenCV's own deviations use a pseudoinverse
    and look small where nothing is known.
    """
    rest = []
    for jacobian in jacobians:
        place, lens = jacobian[:, :6], jacobian[:, 6:]
        rest.append(lens - place @ np.linalg.lstsq(place, lens, rcond=None)[0])
    stacked = np.concatenate(rest)
    size = np.linalg.norm(stacked, axis=0)
    if not (size > 0).all():
        return np.full(4, np.inf)
    _, singular, axes = np.linalg.svd(stacked / size, full_matrices=False)
    if singular[-1] < 1e-8 * singular[0]:
        return np.full(4, np.inf)
    return np.asarray((np.linalg.norm(axes.T / singular, axis=1) / size)[:4])


def _frames(path: Path, every_s: float) -> Iterator[tuple[str, np.ndarray]]:
    video = cv2.VideoCapture(str(path))
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
        if not video.isOpened() or not rate > 0:
            raise ValueError(f"{path}: it cannot be read as a video")
        step, number = max(1, round(every_s * rate)), 0
        while video.grab():
            if number % step == 0:
                good, frame = video.retrieve()
                if good:
                    yield f"{path.name} at {number / rate:.2f} s", _grey(frame)
            number += 1
    finally:
        video.release()


def _check_names(things: Iterable[str], cameras: Mapping[str, object], what: str) -> None:
    names = set(things)
    if missing := [name for name in cameras if name not in names]:
        raise ValueError(f"{missing[0]}: no {what} of this camera")
    if unknown := sorted(names - set(cameras)):
        raise ValueError(f"{unknown[0]}: {what} of a camera that is not known")


def _grey(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(
            f"want an image of uint8, (height, width[, 3]), got {image.shape} of {image.dtype}"
        )
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def _seen_from_front(grid: np.ndarray) -> np.ndarray:
    """Return corners (rows, columns, 2) with columns to the right of rows that go down."""
    along, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    return grid if along[0] * down[1] - along[1] * down[0] > 0 else grid[:, ::-1]


def _brightness(grey: np.ndarray, grid: np.ndarray, parity: int) -> float:
    """Return the mean grey in the middle of the inner squares of one colour; 0 has the first."""
    centres = (grid[:-1, :-1] + grid[1:, 1:] + grid[:-1, 1:] + grid[1:, :-1]) / 4
    rows, columns = np.indices(centres.shape[:2])
    middle = centres[(rows + columns) % 2 == parity].round().astype(int)
    u = middle[:, 0].clip(0, grey.shape[1] - 1)
    v = middle[:, 1].clip(0, grey.shape[0] - 1)
    return float(grey[v, u].mean())
