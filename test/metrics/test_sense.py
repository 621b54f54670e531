"""Made-up people who do what is said pass; broken ones, and those who stand still, do not."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.metrics import sense
from radar_pose_ros.metrics.sense import ACTIVITY_CHECKS, SHAPE_CHECKS, Take
from radar_pose_ros.skeleton.definitions import KINECT25

RATE_HZ = 10.0
FRAMES = 177
TIME_S = np.arange(FRAMES) / RATE_HZ
HALF_HZ = 0.5
# A person of 1.75 m, 2 m before the radar, which is 1 m above the floor, and facing it: arms hang.
# Of both sides the left one is given.
PERSON = {
    "spine_base": (2.0, 0.0, -0.07),
    "spine_mid": (2.0, 0.0, 0.18),
    "spine_shoulder": (2.0, 0.0, 0.43),
    "neck": (2.0, 0.0, 0.50),
    "head": (2.0, 0.0, 0.65),
    "left_shoulder": (2.0, -0.2, 0.40),
    "left_elbow": (2.0, -0.22, 0.08),
    "left_wrist": (1.97, -0.22, -0.17),
    "left_hand": (1.96, -0.22, -0.25),
    "left_hand_tip": (1.95, -0.22, -0.33),
    "left_thumb": (1.93, -0.2, -0.25),
    "left_hip": (2.0, -0.1, -0.07),
    "left_knee": (1.98, -0.1, -0.49),
    "left_ankle": (2.0, -0.1, -0.92),
    "left_foot": (1.9, -0.1, -0.98),
}
ARMS = [
    KINECT25.index(f"{side}_{joint}")
    for side in ("left", "right")
    for joint in ("wrist", "hand", "hand_tip", "thumb")
]


def joint(name: str) -> int:
    return KINECT25.index(name)


def person() -> np.ndarray:
    """Standing still, (frames, 25, 3)."""
    joints_m = np.empty((len(KINECT25.joints), 3))
    for name, (x, y, z) in PERSON.items():
        joints_m[joint(name)] = x, y, z
        if name.startswith("left_"):
            joints_m[joint(name.replace("left_", "right_"))] = x, -y, z
    return np.tile(joints_m, (FRAMES, 1, 1))


def wave(size: float, hz: float = HALF_HZ) -> np.ndarray:
    """From 0 to ``size`` and back, (frames,)."""
    return size * (1 - np.cos(2 * np.pi * hz * TIME_S)) / 2


def take(joints_m: np.ndarray, middle_m: np.ndarray | None = None) -> Take:
    """With points about the hips, or about another middle."""
    middle_m = joints_m[:, KINECT25.root] if middle_m is None else middle_m
    return Take(joints_m, middle_m[:, None] + np.array([-0.2, 0, 0.2])[:, None], RATE_HZ)


def squatting(size: float = 0.4, hz: float = HALF_HZ) -> np.ndarray:
    joints_m = person()
    legs = [joint(f"{side}_{name}") for side in ("left", "right") for name in ("ankle", "foot")]
    above = np.setdiff1d(np.arange(25), legs)
    joints_m[:, above, 2] -= wave(size, hz)[:, None]
    return joints_m


def walking(size: float = 1.6) -> np.ndarray:
    joints_m = person()
    joints_m[..., 0] += wave(size, 0.1)[:, None]
    return joints_m


def raising_hands(hz: float = HALF_HZ) -> np.ndarray:
    joints_m = person()
    joints_m[:, ARMS, 2] += wave(0.9, hz)[:, None]
    return joints_m


def boxing() -> np.ndarray:
    joints_m = person()
    joints_m[:, ARMS, 0] -= wave(0.45)[:, None]
    return joints_m


DOING = {
    "squats": take(squatting()),
    "walk": take(walking()),
    "jack": take(raising_hands(), squatting(0.1)[:, KINECT25.root]),
    "boxing": take(boxing()),
    "jump": take(squatting(0.15)),
}


# -- shape ---------------------------------------------------------------------------------------


def test_a_person_has_a_persons_shape():
    standing = take(person())
    assert {name for name, check in SHAPE_CHECKS.items() if check(standing).all()} == set(
        SHAPE_CHECKS
    )


def broken(name: str, offset: tuple[float, float, float], frames: slice = slice(None)) -> Take:
    """A person of whom some joints are elsewhere, for some of the time."""
    joints_m = person()
    chosen = [k for k, joint_name in enumerate(KINECT25.joints) if name in joint_name]
    joints_m[frames, chosen] += offset
    return take(joints_m, person()[:, KINECT25.root])


@pytest.mark.parametrize(
    ("of", "failed"),
    [
        pytest.param(broken("ankle", (0, 0, -1.6)), {"bones", "reach"}, id="a shank of 2 m"),
        pytest.param(broken("elbow", (0, 0, 0.2)), {"bones"}, id="an upper arm of 0.12 m"),
        pytest.param(broken("left_wrist", (0, 0, -0.09)), {"sides"}, id="a longer forearm"),
        pytest.param(broken("head", (0, 0, -0.3)), {"upright"}, id="head in the chest"),
        pytest.param(broken("knee", (0.3, 0, 0.45)), {"upright", "bones"}, id="knees in the hips"),
        pytest.param(broken("thumb", (0, 1.6, 0)), {"reach"}, id="a thumb far away"),
        pytest.param(broken("", (0.6, 0, 0)), {"place"}, id="beside the points"),
        pytest.param(broken("hand", (0, 0, 1.0), slice(0, None, 2)), {"speed"}, id="flickering"),
    ],
)
def test_who_is_broken_fails(of, failed):
    rates = {name: check(of).mean() for name, check in SHAPE_CHECKS.items()}
    assert {name for name, rate in rates.items() if rate < 0.1} == failed
    assert {rate for name, rate in rates.items() if name not in failed} == {1.0}


def test_single_poses_fail_by_themselves():
    """A jump of all joints is a speed; a bone that changes is not rigid, nor is a pose unknown."""
    joints_m = person()
    joints_m[100:] += [0.4, 0, 0]
    assert np.flatnonzero(~sense.speed(take(joints_m))).tolist() == [100]
    joints_m = person()
    joints_m[50, [joint("left_elbow"), joint("right_elbow")], 2] += 0.09
    assert np.flatnonzero(~sense.rigid(take(joints_m))).tolist() == [50]
    joints_m = person()
    joints_m[20] = np.nan
    for check in SHAPE_CHECKS.values():
        failed = np.flatnonzero(~check(take(joints_m))).tolist()
        assert failed == ([20, 21] if check is sense.speed else [20])


def test_nobody_passes_nothing():
    nobody = take(np.full((FRAMES, 25, 3), np.nan))
    assert not any(check(nobody).any() for check in SHAPE_CHECKS.values())
    with np.errstate(invalid="ignore"):
        for checks in ACTIVITY_CHECKS.values():
            assert not any(check(nobody) for check in checks.values())


def test_lengths_are_of_both_sides_and_the_trunk():
    lengths = sense.lengths_m(person())[0]
    np.testing.assert_allclose(lengths[::2][:4], lengths[1::2])
    assert lengths[0] == pytest.approx(np.hypot(0.02, 0.32))
    assert lengths[-1] == pytest.approx(0.5)


# -- activities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activity", ACTIVITY_CHECKS)
def test_who_does_what_is_said_passes_and_who_stands_still_fails(activity):
    checks = ACTIVITY_CHECKS[activity]
    assert all(check(DOING[activity]) for check in checks.values())
    standing = DOING[activity]._replace(joints_m=person())
    assert not any(check(standing) for check in checks.values())


def test_less_than_the_limit_fails():
    """Limits of the documentation: 0.18, 0.10, 0.59, 0.24 and 0.21 m."""
    share = 0.988  # of a long cosine's range between its 5th and 95th percentile
    for check, made, least in (
        (sense.hips_go_down, squatting, 0.1764),
        (sense.hops, squatting, 0.1),
        (sense.travels, walking, 0.5904),
    ):
        assert check(take(made(1.05 * least / share)))
        assert not check(take(made(0.95 * least / share)))
    joints_m = person()
    joints_m[:, ARMS, 0] -= 0.22
    assert sense.hands_reach(take(joints_m))  # 0.25 m ahead, as a wrist hangs 0.03 m ahead
    assert not sense.hands_come_and_go(take(joints_m))
    joints_m[:, ARMS, 0] += 0.02
    assert not sense.hands_reach(take(joints_m))


def test_hands_have_to_come_down_too():
    joints_m = person()
    joints_m[:, ARMS, 2] += 0.7 + wave(0.2)[:, None]
    assert not sense.hands_go_up(take(joints_m))


def test_another_rate_than_the_points_fails():
    middle_m = squatting()[:, KINECT25.root]
    step_hz = RATE_HZ / FRAMES
    assert sense.hips_as_often(take(squatting(hz=HALF_HZ + step_hz), middle_m))
    assert not sense.hips_as_often(take(squatting(hz=HALF_HZ + 2.5 * step_hz), middle_m))
    assert not sense.hands_as_often(take(raising_hands(1.0), middle_m))


def test_a_walker_goes_where_the_points_go():
    middle_m = walking()[:, KINECT25.root]
    half, third = take(walking(0.85), middle_m), take(walking(0.6), middle_m)
    assert sense.as_far(half) and not sense.as_far(third)
    back = walking()
    back[..., 0] = 4 - back[..., 0]
    assert sense.as_far(take(back, middle_m))
    assert not sense.with_points(take(back, middle_m))


def test_frequencies():
    tone = np.sin(2 * np.pi * 1.0 * np.arange(200) / RATE_HZ)
    slow = 5 * np.sin(2 * np.pi * 0.1 * np.arange(200) / RATE_HZ)
    assert sense.frequency_hz(np.stack([tone, slow], 1), RATE_HZ) == pytest.approx(1.0)
    assert np.isnan(sense.frequency_hz(np.zeros((200, 1)), RATE_HZ))
    assert np.isnan(sense.frequency_hz(np.full((200, 1), np.nan), RATE_HZ))
