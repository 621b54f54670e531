"""The hosts and the network between them: what it is said to do to frames, it does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hosts.network import Network, unavailable
from hosts.switch import Link, Port

needs_hosts = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "there are hosts")

SEND = """
import socket, sys, time
address, count, size, rate = sys.argv[1], *map(int, sys.argv[2:])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
begin = time.monotonic()
for number in range(count):
    if rate:
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
    head = number.to_bytes(8, "big") + time.time_ns().to_bytes(8, "big")
    s.sendto(head + bytes(size - 16), (address, 5000))
"""
RECEIVE = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SO_RCVBUFFORCE = 33
s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
s.bind(("", 5000))
print("ready", flush=True)
s.settimeout(20.0)
lines = []
while True:
    try:
        data = s.recv(65536)
    except TimeoutError:
        break
    s.settimeout(1.0)
    lines.append((data[:8], data[8:16], time.time_ns()))
for number, sent, received in lines:
    print(int.from_bytes(number, "big"), int.from_bytes(sent, "big"), received)
"""


def frames_through(link: Link, count: int, gap_s: float, size: int = 1000) -> list[float | None]:
    """Return when frames that come at equal steps arrive."""
    port = Port(0, b"", link)
    return [port.arrival_of(size, number * gap_s) for number in range(count)]


def test_a_link_loses_what_it_should_and_the_same_again():
    link = Link(loss=0.01, seed=3)
    first = frames_through(link, 100_000, 1e-3)
    assert first == frames_through(link, 100_000, 1e-3)
    assert first.count(None) == pytest.approx(1000, abs=100)  # 3 sigma
    other = frames_through(Link(loss=0.01, seed=4), 100_000, 1e-3)
    assert [a is None for a in first] != [a is None for a in other]


def test_a_link_delays_and_keeps_the_order():
    link = Link(delay_s=0.02, jitter_s=0.01)
    delays = [a - 0.1 * number for number, a in enumerate(frames_through(link, 1000, 0.1))]
    assert min(delays) == pytest.approx(0.02, abs=0.001)
    assert max(delays) == pytest.approx(0.03, abs=0.001)
    at_once = frames_through(link, 1000, 1e-4)
    assert at_once == sorted(at_once)


def test_a_link_has_a_rate_and_drops_what_waits_too_long():
    # 1000 bytes at 8 Mbit/s take 1 ms; twice as many come
    link = Link(rate_bps=8e6, queue_s=0.1)
    port = Port(0, b"", link)
    arrivals = [port.arrival_of(1000, number * 5e-4) for number in range(10_000)]
    came = [arrival for arrival in arrivals if arrival is not None]
    assert len(came) / (came[-1] - came[0]) == pytest.approx(1000, rel=0.01)
    assert port.queue_full == arrivals.count(None) == pytest.approx(4900, abs=100)
    waits = [a - 5e-4 * n for n, a in enumerate(arrivals) if a is not None]
    assert max(waits) == pytest.approx(0.101, abs=0.001)


def between_hosts(link: Link, count: int, size: int, rate: int) -> tuple[list[list[int]], Network]:
    """Send datagrams from one host to another; return those that came."""
    network = Network({"here": link, "there": Link()})
    with network:
        receiver = network["there"].start([sys.executable, "-c", RECEIVE])
        assert receiver.stdout is not None and receiver.stdout.readline() == "ready\n"
        network["here"].run(
            [sys.executable, "-c", SEND, network["there"].ip, *map(str, (count, size, rate))]
        )
        out, _ = receiver.communicate(timeout=30.0)
    return [[int(word) for word in line.split()] for line in out.splitlines()], network


@needs_hosts
def test_datagrams_between_hosts_are_late_and_lost():
    came, network = between_hosts(Link(delay_s=0.02, loss=0.1, seed=1), 400, 1000, 400)
    counts = network.counts["here"]
    assert counts["unread"] == counts["queue_full"] == 0
    assert 400 - len(came) == pytest.approx(40, abs=18)  # 3 sigma
    assert 400 - len(came) <= counts["lost"] <= 400 - len(came) + 5  # and some that ask where
    assert min(received - sent for _, sent, received in came) >= 20_000_000
    late = sorted(received - sent for _, sent, received in came)
    assert late[len(late) // 2] < 60_000_000


@needs_hosts
def test_the_relay_carries_fifty_megabits_with_margin():
    """100 Mbit/s for 2 s through the switch: nothing is lost."""
    came, network = between_hosts(Link(), 17_000, 1472, 8500)
    assert [number for number, _, _ in came] == list(range(17_000))
    assert network.counts["here"]["unread"] == 0
    seconds = 1e-9 * (came[-1][2] - came[0][2])
    print(f"{17_000 * 1514 * 8e-6 / seconds:.0f} Mbit/s")


@needs_hosts
def test_hosts_have_nothing_but_files_in_common():
    with Network({"one": Link(), "two": Link()}) as network:
        one, two = network.hosts.values()
        assert one.run(["hostname"]).stdout == "one\n"
        assert two.run(["hostname"]).stdout == "two\n"
        identities = [host.run(["cat", "/etc/machine-id"]).stdout for host in (one, two)]
        assert identities[0] != identities[1]
        one.run(["touch", "/dev/shm/of_one"])
        assert two.run(["ls", "/dev/shm"]).stdout == ""
        assert Path.cwd() == Path(one.run(["pwd"]).stdout.strip())
        sleeper = one.start(["sleep", "1000"])
        time.sleep(0.2)
        assert "sleep 1000" in one.run(["ps", "ax"]).stdout
        assert "sleep 1000" not in two.run(["ps", "ax"]).stdout
    assert sleeper.poll() is not None


@needs_hosts
def test_everything_ends_with_the_process_that_made_it():
    program = (
        "import subprocess, sys, time\n"
        "from hosts.network import Link, Network\n"
        "with Network({'one': Link(), 'two': Link()}) as network:\n"
        "    network['one'].start(['sleep', '987654'])\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)\n"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
    )
    assert maker.stdout is not None and maker.stdout.readline() == "there\n"
    maker.kill()
    maker.communicate()
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        running = subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout
        if "sleep 987654" not in running:
            return
        time.sleep(0.05)
    pytest.fail("what ran on a host outlives its maker")
