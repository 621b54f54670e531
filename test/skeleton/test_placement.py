"""Where somebody stands, for people whose place is known."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy.stats import f as fisher
from tolerances import assert_close

from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.skeleton import placement
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.skeleton.placement import (
    PELVIS_BEHIND_M,
    RANGE_SPREAD_M,
    RIG_PLANE,
    Ground,
    Intrinsics,
    PlaceSpread,
    at_range,
    place,
)

JOINTS = len(H36M17.joints)
SURE = np.ones(JOINTS)
ANKLES = [H36M17.index(f"{side}_ankle") for side in ("right", "left")]
ROOT = np.array([0.3, 0.05, 2.6])
HEIGHTS = {"ankle": 0.09, "knee": 0.5, "hip": 0.95, "pelvis": 0.95, "spine": 1.2, "thorax": 1.45}
HEIGHTS |= {"nose": 1.6, "head": 1.75, "shoulder": 1.42, "elbow": 1.15, "wrist": 0.9}


def shape() -> np.ndarray:
    """Return a standing person's joints from the hip, (17, 3), in the axes of a level camera."""
    joints = []
    for name in H36M17.joints:
        side = 0.2 if name.startswith("left") else -0.2 if name.startswith("right") else 0.0
        forward = -0.15 if name.endswith(("wrist", "ankle")) else 0.0
        joints.append((side, 0.95 - HEIGHTS[name.split("_")[-1]], forward))
    return np.array(joints)


def seen(points_m: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Return pixels by the simulation's camera: not by what is tested."""
    lens = (*camera.distortion, 0, 0, 0, 0, 0)[:5]
    pinhole = PinholeCamera(
        camera.focal_px, camera.centre_px, camera.size_px, np.eye(3), np.zeros(3), lens
    )
    return pinhole.project(points_m)


LENS = Intrinsics((1200.0, 1150.0), (630.0, 370.0), (1280, 720), (-0.2, 0.05, 1e-3, -5e-4, 0.01))


@pytest.mark.parametrize("camera", [RIG_PLANE, LENS])
def test_a_known_person_is_placed(camera: Intrinsics) -> None:
    """To a millimetre, through a lens too, with joints missing."""
    pixels = seen(shape() + ROOT, camera)
    pixels[[3, 9, 16]] = np.nan
    found = place(shape(), pixels, SURE, camera)
    assert found is not None
    np.testing.assert_allclose(found.root_m, ROOT, atol=1e-3)
    assert (found.scale, found.error_px < 0.2) == (1.0, True)
    # nearly all that is not known is how large the person is
    assert 0.055 < np.sqrt(found.covariance_m2[2, 2]) / ROOT[2] < 0.06


def test_distance_is_as_wrong_as_the_size_is() -> None:
    """What an image cannot tell, and what the covariance is there for."""
    pixels = seen(1.1 * shape() + ROOT, RIG_PLANE)
    found = place(shape(), pixels, SURE, RIG_PLANE)
    assert found is not None
    assert_close(found.root_m, ROOT / 1.1)


@pytest.mark.parametrize("pitch", [0.0, 0.3])
def test_on_a_ground_the_size_is_found_too(pitch: float) -> None:
    """A person who is ten percent larger than their shape: distance and size are right."""
    ground = Ground(1.2, pitch)
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    assert_close(tilt @ ground.up, [0, -1, 0])
    # in a level camera's axes: the lower ankle, both are level here, 1.2 - 0.09 m below the camera
    root = np.array([0.3, 1.2 - 0.09 - 1.1 * 0.86, 2.6])
    level = 1.1 * shape() + root
    pixels = seen(level @ tilt, RIG_PLANE)
    found = place(shape() @ tilt, pixels, SURE, RIG_PLANE, ground)
    assert found is not None
    assert_close(found.scale, 1.1)
    assert_close(tilt @ found.root_m, root)
    # along the way to the person: the ankle's height over the camera's, more than nothing else
    towards = found.root_m / np.linalg.norm(found.root_m)
    spread = np.sqrt(towards @ found.covariance_m2 @ towards) / np.linalg.norm(found.root_m)
    assert 0.04 / 1.11 < spread < 1.5 * 0.04 / 1.11
    hidden = pixels.copy()
    hidden[ANKLES] = np.nan
    assert place(shape() @ tilt, hidden, SURE, RIG_PLANE, ground) is None
    assert place(shape() @ tilt, hidden, SURE, RIG_PLANE) is not None
    # nobody is twice as large as the network thinks
    assert place(0.5 * shape() @ tilt, pixels, SURE, RIG_PLANE, ground) is None


def test_noise_is_spread_as_the_covariance_says(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the size known: 90 % of the roots inside of the ellipsoid, and no bias."""
    monkeypatch.setattr(placement, "PIXEL_SPREAD", 0.0)
    pixels = seen(shape() + ROOT, RIG_PLANE)
    errors, squared = [], []
    for _ in range(400):
        noisy = pixels + rng.normal(0, 3.0, pixels.shape)
        found = place(shape(), noisy, SURE, RIG_PLANE, spread=PlaceSpread(depth=0.0))
        assert found is not None
        errors.append(found.root_m - ROOT)
        squared.append(errors[-1] @ np.linalg.solve(found.covariance_m2, errors[-1]))
    quantile = 3 * fisher.ppf(0.9, 3, 2 * JOINTS - 3)  # the pixels' variance is estimated, too
    assert 0.86 < np.mean(np.array(squared) < quantile) < 0.94
    assert np.abs(np.mean(errors, axis=0)).max() < 0.01
    assert np.std(errors, axis=0)[2] < 0.05


def test_errors_that_all_joints_share_are_added() -> None:
    """Across the line of sight 3 % of the distance, along it 8 % of it; a floor sees the first."""
    pixels = seen(shape() + ROOT, RIG_PLANE)
    own, shared = (
        place(shape(), pixels, SURE, RIG_PLANE, spread=spread)
        for spread in (PlaceSpread(0.0, 0.0), PlaceSpread(0.03, 0.08))
    )
    assert own is not None and shared is not None
    assert_close(shared.root_m, own.root_m)
    distance = np.linalg.norm(ROOT)
    towards = np.outer(ROOT, ROOT) / distance**2
    expected = distance**2 * (0.03**2 * (np.eye(3) - towards) + 0.08**2 * towards)
    np.testing.assert_allclose(shared.covariance_m2 - own.covariance_m2, expected, atol=1e-6)
    # 0.03 of 2.6 m up or down, at an ankle that is 0.91 m below the camera
    standing = shape() + [0.0, 0.05, 2.6]
    floor = Ground(1.0)
    pixels = seen(standing, RIG_PLANE)
    own, shared = (
        place(shape(), pixels, SURE, RIG_PLANE, floor, spread)
        for spread in (PlaceSpread(), PlaceSpread(0.03))
    )
    assert own is not None and shared is not None
    more = shared.covariance_m2[2, 2] - own.covariance_m2[2, 2]
    assert np.sqrt(more) == pytest.approx(0.03 * 2.6 / 0.91 * 2.6, rel=0.01)
    with pytest.raises(ValueError, match="must be 0 or more"):
        PlaceSpread(-0.1)


def test_a_range_moves_a_person_along_the_line_of_sight() -> None:
    """A tenth too large, so a tenth too near by size; the radars see the body's front."""
    pixels = seen(1.1 * shape() + ROOT, RIG_PLANE)
    by_size = place(shape(), pixels, SURE, RIG_PLANE)
    assert by_size is not None
    found = at_range(by_size, float(np.linalg.norm(ROOT)) - PELVIS_BEHIND_M)
    assert found is not None
    assert_close(found.root_m, ROOT)
    assert (found.scale, found.error_px) == (1.0, by_size.error_px)
    towards = ROOT / np.linalg.norm(ROOT)
    assert_close(found.covariance_m2 @ towards, RANGE_SPREAD_M**2 * towards)
    across = np.cross(towards, [0.0, 1.0, 0.0])
    of_both = [across @ place.covariance_m2 @ across for place in (by_size, found)]
    assert_close(of_both[1], 1.1**2 * of_both[0])
    # that is somebody else
    assert at_range(by_size, 1.4) is None and at_range(by_size, 3.5) is None


def test_a_joint_of_little_confidence_counts_little() -> None:
    pixels = seen(shape() + ROOT, RIG_PLANE)
    pixels[13] += 80.0
    trust = np.full(JOINTS, np.nan)  # not stated: as good as any
    alike = place(shape(), pixels, trust, RIG_PLANE)
    trust[13] = 0.01
    little = place(shape(), pixels, trust, RIG_PLANE)
    trust[13] = 0.0
    none = place(shape(), pixels, trust, RIG_PLANE)
    assert alike is not None and little is not None and none is not None
    off = [np.linalg.norm(found.root_m - ROOT) for found in (alike, little, none)]
    assert off[0] > 20 * off[1] > 0
    assert off[2] < 1e-6


def test_a_pixel_that_no_ray_leads_to_is_left_out() -> None:
    """A rational lens cannot be inverted far outside its image."""
    lens = (0.3, -0.1, 1e-3, -5e-4, 0.02, 0.6, -0.05, 0.03)
    camera = Intrinsics((1200.0, 1150.0), (630.0, 370.0), (1280, 720), lens)
    points = shape() + ROOT
    flat, _ = cv2.projectPoints(
        points,
        np.zeros(3),
        np.zeros(3),
        np.array([[1200.0, 0, 630], [0, 1150, 370], [0, 0, 1]]),
        np.array(lens),
    )
    pixels = flat[:, 0]
    pixels[16] = 1e200
    assert not np.isfinite(camera.rays(pixels)[16]).all()
    found = place(shape(), pixels, SURE, camera)
    assert found is not None
    np.testing.assert_allclose(found.root_m, ROOT, atol=1e-3)


def test_what_cannot_be_told_is_none() -> None:
    pixels = seen(shape() + ROOT, RIG_PLANE)
    few = np.full_like(pixels, np.nan)
    few[:3] = pixels[:3]
    assert place(shape(), few, SURE, RIG_PLANE) is None
    assert place(shape(), np.tile(pixels[:1], (JOINTS, 1)), SURE, RIG_PLANE) is None  # one ray
    assert place(shape(), 256 - pixels, SURE, RIG_PLANE) is None  # upside down: behind the camera


def test_numbers_that_are_no_camera_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Intrinsics((0.0, 100.0), (1.0, 1.0), (2, 2))
    with pytest.raises(ValueError, match="must be positive"):
        Intrinsics((math.nan, 100.0), (1.0, 1.0), (2, 2))
    with pytest.raises(ValueError, match=r"^centre_px must be finite, got \(1\.0, inf\)"):
        Intrinsics((100.0, 100.0), (1.0, math.inf), (2, 2))
    with pytest.raises(
        ValueError, match=r"^distortion must be finite, got \(nan, 0\.0, 0\.0, 0\.0\)"
    ):
        Intrinsics((100.0, 100.0), (1.0, 1.0), (2, 2), (math.nan, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="coefficients, got 3"):
        Intrinsics((100.0, 100.0), (1.0, 1.0), (2, 2), (0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match=r"at least 0\.29 m"):
        Ground(0.1)
    for height_m, pitch, name in ((math.nan, 0.0, "camera_height_m"), (1.0, math.inf, "pitch")):
        with pytest.raises(ValueError, match=f"^{name} must be a finite number, got "):
            Ground(height_m, pitch)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"joints_m": np.zeros((17, 2))}, r"joints_m must be \(joints, 3\), got \(17, 2\)$"),
        ({"pixels": np.zeros((14, 2))}, r"pixels must be \(17, 2\), as many .*, got \(14, 2\)$"),
        ({"pixels": np.zeros((17, 3))}, r"pixels must be \(17, 2\), as many .*, got \(17, 3\)$"),
        ({"confidence": 1.0}, r"confidence must be \(17,\), as many as joints_m, got \(\)$"),
        ({"pixels": [["a", "b"]] * 17}, r"pixels must be numbers"),
    ],
)
def test_other_shapes_are_named(given: dict, sentence: str) -> None:
    arguments = {
        "joints_m": shape(),
        "pixels": seen(shape() + ROOT, RIG_PLANE),
        "confidence": SURE,
    }
    with pytest.raises(ValueError, match=f"^{sentence}"):
        place(**{**arguments, **given}, camera=RIG_PLANE)


def test_a_ground_wants_the_joints_that_stand_on_it() -> None:
    some = shape()[:14], seen(shape() + ROOT, RIG_PLANE)[:14], SURE[:14]
    assert place(*some, RIG_PLANE) is not None
    with pytest.raises(ValueError, match=r"^joints_m must be \(17, 3\), got \(14, 3\)$"):
        place(*some, RIG_PLANE, Ground(1.2))
