"""Which people networks that see poses only learn from, and which are kept for measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from radar_pose_ros.simulation.body import SPLITS
from radar_pose_ros.wording import nearest


@dataclass(frozen=True)
class MovementData:
    """Which movements to learn from.

    Parameters
    ----------
    rate_hz : float
        Frames per second; data sets with detections of their own keep theirs.
    simulated : dict of str to int
        People to simulate per split, no split being missing.
    seconds : float
        Length of a simulated movement.
    seed : int
        Of the simulated movements.
    held_out : dict of str to list of str
        Recorded subjects of the splits "validation" and "test"; all others are for training.
    """

    rate_hz: float
    simulated: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    seconds: float = 20.0
    seed: int = 0
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [split for split in SPLITS if split not in self.simulated]
        if missing:
            raise ValueError(f"data: simulated has no entry {', '.join(missing)}")
        strange = [split for split in self.simulated if split not in SPLITS]
        if strange:
            raise ValueError(
                f"data: simulated: there is no such entry as {strange[0]!r}: "
                f"{nearest(strange[0], SPLITS)}"
            )
        unknown = set(self.held_out) - {"validation", "test"}
        if unknown:
            raise ValueError(f"data: held_out is for validation and test, not {min(unknown)!r}")
        if not self.rate_hz > 0:
            raise ValueError(f"data: rate_hz must be positive, got {self.rate_hz}")


class OfSubject(Protocol):
    """What somebody did."""

    @property
    def subject(self) -> str:
        """Who."""


S = TypeVar("S", bound=OfSubject)


def of_split(recorded: Sequence[S], data: MovementData, split: str, path: Path) -> list[S]:
    """Return those recorded movements that belong to a split.

    Parameters
    ----------
    recorded : sequence
    data : MovementData
    split : {"train", "validation", "test"}
    path : Path
        Where they are from, for the error.

    Raises
    ------
    ValueError
        If somebody held out is not among them.
    """
    subjects = {movement.subject for movement in recorded}
    held_out = {name for names in data.held_out.values() for name in names}
    if held_out - subjects:
        raise ValueError(
            f"{path}: no movement of {', '.join(sorted(held_out - subjects))}, there are "
            f"{', '.join(sorted(subjects))}"
        )
    wanted = subjects - held_out if split == "train" else set(data.held_out.get(split, ()))
    return [movement for movement in recorded if movement.subject in wanted]


def check_split(split: str) -> None:
    """Raise ``ValueError`` unless there is such a split."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
