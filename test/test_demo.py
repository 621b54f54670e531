"""The demo: what it starts, what it reports, when it says no; and once the whole of it, live."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_evaluation import START_NS, message_in_space, pose_message

from benchmarks import _live
from radar_pose_ros import demo, evaluation, measurements
from radar_pose_ros.demo import DemoError, Options
from radar_pose_ros.recording import BagReader, BagWriter


def snapshot(values: dict[str, dict[str, str]], **more):
    """Stand in for what the monitor knows."""
    reports = {
        name: SimpleNamespace(message=entry.pop("message", "running"), values=entry)
        for name, entry in values.items()
    }
    known = {"poses": 0, "pose_rate_hz": 0.0, "pose_age_s": math.nan, **more}
    return SimpleNamespace(
        reports=reports,
        value=lambda node, key: reports[node].values.get(key, "") if node in reports else "",
        **known,
    )


RUNNING = {
    "/radar_emulator": {
        "radar_h frames_sent": "101",
        "radar_h packets_sent": "109000",
        "radar_h packets_dropped": "7",
        "radar_v frames_sent": "100",
    },
    "/radar_h/radar_driver": {
        "frames_complete": "97",
        "frames_incomplete": "3",
        "packets_accepted": "108993",
        "packets_lost": "7",
        "bytes_missing": "10192",
    },
    "/radar_v/radar_driver": {"frames_complete": "100", "packets_lost": "0"},
}


def running(**more):
    return snapshot({name: dict(values) for name, values in RUNNING.items()}, **more)


def test_the_graph_has_a_recorder_and_emulated_boards(tmp_path):
    nodes = demo.graph(Options(seed=7, loss=0.01, weights="edge"), tmp_path / "bag")
    by_program: dict[str, list] = {}
    for node in nodes:
        by_program.setdefault(node.executable, []).append(node)
    assert {name: len(those) for name, those in by_program.items()} == {
        "recorder": 1,
        "radar_emulator": 1,
        "radar_driver": 2,
        "radar_preprocessor": 2,
        "mamba_pose": 1,
        "visualizer": 1,
    }
    [recorder], [emulator] = by_program["recorder"], by_program["radar_emulator"]
    assert recorder.parameters["bag"] == str(tmp_path / "bag")
    assert "adc" in recorder.parameters["exclude"].split()
    assert emulator.parameters["seed"] == 7 and emulator.parameters["loss"] == 0.01
    assert emulator.parameters["split"] == "test"
    assert emulator.parameters["prepare_s"] == 20.0 + demo.SPARE_S
    assert all(n.environment["OMP_WAIT_POLICY"] == "passive" for n in nodes)


def test_raw_samples_are_recorded_on_request(tmp_path):
    nodes = demo.graph(Options(with_adc=True, weights="edge"), tmp_path / "bag")
    [recorder] = [node for node in nodes if node.executable == "recorder"]
    assert "adc" not in recorder.parameters["exclude"].split()


def test_frames_that_lack_packets_on_purpose_are_accepted(tmp_path):
    for loss, missing, valid in ((0.05, 0.11, 0.4), (1.0, 1.0, 0.0)):
        nodes = demo.graph(Options(loss=loss, weights="edge"), tmp_path / "bag")
        found = {node.executable: node.parameters for node in nodes}
        assert found["radar_driver"]["max_missing_ratio"] == pytest.approx(missing)
        assert found["radar_preprocessor"]["min_valid_ratio"] == pytest.approx(valid)
    nodes = demo.graph(Options(weights="edge"), tmp_path / "bag")
    assert not any("max_missing_ratio" in node.parameters for node in nodes)


def test_a_long_demo_is_simulated_while_it_runs():
    assert demo.prepared_s(Options(seconds=600)) == 0.0
    assert demo.prepared_s(Options(seconds=30)) == 30.0 + demo.SPARE_S


def test_busy_and_reserved_ports_are_avoided(monkeypatch):
    monkeypatch.setattr(demo, "_RESERVATIONS", [])
    base = demo.free_port_base()
    second = demo.free_port_base()
    assert second > base  # reserved until the process ends, though nobody has bound it yet
    for reservation in demo._RESERVATIONS:
        reservation.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", base + 102))
        assert demo.free_port_base() == second


def test_counts_come_from_the_nodes():
    assert demo.radar_counts(running(), "radar_h") == {
        "frames_sent": 101,
        "frames_received": 100,
        "frames_incomplete": 3,
        "packets_sent": 109000,
        "packets_received": 108993,
        "packets_lost": 7,
        "packets_lost_on_purpose": 7,
        "bytes_missing": 10192,
    }
    assert demo.radar_counts(snapshot({}), "radar_h")["frames_sent"] == 0


def test_progress_says_frames_losses_rate_and_age():
    line = demo.progress(running(poses=87, pose_rate_hz=9.96, pose_age_s=0.4567), 9.04, 20)
    assert line == (
        "  9.0 of 20 s | radar_h 100 frames, 7 packets lost | radar_v 100 frames, 0 packets lost "
        "| 87 poses, 10.0 Hz | 457 ms old"
    )
    assert "old" not in demo.progress(running(), 1, 20)


def test_nodes_that_cannot_start_are_quoted():
    state = running()
    assert demo.failures(state) == ""
    state = snapshot({"/mamba_pose": {"message": "cannot configure: no weights"}})
    assert demo.failures(state) == "mamba_pose: cannot configure: no weights"


def summary(**changes):
    counts = {name: demo.radar_counts(running(), name) for name in demo.RADARS}
    return {
        "radars": counts,
        "poses_published": 190,
        "pose_rate_hz": 9.9,
        "latency_ms": {"p50": 50.0, "p95": 80.0, "p99": 90.0, "from": "last packet"},
        "pose_age_ms": {"p50": 450.0, "p95": 480.0, "p99": 490.0},
        "windows": 191,
        "windows_dropped": 1,
        "poses": 188,
        "without_person": 2,
        "pck_0_2": 0.8,
        "ap": 0.6,
        "ap_fraction": 0.55,
        "baseline": {"poses": 188, "pck_0_2": 0.3, "ap": 0.1, "ap_fraction": 0.1},
        "weights": {"mamba_pose": {"id": "millimamba/edge@12345678", "sha256": "12345678"}},
        "seconds": 20.0,
        "load_before": 0.25,
        "machine": {"torch": None},
        **changes,
    }


def test_numbers_that_are_not_finite_are_found():
    assert demo.unusable(summary()) == []
    assert demo.unusable(summary(ap=math.nan)) == ["ap"]
    assert demo.unusable(
        summary(latency_ms={"p50": math.inf, "p95": 1.0, "p99": 1.0, "from": "last packet"})
    ) == ["latency_ms.p50"]


def test_results_compare_with_the_baseline_and_the_injected_loss():
    rows = {row["id"]: row for row in demo.results(summary())}
    assert rows["demo.pck_0_2"]["value"] == 0.8
    assert rows["demo.pck_0_2"]["target"] == 0.3
    assert (rows["demo.windows_dropped"]["value"], rows["demo.windows_dropped"]["target"]) == (
        1,
        0,
    )
    assert rows["demo.radar_h.packets_lost"]["value"] == 7
    assert rows["demo.radar_h.packets_lost"]["target"] == 7
    load = rows["demo.load_before"]
    assert (load["value"], load["target"], load["met"]) == (0.25, None, None)
    assert "PCK 0.2: 0.800 (baseline 0.300)" in demo.describe(summary())


REFINED = {
    "rate_hz": 29.9,
    "age_ms": 900.0,
    "poses": 500.0,
    "known": 1.0,
    "pck_0_2": 0.8,
    "error_px": 6.0,
    "accel_px": 0.3,
    "linear_pck_0_2": 0.7,
    "linear_error_px": 6.5,
    "linear_accel_px": 0.25,
}
LIFTED = {
    "rate_hz": 29.0,
    "age_ms": 2200.0,
    "poses": 480.0,
    "known": 1.0,
    "mpjpe_mm": 110.0,
    "p_mpjpe_mm": 84.0,
    "bone_length_mm": 12.0,
    "placed": 1.0,
    "place_mm": 130.0,
    "lost": 0.025,
    "placed_by_range": 0.9,
}


def test_results_hold_refined_and_lifted_poses():
    found = summary(**{"refined/pose2d": REFINED, "pose3d": LIFTED})
    rows = {row["id"]: row for row in demo.results(found)}
    error = rows["demo.refined_pose2d.error_px"]
    assert (error["value"], error["unit"], error["against"]) == (6.0, "px", "straight lines: 6.5")
    assert "demo.refined_pose2d.linear_error_px" not in rows
    assert rows["demo.refined_pose2d.accel_px"]["unit"] == "px per frame^2"
    rate = rows["demo.pose3d.rate_hz"]
    assert (rate["value"], rate["unit"], rate["against"]) == (29.0, "Hz", None)
    assert rows["demo.pose3d.lost"]["value"] == 0.025
    assert rows["demo.pose3d.placed_by_range"]["unit"] == ""
    said = demo.describe(found).splitlines()[-1]
    assert said.endswith("no time for 2.5% of the poses, 90% of the people placed by range")


def test_what_is_drawn_is_what_comes_last(tmp_path):
    """Refined poses in the image, none of the pose node's own; in space refined or lifted ones."""
    lifted = message_in_space(START_NS, np.zeros((17, 3)), "h36m17", "lifted")
    refined = message_in_space(START_NS, np.ones((17, 3)), "h36m17", "refined")
    unplaced = message_in_space(START_NS + 1, np.ones((17, 3)), "h36m17", "refined", relative=True)
    given = [("pose2d", pose_message(START_NS, 0.0)), ("pose3d", lifted)]
    given += [("refined/pose2d", pose_message(START_NS, 5.0)), ("refined/pose3d", refined)]
    given += [("refined/pose3d", unplaced)]
    found = []
    for count in (1, 2, 5):
        with BagWriter(tmp_path / str(count)) as writer:
            for topic, message in given[:count]:
                writer.write_message(f"/{topic}", START_NS, message)
        found.append(demo._last_poses(tmp_path / str(count)))
    assert found[0] == (None, None) and found[1][0] is None
    (_, lifted_m), (stamps_ns, refined_m) = found[1][1], found[2][1]
    assert lifted_m.shape == (1, 17, 3) and (lifted_m == 0).all()
    assert stamps_ns.tolist() == [START_NS, START_NS + 1]
    assert (refined_m[0] == 1).all() and np.isnan(refined_m[1]).all()
    with BagReader(tmp_path / "5") as reader:
        own = evaluation.read_poses(reader, "/pose2d")
    np.testing.assert_allclose(found[2][0].keypoints_px - own.keypoints_px, [[[5.0, 0.0]] * 14])


def test_targets_of_what_should_be_little():
    met = {row["id"]: row["met"] for row in demo.results(summary())}
    assert met["demo.windows_dropped"] is False  # one
    assert met["demo.latency_p95_ms"] is True  # 80 of 550 ms
    assert met["demo.radar_h.packets_lost"] is True  # as many as were injected
    assert met["demo.pck_0_2"] is True  # more than the baseline's


def test_too_short_is_said_in_words(staged, tmp_path):
    nothing = {name: math.nan for name in REFINED} | {"poses": 0.0}
    lines = []
    for seconds, sentence in (
        (2.0, "poses that are refined. 2 s are too short"),
        (30.0, "Not measured: refined/pose2d.accel_px, refined/pose2d.age_ms"),
    ):
        lines.clear()
        staged.summary = summary(seconds=seconds, **{"refined/pose2d": nothing})
        assert demo.run(Options(out=str(tmp_path / "out")), lines.append).exit_code == 1
        assert sentence in "\n".join(lines)
    staged.summary = summary(seconds=2.0, **{"refined/pose2d": nothing})
    assert "nan" not in demo.describe(staged.summary)


def test_the_networks_of_all_nodes_are_named(monkeypatch, tmp_path):
    from radar_pose_ros.models import baselines

    seen = []
    monkeypatch.setattr(baselines.MeanPoseBaseline, "load", lambda entry: None)
    monkeypatch.setattr(demo, "_run", lambda *arguments: seen.append(arguments[3]))
    demo.run(Options(out=str(tmp_path), refine=True, lift=True), len)
    assert {
        node: demo._weights(entry)["id"].partition("@")[0] for node, entry in seen[0].items()
    } == {
        "mamba_pose": "millimamba/edge",
        "pose_refiner": "mixsynthformer/radar_2d",
        "pose_lifter": "diffhpe/wrapper",
        "pose_refiner_3d": "mixsynthformer/pose_3d",
    }
    named = demo._weights({"model": "a", "preset": "b", "sha256": "0123456789"})
    assert named == {"id": "a/b@01234567", "sha256": "0123456789"}


def test_the_benchmark_takes_its_rows_from_the_summary():
    rows = {row["id"]: (row["value"], row["target"]) for row in _live.rows(summary())}
    assert rows["edge.latency_p95_ms"] == (80.0, 150.0)
    assert rows["edge.windows_dropped"] == (1, 0.0)


@pytest.fixture
def staged(monkeypatch):
    """Replace the slow parts of the demo."""
    from radar_pose_ros.models import baselines, weights

    stage = SimpleNamespace(counts={}, summary=summary())
    monkeypatch.setattr(weights, "load", lambda chosen, model: ({}, {"model": model}))
    monkeypatch.setattr(baselines.MeanPoseBaseline, "load", lambda entry: None)
    monkeypatch.setattr(demo, "_run_graph", lambda *arguments: stage.counts)
    monkeypatch.setattr(demo, "summarize", lambda *arguments: stage.summary)
    return stage


def test_all_is_well(staged, tmp_path):
    lines = []
    outcome = demo.run(Options(out=str(tmp_path / "out")), lines.append)
    assert outcome.exit_code == 0
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written == measurements.finite(staged.summary)
    assert any("summary.json" in line for line in lines)


def test_no_finite_numbers_no_success(staged, tmp_path):
    staged.summary = summary(pck_0_2=math.nan, poses_published=0)
    lines = []
    assert demo.run(Options(out=str(tmp_path / "out")), lines.append).exit_code == 1
    assert any("Not measured: pck_0_2" in line for line in lines)


def test_a_graph_that_failed_is_no_success(staged, tmp_path):
    staged.counts = None
    outcome = demo.run(Options(out=str(tmp_path / "out")), print)
    assert outcome.exit_code == 1 and outcome.summary is None


def test_only_what_an_earlier_demo_left_is_removed(tmp_path):
    for name in ("bag", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    for name in ("summary.json", "nodes.log", "mine.txt"):
        (tmp_path / name).write_text("x")
    with demo._taken_over(tmp_path):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt", "notes"]


def test_a_bag_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "recording.mcap").write_text("x")
    with (
        pytest.raises(DemoError, match="bag is not an earlier demo's"),
        demo._taken_over(tmp_path),
    ):
        pass
    assert (tmp_path / "bag" / "recording.mcap").exists()


def test_two_demos_do_not_write_to_one_folder(tmp_path):
    with demo._taken_over(tmp_path):
        with (
            pytest.raises(DemoError, match="another demo is writing to"),
            demo._taken_over(tmp_path),
        ):
            pass
        (tmp_path / "bag").mkdir()
        (tmp_path / "nodes.log").write_text("x")
    with demo._taken_over(tmp_path):  # afterwards it is free again
        assert not (tmp_path / "bag").exists()


def test_a_wrong_call_removes_nothing(tmp_path):
    for name in ("summary.json", "nodes.log"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match="seed"):
        demo.run(Options(out=str(tmp_path), seed=2_000_000), len)
    assert (tmp_path / "summary.json").exists()


# -- live ------------------------------------------------------------------------------------


def start_demo(root, out, environment, *arguments):
    command = [sys.executable, "-m", "radar_pose_ros.cli", "demo", "--out", str(out), *arguments]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(process_id: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(process_id).children(recursive=True)]


@pytest.mark.ros
@pytest.mark.slow
def test_from_packets_to_poses(root, tmp_path, ros_environment):
    """The whole chain in real processes: nothing is lost, poses come, and all is measured."""
    process = start_demo(root, tmp_path / "out", ros_environment, "--seconds", "6")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    for counts in found["radars"].values():
        assert counts["packets_lost"] == 0
        assert counts["frames_received"] >= 55
    assert found["poses_published"] >= 30
    assert found["pck_0_2"] > found["baseline"]["pck_0_2"]
    with BagReader(tmp_path / "out" / "bag") as reader:
        counts = reader.counts
        assert counts["/pose2d"] == found["poses_published"]
        assert "/radar_h/adc" not in counts
    with Image.open(tmp_path / "out" / "pose.gif") as image:
        assert image.n_frames == found["poses_published"]
    assert (tmp_path / "out" / "pose.gif").stat().st_size <= 5_000_000


@pytest.mark.ros
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(root, tmp_path, ros_environment, number):
    """All processes of the graph end with the demo, and the bag is closed."""
    process = start_demo(root, tmp_path / "out", ros_environment, "--seconds", "60")
    deadline_s = time.monotonic() + 60
    while len(children(process.pid)) < 8 and time.monotonic() < deadline_s:
        time.sleep(0.2)
    started = children(process.pid)
    assert len(started) >= 8
    time.sleep(4.0)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    alive = [pid for pid in started if os.path.exists(f"/proc/{pid}")]
    assert alive == []
