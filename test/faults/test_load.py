"""The rows of load, shortly, and the fast card by value."""

from __future__ import annotations

import time

import numpy as np
import pytest
from faults import load_rows
from faults.fast_card import FastCard
from loopback import LOOPBACK, SMALL, free_ports

from radar_pose_ros.radar.dca1000 import USUAL_PAYLOAD_BYTES
from radar_pose_ros.radar.ports import DcaUdpSource

SEED = 0


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_a_fast_card_sends_what_a_card_sends_at_its_speed(speed: float) -> None:
    """Its frames are whole for the driver, and come as often as they should."""
    config_port, data_port, card_port = free_ports(3)
    card = FastCard(
        SMALL.bytes_per_frame, (LOOPBACK, data_port), (LOOPBACK, card_port), frame_period_s=0.05
    )
    card.speed = speed
    source = DcaUdpSource(
        SMALL,
        host_ip=LOOPBACK,
        card_ip=LOOPBACK,
        config_port=config_port,
        data_port=data_port,
        card_config_port=card_port,
        queue_frames=100,
    )
    with card, source:
        source.start()
        deadline_s = time.monotonic() + 10.0
        while card.statistics.frames_sent < 21 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        card.stop_radar()
        time.sleep(0.2)
        frames = [source.read(0.0) for _ in range(20)]
        sent, seen = card.statistics, source.statistics.assembler
    assert [frame.index for frame in frames] == list(range(20))
    assert not any(frame.bytes_missing for frame in frames)
    assert seen.packets_lost == 0 and seen.packets_accepted == sent.packets_sent
    assert sent.bytes_sent == USUAL_PAYLOAD_BYTES * sent.packets_sent
    steps_s = np.diff([frame.first_packet_s for frame in frames])
    assert np.median(steps_s) == pytest.approx(0.05 / speed, rel=0.2)


@pytest.mark.ros
def test_two_radars_for_two_seconds(ros_environment, monkeypatch) -> None:
    monkeypatch.setattr(load_rows, "PREPARED_S", 0.5)
    monkeypatch.setattr(load_rows, "MOST_SLIPPED", 0.5)  # the suite shares its cores
    outcome = load_rows.two_radars(2, SEED)
    assert outcome.held, outcome.figures


@pytest.mark.ros
@pytest.mark.slow
def test_faster_and_faster(ros_environment, monkeypatch) -> None:
    monkeypatch.setattr(load_rows, "SPEEDS", (1.0, 1.5))
    outcome = load_rows.first_loss(2, SEED)
    assert outcome.held, outcome.figures
