"""The doctor finds what is wrong, names the cure, and never falls ill itself."""

from __future__ import annotations

import os
import shutil
import socket
from types import SimpleNamespace

import pytest

from radar_pose_ros import doctor
from radar_pose_ros.doctor import Check


def test_python_versions():
    assert doctor.check_python((3, 11)).status == "ok"
    for version in ((3, 9), (3, 14), (2, 7)):
        check = doctor.check_python(version)
        assert check.status == "problem"
        assert "3.10 to 3.13" in check.cure


def test_missing_ros_is_a_problem_with_two_cures(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    check = doctor.check_ros()
    assert check.status == "problem"
    assert "setup.bash" in check.cure and "make build" in check.cure
    assert doctor.check_middleware().status == "note"
    assert doctor.check_messages().status == "note"


def test_missing_libraries_are_named(monkeypatch):
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n == "rosbags" else real(n))
    check = doctor.check_packages()
    assert check.status == "problem"
    assert check.finding == "missing: rosbags"


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({}, "note"),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, "ok"),
        ({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, "ok"),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "config/fastdds_large_messages.xml"}, "ok"),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "/nowhere.xml"}, "note"),
    ],
)
def test_large_messages(environment, status, monkeypatch):
    monkeypatch.chdir(doctor.Path(doctor.__file__).parents[1])
    check = doctor.check_large_messages(environment)
    assert check.status == status
    assert (status == "ok") == (check.cure == "")
    if check.cure:
        assert "FASTDDS_DEFAULT_PROFILES_FILE=" in check.cure


@pytest.mark.parametrize(("granted_mib", "status"), [(8, "ok"), (16, "ok"), (0.2, "warning")])
def test_socket_buffer_against_need(granted_mib, status, monkeypatch):
    class Socket:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *arguments):
            pass

        def setsockopt(self, level, option, value):
            if option == getattr(socket, "SO_RCVBUFFORCE", None):
                raise PermissionError("not root")

        def getsockopt(self, level, option):
            return int(2 * granted_mib * 2**20)  # Linux answers twice what it granted

    monkeypatch.setattr(doctor.socket, "socket", Socket)
    check = doctor.check_socket_buffer()
    assert check.status == status
    if status == "warning":
        assert "sysctl -w net.core.rmem_max=8388608" in check.cure


def test_socket_buffer_of_this_machine_agrees_with_the_kernel():
    check = doctor.check_socket_buffer()
    assert check.status in ("ok", "warning")
    assert "MiB of the 8 MiB" in check.finding


@pytest.mark.parametrize(
    ("total_mib", "free_mib", "status"),
    [(8000, 7000, "ok"), (8000, 100, "warning"), (63, 63, "problem")],
)
def test_shared_memory(total_mib, free_mib, status, monkeypatch):
    usage = SimpleNamespace(total=total_mib * 2**20, free=free_mib * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check = doctor.check_shared_memory()
    assert check.status == status
    assert (status == "ok") == (check.cure == "")


XDS110, CP2105 = (0x0451, 0xBEF3), (0x10C4, 0xEA70)


def port(device, ids=(None, None)):
    return SimpleNamespace(device=device, vid=ids[0], pid=ids[1])


@pytest.mark.parametrize(
    ("ports", "allowed", "status", "words", "rule"),
    [
        ([], True, "note", "none", ""),
        ([port("/dev/ttyACM0", XDS110)], True, "ok", "1 of a TI radar", ""),
        ([port("/dev/ttyACM0", XDS110)], False, "warning", "no permission for /dev/tty", "0451"),
        ([port("/dev/ttyUSB0", CP2105)], False, "warning", "no permission for /dev/tty", "10c4"),
        ([port("/dev/ttyS0")], False, "note", "none of a TI radar", "0451"),
    ],
)
def test_serial_ports(ports, allowed, status, words, rule, monkeypatch):
    from serial.tools import list_ports

    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    monkeypatch.setattr(os, "access", lambda *arguments: allowed)
    check = doctor.check_serial()
    assert check.status == status
    assert words in check.finding
    if status == "warning":
        assert "usermod -aG dialout" in check.cure
    assert (f'ATTRS{{idVendor}}=="{rule}"' in check.cure) == bool(rule)


def test_a_failing_check_is_a_finding(monkeypatch):
    def check_sky():
        raise ZeroDivisionError("no sky")

    monkeypatch.setattr(doctor, "CHECKS", (check_sky, doctor.check_python))
    broken, fine = doctor.examine()
    assert broken.name == "sky" and broken.status == "warning"
    assert "no sky" in broken.finding
    assert fine.name == "Python"


def test_only_problems_are_unhealthy():
    checks = [Check("a", "ok", ""), Check("b", "warning", ""), Check("c", "note", "")]
    assert doctor.healthy(checks)
    assert not doctor.healthy([*checks, Check("d", "problem", "", "cure")])


def test_every_check_answers_on_this_machine():
    checks = doctor.examine()
    assert len(checks) == len(doctor.CHECKS)
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.finding
        assert not (check.status in ("warning", "problem") and not check.cure), check
