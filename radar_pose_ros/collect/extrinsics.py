"""Where the camera is in the rig's frame, from a walking person or from a corner reflector.

*Person.* The radars tell where on the floor somebody is; of the camera's keypoints, the middle of
the trunk is above that place, at one height that is estimated too, and the middle of the ankles is
`ANKLE_M` above the floor. The camera's place is where these points fall on their pixels.

*Reflector.* It is put to several places, one after the other, without anybody near. What returns
from it at one place, less what returns there while it is elsewhere, gives its range and both
angles; its pixels are the user's.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from radar_pose_ros.collect.bags import CameraTrack, Collected
from radar_pose_ros.collect.motion import FARTHEST_M, NEAREST_M, blocks, interpolate
from radar_pose_ros.collect.person import PersonTrack
from radar_pose_ros.radar.heatmap import HeatmapConfig, HeatmapProcessor, angle_transform
from radar_pose_ros.radar.waveform import sine_axis
from radar_pose_ros.skeleton import definitions
from radar_pose_ros.vision.camera import PinholeCamera
from radar_pose_ros.vision.frames import Placement

# All of these are choices.
ANKLE_M = 0.08
LEAST_FRAMES = 60
LEAST_SPAN_M, LEAST_SPAN_RAD = 0.8, 0.2  # of range and bearing, from the 10th to the 90th percent
LARGEST_RESIDUAL_RAD = 0.12  # median: beyond it the camera sees something else
LARGEST_SD_M, LARGEST_SD_RAD = 0.3, 0.05
_BLOCK_S = 5.0
_OUTLIER_RAD = 0.03
_LEAST_PLACES = 5
_LEAST_PLACES_TURN = 3  # where the camera's position is given
_ANGLES = 512
_CLEAR = 0.5  # of a reflector's power, within two bins of its peak
# From the rig's axes (x forward, y left, z up) to those of a camera that looks ahead.
_AHEAD = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
NAMES = ("x", "y", "z", "yaw", "pitch", "roll")


class ExtrinsicsError(ValueError):
    """A camera that cannot be placed: says why, and what would help."""


@dataclass(frozen=True)
class Placed:
    """A camera in the rig's frame, and how well it is known.

    Parameters
    ----------
    camera : PinholeCamera
        Its world is the rig's frame.
    sd : ndarray, shape (6,)
        Standard deviations of x, y, z (m) and of turns about the rig's z, y and x (rad), by
        leaving out a part of the observations at a time; 0 of what was given. What is wrong in
        the same way throughout, such as the direction of a board in its mount, is not in them.
    residual_px : float
        Root mean square over both coordinates.
    condition : float
        Of the problem, each unknown in its own unit: beyond some hundreds two unknowns can hardly
        be told apart.
    points_m : ndarray, shape (observations, points, 3)
    pixels : ndarray, shape (observations, points, 2)
    notes : tuple of str
        What is not observable, or was assumed.
    """

    camera: PinholeCamera
    sd: np.ndarray
    residual_px: float
    condition: float
    points_m: np.ndarray = field(repr=False)
    pixels: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def angles(self) -> np.ndarray:
        """Yaw, pitch and roll, rad, of the camera against one that looks along the rig's x."""
        return _angles(self.camera.rotation)


def _angles(rotation: np.ndarray) -> np.ndarray:
    # In the rig's axes: how the camera is turned from looking ahead.
    return Rotation.from_matrix(rotation.T @ _AHEAD).as_euler("ZYX")


def _camera(values: np.ndarray, lens: PinholeCamera, position: np.ndarray | None) -> PinholeCamera:
    turned = Rotation.from_euler("ZYX", values[:3]).as_matrix()
    return replace(
        lens,
        rotation=_AHEAD @ turned.T,
        position_m=values[3:6] if position is None else position,
    )


@dataclass(frozen=True)
class _Problem:
    """Pixels, and the points that belong to them; NaN is unknown.

    With ``free`` points' heights: those of the first point are one unknown of the problem.
    """

    points_m: np.ndarray  # (observations, points, 3)
    pixels: np.ndarray  # (observations, points, 2)
    blocks: np.ndarray  # (observations,)
    free_height: bool

    def points(self, values: np.ndarray) -> np.ndarray:
        if not self.free_height:
            return self.points_m
        points_m = self.points_m.copy()
        points_m[:, 0, 2] = values[-1]
        return points_m

    def without(self, block: int) -> _Problem:
        kept = self.blocks != block
        return replace(
            self,
            points_m=self.points_m[kept],
            pixels=self.pixels[kept],
            blocks=self.blocks[kept],
        )


def _solve(
    problem: _Problem, lens: PinholeCamera, position: np.ndarray | None, begin: np.ndarray
) -> Any:
    perfect = lens.with_perfect_lens
    wanted = lens.undistort(problem.pixels)
    known = np.isfinite(wanted)

    def residuals(values: np.ndarray) -> np.ndarray:
        camera = _camera(values, perfect, position)
        seen = camera.to_camera(problem.points(values))
        depth = np.maximum(seen[..., 2:], 0.1)  # what is behind is wrong enough then
        flat = seen[..., :2] / depth
        aim = (wanted - perfect.centre_px) / perfect.focal_px
        return (flat - aim)[known]

    return least_squares(residuals, begin, loss="soft_l1", f_scale=_OUTLIER_RAD)


def _place(
    problem: _Problem, lens: PinholeCamera, position: Sequence[float] | None, notes: list[str]
) -> Placed:
    given = None if position is None else np.asarray(position, np.float64)
    begin = np.zeros(3) if given is not None else np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    if problem.free_height:
        begin = np.append(begin, 1.0)
    solved = _solve(problem, lens, given, begin)
    camera = _camera(solved.x, lens, given)
    points_m = problem.points(solved.x)
    error_px = camera.project(points_m) - problem.pixels
    known = np.isfinite(problem.pixels).all(-1)
    off = np.linalg.norm(error_px[known], axis=-1) / np.mean(lens.focal_px)
    off = np.where(np.isnan(off), np.inf, off)
    if np.median(off) > LARGEST_RESIDUAL_RAD:
        raise ExtrinsicsError(
            f"what the radars see is {np.degrees(np.median(off)):.0f} degrees off what the camera "
            f"sees, median, want {np.degrees(LARGEST_RESIDUAL_RAD):.0f} or less: is it the same "
            "person, and is the lens that camera's?"
        )
    values = np.linalg.svd(solved.jac, compute_uv=False)
    condition = float(values[0] / values[-1]) if values[-1] > 0 else np.inf
    found = []
    numbers = np.unique(problem.blocks)
    for block in numbers:
        part = _solve(problem.without(block), lens, given, solved.x)
        other = _camera(part.x, lens, given)
        found.append([*other.position_m, *_turn(camera, other)])
    spread = np.array(found) - np.mean(found, axis=0)
    sd = np.sqrt((len(numbers) - 1) / len(numbers) * (spread**2).sum(axis=0))
    unsure = [
        f"{name}: {1e3 * value:.0f} mm"
        if name in "xyz"
        else f"{name}: {np.degrees(value):.1f} deg"
        for name, value in zip(NAMES, sd, strict=True)
        if value > (LARGEST_SD_M if name in "xyz" else LARGEST_SD_RAD)
    ]
    if unsure:
        raise ExtrinsicsError(
            f"the camera's place is not observable in this recording: standard deviations of "
            f"{', '.join(unsure)}; cover more of the room, or measure the camera's position with "
            "a tape and give it, --position"
        )
    finite = error_px[known][np.isfinite(error_px[known]).all(-1)]
    return Placed(
        camera=camera,
        sd=sd,
        residual_px=float(np.sqrt(np.mean(finite**2))),
        condition=condition,
        points_m=points_m,
        pixels=problem.pixels,
        notes=tuple(notes),
    )


def _turn(camera: PinholeCamera, other: PinholeCamera) -> np.ndarray:
    """Return the turn from one camera to another about the rig's z, y and x, rad."""
    return Rotation.from_matrix(other.rotation.T @ camera.rotation).as_rotvec()[::-1]


# -- a person ---------------------------------------------------------------------------------


def by_person(
    person: PersonTrack,
    track: CameraTrack,
    offset_s: float,
    lens: PinholeCamera,
    least_confidence: float,
    position: Sequence[float] | None = None,
) -> Placed:
    """Place the camera by a person who walks about.

    Parameters
    ----------
    person : PersonTrack
    track : CameraTrack
    offset_s : float
        By how much the camera's stamps are late.
    lens : PinholeCamera
        Its place does not matter.
    least_confidence : float
        Of joints that count.
    position : sequence of float, optional
        Of the camera in the rig's frame, m, measured otherwise.

    Raises
    ------
    ExtrinsicsError
        If the person was not seen by both, did not go about enough, or is another one.
    """
    joints = definitions.get(track.skeleton).joints
    middle = person.stamps_s + person.middle_s
    seen = interpolate(track.stamps_s, track.sure(least_confidence), middle + offset_s)
    trunk, ankles = (
        seen[:, [joints.index(f"{side}_{name}") for side in ("left", "right") for name in names]]
        for names in (("hip", "shoulder"), ("ankle",))
    )
    pixels = np.stack([trunk.mean(axis=1), ankles.mean(axis=1)], axis=1)
    usable = np.isfinite(person.floor_m).all(-1) & np.isfinite(pixels[:, 0]).all(-1)
    if usable.sum() < LEAST_FRAMES:
        raise ExtrinsicsError(
            f"{usable.sum()} frames in which radars and camera see a person who moves, want "
            f"{LEAST_FRAMES} or more: walk about, with hips and shoulders in the image"
        )
    with_feet = usable & np.isfinite(pixels[:, 1]).all(-1)
    if with_feet.sum() < LEAST_FRAMES:
        raise ExtrinsicsError(
            f"the ankles are in the image in {with_feet.sum()} frames, want {LEAST_FRAMES} or "
            "more: they tell the camera's height and pitch"
        )
    floor_m = person.floor_m[usable]
    notes = []
    for name, values, least, unit in (
        ("range", np.hypot(*floor_m.T), LEAST_SPAN_M, "m"),
        ("bearing", np.arctan2(floor_m[:, 1], floor_m[:, 0]), LEAST_SPAN_RAD, "rad"),
    ):
        span = float(np.subtract(*np.percentile(values, [90, 10])))
        if span < least:
            raise ExtrinsicsError(
                f"the person's {name} spans {span:.2f} {unit}, want {least:g} {unit} or more: "
                "walk to the near and far ends of the room, and from side to side"
            )
        notes.append(f"{name} spans {span:.2f} {unit}")
    zeros = np.zeros(len(floor_m))
    points_m = np.stack(
        [np.column_stack([floor_m, zeros]), np.column_stack([floor_m, zeros + ANKLE_M])], axis=1
    )
    numbers = blocks(middle[usable], _BLOCK_S)
    problem = _Problem(points_m, pixels[usable], numbers, free_height=True)
    return _place(problem, lens, position, notes)


# -- a reflector ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """When a reflector stood still, and where the camera saw it.

    Parameters
    ----------
    from_s, to_s : float
        After the first frame.
    pixel : (float, float)
    """

    from_s: float
    to_s: float
    pixel: tuple[float, float]


def read_spots(path: str | Path) -> list[Spot]:
    """Read a CSV file of lines ``from_s,to_s,u_px,v_px``; a first line of names is skipped.

    Raises
    ------
    ExtrinsicsError
        If a line is none.
    """
    spots: list[Spot] = []
    for number, row in enumerate(csv.reader(Path(path).read_text("utf-8").splitlines()), 1):
        if not row or (number == 1 and row[0].strip() == "from_s"):
            continue
        try:
            from_s, to_s, u, v = (float(cell) for cell in row)
        except ValueError:
            from_s = to_s = u = v = np.nan
        if not (0 <= from_s < to_s and np.isfinite((u, v)).all()):
            raise ExtrinsicsError(
                f"{path} line {number}: want from_s,to_s,u_px,v_px with 0 <= from_s < to_s, got "
                f"{','.join(row)!r}"
            )
        spots.append(Spot(from_s, to_s, (u, v)))
    return spots


def by_reflector(
    collected: Collected,
    spots: Sequence[Spot],
    lens: PinholeCamera,
    position: Sequence[float] | None = None,
) -> Placed:
    """Place the camera by a corner reflector at several places.

    Raises
    ------
    ExtrinsicsError
        If there are too few places, or the reflector does not stand out at one of them.
    """
    least = _LEAST_PLACES if position is None else _LEAST_PLACES_TURN
    if len(spots) < least:
        raise ExtrinsicsError(f"{len(spots)} places of the reflector, want {least} or more")
    points_m = reflector_points(collected, spots)
    pixels = np.array([[spot.pixel] for spot in spots], float)
    problem = _Problem(points_m[:, None], pixels, np.arange(len(spots)), free_height=False)
    return _place(problem, lens, position, [f"{len(spots)} places of the reflector"])


def reflector_points(collected: Collected, spots: Sequence[Spot]) -> np.ndarray:
    """Return where the reflector stood, shape (places, 3), in the rig's frame."""
    processors = [_static_processor(config) for config in collected.configs]
    sums: list[list[Any]] = [[0.0] * len(spots) for _ in processors]
    counts = np.zeros((len(processors), len(spots)), int)
    begin_s = None
    for frame in collected.frames():
        begin_s = frame.stamp_s if begin_s is None else begin_s
        after_s = frame.stamp_s - begin_s
        for number, spot in enumerate(spots):
            if frame.complete and spot.from_s <= after_s <= spot.to_s:
                processor = processors[frame.radar]
                sums[frame.radar][number] += processor.range_doppler(frame.samples)[:, 0]
                counts[frame.radar, number] += 1
    if not counts.all():
        number = int(np.argwhere(counts == 0)[0][1])
        raise ExtrinsicsError(
            f"no complete frame of a radar from {spots[number].from_s:g} to "
            f"{spots[number].to_s:g} s, where the reflector is said to stand"
        )
    measured = np.empty((len(spots), len(processors), 2))
    for radar, processor in enumerate(processors):
        static = np.array([total / n for total, n in zip(sums[radar], counts[radar], strict=True)])
        for number, spot in enumerate(spots):
            others = np.delete(static, number, axis=0)
            background = np.median(others.real, axis=0) + 1j * np.median(others.imag, axis=0)
            found = _strongest(processor, static[number] - background)
            if found is None:
                raise ExtrinsicsError(
                    f"from {spot.from_s:g} to {spot.to_s:g} s nothing stands out before radar "
                    f"{radar + 1} that is not there at other times: is the reflector turned to "
                    "the radars, and nobody near it?"
                )
            measured[number, radar] = found
    return np.array([_intersect(of_spot, collected.placements) for of_spot in measured])


def _static_processor(config: Any) -> HeatmapProcessor:
    axis_m = config.waveform.range_axis_m()
    kept = np.flatnonzero((axis_m >= NEAREST_M) & (axis_m <= FARTHEST_M))
    chain = HeatmapConfig(
        doppler_bins=1,
        range_first=int(kept[0]),
        range_bins=len(kept),
        chirps="central_doppler",
        clutter_removal=False,
        window="hann",
    )
    return HeatmapProcessor(config, chain)


def _strongest(processor: HeatmapProcessor, antennas: np.ndarray) -> tuple[float, float] | None:
    """Return range and sine of what is strongest in (antennas, range); None if many things are."""
    power = np.square(np.abs(antennas)).sum(axis=0)
    best = int(power.argmax())
    if not 0 < best < len(power) - 1:
        return None
    if power[max(best - 2, 0) : best + 3].sum() < _CLEAR * power.sum():
        return None
    ranges_m = processor.range_axis_m
    range_m = ranges_m[best] + _parabola(np.log(power[best - 1 : best + 2])) * (
        ranges_m[1] - ranges_m[0]
    )
    row = antennas[processor.array.azimuth_row, best]
    beam = np.square(np.abs(angle_transform(row[:, None, None], _ANGLES)))[:, 0, 0]
    peak = int(np.clip(beam.argmax(), 1, _ANGLES - 2))
    sine = sine_axis(_ANGLES)[peak] + _parabola(beam[peak - 1 : peak + 2]) * 2 / _ANGLES
    return float(range_m), float(sine)


def _parabola(three: np.ndarray) -> float:
    before, here, after = three
    bend = before - 2 * here + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0


def _intersect(measured: np.ndarray, placements: Sequence[Placement]) -> np.ndarray:
    """Return the point with these ranges and sines, (radars, 2), in the rig's frame."""

    def residuals(point: np.ndarray) -> np.ndarray:
        off = []
        for (range_m, sine), where in zip(measured, placements, strict=True):
            local = where.rotation.T @ (point - where.translation_m)
            distance = np.linalg.norm(local)
            off += [distance - range_m, range_m * (local[1] / distance - sine)]
        return np.array(off)

    first = placements[0]
    ahead = first.rotation @ [measured[0, 0], 0.0, 0.0] + first.translation_m
    return np.asarray(least_squares(residuals, ahead).x)


# -- what is told -------------------------------------------------------------------------------


def table(placed: Placed) -> str:
    """Return the camera's place as lines of text."""
    lines = ["in the rig's frame (x forward, y left, z up; turns from looking ahead):"]
    values = [*placed.camera.position_m, *np.degrees(placed.angles)]
    spreads = [*placed.sd[:3], *np.degrees(placed.sd[3:])]
    for number, (name, value, sd) in enumerate(zip(NAMES, values, spreads, strict=True)):
        unit, digits = ("m  ", 3) if number < 3 else ("deg", 2)
        known = f"sd {sd:.{digits}f}" if sd > 1e-9 else "given"
        lines.append(f"  {name:<5} {value:+8.{digits}f} {unit}  {known}")
    lines.append(
        f"  residual {placed.residual_px:.1f} px (root mean square) over {len(placed.pixels)} "
        f"observations; condition {placed.condition:.0f}; {'; '.join(placed.notes)}"
    )
    return "\n".join(lines)


def static_transform(camera: PinholeCamera, frame_id: str) -> str:
    """Return the command with which ROS publishes where the camera is."""
    x, y, z, w = Rotation.from_matrix(camera.rotation.T).as_quat()
    px, py, pz = camera.position_m
    return (
        f"ros2 run tf2_ros static_transform_publisher --x {px:.4f} --y {py:.4f} --z {pz:.4f} "
        f"--qx {x:.5f} --qy {y:.5f} --qz {z:.5f} --qw {w:.5f} --frame-id radar_rig "
        f"--child-frame-id {frame_id}"
    )


def draw(placed: Placed, path: str | Path) -> None:
    """Draw pixels and where the radars' points fall in the image, and the room from above."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(12.0, 5.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(made)
    image, above = made.subplots(1, 2)
    projected = placed.camera.project(placed.points_m)
    for name, points, colour, marker in (
        ("camera", placed.pixels, "#D55E00", "o"),
        ("radars, reprojected", projected, "#0072B2", "x"),
    ):
        image.plot(*points.reshape(-1, 2).T, marker, color=colour, markersize=3, label=name)
    for pixel, point in zip(placed.pixels.reshape(-1, 2), projected.reshape(-1, 2), strict=True):
        image.plot(*zip(pixel, point, strict=True), color="#999999", linewidth=0.4, zorder=0)
    width, height = placed.camera.size_px
    image.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="px", ylabel="px")
    image.set_title(f"residual {placed.residual_px:.1f} px", fontsize=9)
    image.legend(fontsize=8)
    above.plot(-placed.points_m[:, 0, 1], placed.points_m[:, 0, 0], "x", color="#0072B2")
    x, y, _ = placed.camera.position_m
    look = placed.camera.rotation[2]
    above.arrow(-y, x, -0.4 * look[1], 0.4 * look[0], width=0.02, color="#D55E00")
    above.plot(0, 0, "s", color="black")
    above.set(aspect="equal", xlabel="to the right of the rig, m", ylabel="ahead, m")
    above.set_title("from above: radars black, camera orange", fontsize=9)
    above.grid(linewidth=0.3)
    canvas.draw()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, format="png")
