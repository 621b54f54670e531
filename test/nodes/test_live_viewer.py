"""The node that hands things to Rerun: what was said before it came, what comes, what is wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rerun_files import rows_of

if TYPE_CHECKING:
    from conftest import LiveGraph

pytest.importorskip("rerun", reason="rerun-sdk is not installed: Python 3.11 and later only")
pytestmark = pytest.mark.ros

JOINTS = np.array([[2.0, 0.5, 1.0], [2.0, np.nan, 0.5], [2.5, -0.5, 0.25]])


def test_a_running_graph_becomes_a_file(live: LiveGraph, tmp_path: Path) -> None:
    from tf2_msgs.msg import TFMessage

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.base import LATCHED, RELIABLE
    from radar_pose_ros.nodes.transforms import transform_message
    from radar_pose_ros.skeleton.definitions import Skeleton

    twig = Skeleton("twig3", ("a", "b", "c"), ((0, 1), (0, 2)), (), (0.1,) * 3, root=0)
    skeletons = live.node.create_publisher(msg.SkeletonDefinition, "/robot/skeleton", LATCHED)
    skeletons.publish(convert.skeleton_to_message(twig))
    frames = live.node.create_publisher(TFMessage, "/tf_static", LATCHED)
    place = transform_message("map", "eye", (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), 10**18)
    frames.publish(TFMessage(transforms=[place]))
    poses = live.node.create_publisher(msg.HumanPose3DArray, "/robot/pose3d", RELIABLE)
    elsewhere = live.node.create_publisher(msg.HumanPose3DArray, "/pose3d", RELIABLE)

    file = tmp_path / "live.rrd"
    process = live.start("viewer", file=str(file), below="robot")
    live.wait(poses.get_subscription_count, 60.0, "reader of poses")
    sent = []

    def shown() -> dict[str, str]:
        """Publish once more, and return what the node says of itself."""
        sent.append(live.node.get_clock().now().nanoseconds)
        for publisher, skeleton in ((poses, "twig3"), (poses, "twig9"), (elsewhere, "twig3")):
            publisher.publish(
                convert.pose3d_to_message(
                    JOINTS, convert.header(sent[-1], "map"), skeleton, "some"
                )
            )
        time.sleep(0.05)
        status = live.diagnostics().get("viewer")
        return {v.key: v.value for v in status.values} if status else {}

    live.wait(lambda: int(shown().get("messages total", 0)) >= 20, 60.0, "drawn messages")
    said = shown()
    assert int(said["dropped: messages that cannot be drawn"]) > 0  # of a skeleton nobody defined
    assert elsewhere.get_subscription_count() == 0
    assert live.interrupt(process) == 0

    rows = rows_of(file)
    joints = rows["world/pose3d/joints"]
    assert {row["time"] for row in joints} <= set(sent) and len(joints) > 5
    for row in joints:
        np.testing.assert_allclose(row["Points3D:positions"], JOINTS[[0, 2]], atol=1e-6)
    strips = [row["LineStrips3D:strips"] for row in rows["world/pose3d/bones"]]
    np.testing.assert_allclose(strips[-1], [JOINTS[[0, 2]]], atol=1e-6)
    assert rows["transforms/eye"][0]["Transform3D:translation"] == [[1.0, 2.0, 3.0]]
    ages_ms = [row["Scalars:scalars"][0] for row in rows["latency/pose3d"] if "time" in row]
    assert len(ages_ms) == len(joints) and 0 <= np.median(ages_ms) < 2000
    views = [row for rows in rows_of(file, blueprint=True).values() for row in rows]
    assert any(row.get("ViewBlueprint:class_identifier") == ["3D"] for row in views)
