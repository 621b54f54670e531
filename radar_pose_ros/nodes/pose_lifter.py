"""Node pose_lifter: poses in an image in, poses in space with their doubts out."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from radar_pose_ros import msg
from radar_pose_ros.models import lifting as models
from radar_pose_ros.models.diffhpe import LiftingStoppedError
from radar_pose_ros.models.lifting import WindowLifter
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.nodes.base import LATCHED, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.lifting import (
    ImagePlane,
    LiftedFrame,
    PeopleLifter,
    Placing,
    camera_of,
    pace_warning,
)
from radar_pose_ros.nodes.memory import Memory, Recent
from radar_pose_ros.nodes.pacing import Allowance, Pacer
from radar_pose_ros.nodes.people import Person, liftable, origins_are_known, without_strays
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.radar import person_range
from radar_pose_ros.radar.person_range import RADARS, AntennaFrame
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, SKELETONS
from radar_pose_ros.skeleton.placement import BY_SIZE, Ground, Intrinsics
from radar_pose_ros.skeleton.projection import CAMERA_FRAME

# While the network computes, others wait, and a refiner lets all it holds go at once where a
# stream ends: nothing must be lost until this process is awake again.
POSES = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
# What waits for later poses comes out at once where a stream ends.
LIFTED = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
IDLE_S = 0.2
MOST_CAMERAS = 16
UNKNOWN_PERIOD_NS = convert.NANOSECONDS // 30
LOST = "poses lost on the way here"
STRAYS = "joints far outside the image"
BEYOND = "people too small, or too far outside of the image, to be lifted"
NO_TIME = "poses for which there was no time"
# How often what is left of a stream may cost a run of its own, and how often in a row [choice]: as
# often as a stream at 30 Hz with the default stride does.
ENDS_PER_S, ENDS_IN_A_ROW, ENDS_SHARE = 2.0, 4, 0.25  # of the time
# What `PeopleLifter` counts, in the words of the diagnostics.
DROPS = {
    "repeats": "poses of the same instant",
    "lost": "poses that there was no time to lift",
    "hurried": "poses of streams that ended too soon after others",
    "doubles": "people with the id of another one in the same message",
}
COUNTS = {
    "skipped_runs": "runs that there was no time for",
    "left_out": "people beyond max_people",
    "restarts": "streams begun anew after a gap or a jump in time",
    "without_range": "people placed without the radars' range",
}
# Heatmaps are kept for a window of poses that come so slowly, and are so old when they come
# [choice]; with the default stride those at 5 Hz are lifted 4 s later.
SLOWEST_HZ, OLDEST_S = 5.0, 2.0
SPAN_NS = int(person_range.SPAN_S * convert.NANOSECONDS)


class Input(NamedTuple):
    """A checked message."""

    stamp_ns: int
    arrived_s: float  # by the steady clock
    people: list[Person]
    missing_sources: list[str]
    image: ImagePlane


class PoseLifter(ManagedNode):
    """Lifts windows of poses and publishes them at an even pace; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("pose_lifter", **node_arguments)
        self._windows: WindowLifter | None = None
        self._people: PeopleLifter | None = None
        self._flushed = True  # whether nothing waits for more poses
        self._pacer: Pacer[Any] = Pacer(1.0, 1)
        self._mailbox: Mailbox[Input] = Mailbox(1)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the network; fail without trained weights."""
        v = self.values
        torch.set_num_threads(v.threads)
        self._windows, self._name = models.load(v.weights, v.hypotheses)
        frames = self._windows.frames
        if v.stride > frames:
            raise ValueError(f"stride must be 1 to {frames}, a window of {self._name}")
        self._wait = (frames - v.stride) // 2 if v.output_frames == "center" else 0
        grounded = v.placement == "ground"
        self._ground = Ground(v.camera_height_m, v.camera_pitch) if grounded else None
        if self._windows.calibration is None:
            lacking = f"not calibrated for {self._windows.hypotheses} hypotheses"
            self.health.warn("covariance", f"no covariances: {lacking}")
        self.health.show("model", self._name)
        self._poses = self.create_publisher(msg.HumanPose3DArray, "pose3d", LIFTED)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(H36M17))

    def activate(self) -> None:
        """Listen, and start the threads that lift and publish."""
        v = self.values
        self._people = None
        self._now: Input | None = None  # what was taken last
        self._flushed = True
        self._cameras: Recent[Intrinsics] = Recent(MOST_CAMERAS)  # by frame
        self._pacer = Pacer(1 / 30, v.stride)
        self._pacing = threading.Lock()
        self._ends = Allowance(ENDS_PER_S, ENDS_IN_A_ROW, ENDS_SHARE)
        self._mailbox = Mailbox(v.queue_size)
        kept_s = self._windows.frames / SLOWEST_HZ + OLDEST_S
        self._antennas = {radar: Memory(kept_s) for radar in RADARS}
        self.health.watch("pose3d")
        self.start_worker("lifter", self._lift)
        self.start_worker("publisher", self._publish)
        self.health.watch("pose2d", v.input_timeout_s)
        self.subscribe(CameraInfo, "camera_info", SENSOR_DATA, self._take_camera)
        for radar in RADARS if v.placement == "range" else ():
            self.health.watch(f"{radar}/heatmap")
            heatmap_transport.subscribe(self, radar, partial(self._take_heatmap, radar))
        self.subscribe(msg.HumanPose2DArray, "pose2d", POSES, self._take, lost=LOST)

    def deactivate(self) -> None:
        """Miss no camera any longer; count what will not be published any more."""
        self.health.warn("camera", "")
        self.health.warn("range", "")
        self.health.warn("pace", "")
        waiting = 0 if self._flushed or self._people is None else self._people.waiting
        self._flushed = True
        self.health.drop("poses that waited when deactivated", self._pacer.clear() + waiting)
        self.health.drop(NO_TIME, len(self._mailbox.take_all(0.0)))

    def cleanup(self) -> None:
        """Release the network."""
        self._windows = None
        self.health.warn("covariance", "")
        self.drop_publishers("_poses", "_skeletons")

    # -- input: the executor's thread --------------------------------------------------------

    def _take_camera(self, message: CameraInfo) -> None:
        camera = convert.message_to_camera(message)
        self.health.drop(
            f"cameras beyond the last {MOST_CAMERAS}",
            self._cameras.put(message.header.frame_id, camera),
        )

    def _take_heatmap(self, radar: str, message: msg.RadarHeatmap) -> None:
        heatmap = convert.message_to_heatmap(message)
        self.health.tick(f"{radar}/heatmap")
        try:
            frame = AntennaFrame.of_heatmap(
                radar, heatmap, message.range_first_m, message.range_step_m
            )
        except ValueError as error:
            raise convert.InvalidMessageError("heatmap without ranges", str(error)) from None
        self._antennas[radar].add(convert.to_nanoseconds(message.header.stamp), frame)

    def _take(self, message: msg.HumanPose2DArray) -> None:
        name = message.skeleton
        try:
            mapping.formulas(name, H36M17.name)
        except ValueError as error:
            raise convert.InvalidMessageError("skeleton cannot be lifted", str(error)) from None
        size_px = (message.image_width, message.image_height)
        convert.require(min(size_px) > 0, "image of unknown size", f"{size_px}")
        people = convert.message_to_people(message, len(SKELETONS[name].joints))
        convert.require(origins_are_known(people), "pose of unknown origin")
        people, strays = without_strays(people, size_px)
        self.health.drop(STRAYS, strays)
        people, beyond = liftable(people, size_px)
        self.health.drop(BEYOND, beyond)
        self.health.tick("pose2d")
        taken = Input(
            convert.to_nanoseconds(message.header.stamp),
            time.monotonic(),
            people,
            list(message.missing_sources),
            ImagePlane(name, message.header.frame_id, size_px, f"{self._name} of {message.model}"),
        )
        self.health.drop(NO_TIME, self._mailbox.put(taken))

    # -- the lifter's thread -----------------------------------------------------------------

    def _lift(self, stop: threading.Event) -> None:
        # A run of many hypotheses or people takes longer than a thread has to end: it is given up.
        self._stopping = stop
        while not stop.is_set():
            for taken in self._mailbox.take_all(IDLE_S):
                added = False
                with contextlib.suppress(LiftingStoppedError):
                    if not stop.is_set():  # each may take a run
                        self._add(taken)
                        added = True
                self.health.drop(NO_TIME, int(not added))
            if not (self._flushed or stop.is_set()):
                with contextlib.suppress(LiftingStoppedError):
                    self._run_or_flush()

    def _run_or_flush(self) -> None:
        """Lift what is due, or what will not go on."""
        if self._people.due:
            begin_s = time.monotonic()
            self._send(self._people.run(self._placing()))
            self.health.show("run_ms", f"{(time.monotonic() - begin_s) * 1e3:.1f}")
            self._account()
        elif time.monotonic() - self._now.arrived_s > self.values.input_timeout_s:
            self._flush("streams ended by silence")

    def _add(self, taken: Input) -> None:
        now, v = self._now, self.values
        if now is None or now.image != taken.image:
            self._flush("streams ended by another skeleton, image or model")
            self._people = PeopleLifter(
                partial(
                    self._windows.lift,
                    size_px=taken.image.size_px,
                    model=taken.image.model,
                    stop=self._stopping.is_set,
                ),
                self._windows.frames,
                taken.image.skeleton,
                stride=v.stride,
                wait=self._wait,
                gap_s=v.max_gap_s,
                most_people=v.max_people,
                may_end=lambda: self._ends.take(time.monotonic()),
            )
            now, self._now = None, taken
        begin_s = time.monotonic()
        frames = self._people.add(
            taken.stamp_ns, taken.people, taken.missing_sources, self._placing()
        )
        self._now, self._flushed = taken, False
        self._watch_pace()
        if self._people.counts["restarts"]:
            self._charge(begin_s, bool(frames))
            self._send(frames, flush=True)
            step_s = (taken.stamp_ns - now.stamp_ns) / convert.NANOSECONDS
            self.get_logger().warning(
                f"poses are {step_s:.3f} s apart: a new stream begins", throttle_duration_sec=1.0
            )
        self._account()

    def _watch_pace(self) -> None:
        """Warn while poses come at a rate that the network does not know."""
        self.health.warn("pace", pace_warning(self._people.period_ns, self._windows.rate_hz))

    def _flush(self, counter: str) -> None:
        """Send what still waits for more poses: nothing follows on it."""
        if not self._flushed:
            self.health.count(counter)
            begin_s = time.monotonic()
            frames = self._people.flush(self._placing())
            self._charge(begin_s, bool(frames))
            self._send(frames, flush=True)
            self._account()
        self._flushed = True

    def _charge(self, begin_s: float, ran: bool) -> None:
        """Account for the run of a stream that ended."""
        if ran:
            took_s = time.monotonic() - begin_s
            self._ends.spend(took_s)
            self.health.show("run_ms", f"{took_s * 1e3:.1f}")

    def _account(self) -> None:
        """Report what the stream has counted, and begin its counts anew."""
        counts = self._people.counts
        for name, reason in DROPS.items():
            self.health.drop(reason, counts[name])
        for name, event in COUNTS.items():
            self.health.count(event, counts[name])
        counts.clear()

    def _placing(self) -> Placing:
        """Return by what to place people of the present stream."""
        if self.values.placement == "none":
            return Placing()
        image = self._now.image
        camera = camera_of(image, self._cameras.all())
        lacking = f"no camera_info of {image.frame_id!r} in that size: people are not placed"
        self.health.warn("camera", lacking if camera is None else "")
        assert self._windows is not None
        calibration = self._windows.calibration_for(image.model)
        spread = BY_SIZE if calibration is None else calibration.place
        if self.values.placement != "range":
            return Placing(camera, self._ground, spread)
        elsewhere = image.frame_id != CAMERA_FRAME
        lacking = f"the radars' range is not for the image {image.frame_id!r}"
        self.health.warn("range", lacking if elsewhere else "")
        return Placing(camera, None, spread, _nowhere if elsewhere else self._range_at)

    def _range_at(self, stamp_ns: int, direction: np.ndarray) -> float | None:
        """Return the distance to what returns most strongly, if that is clear."""
        frames = [
            (late_ns / convert.NANOSECONDS, frame)
            for memory in self._antennas.values()
            for late_ns, frame in memory.within(stamp_ns, SPAN_NS)
        ]
        found = person_range.strongest_return(frames, direction)
        return found.range_m if found is not None and found.clear else None

    def _send(self, frames: Sequence[LiftedFrame], flush: bool = False) -> None:
        """Hand frames to the publisher as messages."""
        image = self._now.image
        messages = [
            convert.people_to_message(
                msg.HumanPose3DArray,
                frame.people,
                convert.header(frame.stamp_ns, image.frame_id),
                skeleton=H36M17.name,
                model=image.model,
                missing_sources=frame.missing_sources,
            )
            for frame in frames
        ]
        if frames and not flush:
            late_ms = (self._people.newest_ns - frames[0].stamp_ns) / 1e6
            self.health.show("latency_ms", f"{late_ms:.1f}")
        unplaced = sum(person.root_relative for frame in frames for person in frame.people)
        self.health.count("people without a place", unplaced)
        period_ns = self._people.period_ns or UNKNOWN_PERIOD_NS
        with self._pacing:
            self._pacer.period_s = period_ns / convert.NANOSECONDS
            self._pacer.put(messages, time.monotonic())
            if flush:
                self._pacer.flush()

    # -- output: the publisher's thread ------------------------------------------------------

    def _publish(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._pacing:
                now_s = time.monotonic()
                messages = self._pacer.take(now_s)
                wait_s = self._pacer.wait_s(now_s)
            for message in messages:
                self._poses.publish(message)
                self.health.tick("pose3d")
            stop.wait(min(wait_s, 0.05))


def _nowhere(stamp_ns: int, direction: np.ndarray) -> None:
    """Measure no range: the radars' place before that camera is not known."""


def main() -> int:
    """Run the node."""
    return run(PoseLifter)


if __name__ == "__main__":
    sys.exit(main())
