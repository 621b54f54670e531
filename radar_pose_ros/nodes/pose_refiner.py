"""Node pose_refiner: poses at any rate in, poses at a fixed rate out."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from rclpy.qos import QoSProfile, ReliabilityPolicy

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, refining
from radar_pose_ros.nodes.base import SKELETONS, ManagedNode, run
from radar_pose_ros.nodes.memory import MOST_SKELETONS, Recent
from radar_pose_ros.nodes.pacing import Pacer, StreamClock
from radar_pose_ros.nodes.people import (
    Person,
    origins_are_known,
    without_points,
    without_small,
    without_strays,
)
from radar_pose_ros.nodes.refining import KINDS, NamedModel, PeopleRefiner, RefinedFrame
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX

TYPES = {"pose2d": msg.HumanPose2DArray, "pose3d": msg.HumanPose3DArray}
# `pose_lifter` lets a whole window of poses go at once where a stream ends: as many as it may hold
# back must find room here.
POSES = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
# What waits for the next keyframe comes out at once where a stream ends.
REFINED = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
IDLE_S = 0.2
LOST = "poses lost on the way here"
NO_TIME = "poses for which there was no time"
STRAYS = {
    "pose2d": "joints far outside the image",
    "pose3d": "joints far from the person's others",
}
POINTS = "people whose joints lie on one point"
SMALL = "people too small for the network"
# What `PeopleRefiner` counts, in the words of the diagnostics.
DROPS = {
    "repeats": "poses of the same instant",
    "doubles": "people with the id of another one in the same message",
    "others": "poses whose root_relative differed for a moment",
}
COUNTS = {
    "restarts": "streams begun anew after a gap or a jump in time",
    "moved": "people begun anew because root_relative changed",
}


class Input(NamedTuple):
    """A checked message."""

    stamp_ns: int
    arrived_s: float  # by the steady clock
    people: list[Person]
    missing_sources: list[str]
    joints: int
    about: dict[str, Any]  # fields that its refined poses have too
    frame_id: str


class PoseRefiner(ManagedNode):
    """Runs a refiner per person and publishes at an even pace; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("pose_refiner", **node_arguments)
        self._named: NamedModel | None = None
        self._joints: Recent[int] = Recent(MOST_SKELETONS)  # of each skeleton that is known
        self._people: PeopleRefiner | None = None
        self._flushed = True  # whether nothing waits for more poses
        self._pacer: Pacer[Any] = Pacer(1.0, 1)
        self._mailbox: Mailbox[Input] = Mailbox(1)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the network, or take the method; check that the numbers fit together."""
        v = self.values
        self._type, kind = TYPES[v.poses], KINDS[v.poses]
        if v.weights:
            self._named = refining.load_network(v.weights, kind, v.predict)
        else:
            self._named = refining.interpolation(
                v.method, v.keyframe_interval, v.window, v.predict
            )
        model = self._named.model
        self._make_refiner = refining.refiner_factory(
            model, kind.values, v.rate_hz, self._named.windows(v.blend), v.max_gap_s
        )
        latency_s = self._make_refiner(1).latency_s
        self._comfortable = model.interval + math.floor(v.max_jitter_s * v.rate_hz)
        another_rate = self._named.rate_warning(v.rate_hz)
        self.health.warn("rate", another_rate)
        self.health.show("model", self._named.name)
        self.health.show("latency_ms", f"{0.0 if v.predict else latency_s * 1e3:.1f}")
        self._poses = self.create_publisher(self._type, f"refined/{v.poses}", REFINED)

    def activate(self) -> None:
        """Listen, and start the thread that refines."""
        v = self.values
        self._people = None
        self._now: Input | None = None  # what was refined last
        self._flushed = True
        self._stream = StreamClock()
        self._pacer = Pacer(1.0 / v.rate_hz, self._comfortable)
        self._mailbox = Mailbox(v.queue_size)
        self.health.watch(f"refined/{v.poses}")
        self.start_worker("refiner", self._refine)
        self.health.watch(v.poses, v.input_timeout_s)
        self.subscribe(msg.SkeletonDefinition, "skeleton", SKELETONS, self._take_skeleton)
        self.subscribe(self._type, v.poses, POSES, self._take, lost=LOST)

    def deactivate(self) -> None:
        """Count what will not be published any more."""
        self.health.warn("pace", "")
        waiting = 0 if self._flushed or self._people is None else self._people.waiting
        self._flushed = True
        self.health.drop("frames that waited when deactivated", self._pacer.clear() + waiting)
        self.health.drop(NO_TIME, len(self._mailbox.take_all(0.0)))

    def cleanup(self) -> None:
        """Release the network."""
        self._named = None
        self.health.warn("rate", "")
        self.drop_publishers("_poses")

    # -- input: the executor's thread --------------------------------------------------------

    def _take_skeleton(self, message: msg.SkeletonDefinition) -> None:
        joints = len(convert.message_to_skeleton(message).joints)
        self.health.drop(
            f"skeletons beyond the last {MOST_SKELETONS}", self._joints.put(message.name, joints)
        )

    def _take(self, message: Any) -> None:
        arrived_s = time.monotonic()
        name = message.skeleton
        joints = self._joints.get(name) or 0
        convert.require(joints > 0, "skeleton not defined yet", f"{name!r}")
        assert self._named is not None
        trained = self._named.skeleton
        convert.require(
            trained in ("", name),
            "skeleton other than the network's",
            f"{name!r} instead of {trained!r}",
        )
        convert.require(
            self._named.joints in (0, joints),
            "skeleton of another size than the network's",
            f"{joints} joints instead of {self._named.joints}",
        )
        planar = self.values.poses == "pose2d"
        size = (message.image_width, message.image_height) if planar else (0, 0)
        if trained and planar:
            convert.require(
                size == (IMAGE_SIZE_PX, IMAGE_SIZE_PX),
                "image of another size than the network's",
                f"{size[0]} x {size[1]} px",
            )
        people = convert.message_to_people(message, joints)
        convert.require(origins_are_known(people), "pose of unknown origin")
        people, strays = without_strays(people, size)
        self.health.drop(STRAYS[self.values.poses], strays)
        people, points = without_points(people)
        self.health.drop(POINTS, points)
        if trained and planar:
            people, small = without_small(people, size)
            self.health.drop(SMALL, small)
        self.health.tick(self.values.poses)
        about = {"skeleton": name, "model": f"{self._named.name} of {message.model}"}
        if planar:
            about |= {"image_width": size[0], "image_height": size[1]}
        taken = Input(
            convert.to_nanoseconds(message.header.stamp),
            arrived_s,
            people,
            list(message.missing_sources),
            joints,
            about,
            message.header.frame_id,
        )
        self.health.drop(NO_TIME, self._mailbox.put(taken))

    # -- output: the refiner's thread --------------------------------------------------------

    def _refine(self, stop: threading.Event) -> None:
        while not stop.is_set():
            for taken in self._mailbox.take_all(self._wait_s()):
                begin_s = time.monotonic()
                self._push(taken)
                self.health.show("refinement_ms", f"{(time.monotonic() - begin_s) * 1e3:.1f}")
            now_s = time.monotonic()
            if not self._flushed and now_s - self._now.arrived_s > self.values.input_timeout_s:
                self._flush("streams ended by silence")
            if self.values.predict and self._people is not None and not self._flushed:
                self._send(self._people.ahead(self._stream.now_ns(now_s)), now_s)
            for message in self._pacer.take(now_s):
                self._poses.publish(message)
                self.health.tick(f"refined/{self.values.poses}")

    def _wait_s(self) -> float:
        """Return how long to wait for a pose before the next frame is due."""
        now_s = time.monotonic()
        wait_s = min(IDLE_S, self._pacer.wait_s(now_s))
        if self.values.predict and not self._flushed:
            due_s = (self._people.next_ns - self._stream.now_ns(now_s)) / convert.NANOSECONDS
            # what is due and cannot be told yet waits for a pose
            wait_s = min(wait_s, due_s) if due_s > 0 else wait_s
        return wait_s

    def _push(self, taken: Input) -> None:
        """Refine a pose, and send what became final."""
        now = self._now
        if now is None or _kind(now) != _kind(taken):
            self._flush("streams ended by another skeleton, image or model")
            self._people = PeopleRefiner(
                partial(self._make_refiner, taken.joints), self.values.max_gap_s
            )
        frames = self._people.push(taken.stamp_ns, taken.people, taken.missing_sources)
        self._now, self._flushed = taken, False
        self.health.count("poses refined", 1 - self._people.counts["repeats"])
        self._send(frames, taken.arrived_s)
        if self._people.counts["restarts"]:
            self._stream.clear()
            self._pacer.flush()
            self._say_restart((taken.stamp_ns - now.stamp_ns) / convert.NANOSECONDS)
        if self._people.counts["moved"]:
            self.get_logger().warning(
                "poses relative to the root have become placed ones, or the other way round: "
                "people begin anew",
                throttle_duration_sec=5.0,
            )
        self._account()
        self._watch_pace()
        self._stream.see(taken.stamp_ns, taken.arrived_s)

    def _watch_pace(self) -> None:
        """Warn while poses come less often than the network knows."""
        self.health.warn("pace", self._named.pace_warning(self._people.period_ns))

    def _account(self) -> None:
        """Report what the stream has counted, and begin its counts anew."""
        counts = self._people.counts
        for name, reason in DROPS.items():
            self.health.drop(reason, counts[name])
        for name, event in COUNTS.items():
            if counts[name]:
                self.health.count(event, counts[name])
        counts.clear()

    def _say_restart(self, step_s: float) -> None:
        self.get_logger().warning(
            f"poses are {step_s:.3f} s apart: a new stream begins", throttle_duration_sec=1.0
        )

    def _flush(self, counter: str) -> None:
        """Send what still waits for more poses: nothing follows on it."""
        if not self._flushed:
            self.health.count(counter)
            self._send(self._people.flush(), time.monotonic())
            self._account()
            self._pacer.flush()
        self._stream.clear()
        self._flushed = True

    def _send(self, frames: Iterable[RefinedFrame], now_s: float) -> None:
        """Hand frames to the pacer as messages."""
        messages = [
            convert.people_to_message(
                self._type,
                frame.people,
                convert.header(frame.stamp_ns, self._now.frame_id),
                missing_sources=frame.missing_sources,
                **self._now.about,
            )
            for frame in frames
        ]
        self.health.count("frames made", len(messages))
        self._pacer.put(messages, now_s)
        if self.values.predict:  # each comes when it is due
            self._pacer.flush()


def _kind(taken: Input) -> tuple[Any, ...]:
    """Return what all poses of a stream have in common."""
    return taken.about, taken.frame_id, taken.joints


def main() -> int:
    """Run the node."""
    return run(PoseRefiner)


if __name__ == "__main__":
    sys.exit(main())
