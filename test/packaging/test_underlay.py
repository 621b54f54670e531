"""ROS 2 from wheels: patched CMake files, setup files, a process that finds it by itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from radar_pose_ros import environment

ROOT = Path(__file__).resolve().parents[2]
BUILT = (ROOT / ".ws/install/radar_pose_ros/share/radar_pose_ros").is_dir()
HAS_WHEELS = (Path(sys.prefix) / "share/rclpy/package.xml").is_file()
needs_workspace = pytest.mark.skipif(
    not (BUILT and HAS_WHEELS), reason="needs what `make build` makes"
)

# Lines as the wheels have them.
INTERFACES = (
    'INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp311-cp311/include/python3.11;'
    '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include"'
)
FASTDDS = 'INTERFACE_LINK_LIBRARIES "fastcdr;dl;/usr/lib64/libtinyxml2.so;rt"'
TRACETOOLS = 'set(_exported_library_names "lttng-ust;dl")'


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    """Return underlay/prepare.py, a script, as a module."""
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "underlay" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return a prefix with one file of each kind that the wheels get wrong."""
    for package, text in (
        ("a_msgs", INTERFACES),
        ("fastdds", FASTDDS),
        ("tracetools", TRACETOOLS),
    ):
        folder = tmp_path / "share" / package / "cmake"
        folder.mkdir(parents=True)
        (folder / "export.cmake").write_text(text)
    libraries = tmp_path / "site-packages" / "ros_fastdds.libs"
    libraries.mkdir(parents=True)
    (libraries / "libtinyxml2-1592532c.so.6.0.0").touch()
    return tmp_path


def test_cmake_files_name_this_machine(prepare: ModuleType, prefix: Path) -> None:
    """Includes, the bundled library and the tracing library; then there is nothing left to do."""
    arguments = (prefix, "/py/include", "/np/include", prefix / "site-packages")
    assert prepare.patch_cmake_files(*arguments) == 3
    read = {
        path.parent.parent.name: path.read_text()
        for path in prefix.glob("share/*/cmake/export.cmake")
    }
    assert read["a_msgs"] == 'INTERFACE_INCLUDE_DIRECTORIES "/py/include;/np/include"'
    library = prefix / "site-packages/ros_fastdds.libs/libtinyxml2-1592532c.so.6.0.0"
    assert read["fastdds"] == f'INTERFACE_LINK_LIBRARIES "fastcdr;dl;{library};rt"'
    assert read["tracetools"] == 'set(_exported_library_names "dl")'
    assert prepare.patch_cmake_files(*arguments) == 0


def test_a_library_that_is_not_bundled_is_named(prepare: ModuleType, prefix: Path) -> None:
    """Better here than as a linker's message."""
    with pytest.raises(FileNotFoundError, match=r"/usr/lib64/libother\.so: no wheel"):
        prepare.patch_text('"/usr/lib64/libother.so"', "", "", prefix / "site-packages")


def test_setup_file_works_twice(prepare: ModuleType, prefix: Path) -> None:
    """It puts its folders in front of what is there, once."""
    variables = environment.underlay_environment(prefix, prefix / "site-packages")
    prepare.write_setup_files(prefix, variables)
    script = (
        '. "$0/setup.bash"; . "$0/local_setup.bash"; echo "$AMENT_PREFIX_PATH $LD_LIBRARY_PATH"'
    )
    done = subprocess.run(
        ["/bin/bash", "-euc", script, str(prefix)],
        env={"AMENT_PREFIX_PATH": "/opt/other", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    bundled = prefix / "site-packages/ros_fastdds.libs"
    assert done.stdout.split() == [f"{prefix}:/opt/other", f"{prefix}/lib:{bundled}"], done.stderr


def test_prepend_moves_to_the_front() -> None:
    """Paths are joined without doubles, other variables replaced."""
    variables = {"PATH": "/a:/b", "ROS_DISTRO": "kilted"}
    result = {"PATH": "/usr/bin:/b", "ROS_DISTRO": "humble"}
    for _ in range(2):
        environment.prepend(result, variables)
        assert result == {"PATH": "/a:/b:/usr/bin", "ROS_DISTRO": "kilted"}


def test_without_ros_a_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither wheels nor a workspace: both cures are named."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(environment.RosNotFoundError, match=r"setup\.bash.*make build"):
        environment.local_environment({})


def test_without_a_workspace_a_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Wheels alone are not enough: the messages have to be built."""
    (tmp_path / "share/rclpy").mkdir(parents=True)
    (tmp_path / "share/rclpy/package.xml").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(environment, "SOURCE_ROOT", tmp_path)
    with pytest.raises(environment.RosNotFoundError, match=r"messages are not built.*make build"):
        environment.local_environment({})


USES_ROS = """
from radar_pose_ros.environment import ensure_ros_environment
ensure_ros_environment()
import rclpy
from radar_pose_ros.msg import RadarAdcFrame
from tf2_msgs.msg import TFMessage
import radar_pose_ros.environment
rclpy.init()
node = rclpy.create_node("probe")
node.create_publisher(RadarAdcFrame, "adc", 1).publish(RadarAdcFrame())
print(radar_pose_ros.environment.__file__)
"""


@needs_workspace
@pytest.mark.parametrize(
    "inherited",
    [
        pytest.param({}, id="bare shell"),
        pytest.param({"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}, id="guard without libraries"),
        pytest.param(
            {
                "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
                "LD_LIBRARY_PATH": "/elsewhere/lib:/elsewhere/ros_rcl.libs",
                "AMENT_PREFIX_PATH": "/elsewhere",
                "ROS_DISTRO": "humble",
            },
            id="from another such environment",
        ),
    ],
)
def test_a_program_finds_ros_by_itself(inherited: dict[str, str], tmp_path: Path) -> None:
    """Started with this Python and nothing sourced, a program uses ROS and the sources."""
    program = tmp_path / "program.py"
    program.write_text(USES_ROS)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={
            "HOME": str(tmp_path),
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
            **inherited,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(ROOT / "radar_pose_ros" / "environment.py")


def machine_with(folder: Path, *tools: str) -> dict[str, str]:
    """Return an environment whose PATH holds the named tools and no others."""
    folder.mkdir()
    for tool in tools:
        found = sys.executable if tool == "python3" else shutil.which(tool)
        if found is None:
            pytest.skip(f"this machine has no {tool}")
        # Not a link: compilers and Pythons look at the path that they were started by.
        (folder / tool).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
        (folder / tool).chmod(0o755)
    return {"PATH": str(folder)}


def check_machine(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run underlay/check_machine.sh."""
    return subprocess.run(
        ["/bin/sh", str(ROOT / "underlay" / "check_machine.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


TOOLS = {"python3": "python3", "c++": "g++", "cc": "gcc", "cmake": "cmake"}


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels are for Linux")
@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_tool_is_named_with_its_package(tool: str, tmp_path: Path) -> None:
    """One sentence for the one thing that is missing, and a failure."""
    others = [name for name in TOOLS if name != tool]
    done = check_machine(machine_with(tmp_path / "bin", "uname", *others))
    assert done.returncode == 1
    assert done.stdout == ""
    [sentence] = done.stderr.splitlines()
    assert f"apt install {TOOLS[tool]}" in sentence


def test_a_complete_machine_is_given_its_python(tmp_path: Path) -> None:
    """The interpreter is printed as the path of a real one."""
    done = check_machine(machine_with(tmp_path / "bin", "uname", *TOOLS))
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_absolute()


def test_a_python_that_does_not_suit_is_refused() -> None:
    """PYTHON=... is tried, not trusted."""
    done = check_machine({**os.environ, "PYTHON": "/bin/false"})
    assert done.returncode == 1
    assert done.stderr == "PYTHON=/bin/false is not a Python from 3.10 to 3.13.\n"
