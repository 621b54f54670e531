"""Diffusion: published values of the schedule, and samplers against what is known in closed form.

If the data are Gaussian, N(m, v), the best guess of the noise is known, and it is linear in x. So
is each sampler's step then, and mean and variance of what it returns follow on paper.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from radar_pose_ros.models.diffusion import Diffusion, NoisePredictor, Sampler, sample

DIFFUSION = Diffusion()
FINE = Diffusion(steps=1000)
MEAN, VARIANCE = 0.7, 0.04


def gaussian(diffusion: Diffusion, mean: float = MEAN, variance: float = VARIANCE):
    """The expectation of the noise in x, for data of N(mean, variance)."""

    def predict(x: Tensor, step: int) -> Tensor:
        left = float(diffusion.signal[step])
        power = left * variance + 1 - left
        return math.sqrt(1 - left) * (x - math.sqrt(left) * mean) / power

    return predict


def noise(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64)


def moments_of_linear(predict: NoisePredictor, diffusion: Diffusion, sampler: Sampler):
    """Mean and deviation of a sampler's results without noise on the way: it is linear in x."""
    points = torch.tensor([0.0, 1.0], dtype=torch.float64)
    at_zero, at_one = sample(predict, points, diffusion, sampler).tolist()
    return at_zero, abs(at_one - at_zero)


# -- the schedule --------------------------------------------------------------------------------


def test_published_values_of_the_schedule() -> None:
    assert DIFFUSION.betas[:3] == pytest.approx([0.00175, 0.00369, 0.00563], abs=5e-6)
    assert DIFFUSION.betas[-3:].tolist() == [0.5, 0.5, 0.5]
    assert DIFFUSION.betas[-4] < 0.5
    found = DIFFUSION.signal[[0, 10, 25]]
    assert found == pytest.approx([0.9983, 0.8791, 0.4627], abs=5e-5)
    assert DIFFUSION.signal[49] == pytest.approx(0.00109, abs=5e-6)


def test_cosine_schedule_is_a_squared_cosine_where_it_is_not_clipped() -> None:
    places = (np.arange(1, 48) / 50 + 0.008) / 1.008
    expected = np.cos(places * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert_close(DIFFUSION.signal[:47], expected)


@pytest.mark.parametrize(("name", "middle"), [("linear", 0.25005), ("quadratic", 0.128561)])
def test_other_schedules(name: str, middle: float) -> None:
    """From 1e-4 to 1/2; in the middle the mean, or the square of the mean of the roots."""
    betas = Diffusion(steps=3, schedule=name).betas  # type: ignore[arg-type]
    assert betas == pytest.approx([1e-4, middle, 0.5], abs=1e-6)


def test_noised_keeps_the_power_and_start_undoes_it() -> None:
    x, added = noise(200_000).view(2, -1), noise(200_000, 1).view(2, -1)
    steps = torch.tensor([3, 40])
    noised = DIFFUSION.noised(x, steps, added)
    assert noised.std(1).tolist() == pytest.approx([1, 1], abs=0.01)
    for row, step in enumerate(steps.tolist()):
        back = DIFFUSION.start(noised[row], step, added[row])
        np.testing.assert_allclose(back, x[row], atol=1e-9)
    correlation = float((noised[1] * x[1]).mean())
    assert correlation == pytest.approx(math.sqrt(DIFFUSION.signal[40]), abs=0.01)


@pytest.mark.parametrize("spacing", ["step", "log_snr"])
def test_chosen_steps_fall_from_the_last_to_the_first(spacing) -> None:
    assert DIFFUSION.chosen_steps(50, spacing) == list(range(50))[::-1]
    assert DIFFUSION.chosen_steps(1, spacing) == [49]
    for count in (2, 4, 6, 10, 33):
        chosen = DIFFUSION.chosen_steps(count, spacing)
        assert len(chosen) == count and chosen[0] == 49 and chosen[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(chosen))
    with pytest.raises(ValueError, match="must be 1 to 50, got 51"):
        DIFFUSION.chosen_steps(51, spacing)


def test_steps_chosen_by_the_ratio_are_equal_in_it() -> None:
    ratio = np.log(FINE.signal / (1 - FINE.signal))
    widths = np.diff(ratio[FINE.chosen_steps(8, "log_snr")])
    assert widths == pytest.approx(np.full(7, (ratio[0] - ratio[-1]) / 7), rel=0.15)


def test_the_library_diffusers_has_the_same_coefficients() -> None:
    """Where it is installed: its powers of the signal, and all its steps back to the data."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=50,
        trained_betas=DIFFUSION.betas,
        variance_type="fixed_small",
        clip_sample=False,
    )
    np.testing.assert_allclose(scheduler.alphas_cumprod, DIFFUSION.signal, atol=2e-7)
    x, predict = noise(9)[None], gaussian(DIFFUSION)
    ours = sample(predict, x, DIFFUSION, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    for step in reversed(range(50)):
        x = scheduler.step(predict(x, step), step, x, generator=generator).prev_sample
    np.testing.assert_allclose(x, ours, atol=1e-5)


# -- samplers ------------------------------------------------------------------------------------


def test_ancestral_sampling_gives_mean_and_variance() -> None:
    """As the recursion of its linear steps has them on paper, and near the data's."""
    expected_mean, expected_variance = 0.0, 1.0
    predict = gaussian(DIFFUSION)
    for step in reversed(range(50)):
        beta, left = DIFFUSION.betas[step], DIFFUSION.signal[step]
        offset, one = predict(torch.tensor([0.0, 1.0], dtype=torch.float64), step).tolist()
        factor = (1 - beta / math.sqrt(1 - left) * (one - offset)) / math.sqrt(1 - beta)
        shift = -beta / math.sqrt(1 - left) * offset / math.sqrt(1 - beta)
        expected_mean = factor * expected_mean + shift
        expected_variance *= factor**2
        if step:
            expected_variance += (1 - DIFFUSION.signal[step - 1]) / (1 - left) * beta
    found = sample(predict, noise(100_000), DIFFUSION, generator=torch.Generator().manual_seed(1))
    error = math.sqrt(expected_variance / 100_000)
    assert float(found.mean()) == pytest.approx(expected_mean, abs=4 * error)
    assert float(found.var()) == pytest.approx(expected_variance, rel=4 * math.sqrt(2e-5))
    # what fifty steps and the smaller variance cost: an eighth of the spread
    assert expected_mean == pytest.approx(MEAN, abs=0.003)
    assert math.sqrt(expected_variance) == pytest.approx(0.875 * math.sqrt(VARIANCE), rel=0.01)


@pytest.mark.parametrize(("method", "bound"), [("ddim", 0.02), ("dpm_solver", 0.01)])
def test_samplers_without_noise_give_mean_and_variance(method, bound) -> None:
    mean, deviation = moments_of_linear(gaussian(FINE), FINE, Sampler(method, 1000))
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert deviation == pytest.approx(math.sqrt(VARIANCE), rel=bound)


def test_few_steps_come_near() -> None:
    """Ten and six steps of the second order, of fifty."""
    for steps, bound in ((10, 0.1), (6, 0.2)):
        for spacing in ("step", "log_snr"):
            sampler = Sampler("dpm_solver", steps, spacing=spacing)
            mean, deviation = moments_of_linear(gaussian(DIFFUSION), DIFFUSION, sampler)
            assert mean == pytest.approx(MEAN, abs=0.02)
            assert deviation == pytest.approx(math.sqrt(VARIANCE), rel=bound)


def test_any_sampler_is_exact_for_a_single_point() -> None:
    """Data without any spread: the noise is known exactly, one step is enough."""
    predict = gaussian(DIFFUSION, 0.3, 0.0)
    for sampler in (Sampler(), Sampler("ddim", 1), Sampler("ddim", 7, eta=1.0)):
        assert_close(sample(predict, noise(5), DIFFUSION, sampler), np.full(5, 0.3))
    for steps in (1, 2, 5):
        found = sample(predict, noise(5), DIFFUSION, Sampler("dpm_solver", steps))
        assert_close(found, np.full(5, 0.3))


def test_ddim_is_dpm_solver_of_order_1() -> None:
    predict = gaussian(DIFFUSION)
    for steps in (1, 4, 50):
        ddim = sample(predict, noise(9), DIFFUSION, Sampler("ddim", steps))
        solver = sample(predict, noise(9), DIFFUSION, Sampler("dpm_solver", steps, order=1))
        assert_close(ddim, solver)


def test_ddim_with_all_the_noise_is_ancestral() -> None:
    predict = gaussian(DIFFUSION)
    one, other = (
        sample(predict, noise(9), DIFFUSION, s, torch.Generator().manual_seed(5))
        for s in (Sampler(), Sampler("ddim", 50, eta=1.0))
    )
    assert_close(one, other)


def test_orders_of_convergence() -> None:
    """Twice the steps: half the error of order 1, a quarter of order 2."""
    predict = gaussian(FINE)
    exact = moments_of_linear(predict, FINE, Sampler("dpm_solver", 1000))[1]
    for order, least, most in ((1, 1.7, 2.3), (2, 3.0, 5.0)):
        errors = [
            abs(
                moments_of_linear(
                    predict, FINE, Sampler("dpm_solver", k, order=order, spacing="log_snr")
                )[1]
                - exact
            )
            for k in (20, 40)
        ]
        assert least < errors[0] / errors[1] < most, order


def test_limit_keeps_wild_estimates_in_bounds() -> None:
    """A network that says nothing at the start leaves x / sqrt(a) there: thirty times too far."""

    def silent(x: Tensor, step: int) -> Tensor:
        return torch.zeros_like(x) if step == 49 else gaussian(DIFFUSION)(x, step)

    for method in ("ddim", "dpm_solver"):
        errors = [
            (sample(silent, noise(100), DIFFUSION, Sampler(method, 5, limit=limit)) - MEAN)
            .abs()
            .mean()
            for limit in (0.0, 1.5)
        ]
        assert errors[1] < errors[0] / 2
    inside = Sampler("ddim", 10, limit=50.0)
    assert_close(
        sample(gaussian(DIFFUSION), noise(9), DIFFUSION, inside),
        sample(gaussian(DIFFUSION), noise(9), DIFFUSION, Sampler("ddim", 10)),
    )


def test_noise_is_left_as_it_is_and_runs_repeat() -> None:
    x = noise(9)
    before = x.clone()
    runs = [
        sample(gaussian(DIFFUSION), x, DIFFUSION, None, torch.Generator().manual_seed(2))
        for _ in range(2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Diffusion(steps=0), "at least 1 step, got 0"),
        (lambda: Diffusion(schedule="sine"), "'sine' is none of cosine, quadratic, linear"),
        (lambda: Diffusion(last_beta=1.0), r"betas must lie in \(0, 1\), got 0.0001 to 1.0"),
        (lambda: Sampler("euler"), "method 'euler' is none of ancestral, ddim, dpm_solver"),
        (lambda: Sampler(order=3), "order 3 is none of 1, 2"),
        (lambda: Sampler(eta=2.0), "eta from 0 to 1"),
    ],
)
def test_wrong_settings_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
