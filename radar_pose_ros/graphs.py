"""What a graph of nodes is: plain data, its arguments, and the check of files of parameters.

The graphs themselves are in `bringup`. Needs neither rclpy nor launch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from radar_pose_ros import documents
from radar_pose_ros.nodes import parameters as declared
from radar_pose_ros.nodes import transport
from radar_pose_ros.wording import nearest

Given = Mapping[str, str | bool | int | float]
"""Arguments, as text or typed."""

# Parameters that rclpy gives every node.
_OF_RCLPY = ("use_sim_time", "start_type_description_service")
USUAL_LOG_LEVEL = "info"  # ROS's own
DEFAULT = "default"
"""The value of an argument that stands for what another graph has for it."""


class BringupError(ValueError):
    """An argument of a graph that cannot be used: says which, and what is allowed."""


@dataclass(frozen=True)
class NodeSpec:
    """One process of a graph: a node, or several.

    Parameters
    ----------
    executable : str
        Name of the program, and of its module in ``radar_pose_ros.nodes``.
    name, namespace : str
        Where it stands in the graph.
    parameters : mapping
        Parameter values that differ from the node's defaults.
    remappings : sequence of (str, str)
        Names and what they become.
    parameter_files : sequence of str
        ROS parameter files; what they set wins over `parameters`. Of what they say under the same
        name of a node, later ones win over earlier ones, and that name over patterns such as /**.
    environment : mapping
        Variables to set for the process.
    log_level : str
        What it says: debug, warn, error or fatal; empty for info, as ROS has it.
    outlives_others : bool
        Whether to end this node only after the others, which may want to say goodbye to it.
    ends_graph : bool
        Whether the others have nothing to do when this node has ended.
    others_in : str
        Its parameter that gets the names of all other nodes; empty if there is none.
    parts : sequence of NodeSpec
        The nodes that the program `composition` runs in one process. It has no parameters itself.
    """

    executable: str
    name: str
    namespace: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Sequence[tuple[str, str]] = ()
    parameter_files: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    log_level: str = ""
    outlives_others: bool = False
    ends_graph: bool = False
    others_in: str = ""
    parts: Sequence[NodeSpec] = ()

    @property
    def label(self) -> str:
        """The name with its namespace, for messages."""
        return f"{self.namespace}/{self.name}".strip("/")

    @property
    def enclave(self) -> str:
        """Where a keystore of SROS2 has the keys and permissions of the process."""
        return f"/{self.label}"

    @property
    def each(self) -> Sequence[NodeSpec]:
        """The nodes of this process."""
        return self.parts or (self,)

    @property
    def words(self) -> list[str]:
        """What the program is called with, after its own name."""
        if not self.parts:
            return [*self._own_words(self.enclave_words), *self.log_words]
        words = ["--ros-args", *self.enclave_words, *self.log_words, "--"]  # of the process
        for part in self.parts:
            words += [part.executable, *part._own_words(), "--"]
        return words

    @property
    def enclave_words(self) -> list[str]:
        """Those of them that name the enclave; of no effect without SROS2."""
        return ["--enclave", self.enclave]

    @property
    def log_words(self) -> list[str]:
        """Those of them that set how much the nodes say."""
        levels = [f"{n.label.replace('/', '.')}:={n.log_level}" for n in self.each if n.log_level]
        return [word for level in levels for word in ("--log-level", level)]

    def _own_words(self, of_process: Sequence[str] = ()) -> list[str]:
        words = ["--ros-args", "-r", f"__node:={self.name}"]
        words += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for before, after in self.remappings:
            words += ["-r", f"{before}:={after}"]
        return [*words, *of_process, *self.parameter_words]

    @property
    def parameter_words(self) -> list[str]:
        """Those of them that set parameters."""
        # What JSON calls a string or a number YAML does, too.
        given = [("-p", f"{name}:={json.dumps(value)}") for name, value in self.parameters.items()]
        files = [("--params-file", str(path)) for path in self.parameter_files]
        return [word for words in (*given, *files) for word in words]


@dataclass(frozen=True)
class Argument:
    """One argument of a graph; its default fixes its type."""

    name: str
    default: bool | int | float | str
    description: str
    choices: tuple[str, ...] = ()
    of_emulator: bool = False  # of no use unless `emulated`

    def parse(self, text: str) -> bool | int | float | str:
        """Return a value from text; `BringupError` says what is allowed."""
        if isinstance(self.default, bool):
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise BringupError(f"{self.name}: want true or false, got {text!r}")
        if self.choices and text not in self.choices:
            *first, last = self.choices
            raise BringupError(f"{self.name}: want {', '.join(first)} or {last}, got {text!r}")
        try:
            return type(self.default)(text)
        except ValueError:
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise BringupError(f"{self.name}: want {kind}, got {text!r}") from None


COMMON_ARGUMENTS = (
    Argument("namespace", "", "Namespace of all nodes; frames keep their names."),
    Argument("params_file", "", "File of node parameters, as ROS reads them; '': none."),
    Argument("use_sim_time", False, "All nodes take the time from /clock."),
    Argument(
        "log_level",
        USUAL_LOG_LEVEL,
        "What the nodes say: debug, info, warn, error or fatal.",
        ("debug", "info", "warn", "error", "fatal"),
    ),
    Argument("record", "", "Folder to make and record topics to; '': none is recorded."),
    Argument(
        "record_level",
        DEFAULT,
        "Which topics: all, sensor, adc, heatmap or pose. default: all; in replay, what is new.",
        (DEFAULT, "all", "sensor", "adc", "heatmap", "pose"),
    ),
)
"""What every graph can be asked for."""


def _everything(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the recorder's parameters of a graph where all is new."""
    return {"level": "all"}


def _nothing(values: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True)
class Graph:
    """A named graph: what it is for, its arguments, and what they make.

    Parameters
    ----------
    description : str
    own_arguments : sequence of Argument
        Those that `build` takes.
    build : callable
        Returns the nodes for values of these arguments.
    recorded : callable
        Returns, for them, the recorder's parameters that say what is worth recording.
    in_namespace : bool
        Whether `build` takes the namespace of the graph, too.
    warning_after : callable
        Returns, for the values of all arguments, what there is to say after its end, or "".
    """

    description: str
    own_arguments: tuple[Argument, ...]
    build: Callable[..., list[NodeSpec]]
    recorded: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _everything
    in_namespace: bool = False
    warning_after: Callable[[Mapping[str, Any]], str] = _nothing

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """All its arguments: its own, and those that every graph has."""
        return (*self.own_arguments, *COMMON_ARGUMENTS)

    def values(self, given: Given) -> dict[str, Any]:
        """Return the value of each argument; `BringupError` if one is not known or not allowed."""
        known = {argument.name: argument for argument in self.arguments}
        values: dict[str, Any] = {name: argument.default for name, argument in known.items()}
        for name, value in given.items():
            if name not in known:
                raise BringupError(f"there is no argument {name!r}, only {', '.join(known)}")
            values[name] = known[name].parse(str(value))
        for argument in self.own_arguments:
            idle = argument.of_emulator and not values["emulated"]
            if idle and values[argument.name] != argument.default:
                raise BringupError(f"{argument.name} is of the emulator: say emulated:=true too")
        return values

    def nodes(self, given: Given | None = None) -> list[NodeSpec]:
        """Return the nodes for these arguments; all others get their defaults.

        Raises
        ------
        BringupError
            If an argument is not known, or has a value of the wrong type or one that a node
            would refuse.
        """
        values = self.values(given or {})
        own = {argument.name: values[argument.name] for argument in self.own_arguments}
        where = {"namespace": values["namespace"]} if self.in_namespace else {}
        nodes = self.build(**own, **where)
        if values["record"]:
            level = values["record_level"]
            what = self.recorded(own) if level == DEFAULT else {"level": level}
            # First, so that it is there when the others begin.
            nodes.insert(0, _recorder(values["record"], what))
        nodes = [_in_common(node, values) for node in nodes]
        for node in nodes:
            for part in node.each:
                check_parameters(part)
        return [_with_names(node, nodes) if node.others_in else node for node in nodes]


def _recorder(bag: str, what: Mapping[str, Any]) -> NodeSpec:
    parameters = {"bag": bag, **what}
    return NodeSpec(
        "recorder", "recorder", parameters=parameters, environment=process_environment(1)
    )


def _in_common(node: NodeSpec, values: Mapping[str, Any]) -> NodeSpec:
    """Return a node as the arguments that every graph has want it."""
    namespace = values["namespace"].strip("/")
    if namespace and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", namespace, re.ASCII):
        raise BringupError(
            f"namespace: want names of letters, digits and _ with / between, got {namespace!r}"
        )
    inside = f"{namespace}/{node.namespace}".strip("/")
    if node.parts:
        parts = tuple(_in_common(part, values) for part in node.parts)
        return replace(node, namespace=inside, parts=parts)
    level = values["log_level"]
    times = {"use_sim_time": True} if values["use_sim_time"] else {}
    return replace(
        node,
        namespace=inside,
        parameters={**node.parameters, **times},
        parameter_files=(values["params_file"],) if values["params_file"] else (),
        log_level="" if level == USUAL_LOG_LEVEL else level,
    )


def _with_names(node: NodeSpec, nodes: Sequence[NodeSpec]) -> NodeSpec:
    names = " ".join(other.label for other in flat(nodes) if other.label != node.label)
    return replace(node, parameters={**node.parameters, node.others_in: names})


def with_parameter_files(nodes: Iterable[NodeSpec], files: Sequence[str]) -> list[NodeSpec]:
    """Return nodes that read these files, too, after those that they read already."""
    return [
        replace(
            node,
            parameter_files=(*node.parameter_files, *files),
            parts=tuple(with_parameter_files(node.parts, files)),
        )
        for node in nodes
    ]


def flat(nodes: Iterable[NodeSpec]) -> list[NodeSpec]:
    """Return all nodes, also of those that share a process."""
    return [part for node in nodes for part in node.each]


@lru_cache
def _declared(executable: str) -> Mapping[str, declared.ParameterSpec]:
    return declared.load(executable)


def check_parameters(node: NodeSpec) -> None:
    """Raise `BringupError` if the node would refuse one of its values: better now than running."""
    specs = _declared(node.executable)
    for name, value in node.parameters.items():
        if name in _OF_RCLPY:
            continue
        if name not in specs:
            raise BringupError(f"{node.label} has no parameter {name!r}")
        if type(value) is not declared.TYPES[specs[name].type]:
            raise BringupError(
                f"{node.label}: parameter {name} is {value!r}, want {specs[name].type}"
            )
        try:
            specs[name].check(value)
        except declared.ParameterError as error:
            raise BringupError(f"{node.label}: {error}") from None


def check_parameter_file(path: str, of: Graph, given: Given | None = None) -> list[str]:
    """Check the names in a ROS parameter file, which ROS ignores if they are misspelt.

    Nodes that the graph has with other arguments than those given may be named, too; all of them
    in the namespace that is given.

    Returns
    -------
    list of str
        The names in the file of nodes that are not started.

    Raises
    ------
    BringupError
        If there is no such file, it is none of parameters, or it names a node or a parameter that
        there is not; says which are like it.
    """
    if not Path(path).is_file():
        raise BringupError(f"there is no parameter file {path!r}")
    try:
        sections = list(_sections(documents.read_yaml(path)))
    except documents.DocumentError as error:
        raise BringupError(str(error)) from None
    except BringupError as error:
        raise BringupError(f"{path}: {error}") from None
    given = given or {}
    variants = [variant for variant in _variants(of) if _is_possible(of, variant)]
    space = {"namespace": given["namespace"]} if "namespace" in given else {}
    all_nodes = [n for some in (*variants, given) for n in flat(of.nodes({**some, **space}))]
    nodes = {f"/{node.label}": node for node in all_nodes}
    started = [f"/{node.label}" for node in flat(of.nodes(given))]
    idle = []
    for name, values in sections:
        named = [nodes[label] for label in nodes if re.fullmatch(_pattern(name), label)]
        if not named:
            raise BringupError(f"{path}: there is no node {name}: {nearest(name, nodes)}")
        if not any(re.fullmatch(_pattern(name), label) for label in started):
            idle.append(name)
        known = {key: None for node in named for key in _declared(node.executable)}
        for parameter in _names(values):
            ours = parameter in known or parameter in _OF_RCLPY
            if not ours and not parameter.startswith("qos_overrides."):
                raise BringupError(
                    f"{path}: {name} has no parameter {parameter!r}: {nearest(parameter, known)}"
                )
    return idle


def _variants(of: Graph) -> list[dict[str, bool | str]]:
    """Return arguments with which, taken together, a graph has every node that it can have."""
    texts = {a.name for a in COMMON_ARGUMENTS} - {"record"}
    switched: dict[str, bool | str] = {}
    filled: dict[str, bool | str] = {}
    chosen: list[dict[str, bool | str]] = []
    for argument in of.arguments:
        if isinstance(argument.default, bool):
            switched[argument.name] = True
        elif argument.default == "" and argument.name not in texts and not argument.of_emulator:
            filled[argument.name] = "any"
        elif argument.name not in texts:
            chosen += [{argument.name: choice} for choice in argument.choices]
    return [switched, filled, *chosen]


def _is_possible(of: Graph, given: Given) -> bool:
    try:
        of.nodes(given)
    except BringupError:
        return False
    return True


def _sections(content: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the full name of each node in a parameter file, wildcards and all, and its values."""
    if not isinstance(content, Mapping):
        raise BringupError(
            "want names of nodes, below them ros__parameters, got "
            f"{documents.shortened(content)} at {name or '/'}"
        )
    for key, value in content.items():
        if key != "ros__parameters":
            yield from _sections(value, f"{name}/{str(key).strip('/')}")
        elif isinstance(value, Mapping):
            yield name, value
        else:
            said = documents.shortened(value)
            raise BringupError(f"{name}: want parameters with their values, got {said}")


def _pattern(name: str) -> str:
    """Return a regular expression of a node's name: * is one part of it, ** any number."""
    wild = {"*": "/[^/]+", "**": "(?:/[^/]+)*"}
    return "".join(wild.get(part, "/" + re.escape(part)) for part in name.split("/")[1:])


def _names(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the names of parameters; of those inside of others with dots, as ROS has them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def process_environment(threads: int) -> dict[str, str]:
    """Return the variables that every node of a graph gets.

    OpenMP's default of spinning while it waits makes several processes on few cores up to fifty
    times slower; the middleware's default loses messages as large as a frame of raw samples.
    """
    return {
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(transport.profile()),
    }
