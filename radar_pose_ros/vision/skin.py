"""The colours of skin in a box, and those around it: which part is skin, and the means over it.

Which part is skin is told by the box's own colours, not by limits that hold for some skins and
lights. All edges are soft and lie between pixels, so that a box that moves by a tenth of a pixel
changes the means by a little and not by a row.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

REGIONS = ("forehead", "left cheek", "right cheek")
QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
Box = tuple[float, float, float, float]

# The regions in a box of the face cascade: centre and radii as shares of its side; left is the
# person's left, on the right in the picture. Choices that leave out brows, eyes, nose and mouth.
_PLACES = ((0.50, 0.15, 0.27, 0.10), (0.72, 0.57, 0.13, 0.14), (0.28, 0.57, 0.13, 0.14))
_CELLS = 32  # skin is told apart on a grid of so many cells over the box
_LEARN_EVERY_S, _LEARN_OVER_S = 0.3, 1.0
_LEAST_SKIN = 0.1  # a region of which less is skin has no colour
_MARGIN = 1.5  # the thumbnail's side in boxes, as PhysMamba was trained with
# What lies around a face in its thumbnail: left, right, above; from and to, in x and in y, as
# shares of the side. Choices: neither ears nor shoulders.
_AROUND = ((0.0, 0.125, 0.0, 0.75), (0.875, 1.0, 0.0, 0.75), (0.125, 0.875, 0.0, 0.08))
_LEAST_AROUND = 0.1  # a place of which less is of another colour than the skin is not known
# Skin of one face differs from its median by less, in logarithms: of red over green, of blue over
# green, and of the brightness, on which the light falls from one side. Choices.
_NARROWEST = np.array([0.04, 0.05, 0.12])
_WIDEST = np.array([0.12, 0.15, 0.35])
_SATURATED = 250
_DARK = 4.0  # added to values before the logarithm: noise near black


class FaceSample(NamedTuple):
    """What a frame shows of a face.

    Attributes
    ----------
    colours : ndarray of float32, shape (R, 3)
        Mean RGB, 0 to 255, of the skin in each region; NaN where there is none.
    pixels : ndarray of float32, shape (R,)
        How many pixels of skin these are means of.
    thumbnail : ndarray of float32, shape (S, S, 3), or None
        RGB of the box enlarged 1.5 times, each pixel the mean of its area; None if not wanted.
    brightness : float
        Mean of red, green and blue of the skin of all regions, 0 to 255. If none of them has
        skin, because it is too dark or too bright to be told for instance, that of the middle of
        the box; NaN if this is not in the image.
    motion : float
        How far the box moved since the last sample of this face, as share of its width; NaN in
        the first one.
    """

    colours: np.ndarray
    pixels: np.ndarray
    thumbnail: np.ndarray | None
    brightness: float
    motion: float


def check_image(image_bgr: np.ndarray) -> None:
    """Refuse what is not a BGR image with a sentence.

    Raises
    ------
    ValueError
    """
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8:
        raise ValueError(
            "want an image of shape (height, width, 3) of uint8, got "
            f"{image_bgr.shape} of {image_bgr.dtype}"
        )


def quadrant_weights() -> np.ndarray:
    """Return the weights, float32 (4, cells, cells), of the quarters of a box, skin or not."""
    low = (np.arange(_CELLS) < _CELLS // 2).astype(np.float32)
    columns, rows = (low, 1 - low), (low, 1 - low)
    return np.stack([np.outer(row, column) for row in rows for column in columns])


def _place_weights() -> np.ndarray:
    place = (np.arange(_CELLS) + 0.5) / _CELLS
    masks = []
    for x, y, across, down in _PLACES:
        radius = np.hypot((place[None, :] - x) / across, (place[:, None] - y) / down)
        masks.append(np.clip((1.15 - radius) / 0.3, 0, 1))
    return np.stack(masks).astype(np.float32)


_PLACE_WEIGHTS = _place_weights()
_MIDDLE = np.zeros((_CELLS, _CELLS), np.float32)
_MIDDLE[_CELLS // 4 : -_CELLS // 4, _CELLS // 4 : -_CELLS // 4] = 1


class SkinSampler:
    """Takes the samples of one face, frame after frame.

    Parameters
    ----------
    thumbnail_px : int
        Side of the thumbnails; 0 leaves them out.
    weights : ndarray of float32, shape (R, cells, cells), or None
        What counts in the box; None finds the skin in the `REGIONS` of a face.
    """

    def __init__(self, thumbnail_px: int, weights: np.ndarray | None = None) -> None:
        self._thumbnail_px = thumbnail_px
        self._fixed = weights is not None
        self._places = _PLACE_WEIGHTS if weights is None else weights
        self._weights = self._places
        self._windows = [_window(place) for place in self._places]
        self._skin = self._followed = np.zeros((_CELLS, _CELLS), np.float32)
        self._learnt_s = self._time_s = -np.inf
        self._centre: np.ndarray | None = None

    def sample(self, image_bgr: np.ndarray, box_px: Box, time_s: float) -> FaceSample:
        """Return the sample of a frame; see `FaceSample`."""
        check_image(image_bgr)
        if not self._fixed:
            self._learn(image_bgr, box_px, time_s)
        colours, pixels = self._means(image_bgr, box_px)
        known = np.isfinite(colours[:, 0])
        if known.any():
            brightness = np.average(colours[known].mean(axis=1), weights=pixels[known])
        else:
            sums, total = _weighted(image_bgr, box_px, _MIDDLE, _window(_MIDDLE))
            brightness = sums.mean() / total if total else np.nan
        centre = np.array([box_px[0] + box_px[2] / 2, box_px[1] + box_px[3] / 2])
        motion = np.nan
        if self._centre is not None:
            motion = np.linalg.norm(centre - self._centre) / box_px[2]
        self._centre = centre
        thumbnail = None
        if self._thumbnail_px:
            thumbnail = thumbnail_of(image_bgr, box_px, self._thumbnail_px)
        return FaceSample(colours, pixels, thumbnail, float(brightness), float(motion))

    def _learn(self, image_bgr: np.ndarray, box_px: Box, time_s: float) -> None:
        """Find the skin now and then, and let the weights follow it slowly.

        They change from frame to frame and over a second, so that they bring no signal of their
        own.
        """
        if time_s - self._learnt_s >= _LEARN_EVERY_S:
            self._skin = skin_mask(_patch(image_bgr, box_px))
            if self._learnt_s == -np.inf:
                self._followed = self._skin
            self._learnt_s = time_s
        share = 1 - np.exp(-(time_s - self._time_s) / _LEARN_OVER_S)
        self._time_s = time_s
        self._followed = self._followed + np.float32(share) * (self._skin - self._followed)
        self._weights = self._places * self._followed

    def _means(self, image_bgr: np.ndarray, box_px: Box) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean RGB of each region, (R, 3), and its pixels, (R,)."""
        colours = np.full((len(self._places), 3), np.nan, np.float32)
        pixels = np.zeros(len(self._places), np.float32)
        cell = box_px[2] * box_px[3] / _CELLS**2
        for index, (place, weights) in enumerate(zip(self._places, self._weights, strict=True)):
            sums, total = _weighted(image_bgr, box_px, weights, self._windows[index])
            if total >= _LEAST_SKIN * cell * place.sum():
                colours[index], pixels[index] = sums[::-1] / total, total
        return colours, pixels


def _window(weights: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of cells that are not 0."""
    rows, columns = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _weighted(
    image_bgr: np.ndarray, box_px: Box, weights: np.ndarray, window: tuple[slice, slice]
) -> tuple[np.ndarray, float]:
    """Return the weighted BGR sum of the pixels under a window of the cells, and the weights'.

    The weights go over from cell to cell linearly; pixels beyond the image do not count.
    """
    x, y, width, height = box_px
    across, down = width / _CELLS, height / _CELLS
    rows, columns = window
    # Half a cell beyond the outermost ones their weights have come down to 0.
    top = max(0, int(np.floor(y + (rows.start - 0.5) * down)))
    bottom = min(image_bgr.shape[0], int(np.ceil(y + (rows.stop + 0.5) * down)))
    left = max(0, int(np.floor(x + (columns.start - 0.5) * across)))
    right = min(image_bgr.shape[1], int(np.ceil(x + (columns.stop + 0.5) * across)))
    if top >= bottom or left >= right:
        return np.zeros(3, np.float32), 0.0
    below = (np.arange(top, bottom) + 0.5 - y) / down - (rows.start + 0.5)
    beside = (np.arange(left, right) + 0.5 - x) / across - (columns.start + 0.5)
    fine = _between(below, rows) @ weights[window] @ _between(beside, columns).T
    fine = fine.reshape(-1)
    part = image_bgr[top:bottom, left:right].reshape(-1, 3).astype(np.float32)
    return fine @ part, float(fine.sum())


def _between(places: np.ndarray, cells: slice) -> np.ndarray:
    """Return how much each place has of each cell: linear from one cell's middle to the next."""
    numbers = np.arange(cells.stop - cells.start)
    return np.maximum(0, 1 - np.abs(places[:, None] - numbers)).astype(np.float32)


def skin_mask(patch_bgr: np.ndarray) -> np.ndarray:
    """Return how likely each cell of a face is skin, 0 to 1.

    The commonest colour of forehead and cheeks is the skin's; what differs from it by more than
    they do among themselves is not. Cells with a saturated channel show no pulse and do not count.

    Parameters
    ----------
    patch_bgr : ndarray of uint8, shape (cells, cells, 3)
        The face's box, reduced.

    Returns
    -------
    ndarray of float32, shape (cells, cells)
    """
    smooth = cv2.GaussianBlur(patch_bgr.astype(np.float32), (3, 3), 0)
    blue, green, red = np.moveaxis(np.log(smooth + _DARK), 2, 0)
    features = np.stack([red - green, blue - green, (red + green + blue) / 3], axis=-1)
    brightest = patch_bgr.max(axis=2)
    places = _PLACE_WEIGHTS.max(axis=0) > 0.5
    sure = places & (brightest > _DARK)
    if sure.sum() < _LEAST_SKIN * places.sum():
        return np.zeros(places.shape, np.float32)
    middle, spread = np.median(features[sure], axis=0), _WIDEST
    for _ in range(3):
        near = sure & (np.abs(features - middle) < 2 * spread).all(axis=2)
        if not near.any():
            return np.zeros(places.shape, np.float32)
        middle = np.median(features[near], axis=0)
        deviation = 1.48 * np.median(np.abs(features[near] - middle), axis=0)
        spread = np.clip(deviation, _NARROWEST, _WIDEST)
    distance = np.abs((features - middle) / spread).max(axis=2)
    skin = (np.clip(3.5 - distance, 0, 1) * (brightest < _SATURATED)).astype(np.float32)
    return cv2.erode(skin, np.ones((3, 3)))  # a cell beside hair has some of it


def _patch(image_bgr: np.ndarray, box_px: Box) -> np.ndarray:
    """Return the box in `_CELLS` x `_CELLS` cells; beyond the image its edge goes on."""
    x, y, width, height = box_px
    part = _cut(image_bgr, round(x), round(y), max(1, round(width)), max(1, round(height)))
    return cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)


def _cut(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return a part of an image, which goes on as its edge is."""
    rows, columns = image.shape[:2]
    x0, x1 = np.clip([x, x + width], 0, columns)
    y0, y1 = np.clip([y, y + height], 0, rows)
    if x0 == x1 or y0 == y1:
        return np.zeros((height, width, 3), image.dtype)
    part = image[y0:y1, x0:x1]
    if part.shape[:2] == (height, width):
        return part
    top, bottom, left, right = (int(v) for v in (y0 - y, y + height - y1, x0 - x, x + width - x1))
    return cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REPLICATE)


def thumbnail_of(image_bgr: np.ndarray, box_px: Box, side_px: int) -> np.ndarray:
    """Return the box enlarged 1.5 times about its middle, RGB float32 (side, side, 3), 0 to 255.

    Each pixel is the mean of its area; beyond the image its edge goes on.
    """
    x, y, width, height = box_px
    wide, high = _MARGIN * width, _MARGIN * height
    x, y = x + (width - wide) / 2, y + (height - high) / 2
    times = max(1, round(max(wide, high) / side_px))
    if times <= 4:
        fine = times * side_px
        # From the picture's pixels to the fine ones, in the middles of both.
        matrix = np.array(
            [
                [wide / fine, 0, x - 0.5 + wide / fine / 2],
                [0, high / fine, y - 0.5 + high / fine / 2],
            ]
        )
        part = cv2.warpAffine(
            image_bgr,
            matrix,
            (fine, fine),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    else:  # half a pixel of so many does not matter
        part = _cut(image_bgr, round(x), round(y), max(1, round(wide)), max(1, round(high)))
    rgb = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2RGB), np.float32)
    if rgb.shape[:2] != (side_px, side_px):
        return cv2.resize(rgb, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return rgb


def surroundings(thumbnails: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Return the mean colours of what is around a face: left of it in the picture, right, above.

    What has the colour of the skin does not count, for it may be skin, with a pulse; nor does what
    is black or saturated on the average in one of its channels, in which no light swings.

    Parameters
    ----------
    thumbnails : ndarray, shape (T, S, S, 3)
        RGB, as `thumbnail_of` makes them; none of them is NaN.
    skin : ndarray, shape (3,)
        Mean RGB of the face's skin.

    Returns
    -------
    ndarray, shape (T, 3, 3)
        RGB of each place; NaN where too little counts.
    """
    mean = thumbnails.mean(axis=0, dtype=np.float64)
    off = np.abs(_hue(mean) - _hue(np.asarray(skin, np.float64))) / _WIDEST[:2]
    counts = (off.max(-1) > 1) & (mean.max(-1) < _SATURATED) & (mean.min(-1) > _DARK)
    middles = (np.arange(len(mean)) + 0.5) / len(mean)
    found = np.full((len(thumbnails), len(_AROUND), 3), np.nan)
    for place, (left, right, top, bottom) in enumerate(_AROUND):
        inside = ((middles > top) & (middles < bottom))[:, None]
        inside = inside & (middles > left) & (middles < right)
        if (inside & counts).sum() > _LEAST_AROUND * inside.sum():
            found[:, place] = thumbnails[:, inside & counts].mean(axis=1)
    return found


def _hue(rgb: np.ndarray) -> np.ndarray:
    """Return red over green and blue over green, (..., 2), in logarithms."""
    red, green, blue = np.moveaxis(np.log(rgb + _DARK), -1, 0)
    return np.stack([red - green, blue - green], axis=-1)
