"""Sockets: of one interface, of one sender, and none that listens to everybody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ports import DcaUdpSource
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.resources import find
from radar_pose_ros.simulation.boards import EmulatedDca1000

ROOT = Path(__file__).resolve().parents[2]
NOT_ONE_HOST = ("", "0.0.0.0", "255.255.255.255", "224.0.0.1", "localhost", "192.168.33", "::")
# Every place that binds a socket, and to what.
BINDS = {
    "radar_pose_ros/demo.py": "('127.0.0.1', base + offset)",
    "radar_pose_ros/nodes/radar_emulator.py": "self._card_address(radar)",
    "radar_pose_ros/radar/ports.py": "(self._host_ip, port)",
    "radar_pose_ros/view/command.py": "(LOOPBACK, 0)",
}


@pytest.fixture(scope="module")
def config() -> RadarConfig:
    return load_cfg(find("config", "iwr1843.cfg"))


@pytest.mark.parametrize("name", ["host_ip", "card_ip"])
@pytest.mark.parametrize("address", NOT_ONE_HOST)
def test_a_driver_wants_addresses_of_one_host(
    config: RadarConfig, name: str, address: str
) -> None:
    """Not all of them, not a group, not a name; said before anything is opened."""
    with pytest.raises(ValueError, match=f"{name}: want the IPv4 address"):
        DcaUdpSource(config, **{name: address})


@pytest.mark.parametrize("address", ["", "0.0.0.0", "224.0.0.1"])
def test_an_emulated_card_wants_one_too(address: str) -> None:
    with pytest.raises(ValueError, match="want the IPv4 address"):
        EmulatedDca1000([], ("127.0.0.1", 4098), (address, 4096))


def test_every_socket_that_listens_is_known() -> None:
    """Who adds one says here where it listens."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "radar_pose_ros").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                where = path.relative_to(ROOT).as_posix()
                if node.func.attr == "bind":
                    found.setdefault(where, set()).add(ast.unparse(node.args[0]))
                listens = {"create_server", "start_server", "HTTPServer", "TCPStore", "serve_grpc"}
                assert node.func.attr not in listens | {"serve_web", "serve_web_viewer"}, where
    boards = found.pop("radar_pose_ros/simulation/boards.py")
    assert boards == {"self._config_address", "(self._config_address[0], 0)"}
    assert found == {where: {what} for where, what in BINDS.items()}
