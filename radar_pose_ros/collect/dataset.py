"""Recordings with a camera made into a data set in HuPR's layout.

A label is the person's pose at the stamp of the horizontal radar's frame, which is the stamp that
live poses have: the camera's keypoints at that instant of its own clock, brought into the image of
the rig's virtual camera (`radar_pose_ros.skeleton.projection`), at whose height and in whose
direction a real one seldom is. For that all joints count as being as far ahead as the person is by
the radars. A frame has a label only if everything about it is known.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radar_pose_ros.collect.bags import RADARS, CameraTrack, Collected
from radar_pose_ros.collect.motion import LONGEST_GAP_S, RadarMotion, interpolate
from radar_pose_ros.collect.person import PersonTrack, partners
from radar_pose_ros.datasets import hupr_files
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.skeleton import mapping, projection
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.vision.camera import PinholeCamera

# All of these are choices.
DEPTH_SPREAD_M = 0.25  # joints are so far before or behind the middle of a person
LARGEST_PARALLAX_PX = 4.0  # that this may come to in the rig's image
_OUTSIDE_PX = 128.0  # farther off the rig's image a keypoint is none of this person
_WINDOW = 9  # frames that the networks take
_GAP_PERIODS = 1.5  # from frame to frame, beyond which one is missing

LABELLED = "labelled"
NO_PARTNER = "the other radar has no frame"
LOST_PACKETS = "packets were lost"
LOST_FRAME = "frames are missing here"
NO_IMAGE = "no image within 0.1 s, or a joint is not known"
NOBODY = "not one person in the images before and after"
NO_RANGE = "the radars do not tell how far the person is"
OUTSIDE = "outside of the rig's image"


@dataclass(frozen=True)
class Labelled:
    """Labels for the frames of one recording.

    Parameters
    ----------
    stamps_s : ndarray, shape (frames, 2)
        Of both radars' frames, as they are written, horizontal first; NaN where one is missing.
        A frame of two NaN stands for any number that are missing.
    keypoints_px : ndarray, shape (frames, 14, 2)
        In the rig's image; NaN without a label.
    outcomes : list of str
        `LABELLED`, or why there is no label.
    parallax_px : float
        By how much a label is off where a joint is `DEPTH_SPREAD_M` before or behind the middle
        of the person, median; NaN without labels.
    """

    stamps_s: np.ndarray
    keypoints_px: np.ndarray
    outcomes: list[str]
    parallax_px: float

    @property
    def counts(self) -> Counter[str]:
        """Frames by outcome."""
        return Counter(self.outcomes)

    @property
    def frames(self) -> np.ndarray:
        """Numbers of the frames with a label."""
        return np.flatnonzero([outcome == LABELLED for outcome in self.outcomes])

    def windows(self, length: int) -> int:
        """Return how many windows of so many consecutive frames have labels throughout."""
        runs = np.split(self.frames, np.flatnonzero(np.diff(self.frames) != 1) + 1)
        return sum(max(len(run) - length + 1, 0) for run in runs)


def label(
    radars: Sequence[RadarMotion],
    period_s: float,
    person: PersonTrack,
    track: CameraTrack,
    offset_s: float,
    camera: PinholeCamera,
    least_confidence: float,
) -> Labelled:
    """Find the label of each frame.

    There is none unless there is exactly one person in the image before and in that after it: who
    of two people moves before the radars is not known.

    Parameters
    ----------
    radars : (RadarMotion, RadarMotion)
        Horizontal one first.
    period_s : float
        From frame to frame.
    person : PersonTrack
    track : CameraTrack
    offset_s : float
        By how much the camera's stamps are late.
    camera : PinholeCamera
        In the rig's frame.
    least_confidence : float
        A joint of lower confidence is not known.
    """
    horizontal, vertical = radars
    numbers = _frames(horizontal, vertical, period_s)
    stamps = np.full(numbers.shape, np.nan)
    for radar, motion in enumerate(radars):
        there = numbers[:, radar] >= 0
        stamps[there, radar] = motion.stamps_s[numbers[there, radar]]
    ours = mapping.convert(track.sure(least_confidence), track.skeleton, HUPR14.name)
    seen = np.full((len(stamps), len(HUPR14.joints), 2), np.nan)
    alone = np.ones(len(stamps), bool)
    real = np.isfinite(stamps[:, 0])
    wanted_s = stamps[real, 0] + offset_s
    seen[real] = interpolate(track.stamps_s, ours, wanted_s)
    alone[real] = _alone(track, wanted_s)
    floor_m = np.full((len(stamps), 2), np.nan)
    floor_m[real] = person.at(stamps[real, 0])
    keypoints_px = to_rig_image(seen, camera, floor_m[:, 0])
    outcomes = []
    inside = (keypoints_px > -_OUTSIDE_PX) & (
        keypoints_px < projection.IMAGE_SIZE_PX + _OUTSIDE_PX
    )
    for row, (first, second) in enumerate(numbers):
        if first < 0:
            outcomes.append(LOST_FRAME)
        elif second < 0:
            outcomes.append(NO_PARTNER)
        elif not (horizontal.complete[first] and vertical.complete[second]):
            outcomes.append(LOST_PACKETS)
        elif not alone[row]:
            outcomes.append(NOBODY)
        elif not np.isfinite(seen[row]).all():
            outcomes.append(NO_IMAGE)
        elif not np.isfinite(keypoints_px[row]).all():
            outcomes.append(NO_RANGE)
        elif not inside[row].all():
            outcomes.append(OUTSIDE)
        else:
            outcomes.append(LABELLED)
    kept = np.array([outcome == LABELLED for outcome in outcomes])
    keypoints_px[~kept] = np.nan
    parallax_px = np.nan
    if kept.any():
        farther = to_rig_image(seen[kept], camera, floor_m[kept, 0] + DEPTH_SPREAD_M)
        parallax_px = float(np.median(np.linalg.norm(farther - keypoints_px[kept], axis=-1)))
    return Labelled(stamps, keypoints_px, outcomes, parallax_px)


def _alone(track: CameraTrack, times_s: np.ndarray) -> np.ndarray:
    """Return whether images around instants show one person each; true where there are none."""
    after = np.clip(np.searchsorted(track.stamps_s, times_s), 1, len(track.stamps_s) - 1)
    before_s, after_s = track.stamps_s[after - 1], track.stamps_s[after]
    between = (times_s >= before_s) & (times_s <= after_s) & (after_s - before_s < LONGEST_GAP_S)
    one = (track.people[after - 1] == 1) & (track.people[after] == 1)
    return np.asarray(one | ~between)


def _frames(horizontal: RadarMotion, vertical: RadarMotion, period_s: float) -> np.ndarray:
    """Return which frame of each radar's is to be written, (frames, 2), -1 for none."""
    partner = partners(horizontal.stamps_s, vertical.stamps_s, period_s)
    steps_s = np.diff(horizontal.stamps_s, prepend=horizontal.stamps_s[0])
    numbers: list[tuple[int, int]] = []
    for number, (step_s, other) in enumerate(zip(steps_s, partner, strict=True)):
        if step_s > _GAP_PERIODS * period_s:
            numbers.append((-1, -1))
        numbers.append((number, int(other)))
    return np.array(numbers, int)


def to_rig_image(pixels: np.ndarray, camera: PinholeCamera, ahead_m: np.ndarray) -> np.ndarray:
    """Return where the rig's virtual camera would see what a camera sees.

    Parameters
    ----------
    pixels : ndarray, shape (frames, joints, 2)
    camera : PinholeCamera
        In the rig's frame.
    ahead_m : ndarray, shape (frames,)
        How far ahead of the rig (x) all joints of a frame are.

    Returns
    -------
    ndarray, shape (frames, joints, 2)
        NaN where one of these is not known, or a ray does not reach so far.
    """
    rays = camera.ray(pixels)
    with np.errstate(invalid="ignore", divide="ignore"):
        length = (ahead_m[:, None] - camera.position_m[0]) / rays[..., 0]
    length = np.where(length > 0, length, np.nan)
    return projection.project(camera.position_m + length[..., None] * rays)


@dataclass(frozen=True)
class Source:
    """A recording to write: where it is, its split, its radars, and its labels."""

    path: Path
    split: str
    configs: tuple[RadarConfig, RadarConfig]
    labelled: Labelled


def write(
    root: Path,
    sources: Sequence[Source],
    open_bag: Callable[[Path], Collected],
    name: str,
    note: str = "",
) -> None:
    """Write a data set; see `radar_pose_ros.datasets.hupr_files`.

    Beside the raw samples of a recording stands ``frames.csv``: number and stamp of each frame,
    and what became of it. If writing fails, nothing stays in the folder.

    Parameters
    ----------
    root : Path
        Is made; must not hold anything.
    sources : sequence of Source
    open_bag : callable
        Opens a recording.
    name, note : str
        Of the data set.

    Raises
    ------
    ValueError
        If there is something in the folder, or recordings are of different radars.
    """
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty: name a folder that is to be made")
    first = sources[0].configs[0]
    for source in sources:
        for radar, config in zip(RADARS, source.configs, strict=True):
            if _decoding(config) != _decoding(first):
                raise ValueError(
                    f"{source.path}: {radar} is set up otherwise than {RADARS[0]} of "
                    f"{sources[0].path}; a data set has one configuration"
                )
    try:
        _write_all(root, sources, open_bag, name, note)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _decoding(config: RadarConfig) -> tuple[object, ...]:
    """Return what decides how samples are read."""
    antennas = config.tx_order, config.rx_antennas
    return config.waveform, config.device, config.iq_order, antennas


def _write_all(
    root: Path,
    sources: Sequence[Source],
    open_bag: Callable[[Path], Collected],
    name: str,
    note: str,
) -> None:
    splits: dict[str, list[int]] = {}
    for number, source in enumerate(sources, 1):
        splits.setdefault(source.split, []).append(number)
    hupr_files.write_layout(root, name, sources[0].configs[0], splits, note)
    for number, source in enumerate(sources, 1):
        with open_bag(source.path) as collected:
            _write_samples(hupr_files.raw_folder(root, number), collected, source.labelled)
    for split in splits:
        of_split = [source.labelled for source in sources if source.split == split]
        hupr_files.annotate_all(
            root,
            split,
            [(one.frames.tolist(), one.keypoints_px[one.frames]) for one in of_split],
        )


def _write_samples(folder: Path, collected: Collected, labelled: Labelled) -> None:
    """Write both radars' frames side by side; what is missing is zero, and has no label."""
    empty = np.zeros(collected.configs[0].bytes_per_frame // 2, np.int16)
    # By radar and stamp: only frames that are wanted wait, as one radar may be silent for long.
    wanted = {key for stamps in labelled.stamps_s.tolist() for key in enumerate(stamps)}
    waiting: dict[tuple[int, float], np.ndarray] = {}
    frames = collected.frames()
    with hupr_files.SampleWriter(folder) as writer:
        for stamps in labelled.stamps_s.tolist():
            pair = []
            for radar, stamp_s in enumerate(stamps):
                while np.isfinite(stamp_s) and (radar, stamp_s) in wanted:
                    frame = next(frames)
                    key = frame.radar, frame.stamp_s
                    if key in wanted:
                        wanted.remove(key)
                        waiting[key] = frame.samples
                pair.append(waiting.pop((radar, stamp_s), empty))
            writer.add(pair)
    with (folder / "frames.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("frame", "stamp_s", "outcome"))
        stamps_s = labelled.stamps_s[:, 0]
        for row, (stamp_s, outcome) in enumerate(zip(stamps_s, labelled.outcomes, strict=True)):
            rows.writerow((row, "" if np.isnan(stamp_s) else f"{stamp_s:.6f}", outcome))


def told(labelled: Labelled) -> str:
    """Return in a sentence how many frames have labels, why the others have none, and more."""
    total, counts = len(labelled.outcomes), labelled.counts
    said = f"{counts[LABELLED]} of {total} frames labelled"
    others = [f"{count} {why}" for why, count in counts.most_common() if why != LABELLED]
    if others:
        said += f"; left out: {', '.join(others)}"
    said += f"; {labelled.windows(_WINDOW)} windows of {_WINDOW}"
    if np.isfinite(labelled.parallax_px):
        said += (
            f"; a joint {DEPTH_SPREAD_M:g} m before or behind the person's middle is "
            f"{labelled.parallax_px:.1f} px off"
        )
    if labelled.parallax_px > LARGEST_PARALLAX_PX:
        said += " (much: put the camera nearer to the radars)"
    return said


def draw(named: Sequence[tuple[str, Labelled, PersonTrack]], path: str | Path) -> None:
    """Draw labels of each recording, four instants, and where the radars see the person, PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(11.0, 2.9 * len(named)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(made)
    size = projection.IMAGE_SIZE_PX
    for line, (name, labelled, person) in zip(
        made.subplots(len(named), 4, squeeze=False), named, strict=True
    ):
        chosen = labelled.frames[np.linspace(0, len(labelled.frames) - 1, 4).astype(int)]
        for axis, frame in zip(line, chosen, strict=True):
            stamp_s = labelled.stamps_s[frame, 0]
            x, y = person.at(np.array([stamp_s]))[0]
            axis.axvline(
                projection.project(np.array([x, y, 1.0]))[0], color="#0072B2", linewidth=1
            )
            for edge in HUPR14.edges:
                axis.plot(*labelled.keypoints_px[frame][list(edge)].T, color="#D55E00")
            axis.set(xlim=(0, size), ylim=(size, 0), aspect="equal")
            since_s = stamp_s - np.nanmin(labelled.stamps_s)
            axis.set_title(f"{name}, {since_s:.1f} s, {x:.1f} m", fontsize=8)
            axis.tick_params(labelsize=6)
    canvas.draw()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, format="png")
