"""What tests over the loopback interface share: a radar, free ports, a card and its source."""

from __future__ import annotations

import socket

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ports import DcaUdpSource
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.simulation.boards import EmulatedDca1000

LOOPBACK = "127.0.0.1"

SMALL = RadarConfig(  # 24,576 bytes per frame: 16.9 packets
    device="IWR1843",
    waveform=Waveform(
        start_frequency_hz=77e9,
        slope_hz_per_s=60e12,
        sample_rate_hz=4.4e6,
        samples=64,
        idle_time_s=7e-6,
        adc_start_time_s=6e-6,
        ramp_end_time_s=25e-6,
        loops=8,
        transmitters=3,
        frame_period_s=0.01,
    ),
    tx_order=(1, 2, 3),
    rx_antennas=(1, 2, 3, 4),
)
VALUES = SMALL.bytes_per_frame // 2


def free_ports(count: int) -> list[int]:
    """UDP ports of the loopback interface that nobody uses now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for opened in sockets:
        opened.bind((LOOPBACK, 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def make_pair(frames, faults=None, config=SMALL, source_options=(), **options):
    """An emulated card and the source that reads it."""
    config_port, data_port, card_port = free_ports(3)
    card = EmulatedDca1000(
        frames,
        (LOOPBACK, data_port),
        (LOOPBACK, card_port),
        faults,
        frame_period_s=config.waveform.frame_period_s,
        active_time_s=config.waveform.active_time_s,
        **options,
    )
    source = DcaUdpSource(
        config,
        host_ip=LOOPBACK,
        card_ip=LOOPBACK,
        config_port=config_port,
        data_port=data_port,
        card_config_port=card_port,
        **dict(source_options),
    )
    return card, source


def record(card, source, count, timeout_s=20.0):
    """Record that many frames; returns those received."""
    with card, source:
        source.start()
        assert card.wait_sent(count, timeout_s)
        source.stop()
        return list(source.frames())
