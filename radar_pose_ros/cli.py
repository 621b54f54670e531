"""The command ``radar-pose``.

Each subcommand imports what it needs when it runs: help needs neither ROS nor torch. A mistake of
the user is answered with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

USAGE_ERROR = 2
INTERRUPTED = 130

# Errors that speak of the world (a file, a value, a device, a missing library). Others are
# mistakes in this package, and their traceback is what a bug report needs.
_EXPECTED = (OSError, ValueError, RuntimeError, ModuleNotFoundError, FloatingPointError)

TRAINABLE = (
    "millimamba",
    "points",
    "mixsynthformer",
    "diffhpe",
    "mixste",
    "densewarper",
    "physmamba",
)
# What can be evaluated, and the module that does it.
EVALUATIONS = {
    **{model: f"training.{model}" for model in TRAINABLE},
    "points": "training.points_evaluation",
    "mars": "training.points_evaluation",
    "radhar": "training.activity_evaluation",
    "physmamba": "training.physmamba_evaluation",
    "gtrack": "tracking_evaluation",
    "bag": "bag_evaluation",
}
IMPORT_FORMATS = ("dca1000", "pcap", "hupr", "mars", "videos")
SPLITS = ("train", "validation", "test")
PUBLIC_LAYOUTS = ("hupr", "transhupr")  # config/<name>.yaml
DEFAULT_CONFIG = "iwr1843.cfg"
CALIBRATION_FORMATS = ("pose2sim", "anipose", "opencv", "ros")
MULTIVIEW_METHODS = ("densewarper", "linear", "hold_last", "slerp", "aligned", "synchronous")
BAG_LEVELS = ("sensor", "adc", "heatmap", "pose")
PULSE_METHODS = ("auto", "physmamba", "combined", "green", "chrom", "pos")


def _number(
    kind: type[int] | type[float], allowed: Callable[[Any], bool], wanted: str
) -> Callable[[str], Any]:
    """Return a reader of an option's text, which says what is wanted if that is not it."""

    def read(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if allowed(value):
                return value
        raise argparse.ArgumentTypeError(f"want {wanted}, got {text!r}")

    return read


_positive = _number(float, lambda value: 0 < value < float("inf"), "a number above 0")
_share = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
_seed = _number(int, lambda value: value >= 0, "a whole number from 0 on")
_count = _number(int, lambda value: value > 0, "a whole number above 0")
_instant = _number(float, lambda value: 0 <= value <= 1e9, "seconds from 0 on")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_positive, default=20.0, help="length (default 20)")
    parser.add_argument("--out", default="demo_out", metavar="DIR", help="default demo_out")
    parser.add_argument("--with-adc", action="store_true", help="record raw samples too")
    parser.add_argument("--seed", type=_seed, default=0, help="of person, motion and noise")
    parser.add_argument("--motion", default="random", help="one motion's name (default: several)")
    parser.add_argument("--loss", type=_share, default=0.0, help="share of packets lost, 0..1")
    parser.add_argument("--weights", default="", metavar="FILE", help="default: the ones shipped")
    parser.add_argument("--refine", action="store_true", help="bring poses to 30 Hz")
    parser.add_argument("--lift", action="store_true", help="lift them to space")
    parser.add_argument("--no-gif", action="store_true", help="do not draw pose.gif")
    _add_json(parser)


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "graph", nargs="?", help="name of a graph, for example radar_pose; `list` lists them"
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="NAME:=VALUE", help="arguments of the graph"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file of node parameters, as ROS reads them; may be given more than once, the "
        "last one wins",
    )


def _add_soak(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "graph", nargs="?", help="name of a graph (default everything); `up list` lists them"
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="NAME:=VALUE", help="arguments of the graph"
    )
    parser.add_argument(
        "--duration", type=_positive, default=3600.0, metavar="S", help="s (default 3600)"
    )
    parser.add_argument(
        "--loss", type=_share, default=0.001, help="share of packets lost, 0..1 (default 0.001)"
    )
    parser.add_argument(
        "--unplug-every", type=_positive, default=600.0, metavar="S", help="s (default 600)"
    )
    parser.add_argument(
        "--unplug-for", type=_positive, default=10.0, metavar="S", help="s (default 10)"
    )
    parser.add_argument(
        "--warm-up",
        type=_instant,
        default=600.0,
        metavar="S",
        help="memory, files and threads are judged from there on, s (default 600)",
    )
    parser.add_argument("--out", default="soak_out", metavar="DIR", help="default soak_out")
    _add_json(parser)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("graph", help="name of a graph, for example radar_pose")
    parser.add_argument(
        "arguments", nargs="*", metavar="NAME:=VALUE", help="arguments of the graph"
    )
    parser.add_argument(
        "--viewer", action="store_true", help="with what `radar-pose view` may read of it"
    )
    parser.add_argument("--out", default="", metavar="FILE", help="default: print it")


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="", metavar="DIR", help="folder to make (default: bag_DATE_TIME)"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="record these only; without a leading slash, in any namespace (default: all but raw "
        "samples)",
    )
    chosen.add_argument(
        "--level",
        default="all",
        choices=BAG_LEVELS,
        help="record only what `replay --from-level` plays: all that sensors gave, raw samples, "
        "heatmaps, or poses",
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", metavar="BAG", help="folder or file, mcap or sqlite3")
    parser.add_argument(
        "--rate",
        type=_number(float, lambda value: 0.01 <= value <= 100, "0.01 to 100"),
        default=1.0,
        metavar="X",
        help="so many times as fast as it was recorded (default 1)",
    )
    parser.add_argument("--loop", action="store_true", help="begin anew after the end")
    parser.add_argument(
        "--from", dest="from_s", type=_instant, default=0.0, metavar="S", help="begin there, s"
    )
    parser.add_argument(
        "--to", dest="to_s", type=_instant, default=0.0, metavar="S", help="end there, s"
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="play these only; without a leading slash, in any namespace",
    )
    parser.add_argument(
        "--from-level",
        default="all",
        choices=BAG_LEVELS,
        help="play only what everything after it is computed from again",
    )
    parser.add_argument("--no-clock", action="store_true", help="do not publish /clock")
    parser.add_argument(
        "--wait-for",
        nargs="+",
        default=[],
        metavar="NODE",
        help="begin when these listen (default: when anybody reads a topic)",
    )
    parser.add_argument(
        "--wait",
        type=_number(float, lambda value: 0 <= value <= 600, "0 to 600 s"),
        default=10.0,
        metavar="S",
        help="but wait no longer than that (default 10)",
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=IMPORT_FORMATS)
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="see: radar-pose import FORMAT -h"
    )


def _add_view(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bag", nargs="?", default="", metavar="BAG", help="folder or file (default: what runs now)"
    )
    parser.add_argument("--web", action="store_true", help="for a browser, in place of a window")
    parser.add_argument(
        "--port",
        type=_number(int, lambda value: 1024 <= value <= 65534, "1024 to 65534"),
        default=9090,
        metavar="N",
        help="first of two ports, of 127.0.0.1 only: of the page, and of what it shows "
        "(default 9090)",
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--save", default="", metavar="FILE.rrd", help="write a file, show nothing"
    )
    target.add_argument(
        "--picture", default="", metavar="FILE.png", help="write a picture of the view of a BAG"
    )
    parser.add_argument(
        "--at",
        type=_instant,
        metavar="S",
        help="instant of the picture, s from the first measurement (default: the end)",
    )
    parser.add_argument(
        "--namespace", default="", metavar="NAME", help="only topics below it (default: all)"
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="bag of one run")
    parser.add_argument("second", metavar="B", help="bag of another run on the same recording")
    parser.add_argument("--out", default="", metavar="DIR", help="draw compare.png there")
    _add_json(parser)


def _add_repair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", metavar="BAG", help="folder or mcap file; it is changed in place")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_json(parser)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--seconds", type=_positive, default=20.0, help="of each recording")
    parser.add_argument("--sequences", type=_count, default=1, help="number of recordings")
    parser.add_argument("--seed", type=_seed, default=0, help="of people, motions and noise")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        help="which bodies and motions (default test; in HuPR's layout, all three)",
    )
    parser.add_argument("--motion", default="random", help="one motion's name (default: several)")
    parser.add_argument(
        "--layout",
        choices=("recording", "dataset", *PUBLIC_LAYOUTS),
        default="recording",
        help="raw samples as a capture card leaves them, small cubes for training, or the files "
        "of a public data set",
    )
    parser.add_argument(
        "--config", metavar="FILE", help=f"radar configuration (default {DEFAULT_CONFIG})"
    )
    _add_json(parser)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=TRAINABLE)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see: radar-pose train MODEL -h")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=tuple(EVALUATIONS))
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, help="see: radar-pose evaluate WHAT -h"
    )


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=tuple(REPRODUCIBLE), help="default: list them")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="handed on")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of a benchmark, or all")
    parser.add_argument("--quick", action="store_true", help="few repetitions: not to be quoted")
    _add_json(parser)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("cameras",))
    parser.add_argument(
        "--images",
        nargs="+",
        required=True,
        metavar="DIR",
        help="for each camera a folder of pictures of the board, or a video, called like the "
        "camera; or NAME=DIR",
    )
    parser.add_argument(
        "--board",
        required=True,
        help="checkerboard:7x4:0.06 (corners inside, metres), or "
        "charuco:5x7:0.04:0.03:DICT_5X5_100 (squares, metres, metres of a marker)",
    )
    parser.add_argument(
        "--extrinsics",
        required=True,
        metavar="PATH",
        help="folder with a picture per camera, NAME.png or NAME/*.png, of the board lying still; "
        "or a file .yaml of points, metres in the world and pixels by camera; or none, for the "
        "lenses only",
    )
    parser.add_argument("--out", required=True, metavar="PATH", help="file, or folder, to write")
    parser.add_argument("--format", choices=CALIBRATION_FORMATS, default=CALIBRATION_FORMATS[0])
    parser.add_argument(
        "--every",
        type=_positive,
        default=1.0,
        metavar="S",
        help="take a frame of a video so often, s",
    )
    _add_json(parser)


def _add_multiview(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="videos, or keypoints as Pose2Sim has them")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--calibration",
        default="",
        metavar="PATH",
        help="file or folder of the cameras (default: what is in DIR, or above it)",
    )
    parser.add_argument(
        "--detector",
        default="",
        metavar="FILE",
        help="network that finds keypoints in the videos: .onnx, or weights of a PoseResNet, with "
        "a YAML file beside it (default: keypoints that lie beside the videos)",
    )
    parser.add_argument(
        "--skeleton",
        default="",
        metavar="NAME",
        help="whose joints detector or keypoints give, coco17 for instance, if they do not say it",
    )
    parser.add_argument(
        "--method",
        default="",
        choices=MULTIVIEW_METHODS,
        help="default: densewarper if weights are given, else linear",
    )
    parser.add_argument(
        "--weights", default="", metavar="FILE", help="of densewarper (default: those shipped)"
    )
    parser.add_argument(
        "--offsets",
        nargs="+",
        default=[],
        metavar="NAME=S",
        help="seconds by which a camera started late; or a file of lines NAME,SECONDS",
    )
    parser.add_argument(
        "--find-offsets",
        action="store_true",
        help="look for them, up to half a second from those given, where the cameras agree best",
    )
    parser.add_argument(
        "--unit-m",
        type=_positive,
        default=1.0,
        metavar="M",
        help="length in metres of what the calibration counts in, 0.001 for millimetres",
    )
    parser.add_argument(
        "--rate", type=_positive, metavar="HZ", help="frames per second (default: the videos')"
    )
    parser.add_argument("--no-overlay", action="store_true", help="do not write overlay.mp4")
    _add_json(parser)


def _region(text: str) -> tuple[float, float, float, float]:
    """Read x, y, width and height in pixels."""
    with contextlib.suppress(ValueError):
        x, y, width, height = (float(part) for part in text.split(","))
        return x, y, width, height
    raise argparse.ArgumentTypeError(f"want X,Y,W,H in pixels, got {text!r}")


def _add_video(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Not a medical device."
    parser.add_argument(
        "source", metavar="FILE|FOLDER|camera:N", help="a video, images in a folder, or a camera"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--method",
        default="auto",
        choices=PULSE_METHODS,
        help="auto: physmamba if there are weights for it, else combined, which needs none",
    )
    parser.add_argument(
        "--weights", default="", metavar="NAME|FILE", help="of physmamba (default: those shipped)"
    )
    parser.add_argument(
        "--region", type=_region, metavar="X,Y,W,H", help="look there, pixels, and for no faces"
    )
    parser.add_argument(
        "--yunet",
        default="",
        metavar="MODEL.onnx",
        help="find faces with this network (default: OpenCV's cascade)",
    )
    parser.add_argument(
        "--rate", type=_positive, metavar="HZ", help="frames per second (default: the video's)"
    )
    parser.add_argument(
        "--times", default="", metavar="FILE", help="time of each frame, s, in the first column"
    )
    parser.add_argument(
        "--window",
        type=_number(float, lambda value: 5 <= value <= 120, "5 to 120 s"),
        default=10.0,
        metavar="S",
        help="seconds of video that a rate is read from (default 10)",
    )
    parser.add_argument("--no-overlay", action="store_true", help="do not write annotated.mp4")
    _add_json(parser)


def _add_collect(parser: argparse.ArgumentParser) -> None:
    from radar_pose_ros.collect import command

    command.add_arguments(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write machine and numbers here")


def _demo(arguments: argparse.Namespace) -> int:
    _use_ros()
    from radar_pose_ros import demo, measurements

    outcome = demo.run(
        demo.Options(
            seconds=arguments.seconds,
            out=arguments.out,
            with_adc=arguments.with_adc,
            seed=arguments.seed,
            motion=arguments.motion,
            loss=arguments.loss,
            weights=arguments.weights,
            refine=arguments.refine,
            lift=arguments.lift,
            gif=not arguments.no_gif,
        )
    )
    if arguments.json and outcome.summary is not None:
        measurements.write_results(arguments.json, demo.results(outcome.summary))
    return outcome.exit_code


def _up(arguments: argparse.Namespace) -> int:
    # Ctrl-C or SIGTERM are how it ends, also while it is imported. (Python itself ends with the
    # signal, not with the exit code, if a KeyboardInterrupt went through generated code.)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: sys.exit(0)) for number in numbers]
    try:
        return _start_graph(arguments)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _start_graph(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import bringup

    if arguments.graph is None:
        graphs = "; ".join(
            f"{name}: {of.description.rstrip('.')}" for name, of in bringup.GRAPHS.items()
        )
        raise ValueError(f"which graph? {graphs}. `radar-pose up list` lists their arguments")
    _use_ros()
    if arguments.graph == "list":
        for name, graph in bringup.GRAPHS.items():
            print(f"{name}: {graph.description}")
            for argument in graph.arguments:
                print(f"  {argument.name}:={argument.default}  {argument.description}")
        return 0
    given = _graph_arguments(arguments.arguments)
    bringup.graph(arguments.graph).nodes(given)  # says what is wrong with them, if anything
    return bringup.up(arguments.graph, arguments.param, **given)


def _graph_arguments(words: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in words:
        name, separator, value = text.partition(":=")
        if not separator:
            raise ValueError(f"{text!r} is not of the form NAME:=VALUE")
        given[name] = value
    return given


def _soak(arguments: argparse.Namespace) -> int:
    _use_ros()
    from radar_pose_ros import measurements, soak, soak_report

    record = soak.run(
        soak.Options(
            graph=arguments.graph or soak.Options.graph,
            arguments=_graph_arguments(arguments.arguments),
            duration_s=arguments.duration,
            loss=arguments.loss,
            unplug_every_s=arguments.unplug_every,
            unplug_for_s=arguments.unplug_for,
            warm_up_s=arguments.warm_up,
            out=arguments.out,
        ),
        lambda line: print(line, flush=True),
    )
    soak_report.write(record, arguments.out)
    print(f"{soak_report.summary(record)}\nwritten: {arguments.out}")
    if arguments.json:
        measurements.write_json(arguments.json, soak_report.content(record))
    return 0 if record.held else 1


def _policy(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import bringup, sros2_policy

    nodes = bringup.graph(arguments.graph).nodes(_graph_arguments(arguments.arguments))
    text = sros2_policy.policy([*nodes, *([sros2_policy.VIEWER] if arguments.viewer else [])])
    if arguments.out:
        Path(arguments.out).write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _node_parameters(**values: Any) -> list[str]:
    """Return the arguments of a ROS program that set parameters."""
    # What JSON calls a string or a number YAML does, too.
    given = [f"{name}:={json.dumps(value)}" for name, value in values.items()]
    return ["--ros-args", *(word for text in given for word in ("-p", text))]


def _be_a_node() -> None:
    """Set what a node needs: room for large messages, and an end if it cannot be configured."""
    from radar_pose_ros import bringup

    _use_ros()
    os.environ.update(bringup.process_environment(1))
    os.environ["RADAR_POSE_EXIT_UNCONFIGURED"] = "1"


def _record(arguments: argparse.Namespace) -> int:
    _be_a_node()
    from radar_pose_ros.nodes import recorder

    bag = arguments.out or time.strftime("bag_%Y%m%d_%H%M%S")
    values: dict[str, Any] = {"bag": bag, "level": arguments.level}
    if arguments.topics:
        values |= {"topics": " ".join(arguments.topics), "exclude": ""}
    print(f"recording to {bag}; Ctrl-C ends", flush=True)
    code = recorder.main(_node_parameters(**values))
    if not code:
        _warn_of_silence(bag, arguments.topics)
    return code


def _warn_of_silence(bag: str, names: Sequence[str]) -> None:
    """Say so if nothing was recorded, or nothing of some topics that were asked for."""
    from radar_pose_ros import recording

    if not Path(bag).exists():  # it was ended before it began
        return
    with recording.BagReader(bag) as reader:
        came = [topic for topic, count in reader.counts.items() if count]
    silent = [name for name in names if not any(recording.is_named(t, [name]) for t in came)]
    if silent:
        topics = ", ".join(silent)
        print(f"warning: nothing came on {topics}: {bag} does not have them", file=sys.stderr)
    elif not came:
        print(f"warning: nothing came: {bag} is empty", file=sys.stderr)


def _replay(arguments: argparse.Namespace) -> int:
    _be_a_node()
    from radar_pose_ros.nodes import replayer

    return replayer.main(
        _node_parameters(
            bag=arguments.bag,
            rate=arguments.rate,
            loop=arguments.loop,
            from_s=arguments.from_s,
            to_s=arguments.to_s,
            topics=" ".join(arguments.topics),
            from_level=arguments.from_level,
            clock=not arguments.no_clock,
            wait_for=" ".join(arguments.wait_for),
            wait_s=arguments.wait,
        )
    )


def _compare(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import measurements, run_comparison

    comparison = run_comparison.compare(arguments.first, arguments.second)
    print(run_comparison.table(comparison))
    if arguments.out:
        picture = Path(arguments.out) / "compare.png"
        run_comparison.draw(comparison, picture)
        print(f"written: {picture}")
    if arguments.json:
        measurements.write_results(arguments.json, run_comparison.results(comparison))
    return 0


def _import(arguments: argparse.Namespace) -> int:
    name = f"imports.{arguments.format}"
    return _dispatch("import", arguments.format, arguments.options, name, "import_bag")


def _view(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("rerun") is None:
        raise ValueError(
            "this needs Rerun, and it is not installed: `pip install rerun-sdk==0.41.0` does it, "
            "for Python 3.11 and later"
        )
    if not arguments.bag:
        _be_a_node()  # may begin this program anew, so nothing may run yet
    from radar_pose_ros.view import command

    def live() -> int:
        from radar_pose_ros.nodes import viewer

        where = {"file": arguments.save, "url": command.server_url(arguments.port)}
        return viewer.main(_node_parameters(below=arguments.namespace, **where))

    return command.run(
        command.Options(
            bag=arguments.bag,
            web=arguments.web,
            port=arguments.port,
            save=arguments.save,
            picture=arguments.picture,
            at_s=arguments.at,
            namespace=arguments.namespace,
        ),
        live,
    )


def _repair(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import recording

    done = recording.repair(arguments.bag)
    with recording.BagReader(arguments.bag) as reader:
        total, topics = sum(reader.counts.values()), len(reader.counts)
        length_s = (reader.end_ns - reader.begin_ns) / 1e9
    print(
        f"{arguments.bag}: {total} messages of {topics} topics in {length_s:.1f} s; "
        f"{done.cut_bytes} bytes of an unfinished one were cut off, "
        f"{done.damaged_chunks} damaged chunks left out"
    )
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import doctor, environment, measurements

    with contextlib.suppress(environment.RosNotFoundError):  # that is one of the findings
        environment.ensure_ros_environment()
    checks = doctor.examine()
    from rich.console import Console

    Console().print(doctor.table(checks))
    if arguments.json:
        measurements.write_json(
            arguments.json,
            {
                "machine": measurements.machine(),
                "results": [
                    measurements.result(
                        "doctor.problems",
                        sum(c.status == "problem" for c in checks),
                        target=0,
                        at_most=True,
                    )
                ],
                "checks": [asdict(check) for check in checks],
            },
        )
    if doctor.healthy(checks):
        return 0
    print("Something keeps radar_pose_ros from working: see the rows marked problem.")
    return 1


def _simulate(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import measurements, resources
    from radar_pose_ros.radar.ti_config import load_cfg

    root = Path(arguments.out)
    if arguments.layout != "recording" and (arguments.motion != "random" or arguments.json):
        raise ValueError(
            "--motion and --json are for --layout recording: a data set holds all motions"
        )
    if arguments.layout in PUBLIC_LAYOUTS:
        return _simulate_public_layout(arguments, root)
    config = load_cfg(resources.resolve(arguments.config or DEFAULT_CONFIG, "config"))
    if arguments.layout == "dataset":
        return _simulate_dataset(arguments, root, config)
    from radar_pose_ros.simulation import recordings

    frames, seconds = recordings.write_recordings(
        root,
        config,
        count=arguments.sequences,
        seconds=arguments.seconds,
        seed=arguments.seed,
        split=arguments.split or "test",
        motion=arguments.motion,
    )
    if arguments.json:
        rate = measurements.result(
            "simulate.frames_per_s", frames / seconds, "1/s", 10.0, "frames of two radars, written"
        )
        measurements.write_results(arguments.json, [rate])
    return 0


def _simulate_dataset(arguments: argparse.Namespace, root: Path, config: Any) -> int:
    from radar_pose_ros.datasets import simulated
    from radar_pose_ros.measurements import cores_available
    from radar_pose_ros.radar.heatmap import HeatmapConfig

    for line in simulated.generate(
        root,
        {arguments.split or "test": arguments.sequences},
        config,
        HeatmapConfig(range_first=31, range_bins=64),  # what the preset `edge` looks at
        seconds=arguments.seconds,
        seed=arguments.seed,
        processes=cores_available(),
    ):
        print(line, flush=True)
    return 0


def _simulate_public_layout(arguments: argparse.Namespace, root: Path) -> int:
    from radar_pose_ros.datasets import hupr_simulated

    if arguments.config:
        raise ValueError(
            f"--config is not for --layout {arguments.layout}: config/{arguments.layout}.yaml "
            "names its radar"
        )
    splits = (arguments.split,) if arguments.split else SPLITS
    for line in hupr_simulated.write(
        root,
        dict.fromkeys(splits, arguments.sequences),
        seconds=arguments.seconds,
        seed=arguments.seed,
        layout=arguments.layout,
    ):
        print(line, flush=True)
    return 0


def _dispatch(
    command: str, what: str, options: Sequence[str], name: str, function: str = ""
) -> int:
    """Let a module, by its name in this package, read its own options, then run it.

    What is run is called like the command, where no other function is named.
    """
    module: Any = importlib.import_module(f"radar_pose_ros.{name}")
    parser = argparse.ArgumentParser(prog=f"radar-pose {command} {what}")
    getattr(module, f"add_{command}_arguments")(parser)
    return int(getattr(module, function or command)(parser.parse_args(options)) or 0)


def _train(arguments: argparse.Namespace) -> int:
    name = f"training.{arguments.model}"
    return _dispatch("train", arguments.model, arguments.options, name)


def _evaluate(arguments: argparse.Namespace) -> int:
    name = EVALUATIONS[arguments.what]
    return _dispatch("evaluate", arguments.what, arguments.options, name)


REPRODUCIBLE = {
    "millimamba": "the paper's ablations, trained small, and what they say of its claims",
    "mixsynthformer": "its parts and DeciWatch's design, trained small, beside interpolation",
    "diffhpe": "both of its networks and MixSTE, trained small, with and without all joints",
    "densewarper": "fusion and warper, trained small, beside what needs neither",
    "physmamba": "cross-attention, trained small, beside what learns nothing; and what is refused",
}


def _reproduce(arguments: argparse.Namespace) -> int:
    if arguments.what is None:
        for name, meaning in REPRODUCIBLE.items():
            print(f"{name:<16} {meaning}")
        return 0
    name = f"training.{arguments.what}_reproduce"
    return _dispatch("reproduce", arguments.what, arguments.options, name)


def _bench(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import measurements

    benchmarks = _benchmarks()
    names = benchmarks.names() if arguments.name == "all" else [arguments.name]
    results: list[dict[str, Any]] = []
    for name in names:
        rows = benchmarks.run(name, quick=arguments.quick)
        print(f"{name}\n{measurements.table(rows)}", flush=True)
        results += rows
    print(_targets(results))
    if arguments.json:
        measurements.write_results(arguments.json, results)
    return 0


def _targets(results: Sequence[dict[str, Any]]) -> str:
    """Return how many targets are met, and which are not."""
    judged = [row for row in results if row.get("met") is not None]
    missed = [str(row["id"]) for row in judged if not row["met"]]
    said = f"{len(judged) - len(missed)} of {len(judged)} targets met"
    return f"{said}; missed: {', '.join(missed)}" if missed else said


def _benchmarks() -> Any:
    """Return the package ``benchmarks``, which lies beside this one in a source tree."""
    from radar_pose_ros.environment import SOURCE_ROOT

    if not (SOURCE_ROOT / "benchmarks").is_dir():
        raise FileNotFoundError(
            f"there is no folder benchmarks in {SOURCE_ROOT}: they are part of the source "
            "repository, not of an installation"
        )
    if str(SOURCE_ROOT) not in sys.path:
        sys.path.insert(0, str(SOURCE_ROOT))
    return importlib.import_module("benchmarks")


def _calibrate(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import calibrate, measurements

    outcome = calibrate.run(
        calibrate.Options(
            images=arguments.images,
            board=arguments.board,
            extrinsics=arguments.extrinsics,
            out=arguments.out,
            format=arguments.format,
            every_s=arguments.every,
        )
    )
    print(f"{calibrate.table(outcome)}\nwritten: {arguments.out}")
    if arguments.json:
        measurements.write_results(arguments.json, calibrate.results(outcome))
    if complaint := outcome.complaint():
        print(complaint)
        return 1
    return 0


def _multiview(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import measurements
    from radar_pose_ros.multiview import command

    outcome = command.run(
        command.Options(
            folder=arguments.folder,
            out=arguments.out,
            calibration=arguments.calibration,
            detector=arguments.detector,
            skeleton=arguments.skeleton,
            method=arguments.method,
            weights=arguments.weights,
            offsets=arguments.offsets,
            rate_hz=arguments.rate,
            unit_m=arguments.unit_m,
            find_offsets=arguments.find_offsets,
            overlay=not arguments.no_overlay,
        )
    )
    print(f"{command.table(outcome)}\nwritten: {arguments.out}")
    if arguments.json:
        measurements.write_results(arguments.json, command.results(outcome))
    return 0 if outcome.known else 1


def _video(arguments: argparse.Namespace) -> int:
    from radar_pose_ros import measurements, pulse_video

    outcome = pulse_video.run(
        pulse_video.Options(
            source=arguments.source,
            out=arguments.out,
            method=arguments.method,
            weights=arguments.weights,
            region_px=arguments.region,
            yunet=arguments.yunet,
            rate_hz=arguments.rate,
            times=arguments.times,
            window_s=arguments.window,
            overlay=not arguments.no_overlay,
        )
    )
    print(f"written: {arguments.out}\n{pulse_video.table(outcome)}")
    if arguments.json:
        measurements.write_results(arguments.json, pulse_video.results(outcome))
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if outcome.known else 1


def _collect(arguments: argparse.Namespace) -> int:
    from radar_pose_ros.collect import command

    if arguments.action == "record":
        _be_a_node()
    return command.run(arguments)


def _use_ros() -> None:
    from radar_pose_ros.environment import ensure_ros_environment

    ensure_ros_environment()


Command = tuple[
    str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]
]
COMMANDS: dict[str, Command] = {
    "demo": ("emulated radars to a live skeleton, measured and drawn", _add_demo, _demo),
    "up": ("start a graph of nodes, until Ctrl-C", _add_up, _up),
    "soak": ("run a graph for hours, with faults, and see what it loses", _add_soak, _soak),
    "policy": ("what each node of a graph may do, for SROS2", _add_policy, _policy),
    "record": ("write topics to a bag, until Ctrl-C", _add_record, _record),
    "replay": ("publish what a bag holds", _add_replay, _replay),
    "import": ("other people's recordings to a bag", _add_import, _import),
    "view": ("a bag, or what runs now, in Rerun", _add_view, _view),
    "compare": ("two runs of a change side by side, by their bags", _add_compare, _compare),
    "repair": ("save a bag whose recorder was killed", _add_repair, _repair),
    "doctor": ("what would keep this from working here, and the cure", _add_doctor, _doctor),
    "simulate": ("write recordings of simulated radars", _add_simulate, _simulate),
    "calibrate": ("lenses and places of cameras, by a board", _add_calibrate, _calibrate),
    "multiview": ("poses in space from videos of several cameras", _add_multiview, _multiview),
    "video": ("heart rates from a video of faces, or why there are none", _add_video, _video),
    "collect": ("own data: radars and a camera into a data set", _add_collect, _collect),
    "train": ("train a model", _add_train, _train),
    "evaluate": ("measure the accuracy of models and trackers", _add_evaluate, _evaluate),
    "reproduce": ("measure again the numbers this project states", _add_reproduce, _reproduce),
    "bench": ("time parts of the package against named peers", _add_bench, _bench),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="radar-pose", description="Human pose from raw radar data, live on ROS 2."
    )
    parser.add_argument(
        "--debug", action="store_true", help="show a traceback with every error, for bug reports"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, add_arguments, function) in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "."
        )
        add_arguments(subparser)
        subparser.set_defaults(function=function)
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; of graphs, words may come before, between and after options."""
    parser = build_parser()
    parsed, rest = parser.parse_known_args(arguments)
    if parsed.command in ("up", "soak") and not any(word.startswith("-") for word in rest):
        words = [*([] if parsed.graph is None else [parsed.graph]), *parsed.arguments, *rest]
        parsed.graph, parsed.arguments = (words[0] if words else None), words[1:]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; default: those of the process.

    Returns
    -------
    int
        Exit code: 0 if all is well, 1 if the command's answer is "no", 2 for a mistake of the
        user, 130 after Ctrl-C.
    """
    # OpenMP's threads spin while they wait, by default: with anything else on the machine, several
    # of them are then ten times slower than one. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        parsed = _parse(arguments)
    except SystemExit as leaving:  # argparse has said what was wrong, or printed the help
        return int(leaving.code or 0)
    try:
        return parsed.function(parsed)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, `head` for instance, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _EXPECTED as error:
        if parsed.debug:
            raise
        print(f"radar-pose {parsed.command}: {_sentence(error)}", file=sys.stderr)
        return USAGE_ERROR


def _sentence(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("radar_pose_ros"):
        return f"the Python library {error.name!r} is missing: `make setup` installs it"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
