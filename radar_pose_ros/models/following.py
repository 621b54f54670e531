"""A detector for the images of one live camera, which looks where the person was last."""

from __future__ import annotations

import numpy as np

from radar_pose_ros.models.detectors import (
    FOLLOWED_CONFIDENCE,
    FOLLOWED_SHARE,
    KeypointDetector,
    box_around,
    whole_box,
)

WHOLE_EVERY = 100  # choice: what is followed in error is let go after some seconds


class Follower:
    """Finds one person's keypoints in images that come one by one, and not all of them.

    With ``box: follow`` in the detector's settings it looks at `box_around` the keypoints of the
    image before: at the whole image first, after the person was lost, where images have another
    size, and every so often. Other detectors look at the whole image always.

    Parameters
    ----------
    detector : KeypointDetector
    least_confidence : float
        A joint of less is not known. The person is lost if that is more than half of them.
    whole_every : int
        Of so many images, one is looked at as a whole; 0: only where nobody is followed.

    Attributes
    ----------
    box : ndarray, shape (4,)
        What was looked at last: left, top, right and bottom, pixels.
    """

    def __init__(
        self,
        detector: KeypointDetector,
        least_confidence: float = FOLLOWED_CONFIDENCE,
        whole_every: int = WHOLE_EVERY,
    ) -> None:
        self.detector = detector
        self.least_confidence = least_confidence
        self.whole_every = whole_every
        self.box = np.zeros(4)
        self._whole = np.zeros(4)
        self._next: np.ndarray | None = None
        self._since_whole = 0

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints of the next image.

        Parameters
        ----------
        image : ndarray of uint8, shape (height, width, 3)
            Blue, green, red.

        Returns
        -------
        keypoints_px : ndarray of float64, shape (joints, 2)
            NaN where a joint was not found, or is not sure enough.
        confidence : ndarray of float64, shape (joints,)
            From 0 to 1, also of joints that are not sure enough; 0 where none was found.

        Raises
        ------
        ValueError
            If the image is of another shape or type, or the network's outputs cannot be decoded.
        """
        whole = whole_box(image)
        self._since_whole += 1
        due = self._since_whole == self.whole_every
        if self._next is None or due or not np.array_equal(whole, self._whole):
            self.box, self._whole, self._since_whole = whole, whole, 0
        else:
            self.box = self._next
        pixels, confidence = self.detector.look(image, self.box)
        known = (confidence >= self.least_confidence) & np.isfinite(pixels).all(-1)
        pixels = np.where(known[:, None], pixels, np.nan)
        settings = self.detector.settings
        follow = settings.box == "follow" and known.mean() >= FOLLOWED_SHARE
        self._next = box_around(pixels[known], settings.margin) if follow else None
        return pixels, confidence
