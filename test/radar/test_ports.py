"""Sockets, files and the serial port."""

import logging
import os
import socket
import struct
import time

import numpy as np
import pytest
from loopback import LOOPBACK, SMALL, VALUES, ScriptedCard, ScriptedRadar, free_ports, well

from radar_pose_ros.radar.dca1000 import (
    Command,
    FpgaVersion,
    PacketError,
    SystemStatus,
    decode_command,
    encode_command,
    encode_reply,
)
from radar_pose_ros.radar.ports import (
    CardError,
    ConfigPortError,
    DcaUdpSource,
    FileFrameSource,
    PortError,
    SerialConfigPort,
    read_pcap,
)
from radar_pose_ros.simulation.boards import EmulatedDca1000, PacketStream, split_packets


def make_source(card_config_port: int = 9, **options) -> DcaUdpSource:
    config_port, data_port = free_ports(2)
    options = {"config_port": config_port, "data_port": data_port, **options}
    return DcaUdpSource(
        SMALL, host_ip=LOOPBACK, card_ip=LOOPBACK, card_config_port=card_config_port, **options
    )


# --------------------------------------------------------------------------- capture card


def test_start_order_and_version():
    with ScriptedCard(well) as card, make_source(card.port) as source:
        source.start()
        assert card.heard == [
            Command.RESET_FPGA,
            Command.SYSTEM_CONNECT,
            Command.READ_FPGA_VERSION,
            Command.CONFIGURE_FPGA,
            Command.CONFIGURE_PACKET,
            Command.RECORD_START,
        ]
        assert source.fpga_version == FpgaVersion(2, 8, playback=False)
        source.stop()
        assert card.heard[-1] == Command.RECORD_STOP
        assert source.read(0.1) is None


def test_a_silent_card_is_named_in_time():
    source = make_source(free_ports(1)[0], reply_timeout_s=0.05, attempts=3)
    begin_s = time.monotonic()
    with source, pytest.raises(CardError, match=r"127\.0\.0\.1:\d+ does not answer 'reset FPGA'"):
        source.start()
    assert 0.14 < time.monotonic() - begin_s < 2.0


def test_start_has_a_deadline():
    """Every reply comes late; the limit for all commands holds."""

    def late(command):
        time.sleep(0.15)
        return well(command)

    with (
        ScriptedCard(late) as card,
        make_source(card.port, reply_timeout_s=1.0, start_timeout_s=0.4) as source,
    ):
        begin_s = time.monotonic()
        with pytest.raises(CardError, match="does not answer"):
            source.start()
        assert time.monotonic() - begin_s < 2.0


def test_lost_replies_are_asked_for_again():
    asked: dict[int, int] = {}

    def forgetful(command):
        asked[command] = asked.get(command, 0) + 1
        return well(command) if asked[command] >= 3 else []

    with (
        ScriptedCard(forgetful) as card,
        make_source(card.port, reply_timeout_s=0.05, attempts=6) as source,
    ):
        source.start()
        assert len(asked) == 6
        assert min(asked.values()) >= 3


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(Command.CONFIGURE_FPGA, 1)], "answered configure FPGA: failure"),
        ([(Command.CONFIGURE_FPGA, 77)], "answered configure FPGA: unknown code 77"),
        ([(Command.SYSTEM_CONNECT, 0)], "does not answer 'configure FPGA'"),
        ([(0x55, 0)], "does not answer 'configure FPGA'"),
    ],
    ids=["failure", "unknown status", "other command", "unknown command"],
)
def test_only_the_right_reply_with_success_counts(answers, message):
    """W12: a failure, an unknown status or another command's reply is never success."""

    def answer(command):
        if command == Command.CONFIGURE_FPGA:
            return [encode_reply(*answer) for answer in answers]
        return well(command)

    with ScriptedCard(answer) as card, make_source(card.port, reply_timeout_s=0.05) as source:
        with pytest.raises(CardError, match=message):
            source.start()
        assert source.read(0.0) is None


def test_garbage_on_the_configuration_port_is_ignored():
    """W12: wrong magic, wrong length, asynchronous status in between."""

    def answer(command):
        return [
            b"",
            b"garbage!",
            encode_reply(command, 0)[:-1],
            encode_reply(Command.SYSTEM_STATUS, SystemStatus.SD_CARD_DETECTED),
            *well(command),
        ]

    with ScriptedCard(answer) as card, make_source(card.port) as source:
        source.start()
        assert source.statistics.replies_ignored == 3 * 6
        assert source.card_status == SystemStatus.SD_CARD_DETECTED


def test_trouble_that_the_card_reports_is_logged(caplog):
    def answer(command):
        if command == Command.RECORD_START:
            return [*well(command), encode_reply(Command.SYSTEM_STATUS, SystemStatus.DDR_FULL)]
        return well(command)

    with ScriptedCard(answer) as card, make_source(card.port) as source:
        source.start()
        deadline_s = time.monotonic() + 2.0
        while not source.card_status and time.monotonic() < deadline_s:
            time.sleep(0.01)
    assert "reports system status: DDR memory full" in caplog.text


def test_addresses_that_cannot_be_used():
    with pytest.raises(PortError, match="no such address, give it to the network interface"):
        DcaUdpSource(SMALL, host_ip="192.0.2.1").open()
    with make_source() as first:
        data_port = first._data_port
        second = make_source(data_port=data_port)
        with pytest.raises(PortError, match=rf"127\.0\.0\.1:{data_port}: the port is taken"):
            second.open()
        # The failed attempt left nothing behind.
        make_source(config_port=second._config_port).open()
    with pytest.raises(PortError, match="cannot listen"):
        make_source(data_port=70_000).open()
    with pytest.raises(PortError, match="is not open"):
        make_source().start()


def test_settings_are_checked_before_anything_opens():
    with pytest.raises(ValueError, match="larger than the limit"):
        make_source(max_frame_bytes=1000)
    with pytest.raises(ValueError, match="packet delay"):
        make_source(packet_delay_us=1.0)
    with pytest.raises(ValueError, match="at least 1"):
        make_source(queue_frames=0)


def send_packets(port, packets, opened):
    for packet in packets:
        opened.sendto(packet, (LOOPBACK, port))


def wait_for(condition, timeout_s=3.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.005)


def test_newest_frames_win_and_drops_are_counted(rng):
    data = rng.integers(-32768, 32768, (10, VALUES), dtype=np.int16)
    stream = PacketStream()
    packets = [p for frame in data for p in split_packets(stream.packets(frame))]
    packets += split_packets(stream.flush())
    with (
        ScriptedCard(well) as card,
        make_source(card.port, queue_frames=3) as source,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        source.start()
        sender.bind((LOOPBACK, 0))
        send_packets(source._data_port, packets, sender)
        wait_for(lambda: source.statistics.assembler.frames_complete == 10)
        frames = [source.read(0.0) for _ in range(3)]
        assert [f.index for f in frames] == [7, 8, 9]
        for frame in frames:
            np.testing.assert_array_equal(frame.data, data[frame.index])
        counts = source.statistics
        assert (counts.frames_delivered, counts.frames_overwritten) == (3, 7)
        assert counts.frames_queued == 0


def test_foreign_senders_over_sockets(rng):
    """W7: another host on the data port is rejected and counted."""
    data = rng.integers(-32768, 32768, (4, VALUES), dtype=np.int16)
    stream = PacketStream()
    packets = [p for frame in data for p in split_packets(stream.packets(frame))]
    packets += split_packets(stream.flush())
    with (
        ScriptedCard(well) as card,
        make_source(card.port) as source,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as intruder,
    ):
        source.start()
        sender.bind((LOOPBACK, 0))
        intruder.bind(("127.0.0.2", 0))
        for packet in packets:
            send_packets(source._data_port, [b"\0" * 1466, packet], intruder)
            send_packets(source._data_port, [packet], sender)
        wait_for(lambda: source.statistics.assembler.frames_complete == 4)
        for sent in data:
            np.testing.assert_array_equal(source.read(1.0).data, sent)
        assert source.statistics.assembler.packets_foreign == 2 * len(packets)


def test_time_stamps_are_those_of_arrival(rng):
    frames = rng.integers(-32768, 32768, (3, VALUES), dtype=np.int16)
    config_port, data_port = free_ports(2)
    begun = []
    card = EmulatedDca1000(
        iter(frames),
        (LOOPBACK, data_port),
        (LOOPBACK, 0),
        frame_period_s=0.1,
        active_time_s=0.01,
        on_frame=lambda number, time_s: begun.append(time_s),
    )
    with (
        card,
        DcaUdpSource(
            SMALL,
            host_ip=LOOPBACK,
            card_ip=LOOPBACK,
            config_port=config_port,
            data_port=data_port,
            card_config_port=card.config_address[1],
        ) as source,
    ):
        source.start()
        assert card.wait_sent(3, 3.0)
        source.stop()
        stamps = [frame.first_packet_s for frame in source.frames()]
    np.testing.assert_allclose(stamps, begun, atol=0.08)  # of a period of 0.1


def test_receive_buffer_is_read_back(caplog):
    with make_source(receive_buffer_bytes=65_536) as source:
        assert source.statistics.receive_buffer_bytes == 65_536
        assert source.statistics.kernel_drops == 0
    with caplog.at_level(logging.WARNING), make_source(receive_buffer_bytes=1 << 30) as source:
        granted = source.statistics.receive_buffer_bytes
        assert granted == 1 << 30 or "Cure: sysctl -w net.core.rmem_max=1073741824" in caplog.text


def test_kernel_drops_are_counted():
    """A reader that is held up loses datagrams in the kernel, and says so."""
    with (
        make_source(receive_buffer_bytes=8_192) as source,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        with source._assembling:
            send_packets(source._data_port, [bytes(1466)] * 500, sender)
            dropped = source.statistics.kernel_drops
        if dropped is None:
            pytest.skip("this system does not tell how many datagrams a socket dropped")
        assert 400 < dropped < 500
        wait_for(lambda: source.statistics.assembler.datagrams == 500 - dropped)
    assert source.statistics.kernel_drops == dropped


def test_a_reader_that_fails_is_told_of(monkeypatch):
    """Whatever ends the thread that reads: nobody waits for frames that cannot come."""

    def fail(*_):
        raise IndexError("a mistake")

    with make_source() as source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        monkeypatch.setattr(source._assembler, "push", fail)
        send_packets(source._data_port, [b"x"], sender)
        with pytest.raises(
            PortError, match=r"reading from 127.* failed: IndexError\('a mistake'\)"
        ):
            source.read(5.0)


# --------------------------------------------------------------------------- files


def test_bin_file(tmp_path, rng, caplog):
    """W9: whole frames are read; a partial one at the end is dropped with a warning."""
    data = rng.integers(-32768, 32768, (3, VALUES), dtype=np.int16)
    path = tmp_path / "adc_data.bin"
    path.write_bytes(data.tobytes() + b"x" * 1000)
    with FileFrameSource(path, SMALL) as source:
        source.start()
        frames = list(source.frames())
        assert source.bytes_ignored == 1000
        assert source.ended
        assert source.read(0.0) is None
    np.testing.assert_array_equal(np.stack([f.data for f in frames]), data)
    assert [f.index for f in frames] == [0, 1, 2]
    assert [f.first_packet_s for f in frames] == pytest.approx([0.0, 0.01, 0.02])
    assert all(f.chirp_valid.shape == (24,) and f.chirp_valid.all() for f in frames)
    assert "the last 1000 bytes are no whole frame of 24576 bytes" in caplog.text
    assert source.statistics.assembler.frames_complete == 3
    assert source.statistics.frames_delivered == 3


def test_bin_file_is_paced(tmp_path, rng):
    path = tmp_path / "adc_data.bin"
    path.write_bytes(rng.bytes(6 * SMALL.bytes_per_frame))
    with FileFrameSource(path, SMALL, paced=True) as source:
        source.start()
        begin_s = time.monotonic()
        assert len(list(source.frames())) == 6
        assert 0.045 < time.monotonic() - begin_s < 0.5
        source.start()  # again from the start
        assert source.read(1.0).index == 0
        assert source.read(0.0) is None  # not yet due
        assert source.read(1.0).index == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.bin", b"", "has 0 bytes, less than one frame of 24576 bytes"),
        ("x.bin", b"x" * 24_575, "less than one frame"),
        ("x.dat", b"", r"wants a \.bin or \.pcap file"),
        ("x.pcap", b"", "is not a pcap file"),
        ("x.pcap", b"\x0a\x0d\x0d\x0a" + bytes(30), "is pcapng, convert it"),
        ("x.pcap", struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 105), "link type 105"),
        ("x.pcap", struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"123",
         "ends within its first packet"),
        ("x.pcap", struct.pack("<IHHiIII5I", 0xA1B2C3D4, 2, 4, 0, 0, 9, 1, 0, 0, 60, 60, 0),
         "ends within its first packet"),
        ("x.pcap", struct.pack("<IHHiIII5I", 0xA1B2C3D4, 2, 4, 0, 0, 9, 1, 0, 0, 1 << 30, 0, 0),
         "is damaged at byte 24"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PortError, match=message):
        FileFrameSource(path, SMALL).open()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pcap")  # nobody ever writes
    with pytest.raises(PortError, match=r"x\.pcap: cannot be read, it is no file"):
        next(read_pcap(tmp_path / "x.pcap"))
    with pytest.raises(PortError, match="there is no such file"):
        FileFrameSource(tmp_path / "x.pcap", SMALL).open()


def test_missing_file(tmp_path):
    with pytest.raises(PortError, match="there is no such file"):
        FileFrameSource(tmp_path / "none.bin", SMALL).open()


def make_pcap(datagrams, order="<", nanoseconds=False, link=1, vlan=False):
    """A capture file with one packet per (time_s, source, destination, payload)."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    content = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for time_s, source, destination, payload in datagrams:
        udp = struct.pack(">HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0)
        ip += socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + udp
        head = {1: bytes(12), 101: b"", 113: bytes(14)}[link]
        packet = head + (b"\x81\x00\x00\x05" if vlan else b"")
        packet += (b"" if link == 101 else b"\x08\x00") + ip
        ticks = round(time_s % 1 * (1e9 if nanoseconds else 1e6))
        content += struct.pack(order + "IIII", int(time_s), ticks, len(packet), len(packet))
        content += packet
    return content


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": ">"},
        {"nanoseconds": True},
        {"order": ">", "nanoseconds": True},
        {"link": 101},
        {"link": 113},
        {"vlan": True},
    ],
    ids=str,
)
def test_pcap_file(tmp_path, rng, options):
    """Frames from a capture equal those sent; loss is counted; other traffic is passed over."""
    data = rng.integers(-32768, 32768, (4, VALUES), dtype=np.int16)
    stream = PacketStream()
    packets = [p for frame in data for p in split_packets(stream.packets(frame))]
    packets += split_packets(stream.flush())
    card, host = ("192.168.33.180", 1024), ("192.168.33.30", 4098)
    datagrams = [(100 + i * 0.001, card, host, bytes(p)) for i, p in enumerate(packets)]
    del datagrams[20]  # within frame 1
    datagrams.insert(5, (100.0, card, ("192.168.33.30", 4096), b"not data"))
    datagrams.insert(0, (99.0, ("192.168.33.181", 1024), host, bytes(packets[0])))
    path = tmp_path / "x.pcap"
    path.write_bytes(make_pcap(datagrams, **options))
    assert len(list(read_pcap(path))) == len(datagrams)
    with FileFrameSource(path, SMALL, card_ip=card[0], max_missing_ratio=0.1) as source:
        source.start()
        frames = list(source.frames())
    assert [f.bytes_missing for f in frames] == [0, 1456, 0, 0]
    for index in (0, 2, 3):
        np.testing.assert_array_equal(frames[index].data, data[index])
    assert frames[0].first_packet_s == pytest.approx(100.0)
    assert frames[3].last_packet_s == pytest.approx(100 + (len(packets) - 1) * 0.001)


def test_pcap_packets_that_are_no_udp(tmp_path, rng):
    good = make_pcap([(1.0, ("1.2.3.4", 5), ("6.7.8.9", 10), b"payload")])
    record = good[24 + 16 :]
    variants = [
        record[:12] + b"\x08\x06" + record[14:],  # ARP
        record[:14] + b"\x60" + record[15:],  # IP version 6
        record[:23] + b"\x06" + record[24:],  # TCP
        record[:20] + b"\x20\x00" + record[22:],  # a fragment
        record[:38] + b"\xff\xff" + record[40:],  # longer than what was captured
        record[:30],
        b"",
    ]
    content = good
    for packet in variants:
        content += struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    (datagram,) = read_pcap(path)
    assert datagram.payload == b"payload"
    assert (datagram.source, datagram.destination) == (("1.2.3.4", 5), ("6.7.8.9", 10))


# --------------------------------------------------------------------------- serial port


def serial_port(radar, command_timeout_s=0.3, total_timeout_s=15.0):
    return SerialConfigPort(
        radar.port, command_timeout_s=command_timeout_s, total_timeout_s=total_timeout_s
    )


@pytest.mark.parametrize(
    "answer",
    [
        lambda line: [b"Done\n"],
        lambda line: [line.encode() + b"\r\nDone\r\n\r\nmmwDemo:/>"],
        lambda line: [b"mmwDemo:/>" + line.encode() + b"\r\nDone\r\n"],
        lambda line: [b"mmwDemo:/>mmwDemo:/>Done\r\n"],
        lambda line: [b"Do", 0.02, b"ne\r", 0.02, b"\n"],
        lambda line: [bytes(range(128, 256)), b"\xff\x00\n\nDone\n"],
        lambda line: [b"Ignored: Sensor is already stopped\r\nDone\r\n"],
        lambda line: [b"Debug: Init Calibration Status = 0x1ffe\r\n", 0.05, b"Done\r\n"],
        lambda line: [b"x" * 3000 + b"\nDone\n"],
    ],
    ids=["bare", "echo", "prompt", "prompts", "halves", "garbage", "ignored", "debug", "long"],
)
def test_commands_are_paced_by_done(answer):
    """W11: whatever else the radar says, each command waits for its Done."""
    commands = ["sensorStop", "flushCfg", "profileCfg 0 77 7 6 65 0 0 60.012 1 256 4400 0 0 30"]
    with ScriptedRadar(answer) as radar, serial_port(radar, command_timeout_s=2.0) as port:
        port.send(commands)
        assert radar.heard == commands


def test_one_command_at_a_time():
    waiting = []

    def answer(line):
        waiting.append(line)
        yield 0.05
        assert waiting == [line]
        waiting.clear()
        yield b"Done\n"

    with ScriptedRadar(answer) as radar, serial_port(radar, command_timeout_s=2.0) as port:
        port.send([f"command{number}" for number in range(5)])
        assert len(radar.heard) == 5


def endless(line):
    while True:
        yield b"noise without an end "
        yield 0.001


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda line: [], "not answered by Done within the 0.3 s for one command; nothing"),
        (lambda line: [line.encode() + b"\r\n"], "last heard 'second 2'"),
        (lambda line: [b"Don"], "last heard 'Don'"),
        (lambda line: [b"Done"], "last heard 'Done'"),
        (lambda line: [b"NotDone\nDone?\n"], "last heard 'Done\\?'"),
        (lambda line: [b"\xfe\xed\n" * 50], "last heard"),
        (endless, "last heard 'noise"),
        (lambda line: [b"Error -1\r\n"], "was refused: Error -1"),
        (lambda line: [b"mmwDemo:/>Error: Usage\r\nError -1\r\n"], "was refused: Error: U"),
        (lambda line: [b"'second' is not recognized as a CLI command\r\nDone\n"], "was refused"),
        (lambda line: [b"Error -1\nDone\n"], "was refused"),
        (lambda line: [None], "was lost during 'second 2'"),
        (lambda line: [b"sec", 0.02, None], "was lost during 'second 2'"),
    ],
    ids=["silence", "echo", "half", "no line end", "similar", "garbage", "endless", "error",
         "usage", "unknown", "error first", "vanishes", "vanishes within"],
)  # fmt: skip
def test_what_goes_wrong_names_port_and_command(answer, message):
    """W11: bounded in time, with port and command."""

    def script(line):
        return [b"Done\n"] if line == "first 1" else answer(line)

    with ScriptedRadar(script) as radar, serial_port(radar) as port:
        begin_s = time.monotonic()
        with pytest.raises(ConfigPortError, match=message) as failure:
            port.send(["first 1", "second 2", "third 3"])
        assert time.monotonic() - begin_s < 1.5
        assert str(failure.value).startswith(f"{radar.port}: ")
        assert "'second 2'" in str(failure.value)
        assert radar.heard == ["first 1", "second 2"]


def test_all_commands_together_are_bounded():
    """W11: each command is quick enough, all of them are not."""
    with (
        ScriptedRadar(lambda line: [0.06, b"Done\n"]) as radar,
        serial_port(radar, command_timeout_s=2.0, total_timeout_s=0.3) as port,
    ):
        begin_s = time.monotonic()
        with pytest.raises(ConfigPortError, match=r"within the 0\.3 s for all commands"):
            port.send(["command"] * 50)
        assert time.monotonic() - begin_s < 1.5


def test_default_limits_are_those_promised():
    """W11: 2 s per command, 15 s in all."""
    port = SerialConfigPort("/dev/null")
    assert (port._command_timeout_s, port._total_timeout_s) == (2.0, 15.0)


def test_old_answers_do_not_count():
    with ScriptedRadar(lambda line: []) as radar, serial_port(radar) as port:
        port.open()
        radar.say(b"Done\n" * 10)
        time.sleep(0.05)
        with pytest.raises(ConfigPortError, match="not answered by Done"):
            port.send(["command"])


def test_ports_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigPortError, match=r"/none: there is no such port"):
        SerialConfigPort(str(tmp_path / "none")).send(["command"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigPortError, match=str(tmp_path / "file")):
        SerialConfigPort(str(tmp_path / "file")).open()
    with (
        ScriptedRadar(lambda line: []) as radar,
        serial_port(radar),
        pytest.raises(ConfigPortError, match="is in use by another program"),
    ):
        serial_port(radar).open()


def test_nothing_to_send():
    with ScriptedRadar(lambda line: []) as radar, serial_port(radar) as port:
        port.send([])
        assert radar.heard == []


def test_scripted_card_hears_commands():
    """The double used above is not deaf."""
    with pytest.raises(PacketError):
        decode_command(b"")
    assert decode_command(encode_command(Command.RECORD_START)) == (Command.RECORD_START, b"")
