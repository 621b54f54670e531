"""People as REP-155 tells of them: ids, skeletons in an image, joint states and frames.

The classes of the package hri_msgs, which may not be there, are handed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from transforms3d.quaternions import mat2quat

from radar_pose_ros.nodes.people import Person
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.vision.frames import Placement

# The joints of Skeleton2D, which are OpenPose's of COCO.
SKELETON2D = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle"),
    *("left_hip", "left_knee", "left_ankle", "left_eye", "right_eye", "left_ear", "right_ear"),
)
_FACE = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
_PLANE, _SPACE = "pose2d", "pose3d"


@dataclass
class Body:
    """A body that is tracked.

    Parameters
    ----------
    id : str
    seen_s : float
        When it was seen last, by a steady clock.
    """

    id: str
    seen_s: float


class Bodies:
    """The bodies that are tracked, and their ids.

    Somebody with a number keeps the same id, whenever that number comes. A lone person without one
    is somebody new after each time without anybody; of several without numbers nobody can say who
    is who, and they are left out. People in space are those in the image of the same number if
    their poses were made of those in the image, as the name of the model says, else others.

    Parameters
    ----------
    prefix : str
        With what ids begin.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._tracked: dict[tuple[str, int], Body] = {}
        self._model = ""  # of the poses in the image
        self._unnamed = 0

    @property
    def ids(self) -> list[str]:
        """Those that are tracked now, in the order in which they came."""
        return [body.id for body in self._tracked.values()]

    def see(
        self, planar: bool, model: str, people: Sequence[Person], now_s: float
    ) -> tuple[list[tuple[Body, Person]], int]:
        """Return the bodies of people who are seen, and how many have none.

        Parameters
        ----------
        planar : bool
            Whether they are seen in the image.
        model : str
            What their poses come from.
        people : sequence of Person
        now_s : float
            By a steady clock.
        """
        if planar:
            self._model = model
        lifted = bool(self._model) and model.endswith(f" of {self._model}")
        where = _PLANE if planar or lifted else _SPACE
        there = [person for person in people if person.known.any()]
        found: dict[int, Person] = {}
        for person in there:
            if person.number >= 0 or len(there) == 1:
                found.setdefault(max(person.number, -1), person)
        seen = []
        for number, person in found.items():
            body = self._tracked.get((where, number))
            if body is None:
                body = self._tracked[where, number] = Body(self._id(where, number), now_s)
            body.seen_s = now_s
            seen.append((body, person))
        return seen, len(there) - len(seen)

    def forget(self, before_s: float) -> list[str]:
        """Forget who was not seen since then; return their ids."""
        gone = [key for key, body in self._tracked.items() if body.seen_s < before_s]
        return [self._tracked.pop(key).id for key in gone]

    def _id(self, where: str, number: int) -> str:
        if number < 0:
            self._unnamed += 1
            return f"{self._prefix}_u{self._unnamed}"
        return f"{self._prefix}{'p' if where == _PLANE else ''}{number}"


# -- in an image -----------------------------------------------------------------------------


def skeleton2d(
    kinds: Any, head: Header, skeleton: Skeleton, person: Person, size_px: tuple[int, int]
) -> Any:
    """Return the Skeleton2D of a person in an image.

    Parameters
    ----------
    kinds : module
        With hri_msgs' classes.
    head : Header
    skeleton : Skeleton
        What the person's joints mean.
    person : Person
    size_px : (int, int)
        Width and height of the image.
    """
    message = kinds.Skeleton2D(header=head)
    message.skeleton = [
        kinds.NormalizedPointOfInterest2D(x=float(x), y=float(y), c=float(c))
        for x, y, c in _points(skeleton, person, size_px)
    ]
    return message


def _points(skeleton: Skeleton, person: Person, size_px: tuple[int, int]) -> np.ndarray:
    """Return x, y and confidence of the joints, 0..1, (18, 3); all 0 where not known.

    Joints outside of the image cannot be told. Those without a confidence are given: 1. Neck is
    OpenPose's, the middle of the shoulders. Noses are those of skeletons with ears: in others the
    joint of that name lies elsewhere.
    """
    given = np.column_stack(
        [person.keypoints / size_px, np.nan_to_num(person.joint_confidence, nan=1.0)]
    )
    by_name = dict(zip(skeleton.joints, given, strict=True))
    if "left_ear" not in by_name:
        by_name = {name: values for name, values in by_name.items() if name not in _FACE}
    shoulders = [by_name.get(f"{side}_shoulder") for side in ("left", "right")]
    by_name.pop("neck", None)
    if all(shoulder is not None for shoulder in shoulders):
        both = np.array(shoulders)
        by_name["neck"] = np.append(both[:, :2].mean(axis=0), both[:, 2].min())
    points = np.array([by_name.get(name, np.full(3, np.nan)) for name in SKELETON2D])
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= 1)).all(axis=1)  # NaN is not
    return np.where(inside[:, None], points, 0.0)


def region(kinds: Any, head: Header, person: Person, size_px: tuple[int, int]) -> Any:
    """Return the NormalizedRegionOfInterest2D around a person's joints, as far as in the image."""
    relative = person.keypoints[person.known] / size_px
    lowest, highest = (edge.clip(0.0, 1.0) for edge in (relative.min(0), relative.max(0)))
    confidence = 1.0 if np.isnan(person.confidence) else person.confidence
    return kinds.NormalizedRegionOfInterest2D(
        header=head,
        xmin=float(lowest[0]),
        ymin=float(lowest[1]),
        xmax=float(highest[0]),
        ymax=float(highest[1]),
        c=float(confidence),
    )


# -- in space --------------------------------------------------------------------------------


def joint_states(head: Header, body_id: str, angles: Mapping[str, float]) -> JointState:
    """Return the angles (rad) of the joints of a body, by their names."""
    return JointState(
        header=Header(stamp=head.stamp, frame_id=f"body_{body_id}"),
        name=[f"{name}_{body_id}" for name in angles],
        position=[float(angle) for angle in angles.values()],
    )


def transforms(
    head: Header, body_id: str, body: Placement, links: Mapping[str, Placement]
) -> list[TransformStamped]:
    """Return where a body is in the frame of a sensor, and where its links are in the body's."""
    root = f"body_{body_id}"
    inner = Header(stamp=head.stamp, frame_id=root)
    placed = [(inner, f"{name}_{body_id}", place) for name, place in links.items()]
    return [_transform(*each) for each in ((head, root, body), *placed)]


def _transform(head: Header, child: str, place: Placement) -> TransformStamped:
    w, x, y, z = mat2quat(place.rotation).tolist()
    shift = Vector3(**dict(zip("xyz", place.translation_m.tolist(), strict=True)))
    transform = Transform(translation=shift, rotation=Quaternion(x=x, y=y, z=z, w=w))
    return TransformStamped(header=head, child_frame_id=child, transform=transform)
