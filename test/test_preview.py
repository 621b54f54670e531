"""Heatmaps without their Doppler axis."""

from __future__ import annotations

import numpy as np
import pytest

from radar_pose_ros import preview


def test_power_is_summed_over_doppler():
    heatmap = np.zeros((2, 3, 4), np.complex64)
    heatmap[1, :, 2] = [3 + 4j, 0, 5j]  # powers 25, 0, 25
    power = preview.power_db(heatmap)
    assert power.shape == (2, 4)
    assert power[1, 2] == pytest.approx(10 * np.log10(50), abs=1e-4)
    assert power[0, 0] == pytest.approx(-200)


def test_grey_spans_30_db_below_the_strongest():
    heatmap = np.zeros((1, 1, 4), np.complex64)
    heatmap[0, 0] = 10.0 ** (np.array([0, -15, -30, -60]) / 20)  # dB
    grey = preview.grey_image(heatmap)
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[255, 127, 0, 0]]
