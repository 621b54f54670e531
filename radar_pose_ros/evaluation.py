"""Numbers and pictures from a bag that holds estimated poses beside the true ones.

What is needed: ``pose2d``, ``ground_truth``, and ``radar_h/heatmap``, ``radar_v/heatmap``, in
whatever namespace. A bag of `radar-pose demo` has them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from radar_pose_ros.drawing import Panel, PolarAxes, PoseFilm
from radar_pose_ros.metrics.keypoints import average_precision, oks, pck, person_area
from radar_pose_ros.preview import power_db
from radar_pose_ros.recording import BagReader, RecordingError, stamp_ns, topic_named
from radar_pose_ros.simulation.radar import default_placements
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import CAMERA_HEIGHT_M, IMAGE_SIZE_PX, project

RADARS = ("radar_h", "radar_v")
MAX_TRUTH_GAP_S = 0.25  # truth is interpolated between instants no farther apart than this
MAX_PAIR_SKEW_NS = 60_000_000  # heatmaps of both radars belong together within this
PCK_THRESHOLD = 0.2
ARRIVAL_KEY = "frame_arrival_ms"
"""What a driver calls the time from a frame's first packet to its last, in its diagnostics."""


@dataclass(frozen=True)
class Poses:
    """Estimates of one person, one per message, in order of time.

    Parameters
    ----------
    stamps_ns : int64 (n,)
        Instants that they describe.
    received_ns : int64 (n,)
        When the recorder received them.
    keypoints_px : float (n, joints, 2)
        NaN for joints that are not known, and for all of them where nobody was found.
    confidence : float (n, joints)
    model : str
        What estimated them.
    """

    stamps_ns: np.ndarray
    received_ns: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray
    model: str


@dataclass(frozen=True)
class Truth:
    """The true joints of one person.

    Parameters
    ----------
    stamps_ns : int64 (n,)
        Rising.
    joints_m : float (n, joints, 3)
        In the rig's frame.
    """

    stamps_ns: np.ndarray
    joints_m: np.ndarray

    def at(self, stamps_ns: np.ndarray) -> np.ndarray:
        """Return the joints at other instants, (m, joints, 3), by cubic splines.

        NaN before the first, after the last, and inside of gaps longer than `MAX_TRUTH_GAP_S`.
        """
        result = np.full((len(stamps_ns), *self.joints_m.shape[1:]), np.nan)
        gaps = np.flatnonzero(np.diff(self.stamps_ns) > MAX_TRUTH_GAP_S * 1e9) + 1
        for piece in np.split(np.arange(len(self.stamps_ns)), gaps):
            if len(piece) < 2:
                continue
            first, last = self.stamps_ns[piece[0]], self.stamps_ns[piece[-1]]
            inside = (stamps_ns >= first) & (stamps_ns <= last)
            spline = CubicSpline((self.stamps_ns[piece] - first) / 1e9, self.joints_m[piece])
            result[inside] = spline((stamps_ns[inside] - first) / 1e9)
        return result


@dataclass
class Heatmaps:
    """What one radar saw, reduced to what is drawn.

    Parameters
    ----------
    stamps_ns : list of int
    powers_db : list of float32 (angle, range)
        Power summed over Doppler.
    axes : PolarAxes, optional
        None before the first.
    """

    stamps_ns: list[int] = field(default_factory=list)
    powers_db: list[np.ndarray] = field(default_factory=list)
    axes: PolarAxes | None = None

    def nearest(self, instant_ns: int) -> np.ndarray | None:
        """Return the map of that instant, or None if there is none within `MAX_PAIR_SKEW_NS`."""
        if not self.stamps_ns:
            return None
        stamps = np.asarray(self.stamps_ns)
        k = int(np.argmin(np.abs(stamps - instant_ns)))
        return self.powers_db[k] if abs(stamps[k] - instant_ns) <= MAX_PAIR_SKEW_NS else None

    def stamps_near(self, instants_ns: np.ndarray) -> np.ndarray:
        """Return the stamp nearest to each instant; the instant itself if none is near."""
        if not self.stamps_ns:
            return instants_ns
        stamps = np.unique(np.asarray(self.stamps_ns, np.int64))
        place = np.searchsorted(stamps, instants_ns)
        before, after = (np.take(stamps, place - k, mode="clip") for k in (1, 0))
        nearest = np.where(instants_ns - before <= after - instants_ns, before, after)
        return np.where(np.abs(nearest - instants_ns) <= MAX_PAIR_SKEW_NS, nearest, instants_ns)


@dataclass
class Evidence:
    """All that was read from a bag.

    Parameters
    ----------
    poses : Poses
    truth : Truth
    heatmaps : dict of str to Heatmaps
        By radar.
    baseline_px : dict of int to float (joints, 2)
        What the baseline says, by the stamp of radar_h's heatmap.
    arrival_ms : dict of str to float
        By radar: time from a frame's first packet to its last; NaN if the driver does not say.
    """

    poses: Poses
    truth: Truth
    heatmaps: dict[str, Heatmaps]
    baseline_px: dict[int, np.ndarray]
    arrival_ms: dict[str, float]


def read(bag: str | Path, baseline: Any = None) -> Evidence:
    """Read what is needed from a bag.

    Parameters
    ----------
    bag : path
    baseline : models.baselines.MeanPoseBaseline, optional
        Is asked for a pose for each pair of heatmaps.

    Raises
    ------
    RecordingError
        If a topic is missing or a message is damaged.
    """
    with BagReader(bag) as reader:
        topics = reader.topics
        pose_topic = topic_named(topics, "pose2d")
        truth_topic = topic_named(topics, "ground_truth")
        poses = read_poses(reader, pose_topic)
        truth = _read_truth(reader, truth_topic)
        heatmaps, baseline_px = _read_heatmaps(reader, baseline)
        arrival_ms = _read_arrivals(reader) if "/diagnostics" in topics else {}
    return Evidence(poses, truth, heatmaps, baseline_px, arrival_ms)


def read_poses(reader: BagReader, topic: str) -> Poses:
    """Read the first person of each message of a topic of HumanPose2DArray.

    Raises
    ------
    RecordingError
        If poses are of another skeleton than HUPR14.
    """
    joints = len(HUPR14.joints)
    stamps, received, points, confidence, models = [], [], [], [], set()
    nobody = ([(math.nan, math.nan)] * joints, [0.0] * joints)
    for item in reader.messages([topic]):
        message = item.message
        # this package estimates one person
        wrong = any(len(person.keypoints) != joints for person in message.poses[:1])
        if message.skeleton != HUPR14.name or wrong:
            raise RecordingError(f"{topic}: poses are not of the skeleton {HUPR14.name}")
        keypoints = message.poses[0].keypoints if message.poses else ()
        stamps.append(stamp_ns(message))
        received.append(item.received_ns)
        points.append([(k.x, k.y) for k in keypoints] or nobody[0])
        confidence.append([k.confidence for k in keypoints] or nobody[1])
        models.add(message.model)
    return Poses(
        np.array(stamps, np.int64),
        np.array(received, np.int64),
        np.array(points, float).reshape(-1, joints, 2),
        np.array(confidence, float).reshape(-1, joints),
        ", ".join(sorted(models)),
    )


def _read_truth(reader: BagReader, topic: str) -> Truth:
    joints = len(HUPR14.joints)
    stamps, points = [], []
    for item in reader.messages([topic]):
        for person in item.message.poses[:1]:
            stamps.append(stamp_ns(item.message))
            points.append([(k.position.x, k.position.y, k.position.z) for k in person.keypoints])
    order = np.argsort(stamps, kind="stable")
    return Truth(
        np.array(stamps, np.int64)[order], np.array(points, float).reshape(-1, joints, 3)[order]
    )


def _complex_map(message: Any) -> np.ndarray:
    shape = (message.angle_bins, message.doppler_bins, message.range_bins)
    return np.ascontiguousarray(message.data, np.float32).view(np.complex64).reshape(shape)


def _read_heatmaps(
    reader: BagReader, baseline: Any
) -> tuple[dict[str, Heatmaps], dict[int, np.ndarray]]:
    radar_of = {topic_named(reader.topics, f"{radar}/heatmap"): radar for radar in RADARS}
    heatmaps = {radar: Heatmaps() for radar in RADARS}
    newest: dict[str, tuple[int, np.ndarray]] = {}
    baseline_px: dict[int, np.ndarray] = {}
    for item in reader.messages(radar_of):
        message, radar = item.message, radar_of[item.topic]
        values, when = _complex_map(message), stamp_ns(message)
        entry = heatmaps[radar]
        entry.stamps_ns.append(when)
        entry.powers_db.append(power_db(values))
        if entry.axes is None:
            entry.axes = PolarAxes(
                message.sin_angle_first,
                message.sin_angle_step,
                message.range_first_m,
                message.range_step_m,
            )
        newest[radar] = (when, values)
        if baseline is None or len(newest) < len(RADARS):
            continue
        (when_h, map_h), (when_v, map_v) = (newest[name] for name in RADARS)
        if abs(when_h - when_v) <= MAX_PAIR_SKEW_NS and when_h not in baseline_px:
            baseline_px[when_h] = np.asarray(baseline.predict(map_h, map_v))
    return heatmaps, baseline_px


def _read_arrivals(reader: BagReader) -> dict[str, float]:
    """Return, by radar, the median time from a frame's first packet to its last, in ms."""
    found: dict[str, list[float]] = {radar: [] for radar in RADARS}
    for item in reader.messages(["/diagnostics"]):
        for status in item.message.status:
            for radar, values in found.items():
                if f"/{radar}/" in status.name:
                    values += [float(v.value) for v in status.values if v.key == ARRIVAL_KEY]
    return {r: float(np.median(v)) if v else float("nan") for r, v in found.items()}


def accuracy(predicted_px: np.ndarray, true_px: np.ndarray) -> dict[str, float]:
    """Return PCK at 0.2 of the torso and AP, both in 0..1, over (n, joints, 2) poses.

    `ap` follows COCO's definition; `ap_fraction` is the mean share of frames above its thresholds,
    which does not depend on the order of the frames.
    """
    if not len(predicted_px):
        nothing = float("nan")
        return {"pck_0_2": nothing, "ap": nothing, "ap_fraction": nothing}
    similarity = oks(predicted_px, true_px, person_area(true_px))
    return {
        "pck_0_2": float(pck(predicted_px, true_px, PCK_THRESHOLD)),
        "ap": float(average_precision(similarity, definition="coco")),
        "ap_fraction": float(average_precision(similarity, definition="fraction")),
    }


def score(evidence: Evidence) -> dict[str, Any]:
    """Compare the poses and the baseline with the truth, at the same instants.

    A joint that is not known, and all of a person who was not found, count as wrong.

    Returns
    -------
    dict
        ``poses`` compared, how many of them are ``without_person``, ``pck_0_2``, ``ap``,
        ``ap_fraction``, and ``baseline`` with the same.
    """
    poses = evidence.poses
    true_px = project(evidence.truth.at(poses.stamps_ns))
    known = np.isfinite(true_px).all(axis=(1, 2))
    result: dict[str, Any] = {
        "poses": int(known.sum()),
        "without_person": int(np.isnan(poses.keypoints_px[known]).all(axis=(1, 2)).sum()),
        **accuracy(poses.keypoints_px[known], true_px[known]),
    }
    both = [k for k in np.flatnonzero(known) if int(poses.stamps_ns[k]) in evidence.baseline_px]
    baseline_px = [evidence.baseline_px[int(poses.stamps_ns[k])] for k in both]
    shape = (-1, *poses.keypoints_px.shape[1:])
    result["baseline"] = {
        "poses": len(both),
        **accuracy(np.reshape(baseline_px, shape), true_px[both]),
    }
    return result


def frame_stamps(evidence: Evidence) -> np.ndarray:
    """Return the instants of which there are heatmaps, int64 (n,), up to the last that both saw.

    The stamp is radar_h's where it has one.
    """
    stamps_h, stamps_v = (
        np.unique(np.asarray(evidence.heatmaps[radar].stamps_ns, np.int64)) for radar in RADARS
    )
    partner = evidence.heatmaps[RADARS[0]].stamps_near(stamps_v)
    both = np.intersect1d(partner, stamps_h)
    frames = np.union1d(stamps_h, partner)
    return frames[frames <= both[-1]] if len(both) else frames


def windows(evidence: Evidence, frames_ahead: int) -> dict[str, int]:
    """Return how many windows there were, from the first estimate on, and how many got none.

    Where both radars have lost a frame, the window that would end there counts as well: nothing
    arrives by which it could be estimated.

    Parameters
    ----------
    evidence : Evidence
    frames_ahead : int
        How many newer frames the estimate of an instant uses.

    Returns
    -------
    dict
        ``windows`` and ``windows_dropped``.
    """
    frames, poses = frame_stamps(evidence), evidence.poses.stamps_ns
    middles = frames[: max(len(frames) - frames_ahead, 0)]
    middles = middles[middles >= poses[0]] if len(poses) else middles
    return {
        "windows": len(middles),
        "windows_dropped": int((~np.isin(middles, poses)).sum()),
    }


def timing(evidence: Evidence, frames_ahead: int) -> dict[str, Any]:
    """Return how often and how late the poses came.

    Parameters
    ----------
    evidence : Evidence
    frames_ahead : int
        How many newer frames the estimate of an instant uses.

    Returns
    -------
    dict
        ``pose_rate_hz``; ``latency_ms``: from the arrival of the last packet of the newest frames
        that an estimate uses, at whichever radar it is later, to the estimate's arrival at the
        recorder, where no frame is missing in between; ``pose_age_ms``: from the instant that a
        pose describes to its arrival at the recorder, which contains the wait for the newer
        frames. Each with p50, p95 and p99.
    """
    poses = evidence.poses
    age_ms = (poses.received_ns - poses.stamps_ns) / 1e6
    frames = frame_stamps(evidence)
    newest = np.searchsorted(frames, poses.stamps_ns) + frames_ahead
    usable = newest < len(frames)
    newest_ns = np.take(frames, newest, mode="clip") if len(frames) else poses.stamps_ns
    if len(frames) > 1:
        period_ns = np.median(np.diff(frames))
        late_ns = newest_ns - poses.stamps_ns - frames_ahead * period_ns
        usable &= np.abs(late_ns) < period_ns / 2
    newest_ns = newest_ns[usable]
    arrival_ms = [evidence.arrival_ms.get(radar, float("nan")) for radar in RADARS]
    from_last = bool(np.isfinite(arrival_ms).all())
    ready_ns = [
        evidence.heatmaps[radar].stamps_near(newest_ns) + (int(1e6 * delay_ms) if from_last else 0)
        for radar, delay_ms in zip(RADARS, arrival_ms, strict=True)
    ]
    latency_ms = (poses.received_ns[usable] - np.max(ready_ns, axis=0)) / 1e6
    times_s = np.sort(poses.received_ns) / 1e9
    rate = (len(times_s) - 1) / (times_s[-1] - times_s[0]) if len(times_s) > 1 else float("nan")
    return {
        "pose_rate_hz": float(rate),
        "latency_ms": {
            **_percentiles(latency_ms),
            "from": "last packet" if from_last else "first packet",
        },
        "pose_age_ms": _percentiles(age_ms),
    }


def _percentiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return dict.fromkeys(("p50", "p95", "p99"), float("nan"))
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 95, 99)}


def pictures(
    evidence: Evidence,
    refined: Poses | None = None,
    lifted: tuple[np.ndarray, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Draw each pose beside the heatmaps of its instant; yields uint8 (height, width, 3).

    Parameters
    ----------
    evidence : Evidence
    refined : Poses, optional
        Are drawn instead of those of the evidence, at their instants.
    lifted : (ndarray, ndarray), optional
        Stamps in ns, int64 (n,), and joints of H36M17 in the camera's optical frame, float
        (n, 17, 3), NaN where there is no place: are drawn beside, from the side.

    Raises
    ------
    RecordingError
        If a radar has no heatmaps.
    """
    panels = []
    for radar, upright in zip(RADARS, (True, False), strict=True):
        heatmaps = evidence.heatmaps[radar]
        if heatmaps.axes is None:
            raise RecordingError(f"there are no heatmaps of {radar} to draw")
        view = "from above" if upright else "from the side"
        title = f"{radar} sees, {view}"
        panels.append(Panel(title, heatmaps.axes, heatmaps.powers_db[0].shape, upright))
    instants_ns = evidence.poses.stamps_ns
    poses = evidence.poses if refined is None else refined
    keypoints_px = _nearest(instants_ns, poses.stamps_ns, poses.keypoints_px)
    confidence = _nearest(instants_ns, poses.stamps_ns, poses.confidence)
    joints_m = evidence.truth.at(instants_ns)
    true_px = project(joints_m)
    true_side_m = mapping.convert(joints_m, HUPR14.name, H36M17.name)[..., [0, 2]]
    if lifted is None:
        film = PoseFilm(panels, HUPR14, IMAGE_SIZE_PX)
        side_m = np.full_like(true_side_m, np.nan)
    else:
        film = PoseFilm(panels, HUPR14, IMAGE_SIZE_PX, width_px=1260, side=H36M17)
        found_m = _nearest(instants_ns, *lifted)
        side_m = np.stack([found_m[..., 2], CAMERA_HEIGHT_M - found_m[..., 1]], axis=-1)
    for k, instant in enumerate(instants_ns):
        seconds = (instant - instants_ns[0]) / 1e9
        yield film.picture(
            [evidence.heatmaps[radar].nearest(int(instant)) for radar in RADARS],
            keypoints_px[k],
            confidence[k],
            true_px[k],
            [placement.to_link(joints_m[k]) for placement in default_placements()],
            f"{seconds:5.1f} s   {poses.model}",
            (side_m[k], true_side_m[k]),
        )


def _nearest(instants_ns: np.ndarray, stamps_ns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the values of the nearest stamps, NaN where none is within `MAX_PAIR_SKEW_NS`."""
    found = np.full((len(instants_ns), *values.shape[1:]), np.nan)
    if len(stamps_ns):
        apart_ns = np.abs(stamps_ns - instants_ns[:, None])
        near = apart_ns.min(axis=1) <= MAX_PAIR_SKEW_NS
        found[near] = values[apart_ns.argmin(axis=1)[near]]
    return found
