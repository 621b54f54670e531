"""Human3.6M's and MPI-INF-3DHP's labels of images, written here in their layouts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.datasets import human36m_toolbox, labelled_images, mpi_inf_3dhp
from radar_pose_ros.datasets.labelled_images import apply_affine, crop, crop_affine
from radar_pose_ros.datasets.multiview import interleaved
from radar_pose_ros.datasets.simulated_poses import simulate_sequence
from radar_pose_ros.simulation.cameras import PinholeCamera
from radar_pose_ros.skeleton.definitions import H36M17, MPI17

LENS = (-0.2, 0.24, -0.001, 0.003, -0.02)


def cameras(size_px: tuple[int, int], lens: tuple[float, ...]) -> list[PinholeCamera]:
    """Four in the corners of a room, around people who stand some metres before the radars."""
    made = []
    for x, y in ((0.0, -3.0), (0.0, 3.0), (6.0, 3.0), (6.0, -3.0)):
        plain = PinholeCamera.looking_at([x, y, 1.6], [3, 0, 1], 1.15 * size_px[0], size_px)
        made.append(
            PinholeCamera(
                plain.focal_px, plain.centre_px, size_px, plain.rotation, plain.position_m, lens
            )
        )
    return made


def entry(camera: PinholeCamera, joints_m: np.ndarray, stored_translation: bool) -> dict:
    """What both layouts say of an image; joints in the world."""
    place = -camera.rotation @ camera.position_m if stored_translation else camera.position_m
    return {
        "joints_2d": camera.project(joints_m).astype(np.float32),
        "joints_3d_camera": (1000 * camera.to_camera(joints_m)).astype(np.float32),
        "joints_3d": np.full((17, 3), 12345.0),  # of the universal skeleton: never used
        "camera": {
            "R": camera.rotation,
            "T": 1000 * place.reshape(3, 1),
            **dict(zip(("fx", "fy"), camera.focal_px, strict=True)),
            **dict(zip(("cx", "cy"), camera.centre_px, strict=True)),
            "k": np.array([camera.distortion[k] for k in (0, 1, 4)]),
            "p": np.array(camera.distortion[2:4]),
        },
    }


def human36m(subject: int, frames: int = 10, action: int = 14) -> list[dict]:
    joints = simulate_sequence(subject, frames / 50, 50.0, "train").joints_m
    labels = []
    for number, camera in enumerate(cameras((1000, 1002), LENS)):
        folder = f"s_{subject:02d}_act_{action:02d}_subact_01_ca_{number + 1:02d}"
        labels += [
            {
                **entry(camera, joints[frame], False),
                "image": f"{folder}/{folder}_{frame + 1:06d}.jpg",
                "image_id": frame + 1,
                "joints_vis": np.ones((17, 3)),
                "video_id": 4 * subject + number,
                "subject": subject,
                "action": action,
                "subaction": 1,
                "camera_id": number,
                "source": "h36m",
                "box": np.array([400.0, 300.0, 600.0, 520.0]),
                "center": (np.float64(500.0), np.float64(410.0)),
                "scale": (1.0, 1.1),
            }
            for frame in range(frames)
        ]
    return labels


def mpi(subject: int, seq: int = 1, frames: int = 8) -> list[dict]:
    joints = simulate_sequence(subject, frames / 25, 25.0, "train").joints_m
    other = np.full((frames, 17, 3), np.nan)
    names = {"neck": "thorax", "head": "nose", "head_top": "head"}
    for joint, name in enumerate(MPI17.joints):
        other[:, joint] = joints[:, H36M17.index(names.get(name, name))]
    labels = []
    for number, camera in zip((0, 2, 7, 8), cameras((2048, 2048), (0.0,) * 5), strict=True):
        folder = f"s_{subject}_seq_{seq}_ca_{number}"
        labels += [
            {
                **entry(camera, other[frame], True),
                "image": f"{folder}/{folder}_{frame + 1:06d}.jpg",
                "image_id": frame + 1,
                "action": subject,
                "seq": seq,
                "camera_id": number,
            }
            for frame in range(frames)
        ]
    return labels


def write(root: Path, name: str, labels: object, protocol: int = 2) -> None:
    (root / "annot").mkdir(exist_ok=True)
    (root / "annot" / name).write_bytes(pickle.dumps(labels, protocol))


def test_human36m(tmp_path: Path) -> None:
    write(tmp_path, "h36m_train.pkl", human36m(1) + human36m(5, 6, 2))
    walking, directions = human36m_toolbox.load(tmp_path, "train")
    assert (walking.name, walking.subject) == ("S1 action 14 subaction 1", "S1")
    assert (walking.action, directions.action) == ("Walking", "Directions")
    assert (walking.rate_hz, walking.skeleton) == (50.0, "h36m17")
    joints = simulate_sequence(1, 0.2, 50.0, "train").joints_m
    for view, camera in zip(walking.views, cameras((1000, 1002), LENS), strict=True):
        assert view.frames.tolist() == list(range(1, 11))
        assert_close(view.camera.position_m, camera.position_m)
        assert_close(view.camera.distortion, LENS)
        assert_close(view.keypoints_px, camera.project(joints).astype(np.float32))
        assert_close(view.camera.to_world(view.joints_m).astype(np.float32), joints)
        assert_close(view.centre_px[3], np.float32([500, 410]))
        assert_close(view.side_px, np.full(10, 220, np.float32))
        assert view.visible.all()
    assert walking.views[2].images[4].endswith("ca_03/s_01_act_14_subact_01_ca_03_000005.jpg")


def test_mpi_inf_3dhp(tmp_path: Path) -> None:
    """T is a translation there, boxes follow from the root, and splits are by subject."""
    write(tmp_path, "3dhp_train.pkl", mpi(1, 2) + mpi(8))
    write(tmp_path, "3dhp_validation.pkl", mpi(2))
    first, second = mpi_inf_3dhp.load(tmp_path, "train")
    (test,) = mpi_inf_3dhp.load(tmp_path, "test")
    assert [take.name for take in (first, second, test)] == ["S1 seq 2", "S2 seq 1", "S8 seq 1"]
    assert [take.rate_hz for take in (first, second, test)] == [50.0, 25.0, 25.0]
    assert [view.name for view in test.views] == [f"camera_{k}" for k in (0, 2, 7, 8)]
    for view, camera in zip(test.views, cameras((2048, 2048), (0.0,) * 5), strict=True):
        assert_close(view.camera.position_m, camera.position_m)
        root = view.joints_m[0, 0].astype(float)
        left, right = (root[0] + side for side in (-1, 1))
        focal, centre = camera.focal_px[0], camera.centre_px[0]
        assert view.side_px[0] == pytest.approx(2 * focal / root[2], rel=1e-5)
        assert view.centre_px[0, 0] == pytest.approx(
            (left + right) / 2 / root[2] * focal + centre, rel=1e-5
        )
    (tmp_path / "annot" / "3dhp_validation.pkl").unlink()
    assert len(mpi_inf_3dhp.load(tmp_path, "train")) == 1
    with pytest.raises(FileNotFoundError, match=r"no annot/3dhp_train\.pkl and no annot/3dhp_val"):
        mpi_inf_3dhp.load(tmp_path / "elsewhere", "train")
    with pytest.raises(ValueError, match="unknown split 'validation', there are train, test"):
        mpi_inf_3dhp.load(tmp_path, "validation")


def test_recording(tmp_path: Path) -> None:
    labels = human36m(9)
    for label in labels:
        label["joints_vis"] = np.ones((17, 3))
        label["joints_vis"][4, 1] = 0.0
    write(tmp_path, "h36m_validation.pkl", labels)
    (take,) = human36m_toolbox.load(tmp_path, "validation")
    recording = take.recording()
    joints = simulate_sequence(9, 0.2, 50.0, "train").joints_m
    assert_close(recording.joints_at(np.arange(10) / 50).astype(np.float32), joints)
    assert recording.licence.startswith("Human3.6M")
    thinned = interleaved(recording)
    assert_close(thinned.views[1].stamps_s, [0.02, 0.1, 0.18])
    assert_close(thinned.views[3].keypoints_px, take.views[3].keypoints_px[[3, 7]])
    assert set(np.flatnonzero(thinned.views[0].confidence[0] == 0)) == {4}


def test_windows_are_consecutive_and_whole(tmp_path: Path) -> None:
    labels = human36m(9, 17)
    lost = [label for label in labels if (label["camera_id"], label["image_id"]) != (2, 7)]
    write(tmp_path, "h36m_validation.pkl", lost)
    (take,) = human36m_toolbox.load(tmp_path, "validation")
    windows = take.windows()
    assert windows.shape == (3, 4, 4)
    for window, first in zip(windows, (1, 9, 13), strict=True):
        for view, rows in zip(take.views, window, strict=True):
            assert view.frames[rows].tolist() == list(range(first, first + 4))
    assert windows[1, 2].tolist() == [7, 8, 9, 10] and windows[1, 1].tolist() == [8, 9, 10, 11]
    assert take.windows(2).tolist() == windows[::2].tolist()
    with pytest.raises(ValueError, match="want every 1st window or fewer, got 0"):
        take.windows(0)
    # the frame that one camera lost is in the truth
    assert np.isfinite(take.recording().joints_at([6 / 50])).all()


def test_images_are_read_when_they_are_wanted(tmp_path: Path) -> None:
    write(tmp_path, "h36m_train.pkl", human36m(1, 4) + human36m(5, 4))
    folders = {label["image"].split("/")[0] for label in human36m(1, 4)}
    for folder in folders:
        (tmp_path / "images" / folder).mkdir(parents=True)
    assert [t.subject for t in human36m_toolbox.load(tmp_path, "train")] == ["S1", "S5"]
    (take,) = human36m_toolbox.load(tmp_path, "train", with_images=True)
    assert take.subject == "S1"
    path = tmp_path / "images" / take.views[1].images[2]
    with pytest.raises(FileNotFoundError, match=rf"{path.name}: no such image of S1 action 14"):
        take.image(1, 2)
    red = np.zeros((40, 30, 3), np.uint8)
    red[..., 2] = 250  # blue, green, red
    cv2.imwrite(str(path), red)
    image = take.image(1, 2)
    assert image.shape == (40, 30, 3) and image[20, 15, 0] > 240 and image[20, 15, 2] < 10
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no image that can be read"):
        take.image(1, 2)


def test_crop() -> None:
    affine = crop_affine([500.0, 400.0], 200.0, 384)
    assert_close(apply_affine(affine, [500.0, 400.0]), [192, 192])
    assert_close(apply_affine(affine, [[400.0, 300.0], [600.0, 500.0]]), [[0, 0], [384, 384]])
    heatmap = crop_affine([500.0, 400.0], 200.0, 96)
    assert_close(4 * heatmap, affine)
    # half as large, and what was right of the middle is above it
    turned = crop_affine([500.0, 400.0], 200.0, 384, scale=2.0, rotation=np.pi / 2)
    assert_close(apply_affine(turned, [600.0, 400.0]), [192, 96])
    image = np.zeros((600, 800, 3), np.uint8)
    image[300:500, 400:600] = 200
    piece = crop(image, crop_affine([500.0, 400.0], 400.0, 64), 64)
    assert piece.shape == (64, 64, 3) and piece[32, 32].tolist() == [200] * 3
    assert piece[32, 12].tolist() == [0] * 3 and piece.mean() == pytest.approx(50, abs=3)
    with pytest.raises(ValueError, match="sides and scale must be positive, got 0"):
        crop_affine([0, 0], 0.0)


def changed(change: Callable[[list[dict]], object]) -> list[dict]:
    labels = copy.deepcopy(human36m(1, 4))
    change(labels)
    return labels


def each(**entries: object) -> list[dict]:
    return changed(lambda labels: [label.update(entries) for label in labels])


def every_camera(name: str, value: Callable[[np.ndarray], object]) -> list[dict]:
    def change(labels: list[dict]) -> None:
        for label in labels:
            label["camera"][name] = value(label["camera"][name])

    return changed(change)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"a": 1}, "want a list of labels, got dict"),
        ([1], "label 0: want a dictionary, got int"),
        ([{"image": "a"}], "label 0: lacks action, camera, camera_id, image_id, joints_2d"),
        (each(image="../../a.jpg"), r"label 15: '../../a.jpg' leads out of the folder of images"),
        (each(image="/a.jpg"), "label 15: want the image's path in the folder"),
        (each(image_id="1"), "label 15: image_id wants a whole number, got '1'"),
        (each(image_id=1), "a second label of frame 1"),
        (each(joints_2d=np.zeros((16, 2))), r"joints_2d wants the shape \(17, 2\), got \(16, 2\)"),
        (each(joints_2d=np.zeros((17, 2))), "projects .* px from joints_2d on the median"),
        (each(camera={}), "camera wants R, T, fx, fy, cx, cy"),
        (every_camera("T", lambda place: place[:2]), "camera's T wants 3 numbers, got 2"),
        (every_camera("R", lambda turn: 2 * turn), "camera: want a rotation matrix"),
        (every_camera("T", lambda place: place / 1000), r"see the same joints .* m apart"),
        (
            changed(lambda ls: [label.update(subject=9) for label in ls]),
            "holds S9, who are not of train",
        ),
    ],
)
def test_other_labels_are_refused(tmp_path: Path, labels: object, sentence: str) -> None:
    write(tmp_path, "h36m_train.pkl", labels)
    with pytest.raises(ValueError, match=sentence):
        human36m_toolbox.load(tmp_path, "train")


def test_a_translation_is_not_taken_for_a_place(tmp_path: Path) -> None:
    """Human3.6M's T is the camera's place; with t in its stead the views do not agree."""
    labels = human36m(1, 4)
    for label in labels:
        camera = label["camera"]
        label["camera"] = camera | {"T": -camera["R"] @ camera["T"]}
    write(tmp_path, "h36m_train.pkl", labels)
    with pytest.raises(ValueError, match=r"camera_0 and camera_1 see the same joints .* check R"):
        human36m_toolbox.load(tmp_path, "train")


def test_exchanged_sides_are_refused(tmp_path: Path) -> None:
    labels = human36m(1, 4)
    for label in labels:
        for name in ("joints_2d", "joints_3d_camera"):
            label[name] = label[name][H36M17.mirrored()]
    write(tmp_path, "h36m_train.pkl", labels)
    with pytest.raises(ValueError, match="left and right are exchanged"):
        human36m_toolbox.load(tmp_path, "train")


def test_pickles_are_not_run(tmp_path: Path) -> None:
    write(tmp_path, "h36m_train.pkl", [print])
    with pytest.raises(ValueError, match=r"h36m_train\.pkl: asks for (builtins|__builtin__)\.p"):
        human36m_toolbox.load(tmp_path, "train")
    with pytest.raises(ValueError, match="unknown split 'test', there are train, validation"):
        human36m_toolbox.load(tmp_path, "test")
    with pytest.raises(FileNotFoundError):
        human36m_toolbox.load(tmp_path, "validation")


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "a.pkl", human36m(1, 4) + human36m(5, 4))
    paths = [tmp_path / "annot" / "a.pkl"]
    (take,) = labelled_images.load(paths, tmp_path, human36m_toolbox.LAYOUT, ["S5"])
    assert take.subject == "S5"
    assert labelled_images.load(paths, tmp_path, human36m_toolbox.LAYOUT, ["S11"]) == []
