"""Whom to take, by which camera, and when to compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from radar_pose_ros.datasets.simulated_rigs import SimulatedRig
from radar_pose_ros.skeleton.definitions import BODY25B, H36M17
from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import Poses
from radar_pose_ros.vision.frames import placement
from radar_pose_ros.vision.interleaving import Interleaver, Offset

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
    chosen, others = choice.choose(tracked, "h36m17")
    assert chosen is tracked[1] and others == 1
    later = [person(7, 0.99), person(8, 0.1)]
    assert choice.choose(later, "h36m17")[0] is later[1]
    gone = [person(7, 0.2), person(10, 0.3)]
    assert choice.choose(gone, "h36m17")[0] is gone[1]
    assert choice.choose([], "h36m17") == (None, 0)
    # detectors that do not track: always the surest; and those that state no confidence
    unknown = [person(-1, 0.2), person(-1, 0.6)]
    assert choice.choose(unknown, "h36m17")[0] is unknown[1]
    more = [*unknown, person(-1, np.nan)]
    assert choice.choose(more, "h36m17")[0] is unknown[1]


def test_without_ids_the_person_nearest_to_the_last_pose_is_taken() -> None:
    """By the joints that both know; else the surest."""
    from radar_pose_ros.nodes.people import Person
    from radar_pose_ros.nodes.rig import PersonChoice

    def standing(u_px: float, confidence: float, known: slice) -> Person:
        keypoints = np.full((17, 2), np.nan)
        keypoints[known] = [u_px, 300.0]
        return Person(keypoints, np.full(17, confidence), confidence)

    near, far = standing(210.0, 0.2, slice(0, 9)), standing(400.0, 0.9, slice(0, 17))
    expected = np.full((17, 2), np.nan)
    expected[:9] = [200.0, 300.0]
    choice = PersonChoice()
    assert choice.choose([far, near], "h36m17", expected) == (near, 1)
    assert choice.choose([far, near], "h36m17")[0] is far
    expected[:9], expected[9:] = np.nan, [200.0, 300.0]  # of the near one nothing is known there
    assert choice.choose([far, near], "h36m17", expected)[0] is far
    assert choice.choose([far, near], "h36m17", np.full((17, 2), np.nan))[0] is far


def test_two_people_whose_confidences_alternate_are_not_mixed() -> None:
    """Four cameras, two people 1.5 m apart: every pose is of one of them, and of the same one."""
    from radar_pose_ros.nodes.people import Person
    from radar_pose_ros.nodes.rig import LastPose, PersonChoice
    from radar_pose_ros.vision.windows import METHODS

    rig = SimulatedRig(("a", "b", "c", "d"), clip_s=3.0, seed=1, motion="walk")
    one = rig.recording(0)
    apart_m = np.array([0.9, 1.2, 0.0])
    cameras = list(one.cameras)
    stamps, views, _ = one.in_order()
    truth_m = one.joints_at(stamps)

    def errors_m(follow: bool) -> np.ndarray:
        """Return how far each pose's joints are, on the median, from the first person."""
        interleaver, last, choice = Interleaver("abcd", 0.5), LastPose(0.5), PersonChoice()
        found = []
        for number, (stamp_s, view) in enumerate(zip(stamps, views, strict=True)):
            seen = (cameras[view].project(truth_m[number] + k * apart_m) for k in range(2))
            # One is surer in each view's every third shot, but never in all views.
            sure = (0.5, 0.9) if number >= 8 and (number // 4 + view) % 3 == 0 else (0.7, 0.6)
            people = [
                Person(pixels, np.full(17, trust), trust)
                for pixels, trust in zip(seen, sure, strict=True)
            ]
            expected = last.seen_by(cameras[view], stamp_s) if follow else None
            person, others = choice.choose(people, "h36m17", expected)
            assert person is not None and others == 1
            window = interleaver.push(view, stamp_s, person.keypoints, person.joint_confidence)
            assert window is not None
            if len(window.missing) <= 2:
                poses = METHODS["linear"]([window], cameras)
                last.take(poses, 0, cameras)
                away_m = np.linalg.norm(poses.joints_m[0] - truth_m[number], axis=-1)
                found.append(np.nanmedian(away_m))
        return np.array(found)

    assert errors_m(follow=True).max() < 0.1
    assert (errors_m(follow=False) > 0.3).mean() > 0.1


def test_a_pose_that_most_views_do_not_agree_with_is_not_followed() -> None:
    from radar_pose_ros.nodes.rig import LastPose

    joints_m = np.random.default_rng(0).uniform((-0.3, -0.3, 0.0), (0.3, 0.3, 1.7), (17, 3))
    cameras = [
        PinholeCamera.looking_at((x, y, 1.0), (0.0, 0.0, 0.9), 600.0, SIZE_PX)
        for x, y in ((4.0, 0.0), (0.0, 4.0), (-4.0, 0.0), (0.0, -4.0))
    ]

    def poses(*errors_px: float) -> Poses:
        errors = np.broadcast_to(np.array(errors_px)[None, :, None], (1, 4, 17))
        nothing = np.full((1, 17, 3, 3), np.nan)
        return Poses(np.array([5.0]), joints_m[None], nothing, errors, errors < 30)

    last = LastPose(0.5)
    assert last.seen_by(cameras[0], 5.1) is None
    last.take(poses(3, 9, 12, 90), 0, cameras)  # of a person of 250 px
    expected = last.seen_by(cameras[0], 5.4)
    assert expected is not None
    np.testing.assert_allclose(expected, cameras[0].project(joints_m))
    assert last.seen_by(cameras[0], 5.6) is None  # too long ago
    last.take(poses(3, 9, 80, 90), 0, cameras)  # two of four
    assert last.seen_by(cameras[0], 5.1) is None
    last.take(poses(3, 9, np.nan, 90), 0, cameras)  # two of three
    assert last.seen_by(cameras[0], 5.1) is not None
    last.clear()
    assert last.seen_by(cameras[0], 5.1) is None


def test_what_is_said_of_clocks() -> None:
    from radar_pose_ros.nodes.rig import clock_warning

    views = ("a", "b", "c")
    assert clock_warning("b", None, views) == ""
    ahead = clock_warning("b", Offset(1.02, (0, 2)), views)
    assert ahead == "b's stamps are 1.0 s ahead of the others': it is left out"
    late = clock_warning("b", Offset(-0.84, (0, 2)), views)
    assert late == "b's shots are 0.8 s late, or its clock is behind: they are left out"
    two = clock_warning("b", Offset(-2.0, (2,)), views)
    assert two.startswith("b's stamps are 2.0 s behind c's and left out: one of two clocks")
    assert two.endswith("of two views nobody can tell which")


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


def test_views_are_cameras_of_a_calibration_that_spells_them_otherwise(tmp_path: Path) -> None:
    from radar_pose_ros.nodes.rig import read_cameras

    cameras = {
        f"cam_0{number}": PinholeCamera.looking_at((3, number, 1), (0, 0, 1), 600.0, SIZE_PX)
        for number in (1, 2, 3)
    }
    file = tmp_path / "rig.toml"
    calibration_files.write(cameras, file, "pose2sim")
    found = read_cameras(str(file), 1.0, ["cam03", "cam1"])
    assert list(found) == ["cam03", "cam1"]
    np.testing.assert_allclose(found["cam03"].position_m, [3, 3, 1])
    np.testing.assert_allclose(found["cam1"].position_m, [3, 1, 1])
    for views, sentence in (
        (["cam1", "cam4"], "no camera of the name cam4; there are cam_01, cam_02, cam_03"),
        (["cam1", "cam01"], "a camera has two names: cam1 is cam_01, cam01 is cam_01"),
    ):
        with pytest.raises(ValueError, match=f"^{file}: {sentence}$"):
            read_cameras(str(file), 1.0, views)


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

    def push(self, view: int, stamp_s: float, late_s: float = 0.0) -> list[tuple[float, int]]:
        from radar_pose_ros.nodes.rig import Due, ViewMessage

        nothing = np.zeros((17, 2)), np.ones(17)
        window = self._interleaver.push(view, stamp_s, *nothing)
        assert window is not None
        message = ViewMessage(view, round(stamp_s * 1e9), stamp_s + late_s, *nothing, None, "")
        return self.told(self.instants.add(Due(window, message)))

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
        assert stream.instants.belated_s is None
    assert stream.push(0, 9.0) == []  # the others have been silent for too long
    assert stream.told(stream.instants.overdue(9.06)) == [(9.0, 1)]
    assert stream.push(2, 9.0) == [(9.0, 2)]  # better late than never


def test_cameras_that_fire_together_are_computed_together() -> None:
    """From the second instant on; one that fails costs one wait."""
    stream = Stream()
    assert stream.push(0, 1.0) == []  # one view makes no pose
    assert stream.push(1, 1.0) == [(1.0, 2)]  # nothing is known of the third yet
    assert stream.push(2, 1.0, late_s=0.03) == []
    assert stream.instants.belated_s == pytest.approx(0.03)
    for second in (2.0, 3.0):
        assert stream.push(2, second) == [] and stream.push(0, second) == []
        assert stream.push(1, second) == [(second, 3)]
        assert stream.instants.belated_s is None
    assert stream.push(0, 4.0) == [] and stream.push(1, 4.0) == []
    assert stream.instants.overdue(4.04) == []
    assert stream.told(stream.instants.overdue(4.06)) == [(4.0, 2)]  # the third one is silent
    assert stream.push(1, 5.0) == []
    assert stream.push(0, 5.0) == [(5.0, 2)]
    assert stream.push(0, 5.3) == []
    assert stream.push(2, 5.4) == [(5.3, 1)]  # a younger shot ends the wait
    assert stream.told(stream.instants.overdue(5.5)) == [(5.4, 1)]
    assert stream.instants.belated_s is None


def test_what_comes_late_has_no_pose_of_its_own() -> None:
    stream = Stream()
    assert stream.push(2, 0.8) == []
    assert stream.push(0, 1.0, late_s=0.05) == [(0.8, 1), (1.0, 1)]
    assert stream.push(1, 0.9, late_s=0.2) == []
    assert stream.instants.belated_s == pytest.approx(0.15)  # so much more than the one before
    assert stream.push(2, 1.1) == [(1.1, 1)]
    assert stream.instants.belated_s is None
    stream.instants.clear()
    assert stream.push(0, 1.05) == [(1.05, 1)]


def test_views_of_which_more_than_a_quarter_is_late_are_named() -> None:
    from radar_pose_ros.nodes.rig import Belated

    belated = Belated(["a", "b", "c"])
    assert belated.complaint() == ""
    for number in range(40):
        belated.add("a", 0.01 if number % 4 == 0 else None)  # 7 of the last 30
        belated.add("b", 0.5 if number < 10 else 0.001 * number if number % 2 else None)
        belated.add("c", None)
    assert belated.complaint() == (
        "shots that come after the pose of their instant have none of their own: "
        "15 of b's last 30, up to 39 ms late"
    )
    belated.add("a", 0.0)
    assert "own: 8 of a's last 30, up to 10 ms late; 15 of b's" in belated.complaint()
    belated.clear()
    assert belated.complaint() == ""


@pytest.mark.parametrize("ahead_s", [0.1, 0.31])
def test_the_one_view_that_is_ahead_is_named(ahead_s: float) -> None:
    """Four views in turn, each shot there after 10 to 20 ms, and the clock of c is ahead."""
    from radar_pose_ros.nodes.rig import Belated, Due, Instants, ViewMessage

    views = ("a", "b", "c", "d")
    interleaver, instants, belated = Interleaver(views, 0.5), Instants(), Belated(views)
    camera = PinholeCamera((1.0, 1.0), (0.0, 0.0), (1, 1), np.eye(3), np.zeros(3))
    keypoints, sure = np.zeros((17, 2)), np.ones(17)
    for number in range(240):
        view, fired_s = number % 4, 10 + number / 60
        stamp_s = fired_s + ahead_s * (view == 2)
        window = interleaver.push(view, stamp_s, keypoints, sure)
        assert window is not None
        arrived_s = fired_s + 0.01 + 0.005 * (number % 3)
        message = ViewMessage(view, int(stamp_s * 1e9), arrived_s, keypoints, sure, camera, "")
        instants.add(Due(window, message))
        belated.add(views[view], instants.belated_s)
    assert belated.complaint() == (
        f"c is {ahead_s:.2f} s ahead of all others, or its clock is: their shots come after the "
        "pose of their instant and have none of their own"
    )


def test_views_that_are_late_each_by_another_time_are_named_themselves() -> None:
    from radar_pose_ros.nodes.rig import Belated

    belated = Belated(["a", "b", "c"])
    for _ in range(30):
        belated.add("a", 0.1)
        belated.add("b", 0.3)
        belated.add("c", None)
    assert "30 of a's last 30, up to 100 ms late; 30 of b's last 30" in belated.complaint()
    two = Belated(["a", "b"])
    for _ in range(30):
        two.add("a", 0.1)
        two.add("b", None)
    assert two.complaint().endswith("own: 30 of a's last 30, up to 100 ms late")


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
