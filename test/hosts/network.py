"""Several hosts on one machine: namespaces of Linux, and a network between them that is bad.

Each host has its own network, host name, machine-id, /dev/shm and processes, but the files of
this machine. Their Ethernet cards are TAP devices, whose other ends `switch` holds: it delays,
loses and limits. Linux's own netem does that too, but not every kernel has it, and few take a seed
for it.

Everything ends with the process that made it, even if that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import psutil
from hosts import switch
from hosts.switch import Link

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid")
LONGEST_QUEUE = 10_000  # frames for the switch to read; it is a process like others and may wait
WIFI = Link(delay_s=0.02, loss=0.01, rate_bps=50e6)
"""What a robot's wireless link is taken to be: 20 ms one way, 1 % loss, 50 Mbit/s."""

_PREPARE = """
set -e
mount -t tmpfs -o size=256m tmpfs /dev/shm
mount --bind "$2" /etc/machine-id
hostname "$1"
ip link set lo up
echo ready
exec cat
"""


@functools.cache
def unavailable() -> str:
    """Return why there can be no hosts on this machine, or an empty string."""
    if os.geteuid():
        return "several hosts on one machine want root"
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        return f"several hosts on one machine want the programs {', '.join(missing)}"
    if not Path("/etc/machine-id").is_file():
        return "several hosts on one machine want a file /etc/machine-id"
    try:
        os.close(_tap()[0])
    except OSError as error:
        return f"several hosts on one machine want TAP devices: {error}"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        return f"several hosts on one machine want namespaces: {tried.stderr.decode().strip()}"
    return ""


def _tap() -> tuple[int, str]:
    """Return a new Ethernet card's other end, and the card's name; it goes when that is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        wanted = struct.pack("16sH22x", b"hosts%d", IFF_TAP | IFF_NO_PI)
        name = fcntl.ioctl(descriptor, TUNSETIFF, wanted)[:16].rstrip(b"\0").decode()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, name


class Host:
    """One of the hosts of a `Network`.

    Attributes
    ----------
    name : str
    ip : str
        Its address on the network.
    """

    def __init__(self, name: str, number: int, folder: Path) -> None:
        self.name, self.ip = name, f"10.77.0.{number}"
        self.address = bytes([2, 0, 0, 0, 0, number])
        machine_id = folder / f"{name}.machine-id"
        machine_id.write_text(f"{number:032x}\n")
        self._first = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
            + ["sh", "-c", _PREPARE, "sh", name, str(machine_id)],
            stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._first.stdout is not None and self._first.stderr is not None
        if self._first.stdout.readline() != "ready\n":
            raise RuntimeError(f"host {name}: {self._first.stderr.read().strip()}")
        self._inside = psutil.Process(self._first.pid).children()[0].pid
        self._started: list[subprocess.Popen[str]] = []

    def connect(self, device: str) -> None:
        """Take a network card out of this machine and set it up."""
        card = ("ip", "link", "set", "dev")
        address = ":".join(f"{byte:02x}" for byte in self.address)
        subprocess.run([*card, device, "netns", str(self._inside), "name", "eth0"], check=True)
        for command in (
            [*card, "eth0", "address", address, "txqueuelen", str(LONGEST_QUEUE)],
            ["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"],
            ["ip", "address", "add", f"{self.ip}/24", "dev", "eth0"],
            [*card, "eth0", "up"],
        ):
            self.run(command)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command line that runs another one on this host."""
        entered = [f"{name}" for name in NAMESPACES]
        folder = f"--wd={os.getcwd()}"
        return ["nsenter", f"--target={self._inside}", *entered, folder, "--", *command]

    def run(self, command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command; `subprocess.CalledProcessError` if it fails."""
        more = {"check": True, "capture_output": True, "text": True, **more}
        return subprocess.run(self.command(command), **more)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        output: IO[Any] | int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command, in a process group of its own, which `stop` ends."""
        process = subprocess.Popen(
            self.command(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask what was started to end, and wait for it until the timeout."""
        alive = [process for process in self._started if process.poll() is None]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)

    def frames_unread(self) -> int:
        """Return how many frames its card has dropped because the switch did not take them."""
        lines = self.run(["cat", "/proc/net/dev"]).stdout.splitlines()
        (card,) = (line for line in lines if line.strip().startswith("eth0:"))
        return int(card.split(":")[1].split()[11])

    def close(self) -> None:
        """End the host, and with it whatever still runs there."""
        assert self._first.stdin is not None
        self._first.stdin.close()
        self._first.wait()
        for process in self._started:
            process.wait()
        for pipe in (self._first.stdout, self._first.stderr, *(p.stdout for p in self._started)):
            if pipe is not None:
                pipe.close()


class Network:
    """Hosts and the switch between them; use it as a context manager.

    Parameters
    ----------
    links : mapping
        By name, what happens to frames that leave that host. Each link's seed is made another one.

    Attributes
    ----------
    counts : dict
        Once the network has ended, what the switch counted, by host: frames and bytes that came
        from it, how many of them were lost, or dropped for a full queue; and how many to it were
        refused by the kernel. Also `unread`: frames that the switch was too slow for.
    """

    def __init__(self, links: Mapping[str, Link]) -> None:
        self.hosts: dict[str, Host] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self._links = links
        self._folder = tempfile.TemporaryDirectory(prefix="hosts_")
        self._switch: subprocess.Popen[str] | None = None

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        ports = []
        with contextlib.ExitStack() as opened:
            for number, (name, link) in enumerate(self._links.items(), start=1):
                host = self.hosts[name] = Host(name, number, Path(self._folder.name))
                descriptor, device = _tap()
                opened.callback(os.close, descriptor)
                host.connect(device)
                settings = asdict(replace(link, seed=link.seed * 1000 + number))
                address = host.address.hex()
                ports.append({"descriptor": descriptor, "address": address, "link": settings})
            self._switch = subprocess.Popen(
                [sys.executable, "-S", "-E", switch.__file__, json.dumps(ports)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[port["descriptor"] for port in ports],
                start_new_session=True,
            )

    def close(self) -> None:
        """End what runs on the hosts, then the switch and the hosts."""
        for host in self.hosts.values():
            host.stop()
        if self._switch is not None:
            unread = [host.frames_unread() for host in self.hosts.values()]
            out, _ = self._switch.communicate(timeout=10.0)
            for name, counts, count in zip(self.hosts, json.loads(out), unread, strict=True):
                self.counts[name] = {**counts, "unread": count}
            self._switch = None
        for host in self.hosts.values():
            host.close()
        self._folder.cleanup()
