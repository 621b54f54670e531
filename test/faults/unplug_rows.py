"""R1: a radar or cameras that are unplugged for seconds or minutes, and come back."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faults.camera import Camera
from faults.observer import ERROR, FaultyError, Observer, surroundings
from faults.rows import Outcome, row
from faults.running import RunningGraph

from radar_pose_ros import bringup, resources
from radar_pose_ros.graphs import NodeSpec, process_environment
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.boards import EmulatedDca1000, EmulatedRadarCli

ERROR_WITHIN_S = 2.0
BACK_WITHIN_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
ATTEMPT_S = 2.5  # that long an attempt to start takes, at most
CONFIG_PORT, DATA_PORT = 26096, 26098
FAULT = "{} for {}; back {} times"
MUST_HOLD = (
    "ERROR in the diagnostics within 2 s; attempts to start it again after pauses of 1 s to 30 s, "
    "without end; publishing again within 2 s of its first packet; no node ends"
)


class Board:
    """A card and the command line of a radar that can be unplugged in two ways."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.cfg = folder / "small.cfg"
        text = resources.find("config", "iwr1843.cfg").read_text()
        lines = [
            "frameCfg 0 2 16 0 50 1 0" if li.startswith("frameCfg") else li
            for li in text.splitlines()
        ]
        self.cfg.write_text("\n".join(lines))
        values = load_cfg(self.cfg).bytes_per_frame // 2
        self._frame = np.random.default_rng(seed).integers(-(2**15), 2**15, values, np.int16)
        self.link = folder / "command_line"
        self._power()

    def _power(self) -> None:
        self._card = EmulatedDca1000(
            lambda: self._frame,
            ("127.0.0.1", DATA_PORT),
            ("127.0.0.2", CONFIG_PORT),
            frame_period_s=0.05,
            active_time_s=0.01,
            radar_on=False,
        )
        self._command_line = EmulatedRadarCli(
            on_start=lambda _: self._card.start_radar(), on_stop=self._card.stop_radar
        )
        self._card.open()
        self._command_line.open()
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self._command_line.port)

    def close(self) -> None:
        """Take the power away."""
        self.link.unlink(missing_ok=True)
        self._command_line.close()
        self._card.close()

    @property
    def sent(self) -> int:
        """Packets that left the card since it has power."""
        return self._card.statistics.packets_sent

    @contextlib.contextmanager
    def without_cable(self) -> Iterator[list[float]]:
        """Pull the network cable: card and radar go on; nobody sees who asks."""
        self._card.plugged = False
        yield []
        self._card.plugged = True

    @contextlib.contextmanager
    def without_power(self) -> Iterator[list[float]]:
        """Take the power away, and yield when the driver asked; the board forgets everything."""
        self.close()
        asked_s: list[float] = []
        over = threading.Event()
        thread = threading.Thread(target=_listen, args=(asked_s, over))
        thread.start()
        yield asked_s
        over.set()
        thread.join()
        self._power()


def _listen(asked_s: list[float], over: threading.Event) -> None:
    """Note, mutely, when commands come to the card's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.2", CONFIG_PORT))
        while not over.is_set():
            if select.select([mute], [], [], 0.05)[0]:
                mute.recv(2048)
                asked_s.append(time.monotonic())


def pauses_s(asked_s: list[float]) -> list[float]:
    """Return the times between the beginnings of attempts; each is a few commands in a row."""
    begun = [t for before, t in itertools.pairwise([-np.inf, *asked_s]) if t - before > 0.9]
    return [later - earlier for earlier, later in itertools.pairwise(begun)]


def pauses_are_right(found_s: list[float]) -> bool:
    """Whether pauses double from the first to the longest one, and stay there.

    The first of them may lie anywhere in the row if the board was away for a moment before.
    """
    expected_s = FIRST_PAUSE_S
    for pause_s in found_s:
        if not expected_s <= pause_s + 0.1 <= expected_s + ATTEMPT_S + 0.1:
            return False
        expected_s = min(2 * expected_s, LONGEST_PAUSE_S)
    return True


class Sensor:
    """What R1 judges of a node that lives on a sensor, and what was seen."""

    def __init__(self, graph: RunningGraph, observer: Observer, node: str) -> None:
        self.graph, self.observer, self.node = graph, observer, node
        self.arrivals_s: list[float] = []
        self.error_s: list[float] = []
        self.back_s: list[float] = []
        self.faults: list[str] = []
        self._ids = dict(graph.runner.process_ids)

    def came(self, _: Any) -> None:
        """Note an output of the node."""
        self.arrivals_s.append(time.monotonic())

    def watch_silence(self, begin_s: float, silence_s: float) -> None:
        """Wait out a silence that began; it must be told in time, and nobody may end."""
        while time.monotonic() < begin_s + silence_s:
            time.sleep(0.05)
        errors = [s.at_s for s in self.observer.since(self.node, begin_s) if s.level == ERROR]
        told_s = (errors[0] if errors else np.inf) - begin_s
        self.error_s.append(told_s)
        if told_s > ERROR_WITHIN_S:
            self.faults.append(f"told after {told_s:.2f} s")
        self._look_at_processes()

    def watch_return(self, first_s: float) -> None:
        """Wait for the output after the first packet, or shot, that came again."""
        self.observer.wait(
            lambda: self.arrivals_s and self.arrivals_s[-1] > first_s,
            20.0,
            f"output of {self.node}",
        )
        back_s = next(t for t in self.arrivals_s if t > first_s) - first_s
        self.back_s.append(back_s)
        if back_s > BACK_WITHIN_S:
            self.faults.append(f"back after {back_s:.2f} s")
        self.observer.wait(
            lambda: (
                self.observer.last(self.node).level != ERROR
                and self.observer.last(self.node).at_s > first_s
            ),
            10.0,
            "end of the error",
        )
        self._look_at_processes()

    def _look_at_processes(self) -> None:
        if self.graph.runner.process_ids != self._ids:
            self.faults.append("a node ended")
            self._ids = dict(self.graph.runner.process_ids)

    def outcome(self, more: str = "") -> Outcome:
        """Return figures and judgement."""
        faults = [*dict.fromkeys(self.faults)]
        faults += [f"{n} tracebacks" for n in [len(self.graph.printed("Traceback"))] if n]
        figures = f"unplugged {len(self.error_s)} times"
        if self.error_s:
            figures += f"; ERROR after at most {max(self.error_s):.2f} s"
        if self.back_s:
            figures += f", output at most {max(self.back_s):.2f} s after the first packet"
        return Outcome(not faults, "; ".join([figures, *([more] if more else []), *faults]))


def unplug_radar(silence_s: float, volume: int, seed: int) -> Outcome:
    """Pull the cable of a radar's card, or take its power away, by turns at random."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    rng = np.random.default_rng(seed)
    with surroundings() as folder, contextlib.closing(Board(folder, seed)) as board:
        parameters = {
            "config_file": str(board.cfg),
            "host_ip": "127.0.0.1",
            "card_ip": "127.0.0.2",
            "config_port": CONFIG_PORT,
            "data_port": DATA_PORT,
            "serial_port": str(board.link),
        }
        environment = process_environment(1)
        node = NodeSpec("radar_driver", "radar_driver", "", parameters, environment=environment)
        all_pauses: list[float] = []
        with RunningGraph([node]) as graph, Observer() as observer:
            sensor = Sensor(graph, observer, "radar_driver")
            observer.node.create_subscription(msg.RadarAdcFrame, "/adc", sensor.came, RELIABLE)
            ways = itertools.cycle(rng.permutation([board.without_power, board.without_cable]))
            try:
                for way in itertools.islice(ways, volume):
                    observer.wait(lambda: _flows(sensor), 60.0, "frames of the board")
                    time.sleep(rng.uniform(0.0, 1.0))
                    with way() as asked_s:
                        begin_s = max(sensor.arrivals_s)
                        sensor.watch_silence(begin_s, silence_s)
                        reports = observer.since(sensor.node, begin_s)
                        if not any("does not answer" in said.sentence for said in reports):
                            sensor.faults.append("nobody says that the card does not answer")
                    before = 0 if way == board.without_power else board.sent
                    first_s = observer.wait(
                        lambda before=before: board.sent > before and time.monotonic(),
                        LONGEST_PAUSE_S + 10.0,
                        "packets of the board, which nobody started again",
                    )
                    sensor.watch_return(first_s)
                    found = pauses_s(asked_s)
                    all_pauses += found
                    if not pauses_are_right(found):
                        told = " ".join(f"{pause:.1f}" for pause in found)
                        sensor.faults.append(f"pauses of {told} s between attempts")
            except FaultyError as error:
                sensor.faults.append(str(error))
        if not all_pauses:
            return sensor.outcome()
        return sensor.outcome(
            f"{len(all_pauses)} pauses between attempts, {min(all_pauses):.1f} to "
            f"{max(all_pauses):.1f} s"
        )


def _flows(sensor: Sensor) -> bool:
    return bool(sensor.arrivals_s) and time.monotonic() - sensor.arrivals_s[-1] < 0.5


@row(
    "R1",
    fault=FAULT.format("radar unplugged", "3 s", 20),
    must_hold=MUST_HOLD,
    volume=20,
    unit="times 3 s",
)
def unplug_radar_for_3_s(volume: int, seed: int) -> Outcome:
    """For seconds, as by somebody who moves a plug."""
    return unplug_radar(3.0, volume, seed)


@row(
    "R1",
    fault=FAULT.format("radar unplugged", "30 s", 6),
    must_hold=MUST_HOLD,
    volume=6,
    unit="times 30 s",
)
def unplug_radar_for_30_s(volume: int, seed: int) -> Outcome:
    """For half a minute, as by a board that is switched off and on."""
    return unplug_radar(30.0, volume, seed)


@row(
    "R1",
    fault=FAULT.format("radar unplugged", "10 min", 2),
    must_hold=MUST_HOLD,
    volume=2,
    unit="times 10 min",
)
def unplug_radar_for_10_min(volume: int, seed: int) -> Outcome:
    """For minutes: the pauses between attempts have their longest."""
    return unplug_radar(600.0, volume, seed)


OF_CAMERAS = "ERROR in the diagnostics within 2 s; poses within 2 s of the return; no node ends"
OF_FACES = "ERROR in the diagnostics within 2 s; readings within 2 s of the return; no node ends"


def unplug_rig(silence_s: float, volume: int, seed: int) -> Outcome:
    """Let all cameras of an emulated rig be silent, again and again."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    rng = np.random.default_rng(seed)
    with surroundings():
        nodes = bringup.graph("multiview").nodes({"emulated": True, "visualizer": False})
        views = bringup.default("multiview", "views")
        with RunningGraph(nodes) as graph, Observer() as observer:
            sensor = Sensor(graph, observer, "densewarper")
            observer.node.create_subscription(
                msg.HumanPose3DArray, "/pose3d", sensor.came, RELIABLE
            )
            try:
                for _ in range(volume):
                    observer.wait(lambda: _flows(sensor), 60.0, "poses")
                    time.sleep(rng.uniform(0.0, 1.0))
                    observer.set("rig_emulator", "silent", views)
                    sensor.watch_silence(max(sensor.arrivals_s), silence_s)
                    first_s = time.monotonic()
                    observer.set("rig_emulator", "silent", "")
                    sensor.watch_return(first_s)
            except FaultyError as error:
                sensor.faults.append(str(error))
            return sensor.outcome()


def unplug_face_camera(silence_s: float, volume: int, seed: int) -> Outcome:
    """Let a camera be silent, again and again."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    rng = np.random.default_rng(seed)
    with surroundings():
        nodes = bringup.graph("heart_rate").nodes({"camera": False, "visualizer": False})
        with (
            RunningGraph(nodes) as graph,
            Observer() as observer,
            Camera(observer, seed) as camera,
        ):
            sensor = Sensor(graph, observer, "rppg")
            observer.node.create_subscription(msg.HeartRate, "/heart_rate", sensor.came, RELIABLE)
            try:
                for _ in range(volume):
                    observer.wait(lambda: sensor.arrivals_s, 60.0, "readings")
                    time.sleep(1.0 + rng.uniform(0.0, 1.0))
                    camera.plugged = False
                    sensor.watch_silence(time.monotonic(), silence_s)
                    camera.plugged = True
                    sensor.watch_return(time.monotonic())
            except FaultyError as error:
                sensor.faults.append(str(error))
            return sensor.outcome()


def _enter_cameras() -> None:
    for what, unplug, must_hold in (
        ("rig", unplug_rig, OF_CAMERAS),
        ("face_camera", unplug_face_camera, OF_FACES),
    ):
        for silence_s, name, times in ((3.0, "3 s", 20), (30.0, "30 s", 6), (600.0, "10 min", 1)):

            def run(
                volume: int,
                seed: int,
                unplug: Callable[[float, int, int], Outcome] = unplug,
                silence_s: float = silence_s,
            ) -> Outcome:
                return unplug(silence_s, volume, seed)

            run.__name__ = f"unplug_{what}_for_{name.replace(' ', '_')}"
            fault = FAULT.format(f"{what.replace('_', ' ')} unplugged", name, times)
            row("R1", fault=fault, must_hold=must_hold, volume=times, unit=f"times {name}")(run)


_enter_cameras()
