"""PoseResNet: sizes that are published, names that are common, what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tolerances import assert_close
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from radar_pose_ros.models.pose_resnet import (
    PRESETS,
    PoseResNet,
    PoseResNetConfig,
    config_of,
    load_common,
    multiply_accumulates,
)

SMALL = PoseResNetConfig(depth=18, joints=3, deconv_channels=8)


def build(config: PoseResNetConfig = SMALL, seed: int = 0) -> PoseResNet:
    torch.manual_seed(seed)
    return PoseResNet(config).eval()


def on_meta(config: PoseResNetConfig) -> PoseResNet:
    """Without memory for its numbers."""
    with torch.device("meta"):
        return PoseResNet(config)


def parameters(config: PoseResNetConfig) -> int:
    return sum(p.numel() for p in on_meta(config).parameters())


@pytest.mark.parametrize(
    ("depth", "count"),
    [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808)],
)
def test_published_sizes(depth: int, count: int) -> None:
    """torchvision's, without the classifier of 1,000 classes."""
    without_head = sum(
        p.numel()
        for name, p in on_meta(PoseResNetConfig(depth=depth)).named_parameters()
        if not name.startswith(("deconv_layers.", "final_layer."))
    )
    assert without_head == count


def test_the_papers_size() -> None:
    assert parameters(PRESETS["paper"]) == 68_636_244
    counted = multiply_accumulates(PRESETS["paper"], 384, 384)
    assert round((counted["total"] + counted["norms"]) / 1e9, 2) == 38.24


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [(64, 96), (61, 33)])
def test_multiply_accumulates_agree_with_torch(depth: int, size: tuple[int, int]) -> None:
    config = dataclasses.replace(SMALL, depth=depth)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        on_meta(config)(torch.zeros(1, 3, *size, device="meta"))
    # torch counts a transposed convolution by its inputs too
    assert 2 * multiply_accumulates(config, *size)["total"] == counter.get_total_flops()


@pytest.mark.parametrize(
    ("size", "quarter"), [((64, 96), (16, 24)), ((61, 33), (16, 16)), ((1, 1), (8, 8))]
)
def test_any_image_has_a_heatmap_of_a_quarter(
    size: tuple[int, int], quarter: tuple[int, int]
) -> None:
    with torch.no_grad():
        heatmaps = build()(torch.randn(2, 3, *size))
    assert heatmaps.shape == (2, 3, *quarter)
    assert torch.isfinite(heatmaps).all()


def test_a_shifted_image_has_a_shifted_heatmap() -> None:
    """By 32 px, the network's stride, far from the borders: 8 px of the heatmap."""
    network = build()
    image = torch.zeros(1, 3, 416, 416)
    image[..., 200:208, 196:206] = torch.rand(3, 8, 10)
    with torch.no_grad():
        a, b = network(image), network(image.roll((32, 32), (2, 3)))
    assert_close(b[..., 52:60, 52:60], a[..., 44:52, 44:52])


def common_state(network: PoseResNet, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "module.resnet.", "backbone."])
def test_weights_of_others(prefix: str) -> None:
    theirs, ours = build(seed=1), build(seed=2)
    state = common_state(theirs, prefix)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    state["module.fc.weight"] = torch.zeros(1000, 512)
    load_common(ours, {"epoch": 3, "state_dict": state} if prefix else state)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(theirs(image), ours(image))


def test_names_are_the_common_ones() -> None:
    names = set(on_meta(PRESETS["resnet50"]).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer4.2.bn3.bias",
        "deconv_layers.0.weight",
        "deconv_layers.7.running_var",
        "final_layer.bias",
    } <= names
    assert not any(name.startswith("layer1.1.downsample") for name in names)
    assert "deconv_layers.0.bias" not in names


def test_weights_of_a_classifier() -> None:
    theirs, ours = build(seed=1), build(seed=2)
    before = ours.final_layer.weight.clone()
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if not name.startswith(("deconv_layers.", "final_layer."))
    }
    load_common(ours, state, resnet_only=True)
    assert torch.equal(ours.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert torch.equal(ours.final_layer.weight, before)
    with pytest.raises(ValueError, match=r"lack deconv_layers\.0\.weight"):
        load_common(ours, state)


def test_weights_that_do_not_fit() -> None:
    state = common_state(build(), "module.")
    del state["module.layer2.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"lack layer2\.0\.conv1\.weight"):
        load_common(build(), state)
    state = common_state(build(dataclasses.replace(SMALL, joints=4)), "")
    with pytest.raises(ValueError, match=r"final_layer\.weight has the shape \(4, 8, 1, 1\)"):
        load_common(build(), state)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"images must be \(batch, 3, height, width\)"):
        build()(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="depth must be one of 18, 34, 50, 101, 152, got 20"):
        PoseResNetConfig(depth=20)
    with pytest.raises(ValueError, match="joints must be at least 1, got 0"):
        PoseResNetConfig(joints=0)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_weights_say_whose_they_are(depth: int) -> None:
    config = PoseResNetConfig(depth=depth, joints=5, deconv_channels=16)
    state = on_meta(config).state_dict()
    assert config_of(state) == config
    assert config_of({"state_dict": {f"module.{k}": v for k, v in state.items()}}) == config


def test_other_weights_are_nobody_s() -> None:
    state = on_meta(SMALL).state_dict()
    fewer = {name: value for name, value in state.items() if not name.startswith("layer4.1")}
    with pytest.raises(ValueError, match=r"blocks \(2, 2, 2, 1\) in their stages"):
        config_of(fewer)
    with pytest.raises(ValueError, match=r"lack final_layer.weight"):
        config_of({"state_dict": {}})
    with pytest.raises(ValueError, match="no mapping"):
        config_of({"state_dict": [1]})
