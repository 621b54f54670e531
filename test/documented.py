"""The commands that README and docs show, and how each of them is tested.

`commands` finds them: lines of blocks of `bash`, and what begins like a command in backticks.
`HOW` says for each either that a test runs it, as it stands or with the changes that are named, or
which other test does what it does, or why none can. All are read by the real parsers.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
BEGINS = re.compile(
    r"(\S+=\S+ )?(\.venv/bin/)?"
    r"(radar-pose|make|ros2|python|torchrun|rviz2|pip|sudo|docker|colcon)\s"
)


@dataclass(frozen=True)
class Command:
    """A command, words separated by one space, and the page that shows it first."""

    text: str
    page: str

    @property
    def words(self) -> list[str]:
        """Its words as a shell takes them, without a folder before the program."""
        words = shlex.split(self.text)
        return [words[0].removeprefix(".venv/bin/"), *words[1:]]


def pages() -> list[Path]:
    """Return README, CONTRIBUTING and all of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[Command]:
    """Return every command once, in the order of the pages."""
    found: dict[str, Command] = {}
    for path in pages():
        page = str(path.relative_to(ROOT))
        for text in commands_of(path.read_text("utf-8")):
            found.setdefault(text, Command(text, page))
    return list(found.values())


@cache
def in_blocks() -> set[str]:
    """Return the commands that stand in a block of some page: calls, however short."""
    texts = [FENCE.findall(path.read_text("utf-8")) for path in pages()]
    return {text for blocks in texts for kind, block in blocks for text in _lines(kind, block)}


def commands_of(markdown: str) -> list[str]:
    """Return the commands of a page: those of its blocks of bash, then those in backticks."""
    found = []
    for language, block in FENCE.findall(markdown):
        found += _lines(language, block)
    for code in INLINE.findall(FENCE.sub("", markdown)):
        text = " ".join(code.replace("\\|", "|").split())
        if BEGINS.match(text):
            found.append(text)
    return found


def _lines(language: str, block: str) -> list[str]:
    if language != "bash":
        return []
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
    return [" ".join(line.split()) for line in lines if line.strip()]


@dataclass(frozen=True)
class Run:
    """A test runs it: which one, after which changes of its words, and with which exit codes."""

    story: str
    changes: Mapping[str, str] = field(default_factory=dict)  # word and what takes its place
    added: Sequence[str] = ()
    codes: Sequence[int] = (0,)


@dataclass(frozen=True)
class Elsewhere:
    """Another test does the same with files of its own: file::function."""

    by: str


@dataclass(frozen=True)
class Marked:
    """No test can run it here: why."""

    why: str


HARDWARE = Marked("needs boards, a camera or a robot")
ROS = Marked("needs a ROS installation: the wheels from PyPI have no such program")
MACHINE = Marked("changes the machine: installs, or asks for the administrator")
CI = Marked("is what CI runs, or the beginning of it")
HOURS = Marked("takes hours")
DATA = Marked("needs recordings that may not be passed on")
FORM = Marked("says how commands are formed, and is none")
NAME = Marked("is the name of a command, not a call")

_EDGE = str(ROOT / "weights" / "millimamba_edge.safetensors")
_DATA = ROOT.parent / "shared" / "data"
_ADC = _DATA / "radar_adc"
_TRIAL = str(_DATA / "multiview_pose2sim/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial")
_FRAME = {
    name: str(_ADC / "iwr6843_frame" / name)
    for name in ("adc_data.bin", "mmwaveDevice.mmwave.json")
}
_PACKETS = {  # of another configuration than ours, and an eighth of a frame
    "card.pcap": str(_ADC / "dca1000_pcap" / "test_one_frame.pcap"),
    "iwr1843.cfg": str(_ADC / "dca1000_pcap" / "xwr18xx_profile_2023_01_01T00_00_00_000.cfg"),
}

NO_CALL = (FORM, NAME)  # what is not even read
_MODELS = "test/training/test_"
HOW: list[tuple[str, Run | Elsewhere | Marked]] = [
    # What only says how commands look.
    (r".*\b(COMMAND|MODEL|FORMAT|X)\b.*|.*<graph>\.launch\.py", FORM),
    (r"radar-pose doctor \[--json FILE\]", FORM),
    (r"radar-pose (?!doctor)\w+( BAG| rehearse)?", NAME),
    (r"ros2 (bag (play|record)|topic echo)", NAME),
    # Several machines.
    (
        r"export ROS_STATIC_PEERS=.*",
        Elsewhere("test/hosts/test_discovery.py::test_peers_are_found_without_multicast"),
    ),
    (
        r"fastdds discovery .*|export ROS_DISCOVERY_SERVER=.*",
        Elsewhere("test/hosts/test_discovery.py::test_a_discovery_server_is_enough"),
    ),
    (
        r"torchrun --nnodes .*",
        Elsewhere("test/hosts/test_training.py::test_two_hosts_train_what_two_processes_train"),
    ),
    (r"chronyc tracking", MACHINE),
    (
        r"radar-pose up radar_pose part:=.*",
        Elsewhere("test/faults/test_hosts.py::test_poses_reach_the_viewer_over_three_hosts"),
    ),
    # The machine.
    (r"(cd ~/ws && )?git clone .*", MACHINE),
    (r"(sudo|echo|pip|PIP_EXTRA_INDEX_URL=\S+|rosdep|docker|pre-commit) .*", MACHINE),
    (r"make( (setup|build|demo|test|lint|audit|format|docs|bench))+", CI),
    (r"make pictures", Marked("draws pictures of these pages, for minutes, with Chromium")),
    (r"export PATH=.*|\. \.ws/install/setup\.bash.*", CI),
    (r"colcon build.*|rviz2 .*|ros2 .*|run=\"ros2 run.*|\$run .*", ROS),
    (r"export ROS_.*|ROS_SECURITY_\S+ .*", ROS),
    (
        r"radar-pose policy .*",
        Elsewhere(
            "test/packaging/test_security_policy.py::test_a_policy_is_of_the_form_that_sros2_reads"
        ),
    ),
    (r"make campaign(-page)?", HOURS),
    (
        r"make fuzz( ARGS=.*)?",
        Elsewhere("test/fuzz/test_fuzz.py::test_seeds_and_mutations"),
    ),
    # Graphs: each runs for some seconds, then Ctrl-C.
    (r"radar-pose up list", Run("quick")),
    (r"radar-pose up replay bag:=walk/bag .*", Run("bags")),
    (r"radar-pose up replay bag:=bags/.*", Run("imports")),
    (r"radar-pose up replay bag:=(walk|demo_out/bag)( .*)?", Run("bags")),
    (
        r"radar-pose up radar_pose weights:=out/own/millimamba_edge\.safetensors",
        Run("graphs", {"weights:=out/own/millimamba_edge.safetensors": f"weights:={_EDGE}"}),
    ),
    (r"radar-pose up .*", Run("graphs")),
    (
        r"radar-pose soak .*",
        Elsewhere("test/faults/test_soak.py::test_a_few_seconds_of_cameras_close_their_accounts"),
    ),
    (r"python -m radar_pose_ros\.nodes pose_refiner .*", Run("graphs")),
    (r"python -c .*", Run("messages")),
    # Own data.
    (r"radar-pose collect record .*--source /dev/video0", HARDWARE),
    (
        r"radar-pose collect align .*",
        Elsewhere("test/collect/test_dataset.py::test_the_offset_is_found"),
    ),
    (
        r"radar-pose collect extrinsics .*--reflector .*",
        Elsewhere("test/collect/test_extrinsics.py::test_a_reflector_tells_the_cameras_place"),
    ),
    (
        r"radar-pose collect extrinsics .*",
        Elsewhere(
            "test/collect/test_extrinsics.py::test_with_a_tape_only_the_direction_is_sought"
        ),
    ),
    (
        r"radar-pose collect write .*",
        Elsewhere("test/collect/test_dataset.py::test_every_frame_is_accounted_for"),
    ),
    (r"radar-pose collect rehearse.*", Run("own", added=["--seconds", "2"])),
    # Recordings of others, from import to evaluation.
    (r"radar-pose import mars .*", Run("imports", added=["--frames", "60"])),
    (r"radar-pose import dca1000 .*", Run("imports", _FRAME)),
    (r"radar-pose import pcap .*", Run("imports", _PACKETS, added=["--max-missing", "1"])),
    (r"radar-pose import (hupr|videos) .*", Run("imports", {"TRIAL": _TRIAL})),
    (r"radar-pose evaluate bag after", Run("bags")),
    (r"radar-pose evaluate bag .*", Run("imports")),
    # Bags.
    (r"radar-pose demo --seconds 20 --with-adc .*", Run("bags", {"20": "4"})),
    (r"radar-pose demo .*", Elsewhere("test/test_demo.py::test_from_packets_to_poses")),
    (r"radar-pose record .*", Run("bags")),
    (r"radar-pose replay walk --rate 0\.5 .* --loop", Run("bags", {"10": "1", "20": "2"})),
    (r"radar-pose (replay|compare|repair) .*", Run("bags")),
    (r"radar-pose view.*", Run("views")),
    # Files.
    (r"radar-pose doctor", Run("quick", codes=(0, 1))),
    (r"radar-pose simulate --out .*", Run("quick", {"20": "0.3", "3": "1"})),
    (r"radar-pose simulate --layout hupr .*", Run("quick", {"20": "0.2", "4": "1"})),
    (
        r"radar-pose calibrate .*",
        Elsewhere("test/test_calibrate.py::test_from_pictures_to_a_file"),
    ),
    (
        r"radar-pose multiview .*--find-offsets .*",
        Elsewhere(
            "test/multiview/test_command.py::test_clocks_that_are_wrong_are_noticed_and_found"
        ),
    ),
    (
        r"radar-pose multiview .*--offsets .*",
        Elsewhere("test/multiview/test_command.py::test_times_of_frames_and_offsets"),
    ),
    (
        r"radar-pose multiview .*",
        Elsewhere("test/multiview/test_command.py::test_from_videos_to_poses"),
    ),
    (r"radar-pose video camera:0 .*", HARDWARE),
    (r"radar-pose video .*", Run("videos")),
    (
        r"radar-pose bench (all|millimamba).*",
        Elsewhere("test/test_cli.py::test_bench_writes_what_it_measured"),
    ),
    (r"radar-pose bench heatmap.*", Run("benches", added=["--quick"])),
    # Models: what takes hours is tested by a recipe of a few steps.
    (
        r"torchrun .*",
        Elsewhere("test/training/test_processes.py::test_two_processes_train_what_one_trains"),
    ),
    (
        r"radar-pose (train|evaluate) millimamba .*--data HUPR .*",
        Elsewhere("test/datasets/test_hupr.py::test_train_and_evaluate"),
    ),
    (
        r"radar-pose (train|evaluate) millimamba.*",
        Elsewhere(_MODELS + "millimamba.py::test_train_then_evaluate"),
    ),
    (r"radar-pose train physmamba --data ubfc_rppg .*|radar-pose train \w+ --data DIR", DATA),
    (
        r"radar-pose train points .*",
        Elsewhere(_MODELS + "points.py::test_the_command_trains_and_leaves_somebody_out"),
    ),
    (
        r"radar-pose evaluate (mars|points) .*",
        Elsewhere(_MODELS + "points.py::test_the_command_measures_and_keeps_folds"),
    ),
    (
        r"radar-pose evaluate radhar .*",
        Elsewhere(
            _MODELS
            + "activity_evaluation.py::test_shipped_weights_on_one_recording_of_each_activity"
        ),
    ),
    (
        r"radar-pose evaluate gtrack .*",
        Elsewhere("test/test_tracking_evaluation.py::test_the_capture_is_counted_and_placed"),
    ),
    (
        r"radar-pose (train|evaluate) mixsynthformer .*",
        Elsewhere(_MODELS + "mixsynthformer.py::test_train_then_evaluate"),
    ),
    (
        r"radar-pose (train|evaluate) (diffhpe|mixste) .*",
        Elsewhere(_MODELS + "diffhpe.py::test_train_then_evaluate"),
    ),
    (
        r"radar-pose evaluate densewarper --pose2sim .*",
        Elsewhere(_MODELS + "multiview_evaluation.py::test_the_published_recording"),
    ),
    (
        r"radar-pose (train|evaluate) densewarper .*",
        Elsewhere(_MODELS + "densewarper.py::test_train_then_evaluate"),
    ),
    (
        r"radar-pose train physmamba .*",
        Elsewhere(_MODELS + "physmamba.py::test_train_on_tracks_that_are_there"),
    ),
    (
        r"radar-pose evaluate physmamba.*",
        Elsewhere(
            _MODELS + "physmamba_evaluation.py"
            "::test_the_command_measures_given_weights_beside_all_others"
        ),
    ),
    (
        r"radar-pose reproduce mixsynthformer .*",
        Elsewhere(_MODELS + "mixsynthformer_reproduce.py::test_a_tiny_run_is_kept_and_reported"),
    ),
    *(
        (
            rf"radar-pose reproduce {model}.*",
            Elsewhere(
                f"{_MODELS}{model}_reproduce.py::test_everything_is_trained_once_and_reported"
            ),
        )
        for model in ("millimamba", "diffhpe", "densewarper", "physmamba")
    ),
    (r"python -m radar_pose_ros\.training\.(estimated_lifting|pulse_quality).*", HOURS),
]


def how(text: str) -> Run | Elsewhere | Marked | None:
    """Return how a command is tested, by the first entry of `HOW` that fits; None without one."""
    ways = (way for pattern, way in HOW if re.fullmatch(pattern, text))
    return next((way for way in ways if way is not NAME or text not in in_blocks()), None)


def story(name: str) -> list[tuple[Command, Run]]:
    """Return the commands of a story, in the order of the pages, with their changes."""
    found = [(command, how(command.text)) for command in commands()]
    return [(command, way) for command, way in found if isinstance(way, Run) and way.story == name]


def changed(command: Command, way: Run) -> list[str]:
    """Return the words to run."""
    return [*(way.changes.get(word, word) for word in command.words), *way.added]
