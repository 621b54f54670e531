"""What a pose detector does to true joints: jitter, exchanged sides, outliers, and gaps.

Networks that refine or lift poses are trained on true movements made as bad as a detector's. The
model is a choice; its kinds of errors are those that keypoint detectors are known for (Ruggero
Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017:
jitter, inversion, swap, miss), each with its own rate, and errors that last for some frames,
because a network that looks at a sequence could average independent ones away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from radar_pose_ros.skeleton.definitions import Skeleton

# What is exchanged when a detector takes the right side for the left.
_SWAPPED_PARTS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
# Runs that began so many mean lengths before the first frame may reach into it.
_LEAD_IN = 5


@dataclass(frozen=True)
class DetectorNoise:
    """How bad a detector is; the default is a perfect one.

    Lengths are in the joints' own unit, pixels or metres. Rates of events are per second, so that
    the same detector can be simulated at any frame rate.

    Parameters
    ----------
    white : float
        Standard deviation of each coordinate, independent from frame to frame.
    drift : float
        Standard deviation of each coordinate of an error that changes slowly: a first-order
        autoregression.
    drift_s : float
        After this time the drift's correlation with itself is 1/e.
    joint_factors : tuple of float
        Factors on ``white`` and ``drift``, one per joint; all 1 if empty.
    outlier_rate : float
        Probability that a joint is far off in a frame, 0 to 1.
    outlier : float
        Standard deviation of each coordinate of an outlier, in addition to the rest.
    swap_hz : float
        How often per second left and right begin to be exchanged, for legs and for arms each.
    swap_s : float
        Mean length of these runs; they are at least one frame long.
    missing_rate : float
        Probability that a joint is missing in a frame, 0 to 1.
    occlusion_hz : float
        How often per second a joint begins to be hidden.
    occlusion_s : float
        Mean length of these runs; they are at least one frame long.

    Raises
    ------
    ValueError
        If a number is negative, or a probability above 1.
    """

    white: float = 0.0
    drift: float = 0.0
    drift_s: float = 0.3
    joint_factors: tuple[float, ...] = ()
    outlier_rate: float = 0.0
    outlier: float = 0.0
    swap_hz: float = 0.0
    swap_s: float = 0.2
    missing_rate: float = 0.0
    occlusion_hz: float = 0.0
    occlusion_s: float = 0.4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            highest = 1.0 if field.name.endswith("_rate") else float("inf")
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(0 <= number <= highest for number in numbers):
                raise ValueError(f"{field.name} must be from 0 to {highest}, got {value}")


# Choices, near what detectors do to a person of some 500 pixels, and to one in space.
IMAGE_NOISE_PX = DetectorNoise(
    white=2.5,
    drift=4.0,
    outlier_rate=0.005,
    outlier=40.0,
    swap_hz=0.05,
    missing_rate=0.01,
    occlusion_hz=0.04,
)
SPACE_NOISE_M = DetectorNoise(
    white=0.012,
    drift=0.03,
    outlier_rate=0.005,
    outlier=0.15,
    swap_hz=0.05,
    missing_rate=0.01,
    occlusion_hz=0.04,
)


def disturb(
    joints: ArrayLike,
    skeleton: Skeleton,
    rate_hz: float,
    noise: DetectorNoise,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what a detector would say where the truth is ``joints``.

    Parameters
    ----------
    joints : array_like, shape (frames, joints, dims)
        True joints in two or three dimensions; NaN stays NaN.
    skeleton : Skeleton
        Says which joints belong to the left and the right.
    rate_hz : float
        Frames per second.
    noise : DetectorNoise
    rng : numpy.random.Generator
        Source of all choices: the same state gives the same errors.

    Returns
    -------
    ndarray, shape (frames, joints, dims)
        In the input's precision; NaN where a joint is missing.

    Raises
    ------
    ValueError
        If the joints or the factors are not the skeleton's, or the rate is not positive.
    """
    true = np.asarray(joints)
    count = len(skeleton.joints)
    if true.ndim != 3 or true.shape[1] != count:
        raise ValueError(f"{skeleton.name} wants (frames, {count}, dims), got {true.shape}")
    if len(noise.joint_factors) not in (0, count):
        raise ValueError(f"want {count} joint_factors or none, got {len(noise.joint_factors)}")
    if not rate_hz > 0:
        raise ValueError(f"the rate must be positive, got {rate_hz} Hz")
    frames = len(true)
    made = _with_swaps(true.astype(np.float64), skeleton, rate_hz, noise, rng)
    factors = np.array(noise.joint_factors or (1.0,) * count)[:, None]
    made += factors * noise.white * rng.standard_normal(true.shape)
    made += factors * noise.drift * _drift(true.shape, noise.drift_s * rate_hz, rng)
    far_off = rng.random((frames, count)) < noise.outlier_rate
    made += far_off[..., None] * noise.outlier * rng.standard_normal(true.shape)
    hidden = rng.random((frames, count)) < noise.missing_rate
    hidden |= random_runs(
        frames, count, noise.occlusion_hz / rate_hz, noise.occlusion_s * rate_hz, rng
    )
    made[hidden] = np.nan
    return made.astype(true.dtype if np.issubdtype(true.dtype, np.floating) else np.float64)


def random_runs(
    frames: int, columns: int, start_rate: float, mean_frames: float, rng: np.random.Generator
) -> np.ndarray:
    """Return flags that are set for runs of frames, each column by itself.

    Parameters
    ----------
    frames, columns : int
    start_rate : float
        Probability that a run begins in a frame.
    mean_frames : float
        Mean length of a run; lengths are geometrically distributed, at least 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape (frames, columns)
        On the mean the share ``1 - exp(-start_rate * mean_frames)`` is set, for small rates; runs
        may overlap, and may have begun before the first frame.
    """
    mean_frames = max(mean_frames, 1.0)
    lead = int(np.ceil(_LEAD_IN * mean_frames))
    flags = np.zeros((lead + frames, columns), bool)
    firsts, where = np.nonzero(rng.random(flags.shape) < start_rate)
    lengths = rng.geometric(1 / mean_frames, len(firsts))
    for first, column, length in zip(firsts, where, lengths, strict=True):
        flags[first : first + length, column] = True
    return flags[lead:]


def _with_swaps(
    joints: np.ndarray,
    skeleton: Skeleton,
    rate_hz: float,
    noise: DetectorNoise,
    rng: np.random.Generator,
) -> np.ndarray:
    swapped = random_runs(
        len(joints), len(_SWAPPED_PARTS), noise.swap_hz / rate_hz, noise.swap_s * rate_hz, rng
    )
    for number, parts in enumerate(_SWAPPED_PARTS):
        pairs = [
            pair
            for pair in skeleton.left_right
            if skeleton.joints[pair[0]].partition("_")[2] in parts
        ]
        if not pairs:
            continue
        left, right = (list(side) for side in zip(*pairs, strict=True))
        at = np.flatnonzero(swapped[:, number])[:, None]
        joints[at, left + right] = joints[at, right + left]
    return joints


def _drift(shape: tuple[int, ...], time_frames: float, rng: np.random.Generator) -> np.ndarray:
    """First-order autoregression of variance 1 over the first axis, stationary from the start."""
    steps = rng.standard_normal(shape)
    kept = np.exp(-1 / time_frames) if time_frames > 0 else 0.0
    steps[1:] *= np.sqrt(1 - kept**2)
    return lfilter([1.0], [1.0, -kept], steps, axis=0)
