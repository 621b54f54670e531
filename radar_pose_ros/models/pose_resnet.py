"""PoseResNet: one heatmap per joint from an image (Xiao et al., "Simple Baselines", ECCV 2018).

The whole network is in this file::

    image crop, ImageNet mean and deviation taken out
      -> ResNet of 18, 34, 50, 101 or 152 layers, without its classifier
      -> three transposed convolutions, each of which doubles the size
      -> a 1x1 convolution: a heatmap per joint, a quarter of the crop's size

DenseWarper (arXiv 2605.14525) has the one of 152 layers in front. The names of the parameters are
torchvision's for the ResNet, with ``deconv_layers`` and ``final_layer`` after it: weights that
others trained can be loaded (`load_common`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue from 0 to 1, in ImageNet: to be taken out of images."""

IMAGE_DEVIATION = (0.229, 0.224, 0.225)

_STAGES: dict[int, tuple[int, int, int, int]] = {  # blocks of the four stages
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_WIDTHS = (64, 128, 256, 512)
_UPSAMPLINGS = 3
# What stands before the names in the files of others: of wrappers, AdaFuse, MMPose.
_PREFIXES = ("module.", "model.", "resnet.", "backbone.", "keypoint_head.", "head.")


@dataclass(frozen=True)
class PoseResNetConfig:
    """Sizes; the defaults are the preset ``paper``, that of DenseWarper.

    Raises
    ------
    ValueError
        If there is no ResNet of that depth, or a size is none.
    """

    depth: int = 152
    joints: int = 20
    deconv_channels: int = 256

    def __post_init__(self) -> None:
        if self.depth not in _STAGES:
            known = ", ".join(map(str, _STAGES))
            raise ValueError(f"depth must be one of {known}, got {self.depth}")
        for name in ("joints", "deconv_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def stages(self) -> tuple[int, int, int, int]:
        """Blocks of each stage."""
        return _STAGES[self.depth]

    @property
    def expansion(self) -> int:
        """Channels that leave a block, in multiples of its width."""
        return 1 if self.depth < 50 else 4


PRESETS: dict[str, PoseResNetConfig] = {
    "paper": PoseResNetConfig(),
    "resnet18": PoseResNetConfig(depth=18, joints=17),
    "resnet34": PoseResNetConfig(depth=34, joints=17),
    "resnet50": PoseResNetConfig(depth=50, joints=17),
    "resnet101": PoseResNetConfig(depth=101, joints=17),
    "resnet152": PoseResNetConfig(depth=152, joints=17),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a way around them; blocks of ResNet-18 and 34."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) -> (batch, width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.downsample(x), inplace=True)

    def fold_norms(self) -> None:
        """Make the norms part of the convolutions, for a block that is no longer trained."""
        assert isinstance(self.bn1, nn.BatchNorm2d)
        assert isinstance(self.bn2, nn.BatchNorm2d)
        self.conv1, self.bn1 = fuse_conv_bn_eval(self.conv1, self.bn1), nn.Identity()
        self.conv2, self.bn2 = fuse_conv_bn_eval(self.conv2, self.bn2), nn.Identity()
        if len(self.downsample):
            self.downsample = nn.Sequential(fuse_conv_bn_eval(*self.downsample))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a way around them; blocks of the deeper ResNets."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) -> (batch, 4 * width, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    if inputs == outputs and stride == 1:
        return nn.Sequential()  # the input itself
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )


class PoseResNet(nn.Module):
    """The network.

    Parameters
    ----------
    config : PoseResNetConfig
        For instance ``PRESETS["paper"]``.
    """

    def __init__(self, config: PoseResNetConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(c, 0)
        self.layer2 = _stage(c, 1)
        self.layer3 = _stage(c, 2)
        self.layer4 = _stage(c, 3)
        layers: list[nn.Module] = []
        channels = _WIDTHS[-1] * c.expansion
        for _ in range(_UPSAMPLINGS):
            layers += [
                nn.ConvTranspose2d(channels, c.deconv_channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(c.deconv_channels),
                nn.ReLU(inplace=True),
            ]
            channels = c.deconv_channels
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(channels, c.joints, 1)
        for layer in self.deconv_layers:
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.001)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Estimate heatmaps.

        Parameters
        ----------
        images : Tensor
            ``(batch, 3, height, width)`` of any size; red, green and blue, without
            `IMAGE_MEAN` and by `IMAGE_DEVIATION`.

        Returns
        -------
        Tensor
            ``(batch, joints, rows, columns)``; about 0 to 1, nothing enforces it. A quarter of the
            image where that is a multiple of 32, else of the next such size, and what lies outside
            of the image there means nothing. Pixel ``(u, v)`` of a heatmap lies at pixel
            ``(4 u, 4 v)`` of the image.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
            raise ValueError(
                f"images must be (batch, 3, height, width), not empty, got {tuple(images.shape)}"
            )
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.final_layer(self.deconv_layers(x))


def _stage(c: PoseResNetConfig, number: int) -> nn.Sequential:
    width = _WIDTHS[number]
    outputs = width * c.expansion
    inputs = _WIDTHS[number - 1] * c.expansion if number else 64
    block = BasicBlock if c.expansion == 1 else Bottleneck
    first = block(inputs, width, 2 if number else 1)
    return nn.Sequential(first, *(block(outputs, width, 1) for _ in range(1, c.stages[number])))


def load_common(
    network: PoseResNet, state: Mapping[str, Any], *, resnet_only: bool = False
) -> None:
    """Load weights with the common names: of SimpleBaseline and what came from it, or torchvision.

    Prefixes as of ``DataParallel`` (``module.``) are taken off; a classifier (``fc.``) and what
    is not of this network are left out.

    Parameters
    ----------
    network : PoseResNet
    state : mapping of str to Tensor
        Or one that holds such a mapping as "state_dict", as checkpoints do.
    resnet_only : bool
        Leave ``deconv_layers`` and ``final_layer`` as they are, for weights of a classifier.

    Raises
    ------
    ValueError
        If a parameter is missing or has another shape; names the first one.
    """
    inner = state.get("state_dict", state)
    given = {_without_prefixes(name): value for name, value in inner.items()}
    wanted = network.state_dict()
    for name, present in wanted.items():
        if name.endswith("num_batches_tracked"):  # files of the first PyTorch do not have it
            given.setdefault(name, present)
        elif resnet_only and name.startswith(("deconv_layers.", "final_layer.")):
            given[name] = present
        elif name not in given:
            raise ValueError(f"the weights lack {name}, which this PoseResNet has")
        elif tuple(given[name].shape) != tuple(present.shape):
            raise ValueError(
                f"the weights' {name} has the shape {tuple(given[name].shape)}, this PoseResNet "
                f"wants {tuple(present.shape)}"
            )
    network.load_state_dict({name: given[name] for name in wanted})


def config_of(state: Mapping[str, Any]) -> PoseResNetConfig:
    """Return the sizes of the network that weights with the common names belong to.

    Parameters
    ----------
    state : mapping of str to Tensor
        As `load_common` takes it.

    Raises
    ------
    ValueError
        If these are no weights of a PoseResNet: says what is missing.
    """
    inner = state.get("state_dict", state)
    if not isinstance(inner, Mapping):
        raise ValueError("the weights are no mapping of names to numbers")
    given = {_without_prefixes(str(name)): value for name, value in inner.items()}
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in given.items()}
    final, first = (shapes.get(f"{n}.weight", ()) for n in ("final_layer", "deconv_layers.0"))
    if len(final) != 4 or len(first) != 4:
        raise ValueError("the weights lack final_layer.weight or deconv_layers.0.weight")
    blocks = tuple(
        len({name.split(".")[1] for name in given if name.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    )
    deep = "layer1.0.conv3.weight" in given
    depths = [d for d, stages in _STAGES.items() if stages == blocks and (d >= 50) == deep]
    if not depths:
        raise ValueError(f"the weights have blocks {blocks} in their stages, as no ResNet here")
    return PoseResNetConfig(depth=depths[0], joints=final[0], deconv_channels=first[1])


def _without_prefixes(name: str) -> str:
    while prefix := next((p for p in _PREFIXES if name.startswith(p)), ""):
        name = name[len(prefix) :]
    return name


def multiply_accumulates(config: PoseResNetConfig, height: int, width: int) -> dict[str, int]:
    """Count the multiplications of one image, by part.

    ``total`` is the sum of the convolutions; ``norms`` is not in it: two operations for each
    number that a batch normalisation gives, as some tools count them.

    A transposed convolution is counted by its inputs, each of which is multiplied once with every
    weight. Tools that count by outputs, four times as many, find 51 instead of 38 billion for
    ``paper`` at 384 x 384.
    """
    c = config

    def halved(times: int) -> int:
        return math.ceil(height / 2**times) * math.ceil(width / 2**times)

    resnet, norms = halved(1) * 3 * 64 * 49, 2 * halved(1) * 64
    channels = 64
    for number, (blocks, stage_width) in enumerate(zip(c.stages, _WIDTHS, strict=True)):
        outputs = stage_width * c.expansion
        for block in range(blocks):
            after = halved(2 + number)
            before = halved(1 + number) if number and not block else after
            if c.expansion == 1:
                resnet += after * 9 * stage_width * (channels + stage_width)
                norms += 4 * after * stage_width
            else:
                resnet += before * channels * stage_width
                resnet += after * stage_width * (9 * stage_width + outputs)
                norms += 2 * (before * stage_width + after * (stage_width + outputs))
            if channels != outputs or before != after:
                resnet += after * channels * outputs
                norms += 2 * after * outputs
            channels = outputs
    positions = halved(5)
    deconvolutions = 0
    for _ in range(_UPSAMPLINGS):
        deconvolutions += positions * channels * c.deconv_channels * 16
        positions, channels = 4 * positions, c.deconv_channels
        norms += 2 * positions * channels
    final = positions * channels * c.joints
    return {
        "resnet": resnet,
        "deconvolutions": deconvolutions,
        "final": final,
        "total": resnet + deconvolutions + final,
        "norms": norms,
    }
