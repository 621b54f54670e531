"""Heatmaps made small: what the angle transform is made of, rounded below the noise and packed.

A heatmap has 32 or 64 angle bins, but they are one transform of twelve virtual antennas: nothing
is lost if only those are sent, and a third to a fifth of the numbers is left. Each is rounded to a
multiple of a step, which is a fixed share of the frame's root mean square: that is what the
network divides its input by, so that the error it sees is the same for near and far people. Small
numbers of steps then take few bits by zlib's Huffman code, and their empty high bytes next to none
by its runs.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

ENCODING = "steps16/zlib"
STEPS_PER_RMS = 16.0
"""Choice: the error is 1 / (sqrt(6) 16) of the root mean square, 32 dB below it."""

_HIGHEST = 32767  # steps that an int16 holds


class HeatmapCodecError(ValueError):
    """Packed data that cannot be what was packed."""


@dataclass(frozen=True)
class PackedCube:
    """A range-Doppler cube that was made small.

    Attributes
    ----------
    shape : (int, int, int)
        (antennas, doppler, range).
    step : float
        The size of a step, in the cube's unit; 0 if the cube is all zero.
    data : bytes-like
        The steps, packed.
    """

    shape: tuple[int, int, int]
    step: float
    data: bytes | memoryview


def pack(cube: np.ndarray, steps_per_rms: float = STEPS_PER_RMS) -> PackedCube:
    """Round and pack what `HeatmapProcessor.range_doppler` returns.

    Parameters
    ----------
    cube : ndarray of complex64, shape (antennas, doppler, range)
        All finite.
    steps_per_rms : float
        Steps per root mean square magnitude of the cube. The root mean square of the error is
        ``1 / (sqrt(6) steps_per_rms)`` of it: a real number rounded is off by ``step / sqrt(12)``.
    """
    parts = np.ascontiguousarray(cube, np.complex64).view(np.float32).ravel()
    rms = math.sqrt(2 * float(np.dot(parts, parts)) / len(parts))
    step = float(np.float32(rms / steps_per_rms))
    steps = np.rint(parts * np.float32(1 / step if step else 0))
    np.clip(steps, -_HIGHEST, _HIGHEST, out=steps)
    whole = steps.astype(np.int16)
    codes = ((whole << 1) ^ (whole >> 15)).view(np.uint16)
    planes = np.stack([codes & 0xFF, codes >> 8]).astype(np.uint8)
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    antennas, doppler, ranges = cube.shape
    data = packer.compress(planes.tobytes()) + packer.flush()
    return PackedCube((antennas, doppler, ranges), step, data)


def unpack(packed: PackedCube) -> np.ndarray:
    """Return the cube, complex64 of shape (antennas, doppler, range).

    Takes no more memory than the shape says, whatever the data is.

    Raises
    ------
    HeatmapCodecError
        If the data is damaged, or belongs to another shape, or the step is negative or so large
        that numbers become infinite.
    """
    if not 0 <= packed.step * (_HIGHEST + 1) <= float(np.finfo(np.float32).max):
        raise HeatmapCodecError(f"a step of {packed.step}")
    values = 2 * math.prod(packed.shape)
    unpacker = zlib.decompressobj()
    try:
        planes = unpacker.decompress(packed.data, 2 * values + 1)
    except zlib.error as error:
        raise HeatmapCodecError(f"damaged data: {error}") from None
    if len(planes) != 2 * values or not unpacker.eof or unpacker.unused_data:
        raise HeatmapCodecError(f"data of another shape than {packed.shape}, or cut off")
    low, high = np.frombuffer(planes, np.uint8).reshape(2, values)
    codes = low | (high.astype(np.uint16) << 8)
    steps = ((codes >> 1) ^ -(codes & 1)).view(np.int16)
    parts = steps * np.float32(packed.step)
    return parts.view(np.complex64).reshape(packed.shape)
