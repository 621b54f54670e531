"""What is written in HuPR's layout is read again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radar_pose_ros import resources
from radar_pose_ros.datasets import hupr, hupr_files
from radar_pose_ros.radar.ti_config import load_cfg

SPLITS = {"train": (1, 3), "validation": (2,)}


@pytest.mark.parametrize(
    ("name", "device"), [("iwr1843.cfg", "IWR1843"), ("iwr6843isk.cfg", "IWR6843ISK")]
)
def test_a_layout_comes_back(tmp_path, name, device):
    radar = load_cfg(resources.resolve(name, "config"), device)
    hupr_files.write_layout(tmp_path, "mine", radar, SPLITS, "a note")
    layout = hupr.Layout.of(tmp_path)
    assert (layout.name, layout.note) == ("mine", "a note")
    assert layout.splits == {**SPLITS, "test": ()}
    for field in ("device", "waveform", "iq_order", "tx_order", "rx_antennas", "commands"):
        assert getattr(layout.radar, field) == getattr(radar, field), field


def test_a_radar_whose_commands_are_not_known_is_refused(tmp_path):
    radar = replace(load_cfg(resources.resolve("iwr1843.cfg", "config")), commands=())
    with pytest.raises(ValueError, match="commands are not known"):
        hupr_files.write_layout(tmp_path, "mine", radar, SPLITS)


def test_labels_come_back_where_they_belong(tmp_path):
    keypoints_px = np.random.default_rng(0).uniform(0, 256, (2, 14, 2))
    hupr_files.annotate(tmp_path, "train", (1, 3), 3, (4, 7), keypoints_px)
    path = tmp_path / "annotations" / hupr.ANNOTATIONS["train"]
    labels = hupr.read_annotations(path, (1, 3))
    assert len(labels[1].frames) == 0
    np.testing.assert_array_equal(labels[3].frames, [4, 7])
    np.testing.assert_allclose(labels[3].keypoints_px, keypoints_px, rtol=1e-6)
    np.testing.assert_allclose(labels[3].boxes_px[:, :2], keypoints_px.min(axis=1), rtol=1e-6)
    np.testing.assert_allclose(labels[3].boxes_px[:, 2:], keypoints_px.max(axis=1), rtol=1e-6)
