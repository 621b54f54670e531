"""MARS's points: axes, gaps, parts and what is refused, in tiny and in the published files."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import kinect, mars
from radar_pose_ros.skeleton.definitions import KINECT25

COUNTS = (2, 0, 1, 3, 1, 1)


def write(path, **changes):
    """Two movements of subject 7; the radar lost one frame of the second."""
    joints = np.arange(6 * 25 * 3, dtype=np.float32).reshape(6, 25, 3)
    joints[1] = np.nan
    points = np.arange(8 * 5, dtype=np.float32).reshape(8, 5)
    points[:, 4] = [1, 10, 100, 1000, 0, np.nan, 1, 1]
    arrays = {
        "points": points,
        "points_cols": np.array(["x_m", "y_depth_m", "z_up_m", "doppler_mps", "intensity"]),
        "points_per_frame": np.array(COUNTS, np.uint16),
        "kinect_joints_m": joints,
        "joint_names": np.array(kinect.JOINT_NAMES),
        "movement": np.array([1, 1, 1, 2, 2, 2], np.uint8),
        "radar_frame": np.array([8, 9, 10, 100, 101, 103], np.int32),
    }
    np.savez(path, **{**arrays, **changes})
    return points, joints


def test_points_stand_beside_joints_in_the_rig_s_axes(tmp_path):
    points, joints = write(tmp_path / "mars_subject7.npz")
    first, second = mars.load_points(tmp_path / "mars_subject7.npz")
    assert (first.name, first.subject, first.action) == ("mars7_01", "mars7", "movement 1")
    assert (first.rate_hz, len(first), len(second)) == (10.0, 3, 4)
    assert [len(second.cloud(k)) for k in range(4)] == [3, 1, 0, 1]  # one was lost
    x, y, z, doppler, _ = points[7]
    assert_close(second.cloud(3), [[y, -x, z, doppler, 0.0]])
    assert_close(first.points[:, 4], [0.0, 10.0, 20.0])  # dB
    assert_close(second.points[:, 4], [30.0, np.nan, np.nan, 0.0, 0.0])
    x, y, z = joints[5, kinect.JOINT_NAMES.index("KneeRight")]
    assert_close(second.joints_m[3, KINECT25.index("right_knee")], [y, -x, z])
    assert np.isnan(first.joints_m[1]).all() and np.isnan(second.joints_m[2]).all()


def test_joints_may_come_in_any_order(tmp_path):
    path = tmp_path / "mars_subject7.npz"
    _, joints = write(path)
    expected = mars.load_points(path)[0].joints_m
    write(path, joint_names=np.array(kinect.JOINT_NAMES[::-1]), kinect_joints_m=joints[:, ::-1])
    assert_close(mars.load_points(path)[0].joints_m, expected)


def test_parts_are_those_of_the_published_split(tmp_path):
    """Of 7 rows: ceil(4.2) = 5, ceil(1.4) = 2, nothing left; of 11: 7, 3, 1; no lost frames."""
    path = tmp_path / "mars_subject7.npz"
    rows = 18
    write(
        path,
        points=np.ones((rows, 5), np.float32),
        points_per_frame=np.ones(rows, int),
        kinect_joints_m=np.zeros((rows, 25, 3), np.float32),
        movement=np.array([1] * 7 + [2] * 11),
        radar_frame=np.array([*range(7), *range(10), 11]),
    )
    first, second = mars.load_points(path)
    assert first.parts.tolist() == [0] * 5 + [1] * 2
    assert second.parts.tolist() == [0] * 7 + [1] * 3 + [-1, 2]
    validation = second.part("validation")
    assert len(validation) == 3 and validation.first.tolist() == [0, 1, 2, 3]
    assert len(second.part("test")) == 1


def test_a_stretch_of_frames_keeps_its_own_points(tmp_path):
    write(tmp_path / "mars_subject7.npz")
    whole = mars.load_points(tmp_path / "mars_subject7.npz")[1]
    stretch = whole.between(1, 4)
    for frame in range(3):
        assert_close(stretch.cloud(frame), whole.cloud(frame + 1))
    assert_close(stretch.joints_m, whole.joints_m[1:])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"points_cols": np.array(["x_m"])}, "points_cols must be x_m, y_depth_m, z_up_m"),
        ({"points": np.zeros((8, 4))}, r"points wants \(points, 5\), got \(8, 4\)"),
        ({"points": np.full((8, 5), np.nan)}, "points: a place is not a finite number"),
        ({"points_per_frame": np.ones(5, int)}, "points_per_frame wants one whole number for eac"),
        (
            {"points_per_frame": np.array([-1, 9, 0, 0, 0, 0])},
            "points_per_frame wants one whole number",
        ),
        (
            {"points_per_frame": np.ones(6, int)},
            "points_per_frame counts 6 points, but there are 8",
        ),
        ({"joint_names": np.array("Head")}, "its joints are not the 25"),
        ({"movement": np.ones(5, int)}, "movement wants one whole number for each of 6 frames"),
    ],
)
def test_another_layout_is_refused(tmp_path, changes, sentence):
    path = tmp_path / "mars_subject7.npz"
    write(path, **changes)
    with pytest.raises(ValueError, match=rf"mars_subject7\.npz: {sentence}"):
        mars.load_points(path)


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"here: points .* do not belong together"):
        mars.PointSequence(
            "here",
            "mars7",
            "movement 1",
            points=np.zeros((3, 5), np.float32),
            first=np.array([0, 2]),
            joints_m=np.zeros((1, 25, 3), np.float32),
            parts=np.zeros(1, np.int8),
        )


def test_subjects_of_a_folder(tmp_path):
    for name in ("mars_subject10.npz", "mars_subject2.npz", "mars_subjectx.npz", "other.npz"):
        (tmp_path / name).touch()
    assert list(mars.files(tmp_path)) == [2, 10]
    with pytest.raises(ValueError, match=r"nowhere has no files mars_subject<number>\.npz"):
        mars.files(tmp_path / "nowhere")


def test_published_points(shared_data):
    found = mars.files(shared_data / "radar_points_mars")
    assert list(found) == [1, 3, 4]
    totals = {}
    for number, path in found.items():
        sequences = mars.load_points(path)
        totals[number] = sum(len(one.points) for one in sequences)
        for one, posed in zip(sequences, mars.load(path), strict=True):
            assert (one.name, len(one)) == (posed.name, len(posed.joints_m))
            # the radar sees the person whom the Kinect sees
            root_x = np.nanmedian(one.joints_m[:, KINECT25.root, 0])
            assert abs(np.median(one.points[:, 0]) - root_x) < 0.35
        left_arm, right_arm = (np.median(one.points[:, 1]) for one in sequences[:2])
        assert left_arm < right_arm - 0.4  # who faces the radar has the left arm to its right
        published = np.load(path)
        parts = np.concatenate([one.parts[one.parts >= 0] for one in sequences])
        assert (parts == published["official_split"]).all()
    assert totals == {1: 394165, 3: 369596, 4: 265847}


def test_joints_stand_beside_the_points(shared_data):
    """0.17 m to the radar's right, in everybody, though movements are to both sides alike."""
    for path in mars.files(shared_data / "radar_points_mars").values():
        sequences = mars.load_points(path)[:8]
        points_y = np.mean([one.points[:, 1].mean() for one in sequences])
        root_y = np.mean([np.nanmean(one.joints_m[:, KINECT25.root, 1]) for one in sequences])
        assert root_y - points_y == pytest.approx(-0.17, abs=0.05)


def test_speeds_are_positive_away_from_the_radar(shared_data):
    """Points near a joint move as it does, as far as one can tell from a noisy radar."""
    pairs = []
    for one in mars.load_points(shared_data / "radar_points_mars" / "mars_subject3.npz"):
        radial = np.gradient(np.linalg.norm(one.joints_m, axis=-1), axis=0) * one.rate_hz
        for frame in range(5, len(one) - 5, 20):
            cloud = one.cloud(frame)
            apart = np.linalg.norm(cloud[:, None, :3] - one.joints_m[frame], axis=-1)
            near = apart.min(axis=1) < 0.3
            joint = apart.argmin(axis=1)[near]
            pairs.append(np.stack((cloud[near, 3], radial[frame, joint])))
    speeds = np.concatenate(pairs, axis=1)
    correlation = np.corrcoef(speeds[:, np.isfinite(speeds).all(axis=0)])[0, 1]
    assert 0.15 < correlation < 1
