"""Several machines: the graph over three hosts with a wireless network between them, briefly."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("rclpy") is None:
    pytest.skip("needs ROS messages: run `make test`", allow_module_level=True)

import numpy as np
from faults.hosts_rows import Watched, heatmaps_by_air, three_hosts, two_hosts
from hosts.network import unavailable

pytestmark = pytest.mark.ros
needs_hosts = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "there are hosts")
SEED = 5


def test_what_does_not_come_at_the_rate_is_noticed() -> None:
    stamps_s = 1e9 + 0.1 * np.arange(100)
    assert Watched(stamps_s, stamps_s + 0.7).judge().held
    some = np.delete(stamps_s, np.arange(5, 100, 20))  # 5 of 100
    assert "5 missing" in Watched(some, some + 0.7).judge().figures
    more = np.delete(stamps_s, np.arange(5, 100, 10))
    assert not Watched(more, more + 0.7).judge().held
    assert not Watched(stamps_s, stamps_s + 1.1).judge().held  # too old
    gap = stamps_s + np.where(np.arange(100) < 50, 0.3, 0.75)
    assert not Watched(stamps_s, gap).judge().held
    assert not Watched(stamps_s[:1], stamps_s[:1]).judge().held
    slow_s = 1e9 + 0.11 * np.arange(100)
    assert not Watched(slow_s, slow_s + 0.7).judge().held


@needs_hosts
def test_poses_reach_the_viewer_over_three_hosts() -> None:
    """Radars, inference and viewing on a machine each: poses at 10 Hz."""
    outcome = three_hosts(5, SEED)
    print(outcome.figures)
    assert outcome.held, outcome.figures


@needs_hosts
@pytest.mark.slow
def test_poses_reach_the_viewer_over_two_hosts() -> None:
    """Radars on a robot, the rest on a laptop."""
    outcome = two_hosts(10, SEED)
    print(outcome.figures)
    assert outcome.held, outcome.figures


@needs_hosts
@pytest.mark.slow
def test_compressed_heatmaps_come_by_air() -> None:
    """At the size of either network, noise as it is."""
    outcome = heatmaps_by_air(50, SEED)
    print(outcome.figures)
    assert outcome.held, outcome.figures
