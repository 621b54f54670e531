"""Names that the emulated rig is given: of its views, and of a recording's cameras."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig

pytestmark = pytest.mark.ros

VIEWS = ("left", "right", "above")


@pytest.mark.parametrize(
    ("parameter", "names"),
    [("silent", ""), ("silent", "above left"), ("exchanged", ""), ("exchanged", "right left")],
)
def test_views_that_are_there_are_accepted(parameter: str, names: str) -> None:
    from radar_pose_ros.nodes.rig_emulator import check_names

    check_names(parameter, names, VIEWS)


@pytest.mark.parametrize(
    ("parameter", "names", "sentence"),
    [
        ("silent", "left below", "silent: there is no view below, only left, right, above"),
        ("displaced", "a b", "displaced: there is no view a, b, only left, right, above"),
        ("exchanged", "left", "want two of the views left, right, above, or none, got 'left'"),
        ("exchanged", "left left", "or none, got 'left left'"),
        ("exchanged", "left right above", "or none, got 'left right above'"),
    ],
)
def test_others_are_refused_by_name(parameter: str, names: str, sentence: str) -> None:
    from radar_pose_ros.nodes.rig_emulator import check_names

    with pytest.raises(ValueError, match=f"{sentence}$"):
        check_names(parameter, names, VIEWS)


def test_a_recording_is_seen_by_some_of_its_cameras_or_all_under_other_names() -> None:
    from radar_pose_ros.nodes.rig_emulator import seen_by

    recording = SimulatedRig(VIEWS, clip_s=1.0).recording(0)
    some = seen_by(recording, ["above", "left"])
    assert [view.name for view in some.views] == ["above", "left"]
    for ours, theirs in zip(some.views, (recording.views[2], recording.views[0]), strict=True):
        np.testing.assert_array_equal(ours.keypoints_px, theirs.keypoints_px)
    alike = seen_by(recording, ["Above", "LEFT"])  # topics are called so
    assert [view.name for view in alike.views] == ["Above", "LEFT"]
    np.testing.assert_array_equal(alike.views[1].keypoints_px, recording.views[0].keypoints_px)
    renamed = seen_by(recording, ["a", "b", "c"])
    assert [view.name for view in renamed.views] == ["a", "b", "c"]
    np.testing.assert_array_equal(renamed.views[1].keypoints_px, recording.views[1].keypoints_px)
    with pytest.raises(
        ValueError,
        match="has the cameras left, right, above; name some of them, or 3 views to call them "
        "otherwise, got left, below",
    ):
        seen_by(recording, ["left", "below"])
    with pytest.raises(ValueError, match=r"name some of them, or 3 views .*, got left, Left"):
        seen_by(recording, ["left", "Left"])
