"""What mamba_pose makes of the heatmaps of two radars: poses in the image plane."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from radar_pose_ros import msg
from radar_pose_ros.models import weights
from radar_pose_ros.models.confidence import Calibration
from radar_pose_ros.models.engine import Engine
from radar_pose_ros.models.millimamba import MilliMambaOutput
from radar_pose_ros.nodes import convert, heatmap_transport
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, ManagedNode
from radar_pose_ros.nodes.clocks import ClockComparison
from radar_pose_ros.nodes.pairing import StampPairing
from radar_pose_ros.nodes.window import EveryNth, Frame, FrameNumbers, FrameWindow, Heatmap
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX

RADARS = ("radar_h", "radar_v")  # in the order of the network's views
SHIPPED = "edge"  # weights that are taken if none are named


class HeatmapPoses:
    """Runs milliMamba over a sliding window of paired heatmaps; see docs/nodes.md.

    Raises
    ------
    ValueError
        If there are no trained weights, or none for heatmaps of two radars.
    """

    def __init__(self, node: ManagedNode, device: str) -> None:
        self._node, self._health = node, node.health
        values = node.values
        network, entry = weights.network(values.weights or SHIPPED, "millimamba")
        config = network.config
        if config.views != len(RADARS) or config.input_channels != 2:
            raise ValueError(f"preset {entry['preset']} is not for heatmaps of two radars")
        self._engine = Engine(
            network.to(device), precision=values.precision, threads=values.threads
        )
        self._calibration = self._thresholds(Calibration.of_weights(entry))
        self._shape = (config.angle_bins, config.doppler_bins, config.range_bins)
        self._nothing = np.zeros(self._shape, np.complex64)
        self._range_first = int(entry["heatmap"].get("range_first", 0))
        self._model_name = f"millimamba/{entry['preset']}@{entry['sha256'][:8]}"
        self._health.show("model", self._model_name)
        self._health.show("device", f"{device}, {str(self._engine.dtype).removeprefix('torch.')}")
        self._estimate_once()
        self._poses = node.create_publisher(msg.HumanPose2DArray, "pose2d", RELIABLE)
        self._skeletons = node.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(HUPR14))

    def activate(self) -> None:
        """Listen to both radars and start the thread that estimates."""
        values = self._node.values
        slop_ns = int(values.max_skew_s * convert.NANOSECONDS)
        gap_ns = int(values.max_gap_s * convert.NANOSECONDS)
        self._pairing: StampPairing[Heatmap] = StampPairing(RADARS, slop_ns, gap_ns)
        self._clocks = ClockComparison(RADARS, tolerance_ns=slop_ns)
        self._numbers = FrameNumbers()
        # Of each frame, which radars have seen it; the engine holds the rest.
        self._window: FrameWindow[list[bool]] = FrameWindow(self._engine.config.frames, gap_ns)
        self._chosen = EveryNth(values.every_nth_frame)
        self._engine.clear()
        self._mailbox: Mailbox[Frame] = Mailbox(values.queue_size)
        self._health.watch("pose2d")
        self._node.start_worker("estimator", self._estimate)
        self._health.watch("heatmaps", values.input_timeout_s)
        for radar in RADARS:
            self._health.watch(f"{radar}/heatmap")
            take, lost = partial(self._take, radar), f"heatmaps of {radar} lost on the way here"
            heatmap_transport.subscribe(self._node, radar, take, lost)

    def deactivate(self) -> None:
        """Miss no radar any longer."""
        for radar in RADARS:
            self._health.warn(f"{radar}/heatmap", "")
        self._health.warn("clocks", "")

    def close(self) -> None:
        """Take the publishers away."""
        for publisher in (self._poses, self._skeletons):
            self._node.destroy_publisher(publisher)

    def _thresholds(self, calibration: Calibration) -> Calibration:
        """Return the calibration with the thresholds that are set here in place of its own."""
        given = {
            "joint_min": self._node.values.joint_min_confidence,
            "person_min": self._node.values.person_min_confidence,
        }
        return replace(calibration, **{name: v for name, v in given.items() if v >= 0})

    def _estimate_once(self) -> None:
        """Estimate from an empty scene, so that memory is taken before data comes."""
        engine = self._engine
        for _ in range(engine.config.frames):
            engine.push(np.stack([self._nothing] * len(RADARS)), np.ones(len(RADARS), bool))
        output = engine.estimate()
        if output is None or not torch.isfinite(output.keypoints).all():
            raise ValueError(f"weights {self._model_name} estimate NaN: the file is damaged")

    # -- input: the executor's thread --------------------------------------------------------

    def _take(self, radar: str, message: msg.RadarHeatmap) -> None:
        values = convert.message_to_heatmap(message)
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        self._health.tick(f"{radar}/heatmap")
        self._compare_clocks(radar, stamp_ns)
        convert.require(
            values.shape == self._shape,
            "heatmap of another shape than the network's",
            f"{values.shape} instead of {self._shape}: check the preprocessor",
        )
        first = message.range_first_m / max(message.range_step_m, 1e-6)
        convert.require(
            abs(first - self._range_first) < 0.5,
            "heatmap of other ranges than the network's",
            f"from bin {first:.0f} instead of {self._range_first}: check the preprocessor",
        )
        heatmap = Heatmap(values, message.epoch, message.frame_index)
        resets, unused = self._pairing.resets, self._pairing.unused
        for heatmaps in self._pairing.add(radar, stamp_ns, heatmap):
            frame = Frame(heatmaps, self._pairing.period_ns)
            self._health.count("pairs" if len(heatmaps) == 2 else "heatmaps that went on alone")
            self._health.drop("frames for which the network had no time", self._mailbox.put(frame))
        self._health.count("jumps back in time", self._pairing.resets - resets)
        self._health.drop("heatmaps that came too late or twice", self._pairing.unused - unused)
        self._health.show("heatmaps that wait for the other radar's", self._pairing.waiting)
        self._health.tick("heatmaps")
        lost = self._pairing.lost
        for name in RADARS:
            self._health.warn(f"{name}/heatmap", f"{name} is missing" if name in lost else "")

    def _compare_clocks(self, radar: str, stamp_ns: int) -> None:
        if self._node.get_parameter("use_sim_time").value:
            return  # /clock comes in steps, from where the stamps come from
        self._clocks.add(radar, stamp_ns, self._node.get_clock().now().nanoseconds)
        self._health.warn("clocks", self._clocks.warning())
        delay_s = self._clocks.least_delay_s(radar)
        if delay_s is not None:
            self._health.show(f"{radar}/heatmap: least age on arrival_ms", f"{delay_s * 1e3:.1f}")

    # -- output: the estimator's thread ------------------------------------------------------

    def _estimate(self, stop: threading.Event) -> None:
        took_s = 0.0
        while not stop.is_set():
            frames = self._mailbox.take_all(timeout_s=0.2)
            for number, frame in enumerate(frames, start=1):
                self._add_to_window(frame)
                self._health.count("frames looked at")
                if not (self._window.is_full and self._chosen.takes(self._window.added)):
                    self._health.count("frames that only filled a window")
                    continue
                waiting = len(frames) - number
                if waiting and took_s * len(frames) * convert.NANOSECONDS > (frame.period_ns or 0):
                    self._health.drop("windows without an estimate: newer frames were waiting")
                    continue
                begin_s = time.monotonic()
                self._estimate_window()
                took_s = time.monotonic() - begin_s
                self._health.show("estimation_ms", f"{took_s * 1e3:.1f}")

    def _add_to_window(self, frame: Frame) -> None:
        jump_ns = self._window.begin(frame.stamp_ns)
        if jump_ns:
            self._engine.clear()
            self._health.count("windows emptied by a gap or a jump in time")
            self._node.get_logger().warning(
                f"frames are {jump_ns / convert.NANOSECONDS:.3f} s apart: a new window begins",
                throttle_duration_sec=1.0,
            )
        skipped = self._numbers.skipped(frame)
        for stamp_ns in self._window.missing_before(frame.stamp_ns, frame.period_ns, skipped):
            self._push(stamp_ns, {})
        self._push(frame.stamp_ns, frame.heatmaps)

    def _push(self, stamp_ns: int, heatmaps: Mapping[str, tuple[int, Heatmap]]) -> None:
        seen_by = [radar in heatmaps for radar in RADARS]
        for radar, seen in zip(RADARS, seen_by, strict=True):
            self._health.count(f"frames without {radar}", not seen)
        views = [
            heatmaps[radar][1].values if radar in heatmaps else self._nothing for radar in RADARS
        ]
        self._engine.push(np.stack(views), np.array(seen_by))
        self._window.add(stamp_ns, seen_by)

    def _estimate_window(self) -> None:
        unseen = sum(not any(seen_by) for seen_by in self._window.items)
        if unseen > self._node.values.max_missing_frames:
            self._health.drop("windows with too many missing frames")
            return
        output = self._engine.estimate()
        assert output is not None  # engine and window are filled and emptied together
        self._publish(output)

    def _publish(self, output: MilliMambaOutput) -> None:
        keypoints = output.keypoints[0].float().cpu().numpy()  # (frames, joints, 2)
        confidence = output.confidence[0].float().cpu().numpy()
        stamps_ns = self._window.stamps_ns
        # A network of many frames to one pose estimates that of the middle frame.
        middle = len(keypoints) == 1 or self._node.values.output_frame == "center"
        place = len(stamps_ns) // 2 if middle else len(stamps_ns) - 1
        chosen = 0 if len(keypoints) == 1 else place
        if not np.isfinite(keypoints[chosen]).all():
            self._health.drop("estimates with NaN")
            return
        pose = self._calibration.judge(keypoints[chosen], confidence[chosen])
        seen_by = self._window.items[place]
        message = convert.pose2d_to_message(
            pose,
            convert.header(stamps_ns[place], self._node.values.image_frame_id),
            skeleton=HUPR14.name,
            model=self._model_name,
            image_width=IMAGE_SIZE_PX,
            image_height=IMAGE_SIZE_PX,
            missing_sources=[r for r, seen in zip(RADARS, seen_by, strict=True) if not seen],
        )
        self._poses.publish(message)
        self._health.tick("pose2d")
        self._health.count("scenes without a person", pose is None)
        age_ns = self._node.get_clock().now().nanoseconds - stamps_ns[-1]
        self._health.show_duration("age of the newest frame when published_ms", age_ns)
