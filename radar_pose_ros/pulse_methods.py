"""What a pulse is measured with: a network where there are weights for it, else colours alone."""

from __future__ import annotations

import math
from typing import NamedTuple

from radar_pose_ros.vitals import classical
from radar_pose_ros.vitals.meter import FULL, ClassicalMethod, MeterSettings, PulseMethod

AUTO = "auto"  # `LEARNT` if there are weights for it, else `FALLBACK`
LEARNT = "physmamba"
FALLBACK = "combined"
METHODS = (AUTO, LEARNT, FALLBACK, *classical.METHODS)
SHIPPED = "edge"  # the preset that is taken if none is named


class Chosen(NamedTuple):
    """A method to measure with.

    Attributes
    ----------
    method : PulseMethod
    rate_hz : float
        Of the signals that it wants.
    note : str
        Why it is not the one that is wished for; "" if it is.
    """

    method: PulseMethod
    rate_hz: float = MeterSettings.rate_hz
    note: str = ""


def choose(name: str, weights: str, window_s: float, threads: int | None = None) -> Chosen:
    """Return the method to measure with.

    Parameters
    ----------
    name : str
        One of `METHODS`.
    weights : str
        Of `LEARNT`: a preset's name or a file; "" for `SHIPPED`.
    window_s : float
        Length of the signals that it will get.
    threads : int, optional
        That a network may use; by default as many as torch takes.

    Raises
    ------
    ValueError
        If there is no such method, weights are for another one or cannot be used, or the signals
        are too short.
    """
    if name not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {name!r}")
    if name not in (AUTO, LEARNT):
        if weights:
            raise ValueError(f"weights are for {LEARNT}, not for {name}, got {weights!r}")
        return Chosen(ClassicalMethod(name))
    try:
        import torch  # takes seconds, and other methods do without

        from radar_pose_ros.models.pulse import PulseNetwork

        if threads is not None:
            torch.set_num_threads(threads)
        network = PulseNetwork.load(weights or SHIPPED)
    except (ValueError, ModuleNotFoundError) as error:
        if name == LEARNT or weights:
            raise
        note = f"{FALLBACK}, for there are no weights of {LEARNT}: {error}"
        return Chosen(ClassicalMethod(FALLBACK), note=note)
    needed_s = math.ceil(10 * network.window / network.rate_hz / FULL) / 10
    if window_s < needed_s:
        raise ValueError(f"{network.name} wants a window of {needed_s:.1f} s, got {window_s:g}")
    return Chosen(network, network.rate_hz)
