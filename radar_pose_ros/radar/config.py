"""One radar's configuration, whichever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radar_pose_ros.radar.waveform import Waveform

BYTES_PER_COMPLEX_SAMPLE = 4
DEVICES = ("IWR1843", "IWR6843ISK")


class ConfigError(ValueError):
    """A configuration that cannot be used: says where, what, and what is allowed."""


@dataclass(frozen=True)
class UnknownCommand:
    """A configuration line that this package has no use for; kept, reported, never fatal."""

    line: int
    text: str


@dataclass(frozen=True)
class RadarConfig:
    """What a radar transmits and how its capture card stores the samples.

    Parameters
    ----------
    device : str
        One of `DEVICES`; fixes the positions of the antennas.
    waveform : Waveform
        Timing and frequencies of a frame.
    tx_order : tuple of int
        Transmit antennas in firing order within a loop, counted from 1.
    rx_antennas : tuple of int
        Receive antennas in storage order, counted from 1.
    iq_order : {"IQ", "QI"}
        Which part of a complex sample comes first on the wire.
    rx_gain_db : float
        Receiver gain; NaN if unknown.
    commands : tuple of str
        The lines to send to the radar, in order; empty if the source was not a command file.
    unknown_commands : tuple of UnknownCommand
        Lines that were not understood.
    source : str
        Where it was read from.
    """

    device: str
    waveform: Waveform
    tx_order: tuple[int, ...]
    rx_antennas: tuple[int, ...]
    iq_order: Literal["IQ", "QI"] = "IQ"
    rx_gain_db: float = float("nan")
    commands: tuple[str, ...] = ()
    unknown_commands: tuple[UnknownCommand, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(
                f"{self.source}: device {self.device!r} is not known, only {', '.join(DEVICES)}"
            )
        if self.iq_order not in ("IQ", "QI"):
            raise ConfigError(
                f"{self.source}: iq_order {self.iq_order!r} is neither 'IQ' nor 'QI'"
            )
        if len(self.tx_order) != self.waveform.transmitters:
            raise ConfigError(
                f"{self.source}: {len(self.tx_order)} transmit antennas in the firing order, "
                f"but the waveform has {self.waveform.transmitters}"
            )
        if not self.rx_antennas:
            raise ConfigError(f"{self.source}: no receive antenna is enabled")

    @property
    def adc_shape(self) -> tuple[int, int, int, int]:
        """Shape of a frame of complex samples: (loops, transmitters, receivers, samples)."""
        return (
            self.waveform.loops,
            self.waveform.transmitters,
            len(self.rx_antennas),
            self.waveform.samples,
        )

    @property
    def bytes_per_chirp(self) -> int:
        """Bytes that one chirp takes on the wire."""
        return len(self.rx_antennas) * self.waveform.samples * BYTES_PER_COMPLEX_SAMPLE

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that one frame takes on the wire."""
        return self.waveform.loops * self.waveform.transmitters * self.bytes_per_chirp
