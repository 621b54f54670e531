"""Node keypoint_detector: images of a camera in, the pose of a person in them out."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sensor_msgs.msg import CompressedImage, Image

from radar_pose_ros import msg
from radar_pose_ros.models import detectors
from radar_pose_ros.models.detectors import KeypointDetector
from radar_pose_ros.models.following import Follower
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.images import LOST, NO_TIME, TOPICS, Waiting, message_to_bgr
from radar_pose_ros.nodes.window import EveryNth
from radar_pose_ros.nodes.worker import Mailbox

IDLE_S = 0.1  # how often the thread looks whether it is to end


class KeypointDetectorNode(ManagedNode):
    """Finds a person's keypoints in the newest image of a camera; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("keypoint_detector", **node_arguments)
        self._detector: KeypointDetector | None = None
        self._mailbox: Mailbox[Waiting] = Mailbox(1)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the detector; fail without one."""
        v = self.values
        if not v.model:
            allowed = ", ".join(detectors.FORMATS)
            raise ValueError(f"there is no model: name a detector's file ({allowed})")
        torch.set_num_threads(v.threads)
        cv2.setNumThreads(v.threads)
        path = Path(v.model).expanduser()
        detector = detectors.load(path, v.skeleton)
        if v.margin:
            detector.settings = replace(detector.settings, margin=v.margin)
        self._name = detectors.name_of(path)
        self._detector = detector
        self.health.show("model", self._name)
        self._poses = self.create_publisher(msg.HumanPose2DArray, "pose2d", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(detector.skeleton))

    def activate(self) -> None:
        """Start the thread that detects, and listen to the camera."""
        v = self.values
        assert self._detector is not None
        self._follower = Follower(self._detector, v.least_confidence, v.whole_every)
        self._mailbox = Mailbox(1)
        self._chosen = EveryNth(v.every)
        self._number = 0
        self.health.watch("image", v.input_timeout_s)
        self.health.watch("pose2d")
        self.start_worker("detector", self._detect)
        kind, self._topic = TOPICS[v.transport]
        self.subscribe(kind, self._topic, SENSOR_DATA, self._take, lost=LOST)

    def deactivate(self) -> None:
        """Account for what still waited."""
        self.health.drop(NO_TIME, len(self._mailbox.take_all(0.0)))

    def cleanup(self) -> None:
        """Release the network."""
        self._detector = None
        self.drop_publishers("_poses", "_skeletons")

    # -- input: the executor's thread --------------------------------------------------------

    def _take(self, message: Image | CompressedImage) -> None:
        self.health.tick("image")
        self._number += 1
        if self._chosen.takes(self._number):
            self.health.drop(NO_TIME, self._mailbox.put(Waiting(message, time.monotonic())))

    # -- output: the detector's thread -------------------------------------------------------

    def _detect(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for waiting in self._mailbox.take_all(IDLE_S):
                try:
                    self._look(waiting)
                except convert.InvalidMessageError as error:
                    self.refuse(self._topic, error)

    def _look(self, waiting: Waiting) -> None:
        stamp_ns = convert.to_nanoseconds(waiting.message.header.stamp)
        image = message_to_bgr(waiting.message)
        begin_s = time.monotonic()
        self._follower.least_confidence = self.values.least_confidence
        keypoints_px, confidence = self._follower(image)
        self.health.show("detection_ms", f"{(time.monotonic() - begin_s) * 1e3:.1f}")
        seen = bool(np.isfinite(keypoints_px).any())
        message = convert.pose2d_to_message(
            (keypoints_px, confidence) if seen else None,
            convert.header(stamp_ns, waiting.message.header.frame_id),
            skeleton=self._follower.detector.skeleton.name,
            model=self._name,
            image_width=image.shape[1],
            image_height=image.shape[0],
        )
        self._poses.publish(message)
        self.health.tick("pose2d")
        self.health.count("images without a person", not seen)
        self.health.show("latency_ms", f"{(time.monotonic() - waiting.arrived_s) * 1e3:.1f}")


def main() -> int:
    """Run the node."""
    return run(KeypointDetectorNode)


if __name__ == "__main__":
    sys.exit(main())
