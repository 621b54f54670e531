"""``radar-pose multiview``: videos of spots whose places are known, and a published recording."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pose2sim_selection
import pytest
from drawn_spots import COLOURS, spots
from numpy.typing import ArrayLike
from tolerances import assert_close

from radar_pose_ros import cli
from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import (
    MultiViewRecording,
    SampledJoints,
    ViewShots,
    simulate,
)
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.models import densewarper, weights
from radar_pose_ros.multiview import command, inputs, pictures, times
from radar_pose_ros.simulation.multiview import shutter_times
from radar_pose_ros.skeleton.definitions import BODY25B, HUPR14, SKELETONS
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision import video as vision_video
from radar_pose_ros.vision.camera import PinholeCamera

RATE_HZ = 15.0
SECONDS = 0.6
JOINTS = len(HUPR14.joints)
NAMES = ("cam_1", "cam_2", "cam_3", "cam_4")
SIZES = ((320, 240), (240, 320), (320, 240), (320, 240))
# Standing, 1.7 m, facing +x, its arms held out so that no spot hides another for long.
STANDING = {
    **{"right_hip": (0, -0.15, 0.95), "right_knee": (0.05, -0.2, 0.5)},
    **{"right_ankle": (0, -0.25, 0.08), "left_hip": (0, 0.15, 0.95)},
    **{"left_knee": (0.05, 0.2, 0.5), "left_ankle": (0, 0.25, 0.08), "neck": (0, 0, 1.45)},
    **{"head": (0.03, 0, 1.72), "left_shoulder": (0, 0.2, 1.4), "left_elbow": (0.1, 0.45, 1.2)},
    **{"left_wrist": (0.3, 0.6, 1.35), "right_shoulder": (0, -0.2, 1.4)},
    **{"right_elbow": (-0.1, -0.45, 1.25), "right_wrist": (0.1, -0.65, 1.5)},
}


def sequence() -> PoseSequence:
    """Turn and go, 0.3 m/s and half a radian per second, sampled at 60 Hz."""
    times = np.arange(0, SECONDS + 0.3, 1 / 60)
    rest = np.array([STANDING[name] for name in HUPR14.joints])
    cosine, sine = np.cos(0.5 * times), np.sin(0.5 * times)
    turn = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    joints = np.repeat(rest[None], len(times), axis=0)
    joints[..., :2] = np.einsum("tij,nj->tni", turn, rest[:, :2])
    joints[..., 0] += 0.3 * times[:, None]
    return PoseSequence(
        name="turn",
        subject="spots",
        action="turn",
        skeleton="hupr14",
        rate_hz=60.0,
        joints_m=joints.astype(np.float32),
        licence="",
    )


def rig() -> list[PinholeCamera]:
    """Four cameras around, 3 m away, at different heights."""
    return [
        PinholeCamera.looking_at(
            [3 * np.cos(angle), 3 * np.sin(angle), height], [0.1, 0, 0.9], 290.0, size
        )
        for angle, height, size in zip(
            (0.3, 1.7, 3.3, 4.8), (1.2, 1.6, 1.0, 1.8), SIZES, strict=True
        )
    ]


@dataclass
class Scene:
    """A folder with videos, and what is true of them."""

    folder: Path
    recording: MultiViewRecording


@pytest.fixture(scope="module")
def detecting():
    """Skip without what makes and runs files of ONNX; else how they are made."""
    for library in ("onnx", "onnxruntime"):
        pytest.importorskip(library, reason=f"needs {library}: pip install {library}")
    return importlib.import_module("onnx_models")


def film(folder: Path, shutters: str, draw: Callable | None, names: ArrayLike = NAMES) -> Scene:
    """Write videos without loss of spots at the joints, and the cameras."""
    folder.mkdir(parents=True, exist_ok=True)
    cameras = rig()
    stamps = shutter_times(len(cameras), SECONDS, RATE_HZ, shutters)
    recording = simulate(sequence(), cameras, stamps, np.random.default_rng(0))
    views = [replace(view, name=name) for view, name in zip(recording.views, names, strict=True)]
    recording = replace(recording, views=tuple(views))
    calibration_files.write(
        {name: camera for name, camera in zip(NAMES, cameras, strict=True)},
        folder / "cameras.toml",
        "pose2sim",
    )
    for view in recording.views:
        video(folder / f"{view.name}.avi", view, draw)
    return Scene(folder, recording)


def video(path: Path, view, draw: Callable | None) -> None:
    size = view.camera.size_px
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), RATE_HZ, size)
    assert writer.isOpened()
    for places in view.keypoints_px:
        blank = np.full((size[1], size[0], 3), 30, np.uint8)
        writer.write(blank if draw is None else draw(places, size, 5.0))
    writer.release()


def keypoint_files(scene: Scene, names: ArrayLike = NAMES) -> None:
    for view, name in zip(scene.recording.views, names, strict=True):
        np.savez(
            scene.folder / f"{name}.npz",
            keypoints_px=view.keypoints_px,
            confidence=view.confidence,
            skeleton="hupr14",
        )


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is shipped: a package without weights."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(tmp_path / "empty"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Videos without anything in them, and true keypoints beside them; all cameras together."""
    made = film(tmp_path / "scene", "synchronous", None)
    keypoint_files(made)
    return made


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    return ["multiview", str(folder), "--out", str(out), *more]


def truth(recording: MultiViewRecording, stamps_s: np.ndarray) -> np.ndarray:
    known = sequence()
    return SampledJoints(np.arange(len(known.joints_m)) / 60, known.joints_m)(stamps_s)


def test_from_videos_to_poses(
    tmp_path: Path, detecting, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spots in videos, a network that finds them, cameras that fire one after another."""
    models = detecting
    made = film(tmp_path / "scene", "interleaved", spots)
    models.colour_heatmaps(tmp_path / "spots.onnx", COLOURS)
    said = f"input_size: [320, 320]\n{models.PLAIN}"
    (tmp_path / "spots.yaml").write_text(said)
    offsets = tmp_path / "late.csv"
    rows = [f"{view.name},{view.stamps_s[0]}" for view in made.recording.views]
    offsets.write_text("camera,seconds\n" + "\n".join(rows))
    out, numbers = tmp_path / "out" / "made", tmp_path / "numbers.json"
    options = ["--detector", str(tmp_path / "spots.onnx"), "--skeleton", "hupr14"]
    options += ["--method", "linear", "--offsets", str(offsets), "--json", str(numbers)]
    assert cli.main(arguments(made.folder, out, *options)) == 0
    text = capsys.readouterr().out
    assert "cam_2.avi: 9 frames, " in text and "36, 60.0 per second" in text

    with np.load(out / "poses.npz") as file:
        poses = {name: file[name] for name in file.files}
    assert poses["joints_m"].shape == (36, JOINTS, 3)
    assert poses["covariance_m2"].shape == (36, JOINTS, 3, 3)
    assert poses["used"].shape == poses["errors_px"].shape == (36, 4, JOINTS)
    assert str(poses["skeleton"]) == "hupr14" and poses["cameras"].tolist() == list(NAMES)
    assert_close(poses["stamps_s"], np.arange(36) / 60)
    # before every camera has fired there are fewer than two, or only those that go on from there
    settled = slice(4, 32)
    off = np.linalg.norm(poses["joints_m"] - truth(made.recording, poses["stamps_s"]), axis=-1)[
        settled
    ]
    assert np.isfinite(off).mean() > 0.98
    assert np.nanmedian(off) < 0.008 and np.nanpercentile(off, 95) < 0.025

    rows_by_id = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    assert rows_by_id["multiview.poses"] == 36
    assert rows_by_id["multiview.cam_1.error_px"] < 1.5
    assert rows_by_id["multiview.height_m"] == pytest.approx(1.7, abs=0.15)
    # what the detector found can be used again
    again = tmp_path / "again"
    for path in (out / "keypoints").iterdir():
        (made.folder / path.name).write_bytes(path.read_bytes())
    assert cli.main(arguments(made.folder, again, *options[4:], "--no-overlay")) == 0
    with np.load(again / "poses.npz") as file:
        assert_close(file["joints_m"], poses["joints_m"])
    assert not (again / "overlay.mp4").exists() and not (again / "keypoints").exists()


def test_files_agree_with_each_other(scene: Scene, tmp_path: Path) -> None:
    """With true keypoints poses are true to 0.1 mm, and the same in all files."""
    out = tmp_path / "out"
    assert cli.main(arguments(scene.folder, out, "--method", "synchronous")) == 0
    with np.load(out / "poses.npz") as file:
        joints, stamps = file["joints_m"], file["stamps_s"]
        spread = np.sqrt(np.trace(file["covariance_m2"], axis1=-2, axis2=-1))
        used = file["used"]
    assert_close(stamps, np.arange(9) / RATE_HZ)
    np.testing.assert_allclose(joints, truth(scene.recording, stamps), atol=1e-4)

    with (out / "poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == command.CSV_COLUMNS and len(rows) == 9 * JOINTS
    assert [row["joint"] for row in rows[:JOINTS]] == list(HUPR14.joints)
    table = np.array([[float(row[f"{axis}_m"]) for axis in "xyz"] for row in rows])
    np.testing.assert_allclose(table.reshape(joints.shape), joints, atol=1e-6)
    np.testing.assert_allclose([float(row["sd_m"]) for row in rows], spread.ravel(), atol=1e-6)
    assert [int(row["views"]) for row in rows] == used.sum(1).ravel().tolist()
    assert max(float(row["error_px"]) for row in rows) < 0.01

    trc = pose2sim.read_trc(out / "poses.trc")
    assert trc.markers == pose2sim.marker_names(HUPR14) and trc.rate_hz == pytest.approx(RATE_HZ)
    np.testing.assert_allclose(trc.times_s, stamps, atol=1e-8)
    np.testing.assert_allclose(trc.joints(HUPR14), joints, atol=1e-6)
    head = trc.positions_m[:, trc.markers.index("Head")]
    assert (head[:, 1] > 1.6).all()  # y is up

    film_ = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert film_.get(cv2.CAP_PROP_FPS) == pytest.approx(RATE_HZ)
    assert film_.get(cv2.CAP_PROP_FRAME_COUNT) == 9
    assert cv2.imread(str(out / "poses.png")).shape == (700, 1200, 3)


def test_the_overlay_has_bones_where_cameras_see_them(scene: Scene) -> None:
    """Halfway along a bone is its colour; beside the person is the video."""
    videos = inputs.find_videos(scene.folder)
    tracks = inputs.read_tracks(scene.folder, videos)
    toml = scene.folder / "cameras.toml"
    given = inputs.footage(scene.folder, tracks, videos, toml)
    poses = command.METHODS["synchronous"](given.recording)
    rate_hz, shown = pictures.film(given.recording, given.frames, given.videos, poses)
    picture = list(shown)[4].astype(int)
    assert rate_hz == pytest.approx(RATE_HZ)
    assert picture.shape[0] % 2 == 0 and picture.shape[1] % 2 == 0
    assert pictures.grid([*SIZES])[1] == 1.0  # not made smaller: pixels are pixels
    view = given.recording.views[0]  # at the upper left
    for side, colour in (("left", (86, 180, 233)), ("right", (230, 159, 0))):
        knee, ankle = (
            view.keypoints_px[4, HUPR14.index(f"{side}_{part}")] for part in ("knee", "ankle")
        )
        column, row = np.round((knee + ankle) / 2).astype(int)
        assert np.abs(picture[row, column] - colour).max() < 40
    assert np.abs(picture[120, 10] - 30).max() < 5


def test_keypoints_without_videos(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but keypoints: times are said, and the overlay is on empty images."""
    for path in scene.folder.glob("*.avi"):
        path.unlink()
    out = tmp_path / "out"
    assert cli.main(arguments(scene.folder, out)) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert "say how many frames per second with --rate, or when each was taken in cam_1" in said
    assert said.count(str(scene.folder)) == 1 and "files in pose-3d say nothing" in said
    assert not out.exists()
    options = ("--rate", "15", "--method", "linear")
    assert cli.main(arguments(scene.folder, out, *options)) == 0
    assert "note: no videos: the overlay is drawn on empty images" in capsys.readouterr().out
    assert (out / "overlay.mp4").stat().st_size > 1000
    with np.load(out / "poses.npz") as file:
        np.testing.assert_allclose(
            file["joints_m"], truth(scene.recording, file["stamps_s"]), atol=1e-4
        )


def test_times_of_frames_and_offsets(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One camera has a file of times, on a clock that another one's offset is relative to."""
    stamps = scene.recording.views[0].stamps_s
    lines = "".join(f"{1.7e9 + stamp:.6f}\n" for stamp in stamps)  # since 1970
    (scene.folder / "cam_1.txt").write_text("time\n" + lines)
    out = tmp_path / "out"
    late = [f"{name}=1.7e9" for name in ("cam_2", "CAM-03", "cam4")]
    assert cli.main(arguments(scene.folder, out, "--no-overlay", "--offsets", *late)) == 0
    with np.load(out / "poses.npz") as file:
        np.testing.assert_allclose(file["stamps_s"], 1.7e9 + stamps, atol=1e-6)
        assert np.isfinite(file["joints_m"]).all()
    times = pose2sim.read_trc(out / "poses.trc").times_s
    np.testing.assert_allclose(times, 1.7e9 + stamps, atol=1e-6)
    assert "uneven" not in capsys.readouterr().out
    # without offsets they never see the person together
    assert cli.main(arguments(scene.folder, out, "--no-overlay")) == 0
    told = (
        "the times of cam_1 are 1700000000.000 to 1700000000.533 s, of cam_2, cam_3, cam_4 are "
        "0.000 to 0.533 s: is a clock or an offset wrong?"
    )
    assert f"note: the cameras never saw the person together: {told}" in capsys.readouterr().out
    assert cli.main(arguments(scene.folder, out, "--method", "synchronous")) == cli.USAGE_ERROR
    assert f"the cameras never fired together: {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spans", "sentence"),
    [
        ([(0, 2), (1, 3), (2, 4)], ""),
        (
            [(0, 2), (1, 3), (2.5, 4)],
            "the times of a are 0.000 to 2.000 s, of b are 1.000 to 3.000 s, of c are 2.500 to "
            "4.000 s: is a clock or an offset wrong?",
        ),
        (
            [(9, 12), (1, 3), (8, 9)],
            "the times of b are 1.000 to 3.000 s, of c, a are 8.000 to 12.000 s: is a clock or an "
            "offset wrong?",
        ),
    ],
)
def test_cameras_without_a_common_time_are_named(
    spans: list[tuple[float, float]], sentence: str
) -> None:
    blank = {"keypoints_px": np.zeros((2, 1, 2)), "confidence": np.ones((2, 1))}
    views = [
        ViewShots(name, rig()[0], np.array(span, float), **blank)
        for name, span in zip("abc", spans, strict=True)
    ]
    assert times.apart(views) == sentence


def rewritten(path: Path, **changes: Any) -> None:
    """Change entries of a file of keypoints."""
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    np.savez(path, **(entries | changes))


def test_confidences_mean_what_they_mean_in_messages(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not stated counts as sure; a frame with an impossible one is left out, the last one here."""
    options = ("--method", "synchronous", "--no-overlay")
    for name in NAMES:  # all are sure
        rewritten(scene.folder / f"{name}.npz", confidence=np.ones((9, JOINTS)))
    assert cli.main(arguments(scene.folder, tmp_path / "sure", *options)) == 0
    assert "note: cam_" not in capsys.readouterr().out
    rewritten(scene.folder / "cam_3.npz", confidence=np.full((9, JOINTS), np.nan))
    wrong, keypoints = np.ones((9, JOINTS)), scene.recording.views[1].keypoints_px.copy()
    wrong[8, 3] = 87.5
    keypoints[8] += 100.0
    rewritten(scene.folder / "cam_2.npz", confidence=wrong, keypoints_px=keypoints)
    (scene.folder / "cam_2.csv").write_text("\n".join(f"{n / RATE_HZ:.9f}" for n in range(9)))
    assert cli.main(arguments(scene.folder, tmp_path / "out", *options)) == 0
    said = capsys.readouterr().out
    assert "note: cam_2: 1 of 9 frames left out: a confidence of 87.5, allowed is 0 to 1" in said
    assert f"note: cam_3: {9 * JOINTS} keypoints whose confidence is not stated count as" in said
    with (
        np.load(tmp_path / "sure" / "poses.npz") as sure,
        np.load(tmp_path / "out" / "poses.npz") as found,
    ):
        assert len(sure["stamps_s"]) == 9 and len(found["stamps_s"]) == 8
        for entry in ("joints_m", "covariance_m2", "used"):
            np.testing.assert_allclose(found[entry], sure[entry][:8])
    rewritten(scene.folder / "cam_2.npz", confidence=np.full((9, JOINTS), 1.01))
    assert cli.main(arguments(scene.folder, tmp_path / "out", *options)) == cli.USAGE_ERROR
    assert "cam_2: each of its 9 frames has a confidence of 1.01, allowed is 0 to 1, or NaN" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_infinite_keypoints_are_said_to_be_that(
    scene: Scene, tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that they lie outside of the image; drawn they are not, and NaN is no news."""
    keypoints = scene.recording.views[1].keypoints_px.copy()
    keypoints[:, :7, 0] = value
    rewritten(scene.folder / "cam_2.npz", keypoints_px=keypoints, confidence=np.ones((9, JOINTS)))
    assert cli.main(arguments(scene.folder, tmp_path / "out")) == 0
    said = capsys.readouterr().out
    told = "note: cam_2: 50% of its keypoints are infinite: they count as unknown" in said
    assert told == np.isinf(value) and "outside of an image" not in said
    with np.load(tmp_path / "out" / "poses.npz") as file:
        assert not file["used"][:, 1, :7].any() and file["used"][:, 1, 7:].any()


def test_an_overlay_that_is_cut_off_does_not_stay(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = pictures.film

    def cut(*given: Any) -> Any:
        rate_hz, drawn = whole(*given)

        def five() -> Any:
            yield from itertools.islice(drawn, 5)
            raise KeyboardInterrupt

        return rate_hz, five()

    monkeypatch.setattr(pictures, "film", cut)
    out = tmp_path / "out"
    assert cli.main(arguments(scene.folder, out)) == cli.INTERRUPTED
    said = capsys.readouterr().out
    assert f"{out}: all is written but overlay.mp4, which was cut off and is not kept" in said
    kept = {"poses.csv", "poses.trc", "poses.npz", "poses.png"}
    assert {path.name for path in out.iterdir()} == kept


def test_only_instants_of_all_cameras_are_synchronous(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A camera that was late by two frames takes these from the others."""
    out = tmp_path / "out"
    options = ("--method", "synchronous", "--offsets", f"cam_3={2 / RATE_HZ:.9f}")
    assert cli.main(arguments(scene.folder, out, *options)) == 0
    assert "note: 8 frames are of instants at which not all cameras fired" in (
        capsys.readouterr().out
    )
    with np.load(out / "poses.npz") as file:
        np.testing.assert_allclose(file["stamps_s"], np.arange(2, 9) / RATE_HZ, atol=1e-8)


def test_a_unit_that_is_wrong_is_noticed(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever does what the sentence says has the right size."""
    cameras = calibration_files.read(scene.folder / "cameras.toml")
    calibration_files.write(cameras, scene.folder / "cameras.toml", "pose2sim", unit_m=0.001)
    out = tmp_path / "out"
    assert cli.main(arguments(scene.folder, out, "--no-overlay")) == 0
    said = capsys.readouterr().out
    assert "in millimetres? Then its unit_m is 0.001 (--unit-m)" in said
    assert cli.main(arguments(scene.folder, out, "--no-overlay", "--unit-m", "0.001")) == 0
    said = capsys.readouterr().out
    assert "millimetres" not in said and "height        1.6" in said
    with np.load(out / "poses.npz") as file:
        expected = truth(scene.recording, file["stamps_s"])
        np.testing.assert_allclose(file["joints_m"], expected, atol=1e-4)
    written = pose2sim.read_trc(out / "poses.trc").joints(HUPR14)
    np.testing.assert_allclose(written, expected, atol=1e-4)


def rig_folder(folder: Path, late_s: dict[str, float], still: bool = False) -> SimulatedRig:
    """Write what four cameras of a rig see in eight seconds, by clocks of which some are late."""
    rig_ = SimulatedRig(NAMES, clip_s=8.0)
    folder.mkdir()
    views = rig_.recording(0).views
    calibration_files.write(
        {view.name: view.camera for view in views}, folder / "cameras.toml", "pose2sim"
    )
    for view in views:
        shot = np.zeros(len(view.stamps_s), int) if still else slice(None)
        np.savez(
            folder / f"{view.name}.npz",
            keypoints_px=view.keypoints_px[shot],
            confidence=view.confidence[shot],
            skeleton="h36m17",
        )
        stamps = view.stamps_s - late_s.get(view.name, 0.0)
        (folder / f"{view.name}.csv").write_text("\n".join(map(str, stamps)))
    return rig_


def test_clocks_that_are_wrong_are_noticed_and_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cam_2 0.3 s late, cam_4 0.1 s early: to 10 ms, with a detector's errors; poses are right."""
    made = rig_folder(tmp_path / "rig", {"cam_2": 0.3, "cam_4": -0.1})
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    options = ["--method", "linear", "--no-overlay", "--json", str(numbers)]
    assert cli.main(arguments(tmp_path / "rig", out, *options)) == 0
    said = capsys.readouterr().out
    told = re.search(r"agree best with other clocks, --offsets (cam_2=0\.[23]\d?.*): check", said)
    assert told is not None
    # the sentence has what is to be given, in all
    less = ["--offsets", "cam_1=5", "cam_2=5.1", "cam_3=5", "cam_4=5"]
    assert cli.main(arguments(tmp_path / "rig", out, *options, *less)) == 0
    said = capsys.readouterr().out
    told = re.search(r"clocks, --offsets (cam_1=5 cam_2=5\.[23]\d? cam_3=5 .*): check", said)
    assert told is not None
    pasted = ["--offsets", *told[1].split()]
    assert cli.main(arguments(tmp_path / "rig", out, *options, *pasted)) == 0
    assert "other clocks" not in capsys.readouterr().out
    assert cli.main(arguments(tmp_path / "rig", out, *options, "--find-offsets")) == 0
    said = capsys.readouterr().out
    assert "other clocks" not in said and "offsets       cam_1=0.0000 cam_2=0." in said
    rows = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    for name, late_s in zip(NAMES, (0.0, 0.3, 0.0, -0.1), strict=True):
        assert rows[f"multiview.{name}.offset_s"] == pytest.approx(late_s, abs=0.01)
    with np.load(out / "poses.npz") as file:
        off = np.linalg.norm(
            file["joints_m"] - made.recording(0).joints_at(file["stamps_s"]), axis=-1
        )
        assert np.nanmedian(off) < 0.03
    # those that are given are begun with, and counted
    given = ["--find-offsets", "--offsets", "cam_1=0.2", "cam_2=0.6"]
    assert cli.main(arguments(tmp_path / "rig", out, *options, *given)) == 0
    rows = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    assert rows["multiview.cam_1.offset_s"] == 0.2
    assert rows["multiview.cam_2.offset_s"] == pytest.approx(0.5, abs=0.01)
    assert rows["multiview.cam_4.offset_s"] == pytest.approx(0.1, abs=0.01)


def spoilt(folder: Path, **changes: Any) -> None:
    """Change what the calibration says of cam_2."""
    path = folder / "cameras.toml"
    cameras = calibration_files.read(path)
    cameras["cam_2"] = replace(cameras["cam_2"], **changes)
    calibration_files.write(cameras, path, "pose2sim")


def test_a_camera_that_fits_nothing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere than was said; for another size; times in ms. As it should be it gets no word."""
    options = ["--method", "linear", "--no-overlay"]
    folder, out = tmp_path / "rig", tmp_path / "out"
    made = rig_folder(folder, {})
    assert cli.main(arguments(folder, out, *options)) == 0
    assert "of its keypoints were" not in capsys.readouterr().out
    camera = made.recording(0).views[1].camera
    spoilt(folder, position_m=camera.position_m + [0.0, 0.0, 0.5])
    assert cli.main(arguments(folder, out, *options)) == 0
    said = capsys.readouterr().out
    assert re.search(r"note: cam_2: \d+% of its keypoints were left out", said)
    assert not re.search(r"note: cam_[134]: ", said)
    spoilt(folder, position_m=camera.position_m, size_px=tuple(n // 2 for n in camera.size_px))
    assert cli.main(arguments(folder, out, *options)) == 0
    said = capsys.readouterr().out
    assert re.search(r"note: cam_2: \d+% of its keypoints lie outside of an image of 500 x", said)
    for path in folder.glob("*.csv"):
        path.write_text("\n".join(str(1e3 * float(line)) for line in path.read_text().split()))
    assert cli.main(arguments(folder, out, *options)) == 1  # no two shots are near each other
    assert "poses per second: are times given in seconds?" in capsys.readouterr().out


def test_somebody_who_stands_still_tells_no_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig_folder(tmp_path / "rig", {"cam_2": 0.3}, still=True)
    options = ["--method", "linear", "--no-overlay"]
    assert cli.main(arguments(tmp_path / "rig", tmp_path / "out", *options)) == 0
    assert "clocks" not in capsys.readouterr().out
    options.append("--find-offsets")
    assert cli.main(arguments(tmp_path / "rig", tmp_path / "new", *options)) == cli.USAGE_ERROR
    assert "no offsets within 0.5 s of cam_1 fit much better" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_views_that_disagree_are_named(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keypoints of two cameras exchanged."""
    one, other = (scene.folder / f"cam_{number}.npz" for number in (1, 2))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert cli.main(arguments(scene.folder, tmp_path / "out", "--no-overlay")) == 0
    said = capsys.readouterr().out
    assert "note: the views disagree by" in said


@dataclass
class FakeVideo:
    """A capture whose frames have these times, 30 per second by its header."""

    milliseconds: list[float]
    shown: int = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def release(self) -> None:
        pass

    def grab(self) -> bool:
        self.shown += 1
        return self.shown <= len(self.milliseconds)

    def get(self, what: int) -> float:
        return 30.0 if what == cv2.CAP_PROP_FPS else self.milliseconds[self.shown - 1]


@pytest.mark.parametrize(
    ("milliseconds", "expected_s", "said"),
    [
        ([0, 33, 66, 150, 183], [0, 0.066, 0.150], ""),
        ([40, 73, 106, 190, 223], [0, 0.066, 0.150], ""),  # from its first frame on
        ([0, 33, 67, 100, 133], [0, 2 / 30, 3 / 30], ""),  # even, rounded by the container
        ([0, 33, 66, 66, 99], [0, 2 / 30, 3 / 30], "does not say when each frame was taken"),
        ([0, 33, 66], [0, 2 / 30, 3 / 30], "has 3 frames, but there are keypoints of 4"),
    ],
)
def test_frames_have_the_times_that_their_video_says(
    milliseconds: list[float],
    expected_s: list[float],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda path: FakeVideo(milliseconds))
    found, notes = times.video_times(Path("a.mp4"), np.array([0, 2, 3]))
    assert_close(found, np.array(expected_s))
    assert len(notes) == bool(said) and all(said in note for note in notes)


def test_a_few_times_may_go_back(tmp_path: Path) -> None:
    """Of a hundred one: that frame has no time, and what comes before the latest has none."""
    stamps = np.arange(200) / 30
    stamps[[40, 41]] = stamps[[42, 40]]
    (tmp_path / "a.csv").write_text("\n".join(f"{stamp:.9f}" for stamp in stamps))
    frames = np.array([0, 39, 40, 41, 42, 43, 199])
    found, notes = times.instants(tmp_path, "a", frames, None, None)
    expected = np.array([0, 39, 42, np.nan, np.nan, 43, 199]) / 30
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert notes == [
        f"{tmp_path / 'a.csv'}: 2 of 200 frames have no time after the frame before: left out"
    ]


def test_a_frame_without_a_time_is_left_out(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(vision_video, "DISORDER", 0.2)  # of nine frames one
    options = ("--method", "synchronous", "--no-overlay")
    stamps = np.arange(9) / RATE_HZ
    stamps[4] = stamps[2]
    (scene.folder / "cam_2.csv").write_text("\n".join(f"{stamp:.9f}" for stamp in stamps))
    assert cli.main(arguments(scene.folder, tmp_path / "out", *options)) == 0
    said = capsys.readouterr().out
    assert "cam_2.csv: 1 of 9 frames have no time after the frame before: left out" in said
    with np.load(tmp_path / "out" / "poses.npz") as file:
        expected_s = np.delete(np.arange(9) / RATE_HZ, 4)
        np.testing.assert_allclose(file["stamps_s"], expected_s, atol=1e-8)
        np.testing.assert_allclose(
            file["joints_m"], truth(scene.recording, file["stamps_s"]), atol=1e-4
        )


@pytest.mark.parametrize("format", ["opencv", "ros"])
def test_other_calibrations(scene: Scene, tmp_path: Path, format: str) -> None:
    cameras = calibration_files.read(scene.folder / "cameras.toml")
    (scene.folder / "cameras.toml").unlink()
    calibration_files.write(cameras, scene.folder / "calibration", format)
    assert cli.main(arguments(scene.folder, tmp_path / "out", "--no-overlay")) == 0
    elsewhere = tmp_path / "elsewhere"
    (scene.folder / "calibration").rename(elsewhere)
    options = ("--calibration", str(elsewhere), "--no-overlay")
    assert cli.main(arguments(scene.folder, tmp_path / "out", *options)) == 0


def test_densewarper_is_taken_if_it_is_asked_for(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """Untrained weights move little; its poses have Human3.6M's joints."""
    network = densewarper.DenseWarper(densewarper.PRESETS["light"])
    weights.save(
        network,
        tmp_path / "weights",
        preset="light",
        training_data={"licence": "none"},
        git_revision="x",
        command="none",
        metrics={"split": "none"},
        poses={"skeleton": "h36m17", "unit": "px", "root_relative": False, "rate_hz": 60.0},
    )
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    out = tmp_path / "out"
    turns = [f"{name}={turn / 60}" for turn, name in enumerate(NAMES)]
    options = ("--no-overlay", "--offsets", *turns)
    assert cli.main(arguments(scene.folder, out, *options)) == 0
    said = capsys.readouterr().out
    assert "method        linear" in said and "hupr14" in said
    asked = ("--method", "densewarper")
    assert cli.main(arguments(scene.folder, out, *options, *asked)) == 0
    said = capsys.readouterr().out
    assert "method        densewarper" in said and "h36m17" in said
    with np.load(out / "poses.npz") as file:
        assert str(file["skeleton"]) == "h36m17" and str(file["method"]) == "densewarper"
        stamps, joints = file["stamps_s"], file["joints_m"]
    knees = [SKELETONS["h36m17"].index(f"{side}_knee") for side in ("left", "right")]
    theirs = [HUPR14.index(f"{side}_knee") for side in ("left", "right")]
    expected = truth(scene.recording, stamps)[:, theirs]
    off = np.linalg.norm(joints[:, knees] - expected, axis=-1)[4:]  # before, not all have fired
    assert np.isfinite(off).all() and off.max() < 0.1
    # named, or not to be had
    file_ = tmp_path / "weights" / "densewarper_light.safetensors"
    monkeypatch.setenv(weights.ENVIRONMENT_VARIABLE, str(tmp_path / "empty"))
    assert cli.main(arguments(scene.folder, out, "--no-overlay", "--weights", str(file_))) == 0
    assert "method        densewarper" in capsys.readouterr().out
    assert cli.main(arguments(scene.folder, out, *asked)) == cli.USAGE_ERROR
    assert "manifest.json" in capsys.readouterr().err
    options = ("--method", "slerp", "--weights", str(file_))
    assert cli.main(arguments(scene.folder, out, *options)) == cli.USAGE_ERROR
    assert "--weights are for --method densewarper, not for slerp" in capsys.readouterr().err


def broken(scene: Scene, how: str) -> list[str]:
    """Spoil a folder in one way; returns options."""
    folder = scene.folder
    one = folder / "cam_1.avi"
    if how == "no folder":
        folder.rename(folder.with_name("moved"))
    elif how == "no calibration":
        (folder / "cameras.toml").unlink()
    elif how == "two calibrations":
        (folder / "calib.toml").write_bytes((folder / "cameras.toml").read_bytes())
    elif how == "other names":
        one.rename(folder / "left.avi")
        (folder / "cam_1.npz").rename(folder / "left.npz")
    elif how == "one camera":
        for name in NAMES[1:]:
            (folder / f"{name}.avi").unlink()
            (folder / f"{name}.npz").unlink()
    elif how == "no video":
        one.write_bytes(b"no video at all")
    elif how == "other size":
        video(one, scene.recording.views[1], None)
    elif how == "a file of keypoints is missing":
        (folder / "cam_3.npz").unlink()
    elif how == "no keypoints":
        for name in NAMES:
            (folder / f"{name}.npz").unlink()
    elif how == "damaged keypoints":
        (folder / "cam_2.npz").write_bytes(b"PK\x03\x04")
    elif how == "keypoints of another skeleton":
        return ["--skeleton", "coco17"]
    elif how == "other shape":
        np.savez(
            folder / "cam_2.npz", keypoints_px=np.zeros((9, 3, 2)), confidence=np.ones((9, 3))
        )
        return ["--skeleton", "hupr14"]
    elif how == "too few times":
        (folder / "cam_1.csv").write_text("0.0\n0.1\n")
    elif how == "times go back":
        (folder / "cam_1.csv").write_text("0.0\n0.1\n0.05\n")
    elif how == "two files of times":
        for ending in ("csv", "txt"):
            (folder / f"cam_1.{ending}").write_text("0.0\n")
    elif how == "offset of nobody":
        return ["--offsets", "cam_9=0.5"]
    elif how == "offset without a number":
        return ["--offsets", "cam_1=late"]
    elif how == "offset twice":
        return ["--offsets", "cam_1=1", "cam_01=2"]
    elif how == "no file of offsets":
        return ["--offsets", "late.csv"]
    elif how == "no detector":
        return ["--detector", "no.onnx"]
    elif how == "a detector of nothing":
        return ["--detector", "video.mp4"]
    elif how == "no such weights":
        return ["--weights", "no/such.safetensors"]
    elif how == "a file to write to":
        return ["--out", str(folder / "cameras.toml")]
    return []


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("no folder", "scene: there is no such folder"),
        ("no calibration", "no calibration in it (cameras.toml, *calib*.toml or"),
        ("two calibrations", "say which with --calibration"),
        ("other names", "no camera of the name left; there are cam_1, cam_2, cam_3, cam_4"),
        ("one camera", "poses in space need two cameras or more, got cam_1"),
        ("no video", "cam_1.avi: it cannot be read as a video"),
        ("other size", "cam_1.avi: 240 x 320 px, but 320 x 240 px in the calibration; they must"),
        ("a file of keypoints is missing", "cam_3.npz: there is no such file, though cam_1 has"),
        (
            "no keypoints",
            "no keypoints: want NAME.npz for each camera, or pose-associated or pose",
        ),
        ("damaged keypoints", "cam_2.npz: damaged, or no .npz file"),
        ("keypoints of another skeleton", "cam_1.npz: keypoints of hupr14, not of coco17"),
        (
            "other shape",
            "cam_2.npz: want keypoints_px (frames, 14, 2) and confidence (frames, 14)",
        ),
        ("too few times", "cam_1.csv: 2 times, but 9 frames"),
        ("times go back", "cam_1.csv: times have to increase, but 1 of 3 are not after"),
        ("two files of times", "which one says when frames were taken?"),
        ("offset of nobody", "cam_9=0.5: no camera 'cam_9', there are cam_1, cam_2, cam_3, cam_4"),
        ("offset without a number", "cam_1=late: want NAME=SECONDS, a finite number, got 'late'"),
        ("offset twice", "cam_01=2: a second offset of cam_1"),
        ("no file of offsets", "late.csv: there is no such file"),
        ("no detector", "no.onnx: there is no such file"),
        ("a detector of nothing", "video.mp4: a detector is a file .onnx, .safetensors"),
        ("no such weights", "there is no file of weights no/such.safetensors"),
        ("a file to write to", "cameras.toml: want a folder to write to, this is a file"),
    ],
)
def test_mistakes_get_one_sentence(
    scene: Scene, tmp_path: Path, how: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = broken(scene, how)
    assert cli.main(arguments(scene.folder, tmp_path / "out", *options)) == cli.USAGE_ERROR
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_camera_without_a_video_is_left_out(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in ("avi", "npz"):
        (scene.folder / f"cam_4.{ending}").unlink()
    out = tmp_path / "out"
    assert cli.main(arguments(scene.folder, out, "--no-overlay")) == 0
    assert "note: cam_4 of " in capsys.readouterr().out
    with np.load(out / "poses.npz") as file:
        assert file["cameras"].tolist() == list(NAMES[:3])
        np.testing.assert_allclose(
            file["joints_m"], truth(scene.recording, file["stamps_s"]), atol=1e-4
        )


def test_nobody_is_no_answer(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No keypoint in any frame: files of empty poses, and exit code 1."""
    for name in NAMES:
        np.savez(
            scene.folder / f"{name}.npz",
            keypoints_px=np.full((9, JOINTS, 2), np.nan),
            confidence=np.zeros((9, JOINTS)),
            skeleton="hupr14",
        )
    assert cli.main(arguments(scene.folder, tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert "note: no joint is known in any pose" in said
    assert "note: cam_1: nobody was found in any of its 9 frames" in said
    assert np.isnan(pose2sim.read_trc(tmp_path / "out" / "poses.trc").positions_m).all()


def test_every_skeleton_can_be_drawn() -> None:
    """Also with most of its joints unknown."""
    cameras = rig()[:2]
    for skeleton in SKELETONS.values():
        joints = np.random.default_rng(1).normal(size=(3, len(skeleton.joints), 3))
        joints[1, 1:] = np.nan
        joints[2] = np.nan
        count = 3, len(cameras), len(skeleton.joints)
        poses = command.Poses(
            stamps_s=np.arange(3.0),
            joints_m=joints,
            covariance_m2=np.ones((*joints.shape, 3)),
            errors_px=np.ones(count),
            used=np.ones(count, bool),
        )
        views = simulate(
            sequence(), cameras, [np.arange(3) / 10] * 2, np.random.default_rng(0)
        ).views
        blank = [
            replace(
                view,
                keypoints_px=np.zeros((3, len(skeleton.joints), 2)),
                confidence=np.zeros((3, len(skeleton.joints))),
            )
            for view in views
        ]
        recording = MultiViewRecording("a", "", "", skeleton.name, tuple(blank))
        assert pictures.figure(recording, poses, skeleton.name).shape == (700, 1200, 3)


def test_formats_and_methods_are_those_that_there_are() -> None:
    assert (command.DENSEWARPER, *command.METHODS) == cli.MULTIVIEW_METHODS


def test_files_of_rtmpose_as_pose2sim_has_them(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """26 joints in JSON, a calibration above: poses of Halpe's skeleton, without being told."""
    session = tmp_path / "session"
    (session / "Calibration").mkdir(parents=True)
    cameras = dict(zip(NAMES, rig(), strict=True))
    calibration_files.write(cameras, session / "Calibration" / "Calib.toml", "pose2sim")
    joints = rng.uniform([-0.3, -0.3, 0.2], [0.3, 0.3, 1.6], (26, 3))
    points = joints + np.linspace(0, 0.3, 12)[:, None, None] * np.array([1.0, 0, 0])
    for name, camera in cameras.items():
        folder = session / "trial" / "pose" / f"{name}_json"
        folder.mkdir(parents=True)
        for number, pixels in enumerate(camera.project(points)):
            flat = np.concatenate([pixels, np.full((26, 1), 0.9)], axis=1).ravel().tolist()
            text = json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": flat}]})
            (folder / f"{name}_{number:06d}.json").write_text(text)
    out = tmp_path / "out"
    options = ("--rate", "30", "--no-overlay")
    assert cli.main(arguments(session / "trial", out, *options)) == 0
    assert "pose of Pose2Sim, halpe26" in capsys.readouterr().out
    other = ("--skeleton", "body25", *options)
    assert cli.main(arguments(session / "trial", out, *other)) == cli.USAGE_ERROR
    assert "pose: keypoints of halpe26, not of body25 (--skeleton)" in capsys.readouterr().err
    with np.load(out / "poses.npz") as file:
        assert str(file["skeleton"]) == "halpe26"
        np.testing.assert_allclose(file["joints_m"], points, atol=1e-4)
    markers = pose2sim.read_trc(out / "poses.trc").markers
    assert markers[17:22] == ("Head", "Neck", "Hip", "LBigToe", "RBigToe")


def test_a_real_recording(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pose2Sim's balancing trial beside Pose2Sim's own markers.

    Of four views that disagree by 12 px, those with the smallest errors in the images: as far from
    Pose2Sim's linear points as `test_triangulation` has it, and with smaller errors.
    """
    session = shared_data / "multiview_pose2sim"
    trial = session / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
    if not trial.is_dir():
        pytest.skip(f"needs the recording in {trial}")
    options = ("--method", "synchronous", "--no-overlay")
    assert cli.main(arguments(trial, tmp_path, *options)) == 0
    said = capsys.readouterr().out
    assert "cam01.mp4: 1080 x 1920 px, but 1088 x 1920 px in the calibration" in said
    assert "100, 60.0 per second, from 0.000 to 1.650 s" in said and "clocks" not in said
    with np.load(tmp_path / "poses.npz") as file:
        assert str(file["skeleton"]) == BODY25B.name
        assert np.isfinite(file["joints_m"]).all(-1).mean() > 0.99
        all_used = file["used"].all(1)

    expected = pose2sim.read_trc(trial / "pose-3d" / f"{trial.name}_0-100.trc").joints(BODY25B)
    written = pose2sim.read_trc(tmp_path / "poses.trc")
    assert written.markers == pose2sim.marker_names(BODY25B)
    found = written.joints(BODY25B)
    off_m = np.linalg.norm(found - expected, axis=-1)
    assert np.nanmedian(off_m) == pytest.approx(0.0056, abs=0.0003)

    views = pose2sim.load(trial).views
    cameras = [view.camera for view in views]
    pixels = np.stack([view.keypoints_px for view in views])
    confidence = np.stack([view.confidence for view in views])
    matrices = np.stack([camera.projection_matrix for camera in cameras])
    _, kept = pose2sim_selection.select(matrices, pixels.astype(float), confidence)

    def squares(points_m: np.ndarray) -> np.ndarray:
        off = [
            np.linalg.norm(camera.project(points_m) - seen, axis=-1)
            for camera, seen in zip(cameras, pixels, strict=True)
        ]
        return ((confidence * off) ** 2).sum(0)

    same = kept.all(0) & all_used & np.isfinite(expected).all(-1)
    assert same.sum() > 1000 and off_m[same].max() < 0.012
    assert (squares(found)[same] <= squares(expected)[same] + 0.1).all()
