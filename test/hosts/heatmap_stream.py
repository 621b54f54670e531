"""Programs that send heatmaps of two radars, and receive them, in one of several ways.

``heatmap_stream.py send|receive SETTINGS`` with JSON of `Stream.__dict__`. The sender waits for
the receiver and sends noise, which is what packs worst. The receiver prints JSON when it is ended:
per message its number and how old it was on arrival, in s.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.radar.heatmap import angle_transform

RADARS = ("radar_h", "radar_v")


@dataclass(frozen=True)
class Stream:
    """What is sent, and how.

    Parameters
    ----------
    shape : (int, int, int)
        (antennas, doppler, range) of what the heatmap is made of.
    angle_bins : int
    transport : str
        raw or compressed.
    reliable : bool
        What the receiver asks for.
    frames : int
        Of each radar, at `rate_hz`.
    """

    shape: tuple[int, int, int]
    angle_bins: int
    transport: str
    reliable: bool
    frames: int
    rate_hz: float = 10.0

    @property
    def type(self) -> type:
        """The type of the messages."""
        return msg.RadarHeatmap if self.transport == "raw" else msg.CompressedRadarHeatmap

    @property
    def topics(self) -> list[str]:
        """The topics."""
        below = "heatmap" if self.transport == "raw" else heatmap_transport.COMPRESSED
        return [f"{radar}/{below}" for radar in RADARS]

    def message(self, number: int, cube: np.ndarray) -> Any:
        """Return a heatmap with this number that was measured now."""
        heatmap = msg.RadarHeatmap(header=convert.header(time.time_ns(), "radar"))
        heatmap.frame_index = number
        heatmap.angle_bins, (_, heatmap.doppler_bins, heatmap.range_bins) = (
            self.angle_bins,
            self.shape,
        )
        if self.transport == "compressed":
            return heatmap_transport.compressed(heatmap, cube)
        heatmap.data = convert.to_array(angle_transform(cube, self.angle_bins).view(np.float32))
        return heatmap


def send(stream: Stream) -> None:
    """Send everything at the rate, then say so."""
    node = rclpy.create_node("sender")
    profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    publishers = [node.create_publisher(stream.type, topic, profile) for topic in stream.topics]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.05)
    time.sleep(1.0)  # the receiver may learn of the sender later
    rng = np.random.default_rng(0)
    real, imaginary = rng.normal(0, 100, (2, *stream.shape))
    cube = (real + 1j * imaginary).astype(np.complex64)
    begin_s = time.monotonic()
    for number in range(stream.frames):
        time.sleep(max(0.0, begin_s + number / stream.rate_hz - time.monotonic()))
        for publisher in publishers:
            publisher.publish(stream.message(number, cube))
    print("sent", flush=True)
    signal.pause()  # what is asked for again is sent by other threads


def receive(stream: Stream) -> None:
    """Note what comes until this process is ended."""
    node = rclpy.create_node("receiver")
    reliability = ReliabilityPolicy.RELIABLE if stream.reliable else ReliabilityPolicy.BEST_EFFORT
    profile = QoSProfile(depth=5, reliability=reliability)
    came: dict[str, list[tuple[int, float]]] = {topic: [] for topic in stream.topics}
    for topic in stream.topics:

        def take(message: Any, noted: list[tuple[int, float]] = came[topic]) -> None:
            age_s = 1e-9 * (time.time_ns() - convert.to_nanoseconds(message.header.stamp))
            noted.append((message.frame_index, age_s))

        node.create_subscription(stream.type, topic, take, profile)
    signal.signal(signal.SIGTERM, lambda *_: rclpy.try_shutdown())
    while rclpy.ok():
        try:
            rclpy.spin_once(node, timeout_sec=0.2)
        except ExternalShutdownException:
            break
    print(json.dumps(list(came.values())), flush=True)


def main() -> None:
    """Send or receive."""
    settings = json.loads(sys.argv[2])
    stream = Stream(**{**settings, "shape": tuple(settings["shape"])})
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    {"send": send, "receive": receive}[sys.argv[1]](stream)


if __name__ == "__main__":
    main()
