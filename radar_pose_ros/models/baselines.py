"""What a network has to beat: estimates that need no network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import documents
from radar_pose_ros.radar.heatmap import angle_transform
from radar_pose_ros.radar.person_range import antennas_of
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import sine_axis
from radar_pose_ros.skeleton.projection import CAMERA_HEIGHT_M, FOCAL_LENGTH_PX, project

_ROW_BINS = 64
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class MeanPoseBaseline:
    """Always the mean training pose, placed at the radars' strongest return.

    The place is where the range of most energy and each radar's strongest angle at that range
    point to. Angles are those of the antennas that stand in one row: in the transform over all
    twelve, peaks stand some bins off, which would not be fair to the baseline. The pose is what
    the training set shows around that place on average, in metres, so that it shrinks with
    distance; a constant offset between the strongest return and the body is part of that average.

    Parameters
    ----------
    offsets_m : tuple of (float, float)
        For each joint the mean of (joint - place), right and down, both projected, times the
        place's depth over the focal length.
    range_first_m, range_step_m : float
        Range of the heatmaps' first bin, and from bin to bin.
    frames : int
        How many frames the mean was taken over.
    """

    offsets_m: tuple[tuple[float, float], ...]
    range_first_m: float
    range_step_m: float
    frames: int

    @classmethod
    def fit(
        cls, samples: Iterable[Sample], range_first_m: float, range_step_m: float
    ) -> MeanPoseBaseline:
        """Average over frames.

        Parameters
        ----------
        samples : iterable of (ndarray, ndarray, ndarray)
            The heatmaps of the horizontal and of the vertical radar, complex, (angle, doppler,
            range), and the true joints in pixels, (joints, 2). Frames without any echo, or with
            the strongest at no distance, are left out.
        range_first_m, range_step_m : float
            See the class.

        Raises
        ------
        ValueError
            If there is no frame with an echo.
        """
        total, frames = np.zeros(()), 0
        for heatmap_h, heatmap_v, keypoints_px in samples:
            place_m = strongest_return(heatmap_h, heatmap_v, range_first_m, range_step_m)
            place_px = project(place_m)
            if np.isnan(place_px).any():
                continue
            total = total + (np.asarray(keypoints_px) - place_px) / _scale_px(place_m)
            frames += 1
        if not frames:
            raise ValueError("no frame with an echo to take the mean pose of")
        offsets = tuple((float(right), float(down)) for right, down in total / frames)
        return cls(offsets, float(range_first_m), float(range_step_m), frames)

    def predict(self, heatmap_h: np.ndarray, heatmap_v: np.ndarray) -> np.ndarray:
        """Return the joints in pixels, ``(joints, 2)``; NaN without an echo.

        Heatmaps as in `fit`, of any number of angle bins.
        """
        place_m = strongest_return(heatmap_h, heatmap_v, self.range_first_m, self.range_step_m)
        return project(place_m) + _scale_px(place_m) * np.array(self.offsets_m)

    def save(self, path: Path) -> None:
        """Write the numbers as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> MeanPoseBaseline:
        """Read what `save` wrote.

        Parameters
        ----------
        source : path, or mapping
            The file, or the entry of a network's weights as `weights.load` returns it, beside
            which the file lies.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        ValueError
            If it does not hold such numbers.
        """
        if isinstance(source, str | Path):
            path = Path(source)
        elif source.get("baseline"):
            path = Path(source["directory"]) / source["baseline"]
        else:
            raise FileNotFoundError(f"weights {source.get('file')!r} come with no baseline")
        if not path.is_file():
            raise FileNotFoundError(f"there is no baseline {path}")
        try:
            entries = documents.read_json(path)
            offsets = np.array(entries.pop("offsets_m"), np.float64).reshape(-1, 2)
            baseline = cls(tuple((right, down) for right, down in offsets.tolist()), **entries)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            said = documents.shortened(error)
            raise ValueError(f"{path} does not hold a mean pose: {said}") from error
        if not (len(offsets) and np.isfinite(offsets).all()):
            raise ValueError(f"{path} does not hold a mean pose: {offsets.shape[0]} finite joints")
        return baseline


def strongest_return(
    heatmap_h: np.ndarray, heatmap_v: np.ndarray, range_first_m: float, range_step_m: float
) -> np.ndarray:
    """Return where both radars together see the strongest return.

    Parameters
    ----------
    heatmap_h, heatmap_v : ndarray, shape (angle, doppler, range)
        Complex, of the radar whose angle is the azimuth, positive to the left, and of the one
        whose angle is the elevation, positive up.
    range_first_m, range_step_m : float
        Range of the first bin, and from bin to bin.

    Returns
    -------
    ndarray, shape (3,)
        In the rig's frame, metres. Taken as seen from one point, the camera's; the 5 cm from
        there to each radar are neglected. NaN if a heatmap is all zero or the angles exclude each
        other.
    """
    powers = [np.square(np.abs(heatmap)).sum(1) for heatmap in (heatmap_h, heatmap_v)]
    totals = [power.sum() for power in powers]
    if not all(np.isfinite(total) and total > 0 for total in totals):
        return np.full(3, np.nan)
    # both radars count the same, whatever their gains
    profile = sum(power.sum(0) / total for power, total in zip(powers, totals, strict=True))
    place = int(np.argmax(profile))
    left, up = (_strongest_sine(heatmap[:, :, place]) for heatmap in (heatmap_h, heatmap_v))
    forward = np.sqrt(1 - left**2 - up**2) if left**2 + up**2 < 1 else np.nan
    range_m = range_first_m + range_step_m * place
    return range_m * np.array([forward, left, up]) + [0.0, 0.0, CAMERA_HEIGHT_M]


def _strongest_sine(column: np.ndarray) -> float:
    """Return the sine of the angle from which most comes, given (angle, doppler) of one range."""
    array = VirtualArray("IWR1843", tx_order=(1, 2, 3), rx=(1, 2, 3, 4))
    row = angle_transform(antennas_of(column)[array.azimuth_row, :, None], _ROW_BINS)
    power = np.square(np.abs(row)).sum((1, 2))
    return float(sine_axis(_ROW_BINS)[np.argmax(power)])


def _scale_px(place_m: np.ndarray) -> float:
    """Return how many pixels one metre takes at that depth."""
    return FOCAL_LENGTH_PX / float(place_m[0]) if place_m[0] > 0 else float("nan")
