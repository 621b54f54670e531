"""Node radar_emulator: two boards that are not there, and a person in front of them.

Whoever drives real boards can drive these: each card answers on UDP and streams packets, each
radar has a command line on a pseudo-terminal. Frames begin at multiples of the frame period since
activation, on both radars, so that both see the same instant; `ground_truth` has the joints at
that instant.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transforms3d.euler import euler2quat

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, ManagedNode, run
from radar_pose_ros.nodes.radar_driver import load_config
from radar_pose_ros.nodes.scene import Lookahead, Scene
from radar_pose_ros.nodes.transforms import StaticTransforms, transform_message
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.simulation.boards import EmulatedDca1000, EmulatedRadarCli, Faults
from radar_pose_ros.simulation.radar import RadarPlacement
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import CAMERA_FRAME, CAMERA_HEIGHT_M

RADARS = ("radar_h", "radar_v")
WORLD_FRAME, RIG_FRAME = "map", "radar_rig"
CAMERA_EULER = (-np.pi / 2, 0.0, -np.pi / 2)  # z forward, x right, y down


@dataclass
class Board:
    """One emulated card and the command line of its radar."""

    card: EmulatedDca1000
    frames: Lookahead
    link: Path | None = None  # where the command line appears
    command_line: EmulatedRadarCli | None = None
    slot: int = 0  # of the frame that is sent next
    begun: int = 0  # slot in which the last frame began


class RadarEmulator(ManagedNode):
    """Emulates the rig; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("radar_emulator", **node_arguments)
        self._boards: dict[str, Board] = {}
        self._closing = threading.Event()
        self._ready = threading.Event()
        self._transforms: StaticTransforms | None = None

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Build the scene."""
        values = self.values
        self._config = load_config(values.config_file, values.device, "auto")
        self._placements = [
            RadarPlacement(f"{radar}_link", tuple(pose[:3]), *pose[3:])
            for radar in RADARS
            for pose in [getattr(values, f"{radar}_pose")]
        ]
        self._scene = Scene(
            self._config, self._placements, values.motion, values.split, values.seed, values.clip_s
        )
        self._truths = self.create_publisher(msg.HumanPose3DArray, "ground_truth", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(HUPR14))
        self._transforms = StaticTransforms(self)
        self._send_transforms(self._transforms)

    def activate(self) -> None:
        """Switch the boards on; samples come once those that were asked for are prepared."""
        self._closing.clear()
        self._ready.clear()
        self._begin_s = time.monotonic()
        for number, radar in enumerate(RADARS):
            self._boards[radar] = self._open_board(number, radar)
        self.start_worker("preparation", self._prepare)
        self.start_worker("accountant", self._account)

    def deactivate(self) -> None:
        """Switch the boards off."""
        self._closing.set()
        self._ready.set()
        for board in self._boards.values():
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

    def _setting(self, radar: str, name: str) -> Any:
        return getattr(self.values, f"{radar}_{name}")

    def _open_board(self, number: int, radar: str) -> Board:
        values, wave = self.values, self._config.waveform
        host, card_ip = self._setting(radar, "host_ip"), self._setting(radar, "card_ip")
        link = self._setting(radar, "serial_port")
        card = EmulatedDca1000(
            partial(self._next_frame, radar),
            (host, self._setting(radar, "data_port")),
            (card_ip, self._setting(radar, "config_port")),
            Faults(
                loss=values.loss,
                reorder=values.reorder,
                duplicate=values.duplicate,
                seed=len(RADARS) * values.seed + number,
            ),
            frame_period_s=wave.frame_period_s,
            active_time_s=wave.active_time_s,
            radar_on=not link,
            on_frame=partial(self._frame_begins, radar),
        )
        board = self._boards[radar] = Board(card, Lookahead(self._scene, number))
        if link:
            board.command_line = self._open_command_line(card, Path(link))
            board.link = Path(link)
        card.open()
        return board

    def _open_command_line(self, card: EmulatedDca1000, link: Path) -> EmulatedRadarCli:
        command_line = EmulatedRadarCli(
            on_start=partial(self._start_radar, card),
            on_stop=card.stop_radar,
            device=self.values.device,
        )
        command_line.open()
        if link.exists() and not link.is_symlink():
            command_line.close()
            raise FileExistsError(f"{link} exists and is not a link to an emulated command line")
        link.unlink(missing_ok=True)
        link.symlink_to(command_line.port)
        return command_line

    def _start_radar(self, card: EmulatedDca1000, config: RadarConfig) -> None:
        told, expected = (replace(c.waveform) for c in (config, self._config))
        if (told, config.tx_order) != (expected, self._config.tx_order):
            self.health.warn(
                "configuration",
                "a radar was told another waveform than frames are simulated for "
                f"({self._config.source}): it stays off",
            )
            return
        self.health.warn("configuration", "")
        self._wait_for_slot(self._next_slot())
        card.start_radar()

    # -- time: frames begin at multiples of the period, on all boards ------------------------

    def _next_slot(self) -> int:
        period_s = self._config.waveform.frame_period_s
        return int((time.monotonic() - self._begin_s) / period_s) + 1

    def _time_left_s(self, slot: int) -> float:
        due_s = self._begin_s + slot * self._config.waveform.frame_period_s
        return due_s - time.monotonic()

    def _wait_for_slot(self, slot: int) -> bool:
        return not self._closing.wait(max(0.0, self._time_left_s(slot)))

    def _next_frame(self, radar: str) -> np.ndarray | None:
        """Give a card its next frame, when it is time: called in the card's thread."""
        self._ready.wait()
        if self._closing.is_set():
            return None
        slot = self._next_slot()
        board = self._boards[radar]
        if board.begun and slot > board.begun + 1:
            self.health.drop(f"{radar}: frames not sent in time", slot - board.begun - 1)
        frame = board.frames.take(slot)
        board.frames.simulate_ahead(slot, partial(self._time_left_s, slot))
        board.slot = slot
        return frame if self._wait_for_slot(slot) else None

    def _frame_begins(self, radar: str, _: int, begin_s: float) -> None:
        """Publish the truth of a frame; called in the card's thread."""
        board = self._boards[radar]
        board.begun = self._next_slot() - 1
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

    # -- transforms and diagnostics ----------------------------------------------------------

    def _send_transforms(self, transforms: StaticTransforms) -> None:
        stamp_ns = time.time_ns()
        make: Callable[..., Any] = partial(self._transform, stamp_ns=stamp_ns)
        camera = ((0.0, 0.0, CAMERA_HEIGHT_M), CAMERA_EULER)
        transforms.send(
            [
                make(WORLD_FRAME, RIG_FRAME, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
                make(RIG_FRAME, CAMERA_FRAME, *camera),
                *(
                    make(RIG_FRAME, p.frame_id, p.position_m, (p.roll, p.pitch, p.yaw))
                    for p in self._placements
                ),
            ]
        )

    @staticmethod
    def _transform(
        parent: str, child: str, position_m: Any, euler: tuple[float, ...], stamp_ns: int
    ) -> Any:
        w, x, y, z = euler2quat(*euler, axes="sxyz")
        return transform_message(parent, child, position_m, (x, y, z, w), stamp_ns)

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
                for name, value in counts.items():
                    self.health.show(f"{radar} {name}", value)


def main() -> int:
    """Run the node."""
    return run(RadarEmulator)


if __name__ == "__main__":
    sys.exit(main())
