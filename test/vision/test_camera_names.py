"""Names that mean the same camera, and those of which nobody can tell."""

from __future__ import annotations

import pytest

from radar_pose_ros.vision.camera_names import find, pair, plain

WHERE = "c.toml"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cam_01", "Cam1", True),
        ("camera 10", "camera-010", True),
        ("cam10", "cam1", False),
        ("cam100", "cam10", False),
        ("left", "LEFT", True),
        ("a_1_2", "a_12", True),
    ],
)
def test_names_that_are_the_same(one: str, other: str, same: bool) -> None:
    assert (plain(one) == plain(other)) == same
    assert find(one, [other, "z"], WHERE) == (other if same else None)


def test_the_exact_name_comes_first() -> None:
    cameras = ["cam_01", "cam1", "Cam1", "right"]
    assert find("cam1", cameras, WHERE) == "cam1"
    assert find("RIGHT", cameras, WHERE) == "right"
    assert find("cam_1", ["cam_01", "cam_01"], WHERE) == "cam_01"  # one camera, named twice
    sentence = r"c\.toml: cam 1 may be cam_01 or cam1 or Cam1: call it like one of them$"
    with pytest.raises(ValueError, match=sentence):
        find("cam 1", cameras, WHERE)
    with pytest.raises(ValueError, match=sentence):
        pair(["right", "cam 1"], cameras, WHERE)


def test_cameras_are_paired_by_name_before_order() -> None:
    cameras = ["cam_02", "cam_01"]
    assert pair(["cam1", "cam2"], cameras, WHERE) == {"cam1": "cam_01", "cam2": "cam_02"}
    made = pair(["b", "a"], cameras, WHERE, in_order=True)
    assert made == {"a": "cam_01", "b": "cam_02"}
    for names, message in (
        (["a", "b"], r"c\.toml: no camera of the name a, b; there are cam_02, cam_01"),
        (["cam1", "b"], "no camera of the name b"),
        (["cam1", "cam01"], "a camera has two names: cam1 is cam_01, cam01 is cam_01"),
    ):
        with pytest.raises(ValueError, match=message):
            pair(names, cameras, WHERE, in_order=names[0] == "cam1")
