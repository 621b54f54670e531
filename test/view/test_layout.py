# ruff: noqa: E402
"""Which panels there are, by what is in a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rerun_files import rows_of

rr = pytest.importorskip("rerun", reason="rerun-sdk is not installed: Python 3.11 and later only")

from radar_pose_ros.view.command import new_recording
from radar_pose_ros.view.layout import Content, blueprint

OURS = "radar_pose_ros/msg/"
SPACE, IMAGE, CURVES, STATES, TEXT, LOG = (
    *("3D", "2D", "TimeSeries", "StateTimeline", "TextDocument", "TextLog"),
)
RADAR_POSE = [
    ("/radar_h/heatmap", OURS + "RadarHeatmap", "radar_h_link"),
    ("/radar_v/heatmap", OURS + "RadarHeatmap", "radar_v_link"),
    ("/radar_h/radar_config", OURS + "RadarConfig", "radar_h_link"),
    ("/pose2d", OURS + "HumanPose2DArray", "rig_camera_optical_frame"),
    ("/ground_truth", OURS + "HumanPose3DArray", "radar_rig"),
    ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", ""),
]
POINTS_POSE = [
    ("/points", "sensor_msgs/msg/PointCloud2", "radar_link"),
    ("/pose3d", OURS + "HumanPose3DArray", "radar_link"),
]
MULTIVIEW = [
    ("/pose3d", OURS + "HumanPose3DArray", "map"),
    ("/refined/pose3d", OURS + "HumanPose3DArray", "map"),
    *(
        (f"/camera_{k}/{name}", kind, f"camera_{k}_optical_frame")
        for k in range(4)
        for name, kind in (
            ("pose2d", OURS + "HumanPose2DArray"),
            ("camera_info", "sensor_msgs/msg/CameraInfo"),
        )
    ),
]
HEART_RATE = [
    ("/image", "sensor_msgs/msg/Image", "camera_optical_frame"),
    ("/heart_rate", OURS + "HeartRate", "camera_optical_frame"),
    ("/pulse_wave", OURS + "PulseWave", "camera_optical_frame"),
]


def views(content: Content, folder: Path, **more: Any) -> dict[str, dict[str, Any]]:
    """Return the views of a blueprint by their kind and origin, as they are written to a file."""
    rr.set_strict_mode(True)
    file = folder / "view.rrd"
    recording = new_recording()
    recording.save(file)
    recording.send_blueprint(blueprint(content, **more))
    recording.disconnect()
    found: dict[str, dict[str, Any]] = {}
    for path, rows in rows_of(file, blueprint=True).items():
        for row in rows:
            found.setdefault(path, {}).update({k: v for k, v in row.items() if v is not None})
    return found


def kinds(found: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    rows = [row for row in found.values() if "ViewBlueprint:class_identifier" in row]
    return sorted(
        (row["ViewBlueprint:class_identifier"][0], row["ViewBlueprint:space_origin"][0].strip("/"))
        for row in rows
    )


def content_of(topics: list[tuple[str, str, str]]) -> Content:
    content = Content()
    for topic in topics:
        content.note(*topic)
    return content


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (
            RADAR_POSE,
            [
                (IMAGE, "cameras/rig_camera_optical_frame"),
                (IMAGE, "heatmaps/radar_h_link"),
                (IMAGE, "heatmaps/radar_v_link"),
                (SPACE, "world"),
                (LOG, ""),
                (CURVES, "latency"),
            ],
        ),
        (POINTS_POSE, [(SPACE, "world"), (CURVES, "latency")]),
        (
            MULTIVIEW,
            [
                *((IMAGE, f"cameras/camera_{k}_optical_frame") for k in range(4)),
                (SPACE, "world"),
                (CURVES, "latency"),
            ],
        ),
        (
            HEART_RATE,
            [
                (IMAGE, "cameras/camera_optical_frame"),
                (STATES, "heart_rate"),
                (TEXT, "readings"),
                (CURVES, "heart_rate"),
                (CURVES, "pulse"),
            ],
        ),
    ],
    ids=["radar_pose", "points_pose", "multiview", "heart_rate"],
)
def test_each_use_has_its_panels(
    topics: list[tuple[str, str, str]], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert kinds(views(content_of(topics), tmp_path)) == sorted(expected)


def test_the_age_of_images_is_shown_beside_that_of_poses_only(tmp_path: Path) -> None:
    image = HEART_RATE[0]
    assert (CURVES, "latency") not in kinds(views(content_of([image]), tmp_path))
    assert (CURVES, "latency") in kinds(views(content_of([image, RADAR_POSE[3]]), tmp_path))


def test_what_was_there_before_is_no_news() -> None:
    content = Content()
    assert content.note("/pose3d", OURS + "HumanPose3DArray", "map")
    assert not content.note("/pose3d", OURS + "HumanPose3DArray", "map")
    assert content.note("/image", "sensor_msgs/msg/Image", "eye")
    assert not content.truth
    assert content.note("/ground_truth", OURS + "HumanPose3DArray", "map")
    assert content.truth


def test_the_eye_looks_at_what_there_is(tmp_path: Path) -> None:
    corners = np.array([1.0, -2.0, 0.0]), np.array([5.0, 2.0, 2.0])
    found = views(content_of(POINTS_POSE), tmp_path, extent_m=corners)
    [row] = [row for row in found.values() if "EyeControls3D:position" in row]
    np.testing.assert_allclose(row["EyeControls3D:look_target"][0], [3.0, 0.0, 1.0])
    eye = np.array(row["EyeControls3D:position"][0])
    assert 4.0 < np.linalg.norm(eye - [3.0, 0.0, 1.0]) < 8.0 and eye[2] > 2.0


@pytest.mark.parametrize("bare", [False, True])
def test_only_pictures_are_without_the_viewers_bar(bare: bool, tmp_path: Path) -> None:
    found = views(content_of(POINTS_POSE), tmp_path, bare=bare)
    hidden, collapsed = [1], [2]
    assert found.get("top_panel", {}).get("PanelBlueprint:state") == (hidden if bare else None)
    for side in ("blueprint_panel", "selection_panel"):
        assert found[side]["PanelBlueprint:state"] == collapsed
    assert found["time_panel"]["TimePanelBlueprint:state"] == collapsed
    assert found["time_panel"]["TimePanelBlueprint:timeline"] == ["time"]
