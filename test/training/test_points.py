"""Training and evaluation of networks that see points, on networks too small to be good at it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.datasets import kinect, mars
from radar_pose_ros.datasets.mars import PointSequence
from radar_pose_ros.models import mars_cnn, weights
from radar_pose_ros.models import points as point_pose
from radar_pose_ros.models.points import PRESETS as POINT_PRESETS
from radar_pose_ros.skeleton.definitions import KINECT25
from radar_pose_ros.training import points, points_evaluation
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.points import (
    RECIPES,
    SCORE,
    PoseLoss,
    Recipe,
    Variation,
    WindowBatches,
    estimate,
)
from radar_pose_ros.training.points_evaluation import MEAN_POSE, Fold, Poses

SMALL = {
    "frames": 8,
    "points": 8,
    "width": 16,
    "encoder_layers": 1,
    "decoder_width": 16,
    "decoder_layers": 1,
}
FLOOR_M = -1.0


def entries(of: str = "points", **changes: object) -> dict:
    """A shipped recipe, tiny."""
    made = recipes.entries(RECIPES / f"{of}.yaml")
    made["loop"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
    if of == "points":
        made["model"] = SMALL
    return made | {"batch": 4} | changes


def recipe(of: str = "points", **changes: object) -> Recipe:
    return Recipe.of(copy.deepcopy(entries(of, **changes)))


def body(frames: int, seed: int = 0) -> np.ndarray:
    """Somebody 2 m away who lifts the left arm again and again, (frames, 25, 3)."""
    rng = np.random.default_rng(seed)
    pose = np.zeros((25, 3))
    pose[:, 0] = 2.0
    pose[:, 2] = np.linspace(0.5, -0.5, 25)
    for side, sign in (("left", 1), ("right", -1)):
        for k, joint in enumerate(KINECT25.joints):
            if joint.startswith(side):
                pose[k, 1] = 0.2 * sign
            if joint.endswith("foot"):
                pose[k, 2] = FLOOR_M
    joints_m = np.repeat(pose[None], frames, axis=0) + 0.05 * rng.normal(size=3)
    lift = 0.3 * np.sin(2 * np.pi * np.arange(frames) / 12 + rng.uniform(0, 6))
    joints_m[:, KINECT25.index("left_wrist"), 2] += lift
    joints_m[..., _foot_rows(), 2] = FLOOR_M
    return joints_m.astype(np.float32)


def _foot_rows() -> list[int]:
    return [k for k, joint in enumerate(KINECT25.joints) if joint.endswith("foot")]


def sequence(
    frames: int = 30, subject: int = 1, movement: int = 1, lost: int = 7
) -> PointSequence:
    """Each joint is a point, faster in later frames and stronger from joint to joint."""
    joints_m = body(frames, seed=subject)
    values = np.zeros((frames, 25, 5), np.float32)
    values[..., :3] = joints_m
    values[..., 3] = 0.01 * np.arange(frames)[:, None]
    values[..., 4] = np.arange(25)
    there = np.arange(frames) != lost
    return PointSequence(
        name=f"mars{subject}_{movement:02d}",
        subject=f"mars{subject}",
        action=f"movement {movement}",
        points=values[there].reshape(-1, 5),
        first=np.concatenate(([0], np.cumsum(25 * there))),
        joints_m=np.where(there[:, None, None], joints_m, np.nan).astype(np.float32),
        parts=np.where(there, np.arange(frames) * 3 // frames, -1).astype(np.int8),
    )


def batches(*sequences: PointSequence, batch: int = 6, **changes: object) -> WindowBatches:
    network = dataclasses.replace(recipe().network, points=25)
    return WindowBatches(sequences, network, batch, Variation(**changes), seed=1)  # type: ignore[arg-type]


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets tiny, also to what saves weights."""
    tiny = recipe().network
    for presets in (POINT_PRESETS, points.PRESETS):
        monkeypatch.setitem(presets, "points", tiny)


@pytest.fixture
def folder(tmp_path):
    """Three people with two movements each; the third one's second is another."""
    for number in (1, 2, 5):
        rows = 40
        joints = np.concatenate([body(20, number), body(20, number + 10)])
        source = np.stack((-joints[..., 1], joints[..., 0], joints[..., 2]), axis=-1)
        values = np.zeros((rows, 25, 5), np.float32)
        values[..., :3] = source
        values[..., 4] = 10.0
        np.savez(
            tmp_path / f"mars_subject{number}.npz",
            points=values.reshape(-1, 5),
            points_cols=np.array(["x_m", "y_depth_m", "z_up_m", "doppler_mps", "intensity"]),
            points_per_frame=np.full(rows, 25, np.uint16),
            kinect_joints_m=source,
            joint_names=np.array(kinect.JOINT_NAMES),
            movement=np.array([1] * 20 + [3 if number == 5 else 2] * 20, np.uint8),
            radar_frame=np.arange(rows, dtype=np.int32),
        )
    return tmp_path


# -- recipes -------------------------------------------------------------------------------------


def test_shipped_recipes_are_valid() -> None:
    ours, cnn = (Recipe.load(RECIPES / f"{name}.yaml") for name in ("points", "mars_cnn"))
    assert ours.is_preset and ours.network == POINT_PRESETS["points"]
    assert cnn.is_preset and cnn.network == mars_cnn.PRESETS["mars_cnn"]
    assert cnn.loss.squared and cnn.variation == Variation() and cnn.batch == 128
    assert cnn.loop.learning_rate == 1e-3 and cnn.loop.ema_decay == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "huge"}, "preset 'huge' is none of points, mars_cnn"),
        ({"batch": 0}, "batch must be a whole number above 0"),
        ({"loss": {"root": -1}}, "loss: root must be 0 or more"),
        ({"loss": {"colour": 1}}, "loss: there is no such entry as 'colour'"),
        ({"variation": {"mirrored": 2}}, "variation: mirrored must be 0 to 1"),
        ({"variation": {"size": [1.2, 0.8]}}, "variation: size wants two numbers above 0"),
        ({"variation": {"kept": [0.5, 1.5]}}, "variation: kept must be at most 1"),
        ({"variation": {"shift_m": [1, 2]}}, "variation: shift_m wants three numbers"),
        ({"variation": {"turn": -1}}, "variation: turn must be 0 or more"),
        ({"variation": {"walking": 1.5}}, "variation: walking must be 0 to 1"),
        ({"variation": {"walking_mps": -1}}, "variation: walking_mps must be 0 or more"),
        ({"model": {"frames": 0}}, "frames must be at least 1"),
    ],
)
def test_wrong_recipes_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe(**changes)


# -- windows -------------------------------------------------------------------------------------


def test_points_and_joints_of_a_window_belong_together() -> None:
    """Every joint is a point: nothing else is in the windows, and nothing is lost on the way."""
    found = 0
    points_at, joints_m = batches(sequence(), batch=40)(0)
    for window, pose in zip(
        points_at.numpy().reshape(-1, 25, 5), joints_m.numpy().reshape(-1, 25, 3), strict=True
    ):
        if np.isnan(pose).all():  # lost, or beyond the ends
            assert np.isnan(window).all()
            continue
        order = window[:, 4].argsort()
        assert_close(window[order, :3], pose)
        found += 1
    assert 150 < found < 320


def test_windows_reach_beyond_both_ends() -> None:
    _, joints_m = batches(sequence(frames=9, lost=-1), batch=60)(0)
    known = joints_m.isfinite().all((2, 3))
    assert known.any(1).all()
    assert not known[:, 0].all() and not known[:, -1].all()


def test_a_step_has_the_same_windows_always() -> None:
    made = batches(sequence(), mirrored=0.5, place_noise_m=0.1, kept=(0.2, 1.0))
    first, again, other = made(3), made(3), made(4)
    assert torch.equal(first[0].nan_to_num(9), again[0].nan_to_num(9))
    assert not torch.equal(first[0].nan_to_num(9), other[0].nan_to_num(9))
    shared = made(3, slice(2, 4))
    assert torch.equal(shared[1].nan_to_num(9), first[1][2:4].nan_to_num(9))


def matched(made: WindowBatches, step: int = 0):
    """Return points in the order of their joints, and joints, of frames with both."""
    points_at, joints_m = (x.numpy() for x in made(step))
    known = np.isfinite(joints_m).all((2, 3))
    rows = points_at[known]
    order = rows[..., 4].argsort(axis=1)
    return np.take_along_axis(rows, order[..., None], axis=1), joints_m[known]


def test_a_mirror_exchanges_left_and_right() -> None:
    one = sequence()
    window, pose = matched(batches(one, mirrored=1.0))
    plain_window, plain = matched(batches(one))
    assert_close(window[..., :3], plain_window[..., :3] * np.float32([1, -1, 1]))
    assert_close(window[..., 3], plain_window[..., 3])
    assert np.abs(pose[:, KINECT25.mirrored()] - plain * np.float32([1, -1, 1])).max() < 1e-5
    assert (pose[:, KINECT25.index("left_hip"), 1] > pose[:, KINECT25.index("right_hip"), 1]).all()


def test_a_mirror_leaves_joints_beside_their_points() -> None:
    """A Kinect that looked 0.15 m aside still does so in the mirror, which is the radar's."""
    one = sequence()
    moved = dataclasses.replace(one, joints_m=one.joints_m + np.float32([0, 0.15, 0]))
    made = batches(moved, mirrored=1.0)
    middle = np.nanmean(one.joints_m[..., 1])
    assert made.aside_m == pytest.approx(
        0.15 + np.nanmean(one.joints_m[:, 0, 1]) - middle, abs=1e-6
    )
    window, pose = matched(made)
    assert_close(window[..., :3] + [0, 0.15, 0], pose[:, KINECT25.mirrored()])


def test_time_that_runs_backwards_turns_speeds_round() -> None:
    one = sequence()
    forward, backward = batches(one)(0), batches(one, reversed=1.0)(0)
    # which frames are drawn does not depend on the direction
    assert_close(
        np.sort(backward[1].nan_to_num(9).numpy(), axis=1),
        np.sort(forward[1].nan_to_num(9).numpy(), axis=1),
    )
    assert_close(backward[1].flip(1).numpy(), forward[1].numpy())
    assert np.nanmax(backward[0][..., 3].numpy()) <= 0 <= np.nanmin(forward[0][..., 3].numpy())


def test_faster_people_have_greater_speeds() -> None:
    """A point's speed is 0.01 of its frame's number, so that it says which frame it is of."""
    window, _ = matched(batches(sequence(frames=60, lost=-1), speed=(2.0, 2.0)))
    assert_close(np.round(window[:, 0, 3] / 0.02), window[:, 0, 3] / 0.02)
    points_at, _ = batches(sequence(frames=60, lost=-1), speed=(2.0, 2.0))(0)
    frames = points_at[..., 0, 3].numpy() / 0.02
    step = np.diff(frames, axis=1)
    assert_close(step[np.isfinite(step)], np.full(np.isfinite(step).sum(), 2.0))


def test_larger_people_stand_on_the_same_floor() -> None:
    window, pose = matched(batches(sequence(), size=(1.2, 1.2)))
    plain_window, plain = matched(batches(sequence()))
    assert_close(window[..., :3], pose)
    assert_close(pose[..., :2], 1.2 * plain[..., :2])
    assert_close(pose[..., 2] - FLOOR_M, 1.2 * (plain[..., 2] - FLOOR_M))
    assert_close(window[..., 3], 1.2 * plain_window[..., 3])


def test_scenes_are_moved_and_turned_as_a_whole() -> None:
    window, pose = matched(batches(sequence(), turn=0.3, shift_m=(0.2, 0.1, 0.05)))
    plain_window, plain = matched(batches(sequence()))
    assert np.abs(window[..., :3] - pose).max() < 1e-5
    assert np.abs(pose - plain).max() > 0.1
    assert_close(window[..., 3], plain_window[..., 3])
    root = [values[:, KINECT25.root] for values in (pose, plain)]
    assert np.abs(root[0][:, 2] - root[1][:, 2]).max() <= 0.05 + 1e-6
    turned, _ = matched(batches(sequence(), turn=0.3))
    assert_close(
        np.linalg.norm(turned[..., :2], axis=-1), np.linalg.norm(plain_window[..., :2], axis=-1)
    )


def test_radars_are_mounted_at_other_heights() -> None:
    """Half of the windows are lifted, each as a whole, by up to 0.3 m either way."""
    made, plain = (batches(sequence(lost=-1), batch=200, **v) for v in (LIFT, {}))
    (points_at, joints_m), (plain_points, plain_joints) = made(0), plain(0)
    lift = (joints_m - plain_joints).numpy()
    assert np.nanmax(np.abs(lift[..., :2])) < 1e-6
    by_window = np.nanmedian(lift[..., 2], axis=(1, 2))
    assert_close(lift[..., 2] - by_window[:, None, None], 0 * lift[..., 2])
    assert_close(
        np.sort((points_at - plain_points)[..., 2].numpy(), axis=2)[:, :, 0],
        lift[..., 0, 2],
    )
    assert (np.abs(by_window) > 1e-6).mean() == pytest.approx(0.5, abs=0.12)
    assert 0.25 < np.abs(by_window).max() <= 0.3


LIFT = {"lifted": 0.5, "lift_m": 0.3}


def walked(**changes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points and joints of windows that walk, (windows, frames, 25, ...), and the way."""
    one = dataclasses.replace(sequence(frames=60, lost=-1))
    one.points[:, 3] = 0.0
    (points_at, joints_m), (_, plain) = (
        batches(one, batch=60, **v)(0) for v in ({"walking_mps": 1.2, **changes}, {})
    )
    whole = joints_m.isfinite().all((1, 2, 3)).numpy()
    order = points_at[whole][..., 4].argsort(dim=2)[..., None].expand(-1, -1, -1, 5)
    way = (joints_m - plain)[whole].numpy()
    assert_close(way, np.broadcast_to(way[:, :, :1], way.shape))
    return points_at[whole].gather(2, order).numpy(), joints_m[whole].numpy(), way[:, :, 0]


def test_people_walk_and_their_speeds_with_them() -> None:
    """Straight on at up to 1.2 m/s; a still point goes away by what the way has along its line."""
    window, pose, way = walked(walking=1.0)
    assert_close(window[..., :3], pose)
    mps = np.diff(way, axis=1) * 10.0
    assert_close(mps, np.broadcast_to(mps[:, :1], mps.shape))
    assert_close(way[..., 2], 0 * way[..., 2])
    speed = np.linalg.norm(mps[:, 0], axis=-1)
    assert 0.9 < speed.max() <= 1.2 and speed.min() < 0.4
    away = (pose * mps[:, :1, None]).sum(-1) / np.linalg.norm(pose, axis=-1)
    assert np.abs(window[..., 3] - away).max() < 1e-4
    assert np.abs(away).max() > 0.5


def test_some_turn_on_their_way() -> None:
    window, pose, way = walked(walking=1.0, turning=1.0)
    assert_close(window[..., :3], pose)
    mps = np.diff(way, axis=1) * 10.0
    along = (mps * mps[:, :1]).sum(-1) / (mps[:, :1] ** 2).sum(-1)  # 1 or -1
    assert np.abs(np.abs(along) - 1).max() < 1e-2
    assert (np.diff(np.sign(along), axis=1) != 0).sum(1).max() == 1
    assert (along.min(1) < 0).mean() > 0.5


def test_nobody_walks_unless_asked() -> None:
    assert np.abs(walked(walking=0.0)[2]).max() < 1e-6


def test_points_frames_and_strengths_go_missing() -> None:
    points_at, joints_m = batches(sequence(lost=-1), batch=200, kept=(0.5, 0.5))(0)
    known = joints_m.isfinite().all((2, 3))
    assert points_at[known][..., 0].isfinite().float().mean() == pytest.approx(0.5, abs=0.02)
    points_at, _ = batches(sequence(lost=-1), batch=200, lost_frames=0.25)(0)
    there = points_at[known][..., 0].isfinite().any(-1)
    assert there.float().mean() == pytest.approx(0.75, abs=0.05)
    points_at, _ = batches(sequence(lost=-1), batch=200, no_strength=0.5)(0)
    unknown = (points_at[..., 4].isnan() & points_at[..., 0].isfinite()).any((1, 2))
    assert unknown.float().mean() == pytest.approx(0.5, abs=0.12)


def test_nothing_to_learn_is_said() -> None:
    one = sequence()
    blind = dataclasses.replace(one, joints_m=np.full_like(one.joints_m, np.nan))
    with pytest.raises(ValueError, match="no frame of the recordings has a pose"):
        batches(blind)


# -- the loss ------------------------------------------------------------------------------------


def test_the_loss_of_a_body_that_is_moved() -> None:
    """All joints 5 cm off: as much for the root, nothing relative to it, nothing in motion."""
    true = torch.randn(2, 3, 25, 3, generator=torch.Generator().manual_seed(0))
    true[0, 1, 3, 0] = torch.nan  # the frame is left out
    loss = PoseLoss(root=0.5, relative=1.0, velocity=1.0)(
        true + torch.tensor([0.03, 0, 0.04]), true
    )
    assert float(loss["mpjpe_m"]) == pytest.approx(0.05, abs=1e-3)
    assert float(loss["root_m"]) == pytest.approx(0.05, abs=1e-3)
    assert float(loss["relative_m"]) < 1e-3 and float(loss["velocity_m"]) < 1e-3
    assert float(loss["loss"]) == pytest.approx(0.075, abs=1e-3)


def test_the_loss_of_a_motion_that_is_missed() -> None:
    true = torch.zeros(1, 3, 25, 3)
    true[0, 1] = 0.2
    loss = PoseLoss(velocity=2.0)(torch.zeros_like(true), true)
    step = 0.2 * 3**0.5
    assert float(loss["velocity_m"]) == pytest.approx(step, abs=1e-3)
    assert float(loss["loss"]) == pytest.approx(step / 3 + 2 * step, abs=1e-3)


def test_the_squared_loss() -> None:
    true = torch.zeros(1, 1, 25, 3)
    assert float(PoseLoss(squared=True)(true + 0.3, true)["loss"]) == pytest.approx(0.09)
    with pytest.raises(ValueError, match="no frame of the batch has a pose"):
        PoseLoss()(true, torch.full_like(true, torch.nan))


# -- estimates -----------------------------------------------------------------------------------


def tiny_network(preset: str = "points"):
    torch.manual_seed(0)
    made = points.network_of(recipe(preset).network).eval()
    torch.nn.init.normal_(made.head.linear.weight, std=0.3)
    return made


@pytest.mark.parametrize("preset", ["points", "mars_cnn"])
def test_estimates_are_those_of_each_frame_s_own_window(preset: str) -> None:
    made, one = tiny_network(preset), sequence()
    c = made.config
    delays = (0, 3) if c.frames > 1 else (0,)
    found = estimate(made, one, delays, batch=7)
    assert found.shape == (len(delays), 30, 25, 3)
    clouds = np.stack([point_pose.choose_points(one.cloud(k), c.points) for k in range(30)])
    for n, delay in enumerate(delays):
        newest = 20 + delay
        window = torch.from_numpy(clouds[newest - c.frames + 1 : newest + 1][None])
        with torch.inference_mode():
            expected = made(window)[0, -1 - delay].numpy()
        assert_close(found[n, 20], expected)
    if preset == "mars_cnn":
        assert np.isnan(found[0, 7]).all()  # that frame was lost
    else:
        assert np.isfinite(found).all()


def test_estimates_of_some_frames() -> None:
    made, one = tiny_network(), sequence()
    whole, some = estimate(made, one, (0, 2)), estimate(made, one, (0, 2), every=4)
    assert_close(some[:, ::4], whole[:, ::4])
    rest = np.arange(30) % 4 != 0
    assert np.isnan(some[:, rest]).all()
    with pytest.raises(ValueError, match="delays must be 0 to 7 frames"):
        estimate(made, one, (8,))


def test_windows_of_those_who_walk_end_where_they_were_recorded() -> None:
    """At 1 m/s away the frame 0.3 s before the newest is 0.3 m nearer, its points 1 m/s faster."""
    made, one = tiny_network(), sequence()
    c = made.config
    found = estimate(made, one, walking_mps=np.tile(np.float32([1.0, 0.0]), (30, 1)))
    clouds = np.stack([point_pose.choose_points(one.cloud(k), c.points) for k in range(30)])
    window = clouds[21 - c.frames : 21].copy()
    window[..., 0] -= 0.1 * np.arange(c.frames)[::-1, None]
    window[..., 3] += window[..., 0] / np.linalg.norm(window[..., :3], axis=-1)
    with torch.inference_mode():
        assert_close(found[0, 20], made(torch.from_numpy(window[None]))[0, -1].numpy())
    with pytest.raises(ValueError, match="delays must be 0 of those who walk"):
        estimate(made, one, (0, 3), walking_mps=np.zeros((30, 2), np.float32))


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["points", "mars_cnn"])
def test_training_writes_weights_that_load_again(preset, tmp_path, small_presets) -> None:
    made = recipe(preset)
    model, result = points.fit_recipe(
        made, [sequence()], [sequence(subject=2)], tmp_path, report=lambda line: None
    )
    assert result.scores[SCORE] == -result.scores["validation_mpjpe_m"]
    entry = points.save(
        model, dataclasses.replace(made, model={}), result, [sequence()], tmp_path, command="test"
    )
    assert entry["poses"]["skeleton"] == "kinect25" and not entry["poses"]["root_relative"]
    assert entry["training_data"]["sha256"] == points.digest([sequence()])
    again, _ = weights.network(tmp_path / entry["file"])
    one = sequence(subject=2)
    difference = estimate(again, one) - estimate(model, one)
    assert np.nanmax(np.abs(difference)) < 0.01  # half precision


def test_a_network_learns_where_somebody_stands(tmp_path) -> None:
    """Two people at different places, of whom the mean is 0.4 m off."""

    def at(x_m: float, subject: int) -> PointSequence:
        one = sequence(subject=1)
        moved = one.points.copy()
        moved[:, 0] += x_m
        joints_m = one.joints_m + np.float32([x_m, 0, 0])
        return dataclasses.replace(one, points=moved, joints_m=joints_m, subject=f"mars{subject}")

    people = [at(-0.4, 1), at(0.4, 2)]
    loop = {"steps": 40, "learning_rate": 0.01, "warmup_steps": 2, "validate_every": 40}
    made = recipe(loop=loop, variation={}, batch=8)
    _, result = points.fit_recipe(made, people, [], tmp_path, report=lambda line: None)
    assert result.scores["validation_mpjpe_m"] < 0.2


def test_interrupted_trainings_go_on(tmp_path) -> None:
    def run(folder, resume=False, **changes):
        return points.fit_recipe(
            recipe(**changes), [sequence()], [], folder, resume=resume, report=lambda line: None
        )[1]

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        points.fit_recipe(recipe(), [sequence()], [], tmp_path / "a", report=stop)
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "b", resume=True)
    run(tmp_path / "c")
    with pytest.raises(ValueError, match="another recipe"):
        run(tmp_path / "c", resume=True, batch=5)
    assert run(tmp_path / "c", resume=True).step in (2, 4)


def train_arguments(*options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    points.add_train_arguments(parser)
    return parser.parse_args([str(option) for option in options])


def test_the_command_trains_and_leaves_somebody_out(folder, tmp_path, small_presets, monkeypatch):
    monkeypatch.setattr(
        Recipe, "load", classmethod(lambda cls, path: dataclasses.replace(recipe(), model={}))
    )
    out = tmp_path / "out"
    points.train(train_arguments("--data", folder, "--out", out, "--without", 5, "--threads", 1))
    entry = weights.read_manifest(out)[0]
    assert entry["training_data"]["description"].startswith(
        "4 movements of mars1, mars2, 80 frame"
    )
    assert entry["command"].endswith(f"--data {folder.name} --without 5")
    with pytest.raises(ValueError, match="there is no subject 4, only 1, 2, 5"):
        points.train(train_arguments("--data", folder, "--out", tmp_path / "o", "--without", 4))


# -- evaluation ----------------------------------------------------------------------------------


def people() -> dict[int, list[PointSequence]]:
    return {n: [sequence(subject=n, movement=m) for m in (1, 2)] for n in (1, 2, 5)}


def test_folds_leave_one_person_out() -> None:
    made = points_evaluation.folds(people(), "people", [2, 5])
    assert [fold.name for fold in made] == ["without_2", "without_5"]
    assert {one.subject for one in made[0].training} == {"mars1", "mars5"}
    assert {one.subject for one in made[0].test} == {"mars2"}


def test_blocks_are_parts_of_everybody() -> None:
    """30 frames, one lost: of each third, training has the first and the test the last."""
    (fold,) = points_evaluation.folds(people(), "blocks", [2])
    assert len(fold.training) == 6 and {one.subject for one in fold.test} == {"mars2"}
    assert all((one.parts[one.parts >= 0] == 0).all() for one in fold.training)
    assert all((one.parts == 2).all() for one in fold.test)


def test_nobody_to_test_is_said() -> None:
    blind = [
        dataclasses.replace(s, joints_m=np.full_like(s.joints_m, np.nan)) for s in people()[1]
    ]
    with pytest.raises(ValueError, match="subject 1 has no frame with all 25 joints"):
        points_evaluation.folds({**people(), 1: blind}, "people", [1])
    empty = [
        dataclasses.replace(s, points=s.points[:0], first=np.zeros_like(s.first))
        for s in people()[1]
    ]
    with pytest.raises(ValueError, match="subject 1 has no points to test"):
        points_evaluation.folds({**people(), 1: empty}, "people", [1])
    late = [one.joints_m.copy() for one in people()[1]]
    for joints_m in late:
        joints_m[20:] = np.nan
    early = [dataclasses.replace(s, joints_m=j) for s, j in zip(people()[1], late, strict=True)]
    folded = points_evaluation.folds({**people(), 1: early}, "people", [1])
    assert len(folded[0].test) == 2
    with pytest.raises(ValueError, match="mars1 has no frame with all 25 joints in the last fif"):
        points_evaluation.folds({**people(), 1: early}, "blocks", [1, 2])


def poses_of(subject: str, off_m: float) -> Poses:
    true = body(8)
    found = {
        "points": true + np.float32([off_m, 0, 0]),
        "mars_cnn": true + np.float32([0, 2 * off_m, 0]),
        MEAN_POSE: true + np.float32([0, 0, 3 * off_m]),
    }
    found["points"][0] = np.nan
    actions = np.array(["movement 1"] * 4 + ["movement 10"] * 4)
    return Poses(subject, actions, true, found)


def test_those_elsewhere_are_measured_where_they_were(monkeypatch) -> None:
    """The network follows on the floor plan, so that it is as good; the small one does not."""
    monkeypatch.setattr(points_evaluation, "_MOVED_M", (1.0, 1.0, 0.0))
    monkeypatch.setattr(points_evaluation, "_WALKING_MPS", 0.0)
    networks = {name: tiny_network(name) for name in ("points", "mars_cnn")}
    (found,) = points_evaluation.measure([sequence()], networks, np.zeros((25, 3)))
    poses_m = found.found_m
    assert np.nanmax(np.abs(poses_m["points_moved"] - poses_m["points"])) < 1e-3
    assert_close(poses_m["points_walking"], poses_m["points"])
    assert np.nanmax(np.abs(poses_m["mars_cnn_moved"] - poses_m["mars_cnn"])) > 0.1
    assert "mars_cnn_walking" not in poses_m
    ids = {row["id"] for row in points_evaluation.rows([found], "people")}
    assert {
        *("mars.loso_moved_mpjpe_m", "mars.cnn_loso_moved_mpjpe_m"),
        *("mars.loso_walking_mpjpe_m", "mars.late_0_2s_loso_mpjpe_m"),
    } <= ids


def test_scores_count_people_alike() -> None:
    found = points_evaluation.scores([poses_of("mars1", 0.1), poses_of("mars3", 0.3)], "points")
    assert found.mpjpe == pytest.approx(0.2, abs=1e-4)
    assert found.p_mpjpe == pytest.approx(0, abs=1e-4)
    assert_close(found.mae, np.float32([0.2, 0, 0]))
    assert found.by_subject == pytest.approx({"mars1": 0.1, "mars3": 0.3}, abs=1e-4)
    assert found.by_action == pytest.approx({"movement 1": 0.2, "movement 10": 0.2}, abs=1e-4)
    assert found.by_joint.shape == (25,) and found.missing == pytest.approx(1 / 8)


def test_rows_name_methods_and_say_the_target() -> None:
    """15 % below 0.4 m is 0.34, 35 % below 0.6 m is 0.39 m: the lower one counts."""
    measured = [poses_of("mars1", 0.1), poses_of("mars3", 0.3)]
    rows = {row["id"]: row for row in points_evaluation.rows(measured, "people")}
    own = rows["mars.loso_mpjpe_m"]
    assert own["value"] == pytest.approx(0.2, abs=1e-4) and own["met"]
    assert own["target"] == pytest.approx(0.34, abs=1e-4)
    assert rows["mars.cnn_loso_mpjpe_m"]["value"] == pytest.approx(0.4, abs=1e-4)
    assert rows["mars.mean_pose_loso_mpjpe_m"]["value"] == pytest.approx(0.6, abs=1e-4)
    assert rows["mars.loso_mars3_mpjpe_m"]["value"] == pytest.approx(0.3, abs=1e-4)
    assert rows["mars.loso_movement_10_mpjpe_m"]["value"] == pytest.approx(0.2, abs=1e-4)
    assert rows["mars.cnn_loso_mae_y_m"]["value"] == pytest.approx(0.4, abs=1e-4)
    assert rows["mars.loso_left_knee_mpjpe_m"]["target"] is None
    assert points_evaluation.rows(measured, "blocks")[0]["id"] == "mars.split_mpjpe_m"
    assert points_evaluation.late("points", 12, 10.0) == "points_late_1.2s"


def test_tables_say_what_fails() -> None:
    """A method as bad as the mean pose for one movement fails there only."""
    one = poses_of("mars1", 0.1)
    one.found_m["points"][4:] = one.found_m[MEAN_POSE][4:]
    text = "\n".join(points_evaluation.lines([one], "people"))
    assert "Less than 15% better than the mean pose: 10 right limb extension (0%)." in text
    assert "| 1 left upper limb extension | 10.0 | 20.0 | 30.0 |" in text
    assert "missed by" in text
    assert text.startswith("## People who were never seen: 1 person, 8 frames; errors in cm")


def evaluate_arguments(*options: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    points_evaluation.add_evaluate_arguments(parser)
    return parser.parse_args([str(option) for option in options])


def test_the_command_measures_and_keeps_folds(folder, tmp_path, small_presets, capsys) -> None:
    out, file = tmp_path / "out", tmp_path / "mars.json"
    given = (
        "--data",
        folder,
        "--subject",
        5,
        "--protocol",
        "people",
        "--steps",
        2,
        "--threads",
        1,
    )
    arguments = evaluate_arguments(*given, "--out", out, "--json", file)
    assert points_evaluation.evaluate(arguments) == 0
    assert "points, without_5: training" in capsys.readouterr().out
    first = file.read_text()
    rows = {row["id"]: row["value"] for row in json.loads(first)["results"]}
    assert rows["mars.loso_mpjpe_m"] == rows["mars.loso_mars5_mpjpe_m"] > 0
    truth = np.concatenate([s.joints_m for s in mars.load_points(folder / "mars_subject5.npz")])
    others = [
        s.joints_m for n in (1, 2) for s in mars.load_points(folder / f"mars_subject{n}.npz")
    ]
    mean = np.concatenate(others).mean(axis=0)
    expected = np.linalg.norm(truth - mean, axis=-1).mean()
    assert rows["mars.mean_pose_loso_mpjpe_m"] == pytest.approx(expected, abs=1e-5)
    assert points_evaluation.evaluate(arguments) == 0  # nothing is trained again
    assert "training" not in capsys.readouterr().out
    assert json.loads(file.read_text())["results"] == json.loads(first)["results"]
    other = (*given, "--seed", 1, "--json", file)
    with pytest.raises(ValueError, match="another recipe"):
        points_evaluation.evaluate(evaluate_arguments(*other, "--out", out))
    arguments = evaluate_arguments(*other, "--out", tmp_path / "other")
    assert points_evaluation.evaluate(arguments) == 0
    rows_of_other = {row["id"]: row["value"] for row in json.loads(file.read_text())["results"]}
    assert rows_of_other["mars.loso_mpjpe_m"] != rows["mars.loso_mpjpe_m"]


def test_kept_folds_of_other_recordings_or_recipes_are_refused(folder, tmp_path, small_presets):
    made = dataclasses.replace(recipe("mars_cnn"), model={})
    fold = Fold("here", [sequence()], [sequence(subject=2)])
    points_evaluation.trained(made, fold, tmp_path, report=lambda line: None)
    other = Fold("here", [sequence(subject=3)], fold.test)
    with pytest.raises(ValueError, match="a training on other recordings"):
        points_evaluation.trained(made, other, tmp_path, report=lambda line: None)
    with pytest.raises(ValueError, match="another recipe"):
        points_evaluation.trained(dataclasses.replace(made, batch=5), fold, tmp_path)


def test_weights_are_measured_on_people_whom_they_have_not_seen(
    folder, tmp_path, small_presets, capsys
) -> None:
    made = dataclasses.replace(recipe(), model={})
    training = mars.load_points(folder / "mars_subject1.npz")
    out = tmp_path / "weights"
    model, result = points.fit_recipe(made, training, [], out, report=lambda line: None)
    entry = points.save(model, made, result, training, out, command="test")
    for number in (1, 2):
        (folder / f"mars_subject{number}.npz").unlink()
    with pytest.raises(ValueError, match="nobody to learn from: measure weights that are there"):
        points_evaluation.evaluate(evaluate_arguments("--data", folder))
    file = tmp_path / "mars.json"
    given = ("--weights", out / entry["file"], "--json", file, "--threads", 1)
    assert points_evaluation.evaluate(evaluate_arguments("--data", folder, *given)) == 0
    rows = {row["id"]: row for row in json.loads(file.read_text())["results"]}
    truth = np.concatenate([s.joints_m for s in mars.load_points(folder / "mars_subject5.npz")])
    mean = np.concatenate([one.joints_m for one in training]).mean(axis=0)
    expected = np.linalg.norm(truth - mean, axis=-1).mean()
    row = rows["mars.mean_pose_loso_mpjpe_m"]
    assert row["value"] == pytest.approx(expected, abs=2e-3)  # half precision
    assert rows["mars.loso_mpjpe_m"]["target"] is None
    assert "mars.cnn_loso_mpjpe_m" not in rows
    for option in (("--steps", 3), ("--seed", 1), ("--protocol", "blocks")):
        with pytest.raises(ValueError, match="are of trainings, and --weights trains nothing"):
            points_evaluation.evaluate(evaluate_arguments("--data", folder, *given, *option))
    (folder / "mars_subject5.npz").rename(folder / "mars_subject01.npz")
    with pytest.raises(ValueError, match="was trained on mars1, among them subject 1"):
        points_evaluation.evaluate(evaluate_arguments("--data", folder, *given))


def test_wrong_subjects_are_named(folder, tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no subject 9, only 1, 2, 5"):
        points_evaluation.evaluate(evaluate_arguments("--data", folder, "--subject", 9))
    for number in (1, 2):
        (folder / f"mars_subject{number}.npz").unlink()
    arguments = train_arguments("--data", folder, "--without", 5, "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="nobody but subject 5"):
        points.train(arguments)
