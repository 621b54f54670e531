"""What mamba_pose makes of the points of one radar: poses in space, one per person."""

from __future__ import annotations

import math
import threading
import time
from typing import NamedTuple

import numpy as np
import torch
from sensor_msgs.msg import PointCloud2

from radar_pose_ros import msg
from radar_pose_ros.models import weights
from radar_pose_ros.models.point_windows import PersonWindow, PointWindows
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, ManagedNode
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.nodes.window import EveryNth
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.skeleton.definitions import KINECT25

SHIPPED = "points"  # weights that are taken if none are named
SLOW = 0.8  # of the network's rate: from here on frames are missing all the time
LATE = "points for which the network had no time"


class Cloud(NamedTuple):
    """A cloud, and when it came."""

    points: np.ndarray  # (n, 5), as `convert.POINT_FIELDS`
    stamp_ns: int
    frame_id: str
    arrived_s: float


class PointPoses:
    """Runs `PointPose` over the last frames of each person; see docs/nodes.md.

    Raises
    ------
    ValueError
        If there are no trained weights, or none for points.
    """

    def __init__(self, node: ManagedNode, device: str) -> None:
        self._node, self._health = node, node.health
        values = node.values
        if values.precision == "bfloat16":
            raise ValueError(
                "precision bfloat16 is for heatmaps only: points want auto or float32"
            )
        self._network, entry = weights.network(values.weights or SHIPPED, "points")
        self._network.to(device)
        self._device = device
        torch.set_num_threads(values.threads)
        self._model_name = f"points/{entry['preset']}@{entry['sha256'][:8]}"
        self._health.show("model", self._model_name)
        self._health.show("device", f"{device}, float32")
        c = self._network.config
        if not np.isfinite(self._joints(np.zeros((1, c.frames, c.points, 5), np.float32))).all():
            raise ValueError(f"weights {self._model_name} estimate NaN: the file is damaged")
        self._poses = node.create_publisher(msg.HumanPose3DArray, "pose3d", RELIABLE)
        self._skeletons = node.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(KINECT25))

    def activate(self) -> None:
        """Listen to the radar and start the thread that estimates."""
        values = self._node.values
        config = self._network.config
        self._windows = PointWindows(config, values.most_people)
        self._counted = self._windows.statistics
        # The frame of the window that is told, from its end: the newest one or the middle one.
        self._told = -1 if values.output_frame == "latest" else config.frames // 2 - config.frames
        self._chosen = EveryNth(values.every_nth_frame)
        self._number = 0
        self._mailbox: Mailbox[Cloud] = Mailbox(values.queue_size)
        self._health.watch("pose3d")
        self._node.start_worker("estimator", self._estimate)
        self._health.watch("points", values.input_timeout_s)
        lost = "points lost on the way here"
        self._node.subscribe(PointCloud2, "points", SENSOR_DATA, self._take, lost)

    def deactivate(self) -> None:
        """Complain of nothing any longer."""
        self._health.warn("rate", "")

    def close(self) -> None:
        """Take the publishers away."""
        for publisher in (self._poses, self._skeletons):
            self._node.destroy_publisher(publisher)

    # -- input: the executor's thread --------------------------------------------------------

    def _take(self, message: PointCloud2) -> None:
        arrived_s = time.monotonic()
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        cloud = Cloud(
            convert.message_to_points(message), stamp_ns, message.header.frame_id, arrived_s
        )
        self._health.tick("points")
        self._health.drop(LATE, self._mailbox.put(cloud))

    # -- output: the estimator's thread ------------------------------------------------------

    def _estimate(self, stop: threading.Event) -> None:
        took_s = 0.0
        while not stop.is_set():
            clouds = self._mailbox.take_all(timeout_s=0.2)
            for waiting, cloud in zip(reversed(range(len(clouds))), clouds, strict=True):
                self._add(cloud)
                self._number += 1
                if not self._chosen.takes(self._number):
                    continue
                if waiting and took_s * len(clouds) * self._network.config.rate_hz > 1:
                    self._health.drop("windows without an estimate: newer frames were waiting")
                    continue
                begin_s = time.monotonic()
                self._publish(cloud)
                took_s = time.monotonic() - begin_s
                self._health.show("estimation_ms", f"{took_s * 1e3:.1f}")

    def _add(self, cloud: Cloud) -> None:
        jump_ns = self._windows.add(cloud.points, cloud.stamp_ns)
        if jump_ns:
            self._node.get_logger().warning(
                f"points are {jump_ns / convert.NANOSECONDS:.3f} s apart: a new window begins",
                throttle_duration_sec=1.0,
            )
        now, before = self._windows.statistics, self._counted
        self._counted = now
        self._health.drop("frames without points", now.lost - before.lost)
        self._health.drop("points that came twice", now.repeated - before.repeated)
        emptied = now.emptied - before.emptied
        self._health.count("windows emptied by a gap or a jump in time", emptied)
        rate_hz, learnt_hz = self._windows.rate_hz, self._network.config.rate_hz
        slow = f"points come at {rate_hz:.1f} Hz, and the network has learnt {learnt_hz:g} Hz"
        self._health.warn("rate", slow if rate_hz < SLOW * learnt_hz else "")

    def _publish(self, cloud: Cloud) -> None:
        stamps_ns = self._windows.stamps_ns
        if len(stamps_ns) < -self._told:
            return
        people = self._people()
        message = convert.people_to_message(
            msg.HumanPose3DArray,
            people,
            convert.header(stamps_ns[self._told], cloud.frame_id),
            skeleton=KINECT25.name,
            model=self._model_name,
        )
        self._poses.publish(message)
        self._health.tick("pose3d")
        self._health.show("people", len(people))
        self._health.count("scenes without a person", not people)
        self._health.show("latency_ms", f"{(time.monotonic() - cloud.arrived_s) * 1e3:.1f}")
        age_ns = self._node.get_clock().now().nanoseconds - stamps_ns[-1]
        self._health.show_duration("age of the newest frame when published_ms", age_ns)

    def _people(self) -> list[Person]:
        windows = [window for window in self._windows.people() if window.tells(self._told)]
        if not windows:
            return []
        joints_m = self._joints(np.stack([window.points for window in windows]))[:, self._told]
        found = []
        for window, joints in zip(windows, joints_m, strict=True):
            if np.isfinite(joints).all():
                found.append(self._person(window, joints))
            else:
                self._health.drop("estimates with NaN")
        return found

    def _joints(self, points: np.ndarray) -> np.ndarray:
        """Joints in m, (people, frames, 25, 3), of (people, frames, points, 5)."""
        with torch.inference_mode():
            joints_m: torch.Tensor = self._network(torch.from_numpy(points).to(self._device))
        return joints_m.cpu().numpy().astype(np.float64)

    def _person(self, window: PersonWindow, joints_m: np.ndarray) -> Person:
        unknown = np.full(len(joints_m), math.nan)  # the network states no confidence
        origin = np.full(len(joints_m), origin_of(window.seen, self._told), np.uint8)
        return Person(joints_m, unknown, math.nan, window.id, origin=origin)


def origin_of(seen: np.ndarray, frame: int) -> int:
    """Return where a pose in a frame comes from, by the frames in which somebody was seen."""
    if seen[frame]:
        return int(msg.Keypoint3D.OBSERVED)
    around = (seen[:frame], seen[frame:])
    between = all(part.any() for part in around)
    return int(msg.Keypoint3D.INTERPOLATED if between else msg.Keypoint3D.PREDICTED)
