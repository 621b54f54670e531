"""The emulated UART board, and through it the whole way from clouds to frames over terminals."""

import itertools
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.radar.points import PointCloud, PointFrame
from radar_pose_ros.radar.ports import ConfigPortError, SerialConfigPort
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.radar.tlv import TlvStream
from radar_pose_ros.radar.uart import UartPointSource
from radar_pose_ros.simulation.uart_board import (
    EmulatedUartBoard,
    UartFaults,
    sdk2_packet,
    sdk3_packet,
    simulated_frames,
)

CFG = Path(__file__).resolve().parents[2] / "config" / "iwr1843_points.cfg"


def columns(cloud):
    return np.stack([cloud.x, cloud.y, cloud.z, cloud.velocity, cloud.snr])


def random_frames(rng, count, points=64, period_s=0.02):
    for number in range(count):
        table = rng.uniform(-4, 4, (4, int(rng.integers(0, points + 1)))).astype(np.float32)
        snr_db = np.rint(rng.uniform(50, 400, table.shape[1])).astype(np.float32) / 10
        yield PointFrame(number + 1, number * period_s, PointCloud(*table, np.float32(snr_db)))


def collect(source, count, timeout_s=10.0):
    frames = []
    deadline_s = time.monotonic() + timeout_s
    while len(frames) < count and time.monotonic() < deadline_s:
        frame = source.read(0.1)
        if frame is not None:
            frames.append(frame)
    return frames


def test_clouds_arrive_and_commands_start_and_stop_them(rng):
    """Started by the shipped configuration; exact but for 0.1 dB; stamped when they were sent."""
    sent = list(random_frames(rng, 30))
    begun_s = {}
    config = load_cfg(CFG, output="points")
    with EmulatedUartBoard(
        sent, on_frame=lambda frame, now_s: begun_s.update({frame.number: now_s})
    ) as board:
        ports = (board.data_port, board.command_port)
        with UartPointSource(*ports, config.commands, queue_frames=100) as source:
            assert source.read(0.2) is None
            assert board.statistics.frames_sent == 0
            source.start()
            frames = collect(source, 30)
            source.stop()
            counts = source.statistics
        assert board.command_line.commands == [*config.commands, "sensorStop"]
        assert not board.command_line.running
        assert board.statistics.bytes_sent == counts.stream.bytes_received
        assert board.statistics.bytes_unread == 0
    assert [f.number for f in frames] == [f.number for f in sent]
    for frame, original in zip(frames, sent, strict=True):
        np.testing.assert_array_equal(columns(frame.points)[:4], columns(original.points)[:4])
        assert_close(frame.points.snr, original.points.snr)
    late_s = np.array([frame.time_s - begun_s[frame.number] for frame in frames])
    assert late_s.min() >= 0 and np.median(late_s) < 0.02
    assert (counts.stream.frames, counts.frames_delivered, counts.frames_queued) == (30, 30, 0)
    assert counts.stream.bytes_skipped == counts.stream.frames_malformed == 0


def test_frames_keep_their_pace(rng):
    """The period of the clouds, whatever they take on the wire."""
    with (
        EmulatedUartBoard(
            random_frames(rng, 40, points=200, period_s=0.05), radar_on=True
        ) as board,
        UartPointSource(board.data_port) as source,
    ):
        times_s = np.array([f.time_s for f in collect(source, 30)])
    assert len(times_s) == 30
    assert np.median(np.diff(times_s)) == pytest.approx(0.05, abs=0.005)
    assert times_s[-1] - times_s[0] == pytest.approx(29 * 0.05, abs=0.1)


def test_the_wire_takes_its_time():
    """10 bits per byte: 100 kB at 921,600 baud take 1.09 s."""
    cloud = PointCloud(*np.ones((5, 5000), np.float32))
    frames = [PointFrame(1, 0.0, cloud)]
    begin_s = time.monotonic()
    with EmulatedUartBoard(frames, radar_on=True, encode=lambda f: sdk3_packet(f)[:100_000]) as b:
        reader = UartPointSource(b.data_port)
        with reader:
            assert b.wait_sent(1, 10.0)
            assert time.monotonic() - begin_s > 1.0


def test_damage_is_counted_and_the_rest_arrives(rng):
    """What is sent whole arrives as it was."""
    sent = {frame.number: frame for frame in random_frames(rng, 300, period_s=0.0)}
    faults = UartFaults(loss=0.1, truncation=0.1, garbage=0.2, seed=5)
    with (
        EmulatedUartBoard(sent.values(), faults, paced=False) as board,
        UartPointSource(board.data_port, queue_frames=400) as source,
    ):
        board.start_radar()
        assert board.wait_sent(300, 20.0)
        frames = collect(source, 300, 1.0)
        counts = source.statistics.stream
        taken = board.statistics
    assert counts.bytes_received == taken.bytes_sent and taken.bytes_unread == 0
    damaged = faults.packets_lost + faults.packets_truncated
    assert 30 < damaged < 100 and faults.garbage_bytes > 5000
    assert len(frames) >= 300 - damaged
    exact = [
        np.array_equal(columns(f.points)[:4], columns(sent[f.number].points)[:4]) for f in frames
    ]
    assert all(exact)
    numbers = [f.number for f in frames]
    assert counts.frames_lost == numbers[-1] - numbers[0] + 1 - len(numbers)
    assert counts.bytes_skipped >= faults.garbage_bytes - 500


def test_a_changed_byte_never_makes_an_impossible_point(rng):
    faults = UartFaults(corruption=1.0, seed=1)
    stream = TlvStream()
    for frame in random_frames(rng, 500):
        for found in stream.feed(faults.apply(sdk3_packet(frame))):
            assert np.isfinite(columns(found.points)[:4]).all()
    assert faults.packets_corrupted == 500
    assert 0 < stream.statistics.frames_malformed < 250


@pytest.mark.parametrize("name", ["loss", "truncation", "corruption", "garbage"])
def test_probabilities_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1, got 1.5"):
        UartFaults(**{name: 1.5})


def test_nobody_reads(rng):
    """A serial line loses what nobody takes; the board goes on."""
    frames = random_frames(rng, 100, points=200, period_s=0.01)
    with EmulatedUartBoard(frames, radar_on=True) as board:
        assert board.wait_sent(100, 10.0)
        assert board.statistics.bytes_unread > 0


def test_silence_and_a_radar_that_stops(rng):
    frames = random_frames(rng, 10_000, period_s=0.01)
    with (
        EmulatedUartBoard(frames, radar_on=True) as board,
        UartPointSource(board.data_port) as source,
    ):
        assert len(collect(source, 5)) == 5
        board.silent = True
        time.sleep(0.1)
        while source.read(0.0) is not None:
            pass
        assert source.read(0.3) is None
        board.silent = False
        assert len(collect(source, 5)) == 5
        board.stop_radar()
        time.sleep(0.1)
        sent = board.statistics.frames_sent
        time.sleep(0.2)
        assert board.statistics.frames_sent <= sent + 1
        board.start_radar()
        assert board.wait_sent(sent + 20, 5.0)


def test_configurations_without_points_are_refused():
    commands = [
        line.replace("guiMonitor -1 1", "guiMonitor -1 0")
        for line in load_cfg(CFG, output="points").commands
    ]
    with EmulatedUartBoard([]) as board, SerialConfigPort(board.command_port) as port:
        with pytest.raises(ConfigPortError, match=r"sensorStart.*guiMonitor wants 1"):
            port.send(commands)
        assert not board.command_line.running
        port.send(load_cfg(CFG, output="points").commands)
        assert board.command_line.running
        port.send(["sensorStart"])  # a second time it is ignored


def test_opening_and_closing_leaves_nothing_behind(rng):
    """W8: descriptors and threads are as before."""

    def count():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = count()
    for _ in range(10):
        with (
            EmulatedUartBoard(random_frames(rng, 5), radar_on=True) as board,
            UartPointSource(board.data_port) as source,
        ):
            assert len(collect(source, 1)) == 1
    assert count() == before


def test_simulated_people_look_like_people():
    """Points of one body: within its size, moving, no farther than the scene; always the same."""
    frames = list(itertools.islice(simulated_frames(seed=3, motion="walk", clip_s=5.0), 60))
    again = list(itertools.islice(simulated_frames(seed=3, motion="walk", clip_s=5.0), 60))
    assert [f.number for f in frames] == list(range(60))
    assert_close([f.time_s for f in frames], np.arange(60) / 10)
    for frame, same in zip(frames, again, strict=True):
        np.testing.assert_array_equal(columns(frame.points), columns(same.points))
    walking = [f.points for f in frames if len(f.points) > 20]
    assert len(walking) > 40
    for cloud in walking:
        assert np.ptp(cloud.z) < 2.2 and np.ptp(cloud.y) < 2.0
        assert (cloud.z > -1.3).all() and (cloud.z < 1.3).all()
        assert (cloud.x > 0.3).all() and (cloud.x < 7).all()
        assert np.abs(cloud.velocity).max() < 6
    # The mean velocity is that at which the mean range changes.
    ranges_m = [np.linalg.norm(columns(c)[:3], axis=0).mean() for c in walking]
    assert 0 < np.ptp(ranges_m) < 6


def test_packets_of_sdk_2(rng):
    """Rounded to multiples of 1/512 m and to Doppler bins."""
    (frame,) = random_frames(rng, 1)
    (found,) = TlvStream(velocity_step_mps=0.1).feed(sdk2_packet(frame))
    off = np.abs(columns(found.points) - columns(frame.points))
    assert (off[:3] <= 2.0**-10).all() and (off[3] <= 0.0501).all()
