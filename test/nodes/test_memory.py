"""What is kept by name, and what is forgotten."""

from __future__ import annotations

from radar_pose_ros.nodes.memory import Recent


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
