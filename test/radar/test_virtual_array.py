"""Antenna positions, order and phases."""

import numpy as np
import pytest

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.virtual_array import VirtualArray
from radar_pose_ros.radar.waveform import Waveform

BOARDS = ("IWR1843", "IWR6843ISK")


@pytest.mark.parametrize("device", BOARDS)
def test_positions_are_those_of_the_boards(device):
    array = VirtualArray(device)
    assert array.positions_half_wavelengths.tolist() == [
        [0, 0], [1, 0], [2, 0], [3, 0],
        [2, 1], [3, 1], [4, 1], [5, 1],
        [4, 0], [5, 0], [6, 0], [7, 0],
    ]  # fmt: skip
    assert len(array) == 12
    assert array.azimuth_row.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert array.upper_row.tolist() == [4, 5, 6, 7]
    assert array.elevation_pairs.tolist() == [[2, 4], [3, 5], [8, 6], [9, 7]]


def test_order_sorts_by_transmitter_whatever_the_firing_order():
    # Each value says who made it: 10 * transmitter + receiver.
    sorted_values = [11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34]
    for tx_order in ((1, 2, 3), (1, 3, 2), (3, 1, 2), (3, 2, 1)):
        stored = np.array([[10 * tx + rx for rx in (1, 2, 3, 4)] for tx in tx_order]).ravel()
        array = VirtualArray("IWR1843", tx_order)
        assert stored[array.order].tolist() == sorted_values
        assert [tx_order[slot] for slot in array.firing_slot] == [1] * 4 + [2] * 4 + [3] * 4
        assert np.array_equal(
            array.positions_half_wavelengths, VirtualArray("IWR1843").positions_half_wavelengths
        )


def test_fewer_antennas():
    array = VirtualArray("IWR1843", tx_order=(3, 1), rx=(2, 4))
    assert array.positions_half_wavelengths.tolist() == [[1, 0], [3, 0], [5, 0], [7, 0]]
    assert array.order.tolist() == [2, 3, 0, 1]
    assert array.upper_row.size == 0
    assert array.elevation_pairs.shape == (0, 2)


def test_phase_is_that_of_the_way_to_a_far_target():
    """Against plain geometry: ways from transmitter to a target 10 km away and to the receiver."""
    wavelength_m = 0.004
    half = wavelength_m / 2
    tx = {1: (0, 0, 0), 2: (0, -2 * half, half), 3: (0, -4 * half, 0)}
    rx = {1: (0, 0, 0), 2: (0, -half, 0), 3: (0, -2 * half, 0), 4: (0, -3 * half, 0)}
    azimuth, elevation = np.deg2rad(25.0), np.deg2rad(-15.0)
    direction = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    target = 10e3 * direction
    way = np.array(
        [
            np.linalg.norm(target - tx[i]) + np.linalg.norm(target - rx[j])
            for i in (1, 2, 3)
            for j in (1, 2, 3, 4)
        ]
    )
    # A longer way is a larger phase of the beat signal.
    expected = np.exp(2j * np.pi * (way - way[0]) / wavelength_m)
    steering = VirtualArray("IWR1843").steering(direction)
    assert np.abs(steering / steering[0] - expected).max() < 1e-4


def test_phase_signs():
    array = VirtualArray("IWR1843")
    left = array.phase([np.sqrt(0.75), 0.5, 0.0])
    assert left[:4] == pytest.approx([0, np.pi / 2, np.pi, 1.5 * np.pi])
    up = array.phase([[np.sqrt(0.75), 0.0, 0.5]])
    assert up.shape == (1, 12)
    assert up[0, 4:8] == pytest.approx(-np.pi / 2)
    assert np.all(up[0, array.azimuth_row] == 0)


def test_for_config():
    waveform = Waveform(60e9, 30e12, 4e6, 128, 7e-6, 6e-6, 65e-6, 16, 2, 0.1)
    config = RadarConfig("IWR6843ISK", waveform, tx_order=(2, 1), rx_antennas=(1, 2, 3, 4))
    array = VirtualArray.for_config(config)
    assert array.order.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert array.upper_row.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("device", "tx", "rx", "sentence"),
    [
        ("IWR1443", (1,), (1,), "IWR1443.*only IWR1843, IWR6843ISK"),
        ("IWR1843", (1, 4), (1,), r"transmit antennas \(1, 4\) of IWR1843"),
        ("IWR1843", (1, 1), (1,), r"transmit antennas \(1, 1\)"),
        ("IWR1843", (), (1,), "at least one"),
        ("IWR1843", (1,), (0,), r"receive antennas \(0,\)"),
    ],
)
def test_errors_say_what_is_allowed(device, tx, rx, sentence):
    with pytest.raises(ValueError, match=sentence):
        VirtualArray(device, tx, rx)


def test_directions_must_be_vectors():
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 3\), got \(2,\)"):
        VirtualArray("IWR1843").phase([1.0, 0.0])
