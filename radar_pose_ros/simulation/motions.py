"""What people do: motions as postures over time.

A planner makes a motion's random choices (how far, how fast, which side) and returns a plan that
can be evaluated at any instants. Every motion begins and ends in the neutral standing posture,
with ramps of minimum jerk, so that motions can be chained in any order. Gait, timing and
amplitudes are choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radar_pose_ros.simulation.anatomy import (
    LEFT,
    RIGHT,
    SIDE_SIGN,
    BodyShape,
    Place,
    Posture,
    foot_at,
    neutral,
)

# Where people stand: distance from the rig along x, and the largest |y| at that distance, which
# keeps a body with moderately spread arms inside of the image plane (|y| < 0.64 x).
AREA_X_M = (1.9, 3.4)
AREA_MAX_Y_M = 1.0
_GAP_FROM_IMAGE_EDGE_M = 0.55


def minimum_jerk(time_s: np.ndarray, begin_s: float, end_s: float) -> np.ndarray:
    """Rise from 0 to 1 between two instants with velocity and acceleration zero at both."""
    s = np.clip((time_s - begin_s) / (end_s - begin_s), 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def _minimum_jerk_integral(time_s: np.ndarray, begin_s: float, rise_s: float) -> np.ndarray:
    """Distance covered at unit speed when the speed rises by `minimum_jerk` and then stays."""
    s = np.clip((time_s - begin_s) / rise_s, 0.0, 1.0)
    after = np.maximum(time_s - begin_s - rise_s, 0.0)
    return rise_s * s**4 * (2.5 - 3.0 * s + s**2) + after


def _hold(time_s: np.ndarray, duration_s: float, rise_s: float) -> np.ndarray:
    """Envelope: up, hold, and down again within the duration."""
    rise_s = min(rise_s, duration_s / 2)
    return minimum_jerk(time_s, 0.0, rise_s) - minimum_jerk(
        time_s, duration_s - rise_s, duration_s
    )


def _pulses(time_s: np.ndarray, begin_s: float, period_s: float, count: int) -> np.ndarray:
    """``count`` smooth bumps from 0 to 1 and back, one per period."""
    turn = (time_s - begin_s) / period_s
    return np.where((turn > 0) & (turn < count), np.sin(np.pi * turn) ** 4, 0.0)


def _blend(start: np.ndarray, end_rad: float | np.ndarray, weight: np.ndarray) -> np.ndarray:
    return start + (end_rad - start) * weight


@dataclass(frozen=True)
class Plan:
    """A motion with its random choices made: how long, what, and where it ends."""

    duration_s: float
    evaluate: Callable[[np.ndarray], Posture]
    end: Place


Planner = Callable[[BodyShape, Place, np.random.Generator], Plan]
_Act = Callable[[Posture, np.ndarray], None]


def _on_the_spot(shape: BodyShape, place: Place, duration_s: float, act: _Act) -> Plan:
    """Plan a motion that changes the neutral posture and returns to it."""

    def evaluate(time_s: np.ndarray) -> Posture:
        posture = neutral(shape, place, len(time_s))
        act(posture, time_s)
        return posture

    return Plan(duration_s, evaluate, place)


def _degrees(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.radians(rng.uniform(low, high)))


def _arms_used(rng: np.random.Generator, both: float) -> list[int]:
    """One arm, or both with the given probability."""
    return [LEFT, RIGHT] if rng.random() < both else [int(rng.integers(2))]


# -------------------------------------------------------------------------------------------------
# Motions on the spot


def _plan_stand(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    duration_s = rng.uniform(2.0, 6.0)
    arms = rng.random()
    elbow, fold = _degrees(rng, 15, 95), _degrees(rng, -45, 0)
    look = _degrees(rng, -12, 12)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, 0.9)
        posture.look += look * hold
        if arms < 0.4:  # hands before the belly or in the pockets
            for side in (LEFT, RIGHT):
                posture.elbow[:, side] = _blend(posture.elbow[:, side], elbow, hold)
                posture.rotation[:, side] = _blend(posture.rotation[:, side], fold, hold)

    return _on_the_spot(shape, place, duration_s, act)


def _plan_wave(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    duration_s, rate_hz = rng.uniform(3.0, 6.0), rng.uniform(0.9, 2.2)
    arms = _arms_used(rng, both=0.25)
    abduction, elbow = _degrees(rng, 55, 115), _degrees(rng, 65, 115)
    flexion, swing = _degrees(rng, 0, 35), _degrees(rng, 15, 32)
    phase = rng.uniform(0, 2 * np.pi)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, 0.8)
        # The swing starts when the arm is up.
        wave = hold**4 * np.sin(2 * np.pi * rate_hz * time_s + phase)
        for side in arms:
            posture.abduction[:, side] = _blend(posture.abduction[:, side], abduction, hold)
            posture.flexion[:, side] = _blend(posture.flexion[:, side], flexion, hold)
            posture.rotation[:, side] = _blend(posture.rotation[:, side], np.radians(88), hold)
            posture.rotation[:, side] += swing * wave
            posture.elbow[:, side] = _blend(posture.elbow[:, side], elbow, hold)
            posture.elbow[:, side] += 0.5 * swing * wave

    return _on_the_spot(shape, place, duration_s, act)


def _plan_box(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    punches, period_s = int(rng.integers(4, 10)), rng.uniform(0.55, 1.0)
    raise_s = 0.7
    duration_s = 2 * raise_s + punches * period_s
    first = int(rng.integers(2))
    guard, guard_elbow = _degrees(rng, 25, 50), _degrees(rng, 110, 135)
    reach, reach_elbow = _degrees(rng, 78, 98), _degrees(rng, 8, 25)
    inwards, turn = _degrees(rng, -15, 5), _degrees(rng, 12, 30)
    crouch_m = rng.uniform(0.01, 0.05)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, raise_s)
        posture.pelvis_m[:, 2] -= crouch_m * hold
        posture.lean += np.radians(8) * hold
        for side in (LEFT, RIGHT):
            begin_s = raise_s + (period_s if side != first else 0.0)
            count = (punches + (side == first)) // 2
            turns = (time_s - begin_s) / (2 * period_s)
            within = (turns > 0) & (turns < count)
            # A punch takes the first half of its turn, the other arm's punch the second half.
            jab = np.where(within, _pulses(turns % 1.0, 0.0, 0.6, 1), 0.0)
            flexion = guard + (reach - guard) * jab
            elbow = guard_elbow + (reach_elbow - guard_elbow) * jab
            posture.flexion[:, side] = _blend(posture.flexion[:, side], flexion, hold)
            posture.elbow[:, side] = _blend(posture.elbow[:, side], elbow, hold)
            posture.abduction[:, side] = _blend(posture.abduction[:, side], inwards, hold)
            posture.rotation[:, side] = _blend(posture.rotation[:, side], np.radians(-5), hold)
            posture.twist -= SIDE_SIGN[side] * turn * jab * hold

    return _on_the_spot(shape, place, duration_s, act)


def _sink(posture: Posture, shape: BodyShape, depth: np.ndarray, back_m: np.ndarray) -> None:
    """Lower the pelvis by a share of the leg's length and move it back along the heading."""
    posture.pelvis_m[:, 2] -= depth * shape.leg_m
    posture.pelvis_m[:, 0] -= back_m * np.cos(posture.heading)
    posture.pelvis_m[:, 1] -= back_m * np.sin(posture.heading)


def _plan_squat(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s = int(rng.integers(1, 5)), rng.uniform(1.6, 3.0)
    duration_s = count * period_s
    depth, lean = rng.uniform(0.2, 0.48), _degrees(rng, 20, 42)
    arms_forward = rng.random() < 0.7
    raise_to, spread_m = _degrees(rng, 60, 100), rng.uniform(0.02, 0.1)
    knees = _degrees(rng, 8, 25)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        down = np.sin(np.pi * time_s / period_s) ** 2
        stance = _hold(time_s, duration_s, 0.5)
        _sink(posture, shape, depth * down, 0.14 * depth / 0.4 * down)
        posture.lean += lean * down * depth / 0.4
        posture.knees_out += (knees * down)[:, None]
        _widen(posture, spread_m * stance)
        if arms_forward:
            posture.flexion = _blend(posture.flexion, raise_to, down[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _widen(posture: Posture, by_m: np.ndarray) -> None:
    """Move each ankle outwards."""
    across = np.stack([-np.sin(posture.heading), np.cos(posture.heading)], axis=-1)
    for side in (LEFT, RIGHT):
        posture.ankles_m[:, side, :2] += SIDE_SIGN[side] * by_m[:, None] * across


def _plan_sit(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    down_s, stay_s = rng.uniform(1.2, 2.0), rng.uniform(1.5, 5.0)
    duration_s = 2 * down_s + stay_s
    seat_m = rng.uniform(0.42, 0.50)  # of the chair; the hip joints come to lie above it
    drop = (shape.standing_pelvis_m - seat_m - 0.08) / shape.leg_m
    back_m = 0.95 * shape.thigh_m
    lean, rest_lean = _degrees(rng, 30, 45), _degrees(rng, -8, 8)
    hands, elbow = _degrees(rng, 15, 35), _degrees(rng, 45, 75)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        seated = _hold(time_s, duration_s, down_s)
        # Leaning forward is what keeps the balance on the way down and up.
        moving = np.sin(np.pi * seated) ** 2
        _sink(posture, shape, drop * seated, back_m * seated)
        posture.lean += lean * moving + rest_lean * seated
        posture.flexion = _blend(posture.flexion, hands, seated[:, None])
        posture.elbow = _blend(posture.elbow, elbow, seated[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _plan_jumping_jack(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s = int(rng.integers(2, 6)), rng.uniform(1.0, 1.6)
    duration_s = count * period_s
    spread_m, hop_m = rng.uniform(0.14, 0.26), rng.uniform(0.02, 0.06)
    raise_to, elbow = _degrees(rng, 125, 165), _degrees(rng, 5, 30)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        turn = time_s / period_s
        # Both the way out and the way in are jumps; the feet stay down in between.
        phase = turn % 1.0
        out = minimum_jerk(phase, 0.02, 0.48) - minimum_jerk(phase, 0.52, 0.98)
        hop = np.sin(np.pi * np.clip((phase - 0.08) / 0.3, 0, 1)) ** 2
        hop += np.sin(np.pi * np.clip((phase - 0.58) / 0.3, 0, 1)) ** 2
        _widen(posture, spread_m * out)
        posture.ankles_m[:, :, 2] += hop_m * hop[:, None]
        leg_drop = shape.leg_m - np.sqrt(shape.leg_m**2 - (spread_m * out) ** 2)
        posture.pelvis_m[:, 2] += (
            hop_m * hop - leg_drop - 0.012 * (1 - hop) * np.sin(np.pi * phase)
        )
        posture.abduction = _blend(posture.abduction, raise_to, out[:, None])
        posture.elbow = _blend(posture.elbow, elbow, out[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _plan_reach(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    rise_s, stay_s = rng.uniform(0.8, 1.4), rng.uniform(0.3, 2.0)
    duration_s = 2 * rise_s + stay_s
    arms = _arms_used(rng, both=0.3)
    flexion, abduction = _degrees(rng, 50, 150), _degrees(rng, -10, 50)
    elbow, turn = _degrees(rng, 5, 35), _degrees(rng, 0, 25)
    lean = _degrees(rng, 0, 18)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        out = _hold(time_s, duration_s, rise_s)
        posture.lean += lean * out
        for side in arms:
            posture.flexion[:, side] = _blend(posture.flexion[:, side], flexion, out)
            posture.abduction[:, side] = _blend(posture.abduction[:, side], abduction, out)
            posture.elbow[:, side] = _blend(posture.elbow[:, side], elbow, out)
            posture.twist -= SIDE_SIGN[side] * turn * out / len(arms)

    return _on_the_spot(shape, place, duration_s, act)


def _plan_bend(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    rise_s, stay_s = rng.uniform(1.0, 1.7), rng.uniform(0.2, 1.5)
    duration_s = 2 * rise_s + stay_s
    lean, depth = _degrees(rng, 35, 80), rng.uniform(0.02, 0.12)
    hang, elbow = rng.uniform(0.7, 1.2), _degrees(rng, 5, 20)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        down = _hold(time_s, duration_s, rise_s)
        _sink(posture, shape, depth * down, 0.12 * down * np.sin(lean))
        posture.lean += lean * down
        # Arms hang down from the leaning trunk, or reach further.
        posture.flexion = _blend(posture.flexion, hang * lean, down[:, None])
        posture.elbow = _blend(posture.elbow, elbow, down[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _plan_side_bend(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s = int(rng.integers(1, 4)), rng.uniform(2.0, 3.5)
    duration_s = count * period_s
    roll, first = _degrees(rng, 12, 28), rng.choice([-1.0, 1.0])
    arms_out = rng.random() < 0.4
    raise_to = _degrees(rng, 60, 90)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, 0.7)
        posture.roll += first * roll * hold * np.sin(2 * np.pi * time_s / period_s)
        if arms_out:
            posture.abduction = _blend(posture.abduction, raise_to, hold[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _plan_arm_raise(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s = int(rng.integers(1, 4)), rng.uniform(1.8, 3.5)
    duration_s = count * period_s
    sideways = rng.random() < 0.5
    raise_to, elbow = _degrees(rng, 70, 165), _degrees(rng, 3, 20)
    arms = _arms_used(rng, both=0.7)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        up = np.sin(np.pi * time_s / period_s) ** 2
        angle = posture.abduction if sideways else posture.flexion
        for side in arms:
            angle[:, side] = _blend(angle[:, side], raise_to, up)
            posture.elbow[:, side] = _blend(posture.elbow[:, side], elbow, up)

    return _on_the_spot(shape, place, duration_s, act)


def _plan_arm_circle(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s, rise_s = int(rng.integers(2, 6)), rng.uniform(1.0, 2.0), 0.8
    duration_s = rise_s + count * period_s
    radius, direction = _degrees(rng, 15, 35), rng.choice([-1.0, 1.0])

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, rise_s)
        turns = count * minimum_jerk(time_s, 0.3, duration_s - 0.3)
        # With the arm raised sideways, flexion leads the hand around the axis of the shoulders.
        posture.abduction = _blend(posture.abduction, np.pi / 2 - radius, hold[:, None])
        posture.flexion += (2 * np.pi * direction * turns)[:, None]
        posture.elbow = _blend(posture.elbow, np.radians(8), hold[:, None])

    return _on_the_spot(shape, place, duration_s, act)


def _lift_leg(
    posture: Posture,
    shape: BodyShape,
    side: int,
    hip: np.ndarray,
    knee: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Move one ankle to where the given hip and knee flexion put it, ``weight`` of the way."""
    forward = np.stack([np.cos(posture.heading), np.sin(posture.heading)], axis=-1)
    along = shape.thigh_m * np.sin(hip) + shape.shank_m * np.sin(hip - knee)
    down = shape.thigh_m * np.cos(hip) + shape.shank_m * np.cos(hip - knee)
    target = posture.ankles_m[:, side].copy()
    target[:, :2] += along[:, None] * forward
    above = posture.pelvis_m[:, 2] - down - shape.ankle_height_m
    target[:, 2] = shape.ankle_height_m + (above + np.hypot(above, 0.03)) / 2  # never below
    posture.ankles_m[:, side] += weight[:, None] * (target - posture.ankles_m[:, side])


def _shift_weight(posture: Posture, towards_left_m: np.ndarray) -> None:
    """Move the pelvis sideways over the standing foot; the trunk leans the other way a little."""
    posture.pelvis_m[:, 0] -= towards_left_m * np.sin(posture.heading)
    posture.pelvis_m[:, 1] += towards_left_m * np.cos(posture.heading)
    posture.roll += 0.8 * towards_left_m


def _plan_kick(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    count, period_s, rise_s = int(rng.integers(1, 4)), rng.uniform(1.3, 2.0), 0.5
    duration_s = 2 * rise_s + count * period_s
    side = int(rng.integers(2))
    height, knee_end = _degrees(rng, 35, 80), _degrees(rng, 5, 25)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, rise_s)
        up = hold * _pulses(time_s, rise_s, period_s, count)
        # First the knee bends, then the lower leg swings out.
        bend = hold * _pulses(time_s + 0.16 * period_s, rise_s, period_s, count)
        _shift_weight(posture, -SIDE_SIGN[side] * 0.07 * hold)
        hip = height * up
        knee = np.radians(75) * bend * (1 - up) + knee_end * up
        _lift_leg(posture, shape, side, hip, knee, 1 - ((1 - up) * (1 - bend)) ** 3)
        posture.lean -= np.radians(12) * up
        posture.abduction += np.radians(20) * hold[:, None]
        posture.flexion[:, 1 - side] += np.radians(35) * up

    return _on_the_spot(shape, place, duration_s, act)


def _plan_march(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    steps, period_s, rise_s = int(rng.integers(4, 12)), rng.uniform(0.6, 1.0), 0.5
    duration_s = 2 * rise_s + steps * period_s
    first = int(rng.integers(2))
    height, knee = _degrees(rng, 40, 85), _degrees(rng, 70, 100)
    swing = _degrees(rng, 15, 45)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        hold = _hold(time_s, duration_s, rise_s)
        for side in (LEFT, RIGHT):
            begin_s = rise_s + (period_s if side != first else 0.0)
            turns = (time_s - begin_s) / (2 * period_s)
            within = (turns > 0) & (turns < (steps + (side == first)) // 2)
            up = np.where(within, _pulses(turns % 1.0, 0.0, 0.7, 1), 0.0)
            _shift_weight(posture, -SIDE_SIGN[side] * 0.05 * np.sqrt(up))
            _lift_leg(posture, shape, side, height * up, knee * up, 1 - (1 - up) ** 3)
            posture.flexion[:, 1 - side] += swing * up * hold
            posture.flexion[:, side] -= 0.4 * swing * up * hold
            posture.elbow[:, 1 - side] += 0.8 * swing * up * hold

    return _on_the_spot(shape, place, duration_s, act)


# -------------------------------------------------------------------------------------------------
# Motions from place to place


def _plan_steps(
    shape: BodyShape,
    start: Place,
    duration_s: float,
    path: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    *,
    step_s: float,
    crouch_m: float,
    swing: float,
) -> Plan:
    """Plan stepping along a path of the pelvis.

    Feet are planted where the pelvis will be in the middle of their stance and travel from one
    plant to the next in an arc. Arms and shoulders swing against the feet.

    Parameters
    ----------
    path : callable
        From times (F,) to points on the floor (F, 3) and headings (F,); constant at both ends.
    step_s : float
        Approximate time of a step.
    crouch_m : float
        How much lower the pelvis is than in standing.
    swing : float
        Arm swing in radians per metre between the feet.
    """
    steps = max(2, round(duration_s / step_s))
    step_s = duration_s / steps
    first = int(rng.integers(2))
    lift_m = rng.uniform(0.05, 0.10)
    sway_m = rng.uniform(0.012, 0.03)
    elbow = _degrees(rng, 0, 30)

    def plant(time_s: float, side: int) -> np.ndarray:
        ground, heading = path(np.array([min(time_s, duration_s)]))
        return foot_at(ground, heading, shape, side)[0]

    moves: list[tuple[int, float, np.ndarray, np.ndarray]] = []
    standing = [plant(0.0, LEFT), plant(0.0, RIGHT)]
    for step in range(steps):
        side = (first + step) % 2
        middle_s = (step + 1.5) * step_s if step < steps - 2 else duration_s
        target = plant(middle_s, side)
        moves.append((side, step * step_s, standing[side], target))
        standing[side] = target

    def evaluate(time_s: np.ndarray) -> Posture:
        posture = neutral(shape, start, len(time_s))
        ground, posture.heading = path(time_s)
        posture.ankles_m[:] = [plant(0.0, LEFT), plant(0.0, RIGHT)]
        hold = _hold(time_s, duration_s, step_s)
        side_shift = np.zeros(len(time_s))
        for side, begin_s, origin, target in moves:
            travelled = minimum_jerk(time_s, begin_s, begin_s + step_s)
            arc = np.sin(np.pi * travelled) ** 2
            posture.ankles_m[:, side] += travelled[:, None] * (target - origin)
            posture.ankles_m[:, side, 2] += lift_m * arc
            within = np.clip((time_s - begin_s) / step_s, 0.0, 1.0)
            side_shift -= SIDE_SIGN[side] * sway_m * np.sin(np.pi * within) ** 2
        bob = 0.012 * (1 - np.cos(2 * np.pi * time_s / step_s))  # highest over the standing leg
        posture.pelvis_m = ground.copy()
        posture.pelvis_m[:, 2] = shape.standing_pelvis_m - hold * (crouch_m + 0.024 - bob)
        forward = np.stack([np.cos(posture.heading), np.sin(posture.heading)], axis=-1)
        ahead = np.einsum("fsk,fk->fs", posture.ankles_m[..., :2] - ground[:, None, :2], forward)
        split_m = ahead[:, LEFT] - ahead[:, RIGHT]
        _shift_weight(posture, side_shift)
        posture.twist = 0.25 * split_m
        posture.lean += np.radians(3) * hold
        posture.flexion[:, LEFT] -= swing * split_m
        posture.flexion[:, RIGHT] += swing * split_m
        posture.elbow += hold[:, None] * elbow + 0.3 * np.maximum(
            0.0, posture.flexion - np.radians(2.0)
        )
        return posture

    ground, heading = path(np.array([duration_s]))
    end = Place(float(ground[0, 0]), float(ground[0, 1]), float(heading[0]))
    return Plan(duration_s, evaluate, end)


def _wrap(angle: float) -> float:
    """Bring an angle into [-pi, pi)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _max_y_m(x_m: float) -> float:
    return min(AREA_MAX_Y_M, 0.64 * x_m - _GAP_FROM_IMAGE_EDGE_M)


def _random_spot(rng: np.random.Generator) -> tuple[float, float]:
    x_m = rng.uniform(*AREA_X_M)
    return float(x_m), float(rng.uniform(-1, 1) * _max_y_m(x_m))


def _random_heading(x_m: float, y_m: float, rng: np.random.Generator) -> float:
    """Mostly towards the rig within 60 degrees, sometimes any."""
    if rng.random() < 0.15:
        return float(rng.uniform(-np.pi, np.pi))
    return float(np.arctan2(-y_m, -x_m) + np.radians(rng.uniform(-60, 60)))


def random_place(rng: np.random.Generator) -> Place:
    """Draw a place to stand within the area, mostly facing the rig."""
    x_m, y_m = _random_spot(rng)
    return Place(x_m, y_m, _random_heading(x_m, y_m, rng))


def _distant_spot(place: Place, least_m: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a spot at least so far away; the farthest of some if none is."""
    spots = np.array([_random_spot(rng) for _ in range(12)])
    distances = np.linalg.norm(spots - [place.x_m, place.y_m], axis=1)
    far = np.flatnonzero(distances >= least_m)
    return spots[far[0] if len(far) else np.argmax(distances)]


def _plan_walk(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    origin = np.array([place.x_m, place.y_m])
    target = _distant_spot(place, 1.0, rng)
    straight = target - origin
    distance_m = float(np.linalg.norm(straight))
    bow = rng.uniform(-0.15, 0.15) * np.array([-straight[1], straight[0]])
    control = (origin + target) / 2 + bow
    control[0] = np.clip(control[0], *AREA_X_M)
    backwards = rng.random() < 0.08
    speed_mps = rng.uniform(0.4, 0.7) if backwards else rng.uniform(0.5, 1.2)
    rise_s = 0.7

    offset = np.pi if backwards else 0.0
    first_tangent, last_tangent = control - origin, target - control
    start_heading = np.arctan2(first_tangent[1], first_tangent[0]) + offset
    end_heading = np.arctan2(last_tangent[1], last_tangent[0]) + offset
    # Headings are unwound: bend is the turn along the path, the others those at its ends.
    bend = _wrap(end_heading - start_heading)
    turn_in = _wrap(start_heading - place.heading)
    turn_out = 0.0
    if rng.random() < 0.7:
        turn_out = _wrap(
            _random_heading(float(target[0]), float(target[1]), rng)
            - place.heading
            - turn_in
            - bend
        )
    turn_in_s, turn_out_s = 0.4 + abs(turn_in) / 1.8, 0.4 + abs(turn_out) / 1.8
    walk_s = distance_m / speed_mps + rise_s
    begin_s = 0.75 * turn_in_s
    duration_s = begin_s + walk_s + 0.75 * turn_out_s

    def path(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covered = _minimum_jerk_integral(time_s, begin_s, rise_s)
        covered -= _minimum_jerk_integral(time_s, begin_s + walk_s - rise_s, rise_s)
        u = (covered * speed_mps / distance_m)[:, None]
        flat = (1 - u) ** 2 * origin + 2 * u * (1 - u) * control + u**2 * target
        heading = place.heading + turn_in * minimum_jerk(time_s, 0.0, turn_in_s)
        heading = heading + bend * u[:, 0]
        heading += turn_out * minimum_jerk(time_s, duration_s - turn_out_s, duration_s)
        return np.concatenate([flat, np.zeros_like(u)], axis=1), heading

    return _plan_steps(
        shape,
        place,
        duration_s,
        path,
        rng,
        step_s=float(np.clip(0.72 - 0.17 * speed_mps, 0.48, 0.7)),
        crouch_m=0.012 + 0.02 * speed_mps,
        swing=float(rng.uniform(0.3, 1.1)),
    )


def _plan_turn(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    target = _random_heading(place.x_m, place.y_m, rng)
    turn = _wrap(target - place.heading)
    if abs(turn) < np.radians(35):
        turn = float(rng.choice([-1.0, 1.0]) * np.radians(rng.uniform(60, 180)))
    duration_s = 0.8 + abs(turn) / rng.uniform(1.0, 2.0)

    def path(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ground = np.tile(place.position_m, (len(time_s), 1))
        return ground, place.heading + turn * minimum_jerk(time_s, 0.1, duration_s - 0.1)

    return _plan_steps(shape, place, duration_s, path, rng, step_s=0.55, crouch_m=0.0, swing=0.3)


def _plan_side_step(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    across = np.array([-np.sin(place.heading), np.cos(place.heading)])
    origin = np.array([place.x_m, place.y_m])
    best = origin
    for _ in range(12):
        candidate = origin + rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2) * across
        inside = AREA_X_M[0] <= candidate[0] <= AREA_X_M[1]
        if inside and abs(candidate[1]) <= _max_y_m(candidate[0]):
            best = candidate
            break
    distance_m = float(np.linalg.norm(best - origin))
    duration_s = 1.2 + distance_m / rng.uniform(0.3, 0.6)

    def path(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = minimum_jerk(time_s, 0.1, duration_s - 0.1)[:, None]
        ground = np.concatenate([origin + u * (best - origin), np.zeros_like(u)], axis=1)
        return ground, np.full(len(time_s), place.heading)

    return _plan_steps(shape, place, duration_s, path, rng, step_s=0.5, crouch_m=0.02, swing=0.3)


def _plan_lunge(shape: BodyShape, place: Place, rng: np.random.Generator) -> Plan:
    step_s, stay_s = rng.uniform(0.7, 1.0), rng.uniform(0.3, 1.2)
    duration_s = 2 * step_s + stay_s + 0.4
    side = int(rng.integers(2))
    length_m = rng.uniform(0.55, 0.75) * shape.leg_m
    depth = rng.uniform(0.15, 0.28)
    arms = _degrees(rng, 0, 70)

    def act(posture: Posture, time_s: np.ndarray) -> None:
        forward = np.stack([np.cos(posture.heading), np.sin(posture.heading)], axis=-1)
        out_s, back_s = step_s, duration_s - step_s
        step = minimum_jerk(time_s, 0.0, out_s) - minimum_jerk(time_s, back_s, duration_s)
        down = minimum_jerk(time_s, 0.2, out_s + 0.2) - minimum_jerk(
            time_s, back_s - 0.2, duration_s - 0.2
        )
        posture.ankles_m[:, side, :2] += (length_m * step)[:, None] * forward
        posture.ankles_m[:, side, 2] += 0.07 * np.sin(np.pi * step) ** 2
        posture.pelvis_m[:, :2] += (0.5 * length_m * down)[:, None] * forward
        posture.pelvis_m[:, 2] -= depth * shape.leg_m * down
        posture.lean += np.radians(8) * down
        posture.flexion = _blend(posture.flexion, arms, down[:, None])

    return _on_the_spot(shape, place, duration_s, act)


PLANNERS: dict[str, Planner] = {
    "stand": _plan_stand,
    "walk": _plan_walk,
    "turn": _plan_turn,
    "side_step": _plan_side_step,
    "wave": _plan_wave,
    "box": _plan_box,
    "squat": _plan_squat,
    "sit": _plan_sit,
    "jumping_jack": _plan_jumping_jack,
    "reach": _plan_reach,
    "bend": _plan_bend,
    "side_bend": _plan_side_bend,
    "arm_raise": _plan_arm_raise,
    "march": _plan_march,
    "kick": _plan_kick,
    "lunge": _plan_lunge,
    "arm_circle": _plan_arm_circle,
}
