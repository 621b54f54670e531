"""R12: the same messages twice, to every node that computes, and to whole chains of them."""

from __future__ import annotations

import array
import contextlib
import copy
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faults.observer import FaultyError, Observer, surroundings
from faults.rows import Outcome, row
from faults.running import RunningGraph

from radar_pose_ros import bringup
from radar_pose_ros.graphs import NodeSpec
from radar_pose_ros.recording import BagWriter

BEGIN_NS = 1_700_000_000 * 10**9
PERIOD_NS = 100_000_000
RUNS = 8  # to get two of raw samples in which no frame was lost on the way
TOLD = 4
SHOWING = ("viewer",)  # publishes nothing
LENGTHS = 3  # so many times what a node needs for its first output


def content(value: Any) -> Any:
    """Return all that a message says, bit for bit; serialized, it has bytes that say nothing."""
    if hasattr(value, "get_fields_and_field_types"):
        return tuple(content(getattr(value, name)) for name in value.get_fields_and_field_types())
    if isinstance(value, float):  # NaN is not equal to NaN
        return struct.pack("d", value)
    if isinstance(value, (array.array, np.ndarray)):
        return np.asarray(value).tobytes()
    return tuple(map(content, value)) if isinstance(value, (list, tuple)) else value


def outputs_of(name: str, lengths: int, seed: int) -> list[tuple[str, bytes]]:
    """Return what a fresh node publishes of a stream: topics and bytes, in the order of topics."""
    from faults.bench import Bench
    from faults.node_cases import NODES

    case = NODES[name]
    order = np.random.default_rng(seed)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = stack.enter_context(Bench(case.node, case.parameters(folder)))
        bench.start()
        for topic, message in _stream(case, list(bench.subscriptions), lengths, order):
            bench.deliver(topic, copy.deepcopy(message))
        if case.settles_s:
            time.sleep(case.settles_s + 2.5)  # what waits for more comes after a silence
        sent = [(topic, content(message)) for topic, message in bench.take_sent()]
    return sorted(sent, key=lambda item: item[0])


def _stream(
    case: Any, topics: list[str], lengths: int, order: np.random.Generator
) -> Iterator[tuple[str, Any]]:
    """Yield facts, then what comes at each instant, by topics in random order."""

    def is_fact(topic: str) -> bool:
        return any(topic == end or topic.endswith(f"/{end}") for end in case.facts)

    for end in case.facts:
        for topic in topics:
            if topic == end or topic.endswith(f"/{end}"):
                yield topic, case.valid(topic, 0)
    changing = sorted(topic for topic in topics if not is_fact(topic))
    for k in range(lengths * case.instants):
        for number in order.permutation(len(changing)):
            yield changing[number], case.valid(changing[number], k)


@row(
    "R12",
    fault="the same messages twice to every node that computes, each time a fresh one",
    must_hold="the same comes out, bit for bit, also of the diffusion",
    volume=5,
    unit="times every node",
)
def repeat_messages(volume: int, seed: int) -> Outcome:
    """In another random order of the topics each time; two runs with each order."""
    from faults.node_cases import NODES

    faults, missing, messages, nodes = [], [], 0, 0
    with surroundings():
        for name, case in NODES.items():
            if case.node in SHOWING:
                continue
            if _missing(case):
                missing.append(name)
                continue
            nodes += 1
            for time_ in range(volume):
                first, second = (outputs_of(name, LENGTHS, seed + time_) for _ in range(2))
                messages += len(first)
                if not first:
                    faults.append(f"{name}: no output")
                elif first != second:
                    differ = sum(a != b for a, b in zip(first, second, strict=False))
                    faults.append(
                        f"{name}, seed {seed + time_}: {len(first)} and {len(second)} messages, "
                        f"{differ} differ"
                    )
    figures = f"{nodes} nodes, {volume} times two runs, {messages} messages each"
    figures += f"; not installed: {', '.join(missing)}" if missing else ""
    return Outcome(not faults, "; ".join([figures, *faults[:TOLD]]))


def _missing(case: Any) -> bool:
    from importlib.util import find_spec

    needs = ("hri_msgs",) if case.node == "hri_bridge" else case.needs
    return any(find_spec(name) is None for name in needs)


# -- raw samples -----------------------------------------------------------------------------


def write_samples(path: Path, frames: int, motion: str, seed: int) -> Path:
    """Write raw samples of both radars, of a simulated person, as a recorder would have them."""
    from rclpy.serialization import serialize_message

    from radar_pose_ros import resources
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.radar.assembler import AssembledFrame
    from radar_pose_ros.radar.ti_config import load_cfg
    from radar_pose_ros.simulation.radar import RadarSimulator, default_placements
    from radar_pose_ros.simulation.recordings import make_clip

    config = load_cfg(resources.resolve("iwr1843.cfg", "config"))
    clip = make_clip(config, frames / 10, seed=seed, split="test", motion=motion)
    valid = np.ones(config.adc_shape[0] * config.adc_shape[1], np.uint8)
    with BagWriter(path) as bag:
        for radar in bringup.RADARS:
            bag.add_topic(f"/{radar}/radar_config", "radar_pose_ros/msg/RadarConfig", latched=True)
            bag.add_topic(f"/{radar}/adc", "radar_pose_ros/msg/RadarAdcFrame")
            setup = convert.config_to_message(config, BEGIN_NS, f"{radar}_link")
            bag.write(f"/{radar}/radar_config", BEGIN_NS, serialize_message(setup))
        for number, (radar, placement) in enumerate(
            zip(bringup.RADARS, default_placements(), strict=True)
        ):
            simulator = RadarSimulator(config, placement, seed=number)
            for k, adc in enumerate(simulator.frames(clip)):
                stamp_ns = BEGIN_NS + (k + 1) * PERIOD_NS + 1_000_000 * number
                frame = AssembledFrame(k, 1, adc, valid, 0, 0.0, 0.0)
                message = convert.adc_to_message(
                    frame, config.adc_shape, stamp_ns, f"{radar}_link"
                )
                bag.write(f"/{radar}/adc", stamp_ns + 30_000_000, serialize_message(message))
    return path


@row(
    "R12",
    fault="the same bag of raw samples of two radars, played twice at half the speed",
    must_hold="the same poses, bit for bit; runs that lost a frame on the way do not count",
    volume=300,
    unit="frames",
)
def repeat_raw_samples(volume: int, seed: int) -> Outcome:
    """Preprocessors and network in processes of their own, over the transport."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    with surroundings() as folder:
        bag = write_samples(folder / "bag", volume, "random", seed)
        arguments = {"bag": str(bag), "from_level": "adc", "rate": 0.5, "visualizer": False}
        *chain, player = bringup.graph("replay").nodes(arguments)
        poses: list[Any] = []
        runs: list[list[Any]] = []
        faults = []
        tried = people = 0
        with RunningGraph(chain), Observer() as observer:
            observer.node.create_subscription(
                msg.HumanPose2DArray, "/pose2d", poses.append, RELIABLE
            )
            missed = 0
            while len(runs) < 2 and tried < RUNS:
                tried += 1
                before, missed_before = len(poses), missed
                try:
                    _play(player, observer, volume / 5 + 120.0)
                    missed = _missed(observer)
                except FaultyError as error:
                    faults.append(str(error))
                    break
                if missed == missed_before:
                    runs.append([content(pose) for pose in poses[before:]])
                    people = sum(bool(pose.poses) for pose in poses[before:])
    figures = f"{volume} frames, {tried} runs, {people} poses of somebody in the last"
    if len(runs) < 2:
        faults.append(f"{len(runs)} runs lost no frame")
    elif runs[0] != runs[1]:
        faults.append("the runs differ")
    elif not people:
        faults.append("nobody was seen")
    return Outcome(not faults, "; ".join([figures, *faults]))


def _play(player: NodeSpec, observer: Observer, timeout_s: float) -> None:
    with RunningGraph([player]) as playing:
        observer.wait(lambda: playing.ended, timeout_s, "end of the bag")
        if playing.runner.exit_code:
            raise FaultyError(f"the replayer ended with code {playing.runner.exit_code}")


def _missed(observer: Observer) -> int:
    """Return how many frames, of one radar or both, did not reach the network so far."""
    now_s = time.monotonic()
    observer.wait(lambda: observer.last("mamba_pose").at_s > now_s + 0.2, 5.0, "report")
    values = observer.last("mamba_pose").values
    about = ("dropped: ", "frames without ")
    return sum(int(value) for key, value in values.items() if key.startswith(about))
