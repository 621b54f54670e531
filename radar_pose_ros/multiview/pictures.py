"""Pictures of poses that several cameras saw: over their images, in space, and how far off.

Bones are the pose in space as each camera sees it; dots are the keypoints that it was made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from radar_pose_ros import drawing
from radar_pose_ros.datasets.multiview import MultiViewRecording, ViewShots
from radar_pose_ros.drawing import BACKGROUND, FRAME_COLOUR, TEXT_COLOUR
from radar_pose_ros.multiview import inputs
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.vision.comparators import Poses, rows_at

FILM_PX = (1600, 860)  # width and height that the views have together, at most [choice]
FILM_HZ = (1.0, 120.0)
POSES_SHOWN = 4
_CAPTION_LINE_PX = 18
_CAPTION_SIZE = 0.42
_DPI = 100
_FARTHEST_PX = 1e5  # OpenCV draws nothing beyond whole numbers of 32 bits
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST_SPANS_M = (0.8, 0.8, 1.6)  # of a pose's panel, along x, y and z [choice]
# Okabe and Ito's, without black.
_VIEW_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
_CAPTION = (
    "bones: the pose in space, blue its left, orange its right side",
    "dots: keypoints in the image",
    "px: median distance of the two, in the whole image's pixels",
)


def errors_of_views(poses: Poses) -> np.ndarray:
    """Return the median distance of each view's used keypoints to each pose, (n, views), px."""
    errors = np.where(poses.used, poses.errors_px, np.nan)
    made = np.full(errors.shape[:2], np.nan)
    some = np.isfinite(errors).any(-1)
    made[some] = np.nanmedian(errors[some], axis=-1)
    return made


def film(
    recording: MultiViewRecording,
    frames: Mapping[str, np.ndarray],
    videos: Mapping[str, Path],
    poses: Poses,
) -> tuple[float, Iterator[np.ndarray]]:
    """Return pictures of all views side by side, and how many there are in a second.

    There is one at each shot of the view with the most shots. Each view shows its newest image,
    and over it the pose of that image's own instant.

    Parameters
    ----------
    recording : MultiViewRecording
        In the skeleton of the poses.
    frames : mapping of str to ndarray
        Of each view, which frame of its video each shot is.
    videos : mapping of str to Path
        A view without one is drawn on an empty image.
    poses : Poses

    Returns
    -------
    rate_hz : float
    pictures : iterator of uint8 (height, width, 3)
        RGB, sides are even.
    """
    main = max(recording.views, key=lambda view: len(view.stamps_s))
    steps = np.diff(main.stamps_s)
    rate_hz = float(np.clip(1 / np.median(steps), *FILM_HZ)) if len(steps) else FILM_HZ[0]
    return rate_hz, _pictures(recording, frames, videos, poses, main)


def _pictures(
    recording: MultiViewRecording,
    frames: Mapping[str, np.ndarray],
    videos: Mapping[str, Path],
    poses: Poses,
    main: ViewShots,
) -> Iterator[np.ndarray]:
    columns, scale = grid([view.camera.size_px for view in recording.views])
    first_s = min(float(view.stamps_s[0]) for view in recording.views)
    tiles = [
        _Tiles(view, number, recording, frames, videos.get(view.name), poses, scale, first_s)
        for number, view in enumerate(recording.views)
    ]
    high = max(tile.size[1] for tile in tiles)
    wide = max(tile.size[0] for tile in tiles)
    rows = math.ceil(len(tiles) / columns)
    caption = _caption(columns * wide)
    shape = (rows * high + _CAPTION_LINE_PX * len(caption) + 6, columns * wide, 3)
    for stamp in main.stamps_s.tolist():
        canvas = np.full([2 * math.ceil(s / 2) for s in shape[:2]] + [3], 0, np.uint8)
        canvas[:] = drawing.rgb_bytes(BACKGROUND)
        for number, tile in enumerate(tiles):
            picture = tile.at(stamp)
            top, left = number // columns * high, number % columns * wide
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        for number, line in enumerate(caption, 1):
            _write(canvas, line, (8, rows * high + _CAPTION_LINE_PX * number), _CAPTION_SIZE)
        yield canvas


def _caption(width_px: int) -> list[str]:
    """Return the lines of what stands below, as few as fit."""
    lines = [_CAPTION[0]]
    for part in _CAPTION[1:]:
        longer = f"{lines[-1]};  {part}"
        if cv2.getTextSize(longer, _FONT, _CAPTION_SIZE, 1)[0][0] < width_px - 16:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


class _Tiles:
    """Draws one view's images, each once, in the order of time."""

    def __init__(
        self,
        view: ViewShots,
        number: int,
        recording: MultiViewRecording,
        frames: Mapping[str, np.ndarray],
        video: Path | None,
        poses: Poses,
        scale: float,
        first_s: float,
    ) -> None:
        self._view, self._poses, self._first_s = view, poses, first_s
        self._skeleton = definitions.get(recording.skeleton)
        self._scale = scale
        self.size = tuple(max(1, round(side * scale)) for side in view.camera.size_px)
        self._frames = frames[view.name]
        self._images = iter(()) if video is None else inputs.images(video)
        self._image: np.ndarray | None = None
        self._next_frame = 0
        self._shot = -1
        self._rows = rows_at(poses.stamps_s, view.stamps_s)
        self._pixels = view.camera.project(poses.joints_m)
        self._errors = errors_of_views(poses)[:, number]
        self._picture = self._empty()

    def at(self, stamp_s: float) -> np.ndarray:
        """Return the picture of the newest shot at an instant."""
        shot = int(np.searchsorted(self._view.stamps_s, stamp_s + 1e-6)) - 1
        if shot != self._shot:
            self._shot = shot
            self._picture = self._drawn(shot)
        return self._picture

    def _empty(self) -> np.ndarray:
        picture = np.zeros((self.size[1], self.size[0], 3), np.uint8)
        picture[:] = drawing.rgb_bytes(BACKGROUND)
        cv2.rectangle(
            picture, (0, 0), (self.size[0] - 1, self.size[1] - 1), drawing.rgb_bytes(FRAME_COLOUR)
        )
        _write(picture, self._view.name, (8, 22), 0.5)
        return picture

    def _drawn(self, shot: int) -> np.ndarray:
        image = self._read(int(self._frames[shot]))
        picture = self._empty() if image is None else self._fitted(image)
        row = int(self._rows[shot])
        text = f"{self._view.name}  {self._view.stamps_s[shot] - self._first_s:.3f} s"
        if row >= 0:
            drawing.draw_skeleton(picture, self._skeleton, self._scaled(self._pixels[row]))
            if np.isfinite(self._errors[row]):
                text += f"  {self._errors[row]:.1f} px"
        keypoints = self._view.keypoints_px[shot]
        drawable = (self._view.confidence[shot] > 0) & (abs(keypoints) < _FARTHEST_PX).all(-1)
        for point in keypoints[drawable]:
            centre = np.round(self._scaled(point)).astype(int).tolist()
            cv2.circle(picture, centre, 3, drawing.rgb_bytes(BACKGROUND), -1, cv2.LINE_AA)
            cv2.circle(picture, centre, 2, drawing.rgb_bytes(drawing.DOT_COLOUR), -1, cv2.LINE_AA)
        _write(picture, text, (8, 22), 0.5)
        return picture

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """Return an image, made as small as the tile, its corner where the calibration's is."""
        width, height = self._view.camera.size_px
        image = image[:height, :width]
        missing = height - image.shape[0], width - image.shape[1]
        if any(missing):
            image = cv2.copyMakeBorder(
                image, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT, value=(0, 0, 0)
            )
        smaller = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(smaller[..., ::-1])

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels + 0.5) * self._scale - 0.5

    def _read(self, frame: int) -> np.ndarray | None:
        """Return a frame of the video; None after its end."""
        while self._next_frame <= frame:
            self._image = next(self._images, None)
            self._next_frame += 1
        return self._image


def grid(sizes: list[tuple[int, int]]) -> tuple[int, float]:
    """Return in how many columns views of these sizes become largest, and how large, up to 1."""
    wide, high = (max(size[axis] for size in sizes) for axis in (0, 1))
    best = (1, 0.0)
    for columns in range(1, len(sizes) + 1):
        rows = math.ceil(len(sizes) / columns)
        scale = min(FILM_PX[0] / (columns * wide), FILM_PX[1] / (rows * high), 1.0)
        if scale > best[1]:
            best = columns, scale
    return best


def _write(picture: np.ndarray, text: str, corner: tuple[int, int], size: float) -> None:
    """Write over whatever there is: light on a dark strip."""
    (wide, high), below = cv2.getTextSize(text, _FONT, size, 1)
    strip = picture[
        max(0, corner[1] - high - 4) : corner[1] + below + 1,
        max(0, corner[0] - 5) : corner[0] + wide + 5,
    ]
    strip[:] = (0.3 * strip + 0.7 * np.array(drawing.rgb_bytes(BACKGROUND))).astype(np.uint8)
    cv2.putText(picture, text, corner, _FONT, size, drawing.rgb_bytes(TEXT_COLOUR), 1, cv2.LINE_AA)


def write_film(path: Path, rate_hz: float, pictures: Iterator[np.ndarray]) -> None:
    """Write a video, MPEG-4; one that was cut off, by Ctrl-C for instance, does not stay.

    Raises
    ------
    ValueError
        If there is no picture, or OpenCV cannot write it.
    """
    writer: cv2.VideoWriter | None = None
    try:
        for picture in pictures:
            if writer is None:
                size = picture.shape[1], picture.shape[0]
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(path), code, rate_hz, size)
                if not writer.isOpened():
                    raise ValueError(f"{path}: it cannot be written")
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
    except BaseException:
        if writer is not None:
            writer.release()
        if path.is_file():
            path.unlink()
        raise
    if writer is not None:
        writer.release()
    if writer is None:
        raise ValueError(f"{path}: there is no picture to write")


def figure(recording: MultiViewRecording, poses: Poses, title: str) -> np.ndarray:
    """Draw a few poses in space, and how far each view is off over time.

    Parameters
    ----------
    recording : MultiViewRecording
        In the skeleton of the poses.
    poses : Poses
    title : str

    Returns
    -------
    uint8 (height, width, 3)
        RGB.
    """
    skeleton = definitions.get(recording.skeleton)
    made = Figure(figsize=(12.0, 7.0), dpi=_DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(made)
    made.text(0.02, 0.955, title, color=TEXT_COLOUR, fontsize=12, weight="bold")
    shown = _shown(poses)
    first_s = float(poses.stamps_s[0]) if len(poses.stamps_s) else 0.0
    azimuth = _azimuth(poses.joints_m[shown], skeleton)
    spans_m = _spans(poses.joints_m[shown])
    for place, row in enumerate(shown):
        with rc_context({"grid.color": FRAME_COLOUR, "grid.linewidth": 0.5}):
            area = (0.02 + 0.243 * place, 0.37, 0.24, 0.52)
            axis: Any = made.add_axes(area, projection="3d")
        _draw_pose(axis, poses.joints_m[row], skeleton, spans_m)
        axis.view_init(elev=12, azim=azimuth)
        made.text(
            0.14 + 0.243 * place,
            0.895,
            f"{poses.stamps_s[row] - first_s:.3f} s",
            color=TEXT_COLOUR,
            fontsize=10,
            ha="center",
        )
    for place, (name, colour) in enumerate(
        (("left side", drawing.LEFT_COLOUR), ("right side", drawing.RIGHT_COLOUR))
    ):
        made.text(0.83 + 0.07 * place, 0.955, name, color=colour, fontsize=10, weight="bold")
    _draw_errors(made.add_axes((0.06, 0.07, 0.92, 0.26)), recording, poses, first_s)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _shown(poses: Poses) -> list[int]:
    """Return which poses to show, evenly over those of which half or more of the best is known."""
    known = np.isfinite(poses.joints_m).all(-1).sum(-1)
    rows = np.flatnonzero((known > 0) & (2 * known >= known.max(initial=0)))
    places = np.linspace(0, len(rows) - 1, min(POSES_SHOWN, len(rows)))
    return rows[np.round(places).astype(int)].tolist()


def _azimuth(joints_m: np.ndarray, skeleton: Skeleton) -> float:
    """Return from where to look, degrees: from before the person, somewhat from the side."""
    sides = [skeleton.index(f"{side}_hip") for side in ("left", "right")]
    across = joints_m[:, sides[0], :2] - joints_m[:, sides[1], :2]
    across = across[np.isfinite(across).all(-1)]
    if not len(across):
        return -60.0
    left = across[0]  # ahead is left times up
    return float(np.degrees(np.arctan2(-left[0], left[1]))) + 30.0


def _spans(joints_m: np.ndarray) -> np.ndarray:
    """Return the sides of the box, along x, y and z, into which each of the poses fits, metres."""
    spans = [np.array(_SMALLEST_SPANS_M)]
    for pose in joints_m:
        known = pose[np.isfinite(pose).all(-1)]
        spans.append(known.max(0) - known.min(0))
    most = np.max(spans, axis=0)
    most[:2] = most[:2].max()
    return 1.05 * most


def _draw_pose(axis: Any, joints_m: np.ndarray, skeleton: Skeleton, spans_m: np.ndarray) -> None:
    known = joints_m[np.isfinite(joints_m).all(-1)]
    middle = (known.max(0) + known.min(0)) / 2
    for edge in skeleton.edges:
        ends = joints_m[list(edge)]
        if np.isfinite(ends).all():
            axis.plot(*ends.T, color=drawing.edge_colour(skeleton, edge), linewidth=2.2)
    axis.plot(*known.T, ".", color=drawing.DOT_COLOUR, markersize=3)
    for name, centre, span_m in zip("xyz", middle, spans_m, strict=True):
        low, high = centre - span_m / 2, centre + span_m / 2
        getattr(axis, f"set_{name}lim")(low, high)
        side = getattr(axis, f"{name}axis")
        side.set_major_locator(MaxNLocator(nbins=5 if name == "z" else 2, steps=(1, 2, 5, 10)))
        side.set_tick_params(colors=TEXT_COLOUR, labelsize=7, pad=-2)
        side.set_pane_color((0.13, 0.145, 0.165, 1.0))
        getattr(axis, f"set_{name}label")(f"{name}, m", color=TEXT_COLOUR, fontsize=8, labelpad=-4)
    axis.set_facecolor(BACKGROUND)
    axis.set_box_aspect(spans_m, zoom=1.06)


def _draw_errors(axis: Any, recording: MultiViewRecording, poses: Poses, first_s: float) -> None:
    axis.set_facecolor("#000000")
    errors = errors_of_views(poses)
    for number, view in enumerate(recording.views):
        found = np.isfinite(errors[:, number])
        axis.plot(
            poses.stamps_s[found] - first_s,
            errors[found, number],
            color=_VIEW_COLOURS[number % len(_VIEW_COLOURS)],
            linestyle=("-", "--", ":")[number // len(_VIEW_COLOURS) % 3],
            linewidth=1.3,
            marker="." if found.sum() < 60 else "",
            label=view.name,
        )
    highest = np.max(errors[np.isfinite(errors)], initial=0.0)
    axis.set_ylim(0, 1.25 * highest if highest > 0 else 1.0)  # the legend is above the lines
    axis.margins(x=0.01)
    axis.set_xlabel("time after the first pose, s", color=TEXT_COLOUR, fontsize=9)
    axis.set_ylabel(
        "reprojection error, px\n(median of the joints)", color=TEXT_COLOUR, fontsize=9
    )
    axis.tick_params(colors=TEXT_COLOUR, labelsize=8, length=2)
    axis.grid(color=FRAME_COLOUR, linewidth=0.4)
    for spine in axis.spines.values():
        spine.set_color(FRAME_COLOUR)
    axis.legend(
        fontsize=8,
        ncols=min(8, max(1, len(recording.views))),
        loc="upper right",
        labelcolor=TEXT_COLOUR,
        facecolor=BACKGROUND,
        edgecolor=FRAME_COLOUR,
        framealpha=0.7,
    )
