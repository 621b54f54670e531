"""Keypoint detectors: blobs whose pixels are known, outputs on paper, and what is refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from drawn_spots import COLOURS, JOINTS, spots
from tolerances import assert_close

from radar_pose_ros.models import detectors, weights
from radar_pose_ros.models.detector_outputs import decode
from radar_pose_ros.models.detectors import KeypointDetector, Settings, load
from radar_pose_ros.models.heatmaps import soft_argmax
from radar_pose_ros.models.pose_resnet import PoseResNet, PoseResNetConfig
from radar_pose_ros.skeleton.definitions import HUPR14

pytest.importorskip("onnx", reason="needs onnx, which makes the files to test with")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")
onnx_models = importlib.import_module("onnx_models")

SKELETON = "skeleton: hupr14\n"


def scattered(size: tuple[int, int], seed: int = 0, border: float = 30.0) -> np.ndarray:
    """Draw places of joints, none near another."""
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < JOINTS:
        place = rng.uniform(border, np.array(size) - border)
        if all(np.linalg.norm(place - other) > 40 for other in found):
            found.append(place)
    return np.array(found)


def colour_detector(
    path: Path, said: str, size: tuple[int, int] | None = None
) -> KeypointDetector:
    onnx_models.colour_heatmaps(path, COLOURS, size)
    path.with_suffix(".yaml").write_text(SKELETON + onnx_models.PLAIN + said)
    return load(path)


@pytest.mark.parametrize("size", [(640, 360), (270, 480), (1280, 720)])
@pytest.mark.parametrize("flip", ["false", "true"])
def test_spots_are_found_where_they_are(tmp_path: Path, size: tuple[int, int], flip: str) -> None:
    """Within a third of a heatmap's pixel, in images wider and higher than the input."""
    detector = colour_detector(
        tmp_path / "spots.onnx", f"input_size: [256, 192]\nflip_test: {flip}\n"
    )
    if flip == "true":  # mirrored, each joint's colour is that of the other side
        mirrored = HUPR14.mirrored()
        detector.network = swapping(detector.network, mirrored)
    scale = min(256 / size[0], 192 / size[1])
    places = scattered(size)
    image = spots(places, size, 6 / scale)
    keypoints, confidence = detector([image])
    assert keypoints.shape == (1, JOINTS, 2) and keypoints.dtype == np.float32
    # in pixels of the heatmaps; the highest one of a flat spot is a little to any side
    off = (keypoints[0] - places) * scale / 4
    assert np.linalg.norm(off, axis=-1).max() < 0.35
    assert np.abs(off.mean(0)).max() < 0.1
    assert (confidence > 0.5).all()


class swapping:  # noqa: N801
    """A network whose joints change sides if it sees the mirrored image, the second each time."""

    def __init__(self, network: detectors.Network, mirrored: list[int]) -> None:
        self.network, self.mirrored, self.calls = network, mirrored, 0

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        self.calls += 1
        outputs = self.network(images)
        return [o[:, self.mirrored] if self.calls % 2 == 0 else o for o in outputs]


def test_channels_and_normalisation(tmp_path: Path) -> None:
    """What the network is given is on paper: (byte / 255 - mean) / std, in the order said."""
    seen: list[np.ndarray] = []

    def network(images: np.ndarray) -> list[np.ndarray]:
        seen.append(images)
        return [np.full((1, JOINTS, 2), 3.0)]

    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (51, 102, 255)  # blue, green, red
    numbers = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 1.0)}
    for channels, wanted in (
        ("rgb", [(1.0 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.2 - 0.3) / 1.0]),
        ("bgr", [(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (1.0 - 0.3) / 1.0]),
    ):
        KeypointDetector(network, Settings("hupr14", (8, 8), channels=channels, **numbers))(
            [image]
        )
        assert seen[-1].shape == (1, 3, 8, 8) and seen[-1].dtype == np.float32
        assert_close(seen[-1][0, :, 4, 4], np.float32(wanted))
    # around the image is the mean colour, which is next to 0
    KeypointDetector(network, Settings("hupr14", (16, 8), **numbers))([image])
    assert np.abs(seen[-1][0, :, :, :3]).max() < 0.5 / 255 / 0.25 + 1e-6


def test_following_looks_closer(tmp_path: Path) -> None:
    """A small person in a large image is found far better the second time."""
    detector = colour_detector(tmp_path / "a.onnx", "box: follow\n", (128, 128))
    places = scattered((250, 250), border=10.0) + (350.0, 60.0)
    image = spots(places, (640, 360), 14.0)
    # three images: where the person was, then nobody, then all of the image again
    images = [image, image, np.zeros_like(image), image]
    keypoints, confidence = detector(images)
    off = np.linalg.norm(keypoints - places, axis=-1).max(-1)
    assert off[0] > 2 * off[1] and off[1] < 3.0
    assert np.isnan(keypoints[2]).all() and not confidence[2].any()
    assert_close(keypoints[3], keypoints[0])


def test_joints_outside_of_the_image_are_not_known() -> None:
    """The border that fills the input up is no place for a joint."""
    answers = np.full((1, JOINTS, 3), 0.9)
    answers[..., :2] = (32.0, 10.0)
    answers[0, 0, :2] = (2.0, 10.0)
    detector = KeypointDetector(lambda images: [answers], Settings("hupr14", (64, 48)))
    keypoints, confidence = detector([np.zeros((96, 64, 3), np.uint8)])
    assert np.isnan(keypoints[0, 0]).all() and confidence[0, 0] == 0
    # half as large, in the middle: x = (32 - 31.5) / 0.5 + 31.5
    assert_close(keypoints[0, 1], np.float32([32.5, 20.5]))


@pytest.mark.parametrize(("extension", "half"), [(".pth", False), (".safetensors", True)])
def test_pose_resnet_from_a_file_is_the_network(
    tmp_path: Path, extension: str, half: bool
) -> None:
    torch.manual_seed(1)
    network = PoseResNet(PoseResNetConfig(depth=18, joints=JOINTS, deconv_channels=8)).eval()
    torch.nn.init.normal_(network.final_layer.weight, std=1.0)
    torch.nn.init.constant_(network.final_layer.bias, 0.5)
    state = network.state_dict()
    path = tmp_path / f"pose{extension}"
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        network.load_state_dict(state)
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    path.with_suffix(".yaml").write_text(SKELETON + "input_size: [96, 68]\n")
    image = np.random.default_rng(0).integers(0, 255, (68, 96, 3), np.uint8)
    keypoints, confidence = load(path)([image])
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        maps = network((rgb - mean) / deviation)[..., :17, :24]
    expected = (4 * soft_argmax(maps)).numpy()
    expected[(expected < 0).any(-1) | (expected > (95.5, 67.5)).any(-1)] = np.nan
    found = np.isfinite(expected).all(-1)
    assert found.sum() > JOINTS // 2
    assert_close(keypoints, expected)
    highest = maps.amax((-2, -1)).clamp(0, 1).numpy()
    assert_close(confidence[found], highest[found])


def test_pose_resnet_with_a_manifest(tmp_path: Path) -> None:
    """The manifest says whose joints they are; its hash is looked at."""
    with torch.random.fork_rng():
        network = PoseResNet(PoseResNetConfig(depth=18, joints=17))
    poses = {"skeleton": "coco17", "unit": "px", "root_relative": False, "rate_hz": 30.0}
    entry = weights.save(
        network,
        tmp_path,
        preset="resnet18",
        training_data={"licence": "none"},
        git_revision="x",
        command="none",
        metrics={"split": "none"},
        poses=poses,
    )
    detector = load(tmp_path / entry["file"])
    assert detector.skeleton.name == "coco17" and detector.settings.input_size == (192, 256)
    (tmp_path / entry["file"]).write_bytes(b"other")
    with pytest.raises(weights.WeightsError, match="is not the file that the manifest lists"):
        load(tmp_path / entry["file"])


class Harmful:
    def __reduce__(self):
        return print, ("this was executed",)


def test_nothing_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"final_layer.weight": Harmful()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: no file of weights that can be read safely"):
        load(tmp_path / "a.pth")
    assert "executed" not in capsys.readouterr().out


def test_simcc_is_read_by_its_highest_bins() -> None:
    across, down = np.zeros((1, 2, 128)), np.zeros((1, 2, 96))
    across[0, 0, 51], down[0, 0, 20] = 0.9, 0.6  # two bins per pixel
    across[0, 1, 0], down[0, 1, 95] = -0.1, 0.3
    across[0, 1, 1:] = -0.2  # nothing
    keypoints, confidence = decode([across, down], (64, 48), 2)
    assert_close(keypoints[0, 0], [25.5, 10.0])
    assert_close(confidence[0], [0.6, 0.0])
    assert np.isnan(keypoints[0, 1]).all()


def test_keypoints_are_taken_as_they_are() -> None:
    given = np.array([[[3.0, 4.0, 0.5], [5.0, 6.0, 0.0], [np.nan, 6.0, 0.7], [1.0, 2.0, 1.7]]])
    keypoints, confidence = decode([given], (64, 48), 4)
    assert_close(keypoints[0], np.array([[3, 4], [np.nan] * 2, [np.nan] * 2, [1, 2.0]]))
    assert_close(confidence[0], [0.5, 0.0, 0.0, 1.0])
    keypoints, confidence = decode([given[..., :2]], (64, 48), 4)
    assert_close(confidence[0], [1.0, 1.0, 0.0, 1.0])


def test_heatmaps_of_any_stride() -> None:
    """A Gaussian at (10.25, 7.5) of a map that is a quarter as wide and half as high."""
    rows, columns = np.mgrid[:24, :16]
    maps = 0.8 * np.exp(-((columns - 10.25) ** 2 + (rows - 7.5) ** 2) / 8)
    keypoints, confidence = decode([maps[None, None]], (64, 48), 1)
    np.testing.assert_allclose(keypoints[0, 0] / (4, 2), [10.25, 7.5], atol=0.1)
    assert 0.7 < confidence[0, 0] <= 0.8


@pytest.mark.parametrize(
    ("shapes", "kind", "sentence"),
    [
        ([(1, 14, 2, 3, 4)], "auto", r"have the shapes \(1, 14, 2, 3, 4\); want one output"),
        ([(1, 14, 5)], "auto", "or two outputs"),
        ([(1, 14, 8), (1, 13, 8)], "auto", "or two outputs"),
        ([(1, 14, 8)] * 3, "auto", "or two outputs"),
        ([(1, 14, 0, 4)], "auto", "have the shapes"),
        ([], "auto", "have the shapes none"),
        ([(1, 14, 3)], "heatmaps", r"want one output \(images, joints, rows, columns\)$"),
        ([(1, 14, 8, 8)], "simcc", "want two outputs"),
        ([(1, 17, 8, 8)], "auto", "the network gives 17 joints, but its skeleton has 14"),
        ([(1, 13, 8), (1, 13, 9)], "simcc", "gives 13 joints"),
    ],
)
def test_other_outputs_are_refused(shapes: list[tuple], kind: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode([np.zeros(shape) for shape in shapes], (64, 48), JOINTS, kind)


def test_onnx_files_of_each_kind(tmp_path: Path) -> None:
    """The same joint at (20, 12) of an input of 64 x 48, and so at (40.5, 24.5) of the image."""
    across, down = np.zeros((1, JOINTS, 128)), np.zeros((1, JOINTS, 96))
    across[..., 40], down[..., 24] = 0.5, 0.5
    maps = np.zeros((1, JOINTS, 12, 16))
    maps[..., 3, 5] = 1.0
    points = np.tile(np.float32([20, 12]), (1, JOINTS, 1))
    image = np.zeros((96, 128, 3), np.uint8)
    for name, answers in (
        ("simcc", [across, down]),
        ("heatmaps", [maps]),
        ("keypoints", [points]),
    ):
        path = onnx_models.answering(tmp_path / f"{name}.onnx", *answers)
        path.with_suffix(".yaml").write_text(f"output: {name}\n")
        detector = load(path, "hupr14")
        assert detector.settings.input_size == (64, 48)
        keypoints, _ = detector([image])
        wanted = np.tile(np.float32([40.5, 24.5]), (JOINTS, 1))
        np.testing.assert_allclose(keypoints[0], wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([1, 48, 64, 3], r"want one input, float \(1, 3, height, width\), got tensor\(float\) "),
        ([3, 48, 64], "want one input"),
        ([2, 3, 48, 64], "want one input"),
    ],
)
def test_onnx_files_with_another_input_are_refused(
    tmp_path: Path, inputs: list[int], sentence: str
) -> None:
    path = onnx_models.answering(tmp_path / "a.onnx", np.zeros((1, 14, 2)), inputs=inputs)
    with pytest.raises(ValueError, match=sentence):
        load(path, "hupr14")


def test_without_onnxruntime_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx_models.answering(tmp_path / "a.onnx", np.zeros((1, 14, 2)))

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(detectors.importlib, "import_module", missing)
    with pytest.raises(RuntimeError, match=r"a\.onnx: .* missing.*`pip install onnxruntime`"):
        load(path, "hupr14")


YAMLS: Iterable[tuple[str, str]] = [
    ("colour: rgb\n", r"a\.yaml: there is no entry 'colour', only skeleton, input_size"),
    ("- 1\n", r"a\.yaml: want entries by name"),
    ("a: [\n", r"a\.yaml: no YAML file"),
    ("mean: [123.7, 116.3, 103.5]\n", "mean is of values from 0 to 1, not to 255"),
    ("std: [0.2, 0.2]\n", "std wants 3 numbers"),
    ("std: [0.0, 0.2, 0.2]\n", "std is of values from 0 to 1"),
    ("input_size: [32, 32]\n", r"input_size is \(32, 32\), but a\.onnx wants \(64, 48\)"),
    ("output: points\n", "output must be one of auto, heatmaps, simcc, keypoints, got 'points'"),
    ("box: person\n", "box must be one of image, follow"),
    ("channels: gbr\n", "channels must be one of rgb, bgr"),
    ("flip_test: maybe\n", "flip_test must be one of true, false"),
    ("margin: 0.5\n", "margin must be from 1 to 10"),
    ("skeleton: cat20\n", "unknown skeleton 'cat20', known are body25"),
]


@pytest.mark.parametrize(("text", "sentence"), YAMLS)
def test_settings_are_checked(tmp_path: Path, text: str, sentence: str) -> None:
    path = onnx_models.answering(tmp_path / "a.onnx", np.zeros((1, 14, 2)))
    path.with_suffix(".yaml").write_text(text if "skeleton" in text else SKELETON + text)
    if text == "- 1\n":
        path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load(path)


def test_files_that_are_no_detectors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no\.onnx: there is no such file"):
        load(tmp_path / "no.onnx")
    with pytest.raises(ValueError, match=r"a detector is a file \.onnx, \.safetensors"):
        load(tmp_path / "a.mp4")
    for name in ("a.onnx", "a.safetensors", "a.pth"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            load(tmp_path / name, "hupr14")
    path = onnx_models.answering(tmp_path / "b.onnx", np.zeros((1, 14, 2)))
    with pytest.raises(ValueError, match=r"say `skeleton` in b\.yaml beside it: .* hupr14"):
        load(path)
    path = onnx_models.colour_heatmaps(tmp_path / "c.onnx", COLOURS)
    with pytest.raises(ValueError, match=r"say `input_size` in c\.yaml beside it"):
        load(path, "hupr14")
    torch.save(PoseResNet(PoseResNetConfig(depth=18, joints=3)).state_dict(), tmp_path / "d.pth")
    with pytest.raises(ValueError, match="a network of 3 joints, but hupr14 has 14"):
        load(tmp_path / "d.pth", "hupr14")
    (tmp_path / "d.yaml").write_text("input_size: [94, 64]\n")
    torch.save(PoseResNet(PoseResNetConfig(depth=18, joints=14)).state_dict(), tmp_path / "d.pth")
    with pytest.raises(ValueError, match="wants multiples of 4"):
        load(tmp_path / "d.pth", "hupr14")


def test_outputs_are_looked_at_before_the_work(tmp_path: Path) -> None:
    path = onnx_models.answering(tmp_path / "a.onnx", np.zeros((1, 17, 2)))
    with pytest.raises(
        ValueError, match=r"a\.onnx: the network gives 17 joints, but its skeleton"
    ):
        load(path, "hupr14")
    path = onnx_models.answering(tmp_path / "b.onnx", np.zeros((1, 14)))
    with pytest.raises(
        ValueError, match=r"b\.onnx: the network's outputs have the shapes \(1, 14"
    ):
        load(path, "hupr14")


def test_images_of_another_kind_are_refused() -> None:
    detector = KeypointDetector(lambda images: [], Settings("hupr14", (64, 48)))
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"want an image of bytes \(height, width, 3\)"):
            detector([image])
