"""From messages to what Rerun shows: places in metres, pictures, curves, states, sentences.

Each message is drawn at its own ``header.stamp`` on the time line ``time``. Entities::

    world                      the frame that all others hang on
    world/frames/FRAME         the axes of a frame of /tf and /tf_static
    world/TOPIC                people and points in space; the truth of an emulator pale and dashed
    world/radars/FRAME         a radar's field of view, and its heatmap in it
    cameras/FRAME              a camera, real or virtual: its frustum, images, people in the image
    heatmaps/FRAME             a heatmap, seen from above or from the side, in metres
    heart_rate/FACE, pulse/FACE    curves and states
    readings                   the last reading of each face, in words
    latency/TOPIC              ms from the instant that a message describes until it was received
    diagnostics/NODE, log/NODE sentences with their level
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
import rerun as rr

from radar_pose_ros.drawing import (
    FRAME_COLOUR,
    HEATMAP_COLOURS,
    TEXT_COLOUR,
    FanView,
    Panel,
    PolarAxes,
    rgb_bytes,
)
from radar_pose_ros.preview import PREVIEW_SPAN_DB, power_db
from radar_pose_ros.radar.field_of_view import FieldOfView
from radar_pose_ros.recording import stamp_ns
from radar_pose_ros.resources import PACKAGE
from radar_pose_ros.skeleton import definitions, projection
from radar_pose_ros.skeleton.definitions import Skeleton
from radar_pose_ros.view import messages
from radar_pose_ros.vision.frames import FrameTree

TIMELINE = "time"
SURE, UNSURE = (0, 158, 115), (213, 94, 0)  # bluish green, vermilion: for any colour vision
REFINED_SURE, REFINED_UNSURE = (0, 114, 178), (204, 121, 167)  # blue, reddish purple
TRUTH_COLOUR = (200, 200, 200, 150)
SENSORS = (86, 180, 233)  # sky blue
GREY = (110, 110, 110)
NEARING, STANDING, LEAVING = (86, 180, 233), (240, 240, 240), (230, 159, 0)  # points by Doppler
FAST_MPS = 0.5  # points that move faster have the colour of this
STRENGTHS_DB = (0.0, 30.0)  # of points without Doppler, from the darkest colour to the brightest
BONE_M, JOINT_M, POINT_M = 0.018, 0.028, 0.025  # radii
DASH_M, DASH_PX = 0.05, 4.0
AXES_M, IMAGE_PLANE_M = 0.2, 0.6
MOST_SIDE_PX = 640  # of an image's longer side: larger ones are made smaller
MOST_IMAGES_HZ = 10.0  # per camera, and per radar
JPEG_QUALITY = 75
MOST_FANS = 16  # tables by which heatmaps are drawn, a megabyte each
MOST_REASONS = 100  # why messages were not drawn, that are told apart
ANOTHER_CLOCK_S = 30.0  # what seems older was stamped by another clock: its age says nothing
FARTHEST_M = 10.0  # of a heatmap's picture
HOT = 0.5  # of a heatmap's span: what is weaker is not drawn in space, it would hide the people
MOST_CELLS = 48  # of a heatmap in space, in each direction
# States of a heart rate in the order of their numbers in HeartRate.msg, and their colours.
STATES = {
    "OK": (0, 158, 115),
    "WARMING_UP": (86, 180, 233),
    "NO_FACE": (90, 90, 90),
    "STILL_IMAGE": (204, 121, 167),
    "TOO_DARK": (60, 60, 90),
    "MOTION": (230, 159, 0),
    "TOO_FEW_FRAMES": (213, 94, 0),
    "LOW_SIGNAL": (240, 228, 66),
}
CURVES = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66))
LEVELS = ("INFO", "WARN", "ERROR", "WARN")  # of DiagnosticStatus: ok, warn, error, stale
LOG_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "CRITICAL"}
POSES_3D = f"{PACKAGE}/msg/HumanPose3DArray"
TRUTH = "simulation"  # the model of poses in space that are the truth of an emulator
_COLOUR_TABLE = (255 * matplotlib.colormaps[HEATMAP_COLOURS](np.linspace(0, 1, 256))).astype(
    np.uint8
)[:, :3]


def blend(first: Sequence[float], second: Sequence[float], share: np.ndarray) -> np.ndarray:
    """Return colours between two, uint8 (n, 3); a share of 1 is the second one."""
    part = np.clip(share, 0.0, 1.0)[:, None]
    mixed = (1 - part) * np.array(first, float) + part * np.array(second, float)
    return np.asarray(np.round(mixed), np.uint8)


def point_colours(points: np.ndarray) -> np.ndarray:
    """Return colours of points (n, 5), see `messages.points`, uint8 (n, 3).

    By their Doppler: blue comes nearer, white stands, orange goes away. By their strength if the
    cloud has no Doppler; white if it has neither.
    """
    velocity, strength = points[:, 3], points[:, 4]
    if not np.isnan(velocity).all():
        speed = np.nan_to_num(velocity) / FAST_MPS
        coming, going = (blend(STANDING, end, abs(speed)) for end in (NEARING, LEAVING))
        return np.where(speed[:, None] < 0, coming, going)
    low, high = STRENGTHS_DB
    share = np.clip((strength - low) / (high - low), 0.0, 1.0)
    known = _COLOUR_TABLE[np.round(255 * np.nan_to_num(share)).astype(int)]
    return np.where(np.isnan(strength)[:, None], np.uint8(240), known)


def dashes(segments: np.ndarray, length: float) -> np.ndarray:
    """Return pieces of segments (n, 2, d), each about as long as asked for, with gaps as long."""
    pieces = [np.zeros((0, 2, segments.shape[-1]))]
    for start, end in segments:
        count = 2 * max(1, round(float(np.linalg.norm(end - start)) / (2 * length))) - 1
        steps = np.linspace(0.0, 1.0, count + 1)[:, None]
        ends = start + steps * (end - start)
        pieces.append(np.stack([ends[:-1:2], ends[1::2]], axis=1))
    return np.concatenate(pieces)


class Drawer:
    """Logs messages to a recording of Rerun. Use it from one thread.

    Parameters
    ----------
    recording : rerun.RecordingStream
    namespace : str
        Taken off the names of topics.

    Attributes
    ----------
    refused : Counter
        Messages that could not be drawn, by topic and what was wrong.
    """

    def __init__(self, recording: rr.RecordingStream, namespace: str = "") -> None:
        self.refused: Counter[str] = Counter()
        self._recording = recording
        self._namespace = f"/{namespace.strip('/')}/"
        self._skeletons: dict[str, Skeleton] = dict(definitions.SKELETONS)
        self._parents: dict[str, str] = {}
        self._tree = FrameTree()
        self._anchor: tuple[int, str] = (0, "")  # how much a frame says of the world, the frame
        self._root = ""
        self._static: dict[str, Any] = {}  # what was logged once and for all, to see if it changes
        self._next_ns: dict[str, int] = {}
        self._fans: dict[tuple[Any, ...], FanView] = {}
        self._boards: dict[str, str] = {}  # of radars, by their frames
        self._reach_m: dict[str, float] = {}  # of their heatmaps
        self._newest_ns = 0
        self._timed: dict[str, int] = {}  # topics with an age, in their order
        self._faces: dict[str, str] = {}  # what was said last of each
        self._extent: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # corners of what is where

    # -- what is common ----------------------------------------------------------------------

    def take(self, topic: str, type_name: str, message: Any, received_ns: int) -> None:
        """Draw a message; one that does not fit together is counted and left out.

        Parameters
        ----------
        topic : str
            Its absolute name.
        type_name : str
            One of `DRAWN`; others are ignored.
        message : object
            With the fields as attributes.
        received_ns : int
            Since 1970.
        """
        draw = DRAWN.get(type_name)
        if draw is None:
            return
        name = topic.removeprefix(self._namespace).strip("/")
        try:
            if hasattr(message, "header"):
                self._set_time(stamp_ns(message))
            draw(self, name, message)
            if type_name in TIMED and not is_truth(name, type_name, message):
                self._show_latency(name, stamp_ns(message), received_ns)
        except ValueError as error:
            reason = f"{topic}: {' '.join(str(error).split())}"
            known = reason in self.refused or len(self.refused) < MOST_REASONS
            self.refused[reason if known else f"{topic}: more reasons"] += 1

    def _set_time(self, time_ns: int) -> None:
        self._recording.set_time(TIMELINE, timestamp=np.datetime64(time_ns, "ns"))

    def _log(self, path: str, *what: Any, frame: str = "", static: bool = False) -> None:
        extra = [rr.CoordinateFrame(frame)] if frame else []
        self._recording.log(path, *what, *extra, static=static)

    def _log_once(
        self, path: str, key: Any, make: Callable[[], Sequence[Any]], frame: str = ""
    ) -> None:
        """Log what stands still, if it is not what was logged there last."""
        if self._static.get(path) != key:
            self._static[path] = key
            self._log(path, *make(), frame=frame, static=True)

    def _is_due(self, path: str, time_ns: int) -> bool:
        """Whether so long after the last image of its kind another one is wanted."""
        period_ns = round(1e9 / MOST_IMAGES_HZ)
        next_ns = self._next_ns.get(path, 0)
        # a tenth early is in time; a clock that went back begins anew
        if next_ns - 2 * period_ns < time_ns < next_ns - period_ns // 10:
            return False
        self._next_ns[path] = time_ns + period_ns
        return True

    def _show_latency(self, name: str, time_ns: int, received_ns: int) -> None:
        self._newest_ns = max(self._newest_ns, time_ns)
        late_s = (received_ns - time_ns) / 1e9
        if abs(late_s) < ANOTHER_CLOCK_S:
            path = f"latency/{name}"
            number = self._timed.setdefault(name, len(self._timed))
            self._curve(path, name, CURVES[number % len(CURVES)])
            self._log(path, rr.Scalars(1e3 * late_s))

    def _curve(self, path: str, name: str, colour: Sequence[int], width: float = 2.0) -> None:
        line: dict[str, Any] = {"names": [name], "colors": [colour], "widths": [width]}
        self._log_once(path, repr(line), lambda: [rr.SeriesLines(**line)])

    # -- frames ------------------------------------------------------------------------------

    def _take_transforms(self, name: str, message: Any) -> None:
        for transform in message.transforms:
            parent, child, where = messages.placed(transform)
            self._tree.put(parent, child, where)
            self._parents[child] = parent
            turn = transform.transform.rotation
            static = name == "tf_static"
            if not static:
                self._set_time(stamp_ns(transform))
            self._log(
                f"transforms/{child}",
                rr.Transform3D(
                    translation=where.translation_m,
                    quaternion=rr.Quaternion(xyzw=[turn.x, turn.y, turn.z, turn.w]),
                    parent_frame=parent,
                    child_frame=child,
                ),
                static=static,
            )
            self._log_once(
                f"world/frames/{child}", child, lambda: [rr.TransformAxes3D(AXES_M)], child
            )
        self._place_world()

    def _show_in_space(self, frame: str, weight: int = 1) -> None:
        """Note a frame in which something is drawn; the one that says most hangs in the world."""
        if (weight, frame) > self._anchor:
            self._anchor = weight, frame
        self._place_world()

    def _place_world(self) -> None:
        root = self._anchor[1] or next(iter(self._parents), "")
        while root in self._parents:
            root = self._parents[root]
        self._root = root
        if root:
            self._log_once("world", root, lambda: [rr.ViewCoordinates.FLU], root)

    def _extend(self, frame: str, places: Sequence[np.ndarray]) -> None:
        """Note what has to be in sight: all places of a sensor, the last ones of people."""
        known = np.array([place for place in places if np.isfinite(place).all()])
        if not len(known):
            return
        with contextlib.suppress(ValueError):
            where = self._tree.where(frame, self._root)
            known = known @ where.rotation.T + where.translation_m
        self._extent[frame] = known.min(axis=0), known.max(axis=0)

    @property
    def extent_m(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest corner of what there is in space; None if there is nothing."""
        if not self._extent:
            return None
        low, high = (np.array(corners) for corners in zip(*self._extent.values(), strict=True))
        return low.min(axis=0), high.max(axis=0)

    # -- people ------------------------------------------------------------------------------

    def _take_skeleton(self, name: str, message: Any) -> None:
        self._skeletons[message.name] = messages.skeleton(message)

    def _people(self, message: Any) -> tuple[Skeleton, list[messages.SeenPerson]]:
        skeleton = self._skeletons.get(message.skeleton)
        if skeleton is None:
            raise ValueError(f"skeleton {message.skeleton!r} is not defined yet")
        return skeleton, messages.people(message, len(skeleton.joints))

    def _take_pose3d(self, name: str, message: Any) -> None:
        skeleton, people = self._people(message)
        frame = messages.frame_of(message)
        self._show_in_space(frame, weight=2)
        truth = is_truth(name, POSES_3D, message)
        self._draw_people(f"world/{name}", frame, skeleton, people, 3, truth)
        self._extend(frame, [joint for person in people for joint in person.joints])

    def _take_pose2d(self, name: str, message: Any) -> None:
        skeleton, people = self._people(message)
        frame = messages.frame_of(message)
        if frame == projection.CAMERA_FRAME:
            size_px = message.image_width or projection.IMAGE_SIZE_PX
            self._camera(
                frame,
                (projection.FOCAL_LENGTH_PX,) * 2,
                (projection.CENTRE_PX,) * 2,
                (size_px, size_px),
            )
        self._know_camera(frame)
        path = f"cameras/{frame}/{name}"
        self._draw_people(path, plane_of(frame), skeleton, people, 2, False)

    def _draw_people(
        self,
        path: str,
        frame: str,
        skeleton: Skeleton,
        people: Sequence[messages.SeenPerson],
        axes: int,
        truth: bool,
    ) -> None:
        refined = "refined" in path.split("/")
        unsure, sure = (REFINED_UNSURE, REFINED_SURE) if refined else (UNSURE, SURE)
        bones, bone_trust = [np.zeros((0, 2, axes))], [np.zeros(0)]
        joints, joint_trust = [np.zeros((0, axes))], [np.zeros(0)]
        heads, names = [np.zeros((0, axes))], []
        edges = np.array(skeleton.edges, int).reshape(-1, 2)
        for person in people:
            known = np.isfinite(person.joints).all(axis=1)
            trust = np.nan_to_num(person.confidence, nan=1.0)
            kept = edges[known[edges].all(axis=1)]
            bones.append(person.joints[kept])
            bone_trust.append(trust[kept].min(axis=1) if len(kept) else np.zeros(0))
            joints.append(person.joints[known])
            joint_trust.append(trust[known])
            if person.number >= 0 and known.any() and not truth:
                heads.append(top(person.joints[known]))
                names.append(f"person {person.number}")
        segments, places = np.concatenate(bones), np.concatenate(joints)
        lines: Any = rr.LineStrips3D if axes == 3 else rr.LineStrips2D
        dots: Any = rr.Points3D if axes == 3 else rr.Points2D
        bone_size, joint_size = (BONE_M, JOINT_M) if axes == 3 else ui(2.0, 3.0)
        if truth:
            segments = dashes(segments, DASH_M if axes == 3 else DASH_PX)
            colours: Any = TRUTH_COLOUR
            self._log(
                f"{path}/bones", lines(segments, colors=colours, radii=bone_size / 2), frame=frame
            )
            return
        colours = blend(unsure, sure, np.concatenate(bone_trust))
        self._log(f"{path}/bones", lines(segments, colors=colours, radii=bone_size), frame=frame)
        colours = blend(unsure, sure, np.concatenate(joint_trust))
        self._log(f"{path}/joints", dots(places, colors=colours, radii=joint_size), frame=frame)
        self._log(
            f"{path}/names",
            dots(np.concatenate(heads), labels=names, radii=0.0, colors=TEXT_COLOUR_RGB),
            frame=frame,
        )

    # -- cameras -----------------------------------------------------------------------------

    def _camera(
        self,
        frame: str,
        focal_px: tuple[float, float],
        centre_px: tuple[float, float],
        size_px: tuple[int, int],
    ) -> None:
        self._show_in_space(frame, weight=0)
        self._extend(frame, [np.zeros(3)])
        self._name(frame, (0.0, 0.0, 0.0))
        self._log_once(
            f"cameras/{frame}/edge",
            size_px,
            lambda: [
                rr.Boxes2D(
                    array=[0, 0, *size_px],
                    array_format=rr.Box2DFormat.XYWH,
                    colors=GREY,
                    radii=ui(1.0),
                )
            ],
            plane_of(frame),
        )
        self._log_once(
            f"cameras/{frame}",
            (focal_px, centre_px, size_px),
            lambda: [
                rr.Pinhole(
                    focal_length=focal_px,
                    principal_point=centre_px,
                    resolution=size_px,
                    image_plane_distance=IMAGE_PLANE_M,
                    color=SENSORS,
                    parent_frame=frame,
                    child_frame=plane_of(frame),
                )
            ],
            plane_of(frame),
        )

    def _know_camera(self, frame: str) -> None:
        """Let a camera have a plane of pixels, though nobody may ever say where it looks."""
        path = f"cameras/{frame}"
        if path not in self._static:
            self._log_once(path, "", list, plane_of(frame))

    def _take_camera_info(self, name: str, message: Any) -> None:
        k = [float(value) for value in (message.k if hasattr(message, "k") else message.K)]
        if not (k[0] > 0 and k[4] > 0 and message.width and message.height):
            raise ValueError("camera is not calibrated")
        size_px = (int(message.width), int(message.height))
        self._camera(messages.frame_of(message), (k[0], k[4]), (k[2], k[5]), size_px)

    def _take_image(self, name: str, message: Any) -> None:
        frame = messages.frame_of(message)
        path = f"cameras/{frame}/{name}"
        if not self._is_due(path, stamp_ns(message)):
            return
        picture = messages.image_bgr(message)
        scale = max(1.0, max(picture.shape[:2]) / MOST_SIDE_PX)
        if scale > 1.0:
            size = (round(picture.shape[1] / scale), round(picture.shape[0] / scale))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        shrunk = f"{plane_of(frame)}/{name}"
        self._log_once(
            f"transforms/{shrunk}",
            scale,
            lambda: [
                rr.Transform3D(scale=scale, parent_frame=plane_of(frame), child_frame=shrunk)
            ],
            "",
        )
        self._know_camera(frame)
        self._log(path, jpeg(picture), frame=shrunk)

    # -- radars ------------------------------------------------------------------------------

    def _take_heatmap(self, name: str, message: Any) -> None:
        frame = messages.frame_of(message)
        if not self._is_due(name, stamp_ns(message)):
            return
        power = power_db(messages.heatmap(message))
        share = np.clip((power - power.max()) / PREVIEW_SPAN_DB + 1.0, 0.0, 1.0)
        self._show_in_space(frame)
        upright = self._is_upright(frame)
        axes = PolarAxes(
            message.sin_angle_first,
            message.sin_angle_step,
            message.range_first_m,
            message.range_step_m,
        )
        key = (frame, axes, share.shape, upright)
        if key not in self._fans:
            if len(self._fans) >= MOST_FANS:
                self._fans.clear()
            self._fans[key] = fan_of(Panel(frame, axes, share.shape, upright))
        fan = self._fans[key]
        path = f"heatmaps/{frame}"
        lines, words = ruler(fan, upright)
        self._log_once(f"{path}/lines", key, lambda: [lines])
        self._log_once(f"{path}/words", key, lambda: [words])
        seen = fan(share)
        picture = _COLOUR_TABLE[np.round(255 * np.nan_to_num(seen)).astype(int)]
        picture[np.isnan(seen)] = 0
        self._log(f"{path}/image", jpeg(picture[:, :, ::-1]))
        self._log(f"world/radars/{frame}/heatmap", in_space(axes, share), frame=frame)
        self._reach_m[frame] = float(axes.range_first_m + axes.range_step_m * share.shape[1])
        self._outline(frame, self._reach_m[frame])

    def _is_upright(self, frame: str) -> bool:
        """Whether a radar's angle is azimuth: its y axis does not point up or down."""
        try:
            where = self._tree.where(frame, self._root)
        except ValueError:
            return True
        return bool(abs(where.rotation[2, 1]) < math.sqrt(0.5))

    def _take_config(self, name: str, message: Any) -> None:
        frame = messages.frame_of(message)
        if not 0 < message.max_range_m < math.inf:
            raise ValueError(f"radar that sees {message.max_range_m} m far")
        self._show_in_space(frame)
        self._boards[frame] = str(message.device)
        self._outline(frame, self._reach_m.get(frame, float(message.max_range_m)))

    def _outline(self, frame: str, range_m: float) -> None:
        """Draw how far a radar sees, or its heatmap goes, and how wide if that is known."""
        board = self._boards.get(frame, "")
        lines = FieldOfView.of_board(board, range_m).segments()
        self._log_once(
            f"world/radars/{frame}/field_of_view",
            (board, round(range_m, 3)),
            lambda: [rr.LineStrips3D(lines, colors=[*SENSORS, 90], radii=ui(0.75))],
            frame,
        )
        self._extend(frame, [np.zeros(3)])
        self._name(frame, (0.0, 0.3, 0.0))

    def _name(self, frame: str, place_m: Sequence[float]) -> None:
        """Write a sensor's name beside it, at a place in its frame."""
        word = re.sub("_(optical_frame|link|frame)$", "", frame)
        dot: dict[str, Any] = {
            "labels": [word],
            "show_labels": True,
            "radii": 0.0,
            "colors": SENSORS,
        }
        path = f"world/names/{frame}"
        self._log_once(path, word, lambda: [rr.Points3D([place_m], **dot)], frame)

    def _take_points(self, name: str, message: Any) -> None:
        points = messages.points(message)
        points = points[np.isfinite(points[:, :3]).all(axis=1)]
        frame = messages.frame_of(message)
        self._show_in_space(frame)
        dots = rr.Points3D(points[:, :3], colors=point_colours(points), radii=POINT_M)
        self._log(f"world/{name}", dots, frame=frame)

    # -- the pulse ---------------------------------------------------------------------------

    def _take_heart_rate(self, name: str, message: Any) -> None:
        if not 0 <= message.state < len(STATES):
            raise ValueError(f"state {message.state} of a heart rate is not known")
        state = list(STATES)[message.state]
        face = f"face {message.face_id}" if message.face_id >= 0 else "no face"
        path = branch("heart_rate", name, face)
        colour = CURVES[max(message.face_id, 0) % len(CURVES)]
        rate, error = float(message.heart_rate_bpm), float(message.standard_error_bpm)
        if message.face_id >= 0:
            self._curve(f"{path}/rate", face, colour, 3.0)
            self._log(f"{path}/rate", rr.Scalars(rate))
            for part, sign in (("low", "-"), ("high", "+")):
                self._curve(f"{path}/{part}", f"{face} ± standard error", colour, 1.0)
                self._log(f"{path}/{part}", rr.Scalars(rate + float(f"{sign}1") * error))
        self._log_once(
            f"{path}/state",
            "colours",
            lambda: [rr.StateConfiguration(values=list(STATES), colors=list(STATES.values()))],
            "",
        )
        self._log(f"{path}/state", rr.StateChange(state=state))
        known = f"**{rate:.0f}** ± {error:.1f}" if math.isfinite(rate) else "not known"
        self._faces[face] = f"| {face} | {known.replace('nan', '?')} | {state} |"
        table = ["| | heart rate, bpm | state |", "|-|-|-|", *sorted(self._faces.values())]
        self._log("readings", rr.TextDocument("\n".join(table), media_type="text/markdown"))

    def _take_pulse(self, name: str, message: Any) -> None:
        path = branch("pulse", name, f"face {message.face_id}")
        if not message.sample_rate_hz > 0:
            raise ValueError(f"pulse wave of {message.sample_rate_hz} Hz")
        samples = np.asarray(message.samples, np.float64)
        steps_ns = np.round(1e9 * np.arange(len(samples)) / message.sample_rate_hz)
        times = (stamp_ns(message) + steps_ns.astype(np.int64)).astype("datetime64[ns]")
        colour = CURVES[max(message.face_id, 0) % len(CURVES)]
        self._curve(path, f"face {message.face_id}", colour)
        self._recording.send_columns(
            path,
            indexes=[rr.TimeColumn(TIMELINE, timestamp=times)],
            columns=rr.Scalars.columns(scalars=samples),
        )

    # -- sentences ---------------------------------------------------------------------------

    def _take_diagnostics(self, name: str, message: Any) -> None:
        self._set_time(self._told_ns(stamp_ns(message)))
        for status in message.status:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            node = path_part(status.name)
            said = (level, re.sub(r"[\d.]+", "", status.message))  # not how long it is silent
            if self._static.get(f"diagnostics/{node}") != said:  # news only
                self._static[f"diagnostics/{node}"] = said
                text = f"{status.name.strip('/')}: {status.message}"
                word = LEVELS[level] if level < len(LEVELS) else "ERROR"
                self._log(f"diagnostics/{node}", rr.TextLog(text, level=word))

    def _take_log(self, name: str, message: Any) -> None:
        time_ns = int(message.stamp.sec) * 1_000_000_000 + int(message.stamp.nanosec)
        self._set_time(self._told_ns(time_ns))
        level = message.level[0] if isinstance(message.level, bytes) else int(message.level)
        text = f"{message.name}: {message.msg}"
        word = LOG_LEVELS.get(level, "INFO")
        self._log(f"log/{path_part(message.name)}", rr.TextLog(text, level=word))

    def _told_ns(self, time_ns: int) -> int:
        """Return when something was said, by the clock of what was measured."""
        newest_ns = self._newest_ns or time_ns
        return time_ns if abs(time_ns - newest_ns) < ANOTHER_CLOCK_S * 1e9 else newest_ns


def is_drawn(topic: str, type_name: str) -> bool:
    """Whether a topic is drawn: those of the types in `DRAWN`, but no pictures of others."""
    return type_name in DRAWN and not topic.endswith(("/heatmap/preview", "/overlay"))


DRAWN: dict[str, Callable[[Drawer, str, Any], None]] = {
    f"{PACKAGE}/msg/SkeletonDefinition": Drawer._take_skeleton,
    f"{PACKAGE}/msg/HumanPose2DArray": Drawer._take_pose2d,
    POSES_3D: Drawer._take_pose3d,
    f"{PACKAGE}/msg/RadarHeatmap": Drawer._take_heatmap,
    f"{PACKAGE}/msg/RadarConfig": Drawer._take_config,
    f"{PACKAGE}/msg/HeartRate": Drawer._take_heart_rate,
    f"{PACKAGE}/msg/PulseWave": Drawer._take_pulse,
    "sensor_msgs/msg/PointCloud2": Drawer._take_points,
    "sensor_msgs/msg/Image": Drawer._take_image,
    "sensor_msgs/msg/CompressedImage": Drawer._take_image,
    "sensor_msgs/msg/CameraInfo": Drawer._take_camera_info,
    "tf2_msgs/msg/TFMessage": Drawer._take_transforms,
    "diagnostic_msgs/msg/DiagnosticArray": Drawer._take_diagnostics,
    "rcl_interfaces/msg/Log": Drawer._take_log,
}
"""Types of messages that can be drawn."""
# Those that describe an instant, and so have an age; a heart rate is that of a long window.
TIMED = {
    *(f"{PACKAGE}/msg/{n}" for n in ("HumanPose2DArray", "HumanPose3DArray", "RadarHeatmap")),
    "sensor_msgs/msg/PointCloud2",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
}
TEXT_COLOUR_RGB = rgb_bytes(TEXT_COLOUR)


def is_truth(name: str, type_name: str, message: Any) -> bool:
    """Whether a message says where people truly are, as only an emulator knows."""
    simulated = type_name == POSES_3D and message.model == TRUTH
    return simulated or name.split("/")[-1] == "ground_truth"


def branch(root: str, name: str, last: str) -> str:
    """Return the path of a face's curves: below the namespace that its topic is in."""
    return "/".join([root, *name.split("/")[:-1], last.replace(" ", "_")])


def plane_of(frame: str) -> str:
    """Return the name of the frame of a camera's pixels."""
    return f"{frame}/image_plane"


def path_part(name: str) -> str:
    """Return a node's name as one part of an entity's path."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", name.strip("/")) or "unnamed"


def top(joints: np.ndarray) -> np.ndarray:
    """Return a place above somebody's highest joint, (1, 2 or 3)."""
    axis, sign = (2, 1.0) if joints.shape[1] == 3 else (1, -1.0)
    place = joints[np.argmax(sign * joints[:, axis])].copy()
    place[axis] += 0.2 if axis == 2 else -12.0
    return np.asarray(place[None])


def ui(*radii: float) -> list[Any]:
    """Return radii in points of the screen."""
    return [rr.Radius.ui_points(radius) for radius in radii]


def jpeg(picture: np.ndarray) -> rr.EncodedImage:
    """Return a picture, uint8 (height, width, 3) blue, green, red, as a JPEG."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return rr.EncodedImage(
        contents=data, media_type="image/jpeg", draw_order=-10.0, magnification_filter="Linear"
    )


def fan_of(panel: Panel) -> FanView:
    """Return what makes a picture in metres of a heatmap, as far as `FARTHEST_M`."""
    ends_m = panel.axes.range_first_m + panel.axes.range_step_m * np.array([0, panel.shape[1]])
    if ends_m[0] > FARTHEST_M / 2:
        raise ValueError(f"heatmap that begins {ends_m[0]:g} m away")
    return FanView(panel, FARTHEST_M, max(1.6, 0.4 * min(float(ends_m[1]), FARTHEST_M)))


def in_space(axes: PolarAxes, share: np.ndarray) -> rr.Mesh3D:
    """Return what is strong in a heatmap, 0..1 (angle, range), as a surface in its frame."""
    rows, columns = (
        np.unique(np.linspace(0, count - 1, min(count, MOST_CELLS)).astype(int))
        for count in share.shape
    )
    strong = cv2.dilate(share.astype(np.float32), np.ones((3, 3)))[np.ix_(rows, columns)]
    sine = np.clip(axes.sine_first + axes.sine_step * rows, -1, 1)[:, None]
    distance = axes.range_first_m + axes.range_step_m * columns[None]
    places = np.stack(
        [distance * np.sqrt(1 - sine**2), distance * sine, 0 * sine * distance], axis=-1
    )
    number = np.arange(strong.size).reshape(strong.shape)
    corners = [number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]]
    hot = np.all([strong.ravel()[corner] > HOT for corner in corners], axis=0)
    first, second, third, fourth = (corner[hot] for corner in corners)
    triangles = np.concatenate(
        [np.stack([first, second, third], axis=1), np.stack([second, fourth, third], axis=1)]
    )
    used, renumbered = np.unique(triangles, return_inverse=True)
    return rr.Mesh3D(
        vertex_positions=places.reshape(-1, 3)[used],
        vertex_colors=_COLOUR_TABLE[np.round(255 * strong.ravel()[used]).astype(int)],
        triangle_indices=renumbered.reshape(-1, 3),
    )


def ruler(fan: FanView, upright: bool) -> tuple[rr.LineStrips2D, rr.Points2D]:
    """Return lines and words over a heatmap's picture, a line for each metre."""
    rows, columns = fan.shape
    left, right, low, high = fan.extent
    across = columns / (right - left)
    down = rows / (low - high)
    lines, places, words = [], [], []
    for metre in range(math.ceil(min(left, right)), math.floor(max(left, right)) + 1):
        x = (metre - left) * across
        lines.append([(x, 0.0), (x, float(rows))])
        places.append((x, rows + 6.0))
        words.append(f"{metre} m")
    for metre in range(math.ceil(min(low, high)), math.floor(max(low, high)) + 1):
        y = (metre - high) * down
        lines.append([(0.0, y), (float(columns), y)])
        places.append((-10.0, y))
        words.append(f"{metre} m")
    ahead, aside = ("m ahead", "m left") if upright else ("m up", "m ahead")
    places += [(columns / 2, -14.0), (columns / 2, rows + 26.0)]
    words += [f"↑ {ahead}", f"{'←' if upright else '→'} {aside}"]
    return (
        rr.LineStrips2D(lines, colors=[*rgb_bytes(FRAME_COLOUR), 160], radii=ui(0.5)),
        rr.Points2D(places, labels=words, show_labels=True, radii=0.0, colors=TEXT_COLOUR_RGB),
    )
