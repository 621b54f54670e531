"""Numbers of the refined and the lifted poses in a bag, beside those that they were made from.

What is measured is there if the topic is: ``refined/pose2d``, ``pose3d``, ``refined/pose3d``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats

from radar_pose_ros.evaluation import Evidence, Poses, accuracy, read_poses
from radar_pose_ros.metrics import pose3d
from radar_pose_ros.models.hypotheses import squared_distance
from radar_pose_ros.recording import BagReader, RecordingError, stamp_ns, topic_named
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.skeleton.projection import project, to_camera

_UPPER = np.triu_indices(3)
TOPICS = ("refined/pose2d", "pose3d", "refined/pose3d")
LIFTER = "pose_lifter"
# What it counts, in the words of its diagnostics: poses that came, those of them that it lost, and
# people that it placed without the radars' range.
TAKEN = "pose2d total"
LOST = (
    "dropped: poses for which there was no time",
    "dropped: poses that there was no time to lift",
)
BY_SIZE = "people placed without the radars' range"


class Poses3D(NamedTuple):
    """Estimates of one person in space, one per message in which there was somebody.

    Attributes
    ----------
    stamps_ns : int64 (n,)
        Instants that they describe.
    received_ns : int64 (n,)
        When the recorder received them.
    joints_m : float (n, 17, 3)
        In the camera's optical frame; NaN for joints that are not known.
    placed : bool (n,)
        Whether the person has a place, or is relative to the root.
    covariance_m2 : float (n, 17, 3, 3)
        NaN where it is not known.
    """

    stamps_ns: np.ndarray
    received_ns: np.ndarray
    joints_m: np.ndarray
    placed: np.ndarray
    covariance_m2: np.ndarray


def measure(bag: str | Path, evidence: Evidence) -> dict[str, dict[str, float]]:
    """Measure what there is, by topic.

    Parameters
    ----------
    bag : path
    evidence : Evidence
        What `evaluation.read` gave of the same bag.

    Returns
    -------
    dict
        By topic. Of all: ``rate_hz``, of the stamps; ``age_ms``, from the instant that a pose
        describes to its arrival at the recorder, median. Of ``refined/pose2d`` what `in_image`
        says, of the others what `in_space` says, and of ``pose3d`` what `of_lifter` says.

    Raises
    ------
    RecordingError
        If a message is damaged.
    """
    found: dict[str, dict[str, float]] = {}
    with BagReader(bag) as reader:
        for name in TOPICS:
            topics = [t for t in reader.topics if ("refined/" in t) == ("refined/" in name)]
            if not any(topic.endswith(f"/{name}") for topic in topics):
                continue
            topic = topic_named(topics, name)
            if name.endswith("pose2d"):
                poses = read_poses(reader, topic)
                found[name] = {**_timing(poses), **in_image(poses, evidence)}
            else:
                lifted = read_poses_3d(reader, topic)
                found[name] = {**_timing(lifted), **in_space(lifted, evidence)}
                if name == "pose3d":
                    said = _last_diagnostics(reader, LIFTER)
                    found[name] |= of_lifter(said, int(lifted.placed.sum()))
    return found


def of_lifter(said: Mapping[str, str], placed: int) -> dict[str, float]:
    """Return what the lifter says of itself.

    Parameters
    ----------
    said : mapping
        The values of its diagnostics; empty if there are none.
    placed : int
        How many people it has placed.

    Returns
    -------
    dict
        ``lost``: share of the poses that it took and had no time to lift. If anybody is placed
        ``placed_by_range``: share of them who are where the radars' range puts them, not their
        size. Neither without diagnostics.
    """
    if not int(said.get(TAKEN, 0)):
        return {}
    lost = sum(int(said.get(key, 0)) for key in LOST)
    found = {"lost": lost / int(said[TAKEN])}
    if placed:
        by_size = min(int(said.get(BY_SIZE, 0)), placed)
        found["placed_by_range"] = 1 - by_size / placed
    return found


def _last_diagnostics(reader: BagReader, node: str) -> dict[str, str]:
    """Return the values of the last diagnostics in which a node was active; empty without any."""
    found: dict[str, str] = {}
    if "/diagnostics" not in reader.topics:
        return found
    for item in reader.messages(["/diagnostics"]):
        for status in item.message.status:
            values = {value.key: value.value for value in status.values}
            if status.name.endswith(f"/{node}") and values.get("state") == "active":
                found = values
    return found


def read_poses_3d(reader: BagReader, topic: str) -> Poses3D:
    """Read the first person of each message of a topic of HumanPose3DArray.

    Raises
    ------
    RecordingError
        If poses are of another skeleton than H36M17.
    """
    stamps, received, joints, placed, upper = [], [], [], [], []
    for item in reader.messages([topic]):
        for person in item.message.poses[:1]:
            if item.message.skeleton != H36M17.name:
                raise RecordingError(f"{topic}: poses are not of the skeleton {H36M17.name}")
            stamps.append(stamp_ns(item.message))
            received.append(item.received_ns)
            joints.append([(k.position.x, k.position.y, k.position.z) for k in person.keypoints])
            placed.append(not person.root_relative)
            upper.append([k.covariance for k in person.keypoints])
    count = len(H36M17.joints)
    covariance = np.full((len(upper), count, 3, 3), np.nan)
    covariance[..., _UPPER[0], _UPPER[1]] = np.array(upper, float).reshape(-1, count, 6)
    covariance[..., _UPPER[1], _UPPER[0]] = covariance[..., _UPPER[0], _UPPER[1]]
    return Poses3D(
        np.array(stamps, np.int64),
        np.array(received, np.int64),
        np.array(joints, float).reshape(-1, count, 3),
        np.array(placed, bool),
        covariance,
    )


def in_image(poses: Poses, evidence: Evidence) -> dict[str, float]:
    """Compare refined poses with the truth, and straight lines between the unrefined ones as well.

    Returns
    -------
    dict
        ``poses`` that lie between two unrefined ones and have a truth; ``known``, the share of
        their joints that are; ``pck_0_2``; ``error_px``: mean distance of the joints that are
        known; ``accel_px``: by how much the acceleration is off, mean, per frame squared.
        ``linear_`` before them is for straight lines, of the same joints.
    """
    source = evidence.poses
    true_px = project(evidence.truth.at(poses.stamps_ns))
    linear_px = _straight_lines(source.stamps_ns, source.keypoints_px, poses.stamps_ns)
    known = np.isfinite(true_px).all(axis=(1, 2)) & np.isfinite(linear_px).all(axis=(1, 2))
    there = np.isfinite(poses.keypoints_px)
    result = {"poses": float(known.sum()), "known": _mean(there[known])}
    straight_px = np.where(there, linear_px, np.nan)
    for name, estimate in (("", poses.keypoints_px), ("linear_", straight_px)):
        error = np.linalg.norm(estimate[known] - true_px[known], axis=-1)
        off = np.linalg.norm(_accelerations(estimate - true_px, poses.stamps_ns, known), axis=-1)
        result[f"{name}pck_0_2"] = accuracy(estimate[known], true_px[known])["pck_0_2"]
        result[f"{name}error_px"] = _mean(error)
        result[f"{name}accel_px"] = _mean(off)
    return result


def in_space(poses: Poses3D, evidence: Evidence) -> dict[str, float]:
    """Compare poses in space with the truth.

    Returns
    -------
    dict
        ``poses`` with a truth and a known joint; ``known``: share of the joints, of all poses with
        a truth, that have a position relative to the root; ``mpjpe_mm``, relative to the root, and
        ``p_mpjpe_mm`` after alignment; ``bone_length_mm``: standard deviation of a bone's length
        over time, mean over the bones; ``placed``: share of the poses that have a place;
        ``place_mm``: how far their roots are from the true ones, mean. If covariances are known,
        ``coverage_90``: share of the joints whose true position relative to the root is in the
        ellipsoid that a reader takes for the 90 % one, the root left out; and, if somebody is
        placed, ``coverage_90_placed``: the same of the joints where they are, the root with them.
        The covariance relative to the root is the joint's less the root's, which is the place's.
    """
    true_m = mapping.convert(
        to_camera(evidence.truth.at(poses.stamps_ns)), HUPR14.name, H36M17.name
    )
    with_truth = np.isfinite(true_m).all(axis=(1, 2))
    count = pose3d.count_joints(
        *(pose3d.relative_to_root(p[with_truth]) for p in (poses.joints_m, true_m))
    )
    known = with_truth & np.isfinite(poses.joints_m).any(axis=(1, 2))
    estimate, true_m, placed = poses.joints_m[known], true_m[known], poses.placed[known]
    away_m = np.linalg.norm((estimate - true_m)[placed, H36M17.root], axis=-1)
    relative, true_relative = (pose3d.relative_to_root(p) for p in (estimate, true_m))
    covariance = poses.covariance_m2[known]
    of_root = covariance[:, H36M17.root, None]
    others = np.arange(len(H36M17.joints)) != H36M17.root
    coverages = {
        "coverage_90": _coverage(relative - true_relative, covariance - of_root, others),
        "coverage_90_placed": _coverage((estimate - true_m)[placed], covariance[placed]),
    }
    return {
        "poses": float(known.sum()),
        "known": count.compared / max(count.compared + count.missing, 1),
        "mpjpe_mm": 1e3 * pose3d.mpjpe(relative, true_relative),
        "p_mpjpe_mm": 1e3 * pose3d.p_mpjpe(relative, true_relative),
        "bone_length_mm": 1e3 * pose3d.segment_consistency(estimate),
        "placed": _mean(placed),
        "place_mm": 1e3 * _mean(away_m),
        **{name: share for name, share in coverages.items() if np.isfinite(share)},
    }


def _coverage(
    errors_m: np.ndarray, covariances: np.ndarray, chosen: np.ndarray | slice = slice(None)
) -> float:
    """Return the share of errors inside the 90 % ellipsoid; NaN if no covariance is known.

    Parameters
    ----------
    errors_m : ndarray, shape (poses, joints, 3)
    covariances : ndarray, shape (poses, joints, 3, 3)
    chosen : ndarray of bool, optional
        Joints.
    """
    error, matrix = errors_m[:, chosen].reshape(-1, 3), covariances[:, chosen].reshape(-1, 3, 3)
    known = np.isfinite(error).all(1) & np.isfinite(matrix).all((1, 2))
    error, matrix = error[known], matrix[known]
    whole = np.linalg.eigvalsh(matrix)[:, 0] > 0  # what is known exactly has no ellipsoid
    if not whole.any():
        return float("nan")
    squared = squared_distance(error[whole], matrix[whole])
    return float((squared <= scipy.stats.chi2.ppf(0.9, 3)).mean())


def _timing(poses: Poses | Poses3D) -> dict[str, float]:
    stamps_ns = poses.stamps_ns
    several = len(stamps_ns) > 1
    # over the whole time: poses that are missing count, wherever they are
    span_s = float(stamps_ns[-1] - stamps_ns[0]) / 1e9 if several else np.nan
    return {
        "rate_hz": (len(stamps_ns) - 1) / span_s if span_s > 0 else np.nan,
        "age_ms": float(np.median(poses.received_ns - stamps_ns)) / 1e6 if several else np.nan,
    }


def _straight_lines(stamps_ns: np.ndarray, poses: np.ndarray, at_ns: np.ndarray) -> np.ndarray:
    """Return poses at other instants; NaN outside, and beside joints that are not known."""
    found = np.full((len(at_ns), *poses.shape[1:]), np.nan)
    if len(stamps_ns) < 2:
        return found
    after = np.clip(np.searchsorted(stamps_ns, at_ns), 1, len(stamps_ns) - 1)
    share = (at_ns - stamps_ns[after - 1]) / (stamps_ns[after] - stamps_ns[after - 1])
    inside = (share >= 0) & (share <= 1)
    weight = share[inside, None, None]
    found[inside] = (1 - weight) * poses[after[inside] - 1] + weight * poses[after[inside]]
    return found


def _accelerations(values: np.ndarray, stamps_ns: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return second differences where three frames in a row are known and evenly spaced."""
    if len(values) < 3:
        return values[:0]
    steps = np.diff(stamps_ns)
    even = np.abs(np.diff(steps)) < 0.1 * np.median(steps)
    return np.diff(values, n=2, axis=0)[even & known[:-2] & known[1:-1] & known[2:]]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
