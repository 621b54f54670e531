"""Comparators on people whose movement is known, and on the published recording."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import MultiViewRecording, simulate
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.simulation.multiview import rig, shutter_times
from radar_pose_ros.training import multiview_evaluation
from radar_pose_ros.training.multiview_evaluation import results_of
from radar_pose_ros.vision import comparators

CASES = ("views_4_interleaved", "views_3_interleaved", "views_2_interleaved", "views_4_random")


def values(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["id"]: row["value"] for row in rows}


def filmed(moves: bool, seed: int = 0) -> MultiViewRecording:
    """30 frames of four cameras at 30 Hz, seen without errors."""
    rng = np.random.default_rng(seed)
    person = simulate_sequence(seed, 1.0, 30.0, "train", seed)
    if not moves:
        person = replace(person, joints_m=np.repeat(person.joints_m[:1], 30, axis=0))
    middle = np.nanmean(person.joints_m, axis=(0, 1))
    cameras = rig(4, middle, rng)
    return simulate(person, cameras, shutter_times(4, 29.5 / 30, 30.0, "synchronous"), rng)


def test_who_moves_is_best_seen_by_all_at_once_and_worst_by_what_was() -> None:
    found = values(results_of(filmed(moves=True), draws=2))
    for case in CASES:
        error = {
            method: found[f"{case}.{method}.mpjpe_mm"]
            for method in ("synchronous", "linear", "slerp", "linear_causal", "hold_last")
        }
        assert 0 <= error["synchronous"] < 0.05, case
        assert error["synchronous"] <= error["linear"] <= error["hold_last"], case
        assert error["linear"] <= error["linear_causal"], case
        assert error["synchronous"] <= error["slerp"] <= error["hold_last"], case
        assert error["hold_last"] > 1.0, case
        assert found[f"{case}.synchronous.known"] > 0.9


def test_who_stands_still_is_the_same_to_all() -> None:
    found = values(results_of(filmed(moves=False), draws=1))
    for case in CASES:
        errors = [value for name, value in found.items() if case in name and "mpjpe" in name]
        assert len(errors) == (6 if "random" in case else 7)
        assert max(errors) < 0.01 and max(errors) - min(errors) < 1e-3


def test_another_method_is_measured_on_the_same_joints() -> None:
    """One that answers only at every second instant, 1 mm off: so few joints are compared."""
    recording = filmed(moves=True)
    right = multiview_evaluation.reference(recording)
    assert right.against == "the truth"

    def half(thinned: Any) -> comparators.Poses:
        stamps = comparators.instants(thinned)[::2]
        joints = recording.joints_at(stamps) + [0.0, 0.001, 0.0]
        shape = (*joints.shape[:1], len(thinned.views), joints.shape[1])
        return comparators.Poses(
            stamps, joints, np.zeros((*joints.shape, 3)), np.zeros(shape), np.ones(shape, bool)
        )

    rows = results_of(recording, {"network": half}, draws=0)
    found = values(rows)
    assert not any("random" in name for name in found)
    assert found["views_4_interleaved.network.mpjpe_mm"] == pytest.approx(1.0, abs=1e-6)
    # 27 instants from the first whole round on: frames 3 to 29, of which 4, 6 .. 28
    assert found["views_4_interleaved.network.known"] == pytest.approx(13 / 27)
    assert found["views_4_interleaved.linear.known"] == 1.0
    of_the_same = found["views_2_interleaved.network.from_synchronous_mm"]
    assert of_the_same == pytest.approx(1.0, abs=0.05)  # they see without errors
    assert found["views_2_interleaved.synchronous.from_synchronous_mm"] == 0
    [row] = [row for row in rows if row["id"] == "views_4_interleaved.linear.mpjpe_mm"]
    # slerp ends with the last shot of the third camera, at frame 26
    assert row["against"] == f"the truth, {12 * 17} joints" and row["unit"] == "mm"


def test_without_truth_a_joint_counts_where_every_camera_sees_it_well() -> None:
    recording = replace(filmed(moves=True), truth=None)
    view = recording.views[1]
    view.confidence[5, 3] = 0.29
    view.keypoints_px[7, 2] += 400  # the others agree without it
    right = multiview_evaluation.reference(recording)
    assert right.against == "4 cameras at the full rate"
    unknown = np.argwhere(np.isnan(right.joints_m).any(-1)).tolist()
    hidden = np.argwhere(
        np.min([v.confidence for v in recording.views], axis=0) < multiview_evaluation.SEEN_WELL
    ).tolist()
    assert [7, 2] in unknown and [5, 3] in hidden
    assert sorted(unknown) == sorted([*hidden, [7, 2]])


def test_mistakes() -> None:
    recording = filmed(moves=True)
    with pytest.raises(ValueError, match="want more than 30 frames, got 30"):
        results_of(recording, every=30)
    views = (recording.views[0], recording.views[1].only(np.arange(5)))
    with pytest.raises(ValueError, match="all cameras have to fire at each"):
        results_of(replace(recording, views=views))


def test_the_published_recording(shared_data: Any) -> None:
    """Four cameras in turn, 15 Hz each: what is held is off by three times what lines are."""
    folder = shared_data / "multiview_pose2sim" / "S00_P00_SingleParticipant"
    if not folder.is_dir():
        pytest.skip(f"needs the recording in {folder}")
    found = values(results_of(pose2sim.load(folder / "S00_P00_T01_BalancingTrial"), draws=1))
    error = {
        method: found[f"views_4_interleaved.{method}.mpjpe_mm"]
        for method in (*multiview_evaluation.METHODS, "slerp_together", "synchronous")
    }
    # with two cameras most of the error is what two cameras have
    assert found["views_2_interleaved.synchronous.mpjpe_mm"] > 40
    assert found["views_2_interleaved.linear.from_synchronous_mm"] < 20
    assert error == pytest.approx(
        {
            "hold_last": 23.3,
            "linear_causal": 14.1,
            "linear": 7.2,
            "aligned": 12.9,
            "slerp": 8.1,
            "slerp_together": 6.5,
            "synchronous": 0.0,
        },
        abs=0.1,
    )
