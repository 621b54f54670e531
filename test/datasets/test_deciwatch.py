"""DeciWatch's files, written here in their layout."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import deciwatch
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.skeleton.definitions import H36M17, JHMDB15
from radar_pose_ros.skeleton.mapping import DECIWATCH_17_TO_14

# hip, lhip, lknee, lankle, rhip, rknee, rankle, spine, neck, head, headtop, larm, rarm
DECIWATCH17 = [
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")),
    "spine",
    "thorax",
    "nose",
    "head",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")),
]


def ragged(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def people():
    """Two sequences in H36M17, relative to the root, in a camera's axes: y down, z forward."""
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], np.float32)
    tracks = [simulate_sequence(n, 4.0 + n, 50.0, "train").joints_m for n in range(2)]
    return [(track - track[:, :1]) @ axes for track in tracks]


def images(tracks):
    return [
        [f"S{9 + 2 * n}_Walking.543{n}_{k:06d}.jpg" for k in range(1, len(track) + 1)]
        for n, track in enumerate(tracks)
    ]


def write(path, tracks, order=None, names=None, unit=1.0):
    flat = [
        (track if order is None else track[:, order]).reshape(len(track), -1) * unit
        for track in tracks
    ]
    np.savez(path, imgname=ragged(names or images(tracks)), joints_3d=ragged(flat))


LEFT_FIRST = [H36M17.index(name) for name in DECIWATCH17]


@pytest.mark.parametrize("order", [LEFT_FIRST, None], ids=["left leg first", "right leg first"])
def test_either_order_of_the_legs_is_recognised(tmp_path, order):
    tracks = people()
    write(tmp_path / "h36m_gt_test.npz", tracks, order)
    sequences = deciwatch.load(tmp_path / "h36m_gt_test.npz", "h36m")
    assert [(s.name, s.subject) for s in sequences] == [
        ("S9_Walking.5430", "S9"),
        ("S11_Walking.5431", "S11"),
    ]
    for sequence, track in zip(sequences, tracks, strict=True):
        assert sequence.rate_hz == 50 and sequence.skeleton == "h36m17"
        assert_close(sequence.joints_m, track)


def test_fourteen_joints(tmp_path):
    tracks = [track[:, LEFT_FIRST][:, list(DECIWATCH_17_TO_14)] for track in people()]
    write(tmp_path / "aist.npz", tracks, names=[["a/000.png"] * 200, ["b/000.png"] * 250])
    first, second = deciwatch.load(tmp_path / "aist.npz", "aist")
    assert (first.skeleton, first.rate_hz) == ("lsp14", 60.0)
    assert (first.name, second.subject) == ("a", "b")
    assert_close(second.joints_m, tracks[1])


def test_pairs(tmp_path):
    tracks = people()
    noisy = [track + 0.01 for track in tracks]
    write(tmp_path / "gt.npz", tracks, LEFT_FIRST)
    write(tmp_path / "fcn.npz", noisy, LEFT_FIRST)
    pairs = deciwatch.load_pairs(tmp_path / "gt.npz", tmp_path / "fcn.npz", "h36m")
    for detected, true in pairs:
        assert detected.name == true.name
        assert_close(detected.joints_m, true.joints_m + np.float32(0.01))
    write(tmp_path / "fcn.npz", noisy[::-1], LEFT_FIRST)
    with pytest.raises(ValueError, match=r"fcn\.npz does not hold the sequences of .*gt\.npz"):
        deciwatch.load_pairs(tmp_path / "gt.npz", tmp_path / "fcn.npz", "h36m")


def test_millimetres_are_noticed(tmp_path):
    tracks = people()
    path = tmp_path / "gt.npz"
    write(path, tracks, LEFT_FIRST, unit=1000.0)
    with pytest.raises(ValueError, match=r"thighs of \d{3}\.\d m; if the file is not in metres"):
        deciwatch.load(path, "h36m")
    sequences = deciwatch.load(path, "h36m", metres_per_unit=0.001)
    np.testing.assert_allclose(sequences[0].joints_m, tracks[0], atol=1e-6)


def test_wrong_files_are_named(tmp_path):
    path = tmp_path / "gt.npz"
    tracks = people()
    with pytest.raises(ValueError, match=r"unknown data set 'h3\.6m', there are h36m, 3dpw, aist"):
        deciwatch.load(path, "h3.6m")
    write(path, [track[:, H36M17.mirrored()] for track in tracks])
    with pytest.raises(ValueError, match=r"gt\.npz: knees bend"):
        deciwatch.load(path, "h36m")
    write(path, [tracks[0], tracks[1][:, :14]])
    with pytest.raises(ValueError, match=r"S11_Walking\.5431: want \(frames, 51\)"):
        deciwatch.load(path, "h36m")
    write(path, tracks, names=[images(tracks)[0], ["x.jpg"]])
    with pytest.raises(ValueError, match=r"x\.jpg: 250 poses of 1 images"):
        deciwatch.load(path, "h36m")
    write(path, tracks, names=images(tracks)[:1])
    with pytest.raises(ValueError, match="2 sequences, but image names of 1"):
        deciwatch.load(path, "h36m")
    np.savez(path, imgname=ragged([["a"], ["b"]]), pose=ragged([1, 2]))
    with pytest.raises(ValueError, match="no array joints_3d, only imgname, pose"):
        deciwatch.load(path, "h36m")
    for names, joints, sentence in (
        ([3, 4], tracks, "imgname of sequence 0 wants one entry for each frame"),
        ([["a.jpg"], ["b.jpg"]], [None, 1.0], "joints_3d of sequence 0 wants one entry"),
        (
            [["a.jpg"], ["b.jpg"]],
            [["x"], ["y"]],
            "a: joints_3d: want an array of numbers, got <U1",
        ),
    ):
        np.savez(path, imgname=ragged(names), joints_3d=ragged(joints))
        with pytest.raises(ValueError, match=rf"gt\.npz: {sentence}"):
            deciwatch.load(path, "h36m")
    np.savez(path, imgname={"a": 1}, joints_3d=np.zeros((1, 5, 51)))
    with pytest.raises(ValueError, match=r"gt\.npz: imgname wants one entry for each sequence"):
        deciwatch.load(path, "h36m")
    path.write_bytes(path.read_bytes()[:-30])
    for load in (deciwatch.load, deciwatch.load_rotations):
        with pytest.raises(ValueError, match=r"gt\.npz: damaged, or no \.npz file: "):
            load(path, "h36m")


def write_rotations(path, poses, **more):
    names = [[f"clip_{n}/image_{k:05d}.jpg" for k in range(len(p))] for n, p in enumerate(poses)]
    np.savez(path, imgname=ragged(names), pose=ragged(poses), **more)


def turned(frames):
    """Nobody turns anything, but the left knee is bent by a right angle about x."""
    pose = np.zeros((frames, 72))
    pose[:, 3 * 4] = np.pi / 2
    return pose


def test_rotations(tmp_path):
    path = tmp_path / "3dpw_gt_test.npz"
    poses = [turned(3), turned(5)]
    poses[1][2, 3:6] = np.nan
    write_rotations(path, poses, shape=ragged([np.zeros((3, 10)), np.zeros((5, 10))]))
    first, second = deciwatch.load_rotations(path, "3dpw")
    assert (first.name, second.subject, first.rate_hz) == ("clip_0/image", "clip_1/image", 30.0)
    assert first.rotations.shape == (3, 24, 6) and first.rotations.dtype == np.float32
    assert_close(first.rotations[1, 0], [1.0, 0, 0, 0, 1, 0])
    # about x by 90 degrees y becomes z: the second column
    assert_close(first.rotations[1, 4], [1.0, 0, 0, 0, 0, 1])
    unknown = np.isnan(second.rotations)
    assert unknown[2, 1].all() and unknown.sum() == 6


def test_pairs_of_rotations(tmp_path):
    write_rotations(tmp_path / "gt.npz", [turned(3), turned(5)])
    write_rotations(tmp_path / "pare.npz", [0 * turned(3), turned(5)])
    pairs = deciwatch.load_rotation_pairs(tmp_path / "gt.npz", tmp_path / "pare.npz", "3dpw")
    detected, true = pairs[0]
    assert_close(true.rotations[0, 4], [1.0, 0, 0, 0, 0, 1])
    assert_close(detected.rotations[0, 4], [1.0, 0, 0, 0, 1, 0])
    write_rotations(tmp_path / "pare.npz", [turned(3), turned(4)])
    with pytest.raises(ValueError, match=r"pare\.npz does not hold the sequences of .*gt\.npz"):
        deciwatch.load_rotation_pairs(tmp_path / "gt.npz", tmp_path / "pare.npz", "3dpw")


@pytest.mark.parametrize(
    ("pose", "sentence"),
    [
        (np.zeros((3, 216)), r"axis and angle of 24 joints, \(frames, 72\), got \(3, 216\)"),
        (np.zeros((3, 24, 3)), r"got \(3, 24, 3\)"),
        (np.full((3, 72), 20.0), r"turned by 34\.64 or more, which is no angle in radians"),
        (np.full((3, 72), np.inf), "an angle is infinite"),
        (np.full((3, 72), "x"), "pose: want an array of numbers, got <U1"),
    ],
)
def test_other_rotations_are_refused(tmp_path, pose, sentence):
    path = tmp_path / "gt.npz"
    write_rotations(path, [turned(2), pose])
    with pytest.raises(ValueError, match=rf"gt\.npz: clip_1/image: .*{sentence}"):
        deciwatch.load_rotations(path, "aist")
    with pytest.raises(ValueError, match="unknown data set 'pw3d'"):
        deciwatch.load_rotations(path, "pw3d")
    write(path, people())
    with pytest.raises(ValueError, match=r"gt\.npz: no array pose, only imgname, joints_3d"):
        deciwatch.load_rotations(path, "3dpw")


def test_joints_in_the_image(tmp_path):
    keypoints = [np.arange(n * 30, dtype=np.float32).reshape(n, 30) for n in (3, 5)]
    boxes = [np.tile([10.0, 20, 110, 220], (n, 1)) for n in (3, 5)]
    names = [[f"catch/{k:05d}.png" for k in range(n)] for n in (3, 5)]
    path = tmp_path / "jhmdb_gt_test.npz"
    shapes = [np.array([240, 320, 3]), np.tile([240, 320, 3], (5, 1))]
    np.savez(
        path,
        imgname=ragged(names),
        joints_2d=ragged(keypoints),
        imgshape=ragged(shapes),
        bbox=ragged(boxes),
    )
    first, second = deciwatch.load_images(path)
    assert first.name == "catch" and first.size_px == second.size_px == (320, 240)
    assert second.keypoints_px.shape == (5, len(JHMDB15.joints), 2)
    assert_close(second.keypoints_px[1, JHMDB15.index("face")], [34.0, 35.0])
    assert_close(first.boxes_px, boxes[0].astype(np.float32))
    # a detector's file says neither
    np.savez(path, imgname=ragged(names), joints_2d=ragged(keypoints))
    bare = deciwatch.load_images(path)[0]
    assert bare.size_px == (0, 0) and np.isnan(bare.boxes_px).all()
    np.savez(path, imgname=ragged(names), joints_2d=ragged(keypoints), bbox=ragged(boxes[::-1]))
    with pytest.raises(ValueError, match="catch: 3 frames, but 5 boxes"):
        deciwatch.load_images(path)
    np.savez(path, imgname=ragged(names), joints_2d=ragged([k[:, :28] for k in keypoints]))
    with pytest.raises(ValueError, match=r"catch: want \(frames, 30\), got \(3, 28\)"):
        deciwatch.load_images(path)
    for more, sentence in (
        (
            {"bbox": ragged([b.reshape(-1, 2) for b in boxes])},
            r"want boxes \(frames, 4\), got \(6",
        ),
        ({"bbox": ragged(boxes[:1])}, "bbox is not of the 2 sequences"),
        ({"imgshape": ragged(["a", "b"])}, "imgshape: want an array of numbers"),
        (
            {"imgshape": ragged([np.array([0, 320])] * 2)},
            r"one height and width .*, got \[  0 320",
        ),
        (
            {"imgshape": ragged([np.array([[240, 320], [320, 240], [240, 320]])] * 2)},
            r"want one height and width for all frames, got \[240 240\] to \[320 320\]",
        ),
    ):
        np.savez(path, imgname=ragged(names), joints_2d=ragged(keypoints), **more)
        with pytest.raises(ValueError, match=rf"jhmdb_gt_test\.npz: .*{sentence}"):
            deciwatch.load_images(path)
