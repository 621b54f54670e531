"""Make the virtual environment that runs this a ROS prefix that CMake and colcon accept.

The ROS 2 wheels carry CMake files that name folders of the machine that built them, and no setup
files. This rewrites the ones and writes the others. Running it again changes nothing; run it again
after the wheels were reinstalled. `make setup` does.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]

PYTHON_INCLUDE = re.compile(r"/opt/python/[^;\"]*/include/python3\.\d+")
NUMPY_INCLUDE = re.compile(r"/opt/python/[^;\"]*/numpy/_?core/include")
SYSTEM_LIBRARY = re.compile(r"/usr/lib64/(lib[\w+-]+)\.so")
TRACING_LIBRARY = re.compile(r"(?<=\")lttng-ust;")


def patch_text(text: str, python_include: str, numpy_include: str, libraries: Path) -> str:
    """Return the text of one CMake file with the build machine's paths replaced.

    Parameters
    ----------
    text : str
        Content of the file.
    python_include, numpy_include : str
        Folders with ``Python.h`` and with ``numpy/arrayobject.h`` on this machine.
    libraries : Path
        The ``site-packages`` folder whose ``ros_*.libs`` hold the bundled shared libraries.

    Raises
    ------
    FileNotFoundError
        If a library that the text names was not bundled.
    """

    def bundled(match: re.Match[str]) -> str:
        found = sorted(libraries.glob(f"ros_*.libs/{match[1]}-*.so*"))
        if not found:
            raise FileNotFoundError(f"{match[0]}: no wheel in {libraries} has a copy of it")
        return str(found[0])

    text = NUMPY_INCLUDE.sub(lambda _: numpy_include, text)
    text = PYTHON_INCLUDE.sub(lambda _: python_include, text)
    text = SYSTEM_LIBRARY.sub(bundled, text)
    # Tracing is optional, and its library has no header and no name that a linker would find.
    return TRACING_LIBRARY.sub("", text)


def patch_cmake_files(
    prefix: Path, python_include: str, numpy_include: str, libraries: Path
) -> int:
    """Patch every CMake file below ``prefix/share``; return how many changed."""
    changed = 0
    for path in sorted(prefix.glob("share/*/cmake/*.cmake")):
        old = path.read_text()
        new = patch_text(old, python_include, numpy_include, libraries)
        if new != old:
            path.write_text(new)
            changed += 1
    return changed


def shell_lines(variables: dict[str, str]) -> str:
    """Return bash assignments: ``PATH``-like variables are put in front of what is there."""
    lines = []
    for name, value in variables.items():
        rest = f"${{{name}:+:${name}}}" if name.endswith("PATH") else ""
        lines.append(f'export {name}="{value}{rest}"')
    return "\n".join(lines) + "\n"


def write_setup_files(prefix: Path, variables: dict[str, str]) -> None:
    """Write ``setup.bash`` and ``local_setup.bash``; a workspace's own setup.bash chains to it."""
    text = "# Written by underlay/prepare.py: ROS 2 from wheels.\n"
    text += f'case ":$AMENT_PREFIX_PATH:" in *":{prefix}:"*) return 0 ;; esac\n'
    text += shell_lines(variables)
    for name in ("setup.bash", "local_setup.bash"):
        (prefix / name).write_text(text)


def load_environment_module() -> ModuleType:
    """Load radar_pose_ros/environment.py by its path: the package is not installed yet."""
    path = ROOT / "radar_pose_ros" / "environment.py"
    spec = spec_from_file_location("environment", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Patch the environment that this Python belongs to."""
    import numpy

    prefix = Path(sys.prefix)
    libraries = Path(site.getsitepackages()[0])
    patch_cmake_files(prefix, sysconfig.get_path("include"), numpy.get_include(), libraries)
    variables = load_environment_module().underlay_environment(prefix, libraries)
    variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
    write_setup_files(prefix, variables)


if __name__ == "__main__":
    main()
