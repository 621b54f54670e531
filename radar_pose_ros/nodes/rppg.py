"""Node rppg: images of a camera in, the heart rates of the people in them out."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from radar_pose_ros import msg, pulse_methods
from radar_pose_ros.nodes import convert, heart_rates
from radar_pose_ros.nodes.base import RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.heart_rates import StampedMeter, ToldBox
from radar_pose_ros.nodes.images import LOST, NO_TIME, TOPICS, Waiting, message_to_bgr
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.vision.face import FaceTracker, FixedRegion, RegionTracker
from radar_pose_ros.vitals.meter import (
    NOBODY,
    SMALLEST_THUMBNAIL_PX,
    MeterSettings,
    PulseMeter,
    PulseMethod,
    Reading,
    State,
)

IDLE_S = 0.1  # how often the thread looks whether it is to end
WAITING = 15  # images that wait while a reading is made: half a second of them


class Rppg(ManagedNode):
    """Measures the pulse of the faces that a camera sees; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("rppg", **node_arguments)
        self._make: Callable[[], PulseMeter] | None = None
        self._told = ToldBox()
        self._mailbox: Mailbox[Waiting] = Mailbox(WAITING)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the method and the detector of faces."""
        v = self.values
        cv2.setNumThreads(v.threads)
        method, rate_hz, note = pulse_methods.choose(v.method, v.weights, v.window_s, v.threads)
        settings = MeterSettings(v.window_s, rate_hz, v.least_quality)
        make_tracker = self._tracker(method)
        make_tracker()  # complains now rather than at the first image
        self._make = lambda: PulseMeter(make_tracker(), method, settings)
        self.health.show("method", method.name)
        self.health.warn("method", note)
        self._rates = self.create_publisher(msg.HeartRate, "heart_rate", RELIABLE)
        self._waves = self.create_publisher(msg.PulseWave, "pulse_wave", RELIABLE)

    def activate(self) -> None:
        """Start the thread that measures, and listen to the camera."""
        v = self.values
        assert self._make is not None
        self._meter = StampedMeter(self._make, v.period_s)
        self._mailbox = Mailbox(WAITING)
        self._states: dict[int, State] = {}
        self._begin_tally()
        self.health.watch("image", v.input_timeout_s)
        self.health.watch("heart_rate")
        self.health.watch("pulse_wave")
        self.start_worker("meter", self._measure)
        if v.region == "topic":
            self.subscribe(RegionOfInterest, "region", SENSOR_DATA, self._take_region)
        kind, self._topic = TOPICS[v.transport]
        self.subscribe(kind, self._topic, SENSOR_DATA, self._take, lost=LOST)

    def deactivate(self) -> None:
        """Account for what still waited; warnings of what was seen are over."""
        self.health.drop(NO_TIME, len(self._mailbox.take_all(0.0)))
        for key in ("image", "anew", "notes"):
            self.health.warn(key, "")

    def cleanup(self) -> None:
        """Release the method."""
        self._make = None
        self.drop_publishers("_rates", "_waves")

    def _tracker(self, method: PulseMethod) -> Callable[[], RegionTracker]:
        """Return what makes a tracker; its detector is read from its file once."""
        v = self.values
        thumbnail_px = method.thumbnail_px or SMALLEST_THUMBNAIL_PX
        if v.region and v.yunet:
            raise ValueError("yunet finds faces, and region says where one is: which one is true?")
        if v.region and v.region != "topic":
            region = heart_rates.parse_region(v.region)
            return partial(FixedRegion, region, thumbnail_px=thumbnail_px)
        detector = self._told if v.region else heart_rates.face_detector(v.yunet)
        return partial(FaceTracker, detector, thumbnail_px=thumbnail_px)

    # -- input: the executor's thread --------------------------------------------------------

    def _take(self, message: Image | CompressedImage) -> None:
        self.health.tick("image")
        self.health.drop(NO_TIME, self._mailbox.put(Waiting(message, time.monotonic())))

    def _take_region(self, message: RegionOfInterest) -> None:
        box = (message.x_offset, message.y_offset, message.width, message.height)
        self._told.tell(box, time.monotonic())

    # -- output: the meter's thread ----------------------------------------------------------

    def _measure(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for waiting in self._mailbox.take_all(IDLE_S):
                if stop.is_set():
                    self.health.drop(NO_TIME)
                    continue
                try:
                    self._look(waiting)
                    self.health.warn("image", "")
                except convert.InvalidMessageError as error:
                    self.health.warn("image", str(error), log=False)
                    self.refuse(self._topic, error)

    def _look(self, waiting: Waiting) -> None:
        begin_s = time.monotonic()
        head = waiting.message.header
        image = message_to_bgr(waiting.message)
        self._told.width_px = image.shape[1]
        anew = self._meter.see(image, convert.to_nanoseconds(head.stamp), head.frame_id)
        if anew:
            self.get_logger().warning(anew)
            self.health.warn("anew", anew, log=False)
            self.health.count("beginnings anew")
        seen_s = time.monotonic()
        self._frames += 1
        self.health.count("images looked at")
        self._frames_s += seen_s - begin_s
        readings = self._meter.readings()
        if not readings:
            return
        for reading in readings:
            stamp_ns = self._meter.stamp_ns(reading.middle_s)
            self._rates.publish(
                heart_rates.heart_rate_to_message(reading, stamp_ns, head.frame_id)
            )
            self.health.tick("heart_rate")
        for reading, piece in self._meter.pieces(readings):
            stamp_ns = self._meter.stamp_ns(piece.start_s)
            self._waves.publish(
                heart_rates.wave_to_message(reading, piece, stamp_ns, head.frame_id)
            )
            self.health.tick("pulse_wave")
        now_s = time.monotonic()
        self.health.show("latency_ms", f"{(now_s - waiting.arrived_s) * 1e3:.1f}")
        self._report(readings, now_s - seen_s)

    # -- diagnostics -------------------------------------------------------------------------

    def _begin_tally(self) -> None:
        self._frames, self._frames_s, self._tally_s = 0, 0.0, time.monotonic()

    def _report(self, readings: list[Reading], took_s: float) -> None:
        """Show what was measured and what it cost, since the last time."""
        passed_s = time.monotonic() - self._tally_s
        self.health.show("frame_ms", f"{self._frames_s / self._frames * 1e3:.2f}")
        self.health.show("reading_ms", f"{took_s * 1e3:.1f}")
        self.health.show("load", f"{(self._frames_s + took_s) / passed_s:.2f}")
        self._begin_tally()
        faces = [reading for reading in readings if reading.face_id != NOBODY]
        self.health.show("faces", len(faces))
        self.health.show("readings", "; ".join(map(heart_rates.in_words, readings)))
        notes = {note: None for reading in readings for note in reading.notes}
        self.health.warn("notes", "; ".join(notes))
        if all(reading.state is not State.WARMING_UP for reading in readings):
            self.health.warn("anew", "")
        for reading in readings:
            if self._states.get(reading.face_id) is not reading.state:
                self.get_logger().info(heart_rates.in_words(reading))
        self._states = {reading.face_id: reading.state for reading in readings}


def main() -> int:
    """Run the node."""
    return run(Rppg)


if __name__ == "__main__":
    sys.exit(main())
