"""Node densewarper: poses in the images of a rig of cameras in, poses in space out."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.people import origins_are_known
from radar_pose_ros.nodes.rig import (
    Belated,
    Due,
    Instants,
    LastPose,
    PersonChoice,
    ViewCamera,
    ViewMessage,
    clock_warning,
    joints_of,
    load_network,
    makes_pose,
    person_of,
    read_cameras,
)
from radar_pose_ros.nodes.transforms import TransformReader
from radar_pose_ros.nodes.view_names import view_names
from radar_pose_ros.nodes.window import EveryNth
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, SKELETONS
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.agreement import Agreement
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import Poses
from radar_pose_ros.vision.frames import Placement
from radar_pose_ros.vision.interleaving import Counts, Interleaver
from radar_pose_ros.vision.windows import METHODS, WindowMethod

# Cameras that fire together send together, and late images come in bursts.
POSES = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
JUDGED_EVERY_S = 1.0
JUDGING_SHARE = 20.0  # on a busy machine, less often: of so many seconds, one
IDLE_S = 0.02  # what waits for another view must not wait much longer
# Of several instants that wait, as many of the newest are computed as take so long; one at least.
LONGEST_BATCH_S = 0.05
NO_TIME = "shots for which there was no time"


class DenseWarperNode(ManagedNode):
    """Triangulates what unsynchronised cameras see of one person; see docs/nodes.md."""

    def __init__(self, **node_arguments: object) -> None:
        super().__init__("densewarper", **node_arguments)
        self._method: WindowMethod | None = None
        self._transforms: TransformReader | None = None
        self._mailbox: Mailbox[ViewMessage] = Mailbox(1)
        self._views: list[str] = []

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Read the calibration, load the network; fail without what is needed."""
        v = self.values
        self._views = view_names(v.views)
        if len(self._views) < 2 or len({*self._views}) != len(self._views):
            raise ValueError(f"views must name two views or more, each once, got {v.views!r}")
        file = v.calibration_file
        self._fixed = read_cameras(file, v.unit_m, self._views) if file else None
        if v.method in METHODS:
            self._name, self._method = v.method, METHODS[v.method]
        else:
            self._name, self._method = load_network(v.weights, len(self._views), v.threads)
        self.health.show("model", self._name)
        self._poses = self.create_publisher(msg.HumanPose3DArray, "pose3d", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(H36M17))

    def activate(self) -> None:
        """Listen to all views, and start the thread that computes."""
        v = self.values
        self._interleaver = Interleaver(self._views, v.max_age_s)
        self._counted = [Counts() for _ in self._views]
        self._instants = Instants()
        self._belated = Belated(self._views)
        self._agreement = Agreement(self._views, v.max_disagreement)
        self._last_pose = LastPose(v.max_age_s)
        self._restart()
        self._cameras: list[PinholeCamera | None] = [None] * len(self._views)
        self._models: dict[int, str] = {}
        self._refused: set[str] = set()  # views whose camera is not known
        self._crowded: set[str] = set()  # views that see several people
        self._left_out_s: dict[str, float] = {}  # views for their stamps, and when last
        self._mailbox = Mailbox(v.queue_size)
        self._judge_s = time.monotonic() + JUDGED_EVERY_S
        self._takes_s = 1e-3  # what a pose takes to compute, with a long memory for slow ones
        if self._fixed is None:
            self._transforms = TransformReader(self)
        self.health.watch("pose3d")
        self.health.watch("pose2d", v.input_timeout_s)
        self.start_worker("estimator", self._estimate)
        for number, view in enumerate(self._views):
            self.health.watch(f"{view}/pose2d")
            fixed = None if self._fixed is None else self._fixed[view]
            camera = ViewCamera(view, self._where, fixed)
            if fixed is None:
                self.subscribe(CameraInfo, f"{view}/camera_info", SENSOR_DATA, camera.take)
            take = partial(self._take, number, camera, PersonChoice())
            lost = f"{view}: shots lost on the way here"
            self.subscribe(msg.HumanPose2DArray, f"{view}/pose2d", POSES, take, lost=lost)

    def deactivate(self) -> None:
        """Complain of nothing any longer."""
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            transforms.close()
        for view in self._views:
            for about in ("camera", "people", "silence", "clock"):
                self.health.warn(f"{view} {about}", "")
        for about in ("views", "people", "agreement", "scale", "belated"):
            self.health.warn(about, "")
        self.health.drop(NO_TIME, len(self._mailbox.take_all(0.0)))

    def cleanup(self) -> None:
        """Release the network."""
        self._method = None
        self.drop_publishers("_poses", "_skeletons")

    def _where(self, frame: str) -> Placement:
        assert self._transforms is not None
        return self._transforms.where(frame, self.values.world_frame)

    # -- input: the executor's thread --------------------------------------------------------

    def _take(
        self, number: int, camera: ViewCamera, choice: PersonChoice, message: msg.HumanPose2DArray
    ) -> None:
        arrived_s, name = time.monotonic(), message.skeleton
        try:
            mapping.formulas(name, H36M17.name)
        except ValueError as error:
            raise convert.InvalidMessageError("skeleton cannot be used", str(error)) from None
        people = convert.message_to_people(message, len(SKELETONS[name].joints))
        convert.require(origins_are_known(people), "pose of unknown origin")
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        self.health.tick(f"{camera.name}/pose2d")
        self.health.tick("pose2d")
        try:
            seen_by = camera.camera(
                message.header.frame_id, (message.image_width, message.image_height)
            )
        except convert.InvalidMessageError as error:
            self._refused.add(camera.name)
            left_out = f"{camera.name} is left out: {error}"
            self.health.warn(f"{camera.name} camera", left_out, log=False)  # `refuse` does
            raise
        self._refused.discard(camera.name)
        self.health.warn(f"{camera.name} camera", "")
        expected_px = self._last_pose.seen_by(seen_by, stamp_ns / convert.NANOSECONDS)
        person, others = choice.choose(people, name, expected_px)
        self.health.count("people left out", others)
        told = f"{camera.name} sees {others + 1} people, of whom one is taken" if others else ""
        self.health.warn(f"{camera.name} people", told)
        (self._crowded.add if others else self._crowded.discard)(camera.name)
        seen = ViewMessage(
            number, stamp_ns, arrived_s, *joints_of(person, name), seen_by, message.model
        )
        self.health.drop(NO_TIME, self._mailbox.put(seen))

    # -- output: the estimator's thread ------------------------------------------------------

    def _estimate(self, stop: threading.Event) -> None:
        while not stop.is_set():
            ready: list[Due] = []
            for message in self._mailbox.take_all(IDLE_S):
                ready += self._add(message)
            ready += self._instants.overdue(time.monotonic())
            ready = self._usable(ready)
            if ready:
                self._compute(ready)
            self._judge()

    def _add(self, message: ViewMessage) -> list[Due]:
        self.health.count("shots looked at")
        view, stamp_s = message.view, message.stamp_ns / convert.NANOSECONDS
        self._cameras[view] = message.camera
        window = self._interleaver.push(view, stamp_s, message.keypoints_px, message.confidence)
        self._account()
        offset = self._interleaver.offsets[view]
        self._leave_out(self._views[view], clock_warning(self._views[view], offset, self._views))
        if window is None or offset is not None:
            return []
        self._models[view] = message.model
        ready = self._instants.add(Due(window, message))
        belated_s = self._instants.belated_s
        self._belated.add(self._views[view], belated_s)
        self.health.count("shots after the pose of their instant", belated_s is not None)
        return ready

    def _leave_out(self, view: str, reason: str) -> None:
        """Say that a view is left out for its stamps, or, without a reason, no longer."""
        self.health.warn(f"{view} clock", reason)
        if reason:
            self._left_out_s[view] = time.monotonic()
        else:
            self._left_out_s.pop(view, None)

    def _account(self) -> None:
        """Report what the interleaver has counted; begin anew where time went back."""
        for view, now, before in zip(
            self._views, self._interleaver.counts, self._counted, strict=True
        ):
            self.health.drop(f"{view}: shots that came too late", now.late - before.late)
            self.health.drop(f"{view}: shots ahead of all others", now.ahead - before.ahead)
            self.health.drop(f"{view}: shots of the same instant", now.repeated - before.repeated)
            if now.resets > before.resets:
                self.health.count("streams begun anew after a jump back in time")
                self.get_logger().warning(
                    f"{view}: time went back, a new stream begins", throttle_duration_sec=1.0
                )
                self._restart()
            vars(before).update(vars(now))

    def _restart(self) -> None:
        """Forget what was published, but not what was counted."""
        self._instants.clear()
        self._belated.clear()
        self._agreement.clear()
        self._last_pose.clear()
        self._chosen = EveryNth(self.values.every)
        self._number = 0

    def _usable(self, ready: Sequence[Due]) -> list[Due]:
        """Return what is to be computed: the newest, if there is no time for all."""
        found = []
        self.health.count("instants", len(ready))
        for due in ready:
            missing = due.window.missing
            for number, view in enumerate(self._views):
                silent = number in missing and view not in {*self._refused, *self._left_out_s}
                self.health.warn(f"{view} silence", f"{view} is missing" if silent else "")
            alone = not makes_pose(due.window)
            self.health.warn("views", "no poses: they take two views or more" if alone else "")
            self.health.count("instants with one view only", alone)
            if not alone:
                self._number += 1
                taken = self._chosen.takes(self._number)
                self.health.count("instants between two that are computed", not taken)
                found += [due] if taken else []
        most = max(1, int(LONGEST_BATCH_S / self._takes_s))
        behind = max(0, len(found) - most)
        self.health.drop("instants without a pose: younger shots were waiting", behind)
        return found[behind:]

    def _compute(self, ready: Sequence[Due]) -> None:
        assert self._method is not None
        known = next(camera for camera in self._cameras if camera is not None)
        cameras = [known if camera is None else camera for camera in self._cameras]
        begin_s = time.monotonic()
        poses = self._method([due.window for due in ready], cameras)
        took_s = (time.monotonic() - begin_s) / len(ready)
        self._takes_s = max(took_s, 0.9 * self._takes_s)
        self.health.show("estimation_ms", f"{took_s * 1e3:.1f}")
        for number, due in enumerate(ready):
            self._publish(due, poses, number)
            self._last_pose.take(poses, number, cameras)
            if np.isfinite(poses.joints_m[number]).any():
                self._agreement.add(
                    due.window, poses.joints_m[number], poses.errors_px[number], cameras
                )

    def _publish(self, due: Due, poses: Poses, number: int) -> None:
        window = due.window
        person = person_of(window, poses, number)
        models = " + ".join(sorted({model for model in self._models.values() if model}))
        message = convert.people_to_message(
            msg.HumanPose3DArray,
            [] if person is None else [person],
            convert.header(due.message.stamp_ns, self.values.world_frame),
            skeleton=H36M17.name,
            model=f"{self._name} of {models}" if models else self._name,
            missing_sources=[self._views[view] for view in window.missing],
        )
        self._poses.publish(message)
        self.health.tick("pose3d")
        self.health.count("instants without a person", person is None)
        self.health.show("latency_ms", f"{(time.monotonic() - due.message.arrived_s) * 1e3:.1f}")
        ages_s = window.age_s[poses.used[number].any(-1)]
        if ages_s.size:
            self.health.show("skew_ms", f"{ages_s.max() * 1e3:.1f}")

    def _judge(self) -> None:
        """Say now and then whether the views agree."""
        now_s = time.monotonic()
        if now_s < self._judge_s:
            return
        for view, since_s in [*self._left_out_s.items()]:
            if now_s - since_s > self.values.max_age_s:
                self._leave_out(view, "")  # it is silent now
        for view, error_px in zip(self._views, self._agreement.errors_px, strict=True):
            self.health.show(f"{view} error_px", f"{error_px:.1f}")
        others = " and ".join(self._views[view] for view in self._agreement.strangers)
        self.health.warn(
            "people",
            f"{others}: somebody else than in other views?" if others and self._crowded else "",
        )
        self.health.warn("belated", self._belated.complaint())
        complaint = self._agreement.complaint()
        height_m = self._agreement.stature_m
        judged = not complaint and np.isfinite(height_m)
        scale = calibration_files.check_scale(height_m) if judged else ""
        for about, sentence in (("agreement", complaint), ("scale", scale)):
            self.health.warn(about, sentence)
        took_s = time.monotonic() - now_s
        self._judge_s = now_s + max(JUDGED_EVERY_S, JUDGING_SHARE * took_s)


def main() -> int:
    """Run the node."""
    return run(DenseWarperNode)


if __name__ == "__main__":
    sys.exit(main())
