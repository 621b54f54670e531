"""Triangulation: exact views, weights and covariance by hand, wrong views, a real recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pose2sim_selection
import pytest
from tolerances import assert_close

from radar_pose_ros.simulation.cameras import random_camera
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.triangulation import triangulate

# How OpenPose orders BODY_25B, by the names of Pose2Sim's markers.
# fmt: off
BODY_25B = [
    "Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow",
    "LWrist", "RWrist", "LHip", "RHip", "LKnee", "RKnee", "LAnkle", "RAnkle", "Neck", "Head",
    "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel",
]
# fmt: on


def rig(rng: np.random.Generator, views: int, lens: bool = True) -> list[PinholeCamera]:
    """Cameras around a person at the origin, with lenses that bend."""
    made = [random_camera(np.array([[0.0, 0.0, 1.0]]), rng) for _ in range(views)]
    bent = rng.normal(0.0, [0.1, 0.03, 1e-3, 1e-3, 1e-3], (views, 5)) * lens
    return [
        PinholeCamera(
            camera.focal_px,
            camera.centre_px,
            camera.size_px,
            camera.rotation,
            camera.position_m,
            tuple(coefficients.tolist()),
        )
        for camera, coefficients in zip(made, bent, strict=True)
    ]


def person(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Points where somebody could be."""
    return rng.uniform([-0.5, -0.5, 0.1], [0.5, 0.5, 1.8], (*shape, 3))


def side_by_side(base_m: float = 1.0, focal_px: float = 1000.0) -> list[PinholeCamera]:
    """Two cameras that look along z, the second to the right of the first."""
    return [
        PinholeCamera((focal_px,) * 2, (500.0,) * 2, (1000, 1000), np.eye(3), np.array([x, 0, 0]))
        for x in (0.0, base_m)
    ]


@pytest.mark.parametrize("views", [2, 3, 4, 6])
@pytest.mark.parametrize("steps", [0, 3])
def test_exact_views_give_exact_points(views: int, steps: int, rng: np.random.Generator) -> None:
    for _ in range(5):
        cameras, points = rig(rng, views), person(rng, 7, 17)
        pixels = np.stack([camera.project(points) for camera in cameras])
        found = triangulate(pixels, None, cameras, steps=steps)
        np.testing.assert_allclose(found.points_m, points, atol=1e-6)
        assert found.errors_px.shape == (views, 7, 17) and found.errors_px.max() < 1e-5
        assert found.used.all() and not found.suspect.any()


@pytest.mark.parametrize("steps", [0, 3])
def test_a_rig_far_from_the_world_s_origin(steps: int, rng: np.random.Generator) -> None:
    """5000 km, as a map has it: where float64 knows a nanometre, points are known as well."""
    far_m = np.array([5e6, -4e5, 30.0])
    cameras, points = rig(rng, 4), person(rng, 60)
    pixels = np.stack([camera.project(points) for camera in cameras])
    pixels += rng.normal(0.0, 2.0, pixels.shape)
    pixels[1, :20] += 200.0
    expected = triangulate(pixels, None, cameras, steps=steps)
    there = [replace(camera, position_m=camera.position_m + far_m) for camera in cameras]
    found = triangulate(pixels, None, there, steps=steps)
    np.testing.assert_allclose(found.points_m - far_m, expected.points_m, atol=1e-8)
    np.testing.assert_allclose(found.covariance_m2, expected.covariance_m2, rtol=1e-6)
    np.testing.assert_allclose(found.errors_px, expected.errors_px, atol=1e-5)
    np.testing.assert_array_equal(found.used, expected.used)
    assert not found.used[1, :20].any() and found.used.mean() > 0.9


def test_one_point_without_other_axes(rng: np.random.Generator) -> None:
    cameras = rig(rng, 3)
    found = triangulate([c.project([0.1, 0.2, 1.0]) for c in cameras], [1, 0.5, 0.2], cameras)
    np.testing.assert_allclose(found.points_m, [0.1, 0.2, 1.0], atol=1e-6)
    assert found.covariance_m2.shape == (3, 3) and found.used.all() and not found.suspect


def test_weights_as_by_hand() -> None:
    """Two cameras that agree on u and disagree on v by 10 px, one with twice the confidence.

    Both are at the same depth, so that errors count alike: v = (c1^2 v1 + c2^2 v2) / (c1^2 + c2^2)
    = (4 * 500 + 510) / 5 = 502 px, and y = 4 m * 2 px / 1000 px.
    """
    cameras = side_by_side()
    pixels = np.array([[625.0, 500.0], [375.0, 510.0]])  # x = 0.5 m, z = 4 m
    linear, found = (triangulate(pixels, [1.0, 0.5], cameras, steps=n) for n in (0, 5))
    np.testing.assert_allclose(found.points_m, [0.5, 0.008, 4.0], atol=1e-9)
    np.testing.assert_allclose(found.errors_px, [2.0, 8.0], atol=1e-6)
    # The linear equations count the errors by depth, too.
    np.testing.assert_allclose(linear.points_m, [0.5, 0.008, 4.0], atol=5e-4)


def test_covariance_as_by_hand() -> None:
    """In the middle between two cameras: sigma z = z^2 / (b f) sqrt(2) sigma, sigma y halves.

    u1 - u2 = f b / z has the variance 2 s^2; y = z v / f comes from two v.
    """
    cameras = side_by_side(base_m=1.0, focal_px=1000.0)
    point = np.array([0.5, 0.0, 4.0])
    pixels = np.stack([camera.project(point) for camera in cameras])
    found = triangulate(pixels, None, cameras, noise_px=2.0)
    spread_m = np.sqrt(np.diagonal(found.covariance_m2))
    z_m = 4.0**2 / 1000 * np.sqrt(2) * 2.0
    assert_close(spread_m[2], z_m)
    assert_close(spread_m[1], 4.0 / 1000 / np.sqrt(2) * 2.0)
    # Half the confidence of both is twice the standard deviation.
    half = triangulate(pixels, [0.5, 0.5], cameras, noise_px=2.0)
    assert_close(half.covariance_m2, 4 * found.covariance_m2)


def test_covariance_is_that_of_noise(rng: np.random.Generator) -> None:
    cameras, point = rig(rng, 4), np.array([0.1, -0.2, 1.2])
    confidence = np.array([1.0, 0.5, 1.0, 0.25])
    exact = np.stack([camera.project(point) for camera in cameras])[:, None]
    noise = rng.normal(size=(4, 4000, 2)) * (1.5 / confidence)[:, None, None]
    weights = np.broadcast_to(confidence[:, None], (4, 4000))
    found = triangulate(exact + noise, weights, cameras, threshold_px=np.inf, noise_px=1e-3)
    errors = found.points_m - point
    actual = errors.T @ errors / len(errors)
    said = found.covariance_m2.mean(axis=0)
    assert_close(said, said.T)
    np.testing.assert_allclose(said, actual, atol=0.1 * np.trace(actual) / 3)


def test_steps_make_the_errors_smallest(rng: np.random.Generator) -> None:
    """What is left after Gauss and Newton is at right angles to every move of the point."""
    cameras, points = rig(rng, 3, lens=False), person(rng, 40)
    pixels = np.stack([camera.project(points) for camera in cameras])
    pixels += rng.normal(0.0, 4.0, pixels.shape)
    linear, found = (
        triangulate(pixels, None, cameras, steps=steps, threshold_px=np.inf) for steps in (0, 6)
    )
    squares = [(one.errors_px**2).sum(axis=0) for one in (linear, found)]
    assert (squares[1] <= squares[0] * (1 + 1e-9)).all() and squares[1].sum() < squares[0].sum()
    for axis in np.eye(3):
        for sign in (-1e-3, 1e-3):
            moved = found.points_m + sign * axis
            there = np.stack([camera.project(moved) for camera in cameras])
            assert (((there - pixels) ** 2).sum((0, 2)) > squares[1]).all()


@pytest.mark.parametrize("views", [3, 4, 6])
def test_one_wrong_view_is_left_out(views: int, rng: np.random.Generator) -> None:
    cameras, points = rig(rng, views), person(rng, 60)
    pixels = np.stack([camera.project(points) for camera in cameras])
    wrong = rng.integers(views, size=60)
    away = rng.choice([-1.0, 1.0], (60, 2)) * rng.uniform(120.0, 300.0, (60, 2))
    pixels[wrong, np.arange(60)] += away
    found = triangulate(pixels, None, cameras)
    # With three views one may err along another's line: then two pairs agree equally well.
    errors_m = np.linalg.norm(found.points_m - points, axis=-1)
    right = errors_m < 1e-6
    assert right.mean() > 0.9 if views == 3 else right.all()
    assert (found.used.sum(0)[right] == views - 1).all() and not found.suspect[right].any()
    assert (~found.used[wrong, np.arange(60)][right]).all()
    assert (found.errors_px[wrong, np.arange(60)][right] > 30.0).all()
    # With all kept, the points are spoilt and said to be.
    spoilt = triangulate(pixels, None, cameras, threshold_px=np.inf)
    known = np.isfinite(spoilt.points_m).all(-1)  # some would be behind a camera
    assert np.median(np.linalg.norm(spoilt.points_m - points, axis=-1)[known]) > 0.02
    assert (spoilt.used == known).all() and known.mean() > 0.9


def test_two_wrong_views_of_five(rng: np.random.Generator) -> None:
    cameras, points = rig(rng, 5), person(rng, 30)
    pixels = np.stack([camera.project(points) for camera in cameras])
    pixels += rng.normal(0.0, 1.0, pixels.shape)
    pixels[1] += [150.0, -120.0]
    pixels[4] += [-90.0, 200.0]
    found = triangulate(pixels, None, cameras)
    assert np.linalg.norm(found.points_m - points, axis=-1).max() < 0.03
    assert found.used[[0, 2, 3]].all() and not found.used[[1, 4]].any()


def test_of_two_views_a_wrong_one_is_only_flagged() -> None:
    cameras = side_by_side()
    pixels = np.array([[[625.0, 500.0]] * 2, [[375.0, 500.0], [375.0, 600.0]]])
    found = triangulate(pixels, None, cameras, threshold_px=20.0)
    assert found.suspect.tolist() == [False, True]
    assert found.used.all()
    assert_close(found.errors_px[:, 1], [50.0, 50.0])  # each takes half of it


def test_unknown_views_are_left_out(rng: np.random.Generator) -> None:
    cameras, points = rig(rng, 4), person(rng, 5)
    pixels = np.stack([camera.project(points) for camera in cameras])
    confidence = np.full((4, 5), 0.7)
    pixels[0, 0] = np.nan
    pixels[1, 1, 0] = np.nan
    pixels[2, 2] += 500.0
    confidence[2, 2] = 0.0
    confidence[3, 3] = np.nan
    confidence[:3, 4] = 0.0
    found = triangulate(pixels, confidence, cameras)
    np.testing.assert_allclose(found.points_m[:4], points[:4], atol=1e-6)
    assert found.used.sum(0).tolist() == [3, 3, 3, 3, 0]
    assert np.isnan(found.points_m[4]).all() and np.isnan(found.covariance_m2[4]).all()
    assert np.isnan(found.errors_px[:, 4]).all() and not found.suspect[4]
    unknown = [found.errors_px[0, 0], found.errors_px[1, 1], found.errors_px[2, 2]]
    assert np.isnan([*unknown, found.errors_px[3, 3]]).all()


def test_rays_that_do_not_meet_give_no_point() -> None:
    """Parallel ones, and ones that would meet behind the cameras."""
    cameras = side_by_side()
    pixels = np.array([[[500.0, 500.0], [400.0, 500.0]], [[500.0, 500.0], [600.0, 500.0]]])
    found = triangulate(pixels, None, cameras)
    assert np.isnan(found.points_m).all() and not found.used.any()
    same = triangulate(pixels[[0, 0]], None, [cameras[0], cameras[0]])
    assert np.isnan(same.points_m).all()


def test_nothing_to_triangulate(rng: np.random.Generator) -> None:
    assert triangulate(np.zeros((3, 0, 17, 2)), None, rig(rng, 3)).points_m.shape == (0, 17, 3)


def test_wrong_input_is_refused(rng: np.random.Generator) -> None:
    cameras = rig(rng, 3)
    with pytest.raises(ValueError, match="two cameras or more, got 1"):
        triangulate(np.zeros((1, 2)), None, cameras[:1])
    with pytest.raises(ValueError, match=r"pixels must be \(3, ..., 2\)"):
        triangulate(np.zeros((2, 5, 2)), None, cameras)
    with pytest.raises(ValueError, match=r"confidence must be \(3, 5\), got \(5,\)"):
        triangulate(np.zeros((3, 5, 2)), np.ones(5), cameras)
    with pytest.raises(ValueError, match="threshold_px and noise_px must be positive"):
        triangulate(np.zeros((3, 5, 2)), None, cameras, threshold_px=-1.0)


# -- Pose2Sim's balancing trial -------------------------------------------------------------------


def markers(path: Path) -> tuple[list[str], np.ndarray]:
    """Return the names and (frames, markers, 3) of a .trc, in the calibration's axes."""
    lines = path.read_text().splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name]
    rows = [line.split("\t")[2 : 2 + 3 * len(names)] for line in lines[5:] if line.strip()]
    values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    return names, values.reshape(len(rows), len(names), 3)[..., [2, 0, 1]]  # it has y, z, x


@pytest.fixture
def recording(shared_data: Path) -> Path:
    path = shared_data / "multiview_pose2sim"
    if not path.is_dir():
        pytest.skip(f"needs the recording in {path}")
    return path


@pytest.fixture
def trial(recording: Path) -> tuple[list[PinholeCamera], np.ndarray, list[str], np.ndarray]:
    """Cameras, keypoints (views, frames, markers, 3) with scores, names and Pose2Sim's markers."""
    cameras = calibration_files.read(recording / "S00_Calibration/Calib_qualisys.toml")
    folder = recording / "S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial"
    names, points = markers(folder / "pose-3d/S00_P00_T01_BalancingTrial_0-100.trc")
    keypoints = np.load(folder / "pose-associated.npz")["keypoints"][:, :, 0].astype(float)
    chosen = [BODY_25B.index(name) for name in names]
    return list(cameras.values()), keypoints[:, :, chosen], names, points


def test_pose2sim_s_markers(
    trial: tuple[list[PinholeCamera], np.ndarray, list[str], np.ndarray],
) -> None:
    """All markers in all frames of its file before filtering, with Pose2Sim's selection of views.

    Where it kept all cameras, our linear points are its own within 2 mm. They are not the same:
    Pose2Sim's equations begin at the calibration's origin, ours amid the cameras, and views
    disagree by 12 px.
    """
    cameras, keypoints, _, points = trial
    pixels, score = keypoints[..., :2], keypoints[..., 2]
    matrices = np.stack([camera.projection_matrix for camera in cameras])
    theirs, kept = pose2sim_selection.select(matrices, pixels, score)
    count = kept.sum(0)
    assert count.shape == (100, 21) and (count == 0).sum() == 6  # these it interpolates
    assert np.linalg.norm(theirs - points, axis=-1)[count > 0].max() < 1e-4  # its selection indeed
    found = triangulate(pixels, np.where(kept, score, 0.0), cameras, steps=0, threshold_px=np.inf)
    off_m = np.linalg.norm(found.points_m - points, axis=-1)
    for cameras_kept in (4, 3, 2):
        chosen = count == cameras_kept
        print(
            f"{100 * chosen.mean():.1f} % of {count.size} points are of {cameras_kept} cameras: "
            f"median {1e3 * np.median(off_m[chosen]):.2f} mm, most {1e3 * off_m[chosen].max():.2f}"
        )
    assert (count == 4).mean() == pytest.approx(0.512, abs=0.001)
    assert off_m[count == 4].max() < 0.002


def test_as_they_are_used_points_are_others_than_pose2sim_s(
    trial: tuple[list[PinholeCamera], np.ndarray, list[str], np.ndarray],
) -> None:
    """We keep more views, and make errors in pixels the smallest: 5.6 mm in the middle."""
    cameras, keypoints, _, points = trial
    found = triangulate(keypoints[..., :2], keypoints[..., 2], cameras)
    off_m = np.linalg.norm(found.points_m - points, axis=-1)
    assert np.nanmedian(off_m) == pytest.approx(0.0056, abs=0.0003)
    assert np.nanpercentile(off_m, 90) == pytest.approx(0.052, abs=0.003)


def test_a_person_on_that_recording(
    trial: tuple[list[PinholeCamera], np.ndarray, list[str], np.ndarray],
) -> None:
    """As it is used: of human size, few points suspect, thighs that keep their length."""
    cameras, keypoints, names, _ = trial
    found = triangulate(keypoints[..., :2], keypoints[..., 2], cameras)
    joint = {name: found.points_m[:, index] for index, name in enumerate(names)}
    height_m = np.nanmedian(joint["Head"][:, 2] - np.fmin(joint["RHeel"], joint["LHeel"])[:, 2])
    assert 1.4 < height_m < 1.9
    assert calibration_files.check_scale(height_m) == ""
    thigh_m = np.linalg.norm(joint["LHip"] - joint["LKnee"], axis=-1)
    assert np.nanstd(thigh_m) < 0.02
    assert found.suspect.mean() < 0.02
    assert 10.0 < np.nanmedian(found.errors_px) < 15.0
