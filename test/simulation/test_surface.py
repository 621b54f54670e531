"""What a radar sees of a body: sides, lobes, breathing and shadow."""

from dataclasses import replace

import numpy as np
import pytest

from radar_pose_ros.simulation.anatomy import BodyShape, Place, forward_kinematics, neutral
from radar_pose_ros.simulation.surface import BodySurface

RADAR_M = np.array([0.0, 0.0, 1.0])
SHAPE = BodyShape.average(1.75, skin_seed=3)


def posture_joints(heading=np.pi, **changes):
    posture = neutral(SHAPE, Place(2.5, 0.0, heading), 1)
    for name, value in changes.items():
        getattr(posture, name)[:] = value
    return forward_kinematics(posture, SHAPE)


def cross_section_m2(scatterers, chosen=slice(None)):
    return np.sum(np.abs(scatterers.amplitudes_m[chosen]) ** 2)


def near(scatterers, begin_m, end_m, within_m):
    """Which scatterers lie beside the line between two points, within a distance."""
    line = end_m - begin_m
    offset = scatterers.positions_m[0] - begin_m
    share = offset @ line / (line @ line)
    beside = np.linalg.norm(offset - share[:, None] * line, axis=1) < within_m
    return beside & (share > 0) & (share < 1)


def test_a_body_has_the_cross_section_of_a_person():
    for heading in np.radians([180, 135, 90, 0]):
        scatterers = BodySurface(SHAPE).scatterers(posture_joints(heading), RADAR_M)
        assert 0.1 < cross_section_m2(scatterers) < 1.0


def test_the_surface_lies_between_the_axis_of_the_body_and_the_radar():
    joints_m = posture_joints()
    scatterers = BodySurface(SHAPE).scatterers(joints_m, RADAR_M)
    depth_m = joints_m[0, :, 0].mean() - scatterers.positions_m[0, :, 0]
    strong = np.abs(scatterers.amplitudes_m) > np.median(np.abs(scatterers.amplitudes_m))
    assert depth_m[strong].min() > -0.02
    assert depth_m.max() < 0.35
    assert np.ptp(scatterers.positions_m[0, :, 2]) > 1.5  # from feet to crown


@pytest.mark.parametrize("degrees", [0, 20, 45, 80])
def test_a_limb_returns_by_the_angle_between_its_normal_and_the_radar(degrees):
    # The left arm points away from the rig, raised to the side by more or less.
    shape = replace(SHAPE, hand_m=1e-6)
    # Facing the rig, abduction of 90 degrees less the angle: the arm is seen broadside at 0.
    posture = neutral(shape, Place(2.5, 0.0, 0.0), 1)
    posture.flexion[:] = np.pi / 2
    posture.abduction[:] = np.pi / 2 - np.radians(degrees)
    posture.elbow[:] = 0.0
    joints_m = forward_kinematics(posture, shape)
    shoulder, wrist = joints_m[0, 8], joints_m[0, 10]
    radar_m = (shoulder + wrist) / 2 - np.array([50.0, 0.0, 0.0])  # far away, level with the arm
    surface = BodySurface(shape)
    scatterers = surface.scatterers(joints_m, radar_m, occlusion=False)
    chosen = near(scatterers, shoulder, wrist - 0.02 * (wrist - shoulder), 0.051)
    chosen[18:] = False  # the hand, which comes next, and the trunk
    assert chosen.sum() == 12
    found = np.abs(scatterers.amplitudes_m[chosen])
    # Divide the skin's irregularities out by looking at the same arm broadside.
    posture.abduction[:] = np.pi / 2
    broadside = surface.scatterers(forward_kinematics(posture, shape), radar_m, occlusion=False)
    same = np.flatnonzero(chosen)  # limbs are always listed, in the same order
    ratio = found / np.abs(broadside.amplitudes_m[same])
    expected = 0.12 + 0.88 * np.cos(np.radians(degrees)) ** 14
    np.testing.assert_allclose(ratio, expected, rtol=0.02)


def test_a_trunk_seen_from_behind_shows_its_back_only():
    for heading in (0.0, np.pi):
        joints_m = posture_joints(heading)
        scatterers = BodySurface(SHAPE).scatterers(joints_m, RADAR_M)
        hips_m, neck_m = joints_m[0, [0, 3]].mean(axis=0), joints_m[0, 6]
        trunk = near(scatterers, hips_m, neck_m, 0.12)
        trunk &= np.abs(scatterers.positions_m[0, :, 1]) < 0.1
        assert trunk.sum() > 10
        assert (scatterers.positions_m[0, trunk, 0] < 2.5).all()


def test_breathing_moves_the_front_of_the_chest_and_not_the_back():
    joints_m = np.repeat(posture_joints(np.pi), 2, axis=0)
    chest_m = np.array([0.0, 0.004])
    moved = {}
    for heading in (0.0, np.pi):
        joints_m = np.repeat(posture_joints(heading), 2, axis=0)
        scatterers = BodySurface(SHAPE).scatterers(joints_m, RADAR_M, chest_m)
        moved[heading] = np.diff(scatterers.positions_m[..., 0], axis=0)[0]
    assert moved[np.pi].min() == pytest.approx(-0.004, abs=5e-4)  # towards the rig
    assert np.abs(moved[0.0]).max() < 1e-9


def test_the_trunk_hides_an_arm_behind_it():
    joints_m = posture_joints(0.0, flexion=np.radians(60), abduction=np.radians(-25))
    surface = BodySurface(SHAPE)
    seen = surface.scatterers(joints_m, RADAR_M, occlusion=True)
    all_there = surface.scatterers(joints_m, RADAR_M, occlusion=False)
    for elbow, wrist in ((9, 10), (12, 13)):
        chosen = near(seen, joints_m[0, elbow], joints_m[0, wrist], 0.05)
        assert cross_section_m2(seen, chosen) < 0.3 * cross_section_m2(all_there, chosen)
    # From the front the same arms are seen.
    joints_m = posture_joints(np.pi, flexion=np.radians(60), abduction=np.radians(-25))
    chosen = near(seen, joints_m[0, 12], joints_m[0, 13], 0.05)
    seen = surface.scatterers(joints_m, RADAR_M, occlusion=True)
    all_there = surface.scatterers(joints_m, RADAR_M, occlusion=False)
    np.testing.assert_allclose(np.abs(seen.amplitudes_m[:62]), np.abs(all_there.amplitudes_m[:62]))


def test_skin_belongs_to_the_body():
    joints_m = posture_joints()
    one = BodySurface(SHAPE).scatterers(joints_m, RADAR_M)
    same = BodySurface(SHAPE).scatterers(joints_m, RADAR_M)
    other = BodySurface(replace(SHAPE, skin_seed=4)).scatterers(joints_m, RADAR_M)
    np.testing.assert_array_equal(one.amplitudes_m, same.amplitudes_m)
    assert not np.allclose(one.amplitudes_m, other.amplitudes_m)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(instants, 14, 3\), got \(14, 3\)"):
        BodySurface(SHAPE).scatterers(np.zeros((14, 3)), RADAR_M)
