"""What radar_driver publishes of its two kinds of source: samples of a card, points of a UART."""

from __future__ import annotations

import math
import time
from typing import Any

from sensor_msgs.msg import PointCloud2

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.health import Health
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.points import PointFrame
from radar_pose_ros.radar.ports import (
    DcaUdpSource,
    FileFrameSource,
    SerialConfigPort,
    SourceStatistics,
)
from radar_pose_ros.radar.uart import UartPointSource, UartStatistics

# Counters of the assembler whose growth is a loss, and what to call it.
LOSSES = {
    "packets_lost": "packets lost",
    "frames_dropped": "frames that lacked too much",
    "frames_lost": "frames of which nothing came",
    "packets_malformed": "datagrams that are no data packets",
    "packets_foreign": "packets from another sender",
    "packets_stray": "packets that fit into no stream",
}
OVERWRITTEN = "frames that could not be published in time"


def commands_for(serial_port: str, config: RadarConfig | None) -> tuple[str, ...]:
    """Return what to send to the radar: nothing if `serial_port` is empty.

    Raises
    ------
    ConfigError
        If there is nothing that could be sent.
    """
    if not serial_port:
        return ()
    if config is None:
        raise ConfigError("serial_port wants a config_file to send; leave it empty, too")
    if not config.commands:
        raise ConfigError(
            f"{config.source} holds no commands for {serial_port}: leave serial_port empty, or "
            "give a .cfg file"
        )
    return tuple(config.commands)


class Samples:
    """Frames of raw samples from a capture card, or from a recording of one.

    Raises
    ------
    ConfigError
        See `commands_for`.
    """

    topic, message_type = "adc", msg.RadarAdcFrame

    def __init__(self, config: RadarConfig, values: Any) -> None:
        self._commands = commands_for(values.serial_port, config)
        self._values = values
        self._config = config
        self._radar_on = False
        self.reopen_limit_s: float = values.max_retry_s
        self.source = self._make_source()

    def _make_source(self) -> DcaUdpSource | FileFrameSource:
        values = self._values
        if values.replay_file:
            return FileFrameSource(
                values.replay_file,
                self._config,
                data_port=values.data_port,
                paced=True,
                max_missing_ratio=values.max_missing_ratio,
            )
        return DcaUdpSource(
            self._config,
            host_ip=values.host_ip,
            card_ip=values.card_ip,
            config_port=values.config_port,
            data_port=values.data_port,
            receive_buffer_bytes=values.receive_buffer_bytes,
            packet_delay_us=values.packet_delay_us,
            max_missing_ratio=values.max_missing_ratio,
            # A silent card must not keep this thread from frames that come back meanwhile.
            reply_timeout_s=0.3,
            attempts=2,
        )

    def start_radar(self) -> None:
        """Let the radar begin; the card records already."""
        if self._commands:
            with SerialConfigPort(self._values.serial_port) as port:
                port.send(self._commands)
            self._radar_on = True

    def stop_radar(self) -> None:
        """Let the radar end; the card still records."""
        if self._radar_on:
            self._radar_on = False
            with SerialConfigPort(self._values.serial_port, total_timeout_s=1.0) as port:
                port.send(["sensorStop"])

    @staticmethod
    def came(statistics: SourceStatistics) -> tuple[int, str]:
        """Return how much came, and what it means if that grows and no frame comes."""
        return (
            statistics.assembler.packets_accepted,
            "packets come, but no whole frame: is config_file what the radar runs?",
        )

    def message(self, frame: AssembledFrame, health: Health) -> msg.RadarAdcFrame:
        """Return what to publish of a frame."""
        health.show(
            "frame_arrival_ms", f"{1e3 * (frame.last_packet_s - frame.first_packet_s):.1f}"
        )
        stamp_ns = int(frame.first_packet_s * convert.NANOSECONDS)
        if self._values.replay_file:
            stamp_ns = time.time_ns()  # a recording's own times are those of another day
        return convert.adc_to_message(
            frame, self._config.adc_shape, stamp_ns, self._values.frame_id
        )

    @staticmethod
    def losses(statistics: SourceStatistics) -> dict[str, int]:
        """Return how much was lost so far, by reason."""
        counts = {r: getattr(statistics.assembler, name) for name, r in LOSSES.items()}
        return counts | {OVERWRITTEN: statistics.frames_overwritten}

    @staticmethod
    def shown(statistics: SourceStatistics) -> dict[str, object]:
        """Return what else to show."""
        counts = statistics.assembler
        names = ("packets_accepted", "packets_lost", "bytes_missing")
        names += ("frames_complete", "frames_incomplete")
        return {name: getattr(counts, name) for name in names} | {
            "datagrams": counts.datagrams,
            "kernel_drops": statistics.kernel_drops,
            "receive_buffer_bytes": statistics.receive_buffer_bytes,
        }


class Points:
    """Frames of points from the board's own UART.

    Raises
    ------
    ConfigError
        See `commands_for`.
    """

    topic, message_type = "points", PointCloud2
    reopen_limit_s = 1.0  # to look for a port costs next to nothing

    def __init__(self, config: RadarConfig | None, values: Any) -> None:
        self._frame_id = values.frame_id
        step_mps = math.nan if config is None else config.waveform.velocity_resolution_mps
        self.source = UartPointSource(
            values.points_port,
            values.serial_port,
            commands_for(values.serial_port, config),
            velocity_step_mps=step_mps,
            baud=values.points_baud,
        )

    def start_radar(self) -> None:
        """Nothing: the source has done it."""

    def stop_radar(self) -> None:
        """Nothing: the source does it."""

    @staticmethod
    def came(statistics: UartStatistics) -> tuple[int, str]:
        """Return how much came, and what it means if that grows and no frame comes."""
        return (
            statistics.stream.bytes_received,
            "bytes come, but no packets of points: is it the data port, and points_baud its rate?",
        )

    def message(self, frame: PointFrame, health: Health) -> PointCloud2:
        """Return what to publish of a frame."""
        health.show("points_in_frame", len(frame.points))
        stamp_ns = int(frame.time_s * convert.NANOSECONDS)
        return convert.cloud_to_message(frame.points, convert.header(stamp_ns, self._frame_id))

    @staticmethod
    def losses(statistics: UartStatistics) -> dict[str, int]:
        """Return how much was lost so far, by reason."""
        stream = statistics.stream
        counts = {f"malformed: {reason}": count for reason, count in stream.malformed.items()}
        lost = {"frames that never came": stream.frames_lost}
        return counts | lost | {OVERWRITTEN: statistics.frames_overwritten}

    @staticmethod
    def shown(statistics: UartStatistics) -> dict[str, object]:
        """Return what else to show."""
        stream = statistics.stream
        names = ("bytes_received", "bytes_skipped", "frames", "frames_malformed", "frames_lost")
        unknown = ", ".join(f"{kind}: {n}" for kind, n in sorted(stream.unknown_blocks.items()))
        return {name: getattr(stream, name) for name in (*names, "restarts")} | {
            "unknown_blocks": unknown
        }
