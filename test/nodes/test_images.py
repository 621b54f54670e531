"""Images in messages: encodings by value, and what is refused."""

from __future__ import annotations

import array
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS messages: run `make test`")
pytest.importorskip("radar_pose_ros.msg", reason="messages are not built: run `make test`")

from sensor_msgs.msg import CompressedImage, Image

from radar_pose_ros.nodes.convert import InvalidMessageError
from radar_pose_ros.nodes.images import message_to_bgr

# Two rows of three pixels: blue, green, red; white, black, an orange.
BGR = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 255), (0, 0, 0), (10, 128, 250)]],
    np.uint8,
)
ALPHA = np.full((2, 3, 1), 7, np.uint8)


def message(values: np.ndarray, encoding: str, padding: int = 0, **about: int) -> Image:
    rows = values.reshape(2, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    sizes = {"height": 2, "width": 3, "step": rows.shape[1]} | about
    return Image(encoding=encoding, data=array.array("B", rows.tobytes()), **sizes)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("bgr8", BGR),
        ("rgb8", BGR[..., ::-1]),
        ("bgra8", np.concatenate([BGR, ALPHA], -1)),
        ("rgba8", np.concatenate([BGR[..., ::-1], ALPHA], -1)),
    ],
)
def test_colours(encoding: str, values: np.ndarray, padding: int) -> None:
    """Whatever the order, and with rows that are longer than the image."""
    image = message_to_bgr(message(values, encoding, padding))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, BGR)


def test_grey_is_all_three_channels() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = message_to_bgr(message(grey, "mono8", 1))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, -1))


def compressed(data: bytes) -> CompressedImage:
    return CompressedImage(format="png", data=array.array("B", data))


def test_compressed_images() -> None:
    """PNG by value; JPEG of one colour to within 2 of 255."""
    np.testing.assert_array_equal(
        message_to_bgr(compressed(cv2.imencode(".png", BGR)[1].tobytes())), BGR
    )
    plain = np.full((16, 24, 3), (30, 60, 200), np.uint8)
    image = message_to_bgr(compressed(cv2.imencode(".jpg", plain)[1].tobytes()))
    assert image.shape == plain.shape
    np.testing.assert_allclose(image.astype(int), plain, atol=2)


def png_of_size(side: int) -> bytes:
    """Return a PNG that says it is so large, and holds nothing."""
    data = bytearray(cv2.imencode(".png", BGR)[1].tobytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (message(BGR, "16UC3"), "image encoding not known: '16UC3', want bgr8, rgb8, mono8, bgra"),
        (message(BGR, ""), "image encoding not known: ''"),
        (message(BGR, "bgr8", step=8), "image size differs from its shape: 3 x 2 bgr8 in 18 b"),
        (message(BGR, "bgra8"), "image size differs from its shape"),
        (message(BGR, "bgr8", height=3), "image size differs from its shape"),
        (message(BGR, "bgr8", width=0), "image of impossible size: 0 x 2"),
        (message(BGR, "mono8", width=2**31, height=2**31), "image of impossible size"),
        (compressed(b""), "compressed image not readable: 0 bytes"),
        (compressed(b"nothing of the kind"), "compressed image not readable"),
        (compressed(png_of_size(9000)), "image of impossible size: 9000 x 9000"),
        (compressed(png_of_size(60000)), "compressed image not readable"),
        (compressed(png_of_size(300)), "compressed image not readable"),
    ],
)
def test_what_is_no_image_is_refused(wrong: Image | CompressedImage, sentence: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        message_to_bgr(wrong)
    assert str(caught.value).startswith(sentence)
