"""Poses of a person whom several cameras see at different instants, by DenseWarper.

What each view saw last is cut out around the person and drawn as heatmaps. The network moves those
of older views to the instant of the newest shot; where their joints are then is triangulated::

    newest shot per view -> crop -> heatmaps -> fused with the newest view's -> warper -> joints

The detector is more exact than the heatmaps: a joint keeps its place in the image and moves by as
much as the network has moved it in the heatmap [choice]. So whatever leaves heatmaps as they are
gives what `vision.comparators.hold_last` gives.

Unlike one image, a stream says more, of which a network's configuration may make use: what it is
shown is what `vision.alignment.Alignment` makes of the shots [choice]. Without that it takes for
movement what is the detector's or the calibration's, and moves joints to where one view alone has
them. Whoever can wait for each view's next shot needs no network: `vision.comparators.linear`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from radar_pose_ros.models.densewarper import DenseWarper
from radar_pose_ros.models.heatmaps import render_heatmaps, soft_argmax
from radar_pose_ros.models.ops.epipolar import fuse_slot, heatmap_projections
from radar_pose_ros.vision.alignment import Aligned
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.comparators import LONGEST_S, Poses, Recording, windows_of
from radar_pose_ros.vision.interleaving import Window
from radar_pose_ros.vision.windows import triangulate_aligned

MARGIN = 1.35
"""Side of the square that is cut out, over the longer side of the joints' box [choice]."""

BATCH = 16  # windows that a network is given at once [choice]

# What moves heatmaps to a slot: as `DenseWarper.warp_slot`, (heatmaps, fused, slot, dt_s).
Warp = Callable[[Tensor, Tensor, int, Tensor], Tensor]


class Views(NamedTuple):
    """Windows of as many views each, as a network wants them.

    Attributes
    ----------
    keypoints_px : Tensor
        float32 ``(windows, views, joints, 2)``, pixels of the heatmaps; NaN is unknown.
    confidence : Tensor
        float32 ``(windows, views, joints)``
    projections : Tensor
        float64 ``(windows, views, 3, 4)``, from the world in metres into the heatmaps.
    dt_s : Tensor
        float32 ``(windows, views)``, from when the view looked to the slot; 0 where it did not.
    slot : int
        Number of the view that looked last.
    """

    keypoints_px: Tensor
    confidence: Tensor
    projections: Tensor
    dt_s: Tensor
    slot: int


def crop(keypoints_px: ArrayLike, size: int, margin: ArrayLike = MARGIN) -> np.ndarray:
    """Return the map from an image to heatmaps of the square around a person.

    Parameters
    ----------
    keypoints_px : array_like, shape (..., joints, 2)
        NaN is unknown; without any, the heatmap is the image's corner.
    size : int
        Rows and columns of a heatmap. The square is never smaller.
    margin : array_like, shape (...)
        Side of the square over the longer side of the box around all joints.

    Returns
    -------
    ndarray of float64, shape (..., 2, 3)
        Affine, of pixels whose centres are whole numbers.
    """
    keypoints = np.asarray(keypoints_px, np.float64)
    known = np.asarray(np.isfinite(keypoints).all(-1))[..., None]
    low = np.where(known, keypoints, np.inf).min(-2)
    high = np.where(known, keypoints, -np.inf).max(-2)
    some = np.any(known, axis=(-2, -1))
    low, high = (np.where(some[..., None], corner, (size - 1) / 2) for corner in (low, high))
    side = np.maximum((high - low).max(-1) * np.asarray(margin), size)
    scale = (size / side)[..., None]
    made = np.zeros((*scale.shape[:-1], 2, 3))
    made[..., 0, 0] = made[..., 1, 1] = scale[..., 0]
    made[..., 2] = (size - 1) / 2 - scale * (low + high) / 2
    return made


def in_heatmaps(keypoints_px: np.ndarray, to_heatmap: np.ndarray) -> np.ndarray:
    """Return pixels of images, (..., joints, 2), as pixels of heatmaps, by maps from `crop`."""
    inside = np.einsum("...ij,...nj->...ni", to_heatmap[..., :2], keypoints_px)
    return inside + to_heatmap[..., None, :, 2]


def views_of(
    keypoints_px: ArrayLike,
    confidence: ArrayLike,
    dt_s: ArrayLike,
    projections: ArrayLike,
    slot: int,
    to_heatmap: np.ndarray,
) -> Views:
    """Return windows as a network wants them.

    Parameters
    ----------
    keypoints_px : array_like, shape (windows, views, joints, 2)
        Pixels of the images without distortion.
    confidence : array_like, shape (windows, views, joints)
    dt_s : array_like, shape (windows, views)
        From when the view looked to the slot; NaN where it did not.
    projections : array_like, shape (windows, views, 3, 4) or (views, 3, 4)
        From the world into the images.
    slot : int
    to_heatmap : ndarray, shape (windows, views, 2, 3)
        From `crop`.
    """
    keypoints = np.asarray(keypoints_px, np.float64)
    inside = in_heatmaps(keypoints, to_heatmap)
    matrices = np.broadcast_to(np.asarray(projections, np.float64), (*keypoints.shape[:2], 3, 4))
    return Views(
        keypoints_px=torch.from_numpy(inside.astype(np.float32)),
        confidence=torch.from_numpy(np.asarray(confidence, np.float32)),
        projections=heatmap_projections(
            torch.from_numpy(matrices.copy()), torch.from_numpy(to_heatmap)
        ),
        dt_s=torch.from_numpy(np.nan_to_num(np.asarray(dt_s, np.float32))),
        slot=slot,
    )


def heatmaps_of(views: Views, size: int) -> tuple[Tensor, Tensor]:
    """Draw each view's heatmaps, and fuse them with those of the view that looked last.

    Returns
    -------
    own, fused : Tensor
        ``(windows, views, joints, size, size)``
    """
    with torch.no_grad():
        own = render_heatmaps(views.keypoints_px, views.confidence, (size, size))
        return own, fuse_slot(own, views.projections, views.slot)


def move(
    warp: Warp,
    size: int,
    keypoints_px: np.ndarray,
    confidence: np.ndarray,
    dt_s: np.ndarray,
    projections: np.ndarray,
    slot: int,
    *,
    device: torch.device | str = "cpu",
    batch: int = BATCH,
) -> np.ndarray:
    """Return where the joints of all views are at the newest shot's instant.

    Parameters
    ----------
    warp : callable
        As `DenseWarper.warp_slot`.
    size : int
        Rows and columns of the heatmaps.
    keypoints_px, confidence, dt_s, projections, slot
        See `views_of`.
    device : torch.device or str
        Where ``warp`` computes.
    batch : int
        Windows at once.

    Returns
    -------
    ndarray of float64, shape (windows, views, joints, 2)
        Pixels of the images without distortion. A joint stays where it was seen if nothing is
        left of it in the moved heatmap; unknown ones stay unknown.
    """
    keypoints = np.asarray(keypoints_px, np.float64)
    matrices = np.broadcast_to(np.asarray(projections, np.float64), (*keypoints.shape[:2], 3, 4))
    moved = keypoints.copy()
    for first in range(0, len(keypoints), batch):
        some = slice(first, first + batch)
        to_heatmap = crop(keypoints[some], size)
        views = views_of(
            keypoints[some], confidence[some], dt_s[some], matrices[some], slot, to_heatmap
        )
        own, fused = heatmaps_of(views, size)
        with torch.no_grad():
            maps = warp(own.to(device), fused.to(device), slot, views.dt_s.to(device))
            steps = soft_argmax(maps.float().cpu()) - soft_argmax(own)
        scale = to_heatmap[..., 0, 0, None, None]
        moved[some] += np.nan_to_num(steps.double().numpy()) / scale
    return moved


class DenseWarperMethod:
    """Makes poses of windows, or of a recording, as `vision.comparators` does without a network.

    Parameters
    ----------
    network : DenseWarper
        Trained, on the device where it is to compute; a copy is taken.
    longest_s : float
        Of a recording's shots: a view whose newest shot is older is left out.
    batch : int
        Windows that the network is given at once.
    threads : int
        Slots that are computed at once: of a stream whose views take turns, as many windows. For
        a network as small as ``light`` that is faster than threads of torch.
    """

    def __init__(
        self,
        network: DenseWarper,
        longest_s: float = LONGEST_S,
        batch: int = BATCH,
        threads: int = 1,
    ) -> None:
        self.network = network.for_inference()
        self.longest_s = longest_s
        self.batch = batch
        self._pool = ThreadPoolExecutor(threads, "warper") if threads > 1 else None

    def poses(self, windows: Sequence[Window], cameras: Sequence[PinholeCamera]) -> Poses:
        """Return a pose for each window, at its instant.

        Parameters
        ----------
        windows : sequence of Window
            A view that is missing has no part in the pose.
        cameras : sequence of PinholeCamera
            One per view.

        Returns
        -------
        Poses
            As `triangulate_aligned`, of joints that were moved.

        Raises
        ------
        ValueError
            If there are fewer than two views, or the joints are not those of the network.
        """
        config = self.network.config
        shape = (len(cameras), config.joints, 2)
        for window in windows:
            if window.keypoints_px.shape != shape:
                raise ValueError(
                    f"this DenseWarper wants shots of {shape[0]} views with {shape[1]} joints, "
                    f"got {window.keypoints_px.shape[:2]}"
                )
        if not windows:
            return triangulate_aligned(windows, cameras, *_nothing(shape))
        seen = config.alignment(windows, cameras)
        keypoints = seen.keypoints_px.copy()
        matrices = np.stack([camera.projection_matrix for camera in cameras])
        newest = np.array([window.view for window in windows])
        device = next(self.network.parameters()).device

        def moved(slot: int) -> np.ndarray:
            chosen = newest == slot
            return move(
                self.network.warp_slot,
                config.size,
                seen.keypoints_px[chosen],
                seen.confidence[chosen],
                seen.age_s[chosen],
                matrices,
                slot,
                device=device,
                batch=self.batch,
            )

        slots = np.unique(newest).tolist()
        each = map if self._pool is None else self._pool.map
        for slot, found in zip(slots, each(moved, slots), strict=True):
            keypoints[newest == slot] = found
        return triangulate_aligned(windows, cameras, seen, keypoints)

    def __call__(self, recording: Recording) -> Poses:
        """Return a pose for each instant at which there is a shot of any view.

        Raises
        ------
        ValueError
            As `poses`.
        """
        cameras = [view.camera for view in recording.views]
        windows = windows_of(recording, self.longest_s)
        return self.poses(list(windows), cameras)


def _nothing(shape: tuple[int, int, int]) -> tuple[Aligned, np.ndarray]:
    """What views of (views, joints, 2) have in no windows."""
    keypoints, confidence, ages = (np.zeros((0, *shape[:n])) for n in (3, 2, 1))
    return Aligned(keypoints, confidence, ages, keypoints, confidence), keypoints
