"""Faces that are followed and the colours of their skin, on drawn and made-up videos."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from radar_pose_ros.simulation.face_scenes import LIGHTS, FaceScene, draw_scene
from radar_pose_ros.simulation.faces import SimulatedFaceVideo
from radar_pose_ros.vision import face, face_detectors, skin
from radar_pose_ros.vision.face import FaceTracker, FixedRegion

STEADY = {
    "rate_hz": 30.0,
    "motion": "still",
    "light": "bright",
    "jpeg_quality": None,
    "flicker": 0.0,
    "dropped": 0.0,
    "jitter_s": 0.0,
    "stamp_error_s": 0.0,
}


def scene(seed: int = 0, **fixed: object) -> FaceScene:
    return draw_scene(np.random.default_rng(seed), **{**STEADY, **fixed})


def middle(box: np.ndarray | tuple[float, ...]) -> np.ndarray:
    values = np.asarray(box)
    return values[:2] + values[2:] / 2


class Detections:
    """Says what it is told, detection after detection; the last one again and again."""

    def __init__(self, *boxes: list[tuple[float, float, float, float]]) -> None:
        self.boxes = list(boxes)
        self.asked = 0

    def __call__(self, _: np.ndarray) -> list[tuple[float, float, float, float]]:
        self.asked += 1
        return self.boxes[min(self.asked, len(self.boxes)) - 1]


def grey(width: int = 320, height: int = 240) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


# --- where faces are -----------------------------------------------------------------------


@pytest.mark.parametrize("tone", range(1, 7))
@pytest.mark.parametrize("light", LIGHTS)
def test_faces_of_all_tones_in_all_lights_are_found(tone: int, light: str) -> None:
    video = SimulatedFaceVideo(scene(tone, tone=tone, light=light, duration_s=1.0))
    tracker = FaceTracker(thumbnail_px=0, detect_every_s=0.3)
    for time_s, picture in video.frames():
        faces = tracker.update(picture, time_s)
    (found,) = faces
    true = video.box(time_s)
    assert np.linalg.norm(middle(found.box_px) - middle(true)) < 0.08 * true[2]
    assert found.box_px[2] == pytest.approx(true[2], rel=0.12)
    sample = tracker.sample(picture, found)
    assert (sample.pixels > 0.02 * found.box_px[2] ** 2).all()
    # Less light, darker skin.
    assert 20 < sample.brightness < 220


@pytest.mark.parametrize(("size", "width_px"), [((1280, 720), 121), ((1920, 1080), 181)])
@pytest.mark.parametrize("share", [1.0, 0.7])
def test_small_faces_in_large_pictures_are_found(
    size: tuple[int, int], width_px: int, share: float
) -> None:
    """A face of 9 % of the width, and one of 7 %."""
    drawn = scene(
        1, width_px=size[0], height_px=size[1], face_px=share * width_px / 1.21, duration_s=0.03
    )
    video = SimulatedFaceVideo(drawn)
    ((time_s, picture),) = video.frames()
    tracker = FaceTracker(thumbnail_px=0)
    for index in range(4):
        faces = tracker.update(picture, index / 5)
    (found,) = faces
    true = video.box(time_s)
    assert true[2] == pytest.approx(share * width_px, rel=0.02)
    assert np.linalg.norm(middle(found.box_px) - middle(true)) < 0.08 * true[2]
    assert found.box_px[2] == pytest.approx(true[2], rel=0.12)


@pytest.mark.parametrize("centre", [(6.0, 60.0), (60.0, 5.0), (114.0, 60.0), (60.0, 116.0)])
def test_texture_at_the_edges_is_the_face_s_own(centre: tuple[float, float]) -> None:
    cells = np.random.default_rng(3).integers(0, 255, (30, 30)).astype(np.uint8)
    picture = cv2.resize(cells, (120, 120), interpolation=cv2.INTER_CUBIC)
    points = face._texture(picture, face._Track(0, np.array(centre), 60.0, 0.0))
    assert len(points) >= 8
    assert (np.abs(points - centre) <= 24).all() and (points >= 0).all() and (points < 120).all()


def test_a_face_has_one_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def sampler(thumbnail_px: int) -> skin.SkinSampler:
        made.append(thumbnail_px)
        return skin.SkinSampler(thumbnail_px)

    monkeypatch.setattr(face, "SkinSampler", sampler)
    tracker = FaceTracker(Detections([(100.0, 80.0, 60.0, 60.0)]), thumbnail_px=16)
    samples = [
        tracker.sample(grey(), found)
        for index in range(30)
        for found in tracker.update(grey(), index / 30)
    ]
    assert len(samples) > 20 and made == [16]
    assert [np.isnan(sample.motion) for sample in samples] == [True] + [False] * (len(samples) - 1)


def test_a_head_that_moves_is_followed() -> None:
    video = SimulatedFaceVideo(scene(3, motion="moving", duration_s=6.0, width_px=320))
    tracker = FaceTracker(thumbnail_px=0)
    ids, off, shares = set(), [], []
    for time_s, picture in video.frames():
        for found in tracker.update(picture, time_s):
            ids.add(found.id)
            true = video.box(time_s)
            off.append(np.linalg.norm(middle(found.box_px) - middle(true)) / true[2])
            shares.append(tracker.sample(picture, found).motion)
    assert len(ids) == 1 and len(off) > 150
    assert np.median(off) < 0.05 and max(off) < 0.2
    assert 0.002 < np.nanmedian(shares) < 0.1 and np.isnan(shares[0])


def test_an_empty_room_has_no_face() -> None:
    for seed in range(3):
        tracker = FaceTracker(thumbnail_px=0, detect_every_s=0.1)
        video = SimulatedFaceVideo(scene(seed, kind="empty", duration_s=0.5))
        assert not any(tracker.update(picture, t) for t, picture in video.frames())


def test_two_faces_keep_their_ids() -> None:
    video = SimulatedFaceVideo(scene(2, faces=2, duration_s=1.5))
    tracker = FaceTracker(thumbnail_px=0)
    for time_s, picture in video.frames():
        faces = tracker.update(picture, time_s)
        if faces:
            assert len({found.id for found in faces}) == len(faces)
    assert len(faces) == 2
    order = sorted(faces, key=lambda found: found.box_px[0])
    for index, found in enumerate(order):
        true = video.box(time_s, index)
        assert np.linalg.norm(middle(found.box_px) - middle(true)) < 0.1 * true[2]


def test_faces_that_cross_keep_their_ids() -> None:
    """One walks to the right, one to the left; for a while the detector sees only one."""
    tracker = FaceTracker(lambda _: detections, thumbnail_px=0, detect_every_s=0.2)
    for index in range(90):
        right, left = 10 + 2.5 * index, 250 - 2.5 * index
        picture = grey()
        detections = []
        for x, y, seed in ((left, 66, 1), (right, 60, 2)):  # the second is in front
            texture = np.random.default_rng(seed).integers(40, 200, (10, 10, 3)).astype(np.uint8)
            patch = cv2.resize(texture, (64, 64), interpolation=cv2.INTER_LINEAR)
            matrix = np.array([[1.0, 0, x], [0, 1.0, y]])
            cv2.warpAffine(patch, matrix, (320, 240), picture, borderMode=cv2.BORDER_TRANSPARENT)
            detections.append((x, float(y), 64.0, 64.0))
        if abs(right - left) < 40:
            del detections[0]
        faces = tracker.update(picture, index / 30)
        if index == 30:
            first = {found.id: found.box_px[0] for found in faces}
    assert len(first) == 2 and len(faces) == 2
    assert {found.id for found in faces} == set(first)
    before = sorted(first, key=lambda key: first[key])
    after = [found.id for found in sorted(faces, key=lambda found: found.box_px[0])]
    assert after == before[::-1]


def test_lost_for_a_second_is_kept_and_longer_is_gone() -> None:
    box = [(100.0, 80.0, 60.0, 60.0)]
    seen = {"now": True}
    tracker = FaceTracker(lambda _: box if seen["now"] else [], thumbnail_px=0)
    reported = {}
    for index in range(165):
        time_s = index / 30
        seen["now"] = not (1.0 < time_s < 1.7 or 2.5 < time_s < 4.5)
        reported[time_s] = [found.id for found in tracker.update(grey(), time_s)]
    first = reported[1.0]
    assert len(first) == 1
    assert all(ids == first for time_s, ids in reported.items() if 1.0 <= time_s <= 3.4)
    assert all(ids == [] for time_s, ids in reported.items() if 4.1 <= time_s < 4.5)
    assert len(reported[164 / 30]) == 1 and reported[164 / 30] != first


def test_faces_are_numbered_by_size_whatever_the_detector_s_order() -> None:
    """OpenCV's cascade has threads: it gives the same boxes now in this order, now in that."""
    boxes = [(20.0, 80.0, 60.0, 60.0), (200.0, 20.0, 60.0, 60.0), (110.0, 60.0, 70.0, 70.0)]
    for order in itertools.permutations(boxes):
        tracker = FaceTracker(Detections(list(order)), thumbnail_px=0)
        for index in range(20):
            faces = tracker.update(grey(), index / 30)
        places = {found.id: found.box_px[0] for found in faces}
        assert places == pytest.approx({0: 110.0, 1: 20.0, 2: 200.0}, abs=1)


def test_seen_once_is_no_face() -> None:
    detector = Detections([(100.0, 80.0, 60.0, 60.0)], [], [], [(30.0, 20.0, 50.0, 50.0)], [])
    tracker = FaceTracker(detector, thumbnail_px=0)
    assert not any(tracker.update(grey(), index / 30) for index in range(120))
    assert detector.asked >= 5


def test_trembling_detections_hardly_move_the_box() -> None:
    rng = np.random.default_rng(0)
    texture = cv2.resize(
        rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), (320, 240), None, 0, 0, cv2.INTER_CUBIC
    )

    def trembling(_: np.ndarray) -> list[tuple[float, float, float, float]]:
        x, y, size = np.array([100, 80, 80]) + rng.normal(0, 2.5, 3)
        return [(x, y, size, size)]

    tracker = FaceTracker(trembling, thumbnail_px=0)
    boxes = np.array(
        [found.box_px for index in range(600) for found in tracker.update(texture, index / 30)]
    )
    assert len(boxes) > 500
    # Detections differ by 2.5 px; a tenth of each is taken.
    assert boxes[:, 0].std() < 1.2
    assert np.abs(np.diff(boxes[100:], axis=0)).max() < 0.1
    assert np.abs(middle(boxes.mean(axis=0)) - [140, 120]).max() < 1.5


def test_the_detector_is_asked_now_and_then() -> None:
    detector = Detections([(100.0, 80.0, 60.0, 60.0)])
    tracker = FaceTracker(detector, detect_every_s=0.5, thumbnail_px=0)
    for index in range(300):
        tracker.update(grey(), index / 30)
    assert 19 <= detector.asked <= 23  # 10 s


def test_a_far_detection_is_believed_at_once() -> None:
    detector = Detections(*[[(100.0, 80.0, 60.0, 60.0)]] * 3, [(118.0, 80.0, 60.0, 60.0)])
    tracker = FaceTracker(detector, thumbnail_px=0)
    places = [
        found.box_px[0] for index in range(90) for found in tracker.update(grey(), index / 30)
    ]
    assert places[0] == 100 and places[-1] == pytest.approx(118, abs=0.1)


def test_big_pictures_have_boxes_in_their_own_pixels() -> None:
    asked = []

    def detect(image: np.ndarray) -> list[tuple[float, float, float, float]]:
        asked.append(image.shape)
        return [(200.0, 160.0, 120.0, 120.0)]

    tracker = FaceTracker(detect, thumbnail_px=0)
    for index in range(30):
        faces = tracker.update(grey(960, 720), index / 30)
    assert set(asked) == {(480, 640, 3)}
    assert faces[0].box_px == pytest.approx((300.0, 240.0, 180.0, 180.0), abs=0.5)


def test_times_and_images_are_checked() -> None:
    tracker = FaceTracker(Detections([]))
    tracker.update(grey(), 1.0)
    with pytest.raises(ValueError, match=r"times must increase, got 1\.0 s after 1\.0 s"):
        tracker.update(grey(), 1.0)
    with pytest.raises(ValueError, match="uint8, got"):
        tracker.update(grey()[..., 0], 2.0)
    with pytest.raises(ValueError, match="must be positive"):
        FaceTracker(Detections([]), detect_every_s=0.0)
    with pytest.raises(ValueError, match="at least 64, got 640, 32"):
        FaceTracker(Detections([]), followed_px=32)


def test_shift_and_scale_without_the_points_that_blink() -> None:
    rng = np.random.default_rng(1)
    old = rng.uniform(0, 100, (20, 2))
    new = 1.002 * (old - 50) + 50 + [3.0, -2.0]
    new[:4] += rng.uniform(4, 8, (4, 2))
    found = face.similarity(old, new)
    assert found is not None
    inside, scale, before, after = found
    assert not inside[:4].any() and inside[4:].all()
    assert scale == pytest.approx(1.002, abs=1e-6)
    np.testing.assert_allclose(
        after + scale * (np.array([50.0, 50.0]) - before), [53, 48], atol=1e-6
    )
    assert face.similarity(old[:5], new[:5]) is None


# --- colours -------------------------------------------------------------------------------


def band(values: np.ndarray, rate_hz: float = 30.0) -> np.ndarray:
    """Return the relative spectrum's standard deviation from 0.65 to 3 Hz of each column."""
    centred = values / values.mean(axis=0) - 1
    spectrum = np.fft.rfft(centred * np.hanning(len(centred))[:, None], axis=0)
    frequency_hz = np.fft.rfftfreq(len(centred), 1 / rate_hz)
    inside = (frequency_hz >= 0.65) & (frequency_hz <= 3.0)
    return np.sqrt((np.abs(spectrum[inside]) ** 2).sum(axis=0)) / len(centred)


@pytest.mark.parametrize(("light", "tone"), [("bright", 2), ("bright", 5), ("dim", 3)])
def test_the_box_brings_no_noise_of_its_own(light: str, tone: int) -> None:
    """A still face without a pulse: no more noise than where the box is known exactly."""
    drawn = scene(tone, tone=tone, light=light, pulse=0.0, drift=0.0, pumping=0.0, duration_s=8.0)
    video = SimulatedFaceVideo(drawn)
    tracker, exact = FaceTracker(thumbnail_px=0), skin.SkinSampler(0)
    followed, known = [], []
    for time_s, picture in video.frames():
        for found in tracker.update(picture, time_s):
            followed.append(tracker.sample(picture, found).colours.mean(axis=0))
            box = tuple(map(float, video.box(time_s)))
            known.append(exact.sample(picture, box, time_s).colours.mean(axis=0))  # type: ignore[arg-type]
    assert len(followed) > 200
    ratio = band(np.array(followed)) / band(np.array(known))
    assert (ratio < 2.0).all(), ratio


def test_the_pulse_is_in_the_samples() -> None:
    drawn = scene(1, tone=1, bpm=90.0, end_bpm=90.0, sinus_bpm=0.0, drift_bpm=0.0, duration_s=8.0)
    video = SimulatedFaceVideo(drawn)
    tracker = FaceTracker(thumbnail_px=0)
    times, green = [], []
    for time_s, picture in video.frames():
        for found in tracker.update(picture, time_s):
            times.append(time_s)
            green.append(tracker.sample(picture, found).colours[:, 1])
    values = np.array(green) / np.mean(green, axis=0) - 1
    turn = np.exp(-2j * np.pi * 1.5 * np.array(times)) * np.hanning(len(times))
    wave = video.pulse(times)
    at_pulse = turn @ values
    expected = turn @ wave
    # All regions at once, against the wave.
    assert (np.abs(np.angle(-at_pulse / expected)) < 0.5).all()
    strength = np.abs(at_pulse / expected) / drawn.people[0].pulse
    assert (strength > 0.5).all() and (strength < 2.0).all()


@pytest.mark.parametrize("tone", [1, 3, 6])
def test_hair_and_eyes_are_no_skin(tone: int) -> None:
    video = SimulatedFaceVideo(scene(tone + 20, tone=tone, gloss=0.02, duration_s=9.0))
    _, picture = next(video.frames())
    box = video.box(0.0)
    x, y, side, _ = (round(value) for value in box)
    patch = cv2.resize(picture[y : y + side, x : x + side], (32, 32), interpolation=cv2.INTER_AREA)
    mask = skin.skin_mask(patch)
    assert mask[17:22, 7:11].mean() > 0.8 and mask[17:22, 21:25].mean() > 0.8  # cheeks
    assert mask[11:14, 9:12].min() < 0.1 and mask[11:14, 20:23].min() < 0.1  # eyes


def test_a_patch_without_a_common_colour_or_black_or_white_has_no_skin() -> None:
    assert not skin.skin_mask(np.zeros((32, 32, 3), np.uint8)).any()
    assert not skin.skin_mask(np.full((32, 32, 3), 255, np.uint8)).any()


def test_a_region_without_skin_is_unknown() -> None:
    picture = np.full((240, 240, 3), (90, 110, 170), np.uint8)
    picture[:85] = 0  # a cap to the brows
    box = (60.0, 60.0, 100.0, 100.0)
    sample = skin.SkinSampler(0).sample(picture, box, 0.0)
    assert np.isnan(sample.colours[0]).all() and sample.pixels[0] == 0
    np.testing.assert_allclose(sample.colours[1:], [[170, 110, 90]] * 2, rtol=1e-5)
    assert sample.brightness == pytest.approx(370 / 3, rel=1e-5)
    nothing = skin.SkinSampler(0).sample(np.zeros_like(picture), box, 0.0)
    assert np.isnan(nothing.colours).all() and nothing.brightness == 0


@pytest.mark.parametrize("value", [3, 252])
def test_a_face_without_skin_has_the_brightness_of_its_middle(value: int) -> None:
    """Too dark and too bright can be told apart."""
    picture = grey()
    picture[45:105, 53:107] = value  # not all of the box
    box = (50.0, 50.0, 60.0, 60.0)
    sample = skin.SkinSampler(0).sample(picture, box, 0.0)
    assert np.isnan(sample.colours).all() and not sample.pixels.any()
    assert sample.brightness == pytest.approx(value)
    picture[:] = value
    half_outside = skin.SkinSampler(0).sample(picture, (-30.0, 50.0, 60.0, 60.0), 0.0)
    assert half_outside.brightness == pytest.approx(value)
    outside = skin.SkinSampler(0).sample(picture, (-200.0, 50.0, 60.0, 60.0), 0.0)
    assert np.isnan(outside.brightness)


def test_means_follow_a_box_between_pixels() -> None:
    """On a picture that grows brighter to the right, the mean moves with the box."""
    ramp = np.repeat(np.arange(40, 200, dtype=np.uint8)[None, :], 120, axis=0)
    picture = np.repeat(ramp[..., None], 3, axis=2)
    means = []
    for shift in np.arange(0, 3, 0.1):
        region = FixedRegion((30.0 + shift, 20.0, 80.0, 64.0), thumbnail_px=0)
        (found,) = region.update(picture, 0.0)
        means.append(region.sample(picture, found).colours[:, 0])
    steps = np.diff(means, axis=0) / 0.1
    np.testing.assert_allclose(steps, 1.0, atol=0.25)
    # The left half of 30..110 is about 50, the right one 90; pixel 50 has the value 90.
    np.testing.assert_allclose(means[0], [89.5, 129.5, 89.5, 129.5], atol=1.0)


def test_thumbnails_are_area_means_of_the_enlarged_box() -> None:
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 255, (240, 320, 3)).astype(np.uint8)
    found = skin.thumbnail_of(picture, (100.0, 60.0, 64.0, 64.0), 48)  # 96 px, twice 48
    part = picture[44:140, 84:180, ::-1].astype(np.float64)
    mean = part.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    assert found.dtype == np.float32 and found.shape == (48, 48, 3)
    np.testing.assert_allclose(found, mean, atol=0.01)
    large = skin.thumbnail_of(picture, (100.0, 60.0, 128.0, 128.0), 16)  # 192 px, 12 times 16
    part = picture[28:220, 68:260, ::-1].astype(np.float64)
    np.testing.assert_allclose(large, part.reshape(16, 12, 16, 12, 3).mean(axis=(1, 3)), atol=0.6)
    beyond = skin.thumbnail_of(grey(), (-40.0, -40.0, 64.0, 64.0), 48)
    np.testing.assert_array_equal(beyond, 90)


def test_a_thumbnail_moves_with_its_box() -> None:
    x = np.arange(320)
    wave = (127 + 100 * np.sin(x / 12)).astype(np.uint8)
    picture = np.repeat(np.repeat(wave[None, :, None], 240, axis=0), 3, axis=2)
    first = skin.thumbnail_of(picture, (100.0, 60.0, 64.0, 64.0), 96)
    second = skin.thumbnail_of(picture, (100.5, 60.0, 64.0, 64.0), 96)
    true = 127 + 100 * np.sin((84.5 + np.arange(96)) / 12)
    assert np.abs(second[48, :, 0] - true).max() < 1.5
    assert np.abs(first[48, :, 0] - true).max() > 3


def astronaut() -> np.ndarray:
    """Return the photograph of a face that the package scikit-image carries."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("scikit-image, whose photograph is looked at, is not installed")
    picture = cv2.imread(str(Path(found.origin).parent / "data" / "astronaut.png"))
    assert picture is not None
    return picture


@pytest.mark.parametrize("change", ["none", "mirrored", "half", "double", "dark", "noisy"])
def test_a_photograph_of_a_person(change: str) -> None:
    picture = astronaut()
    noise = np.random.default_rng(0).normal(0, 8, picture.shape)
    picture = {
        "none": picture,
        "mirrored": picture[:, ::-1].copy(),
        "half": cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "double": cv2.resize(picture, None, fx=2.0, fy=2.0),
        "dark": (0.3 * picture).astype(np.uint8),
        "noisy": np.clip(0.3 * picture + noise, 0, 255).astype(np.uint8),
    }[change]
    tracker = FaceTracker(thumbnail_px=0)
    for index in range(10):
        faces = tracker.update(picture, index / 15)
    (found,) = faces
    side = picture.shape[0]
    place = middle(found.box_px) / side
    assert place[1] == pytest.approx(0.222, abs=0.015)
    assert place[0] == pytest.approx(0.566 if change == "mirrored" else 0.434, abs=0.015)
    sample = tracker.sample(picture, found)
    # All three have skin, redder than the hair's fringe, and most of the cheeks counts.
    assert np.isfinite(sample.colours).all()
    assert (sample.pixels[1:] > 0.025 * found.box_px[2] ** 2).all()
    bright = sample.colours / sample.colours.max()
    assert (bright[:, 0] > bright[:, 1]).all() and (bright[:, 1] > bright[:, 2]).all()
    assert (bright > 0.6).all()


# --- a fixed place -------------------------------------------------------------------------


def test_a_fixed_region_is_its_quarters() -> None:
    picture = grey()
    picture[100:120, 50:70] = (10, 20, 30)
    picture[100:120, 70:90] = (40, 50, 60)
    picture[120:140, 50:70] = (70, 80, 90)
    picture[120:140, 70:90] = (100, 110, 120)
    region = FixedRegion((50.0, 100.0, 40.0, 40.0), thumbnail_px=32)
    assert region.regions == ("top left", "top right", "bottom left", "bottom right")
    (found,) = region.update(picture, 0.0)
    sample = region.sample(picture, found)
    expected = np.array([[30, 20, 10], [60, 50, 40], [90, 80, 70], [120, 110, 100]])
    np.testing.assert_allclose(sample.colours, expected, atol=3.0)  # soft edges
    assert sample.pixels.sum() == pytest.approx(1600, rel=0.05)
    assert sample.thumbnail is not None and sample.thumbnail.shape == (32, 32, 3)
    assert found.id == 0 and found.seen_s == 0.0
    with pytest.raises(ValueError, match="times must increase"):
        region.update(picture, 0.0)


def test_fixed_regions_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8"):
        FixedRegion((0.0, 0.0, 4.0, 20.0))
    with pytest.raises(ValueError, match="not inside the image of 320 x 240"):
        FixedRegion((300.0, 0.0, 40.0, 20.0)).update(grey(), 0.0)


# --- detectors -----------------------------------------------------------------------------


def test_an_opencv_without_cascades_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(RuntimeError, match="no face cascade: install opencv-python-headless<5"):
        face_detectors.cascade_detector()


def test_no_cascade_file_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(cv2, "data", raising=False)
    monkeypatch.setattr(face_detectors, "CASCADE_FOLDERS", (str(tmp_path),))
    with pytest.raises(FileNotFoundError, match=r"is in none of .*: install opencv-data"):
        face_detectors.find_cascade()
    (tmp_path / face_detectors.CASCADE).write_text("<opencv_storage></opencv_storage>")
    assert face_detectors.find_cascade() == tmp_path / face_detectors.CASCADE


def test_files_that_are_no_models(tmp_path: Path) -> None:
    file = tmp_path / "x.xml"
    with pytest.raises(FileNotFoundError, match="no such cascade"):
        face_detectors.cascade_detector(file)
    file.write_text("<opencv_storage></opencv_storage>")
    with pytest.raises(ValueError, match="not a cascade"):
        face_detectors.cascade_detector(file)
    with pytest.raises(FileNotFoundError, match="no such YuNet model"):
        face_detectors.yunet_detector(tmp_path / "y.onnx")
    (tmp_path / "y.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="not a YuNet model"):
        face_detectors.yunet_detector(tmp_path / "y.onnx")


def test_landmarks_give_the_cascade_s_box() -> None:
    """On drawn faces, whose eyes and mouth are where the drawing puts them."""
    video = SimulatedFaceVideo(dataclasses.replace(scene(4, face_px=100.0), duration_s=0.1))
    true = video.box(0.0)
    person = video.scene.people[0]
    x, y = person.centre[0] * video.scene.width_px, person.centre[1] * video.scene.height_px
    places = [(-0.42, -0.12), (0.42, -0.12), (0.0, 0.3), (-0.3, 0.72), (0.3, 0.72)]
    landmarks = np.array([(x + 50 * u, y + 50 * v) for u, v in places]).reshape(-1)
    box = face_detectors.box_of_landmarks(landmarks)
    assert np.linalg.norm(middle(box) - middle(true)) < 0.06 * true[2]
    assert box[2] == pytest.approx(true[2], rel=0.2)
