"""Frames and joint angles of a body, against a model that is moved by known angles.

The model is that of REP-155's package human_description, as a list of joints: parent, child,
where the child is in the parent, and the axis that it turns about.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.human_frames import STRAIGHT, angles, body_frame, frames

TRUNK, SHOULDER, UPPER_ARM, FOREARM = 0.6, 0.18, 0.35, 0.22
HIP, THIGH, SHIN, HEAD = 0.13, 0.4, 0.44, 0.25
Chain = list[tuple[str, str, tuple[float, float, float], tuple[float, float, float]]]


def model() -> Chain:
    """Return the joints, each called like its child."""
    chain: Chain = [
        ("body", "waist", (0, 0, 0), (0, 1, 0)),
        ("waist", "torso", (0, 0, TRUNK), (0, 0, 0)),
        ("torso", "r_head", (0, 0, 0), (1, 0, 0)),
        ("r_head", "y_head", (0, 0, 0), (0, 0, 1)),
        ("y_head", "p_head", (0, 0, 0), (0, -1, 0)),
        ("p_head", "head", (0, 0, HEAD), (0, 0, 0)),
    ]
    for side, sign in (("l", 1), ("r", -1)):
        chain += [
            ("torso", f"{side}_y_shoulder", (0, sign * SHOULDER, 0), (0, 0, -sign)),
            (f"{side}_y_shoulder", f"{side}_p_shoulder", (0, 0, 0), (sign, 0, 0)),
            (f"{side}_p_shoulder", f"{side}_r_shoulder", (0, 0, 0), (0, 0, sign)),
            (f"{side}_r_shoulder", f"{side}_elbow", (0, 0, -UPPER_ARM), (0, -1, 0)),
            (f"{side}_elbow", f"{side}_wrist", (0, 0, -FOREARM), (0, 0, 0)),
            ("body", f"{side}_y_hip", (0, sign * HIP, 0), (0, 0, -1)),
            (f"{side}_y_hip", f"{side}_p_hip", (0, 0, 0), (sign, 0, 0)),
            (f"{side}_p_hip", f"{side}_r_hip", (0, 0, 0), (0, -1, 0)),
            (f"{side}_r_hip", f"{side}_knee", (0, 0, -THIGH), (0, -1, 0)),
            (f"{side}_knee", f"{side}_ankle", (0, 0, -SHIN), (0, 0, 0)),
        ]
    return chain


def moved(turns: dict[str, float], root: tuple[np.ndarray, np.ndarray]) -> dict[str, tuple]:
    """Return rotation and place of every link in the world."""
    placed = {"body": root}
    for parent, child, origin, axis in model():
        turn = Rotation.from_rotvec(turns.get(child, 0.0) * np.array(axis, float)).as_matrix()
        rotation, place = placed[parent]
        placed[child] = rotation @ turn, place + rotation @ np.array(origin, float)
    return placed


def joints(placed: dict[str, tuple]) -> np.ndarray:
    """Return the joints of H36M17."""
    ours = {"pelvis": "body", "thorax": "torso", "head": "head"}
    for side, word in (("l", "left"), ("r", "right")):
        for part in ("elbow", "wrist", "knee", "ankle"):
            ours[f"{word}_{part}"] = f"{side}_{part}"
        ours |= {f"{word}_{part}": f"{side}_y_{part}" for part in ("shoulder", "hip")}
    unknown = np.full(3, np.nan)
    return np.array([placed[ours[n]][1] if n in ours else unknown for n in H36M17.joints])


LIMITS = {  # of the model, as far as three joints of an arm say it in one way only
    "r_head": (-0.8, 0.8),
    "p_head": (-0.8, 0.8),
    "y_shoulder": (-1.0, 1.8),
    "p_shoulder": (0.05, 3.0),
    "r_shoulder": (-1.4, 1.4),
    "elbow": (STRAIGHT + 0.01, 2.5),
    "y_hip": (-0.1, 0.6),
    "p_hip": (-0.4, 1.2),
    "r_hip": (-0.4, 0.7),
    "knee": (-2.5, -STRAIGHT - 0.01),
}


def drawn(rng: np.random.Generator) -> dict[str, float]:
    """Return random angles within the limits."""
    found = {}
    for name, (lowest, highest) in LIMITS.items():
        for which in (name,) if name.endswith("head") else (f"l_{name}", f"r_{name}"):
            found[which] = rng.uniform(lowest, highest)
    return found


def anywhere(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return Rotation.random(random_state=int(rng.integers(1000))).as_matrix(), rng.normal(size=3)


@pytest.mark.parametrize("number", range(20))
def test_the_angles_that_moved_the_model_are_found_again(number: int) -> None:
    """Of all joints but the head's turn, wherever the body is, to rounding."""
    rng = np.random.default_rng(number)
    turns, root = drawn(rng), anywhere(rng)
    found = angles(joints(moved(turns, root)))
    assert set(found) == {"waist", *turns}
    assert found["waist"] == 0.0
    np.testing.assert_allclose([found[name] for name in turns], [*turns.values()], atol=1e-9)


@pytest.mark.parametrize("number", range(5))
def test_frames_are_those_of_the_models_links(number: int) -> None:
    """In the frame of the body; shoulder and hip are the links of the bones that begin there."""
    rng = np.random.default_rng(number)
    placed = moved(drawn(rng), anywhere(rng))
    body = body_frame(joints(placed))
    assert body is not None
    np.testing.assert_allclose(body.rotation, placed["body"][0], atol=1e-9)
    np.testing.assert_allclose(body.translation_m, placed["body"][1], atol=1e-9)
    found = frames(joints(placed))
    links = {"head": "head", "torso": "torso", "waist": "waist"}
    for side in "lr":
        links |= {
            f"{side}_{part}": f"{side}_{part}" for part in ("elbow", "wrist", "knee", "ankle")
        }
        links |= {f"{side}_{part}": f"{side}_r_{part}" for part in ("shoulder", "hip")}
    assert set(found) == set(links)
    for name, link in links.items():
        world = found[name].then(body)
        np.testing.assert_allclose(world.translation_m, placed[link][1], atol=1e-9)
        np.testing.assert_allclose(world.rotation, placed[link][0], atol=1e-9)


def test_somebody_who_stands_upright_has_no_angles_and_upright_frames() -> None:
    """x forward, y to the left, z up, and every limb hangs straight."""
    upright = joints(moved({}, (np.eye(3), np.array([2.0, 0.5, 0.9]))))
    assert all(abs(angle) < 1e-9 for angle in angles(upright).values())
    body = body_frame(upright)
    assert body is not None
    np.testing.assert_allclose(body.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(body.translation_m, [2.0, 0.5, 0.9])
    for place in frames(upright).values():
        np.testing.assert_allclose(place.rotation, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(frames(upright)["torso"].translation_m, [0, 0, TRUNK], atol=1e-12)
    np.testing.assert_allclose(frames(upright)["l_wrist"].translation_m[1], SHOULDER)


def test_an_arm_raised_forwards_and_a_knee_lifted() -> None:
    """By hand: the arm is turned by a right angle and lifted by one, the elbow is straight."""
    turns = {"l_y_shoulder": np.pi / 2, "l_p_shoulder": np.pi / 2}
    place = joints(moved(turns, (np.eye(3), np.zeros(3))))
    wrist = place[H36M17.index("left_wrist")] - place[H36M17.index("left_shoulder")]
    np.testing.assert_allclose(wrist, [UPPER_ARM + FOREARM, 0, 0], atol=1e-12)
    found = angles(place)
    np.testing.assert_allclose([found[name] for name in turns], np.pi / 2)
    assert found["l_elbow"] == 0.0
    knee = angles(joints(moved({"r_r_hip": 0.6, "r_knee": -1.2}, (np.eye(3), np.zeros(3)))))
    assert abs(knee["r_r_hip"] - 0.6) < 1e-9 and abs(knee["r_knee"] + 1.2) < 1e-9


def test_a_nearly_straight_limb_is_not_turned_about_itself() -> None:
    """Its bones lie where they are, as far as a straight limb can, whatever the noise."""
    rng = np.random.default_rng(0)
    noisy = joints(moved({}, (np.eye(3), np.zeros(3)))) + rng.normal(0, 0.005, (17, 3))
    found = angles(noisy)
    for side in "lr":
        assert found[f"{side}_elbow"] == found[f"{side}_knee"] == 0.0
        assert found[f"{side}_y_hip"] == 0.0
        assert abs(found[f"{side}_r_hip"]) < 0.1 and abs(found[f"{side}_p_hip"]) < 0.1


def test_an_arm_behind_the_back_swings_backwards() -> None:
    """Rather than being turned beyond what the model allows."""
    found = angles(joints(moved({"l_y_shoulder": 1.5, "l_p_shoulder": -0.3}, anywhere_fixed())))
    assert abs(found["l_y_shoulder"] - 1.5) < 1e-9 and abs(found["l_p_shoulder"] + 0.3) < 1e-9


def anywhere_fixed() -> tuple[np.ndarray, np.ndarray]:
    return anywhere(np.random.default_rng(9))


def test_what_is_not_known_is_left_out() -> None:
    upright = joints(moved({}, (np.eye(3), np.zeros(3))))
    partial = upright.copy()
    partial[H36M17.index("left_wrist")] = np.nan
    partial[H36M17.index("head")] = np.nan
    gone = {"l_y_shoulder", "l_p_shoulder", "l_r_shoulder", "l_elbow", "r_head", "p_head"}
    assert set(angles(upright)) - set(angles(partial)) == gone
    lost = {"l_shoulder", "l_elbow", "l_wrist", "head"}
    assert set(frames(upright)) - set(frames(partial)) == lost
    for name in ("left_hip", "thorax"):
        without = upright.copy()
        without[H36M17.index(name)] = np.nan
        assert body_frame(without) is None and frames(without) == {} and angles(without) == {}
    flat = upright.copy()
    flat[H36M17.index("thorax")] = flat[H36M17.index("left_hip")] * 2
    assert body_frame(flat) is None  # hips and neck on one line
