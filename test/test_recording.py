"""Bags: what is written comes back, whole or after the recorder was killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import Reader

from radar_pose_ros import cli, mcap_index, recording
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

HEATMAP = "radar_pose_ros/msg/RadarHeatmap"
ADC = "radar_pose_ros/msg/RadarAdcFrame"
NOTHING = mcap_index.Repair(cut_bytes=0, damaged_chunks=0, changed=False)


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


def hashes(metadata: Path) -> dict[str, str]:
    """The hash of each topic's type."""
    about = yaml.safe_load(metadata.read_text())[recording._ABOUT]
    topics = [entry["topic_metadata"] for entry in about["topics_with_message_count"]]
    return {topic["name"]: topic["type_description_hash"] for topic in topics}


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
    metadata = tmp_path / "bag" / "metadata.yaml"
    written = hashes(metadata)
    metadata.unlink()
    recording.repair(tmp_path / "bag")
    assert hashes(metadata) == written
    today = recording.type_store().hash_rihs01("radar_pose_ros/msg/HumanPose2DArray")
    assert written["/pose2d"] != today
    assert [k.x for k in pose.poses[0].keypoints] == [1.0 + k for k in range(14)]
    assert adc.frame_index == 3


def test_what_is_no_bag_is_not_repaired(tmp_path):
    with pytest.raises(RecordingError, match="nobag: there is no such bag"):
        recording.repair(tmp_path / "nobag")
    with pytest.raises(RecordingError, match=r"expected one \.mcap file in it, found 0"):
        recording.repair(tmp_path)


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
    done = recording.repair(path)
    assert done.damaged_chunks == 0
    assert percent > 1 or done.cut_bytes > 0
    with BagReader(path) as reader:
        frames = [g.message for g in reader.messages()]
    assert [f.frame_index for f in frames] == list(range(len(frames)))
    assert all((f.data == f.frame_index).all() for f in frames)
    if percent >= 50:
        assert len(frames) >= 10
    assert recording.repair(path) == NOTHING


def cut_bag(path: Path, share: float, topics: int = 3, messages: int = 60) -> int:
    """Write a bag in chunks and cut its file there; return how many messages it had."""
    with BagWriter(path) as writer:
        for k in range(messages):
            topic = f"/radar_{k % topics}/adc"
            received_ns = 10**18 + 1000 * k - 1500 * (k % 2)  # seldom in order: as in real bags
            writer.write_message(topic, received_ns, adc_frame(k, np.full(256, k, np.int16)))
            if k % 7 == 6:
                writer.flush()
    [file] = path.glob("*.mcap")
    (path / "metadata.yaml").unlink()
    whole = file.read_bytes()
    # Where the summary begins stands in the footer.
    summary = int.from_bytes(whole[-28:-20], "little")
    file.write_bytes(whole[: int(summary * share)])
    return messages


@pytest.mark.parametrize("share", [0.05, 0.33, 0.5, 0.71, 0.999])
def test_a_repaired_bag_has_an_index(tmp_path, share):
    """So that it is read in order of time, by others too, whatever the order it was written in."""
    path = tmp_path / "bag"
    total = cut_bag(path, share)
    recording.repair(path)
    with BagReader(path) as ours, Reader(path) as theirs:
        got = list(ours.messages())
        assert theirs.message_count == len(got) == sum(ours.counts.values())
        assert [t for _, t, _ in theirs.messages()] == [item.received_ns for item in got]
        assert theirs.start_time == (ours.begin_ns if got else 2**63 - 1)
    indices = [item.message.frame_index for item in got]
    assert sorted(indices) == list(range(len(got)))  # all from the first on
    assert len(got) >= total * share - 14
    times = [item.received_ns for item in got]
    assert times == sorted(times)
    assert len(got) < 14 or indices != sorted(indices)
    assert all((item.message.data == item.message.frame_index).all() for item in got)


def test_every_place_to_be_killed_at_is_survived(tmp_path):
    """R11: the file is cut after each byte of its last two records, and at 200 other places."""
    cut_bag(tmp_path / "bag", 1.0, messages=20)
    [file] = (tmp_path / "bag").glob("*.mcap")
    whole = file.read_bytes()
    places = {*range(len(whole) - 400, len(whole)), *range(0, len(whole), len(whole) // 200)}
    counts = []
    for place in sorted(places - set(range(8))):
        copy = tmp_path / "copy.mcap"
        copy.write_bytes(whole[:place])
        recording.repair(copy)
        with BagReader(copy) as reader:
            indices = [item.message.frame_index for item in reader.messages()]
        assert sorted(indices) == list(range(len(indices)))
        counts.append(len(indices))
    assert counts == sorted(counts) and counts[-1] == 20


def places_of_chunks(file: Path) -> list[tuple[int, int]]:
    """Where chunks begin and end."""
    with file.open("rb") as stream:
        chunks = mcap_index._scan(stream, file.stat().st_size).chunks
    return [(chunk.begin, chunk.end) for chunk in chunks]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_damaged_chunk_is_left_out(tmp_path, capsys, closed, number):
    """Also the first, in which topics are announced, if the bag was closed."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        writer.describe("source", "a test")
        for k in range(4):
            writer.write_message("/radar_h/adc", k, adc_frame(k, np.full(64, k, np.int16)))
            writer.flush()
    [file] = path.glob("*.mcap")
    _, end = places_of_chunks(file)[number]
    whole = bytearray(file.read_bytes())
    whole[end - 1] ^= 0x10  # a bit of the last message in it
    if not closed:
        (path / "metadata.yaml").unlink()
        whole = whole[: int.from_bytes(whole[-28:-20], "little")]
    file.write_bytes(whole)
    if closed:
        with BagReader(path) as reader, pytest.raises(RecordingError, match="`radar-pose repair`"):
            list(reader.messages())
    assert cli.main(["repair", str(path)]) == 0
    left = [k for k in range(4) if k != number and (number or closed)]
    said = capsys.readouterr().out
    assert f"{path}: {len(left)} messages" in said
    assert f" 0 bytes of an unfinished one were cut off, {4 - len(left)} damaged" in said
    with BagReader(path) as reader, Reader(path) as theirs:
        assert [item.message.frame_index for item in reader.messages()] == left
        assert len(list(theirs.messages())) == theirs.message_count == len(left)
    about = yaml.safe_load((path / "metadata.yaml").read_text())[recording._ABOUT]
    assert about["message_count"] == len(left)
    assert about["custom_data"] == ({"source": "a test"} if closed else None)
    assert recording.repair(path) == NOTHING


@pytest.mark.parametrize("behind", [0, 5, None])
@pytest.mark.parametrize("metadata_too", [False, True])
def test_metadata_of_a_file_that_was_cut_says_what_is_left(tmp_path, behind, metadata_too):
    """A copy that was interrupted, behind a record, within one, or after the file was repaired."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        writer.describe("source", "a test")
        for k in range(10):
            writer.write_message("/radar_h/adc", k, adc_frame(k, np.full(64, k, np.int16)))
            writer.flush()
    [file] = path.glob("*.mcap")
    _, end = places_of_chunks(file)[4]
    file.write_bytes(file.read_bytes()[: end + (behind or 0)])
    metadata = path / "metadata.yaml"
    if metadata_too:
        metadata.write_text(metadata.read_text()[:100])
    if behind is None:
        recording.repair(file)
    done = recording.repair(path)
    assert (done.cut_bytes, done.changed) == (behind or 0, behind is not None)
    about = yaml.safe_load(metadata.read_text())[recording._ABOUT]
    assert about["message_count"] == about["files"][0]["message_count"] == 5
    assert [entry["message_count"] for entry in about["topics_with_message_count"]] == [5]
    assert about["duration"] == {"nanoseconds": 4}
    assert about["custom_data"] == (None if metadata_too else {"source": "a test"})
    with BagReader(path) as ours, Reader(path) as theirs:
        assert sum(ours.counts.values()) == theirs.message_count == 5
        assert len(list(theirs.messages())) == 5
    assert recording.repair(path) == NOTHING


def records(file: Path) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Opcodes and contents of the data and of the summary."""
    whole = file.read_bytes()
    summary = int.from_bytes(whole[-28:-20], "little")
    with file.open("rb") as stream:
        data, told = (
            [
                (opcode, mcap_index._content(stream, begin, end))
                for opcode, begin, end in mcap_index._places(stream, first, last)
            ]
            for first, last in ((8, summary), (summary, len(whole)))
        )
    return data, told


def text(said: str) -> bytes:
    return len(said).to_bytes(4, "little") + said.encode()


def test_a_new_index_says_what_the_file_holds(tmp_path):
    """Metadata, an attachment, and nothing of a chunk that readers are to skip."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        for k in range(4):
            writer.write_message("/radar_h/adc", k, adc_frame(k, np.full(64, k, np.int16)))
            writer.flush()
    [file] = path.glob("*.mcap")
    _, end = places_of_chunks(file)[2]
    whole = bytearray(file.read_bytes())
    whole[end - 1] ^= 0x10
    data = whole[: int.from_bytes(whole[-28:-20], "little") - 13]  # without its end
    times, size = (3).to_bytes(8, "little") + (4).to_bytes(8, "little"), (5).to_bytes(8, "little")
    attached = times + text("a.txt") + text("text/plain") + size + b"hello" + bytes(4)
    begin = len(data)
    data += b"\x09" + len(attached).to_bytes(8, "little") + attached
    file.write_bytes(data)
    assert recording.repair(path).damaged_chunks == 1
    data, summary = records(file)
    opcodes = [opcode for opcode, _ in data]
    assert opcodes.count(mcap_index._MESSAGE_INDEX) == opcodes.count(mcap_index._CHUNK) == 3
    assert opcodes.count(mcap_index._SKIPPED) == 2
    told = {opcode: content for opcode, content in summary}
    place = begin.to_bytes(8, "little") + (9 + len(attached)).to_bytes(8, "little")
    assert told[mcap_index._ATTACHMENT_INDEX] == place + times + size + text("a.txt") + text(
        "text/plain"
    )
    at = int.from_bytes(told[mcap_index._METADATA_INDEX][:8], "little")
    assert file.read_bytes()[at] == mcap_index._METADATA
    assert told[mcap_index._METADATA_INDEX][16:] == text("rosbag2")
    # Messages; schemas, channels; attachments, metadata; chunks.
    counts = struct.unpack_from("<QHIIII", told[mcap_index._STATISTICS])
    assert counts == (3, 1, 1, 1, 1, 3)
    with BagReader(path) as reader:
        assert [item.message.frame_index for item in reader.messages()] == [0, 1, 3]


def test_what_cannot_be_found_is_not_cut_off(tmp_path):
    """Each bit is wrong in turn of where a chunk says what it is, and how long; or at the end.

    Of what comes after it nothing is destroyed.
    """
    path = tmp_path / "bag"
    cut_bag(path, 1.0, messages=20)
    [file] = path.glob("*.mcap")
    recording.repair(file)
    whole = file.read_bytes()
    begin, _ = places_of_chunks(file)[1]
    outcomes = {"refused": 0, "saved": 0}
    for place in (*range(begin, begin + 9), *range(len(whole) - 37, len(whole) - 8)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            try:
                recording.repair(file)
            except RecordingError:
                outcomes["refused"] += 1
                assert file.read_bytes() == changed
                continue
            with BagReader(file) as reader:
                indices = {item.message.frame_index for item in reader.messages()}
            # A chunk that says that it is something else is skipped.
            assert indices | set(range(7, 14)) == set(range(20))
            outcomes["saved"] += 1
    assert outcomes["refused"] >= 64 and outcomes["saved"] >= 8 * 29, outcomes


def test_flipped_bits_never_change_a_message(tmp_path, rng):
    """R11: 100 bags, each with a bit that is wrong: what is read is what was written."""
    path = tmp_path / "bag"
    cut_bag(path, 1.0, messages=20)
    [file] = path.glob("*.mcap")
    recording.repair(file)
    whole = file.read_bytes()
    with BagReader(file) as reader:
        written = set(reader.serialized())
    outcomes = {"read": 0, "refused": 0, "repaired": 0}
    for place in rng.integers(0, 8 * len(whole), 100).tolist():
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        copy = tmp_path / "copy.mcap"
        copy.write_bytes(changed)
        got = []
        try:
            with BagReader(copy) as reader:
                got += reader.serialized()
            outcomes["read"] += 1
        except RecordingError:
            outcomes["refused"] += 1
            with contextlib.suppress(RecordingError):
                recording.repair(copy)
                with BagReader(copy) as reader:
                    got += reader.serialized()
                outcomes["repaired"] += 1
        assert {item[1:] for item in got} <= {item[1:] for item in written}, place
    assert outcomes["refused"] > 50 and outcomes["repaired"] > 50, outcomes


def test_metadata_of_another_version_is_named(tmp_path):
    """R11; the file itself can be read."""
    path = tmp_path / "bag"
    with BagWriter(path) as writer:
        writer.write_message("/radar_h/adc", 1, adc_frame(1, np.zeros(4, np.int16)))
    metadata = path / "metadata.yaml"
    text = metadata.read_text()
    assert "version: 8" in text
    metadata.write_text(text.replace("version: 8", "version: 99"))
    with pytest.raises(RecordingError, match=r"cannot be read: .*99"):
        BagReader(path)
    [file] = path.glob("*.mcap")
    with BagReader(file) as reader:
        assert reader.counts == {"/radar_h/adc": 1}


def test_messages_are_written_in_order_of_time(tmp_path, rng):
    """Others' tools want that; a recorder is handed them by topic, up to 0.2 s late."""
    received_ns = 10**18 + np.arange(200) * 10_000_000
    handed_ns = received_ns + rng.integers(0, recording.HELD_NS, 200)
    with BagWriter(tmp_path / "bag") as writer:
        for k in np.argsort(handed_ns).tolist():
            topic = f"/radar_{k % 3}/adc"
            writer.write_message(
                topic, int(received_ns[k]), adc_frame(k, np.full(4096, k, np.int16))
            )
            if k % 50 == 49:
                writer.flush(int(handed_ns[k]) - recording.HELD_NS)
    [file] = (tmp_path / "bag").glob("*.mcap")
    with file.open("rb") as stream:
        chunks = mcap_index._scan(stream, file.stat().st_size).chunks
    assert len(chunks) > 4
    whole = file.read_bytes()
    placed_ns = [
        mcap_index._of_message(record)[1]
        for chunk in chunks
        for opcode, _, record in mcap_index._records(whole[chunk.end - chunk.bytes : chunk.end])
        if opcode == mcap_index._MESSAGE
    ]
    assert placed_ns == received_ns.tolist()


def test_a_full_disk_ends_the_bag_with_a_sentence(tmp_path):
    """R14: what was written before can be saved."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with BagWriter(tmp_path / "bag") as writer:
                for k in range(100):
                    data = np.full(50_000, k, np.int16)
                    writer.write_message("/radar_h/adc", k, adc_frame(k, data))
                    writer.flush()
        except RecordingError as error:
            (tmp_path / "said").write_text(str(error))
        os._exit(0)
    os.waitpid(pid, 0)
    assert "bag ends here: File too large. `radar-pose repair" in (tmp_path / "said").read_text()
    assert recording.repair(tmp_path / "bag").damaged_chunks == 0
    with BagReader(tmp_path / "bag") as reader:
        frames = [item.message for item in reader.messages()]
    assert [frame.frame_index for frame in frames] == list(range(29))  # of 100 256 bytes each
    assert all((frame.data == frame.frame_index).all() for frame in frames)


def test_an_end_without_an_index_gets_one(tmp_path):
    path = tmp_path / "bag"
    cut_bag(path, 1.0)
    [file] = path.glob("*.mcap")
    end = b"\x0f" + (4).to_bytes(8, "little") + bytes(4)
    footer = b"\x02" + (20).to_bytes(8, "little") + bytes(20) + b"\x89MCAP0\r\n"
    file.write_bytes(file.read_bytes() + end + footer)
    with BagReader(path) as reader, pytest.raises(RecordingError, match="order"):
        list(reader.messages())
    assert recording.repair(path) == mcap_index.Repair(0, 0, changed=True)
    with BagReader(path) as reader:
        assert len(list(reader.messages())) == 60


def test_repair_tells_what_it_saved(tmp_path, capsys):
    path = tmp_path / "bag"
    cut_bag(path, 0.5)
    assert cli.main(["compare", str(path), str(path)]) == cli.USAGE_ERROR
    assert f"`radar-pose repair {path}` saves what was written" in capsys.readouterr().err
    assert cli.main(["repair", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"bag: (28|21|35) messages of 3 topics in 0\.0 s; [1-9]\d* bytes", said), said
    assert cli.main(["repair", str(tmp_path)]) == cli.USAGE_ERROR


@pytest.mark.parametrize("repaired", [False, True])
def test_others_tools_read_our_bags_without_a_warning(tmp_path, repaired):
    """The rosbags library's converter, with warnings as errors, and back again."""
    path = tmp_path / "bag"
    cut_bag(path, 1.0)
    if repaired:
        recording.repair(path)
    else:
        shutil.rmtree(path)
        with BagWriter(path) as writer:
            for k in range(60):
                writer.write_message(f"/r{k % 3}/adc", k, adc_frame(k, np.full(64, k, np.int16)))
    program = "from rosbags.convert.cli import main; main()"
    source, made = str(path), tmp_path / "made"
    command = [sys.executable, "-W", "error", "-c", program, "--src", source, "--dst", str(made)]
    done = subprocess.run(
        [*command, "--dst-storage", "sqlite3"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with BagReader(path) as ours, BagReader(made) as theirs:
        assert theirs.counts == ours.counts and sum(ours.counts.values()) == 60
        assert list(theirs.serialized()) == list(ours.serialized())
        for here, there in zip(ours.details, theirs.details, strict=True):
            assert here == there


def test_a_closed_bag_is_not_touched_by_repair(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_message("/radar_h/adc", 1, adc_frame(1, np.zeros(4, np.int16)))
    [file] = (tmp_path / "bag").glob("*.mcap")
    before = file.read_bytes()
    assert recording.repair(tmp_path / "bag") == NOTHING
    assert file.read_bytes() == before


def test_mistakes_get_a_sentence(tmp_path):
    with pytest.raises(RecordingError, match="no such bag"):
        BagReader(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match=r"one \.mcap file"):
        BagReader(tmp_path / "empty")
    with pytest.raises(RecordingError, match="never overwritten"):
        BagWriter(tmp_path / "empty")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "a.mcap")
    with pytest.raises(RecordingError, match=r"a\.mcap is no file"):
        BagReader(tmp_path / "pipes" / "a.mcap")
    with pytest.raises(RecordingError, match=r"expected one \.mcap file in it, found 0"):
        BagReader(tmp_path / "pipes")
    (tmp_path / "pipes" / "metadata.yaml").write_text("{}")
    with pytest.raises(RecordingError, match=r"a\.mcap is no file"):
        BagReader(tmp_path / "pipes")
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


def test_names_stand_for_topics():
    assert recording.is_named("/radar_h/adc", ["adc"])
    assert recording.is_named("/radar_h/adc", ["/radar_h/adc"])
    assert recording.is_named("/robot/radar_h/adc", ["radar_h/adc"])
    assert not recording.is_named("/radar_h/adc", ["/adc"])
    assert not recording.is_named("/radar_h/madc", ["adc"])
    assert not recording.is_named("/radar_h/adc", [])


# Of each published bag, how many messages of which topics it holds, and whether it says what
# its types are.
PUBLISHED = {
    "mcap_cdr_test": ({"/array_topic": 4, "/test_topic": 3}, True),
    "mcap_convert_b": ({"c_strings": 50, "a_empty": 25}, False),
    "mcap_talker": ({"/topic": 10, "/rosout": 10, "/parameter_events": 0}, True),
    "mcap_wbag": (
        dict(AAA=804, BBB=742, CCC=742, DDD=753, EEE=804, FFF=772, GGG=731, HHH=726),
        True,
    ),
    "sqlite3_cdr_test": ({"/array_topic": 4, "/test_topic": 3}, True),
    "sqlite3_convert_b": ({"c_strings": 50, "a_empty": 25}, False),
    "sqlite3_talker": ({"/topic": 10, "/rosout": 10, "/parameter_events": 0}, True),
}


@pytest.fixture
def published(shared_data):
    folder = shared_data / "rosbag2_format"
    if not folder.is_dir():
        pytest.skip(f"needs rosbag2's own bags in {folder}")
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("error")
def test_bags_of_rosbag2_itself_are_read(name, published):
    """Also those whose metadata.yaml and files disagree on the quality of service."""
    counts, defined = PUBLISHED[name]
    with BagReader(published / name) as reader:
        assert reader.counts == counts
        raw = list(reader.serialized())
        assert len(raw) == sum(counts.values())
        assert [at for _, at, _ in raw] == sorted(at for _, at, _ in raw)
        assert (reader.begin_ns, reader.end_ns) == (raw[0][1], raw[-1][1])
        if defined:
            assert len(list(reader.messages())) == len(raw)
        else:
            with pytest.raises(RecordingError, match="a_empty is of the type test_msgs/msg/Empty"):
                list(reader.messages())
    for file in (*(published / name).glob("*.mcap"), *(published / name).glob("*.db3")):
        with BagReader(file) as reader:
            assert len(list(reader.serialized())) == sum(reader.counts.values())


def test_what_rosbag2_s_bags_say(published):
    """Values known from rosbag2's own tests of these files."""
    for name in ("mcap_talker", "sqlite3_talker"):
        with BagReader(published / name) as reader:
            said = [item.message.data for item in reader.messages(["/topic"])]
            assert said == [f"Hello, world! {k}" for k in range(10)]
            details = {topic.name: topic for topic in reader.details}
        assert details["/rosout"].latched and not details["/parameter_events"].latched
        assert all(topic.reliable and topic.depth == 10 for topic in details.values())
    for name in ("mcap_cdr_test", "sqlite3_cdr_test"):
        with BagReader(published / name) as reader:
            basic = [item.message for item in reader.messages(["/test_topic"])]
            details = {topic.name: topic for topic in reader.details}
        assert [m.int32_value for m in basic] == [1, 2, 3] or len(basic) == 3
        assert (details["/array_topic"].depth, details["/test_topic"].depth) == (4, 3)
    with pytest.raises(RecordingError, match="wrong_format"):
        BagReader(published / "mcap_wrong_rmw_test")
    with pytest.raises(RecordingError, match="written in wrong_format, want cdr"):
        BagReader(published / "mcap_wrong_rmw_test" / "wrong_rmw_test_0.mcap")


def cloud():
    """Points, none."""
    kind, none = recording.message_class("sensor_msgs/msg/PointCloud2"), np.zeros(0, np.uint8)
    return kind(header(1, "r"), 1, 0, [], False, 0, 0, none, True)


def image():
    kind, none = recording.message_class("sensor_msgs/msg/Image"), np.zeros(0, np.uint8)
    return kind(header(1, "camera"), 0, 0, "bgr8", 0, 0, none)


def array_of_poses(kind: str, model: str):
    extra = {"image_width": 0, "image_height": 0} if kind.endswith("2DArray") else {}
    return recording.message_class(kind)(
        header=header(5, "map"),
        skeleton="hupr14",
        model=model,
        missing_sources=[],
        poses=[],
        **extra,
    )


def test_levels_follow_from_what_a_bag_holds(tmp_path):
    flat, space = (f"radar_pose_ros/msg/HumanPose{n}DArray" for n in (2, 3))
    poses = {
        "/r/pose2d": (flat, "net"),
        "/r/better": (flat, "refiner of net"),
        "/r/lifted": (space, "lifter of net"),
        "/r/other": (space, "other"),
        "/truth": (space, "simulation"),
    }
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/r/east/raw", "/r/west/raw"):
            writer.write_message(topic, 1, adc_frame(0, np.zeros(4, np.int16)))
        for topic, (kind, model) in poses.items():
            writer.write_message(topic, 2, array_of_poses(kind, model))
        writer.add_topic("/r/east/map", HEATMAP)
        writer.add_topic("/r/east/setup", "radar_pose_ros/msg/RadarConfig", latched=True)
        writer.add_topic("/r/joints", "radar_pose_ros/msg/SkeletonDefinition", latched=True)
        writer.add_topic("/r/points", "sensor_msgs/msg/PointCloud2")
        writer.add_topic("/odometry", "nav_msgs/msg/Odometry")
    with BagReader(tmp_path / "bag") as reader:
        raw = ["/r/east/raw", "/r/east/setup", "/r/west/raw", "/truth"]
        assert recording.topics_of_level(reader, "adc") == raw
        assert recording.topics_of_level(reader, "pose") == ["/r/joints", "/r/pose2d", "/truth"]
        seen = ["/r/joints", "/r/pose2d"]  # "net" may be a camera's
        assert recording.topics_of_level(reader, "sensor") == sorted([*raw, *seen])
        with pytest.raises(RecordingError, match="heatmap, only of sensor and adc and pose"):
            recording.topics_of_level(reader, "heatmap")
    with BagWriter(tmp_path / "points") as writer:
        writer.write_message("/points", 1, cloud())
        writer.write_message("/pose3d", 2, array_of_poses(space, "points"))
    with BagReader(tmp_path / "points") as reader:
        assert recording.topics_of_level(reader, "adc") == ["/points"]
        assert recording.topics_of_level(reader, "pose") == ["/pose3d"]
        assert recording.topics_of_level(reader, "sensor") == ["/points"]


def test_what_sensors_gave_is_told_from_what_was_made_of_it(tmp_path):
    """Everything that this package publishes, in one bag: a radar with samples, one with points,
    a camera with a detector, a rig of emulated cameras."""
    flat, space = (f"radar_pose_ros/msg/HumanPose{n}DArray" for n in (2, 3))
    measured = {
        "/radar_h/adc": adc_frame(0, np.zeros(4, np.int16)),
        "/board/points": cloud(),
        "/image": image(),
        "/left/pose2d": array_of_poses(flat, "rtmpose@12345678"),
        "/right/pose2d": array_of_poses(flat, "simulation"),
    }
    made = {
        "/radar_h/points": cloud(),
        "/radar_h/heatmap/preview": image(),
        "/overlay": image(),
        "/pose2d": array_of_poses(flat, "millimamba/edge@12345678"),
        "/refined/left/pose2d": array_of_poses(flat, "refiner of rtmpose@12345678"),
        "/pose3d": array_of_poses(space, "densewarper of rtmpose@12345678"),
        "/board/pose3d": array_of_poses(space, "points/points@12345678"),
    }
    truth = {
        "/ground_truth": array_of_poses(space, "recording walk"),
        "/labels/ground_truth": array_of_poses(flat, "by hand"),
        "/person": array_of_poses(space, "simulation"),
    }
    facts = {
        "/left/camera_info": "sensor_msgs/msg/CameraInfo",
        "/radar_h/radar_config": "radar_pose_ros/msg/RadarConfig",
        "/skeleton": "radar_pose_ros/msg/SkeletonDefinition",
        "/tf_static": "tf2_msgs/msg/TFMessage",
    }
    others = {"/robot/odometry": "nav_msgs/msg/Odometry", "/diagnostics": "std_msgs/msg/String"}
    with BagWriter(tmp_path / "bag") as writer:
        for topic, message in {**measured, **made, **truth}.items():
            writer.write_message(topic, 1, message)
        for topic, kind in {**facts, **others}.items():
            writer.add_topic(topic, kind)
        writer.add_topic("/right/image", "sensor_msgs/msg/CompressedImage")  # nothing came
    with BagReader(tmp_path / "bag") as reader:
        chosen = recording.topics_of_level(reader, "sensor")
        assert chosen == sorted([*measured, *facts, *truth])
        # Poses of several cameras are worth something with these only.
        assert {*facts} - {"/radar_h/radar_config"} <= {*recording.topics_of_level(reader, "pose")}
        types = reader.topics
    # What comes is not known yet when it is recorded: points and poses are all taken.
    unknown = {t for t in {**made, **truth} if types[t].endswith(("PointCloud2", "2DArray"))}
    recorded = {t for t, kind in types.items() if recording.is_recorded_for("sensor", t, kind)}
    assert recorded == {*measured, *facts, *unknown, "/right/image"}
    with BagWriter(tmp_path / "made") as writer:
        for topic in ("/overlay", "/pose2d", "/pose3d"):
            writer.write_message(topic, 1, made[topic])
    only_pose = pytest.raises(RecordingError, match="nothing of the level sensor, only of pose")
    with BagReader(tmp_path / "made") as reader, only_pose:
        recording.topics_of_level(reader, "sensor")


def test_a_part_of_a_bag_is_read(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for k in range(10):
            writer.write_message("/radar_h/adc", 100 * k, adc_frame(k, np.zeros(4, np.int16)))
    with BagReader(tmp_path / "bag") as reader:
        assert (reader.begin_ns, reader.end_ns) == (0, 900)
        assert [at for _, at, _ in reader.serialized(None, 200, 500)] == [200, 300, 400]


def test_every_message_of_the_package_is_registered():
    names = {path.stem for path in recording.message_directory().glob("*.msg")}
    assert len(names) == 13
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


def bag_of_one_chunk(path: Path, compression: str, packed: bytes, stated: int) -> None:
    """Write a file with one chunk, of which it states some size, and without an index."""
    kind = compression.encode()
    head = struct.pack("<QQQII", 0, 1, stated, 0, len(kind)) + kind
    content = head + struct.pack("<Q", len(packed)) + packed
    with path.open("wb") as stream:
        stream.write(mcap_index.MAGIC)
        mcap_index._write(stream, mcap_index._HEADER, struct.pack("<I4sI", 4, b"ros2", 0))
        mcap_index._write(stream, mcap_index._CHUNK, content)


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_a_chunk_is_not_larger_than_it_may_be(tmp_path, monkeypatch, kind):
    """A small chunk can stand for very much: more than stated, or than allowed, is damage."""
    library = sys.modules["rosbags.rosbag2.storage_mcap"]
    pack = sys.modules["lz4.frame"].compress if kind == "lz4" else library.zstd.compress
    file, packed = tmp_path / "a.mcap", pack(bytes(1 << 26))
    with monkeypatch.context() as changed:
        # records of the kind 0 and of no length
        changed.setattr(mcap_index, "LARGEST_CHUNK_BYTES", 9000)
        for stated, damaged in ((9000, 0), (9009, 1)):
            bag_of_one_chunk(file, kind, pack(bytes(stated)), stated)
            assert recording.repair(file).damaged_chunks == damaged
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bag_of_one_chunk(file, kind, packed, 64)
    assert recording.repair(file).damaged_chunks == 1
    bag_of_one_chunk(file, kind, packed[:-20], 1 << 26)
    assert recording.repair(file).damaged_chunks == 1
    bag_of_one_chunk(file, kind, packed, 1 << 40)
    assert recording.repair(file).damaged_chunks == 1
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 3 << 16  # what the cut one has, and no more


@pytest.mark.parametrize(
    ("name", "definition", "known"),
    [
        ("mine/msg/Word", "string data\n", ["mine/msg/Word"]),
        ("1ine/msg/Word", "string data\n", []),
        ("mine//msg//1", "string data\n", []),
        ("mine/msg/Word", "string data\n" * 30_000, []),
        ("mine/msg/Word", "uint64 A=" + "9" * 5000 + "\n", []),
    ],
)
def test_types_whose_names_are_none_make_no_program(name, definition, known):
    """The library makes Python of a bag's types: of names that are none nothing is made."""
    said = MessageDefinition(MessageDefinitionFormat.MSG, definition)
    connection = SimpleNamespace(msgdef=said, msgtype=name)
    assert [*recording._recorded_types(connection)] == known
    assert (name in recording._store_of(connection).types) == bool(known)
