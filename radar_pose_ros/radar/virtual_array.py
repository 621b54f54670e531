"""Positions of the virtual antennas of the supported boards.

Each pair of a transmit and a receive antenna acts like one *virtual* antenna at the sum of their
positions. The supported boards share one layout (half wavelengths; x runs along the row, z is
height)::

    z = 1         Tx2: 2 3 4 5           four elements, raised
    z = 0    Tx1: 0 1 2 3  Tx3: 4 5 6 7  eight elements, the azimuth row
              x = 0 ... 7

that is, four receivers half a wavelength apart, Tx3 two wavelengths from Tx1 in their row, and Tx2
midway between them and raised by half a wavelength. Source: the antenna drawings in Texas
Instruments' user guides of the two boards (IWR1843BOOST: SPRUIM4, IWR6843ISK: SWRU546); for the
latter also the ``antGeometry0`` and ``antGeometry1`` lines of the vendor's people-tracking
configurations, which hold the same numbers with x negated and z counted from Tx2.

"Half a wavelength" is taken in the middle of the samples (`Waveform.wavelength_m`), where phases
between antennas are measured; then the sine of an angle is exactly a transform's bin. A board is
cut for one frequency, so in a ramp elsewhere in the radar's band sines are off by the ratio of the
two, some per cent at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radar_pose_ros.radar.config import ConfigError, RadarConfig

# Half wavelengths, (x along the row, z up); the virtual antenna lies at the sum.
_BOOST_TX = {1: (0, 0), 2: (2, 1), 3: (4, 0)}
_BOOST_RX = {1: (0, 0), 2: (1, 0), 3: (2, 0), 4: (3, 0)}
_LAYOUTS = {"IWR1843": (_BOOST_TX, _BOOST_RX), "IWR6843ISK": (_BOOST_TX, _BOOST_RX)}


class VirtualArray:
    """The virtual antennas of one radar, sorted by transmitter and then receiver.

    Parameters
    ----------
    device : str
        "IWR1843" (as on the IWR1843BOOST) or "IWR6843ISK".
    tx_order : sequence of int
        Transmit antennas in firing order, counted from 1, each at most once.
    rx : sequence of int
        Receive antennas in storage order, counted from 1.

    Attributes
    ----------
    positions_half_wavelengths : ndarray of float, shape (antennas, 2)
        Lateral index x and height z of each virtual antenna, by rising transmitter and receiver
        number, whatever the firing order. In the radar's link frame such an antenna lies at
        ``(0, -x, +z) * wavelength / 2``.
    order : ndarray of int, shape (antennas,)
        ``flat[order]`` sorts values that are flat in storage order (firing slot, receiver).
    firing_slot : ndarray of int, shape (antennas,)
        Position of each virtual antenna's transmitter in the firing order, from 0.
    azimuth_row, upper_row : ndarray of int
        Indices of the elements at z = 0 and at z = 1, by rising x. Empty if none is in use.
    elevation_pairs : ndarray of int, shape (pairs, 2)
        Indices (lower, upper) of the elements that stand above each other, by rising x.

    Raises
    ------
    ConfigError
        If the device or an antenna is not known, or an antenna is listed twice.
    """

    def __init__(
        self, device: str, tx_order: Sequence[int] = (1, 2, 3), rx: Sequence[int] = (1, 2, 3, 4)
    ) -> None:
        if device not in _LAYOUTS:
            raise ConfigError(
                f"the antenna layout of {device!r} is not known, only {', '.join(_LAYOUTS)}"
            )
        tx_layout, rx_layout = _LAYOUTS[device]
        for kind, listed, layout in (
            ("transmit", tx_order, tx_layout),
            ("receive", rx, rx_layout),
        ):
            unknown = [antenna for antenna in listed if antenna not in layout]
            if unknown or not len(listed) or len(set(listed)) != len(listed):
                raise ConfigError(
                    f"{kind} antennas {tuple(listed)} of {device}: want each of "
                    f"{tuple(layout)} at most once, and at least one"
                )
        self.device = device
        self.tx_order = tuple(int(antenna) for antenna in tx_order)
        self.rx = tuple(int(antenna) for antenna in rx)

        pairs = [(transmit, receive) for transmit in self.tx_order for receive in self.rx]
        self.order = np.array(sorted(range(len(pairs)), key=pairs.__getitem__))
        self.firing_slot = self.order // len(self.rx)
        self.positions_half_wavelengths = np.array(
            [
                np.add(tx_layout[transmit], rx_layout[receive])
                for transmit, receive in sorted(pairs)
            ],
            float,
        )

        x, z = self.positions_half_wavelengths.T
        by_x = np.argsort(x, kind="stable")
        self.azimuth_row = by_x[z[by_x] == 0]
        self.upper_row = by_x[z[by_x] == 1]
        self.elevation_pairs = np.array(
            [(low, up) for low in self.azimuth_row for up in self.upper_row if x[low] == x[up]],
            int,
        ).reshape(-1, 2)

    @classmethod
    def for_config(cls, config: RadarConfig) -> VirtualArray:
        """Return the array of a radar's configuration."""
        return cls(config.device, config.tx_order, config.rx_antennas)

    def __len__(self) -> int:
        return len(self.order)

    def phase(self, directions: np.ndarray) -> np.ndarray:
        """Return the phase at which each virtual antenna sees a far target, against the origin.

        An antenna at p has ``p . u`` less way to go, hence ``-2 pi p . u / wavelength``, which
        with p = ``(0, -x, z) * wavelength / 2`` is ``pi (x u_y - z u_z)``.

        Parameters
        ----------
        directions : array_like, shape (..., 3)
            Unit vectors u from the radar to the targets in its link frame (x boresight, y left,
            z up).

        Returns
        -------
        ndarray of float, shape (..., antennas)
            Radians, not wrapped.
        """
        directions = np.asarray(directions, float)
        if directions.shape[-1:] != (3,):
            raise ValueError(f"directions want shape (..., 3), got {directions.shape}")
        x, z = self.positions_half_wavelengths.T
        return np.pi * (directions[..., 1, None] * x - directions[..., 2, None] * z)

    def steering(self, directions: np.ndarray) -> np.ndarray:
        """Return ``exp(1j * phase(directions))``, complex128 of shape ``(..., antennas)``."""
        return np.exp(1j * self.phase(directions))
