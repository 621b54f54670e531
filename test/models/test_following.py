"""Where a live detector looks: boxes and lost people whose numbers are on paper."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.models import detectors
from radar_pose_ros.models.detectors import KeypointDetector, Settings, box_around
from radar_pose_ros.models.following import Follower

JOINTS = 14
WHOLE = [-0.5, -0.5, 99.5, 79.5]  # of an image 100 wide and 80 high
IMAGE = np.zeros((80, 100, 3), np.uint8)


class Answering(KeypointDetector):
    """Finds what it is told, wherever it looks."""

    def __init__(self, **settings: object) -> None:
        super().__init__(lambda images: [], Settings("hupr14", (64, 64), **settings))
        self.pixels = np.tile((40.0, 30.0), (JOINTS, 1))
        self.pixels[0] = (30.0, 20.0)
        self.pixels[1] = (50.0, 60.0)
        self.score = np.full(JOINTS, 0.9)
        self.boxes: list[np.ndarray] = []

    def look(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.boxes.append(box)
        return self.pixels, self.score


def test_the_box_has_the_margin_on_both_sides() -> None:
    points = np.array([[30.0, 20.0], [50.0, 60.0], [40.0, 30.0]])
    # its middle (40, 40), 20 wide and 40 high: 1.25 times that are 25 and 50
    assert_close(box_around(points, 1.25), [27.5, 15.0, 52.5, 65.0])
    assert_close(box_around(points[:1], 1.25), [22.0, 12.0, 38.0, 28.0])  # 16 at least


def test_the_whole_image_first_and_then_the_box() -> None:
    follower = Follower(Answering(box="follow", margin=1.5))
    boxes = []
    for _ in range(3):
        pixels, confidence = follower(IMAGE)
        boxes.append(follower.box)
    assert_close(np.array(boxes), [WHOLE, [25, 10, 55, 70], [25, 10, 55, 70]])
    assert_close(pixels, follower.detector.pixels)
    assert_close(confidence, np.full(JOINTS, 0.9))


def test_a_live_detector_looks_where_one_of_a_video_does() -> None:
    live, offline = Answering(box="follow"), Answering(box="follow")
    follower = Follower(live)
    for _ in range(3):
        follower(IMAGE)
    offline([IMAGE] * 3)
    assert_close(np.array(live.boxes), np.array(offline.boxes))


def test_joints_that_are_not_sure_are_not_known_and_not_followed() -> None:
    detector = Answering(box="follow")
    follower = Follower(detector, least_confidence=0.5)
    detector.score[0] = 0.49
    detector.score[1] = 0.5
    pixels, confidence = follower(IMAGE)
    assert np.isnan(pixels[0]).all() and np.isfinite(pixels[1:]).all()
    assert_close(confidence[:3], [0.49, 0.5, 0.9])
    follower(IMAGE)
    # without the first one: the middle (45, 45), 10 wide, made 16, and 30 high, made 37.5
    assert_close(follower.box, [37.0, 26.25, 53.0, 63.75])


@pytest.mark.parametrize(("unsure", "lost"), [(7, False), (8, True)])
def test_with_more_than_half_of_the_joints_the_person_is_lost(unsure: int, lost: bool) -> None:
    detector = Answering(box="follow")
    follower = Follower(detector, least_confidence=0.5)
    follower(IMAGE)
    detector.score[:unsure] = 0.1
    pixels, _ = follower(IMAGE)  # looked at closely still
    assert follower.box[0] > 0 and np.isnan(pixels).all(-1).sum() == unsure
    follower(IMAGE)
    assert np.array_equal(follower.box, WHOLE) is lost
    detector.score[:] = 0.9
    follower(IMAGE)
    follower(IMAGE)
    assert follower.box[0] > 0  # found again


def test_every_so_often_the_whole_image() -> None:
    follower = Follower(Answering(box="follow"), whole_every=3)
    whole = []
    for _ in range(7):
        follower(IMAGE)
        whole.append(np.array_equal(follower.box, WHOLE))
    assert whole == [True, False, False, True, False, False, True]


def test_images_of_another_size_are_looked_at_as_a_whole() -> None:
    follower = Follower(Answering(box="follow"), whole_every=0)
    for _ in range(3):
        follower(IMAGE)
    assert follower.box[0] > 0
    follower(np.zeros((40, 50, 3), np.uint8))
    assert_close(follower.box, [-0.5, -0.5, 49.5, 39.5])


def test_a_detector_that_wants_no_box_sees_whole_images() -> None:
    follower = Follower(Answering())
    for _ in range(3):
        follower(IMAGE)
        assert_close(follower.box, WHOLE)


def test_a_detector_is_called_like_its_file(tmp_path) -> None:
    """SHA-256 of "abc": FIPS 180-2, appendix B.1."""
    path = tmp_path / "rtm.pose.onnx"
    path.write_bytes(b"abc")
    assert detectors.name_of(path) == "rtm.pose@ba7816bf"
