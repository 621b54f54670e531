"""Pose2Sim's folders: the published demonstration, and small ones written here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pose2sim_selection
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import interleaved
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.simulation.multiview import OPENPOSE, hidden_by_body
from radar_pose_ros.skeleton.definitions import BODY25, BODY25B, H36M17, HALPE26
from radar_pose_ros.vision import calibration_files


@pytest.fixture(scope="module")
def demo(shared_data: Path) -> Path:
    return shared_data / "multiview_pose2sim"


@pytest.fixture(scope="module")
def balancing(demo: Path) -> Path:
    return demo / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"


def peer(trial: Path) -> pose2sim.Trc:
    """What Pose2Sim triangulated, not filtered."""
    return pose2sim.read_trc(trial / "pose-3d" / f"{trial.name}_0-100.trc")


def test_the_demonstration(balancing: Path) -> None:
    recording = pose2sim.load(balancing)
    assert recording.name == "S00_P00_T01_BalancingTrial"
    assert recording.subject == "S00_P00_SingleParticipant"
    assert recording.skeleton == "body25b" and recording.truth is None
    assert [view.name for view in recording.views] == ["cam01", "cam02", "cam03", "cam04"]
    for view in recording.views:
        assert_close(view.stamps_s, np.arange(100) / 60)
        assert view.camera.size_px == (1088, 1920)
    # one shot shows nobody; else the left eye is found least and the neck always
    nobody = [np.flatnonzero((view.confidence == 0).all(1)).tolist() for view in recording.views]
    assert nobody == [[], [], [52], []]
    found = np.mean([(view.confidence > 0).mean(0) for view in recording.views], axis=0)
    assert_close(found[BODY25B.index("upper_neck")], 399 / 400)
    assert BODY25B.joints[int(found.argmin())] == "right_eye"
    # cameras stand 1.7 m to 2.1 m high, 2.4 m to 4 m from the middle of the calibration
    for camera in recording.cameras:
        assert 1.69 < camera.position_m[2] < 2.09
        assert 2.40 < np.hypot(*camera.position_m[:2]) < 4.02


def test_markers_are_those_of_the_keypoints(balancing: Path) -> None:
    """Made as Pose2Sim makes them, all are the file's to a tenth of a millimetre.

    So names, axes and the order of the cameras agree.
    """
    recording = pose2sim.load(balancing)
    joints = peer(balancing).joints(BODY25B)
    made, kept = pose2sim_selection.select(
        np.stack([camera.projection_matrix for camera in recording.cameras]),
        np.stack([view.keypoints_px for view in recording.views]).astype(float),
        np.stack([view.confidence for view in recording.views]).astype(float),
    )
    unknown = {name for k, name in enumerate(BODY25B.joints) if np.isnan(joints[:, k]).all()}
    assert unknown == {f"{side}_{part}" for side in ("left", "right") for part in ("eye", "ear")}
    compared = kept.any(0) & np.isfinite(joints).all(-1)
    assert compared.sum() == 2094  # of 21 markers in 100 frames; the rest it interpolated
    assert np.linalg.norm(made - joints, axis=-1)[compared].max() < 1e-4
    filtered = pose2sim.read_trc(
        balancing / "pose-3d" / f"{balancing.name}_0-100_filt_butterworth.trc"
    )
    moved_m = np.linalg.norm(filtered.joints(BODY25B) - joints, axis=-1)
    assert np.nanmedian(moved_m) == pytest.approx(0.0070, abs=0.0001)  # the filter alone


def test_what_should_be_hidden_is_found_worse(balancing: Path) -> None:
    """The simulator's capsules around Pose2Sim's joints tell where OpenPose is less sure.

    The numbers of `OPENPOSE` are from here.
    """
    recording = pose2sim.load(balancing)
    trc = pose2sim.read_trc(balancing / "pose-3d" / f"{balancing.name}_0-100_filt_butterworth.trc")
    joints = trc.joints(BODY25B)
    known = ~np.isnan(joints).any(-1)
    known[:, BODY25B.index("nose")] = False  # from two cameras, often metres off
    score, off, hidden = (
        np.array(parts)[:, known]
        for parts in (
            [view.confidence for view in recording.views],
            [
                np.linalg.norm(view.camera.project(joints) - view.keypoints_px, axis=-1)
                for view in recording.views
            ],
            [hidden_by_body(joints, BODY25B, c.position_m) for c in recording.cameras],
        )
    )
    assert 0.1 < hidden.mean() < 0.15
    assert score[~hidden].mean() == pytest.approx(OPENPOSE.confidence, abs=0.01)
    assert score[~hidden].std() == pytest.approx(OPENPOSE.confidence_spread, abs=0.01)
    assert score[hidden].mean() == pytest.approx(OPENPOSE.hidden_confidence, abs=0.01)
    assert score[hidden].std() == pytest.approx(OPENPOSE.hidden_confidence_spread, abs=0.01)
    assert (score[hidden] == 0).mean() == pytest.approx(OPENPOSE.hidden_missing_rate, abs=0.005)
    far = [np.nanpercentile(off[flags], 90) for flags in (hidden, ~hidden)]
    assert far[0] / far[1] == pytest.approx(OPENPOSE.hidden_factor, abs=0.2)


def test_static_trial_is_a_person_who_stands(demo: Path) -> None:
    """Heights above the floor, left and right, and bones of the same length on both sides."""
    trial = demo / "S00_P00_SingleParticipant" / "S00_P00_T00_StaticTrial"
    assert [len(view.stamps_s) for view in pose2sim.load(trial).views] == [12] * 4
    trc = pose2sim.read_trc(trial / "pose-3d" / f"{trial.name}_0-12.trc")
    joints = trc.joints(BODY25B).mean(0)
    assert joints[BODY25B.index("head_top"), 2] == pytest.approx(1.71, abs=0.01)
    assert joints[BODY25B.index("left_ankle"), 2] == pytest.approx(0.12, abs=0.01)
    for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow")):
        left, right = (
            np.linalg.norm(
                joints[BODY25B.index(f"{s}_{upper}")] - joints[BODY25B.index(f"{s}_{lower}")]
            )
            for s in ("left", "right")
        )
        assert left == pytest.approx(right, abs=0.02)


def test_people_as_they_were_found(demo: Path, balancing: Path) -> None:
    """Two people in each view, in whatever order; a file does not say who is who."""
    detections, skeleton = pose2sim.read_detections(demo / "S00_P01_T02_two_people" / "pose")
    assert skeleton == "body25b"
    people = [(d.confidence > 0).any(-1).sum(1) for d in detections]
    assert [(int(p.min()), int(p.max())) for p in people] == [(2, 4), (3, 3), (2, 2), (2, 2)]
    first = pose2sim.load(demo / "S00_P01_T02_two_people", rate_hz=60.0)
    second = pose2sim.load(demo / "S00_P01_T02_two_people", rate_hz=60.0, person=1)
    assert_close(first.views[3].keypoints_px, detections[3].keypoints_px[:, 0])
    assert_close(second.views[3].keypoints_px, detections[3].keypoints_px[:, 1])
    with pytest.raises(ValueError, match="two_people, cam01: want a person of 4, got 4"):
        pose2sim.load(demo / "S00_P01_T02_two_people", rate_hz=60.0, person=4)
    with pytest.raises(ValueError, match="say how many frames per second; files in pose-3d say n"):
        pose2sim.load(demo / "S00_P01_T02_two_people")


def test_archive_and_openpose_s_files_agree(balancing: Path) -> None:
    """The first two frames are there in both ways."""
    for kind in ("pose", "pose-associated"):
        archive, _ = pose2sim.read_detections(balancing / kind)
        for found in archive:
            (plain,), _ = pose2sim._read_folders([balancing / kind / f"{found.name}_json"])
            assert plain.frames.tolist() == [0, 1]
            people = plain.keypoints_px.shape[1]
            assert_close(plain.keypoints_px, found.keypoints_px[:2, :people])
            # the archive's scores are rounded
            np.testing.assert_allclose(
                plain.confidence, found.confidence[:2, :people], atol=0.00051
            )


def test_interleaved_demonstration_in_human36m_s_joints(balancing: Path) -> None:
    thinned = interleaved(pose2sim.load(balancing)).converted("h36m17")
    stamps, views, _ = thinned.in_order()
    assert_close(stamps, np.arange(100) / 60)
    assert views.tolist() == [0, 1, 2, 3] * 25
    known = np.concatenate([np.isfinite(v.keypoints_px).all(-1) for v in thinned.views]).mean(0)
    assert known[H36M17.index("thorax")] >= 0.99


def test_filtered_and_augmented_markers_are_read(balancing: Path) -> None:
    folder = balancing / "pose-3d"
    raw = peer(balancing)
    assert raw.rate_hz == 60 and len(raw.markers) == 21 and raw.markers[0] == "RHip"
    assert_close(raw.times_s, np.arange(1, 101) / 60)
    smooth = pose2sim.read_trc(folder / f"{balancing.name}_0-100_filt_butterworth.trc")
    assert np.abs(smooth.positions_m - raw.positions_m)[:, 2].max() < 0.05
    more = pose2sim.read_trc(folder / f"{balancing.name}_0-100_filt_butterworth_LSTM.trc")
    assert len(more.markers) == 64 and more.markers[63] == "L_mwrist_study"
    assert np.isfinite(more.positions_m).all()


def test_axes_of_a_trc() -> None:
    """x, y, z of the file are y, z, x of the calibration."""
    assert pose2sim.to_trc_axes([1.0, 2.0, 3.0]).tolist() == [2.0, 3.0, 1.0]
    assert pose2sim.from_trc_axes([2.0, 3.0, 1.0]).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
def test_written_markers_are_read_back(
    tmp_path: Path, unit: str, rng: np.random.Generator
) -> None:
    positions = rng.normal(size=(4, 25, 3))
    positions[2, 5] = np.nan
    names = pose2sim.marker_names(BODY25)
    path = tmp_path / "a.trc"
    pose2sim.write_trc(path, names, positions, 59.94, times_s=[1.0, 1.1, 1.2, 1.5], unit=unit)
    back = pose2sim.read_trc(path)
    assert back.markers == names and back.rate_hz == 59.94
    assert_close(back.times_s, [1.0, 1.1, 1.2, 1.5])
    np.testing.assert_allclose(back.positions_m, positions, atol=1e-8)
    np.testing.assert_array_equal(back.joints(BODY25), pose2sim.from_trc_axes(back.positions_m))
    lines = path.read_text().splitlines()
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\ta.trc"
    assert lines[2] == f"59.94\t59.94\t4\t25\t{unit}\t59.94\t1\t4"
    assert lines[3].startswith("Frame#\tTime\tNose\t\t\tNeck\t\t\tRShoulder\t\t\t")
    assert lines[4].startswith("\t\tX1\tY1\tZ1\tX2") and lines[5].startswith("1\t1\t")


def test_names_of_markers() -> None:
    names = dict(zip(BODY25B.joints, pose2sim.marker_names(BODY25B), strict=True))
    assert [names[j] for j in ("left_big_toe", "head_top", "upper_neck", "right_hip")] == [
        *("LBigToe", "Head", "Neck", "RHip"),
    ]
    assert pose2sim.marker_names(BODY25)[8] == "CHip"
    assert len({*pose2sim.marker_names(H36M17)}) == 17


HEADER = """PathFileType\t4\t(X/Y/Z)\ta.trc
DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames
60\t60\t2\t1\tm\t60\t0\t2
Frame#\tTime\tNose
\t\tX1\tY1\tZ1

"""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing", "no .trc file: want PathFileType and four more lines"),
        (
            HEADER.replace("60\t60\t2\t1", "60\t60\t5000\t5000").split("Frame#")[0]
            + "Frame#\tTime"
            + "\tX" * 5000
            + "\n\n"
            + "1\t0\n" * 5000,
            "5005 lines of 5000 markers are not in it",
        ),
        (HEADER.replace("\tm\t", "\tinch\t"), "line 3: unit 'inch', there are m, cm, mm"),
        (HEADER.replace("60\t60\t2\t1", "60\t60\t2\t3"), "line 4: 1 markers, not 3"),
        (HEADER.replace("60\t60\t2\t1", "x\t60\t2\t1"), "line 3: want a number as DataRate"),
        (HEADER.replace("60\t60\t2\t1", "0\t60\t2\t1"), "line 3: want a positive DataRate"),
        (HEADER + "1\t0.0\t1\t2\t3\n", "1 frames, not 2"),
        (HEADER + "1\t0.0\t1\tx\t3\n", "line 7: could not convert string to float: 'x'"),
        (HEADER + "1\t\t1\t2\t3\n", "line 7: want a number of the frame, and its time"),
    ],
)
def test_damaged_markers_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.trc").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.trc.*{sentence}"):
        pose2sim.read_trc(tmp_path / "a.trc")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    for arguments, sentence in (
        ((["a"], np.zeros((1, 2, 3)), 60.0), r"want \(frames, 1, 3\), got \(1, 2, 3\)"),
        ((["a", "a"], np.zeros((1, 2, 3)), 60.0), "names of markers repeat"),
        ((["a\t"], np.zeros((1, 1, 3)), 60.0), "names of markers repeat, or cannot be written"),
        ((["a"], np.zeros((1, 1, 3)), 0.0), "the rate must be positive"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pose2sim.write_trc(path, *arguments)
    with pytest.raises(ValueError, match="unit 'inch'"):
        pose2sim.write_trc(path, ["a"], np.zeros((1, 1, 3)), 60.0, unit="inch")
    with pytest.raises(ValueError, match="1 frames, but times"):
        pose2sim.write_trc(path, ["a"], np.zeros((1, 1, 3)), 60.0, times_s=[0, 1])
    assert not path.exists()


def people(*values: float, joints: int = 25) -> dict:
    return {
        "people": [{"pose_keypoints_2d": [value, 2 * value, 0.5] * joints} for value in values]
    }


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Two cameras, frames 7 to 9, of which the second camera lost one; nobody in another."""
    camera = PinholeCamera.looking_at([4, 0, 1], [0, 0, 1], 1000.0, (640, 480))
    (tmp_path / "calibration").mkdir()
    calibration_files.write(
        {"a": camera, "b": camera}, tmp_path / "calibration" / "c.toml", "pose2sim"
    )
    trial = tmp_path / "someone" / "walk"
    for name, frames in (("cam1", (7, 8, 9)), ("cam2", (7, 9))):
        folder = trial / "pose" / f"{name}_json"
        folder.mkdir(parents=True)
        for frame in frames:
            found = people(100.0 + frame, 300.0) if frame < 9 else people()
            text = json.dumps(found)
            (folder / f"{name}_{frame:012d}_keypoints.json").write_text(text)
    return trial


def test_openpose_s_files(session: Path) -> None:
    recording = pose2sim.load(session, rate_hz=50.0, skeleton="body25")
    first, second = recording.views
    assert (recording.subject, first.name, recording.skeleton) == ("someone", "cam1", "body25")
    assert_close(first.stamps_s, [0.14, 0.16, 0.18])
    assert_close(second.stamps_s, [0.14, 0.18])
    assert_close(first.keypoints_px[1], np.tile(np.float32([108, 216]), (25, 1)))
    assert_close(first.confidence[:, 3], np.float32([0.5, 0.5, 0]))
    assert np.isnan(second.keypoints_px[1]).all()
    other = pose2sim.load(session, rate_hz=50.0, skeleton="body25b", person=1)
    assert_close(other.views[0].keypoints_px[0, 4], np.float32([300, 600]))


def test_scores_are_a_detector_s(session: Path) -> None:
    """Above 1 is 1, as some of RTMPose's are; not stated is sure; 0 and less were not found."""
    found = people(100.0)
    scores = [1.03, np.nan, 0.0, -0.1, 0.3]
    for joint, score in enumerate(scores):
        found["people"][0]["pose_keypoints_2d"][3 * joint + 2] = score
    (session / "pose" / "cam1_json" / "cam1_000000000007_keypoints.json").write_text(
        json.dumps(found)
    )
    view = pose2sim.load(session, rate_hz=50.0, skeleton="body25").views[0]
    assert_close(view.confidence[0, :6], np.float32([1, 1, 0, 0, 0.3, 0.5]))
    assert np.flatnonzero(np.isnan(view.keypoints_px[0, :, 0])).tolist() == [2, 3]


def test_another_skeleton_than_the_files_is_refused(session: Path, tmp_path: Path) -> None:
    """By what the archive says, and by the number of joints."""
    with pytest.raises(ValueError, match="walk: keypoints of 25 joints, not of the 26 of halpe26"):
        pose2sim.load(session, rate_hz=50.0, skeleton="halpe26")
    np.savez(
        session / "pose.npz",
        keypoints=np.ones((2, 1, 1, 25, 3)),
        cams=np.array(["cam1", "cam2"]),
        model=np.array("OpenPose BODY_25B"),
    )
    assert pose2sim.load(session, rate_hz=50.0).skeleton == "body25b"
    assert pose2sim.load(session, rate_hz=50.0, skeleton="body25b").skeleton == "body25b"
    with pytest.raises(ValueError, match="walk: keypoints of body25b, not of body25"):
        pose2sim.load(session, rate_hz=50.0, skeleton="body25")


def test_files_of_rtmpose_say_whose_joints_they_are(session: Path) -> None:
    """26 joints are Halpe's; a camera that never found anybody has as many."""
    for path in sorted((session / "pose").glob("*/*.json")):
        path.write_text(json.dumps(people(100.0, joints=26)))
    for path in (session / "pose" / "cam2_json").iterdir():
        path.write_text('{"people": [{"pose_keypoints_2d": []}]}')
    recording = pose2sim.load(session, rate_hz=50.0)
    assert recording.skeleton == "halpe26"
    assert_close(recording.views[0].keypoints_px, np.tile(np.float32([100, 200]), (3, 26, 1)))
    assert np.isnan(recording.views[1].keypoints_px).all()
    assert recording.views[1].keypoints_px.shape == (2, 26, 2)
    names = pose2sim.marker_names(HALPE26)
    assert names[17:20] == ("Head", "Neck", "Hip") and names[25] == "RHeel"
    (session / "pose" / "cam2_json" / path.name).write_text(json.dumps(people(1.0)))
    with pytest.raises(ValueError, match=r"different numbers of joints: 26 in .*, 25 in .*cam2"):
        pose2sim.load(session, rate_hz=50.0)


def test_what_files_do_not_say_is_asked_for(session: Path) -> None:
    with pytest.raises(
        ValueError, match="say whose joints these are: body25 or body25b or halpe26, got None"
    ):
        pose2sim.load(session, rate_hz=50.0)
    with pytest.raises(ValueError, match="say how many frames per second"):
        pose2sim.load(session, skeleton="body25")
    with pytest.raises(FileNotFoundError, match="no keypoints in pose-associated"):
        pose2sim.load(session, kind="pose-associated")
    with pytest.raises(ValueError, match="the rate must be positive"):
        pose2sim.load(session, rate_hz=0.0, skeleton="body25")


def test_calibration_belongs_to_the_cameras(session: Path, tmp_path: Path) -> None:
    camera = PinholeCamera.looking_at([4, 0, 1], [0, 0, 1], 1000.0, (640, 480))
    other = tmp_path / "other.toml"
    calibration_files.write({"a": camera}, other, "pose2sim")
    with pytest.raises(ValueError, match=r"keypoints of 2 cameras, but .*other\.toml has 1"):
        pose2sim.load(session, calibration=other, rate_hz=50.0, skeleton="body25")
    # By name: in the order of their names cam10 would come before cam2.
    cameras = {
        f"Cam_{number:02}": PinholeCamera.looking_at([4, number, 1], [0, 0, 1], 1e3, (640, 480))
        for number in (1, 2, 10)
    }
    calibration_files.write(cameras, other, "pose2sim")
    (tmp_path / "trial").mkdir()
    names = np.array(["cam1", "cam2", "cam10"])
    np.savez(tmp_path / "trial" / "pose.npz", keypoints=np.ones((3, 2, 1, 26, 3)), cams=names)
    found = pose2sim.load(tmp_path / "trial", calibration=other, rate_hz=50.0)
    assert {view.name: round(view.camera.position_m[1]) for view in found.views} == {
        "cam1": 1,
        "cam10": 10,
        "cam2": 2,
    }
    (tmp_path / "calibration" / "d.toml").write_text("")
    with pytest.raises(ValueError, match=r"calibrations .*c\.toml, .*d\.toml; say which"):
        pose2sim.load(session, rate_hz=50.0, skeleton="body25")
    for path in (tmp_path / "calibration").iterdir():
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no \*alib\*/\*\.toml here or in 2 folders above"
    ):
        pose2sim.load(session, rate_hz=50.0, skeleton="body25")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a_7.json", "[]", "not OpenPose's file of people"),
        ("a_7.json", '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "want x, y and score of 25"),
        ("a_7.json", '{"people": [{"pose_keypoints_2d": "x"}]}', "not OpenPose's file of people"),
        ("a_7.json", "\x00", "no JSON file"),
        ("a_b.json", '{"people": []}', "does not end in the number of a frame"),
        ("b_0007.json", '{"people": []}', "a second file of frame 7"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    folder = tmp_path / "pose" / "cam1_json"
    folder.mkdir(parents=True)
    (folder / "a_0007.json").write_text('{"people": []}')
    if name == "a_7.json":
        (folder / "a_0007.json").unlink()
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=sentence):
        pose2sim.read_detections(tmp_path / "pose")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pose.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"pose\.npz: damaged, or no \.npz file"):
        pose2sim.read_detections(tmp_path / "pose")
    np.savez(tmp_path / "pose.npz", keypoints=np.zeros((2, 1, 1, 25, 3)), cams=np.array(["a"]))
    with pytest.raises(
        ValueError, match=r"want keypoints \(1, frames, people, 25 or 26, 3\), got \(2"
    ):
        pose2sim.read_detections(tmp_path / "pose")
    with pytest.raises(FileNotFoundError, match=r"no other\.npz, and no folder of a camera"):
        pose2sim.read_detections(tmp_path / "other")
