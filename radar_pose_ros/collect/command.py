"""The command ``radar-pose collect``: from a recording of radars and a camera to a data set.

Imports nothing heavy until one of its actions runs.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radar_pose_ros.collect.bags import CameraTrack, Collected
    from radar_pose_ros.collect.motion import RadarMotion
    from radar_pose_ros.vision.camera import PinholeCamera

_CAMERA = "camera"
_POSES = f"{_CAMERA}/pose2d"
_LEAST_CONFIDENCE = 0.3
_REFUSED = 1


def _finite(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"want a number, got {text!r}")


def _above_0(text: str) -> float:
    value = _finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text!r}")
    return value


def _share(text: str) -> float:
    value = _finite(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"want a number from 0 to 1, got {text!r}")
    return value


def _position(text: str) -> tuple[float, float, float]:
    with contextlib.suppress(ValueError):
        x, y, z = (float(part) for part in text.split(","))
        if all(map(math.isfinite, (x, y, z))):
            return x, y, z
    raise argparse.ArgumentTypeError(f"want X,Y,Z in metres, got {text!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (summary, add, _) in _ACTIONS.items():
        of_action = actions.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "."
        )
        add(of_action)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; 0, or 1 if its answer is no."""
    return _ACTIONS[arguments.action][2](arguments)


def _add_poses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--poses",
        default=_POSES,
        metavar="TOPIC",
        help=f"HumanPose2DArray of the camera (default {_POSES}, in any namespace)",
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    _add_poses(parser)
    parser.add_argument(
        "--least-confidence",
        type=_share,
        default=_LEAST_CONFIDENCE,
        metavar="C",
        help=f"a joint of lower confidence is not known (default {_LEAST_CONFIDENCE:g})",
    )


def _add_offset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offset",
        type=_finite,
        metavar="S",
        help="seconds by which the camera's stamps are late (default: estimated, as by `align`)",
    )


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="BAG", help="folder to make")
    parser.add_argument(
        "--seconds", type=_above_0, default=math.inf, help="length (default: until Ctrl-C)"
    )
    parser.add_argument("--images", action="store_true", help="record the camera's images, too")
    parser.add_argument(
        "--detector",
        default="",
        metavar="FILE",
        help="start a camera and this detector of keypoints, .onnx with a YAML file beside it, in "
        f"the namespace {_CAMERA} (default: other nodes publish the poses)",
    )
    parser.add_argument(
        "--source",
        default="/dev/video0",
        metavar="CAMERA",
        help="camera for --detector (default /dev/video0)",
    )
    _add_poses(parser)


def _add_align(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", nargs="+", metavar="BAG", help="recordings with the same clocks")
    _add_reading(parser)
    parser.add_argument(
        "--search",
        type=_above_0,
        default=2.0,
        metavar="S",
        help="how far to look, to both sides of what the recorder's clock says (default 2)",
    )
    parser.add_argument("--figure", default="", metavar="FILE", help="draw correlations, PNG")


def _add_extrinsics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", metavar="BAG")
    parser.add_argument("--out", required=True, metavar="FILE", help="camera to write, .toml")
    parser.add_argument(
        "--camera",
        default="",
        metavar="FILE",
        help="the lens, as `calibrate cameras` writes it (default: the bag's camera_info)",
    )
    parser.add_argument(
        "--position",
        type=_position,
        metavar="X,Y,Z",
        help="of the camera in the rig's frame, metres, by a tape: then only its direction is "
        "sought",
    )
    parser.add_argument(
        "--reflector",
        default="",
        metavar="FILE",
        help="CSV of from_s,to_s,u_px,v_px: when a corner reflector stood where (default: a "
        "person walks about)",
    )
    _add_reading(parser)
    _add_offset(parser)
    parser.add_argument("--figure", default="", metavar="FILE", help="draw both, PNG")


def _add_write(parser: argparse.ArgumentParser) -> None:
    for split, needed, more in (
        ("train", True, ""),
        ("validation", True, ", of other people or at another time"),
        ("test", False, ", likewise"),
    ):
        parser.add_argument(
            f"--{split}",
            nargs="+",
            default=[],
            required=needed,
            metavar="BAG",
            help=f"recordings for {split}{more}",
        )
    parser.add_argument("--out", required=True, metavar="DIR", help="data set to make")
    parser.add_argument(
        "--camera", required=True, metavar="FILE", help="camera as `collect extrinsics` writes it"
    )
    parser.add_argument("--name", default="own data", help="of the data set")
    _add_reading(parser)
    _add_offset(parser)
    parser.add_argument(
        "--figure", default="", metavar="FILE", help="draw labels over what the radars see, PNG"
    )


def _add_rehearse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="BAG", help="folder to make")
    parser.add_argument("--seconds", type=_above_0, default=60.0, help="length (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="of person, movement, room and errors")
    parser.add_argument("--motion", default="random", help="one motion's name (default: several)")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="train", help="whose bodies"
    )
    parser.add_argument(
        "--config", default="iwr1843.cfg", metavar="FILE", help="radar configuration"
    )


# -- record ---------------------------------------------------------------------------------------


def _record(arguments: argparse.Namespace) -> int:
    from radar_pose_ros.nodes import collector

    with _camera_nodes(arguments.detector, arguments.source):
        return collector.record(
            arguments.out, arguments.poses, images=arguments.images, seconds=arguments.seconds
        )


@contextlib.contextmanager
def _camera_nodes(detector: str, source: str) -> Iterator[None]:
    """Run a camera and a detector of keypoints meanwhile, if there is a detector."""
    if not detector:
        yield
        return
    import threading

    from radar_pose_ros.graph_runner import GraphRunner
    from radar_pose_ros.graphs import NodeSpec, check_parameters, process_environment

    if not Path(detector).expanduser().is_file():
        raise ValueError(f"--detector: there is no file {detector}")
    environment = process_environment(1)
    nodes = [
        NodeSpec(name, name, _CAMERA, parameters, environment=environment)
        for name, parameters in (
            ("camera_source", {"source": source}),
            ("keypoint_detector", {"model": detector}),
        )
    ]
    for node in nodes:
        check_parameters(node)
    ended = threading.Event()
    with GraphRunner(nodes) as runner:

        def look_after() -> None:
            while not ended.wait(0.3):
                if not runner.poll():  # one of them was called wrongly
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        watcher = threading.Thread(target=look_after, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
    if runner.failure:
        raise ValueError(runner.failure)


# -- align ----------------------------------------------------------------------------------------


class _Recording:
    """A recording, with what the actions need of it; the radars' frames are read once."""

    def __init__(self, path: str, arguments: argparse.Namespace, *, maps: bool = True) -> None:
        from radar_pose_ros.collect.bags import Collected
        from radar_pose_ros.collect.motion import radar_motions

        self.path = path
        self.least_confidence: float = arguments.least_confidence
        with Collected(path, arguments.poses) as collected:
            self.track: CameraTrack = collected.camera_track()
            self.clock_s = self.track.clock_s - collected.clock_s()
            self.configs = collected.configs
            self.placements = collected.placements
            self.radars: tuple[RadarMotion, RadarMotion] = radar_motions(
                collected.frames(), collected.configs, _progress(path), maps=maps
            )
            _print_notes(collected)

    @property
    def period_s(self) -> float:
        return self.configs[0].waveform.frame_period_s

    def curves(self, search_s: float = 2.0) -> Any:
        from radar_pose_ros.collect import offset

        # By the recorder's clock the stamps differ by this, but for what nodes take to compute.
        near_s = self.clock_s if abs(self.clock_s) > 1 else 0.0
        return offset.curves(self.radars, self.track, self.least_confidence, near_s, search_s)

    def offset_s(self, given: float | None) -> float:
        from radar_pose_ros.collect import offset

        if given is not None:
            return given
        try:
            found = offset.estimate(self.curves())
        except offset.OffsetError as error:
            raise offset.OffsetError(
                f"{self.path}: {error}; or give the --offset of another recording with the same "
                "clocks"
            ) from None
        print(f"{self.path}: {found}")
        return float(found.seconds)

    def person(self) -> Any:
        from radar_pose_ros.collect.person import person_track

        return person_track(self.radars, self.placements[0], self.period_s)


def _print_notes(collected: Collected) -> None:
    for note in collected.notes:
        print(note)
    if not collected.placed:
        print(f"{collected.path}: where the radars are is not in it: taken to be the rig's places")


def _progress(path: str) -> Callable[[int], None]:
    def report(number: int) -> None:
        if number % 200 == 0 and sys.stderr.isatty():
            print(f"\r{path}: {number} frames", end="\r", file=sys.stderr, flush=True)

    return report


def _align(arguments: argparse.Namespace) -> int:
    from radar_pose_ros.collect import offset

    found: list[offset.Offset] = []
    drawn = []
    for path in arguments.bags:
        recording = _Recording(path, arguments, maps=False)
        told, curves = None, None
        try:
            curves = recording.curves(arguments.search)
            told = offset.estimate(curves)
            found.append(told)
            print(f"{path}: {told}")
        except offset.OffsetError as error:
            print(f"{path}: refused: {error}")
        if curves is not None:
            drawn.append((Path(path).name, curves, told))
    if arguments.figure and drawn:
        offset.draw(drawn, arguments.figure)
        print(f"written: {arguments.figure}")
    if not found:
        return _REFUSED
    if len(found) > 1:
        seconds, sd_s, agree = offset.pooled(found)
        print(
            f"together: --offset {seconds:.4f} (standard deviation {1e3 * sd_s:.0f} ms)"
            + ("" if agree else "; but they differ by more than that: do clocks drift?")
        )
    else:
        print(f"--offset {found[0].seconds:.4f}")
    return _REFUSED if len(found) < len(arguments.bags) else 0


# -- extrinsics -----------------------------------------------------------------------------------


def _extrinsics(arguments: argparse.Namespace) -> int:
    from radar_pose_ros.collect import extrinsics
    from radar_pose_ros.collect.bags import Collected
    from radar_pose_ros.vision import calibration_files

    if Path(arguments.out).suffix != ".toml":
        raise ValueError(f"--out {arguments.out}: want a name that ends in .toml")
    with Collected(arguments.bag, arguments.poses) as collected:
        lens = _one_camera(arguments.camera, False) if arguments.camera else collected.lens()
        if arguments.reflector:
            _print_notes(collected)
            frame_id = collected.camera_frame() or "CAMERA_FRAME"
            spots = extrinsics.read_spots(arguments.reflector)
            placed = extrinsics.by_reflector(collected, spots, lens, arguments.position)
    if not arguments.reflector:
        recording = _Recording(arguments.bag, arguments)
        frame_id = recording.track.frame_id
        _check_size(lens, recording.track)
        placed = extrinsics.by_person(
            recording.person(),
            recording.track,
            recording.offset_s(arguments.offset),
            lens,
            arguments.least_confidence,
            arguments.position,
        )
    print(extrinsics.table(placed))
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    calibration_files.write({"camera": placed.camera}, arguments.out, "pose2sim")
    print(f"written: {arguments.out}")
    if arguments.figure:
        extrinsics.draw(placed, arguments.figure)
        print(f"written: {arguments.figure}")
    print(f"for TF: {extrinsics.static_transform(placed.camera, frame_id)}")
    return 0


def _one_camera(path: str, placed: bool) -> PinholeCamera:
    from radar_pose_ros.vision import calibration_files

    cameras = calibration_files.read(path, placed=placed)
    if len(cameras) != 1:
        raise ValueError(f"{path} holds {len(cameras)} cameras, want one")
    return next(iter(cameras.values()))


def _check_size(camera: PinholeCamera, track: CameraTrack) -> None:
    if track.size_px != (0, 0) and tuple(camera.size_px) != track.size_px:
        raise ValueError(
            f"the lens is for images of {camera.size_px[0]} x {camera.size_px[1]}, but those of "
            f"{track.topic} have {track.size_px[0]} x {track.size_px[1]}"
        )


# -- write ----------------------------------------------------------------------------------------


def _write(arguments: argparse.Namespace) -> int:
    from radar_pose_ros.collect import dataset
    from radar_pose_ros.collect.bags import Collected

    camera = _one_camera(arguments.camera, True)
    root = Path(arguments.out)
    if root.exists() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty: name a folder that is to be made")
    chosen = {split: getattr(arguments, split) for split in ("train", "validation", "test")}
    names = [str(Path(path).resolve()) for paths in chosen.values() for path in paths]
    if len(set(names)) < len(names):
        raise ValueError("a recording is named twice: it belongs to one split only")
    sources, drawn = [], []
    for split, paths in chosen.items():
        for path in paths:
            recording = _Recording(path, arguments)
            _check_size(camera, recording.track)
            person = recording.person()
            labelled = dataset.label(
                recording.radars,
                recording.period_s,
                person,
                recording.track,
                recording.offset_s(arguments.offset),
                camera,
                arguments.least_confidence,
            )
            sources.append(dataset.Source(Path(path), split, recording.configs, labelled))
            drawn.append((Path(path).name, labelled, person))
            print(f"{split}: {path}: {dataset.told(labelled)}", flush=True)
    for source in sources:
        if not len(source.labelled.frames):
            raise ValueError(f"{source.path}: no frame has a label; nothing is written")

    def open_bag(path: Path) -> Collected:
        return Collected(path, arguments.poses)

    dataset.write(root, sources, open_bag, arguments.name)
    if arguments.figure:
        dataset.draw(drawn, arguments.figure)
        print(f"written: {arguments.figure}")
    print(f"written: {root}; radar-pose train millimamba --data {root}")
    return 0


# -- rehearse -------------------------------------------------------------------------------------


def _rehearse(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import resources
    from radar_pose_ros.collect.rehearsal import Rehearsal
    from radar_pose_ros.radar.ti_config import load_cfg

    rehearsal = Rehearsal(
        load_cfg(resources.resolve(arguments.config, "config")),
        arguments.seconds,
        seed=arguments.seed,
        split=arguments.split,
        motion=arguments.motion,
    )
    rehearsal.write(arguments.out)
    where = ",".join(f"{value:g}" for value in rehearsal.camera.position_m)
    print(
        f"written: {arguments.out}; its camera is {1e3 * rehearsal.offset_s:.0f} ms late and at "
        f"{where} m in the rig's frame"
    )
    return 0


_Action = tuple[
    str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]
]
_ACTIONS: dict[str, _Action] = {
    "record": (
        "record radars and a camera's poses, and say what is missing",
        _add_record,
        _record,
    ),
    "align": ("time offset between radars and camera, by what both see move", _add_align, _align),
    "extrinsics": (
        "where the camera is, by a person or a reflector",
        _add_extrinsics,
        _extrinsics,
    ),
    "write": ("recordings into a data set for training, in HuPR's layout", _add_write, _write),
    "rehearse": ("a simulated recording, to try the others with", _add_rehearse, _rehearse),
}
