"""The camera's place: from a person on the floor, from a reflector; and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from radar_pose_ros.collect import extrinsics
from radar_pose_ros.collect.bags import RADARS, CameraTrack, Collected
from radar_pose_ros.collect.extrinsics import ExtrinsicsError, Spot, by_person, by_reflector
from radar_pose_ros.collect.person import PersonTrack
from radar_pose_ros.imports import messages
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.recording import BagWriter
from radar_pose_ros.simulation.radar import RadarSimulator, StaticScene, default_placements
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.vision.camera import PinholeCamera

CAMERA = replace(
    PinholeCamera.looking_at((0.08, -0.15, 1.35), (2.65, 0.1, 0.95), 430.0, (640, 480), 0.03),
    distortion=(-0.2, 0.05, 0.001, 0.0, 0.0),
)
OFFSET_S = 0.137
MIDDLE_S = 0.0138


def turned_deg(camera: PinholeCamera) -> float:
    return float(np.degrees(Rotation.from_matrix(camera.rotation @ CAMERA.rotation.T).magnitude()))


def walk(seconds=60.0, across_m=0.8, along_m=0.8, sideways_m=0.0, noise_m=0.05, seed=0):
    """A person who drifts about, as radars and the camera have them."""
    rng = np.random.default_rng(seed)

    def place(t):
        x = 2.65 + along_m * np.sin(2 * np.pi * t / 23.0)
        return x, across_m * np.sin(2 * np.pi * t / 7.7)

    stamps = np.arange(0, seconds, 0.1)
    floor_m = np.column_stack(place(stamps + MIDDLE_S)) + rng.normal(0, noise_m, (len(stamps), 2))
    times_s = np.arange(0, seconds, 1 / 30)
    x, y = place(times_s)
    heights = {"ankle": 0.08, "knee": 0.5, "hip": 0.95, "shoulder": 1.45, "elbow": 1.15}
    joints_m = np.zeros((len(times_s), len(HUPR14.joints), 3))
    for number, name in enumerate(HUPR14.joints):
        side = {"left": 0.15, "right": -0.15}.get(name.split("_")[0], 0.0)
        joints_m[:, number, 0] = x
        joints_m[:, number, 1] = y + side + sideways_m
        joints_m[:, number, 2] = heights.get(name.split("_")[-1], 1.5)
    pixels = CAMERA.project(joints_m) + rng.normal(0, 3.0, (len(times_s), 14, 2))
    track = CameraTrack(
        "/camera/pose2d",
        "camera",
        "hupr14",
        "test",
        (640, 480),
        1.7e9 + times_s + OFFSET_S,
        pixels,
        np.full(pixels.shape[:2], 0.9),
        np.ones(len(times_s), int),
        0.0,
    )
    return PersonTrack(1.7e9 + stamps, MIDDLE_S, floor_m), track


@pytest.mark.parametrize("seed", [0, 1])
def test_a_walking_person_tells_the_cameras_place(seed):
    person, track = walk(seed=seed)
    placed = by_person(person, track, OFFSET_S, CAMERA, 0.3)
    off_m = placed.camera.position_m - CAMERA.position_m
    assert np.linalg.norm(off_m) < 0.04
    assert turned_deg(placed.camera) < 0.6
    # noise of the places themselves moves the camera by some cm, the same way throughout
    assert (np.abs(off_m) < 4 * placed.sd[:3] + 0.03).all()
    assert 0 < placed.sd.max() < 0.1
    assert placed.residual_px < 12


def test_with_a_tape_only_the_direction_is_sought():
    person, track = walk()
    placed = by_person(person, track, OFFSET_S, CAMERA, 0.3, tuple(CAMERA.position_m))
    np.testing.assert_array_equal(placed.camera.position_m, CAMERA.position_m)
    assert turned_deg(placed.camera) < 0.2
    assert (placed.sd[:3] < 1e-9).all()
    assert "sd" in extrinsics.table(placed) and "given" in extrinsics.table(placed)


def test_outliers_do_no_harm():
    person, track = walk()
    rng = np.random.default_rng(5)
    wrong = rng.random(len(person.floor_m)) < 0.1
    person.floor_m[wrong] += rng.uniform(-1, 1, (int(wrong.sum()), 2))
    placed = by_person(person, track, OFFSET_S, CAMERA, 0.3, tuple(CAMERA.position_m))
    assert turned_deg(placed.camera) < 0.4


def without_feet(track: CameraTrack) -> CameraTrack:
    ankles = [k for k, name in enumerate(HUPR14.joints) if name.endswith("ankle")]
    confidence = track.confidence.copy()
    confidence[:, ankles] = 0.0
    return replace(track, confidence=confidence)


@pytest.mark.parametrize(
    ("of", "change", "words"),
    [
        ({"along_m": 0.1}, None, "range spans .* want 0.8 m"),
        ({"across_m": 0.1}, None, "bearing spans .* want 0.2 rad"),
        ({"seconds": 5.0}, None, "frames in which radars and camera see a person"),
        ({}, without_feet, "ankles are in the image in 0 frames"),
        (
            {},
            lambda track: replace(track, keypoints_px=np.roll(track.keypoints_px, 95, axis=0) * 3),
            "degrees off what the camera sees|not observable",
        ),
    ],
    ids=["stays near", "stays in line", "short", "no feet", "another camera"],
)
def test_what_cannot_be_told_is_refused(of, change, words):
    person, track = walk(**of)
    track = track if change is None else change(track)
    with pytest.raises(ExtrinsicsError, match=words):
        by_person(person, track, OFFSET_S, CAMERA, 0.3)


PLACES_M = np.array(
    [
        [1.9, -0.5, 0.8],
        [2.3, 0.6, 1.2],
        [2.8, -0.8, 1.3],
        [3.1, 0.2, 0.75],
        [3.4, 0.9, 1.0],
        [2.5, 0.0, 1.1],
    ]
)


@pytest.fixture(scope="module")
def reflector_bag(small_radar, tmp_path_factory):
    """Half a second at each place, in a room; nobody is there."""
    path = tmp_path_factory.mktemp("reflector") / "bag"
    room = StaticScene.room(4)
    chirps = small_radar.waveform.loops * small_radar.waveform.transmitters
    begin_ns = 1_700_000_000 * 10**9
    with BagWriter(path) as writer:
        for radar in RADARS:
            config = messages.radar_config(small_radar, begin_ns, f"{radar}_link")
            writer.write_message(f"/{radar}/radar_config", begin_ns, config)
        for number, place_m in enumerate(PLACES_M):
            scene = StaticScene(
                np.vstack([room.positions_m, place_m]), np.append(room.amplitudes_m, 3.0)
            )
            for radar, (name, placement) in enumerate(
                zip(RADARS, default_placements(), strict=True)
            ):
                simulator = RadarSimulator(
                    small_radar, placement, scene=scene, seed=10 * number + radar
                )
                for step in range(3):
                    samples = simulator.points(np.array([[9.0, 0, 1]]), amplitudes=0.0, noise=True)
                    stamp_ns = begin_ns + (5 * number + step) * 10**8
                    frame = AssembledFrame(
                        step, 0, samples, np.ones(chirps, np.uint8), 0, 0.0, 0.0
                    )
                    message = messages.adc_frame(frame, small_radar, stamp_ns, f"{name}_link")
                    writer.write_message(f"/{name}/adc", stamp_ns, message)
    return path


def spots(pixels=None) -> list[Spot]:
    seen = CAMERA.project(PLACES_M) if pixels is None else pixels
    return [
        Spot(0.5 * number, 0.5 * number + 0.3, (float(u), float(v)))
        for number, (u, v) in enumerate(seen)
    ]


def test_a_reflector_is_where_it_was_put(reflector_bag):
    with Collected(reflector_bag) as collected:
        found_m = extrinsics.reflector_points(collected, spots())
    np.testing.assert_allclose(found_m, PLACES_M, atol=0.04)


def test_a_reflector_tells_the_cameras_place(reflector_bag):
    with Collected(reflector_bag) as collected:
        free = by_reflector(collected, spots(), CAMERA)
        given = by_reflector(collected, spots(), CAMERA, tuple(CAMERA.position_m))
    assert np.linalg.norm(free.camera.position_m - CAMERA.position_m) < 0.06
    assert turned_deg(free.camera) < 1.5
    assert turned_deg(given.camera) < 0.3
    assert given.residual_px < 5


def test_a_reflector_that_is_not_there_is_said(reflector_bag):
    nowhere = spots()
    nowhere[2] = replace(nowhere[2], from_s=50.0, to_s=51.0)
    with (
        Collected(reflector_bag) as collected,
        pytest.raises(ExtrinsicsError, match="no complete frame of a radar from 50 to 51 s"),
    ):
        by_reflector(collected, nowhere, CAMERA)
    same = [replace(spot, from_s=0.0, to_s=0.3) for spot in spots()]
    with (
        Collected(reflector_bag) as collected,
        pytest.raises(ExtrinsicsError, match="nothing stands out"),
    ):
        by_reflector(collected, same, CAMERA)
    with (
        Collected(reflector_bag) as collected,
        pytest.raises(ExtrinsicsError, match="2 places of the reflector, want 5"),
    ):
        by_reflector(collected, spots()[:2], CAMERA)


def test_spots_are_read_line_by_line(tmp_path):
    path = tmp_path / "spots.csv"
    path.write_text("from_s,to_s,u_px,v_px\n5,10,312,240\n\n20,25.5,130,260\n")
    assert extrinsics.read_spots(path) == [
        Spot(5, 10, (312, 240)),
        Spot(20, 25.5, (130, 260)),
    ]
    path.write_text("5,10,312,240\n9,8,1,1\n")
    with pytest.raises(ExtrinsicsError, match=r"spots.csv line 2: want from_s,to_s,u_px,v_px"):
        extrinsics.read_spots(path)
