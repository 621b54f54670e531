"""HuPR and data sets of its layout: one person before two radars, labelled by a camera.

What is read, anywhere up to five folders below a data set's root (HuPR's archives may be unpacked
as they come, or lie where its own programs want them)::

    single_<k>/{hori,vert}/adc_data.bin         raw samples, frame after frame, no headers
    single_<k>/{hori,vert}/000000123.npy        4-D heatmaps as HuPR's script makes them
    hrnet_annot_{train,val,test}.json           joints and boxes, a list per recording

Raw samples are the better source: heatmaps are computed from them when they are asked for, by any
chain, and nothing need be stored. HuPR's own heatmaps are eleven times as large, but its
transforms over the antennas can be undone exactly: they give the same as raw samples for chains
that look at nothing but the central 16 Doppler bins and range bins 31 to 94, which they hold.

``config/hupr.yaml`` has what the files do not say: the radar, and which recording is in which
split, in the order of the annotation files. A data set of the same layout, such as TransHuPR
(``config/transhupr.yaml``), is described by a ``layout.yaml`` in its root.

Source: HuPR's public repository and its issues; specifications of the capture card.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.fft

from radar_pose_ros import documents, resources
from radar_pose_ros.datasets.recordings import Recording, load_array
from radar_pose_ros.metrics.keypoints import person_area
from radar_pose_ros.radar.config import DEVICES, ConfigError, RadarConfig
from radar_pose_ros.radar.dca1000 import decode_samples
from radar_pose_ros.radar.heatmap import (
    HeatmapConfig,
    HeatmapProcessor,
    four_dimensional_transform,
)
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.skeleton.definitions import HUPR14

RADARS = ("hori", "vert")
ANNOTATIONS = {
    "train": "hrnet_annot_train.json",
    "validation": "hrnet_annot_val.json",
    "test": "hrnet_annot_test.json",
}
RAW_FILE = "adc_data.bin"
LAYOUT_FILE = "layout.yaml"
# What HuPR's script keeps of a frame: (Doppler, range falling from bin 94, azimuth, elevation).
STORED_SHAPE = (16, 64, 64, 8)
STORED_RANGE_FIRST = 31

_DEPTH = 5
_RECORDING = re.compile(r"single_(\d+)")
_IDS_PER_RECORDING = 100_000
_MOST_RECORDINGS = 100_000  # of a data set [choice]

Source = Literal["auto", "raw", "preprocessed"]


@dataclass(frozen=True)
class Layout:
    """What the files of a data set do not say.

    Parameters
    ----------
    name : str
        Of the data set.
    radar : RadarConfig
        Of both radars.
    splits : dict of str to tuple of int
        Numbers of the recordings of each split, in the order of the annotation files.
    subjects : dict of int to str
        Who is in a recording, where that is known.
    note : str
        What a reader of results has to know; empty if there is nothing.
    """

    name: str
    radar: RadarConfig
    splits: dict[str, tuple[int, ...]]
    subjects: dict[int, str] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def load(cls, path: Path) -> Layout:
        """Read a file such as ``config/hupr.yaml``; `ConfigError` says what is wrong in it."""
        try:
            entries = documents.read_yaml(path)
            beside = path.parent / entries["radar"]
            radar_file = beside if beside.is_file() else resources.find("config", entries["radar"])
            radar = load_cfg(radar_file, entries.get("device", DEVICES[0]))
            radar = replace(
                radar,
                waveform=replace(radar.waveform, loops=entries["loops"]),
                iq_order=entries["iq_order"],
            )
            people = {name: _ids(ids, {}) for name, ids in entries.get("subjects", {}).items()}
            splits = {split: _ids(entries["splits"][split], people) for split in ANNOTATIONS}
            _ids([number for ids in splits.values() for number in ids], {})  # none is in two
        except KeyError as error:
            raise ConfigError(f"{path}: there is no entry {error}") from error
        except documents.DocumentError as error:
            raise ConfigError(str(error)) from error
        except (TypeError, AttributeError, ValueError, OSError) as error:
            raise ConfigError(f"{path}: {documents.shortened(error)}") from error
        subjects = {number: name for name, numbers in people.items() for number in numbers}
        return cls(entries["name"], radar, splits, subjects, entries.get("note", ""))

    @classmethod
    def of(cls, root: Path) -> Layout:
        """Return the layout of a data set: its own, or HuPR's if it brings none."""
        own = root / LAYOUT_FILE
        return cls.load(own if own.is_file() else resources.find("config", "hupr.yaml"))


def _ids(entries: Iterable[int | str], people: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Expand numbers, ranges such as "2-13" and names of people; nothing may come twice."""
    numbers: list[int] = []
    for entry in entries:
        ends = re.fullmatch(r"(\d+)-(\d+)", str(entry))
        if isinstance(entry, int):
            numbers.append(entry)
        elif entry in people:
            numbers.extend(people[entry])
        elif ends and int(ends[2]) - int(ends[1]) < _MOST_RECORDINGS:
            numbers.extend(range(int(ends[1]), int(ends[2]) + 1))
        else:
            raise ValueError(f"{entry!r:.80} is no number, range or subject")
        if len(numbers) > _MOST_RECORDINGS:
            raise ValueError(f"more than {_MOST_RECORDINGS} recordings")
    twice = {number for number, count in Counter(numbers).items() if count > 1}
    if twice:
        raise ValueError(f"recordings {sorted(twice)!s:.200} are listed more than once")
    return tuple(numbers)


@dataclass(frozen=True)
class HuprRecording(Recording):
    """Consecutive labelled frames of one recording.

    Beside the attributes of a simulated recording (joints in metres are not known, hence NaN; the
    motions are "unknown"):

    Attributes
    ----------
    range_doppler : RangeDoppler, or ndarray of float16 where there is a cache
        Shape ``(frames, 2, antennas, doppler, range, 2)``, root mean square 1.
    area_px2 : ndarray of float32, shape (frames,)
        Half the area of the annotated box: what HuPR calls a person's area.
    image_ids : ndarray of int, shape (frames,)
        ``frame + 100000 * recording``; HuPR's AP depends on this order.
    """

    range_doppler: Any
    area_px2: np.ndarray = field(kw_only=True)
    image_ids: np.ndarray = field(kw_only=True)

    def areas_px2(self) -> np.ndarray:
        """Return `area_px2`."""
        return self.area_px2


# -------------------------------------------------------------------------------------------------
# Where things are


@dataclass(frozen=True)
class _Found:
    """Files of a data set: annotations by split, folders by number of the recording."""

    annotations: dict[str, Path] = field(default_factory=dict)
    raw: dict[int, Path] = field(default_factory=dict)
    preprocessed: dict[int, Path] = field(default_factory=dict)


def _find(root: Path) -> _Found:
    found = _Found()
    for folder in _folders(root, _DEPTH):
        recording = _RECORDING.fullmatch(folder.name)
        if recording is None:
            for split, name in ANNOTATIONS.items():
                if (folder / name).is_file():
                    found.annotations.setdefault(split, folder / name)
            continue
        number = int(recording[1])
        if all((folder / radar / RAW_FILE).is_file() for radar in RADARS):
            found.raw.setdefault(number, folder)
        if all(any((folder / radar).glob("*.npy")) for radar in RADARS):
            found.preprocessed.setdefault(number, folder)
    return found


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """Yield a folder and those below it, in order, but none inside of a recording."""
    yield root
    if depth == 0 or not root.is_dir() or _RECORDING.fullmatch(root.name):
        return
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield from _folders(path, depth - 1)


def is_hupr(root: Path) -> bool:
    """Return whether a folder holds a data set of this layout: annotations or recordings."""
    found = _find(root)
    return bool(found.annotations or found.raw or found.preprocessed)


def suited_heatmap(root: Path, heatmap: HeatmapConfig, source: Source = "auto") -> HeatmapConfig:
    """Return the chain nearest to a wanted one that every recording of a data set can give.

    Where there are only HuPR's own heatmaps, chirps cannot be subsampled: the central Doppler bins
    are taken instead.
    """
    found = _find(root)
    from_stored = any(not raw for _, raw in _folders_of(found, source).values())
    return replace(heatmap, chirps="central_doppler") if from_stored else heatmap


# -------------------------------------------------------------------------------------------------
# Labels


@dataclass(frozen=True)
class Labels:
    """Labels of one recording, by rising frame.

    Attributes
    ----------
    frames : ndarray of int, shape (labelled,)
    keypoints_px : ndarray of float32, shape (labelled, 14, 2)
    boxes_px : ndarray of float32, shape (labelled, 4)
        x1, y1, x2, y2.
    """

    frames: np.ndarray
    keypoints_px: np.ndarray
    boxes_px: np.ndarray


def read_annotations(path: Path, recordings: Sequence[int]) -> dict[int, Labels]:
    """Read ``hrnet_annot_<split>.json``.

    Parameters
    ----------
    path : Path
    recordings : sequence of int
        Numbers of the split's recordings; the file has one list of frames for each, in this order,
        which may be empty.

    Raises
    ------
    ValueError
        If the file does not fit the split, or an entry is damaged: says which.
    """
    lists = documents.read_json(path)
    if not isinstance(lists, list) or len(lists) != len(recordings):
        count = len(lists) if isinstance(lists, list) else "no list of"
        raise ValueError(
            f"{path} holds {count} recordings, but its split has {len(recordings)}: correct "
            f"`splits` in {LAYOUT_FILE}"
        )
    return {
        number: _labels(entries, f"{path}: single_{number}")
        for number, entries in zip(recordings, lists, strict=True)
    }


def _labels(entries: Any, where: str) -> Labels:
    if not isinstance(entries, list):
        raise ValueError(f"{where}: want a list of frames, got {entries!r:.80}")
    joints, count = len(HUPR14.joints), len(entries)
    try:
        frames = np.array([int(Path(entry["image"]).stem) for entry in entries], int)
        keypoints_px = np.array([entry["joints"] for entry in entries], np.float32)
        boxes_px = np.array([entry["bbox"] for entry in entries], np.float32)
    except KeyError as error:
        raise ValueError(f"{where}: an entry has no {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {documents.shortened(error)}") from error
    if count and (keypoints_px.shape[1:] != (joints, 2) or boxes_px.shape[1:] != (4,)):
        raise ValueError(
            f"{where}: want {joints} x 2 joints and boxes of 4 numbers, got "
            f"{keypoints_px.shape[1:]} and {boxes_px.shape[1:]}"
        )
    for name, values in (("joint", keypoints_px), ("box", boxes_px)):
        unknown = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if unknown.any():
            raise ValueError(
                f"{where}: frame {frames[unknown][0]} has a {name} that is not finite; leave the "
                "frame out, or place it"
            )
    order = np.argsort(frames, kind="stable")
    if (np.diff(frames[order]) == 0).any():
        raise ValueError(f"{where}: a frame is labelled twice")
    return Labels(
        frames[order],
        keypoints_px.reshape(count, joints, 2)[order],
        boxes_px.reshape(count, 4)[order],
    )


# -------------------------------------------------------------------------------------------------
# Frames


class _RawFrames:
    """Range-Doppler maps computed from raw samples."""

    def __init__(self, folder: Path, processor: HeatmapProcessor, report: Callable[[str], None]):
        self.processor = processor
        self.paths = [folder / radar / RAW_FILE for radar in RADARS]
        counts = []
        for path in self.paths:
            count, rest = divmod(path.stat().st_size, processor.config.bytes_per_frame)
            if rest:
                report(f"{path}: the last {rest} bytes are no whole frame, left out")
            counts.append(count)
        self.frames = np.arange(min(counts))

    def cube(self, radar: int, frame: int) -> np.ndarray:
        """Return complex64 (antennas, doppler, range) of a frame."""
        return self.processor.range_doppler(self.samples(radar, frame))

    def samples(self, radar: int, frame: int) -> np.ndarray:
        size = self.processor.config.bytes_per_frame
        return np.fromfile(self.paths[radar], "<i2", size // 2, offset=frame * size)


class _StoredFrames:
    """Range-Doppler maps recovered from HuPR's own heatmaps."""

    def __init__(self, folder: Path, processor: HeatmapProcessor):
        self.processor = processor
        _check_stored_suffices(folder, processor.heatmap)
        self.paths = [folder / radar for radar in RADARS]
        first, second = (
            {int(file.stem) for file in path.glob("*.npy") if file.stem.isdigit()}
            for path in self.paths
        )
        self.frames = np.array(sorted(first & second), int)

    def cube(self, radar: int, frame: int) -> np.ndarray:
        """Return complex64 (antennas, doppler, range) of a frame."""
        path = self.paths[radar] / f"{frame:09d}.npy"
        try:
            stored = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if stored.shape != STORED_SHAPE or not np.iscomplexobj(stored):
            raise ValueError(
                f"{path}: want complex values of shape {STORED_SHAPE}, got {stored.dtype} "
                f"{stored.shape}"
            )
        heatmap = self.processor.heatmap
        doppler = STORED_SHAPE[0] // 2 - heatmap.doppler_bins // 2
        far = STORED_RANGE_FIRST + STORED_SHAPE[1] - heatmap.range_first  # beyond the last row
        kept = stored[
            doppler : doppler + heatmap.doppler_bins, far - heatmap.range_bins : far
        ].astype(np.complex64)
        by_antenna = kept.reshape(*kept.shape[:2], -1) @ _antennas_from_angles()
        return by_antenna[:, ::-1].transpose(2, 0, 1)


def _check_stored_suffices(folder: Path, heatmap: HeatmapConfig) -> None:
    """Raise `ValueError` if HuPR's heatmaps lack what a chain needs."""
    last = STORED_RANGE_FIRST + STORED_SHAPE[1] - 1
    wanted = {
        "chirps": heatmap.chirps == "central_doppler",
        "doppler_bins": heatmap.doppler_bins <= STORED_SHAPE[0],
        "range_first": heatmap.range_first >= STORED_RANGE_FIRST,
        "range_bins": heatmap.range_first + heatmap.range_bins - 1 <= last,
        "clutter_removal": heatmap.clutter_removal,
        "window": heatmap.window == "none",
        "tdm_compensation": not heatmap.tdm_compensation,
    }
    for name, suffices in wanted.items():
        if not suffices:
            raise ValueError(
                f"{folder}: {name} = {getattr(heatmap, name)!r} wants raw samples ({RAW_FILE}); "
                f"HuPR's heatmaps hold the {STORED_SHAPE[0]} central Doppler bins and range bins "
                f"{STORED_RANGE_FIRST} to {last}, without clutter, window or compensation"
            )


@functools.lru_cache(maxsize=1)
def _antennas_from_angles() -> np.ndarray:
    """Undo HuPR's transforms over the antennas: complex64 (azimuth * elevation, antennas)."""
    antennas = np.eye(12, dtype=np.complex64)[..., None, None]
    forward = four_dimensional_transform(antennas, *STORED_SHAPE[2:]).reshape(12, -1)
    # singular values are 8 and 16 sqrt(2): nothing is lost
    return np.linalg.pinv(forward.astype(complex)).astype(np.complex64)


_Frames = _RawFrames | _StoredFrames


# Windows overlap, and an evaluation asks for them one after the other.
@functools.lru_cache(maxsize=128)
def _both_radars(frames: _Frames, frame: int) -> np.ndarray:
    """Return float32 (2, antennas, doppler, range, 2), root mean square 1 per radar."""
    cubes = np.stack([frames.cube(radar, frame) for radar in range(len(RADARS))])
    power = np.mean(cubes.real**2 + cubes.imag**2, axis=(1, 2, 3), keepdims=True)
    cubes /= np.sqrt(np.where(power > 0, power, 1)).astype(np.float32)
    parts = np.ascontiguousarray(cubes).view(np.float32).reshape(*cubes.shape, 2)
    parts.flags.writeable = False
    return parts


class RangeDoppler:
    """Range-Doppler maps of consecutive frames, computed when they are asked for.

    Index it over the frames like an array of shape ``(frames, 2, antennas, doppler, range, 2)``:
    horizontal radar first, real and imaginary part, root mean square 1 per frame and radar.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, frames: _Frames, chosen: np.ndarray) -> None:
        self._frames = frames
        self._chosen = chosen
        heatmap, antennas = frames.processor.heatmap, len(frames.processor.array)
        self.shape = (
            *(len(chosen), len(RADARS), antennas, heatmap.doppler_bins, heatmap.range_bins),
            2,
        )

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        chosen = self._chosen[index]
        if np.ndim(chosen) == 0:
            return _both_radars(self._frames, int(chosen))
        parts = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for place, frame in enumerate(chosen):
            parts[place] = _both_radars(self._frames, int(frame))
        return parts


def _cached(
    frames: _Frames, chosen: np.ndarray, path: Path, report: Callable[[str], None]
) -> np.ndarray:
    """Return the same from a file of float16, which is written first if it is not there."""
    if not path.exists():
        report(f"writing {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        computed = RangeDoppler(frames, chosen)
        # Complete or not there, even if several processes write it at once.
        part = path.with_suffix(f".{os.getpid()}.part")
        stored = np.lib.format.open_memmap(part, "w+", np.float16, shape=computed.shape)
        for place in range(len(computed)):
            stored[place] = computed[place]
        stored.flush()
        os.replace(part, path)
    return load_array(path)


def _cache_file(cache: Path, number: int, frames: _Frames, chosen: np.ndarray) -> Path:
    """Name a file after everything that its content depends on."""
    chain = asdict(replace(frames.processor.heatmap, angle_bins=64))  # chosen when it is read
    config = frames.processor.config
    radar = [config.device, config.adc_shape, config.tx_order, config.rx_antennas, config.iq_order]
    files = [(path.stat().st_size, path.stat().st_mtime_ns) for path in frames.paths]
    content = [type(frames).__name__, chain, radar, files, chosen.tolist()]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return cache / f"single_{number}_{digest[:16]}.npy"


def _check_iq_order(frames: _RawFrames) -> None:
    """Raise `ConfigError` if echoes lie at negative beat frequencies: I and Q are exchanged."""
    config = frames.processor.config
    for radar, path in enumerate(frames.paths):
        cube = decode_samples(frames.samples(radar, 0), config.adc_shape, config.iq_order)
        power = np.square(np.abs(scipy.fft.fft(cube[0], axis=-1))).sum((0, 1))
        half = len(power) // 2
        if power[half + 1 :].sum() > 2 * power[1:half].sum():
            raise ConfigError(
                f"{path}: with iq_order {config.iq_order!r} all echoes come from behind; correct "
                f"it in {LAYOUT_FILE}"
            )


# -------------------------------------------------------------------------------------------------


def load_split(
    root: Path,
    split: str,
    heatmap: HeatmapConfig,
    *,
    source: Source = "auto",
    cache: Path | None = None,
    report: Callable[[str], None] = print,
) -> list[HuprRecording]:
    """Open the recordings of a split.

    Parameters
    ----------
    root : Path
        Folder of the data set, see the module.
    split : str
        "train", "validation" or "test".
    heatmap : HeatmapConfig
        The chain; its angle bins do not matter here.
    source : {"auto", "raw", "preprocessed"}
        Raw samples, HuPR's own heatmaps, or per recording the first of these that is there.
    cache : Path, optional
        Folder to keep range-Doppler maps in: 25 KB per frame and radar for 8 x 64 bins, one
        thirtieth of the raw samples. Missing ones are computed at once, some seconds per
        recording.
    report : callable
        Gets a line about everything that is left out or takes long.

    Returns
    -------
    list of HuprRecording
        By rising number, as the images are ordered where HuPR computes its AP. A recording whose
        labels or frames have gaps comes in several pieces.

    Raises
    ------
    FileNotFoundError
        If there are no annotations, or no recording of the split.
    ValueError
        If a file is not what it should be, or cannot give the wanted heatmaps.
    """
    if split not in ANNOTATIONS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(ANNOTATIONS)}")
    layout, found = Layout.of(root), _find(root)
    if split not in found.annotations:
        raise FileNotFoundError(
            f"there is no {ANNOTATIONS[split]} in {root}, nor up to {_DEPTH} folders below it"
        )
    labels = read_annotations(found.annotations[split], layout.splits[split])
    processor = HeatmapProcessor(layout.radar, heatmap)
    folders = _folders_of(found, source)
    missing = [number for number in layout.splits[split] if number not in folders]
    if len(missing) == len(layout.splits[split]):
        raise FileNotFoundError(f"{root} holds none of the {len(missing)} recordings of {split}")
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        report(f"{split}: {len(missing)} of {len(layout.splits[split])} not there: single_{shown}")
    if layout.note:
        report(f"{layout.name}: {layout.note}")
    recordings: list[HuprRecording] = []
    for number in sorted(set(layout.splits[split]) & set(folders)):
        folder, raw = folders[number]
        frames = _RawFrames(folder, processor, report) if raw else _StoredFrames(folder, processor)
        if isinstance(frames, _RawFrames) and not recordings and len(frames.frames):
            _check_iq_order(frames)
        recordings += _pieces(number, folder, frames, labels[number], layout, split, cache, report)
    if not recordings:
        raise FileNotFoundError(f"{root}: no frame of {split} has both labels and radar data")
    return recordings


def _folders_of(found: _Found, source: Source) -> dict[int, tuple[Path, bool]]:
    """Return the folder of each recording, and whether its raw samples are to be read."""
    raw = {number: (folder, True) for number, folder in found.raw.items()}
    stored = {number: (folder, False) for number, folder in found.preprocessed.items()}
    choices = {"auto": stored | raw, "raw": raw, "preprocessed": stored}
    if source not in choices:
        raise ValueError(f"source must be one of {', '.join(choices)}, got {source!r}")
    return choices[source]


def _pieces(
    number: int,
    folder: Path,
    frames: _Frames,
    labels: Labels,
    layout: Layout,
    split: str,
    cache: Path | None,
    report: Callable[[str], None],
) -> Iterator[HuprRecording]:
    """Yield each run of consecutive frames that have labels and data of both radars."""
    usable = np.intersect1d(labels.frames, frames.frames)
    if len(usable) < len(labels.frames):
        report(f"{folder}: radar data for {len(usable)} of {len(labels.frames)} labelled frames")
    for run in np.split(usable, np.flatnonzero(np.diff(usable) != 1) + 1):
        if not len(run):
            continue
        rows = np.searchsorted(labels.frames, run)
        keypoints_px = labels.keypoints_px[rows]
        yield HuprRecording(
            path=folder,
            range_doppler=RangeDoppler(frames, run)
            if cache is None
            else _cached(frames, run, _cache_file(cache, number, frames, run), report),
            keypoints_px=keypoints_px,
            joints_m=np.full((len(run), len(HUPR14.joints), 3), np.nan, np.float32),
            motions=("unknown",) * len(run),
            details={
                "dataset": layout.name,
                "note": layout.note,
                "split": split,
                "recording": number,
                "subject": layout.subjects.get(number, ""),
                "first_frame": int(run[0]),
                "rate_hz": layout.radar.waveform.frame_rate_hz,
                "radar": {
                    "device": layout.radar.device,
                    "waveform": asdict(layout.radar.waveform),
                },
                "heatmap": asdict(frames.processor.heatmap),
            },
            area_px2=person_area(keypoints_px, labels.boxes_px[rows]).astype(np.float32),
            image_ids=run + _IDS_PER_RECORDING * number,
        )
