"""The recorder in a process of its own: everything that is published comes back."""

from __future__ import annotations

import resource
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


def start(root, environment, prepare=None, **parameters) -> subprocess.Popen:
    """Start a recorder; `prepare` is called in its process before."""
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
        preexec_fn=prepare,
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
        offered = {t.name: (t.reliable, t.latched, t.depth) for t in reader.details}
        assert offered["/skeleton"] == (True, True, 10)  # the depth is not told by this middleware
        assert offered["/radar_h/heatmap"] == (True, False, 10)
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
def test_killed_twenty_times(root, tmp_path, ros_environment, talker, rng, number, capsys):
    """The same."""
    lost_s = kill_and_count(root, tmp_path / "bag", ros_environment, talker, rng)
    with capsys.disabled():
        print(f" lost {lost_s:.2f} s")


def kill_and_count(root, bag, environment, talker, rng) -> float:
    """Kill a recorder; all that was sent until a second before has to be in what it leaves.

    Return how long before the kill the first message was sent that is not there, in s.
    """
    from std_msgs.msg import String

    from radar_pose_ros.nodes.base import RELIABLE

    topics = [f"/words_{k}" for k in range(3)]
    publishers = [talker.create_publisher(String, topic, RELIABLE) for topic in topics]
    process = start(root, environment, bag=bag)
    sent: list[tuple[float, str, str]] = []
    try:
        for publisher in publishers:
            wait_for_reader(publisher)
        until_s = time.monotonic() + 1.5 + rng.uniform(0.0, 1.0)
        size = int(rng.choice([10, 20_000]))  # chunks are full after 1 MiB, or after very long
        while time.monotonic() < until_s:
            for topic, publisher in zip(topics, publishers, strict=True):
                text = f"{len(sent)} " + "x" * size
                publisher.publish(String(data=text))
                sent.append((time.monotonic(), topic, text))
                time.sleep(0.003)
        killed_s = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    finally:
        process.kill()
    recording.repair(bag)
    with BagReader(bag) as reader:
        assert {*topics} <= {*reader.topics}
        times = [received_ns for _, received_ns, _ in reader.serialized()]
        said = [(item.topic, item.message.data) for item in reader.messages(topics)]
    assert times == sorted(times)
    there = {*said}
    assert len(said) == len(there)
    # Those who were there already when it came were heard from their first word on, or a later.
    begin = max([int(next(w for t, w in said if t == topic).split()[0]) for topic in topics])
    due = [(at_s, (topic, word)) for at_s, topic, word in sent[begin:]]
    lost_s = killed_s - min((at_s for at_s, one in due if one not in there), default=killed_s)
    assert sum(at_s < killed_s - 1.0 for at_s, _ in due) > 30
    assert lost_s < 1.0
    return lost_s


def test_a_full_disk_is_an_error_and_the_node_goes_on(root, tmp_path, ros_environment, talker):
    """R14: what came before can be saved; exit code 1."""
    from std_msgs.msg import String

    from radar_pose_ros.nodes.base import RELIABLE

    def allow_two_megabytes():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    publisher = talker.create_publisher(String, "words", RELIABLE)
    process = start(root, ros_environment, allow_two_megabytes, bag=tmp_path / "bag")
    try:
        wait_for_reader(publisher)
        for number in range(40):
            publisher.publish(String(data=f"{number} " + "x" * 100_000))
            time.sleep(0.05)
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 1
    assert f"the bag {tmp_path / 'bag'} ends here: File too large" in output
    assert output.count("ends here") == 1 and "Traceback" not in output
    recording.repair(tmp_path / "bag")
    with BagReader(tmp_path / "bag") as reader:
        said = [int(m.message.data.split()[0]) for m in reader.messages(["/words"])]
    assert 5 < len(said) < 20
    assert said == list(range(said[0], said[0] + len(said)))


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("sensor", {"east/raw", "eye", "joints"}),
        ("adc", {"east/raw"}),
        ("pose", {"joints"}),
    ],
)
def test_a_level_is_recorded_by_what_topics_hold(
    root, tmp_path, ros_environment, talker, level, wanted
):
    from sensor_msgs.msg import Image

    from radar_pose_ros import msg
    from radar_pose_ros.nodes.base import RELIABLE

    kinds = {
        "east/raw": msg.RadarAdcFrame,
        "east/map": msg.RadarHeatmap,
        "east/heatmap/preview": Image,
        "eye": Image,
        "joints": msg.HumanPose2DArray,
    }
    publishers = {t: talker.create_publisher(kind, t, RELIABLE) for t, kind in kinds.items()}
    process = start(root, ros_environment, bag=tmp_path / "bag", level=level)
    try:
        for topic in wanted:
            wait_for_reader(publishers[topic])
        time.sleep(1.0)  # others would be found by now, too
        for topic, kind in kinds.items():
            publishers[topic].publish(kind())
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    finally:
        process.kill()
    with BagReader(tmp_path / "bag") as reader:
        assert reader.counts == {f"/{topic}": 1 for topic in wanted}


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
