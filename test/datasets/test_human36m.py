"""VideoPose3D's files of Human3.6M, written here in their layout."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation
from tolerances import assert_close

from radar_pose_ros.datasets import human36m
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.skeleton.definitions import H36M17

KEPT = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def recorded(number: int, mirrored: bool = False) -> np.ndarray:
    """32 joints of a simulated person; what is not kept is far away."""
    joints = simulate_sequence(number, 4.0, 50.0, "train").joints_m
    everything = np.full((len(joints), 32, 3), 99.0, np.float32)
    everything[:, KEPT] = joints[:, H36M17.mirrored()] if mirrored else joints
    return everything


def write_3d(path, people):
    np.savez_compressed(path, positions_3d=people)


PEOPLE = {
    "S1": {"Walking": recorded(0), "Sitting 2": recorded(1)[:120]},
    "S9": {"Walking 1": recorded(2)},
}
CAMERA = {
    "size_px": [1000, 1002],
    "focal_px": [1100.0, 1101.0],
    "centre_px": [510.0, 490.0],
    "orientation": [0.5, -0.5, 0.5, -0.5],  # z along the world's x, x along -y, y along -z
    "position_m": [-3.0, 0.0, 1.0],
}


def test_joints(tmp_path):
    write_3d(tmp_path / "data_3d_h36m.npz", PEOPLE)
    sequences = human36m.load(tmp_path / "data_3d_h36m.npz")
    assert [(s.name, s.subject, s.action) for s in sequences] == [
        ("S1 Walking", "S1", "Walking"),
        ("S1 Sitting 2", "S1", "Sitting"),
        ("S9 Walking 1", "S9", "Walking"),
    ]
    assert sequences[0].rate_hz == 50 and sequences[0].skeleton == "h36m17"
    assert_close(sequences[1].joints_m, PEOPLE["S1"]["Sitting 2"][:, KEPT])
    (only,) = human36m.load(tmp_path / "data_3d_h36m.npz", ["S9"])
    assert only.subject == "S9"
    with pytest.raises(ValueError, match="no subject S11, there are S1, S9"):
        human36m.load(tmp_path / "data_3d_h36m.npz", human36m.TEST_SUBJECTS)


def test_exchanged_sides_and_other_layouts_are_refused(tmp_path):
    path = tmp_path / "data_3d_h36m.npz"
    write_3d(path, {"S1": {"Walking": recorded(0, mirrored=True)}})
    with pytest.raises(ValueError, match=r"data_3d_h36m\.npz: knees bend"):
        human36m.load(path)
    write_3d(path, {"S1": {"Walking": recorded(0)[:, :17]}})
    with pytest.raises(ValueError, match=r"S1, Walking: want \(frames, 32, 3\), got \(200, 17"):
        human36m.load(path)
    np.savez(path, joints=np.zeros(3))
    with pytest.raises(ValueError, match=r"no dictionary positions_3d\[subject\]\[action\]"):
        human36m.load(path)


def test_cameras_see_what_opencv_s_convention_says(tmp_path):
    path = tmp_path / "cameras.yaml"
    lens = {**CAMERA, "distortion": [-0.2, 0.2, 0.001, -0.002, 0.01]}
    path.write_text(yaml.safe_dump({"S1": [CAMERA, lens]}))
    plain, bent = human36m.load_cameras(path)["S1"]
    # 3 m before the camera, 0.5 m to the left of its axis, 0.2 m above it
    assert_close(plain.to_camera([0.0, 0.5, 1.2]), [-0.5, -0.2, 3.0])
    assert_close(plain.project([0.0, 0.0, 1.0]), [510.0, 490.0])
    assert_close(plain.project([0.0, 0.5, 1.2]), [510 - 1100 / 6, 490 - 1101 / 15])
    assert bent.distortion == (-0.2, 0.2, 0.001, -0.002, 0.01)
    assert plain.size_px == (1000, 1002)


def test_the_quaternion_turns_the_camera_into_the_world(tmp_path):
    """World to camera is the inverse rotation of point minus position."""
    turn = Rotation.random(random_state=3)
    x, y, z, w = turn.as_quat().tolist()
    entries = {**CAMERA, "orientation": [w, x, y, z], "position_m": [1.0, 2.0, 3.0]}
    (tmp_path / "cameras.yaml").write_text(yaml.safe_dump({"S1": [entries]}))
    (camera,) = human36m.load_cameras(tmp_path / "cameras.yaml")["S1"]
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert_close(camera.to_camera(points), turn.inv().apply(points - [1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"focal_px": [1100.0]}, r"S1, camera 0: focal_px wants 2 numbers, got \[1100\.0\]"),
        ({"focal_px": "wide"}, "focal_px wants 2 numbers, got wide"),
        ({"orientation": [1, 1, 0, 0]}, "orientation is no unit quaternion"),
        ({"zoom": 2}, "missing or not known: zoom"),
    ],
)
def test_wrong_cameras_are_named(tmp_path, change, sentence):
    (tmp_path / "cameras.yaml").write_text(yaml.safe_dump({"S1": [{**CAMERA, **change}]}))
    with pytest.raises(ValueError, match=sentence):
        human36m.load_cameras(tmp_path / "cameras.yaml")


def test_files_that_are_no_cameras(tmp_path):
    for text in ("S1: 3", "- 1", "{", ""):
        (tmp_path / "cameras.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"cameras\.yaml: "):
            human36m.load_cameras(tmp_path / "cameras.yaml")


def test_views_pair_keypoints_with_joints(tmp_path):
    write_3d(tmp_path / "data_3d_h36m.npz", PEOPLE)
    detected = {
        subject: {
            take: [np.full((len(joints) + 4, 17, 2), 10.0 * number) for number in range(2)]
            for take, joints in takes.items()
        }
        for subject, takes in PEOPLE.items()
    }
    details = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5], [1, 2]]}
    np.savez_compressed(tmp_path / "data_2d_h36m_cpn.npz", positions_2d=detected, metadata=details)
    sequences = human36m.load(tmp_path / "data_3d_h36m.npz")
    keypoints = human36m.load_keypoints(tmp_path / "data_2d_h36m_cpn.npz")
    assert keypoints.keys() == {"S1 Walking", "S1 Sitting 2", "S9 Walking 1"}
    camera = PinholeCamera.looking_at([-3, 0, 1], [2, 0, 1], 1100.0, (1000, 1000))
    cameras = {"S1": [camera] * 2, "S9": [camera] * 2}
    made = human36m.views(sequences, cameras, keypoints)
    assert [v.name for v in made[:3]] == [
        "S1 Walking@camera0",
        "S1 Walking@camera1",
        "S1 Sitting 2@camera0",
    ]
    assert made[3].keypoints_px.shape == (120, 17, 2) and (made[3].keypoints_px == 10).all()
    projected = human36m.views(sequences, cameras)
    assert_close(
        projected[2].keypoints_px, camera.project(sequences[1].joints_m).astype(np.float32)
    )
    with pytest.raises(ValueError, match="S9 Walking 1: no cameras of S9"):
        human36m.views(sequences, {"S1": [camera] * 2})
    with pytest.raises(ValueError, match="S1 Walking: 1 cameras, but keypoints of 2"):
        human36m.views(sequences, {"S1": [camera]}, keypoints)
    del keypoints["S9 Walking 1"]
    with pytest.raises(ValueError, match="S9 Walking 1: no keypoints"):
        human36m.views(sequences, cameras, keypoints)


def test_the_one_file_of_detections(tmp_path):
    assert human36m.detections(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="there are keypoints of nobody"):
        human36m.detections(tmp_path, "gt")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        human36m.detections(tmp_path / "nowhere")
    first, second = (tmp_path / f"data_2d_h36m_{name}.npz" for name in ("cpn_ft", "gt"))
    first.touch()
    assert human36m.detections(tmp_path) == human36m.detections(tmp_path, "cpn_ft") == first
    second.touch()
    assert human36m.detections(str(tmp_path), "gt") == second
    with pytest.raises(ValueError, match=r"keypoints of cpn_ft, gt; say of which"):
        human36m.detections(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no data_2d_h36m_sh\.npz, .* of cpn_ft, gt"):
        human36m.detections(tmp_path, "sh")


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "data_3d_h36m.npz"
    write_3d(path, {"S1": {"Walking": np.zeros((2, 32, 3))}})
    path.write_bytes(path.read_bytes()[:-30])
    for load in (human36m.load, human36m.load_keypoints):
        with pytest.raises(ValueError, match=r"data_3d_h36m\.npz: damaged, or no \.npz file: "):
            load(path)
    for people, sentence in (
        ({"S1": {"Walking": [["a"]]}}, r"S1, Walking: want an array of numbers, got <U1"),
        ({"S1": {"Walking": [[1.0], [1.0, 2.0]]}}, "S1, Walking: want an array of numbers"),
        ({"S1": {"Walking": [None, 2.0]}}, "S1, Walking: want an array of numbers"),
        ({1: {"Walking": 0}}, r"no dictionary positions_3d\[subject\]\[action\]"),
        ({"S1": {2: 0}}, r"no dictionary positions_3d\[subject\]\[action\]"),
    ):
        write_3d(path, people)
        with pytest.raises(ValueError, match=rf"data_3d_h36m\.npz: {sentence}"):
            human36m.load(path)
    np.savez(path, positions_2d={"S1": {"Walking": 3}})
    with pytest.raises(ValueError, match="S1, Walking: want an array for each camera"):
        human36m.load_keypoints(path)
    (tmp_path / "cameras.yaml").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ValueError, match=r"cameras\.yaml: "):
        human36m.load_cameras(tmp_path / "cameras.yaml")


def test_keypoints_of_another_layout_are_refused(tmp_path):
    path = tmp_path / "data_2d_h36m_gt.npz"
    np.savez(path, positions_2d={"S1": {"Walking": [np.zeros((5, 16, 2))]}})
    with pytest.raises(ValueError, match=r"S1, Walking, camera 0: want \(frames, 17, 2\), got"):
        human36m.load_keypoints(path)
