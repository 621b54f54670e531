"""Mappings between skeletons: formulas, unknown joints, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets.cmu_mocap import to_hupr14
from radar_pose_ros.skeleton import definitions, mapping
from radar_pose_ros.skeleton.definitions import (
    BODY25,
    BODY25B,
    CMU23,
    COCO17,
    H36M17,
    HALPE26,
    HUPR14,
    KINECT25,
    LSP14,
    MPI17,
    Skeleton,
)
from radar_pose_ros.skeleton.mapping import DECIWATCH_17_TO_14, convert, formulas


def standing() -> np.ndarray:
    """HUPR14's joints of somebody who stands and looks along x: hips at 1 m, neck at 1.5 m."""
    places = {
        "hip": (0.0, 0.1, 1.0),
        "knee": (0.02, 0.1, 0.5),
        "ankle": (0.0, 0.1, 0.1),
        "shoulder": (0.0, 0.2, 1.45),
        "elbow": (-0.02, 0.25, 1.15),
        "wrist": (0.0, 0.25, 0.9),
    }
    joints = np.empty((14, 3))
    for name in HUPR14.joints:
        side, _, part = name.partition("_")
        sign = -1.0 if side == "right" else 1.0
        joints[HUPR14.index(name)] = (
            np.array(places[part]) * [1.0, sign, 1.0]
            if part
            else (0.0, 0.0, {"neck": 1.5, "head": 1.8}[name])
        )
    return joints


def test_seventeen_joints_of_fourteen() -> None:
    made = convert(standing(), "hupr14", "h36m17")
    known = {
        "pelvis": (0, 0, 1.0),
        "spine": (0, 0, 1.25),
        "thorax": (0, 0, 1.5),
        "nose": (0, 0, 1.65),
        "head": (0, 0, 1.8),
        "left_hip": (0, 0.1, 1.0),
        "right_wrist": (0, -0.25, 0.9),
    }
    for name, place in known.items():
        assert_close(made[H36M17.index(name)], place)
    assert np.isfinite(made).all()


def test_and_back() -> None:
    for source in ("hupr14", "lsp14"):
        start = convert(standing(), "hupr14", source)
        assert_close(convert(convert(start, source, "h36m17"), "h36m17", source), start)


def test_leading_axes_pixels_and_precision() -> None:
    joints = np.random.default_rng(0).normal(size=(4, 5, 14, 2)).astype(np.float32)
    made = convert(joints, "hupr14", "h36m17")
    assert made.shape == (4, 5, 17, 2) and made.dtype == np.float32
    hips = joints[..., [HUPR14.index("left_hip"), HUPR14.index("right_hip")], :]
    assert_close(made[..., 0, :], hips.mean(-2))


@pytest.mark.parametrize(("source", "target"), mapping._FORMULAS)
def test_weights_sum_to_one_and_sides_stay_sides(source: str, target: str) -> None:
    ours, theirs = definitions.get(target), definitions.get(source)
    for name, weights in formulas(source, target).items():
        assert sum(weights.values()) == 1.0
        for part in weights:
            theirs.index(part)  # there is one
            if name.startswith(("left_", "right_")):
                assert part == name
    # a mirrored body gives the mirrored joints
    joints = np.random.default_rng(1).normal(size=(len(theirs.joints), 3))
    other = convert(joints[theirs.mirrored()], source, target)
    assert_close(other, convert(joints, source, target)[ours.mirrored()])


def test_unknown_joints_stay_unknown_and_only_these() -> None:
    joints = standing()
    joints[HUPR14.index("left_hip")] = np.nan
    made = convert(joints, "hupr14", "h36m17")
    unknown = {H36M17.joints[joint] for joint in np.flatnonzero(np.isnan(made).any(-1))}
    assert unknown == {"left_hip", "pelvis", "spine"}


def test_what_the_source_does_not_have_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mapping._FORMULAS, ("hupr14", "h36m17"), {})
    made = convert(standing(), "hupr14", "h36m17")
    unknown = {H36M17.joints[joint] for joint in np.flatnonzero(np.isnan(made).any(-1))}
    assert unknown == {"pelvis", "spine", "thorax", "nose"}


def test_mocap_agrees_with_the_radar_simulator_s_reader() -> None:
    joints = np.random.default_rng(2).normal(size=(6, 23, 3))
    names = [name.replace("left_", "l_").replace("right_", "r_") for name in CMU23.joints]
    assert_close(convert(joints, "cmu23", "hupr14"), to_hupr14(joints, names))
    both = set(H36M17.joints) & set(HUPR14.joints)
    direct, twice = (
        convert(joints, "cmu23", "h36m17"),
        convert(convert(joints, "cmu23", "hupr14"), "hupr14", "h36m17"),
    )
    for name in (*both, "pelvis", "thorax", "nose"):
        assert_close(direct[:, H36M17.index(name)], twice[:, H36M17.index(name)])
    measured = joints[:, [CMU23.index("spine1"), CMU23.index("spine2")]].mean(1)
    assert_close(direct[:, H36M17.index("spine")], measured)


def test_kinect_s_head_is_no_crown() -> None:
    joints = np.zeros((25, 3))
    joints[KINECT25.index("spine_shoulder"), 2] = 1.4
    joints[KINECT25.index("neck"), 2] = 1.5
    joints[KINECT25.index("head"), 2] = 1.65
    made = convert(joints, "kinect25", "h36m17")
    assert_close(made[H36M17.index("head")], [0, 0, 1.8])
    assert_close(made[H36M17.index("thorax")], [0, 0, 1.4])
    assert_close(made[H36M17.index("nose")], [0, 0, 1.6])


@pytest.mark.parametrize(
    ("source", "heights_m", "known"),
    [
        (
            BODY25,
            {"pelvis": 0.96, "neck": 1.4, "left_ear": 1.6, "right_ear": 1.6, "nose": 1.58},
            {"pelvis": 0.96, "thorax": 1.4, "spine": 1.18, "head": 1.72, "nose": 1.58},
        ),
        (
            BODY25B,
            {"upper_neck": 1.5, "head_top": 1.75, "nose": 1.58},
            {"pelvis": 1.0, "thorax": 1.45, "spine": 1.225, "head": 1.75, "nose": 1.58},
        ),
        (
            HALPE26,
            {"upper_neck": 1.5, "head_top": 1.75, "nose": 1.58, "pelvis": 0.96},
            {"pelvis": 1.0, "thorax": 1.45, "spine": 1.225, "head": 1.75, "nose": 1.58},
        ),
        (
            COCO17,
            {"left_ear": 1.6, "right_ear": 1.6, "nose": 1.58},
            {"pelvis": 1.0, "thorax": 1.4, "spine": 1.2, "head": 1.72, "nose": 1.58},
        ),
        (
            MPI17,
            {"pelvis": 1.01, "spine": 1.2, "neck": 1.45, "head": 1.6, "head_top": 1.75},
            {"pelvis": 1.01, "thorax": 1.45, "spine": 1.2, "head": 1.75, "nose": 1.6},
        ),
    ],
)
def test_openpose_and_mpi(
    source: Skeleton, heights_m: dict[str, float], known: dict[str, float]
) -> None:
    """Hips at 1 m and shoulders at 1.4 m; crown, base of the neck and what lies between."""
    joints = np.full((len(source.joints), 3), 0.0)
    for part, height_m in {"hip": 1.0, "shoulder": 1.4}.items():
        for side in ("left", "right"):
            joints[source.index(f"{side}_{part}"), 2] = height_m
    for name, height_m in heights_m.items():
        joints[source.index(name), 2] = height_m
    made = convert(joints, source.name, "h36m17")
    for name, height_m in known.items():
        assert_close(made[H36M17.index(name)], [0, 0, height_m])
    fourteen = convert(joints, source.name, "hupr14")
    assert_close(fourteen[HUPR14.index("neck")], [0, 0, known["thorax"]])
    assert_close(fourteen[HUPR14.index("head")], [0, 0, known["head"]])


def test_deciwatch_s_list_is_the_mapping_by_name() -> None:
    left_first = (0, 4, 5, 6, 1, 2, 3, *range(7, 17))  # H36M17 in DeciWatch's order
    joints = np.random.default_rng(3).normal(size=(17, 3))
    chosen = joints[list(left_first)][list(DECIWATCH_17_TO_14)]
    assert_close(convert(joints, "h36m17", "lsp14"), chosen)
    names = [H36M17.joints[left_first[joint]] for joint in DECIWATCH_17_TO_14]
    assert names == [{"neck": "thorax"}.get(name, name) for name in LSP14.joints]


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="no mapping from h36m17 to cmu23, there are hupr14 to"):
        convert(np.zeros((17, 3)), "h36m17", "cmu23")
    with pytest.raises(ValueError, match=r"hupr14 has 14 joints, got an array of shape \(17, 3\)"):
        convert(np.zeros((17, 3)), "hupr14", "h36m17")
    assert_close(convert([[1, 2]] * 14, "hupr14", "hupr14"), np.array([[1.0, 2.0]] * 14))


def test_what_is_known_of_joints_goes_with_them() -> None:
    """By default as little as of the least of those that a joint is made of."""
    confidence = np.linspace(0.1, 0.9, 14)
    carried = mapping.carry(confidence, "hupr14", "h36m17")
    of = dict(zip(HUPR14.joints, confidence, strict=True))
    for name, parts in (
        ("left_wrist", ["left_wrist"]),
        ("pelvis", ["left_hip", "right_hip"]),
        ("nose", ["neck", "head"]),
        ("thorax", ["neck"]),
    ):
        assert carried[H36M17.index(name)] == min(of[part] for part in parts)
    most = mapping.carry(confidence, "hupr14", "h36m17", np.max)
    assert most[H36M17.index("nose")] == of["head"]


def test_joints_that_are_taken_over_are_told_from_made_ones() -> None:
    made = ~mapping.taken_over("hupr14", "h36m17")
    assert [H36M17.joints[k] for k in np.flatnonzero(made)] == ["pelvis", "spine", "nose"]
    assert mapping.taken_over("h36m17", "h36m17").all()
