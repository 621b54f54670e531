"""Follows several people through one radar's point clouds.

A person is a point on the floor plan with a velocity, and echoes scattered about it. Each cloud is
used in three steps:

1. Every echo goes to the person who explains it best, by place and radial velocity; but of echoes
   that are two people's, only the part that is nearer.
2. People are brought to the mean of their echoes by a Kalman filter. Who has none slows down, and
   is given up after a while.
3. Moving echoes that nobody explained in the last half second form groups. Groups go to people
   whose place is no longer known well, one to one, at the least total distance. Of the others, one
   that is dense enough is a new person; straight behind somebody, where ghosts appear, it has to
   be denser.

Places are measured by range and azimuth, so their noise is an ellipse that turns with the bearing
and widens with the distance; its mean is converted to the floor plan, where the filter is linear
(converted measurements; the bias of that, half the range times the azimuth's variance, is 4 mm at
5 m). The radial velocity is a third, linear measurement, along the bearing of the echoes.

Echoes at zero radial velocity are furniture as often as people: they are handed to whoever stands
there, but neither start nor move nor keep anybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

# Echoes from nearer are the antenna's own, none come from farther.
NEAREST_M, FARTHEST_M = 0.2, 200.0
FASTEST_MPS = 50.0
# 99 % of a normal distribution in two dimensions lie within this squared distance.
_GATE = 9.21
# A limb's radial velocity may differ much from its body's: that counts no more than this.
_LARGEST_DOPPLER_COST = 6.0
# Standard deviations between two halves of one person's echoes: a normal distribution cut in the
# middle gives 1.6, a uniform one 1.7. From here on they are taken for two people.
_TWO_PEOPLE = 3.0
_FEWEST_OF_TWO = 3
# People are looked for by their echoes while their place is known so well, by groups after that.
_SURE_M = 0.4
_BEHIND = 3  # times as many echoes start somebody straight behind another, where ghosts appear
_STILL_ECHO_MPS = 0.05
_LIMBS = 0.4  # standard deviation of a walker's parts' speeds, as share of the walker's
_FREE_LIMBS = 4  # parts of a body whose radial velocities differ independently
_WALKING_MPS = 1.0
_STOP_S = 0.5  # in which a walker stops
_HEIGHT_SHARE = 0.1  # of a cloud in the height
# How much longer somebody is waited for, for each echo in the very middle of a person whose place
# and velocity are known. Others count by their density: a person's 2^-1.5 of that, on average, so
# that 3 a second keep one; clutter of one piece a second on every square metre counts 0.15, if its
# radial velocity is off by 0.6 m/s.
_WAIT_S = 1.0
# Left-over echoes that are kept of one cloud, and of all.
_MOST_NEW, _MOST_LEFT = 100, 400


@dataclass(frozen=True)
class TrackerSettings:
    """How people move, what a radar sees of them, and how long is waited.

    Sizes and noise are physics and anatomy. How many echoes make a person and how long is waited
    are choices, tried on simulated crowds.

    Parameters
    ----------
    body_sigma_m : float
        Scatter of one person's echoes about the middle, each way: a trunk of 0.45 m by 0.25 m,
        with arms and legs that swing by as much.
    wander_sigma_m : float
        How far the mean of many echoes is off the body's middle, from one moment to the next:
        what reflects is not the same part of it all the time.
    range_sigma_m, azimuth_sigma_rad, doppler_sigma_mps : float
        Of one echo. Eight antennas half a wavelength apart have a beam of 0.22 rad, which locates
        an echo of 15 dB to 0.22 / sqrt(2 * 31.6) = 0.03 rad, and two echoes within it less well.
        The radial velocity's is that of parts of a body that stands; of one that walks, 0.4 of
        the speed is added (squared), for legs and arms are between 0 and 2 times as fast.
    acceleration_psd : float
        Spectral density of the acceleration, m^2/s^3: walkers start, stop and turn with
        1 m/s^2 for half a second, and 2 * 1^2 * 0.5 = 1.
    start_points : int
        So many moving echoes within `start_s` make a person.
    start_s : float
        How long echoes that nobody explains are remembered; half of it is the least time in which
        somebody appears.
    patience_s, still_patience_s : float
        A person is given up when unseen for so long, or for as long as they were known, if that
        is less. The second is for those who stood still, slower than `still_mps`: radars that
        remove still echoes see of them what their breathing shows, and a slow breath takes 5 s.
    still_mps : float
    most_people : int
        Nobody starts beyond that number.
    room_m : tuple of float
        Smallest and largest x, smallest and largest y: echoes from elsewhere are nobody's. Walls
        are mirrors for a radar, and what they show appears behind them.

    Raises
    ------
    ValueError
        If a value is not above 0, or the room is empty.
    """

    body_sigma_m: float = 0.2
    wander_sigma_m: float = 0.1
    range_sigma_m: float = 0.05
    azimuth_sigma_rad: float = 0.04
    doppler_sigma_mps: float = 0.3
    acceleration_psd: float = 1.0
    start_points: int = 10
    start_s: float = 0.5
    patience_s: float = 1.5
    still_patience_s: float = 5.0
    still_mps: float = 0.4
    most_people: int = 20
    room_m: tuple[float, float, float, float] = (-math.inf, math.inf, -math.inf, math.inf)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name != "room_m" and not 0 < value < math.inf:
                raise ValueError(f"{entry.name} must be above 0 and finite, got {value!r}")
        room_m = self.room_m
        if len(room_m) != 4 or not (room_m[0] < room_m[1] and room_m[2] < room_m[3]):
            raise ValueError(f"room_m wants x from, x to, y from, y to, rising, got {room_m!r}")


class TrackedPerson(NamedTuple):
    """A person after an update; arrays in the radar's link frame, x forward, y left, z up.

    Attributes
    ----------
    id : int
        From 1 on, never used again.
    position_m : ndarray, shape (3,)
        The height is the mean of the echoes', smoothed.
    velocity_mps : ndarray, shape (3,)
        Vertical: NaN, it is not estimated.
    extent_m : ndarray, shape (3,)
        Largest minus smallest coordinate of this cloud's echoes; NaN without echoes.
    points : ndarray of int, shape (n,)
        Which rows of the cloud are theirs, rising; empty if unseen.
    age_s : float
        Since the first of their echoes.
    misses : int
        Clouds in a row, up to this one, without a moving echo of theirs.
    """

    id: int
    position_m: np.ndarray
    velocity_mps: np.ndarray
    extent_m: np.ndarray
    points: np.ndarray
    age_s: float
    misses: int


class TrackerStatistics(NamedTuple):
    """What was not used.

    Attributes
    ----------
    clouds : int
    points : int
        Among all clouds.
    points_dropped : int
        Not finite, not between `NEAREST_M` and `FARTHEST_M` from the radar, or not in the room.
    clouds_without_time : int
        Their time was not finite; nothing of them was used.
    restarts : int
        Time went back, or further forward than anybody is waited for: all people were given up.
    """

    clouds: int = 0
    points: int = 0
    points_dropped: int = 0
    clouds_without_time: int = 0
    restarts: int = 0


class _Echoes(NamedTuple):
    """Usable points of a cloud."""

    rows: np.ndarray  # (n,) in the cloud as it was given
    place_m: np.ndarray  # (n, 3)
    doppler: np.ndarray  # (n,), NaN unknown
    moving: np.ndarray  # (n,) bool

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, chosen: np.ndarray) -> _Echoes:
        return _Echoes(*(values[chosen] for values in self))


class _Group(NamedTuple):
    """Left-over echoes that lie together."""

    rows: np.ndarray  # (n,) among all that are left over, oldest first
    left: np.ndarray  # (n, 6), see `PeopleTracker._remember`
    place_m: np.ndarray  # (n, 2), where they would be now
    densest: int  # most of them that are within a body's reach of one

    @property
    def newest(self) -> np.ndarray:
        """Those of this cloud."""
        return self.left[self.left[:, 5] >= 0]


@dataclass
class _Person:
    """State: x, y, and their rates."""

    mean: np.ndarray
    covariance: np.ndarray
    height_m: float
    first_s: float
    id: int
    wait_s: float  # 0: given up
    misses: int = 0
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.intp))
    extent_m: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))

    @property
    def speed_mps(self) -> float:
        return float(np.hypot(*self.mean[2:]))

    @property
    def sigma_m(self) -> float:
        """Largest standard deviation of the place."""
        return math.sqrt(float(np.linalg.eigvalsh(self.covariance[:2, :2])[-1]))

    def note(self, rows: np.ndarray, place_m: np.ndarray) -> None:
        """Note this cloud's echoes: rows in it, and places (n, 3)."""
        self.rows = rows
        self.extent_m = np.ptp(place_m, axis=0) if len(rows) else np.full(3, np.nan)


class PeopleTracker:
    """Follows people from cloud to cloud.

    Parameters
    ----------
    settings : TrackerSettings, optional

    Notes
    -----
    Points have to be in the frame of the radar that saw them: their noise, and what their radial
    velocity means, depend on where it is. Work grows with points times people; groups are formed
    of a bounded number of echoes, however many are left over.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = TrackerSettings() if settings is None else settings
        self.statistics = TrackerStatistics()
        self._people: list[_Person] = []
        self._last_id = 0
        self._time_s = math.nan
        self._forget_leftovers()

    def update(self, points: np.ndarray, time_s: float) -> list[TrackedPerson]:
        """Use one cloud.

        Parameters
        ----------
        points : ndarray, shape (n, 3) or (n, 5)
            x, y, z in m, and radial velocity in m/s, positive moving away, and signal-to-noise
            ratio in dB; NaN where unknown. Without velocities all points count as moving.
        time_s : float
            When it was measured, on any clock that runs on.

        Returns
        -------
        list of TrackedPerson
            Oldest first; people who are not seen at present among them.

        Raises
        ------
        ValueError
            If the points do not have that shape, or are no real numbers.
        """
        cloud = _checked(points)
        count = self.statistics
        self.statistics = count = count._replace(
            clouds=count.clouds + 1, points=count.points + len(cloud)
        )
        if not math.isfinite(time_s):
            self.statistics = count._replace(clouds_without_time=count.clouds_without_time + 1)
            for person in self._people:
                person.note(np.zeros(0, np.intp), np.zeros((0, 3)))
            return self._report()
        echoes = _usable(cloud, self.settings.room_m)
        self.statistics = count._replace(
            points_dropped=count.points_dropped + len(cloud) - len(echoes)
        )
        elapsed_s = self._elapsed(time_s)
        for person in self._people:
            self._predict(person, elapsed_s)
        owner = self._claim(echoes)
        self._remember(echoes.at((owner < 0) & echoes.moving), time_s)
        for number, person in enumerate(self._people):
            self._observe(person, echoes.at(owner == number))
        self._use_groups(time_s)
        self._people = [person for person in self._people if person.wait_s > 0]
        return self._report()

    def _report(self) -> list[TrackedPerson]:
        return [
            TrackedPerson(
                id=person.id,
                position_m=np.array([*person.mean[:2], person.height_m]),
                velocity_mps=np.array([*person.mean[2:], np.nan]),
                extent_m=person.extent_m,
                points=person.rows,
                age_s=self._time_s - person.first_s,
                misses=person.misses,
            )
            for person in self._people
        ]

    def _elapsed(self, time_s: float) -> float:
        """Return the time since the last cloud; start anew if the clock jumped."""
        elapsed_s = time_s - self._time_s
        self._time_s = time_s
        if math.isnan(elapsed_s):
            return 0.0
        if 0 <= elapsed_s <= self.settings.still_patience_s:
            return elapsed_s
        self._people = []
        self._forget_leftovers()
        self.statistics = self.statistics._replace(restarts=self.statistics.restarts + 1)
        return 0.0

    def _predict(self, person: _Person, elapsed_s: float) -> None:
        settings = self.settings
        still = person.misses and person.speed_mps < settings.still_mps
        if still:  # moving, they would have been seen
            person.mean[2:] = 0.0
            person.covariance[:2, 2:] = person.covariance[2:, :2] = 0.0
            person.covariance[2:, 2:] = settings.still_mps**2 * np.eye(2)
        elif person.misses:  # hidden, or they stop
            person.mean[2:] *= math.exp(-elapsed_s / _STOP_S)
        move = np.eye(4)
        move[[0, 1], [2, 3]] = elapsed_s
        person.mean = move @ person.mean
        noise = np.array([[elapsed_s**3 / 3, elapsed_s**2 / 2], [elapsed_s**2 / 2, elapsed_s]])
        person.covariance = move @ person.covariance @ move.T
        if not still:
            person.covariance += settings.acceleration_psd * np.kron(noise, np.eye(2))
        person.wait_s -= elapsed_s

    def _behind(self, place_m: np.ndarray, person: _Person) -> bool:
        """Return whether a place is straight behind a person, as the radar sees it."""
        axes, distance_m = _polar_axes(place_m)
        ahead_m, beside_m = axes @ (person.mean[:2] - place_m)
        ray_m = abs(beside_m) * distance_m / max(distance_m + ahead_m, NEAREST_M)
        return bool(ahead_m < 0 and ray_m < 2 * self._scatter(distance_m)[1])

    def _claim(self, echoes: _Echoes) -> np.ndarray:
        """Return who explains each echo best, as index into the people, -1 for nobody; (n,)."""
        owner = np.full(len(echoes), -1)
        known = [k for k, person in enumerate(self._people) if person.sigma_m < _SURE_M]
        if not known or not len(echoes):
            return owner
        people = [self._people[k] for k in known]
        density = np.stack(
            [self._log_density(who, echoes.place_m, echoes.doppler)[0] for who in people]
        )
        claimed = density.max(axis=0) > -np.inf
        owner[claimed] = np.asarray(known)[density.argmax(axis=0)[claimed]]
        for number, person in zip(known, people, strict=True):
            owner[self._second_person(person, echoes, owner == number)] = -1
        return owner

    def _log_density(
        self, person: _Person, place_m: np.ndarray, doppler: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """How well echoes fit a person; logarithms of densities but for the same constant.

        Returns
        -------
        each : ndarray, shape (n,)
            Of each echo, if it is this person's; -inf beyond the gate.
        peak : float
            In the very middle of the person, if place and velocity were known exactly.
        """
        axes, distance_m = _polar_axes(person.mean[:2])
        scatter = np.diag(self._scatter(distance_m) ** 2)
        place = axes @ person.covariance[:2, :2] @ axes.T + scatter
        offset = (place_m[:, :2] - person.mean[:2]) @ axes.T
        apart = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(place), offset)
        body = self._doppler_variance(person)
        variance = body + float(axes[0] @ person.covariance[2:, 2:] @ axes[0])
        doppler_cost = (doppler - axes[0] @ person.mean[2:]) ** 2 / variance
        doppler_cost = np.where(np.isnan(doppler_cost), 1.0, doppler_cost)
        cost = apart + np.minimum(doppler_cost, _LARGEST_DOPPLER_COST)
        each = -0.5 * (cost + math.log(float(np.linalg.det(place)) * variance))
        peak = -0.5 * math.log(float(np.linalg.det(scatter)) * body)
        return np.where(apart < _GATE, each, -np.inf), peak

    def _doppler_variance(self, person: _Person) -> float:
        """Of one echo's radial velocity about the person's, (m/s)^2."""
        return self.settings.doppler_sigma_mps**2 + (_LIMBS * person.speed_mps) ** 2

    def _second_person(self, person: _Person, echoes: _Echoes, mine: np.ndarray) -> np.ndarray:
        """Return which of somebody's echoes are another person's who stands close by; bool (n,).

        They are cut in two across their longest axis; the part farther from where the person is
        expected is somebody else's if the means are as far apart as two people stand.
        """
        other = np.zeros(len(echoes), bool)
        used = np.flatnonzero(mine & echoes.moving)
        axes, distance_m = _polar_axes(person.mean[:2])
        scaled = (echoes.place_m[used, :2] - person.mean[:2]) @ axes.T / self._scatter(distance_m)
        centred = scaled - scaled.mean(axis=0) if len(scaled) else scaled
        part = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1] > 0
        for _ in range(3):
            if min(part.sum(), (~part).sum()) < _FEWEST_OF_TWO:
                return other
            means = np.stack([scaled[~part].mean(axis=0), scaled[part].mean(axis=0)])
            apart = ((scaled[:, None] - means) ** 2).sum(axis=-1)
            part = apart[:, 1] < apart[:, 0]
        if math.dist(*means) >= _TWO_PEOPLE:
            nearer = bool((means[1] ** 2).sum() < (means[0] ** 2).sum())
            other[used[part != nearer]] = True
        return other

    def _scatter(self, distance_m: float) -> np.ndarray:
        """Standard deviation of one person's echoes, radially and across, m."""
        settings = self.settings
        across_m = settings.azimuth_sigma_rad * distance_m
        return np.hypot(settings.body_sigma_m, [settings.range_sigma_m, across_m])

    def _observe(self, person: _Person, echoes: _Echoes) -> None:
        """Note somebody's echoes in this cloud, and move the person to those that move."""
        person.note(echoes.rows, echoes.place_m)
        moving = echoes.at(echoes.moving)
        if len(moving):
            self._measure(person, moving.place_m, moving.doppler)
        else:
            person.misses += 1

    def _measure(self, person: _Person, place_m: np.ndarray, doppler: np.ndarray) -> None:
        """Bring the state to the mean of its echoes, by a Kalman filter."""
        settings = self.settings
        self._wait_for(person, place_m, doppler)
        mean_m = place_m.mean(axis=0)
        axes, distance_m = _polar_axes(mean_m[:2])
        variance = self._scatter(distance_m) ** 2 / len(place_m) + settings.wander_sigma_m**2
        observe = np.zeros((3, 4))
        observe[:2, :2] = np.eye(2)
        observe[2, 2:] = axes[0] * distance_m / float(np.linalg.norm(mean_m))
        noise = np.zeros((3, 3))
        noise[:2, :2] = axes.T @ np.diag(variance) @ axes
        told = doppler[np.isfinite(doppler)]
        noise[2, 2] = self._doppler_variance(person) / min(max(len(told), 1), _FREE_LIMBS)
        value = np.array([*mean_m[:2], np.median(told) if len(told) else 0.0])
        size = 3 if len(told) else 2
        observe, noise, value = observe[:size], noise[:size, :size], value[:size]
        covariance = person.covariance
        innovation = observe @ covariance @ observe.T + noise
        gain = np.linalg.solve(innovation, observe @ covariance).T
        person.mean = person.mean + gain @ (value - observe @ person.mean)
        rest = np.eye(4) - gain @ observe
        person.covariance = rest @ covariance @ rest.T + gain @ noise @ gain.T
        person.height_m += _HEIGHT_SHARE * (float(mean_m[2]) - person.height_m)
        person.misses = 0

    def _wait_for(self, person: _Person, place_m: np.ndarray, doppler: np.ndarray) -> None:
        """Add to the time that somebody is waited for, by echoes not yet used."""
        settings = self.settings
        each, peak = self._log_density(person, place_m, doppler)
        still = person.speed_mps < settings.still_mps
        patience_s = settings.still_patience_s if still else settings.patience_s
        known_s = max(self._time_s - person.first_s, settings.start_s)
        longer_s = person.wait_s + _WAIT_S * float(np.exp(each - peak).sum())
        person.wait_s = min(longer_s, patience_s, known_s)

    def _forget_leftovers(self) -> None:
        self._left = np.zeros((0, 6))  # time, x, y, z, radial velocity, row

    def _remember(self, echoes: _Echoes, time_s: float) -> None:
        """Keep echoes that move and that nobody explains, for as long as `start_s`.

        Their row is that in this cloud, -1 if they are older: two clouds may have the same time.
        """
        self._left[:, 5] = -1
        times_s = np.full(len(echoes), time_s)
        new = np.column_stack([times_s, echoes.place_m, echoes.doppler, echoes.rows])
        left = np.concatenate([self._left, _thinned(new, _MOST_NEW)])
        left = left[left[:, 0] >= time_s - self.settings.start_s]
        self._left = _thinned(left, _MOST_LEFT)

    def _use_groups(self, time_s: float) -> None:
        """Give groups of left-over echoes to people who are lost, and start people by the rest."""
        groups = self._groups(time_s)
        found = self._found_again(groups)
        used = np.zeros(len(self._left), bool)
        for number, group in enumerate(groups):
            person = found.get(number)
            if person:
                newest = group.newest
                self._measure(person, newest[:, 1:4], newest[:, 4])
                person.note(newest[:, 5].astype(np.intp), newest[:, 1:4])
            elif self._is_person(group, time_s):
                self._start(group)
            else:
                continue
            used[group.rows] = True
        self._left = self._left[~used]

    def _groups(self, time_s: float) -> list[_Group]:
        """Return left-over echoes that lie together, if this cloud has some of them.

        DBSCAN: echoes with enough others within a body's reach, and those others.
        """
        settings, left = self.settings, self._left
        if not len(left):
            return []
        place_m = _carried_on(left, time_s)
        distance_m = np.hypot(*place_m.T)
        bearing = np.arctan2(place_m[:, 1], place_m[:, 0])
        reach_m = 2 * settings.body_sigma_m
        across_m = np.hypot(reach_m, 2 * settings.azimuth_sigma_rad * distance_m)
        pairs = cKDTree(place_m).query_pairs(float(across_m.max()), output_type="ndarray")
        first, second = pairs.T
        turn = np.angle(np.exp(1j * (bearing[first] - bearing[second])))
        beside = turn * (distance_m[first] + distance_m[second]) / (2 * across_m[first])
        ahead = (distance_m[first] - distance_m[second]) / reach_m
        near = np.hypot(ahead, beside) < 1
        first, second = first[near], second[near]
        neighbours = 1 + np.bincount(np.concatenate([first, second]), minlength=len(left))
        core = neighbours >= settings.start_points / 2
        joined = core[first] | core[second]
        first, second = first[joined], second[joined]
        links = coo_array((np.ones(len(first)), (first, second)), shape=(len(left),) * 2)
        _, label = connected_components(links, directed=False)
        members = (np.flatnonzero(label == number) for number in np.unique(label[core]))
        return [
            _Group(rows, left[rows], place_m[rows], int(neighbours[rows].max()))
            for rows in members
            if left[rows[-1], 5] >= 0
        ]

    def _found_again(self, groups: list[_Group]) -> dict[int, _Person]:
        """Return which of the lost stands in which group, at the least total distance."""
        lost = [person for person in self._people if person.sigma_m >= _SURE_M]
        if not lost or not groups:
            return {}
        cost = np.empty((len(lost), len(groups)))
        for i, person in enumerate(lost):
            axes, distance_m = _polar_axes(person.mean[:2])
            scatter = axes.T @ np.diag(self._scatter(distance_m) ** 2) @ axes
            inverse = np.linalg.inv(person.covariance[:2, :2] + scatter)
            for j, group in enumerate(groups):
                offset = group.place_m.mean(axis=0) - person.mean[:2]
                cost[i, j] = offset @ inverse @ offset
        chosen = zip(*linear_sum_assignment(np.minimum(cost, _GATE)), strict=True)
        return {j: lost[i] for i, j in chosen if cost[i, j] < _GATE}

    def _is_person(self, group: _Group, time_s: float) -> bool:
        """Return whether a group of left-over echoes is somebody new."""
        settings = self.settings
        if len(self._people) >= settings.most_people:
            return False
        if time_s - group.left[0, 0] < settings.start_s / 2:
            return False
        wanted = settings.start_points
        mean_m = group.place_m.mean(axis=0)
        for person in self._people:
            if self._behind(mean_m, person):
                wanted = _BEHIND * settings.start_points
        return group.densest >= wanted

    def _start(self, group: _Group) -> None:
        settings = self.settings
        mean_m = group.place_m.mean(axis=0)
        axes, distance_m = _polar_axes(mean_m)
        told = group.left[np.isfinite(group.left[:, 4]), 4]
        radial_mps = float(np.median(told)) if len(told) else 0.0
        radial_sigma_mps = settings.doppler_sigma_mps if len(told) else _WALKING_MPS
        place = axes.T @ np.diag(self._scatter(distance_m) ** 2 / len(group.rows)) @ axes
        covariance = np.zeros((4, 4))
        covariance[:2, :2] = place + settings.wander_sigma_m**2 * np.eye(2)
        covariance[2:, 2:] = axes.T @ np.diag([radial_sigma_mps**2, _WALKING_MPS**2]) @ axes
        self._last_id += 1
        person = _Person(
            mean=np.concatenate([mean_m, radial_mps * axes[0]]),
            covariance=covariance,
            height_m=float(group.left[:, 3].mean()),
            first_s=float(group.left[0, 0]),
            id=self._last_id,
            wait_s=settings.start_s,
        )
        newest = group.newest
        person.note(newest[:, 5].astype(np.intp), newest[:, 1:4])
        self._people.append(person)


def _checked(points: np.ndarray) -> np.ndarray:
    cloud = np.asarray(points)
    if cloud.dtype.kind not in "biuf":
        raise ValueError(f"points must be real numbers, got {cloud.dtype}")
    if cloud.ndim != 2 or cloud.shape[1] not in (3, 5):
        raise ValueError(
            "points want the shape (n, 3), x y z, or (n, 5), with radial velocity and "
            f"signal-to-noise ratio, got {cloud.shape}"
        )
    return cloud.astype(np.float64)


def _usable(cloud: np.ndarray, room_m: tuple[float, float, float, float]) -> _Echoes:
    place_m = cloud[:, :3]
    finite = np.isfinite(place_m).all(axis=1) & (np.abs(place_m) < FARTHEST_M).all(axis=1)
    floor_m = np.hypot(*np.where(finite[:, None], place_m, 0.0)[:, :2].T)
    x, y = place_m[:, 0], place_m[:, 1]
    inside = (x > room_m[0]) & (x < room_m[1]) & (y > room_m[2]) & (y < room_m[3])
    rows = np.flatnonzero(finite & inside & (floor_m > NEAREST_M))
    doppler = cloud[rows, 3] if cloud.shape[1] == 5 else np.full(len(rows), np.nan)
    doppler = np.where(np.abs(doppler) < FASTEST_MPS, doppler, np.nan)
    return _Echoes(rows, place_m[rows], doppler, ~(np.abs(doppler) < _STILL_ECHO_MPS))


def _polar_axes(place_m: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit vectors away from the radar and to the left of that, as rows, and the distance."""
    distance_m = max(float(np.hypot(*place_m)), 1e-6)
    x, y = place_m / distance_m
    return np.array([[x, y], [-y, x]]), distance_m


def _carried_on(left: np.ndarray, time_s: float) -> np.ndarray:
    """Places on the floor, now, of echoes that moved on by their radial velocity; (n, 2)."""
    place_m = left[:, 1:3]
    distance_m = np.maximum(np.hypot(*place_m.T), NEAREST_M)
    way_m = np.nan_to_num(left[:, 4]) * (time_s - left[:, 0])
    return place_m * (1 + way_m / distance_m)[:, None]


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """Return so many rows at most, evenly chosen, the last one among them."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]
