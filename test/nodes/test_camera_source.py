"""A camera that is slow, hangs or goes away, and a file that is played in a loop."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros.vision.video import Frame, GivenFrames, Video

if TYPE_CHECKING:
    from radar_pose_ros.nodes.camera_source import CameraSource

pytestmark = pytest.mark.ros

IMAGE = np.zeros((6, 8, 3), np.uint8)


class FakeCamera:
    """A camera that hangs until a test gives an image, by its time, or None: it goes away."""

    source, stamps, rate_hz = "camera 0", "arrival", 30.0

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.given: queue.Queue[float | None] = queue.Queue()
        self.let_go = threading.Event()

    def frames(self) -> Iterator[Frame]:
        try:
            while (time_s := self.given.get()) is not None:
                yield time_s, IMAGE
        finally:
            self.let_go.set()
        self.notes.append("camera 0: it gave no more images")


def wait(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def stamps_ns(messages: list[Any]) -> list[int]:
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]


class Logger:
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def info(self, sentence: str) -> None:
        pass


Configure = Callable[..., tuple["CameraSource", list[Any], Logger]]


@pytest.fixture
def configure(
    ros_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Configure]:
    """Configure a node whose source opens as these videos, one after the other."""
    import rclpy
    from rclpy.parameter import Parameter

    from radar_pose_ros.nodes import camera_source
    from radar_pose_ros.nodes.base import SUCCESS

    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []
    monkeypatch.setattr(camera_source, "AGAIN_S", 0.05)
    monkeypatch.setattr(camera_source, "SILENT_S", 0.4)

    def configured(*videos: Video, **values: Any) -> tuple[CameraSource, list[Any], Logger]:
        left = list(videos)

        def opened(*_: Any, **__: Any) -> Video:
            if not left:
                raise ValueError("camera 0: it cannot be opened")
            return left.pop(0)

        monkeypatch.setattr(camera_source, "open_video", opened)
        given = {"autostart": False, "wait_for_reader": False, **values}
        node = camera_source.CameraSource(
            context=context,
            parameter_overrides=[Parameter(key, value=value) for key, value in given.items()],
        )
        nodes.append(node)
        assert node.trigger_configure() is SUCCESS
        sent: list[Any] = []
        monkeypatch.setattr(node._images, "publish", sent.append)
        logger = Logger()
        monkeypatch.setattr(node, "get_logger", lambda: logger)
        return node, sent, logger

    yield configured
    for node in nodes:
        node.release()
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_camera_s_stamps_begin_with_its_first_image(configure: Configure) -> None:
    """It took a while to begin, and its very first image could not be used."""
    camera, again = FakeCamera(), FakeCamera()
    node, sent, logger = configure(camera, again)
    node.trigger_activate()
    for source in (camera, again):
        time.sleep(0.5)
        before_ns = time.time_ns()
        source.given.put(0.03)
        wait(lambda: len(sent) == 1)
        assert before_ns <= stamps_ns(sent)[0] <= time.time_ns()
        for time_s in (0.07, 0.13):
            source.given.put(time_s)
        wait(lambda: len(sent) == 3)
        np.testing.assert_array_equal(np.diff(stamps_ns(sent)), [40_000_000, 60_000_000])
        source.given.put(None)
        wait(lambda: logger.warnings == ["camera 0: it gave no more images"])
        logger.warnings.clear()
        sent.clear()


def test_a_camera_that_hangs_is_silent_and_holds_nobody_up(configure: Configure) -> None:
    from radar_pose_ros.nodes.base import SUCCESS
    from radar_pose_ros.nodes.health import Level

    def report() -> tuple[Level, str]:
        return node.health.report(active=True)[:2]

    hanging, other = FakeCamera(), FakeCamera()
    node, sent, _ = configure(hanging, other)
    node.trigger_activate()
    hanging.given.put(0.0)
    wait(lambda: report() == (Level.OK, "running"))
    wait(lambda: report()[0] is Level.ERROR)
    assert re.fullmatch(r"image silent for 0\.\d s", report()[1])
    hanging.given.put(5.0)  # it is back
    wait(lambda: report() == (Level.OK, "running"))
    assert len(sent) == 2

    begin_s = time.monotonic()
    assert node.trigger_deactivate() is SUCCESS
    assert time.monotonic() - begin_s < 1.0
    assert not hanging.let_go.is_set()
    assert node.trigger_activate() is SUCCESS
    other.given.put(0.0)
    wait(lambda: len(sent) == 3)
    hanging.given.put(9.0)  # what it gives now is nobody's
    assert hanging.let_go.wait(5.0)
    other.given.put(0.1)
    wait(lambda: len(sent) == 4)
    begin_s = time.monotonic()
    node.release()
    assert time.monotonic() - begin_s < 1.0


def test_what_is_wrong_with_a_file_is_logged_once(configure: Configure) -> None:
    def frames() -> Iterator[Frame]:
        for time_s in (0.0, 0.1, 0.1, 0.2):
            yield time_s, IMAGE

    video = GivenFrames(frames, "a.mp4", "container")
    node, sent, logger = configure(
        video, video, source="a.mp4", at_end="loop", stamps="file", rate=20.0
    )
    node.trigger_activate()
    wait(lambda: len(sent) > 9)
    note = "a.mp4: 1 of 4 frames have no time after the frame before: left out"
    assert logger.warnings == [note]
    assert note in node.health.report(active=True)[1]
    np.testing.assert_array_equal(stamps_ns(sent[:9]), 10**9 + 100_000_000 * np.arange(9))


@pytest.mark.parametrize(
    ("values", "warned"),
    [({"rate": 3.0}, True), ({"rate": 3.0, "stamps": "file"}, False), ({"rate": 1.0}, False)],
)
def test_stamps_that_run_ahead_of_the_clock_are_told(
    configure: Configure, values: dict[str, Any], warned: bool
) -> None:
    """They stay as far apart as they were, at any rate."""

    def frames() -> Iterator[Frame]:
        for time_s in (0.0, 0.1, 0.3):
            yield time_s, IMAGE

    node, sent, logger = configure(
        *2 * [GivenFrames(frames, "a.mp4", "container")], source="a.mp4", **values
    )
    node.trigger_activate()
    wait(lambda: len(sent) == 3)
    np.testing.assert_allclose(np.diff(stamps_ns(sent)), [1e8, 2e8])
    sentence = "at rate 3 stamps run ahead of the clock, by 2 s in each second: with stamps "
    said = " ".join(logger.warnings)
    assert (sentence in said) is warned
    assert (sentence in node.health.report(active=True)[1]) is warned


def test_a_file_begins_when_a_node_that_computes_reads_it(configure: Configure) -> None:
    """Who records is ready long before who computes: the file would begin for nobody."""
    import rclpy
    from sensor_msgs.msg import Image

    from radar_pose_ros.nodes.base import SENSOR_DATA

    def frames() -> Iterator[Frame]:
        for time_s in (0.0, 0.1, 0.2):
            yield time_s, IMAGE

    videos = [GivenFrames(frames, "a.mp4", "container") for _ in range(2)]
    node, sent, _ = configure(*videos, source="a.mp4", stamps="file", wait_for_reader=True)
    node.trigger_activate()
    others = [rclpy.create_node(name, context=node.context) for name in ("recorder", "rppg")]
    recorder, meter = others
    try:
        wait(lambda: "nobody reads /image yet" in node.health.report(active=True)[1])
        recorder.create_subscription(Image, "image", print, SENSOR_DATA)
        sentence = "only recorder reads /image yet: the file begins when a node that computes does"
        wait(lambda: sentence in node.health.report(active=True)[1])
        time.sleep(0.8)  # longer than the node waits once somebody is there
        assert sent == []  # though the other node is up, it does not read yet
        meter.create_subscription(Image, "image", print, SENSOR_DATA)
        wait(lambda: len(sent) == 3)
        np.testing.assert_array_equal(stamps_ns(sent), 10**9 + 100_000_000 * np.arange(3))
        assert "reads /image" not in node.health.report(active=True)[1]
    finally:
        for other in others:
            other.destroy_node()


@pytest.mark.parametrize(
    ("name", "does"),
    [
        *((name, True) for name in ("rppg", "keypoint_detector", "my_view_counter", "observer")),
        *((name, False) for name in ("recorder", "rosbag2_recorder", "viewer", "rviz", "rviz2")),
        *((name, False) for name in ("_ros2cli_4711", "rqt_gui_cpp_node_7")),
    ],
)
def test_who_records_or_shows_computes_nothing(name: str, does: bool) -> None:
    from radar_pose_ros.nodes.readers import computes

    assert computes(name) is does
