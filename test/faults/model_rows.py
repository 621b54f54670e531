"""R4: weights that are missing, damaged or of another network; no GPU, or one that is full."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import safetensors.torch
import torch
from faults.bench import Bench
from faults.message_rows import Fuzzing
from faults.node_cases import NODES
from faults.rows import Outcome, row
from rclpy.parameter import Parameter

from radar_pose_ros import msg
from radar_pose_ros.models import weights
from radar_pose_ros.nodes.base import FAILURE, SUCCESS

LONGEST_SENTENCE = 5000  # the name that was given is in it
STATEMENTS = (msg.HumanPose2DArray, msg.HumanPose3DArray, msg.HeartRate, msg.PulseWave)
# Program, its other parameters, and the model and preset of weights that it can use.
USERS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("mamba_pose", {"threads": 1}, "millimamba", "edge"),
    ("mamba_pose", {"threads": 1, "input": "points"}, "points", "points"),
    ("pose_refiner", {}, "mixsynthformer", "radar_2d"),
    ("pose_lifter", {}, "diffhpe", "wrapper"),
    ("densewarper", {"method": "densewarper", "threads": 1}, "densewarper", "light"),
    ("rppg", {"method": "physmamba"}, "physmamba", "edge"),
)


class Copy:
    """A copy of a file of weights and of its manifest, alone in a folder."""

    def __init__(self, folder: Path, model: str, preset: str) -> None:
        source = weights.weights_directory()
        self.others = weights.read_manifest(source)
        self.source = source
        self.folder = folder
        self.entry = dict(
            next(e for e in self.others if (e["model"], e["preset"]) == (model, preset))
        )
        self.path = folder / self.entry["file"]
        shutil.copy(source / self.entry["file"], self.path)
        if self.entry["baseline"]:
            shutil.copy(source / self.entry["baseline"], folder)
        self.list()

    def list(self) -> None:
        """Write the manifest."""
        (self.folder / weights.MANIFEST).write_text(json.dumps({"weights": [self.entry]}))

    def replace(self, content: bytes) -> None:
        """Write other content, with the right hash."""
        self.path.write_bytes(content)
        self.entry["sha256"] = hashlib.sha256(content).hexdigest()
        self.list()

    def state(self) -> dict[str, torch.Tensor]:
        """Return the numbers."""
        return safetensors.torch.load(self.path.read_bytes())

    def save(self, state: dict[str, torch.Tensor]) -> None:
        """Write other numbers, with the right hash."""
        self.replace(safetensors.torch.save(state))


def _one(state: dict[str, torch.Tensor], rng: random.Random) -> str:
    """Return the name of one of the tensors that hold real numbers."""
    return rng.choice(sorted(k for k, v in state.items() if v.is_floating_point() and v.numel()))


def _missing(copy: Copy, rng: random.Random) -> str:
    copy.path.unlink()
    return str(copy.path)


def _without_manifest(copy: Copy, rng: random.Random) -> str:
    (copy.folder / weights.MANIFEST).unlink()
    return str(copy.path)


def _not_listed(copy: Copy, rng: random.Random) -> str:
    copy.entry["file"] = "another.safetensors"
    copy.list()
    return str(copy.path)


def _unknown(copy: Copy, rng: random.Random) -> str:
    return rng.choice(["nothing", "paper2", "../edge", "edge ", "/", "~", "a\nb", "x" * 4000])


def _a_folder(copy: Copy, rng: random.Random) -> str:
    copy.path.unlink()
    copy.path.mkdir()
    return str(copy.path)


def _one_bit(copy: Copy, rng: random.Random) -> str:
    content = bytearray(copy.path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    copy.path.write_bytes(content)
    return str(copy.path)


def _cut_off(copy: Copy, rng: random.Random) -> str:
    content = copy.path.read_bytes()
    content = content[: rng.choice([0, 7, rng.randrange(len(content)), len(content) - 1])]
    (copy.replace if rng.random() < 0.5 else copy.path.write_bytes)(content)
    return str(copy.path)


def _garbage(copy: Copy, rng: random.Random) -> str:
    copy.replace(rng.randbytes(rng.choice([1, 8, 100, 100_000])))
    return str(copy.path)


def _endless_head(copy: Copy, rng: random.Random) -> str:
    length = rng.choice([2**63, 2**40, 10**9, len(copy.path.read_bytes())])
    copy.replace(length.to_bytes(8, "little") + copy.path.read_bytes()[8:])
    return str(copy.path)


def _pickle(copy: Copy, rng: random.Random) -> str:
    content = io.BytesIO()
    torch.save(copy.state(), content)
    copy.replace(content.getvalue())
    return str(copy.path)


def _not_finite(copy: Copy, rng: random.Random) -> str:
    state = copy.state()
    values = state[_one(state, rng)].view(-1)
    values[rng.randrange(len(values))] = rng.choice([float("nan"), float("inf"), -float("inf")])
    copy.save(state)
    return str(copy.path)


def _another_shape(copy: Copy, rng: random.Random) -> str:
    state = copy.state()
    name = _one(state, rng)
    state[name] = torch.cat([state[name], state[name]]) if state[name].dim() else torch.zeros(2)
    copy.save(state)
    return str(copy.path)


def _tensor_missing(copy: Copy, rng: random.Random) -> str:
    state = copy.state()
    del state[_one(state, rng)]
    copy.save(state)
    return str(copy.path)


def _tensor_more(copy: Copy, rng: random.Random) -> str:
    copy.save({**copy.state(), "more": torch.zeros(3)})
    return str(copy.path)


def _another_network(copy: Copy, rng: random.Random) -> str:
    """Another network, told what it is, or under the name of this one."""
    others = [entry for entry in copy.others if entry["model"] != copy.entry["model"]]
    other = rng.choice(others)
    content = (copy.source / other["file"]).read_bytes()
    if rng.random() < 0.5:
        copy.entry = {**other, "file": copy.entry["file"]}
    copy.replace(content)
    return str(copy.path)


def _another_configuration(copy: Copy, rng: random.Random) -> str:
    config = dict(copy.entry["config"])
    numbers = [name for name, value in config.items() if type(value) is int]
    config[rng.choice(numbers)] += 1
    copy.entry["config"] = config
    copy.list()
    return str(copy.path)


def _manifest_cut(copy: Copy, rng: random.Random) -> str:
    path = copy.folder / weights.MANIFEST
    text = path.read_text()
    path.write_text(text[: rng.randrange(len(text) - 2)])
    return str(copy.path)


def _manifest_field(copy: Copy, rng: random.Random) -> str:
    """A field of the manifest of another type, or not there."""
    name = rng.choice(sorted(weights.FIELDS))
    if rng.random() < 0.5:
        del copy.entry[name]
    else:
        copy.entry[name] = rng.choice([None, [], 7.5])
    copy.list()
    return str(copy.path)


DAMAGES: tuple[Callable[[Copy, random.Random], str], ...] = (
    *(_missing, _without_manifest, _not_listed, _unknown, _a_folder, _one_bit, _cut_off, _garbage),
    *(_endless_head, _pickle, _not_finite, _another_shape, _tensor_missing, _tensor_more),
    *(_another_network, _another_configuration, _manifest_cut, _manifest_field),
)


def refusal(bench: Bench, given: str) -> str:
    """Try to configure with these weights; say what is wrong with the answer, "" if nothing is."""
    node = bench.node
    told = node.set_parameters([Parameter("weights", value=given)])[0]
    if not told.successful:
        return "" if told.reason else "refused without a reason"
    bench.take_sent()
    if node.trigger_configure() is not FAILURE:
        node.trigger_cleanup()
        return "it configured itself"
    reason = node.health.failure
    if not reason.startswith("cannot configure: ") or "\n" in reason:
        return f"it said {reason!r}"
    if len(reason) > LONGEST_SENTENCE:
        return f"a sentence of {len(reason)} letters"
    if any(said.level == "error" and "Traceback" in said.text for said in bench.log.lines):
        return f"a traceback: {reason}"
    if any(isinstance(sent.message, STATEMENTS) for sent in bench.take_sent()):
        return "it published"
    return ""


@row(
    "R4",
    fault="weights that are missing, cut off, garbage, pickled, of another hash, with NaN, of "
    "other shapes, of another network; a manifest that is damaged; each node that has weights",
    must_hold="configure FAILURE with one sentence, nothing published; with the right ones then "
    "SUCCESS",
    volume=600,
    unit="configurations",
)
def damaged_weights(volume: int, seed: int) -> Outcome:
    """Configure nodes with damaged weights."""
    done: Counter[str] = Counter()
    faults: list[str] = []
    by_user: dict[int, list[tuple[int, int]]] = {}
    for number in range(volume):  # each damage comes to every user, one after the other
        user = (number + number // len(DAMAGES)) % len(USERS)
        by_user.setdefault(user, []).append((number, number % len(DAMAGES)))
    for user, numbers in by_user.items():
        name, parameters, model, preset = USERS[user]
        with Bench(name, parameters) as bench:
            for number, damage in numbers:
                rng = random.Random(f"{seed}/{number}")
                with tempfile.TemporaryDirectory() as folder:
                    given = DAMAGES[damage](Copy(Path(folder), model, preset), rng)
                    bench.log.lines = []
                    if fault := refusal(bench, given):
                        what = DAMAGES[damage].__name__.strip("_")
                        faults.append(f"{name} ({model}), {what}, case {number}: {fault}")
                done[model] += 1
            bench.node.set_parameters([Parameter("weights", value=preset)])
            if bench.node.trigger_configure() is not SUCCESS:
                faults.append(f"{name} with {preset}: {bench.node.health.failure}")
    figures = f"{sum(done.values())} configurations of {len(done)} networks, all refused"
    if faults:
        figures = f"{sum(done.values())} configurations; seed {seed}: " + "; ".join(faults[:4])
    return Outcome(not faults, figures)


@row(
    "R4",
    fault="CUDA asked for and not there; memory of the GPU full while the network is loaded",
    must_hold="FAILURE with one sentence; on the CPU, with a warning, only if allow_cpu",
    volume=20,
    unit="configurations",
)
def without_gpu(volume: int, seed: int) -> Outcome:
    """Ask for a GPU that torch does not see, or that is full."""
    faults = []
    for name, parameters in (("mamba_pose", {"threads": 1}), ("mamba_pose", {"input": "points"})):
        with Bench(name, {**parameters, "device": "cuda"}) as bench:
            for _ in range(max(1, volume // 4)):
                faults += _without_gpu(bench)
    figures = f"{4 * max(1, volume // 4)} configurations"
    return Outcome(not faults, "; ".join([figures, *faults[:4]]))


def _without_gpu(bench: Bench) -> list[str]:
    node, faults = bench.node, []
    with patch("torch.cuda.is_available", return_value=False):
        node.set_parameters([Parameter("allow_cpu", value=False)])
        if node.trigger_configure() is not FAILURE or "sees no GPU" not in node.health.failure:
            faults.append(f"without a GPU: {node.health.failure!r}")
        node.set_parameters([Parameter("allow_cpu", value=True)])
        if node.trigger_configure() is not SUCCESS:
            faults.append(f"on the CPU: {node.health.failure}")
        elif "no GPU: the network runs on the CPU" not in node.health.report(True)[1]:
            faults.append("on the CPU without a warning")
        node.trigger_cleanup()
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    available = patch("torch.cuda.is_available", return_value=True)
    with available, patch.object(torch.nn.Module, "to", side_effect=full):
        if node.trigger_configure() is not FAILURE or "out of memory" not in node.health.failure:
            faults.append(f"with a full GPU: {node.health.failure!r}")
    return faults


@row(
    "R4",
    fault="memory of the GPU full while the network runs, once in each stream",
    must_hold="no pose of that window, an error in the diagnostics, and poses again by themselves",
    volume=20,
    unit="streams",
)
def full_gpu(volume: int, seed: int) -> Outcome:
    """Let the network run out of memory, and wait for the next pose."""
    from radar_pose_ros.models.engine import Engine

    case = NODES["mamba_pose"]
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    faults = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Bench(case.node, case.parameters(Path(folder))) as b,
    ):
        b.start()
        fuzzing = Fuzzing(case, b, seed)
        if not len(fuzzing.stream()):
            return Outcome(False, "no pose before anything was wrong")
        for number in range(volume):
            with patch.object(Engine, "estimate", side_effect=full):
                said = fuzzing.stream()
            if len(said):
                faults.append(f"stream {number}: a pose though nothing was estimated")
            b.node._next_revival_s = 0.0  # not to wait for the back-off, which R2 measures
            b.node._watch()
            if not b.node.is_active or not len(fuzzing.stream()):
                faults.append(f"stream {number}: no pose afterwards")
    return Outcome(not faults, "; ".join([f"{volume} streams", *faults[:4]]))
