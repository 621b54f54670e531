"""Node uart_emulator: a board that is not there and sends points, recorded or of simulated people.

Whoever drives a real board can drive this one: its two serial ports are pseudo-terminals.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from radar_pose_ros.datasets import mars
from radar_pose_ros.nodes.base import ManagedNode, run
from radar_pose_ros.nodes.links import link_to_terminal
from radar_pose_ros.nodes.transforms import WORLD_FRAME, StaticTransforms, transform_message
from radar_pose_ros.radar.points import PointCloud, PointFrame
from radar_pose_ros.simulation.radar import RadarPlacement
from radar_pose_ros.simulation.uart_board import (
    EmulatedUartBoard,
    UartFaults,
    sdk2_packet,
    sdk3_packet,
    simulated_frames,
)

FAULTS = ("loss", "truncation", "corruption", "garbage")


class UartEmulator(ManagedNode):
    """Emulates a board; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("uart_emulator", **node_arguments)
        self._board: EmulatedUartBoard | None = None
        self._links: list[Path] = []
        self._transforms: StaticTransforms | None = None

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Read the recording."""
        v = self.values
        if not v.points_port:
            raise ValueError("points_port is empty: say where the data port is to appear")
        for name in ("points_port", "command_port"):
            folder = Path(getattr(v, name)).expanduser().parent
            if not folder.is_dir():
                raise ValueError(f"{name}: there is no folder {folder} to put a link in")
        self._sequences = []
        if v.recording:
            file = Path(v.recording).expanduser()
            if not file.is_file():
                raise ValueError(f"recording: there is no file {v.recording}")
            self._sequences = mars.load_points(file)
            if v.movement:
                wanted = f"movement {v.movement}"
                self._sequences = [s for s in self._sequences if s.action == wanted]
                if not self._sequences:
                    raise ValueError(f"{v.recording} has no {wanted}")
        next(self._frames())  # says what is wrong with the name of a motion
        if not v.recording:  # nobody knows where a recorded one stood
            self._transforms = StaticTransforms(self)
            place, upright = (0.0, 0.0, v.height_m), (0.0, 0.0, 0.0)
            self._transforms.send(
                [transform_message(WORLD_FRAME, v.frame_id, place, upright, time.time_ns())]
            )

    def activate(self) -> None:
        """Switch the board on."""
        v = self.values
        sdk2 = partial(sdk2_packet, velocity_step_mps=v.velocity_step_mps)
        self._board = EmulatedUartBoard(
            self._frames(),
            UartFaults(seed=v.seed),
            encode=sdk2 if v.firmware == "sdk2" else sdk3_packet,
            radar_on=not v.command_port,
            device=v.device,
            on_frame=lambda frame, _: self._sending(frame),
        )
        self._board.open()
        self._link(v.points_port, self._board.data_port)
        if v.command_port:
            self._link(v.command_port, self._board.command_port)
        self.health.watch("frames")
        self.start_worker("accountant", self._account)

    def deactivate(self) -> None:
        """Pull the cable."""
        links, self._links = self._links, []
        for link in links:
            link.unlink(missing_ok=True)
        board, self._board = self._board, None
        if board is not None:
            board.close()

    def cleanup(self) -> None:
        """Take the publisher away."""
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            transforms.close()

    def _link(self, path: str, terminal: str) -> None:
        link = Path(path).expanduser()
        link_to_terminal(link, terminal)
        self._links.append(link)

    # -- frames ------------------------------------------------------------------------------

    def _frames(self) -> Iterator[PointFrame]:
        v = self.values
        if self._sequences:
            return recorded_frames(self._sequences)
        return simulated_frames(
            v.rate_hz,
            seed=v.seed,
            motion=v.motion,
            split=v.split,
            clip_s=v.clip_s,
            points=v.points,
            placement=RadarPlacement(v.frame_id, (0.0, 0.0, v.height_m)),
        )

    def _sending(self, frame: PointFrame) -> None:
        """Note a frame and let parameters take effect; called in the board's thread."""
        board = self._board
        if board is None:
            return
        for name in FAULTS:
            setattr(board.faults, name, getattr(self.values, name))
        board.silent = self.values.silent
        self.health.tick("frames")
        self.health.show("number", frame.number)

    # -- diagnostics -------------------------------------------------------------------------

    def _account(self, stop: threading.Event) -> None:
        """Show, twice a second, what the board did."""
        while not stop.wait(0.5):
            board = self._board
            if board is None:
                return
            faults = board.faults
            counts = vars(board.statistics) | {
                "packets_lost": faults.packets_lost,
                "packets_truncated": faults.packets_truncated,
                "packets_corrupted": faults.packets_corrupted,
                "garbage_bytes": faults.garbage_bytes,
            }
            for name, value in counts.items():
                self.health.show(name, value)


def recorded_frames(sequences: list[mars.PointSequence]) -> Iterator[PointFrame]:
    """Movements one after the other, again and again; frames that were lost are left out.

    The published strength, whose unit nobody knows, stands for the signal-to-noise ratio.
    """
    begin = 0
    for sequence in itertools.cycle(sequences):
        for place in range(len(sequence)):
            if sequence.parts[place] < 0:
                continue
            number = begin + place
            cloud = PointCloud(*sequence.cloud(place).T.copy())
            yield PointFrame(number, number / mars.RATE_HZ, cloud)
        begin += len(sequence)


def main() -> int:
    """Run the node."""
    return run(UartEmulator)


if __name__ == "__main__":
    sys.exit(main())
