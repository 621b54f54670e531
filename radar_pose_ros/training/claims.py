"""What a paper claims, what was measured, and the rule by which the two are compared.

A claim is a *contrast*: a weighted difference between rows of a table of results, positive if the
claim's direction holds. "Both radars beat one" is row ``both`` minus row ``one``; "the more
frames, the better" weighs long windows against short ones. The rule is fixed before anything is
measured:

* Rows are trained several times, from other seeds, and every row is measured on the same test
  recordings. Each seed gives one value of the contrast, and so does each recording. Of a row that
  trains nothing the one result counts for every seed; where no row does, recordings decide.
* *Reproduced in direction*: the mean is above 0 by more than chance, both over seeds (another
  training) and over recordings (other people and motions): Student's t, one-sided, 95 %.
* *Not reproduced*: anything else. The remark says whether the difference is *opposite*, by the
  same rule, or just *not clear*.

Nothing is said about a claim's size: other data, a smaller network and a shorter training than the
paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.stats

from radar_pose_ros import documents

CONFIDENCE = 0.95

# By row the results of its seeds. Each has "row", "seed", "network", which is empty if nothing was
# trained, and "whole" and "by_recording": by measure a value, and one for each test recording.
Results = Mapping[str, Sequence[Mapping[str, Any]]]


class Measure(NamedTuple):
    """What is measured, and how it is written.

    Attributes
    ----------
    title : str
        At the head of its column.
    unit : str
    factor : float
        From its value to that unit.
    more_is_better : bool
    style : str
        Format of its value.
    """

    title: str
    unit: str = "mm"
    factor: float = 1.0
    more_is_better: bool = False
    style: str = "{:.1f}"


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
    """

    name: str
    published: str
    contrast: Mapping[str, float]
    measure: str

    def __post_init__(self) -> None:
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
    """Rows to measure and claims to judge by them, as a file ``ablations/table.yaml`` lists them.

    Parameters
    ----------
    rows : dict of str to object
        What each row is: a text, or what has one as its ``str``.
    claims : tuple of Claim
    measures : dict of str to Measure
        What can be claimed of.
    elsewhere, not_testable : tuple of dict
        Claims that other commands measure, and those that cannot be tested without the paper's
        data or machine: ``published`` and ``why``.
    """

    rows: Mapping[str, Any]
    claims: tuple[Claim, ...]
    measures: Mapping[str, Measure]
    elsewhere: tuple[Mapping[str, str], ...] = field(default=())
    not_testable: tuple[Mapping[str, str], ...] = field(default=())

    @classmethod
    def load(
        cls, path: Path, measures: Mapping[str, Measure], row: Callable[[Any], Any] = str
    ) -> Table:
        """Read a table.

        Parameters
        ----------
        path : Path
        measures : dict of str to Measure
            The first one is meant where a claim names none.
        row : callable
            Makes a row of its entry.

        Raises
        ------
        ValueError
            If it is none, or a claim names a row or a measure that there is not.
        """
        try:
            entries = documents.read_yaml(path)
            usual = {"measure": next(iter(measures))}
            table = cls(
                {name: row(entry) for name, entry in entries["rows"].items()},
                tuple(Claim(**{**usual, **claim}) for claim in entries["claims"]),
                measures,
                tuple(entries.get("elsewhere", ())),
                tuple(entries.get("not_testable", ())),
            )
        except KeyError as error:
            raise ValueError(f"{path}: there is no entry {error}") from error
        except documents.DocumentError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: {documents.shortened(error)}") from error
        for claim in table.claims:
            unknown = set(claim.contrast) - set(table.rows)
            if unknown:
                raise ValueError(f"{path}: claim {claim.name} names no row {min(unknown)!r}")
            if claim.measure not in measures:
                raise ValueError(
                    f"{path}: claim {claim.name}: measure {claim.measure!r} is none of "
                    f"{', '.join(measures)}"
                )
        return table

    def judge(self, results: Results) -> list[Verdict]:
        """Compare all claims with results."""
        return [judge(claim, results, self.measures[claim.measure]) for claim in self.claims]


def judge(claim: Claim, results: Results, measure: Measure) -> Verdict:
    """Compare a claim with results."""
    taken = {row: results.get(row, ()) for row in claim.contrast}
    if not all(taken.values()):
        return Verdict("not measured yet", "a row has no results")
    trained = [{r["seed"] for r in found} for found in taken.values() if found[0]["network"]]
    seeds = sorted(set.intersection(*trained)) if trained else [0]
    if not seeds:
        return Verdict("not measured yet", "rows have no seed in common")
    positive = sum(weight for weight in claim.contrast.values() if weight > 0)
    factor = measure.factor * (1 if measure.more_is_better else -1)
    values = np.zeros(())
    for row, weight in claim.contrast.items():
        of_seed = {r["seed"]: r["by_recording"][claim.measure] for r in taken[row]}
        if not taken[row][0]["network"]:
            of_seed = dict.fromkeys(seeds, next(iter(of_seed.values())))
        rows = np.array([of_seed[seed] for seed in seeds], float)  # (seeds, recordings)
        values = values + weight / positive * factor * rows
    difference = float(values.mean())
    margins = (margin(values.mean(1)) if trained else 0.0, margin(values.mean(0)))
    if math.isnan(difference):
        return Verdict("not measured yet", f"a result's {claim.measure} is no number")
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
