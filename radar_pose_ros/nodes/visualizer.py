"""Node visualizer: markers and overlay images of what the other nodes see."""

from __future__ import annotations

import math
import sys
import threading
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert
from radar_pose_ros.nodes.base import RELIABLE, SENSOR_DATA, SKELETONS, ManagedNode, run
from radar_pose_ros.nodes.memory import MOST_SKELETONS, Memory, Recent
from radar_pose_ros.nodes.transforms import RIG_FRAME
from radar_pose_ros.preview import power_db
from radar_pose_ros.skeleton import projection
from radar_pose_ros.skeleton.definitions import Skeleton

RADARS = ("radar_h", "radar_v")
# Namespaces of markers in space.
TRUTH, LIFTED, REFINED_LIFTED = "ground_truth", "lifted", "refined_lifted"
SURE = (0.0, 0.62, 0.45)  # bluish green and vermilion: told apart with any colour vision
UNSURE = (0.84, 0.37, 0.0)
REFINED_SURE = (0.0, 0.45, 0.7)  # blue and reddish purple
REFINED_UNSURE = (0.8, 0.47, 0.65)
GREY = (0.72, 0.72, 0.72)
YELLOW = (0.94, 0.89, 0.26)
SKY_BLUE = (0.34, 0.71, 0.91)
# Markers of the two kinds of poses: where one is sure of a joint, and where not.
COLOURS = {"pose2d": (SURE, UNSURE), "refined": (REFINED_SURE, REFINED_UNSURE)}


class Visualizer(ManagedNode):
    """Draws estimates, refined and lifted ones, and the truth; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("visualizer", **node_arguments)
        self._skeletons: Recent[Skeleton] = Recent(MOST_SKELETONS)

    def configure(self) -> None:
        """Create publishers."""
        self._markers = self.create_publisher(MarkerArray, "markers", RELIABLE)
        self._overlays = self.create_publisher(Image, "overlay", RELIABLE)

    def activate(self) -> None:
        """Start listening and drawing."""
        self._truths = Memory()
        self._heatmaps = {radar: Memory() for radar in RADARS}
        self._pose: tuple[msg.HumanPose2DArray, np.ndarray | None] | None = None
        # people who were drawn in space last
        self._shown = dict.fromkeys((*COLOURS, TRUTH, LIFTED, REFINED_LIFTED), 0)
        self.health.watch("poses", self.values.input_timeout_s)  # in an image or in space
        self.health.watch("overlay")
        self.subscribe(msg.SkeletonDefinition, "skeleton", SKELETONS, self._take_skeleton)
        self.subscribe(msg.HumanPose2DArray, "pose2d", SENSOR_DATA, self._take_pose)
        self.subscribe(msg.HumanPose2DArray, "refined/pose2d", SENSOR_DATA, self._take_refined)
        for topic, namespace, colour in (
            ("pose3d", LIFTED, YELLOW),
            ("refined/pose3d", REFINED_LIFTED, SKY_BLUE),
        ):
            take = partial(self._draw_in_space, namespace, colour)
            self.subscribe(msg.HumanPose3DArray, topic, SENSOR_DATA, take)
        self.subscribe(msg.HumanPose3DArray, TRUTH, SENSOR_DATA, self._take_truth)
        for radar in RADARS:
            topic = f"{radar}/heatmap"
            self.subscribe(msg.RadarHeatmap, topic, SENSOR_DATA, partial(self._take_map, radar))
        self.start_worker("painter", self._paint)

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_markers", "_overlays")

    # -- input -------------------------------------------------------------------------------

    def _take_skeleton(self, message: msg.SkeletonDefinition) -> None:
        self._skeletons.put(message.name, convert.message_to_skeleton(message))

    def _skeleton(self, name: str) -> Skeleton:
        skeleton = self._skeletons.get(name)
        if skeleton is None:
            raise convert.InvalidMessageError("skeleton not defined yet", f"{name!r}")
        return skeleton

    def _take_pose(self, message: msg.HumanPose2DArray) -> None:
        people = self._draw("pose2d", message)
        self.health.tick("poses")
        self._pose = message, people[0] if people else None

    def _take_refined(self, message: msg.HumanPose2DArray) -> None:
        self._draw("refined", message)

    def _take_truth(self, message: msg.HumanPose3DArray) -> None:
        people = self._draw_in_space(TRUTH, GREY, message)
        if people:
            self._truths.add(convert.to_nanoseconds(message.header.stamp), people[0])

    def _take_map(self, radar: str, message: msg.RadarHeatmap) -> None:
        convert.message_to_heatmap(message)  # what cannot be drawn is refused here, and counted
        steps = (message.range_step_m, message.sin_angle_step)
        convert.require(all(0 < s < math.inf for s in steps), "heatmap without axes", f"{steps}")
        self._heatmaps[radar].add(convert.to_nanoseconds(message.header.stamp), message)

    # -- markers -----------------------------------------------------------------------------

    def _draw(self, namespace: str, message: msg.HumanPose2DArray) -> list[np.ndarray]:
        """Publish the markers of all people in the image plane, and return their poses."""
        skeleton = self._skeleton(message.skeleton)
        people = convert.message_to_pose2d(message, len(skeleton.joints))
        head = Header(stamp=message.header.stamp, frame_id=RIG_FRAME)
        markers = []
        for number, person in enumerate(people):
            points = projection.unproject(person[:, :2], self.values.distance_m)
            trust = np.nan_to_num(person[:, 2], nan=1.0)
            points[trust < self.values.min_confidence] = np.nan
            colours = [self._colour(confidence, *COLOURS[namespace]) for confidence in trust]
            markers += self._person(head, namespace, number, skeleton, points, colours)
        self._show(namespace, len(people), markers)
        return people

    def _draw_in_space(
        self, namespace: str, colour: tuple[float, ...], message: msg.HumanPose3DArray
    ) -> list[np.ndarray]:
        """Publish the markers of all people whose place is known, and return their poses."""
        skeleton = self._skeleton(message.skeleton)
        people = convert.message_to_people(message, len(skeleton.joints))
        placed = [person.keypoints for person in people if not person.root_relative]
        paint = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=0.8)
        markers = []
        for number, points in enumerate(placed):
            paints = [paint] * len(points)
            markers += self._person(message.header, namespace, number, skeleton, points, paints)
        self._show(namespace, len(placed), markers)
        if namespace == LIFTED:
            self.health.tick("poses")
        return placed

    @staticmethod
    def _colour(
        confidence: float, sure: tuple[float, ...], unsure: tuple[float, ...]
    ) -> ColorRGBA:
        share = min(max(float(confidence), 0.0), 1.0)
        red, green, blue = (u + (s - u) * share for s, u in zip(sure, unsure, strict=True))
        return ColorRGBA(r=red, g=green, b=blue, a=0.9)

    def _show(self, namespace: str, people: int, markers: list[Marker]) -> None:
        """Publish markers, and take away those of people who are no longer there."""
        gone = range(2 * people, 2 * self._shown[namespace])
        self._shown[namespace] = people
        old = [Marker(ns=namespace, id=number, action=Marker.DELETE) for number in gone]
        for marker in old:
            marker.header.frame_id = RIG_FRAME
        self._markers.publish(MarkerArray(markers=[*markers, *old]))

    def _person(
        self,
        head: Header,
        namespace: str,
        number: int,
        skeleton: Skeleton,
        points: np.ndarray,
        colours: list[ColorRGBA],
    ) -> list[Marker]:
        known = [bool(k) for k in np.isfinite(points).all(axis=1)]
        joints = [k for k in range(len(points)) if known[k]]
        ends = [k for edge in skeleton.edges if all(known[j] for j in edge) for k in edge]
        lifetime_s = self.values.lifetime_s
        lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
        result = []
        for kind, size_m, chosen in (
            (Marker.LINE_LIST, 0.03, ends),
            (Marker.SPHERE_LIST, 0.06, joints),
        ):
            numbers = {"id": 2 * number + len(result), "type": kind}
            marker = Marker(header=head, ns=namespace, lifetime=lifetime, **numbers)
            marker.pose.orientation.w = 1.0
            marker.scale.x = marker.scale.y = marker.scale.z = size_m
            marker.points = [Point(x=p[0], y=p[1], z=p[2]) for p in points[chosen].tolist()]
            marker.colors = [colours[k] for k in chosen]
            marker.action = Marker.ADD if chosen else Marker.DELETE
            result.append(marker)
        return result

    # -- overlay image: the painter's thread -------------------------------------------------

    def _paint(self, stop: threading.Event) -> None:
        painter = None
        painted = None
        while not stop.wait(1.0 / self.values.overlay_rate_hz):
            pose = self._pose
            if pose is None or pose is painted or not self._overlays.get_subscription_count():
                continue
            if painter is None:
                painter = self._make_painter(pose[0])
            if painter is not None:
                self._overlays.publish(self._picture(painter, *pose))
                self.health.tick("overlay")
                painted = pose

    def _maps(self, message: msg.HumanPose2DArray) -> list[msg.RadarHeatmap | None]:
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        return [self._heatmaps[radar].nearest(stamp_ns) for radar in RADARS]

    def _make_painter(self, message: msg.HumanPose2DArray) -> Any:
        from radar_pose_ros import drawing  # matplotlib: 1 s to import, for those who look only

        maps = self._maps(message)
        there = [m for m in maps if m is not None]
        if not there:
            return None
        panels = [
            drawing.Panel(
                title=radar,
                axes=drawing.PolarAxes(
                    m.sin_angle_first, m.sin_angle_step, m.range_first_m, m.range_step_m
                ),
                shape=(m.angle_bins, m.range_bins),
                upright=radar == "radar_h",
            )
            # a radar that is missing: its dark panel is as large as the other's
            for radar, m in zip(RADARS, (m or there[0] for m in maps), strict=True)
        ]
        skeleton = self._skeleton(message.skeleton)
        size_px = message.image_width or projection.IMAGE_SIZE_PX
        return drawing.PoseFilm(panels, skeleton, size_px)

    def _picture(
        self, painter: Any, message: msg.HumanPose2DArray, person: np.ndarray | None
    ) -> Image:
        powers = []
        for heatmap in self._maps(message):
            known = heatmap is not None
            powers.append(power_db(convert.message_to_heatmap(heatmap)) if known else None)
        truth = self._truths.nearest(convert.to_nanoseconds(message.header.stamp))
        picture = painter.picture(
            powers,
            None if person is None else person[:, :2],
            None if person is None else person[:, 2],
            truth_px=None if truth is None else projection.project(truth),
            title=message.model,
        )
        return convert.image_to_message(picture, message.header)


def main() -> int:
    """Run the node."""
    return run(Visualizer)


if __name__ == "__main__":
    sys.exit(main())
