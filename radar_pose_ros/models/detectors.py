"""Keypoints of one person in images, by networks that others have trained.

A model is one file, and beside it there may be a YAML file of the same name that says what the
file does not. The file is one of:

* ``.onnx``: any network with one input ``(1, 3, height, width)`` whose outputs are of a kind that
  `detector_outputs` knows; it needs the library onnxruntime, which this package does not ask for;
* ``.safetensors``: a `pose_resnet.PoseResNet`, with or without a manifest beside it;
* ``.pth``, ``.pt``, ``.tar``, ``.bin``: the same as a state dict that torch has saved. It is read
  with ``weights_only=True``: nothing in it is executed.

``MODEL.yaml``, all of which may be left out::

    skeleton: coco17              # whose joints these are; must be known from somewhere
    input_size: [192, 256]        # width and height, pixels; an .onnx file may say it itself
    mean: [0.485, 0.456, 0.406]   # taken out of each channel, from 0 to 1 (ImageNet's)
    std: [0.229, 0.224, 0.225]    # by which that is divided
    channels: rgb                 # order of the channels, of mean and of std; or bgr
    output: auto                  # heatmaps, simcc or keypoints; auto: by the shapes
    box: image                    # look at the whole image; follow: where the person was last
    margin: 1.25                  # of the box to follow, over that around the joints
    flip_test: false              # look at the mirrored image, too
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch

from radar_pose_ros import documents
from radar_pose_ros.models import pose_resnet, weights
from radar_pose_ros.models.detector_outputs import KINDS, decode
from radar_pose_ros.skeleton import definitions

FORMATS = (".onnx", ".safetensors", ".pth", ".pt", ".tar", ".bin")
BOXES = ("image", "follow")
CHANNELS = ("rgb", "bgr")
INPUT_SIZE = (192, 256)  # of a PoseResNet whose YAML does not say it [SimpleBaseline's, on COCO]
# What is followed: joints that are at least so certain, and of these so great a share [choice].
FOLLOWED_CONFIDENCE = 0.3
FOLLOWED_SHARE = 0.5
_SMALLEST_BOX_PX = 16.0  # choice

# From images (1, 3, height, width), float32, to what `detector_outputs.decode` takes.
Network = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """How a network wants images, and what it gives.

    Parameters
    ----------
    skeleton : str
        Whose joints these are.
    input_size : (int, int)
        Width and height, pixels.
    mean, std : (float, float, float)
        Of a channel from 0 to 1: taken out, and divided by.
    channels : str
        One of `CHANNELS`.
    output : str
        One of `detector_outputs.KINDS`, or "auto".
    box : str
        One of `BOXES`.
    margin : float
        Sides of the box to follow, over those of the box around the joints [1.25: MMPose's].
    flip_test : bool
        Whether to look at the mirrored image, too: keypoints are the mean of both.

    Raises
    ------
    ValueError
        If one of these is none: says which, and what is allowed.
    """

    skeleton: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float] = pose_resnet.IMAGE_MEAN
    std: tuple[float, float, float] = pose_resnet.IMAGE_DEVIATION
    channels: str = "rgb"
    output: str = "auto"
    box: str = "image"
    margin: float = 1.25
    flip_test: bool = False

    def __post_init__(self) -> None:
        definitions.get(self.skeleton)
        sides = _numbers(self.input_size, 2, "input_size")
        if not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f"input_size wants whole pixels above 0, got {self.input_size}")
        if not all(0 <= value <= 1 for value in _numbers(self.mean, 3, "mean")):
            raise ValueError(f"mean is of values from 0 to 1, not to 255, got {self.mean}")
        if not all(0 < value <= 1 for value in _numbers(self.std, 3, "std")):
            raise ValueError(f"std is of values from 0 to 1, not to 255, got {self.std}")
        for name, allowed in (
            ("channels", CHANNELS),
            ("output", ("auto", *KINDS)),
            ("box", BOXES),
            ("flip_test", (True, False)),
        ):
            if getattr(self, name) not in allowed:
                known = ", ".join(map(str, allowed)).lower()
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if not 1 <= _numbers((self.margin,), 1, "margin")[0] <= 10:
            raise ValueError(f"margin must be from 1 to 10, got {self.margin}")


def _numbers(values: Any, count: int, name: str) -> Sequence[float]:
    good = isinstance(values, (list, tuple)) and len(values) == count
    if not good or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    ):
        raise ValueError(f"{name} wants {count} numbers, got {values!r}")
    return values


class KeypointDetector:
    """Finds one person's keypoints in the images of one camera after the other.

    Parameters
    ----------
    network : callable
        From normalised images, float32 (1, 3, height, width), to its outputs.
    settings : Settings
    """

    def __init__(self, network: Network, settings: Settings) -> None:
        self.network = network
        self.settings = settings
        self.skeleton = definitions.get(settings.skeleton)

    def __call__(self, images: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints of images that follow each other.

        Parameters
        ----------
        images : iterable of ndarray of uint8, shape (height, width, 3)
            Blue, green, red, as OpenCV reads them. With ``box: follow`` each is looked at where
            the person was in the one before; the first one, and one after which the person was
            lost, as a whole.

        Returns
        -------
        keypoints_px : ndarray of float32, shape (images, joints, 2)
            NaN where a joint was not found.
        confidence : ndarray of float32, shape (images, joints)
            From 0 to 1; 0 where a joint was not found.

        Raises
        ------
        ValueError
            If an image is of another shape or type, or the network's outputs cannot be decoded.
        """
        joints = len(self.skeleton.joints)
        pixels, scores = [np.zeros((0, joints, 2))], [np.zeros((0, joints))]
        box: np.ndarray | None = None
        for image in images:
            found, score = self.look(image, whole_box(image) if box is None else box)
            box = self._box_of(found, score) if self.settings.box == "follow" else None
            pixels.append(found[None])
            scores.append(score[None])
        return (
            np.concatenate(pixels).astype(np.float32),
            np.concatenate(scores).astype(np.float32),
        )

    def look(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints of a part of one image, as calling this does for several images.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
        box : ndarray, shape (4,)
            Left, top, right and bottom, pixels of the image; may reach beyond it.

        Returns
        -------
        keypoints_px : ndarray of float64, shape (joints, 2)
            In pixels of the whole image.
        confidence : ndarray of float64, shape (joints,)
        """
        settings = self.settings
        to_input = input_from_image(box, settings.input_size)
        values = normalised(cut_out(image, to_input, settings), settings)
        pixels, score = self._decoded(values)
        if settings.flip_test:
            order = self.skeleton.mirrored()
            other, other_score = self._decoded(values[..., ::-1])
            other = other[order] * (-1, 1) + (settings.input_size[0] - 1, 0)
            pixels, score = _mean(pixels, score, other, other_score[order])
        pixels = (pixels - to_input[:, 2]) / to_input[0, 0]
        height, width = image.shape[:2]
        # what lies in the border around the image is no joint that was seen
        inside = ((pixels >= -0.5) & (pixels <= (width - 0.5, height - 0.5))).all(-1)
        return np.where(inside[:, None], pixels, np.nan), np.where(inside, score, 0.0)

    def _decoded(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = self.network(np.ascontiguousarray(values))
        joints, settings = len(self.skeleton.joints), self.settings
        pixels, score = decode(outputs, settings.input_size, joints, settings.output)
        return pixels[0], score[0]

    def _box_of(self, pixels: np.ndarray, score: np.ndarray) -> np.ndarray | None:
        """Return the box to look at next, left, top, right and bottom; None for all."""
        sure = score >= FOLLOWED_CONFIDENCE
        if sure.mean() < FOLLOWED_SHARE:
            return None
        return box_around(pixels[sure], self.settings.margin)


def _mean(
    pixels: np.ndarray, score: np.ndarray, other: np.ndarray, other_score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of two estimates of each joint, or the only one."""
    both = (score > 0) & (other_score > 0)
    one = np.where((score > 0)[:, None], pixels, other)
    return np.where(both[:, None], (pixels + other) / 2, one), (score + other_score) / 2


def whole_box(image: np.ndarray) -> np.ndarray:
    """Return the edges of an image, (4,): left, top, right, bottom, in pixels.

    Raises
    ------
    ValueError
        If it is none of three channels of bytes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"want an image of bytes (height, width, 3), got {image.dtype} {image.shape}"
        )
    return np.array([-0.5, -0.5, image.shape[1] - 0.5, image.shape[0] - 0.5])


def box_around(points_px: np.ndarray, margin: float) -> np.ndarray:
    """Return the box, left, top, right and bottom, around the middle of points (n, 2).

    Its sides are ``margin`` times those of the box around them, 16 pixels at least. What a network
    is shown is wider or higher, as its input is, see `input_from_image`: so large is a person in
    the images that such networks have learnt from.
    """
    low, high = points_px.min(0), points_px.max(0)
    half = np.maximum(margin * (high - low), _SMALLEST_BOX_PX) / 2
    middle = (low + high) / 2
    return np.concatenate([middle - half, middle + half])


def input_from_image(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the map from an image to a network's input that shows all of a box, not stretched.

    Parameters
    ----------
    box : ndarray, shape (4,)
        Left, top, right and bottom, pixels of the image.
    size : (int, int)
        Width and height of the input. The box's middle comes to lie in its middle.

    Returns
    -------
    ndarray, shape (2, 3)
        Affine, of pixels whose centres are whole numbers.
    """
    low, high = box[:2], box[2:]
    scale = float(np.min(np.array(size) / (high - low)))
    made = np.zeros((2, 3))
    made[0, 0] = made[1, 1] = scale
    made[:, 2] = (np.array(size) - 1) / 2 - scale * (low + high) / 2
    return made


def cut_out(image: np.ndarray, to_input: np.ndarray, settings: Settings) -> np.ndarray:
    """Return what a network is to see, uint8 (height, width, 3), channels as in the image.

    An image that is made much smaller is averaged first, so that no pixel is passed over. Around
    it is the mean colour.
    """
    scale = to_input[0, 0]
    times = max(1, int(1 / scale))
    if times > 1:
        bottom, right = (-side % times for side in image.shape[:2])
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        smaller = image.shape[1] // times, image.shape[0] // times
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        # pixel u of these lies at times * u + (times - 1) / 2
        to_input = np.column_stack(
            [to_input[:, :2] * times, to_input[:, 2] + scale * (times - 1) / 2]
        )
    colour = [255 * value for value in settings.mean]
    if settings.channels == "rgb":
        colour.reverse()
    made = cv2.warpAffine(
        image,
        to_input,
        settings.input_size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=colour,
    )
    return np.asarray(made, np.uint8)


def normalised(image: np.ndarray, settings: Settings) -> np.ndarray:
    """Return an image, blue, green and red, as float32 (1, 3, height, width) for a network."""
    ordered = image[..., ::-1] if settings.channels == "rgb" else image
    mean, std = (np.array(values, np.float32) for values in (settings.mean, settings.std))
    values = (ordered.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def load(path: Path | str, skeleton: str = "") -> KeypointDetector:
    """Return the detector of a file.

    Parameters
    ----------
    path : Path
        See the module.
    skeleton : str
        Whose joints it gives; by default what its YAML file, or the manifest, says.

    Raises
    ------
    ValueError
        If it is no such file, its YAML says something else than is known, nobody says the
        skeleton, or its outputs are of no kind that is known.
    RuntimeError
        If it is an ONNX file, and onnxruntime is not there.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: a detector is a file {', '.join(FORMATS)}")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    beside = path.with_suffix(".yaml")
    entries = read_settings(beside) if beside.is_file() else {}
    network: Network
    if path.suffix.lower() == ".onnx":
        network = OnnxNetwork(path)
        said: Mapping[str, Any] = {"input_size": network.input_size}
        if network.input_size and entries.get("input_size", network.input_size) != (
            network.input_size
        ):
            raise ValueError(
                f"{beside}: input_size is {entries['input_size']}, but {path.name} wants "
                f"{network.input_size}"
            )
    else:
        resnet, said = _load_pose_resnet(path)
        network = TorchNetwork(resnet)
    made = {**said, **entries} | ({"skeleton": skeleton} if skeleton else {})
    for name, meaning in (
        ("skeleton", f"whose joints it gives, one of {', '.join(definitions.SKELETONS)}"),
        ("input_size", "width and height of its input, [192, 256] for instance"),
    ):
        if not made.get(name):
            raise ValueError(f"{path}: say `{name}` in {beside.name} beside it: {meaning}")
    try:
        settings = Settings(**made)
    except ValueError as error:
        raise ValueError(f"{beside if entries else path}: {error}") from None
    if isinstance(network, TorchNetwork):
        count = len(definitions.get(settings.skeleton).joints)
        if network.joints != count:
            raise ValueError(
                f"{path}: a network of {network.joints} joints, but {settings.skeleton} has "
                f"{count}"
            )
        if any(side % 4 for side in settings.input_size):
            raise ValueError(
                f"{beside}: input_size of a PoseResNet wants multiples of 4, got "
                f"{settings.input_size}"
            )
    else:
        _try(network, settings, path)
    return KeypointDetector(network, settings)


def name_of(path: Path) -> str:
    """Return what poses call the detector of a file: its name and the start of its SHA-256."""
    return f"{path.stem}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def _try(network: Network, settings: Settings, path: Path) -> None:
    """Look at nothing, so that what is wrong with the outputs is said before the work."""
    width, height = settings.input_size
    outputs = network(np.zeros((1, 3, height, width), np.float32))
    joints = len(definitions.get(settings.skeleton).joints)
    try:
        decode(outputs, settings.input_size, joints, settings.output)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_settings(path: Path) -> dict[str, Any]:
    """Return the entries of a YAML file, as `Settings` takes them.

    Raises
    ------
    ValueError
        If it is no YAML file, or has an entry of another name.
    """
    entries = documents.read_yaml(path) or {}
    known = [entry.name for entry in fields(Settings)]
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: want entries by name, {', '.join(known)}")
    for name in entries:
        if name not in known:
            raise ValueError(f"{path}: there is no entry {name!r:.80}, only {', '.join(known)}")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()
    }


class TorchNetwork:
    """A PoseResNet as a `Network`, on the GPU if there is one."""

    def __init__(self, network: pose_resnet.PoseResNet) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.joints = network.config.joints
        self._network = network.eval().to(self.device)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Return heatmaps, a quarter of the images' size: what lies outside is cut off."""
        with torch.inference_mode():
            maps = self._network(torch.from_numpy(images).to(self.device))
        rows, columns = (side // 4 for side in images.shape[-2:])
        return [maps[..., :rows, :columns].float().cpu().numpy()]


def _load_pose_resnet(path: Path) -> tuple[pose_resnet.PoseResNet, dict[str, Any]]:
    """Return the network of a file, and what is known of it."""
    said: dict[str, Any] = {"input_size": INPUT_SIZE}
    manifest = path.parent / weights.MANIFEST
    listed = path.suffix.lower() == ".safetensors" and manifest.is_file()
    if listed and any(e["file"] == path.name for e in weights.read_manifest(path.parent)):
        network, entry = weights.network(path, "pose_resnet")
        return network, said | {"skeleton": entry.get("poses", {}).get("skeleton", "")}
    state = _read_state(path)
    try:
        network = pose_resnet.PoseResNet(pose_resnet.config_of(state))
        pose_resnet.load_common(network, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return network, said


def _read_state(path: Path) -> dict[str, Any]:
    try:
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file ends in whatever its readers meet
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: no file of weights that can be read safely: {reason}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: want a mapping of names to numbers, got {type(state).__name__}")
    return state


class OnnxNetwork:
    """A network in a file of ONNX, run by onnxruntime.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    input_size : (int, int) or None
        Width and height, if the file says them.

    Raises
    ------
    RuntimeError
        If onnxruntime is not there.
    ValueError
        If it is no such file, or has another input than one image (1, 3, height, width) of float.
    """

    def __init__(self, path: Path) -> None:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ModuleNotFoundError:
            raise RuntimeError(
                f"{path}: the library onnxruntime is missing, which runs ONNX files: "
                "`pip install onnxruntime`"
            ) from None
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        there = runtime.get_available_providers()
        wanted = [f"{kind}ExecutionProvider" for kind in ("CUDA", "CPU")]
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=[name for name in wanted if name in there]
            )
        except Exception as error:  # onnxruntime's own kinds, and what its parser meets
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: onnxruntime cannot load it: {reason:.200}") from None
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        # what is not fixed is a name, or None
        fixed = [side if isinstance(side, int) and side > 0 else None for side in shape]
        fits = len(fixed) == 4 and fixed[0] in (None, 1) and fixed[1] in (None, 3)
        if not fits or inputs[0].type != "tensor(float)":
            given = ", ".join(f"{one.type} {one.shape}" for one in inputs)
            raise ValueError(
                f"{path}: want one input, float (1, 3, height, width), got {given or 'none'}"
            )
        self._path, self._name = path, inputs[0].name
        self.input_size = (fixed[3], fixed[2]) if fixed[2] and fixed[3] else None

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the outputs in the file's order.

        Raises
        ------
        ValueError
            If the network cannot be run on images of this size.
        """
        try:
            return list(self._session.run(None, {self._name: images}))
        except Exception as error:  # onnxruntime's own kinds
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self._path}: it cannot be run on an input {images.shape}: {reason:.200}"
            ) from None
