"""A camera that shows noise, and can be unplugged."""

from __future__ import annotations

import threading
import time

import numpy as np
from faults.observer import Observer

RATE_HZ = 15.0


class Camera:
    """Publishes images at 15 Hz as long as it is plugged in."""

    def __init__(self, observer: Observer, seed: int, topic: str = "/image") -> None:
        from sensor_msgs.msg import Image

        from radar_pose_ros.nodes.base import RELIABLE

        pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8)
        self._image = Image(
            encoding="bgr8", height=120, width=160, step=480, data=pixels.tobytes()
        )
        self._publisher = observer.node.create_publisher(Image, topic, RELIABLE)
        self.plugged = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(1 / RATE_HZ):
            if self.plugged:
                now_ns = time.time_ns()
                stamp = self._image.header.stamp
                stamp.sec, stamp.nanosec = now_ns // 10**9, now_ns % 10**9
                self._publisher.publish(self._image)

    def close(self) -> None:
        """End."""
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
