"""The rule by which claims are judged, against a statistics library and by cases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from radar_pose_ros.training.claims import Claim, Measure, Table, Verdict, margin
from radar_pose_ros.training.millimamba import RECIPES, Recipe
from radar_pose_ros.training.millimamba_report import MEASURES

ABLATIONS = RECIPES / "ablations"


def results(mean, seeds=3, recordings=20, seed_noise=0.0, recording_noise=0.0, rng=None):
    """Results of a row whose measure scatters over seeds and recordings by so much."""
    rng = rng or np.random.default_rng(0)
    of_seeds = seed_noise * rng.standard_normal(seeds)
    of_recordings = recording_noise * rng.standard_normal(recordings)
    return [
        {
            "seed": seed,
            "network": {"parameters": 1},
            "by_recording": {
                name: (mean + of_seeds[seed] + of_recordings).tolist()
                for name in ("ap", "jerk_px")
            },
        }
        for seed in range(seeds)
    ]


def judge(claim: Claim, found) -> Verdict:
    (verdict,) = Table({}, (claim,), MEASURES).judge(found)
    return verdict


ONE = Claim("a beats b", "", {"a": 1, "b": -1}, "ap")


def test_margin_is_students():
    """The mean exceeds the margin exactly where the one-sided test gives p < 5 %."""
    rng = np.random.default_rng(1)
    verdicts = set()
    for _ in range(200):
        values = rng.normal(0.5, 1.0, 5)
        p = scipy.stats.ttest_1samp(values, 0, alternative="greater").pvalue
        assert (values.mean() > margin(values)) == (p < 0.05)
        verdicts.add(p < 0.05)
    assert verdicts == {True, False}
    assert np.isnan(margin(np.array([1.0])))


def test_a_difference_beyond_chance_is_reproduced():
    rng = np.random.default_rng(0)
    verdict = judge(
        ONE,
        {
            "a": results(0.40, seed_noise=0.005, recording_noise=0.01, rng=rng),
            "b": results(0.35, seed_noise=0.005, recording_noise=0.01, rng=rng),
        },
    )
    assert verdict.outcome == "reproduced in direction"
    assert verdict.difference == pytest.approx(5.0, abs=1.5)  # points
    assert 0 < max(verdict.margins) < verdict.difference


def test_the_other_direction_is_said_to_be_opposite():
    rng = np.random.default_rng(0)
    rows = {
        "a": results(0.30, seed_noise=0.005, recording_noise=0.01, rng=rng),
        "b": results(0.35, seed_noise=0.005, recording_noise=0.01, rng=rng),
    }
    verdict = judge(ONE, rows)
    assert (verdict.outcome, verdict.remark) == ("not reproduced", "opposite")
    smoother = judge(Claim("a is smoother", "", {"a": 1, "b": -1}, "jerk_px"), rows)
    assert smoother.outcome == "reproduced in direction"  # less is better
    assert smoother.difference == pytest.approx(0.05, abs=0.015)  # px: not in points


@pytest.mark.parametrize("noise", ["seed_noise", "recording_noise"])
def test_chance_over_seeds_or_recordings_suffices_to_doubt(noise):
    """Different recordings help some rows, different seeds others: neither is proof."""
    rng = np.random.default_rng(3)
    rows = {
        "a": results(0.36, rng=rng, **{noise: 0.1}),
        "b": results(0.35, rng=rng, **{noise: 0.1}),
    }
    verdict = judge(ONE, rows)
    assert (verdict.outcome, verdict.remark) == ("not reproduced", "not clear")
    which = 0 if noise == "seed_noise" else 1
    assert verdict.margins[which] > abs(verdict.difference)
    assert verdict.margins[1 - which] == pytest.approx(0, abs=1e-9)


def test_what_is_common_to_rows_cancels():
    """Hard recordings are hard for both rows: the same noise on both leaves the difference."""
    rows = {
        row: results(mean, recording_noise=0.3, rng=np.random.default_rng(5))
        for row, mean in (("a", 0.42), ("b", 0.40))
    }
    verdict = judge(ONE, rows)
    assert verdict.outcome == "reproduced in direction"
    assert verdict.difference == pytest.approx(2.0)


def test_a_trend_weighs_its_ends():
    """AP rises by 1 point per step of three: the weighted difference is 2 points."""
    claim = Claim("the more the better", "", {"x": -1, "y": 0, "z": 1}, "ap")
    rows = {name: results(0.3 + 0.01 * k) for k, name in enumerate("xyz")}
    assert judge(claim, rows).difference == pytest.approx(2.0)
    weighted = Claim("the same", "", {"w": -2, "x": -1, "y": 1, "z": 2}, "ap")
    rows = {name: results(0.3 + 0.01 * k) for k, name in enumerate("wxyz")}
    expected = ((2 * 3 + 1 * 2) - (1 * 1 + 2 * 0)) / 3
    assert judge(weighted, rows).difference == pytest.approx(expected)


def test_without_results_nothing_is_said():
    assert judge(ONE, {"a": results(0.4), "b": []}).outcome == "not measured yet"
    assert judge(ONE, {"a": results(0.4)}).outcome == "not measured yet"
    verdict = judge(ONE, {"a": results(0.4, seeds=1), "b": results(0.3, seeds=3)})
    assert verdict.outcome == "not measured yet"
    assert verdict.difference == pytest.approx(10.0)
    late = [result | {"seed": result["seed"] + 3} for result in results(0.3)]
    verdict = judge(ONE, {"a": results(0.4), "b": late})
    assert (verdict.outcome, verdict.remark) == ("not measured yet", "rows have no seed in common")


def test_a_result_that_is_no_number_judges_nothing():
    lost = results(0.3)
    lost[0]["by_recording"]["ap"][1] = float("nan")
    verdict = judge(ONE, {"a": results(0.4), "b": lost})
    assert (verdict.outcome, verdict.remark) == ("not measured yet", "a result's ap is no number")


def test_a_row_that_trains_nothing_counts_for_every_seed():
    """By hand, two seeds and two recordings, less being better."""

    def result(seed, values, trained=True):
        network = {"parameters": 1} if trained else {}
        return {"seed": seed, "network": network, "by_recording": {"error": values}}

    def said(contrast, ours):
        claim = Claim("x", "y", contrast, "error")
        (verdict,) = Table({}, (claim,), {"error": Measure("error")}).judge(
            {"ours": ours, "theirs": [result(0, [60.0, 70.0], trained=False)]}
        )
        return verdict

    ours = [result(0, [50.0, 59.0]), result(1, [51.0, 60.0])]
    verdict = said({"ours": 1, "theirs": -1}, ours)
    assert verdict.outcome == "reproduced in direction"
    assert verdict.difference == pytest.approx(10.0)
    # seeds 10.5 and 9.5, recordings 9.5 and 10.5: t(0.95, 1) * sqrt(0.5) / sqrt(2)
    assert verdict.margins == pytest.approx((6.3138 / 2, 6.3138 / 2), rel=1e-4)
    assert said({"theirs": 1, "ours": -1}, ours).remark == "opposite"
    unclear = [result(0, [50.0, 79.0]), result(1, [51.0, 80.0])]
    assert said({"ours": 1, "theirs": -1}, unclear).remark == "not clear"
    assert said({"ours": 1, "theirs": -1}, ours[:1]).outcome == "not measured yet"
    untrained = [result(0, [50.0, 59.0], trained=False)]
    verdict = said({"ours": 1, "theirs": -1}, untrained)
    assert verdict.outcome == "reproduced in direction"
    assert verdict.margins == pytest.approx((0.0, 6.3138 / 2), rel=1e-4)


def test_the_shipped_table_is_complete():
    """Every row has a recipe of the same budget, that differs from the base as it says."""
    table = Table.load(ABLATIONS / "table.yaml", MEASURES)
    recipes = {row: Recipe.load(ABLATIONS / f"{row}.yaml") for row in table.rows}
    assert {path.stem for path in ABLATIONS.glob("*.yaml")} == {"table", *table.rows}
    base = recipes["base"]
    for recipe in recipes.values():
        assert (recipe.data, recipe.batch, recipe.loop) == (base.data, base.batch, base.loop)
        assert recipe.network.temporal_kernel == 1
        assert recipe.network.angle_bins == recipe.data.heatmap.angle_bins
    frames = {row: recipe.network.frames for row, recipe in recipes.items()}
    assert [frames[f"frames_{n}"] for n in (1, 3, 5, 15)] == [1, 3, 5, 15]
    assert [frames[row] for row in ("transformer_3", "transformer", "transformer_15")] == [
        3,
        9,
        15,
    ]
    assert {r for r in recipes if recipes[r].network.encoder == "transformer"} == {
        "transformer_3",
        "transformer",
        "transformer_15",
    }
    assert {r: recipes[r].views for r in recipes if recipes[r].views != "both"} == {
        "horizontal": "horizontal",
        "vertical": "vertical",
    }
    assert recipes["heatmap_4d"].network.input_channels == 8
    assert recipes["many_to_one"].network.output_frames == 1
    assert recipes["no_velocity"].loss.velocity_weight == 0
    assert recipes["velocity_px"].loss.velocity_weight == pytest.approx(0.05 * 256**2, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: {}", "there is no entry 'claims'"),
        ("rows: {a: x}\nclaims: [{name: n, published: p, contrast: {a: 1, b: -1}}]", "no row 'b'"),
        ("rows: {a: x}\nclaims: [{name: n, published: p, contrast: {a: 1}}]", "sum to 0"),
        (
            "rows: {a: x, b: x}\n"
            "claims: [{name: n, published: p, contrast: {a: 1, b: -1}, measure: luck}]",
            "measure 'luck' is none of ap",
        ),
        ("rows: [", "expected"),
    ],
)
def test_wrong_tables_are_named(tmp_path, text, message):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)table\.yaml: .*{message}"):
        Table.load(path, MEASURES)
