"""Training and evaluation of MixSynthFormer on data small enough to be made on the spot."""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml
from tolerances import assert_close

from radar_pose_ros.models import deciwatch, mixsynthformer, weights
from radar_pose_ros.models.mixsynthformer import MixSynthFormer
from radar_pose_ros.skeleton.definitions import JHMDB15
from radar_pose_ros.skeleton.rotations import axis_angle_to_6d
from radar_pose_ros.training import mixsynthformer as training
from radar_pose_ros.training.mixsynthformer import (
    BASELINES,
    PRESETS,
    RECIPES,
    Case,
    Recipe,
    cases,
    estimate_by_method,
    fit_recipe,
    loss_terms,
    measure,
    measure_all,
    measure_prediction,
    tracks_of,
)
from radar_pose_ros.training.pose_tracks import Batch, Track, TrackData
from radar_pose_ros.training.recipe import RecipeError

TINY = {
    "data": {"simulated": {"train": 2, "validation": 1, "test": 2}, "seconds": 4.0},
    "batch": 2,
    # so slow that it stays near what it began as
    "loop": {"steps": 2, "warmup_steps": 1, "validate_every": 2, "learning_rate": 1e-6},
}


def tiny(path, preset: str, **changes):
    """Write a recipe that takes a second."""
    recipe = {"base": str(RECIPES / f"{preset}.yaml"), **TINY, **changes}
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_shipped_recipes_are_valid() -> None:
    """Each is for the preset of its name, and as it is."""
    paths = sorted(RECIPES.glob("*.yaml"))
    assert len(paths) > 8
    for path in paths:
        recipe = Recipe.load(path)
        assert path.stem == recipe.preset
        assert recipe.is_preset
        values = 2 if recipe.data.image or recipe.preset.startswith("jhmdb") else 3
        if recipe.preset.endswith("_smpl"):
            values = 6
        assert recipe.network.values == values


def test_published_settings() -> None:
    """Batch and learning rate of the tasks for which there are files."""
    published = {
        "jhmdb_simplepose": (256, 1e-3),
        "h36m_fcn": (256, 1e-3),
        "pw3d_spin": (256, 1e-3),
        "pw3d_eft": (256, 1e-3),
        "pw3d_pare": (256, 5e-3),
        "aist_spin": (512, 1e-3),
        "pw3d_pare_smpl": (256, 1e-3),
        "aist_spin_smpl": (512, 1e-3),
    }
    for preset, (batch, rate) in published.items():
        recipe = Recipe.load(RECIPES / f"{preset}.yaml")
        assert (recipe.batch, recipe.loop.learning_rate) == (batch, rate)
        files = f"{recipe.detected['dataset']}_{recipe.detected['estimator']}"
        assert files + ("_smpl" if recipe.rotations else "") == preset


def test_names_of_presets_do_not_repeat() -> None:
    assert not set(mixsynthformer.PRESETS) & set(deciwatch.PRESETS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "huge"}, "preset 'huge' is none of aist_spin, "),
        ({"objective": "past"}, "'past' is none of all, future"),
        ({"objective": "future"}, "radar_2d predicts no future frames"),
        ({"detected": {"dataset": "h36m"}}, "wants dataset and estimator"),
        (
            {"detected": {"dataset": "aist", "estimator": "spin", "values": "shapes"}},
            "values 'shapes' is none of joints, rotations",
        ),
        (
            {"detected": {"dataset": "aist", "estimator": "spin", "values": "rotations"}},
            "preset radar_2d has 2 numbers for a joint: only those with 6 are for rotations",
        ),
        ({"preset": "aist_spin_smpl"}, "they want detected: {values: rotations}"),
        (
            {
                "preset": "aist_spin_smpl",
                "detected": {"dataset": "aist", "estimator": "spin", "values": "rotations"},
            },
            "rotations want image, mirrored to be false",
        ),
        ({"model": {"wdth": 3}}, "model: there is no such entry as 'wdth': did you mean width"),
        ({"lop": {}}, "there is no such entry as 'lop': did you mean loop?"),
        ({"zebra": 1}, "'zebra': allowed are preset, data, batch, loop, objective, detected, mod"),
        ({"data": {"secondz": 3}}, "data: there is no such entry as 'secondz': did you mean seco"),
        ({"data": {"noise": {"whyte": 1}}}, "data: noise: there is no such entry as 'whyte'"),
        (
            {"data": {"simulated": {"trainn": 1}}},
            "data: simulated: .*'trainn': did you mean train",
        ),
        ({"loop": {"stepz": 0}}, "loop: there is no such entry as 'stepz': did you mean steps"),
        ({"loop": 3}, "want entries, each with its name, got 3"),
        (
            {"data": {"seconds": 0.2}},
            "data: seconds 0.2 at 30 Hz are 6 frames, fewer than the 25 of a window: want at least"
            " 0.833",
        ),
        ({"data": {"noise": {"white": -1}}}, "white must be from 0"),
        ({"loop": {"steps": 0}}, "at least 1"),
    ],
)
def test_wrong_recipes_are_named(tmp_path, change: dict, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"base": str(RECIPES / "radar_2d.yaml"), **change}))
    with pytest.raises(RecipeError, match=message) as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


# -- losses --------------------------------------------------------------------------------------


def test_losses_by_hand() -> None:
    """A fresh network of ours is linear interpolation: what it is off by is known."""
    recipe = Recipe.load(RECIPES / "radar_2d.yaml")
    network = MixSynthFormer(recipe.network).eval()
    keyframes = torch.full((2, 9, 14, 2), 100.0)
    truth = torch.full((2, 25, 14, 2), 100.0)
    truth[0, 3] += 25.6  # one frame of fifty, by a tenth of the image
    loss = loss_terms(network, Batch(keyframes, truth), recipe)["loss"]
    assert loss.item() == pytest.approx(0.1 / 50, rel=1e-3)


def test_loss_of_the_future_is_the_joints_distance_there() -> None:
    recipe = Recipe.load(RECIPES / "h36m_prediction.yaml")
    network = MixSynthFormer(recipe.network).eval()
    keyframes = torch.zeros(1, 10, 17, 3)
    truth = torch.zeros(1, 20, 17, 3)
    truth[:, :10] = 9.0  # the past does not count
    truth[:, 15, :, :2] = torch.tensor([0.3, 0.4])
    loss = loss_terms(network, Batch(keyframes, truth), recipe)["loss"]
    assert loss.item() == pytest.approx(0.5 / 10)


def test_deciwatch_has_two_losses() -> None:
    recipe = dataclasses.replace(
        Recipe.load(RECIPES / "mocap_3d.yaml"), preset="deciwatch_mocap_3d"
    )
    network = training.build(recipe.network).eval()
    keyframes = torch.zeros(1, 11, 17, 3)
    truth = torch.zeros(1, 101, 17, 3)
    truth[:, 50] = 1.0  # a keyframe
    terms = {k: v.item() for k, v in loss_terms(network, Batch(keyframes, truth), recipe).items()}
    assert terms["recovery"] == pytest.approx(1 / 101)
    assert terms["denoising"] == pytest.approx(1 / 11)
    assert terms["loss"] == pytest.approx(1 / 101 + 1 / 11)


# -- measures ------------------------------------------------------------------------------------


def moving(frames: int, acceleration: float = 0.0, rate_hz: float = 25.0) -> Track:
    """Somebody who moves along x at 1 m/s and faster; the pose itself stays."""
    time_s = np.arange(frames) / rate_hz
    pose = np.random.default_rng(0).normal(size=(17, 3))
    place = (time_s + acceleration / 2 * time_s**2)[:, None, None] * [1.0, 0, 0]
    return Track("a", "somebody", rate_hz, "h36m17", (pose + place).astype(np.float32))


def test_measure_in_space_and_in_an_image() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(6, 17, 3))
    shifted = truth + [0.03, 0.04, 0.0]
    found = measure(shifted, truth)
    assert_close(found["mpjpe_mm"], 50.0)
    np.testing.assert_allclose([found["p_mpjpe_mm"], found["accel_mm"]], 0.0, atol=1e-6)
    bump = truth.copy()
    bump[3] += [0.0, 0.0, 0.001]  # second differences: 1, -2, 1 mm in three of four instants
    assert_close(measure(bump, truth)["accel_mm"], 1.0)
    flat = measure(bump[..., 1:], truth[..., 1:])
    assert_close([flat["error"], flat["accel"]], [0.001 / 6, 0.001])


def test_measure_of_boxes() -> None:
    """In an image of 200 x 100 pixels, boxes 20 x 40: 2, 4 and 8 pixels are allowed."""
    truth = np.full((4, 2, 2), 0.5)
    estimate = truth.copy()
    estimate[:, 0, 0] += [0.0, 0.005, 0.015, 0.03]  # 0, 1, 3 and 6 pixels
    estimate[:, 1, 1] += [0.03, 0.05, 0.1, 0.1]  # 3, 5, 10 and 10
    boxes = np.float32([[10, 10, 30, 50]] * 4)
    found = measure(estimate, truth, (200, 100), boxes)
    got = [found[name] for name in ("pck_0_05", "pck_0_1", "pck_0_2")]
    assert_close(got, [(2 + 0) / 8, (3 + 1) / 8, (4 + 2) / 8])
    assert_close(found["error"], np.abs(estimate - truth).sum() / 8)
    unboxed = {"error": found["error"], "accel": found["accel"]}
    assert measure(estimate, truth, (200, 100)) == unboxed
    assert measure(estimate, truth, (200, 100), np.full((4, 4), np.nan)) == unboxed


def test_pck_is_the_mean_over_movements_with_boxes() -> None:
    """Boxes of the frames up to the last keyframe; the row says of how many movements."""
    place = np.full((12, 15, 2), 0.5, np.float32)
    seen = place.copy()
    seen[5:, :, 0] += 0.1  # 10 pixels: from the second keyframe on
    boxes = np.zeros((12, 4), np.float32)
    boxes[:, 2:] = 60  # 3, 6 and 12 pixels
    boxes[11] = [0, 0, 1, 1]  # after the last keyframe
    tracks = [
        Track("a", "a", 30.0, "jhmdb15", place, seen, size_px=(100, 100), boxes_px=boxes),
        Track("b", "b", 30.0, "jhmdb15", place, place, size_px=(100, 100), boxes_px=boxes),
        Track("c", "c", 30.0, "jhmdb15", place, seen, size_px=(100, 100)),
    ]
    data = TrackData(30.0, turned=False)
    found = cases(tracks, 5, data)
    assert found[0].boxes_px is not None and len(found[0].boxes_px) == 11
    assert found[2].boxes_px is None
    held = measure_all(found, lambda case: estimate_by_method(case, 5, "linear"))
    parts = ("neck", "belly", "face", "shoulder", "hip", "elbow", "knee", "wrist", "ankle")
    assert {name: len(values) for name, values in held.items()} == {
        "error": 3, "accel": 3, "pck_0_05": 2, "pck_0_1": 2, "pck_0_2": 2,
        **{f"pck_0_2_{part}": 2 for part in parts},
    }  # fmt: skip
    # on the way to 10 pixels: 0, 2, 4, 6, 8, and 10 in frames 5 to 10
    assert_close(held["pck_0_05"], [2 / 11, 1.0])
    assert_close(held["pck_0_1"], [3 / 11, 1.0])
    assert_close(held["pck_0_2"], [1.0, 1.0])
    recipe = Recipe.load(RECIPES / "jhmdb_simplepose.yaml")
    model = training.build(dataclasses.replace(recipe.network, interval=5, temporal_reduction=1))
    rows = {row["id"]: row for row in training.results_of(model.eval(), recipe, tracks)}
    assert rows["test.pck_0_05_linear"]["value"] == pytest.approx((2 / 11 + 1) / 2)
    assert rows["test.pck_0_05_linear"]["against"] == "mean over 2 movements"
    assert rows["test.error_linear"]["against"] == "mean over 3 movements"


def test_pck_by_part_is_of_the_joints_of_that_name() -> None:
    """One wrist of two is 30 px off in half of the frames, where 20 px are allowed."""
    truth = np.full((4, 15, 2), 50.0)
    estimate = truth.copy()
    estimate[:2, JHMDB15.index("right_wrist"), 0] += 30.0
    found = measure(estimate, truth, None, np.float32([[0, 0, 100, 50]] * 4), "jhmdb15")
    wrong = {name: value for name, value in found.items() if "0_2" in name and value != 1.0}
    assert wrong == {"pck_0_2": pytest.approx(14.5 / 15), "pck_0_2_wrist": 0.75}
    assert found["pck_0_2_hip"] == found["pck_0_2_face"] == 1.0


def test_measure_of_rotations() -> None:
    """30 degrees off about z in one joint of two, in all frames."""
    truth = axis_angle_to_6d(np.zeros((5, 2, 3)))
    vectors = np.zeros((5, 2, 3))
    vectors[:, 1, 2] = np.pi / 6
    found = measure(3 * axis_angle_to_6d(vectors), truth)
    assert found["angle_deg"] == pytest.approx(15.0)
    assert found["accel_deg"] == pytest.approx(0.0, abs=1e-6)
    vectors[2, 1, 2] += np.radians(1.0)  # second differences: 1, -2, 1 degrees in three instants
    assert measure(axis_angle_to_6d(vectors), truth)["accel_deg"] == pytest.approx(4 / 6)


def test_cases_are_the_same_for_all_and_end_at_a_keyframe() -> None:
    recipe = Recipe.load(RECIPES / "mocap_3d.yaml")
    tracks = [moving(38), moving(9)]
    (one,) = cases(tracks, 10, recipe.data)
    assert one.keyframes.shape == (4, 17, 3) and one.truth.shape == (31, 17, 3)
    (again,) = cases(tracks, 10, recipe.data)
    np.testing.assert_array_equal(one.keyframes, again.keyframes)


@pytest.mark.parametrize("method", BASELINES)
def test_baselines_fill_every_frame(method: str) -> None:
    """Of a line at rest all methods give the line; moving, the splines do."""
    subject = moving(41)
    still = Case(subject, np.repeat(subject.truth[:1], 5, axis=0), subject.truth)
    np.testing.assert_allclose(
        estimate_by_method(still, 10, method), np.repeat(subject.truth[:1], 41, axis=0), atol=1e-6
    )
    if method in ("linear", "quadratic", "cubic", "savgol"):
        case = Case(subject, subject.truth[::10], subject.truth)
        np.testing.assert_allclose(estimate_by_method(case, 10, method), subject.truth, atol=1e-6)


def test_the_node_takes_the_mean_of_fewer_windows() -> None:
    """Window by window, by hand: of five keyframes' windows of three, at most two over a frame."""
    torch.manual_seed(0)
    config = dataclasses.replace(
        PRESETS["pose_3d_fast"], interval=3, segments=2, temporal_reduction=1
    )
    network = MixSynthFormer(config).eval()
    with torch.no_grad():  # so that windows disagree
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    subject = moving(13)
    noise = 0.1 * np.random.default_rng(1).normal(size=(5, 17, 3))
    case = Case(subject, (subject.truth[::3] + noise).astype(np.float32), subject.truth)
    with torch.no_grad():
        windows = [network(torch.from_numpy(case.keyframes[None, k : k + 3]))[0] for k in range(3)]
    one = training.estimate_as_node(case, network, 1)
    assert one.shape == (13, 17, 3)
    # the last segment of each window, and all of the first one
    expected = np.concatenate([windows[0], windows[1][4:], windows[2][4:]])
    np.testing.assert_allclose(one, expected, atol=1e-6)
    two = training.estimate_as_node(case, network, 2)
    share = np.array([1, 2, 3])[:, None, None] / 4  # 1 2 3 3 2 1: rising meets falling
    middle = share * windows[1][1:4].numpy() + (1 - share) * windows[0][4:7].numpy()
    np.testing.assert_allclose(two[4:7], middle, atol=1e-6)
    for every in (0, 64):
        np.testing.assert_array_equal(training.estimate_as_node(case, network, every), two)
    assert np.abs(two - one).max() > 1e-3


def test_rows_of_the_node_s_own_setting() -> None:
    """Beside those of all windows: its default of two, where the network has eight."""
    assert (training.node_blend(), training.node_blend(12)) == (2, 1)
    recipe = Recipe.load(RECIPES / "radar_2d.yaml")
    torch.manual_seed(0)
    network = MixSynthFormer(dataclasses.replace(recipe.network, width=16, layers=1)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    truth = (100 + np.cumsum(np.random.default_rng(0).normal(size=(61, 14, 2)), 0)).astype("f4")
    tracks = [Track("a", "a", 30.0, "hupr14", truth, truth)]
    rows = {row["id"]: row["value"] for row in training.results_of(network, recipe, tracks)}
    (case,) = cases(tracks, 3, recipe.data)
    for name, value in measure(training.estimate_as_node(case, network, 2), case.truth).items():
        assert rows[f"test.{name}_node"] == pytest.approx(value)
    assert rows["test.error_node"] != pytest.approx(rows["test.error"], rel=1e-4)


def test_prediction_baselines_by_hand() -> None:
    """At 1 m/s the last pose is 80 mm behind after 80 ms; a velocity misses the acceleration."""
    config = PRESETS["h36m_prediction"]
    data = TrackData(25.0)
    still = measure_prediction([moving(60)], config, data, "zero_velocity")
    for name, wanted in zip(still, (80.0, 160.0, 320.0, 400.0), strict=True):
        np.testing.assert_allclose(still[name], [wanted], rtol=1e-4)
    constant = measure_prediction([moving(60)], config, data, "constant_velocity")
    np.testing.assert_allclose(list(constant.values()), 0.0, atol=1e-2)
    # n steps of dt at 2 m/s^2: n^2 dt^2 of the truth, - n dt^2 of a velocity from the last step
    faster = measure_prediction([moving(60, 2.0)], config, data, "constant_velocity")
    wanted = [1e3 * (n**2 + n) / 25**2 for n in (2, 4, 8, 10)]
    np.testing.assert_allclose([v[0] for v in faster.values()], wanted, rtol=1e-3)


def test_only_times_that_are_predicted_are_measured() -> None:
    """Five frames at 25 Hz are 200 ms; at 10 Hz 80 ms are the first frame, at 5 Hz none."""
    config = dataclasses.replace(PRESETS["h36m_prediction"], future_frames=5)
    still = measure_prediction([moving(60)], config, TrackData(25.0), "zero_velocity")
    assert still.keys() == {"mpjpe_mm_80", "mpjpe_mm_160"}
    np.testing.assert_allclose([v[0] for v in still.values()], [80.0, 160.0], rtol=1e-4)
    slow = [moving(60, rate_hz=10.0)]
    found = measure_prediction(slow, config, TrackData(10.0), "zero_velocity")
    wanted = {"mpjpe_mm_80": 100.0, "mpjpe_mm_160": 200.0, "mpjpe_mm_320": 300.0}
    assert {k: v[0] for k, v in found.items()} == pytest.approx(wanted | {"mpjpe_mm_400": 400.0})
    slower = measure_prediction([moving(60, rate_hz=5.0)], config, TrackData(5.0), "zero_velocity")
    assert slower.keys() == {"mpjpe_mm_160", "mpjpe_mm_320", "mpjpe_mm_400"}


def test_a_fresh_network_predicts_a_damped_movement() -> None:
    """At 1 m/s, 40 mm per frame: 0.9 + 0.81 of two frames are gone after 80 ms, and so on."""
    network = MixSynthFormer(PRESETS["h36m_prediction"]).eval()
    got = measure_prediction([moving(60)], network.config, TrackData(25.0), network)
    short = [n - sum(0.9**k for k in range(1, n + 1)) for n in (2, 4, 8, 10)]
    np.testing.assert_allclose([v[0] for v in got.values()], 40 * np.array(short), rtol=1e-3)


# -- the whole way -------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["radar_2d_live", "pose_3d_fast", "h36m_prediction"])
def test_train_then_evaluate(tmp_path, capsys, preset: str) -> None:
    path = tiny(tmp_path / "tiny.yaml", preset)
    common = ["--preset", preset, "--recipe", str(path), "--threads", "1", "--device", "cpu"]
    common += ["--cache", str(tmp_path / "estimated")]
    parser = argparse.ArgumentParser()
    training.add_train_arguments(parser)
    out = tmp_path / "out"
    assert training.train(parser.parse_args(["--out", str(out), *common])) == 0

    file = out / f"mixsynthformer_{preset}.safetensors"
    state, entry = weights.load(file)
    config = PRESETS[preset]
    assert entry["config"]["temporal_reduction"] == config.temporal_reduction
    assert entry["config"]["spatial_reduction"] == config.spatial_reduction
    assert entry["training_data"]["subjects"] == 2
    assert entry["training_data"]["licence"].startswith("Apache-2.0")
    assert (
        entry["poses"]
        == {
            "radar_2d_live": _learnt_from("hupr14", "px", False, 30),
            "pose_3d_fast": _learnt_from("h36m17", "m", False, 30, axes="any"),
            "h36m_prediction": _learnt_from("h36m17", "m", True, 25, axes="world"),
        }[preset]
    )
    MixSynthFormer(config).load_state_dict(state)

    parser = argparse.ArgumentParser()
    training.add_evaluate_arguments(parser)
    numbers = tmp_path / "numbers.json"
    arguments = ["--weights", str(file), "--json", str(numbers), *common]
    assert training.evaluate(parser.parse_args(arguments)) == 0
    values = {row["id"]: row["value"] for row in json.loads(numbers.read_text())["results"]}
    name = {"radar_2d_live": "error", "pose_3d_fast": "mpjpe_mm"}.get(preset, "mpjpe_mm_80")
    predicts = preset == "h36m_prediction"
    rivals = ("zero_velocity", "constant_velocity") if predicts else BASELINES
    assert all(np.isfinite(values[f"test.{name}_{rival}"]) for rival in rivals)
    if predicts:  # two steps from a damped movement
        assert values[f"test.{name}"] < 0.8 * values[f"test.{name}_zero_velocity"]
    else:  # from linear interpolation
        assert values[f"test.{name}"] == pytest.approx(values[f"test.{name}_linear"], rel=0.05)
    assert f"test.{name}" in capsys.readouterr().out


def test_train_then_evaluate_rotations(tmp_path) -> None:
    """On files of their own: two people who bend the left knee; one is held back."""
    for split in ("train", "test"):
        angles = [np.zeros((70, 72)) for _ in range(2)]
        for number, pose in enumerate(angles):
            pose[:, 12] = 0.01 * (number + 1) * np.arange(70)
        seen = [pose + 0.01 for pose in angles]
        seen[0][20] = np.nan
        for path, poses in (
            ("groundtruth_poses/pw3d/pw3d_gt", angles),
            ("detected_poses/pw3d/pare/pw3d_pare", seen),
        ):
            file = tmp_path / f"{path}_{split}.npz"
            file.parent.mkdir(parents=True, exist_ok=True)
            arrays = {"imgname": np.empty(2, object), "pose": np.empty(2, object)}
            for k in range(2):
                arrays["imgname"][k] = [f"clip_{k}/image_{n:05d}.jpg" for n in range(70)]
                arrays["pose"][k] = poses[k]
            np.savez(file, **arrays)
    path = tmp_path / "tiny.yaml"
    changes = {"batch": 2, "loop": TINY["loop"]}
    base = str(RECIPES / "pw3d_pare_smpl.yaml")
    path.write_text(yaml.safe_dump({"base": base, **changes}))
    common = ["--preset", "pw3d_pare_smpl", "--recipe", str(path), "--data", str(tmp_path)]
    common += ["--threads", "1", "--device", "cpu"]
    parser = argparse.ArgumentParser()
    training.add_train_arguments(parser)
    out = tmp_path / "out"
    assert training.train(parser.parse_args(["--out", str(out), *common])) == 0
    file = out / "mixsynthformer_pw3d_pare_smpl.safetensors"
    _, entry = weights.load(file)
    assert entry["poses"] == _learnt_from("smpl24", "rotation6d", False, 30.0)
    assert entry["training_data"]["description"].endswith("detections by pare")

    parser = argparse.ArgumentParser()
    training.add_evaluate_arguments(parser)
    numbers = tmp_path / "numbers.json"
    arguments = ["--weights", str(file), "--json", str(numbers), *common]
    assert training.evaluate(parser.parse_args(arguments)) == 0
    rows = {row["id"]: row for row in json.loads(numbers.read_text())["results"]}
    assert rows["test.angle_deg"]["unit"] == "deg" == rows["test.accel_deg_linear"]["unit"]
    assert 0 < rows["test.angle_deg"]["value"] < 180
    # 0.01 rad about each axis of joints that are not turned, of the knee about as much
    off = np.degrees(0.01 * np.sqrt(3))
    assert rows["test.angle_deg_linear"]["value"] == pytest.approx(off, rel=0.01)


def _learnt_from(
    skeleton: str, unit: str, root_relative: bool, rate_hz: float, **known: str
) -> dict:
    return {
        "skeleton": skeleton,
        "unit": unit,
        **known,
        "root_relative": root_relative,
        "rate_hz": rate_hz,
    }


def test_axes_that_are_not_known_are_not_stated(tmp_path) -> None:
    """Those of DeciWatch's files are metres with any vertical; of movements it is up."""
    for preset, known in (("h36m_fcn", {}), ("mocap_3d", {"axes": "world"})):
        recipe = Recipe.load(RECIPES / f"{preset}.yaml")
        network = training.build(recipe.network)
        result = training.FitResult(network.state_dict(), {"error": 1.0}, 1)
        training.save(network, recipe, result, [moving(60)], tmp_path, "")
        _, entry = weights.load(tmp_path / f"mixsynthformer_{preset}.safetensors")
        relative = recipe.data.root_relative
        assert entry["poses"] == _learnt_from("h36m17", "m", relative, 25.0, **known)


def test_weights_are_measured_by_their_own_recipe(tmp_path, monkeypatch, capsys) -> None:
    """Without one it is their preset's; another's, and another preset, is refused."""
    recipe = Recipe.load(tiny(tmp_path / "tiny.yaml", "pose_3d_fast"))
    network = MixSynthFormer(PRESETS["pose_3d_fast"])
    about = {"training_data": {}, "git_revision": "", "command": "", "metrics": {}}
    weights.save(network, tmp_path, "pose_3d_fast", **about)
    file = tmp_path / "mixsynthformer_pose_3d_fast.safetensors"
    parser = argparse.ArgumentParser()
    training.add_evaluate_arguments(parser)
    seen = []

    def no_tracks(recipe, *_):
        seen.append(recipe.preset)
        return []

    monkeypatch.setattr(training, "tracks_of", no_tracks)
    for asked in ([], ["--preset", "pose_3d_fast"]):
        with pytest.raises(ValueError, match="no movement"):
            training.evaluate(parser.parse_args([*asked, "--weights", str(file)]))
        said = capsys.readouterr().out
        assert said.startswith(f"{file.name}: mixsynthformer, preset pose_3d_fast, ")
    assert seen == [recipe.preset] * 2
    with pytest.raises(RecipeError, match="of the preset pose_3d_fast, asked for was --preset ra"):
        training.evaluate(parser.parse_args(["--preset", "radar_2d", "--weights", str(file)]))
    assert len(seen) == 2
    other = tiny(tmp_path / "other.yaml", "radar_2d")
    with pytest.raises(ValueError, match=r"other\.yaml is for preset radar_2d"):
        training.evaluate(parser.parse_args(["--recipe", str(other), "--weights", str(file)]))


def test_interrupted_training_goes_on(tmp_path) -> None:
    """To the same weights; with another recipe it does not."""
    recipe = Recipe.load(tiny(tmp_path / "tiny.yaml", "pose_3d_fast"))
    recipe = dataclasses.replace(
        recipe, loop=dataclasses.replace(recipe.loop, steps=4, validate_every=1)
    )
    tracks = [tracks_of(recipe, split) for split in ("train", "validation")]
    whole, _ = fit_recipe(recipe, *tracks, tmp_path / "whole", report=len)

    def stop(line: str) -> None:
        if line.startswith("step 3 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_recipe(recipe, *tracks, tmp_path / "parts", report=stop)
    parts, _ = fit_recipe(recipe, *tracks, tmp_path / "parts", resume=True, report=len)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)
    changed = dataclasses.replace(recipe, batch=4)
    with pytest.raises(ValueError, match="holds a training by another recipe"):
        fit_recipe(changed, *tracks, tmp_path / "parts", resume=True, report=len)


def test_files_of_detections_hold_back_subjects(tmp_path, monkeypatch) -> None:
    """Every tenth, the last at least, for validation; "test" is the files' own."""
    recipe = Recipe.load(RECIPES / "h36m_fcn.yaml")
    asked = []

    def load(root, dataset, estimator, split):
        asked.append((dataset, estimator, split))
        return [dataclasses.replace(moving(3), subject=f"S{k}") for k in (1, 5, 6, 7, 8, 8)]

    monkeypatch.setattr(training.pose_tracks, "load_detected", load)
    subjects = {
        split: [t.subject for t in tracks_of(recipe, split, tmp_path)]
        for split in ("train", "validation", "test")
    }
    assert subjects["train"] == ["S1", "S5", "S6", "S7"]
    assert subjects["validation"] == ["S8", "S8"]
    assert len(subjects["test"]) == 6
    assert asked[-1] == ("h36m", "fcn", "test")
    with pytest.raises(ValueError, match="give their folder, --data DIR"):
        tracks_of(recipe, "train")


def test_weights_of_a_changed_preset_are_refused_before_training(tmp_path) -> None:
    path = tiny(tmp_path / "changed.yaml", "radar_2d", model={"width": 32})
    parser = argparse.ArgumentParser()
    training.add_train_arguments(parser)
    arguments = ["--recipe", str(path), "--out", str(tmp_path / "out")]
    with pytest.raises(RecipeError, match="changes the preset 'radar_2d'"):
        training.train(parser.parse_args(arguments))
    assert not (tmp_path / "out").exists()


def test_training_denoises(tmp_path) -> None:
    """A few steps on white errors already beat the interpolation that it began as."""
    path = tiny(
        tmp_path / "white.yaml",
        "pose_3d",
        batch=16,
        loop={"steps": 40, "warmup_steps": 5, "validate_every": 40, "learning_rate": 0.003},
    )
    recipe = Recipe.load(path)
    noise = dataclasses.replace(
        recipe.data.noise,
        white=0.05, drift=0.0, outlier_rate=0.0, swap_hz=0.0, missing_rate=0.0, occlusion_hz=0.0,
    )  # fmt: skip
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, noise=noise))
    splits = [tracks_of(recipe, split) for split in ("train", "validation", "test")]
    model, _ = fit_recipe(recipe, *splits[:2], tmp_path / "out", report=len)
    rows = {row["id"]: row["value"] for row in training.results_of(model, recipe, splits[2])}
    assert rows["test.mpjpe_mm"] < 0.95 * rows["test.mpjpe_mm_linear"]
