"""How hosts find each other where the network swallows multicast, as many access points do."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("rclpy") is None:
    pytest.skip("needs ROS messages: run `make test`", allow_module_level=True)

from faults.hosts_rows import host_environment
from hosts.network import WIFI, Network, unavailable

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "there are hosts"),
]

TALK = """
import time
import rclpy
from std_msgs.msg import String
rclpy.init()
publisher = rclpy.create_node("talker").create_publisher(String, "words", 10)
while True:
    publisher.publish(String(data="word"))
    time.sleep(0.1)
"""
HEAR = """
import sys, time
import rclpy
from std_msgs.msg import String
rclpy.init()
node, words = rclpy.create_node("hearer"), []
node.create_subscription(String, "words", words.append, 10)
end_s = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end_s and not words:
    rclpy.spin_once(node, timeout_sec=0.1)
print("heard" if words else "silence", flush=True)
"""
SERVER = Path(sys.executable).with_name("fastdds")


def hears(variables: dict[str, str], multicast: bool, timeout_s: float, server: bool) -> bool:
    """Whether a node on one host hears one on another."""
    link = replace(WIFI, multicast=multicast)
    with tempfile.TemporaryDirectory() as folder, Network({"a": link, "b": link}) as network:
        environment = host_environment(folder)
        if server:
            command = [str(SERVER), "discovery", "-i", "0", "-l", network["a"].ip, "-p", "11811"]
            network["a"].start(command, environment)
            time.sleep(1.0)
        environment |= variables
        network["a"].start([sys.executable, "-c", TALK], environment)
        hearer = network["b"].start([sys.executable, "-c", HEAR, str(timeout_s)], environment)
        said, _ = hearer.communicate(timeout=timeout_s + 30.0)
    return said.strip() == "heard"


def test_without_multicast_nobody_is_found() -> None:
    assert hears({}, multicast=True, timeout_s=20.0, server=False)
    assert not hears({}, multicast=False, timeout_s=6.0, server=False)


@pytest.mark.parametrize("peers", ["10.77.0.1;10.77.0.2", "10.77.0.1"])
def test_peers_are_found_without_multicast(peers: str) -> None:
    """One that is named is enough."""
    assert hears({"ROS_STATIC_PEERS": peers}, multicast=False, timeout_s=20.0, server=False)


@pytest.mark.skipif(not os.access(SERVER, os.X_OK), reason="there is no program fastdds")
def test_a_discovery_server_is_enough() -> None:
    server = {"ROS_DISCOVERY_SERVER": "10.77.0.1:11811"}
    assert hears(server, multicast=False, timeout_s=20.0, server=True)
