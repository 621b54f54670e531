"""The recorder in a process of its own: everything that is published comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from radar_pose_ros import recording
from radar_pose_ros.recording import BagReader

pytestmark = pytest.mark.ros


def start(root, environment, **parameters) -> subprocess.Popen:
    command = [sys.executable, "-m", "radar_pose_ros.nodes", "recorder", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def talker(ros_environment):
    """A node of this process."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("talker", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def heatmap(index: int, values: np.ndarray):
    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    message = msg.RadarHeatmap(
        header=convert.header(10**18 + index, "radar_h_link"),
        frame_index=index,
        data=convert.to_array(values),
    )
    message.angle_bins, message.doppler_bins, message.range_bins = 64, 8, 64
    return message


def wait_for_reader(publisher) -> None:
    deadline_s = time.monotonic() + 30
    while not publisher.get_subscription_count():
        assert time.monotonic() < deadline_s, "the recorder did not subscribe"
        time.sleep(0.05)


@pytest.mark.parametrize("killed", [False, True])
def test_messages_come_back(root, tmp_path, ros_environment, talker, killed):
    """Even if the recorder is killed: after what it flushes within a second."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import LATCHED, RELIABLE

    latched = talker.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
    latched.publish(msg.SkeletonDefinition(name="hupr14", joints=["a", "b"]))
    publisher = talker.create_publisher(msg.RadarHeatmap, "radar_h/heatmap", RELIABLE)
    unwanted = talker.create_publisher(msg.RadarAdcFrame, "radar_h/adc", RELIABLE)
    process = start(root, ros_environment, bag=tmp_path / "bag", flush_period_s=0.2)
    try:
        wait_for_reader(publisher)
        values = np.random.default_rng(0).normal(size=(20, 65536)).astype(np.float32)
        for index in range(20):
            publisher.publish(heatmap(index, values[index]))
            unwanted.publish(msg.RadarAdcFrame())
            time.sleep(0.02)
        time.sleep(1.0)
        process.send_signal(signal.SIGKILL if killed else signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    if killed:
        recording.repair(tmp_path / "bag")
    else:
        assert process.returncode == 0, output
        assert "messages of" in output
    with BagReader(tmp_path / "bag") as reader:
        assert "/radar_h/adc" not in reader.topics
        [skeleton] = reader.messages(["/skeleton"])
        assert skeleton.message.joints == ["a", "b"]
        got = list(reader.messages(["/radar_h/heatmap"]))
    assert [item.message.frame_index for item in got] == list(range(20))
    for item, sent in zip(got, values, strict=True):
        np.testing.assert_array_equal(item.message.data, sent)
        assert abs(item.received_ns - time.time_ns()) < 60e9


@pytest.mark.parametrize("number", range(3))
def test_killed_at_any_moment_it_loses_less_than_a_second(
    root, tmp_path, ros_environment, talker, rng, number
):
    """Of several topics, which come in no order; R2 and R14."""
    kill_and_count(root, tmp_path / "bag", ros_environment, talker, rng)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_killed_twenty_times(root, tmp_path, ros_environment, talker, rng, number):
    """The same."""
    kill_and_count(root, tmp_path / "bag", ros_environment, talker, rng)


def kill_and_count(root, bag, environment, talker, rng) -> None:
    """Kill a recorder; all that was sent until a second before has to be in what it leaves."""
    from std_msgs.msg import String

    from radar_pose_ros.nodes.base import RELIABLE

    publishers = [talker.create_publisher(String, f"words_{k}", RELIABLE) for k in range(3)]
    process = start(root, environment, bag=bag)
    sent: list[tuple[float, str, str]] = []
    try:
        for publisher in publishers:
            wait_for_reader(publisher)
        until_s = time.monotonic() + 1.5 + rng.uniform(0.0, 1.0)
        size = int(rng.choice([10, 20_000]))  # chunks are full after 1 MiB, or after very long
        while time.monotonic() < until_s:
            for publisher in publishers:
                text = f"{len(sent)} " + "x" * size
                publisher.publish(String(data=text))
                sent.append((time.monotonic(), f"/{publisher.topic_name.strip('/')}", text))
                time.sleep(0.003)
        killed_s = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    finally:
        process.kill()
    recording.repair(bag)
    with BagReader(bag) as reader:
        assert {"/words_0", "/words_1", "/words_2"} <= set(reader.topics)
        times = [received_ns for _, received_ns, _ in reader.serialized()]
        words = [topic for topic in reader.topics if topic.startswith("/words_")]
        said = [(item.topic, item.message.data) for item in reader.messages(words)]
    assert times == sorted(times)
    assert len(said) == len(set(said))
    # Those who were there already when it came were heard from their first word on, or a later.
    first = {topic: next(w for t, w in said if t == topic) for topic in {t for t, _ in said}}
    begin = max(int(word.split()[0]) for word in first.values())
    older = {(t, w) for at_s, t, w in sent[begin:] if at_s < killed_s - 1.0}
    assert len(older) > 30
    assert older <= set(said)


@pytest.mark.parametrize("level", ["adc", "pose"])
def test_a_level_is_recorded_by_what_topics_hold(root, tmp_path, ros_environment, talker, level):
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    kinds = {
        "east/raw": msg.RadarAdcFrame,
        "east/map": msg.RadarHeatmap,
        "joints": msg.HumanPose2DArray,
    }
    publishers = {t: talker.create_publisher(kind, t, RELIABLE) for t, kind in kinds.items()}
    wanted = {"adc": "east/raw", "pose": "joints"}[level]
    process = start(root, ros_environment, bag=tmp_path / "bag", level=level)
    try:
        wait_for_reader(publishers[wanted])
        time.sleep(1.0)  # others would be found by now, too
        for topic, kind in kinds.items():
            publishers[topic].publish(kind())
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    finally:
        process.kill()
    with BagReader(tmp_path / "bag") as reader:
        assert reader.counts == {f"/{wanted}": 1}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: {}, "parameter bag is empty"),
        (lambda folder: {"bag": folder}, "never overwritten"),
    ],
)
def test_it_says_why_it_does_not_record(root, tmp_path, ros_environment, prepare, words):
    process = start(root, ros_environment, **prepare(tmp_path))
    late = threading.Timer(30.0, process.kill)  # on a busy machine it takes some seconds
    late.start()
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if words in line:
                process.send_signal(signal.SIGINT)
    finally:
        late.cancel()
        process.kill()
        process.wait()
    assert words in "".join(said)
    assert "Traceback" not in "".join(said)


def test_names_stand_for_topics():
    from radar_pose_ros.nodes.recorder import is_named

    assert is_named("/radar_h/adc", ["adc"])
    assert is_named("/radar_h/adc", ["/radar_h/adc"])
    assert is_named("/robot/radar_h/adc", ["radar_h/adc"])
    assert not is_named("/radar_h/adc", ["/adc"])
    assert not is_named("/radar_h/madc", ["adc"])
    assert not is_named("/radar_h/adc", [])
