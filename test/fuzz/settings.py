"""Files of YAML that users hand in: layouts, detectors, parameters, points, cameras, recipes."""

from __future__ import annotations

from pathlib import Path

from fuzz.material import folder, refusal

from radar_pose_ros import bringup, calibrate, graphs, resources
from radar_pose_ros.datasets import human36m
from radar_pose_ros.datasets.hupr import Layout
from radar_pose_ros.models.detectors import read_settings
from radar_pose_ros.training import (
    densewarper,
    diffhpe,
    millimamba,
    mixsynthformer,
    physmamba,
    points,
)
from radar_pose_ros.training.claims import Measure, Table
from radar_pose_ros.training.recipe import RECIPES

_NETWORKS = (millimamba, mixsynthformer, diffhpe, densewarper, physmamba, points)


def one_input(data: bytes) -> None:
    """Read a file as the first byte says."""
    with folder() as here:
        path = here / "fuzz.yaml"
        path.write_bytes(data[1:])
        (here / "2d.yaml").write_bytes((RECIPES / "diffhpe" / "2d.yaml").read_bytes())
        kind = data[0] % (len(_READERS) + len(_NETWORKS)) if data else 0
        if kind < len(_READERS):
            refused = refusal(lambda: _READERS[kind](path), ValueError)
        else:
            recipe = _NETWORKS[kind - len(_READERS)].Recipe
            refused = refusal(lambda: recipe.load(path), ValueError)
        assert not refused or str(path) in refused, f"names no file: {refused}"


def _layout(path: Path) -> None:
    layout = Layout.load(path)
    assert layout.radar.bytes_per_frame > 0


def _settings(path: Path) -> None:
    read_settings(path)


def _parameters(path: Path) -> None:
    graphs.check_parameter_file(str(path), bringup.GRAPHS["radar_pose"])


def _points(path: Path) -> None:
    calibrate.read_points(str(path), ["left", "right"])


def _cameras(path: Path) -> None:
    human36m.load_cameras(path)


def _claims(path: Path) -> None:
    Table.load(path, {"error": Measure("error")})


_READERS = (_layout, _settings, _parameters, _points, _cameras, _claims)

_DETECTOR = b"skeleton: coco17\ninput_size: [192, 256]\nmean: [0.5, 0.4, 0.4]\n"
_GRAPH = b"""radar_h:
  radar_driver:
    ros__parameters: {use_sim_time: true}
/**/mamba_pose:
  ros__parameters:
    weights: edge
"""
_BOARD = b"""points:
  a: [0, 0, 0]
  b: &b [1, 0, 0.5]
pixels:
  left: {a: [320, 240], b: [400.5, 1e2]}
  right: {a: [1, 2]}
"""
_RIG = b"""S1:
- size_px: [1000, 1002]
  focal_px: [1145.0, 1143.7]
  centre_px: [512.5, 515.4]
  distortion: [-0.2, 0.24, -0.0009, -0.0016, -0.002]
  orientation: [0.1407, -0.1500, -0.7552, 0.6223]
  position_m: [1.841, 4.955, 1.563]
"""
_TABLE = b"""rows: {one: first, two: second}
claims:
- name: better
  published: by 3 mm
  contrast: {one: 1, two: -1}
"""


def seeds() -> dict[str, bytes]:
    """One file of each kind."""
    recipe_files = (
        "millimamba/edge.yaml",
        "mixsynthformer/radar_2d.yaml",
        "diffhpe/wrapper.yaml",
        "densewarper/light.yaml",
        "physmamba/edge.yaml",
        "points/points.yaml",
    )
    contents = {
        "layout": resources.find("config", "hupr.yaml").read_bytes(),
        "detector": _DETECTOR,
        "parameters": _GRAPH,
        "marks": _BOARD,
        "cameras": _RIG,
        "claims": _TABLE,
        **{name.split("/")[0]: (RECIPES / name).read_bytes() for name in recipe_files},
    }
    return {
        name: bytes([number]) + content for number, (name, content) in enumerate(contents.items())
    }
