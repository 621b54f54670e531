"""Messages of two sources that belong together, and those whose partner never comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from radar_pose_ros.nodes.pairing import PERIOD_STEPS, StampPairing

MS = 1_000_000
PERIOD = 100 * MS


def make(slop_ms: int = 20, lost_after_ms: int = 350) -> StampPairing[Any]:
    return StampPairing(("h", "v"), slop_ms * MS, lost_after_ms * MS)


def stamps_ms(sets: list[dict[str, tuple[int, Any]]]) -> list[dict[str, int]]:
    return [{name: stamp // MS for name, (stamp, _) in found.items()} for found in sets]


def feed(pairing: StampPairing[Any], events: list[tuple[str, int]]) -> list[dict[str, int]]:
    """Add items in this order; return the stamps of all that went on."""
    return [
        found
        for source, stamp_ms in events
        for found in stamps_ms(pairing.add(source, stamp_ms * MS, None))
    ]


def both(first_ms: int, count: int) -> list[tuple[str, int]]:
    """Two sources at the same instants."""
    return [(s, first_ms + 100 * k) for k in range(count) for s in ("h", "v")]


def test_a_pair_is_complete_when_both_are_near() -> None:
    pairing = make()
    assert pairing.add("h", 100 * MS, "h0") == []
    assert pairing.add("v", 119 * MS, "v0") == [{"h": (100 * MS, "h0"), "v": (119 * MS, "v0")}]


def test_slop_is_inclusive() -> None:
    assert feed(make(), [("h", 100), ("v", 120)]) == [{"h": 100, "v": 120}]
    # Beyond it the first goes on alone: its source's rival has passed.
    pairing = make()
    assert feed(pairing, [("h", 100), ("v", 121)]) == [{"h": 100}]
    assert feed(pairing, [("h", 141)]) == [{"h": 141, "v": 121}]


def test_the_nearest_is_taken_and_only_once() -> None:
    pairing = make(slop_ms=60)
    assert feed(pairing, [("h", 0), ("h", 50)]) == []
    assert feed(pairing, [("v", 45)]) == [{"h": 0}, {"h": 50, "v": 45}]
    assert feed(pairing, [("v", 111)]) == []


def test_the_order_of_arrival_does_not_matter() -> None:
    for order in (["h", "v"], ["v", "h"]):
        assert feed(make(), [(source, 5) for source in order]) == [{"h": 5, "v": 5}]


def test_two_streams_with_jitter_pair_completely(rng: np.random.Generator) -> None:
    """Every frame of two 10 Hz streams with 15 ms jitter finds its partner, in order."""
    events = []
    for source in ("h", "v"):
        stamps = np.arange(200) * PERIOD + rng.integers(0, 15 * MS, 200)
        arrivals = stamps + rng.integers(0, 90 * MS, 200)
        for number in range(200):
            events.append((arrivals[number], source, int(stamps[number]), number))
    pairing = make()
    found = [pair for _, s, stamp, k in sorted(events) for pair in pairing.add(s, stamp, k)]
    pairs = [(pair["h"][1], pair["v"][1]) for pair in found]
    assert pairs == list(zip(range(200), range(200), strict=True))
    assert (pairing.unused, pairing.resets) == (0, 0)


def test_two_streams_that_are_half_a_period_apart_pair() -> None:
    pairing = make(slop_ms=60)
    events = [(s, 100 * k + shift) for k in range(10) for s, shift in (("h", 0), ("v", 50))]
    assert feed(pairing, events) == [{"h": 100 * k, "v": 100 * k + 50} for k in range(10)]


def test_a_single_missing_item_is_waited_for_until_the_next_one() -> None:
    pairing = make()
    feed(pairing, both(0, 5))
    assert feed(pairing, [("h", 500)]) == []
    assert pairing.lost == []
    assert feed(pairing, [("v", 600)]) == [{"h": 500}]
    assert feed(pairing, [("h", 600)]) == [{"h": 600, "v": 600}]


def test_a_dead_source_is_waited_for_once() -> None:
    """Two frames wait, until the source is more than 250 ms behind; no later one does."""
    pairing = make()
    feed(pairing, both(0, 5))
    assert feed(pairing, [("h", 500), ("h", 600)]) == []
    assert (pairing.period_ns, pairing.lost) == (PERIOD, [])
    assert feed(pairing, [("h", 700)]) == [{"h": 500}, {"h": 600}, {"h": 700}]
    assert pairing.lost == ["v"]
    for stamp_ms in range(800, 3000, 100):
        assert feed(pairing, [("h", stamp_ms)]) == [{"h": stamp_ms}]
    # It comes back, in the middle of an instant that is over.
    assert feed(pairing, [("v", 2901)]) == []
    assert (pairing.unused, pairing.lost) == (1, [])
    assert feed(pairing, both(3000, 2)) == [{"h": 3000, "v": 3000}, {"h": 3100, "v": 3100}]


def test_either_source_may_die() -> None:
    pairing = make()
    feed(pairing, both(0, 5))
    assert feed(pairing, [("v", 500), ("v", 600), ("v", 700)]) == [
        {"v": s} for s in (500, 600, 700)
    ]
    assert pairing.lost == ["h"]


def test_a_source_that_never_came_is_waited_for_once() -> None:
    """As long as the limit: the period is not known yet."""
    pairing = make()
    assert feed(pairing, [("h", 0), ("h", 100)]) == []
    assert feed(make(lost_after_ms=100), [("h", 0), ("h", 100)]) == []
    assert feed(pairing, [("h", 200), ("h", 300)]) == [
        {"h": 0},
        {"h": 100},
        {"h": 200},
        {"h": 300},
    ]
    assert pairing.lost == ["v"]


def test_after_a_gap_of_both_they_pair_at_once() -> None:
    """The first one back does not take the other for lost."""
    pairing = make()
    feed(pairing, both(0, 5))
    assert feed(pairing, both(3_600_000, 2)) == [
        {"h": 3_600_000, "v": 3_600_000},
        {"h": 3_600_100, "v": 3_600_100},
    ]
    assert (pairing.unused, pairing.resets) == (0, 0)


def test_time_that_is_set_back_is_a_new_beginning() -> None:
    pairing = make()
    feed(pairing, [*both(1_000, 5), ("h", 1500)])
    assert feed(pairing, both(0, 3)) == [{"h": 100 * k, "v": 100 * k} for k in range(3)]
    assert pairing.resets == 1


@pytest.mark.parametrize("source", ["h", "v"])
def test_what_comes_twice_goes_on_once(source: str) -> None:
    """Two publishers on one topic, for instance."""
    pairing = make()
    events = [e for e in both(0, 5) for _ in range(1 + (e[0] == source))]
    assert feed(pairing, events) == [{"h": 100 * k, "v": 100 * k} for k in range(5)]
    assert (pairing.unused, pairing.resets, pairing.period_ns) == (5, 0, PERIOD)


def test_queues_are_bounded() -> None:
    """Even if one source sends a hundred times as often as the period that was seen before."""
    pairing = make(slop_ms=200)
    feed(pairing, both(0, 10))
    longest = 0
    for k in range(200):
        feed(pairing, [("h", 901 + k)])
        longest = max(longest, sum(len(queue) for queue in pairing._queues.values()))
    assert longest <= PERIOD_STEPS


def test_an_instant_goes_on_once() -> None:
    """An old item has taken the place of the right one, which came late: that is left over."""
    pairing = make(slop_ms=60)
    feed(pairing, both(0, 5))
    assert feed(pairing, [("v", 545), ("h", 600)]) == [{"h": 600, "v": 545}]
    assert feed(pairing, [("v", 597), ("v", 700), ("h", 700)]) == [{"h": 700, "v": 700}]
    assert pairing.unused == 1


def test_cleared_means_forgotten() -> None:
    pairing = make()
    feed(pairing, both(0, 5))
    feed(pairing, [("h", 500)])
    pairing.clear()
    assert pairing.unused == 1
    assert feed(pairing, [("v", 500)]) == []
    assert pairing.period_ns == PERIOD


def test_every_frame_of_a_lossy_stream_goes_on_once_and_in_order(rng: np.random.Generator) -> None:
    """A third of the frames of either are missing, and one is dead for a second."""
    sent = {s: np.flatnonzero(rng.random(200) > 0.33) for s in ("h", "v")}
    sent["v"] = sent["v"][(sent["v"] < 80) | (sent["v"] >= 90)]
    events = [(100 * k + rng.uniform(0, 5), s, 100 * int(k)) for s in sent for k in sent[s]]
    pairing = make()
    found = feed(pairing, [(s, stamp) for _, s, stamp in sorted(events)])
    first = [min(stamps.values()) for stamps in found]
    assert first == sorted(first)
    assert len(set(first)) == len(first)
    for source, numbers in sent.items():
        seen = {stamps[source] // 100 for stamps in found if source in stamps}
        here = set(numbers.tolist())
        assert seen <= here
        refused = here - seen - {max(here)}  # the last one may still wait
        # What is refused comes back from so long an absence that nobody waited for it.
        assert all(not {n - 1, n - 2} & here for n in refused)
        assert len(seen) > 0.75 * len(here)
    for stamps in found:
        assert len(set(stamps.values())) == 1


@pytest.mark.parametrize(
    ("sources", "slop", "lost_after"),
    [(("h", "h"), 0, 1), (("h", "v"), -1, 1), (("h", "v"), 0, -1)],
)
def test_nonsense_is_refused(sources: tuple[str, str], slop: int, lost_after: int) -> None:
    with pytest.raises(ValueError, match="pairing wants"):
        StampPairing(sources, slop, lost_after)
