"""Sets of face videos by name, and how they are split.

"paper" is the split of PhysMamba's code, to compare with others. On PURE and UBFC-rPPG it takes
the best epoch by the very videos that it reports on, so its numbers flatter; the split says so.
"cross" is for training on one set and tests on another. "disjoint" is this project's: no person is
in two parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from radar_pose_ros.datasets import mmpd, mmse_hr, pure, ubfc_rppg, vipl_hr
from radar_pose_ros.datasets.face_videos import FaceVideo
from radar_pose_ros.vision.video import by_number

_LOADERS = {
    "ubfc_rppg": ubfc_rppg.load,
    "pure": pure.load,
    "mmpd": mmpd.load,
    "vipl_hr": vipl_hr.load,
    "mmse_hr": mmse_hr.load,
}
KINDS = tuple(_LOADERS)
# Ends of train, valid and test, as shares of the subjects; equal ends of valid and test: the same.
_PAPER = {"ubfc_rppg": (0.72, 1.0, 1.0), "pure": (0.6, 1.0, 1.0), "mmpd": (0.7, 0.8, 1.0)}
_SUBJECTS = {"ubfc_rppg": 42, "pure": 10, "mmpd": 33}
_CROSS_TRAIN = {"pure": 0.8}
_CROSS_TEST = ("mmpd", "mmse_hr")
_SHARE = 0.2  # of the subjects, in valid and in test of "disjoint" [choice]
_LEAK = (
    "valid is test: the epoch is chosen by the videos that are reported on, so the numbers flatter"
)


class Split(NamedTuple):
    """Videos to train, to choose by, and to report on.

    Attributes
    ----------
    train, valid, test : tuple of FaceVideo
    note : str
        What a reader of results has to know; empty if there is nothing.
    """

    train: tuple[FaceVideo, ...]
    valid: tuple[FaceVideo, ...]
    test: tuple[FaceVideo, ...]
    note: str = ""


def load(kind: str, root: Path | str, report: Callable[[str], None] = print) -> list[FaceVideo]:
    """Read a set of face videos.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    root : Path
    report : callable
        Gets a line about what is left out.

    Raises
    ------
    FileNotFoundError
        If there is no recording.
    ValueError
        If there is no such kind, or a file is damaged: says where.
    """
    return _LOADERS[_check(kind)](root, report)


def splits(kind: str, videos: Sequence[FaceVideo]) -> dict[str, Split]:
    """Return the splits of a set by name, those that there are: "paper", "cross", "disjoint".

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    videos : sequence of FaceVideo
        All of the set. Of UBFC-rPPG, dataset 2 counts.

    Raises
    ------
    ValueError
        If there is no such kind, or no video.
    """
    _check(kind)
    if kind == "ubfc_rppg":
        videos = [video for video in videos if video.attributes["part"] == "dataset 2"]
    if not videos:
        raise ValueError(f"{kind}: there is no video to split")
    subjects = _in_the_papers_order(kind, videos)
    made = {}
    if kind in _PAPER:
        made["paper"] = _paper(kind, videos, subjects)
    if kind in _CROSS_TRAIN:
        train, valid, _ = _cut(videos, subjects, (_CROSS_TRAIN[kind], 1.0, 1.0))
        made["cross"] = Split(train, valid, ())
    if kind in _CROSS_TEST:
        made["cross"] = Split((), (), tuple(videos))
    if len(subjects) >= 3:
        made["disjoint"] = _disjoint(kind, videos, subjects)
    return made


def _check(kind: str) -> str:
    if kind not in _LOADERS:
        raise ValueError(f"no set of face videos {kind!r}, there are {', '.join(KINDS)}")
    return kind


def _in_the_papers_order(kind: str, videos: Sequence[FaceVideo]) -> list[str]:
    """Return the subjects, sorted as text; those of MMPD as numbers."""
    names = {video.subject for video in videos}
    return sorted(names, key=by_number) if kind == "mmpd" else sorted(names)


def _cut(
    videos: Sequence[FaceVideo], subjects: Sequence[str], ends: tuple[float, float, float]
) -> tuple[tuple[FaceVideo, ...], tuple[FaceVideo, ...], tuple[FaceVideo, ...]]:
    """Return the videos of the subjects up to each end, from the one before."""
    first, second, last = (int(end * len(subjects)) for end in ends)
    return (
        _of(videos, subjects[:first]),
        _of(videos, subjects[first:second]),
        _of(videos, subjects[second:last]),
    )


def _of(videos: Sequence[FaceVideo], subjects: Sequence[str]) -> tuple[FaceVideo, ...]:
    return tuple(video for video in videos if video.subject in subjects)


def _paper(kind: str, videos: Sequence[FaceVideo], subjects: Sequence[str]) -> Split:
    train, valid, test = _cut(videos, subjects, _PAPER[kind])
    notes = []
    if not test:
        test = valid
        notes.append(_LEAK)
    if len(subjects) != _SUBJECTS[kind]:
        notes.append(
            f"{len(subjects)} subjects, not {_SUBJECTS[kind]}: not the videos of the paper's split"
        )
    return Split(train, valid, test, "; ".join(notes))


def _disjoint(kind: str, videos: Sequence[FaceVideo], subjects: Sequence[str]) -> Split:
    """Return a split by an order of the subjects that follows from nothing but their names."""
    mixed = sorted(
        subjects, key=lambda name: hashlib.sha256(f"{kind}/{name}".encode()).hexdigest()
    )
    count = max(1, round(_SHARE * len(mixed)))
    return Split(
        train=_of(videos, mixed[2 * count :]),
        valid=_of(videos, mixed[:count]),
        test=_of(videos, mixed[count : 2 * count]),
    )
