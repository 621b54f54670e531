"""Camera images in messages as arrays; what cv_bridge does, where only some encodings matter."""

from __future__ import annotations

import io
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image
from sensor_msgs.msg import CompressedImage, Image

from radar_pose_ros.nodes.convert import InvalidMessageError, require

# What nodes that listen to a camera call alike: their counters, and topics by `transport`.
NO_TIME = "images for which there was no time"
LOST = "images lost on the way here"
TOPICS: dict[str, tuple[type, str]] = {
    "raw": (Image, "image"),
    "compressed": (CompressedImage, "image/compressed"),
}
MAX_PIXELS = 64 * 1024 * 1024  # eight times those of a 4K camera
# Encoding: bytes of a pixel, and what makes blue, green and red of them.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
}


class Waiting(NamedTuple):
    """An image that came."""

    message: Image | CompressedImage
    arrived_s: float  # by the steady clock


def message_to_bgr(message: Image | CompressedImage) -> np.ndarray:
    """Return an image, uint8 (height, width, 3), blue, green, red; maybe the message's own memory.

    Raises
    ------
    InvalidMessageError
        If the encoding is none of `ENCODINGS`, sizes disagree or are impossible, or what was
        compressed is not one whole JPEG, PNG or the like.
    """
    if isinstance(message, CompressedImage):
        return _decompressed(bytes(message.data))
    known = ", ".join(ENCODINGS)
    detail = f"{message.encoding!r}, want {known}"
    require(message.encoding in ENCODINGS, "image encoding not known", detail)
    channels, conversion = ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    require(0 < height * width <= MAX_PIXELS, "image of impossible size", f"{width} x {height}")
    require(
        step >= width * channels and len(message.data) == height * step,
        "image size differs from its shape",
        f"{width} x {height} {message.encoding} in {len(message.data)} bytes, {step} in a row",
    )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion))


def _decompressed(data: bytes) -> np.ndarray:
    """Return the image in a file's bytes, in its own rows and columns: without EXIF's turn."""
    unreadable = InvalidMessageError("compressed image not readable", f"{len(data)} bytes")
    try:
        with PIL.Image.open(io.BytesIO(data)) as header:  # reads the size, decodes nothing
            width, height = header.size
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        raise unreadable from None
    require(0 < height * width <= MAX_PIXELS, "image of impossible size", f"{width} x {height}")
    image = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if image is None:
        raise unreadable
    return image
