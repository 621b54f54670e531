"""Bodies and motions: geometry by formula, and what makes movement human-shaped."""

import numpy as np
import pytest

from radar_pose_ros.simulation.anatomy import (
    HEIGHT_RANGE_M,
    LEFT,
    RIGHT,
    TEST_HEIGHT_BANDS_M,
    BodyShape,
    Place,
    forward_kinematics,
    neutral,
)
from radar_pose_ros.simulation.body import (
    HELD_OUT_MOTIONS,
    MOTIONS,
    MotionClip,
    generate,
    random_sequence,
)
from radar_pose_ros.simulation.motions import minimum_jerk
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX, project

FACING_THE_RIG = Place(2.5, 0.0, np.pi)
FACING_AWAY = Place(2.5, 0.0, 0.0)
SHAPE = BodyShape.average(1.75)


def joint(joints_m, name):
    return joints_m[..., HUPR14.index(name), :]


def ankles_m(clip):
    return clip.joints_m[:, [HUPR14.index("left_ankle"), HUPR14.index("right_ankle")]]


def clip_of(motion, seed=0, duration_s=15.0):
    return generate(
        motion,
        BodyShape.sample(np.random.default_rng(seed)),
        duration_s,
        100.0,
        np.random.default_rng(1000 + seed),
    )


def pose(**changes):
    """Joints of the neutral posture, facing away from the rig, with some angles set."""
    posture = neutral(SHAPE, FACING_AWAY, 1)
    for name in ("flexion", "abduction", "rotation", "elbow"):
        getattr(posture, name)[:] = 0.0
    for name, value in changes.items():
        getattr(posture, name)[:] = value
    return forward_kinematics(posture, SHAPE)[0]


# Bodies


def test_a_standing_body_is_as_tall_as_it_says():
    for height_m in (1.5, 1.7, 1.95):
        shape = BodyShape.average(height_m)
        joints = forward_kinematics(neutral(shape, FACING_THE_RIG, 1), shape)[0]
        # The knees are not quite straight.
        assert joint(joints, "head")[2] == pytest.approx(height_m, abs=0.004)


def test_no_height_is_shared_between_training_and_test_bodies():
    rng = np.random.default_rng(0)
    heights = {
        split: np.array([BodyShape.sample(rng, split).height_m for _ in range(400)])
        for split in ("train", "validation", "test")
    }

    def in_band(values):
        return np.any([(low <= values) & (values < high) for low, high in TEST_HEIGHT_BANDS_M], 0)

    assert in_band(heights["test"]).all()
    assert not in_band(heights["train"]).any()
    assert not in_band(heights["validation"]).any()
    assert np.ptp(heights["train"]) > 0.4
    for values in heights.values():
        assert HEIGHT_RANGE_M[0] <= values.min() and values.max() <= HEIGHT_RANGE_M[1]


def test_a_body_is_recovered_from_its_joints():
    shape = BodyShape.sample(np.random.default_rng(4))
    clip = generate("walk", shape, 5.0, 50.0, np.random.default_rng(5))
    measured = BodyShape.measured(clip.joints_m)
    for name in ("thigh_m", "shank_m", "upper_arm_m", "forearm_m", "head_m", "torso_m"):
        assert getattr(measured, name) == pytest.approx(getattr(shape, name), rel=1e-6)
    assert measured.height_m == pytest.approx(shape.height_m, rel=0.002)


def test_unknown_splits_and_motions_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown split 'tests', there are train, validation"):
        BodyShape.sample(np.random.default_rng(0), "tests")
    with pytest.raises(ValueError, match="unknown motion 'fly', there are stand, walk"):
        generate("fly", SHAPE, 1.0, 10.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="must be positive, got 0 s"):
        generate("walk", SHAPE, 0, 10.0, np.random.default_rng(0))


def test_the_motions_are_listed_where_the_emulators_say(root):
    page = " ".join((root / "docs/nodes/radar_emulator.md").read_text("utf-8").split())
    listed = page.partition('`motion` is "random", or one of: ')[2].partition(". ")[0]
    assert tuple(listed.split(", ")) == MOTIONS
    assert MOTIONS[-3:] == HELD_OUT_MOTIONS  # "the last three"


# Forward kinematics


@pytest.mark.parametrize(("place", "sign"), [(FACING_THE_RIG, -1.0), (FACING_AWAY, 1.0)])
def test_left_is_the_persons_left(place, sign):
    joints = forward_kinematics(neutral(SHAPE, place, 1), SHAPE)[0]
    for left, right in HUPR14.left_right:
        assert sign * joints[left, 1] > 0 > sign * joints[right, 1]
    # In the image, who faces the rig has the left hand on the right side.
    u = project(joint(joints, "left_wrist"))[0]
    assert (u > 128) == (sign < 0)


def test_arms_hang_and_point_where_the_angles_say():
    arm_m = SHAPE.upper_arm_m + SHAPE.forearm_m
    for side in ("left", "right"):
        out = np.array([0.0, 1.0 if side == "left" else -1.0, 0.0])
        for changes, direction in (
            ({}, np.array([0.0, 0.0, -1.0])),
            ({"flexion": np.pi / 2}, np.array([1.0, 0.0, 0.0])),
            ({"flexion": np.pi}, np.array([0.0, 0.0, 1.0])),
            ({"abduction": np.pi / 2}, out),
        ):
            joints = pose(**changes)
            np.testing.assert_allclose(
                joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder"),
                arm_m * direction,
                atol=1e-9,
            )


def test_elbows_bend_forward_and_turn_outwards():
    for side in ("left", "right"):
        bent = pose(elbow=np.pi / 2)
        forearm = joint(bent, f"{side}_wrist") - joint(bent, f"{side}_elbow")
        np.testing.assert_allclose(forearm, [SHAPE.forearm_m, 0, 0], atol=1e-9)
        # Raised sideways and turned outwards, the forearm points up: the posture of waving.
        waving = pose(abduction=np.pi / 2, rotation=np.pi / 2, elbow=np.pi / 2)
        forearm = joint(waving, f"{side}_wrist") - joint(waving, f"{side}_elbow")
        np.testing.assert_allclose(forearm, [0, 0, SHAPE.forearm_m], atol=1e-9)


def test_the_trunk_leans_forward_rolls_right_and_twists_left():
    upright = pose()
    assert joint(pose(lean=0.3), "neck")[0] - joint(upright, "neck")[0] == pytest.approx(
        SHAPE.torso_m * np.sin(0.3)
    )
    assert joint(pose(roll=0.3), "neck")[1] == pytest.approx(-SHAPE.torso_m * np.sin(0.3))
    twisted = pose(twist=0.3)
    assert joint(twisted, "left_shoulder")[0] < joint(twisted, "right_shoulder")[0]


def test_knees_bend_to_the_front_with_the_right_angle():
    posture = neutral(SHAPE, FACING_AWAY, 1)
    posture.pelvis_m[:, 2] -= 0.3
    posture.knees_out[:] = 0.0
    joints = forward_kinematics(posture, SHAPE)[0]
    for side in ("left", "right"):
        hip, knee, ankle = (joint(joints, f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        assert knee[0] > max(hip[0], ankle[0]) + 0.2
        # Law of cosines.
        distance_m = np.linalg.norm(hip - ankle)
        thigh_m, shank_m = SHAPE.thigh_m, SHAPE.shank_m
        cosine = (thigh_m**2 + shank_m**2 - distance_m**2) / (2 * thigh_m * shank_m)
        found = np.dot(hip - knee, ankle - knee) / thigh_m / shank_m
        assert found == pytest.approx(cosine)


# Motions


@pytest.mark.parametrize("motion", MOTIONS)
def test_limb_lengths_never_change(motion):
    clip = clip_of(motion)
    shape = clip.shape
    hips_m = (joint(clip.track_m, "left_hip") + joint(clip.track_m, "right_hip")) / 2
    shoulder_m = np.hypot(shape.shoulder_half_width_m, shape.shoulder_drop_m)
    expected = {("neck", "head"): shape.head_m, ("left_hip", "right_hip"): np.nan}
    expected["left_hip", "right_hip"] = 2 * shape.hip_half_width_m
    for side in ("left", "right"):
        expected |= {
            (f"{side}_hip", f"{side}_knee"): shape.thigh_m,
            (f"{side}_knee", f"{side}_ankle"): shape.shank_m,
            (f"{side}_shoulder", f"{side}_elbow"): shape.upper_arm_m,
            (f"{side}_elbow", f"{side}_wrist"): shape.forearm_m,
            ("neck", f"{side}_shoulder"): shoulder_m,
        }
    for (one, other), length_m in expected.items():
        lengths_m = np.linalg.norm(joint(clip.track_m, one) - joint(clip.track_m, other), axis=-1)
        np.testing.assert_allclose(lengths_m, length_m, atol=1e-9, err_msg=f"{one}-{other}")
    torso_m = np.linalg.norm(joint(clip.track_m, "neck") - hips_m, axis=-1)
    np.testing.assert_allclose(torso_m, shape.torso_m, atol=1e-9)


@pytest.mark.parametrize("motion", MOTIONS)
def test_feet_are_on_the_floor_and_never_below(motion):
    clip = clip_of(motion, seed=1)
    above_m = ankles_m(clip)[..., 2] - clip.shape.ankle_height_m
    assert above_m.min() > -1e-3
    lower_m = above_m.min(axis=1)
    if motion == "jumping_jack":
        assert 0.02 < lower_m.max() < 0.1
        assert np.mean(lower_m < 0.01) > 0.3
    else:
        assert lower_m.max() < 0.012


@pytest.mark.parametrize("motion", ["walk", "turn", "side_step", "march"])
def test_one_foot_stands_still_while_the_other_moves(motion):
    clip = clip_of(motion, seed=2)
    speed_mps = np.linalg.norm(np.diff(ankles_m(clip)[..., :2], axis=0), axis=-1) * clip.rate_hz
    assert speed_mps.min(axis=1).max() < 0.1
    assert speed_mps.max() > 0.5


@pytest.mark.parametrize("motion", MOTIONS)
def test_movement_is_smooth_and_no_faster_than_people(motion):
    for seed in range(3):
        clip = clip_of(motion, seed)
        velocity_mps = np.diff(clip.joints_m, axis=0) * clip.rate_hz
        acceleration_mps2 = np.diff(velocity_mps, axis=0) * clip.rate_hz
        assert np.linalg.norm(velocity_mps, axis=-1).max() < 8.0
        assert np.linalg.norm(acceleration_mps2, axis=-1).max() < 180.0


def test_arms_swing_against_the_legs():
    clip = generate("walk", SHAPE, 30.0, 50.0, np.random.default_rng(3))
    forward = np.gradient(clip.joints_m[:, [0, 3], :2].mean(axis=1), axis=0)
    speed = np.linalg.norm(forward, axis=1)
    walking = speed > 0.6 / clip.rate_hz
    forward = forward[walking] / speed[walking, None]

    def ahead(name):
        middle = clip.joints_m[walking][:, [0, 3], :2].mean(axis=1)
        return np.sum((joint(clip.joints_m[walking], name)[:, :2] - middle) * forward, axis=1)

    swing = ahead("left_wrist") - ahead("right_wrist")
    stride = ahead("left_ankle") - ahead("right_ankle")
    assert np.corrcoef(swing, stride)[0, 1] < -0.8


def test_motions_do_what_their_names_say():
    def highest(motion, name):
        return joint(clip_of(motion).joints_m, name)[:, 2].max()

    def hips(motion):
        return joint(clip_of(motion).joints_m, "left_hip")[:, 2]

    shape = clip_of("stand").shape
    shoulder_m = joint(clip_of("stand").joints_m, "left_shoulder")[0, 2]
    assert max(highest("wave", "left_wrist"), highest("wave", "right_wrist")) > shoulder_m
    assert highest("jumping_jack", "left_wrist") > shoulder_m + 0.2
    assert np.ptp(hips("squat")) > 0.15 * shape.leg_m
    assert 0.45 < hips("sit").min() < 0.65
    assert np.ptp(hips("stand")) < 0.02
    walked = joint(clip_of("walk").joints_m, "neck")[:, :2]
    assert np.linalg.norm(np.ptp(walked, axis=0)) > 1.0
    assert max(highest("kick", "left_ankle"), highest("kick", "right_ankle")) > 0.3


def test_standing_sways_by_millimetres_and_breathes():
    clip = generate("stand", SHAPE, 30.0, 50.0, np.random.default_rng(6), FACING_THE_RIG)
    sway_m = joint(clip.joints_m, "left_hip")[:, :2].std(axis=0)
    assert (sway_m > 5e-4).all() and (sway_m < 0.015).all()
    chest_m = clip.breathing.chest_m(np.linspace(0, 60, 6001))
    assert 0.002 <= np.abs(chest_m).max() <= 0.006
    rising = np.count_nonzero(np.diff(np.signbit(chest_m).astype(int)) == -1)
    assert 0.2 * 60 - 1 <= rising <= 0.35 * 60 + 1  # breaths in a minute


# Clips


def test_the_same_seed_gives_the_same_clip():
    one, same, other = (
        random_sequence(np.random.default_rng(seed), 20.0, 10.0, "train") for seed in (8, 8, 9)
    )
    np.testing.assert_array_equal(one.joints_m, same.joints_m)
    assert one.shape == same.shape and one.motions == same.motions
    assert one.breathing == same.breathing
    assert not np.allclose(one.joints_m, other.joints_m)


def test_the_test_split_has_motions_that_training_never_sees():
    for split in ("train", "validation"):
        seen = set()
        for seed in range(8):
            seen |= {*random_sequence(np.random.default_rng(seed), 60.0, 10.0, split).motions}
        assert not seen & {*HELD_OUT_MOTIONS}
        assert len(seen) > 10
    for seed in range(8):
        motions = random_sequence(np.random.default_rng(seed), 10.0, 10.0, "test").motions
        assert {*motions} & {*HELD_OUT_MOTIONS}


def test_sequences_stay_in_the_area_and_in_the_image():
    clips = [
        random_sequence(np.random.default_rng(seed), 60.0, 10.0, split)
        for seed in range(8)
        for split in ("train", "test")
    ]
    joints_m = np.concatenate([clip.joints_m for clip in clips])
    hips_m = joints_m[:, [0, 3]].mean(axis=1)
    assert hips_m[:, 0].min() > 1.4 and hips_m[:, 0].max() < 3.6
    assert np.abs(np.arctan2(hips_m[:, 1], hips_m[:, 0])).max() < np.radians(40)
    pixels = project(joints_m)
    assert np.mean((pixels >= 0) & (pixels <= IMAGE_SIZE_PX)) > 0.995
    range_m = np.linalg.norm(joints_m - [0, 0, 1], axis=-1)
    assert np.mean((range_m > 1.33) & (range_m < 4.04)) > 0.995
    assert hips_m[:, 1].std() > 0.4 and hips_m[:, 0].std() > 0.3  # and use the area


def test_chains_have_no_jumps_where_motions_meet():
    clip = random_sequence(np.random.default_rng(11), 120.0, 100.0, "test")
    changes = np.flatnonzero(np.array(clip.motions[1:]) != np.array(clip.motions[:-1]))
    assert len(changes) > 15
    acceleration_mps2 = np.diff(clip.joints_m, 2, axis=0) * clip.rate_hz**2
    around = np.clip(changes[:, None] + np.arange(-3, 3), 0, len(acceleration_mps2) - 1)
    assert np.linalg.norm(acceleration_mps2[around], axis=-1).max() < 20.0


def test_joints_can_be_had_at_any_instant():
    clip = random_sequence(np.random.default_rng(12), 10.0, 10.0, "train")
    assert isinstance(clip, MotionClip)
    assert clip.joints_m.shape == (100, 14, 3) and len(clip.motions) == 100
    assert clip.rate_hz == pytest.approx(10.0)
    np.testing.assert_allclose(clip.joints_at(clip.times_s), clip.joints_m, atol=1e-9)
    # The rate of the instants does not change the movement.
    fine = random_sequence(np.random.default_rng(12), 10.0, 200.0, "train")
    np.testing.assert_allclose(clip.joints_at(fine.times_s), fine.joints_m, atol=1e-9)
    # The last radar frame, too, lies within the track.
    assert clip.track_times_s[-1] > clip.times_s[-1] + 0.1


def test_limbs_keep_their_lengths_between_the_samples_of_the_track():
    clip = random_sequence(np.random.default_rng(13), 30.0, 333.0, "train")
    forearm = joint(clip.joints_m, "left_wrist") - joint(clip.joints_m, "left_elbow")
    np.testing.assert_allclose(np.linalg.norm(forearm, axis=-1), clip.shape.forearm_m, atol=1e-4)


def test_minimum_jerk_is_the_published_polynomial():
    time_s = np.linspace(0, 2, 201)
    rise = minimum_jerk(time_s, 0.5, 1.5)
    assert rise[0] == 0 and rise[-1] == 1
    assert rise[100] == pytest.approx(0.5)
    assert np.gradient(rise, time_s).max() == pytest.approx(15 / 8, rel=1e-3)  # peak velocity


def test_sides_are_named():
    posture = neutral(SHAPE, FACING_AWAY, 1)
    posture.flexion[:, LEFT] = 1.0
    joints = forward_kinematics(posture, SHAPE)[0]
    assert joint(joints, "left_wrist")[0] > joint(joints, "right_wrist")[0] + 0.2
    assert (LEFT, RIGHT) == (0, 1)
