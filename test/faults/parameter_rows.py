"""R13: parameters and other services of every node, asked for nonsense; parameter files."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from faults.mutation import REALS, TEXTS, WHOLES
from faults.observer import FaultyError, Observer, surroundings
from faults.rows import Outcome, row
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import (
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from radar_pose_ros.nodes import parameters
from radar_pose_ros.nodes.parameters import LONGEST_TEXT, ParameterSpec
from radar_pose_ros.resources import find

T = ParameterType
TYPES = {
    "bool": T.PARAMETER_BOOL,
    "int": T.PARAMETER_INTEGER,
    "double": T.PARAMETER_DOUBLE,
    "string": T.PARAMETER_STRING,
    "double_array": T.PARAMETER_DOUBLE_ARRAY,
}
FIELDS = {
    T.PARAMETER_BOOL: "bool_value",
    T.PARAMETER_INTEGER: "integer_value",
    T.PARAMETER_DOUBLE: "double_value",
    T.PARAMETER_STRING: "string_value",
    T.PARAMETER_BYTE_ARRAY: "byte_array_value",
    T.PARAMETER_BOOL_ARRAY: "bool_array_value",
    T.PARAMETER_INTEGER_ARRAY: "integer_array_value",
    T.PARAMETER_DOUBLE_ARRAY: "double_array_value",
    T.PARAMETER_STRING_ARRAY: "string_array_value",
}
UNKNOWN_TYPES = (10, 99, 200, 255)
STRANGE_NAMES = ("", "nothing", "a.b.c", "use_sim_time", "qos_overrides./x", "\n", "x" * 5000)
# Of these, strings must also name something that is there: they may be refused all the same.
NAMING = ("unplugged", "silent", "exchanged", "uncalibrated", "displaced", "id_prefix", "views")
# With these each gets active on any machine.
ACTIVE: dict[str, dict[str, Any]] = {
    "radar_preprocessor": {},
    "pose_refiner": {},
    "visualizer": {},
    "densewarper": {},
    "rppg": {"method": "pos", "region": "8 8 40 32"},
    "rig_emulator": {"clip_s": 2.0},
    "mamba_pose": {"threads": 1},
    "pose_lifter": {},
    "recorder": {"bag": "FOLDER/bag"},
    "uart_emulator": {"points_port": "FOLDER/points"},
}
ANSWER_S = 5.0
UNANSWERED_S = 0.5  # values of types that there are not are not answered by rclpy, but survived
STOPPED_S = 15.0


def every_node() -> list[str]:
    """Return the names of all nodes that have parameters."""
    folder = find("config", "parameters", "common.yaml").parent
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "common")


class Process:
    """One node in a process of its own."""

    def __init__(
        self, node: str, values: dict[str, Any], folder: Path, observer: Observer | None
    ) -> None:
        self.node, self._observer = node, observer
        told = {
            name: v.replace("FOLDER", str(folder)) if isinstance(v, str) else v
            for name, v in values.items()
        }
        file = folder / f"{node}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": told}}))
        self._log = folder / f"{node}.log"  # a pipe that nobody reads would hold it up
        with self._log.open("w") as log:
            self.process = start(node, ["--params-file", str(file)], log)

    def ask(self, kind: type, name: str, request: Any, timeout_s: float = ANSWER_S) -> Any:
        """Return the answer of a service; `FaultyError` if none comes."""
        assert self._observer is not None
        return self._observer.call(kind, f"/{self.node}/{name}", request, timeout_s, 1)

    def end(self) -> str:
        """Ask it to end; say what was wrong with that or with what it printed, "" if nothing."""
        if self.process.poll() is not None:
            printed = self._log.read_text(errors="replace").strip()[-300:]
            return f"it ended with code {self.process.returncode}: {printed}"
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOPPED_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"it did not end: {self._log.read_text(errors='replace').strip()[-300:]}"
        printed = self._log.read_text(errors="replace")
        traces = printed.count("Traceback")
        return f"{traces} tracebacks: {printed.strip()[-300:]}" if traces else ""


def start(node: str, arguments: list[str], log: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a node."""
    return subprocess.Popen(
        [sys.executable, "-m", "radar_pose_ros.nodes", node, "--ros-args", *arguments],
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )


# -- set_parameters ----------------------------------------------------------------------------


def random_value(rng: random.Random, spec: ParameterSpec | None) -> ParameterValue:
    """Return any value; often of the right type, and near the ends of what is allowed."""
    if rng.random() < 0.01:
        return ParameterValue(type=rng.choice(UNKNOWN_TYPES))
    wanted = TYPES[spec.type] if spec is not None else T.PARAMETER_STRING
    kind = wanted if rng.random() < 0.7 else rng.choice([T.PARAMETER_NOT_SET, *FIELDS])
    value = ParameterValue(type=kind)
    if kind != T.PARAMETER_NOT_SET:
        setattr(value, FIELDS[kind], _content(rng, kind, spec))
    return value


def _content(rng: random.Random, kind: int, spec: ParameterSpec | None) -> Any:
    ends = list(spec.range) if spec is not None and spec.range is not None else []
    wholes = [*WHOLES, -(2**63), 2**63 - 1, *(round(e) + d for e in ends for d in (-1, 0, 1))]
    reals = [*REALS, *map(float, ends), *(math.nextafter(e, math.inf) for e in ends)]
    texts = [*TEXTS, "y" * (LONGEST_TEXT + 1), *(spec.choices if spec is not None else ())]
    texts = [text.replace("\0", "") for text in texts]
    choose = {
        T.PARAMETER_BOOL: lambda: rng.random() < 0.5,
        T.PARAMETER_INTEGER: lambda: rng.choice(wholes),
        T.PARAMETER_DOUBLE: lambda: rng.choice(reals),
        T.PARAMETER_STRING: lambda: rng.choice(texts),
        T.PARAMETER_BYTE_ARRAY: lambda: bytes([rng.randrange(256)]),
    }
    if kind in choose and kind != T.PARAMETER_BYTE_ARRAY:
        return choose[kind]()
    one = {
        T.PARAMETER_BYTE_ARRAY: T.PARAMETER_BYTE_ARRAY,
        T.PARAMETER_BOOL_ARRAY: T.PARAMETER_BOOL,
        T.PARAMETER_INTEGER_ARRAY: T.PARAMETER_INTEGER,
        T.PARAMETER_DOUBLE_ARRAY: T.PARAMETER_DOUBLE,
        T.PARAMETER_STRING_ARRAY: T.PARAMETER_STRING,
    }[kind]
    length = spec.length if spec is not None and spec.length and rng.random() < 0.7 else 0
    if kind == T.PARAMETER_DOUBLE_ARRAY and rng.random() < 0.5:
        return [rng.uniform(-9, 9) for _ in range(length or 2)]
    return [choose[one]() for _ in range(length or rng.choice([0, 1, 3, 500]))]


def may_be_set(spec: ParameterSpec | None, value: ParameterValue, active: bool) -> bool:
    """Whether a value must be taken; read from what `config/parameters` says."""
    if spec is None or spec.read_only or value.type != TYPES[spec.type]:
        return False
    if active and not spec.while_active:
        return False
    content = getattr(value, FIELDS[value.type])
    if spec.length:
        return len(content) == spec.length and all(map(math.isfinite, content))
    if spec.range is not None:
        return bool(spec.range[0] <= content <= spec.range[1])
    if spec.choices:
        return content in spec.choices
    return not isinstance(content, str) or len(content) <= LONGEST_TEXT


def judged(
    spec: ParameterSpec | None, asked: Parameter, active: bool, taken: bool, reason: str
) -> str:
    """Say what is wrong with the answer to a request; "" if nothing is."""
    if spec is None and asked.name.startswith(("use_sim_time", "qos_overrides")):
        return ""  # they are rclpy's
    expected = may_be_set(spec, asked.value, active)
    if taken != expected and not (expected and asked.name in NAMING):
        return f"{'taken' if taken else f'refused ({reason})'}"
    if taken:
        return ""
    if not reason or "\n" in reason.strip() or len(reason) > 2 * LONGEST_TEXT:
        return f"refused with {reason[:200]!r}"
    right_type = spec is not None and asked.value.type == TYPES[spec.type]
    if right_type and spec.range is not None and not spec.read_only:
        content = getattr(asked.value, FIELDS[asked.value.type])
        lowest, highest = (f"{end:g}" for end in spec.range)
        inside = spec.range[0] <= content <= spec.range[1]
        known = all(end in reason or str(float(end)) in reason for end in (lowest, highest))
        if not inside and not known:
            return f"refused without the range: {reason!r}"
    return ""


class Asking:
    """Random requests to one node.

    Attributes
    ----------
    counts : Counter
        "taken", "refused" and "unanswered".
    faults : list of str
    """

    def __init__(self, process: Process, active: bool, seed: str) -> None:
        self.process, self.active, self.seed = process, active, seed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._specs = parameters.load(process.node)

    def set_parameters(self, number: int) -> None:
        """Ask for one to three changes, and judge each answer."""
        rng = random.Random(f"{self.seed}/{self.process.node}/{number}")
        asked = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            names = list(self._specs) if rng.random() < 0.9 else list(STRANGE_NAMES)
            name = rng.choice(names)
            asked.append(Parameter(name=name, value=random_value(rng, self._specs.get(name))))
        strange = any(one.value.type in UNKNOWN_TYPES for one in asked)
        timeout_s = UNANSWERED_S if strange else ANSWER_S
        try:
            if rng.random() < 0.7:
                request = SetParameters.Request(parameters=asked)
                answer = self.process.ask(SetParameters, "set_parameters", request, timeout_s)
                results = answer.results
            else:
                together = SetParametersAtomically.Request(parameters=asked[:1])
                name = "set_parameters_atomically"
                answer = self.process.ask(SetParametersAtomically, name, together, timeout_s)
                results = [answer.result]
        except FaultyError as error:
            self.counts["unanswered"] += 1
            if not strange:
                self.faults.append(f"request {number}: {error}")
            return
        for one, result in zip(asked, results, strict=False):
            self.counts["taken" if result.successful else "refused"] += 1
            spec = self._specs.get(one.name)
            fault = judged(spec, one, self.active, result.successful, result.reason)
            if fault:
                value = getattr(one.value, FIELDS.get(one.value.type, "type"))
                text = f"request {number}: {one.name[:40]!r} = {value!r}"[:160]
                self.faults.append(f"{text}: {fault}")

    def ask_anything(self, number: int) -> None:
        """Ask another service for nonsense: it must answer."""
        rng = random.Random(f"{self.seed}/{self.process.node}/services/{number}")
        names = [rng.choice([*STRANGE_NAMES, *TEXTS]).replace("\0", "") for _ in range(3)]
        names = rng.choice([[], names[:1], names, names * 300])
        transition = Transition(id=rng.randrange(256), label=rng.choice(["", "fly", "active"]))
        depth = rng.choice([0, 1, 2**63, 2**64 - 1])
        kind, service, request = rng.choice(
            [
                (GetParameters, "get_parameters", GetParameters.Request(names=names)),
                (GetParameterTypes, "get_parameter_types", GetParameterTypes.Request(names=names)),
                (
                    DescribeParameters,
                    "describe_parameters",
                    DescribeParameters.Request(names=names),
                ),
                (
                    ListParameters,
                    "list_parameters",
                    ListParameters.Request(prefixes=names, depth=depth),
                ),
                (GetState, "get_state", GetState.Request()),
                (GetAvailableStates, "get_available_states", GetAvailableStates.Request()),
                (
                    GetAvailableTransitions,
                    "get_transition_graph",
                    GetAvailableTransitions.Request(),
                ),
            ]
        )
        try:
            self.process.ask(kind, service, request)
            self.counts["answered"] += 1
        except FaultyError as error:
            self.faults.append(f"services, request {number}: {error}")
        if number % 10 == 0:
            self._ask_for_no_transition(transition, number)

    def _ask_for_no_transition(self, transition: Transition, number: int) -> None:
        """Ask for a transition that there is not."""
        legal = (1, 2, 3, 4, 5, 6, 7)  # of those that somebody may ask for
        if transition.id in legal:
            transition.id = 99
        answer = self.process.ask(
            ChangeState, "change_state", ChangeState.Request(transition=transition)
        )
        if answer.success:
            self.faults.append(f"services, request {number}: transition {transition.id} was made")

    def still(self) -> None:
        """The node must be in the state that it was in."""
        state = self.process.ask(GetState, "get_state", GetState.Request()).current_state.label
        if state != ("active" if self.active else "unconfigured"):
            self.faults.append(f"it is {state} now")


def asked(nodes: dict[str, dict[str, Any]], active: bool, volume: int, seed: int) -> Outcome:
    """Send so many requests to each node, and half as many to its other services."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    with surroundings() as folder, Observer() as observer:
        for node, values in nodes.items():
            process = Process(node, {"autostart": active, **values}, folder, observer)
            asking = Asking(process, active, f"{seed}")
            try:
                if active:
                    observer.wait_active(node)
                for number in range(volume):
                    asking.set_parameters(number)
                    if number % 2:
                        asking.ask_anything(number)
                asking.still()
            except FaultyError as error:
                asking.faults.append(str(error))
            if fault := process.end():
                asking.faults.append(fault)
            counts += asking.counts
            faults += [f"{node}: {fault}" for fault in asking.faults]
    figures = (
        f"{len(nodes)} nodes x {volume} requests: {counts['taken']} changes taken, "
        f"{counts['refused']} refused, {counts['answered']} other requests answered"
    )
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        figures += f"; seed {seed}: " + "; ".join(faults[:5]) + more
    return Outcome(not faults, figures)


@row(
    "R13",
    fault="set_parameters with any value of any type for any name, and nonsense to the other "
    "services, of each node that is not configured",
    must_hold="taken exactly if config/parameters allows it, else refused with a reason, and with "
    "the range; every request answered; the node is there, in its state",
    volume=1000,
    unit="requests per node",
)
def parameters_unconfigured(volume: int, seed: int) -> Outcome:
    """Ask nodes that wait to be configured."""
    return asked({node: {} for node in every_node()}, False, volume, seed)


@row(
    "R13",
    fault="the same, of each node that can be active without hardware, while it is",
    must_hold="taken only if it may change while active, and in range; else as before; still "
    "active",
    volume=1000,
    unit="requests per node",
)
def parameters_active(volume: int, seed: int) -> Outcome:
    """Ask nodes that work."""
    return asked(ACTIVE, True, volume, seed)


# -- files -------------------------------------------------------------------------------------

# Without parameters these do not configure themselves, and say so.
WANTING = {
    "recorder": "parameter bag is empty",
    "replayer": "parameter bag is empty",
    "keypoint_detector": "there is no model",
}


def parameter_file(rng: random.Random, node: str) -> tuple[bytes, bool]:
    """Return a file, and whether the node must say that something is wrong with it."""
    specs = parameters.load(node)
    ranged = [spec for spec in specs.values() if spec.range or spec.choices]
    wrong: dict[str, Any] = {}
    how = rng.choice(("out", "type", "unknown", "text", "bytes", "nested", "another", "empty"))
    if how == "out":
        spec = rng.choice(ranged)
        if spec.choices:
            wrong = {spec.name: "neither"}
        else:
            high = spec.range[1] + 1  # type: ignore[index]
            wrong = {spec.name: int(high) if spec.type == "int" else float(high)}
    elif how == "type":
        spec = rng.choice(list(specs.values()))
        others = {"bool": 3, "int": "many", "double": "far", "string": 1.5, "double_array": True}
        wrong = {spec.name: others[spec.type]}
    elif how == "unknown":
        return _parameter_yaml(node, {"nothing_of_this_name": 1, "a.b": "x"}), False
    elif how == "text":
        valid = _parameter_yaml(node, {"autostart": True}).decode()
        return valid.replace(
            ":", rng.choice(["", "::", ": [", ": {", ": &x *y"]), 1
        ).encode(), True
    elif how == "bytes":
        return rng.randbytes(rng.choice([3, 100, 10_000])), True
    elif how == "nested":
        return yaml.safe_dump({node: {"ros__parameters": 7}}).encode(), True
    elif how == "another":
        return _parameter_yaml("another_node", {"autostart": 7}), False
    else:
        return _parameter_yaml(node, {}) if rng.random() < 0.5 else b"/**:\n", True
    return _parameter_yaml(node, wrong), True


def _parameter_yaml(node: str, values: dict[str, Any]) -> bytes:
    return yaml.safe_dump({f"/{node}": {"ros__parameters": values}}).encode()


@row(
    "R13",
    fault="parameter files at the start: values out of range, of another type, of nothing, YAML "
    "that is none, bytes, somebody else's",
    must_hold="code 2 and one sentence if it cannot be used, else as without the file; no "
    "traceback, within 30 s",
    volume=200,
    unit="starts",
)
def parameter_files(volume: int, seed: int) -> Outcome:
    """Start nodes with files."""
    faults, said = [], Counter[str]()
    nodes = list(WANTING)
    with surroundings() as folder, unconfigured_ends():
        for number in range(volume):
            rng = random.Random(f"{seed}/{number}")
            node = nodes[number % len(nodes)]
            content, is_wrong = parameter_file(rng, node)
            file = folder / "parameters.yaml"
            file.write_bytes(content)
            process = start(node, ["--params-file", str(file)])
            try:
                printed = process.communicate(timeout=30)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                faults.append(f"start {number} of {node}: still there after 30 s")
                continue
            errors = [line for line in printed.splitlines() if line.startswith("error: ")]
            usual = WANTING[node] in printed
            said["as without a file" if usual else "refused"] += 1
            if process.returncode != 2 or len(errors) != 1 or "Traceback" in printed:
                faults.append(
                    f"start {number} of {node}: {process.returncode}, {printed[-300:]!r}"
                )
            elif not is_wrong and not usual:
                faults.append(f"start {number} of {node}: refused, {errors[0]}")
    figures = f"{volume} starts: {said['refused']} refused, {said['as without a file']} usual"
    return Outcome(not faults, "; ".join([figures, *faults[:4]]))


@contextlib.contextmanager
def unconfigured_ends() -> Iterator[None]:
    """Let nodes that cannot configure themselves end, as under `radar-pose up`."""
    os.environ["RADAR_POSE_EXIT_UNCONFIGURED"] = "1"
    try:
        yield
    finally:
        os.environ.pop("RADAR_POSE_EXIT_UNCONFIGURED", None)
