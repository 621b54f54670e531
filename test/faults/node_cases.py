"""Every node that listens, and a valid message for each of its topics at any instant.

What is fed is one person who stands and moves an arm, seen by whatever the node listens to, so
that a node that is well says where that person is, and the same after any number of others.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.nodes.transforms import camera_transform
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.ti_config import parse_cfg
from radar_pose_ros.resources import find
from radar_pose_ros.skeleton import mapping, projection
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14, SKELETONS, Skeleton
from radar_pose_ros.vision.camera import PinholeCamera

BEGIN_NS = 1_790_000_000 * 10**9
VIEWS = ("camera_0", "camera_1", "camera_2")
RADARS = ("radar_h", "radar_v")
SIZE_PX = (640, 480)
IMAGE_PX = (64, 48)
# Of hupr14: in the order of its joints, m, x forward, y to the left, z up.
STANDING_M = np.array(
    [
        *((3.0, -0.12, 0.95), (3.0, -0.22, 0.52), (3.0, -0.3, 0.08)),
        *((3.0, 0.12, 0.95), (3.0, 0.22, 0.52), (3.0, 0.3, 0.08)),
        *((3.0, 0.0, 1.5), (3.0, 0.0, 1.72)),
        *((3.0, 0.2, 1.42), (3.0, 0.45, 1.3), (3.0, 0.65, 1.15)),
        *((3.0, -0.2, 1.42), (3.0, -0.45, 1.5), (3.0, -0.65, 1.65)),
    ]
)


@dataclass(frozen=True)
class NodeCase:
    """A node on the bench.

    Parameters
    ----------
    node : str
        Its program.
    parameters : callable
        Returns its parameters; gets an empty folder.
    valid : callable
        ``valid(topic, k)`` is what comes on a topic at the k-th instant.
    output : str
        The topic that tells whether the node is well.
    instants : int
        After so many there is a message with numbers on it.
    facts : tuple of str
        Topics, or ends of their names, that are told before each stream, in this order.
    period_s : float
        From instant to instant.
    settles_s : float
        So much later than the last message the last output may come.
    again_m : float
        By so much the same person may be elsewhere in the next stream, in m, px or, of hearts,
        beats per minute; NaN if it is not compared.
    skeletons : tuple of str
        That the node may take.
    needs : tuple of str
        Packages that it cannot do without.
    listen : callable, optional
        Makes the node, which finds its topics by itself, listen; what it refuses is not judged.
    """

    node: str
    parameters: Callable[[Path], dict[str, Any]]
    valid: Callable[[str, int], Any]
    output: str
    instants: int
    facts: tuple[str, ...] = ()
    period_s: float = 0.1
    settles_s: float = 0.0
    again_m: float = 1e-3
    skeletons: tuple[str, ...] = ("hupr14",)
    needs: tuple[str, ...] = ()
    listen: Callable[[Any], None] | None = None

    def stamp_ns(self, k: int) -> int:
        """Return the stamp of the k-th instant."""
        return BEGIN_NS + round(k * self.period_s * 1e9)


def person_m(k: int) -> np.ndarray:
    """Return the joints of hupr14 at an instant, (14, 3)."""
    joints = STANDING_M.copy()
    joints[HUPR14.index("right_wrist"), 2] += 0.1 * np.sin(0.3 * k)
    return joints


def _head(k: int, period_s: float, frame: str) -> Header:
    return convert.header(BEGIN_NS + round(k * period_s * 1e9), frame)


def _planar(k: int, period_s: float, pixels: np.ndarray, frame: str, size: tuple[int, int]) -> Any:
    person = Person(pixels, np.full(len(pixels), 0.8), 0.8, 3)
    return convert.people_to_message(
        msg.HumanPose2DArray,
        [person],
        _head(k, period_s, frame),
        skeleton=HUPR14.name,
        model="test/edge@0",
        image_width=size[0],
        image_height=size[1],
    )


def _pose2d(k: int, period_s: float) -> Any:
    side = (projection.IMAGE_SIZE_PX,) * 2
    pixels = projection.project(person_m(k))
    return _planar(k, period_s, pixels, projection.CAMERA_FRAME, side)


def _pose3d(k: int, period_s: float, skeleton: Skeleton = HUPR14) -> Any:
    joints = person_m(k)
    if skeleton is not HUPR14:
        joints = mapping.convert(joints, HUPR14.name, skeleton.name)
    spread = np.broadcast_to(np.diag([0.01, 0.02, 0.03]), (len(joints), 3, 3))
    person = Person(joints, np.full(len(joints), 0.8), 0.8, 3, covariance=spread)
    return convert.people_to_message(
        msg.HumanPose3DArray,
        [person],
        _head(k, period_s, "radar_rig"),
        skeleton=skeleton.name,
        model="test/3d@0",
    )


def _heatmap(k: int, shape: tuple[int, int, int], seed: int = 0, first: int = 0) -> Any:
    rng = np.random.default_rng((seed, k % 64))
    values = rng.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    message = msg.RadarHeatmap(
        header=_head(k, 0.1, "radar_link"),
        frame_index=k,
        data=convert.to_array(np.ascontiguousarray(values).view(np.float32)),
        sin_angle_first=-1.0,
        sin_angle_step=2.0 / shape[0],
        velocity_first_mps=-1.0,
        velocity_step_mps=0.25,
        range_first_m=0.043 * first,
        range_step_m=0.043,
        valid_ratio=1.0,
    )
    message.angle_bins, message.doppler_bins, message.range_bins = shape
    return message


# -- radars ------------------------------------------------------------------------------------


@cache
def radar_config() -> RadarConfig:
    """Return the reference configuration with 16 loops."""
    lines = find("config", "iwr1843.cfg").read_text().splitlines()
    told = [_smaller(line) for line in lines]
    return parse_cfg("\n".join(told), "small.cfg")


def _smaller(line: str) -> str:
    words = line.split()
    if words[:1] == ["frameCfg"]:
        words[3] = "16"
    return " ".join(words)


def _radar(topic: str, k: int) -> Any:
    config = radar_config()
    if topic.endswith("radar_config"):
        return convert.config_to_message(config, BEGIN_NS, "radar_link")
    loops, transmitters = config.adc_shape[:2]
    rng = np.random.default_rng(k % 16)
    frame = SimpleNamespace(
        index=k,
        epoch=0,
        data=rng.integers(-2000, 2000, config.bytes_per_frame // 2, dtype=np.int16),
        chirp_valid=np.ones(loops * transmitters, np.uint8),
        bytes_missing=0,
    )
    head = _head(k, 0.1, "radar_link")
    stamp_ns = convert.to_nanoseconds(head.stamp)
    return convert.adc_to_message(frame, config.adc_shape, stamp_ns, "radar_link")


def _cloud(topic: str, k: int) -> Any:
    rng = np.random.default_rng(k % 64)
    place = rng.normal((2.0, 0.0, 0.0), (0.1, 0.15, 0.4), (40, 3)).astype(np.float32)
    velocity, snr = rng.normal(0, 0.5, 40), rng.uniform(10, 25, 40)
    columns = (*place.T, velocity.astype(np.float32), snr.astype(np.float32))
    return convert.cloud_to_message(PointCloud(*columns), _head(k, 0.1, "radar_link"))


# -- cameras -----------------------------------------------------------------------------------


@cache
def camera(view: str) -> PinholeCamera:
    """Return a camera of the rig, four metres before the person."""
    angle = np.radians(-40.0 + 40.0 * int(view.removeprefix("camera_")))
    forward = np.array([np.cos(angle), np.sin(angle), 0.0])
    right, down = np.array([np.sin(angle), -np.cos(angle), 0.0]), np.array([0.0, 0.0, -1.0])
    return PinholeCamera(
        focal_px=(600.0, 600.0),
        centre_px=(320.0, 240.0),
        size_px=SIZE_PX,
        rotation=np.stack([right, down, forward]),
        position_m=np.array([3.0, 0.0, 1.0]) - 4.0 * forward,
    )


def _rig(topic: str, k: int) -> Any:
    if topic in ("tf", "tf_static"):
        names = [(v, camera(v)) for v in VIEWS]
        return TFMessage(
            transforms=[camera_transform("map", f"{v}_frame", c, BEGIN_NS) for v, c in names]
        )
    view, _, name = topic.partition("/")
    if name == "camera_info":
        return convert.camera_to_message(camera(view), Header(frame_id=f"{view}_frame"))
    return _planar(k, 1 / 30, camera(view).project(person_m(k)), f"{view}_frame", SIZE_PX)


def skin(time_s: float, bpm: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image of skin in which a heart beats, uint8 (height, width, 3), BGR."""
    blood = 0.01 * np.sin(2 * np.pi * bpm / 60 * time_s)
    colour = np.array([110.0, 130.0, 180.0]) * (1 - blood * np.array([0.53, 0.77, 0.33]))
    noise = rng.normal(0, 2, (IMAGE_PX[1], IMAGE_PX[0], 3))
    return np.clip(colour + noise, 0, 255).round().astype(np.uint8)


def _image(k: int, picture: np.ndarray, topic: str) -> Any:
    head = _head(k, 1 / 30, "eye")
    if topic.endswith("compressed"):
        data = cv2.imencode(".png", picture)[1]
        return CompressedImage(header=head, format="png", data=convert.to_array(data))
    message = convert.image_to_message(picture, head)
    message.encoding = "bgr8"
    return message


def _face(topic: str, k: int) -> Any:
    if topic == "region":
        return RegionOfInterest(x_offset=8, y_offset=8, width=40, height=32)
    return _image(k, skin(k / 30, 72.0, np.random.default_rng(k)), topic)


def _spots(topic: str, k: int) -> Any:
    from drawn_spots import spots

    places = np.array([(14 + 20 * (j % 7), 30 + 60 * (j // 7)) for j in range(14)], float)
    return _image(k, spots(places, (160, 120), 6.0), topic)


def _detector(folder: Path) -> dict[str, Any]:
    import onnx_models
    from drawn_spots import COLOURS

    path = onnx_models.colour_heatmaps(folder / "colours.onnx", COLOURS)
    about = "skeleton: hupr14\ninput_size: [160, 120]\n" + onnx_models.PLAIN
    path.with_suffix(".yaml").write_text(about)
    return {"model": str(path)}


# -- people ------------------------------------------------------------------------------------


def _skeleton(name: str = "hupr14") -> Any:
    return convert.skeleton_to_message(SKELETONS[name])


def _refined_in_image(topic: str, k: int) -> Any:
    return _skeleton() if topic == "skeleton" else _pose2d(k, 0.1)


def _refined_in_space(topic: str, k: int) -> Any:
    return _skeleton("h36m17") if topic == "skeleton" else _pose3d(k, 0.1, H36M17)


def _lifted(topic: str, k: int) -> Any:
    if topic == "camera_info":
        side, focal = projection.IMAGE_SIZE_PX, projection.FOCAL_LENGTH_PX
        lens = PinholeCamera((focal,) * 2, (128.0,) * 2, (side, side), np.eye(3), np.zeros(3))
        return convert.camera_to_message(lens, Header(frame_id=projection.CAMERA_FRAME))
    if topic.endswith("heatmap"):
        return _heatmap(k, (16, 4, 64), seed=RADARS.index(topic.split("/")[0]))
    return _pose2d(k, 1 / 30)


def _lifter(folder: Path) -> dict[str, Any]:
    """Return parameters with weights that were never trained: what they say is not looked at."""
    import torch

    from radar_pose_ros.models import weights
    from radar_pose_ros.models.diffhpe import PRESETS, DiffHPE

    torch.manual_seed(2)
    entry = weights.save(
        DiffHPE(PRESETS["2d"]),
        folder,
        "2d",
        command="random weights, for a test",
        metrics={"split": "none"},
        training_data={"licence": "none"},
        git_revision="0",
    )
    return {"weights": str(folder / entry["file"]), "hypotheses": 1, "placement": "range"}


def _seen(topic: str, k: int) -> Any:
    """Whatever can be drawn."""
    if topic == "skeleton":
        return _skeleton()
    if topic.endswith("radar_config"):
        return _radar(topic, k)
    if topic.endswith("heatmap"):
        return _heatmap(k, (16, 4, 32))
    if topic.endswith("camera_info"):
        return _rig("camera_0/camera_info", k)
    if topic == "heart_rate":
        return msg.HeartRate(
            header=_head(k, 0.1, "eye"),
            face_id=1,
            heart_rate_bpm=72.0,
            standard_error_bpm=1.0,
            signal_quality=0.9,
            respiration_rate_bpm=float("nan"),
            method="pos",
        )
    return _pose2d(k, 0.1) if topic.endswith("pose2d") else _pose3d(k, 0.1)


@cache
def _edge() -> tuple[tuple[int, int, int], int]:
    """Return the shape of the shipped network's heatmaps, and the first range bin."""
    from radar_pose_ros.models import weights

    entry = next(
        e for e in weights.read_manifest(weights.weights_directory()) if e["preset"] == "edge"
    )
    c = entry["config"]
    shape = (c["angle_bins"], c["doppler_bins"], c["range_bins"])
    return shape, int(entry["heatmap"].get("range_first", 0))


def _radar_heatmap(topic: str, k: int) -> Any:
    shape, first = _edge()
    heatmap = _heatmap(k, shape, RADARS.index(topic.split("/")[0]), first)
    if not topic.endswith("compressed"):
        return heatmap
    rng = np.random.default_rng(k % 64)
    cube = 100 * rng.normal(size=(12, *shape[1:], 2)).astype(np.float32)
    return heatmap_transport.compressed(heatmap, cube.view(np.complex64)[..., 0])


class StandIn(SimpleNamespace):
    """A message of hri_msgs, where that is not installed: it keeps what it was made of."""

    def __init__(self, **about: Any) -> None:
        super().__init__(**{"header": Header(), **about})


@contextmanager
def hri_msgs() -> Iterator[None]:
    """Let the package be there, or something that stands in for it."""
    if find_spec("hri_msgs") is not None:
        yield
        return
    names = ("IdsList", "Skeleton2D", "NormalizedPointOfInterest2D")
    kinds = {name: StandIn for name in (*names, "NormalizedRegionOfInterest2D")}
    sys.modules["hri_msgs"] = SimpleNamespace(msg=SimpleNamespace(**kinds))  # type: ignore[assignment]
    sys.modules["hri_msgs.msg"] = sys.modules["hri_msgs"].msg
    try:
        yield
    finally:
        del sys.modules["hri_msgs"], sys.modules["hri_msgs.msg"]


# What the viewer draws, but for that of which one message says nothing.
DRAWN: dict[str, str] = {
    "skeleton": "SkeletonDefinition",
    "radar_config": "RadarConfig",
    "camera_0/camera_info": "sensor_msgs/msg/CameraInfo",
    "tf_static": "tf2_msgs/msg/TFMessage",
    "pose2d": "HumanPose2DArray",
    "pose3d": "HumanPose3DArray",
    "ground_truth": "HumanPose3DArray",
    "heatmap": "RadarHeatmap",
    "points": "sensor_msgs/msg/PointCloud2",
    "image": "sensor_msgs/msg/Image",
    "image/compressed": "sensor_msgs/msg/CompressedImage",
    "heart_rate": "HeartRate",
    "pulse_wave": "PulseWave",
    "diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


def _shown(topic: str, k: int) -> Any:
    """Whatever the viewer draws."""
    if topic == "points":
        return _cloud(topic, k)
    if topic.startswith("image"):
        return _image(k, skin(k / 30, 72.0, np.random.default_rng(k)), topic)
    if topic == "tf_static":
        return _rig(topic, k)
    if topic == "pulse_wave":
        samples = array.array("f", np.sin(np.arange(30) / 5))
        wave = {"face_id": 1, "sample_rate_hz": 30.0, "samples": samples, "signal_quality": 0.9}
        return msg.PulseWave(header=_head(k, 0.1, "eye"), method="pos", **wave)
    if topic == "diagnostics":
        values = [KeyValue(key="rate_hz", value="10.0")]
        status = DiagnosticStatus(level=b"\0", name="/node", message="running", values=values)
        return DiagnosticArray(header=_head(k, 0.1, ""), status=[status])
    return _seen(topic, k)


def _listen_to_all(node: Any) -> None:
    for topic, kind in DRAWN.items():
        name = kind if "/" in kind else f"radar_pose_ros/msg/{kind}"
        node._seen_topics.add(f"/{topic}")
        node._listen(f"/{topic}", name, False)


def _fixed(**values: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: values


NODES: dict[str, NodeCase] = {
    "radar_preprocessor": NodeCase(
        "radar_preprocessor",
        _fixed(publish_points=True, range_bins=32, angle_bins=16),
        _radar,
        "heatmap",
        2,
        facts=("radar_config",),
    ),
    "mamba_pose": NodeCase(
        "mamba_pose",
        _fixed(
            threads=1, every_nth_frame=8, joint_min_confidence=0.0, person_min_confidence=0.0
        ),
        _radar_heatmap,
        "pose2d",
        18,
        again_m=float("nan"),
    ),
    "mamba_pose_compressed": NodeCase(
        "mamba_pose",
        _fixed(
            heatmap_transport="compressed",
            threads=1,
            every_nth_frame=8,
            joint_min_confidence=0.0,
            person_min_confidence=0.0,
        ),
        _radar_heatmap,
        "pose2d",
        18,
        again_m=float("nan"),
    ),
    "mamba_pose_points": NodeCase(
        "mamba_pose", _fixed(input="points", threads=1, every_nth_frame=8), _cloud, "pose3d", 40,
        again_m=float("nan"),
    ),
    "pose_refiner": NodeCase(
        "pose_refiner",
        _fixed(weights="radar_2d"),
        _refined_in_image,
        "refined/pose2d",
        20,
        facts=("skeleton",),
        settles_s=0.5,
        again_m=float("nan"),
    ),
    "pose_refiner_3d": NodeCase(
        "pose_refiner",
        _fixed(poses="pose3d"),
        _refined_in_space,
        "refined/pose3d",
        20,
        facts=("skeleton",),
        settles_s=0.5,
        again_m=float("nan"),
        skeletons=("h36m17",),
    ),
    "pose_lifter": NodeCase(
        "pose_lifter",
        _lifter,
        _lifted,
        "pose3d",
        60,
        facts=("camera_info",),
        period_s=1 / 30,
        settles_s=1.0,
        again_m=float("nan"),
        skeletons=tuple(SKELETONS),
    ),
    "densewarper": NodeCase(
        "densewarper",
        _fixed(views=" ".join(VIEWS), threads=1),
        _rig,
        "pose3d",
        30,
        facts=("tf_static", "tf", "camera_info"),
        period_s=1 / 30,
        skeletons=tuple(SKELETONS),
    ),
    "rppg": NodeCase(
        "rppg",
        _fixed(method="pos", window_s=6.0, region="topic", least_quality=0.0),
        _face,
        "heart_rate",
        240,
        period_s=1 / 30,
        again_m=2.0,
    ),
    "rppg_compressed": NodeCase(
        "rppg",
        _fixed(
            method="pos",
            window_s=6.0,
            region="8 8 40 32",
            transport="compressed",
            least_quality=0.0,
        ),
        _face,
        "heart_rate",
        240,
        period_s=1 / 30,
        again_m=2.0,
    ),
    "keypoint_detector": NodeCase(
        "keypoint_detector", _detector, _spots, "pose2d", 2, period_s=1 / 30,
        needs=("onnx", "onnxruntime"),
    ),
    "keypoint_detector_compressed": NodeCase(
        "keypoint_detector",
        lambda folder: {**_detector(folder), "transport": "compressed"},
        _spots,
        "pose2d",
        2,
        period_s=1 / 30,
        needs=("onnx", "onnxruntime"),
    ),
    "visualizer": NodeCase(
        "visualizer",
        _fixed(views="camera_0", overlay_rate_hz=30.0),
        _seen,
        "markers",
        2,
        again_m=float("nan"),
        facts=("skeleton", "radar_config", "camera_info"),
    ),
    "viewer": NodeCase(
        "viewer",
        lambda folder: {"file": str(folder / "view.rrd")},
        _shown,
        "",
        2,
        facts=("skeleton", "radar_config", "camera_info", "tf_static"),
        needs=("rerun",),
        listen=_listen_to_all,
    ),
    "hri_bridge": NodeCase(
        "hri_bridge", _fixed(), _seen, "/tf", 2, skeletons=tuple(SKELETONS)
    ),
}  # fmt: skip
