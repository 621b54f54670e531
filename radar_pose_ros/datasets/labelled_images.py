"""Images of several cameras with the joints in them, labelled by lists of dictionaries.

AdaFuse and DenseWarper read Human3.6M and MPI-INF-3DHP like this: ``annot/<name>.pkl`` is a
pickled list with one dictionary for each image, `FIELDS` among others; ``images/`` holds a folder
for each take and camera. Pickles are read by `radar_pose_ros.datasets.object_arrays` without
running them, in Python: several thousand labels a second. Images are not opened before somebody
wants them.

Of the joints in space only ``joints_3d_camera`` is used. ``joints_3d``, beside it, is of
Human3.6M's universal skeleton: everybody's bones stretched to the same lengths, which projects
elsewhere than to where the person is. Networks that triangulate must not learn from it; users of
AdaFuse who did report errors of 28 mm in place of 19.5 mm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from radar_pose_ros.datasets import object_arrays
from radar_pose_ros.datasets.multiview import MultiViewRecording, SampledJoints, ViewShots
from radar_pose_ros.datasets.pose_sequences import check_sides
from radar_pose_ros.simulation.cameras import PinholeCamera

# What every label has to have; joints_vis, centre and scale may be missing.
FIELDS = ("image", "image_id", "camera_id", "camera", "joints_2d", "joints_3d_camera")
_CAMERA_FIELDS = ("R", "T", "fx", "fy", "cx", "cy")
_JOINTS = 17
# A box's scale is in units of so many pixels.
_SCALE_PX = 200.0
# The box around a person, from the root in the optical frame, where labels have none: as much to
# both sides, so much up, so much down. That of the H36M-Toolbox.
_BOX_SIDE_M, _BOX_UP_M, _BOX_DOWN_M = 1.0, 0.9, 1.1
# Labels agree with each other if the median is below these. Choices: wrong units, axes or cameras
# miss by far more.
_PIXELS_AGREE_PX = 20.0
_VIEWS_AGREE_M = 0.05
_CHECK_EVERY = 25
# Side of the image that networks take; that of their heatmaps is a quarter of it.
CROP_PX = 384


@dataclass(frozen=True)
class LabelledView:
    """The images of one camera, and the joints in them.

    Parameters
    ----------
    name : str
        The camera's.
    camera : PinholeCamera
    frames : ndarray of int64, shape (images,)
        Numbers of the frames, from 1, increasing; the same in all views of a take.
    images : tuple of str
        Files, in the folder of images.
    keypoints_px : ndarray of float32, shape (images, 17, 2)
        True joints in the image.
    visible : ndarray of bool, shape (images, 17)
    joints_m : ndarray of float32, shape (images, 17, 3)
        True joints in the camera's optical frame.
    centre_px : ndarray of float32, shape (images, 2)
        Middle of the box around the person.
    side_px : ndarray of float32, shape (images,)
        The box's longer side.
    """

    name: str
    camera: PinholeCamera
    frames: np.ndarray = field(repr=False)
    images: tuple[str, ...] = field(repr=False)
    keypoints_px: np.ndarray = field(repr=False)
    visible: np.ndarray = field(repr=False)
    joints_m: np.ndarray = field(repr=False)
    centre_px: np.ndarray = field(repr=False)
    side_px: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class LabelledTake:
    """What one person did, as all cameras saw it.

    Parameters
    ----------
    name, subject, action : str
    rate_hz : float
        Frames per second.
    skeleton : str
    views : tuple of LabelledView
        In the order of the cameras' numbers.
    folder : Path
        Of the images.
    licence : str
    """

    name: str
    subject: str
    action: str
    rate_hz: float
    skeleton: str
    views: tuple[LabelledView, ...] = field(repr=False)
    folder: Path = field(repr=False)
    licence: str = ""

    def recording(self) -> MultiViewRecording:
        """Return the true keypoints as a recording; frame 1 is at 0 s.

        The confidence is 1 for visible joints and 0 for others. The truth is the mean of what the
        views' labels say of a frame, in the world; between frames it is interpolated.
        """
        frames = np.unique(np.concatenate([view.frames for view in self.views]))
        joints = np.zeros((len(frames), _JOINTS, 3))
        counts = np.zeros((len(frames), 1, 1))
        for view in self.views:
            rows = np.searchsorted(frames, view.frames)
            joints[rows] += view.camera.to_world(view.joints_m)
            counts[rows] += 1
        return MultiViewRecording(
            name=self.name,
            subject=self.subject,
            action=self.action,
            skeleton=self.skeleton,
            views=tuple(
                ViewShots(
                    name=view.name,
                    camera=view.camera,
                    stamps_s=(view.frames - 1) / self.rate_hz,
                    keypoints_px=view.keypoints_px,
                    confidence=view.visible.astype(np.float32),
                )
                for view in self.views
            ),
            # nothing is known of what happened while no image was taken
            truth=SampledJoints((frames - 1) / self.rate_hz, joints / counts, 1.5 / self.rate_hz),
            licence=self.licence,
        )

    def windows(self, every: int = 1) -> np.ndarray:
        """Return groups of as many consecutive frames as there are views.

        A group begins with a frame of which the number, less one, is a multiple of the number of
        views. Cameras that fire one after another give image ``[w, c, c]`` of view c; targets are
        wanted for all. Groups of which an image is missing are left out.

        Parameters
        ----------
        every : int
            Only every so many of these groups.

        Returns
        -------
        ndarray of int64, shape (windows, views, slots)
            Number of the image in its view; there are as many slots as views.

        Raises
        ------
        ValueError
            If ``every`` is not positive.
        """
        if every < 1:
            raise ValueError(f"{self.name}: want every 1st window or fewer, got {every}")
        count = len(self.views)
        common = set(self.views[0].frames.tolist()) if count else set()
        for view in self.views[1:]:
            common &= set(view.frames.tolist())
        firsts = [
            frame
            for frame in sorted(common)
            if (frame - 1) % count == 0 and all(frame + k in common for k in range(count))
        ][::every]
        wanted = np.array(firsts, np.int64).reshape(-1, 1) + np.arange(count)
        rows = [np.searchsorted(view.frames, wanted) for view in self.views]
        return np.stack(rows, axis=1) if rows else np.zeros((0, 0, 0), np.int64)

    def image(self, view: int, number: int) -> np.ndarray:
        """Return an image, shape (height, width, 3), RGB of 8 bits.

        Raises
        ------
        FileNotFoundError
            If the file is not there.
        ValueError
            If it is no image.
        """
        path = self.folder / self.views[view].images[number]
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such image of {self.name}")
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{path}: no image that can be read")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


@dataclass(frozen=True)
class Layout:
    """What differs between data sets of this layout.

    Attributes
    ----------
    skeleton, licence : str
    size_px : (int, int)
        Width and height of the images.
    camera_ids : tuple of int
        Of the cameras in use, in the order of the views.
    keys : tuple of str
        Fields of a label that together say the take.
    subject, action : callable
        From the values of these fields to the name of the person, and of what is done.
    rate_hz : callable
        From the values of these fields to frames per second.
    stored_translation : bool
        Whether ``T`` is the t of ``x_camera = R x_world + t``; else it is the camera's place.
    """

    skeleton: str
    licence: str
    size_px: tuple[int, int]
    camera_ids: tuple[int, ...]
    keys: tuple[str, ...]
    subject: Callable[[tuple[int, ...]], str]
    action: Callable[[tuple[int, ...]], str]
    rate_hz: Callable[[tuple[int, ...]], float]
    stored_translation: bool = False


def load(
    paths: Iterable[Path],
    folder: Path | str,
    layout: Layout,
    subjects: Sequence[str] | None = None,
    with_images: bool = False,
) -> list[LabelledTake]:
    """Read labels.

    Parameters
    ----------
    paths : iterable of Path
        Pickled lists; no image may be labelled twice.
    folder : Path
        Of the images.
    layout : Layout
    subjects : sequence of str, optional
        Only these people; all by default.
    with_images : bool
        Leave out takes of which a camera's folder of images is missing.

    Returns
    -------
    list of LabelledTake
        In the order of their keys.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is not of this layout, an image is labelled twice, joints in space do not project
        to those in the image, views do not agree about where somebody is, or left is right.
    """
    paths = list(paths)
    takes: dict[tuple[int, ...], dict[int, dict[int, tuple[dict, str]]]] = {}
    for path in paths:
        labels = object_arrays.read_pickle(path)
        if not isinstance(labels, list):
            raise ValueError(f"{path}: want a list of labels, got {type(labels).__name__}")
        while labels:  # from the end, so that their memory is free as soon as it can be
            where = f"{path}: label {len(labels) - 1}"
            label = labels.pop()
            key, camera_id, frame = _place(label, layout, where)
            if camera_id not in layout.camera_ids or (
                subjects is not None and layout.subject(key) not in subjects
            ):
                continue
            images = takes.setdefault(key, {}).setdefault(camera_id, {})
            if frame in images:
                raise ValueError(f"{where}: a second label of frame {frame}, {label['image']}")
            images[frame] = (label, where)
    made = [
        _take(key, takes[key], Path(folder), layout)
        for key in sorted(takes)
        if not with_images or _has_images(takes[key], Path(folder))
    ]
    joints = [
        view.camera.to_world(view.joints_m[::_CHECK_EVERY]) for take in made for view in take.views
    ]
    if joints:
        check_sides(np.concatenate(joints), layout.skeleton, ", ".join(map(str, paths)))
    return made


def crop_affine(
    centre_px: ArrayLike,
    side_px: float,
    output_px: float = CROP_PX,
    scale: float = 1.0,
    rotation: float = 0.0,
) -> np.ndarray:
    """Return the way from an image to a square piece of it.

    Parameters
    ----------
    centre_px : array_like, shape (2,)
        Of the piece, in the image; becomes the middle of what comes out.
    side_px : float
        Of the piece, in the image.
    output_px : float
        Of what comes out: 384 for the network's image, a quarter of that for its heatmaps.
    scale : float
        Factor on the side: above 1 the person gets smaller.
    rotation : float
        Radians; positive turns what is seen counter-clockwise.

    Returns
    -------
    ndarray of float64, shape (2, 3)
        ``A``, with ``p_out = A (u, v, 1)``.

    Raises
    ------
    ValueError
        If a side or the scale is not positive.
    """
    if not min(side_px, output_px, scale) > 0:
        raise ValueError(
            f"sides and scale must be positive, got {side_px}, {output_px} and {scale}"
        )
    factor = output_px / (side_px * scale)
    cosine, sine = np.cos(rotation), np.sin(rotation)
    turn = factor * np.array([[cosine, sine], [-sine, cosine]])
    shift = output_px / 2 - turn @ np.asarray(centre_px, np.float64)
    return np.column_stack([turn, shift])


def crop(image: np.ndarray, affine: np.ndarray, output_px: int = CROP_PX) -> np.ndarray:
    """Return the piece of an image, shape ``(output_px, output_px, 3)``; black outside of it."""
    return np.asarray(
        cv2.warpAffine(image, affine, (output_px, output_px), flags=cv2.INTER_LINEAR)
    )


def apply_affine(affine: np.ndarray, points_px: ArrayLike) -> np.ndarray:
    """Return where `crop_affine` brings points, shape ``(..., 2)``."""
    return np.asarray(points_px, np.float64) @ affine[:, :2].T + affine[:, 2]


def _place(label: Any, layout: Layout, where: str) -> tuple[tuple[int, ...], int, int]:
    """Return the take, the camera and the frame of a label."""
    if not isinstance(label, dict):
        raise ValueError(f"{where}: want a dictionary, got {type(label).__name__}")
    missing = sorted({*FIELDS, *layout.keys} - label.keys())
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(missing)}")
    if not isinstance(label["image"], str) or Path(label["image"]).is_absolute():
        raise ValueError(f"{where}: want the image's path in the folder, got {label['image']!r}")
    if ".." in Path(label["image"]).parts:
        raise ValueError(f"{where}: {label['image']!r} leads out of the folder of images")
    numbers = []
    for name in (*layout.keys, "camera_id", "image_id"):
        value = label[name]
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise ValueError(f"{where}: {name} wants a whole number, got {value!r}")
        numbers.append(int(value))
    return tuple(numbers[:-2]), numbers[-2], numbers[-1]


def _has_images(views: dict[int, dict[int, tuple[dict, str]]], folder: Path) -> bool:
    return all(
        (folder / next(iter(images.values()))[0]["image"]).parent.is_dir()
        for images in views.values()
    )


def _take(
    key: tuple[int, ...],
    views: dict[int, dict[int, tuple[dict, str]]],
    folder: Path,
    layout: Layout,
) -> LabelledTake:
    name = " ".join(
        [layout.subject(key), *(f"{k} {v}" for k, v in zip(layout.keys[1:], key[1:], strict=True))]
    )
    made = [
        _view(views[camera_id], camera_id, layout)
        for camera_id in layout.camera_ids
        if camera_id in views
    ]
    _check_views(made, name)
    return LabelledTake(
        name=name,
        subject=layout.subject(key),
        action=layout.action(key),
        rate_hz=layout.rate_hz(key),
        skeleton=layout.skeleton,
        views=tuple(made),
        folder=folder,
        licence=layout.licence,
    )


def _view(images: dict[int, tuple[dict, str]], camera_id: int, layout: Layout) -> LabelledView:
    frames = sorted(images)
    first, where = images[frames[0]]
    camera = _camera(first["camera"], layout, where)
    rows = [images[frame] for frame in frames]
    keypoints = np.stack([_numbers(row, "joints_2d", (_JOINTS, 2), at) for row, at in rows])
    joints_m = 1e-3 * np.stack(
        [_numbers(row, "joints_3d_camera", (_JOINTS, 3), at) for row, at in rows]
    )
    visible = np.stack(
        [
            _numbers(row, "joints_vis", (_JOINTS, 3), at).all(-1)
            if "joints_vis" in row
            else np.ones(_JOINTS, bool)
            for row, at in rows
        ]
    )
    boxes = np.stack(
        [_box(row, camera, joints, at) for (row, at), joints in zip(rows, joints_m, strict=True)]
    )
    projected = camera.project(camera.to_world(joints_m))
    off_px = _median(np.linalg.norm(projected - keypoints, axis=-1))
    if off_px >= _PIXELS_AGREE_PX:
        raise ValueError(
            f"{where} and on: joints_3d_camera projects {off_px:.4g} px from joints_2d on the "
            f"median; want millimetres in this camera's frame"
        )
    return LabelledView(
        name=f"camera_{camera_id}",
        camera=camera,
        frames=np.array(frames, np.int64),
        images=tuple(row["image"] for row, _ in rows),
        keypoints_px=keypoints.astype(np.float32),
        visible=visible,
        joints_m=joints_m.astype(np.float32),
        centre_px=boxes[:, :2].astype(np.float32),
        side_px=boxes[:, 2].astype(np.float32),
    )


def _numbers(label: dict, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    values = object_arrays.numbers(label[name], f"{where}: {name}").astype(np.float64)
    if values.shape != shape:
        raise ValueError(f"{where}: {name} wants the shape {shape}, got {values.shape}")
    return values


def _camera(entries: Any, layout: Layout, where: str) -> PinholeCamera:
    if not isinstance(entries, dict) or not {*_CAMERA_FIELDS} <= entries.keys():
        raise ValueError(f"{where}: camera wants {', '.join(_CAMERA_FIELDS)}")
    lengths = {"R": 9, "T": 3, "fx": 1, "fy": 1, "cx": 1, "cy": 1, "k": 3, "p": 2}
    values = {}
    for name, length in lengths.items():
        given = entries.get(name, np.zeros(length))
        values[name] = object_arrays.numbers(given, f"{where}: {name}").astype(float).ravel()
        if len(values[name]) != length:
            raise ValueError(
                f"{where}: camera's {name} wants {length} numbers, got {len(values[name])}"
            )
    rotation, place = values["R"].reshape(3, 3), values["T"] * 1e-3
    (k1, k2, k3), (p1, p2) = values["k"].tolist(), values["p"].tolist()
    try:
        return PinholeCamera(
            focal_px=(float(values["fx"][0]), float(values["fy"][0])),
            centre_px=(float(values["cx"][0]), float(values["cy"][0])),
            size_px=layout.size_px,
            rotation=rotation,
            position_m=-rotation.T @ place if layout.stored_translation else place,
            distortion=(k1, k2, p1, p2, k3),
        )
    except ValueError as error:
        raise ValueError(f"{where}: camera: {error}") from None


def _box(label: dict, camera: PinholeCamera, joints_m: np.ndarray, where: str) -> np.ndarray:
    """Return the middle of a box and its longer side."""
    if "center" in label and "scale" in label:
        centre = _numbers(label, "center", (2,), where)
        side = _SCALE_PX * _numbers(label, "scale", (2,), where).max()
        return np.array([*centre, side])
    root = joints_m[0]
    corners = root[:2] + np.array([[-_BOX_SIDE_M, -_BOX_UP_M], [_BOX_SIDE_M, _BOX_DOWN_M]])
    pixels = corners / root[2] * camera.focal_px + camera.centre_px
    return np.array([*pixels.mean(0), (pixels[1] - pixels[0]).max()])


def _check_views(views: list[LabelledView], name: str) -> None:
    """Check that the cameras stand where their labels, brought to the world, agree."""
    first = views[0]
    for view in views[1:]:
        _, one, other = np.intersect1d(first.frames, view.frames, return_indices=True)
        if not len(one):
            continue
        here, there = (
            v.camera.to_world(v.joints_m[rows]) for v, rows in ((first, one), (view, other))
        )
        off_m = _median(np.linalg.norm(here - there, axis=-1))
        if off_m >= _VIEWS_AGREE_M:
            raise ValueError(
                f"{name}: {first.name} and {view.name} see the same joints {off_m:.4g} m apart on "
                f"the median; check R and T"
            )


def _median(values: np.ndarray) -> float:
    """Return the median of what is known; infinite if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("inf")
