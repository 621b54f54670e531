"""What the network is given: transforms over antennas, and how windows are varied."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from radar_pose_ros.datasets.recordings import Recording, Window
from radar_pose_ros.models.losses import PoseLossConfig, pose_loss
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba
from radar_pose_ros.radar.heatmap import angle_transform, four_dimensional_transform
from radar_pose_ros.training import processes
from radar_pose_ros.training.millimamba_batches import (
    Augmentation,
    TrainingBatches,
    add_noise,
    draw_valid,
    gather_batch,
    network_input,
    white_noise,
)

SMALL = dataclasses.replace(
    PRESETS["edge"], frames=3, width=16, heads=2, encoder_layers=1, decoder_layers=1
)


def random_cubes(shape, seed=0):
    return white_noise(shape, np.random.default_rng(seed))


def recording(frames=30, seed=0):
    """White noise instead of echoes, and joints that tell frames apart."""
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((frames, 2, 12, 8, 64, 2)).astype(np.float16)
    keypoints_px = rng.uniform(50, 200, (frames, 14, 2)).astype(np.float32)
    joints_m = np.zeros((frames, 14, 3), np.float32)
    return Recording("nowhere", parts, keypoints_px, joints_m, ("walk",) * frames)


def batches(batch=6, seed=5, radars="both", **augmentation):
    return TrainingBatches(
        [recording(seed=1), recording(seed=2)],
        SMALL,
        batch,
        Augmentation(**augmentation),
        seed,
        radars,
    )


def test_network_input_is_the_angle_transform():
    cubes = random_cubes((2, 3, 12, 8, 5))
    expected = angle_transform(cubes, 32)
    channels = network_input(cubes, 32).numpy()
    np.testing.assert_allclose(channels[..., 0, :, :, :], expected.real, atol=1e-4)
    np.testing.assert_allclose(channels[..., 1, :, :, :], expected.imag, atol=1e-4)


def test_network_input_with_elevation_is_the_four_dimensional_transform():
    cubes = random_cubes((2, 3, 12, 8, 5))
    expected = four_dimensional_transform(cubes, 16, 4)[..., ::-1, :, :]  # range rising
    expected = np.moveaxis(
        expected, (-1, -2), (2, 3)
    )  # (2, 3, elevation, azimuth, doppler, range)
    channels = network_input(cubes, 16, elevation_bins=4).unflatten(2, (4, 2)).numpy()
    np.testing.assert_allclose(channels[:, :, :, 0], expected.real, atol=1e-4)
    np.testing.assert_allclose(channels[:, :, :, 1], expected.imag, atol=1e-4)


def test_noise_keeps_magnitudes_at_level_zero():
    cubes = random_cubes((2, 4, 12, 8, 3))
    turned = add_noise(cubes, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(np.abs(turned), np.abs(cubes), rtol=1e-5)
    turns = np.angle(turned / cubes)
    assert np.ptp(turns[0, 0]) == pytest.approx(0, abs=1e-4)  # one phase per frame of a radar
    assert abs(turns[0, 0, 0, 0, 0] - turns[0, 1, 0, 0, 0]) > 1e-3
    assert abs(turns[0, 0, 0, 0, 0] - turns[1, 0, 0, 0, 0]) > 1e-3


def test_noise_has_the_level_asked_for():
    """Power of noise: the mean of U(0, r)^2 is r^2 / 3."""
    rng = np.random.default_rng(0)
    silence = np.zeros((1, 1, 12, 8, 3), np.complex64)
    power = [np.mean(np.abs(add_noise(silence, 0.3, rng)) ** 2) for _ in range(600)]
    assert np.mean(power) == pytest.approx(0.03, rel=0.1)


def test_frames_are_missing_as_often_as_asked():
    """One radar in 30 % of windows; single frames in 20 %, then every fourth on average."""
    rng = np.random.default_rng(0)
    one_radar = Augmentation(dropped_view_ratio=0.3)
    drawn = np.array([draw_valid((2, 9), one_radar, rng) for _ in range(4000)])
    assert set(drawn.sum((1, 2)).tolist()) == {9, 18}  # a radar is there or it is not
    np.testing.assert_allclose((~drawn).any(2).mean(0), [0.15, 0.15], atol=0.02)

    gaps = Augmentation(dropped_frames_ratio=0.2)
    drawn = np.array([draw_valid((2, 9), gaps, rng) for _ in range(4000)])
    assert (~drawn).mean() == pytest.approx(0.2 * 0.25, rel=0.1)
    # of a share p of missing frames, uniform up to 1/2, all 18 are there in 2/19 of the windows
    assert drawn.all((1, 2)).mean() == pytest.approx(1 - 0.2 * (1 - 2 / 19), abs=0.02)

    everything = Augmentation(dropped_view_ratio=1.0, dropped_frames_ratio=1.0)
    assert draw_valid((1, 9), everything, rng).all()


def test_batches_depend_on_seed_and_step_alone():
    first = batches(noise_ratio=0.3, dropped_view_ratio=0.5)(7)
    assert first.heatmaps.shape == (6, 2, 3, 2, 32, 8, 64)
    assert first.valid.shape == (6, 2, 3)
    assert first.keypoints_px.shape == (6, 3, 14, 2)
    extent = first.keypoints_px.amax(2) - first.keypoints_px.amin(2)
    torch.testing.assert_close(first.area_px2, extent.prod(-1) / 2)
    again = batches(noise_ratio=0.3, dropped_view_ratio=0.5)(7)
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert not torch.equal(first.heatmaps, batches(seed=6)(7).heatmaps)
    assert not torch.equal(first.heatmaps, batches()(8).heatmaps)


def test_processes_together_draw_what_one_draws(monkeypatch):
    draw = batches(noise_ratio=0.3, empty_ratio=0.3, dropped_view_ratio=0.5)
    whole = draw(3)
    parts = []
    for rank in range(3):
        mine = slice(2 * rank, 2 * rank + 2)
        monkeypatch.setattr(processes, "share", lambda count, mine=mine: mine)
        parts.append(draw(3))
    for name in whole._fields:
        together = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(together, getattr(whole, name), atol=0, rtol=0, equal_nan=True)


def test_windows_without_anybody_are_noise():
    batch = batches(batch=400, noise_ratio=0.0, empty_ratio=0.25)(0)
    empty = batch.keypoints_px.isnan().flatten(1).all(1)
    assert empty.float().mean() == pytest.approx(0.25, abs=0.06)
    assert not batch.keypoints_px[~empty].isnan().any()
    # noise of power 1 on each of 12 antennas, through a transform of 32 bins: 12 per bin
    power = batch.heatmaps[empty].square().sum(3).mean()
    assert power.item() == pytest.approx(12, rel=0.02)


def test_a_single_radar_is_its_own_part_of_both():
    source, chosen = [recording()], [Window(0, 4), Window(0, 11)]
    both = gather_batch(source, chosen, 3, SMALL)
    for place, name in enumerate(("horizontal", "vertical")):
        one = gather_batch(source, chosen, 3, SMALL, name)
        assert one.valid.shape == (2, 1, 3)
        torch.testing.assert_close(one.heatmaps, both.heatmaps[:, place : place + 1])
    assert both.valid.all()
    np.testing.assert_array_equal(both.keypoints_px[1], source[0].keypoints_px[11:14])
    assert batches(radars="vertical")(0).heatmaps.shape[1] == 1


def test_windows_longer_than_all_recordings_are_refused():
    config = dataclasses.replace(SMALL, frames=31)
    with pytest.raises(ValueError, match="no recording has the 31 frames"):
        TrainingBatches([recording()], config, 2, Augmentation(), 0)


def test_nobody_teaches_the_confidence_alone():
    """The loss is the mean over windows, of which an empty one adds its confidence only."""
    torch.manual_seed(0)
    model = MilliMamba(SMALL)
    batch = batches(batch=2, noise_ratio=0.0)(0)
    output = model(batch.heatmaps)
    config = PoseLossConfig(confidence_weight=0.0)
    first = type(output)(*(part[:1] for part in output[:2]))
    alone = pose_loss(first, batch.keypoints_px[:1], config)["loss"]
    keypoints_px = batch.keypoints_px.clone()
    keypoints_px[1] = torch.nan
    torch.testing.assert_close(pose_loss(output, keypoints_px, config)["loss"], alone / 2)

    config = PoseLossConfig(confidence_weight=1.0)
    keypoints_px[0] = torch.nan
    terms = pose_loss(output, keypoints_px, config)
    torch.testing.assert_close(terms["loss"], output.confidence.square().mean())
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
