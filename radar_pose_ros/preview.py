"""What a heatmap looks like without its Doppler axis. Light to import, for nodes."""

from __future__ import annotations

import numpy as np

PREVIEW_SPAN_DB = 30.0


def power_db(heatmap: np.ndarray) -> np.ndarray:
    """Return the power of a complex (angle, doppler, range) map, summed over Doppler, in dB.

    Parameters
    ----------
    heatmap : complex (angle, doppler, range)

    Returns
    -------
    float32 (angle, range)
        10 log10 of the summed power; zero power gives -200 dB below one count.
    """
    power = np.sum(heatmap.real**2 + heatmap.imag**2, axis=1, dtype=np.float64)
    return (10.0 * np.log10(np.maximum(power, 1e-20))).astype(np.float32)


def grey_image(heatmap: np.ndarray) -> np.ndarray:
    """Return the power as uint8 (angle, range): 255 at the strongest, 0 from 30 dB below it."""
    power = power_db(heatmap)
    grey = (power - power.max()) / PREVIEW_SPAN_DB + 1.0
    return (np.clip(grey, 0.0, 1.0) * 255).astype(np.uint8)
