"""Several cameras around a room, each with a shutter of its own, and a detector of keypoints.

The person is a function from instants to joints, so that each camera looks when it likes. What
hides a joint is the person's own body, a few capsules around its bones, and furniture, boxes along
the axes. A detector still guesses where most hidden joints are, but worse, and says so by a low
confidence. Errors follow `radar_pose_ros.simulation.detector_noise`, whose events are per second;
here they depend on the stamps themselves, which need not be even.

Radii of limbs and all of `DETECTOR` are choices; `OPENPOSE` is partly measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.simulation.cameras import CameraRanges, PinholeCamera, camera_around
from radar_pose_ros.simulation.detector_noise import IMAGE_NOISE_PX, DetectorNoise
from radar_pose_ros.skeleton.definitions import Skeleton

SHUTTERS = ("synchronous", "interleaved", "random")
ARC_OF_TWO = 2 * np.pi / 3  # about a place: two cameras on it are 30 to 90 degrees apart [choice]

# Half the thickness, in metres, of what is around a joint: a detector sees the skin before it.
_JOINT_RADII_M = {
    "ankle": 0.04,
    "knee": 0.055,
    "hip": 0.10,
    "shoulder": 0.05,
    "elbow": 0.04,
    "wrist": 0.03,
    "pelvis": 0.10,
    "head": 0.09,
}
_OTHER_RADIUS_M = 0.03
# Limbs: their ends, and their radii in metres.
_LIMBS = (
    ("hip", "knee", 0.07),
    ("knee", "ankle", 0.045),
    ("shoulder", "elbow", 0.04),
    ("elbow", "wrist", 0.035),
)
_TRUNK_RADIUS_M = 0.10
_HEAD_RADIUS_M = 0.09
# A joint inside of a part is hidden if it lies more than 120 degrees off the side that is seen.
_FAR_SIDE = -0.5
# What skeletons call the ends of neck and head.
_NECK_BASES = ("thorax", "spine_shoulder", "neck", "upper_neck")
_CROWNS = ("head_top", "head")


@dataclass(frozen=True)
class Detector:
    """How good a keypoint detector is; the default is a perfect one that sees through things.

    Parameters
    ----------
    noise : DetectorNoise
        In pixels, of joints that are in sight.
    bias : float
        Standard deviation, in pixels, of each coordinate of what a camera always has a joint
        wrong by: a detector sees it elsewhere from behind than from the front.
    hidden_factor : float
        Factor on ``white`` and ``drift`` of joints that are not.
    hidden_missing_rate : float
        Probability that a hidden joint is not reported.
    missed_rate : float
        Probability that the whole person is missed in a shot.
    confidence, confidence_spread : float
        Mean and standard deviation of the confidence of a joint in sight; cut to 0.01 to 1.
    hidden_confidence, hidden_confidence_spread : float
        The same for hidden joints, and for outliers.

    Raises
    ------
    ValueError
        If a number is negative, or a probability or a mean confidence above 1.
    """

    noise: DetectorNoise = field(default_factory=DetectorNoise)
    bias: float = 0.0
    hidden_factor: float = 1.0
    hidden_missing_rate: float = 0.0
    missed_rate: float = 0.0
    confidence: float = 1.0
    confidence_spread: float = 0.0
    hidden_confidence: float = 1.0
    hidden_confidence_spread: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self)[1:]:
            value = getattr(self, entry.name)
            limited = entry.name.endswith(("_rate", "confidence"))
            highest = 1.0 if limited else float("inf")
            if not 0 <= value <= highest:
                raise ValueError(f"{entry.name} must be from 0 to {highest}, got {value}")


DETECTOR = Detector(
    noise=IMAGE_NOISE_PX,
    hidden_factor=4.0,
    hidden_missing_rate=0.3,
    missed_rate=0.01,
    confidence=0.85,
    confidence_spread=0.08,
    hidden_confidence=0.35,
    hidden_confidence_spread=0.15,
)
# Confidence, and how much worse hidden joints are, as in Pose2Sim's balancing trial, where
# `hidden_by_body` says what is hidden: OpenPose hardly knows.
OPENPOSE = Detector(
    noise=IMAGE_NOISE_PX,
    hidden_factor=2.0,
    hidden_missing_rate=0.01,
    missed_rate=0.0025,
    confidence=0.61,
    confidence_spread=0.10,
    hidden_confidence=0.53,
    hidden_confidence_spread=0.14,
)


@dataclass(frozen=True)
class SimulatedView:
    """What one camera of a rig saw.

    Attributes
    ----------
    camera : PinholeCamera
    stamps_s : ndarray of float64, shape (shots,)
    keypoints_px : ndarray of float64, shape (shots, joints, 2)
        NaN where nothing is reported.
    score : ndarray of float64, shape (shots, joints)
        The detector's confidence, 0 to 1; 0 where nothing is reported.
    hidden : ndarray of bool, shape (shots, joints)
        Which joints something stands before, whether they are reported or not.
    """

    camera: PinholeCamera
    stamps_s: np.ndarray
    keypoints_px: np.ndarray
    score: np.ndarray
    hidden: np.ndarray


def rig(
    count: int,
    target_m: ArrayLike,
    rng: np.random.Generator,
    ranges: CameraRanges | None = None,
) -> list[PinholeCamera]:
    """Put cameras around a place, one in each of as many equal sectors, and aim them at it.

    Parameters
    ----------
    count : int
        At least 1.
    target_m : array_like, shape (3,)
        What they aim at; z is up, the floor is at 0.
    rng : numpy.random.Generator
        Source of all choices: in each sector a camera stands anywhere in its middle half.
    ranges : CameraRanges, optional
        As for `radar_pose_ros.simulation.cameras.random_camera`; the sectors divide its azimuths.
        By default these are all around; of two cameras, which would face each other and tell
        little of where the person is between them, `ARC_OF_TWO` somewhere.

    Raises
    ------
    ValueError
        If the count is not positive.
    """
    if count < 1:
        raise ValueError(f"a rig has at least one camera, got {count}")
    if ranges is None:
        ranges = CameraRanges()
        if count == 2:
            begin = rng.uniform(*ranges.azimuth)
            ranges = replace(ranges, azimuth=(begin, begin + ARC_OF_TWO))
    sector = (ranges.azimuth[1] - ranges.azimuth[0]) / count
    return [
        camera_around(
            target_m,
            ranges.azimuth[0] + sector * (number + rng.uniform(0.25, 0.75)),
            rng,
            ranges,
        )
        for number in range(count)
    ]


def shutter_times(
    count: int,
    seconds: float,
    rate_hz: float,
    shutters: str,
    rng: np.random.Generator | None = None,
    jitter_s: float = 0.0,
) -> list[np.ndarray]:
    """Return when each camera of a rig fires, from 0 until before the end.

    * "synchronous": all together;
    * "interleaved": one after another, evenly: camera c at (c / count + k) / rate;
    * "random": each evenly, from an instant of the first interval that is drawn evenly.

    Parameters
    ----------
    count : int
        Of cameras.
    seconds, rate_hz : float
        Length, and shots per second of each camera.
    shutters : str
        One of `SHUTTERS`.
    rng : numpy.random.Generator, optional
        Source of all choices; "random" and jitter want one.
    jitter_s : float
        Every shot is early or late by up to so much, drawn evenly; less than half an interval.

    Returns
    -------
    list of ndarray of float64, each of shape (shots,)

    Raises
    ------
    ValueError
        If there are no such shutters, a number is out of range, or a generator is missing.
    """
    if shutters not in SHUTTERS:
        raise ValueError(f"unknown shutters {shutters!r}, there are {', '.join(SHUTTERS)}")
    if not (seconds > 0 and rate_hz > 0):
        raise ValueError(f"length and rate must be positive, got {seconds} s, {rate_hz} Hz")
    if not 0 <= jitter_s < 0.5 / rate_hz:
        raise ValueError(f"jitter must be from 0 to less than {0.5 / rate_hz} s, got {jitter_s}")
    if rng is None and (shutters == "random" or jitter_s > 0):
        raise ValueError("random shutter times want a generator of random numbers")
    times = []
    for number in range(count):
        phase = 0.0
        if shutters == "interleaved":
            phase = number / count
        elif rng is not None and shutters == "random":
            phase = float(rng.uniform())
        # a little more than the rounding of k * rate
        shots = max(int(np.ceil(seconds * rate_hz - phase - 1e-9)), 0)
        stamps = (phase + np.arange(shots)) / rate_hz
        if rng is not None and jitter_s > 0:
            stamps += rng.uniform(-jitter_s, jitter_s, shots)
            stamps = stamps[(stamps >= 0) & (stamps < seconds)]
        times.append(stamps)
    return times


def observe(
    joints_at: Callable[[np.ndarray], np.ndarray],
    skeleton: Skeleton,
    cameras: Sequence[PinholeCamera],
    stamps_s: Sequence[ArrayLike],
    rng: np.random.Generator,
    detector: Detector | None = None,
    boxes_m: ArrayLike = (),
) -> list[SimulatedView]:
    """Let a rig of cameras see a moving person.

    Parameters
    ----------
    joints_at : callable
        From instants in seconds, shape ``(shots,)``, to true joints, ``(shots, joints, 3)``,
        metres in the cameras' world; NaN is unknown and stays so.
    skeleton : Skeleton
        Of the joints.
    cameras : sequence of PinholeCamera
    stamps_s : sequence of array_like, each of shape (shots,)
        When each camera fires, increasing.
    rng : numpy.random.Generator
        Source of all choices; each camera has a stream of its own.
    detector : Detector, optional
        A perfect one by default, which reports hidden joints, too, but none out of the image.
    boxes_m : array_like, shape (boxes, 2, 3)
        Furniture: lower and upper corners of boxes along the world's axes.

    Returns
    -------
    list of SimulatedView
        In the order of the cameras.

    Raises
    ------
    ValueError
        If there are not as many lists of stamps as cameras, stamps do not increase, or the joints
        are not the skeleton's.
    """
    if len(cameras) != len(stamps_s):
        raise ValueError(f"{len(cameras)} cameras, but stamps of {len(stamps_s)}")
    detector = Detector() if detector is None else detector
    views = []
    streams = rng.spawn(len(cameras))
    for number, (camera, given, stream) in enumerate(zip(cameras, stamps_s, streams, strict=True)):
        stamps = np.asarray(given, np.float64)
        if stamps.ndim != 1 or not (np.diff(stamps) > 0).all():
            raise ValueError(f"camera {number}: want increasing stamps, shape (shots,)")
        joints_m = np.asarray(joints_at(stamps), np.float64)
        if joints_m.shape != (len(stamps), len(skeleton.joints), 3):
            raise ValueError(
                f"camera {number}: {skeleton.name} wants joints "
                f"{(len(stamps), len(skeleton.joints), 3)}, got {joints_m.shape}"
            )
        hidden = hidden_by_body(joints_m, skeleton, camera.position_m)
        hidden |= hidden_by_boxes(joints_m, camera.position_m, boxes_m)
        pixels, score = detect(
            camera.project(joints_m), hidden, skeleton, stamps, detector, stream
        )
        outside = ~camera.sees(joints_m)
        pixels[outside] = np.nan
        score[outside] = 0.0
        views.append(SimulatedView(camera, stamps, pixels, score, hidden))
    return views


def detect(
    keypoints_px: ArrayLike,
    hidden: ArrayLike,
    skeleton: Skeleton,
    stamps_s: ArrayLike,
    detector: Detector,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a detector would say of true keypoints, at stamps that need not be even.

    Parameters
    ----------
    keypoints_px : array_like, shape (shots, joints, 2)
        The truth; NaN stays NaN.
    hidden : array_like of bool, shape (shots, joints)
        Which of them something stands before.
    skeleton : Skeleton
        Says which joints belong to the left and the right.
    stamps_s : array_like, shape (shots,)
        Increasing.
    detector : Detector
    rng : numpy.random.Generator

    Returns
    -------
    keypoints_px : ndarray of float64, shape (shots, joints, 2)
        NaN where nothing is reported.
    score : ndarray of float64, shape (shots, joints)
        Confidence, 0 where nothing is reported.

    Raises
    ------
    ValueError
        If the factors of the noise are not the skeleton's.
    """
    made = np.array(keypoints_px, np.float64)
    hidden = np.asarray(hidden, bool)
    stamps = np.asarray(stamps_s, np.float64)
    noise = detector.noise
    shots, count = made.shape[:2]
    if len(noise.joint_factors) not in (0, count):
        raise ValueError(f"want {count} joint_factors or none, got {len(noise.joint_factors)}")
    _swap(made, skeleton, stamps, noise, rng)
    factors = np.array(noise.joint_factors or (1.0,) * count) * np.where(
        hidden, detector.hidden_factor, 1.0
    )
    made += factors[..., None] * noise.white * rng.standard_normal(made.shape)
    made += factors[..., None] * noise.drift * drift(made.shape, stamps, noise.drift_s, rng)
    if detector.bias:
        made += detector.bias * rng.standard_normal((count, 2))
    far_off = rng.random((shots, count)) < noise.outlier_rate
    made += far_off[..., None] * noise.outlier * rng.standard_normal(made.shape)

    missing = rng.random((shots, count)) < noise.missing_rate
    missing |= hidden & (rng.random((shots, count)) < detector.hidden_missing_rate)
    missing |= runs_in_time(stamps, count, noise.occlusion_hz, noise.occlusion_s, rng)
    missing |= rng.random((shots, 1)) < detector.missed_rate
    unsure = hidden | far_off
    score = np.where(unsure, detector.hidden_confidence, detector.confidence)
    score = score + np.where(
        unsure, detector.hidden_confidence_spread, detector.confidence_spread
    ) * rng.standard_normal((shots, count))
    made[missing] = np.nan
    score = np.where(np.isnan(made).any(-1), 0.0, score.clip(0.01, 1.0))
    return made, score


def drift(
    shape: tuple[int, ...], stamps_s: np.ndarray, time_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Return errors of variance 1 that change slowly, at stamps that need not be even.

    The Ornstein-Uhlenbeck process, stationary from the start: the correlation of two shots that
    are dt apart is exp(-dt / time_s).

    Parameters
    ----------
    shape : tuple of int
        The first axis is that of the stamps.
    stamps_s : ndarray, shape (shots,)
    time_s : float
        At 0 the shots are independent.
    rng : numpy.random.Generator
    """
    steps = rng.standard_normal(shape)
    gaps_s = np.diff(stamps_s)
    kept = np.exp(-gaps_s / time_s) if time_s > 0 else np.zeros(len(gaps_s))
    for shot in range(1, len(steps)):
        share = kept[shot - 1]
        steps[shot] = share * steps[shot - 1] + np.sqrt(1 - share**2) * steps[shot]
    return steps


def runs_in_time(
    stamps_s: np.ndarray, columns: int, start_hz: float, mean_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Return flags that are set while something lasts, each column by itself.

    Parameters
    ----------
    stamps_s : ndarray, shape (shots,)
    columns : int
    start_hz : float
        How often per second it begins, at any time (a Poisson process).
    mean_s : float
        Mean of how long it lasts, exponentially distributed.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (shots, columns)
        On the mean the share 1 - exp(-start_hz * mean_s) is set.
    """
    flags = np.zeros((len(stamps_s), columns), bool)
    if not len(stamps_s) or not start_hz * mean_s > 0:
        return flags
    # what began longer ago is over but for one in exp(10)
    first_s, last_s = stamps_s[0] - 10 * mean_s, stamps_s[-1]
    for column in range(columns):
        begins = rng.uniform(first_s, last_s, rng.poisson(start_hz * (last_s - first_s)))
        for begin in begins:
            end = begin + rng.exponential(mean_s)
            flags[np.searchsorted(stamps_s, begin) : np.searchsorted(stamps_s, end), column] = True
    return flags


def hidden_by_body(joints_m: ArrayLike, skeleton: Skeleton, position_m: ArrayLike) -> np.ndarray:
    """Return which joints the person's own body hides from a camera.

    The body is capsules: arms and legs along their bones, the head, and a trunk of three, from hip
    to shoulder on both sides and in the middle. A joint is hidden if the line from the camera to
    the skin before it meets a capsule that it is not part of; one inside of the capsule, as a hip
    is inside of the trunk, if it lies on the far side of the capsule's axis. Joints in the middle
    of the body are part of trunk and head.

    Parameters
    ----------
    joints_m : array_like, shape (shots, joints, 3)
        A capsule one of whose ends is NaN hides nothing; a NaN joint is not hidden.
    skeleton : Skeleton
        Without hips and shoulders there is no trunk, and so on.
    position_m : array_like, shape (3,)
        The camera's.

    Returns
    -------
    ndarray of bool, shape (shots, joints)
    """
    joints = np.asarray(joints_m, np.float64)
    camera = np.asarray(position_m, np.float64)
    ray = joints - camera
    distance = np.linalg.norm(ray, axis=-1, keepdims=True)
    radii = np.array([_joint_radius(name) for name in skeleton.joints])[:, None]
    skin = camera + ray * (1 - np.minimum(radii / np.maximum(distance, 1e-9), 1.0))
    hidden = np.zeros(joints.shape[:2], bool)
    for begin, end, radius_m, own in _capsules(joints, skeleton):
        before = _distance(camera, skin, begin[:, None], end[:, None]) < radius_m
        from_axis = joints - _nearest(joints, begin[:, None], end[:, None])
        depth = np.linalg.norm(from_axis, axis=-1)
        towards = -(from_axis * ray).sum(-1) / np.maximum(depth * distance[..., 0], 1e-12)
        near = np.where(depth < radius_m, towards < _FAR_SIDE, before)
        near[:, own] = False
        hidden |= near
    return hidden


def hidden_by_boxes(joints_m: ArrayLike, position_m: ArrayLike, boxes_m: ArrayLike) -> np.ndarray:
    """Return which joints boxes hide from a camera.

    Parameters
    ----------
    joints_m : array_like, shape (..., 3)
        A NaN joint is not hidden; one inside of a box is.
    position_m : array_like, shape (3,)
        The camera's.
    boxes_m : array_like, shape (boxes, 2, 3)
        Lower and upper corners.

    Returns
    -------
    ndarray of bool, shape (...)

    Raises
    ------
    ValueError
        If a lower corner is not below its upper one, or the shape is another.
    """
    joints = np.asarray(joints_m, np.float64)
    camera = np.asarray(position_m, np.float64)
    hidden = np.zeros(joints.shape[:-1], bool)
    boxes = np.asarray(boxes_m, np.float64)
    if not boxes.size:
        return hidden
    if boxes.ndim != 3 or boxes.shape[1:] != (2, 3) or not (boxes[:, 0] < boxes[:, 1]).all():
        raise ValueError(
            f"want lower and upper corners of boxes, shape (boxes, 2, 3), got {boxes.tolist()}"
        )
    # a ray that runs along an axis is taken to be slightly slanted
    ray = joints - camera
    ray = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    for low, high in boxes:
        one, other = (low - camera) / ray, (high - camera) / ray
        enters = np.minimum(one, other).max(-1)
        leaves = np.maximum(one, other).min(-1)
        hidden |= (enters <= leaves) & (leaves > 0) & (enters < 1)
    return hidden


def _swap(
    keypoints: np.ndarray,
    skeleton: Skeleton,
    stamps: np.ndarray,
    noise: DetectorNoise,
    rng: np.random.Generator,
) -> None:
    """Exchange left and right, in place: legs and arms each by themselves."""
    for parts in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
        swapped = runs_in_time(stamps, 1, noise.swap_hz, noise.swap_s, rng)[:, 0]
        pairs = [
            pair
            for pair in skeleton.left_right
            if skeleton.joints[pair[0]].partition("_")[2] in parts
        ]
        for left, right in pairs:
            exchanged = keypoints[swapped, right]  # a copy
            keypoints[swapped, right] = keypoints[swapped, left]
            keypoints[swapped, left] = exchanged


def _joint_radius(name: str) -> float:
    part = name.removeprefix("left_").removeprefix("right_")
    return _JOINT_RADII_M.get(part, _OTHER_RADIUS_M)


def _capsules(
    joints: np.ndarray, skeleton: Skeleton
) -> list[tuple[np.ndarray, np.ndarray, float, list[int]]]:
    """Return the parts of a body: both ends, shape (shots, 3), radius, and the joints of each."""
    number = {name: index for index, name in enumerate(skeleton.joints)}
    middle = [index for name, index in number.items() if not name.startswith(("left_", "right_"))]
    found: list[tuple[np.ndarray, np.ndarray, float, list[int]]] = []
    for side in ("left", "right"):
        for first, second, radius_m in _LIMBS:
            own = [number[name] for p in (first, second) if (name := f"{side}_{p}") in number]
            if len(own) == 2:
                found.append((joints[:, own[0]], joints[:, own[1]], radius_m, own))
    corners = [
        number[name]
        for part in ("hip", "shoulder")
        for side in ("left", "right")
        if (name := f"{side}_{part}") in number
    ]
    if len(corners) == 4:
        left_hip, right_hip, left_shoulder, right_shoulder = corners
        hips, shoulders = joints[:, corners[:2]].mean(1), joints[:, corners[2:]].mean(1)
        trunk: list[tuple[np.ndarray, np.ndarray, list[int]]] = [
            (joints[:, left_hip], joints[:, left_shoulder], [left_hip, left_shoulder]),
            (joints[:, right_hip], joints[:, right_shoulder], [right_hip, right_shoulder]),
            (hips, shoulders, []),
        ]
        for begin, end, own in trunk:
            found.append((begin, end, _TRUNK_RADIUS_M, own + middle))
    base = next((number[name] for name in _NECK_BASES if name in number), None)
    crown = next((number[name] for name in _CROWNS if name in number), None)
    if base is not None and crown is not None:
        # from the chin to below the crown
        chin = 0.6 * joints[:, base] + 0.4 * joints[:, crown]
        found.append(
            (chin, 0.2 * joints[:, base] + 0.8 * joints[:, crown], _HEAD_RADIUS_M, middle)
        )
    return found


def _nearest(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the points of segments that are nearest to other points."""
    along = end - start
    share = ((points - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
    return start + share.clip(0, 1)[..., None] * along


def _distance(
    start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """Return the distance of two segments, shape ``(...)``; NaN if an end is.

    Minimises over both parameters: that of the first by the formula for lines, then each by the
    other, cut to 0 to 1 (C. Ericson, "Real-Time Collision Detection", 2005, section 5.1.9).
    """
    one, other, between = end - start, other_end - other_start, start - other_start
    a, e = (one**2).sum(-1), np.maximum((other**2).sum(-1), 1e-12)
    b, c, f = (one * other).sum(-1), (one * between).sum(-1), (other * between).sum(-1)
    a = np.maximum(a, 1e-12)
    s = ((b * f - c * e) / np.maximum(a * e - b * b, 1e-12)).clip(0, 1)
    t = ((b * s + f) / e).clip(0, 1)
    s = ((b * t - c) / a).clip(0, 1)
    gap = between + s[..., None] * one - t[..., None] * other
    return np.linalg.norm(gap, axis=-1)
