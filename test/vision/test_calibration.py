"""Calibration: drawn boards whose cameras are known, and the checkerboard of a real recording."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_boards import SIZE, around, photograph
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.calibration import (
    Board,
    CharucoBoard,
    Checkerboard,
    Corners,
    calibrate_extrinsics,
    calibrate_extrinsics_by_points,
    calibrate_intrinsics,
    place_camera,
    views,
)
from radar_pose_ros.vision.camera import PinholeCamera

CHECKERBOARD = Checkerboard(columns=7, rows=4, square_m=0.06)
# Older ones, such as Ubuntu 24.04's, have markers but not this way to find boards of them.
FINDS_CHARUCO = hasattr(getattr(cv2, "aruco", None), "CharucoDetector")


@pytest.fixture(params=["checkerboard", "charuco"])
def board(request: pytest.FixtureRequest) -> Board:
    """Return a board of either kind."""
    if request.param == "checkerboard":
        return CHECKERBOARD
    if not FINDS_CHARUCO:
        pytest.skip(f"ChArUco boards want OpenCV 4.7 or newer, this is {cv2.__version__}")
    return CharucoBoard(columns=7, rows=5, square_m=0.06, marker_m=0.045)


def test_corners_are_where_the_camera_sees_them(board: Board) -> None:
    """From each side, also from behind the board's first row: the same corners, to 0.1 px."""
    for camera in around():
        corners = board.find(photograph(board, camera))
        assert corners is not None
        assert len(corners.points_m) == (28 if board is CHECKERBOARD else 24)
        assert np.ptp(corners.points_m[:, 2]) == 0
        errors = camera.project(corners.points_m) - corners.pixels
        assert np.sqrt((errors**2).sum(1).mean()) < 0.1


def test_lens_of_drawn_boards(board: Board) -> None:
    images = [(f"{n}.png", photograph(board, around(roll=0.8 * n)[n])) for n in range(7)]
    images.append(("empty.png", np.full(SIZE[::-1], 128, np.uint8)))
    found = calibrate_intrinsics(images, board, coefficients=0)
    np.testing.assert_allclose(found.camera.focal_px, 700.0, rtol=0.005)
    np.testing.assert_allclose(found.camera.centre_px, [320.0, 240.0], atol=2.0)
    assert found.not_found == ("empty.png",)
    assert list(found.errors_px) == [f"{n}.png" for n in range(7)]
    assert max(found.errors_px.values()) < 0.15 and found.error_px < 0.1
    assert (np.abs(np.array(found.camera.focal_px) - 700) < 4 * found.spread_px[:2]).all()


def test_places_of_drawn_boards(board: Board) -> None:
    """In the board's world, wherever a camera stands; z is up, out of its face."""
    cameras = {f"camera {n}": camera for n, camera in enumerate(around(roll=0.3))}
    unknown = {
        name: PinholeCamera.from_matrix(camera.matrix, np.eye(3), np.zeros(3), SIZE)
        for name, camera in cameras.items()
    }
    images = {name: photograph(board, camera) for name, camera in cameras.items()}
    placed = calibrate_extrinsics(images, unknown, board)
    assert placed.keys() == cameras.keys()
    for name, camera in cameras.items():
        found = placed[name].camera
        np.testing.assert_allclose(found.position_m, camera.position_m, atol=2e-3)
        turn = Rotation.from_matrix(found.rotation @ camera.rotation.T)
        assert np.degrees(turn.magnitude()) < 0.2
        assert found.position_m[2] > 0.3 and placed[name].error_px < 0.1


class Exact:
    """A board whose corners are known exactly: an image holds the number of its camera."""

    def __init__(self, cameras: list[PinholeCamera]) -> None:
        rows, columns = np.mgrid[:6, :8]
        flat = [columns, rows, np.zeros_like(rows)]
        self.points_m = np.stack(flat, -1).reshape(-1, 3) * 0.05
        self.cameras = cameras

    def check_orientation(self) -> None:
        """Do nothing."""

    def find(self, image: np.ndarray) -> Corners:
        return Corners(self.points_m, self.cameras[image[0, 0]].project(self.points_m))

    def images(self) -> list[tuple[str, np.ndarray]]:
        return [(str(n), np.full(SIZE[::-1], n, np.uint8)) for n in range(len(self.cameras))]


LENS = (-0.25, 0.1, 0.001, -0.002, 0.03)


def bent(camera: PinholeCamera, lens: tuple[float, ...] = LENS) -> PinholeCamera:
    """Return the camera with a lens."""
    return PinholeCamera(
        (700.0, 690.0), (325.0, 236.0), SIZE, camera.rotation, camera.position_m, lens
    )


def test_exact_corners_give_the_lens() -> None:
    board = Exact([bent(camera) for camera in around()])
    found = calibrate_intrinsics(board.images(), board, coefficients=5)
    np.testing.assert_allclose(found.camera.focal_px, [700.0, 690.0], rtol=1e-4)
    np.testing.assert_allclose(found.camera.centre_px, [325.0, 236.0], atol=0.02)
    np.testing.assert_allclose(found.camera.distortion[:4], LENS[:4], atol=2e-3)
    assert found.error_px < 1e-3


def test_few_views_ask_for_fewer_coefficients() -> None:
    board = Exact([bent(camera, (-0.1, 0.05, 0, 0, 0)) for camera in around()])
    found = calibrate_intrinsics(board.images(), board)
    np.testing.assert_allclose(found.camera.distortion[:2], [-0.1, 0.05], atol=1e-3)
    assert found.camera.distortion[2:] == (0.0, 0.0, 0.0)


def test_views_that_do_not_determine_the_lens_are_refused() -> None:
    """The same view four times, and boards that all face the camera."""
    one = Exact([bent(around()[0])] * 4)
    with pytest.raises(ValueError, match="do not determine the lens: turn the board"):
        calibrate_intrinsics(one.images(), one)
    facing = []
    for shift in (0.0, 0.05, 0.1, 0.15):
        turn = np.diag([1.0, -1.0, -1.0])
        camera = PinholeCamera(
            (700.0, 700.0), (320.0, 240.0), SIZE, turn, np.array([shift, 0.1, 0.6 + shift])
        )
        facing.append(camera)
    board = Exact(facing)
    with pytest.raises(ValueError, match="do not determine the lens: turn the board"):
        calibrate_intrinsics(board.images(), board)


def test_failures_are_named() -> None:
    camera = around()[0]
    image, empty = photograph(CHECKERBOARD, camera), np.full(SIZE[::-1], 128, np.uint8)
    with pytest.raises(ValueError, match=r"3 views of the board or more, got 1: no board in b, c"):
        calibrate_intrinsics([("a", image), ("b", empty), ("c", empty)], CHECKERBOARD)
    with pytest.raises(ValueError, match="no image to calibrate with"):
        calibrate_intrinsics([], CHECKERBOARD)
    with pytest.raises(ValueError, match="b: it is 480 x 640, the views before 640 x 480"):
        calibrate_intrinsics([("a", image), ("b", empty.T)], CHECKERBOARD)
    with pytest.raises(ValueError, match="coefficients must be one of 0, 1, 2, 4, 5, 8, got 3"):
        calibrate_intrinsics([("a", image)], CHECKERBOARD, coefficients=3)
    with pytest.raises(ValueError, match="left: the board was not found in its image"):
        calibrate_extrinsics({"left": empty}, {"left": camera}, CHECKERBOARD)
    with pytest.raises(ValueError, match="right: no image of this camera"):
        calibrate_extrinsics({"left": image}, {"right": camera}, CHECKERBOARD)
    with pytest.raises(ValueError, match="right: image of a camera that is not known"):
        calibrate_extrinsics({"left": image, "right": image}, {"left": camera}, CHECKERBOARD)
    with pytest.raises(ValueError, match="left: the image is 480 x 640, its camera was calib"):
        calibrate_extrinsics({"left": image.T}, {"left": camera}, CHECKERBOARD)
    with pytest.raises(ValueError, match="6 x 4 corners looks the same upside down"):
        calibrate_extrinsics({"left": image}, {"left": camera}, Checkerboard(6, 4, 0.05))
    with pytest.raises(ValueError, match="want an image of uint8"):
        CHECKERBOARD.find(image.astype(float))


def test_wrong_boards_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 x 3 corners inside"):
        Checkerboard(7, 2, 0.05)
    with pytest.raises(ValueError, match="squares of positive size"):
        Checkerboard(7, 4, 0.0)
    if not FINDS_CHARUCO:
        with pytest.raises(RuntimeError, match=r"want OpenCV 4.7 or newer, this is \d"):
            CharucoBoard(7, 5, 0.05, 0.03)
        return
    with pytest.raises(ValueError, match="markers smaller than these"):
        CharucoBoard(7, 5, 0.05, 0.05)
    with pytest.raises(ValueError, match=r"one of cv2.aruco's DICT_..., .* got 'DICT_3X3'"):
        CharucoBoard(7, 5, 0.05, 0.03, "DICT_3X3")


# -- points of a scene ----------------------------------------------------------------------------

SCENE = {
    "door": (0.0, 0.0, 2.0),
    "corner": (0.0, 0.0, 0.0),
    "table": (1.0, 0.5, 0.75),
    "mark": (1.0, -0.5, 0.0),
    "shelf": (-0.5, 1.0, 1.5),
    "chair": (1.5, 0.5, 0.45),
}


def onlookers() -> dict[str, PinholeCamera]:
    """Two cameras with lenses, before the scene."""
    lens = (-0.2, 0.05, 0.001, 0.0, 0.0)
    looking = {
        "left": PinholeCamera.looking_at([4.0, -1.0, 1.5], [0.0, 0.2, 0.8], 500.0, SIZE),
        "right": PinholeCamera.looking_at([3.5, 2.0, 1.2], [0.0, 0.2, 0.8], 500.0, SIZE),
    }
    return {name: bent(camera, lens) for name, camera in looking.items()}


def seen_by(
    cameras: dict[str, PinholeCamera], points: dict[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the pixels of the points that are in each camera's image."""
    pixels: dict[str, dict[str, np.ndarray]] = {}
    for name, camera in cameras.items():
        projected = {point: camera.project(there) for point, there in points.items()}
        pixels[name] = {
            point: at
            for point, at in projected.items()
            if ((at >= 0) & (at < camera.size_px)).all()
        }
    return pixels


@pytest.mark.parametrize("flat", [False, True])
def test_places_by_points(flat: bool) -> None:
    """Points all over the room, and points on the floor; not every camera sees each."""
    scene = {name: np.array(point) * [1, 1, not flat] for name, point in SCENE.items()}
    scene.pop("door" if flat else "mark")
    cameras = onlookers()
    pixels = seen_by(cameras, scene)
    pixels["left"].pop("table")
    placed = calibrate_extrinsics_by_points(pixels, scene, cameras)
    for name, camera in cameras.items():
        np.testing.assert_allclose(placed[name].camera.position_m, camera.position_m, atol=1e-5)
        np.testing.assert_allclose(placed[name].camera.rotation, camera.rotation, atol=1e-5)
        assert placed[name].error_px < 1e-3
        assert placed[name].camera.distortion == camera.distortion


def test_points_that_place_no_camera() -> None:
    camera = onlookers()["left"]
    line = np.linspace(0, 1, 5)[:, None] * [0.5, 1.0, 0.2] + [0, 0, 0.5]
    with pytest.raises(ValueError, match="left: all points lie on one line"):
        place_camera(camera, line, camera.project(line), name="left")
    with pytest.raises(ValueError, match="left: a camera is placed by 4 points or more, got 3"):
        place_camera(camera, line[:3], camera.project(line[:3]), name="left")
    some = np.array(list(SCENE.values()))
    pixels = camera.project(some)
    pixels[2] = np.nan
    with pytest.raises(ValueError, match="not known, or beyond the lens"):
        place_camera(camera, some, pixels)
    with pytest.raises(ValueError, match="left: the point 'window' is not known"):
        calibrate_extrinsics_by_points({"left": {"window": (1, 2)}}, SCENE, {"left": camera})
    pixels = camera.project(some)
    pixels[1] = 13851, 12
    seen = {"left": dict(zip(SCENE, pixels, strict=True))}
    name, (width, height) = list(SCENE)[1], camera.size_px
    sentence = f"left: the point '{name}' at (13851, 12) is outside of its image of "
    with pytest.raises(ValueError, match=re.escape(f"{sentence}{width} x {height} px")):
        calibrate_extrinsics_by_points(seen, SCENE, {"left": camera})


def test_a_board_that_is_too_far_away_for_its_tilt(rng: np.random.Generator) -> None:
    """0.1 m wide at 6 m, 0.3 px of noise: tilted to one side or to the other?"""
    rows, columns = np.mgrid[:3, :4]
    points = np.stack([columns, rows, 0 * rows], -1).reshape(-1, 3) * 0.03
    camera = PinholeCamera.looking_at([0.0, -3.0, 5.2], [0.05, 0.03, 0.0], 700.0, SIZE)
    pixels = camera.project(points) + rng.normal(0.0, 0.3, (12, 2))
    with pytest.raises(ValueError, match=r"camera: two places fit equally well, .* apart"):
        place_camera(camera, points, pixels)


# -- views from files -----------------------------------------------------------------------------


def test_views_of_a_folder_and_of_a_video(tmp_path: Path) -> None:
    for level in (10, 20):
        cv2.imwrite(str(tmp_path / f"{level}.png"), np.full((48, 64), level, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    found = dict(views(tmp_path))
    assert {name: image.mean() for name, image in found.items()} == {"10.png": 10, "20.png": 20}
    assert [name for name, _ in views(tmp_path / "10.png")] == ["10.png"]
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for frame in range(25):
        writer.write(np.full((48, 64, 3), 10 * frame, np.uint8))
    writer.release()
    frames = list(views(video, every_s=1.0))
    assert [name for name, _ in frames] == [f"clip.avi at {n}.00 s" for n in range(3)]
    np.testing.assert_allclose([image.mean() for _, image in frames], [0, 100, 200], atol=3)
    for path, message in (
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "notes.txt", "it cannot be read as a video"),
    ):
        with pytest.raises(ValueError, match=message):
            list(views(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image \(.bmp, "):
        list(views(tmp_path / "empty"))


# -- the checkerboard of Pose2Sim's demonstration -------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_lenses_of_a_real_recording(shared_data: Path, number: int) -> None:
    """Focal lengths within 2 % of those that Qualisys' wand gave; k1 within 0.02 of Qualisys'."""
    folder = shared_data / "multiview_pose2sim" / "S00_Calibration"
    if not folder.is_dir():
        pytest.skip(f"needs the recording in {folder}")
    published = calibration_files.read(folder / "Calib_qualisys.toml")[f"cam_0{number}"]
    images = views(folder / "intrinsics" / f"int_cam0{number}_img")
    found = calibrate_intrinsics(images, Checkerboard(7, 4, square_m=0.06))
    assert len(found.errors_px) >= 6  # of 7; versions of OpenCV differ in which
    np.testing.assert_allclose(found.camera.focal_px, published.focal_px, rtol=0.02)
    assert found.camera.size_px == published.size_px and found.error_px < 0.25
    # Its table has Qualisys' coefficients divided by 64, as if they were pixels of its camera.
    assert found.camera.distortion[0] == pytest.approx(64 * published.distortion[0], abs=0.02)


def test_places_there_and_back_with_a_real_lens(shared_data: Path) -> None:
    """Points around the person, seen by the published cameras, place them again."""
    path = shared_data / "multiview_pose2sim" / "S00_Calibration" / "Calib_qualisys.toml"
    if not path.exists():
        pytest.skip(f"needs the recording in {path}")
    cameras = calibration_files.read(path)
    points = {str(n): p for n, p in enumerate(np.random.default_rng(0).normal(0, 0.5, (8, 3)))}
    placed = calibrate_extrinsics_by_points(seen_by(cameras, points), points, cameras)
    for name, camera in cameras.items():
        assert_close(placed[name].camera.position_m.round(6), camera.position_m.round(6))
