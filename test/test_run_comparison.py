"""Two runs side by side: what is made different between two bags is what is told."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from radar_pose_ros import bag_contents, cli, recording, run_comparison
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

BEGIN_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


def header(stamp_ns: int, frame_id: str):
    time = recording.message_class("builtin_interfaces/msg/Time")
    return recording.message_class("std_msgs/msg/Header")(
        stamp=time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id
    )


def flat(stamp_ns: int, people: np.ndarray, *, confidence=0.5, model="net", skeleton="hupr14"):
    """A message of poses (people, joints, 2) in px."""
    keypoint = recording.message_class("radar_pose_ros/msg/Keypoint2D")
    pose = recording.message_class("radar_pose_ros/msg/HumanPose2D")
    poses = [
        pose(
            id=-1,
            confidence=confidence,
            keypoints=[keypoint(x=x, y=y, confidence=confidence, origin=0) for x, y in person],
        )
        for person in people.astype(float).tolist()
    ]
    return recording.message_class("radar_pose_ros/msg/HumanPose2DArray")(
        header=header(stamp_ns, "camera"),
        skeleton=skeleton,
        model=model,
        image_width=256,
        image_height=256,
        missing_sources=[],
        poses=poses,
    )


def write(path, messages, *, late_ns=50_000_000):
    """Write {topic: messages}, each received that much after its stamp."""
    with BagWriter(path) as bag:
        for topic, some in messages.items():
            for message in some:
                bag.write_message(topic, recording.stamp_ns(message) + late_ns, message)
    return path


def stamps(count: int) -> list[int]:
    return [BEGIN_NS + k * PERIOD_NS for k in range(count)]


@pytest.fixture
def walk(rng):
    """Poses of one person, float32 as they are on the wire."""
    return rng.uniform(20, 200, (20, 1, 14, 2)).astype(np.float32)


def test_a_run_equals_itself(tmp_path, walk, capsys):
    messages = [flat(s, people) for s, people in zip(stamps(20), walk, strict=True)]
    a = write(tmp_path / "a", {"/pose2d": messages})
    b = write(tmp_path / "b", {"/pose2d": messages}, late_ns=10**15)  # replayed days later
    [topic] = run_comparison.compare(a, b).topics
    assert (topic.matched, topic.identical, topic.mean_distance) == (20, 20, 0.0)
    first, second = topic.runs
    assert first.rate_hz == pytest.approx(10.0)
    assert first.age_ms == pytest.approx((50.0, 50.0))
    assert all(math.isnan(age) for age in second.age_ms)  # by another clock
    assert cli.main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "20 instants in both, all of them identical" in said
    assert "age p50 50 ms, p95 50 ms" in said and "age not known" in said
    assert "all joints" not in said


def test_what_differs_is_told_by_joint(tmp_path, walk, capsys):
    """Every second instant, the neck is 3 px to the right and 4 px down; two are missing."""
    neck = 6
    moved = walk.copy()
    moved[::2, 0, neck] += (3.0, 4.0)
    expected_px = float(np.linalg.norm(moved[4, 0, neck] - walk[4, 0, neck]))
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(20), walk)})
    pairs = [*zip(stamps(20), moved, strict=True)]
    del pairs[0], pairs[9]
    b = write(tmp_path / "b", {"/pose2d": [flat(s, p, model="other") for s, p in pairs]})
    out, file = tmp_path / "out", tmp_path / "c.json"
    assert cli.main(["compare", str(a), str(b), "--out", str(out), "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert "18 instants in both, 10 of them identical\n" in said
    assert "by net\n" in said and "by other\n" in said
    assert expected_px == pytest.approx(5.0, abs=1e-4)
    [line] = [line for line in said.splitlines() if line.strip().startswith("neck")]
    assert line.split() == ["neck", "2.22", "5"]  # 8 of 18
    rows = {row["id"]: row["value"] for row in json.loads(file.read_text())["results"]}
    assert rows["compare.pose2d.matched"] == 18
    assert rows["compare.pose2d.identical_share"] == pytest.approx(10 / 18)
    assert rows["compare.pose2d.joint.neck"] == pytest.approx(5 * 8 / 18, abs=1e-4)
    assert rows["compare.pose2d.mean_distance"] == pytest.approx(5 * 8 / 18 / 14, abs=1e-5)
    assert rows["compare.pose2d.joint.head"] == 0.0
    assert (rows["compare.pose2d.a.poses"], rows["compare.pose2d.b.poses"]) == (20, 18)
    picture = np.asarray(Image.open(out / "compare.png"))
    assert picture.shape[1] == 1100
    orange = (np.abs(picture.astype(int) - (0xE6, 0x9F, 0x00)).max(axis=-1) < 8).sum()
    assert orange > 100  # a bar, of the neck


def test_confidences_count_as_differences(tmp_path, walk):
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(20), walk)})
    changed = [flat(s, p, confidence=0.25) for s, p in zip(stamps(20), walk, strict=True)]
    [topic] = run_comparison.compare(a, write(tmp_path / "b", {"/pose2d": changed})).topics
    assert (topic.identical, topic.mean_distance) == (0, 0.0)


def test_what_does_not_count_is_told(tmp_path, walk, capsys):
    """Poses of another skeleton or with other joints, and those that a loop brought again."""
    messages = [*map(flat, stamps(20), walk)]
    a = write(tmp_path / "a", {"/pose2d": messages})
    other = [flat(s, p, skeleton="coco17") for s, p in zip(stamps(3), walk, strict=False)]
    fewer = [flat(s + 1, p[:, :10]) for s, p in zip(stamps(2), walk, strict=False)]
    b = write(tmp_path / "b", {"/pose2d": [*messages, *messages[:4], *other, *fewer]})
    [topic] = run_comparison.compare(a, b).topics
    assert (topic.runs[0].left_out, topic.runs[0].repeated) == (0, 0)
    assert (topic.runs[1].left_out, topic.runs[1].repeated) == (5, 4)
    assert (topic.matched, topic.identical) == (20, 20)
    assert cli.main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "5 more of another skeleton are left out" in said
    assert "4 more with a stamp that comes again later" in said


@pytest.mark.filterwarnings("error")
def test_a_message_with_two_kinds_of_people_is_no_traceback(tmp_path, walk):
    mixed = flat(BEGIN_NS, walk[0])
    mixed.poses += flat(BEGIN_NS, walk[1][:, :10]).poses
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(20), walk)})
    with pytest.raises(RecordingError, match=r"/pose2d in .*/b holds people of different joints"):
        run_comparison.compare(a, write(tmp_path / "b", {"/pose2d": [mixed]}))


def test_the_age_of_what_is_stored_at_its_own_stamp_is_not_known(tmp_path, walk):
    """As imports are; to `compare` and to `evaluate` alike."""
    for late_ns, age_ms in ((0, math.nan), (50_000_000, 50.0), (-1, math.nan)):
        messages = {"/pose2d": map(flat, stamps(20), walk)}
        path = write(tmp_path / str(late_ns), messages, late_ns=late_ns)
        [topic] = run_comparison.compare(path, path).topics
        with BagReader(path) as reader:
            poses = bag_contents.read_poses(reader, "/pose2d")
        for told in (*topic.runs, poses):
            assert told.age_ms == pytest.approx((age_ms, age_ms), nan_ok=True)


def test_joints_are_those_of_the_first_people_who_agree(tmp_path, walk):
    """To `compare` and to `evaluate` alike, whoever comes before them."""
    at = stamps(20)
    mixed = flat(at[1], walk[1])
    mixed.poses += flat(at[1], walk[1][:, :10]).poses
    first = [
        flat(at[0], walk[0][:0]),  # nobody
        mixed,
        flat(at[2], walk[2][:, :10], skeleton="coco17"),
        flat(at[3], walk[3][:, :0]),  # somebody without joints
    ]
    path = write(tmp_path / "a", {"/pose2d": [*first, *map(flat, at[4:], walk[4:])]})
    [topic] = run_comparison.compare(path, path).topics
    with BagReader(path) as reader:
        poses = bag_contents.read_poses(reader, "/pose2d")
    assert [run.left_out for run in topic.runs] == [3, 3] and poses.left_out == 3
    assert topic.matched == len(poses.people) == 17
    assert len(topic.joints) == 14
    assert [people.shape for people in poses.people] == [(0, 14, 2), *[(1, 14, 2)] * 16]


def test_people_are_matched_whatever_their_order(tmp_path, rng):
    two = rng.uniform(0, 100, (10, 2, 14, 2)).astype(np.float32)
    two[:, 1] += 500
    swapped = two[:, ::-1].copy()
    swapped[3] = np.nan
    one_less = [*map(flat, stamps(10), swapped)]
    one_less[5] = flat(stamps(10)[5], swapped[5][:1])
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(10), two)})
    [topic] = run_comparison.compare(a, write(tmp_path / "b", {"/pose2d": one_less})).topics
    assert topic.mean_distance == 0.0
    assert np.isnan(topic.distances[3]).all()
    assert (topic.matched, topic.other_people) == (10, 1)
    assert topic.known_once == pytest.approx(2 / 19)


def test_distances_of_matched_people_by_hand():
    first = np.array([[[0.0, 0.0], [10.0, 0.0]], [[100.0, 0.0], [np.nan, np.nan]]])
    second = np.array([[[103.0, 4.0], [1.0, 1.0]], [[0.0, 1.0], [10.0, 2.0]]])
    distances, once = run_comparison.people_distances(first, second)
    np.testing.assert_array_equal(distances, [[1.0, 2.0], [5.0, np.nan]])
    np.testing.assert_array_equal(once, [[False, False], [False, True]])


@pytest.mark.filterwarnings("error")
def test_nobody_is_someone_s_answer_too(tmp_path, walk):
    nobody = np.empty((20, 0, 14, 2))
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(20), nobody)})
    b = write(tmp_path / "b", {"/pose2d": map(flat, stamps(20), walk)})
    [topic] = run_comparison.compare(a, b).topics
    assert (topic.identical, topic.other_people) == (0, 20)
    assert math.isnan(topic.mean_distance)
    for first, second in ((a, a), (b, b), (a, b)):
        compared = run_comparison.compare(first, second)
        run_comparison.draw(compared, tmp_path / "compare.png")
        picture = np.asarray(Image.open(tmp_path / "compare.png")).astype(int)
        # No bar, no point: a sentence stands in their place.
        for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
            assert (np.abs(picture - colour).max(axis=-1) > 8).all()
    assert compared.topics[0].identical == 0


def test_nothing_in_common_is_a_sentence(tmp_path, walk, capsys):
    a = write(tmp_path / "a", {"/pose2d": map(flat, stamps(20), walk)})
    later = [s + 3600 * 10**9 for s in stamps(20)]
    others = {
        "later": (
            {"/pose2d": map(flat, later, walk)},
            "no stamp of a pose is in both. /pose2d is from 2023-11-14 22:13:20 to 2023-11-14 "
            "22:13:21 UTC in the first and from 2023-11-14 23:13:20 to",
        ),
        "else": ({"/robot/pose2d": map(flat, stamps(20), walk)}, "no topic with poses is in both"),
        "halpe": (
            {"/pose2d": [flat(s, p, skeleton="x") for s, p in zip(stamps(20), walk, strict=True)]},
            "/pose2d is of hupr14 in one bag and of x in the other",
        ),
        "empty": ({}, "empty holds no poses"),
    }
    for name, (messages, words) in others.items():
        b = write(tmp_path / name, messages)
        assert cli.main(["compare", str(a), str(b)]) == cli.USAGE_ERROR
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said
    both = {"/pose2d": map(flat, stamps(20), walk), "/x/pose2d": map(flat, stamps(20), walk)}
    compared = run_comparison.compare(a, write(tmp_path / "more", both))
    assert compared.notes == [f"/x/pose2d is only in {tmp_path / 'more'}"]
    with pytest.raises(RecordingError, match="no such bag"):
        run_comparison.compare(a, tmp_path / "nothing")


def test_poses_in_space_are_in_metres(tmp_path, rng):
    keypoint = recording.message_class("radar_pose_ros/msg/Keypoint3D")
    point = recording.message_class("geometry_msgs/msg/Point")
    pose = recording.message_class("radar_pose_ros/msg/HumanPose3D")
    array = recording.message_class("radar_pose_ros/msg/HumanPose3DArray")
    joints = rng.normal(size=(14, 3))

    def message(stamp_ns, shift_m, covariance):
        keypoints = [
            keypoint(
                position=point(x=x, y=y, z=z + shift_m),
                confidence=1.0,
                covariance=np.full(6, covariance, np.float32),
                origin=0,
            )
            for x, y, z in joints.tolist()
        ]
        person = pose(id=1, confidence=1.0, root_relative=False, keypoints=keypoints)
        return array(
            header=header(stamp_ns, "map"),
            skeleton="hupr14",
            model="net",
            missing_sources=[],
            poses=[person],
        )

    a = write(tmp_path / "a", {"/pose3d": [message(s, 0.0, np.nan) for s in stamps(4)]})
    b = [message(s, 0.25 * (k == 1), 1.0 if k == 2 else np.nan) for k, s in enumerate(stamps(4))]
    [topic] = run_comparison.compare(a, write(tmp_path / "b", {"/pose3d": b})).topics
    assert (topic.unit, topic.identical) == ("m", 2)
    assert topic.mean_distance == pytest.approx(0.25 / 4)


def test_only_what_differs_is_drawn_and_most_of_all_first(tmp_path, walk, monkeypatch):
    """Three topics are the same and one differs in confidences only: a line of text each kind."""
    drawn = []
    draw_topic = run_comparison._draw_topic
    monkeypatch.setattr(
        run_comparison,
        "_draw_topic",
        lambda left, right, topic: (drawn.append(topic.topic), draw_topic(left, right, topic)),
    )
    same = ("/camera_0/pose2d", "/camera_1/pose2d", "/camera_2/pose2d")
    kinds = {"/a/pose2d": 0.0, "/b/pose2d": 1.0, "/c/pose2d": 5.0, **dict.fromkeys(same, 0.0)}
    bags = [
        {
            topic: [
                flat(s, p + b * px, confidence=0.25 if b and topic[1] == "a" else 0.5)
                for s, p in zip(stamps(20), walk, strict=True)
            ]
            for topic, px in kinds.items()
        }
        for b in (0, 1)
    ]
    a, b = (write(tmp_path / str(k), bag) for k, bag in enumerate(bags))
    compared = run_comparison.compare(a, b)
    run_comparison.draw(compared, tmp_path / "compare.png")
    assert drawn == ["/c/pose2d", "/b/pose2d"]
    assert run_comparison._without_distances(compared.topics) == {
        "all joints are where they are in the other, but not all else is the same": ["/a/pose2d"],
        "the same in both": [*same],
    }
    run_comparison.draw(run_comparison.compare(a, a), tmp_path / "same.png")
    heights = [np.asarray(Image.open(tmp_path / f"{n}.png")).shape[0] for n in ("compare", "same")]
    assert heights[0] > 500 and heights[1] < 100
