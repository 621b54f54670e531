"""Whom to take, by which camera, and when to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from radar_pose_ros.skeleton.definitions import BODY25B, H36M17
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import Poses
from radar_pose_ros.vision.frames import placement
from radar_pose_ros.vision.interleaving import Interleaver

if TYPE_CHECKING:
    from radar_pose_ros.nodes.people import Person
    from radar_pose_ros.nodes.rig import Due, Instants

pytestmark = pytest.mark.ros

SIZE_PX = (640, 480)


def person(number: int, confidence: float, known: bool = True) -> Person:
    from radar_pose_ros.nodes.people import Person

    keypoints = np.full((17, 2), 100.0 + number if known else np.nan)
    return Person(keypoints, np.full(17, 0.5), confidence, number)


def test_the_same_person_is_taken_as_long_as_there() -> None:
    """By id; else the surest one, and who has no joint is nobody."""
    from radar_pose_ros.nodes.rig import PersonChoice

    choice = PersonChoice()
    tracked = [person(7, 0.4), person(8, 0.9), person(9, 1.0, known=False)]
    chosen, others = choice.choose(tracked)
    assert chosen is tracked[1] and others == 1
    later = [person(7, 0.99), person(8, 0.1)]
    assert choice.choose(later)[0] is later[1]
    gone = [person(7, 0.2), person(10, 0.3)]
    assert choice.choose(gone)[0] is gone[1]
    assert choice.choose([]) == (None, 0)
    # detectors that do not track: always the surest; and those that state no confidence
    unknown = [person(-1, 0.2), person(-1, 0.6)]
    assert choice.choose(unknown)[0] is unknown[1]
    assert choice.choose([unknown[0], unknown[1], person(-1, np.nan)])[0] is unknown[1]


def test_other_skeletons_are_converted_with_their_confidence() -> None:
    from radar_pose_ros.nodes.people import Person
    from radar_pose_ros.nodes.rig import joints_of

    keypoints = np.arange(50.0).reshape(25, 2)
    confidence = np.linspace(0.2, 0.9, 25)
    left, right = BODY25B.index("left_hip"), BODY25B.index("right_hip")
    confidence[left] = np.nan  # known, but nothing is stated: counts as sure
    keypoints[BODY25B.index("left_wrist")] = np.nan
    found, trust = joints_of(Person(keypoints, confidence, 0.5), "body25b")
    pelvis = H36M17.index("pelvis")
    np.testing.assert_allclose(found[pelvis], (keypoints[left] + keypoints[right]) / 2)
    assert trust[pelvis] == pytest.approx(confidence[right])  # the least of both
    assert trust[H36M17.index("left_hip")] == 1.0
    wrist = H36M17.index("left_wrist")
    assert np.isnan(found[wrist]).all() and trust[wrist] == 0.0
    nobody, none = joints_of(None, "h36m17")
    assert np.isnan(nobody).all() and not none.any()


# -- cameras ---------------------------------------------------------------------------------


def test_camera_info_and_a_transform_make_a_camera() -> None:
    """With distortion: pixels as the known camera has them."""
    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.rig import ViewCamera

    truth = PinholeCamera.looking_at((3.0, -2.0, 1.5), (0.0, 0.2, 1.0), 600.0, SIZE_PX, 0.1)
    lens = (-0.2, 0.05, 0.001, -0.002, 0.01)
    truth = PinholeCamera(
        (610.0, 590.0), (322.0, 236.0), SIZE_PX, truth.rotation, truth.position_m, lens
    )
    asked = []

    def where(frame: str) -> object:
        from scipy.spatial.transform import Rotation

        asked.append(frame)
        quaternion = Rotation.from_matrix(truth.rotation.T).as_quat()
        return placement(truth.position_m, quaternion)

    view = ViewCamera("left", where)
    with pytest.raises(convert.InvalidMessageError, match="no camera_info on left/camera_info"):
        view.camera("eye", SIZE_PX)
    view.take(convert.camera_to_message(truth, convert.header(1, "eye")))
    found = view.camera("eye", SIZE_PX)
    points = np.random.default_rng(1).uniform((-0.5, -0.5, 0.0), (0.5, 0.5, 2.0), (50, 3))
    np.testing.assert_allclose(found.project(points), truth.project(points), atol=1e-6)
    assert asked == ["eye"] and view.camera("eye", (0, 0)) is found
    with pytest.raises(convert.InvalidMessageError, match="1280 x 480 px instead of 640 x 480 px"):
        view.camera("eye", (1280, 480))
    with pytest.raises(convert.InvalidMessageError, match="'ear', but camera_info is of 'eye'"):
        view.camera("ear", SIZE_PX)


def test_a_camera_that_is_not_calibrated_is_refused() -> None:
    """K all zero says so (CameraInfo.msg); a binned image has other pixels than its K."""
    from sensor_msgs.msg import CameraInfo

    from radar_pose_ros.nodes import convert
    from radar_pose_ros.nodes.rig import ViewCamera

    def nowhere(frame: str) -> object:
        raise ValueError(f"there is no frame {frame!r}")

    view = ViewCamera("left", nowhere)
    good = PinholeCamera.looking_at((3.0, 0.0, 1.0), (0.0, 0.0, 1.0), 600.0, SIZE_PX)
    message = convert.camera_to_message(good, convert.header(1, "eye"))
    view.take(message)
    with pytest.raises(convert.InvalidMessageError, match="there is no frame 'eye'"):
        view.camera("eye", SIZE_PX)
    with pytest.raises(convert.InvalidMessageError, match="K is all zero"):
        view.take(CameraInfo(width=640, height=480))
    with pytest.raises(convert.InvalidMessageError, match="not calibrated: K is all zero"):
        view.camera("eye", SIZE_PX)
    message.binning_x = 2
    with pytest.raises(convert.InvalidMessageError, match="image with binning"):
        view.take(message)
    message.binning_x, message.roi.width, message.roi.height = 1, 320, 480
    with pytest.raises(convert.InvalidMessageError, match="of a part only"):
        view.take(message)


# -- instants --------------------------------------------------------------------------------


class Stream:
    """Pushes shots of three views and says which are computed, as (view, how many are new)."""

    def __init__(self) -> None:
        from radar_pose_ros.nodes.rig import Instants

        self.instants: Instants = Instants()
        self._interleaver = Interleaver(["a", "b", "c"], 0.5)

    def push(self, view: int, stamp_s: float) -> list[tuple[float, int]]:
        from radar_pose_ros.nodes.rig import Due, Shot

        nothing = np.zeros((17, 2)), np.ones(17)
        window = self._interleaver.push(view, stamp_s, *nothing)
        assert window is not None
        shot = Shot(view, round(stamp_s * 1e9), stamp_s, *nothing, None, "")
        return self.told(self.instants.add(Due(window, shot)))

    @staticmethod
    def told(ready: list[Due]) -> list[tuple[float, int]]:
        return [
            (due.window.stamp_s, int((due.window.age_s <= 0.002).sum()))  # NaN is not
            for due in ready
        ]


def test_cameras_in_turn_wait_for_nobody() -> None:
    stream = Stream()
    assert stream.push(0, 0.0) == []  # there is no second view yet
    assert stream.push(1, 0.1) == [(0.0, 1), (0.1, 1)]
    for k in range(2, 9):
        assert stream.push(k % 3, 0.1 * k) == [(0.1 * k, 1)]
    assert stream.instants.belated == 0
    assert stream.push(0, 9.0) == []  # the others have been silent for too long
    assert stream.told(stream.instants.overdue(9.06)) == [(9.0, 1)]
    assert stream.push(2, 9.0) == [(9.0, 2)]  # better late than never


def test_cameras_that_fire_together_are_computed_together() -> None:
    """From the second instant on; one that fails costs one wait."""
    stream = Stream()
    assert stream.push(0, 1.0) == []  # one view makes no pose
    assert stream.push(1, 1.0) == [(1.0, 2)]  # nothing is known of the third yet
    assert stream.push(2, 1.0) == []
    assert stream.instants.belated == 1
    for second in (2.0, 3.0):
        assert stream.push(2, second) == [] and stream.push(0, second) == []
        assert stream.push(1, second) == [(second, 3)]
    assert stream.push(0, 4.0) == [] and stream.push(1, 4.0) == []
    assert stream.instants.overdue(4.04) == []
    assert stream.told(stream.instants.overdue(4.06)) == [(4.0, 2)]  # the third one is silent
    assert stream.push(1, 5.0) == []
    assert stream.push(0, 5.0) == [(5.0, 2)]
    assert stream.push(0, 5.3) == []
    assert stream.push(2, 5.4) == [(5.3, 1)]  # a younger shot ends the wait
    assert stream.told(stream.instants.overdue(5.5)) == [(5.4, 1)]
    assert stream.instants.belated == 1


def test_what_comes_late_has_no_pose_of_its_own() -> None:
    stream = Stream()
    assert stream.push(2, 0.8) == []
    assert stream.push(0, 1.0) == [(0.8, 1), (1.0, 1)]
    assert stream.push(1, 0.9) == []
    assert stream.instants.belated == 1
    assert stream.push(2, 1.1) == [(1.1, 1)]
    stream.instants.clear()
    assert stream.push(0, 1.05) == [(1.05, 1)]


def test_a_pose_says_of_each_joint_what_it_rests_on() -> None:
    """Seen by the view of this instant or a quarter of a second ago, or not known at all."""
    from radar_pose_ros import msg
    from radar_pose_ros.nodes.rig import person_of

    interleaver = Interleaver(["a", "b", "c"], 0.5)
    for view, stamp_s, trust in ((0, 0.75, 0.8), (1, 0.75, 0.4), (2, 1.0, 0.9)):
        window = interleaver.push(view, stamp_s, np.zeros((17, 2)), np.full(17, trust))
    assert window is not None
    used = np.ones((1, 3, 17), bool)
    used[0, 2, 1] = False  # joint 1 rests on the older views only
    joints = np.zeros((1, 17, 3))
    joints[0, 2] = np.nan
    covariance = np.broadcast_to(np.eye(3) * 0.01, (1, 17, 3, 3))
    poses = Poses(np.array([1.0]), joints, covariance, np.zeros((1, 3, 17)), used)
    found = person_of(window, poses, 0)
    assert found is not None
    assert found.joint_confidence[0] == pytest.approx(0.7)
    assert found.joint_confidence[1] == pytest.approx(0.6 / 2)  # half of it is left by then
    assert found.joint_confidence[2] == 0.0 and np.isnan(found.keypoints[2]).all()
    assert found.origin[:2].tolist() == [msg.Keypoint3D.OBSERVED, msg.Keypoint3D.PREDICTED]
    assert found.confidence == pytest.approx(found.joint_confidence.mean())
    joints[:] = np.nan
    assert person_of(window, poses, 0) is None
