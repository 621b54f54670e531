"""The pulse wave of a stream of face images, by a trained network, without ROS.

A network estimates windows of a fixed length. Windows overlap; each is z-scored, tapered by a Hann
window and added to the others, and what was added is divided by the sum of the tapers::

    thumbnails  ---------------------------------->   at the network's rate
    windows     [......A......]
                       [......B......]
                              [......C......]
    final       AAAAAAABBBBBBBB                       no later window will cover them
    preview                    bbbbbbbbccccccccppp    as it looks now; p: a window that ends now

Windows are not turned over or scaled to match each other: which way the wave goes is what the
network has learnt, and windows that contradict each other are a sign of no pulse, which is not to
be hidden. All of this is our own choice; the paper's code sets windows side by side.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from radar_pose_ros.models import weights
from radar_pose_ros.models.physmamba import PhysMamba, normalise
from radar_pose_ros.skeleton import checks
from radar_pose_ros.vitals import signals
from radar_pose_ros.vitals.meter import FaceWindow


class PulseNetwork:
    """A network for videos of any length.

    Parameters
    ----------
    network : PhysMamba
        Is copied, on its device; later changes to it are not seen.
    hop : int, optional
        Frames from one window to the next; half a window by default.
    name : str
        What the network is called where its estimates go.

    Raises
    ------
    ValueError
        If ``hop`` is not a whole number of 1 to the window's length.
    """

    def __init__(self, network: PhysMamba, hop: int | None = None, name: str = "") -> None:
        c = network.config
        self.name = name
        self.window = c.frames
        self.size = c.size
        self.rate_hz = c.rate_hz
        self.hop = checks.whole("hop", self.window // 2 if hop is None else hop, 1, self.window)
        self._network: nn.Module = network.for_inference()
        self._device = network.head.weight.device
        # nowhere zero, so that the ends of the first and the last window count, too
        self.taper = np.sin(np.pi * (np.arange(self.window) + 0.5) / self.window) ** 2

    @classmethod
    def load(cls, weights_name: str | Path, hop: int | None = None) -> PulseNetwork:
        """Return a trained network: a preset's name or a path, as in `weights.load`.

        Raises
        ------
        WeightsError
            As `weights.load`.
        ValueError
            As `PulseNetwork`.
        """
        network, entry = weights.network(weights_name, "physmamba")
        label = f"physmamba/{entry['preset']}@{entry['sha256'][:8]}"
        return cls(network, hop, label)

    def wave(self, thumbnails: ArrayLike) -> np.ndarray:
        """Estimate the pulse wave of a whole video.

        Parameters
        ----------
        thumbnails : array_like, shape (T, S, S, 3)
            RGB images of one face, of any brightness scale, ``rate_hz`` per second; other sizes
            than the network's are resized by area. NaN where the face was not seen.

        Returns
        -------
        ndarray of float64, shape (T,)
            About z-scored. NaN where no window without NaN covers it, and so everywhere if the
            video is shorter than a window.

        Raises
        ------
        ValueError
            If the thumbnails have another shape.
        """
        stream = PulseStream(self)
        final = stream.push(thumbnails)
        return np.concatenate([final, stream.preview()])

    @property
    def thumbnail_px(self) -> int:
        """Side of the thumbnails that need not be resized."""
        return self.size

    def wave_of(self, window: FaceWindow) -> np.ndarray:
        """Return the wave (T,) of a window of a face in the pulse's band; see `PulseMethod`."""
        if window.rate_hz != self.rate_hz:
            raise ValueError(f"{self.name} wants {self.rate_hz} Hz, got {window.rate_hz}")
        return signals.band_pass(self.wave(window.thumbnails), self.rate_hz)

    def estimate(self, window: np.ndarray) -> np.ndarray:
        """Return the z-scored wave of one window.

        Parameters
        ----------
        window : ndarray of float32, shape (window, size, size, 3)

        Returns
        -------
        ndarray of float64, shape (window,)
            NaN if a number of the window is, or if all of them are the same.
        """
        if not np.isfinite(window).all() or np.ptp(window) == 0:
            return np.full(self.window, np.nan)
        with torch.inference_mode():
            clip = torch.from_numpy(window).to(self._device).permute(0, 3, 1, 2)
            wave = self._network(normalise(clip.unsqueeze(0)))[0]
            wave = wave.double().cpu().numpy()
        centred = wave - wave.mean()
        return np.asarray(centred / max(centred.std(), np.finfo(np.float32).eps))

    def resized(self, thumbnails: ArrayLike) -> np.ndarray:
        """Return thumbnails of the network's size, float32.

        Raises
        ------
        ValueError
            If they are not (T, S, S, 3).
        """
        images = np.asarray(thumbnails, np.float32)
        if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
            raise ValueError(f"thumbnails must be (T, S, S, 3), got {images.shape}")
        if images.shape[1] == self.size:
            return images
        shape = (self.size, self.size)
        made = [cv2.resize(image, shape, interpolation=cv2.INTER_AREA) for image in images]
        return np.array(made, np.float32).reshape(-1, *shape, 3)


class PulseStream:
    """The same for one face in a live video. Not to be used by two threads at once.

    Whatever comes in whichever portions, final samples are those of `PulseNetwork.wave`. Each
    window is estimated once; a preview costs one more at the most.

    Parameters
    ----------
    network : PulseNetwork
    """

    def __init__(self, network: PulseNetwork) -> None:
        n = self.network = network
        self._images = np.empty((0, n.size, n.size, 3), np.float32)
        self._first = 0  # number of the first thumbnail that is kept
        self._next = 0  # number of the first one of the next window, and of what is not final
        # of what is not final: sums of tapered waves and of tapers
        self._sum = np.zeros((2, n.window))

    def push(self, thumbnails: ArrayLike) -> np.ndarray:
        """Take the thumbnails that follow; arguments and errors as `PulseNetwork.wave`.

        Returns
        -------
        ndarray of float64, shape (samples,)
            The samples that became final, in order, beginning where those of the last call ended;
            often none.
        """
        n = self.network
        self._images = np.concatenate([self._images, n.resized(thumbnails)])
        final = [np.empty(0)]
        while self._end - self._next >= n.window:
            self._sum += self._estimated(self._next)
            final.append(_mean(self._sum[:, : n.hop]))
            self._sum = np.pad(self._sum[:, n.hop :], ((0, 0), (0, n.hop)))
            self._next += n.hop
        # a preview looks back a window, which begins a hop before the next one at the earliest
        unused = max(self._next - n.hop - self._first, 0)
        self._images = self._images[unused:].copy() if unused else self._images
        self._first += unused
        return np.concatenate(final)

    def preview(self) -> np.ndarray:
        """Return what is not final yet, up to the last thumbnail.

        Returns
        -------
        ndarray of float64, shape (samples,)
            They follow the final ones. The newest rest on a window that ends with the last
            thumbnail. NaN as `PulseNetwork.wave`.
        """
        n = self.network
        total = self._sum.copy()
        pending = self._end - self._next
        begin = self._end - n.window
        if begin >= 0 and pending > n.window - n.hop:  # something came since the last window
            total[:, :pending] += self._estimated(begin)[:, self._next - begin :]
        return _mean(total[:, :pending])

    @property
    def _end(self) -> int:
        """Number of the thumbnail to come."""
        return self._first + len(self._images)

    def _estimated(self, begin: int) -> np.ndarray:
        """Return the tapered wave of a window and its taper, zeros if it is not known."""
        n = self.network
        wave = n.estimate(self._images[begin - self._first :][: n.window])
        if np.isnan(wave).any():
            return np.zeros((2, n.window))
        return n.taper * np.stack([wave, np.ones(n.window)])


def _mean(sums: np.ndarray) -> np.ndarray:
    """Divide by the sum of the tapers; NaN where there is none."""
    known = sums[1] > 0
    return np.where(known, sums[0] / np.where(known, sums[1], 1.0), np.nan)
