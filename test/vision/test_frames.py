"""Transforms that chain, against matrices that are known on paper."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from radar_pose_ros.vision.frames import HERE, FrameTree, Placement, placement

HALF = np.sqrt(0.5)
LEFT = (0.0, 0.0, HALF, HALF)  # a quarter turn about z: x becomes y


def matrix(where: Placement) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = where.rotation, where.translation_m
    return made


def test_a_quarter_turn_on_paper() -> None:
    """A camera 2 m ahead of a cart that stands at (10, 0, 0) and looks along y."""
    tree = FrameTree()
    tree.put("map", "cart", placement((10.0, 0.0, 0.0), LEFT))
    tree.put("cart", "camera", placement((2.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0)))
    found = tree.where("camera", "map")
    np.testing.assert_allclose(found.translation_m, [10.0, 2.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(matrix(found) @ [1, 0, 0, 1], [10.0, 3.0, 1.0, 1], atol=1e-12)
    back = matrix(tree.where("map", "camera"))
    np.testing.assert_allclose(back @ [10, 3, 1, 1], [1.0, 0.0, 0.0, 1], atol=1e-12)
    np.testing.assert_array_equal(matrix(tree.where("cart", "cart")), np.eye(4))


def test_chains_are_products_of_matrices(rng: np.random.Generator) -> None:
    """Up one branch and down another: the product of the known 4 x 4 matrices."""
    tree = FrameTree()
    steps = {}
    for parent, child in (("root", "a"), ("a", "b"), ("root", "c"), ("c", "d"), ("d", "e")):
        quaternion = Rotation.random(random_state=int(rng.integers(1 << 30))).as_quat()
        where = placement(rng.normal(size=3), quaternion)
        tree.put(parent, f"/{child}", where)  # ROS 1 wrote frames with a slash
        steps[child] = matrix(where)
    expected = (
        np.linalg.inv(steps["c"] @ steps["d"] @ steps["e"]) @ steps["a"] @ steps["b"]
    )  # b in e
    np.testing.assert_allclose(matrix(tree.where("b", "e")), expected, atol=1e-12)
    np.testing.assert_allclose(matrix(tree.where("e", "b")), np.linalg.inv(expected), atol=1e-12)


def test_the_newest_counts() -> None:
    tree = FrameTree()
    tree.put("map", "camera", placement((1.0, 0.0, 0.0), LEFT))
    tree.put("map", "camera", placement((2.0, 0.0, 0.0), LEFT))
    assert tree.where("camera", "map").translation_m[0] == 2.0


def test_what_is_not_known_is_named() -> None:
    tree = FrameTree()
    tree.put("map", "camera_0", HERE)
    tree.put("odom", "camera_1", HERE)
    with pytest.raises(ValueError, match="there is no frame 'camera_2'"):
        tree.where("camera_2", "map")
    with pytest.raises(ValueError, match="nothing connects the frames 'camera_1' and 'map'"):
        tree.where("camera_1", "map")
    with pytest.raises(ValueError, match="'map' cannot be in 'camera_0', which is in it"):
        tree.put("camera_0", "map", HERE)
    with pytest.raises(ValueError, match="two different frames"):
        tree.put("map", "", HERE)


@pytest.mark.parametrize(
    "quaternion", [(0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 2.0), (np.nan, 0.0, 0.0, 1.0)]
)
def test_a_quaternion_that_is_none_is_refused(quaternion: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="quaternion of length 1"):
        placement((0.0, 0.0, 0.0), quaternion)
