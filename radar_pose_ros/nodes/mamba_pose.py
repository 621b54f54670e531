"""Node mamba_pose: heatmaps of two radars, or points of one, in; people's poses out."""

from __future__ import annotations

import sys
from typing import Any

import torch

from radar_pose_ros.nodes.base import ManagedNode, run
from radar_pose_ros.nodes.heatmap_poses import HeatmapPoses
from radar_pose_ros.nodes.point_poses import PointPoses


class MambaPose(ManagedNode):
    """Runs a network over a sliding window of what radars see; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("mamba_pose", **node_arguments)
        self._poses: HeatmapPoses | PointPoses | None = None

    def configure(self) -> None:
        """Load the network; fail without trained weights."""
        kind = PointPoses if self.values.input == "points" else HeatmapPoses
        self._poses = kind(self, self._choose_device())

    def activate(self) -> None:
        """Listen, and start the thread that estimates."""
        assert self._poses is not None
        self._poses.activate()

    def deactivate(self) -> None:
        """Miss nothing any longer."""
        if self._poses is not None:
            self._poses.deactivate()

    def cleanup(self) -> None:
        """Release the network."""
        poses, self._poses = self._poses, None
        if poses is not None:
            poses.close()

    def _choose_device(self) -> str:
        wanted = self.values.device
        if torch.cuda.is_available():
            return "cpu" if wanted == "cpu" else "cuda"
        lacking = wanted == "cuda"
        if lacking and not self.values.allow_cpu:
            raise RuntimeError("device is cuda, but torch sees no GPU and allow_cpu is false")
        self.health.warn("device", "no GPU: the network runs on the CPU" if lacking else "")
        return "cpu"


def main() -> int:
    """Run the node."""
    return run(MambaPose)


if __name__ == "__main__":
    sys.exit(main())
