"""A trained DiffHPE made ready for use: windows of joints in an image in, poses and doubts out.

The pose is the mean of the hypotheses. Its covariance is theirs times the factors that belong to
the weights (`hypotheses.SpreadCalibration`): of joints relative to the hip, such that the
ellipsoid that a reader takes for the 90 % one held 90 % of the truth in poses that the network was
not trained on. Without such factors, or with another number of hypotheses than they are for, it is
not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from radar_pose_ros.models import hypotheses, weights
from radar_pose_ros.models.diffhpe import FAST, Lifter
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.skeleton.image import network_input

HYPOTHESES = 5  # where the weights do not say how many


@dataclass(frozen=True)
class LiftedWindows:
    """Poses in the axes of the camera's optical frame, relative to the hip.

    Attributes
    ----------
    poses_m : ndarray, shape (windows, frames, joints, 3)
        The joints are those of H36M17.
    covariance_m2 : ndarray, shape (windows, frames, joints, 3, 3)
        NaN where it is not known.
    """

    poses_m: np.ndarray
    covariance_m2: np.ndarray


class WindowLifter:
    """Lifts windows of frames.

    Parameters
    ----------
    lifter : Lifter
    calibration : SpreadCalibration, optional
        What the spread of as many hypotheses is worth.
    seed : int
        Of the noise that hypotheses begin from: the same windows in the same order give the same
        poses.
    rate_hz : float
        Of the poses that it was trained on; 0 if that is not known.
    """

    def __init__(
        self,
        lifter: Lifter,
        calibration: SpreadCalibration | None = None,
        seed: int = 0,
        rate_hz: float = 0.0,
    ) -> None:
        known = calibration is not None and calibration.hypotheses == lifter.hypotheses
        self.calibration = calibration if known else None
        self.rate_hz = rate_hz
        self._lifter = lifter
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def frames(self) -> int:
        """Length of a window."""
        return self._lifter.config.frames

    @property
    def hypotheses(self) -> int:
        """Poses per window whose mean is given."""
        return self._lifter.hypotheses

    def lift(self, pixels: ArrayLike, size_px: tuple[int, int]) -> LiftedWindows:
        """Lift windows.

        Parameters
        ----------
        pixels : array_like, shape (windows, frames, joints, 2)
            Joints of H36M17, NaN where not known.
        size_px : (int, int)
            Width and height of the image.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        keypoints = torch.from_numpy(network_input(pixels, size_px))
        found = self._lifter.lift(keypoints, self._generator).double().numpy()
        poses = found.transpose(1, 0, 4, 3, 2)  # (hypotheses, windows, frames, joints, 3)
        mean = hypotheses.average(poses)
        if self.calibration is None:
            return LiftedWindows(mean, np.full((*mean.shape, 3), np.nan))
        return LiftedWindows(mean, self.calibration.covariance(poses))


def load(name: str, count: int = 0) -> tuple[WindowLifter, str]:
    """Return trained weights, ready for use, and their name for messages.

    Parameters
    ----------
    name : str
        See `weights.load`.
    count : int
        Hypotheses; 0 for as many as the weights were calibrated with.

    Raises
    ------
    ValueError
        If there are no such weights, they are of another network, or they estimate NaN.
    """
    network, entry = weights.network(name, "diffhpe")
    label = f"diffhpe/{entry['preset']}@{entry['sha256'][:8]}"
    standard, sampler = sampling(entry)
    spread = entry.get("spread")
    calibration = SpreadCalibration.of_weights(spread) if spread else None
    lifter = WindowLifter(
        Lifter(network, count or standard, sampler),
        calibration,
        rate_hz=float(entry.get("poses", {}).get("rate_hz", 0.0)),
    )
    # Once from nothing, so that memory is taken before poses come.
    nothing = np.full((1, lifter.frames, network.config.joints, 2), np.nan)
    if not np.isfinite(lifter.lift(nothing, (1, 1)).poses_m).all():
        raise ValueError(f"{label} estimates NaN: the file is damaged")
    return lifter, label


def sampling(entry: dict[str, Any]) -> tuple[int, Sampler]:
    """Return how many hypotheses, and the sampler, a manifest's entry asks for.

    Raises
    ------
    ValueError
        If what it says is no sampler.
    """
    said = {"hypotheses": HYPOTHESES, **asdict(FAST), **entry.get("sampling", {})}
    known = {field.name for field in fields(Sampler)}
    try:
        sampler = Sampler(**{key: value for key, value in said.items() if key in known})
        return int(said["hypotheses"]), sampler
    except TypeError as error:
        raise ValueError(f"the weights' sampling is none: {error}") from error
