"""Windows over a stream of 2-D poses, lifted again and again: who is where in space.

A run lifts a window and gives the frames that became due since the last one. Frames are given once
and in order, each with the stamp of the pose that it was made of::

    window   . . . . . . . . . . . . . . . . . . . . . . . . . . .
    given                  o o o o o o o o o
                           \\__ stride ____/ \\___ wait ___________/

If a run takes longer than a stride, the next one gives more frames at once: all that it still
holds. What the window no longer holds is lost, and counted; nothing ever falls behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from radar_pose_ros.models.lifting import LiftedWindows
from radar_pose_ros.models.refiner import Origin
from radar_pose_ros.nodes.pacing import NANOSECONDS, Period, rate_warning
from radar_pose_ros.nodes.people import Person, Sightings, by_key, doubles
from radar_pose_ros.nodes.window import FrameWindow
from radar_pose_ros.skeleton import checks, mapping
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.image import fill_ends
from radar_pose_ros.skeleton.placement import (
    BY_SIZE,
    RIG_PLANE,
    Ground,
    Intrinsics,
    PlaceSpread,
    at_range,
    place,
)
from radar_pose_ros.skeleton.projection import CAMERA_FRAME

# (people, frames, 17 joints, 2) in px -> what they are in space
Lift = Callable[[np.ndarray], LiftedWindows]


class ImagePlane(NamedTuple):
    """What the poses of one stream have in common."""

    skeleton: str
    frame_id: str
    size_px: tuple[int, int]
    model: str


class SeenFrame(NamedTuple):
    """The people of a 2-D message, by what tells them apart."""

    people: dict[int, Person]
    missing_sources: list[str]


class LiftedFrame(NamedTuple):
    """The people of an instant in space; likewise."""

    stamp_ns: int
    people: list[Person]
    missing_sources: list[str]


# (stamp in ns, direction (3,) in the camera's optical frame) -> m to what returns most strongly
RangeAt = Callable[[int, np.ndarray], float | None]


class Placing(NamedTuple):
    """What people are placed by.

    Attributes
    ----------
    camera : Intrinsics, optional
        Without it they are not placed.
    ground : Ground, optional
    spread : PlaceSpread
        Of such poses.
    range_at : callable, optional
        What the radars measure; None for an instant or a direction in which that is not clear.
    """

    camera: Intrinsics | None = None
    ground: Ground | None = None
    spread: PlaceSpread = BY_SIZE
    range_at: RangeAt | None = None


NOWHERE = Placing()


def camera_of(image: ImagePlane, cameras: Mapping[str, Intrinsics]) -> Intrinsics | None:
    """Return the camera behind an image, None if it is not known.

    Parameters
    ----------
    image : ImagePlane
    cameras : mapping
        What is known of cameras, by their frame; the rig's image plane is known without.
    """
    known = {CAMERA_FRAME: RIG_PLANE} | dict(cameras)
    camera = known.get(image.frame_id)
    return camera if camera is not None and camera.size_px == image.size_px else None


def pace_warning(period_ns: int | None, trained_hz: float) -> str:
    """Return a sentence if poses come at a rate that a network does not know; else "".

    Parameters
    ----------
    period_ns : int, optional
        From pose to pose, if it is known.
    trained_hz : float
        Of the poses that the network was trained on; 0 if that is not known.
    """
    rate_hz = NANOSECONDS / period_ns if period_ns else 0.0
    return rate_warning("poses come at", rate_hz, "the network", trained_hz)


class PeopleLifter:
    """Lifts the people of a stream.

    Parameters
    ----------
    lift : callable
        From pixels, (people, frames, joints of H36M17, 2).
    frames : int
        Length of a window.
    skeleton : str
        Of the 2-D poses.
    stride : int
        Frames from run to run, at most a window.
    wait : int
        Frames that must have come after one before it is given.
    gap_s : float
        Poses farther apart in time than this, or out of order, start anew.
    most_people : int
        Who is surest is lifted; others are left out.
    may_end : callable, optional
        Is asked whether what is left of a stream that ends may cost a run; else it is lost.

    Attributes
    ----------
    counts : Counter
        What happened so far: "restarts" of the stream; "repeats", poses with the stamp of the one
        before; "skipped_runs", for which there was no time; "lost", poses that left the window
        before they could be lifted; "hurried", poses left of streams for which there was no run
        (``may_end``); "left_out", people beyond ``most_people``; "doubles", people
        left out because somebody before them in the message has their number; "without_range",
        people placed by their size because the radars' range was not clear.

    Raises
    ------
    ValueError
        If stride and wait are more than a window, or the skeleton cannot be made H36M17.
    """

    def __init__(
        self,
        lift: Lift,
        frames: int,
        skeleton: str,
        *,
        stride: int,
        wait: int,
        gap_s: float,
        most_people: int = 1,
        may_end: Callable[[], bool] = lambda: True,
    ) -> None:
        for name, value in (("stride", stride), ("wait", wait), ("most_people", most_people)):
            checks.whole(name, value, 0 if name == "wait" else 1)
        if stride > frames - wait:
            raise ValueError(
                f"stride and wait must be {frames} together at most, got {stride} and {wait}"
            )
        self._measured = mapping.taken_over(skeleton, H36M17.name)
        self._lift, self._may_end = lift, may_end
        self.skeleton, self.frames = skeleton, frames
        self.stride, self.wait, self.most_people = stride, wait, most_people
        self.counts: Counter[str] = Counter()
        # None is a frame without a message
        self._window: FrameWindow[SeenFrame | None] = FrameWindow(frames, int(gap_s * NANOSECONDS))
        self._period = Period()
        self._next = 0  # number of the frame to give next, counted as the window does

    @property
    def period_ns(self) -> int | None:
        """Time between two frames; None until it is known."""
        return self._period.ns

    @property
    def due(self) -> bool:
        """Whether it is time for a run."""
        return self._window.added - self.wait - self._next >= self.stride

    @property
    def waiting(self) -> int:
        """How many poses wait for later ones."""
        items = self._window.items
        first = self._window.added - len(items)
        return sum(item is not None for item in items[max(self._next - first, 0) :])

    @property
    def newest_ns(self) -> int:
        """The last pose's stamp."""
        return self._window.stamps_ns[-1]

    def add(
        self,
        stamp_ns: int,
        people: Sequence[Person],
        missing_sources: Sequence[str] = (),
        placing: Placing = NOWHERE,
    ) -> list[LiftedFrame]:
        """Take the poses of an instant; return what was left of a stream that ended before."""
        frames: list[LiftedFrame] = []
        stamps = self._window.stamps_ns
        if stamps and stamp_ns == stamps[-1]:
            self.counts["repeats"] += 1
            return frames
        if stamps and not 0 < stamp_ns - stamps[-1] <= self._window.max_gap_ns:
            self.counts["restarts"] += 1
            frames = self.flush(placing)
        elif stamps:
            for missing_ns in self._window.missing_before(stamp_ns, self.period_ns):
                self._append(missing_ns, None)
            self._period.add(stamp_ns - stamps[-1])
        self._append(stamp_ns, SeenFrame(by_key(people), list(missing_sources)))
        self.counts["doubles"] += doubles(people)
        return frames

    def run(self, placing: Placing = NOWHERE) -> list[LiftedFrame]:
        """Lift the window; return the frames that are due."""
        end = self._window.added - self.wait
        self.counts["skipped_runs"] += max((end - self._next) // self.stride - 1, 0)
        return self._give(end, placing)

    def flush(self, placing: Placing = NOWHERE) -> list[LiftedFrame]:
        """Return what still waits for later frames, if that may cost a run, and start anew."""
        frames: list[LiftedFrame] = []
        if self.waiting and not self._may_end():
            self.counts["hurried"] += self.waiting
        else:
            frames = self._give(self._window.added, placing)
        self._window.clear()
        self._next = self._window.added
        self._period.clear()
        return frames

    def _append(self, stamp_ns: int, frame: SeenFrame | None) -> None:
        oldest = self._window.added - self.frames
        if self._window.is_full and self._next <= oldest:
            self.counts["lost"] += self._window.items[0] is not None
            self._next = oldest + 1
        self._window.add(stamp_ns, frame)

    # -- a run -------------------------------------------------------------------------------

    def _give(self, end: int, placing: Placing) -> list[LiftedFrame]:
        """Return the frames before this number that were not given yet."""
        items, stamps = self._window.items, self._window.stamps_ns
        first = self._window.added - len(items)
        places = range(self._next - first, end - first)
        given = [(place, items[place]) for place in places if items[place] is not None]
        keys = self._chosen([frame for _, frame in given])
        lifted: dict[int, list[Person | None]] = {}
        if keys:
            pixels = np.stack([self._pixels(items, key) for key in keys])
            found = self._lift(np.stack([fill_ends(window) for window in pixels]))
            length = len(items)  # what is before a young stream's first frame was only filled
            for key, seen, poses, spread in zip(
                keys, pixels, found.poses_m, found.covariance_m2, strict=True
            ):
                people = [item and item.people.get(key) for item in items]
                lifted[key] = lifted_person(
                    people,
                    stamps,
                    seen[-length:],
                    poses[-length:],
                    spread[-length:],
                    self.skeleton,
                )
        self._next = max(self._next, end)
        frames = []
        for place_, frame in given:
            there = [
                (frame.people[key], lifted[key][place_]) for key in frame.people if key in keys
            ]
            self.counts["left_out"] += len(frame.people) - len(there)
            stamp_ns = stamps[place_]
            placed = [
                self._placed(person, seen, placing, stamp_ns)
                for seen, person in there
                if person is not None
            ]
            frames.append(LiftedFrame(stamp_ns, placed, frame.missing_sources))
        return frames

    def _chosen(self, frames: Sequence[SeenFrame]) -> list[int]:
        """Return who is to be lifted: who is there, the surest first, those not stated last."""
        surest: dict[int, float] = {}
        for frame in frames:
            for key, person in frame.people.items():
                sure = float(np.nan_to_num(person.confidence, nan=0.0))
                surest[key] = max(surest.get(key, 0.0), sure)
        return sorted(surest, key=lambda key: (-surest[key], key))[: self.most_people]

    def _pixels(self, items: Sequence[SeenFrame | None], key: int) -> np.ndarray:
        """Return a person's joints, (frames, 17, 2); NaN where not seen or before the stream."""
        pixels = np.full((self.frames, len(H36M17.joints), 2), np.nan)
        for place_, item in enumerate(items, start=self.frames - len(items)):
            if item is not None and key in item.people:
                keypoints = item.people[key].keypoints
                pixels[place_] = mapping.convert(keypoints, self.skeleton, H36M17.name)
        return pixels

    def _placed(self, person: Person, seen: Person, placing: Placing, stamp_ns: int) -> Person:
        """Return a lifted person where the camera saw them, or as they are if nothing tells."""
        if placing.camera is None:
            return person
        pixels = mapping.convert(seen.keypoints, self.skeleton, H36M17.name)
        # what the mapping has made of several joints need not be where the network has it
        pixels[~self._measured] = np.nan
        trust = mapping.carry(seen.joint_confidence, self.skeleton, H36M17.name)
        found = place(
            person.keypoints, pixels, trust, placing.camera, placing.ground, placing.spread
        )
        if found is None:
            return person
        if placing.range_at is not None:
            range_m = placing.range_at(stamp_ns, found.root_m)
            measured = None if range_m is None else at_range(found, range_m)
            self.counts["without_range"] += measured is None
            found = measured or found
        assert person.covariance is not None
        return replace(
            person,
            keypoints=found.root_m + found.scale * person.keypoints,
            covariance=found.scale**2 * person.covariance + found.covariance_m2,
            root_relative=False,
        )


def lifted_person(
    people: Sequence[Person | None],
    stamps_ns: Sequence[int],
    pixels: np.ndarray,
    poses_m: np.ndarray,
    covariance_m2: np.ndarray,
    skeleton: str,
) -> list[Person | None]:
    """Return a person in space, frame by frame; None where they are not.

    A joint that a frame does not show is INTERPOLATED if the window shows it before and after,
    PREDICTED if it shows it on one side only, and NaN if not at all. Its confidence goes from one
    sighting's to the next one's, and falls before the first and after the last, as `Sightings` has
    it.

    Parameters
    ----------
    people : sequence of Person or None, one per frame
        As they were seen.
    stamps_ns : sequence of int
    pixels : ndarray, shape (frames, 17, 2)
        NaN where not seen.
    poses_m : ndarray, shape (frames, 17, 3)
    covariance_m2 : ndarray, shape (frames, 17, 3, 3)
    skeleton : str
        Of ``people``.
    """
    seen = np.isfinite(pixels).all(-1)  # (frames, joints)
    before = np.logical_or.accumulate(seen)
    after = np.logical_or.accumulate(seen[::-1])[::-1]
    hidden = np.where(before & after, Origin.INTERPOLATED, Origin.PREDICTED)
    sightings = Sightings(0.0)
    begin_ns = stamps_ns[0]
    for stamp_ns, person in zip(stamps_ns, people, strict=True):
        if person is not None:
            sightings.add((stamp_ns - begin_ns) / NANOSECONDS, in_h36m17(person, skeleton))
    result: list[Person | None] = []
    for k, person in enumerate(people):
        if person is None:
            result.append(None)
            continue
        known = before[k] | after[k]
        confidence, _ = sightings.confidence((stamps_ns[k] - begin_ns) / NANOSECONDS)
        observed = in_h36m17(person, skeleton).origin
        result.append(
            Person(
                keypoints=np.where(known[:, None], poses_m[k], np.nan),
                joint_confidence=np.where(known, confidence, 0.0),
                confidence=person.confidence,
                number=person.number,
                root_relative=True,
                origin=np.where(seen[k], observed, hidden[k]).astype(np.uint8),
                covariance=np.where(known[:, None, None], covariance_m2[k], np.nan),
            )
        )
    return result


def in_h36m17(person: Person, skeleton: str) -> Person:
    """Return a person in an image with the joints of H36M17.

    A joint that is made of several is as sure as the least sure of them, and OBSERVED if all are.
    """
    origin = np.zeros(len(person.keypoints)) if person.origin is None else person.origin
    carried = mapping.carry(origin, skeleton, H36M17.name, np.max)
    return replace(
        person,
        keypoints=mapping.convert(person.keypoints, skeleton, H36M17.name),
        joint_confidence=mapping.carry(person.joint_confidence, skeleton, H36M17.name),
        origin=np.nan_to_num(carried).astype(np.uint8),
    )
