"""Who is wrong of several views: simulated rigs in which that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.vision.agreement import Agreement, spread, stature_m
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import windows_of
from radar_pose_ros.vision.interleaving import Window
from radar_pose_ros.vision.windows import triangulate_windows

NAMES = ("front", "left", "back", "right")


def seen(views: int, seed: int) -> tuple[list[Window], list[PinholeCamera]]:
    """Return what cameras of 1000 px see of somebody who moves, with a detector's errors."""
    recording = SimulatedRig(NAMES[:views], clip_s=5.0, seed=seed).recording(0)
    return list(windows_of(recording)), list(recording.cameras)


def watch(windows: list[Window], cameras: list[PinholeCamera]) -> Agreement:
    watched = Agreement(NAMES[: len(cameras)])
    poses = triangulate_windows(windows, cameras)
    for row, window in enumerate(windows):
        watched.add(window, poses.joints_m[row], poses.errors_px[row], cameras)
    return watched


def exchange(window: Window, one: int, other: int) -> Window:
    order = list(range(len(window.newest)))
    order[one], order[other] = other, one
    return replace(
        window,
        view=order[window.view],
        newest=tuple(window.newest[k] for k in order),
        before=tuple(window.before[k] for k in order),
    )


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_views_that_agree_are_not_complained_of(views: int, seed: int) -> None:
    watched = watch(*seen(views, seed))
    assert watched.complaint() == ""
    assert (watched.offsets_px < 2).all()
    assert (watched.errors_px < 10).all() and (watched.errors_px > 1).all()
    assert 1.2 < watched.stature_m < 2.0 or (views == 2 and np.isnan(watched.stature_m))


@pytest.mark.parametrize("pair", [(0, 1), (1, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_views_that_are_exchanged_are_named(pair: tuple[int, int], seed: int) -> None:
    windows, cameras = seen(4, seed)
    watched = watch([exchange(window, *pair) for window in windows], cameras)
    one, other = (NAMES[k] for k in pair)
    assert f"exchanged, {one} and {other} would leave" in watched.complaint()
    watched.clear()
    assert watched.complaint() == ""
    assert np.isnan(watched.errors_px).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_two_views_an_exchange_is_told_too(seed: int) -> None:
    windows, cameras = seen(2, seed)
    watched = watch([exchange(window, 0, 1) for window in windows], cameras)
    assert "exchanged, front and left would leave" in watched.complaint()


@pytest.mark.parametrize("views", [3, 4])
@pytest.mark.parametrize("wrong", [0, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_camera_that_is_ten_centimetres_off_is_named(views: int, wrong: int, seed: int) -> None:
    """Higher than it says; towards the person it changes nothing, and so is no complaint."""
    windows, cameras = seen(views, seed)
    higher = replace(cameras[wrong], position_m=cameras[wrong].position_m + [0.0, 0.0, 0.1])
    nearer = replace(
        cameras[wrong], position_m=cameras[wrong].position_m + 0.1 * cameras[wrong].rotation[2]
    )
    watched = watch(windows, [*cameras[:wrong], higher, *cameras[wrong + 1 :]])
    assert f"without {NAMES[wrong]} it is" in watched.complaint()
    assert watched.offsets_px.max() > 6
    cameras[wrong] = nearer
    truth = triangulate_windows(windows, seen(views, seed)[1]).joints_m
    moved_m = np.linalg.norm(triangulate_windows(windows, cameras).joints_m - truth, axis=-1)
    assert watch(windows, cameras).complaint() == "" and np.nanmedian(moved_m) < 0.02


def test_the_spread_on_paper() -> None:
    """Two cameras whose rays pass at a distance: an error of d each, one degree of freedom."""
    cameras = [
        PinholeCamera.looking_at((-4.0, 0.0, 1.0), (0.0, 0.0, 1.0), 1000.0, (1000, 1000)),
        PinholeCamera.looking_at((0.0, -4.0, 1.0), (0.0, 0.0, 1.0), 1000.0, (1000, 1000)),
    ]
    pixels = np.array([[500.0, 503.0], [500.0, 497.0]])[:, None, None]  # 3 px up and 3 px down
    found = spread(pixels, np.ones((2, 1, 1)), cameras)
    assert found == pytest.approx(np.sqrt(2) * 3 / 1000, rel=1e-3)
    pixels[1] = np.nan
    assert np.isnan(spread(pixels, np.ones((2, 1, 1)), cameras))


def test_stature_is_that_of_who_bends() -> None:
    """Bones of 0.4 m below the hips, 0.2, 0.3 and 0.25 m above, in any posture."""
    poses = np.full((3, 17, 3), np.nan)
    for row, bend in enumerate((0.0, 0.7, 1.4)):
        up = np.array([np.sin(bend), 0.0, np.cos(bend)])
        for name, along_m in (("pelvis", 0.0), ("spine", 0.2), ("thorax", 0.5), ("head", 0.75)):
            poses[row, H36M17.index(name)] = along_m * up
        for name, below_m in (("left_hip", 0.0), ("left_knee", 0.4), ("left_ankle", 0.8)):
            poses[row, H36M17.index(name)] = [0.0, 0.1, -below_m]
    assert stature_m(poses) == pytest.approx(1.55)  # the other leg was never seen
    unsteady = poses.copy()
    unsteady[:, H36M17.index("head")] *= np.array([1.0, 2.0, 3.0])[:, None]
    assert np.isnan(stature_m(unsteady))
    poses[:, H36M17.index("spine")] = np.nan
    assert np.isnan(stature_m(poses))
