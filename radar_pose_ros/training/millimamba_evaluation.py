"""Accuracy of milliMamba on a test set, beside baselines that do not look closely.

The people of the simulated test set have heights that no training body has, and a good part of
their motions are of kinds that no training recording shows; these are also reported by themselves.
Of recordings in HuPR's layout, joints in space and motions are not known: what needs them is left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from radar_pose_ros import measurements
from radar_pose_ros.datasets.recordings import Recording, Window, gather, windows
from radar_pose_ros.metrics.keypoints import (
    average_precision,
    joint_average_precision,
    joint_pck,
    joint_similarity,
    oks,
    pck,
)
from radar_pose_ros.models import confidence as confidence_of
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.confidence import Calibration
from radar_pose_ros.models.millimamba import MilliMamba, MilliMambaOutput
from radar_pose_ros.radar.heatmap import angle_transform
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.simulation.body import HELD_OUT_MOTIONS
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import FOCAL_LENGTH_PX
from radar_pose_ros.training.millimamba_batches import input_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PCK_THRESHOLD = 0.2

# Which radars the network is given, of (horizontal, vertical).
BOTH = (True, True)
VIEWS = {"horizontal": (True, False), "vertical": (False, True)}


@dataclass(frozen=True)
class Estimates:
    """Estimates and truth, frame by frame, in the order of recordings and time.

    Attributes
    ----------
    truth_px, estimate_px, baseline_px, placed_px : ndarray, shape (frames, joints, 2)
        The last is `mean_pose_in_place`, NaN where that is not known.
    area_px2 : ndarray, shape (frames,)
        See `Recording.areas_px2`.
    confidence : ndarray, shape (frames, joints)
        Of ``estimate_px``, calibrated.
    motions : ndarray of str, shape (frames,)
    others_px : dict of str to ndarray, shape (frames, joints, 2)
        Estimates to compare with: "horizontal" and "vertical" are the network's with one radar,
        "single_frame" those of a network that sees one frame at a time.
    """

    truth_px: np.ndarray
    estimate_px: np.ndarray
    baseline_px: np.ndarray
    placed_px: np.ndarray
    area_px2: np.ndarray
    confidence: np.ndarray
    motions: np.ndarray
    others_px: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def estimate_recording(
    model: MilliMamba,
    recording: Recording,
    views: Sequence[tuple[bool, bool]] = (BOTH,),
    batch: int = 32,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slide the network over a recording and keep the middle frame of every window.

    Parameters
    ----------
    views : sequence of (bool, bool)
        Which radars are there: for each entry there is a result.

    Returns
    -------
    list of (keypoints_px, confidence)
        Shapes ``(frames - window + 1, joints, 2)`` and ``(frames - window + 1, joints)``, for
        frames ``window // 2`` onwards.

    Raises
    ------
    ValueError
        If the recording is shorter than a window.
    """
    model.eval()
    config, device = model.config, model.position.device
    chosen = windows([recording], config.frames)
    if not chosen:
        raise ValueError(
            f"{recording.path}: {len(recording.keypoints_px)} frames are less than a window of "
            f"{config.frames}"
        )

    def heatmaps_of(windows: Sequence[Window], length: int) -> Tensor:
        cubes, _ = gather([recording], windows, length)
        return input_for(config, cubes).to(device)

    there = torch.tensor(views, device=device)
    if config.temporal_kernel == 1:  # a frame's tokens do not depend on its neighbours
        parts = _chunks(windows([recording], 1), batch)
        tokens = torch.cat([model.encode_frames(heatmaps_of(part, 1))[:, 0] for part in parts])
        return [decode_windows(model, model.without_views(tokens[None], v)[0]) for v in there]
    outputs: list[list[MilliMambaOutput]] = [[] for _ in views]
    for part in _chunks(chosen, batch):
        heatmaps = heatmaps_of(part, config.frames)
        for v, of_views in zip(there, outputs, strict=True):
            of_views.append(model(heatmaps, v[:, None].expand(heatmaps.shape[:3])))
    return [_middle(of_views) for of_views in outputs]


@torch.no_grad()
def decode_windows(
    model: MilliMamba, tokens: Tensor, batch: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Decode every window of consecutive frames and keep each window's middle frame.

    Parameters
    ----------
    tokens : Tensor
        ``(frames, tokens per frame, width)``, of `MilliMamba.encode_frames`.

    Returns
    -------
    keypoints_px : ndarray, shape (frames - window + 1, joints, 2)
    confidence : ndarray, shape (frames - window + 1, joints)
    """
    # (windows, frames, tokens, width), a view
    overlapping = tokens.unfold(0, model.config.frames, 1).movedim(-1, 1)
    return _middle([model.decode_window(part) for part in _chunks(overlapping, batch)])


def _middle(outputs: Sequence[MilliMambaOutput]) -> tuple[np.ndarray, np.ndarray]:
    middle = outputs[0].keypoints.shape[1] // 2
    return (
        torch.cat([output.keypoints[:, middle] for output in outputs]).float().cpu().numpy(),
        torch.cat([output.confidence[:, middle] for output in outputs]).float().cpu().numpy(),
    )


def _chunks(sequence: Any, length: int) -> Iterator[Any]:
    return (sequence[first : first + length] for first in range(0, len(sequence), length))


def heatmap_pair(recording: Recording, frame: int, angle_bins: int) -> np.ndarray:
    """Return both radars' complex heatmaps of a frame, shape (2, angle, doppler, range)."""
    cubes, _ = gather([recording], [Window(0, frame)], 1)
    return angle_transform(cubes[0, :, 0], angle_bins)


def fit_baseline(
    recordings: Sequence[Recording], angle_bins: int, stride: int = 10
) -> MeanPoseBaseline:
    """Take the mean pose of every ``stride``-th training frame."""
    details = recordings[0].details
    first, step = _range_axis(details)
    samples = (
        (*heatmap_pair(recording, frame, angle_bins), recording.keypoints_px[frame])
        for recording in recordings
        for frame in range(0, len(recording.keypoints_px), stride)
    )
    return MeanPoseBaseline.fit(samples, first, step)


def mean_pose_in_place(
    baseline: MeanPoseBaseline, keypoints_px: np.ndarray, joints_m: np.ndarray
) -> np.ndarray:
    """Put the mean training pose where the person's hips truly are.

    That much of a pose is known by knowing the person's place exactly: an estimate that beats this
    one sees limbs.

    Parameters
    ----------
    baseline : MeanPoseBaseline
        Where the mean pose is from.
    keypoints_px, joints_m : ndarray, shapes (frames, joints, 2) and (frames, joints, 3)
        The truth.
    """
    hips = [HUPR14.index("left_hip"), HUPR14.index("right_hip")]
    offsets_m = np.array(baseline.offsets_m)
    offsets_m = offsets_m - offsets_m[hips].mean(axis=0)
    scale_px = FOCAL_LENGTH_PX / joints_m[:, hips, 0].mean(axis=1)
    place_px = keypoints_px[:, hips].mean(axis=1)
    return place_px[:, None] + scale_px[:, None, None] * offsets_m


def _range_axis(details: Mapping[str, Any]) -> tuple[float, float]:
    """First range bin and step in metres, from what a recording says of its radar."""
    step = Waveform(**details["radar"]["waveform"]).range_resolution_m
    return details["heatmap"]["range_first"] * step, step


def estimate(
    model: MilliMamba,
    baseline: MeanPoseBaseline,
    recordings: Sequence[Recording],
    single_frame: MilliMamba | None = None,
    calibration: Calibration | None = None,
    report: Callable[[str], None] = print,
) -> Estimates:
    """Run the network, with both radars and with either, and the baselines over recordings.

    Recordings shorter than a window are left out.

    Parameters
    ----------
    single_frame : MilliMamba, optional
        A network whose window is one frame, to compare with.
    calibration : Calibration, optional
        Of the network's confidence.
    """
    length = model.config.frames
    curve = calibration or Calibration()
    parts: list[dict[str, np.ndarray]] = []
    for number, recording in enumerate(recordings, start=1):
        if len(recording.keypoints_px) < length:
            report(f"{recording.path}: shorter than a window, left out")
            continue
        (keypoints_px, confidence), *fewer = estimate_recording(
            model, recording, (BOTH, *VIEWS.values())
        )
        frames = slice(length // 2, length // 2 + len(keypoints_px))
        truth_px = recording.keypoints_px[frames]
        part = {
            "truth_px": truth_px,
            "estimate_px": keypoints_px,
            "baseline_px": np.array(
                [
                    baseline.predict(*heatmap_pair(recording, frame, model.config.angle_bins))
                    for frame in range(frames.start, frames.stop)
                ]
            ),
            "placed_px": mean_pose_in_place(baseline, truth_px, recording.joints_m[frames]),
            "area_px2": recording.areas_px2()[frames],
            "confidence": curve.apply(confidence),
            "motions": np.array(recording.motions[frames]),
        }
        part |= {name: pixels for name, (pixels, _) in zip(VIEWS, fewer, strict=True)}
        if single_frame is not None:
            part["single_frame"] = estimate_recording(single_frame, recording)[0][0][frames]
        parts.append(part)
        report(f"recording {number} of {len(recordings)}")
    if not parts:
        raise ValueError(
            f"none of {len(recordings)} recordings has the {length} frames of a window"
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    others = {name: columns.pop(name) for name in (*VIEWS, "single_frame") if name in columns}
    return Estimates(**columns, others_px=others)


def scores(
    estimate_px: np.ndarray, truth_px: np.ndarray, area_px2: np.ndarray
) -> dict[str, float]:
    """Return PCK, AP in both definitions, and the median distance of a joint in pixels."""
    similarity = oks(estimate_px, truth_px, area_px2)
    return {
        "pck_0_2": pck(estimate_px, truth_px, PCK_THRESHOLD),
        "ap": average_precision(similarity),
        "ap50": average_precision(similarity, thresholds=0.5),
        "ap75": average_precision(similarity, thresholds=0.75),
        "ap_fraction": average_precision(similarity, "fraction"),
        "median_error_px": float(np.nanmedian(np.linalg.norm(estimate_px - truth_px, axis=-1))),
    }


def reliability(estimates: Estimates) -> list[dict[str, float]]:
    """Return how well joints were placed for which a certain confidence was stated."""
    similarity = joint_similarity(estimates.estimate_px, estimates.truth_px, estimates.area_px2)
    return confidence_of.reliability(estimates.confidence, similarity)


def rows(estimates: Estimates) -> list[dict[str, Any]]:
    """Return the results of the network, beside the baselines', as measurements."""
    everything = np.ones(len(estimates.motions), bool)
    held_out = np.isin(estimates.motions, HELD_OUT_MOTIONS)
    groups = {"test": everything}
    if _motions_are_known(estimates):
        groups |= {"test.known_motions": ~held_out, "test.unseen_motions": held_out}
        groups |= {f"test.motion.{n}": estimates.motions == n for n in _names(estimates)}

    def score(pixels: np.ndarray, chosen: np.ndarray = everything) -> dict[str, float]:
        return scores(pixels[chosen], estimates.truth_px[chosen], estimates.area_px2[chosen])

    results = []
    for group, chosen in groups.items():
        if not chosen.any():
            continue
        base = score(estimates.baseline_px, chosen)
        for name, value in score(estimates.estimate_px, chosen).items():
            against = f"mean pose at the strongest return: {base[name]:.3f}"
            results.append(_row(f"{group}.{name}", value, against))
    results += _joint_rows(estimates)
    compared = {"mean_pose": estimates.baseline_px, **estimates.others_px}
    if not np.isnan(estimates.placed_px).all():
        compared["mean_pose_in_true_place"] = estimates.placed_px
    for name, pixels in compared.items():
        results += [_row(f"test.{measure}_{name}", v) for measure, v in score(pixels).items()]
    error = confidence_of.calibration_error(reliability(estimates))
    results.append(_row("test.confidence_error", error))
    return results


def _joint_rows(estimates: Estimates) -> list[dict[str, Any]]:
    pair = estimates.estimate_px, estimates.truth_px
    columns = {
        "ap": joint_average_precision(*pair, estimates.area_px2),
        "ap_fraction": joint_average_precision(*pair, estimates.area_px2, "fraction"),
        "pck_0_2": joint_pck(*pair, PCK_THRESHOLD),
    }
    return [
        _row(f"test.joint.{joint}.{name}", float(values[number]))
        for number, joint in enumerate(HUPR14.joints)
        for name, values in columns.items()
    ]


def _row(identifier: str, value: float, against: str | None = None) -> dict[str, Any]:
    unit = "px" if "error_px" in identifier else ""
    return measurements.result(identifier, value, unit, None, against)


def _names(estimates: Estimates) -> list[str]:
    return sorted(set(estimates.motions.tolist()))


def _motions_are_known(estimates: Estimates) -> bool:
    return _names(estimates) != ["unknown"]


def draw(estimates: Estimates, path: Path) -> None:
    """Draw PCK by motion beside the baselines', reliability, and frames from bad to good."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _figure(estimates).savefig(path, dpi=90)


def _figure(estimates: Estimates) -> Figure:
    from matplotlib.figure import Figure

    similarity = oks(estimates.estimate_px, estimates.truth_px, estimates.area_px2)
    order = np.argsort(similarity)
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(3.2, 2.2))
    bars, strip = halves
    axis, curve = bars.subplots(1, 2, width_ratios=(4, 1))
    names = _names(estimates)
    for shift, label, pixels, colour in (
        (-0.27, "mean pose at the strongest return", estimates.baseline_px, "#BBBBBB"),
        (0.0, "milliMamba", estimates.estimate_px, "#0072B2"),
        (0.27, "mean pose where the hips truly are", estimates.placed_px, "#E69F00"),
    ):
        if np.isnan(pixels).all():
            continue
        values = [
            pck(pixels[chosen], estimates.truth_px[chosen], PCK_THRESHOLD)
            for chosen in (estimates.motions == name for name in names)
        ]
        axis.bar(np.arange(len(names)) + shift, values, 0.26, label=label, color=colour)
    labels = [_called(name).replace(" ", "\n") for name in names]
    axis.set_xticks(range(len(names)), labels, fontsize=8)
    axis.set_ylabel(f"PCK@{PCK_THRESHOLD}")
    if _motions_are_known(estimates):
        axis.set_title("people never seen in training; * motions never seen either")
    axis.set_ylim(0, 1)
    bars.legend(ncols=3, loc="outside upper left")
    table = reliability(estimates)
    curve.plot([0, 1], [0, 1], color="#BBBBBB")
    stated, found = ([row[name] for row in table] for name in ("confidence", "similarity"))
    curve.plot(stated, found, "o-", color="#0072B2")
    curve.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="stated confidence of a joint")
    curve.set_ylabel("its similarity to the truth")
    shares = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
    for axis, share in zip(np.ravel(strip.subplots(1, len(shares))), shares, strict=True):
        frame = order[int(share * (len(order) - 1))]
        for pixels, colour, width in (
            (estimates.truth_px[frame], "#999999", 4.0),
            (estimates.estimate_px[frame], "#D55E00", 1.5),
        ):
            for a, b in HUPR14.edges:
                axis.plot(pixels[[a, b], 0], pixels[[a, b], 1], color=colour, lw=width)
        axis.set_xlim(*_limits(estimates.truth_px[frame, :, 0]))
        axis.set_ylim(*_limits(estimates.truth_px[frame, :, 1])[::-1])
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_title(f"{share:.0%} of frames are worse", fontsize=8)
        motion = _called(estimates.motions[frame])
        axis.set_xlabel(f"OKS {similarity[frame]:.2f}, {motion}", fontsize=8)
    return figure


def _called(motion: str) -> str:
    """Return a motion's name in words, with a star if no training has seen it."""
    return motion.replace("_", " ") + "*" * (motion in HELD_OUT_MOTIONS)


def _limits(values: np.ndarray, size_px: float = 190.0) -> tuple[float, float]:
    middle = (values.min() + values.max()) / 2
    return middle - size_px / 2, middle + size_px / 2
