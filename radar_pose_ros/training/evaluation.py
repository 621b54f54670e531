"""Accuracy of milliMamba on the simulated test set, beside a baseline that does not look closely.

The people of the test set have heights that no training body has, and a good part of their motions
are of kinds that no training recording shows; these are also reported by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radar_pose_ros import measurements
from radar_pose_ros.datasets import simulated
from radar_pose_ros.datasets.simulated import Recording
from radar_pose_ros.metrics.keypoints import (
    average_precision,
    joint_average_precision,
    joint_pck,
    oks,
    pck,
    person_area,
)
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.models.millimamba import MilliMamba
from radar_pose_ros.radar.heatmap import angle_matrix, angle_transform
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.simulation.body import HELD_OUT_MOTIONS
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import FOCAL_LENGTH_PX

PCK_THRESHOLD = 0.2


@dataclass(frozen=True)
class Estimates:
    """Estimates and truth, frame by frame, in the order of recordings and time.

    Attributes
    ----------
    truth_px, estimate_px, baseline_px, placed_px : ndarray, shape (frames, joints, 2)
        The last is `mean_pose_in_place`.
    motions : ndarray of str, shape (frames,)
    """

    truth_px: np.ndarray
    estimate_px: np.ndarray
    baseline_px: np.ndarray
    placed_px: np.ndarray
    motions: np.ndarray


def network_input(cubes: np.ndarray, angle_bins: int) -> torch.Tensor:
    """Turn range-Doppler cubes into the channels that the network takes.

    The same as `angle_transform`, but in real numbers, so that the parts come out as channels.

    Parameters
    ----------
    cubes : ndarray of complex64, shape (..., antennas, doppler, range)

    Returns
    -------
    Tensor
        float32, shape (..., 2, angle_bins, doppler, range), not normalised: the network does that.
    """
    *batch, antennas, doppler, ranges = cubes.shape
    transform = angle_matrix(angle_bins, antennas)
    matrix = np.block([[transform.real, -transform.imag], [transform.imag, transform.real]])
    parts = np.stack([cubes.real, cubes.imag], axis=-4).reshape(-1, 2 * antennas, doppler * ranges)
    channels = torch.from_numpy(matrix) @ torch.from_numpy(parts)
    return channels.view(*batch, 2, angle_bins, doppler, ranges)


@torch.no_grad()
def estimate_recording(model: MilliMamba, recording: Recording, batch: int = 32) -> np.ndarray:
    """Slide the network over a recording and keep the middle frame of every window.

    Returns
    -------
    ndarray, shape (frames - window + 1, joints, 2)
        Estimates in pixels for frames ``window // 2`` onwards.
    """
    model.eval()
    length = model.config.frames
    chosen = simulated.windows([recording], length)
    keypoints = []
    for first in range(0, len(chosen), batch):
        cubes, _ = simulated.gather([recording], chosen[first : first + batch], length)
        output = model(network_input(cubes, model.config.angle_bins))
        middle = output.keypoints.shape[1] // 2
        keypoints.append(output.keypoints[:, middle].float().numpy())
    return np.concatenate(keypoints)


def heatmap_pair(recording: Recording, frame: int, angle_bins: int) -> np.ndarray:
    """Return both radars' complex heatmaps of a frame, shape (2, angle, doppler, range)."""
    cubes, _ = simulated.gather([recording], [simulated.Window(0, frame)], 1)
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
    report: Callable[[str], None] = print,
) -> Estimates:
    """Run network and baseline over recordings."""
    length = model.config.frames
    columns: list[tuple[np.ndarray, ...]] = []
    for number, recording in enumerate(recordings):
        keypoints_px = estimate_recording(model, recording)
        frames = range(length // 2, length // 2 + len(keypoints_px))
        placed = [
            baseline.predict(*heatmap_pair(recording, frame, model.config.angle_bins))
            for frame in frames
        ]
        truth_px = recording.keypoints_px[frames.start : frames.stop]
        joints_m = recording.joints_m[frames.start : frames.stop]
        columns.append(
            (
                truth_px,
                keypoints_px,
                np.array(placed),
                mean_pose_in_place(baseline, truth_px, joints_m),
                np.array(recording.motions[frames.start : frames.stop]),
            )
        )
        report(f"recording {number + 1} of {len(recordings)}")
    return Estimates(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def scores(estimate_px: np.ndarray, truth_px: np.ndarray) -> dict[str, float]:
    """Return PCK, AP in both definitions, and the median distance of a joint in pixels."""
    similarity = oks(estimate_px, truth_px, person_area(truth_px))
    return {
        "pck_0_2": pck(estimate_px, truth_px, PCK_THRESHOLD),
        "ap": average_precision(similarity),
        "ap50": average_precision(similarity, thresholds=0.5),
        "ap75": average_precision(similarity, thresholds=0.75),
        "ap_fraction": average_precision(similarity, "fraction"),
        "median_error_px": float(np.nanmedian(np.linalg.norm(estimate_px - truth_px, axis=-1))),
    }


def rows(estimates: Estimates) -> list[dict[str, Any]]:
    """Return the results of the network, beside the baseline's, as measurements."""
    held_out = np.isin(estimates.motions, HELD_OUT_MOTIONS)
    groups = {
        "test": np.ones(len(held_out), bool),
        "test.known_motions": ~held_out,
        "test.unseen_motions": held_out,
        **{f"test.motion.{name}": estimates.motions == name for name in _names(estimates)},
    }
    results = []
    for group, chosen in groups.items():
        if not chosen.any():
            continue
        truth_px = estimates.truth_px[chosen]
        ours = scores(estimates.estimate_px[chosen], truth_px)
        base = scores(estimates.baseline_px[chosen], truth_px)
        for name, value in ours.items():
            unit = "px" if name.endswith("px") else ""
            against = f"mean pose at the strongest return: {base[name]:.3f}"
            results.append(measurements.result(f"{group}.{name}", value, unit, None, against))
    estimate_px, truth_px = estimates.estimate_px, estimates.truth_px
    for joint, precision, share in zip(
        HUPR14.joints,
        joint_average_precision(estimate_px, truth_px, person_area(truth_px)),
        joint_pck(estimate_px, truth_px, PCK_THRESHOLD),
        strict=True,
    ):
        results.append(measurements.result(f"test.joint.{joint}.ap", float(precision)))
        results.append(measurements.result(f"test.joint.{joint}.pck_0_2", float(share)))
    mean_pose = scores(estimates.baseline_px, estimates.truth_px)
    results.append(measurements.result("test.ap_mean_pose", mean_pose["ap"]))
    results.append(measurements.result("test.pck_0_2_mean_pose", mean_pose["pck_0_2"]))
    in_place = scores(estimates.placed_px, estimates.truth_px)
    results.append(measurements.result("test.ap_mean_pose_in_true_place", in_place["ap"]))
    results.append(
        measurements.result("test.pck_0_2_mean_pose_in_true_place", in_place["pck_0_2"])
    )
    return results


def _names(estimates: Estimates) -> list[str]:
    return sorted(set(estimates.motions.tolist()))


def draw(estimates: Estimates, path: Path) -> None:
    """Draw PCK by motion beside the baseline's, and good, middling and bad frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    similarity = oks(estimates.estimate_px, estimates.truth_px, person_area(estimates.truth_px))
    order = np.argsort(similarity)
    figure = plt.figure(figsize=(12, 6.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    bars, strip = halves
    axis = bars.subplots()
    names = _names(estimates)
    for shift, label, pixels, colour in (
        (-0.27, "mean pose at the strongest return", estimates.baseline_px, "#BBBBBB"),
        (0.0, "milliMamba", estimates.estimate_px, "#0072B2"),
        (0.27, "mean pose where the hips truly are", estimates.placed_px, "#E69F00"),
    ):
        values = [
            pck(pixels[chosen], estimates.truth_px[chosen], PCK_THRESHOLD)
            for chosen in (estimates.motions == name for name in names)
        ]
        axis.bar(np.arange(len(names)) + shift, values, 0.26, label=label, color=colour)
    labels = [f"{name}*" if name in HELD_OUT_MOTIONS else name for name in names]
    axis.set_xticks(range(len(names)), [label.replace("_", "\n") for label in labels])
    axis.set_ylabel(f"PCK@{PCK_THRESHOLD}")
    axis.set_title("people never seen in training; * motions never seen either")
    axis.set_ylim(0, 1.2)  # room for the legend
    axis.legend(ncols=3, loc="upper center")
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
        axis.set_xlabel(f"OKS {similarity[frame]:.2f}, {estimates.motions[frame]}", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _limits(values: np.ndarray, size_px: float = 190.0) -> tuple[float, float]:
    middle = (values.min() + values.max()) / 2
    return middle - size_px / 2, middle + size_px / 2
