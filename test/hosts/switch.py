"""A switch between hosts: forwards Ethernet frames late, not all of them, and not too fast.

A program of its own, of the standard library alone, so that it has a processor to itself:
``switch.py SETTINGS`` with JSON of `Link.__dict__` per port, file descriptor of its TAP device and
address. What it does with a frame depends on the port it comes from, as with ``tc netem`` on that
host's way out: frames leave one after the other at the link's rate, a queue that is full drops
them, some are lost, and the rest arrives after the delay, in order. Ends when its input is closed,
and prints what it counted.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import random
import select
import sys
import time
from dataclasses import dataclass, field

LARGEST = 65536
TO_ALL = b"\xff" * 6  # ARP asks so for an address
AT_ONCE = 64  # frames read from a port before others get their turn


@dataclass(frozen=True)
class Link:
    """What happens to frames that leave a host.

    Parameters
    ----------
    delay_s, jitter_s : float
        One way: the delay, and up to how much is added to it at random. Order is kept.
    loss : float
        Share of the frames that are lost, each for itself.
    rate_bps : float
        Bits per second, of whole Ethernet frames; 0 for no limit.
    queue_s : float
        How long a frame may wait for those before it; what would wait longer is dropped.
    seed : int
        Of loss and jitter.
    multicast : bool
        Whether frames to several hosts go through, other than those that ask for an address: many
        access points swallow them.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    rate_bps: float = 0.0
    queue_s: float = 0.1
    seed: int = 0
    multicast: bool = True


@dataclass
class Port:
    """One host's end of a cable."""

    descriptor: int
    address: bytes  # of the host
    link: Link
    rng: random.Random = field(init=False)
    free_s: float = 0.0  # when the last frame has left
    arrival_s: float = 0.0  # when it arrives
    frames: int = 0  # from this host
    bytes: int = 0
    lost: int = 0
    queue_full: int = 0
    refused: int = 0  # by the kernel, on their way to this host

    def __post_init__(self) -> None:
        self.rng = random.Random(self.link.seed)

    def swallows(self, frame: bytes) -> bool:
        """Whether a frame to several hosts is not forwarded."""
        return not self.link.multicast and bool(frame[0] & 1) and frame[:6] != TO_ALL

    def arrival_of(self, size: int, now_s: float) -> float | None:
        """Return when a frame that comes now arrives; None if it does not."""
        link = self.link
        self.frames += 1
        self.bytes += size
        if link.rate_bps:
            begin_s = max(now_s, self.free_s)
            if begin_s - now_s > link.queue_s:
                self.queue_full += 1
                return None
            now_s = self.free_s = begin_s + 8 * size / link.rate_bps
        if self.rng.random() < link.loss:
            self.lost += 1
            return None
        now_s += link.delay_s + self.rng.random() * link.jitter_s
        self.arrival_s = max(self.arrival_s, now_s)
        return self.arrival_s


def forward(ports: list[Port], stop: int) -> None:
    """Forward frames until the file `stop` is closed at its other end."""
    by_address = {port.address: port for port in ports}
    others = {id(port): [p for p in ports if p is not port] for port in ports}
    by_descriptor = {port.descriptor: port for port in ports}
    poll = select.epoll()
    for descriptor in (*by_descriptor, stop):
        poll.register(descriptor, select.EPOLLIN)
    under_way: list[tuple[float, int, bytes, list[Port]]] = []
    number = 0
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else 1.0
        for descriptor, _ in poll.poll(wait_s):
            if descriptor == stop:
                return
            port = by_descriptor[descriptor]
            for _ in range(AT_ONCE):
                try:
                    frame = os.read(descriptor, LARGEST)
                except BlockingIOError:
                    break
                except OSError:  # the host has ended, because who made it was killed
                    return
                if port.swallows(frame):
                    continue
                arrival_s = port.arrival_of(len(frame), time.monotonic())
                if arrival_s is None:
                    continue
                to = by_address.get(frame[:6])
                number += 1
                targets = [to] if to else others[id(port)]
                heapq.heappush(under_way, (arrival_s, number, frame, targets))
        now_s = time.monotonic()
        while under_way and under_way[0][0] <= now_s:
            _, _, frame, targets = heapq.heappop(under_way)
            for to in targets:
                try:
                    os.write(to.descriptor, frame)
                except OSError:
                    to.refused += 1


def main() -> None:
    """Run the switch that the first argument describes."""
    ports = [
        Port(entry["descriptor"], bytes.fromhex(entry["address"]), Link(**entry["link"]))
        for entry in json.loads(sys.argv[1])
    ]
    for port in ports:
        os.set_blocking(port.descriptor, False)
    forward(ports, sys.stdin.fileno())
    names = ("frames", "bytes", "lost", "queue_full", "refused")
    counts = [{name: getattr(port, name) for name in names} for port in ports]
    with contextlib.suppress(BrokenPipeError):  # who would read it was killed
        os.write(sys.stdout.fileno(), json.dumps(counts).encode())


if __name__ == "__main__":
    main()
