"""Detectors of faces: OpenCV's cascade, and the network YuNet where the user has its file.

All give boxes as the cascade draws them: a square from the forehead to the chin.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

# Of the frontal ones it found no false faces in drawn rooms, and all true ones.
CASCADE = "haarcascade_frontalface_alt2.xml"
CASCADE_FOLDERS = (
    "/usr/share/opencv4/haarcascades",
    "/usr/share/opencv/haarcascades",
    "/usr/local/share/opencv4/haarcascades",
)
# In a box of the cascade, as shares of its side: between what it draws on photographs (0.46 and
# 0.38) and on drawn faces (0.36 and 0.39).
_EYE_DISTANCE, _EYE_HEIGHT = 0.41, 0.38

# Takes a BGR image and returns boxes: x, y of the corner, width, height, in pixels.
Detector = Callable[[np.ndarray], list[tuple[float, float, float, float]]]


def find_cascade(name: str = CASCADE) -> Path:
    """Return where a cascade of OpenCV is.

    Raises
    ------
    FileNotFoundError
        If it is nowhere.
    """
    folders = [Path(folder) for folder in CASCADE_FOLDERS]
    if data := getattr(cv2, "data", None):  # wheels carry the files, Debian's package does not
        folders.insert(0, Path(data.haarcascades))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{name} is in none of {', '.join(map(str, folders))}: install opencv-data (apt) or "
        "opencv-python-headless<5 (pip), or name a YuNet model (.onnx)"
    )


def cascade_detector(path: str | Path | None = None, smallest_px: int = 38) -> Detector:
    """Return a detector that finds upright frontal faces by OpenCV's cascade (Viola and Jones).

    Parameters
    ----------
    path : str or Path or None
        A cascade; None takes the one that comes with OpenCV.
    smallest_px : int
        Width of the smallest face that is found, in the images that the detector is given; a
        `FaceTracker` reduces them before, see there.

    Returns
    -------
    Detector
        Takes a BGR image and returns boxes, x, y, width, height.

    Raises
    ------
    RuntimeError
        If this OpenCV has no cascades; from 5.0 on they are not part of it.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a cascade.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        raise RuntimeError(
            f"OpenCV {cv2.__version__} has no face cascade: install opencv-python-headless<5, or "
            "name a YuNet model (.onnx)"
        )
    path = find_cascade() if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such cascade")
    try:
        cascade = cv2.CascadeClassifier(str(path))
    except (cv2.error, SystemError):  # by the version
        cascade = None
    if cascade is None or cascade.empty():
        raise ValueError(f"{path}: not a cascade of OpenCV")

    def detect(image_bgr: np.ndarray) -> list[tuple[float, float, float, float]]:
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(grey, 1.2, 5, minSize=(smallest_px, smallest_px))
        return [(float(x), float(y), float(w), float(h)) for x, y, w, h in found]

    return detect


def yunet_detector(path: str | Path, least_score: float = 0.7) -> Detector:
    """Return a detector that finds faces with the network YuNet, whose file the user has.

    Parameters
    ----------
    path : str or Path
        The model (.onnx), as OpenCV's model zoo has it.
    least_score : float
        Faces with lower scores are left out.

    Raises
    ------
    RuntimeError
        If this OpenCV cannot run it.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not such a model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such YuNet model")
    if not hasattr(cv2, "FaceDetectorYN"):
        raise RuntimeError(f"OpenCV {cv2.__version__} cannot run YuNet: 4.5.4 or newer can")
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), least_score)
    except cv2.error as error:
        raise ValueError(f"{path}: not a YuNet model that OpenCV can read") from error

    def detect(image_bgr: np.ndarray) -> list[tuple[float, float, float, float]]:
        network.setInputSize(image_bgr.shape[1::-1])
        _, found = network.detect(image_bgr)
        return [] if found is None else [box_of_landmarks(row[4:14]) for row in found]

    return detect


def box_of_landmarks(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return the box that the cascade would draw.

    Parameters
    ----------
    landmarks : ndarray, shape (10,)
        x, y of both eyes, the nose, both corners of the mouth, as YuNet gives them.
    """
    eyes, mouth = landmarks[:4].reshape(2, 2), landmarks[6:10].reshape(2, 2)
    middle = eyes.mean(axis=0)
    # A head that is turned shows its eyes nearer to each other, but not higher over the mouth:
    # upright they are about as far apart as the mouth is below them.
    apart = max(np.linalg.norm(eyes[1] - eyes[0]), np.linalg.norm(mouth.mean(axis=0) - middle))
    side = float(apart) / _EYE_DISTANCE
    centre = (middle[0] + mouth[:, 0].mean()) / 2
    return float(centre - side / 2), float(middle[1] - _EYE_HEIGHT * side), side, side
