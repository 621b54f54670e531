"""Emulated boards, and through them the whole way from samples to frames over real sockets."""

import dataclasses
import os
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from loopback import LOOPBACK, SMALL, VALUES, make_pair, record

from radar_pose_ros.radar.assembler import FrameAssembler
from radar_pose_ros.radar.dca1000 import (
    DATA_HEADER_BYTES,
    Command,
    SystemStatus,
    decode_reply,
    encode_command,
    packet_config,
)
from radar_pose_ros.radar.ports import CardError, ConfigPortError, SerialConfigPort
from radar_pose_ros.radar.ti_config import load_cfg
from radar_pose_ros.simulation.boards import (
    EmulatedDca1000,
    EmulatedRadarCli,
    Faults,
    PacketStream,
    split_packets,
)

CFG = Path(__file__).resolve().parents[2] / "config" / "iwr1843.cfg"


# --------------------------------------------------------------------------- the whole way


def test_frames_arrive_bit_for_bit(rng):
    """W3 at no loss, over real sockets."""
    data = rng.integers(-32768, 32768, (40, VALUES), dtype=np.int16)
    card, source = make_pair(iter(data), source_options={"queue_frames": 100})
    frames = record(card, source, 40)
    assert [f.index for f in frames] == list(range(40))
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)
    counts = source.statistics
    assert counts.assembler.packets_accepted == card.statistics.packets_sent
    assert counts.assembler.bytes_received == card.statistics.bytes_sent == data.nbytes
    assert counts.assembler.packets_lost == counts.kernel_drops == 0
    assert source.card_status == SystemStatus.RECORD_COMPLETED


def test_disorder_is_put_right(rng):
    """W5: over real sockets."""
    data = rng.integers(-32768, 32768, (60, VALUES), dtype=np.int16)
    faults = Faults(reorder=0.3, duplicate=0.01, seed=4)
    card, source = make_pair(iter(data), faults, source_options={"queue_frames": 100})
    frames = record(card, source, 60)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)
    counts = source.statistics.assembler
    assert counts.packets_duplicate + counts.packets_late == faults.packets_duplicated > 0
    assert counts.packets_reordered > 0


def test_restart_on_request(rng):
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    card, source = make_pair(lambda: data, source_options={"queue_frames": 1000})
    with card, source:
        source.start()
        assert card.wait_sent(5, 2.0)
        card.restart()
        assert card.wait_sent(10, 2.0)
        source.stop()
        frames = list(source.frames())
    assert {f.epoch for f in frames} == {0, 1}
    assert all(np.array_equal(f.data, data) for f in frames)


def test_starting_again_without_stopping(rng):
    """W7, W8: a second start begins a new recording; only the frame that was cut is incomplete."""
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    card, source = make_pair(lambda: data, source_options={"queue_frames": 1000})
    with card, source:
        for _ in range(5):
            source.start()
            sent = card.statistics.frames_sent
            assert card.wait_sent(sent + 4, 2.0)
        source.stop()
        frames = list(source.frames())
    counts = source.statistics.assembler
    assert counts.epochs == 5
    assert (counts.frames_lost, counts.packets_stray) == (0, 0)
    assert counts.frames_dropped == 4
    for epoch in range(5):
        indices = [f.index for f in frames if f.epoch == epoch]
        assert indices == list(range(len(indices)))
        assert len(indices) >= 3
    assert all(np.array_equal(f.data, data) for f in frames)


def test_two_radars_side_by_side(rng):
    """Two cards at the paper's size and rate: nothing is lost and nothing is mixed."""
    config = load_cfg(CFG)
    count = 8
    data = rng.integers(-32768, 32768, (2, config.bytes_per_frame // 2), dtype=np.int16)
    pairs = [
        make_pair(iter([samples] * count), None, config, {"queue_frames": count})
        for samples in data
    ]
    results = [None, None]

    def work(number):
        results[number] = record(*pairs[number], count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (card, source) in enumerate(pairs):
        assert [f.index for f in results[number]] == list(range(count))
        assert all(np.array_equal(f.data, data[number]) for f in results[number])
        assert source.statistics.assembler.packets_lost == 0
        assert card.statistics.packets_sent == -(-count * config.bytes_per_frame // 1456)


def test_whole_radar_from_serial_port_to_frames(rng):
    """The command file goes over the terminal, frames come over the network."""
    config = load_cfg(CFG)
    samples = rng.integers(-32768, 32768, config.bytes_per_frame // 2, dtype=np.int16)
    card, source = make_pair(lambda: samples, None, config, radar_on=False)
    started = []

    def on_start(received):
        started.append(received)
        card.start_radar()

    with card, source, EmulatedRadarCli(on_start, card.stop_radar) as cli:
        source.start()
        assert source.read(0.15) is None  # the card records, the radar is off
        with SerialConfigPort(cli.port) as port:
            port.send(config.commands)
            assert cli.running
            frame = source.read(3.0)
            np.testing.assert_array_equal(frame.data, samples)
            port.send(["sensorStop"])
            assert not cli.running
        source.stop()
    assert [c.waveform for c in started] == [config.waveform]
    assert cli.commands == [*config.commands, "sensorStop"]


# --------------------------------------------------------------------------- the card


@pytest.fixture
def host():
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for opened in sockets:
        opened.bind((LOOPBACK, 0))
        opened.settimeout(2.0)
    yield sockets
    for opened in sockets:
        opened.close()


def ask(control, card, command, data=b""):
    control.sendto(encode_command(command, data), card.config_address)
    return decode_reply(control.recv(2048))


def test_wrong_commands_fail(host):
    control, data = host
    with EmulatedDca1000([], data.getsockname(), (LOOPBACK, 0)) as card:
        four_lanes = bytes((1, 1, 1, 2, 3, 30))
        assert ask(control, card, Command.CONFIGURE_FPGA, four_lanes).status == 1
        assert ask(control, card, Command.CONFIGURE_FPGA).status == 1
        assert ask(control, card, Command.CONFIGURE_PACKET, b"\0" * 6).status == 1
        assert ask(control, card, 0x7777).status == 1
        control.sendto(b"garbage", card.config_address)
        assert ask(control, card, Command.SYSTEM_CONNECT).ok  # still alive


def test_bursts_follow_the_packet_delay(host, rng):
    """A frame takes the card's time: 200 packets at 61.7 us instead of 36.7."""
    control, data = host
    data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    samples = rng.integers(-32768, 32768, 200 * 728, dtype=np.int16)
    for delay_us, expected_s in ((25.0, 200 * 36.7e-6), (50.0, 200 * 61.7e-6)):
        with EmulatedDca1000(
            [samples], data.getsockname(), (LOOPBACK, 0), active_time_s=0.0
        ) as card:
            ask(control, card, Command.CONFIGURE_PACKET, packet_config(delay_us=delay_us))
            ask(control, card, Command.RECORD_START)
            arrivals = []
            for _ in range(200):
                data.recv(2048)
                arrivals.append(time.monotonic())
        assert arrivals[-1] - arrivals[0] > 0.85 * expected_s


def test_frames_keep_their_period(rng):
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    begun = []
    card, source = make_pair(
        lambda: data,
        config=dataclasses.replace(
            SMALL, waveform=dataclasses.replace(SMALL.waveform, frame_period_s=0.05)
        ),
        on_frame=lambda number, time_s: begun.append((number, time_s)),
    )
    record(card, source, 8)
    numbers, times_s = np.array(begun[:8]).T
    assert numbers.tolist() == list(range(8))
    assert np.median(np.diff(times_s)) == pytest.approx(0.05, abs=0.02)


def test_slow_frames_slip_and_are_counted(rng):
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)

    def slow():
        time.sleep(0.04)
        return data

    card, source = make_pair(slow)  # 10 ms period
    record(card, source, 5)
    assert card.statistics.frames_slipped >= 3


def test_a_source_of_frames_that_ends(rng):
    data = rng.integers(-32768, 32768, (2, VALUES), dtype=np.int16)
    pending = [*data]
    card, source = make_pair(lambda: pending.pop(0) if pending else None)
    assert len(record(card, source, 2)) == 2


def test_nobody_listens(rng):
    """Packets into the void are no error for the card."""
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    card, source = make_pair(lambda: data)
    with card:
        with source:
            source.start()
            assert source.read(2.0) is not None
        sent = card.statistics.frames_sent
        assert card.wait_sent(sent + 3, 2.0)  # the host is gone
        with source:
            source.start()
            frame = source.read(2.0)
            assert (frame.index, frame.bytes_missing) == (0, 0)


@pytest.mark.parametrize("again", [False, True])
def test_what_an_unplugged_card_makes_is_missing_or_untold(again, rng):
    """What is missing, to the packet: a gap if the stream goes on, nothing if it begins anew."""
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    options = {"attempts": 1, "reply_timeout_s": 0.2, "max_missing_ratio": 1.0}
    faults = Faults(loss=0.05, seed=7)
    card, source = make_pair(lambda: data, faults, source_options=options)
    with card, source:
        source.start()
        assert card.wait_sent(5, 2.0)
        card.plugged = False
        assert card.wait_sent(card.statistics.frames_sent + 5, 2.0)
        if again:
            with pytest.raises(CardError):
                source.start()  # nothing answers
        card.plugged = True
        if again:
            source.start()
        assert card.wait_sent(card.statistics.frames_sent + 5, 2.0)
        card.stop_radar()
        source.stop()
        sent, seen = card.statistics, source.statistics.assembler
    assert sent.packets_unsent > 0 and (sent.packets_untold > 5) == again
    assert seen.datagrams == sent.packets_sent
    missing = card.faults.packets_lost + sent.packets_unsent
    assert seen.packets_lost == missing - sent.packets_untold


def test_nothing_is_left_behind(rng):
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    data = rng.integers(-32768, 32768, VALUES, dtype=np.int16)
    for _ in range(10):
        card, source = make_pair(lambda: data)
        with EmulatedRadarCli():
            record(card, source, 1)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads


# --------------------------------------------------------------------------- faults


def packets_of(rng, number):
    data = rng.integers(-32768, 32768, number * 728, dtype=np.int16)
    return split_packets(PacketStream().packets(data))


def test_no_faults_change_nothing(rng):
    packets = packets_of(rng, 100)
    faults = Faults()
    assert not faults.active
    assert faults.apply(packets) == packets
    assert faults.drain() == []


def test_losses_are_counted(rng):
    packets = packets_of(rng, 20_000)
    faults = Faults(loss=0.05, seed=3)
    arrived = faults.apply(packets)
    assert faults.packets_lost == len(packets) - len(arrived)
    assert faults.bytes_lost == faults.packets_lost * 1456
    assert faults.packets_lost == pytest.approx(1000, abs=5 * np.sqrt(1000))
    assert Faults(loss=0.05, seed=3).apply(packets) == arrived
    assert Faults(loss=0.05, seed=4).apply(packets) != arrived


def test_bursts_have_their_length(rng):
    packets = packets_of(rng, 20_000)
    faults = Faults(burst_loss=0.001, burst_packets=12, seed=1)
    numbers = [int.from_bytes(p[:4], "little") for p in faults.apply(packets)]
    gaps = np.diff([0, *numbers]) - 1
    assert set(gaps[gaps > 0] % 12) == {0}
    assert gaps.sum() <= faults.packets_lost
    assert faults.packets_lost > 100


def test_delays_stay_within_the_window(rng):
    packets = packets_of(rng, 5_000)
    faults = Faults(reorder=0.5, reorder_window=16, seed=1)
    numbers = []
    for first in range(0, len(packets), 7):  # in pieces: delays reach across them
        numbers += [int.from_bytes(p[:4], "little") for p in faults.apply(packets[first:][:7])]
    numbers += [int.from_bytes(p[:4], "little") for p in faults.drain()]
    assert sorted(numbers) == list(range(1, 5_001))
    latest = np.maximum.accumulate(numbers)
    overtaken = [
        sum(other > number for other in numbers[max(0, at - 40) : at])
        for at, number in enumerate(numbers)
    ]
    assert 8 < max(overtaken) <= 16
    assert (latest != numbers).sum() > 1000


def test_impossible_faults_are_refused():
    with pytest.raises(ValueError, match="loss must be from 0 to 1, got 2"):
        Faults(loss=2)
    with pytest.raises(ValueError, match="must be at least 1"):
        Faults(reorder_window=0)
    with pytest.raises(ValueError, match="whole 16-bit values, got 3 bytes"):
        PacketStream(3)


def test_packet_stream_keeps_count(rng):
    data = rng.integers(-32768, 32768, (3, 1000), dtype=np.int16)
    stream = PacketStream()
    packets = [p for frame in data for p in split_packets(stream.packets(frame))]
    assert len(packets) == 4
    assert stream.bytes_held == 6000 - 4 * 1456
    packets += split_packets(stream.flush())
    assert stream.bytes_held == 0
    assert split_packets(stream.flush()) == []
    assert b"".join(p[DATA_HEADER_BYTES:] for p in packets) == data.tobytes()
    stream.restart()
    assert (stream.sequence, stream.byte_count) == (1, 0)
    frames = []
    assembler = FrameAssembler(2000, 2000)
    for packet in packets:
        frames += assembler.push(packet, None, 0.0)
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)


# --------------------------------------------------------------------------- command line


def converse(cli, text):
    """What the terminal says to some text, up to its next prompt."""
    descriptor = os.open(cli.port, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(descriptor, text)
        heard = b""
        while not heard.endswith(cli.PROMPT.encode()):
            heard += os.read(descriptor, 4096)
        return heard.decode()
    finally:
        os.close(descriptor)


def test_command_line_speaks_like_the_demo():
    with EmulatedRadarCli() as cli:
        end = "\r\n\r\nmmwDemo:/>"
        assert converse(cli, b"flushCfg\n") == "flushCfg\r\nDone" + end
        assert converse(cli, b"  flushCfg\r\n") == "flushCfg\r\nDone" + end
        assert converse(cli, b"warp 9\n") == (
            "warp 9\r\n'warp' is not recognized as a CLI command" + end
        )
        assert converse(cli, b"frameCfg 1 2\n") == (
            "frameCfg 1 2\r\nError: Invalid usage of the CLI command\r\nError -1" + end
        )
        assert converse(cli, b"sensorStop\n") == (
            "sensorStop\r\nIgnored: Sensor is already stopped\r\nDone" + end
        )
        assert "Error -1" in converse(cli, b"sensorStart\n")  # nothing configured
        assert not cli.running


def test_start_and_stop_are_reported_once():
    events = []
    config = load_cfg(CFG)
    with (
        EmulatedRadarCli(lambda c: events.append(c.tx_order), lambda: events.append("off")) as cli,
        SerialConfigPort(cli.port) as port,
    ):
        port.send(config.commands)
        port.send(["sensorStart", "sensorStop", "sensorStop"])
    assert events == [(1, 2, 3), "off"]


def test_refused_commands_reach_the_sender():
    with EmulatedRadarCli() as cli, SerialConfigPort(cli.port) as port:
        with pytest.raises(ConfigPortError, match=r"'warp 9' .* is not recognized"):
            port.send(["flushCfg", "warp 9"])
        with pytest.raises(ConfigPortError, match=r"'sensorStart' .* was refused: Error"):
            port.send(["sensorStart"])
        port.send(["flushCfg"])  # usable again


def test_terminal_that_vanishes():
    """W11: the port goes away while it is open."""
    cli = EmulatedRadarCli()
    cli.open()
    with SerialConfigPort(cli.port) as port:
        port.send(["flushCfg"])
        cli.close()
        with pytest.raises(ConfigPortError, match="was lost during 'flushCfg'"):
            port.send(["flushCfg"])
    with pytest.raises(RuntimeError, match="is not open"):
        _ = cli.port
