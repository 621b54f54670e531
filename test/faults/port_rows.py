"""W1, W3, W7, W8, W11 and W12 over real sockets and terminals: cards, radars and others."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from faults.rows import Outcome, row
from faults.wire import MIB, Complaints, Memory
from faults.wire_rows import LOSSES
from loopback import (
    LOOPBACK,
    SMALL,
    VALUES,
    ScriptedCard,
    ScriptedRadar,
    free_ports,
    make_pair,
    well,
)

from radar_pose_ros.radar.dca1000 import (
    Command,
    Reply,
    SystemStatus,
    command_name,
    decode_reply,
    describe_reply,
    encode_reply,
)
from radar_pose_ros.radar.ports import CardError, ConfigPortError, DcaUdpSource, SerialConfigPort
from radar_pose_ros.simulation.boards import (
    EmulatedDca1000,
    Faults,
    Packet,
    PacketStream,
    split_packets,
)

USUAL = 1456  # bytes of a packet's payload
ON_THE_WAY = 4 * MIB  # half of what the socket's buffer holds


def _frames(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(-32768, 32768, (count, VALUES), dtype=np.int16)


def _packets(frames: np.ndarray) -> list[Packet]:
    """A whole recording."""
    stream = PacketStream()
    packets = [p for frame in frames for p in split_packets(stream.packets(frame))]
    return packets + split_packets(stream.flush())


def _wait(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.001)
    return True


@contextmanager
def _sender(address: str = LOOPBACK) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((address, 0))
        yield opened


def _source(card_port: int = 9, **options) -> tuple[DcaUdpSource, tuple, tuple]:
    """A source, and where it listens: for replies and for data."""
    config_port, data_port = free_ports(2)
    source = DcaUdpSource(
        SMALL,
        host_ip=LOOPBACK,
        card_ip=LOOPBACK,
        config_port=config_port,
        data_port=data_port,
        card_config_port=card_port,
        **options,
    )
    return source, (LOOPBACK, config_port), (LOOPBACK, data_port)


def _with_period(period_s: float):
    return dataclasses.replace(
        SMALL, waveform=dataclasses.replace(SMALL.waveform, frame_period_s=period_s)
    )


# --------------------------------------------------------------------------- W1, W3


@row(
    "W1",
    fault="random bytes of 0 to 65,507 bytes sent to the data port, and shorter ones to the port "
    "for replies",
    must_hold="no frame, every datagram accounted for, less than 10 MiB grown; a recording that "
    "follows is whole",
    volume=1_000_000,
    unit="datagrams",
)
def random_datagrams_by_udp(volume: int, seed: int) -> Outcome:
    """W1: over sockets."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    noise = memoryview(rng.bytes(MIB))
    data = _frames(rng, 10)
    with ScriptedCard(well) as card, _sender() as sender:
        source, config_address, data_address = _source(card.port, queue_frames=20)
        with source:
            sent = asked = 0

            def arrived() -> bool:
                counts = source.statistics
                return (
                    counts.assembler.datagrams + (counts.kernel_drops or 0) == sent
                    and counts.replies_ignored == asked
                )

            memory = None
            for first in range(0, volume, 10_000):
                many = min(10_000, volume - first)
                to_config = rng.random(many) < 0.1
                longest = np.where(to_config | (rng.random(many) < 0.5), 1472, 65_507)
                sizes = rng.integers(0, longest + 1)
                starts = rng.integers(0, MIB - sizes).tolist()
                on_the_way = 0
                for config, size, start in zip(
                    to_config.tolist(), sizes.tolist(), starts, strict=True
                ):
                    address = config_address if config else data_address
                    sender.sendto(noise[start : start + size], address)
                    asked += config
                    sent += not config
                    on_the_way += size + 1024
                    if on_the_way > ON_THE_WAY:
                        _wait(arrived, 5.0)
                        on_the_way = 0
                complaints.expect(_wait(arrived), f"of {sent} and {asked} some are not counted")
                memory = memory or Memory()  # from the end of the first part on
                memory.look()
            assert memory is not None
            counts = source.statistics
            complaints.expect(memory.grown_mib < 10, "more than 10 MiB grown")
            complaints.expect(
                counts.assembler.frames_closed + counts.frames_queued == 0, "noise made a frame"
            )
            source.start()
            for packet in _packets(data):
                sender.sendto(packet, data_address)
            _wait(lambda: source.statistics.assembler.frames_complete == len(data))
            frames = [source.read(0.0) for _ in data]
            complaints.expect(
                all(
                    frame is not None and np.array_equal(frame.data, sent_one)
                    for frame, sent_one in zip(frames, data, strict=True)
                ),
                "the recording after it has gaps",
            )
    return complaints.outcome(
        f"{sent:,} datagrams to the data port and {asked:,} to the other: 0 frames, "
        f"{counts.kernel_drops or 0:,} found the buffer full, all of the others counted; "
        f"{memory.grown_mib:.1f} MiB grown"
    )


@row(
    "W3",
    fault="independent loss of 0, 0.01, 0.1, 1, 5, 20 and 50 % between an emulated card and the "
    "driver's source, 17 packets a frame",
    must_hold="the bytes reported as missing are those lost, exactly; what is in frames is what "
    "was sent, or zero and marked",
    volume=2_000,
    unit="frames at each rate",
)
def loss_by_udp(volume: int, seed: int) -> Outcome:
    """W3: over sockets."""
    complaints, lost, published, dropped = Complaints(), 0, 0, 0
    for number, loss in enumerate(LOSSES):
        data = _frames(np.random.default_rng([seed, number]), 64)
        faults = Faults(loss=loss, seed=seed + number)
        card, source = make_pair(
            (data[index % 64] for index in range(volume)),
            faults,
            _with_period(0.002),
            {"queue_frames": volume, "max_missing_ratio": 0.1},
        )
        with card, source:
            source.start()
            complaints.expect(card.wait_sent(volume, 60.0 + 0.01 * volume), "the card is late")
            source.stop()
            frames = list(source.frames())
        counts = source.statistics
        drops = counts.kernel_drops or 0
        seen, wanted = counts.assembler.bytes_missing, faults.bytes_lost + drops * USUAL
        complaints.expect(seen == wanted, f"at {loss:g}: {seen} bytes missing, {wanted} lost")
        complaints.expect(
            counts.assembler.frames_closed == volume, f"at {loss:g}: frames are not accounted for"
        )
        for frame in frames:
            differs = frame.data != data[frame.index % 64]
            marked = np.repeat(frame.chirp_valid == 0, SMALL.bytes_per_chirp // 2)
            complaints.expect(
                not frame.data[differs].any()
                and not (differs & ~marked).any()
                and 2 * int(differs.sum()) <= frame.bytes_missing,
                f"at {loss:g}: frame {frame.index} holds what was not sent",
            )
        lost += faults.packets_lost
        published += len(frames)
        dropped += counts.assembler.frames_dropped + counts.assembler.frames_lost
    return complaints.outcome(
        f"{lost:,} packets lost, their bytes reported exactly; {published:,} frames published, "
        f"{dropped:,} that lacked more than 10 % dropped"
    )


# --------------------------------------------------------------------------- W7


@row(
    "W7",
    fault="counters start again in the middle of a recording, as when the radar is reset",
    must_hold="a new epoch with its first frame, which is whole; no frame mixes two epochs; what "
    "is missing is what the card had not sent",
    volume=100,
    unit="restarts",
)
def radar_restarts(volume: int, seed: int) -> Outcome:
    """W7."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    lengths = rng.integers(2, 8, volume + 1)  # frames between restarts
    begins = np.concatenate([[0], np.cumsum(lengths)])
    data = _frames(rng, int(begins[-1]))
    faults = Faults(restart_before_frames=begins[1:-1].tolist())
    card, source = make_pair(iter(data), faults, _with_period(0.005), {"queue_frames": len(data)})
    with card, source:
        source.start()
        complaints.expect(card.wait_sent(len(data), 60.0), "the card is late")
        source.stop()
        frames = list(source.frames())
    counts = source.statistics
    missing = counts.assembler.bytes_missing - (counts.kernel_drops or 0) * USUAL
    for what, seen, wanted in (
        ("restarts", faults.restarts, volume),
        ("epochs", counts.assembler.epochs, volume + 1),
        ("bytes missing", missing, faults.bytes_forgotten),
        ("frames closed", counts.assembler.frames_closed, len(data)),
    ):
        complaints.expect(seen == wanted, f"{what}: {seen} instead of {wanted}")
    firsts = {f.epoch for f in frames if f.index == 0 and f.bytes_missing == 0}
    complaints.expect(
        firsts == set(range(volume + 1)), "the first frame of some epoch is not there"
    )
    for frame in frames:
        sent = data[begins[frame.epoch] + frame.index]
        differs = frame.data != sent
        complaints.expect(
            not frame.data[differs].any() and 2 * int(differs.sum()) <= frame.bytes_missing,
            f"epoch {frame.epoch}, frame {frame.index} holds what was not sent",
        )
    return complaints.outcome(
        f"{volume} restarts, {counts.assembler.epochs} epochs, each whole from its first frame; "
        f"{len(frames):,} of {len(data):,} frames, the others lacked the {missing:,} bytes that "
        "the card had not sent"
    )


@row(
    "W7",
    fault="the card is switched off within a frame, and another comes back on its port; the host "
    "starts it",
    must_hold="the first frame of the new recording is whole, and nothing of the old one is in it",
    volume=100,
    unit="cards",
)
def card_restarts(volume: int, seed: int) -> Outcome:
    """W7."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    (card_port,) = free_ports(1)
    source, _, data_address = _source(card_port, queue_frames=1000)
    whole = 0
    with source:
        for epoch in range(volume):
            data = _frames(rng, 16)
            card = EmulatedDca1000(
                (data[index % 16] for index in itertools.count()),
                data_address,
                (LOOPBACK, card_port),
                frame_period_s=0.01,
                active_time_s=0.008,
            )
            with card:
                source.start()
                frames = []
                deadline_s = time.monotonic() + 5.0
                while len(frames) < 3 and time.monotonic() < deadline_s:
                    frame = source.read(1.0)
                    if frame is not None and frame.epoch == epoch:
                        frames.append(frame)
                time.sleep(float(rng.uniform(0, 0.008)))
            complaints.expect(
                [f.index for f in frames] == [0, 1, 2], f"card {epoch}: frames are missing"
            )
            for frame in frames:
                right = frame.bytes_missing == 0 and np.array_equal(
                    frame.data, data[frame.index % 16]
                )
                whole += right
                complaints.expect(right, f"card {epoch}, frame {frame.index} is not what was sent")
        counts = source.statistics.assembler
    complaints.expect(counts.epochs == volume, f"{counts.epochs} epochs of {volume} cards")
    complaints.expect(counts.packets_foreign == 0, "packets of a card were taken for foreign")
    return complaints.outcome(
        f"{volume} cards, {counts.epochs} epochs, the first frame of each whole; {whole} frames "
        "compared"
    )


@row(
    "W7",
    fault="another address, or another port of the card's address, sends recordings of its own to "
    "the same port",
    must_hold="all of its packets are rejected and counted; no byte of it is ever in a frame",
    volume=100,
    unit="recordings from each",
)
def second_senders(volume: int, seed: int) -> Outcome:
    """W7."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    data = _frames(rng, 64)
    other = _packets(_frames(rng, 2))
    card, source = make_pair(
        (data[index % 64] for index in itertools.count()), None, SMALL, {"queue_frames": 100_000}
    )
    data_address = card._data_address
    frames, sent = [], 0
    with card, source, _sender("127.0.0.2") as stranger, _sender() as neighbour:
        # A stranger comes to nothing even before there is a stream.
        for packet in other:
            stranger.sendto(packet, data_address)
        sent += len(other)
        source.start()
        frames.append(source.read(5.0))
        for _ in range(volume):
            for sender in (stranger, neighbour):
                for packet in other:
                    sender.sendto(packet, data_address)
                sent += len(other)
            _wait(lambda due=sent: source.statistics.assembler.packets_foreign == due, 2.0)
        source.stop()
        frames += source.frames()
    counts = source.statistics
    for what, seen, wanted in (
        ("foreign packets", counts.assembler.packets_foreign, sent),
        ("epochs", counts.assembler.epochs, 1),
        ("accepted packets", counts.assembler.packets_accepted, card.statistics.packets_sent),
        ("datagrams that found the buffer full", counts.kernel_drops, 0),
        ("missing bytes", counts.assembler.bytes_missing, 0),
    ):
        complaints.expect(seen == wanted, f"{what}: {seen} instead of {wanted}")
    for place, frame in enumerate(frames):
        complaints.expect(
            frame is not None
            and frame.index == place
            and np.array_equal(frame.data, data[place % 64]),
            f"frame {place} is not what the card sent",
        )
    return complaints.outcome(
        f"{sent:,} foreign packets in {2 * volume + 1} recordings, all rejected and counted; "
        f"{len(frames)} frames of the card bit for bit"
    )


# --------------------------------------------------------------------------- W8


@row(
    "W8",
    fault="start and stop, with sockets opened and closed each time",
    must_hold="the first frame is complete every time; no thread and no descriptor is left",
    volume=50,
    unit="cycles",
)
def starts_and_stops(volume: int, seed: int) -> Outcome:
    """W8."""
    rng, complaints = np.random.default_rng(seed), Complaints()
    data = _frames(rng, 4)
    card_port, config_port, data_port = free_ports(3)
    card = EmulatedDca1000(
        (data[index % 4] for index in itertools.count()),
        (LOOPBACK, data_port),
        (LOOPBACK, card_port),
        frame_period_s=0.005,
        active_time_s=0.002,
    )
    complete = 0
    with card:
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for cycle in range(volume):
            source = DcaUdpSource(
                SMALL,
                host_ip=LOOPBACK,
                card_ip=LOOPBACK,
                config_port=config_port,
                data_port=data_port,
                card_config_port=card_port,
            )
            with source:
                source.start()
                first = source.read(2.0)
                source.stop()
            right = (
                first is not None
                and (first.index, first.bytes_missing) == (0, 0)
                and any(np.array_equal(first.data, sent) for sent in data)
            )
            complete += right
            complaints.expect(right, f"the first frame of cycle {cycle} is not complete")
        after = len(os.listdir("/proc/self/fd")), threading.active_count()
    complaints.expect(after == before, f"descriptors and threads {after}, before {before}")
    return complaints.outcome(
        f"{complete} of {volume} first frames complete; descriptors and threads as before"
        if after == before
        else f"{complete} of {volume} first frames complete"
    )


# --------------------------------------------------------------------------- W11

COMMANDS = [
    "sensorStop",
    "flushCfg",
    "channelCfg 15 7 0",
    "profileCfg 0 77 7 6 65 0 0 60.012 1 256 4400 0 0 30",
    "sensorStart",
]
LATEST_S = 0.5  # later than promised, on a machine that is busy

Said = Iterable["bytes | float | None"]


def _noise(rng: random.Random, size: int) -> bytes:
    """Random bytes without an end of line, and not one that would make a "Done"."""
    return rng.randbytes(size).replace(b"\n", b"?").replace(b"\r", b"?")


def _endless(rng: random.Random, line_ends: bytes) -> Said:
    while True:
        yield _noise(rng, 40) + line_ends
        yield 0.005


# What a radar says: to every command, or instead of an answer to one. None: the port vanishes.
WORKING: dict[str, Callable[[str, random.Random], Said]] = {
    "Done alone": lambda line, rng: [b"Done\n"],
    "echo and prompt": lambda line, rng: [line.encode() + b"\r\nDone\r\n\r\nmmwDemo:/>"],
    "prompts before Done": lambda line, rng: [b"mmwDemo:/>" * rng.randint(1, 5) + b"Done\r\n"],
    "halves": lambda line, rng: [b"Do", rng.uniform(0, 0.1), b"ne\r", 0.02, b"\n"],
    "garbage, then Done": lambda line, rng: [_noise(rng, rng.randint(1, 500)) + b"\nDone\n"],
    "a long line, then Done": lambda line, rng: [b"x" * 3000 + b"\nDone\n"],
    "slow, with news": lambda line, rng: [b"Debug: Init = 0x1ffe\r\n", 0.1, b"Done\r\n"],
}
BROKEN: dict[str, tuple[Callable[[str, random.Random], Said], str]] = {
    "silence": (lambda line, rng: [], "nothing was heard"),
    "echo without Done": (lambda line, rng: [line.encode() + b"\r\n"], "last heard"),
    "half a Done": (lambda line, rng: [b"Done"[: rng.randint(1, 3)]], "last heard"),
    "Done without a line's end": (lambda line, rng: [b"Done"], "last heard 'Done'"),
    "nearly Done": (lambda line, rng: [b"NotDone\nDone?\n"], "last heard 'Done\\?'"),
    "garbage in lines": (lambda line, rng: _endless(rng, b"\n"), "last heard"),
    "garbage without end": (lambda line, rng: _endless(rng, b""), "last heard"),
    "error": (lambda line, rng: [b"Error -1\r\n"], "was refused: Error -1"),
    "error, then Done": (lambda line, rng: [b"Error -1\nDone\n"], "was refused"),
    "not recognised": (
        lambda line, rng: [b"'x' is not recognized as a CLI command\r\nDone\n"],
        "was refused",
    ),
    "Done as the end of a line": (lambda line, rng: [b"Done\n"], "last heard 'notDone'"),
    "vanishes": (lambda line, rng: [None], "was lost during"),
    "vanishes in half a line": (
        lambda line, rng: [line.encode()[:2], rng.uniform(0, 0.05), None],
        "was lost during",
    ),
    "vanishes late": (lambda line, rng: [rng.uniform(0.5, 1.5), None], "was lost during"),
}


def _serial_trial(name: str, seed: str) -> tuple[str, float]:
    """Try a script once; returns what did not hold, and the seconds that it took."""
    rng = random.Random(seed)
    torn = name == "Done as the end of a line"  # that came with the answer before
    wrong_at = rng.randrange(torn, len(COMMANDS)) if name in BROKEN else len(COMMANDS)

    def answer(line: str) -> Said:
        if name in WORKING:
            return WORKING[name](line, rng)
        if line == COMMANDS[wrong_at]:
            return BROKEN[name][0](line, rng)
        return [b"\nDone\nnot" if torn else b"Done\n"]

    with ScriptedRadar(answer) as radar, SerialConfigPort(radar.port) as port:
        begin_s, said = time.monotonic(), ""
        try:
            port.send(COMMANDS)
        except ConfigPortError as error:
            said = str(error)
        took_s = time.monotonic() - begin_s
        heard = list(radar.heard)
    if took_s > 2.0 + LATEST_S:
        return f"took {took_s:.2f} s", took_s
    if heard != COMMANDS[: wrong_at + 1]:
        return f"sent {heard}", took_s
    if name in WORKING:
        return said, took_s
    names_both = said.startswith(f"{radar.port}: ") and repr(COMMANDS[wrong_at]) in said
    if not names_both or not re.search(BROKEN[name][1], said):
        return f"said {said!r} of {COMMANDS[wrong_at]!r}", took_s
    return "", took_s


@row(
    "W11",
    fault=f"a radar that answers as it should not, {len(WORKING) + len(BROKEN)} scripts: garbage, "
    "echo without Done, half lines, silence, errors, a port that vanishes",
    must_hold="each command is bounded by 2 s (2.5 s where the machine is busy), is sent only "
    "after the Done of the one before, and the error names port and command",
    volume=50,
    unit="trials of each script",
)
def serial_scripts(volume: int, seed: int) -> Outcome:
    """W11: with the limits that the driver has; the command at fault is any one."""
    complaints, slowest_s = Complaints(), 0.0
    trials = [(name, f"{seed}/{number}") for number in range(volume) for name in WORKING | BROKEN]
    with ThreadPoolExecutor(40) as pool:
        for (name, at), (wrong, took_s) in zip(
            trials, pool.map(lambda trial: _serial_trial(*trial), trials), strict=True
        ):
            complaints.expect(not wrong, f"{name!r} of seed {at} {wrong}")
            slowest_s = max(slowest_s, took_s)
    return complaints.outcome(
        f"{len(WORKING) + len(BROKEN)} scripts, {len(trials):,} trials, at most {slowest_s:.2f} s"
    )


@row(
    "W11",
    fault="every answer takes a second or two, so that no command is late but all together are",
    must_hold="bounded by 15 s (15.5 s where the machine is busy); the error names port, command "
    "and limit",
    volume=50,
    unit="trials",
)
def slow_answers(volume: int, seed: int) -> Outcome:
    """W11."""
    complaints = Complaints()

    def trial(number: int) -> float:
        rng = random.Random(f"{seed}/{number}")

        def answer(line: str) -> Said:
            return [rng.uniform(1.0, 1.8), b"Done\n"]

        with ScriptedRadar(answer) as radar, SerialConfigPort(radar.port) as port:
            begin_s, said = time.monotonic(), ""
            try:
                port.send([f"command {n}" for n in range(40)])
            except ConfigPortError as error:
                said = str(error)
            took_s = time.monotonic() - begin_s
            wanted = rf"{radar.port}: '{radar.heard[-1]}' .* within the 15 s for all commands"
            complaints.expect(bool(re.match(wanted, said)), f"trial {number} said {said!r}")
        complaints.expect(took_s < 15 + LATEST_S, f"trial {number} took {took_s:.2f} s")
        return took_s

    with ThreadPoolExecutor(50) as pool:
        slowest_s = max(pool.map(trial, range(volume)))
    return complaints.outcome(f"{volume} trials, at most {slowest_s:.2f} s")


# --------------------------------------------------------------------------- W12

HARMLESS = (
    SystemStatus.SD_CARD_DETECTED
    | SystemStatus.SD_CARD_REMOVED
    | SystemStatus.RECORD_COMPLETED
    | SystemStatus.PLAYBACK_COMPLETED
)
STARTING = (
    *(Command.RESET_FPGA, Command.SYSTEM_CONNECT, Command.READ_FPGA_VERSION),
    *(Command.CONFIGURE_FPGA, Command.CONFIGURE_PACKET, Command.RECORD_START),
)


def _means_success(command: int, status: int) -> bool:
    """Whether a status says that all is well, by the manual."""
    if command == Command.READ_FPGA_VERSION:
        return status & 0x3FFF > 0 and status < 0x8000
    if command == Command.SYSTEM_STATUS:
        return not status & ~int(HARMLESS)
    return status == 0


def _known(command: int, status: int) -> bool:
    """Whether the manual says what a status means."""
    if command == Command.READ_FPGA_VERSION:
        return _means_success(command, status)
    if command == Command.SYSTEM_STATUS:
        return status < 1 << 12
    return status <= 1


@row(
    "W12",
    fault="every status word, as the answer to each of the card's 14 commands and to one that "
    "there is not",
    must_hold='decoded, or called "unknown code N"; success only where the manual says so',
    volume=65_536,
    unit="status words",
)
def status_words(volume: int, seed: int) -> Outcome:
    """W12."""
    complaints, successes = Complaints(), 0
    commands = [int(command) for command in Command]
    unknown = 0x55
    for status in np.random.default_rng(seed).permutation(65_536)[:volume].tolist():
        for command in [*commands, unknown]:
            reply = decode_reply(encode_reply(command, status))
            right = command != unknown and _means_success(command, status)
            complaints.expect(
                reply == Reply(command, status) and reply.ok == right,
                f"{describe_reply(reply)!r} is taken for {'success' if reply.ok else 'failure'}",
            )
            called_unknown = "unknown code" in describe_reply(reply)
            complaints.expect(
                called_unknown == (command == unknown or not _known(command, status)),
                f"status {status} of command {command} is called {describe_reply(reply)!r}",
            )
            successes += right
    return complaints.outcome(
        f"{volume:,} words x {len(commands) + 1} commands decoded, {successes:,} of them success"
    )


@row(
    "W12",
    fault="a card that answers one of the six commands of a start with any status word",
    must_hold="the start succeeds only where the manual calls it success; else the error names "
    "the command, and the status or that it is unknown",
    volume=65_536,
    unit="status words",
)
def starts_that_fail(volume: int, seed: int) -> Outcome:
    """W12: over sockets."""
    complaints, begun = Complaints(), 0
    wrong = [Command.RESET_FPGA, 0]

    def answer(command: int) -> list[bytes]:
        return [encode_reply(command, wrong[1])] if command == wrong[0] else well(command)

    statuses = np.random.default_rng(seed).permutation(65_536)[:volume].tolist()
    with ScriptedCard(answer) as card:
        source, *_ = _source(card.port)
        with source:
            for number, status in enumerate(statuses):
                wrong[:] = STARTING[number % len(STARTING)], status
                said = ""
                try:
                    source.start()
                    begun += 1
                except CardError as error:
                    said = str(error)
                due = _means_success(*wrong)
                what = describe_reply(Reply(*wrong))
                complaints.expect((not said) == due, f"{what}: started, or not, wrongly; {said!r}")
                complaints.expect(due or what in said, f"{what} is told as {said!r}")
                complaints.expect(
                    not said or _known(*wrong) or f"unknown code {status}" in said,
                    f"{what}: not called unknown in {said!r}",
                )
    return complaints.outcome(f"{volume:,} starts, {begun:,} of them with a status of success")


def _starts(source: DcaUdpSource) -> bool:
    try:
        source.start()
    except CardError:
        return False
    return True


def _no_replies(rng: random.Random, command: int, next_one: int) -> list[bytes]:
    """What is no answer to a command, nor, if it comes late, to the next one that is tried."""
    right = encode_reply(command, 0)
    others = [int(c) for c in Command if c not in (command, next_one, Command.SYSTEM_STATUS)]
    kinds = [
        b"",
        right[:-1],
        right + b"\0",
        bytes([right[0] ^ 1 << rng.randrange(8)]) + right[1:],
        right[:-1] + bytes([right[-1] ^ 1 << rng.randrange(8)]),
        encode_reply(rng.choice(others), 0),
        encode_reply(rng.randrange(0x0F, 0x10000), 0),
        right[::-1],
        rng.randbytes(rng.randrange(2000)),
    ]
    return rng.sample(kinds, rng.randint(1, len(kinds)))


@row(
    "W12",
    fault="instead of an answer: another command's, wrong magic, wrong length, noise",
    must_hold='never success: "does not answer"; every one of them counted',
    volume=1_000,
    unit="commands",
)
def answers_that_are_none(volume: int, seed: int) -> Outcome:
    """W12: over sockets."""
    complaints, sent, tried = Complaints(), 0, 0
    rng = random.Random(seed)
    names = [command_name(command) for command in STARTING]
    wrong: list[int] = []  # and the next one that will be

    def answer(command: int) -> list[bytes]:
        nonlocal sent
        if not wrong or command != wrong[0]:
            return well(command)
        replies = _no_replies(rng, *wrong)
        sent += len(replies)
        return replies

    with ScriptedCard(answer) as card:
        source, *_ = _source(card.port, reply_timeout_s=0.02)
        with source:
            for number in range(volume):
                place = number % len(STARTING)
                wrong[:] = STARTING[place], STARTING[(place + 1) % len(STARTING)]
                said = ""
                try:
                    source.start()
                except CardError as error:
                    said = str(error)
                # On a busy machine the card may be late with a right answer before that.
                unanswered = [n for n in names[: place + 1] if f"does not answer {n!r}" in said]
                complaints.expect(bool(unanswered), f"{names[place]}: {said!r}")
                tried += names[place] in unanswered
            wrong.clear()
            complaints.expect(
                _wait(lambda: _starts(source), 3.0), "no start when all is well again"
            )
            ignored = source.statistics.replies_ignored
    complaints.expect(ignored >= sent, f"{sent} sent, {ignored} counted")
    complaints.expect(tried > 0.9 * volume or volume < 10, f"only {tried} commands were tried")
    return complaints.outcome(
        f"{tried:,} commands, {sent:,} answers that are none, 0 of them taken; then a start"
    )


@row(
    "W12",
    fault="a flood of valid answers that nobody asked for",
    must_hold="all counted, none kept: less than 10 MiB grown; none answers the next start",
    volume=500_000,
    unit="answers",
)
def answers_unasked(volume: int, seed: int) -> Outcome:
    """W12: over sockets."""
    complaints = Complaints()
    replies = [encode_reply(command, 0) for command in STARTING]
    source, config_address, _ = _source(reply_timeout_s=0.05, attempts=1)
    with source, _sender() as sender:
        memory, sent = Memory(), 0
        for first in range(0, volume, 50):  # as many as the socket's buffer surely holds
            for number in range(first, min(first + 50, volume)):
                sender.sendto(replies[number % len(replies)], config_address)
                sent += 1
            # Some wait for whoever asks next.
            _wait(lambda sent=sent: source.statistics.replies_ignored + 64 >= sent, 2.0)
        memory.look()
        said = ""
        try:
            source.start()
        except CardError as error:
            said = str(error)
        ignored = source.statistics.replies_ignored
    complaints.expect("does not answer 'reset FPGA'" in said, f"the start said {said!r}")
    complaints.expect(ignored == volume, f"{volume} sent, {ignored} counted")
    complaints.expect(memory.grown_mib < 10, "more than 10 MiB grown")
    return complaints.outcome(
        f"{ignored:,} of {volume:,} counted, none taken; {memory.grown_mib:.1f} MiB grown"
    )
