"""What a recording of two radars and a camera holds: frames, keypoints, lens, and where all is.

Nothing but the bag is needed. Times are the messages' own stamps, in seconds since 1970: those of
a radar are its first chirp's, those of keypoints their image's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.waveform import Waveform
from radar_pose_ros.recording import BagReader, Recorded, RecordingError, stamp_s, topic_named
from radar_pose_ros.resources import PACKAGE
from radar_pose_ros.simulation.radar import default_placements
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frames import FrameTree, Placement

RADARS = ("radar_h", "radar_v")
CAMERA = "camera"
RIG_FRAME = "radar_rig"
LARGEST_JUMP_S = 10.0  # of stamps against the recorder's clock; beyond it one is wrong [choice]
_TIMES = (
    "start_frequency_hz",
    "slope_hz_per_s",
    "sample_rate_hz",
    "idle_time_s",
    "adc_start_time_s",
    "ramp_end_time_s",
    "frame_period_s",
)


class Frame(NamedTuple):
    """One frame of one radar.

    Attributes
    ----------
    radar : int
        0 is the horizontal one.
    stamp_s : float
    samples : ndarray of int16, flat
        In the order of the capture card.
    chirp_valid : ndarray of bool, shape (loops * transmitters,)
    """

    radar: int
    stamp_s: float
    samples: np.ndarray
    chirp_valid: np.ndarray

    @property
    def complete(self) -> bool:
        """Whether no packet of it was lost."""
        return bool(self.chirp_valid.all())


@dataclass(frozen=True)
class CameraTrack:
    """A person's keypoints in the images of one camera.

    Parameters
    ----------
    topic, frame_id, skeleton, model : str
    size_px : (int, int)
        Width and height of the images; (0, 0) if the messages do not say.
    stamps_s : ndarray, shape (images,)
        Rising.
    keypoints_px : ndarray, shape (images, joints, 2)
        NaN where not known, and where there is not exactly one person in the image.
    confidence : ndarray, shape (images, joints)
        0 where nothing is known.
    people : ndarray of int, shape (images,)
        Number of people in each image.
    clock_s : float
        By how much stamps are ahead of the recorder's clock at arrival, median.
    """

    topic: str
    frame_id: str
    skeleton: str
    model: str
    size_px: tuple[int, int]
    stamps_s: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray
    people: np.ndarray
    clock_s: float

    def sure(self, least_confidence: float) -> np.ndarray:
        """Return the keypoints, with NaN for those whose confidence is lower."""
        return np.where(self.confidence[..., None] >= least_confidence, self.keypoints_px, np.nan)


class Collected:
    """A recording, open for reading.

    Parameters
    ----------
    path : path
        The bag.
    poses : str
        Topic of the keypoints, its full name or the end of it.

    Attributes
    ----------
    configs : (RadarConfig, RadarConfig)
        Of both radars.
    placements : (Placement, Placement)
        Where the radars are in the rig's frame.
    placed : bool
        Whether the bag says so; else they are where the rig has them by default.
    notes : list of str
        What in the bag is no good and was left out, a sentence each.

    Raises
    ------
    RecordingError
        If it is no bag, or a topic is missing or damaged: says which.
    """

    def __init__(self, path: str | Path, poses: str = f"{CAMERA}/pose2d") -> None:
        self._reader = BagReader(path)
        self.path = self._reader.path
        self._pose_topic = poses
        try:
            self._adc = [self._topic(f"{radar}/adc", "RadarAdcFrame") for radar in RADARS]
            found = [self._config(f"{radar}/radar_config") for radar in RADARS]
            self.configs = found[0][0], found[1][0]
            tree, self.notes = self._tree()
        except BaseException:
            self._reader.close()
            raise
        self.placements, self.placed = _places(tree, [frame_id for _, frame_id in found])

    def __enter__(self) -> Collected:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def _topic(self, name: str, kind: str) -> str:
        types = self._reader.topics
        try:
            topic = topic_named(types, name.strip("/"))
        except RecordingError as error:
            held = ", ".join(sorted(t for t, of in types.items() if of.endswith(kind))) or "none"
            raise RecordingError(f"{self.path}: {error}; topics of {kind}: {held}") from None
        if types[topic] != f"{PACKAGE}/msg/{kind}":
            raise RecordingError(f"{self.path}: {topic} is of {types[topic]}, want {kind}")
        if not self._reader.counts[topic]:
            raise RecordingError(f"{self.path}: {topic} is empty")
        return topic

    def _config(self, name: str) -> tuple[RadarConfig, str]:
        topic = self._topic(name, "RadarConfig")
        message: Any = None
        for recorded in self._reader.messages([topic]):
            if message is not None and _settings(message) != _settings(recorded.message):
                raise RecordingError(
                    f"{self.path}: {topic} changes within the recording: record anew"
                )
            message = recorded.message
        try:
            config = _radar_config(message)
        except (ValueError, IndexError) as error:
            raise RecordingError(f"{self.path}: {topic}: {error}") from None
        return config, str(message.header.frame_id)

    def _tree(self) -> tuple[FrameTree, list[str]]:
        """Return where frames are, and what of this is no good."""
        tree, faults = FrameTree(), dict[tuple[str, str], str]()
        topics = [t for t, kind in self._reader.topics.items() if kind.endswith("TFMessage")]
        for recorded in self._reader.messages(topics) if topics else ():
            for child, fault in tree.put_all(recorded.message.transforms).items():
                faults.setdefault((recorded.topic, child), fault)
        return tree, [
            f"{self.path}: {topic}: a transform of {child!r} is not used: {fault}"
            for (topic, child), fault in faults.items()
        ]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of both radars as they were received.

        Raises
        ------
        RecordingError
            If a frame is not of the shape that the radar's configuration has, or its stamp is
            none.
        """
        before_s: dict[str, float] = {}
        for recorded in self._reader.messages(self._adc):
            radar, message = self._adc.index(recorded.topic), recorded.message
            loops, transmitters, receivers, samples = self.configs[radar].adc_shape
            shape = (message.loops, message.transmitters, message.receivers, message.samples)
            if (
                shape != self.configs[radar].adc_shape
                or len(message.data) != 2 * loops * transmitters * receivers * samples
                or len(message.chirp_valid) != loops * transmitters
            ):
                raise RecordingError(
                    f"{self.path}: {recorded.topic}: a frame of shape {shape}, but its "
                    f"configuration has {self.configs[radar].adc_shape}"
                )
            ahead_s = self._ahead_s(recorded)
            self._check_jump(recorded.topic, ahead_s - before_s.get(recorded.topic, ahead_s))
            before_s[recorded.topic] = ahead_s
            yield Frame(
                radar, stamp_s(message), message.data, np.asarray(message.chirp_valid, bool)
            )

    def clock_s(self) -> float:
        """Return by how much radar stamps are ahead of the recorder's clock at arrival."""
        first = itertools.islice(self._reader.messages(self._adc[:1]), 50)
        return float(np.median([self._ahead_s(recorded) for recorded in first]))

    def _ahead_s(self, recorded: Recorded) -> float:
        """Return by how much a message's stamp is ahead of the recorder's clock."""
        stamp = stamp_s(recorded.message)
        if stamp <= 0:
            raise RecordingError(
                f"{self.path}: {recorded.topic}: a message has the stamp {stamp:g} s, want the "
                "time at which it was measured"
            )
        return stamp - recorded.received_ns / 1e9

    def _check_jump(self, topic: str, jump_s: float) -> None:
        if abs(jump_s) > LARGEST_JUMP_S:
            raise RecordingError(
                f"{self.path}: {topic}: from one message to the next stamps jump by {jump_s:+.1f} "
                f"s against the recorder's clock, want {LARGEST_JUMP_S:g} s or less: record anew, "
                "with a clock that is not set meanwhile"
            )

    def camera_track(self) -> CameraTrack:
        """Return the keypoints of the camera.

        Raises
        ------
        RecordingError
            If there are less than two images, they change skeleton or number of joints, or stamps
            are none.
        """
        topic = self._topic(self._pose_topic, "HumanPose2DArray")
        messages = list(self._reader.messages([topic]))
        first = messages[0].message
        try:
            count = len(definitions.get(first.skeleton).joints)
        except ValueError as error:
            raise RecordingError(f"{self.path}: {topic}: {error}") from None
        keypoints = np.full((len(messages), count, 2), np.nan)
        confidence = np.zeros((len(messages), count))
        for row, recorded in enumerate(messages):
            message = recorded.message
            sizes = {len(person.keypoints) for person in message.poses}
            if message.skeleton != first.skeleton or sizes - {count}:
                raise RecordingError(
                    f"{self.path}: {topic}: want {count} joints of {first.skeleton} throughout"
                )
            if len(message.poses) == 1:
                joints = message.poses[0].keypoints
                keypoints[row] = [(joint.x, joint.y) for joint in joints]
                # of a source that states no confidence a joint that is given counts as sure
                stated = np.array([joint.confidence for joint in joints], float)
                given = np.isfinite(keypoints[row]).all(-1)
                confidence[row] = np.where(given, np.where(np.isnan(stated), 1.0, stated), 0.0)
        stamps = np.array([stamp_s(recorded.message) for recorded in messages])
        ahead = np.array([self._ahead_s(recorded) for recorded in messages])
        for jump_s in np.diff(ahead).tolist():
            self._check_jump(topic, jump_s)
        people = np.array([len(recorded.message.poses) for recorded in messages])
        order = np.unique(stamps, return_index=True)[1]
        if len(order) < 2:
            raise RecordingError(
                f"{self.path}: {topic}: all {len(messages)} messages are of one image by their "
                "stamps, want two images or more"
            )
        return CameraTrack(
            topic=topic,
            frame_id=str(first.header.frame_id),
            skeleton=str(first.skeleton),
            model=str(first.model),
            size_px=(int(first.image_width), int(first.image_height)),
            stamps_s=stamps[order],
            keypoints_px=keypoints[order],
            confidence=confidence[order],
            people=people[order],
            clock_s=float(np.median(ahead)),
        )

    def _camera_topics(self) -> tuple[str, str]:
        """Return the names of the keypoints and of the CameraInfo, there or not."""
        poses = self._full_name(self._pose_topic)
        return poses, self._full_name(f"{poses.rpartition('/')[0]}/camera_info")

    def _full_name(self, name: str) -> str:
        try:
            return topic_named(self._reader.topics, name.strip("/"))
        except RecordingError:
            return name

    def camera_frame(self) -> str:
        """Return the camera's frame by its keypoints or CameraInfo; "" if there are neither."""
        for topic in self._camera_topics():
            if self._reader.counts.get(topic):
                return str(next(iter(self._reader.messages([topic]))).message.header.frame_id)
        return ""

    def lens(self) -> PinholeCamera:
        """Return the camera's lens by its CameraInfo, placed at its own origin.

        Raises
        ------
        RecordingError
            If there is no CameraInfo beside the keypoints, it is not calibrated, or the lens or
            the image is of a kind that is not known here.
        """
        topic = self._camera_topics()[1]
        if not self._reader.counts.get(topic):
            raise RecordingError(
                f"{self.path} has no {topic}: name a file with the lens, --camera; "
                "`radar-pose calibrate cameras` makes one"
            )
        info = next(iter(self._reader.messages([topic]))).message
        try:
            return PinholeCamera.from_camera_info(info)
        except ValueError as error:
            raise RecordingError(f"{self.path}: {topic}: {error}") from None


def _places(tree: FrameTree, frame_ids: Sequence[str]) -> tuple[tuple[Placement, Placement], bool]:
    """Return where the radars are, and whether the tree knows."""
    try:
        first, second = (tree.where(frame_id, RIG_FRAME) for frame_id in frame_ids)
        return (first, second), True
    except ValueError:
        first, second = (
            Placement(place.rotation, np.array(place.position_m)) for place in default_placements()
        )
        return (first, second), False


def _settings(message: Any) -> tuple[Any, ...]:
    shape = (message.samples, message.loops, message.iq_order, message.device)
    antennas = (tuple(message.tx_order), tuple(message.rx_antennas))
    return (*shape, *antennas, *(getattr(message, name) for name in _TIMES))


def _radar_config(message: Any) -> RadarConfig:
    wave = Waveform(
        samples=int(message.samples),
        loops=int(message.loops),
        transmitters=len(message.tx_order),
        **{name: float(getattr(message, name)) for name in _TIMES},
    )
    return RadarConfig(
        device=str(message.device),
        waveform=wave,
        tx_order=tuple(map(int, message.tx_order)),
        rx_antennas=tuple(map(int, message.rx_antennas)),
        iq_order="QI" if message.iq_order else "IQ",
        rx_gain_db=float(message.rx_gain_db),
        commands=tuple(str(message.commands).splitlines()),
        source=str(message.source),
    )
