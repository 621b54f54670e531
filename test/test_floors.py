"""The direction of the imports: two floors, arrows one way, no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "radar_pose_ros"
FILES = sorted(PACKAGE.rglob("*.py"))

# What is not here is on the upper floor: it may import everything below, and is imported only by
# the upper floor.
HELPERS = {"documents", "environment", "measurements", "resources", "wording"}
SENSING = {"radar", "vision", "vitals", "skeleton"}
MAY_IMPORT = {
    **dict.fromkeys(HELPERS, HELPERS),
    **dict.fromkeys(SENSING, HELPERS | SENSING),
    "simulation": HELPERS | SENSING,
    "metrics": HELPERS | SENSING,
    "models": HELPERS | SENSING,
    "datasets": HELPERS | SENSING | {"simulation", "models", "metrics"},
    "training": HELPERS
    | SENSING
    | {"simulation", "models", "metrics", "datasets", "pulse_drawing"},
    "drawing": HELPERS | SENSING,
    "pulse_drawing": HELPERS | SENSING | {"drawing", "metrics"},
    "preview": HELPERS,
    "mcap_index": set(),
    "recording": HELPERS | SENSING | {"mcap_index"},
}
ROS_LIBRARIES = {"rclpy", "rcl_interfaces", "launch", "launch_ros", "message_filters", "cv_bridge"}
ROS_LIBRARIES |= {"tf2_ros", "tf_transformations", "rosbag2_py", "rosidl_runtime_py"}
USES_TORCH = {"models", "training", "datasets", "nodes"}


def module_name(path: Path) -> str:
    """Return the dotted name of a source file, without the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            # `from package import module` names a module, `from module import name` does not.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports."""
    found = set()
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head != PACKAGE.name:
            continue
        while rest not in MODULES and "." in rest:
            rest = rest.rpartition(".")[0]
        found.add(rest)
    return found - {""}


def part(name: str) -> str:
    """Return the subpackage or top-level module that a module belongs to."""
    return name.split(".")[0]


def is_message_package(name: str) -> bool:
    """Whether an imported name comes out of generated code."""
    return name.split(".")[0].endswith(("_msgs", "_interfaces")) or name.startswith(
        f"{PACKAGE.name}.msg"
    )


GROUND_FLOOR = {name: path for name, path in MODULES.items() if part(name) in MAY_IMPORT}


@pytest.mark.parametrize("name", GROUND_FLOOR)
def test_ground_floor_imports_no_ros(name: str) -> None:
    """Neither rclpy, nor launch, nor generated messages, nor nodes."""
    for imported in imports(MODULES[name]):
        assert imported.split(".")[0] not in ROS_LIBRARIES, f"{name} imports {imported}"
        assert not is_message_package(imported), f"{name} imports {imported}"


def test_only_nodes_import_rclpy_and_messages() -> None:
    """The command line and the bring-up start nodes; they are none."""
    for name, path in MODULES.items():
        if part(name) == "nodes":
            continue
        used = {i for i in imports(path) if is_message_package(i) or part(i) == "rclpy"}
        assert not used, f"{name} imports {sorted(used)}"


@pytest.mark.parametrize("name", GROUND_FLOOR)
def test_arrows_point_one_way(name: str) -> None:
    """training -> datasets, models, metrics -> sensing; simulation -> sensing."""
    allowed = MAY_IMPORT[part(name)] | {part(name)}
    for imported in own_imports(MODULES[name]):
        assert part(imported) in allowed, f"{name} imports {imported}"


def test_no_circles() -> None:
    """No module reaches itself through its imports."""
    graph = {name: own_imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in finished:
            for imported in graph[name]:
                visit(imported, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


def test_torch_stays_where_networks_are() -> None:
    """The radar chain runs on a machine without torch."""
    for name, path in MODULES.items():
        if part(name) in USES_TORCH or part(name) not in MAY_IMPORT:
            continue
        assert "torch" not in {part(i) for i in imports(path)}, f"{name} imports torch"


def test_package_files_hold_nothing() -> None:
    """The generated, empty ``__init__.py`` may replace ours; subpackages' hold a docstring."""
    for path in PACKAGE.rglob("__init__.py"):
        statements = ast.parse(path.read_text()).body
        if path.parent == PACKAGE:
            [only] = statements
            assert "extend_path" in ast.unparse(only)
        else:
            assert len(statements) <= 1, path
            assert all(ast.get_docstring(ast.Module([s], [])) for s in statements), path


def test_ground_floor_imports_without_ros_and_opens_no_socket() -> None:
    """Import everything in a process where rclpy does not exist and a socket is an error."""
    program = f"""
import importlib, socket, sys
for name in {sorted(ROS_LIBRARIES)!r}:
    sys.modules[name] = None
def refuse(*arguments, **options):
    raise AssertionError("a module opened a socket while it was imported")
socket.socket.__init__ = refuse
for name in {sorted(GROUND_FLOOR)!r}:
    importlib.import_module("{PACKAGE.name}." + name)
assert "torch" not in sys.modules or not sys.modules["torch"].cuda.is_initialized()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
