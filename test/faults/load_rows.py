"""Load: two radars as the paper has them, and how much faster it may get."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import psutil
from faults.fast_card import FastCard
from faults.observer import Observer, Said, surroundings
from faults.rows import Outcome, row
from faults.running import RunningGraph

from radar_pose_ros import bringup, resources
from radar_pose_ros.demo import free_port_base
from radar_pose_ros.graphs import NodeSpec
from radar_pose_ros.radar.dca1000 import USUAL_PAYLOAD_BYTES
from radar_pose_ros.radar.ti_config import load_cfg

RADARS = bringup.RADARS
CONFIG = "iwr1843.cfg"  # 3 transmitters x 4 receivers, 128 loops, 256 samples, 10 Hz
PREPARED_S = 2.0  # of radar data, again and again: simulating takes most of a core
STARTS_WITHIN_S = 60.0
SPEEDS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
RESTED_S = 2.5  # at real time after each, until all counters of it were heard
MOST_SLIPPED = 0.01  # of the frames that the emulated boards should have sent
SLOW = 0.98  # of the packets that should have been sent: what is less is the sender's limit
OVERWRITTEN = "dropped: frames that could not be published in time"
REAL = "two radars, 12 x 128 x 256 at 10 Hz"


class Processor:
    """What processes took of the CPU since this was made, in cores."""

    def __init__(self, process_ids: Sequence[int]) -> None:
        self._processes = [psutil.Process(number) for number in process_ids]
        self._began_s, self._before_s = time.monotonic(), self._taken_s()

    def _taken_s(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(t.user + t.system for t in times)

    @property
    def cores(self) -> float:
        """Mean so far."""
        return (self._taken_s() - self._before_s) / (time.monotonic() - self._began_s)


def _drivers(nodes: Sequence[NodeSpec]) -> list[str]:
    return [node.label for node in nodes if node.executable == "radar_driver"]


def _frames(said: Said) -> int:
    return said.count("frames_complete") + said.count("frames_incomplete")


def _wait_for_frames(observer: Observer, drivers: Sequence[str]) -> None:
    observer.wait(
        lambda: all(_frames(observer.last(name)) > 0 for name in drivers),
        STARTS_WITHIN_S,
        "frames of both radars",
    )


def _wait_for_news(observer: Observer, names: Sequence[str]) -> Mapping[str, Said]:
    """Return the second report of each node from now on: all of it was counted by now."""
    begin_s = time.monotonic()
    observer.wait(lambda: all(len(observer.since(n, begin_s)) > 1 for n in names), 10.0, "reports")
    return {name: observer.last(name) for name in names}


@row(
    "load",
    fault=f"{REAL}, from the emulated boards through drivers to preprocessors",
    must_hold="no packet and no frame lost, both drivers together under one core",
    volume=600,
    unit="seconds",
)
def two_radars(volume: int, seed: int) -> Outcome:
    """Run the drivers as they are in every graph, and count what was sent and what came."""
    port_base = free_port_base()
    given = {"emulated": True, "prepare_s": PREPARED_S, "seed": seed, "port_base": port_base}
    wanted = ("radar_emulator", "radar_driver", "radar_preprocessor")
    nodes = [
        node
        for node in bringup.graph("radar_pose").nodes({**given, "config_file": CONFIG})
        if node.executable in wanted
    ]
    drivers = _drivers(nodes)
    with surroundings(), Observer() as observer, RunningGraph(nodes) as graph:
        _wait_for_frames(observer, drivers)
        ids = graph.runner.process_ids
        processor = Processor([ids[name] for name in drivers])
        time.sleep(volume)
        cores = processor.cores
        for name in drivers:  # first the drivers: their boards stop, and nothing is under way
            observer.change(name, "deactivate")
        said = _wait_for_news(observer, [*drivers, "radar_emulator"])
    card = said["radar_emulator"]
    sent = sum(card.count(f"{radar} packets_sent") for radar in RADARS)
    came = sum(said[name].count("datagrams") for name in drivers)
    lost = sum(said[name].count("packets_lost") for name in drivers)
    slipped = sum(card.count(f"dropped: {radar}: frames not sent in time") for radar in RADARS)
    frames = sum(_frames(said[name]) for name in drivers)
    overwritten = sum(said[name].count(OVERWRITTEN) for name in drivers)
    restarts = sum(graph.runner.restarts.values())
    loaded = slipped <= MOST_SLIPPED * (frames + slipped)
    held = loaded and sent == came and not (lost or overwritten or restarts) and cores < 1.0
    figures = (
        f"{volume} s, {sent} packets sent, {came} came, {lost} lost, {frames} frames, "
        f"{overwritten} not published in time, both drivers {cores:.2f} cores"
    )
    if slipped:
        figures += f"; the emulated boards did not send {slipped} frames in time"
    if restarts:
        figures += f"; nodes were started again {restarts} times"
    return Outcome(held, figures)


@contextlib.contextmanager
def _fast_cards(port_base: int) -> Iterator[list[FastCard]]:
    config = load_cfg(resources.resolve(CONFIG, "config"))
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                FastCard(
                    config.bytes_per_frame,
                    ("127.0.0.1", port_base + 100 * number + 2),
                    (f"127.0.0.{number + 2}", port_base + 100 * number),
                    frame_period_s=config.waveform.frame_period_s,
                )
            )
            for number in range(len(RADARS))
        ]


def _driver(number: int, radar: str, port_base: int) -> NodeSpec:
    parameters = {
        "config_file": CONFIG,
        "frame_id": f"{radar}_link",
        "host_ip": "127.0.0.1",
        "card_ip": f"127.0.0.{number + 2}",
        "config_port": port_base + 100 * number,
        "data_port": port_base + 100 * number + 2,
        "serial_port": "",
    }
    return NodeSpec(
        "radar_driver",
        "radar_driver",
        radar,
        parameters,
        environment=bringup.process_environment(1),
    )


@row(
    "load",
    fault=f"{REAL}, faster and faster until a packet is lost",
    must_hold="none is lost at real time; the rate of the first loss is stated",
    volume=20,
    unit="seconds at each rate",
)
def first_loss(volume: int, seed: int) -> Outcome:
    """Send packets with a sender that costs little, since the boards' emulator shares the cores.

    There is nothing random in it.
    """
    port_base = free_port_base()
    nodes = [_driver(number, radar, port_base) for number, radar in enumerate(RADARS)]
    names = _drivers(nodes)
    kept, told = 0.0, ""
    with (
        surroundings(),
        _fast_cards(port_base) as cards,
        Observer() as observer,
        RunningGraph(nodes) as graph,
    ):
        _wait_for_frames(observer, names)
        before = _wait_for_news(observer, names)
        for speed in SPEEDS:
            processor = Processor([graph.runner.process_ids[name] for name in names])
            packets = [card.statistics.packets_sent for card in cards]
            begin_s = time.monotonic()
            for card in cards:
                card.speed = speed
            time.sleep(volume)
            passed_s, cores = time.monotonic() - begin_s, processor.cores
            sent = sum(c.statistics.packets_sent - n for c, n in zip(cards, packets, strict=True))
            for card in cards:
                card.speed = 1.0
            time.sleep(RESTED_S)
            after = _wait_for_news(observer, names)
            grown = {
                key: sum(after[name].count(key) - before[name].count(key) for name in names)
                for key in ("packets_lost", "kernel_drops", OVERWRITTEN)
            }
            before = after
            rate = sent / passed_s / len(cards)
            at = f"{speed:g} x real time ({rate:.0f} packets/s of each radar, {cores:.2f} cores)"
            if grown["packets_lost"] or grown["kernel_drops"]:
                told = f"{grown['packets_lost']} of {sent} packets lost at {at}"
                break
            if rate < SLOW * speed * packets_per_s():
                told = f"the sender is the limit at {at}, without loss"
                break
            kept, last = speed, at
            if grown[OVERWRITTEN]:
                last += f", {grown[OVERWRITTEN]} frames not published in time"
    beginning = f"no packet lost up to {last}; " if kept else ""
    return Outcome(kept >= 1.0, f"{volume} s each: {beginning}{told or 'no faster one was tried'}")


def packets_per_s() -> float:
    """Return how many packets a radar makes in a second."""
    config = load_cfg(resources.resolve(CONFIG, "config"))
    return config.bytes_per_frame / USUAL_PAYLOAD_BYTES / config.waveform.frame_period_s
