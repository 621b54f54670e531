"""Sets of cameras in files: there and back in each format, a real one, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.vision.calibration_files import FORMATS, check_scale, read, write
from radar_pose_ros.vision.camera import PinholeCamera

TABLE = """
[cam_0]
name = "left"
size = [ 640, 480 ]
matrix = [ [ 600.0, 0.0, 320.0,], [ 0.0, 610.0, 240.0,], [ 0.0, 0.0, 1.0,] ]
distortions = [ -0.1, 0.02, 0.001, -0.002, 0.0 ]
rotation = [ 0.0, 0.0, 1.5707963267948966 ]
translation = [ 100.0, 200.0, 3000.0 ]

[metadata]
adjusted = false
"""
CAMERA_INFO = """
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [600., 0., 320., 0., 610., 240., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.1, 0.02, 1e-3, -2e-3, 0]
"""
PLACES = """
cameras:
  left:
    position: [1.0, 2.0, 3.0]
    orientation: [0.0, 0.0, 0.7071067811865476, 0.7071067811865476]
"""


def cameras() -> dict[str, PinholeCamera]:
    """Two, turned somehow; one with a rational lens."""
    turns = Rotation.random(2, random_state=3).as_matrix()
    return {
        "left": PinholeCamera(
            (600.5, 610.25),
            (320.0, 240.5),
            (640, 480),
            turns[0],
            np.array([1.0, -2.0, 0.5]),
            (-0.1, 0.02, 0.001, -0.002),
        ),
        "camera 2": PinholeCamera(
            (1100.0, 1100.0),
            (960.0, 540.0),
            (1920, 1080),
            turns[1],
            np.array([-3.0, 0.25, 1.5]),
            (0.3, -0.1, 0.001, -0.002, 0.02, 0.5, -0.05, 0.01),
        ),
    }


def assert_same(actual: dict[str, PinholeCamera], expected: dict[str, PinholeCamera]) -> None:
    """Compare cameras by name, and lenses whatever zeros follow."""
    assert actual.keys() == expected.keys()
    for name, camera in expected.items():
        here = actual[name]
        assert here.size_px == camera.size_px
        assert_close(here.matrix, camera.matrix)
        assert_close(here.rotation, camera.rotation)
        assert_close(here.position_m, camera.position_m)
        lenses = [(*one.distortion, *[0.0] * 8)[:8] for one in (here, camera)]
        assert_close(*lenses)


@pytest.mark.parametrize("unit_m", [1.0, 0.001])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("guess", [False, True])
def test_there_and_back(format: str, unit_m: float, guess: bool, tmp_path: Path) -> None:
    path = tmp_path / ("rig.toml" if format in ("pose2sim", "anipose") else "rig")
    write(cameras(), path, format, unit_m)
    assert_same(read(path, "auto" if guess else format, unit_m), cameras())
    if unit_m != 1.0:
        place = read(path, format, 1.0)["left"].position_m
        assert_close(place, np.array([1000.0, -2000.0, 500.0]))


def test_anipose_by_hand(tmp_path: Path) -> None:
    """x_camera = R x_world + t: a quarter turn about z, millimetres."""
    path = tmp_path / "calibration.toml"
    path.write_text(TABLE)
    camera = read(path, "anipose", unit_m=0.001)["left"]
    assert camera.focal_px == (600.0, 610.0) and camera.size_px == (640, 480)
    assert_close(camera.to_camera([1.0, 0.0, 0.0]), [0.1, 1.2, 3.0])
    assert_close(camera.position_m, [-0.2, 0.1, -3.0])
    assert camera.distortion == (-0.1, 0.02, 0.001, -0.002, 0.0)


def test_pose2sim_s_recording(shared_data: Path) -> None:
    """Its cameras stand where the file of Qualisys says, in mm, that it was made from."""
    folder = shared_data / "multiview_pose2sim" / "S00_Calibration"
    if not folder.is_dir():
        pytest.skip(f"needs the recording in {folder}")
    found = read(folder / "Calib_qualisys.toml")
    assert list(found) == ["cam_01", "cam_02", "cam_03", "cam_04"]
    first = found["cam_01"]
    assert first.size_px == (1088, 1920)
    assert_close(first.focal_px, [1681.244873046875, 1681.075439453125])
    raw_mm = [1460.2323709212087, -1909.1590482454608, 1896.5058524092062]
    np.testing.assert_allclose(first.position_m, np.array(raw_mm) / 1000, atol=1e-4)
    assert all(1.5 < camera.position_m[2] < 2.5 for camera in found.values())
    middle = np.mean([camera.position_m for camera in found.values()], axis=0)
    for camera in found.values():  # all look at what is between them
        assert camera.sees([*middle[:2], 1.0])


def test_opencv_s_keys(tmp_path: Path) -> None:
    """A vector for the rotation, a row for the translation, and one entry for the size."""
    storage = cv2.FileStorage(str(tmp_path / "left.xml"), cv2.FILE_STORAGE_WRITE)
    storage.write("K", np.array([[600.0, 0, 320], [0, 610.0, 240], [0, 0, 1]]))
    storage.write("D", np.array([[-0.1, 0.02, 0.001, -0.002, 0.0]]).T)
    storage.write("rvec", np.array([0.0, 0.0, np.pi / 2]))
    storage.write("tvec", np.array([[100.0, 200.0, 3000.0]]))
    storage.write("image_size", np.array([640, 480]))
    storage.release()
    (tmp_path / "table.toml").write_text(TABLE)
    expected = read(tmp_path / "table.toml", unit_m=0.001)
    assert_same(read(tmp_path / "left.xml", unit_m=0.001), expected)
    assert_same(read(tmp_path, "opencv", unit_m=0.001), expected)


def test_ros_by_hand(tmp_path: Path) -> None:
    """Turned by a quarter about z: its x lies along the world's y."""
    (tmp_path / "left.yaml").write_text(CAMERA_INFO)
    (tmp_path / "extrinsics.yaml").write_text(PLACES)
    for path in (tmp_path, tmp_path / "left.yaml"):
        camera = read(path)["left"]
        assert_close(camera.position_m, [1.0, 2.0, 3.0])
        assert_close(camera.to_world([1.0, 0.0, 0.0]), [1.0, 3.0, 3.0])
        assert camera.distortion == (-0.1, 0.02, 0.001, -0.002, 0.0)
        assert camera.focal_px == (600.0, 610.0) and camera.centre_px == (320.0, 240.0)


def test_camera_info_is_laid_out_as_ros_has_it(tmp_path: Path) -> None:
    write(cameras(), tmp_path, "ros")
    entries = yaml.safe_load((tmp_path / "camera 2.yaml").read_text())
    assert entries["camera_name"] == "camera 2"
    assert entries["distortion_model"] == "rational_polynomial"
    blocks = ("camera_matrix", "rectification_matrix", "projection_matrix")
    shapes = {name: (entries[name]["rows"], entries[name]["cols"]) for name in blocks}
    assert shapes == dict(zip(blocks, ((3, 3), (3, 3), (3, 4)), strict=True))
    assert entries["projection_matrix"]["data"][:4] == [1100.0, 0.0, 960.0, 0.0]
    left = yaml.safe_load((tmp_path / "left.yaml").read_text())
    assert left["distortion_model"] == "plumb_bob"
    assert left["distortion_coefficients"]["data"] == [-0.1, 0.02, 0.001, -0.002, 0.0]


def test_a_lens_without_a_place(tmp_path: Path) -> None:
    path = tmp_path / "left.yaml"
    path.write_text(CAMERA_INFO)
    with pytest.raises(ValueError, match=r"no extrinsics.yaml, which says where the cameras are"):
        read(path)
    camera = read(path, placed=False)["left"]
    assert_close(camera.position_m, np.zeros(3))
    assert_close(camera.rotation, np.eye(3))
    table = tmp_path / "rig.toml"
    table.write_text("\n".join(line for line in TABLE.splitlines() if "rotation" not in line))
    with pytest.raises(ValueError, match=r"rig.toml: \[cam_0\]: it says nothing of where"):
        read(table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[cam_0]", "[cam_0", "rig.toml: no TOML file"),
        ("matrix", "matrices", "rig.toml: no camera in it"),
        ("[ 600.0, 0.0, 320.0,]", "[ 600.0, 0.0 ]", r"\[cam_0\]: the camera matrix wants 9"),
        ("600.0", "0.0", "focal lengths and size must be positive"),
        ("[ 600.0, 0.0", "[ 600.0, 2.0", "want a camera matrix"),
        ("size = [ 640, 480 ]", "", r"\[cam_0\]: the image's size wants 2 numbers, got None"),
        ("[ 640, 480 ]", "[ 640.5, 480 ]", "wants whole pixels up to 65536"),
        ("-0.1, 0.02, ", "", "0, 4, 5, 8 coefficients, got 3"),
        ("[ 0.0, 0.0, 1.5707963267948966 ]", "[ 0.0, nan, 0.0 ]", "the rotation wants 3 numbers"),
        ("1.5707963267948966 ]", "1.5, 2.0 ]", "the rotation wants 9 numbers"),
        ("3000.0", '"far"', "the translation wants 3 numbers"),
        ("[metadata]", "fisheye = true\n[metadata]", "fisheye lens, which is not supported"),
    ],
)
def test_wrong_toml_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in TABLE
    path = tmp_path / "rig.toml"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("600., 0., 320., 0., 610., 240., 0., 0., 1.", "0,0,0,0,0,0,0,0,0", "is not calibrated"),
        ("plumb_bob", "equidistant", "distortion_model 'equidistant' is not supported"),
        ("plumb_bob", "rational_polynomial", "rational_polynomial has 8 coefficients, got 5"),
        ("camera_matrix", "matrix", "no camera_matrix with rows, cols and data"),
        ("image_width: 640", "", "the image's size wants 2 numbers"),
        ("image_width: 640", "image_width: [", "no YAML file"),
    ],
)
def test_wrong_camera_info_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in CAMERA_INFO
    (tmp_path / "left.yaml").write_text(CAMERA_INFO.replace(old, new))
    (tmp_path / "extrinsics.yaml").write_text(PLACES)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cameras", "camera", "want an entry `cameras`"),
        ("left", "right", "left is not in it"),
        ("left:", "other: {}\n  left:", "no other.yaml, though"),
        ("[1.0, 2.0, 3.0]", "[1.0, 2.0]", "left: position wants 3 numbers"),
        ("0.0, 0.0, 0.7071067811865476,", "0.0, 0.0, 0.5,", "no unit quaternion"),
    ],
)
def test_wrong_places_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in PLACES
    (tmp_path / "left.yaml").write_text(CAMERA_INFO)
    (tmp_path / "extrinsics.yaml").write_text(PLACES.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_other_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        read(tmp_path / "nowhere.toml")
    with pytest.raises(ValueError, match="no camera in it"):
        read(tmp_path)
    (tmp_path / "rig.csv").write_text("")
    with pytest.raises(ValueError, match="its format cannot be told: give one of pose2sim"):
        read(tmp_path / "rig.csv")
    with pytest.raises(ValueError, match=r"format must be one of .* got 'vicon'"):
        read(tmp_path / "rig.csv", "vicon")
    (tmp_path / "left.yml").write_text("%YAML:1.0\n---\nfocal: 3.\n")
    with pytest.raises(ValueError, match=r"left.yml: no camera_matrix or K in it"):
        read(tmp_path / "left.yml")
    (tmp_path / "left.yml").write_text("%YAML:1.0\n---\nfocal: [3.\n")
    with pytest.raises(ValueError, match=r"left.yml: no file of cv2.FileStorage"):
        read(tmp_path / "left.yml")
    for name in ("rig.toml", "left.xml", "right.yaml"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is no file"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="unit_m must be positive"):
        write(cameras(), tmp_path / "rig.toml", "anipose", unit_m=0.0)
    with pytest.raises(ValueError, match="no camera to write"):
        write({}, tmp_path / "rig.toml", "anipose")
    with pytest.raises(ValueError, match="a camera's name becomes a file's: not 'a/b'"):
        write({"a/b": cameras()["left"]}, tmp_path, "ros")


@pytest.mark.parametrize(
    ("height_m", "warning"),
    [
        (0.5, ""),
        (1.7, ""),
        (2.5, ""),
        (1700.0, "is the calibration in millimetres? Then its unit_m is 0.001"),
        (170.0, "is the calibration in centimetres? Then its unit_m is 0.01"),
        (0.0017, "is the calibration's unit_m right?"),
        (float("nan"), "the calibration's scale cannot be checked"),
    ],
)
def test_scale(height_m: float, warning: str) -> None:
    text = check_scale(height_m)
    assert warning in text and bool(text) == bool(warning)


@pytest.mark.parametrize("format", FORMATS)
def test_lenses_alone_say_nothing_of_places(tmp_path: Path, format: str) -> None:
    """A file that put every camera at the origin would be read as if it were so.

    Nor does one that is written over places.
    """
    path = tmp_path / ("c.toml" if format in ("pose2sim", "anipose") else "c")
    write(cameras(), path, format)
    write(cameras(), path, format, placed=False)
    with pytest.raises(ValueError, match=r"says nothing of where|which says where"):
        read(path, format)
    found = read(path, format, placed=False)
    for name, camera in cameras().items():
        assert_close(found[name].matrix, camera.matrix)
        assert_close(found[name].rotation, np.eye(3))
        lens = np.pad(camera.distortion, (0, 8 - len(camera.distortion)))
        assert_close(np.pad(found[name].distortion, (0, 8 - len(found[name].distortion))), lens)
