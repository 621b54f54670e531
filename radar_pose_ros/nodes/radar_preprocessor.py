"""Node radar_preprocessor: raw samples of one radar in, heatmaps and point clouds out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import Image, PointCloud2

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.preview import grey_image
from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor

LOST = "frames lost on the way here"


class RadarPreprocessor(ManagedNode):
    """Turns RadarAdcFrame into RadarHeatmap; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("radar_preprocessor", **node_arguments)
        self._heatmap_config = HeatmapConfig()
        self._processor: HeatmapProcessor | None = None
        self._detector: Any = None
        self._last_frame: tuple[int, int] | None = None  # (epoch, index)

    def configure(self) -> None:
        """Check the parameters and create publishers."""
        values = self.values
        self._heatmap_config = HeatmapConfig(
            angle_bins=values.angle_bins,
            doppler_bins=values.doppler_bins,
            range_first=values.range_first,
            range_bins=values.range_bins,
            chirps=values.chirps,
            clutter_removal=values.clutter_removal,
            clutter_mean=values.clutter_mean,
            window=values.window,
            tdm_compensation=values.tdm_compensation,
        )
        self._heatmaps = self.create_publisher(msg.RadarHeatmap, "heatmap", RELIABLE)
        self._small = self.create_publisher(
            msg.CompressedRadarHeatmap, heatmap_transport.COMPRESSED, RELIABLE
        )
        self._previews = self.create_publisher(Image, "heatmap/preview", RELIABLE)
        self._points = None
        if values.publish_points:
            self._points = self.create_publisher(PointCloud2, "points", RELIABLE)

    def activate(self) -> None:
        """Start listening."""
        self.health.watch("adc", self.values.input_timeout_s)
        self.health.watch("heatmap")
        self.subscribe(msg.RadarConfig, "radar_config", LATCHED, self._take_config)
        self.subscribe(msg.RadarAdcFrame, "adc", SENSOR_DATA, self._take_frame, lost=LOST)

    def deactivate(self) -> None:
        """Forget the radar: its configuration arrives again with the next subscription."""
        self._processor = None
        self._last_frame = None

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_heatmaps", "_small", "_previews", "_points")

    def _take_config(self, message: msg.RadarConfig) -> None:
        config = convert.message_to_config(message)
        if self._processor is not None and self._processor.config == config:
            return
        try:
            processor = HeatmapProcessor(config, self._heatmap_config)
            self._use_detector(config)
        except ConfigError as error:
            self._processor = None
            useless = f"this radar cannot be processed: {error}"
            self.health.warn("config", useless, log=False)  # `refuse` does
            raise convert.InvalidMessageError("configuration not usable", str(error)) from None
        self.health.warn("config", "")
        # The first frame of all costs tables and memory: better now than when frames wait.
        processor(np.zeros(config.bytes_per_frame // 2, np.int16))
        self._processor = processor

    def _use_detector(self, config: RadarConfig) -> None:
        if self._points is not None:
            # Only here, so that nobody pays for it who does not ask for points.
            from radar_pose_ros.radar.detection import Detector

            self._detector = Detector(config)

    def _take_frame(self, message: msg.RadarAdcFrame) -> None:
        frame = convert.message_to_adc(message)
        self.health.tick("adc")
        self._count_gap(frame)
        processor = self._processor
        convert.require(processor is not None, "no usable radar_config yet")
        assert processor is not None
        convert.require(
            frame.adc_shape == processor.config.adc_shape,
            "frame shape differs from radar_config",
            f"{frame.adc_shape} and {processor.config.adc_shape}",
        )
        valid_ratio = processor.valid_ratio(frame.chirp_valid)
        convert.require(
            valid_ratio >= self.values.min_valid_ratio,
            "too few complete chirps",
            f"{valid_ratio:.3f}",
        )
        cube = processor.range_doppler(frame.data, frame.chirp_valid)
        heatmap = processor.angle(cube)
        axes = (processor.sine_axis, processor.velocity_axis_mps, processor.range_axis_m)
        whole = convert.heatmap_to_message(heatmap, axes, frame, valid_ratio)
        self._heatmaps.publish(whole)
        self.health.tick("heatmap")
        if self._small.get_subscription_count():
            self._small.publish(heatmap_transport.compressed(whole, cube))
        if self._previews.get_subscription_count():
            self._publish_preview(heatmap, frame)
        if self._points is not None and self._detector is not None:
            self._publish_points(frame)

    def _count_gap(self, frame: convert.AdcFrame) -> None:
        if self._last_frame is not None and self._last_frame[0] == frame.epoch:
            missed = frame.frame_index - self._last_frame[1] - 1
            if missed > 0:
                self.health.drop("adc: frames that never came", missed)
        self._last_frame = (frame.epoch, frame.frame_index)

    def _publish_preview(self, heatmap: np.ndarray, frame: convert.AdcFrame) -> None:
        head = convert.header(frame.stamp_ns, frame.frame_id)
        self._previews.publish(convert.image_to_message(grey_image(heatmap), head))

    def _publish_points(self, frame: convert.AdcFrame) -> None:
        cloud = self._detector(frame.data, frame.chirp_valid)
        head = convert.header(frame.stamp_ns, frame.frame_id)
        self._points.publish(convert.cloud_to_message(cloud, head))


def main() -> int:
    """Run the node."""
    return run(RadarPreprocessor)


if __name__ == "__main__":
    sys.exit(main())
