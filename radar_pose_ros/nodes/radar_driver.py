"""Node radar_driver: one radar; raw samples of its capture card out, or points of its UART."""

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
from radar_pose_ros.nodes.radar_outputs import Points, Samples
from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.ports import PortError
from radar_pose_ros.radar.ti_config import Output, load_cfg, load_mmwave_studio

POINTS_CFG = "iwr1843_points.cfg"
FIRST_RETRY_S = 1.0
REPORT_PERIOD_S = 0.5


def load_config(file: str, device: str, iq_order: str, output: Output = "samples") -> RadarConfig:
    """Read a radar's configuration; ``ConfigError`` or ``FileNotFoundError`` say what is wrong."""
    path = resources.resolve(file, "config")
    studio = path.suffix == ".json"
    config = load_mmwave_studio(path) if studio else load_cfg(path, device, output)
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
        self._output: Samples | Points
        self._config: RadarConfig | None = None
        if values.source == "uart":
            if values.config_file:
                self._config = self._load_points_config()
            self._output = Points(self._config, values)
        else:
            if not values.config_file:
                raise ConfigError("config_file is empty, which only source uart allows")
            config = load_config(values.config_file, values.device, values.iq_order)
            self._config = config
            warning = transport.large_message_warning(config.bytes_per_frame, os.environ)
            self.health.warn("transport", warning)
            self._output = Samples(config, values)
        if self._config is not None:
            for command in self._config.unknown_commands:
                where = f"{self._config.source} line {command.line}"
                self.get_logger().info(f"{where} not understood")
        output = self._output
        self._frames = self.create_publisher(output.message_type, output.topic, RELIABLE)
        self._configs = self.create_publisher(msg.RadarConfig, "radar_config", LATCHED)

    def _load_points_config(self) -> RadarConfig:
        try:
            return load_config(self.values.config_file, self.values.device, "auto", "points")
        except ConfigError as error:
            ours = "" if self.values.config_file == POINTS_CFG else f"; {POINTS_CFG} sends points"
            raise ConfigError(f"{error}{ours}") from error

    def activate(self) -> None:
        """Start the thread that talks to card and radar."""
        self.health.watch(self._output.topic, self.values.silence_timeout_s, log=False)
        self._lost = self._output.losses(self._output.source.statistics)
        self._announced = self._started = self._quiet = False
        self._heard_s, self._came = time.monotonic(), 0
        self._troubles = 0
        self.start_worker("reader", self._read_for_ever)

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_frames", "_configs")

    # -- the reader's thread -----------------------------------------------------------------

    def _read_for_ever(self, stop: threading.Event) -> None:
        retry_s = FIRST_RETRY_S
        while not stop.is_set():
            try:
                self._output.source.open()
                self._check_buffer()
                try:
                    self._read(stop)
                finally:
                    self._stop_radar()
            except PortError as error:  # the sockets or the file cannot be used: not yet
                self._trouble(str(error))
            finally:
                self._output.source.close()
                self._report()
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, self._output.reopen_limit_s)

    def _read(self, stop: threading.Event) -> None:
        """Publish frames; when none come, start card and radar, at growing intervals."""
        retry_s = FIRST_RETRY_S
        now_s = time.monotonic()
        next_start_s, next_report_s = now_s, now_s
        while not stop.is_set():
            frame = self._output.source.read(timeout_s=0.1)
            now_s = time.monotonic()
            if frame is not None:
                self._publish(frame)
                self._hear(now_s)
            # A board that was on before sends frames, but not of this configuration.
            if frame is not None and self._started:
                retry_s = FIRST_RETRY_S
                if self._troubles:
                    self._trouble("")
                next_start_s = now_s + self.values.silence_timeout_s
            elif now_s >= next_start_s:
                self._start_radar()
                next_start_s = time.monotonic() + retry_s
                retry_s = min(2 * retry_s, self.values.max_retry_s)
            elif frame is None:
                stop.wait(0.02)  # a source that was not started does not wait in `read`
            if now_s >= next_report_s:
                next_report_s = now_s + REPORT_PERIOD_S
                self._report()
                self._listen(now_s)

    def _start_radar(self) -> None:
        """Let the card record, then start the radar; what goes wrong is tried again later."""
        try:
            self._output.source.start()
            if not self._announced and self._config is not None:
                self._announced = True  # before the first frame, so that readers are ready for it
                about = (self._config, time.time_ns(), self.values.frame_id)
                self._configs.publish(convert.config_to_message(*about))
            self._output.start_radar()
        except PortError as error:
            self._trouble(str(error))
            return
        self._trouble("")
        if not self._started:
            self._started = True
            self._heard_s = time.monotonic()
            source = self._config.source if self._config is not None else "the data port"
            self.get_logger().info(f"recording from {source}")

    def _stop_radar(self) -> None:
        """Stop the radar, then the card, and publish what was still under way."""
        try:
            self._output.stop_radar()
        except PortError as error:
            self.get_logger().warning(str(error))
        try:
            self._output.source.stop()
            while (frame := self._output.source.read(timeout_s=0.0)) is not None:
                self._publish(frame)
        except PortError as error:
            self.get_logger().warning(str(error))

    def _publish(self, frame: Any) -> None:
        self._frames.publish(self._output.message(frame, self.health))
        self.health.tick(self._output.topic)

    # -- diagnostics -------------------------------------------------------------------------

    def _hear(self, now_s: float) -> None:
        """Note that a frame came, and say so if none had."""
        if self._quiet:
            self._quiet = False
            self.health.warn("silence", "")
            self.get_logger().info(f"frames again, after {now_s - self._heard_s:.1f} s")
        self._heard_s = now_s
        self._came, _ = self._output.came(self._output.source.statistics)

    def _listen(self, now_s: float) -> None:
        """Show for how long no frame came; if that is too long, say so once, and what came."""
        silence_s = now_s - self._heard_s
        self.health.show("silence_s", f"{silence_s:.1f}")
        if not self._started or silence_s <= self.values.silence_timeout_s:
            return
        came, meaning = self._output.came(self._output.source.statistics)
        self.health.warn("silence", meaning if came > self._came else "", log=False)
        if not self._quiet:
            self._quiet = True
            also = f"; {meaning}" if came > self._came else ""
            self.get_logger().warning(f"no frames for {silence_s:.1f} s{also}")

    def _trouble(self, sentence: str) -> None:
        # The first time it may only be that the other side is not up yet; what stays as it is is
        # said once. (Two calls: rclpy wants each place in the source to keep to one severity.)
        if sentence and not self._troubles:
            self.get_logger().info(f"{sentence}; trying again")
        elif sentence and (self._troubles == 1 or sentence != self._said):
            self.get_logger().warning(f"{sentence}; trying again")
        self._said = sentence
        self._troubles = self._troubles + 1 if sentence else 0
        self.health.warn("hardware", sentence, log=False)

    def _check_buffer(self) -> None:
        statistics = self._output.source.statistics
        granted = getattr(statistics, "receive_buffer_bytes", 0)  # a UART has none
        wanted = self.values.receive_buffer_bytes
        if 0 < granted < wanted:
            self.health.warn(
                "receive buffer",
                f"receive buffer is {granted} bytes instead of {wanted}: packets may be lost "
                f"under load; cure: sysctl -w net.core.rmem_max={wanted}",
            )

    def _report(self) -> None:
        """Hand the source's counters to the diagnostics."""
        statistics = self._output.source.statistics
        lost = self._output.losses(statistics)
        for reason, total in lost.items():
            self.health.drop(reason, max(total - self._lost.get(reason, 0), 0))
        self._lost = lost
        for name, value in self._output.shown(statistics).items():
            self.health.show(name, value)


def main() -> int:
    """Run the node."""
    return run(RadarDriver)


if __name__ == "__main__":
    sys.exit(main())
