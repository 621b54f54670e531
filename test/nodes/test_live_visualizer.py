"""The visualizer, live: poses in, markers and pictures out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import project

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros


def standing_person() -> np.ndarray:
    """Return somebody's joints, (14, 3), two metres in front of the rig."""
    height = {"ankle": 0.1, "knee": 0.5, "hip": 0.9, "neck": 1.5, "head": 1.7}
    height |= {"shoulder": 1.45, "elbow": 1.2, "wrist": 0.95}
    joints = []
    for name in HUPR14.joints:
        side = 0.2 if name.startswith("left") else -0.2 if name.startswith("right") else 0.0
        joints.append((2.0, side, height[name.split("_")[-1]]))
    return np.array(joints)


def test_markers_lie_where_the_joints_are(live: LiveGraph) -> None:
    """On the plane at the given distance, in the rig's frame; unknown joints are left out."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image
    from visualization_msgs.msg import MarkerArray

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED

    process = live.start("visualizer", distance_m=2.0, overlay_rate_hz=10.0)
    skeletons = live.node.create_publisher(msg.SkeletonDefinition, "/skeleton", LATCHED)
    skeletons.publish(convert.skeleton_to_message(HUPR14))
    poses = live.node.create_publisher(msg.HumanPose2DArray, "/pose2d", QoSProfile(depth=10))
    qos = QoSProfile(depth=10)
    truths = live.node.create_publisher(msg.HumanPose3DArray, "/ground_truth", qos)
    maps = [
        live.node.create_publisher(msg.RadarHeatmap, f"/{r}/heatmap", QoSProfile(depth=10))
        for r in ("radar_h", "radar_v")
    ]
    refined = live.node.create_publisher(msg.HumanPose2DArray, "/refined/pose2d", qos)
    # another node on the same latched topic: both skeletons must be known
    others = live.node.create_publisher(msg.SkeletonDefinition, "/skeleton", LATCHED)
    others.publish(convert.skeleton_to_message(H36M17))
    lifted = live.node.create_publisher(msg.HumanPose3DArray, "/pose3d", qos)
    smooth = live.node.create_publisher(msg.HumanPose3DArray, "/refined/pose3d", qos)
    in_space = np.arange(51.0).reshape(17, 3)
    markers = live.collect(MarkerArray, "/markers", QoSProfile(depth=50))
    pictures = live.collect(Image, "/overlay", QoSProfile(depth=5))
    live.wait(poses.get_subscription_count, what="a subscriber of pose2d")

    joints = standing_person()
    keypoints = project(joints)
    unknown = HUPR14.index("left_wrist")
    keypoints[unknown] = np.nan
    confidence = np.linspace(0.0, 1.0, 14)
    heatmap = msg.RadarHeatmap(angle_bins=4, doppler_bins=2, range_bins=8)
    heatmap.data = convert.to_array(np.arange(128, dtype=np.float32))
    heatmap.sin_angle_first, heatmap.sin_angle_step = -1.0, 0.5
    heatmap.range_first_m, heatmap.range_step_m = 1.3, 0.3

    def publish() -> bool:
        head = convert.header(time.time_ns(), "rig_camera_optical_frame")
        heatmap.header = head
        for publisher in maps[: 1 + len(pictures)]:  # at first, radar_v is missing
            publisher.publish(heatmap)
        truths.publish(
            convert.pose3d_to_message(
                joints, convert.header(time.time_ns(), "radar_rig"), "hupr14", "simulation"
            )
        )
        poses.publish(
            convert.pose2d_to_message(
                (keypoints, confidence), head, skeleton="hupr14", model="test", image_width=256
            )
        )
        refined.publish(
            convert.pose2d_to_message((keypoints, confidence), head, skeleton="hupr14")
        )
        spatial = convert.pose3d_to_message(in_space, head, "h36m17", "test")
        unplaced = convert.pose3d_to_message(in_space, head, "h36m17", "test").poses[0]
        unplaced.root_relative = True
        spatial.poses = [unplaced, *spatial.poses]
        lifted.publish(spatial)
        smooth.publish(spatial)
        time.sleep(0.05)
        return bool(pictures and len(markers) > 4)

    live.wait(publish, what="markers and a picture")
    live.wait(lambda: publish() and len(pictures) > 1, what="a picture with both radars")
    seen = {(m.ns, m.type): m for array in markers for m in array.markers}
    spheres = seen["pose2d", 7]
    assert spheres.header.frame_id == "radar_rig"
    assert len(spheres.points) == 13
    known = np.delete(joints, unknown, axis=0)
    found = np.array([(p.x, p.y, p.z) for p in spheres.points])
    np.testing.assert_allclose(found, known, atol=1e-9)  # the person stands on that plane
    assert spheres.colors[0].r > 0.8 > spheres.colors[-1].r  # unsure is red, sure is green
    again = seen["refined", 7]
    assert again.points == spheres.points  # on the same plane, in other colours
    assert again.colors[-1].b > 0.69 > again.colors[0].b > again.colors[0].g > spheres.colors[0].b
    lines = seen["pose2d", 5]
    assert len(lines.points) == 2 * (len(HUPR14.edges) - 1)
    truth = np.array([(p.x, p.y, p.z) for p in seen["ground_truth", 7].points])
    np.testing.assert_allclose(truth, joints)
    spheres = seen["lifted", 7]  # who has no place is not drawn
    assert (spheres.header.frame_id, spheres.id) == ("rig_camera_optical_frame", 1)
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in spheres.points], in_space)
    again = seen["refined_lifted", 7]
    assert again.points == spheres.points and again.colors[0].b > spheres.colors[0].b
    assert (pictures[0].encoding, pictures[0].step) == ("rgb8", 3 * pictures[0].width)
    assert np.frombuffer(pictures[0].data, np.uint8).std() > 10  # something is drawn

    # Nobody is there any more: the markers go.
    head = convert.header(time.time_ns(), "rig_camera_optical_frame")
    poses.publish(convert.pose2d_to_message(None, head, skeleton="hupr14"))

    def removed() -> set[int]:
        deleted = [m for array in markers for m in array.markers if m.action == m.DELETE]
        return {m.id for m in deleted if m.ns == "pose2d"}

    live.wait(lambda: removed() == {0, 1}, what="markers that are taken away")

    # A pose in an unknown skeleton, and one with infinity, change nothing.
    bad = convert.pose2d_to_message(
        (keypoints, confidence), convert.header(time.time_ns(), ""), skeleton="octopus8"
    )
    poses.publish(bad)
    bad.skeleton = "hupr14"
    bad.poses[0].keypoints[0].x = float("inf")
    poses.publish(bad)
    live.diagnostics()

    def reasons() -> set[str]:
        status = live.diagnostics().get("visualizer")
        return {v.key for v in status.values} if status else set()

    wanted = {
        "dropped: pose2d: skeleton not defined yet",
        "dropped: pose2d: pose with infinity",
    }
    live.wait(lambda: wanted <= reasons(), what=f"{wanted}")
    code = live.interrupt(process)
    assert code == 0


def test_sensors_and_hearts_are_drawn(live: LiveGraph, root: Path) -> None:
    """Fields of view again and again, frusta of the named views, and a line per face."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo
    from visualization_msgs.msg import Marker, MarkerArray

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED
    from radar_pose_ros.radar.ti_config import load_cfg

    process = live.start("visualizer", views="left right", heart_rate_frame="map")
    qos = QoSProfile(depth=10)
    markers = live.collect(MarkerArray, "/markers", QoSProfile(depth=50))
    configs = live.node.create_publisher(msg.RadarConfig, "/radar_v/radar_config", LATCHED)
    now_ns = time.time_ns()
    config = load_cfg(root / "config" / "iwr1843.cfg")
    configs.publish(convert.config_to_message(config, now_ns, "radar_v_link"))
    infos = live.node.create_publisher(CameraInfo, "/right/camera_info", qos)
    hearts = live.node.create_publisher(msg.HeartRate, "/heart_rate", qos)
    head = convert.header(now_ns, "right_optical_frame")
    matrix = np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]).ravel()
    info = CameraInfo(header=head, width=100, height=100, k=matrix)
    rate = msg.HeartRate(header=head, face_id=2, state=msg.HeartRate.OK, heart_rate_bpm=64.0)

    def seen() -> dict[str, list[Marker]]:
        found: dict[str, list[Marker]] = {}
        for array in markers:
            for marker in array.markers:
                found.setdefault(marker.ns, []).append(marker)
        return found

    def publish() -> bool:
        infos.publish(info)
        hearts.publish(rate)
        time.sleep(0.05)
        return len(seen()) == 3 and all(len(some) > 1 for some in seen().values())

    live.wait(publish, what="markers of sensors and hearts, told again")
    found = {name: some[-1] for name, some in seen().items()}
    field, frustum, text = (found[n] for n in ("radar_fields", "camera_frusta", "heart_rates"))
    assert field.header.frame_id == "radar_v_link"
    farthest_m = max(np.linalg.norm((p.x, p.y, p.z)) for p in field.points)
    assert abs(farthest_m - config.waveform.max_range_m) < 1e-6
    assert frustum.header.frame_id == "right_optical_frame"
    corner = frustum.points[1]
    np.testing.assert_allclose((corner.x, corner.y, corner.z), (-0.25, -0.25, 0.5), atol=1e-9)
    assert text.header.frame_id == "map"
    assert text.text == "face 2: 64 +- 0 beats per minute, quality 0.00"
    assert live.interrupt(process) == 0
