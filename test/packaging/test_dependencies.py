"""Every import has a source, on a robot and without ROS, and nothing is named in vain."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_XML = ElementTree.parse(ROOT / "package.xml").getroot()
DEPENDENCIES = {
    element.text
    for element in PACKAGE_XML
    if element.tag.endswith("depend") and element.tag != "test_depend"
}
# Where module, distribution and rosdep key do not simply carry the same name:
# module -> (distribution on PyPI, rosdep key). No key: requirements-robot.txt.
PYTHON_LIBRARIES: dict[str, tuple[str, str | None]] = {
    "PIL": ("pillow", "python3-pil"),
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "matplotlib": ("matplotlib", "python3-matplotlib"),
    "numpy": ("numpy", "python3-numpy"),
    "psutil": ("psutil", "python3-psutil"),
    "rich": ("rich", "python3-rich"),
    "rosbags": ("rosbags", None),
    "safetensors": ("safetensors", None),
    "scipy": ("scipy", "python3-scipy"),
    "serial": ("pyserial", "python3-serial"),
    "tomli": ("tomli", None),  # newer Pythons have tomllib
    "torch": ("torch", "python3-torch"),
    "transforms3d": ("transforms3d", "python3-transforms3d"),
    "yaml": ("PyYAML", "python3-yaml"),
}
# Module -> distribution of what one command needs, and says how to install it where it is missing.
OPTIONAL = {"rerun": "rerun-sdk", "rerun_cli": "rerun-sdk"}


def canonical(name: str) -> str:
    """Return a distribution's name in the form that the index compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(path: Path, section: str = "") -> list[Requirement]:
    """Return what a requirements file asks for, or one `# -- section` of it."""
    found: list[Requirement] = []
    inside = not section
    for line in path.read_text().splitlines():
        if section and line.startswith("# -- "):
            inside = line.startswith(f"# -- {section}")
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if inside and text:
            found.append(Requirement(text))
    return found


PINS = requirements(ROOT / "requirements.txt")
ROBOT = {canonical(r.name): r for r in requirements(ROOT / "requirements-robot.txt")}


def imported_modules(*folders: str) -> Iterator[tuple[str, Path]]:
    """Yield each top-level module that the Python files of some folders import, and the file."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((alias.name.split(".")[0], path) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.split(".")[0], path


THIRD_PARTY = {
    module: path
    for module, path in imported_modules("radar_pose_ros", "launch")
    if module not in sys.stdlib_module_names
    and module not in {"radar_pose_ros", "benchmarks", "tomllib"}
}


@pytest.mark.parametrize("module", sorted(THIRD_PARTY))
def test_every_import_is_named(module: str) -> None:
    """package.xml names it, or requirements-robot.txt where rosdep has no key for it."""
    where = THIRD_PARTY[module].relative_to(ROOT)
    if module in OPTIONAL:
        assert canonical(OPTIONAL[module]) in {canonical(pin.name) for pin in PINS}
        assert where.parts[1] == "view", f"{where} imports {module}, which may be missing"
        return
    if module not in PYTHON_LIBRARIES:
        assert module in DEPENDENCIES, f"{where} imports {module}, which package.xml does not name"
        return
    distribution, key = PYTHON_LIBRARIES[module]
    assert canonical(distribution) in {canonical(pin.name) for pin in PINS}, module
    if key is None:
        assert canonical(distribution) in ROBOT, module
    else:
        assert key in DEPENDENCIES, f"{where} imports {module}, package.xml lacks {key}"


def test_no_python_dependency_is_named_in_vain() -> None:
    """Every python3-* key and every requirement of the package belongs to an import."""
    keys = {PYTHON_LIBRARIES[m][1] for m in THIRD_PARTY if m in PYTHON_LIBRARIES}
    named = {key for key in DEPENDENCIES if key and key.startswith("python3-")}
    assert named - keys == set()
    imported = {canonical(PYTHON_LIBRARIES[m][0]) for m in THIRD_PARTY if m in PYTHON_LIBRARIES}
    assert ROBOT.keys() - imported == set()
    pinned = requirements(ROOT / "requirements.txt", "ground floor")
    assert {canonical(pin.name) for pin in pinned} - imported == set()


def test_every_requirement_is_pinned() -> None:
    """One exact version per requirement and Python, and one place for it."""
    seen: set[str] = set()
    for pin in PINS:
        assert re.fullmatch(r"==\d[\w.]*", str(pin.specifier)), f"{pin} is not pinned"
        key = f"{canonical(pin.name)} {pin.marker}"
        assert key not in seen, f"{pin.name} is pinned twice"
        seen.add(key)


def test_one_opencv() -> None:
    """Two distributions that own the folder cv2 overwrite each other."""
    named = {canonical(pin.name) for pin in PINS}
    assert sum(name.startswith("opencv-") for name in named) == 1


def test_robot_bounds_admit_the_pins() -> None:
    """What is tested here is allowed there."""
    pins = {canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in PINS}
    for name, requirement in ROBOT.items():
        assert requirement.specifier.contains(pins[name]), requirement


@pytest.mark.parametrize("section", ["ground floor", "tests and lint"])
def test_installed_versions_are_the_pinned_ones(section: str) -> None:
    """The tests ran with the versions that requirements.txt names."""
    if not (Path(sys.prefix) / ".requirements").exists():
        pytest.skip("this Python was not set up by `make setup`")
    for pin in requirements(ROOT / "requirements.txt", section):
        if pin.marker is None or pin.marker.evaluate():
            version = importlib.metadata.version(pin.name)
            assert pin.specifier.contains(version), f"{pin.name}: {version} is installed"


def test_versions_agree() -> None:
    """setup.py reads its version and licence from package.xml."""
    pytest.importorskip("setuptools")
    done = subprocess.run(
        [sys.executable, "setup.py", "--name", "--version", "--license"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [PACKAGE_XML.findtext(t) for t in ("name", "version", "license")]


def test_distribution_holds_this_package_only() -> None:
    """`pip install` brings radar_pose_ros and no top-level `test`, `benchmarks` or `launch`."""
    setuptools = pytest.importorskip("setuptools")
    packages = setuptools.find_packages(str(ROOT), include=["radar_pose_ros", "radar_pose_ros.*"])
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "radar_pose_ros").rglob("__init__.py")
    }
    assert set(packages) == folders
