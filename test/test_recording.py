"""Bags: what is written comes back, whole or after the recorder was killed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radar_pose_ros import recording
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

HEATMAP = "radar_pose_ros/msg/RadarHeatmap"
ADC = "radar_pose_ros/msg/RadarAdcFrame"


def header(nanoseconds: int, frame_id: str):
    time = recording.message_class("builtin_interfaces/msg/Time")
    return recording.message_class("std_msgs/msg/Header")(
        stamp=time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id=frame_id
    )


def adc_frame(index: int, values: np.ndarray, *, frame_id: str = "radar_h_link"):
    return recording.message_class(ADC)(
        header=header(1_700_000_000_123_456_789 + index, frame_id),
        frame_index=index,
        epoch=0,
        loops=1,
        transmitters=1,
        receivers=1,
        samples=values.size // 2,
        data=values,
        chirp_valid=np.array([1], np.uint8),
        bytes_missing=0,
    )


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.integers(-32768, 32767), max_size=200),
    index=st.integers(0, 2**64 - 1),
    received_ns=st.integers(0, 2**63 - 2),
    frame_id=st.text(max_size=20).filter(lambda text: "\0" not in text),
)
def test_any_message_comes_back_as_it_was(tmp_path_factory, values, index, received_ns, frame_id):
    path = tmp_path_factory.mktemp("bags") / "bag"
    data = np.array(values, np.int16)
    sent = adc_frame(0, data, frame_id=frame_id)
    sent.frame_index = index
    with BagWriter(path) as writer:
        writer.write_message("/radar_h/adc", received_ns, sent)
    with BagReader(path) as reader:
        [got] = list(reader.messages())
    assert (got.topic, got.received_ns) == ("/radar_h/adc", received_ns)
    assert got.message.header.frame_id == frame_id
    assert got.message.frame_index == index
    assert got.message.data.dtype == np.int16
    np.testing.assert_array_equal(got.message.data, data)
    assert recording.stamp_ns(got.message) == 1_700_000_000_123_456_789


def test_a_message_with_every_kind_of_field(tmp_path):
    keypoint = recording.message_class("radar_pose_ros/msg/Keypoint3D")
    point = recording.message_class("geometry_msgs/msg/Point")
    pose = recording.message_class("radar_pose_ros/msg/HumanPose3D")
    array = recording.message_class("radar_pose_ros/msg/HumanPose3DArray")
    covariance = np.full(6, np.nan, np.float32)
    message = array(
        header=header(5, "map"),
        skeleton="hupr14",
        model="simulation",
        missing_sources=["radar_v", "ü"],
        poses=[
            pose(
                id=-1,
                confidence=float("nan"),
                root_relative=False,
                keypoints=[
                    keypoint(
                        position=point(x=1.5, y=-2.0, z=0.25 * k),
                        confidence=1.0,
                        covariance=covariance,
                        origin=2,
                    )
                    for k in range(14)
                ],
            )
        ],
    )
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_message("/ground_truth", 7, message)
    with BagReader(tmp_path / "bag") as reader:
        [got] = list(reader.messages(["/ground_truth"]))
    assert got.message.missing_sources == ["radar_v", "ü"]
    [back] = got.message.poses
    assert back.id == -1 and np.isnan(back.confidence)
    assert [k.position.z for k in back.keypoints] == [0.25 * k for k in range(14)]
    assert np.isnan(back.keypoints[3].covariance).all()
    assert back.keypoints[13].origin == 2


def test_a_bag_of_an_older_version_is_read_as_it_was_then(tmp_path, monkeypatch):
    """Before keypoints had an origin: its bytes would be taken for those of the next keypoint."""
    older = tmp_path / "msg"
    shutil.copytree(recording.message_directory(), older)
    path = older / "Keypoint2D.msg"
    path.write_text(re.sub(r".*\borigin .*\n|uint8 [A-Z]+=.*\n", "", path.read_text()))
    recording.type_store.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(recording, "message_directory", lambda: older)
        keypoint = recording.message_class("radar_pose_ros/msg/Keypoint2D")
        points = [keypoint(x=1.0 + k, y=2.0 + k, confidence=0.5) for k in range(14)]
        pose = recording.message_class("radar_pose_ros/msg/HumanPose2D")
        message = recording.message_class("radar_pose_ros/msg/HumanPose2DArray")(
            header=header(5, "camera"),
            skeleton="hupr14",
            model="x",
            image_width=256,
            image_height=256,
            missing_sources=[],
            poses=[pose(id=-1, confidence=0.5, keypoints=points)],
        )
        with BagWriter(tmp_path / "bag") as writer:
            writer.write_message("/pose2d", 7, message)
            writer.write_message("/radar_h/adc", 8, adc_frame(3, np.zeros(4, np.int16)))
    recording.type_store.cache_clear()
    assert "origin" in recording.message_class("radar_pose_ros/msg/Keypoint2D").__annotations__
    with BagReader(tmp_path / "bag") as reader:
        pose, adc = (recorded.message for recorded in reader.messages())
    assert [k.x for k in pose.poses[0].keypoints] == [1.0 + k for k in range(14)]
    assert adc.frame_index == 3


def test_topics_are_selected_and_ordered_by_receive_time(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for k in range(5):
            writer.write_message("/radar_h/adc", 100 - k, adc_frame(k, np.zeros(4, np.int16)))
            writer.write_message("/radar_v/adc", 200 + k, adc_frame(k, np.zeros(4, np.int16)))
    with BagReader(tmp_path / "bag") as reader:
        assert reader.topics == {"/radar_h/adc": ADC, "/radar_v/adc": ADC}
        assert reader.counts == {"/radar_h/adc": 5, "/radar_v/adc": 5}
        got = list(reader.messages(["/radar_h/adc"]))
        assert [g.received_ns for g in got] == [96, 97, 98, 99, 100]
        assert list(reader.messages(["/nowhere"])) == []
        assert len(list(reader.serialized())) == 10


def test_a_killed_recorder_loses_only_what_was_not_flushed(tmp_path):
    """A process that dies after a flush leaves a bag that can be repaired."""
    path = tmp_path / "bag"
    pid = os.fork()
    if pid == 0:  # the recorder: no destructor, no close
        writer = BagWriter(path)
        for k in range(20):
            writer.write_message("/radar_h/adc", k, adc_frame(k, np.full(64, k, np.int16)))
            if k == 14:
                writer.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(RecordingError, match="repair"):
        BagReader(path)
    recording.repair(path)
    with BagReader(path) as reader:
        got = list(reader.messages())
    assert [g.message.frame_index for g in got] == list(range(15))
    assert got[14].message.data[0] == 14


@pytest.mark.parametrize("percent", [1, 30, 50, 90, 99])
def test_a_bag_cut_anywhere_is_repaired(tmp_path, percent):
    """R11: what lies before the cut is read; nothing hangs, nothing is invented."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        for k in range(40):
            writer.write_message("/radar_h/adc", k, adc_frame(k, np.full(256, k, np.int16)))
            writer.flush()
    [file] = path.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * percent // 100])
    (path / "metadata.yaml").unlink()
    if percent == 1:
        assert recording.repair(path) > 0
    else:
        recording.repair(path)
    with BagReader(path) as reader:
        frames = [g.message for g in reader.messages()]
    assert [f.frame_index for f in frames] == list(range(len(frames)))
    assert all((f.data == f.frame_index).all() for f in frames)
    if percent >= 50:
        assert len(frames) >= 10
    assert recording.repair(path) == 0


def test_a_closed_bag_is_not_touched_by_repair(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_message("/radar_h/adc", 1, adc_frame(1, np.zeros(4, np.int16)))
    [file] = (tmp_path / "bag").glob("*.mcap")
    before = file.read_bytes()
    assert recording.repair(tmp_path / "bag") == 0
    assert file.read_bytes() == before


def test_mistakes_get_a_sentence(tmp_path):
    with pytest.raises(RecordingError, match="no such bag"):
        BagReader(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match=r"one \.mcap file"):
        BagReader(tmp_path / "empty")
    with pytest.raises(RecordingError, match="never overwritten"):
        BagWriter(tmp_path / "empty")
    (tmp_path / "text.mcap").write_text("no mcap at all")
    with pytest.raises(RecordingError, match="not an mcap file"):
        recording.repair(tmp_path / "text.mcap")
    with BagWriter(tmp_path / "bag") as writer:
        with pytest.raises(RecordingError, match="not known"):
            writer.add_topic("/x", "nobody_msgs/msg/Thing")
        with pytest.raises(RecordingError, match="add_topic"):
            writer.write("/x", 0, b"\0\1\0\0")
        writer.add_topic("/x", ADC)
        with pytest.raises(RecordingError, match="is recorded as"):
            writer.add_topic("/x", HEATMAP)
        writer.write("/x", 0, b"\0\1\0\0\7")
    with BagReader(tmp_path / "bag") as reader, pytest.raises(RecordingError, match="/x"):
        list(reader.messages())


def test_topic_named_finds_it_in_any_namespace():
    topics = ["/robot/pose2d", "/robot/radar_h/heatmap", "/robot/radar_v/heatmap"]
    assert recording.topic_named(topics, "pose2d") == "/robot/pose2d"
    assert recording.topic_named(topics, "radar_v/heatmap") == "/robot/radar_v/heatmap"
    with pytest.raises(RecordingError, match="found no topic"):
        recording.topic_named(topics, "pose3d")
    with pytest.raises(RecordingError, match="found 2 topics"):
        recording.topic_named(topics, "heatmap")
    topics.append("/robot/refined/pose2d")  # further down: it is not the one that is meant
    assert recording.topic_named(topics, "pose2d") == "/robot/pose2d"
    assert recording.topic_named(topics, "refined/pose2d") == "/robot/refined/pose2d"
    assert recording.topic_named(["/refined/pose2d", "/pose2d"], "pose2d") == "/pose2d"
    with pytest.raises(RecordingError, match="found 3 topics"):
        recording.topic_named([*topics, "/other/pose2d"], "pose2d")


def test_every_message_of_the_package_is_registered():
    names = {path.stem for path in recording.message_directory().glob("*.msg")}
    assert len(names) == 12
    for name in names:
        assert recording.message_class(f"radar_pose_ros/msg/{name}")


def test_type_hashes_equal_those_of_the_generated_messages():
    """The recorded hash is the one that ROS 2 computes, so that players do not object."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    shares = [Path(p) / "share" / "radar_pose_ros" / "msg" for p in prefixes if p]
    share = next((s for s in shares if (s / "RadarAdcFrame.json").exists()), None)
    if share is None:
        pytest.skip("the messages are not built (no RadarAdcFrame.json in AMENT_PREFIX_PATH)")
    for path in share.glob("*.json"):
        for entry in json.loads(path.read_text())["type_hashes"]:
            if entry["type_name"].startswith("radar_pose_ros/"):
                ours = recording.type_store().hash_rihs01(entry["type_name"])
                assert ours == entry["hash_string"], entry["type_name"]
