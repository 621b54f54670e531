"""Writes data sets in HuPR's layout, as `radar_pose_ros.datasets.hupr` reads them::

    layout.yaml                                                  what is not HuPR's
    raw_data/iwr1843/HuPR/single_<k>/{hori,vert}/adc_data.bin    frame after frame, no headers
    annotations/hrnet_annot_{train,val,test}.json

Annotations have an entry for every recording of the split; those that are not there are empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import yaml

from radar_pose_ros import documents
from radar_pose_ros.datasets.hupr import ANNOTATIONS, LAYOUT_FILE, RADARS, RAW_FILE
from radar_pose_ros.radar.config import RadarConfig

_RADAR_FILE = "radar.cfg"


def raw_folder(root: Path, number: int) -> Path:
    """Return the folder of a recording's raw samples."""
    return root / "raw_data" / "iwr1843" / "HuPR" / f"single_{number}"


class SampleWriter:
    """Writes the raw samples of both radars, a frame of each at a time.

    Parameters
    ----------
    folder : Path
        Is made; must not exist.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.frames = 0
        self._files: list[IO[bytes]] = []
        for name in RADARS:
            (folder / name).mkdir()
            self._files.append((folder / name / RAW_FILE).open("wb"))

    def add(self, frames: Sequence[np.ndarray]) -> None:
        """Write a frame of each radar, int16 in the order of the capture card."""
        for file, frame in zip(self._files, frames, strict=True):
            file.write(np.ascontiguousarray(frame, "<i2").tobytes())
        self.frames += 1

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()


def annotate(
    root: Path,
    split: str,
    numbers: Sequence[int],
    number: int,
    frames: Iterable[int],
    keypoints_px: np.ndarray,
) -> None:
    """Set a recording's labels; the box is the one around the joints.

    Parameters
    ----------
    root : Path
    split : str
    numbers : sequence of int
        Of the split's recordings, in the order of the file.
    number : int
        Of this one.
    frames : iterable of int
        Those that are labelled.
    keypoints_px : ndarray, shape (labelled, 14, 2)
    """
    path = root / "annotations" / ANNOTATIONS[split]
    lists = documents.read_json(path) if path.exists() else [[] for _ in numbers]
    lists[numbers.index(number)] = _entries(frames, keypoints_px)
    _write(path, lists)


def annotate_all(
    root: Path, split: str, labels: Iterable[tuple[Iterable[int], np.ndarray]]
) -> None:
    """Set the labels of all recordings of a split at once, in their order, as `annotate` does."""
    _write(root / "annotations" / ANNOTATIONS[split], [_entries(*one) for one in labels])


def _entries(frames: Iterable[int], keypoints_px: np.ndarray) -> list[dict[str, Any]]:
    corners = np.concatenate([keypoints_px.min(axis=1), keypoints_px.max(axis=1)], axis=1)
    return [
        {"image": f"{frame:09d}.jpg", "joints": joints.tolist(), "bbox": box.tolist()}
        for frame, joints, box in zip(frames, keypoints_px, corners, strict=True)
    ]


def _write(path: Path, lists: list[list[dict[str, Any]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(lists))
    part.replace(path)


def write_layout(
    root: Path,
    name: str,
    radar: RadarConfig,
    splits: Mapping[str, Sequence[int]],
    note: str = "",
) -> None:
    """Write what the files of a data set do not say: its radar and its splits.

    Raises
    ------
    ValueError
        If the radar's commands are not known: they are what is written.
    """
    if not radar.commands:
        raise ValueError("the radar's commands are not known, so that no configuration is written")
    root.mkdir(parents=True, exist_ok=True)
    (root / _RADAR_FILE).write_text("\n".join(radar.commands) + "\n", "utf-8")
    entries = {
        "name": name,
        "radar": _RADAR_FILE,
        "device": radar.device,
        "loops": radar.waveform.loops,
        "iq_order": radar.iq_order,
        "note": note,
        "splits": {split: list(splits.get(split, ())) for split in ANNOTATIONS},
    }
    (root / LAYOUT_FILE).write_text(yaml.safe_dump(entries, sort_keys=False), "utf-8")
