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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: None if t == "/radar_v/adc" else m, "radar_v/adc, found no topic"),
        (lambda t, m: None if t.endswith("radar_config") else m, "radar_h/radar_config"),
        (lambda t, m: None if t.endswith("pose2d") else m, "topics of HumanPose2DArray: none"),
        (lambda t, m: None if t.endswith("info") else m, "has no /camera/camera_info: name a"),
        (fewer_samples, "a frame of shape .* but its configuration has"),
    ],
)
def test_what_is_missing_is_named(bag, tmp_path, change, words):
    copy(bag, tmp_path / "less", change)
    with pytest.raises(RecordingError, match=words):
        read_all(tmp_path / "less")
