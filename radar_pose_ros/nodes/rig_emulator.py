"""Node rig_emulator: cameras that are not there, a person among them, and a detector of joints."""

from __future__ import annotations

import heapq
import itertools
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo

from radar_pose_ros import msg
from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import (
    MultiViewRecording,
    interleaved,
    named,
    random_shutters,
)
from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, ManagedNode, run
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.nodes.transforms import StaticTransforms, camera_transform
from radar_pose_ros.nodes.view_names import view_names
from radar_pose_ros.skeleton.definitions import SKELETONS
from radar_pose_ros.vision.camera_names import find

# Parameters that name views.
NAMING = ("silent", "exchanged", "uncalibrated", "displaced")
LATEST_S = 0.5  # shots that a busy machine delays by more are not sent


class EmulatedShot(NamedTuple):
    """What a view sees at an instant."""

    due_s: float  # since the beginning
    view: int
    keypoints_px: np.ndarray  # (joints, 2)
    confidence: np.ndarray  # (joints,)
    joints_m: np.ndarray  # (joints, 3); NaN if not known


class RigEmulator(ManagedNode):
    """Emulates the cameras of a rig; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("rig_emulator", **node_arguments)
        self._transforms: StaticTransforms | None = None
        self._outputs: list[Any] = []
        self._views: list[str] = []  # none while the node is unconfigured
        self.add_on_set_parameters_callback(self._check_names)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Make the rig and the first person, or read the recording."""
        v = self.values
        self._views = view_names(v.views)
        for name in NAMING:
            check_names(name, getattr(v, name), self._views)
        self._make = self._recorded() if v.recording else self._simulated()
        self._first = self._make(0)
        cameras = self._first.cameras
        infos = [convert.camera_to_message(c, convert.header(1, "")) for c in cameras]
        stamp_ns = time.time_ns()
        stands = list(cameras)
        for number in self._chosen("displaced"):
            position = cameras[number].position_m + v.displacement_m
            stands[number] = replace(cameras[number], position_m=position)
        for number in self._chosen("uncalibrated"):
            size = {"width": infos[number].width, "height": infos[number].height}
            infos[number] = CameraInfo(**size)
        self._infos = infos
        self._truths = self.create_publisher(msg.HumanPose3DArray, "ground_truth", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        skeleton = SKELETONS[self._first.skeleton]
        self._skeletons.publish(convert.skeleton_to_message(skeleton))
        self._outputs = [
            (
                self.create_publisher(CameraInfo, f"{view}/camera_info", RELIABLE),
                self.create_publisher(msg.HumanPose2DArray, f"{view}/pose2d", RELIABLE),
            )
            for view in self._views
        ]
        self._transforms = StaticTransforms(self)
        self._transforms.send(
            [
                camera_transform(v.world_frame, frame(view), camera, stamp_ns)
                for view, camera in zip(self._views, stands, strict=True)
            ]
        )

    def activate(self) -> None:
        """Let the cameras fire."""
        self._ready: queue.Queue[MultiViewRecording] = queue.Queue(1)
        self._ready.put(self._first)
        for view in self._views:
            self.health.watch(f"{view}/pose2d")
        self.start_worker("preparation", self._prepare)
        self.start_worker("cameras", self._play)

    def cleanup(self) -> None:
        """Take the publishers away."""
        self._views = []
        outputs, self._outputs = self._outputs, []
        for publisher in itertools.chain(*outputs):
            self.destroy_publisher(publisher)
        self.drop_publishers("_truths", "_skeletons")
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            transforms.close()

    def _chosen(self, parameter: str) -> list[int]:
        """Return the numbers of the views that a parameter names."""
        return [self._views.index(name) for name in getattr(self.values, parameter).split()]

    def _check_names(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if self._views and change.name in NAMING:
                    check_names(change.name, change.value, self._views)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # -- what there is to see ----------------------------------------------------------------

    def _simulated(self) -> Any:
        v = self.values
        names = ("rate_hz", "shutters", "jitter_s", "motion", "split", "seed", "clip_s")
        about = {name: getattr(v, name) for name in names}
        self._model = "simulation"
        return SimulatedRig(tuple(self._views), detector=v.detector, **about).recording

    def _recorded(self) -> Any:
        v = self.values
        recording = seen_by(pose2sim.load(v.recording), self._views)
        self._model = f"recording {recording.name}"
        if v.shutters == "interleaved":
            recording = interleaved(recording)
        elif v.shutters == "random":
            recording = random_shutters(recording, v.rate_hz, np.random.default_rng(v.seed))
        return lambda number: recording

    def _prepare(self, stop: threading.Event) -> None:
        """Have the next person ready."""
        for number in itertools.count(1):
            recording = self._make(number)
            while not stop.is_set():
                try:
                    self._ready.put(recording, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stop.is_set():
                return

    def _shots(self, stop: threading.Event) -> Iterator[EmulatedShot]:
        """Yield all shots in the order of time."""
        begin_s = 0.0
        while not stop.is_set():
            try:
                recording = self._ready.get(timeout=0.1)
            except queue.Empty:
                continue
            stamps, views, shots = recording.in_order()
            joints = recording.joints_at(stamps)
            for stamp, view, shot, truth in zip(stamps, views, shots, joints, strict=True):
                seen = recording.views[view]
                yield EmulatedShot(
                    begin_s + float(stamp),
                    int(view),
                    seen.keypoints_px[shot],
                    seen.confidence[shot],
                    truth,
                )
            begin_s += self._length_s(stamps)

    def _length_s(self, stamps: np.ndarray) -> float:
        """Return how long a recording lasts: it begins anew a step after its last shot."""
        if not self.values.recording:
            return self.values.clip_s
        return float(stamps[-1] - stamps[0] + np.median(np.diff(np.unique(stamps))))

    # -- the cameras' thread -----------------------------------------------------------------

    def _play(self, stop: threading.Event) -> None:
        rng = np.random.default_rng(self.values.seed)
        begin_s, begin_ns = time.monotonic(), time.time_ns()
        delayed: list[tuple[float, int, Any]] = []  # when, in which order, and what to send

        def left_s(due_s: float) -> float:
            return begin_s + due_s - time.monotonic()

        for number, shot in enumerate(self._shots(stop)):
            while delayed and delayed[0][0] <= shot.due_s:
                due_s, _, send = heapq.heappop(delayed)
                if stop.wait(max(0.0, left_s(due_s))):
                    return
                send()
            if stop.wait(max(0.0, left_s(shot.due_s))):
                return
            if left_s(shot.due_s) < -LATEST_S:
                self.health.drop("shots not sent in time")
                continue
            stamp_ns = begin_ns + round(shot.due_s * convert.NANOSECONDS)
            self._publish_truth(shot, stamp_ns)
            view = self._shown_as(shot.view)
            if view in self._chosen("silent"):
                continue
            if rng.random() < self.values.loss:
                self.health.count("shots lost on purpose")
                continue
            send = partial(self._send, view, shot, stamp_ns)
            late_s = self.values.late_s * rng.random()
            if late_s:
                heapq.heappush(delayed, (shot.due_s + late_s, number, send))
            else:
                send()

    def _shown_as(self, view: int) -> int:
        exchanged = self._chosen("exchanged")
        return exchanged[1 - exchanged.index(view)] if view in exchanged else view

    def _publish_truth(self, shot: EmulatedShot, stamp_ns: int) -> None:
        if np.isfinite(shot.joints_m).any():
            head = convert.header(stamp_ns, self.values.world_frame)
            skeleton = self._first.skeleton
            truth = convert.pose3d_to_message(shot.joints_m, head, skeleton, self._model)
            self._truths.publish(truth)

    def _send(self, view: int, shot: EmulatedShot, stamp_ns: int) -> None:
        """Publish a shot on a view's topics: what the camera is, and what it sees."""
        infos, poses = self._outputs[view]
        info = self._infos[view]
        info.header = head = convert.header(stamp_ns, frame(self._views[view]))
        infos.publish(info)
        confidence = shot.confidence.astype(np.float64)
        person = Person(shot.keypoints_px, confidence, float(confidence.mean()), number=0)
        message = convert.people_to_message(
            msg.HumanPose2DArray,
            [person] if person.known.any() else [],
            head,
            skeleton=self._first.skeleton,
            model=self._model,
            image_width=info.width,
            image_height=info.height,
        )
        poses.publish(message)
        self.health.tick(f"{self._views[view]}/pose2d")


def check_names(parameter: str, names: str, views: Sequence[str]) -> None:
    """Raise `ValueError` if a parameter names views that are not there, or not two to exchange."""
    chosen = names.split()
    unknown = [name for name in chosen if name not in views]
    if unknown:
        raise ValueError(
            f"{parameter}: there is no view {', '.join(unknown)}, only {', '.join(views)}"
        )
    if parameter == "exchanged" and chosen and (len(chosen), len({*chosen})) != (2, 2):
        raise ValueError(
            f"exchanged: want two of the views {', '.join(views)}, or none, got {names!r}"
        )


def seen_by(recording: MultiViewRecording, views: Sequence[str]) -> MultiViewRecording:
    """Return a recording by some of its cameras, or by all of them under other names, in order.

    Raises
    ------
    ValueError
        If views are neither some of its cameras nor as many.
    """
    cameras = {view.name: view for view in recording.views}
    meant = [name for view in views if (name := find(view, cameras, recording.name))]
    if len({*meant}) == len(views):
        chosen = tuple(cameras[name] for name in meant)
        return named(replace(recording, views=chosen), views)
    if len(views) != len(cameras):
        raise ValueError(
            f"views: {recording.name} has the cameras {', '.join(cameras)}; name some of them, or "
            f"{len(cameras)} views to call them otherwise, got {', '.join(views)}"
        )
    return named(recording, views)


def frame(view: str) -> str:
    """Return the name of a view's optical frame."""
    return f"{view}_optical_frame"


def main() -> int:
    """Run the node."""
    return run(RigEmulator)


if __name__ == "__main__":
    sys.exit(main())
