"""The replayer in a process of its own: a bag's messages come as they were, and when they did."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from radar_pose_ros import bringup, cli, recording
from radar_pose_ros.recording import BagWriter

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

NANOSECONDS = 1_000_000_000
BEGIN_NS = 1_700_000_000 * NANOSECONDS  # when what is recorded here was received
PERIOD_NS = 100_000_000


def words(text: str) -> Any:
    return recording.message_class("std_msgs/msg/String")(data=text)


def write_words(
    path: Path, count: int = 20, period_ns: int = PERIOD_NS, **more: dict[float, str]
) -> Path:
    """Numbers on /words, and on other topics what is said when, in s; /fact is latched."""
    kind = "std_msgs/msg/String"
    with BagWriter(path) as bag:
        bag.add_topic("/words", kind, reliable=True, depth=7)
        bag.add_topic("/fact", kind, latched=True)
        bag.write_message("/fact", BEGIN_NS, words("so it is"))
        said = [(k * period_ns, "/words", str(k)) for k in range(count)]
        for topic, texts in more.items():
            said += [(round(at * NANOSECONDS), f"/{topic}", text) for at, text in texts.items()]
        for at_ns, topic, text in sorted(said):
            bag.write_message(topic, BEGIN_NS + at_ns, words(text))
    return path


class Listener:
    """Hears words, facts and the time, each with when it came."""

    def __init__(self, live: LiveGraph) -> None:
        from rclpy.qos import QoSProfile
        from rosgraph_msgs.msg import Clock
        from std_msgs.msg import String

        from radar_pose_ros.nodes.base import LATCHED

        self.words: list[tuple[float, str]] = []
        self.clock: list[tuple[float, int]] = []
        self.live = live
        live.node.create_subscription(
            String, "/words", lambda m: self.words.append((time.monotonic(), m.data)), 100
        )
        live.node.create_subscription(Clock, "/clock", self._take_clock, QoSProfile(depth=1000))
        self.facts = live.collect(String, "/fact", LATCHED)

    def _take_clock(self, message: Any) -> None:
        stamp = message.clock
        self.clock.append((time.monotonic(), stamp.sec * NANOSECONDS + stamp.nanosec))

    @property
    def said(self) -> list[str]:
        return [text for _, text in self.words]

    def end(self, process: subprocess.Popen[str], timeout_s: float = 40.0) -> int:
        """Wait until the bag has ended; return the exit code."""
        self.live.wait(lambda: process.poll() is not None, timeout_s, "end of the bag")
        return process.wait()


def values(live: LiveGraph) -> dict[str, str]:
    found = live.diagnostics().get("replayer")
    return {v.key: v.value for v in found.values} if found else {}


def test_all_comes_as_it_was_recorded(live: LiveGraph, tmp_path: Path) -> None:
    """In order, at the pace of recording, with its quality of service and its time."""
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    listener = Listener(live)
    bag = write_words(tmp_path / "bag", 40)
    process = live.start("replayer", bag=str(bag))
    live.wait(lambda: "2" in listener.said, 30.0, "words")
    offered = {}
    for topic in ("/words", "/fact"):
        [found] = live.node.get_publishers_info_by_topic(topic)
        assert found.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        offered[topic] = found.qos_profile.durability
    latched, volatile = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
    assert offered == {"/words": volatile, "/fact": latched}
    live.wait(lambda: " of 3.9 s" in values(live).get("played", ""), what="progress")
    assert listener.end(process) == 0
    assert listener.said == [str(k) for k in range(40)]
    assert [fact.data for fact in listener.facts] == ["so it is"]
    assert "41 messages of 2 topics" in live.log(process)
    at_s = np.array([at for at, _ in listener.words])
    assert at_s[-1] - at_s[0] == pytest.approx(3.9, abs=1.0)  # a busy machine may wait a while
    assert np.median(np.diff(at_s)) == pytest.approx(0.1, abs=0.01)
    # The clock is that of the recording: it tells of each word when that came.
    clock_s, clock_ns = np.array(listener.clock, float).T
    assert (np.diff(clock_ns) >= 0).all() and len(clock_s) > 200
    told_ns = np.interp(at_s[1:], clock_s, clock_ns - BEGIN_NS)
    late_ns = np.abs(told_ns - np.arange(1, 40) * 1e8)
    assert np.median(late_ns) < 0.02e9 and late_ns.max() < 1e9


def test_a_part_at_another_rate_again_and_again(live: LiveGraph, tmp_path: Path) -> None:
    """Words 10 to 14, ten times as fast; what was latched before is told all the same."""
    listener = Listener(live)
    bag = write_words(tmp_path / "bag", other={0.2: "not asked for"})
    about = {"from_s": 1.0, "to_s": 1.5, "rate": 10.0, "loop": True, "topics": "words fact"}
    process = live.start("replayer", bag=str(bag), **about)
    live.wait(lambda: len(listener.said) >= 50, 30.0, "ten rounds")
    at_s = np.array([at for at, _ in listener.words])
    assert listener.said[:50] == ["10", "11", "12", "13", "14"] * 10
    rounds_s = np.diff(at_s[:50:5])
    assert np.median(rounds_s) == pytest.approx(0.05, abs=0.02)
    assert [fact.data for fact in listener.facts] == ["so it is"]
    assert live.node.count_publishers("/other") == 0
    live.wait(lambda: int(values(live).get("rounds", 0)) >= 10, what="rounds")
    assert live.interrupt(process) == 0


def test_all_of_what_several_told_once_stays_told(live: LiveGraph, tmp_path: Path) -> None:
    """As of /tf_static: more than one queue is long, and to those who come late, too."""
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/fact", "std_msgs/msg/String", latched=True, depth=1)
        for k in range(30):
            bag.write_message("/fact", BEGIN_NS + k, words(str(k)))
    process = live.start("replayer", bag=str(tmp_path / "bag"), exit_at_end=False, wait_s=0.0)
    live.wait(lambda: " has ended" in str(live.diagnostics().get("replayer")), 30.0, "the end")
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late = live.collect(String, "/fact", latched)
    live.wait(lambda: len(late) == 30, what="facts")
    assert [message.data for message in late] == [str(k) for k in range(30)]
    assert live.interrupt(process) == 0


def test_what_cannot_be_played_is_named(
    live: LiveGraph, shared_data: Path, tmp_path: Path
) -> None:
    """A bag of rosbag2's own, in sqlite3, and one with a type that is not installed."""
    folder = shared_data / "rosbag2_format"
    if not folder.is_dir():
        pytest.skip(f"needs rosbag2's own bags in {folder}")
    from std_msgs.msg import String

    heard = live.collect(String, "/topic", 50)
    process = live.start("replayer", bag=str(folder / "sqlite3_talker"), rate=10.0)
    live.wait(lambda: process.poll() is not None, 40.0, "end of the bag")
    assert process.wait() == 0
    assert [message.data for message in heard] == [f"Hello, world! {k}" for k in range(10)]
    process = live.start("replayer", bag=str(folder / "mcap_cdr_test"), clock=False)
    live.wait(lambda: "none of its topics can be played" in live.log(process), 30.0, "a sentence")
    assert "/test_topic is not played: there are no messages of test_msgs" in live.log(process)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "parameter bag is empty"),
        ({"bag": "/no/such/bag"}, "/no/such/bag: there is no such bag"),
        ({"from_s": 3.0}, "from_s is 3, and the bag is 1.900 s long"),
        ({"from_s": 1.0, "to_s": 0.5}, "to_s is 0.5, want more than from_s, 1, or 0"),
        ({"topics": "wrods"}, "topics: the bag has no messages on 'wrods' to play"),
        ({"from_level": "adc"}, "holds nothing of the level adc"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    tmp_path: Path,
    parameters: dict[str, Any],
    sentence: str,
    ros_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """And exit code 2: under `radar-pose replay` and in a graph."""
    from radar_pose_ros.nodes import replayer

    monkeypatch.setenv("RADAR_POSE_EXIT_UNCONFIGURED", "1")
    bag = {"bag": str(write_words(tmp_path / "bag"))} if parameters else {}
    arguments = cli._node_parameters(**{**bag, **parameters})
    assert replayer.main(arguments) == 2
    said = capfd.readouterr().err
    assert sentence in said and "Traceback" not in said


def test_a_bag_that_breaks_off_ends_with_code_1(live: LiveGraph, tmp_path: Path) -> None:
    """R11: what can be read is played, nothing hangs."""
    listener = Listener(live)
    path = tmp_path / "bag"
    with BagWriter(path) as bag:
        for k in range(40):
            bag.write_message("/words", BEGIN_NS + k * PERIOD_NS // 2, words(str(k)))
            if k % 10 == 9:
                bag.flush()
    [file] = path.glob("*.mcap")
    whole = bytearray(file.read_bytes())
    place = whole.index(b"25\0", 2000) - 40  # in the third of four chunks
    whole[place : place + 40] = b"\xff" * 40
    file.write_bytes(whole)
    process = live.start("replayer", bag=str(path))
    assert listener.end(process) == 1
    assert "the bag broke off" in live.log(process)
    assert "`radar-pose repair` leaves out what cannot be read" in live.log(process)
    assert listener.said == [str(k) for k in range(20)]
    # Then the rest is played, too.
    assert recording.repair(path).damaged_chunks == 1
    listener.words.clear()
    process = live.start("replayer", bag=str(path))
    assert listener.end(process) == 0
    assert listener.said == [str(k) for k in (*range(20), *range(30, 40))]


def test_a_bag_that_was_cut_off_is_no_puzzle(live: LiveGraph, tmp_path: Path) -> None:
    """R11: the replayer says at once what helps; after that it plays all that there is."""
    listener = Listener(live)
    path = tmp_path / "bag"
    with BagWriter(path) as bag:
        for k in range(20):
            bag.write_message("/words", BEGIN_NS + k * PERIOD_NS // 4, words(f"{k} " + 3000 * "x"))
            bag.flush()
    [file] = path.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    (path / "metadata.yaml").unlink()
    live.environment["RADAR_POSE_EXIT_UNCONFIGURED"] = "1"
    process = live.start("replayer", bag=str(path))
    assert listener.end(process) == 2
    assert f"{path} was cut off: `radar-pose repair {path}`" in live.log(process)
    recording.repair(path)
    process = live.start("replayer", bag=str(path))
    assert listener.end(process) == 0
    count = len(listener.said)
    assert 8 <= count <= 10
    assert [int(text.split()[0]) for text in listener.said] == list(range(count))


def test_older_definitions_are_not_played_as_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their bytes would be taken for other fields."""
    older = tmp_path / "msg"
    older.mkdir()
    for path in recording.message_directory().glob("*.msg"):
        text = path.read_text()
        (older / path.name).write_text(text.replace("uint8 origin ", "uint16 origin "))
    recording.type_store.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(recording, "message_directory", lambda: older)
        with BagWriter(tmp_path / "bag") as bag:
            bag.add_topic("/pose2d", "radar_pose_ros/msg/HumanPose2DArray")
            bag.add_topic("/skeleton", "radar_pose_ros/msg/SkeletonDefinition")
    recording.type_store.cache_clear()
    with recording.BagReader(tmp_path / "bag") as reader:
        assert {t.name: t.as_today for t in reader.details} == {
            "/pose2d": False,
            "/skeleton": True,
        }


# -- what is computed again ------------------------------------------------------------------

FRAMES = 30


@pytest.fixture(scope="module")
def adc_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of raw samples."""
    return write_samples(tmp_path_factory.mktemp("bags") / "bag", FRAMES, "walk")


def write_samples(path: Path, frames: int, motion: str) -> Path:
    """Write raw samples of both radars, of a simulated person, as a recorder would have them."""
    from rclpy.serialization import serialize_message

    from radar_pose_ros import resources
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.radar.assembler import AssembledFrame
    from radar_pose_ros.radar.ti_config import load_cfg
    from radar_pose_ros.simulation.radar import RadarSimulator, default_placements
    from radar_pose_ros.simulation.recordings import make_clip

    config = load_cfg(resources.resolve("iwr1843.cfg", "config"))
    clip = make_clip(config, frames / 10, seed=4, split="test", motion=motion)
    of_package = "radar_pose_ros/msg/"
    with BagWriter(path) as bag:
        for radar in bringup.RADARS:
            bag.add_topic(f"/{radar}/radar_config", f"{of_package}RadarConfig", latched=True)
            bag.add_topic(f"/{radar}/adc", f"{of_package}RadarAdcFrame")
            setup = convert.config_to_message(config, BEGIN_NS, f"{radar}_link")
            bag.write(f"/{radar}/radar_config", BEGIN_NS, serialize_message(setup))
        for number, (radar, placement) in enumerate(
            zip(bringup.RADARS, default_placements(), strict=True)
        ):
            simulator = RadarSimulator(config, placement, seed=number)
            for k, adc in enumerate(simulator.frames(clip)):
                stamp_ns = BEGIN_NS + (k + 1) * PERIOD_NS + 1_000_000 * number
                valid = np.ones(config.adc_shape[0] * config.adc_shape[1], np.uint8)
                frame = AssembledFrame(k, 1, adc, valid, 0, 0.0, 0.0)
                message = convert.adc_to_message(
                    frame, config.adc_shape, stamp_ns, f"{radar}_link"
                )
                bag.write(f"/{radar}/adc", stamp_ns + 30_000_000, serialize_message(message))
    return path


def frames_missed(live: LiveGraph) -> int:
    """Frames, of one radar or both, that did not reach the network."""
    shown = live.diagnostics()["mamba_pose"].values
    about = ("dropped: ", "frames without ")
    return sum(int(item.value) for item in shown if item.key.startswith(about))


def two_runs(live: LiveGraph, bag: Path, frames: int, tries: int) -> list[dict[int, Any]]:
    """Play raw samples, slowly, until two runs lost no frame; return their poses by stamp.

    On a busy machine, or one with little shared memory, frames get lost.
    """
    from radar_pose_ros import msg
    from radar_pose_ros.nodes import convert

    poses = live.collect(msg.HumanPose2DArray, "/pose2d", 100)
    graph = bringup.graph("replay")
    arguments = {"bag": str(bag), "from_level": "adc", "rate": 0.5, "visualizer": False}
    nodes = graph.nodes(arguments)
    assert [node.executable for node in nodes] == [
        *("radar_preprocessor", "radar_preprocessor", "mamba_pose", "replayer")
    ]
    for node in nodes[:-1]:
        live.start(node.executable, node.namespace, **node.parameters)
    runs = []
    missed = 0
    for _ in range(tries):
        before, missed_before = len(poses), missed
        process = live.start("replayer", **nodes[-1].parameters)
        live.wait(
            lambda process=process: process.poll() is not None,
            frames / 5 + 100.0,
            "end of the bag",
        )
        assert process.wait() == 0, live.log(process)
        assert "begins though" not in live.log(process)
        missed = frames_missed(live)
        runs += [poses[before:]] if missed == missed_before else []
        if len(runs) == 2:
            break
    else:
        pytest.fail(f"of {tries} runs {len(runs)} lost no frame, the others together {missed}")
    return [{convert.to_nanoseconds(m.header.stamp): m for m in run} for run in runs]


def people_in_identical(first: dict[int, Any], second: dict[int, Any]) -> int:
    """Assert that two runs are the same bit for bit; return at how many instants there is someone.

    Messages with NaN are never equal, so numbers are compared.
    """
    from rclpy.serialization import serialize_message

    assert list(first) == list(second)
    people = 0
    for stamp_ns, one in first.items():
        assert serialize_message(one) == serialize_message(second[stamp_ns])
        people += bool(one.poses)
    return people


def assert_same_poses(live: LiveGraph, bag: Path, frames: int, tries: int) -> int:
    """Compute poses twice; return at how many instants there is somebody."""
    first, second = two_runs(live, bag, frames, tries)
    middle = 4  # of the network's window of 9 frames
    stamps = [BEGIN_NS + (k + 1) * PERIOD_NS for k in range(middle, frames - middle)]
    assert list(first) == stamps
    assert all(pose.missing_sources == [] for pose in first.values())
    return people_in_identical(first, second)


def test_raw_samples_twice_give_the_same_poses(live: LiveGraph, adc_bag: Path) -> None:
    """R12: bit for bit, with the stamps of the frames."""
    assert assert_same_poses(live, adc_bag, FRAMES, 8) >= 10


@pytest.mark.slow
def test_a_minute_of_raw_samples_twice_gives_the_same_poses(
    live: LiveGraph, tmp_path: Path
) -> None:
    """R12: of a person who does this and that."""
    bag = write_samples(tmp_path / "minute", 600, "random")
    assert assert_same_poses(live, bag, 600, 4) > 300
    shutil.rmtree(bag)  # 1.9 GB


def test_the_command_plays_into_a_graph(
    adc_bag: Path, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    """`radar-pose up replay` ends with the bag, code 0; what is computed is recorded."""
    lines: list[str] = []
    again = tmp_path / "again"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOG_DIR"):
            patch.setenv(name, ros_environment[name])
        given = {"bag": str(adc_bag), "from_level": "adc", "record": str(again)}
        code = bringup.up("replay", output=lines.append, duration_s=150.0, **given)
    assert code == 0, "\n".join(lines)
    assert any("[replayer] ended with code 0: stopping the graph" in line for line in lines)
    with recording.BagReader(again) as reader:
        poses = [recording.stamp_ns(item.message) for item in reader.messages(["/pose2d"])]
        assert reader.counts["/radar_h/heatmap"] >= 10 and "/radar_h/adc" not in reader.topics
    assert len(poses) >= 10
    assert {(stamp - BEGIN_NS) % PERIOD_NS for stamp in poses} == {0}
