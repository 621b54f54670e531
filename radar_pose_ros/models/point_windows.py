"""What `PointPose` looks at: of each person in a radar's clouds, the points of the last frames.

The network is made for one person, and for frames that are a tenth of a second apart. So time is
cut into such frames, and people are followed (`radar.tracking`).

**Frames.** Each cloud belongs to the frame of its time; clouds of a faster radar share one. Stamps
are late now and then, but hardly early: a cloud that is late by less than 0.7 periods is still of
its frame. Frames for which none came stay, without points. A gap longer than the window, or time
that goes back, empties it.

**People.** A tracker that tells two walkers apart also takes arms that are stretched out for other
people, and reflections in a wall: of MARS's one person it makes two or more in most frames. So
here a body is wider, and takes more echoes to begin, than the tracker's own settings say; and of
those whom it follows the `most_people` are taken that show the most points. Each of them gets all
points far around that are not another's, for a network that has learnt from one person in a room
reads reflections, too: of people it has not seen, MARS's one by one, it was 0.1 cm
farther off than with all points; with those within 1.5 m it was by 2.4 cm.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from radar_pose_ros.models.points import VALUES, PointPoseConfig, choose_points
from radar_pose_ros.radar.tracking import FARTHEST_M, PeopleTracker, TrackerSettings

NANOSECONDS = 1_000_000_000
# Tried on MARS, where there is one person, and on simulated crowds [choice].
TRACKER = TrackerSettings(body_sigma_m=0.4, start_points=30)
REACH_M = 3.0  # from the middle of a body, on the floor plan, its points are looked for [choice]
# Somebody else has so many of the points of the most visible person, or is a reflection [choice].
# With it MARS's one person is one in 99 % of the frames, in the worst of 12 movements in 91 %.
PERSON_SHARE = 0.3
# Who is told stays so until another has so many times the points [choice].
_CLEARLY = 1.5
# A pose takes so many frames with points. Of people it has not seen, on MARS, the network was
# 15.1 cm off with all 24, 19.5 cm with the last 6, and 21.8 cm with the last 4, ...
FEWEST_SEEN = 6
# ... and 16 cm if the newest frame was empty, 21 cm if the last 5 were, 29 cm for 10.
LONGEST_UNSEEN = 5
# Of a period: a cloud that is earlier shares the frame before; and how fast frames may become
# later, for a radar's clock is not the host's [choice].
_EARLY, _DRIFT = 0.3, 0.01
_STEPS = 15  # for the rate


class PersonWindow(NamedTuple):
    """One person's last frames.

    Attributes
    ----------
    id : int
        From 1 on, the same for the same person.
    points : ndarray of float32, shape (frames, points, 5)
        For `PointPose`: oldest frame first, NaN where there is no point.
    seen : ndarray of bool, shape (frames,)
        Frames with a point of theirs.
    """

    id: int
    points: np.ndarray
    seen: np.ndarray

    def tells(self, frame: int) -> bool:
        """Return whether enough was seen to estimate the pose in a frame."""
        seen = np.flatnonzero(self.seen)
        if len(seen) < FEWEST_SEEN:
            return False
        return bool(np.abs(seen - frame % len(self.seen)).min() <= LONGEST_UNSEEN)


class WindowStatistics(NamedTuple):
    """What came.

    Attributes
    ----------
    clouds : int
    lost : int
        Frames without a cloud, between others.
    repeated : int
        Clouds with the stamp of the one before, which were not used.
    emptied : int
        How often a gap or a jump in time emptied the window.
    """

    clouds: int = 0
    lost: int = 0
    repeated: int = 0
    emptied: int = 0


@dataclass
class _Frame:
    stamp_ns: int  # of its newest cloud
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, VALUES)))
    owner: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # track, 0: nobody
    place_m: dict[int, np.ndarray] = field(default_factory=dict)  # by track, x and y
    counts: Counter[int] = field(default_factory=Counter)  # points by track


class PointWindows:
    """The last frames of a stream of clouds, by person.

    Parameters
    ----------
    config : PointPoseConfig
        Says how many frames of how many points a window has, and how far apart they are.
    most_people : int
        No more are told.
    """

    def __init__(self, config: PointPoseConfig, most_people: int = 4) -> None:
        self.config, self.most_people = config, most_people
        self.statistics = WindowStatistics()
        self._tracker = PeopleTracker(TRACKER)
        self._period_ns = round(NANOSECONDS / config.rate_hz)
        self._frames: deque[_Frame] = deque(maxlen=config.frames)
        self._due_ns = 0  # when the newest frame began
        self._steps_ns: deque[int] = deque(maxlen=_STEPS)
        self._first_ns: dict[int, int] = {}  # by track
        self._told: list[int] = []
        self._others: list[int] = []

    @property
    def stamps_ns(self) -> list[int]:
        """Stamps of the frames, oldest first; where no cloud came, when it should have come."""
        return [frame.stamp_ns for frame in self._frames]

    @property
    def rate_hz(self) -> float:
        """Clouds per second, by the median of the last steps between them; NaN at first."""
        return NANOSECONDS / float(np.median(self._steps_ns)) if self._steps_ns else np.nan

    def add(self, points: np.ndarray, stamp_ns: int) -> int:
        """Take a cloud.

        Parameters
        ----------
        points : ndarray, shape (n, 5)
            x, y, z in m in the radar's frame, radial velocity in m/s, strength in dB, both NaN
            where unknown. Points without a place, or from farther than `FARTHEST_M`, are none.
        stamp_ns : int

        Returns
        -------
        int
            0, or the step in time, in ns, that emptied the window.

        Raises
        ------
        ValueError
            If the points have another shape.
        """
        cloud = np.asarray(points, np.float64)
        if cloud.ndim != 2 or cloud.shape[1] != VALUES:
            raise ValueError(
                f"points must be (n, {VALUES}): x, y, z, speed, strength, NaN where unknown; got "
                f"{cloud.shape}"
            )
        count = self.statistics
        count = count._replace(clouds=count.clouds + 1)
        jump_ns = 0
        if self._frames:
            step_ns = stamp_ns - self._frames[-1].stamp_ns
            ahead = int((stamp_ns - self._due_ns) / self._period_ns + _EARLY)
            if step_ns == 0:
                self.statistics = count._replace(repeated=count.repeated + 1)
                return 0
            if step_ns < 0 or ahead > self.config.frames:
                jump_ns = step_ns
                count = count._replace(emptied=count.emptied + 1)
                self._frames.clear()
            else:
                count = count._replace(lost=count.lost + max(ahead - 1, 0))
                self._steps_ns.append(step_ns)
                self._go_on(ahead, stamp_ns)
        if not self._frames:
            self._frames.append(_Frame(stamp_ns))
            self._due_ns = stamp_ns
        self.statistics = count
        self._follow(cloud[(np.abs(cloud[:, :3]) < FARTHEST_M).all(axis=1)], stamp_ns)
        return jump_ns

    def _go_on(self, ahead: int, stamp_ns: int) -> None:
        """Begin so many frames, of which the last one's cloud has come."""
        for _ in range(ahead - 1):
            self._due_ns += self._period_ns
            self._frames.append(_Frame(self._due_ns))
        if ahead:
            latest_ns = self._due_ns + round((1 + _DRIFT) * self._period_ns)
            self._due_ns = min(stamp_ns, latest_ns)
            self._frames.append(_Frame(stamp_ns))

    def _follow(self, points: np.ndarray, stamp_ns: int) -> None:
        """Note the newest frame's points, whose they are, and where people are."""
        people = self._tracker.update(points, stamp_ns / NANOSECONDS)
        owner = np.zeros(len(points), np.int64)
        for person in people:
            owner[person.points] = person.id
        frame = self._frames[-1]
        frame.stamp_ns = stamp_ns
        frame.points = np.concatenate([frame.points, points])
        frame.owner = np.concatenate([frame.owner, owner])
        frame.place_m |= {person.id: person.position_m[:2] for person in people}
        frame.counts.update(owner.tolist())
        first_ns = {p.id: stamp_ns - round(p.age_s * NANOSECONDS) for p in people}
        self._first_ns = {track: self._first_ns.get(track, first_ns[track]) for track in first_ns}
        self._choose()

    def _choose(self) -> None:
        """Choose who is told, and who else is there."""
        counts = {track: sum(f.counts[track] for f in self._frames) for track in self._first_ns}
        least = PERSON_SHARE * max(counts.values(), default=0)
        before = {*self._told}
        weight = {t: n * (_CLEARLY if t in before else 1) for t, n in counts.items()}
        people = [t for t in sorted(counts, key=lambda t: -weight[t]) if weight[t] >= least]
        self._told = sorted(people[: self.most_people])
        self._others = people[self.most_people :]

    def people(self) -> list[PersonWindow]:
        """Return the windows of people who are followed, in the order in which they came."""
        nobody = np.zeros((0, VALUES))
        shares = [self._shares(frame) for frame in self._frames]
        found = []
        for track in self._told:
            clouds = [nobody] * (self.config.frames - len(shares))
            clouds += [share.get(track, nobody) for share in shares]
            points = np.stack([choose_points(cloud, self.config.points) for cloud in clouds])
            found.append(PersonWindow(track, points, np.array([len(c) > 0 for c in clouds])))
        return found

    def _shares(self, frame: _Frame) -> dict[int, np.ndarray]:
        """Return the points of a frame, by person.

        Before somebody was followed, their first echoes are theirs, if they are where they came to
        be then.
        """
        since_ns = frame.stamp_ns + self._period_ns // 2  # seconds are rounded
        told = [track for track in self._told if since_ns >= self._first_ns[track]]
        if not told or not len(frame.points):
            return {}
        places_m = np.stack([self._place(frame, track) for track in told])
        apart_m = np.linalg.norm(frame.points[:, None, :2] - places_m, axis=-1)
        apart_m[np.isin(frame.owner, self._others)] = np.inf
        for column, track in enumerate(told):
            mine = frame.owner == track
            apart_m[mine] = np.inf
            apart_m[mine, column] = 0.0
        nearest = np.where(apart_m.min(axis=1) < REACH_M, apart_m.argmin(axis=1), -1)
        return {track: frame.points[nearest == column] for column, track in enumerate(told)}

    def _place(self, frame: _Frame, track: int) -> np.ndarray:
        if track in frame.place_m:
            return frame.place_m[track]
        return next(f.place_m[track] for f in self._frames if track in f.place_m)
