"""Windows of a stream: overlap-add, streaming against offline, gaps, sizes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tolerances import assert_close

from radar_pose_ros.models import physmamba, weights
from radar_pose_ros.models.physmamba import PhysMamba, PhysMambaConfig, normalise
from radar_pose_ros.models.pulse import PulseNetwork, PulseStream

SMALL = PhysMambaConfig(
    frames=32,
    size=16,
    stem_kernel=3,
    merge_kernel=3,
    width=16,
    blocks=1,
    scales=3,
    head_size=8,
    state_size=6,
)


@pytest.fixture(scope="module")
def network() -> PhysMamba:
    torch.manual_seed(0)
    return PhysMamba(SMALL).eval()


def thumbnails(frames: int, size: int = 16, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(50, 200, (frames, size, size, 3)).astype(np.float32)


def reference(network: PhysMamba, images: np.ndarray, hop: int) -> np.ndarray:
    """All windows, one after the other, and one more that ends with the video.

    Of that one only counts what another regular window would still have covered.
    """
    starts = list(range(0, len(images) - 31, hop))
    not_final = starts[-1] + hop
    if starts[-1] + 32 < len(images):
        starts.append(len(images) - 32)
    total, weight = np.zeros(len(images)), np.zeros(len(images))
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(32) + 0.5) / 32)
    for start in starts:
        clip = torch.from_numpy(images[start : start + 32]).permute(0, 3, 1, 2)[None]
        with torch.no_grad():
            wave = network(normalise(clip))[0].double().numpy()
        counts = taper.copy()
        if start % hop:
            counts[: not_final - start] = 0
        total[start : start + 32] += counts * (wave - wave.mean()) / wave.std()
        weight[start : start + 32] += counts
    return total / weight


@pytest.mark.parametrize("hop", [16, 5, 32])
@pytest.mark.parametrize("frames", [32, 33, 64, 117])
def test_overlap_add(network: PhysMamba, hop: int, frames: int) -> None:
    images = thumbnails(frames)
    wave = PulseNetwork(network, hop).wave(images)
    np.testing.assert_allclose(wave, reference(network, images, hop), atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("portion", [1, 7, 30, 200])
@pytest.mark.parametrize("hop", [None, 9])
def test_streaming_equals_offline(
    network: PhysMamba, portion: int, hop: int | None, threads: int
) -> None:
    pulse, images = PulseNetwork(network, hop), thumbnails(150)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        stream = PulseStream(pulse)
        parts = [stream.push(images[k : k + portion]) for k in range(0, 150, portion)]
        streamed = np.concatenate([*parts, stream.preview()])
        offline = pulse.wave(images)
    finally:
        torch.set_num_threads(before)
    assert streamed.shape == (150,)
    np.testing.assert_allclose(streamed, offline, atol=1e-5)


def test_preview_is_the_wave_so_far(network: PhysMamba) -> None:
    """At any time: what was final, and after it the preview, are those of a video that ends."""
    pulse, images = PulseNetwork(network), thumbnails(100)
    stream, final = PulseStream(pulse), np.empty(0)
    for begin, end in pairwise(range(0, 101, 10)):
        final = np.concatenate([final, stream.push(images[begin:end])])
        so_far = np.concatenate([final, stream.preview()])
        np.testing.assert_allclose(so_far, pulse.wave(images[:end]), atol=1e-5)
        assert np.isnan(so_far).all() == (end < 32)


def test_each_window_is_estimated_once(
    network: PhysMamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse, windows = PulseNetwork(network), []
    estimate = pulse.estimate
    monkeypatch.setattr(
        pulse, "estimate", lambda window: (windows.append(window[0]), estimate(window))[1]
    )
    stream, images = PulseStream(pulse), thumbnails(32 + 16 * 10)
    made = [len(stream.push(image[None])) for image in images]
    assert len(windows) == 11
    for number, first in enumerate(windows):
        assert_close(first, images[16 * number])
    assert sum(made) == 16 * 11
    assert set(made) == {0, 16}
    stream.preview()  # nothing came since the last window
    assert len(windows) == 11
    stream.push(images[:1])
    stream.preview()
    assert len(windows) == 12
    assert len(stream._images) <= 32 + 16


def test_unknown_thumbnails_make_an_unknown_wave(network: PhysMamba) -> None:
    """No window sees the one at 70; windows that do not touch it are as if it were known."""
    pulse, images = PulseNetwork(network), thumbnails(160)
    whole = pulse.wave(images)
    images[70, 3, 4, 1] = np.nan
    wave = pulse.wave(images)
    # windows at 48 and 64 hold it; those before end at 64, those after begin at 80
    assert np.isnan(wave[64:80]).all()
    assert not np.isnan(wave[:64]).any()
    assert not np.isnan(wave[80:]).any()
    np.testing.assert_allclose(wave[:48], whole[:48], atol=1e-5)
    np.testing.assert_allclose(wave[96:], whole[96:], atol=1e-5)


def test_too_few_and_none(network: PhysMamba) -> None:
    pulse = PulseNetwork(network)
    assert np.isnan(pulse.wave(thumbnails(31))).all()
    assert pulse.wave(thumbnails(31)).shape == (31,)
    assert pulse.wave(thumbnails(0)).shape == (0,)
    assert pulse.wave(np.empty((0, 40, 40, 3))).shape == (0,)
    assert np.isfinite(pulse.wave(thumbnails(32))).all()


def test_other_sizes_are_averaged_by_area(network: PhysMamba) -> None:
    pulse, small = PulseNetwork(network), thumbnails(40)
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    large[:, ::3, ::3] += 9  # of nine pixels one more by 9
    np.testing.assert_allclose(pulse.resized(large), small + 1, rtol=1e-5)
    odd = thumbnails(3, 24)
    expected = cv2.resize(odd[1], (16, 16), interpolation=cv2.INTER_AREA)
    assert_close(pulse.resized(odd)[1], expected)
    assert_close(pulse.resized(odd)[1].mean((0, 1)), odd[1].mean((0, 1)))
    np.testing.assert_allclose(pulse.wave(large), pulse.wave(small), atol=1e-3)


def test_there_is_no_wave_of_one_grey(network: PhysMamba) -> None:
    """A network makes one even of that, from where its convolutions begin."""
    wave = PulseNetwork(network).wave(np.full((64, 16, 16, 3), 127.3, np.float32))
    assert np.isnan(wave).all()


def test_named_after_its_weights(
    network: PhysMamba, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.NETWORKS, "physmamba", "PhysMamba")
    monkeypatch.setitem(physmamba.PRESETS, "small", SMALL)
    entry = weights.save(
        network, tmp_path, "small", training_data={}, git_revision="", command="", metrics={}
    )
    pulse = PulseNetwork.load(tmp_path / "physmamba_small.safetensors", hop=8)
    assert pulse.name == f"physmamba/small@{entry['sha256'][:8]}"
    assert (pulse.window, pulse.size, pulse.rate_hz, pulse.hop) == (32, 16, 30.0, 8)
    with pytest.raises(weights.WeightsError, match="there is no file of weights"):
        PulseNetwork.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("hop", [0, 33, 1.5])
def test_hops_out_of_range(network: PhysMamba, hop: object) -> None:
    with pytest.raises(ValueError, match="hop must be a whole number, 1 to 32, got"):
        PulseNetwork(network, hop)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 16, 12, 3), (4, 3, 16, 16)])
def test_thumbnails_of_another_shape(network: PhysMamba, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"thumbnails must be \(T, S, S, 3\), got"):
        PulseNetwork(network).wave(np.zeros(shape))
