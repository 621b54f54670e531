"""Node visualizer: markers and overlay images of what the other nodes see."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from radar_pose_ros import msg
from radar_pose_ros.nodes import convert, heatmap_transport, markers
from radar_pose_ros.nodes.base import LATCHED, RELIABLE, SENSOR_DATA, SKELETONS, ManagedNode, run
from radar_pose_ros.nodes.markers import ESTIMATED, LIFTED, REFINED, REFINED_LIFTED, TRUTH, Kind
from radar_pose_ros.nodes.memory import MOST_SKELETONS, Memory, Recent
from radar_pose_ros.nodes.people import Person
from radar_pose_ros.nodes.transforms import RIG_FRAME
from radar_pose_ros.nodes.view_names import view_names
from radar_pose_ros.preview import power_db
from radar_pose_ros.radar.field_of_view import FieldOfView
from radar_pose_ros.skeleton import projection
from radar_pose_ros.skeleton.definitions import Skeleton

RADARS = ("radar_h", "radar_v")
FIELDS = {  # colours of fields of view
    "radar_config": markers.SKY_BLUE,
    "radar_h/radar_config": markers.SKY_BLUE,
    "radar_v/radar_config": markers.PURPLE,
}
SENSORS_PERIOD_S = 1.0  # what sensors see is told again, for those who look since
SENSORS_LIFETIME_S = 3.0
HEARTS_KEPT_S = 5.0
LONGEST_TITLE = 100  # characters
UNDRAWN = "pictures that cannot be drawn"


class Visualizer(ManagedNode):
    """Draws poses, the truth, what sensors see and how hearts beat; see docs/nodes.md."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("visualizer", **node_arguments)
        self._skeletons: Recent[Skeleton] = Recent(MOST_SKELETONS)

    def configure(self) -> None:
        """Create publishers."""
        self._views = view_names(self.values.views)
        self._markers = self.create_publisher(MarkerArray, "markers", RELIABLE)
        self._overlays = self.create_publisher(Image, "overlay", RELIABLE)

    def activate(self) -> None:
        """Start listening and drawing."""
        self._truths = Memory()
        self._panels: dict[str, Any] = {}  # of the overlay, by radar
        self._heatmaps = {radar: Memory() for radar in RADARS}
        self._pose: tuple[msg.HumanPose2DArray, np.ndarray | None] | None = None
        self._shown = markers.Shown()
        self._hearts = markers.Hearts(HEARTS_KEPT_S, self.values.heart_rate_frame)
        self._sensors = markers.Sensors(SENSORS_LIFETIME_S)
        self.health.watch("input", self.values.input_timeout_s)
        for name in ("poses", "overlay"):
            self.health.watch(name)
        self.subscribe(msg.SkeletonDefinition, "skeleton", SKELETONS, self._take_skeleton)
        self.subscribe(msg.HumanPose2DArray, "pose2d", SENSOR_DATA, self._take_pose)
        self.subscribe(
            msg.HumanPose2DArray, "refined/pose2d", SENSOR_DATA, partial(self._draw, REFINED)
        )
        for topic, kind in (("pose3d", LIFTED), ("refined/pose3d", REFINED_LIFTED)):
            take = partial(self._draw_in_space, kind)
            self.subscribe(msg.HumanPose3DArray, topic, SENSOR_DATA, take)
        self.subscribe(msg.HumanPose3DArray, TRUTH.name, SENSOR_DATA, self._take_truth)
        self.subscribe(msg.HeartRate, "heart_rate", SENSOR_DATA, self._take_heart_rate)
        self._listen_to_sensors()
        self.start_worker("painter", self._paint)
        self.start_worker("sensors", self._show_sensors)

    def _listen_to_sensors(self) -> None:
        for radar in RADARS:
            heatmap_transport.subscribe(self, radar, partial(self._take_map, radar))
        for topic in FIELDS:
            self.subscribe(msg.RadarConfig, topic, LATCHED, partial(self._take_config, topic))
        for view in self._views:
            topic = f"{view}/camera_info"
            self.subscribe(CameraInfo, topic, SENSOR_DATA, partial(self._take_camera, topic))

    def cleanup(self) -> None:
        """Take the publishers away."""
        self.drop_publishers("_markers", "_overlays")

    # -- poses -------------------------------------------------------------------------------

    def _take_skeleton(self, message: msg.SkeletonDefinition) -> None:
        self._skeletons.put(message.name, convert.message_to_skeleton(message))

    def _skeleton(self, name: str) -> Skeleton:
        skeleton = self._skeletons.get(name)
        if skeleton is None:
            raise convert.InvalidMessageError("skeleton not defined yet", f"{name!r}")
        return skeleton

    def _take_pose(self, message: msg.HumanPose2DArray) -> None:
        people = self._draw(ESTIMATED, message)
        self._tick()
        first = [np.column_stack([p.keypoints, p.joint_confidence]) for p in people[:1]]
        self._pose = message, first[0] if first else None

    def _take_truth(self, message: msg.HumanPose3DArray) -> None:
        people = self._draw_in_space(TRUTH, message)
        if people:
            self._truths.add(convert.to_nanoseconds(message.header.stamp), people[0].keypoints)

    def _tick(self) -> None:
        for name in ("poses", "input"):  # which hearts are, too
            self.health.tick(name)

    def _draw(self, kind: Kind, message: msg.HumanPose2DArray) -> list[Person]:
        """Publish the markers of all people in the image plane, and return them."""
        skeleton = self._skeleton(message.skeleton)
        people = convert.message_to_people(message, len(skeleton.joints))
        head = Header(stamp=message.header.stamp, frame_id=RIG_FRAME)
        distance_m = self.values.distance_m
        on_plane = [
            replace(person, keypoints=projection.unproject(person.keypoints, distance_m))
            for person in people
        ]
        self._publish(kind, head, skeleton, on_plane)
        return people

    def _draw_in_space(self, kind: Kind, message: msg.HumanPose3DArray) -> list[Person]:
        """Publish the markers of all people whose place is known, and return these."""
        skeleton = self._skeleton(message.skeleton)
        people = convert.message_to_people(message, len(skeleton.joints))
        covariances = convert.message_to_covariances(message)
        placed = [
            replace(person, covariance=covariance)
            for person, covariance in zip(people, covariances, strict=True)
            if not person.root_relative
        ]
        self._publish(kind, message.header, skeleton, placed)
        if kind is LIFTED:
            self._tick()
        return placed

    def _publish(
        self, kind: Kind, head: Header, skeleton: Skeleton, people: Sequence[Person]
    ) -> None:
        v = self.values
        drawn = []
        for number, person in enumerate(people):
            unsure = person.joint_confidence < v.min_confidence  # False where it is not stated
            keypoints = np.where(unsure[:, None], np.nan, person.keypoints)
            person = replace(person, keypoints=keypoints)
            drawn += markers.bones(head, kind, number, skeleton, person, v.lifetime_s)
            if kind is not TRUTH:
                drawn += markers.label(head, kind, number, person, v.lifetime_s)
                drawn += markers.ellipsoids(
                    head, kind, number, person, v.ellipsoid_level, v.lifetime_s
                )
        self._markers.publish(self._shown.array(kind.name, drawn))

    # -- hearts and sensors ------------------------------------------------------------------

    def _take_heart_rate(self, message: msg.HeartRate) -> None:
        convert.check_heart_rate(message)
        text = self._hearts.take(message)
        self._markers.publish(self._shown.array(markers.HEART_RATES, [text]))
        self.health.tick("input")

    def _take_config(self, topic: str, message: msg.RadarConfig) -> None:
        seen = FieldOfView.of(convert.message_to_config(message))
        self._sensors.take_radar(topic, message.header.frame_id, seen, FIELDS[topic])

    def _take_camera(self, topic: str, message: CameraInfo) -> None:
        lens = convert.message_to_camera(message)
        self._sensors.take_camera(topic, message.header.frame_id, lens)

    def _show_sensors(self, stop: threading.Event) -> None:
        while not stop.wait(SENSORS_PERIOD_S):
            self._markers.publish(self._shown.array("sensors", self._sensors.markers()))

    def _take_map(self, radar: str, message: msg.RadarHeatmap) -> None:
        convert.message_to_heatmap(message)  # what cannot be drawn is refused here, and counted
        convert.check_axes(message)
        self._heatmaps[radar].add(convert.to_nanoseconds(message.header.stamp), message)

    # -- overlay image: the painter's thread -------------------------------------------------

    def _paint(self, stop: threading.Event) -> None:
        painter = drawn = painted = None
        while not stop.wait(1.0 / self.values.overlay_rate_hz):
            pose = self._pose
            if pose is None or pose is painted or not self._overlays.get_subscription_count():
                continue
            painted = pose
            try:
                maps = self._maps(pose[0])
                panels = self._panels_of(maps)
                if not panels:
                    continue
                skeleton = self._skeleton(pose[0].skeleton)
                size_px = pose[0].image_width or projection.IMAGE_SIZE_PX
                what = (panels, skeleton.joints, skeleton.edges, skeleton.left_right, size_px)
                if what != drawn:  # what was drawn before had another shape
                    painter, drawn = self._make_painter(panels, skeleton, size_px), what
                self._overlays.publish(self._picture(painter, maps, *pose))
                self.health.tick("overlay")
            except ValueError as error:
                self.health.drop(UNDRAWN)
                self.get_logger().warning(f"{UNDRAWN}: {error}", throttle_duration_sec=5.0)

    def _maps(self, message: msg.HumanPose2DArray) -> dict[str, msg.RadarHeatmap | None]:
        stamp_ns = convert.to_nanoseconds(message.header.stamp)
        return {radar: self._heatmaps[radar].nearest(stamp_ns) for radar in RADARS}

    def _panels_of(self, maps: Mapping[str, msg.RadarHeatmap | None]) -> list[Any]:
        """Return what each radar's panel is like; none as long as there are no heatmaps."""
        from radar_pose_ros import drawing  # matplotlib: 1 s to import, for those who look only

        for radar, m in maps.items():
            if m is not None:
                axes = (m.sin_angle_first, m.sin_angle_step, m.range_first_m, m.range_step_m)
                self._panels[radar] = drawing.Panel(
                    radar, drawing.PolarAxes(*axes), (m.angle_bins, m.range_bins)
                )
        known = list(self._panels.values())
        # a radar that is missing: its dark panel is as large as the other's
        return [
            replace(self._panels.get(radar, known[0]), title=radar, upright=radar == "radar_h")
            for radar in (RADARS if known else ())
        ]

    @staticmethod
    def _make_painter(panels: Sequence[Any], skeleton: Skeleton, size_px: int) -> Any:
        from radar_pose_ros import drawing

        return drawing.PoseFilm(panels, skeleton, size_px)

    def _picture(
        self,
        painter: Any,
        maps: Mapping[str, msg.RadarHeatmap | None],
        message: msg.HumanPose2DArray,
        person: np.ndarray | None,
    ) -> Image:
        powers = [
            None if heatmap is None else power_db(convert.message_to_heatmap(heatmap))
            for heatmap in maps.values()
        ]
        truth = self._truths.nearest(convert.to_nanoseconds(message.header.stamp))
        picture = painter.picture(
            powers,
            None if person is None else person[:, :2],
            None if person is None else person[:, 2],
            truth_px=None if truth is None else projection.project(truth),
            title=message.model[:LONGEST_TITLE],
        )
        return convert.image_to_message(picture, message.header)


def main() -> int:
    """Run the node."""
    return run(Visualizer)


if __name__ == "__main__":
    sys.exit(main())
