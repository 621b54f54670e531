"""Pictures of calibration boards by cameras that are known."""

from __future__ import annotations

import cv2
import numpy as np

from radar_pose_ros.vision.calibration import Board, CharucoBoard, Checkerboard
from radar_pose_ros.vision.camera import PinholeCamera

SIZE = (640, 480)


def printed(board: Board) -> tuple[np.ndarray, np.ndarray]:
    """Return the printed board with a white rim, and the map from its world to its pixels."""
    side = 40  # px of a square
    if isinstance(board, Checkerboard):
        rows, columns = np.indices((board.rows + 1, board.columns + 1))
        squares = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
        paper = np.kron(squares, np.ones((side, side), np.uint8))
        first, height = (
            1,
            board.rows - 1,
        )  # corner (0, 0) is one square inside; its world's y is up
    else:
        assert isinstance(board, CharucoBoard)
        paper = board.opencv().generateImage((side * board.columns, side * board.rows))
        first, height = 0, board.rows
    scale = side / board.square_m
    up = side * (first + height)
    to_paper = np.array([[scale, 0, first * side], [0, -scale, up], [0, 0, 1.0]])
    to_paper = np.array([[1, 0, side], [0, 1, side], [0, 0, 1.0]]) @ to_paper
    return np.pad(paper, side, constant_values=255), to_paper


def photograph(board: Board, camera: PinholeCamera) -> np.ndarray:
    """Return what a camera without distortion sees of the board on a grey table."""
    paper, to_paper = printed(board)
    to_image = camera.projection_matrix[:, [0, 1, 3]]  # of the plane z = 0
    # The middle of a pixel is its coordinate; of a printed one, half a pixel further.
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    mapping = to_image @ np.linalg.inv(shift @ to_paper)
    fine = np.diag([2.0, 2.0, 1.0])  # drawn twice as large, then made smaller: soft edges
    fine[:2, 2] = 0.5
    large = cv2.warpPerspective(
        paper, fine @ mapping, (2 * SIZE[0], 2 * SIZE[1]), flags=cv2.INTER_AREA, borderValue=128
    )
    return np.asarray(cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA))


def around(focal_px: float = 700.0, roll: float = 0.0) -> list[PinholeCamera]:
    """Cameras around and above a board that lies on the floor at the world's origin."""
    middle = np.array([0.2, 0.12, 0.0])
    made = []
    for azimuth, height_m, distance_m in (
        (-90, 0.7, 0.5),
        (-60, 0.65, 0.55),
        (-120, 0.7, 0.45),
        (-20, 0.8, 0.4),
        (160, 0.8, 0.5),
        (80, 0.7, 0.4),
        (-100, 0.55, 0.6),
    ):
        side = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))]) * distance_m
        place = middle + [*side, height_m]
        made.append(PinholeCamera.looking_at(place, middle, focal_px, SIZE, roll))
    return made
