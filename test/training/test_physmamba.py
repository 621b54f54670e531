"""Training and evaluation of PhysMamba, on networks too small to be good at it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from pulse_tracks import face_track
from tolerances import assert_close

from radar_pose_ros.datasets import face_tracks
from radar_pose_ros.datasets.face_tracks import PER_LEVEL, FaceTrack
from radar_pose_ros.models import physmamba as physmamba_model
from radar_pose_ros.models import weights
from radar_pose_ros.models.physmamba import PRESETS, PhysMamba
from radar_pose_ros.simulation.pulse_waves import Heart
from radar_pose_ros.training import physmamba
from radar_pose_ros.training import recipe as recipes
from radar_pose_ros.training.loop import FitResult
from radar_pose_ros.training.physmamba import RECIPES, SCORE, Recipe
from radar_pose_ros.training.pulse_clips import ClipBatches, Variation
from radar_pose_ros.training.pulse_losses import PulseLoss, correlation, shares
from radar_pose_ros.training.recipe import RecipeError

SMALL = {
    "size": 8,
    "width": 16,
    "blocks": 1,
    "head_size": 8,
    "state_size": 4,
    "drop_path": 0.0,
}
AS_IT_IS = Variation(stretch=(1.0, 1.0), flipped=0.0, colours=0.0, noise=0.0)
UNSEEN = 1e-9  # strength of a pulse whose truth is known, and which no picture shows


def entries(**changes: object) -> dict:
    """The shipped recipe, tiny."""
    made = recipes.entries(RECIPES / "edge.yaml")
    made["model"] = SMALL
    made["data"]["simulated"] = {"train": 3, "validation": 2, "test": 2}
    made["loop"] |= {"steps": 4, "warmup_steps": 1, "validate_every": 2}
    return made | {"batch": 4} | changes


def recipe(**changes: object) -> Recipe:
    return Recipe.of(copy.deepcopy(entries(**changes)))


def batches(*tracks: FaceTrack, batch: int = 3, **changes: object) -> ClipBatches:
    variation = dataclasses.replace(AS_IT_IS, **changes)
    return ClipBatches(tracks, recipe().network, batch, variation, seed=1)


def rates_of(waves: torch.Tensor) -> np.ndarray:
    return 39 + shares(waves, 30.0, (39, 180)).argmax(dim=1).numpy()


@pytest.fixture
def small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset tiny, also to what saves weights."""
    monkeypatch.setitem(physmamba_model.PRESETS, "edge", recipe().network)
    monkeypatch.setitem(weights.NETWORKS, "physmamba", "PhysMamba")


# -- recipes -------------------------------------------------------------------------------------


def test_shipped_recipes_are_valid() -> None:
    edge, paper = (Recipe.load(RECIPES / f"{name}.yaml") for name in ("edge", "paper"))
    assert edge.is_preset and edge.network == PRESETS["edge"] and edge.split == "disjoint"
    assert edge.loss.band_bpm == (39, 180) and not edge.loss.as_logits
    assert paper.is_preset and paper.network == PRESETS["paper"] and paper.split == "paper"
    assert paper.loss == PulseLoss(0.2, 1.0, (45, 149), as_logits=True)
    assert paper.variation == Variation((1.0, 1.0), 0.5, 0.5, 0.0, 0.0)
    assert paper.batch == 16 and paper.loop.learning_rate == 3e-4


def test_the_ablation_is_the_recipe_but_for_cross_attention() -> None:
    path = RECIPES / "ablations" / "no_cross_attention.yaml"
    found, edge = Recipe.load(path), Recipe.load(RECIPES / "edge.yaml")
    assert found.network == dataclasses.replace(edge.network, cross_attention=False)
    assert dataclasses.replace(found, model={}) == edge
    with pytest.raises(RecipeError, match="changes the preset 'edge'"):
        recipes.require_preset(found, path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "huge"}, "preset 'huge' is none of paper, edge"),
        ({"batch": 0}, "batch must be a whole number above 0"),
        (
            {"data": {"simulated": {"train": 1}, "seconds": {}}},
            "simulated wants train, validation",
        ),
        ({"loss": {"shape": -1}}, "loss: shape must be 0 or more"),
        ({"loss": {"band_bpm": [100, 50]}}, "a lower and a higher rate"),
        ({"loss": {"colour": 1}}, "loss: there is no such entry as 'colour'"),
        ({"variation": {"stretch": [2.0, 1.0]}}, "the least first"),
        ({"variation": {"flipped": 2}}, "flipped must be 0 to 1"),
        ({"variation": {"noise": -1}}, "noise must be 0 or more"),
        ({"model": {"size": 9}}, "multiple of 8 pixels"),
    ],
)
def test_wrong_recipes_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        recipe(**changes)


def test_simulated_videos_must_be_as_long_as_a_window() -> None:
    wrong = entries()
    wrong["data"] = {**wrong["data"], "seconds": {"train": 5, "validation": 20, "test": 20}}
    with pytest.raises(ValueError, match="train must be at least 10, got 5"):
        Recipe.of(wrong)


# -- losses --------------------------------------------------------------------------------------


def test_correlation_is_pearsons() -> None:
    first, second = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    want = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, 3 * second + 2), want, atol=1e-5)
    np.testing.assert_allclose(correlation(first, -first), -1, atol=1e-5)
    assert correlation(first, torch.ones_like(first)).abs().max() < 1e-3


@pytest.mark.parametrize("bpm", [45, 72, 110, 175])
def test_shares_of_power_are_highest_at_the_rate(bpm: int) -> None:
    seconds = torch.arange(160) / 30.0
    waves = 5 + torch.sin(2 * torch.pi * bpm / 60 * seconds + torch.tensor([[0.3], [2.0]]))
    found = shares(waves, 30.0, (39, 180))
    assert found.shape == (2, 142)
    np.testing.assert_allclose(found.sum(dim=1), 1, rtol=1e-5)
    assert np.abs(rates_of(waves) - bpm).max() <= 1
    assert shares(torch.ones(1, 160), 30.0, (39, 180)).sum() == 0


@pytest.mark.parametrize("notch", [0.15, 0.6])
@pytest.mark.parametrize("bpm", [42.0, 60.0, 100.0, 175.0])
def test_the_rate_of_a_pulse_is_the_hearts_whatever_its_shape(bpm: float, notch: float) -> None:
    heart = Heart(bpm, bpm, sinus_bpm=0, drift_bpm=0, notch=notch)
    wave = torch.from_numpy(heart.wave(np.arange(160) / 30.0)).float()
    assert abs(rates_of(wave[None])[0] - bpm) <= 2


def test_the_loss_is_small_where_the_wave_is_right_and_falls_along_its_gradient() -> None:
    seconds = torch.arange(160) / 30.0
    truth = torch.sin(2 * torch.pi * 1.2 * seconds)[None]
    loss = PulseLoss(shape=1.0, spectrum=0.2)
    right, other = loss(truth, truth, 30.0), loss(truth.roll(12, 1), truth, 30.0)
    wrong = loss(torch.sin(2 * torch.pi * 2.5 * seconds)[None], truth, 30.0)
    assert abs(right["shape"]) < 1e-5
    assert other["shape"] > 1.5 and abs(other["spectrum"] - right["spectrum"]) < 0.1
    assert wrong["spectrum"] > right["spectrum"] + 3
    assert_close(right["loss"], right["shape"] + 0.2 * right["spectrum"])
    for wave in (torch.zeros(1, 160), wrong["loss"] * torch.ones(1, 160)):
        wave.requires_grad_(True)
        loss(wave, truth, 30.0)["loss"].backward()
        assert wave.grad is not None and wave.grad.isfinite().all()


def test_as_logits_the_loss_is_the_published_one() -> None:
    seconds = torch.arange(160) / 30.0
    truth = torch.sin(2 * torch.pi * 1.2 * seconds)[None]
    loss = PulseLoss(0.2, 1.0, (45, 149), as_logits=True)
    found = loss(truth, truth, 30.0)["spectrum"]
    power = shares(truth, 30.0, (45, 149))[0]
    want = -math.log(math.exp(power[72 - 45]) / power.exp().sum())
    assert_close(found, torch.tensor(want))
    assert abs(found - math.log(105)) < 0.1  # shares hardly differ as logits


# -- clips ---------------------------------------------------------------------------------------


def test_clips_are_the_face_and_its_pulse_at_the_networks_rate() -> None:
    clips, pulse = batches(face_track(72.0, rate_hz=25.0))(0)
    assert clips.shape == (3, 160, 3, 8, 8) and clips.dtype == pulse.dtype == torch.float32
    np.testing.assert_allclose(clips.mean(dim=(1, 2, 3, 4)), 0, atol=1e-4)
    np.testing.assert_allclose(clips.std(dim=(1, 2, 3, 4)), 1, atol=1e-3)
    np.testing.assert_allclose(pulse.mean(dim=1), 0, atol=1e-5)
    np.testing.assert_allclose(pulse.std(dim=1, correction=0), 1, atol=1e-5)
    assert np.abs(rates_of(pulse) - 72).max() <= 1
    for clip, wave in zip(clips, pulse, strict=True):
        green = clip[:, 1, 2:6, 2:6].mean(dim=(1, 2))
        assert np.corrcoef(green, wave)[0, 1] < -0.98
    red, blue = clips[:, :, 0, 2:6, 2:6].mean(), clips[:, :, 2, 2:6, 2:6].mean()
    assert red > blue


def test_batches_are_the_same_for_the_same_step_and_can_be_shared() -> None:
    made = batches(face_track(), face_track(90.0, seed=1), batch=4, noise=1.0, colours=0.1)
    first, again, other = made(7), made(7), made(8)
    assert torch.equal(first.clips, again.clips) and not torch.equal(first.clips, other.clips)
    parts = [made(7, part) for part in (slice(0, 2), slice(2, 4))]
    assert torch.equal(torch.cat([part.pulse for part in parts]), first.pulse)
    assert torch.equal(torch.cat([part.clips for part in parts]), first.clips)


@pytest.mark.parametrize(("bpm", "faster"), [(70.0, 1.4), (70.0, 0.8), (150.0, 1.2)])
def test_a_stretched_clip_shows_a_heart_that_beats_as_much_faster(
    bpm: float, faster: float
) -> None:
    _, pulse = batches(face_track(bpm), stretch=(faster, faster))(0)
    want = min(faster * bpm, 180.0)
    assert np.abs(rates_of(pulse) - want).max() <= 2


def test_stretched_rates_stay_in_the_band_of_the_pulse() -> None:
    made = batches(*(face_track(bpm, seed=k) for k, bpm in enumerate((45.0, 80.0, 170.0))))
    made.variation = dataclasses.replace(AS_IT_IS, stretch=(0.5, 2.0))
    rates = np.concatenate([rates_of(made(step).pulse) for step in range(20)])
    assert rates.min() >= 39 and rates.max() <= 180
    assert (rates < 60).sum() > 5 and (rates > 130).sum() > 5


@pytest.mark.parametrize(("bpm", "want"), [(120.0, 60.0), (60.0, 120.0), (80.0, 80.0)])
def test_rates_are_halved_and_doubled_as_published(bpm: float, want: float) -> None:
    _, pulse = batches(face_track(bpm), doubled=1.0)(0)
    assert np.abs(rates_of(pulse) - want).max() <= 2


def test_clips_are_flipped_and_their_colours_and_noise_differ() -> None:
    track = face_track(strength=UNSEEN)
    track.thumbnails[:, :, :4] //= 4
    plain, flipped = batches(track)(0), batches(track, flipped=1.0)(0)
    np.testing.assert_allclose(plain.clips.flip(-1), flipped.clips, atol=1e-4)
    noisy = batches(track, noise=5.0)(0).clips
    steps = [clips.diff(dim=1).std(dim=(1, 2, 3, 4)) for clips in (plain.clips, noisy)]
    assert (steps[1] > 3 * steps[0]).all()
    coloured = batches(track, colours=0.3)(0).clips.mean(dim=(1, 3, 4))
    assert (coloured - plain.clips.mean(dim=(1, 3, 4))).abs().max() > 0.05


def test_an_amplified_pulse_is_on_skin_and_goes_with_the_truth() -> None:
    track = face_track(strength=UNSEEN)
    track.thumbnails[:, :2, :, 2] += 60 * PER_LEVEL  # a blue wall
    clips, pulse = batches(track, amplified=1.0, strongest=0.05)(0)
    skin = clips[:, :, 1, 2:6, 2:6].mean(dim=(2, 3))
    wall = clips[:, :, :, :2].mean(dim=(2, 3, 4))
    for k in range(3):
        assert np.corrcoef(skin[k], pulse[k])[0, 1] < -0.99
        assert abs(np.corrcoef(wall[k], pulse[k])[0, 1]) < 0.5
    # peak to peak as share of the skin's green, of 130 levels
    level = batches(track)._runs[0][0].track.images().std()
    swing = np.ptp(skin.numpy(), axis=1) * level / 130
    assert (swing > 0.9 * 0.005).all() and (swing < 1.1 * 0.05).all()


def test_clips_avoid_what_is_unknown() -> None:
    track = face_track(seconds=20.0)
    track.pulse[:60] = np.nan
    kept = np.r_[0:290, 310:600]  # a gap of 0.67 s
    holed = dataclasses.replace(
        track,
        **{
            name: getattr(track, name)[kept]
            for name in ("times_s", "thumbnails", "pulse", "colours", "pixels")
        },
    )
    made = batches(holed)
    for step in range(15):
        clips, pulse = made(step)
        assert clips.isfinite().all() and pulse.isfinite().all()
        assert np.abs(rates_of(pulse) - 72).max() <= 1


def test_short_tracks_and_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"none of 1 face tracks .* for 5\.3 s"):
        batches(face_track(seconds=5.0))
    with pytest.raises(ValueError, match=r"somebody/0: want thumbnails of 8 pixels, got \(16, 16"):
        batches(face_track(size=16))


# -- measuring -----------------------------------------------------------------------------------


def test_windows_have_the_true_rates_and_colours_show_them() -> None:
    tracks = [face_track(54.0, seconds=21.0), face_track(130.0, seconds=12.0, seed=1)]
    methods = {name: physmamba.by_colours(name) for name in ("green", "pos")}
    found = physmamba.measure_windows(tracks, methods)
    assert [track.name for track in found.tracks] == ["somebody/0"] * 3 + ["somebody/1"]
    np.testing.assert_allclose(found.true_bpm, [54, 54, 54, 130], atol=0.5)
    for name in methods:
        np.testing.assert_allclose(found.estimated_bpm[name], found.true_bpm, atol=0.5)
        assert found.snr_db[name].min() > 3
    videos = physmamba.measure_videos(tracks, methods)
    np.testing.assert_allclose(videos.true_bpm, [54, 130], atol=1)
    np.testing.assert_allclose(videos.estimated_bpm["pos"], [54, 130], atol=1)
    # the public band ends at 150
    assert np.isnan(physmamba.measure_videos([face_track(170.0)], methods).true_bpm).all()


def test_the_mean_over_skin_counts_pixels_and_leaves_out_what_is_no_skin() -> None:
    track = face_track(80.0)
    skin = track.colours[:, :1]
    dark, unknown = np.full_like(skin, 20.0), np.full_like(skin, np.nan)
    three = np.concatenate([skin, dark, unknown], axis=1)
    pixels = np.repeat(np.array([[3.0, 1.0, 0.0]], np.float32), len(track), axis=0)
    both = dataclasses.replace(track, colours=three, pixels=pixels)
    alone = dataclasses.replace(track, colours=0.75 * skin + 5.0, pixels=pixels[:, :1])
    method = physmamba.by_colours("green")
    np.testing.assert_allclose(method(both), method(alone), atol=1e-6)


def test_no_rate_is_an_error_of_the_middle_of_the_band() -> None:
    track = face_track(72.0, seconds=11.0)
    silent = {"network": lambda track: np.zeros(330)}
    found = physmamba.measure_windows([track], silent)
    assert np.isnan(found.estimated_bpm["network"]).all()
    middle = 30 * (0.65 + 3.0)
    assert physmamba.mean_error_bpm(found, "network") == pytest.approx(middle - 72, abs=0.5)


# -- training ------------------------------------------------------------------------------------


def test_a_network_learns_a_strong_pulse(tmp_path) -> None:
    training = [face_track(bpm, seed=k) for k, bpm in enumerate((50.0, 75.0, 105.0, 150.0))]
    validation = [face_track(bpm, seed=9 + k) for k, bpm in enumerate((62.0, 120.0))]
    made = entries(variation={"stretch": [0.8, 1.25], "noise": 0.0}, batch=8)
    made["loop"] |= {
        "steps": 60,
        "learning_rate": 0.01,
        "warmup_steps": 5,
        "ema_decay": 0.0,
        "validate_every": 60,
    }
    recipe = Recipe.of(made)
    _, result = physmamba.fit_recipe(
        recipe, training, validation, tmp_path, report=lambda line: None
    )
    scores = result.scores
    assert scores["validation_pos_mae_bpm"] < 1
    assert scores["validation_median_mae_bpm"] == pytest.approx(29, abs=1)
    assert scores["validation_mae_bpm"] < 5
    assert scores[SCORE] == -scores["validation_mae_bpm"]


def test_nothing_to_validate_on_is_said(tmp_path) -> None:
    short = face_track(seconds=8.0)
    with pytest.raises(ValueError, match="no track for validation shows a pulse for 10 s"):
        physmamba.fit_recipe(recipe(), [short], [short], tmp_path)


def test_recordings_need_a_folder(tmp_path) -> None:
    paper = Recipe.load(RECIPES / "paper.yaml")
    with pytest.raises(ValueError, match="--data KIND DIR"):
        physmamba.tracks_of(paper, "train", tmp_path)


def test_recordings_are_split_by_the_recipe_and_its_leak_is_said(tmp_path, monkeypatch) -> None:
    from radar_pose_ros.datasets import face_video_sets
    from radar_pose_ros.datasets.face_videos import FaceVideo, Trace

    videos = [
        FaceVideo(
            f"pure/{k:02d}-01",
            f"{k:02d}",
            lambda: pytest.fail("no video is to be opened"),
            Trace(np.arange(2.0), np.arange(2.0)),
        )
        for k in range(1, 11)
    ]
    monkeypatch.setattr(face_video_sets, "load", lambda kind, root, report: videos)
    for video in videos:
        track = dataclasses.replace(face_track(seconds=4.0), name=video.name)
        face_tracks.save([track], tmp_path / f"{video.name}.npz")
    said: list[str] = []
    found = {
        (name, split): physmamba.tracks_of(
            recipe(split=name), split, tmp_path, [("pure", tmp_path)], report=said.append
        )
        for name in ("paper", "disjoint")
        for split in ("train", "validation", "test")
    }
    names = {key: {track.name for track in tracks} for key, tracks in found.items()}
    assert names["paper", "validation"] == names["paper", "test"] and len(said) == 3
    assert "valid is test" in said[0]
    assert not names["disjoint", "train"] & names["disjoint", "test"]
    assert not names["disjoint", "validation"] & names["disjoint", "test"]
    with pytest.raises(ValueError, match="no split 'none', there are paper, cross, disjoint"):
        physmamba.tracks_of(recipe(split="none"), "train", tmp_path, [("pure", tmp_path)])


def test_train_on_tracks_that_are_there(tmp_path, small_preset, monkeypatch, capsys) -> None:
    made = recipe(model={})
    monkeypatch.setattr(Recipe, "load", lambda path: made)
    for split, number in made.data.simulated.items():
        for k in range(number):
            track = face_track(60.0 + 20 * k, seed=k, seconds=12.0)
            face_tracks.save([track], tmp_path / "tracks" / "simulated" / split / f"{k:05d}.npz")
    parser = argparse.ArgumentParser()
    physmamba.add_train_arguments(parser)
    common = ["--tracks", str(tmp_path / "tracks"), "--threads", "1", "--device", "cpu"]
    out = tmp_path / "out"
    assert physmamba.train(parser.parse_args([*common, "--out", str(out)])) == 0
    with pytest.raises(ValueError, match="holds a training already"):
        physmamba.train(parser.parse_args([*common, "--out", str(out)]))
    [entry] = weights.read_manifest(out)
    assert (entry["model"], entry["preset"]) == ("physmamba", "edge")
    assert entry["training_data"]["description"].startswith("3 face tracks of 3 people")
    assert entry["metrics"]["validation_pos_mae_bpm"] < 1
    assert entry["command"] == "radar-pose train physmamba --preset edge"


def test_saved_weights_are_the_networks(tmp_path, small_preset) -> None:
    torch.manual_seed(0)
    network = PhysMamba(recipe().network).eval()
    result = FitResult(state={}, scores={SCORE: -3.0}, step=7)
    track = face_track()
    physmamba.save(
        network, recipe(model={}), result, [track], tmp_path, [("pure", tmp_path)], command="x"
    )
    loaded, entry = weights.network(tmp_path / "physmamba_edge.safetensors", "physmamba")
    clip = torch.randn(1, 160, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, want = loaded(clip), network(clip)
    assert (found - want).std() < 0.01 * want.std()  # half precision
    assert entry["training_data"]["split"] == "disjoint"
    assert entry["training_data"]["licence"] == "that of pure"
    assert entry["metrics"] == {"split": "validation", "steps": 7, SCORE: -3.0}
