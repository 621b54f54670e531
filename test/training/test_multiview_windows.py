"""Windows of rigs: what was seen, when, and where the joints are at the newest shot's instant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.models.densewarper import DenseWarperConfig
from radar_pose_ros.simulation.detector_noise import DetectorNoise
from radar_pose_ros.simulation.multiview import DETECTOR, Detector
from radar_pose_ros.training.multiview_windows import (
    RigBatches,
    RigData,
    draw,
    errors_mm,
    fixed_windows,
    load,
    stack,
    together,
)

PEOPLE = {"train": 2, "validation": 1, "test": 1}
DATA = RigData(simulated=PEOPLE, seconds=3.0, interval_s=(0.1, 0.3))
HELD = DenseWarperConfig(joints=17, size=48)  # shows what each view saw last
VELOCITY = np.array([0.0, 0.6, 0.0])


def walker() -> PoseSequence:
    """Somebody stiff who glides along at 0.6 m/s."""
    person = load(DATA, "train")[0]
    times = np.arange(180)[:, None, None] / 60
    return replace(person, joints_m=person.joints_m[:1] + times * VELOCITY)


def test_shots_are_of_their_instants_and_the_truth_of_the_newest() -> None:
    """A perfect detector sees each view's joints where the person was then."""
    source = walker()
    rng = np.random.default_rng(0)
    for _ in range(6):
        one = draw(source, 1.7, 3, 1, DATA, rng)
        window = one.window
        assert (window.stamp_s, window.view) == (1.7, 1)
        truth = source.joints_m[0] + 1.7 * VELOCITY
        np.testing.assert_allclose(one.joints_m, truth, atol=1e-6)
        ages = window.age_s
        assert ages[1] == 0 and ages.min() == 0 and ages.max() < 0.3
        interval = window.newest[0].stamp_s - window.before[0].stamp_s
        assert 0.1 <= interval <= 0.3 and ages.max() <= interval
        for camera, *shots in zip(one.cameras, window.before, window.newest, strict=True):
            assert shots[1].stamp_s - shots[0].stamp_s == pytest.approx(interval)
            for shot in shots:
                seen = camera.project(source.joints_m[0] + shot.stamp_s * VELOCITY)
                known = shot.confidence > 0
                np.testing.assert_allclose(shot.keypoints_px[known], seen[known], atol=1e-3)


def test_cameras_in_turn_fire_evenly_others_at_random() -> None:
    source, rng = walker(), np.random.default_rng(3)
    one_interval = replace(DATA, interval_s=(0.3, 0.3))
    even = draw(source, 1.5, 3, 2, replace(one_interval, random_share=0.0), rng).window
    assert_close(np.sort(even.age_s).round(9), np.array([0.0, 0.1, 0.2]))
    assert even.age_s[2] == 0
    ages = np.array(
        [
            draw(source, 1.5, 3, 2, replace(one_interval, random_share=1.0), rng).window.age_s
            for _ in range(40)
        ]
    )
    assert (ages[:, 2] == 0).all() and ages[:, :2].mean() == pytest.approx(0.15, abs=0.03)


def test_targets_are_of_the_newest_slot_not_of_the_view() -> None:
    """By hand: the truth at the window's instant, through the view's camera, into its map."""
    data = replace(DATA, random_share=0.0)
    windows = [draw(walker(), 1.2, 2, 0, data, np.random.default_rng(seed)) for seed in (1, 2)]
    batch = stack(windows, HELD, np.full((2, 2), 1.4))
    assert batch.views.slot == 0 and batch.target_px.shape == (2, 2, 1, 17, 2)
    for number, one in enumerate(windows):
        for view, camera in enumerate(one.cameras):
            seen = one.window.keypoints_px[view]
            side = 1.4 * np.ptp(seen, axis=0).max()
            middle = (seen.min(0) + seen.max(0)) / 2

            def in_map(pixels, middle=middle, side=side):
                return (pixels - middle) * 48 / side + 23.5

            np.testing.assert_allclose(
                batch.views.keypoints_px[number, view], in_map(seen), atol=1e-3
            )
            target = in_map(camera.project(one.joints_m))
            np.testing.assert_allclose(batch.target_px[number, view, 0], target, atol=1e-3)
    moved = (batch.target_px[:, :, 0] - batch.views.keypoints_px).norm(dim=-1)
    assert moved[:, 0].max() < 1e-3  # the newest view has them where they are
    assert moved[:, 1].min() > 0.1  # the other looked 50 ms before, 30 mm away
    assert batch.seen.all()


def test_batches_are_the_same_for_the_same_step() -> None:
    people = load(DATA, "train")
    data = replace(DATA, detector=DETECTOR)
    batches = RigBatches(people, 6, HELD, data, 7)
    shapes = [batches.shape(step) for step in range(40)]
    assert {shape[:2] for shape in shapes} == {(6, 2), (3, 3), (2, 4)}
    assert {shape[2] for shape in shapes} == {0, 1, 2, 3}
    step = shapes.index(next(shape for shape in shapes if shape[1] == 3))
    one, again = batches(step), RigBatches(people, 6, HELD, data, 7)(step)
    part = batches(step, slice(1, 3))
    for name in ("keypoints_px", "confidence", "projections", "dt_s"):
        first = getattr(one.views, name)
        np.testing.assert_array_equal(first, getattr(again.views, name))
        np.testing.assert_array_equal(first[1:3], getattr(part.views, name))
    assert not np.array_equal(one.views.dt_s[0], one.views.dt_s[1])
    assert one.views.dt_s[:, one.views.slot].tolist() == [0.0, 0.0, 0.0]


def test_what_a_detector_misses_is_not_seen() -> None:
    blind = replace(DATA, detector=Detector(noise=DetectorNoise(missing_rate=1.0)))
    batch = RigBatches([walker()], 3, HELD, blind, 0)(0)
    assert not batch.seen.any() and batch.views.keypoints_px.isnan().all()
    assert batch.target_px.isnan().all()
    batch = RigBatches([walker()], 3, HELD, replace(blind, learn_truth=True), 0)(0)
    assert batch.target_px.isfinite().all()


def test_what_a_view_has_wrong_is_learnt_but_not_with_the_truth() -> None:
    """Of somebody who stands still, a view's bias is no movement."""
    person = walker()
    still = replace(person, joints_m=np.repeat(person.joints_m[:1], len(person.joints_m), axis=0))
    data = replace(DATA, detector=Detector(bias=6.0))
    batch = RigBatches([still], 6, HELD, data, 0)(0)
    seen = batch.views.keypoints_px
    np.testing.assert_allclose(batch.target_px[:, :, 0], seen, atol=1e-3)
    truth = RigBatches([still], 6, HELD, replace(data, learn_truth=True), 0)(0).target_px[:, :, 0]
    assert 0.5 < float((truth - seen).norm(dim=-1).mean()) < 5  # 6 px of the image, on a heatmap


def test_all_views_together() -> None:
    """Each at the window's instant, of which the newest has its own shot."""
    data = replace(DATA, detector=DETECTOR)
    window = fixed_windows([walker()], data, 1, 3)[0]
    assert [shot.stamp_s for shot in window.together] == [window.window.stamp_s] * 3
    newest = window.window.view
    np.testing.assert_array_equal(
        window.together[newest].keypoints_px, window.window.newest[newest].keypoints_px
    )
    [(keypoints, confidence)] = together([window])
    errors = errors_mm([window], [(keypoints, confidence)])
    assert np.nanmean(errors) > 1
    errors = errors_mm([window], [(keypoints, confidence)], [(keypoints, confidence)])
    assert np.isfinite(errors).any() and not np.nansum(errors)


def test_fixed_windows_are_spread_and_stay_what_they_are() -> None:
    people = load(replace(DATA, simulated=PEOPLE | {"test": 3}), "test")
    windows = fixed_windows(people, DATA, 9)
    assert [one.source for one in windows] == [f"test_{n:05d}" for n in range(3) for _ in range(3)]
    assert [len(one.cameras) for one in windows] == [2, 3, 4] * 3
    again = fixed_windows(people, DATA, 9)
    np.testing.assert_array_equal(windows[4].window.keypoints_px, again[4].window.keypoints_px)
    assert all(len(one.cameras) == 4 for one in fixed_windows(people, DATA, 3, views=4))
    assert all(0.6 < one.window.stamp_s < 3.0 for one in windows)


def test_errors_of_known_places() -> None:
    windows = fixed_windows([walker()], DATA, 4)
    exact = [
        (np.stack([camera.project(one.joints_m) for camera in one.cameras]), np.ones((n, 17)))
        for one in windows
        for n in [len(one.cameras)]
    ]
    assert errors_mm(windows, exact).max() < 1e-6
    moved = [replace(one, joints_m=one.joints_m + [0.0, 0.03, 0.04]) for one in windows]
    np.testing.assert_allclose(errors_mm(moved, exact), 50.0, atol=1e-6)
    one_view = [(seen, np.eye(1, len(seen)).T * np.ones(17)) for seen, _ in exact]
    assert np.isnan(errors_mm(windows, one_view)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": (1, 4)}, "views must be a range from 2 up"),
        ({"interval_s": (0.2, 0.1)}, "interval_s must be a range"),
        ({"random_share": 1.5}, "random_share must be 0 to 1"),
        ({"sureness": (1.0, 0.5)}, "sureness must be a range from 0 up"),
        ({"margin": (0.5, 1.0)}, "margin must be a range from 1 up"),
    ],
)
def test_wrong_rigs_are_named(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DATA, **changes)


def test_what_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"longer than two intervals, 4 s"):
        fixed_windows([walker()], replace(DATA, interval_s=(0.1, 2.0)), 3)
    with pytest.raises(ValueError, match="4 views have more pairs than a batch of 2"):
        RigBatches([walker()], 2, HELD, DATA, 0)


def test_plain_entries() -> None:
    made = RigData.of(
        {
            "simulated": PEOPLE,
            "views": [3, 4],
            "cameras": {"distance_m": [2.0, 3.0]},
            "detector": {"noise": {"white": 2.0}, "missed_rate": 0.1},
        }
    )
    assert made.views == (3, 4) and made.cameras.distance_m == (2.0, 3.0)
    assert made.detector == Detector(noise=DetectorNoise(white=2.0), missed_rate=0.1)
