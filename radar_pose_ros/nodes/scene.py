"""What the emulated radars look at: an endless row of frames, the same for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.simulation.body import MotionClip
from radar_pose_ros.simulation.radar import RadarPlacement, RadarSimulator
from radar_pose_ros.simulation.recordings import make_clip


class Scene:
    """People who move, one after the other, and what each radar sees of them.

    Frames are numbered from 0. `frame` of different radars may be called from different threads.

    Parameters
    ----------
    config : RadarConfig
        Of all radars.
    placements : sequence of RadarPlacement
        One per radar.
    motion, split : str
        As for `simulation.recordings.make_clip`.
    seed : int
        Of everything random. The k-th person has the seed ``seed + k``.
    clip_s : float
        Time after which another person begins.
    """

    def __init__(
        self,
        config: RadarConfig,
        placements: Sequence[RadarPlacement],
        motion: str,
        split: str,
        seed: int,
        clip_s: float,
    ) -> None:
        self.config = config
        self._motion = motion
        self._split = split
        self._seed = seed
        self._clip_s = clip_s
        self._simulators = [
            RadarSimulator(config, placement, seed=len(placements) * seed + number)
            for number, placement in enumerate(placements)
        ]
        self._clips: dict[int, MotionClip] = {}
        self._frames_per_clip = len(self._clip(0).times_s)
        self._prepared: list[list[np.ndarray]] = []

    def _clip(self, number: int) -> MotionClip:
        clip = self._clips.get(number)
        if clip is None:
            seed = self._seed + number
            clip = make_clip(self.config, self._clip_s, seed, self._split, self._motion)
            # One before is kept too: another radar may be a frame behind.
            earlier = self._clips.get(number - 1)
            self._clips = {number: clip} | ({number - 1: earlier} if earlier is not None else {})
        return clip

    def prepare(self, duration_s: float, proceed: Callable[[float], bool]) -> None:
        """Simulate the first frames now; they are then repeated for ever.

        Parameters
        ----------
        duration_s : float
        proceed : callable
            Asked before each frame, with the seconds that are ready; False stops early, and
            nothing is repeated then.
        """
        count = round(duration_s * self.config.waveform.frame_rate_hz)
        frames: list[list[np.ndarray]] = [[] for _ in self._simulators]
        for index in range(count):
            if not proceed(index * self.config.waveform.frame_period_s):
                return
            for radar, row in enumerate(frames):
                row.append(self.frame(radar, index))
        self._prepared = frames

    def _place(self, index: int) -> tuple[MotionClip, float]:
        if self._prepared:
            index %= len(self._prepared[0])
        number, within = divmod(index, self._frames_per_clip)
        clip = self._clip(number)
        return clip, float(clip.times_s[within])

    def frame(self, radar: int, index: int) -> np.ndarray:
        """Return one radar's raw samples of a frame: int16, flat, in the capture card's order."""
        if self._prepared:
            return self._prepared[radar][index % len(self._prepared[radar])]
        clip, start_s = self._place(index)
        return self._simulators[radar].frame(clip, start_s)

    @property
    def is_prepared(self) -> bool:
        """Whether frames are ready made."""
        return bool(self._prepared)

    def joints_m(self, index: int) -> np.ndarray:
        """Return the true joints at the start of a frame, (14, 3), in the rig's frame."""
        clip, start_s = self._place(index)
        return clip.joints_at(start_s)


class Metronome:
    """Beats at multiples of a period, counted from 0 since it was made."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._begin_s = time.monotonic()

    def next_beat(self) -> int:
        """Return the number of the next beat."""
        return int((time.monotonic() - self._begin_s) / self._period_s) + 1

    def left_s(self, beat: int) -> float:
        """Return the time until a beat; negative if it is over."""
        return self._begin_s + beat * self._period_s - time.monotonic()


class Lookahead:
    """One radar's frames, simulated ahead in the time that is left before each is due.

    Parameters
    ----------
    scene : Scene
    radar : int
    depth : int
        Frames to have in store: what a busy machine may delay without a frame being late.
    """

    def __init__(self, scene: Scene, radar: int, depth: int = 5) -> None:
        self._scene = scene
        self._radar = radar
        self._depth = depth
        self._store: dict[int, np.ndarray] = {}
        self._takes_s = 0.0  # what a frame takes to simulate, with a long memory for slow ones

    def take(self, index: int) -> np.ndarray:
        """Return a frame; those before it are no longer needed."""
        frame = self._store.get(index)
        if frame is None:
            frame = self._simulate(index)
        self._store = {k: f for k, f in self._store.items() if k > index}
        return frame

    def simulate_ahead(self, index: int, time_left_s: Callable[[], float]) -> None:
        """Simulate frames after `index` into the store while there is time for another one."""
        depth = 0 if self._scene.is_prepared else self._depth
        for k in range(index + 1, index + 1 + depth):
            if k in self._store:
                continue
            if time_left_s() < 1.5 * self._takes_s:
                return
            self._store[k] = self._simulate(k)

    def _simulate(self, index: int) -> np.ndarray:
        begin_s = time.monotonic()
        frame = self._scene.frame(self._radar, index)
        self._takes_s = max(time.monotonic() - begin_s, 0.9 * self._takes_s)
        return frame
