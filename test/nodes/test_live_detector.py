"""Keypoints of camera images, live: stamps, bursts, refusals; and from images to space."""

from __future__ import annotations

import array
import importlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from drawn_spots import COLOURS, spots

from radar_pose_ros import bringup
from radar_pose_ros.models import detectors
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros
pytest.importorskip("onnx", reason="needs onnx, which makes the files to test with")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")
onnx_models = importlib.import_module("onnx_models")

NAME = "keypoint_detector"
FRAME = "left_eye"
SIZE = (160, 120)
PLACES = np.array([(10 + 10 * k, 20 + 60 * (k % 2)) for k in range(len(HUPR14.joints))], float)
# Somebody who stands with arms and legs apart, in the order of hupr14, x to the left, z up.
PERSON_M = np.array(
    [
        *((0.0, -0.12, 0.95), (0.0, -0.22, 0.52), (0.0, -0.3, 0.08)),
        *((0.0, 0.12, 0.95), (0.0, 0.22, 0.52), (0.0, 0.3, 0.08)),
        *((0.0, 0.0, 1.5), (0.0, 0.0, 1.72)),
        *((0.0, 0.2, 1.42), (0.0, 0.45, 1.3), (0.0, 0.65, 1.15)),
        *((0.0, -0.2, 1.42), (0.0, -0.45, 1.5), (0.0, -0.65, 1.65)),
    ]
)


def colour_detector(path: Path, said: str) -> Path:
    """Write a detector that sees spots of the joints' colours."""
    onnx_models.colour_heatmaps(path, COLOURS)
    path.with_suffix(".yaml").write_text("skeleton: hupr14\n" + onnx_models.PLAIN + said)
    return path


def image_message(image: np.ndarray, stamp_ns: int, frame: str = FRAME, **about: Any) -> Any:
    from sensor_msgs.msg import Image

    from radar_pose_ros.nodes import convert

    fields = {"encoding": "bgr8", "height": image.shape[0], "width": image.shape[1]}
    fields |= {"step": image.shape[1] * 3, "data": array.array("B", image.tobytes())} | about
    return Image(header=convert.header(stamp_ns, frame), **fields)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def keypoints(message: Any) -> np.ndarray:
    """Return x, y and confidence of a message's only person, (joints, 3)."""
    (person,) = message.poses
    return np.array([(k.x, k.y, k.confidence) for k in person.keypoints])


def values(live: LiveGraph, node: str) -> dict[str, str]:
    status = live.diagnostics().get(node)
    return {v.key: v.value for v in status.values} if status else {}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, r"cannot configure: there is no model: name a detector's file \(\.onnx, "),
        ({"model": "/no/such.onnx"}, r"cannot configure: /no/such\.onnx: there is no such file$"),
        ({"skeleton": "cat20"}, r"cannot configure: .*: unknown skeleton 'cat20', known are "),
        ({"margin": 0.5}, r"cannot configure: margin must be from 1 to 10, got 0\.5$"),
    ],
)
def test_without_a_detector_it_does_not_configure(
    parameters: dict[str, Any], sentence: str, ros_environment: dict[str, str], tmp_path: Path
) -> None:
    import rclpy
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes.base import FAILURE
    from radar_pose_ros.nodes.keypoint_detector import KeypointDetectorNode

    if parameters and "model" not in parameters:
        path = onnx_models.answering(tmp_path / "a.onnx", np.zeros((1, 14, 2)))
        parameters = {"model": str(path), "skeleton": "hupr14", **parameters}
    given = [Parameter(name, value=value) for name, value in parameters.items()]
    context = rclpy.Context()
    rclpy.init(context=context)
    node = KeypointDetectorNode(
        context=context, parameter_overrides=[Parameter("autostart", value=False), *given]
    )
    try:
        assert node.trigger_configure() is FAILURE
        assert re.search(f"^{sentence}", node.health.failure)
        assert "\n" not in node.health.failure
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_live_images_of_one_camera(live: LiveGraph, tmp_path: Path) -> None:
    """Stamps and places; a burst; nobody; what is no image; and compressed ones."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage, Image

    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import LATCHED

    path = colour_detector(tmp_path / "spots.onnx", "input_size: [512, 384]\n")  # a slow one
    node = f"left/{NAME}"
    process = live.start(NAME, "left", model=str(path), input_timeout_s=60.0)
    live.diagnostics()
    poses = live.collect(msg.HumanPose2DArray, "/left/pose2d", QoSProfile(depth=100))
    images = live.node.create_publisher(Image, "/left/image", QoSProfile(depth=50))
    live.wait(images.get_subscription_count, 60.0, "a subscriber")
    time.sleep(0.5)
    start_ns, sent = time.time_ns(), 0
    picture = spots(PLACES, SIZE, 3.0)

    def send(image: np.ndarray, **about: Any) -> int:
        nonlocal sent
        sent += 1
        at_ns = start_ns + sent * 10**7
        images.publish(image_message(image, at_ns, **about))
        return at_ns

    def newest_of(at_ns: int) -> Any:
        live.wait(lambda: poses and stamp_ns(poses[-1]) == at_ns, what="its pose")
        return poses[-1]

    for _ in range(3):
        pose = newest_of(send(picture))
        assert (pose.header.frame_id, pose.skeleton) == (FRAME, "hupr14")
        assert (pose.image_width, pose.image_height) == SIZE
        assert pose.model == detectors.name_of(path)
        found = keypoints(pose)
        # a heatmap's pixel is one of the image's
        assert np.linalg.norm(found[:, :2] - PLACES, axis=-1).max() < 0.5
        assert (found[:, 2] > 0.5).all()
    definitions = live.collect(msg.SkeletonDefinition, "/left/skeleton", LATCHED)
    live.wait(lambda: definitions, what="skeleton that was published before")
    assert tuple(definitions[0].joints) == HUPR14.joints

    before = len(poses)
    last_ns = [send(picture) for _ in range(40)][-1]
    newest_of(last_ns)
    of_burst = np.array([stamp_ns(pose) for pose in poses[before:]])
    assert 1 <= len(of_burst) < 40 and (np.diff(of_burst) > 0).all()

    hidden = PLACES.copy()
    hidden[3] = np.nan
    found = keypoints(newest_of(send(spots(hidden, SIZE, 3.0))))
    assert np.isnan(found[3, :2]).all() and found[3, 2] < 0.3
    assert np.isfinite(np.delete(found, 3, axis=0)).all()
    assert newest_of(send(np.zeros_like(picture))).poses == []

    send(picture, encoding="16UC3")
    refused = "dropped: image: image encoding not known"
    live.wait(lambda: values(live, node).get(refused) == "1", what="refusal")
    told = "image encoding not known: '16UC3', want bgr8, rgb8"
    live.wait(lambda: told in live.printed(), what="sentence in the log")
    newest_of(send(picture))
    late = "dropped: images for which there was no time"
    ways = ("pose2d total", refused, late, "dropped: images lost on the way here")

    def accounted() -> bool:
        shown = values(live, node)
        return sum(int(shown.get(way, 0)) for way in ways) == sent

    live.wait(accounted, what=f"account of all {sent} images")
    shown = values(live, node)
    assert int(shown[late]) > 0
    assert int(shown["pose2d total"]) == len(poses) and shown["images without a person"] == "1"
    assert float(shown["latency_ms"]) >= float(shown["detection_ms"]) > 0

    for transition in ("deactivate", "cleanup"):
        assert live.change(node, transition)
    assert live.set(node, "transport", "compressed")[0]
    for transition in ("configure", "activate"):
        assert live.change(node, transition)
    packed = live.node.create_publisher(
        CompressedImage, "/left/image/compressed", QoSProfile(depth=10)
    )
    live.wait(packed.get_subscription_count, what="a subscriber of compressed images")
    time.sleep(0.5)
    data = array.array("B", cv2.imencode(".png", picture)[1].tobytes())
    head = image_message(picture, start_ns + 10**10).header
    packed.publish(CompressedImage(header=head, format="png", data=data))
    found = keypoints(newest_of(start_ns + 10**10))
    assert np.linalg.norm(found[:, :2] - PLACES, axis=-1).max() < 0.5
    assert live.interrupt(process) == 0


def two_cameras() -> dict[str, PinholeCamera]:
    """Return cameras 3.5 m before a person, 70 degrees apart."""
    turns = {"left": np.radians(35), "right": np.radians(-35)}
    return {
        view: PinholeCamera.looking_at(
            position_m=[3.5 * np.cos(turn), 3.5 * np.sin(turn), 1.3],
            target_m=[0.0, 0.0, 0.95],
            focal_px=500.0,
            size_px=(640, 480),
        )
        for view, turn in turns.items()
    }


def test_live_images_of_two_views_become_a_pose_in_space(live: LiveGraph, tmp_path: Path) -> None:
    """The graph's own nodes, from what the cameras see to joints within a few centimetres."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    from radar_pose_ros import msg

    cameras = two_cameras()
    calibration = tmp_path / "cameras.toml"
    calibration_files.write(cameras, calibration, "anipose")
    path = colour_detector(tmp_path / "spots.onnx", "input_size: [320, 240]\nbox: follow\n")
    arguments = {"views": "left right", "method": "hold_last", "visualizer": False}
    arguments |= {"detector": str(path), "calibration_file": str(calibration)}
    for node in bringup.graph("multiview").nodes(arguments):
        live.start(node.executable, node.namespace, **node.parameters)
    poses = live.collect(msg.HumanPose3DArray, "/pose3d", QoSProfile(depth=100))
    publishers = {
        view: live.node.create_publisher(Image, f"/{view}/image", QoSProfile(depth=10))
        for view in cameras
    }
    for publisher in publishers.values():
        live.wait(publisher.get_subscription_count, 60.0, "a subscriber")
    pictures = {
        view: spots(cam.project(PERSON_M), (640, 480), 6.0) for view, cam in cameras.items()
    }
    fired: list[int] = []

    def whole() -> Sequence[Any]:
        fired.append(time.time_ns())
        for view, publisher in publishers.items():
            publisher.publish(image_message(pictures[view], fired[-1], f"{view}_eye"))
        time.sleep(0.1)
        return [pose for pose in poses if not pose.missing_sources and pose.poses][8:]

    pose = live.wait(whole, 30.0, "poses of both views")[-1]
    assert stamp_ns(pose) in fired
    assert (pose.skeleton, pose.header.frame_id) == ("h36m17", "map")
    assert pose.model == f"hold_last of {detectors.name_of(path)}"
    points = (keypoint.position for keypoint in pose.poses[0].keypoints)
    found_m = np.array([(p.x, p.y, p.z) for p in points])
    truth_m = mapping.convert(PERSON_M, "hupr14", "h36m17")
    known = np.isfinite(truth_m).all(-1)
    off_m = np.linalg.norm(found_m - truth_m, axis=-1)[known]
    assert known.sum() > 10 and off_m.max() < 0.03
