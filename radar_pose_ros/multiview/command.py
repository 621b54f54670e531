"""Carries out ``radar-pose multiview`` and writes its results.

The cameras need not have fired together, if their frames' times are on one clock. What is read is
in `inputs`, what is drawn in `pictures`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radar_pose_ros import drawing, measurements
from radar_pose_ros.datasets import pose2sim
from radar_pose_ros.datasets.multiview import MultiViewRecording, ViewShots
from radar_pose_ros.models import detectors, weights
from radar_pose_ros.models.multiview import DenseWarperMethod
from radar_pose_ros.multiview import inputs, offsets, pictures
from radar_pose_ros.multiview.inputs import Footage
from radar_pose_ros.multiview.times import apart, read_offsets
from radar_pose_ros.skeleton import definitions, mapping
from radar_pose_ros.skeleton.definitions import H36M17
from radar_pose_ros.vision import calibration_files, comparators
from radar_pose_ros.vision.agreement import SHOTS, Agreement, stature_m
from radar_pose_ros.vision.camera_names import pair
from radar_pose_ros.vision.comparators import Method, Poses
from radar_pose_ros.vision.windows import aligned

DENSEWARPER = "densewarper"
SHIPPED = "light"
METHODS: dict[str, Method] = {
    "linear": comparators.linear,
    "hold_last": comparators.hold_last,
    "slerp": comparators.slerp,
    "aligned": aligned,
    "synchronous": comparators.synchronous,
}
CSV_COLUMNS = ("stamp_s", "joint", "x_m", "y_m", "z_m", "sd_m", "views", "error_px")
# Poses per second beside which times are likely to be in another unit; shares of a camera's
# keypoints that may lie outside of its image, and that may be left out, without a word [choice].
_USUAL_HZ = (1.0, 2000.0)
_OUTSIDE, _LEFT_OUT = 0.1, 0.4
# Steps of time that differ by more from their median, relatively, are said to be uneven [choice].
_EVEN = 0.05


@dataclass(frozen=True)
class Options:
    """What to make poses of, and how.

    Parameters
    ----------
    folder : str
        See `inputs`.
    out : str
        Folder to write to.
    calibration : str
        File or folder; by default `inputs.find_calibration`.
    detector : str
        A file, see `models.detectors`; by default the keypoints that are there.
    skeleton : str
        Whose joints the detector, or the keypoints, give, if they do not say it.
    method : str
        `DENSEWARPER` or one of `METHODS`; by default DenseWarper if its weights are given, else
        "linear", which knows each view's next shot.
    weights : str
        Of DenseWarper; by default those of the preset `SHIPPED`.
    offsets : sequence of str
        See `times.read_offsets`.
    rate_hz : float, optional
        Frames per second, where neither video nor file says it.
    unit_m : float
        Length in metres of what the calibration counts in, 0.001 for millimetres.
    find_offsets : bool
        Whether to look for the cameras' offsets, near those that are given; see `offsets`.
    overlay : bool
        Whether to write ``overlay.mp4``.
    """

    folder: str
    out: str
    calibration: str = ""
    detector: str = ""
    skeleton: str = ""
    method: str = ""
    weights: str = ""
    offsets: Sequence[str] = ()
    rate_hz: float | None = None
    unit_m: float = 1.0
    find_offsets: bool = False
    overlay: bool = True


@dataclass(frozen=True)
class Outcome:
    """What was made.

    Attributes
    ----------
    recording : MultiViewRecording
        What the poses were made of, in their skeleton.
    poses : Poses
    method : str
    source : str
        Where the keypoints were from.
    notes : list of str
        What was missing, a sentence each.
    offsets_s : dict of str to float
        By the camera's name, those that were given and found; empty if none were looked for.
    """

    recording: MultiViewRecording
    poses: Poses = field(repr=False)
    method: str
    source: str
    notes: list[str]
    offsets_s: dict[str, float] = field(default_factory=dict)

    @property
    def known(self) -> float:
        """Share of the joints that are known, over all poses."""
        found = np.isfinite(self.poses.joints_m).all(-1)
        return float(found.mean()) if found.size else 0.0

    @property
    def rate_hz(self) -> float:
        """Poses per second, on the mean; 1 for a single pose."""
        stamps = self.poses.stamps_s
        return float((len(stamps) - 1) / (stamps[-1] - stamps[0])) if len(stamps) > 1 else 1.0

    @property
    def height_m(self) -> float:
        """How tall the person is, from the ankles to the crown; NaN if that is not known."""
        skeleton = self.recording.skeleton
        if not _convertible(skeleton, H36M17.name):
            return float("nan")
        return stature_m(mapping.convert(self.poses.joints_m, skeleton, H36M17.name))

    def errors_px(self, view: int) -> np.ndarray:
        """Return the reprojection errors of a view's keypoints that were used, (any,)."""
        errors = self.poses.errors_px[:, view][self.poses.used[:, view]]
        return np.asarray(errors[np.isfinite(errors)])

    def left_out(self, view: int) -> float:
        """Return the share of a view's keypoints that other views outvoted."""
        seen = np.isfinite(self.poses.errors_px[:, view])
        return float(1 - self.poses.used[:, view][seen].mean()) if seen.any() else 0.0


def run(options: Options, progress: Callable[[str], None] = print) -> Outcome:
    """Make poses and write them.

    Parameters
    ----------
    options : Options
    progress : callable
        Is told, a line each, what has been done of what takes long.

    Raises
    ------
    ValueError
        If something in the folder is missing or cannot be read, or does not belong together. Then
        nothing is written.
    """
    folder = Path(options.folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    if options.weights and options.method not in ("", DENSEWARPER):
        raise ValueError(f"--weights are for --method {DENSEWARPER}, not for {options.method}")
    videos = inputs.find_videos(folder)
    calibration = Path(options.calibration or inputs.find_calibration(folder))
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: want a folder to write to, this is a file")
    detector = None
    if options.detector:
        if not videos:
            allowed = ", ".join(inputs.VIDEOS)
            raise ValueError(f"{folder}: no video ({allowed}) in it for --detector to look at")
        # what is wrong with these is better said before the work
        pair(list(videos), calibration_files.read(calibration), str(calibration))
        detector = detectors.load(options.detector, options.skeleton)
        read_offsets(options.offsets, list(videos))
        source = f"detector {Path(options.detector).name}"
        name = detector.settings.skeleton
        method, method_name, learnt = _method(options.method, options.weights, name)
        tracks = inputs.detect_tracks(videos, detector, name, source, progress)
    else:
        tracks = inputs.read_tracks(folder, videos, options.skeleton)
        method, method_name, learnt = _method(options.method, options.weights, tracks.skeleton)
    footage = inputs.footage(
        folder, tracks, videos, calibration, options.offsets, options.rate_hz, options.unit_m
    )
    if options.find_offsets:
        footage = inputs.later(footage, offsets.find(footage.recording.views))
    offsets_s = footage.offsets_s if options.find_offsets else {}
    if method_name == "synchronous":
        footage = inputs.together(footage)
    recording = footage.recording.converted(learnt)
    outcome = Outcome(
        recording, method(recording), method_name, footage.source, list(footage.notes), offsets_s
    )
    outcome.notes.extend(_remarks(outcome, footage, options.overlay))
    out.mkdir(parents=True, exist_ok=True)
    if detector is not None:
        (out / "keypoints").mkdir(exist_ok=True)
        for name, track in tracks.by_name.items():
            inputs.write_track(out / "keypoints" / f"{name}.npz", track, tracks.skeleton)
    write(outcome, out)
    if options.overlay:
        given = footage.frames, footage.videos, outcome.poses
        try:
            pictures.write_film(out / "overlay.mp4", *pictures.film(recording, *given))
        except KeyboardInterrupt:
            progress(f"{out}: all is written but overlay.mp4, which was cut off and is not kept")
            raise
    return outcome


def _method(name: str, weights_name: str, skeleton: str) -> tuple[Method, str, str]:
    """Return the method that is meant, its name, and the skeleton in which it wants joints."""
    name = name or (DENSEWARPER if weights_name else "linear")
    if name != DENSEWARPER:
        if name not in METHODS:
            allowed = ", ".join((DENSEWARPER, *METHODS))
            raise ValueError(f"method must be one of {allowed}, got {name!r}")
        return METHODS[name], name, skeleton
    network, entry = weights.network(weights_name or SHIPPED, DENSEWARPER)
    learnt = _learnt(entry)
    definitions.get(learnt)
    if not _convertible(skeleton, learnt):
        raise ValueError(
            f"{weights_name}: this {DENSEWARPER} knows the joints of {learnt}, which cannot be "
            f"made of {skeleton}: take another --method, such as linear"
        )
    return DenseWarperMethod(network), DENSEWARPER, learnt


def _learnt(entry: dict[str, Any]) -> str:
    return str(entry.get("poses", {}).get("skeleton", H36M17.name))


def _convertible(source: str, target: str) -> bool:
    try:
        mapping.formulas(source, target)
    except ValueError:
        return False
    return True


def _remarks(outcome: Outcome, footage: Footage, overlay: bool) -> list[str]:
    """Return sentences on what is odd about the poses, and about what they are drawn on."""
    found = []
    views = outcome.recording.views
    if overlay and not footage.videos:
        found.append("no videos: the overlay is drawn on empty images")
    if why := apart(views):
        found.append(f"the cameras never saw the person together: {why}")
    stamps = outcome.poses.stamps_s
    steps = np.diff(stamps)
    if len(steps) and (abs(steps - np.median(steps)) > _EVEN * np.median(steps)).any():
        found.append(
            f"the poses' times are uneven, {1e3 * steps.min():.1f} to {1e3 * steps.max():.1f} ms "
            "apart; poses.trc lists them as they are"
        )
    if len(steps) and not _USUAL_HZ[0] <= outcome.rate_hz <= _USUAL_HZ[1]:
        found.append(f"{outcome.rate_hz:.3g} poses per second: are times given in seconds?")
    for number, view in enumerate(views):
        found += _odd_view(outcome, number, view)
    if not outcome.known:
        found.append("no joint is known in any pose")
    elif not np.isfinite(outcome.height_m):
        found.append(
            "how tall the person is cannot be told: joints are missing, or bones change their "
            "lengths too much. The calibration's unit was not checked"
        )
    elif warning := calibration_files.check_scale(outcome.height_m):
        found.append(f"{warning} (--unit-m)")
    doubt = "" if outcome.offsets_s else offsets.doubt(views, footage.offsets_s)
    return [*found, *([doubt] if doubt else []), *_disagreement(outcome)]


def _odd_view(outcome: Outcome, number: int, view: ViewShots) -> Iterator[str]:
    """Yield what does not fit about one view."""
    known = view.confidence > 0
    infinite = np.isinf(view.keypoints_px[known]).any(-1)
    if infinite.any():
        share = f"{infinite.mean():.0%} of its keypoints"
        yield f"{view.name}: {share} are infinite: they count as unknown"
    known &= np.isfinite(view.keypoints_px).all(-1)
    size = np.asarray(view.camera.size_px)
    inside = (view.keypoints_px >= 0) & (view.keypoints_px <= size)
    outside = ~inside[known].all(-1)
    if outside.size and outside.mean() > _OUTSIDE:
        yield (
            f"{view.name}: {outside.mean():.0%} of its keypoints lie outside of an image of "
            f"{size[0]} x {size[1]} px: is the calibration for another size?"
        )
    if outcome.left_out(number) > _LEFT_OUT:
        yield (
            f"{view.name}: {outcome.left_out(number):.0%} of its keypoints were left out, as the "
            "other cameras do not agree with them: is it this camera's calibration, or its clock?"
        )


def _disagreement(outcome: Outcome) -> list[str]:
    """Return what `Agreement` complains of in any part of the recording, as one sentence."""
    skeleton = outcome.recording.skeleton
    if not _convertible(skeleton, H36M17.name):
        return []
    recording = outcome.recording.converted(H36M17.name)
    joints_m = mapping.convert(outcome.poses.joints_m, skeleton, H36M17.name)
    windows = list(comparators.windows_of(recording))
    names, cameras = [view.name for view in recording.views], recording.cameras
    parts = np.array_split(np.arange(len(windows)), max(1, len(windows) // (SHOTS * len(names))))
    said = []
    for part in parts:
        agreement = Agreement(names)
        for row in part:
            if np.isfinite(joints_m[row]).any():
                errors_px = outcome.poses.errors_px[row]
                agreement.add(windows[row], joints_m[row], errors_px, cameras)
        said.append(agreement.complaint())
    complaints = [sentence for sentence in said if sentence]
    if not complaints:
        return []
    where = "" if len(parts) == 1 else f" (so in {len(complaints)} of {len(parts)} parts)"
    return [f"{complaints[0]}{where}"]


def write(outcome: Outcome, out: Path) -> None:
    """Write ``poses.csv``, ``poses.trc``, ``poses.npz`` and ``poses.png`` to a folder."""
    recording, poses = outcome.recording, outcome.poses
    skeleton = definitions.get(recording.skeleton)
    write_table(out / "poses.csv", recording.skeleton, poses)
    pose2sim.write_trc(
        out / "poses.trc",
        pose2sim.marker_names(skeleton),
        pose2sim.to_trc_axes(poses.joints_m),
        outcome.rate_hz,
        times_s=poses.stamps_s,
    )
    np.savez_compressed(
        out / "poses.npz",
        stamps_s=poses.stamps_s,
        joints_m=poses.joints_m,
        covariance_m2=poses.covariance_m2,
        errors_px=poses.errors_px,
        used=poses.used,
        skeleton=np.array(recording.skeleton),
        joints=np.array(skeleton.joints),
        cameras=np.array([view.name for view in recording.views]),
        method=np.array(outcome.method),
    )
    title = f"{recording.name}: {recording.skeleton}, {outcome.method}"
    drawing.write_png(out / "poses.png", pictures.figure(recording, poses, title))


def write_table(path: Path, skeleton: str, poses: Poses) -> None:
    """Write poses as a table with a line per joint and pose, `CSV_COLUMNS`.

    "sd_m" is the root of the covariance's trace, "views" by how many cameras a joint was placed,
    "error_px" the root mean square of their reprojection errors. What is not known is empty.
    """
    spread_m = np.sqrt(np.trace(poses.covariance_m2, axis1=-2, axis2=-1))
    count = poses.used.sum(1)
    squares = np.where(poses.used & np.isfinite(poses.errors_px), poses.errors_px, 0.0) ** 2
    errors = np.sqrt(squares.sum(1) / np.where(count > 0, count, np.nan))
    errors = np.where(np.isfinite(poses.errors_px).any(1), errors, np.nan)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for row, stamp in enumerate(poses.stamps_s):
            for joint, name in enumerate(definitions.get(skeleton).joints):
                place = [_text(value, 6) for value in poses.joints_m[row, joint]]
                spread = _text(spread_m[row, joint], 6)
                error = _text(errors[row, joint], 3)
                writer.writerow([f"{stamp:.6f}", name, *place, spread, count[row, joint], error])


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def table(outcome: Outcome) -> str:
    """Return what was made as lines of text."""
    recording, stamps = outcome.recording, outcome.poses.stamps_s
    entries = {
        "keypoints": f"{outcome.source}, {recording.skeleton}",
        "method": outcome.method,
        "poses": f"{len(stamps)}, {outcome.rate_hz:.1f} per second, "
        f"from {stamps[0]:.3f} to {stamps[-1]:.3f} s",
        "joints known": f"{100 * outcome.known:.1f} %",
    }
    for number, view in enumerate(recording.views):
        errors = outcome.errors_px(number)
        said = "no keypoint was used"
        if len(errors):
            middle, most = np.percentile(errors, (50, 90))
            said = f"off by {middle:.1f} px in the middle, 90 % by less than {most:.1f} px"
            said += f"; {100 * outcome.left_out(number):.1f} % of its keypoints left out"
        entries[view.name] = f"{len(view.stamps_s)} frames, {said}"
    if outcome.offsets_s:
        pairs = (f"{name}={offset_s:.4f}" for name, offset_s in outcome.offsets_s.items())
        entries["offsets"] = f"{' '.join(pairs)} s"
    if np.isfinite(outcome.height_m):
        entries["height"] = f"{outcome.height_m:.2f} m, ankles to crown"
    width = max(map(len, entries))
    lines = [f"{recording.name}:"]
    lines += [f"  {entry:<{width}}  {value}" for entry, value in entries.items()]
    return "\n".join([*lines, *(f"note: {note}" for note in outcome.notes)])


def results(outcome: Outcome) -> list[dict[str, Any]]:
    """Return rows of results."""
    rows = [
        measurements.result("multiview.poses", len(outcome.poses.stamps_s), "poses"),
        measurements.result("multiview.rate_hz", outcome.rate_hz, "1/s"),
        measurements.result("multiview.known", outcome.known, "", None, "joints of all poses"),
    ]
    if np.isfinite(outcome.height_m):
        rows.append(
            measurements.result(
                "multiview.height_m", outcome.height_m, "m", None, "ankles to crown"
            )
        )
    for number, view in enumerate(outcome.recording.views):
        errors = outcome.errors_px(number)
        if len(errors):
            name = f"multiview.{view.name}.error_px"
            rows.append(measurements.result(name, float(np.median(errors)), "px", None, "median"))
    for name, offset_s in outcome.offsets_s.items():
        rows.append(measurements.result(f"multiview.{name}.offset_s", offset_s, "s"))
    return rows
