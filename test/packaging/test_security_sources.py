"""What no source does here: run what it is given, unpickle, call a shell or the internet.

Reads the syntax trees. What is an exception stands in `EXCEPTIONS` with its reason, and goes from
there when the source has changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("radar_pose_ros", "launch", "benchmarks", "underlay", "docs")
FILES = sorted({ROOT / "setup.py", *(p for f in FOLDERS for p in (ROOT / f).rglob("*.py"))})

RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pty.spawn",
}
REPLACES_PROCESS = {
    f"os.{kind}{how}"
    for kind in ("exec", "spawn")
    for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")
}
NETWORK = {
    *("urllib.request", "http.client", "http.server", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("socketserver", "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub", "torch.hub"),
}
XML_OF_OTHERS = {"xml.etree", "xml.sax", "xml.dom", "lxml"}  # entities that expand without end

EXCEPTIONS = {
    ("benchmarks/__init__.py", "imports by a name"): "of a file of that folder",
    ("radar_pose_ros/__init__.py", "runs text"): "imports pkgutil; `import` would leave its name",
    ("radar_pose_ros/datasets/object_arrays.py", "unpickles"): "reads data sets of others by an "
    "unpickler that makes plain data only and calls nothing; its tests feed it what would",
    ("radar_pose_ros/environment.py", "replaces the process"): "starts the same program again",
    ("radar_pose_ros/cli.py", "imports by a name"): "of a table of commands",
    ("radar_pose_ros/models/weights.py", "imports by a name"): "of a table of networks",
    ("radar_pose_ros/nodes/__main__.py", "imports by a name"): "if there is a node's file of it",
    (
        "radar_pose_ros/nodes/composition.py",
        "imports by a name",
    ): "if there is a node's file of it",
    ("radar_pose_ros/nodes/recorder.py", "imports by a name"): "of a message's package, checked",
    ("setup.py", "reads XML"): "its own package.xml",
}


def name_of(node: ast.AST) -> str:
    """Return the dotted name of what is called, as it is written."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return "?"


def is_given(call: ast.Call, argument: str, value: object) -> bool:
    """Whether a call names an argument with that constant."""
    return any(
        k.arg == argument and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in call.keywords
    )


def faults_of_call(call: ast.Call) -> Iterator[str]:
    """Yield what is wrong with a call."""
    name = name_of(call.func)
    if name in RUNS_TEXT or name.startswith("builtins."):
        yield "runs text"
    if name in SHELLS or any(
        k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
        for k in call.keywords
    ):
        yield "calls a shell"
    if name in REPLACES_PROCESS:
        yield "replaces the process"
    if name in ("torch.load", "load_checkpoint") and not is_given(call, "weights_only", True):
        yield "torch.load without weights_only=True"
    if name in ("torch.jit.load", "torch.package.PackageImporter"):
        yield "loads a program"
    if any(k.arg == "allow_pickle" for k in call.keywords) and not is_given(
        call, "allow_pickle", False
    ):
        yield "allow_pickle"
    if name.startswith("yaml.") and "load" in name and name != "yaml.safe_load":
        yield "yaml other than safe_load"
    if name == "tempfile.mktemp":
        yield "a temporary name that others may take first"
    if name.endswith("import_module") and not isinstance(call.args[0], ast.Constant):
        yield "imports by a name"
    if name.endswith(".bind") and call.args and isinstance(call.args[0], ast.Tuple):
        host = call.args[0].elts[0]
        if isinstance(host, ast.Constant) and host.value in ("", "0.0.0.0", "::"):
            yield "listens on every interface"


def faults(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what is wrong in a source, and in which line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((fault, node.lineno) for fault in faults_of_call(node))
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] in UNPICKLES:
                yield "unpickles", node.lineno
            if any(name == known or name.startswith(f"{known}.") for known in NETWORK):
                yield "calls the internet", node.lineno
            if any(name == known or name.startswith(f"{known}.") for known in XML_OF_OTHERS):
                yield "reads XML", node.lineno


def test_no_source_is_dangerous() -> None:
    """Each fault is an exception that is named, and each exception that is named is one."""
    found: dict[tuple[str, str], list[int]] = {}
    for path in FILES:
        where = path.relative_to(ROOT).as_posix()
        for fault, line in faults(ast.parse(path.read_text("utf-8"), str(path))):
            found.setdefault((where, fault), []).append(line)
    new = {key: lines for key, lines in found.items() if key not in EXCEPTIONS}
    assert not new, "\n".join(f"{where}:{lines}: {fault}" for (where, fault), lines in new.items())
    stale = EXCEPTIONS.keys() - found.keys()
    assert not stale, f"no longer needed: {stale}"


def test_what_bandit_lets_through_says_what_and_why() -> None:
    """No line is let through as a whole, and none without a reason."""
    for path in FILES:
        for line in path.read_text("utf-8").splitlines():
            if re.search(r"#.*\bnosec\b", line):
                assert re.search(r"# nosec B\d{3} # \w+", line), f"{path}: {line.strip()}"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("eval(text)", "runs text"),
        ("subprocess.run(line, shell=True)", "calls a shell"),
        ("subprocess.run(line, shell=wanted)", "calls a shell"),
        ("os.system(line)", "calls a shell"),
        ("os.execvp(program, words)", "replaces the process"),
        ("import pickle", "unpickles"),
        ("from joblib import load", "unpickles"),
        ("torch.load(path)", "torch.load without weights_only=True"),
        ("torch.load(path, weights_only=False)", "torch.load without weights_only=True"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.lib.format.read_array(stream, allow_pickle=True)", "allow_pickle"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml other than safe_load"),
        ("yaml.unsafe_load(text)", "yaml other than safe_load"),
        ("tempfile.mktemp()", "a temporary name that others may take first"),
        ("importlib.import_module(f'{package}.{kind}')", "imports by a name"),
        ("from urllib.request import urlopen", "calls the internet"),
        ("import xml.etree.ElementTree as E", "reads XML"),
        ("opened.bind(('', 4098))", "listens on every interface"),
        ("opened.bind(('0.0.0.0', 4098))", "listens on every interface"),
    ],
)
def test_each_fault_is_seen(source: str, fault: str) -> None:
    """What the test looks for is found where it is."""
    assert fault in {found for found, _ in faults(ast.parse(source))}


@pytest.mark.parametrize(
    "source",
    [
        "network.eval()",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "subprocess.run(words, check=True)",
        "import_module('radar_pose_ros.cli')",
        "opened.bind((host_ip, port))",
    ],
)
def test_what_is_fine_is_let_alone(source: str) -> None:
    """The same things done well."""
    assert not list(faults(ast.parse(source)))
