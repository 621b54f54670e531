"""Pictures: what two radars see beside the pose that was estimated from it.

Colours are from the palette of Okabe and Ito, which people with any kind of colour blindness can
tell apart; heatmaps use "cividis" for the same reason. Estimate and truth differ in line style,
too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from PIL import Image

from radar_pose_ros.skeleton.definitions import Skeleton

LEFT_COLOUR = "#56B4E9"  # sky blue
RIGHT_COLOUR = "#E69F00"  # orange
MIDDLE_COLOUR = "#F0F0F0"
TRUTH_COLOUR = "#B8B8B8"
DOT_COLOUR = "#FFFFFF"
BACKGROUND = "#16191D"
TEXT_COLOUR = "#E8E8E8"
FRAME_COLOUR = "#555555"
HEATMAP_COLOURS = "cividis"

_DPI = 100
_METRES_PER_PIXEL = 0.02
_SUBPIXEL_BITS = 4  # of coordinates as OpenCV draws them
_SUBPIXELS = 1 << _SUBPIXEL_BITS
_FAR_PX = 1e5  # what lies farther off is not in the picture anyway


@dataclass(frozen=True)
class PolarAxes:
    """Where the bins of an angle-range map lie.

    Parameters
    ----------
    sine_first, sine_step : float
        Sine of the angle of bin 0, and per bin; positive to the left of the radar's link.
    range_first_m, range_step_m : float
        Range of bin 0, and per bin.
    """

    sine_first: float
    sine_step: float
    range_first_m: float
    range_step_m: float


@dataclass(frozen=True)
class Panel:
    """One radar's panel.

    Parameters
    ----------
    title : str
        Stands above it.
    axes : PolarAxes
        Of its maps.
    shape : (int, int)
        Angle bins and range bins of its maps.
    upright : bool
        True: the angle is azimuth, seen from above, ahead is up. False: the radar is rolled by
        +90 degrees, its angle is elevation, seen from the side, ahead is to the right.
    """

    title: str
    axes: PolarAxes
    shape: tuple[int, int]
    upright: bool = True


class FanView:
    """Resamples angle-range maps to a picture in metres."""

    def __init__(self, panel: Panel, farthest_m: float = 4.1, lateral_m: float = 1.6) -> None:
        angles, ranges = panel.shape
        axes = panel.axes
        # Half the nearest range is left out: the map is empty there, and people are farther away.
        nearest_m = axes.range_first_m / 2
        farthest_m = min(farthest_m, axes.range_first_m + axes.range_step_m * ranges)
        ahead = np.arange(nearest_m, farthest_m, _METRES_PER_PIXEL)
        lateral = np.arange(lateral_m, -lateral_m, -_METRES_PER_PIXEL)
        if panel.upright:  # rows: far to near; columns: left to right
            x, y = np.meshgrid(ahead[::-1], lateral, indexing="ij")
            self.extent = (lateral_m, -lateral_m, nearest_m, farthest_m)
        else:  # rows: high to low; columns: near to far
            y, x = np.meshgrid(lateral, ahead, indexing="ij")
            self.extent = (nearest_m, farthest_m, -lateral_m, lateral_m)
        distance = np.hypot(x, y)
        sine = np.divide(y, distance, out=np.zeros_like(y), where=distance > 0)
        column = (distance - axes.range_first_m) / axes.range_step_m
        row = (sine - axes.sine_first) / axes.sine_step
        self._outside = (column < -0.5) | (column > ranges - 0.5)
        self._outside |= (row < -0.5) | (row > angles - 0.5)
        self._columns = np.clip(column, 0, ranges - 1).astype(np.float32)
        self._rows = np.clip(row, 0, angles - 1).astype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self._columns.shape[0], self._columns.shape[1]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        picture = cv2.remap(
            np.ascontiguousarray(values, np.float32), self._columns, self._rows, cv2.INTER_LINEAR
        )
        picture[self._outside] = np.nan
        return picture


def edge_colour(skeleton: Skeleton, edge: tuple[int, int]) -> str:
    """Return the colour of a bone: left, right, or neither side of the body."""
    left = {pair[0] for pair in skeleton.left_right}
    right = {pair[1] for pair in skeleton.left_right}
    if any(joint in left for joint in edge) and not any(joint in right for joint in edge):
        return LEFT_COLOUR
    if any(joint in right for joint in edge) and not any(joint in left for joint in edge):
        return RIGHT_COLOUR
    return MIDDLE_COLOUR


def bone_segments(skeleton: Skeleton, keypoints_px: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the bones whose two joints are known.

    Parameters
    ----------
    skeleton : Skeleton
    keypoints_px : float (joints, 2)
        NaN where unknown.

    Returns
    -------
    segments : float (bones, 2, 2)
        Both ends of each bone.
    numbers : list of int
        Which edges of the skeleton these are.
    """
    numbers = [
        k for k, edge in enumerate(skeleton.edges) if np.isfinite(keypoints_px[list(edge)]).all()
    ]
    segments = np.array([keypoints_px[list(skeleton.edges[k])] for k in numbers])
    return segments.reshape(-1, 2, 2), numbers


def draw_skeleton(
    picture: np.ndarray, skeleton: Skeleton, keypoints_px: np.ndarray, thickness_px: int = 2
) -> None:
    """Draw a skeleton over a picture, in place: bones with a dark edge, legible on any ground.

    Parameters
    ----------
    picture : uint8 (height, width, 3)
        RGB.
    skeleton : Skeleton
    keypoints_px : float (joints, 2)
        Columns and rows; NaN where unknown. They may lie outside of the picture.
    thickness_px : int
        Of a bone.
    """
    segments, numbers = bone_segments(skeleton, np.clip(keypoints_px, -_FAR_PX, _FAR_PX))
    ends = np.round(segments * _SUBPIXELS).astype(int)
    colours = [edge_colour(skeleton, skeleton.edges[number]) for number in numbers]
    for extra, dark in ((2, True), (0, False)):
        for (start, end), colour in zip(ends.tolist(), colours, strict=True):
            cv2.line(
                picture,
                start,
                end,
                rgb_bytes(BACKGROUND if dark else colour),
                thickness_px + extra,
                cv2.LINE_AA,
                _SUBPIXEL_BITS,
            )


def rgb_bytes(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of a colour."""
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


class PoseFilm:
    """Draws one picture after the other: two heatmaps, and the skeletons beside them.

    Parameters
    ----------
    panels : sequence of Panel
        One per radar.
    skeleton : Skeleton
    image_size_px : int
        Width and height of the image plane that the poses are in.
    span_db : float
        What lies this far below the strongest return of an instant gets the darkest colour.
    width_px : int
        Width of the pictures; the height follows.
    side : Skeleton, optional
        Whose poses are drawn from the side, too, in a further panel.
    """

    def __init__(
        self,
        panels: Sequence[Panel],
        skeleton: Skeleton,
        image_size_px: int,
        span_db: float = 30.0,
        width_px: int = 960,
        side: Skeleton | None = None,
    ) -> None:
        self.skeleton = skeleton
        self._views = [FanView(panel) for panel in panels]
        self._upright = [panel.upright for panel in panels]
        shares = [1.0] * len(panels) + [1.15] + [1.15] * (side is not None)
        height_px = round(width_px * (0.42 if side is None else 0.31) / 2) * 2
        gap = 0.2 if side is None else 0.27
        self._figure = Figure(
            figsize=(width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor=BACKGROUND
        )
        self._canvas = FigureCanvasAgg(self._figure)
        axes = self._figure.subplots(1, len(shares), width_ratios=shares)
        self._figure.subplots_adjust(left=0.05, right=0.985, top=0.85, bottom=0.1, wspace=gap)
        self._animated: list[Any] = []
        self._images = []
        self._dots = []
        for panel, view, axis in zip(panels, self._views, axes, strict=False):
            self._style(axis, panel.title)
            image = axis.imshow(
                np.full(view.shape, np.nan),
                cmap=HEATMAP_COLOURS,
                vmin=-span_db,
                vmax=0.0,
                extent=view.extent,
                aspect="equal",
                interpolation="nearest",
                animated=True,
            )
            axis.set_anchor("N")
            if panel.upright:
                axis.set_xlabel("m to the left")
                axis.set_ylabel("m ahead")
            else:
                axis.set_xlabel("m ahead")
                axis.set_ylabel("m above the radar")
            (dots,) = axis.plot([], [], ".", color=DOT_COLOUR, markersize=3.0, animated=True)
            self._images.append(image)
            self._dots.append(dots)
            self._animated += [image, dots]
        self._pose = self._build_skeleton_axis(axes[len(panels)], image_size_px)
        self._side = None if side is None else self._build_side_axis(axes[-1], side)
        for skeletons in (self._pose, self._side):
            self._animated += [] if skeletons is None else skeletons.artists
        self._title = self._figure.text(
            *(0.015, 0.945, ""),
            color=TEXT_COLOUR,
            fontsize=11,
            weight="bold",
            animated=True,
            parse_math=False,  # the name of a model is no formula
        )
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    @staticmethod
    def _style(axis: Any, title: str) -> None:
        axis.set_facecolor("#000000")
        axis.set_title(title, color=TEXT_COLOUR, fontsize=9, pad=5)
        axis.tick_params(colors=TEXT_COLOUR, labelsize=8, length=2)
        axis.xaxis.label.set(color=TEXT_COLOUR, fontsize=8)
        axis.yaxis.label.set(color=TEXT_COLOUR, fontsize=8)
        for spine in axis.spines.values():
            spine.set_color(FRAME_COLOUR)

    def _build_skeleton_axis(self, axis: Any, size_px: int) -> _SkeletonView:
        axis.set_anchor("N")
        self._style(axis, "pose in the virtual camera's image")
        axis.set(xlim=(0, size_px), ylim=(size_px, 0), aspect="equal", xlabel="px", ylabel="")
        axis.set_xticks([0, size_px // 2, size_px])
        axis.set_yticks([0, size_px // 2, size_px])
        view = _SkeletonView(axis, self.skeleton)
        entries = [
            ("estimate, left side", LEFT_COLOUR, "-"),
            ("right side", RIGHT_COLOUR, "-"),
            ("truth", TRUTH_COLOUR, (0, (3, 2))),
        ]
        handles = [axis.plot([], [], color=c, linestyle=s, linewidth=2)[0] for _, c, s in entries]
        axis.legend(
            handles,
            [name for name, _, _ in entries],
            loc="lower center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=3,
            fontsize=7,
            handlelength=1.6,
            columnspacing=0.9,
            handletextpad=0.4,
            labelcolor=TEXT_COLOUR,
            facecolor=BACKGROUND,
            edgecolor=FRAME_COLOUR,
            framealpha=0.6,
        )
        return view

    def _build_side_axis(self, axis: Any, skeleton: Skeleton) -> _SkeletonView:
        axis.set_anchor("N")
        self._style(axis, "lifted, from the side")
        axis.set(xlim=(0.7, 4.1), ylim=(-0.2, 2.4), aspect="equal")
        axis.set(xlabel="m ahead", ylabel="m above the ground")
        return _SkeletonView(axis, skeleton)

    def picture(
        self,
        heatmaps_db: Sequence[np.ndarray | None],
        keypoints_px: np.ndarray | None,
        confidence: np.ndarray | None = None,
        truth_px: np.ndarray | None = None,
        truth_links_m: Sequence[np.ndarray | None] = (),
        title: str = "",
        side_m: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Draw one instant.

        Parameters
        ----------
        heatmaps_db : sequence of float (angle, range), or None
            One per radar, see `preview.power_db`; drawn relative to their maximum, as the network
            sees them. None leaves the panel dark.
        keypoints_px : float (joints, 2), or None
            The estimate; NaN where a joint is not known.
        confidence : float (joints,), optional
            0..1; makes uncertain bones thin and faint.
        truth_px : float (joints, 2), optional
            The true pose in the same plane.
        truth_links_m : sequence of float (joints, 3), optional
            Per radar, the true joints in the radar's link: drawn as dots over its heatmap.
        title : str
        side_m : (ndarray, ndarray), optional
            Estimate and truth for the panel from the side, (joints, 2) each: m ahead and above the
            ground; NaN where a joint is not known.

        Returns
        -------
        uint8 (height, width, 3)
            RGB.
        """
        for view, image, values in zip(self._views, self._images, heatmaps_db, strict=True):
            if values is None:
                image.set_data(np.full(view.shape, np.nan))
            else:
                image.set_data(view(values - np.max(values)))
        for k, dots in enumerate(self._dots):
            points = truth_links_m[k] if k < len(truth_links_m) else None
            self._set_dots(k, dots, points)
        self._pose.show(keypoints_px, truth_px, confidence)
        if self._side is not None:
            self._side.show(*(side_m or (None, None)))
        self._title.set_text(title)
        self._canvas.restore_region(self._background)
        for artist in self._animated:
            artist.axes.draw_artist(artist)
        self._figure.draw_artist(self._title)
        return np.asarray(self._canvas.buffer_rgba())[:, :, :3].copy()

    def _set_dots(self, number: int, dots: Any, points: np.ndarray | None) -> None:
        if points is None:
            dots.set_data([], [])
            return
        ahead, lateral = points[:, 0], points[:, 1]
        if self._upright[number]:
            dots.set_data(lateral, ahead)
        else:
            dots.set_data(ahead, lateral)


class _SkeletonView:
    """An estimated and a true skeleton on axes."""

    def __init__(self, axis: Any, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self._truth = LineCollection(
            [], colors=TRUTH_COLOUR, linewidths=1.2, linestyles=(0, (3, 2)), animated=True
        )
        self._bones = LineCollection([], capstyle="round", animated=True)
        (self._joints,) = axis.plot(
            [], [], "o", color=MIDDLE_COLOUR, markersize=2.5, animated=True
        )
        axis.add_collection(self._truth)
        axis.add_collection(self._bones)
        self.artists = [self._truth, self._bones, self._joints]

    def show(
        self,
        estimate: np.ndarray | None,
        truth: np.ndarray | None,
        confidence: np.ndarray | None = None,
    ) -> None:
        """Set what is drawn next, (joints, 2) on the axes; None draws nothing."""
        joints = len(self._skeleton.joints)
        unknown = np.full((joints, 2), np.nan)
        true, _ = bone_segments(self._skeleton, unknown if truth is None else truth)
        self._truth.set_segments(list(true))
        points = unknown if estimate is None else estimate
        segments, numbers = bone_segments(self._skeleton, points)
        stated = np.ones(joints) if confidence is None else confidence
        trust = np.clip(np.nan_to_num(stated, nan=1.0), 0.0, 1.0)
        edges = [self._skeleton.edges[k] for k in numbers]
        per_bone = [float(min(trust[list(edge)])) for edge in edges]
        self._bones.set_segments(list(segments))
        self._bones.set_color(
            [
                to_rgba(edge_colour(self._skeleton, edge), 0.35 + 0.65 * c)
                for edge, c in zip(edges, per_bone, strict=True)
            ]
        )
        self._bones.set_linewidth([1.5 + 2.5 * c for c in per_bone] or [1.0])
        self._joints.set_data(points[:, 0], points[:, 1])


def write_gif(
    path: str | Path,
    pictures: Iterable[np.ndarray],
    rate_hz: float = 10.0,
    max_bytes: int = 5_000_000,
) -> int:
    """Write an animated picture that loops, with fewer shades or pixels if it would be too large.

    It has the colours that `PoseFilm` draws with; others become the nearest of those.

    Parameters
    ----------
    path : path
    pictures : iterable of uint8 (height, width, 3)
        RGB, all of one size.
    rate_hz : float
        Pictures per second; the format counts time in hundredths of a second.
    max_bytes : int
        Most bytes the file may have.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    ValueError
        If there is no picture.
    """
    images = [Image.fromarray(picture) for picture in pictures]
    if not images:
        raise ValueError("there is no picture to write")
    duration_ms = 10 * max(round(100.0 / rate_hz), 2)
    shades, scale = 64, 1.0
    while True:
        data = _encode_gif(images, duration_ms, shades, scale)
        if len(data) <= max_bytes or scale < 0.3:
            Path(path).write_bytes(data)
            return len(data)
        if shades > 16:
            shades //= 2
        else:  # bytes go about with the area
            scale *= max(0.6, 0.95 * math.sqrt(max_bytes / len(data)))


def _encode_gif(images: list[Image.Image], duration_ms: int, shades: int, scale: float) -> bytes:
    if scale < 1.0:
        size = (round(images[0].width * scale), round(images[0].height * scale))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    # One palette for all pictures: no flicker, and unchanged pixels stay unchanged, which is what
    # makes the file small.
    palette = _palette(shades)
    mapped = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    stream = BytesIO()
    mapped[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=mapped[1:],
        duration=duration_ms,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return stream.getvalue()


def _palette(shades: int) -> Image.Image:
    """Return an image whose palette holds what `PoseFilm` draws with, and shades of the heatmaps.

    A palette made from the pictures themselves leaves nothing for lines, which cover few pixels.
    """
    lines = (LEFT_COLOUR, RIGHT_COLOUR, MIDDLE_COLOUR, TRUTH_COLOUR, FRAME_COLOUR)
    entries: list[tuple[float, ...]] = [to_rgb("#000000"), to_rgb(BACKGROUND)]
    # Darker ones smooth the edges.
    entries += [
        tuple(share * part for part in to_rgb(colour))
        for colour in lines
        for share in (1, 0.7, 0.4)
    ]
    entries += [colour[:3] for colour in colormaps[HEATMAP_COLOURS](np.linspace(0, 1, shades))]
    entries += entries[:1] * (256 - len(entries))
    palette = Image.new("P", (1, 1))
    palette.putpalette([round(255 * part) for entry in entries for part in entry])
    return palette


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write one RGB picture, uint8 (height, width, 3)."""
    Image.fromarray(picture).save(Path(path), format="PNG")
