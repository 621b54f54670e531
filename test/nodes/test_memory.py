"""What is kept by name, and what is forgotten."""

from __future__ import annotations

from radar_pose_ros.nodes.memory import Memory, Recent


def test_what_was_seen_around_an_instant() -> None:
    """In order of time, each with how much later it is; what is 3 s away is forgotten."""
    memory = Memory()
    for ms in (0, 200, 100, 400):
        memory.add(ms * 1_000_000, f"{ms} ms")
    assert memory.within(210_000_000, 110_000_000) == [
        (-110_000_000, "100 ms"),
        (-10_000_000, "200 ms"),
    ]
    assert memory.within(900_000_000, 400_000_000) == []
    memory.add(3_150_000_000, "later")
    assert [item for _, item in memory.within(0, 500_000_000)] == ["200 ms", "400 ms"]


def test_how_long_things_are_kept() -> None:
    memory = Memory(7.4)
    for ms in (0, 100, 7_500):
        memory.add(ms * 1_000_000, ms)
    assert [item for _, item in memory.within(0, 500_000_000)] == [100]


def test_the_last_used_things_are_kept() -> None:
    recent: Recent[int] = Recent(3)
    assert [recent.put(name, k) for k, name in enumerate("abc")] == [0, 0, 0]
    assert recent.put("a", 7) == 0  # it was there
    assert recent.get("b") == 1  # used, and so more recent than c
    assert recent.put("d", 3) == 1
    assert recent.all() == {"a": 7, "b": 1, "d": 3}
    assert recent.get("c") is None
    for k in range(1000):
        recent.get("b")
        recent.put(f"frame {k}", k)
    assert recent.all() == {"b": 1, "frame 998": 998, "frame 999": 999}
