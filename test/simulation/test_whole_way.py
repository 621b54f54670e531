"""Point targets on their whole way: echo, packets, UDP, assembler, heatmap."""

from __future__ import annotations

import numpy as np
from loopback import make_pair, record

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapProcessor
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.simulation.radar import RadarPlacement, RadarSimulator

TARGETS = 500
# The reference waveform with as many loops as the heatmap keeps, a hundred times a second.
CONFIG = RadarConfig(
    "IWR1843",
    Waveform(77e9, 60.012e12, 4.4e6, 256, 7e-6, 6e-6, 65e-6, 8, 3, 0.01),
    (1, 2, 3),
    (1, 2, 3, 4),
    "QI",
)


def test_random_targets_land_in_the_predicted_bins():
    """Range, Doppler and angle within one bin, for every one of 500.

    Angle: all twelve antennas are one vector, whose spectrum follows from their positions and from
    the phase that the movement adds between the transmitters' time slots. Where it has two peaks
    within 1 % of each other, either will do. Doppler: modulo the span of eight chirps.
    """
    waveform = CONFIG.waveform
    array = VirtualArray.for_config(CONFIG)
    simulator = RadarSimulator(CONFIG, RadarPlacement("radar_link", (0.0, 0.0, 0.0)))
    rng = np.random.default_rng(4)
    bin_mps = waveform.wavelength_m / (2 * waveform.active_time_s)
    ranges_m = rng.uniform(0.5, 10.0, TARGETS)
    azimuths = np.deg2rad(rng.uniform(-60, 60, TARGETS))
    elevations = np.deg2rad(rng.uniform(-15, 15, TARGETS))
    # Faster than one bin, so that it is not clutter.
    speeds_mps = rng.choice([-1, 1], TARGETS) * rng.uniform(bin_mps, 4.0, TARGETS)
    directions = np.stack(
        [
            np.cos(elevations) * np.cos(azimuths),
            np.cos(elevations) * np.sin(azimuths),
            np.sin(elevations),
        ],
        axis=-1,
    )
    # The simulator wants the position at the start of the frame, the range bin is of its middle.
    starts_m = ranges_m - speeds_mps * waveform.active_time_s / 2
    sent = [
        simulator.points(start_m * direction, speed_mps * direction, 500.0)
        for start_m, direction, speed_mps in zip(starts_m, directions, speeds_mps, strict=True)
    ]
    options = {"queue_frames": TARGETS}
    card, source = make_pair(iter(sent), config=CONFIG, source_options=options)
    received = record(card, source, TARGETS, timeout_s=60.0)
    assert [frame.bytes_missing for frame in received] == [0] * TARGETS

    processor = HeatmapProcessor(CONFIG)
    worst = np.zeros(3)
    for number, frame in enumerate(received):
        np.testing.assert_array_equal(frame.data, sent[number])
        heatmap = processor(frame.data)
        angle, doppler, distance = np.unravel_index(np.abs(heatmap).argmax(), heatmap.shape)
        turns = 2 * speeds_mps[number] / waveform.wavelength_m * waveform.chirp_time_s
        phase = array.phase(directions[number]) + 2 * np.pi * turns * array.firing_slot
        spectrum = np.abs(np.fft.fftshift(np.fft.fft(np.exp(1j * phase), n=64)))
        peaks = np.flatnonzero(spectrum > 0.99 * spectrum.max())
        errors = (
            np.abs((angle - peaks + 32) % 64 - 32).min(),
            (doppler - (4 + speeds_mps[number] / bin_mps) + 4) % 8 - 4,
            distance - ranges_m[number] / waveform.range_resolution_m,
        )
        worst = np.maximum(worst, np.abs(errors))
    assert np.all(worst <= 1), f"largest error in bins (angle, Doppler, range): {worst}"
