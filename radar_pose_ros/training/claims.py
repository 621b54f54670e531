"""What a paper claims, what was measured, and the rule by which the two are compared.

A claim is a *contrast*: a weighted difference between rows of a table of results, positive if the
claim's direction holds. "Both radars beat one" is row ``both`` minus row ``one``; "the more
frames, the better" weighs long windows against short ones. The rule is fixed before anything is
measured:

* Rows are trained several times, from other seeds, and every row is measured on the same test
  recordings. Each seed gives one value of the contrast, and so does each recording.
* *Reproduced in direction*: the mean is above 0 by more than chance, both over seeds (another
  training) and over recordings (other people and motions): Student's t, one-sided, 95 %.
* *Not reproduced*: anything else. The remark says whether the difference is *opposite*, by the
  same rule, or just *not clear*.

Nothing is said about a claim's size: other data, a smaller network and a shorter training than the
paper's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.stats
import yaml

CONFIDENCE = 0.95

# Unit of a measure, factor from its value to that unit, and whether more is better.
MEASURES: dict[str, tuple[str, float, bool]] = {
    "ap": ("points", 100.0, True),
    "oks": ("points", 100.0, True),
    "error_px": ("px", 1.0, False),
    "velocity_error_px": ("px per frame", 1.0, False),
    "jerk_px": ("px per frame^3", 1.0, False),
}


@dataclass(frozen=True)
class Claim:
    """A published claim that a table of results can speak of.

    Parameters
    ----------
    name : str
    published : str
        The claim with its numbers and where it stands.
    contrast : dict of str to float
        Weight of each row, positive for those that the claim says are better. They are scaled so
        that the positive ones, and the negative ones, sum to 1 in magnitude.
    measure : str
        One of `MEASURES`.
    """

    name: str
    published: str
    contrast: Mapping[str, float]
    measure: str = "ap"

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(
                f"claim {self.name}: measure {self.measure!r} is none of {', '.join(MEASURES)}"
            )
        weights = list(self.contrast.values())
        if not weights or max(weights) <= 0 or not math.isclose(sum(weights), 0, abs_tol=1e-9):
            raise ValueError(f"claim {self.name}: the contrast's weights must sum to 0")


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of a claim.

    Attributes
    ----------
    outcome : str
    remark : str
        Why, in words.
    difference : float
        Mean of the contrast in the measure's unit, positive in the claim's direction.
    margins : tuple of float
        By how much it must exceed 0: over seeds, over recordings. NaN if that cannot be told.
    """

    outcome: Literal["reproduced in direction", "not reproduced", "not measured yet"]
    remark: str = ""
    difference: float = math.nan
    margins: tuple[float, float] = (math.nan, math.nan)


@dataclass(frozen=True)
class Table:
    """Rows to train and claims to judge by them, as ``recipes/ablations/table.yaml`` lists them.

    Parameters
    ----------
    rows : dict of str to str
        What each row is; its recipe is the file of that name beside the table.
    claims : tuple of Claim
    elsewhere, not_testable : tuple of dict
        Claims that other commands measure, and those that cannot be tested without the paper's
        data or machine: ``published`` and ``why``.
    """

    rows: Mapping[str, str]
    claims: tuple[Claim, ...]
    elsewhere: tuple[Mapping[str, str], ...] = field(default=())
    not_testable: tuple[Mapping[str, str], ...] = field(default=())

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a table.

        Raises
        ------
        ValueError
            If it is none, or a claim names a row that is not in it.
        """
        try:
            entries = yaml.safe_load(path.read_text())
            table = cls(
                rows=entries["rows"],
                claims=tuple(Claim(**claim) for claim in entries["claims"]),
                elsewhere=tuple(entries.get("elsewhere", ())),
                not_testable=tuple(entries.get("not_testable", ())),
            )
        except KeyError as error:
            raise ValueError(f"{path}: there is no entry {error}") from error
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error
        for claim in table.claims:
            unknown = set(claim.contrast) - set(table.rows)
            if unknown:
                raise ValueError(f"{path}: claim {claim.name} names no row {min(unknown)!r}")
        return table


def judge(claim: Claim, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Verdict:
    """Compare a claim with results.

    Parameters
    ----------
    claim : Claim
    results : dict of str to sequence of dict
        For each row the results of its seeds, each with ``seed`` and, in ``by_recording``, a list
        per measure with one value per test recording.

    Returns
    -------
    Verdict
    """
    seeds = [{result["seed"] for result in results.get(row, ())} for row in claim.contrast]
    common = sorted(set.intersection(*seeds))
    if not common:
        return Verdict("not measured yet", "a row has no results")
    _, scale, more_is_better = MEASURES[claim.measure]
    positive = sum(weight for weight in claim.contrast.values() if weight > 0)
    values = np.zeros(())
    for row, weight in claim.contrast.items():
        of_seed = {
            result["seed"]: result["by_recording"][claim.measure] for result in results[row]
        }
        rows = np.array([of_seed[seed] for seed in common], float)  # (seeds, recordings)
        values = values + weight / positive * scale * (1 if more_is_better else -1) * rows
    difference = float(values.mean())
    margins = (margin(values.mean(1)), margin(values.mean(0)))
    if math.isnan(sum(margins)):
        return Verdict("not measured yet", "one seed or recording is not enough", difference)
    if difference > max(margins):
        return Verdict("reproduced in direction", "", difference, margins)
    remark = "opposite" if -difference > max(margins) else "not clear"
    return Verdict("not reproduced", remark, difference, margins)


def margin(values: np.ndarray) -> float:
    """Return what the mean of values must exceed to be above 0 by more than chance.

    Student's one-sided t-test at `CONFIDENCE`; NaN for fewer than two values.
    """
    if len(values) < 2:
        return math.nan
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return float(scipy.stats.t.ppf(CONFIDENCE, len(values) - 1) * error)
