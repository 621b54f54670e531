"""Node mamba_pose: heatmaps of two radars in, the pose of a person in the image plane out."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from radar_pose_ros import msg
from radar_pose_ros.models import weights
from radar_pose_ros.models.millimamba import PRESETS, MilliMamba, MilliMambaOutput, normalise
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, ManagedNode, run
from radar_pose_ros.nodes.pairing import StampPairing
from radar_pose_ros.nodes.window import FrameWindow
from radar_pose_ros.nodes.worker import Mailbox
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.skeleton.projection import IMAGE_SIZE_PX

RADARS = ("radar_h", "radar_v")  # in the order of the network's views
Pair = dict[str, tuple[int, np.ndarray]]  # heatmap of each radar with its stamp


class MambaPose(ManagedNode):
    """Runs milliMamba over a sliding window of paired heatmaps; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("mamba_pose", **node_arguments)
        self._network: MilliMamba | None = None

    # -- transitions -------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the network; fail without trained weights."""
        self._device = self._choose_device()
        torch.set_num_threads(self.values.threads)
        state, entry = weights.load(self.values.weights)
        network = MilliMamba(PRESETS[entry["preset"]])
        network.load_state_dict(state)
        self._network = network.eval().to(self._device)
        config = network.config
        # Frames can be encoded one by one, and kept, if no convolution looks at their neighbours.
        self._streams = config.temporal_kernel == 1
        self._shape = (config.angle_bins, config.doppler_bins, config.range_bins)
        self._range_first = int(entry["heatmap"].get("range_first", 0))
        self._model_name = f"millimamba/{entry['preset']}@{entry['sha256'][:8]}"
        self.health.show("model", self._model_name)
        self.health.show("device", self._device)
        self._estimate_once(network)
        self._poses = self.create_publisher(msg.HumanPose2DArray, "pose2d", RELIABLE)
        self._skeletons = self.create_publisher(msg.SkeletonDefinition, "skeleton", LATCHED)
        self._skeletons.publish(convert.skeleton_to_message(HUPR14))

    def activate(self) -> None:
        """Listen to both radars and start the thread that estimates."""
        values = self.values
        assert self._network is not None
        slop_ns = int(values.max_skew_s * convert.NANOSECONDS)
        gap_ns = int(values.max_gap_s * convert.NANOSECONDS)
        self._pairing: StampPairing[np.ndarray] = StampPairing(RADARS, slop_ns)
        self._window: FrameWindow[torch.Tensor] = FrameWindow(self._network.config.frames, gap_ns)
        self._mailbox: Mailbox[Pair] = Mailbox(values.queue_size)
        self._newest_ns = dict.fromkeys(RADARS, 0)
        self.health.watch("pose2d")
        self.start_worker("estimator", self._estimate)
        for radar in RADARS:
            topic = f"{radar}/heatmap"
            self.health.watch(topic, values.input_timeout_s)
            self.subscribe(msg.RadarHeatmap, topic, SENSOR_DATA, partial(self._take, radar))

    def cleanup(self) -> None:
        """Release the network."""
        self._network = None
        self.drop_publishers("_poses", "_skeletons")

    def _choose_device(self) -> str:
        wanted = self.values.device
        if torch.cuda.is_available():
            return "cpu" if wanted == "cpu" else "cuda"
        if wanted == "cuda":
            if not self.values.allow_cpu:
                raise RuntimeError("device is cuda, but torch sees no GPU and allow_cpu is false")
            self.health.warn("device", "no GPU: the network runs on the CPU")
        return "cpu"

    @torch.inference_mode()
    def _estimate_once(self, network: MilliMamba) -> None:
        """Estimate from an empty scene, so that memory is taken before data comes."""
        c = network.config
        shape = (1, c.views, c.frames, c.input_channels, *self._shape)
        output = network(torch.zeros(shape, device=self._device))
        if not torch.isfinite(output.keypoints).all():
            raise ValueError(f"weights {self.values.weights!r} estimate NaN: the file is damaged")

    # -- input: the executor's thread --------------------------------------------------------

    def _take(self, radar: str, message: msg.RadarHeatmap) -> None:
        heatmap = convert.message_to_heatmap(message)
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        self.health.tick(f"{radar}/heatmap")
        convert.require(
            heatmap.shape == self._shape,
            "heatmap of another shape than the network's",
            f"{heatmap.shape} instead of {self._shape}: check the preprocessor",
        )
        first = round(message.range_first_m / max(message.range_step_m, 1e-6))
        convert.require(
            first == self._range_first,
            "heatmap of other ranges than the network's",
            f"from bin {first} instead of {self._range_first}: check the preprocessor",
        )
        unpaired = self._pairing.unpaired
        if stamp_ns <= self._newest_ns[radar]:
            self._pairing.clear()
            self.health.count("jumps back in time")
        self._newest_ns[radar] = stamp_ns
        pair = self._pairing.add(radar, stamp_ns, heatmap)
        if pair is not None:
            self.health.drop("pairs for which the network had no time", self._mailbox.put(pair))
        self.health.drop("heatmaps without a partner", self._pairing.unpaired - unpaired)

    # -- output: the estimator's thread ------------------------------------------------------

    def _estimate(self, stop: threading.Event) -> None:
        while not stop.is_set():
            pairs = self._mailbox.take_all(timeout_s=0.2)
            begin_s = time.monotonic()
            for pair in pairs:
                self._add_to_window(pair)
            if pairs and self._window.is_full:
                self._publish(self._decode())
                self.health.show("estimation_ms", f"{(time.monotonic() - begin_s) * 1e3:.1f}")

    @torch.inference_mode()
    def _add_to_window(self, pair: Pair) -> None:
        assert self._network is not None
        stamp_ns = pair[RADARS[0]][0]
        heatmaps = np.stack([pair[radar][1] for radar in RADARS])
        # (views, angle, doppler, range) -> (1, views, 1 frame, 2 channels, angle, doppler, range)
        frame = normalise(torch.from_numpy(heatmaps), self._network.config.normalisation)
        frame = frame[None, :, None].to(self._device)
        item = self._network.encode_frames(frame) if self._streams else frame
        jump_ns = self._window.add(stamp_ns, item)
        if jump_ns:
            self.health.count("windows emptied by a gap or a jump in time")
            self.get_logger().warning(
                f"frames are {jump_ns / convert.NANOSECONDS:.3f} s apart: a new window begins"
            )

    @torch.inference_mode()
    def _decode(self) -> MilliMambaOutput:
        assert self._network is not None
        if self._streams:
            return self._network.decode_window(torch.cat(self._window.items, dim=1))
        return self._network(torch.cat(self._window.items, dim=2))

    def _publish(self, output: MilliMambaOutput) -> None:
        keypoints = output.keypoints[0].float().cpu().numpy()  # (frames, joints, 2)
        confidence = output.confidence[0].float().cpu().numpy()
        stamps_ns = self._window.stamps_ns
        middle = len(stamps_ns) // 2
        if len(keypoints) == 1:  # a network that only estimates the middle frame
            place, stamp_ns = 0, stamps_ns[middle]
        else:
            place = middle if self.values.output_frame == "center" else len(stamps_ns) - 1
            stamp_ns = stamps_ns[place]
        if not np.isfinite(keypoints[place]).all():
            self.health.drop("estimates with NaN")
            return
        message = convert.pose2d_to_message(
            keypoints[place],
            confidence[place],
            convert.header(stamp_ns, self.values.image_frame_id),
            skeleton=HUPR14.name,
            model=self._model_name,
            image_width=IMAGE_SIZE_PX,
            image_height=IMAGE_SIZE_PX,
        )
        self._poses.publish(message)
        self.health.tick("pose2d")
        age_s = (self.get_clock().now().nanoseconds - stamps_ns[-1]) / convert.NANOSECONDS
        self.health.show("age of the newest frame when published_ms", f"{age_s * 1e3:.1f}")


def main() -> int:
    """Run the node."""
    return run(MambaPose)


if __name__ == "__main__":
    sys.exit(main())
