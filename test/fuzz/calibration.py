"""Calibration files: TOML, cv2.FileStorage and ROS's; what is read is written and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fuzz.material import folder, refusal

from radar_pose_ros.vision import calibration_files
from radar_pose_ros.vision.camera import PinholeCamera


def one_input(data: bytes) -> None:
    """Read what the first byte says, as file or folder; its highest bit: lenses alone."""
    kind, placed = (data[0] if data else 0) & 0x7F, not (data[:1] >= b"\x80")
    with folder() as here:
        path = _PUT[kind % len(_PUT)](here, data[1:])
        found: dict[str, PinholeCamera] = {}
        refused = refusal(
            lambda: found.update(calibration_files.read(path, placed=placed)), ValueError
        )
        assert not refused or str(here) in refused, f"names no file: {refused}"
        if found and not any("/" in name or "\0" in name for name in found):
            _check(found, here, placed)


def _check(cameras: dict[str, PinholeCamera], here: Path, placed: bool) -> None:
    for format in calibration_files.FORMATS:
        path = here / f"{format}.toml" if format in ("pose2sim", "anipose") else here / format
        if refusal(
            lambda p=path, f=format: calibration_files.write(cameras, p, f, placed=placed),
            ValueError,
        ):
            continue  # a name that cannot be a file's
        again = calibration_files.read(path, format, placed=placed)
        assert sorted(again) == sorted(cameras), f"{format}: {[*again]}, not {[*cameras]}"
        for name, camera in cameras.items():
            assert again[name].size_px == camera.size_px
            np.testing.assert_allclose(again[name].matrix, camera.matrix, rtol=1e-9)
            if not placed:
                continue
            np.testing.assert_allclose(again[name].rotation, camera.rotation, atol=1e-6)
            size = 1.0 + float(np.abs(camera.position_m).max())
            np.testing.assert_allclose(
                again[name].position_m, camera.position_m, rtol=1e-6, atol=1e-6 * size
            )


def _toml(here: Path, content: bytes) -> Path:
    (here / "rig.toml").write_bytes(content)
    return here / "rig.toml"


def _storage(here: Path, content: bytes) -> Path:
    (here / "left.yml").write_bytes(content)
    return here / "left.yml"


def _xml(here: Path, content: bytes) -> Path:
    (here / "left.xml").write_bytes(content)
    return here / "left.xml"


def _ros(here: Path, content: bytes) -> Path:
    info, zero, places = content.partition(b"\0")
    (here / "left.yaml").write_bytes(info)
    if zero:
        (here / calibration_files.EXTRINSICS).write_bytes(places)
    return here


_PUT = (_toml, _storage, _xml, _ros)

_TABLE = b"""[cam_0]
name = "left"
size = [ 640, 480 ]
matrix = [ [ 600.0, 0.0, 320.0,], [ 0.0, 610.0, 240.0,], [ 0.0, 0.0, 1.0,] ]
distortions = [ -0.1, 0.02, 0.001, -0.002, 0.0 ]
rotation = [ 0.0, 0.0, 1.57 ]
translation = [ 1.0, 2.0, 3.0 ]
fisheye = false

[metadata]
error = 0.5
"""
_YML = b"""%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 600., 0., 320., 0., 610., 240., 0., 0., 1. ]
dist_coeffs: [ -0.1, 0.02, 0.001, -0.002, 0. ]
rvec: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 0., 0., 1.57 ]
T: !!opencv-matrix
   rows: 3
   cols: 1
   dt: f
   data: [ 1., 2., 3. ]
"""
_XML = b"""<?xml version="1.0"?>
<opencv_storage>
<image_size>640 480</image_size>
<K type_id="opencv-matrix"><rows>3</rows><cols>3</cols><dt>d</dt>
<data>600. 0. 320. 0. 610. 240. 0. 0. 1.</data></K>
<rvec>0. 0. 1.5</rvec>
<tvec>1. 2. 3.</tvec>
</opencv_storage>
"""
_INFO = b"""image_width: 640
image_height: 480
camera_matrix: {rows: 3, cols: 3, data: [600., 0., 320., 0., 610., 240., 0., 0., 1.]}
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.1, 0.02, 1e-3, -2e-3, 0]
"""
_PLACES = b"""cameras:
  left:
    position: [1.0, 2.0, 3.0]
    orientation: [0.0, 0.0, 0.6, 0.8]
"""


def seeds() -> dict[str, bytes]:
    """A file of every format."""
    json = (
        b'{"image_width": 640, "image_height": 480, "K": {"type_id": "opencv-matrix", "rows": 3,'
        b'"cols": 3, "dt": "d", "data": [600.0, 0.0, 320.0, 0.0, 610.0, 240.0, 0.0, 0.0, 1.0]}}'
    )
    return {
        "toml": b"\0" + _TABLE,
        "yml": b"\1" + _YML,
        "xml": b"\2" + _XML,
        "ros": b"\3" + _INFO + b"\0" + _PLACES,
        "lens": b"\x83" + _INFO,
        "json": b"\x82" + json,
    }
