"""A simulated recording as `radar-pose collect record` makes it, to try the rest with.

A person moves before two emulated radars in a room; a camera above them, whose clock is late,
finds keypoints with the errors of a detector. The true joints are in the bag, too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros.collect.bags import CAMERA, RADARS, RIG_FRAME
from radar_pose_ros.imports import messages
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.recording import BagWriter
from radar_pose_ros.simulation.body import MotionClip
from radar_pose_ros.simulation.multiview import OPENPOSE, detect, hidden_by_body
from radar_pose_ros.simulation.radar import RadarSimulator, StaticScene, default_placements
from radar_pose_ros.simulation.recordings import make_clip
from radar_pose_ros.skeleton.definitions import HUPR14
from radar_pose_ros.vision.camera import PinholeCamera

OFFSET_S = 0.137  # by which the camera's stamps are late
CAMERA_HZ = 30.0
LOST_SHARE = 0.02  # of the frames, each of another packet
_BEGIN_NS = 1_700_000_000 * 10**9
_DELAY_NS = 40_000_000  # from the stamp of a radar's frame to the recorder
_OPTICAL_FRAME = "camera_optical_frame"


def camera_of_rehearsal() -> PinholeCamera:
    """Return the camera: a VGA webcam above the radars, a little to the right, looking down."""
    return PinholeCamera.looking_at(
        position_m=(0.08, -0.15, 1.35),
        target_m=(2.65, 0.10, 0.95),
        focal_px=430.0,
        size_px=(640, 480),
        roll=0.03,
    )


@dataclass(frozen=True)
class Rehearsal:
    """What is simulated.

    Parameters
    ----------
    config : RadarConfig
        Of both radars.
    seconds : float
    seed : int
        Of body, movement, room and errors.
    split : str
        Whose bodies and movements: "train", "validation" or "test".
    motion : str
        One motion's name, or "random" for several in a row.
    camera : PinholeCamera
        In the rig's frame.
    offset_s : float
        By how much its stamps are late.
    lost_share : float
        Of the frames of each radar in which a packet is lost.
    """

    config: RadarConfig
    seconds: float
    seed: int = 0
    split: str = "train"
    motion: str = "random"
    camera: PinholeCamera = field(default_factory=camera_of_rehearsal)
    offset_s: float = OFFSET_S
    lost_share: float = LOST_SHARE

    def write(self, path: str | Path) -> None:
        """Write the bag.

        Raises
        ------
        RecordingError
            If the folder exists.
        ValueError
            If split or motion are not known.
        """
        clip = make_clip(self.config, self.seconds, self.seed, self.split, self.motion)
        streams = [self._radar(clip, number) for number in range(len(RADARS))]
        with BagWriter(path) as writer:
            for topic, message in self._latched():
                writer.add_topic(topic, message.__msgtype__, latched=True, depth=1)
                writer.write_message(topic, _BEGIN_NS, message)
            both = (*streams, self._camera(clip), self._truth(clip))
            for received_ns, topic, message in heapq.merge(*both, key=lambda item: item[0]):
                writer.write_message(topic, received_ns, message)

    def _latched(self) -> Iterator[tuple[str, Any]]:
        for radar in RADARS:
            message = messages.radar_config(self.config, _BEGIN_NS, f"{radar}_link")
            yield f"/{radar}/radar_config", message
        yield f"/{CAMERA}/skeleton", messages.skeleton(HUPR14)

    def _radar(self, clip: MotionClip, number: int) -> Iterator[tuple[int, str, Any]]:
        radar = RADARS[number]
        simulator = RadarSimulator(
            self.config,
            default_placements()[number],
            scene=StaticScene.room(self.seed),
            seed=2 * self.seed + number,
        )
        rng = np.random.default_rng([self.seed, number])
        chirps = self.config.waveform.loops * self.config.waveform.transmitters
        for index, begin_s in enumerate(clip.times_s):
            data, valid = simulator.frame(clip, float(begin_s)), np.ones(chirps, np.uint8)
            missing = 0
            if rng.random() < self.lost_share:
                chirp = int(rng.integers(chirps))
                values = len(data) // chirps
                data[chirp * values : (chirp + 1) * values] = 0
                valid[chirp], missing = 0, 2 * values
            frame = AssembledFrame(index, 0, data, valid, missing, 0.0, 0.0)
            stamp_ns = _BEGIN_NS + round(1e9 * begin_s)
            message = messages.adc_frame(frame, self.config, stamp_ns, f"{radar}_link")
            yield stamp_ns + _DELAY_NS, f"/{radar}/adc", message

    def _camera(self, clip: MotionClip) -> Iterator[tuple[int, str, Any]]:
        rng = np.random.default_rng([self.seed, 2])
        times_s = np.arange(0.011, clip.times_s[-1], 1 / CAMERA_HZ)
        joints_m = clip.joints_at(times_s)
        hidden = hidden_by_body(joints_m, HUPR14, self.camera.position_m)
        true_px = self.camera.project(joints_m)
        pixels, score = detect(true_px, hidden, HUPR14, times_s, OPENPOSE, rng)
        outside = ~self.camera.sees(joints_m)
        pixels[outside], score[outside] = np.nan, 0.0
        for time_s, keypoints, confidence in zip(times_s, pixels, score, strict=True):
            taken_ns = _BEGIN_NS + round(1e9 * time_s)
            stamp_ns = taken_ns + round(1e9 * self.offset_s)
            info = messages.camera_info(self.camera, stamp_ns, _OPTICAL_FRAME)
            yield taken_ns + _DELAY_NS, f"/{CAMERA}/camera_info", info
            seen = [(keypoints, confidence)] if np.isfinite(keypoints).any() else []
            yield (
                taken_ns + _DELAY_NS,
                f"/{CAMERA}/pose2d",
                messages.pose2d(
                    seen,
                    stamp_ns,
                    _OPTICAL_FRAME,
                    skeleton=HUPR14.name,
                    model="rehearsal",
                    size_px=self.camera.size_px,
                ),
            )

    def _truth(self, clip: MotionClip) -> Iterator[tuple[int, str, Any]]:
        for begin_s, joints_m in zip(clip.times_s, clip.joints_m, strict=True):
            stamp_ns = _BEGIN_NS + round(1e9 * begin_s)
            message = messages.pose3d(
                joints_m, stamp_ns, RIG_FRAME, skeleton=HUPR14.name, model="simulation"
            )
            yield stamp_ns + _DELAY_NS, "/ground_truth", message
