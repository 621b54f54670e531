"""Node radar_driver: one radar with its DCA1000 capture card; raw samples out."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from radar_pose_ros import msg, resources
from radar_pose_ros.nodes import convert, transport
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, ManagedNode, run
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.ports import (
    DcaUdpSource,
    FileFrameSource,
    FrameSource,
    PortError,
    SerialConfigPort,
)
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio

FIRST_RETRY_S = 1.0
REPORT_PERIOD_S = 0.5
# Counters of the assembler whose growth is a loss, and what to call it.
LOSSES = {
    "packets_lost": "packets lost",
    "frames_dropped": "frames that lacked too much",
    "frames_lost": "frames of which nothing came",
    "packets_malformed": "datagrams that are no data packets",
    "packets_foreign": "packets from another sender",
    "packets_stray": "packets that fit into no stream",
}


def load_config(file: str, device: str, iq_order: str) -> RadarConfig:
    """Read a radar's configuration; ``ConfigError`` or ``FileNotFoundError`` say what is wrong."""
    path = resources.resolve(file, "config")
    config = load_mmwave_studio(path) if path.suffix == ".json" else load_cfg(path, device)
    if iq_order != "auto":
        config = replace(config, iq_order=iq_order)  # type: ignore[arg-type]
    return config


class RadarDriver(ManagedNode):
    """Publishes the frames of one radar; starts it again when it falls silent."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("radar_driver", **node_arguments)

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Read the radar's configuration and check everything that needs no hardware."""
        values = self.values
        self._config = load_config(values.config_file, values.device, values.iq_order)
        self._commands = self._config.commands if values.serial_port else ()
        if values.serial_port and not self._commands:
            raise ConfigError(
                f"{self._config.source} holds no commands for {values.serial_port}: leave "
                "serial_port empty, or give a .cfg file"
            )
        for command in self._config.unknown_commands:
            self.get_logger().info(f"{self._config.source} line {command.line} not understood")
        warning = transport.large_message_warning(self._config.bytes_per_frame, os.environ)
        self.health.warn("transport", warning)
        if warning:
            self.get_logger().warning(warning)
        self._source = self._make_source()
        self._frames = self.create_publisher(msg.RadarAdcFrame, "adc", RELIABLE)
        self._configs = self.create_publisher(msg.RadarConfig, "radar_config", LATCHED)

    def activate(self) -> None:
        """Start the thread that talks to card and radar."""
        self.health.watch("adc", self.values.silence_timeout_s)
        self._reported = self._source.statistics
        self._announced = self._started = False
        self._troubles = 0
        self._radar_on = False
        self.start_worker("reader", self._read_for_ever)

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_frames", "_configs")

    def _make_source(self) -> FrameSource:
        values = self.values
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

    # -- the reader's thread -----------------------------------------------------------------

    def _read_for_ever(self, stop: threading.Event) -> None:
        retry_s = FIRST_RETRY_S
        while not stop.is_set():
            try:
                self._source.open()
                self._check_buffer()
                try:
                    self._read(stop)
                finally:
                    self._stop_radar()
            except PortError as error:  # the sockets or the file cannot be used: not yet
                self._trouble(str(error))
            finally:
                self._source.close()
                self._report()
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, self.values.max_retry_s)

    def _read(self, stop: threading.Event) -> None:
        """Publish frames; when none come, start card and radar, at growing intervals."""
        retry_s = FIRST_RETRY_S
        now_s = time.monotonic()
        next_start_s, next_report_s, heard_s = now_s, now_s, now_s
        while not stop.is_set():
            frame = self._source.read(timeout_s=0.1)
            now_s = time.monotonic()
            if frame is not None:
                self._publish(frame)
                heard_s, retry_s = now_s, FIRST_RETRY_S
                next_start_s = now_s + self.values.silence_timeout_s
            elif now_s >= next_start_s:
                self._start_radar()
                next_start_s = time.monotonic() + retry_s
                retry_s = min(2 * retry_s, self.values.max_retry_s)
            else:
                stop.wait(0.02)  # a source that was not started does not wait in `read`
            if now_s >= next_report_s:
                next_report_s = now_s + REPORT_PERIOD_S
                self._report()
                self.health.show("silence_s", f"{now_s - heard_s:.1f}")

    def _start_radar(self) -> None:
        """Let the card record, then start the radar; what goes wrong is tried again later."""
        try:
            self._source.start()
            if not self._announced:  # before the first frame, so that readers are ready for it
                self._announced = True
                about = (self._config, time.time_ns(), self.values.frame_id)
                self._configs.publish(convert.config_to_message(*about))
            if self._commands:
                with SerialConfigPort(self.values.serial_port) as port:
                    port.send(self._commands)
                self._radar_on = True
        except PortError as error:
            self._trouble(str(error))
            return
        self._trouble("")
        if not self._started:
            self._started = True
            self.get_logger().info(f"recording from {self._config.source}")

    def _stop_radar(self) -> None:
        """Stop the radar, then the card, and publish what was still under way."""
        try:
            if self._radar_on:
                self._radar_on = False
                with SerialConfigPort(self.values.serial_port, total_timeout_s=1.0) as port:
                    port.send(["sensorStop"])
        except PortError as error:
            self.get_logger().warning(str(error))
        try:
            self._source.stop()
            while (frame := self._source.read(timeout_s=0.0)) is not None:
                self._publish(frame)
        except PortError as error:
            self.get_logger().warning(str(error))

    def _publish(self, frame: AssembledFrame) -> None:
        stamp_ns = int(frame.first_packet_s * convert.NANOSECONDS)
        if self.values.replay_file:
            stamp_ns = time.time_ns()  # a recording's own times are those of another day
        message = convert.adc_to_message(
            frame, self._config.adc_shape, stamp_ns, self.values.frame_id
        )
        self._frames.publish(message)
        self.health.tick("adc")
        arrival_ms = 1e3 * (frame.last_packet_s - frame.first_packet_s)
        self.health.show("frame_arrival_ms", f"{arrival_ms:.1f}")

    # -- diagnostics -------------------------------------------------------------------------

    def _trouble(self, sentence: str) -> None:
        # The first time it may only be that the other side is not up yet. (Two calls: rclpy wants
        # each place in the source to keep to one severity.)
        if sentence and self._troubles:
            self.get_logger().warning(f"{sentence}; trying again")
        elif sentence:
            self.get_logger().info(f"{sentence}; trying again")
        self._troubles = self._troubles + 1 if sentence else 0
        self.health.warn("hardware", sentence)

    def _check_buffer(self) -> None:
        granted = self._source.statistics.receive_buffer_bytes
        wanted = self.values.receive_buffer_bytes
        if 0 < granted < wanted:
            self.health.warn(
                "receive buffer",
                f"receive buffer is {granted} bytes instead of {wanted}: packets may be lost "
                f"under load; cure: sysctl -w net.core.rmem_max={wanted}",
            )

    def _report(self) -> None:
        """Hand the source's counters to the diagnostics."""
        statistics = self._source.statistics
        counts, before = statistics.assembler, self._reported
        for name, reason in LOSSES.items():
            grown = getattr(counts, name) - getattr(before.assembler, name)
            self.health.drop(reason, max(grown, 0))
        overwritten = statistics.frames_overwritten - before.frames_overwritten
        self.health.drop("frames that could not be published in time", overwritten)
        self._reported = statistics
        for name in ("packets_accepted", "packets_lost", "bytes_missing", "frames_complete"):
            self.health.show(name, getattr(counts, name))
        self.health.show("frames_incomplete", counts.frames_incomplete)
        self.health.show("kernel_drops", statistics.kernel_drops)
        self.health.show("receive_buffer_bytes", statistics.receive_buffer_bytes)


def main() -> int:
    """Run the node."""
    return run(RadarDriver)


if __name__ == "__main__":
    sys.exit(main())
