"""Windows: what networks are given, and what is behind it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from tolerances import assert_close

from radar_pose_ros.datasets import camera_views, human36m
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.datasets.simulated_poses import simulate_sequences
from radar_pose_ros.metrics.pose3d import segment_consistency
from radar_pose_ros.simulation.cameras import CameraRanges, random_camera
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.image import denormalise
from radar_pose_ros.training import camera_windows
from radar_pose_ros.training.camera_windows import ViewBatches, ViewData, fixed_windows

FRAMES = 9
CLEAN = ViewData(rate_hz=25.0, simulated={"train": 2, "validation": 1, "test": 0}, seconds=3.0)


@pytest.fixture(scope="module")
def people() -> list[PoseSequence]:
    return simulate_sequences(2, 3.0, 25.0, "train")


def lengths(poses: np.ndarray) -> np.ndarray:
    """Of bones, (..., bones), of (..., joints, 3)."""
    a, b = np.array(H36M17.edges).T
    return np.linalg.norm(poses[..., a, :] - poses[..., b, :], axis=-1)


def test_a_batch_is_a_window_of_somebody(people) -> None:
    """Hip in the middle, bones of their lengths, the same for the same step."""
    batches = ViewBatches(people, FRAMES, 6, CLEAN, seed=1)
    batch = batches(3)
    assert batch.keypoints.shape == (6, 2, 17, FRAMES)
    assert batch.poses.shape == (6, 3, 17, FRAMES)
    assert batch.poses[:, :, 0].abs().max() == 0
    poses = batch.poses.numpy().swapaxes(1, 3)
    true = lengths(np.stack([person.joints_m[0] for person in people]))
    found = lengths(poses[:, 0])
    gaps = np.abs(found[:, None] - true).max(-1).min(1)  # to the nearer of the two people
    # mirror images have left and right exchanged, which these bodies do not show
    assert gaps.max() < 2e-3
    assert torch.equal(batch.poses, batches(3).poses)
    assert not torch.equal(batch.poses, batches(4).poses)
    assert torch.equal(batches(3, slice(4, 6)).keypoints, batch.keypoints[4:])


def test_keypoints_are_the_projected_poses(people) -> None:
    """A pinhole's: u is linear in x/z, so that with the hip's place unknown directions agree."""
    batch = ViewBatches(people, FRAMES, 40, CLEAN, seed=0)(0)
    across = batch.poses[:, :2, [1, 4, 10, 13]]  # hips, head, left wrist
    seen = batch.keypoints[:, :, [1, 4, 10, 13]] - batch.keypoints[:, :, [0]]
    cosine = (across * seen).sum(1) / (across.norm(dim=1) * seen.norm(dim=1))
    assert cosine[:, 2].min() > 0.9  # the head is far from the hip in any image
    assert batch.keypoints.abs().max() < 1.5


def test_detectors_of_different_worth(people) -> None:
    """Jitter is within the range of its factors, and differs from window to window."""
    data = dataclasses.replace(CLEAN, noise=DetectorNoise(white=2.0), noise_factor=(1.0, 5.0))
    rng = np.random.default_rng(0)
    still = np.full((200, 17, 2), 500.0)
    found = np.array([data.disturbed(still, rng).std() for _ in range(40)])
    assert 1.9 < found.min() < 3.0 and 9.0 < found.max() < 10.3
    fixed = dataclasses.replace(data, noise_factor=(1.0, 1.0)).disturbed(still, rng)
    assert fixed.std() == pytest.approx(2.0, abs=0.1)


def test_cameras_are_where_the_recipe_puts_them(people) -> None:
    cameras = CameraRanges(distance_m=(2.4, 2.4), height_m=(1.0, 1.0), focal_to_width=(0.8, 0.8))
    windows = fixed_windows(people, FRAMES, dataclasses.replace(CLEAN, cameras=cameras))
    for camera, joints_m in zip(windows.cameras, windows.joints_m, strict=True):
        assert camera.focal_px == (800.0, 800.0) and camera.position_m[2] == 1.0
        # aimed at where somebody is on the mean, who walks
        assert 1.5 < np.linalg.norm(joints_m[:, 0], axis=-1).mean() < 3.5


def test_mirror_images_are_people_with_sides_exchanged(people) -> None:
    """The true pose of a mirrored window has its left where its joints say so."""
    data = dataclasses.replace(CLEAN, mirrored=True)
    poses = ViewBatches(people, FRAMES, 60, data, seed=0)(0).poses.numpy()[..., 0].swapaxes(1, 2)
    # knees bend forward: the vector left - right hip times up gives the front
    across = poses[:, 4] - poses[:, 1]
    up = poses[:, 8] - poses[:, 0]
    forward = np.cross(across, up)
    feet_bent = [
        (poses[:, knee] - (poses[:, knee - 1] + poses[:, knee + 1]) / 2) for knee in (2, 5)
    ]
    ahead = np.stack([(bend * forward).sum(-1) for bend in feet_bent])
    assert ahead.mean() > 0
    assert (ahead.mean(0) > -0.01).mean() > 0.9


def test_missing_joints_are_zero(people) -> None:
    noise = DetectorNoise(missing_rate=0.3)
    data = dataclasses.replace(CLEAN, noise=noise)
    batch = ViewBatches(people, FRAMES, 20, data, seed=0)(0)
    gone = (batch.keypoints == 0).all(1)
    assert float(gone.float().mean()) == pytest.approx(0.3, abs=0.03)
    for pattern, share in (("right_leg", 3 * 3 / (17 * 9)), ("frames", 1 / 9)):
        data = dataclasses.replace(CLEAN, occlusion=pattern)
        batch = ViewBatches(people, FRAMES, 4, data, seed=0)(0)
        gone = (batch.keypoints == 0).all(1)
        assert float(gone.float().mean()) == pytest.approx(share)
    data = dataclasses.replace(data, occluded_ratio=0.0)
    assert not (ViewBatches(people, FRAMES, 4, data, seed=0)(0).keypoints == 0).all(1).any()


def test_fixed_windows_cover_movements_and_repeat(people) -> None:
    windows = fixed_windows(people, FRAMES, CLEAN, cameras=3)
    assert len(windows.sources) == sum(len(p.joints_m) // FRAMES for p in people)
    again = fixed_windows(people, FRAMES, CLEAN, cameras=3)
    np.testing.assert_array_equal(windows.pixels, again.pixels)
    # the truth seen from the camera is what was detected, and as rigid as the person
    np.testing.assert_allclose(windows.project(windows.joints_m), windows.pixels, atol=1e-6)
    twice = windows.project(np.stack([windows.joints_m] * 2))  # hypotheses, too
    np.testing.assert_array_equal(twice[1], windows.project(windows.joints_m))
    assert segment_consistency(windows.joints_m) < 2e-3
    focal = [camera.focal_px[0] for camera in windows.cameras]
    assert focal[0] == focal[3] != focal[1]
    some = fixed_windows(people, FRAMES, CLEAN, most=4)
    assert len(some.sources) == 4 and set(some.sources) == {p.name for p in people}


def test_patterns_are_the_same_for_everyone(people) -> None:
    windows = fixed_windows(people, FRAMES, CLEAN)
    clean, leg = windows.keypoints(), windows.keypoints("right_leg")
    assert torch.equal(leg, windows.keypoints("right_leg"))
    gone = (leg == 0).all(1)
    assert gone[:, [1, 2, 3]].sum() == gone.sum() == 3 * 3 * len(gone)
    kept = ~gone[:, None].expand_as(leg)
    assert torch.equal(leg[kept], clean[kept])
    pixels = windows.seen("right_leg")
    assert torch.equal(torch.from_numpy(np.isnan(pixels).any(-1)).transpose(1, 2), gone)
    back = denormalise(clean.numpy().swapaxes(1, 3), (1000, 1000))
    np.testing.assert_allclose(back, windows.pixels, atol=1e-3)


def test_lifting_turns_axes() -> None:
    """(batch, hypotheses, 3, joints, frames) to (hypotheses, windows, frames, joints, 3)."""
    keypoints = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 2, 17, FRAMES)

    def network(part: torch.Tensor) -> torch.Tensor:
        poses = torch.zeros(len(part), 4, 3, 17, FRAMES)
        poses += torch.arange(4.0)[:, None, None, None] + 10 * part[:, :1, None, :1]
        poses[:, :, 1] += 0.5
        return poses

    found = camera_windows.lift(network, keypoints, batch=2)
    assert found.shape == (4, 5, FRAMES, 17, 3)
    assert_close(found[3, 2, 1, 5], np.array([23.0, 23.5, 23.0]))
    single = camera_windows.lift(lambda part: network(part)[:, 0], keypoints)
    assert_close(single, found[0])


def test_a_data_sets_own_views_are_used_as_they_are(people) -> None:
    rng = np.random.default_rng(0)
    camera = random_camera(people[0].joints_m, rng)
    detected = camera.project(people[0].joints_m) + 7.0
    views = [camera_views.view(people[0], camera, detected)]
    windows = fixed_windows(views, FRAMES, CLEAN)
    np.testing.assert_allclose(windows.pixels[1], detected[FRAMES : 2 * FRAMES], atol=1e-3)
    batch = ViewBatches(views, FRAMES, 3, dataclasses.replace(CLEAN, mirrored=True), seed=0)(0)
    found = denormalise(batch.keypoints[0].numpy().T, camera.size_px)
    starts = [
        np.abs(found - detected[k : k + FRAMES]).max() for k in range(len(detected) - FRAMES)
    ]
    assert min(starts) < 1e-2


def test_splits(tmp_path) -> None:
    train, validation = (camera_windows.load(CLEAN, split) for split in ("train", "validation"))
    assert len({s.subject for s in train}) == 2 and len({s.subject for s in validation}) == 1
    assert not {s.subject for s in train} & {s.subject for s in validation}
    with pytest.raises(ValueError, match="unknown split 'exam', there are"):
        camera_windows.load(CLEAN, "exam")


def test_data_and_mocap_are_told_apart(tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"cmu\.npz is no folder .* recorded movements are --mocap"
    ):
        camera_windows.load(CLEAN, "train", tmp_path / "cmu.npz")
    with pytest.raises(ValueError, match="takes the place of other people"):
        camera_windows.load(CLEAN, "train", tmp_path, tmp_path / "cmu.npz")


def test_recorded_people_are_held_out(shared_data) -> None:
    data = dataclasses.replace(CLEAN, held_out={"test": ["cmu02", "cmu13"]})
    path = shared_data / "mocap" / "cmu_60hz.npz"
    found = {split: camera_windows.load(data, split, mocap=path) for split in ("train", "test")}
    recorded = {
        split: {s.subject for s in sources if s.subject.startswith("cmu")}
        for split, sources in found.items()
    }
    assert recorded == {"train": {"cmu01"}, "test": {"cmu02", "cmu13"}}
    assert {source.rate_hz for source in found["test"]} == {25.0}
    batch = ViewBatches(found["train"], FRAMES, 16, data, seed=0)(0)
    assert torch.isfinite(batch.keypoints).all() and torch.isfinite(batch.poses).all()
    assert batch.keypoints.abs().max() < 1.2  # people are in the image
    assert batch.poses.abs().max() < 1.5  # as the sampler's limit has it


def test_human36m_in_video_pose_3ds_files(tmp_path, monkeypatch) -> None:
    """S8 chooses the model; without a file of detections the truth is projected."""
    joints = np.random.default_rng(0).normal(0, 0.3, (30, 17, 3)) + [0, 0, 1]
    made = [
        PoseSequence(f"{s} Walking", s, "Walking", 50.0, "h36m17", joints, "none")
        for s in ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
    ]
    monkeypatch.setattr(
        human36m, "load", lambda path, subjects: [m for m in made if m.subject in subjects]
    )
    camera = {
        "size_px": [1000, 1002],
        "focal_px": [1145.0, 1144.0],
        "centre_px": [512.0, 515.0],
        "orientation": [1.0, 0.0, 0.0, 0.0],
        "position_m": [0.0, 0.0, -5.0],
    }
    cameras = {m.subject: [camera] * 4 for m in made}
    (tmp_path / "cameras.yaml").write_text(yaml.safe_dump(cameras))
    found = {s: camera_windows.load(CLEAN, s, tmp_path) for s in ("train", "validation", "test")}
    subjects = {split: {view.subject for view in views} for split, views in found.items()}
    assert subjects["train"] == {"S1", "S5", "S6", "S7"}
    assert subjects["validation"] == {"S8"} and subjects["test"] == {"S9", "S11"}
    assert len(found["test"]) == 8
    windows = fixed_windows(found["test"], FRAMES, CLEAN)
    assert windows.sources == ("S9 Walking",) * 12 + ("S11 Walking",) * 12
    assert windows.subjects == ("S9",) * 12 + ("S11",) * 12
    assert windows.actions == ("Walking",) * 24
    assert windows.keypoints().shape == (8 * 3, 2, 17, FRAMES)

    def write_detections(detector: str, value: float) -> None:
        keypoints = {m.subject: {"Walking": [np.full((30, 17, 2), value)] * 4} for m in made}
        np.savez(tmp_path / f"data_2d_h36m_{detector}.npz", positions_2d=keypoints)

    write_detections("gt", 7.0)
    detected = camera_windows.load(CLEAN, "test", tmp_path)
    assert all((view.keypoints_px == 7.0).all() for view in detected)
    write_detections("cpn", 8.0)
    with pytest.raises(ValueError, match="keypoints of cpn, gt; say of which"):
        camera_windows.load(CLEAN, "test", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simulated": {"train": 1}}, "simulated has no entry validation, test"),
        ({"held_out": {"train": ["x"]}}, "held_out is for validation and test, not 'train'"),
        ({"occlusion": "fog"}, "occlusion 'fog' is none of none, random, frames"),
        ({"rate_hz": 0.0}, "rate_hz must be positive"),
        ({"occluded_ratio": 1.5}, "occluded_ratio must be 0 to 1"),
    ],
)
def test_wrong_settings_are_named(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CLEAN, **change)


def test_too_short_movements_are_named(people) -> None:
    with pytest.raises(ValueError, match="no movement has the 999 frames of a window"):
        ViewBatches(people, 999, 1, CLEAN, seed=0)
    with pytest.raises(ValueError, match="no movement has the 999 frames of a window"):
        fixed_windows(people, 999, CLEAN)
