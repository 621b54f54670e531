"""Faces in a video: where they are from frame to frame, and the colours of their skin.

A detector looks for faces now and then; in between their texture is followed. The detector's boxes
tremble by some pixels, which would be a signal in the colours; so they only pull the followed box,
slowly where it is nearly right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from radar_pose_ros.vision.face_detectors import Detector, cascade_detector
from radar_pose_ros.vision.skin import (
    QUADRANTS,
    REGIONS,
    Box,
    FaceSample,
    SkinSampler,
    check_image,
    quadrant_weights,
)

# Choices; distances are in widths of the face.
_SAME = 0.6  # distance plus logarithm of the sizes' ratio up to which a detection is this face
# A detection nearer than the first pulls by a tenth, after the first ones, which are averaged; one
# farther than the second is taken as it is.
_NEAR, _FAR = 0.1, 0.2
_OVERLAP = 0.75  # faces that are nearer to each other hide each other
_POINTS = 30
_LK_WINDOW = (13, 13)


class Face(NamedTuple):
    """A face that is followed.

    Attributes
    ----------
    id : int
        The same from frame to frame.
    box_px : (float, float, float, float)
        x, y of the corner, width and height, as OpenCV's face cascade draws it.
    seen_s : float
        Time of the last detection.
    """

    id: int
    box_px: Box
    seen_s: float


class RegionTracker(Protocol):
    """What follows regions of skin: faces, or a place that stays."""

    regions: tuple[str, ...]

    def update(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        """Return what is in a frame; times increase."""
        ...

    def sample(self, image_bgr: np.ndarray, face: Face) -> FaceSample:
        """Return the colours of a face in the frame of the last update."""
        ...


@dataclass
class _Track:
    """A face, or what may be one, in pixels of the small image."""

    id: int
    centre: np.ndarray  # (2,)
    size: float
    seen_s: float
    missed_s: float = np.inf  # since then the detector has not found it
    detections: int = 1
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # per second
    pull: np.ndarray = field(default_factory=lambda: np.zeros(3))  # left to go: x, y, size

    @property
    def confirmed(self) -> bool:
        return self.detections >= 2


class FaceTracker:
    """Follows all faces in a video.

    Parameters
    ----------
    detector : Detector or None
        Finds faces in a BGR image; None takes `cascade_detector`.
    detect_every_s : float
        How often it looks; three times as often while a face is new or was not found again.
    keep_s : float
        A face that the detector misses for longer, again and again, is gone.
    thumbnail_px : int
        Side of the samples' thumbnails; 0 leaves them out.
    sought_px : int
        Images are reduced to this width before faces are sought. The cascade finds those of 38
        pixels of it: with 640, faces of 6 % of the image's width, and of 38 pixels in images that
        are not wider. Half the width takes a quarter of the time and finds none below 12 %.
    followed_px : int
        Images are reduced to this width to follow faces from one detection to the next.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    regions: tuple[str, ...] = REGIONS

    def __init__(
        self,
        detector: Detector | None = None,
        *,
        detect_every_s: float = 0.5,
        keep_s: float = 1.0,
        thumbnail_px: int = 128,
        sought_px: int = 640,
        followed_px: int = 320,
    ) -> None:
        if not (detect_every_s > 0 and keep_s > 0 and thumbnail_px >= 0):
            raise ValueError(
                "detect_every_s and keep_s must be positive, thumbnail_px not negative, got "
                f"{detect_every_s}, {keep_s}, {thumbnail_px}"
            )
        if min(sought_px, followed_px) < 64:
            raise ValueError(
                f"sought_px and followed_px must be at least 64, got {sought_px}, {followed_px}"
            )
        self._detect = cascade_detector() if detector is None else detector
        self._every_s, self._keep_s = detect_every_s, keep_s
        self._thumbnail_px = thumbnail_px
        self._sought_px, self._followed_px = sought_px, followed_px
        self._tracks: list[_Track] = []
        self._samplers: dict[int, SkinSampler] = {}
        self._next_id = 0
        self._next_look_s = -np.inf
        self._time_s = -np.inf
        self._previous: np.ndarray | None = None

    def update(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        """Return the faces in a frame.

        Parameters
        ----------
        image_bgr : ndarray of uint8, shape (height, width, 3)
        time_s : float
            Must increase.

        Returns
        -------
        list of Face
            In the order of their ids. A face is reported once the detector has found it twice.
            Of those that were found first in the same frame the largest has the lowest id.

        Raises
        ------
        ValueError
            If the image is not one, or the time does not increase.
        """
        check_image(image_bgr)
        if not time_s > self._time_s:
            raise ValueError(f"times must increase, got {time_s} s after {self._time_s} s")
        passed_s, self._time_s = time_s - self._time_s, time_s
        small, by = _reduced(image_bgr, self._followed_px)
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0)
        if self._tracks:
            self._follow(grey, passed_s)
        self._previous = grey
        if time_s >= self._next_look_s:
            self._look(*_reduced(image_bgr, self._sought_px), grey, by)
        self._forget(small.shape)
        return [
            _face(track, by)
            for track in sorted(self._tracks, key=lambda track: track.id)
            if track.confirmed
        ]

    def sample(self, image_bgr: np.ndarray, face: Face) -> FaceSample:
        """Return the colours of a face in the frame of the last update; see `FaceSample`."""
        if face.id not in self._samplers:
            self._samplers[face.id] = SkinSampler(self._thumbnail_px)
        return self._samplers[face.id].sample(image_bgr, face.box_px, self._time_s)

    # --- between detections ------------------------------------------------------------------

    def _follow(self, grey: np.ndarray, passed_s: float) -> None:
        """Move the faces with their texture, and on towards where they were detected."""
        flows = self._flows(grey)
        for track, (old, new) in zip(self._tracks, flows, strict=True):
            at = track.centre.copy()
            hidden = any(
                np.linalg.norm(other.centre - at) < _OVERLAP * max(track.size, other.size)
                for other in self._tracks
                if other is not track and other.confirmed and track.confirmed
            )
            moved = None if hidden else similarity(old, new)
            if moved is None:  # as it went before: behind another face there is no own texture
                track.centre = at + passed_s * track.velocity
                track.points = new
            else:
                inside, scale, old_middle, new_middle = moved
                track.centre = new_middle + scale * (at - old_middle)
                track.size *= scale
                track.points = new[inside]
                speed = (track.centre - at) / passed_s
                track.velocity += min(1.0, passed_s / 0.3) * (speed - track.velocity)
            step = track.pull * min(1.0, passed_s / self._every_s)
            track.pull -= step
            track.centre += step[:2]
            track.size += step[2]

    def _flows(self, grey: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return where each track's points were and are, as far as they were found again."""
        points = np.concatenate([track.points for track in self._tracks])
        if self._previous is None or self._previous.shape != grey.shape or not len(points):
            return [(track.points[:0], track.points[:0]) for track in self._tracks]
        found, good, _ = cv2.calcOpticalFlowPyrLK(
            self._previous, grey, points, points.copy(), winSize=_LK_WINDOW, maxLevel=2
        )
        flows, start = [], 0
        for track in self._tracks:
            part = slice(start, start + len(track.points))
            kept = good[part, 0] == 1
            flows.append((points[part][kept], found[part][kept]))
            start = part.stop
        return flows

    # --- detections --------------------------------------------------------------------------

    def _look(self, image: np.ndarray, image_by: float, grey: np.ndarray, by: float) -> None:
        """Detect; move what was known towards it, begin what is new.

        The image to detect in and the grey one were reduced by these factors.
        """
        scale = image_by / by
        found = [
            (scale * np.array([x + width / 2, y + height / 2]), scale * (width + height) / 2)
            for x, y, width, height in sorted(self._detect(image), key=_largest_first)
        ]
        cost = np.array(
            [
                [
                    np.linalg.norm(track.centre - centre) / track.size
                    + abs(np.log(size / track.size))
                    for centre, size in found
                ]
                for track in self._tracks
            ]
        ).reshape(len(self._tracks), len(found))
        known: set[int] = set()
        matched: set[int] = set()
        # A face that is far from all detections costs the same wherever it goes.
        for row, column in zip(*linear_sum_assignment(np.minimum(cost, _SAME)), strict=True):
            if cost[row, column] < _SAME:
                self._correct(self._tracks[row], *found[column])
                known.add(int(column))
                matched.add(int(row))
        missed = len(matched) < len(self._tracks)
        for column, (centre, size) in enumerate(found):
            if column not in known and not (cost[:, column] < _SAME).any():
                self._tracks.append(_Track(self._next_id, centre, size, self._time_s))
                self._next_id += 1
        for track in self._tracks:
            if track.seen_s < self._time_s:
                track.missed_s = min(track.missed_s, self._time_s)
            else:
                track.points = _texture(grey, track)
        urgent = missed or not all(track.confirmed for track in self._tracks)
        self._next_look_s = self._time_s + self._every_s / (3 if urgent else 1)

    def _correct(self, track: _Track, centre: np.ndarray, size: float) -> None:
        off = np.array([*(centre - track.centre), size - track.size])
        far = np.abs(off).max() / track.size
        track.detections += 1
        least = max(0.1, 1 / track.detections)
        share = np.clip((far - _NEAR) / (_FAR - _NEAR), least, 1.0)
        if share == 1.0:
            track.centre, track.size = centre, size
            track.pull = np.zeros(3)
        else:
            track.pull = share * off
        track.seen_s = self._time_s
        track.missed_s = np.inf

    def _forget(self, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        self._tracks = [
            track
            for track in self._tracks
            if self._time_s - track.missed_s <= self._keep_s
            and 0 < track.centre[0] < width
            and 0 < track.centre[1] < height
        ]
        alive = {track.id for track in self._tracks}
        for gone in set(self._samplers) - alive:
            del self._samplers[gone]


class FixedRegion:
    """A place that stays, with the interface of a `FaceTracker`: its regions are its quarters.

    Parameters
    ----------
    box_px : (float, float, float, float)
        x, y of the corner, width and height.
    thumbnail_px : int
        Side of the samples' thumbnails; 0 leaves them out.

    Raises
    ------
    ValueError
        If the box is smaller than 8 x 8 pixels.
    """

    regions: tuple[str, ...] = QUADRANTS

    def __init__(self, box_px: Box, *, thumbnail_px: int = 128) -> None:
        if not (np.isfinite(box_px).all() and min(box_px[2:]) >= 8):
            raise ValueError(f"a region wants x, y and at least 8 x 8 pixels, got {box_px}")
        self._box_px = box_px
        self._sampler = SkinSampler(thumbnail_px, quadrant_weights())
        self._time_s = -np.inf

    def update(self, image_bgr: np.ndarray, time_s: float) -> list[Face]:
        """Return the region as the only face, with id 0, seen now.

        Raises
        ------
        ValueError
            If the region is not inside the image, or the time does not increase.
        """
        check_image(image_bgr)
        if not time_s > self._time_s:
            raise ValueError(f"times must increase, got {time_s} s after {self._time_s} s")
        self._time_s = time_s
        x, y, width, height = self._box_px
        rows, columns = image_bgr.shape[:2]
        if not (min(x, y) >= 0 and x + width <= columns and y + height <= rows):
            raise ValueError(
                f"the region {self._box_px} is not inside the image of {columns} x {rows} pixels"
            )
        return [Face(0, self._box_px, time_s)]

    def sample(self, image_bgr: np.ndarray, face: Face) -> FaceSample:
        """Return the colours of the quarters; see `FaceSample`."""
        return self._sampler.sample(image_bgr, face.box_px, self._time_s)


def similarity(
    old: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray] | None:
    """Return the shift and scale that most points agree on; blinks and lips do not count.

    Parameters
    ----------
    old, new : ndarray, shape (N, 2)

    Returns
    -------
    (ndarray of bool (N,), float, ndarray (2,), ndarray (2,)), or None
        Which points agree, the scale, and their middles before and after; None if fewer than six
        agree.
    """
    if len(old) < 6:
        return None
    shift = new - old
    off = np.abs(shift - np.median(shift, axis=0)).max(axis=1)
    inside = off <= max(0.3, 3 * float(np.median(off)))
    if inside.sum() < 6:
        return None
    before, after = old[inside].astype(np.float64), new[inside].astype(np.float64)
    old_middle, new_middle = before.mean(axis=0), after.mean(axis=0)
    arms = before - old_middle
    length = float((arms**2).sum())
    scale = float((arms * (after - new_middle)).sum()) / length if length > 1e-6 else 1.0
    return inside, float(np.clip(scale, 0.9, 1.1)), old_middle, new_middle


def _reduced(image: np.ndarray, widest_px: int) -> tuple[np.ndarray, float]:
    """Return an image that is no wider than this, and by which factor it was reduced."""
    height, width = image.shape[:2]
    by = max(1.0, width / widest_px)
    if by == 1:
        return image, by
    size = (round(width / by), round(height / by))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), by


def _largest_first(box: Box) -> tuple[float, ...]:
    """Return a key to sort boxes by: OpenCV's cascade has threads, and gives them in any order."""
    x, y, width, height = box
    return -width * height, x, y


def _texture(grey: np.ndarray, track: _Track) -> np.ndarray:
    """Return places in the face that can be found again, (N, 2) float32."""
    x, y = np.maximum(0, track.centre - 0.4 * track.size).astype(int)
    right, bottom = np.maximum(0, track.centre + 0.4 * track.size).astype(int)
    part = grey[y:bottom, x:right]
    if min(part.shape) < 8:
        return np.zeros((0, 2), np.float32)
    found = cv2.goodFeaturesToTrack(part, _POINTS, 0.03, max(3.0, track.size / 14))
    if found is None:
        return np.zeros((0, 2), np.float32)
    return found.reshape(-1, 2) + np.array([x, y], np.float32)


def _face(track: _Track, by: float) -> Face:
    x, y = (track.centre - track.size / 2) * by
    side = track.size * by
    return Face(track.id, (float(x), float(y), float(side), float(side)), track.seen_s)
