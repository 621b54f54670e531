"""The recorder of own data: records what a data set needs, and says what is missing.

It is the node `recorder` with other topics; `radar-pose collect record` runs it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message

from radar_pose_ros import msg
from radar_pose_ros.nodes.base import run
from radar_pose_ros.nodes.recorder import Recorder
from radar_pose_ros.recording import RecordingError, is_named

RADARS = ("radar_h", "radar_v")
SAY_PERIOD_S = 3.0
LEAST_CAMERA_HZ = 15.0  # keypoints are interpolated over less than 0.1 s
SHORTEST_S = 1e-3  # between two frames of a radar
LEAST_SHARE = 0.95  # of a radar's frames
_PLACES = ("tf_static", "tf")


class Collector(Recorder):
    """Records two radars and a camera's poses."""

    def __init__(self, poses: str, seconds: float = math.inf) -> None:
        super().__init__()
        self._needed = [f"{radar}/{name}" for radar in RADARS for name in ("adc", "radar_config")]
        self._needed.append(poses.strip("/"))
        self._seconds = seconds
        self._rates_hz: dict[str, float] = {}  # that radars should have, by name
        self._before: dict[str, int] = {}
        self._first_s = self._said_s = time.monotonic()
        self.missing: list[str] = list(self._needed)

    def activate(self) -> None:
        """Begin to record, and to say what comes."""
        super().activate()
        self._first_s = self._said_s = time.monotonic()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._periodic.append(self.create_timer(SAY_PERIOD_S, self._say, clock=steady))
        if math.isfinite(self._seconds):
            self._periodic.append(self.create_timer(self._seconds, _end, clock=steady))

    def deactivate(self) -> None:
        """Stop, and remember what never came."""
        self._look()
        super().deactivate()

    def _look(self) -> dict[str, int]:
        """Return how many messages of each needed topic came."""
        with self._bag_lock:
            if self._bag is None:
                return {}
            counts = self._bag.counts
        came = {
            name: sum(count for topic, count in counts.items() if is_named(topic, [name]))
            for name in self._needed
        }
        self.missing = [name for name, count in came.items() if not count]
        return came

    def _say(self) -> None:
        now_s = time.monotonic()
        came = self._look()
        told, slow = [], []
        for name, count in came.items():
            if name.endswith("radar_config"):
                continue
            rate_hz = (count - self._before.get(name, 0)) / (now_s - self._said_s)
            told.append(f"{name} {rate_hz:.1f} Hz")
            wanted_hz = LEAST_CAMERA_HZ
            if name.endswith("/adc"):
                wanted_hz = LEAST_SHARE * self._rates_hz.get(name.removesuffix("/adc"), 0.0)
            # one message more or less is no matter of the rate
            if count and rate_hz < wanted_hz - 1 / SAY_PERIOD_S:
                slow.append(f"{name}: want {wanted_hz:.1f} Hz or more")
        self._before, self._said_s = came, now_s
        if self.missing:
            slow.insert(0, f"missing: {', '.join(self.missing)}")
        print("; ".join([f"{now_s - self._first_s:4.0f} s  {', '.join(told)}", *slow]), flush=True)

    def _store(self, topic: str, serialized: bytes, info: dict[str, Any]) -> None:
        super()._store(topic, serialized, info)
        for radar in RADARS:
            if is_named(topic, [f"{radar}/radar_config"]):
                self._rates_hz[radar] = rate_hz(serialized)


def rate_hz(serialized: bytes) -> float:
    """Return the frames per second of a serialised RadarConfig; 0 if it does not say."""
    try:
        period_s = deserialize_message(serialized, msg.RadarConfig).frame_period_s
    except (RuntimeError, ValueError):  # it is recorded as it came
        return 0.0
    return 1 / period_s if SHORTEST_S < period_s < math.inf else 0.0


def _end() -> None:
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C would


def record(bag: str, poses: str, *, images: bool, seconds: float = math.inf) -> int:
    """Record until Ctrl-C or for so many seconds.

    Parameters
    ----------
    bag : str
        Folder to make.
    poses : str
        Topic of the camera's poses, its full name or the end of it; the lens and the images are
        sought beside it.
    images : bool
        Whether to record these.
    seconds : float

    Returns
    -------
    int
        0; 1 if something that is needed never came, or the disk was full; 2 if the bag cannot be
        made.
    """
    if os.path.exists(bag):
        raise RecordingError(f"{bag} exists already; a bag is never overwritten")
    camera = poses.strip("/").rpartition("/")[0]
    beside = ["camera_info", "skeleton", *(("image", "image/compressed") if images else ())]
    topics = [
        *(f"{radar}/{name}" for radar in RADARS for name in ("adc", "radar_config")),
        poses.strip("/"),
        *(f"{camera}/{name}".strip("/") for name in beside),
        *_PLACES,
    ]
    values = {"bag": bag, "topics": " ".join(topics), "exclude": ""}
    parameters = [f"{name}:={json.dumps(value)}" for name, value in values.items()]
    made: list[Collector] = []

    def make() -> Collector:
        made.append(Collector(poses, seconds))
        return made[0]

    print(f"recording to {bag}; Ctrl-C ends", flush=True)
    code = run(make, ["--ros-args", *(word for text in parameters for word in ("-p", text))])
    if code or not made:
        return code
    if made[0].missing:
        print(f"{bag}: nothing came of {', '.join(made[0].missing)}: it is no use for training")
    return int(made[0].broke_off or bool(made[0].missing))
