"""What a recording says of radars, camera and places; and what is wrong with it, in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros.collect.bags import Collected
from radar_pose_ros.collect.rehearsal import OFFSET_S, Rehearsal, camera_of_rehearsal
from radar_pose_ros.imports import messages
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError
from radar_pose_ros.simulation.radar import default_placements
from radar_pose_ros.vision.camera import PinholeCamera


@pytest.fixture(scope="module")
def bag(small_radar, tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "bag"
    Rehearsal(small_radar, 1.0, lost_share=0.3).write(path)
    return path


def copy(source, target, change=lambda topic, message: message, more=()):
    """Copy a bag; messages of which `change` makes None are left out."""
    with BagReader(source) as reader, BagWriter(target) as writer:
        for topic, message in more:
            writer.write_message(topic, reader.begin_ns, message)
        for recorded in reader.messages():
            message = change(recorded.topic, recorded.message)
            if message is not None:
                writer.write_message(recorded.topic, recorded.received_ns, message)


def test_a_recording_comes_back(bag, small_radar):
    with Collected(bag) as collected:
        assert collected.configs[1].waveform == small_radar.waveform
        assert collected.configs[1].commands == small_radar.commands
        assert not collected.placed
        frames = list(collected.frames())
        track = collected.camera_track()
        lens = collected.lens()
        assert collected.clock_s() == pytest.approx(-0.04, abs=1e-6)
    assert [frame.radar for frame in frames].count(0) == 10
    assert 0 < sum(not frame.complete for frame in frames) < 20
    assert track.clock_s == pytest.approx(OFFSET_S - 0.04, abs=1e-6)
    assert track.size_px == (640, 480)
    assert (np.diff(track.stamps_s) > 0).all()
    np.testing.assert_allclose(lens.matrix, camera_of_rehearsal().matrix)


def test_places_are_those_of_the_recording(bag, tmp_path):
    """A rig that stands half a metre higher, and in another frame that it is placed in."""
    places = {
        place.frame_id: PinholeCamera(
            (1, 1), (1, 1), (1, 1), place.rotation.T, np.array(place.position_m) + [0, 0, 0.5]
        )
        for place in default_placements()
    }
    transforms = messages.static_transforms("radar_rig", places, 10**9)
    copy(bag, tmp_path / "placed", more=[("/tf_static", transforms)])
    with Collected(tmp_path / "placed") as collected:
        assert collected.placed
        for found, place in zip(collected.placements, default_placements(), strict=True):
            np.testing.assert_allclose(found.rotation, place.rotation, atol=1e-9)
            np.testing.assert_allclose(
                found.translation_m, np.array(place.position_m) + [0, 0, 0.5]
            )


def test_a_bad_transform_is_left_out_and_named(bag, tmp_path):
    places = {
        place.frame_id: PinholeCamera(
            (1, 1), (1, 1), (1, 1), place.rotation.T, np.array(place.position_m)
        )
        for place in default_placements()
    }
    good = messages.static_transforms("radar_rig", places, 10**9)
    bad = messages.static_transforms("base", {"arm": next(iter(places.values()))}, 10**9)
    turn = bad.transforms[0].transform.rotation
    turn.x = turn.y = turn.z = turn.w = 0.0
    bad.transforms.extend(good.transforms)  # what comes after it in the message counts
    copy(bag, tmp_path / "bad", more=[("/tf", bad), ("/tf", bad)])
    with Collected(tmp_path / "bad") as collected:
        assert collected.placed
        (note,) = collected.notes
    assert note.startswith(f"{tmp_path / 'bad'}: /tf: a transform of 'arm' is not used: want")


def test_a_bag_that_cannot_be_used_is_closed(bag, monkeypatch):
    closed = []
    close = BagReader.close
    monkeypatch.setattr(BagReader, "close", lambda reader: closed.append(close(reader)))
    monkeypatch.setattr(Collected, "_tree", lambda _: pytest.fail("damaged"))
    with pytest.raises(pytest.fail.Exception, match="damaged"):
        Collected(bag)
    assert len(closed) == 1


def test_a_recording_without_keypoints_has_a_camera(bag, tmp_path):
    copy(bag, tmp_path / "none", lambda t, m: None if t.endswith("pose2d") else m)
    with Collected(tmp_path / "none") as collected:
        assert collected.camera_frame() == "camera_optical_frame"
        assert collected.lens().size_px == (640, 480)
    copy(bag, tmp_path / "less", lambda t, m: None if t.startswith("/camera/") else m)
    with Collected(tmp_path / "less") as collected:
        assert collected.camera_frame() == ""


def test_two_people_are_nobody(bag, tmp_path):
    def double(topic, message):
        if topic == "/camera/pose2d":
            message.poses = [*message.poses, *message.poses]
        return message

    copy(bag, tmp_path / "two", double)
    with Collected(tmp_path / "two") as collected:
        track = collected.camera_track()
    assert set(track.people) == {2}
    assert np.isnan(track.keypoints_px).all()


def read_all(path):
    with Collected(path) as collected:
        collected.camera_track()
        collected.lens()
        return list(collected.frames())


def fewer_samples(topic, message):
    if topic.endswith("adc"):
        message.samples -= 2
    return message


def fisheye(topic, message):
    if topic.endswith("info"):
        message.distortion_model, message.d = "equidistant", message.d[:4]
    return message


def binned(topic, message):
    if topic.endswith("info"):
        message.binning_x = 2
    return message


def half_of_the_image(topic, message):
    if topic.endswith("info"):
        message.roi.width, message.roi.height = 640, 240
    return message


def stamped(end, sec, which):
    """Give messages of a topic another stamp: "all", or one in the middle of the recording."""
    usual = 1_700_000_000

    def change(topic, message):
        if topic.endswith(end):
            stamp = message.header.stamp
            if which == "all" or stamp.nanosec // 100_000_000 == 4:
                stamp.sec, stamp.nanosec = usual + sec if sec else 0, 0
        return message

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: None if t == "/radar_v/adc" else m, "radar_v/adc, found no topic"),
        (lambda t, m: None if t.endswith("radar_config") else m, "radar_h/radar_config"),
        (lambda t, m: None if t.endswith("pose2d") else m, "topics of HumanPose2DArray: none"),
        (lambda t, m: None if t.endswith("info") else m, "has no /camera/camera_info: name a"),
        (fewer_samples, "a frame of shape .* but its configuration has"),
        (fisheye, "/camera/camera_info: lens model 'equidistant', known are plumb_bob"),
        (binned, "/camera/camera_info: image with binning or of a part only"),
        (half_of_the_image, "/camera/camera_info: image with binning or of a part only"),
        (stamped("pose2d", 0, "all"), "/camera/pose2d: a message has the stamp 0 s"),
        (stamped("pose2d", 0, "one"), "/camera/pose2d: a message has the stamp 0 s"),
        (stamped("pose2d", 1, "all"), "all .* messages are of one image by their stamps"),
        (stamped("pose2d", 3600, "one"), "pose2d: .* stamps jump by [+]3599[.]. s against"),
        (stamped("radar_v/adc", 0, "one"), "/radar_v/adc: a message has the stamp 0 s"),
        (
            stamped("radar_h/adc", 3600, "one"),
            "/radar_h/adc: .* stamps jump by [+]3599[.]. s against",
        ),
    ],
)
def test_what_is_missing_is_named(bag, tmp_path, change, words):
    copy(bag, tmp_path / "less", change)
    with pytest.raises(RecordingError, match=words):
        read_all(tmp_path / "less")
