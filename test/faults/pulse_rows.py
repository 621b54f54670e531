"""R10: what is no pulse, and pulses of every rate."""

from __future__ import annotations

import numpy as np
from faults.bench import Bench
from faults.node_cases import BEGIN_NS, skin
from faults.rows import Outcome, row

from radar_pose_ros import msg
from radar_pose_ros.models.pulse import PulseNetwork
from radar_pose_ros.nodes import convert
from radar_pose_ros.training import physmamba_reproduce
from radar_pose_ros.vitals.meter import ClassicalMethod, PulseMethod

RATE_HZ = 30.0
SECONDS = 16
TOLERANCE_BPM = 2.0
LEAST_REFUSED, LEAST_TOLD = 0.99, 0.9


@row(
    "R10",
    fault="a photograph, one under swinging exposure, a frozen picture, grey noise, nobody, 5 "
    "images a second, 3 s, two people; by colours and by the network",
    must_hold="of those without a pulse no rate in 99 % of the windows; never one that is more "
    "than 5 beats per minute off; the right reason",
    volume=3,
    unit="videos of each case",
)
def no_pulse(volume: int, seed: int) -> Outcome:
    """Measure what has no pulse; the videos are the same for every seed."""
    methods: dict[str, PulseMethod] = {"combined": ClassicalMethod("combined")}
    methods["physmamba"] = PulseNetwork.load("edge")
    found = physmamba_reproduce.refusals(methods, volume)
    faults = []
    for one in found:
        what = f"{one['case']} by {one['method']}"
        if one["wrong"] or one["right"] < LEAST_REFUSED:
            faults.append(f"{what}: {one['right']:.1%} right, {one['wrong']:.1%} wrong rates")
        elif one["case"] != "two" and one["refused"] < LEAST_REFUSED:
            faults.append(f"{what}: {one['refused']:.1%} refused")
    windows = sum(one["windows"] for one in found)
    figures = f"{len(found)} cases, {windows} readings"
    return Outcome(not faults, "; ".join([figures, *faults[:4]]))


@row(
    "R10",
    fault="hearts of 40 to 180 beats per minute, in images of skin that come unevenly",
    must_hold="where the node tells a rate it is within 2 beats per minute, and it tells one in 9 "
    "of 10 readings once its window is full",
    volume=70,
    unit="hearts",
)
def every_rate(volume: int, seed: int) -> Outcome:
    """Measure hearts of rates from 40 to 180, evenly spread."""
    wrong: list[str] = []
    told = asked = 0
    for number in range(volume):
        rng = np.random.default_rng([seed, number])
        bpm = 40.0 + 140.0 * (number + rng.random()) / volume
        parameters = {"method": "combined", "region": "8 8 40 32"}
        with Bench("rppg", parameters) as bench:
            bench.start()
            times_s = np.cumsum(rng.uniform(0.7, 1.3, int(SECONDS * RATE_HZ))) / RATE_HZ
            for time_s in times_s:
                head = convert.header(BEGIN_NS + round(time_s * 1e9), "eye")
                message = convert.image_to_message(skin(time_s, bpm, rng), head)
                message.encoding = "bgr8"
                bench.deliver("image", message)
            for topic, message in bench.take_sent():
                if topic != "heart_rate" or message.state == msg.HeartRate.WARMING_UP:
                    continue
                asked += 1
                if message.state == msg.HeartRate.OK:
                    told += 1
                    if abs(message.heart_rate_bpm - bpm) > TOLERANCE_BPM:
                        wrong.append(f"heart {number}: {message.heart_rate_bpm:.1f} of {bpm:.1f}")
    share = told / max(asked, 1)
    if share < LEAST_TOLD:
        wrong.append(f"{share:.0%} of {asked} readings tell a rate")
    figures = f"{volume} hearts, {told} of {asked} readings tell a rate"
    return Outcome(not wrong, "; ".join([figures, *wrong[:4]]))
