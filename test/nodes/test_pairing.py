"""Messages of several sources that belong together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from radar_pose_ros.nodes.pairing import StampPairing

MS = 1_000_000


def test_a_set_is_complete_when_all_are_near() -> None:
    pairing: StampPairing[str] = StampPairing(["h", "v"], slop_ns=20 * MS)
    assert pairing.add("h", 100 * MS, "h0") is None
    assert pairing.add("v", 121 * MS, "v0") is None
    found = pairing.add("h", 110 * MS, "h1")
    assert found == {"h": (110 * MS, "h1"), "v": (121 * MS, "v0")}
    assert pairing.unpaired == 1  # h0


def test_slop_is_inclusive() -> None:
    pairing: StampPairing[int] = StampPairing(["h", "v"], slop_ns=20 * MS)
    pairing.add("h", 100 * MS, 0)
    assert pairing.add("v", 120 * MS, 1) is not None


def test_the_nearest_is_taken_and_only_once() -> None:
    pairing: StampPairing[str] = StampPairing(["h", "v"], slop_ns=60 * MS)
    pairing.add("h", 0, "h0")
    pairing.add("h", 50 * MS, "h1")
    assert pairing.add("v", 45 * MS, "v0") == {"h": (50 * MS, "h1"), "v": (45 * MS, "v0")}
    assert pairing.add("v", 55 * MS, "v1") is None


def test_three_sources_span_at_most_the_slop() -> None:
    pairing: StampPairing[int] = StampPairing(["a", "b", "c"], slop_ns=10 * MS)
    pairing.add("a", 100 * MS, 0)
    pairing.add("b", 116 * MS, 0)
    assert pairing.add("c", 108 * MS, 0) is None  # a and b are 16 ms apart
    assert pairing.add("a", 107 * MS, 1) is not None


def test_queues_are_bounded_and_losses_counted() -> None:
    pairing: StampPairing[int] = StampPairing(["h", "v"], slop_ns=0, queue_size=3)
    for k in range(10):
        assert pairing.add("h", k, k) is None
    assert pairing.unpaired == 7
    assert pairing.add("v", 9, 9) is not None


def test_cleared_means_forgotten() -> None:
    pairing: StampPairing[int] = StampPairing(["h", "v"], slop_ns=MS)
    pairing.add("h", 0, 0)
    pairing.clear()
    assert pairing.add("v", 0, 0) is None
    assert pairing.unpaired == 1


def test_two_streams_with_jitter_pair_completely(rng: np.random.Generator) -> None:
    """Every frame of two 10 Hz streams with 15 ms jitter finds its partner, in order."""
    period = 100 * MS
    events = []
    for source in ("h", "v"):
        stamps = np.arange(200) * period + rng.integers(0, 15 * MS, 200)
        arrivals = stamps + rng.integers(0, 40 * MS, 200)
        for number in range(200):
            events.append((arrivals[number], source, int(stamps[number]), number))
    pairing: StampPairing[int] = StampPairing(["h", "v"], slop_ns=20 * MS)
    found = [pairing.add(source, stamp, k) for _, source, stamp, k in sorted(events)]
    pairs = [(f["h"][1], f["v"][1]) for f in found if f is not None]
    assert pairs == list(zip(range(200), range(200), strict=True))
    assert pairing.unpaired == 0


@pytest.mark.parametrize(
    ("sources", "slop", "size"), [(["h", "h"], 0, 1), (["h", "v"], -1, 1), (["h", "v"], 0, 0)]
)
def test_nonsense_is_refused(sources: list[str], slop: int, size: int) -> None:
    with pytest.raises(ValueError, match="pairing wants"):
        StampPairing(sources, slop, size)


def test_every_order_of_arrival_gives_the_same_set() -> None:
    for order in itertools.permutations(["a", "b", "c"]):
        pairing: StampPairing[str] = StampPairing(["a", "b", "c"], slop_ns=MS)
        results = [pairing.add(source, 5, source) for source in order]
        assert results[:2] == [None, None]
        assert results[2] == {"a": (5, "a"), "b": (5, "b"), "c": (5, "c")}
