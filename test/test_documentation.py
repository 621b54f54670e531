"""README and docs/ say what is: Python runs, commands are tested, links lead somewhere."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import documented
import numpy as np
import pytest
from documented import Command, Elsewhere, Marked, Run
from scipy.stats import chi2

from radar_pose_ros import bringup, cli
from radar_pose_ros.models.hypotheses import squared_distance
from radar_pose_ros.nodes import parameters

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shown(root):
    """All names after the last block."""
    blocks = BLOCK.findall((root / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) == 6
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    return names


def test_refined_frames(shown) -> None:
    """As many, and as far off, as the page says; what was not seen lies between two sightings."""
    frames, truth_m = shown["frames"], shown["truth_m"][:118]
    assert shown["truth_m"].shape == (120, 17, 3)
    assert frames.poses.shape == (118, 17, 3)
    np.testing.assert_allclose(frames.times_s, np.arange(118) / 30)
    assert frames.origin[36, 3] == 1 and frames.origin[36, 4] == 0
    off_m = {
        name: np.linalg.norm(shown[name].poses - truth_m, axis=-1).mean()
        for name in ("frames", "lines")
    }
    assert off_m["frames"] == pytest.approx(0.028, abs=1e-3)
    assert off_m["lines"] == pytest.approx(0.050, abs=1e-3)


def test_lifted_and_placed(shown) -> None:
    """Placed 2.6 m away with 1 px of noise; wider for the radar network's joints."""
    lifter, lifted = shown["lifter"], shown["lifted"]
    assert (lifter.frames, lifter.rate_hz, lifter.calibration.level) == (27, 30.0, 0.9)
    assert lifted.poses_m.shape == (1, 27, 17, 3)
    assert lifted.covariance_m2.shape == (1, 27, 17, 3, 3)
    assert np.linalg.eigvalsh(shown["covariance_m2"]).min() > 0
    assert shown["off_m"].shape == (17,) and shown["off_m"].max() < 0.15
    relative_m = shown["truth_m"][:27] - shown["truth_m"][:27, :1]
    squared = squared_distance(lifted.poses_m[0] - relative_m, lifted.covariance_m2[0])
    assert (squared[:, 1:] < chi2.ppf(0.9, 3)).mean() > 0.9
    of_radars = lifter.lift(shown["pixels"][None], shown["size_px"], model="millimamba/edge")
    wider = of_radars.covariance_m2 - lifted.covariance_m2
    assert np.linalg.eigvalsh(wider[:, :, 1:]).max(-1).min() > 0


def test_hypotheses(shown) -> None:
    """Five, which are not the same; their mean is near that of the five that `lift` drew."""
    poses_m = shown["hypotheses_m"]
    assert poses_m.shape == (1, 5, 27, 17, 3)
    assert poses_m.std(axis=1).max() > 1e-3
    apart_m = np.abs(poses_m.mean(axis=1) - shown["lifted"].poses_m).mean()
    assert apart_m < poses_m.std(axis=1).mean()


def test_people_before_a_radar_that_sends_points(shown):
    """One walker, where the points are: the joints of these weights stand some 0.2 m aside."""
    assert [person.id for person in shown["people"]] == [1]
    root_m = shown["joints_m"][0, 0]
    points = shown["sent"].points
    assert shown["joints_m"].shape == (1, 25, 3)
    assert np.hypot(root_m[0] - points.x.mean(), root_m[1] - points.y.mean()) < 0.6


def test_the_drawn_video_has_the_pulse_that_the_page_says(root, tmp_path, monkeypatch):
    text = (root / "docs" / "command_line.md").read_text(encoding="utf-8")
    [block] = [block for block in BLOCK.findall(text) if "write_video" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/command_line.md", "exec"), {})
    assert cli.main(["video", "face.avi", "--out", "pulse", "--no-overlay"]) == 0
    [face] = json.loads(Path("pulse/summary.json").read_text())["faces"]
    assert face["heart_rate_bpm"]["median"] == pytest.approx(72, abs=3)
    assert Path("face.csv").read_text().startswith("time_s,pulse_0,heart_rate_bpm_0,")


# -- commands ------------------------------------------------------------------------------------

COMMANDS = documented.commands()
CALLS = [command for command in COMMANDS if documented.how(command.text) not in documented.NO_CALL]


def test_commands_are_found_as_pages_show_them() -> None:
    page = """Say `radar-pose up list`, `--lift`
or `make
test`:

```bash
radar-pose train points \\
    --data MARS   # an hour
# nothing
make demo && cd x
```

```text
radar-pose no command
```
"""
    assert documented.commands_of(page) == [
        "radar-pose train points --data MARS",
        "make demo && cd x",
        "radar-pose up list",
        "make test",
    ]
    assert len(COMMANDS) > 120


def test_every_command_is_tested_or_says_why_not(root: Path) -> None:
    """A test runs it, or one that there is does the same; `test/documented.py` says which."""
    untested = [c for c in COMMANDS if documented.how(c.text) is None]
    assert not untested, f"no test runs these: see {documented.__file__}"
    for command in COMMANDS:
        way = documented.how(command.text)
        if isinstance(way, Elsewhere):
            file, _, name = way.by.partition("::")
            assert re.search(rf"^def {name}\(", (root / file).read_text("utf-8"), re.MULTILINE), (
                way
            )


def test_no_way_of_testing_is_left_over() -> None:
    for number, (pattern, way) in enumerate(documented.HOW):
        fits = [c for c in COMMANDS if documented.how(c.text) is way]
        assert fits or way in documented.NO_CALL, f"no page shows {pattern!r} ({number})"


@pytest.mark.parametrize("command", CALLS, ids=lambda command: command.text)
def test_every_command_is_one_that_there_is(command: Command, root: Path) -> None:
    """The real parsers take it: options, graphs and their arguments, targets, nodes."""
    program, *words = command.words
    if program == "radar-pose":
        read_radar_pose(words)
    elif program == "torchrun":
        read_radar_pose(words[words.index("radar_pose_ros.cli") + 1 :])
    elif program == "make":
        targets = re.findall(r"^\.PHONY: (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
        named = {word for word in words if not word.startswith("ARGS=")}
        assert named <= set(" ".join(targets).split())
    elif program == "ros2" and words[:2] == ["launch", "radar_pose_ros"]:
        graph = words[2].removesuffix(".launch.py")
        assert (root / "launch" / words[2]).is_file()
        read_radar_pose(["up", graph, *(word for word in words[3:] if "rviz:=" not in word)])
    elif words[:2] in (["run", "radar_pose_ros"], ["-m", "radar_pose_ros.nodes"]):
        read_node(words[2:])
    elif program == "python" and words[0] == "-m":
        specification = importlib.util.find_spec(words[1])
        assert specification is not None and specification.origin is not None
        source = Path(specification.origin).read_text("utf-8")
        assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--"))


def read_radar_pose(words: list[str]) -> None:
    """Read a command line as the command would; a mistake is an exception."""
    parsed = cli._parse(words)
    modules = {
        "train": lambda: f"training.{parsed.model}",
        "evaluate": lambda: cli.EVALUATIONS[parsed.what],
        "reproduce": lambda: f"training.{parsed.what}_reproduce",
        "import": lambda: f"imports.{parsed.format}",
    }
    if parsed.command in modules:
        module = importlib.import_module(f"radar_pose_ros.{modules[parsed.command]()}")
        parser = argparse.ArgumentParser()
        getattr(module, f"add_{parsed.command}_arguments")(parser)
        parser.parse_args(parsed.options)
    elif parsed.command == "up" and parsed.graph != "list":
        given = dict(word.split(":=", 1) for word in parsed.arguments)
        bringup.graph(parsed.graph).nodes(given)


def read_node(words: list[str]) -> None:
    """Read the name of a node, and its parameters; a mistake is an exception."""
    if words[0] == "composition":
        for node in " ".join(words).split(" -- ")[1:]:
            read_node(node.split())
        return
    specifications = parameters.load(words[0])
    for name, value in re.findall(r"-p (\w+):=(\S*)", " ".join(words)):
        assert name in specifications, f"{words[0]} has no parameter {name}"
        if specifications[name].type == "string":
            specifications[name].check(value)


def test_a_mistake_in_a_command_is_found() -> None:
    for words in (
        ["demo", "--second", "3", "--wings"],
        ["train", "points", "--wings"],
        ["up", "radar_pose", "wings:=2"],
        ["up", "flying"],
        ["evaluate", "nothing"],
    ):
        with pytest.raises((SystemExit, ValueError)):
            read_radar_pose(words)
    with pytest.raises(AssertionError, match="has no parameter wings"):
        read_node(["rppg", "--ros-args", "-p", "wings:=2"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


@pytest.mark.parametrize(
    ("command", "way"), documented.story("quick"), ids=lambda value: getattr(value, "text", "")
)
def test_quick_commands_run(command: Command, way: Run, folder: Path, root: Path) -> None:
    """In a process of its own: one that looks for ROS may begin anew with another environment."""
    words = [sys.executable, "-m", "radar_pose_ros.cli", *documented.changed(command, way)[1:]]
    found = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(words, cwd=folder, env=found, capture_output=True, text=True)
    assert done.returncode in way.codes, done.stdout + done.stderr


@pytest.mark.ros
@pytest.mark.parametrize(
    ("command", "way"), documented.story("messages"), ids=lambda value: getattr(value, "text", "")
)
def test_messages_are_imported(command: Command, way: Run) -> None:
    subprocess.run([sys.executable, *documented.changed(command, way)[1:]], check=True)


# -- pages ---------------------------------------------------------------------------------------


def test_the_site_is_built_without_a_warning(root: Path, tmp_path: Path) -> None:
    """Every link leads to a page and a place in it, and no page fetches anything elsewhere."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", site]
    quiet = {"NO_MKDOCS_2_WARNING": "1", "PATH": ""}
    made = subprocess.run(command, cwd=root, env=quiet, capture_output=True, text=True)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\" >]+)", text)
        fetched += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|icon)[^>]*", text)
        assert not [link for link in fetched if "//" in link], page
    index = (site / "index.html").read_text("utf-8")
    assert "models/millimamba.html" in index and "demo.gif" in index
    messages = (site / "messages.html").read_text("utf-8")
    for path in (root / "msg").glob("*.msg"):
        assert f'id="{path.stem.lower()}"' in messages


def test_every_page_is_in_the_navigation(root: Path) -> None:
    navigation = (root / "mkdocs.yml").read_text("utf-8")
    for path in (root / "docs").rglob("*.md"):
        assert f"{path.relative_to(root / 'docs')}\n" in navigation, path


def test_links_of_the_repository_lead_somewhere(root: Path) -> None:
    """As GitHub shows the pages: files are there, and so are places in them."""
    for page in documented.pages():
        text = documented.FENCE.sub("", page.read_text("utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            name, _, place = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page}: {target}"
            if place:
                assert place in places(file), f"{page}: {target}"


def places(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = documented.FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_page_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text("utf-8").splitlines()) <= 130


def test_weights_are_listed_as_the_manifest_has_them(root: Path) -> None:
    text = (root / "docs" / "models.md").read_text("utf-8")
    entries = json.loads((root / "weights" / "manifest.json").read_text("utf-8"))["weights"]
    for entry in entries:
        data = entry["training_data"]
        row = f"| {entry['model']} | `{entry['preset']}` | {entry['parameters']:,} | "
        assert f"{row}{data['description']} | {data['licence']} |" in text, entry["file"]


def test_what_troubleshooting_quotes_is_said_by_the_program(root: Path) -> None:
    """The first column of its tables: words between … are somewhere in the sources."""
    said = " \n ".join(strings(root / "radar_pose_ros"))
    for row in (root / "docs" / "troubleshooting.md").read_text("utf-8").splitlines():
        if not row.startswith("| `"):
            continue
        for quoted in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            parts = [part.strip(" :;,.") for part in quoted.split("…")]
            for part in parts:
                assert part in said or part.split(" ")[0] in WITHOUT_WORDS, (quoted, part)


# Names that stand before what the program says: of inputs and radars.
WITHOUT_WORDS = {"adc", "heatmaps", "image", "radar_h"}


def strings(folder: Path) -> list[str]:
    """Return all texts in the sources; … stands for what is put into them."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_marks_have_a_reason() -> None:
    assert all(way.why for _, way in documented.HOW if isinstance(way, Marked))
