"""R2: kill -9 of each process of each graph, at random moments."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from faults import running
from faults.camera import Camera
from faults.every_node import case
from faults.observer import Observer, surroundings
from faults.rows import Outcome, row
from faults.running import Flow, Killer, RunningGraph

from radar_pose_ros import bringup
from radar_pose_ros.graphs import NodeSpec

FAULT = "kill -9 of each process 20 times, at random moments, some while they start"
MUST_HOLD = (
    "the others run on (same process, active, publishing where input allows); what was killed "
    "is back and active within 10 s; nothing that is published is nonsense"
)
KILLS = 20  # of each process


def kill(
    nodes: Sequence[NodeSpec],
    flows: Sequence[Flow],
    count: int,
    seed: int,
    cameras: Sequence[str] = (),
) -> Outcome:
    """Run nodes, and kill their processes that often, one after the other.

    `cameras` are topics of images that somebody else publishes.
    """
    rng = np.random.default_rng(seed)
    with RunningGraph(nodes) as graph, Observer() as observer, contextlib.ExitStack() as stack:
        for topic in cameras:
            stack.enter_context(Camera(observer, seed, topic))
        kills = Killer(graph, observer, nodes, flows, rng).run(count)
        tracebacks = graph.printed("Traceback")
    faults = [*dict.fromkeys(kills.faults)]
    faults += [f"{len(tracebacks)} tracebacks"] if tracebacks else []
    if kills.count < count:
        faults.append(f"only {kills.count} of {count} kills")
    figures = f"{kills.count} kills of {len(nodes)} processes"
    if kills.back_s:
        mean_s, longest_s = np.mean(kills.back_s), max(kills.back_s)
        figures += f"; active again after {mean_s:.1f} s, at most {longest_s:.1f} s"
    return Outcome(not faults, "; ".join([figures, *faults[:5]]))


def _flow(topic: str, kind: Any, check: Any, *needs: str) -> Flow:
    return Flow(topic, kind, check, frozenset(needs))


def _radar_flows(chain: str = "") -> list[Flow]:
    """Return what flows in the graph of two radars; `chain` is the process that has all nodes."""
    from sensor_msgs.msg import PointCloud2
    from visualization_msgs.msg import MarkerArray

    from radar_pose_ros import msg

    emulator = "radar_emulator"
    flows = []
    for radar in bringup.RADARS:
        driver = (emulator, chain or f"{radar}/radar_driver")
        here = (*driver, chain or f"{radar}/radar_preprocessor")
        flows += [
            _flow(f"/{radar}/adc", msg.RadarAdcFrame, running.check_samples, *driver),
            _flow(f"/{radar}/heatmap", msg.RadarHeatmap, running.check_heatmap, *here),
            _flow(f"/{radar}/points", PointCloud2, running.check_cloud, *here),
        ]
    # With one of the radars gone, poses come from the other one.
    poses = (emulator, chain or "mamba_pose")
    refined = (*poses, chain or "pose_refiner")
    lifted = (*refined, chain or "pose_lifter")
    last = (*lifted, chain or "pose_refiner_3d")
    people = running.check_people
    return [
        *flows,
        _flow("/pose2d", msg.HumanPose2DArray, people, *poses),
        _flow("/refined/pose2d", msg.HumanPose2DArray, people, *refined),
        _flow("/pose3d", msg.HumanPose3DArray, people, *lifted),
        _flow("/refined/pose3d", msg.HumanPose3DArray, people, *last),
        _flow("/markers", MarkerArray, running.check_markers, *poses, "visualizer"),
    ]


def _radar_nodes(port_base: int, **more: bool) -> list[NodeSpec]:
    # Frames are simulated once and repeated: time is for what is judged.
    given = {"emulated": True, "prepare_s": 2.0, "port_base": port_base, "threads": 1}
    whole = {"refiner": True, "lifter": True, "points": True}
    return bringup.graph("radar_pose").nodes({**given, **whole, **more})


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=10 * KILLS, unit="kills, two radars")
def kill_nodes_of_two_radars(volume: int, seed: int) -> Outcome:
    """Two emulated radars, poses, refined, lifted and drawn."""
    with surroundings():
        return kill(_radar_nodes(22000), _radar_flows(), volume, seed)


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=3 * KILLS, unit="kills, nodes in one process")
def kill_composed_nodes(volume: int, seed: int) -> Outcome:
    """The same with all nodes but emulator and visualizer in one process."""
    with surroundings():
        nodes = _radar_nodes(22200, composed=True)
        return kill(nodes, _radar_flows("radar_chain"), volume, seed)


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=5 * KILLS, unit="kills, radar of points")
def kill_nodes_of_points(volume: int, seed: int) -> Outcome:
    """An emulated radar that sends points, people in space, and all of it recorded."""
    from sensor_msgs.msg import PointCloud2
    from visualization_msgs.msg import MarkerArray

    from radar_pose_ros import msg

    with surroundings() as folder:
        given = {"serial_port": str(folder / "command"), "points_port": str(folder / "points")}
        given["record"] = str(folder / "bag")
        nodes = bringup.graph("points_pose").nodes({"emulated": True, **given})
        driver = ("uart_emulator", "radar_driver")
        poses = (*driver, "mamba_pose")
        flows = [
            _flow("/points", PointCloud2, running.check_cloud, *driver),
            _flow("/pose3d", msg.HumanPose3DArray, running.check_people, *poses),
            _flow("/markers", MarkerArray, running.check_markers, *poses, "visualizer"),
        ]
        return kill(nodes, flows, volume, seed)


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=4 * KILLS, unit="kills, cameras")
def kill_nodes_of_cameras(volume: int, seed: int) -> Outcome:
    """An emulated rig of cameras, poses in space, refined and drawn."""
    from visualization_msgs.msg import MarkerArray

    from radar_pose_ros import msg

    with surroundings():
        nodes = bringup.graph("multiview").nodes({"emulated": True, "refiner": True})
        poses = ("rig_emulator", "densewarper")
        people, in_space = running.check_people, msg.HumanPose3DArray
        flows = [
            _flow("/camera_0/pose2d", msg.HumanPose2DArray, people, "rig_emulator"),
            _flow("/pose3d", in_space, people, *poses),
            _flow("/refined/pose3d", in_space, people, *poses, "pose_refiner"),
            _flow("/markers", MarkerArray, running.check_markers, *poses, "visualizer"),
        ]
        return kill(nodes, flows, volume, seed)


def pictures(folder: Path, seed: int = 0) -> Path:
    """Write a folder of images that show nobody."""
    import cv2

    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(8):
        image = rng.integers(0, 256, (120, 160, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=3 * KILLS, unit="kills, face camera")
def kill_nodes_of_a_face_camera(volume: int, seed: int) -> Outcome:
    """A folder of images, and the node that looks for heart rates in them."""
    from sensor_msgs.msg import Image

    from radar_pose_ros import msg

    with surroundings() as folder:
        source = str(pictures(folder / "pictures"))
        nodes = bringup.graph("heart_rate").nodes({"source": source, "at_end": "loop"})
        parameters = {**nodes[0].parameters, "frame_rate_hz": 15.0}
        nodes[0] = replace(nodes[0], parameters=parameters)
        camera = "camera_source"
        flows = [
            _flow("/image", Image, running.check_image, camera),
            _flow("/heart_rate", msg.HeartRate, running.check_rate, camera, "rppg"),
        ]
        return kill(nodes, flows, volume, seed)


@row("R2", fault=FAULT, must_hold=MUST_HOLD, volume=3 * KILLS, unit="kills, detectors")
def kill_detectors(volume: int, seed: int) -> Outcome:
    """Two cameras of somebody else, a detector for each, and the node that merges them."""
    from radar_pose_ros import msg

    with surroundings() as folder:
        model = case("keypoint_detector").parameters(folder)["model"]
        given = {"views": "left right", "detector": model, "visualizer": False}
        nodes = bringup.graph("multiview").nodes(given)
        flows = [
            _flow(
                f"/{view}/pose2d",
                msg.HumanPose2DArray,
                running.check_people,
                f"{view}/keypoint_detector",
            )
            for view in ("left", "right")
        ]
        return kill(nodes, flows, volume, seed, ["/left/image", "/right/image"])
