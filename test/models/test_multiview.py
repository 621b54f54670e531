"""Poses of several views by DenseWarper: what is known without any training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.datasets.multiview import simulate
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.models import multiview, weights
from radar_pose_ros.models.densewarper import PRESETS, DenseWarper, DenseWarperConfig
from radar_pose_ros.models.multiview import DenseWarperMethod, crop, move, views_of
from radar_pose_ros.simulation.multiview import rig, shutter_times
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import hold_last, instants, windows_of
from radar_pose_ros.vision.interleaving import Shot, Window
from radar_pose_ros.vision.triangulation import triangulate
from radar_pose_ros.vision.windows import aligned

SMALL = DenseWarperConfig(joints=17, size=48, blocks=1, channels=4, dilations=(1,))


def recording(still: bool, views: int = 3, distortion: tuple[float, ...] = (), seed: int = 0):
    """Somebody seen for half a second by cameras that fire in turn, perfectly."""
    person = simulate_sequence(seed, 1.0, 60.0, "train")
    joints = np.repeat(person.joints_m[:1], 60, axis=0) if still else person.joints_m
    moving = PoseSequence("one", "one", "", 60.0, "h36m17", joints, "")
    cameras = [
        PinholeCamera(c.focal_px, c.centre_px, c.size_px, c.rotation, c.position_m, distortion)
        for c in rig(views, joints.mean((0, 1)), np.random.default_rng(1))
    ]
    stamps = shutter_times(views, 0.5, 15.0, "interleaved")
    return simulate(moving, cameras, stamps, np.random.default_rng(2))


def test_a_crop_holds_the_person_in_its_middle() -> None:
    """A box of 100 by 300 px about (250, 400), 450 px cut out: 0.1 px of the map per px."""
    keypoints = np.array([[200.0, 250.0], [300.0, 550.0], [np.nan, 3.0]])
    made = crop(keypoints, 45, margin=1.5)
    assert_close(made, [[0.1, 0.0, 22.0 - 25.0], [0.0, 0.1, 22.0 - 40.0]])
    wide = crop(np.stack([keypoints, keypoints]), 45, margin=np.array([1.5, 3.0]))
    assert_close(wide[0], made)
    assert_close(wide[1, 0], [0.05, 0.0, 22.0 - 12.5])


def test_a_crop_is_never_magnified_and_needs_nobody() -> None:
    one = crop([[100.0, 50.0]], 64)
    assert_close(one, [[1.0, 0.0, 31.5 - 100], [0.0, 1.0, 31.5 - 50]])
    assert_close(crop(np.full((3, 2), np.nan), 64), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def test_views_project_into_their_heatmaps() -> None:
    """The truth, projected into a heatmap, is where the keypoint was put."""
    seen = recording(still=True)
    keypoints = np.stack([view.keypoints_px[0] for view in seen.views])[None]
    matrices = np.stack([camera.projection_matrix for camera in seen.cameras])
    to_heatmap = crop(keypoints, 64)
    ages = np.array([[0.0, 0.1, np.nan]])
    views = views_of(keypoints, np.ones((1, 3, 17)), ages, matrices, 0, to_heatmap)
    joints = np.append(seen.joints_at(np.zeros(1))[0], np.ones((17, 1)), axis=1)
    image = np.einsum("vij,nj->vni", views.projections[0].numpy(), joints)
    np.testing.assert_allclose(
        image[..., :2] / image[..., 2:], views.keypoints_px[0].numpy(), atol=1e-4
    )
    assert_close(views.dt_s.numpy(), np.array([[0.0, 0.1, 0.0]], np.float32))
    middle = views.keypoints_px[0].numpy()
    assert ((middle > 5) & (middle < 58)).all()


@pytest.mark.parametrize("distortion", [(), (-0.1, 0.01, 0.001, -0.001)])
def test_who_stands_still_is_found_by_an_untrained_network(distortion) -> None:
    seen = recording(still=True, distortion=distortion)
    poses = DenseWarperMethod(DenseWarper(SMALL))(seen)
    assert_close(poses.stamps_s, instants(seen))
    truth = seen.joints_at(poses.stamps_s)
    assert np.isnan(poses.joints_m[0]).all()  # one view only
    assert np.linalg.norm(poses.joints_m[1:] - truth[1:], axis=-1).max() < 0.001
    assert poses.covariance_m2.shape == (len(truth), 17, 3, 3)
    assert poses.errors_px.shape == poses.used.shape == (len(truth), 3, 17)
    assert poses.used[2:].all() and np.nanmax(poses.errors_px) < 0.1


def test_the_heatmaps_alone_are_good_to_five_millimetres() -> None:
    """Read from maps of 64 pixels, not only by how much they moved."""
    seen = recording(still=True)
    keypoints = np.stack([view.keypoints_px[0] for view in seen.views])[None]
    matrices = np.stack([camera.projection_matrix for camera in seen.cameras])
    to_heatmap = crop(keypoints, 64)
    views = views_of(keypoints, np.ones((1, 3, 17)), np.zeros((1, 3)), matrices, 0, to_heatmap)
    own, _ = multiview.heatmaps_of(views, 64)
    read = multiview.soft_argmax(own)[0].double().numpy() - to_heatmap[0, :, None, :, 2]
    read /= to_heatmap[0, :, None, 0, :1]
    found = triangulate(read, None, seen.cameras).points_m
    truth = seen.joints_at(np.zeros(1))[0]
    assert np.linalg.norm(found - truth, axis=-1).max() < 0.005


def test_untrained_it_holds_what_was_seen_last() -> None:
    seen = recording(still=False)
    poses, held = DenseWarperMethod(DenseWarper(SMALL), batch=4)(seen), hold_last(seen)
    assert_close(poses.stamps_s, held.stamps_s)
    np.testing.assert_allclose(poses.joints_m, held.joints_m, atol=1e-6)
    np.testing.assert_array_equal(poses.used, held.used)


def test_the_preset_begins_with_what_needs_no_network() -> None:
    seen = recording(still=False)
    poses, expected = DenseWarperMethod(DenseWarper(PRESETS["light"]))(seen), aligned(seen)
    np.testing.assert_allclose(poses.joints_m, expected.joints_m, atol=1e-6)
    np.testing.assert_allclose(poses.errors_px, expected.errors_px, atol=1e-3)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_shipped_network_hardly_moves_who_stands_still(seed: int) -> None:
    """By 2 mm in the mean, where before training it is nothing."""
    network, _ = weights.network("light", "densewarper")
    seen = recording(still=True, views=4, seed=seed)
    moved, expected = DenseWarperMethod(network)(seen).joints_m, aligned(seen).joints_m
    distance_m = np.linalg.norm(moved - expected, axis=-1)[8:]
    assert distance_m.mean() < 0.003 and distance_m.max() < 0.008


def test_joints_go_on_by_a_share_of_an_even_movement() -> None:
    """Seen at 0.1 s and 0.3 s, 20 px apart: 5 px further 0.1 s later, half of 10."""
    shots = [Shot(t, np.full((3, 2), 100 * t), np.ones(3)) for t in (0.1, 0.3)]
    newest = Shot(0.4, np.full((3, 2), 7.0), np.full(3, 0.8))
    window = Window(0.4, 1, (shots[1], newest), (shots[0], None))
    cameras = recording(still=True, views=2).cameras
    shown = replace(SMALL, extrapolation=0.5).alignment([window], cameras)
    np.testing.assert_allclose(shown.keypoints_px[0, 0], 35.0)
    np.testing.assert_allclose(shown.keypoints_px[0, 1], 7.0)
    assert_close(shown.confidence[0, :, 0], [1.0, 0.8])
    np.testing.assert_allclose(shown.age_s, [[0.1, 0.0]], atol=1e-9)
    assert (shown.taken_off_px == 0).all()
    np.testing.assert_allclose(SMALL.alignment([window], cameras).keypoints_px[0, 0], 30.0)


def test_an_old_shot_counts_less_where_it_is_triangulated() -> None:
    """A tenth of a second old: a half. Its heatmap is as high as before."""
    shots = Shot(0.3, np.full((3, 2), 30.0), np.full(3, 0.8))
    newest = Shot(0.4, np.full((3, 2), 7.0), np.full(3, 0.8))
    window = Window(0.4, 1, (shots, newest, None), (None, None, None))
    cameras = recording(still=True).cameras
    shown = replace(SMALL, fading_s=0.1).alignment([window], cameras)
    np.testing.assert_allclose(shown.weight[0, :, 0], [0.4, 0.8, 0.0])
    assert_close(shown.confidence[0, :, 0], [0.8, 0.8, 0.0])
    np.testing.assert_array_equal(SMALL.alignment([window], cameras).weight, shown.confidence)


def test_views_that_always_disagree_are_reconciled_and_say_so() -> None:
    """Of who stands still, seen by views that are always off: the pose of all, and the errors."""
    seen = recording(still=True, distortion=(-0.1, 0.01, 0.001, -0.001))
    rng = np.random.default_rng(5)
    off = [rng.normal(0, 6, (1, 17, 2)) for _ in seen.views]
    views = tuple(
        replace(v, keypoints_px=v.keypoints_px + o) for v, o in zip(seen.views, off, strict=True)
    )
    seen = replace(seen, views=views)
    network = DenseWarper(replace(SMALL, reconciled=True))
    poses, held = DenseWarperMethod(network)(seen), hold_last(seen)
    together = np.stack([view.keypoints_px[1] for view in seen.views])
    windows = list(windows_of(seen))[-6:-3]
    shown = replace(SMALL, reconciled=True).alignment(windows, seen.cameras)
    agreed = shown.keypoints_px[0]
    perfect = [camera.with_perfect_lens for camera in seen.cameras]
    assert triangulate(together, None, seen.cameras).errors_px.max() > 3
    assert triangulate(agreed, None, perfect).errors_px.max() < 0.01
    np.testing.assert_allclose(poses.joints_m[-5], held.joints_m[-5], atol=0.002)
    np.testing.assert_allclose(poses.errors_px[-5], held.errors_px[-5], atol=0.5)


def test_joints_move_by_as_much_as_their_maps() -> None:
    """Maps that go down by three pixels and right by one: so many of the crop in the image."""
    keypoints = np.array([[[[200.0, 250.0], [300.0, 550.0], [np.nan, 3.0]]] * 2])
    confidence = np.array([[[1.0, 0.8, 0.0]] * 2])
    matrices = np.stack(
        [
            PinholeCamera.looking_at(place, [0, 0, 0], 500, (640, 640)).projection_matrix
            for place in ([3, 0, 1], [0, 3, 1])
        ]
    )

    def warp(own, fused, slot, dt_s):
        assert slot == 1 and dt_s.tolist() == [[0.5, 0.0]]
        assert own.shape == fused.shape == (1, 2, 3, 45, 45)
        shifted = torch.roll(own, (3, 1), (-2, -1))
        shifted[:, 1] = own[:, 1]
        shifted[:, 0, 1] = 0  # nothing is left: it stays
        return shifted

    ages = np.array([[0.5, 0.0]])
    made = move(warp, 45, keypoints, confidence, ages, matrices, 1)
    scale = 300 * multiview.MARGIN / 45
    np.testing.assert_allclose(made[0, 0, 0], [200 + scale, 250 + 3 * scale], atol=0.1)
    np.testing.assert_array_equal(made[0, 0, 1:], keypoints[0, 0, 1:])
    np.testing.assert_allclose(made[0, 1], keypoints[0, 1])


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_and_company_change_nothing(threads: int) -> None:
    """Windows one by one, all together, and all together by several threads."""
    network, _ = weights.network("light", "densewarper")
    seen = recording(still=False, views=4)
    windows = list(windows_of(seen))[4:16]
    alone = [DenseWarperMethod(network).poses([one], seen.cameras).joints_m[0] for one in windows]
    assert np.ptp(alone, axis=0).max() > 0.01
    for method in (DenseWarperMethod(network), DenseWarperMethod(network, threads=threads)):
        together = method.poses(windows, seen.cameras).joints_m
        np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_missing_view_has_no_part() -> None:
    seen = recording(still=True)
    shots = [Shot(0.1 * n, v.keypoints_px[0], v.confidence[0]) for n, v in enumerate(seen.views)]
    window = Window(0.1, 1, (shots[0], shots[1], None), (None, None, None))
    poses = DenseWarperMethod(DenseWarper(PRESETS["light"])).poses([window], seen.cameras)
    assert poses.used[0].all(-1).tolist() == [True, True, False]
    truth = seen.joints_at(np.zeros(1))[0]
    assert np.linalg.norm(poses.joints_m[0] - truth, axis=-1).max() < 0.001


def test_without_shots_there_are_no_poses() -> None:
    seen = recording(still=True)
    silent = replace(seen, views=tuple(view.only(np.zeros(0, int)) for view in seen.views))
    poses = DenseWarperMethod(DenseWarper(SMALL))(silent)
    assert poses.joints_m.shape == (0, 17, 3) and poses.used.shape == (0, 3, 17)


def test_wrong_windows_are_refused() -> None:
    seen = recording(still=True)
    method = DenseWarperMethod(DenseWarper(SMALL))
    shot = Shot(0.0, np.zeros((5, 2)), np.ones(5))
    window = Window(0.0, 0, (shot,) * 3, (None,) * 3)
    with pytest.raises(ValueError, match=r"3 views with 17 joints, got \(3, 5\)"):
        method.poses([window], seen.cameras)
    with pytest.raises(ValueError, match="two cameras or more, got 1"):
        method.poses([], seen.cameras[:1])
