"""What a stated confidence is worth, and what is not worth stating.

The network forecasts for each joint its similarity to the truth (the joint's term of OKS). How far
the forecast holds is measured on recordings that the network was not trained on: `reliability` is
the table of it, and a `Calibration` the correction, a curve that never falls. From the corrected
confidence follows what is withheld: joints that the network cannot place, and poses where there is
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Choices, for weights that state none. A joint of the similarity 0.1 is off by 2.1 times what OKS
# takes for the spread of human annotators, doubled; a pose's mean is the OKS to be expected of it.
JOINT_MIN = 0.1
PERSON_MIN = 0.2


@dataclass(frozen=True)
class Calibration:
    """The curve from raw confidence to expected similarity, and what is withheld below.

    Parameters
    ----------
    raw : sequence of float
        Points of the curve, rising, 0 to 1; straight lines between them, constant beyond them.
    similarity : sequence of float
        The similarity that was measured there, never falling, 0 to 1.
    joint_min : float
        Joints of a lower calibrated confidence are not placed.
    person_min : float
        A pose of a lower mean calibrated confidence is no person.

    Raises
    ------
    ValueError
        If the numbers are none of a curve or a threshold; the sentence says which.
    """

    raw: tuple[float, ...] = (0.0, 1.0)
    similarity: tuple[float, ...] = (0.0, 1.0)
    joint_min: float = JOINT_MIN
    person_min: float = PERSON_MIN

    def __post_init__(self) -> None:
        for name in ("raw", "similarity"):  # from JSON they are lists
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if len(self.raw) < 2 or len(self.raw) != len(self.similarity):
            raise ValueError(
                "a calibration wants as many raw confidences as similarities and at least 2, got "
                f"{len(self.raw)} and {len(self.similarity)}"
            )
        for name, numbers in asdict(self).items():
            values = np.atleast_1d(numbers)
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} of a calibration must be 0 to 1, got {numbers}")
        if not (np.diff(self.raw) > 0).all() or not (np.diff(self.similarity) >= 0).all():
            raise ValueError("a calibration wants rising raw confidences, no falling similarities")

    @classmethod
    def of_weights(cls, entry: Mapping[str, Any]) -> Calibration:
        """Return what a manifest's entry says; confidence as it is if it says nothing.

        Raises
        ------
        ValueError
            If the entry's field ``confidence`` is no calibration.
        """
        fields = entry.get("confidence") or {}
        unknown = sorted(set(fields) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"confidence of the weights has unknown fields {', '.join(unknown)}")
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """Return the field ``confidence`` of a manifest's entry, to six decimals."""
        return {name: np.round(value, 6).tolist() for name, value in asdict(self).items()}

    def apply(self, raw: ArrayLike) -> np.ndarray:
        """Return the expected similarity for raw confidences of any shape; NaN stays NaN."""
        return np.interp(np.asarray(raw, np.float64), self.raw, self.similarity)

    def judge(
        self, keypoints_px: np.ndarray, raw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Withhold what is not known of one pose.

        Where a network states no confidence (NaN), nothing is withheld.

        Parameters
        ----------
        keypoints_px : ndarray, shape (joints, 2)
        raw : ndarray, shape (joints,)
            The network's confidence.

        Returns
        -------
        tuple of ndarray, or None
            ``(joints, 2)`` with NaN for joints that are not placed, and the calibrated confidence
            ``(joints,)`` of all of them. None if there is no person.
        """
        confidence = self.apply(raw)
        unplaced = confidence < self.joint_min
        if confidence.mean() < self.person_min or unplaced.all():
            return None
        return np.where(unplaced[:, None], np.nan, keypoints_px), confidence


def fit(
    raw: ArrayLike,
    similarity: ArrayLike,
    occupied: ArrayLike | None = None,
    *,
    joint_min: float = JOINT_MIN,
    bins: int = 40,
) -> Calibration:
    """Fit a calibration to poses whose truth is known, best of a validation set.

    Isotonic regression (Zadrozny and Elkan, KDD 2002) over bins of equally many joints. The
    threshold for a person is the one with the smallest sum of two shares: people missed, and empty
    scenes taken for a person; in the middle between the two where they do not overlap.

    Parameters
    ----------
    raw : array_like, shape (poses, joints)
        The network's confidence.
    similarity : array_like, shape (poses, joints)
        What was measured (`metrics.keypoints.joint_similarity`), 0 in an empty scene. Joints with
        NaN are left out.
    occupied : array_like of bool, optional, shape (poses,)
        False where the scene was empty. Without a single such pose `PERSON_MIN` is taken.
    joint_min : float
        Becomes the calibration's.
    bins : int
        Most points of the curve.

    Raises
    ------
    ValueError
        If shapes differ, or there are not at least two different confidences.
    """
    raw, similarity = _pair(raw, similarity)
    if raw.ndim != 2:
        raise ValueError(f"confidences must be (poses, joints), got {raw.shape}")
    known = np.isfinite(raw) & np.isfinite(similarity)
    order = np.argsort(raw[known], kind="stable")
    x, y = raw[known][order], similarity[known][order]
    points = min(bins, len(x))
    edges = np.unique(x[np.arange(points) * len(x) // max(points, 1)])
    if len(edges) < 2:
        raise ValueError(f"the confidences of {len(x)} joints hardly differ: nothing to fit")
    groups = np.searchsorted(edges, x, side="right") - 1  # equal confidences stay together
    counts = np.bincount(groups)
    means = np.bincount(groups, x) / counts
    curve = _never_falling(np.bincount(groups, y) / counts, counts)
    result = Calibration(tuple(means), tuple(curve), joint_min)
    occupied = np.ones(len(raw), bool) if occupied is None else np.asarray(occupied, bool)
    if occupied.shape != (len(raw),):
        raise ValueError(f"{len(raw)} poses, but occupied has the shape {occupied.shape}")
    if occupied.all():
        return result
    person_min = _threshold(result.apply(raw).mean(axis=1), occupied)
    return Calibration(result.raw, result.similarity, joint_min, person_min)


def _never_falling(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the nearest sequence that never falls: neighbours that do become their mean."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        length = 1
        while blocks and blocks[-1][0] >= value:
            mean, before, count = blocks.pop()
            value = (mean * before + value * weight) / (before + weight)
            weight, length = before + weight, count + length
        blocks.append((value, weight, length))
    return np.repeat([mean for mean, _, _ in blocks], [length for _, _, length in blocks])


def _threshold(scores: np.ndarray, occupied: np.ndarray) -> float:
    """Return the score from which on a scene counts as occupied."""
    places = np.unique(scores)
    candidates = (places[1:] + places[:-1]) / 2
    people, empty = np.sort(scores[occupied]), np.sort(scores[~occupied])
    missed = np.searchsorted(people, candidates) / max(len(people), 1)
    invented = 1 - np.searchsorted(empty, candidates) / len(empty)
    return float(candidates[np.argmin(missed + invented)])


def reliability(raw: ArrayLike, similarity: ArrayLike, bins: int = 10) -> list[dict[str, float]]:
    """Return how similar joints were of which a certain similarity was forecast.

    Parameters
    ----------
    raw, similarity : array_like of one shape
        Forecast, raw or calibrated, and measurement; where either is NaN a joint is left out.
    bins : int
        Equal parts of 0 to 1.

    Returns
    -------
    list of dict
        For every part that holds joints its ``lowest`` and ``highest`` confidence, how many
        there are (``count``), and their mean ``confidence`` and ``similarity``: equal if the
        forecast is right.
    """
    raw, similarity = _pair(raw, similarity)
    known = np.isfinite(raw) & np.isfinite(similarity)
    x, y = raw[known], similarity[known]
    groups = np.clip((x * bins).astype(int), 0, bins - 1)
    return [
        {
            "lowest": k / bins,
            "highest": (k + 1) / bins,
            "count": int((groups == k).sum()),
            "confidence": float(x[groups == k].mean()),
            "similarity": float(y[groups == k].mean()),
        }
        for k in np.unique(groups).tolist()
    ]


def calibration_error(table: list[dict[str, float]]) -> float:
    """Return the mean gap between forecast and measurement, by joint; NaN of an empty table."""
    counts = [row["count"] for row in table]
    gaps = [abs(row["confidence"] - row["similarity"]) for row in table]
    return float(np.average(gaps, weights=counts)) if table else float("nan")


def _pair(raw: ArrayLike, similarity: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    raw, similarity = np.asarray(raw, np.float64), np.asarray(similarity, np.float64)
    if raw.shape != similarity.shape:
        raise ValueError(f"confidences {raw.shape}, but similarities {similarity.shape}")
    return raw, similarity
