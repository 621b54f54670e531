"""Several views of one person: whom to take, by which camera, and when to compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sensor_msgs.msg import CameraInfo

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.people import HALF_LIFE_S, Person
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.placement import Intrinsics
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.agreement import agreeing
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.camera_names import pair
from radar_pose_ros.vision.comparators import Poses
from radar_pose_ros.vision.frames import Placement
from radar_pose_ros.vision.interleaving import Offset, Shot, Window
from radar_pose_ros.vision.windows import WindowMethod

# Shots this close together are of one instant: cameras with one trigger stamp them so [choice].
TOGETHER_S = 0.002
# By the clock: so long an instant waits for a view that fired together with another one [choice].
WAIT_S = 0.05
# Of so many last shots of a view, so great a share may have no pose of their own [choice].
BELATED_OF = 30
BELATED_SHARE = 0.25
# Views that are late by more than this, and all by the same up to this, tell of one that is ahead
# [choice].
ALIKE_S = 0.05


class ViewMessage(NamedTuple):
    """A checked message: what one view saw of the person."""

    view: int
    stamp_ns: int
    arrived_s: float  # by the steady clock
    keypoints_px: np.ndarray  # (17, 2)
    confidence: np.ndarray  # (17,)
    camera: PinholeCamera
    model: str


class Due(NamedTuple):
    """A window to compute, and the message that it is of."""

    window: Window
    message: ViewMessage


def load_network(weights: str, views: int, threads: int) -> tuple[str, WindowMethod]:
    """Return the name of a trained DenseWarper, and what makes poses with it.

    Parameters
    ----------
    weights : str
        A preset's name or the path of a safetensors file.
    views : int
        Of the rig; it is tried whether the network can do with so many.
    threads : int
        Windows that are computed at once, each by one of them.

    Raises
    ------
    ValueError
        If there are no such weights, or they are not for such a rig.
    """
    if not weights:
        raise ValueError("method densewarper needs weights: name a preset or a safetensors file")
    import torch  # takes seconds, and who goes without a network can do without

    from radar_pose_ros.models.multiview import DenseWarperMethod
    from radar_pose_ros.models.weights import network

    torch.set_num_threads(1)
    trained, entry = network(weights, "densewarper")
    method = DenseWarperMethod(trained, threads=threads).poses
    nobody = Shot(0.0, *joints_of(None, H36M17.name))
    camera = PinholeCamera((1.0, 1.0), (0.0, 0.0), (1, 1), np.eye(3), np.zeros(3))
    method([Window(0.0, 0, (nobody,) * views, (None,) * views)], [camera] * views)
    return f"densewarper/{entry['preset']}@{entry['sha256'][:8]}", method


def read_cameras(path: str, unit_m: float, views: Sequence[str]) -> dict[str, PinholeCamera]:
    """Return each view's camera of a calibration; `ValueError` if one is not among them."""
    cameras = calibration_files.read(path, unit_m=unit_m)
    return {view: cameras[name] for view, name in pair(views, cameras, path).items()}


def joints_of(person: Person | None, skeleton: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a person's keypoints (17, 2) and confidences (17,) in the order of H36M17.

    Nobody is NaN and 0. A joint whose confidence is not stated counts as sure.
    """
    if person is None:
        return np.full((len(H36M17.joints), 2), np.nan), np.zeros(len(H36M17.joints))
    given = person.joint_confidence
    stated = np.where(np.isnan(given) & person.known, 1.0, given)
    keypoints = mapping.convert(person.keypoints, skeleton, H36M17.name)
    confidence = mapping.carry(stated, skeleton, H36M17.name)
    known = np.isfinite(keypoints).all(-1)
    return keypoints, np.where(known, np.nan_to_num(confidence), 0.0)


def person_of(window: Window, poses: Poses, number: int) -> Person | None:
    """Return the person of a pose; None if no joint is known.

    Confidence is the mean of the views that a joint is made of. If the view that looked at this
    instant is none of them, the joint is a prediction, and confidence halves every `HALF_LIFE_S`
    since it was seen [choice].

    Parameters
    ----------
    window : Window
    poses : Poses
        Of several windows.
    number : int
        Which of them the window is.
    """
    joints_m, used = poses.joints_m[number], poses.used[number]
    known = np.isfinite(joints_m).all(-1)
    if not known.any():
        return None
    used = used & known
    mean = np.where(used, window.confidence, 0.0).sum(0) / np.maximum(used.sum(0), 1)
    ages_s = np.where(used, window.age_s[:, None], np.inf).min(0)
    observed = ages_s <= TOGETHER_S
    fading = np.where(observed, 1.0, 0.5 ** (ages_s / HALF_LIFE_S))
    confidence = np.where(known, (mean * fading).clip(0, 1), 0.0)
    origin = np.where(observed, msg.Keypoint3D.OBSERVED, msg.Keypoint3D.PREDICTED)
    return Person(
        keypoints=np.where(known[:, None], joints_m, np.nan),
        joint_confidence=confidence,
        confidence=float(confidence.mean()),
        origin=origin.astype(np.uint8),
        covariance=poses.covariance_m2[number],
    )


class LastPose:
    """Where the person was a moment ago, as most views say.

    Parameters
    ----------
    longest_s : float
        For so long, by stamps, it says where the person is.
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self._pose: tuple[float, np.ndarray] | None = None

    def clear(self) -> None:
        """Forget it."""
        self._pose = None

    def take(self, poses: Poses, number: int, cameras: Sequence[PinholeCamera]) -> None:
        """Take one of several poses; one that most views do not agree with is nobody's."""
        agree = agreeing(poses.joints_m[number], poses.errors_px[number], cameras)
        there = np.isfinite(poses.errors_px[number]).any(-1)
        sure = 2 * agree.sum() > there.sum()
        stamp_s = float(poses.stamps_s[number])
        self._pose = (stamp_s, poses.joints_m[number]) if sure else None

    def seen_by(self, camera: PinholeCamera, stamp_s: float) -> np.ndarray | None:
        """Return where a camera sees it at an instant, (17, 2); None if that is not known."""
        pose = self._pose  # another thread may take one meanwhile
        if pose is None or abs(stamp_s - pose[0]) > self.longest_s:
            return None
        return camera.project(pose[1])


class PersonChoice:
    """Chooses one of the people that a view sees.

    The one it saw before, by number; else the one nearest to where the person is expected; else
    the surest.
    """

    def __init__(self) -> None:
        self._number = -1

    def choose(
        self, people: Sequence[Person], skeleton: str, expected_px: np.ndarray | None = None
    ) -> tuple[Person | None, int]:
        """Return a person, None if there is nobody, and how many others are left out.

        Parameters
        ----------
        people : sequence of Person
        skeleton : str
            Theirs.
        expected_px : ndarray, shape (17, 2), optional
            Where the joints of H36M17 are expected; NaN is not known.
        """
        there = [person for person in people if person.known.any()]
        if not there:
            return None, 0
        again = [person for person in there if person.number == self._number >= 0]
        chosen = again[0] if again else max(there, key=_sureness)
        if not again and len(there) > 1 and expected_px is not None:
            distances = [_distance_px(person, skeleton, expected_px) for person in there]
            if np.isfinite(min(distances)):
                chosen = there[int(np.argmin(distances))]
        self._number = chosen.number
        return chosen, len(there) - 1


def _distance_px(person: Person, skeleton: str, expected_px: np.ndarray) -> float:
    """Return the mean distance over the joints that both know; infinite if there is none."""
    distances = np.linalg.norm(joints_of(person, skeleton)[0] - expected_px, axis=-1)
    known = np.isfinite(distances)
    return float(distances[known].mean()) if known.any() else np.inf


def _sureness(person: Person) -> float:
    """Return a person's confidence; if it is not stated, the mean of the joints'; else 0."""
    if np.isfinite(person.confidence):
        return person.confidence
    stated = person.joint_confidence[np.isfinite(person.joint_confidence)]
    return float(stated.mean()) if stated.size else 0.0


class ViewCamera:
    """What is known of the camera of one view.

    Parameters
    ----------
    name : str
        Of the view.
    where : callable
        From a frame to where it is in the world; `ValueError` if that is not known.
    fixed : PinholeCamera, optional
        The camera, if a calibration says all of it: then nothing else is listened to.
    """

    def __init__(
        self, name: str, where: Callable[[str], Placement], fixed: PinholeCamera | None = None
    ) -> None:
        self.name = name
        self._where = where
        self._camera = self._fixed = fixed
        self._lens: Intrinsics | None = None
        self._frame = ""
        self._fault = f"no camera_info on {name}/camera_info"

    def take(self, message: CameraInfo) -> None:
        """Take what a message says of the lens; one that cannot be used makes it unknown."""
        self._lens = None
        try:
            self._lens = convert.message_to_camera(message)
        except convert.InvalidMessageError as error:
            self._fault = f"camera_info: {error}"
            raise
        self._frame = message.header.frame_id

    def camera(self, frame_id: str, size_px: tuple[int, int]) -> PinholeCamera:
        """Return the camera of an image.

        Parameters
        ----------
        frame_id : str
            Of the poses in the image.
        size_px : (int, int)
            Of the image; 0 is unknown, and not compared.

        Raises
        ------
        InvalidMessageError
            If the camera is not known, or is not that of this image.
        """
        if self._fixed is None:
            self._place(frame_id)
        assert self._camera is not None
        known = self._camera.size_px
        convert.require(
            0 in size_px or size_px == known,
            "image of another size than the camera's",
            f"{size_px[0]} x {size_px[1]} px instead of {known[0]} x {known[1]} px",
        )
        return self._camera

    def _place(self, frame_id: str) -> None:
        convert.require(self._lens is not None, "camera not known", self._fault)
        assert self._lens is not None
        convert.require(
            frame_id == self._frame,
            "frame of another camera",
            f"{frame_id!r}, but camera_info is of {self._frame!r}",
        )
        try:
            where = self._where(frame_id)
        except ValueError as error:
            raise convert.InvalidMessageError("camera without a place", str(error)) from None
        made = convert.camera_at(self._lens, where)
        if self._camera is None or not _same(self._camera, made):
            self._camera = made


def _same(one: PinholeCamera, other: PinholeCamera) -> bool:
    return (
        (one.focal_px, one.centre_px, one.size_px, one.distortion)
        == (other.focal_px, other.centre_px, other.size_px, other.distortion)
        and np.array_equal(one.rotation, other.rotation)
        and np.array_equal(one.position_m, other.position_m)
    )


class Instants:
    """Chooses the windows to compute: one for each instant, in the order of time.

    Shots of several views at one instant should all be in its window, and come one after the
    other. Views that fired together the last time are waited for: until they have come, a younger
    shot has, or `WAIT_S` is over. Cameras that fire one after the other wait for nobody, but for
    a second view where there is none.

    Attributes
    ----------
    belated_s : float or None
        How late the last shot was, if its instant, or a younger one, was computed before it came;
        else None. From its stamp to its arrival it took so much longer than the first shot of the
        newest instant. Later windows have it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._partners: dict[int, set[int]] = {}
        self._views: set[int] = set()  # that have fired at the present instant
        self._begin_s = self._given_s = -np.inf
        self._took_s = 0.0  # the first shot of the present instant, but for where clocks begin
        self._waiting: Due | None = None
        self.belated_s: float | None = None

    def add(self, due: Due) -> list[Due]:
        """Take the window of a shot; return what is to be computed now."""
        stamp_s, view = due.window.stamp_s, due.message.view
        ready: list[Due] = []
        if stamp_s - self._begin_s > TOGETHER_S:
            ready += self._give()
            self._partners.update({fired: self._views for fired in self._views})
            self._views, self._begin_s = {view}, stamp_s
            self._took_s = due.message.arrived_s - stamp_s
        elif self._begin_s - stamp_s <= TOGETHER_S:
            self._views.add(view)
        if self._given_s >= self._begin_s or stamp_s < self._begin_s - TOGETHER_S:
            self.belated_s = due.message.arrived_s - stamp_s - self._took_s
            return ready
        self.belated_s = None
        if self._waiting is None or _order(due.window) >= _order(self._waiting.window):
            self._waiting = due
        if makes_pose(due.window) and self._partners.get(view, set()) <= self._views:
            ready += self._give()
        return ready

    def overdue(self, now_s: float) -> list[Due]:
        """Return what has waited for too long, by the steady clock."""
        late = self._waiting is not None and now_s - self._waiting.message.arrived_s > WAIT_S
        return self._give() if late else []

    def _give(self) -> list[Due]:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return []
        if makes_pose(waiting.window):  # else the instant may still have one
            self._given_s = max(self._begin_s, waiting.window.stamp_s)
        return [waiting]


class Belated:
    """Which views' shots come too late to have poses of their own.

    Parameters
    ----------
    views : sequence of str
    """

    def __init__(self, views: Sequence[str]) -> None:
        self._by_s: dict[str, deque[float | None]] = {
            view: deque(maxlen=BELATED_OF) for view in views
        }

    def clear(self) -> None:
        """Begin anew."""
        for by_s in self._by_s.values():
            by_s.clear()

    def add(self, view: str, by_s: float | None) -> None:
        """Take of a shot what `Instants.belated_s` says."""
        self._by_s[view].append(by_s)

    def complaint(self) -> str:
        """Return whose shots are late, how many and by how much; empty if it is nobody's.

        If all but one are late by the same, it is the one that is ahead.
        """
        late_s = {}
        for view, shots in self._by_s.items():
            late = [by_s for by_s in shots if by_s is not None]
            if len(late) > BELATED_SHARE * BELATED_OF:
                late_s[view] = late
        if not late_s:
            return ""
        in_time = [view for view, shots in self._by_s.items() if shots and view not in late_s]
        medians_s = np.array([np.median(late) for late in late_s.values()])
        alike = np.ptp(medians_s) <= ALIKE_S < medians_s.min()
        if alike and len(in_time) == 1 and len(late_s) > 1:
            return (
                f"{in_time[0]} is {np.median(medians_s):.2f} s ahead of all others, or its clock "
                "is: their shots come after the pose of their instant and have none of their own"
            )
        told = (
            f"{len(late)} of {view}'s last {len(self._by_s[view])}, up to {1e3 * max(late):.0f} "
            "ms late"
            for view, late in late_s.items()
        )
        why = "shots that come after the pose of their instant have none of their own"
        return f"{why}: {'; '.join(told)}"


def clock_warning(view: str, offset: Offset | None, views: Sequence[str]) -> str:
    """Say why a view's shots are left out, for the diagnostics; empty if they are not."""
    if offset is None:
        return ""
    apart = f"{abs(offset.by_s):.1f} s"
    if offset.by_s > 0:
        return f"{view}'s stamps are {apart} ahead of the others': it is left out"
    if len(offset.others) > 1:
        return f"{view}'s shots are {apart} late, or its clock is behind: they are left out"
    other = views[offset.others[0]]
    return (
        f"{view}'s stamps are {apart} behind {other}'s and left out: one of two clocks is wrong, "
        "or shots are late, and of two views nobody can tell which"
    )


def makes_pose(window: Window) -> bool:
    """Whether two views or more are there."""
    return len(window.missing) <= len(window.newest) - 2


def _order(window: Window) -> tuple[int, float]:
    """Return by what the best of the windows of one instant is known: new shots, then time."""
    return int((window.age_s <= TOGETHER_S).sum()), window.stamp_s
