"""Several nodes in one process, live."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from radar_pose_ros.graph_runner import GraphRunner
from radar_pose_ros.graphs import NodeSpec
from radar_pose_ros.leaving import EXIT_USAGE

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros


def preprocessor(radar: str, bins: int) -> NodeSpec:
    return NodeSpec("radar_preprocessor", "radar_preprocessor", radar, {"angle_bins": bins})


BOTH = NodeSpec(
    "composition", "chain", parts=(preprocessor("radar_h", 32), preprocessor("radar_v", 64))
)


def test_words_are_of_the_process_or_of_a_node() -> None:
    """Also where a launch appends words of its own."""
    from radar_pose_ros.nodes import composition
    from radar_pose_ros.nodes.radar_preprocessor import RadarPreprocessor

    words = (
        "--ros-args --log-level a:=debug -- radar_preprocessor --ros-args -p b:=1 -- --ros-args"
    )
    process, made = composition.makers(words.split())
    assert process == ["--ros-args", "--log-level", "a:=debug", "--ros-args"]
    [maker] = made
    assert maker.func is RadarPreprocessor  # type: ignore[attr-defined]
    given = {"cli_args": ["--ros-args", "-p", "b:=1"], "use_global_arguments": False}
    assert maker.keywords == given  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--ros-args", "want -- and the name of a node, got none"),
        ("-- radar_preprocesor", "want the name of a node, got 'radar_preprocesor'"),
        ("-- convert", "convert is no node"),
    ],
)
def test_what_is_no_node_is_refused(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from radar_pose_ros.nodes import composition

    assert composition.main(words.split()) == EXIT_USAGE
    assert capsys.readouterr().err == f"error: {sentence}\n"


def wait(live: LiveGraph, runner: GraphRunner, condition: Callable[[], Any]) -> None:
    def polled() -> Any:
        assert runner.poll()
        return condition()

    live.wait(polled, 60.0)


def test_nodes_share_a_process_and_come_back_together(live: LiveGraph) -> None:
    """Each with its own namespace and parameters; killed, one process takes its place."""
    from rcl_interfaces.srv import GetParameters

    def bins(radar: str) -> int:
        name = f"/{radar}/radar_preprocessor/get_parameters"
        request = GetParameters.Request(names=["angle_bins"])
        return live.call(GetParameters, name, request, 20.0, 3).values[0].integer_value

    names = {f"{radar}/radar_preprocessor" for radar in ("radar_h", "radar_v")}
    lines: list[str] = []
    with GraphRunner([BOTH], lines.append) as runner:
        wait(live, runner, lambda: names <= set(live.diagnostics()))
        assert (bins("radar_h"), bins("radar_v")) == (32, 64)
        os.kill(runner.process_ids["chain"], signal.SIGKILL)
        wait(live, runner, lambda: runner.restarts["chain"] == 1)
        live._diagnostics.clear()
        wait(live, runner, lambda: names <= set(live.diagnostics()))
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < 3.0
    assert runner.exit_code == 0, lines


def test_one_wrong_parameter_ends_the_graph(ros_environment: dict[str, str]) -> None:
    lines: list[str] = []
    wrong = replace(BOTH, parts=(BOTH.parts[0], preprocessor("radar_v", 3)))
    with GraphRunner([wrong], lines.append) as runner:
        deadline_s = time.monotonic() + 60.0
        while runner.poll():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert runner.exit_code == EXIT_USAGE
    assert runner.failure.startswith("chain: parameter angle_bins"), lines
