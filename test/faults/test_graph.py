"""Graphs under fire, in small volumes: the rows of R1, R2, R3, R6, R7, R8 and R12."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="rclpy cannot be imported: source a ROS installation")
psutil = pytest.importorskip("psutil", reason="psutil is not installed")

from faults import (  # noqa: E402
    clock_rows,
    graph_rows,
    lifecycle_rows,
    quality_rows,
    slow_rows,
    unplug_rows,
)
from faults.every_node import case  # noqa: E402
from faults.rows import ROWS, Outcome  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("ros_environment")]

SEED = 7
DRIVER_FIRST = 14  # a seed


def expect(outcome: Outcome) -> None:
    print(f"seed {SEED}: {outcome.figures}")
    assert outcome.held, outcome.figures


def test_a_radar_without_power_comes_back() -> None:
    """R1: once."""
    expect(unplug_rows.unplug_radar(3.0, 1, SEED))


def test_a_killed_node_is_back_and_the_others_run_on() -> None:
    """R2: the driver of a radar that sends points."""
    expect(graph_rows.kill_nodes_of_points(1, DRIVER_FIRST))


def test_a_node_goes_through_its_states_and_leaves_nothing() -> None:
    """R3: with every transition that is not allowed."""
    expect(lifecycle_rows.cycle(case("radar_driver"), 4, SEED))


def test_a_clock_that_never_starts_stops_nothing() -> None:
    """R6: one of the nodes."""
    expect(lifecycle_rows.never_start_the_clock(1, SEED))


def test_who_cannot_be_heard_is_named() -> None:
    """R7: all qualities of service at the topics of the first node."""
    expect(quality_rows.mismatch_quality(4, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "volume"),
    [
        (clock_rows.jump, 3),
        (clock_rows.pause, 5),
        (clock_rows.loop_bag, 3),
        (slow_rows.slow_network, 100),
        (graph_rows.kill_nodes_of_cameras, 2),
        (unplug_rows.unplug_rig, 2),
    ],
)
def test_rows_that_take_longer(run: Callable[[int, int], Outcome], volume: int) -> None:
    """R6, R8, R2, R1."""
    expect(run(volume, SEED))


def test_every_row_of_graphs_is_in_the_campaign() -> None:
    """And bears a name of its own."""
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert {"R1", "R2", "R3", "R6", "R7", "R8"} <= {row.id for row in ROWS}
