"""``radar-pose calibrate``: from pictures to a file, and what is said if something is missing."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from drawn_boards import SIZE, around, photograph

from radar_pose_ros import calibrate, cli
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.calibration import CharucoBoard, Checkerboard

BOARD = "checkerboard:7x4:0.06"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras with seven pictures each, one of them empty, and one each of a common board."""
    root = tmp_path_factory.mktemp("pictures")
    board = calibrate.read_board(BOARD)
    (root / "common").mkdir()
    for number, name in enumerate(("left", "right")):
        (root / name).mkdir()
        for view in range(6):
            image = photograph(board, around(roll=0.8 * view)[view])
            cv2.imwrite(str(root / name / f"{view}.png"), image)
        cv2.imwrite(str(root / name / "empty.png"), np.full(SIZE[::-1], 128, np.uint8))
        cv2.imwrite(str(root / "common" / f"{name}.png"), photograph(board, around()[number]))
    return root


def command(root: Path, *more: str, extrinsics: str = "common") -> list[str]:
    where = extrinsics if extrinsics == "none" else str(root / extrinsics)
    images = [str(root / "left"), f"right={root / 'right'}"]
    given = ["calibrate", "cameras", "--images", *images, "--board", BOARD]
    return [*given, "--extrinsics", where, *more]


@pytest.mark.parametrize("format", cli.CALIBRATION_FORMATS)
def test_from_pictures_to_a_file(
    pictures: Path, tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / ("cameras.toml" if format in ("pose2sim", "anipose") else "cameras")
    numbers = tmp_path / "numbers.json"
    options = ["--out", str(out), "--format", format, "--json", str(numbers)]
    assert cli.main(command(pictures, *options)) == 0
    found = calibration_files.read(out, format)
    for number, name in enumerate(("left", "right")):
        np.testing.assert_allclose(found[name].focal_px, 700.0, rtol=0.01)
        true_m = around()[number].position_m
        np.testing.assert_allclose(found[name].position_m, true_m, atol=0.01)
    said = capsys.readouterr().out
    assert said.count("  empty.png    board not found") == 2
    assert "left: 640 x 480, focal lengths 700." in said and said.count("  placed   ") == 2
    rows = {row["id"]: row for row in json.loads(numbers.read_text())["results"]}
    assert rows["calibrate.left.error_px"]["value"] < 0.15
    assert rows["calibrate.left.error_px"]["against"] == "6 views"
    assert rows["calibrate.right.not_found"]["value"] == 1
    assert rows["calibrate.right.placed.error_px"]["value"] < 0.5
    assert rows["calibrate.right.views.3.png.error_px"]["value"] < 0.2


# [m] marks on a floor, and above it.
MARKS = {"a": [0, 0, 0], "b": [0.4, 0, 0], "c": [0.4, 0.25, 0.0], "d": [0, 0.25, 0.1]}
MARKS |= {"e": [0.2, 0.1, 0.05], "f": [0.3, 0.2, 0.0]}


def test_places_by_points(pictures: Path, tmp_path: Path) -> None:
    """Marks of which each camera sees all but one, in place of a common board: 1 cm."""
    file = tmp_path / "marks.yaml"
    pixels = {
        name: {
            mark: around()[number].project(place).tolist()
            for mark, place in MARKS.items()
            if mark != "cf"[number]
        }
        for number, name in enumerate(("left", "right"))
    }
    file.write_text(yaml.safe_dump({"points": MARKS, "pixels": pixels}))
    out = tmp_path / "cameras.toml"
    arguments = [*command(pictures, "--out", str(out), extrinsics="none")]
    arguments[arguments.index("--extrinsics") + 1] = str(file)
    assert cli.main(arguments) == 0
    found = calibration_files.read(out)
    for number, name in enumerate(("left", "right")):
        true = around()[number]
        np.testing.assert_allclose(found[name].position_m, true.position_m, atol=0.01)
        np.testing.assert_allclose(found[name].rotation, true.rotation, atol=0.01)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "no YAML file"),
        ("points: {a: [0, 0]}", "points: a wants 3 numbers, got [0, 0]"),
        ("points: {a: [0, 0, x]}", "points: a wants 3 numbers"),
        ("pixels: {left: {a: [0, 0]}}", "want `points`, names with 3 numbers each"),
        ("points: {a: [0, 0, 1]}", "want `pixels`, by camera and point"),
        (
            "{points: {a: [0, 0, 1]}, pixels: {left: {a: [0, 0]}, rihgt: {a: [0, 0]}}}",
            "marks.yaml: pixels: no camera of the name rihgt; there are left, right",
        ),
        (
            "{points: {a: [0, 0, 1]}, pixels: {left: {a: [0, 0]}, right: {b: [1, 2]}}}",
            "right sees 'b', which is not in `points`",
        ),
        (
            "{points: {a: [0, 0, 1]}, pixels: {left: {a: [0, 0]}, Left: {a: [1, 2]}}}",
            "marks.yaml: pixels: a camera has two names: left is left, Left is left",
        ),
        (
            "{points: {a: [0, 0, 1]}, pixels: {left: {a: [0, .nan]}, right: {a: [1, 2]}}}",
            "pixels: left: a wants 2 numbers, got [0, nan]",
        ),
    ],
)
def test_points_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "marks.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        calibrate.read_points(tmp_path / "marks.yaml", ["left", "right"])


def test_cameras_may_be_spelled_otherwise(tmp_path: Path) -> None:
    """In points and in common pictures, but only if it is clear who is meant."""
    file = tmp_path / "marks.yaml"
    seen = {"cam01": {"a": [3.0, 4.0]}, "Cam 2": {"a": [5.0, 6.0]}}
    file.write_text(yaml.safe_dump({"points": {"a": [0, 0, 1]}, "pixels": seen}))
    pixels, _ = calibrate.read_points(file, ["cam_01", "cam_02"])
    assert {name: marks["a"].tolist() for name, marks in pixels.items()} == {
        "cam_01": [3.0, 4.0],
        "cam_02": [5.0, 6.0],
    }
    for name in ("ext_cam01_img.png", "Cam 2.png", "cam_02.txt"):
        (tmp_path / name).touch()
    found = calibrate.common_pictures(tmp_path, ["cam_01", "cam_02"])
    assert [path.name for path in found.values()] == ["ext_cam01_img.png", "Cam 2.png"]
    (tmp_path / "cam2.png").touch()
    assert calibrate.common_pictures(tmp_path, ["cam2"])["cam2"].name == "cam2.png"
    with pytest.raises(ValueError, match="cam_02 may be Cam 2 or cam2: call it like one of them"):
        calibrate.common_pictures(tmp_path, ["cam_02"])


def test_lenses_alone(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "cameras.toml"
    assert cli.main(command(pictures, "--out", str(out), extrinsics="none")) == 0
    assert "translation" not in out.read_text()
    assert list(calibration_files.read(out, placed=False)) == ["left", "right"]


def test_a_poor_fit_is_written_but_not_relied_on(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(calibrate, "LARGEST_ERROR_PX", 0.001)
    out = tmp_path / "cameras.toml"
    assert cli.main(command(pictures, "--out", str(out), extrinsics="none")) == 1
    assert out.exists() and "Not to be relied on" in capsys.readouterr().out


def test_boards_as_text() -> None:
    assert calibrate.read_board(BOARD) == Checkerboard(7, 4, 0.06)
    if hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
        charuco = CharucoBoard(5, 7, 0.04, 0.03)
        assert calibrate.read_board("charuco:5x7:0.04:0.03") == charuco
        other = replace(charuco, dictionary="DICT_4X4_50")
        assert calibrate.read_board("charuco:5x7:0.04:0.03:DICT_4X4_50") == other
    for text in (
        *("", "checkerboard", "checkerboard:7:0.06", "checkerboard:7x4", "checkerboard:7x4:a"),
        *("charuco:5x7:0.04", "chess:7x4:0.06", "checkerboard:7x4:0.06:0.03"),
    ):
        with pytest.raises(ValueError, match="a board is checkerboard:COLUMNSxROWS:SQUARE_M or"):
            calibrate.read_board(text)


def test_names_of_cameras(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
    (tmp_path / "video.mp4").touch()
    left, video = str(tmp_path / "left"), str(tmp_path / "video.mp4")
    found = calibrate.folders_by_name([left, f"other={tmp_path / 'right'}", video])
    assert {name: path.name for name, path in found.items()} == {
        "left": "left",
        "other": "right",
        "video": "video.mp4",
    }
    for given, message in (
        ([left, left], "left: two cameras of this name"),
        ([f"a/b={left}"], "a camera's name becomes a file's: not 'a/b'"),
        ([f"={left}"], "a camera's name becomes a file's: not ''"),
        ([str(tmp_path / "no")], "no: there is no such file or folder"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrate.folders_by_name(given)


def test_folders_of_pose2sim_name_their_cameras(tmp_path: Path) -> None:
    """For lenses and for places, whether there are folders of pictures or pictures."""
    for name in ("int_cam01_img", "int_cam02_img", "int_left", "ext/ext_cam01_img"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ext" / "ext_cam01_img" / "any.png").touch()
    (tmp_path / "ext" / "ext_cam02_img.png").touch()
    images = [str(tmp_path / name) for name in ("int_cam01_img", "int_cam02_img", "int_left")]
    assert list(calibrate.folders_by_name(images)) == ["cam01", "cam02", "int_left"]
    found = calibrate.common_pictures(tmp_path / "ext", ["cam01", "cam02"])
    assert {name: path.name for name, path in found.items()} == {
        "cam01": "any.png",
        "cam02": "ext_cam02_img.png",
    }


def test_lenses_are_kept_if_a_place_is_not_found(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures / "common", tmp_path / "common")
    blank = tmp_path / "common" / "right.png"
    cv2.imwrite(str(blank), np.full(SIZE[::-1], 128, np.uint8))
    out, numbers = tmp_path / "cameras.toml", tmp_path / "numbers.json"
    arguments = command(pictures, "--out", str(out), "--json", str(numbers))
    arguments[arguments.index("--extrinsics") + 1] = str(tmp_path / "common")
    assert cli.main(arguments) == 1
    said = capsys.readouterr().out
    assert f"{blank}: right: the board was not found in its image" in said
    assert_only_lenses(out, numbers, said)


def assert_only_lenses(out: Path, numbers: Path, said: str) -> None:
    """They are written, and printed with their pictures; places are not known, says the table."""
    assert said.endswith(f"; the lenses alone are written to {out}, as with --extrinsics none\n")
    assert said.count("  empty.png    board not found") == 2
    assert len(re.findall(r"^  \d\.png +0\.\d{3} px$", said, re.MULTILINE)) == 12
    assert "left: 640 x 480, focal lengths 700." in said and "placed" not in said
    rows = {row["id"]: row for row in json.loads(numbers.read_text())["results"]}
    for name in ("left", "right"):
        assert rows[f"calibrate.{name}.focal_x_px"]["value"] == pytest.approx(700, rel=0.01)
        assert rows[f"calibrate.{name}.error_px"]["met"] is True
        placed = rows[f"calibrate.{name}.placed.error_px"]
        assert placed["value"] is None and placed["met"] is False
    found = calibration_files.read(out, placed=False)
    for name in ("left", "right"):
        np.testing.assert_allclose(found[name].focal_px, 700.0, rtol=0.01)
    with pytest.raises(ValueError, match="it says nothing of where the camera is"):
        calibration_files.read(out)


@pytest.mark.parametrize(
    ("right", "sentence"),
    [
        ({}, "right: no pixels of this camera"),
        ({"a": [13851, 9012]}, "right: the point 'a' at (13851, 9012) is outside of its image"),
    ],
)
def test_lenses_are_kept_if_points_place_a_camera_not(
    pictures: Path,
    tmp_path: Path,
    right: dict[str, list[float]],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = tmp_path / "marks.yaml", tmp_path / "cameras.toml"
    numbers = tmp_path / "numbers.json"
    pixels = {
        name: {mark: around()[number].project(place).tolist() for mark, place in MARKS.items()}
        for number, name in enumerate(("left", "right"))
    }
    pixels["right"] |= right
    if not right:
        del pixels["right"]
    file.write_text(yaml.safe_dump({"points": MARKS, "pixels": pixels}))
    arguments = command(pictures, "--out", str(out), "--json", str(numbers), extrinsics="none")
    arguments[arguments.index("none")] = str(file)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().out
    assert sentence in said
    assert_only_lenses(out, numbers, said)


def test_pictures_of_the_common_board(tmp_path: Path) -> None:
    (tmp_path / "left.PNG").touch()
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "any.jpg").touch()
    (tmp_path / "right" / "notes.txt").touch()
    found = calibrate.common_pictures(tmp_path, ["left", "right"])
    assert [path.name for path in found.values()] == ["left.PNG", "any.jpg"]
    (tmp_path / "right" / "more.jpg").touch()
    with pytest.raises(ValueError, match=r"want one picture of right, .* got 2"):
        calibrate.common_pictures(tmp_path, ["left", "right"])
    with pytest.raises(ValueError, match=r"want one picture of third, .* got 0"):
        calibrate.common_pictures(tmp_path, ["third"])
    with pytest.raises(ValueError, match="no such folder"):
        calibrate.common_pictures(tmp_path / "no", ["left"])


def test_mistakes_get_one_sentence(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "cameras.toml")
    few = tmp_path / "few"
    few.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    cv2.imwrite(str(few / "blank.png"), np.full(SIZE[::-1], 128, np.uint8))
    base = ["--out", out, "--extrinsics", "none"]
    for arguments, words in (
        (["--images", str(few), "--board", BOARD, *base], "few: a lens needs 3 views"),
        (["--images", str(few), "--board", BOARD, *base], "no board in blank.png"),
        (["--images", str(empty), "--board", BOARD, *base], f"{empty}: no image (.bmp, "),
        (["--images", str(few), "--board", "chess", *base], "a board is checkerboard:"),
        (
            ["--images", str(few), "--board", "checkerboard:7x4:60", *base],
            "--board checkerboard:7x4:60: squares of 60 m? Their size is in metres, at most 2:",
        ),
        (
            ["--images", str(few), "--board", BOARD, "--out", str(few / "blank.png")]
            + ["--extrinsics", "none", "--format", "ros"],
            "blank.png: for ros want a folder to write to, this is a file",
        ),
        (["--images", str(few), "--board", BOARD, *base, "--format", "cad"], "invalid choice"),
        (
            ["--images", str(few), "--board", "checkerboard:6x4:0.06", "--out", out]
            + ["--extrinsics", str(few)],
            "looks the same upside down",
        ),
        (
            ["--images", str(few), "--board", BOARD, "--out", out, "--extrinsics", str(few)],
            "want one picture of few",
        ),
    ):
        assert cli.main(["calibrate", "cameras", *arguments]) == cli.USAGE_ERROR
        assert words in capsys.readouterr().err
    assert not Path(out).exists()


def test_formats_are_those_that_can_be_written() -> None:
    assert cli.CALIBRATION_FORMATS == calibration_files.FORMATS


def test_the_lenses_of_a_real_recording(shared_data: Path, tmp_path: Path) -> None:
    """Focal lengths within 2 % of those that Qualisys' wand gave."""
    folder = shared_data / "multiview_pose2sim" / "S00_Calibration"
    if not folder.is_dir():
        pytest.skip(f"needs the recording in {folder}")
    names = [f"cam_0{number}" for number in range(1, 5)]
    images = [
        f"{name}={folder / 'intrinsics' / f'int_cam0{number}_img'}"
        for number, name in enumerate(names, 1)
    ]
    out = tmp_path / "cameras.toml"
    options = calibrate.Options(images, BOARD, calibrate.UNPLACED, str(out))
    outcome = calibrate.run(options)
    published = calibration_files.read(folder / "Calib_qualisys.toml")
    found = calibration_files.read(out, placed=False)
    for name in names:
        np.testing.assert_allclose(found[name].focal_px, published[name].focal_px, rtol=0.02)
        assert len(outcome.lenses[name].not_found) <= 1
    assert not outcome.complaint()
