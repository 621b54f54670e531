"""People before a rig of cameras that stays, one after the other, without end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from radar_pose_ros.datasets.multiview import MultiViewRecording, named, simulate
from radar_pose_ros.datasets.pose_sequences import PoseSequence
from radar_pose_ros.datasets.simulated_poses import LICENCE
from radar_pose_ros.simulation.multiview import DETECTOR, OPENPOSE, Detector, rig, shutter_times
from radar_pose_ros.simulation.recordings import make_movement
from radar_pose_ros.skeleton import mapping
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14
from radar_pose_ros.vision.camera import PinholeCamera

DETECTORS = {"perfect": Detector(), "default": DETECTOR, "openpose": OPENPOSE}
# The middle of where simulated people walk, at the height of their hips: cameras look there.
TARGET_M = (2.65, 0.0, 0.9)
_RATE_HZ = 60.0  # at which movements are sampled; between samples they are splines
# Keep these random streams apart from each other, and from that of the movement.
_CAMERAS, _SHUTTERS, _DETECTOR = range(0x7269670, 0x7269673)


@dataclass(frozen=True)
class SimulatedRig:
    """A rig, and whom it sees.

    Parameters
    ----------
    names : sequence of str
        Of the cameras, which stand around the middle of the area evenly; two of them a third of
        the way around, see `radar_pose_ros.simulation.multiview.rig`.
    rate_hz, shutters, jitter_s
        See `radar_pose_ros.simulation.multiview.shutter_times`.
    motion, split : str
        See `radar_pose_ros.simulation.recordings.make_movement`.
    seed : int
        Of everything random. The k-th person moves as with the seed ``seed + k``.
    clip_s : float
        Time after which another person begins.
    detector : str
        One of `DETECTORS`.
    """

    names: tuple[str, ...]
    rate_hz: float = 15.0
    shutters: str = "interleaved"
    jitter_s: float = 0.0
    motion: str = "random"
    split: str = "test"
    seed: int = 0
    clip_s: float = 60.0
    detector: str = "default"
    cameras: tuple[PinholeCamera, ...] = field(init=False)

    def __post_init__(self) -> None:
        cameras = rig(len(self.names), TARGET_M, np.random.default_rng([_CAMERAS, self.seed]))
        object.__setattr__(self, "cameras", tuple(cameras))

    def recording(self, number: int) -> MultiViewRecording:
        """Return what the cameras see of the person of this number, from 0 on.

        Raises
        ------
        ValueError
            If motion, split, shutters or detector are not known, or a number is out of range.
        """
        if self.detector not in DETECTORS:
            known = ", ".join(DETECTORS)
            raise ValueError(f"unknown detector {self.detector!r}, there are {known}")
        clip = make_movement(_RATE_HZ, self.clip_s, self.seed + number, self.split, self.motion)
        stamps = shutter_times(
            len(self.names),
            self.clip_s,
            self.rate_hz,
            self.shutters,
            np.random.default_rng([_SHUTTERS, self.seed]),  # shutters know nothing of people
            self.jitter_s,
        )
        sequence = PoseSequence(
            name=f"{self.split}_{self.seed + number}",
            subject=f"simulated_{self.seed + number}",
            action=", ".join(dict.fromkeys(clip.motions)),
            rate_hz=_RATE_HZ,
            skeleton=H36M17.name,
            joints_m=mapping.convert(clip.joints_m, HUPR14.name, H36M17.name),
            licence=LICENCE,
        )
        rng = np.random.default_rng([_DETECTOR, self.seed, number])
        seen = simulate(sequence, self.cameras, stamps, rng, DETECTORS[self.detector])
        return named(seen, self.names)
