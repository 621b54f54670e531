"""Looks at this machine and says what would keep the package from working, and the cure.

Every check stands alone and needs nothing to be installed; `examine` never raises. Only a check
with the status "problem" stops the package from working; a "warning" limits it.
"""

from __future__ import annotations

import grp
import importlib
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from radar_pose_ros.nodes import transport

Status = Literal["ok", "note", "warning", "problem"]

PYTHON_VERSIONS = ((3, 10), (3, 13))
NEEDED_SOCKET_BUFFER_BYTES = 8 * 2**20
"""Half a second of one radar: longer than any pause of the process that reads its packets."""
RADAR_HOST_ADDRESS = "192.168.33.30"
LARGEST_MESSAGE_BYTES = 1_572_864  # one frame of 128 loops x 3 x 4 antennas x 256 samples
FREE_DISK_BYTES = 2 * 2**30

REQUIRED_PACKAGES = ("numpy", "scipy", "cv2", "yaml", "serial", "rosbags", "safetensors", "psutil")


@dataclass(frozen=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name : str
        What was looked at.
    status : {"ok", "note", "warning", "problem"}
        A problem keeps the package from working; a warning limits it; a note is worth knowing.
    finding : str
        What there is.
    cure : str
        What to do; "" if nothing.
    """

    name: str
    status: Status
    finding: str
    cure: str = ""


def check_python(version: tuple[int, int] | None = None) -> Check:
    """Is this a version of Python that ROS 2's packages exist for?"""
    version = version or (sys.version_info.major, sys.version_info.minor)
    found = f"{version[0]}.{version[1]} in {sys.prefix}"
    oldest, newest = PYTHON_VERSIONS
    if oldest <= version <= newest:
        return Check("Python", "ok", found)
    return Check(
        "Python",
        "problem",
        found,
        f"use a Python from {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}",
    )


def check_packages() -> Check:
    """Are the Python libraries there?"""
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if not missing:
        return Check("Python libraries", "ok", ", ".join(REQUIRED_PACKAGES))
    return Check(
        "Python libraries",
        "problem",
        f"missing: {', '.join(missing)}",
        "`make setup`; on a robot `rosdep install` and requirements-robot.txt",
    )


def check_ros() -> Check:
    """Is there a ROS 2, and where?"""
    specification = find_spec("rclpy")
    if specification is None or specification.origin is None:
        return Check(
            "ROS 2",
            "problem",
            "rclpy is not found",
            "source a ROS installation (`. /opt/ros/<name>/setup.bash`), or run `make build` and "
            "use the Python in .venv",
        )
    place = Path(specification.origin).parents[1]
    kind = "its own, in the virtual environment" if _inside(place, sys.prefix) else "sourced"
    distribution = os.environ.get("ROS_DISTRO", "of unknown name")
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        return Check(
            "ROS 2", "problem", f"rclpy in {place} does not load: {error}", "`make clean build`"
        )
    return Check("ROS 2", "ok", f"{distribution}, {kind}: {place}")


def _inside(path: Path, folder: str) -> bool:
    return path.resolve().is_relative_to(Path(folder).resolve())


def check_middleware() -> Check:
    """Which middleware carries the messages?"""
    if find_spec("rclpy") is None:
        return Check("middleware", "note", "not looked at, because ROS 2 is missing")
    try:
        utilities = importlib.import_module("rclpy.utilities")
        name = utilities.get_rmw_implementation_identifier()
    except (ImportError, RuntimeError) as error:
        return Check(
            "middleware",
            "problem",
            f"{os.environ.get('RMW_IMPLEMENTATION', 'the default')} does not load: {error}",
            "unset RMW_IMPLEMENTATION, or install what it names",
        )
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return Check("middleware", "ok", f"{name}, domain {domain}, discovery range {reach}")


def check_messages() -> Check:
    """Can this package's messages be imported?"""
    if find_spec("rclpy") is None:
        return Check("messages", "note", "not looked at, because ROS 2 is missing")
    try:
        module = importlib.import_module("radar_pose_ros.msg")
        place = Path(str(module.__file__)).parent
        # The support library is loaded by the first message that is made, not by the import.
        module.RadarAdcFrame.__class__.__import_type_support__()
    except (ImportError, AttributeError) as error:
        return Check(
            "messages",
            "problem",
            f"radar_pose_ros.msg does not load: {error}",
            "`make build`, or `colcon build` and `. install/setup.bash`",
        )
    return Check("messages", "ok", str(place))


def check_large_messages(environment: dict[str, str] | None = None) -> Check:
    """Will a frame of raw samples arrive?"""
    name = "large messages"
    environment = dict(os.environ) if environment is None else environment
    limit = transport.segment_bytes(environment)
    if limit >= LARGEST_MESSAGE_BYTES:
        size = "no limit" if limit == float("inf") else f"{limit / 2**20:.0f} MiB shared memory"
        return Check(name, "ok", f"{size} for frames of {LARGEST_MESSAGE_BYTES / 2**20:.1f} MiB")
    try:
        profile = transport.profile()
    except FileNotFoundError as error:
        return Check(name, "problem", str(error), "install the package again")
    return Check(
        name,
        "note",
        "no profile in this shell; `radar-pose up`, `radar-pose demo` and the launch file set it",
        f"for nodes started by hand: export FASTDDS_DEFAULT_PROFILES_FILE={profile}",
    )


def check_shared_memory(path: str = "/dev/shm") -> Check:  # nosec B108 # only looks
    """Is there room for the middleware's shared memory? Containers get 64 MiB by default."""
    name = "shared memory"
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        return Check(name, "warning", f"{path}: {error.strerror}", "mount a tmpfs there")
    found = f"{usage.free / 2**20:.0f} MiB free in {path}"
    if usage.free >= transport.SHARED_MEMORY_BYTES:
        return Check(name, "ok", found)
    return Check(
        name,
        "problem" if usage.total < transport.SHARED_MEMORY_BYTES // 4 else "warning",
        f"{found}, {transport.SHARED_MEMORY_BYTES // 2**20} MiB wanted, or large images get lost",
        "in a container: docker run --shm-size=1g, or --ipc=host; else remove what old "
        "processes left: /dev/shm/fastdds_*",
    )


def check_socket_buffer() -> Check:
    """Can the receive buffer of the radars' socket be as large as it must be?"""
    name = "socket buffer"
    needed = NEEDED_SOCKET_BUFFER_BYTES
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for option in (getattr(socket, "SO_RCVBUFFORCE", None), socket.SO_RCVBUF):
            if option is None:
                continue
            try:
                probe.setsockopt(socket.SOL_SOCKET, option, needed)
                break
            except OSError:  # SO_RCVBUFFORCE needs CAP_NET_ADMIN
                continue
        # Linux reports twice what was asked for: it counts its own bookkeeping.
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    found = f"{granted / 2**20:.1f} MiB of the {needed / 2**20:.0f} MiB that are asked for"
    if granted >= needed:
        return Check(name, "ok", found)
    return Check(
        name,
        "warning",
        f"{found}: packets get lost when the driver is held up",
        f"sudo sysctl -w net.core.rmem_max={needed} (to keep it: a line "
        f"net.core.rmem_max={needed} in /etc/sysctl.d/60-radar-pose.conf)",
    )


def check_network() -> Check:
    """Is there an interface with the address that capture cards send to?"""
    import psutil

    owners = [
        interface
        for interface, addresses in psutil.net_if_addrs().items()
        if any(a.address == RADAR_HOST_ADDRESS for a in addresses)
    ]
    if owners:
        return Check("radar network", "ok", f"{RADAR_HOST_ADDRESS} on {', '.join(owners)}")
    return Check(
        "radar network",
        "note",
        f"no interface has {RADAR_HOST_ADDRESS}, the address a capture card sends to as delivered",
        f"for a real radar: sudo ip address add {RADAR_HOST_ADDRESS}/24 dev <interface>",
    )


def check_serial() -> Check:
    """Are there serial ports of radars, and may this user open them?"""
    name = "serial ports"
    try:
        from serial.tools import list_ports

        from radar_pose_ros.radar.uart import USB_BRIDGES
    except ImportError:
        return Check(name, "problem", "pyserial is missing", "`make setup`")
    ports = list(list_ports.comports())
    radars = [p for p in ports if (p.vid, p.pid) in USB_BRIDGES]
    if not ports:
        return Check(name, "note", "none; a real radar brings two, the emulated one needs none")
    closed = [p.device for p in radars or ports if not os.access(p.device, os.R_OK | os.W_OK)]
    known = f"{len(radars)} of a TI radar" if radars else "none of a TI radar"
    found = f"{', '.join(sorted(p.device for p in ports))}; {known}"
    if not closed:
        return Check(name, "ok", found)
    vendor, product = (radars[0].vid, radars[0].pid) if radars else next(iter(USB_BRIDGES))
    return Check(
        name,
        "warning" if radars else "note",
        f"{found}; no permission for {', '.join(closed)}",
        f'{_group_cure(closed[0])}, or a udev rule: SUBSYSTEM=="tty", '
        f'ATTRS{{idVendor}}=="{vendor:04x}", ATTRS{{idProduct}}=="{product:04x}", MODE="0666"',
    )


def _group_cure(device: str) -> str:
    try:
        group = grp.getgrgid(os.stat(device).st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    return f"sudo usermod -aG {group} $USER, then log in again"


def check_gpu() -> Check:
    """Is there a GPU that the networks can use? They run without one."""
    if find_spec("torch") is None:
        return Check("GPU", "problem", "torch is missing", "`make setup`")
    torch: Any = importlib.import_module("torch")
    version = metadata.version("torch")
    if not torch.cuda.is_available():
        return Check("GPU", "note", f"none that torch {version} can use: networks run on the CPU")
    device = torch.cuda.get_device_name(0)
    fast = find_spec("mamba_ssm") is not None
    return Check(
        "GPU",
        "ok" if fast else "note",
        f"{device}, torch {version}, " + ("with mamba_ssm" if fast else "without mamba_ssm"),
        "" if fast else "faster selective scan: pip install mamba-ssm",
    )


def check_kernels() -> Check:
    """Are the compiled kernels there? Without them the network takes several times as long."""
    if find_spec("torch") is None:
        return Check("kernels", "note", "not looked at, because torch is missing")
    from radar_pose_ros.models.ops import native

    if native.available():
        return Check("kernels", "ok", native.describe())
    cure = "`make build`, or `colcon build`; " + f"unset {native.ENVIRONMENT} if it is set"
    return Check("kernels", "warning", f"none, plain torch instead: {native.describe()}", cure)


def check_weights() -> Check:
    """Are all trained weights there, and are they what the manifest says?"""
    if find_spec("torch") is None:
        return Check("weights", "note", "not looked at, because torch is missing")
    from radar_pose_ros.models import weights

    try:
        directory = weights.weights_directory()
        entries = weights.read_manifest(directory)
        for entry in entries:
            weights.load(directory / entry["file"])
    except (weights.WeightsError, FileNotFoundError) as error:
        return Check(
            "weights",
            "problem",
            str(error),
            "get the repository with its weights, or make them: `radar-pose train`",
        )
    return Check("weights", "ok", f"{len(entries)} networks, with the manifest's SHA-256")


def check_disk(path: str = ".") -> Check:
    """Is there room for recordings?"""
    usage = shutil.disk_usage(path)
    found = f"{usage.free / 2**30:.1f} GiB free in {Path(path).resolve()}"
    if usage.free >= FREE_DISK_BYTES:
        return Check("disk", "ok", f"{found}; raw samples of two radars take 1.8 GiB a minute")
    return Check("disk", "warning", found, "record without raw samples, or make room")


def check_load() -> Check:
    """Is the machine free for live work?"""
    import psutil

    from radar_pose_ros.measurements import cores_available

    cores = cores_available()
    memory = psutil.virtual_memory()
    load = os.getloadavg()[0]
    found = f"{cores} cores, load {load:.1f}, {memory.available / 2**30:.1f} GiB free"
    if cores < 2 or memory.available < 2 * 2**30:
        return Check("computer", "warning", found, "the live graph wants two cores and 2 GiB")
    return Check("computer", "ok", found)


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_packages,
    check_ros,
    check_middleware,
    check_messages,
    check_large_messages,
    check_shared_memory,
    check_socket_buffer,
    check_network,
    check_serial,
    check_gpu,
    check_kernels,
    check_weights,
    check_disk,
    check_load,
)


def examine() -> list[Check]:
    """Run all checks. One that fails itself is reported as a warning, with the reason."""
    found = []
    for check in CHECKS:
        try:
            found.append(check())
        except Exception as error:  # a doctor must not fall ill: whatever happens is a finding
            name = check.__name__.removeprefix("check_").replace("_", " ")
            finding = f"could not look: {type(error).__name__}: {error}"
            found.append(Check(name, "warning", finding))
    return found


def healthy(checks: list[Check]) -> bool:
    """Whether nothing keeps the package from working."""
    return all(check.status != "problem" for check in checks)


def table(checks: list[Check]) -> Any:
    """Return the findings as a table that `rich` prints."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
    result = Table(show_lines=False, expand=False)
    for column in ("", "what", "found", "cure"):
        result.add_column(column, overflow="fold")
    for check in checks:
        status = Text(check.status, style=colours[check.status])
        result.add_row(status, check.name, Text(check.finding), Text(check.cure))
    return result
