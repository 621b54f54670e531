"""Pose from a radar's points, live: an emulated board, driver, network and markers."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros import bringup
from radar_pose_ros.radar.points import PointCloud, PointFrame
from radar_pose_ros.simulation.crowds import Crowd, record
from radar_pose_ros.simulation.uart_board import EmulatedUartBoard
from radar_pose_ros.skeleton.definitions import KINECT25

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

PERIOD_NS = 100_000_000
NANOSECONDS = 1_000_000_000
LATENCY_S = 0.12
# The same network on the same points: nothing but the order of sums may differ.
TOLERANCE_M = 1e-4
POSE = "mamba_pose"


@pytest.fixture(scope="module")
def network() -> Any:
    """The shipped network."""
    from radar_pose_ros.models import weights

    return weights.network("points", "points")[0]


def estimate(network: Any, windows: np.ndarray) -> np.ndarray:
    """Joints of all frames, (people, 24, 25, 3) m."""
    import torch

    with torch.inference_mode():
        return network(torch.from_numpy(windows)).numpy()


def by_hand(network: Any, clouds: list[np.ndarray | None]) -> np.ndarray:
    """Joints of all frames, (24, 25, 3) m, from the last 24 clouds; None is a lost one."""
    from radar_pose_ros.models.points import choose_points

    nothing = np.zeros((0, 5), np.float32)
    last = [nothing if cloud is None else cloud for cloud in clouds[-24:]]
    window = [choose_points(cloud, 16) for cloud in [nothing] * (24 - len(last)) + last]
    return estimate(network, np.stack(window)[None])[0]


def body(rng: np.random.Generator, points: int = 40, y: float = 0.0) -> np.ndarray:
    """Echoes of somebody who moves on the spot, (points, 5)."""
    place = rng.normal((2.0, y, 0.0), (0.1, 0.15, 0.4), (points, 3))
    values = [place, rng.normal(0, 0.5, points), rng.uniform(10, 25, points)]
    return np.column_stack(values).astype(np.float32)


def frames_of(clouds: Iterable[tuple[int, np.ndarray]]) -> list[PointFrame]:
    """Numbered clouds as frames at 10 Hz."""
    return [PointFrame(k, k / 10, PointCloud(*cloud.T.copy())) for k, cloud in clouds]


class Board(EmulatedUartBoard):
    """An emulated board that sends empty clouds until `go` is set, and then frames, numbered on.

    On a busy machine nodes take a while to find each other.
    """

    def __init__(self, frames: Iterable[PointFrame]) -> None:
        self.go = threading.Event()
        self.begun_s: list[float] = []
        self._real = list(frames)
        super().__init__(
            self._stream(), on_frame=lambda _, now_s: self.begun_s.append(now_s), radar_on=True
        )
        self.empty = 0

    def _stream(self) -> Iterator[PointFrame]:
        nothing = PointCloud(*np.empty((5, 0), np.float32))
        while not self.go.is_set():
            yield PointFrame(self.empty, self.empty / 10, nothing)
            self.empty += 1
        for number, time_s, points in self._real:
            yield PointFrame(self.empty + number, self.empty / 10 + time_s, points)

    @property
    def last_s(self) -> float:
        """When the last frame began; infinite before."""
        done = self.go.is_set() and len(self.begun_s) == self.empty + len(self._real)
        return self.begun_s[-1] if done else math.inf


class Observer:
    """What goes round in the graph."""

    def __init__(self, live: LiveGraph) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import PointCloud2
        from visualization_msgs.msg import MarkerArray

        from radar_pose_ros import msg
        from radar_pose_ros.nodes.base import LATCHED

        qos = QoSProfile(depth=500)
        self.live = live
        self.clouds = live.collect(PointCloud2, "/points", qos)
        self.poses = live.collect(msg.HumanPose3DArray, "/pose3d", qos)
        self.skeletons = live.collect(msg.SkeletonDefinition, "/skeleton", LATCHED)
        self.markers: list[tuple[float, Any]] = []
        live.node.create_subscription(
            MarkerArray, "/markers", lambda m: self.markers.append((time.time(), m)), qos
        )

    def play(self, board: Board) -> None:
        """Let real frames begin when everybody hears everybody; wait for the pose of the last."""
        live = self.live
        live.wait(lambda: self.skeletons and self.poses, 60.0, "poses of nobody")
        live.wait(lambda: live.node.count_publishers("/markers"), 40.0, "markers")
        live.wait(lambda: int(values(live, "visualizer").get("poses total", 0)), 40.0, "drawings")
        board.go.set()
        live.wait(
            lambda: stamp_ns(self.poses[-1]) / NANOSECONDS >= board.last_s - 1e-6,
            60.0,
            "the pose of the last frame",
        )
        last_ns = stamp_ns(self.poses[-1])
        live.wait(lambda: stamp_ns(self.clouds[-1]) >= last_ns, what="the last cloud")
        time.sleep(0.3)

    def pairs(self) -> list[tuple[Any, Any]]:
        """Clouds and the poses of the same stamps, of those clouds that reached the network."""
        poses = {stamp_ns(pose): pose for pose in self.poses}
        return [(c, poses[stamp_ns(c)]) for c in self.clouds if stamp_ns(c) in poses]

    def latencies_s(self, begun_s: list[float]) -> np.ndarray:
        """From the begin of a frame's first byte at the board to the markers of its pose.

        Markers carry the stamp of their frame, which is taken when its first bytes are read.
        """
        found = []
        for arrived_s, message in self.markers:
            drawn = [m for m in message.markers if m.points]
            if drawn:
                stamp_s = stamp_ns(drawn[0]) / NANOSECONDS
                sent_s = max(at for at in begun_s if at <= stamp_s + 1e-6)
                found.append(arrived_s - sent_s)
        return np.array(found)


def table(message: Any) -> np.ndarray:
    from radar_pose_ros.nodes import convert

    return convert.message_to_points(message)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * NANOSECONDS + message.header.stamp.nanosec


def joints_of(pose: Any) -> np.ndarray:
    return np.array([(k.position.x, k.position.y, k.position.z) for k in pose.keypoints])


def values(live: LiveGraph, node: str = POSE) -> dict[str, str]:
    found = live.diagnostics().get(node)
    return {v.key: v.value for v in found.values} if found else {}


def status(live: LiveGraph, node: str = POSE) -> tuple[int, str]:
    found = live.diagnostics().get(node)
    return (found.level[0], found.message) if found else (-1, "")


def start_chain(live: LiveGraph, board: Board, **parameters: Any) -> Observer:
    """Driver, network and visualizer; then everything that the board sends."""
    observer = Observer(live)
    about = {"source": "uart", "config_file": "", "frame_id": "radar_link"}
    live.start("radar_driver", **about, points_port=board.data_port)
    about = {"input": "points", "output_frame": "latest", "threads": 1, "queue_size": 16}
    live.start(POSE, **{**about, **parameters})
    live.start("visualizer")
    observer.play(board)
    return observer


def expect_offline(network: Any, observer: Observer, **about: Any) -> list[list[int]]:
    """Compare poses with the network's on the same clouds; return whose there are, by frame."""
    from radar_pose_ros.models.point_windows import PointWindows

    windows = PointWindows(network.config, **about)
    ids = []
    for cloud, pose in observer.pairs():
        windows.add(table(cloud), stamp_ns(cloud))
        expected = [person for person in windows.people() if person.tells(-1)]
        ids.append([person.id for person in pose.poses])
        assert ids[-1] == [person.id for person in expected]
        for window, person in zip(expected, pose.poses, strict=True):
            expected_m = estimate(network, window.points[None])[0, -1]
            np.testing.assert_allclose(joints_of(person), expected_m, atol=TOLERANCE_M)
    return ids


@pytest.mark.parametrize(
    ("seen", "frame", "origin"),
    [
        ("110", -1, "PREDICTED"),
        ("101", 1, "INTERPOLATED"),
        ("011", 0, "PREDICTED"),
        ("001", -1, "OBSERVED"),
    ],
)
def test_where_a_pose_comes_from(seen: str, frame: int, origin: str) -> None:
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.point_poses import origin_of

    flags = np.array([flag == "1" for flag in seen])
    assert origin_of(flags, frame) == getattr(msg.Keypoint3D, origin)


def expect_latency(latencies_s: np.ndarray) -> None:
    p50, p95 = np.percentile(latencies_s, [50, 95])
    print(f"{len(latencies_s)} frames, first byte to markers: p50 {p50:.4f} s, p95 {p95:.4f} s")
    assert p95 < LATENCY_S


def test_a_board_s_points_become_markers(
    live: LiveGraph, network: Any, rng: np.random.Generator
) -> None:
    """Made-up clouds, of which two are lost: each pose is the network's, in time, and drawn."""
    sent = {k: body(rng) for k in range(80) if k not in (40, 41)}
    with Board(frames_of(sent.items())) as board:
        observer = start_chain(live, board)
        assert tuple(observer.skeletons[0].joints) == KINECT25.joints
        lost = "dropped: frames without points"
        live.wait(lambda: int(values(live).get(lost, 0)) >= 2, what="the count of lost frames")
        counted = values(live)
    latencies_s = observer.latencies_s(board.begun_s)
    expect_offline(network, observer)
    # And so it is by hand, where no cloud was late by most of a period.
    history: list[np.ndarray | None] = [None] * 80
    told = 0
    for (number, points), (cloud, pose) in zip(
        sent.items(), observer.pairs()[-len(sent) :], strict=True
    ):
        history[number] = table(cloud)
        np.testing.assert_array_equal(table(cloud)[:, :4], points[:, :4])
        assert pose.header.frame_id == "radar_link"
        assert pose.skeleton == "kinect25" and pose.model.startswith("points/points@")
        if number < 6 and not pose.poses:
            continue
        (person,) = pose.poses
        assert person.id == 1 and not person.root_relative and math.isnan(person.confidence)
        assert {keypoint.origin for keypoint in person.keypoints} == {0}
        off_m = joints_of(person) - by_hand(network, history[: number + 1])[-1]
        told += bool(np.abs(off_m).max() < TOLERANCE_M)
    assert told >= 40
    assert float(counted["latency_ms"]) > 0
    drawn = [m for _, message in observer.markers for m in message.markers if m.points][-1]
    assert (drawn.ns, drawn.header.frame_id) == ("lifted", "radar_link")
    expect_latency(latencies_s)


def test_mars_at_its_own_rate(live: LiveGraph, network: Any, shared_data: Path) -> None:
    """A recorded person: every pose is what the network says offline, and in time."""
    from radar_pose_ros.datasets import mars
    from radar_pose_ros.nodes.uart_emulator import recorded_frames

    file = shared_data / "radar_points_mars" / "mars_subject3.npz"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    sequence = mars.load_points(file)[0]
    with Board(itertools.islice(recorded_frames([sequence]), 150)) as board:
        observer = start_chain(live, board)
    steps_s = np.diff(board.begun_s)
    assert np.median(steps_s) == pytest.approx(0.1, abs=0.005)
    latencies_s = observer.latencies_s(board.begun_s)
    ids = expect_offline(network, observer)
    assert ids[-140:] == [[1]] * 140
    places = np.flatnonzero(sequence.parts >= 0)[:150]
    off_m = [
        np.linalg.norm(joints_of(pose.poses[0]) - sequence.joints_m[place], axis=-1).mean()
        for place, (_, pose) in zip(places[10:], observer.pairs()[-140:], strict=True)
    ]
    assert np.nanmean(off_m) < 0.13  # of somebody whom these weights have seen
    assert len(latencies_s) >= 140
    expect_latency(latencies_s)


def test_two_people_have_two_numbers(live: LiveGraph, network: Any) -> None:
    """Of a simulated crowd: as many, with the same numbers and poses, as offline."""
    crowd = record(Crowd(people=2, rate_hz=10.0, clutter=1.0, seconds=30.0), seed=8)
    both = [k for k in range(len(crowd.ids)) if len(crowd.ids[k]) == 2][:120]
    numbers = np.round(crowd.times_s[both] * 10).astype(int)
    clouds = zip((numbers - numbers[0]).tolist(), (crowd.clouds[k] for k in both), strict=True)
    with Board(frames_of((k, cloud.astype(np.float32)) for k, cloud in clouds)) as board:
        observer = start_chain(live, board)
    ids = expect_offline(network, observer)
    together = [two for two in ids if len(two) == 2]
    assert len(together) >= 70
    assert together == [[1, 2]] * len(together)
    # Each pose is where one of the two is; the joints stand a little aside of the points.
    true_m = np.array([crowd.position_m[k] for k in both])
    off_m = []
    for places_m, (_, pose) in zip(true_m, observer.pairs()[-len(both) :], strict=True):
        if len(pose.poses) == 2:
            roots_m = np.array([joints_of(person)[0, :2] for person in pose.poses])
            apart_m = np.linalg.norm(roots_m[:, None] - places_m, axis=-1)
            off_m.append(min(np.trace(apart_m), np.trace(apart_m[::-1])) / 2)
    assert np.median(off_m) < 0.6
    print(f"roots of two walkers: median {np.median(off_m):.2f} m off")


def test_an_unplugged_board_comes_back(live: LiveGraph) -> None:
    """The graph `points_pose`, emulated: silence is an error and tells nobody; then it goes on."""
    graph = bringup.graph("points_pose")
    folder = live._folder
    ports = {name: str(folder / name) for name in ("serial_port", "points_port")}
    nodes = {n.executable: n for n in graph.nodes({"emulated": True, "motion": "walk", **ports})}
    assert list(nodes) == ["uart_emulator", "radar_driver", POSE, "visualizer"]
    observer = Observer(live)
    started = {name: live.start(name, **node.parameters) for name, node in nodes.items()}
    live.wait(lambda: any(pose.poses for pose in observer.poses), 60.0, "a pose of somebody")
    person = next(pose for pose in observer.poses if pose.poses).poses[0]
    assert np.isfinite(joints_of(person)).all()
    live.wait(lambda: observer.markers, what="markers")

    started["uart_emulator"].kill()
    live.wait(lambda: status(live)[0] == 2, 10.0, "level ERROR")
    assert status(live)[1].startswith("points silent for")
    before = len(observer.poses)
    time.sleep(2.0)
    assert len(observer.poses) == before, "nothing is said of what is not seen"
    live.start("uart_emulator", **nodes["uart_emulator"].parameters)
    live.wait(lambda: any(p.poses for p in observer.poses[before:]), 60.0, "a pose after that")
    live.wait(lambda: status(live)[0] in (0, 1), 6.0, "no more error")
    assert values(live)["windows emptied by a gap or a jump in time"] == "1"
    assert started[POSE].poll() is None
    assert live.interrupt(started[POSE]) == 0


def test_poses_of_the_middle_and_what_is_refused(
    live: LiveGraph, network: Any, rng: np.random.Generator
) -> None:
    """Clouds of any driver; told in the middle of the window, 1.1 s later; R5."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import PointCloud2

    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    process = live.start(POSE, input="points", threads=1, queue_size=16)  # center by default
    poses = live.collect(msg.HumanPose3DArray, "/pose3d", QoSProfile(depth=100))
    publisher = live.node.create_publisher(PointCloud2, "/points", QoSProfile(depth=100))
    live.wait(publisher.get_subscription_count, 40.0, "a subscriber of points")
    live.diagnostics()
    time.sleep(1.0)
    begin_ns = time.time_ns()

    def cloud(points: np.ndarray, at_ns: int, names: str = "x y z doppler snr") -> Any:
        columns = dict(zip(names.split(), points.T, strict=False))
        return convert.points_to_message(columns, convert.header(at_ns, "somewhere"))

    clouds: list[np.ndarray | None] = [body(rng) for _ in range(40)]
    for k in range(40):  # without velocities and strengths: of a driver that has none
        clouds[k][:, 3:] = np.nan  # type: ignore[index]
        publisher.publish(cloud(clouds[k], begin_ns + k * PERIOD_NS, "x y z"))  # type: ignore[arg-type]
        time.sleep(0.02)
    live.wait(lambda: len(poses) == 29, what="29 poses")
    assert [stamp_ns(pose) for pose in poses] == [begin_ns + k * PERIOD_NS for k in range(29)]
    for k in (2, 12, 28):
        (person,) = poses[k].poses
        expected_m = by_hand(network, clouds[: k + 12])[12]
        np.testing.assert_allclose(joints_of(person), expected_m, atol=TOLERANCE_M)
        assert poses[k].header.frame_id == "somewhere"

    now_ns = begin_ns + 40 * PERIOD_NS
    good = body(rng)
    unstamped, short, packed, named, many = (cloud(good, now_ns) for _ in range(5))
    unstamped.header.stamp = convert.to_stamp(0)
    short.data = short.data[:-1]
    packed.is_bigendian = True
    named.fields[2].name = "height"
    many.width = 4_000_000_000
    doubled = cloud(good, now_ns)
    doubled.fields[1].datatype = 8  # FLOAT64
    for message in (unstamped, short, packed, named, many, doubled):
        publisher.publish(message)
        time.sleep(0.05)
    wanted = {
        "dropped: points: time stamp not set": "1",
        "dropped: points: points that are not packed as they say": "2",
        "dropped: points: points without a place": "1",
        "dropped: points: too many points": "1",
        "dropped: points: points that are no float32": "1",
    }
    live.wait(lambda: wanted.items() <= values(live).items(), what=f"{wanted}")
    assert len(poses) == 29
    for k in range(15):
        publisher.publish(cloud(good, now_ns + k * 3 * PERIOD_NS))
        time.sleep(0.02)
    live.wait(lambda: "points come at 3.3 Hz, and the network has" in status(live)[1], what="rate")
    assert live.interrupt(process) == 0


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"weights": "edge"}, "is a millimamba, not a points"),
        ({"precision": "bfloat16"}, "precision bfloat16 is for heatmaps only"),
        ({"weights": "huge"}, "there are no weights 'huge'"),
    ],
)
def test_what_cannot_work_is_a_failure_with_a_sentence(
    live: LiveGraph, parameters: dict[str, str], sentence: str
) -> None:
    process = live.start(POSE, input="points", **parameters)
    live.wait(lambda: sentence in status(live)[1], 40.0, sentence)
    assert status(live)[1].startswith("cannot configure")
    assert live.state(POSE) == "unconfigured"
    assert "Traceback" not in live.log(process)
