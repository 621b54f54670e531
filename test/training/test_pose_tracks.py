"""Movements, detections and windows for networks that refine poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import nn

from radar_pose_ros.models.mixsynthformer import MixSynthFormer, MixSynthFormerConfig
from radar_pose_ros.models.refiner import NetworkModel, Refiner
from radar_pose_ros.simulation.detector_noise import DetectorNoise, disturb
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import project
from radar_pose_ros.skeleton.rotations import axis_angle_to_6d
from radar_pose_ros.training import pose_tracks
from radar_pose_ros.training.pose_tracks import (
    Track,
    TrackBatches,
    TrackData,
    detections,
    fill_rotations,
    refine_sequence,
    relative,
)

CONFIG = MixSynthFormerConfig(interval=5, segments=2, width=16, layers=1, centre=True)
PLAIN = TrackData(rate_hz=60.0, turned=False, mirrored=False)


def line(frames: int = 40, joints: int = 17, values: int = 3) -> np.ndarray:
    """Each joint moves at a velocity of its own, from a place of its own."""
    start, velocity = np.random.default_rng(0).normal(size=(2, joints, values))
    return (start + np.arange(frames)[:, None, None] * velocity / 60).astype(np.float32)


def track(**changes: object) -> Track:
    made = Track("a", "somebody", 60.0, "h36m17", line())
    return replace(made, **changes)  # type: ignore[arg-type]


# -- where movements come from -------------------------------------------------------------------


def test_simulated_people() -> None:
    """In space and in the rig's image; other people in each split."""
    data = TrackData(30.0, simulated={"train": 2, "validation": 1, "test": 1}, seconds=2.0)
    training = pose_tracks.load(data, "train")
    assert [t.truth.shape for t in training] == [(60, 17, 3)] * 2
    (test,) = pose_tracks.load(data, "test")
    assert test.subject not in {t.subject for t in training}
    (seen,) = pose_tracks.load(replace(data, image=True, turned=False), "test")
    assert seen.skeleton == HUPR14.name and seen.truth.shape == (60, 14, 2)
    wrist_m = test.truth[:, H36M17.index("left_wrist")]
    expected_px = 128 - 200 * wrist_m[:, 1] / wrist_m[:, 0]
    np.testing.assert_allclose(
        seen.truth[:, HUPR14.index("left_wrist"), 0], expected_px, atol=1e-2
    )


def test_recorded_people_are_split_by_subject(shared_data) -> None:
    path = shared_data / "mocap" / "cmu_60hz.npz"
    data = TrackData(20.0, held_out={"validation": ["cmu02"], "test": ["cmu13"]})
    subjects = {
        split: {t.subject for t in pose_tracks.load(data, split, path)}
        for split in ("train", "validation", "test")
    }
    assert subjects == {"train": {"cmu01"}, "validation": {"cmu02"}, "test": {"cmu13"}}
    seen = pose_tracks.load(replace(data, image=True, turned=False), "test", path)
    assert {t.subject for t in seen} == {"cmu13"}
    assert all(np.isfinite(t.truth).all() and t.truth.shape[1:] == (14, 2) for t in seen)
    with pytest.raises(ValueError, match="no movement of cmu99, there are cmu01, cmu02, cmu13"):
        pose_tracks.load(replace(data, held_out={"test": ["cmu99"]}), "test", path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simulated": {"train": 1}}, "simulated has no entry validation, test"),
        ({"held_out": {"train": ["cmu01"]}}, "for validation and test, not 'train'"),
        ({"rate_hz": 0.0}, "rate_hz must be positive, got 0.0"),
        ({"image": True}, "cannot be turned"),
    ],
)
def test_wrong_data_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackData(**{"rate_hz": 30.0, **settings})
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        pose_tracks.load(PLAIN, "dev")


def write_deciwatch(
    root, dataset: str, estimator: str, truths: list, detected: list, **more
) -> None:
    key = "joints_2d" if dataset == "jhmdb" else "joints_3d"
    if truths[0].shape[1] == 72:  # SMPL's rotations
        key = "pose"
    truth = root / "groundtruth_poses" / dataset / f"{dataset}_gt_train.npz"
    seen = root / "detected_poses" / dataset / estimator / f"{dataset}_{estimator}_train.npz"
    for path, tracks in ((truth, truths), (seen, detected)):
        path.parent.mkdir(parents=True)
        entries = {key: tracks, **more}
        entries["imgname"] = [
            [f"S{number}_walk_{k:05d}.jpg" for k in range(len(t))]
            for number, t in enumerate(tracks)
        ]
        arrays = {}
        for name, values in entries.items():
            arrays[name] = np.empty(len(values), object)
            for k, value in enumerate(values):
                arrays[name][k] = value
        np.savez(path, **arrays)


def person() -> np.ndarray:
    """A simulated person's joints: files are checked for thighs and sides."""
    data = TrackData(50.0, simulated={"train": 1, "validation": 0, "test": 0}, seconds=2.0)
    return pose_tracks.load(data, "train")[0].truth


def test_detected_poses_in_space(tmp_path) -> None:
    truth = person()
    seen = truth + 0.01
    seen[3] = np.nan
    flat = [t.reshape(len(t), -1) for t in (truth, seen)]
    write_deciwatch(tmp_path, "h36m", "fcn", [flat[0]], [flat[1]])
    (found,) = pose_tracks.load_detected(tmp_path, "h36m", "fcn", "train")
    assert (found.subject, found.rate_hz) == ("S0", 50.0)
    assert_close(found.truth, truth)
    assert_close(found.detected, seen)


def test_poses_of_3dpw_have_14_joints(tmp_path) -> None:
    """The published choice of the 17: right ankle first, crown last."""
    flat = person().reshape(-1, 51)
    write_deciwatch(tmp_path, "pw3d", "spin", [flat], [flat])
    (found,) = pose_tracks.load_detected(tmp_path, "pw3d", "spin", "train")
    assert (found.skeleton, found.rate_hz) == ("lsp14", 30.0)
    # in H36M17 the right leg comes first, where the files' own numbers are 6, 5, 4, 1, 2, 3
    order = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]
    assert_close(found.truth, person()[:, order])


def test_detected_poses_in_an_image_are_shares_of_its_sides(tmp_path) -> None:
    truth = np.random.default_rng(0).uniform(0, 200, (12, 15, 2)).astype(np.float32)
    truth[2, 5] = np.nan  # before and behind it is whole
    shape = [np.array([240, 320, 3])]
    flat = truth.reshape(12, -1)
    write_deciwatch(tmp_path, "jhmdb", "simplepose", [flat], [flat + 1], imgshape=shape)
    pieces = pose_tracks.load_detected(tmp_path, "jhmdb", "simplepose", "train")
    assert [piece.name.partition("@")[2] for piece in pieces] == ["0", "3"]
    for piece, frames in zip(pieces, (slice(0, 2), slice(3, 12)), strict=True):
        assert piece.unit == "share"
        assert_close(piece.truth, truth[frames] / np.float32([320, 240]))
        assert_close(piece.detected, (truth[frames] + 1) / np.float32([320, 240]))
        assert piece.size_px == (320, 240) and piece.boxes_px is None


def test_boxes_are_cut_with_the_frames(tmp_path) -> None:
    truth = np.zeros((12, 30), np.float32)
    truth[2, 5] = np.nan
    boxes = np.arange(48.0).reshape(12, 4)
    more = {"imgshape": [np.array([240, 320])], "bbox": [boxes]}
    write_deciwatch(tmp_path, "jhmdb", "simplepose", [truth], [truth], **more)
    pieces = pose_tracks.load_detected(tmp_path, "jhmdb", "simplepose", "train")
    for piece, frames in zip(pieces, (slice(0, 2), slice(3, 12)), strict=True):
        assert_close(piece.boxes_px, np.float32(boxes[frames]))


def test_wrong_boxes_are_named(tmp_path) -> None:
    truth = np.zeros((3, 30), np.float32)
    more = {"imgshape": [np.array([240, 320])], "bbox": [np.array([[9.0, 0, 5, 5]] * 3)]}
    write_deciwatch(tmp_path, "jhmdb", "simplepose", [truth], [truth], **more)
    with pytest.raises(ValueError, match=r"jhmdb_gt_train\.npz: S0_walk: boxes must be x1, y1"):
        pose_tracks.load_detected(tmp_path, "jhmdb", "simplepose", "train")
    with pytest.raises(ValueError, match=r"a: want boxes \(40 frames, 4\), got \(39, 4\)"):
        track(boxes_px=np.zeros((39, 4)), size_px=(320, 240))
    with pytest.raises(ValueError, match="a: boxes want the size of the image"):
        track(boxes_px=np.zeros((40, 4)))


def test_detected_rotations(tmp_path) -> None:
    """The left knee is bent by a right angle about x; once nobody knows, once the detector not."""
    truth = np.zeros((5, 72))
    truth[:, 12] = np.pi / 2
    seen = np.zeros((5, 72))
    truth[1], seen[3, :3] = np.nan, np.nan
    write_deciwatch(tmp_path, "pw3d", "pare", [truth], [seen])
    first, second = pose_tracks.load_detected_rotations(tmp_path, "pw3d", "pare", "train")
    assert [t.name for t in (first, second)] == ["S0_walk@0", "S0_walk@2"]
    assert (first.unit, first.skeleton, first.rate_hz) == ("rotation6d", "smpl24", 30.0)
    assert second.truth.shape == (3, 24, 6) and second.detected is not None
    assert_close(second.truth[0, 4], np.float32([1, 0, 0, 0, 0, 1]))
    assert_close(second.detected[0, 4], np.float32([1, 0, 0, 0, 1, 0]))
    assert np.isnan(second.detected[1, 0]).all() and np.isnan(second.detected).sum() == 6
    assert second.licence.startswith("DeciWatch")


# -- detections ----------------------------------------------------------------------------------


def test_detections_are_frames_at_the_keyframes_rate_disturbed() -> None:
    """The same stream of errors as `disturb` at the keyframes' rate; a perfect detector: truth."""
    rng = np.random.default_rng(1)
    truth = line()
    assert_close(detections(truth, None, track(), 5, PLAIN, rng), truth[::5])
    noisy = replace(PLAIN, noise=DetectorNoise(white=0.1, drift=0.2))
    got = detections(truth, None, track(), 5, noisy, np.random.default_rng(2))
    expected = disturb(truth[::5], H36M17, 12.0, noisy.noise, np.random.default_rng(2))
    assert_close(got, expected)


def test_gaps_are_filled_and_roots_taken_off() -> None:
    truth = line()
    seen = truth.copy()
    seen[10, 4] = np.nan  # keyframe 2 of 8
    rng = np.random.default_rng(0)
    assert_close(detections(truth, seen, track(), 5, PLAIN, rng), truth[::5])  # on a line
    data = replace(PLAIN, root_relative=True)
    expected = truth[::5] - truth[::5, :1]
    assert_close(detections(truth, seen, track(), 5, data, rng), expected)
    seen[:] = np.nan
    assert_close(detections(truth, seen, track(), 5, PLAIN, rng), truth[::5])


def test_gaps_in_rotations_are_filled_with_rotations() -> None:
    """About z: 0, gap, gap, 60 degrees; before and after as there; never known: not turned."""
    degrees = [np.nan, 0.0, np.nan, np.nan, 60.0, np.nan]
    vectors = np.zeros((6, 4, 3))
    vectors[:, 0, 2] = np.radians(degrees)
    vectors[:, 1] = np.nan
    vectors[2, 1] = [0.3, 0.0, 0.0]  # known once
    vectors[:, 2] = np.nan
    vectors[:, 3] = 0.1
    filled = fill_rotations(axis_angle_to_6d(vectors))
    wanted = np.zeros((6, 4, 3))
    wanted[:, 0, 2] = np.radians([0, 0, 20, 40, 60, 60])
    wanted[:, 1, 0] = 0.3
    wanted[:, 3] = 0.1
    assert_close(filled, axis_angle_to_6d(wanted))
    # half a turn apart there are two shorter ways, either is one of rotations
    opposite = axis_angle_to_6d([[[0.0, 0, 0]], [[np.nan, 0, 0]], [[np.pi, 0, 0]]])
    middle = fill_rotations(opposite)[1, 0]
    assert_close([*np.abs(middle[[0, 5]]), middle[4]], [1.0, 1.0, 0.0])


def test_windows_of_rotations() -> None:
    """As they are in the files: keyframes are the detector's, a gap in them is filled."""
    vectors = np.zeros((16, 24, 3))
    vectors[:, 4, 0] = 0.05 * np.arange(16)
    truth = axis_angle_to_6d(vectors).astype(np.float32)
    seen = truth.copy()
    seen[5] = np.nan
    made = track(skeleton="smpl24", truth=truth, detected=seen)
    config = replace(CONFIG, joints=24, values=6)
    batch = TrackBatches([made], config, 32, PLAIN, seed=0)(0)
    assert batch.keyframes.shape == (32, 3, 24, 6)
    at_start = (batch.truth[:, 0] == torch.from_numpy(truth[0])).all(-1).all(-1)
    assert at_start.any()
    for keyframes in batch.keyframes[at_start].numpy():  # frames 0, 5 and 10
        assert_close(keyframes, truth[:11:5])


def test_roots() -> None:
    poses = line(3, 14)
    middle = (poses[:, 3] + poses[:, 0]) / 2
    assert_close(relative(poses, "hupr14"), poses - middle[:, None])


# -- windows -------------------------------------------------------------------------------------


def test_windows_belong_together_and_repeat() -> None:
    """Keyframes are frames 0, 5 and 10 of the truth; every window of every track is drawn."""
    tracks = [track(), track(truth=line(14) + 7), track(truth=line(10))]  # the last is too short
    batches = TrackBatches(tracks, CONFIG, 64, PLAIN, seed=3)
    batch = batches(0)
    assert batch.keyframes.shape == (64, 3, 17, 3) and batch.truth.shape == (64, 11, 17, 3)
    assert torch.equal(batch.keyframes, batch.truth[:, ::5])
    assert torch.equal(batches(0).truth, batch.truth)
    assert not torch.equal(batches(1).truth, batch.truth)
    assert torch.equal(batches(0, slice(8, 16)).truth, batch.truth[8:16])
    starts = {round(float(w[0, 0, 0]), 4) for step in range(8) for w in batches(step).truth}
    every = [t.truth[k, 0, 0] for t in tracks[:2] for k in range(len(t) - 10)]
    assert starts == {round(float(start), 4) for start in every}
    with pytest.raises(ValueError, match="no movement has the 11 frames of a window"):
        TrackBatches(tracks[2:], CONFIG, 1, PLAIN, seed=0)


def test_turned_and_mirrored_windows_are_people_still() -> None:
    """Heights and distances stay; left and right change places in half of the windows."""
    data = TrackData(60.0)
    plain = TrackBatches([track(truth=line(11))], CONFIG, 64, PLAIN, seed=0)(0).truth
    varied = TrackBatches([track(truth=line(11))], CONFIG, 64, data, seed=0)(0).truth
    same = (varied[..., 2] - plain[..., 2]).abs().amax((1, 2)) < 1e-5
    order = H36M17.mirrored()
    swapped = (varied[..., 2] - plain[:, :, order, 2]).abs().amax((1, 2)) < 1e-5
    assert torch.equal(same, ~swapped) and 16 < same.sum() < 48
    lengths = (plain[:, :, 1:] - plain[:, :, :1]).norm(dim=-1)
    assert_close(
        (varied[:, :, 1:] - varied[:, :, :1]).norm(dim=-1)[same].numpy(), lengths[same].numpy()
    )
    # a reflection, not a turn: the triple product of three joints changes its sign
    triple = torch.linalg.det(plain[swapped][:, 0][:, order][:, 1:4] - plain[swapped][:, 0, :1])
    mirrored = torch.linalg.det(varied[swapped][:, 0, 1:4] - varied[swapped][:, 0, :1])
    assert_close(mirrored.numpy(), -triple.numpy())


def test_images_are_mirrored_about_their_middle() -> None:
    data = TrackData(60.0, image=True, turned=False)
    pixels = track(skeleton="hupr14", truth=100 + line(11, 14, 2))
    windows = TrackBatches([pixels], CONFIG, 32, data, seed=0)(0).truth
    mirrored = pixels.truth[:, HUPR14.mirrored()].copy()
    mirrored[..., 0] = 256 - mirrored[..., 0]
    for window in windows.numpy():
        assert np.allclose(window, pixels.truth) or np.allclose(window, mirrored)


def test_files_detections_are_varied_with_the_truth() -> None:
    data = TrackData(60.0)
    batch = TrackBatches([track(detected=line())], CONFIG, 16, data, seed=0)(0)
    assert_close(batch.keyframes.numpy(), batch.truth[:, ::5].numpy())


# -- whole sequences -----------------------------------------------------------------------------


@pytest.mark.parametrize("keyframes", [2, 3, 9])
def test_a_sequence_is_refined_as_the_refiner_does(keyframes: int) -> None:
    """All at once, and pushed one by one and flushed; streams shorter than a window, too."""
    torch.manual_seed(0)
    network = MixSynthFormer(CONFIG).eval()
    poses = np.random.default_rng(0).normal(size=(keyframes, 17, 3))
    got = refine_sequence(network, poses, batch=3)
    assert got.shape == ((keyframes - 1) * 5 + 1, 17, 3)
    refiner = Refiner(NetworkModel(network), 17, 3, 60.0, taper=False)
    parts = [refiner.push_many(np.arange(keyframes) / 12.0, poses).poses, refiner.flush().poses]
    between = np.arange(len(got)) % 5 > 0
    np.testing.assert_allclose(got[between], np.concatenate(parts)[between], atol=1e-5)


def test_windows_that_overlap_are_averaged() -> None:
    """Frame 10 of 4 windows of 11 frames, 5 apart: end of the first, start of the third."""
    torch.manual_seed(0)
    network = MixSynthFormer(CONFIG).eval()
    poses = np.random.default_rng(0).normal(size=(6, 17, 3))
    windows = [NetworkModel(network).refine(poses[k : k + 3]) for k in range(4)]
    expected = (windows[0][10] + windows[1][5] + windows[2][0]) / 3
    np.testing.assert_allclose(refine_sequence(network, poses)[10], expected, atol=1e-5)


def test_windows_average_to_the_line_they_agree_on() -> None:
    """A fresh network of ours is linear interpolation."""
    network = MixSynthFormer(replace(CONFIG, start="interpolation")).eval()
    truth = line(36)
    np.testing.assert_allclose(refine_sequence(network, truth[::5]), truth, atol=1e-5)


def test_frames_of_the_future_are_left_out() -> None:
    network = MixSynthFormer(replace(CONFIG, future_frames=3, start="interpolation")).eval()
    truth = line(26)
    np.testing.assert_allclose(refine_sequence(network, truth[::5]), truth, atol=1e-5)
    assert isinstance(network, nn.Module)


# -- axes ----------------------------------------------------------------------------------------


def moving_person() -> Track:
    data = TrackData(30.0, simulated={"train": 1, "validation": 0, "test": 0}, seconds=2.0)
    return pose_tracks.load(data, "train")[0]


class Windows:
    frames, interval, segments = 7, 3, 2


def up(poses: np.ndarray) -> np.ndarray:
    """From the pelvis to the base of the neck, which is up, more or less; (..., 3), length 1."""
    trunk = poses[..., H36M17.index("thorax"), :] - poses[..., 0, :]
    return trunk / np.linalg.norm(trunk, axis=-1, keepdims=True)


def test_poses_as_the_lifter_gives_them() -> None:
    """y down and z forward: what the camera would see is where the person is in the image."""
    person = moving_person()
    data = TrackData(30.0, axes="camera")
    batch = TrackBatches([person], Windows, 50, data, seed=0, varied=False)(0)
    x, y, z = batch.truth.numpy().reshape(-1, 3).T
    seen = np.stack([128 + 200 * x / z, 128 + 200 * y / z], axis=-1)
    expected = project(person.truth).reshape(-1, 2)
    gaps = np.abs(seen[:, None] - expected[None]).max(-1).min(1)
    assert gaps.max() < 0.01


def test_networks_learn_both_axes() -> None:
    """Every second window has z up, the others y down, tilted by what cameras are."""
    person = moving_person()
    batches = TrackBatches([person], Windows, 300, TrackData(30.0, axes="any"), seed=0)
    of_window = up(batches(0).truth.numpy()).mean(axis=1)
    above = of_window[:, 2] > 0.9
    assert 0.4 < above.mean() < 0.6
    below = -of_window[~above][:, 1]
    assert 0.85 < below.min() < below.max() <= 1.0
    assert np.degrees(np.arccos(below)).max() > 10


def test_axes_are_of_poses_in_space() -> None:
    with pytest.raises(ValueError, match="axes 'sideways' is none of world, camera, any"):
        TrackData(30.0, axes="sideways")
    with pytest.raises(ValueError, match="axes are of poses in space"):
        TrackData(30.0, image=True, turned=False, axes="camera")
