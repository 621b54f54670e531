"""Node radar_emulator: two boards that are not there, and a person in front of them.

Whoever drives real boards can drive these: each card answers on UDP and streams packets, each
radar has a command line on a pseudo-terminal. Frames of both radars begin at the same instants,
multiples of the frame period since activation; `ground_truth` has the joints at these.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, ManagedNode, run
from radar_pose_ros.nodes.links import link_to_terminal
from radar_pose_ros.nodes.radar_driver import load_config
from radar_pose_ros.nodes.scene import Lookahead, Metronome, Scene
from radar_pose_ros.nodes.transforms import RIG_FRAME, StaticTransforms, rig_transforms
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.simulation.boards import EmulatedDca1000, EmulatedRadarCli, Faults
from radar_pose_ros.simulation.radar import RadarPlacement
from radar_pose_ros.skeleton.definitions import HUPR14

RADARS = ("radar_h", "radar_v")
RELEASE_S = 1.0  # an emulator whose graph was killed may take that long to leave its ports


@dataclass
class Board:
    """One emulated card and the command line of its radar."""

    card: EmulatedDca1000
    frames: Lookahead
    link: Path | None = None  # where the command line appears
    command_line: EmulatedRadarCli | None = None
    slot: int = 0  # of the frame that is sent next
    begun: int = 0  # slot in which the last frame began
    on: threading.Event = field(default_factory=threading.Event)


class RadarEmulator(ManagedNode):
    """Emulates the rig; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("radar_emulator", **node_arguments)
        self._boards: dict[str, Board] = {}
        self._closing = threading.Event()
        self._ready = threading.Event()
        self._transforms: StaticTransforms | None = None
        self.add_on_set_parameters_callback(self._check_names)
        self.add_post_set_parameters_callback(self._plug)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Build the scene."""
        values = self.values
        check_radars(values.unplugged)
        self._check_addresses()
        self._config = load_config(values.config_file, values.device, "auto")
        poses = {radar: self._setting(radar, "pose") for radar in RADARS}
        placements = [
            RadarPlacement(f"{radar}_link", tuple(pose[:3]), *pose[3:])
            for radar, pose in poses.items()
        ]
        self._scene = Scene(
            self._config, placements, values.motion, values.split, values.seed, values.clip_s
        )
        self._truths = self.create_publisher(msg.HumanPose3DArray, "ground_truth", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(HUPR14))
        self._transforms = StaticTransforms(self)
        self._transforms.send(rig_transforms(placements, time.time_ns()))

    def activate(self) -> None:
        """Switch the boards on; samples come once those that were asked for are prepared."""
        self._closing.clear()
        self._ready.clear()
        self._metronome = Metronome(self._config.waveform.frame_period_s)
        for number, radar in enumerate(RADARS):
            self._open_board(number, radar)
        self.start_worker("preparation", self._prepare)
        self.start_worker("accountant", self._account)

    def deactivate(self) -> None:
        """Switch the boards off."""
        self._closing.set()
        self._ready.set()
        for board in self._boards.values():
            board.on.set()
            if board.link is not None:
                board.link.unlink(missing_ok=True)
            if board.command_line is not None:
                board.command_line.close()
            board.card.close()
        self._boards = {}

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_truths", "_skeletons")
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            transforms.close()

    def _prepare(self, stop: threading.Event) -> None:
        total_s = self.values.prepare_s

        def proceed(ready_s: float) -> bool:
            self.health.show("prepared", f"{ready_s:.1f} of {total_s:g} s simulated")
            return not stop.is_set()

        if total_s and not self._scene.is_prepared:
            self._scene.prepare(total_s, proceed)
        self.health.show("prepared", "")
        self._ready.set()

    # -- boards ------------------------------------------------------------------------------

    def _check_addresses(self) -> None:
        """Raise `RuntimeError` if a card cannot have its address: drivers would hear another's.

        An emulator that was killed a moment ago, or whose graph was, lets go of it soon.
        """
        deadline_s = time.monotonic() + RELEASE_S
        for radar in RADARS:
            while True:
                try:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                        probe.bind(self._card_address(radar))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                        raise self._no_address(radar, error) from None
                    time.sleep(0.1)

    def _card_address(self, radar: str) -> tuple[str, int]:
        return self._setting(radar, "card_ip"), self._setting(radar, "config_port")

    def _no_address(self, radar: str, error: OSError) -> RuntimeError:
        address, port = self._card_address(radar)
        sentence = f"{radar}'s card cannot be at {address}:{port} ({error.strerror})"
        if error.errno == errno.EADDRINUSE:
            sentence += (
                ": is another emulator running? End it, or let this one take other ports: "
                "port_base of a graph (radar_port_base of everything), "
                f"{radar}_config_port of this node"
            )
        return RuntimeError(sentence)

    @staticmethod
    def _check_names(changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name == "unplugged" and isinstance(change.value, str):
                    check_radars(change.value)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _plug(self, changes: list[Parameter]) -> None:
        """Pull or plug in the cards' cables."""
        for change in changes:
            if change.name == "unplugged":
                for radar, board in self._boards.items():
                    board.card.plugged = radar not in change.value.split()

    def _setting(self, radar: str, name: str) -> Any:
        return getattr(self.values, f"{radar}_{name}")

    def _open_board(self, number: int, radar: str) -> None:
        values = self.values
        setting = partial(self._setting, radar)
        link = setting("serial_port")
        card = EmulatedDca1000(
            partial(self._next_frame, radar),
            (setting("host_ip"), setting("data_port")),
            self._card_address(radar),
            Faults(
                loss=values.loss,
                reorder=values.reorder,
                duplicate=values.duplicate,
                seed=len(RADARS) * values.seed + number,
            ),
            frame_period_s=0.0,  # `_next_frame` keeps time, for both cards together
            active_time_s=self._config.waveform.active_time_s,
            radar_on=not link,
            on_frame=partial(self._frame_begins, radar),
        )
        card.plugged = radar not in values.unplugged.split()
        board = self._boards[radar] = Board(card, Lookahead(self._scene, number))
        try:
            card.open()
        except OSError as error:
            raise self._no_address(radar, error) from None
        if link:
            self._open_command_line(board, Path(link))
        else:
            board.on.set()

    def _open_command_line(self, board: Board, link: Path) -> None:
        board.command_line = EmulatedRadarCli(
            on_start=partial(self._start_radar, board),
            on_stop=partial(self._stop_radar, board),
            device=self.values.device,
        )
        board.command_line.open()
        link_to_terminal(link, board.command_line.port)
        board.link = link

    def _start_radar(self, board: Board, config: RadarConfig) -> None:
        expected = self._config
        if (config.waveform, config.tx_order) != (expected.waveform, expected.tx_order):
            self.health.warn(
                "configuration",
                "a radar was told another waveform than frames are simulated for "
                f"({self._config.source}): it stays off",
            )
            return
        self.health.warn("configuration", "")
        board.on.set()
        board.card.start_radar()

    @staticmethod
    def _stop_radar(board: Board) -> None:
        board.on.clear()
        board.begun = 0
        board.card.stop_radar()

    # -- frames ------------------------------------------------------------------------------

    def _next_frame(self, radar: str) -> np.ndarray | None:
        """Give a card its next frame, when it is time: called in the card's thread."""
        board = self._boards[radar]
        self._ready.wait()
        board.on.wait()
        if self._closing.is_set():
            return None
        slot = self._metronome.next_beat()
        if board.begun and slot > board.begun + 1:
            self.health.drop(f"{radar}: frames not sent in time", slot - board.begun - 1)
        frame = board.frames.take(slot)
        board.frames.simulate_ahead(slot, partial(self._metronome.left_s, slot))
        board.slot = slot
        closing = self._closing.wait(max(0.0, self._metronome.left_s(slot)))
        return None if closing else frame

    def _frame_begins(self, radar: str, _: int, begin_s: float) -> None:
        """Publish the truth of a frame; called in the card's thread."""
        board = self._boards[radar]
        board.begun = self._metronome.next_beat() - 1
        if radar != RADARS[0]:
            return
        stamp_ns = int(begin_s * convert.NANOSECONDS)
        self._truths.publish(
            convert.pose3d_to_message(
                self._scene.joints_m(board.slot),
                convert.header(stamp_ns, RIG_FRAME),
                skeleton=HUPR14.name,
                model="simulation",
            )
        )
        self.health.tick("ground_truth")

    # -- diagnostics -------------------------------------------------------------------------

    def _account(self, stop: threading.Event) -> None:
        """Show, twice a second, what the cards did."""
        while not stop.wait(0.5):
            for radar, board in self._boards.items():
                faults = board.card.faults
                counts = vars(board.card.statistics) | {
                    "packets_dropped": faults.packets_lost,
                    "bytes_dropped": faults.bytes_lost,
                    "packets_duplicated": faults.packets_duplicated,
                    "packets_delayed": faults.packets_delayed,
                }
                del counts["frames_slipped"]  # the card's idea of time is not used
                for name, value in counts.items():
                    self.health.show(f"{radar} {name}", value)


def check_radars(names: str) -> None:
    """Raise `ValueError` if a name among them is that of no radar."""
    unknown = [name for name in names.split() if name not in RADARS]
    if unknown:
        raise ValueError(
            f"unplugged: there is no {', '.join(unknown)}, only {' and '.join(RADARS)}"
        )


def main() -> int:
    """Run the node."""
    return run(RadarEmulator)


if __name__ == "__main__":
    sys.exit(main())
