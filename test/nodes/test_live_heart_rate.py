"""Heart rates of videos, live: a file is played, its faces are measured; and what is refused."""

from __future__ import annotations

import array
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from radar_pose_ros import bringup
from radar_pose_ros.simulation.faces import SimulatedFaceVideo, draw_scene, write_video

if TYPE_CHECKING:
    from conftest import LiveGraph

pytestmark = pytest.mark.ros

FILE_BEGIN_NS = 10**9  # that a file's first image has with `stamps` file
PLAIN: dict[str, Any] = {  # a face in good light, as the camera sees it
    **{"motion": "still", "light": "bright", "drift": 0.0, "flicker": 0.0, "pumping": 0.0},
    **{"jpeg_quality": None, "dropped": 0.0, "jitter_s": 0.0, "stamp_error_s": 0.0, "tone": 2},
}


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def values(live: LiveGraph, node: str) -> dict[str, str]:
    status = live.diagnostics().get(node)
    return {v.key: v.value for v in status.values} if status else {}


def said(live: LiveGraph, node: str) -> str:
    status = live.diagnostics().get(node)
    return status.message if status else ""


def image_message(image: np.ndarray, at_ns: int, frame: str = "eye", **about: Any) -> Any:
    from sensor_msgs.msg import Image

    from radar_pose_ros.nodes import convert

    fields = {"encoding": "bgr8", "height": image.shape[0], "width": image.shape[1]}
    fields |= {"step": image.shape[1] * 3, "data": array.array("B", image.tobytes())} | about
    return Image(header=convert.header(at_ns, frame), **fields)


def test_live_two_faces_of_a_file(live: LiveGraph, tmp_path: Path) -> None:
    """The graph's own nodes: two rates, two waves, and what happens where a file ends."""
    from rclpy.qos import QoSProfile

    from radar_pose_ros import msg

    scene = draw_scene(
        np.random.default_rng(5),
        **{"faces": 2, "rate_hz": 25.0, "duration_s": 13.2, "width_px": 320, "face_px": 90.0},
        **PLAIN,
    )
    video = SimulatedFaceVideo(scene)
    path = tmp_path / "two.avi"
    write_video(scene, path, "FFV1")
    for node in bringup.graph("heart_rate").nodes({"source": str(path), "method": "pos"}):
        stamps = {"stamps": "file"} if node.executable == "camera_source" else {}
        live.start(node.executable, node.namespace, **node.parameters, **stamps)
    rates = live.collect(msg.HeartRate, "/heart_rate", QoSProfile(depth=100))
    waves = live.collect(msg.PulseWave, "/pulse_wave", QoSProfile(depth=100))
    end = f"{path} has ended after 13.2 s"
    live.wait(lambda: end in said(live, "camera_source"), 90.0, "end of the file")
    live.wait(lambda: "image silent for" in said(live, "rppg"), what="word of no images")

    states = [m.state for m in rates if m.face_id == 0]  # the first may come before we listen
    assert set(states[: states.index(msg.HeartRate.OK)]) == {msg.HeartRate.WARMING_UP}
    assert all(np.isfinite(m.heart_rate_bpm) == (m.state == msg.HeartRate.OK) for m in rates)
    good = [m for m in rates if m.state == msg.HeartRate.OK]
    assert {m.face_id for m in good} == {0, 1} and len(good) >= 4
    truths = set()
    for message in good:
        assert (message.method, message.header.frame_id) == ("pos", "camera_optical_frame")
        length_s = message.window.sec + message.window.nanosec / 1e9
        middle_s = (stamp_ns(message) - FILE_BEGIN_NS) / 1e9
        times_s = middle_s + np.linspace(-0.5, 0.5, 100) * length_s
        of_faces = [video.heart_rate_bpm(times_s, face).mean() for face in range(video.faces)]
        near = np.abs(np.array(of_faces) - message.heart_rate_bpm)
        assert near.min() < 2.0, f"{message.heart_rate_bpm} of {of_faces}"
        truths.add((message.face_id, int(near.argmin())))
    assert len(truths) == 2 and {truth for _, truth in truths} == {0, 1}  # an id is one face

    for face, truth in truths:
        pieces = [m for m in waves if m.face_id == face]
        for before, after in itertools.pairwise(pieces):
            expected_ns = stamp_ns(before) + len(before.samples) * 1e9 / before.sample_rate_hz
            assert abs(stamp_ns(after) - expected_ns) <= 2
        begin_s = (stamp_ns(pieces[0]) - FILE_BEGIN_NS) / 1e9
        wave = np.concatenate([m.samples for m in pieces])
        times_s = begin_s + np.arange(len(wave)) / pieces[0].sample_rate_hz
        assert 11.0 < times_s[-1] < 12.3  # of 13.2 s the last one has not settled
        assert np.corrcoef(wave, video.pulse(times_s, truth))[0, 1] > 0.7

    shown = values(live, "rppg")
    assert (shown["faces"], shown["method"]) == ("2", "pos")
    assert float(shown["frame_ms"]) > 0 and float(shown["reading_ms"]) > 0
    played = int(values(live, "camera_source")["image total"])
    assert played == len(video.times_s)
    lost = sum(int(n) for name, n in shown.items() if name.startswith("dropped: "))
    assert int(shown["image total"]) <= played and lost < 0.2 * played

    # from the beginning: the time goes back
    count = len(rates)
    for transition in ("deactivate", "activate"):
        assert live.change("camera_source", transition)
    live.wait(lambda: len(rates) > count, what="a reading of the second time")
    assert rates[count].state == msg.HeartRate.WARMING_UP
    assert stamp_ns(rates[count]) < FILE_BEGIN_NS + 3 * 10**9
    live.wait(lambda: "begun anew" in said(live, "rppg"), what="word of the new beginning")
    assert values(live, "rppg")["beginnings anew"] == "1"


def test_live_images_that_show_nobody(live: LiveGraph, tmp_path: Path) -> None:
    """An empty room, images that are late, of another size, or none; a method without weights."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image, RegionOfInterest

    from radar_pose_ros import msg

    live.environment["RADAR_POSE_WEIGHTS"] = str(tmp_path)
    (tmp_path / "manifest.json").write_text('{"weights": []}')
    live.start("rppg", "left", input_timeout_s=60.0)
    rates = live.collect(msg.HeartRate, "/left/heart_rate", QoSProfile(depth=100))
    images = live.node.create_publisher(Image, "/left/image", QoSProfile(depth=50))
    live.wait(images.get_subscription_count, 60.0, "a subscriber")
    time.sleep(0.5)
    scene = draw_scene(np.random.default_rng(1), kind="empty", duration_s=0.1, **PLAIN)
    (_, room), *_ = SimulatedFaceVideo(scene).frames()
    start_ns, sent = time.time_ns(), 0

    def send(at_s: float, image: np.ndarray = room, **about: Any) -> None:
        nonlocal sent
        sent += 1
        images.publish(image_message(image, start_ns + round(at_s * 1e9), **about))
        time.sleep(0.02)

    for k in range(65):
        send(k / 20)
    live.wait(lambda: len(rates) >= 3, what="readings")
    for message in rates:
        assert (message.face_id, message.state) == (-1, msg.HeartRate.NO_FACE)
        assert np.isnan([message.heart_rate_bpm, message.signal_quality]).all()
        assert message.method == "combined"  # and not the network that was asked for
    node = "left/rppg"
    live.wait(lambda: values(live, node).get("faces") == "0", what="diagnostics")
    assert values(live, node)["readings"].startswith("no face for ")
    assert "combined, for there are no weights of physmamba: there are no" in said(live, node)

    send(3.0)
    send(3.3, width=0)
    send(3.3, encoding="yuv422")
    send(3.3, room[:200])
    reasons = (
        "image not after the last one",
        "image of impossible size",
        "image encoding not known",
    )
    refused = [f"dropped: image: {reason}" for reason in reasons]
    live.wait(lambda: values(live, node).get("beginnings anew") == "1", what="a new beginning")
    live.wait(lambda: all(values(live, node).get(name) == "1" for name in refused))
    assert "images of 240 x 240 of 'eye' became 240 x 200 of 'eye'" in live.printed()

    # somebody else finds the faces
    for transition in ("deactivate", "cleanup"):
        assert live.change(node, transition)
    assert live.set(node, "region", "topic")[0]
    for transition in ("configure", "activate"):
        assert live.change(node, transition)
    regions = live.node.create_publisher(RegionOfInterest, "/left/region", QoSProfile(depth=5))
    live.wait(regions.get_subscription_count, what="a subscriber of regions")
    live.wait(images.get_subscription_count, what="a subscriber of images")
    time.sleep(0.5)
    count = len(rates)
    for k in range(26):
        regions.publish(RegionOfInterest(x_offset=60, y_offset=60, width=90, height=90))
        send(10 + k / 20)
    live.wait(lambda: len(rates) > count, what="a reading of the region")
    assert (rates[count].face_id, rates[count].state) == (0, msg.HeartRate.WARMING_UP)


def test_live_folder_of_images_that_never_ends(live: LiveGraph, tmp_path: Path) -> None:
    """Even stamps from now on over the end of each round; then a file that breaks off."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage

    from radar_pose_ros.nodes.images import message_to_bgr

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), 30 * number, np.uint8))
    file = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(40):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    content = file.read_bytes()
    file.write_bytes(content[: int(0.6 * len(content))])

    process = live.start(
        "camera_source",
        **{"source": str(folder), "frame_rate_hz": 20.0, "at_end": "loop", "rate": 2.0},
        **{"transport": "compressed", "frame_id": "eye"},
    )
    waiting = "nobody reads /image/compressed yet"
    live.wait(lambda: waiting in said(live, "camera_source"), 60.0, "word of waiting")
    before_ns = time.time_ns()
    images = live.collect(CompressedImage, "/image/compressed", QoSProfile(depth=50))
    live.wait(lambda: len(images) >= 20, what="three rounds")
    after_ns = time.time_ns()
    numbers = [round(message_to_bgr(m).mean() / 30) for m in images[:20]]
    assert numbers == [k % 8 for k in range(20)]
    stamps_ns = np.array([stamp_ns(m) for m in images[:20]])
    np.testing.assert_allclose(np.diff(stamps_ns), 5e7, atol=2)
    assert before_ns < stamps_ns[0] < after_ns
    # twice as fast as it was taken
    assert after_ns - stamps_ns[0] > 0.8 * (stamps_ns[19] - stamps_ns[0]) / 2
    assert images[0].header.frame_id == "eye"

    for transition in ("deactivate", "cleanup"):
        assert live.change("camera_source", transition)
    assert live.set("camera_source", "source", str(file))[0]
    assert live.set("camera_source", "frame_rate_hz", 0.0)[0]
    assert live.set("camera_source", "at_end", "stop")[0]
    for transition in ("configure", "activate"):
        assert live.change("camera_source", transition)
    live.wait(lambda: f"{file} has ended" in said(live, "camera_source"), what="the end")
    assert f"{file}: it breaks off: " in said(live, "camera_source")
    assert live.interrupt(process) == 0
