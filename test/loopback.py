"""What tests over the loopback interface share: a radar, free ports, a card and its source.

And the far ends of both lines to real boards, which say whatever a test wants.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import tty
from contextlib import suppress

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.dca1000 import Command, decode_command, encode_reply
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


class ScriptedCard:
    """A card that answers each command as `answer(command)` says: a list of datagrams."""

    def __init__(self, answer):
        self._answer = answer
        self.heard: list[int] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self._done = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._done:
            try:
                datagram, host = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            command, _ = decode_command(datagram)
            self.heard.append(command)
            for reply in self._answer(command):
                self._socket.sendto(reply, host)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done = True
        self._thread.join()
        self._socket.close()


def well(command):
    status = 0x0402 if command == Command.READ_FPGA_VERSION else 0
    return [encode_reply(command, status)]


class ScriptedRadar:
    """The far end of a serial line: `answer(line)` yields bytes, pauses, or None to vanish."""

    def __init__(self, answer):
        self._answer = answer
        self._master, slave = self._ends = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(slave)
        self.heard: list[str] = []
        self._done = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        pending = b""
        while not self._done:
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            try:
                pending += os.read(self._master, 4096)
            except OSError:
                return
            *lines, pending = pending.split(b"\n")
            for line in lines:
                self.heard.append(line.decode())
                for part in self._answer(line.decode()):
                    if self._done:
                        return
                    if isinstance(part, bytes):
                        with suppress(BlockingIOError):  # nobody reads: lost, as on a real line
                            os.write(self._master, part)
                    elif part is None:
                        self.vanish()
                        return
                    else:
                        time.sleep(part)

    def say(self, words):
        """Say something without having been asked."""
        os.write(self._master, words)

    def vanish(self):
        ends, self._ends = self._ends, ()
        for descriptor in ends:
            os.close(descriptor)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done = True
        self._thread.join()
        self.vanish()
