"""A trained DiffHPE made ready for use: windows of joints in an image in, poses and doubts out.

The pose is the mean of the hypotheses. Its covariance is theirs times the factors that belong to
the weights (`hypotheses.SpreadCalibration`): of joints relative to the hip, such that the
ellipsoid that a reader takes for the 90 % one held 90 % of the truth in poses that the network was
not trained on. Without such factors, or with another number of hypotheses than they are for, it is
not known.

What nobody saw is not invented: of a joint that a window does not show nothing comes out.

That holds for a detector's errors in images. Those of a radar network's estimates are others: they
last for seconds and move the whole body, so that hypotheses agree and are all wrong. For them the
weights may say what comes on top (`EstimatedCalibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from radar_pose_ros.models import hypotheses, weights
from radar_pose_ros.models.diffhpe import FAST, Lifter
from radar_pose_ros.models.diffusion import Sampler
from radar_pose_ros.models.hypotheses import SpreadCalibration
from radar_pose_ros.skeleton import checks, plausible
from radar_pose_ros.skeleton.image import check_size, network_input
from radar_pose_ros.skeleton.placement import BY_SIZE, PlaceSpread

HYPOTHESES = 5  # where the weights do not say how many


@dataclass(frozen=True)
class Calibration:
    """What is known of the errors of lifted poses.

    Parameters
    ----------
    spread : SpreadCalibration
        What the hypotheses' covariance is multiplied by.
    added_m : sequence of (float, float, float)
        By joint, in the axes of the camera (right, down, forward): standard deviations of what the
        hypotheses do not show, relative to the hip. Nothing if it is empty.
    place : PlaceSpread
        Of a place that the pose in the image gave.

    Raises
    ------
    ValueError
        If there are others than three for each joint, or one is negative.
    """

    spread: SpreadCalibration
    added_m: Sequence[Sequence[float]] = ()
    place: PlaceSpread = BY_SIZE

    def __post_init__(self) -> None:
        added = np.asarray(self.added_m, np.float64)
        wanted = (len(self.spread.factors), 3)
        fits = added.size == 0 or added.shape == wanted
        if not fits or not (np.isfinite(added) & (added >= 0)).all():
            raise ValueError(
                f"what is added to a spread must be {wanted} numbers of 0 or more, got "
                f"{added.shape}"
            )

    def covariance(self, poses_m: ArrayLike) -> np.ndarray:
        """Return covariances, ``(..., joints, 3, 3)``, of the mean of hypotheses.

        Takes ``(hypotheses, ..., joints, 3)``; see `SpreadCalibration.covariance`.
        """
        found = self.spread.covariance(poses_m)
        if not len(self.added_m):
            return found
        return found + np.square(self.added_m)[:, :, None] * np.eye(3)


@dataclass(frozen=True)
class EstimatedCalibration:
    """What holds of poses in the image that a network has estimated from radar.

    Parameters
    ----------
    of : str
        The network: it stands in the name of the poses' model, with a preset behind a slash.
    added_m, sideways, depth
        See `Calibration` and `PlaceSpread`.
    """

    of: str
    added_m: Sequence[Sequence[float]]
    sideways: float
    depth: float

    @classmethod
    def of_weights(cls, entry: Mapping[str, Any]) -> EstimatedCalibration:
        """Return what `as_dict` made, as a manifest of weights keeps it.

        Raises
        ------
        ValueError
            If it is none.
        """
        try:
            return cls(**entry)
        except TypeError as error:
            raise ValueError(f"no calibration of estimates: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, to four decimals."""
        return {
            "of": self.of,
            "added_m": np.round(np.asarray(self.added_m, float), 4).tolist(),
            "sideways": round(self.sideways, 4),
            "depth": round(self.depth, 4),
        }

    def on(self, spread: SpreadCalibration) -> Calibration:
        """Return it, on top of what holds for a detector."""
        return Calibration(spread, self.added_m, PlaceSpread(self.sideways, self.depth))


@dataclass(frozen=True)
class LiftedWindows:
    """Poses in the axes of the camera's optical frame, relative to the hip.

    Attributes
    ----------
    poses_m : ndarray, shape (windows, frames, joints, 3)
        The joints are those of H36M17; NaN where no frame of the window shows one.
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
    estimated : EstimatedCalibration, optional
        What comes on top if what is lifted was estimated from radar.
    seed : int
        Of the noise that hypotheses begin from: the same windows in the same order give the same
        poses.
    rate_hz : float
        Of the poses that it was trained on; 0 if that is not known.

    Raises
    ------
    ValueError
        If the seed is no whole number, or the rate none; the sentence says which.
    """

    def __init__(
        self,
        lifter: Lifter,
        calibration: SpreadCalibration | None = None,
        seed: int = 0,
        rate_hz: float = 0.0,
        estimated: EstimatedCalibration | None = None,
    ) -> None:
        known = calibration is not None and calibration.hypotheses == lifter.hypotheses
        self.calibration = calibration if known else None
        self._of = "" if estimated is None else f"{estimated.of}/"
        self._known = None if self.calibration is None else Calibration(self.calibration)
        self._of_estimates = self._known
        if self.calibration is not None and estimated is not None:
            self._of_estimates = estimated.on(self.calibration)
        self.rate_hz = checks.real("rate_hz", rate_hz)
        self._lifter = lifter
        self._generator = torch.Generator().manual_seed(checks.whole("seed", seed, 0))

    @property
    def frames(self) -> int:
        """Length of a window."""
        return self._lifter.config.frames

    @property
    def hypotheses(self) -> int:
        """Poses per window whose mean is given."""
        return self._lifter.hypotheses

    def calibration_for(self, model: str) -> Calibration | None:
        """Return what is known of the errors of such poses; None without a calibration.

        Parameters
        ----------
        model : str
            What made the poses in the image, as their messages say it.
        """
        return self._of_estimates if self._of and self._of in model else self._known

    def lift(
        self,
        pixels: ArrayLike,
        size_px: tuple[int, int],
        model: str = "",
        stop: Callable[[], bool] | None = None,
    ) -> LiftedWindows:
        """Lift windows.

        Joints far outside the image are not known (`plausible.near_image`), nor are frames of
        people too small or too far outside (`plausible.can_be_lifted`).

        Parameters
        ----------
        pixels : array_like, shape (windows, frames, joints, 2)
            Joints of H36M17, NaN where not known. At least one window, each as long as the
            network's.
        size_px : (int, int)
            Width and height of the image.
        model : str
            See `calibration_for`.
        stop : callable, optional
            Is asked several times a second whether to give up.

        Raises
        ------
        ValueError
            If the shape is another, there is text in it, or the image has no size.
        LiftingStoppedError
            If ``stop`` said so.
        """
        frames, joints = self.frames, self._lifter.config.joints
        values = checks.array(
            "pixels",
            pixels,
            (None, frames, joints, 2),
            f"(windows, {frames} frames, {joints} joints, 2)",
        )
        check_size(size_px)
        values = plausible.near_image(values, size_px)
        values[~plausible.can_be_lifted(values, size_px)] = np.nan
        keypoints = torch.from_numpy(network_input(values, size_px))
        found = self._lifter.lift(keypoints, self._generator, stop).double().numpy()
        poses = found.transpose(1, 0, 4, 3, 2)  # (hypotheses, windows, frames, joints, 3)
        mean = hypotheses.average(poses)
        calibration = self.calibration_for(model)
        if calibration is None:
            spread = np.full((*mean.shape, 3), np.nan)
        else:
            spread = calibration.covariance(poses)
        shown = np.isfinite(values).all(-1).any(1)[:, None, :, None]  # (windows, 1, joints, 1)
        return LiftedWindows(
            np.where(shown, mean, np.nan), np.where(shown[..., None], spread, np.nan)
        )


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
        If there are no such weights, they are of another network, or they estimate NaN, or if
        ``count`` is no such number.
    """
    checks.whole("count", count, 0)
    network, entry = weights.network(name, "diffhpe")
    label = f"diffhpe/{entry['preset']}@{entry['sha256'][:8]}"
    standard, sampler = sampling(entry)
    spread = entry.get("spread")
    calibration = SpreadCalibration.of_weights(spread) if spread else None
    estimated = entry.get("estimated_spread")
    lifter = WindowLifter(
        Lifter(network, count or standard, sampler),
        calibration,
        rate_hz=float(entry.get("poses", {}).get("rate_hz", 0.0)),
        estimated=EstimatedCalibration.of_weights(estimated) if estimated else None,
    )
    # Once with anything, so that memory is taken before poses come.
    joints = network.config.joints
    line = np.broadcast_to(np.linspace(0, 1, joints)[:, None], (1, lifter.frames, joints, 2))
    if not np.isfinite(lifter.lift(line, (1, 1)).poses_m).all():
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
