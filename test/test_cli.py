"""The command line: help is instant, mistakes get one sentence, results go where they should."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import benchmarks
from radar_pose_ros import bringup, cli, doctor, measurements, nodes, recording
from radar_pose_ros.doctor import Check
from radar_pose_ros.nodes import parameters


def test_help_needs_neither_ros_nor_torch(root):
    """Importing any of them would be an error in this process."""
    program = """
import sys
for name in ("rclpy", "torch", "numpy", "cv2", "matplotlib", "rosbags", "rich"):
    sys.modules[name] = None
from radar_pose_ros import cli
assert cli.main(["--help"]) == 0
for command in cli.COMMANDS:
    assert cli.main([command, "--help"]) == 0, command
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in (
        *("demo", "up", "doctor", "simulate", "calibrate", "multiview"),
        *("train", "evaluate", "reproduce", "bench"),
    ):
        assert f"radar-pose {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["demo", "--seconds", "-1"], "want a number above 0, got '-1'"),
        (["demo", "--seconds", "nan"], "want a number above 0, got 'nan'"),
        (["demo", "--loss", "2"], "want a number from 0 to 1, got '2'"),
        (["demo", "--loss", "some"], "want a number from 0 to 1, got 'some'"),
        (["demo", "--seed", "-3"], "want a whole number from 0 on, got '-3'"),
        (["demo", "--motion", "fly"], "unknown motion 'fly', there are random, stand, walk"),
        (["simulate"], "--out"),
        (["simulate", "--out", "x", "--sequences", "0"], "want a whole number above 0, got '0'"),
        (["simulate", "--out", "x", "--config", "no.cfg"], "no.cfg"),
        (["up"], "which graph? radar_pose: Two radars"),
        (["up"], "multiview: Cameras that fire when they like"),
        (["up", "flying"], "there is no graph 'flying'"),
        (["up", "radar_pose", "emulated"], "'emulated' is not of the form NAME:=VALUE"),
        (["up", "radar_pose", "height:=3"], "there is no argument 'height'"),
        (["up", "radar_pose", "seed:=blue"], "want a whole number, got 'blue'"),
        (["up", "radar_pose", "--param", "/no/file.yaml"], "/no/file.yaml"),
        (["train", "chess"], "invalid choice: 'chess'"),
        (["reproduce", "chess"], "invalid choice: 'chess'"),
        (["bench", "nothing"], "no benchmark 'nothing'"),
    ],
)
def test_a_mistake_gets_one_sentence_and_code_2(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    assert cli.main(arguments) == cli.USAGE_ERROR
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()[-1]) < 500


def test_an_own_mistake_keeps_its_traceback(monkeypatch):
    def broken(arguments):
        return None + 1

    monkeypatch.setitem(cli.COMMANDS, "doctor", ("stand-in", lambda parser: None, broken))
    with pytest.raises(TypeError):
        cli.main(["doctor"])


def test_debug_shows_the_traceback_of_a_user_mistake(monkeypatch):
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    with pytest.raises(bringup.BringupError):
        cli.main(["--debug", "up", "flying"])


def test_ctrl_c_is_no_error(monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "doctor", ("stand-in", lambda parser: None, interrupted))
    assert cli.main(["doctor"]) == cli.INTERRUPTED


def test_a_missing_library_is_named(monkeypatch, capsys):
    def lacking(arguments):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(cli.COMMANDS, "doctor", ("stand-in", lambda parser: None, lacking))
    assert cli.main(["doctor"]) == cli.USAGE_ERROR
    assert "library 'torch' is missing: `make setup`" in capsys.readouterr().err


# -- up --------------------------------------------------------------------------------------


def test_up_hands_arguments_to_the_graph(monkeypatch):
    started = []

    def up(*arguments, **named):
        started.append((arguments, named))
        return 1

    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    monkeypatch.setattr(bringup, "up", up)
    command = ["up", "radar_pose", "emulated:=true", "seed:=7", "--param", "a.yaml"]
    assert cli.main([*command, "--param", "b.yaml"]) == 1
    assert started == [(("radar_pose", ["a.yaml", "b.yaml"]), {"emulated": "true", "seed": "7"})]


@pytest.mark.parametrize(
    "words",
    [
        ["radar_pose", "emulated:=true", "--param", "a.yaml", "seed:=7"],
        ["radar_pose", "--param", "a.yaml", "emulated:=true", "seed:=7"],
        ["--param", "a.yaml", "radar_pose", "emulated:=true", "seed:=7"],
    ],
)
def test_options_of_up_stand_anywhere(words, monkeypatch):
    started = []
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    monkeypatch.setattr(bringup, "up", lambda *given, **named: started.append((given, named)) or 0)
    assert cli.main(["up", *words]) == 0
    assert started == [(("radar_pose", ["a.yaml"]), {"emulated": "true", "seed": "7"})]


@pytest.mark.parametrize("words", [["radar_pose", "--parm", "a.yaml"], ["list", "--param"]])
def test_options_that_up_has_not_are_refused(words, capsys):
    assert cli.main(["up", *words]) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert "unrecognized arguments: --parm" in said or "expected one argument" in said


def test_up_lists_graphs(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    assert cli.main(["up", "list"]) == 0
    assert "radar_pose: " in capsys.readouterr().out


# -- doctor ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_doctor_says_no_only_for_problems(status, code, monkeypatch, tmp_path, capsys):
    from radar_pose_ros import environment

    monkeypatch.setattr(environment, "ensure_ros_environment", lambda: None)
    monkeypatch.setattr(doctor, "examine", lambda: [Check("thing", status, "found", "cure")])
    file = tmp_path / "d.json"
    assert cli.main(["doctor", "--json", str(file)]) == code
    assert "thing" in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["results"][0]["value"] == code
    assert content["checks"] == [
        {"name": "thing", "status": status, "finding": "found", "cure": "cure"}
    ]


def test_doctor_works_without_ros(monkeypatch, capsys):
    from radar_pose_ros import environment

    def nowhere():
        raise environment.RosNotFoundError("no ROS")

    monkeypatch.setattr(environment, "ensure_ros_environment", nowhere)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_python, doctor.check_ros))
    assert cli.main(["doctor"]) == 1
    assert "rclpy is not found" in capsys.readouterr().out


# -- train, evaluate, reproduce --------------------------------------------------------------


@pytest.fixture
def training(monkeypatch):
    """A stand-in for training/millimamba.py and its _reproduce.py that notes what it is asked."""
    asked = []

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--preset", default="edge")

    def ask(name, code):
        def run(arguments):
            asked.append((name, arguments.preset))
            return code

        return run

    module = SimpleNamespace(
        add_train_arguments=add,
        add_evaluate_arguments=add,
        add_reproduce_arguments=add,
        train=ask("train", 0),
        evaluate=ask("evaluate", 1),
        reproduce=ask("reproduce", 1),
    )
    for name in ("millimamba", "millimamba_reproduce"):
        monkeypatch.setitem(sys.modules, f"radar_pose_ros.training.{name}", module)
    return asked


def test_training_reads_its_own_options(training, capsys):
    assert cli.main(["train", "millimamba", "--preset", "paper"]) == 0
    assert cli.main(["evaluate", "millimamba"]) == 1
    assert cli.main(["reproduce", "millimamba", "--preset", "paper"]) == 1
    assert training == [("train", "paper"), ("evaluate", "edge"), ("reproduce", "paper")]
    assert cli.main(["train", "millimamba", "--wings"]) == cli.USAGE_ERROR
    assert cli.main(["train", "millimamba", "--help"]) == 0
    assert "--preset" in capsys.readouterr().out


def test_reproduce_lists_what_it_can(capsys):
    assert cli.main(["reproduce"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["millimamba", "mixsynthformer", "diffhpe", "densewarper", "physmamba"]


@pytest.mark.parametrize("model", cli.TRAINABLE)
def test_every_model_says_its_options(model, capsys):
    for command, option in (("train", "--resume"), ("evaluate", "--weights")):
        assert cli.main([command, model, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"radar-pose {command} {model}" in said and option in said
    if model in cli.REPRODUCIBLE:
        assert cli.main(["reproduce", model, "--help"]) == 0
        assert "--report-only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "option"),
    [("mars", "--subject"), ("gtrack", "--crowds"), ("radhar", "--weights")],
)
def test_every_evaluation_says_its_options(what, option, capsys):
    assert cli.main(["evaluate", what, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"radar-pose evaluate {what}" in said and option in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "mixsynthformer", "--preset", "huge"], "invalid choice: 'huge'"),
        (["train", "mixsynthformer", "--recipe", "no.yaml"], "no.yaml: No such file"),
        (["train", "mixsynthformer", "--preset", "h36m_fcn"], "give their folder, --data DIR"),
        (["evaluate", "mixsynthformer", "--weights", "edge"], "is a millimamba, not a mixsynthfo"),
        (["train", "diffhpe", "--threads", "0"], "'0' is no whole number above 0"),
        (["train", "diffhpe", "--preset", "wrapper", "--mixste", "no.safetensors"], "no file of"),
        (["train", "mixste", "--mocap", "no.npz"], "no.npz"),
        (["evaluate", "diffhpe"], "--weights"),
        (
            ["evaluate", "diffhpe", "--weights", "edge"],
            "edge.safetensors is a millimamba, not a diffhpe",
        ),
        (["evaluate", "diffhpe", "--weights", "paper"], "is a mixste, not a diffhpe"),
        (["evaluate", "mixste", "--weights", "wrapper"], "is a diffhpe, not a mixste"),
        (
            ["evaluate", "mixsynthformer", "--preset", "radar_2d_fast", "--weights", "pose_3d"],
            "holds weights of the preset pose_3d, asked for was --preset radar_2d_fast",
        ),
        (["train", "points"], "required: --data"),
        (["train", "points", "--data", "no"], "no has no files mars_subject<number>.npz"),
        (["evaluate", "points", "--data", "no"], "no has no files mars_subject<number>.npz"),
        (["evaluate", "mars", "--data", ".", "--protocol", "x"], "invalid choice: 'x'"),
        (["reproduce", "points"], "invalid choice: 'points'"),
        (["reproduce", "mixsynthformer", "--rows", "x"], "--rows: 'x' is none of nearest, linear"),
        (["reproduce", "diffhpe", "--rows", "x"], "--rows: 'x' is none of mixste, 2d, wrapper"),
        (["reproduce", "diffhpe", "--jobs", "0"], "'0' is no whole number above 0"),
    ],
)
def test_mistakes_in_training_get_one_sentence(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == cli.USAGE_ERROR
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_mixste_is_trained_as_what_it_is():
    """DiffHPE's module trains it; only the defaults are others."""
    from radar_pose_ros.training import mixste

    parser = argparse.ArgumentParser()
    mixste.add_train_arguments(parser)
    options = parser.parse_args([])
    assert (options.preset, options.out.as_posix()) == ("mixste", "out/mixste")


# -- bench -----------------------------------------------------------------------------------


@pytest.fixture
def bench_module(monkeypatch):
    """A benchmark named `stand_in`."""
    row = {"id": "stand_in.x", "value": 2.0, "unit": "x", "target": 1.0, "against": "peer"}
    module = SimpleNamespace(run=lambda: [row], __file__="stand_in.py")
    monkeypatch.setitem(sys.modules, "benchmarks.stand_in", module)
    monkeypatch.setattr(benchmarks, "names", lambda: ["stand_in"])
    return module


def test_bench_writes_what_it_measured(bench_module, tmp_path, capsys):
    file = tmp_path / "b.json"
    assert cli.main(["bench", "all", "--quick", "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert "stand_in.x" in said and "0 of 0 targets met" in said
    content = json.loads(file.read_text())
    assert [row["id"] for row in content["results"]] == ["stand_in.x"]
    assert content["machine"]["cores"] >= 1


def test_bench_names_the_targets_that_were_missed(bench_module, capsys):
    made = [measurements.result("a", 2.0, "x", 1.0), measurements.result("b", 2.0, "s", 1.0)]
    made.append(measurements.result("c", 2.0, "s", 1.0, at_most=True))
    bench_module.run = lambda: made
    assert cli.main(["bench", "stand_in"]) == 0
    said = capsys.readouterr().out
    assert "target 1: met" in said and "target 1: MISSED" in said
    assert said.splitlines()[-1] == "2 of 3 targets met; missed: c"


def test_bench_hands_quick_to_those_that_know_it(bench_module):
    heard = []
    row = bench_module.run()[0]
    bench_module.run = lambda quick=False: heard.append(quick) or [row]
    benchmarks.run("stand_in", quick=True)
    benchmarks.run("stand_in")
    assert heard == [True, False]


def test_bench_refuses_silence(bench_module):
    bench_module.run = list
    with pytest.raises(benchmarks.BenchmarkError, match="returned nothing"):
        benchmarks.run("stand_in")


def test_every_benchmark_has_a_run():
    names = benchmarks.names()
    assert all(not name.startswith("_") for name in names)
    assert {"heatmap", "millimamba", "pose", "simulator"} <= set(names)


# -- simulate --------------------------------------------------------------------------------


def test_simulate_writes_a_capture_and_its_truth(tmp_path, capsys):
    out = tmp_path / "recordings"
    arguments = ["simulate", "--out", str(out), "--seconds", "0.3", "--seed", "5"]
    assert cli.main([*arguments, "--json", str(tmp_path / "s.json")]) == 0
    [folder] = out.iterdir()
    about = json.loads((folder / "recording.json").read_text())
    assert about["frames"] == 3
    assert about["adc_shape"] == [128, 3, 4, 256]
    assert about["iq_order"] in ("IQ", "QI")
    truth = np.load(folder / "truth.npz")
    assert truth["joints_m"].shape == (3, 14, 3)
    assert truth["keypoints_px"].shape == (3, 14, 2)
    np.testing.assert_allclose(np.diff(truth["times_s"]), 0.1)
    for radar in ("radar_h", "radar_v"):
        samples = np.fromfile(folder / f"{radar}.bin", "<i2")
        assert samples.size == 3 * 128 * 3 * 4 * 256 * 2
        assert samples.std() > 1
    assert cli.main(arguments) == cli.USAGE_ERROR  # nothing is overwritten
    rows = json.loads((tmp_path / "s.json").read_text())["results"]
    assert rows[0]["id"] == "simulate.frames_per_s" and rows[0]["value"] > 0


def test_simulated_captures_are_reproducible(tmp_path):
    for name in ("a", "b"):
        assert cli.main(["simulate", "--out", str(tmp_path / name), "--seconds", "0.2"]) == 0
    for file in ("radar_h.bin", "radar_v.bin"):
        first, second = (tmp_path / name / "00000" / file for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


# -- record, replay --------------------------------------------------------------------------


@pytest.fixture
def nodes_called(monkeypatch):
    """Stand-ins for the nodes, which need ROS; note with what they are called."""
    called = []
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    for name in ("OMP_NUM_THREADS", "FASTDDS_DEFAULT_PROFILES_FILE", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
    monkeypatch.setenv("RADAR_POSE_EXIT_UNCONFIGURED", "")
    for name in ("recorder", "replayer"):

        def main(arguments, name=name):
            called.append((name, arguments))
            return 0

        monkeypatch.setattr(nodes, name, SimpleNamespace(main=main), raising=False)
    return called


def parameters_of(arguments):
    """What a node is told, as ROS reads it."""
    assert arguments[0] == "--ros-args" and set(arguments[1::2]) == {"-p"}
    return {
        name: yaml.safe_load(text)
        for name, text in (word.split(":=", 1) for word in arguments[2::2])
    }


def test_record_is_the_recorder(nodes_called, capsys):
    assert cli.main(["record", "--out", "walk"]) == 0
    assert cli.main(["record", "--level", "adc"]) == 0
    assert cli.main(["record", "--out", "1", "--topics", "adc", "/pose2d"]) == 0
    given = [parameters_of(arguments) for name, arguments in nodes_called if name == "recorder"]
    assert given[0] == {"bag": "walk", "level": "all"}
    assert re.fullmatch(r"bag_\d{8}_\d{6}", given[1]["bag"]) and given[1]["level"] == "adc"
    assert given[2] == {"bag": "1", "level": "all", "topics": "adc /pose2d", "exclude": ""}
    assert "recording to walk; Ctrl-C ends" in capsys.readouterr().out
    assert cli.main(["record", "--level", "adc", "--topics", "x"]) == cli.USAGE_ERROR


@pytest.mark.parametrize(
    ("came", "asked", "said"),
    [
        ([], [], "warning: nothing came: {} is empty"),
        (["/a/x"], [], ""),
        (["/a/x", "/y"], ["x", "/y"], ""),
        (["/a/x"], ["x", "/x", "z"], "warning: nothing came on /x, z: {} does not have them"),
    ],
)
def test_record_says_what_did_not_come(
    nodes_called, tmp_path, capsys, monkeypatch, came, asked, said
):
    def main(arguments):
        with recording.BagWriter(parameters_of(arguments)["bag"]) as writer:
            header = "std_msgs/msg/Header"
            for topic in came:
                writer.add_topic(topic, header)
                stamp = recording.message_class("builtin_interfaces/msg/Time")(sec=1, nanosec=0)
                message = recording.message_class(header)(stamp=stamp, frame_id="")
                writer.write_message(topic, 10**9, message)
        return 0

    monkeypatch.setattr(nodes, "recorder", SimpleNamespace(main=main))
    bag = str(tmp_path / "bag")
    assert cli.main(["record", "--out", bag, *(["--topics", *asked] if asked else [])]) == 0
    assert capsys.readouterr().err.splitlines() == [said.format(bag)] * bool(said)


def test_replay_is_the_replayer(nodes_called, capsys):
    assert cli.main(["replay", "walk"]) == 0
    words = ["--rate", "2", "--loop", "--from", "1.5", "--to", "3", "--from-level", "heatmap"]
    words += ["--topics", "a", "b", "--no-clock", "--wait-for", "mamba_pose", "--wait", "60"]
    assert cli.main(["replay", "walk", *words]) == 0
    plain, full = [parameters_of(arguments) for _, arguments in nodes_called]
    defaults = {name: spec.default for name, spec in parameters.load("replayer").items()}
    assert {**defaults, **plain} == {**defaults, "bag": "walk"}
    assert full == {
        "bag": "walk",
        "rate": 2.0,
        "loop": True,
        "from_s": 1.5,
        "to_s": 3.0,
        "topics": "a b",
        "from_level": "heatmap",
        "clock": False,
        "wait_for": "mamba_pose",
        "wait_s": 60.0,
    }
    for given in (plain, full):
        for name, value in given.items():
            assert type(value) is type(defaults[name]), name
            parameters.load("replayer")[name].check(value)
    for wrong in (["--rate", "0"], ["--from", "-1"], ["--from-level", "pulse"]):
        assert cli.main(["replay", "walk", *wrong]) == cli.USAGE_ERROR
    assert "0.01 to 100, got '0'" in capsys.readouterr().err


def test_levels_are_those_of_recordings():
    from radar_pose_ros import recording

    assert cli.BAG_LEVELS == recording.LEVELS
    for node, name in (("replayer", "from_level"), ("recorder", "level")):
        assert tuple(parameters.load(node)[name].choices) == ("all", *recording.LEVELS)
