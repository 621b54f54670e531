"""Node camera_source: the images of a video file, of a folder or of a camera, with their times."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from radar_pose_ros.nodes import convert, transport
from radar_pose_ros.nodes.base import RELIABLE, ManagedNode, run
from radar_pose_ros.nodes.health import STARTING_S
from radar_pose_ros.nodes.images import NO_TIME
from radar_pose_ros.nodes.readers import computes, readers
from radar_pose_ros.nodes.worker import Mailbox, Worker
from radar_pose_ros.vision.video import CAMERA, Video, open_video

FILE_BEGIN_NS = convert.NANOSECONDS  # a stamp of 0 is one that is not set
LATE_S = 0.5  # images that go out later than that after their turn are worth a warning
AGAIN_S = 2.0  # until a camera that went away is sought again
SILENT_S = 1.5  # without an image, after which a camera is silent
AHEAD = 15  # images of a camera that may wait to be published
IDLE_S = 0.1  # how often the player looks whether it is to end


class CameraSource(ManagedNode):
    """Publishes the images of a file, a folder or a camera; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("camera_source", **node_arguments)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Look whether the file can be read; a camera may be plugged in later."""
        if not self._is_camera:
            self._open()
        kind, topic = {
            "raw": (Image, "image"),
            "compressed": (CompressedImage, "image/compressed"),
        }[self.values.transport]
        self._images = self.create_publisher(kind, topic, RELIABLE)

    def activate(self) -> None:
        """Open the source and start to play it."""
        video = self._open()
        self.health.show("source", video.source)
        self.health.show("times", video.stamps)
        self.health.watch("image", SILENT_S if self._is_camera else math.inf)
        self.start_worker("player", lambda stop: self._play(video, stop))

    def deactivate(self) -> None:
        """Forget what was said about the last run."""
        for key in ("end", "notes", "late", "waiting", "size", "stamps"):
            self.health.warn(key, "")

    def cleanup(self) -> None:
        """Take the publisher away."""
        self.drop_publishers("_images")

    @property
    def _is_camera(self) -> bool:
        return CAMERA.fullmatch(self.values.source) is not None

    def _open(self) -> Video:
        v = self.values
        if not v.source:
            raise ValueError("there is no source: name a video file, a folder or a camera")
        camera = CAMERA.fullmatch(v.source)
        source = int(camera[1]) if camera else Path(v.source).expanduser()
        times = Path(v.times_file).expanduser() if v.times_file else None
        return open_video(source, rate_hz=v.frame_rate_hz or None, times=times)

    # -- the player's thread -----------------------------------------------------------------

    def _play(self, video: Video, stop: threading.Event) -> None:
        self._shape: tuple[int, ...] = ()
        if self._is_camera:
            self._show_camera(video, stop)
            return
        if self.values.wait_for_reader:
            self._wait_for_reader(stop)
        try:
            self._show_file(video, stop)
        except ValueError as error:  # images of a folder that are none
            self.health.warn("end", str(error), log=False)
            self.get_logger().error(str(error))

    def _show_camera(self, video: Video, stop: threading.Event) -> None:
        """Publish the images of a camera, for which a thread of its own asks.

        A camera that hangs holds it for as long as it likes: nobody waits for the end of that one.
        """
        images: Mailbox[tuple[int, np.ndarray]] = Mailbox(AHEAD)
        Worker(
            "camera",
            lambda _: self._ask_camera(video, images, stop),
            lambda error: self._worker_failed("camera", error),
        )
        while not stop.is_set():
            for stamp_ns, image in images.take_all(IDLE_S):
                self._publish(image, stamp_ns)

    def _ask_camera(
        self, video: Video, images: Mailbox[tuple[int, np.ndarray]], stop: threading.Event
    ) -> None:
        """Hand on the images of a camera; if it goes away, wait until it is there again."""
        while True:
            begin_ns = 0
            for time_s, image in video.frames():
                # A camera takes up to seconds for its first image, at which its times begin.
                begin_ns = begin_ns or time.time_ns() - round(time_s * convert.NANOSECONDS)
                if stop.is_set():
                    return
                stamp_ns = begin_ns + round(time_s * convert.NANOSECONDS)
                self.health.drop(NO_TIME, images.put((stamp_ns, image)))
            if stop.is_set():
                return
            self.health.drop("camera went away")
            self.get_logger().warning("; ".join(video.notes))
            while not stop.wait(AGAIN_S):
                try:
                    video = self._open()
                    break
                except ValueError as error:
                    self.health.warn("end", str(error))
            else:
                return
            self.health.warn("end", "")

    def _show_file(self, video: Video, stop: threading.Event) -> None:
        """Publish the images of a file, each at its time."""
        v = self.values
        if v.stamps == "now" and v.rate > 1:
            ahead = (
                f"at rate {v.rate:g} stamps run ahead of the clock, by {v.rate - 1:g} s in each "
                'second: with stamps "file" they do not claim to be of now'
            )
            self.health.warn("stamps", ahead, log=False)
            self.get_logger().warning(ahead)
        begin_s = time.monotonic()
        begin_ns = FILE_BEGIN_NS if v.stamps == "file" else time.time_ns()
        round_s = 0.0  # when this round began, in the file's time
        told: set[str] = set()
        while not stop.is_set():
            last_s, step_s = math.nan, 1.0  # of a round of one image nobody knows how long it is
            for time_s, image in video.frames():
                if time_s > last_s:
                    step_s = time_s - last_s
                last_s, at_s = time_s, round_s + time_s
                if stop.wait(max(0.0, begin_s + at_s / v.rate - time.monotonic())):
                    return
                self._publish(image, begin_ns + round(at_s * convert.NANOSECONDS))
                self._tell_late(time.monotonic() - begin_s - at_s / v.rate)
            self.health.warn("notes", "; ".join(video.notes), log=False)
            for note in video.notes:
                if note not in told:
                    self.get_logger().warning(note)
            told.update(video.notes)
            if math.isnan(last_s):
                raise ValueError(f"{video.source}: no image of it can be read")
            if v.at_end == "stop":
                end = f"{video.source} has ended after {last_s:.1f} s"
                self.health.warn("end", end, log=False)
                self.get_logger().info(end)
                return
            self.health.count("rounds")
            round_s += last_s + step_s

    def _wait_for_reader(self, stop: threading.Event) -> None:
        """Wait for a node that computes with the images: one that records is ready long before."""
        topic, begin_s = self._images.topic_name, time.monotonic()
        while not any(map(computes, names := readers(self, topic))):
            who = f"only {' and '.join(names)}" if names else "nobody"
            self.health.warn(
                "waiting",
                f"{who} reads {topic} yet: the file begins when a node that computes does, with "
                "wait_for_reader false at once",
                log=time.monotonic() - begin_s > STARTING_S,
            )
            if stop.wait(0.1):
                return
        stop.wait(0.5)  # the reader may not have found this node yet
        self.health.warn("waiting", "")

    def _publish(self, image: np.ndarray, stamp_ns: int) -> None:
        v = self.values
        head = convert.header(stamp_ns, v.frame_id)
        if v.transport == "compressed":
            quality = [cv2.IMWRITE_JPEG_QUALITY, v.jpeg_quality]
            data = cv2.imencode(".jpg", image, quality)[1]
            message = CompressedImage(header=head, format="jpeg", data=convert.to_array(data))
        else:
            message = convert.image_to_message(image, head)
            message.encoding = "bgr8"
        if image.shape != self._shape:
            self._shape = image.shape
            self.health.show("size", f"{image.shape[1]} x {image.shape[0]}")
            warning = transport.large_message_warning(len(message.data), os.environ)
            self.health.warn("size", warning)
        self._images.publish(message)
        self.health.tick("image")

    def _tell_late(self, late_s: float) -> None:
        late = late_s > LATE_S
        sentence = "images cannot be read as fast as they are to go out" if late else ""
        self.health.warn("late", sentence)
        self.health.show("late_ms", f"{max(0.0, late_s) * 1e3:.0f}")


def main() -> int:
    """Run the node."""
    return run(CameraSource)


if __name__ == "__main__":
    sys.exit(main())
