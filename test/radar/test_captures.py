"""Recordings of real hardware, published by others, through the code that reads live hardware."""

import socket

import numpy as np
import pytest

from radar_pose_ros.radar.assembler import FrameAssembler
from radar_pose_ros.radar.dca1000 import (
    DATA_HEADER_BYTES,
    Command,
    decode_data_packet,
    decode_reply,
    decode_samples,
    describe_reply,
    encode_command,
    fpga_config,
    packet_config,
)
from radar_pose_ros.radar.ports import FileFrameSource, read_pcap
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio
from radar_pose_ros.simulation.boards import EmulatedDca1000

CONFIG_PORT, DATA_PORT = 4096, 4098
DATA = {Command.CONFIGURE_FPGA: fpga_config(), Command.CONFIGURE_PACKET: packet_config()}


@pytest.fixture
def pcaps(shared_data):
    return shared_data / "radar_adc" / "dca1000_pcap"


def datagrams(path, port):
    return [d for d in read_pcap(path) if d.destination[1] == port]


def test_replies_of_a_real_card(pcaps):
    replies = [decode_reply(d.payload) for d in datagrams(pcaps / "test_cmd.pcap", CONFIG_PORT)]
    assert all(reply.ok for reply in replies)
    assert [describe_reply(reply) for reply in replies] == [
        "reset FPGA: success",
        "reset radar: success",
        "record start: success",
        "record stop: success",
        "configure packet: success",
        "configure FPGA: success",
        "write EEPROM: success",
        "system connect: success",
        "system status: nothing to report",
        "read FPGA version: version 2.8, record mode",
    ]
    version = replies[-1].fpga_version
    assert version is not None
    assert (version.major, version.minor, version.playback) == (2, 8, False)


def test_replies_around_a_recording(pcaps):
    path = pcaps / "test_one_frame.pcap"
    assert [describe_reply(decode_reply(d.payload)) for d in datagrams(path, CONFIG_PORT)] == [
        "system connect: success",
        "reset FPGA: success",
        "configure FPGA: success",
        "configure packet: success",
        "record start: success",
        "system status: record completed",
    ]


def test_data_packets_of_a_real_card(pcaps):
    packets = [
        decode_data_packet(d.payload) for d in datagrams(pcaps / "test_one_frame.pcap", DATA_PORT)
    ]
    assert [p.sequence for p in packets] == list(range(1, 13))
    assert [len(p.payload) for p in packets] == [1456] * 11 + [368]
    sent_before = np.cumsum([0, *(len(p.payload) for p in packets)])
    assert [p.byte_count for p in packets] == sent_before[:-1].tolist()
    assert sent_before[-1] == 16_384


def test_frame_of_a_real_card(pcaps):
    """The 16,384 bytes come out as they went in, through the assembler."""
    arrived = datagrams(pcaps / "test_one_frame.pcap", DATA_PORT)
    assembler = FrameAssembler(16_384, 4096, source=("192.168.33.180", None))
    frames = []
    for datagram in arrived:
        frames += assembler.push(datagram.payload, datagram.source, datagram.time_s)
    (frame,) = frames
    assert frame.data.tobytes() == b"".join(d.payload[DATA_HEADER_BYTES:] for d in arrived)
    assert (frame.index, frame.bytes_missing, frame.chirp_valid.tolist()) == (0, 0, [1] * 4)
    assert frame.first_packet_s == arrived[0].time_s
    assert frame.last_packet_s == arrived[-1].time_s
    assert assembler.statistics.packets_accepted == 12
    assert assembler.flush() == []


def test_capture_does_not_hold_a_frame_of_the_file_beside_it(pcaps):
    """The command file asks for 131,072 bytes per frame: what the capture lacks is missing."""
    config = load_cfg(pcaps / "xwr18xx_profile_2023_01_01T00_00_00_000.cfg")
    with FileFrameSource(
        pcaps / "test_one_frame.pcap", config, data_port=DATA_PORT, max_missing_ratio=1.0
    ) as source:
        source.start()
        (frame,) = source.frames()
    assert frame.bytes_missing == 131_072 - 16_384
    assert frame.chirp_valid.tolist() == [1] * 4 + [0] * 28


@pytest.fixture
def host():
    """A socket of the host for commands, and one for data."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(2.0)
    yield sockets
    for opened in sockets:
        opened.close()


def test_emulated_card_answers_like_the_real_one(pcaps, host):
    """The same commands bring the same bytes."""
    control, data = host
    expected = [d.payload for d in datagrams(pcaps / "test_cmd.pcap", CONFIG_PORT)]
    with EmulatedDca1000([], data.getsockname(), ("127.0.0.1", 0)) as card:
        for reply in expected:
            command = Command(decode_reply(reply).command)
            control.sendto(encode_command(command, DATA.get(command, b"")), card.config_address)
            assert control.recv(2048) == reply


def test_emulated_card_records_like_the_real_one(pcaps, host):
    """The same frame goes out in the same packets, with the same replies."""
    control, data = host
    path = pcaps / "test_one_frame.pcap"
    packets = [d.payload for d in datagrams(path, DATA_PORT)]
    samples = np.frombuffer(b"".join(p[DATA_HEADER_BYTES:] for p in packets), "<i2")
    with EmulatedDca1000([samples], data.getsockname(), ("127.0.0.1", 0)) as card:
        *replies, completed = [d.payload for d in datagrams(path, CONFIG_PORT)]
        for reply in replies:
            command = Command(decode_reply(reply).command)
            control.sendto(encode_command(command, DATA.get(command, b"")), card.config_address)
            assert control.recv(2048) == reply
        # The last, short packet waits until recording stops, as it did in the real recording.
        assert [data.recv(2048) for _ in range(11)] == packets[:11]
        assert card.wait_sent(1, 2.0)
        control.sendto(encode_command(Command.RECORD_STOP), card.config_address)
        assert data.recv(2048) == packets[11]
        assert describe_reply(decode_reply(control.recv(2048))) == "record stop: success"
        assert control.recv(2048) == completed


def test_raw_frame_of_a_real_room(shared_data):
    """Strong returns between 1 and 4 m, and the wall near 8.4 m; the other order mirrors them."""
    directory = shared_data / "radar_adc" / "iwr6843_frame"
    config = load_mmwave_studio(
        directory / "mmwaveDevice.mmwave.json", directory / "CaptureSetup.setup.json"
    )
    with FileFrameSource(directory / "adc_data.bin", config) as source:
        source.start()
        (frame,) = source.frames()
    cube = decode_samples(frame.data, config.adc_shape, config.iq_order)
    window = np.hanning(cube.shape[-1])

    def profile_db(samples):
        # Mean over chirps of each virtual antenna first: nothing moves, so only noise cancels.
        spectrum = np.fft.fft((samples.mean(axis=0) * window), axis=-1)
        power = (np.abs(spectrum) ** 2).mean(axis=(0, 1))
        return 10 * np.log10(power / np.median(power))

    power_db = profile_db(cube)
    range_m = config.waveform.range_axis_m()

    near = (range_m >= 1.0) & (range_m <= 4.0)
    beyond = (range_m > 4.0) & (range_m < 8.0)
    strongest_m = range_m[np.flatnonzero(range_m > 1.0)[power_db[range_m > 1.0].argmax()]]
    assert 1.0 <= strongest_m <= 4.0
    assert power_db[near].max() > power_db[beyond].max() + 10
    far = np.flatnonzero(range_m > 7.0)
    wall_m = range_m[far[power_db[far].argmax()]]
    assert wall_m == pytest.approx(8.4, abs=0.2)

    # Echoes beat at positive frequencies only: little is left for the upper half (here 1 in 28).
    energy = 10 ** (power_db / 10)
    assert energy[:256].sum() > 10 * energy[256:].sum()
    mirrored = decode_samples(frame.data, config.adc_shape, "QI")
    energy = 10 ** (profile_db(mirrored) / 10)
    assert energy[256:].sum() > 10 * energy[:256].sum()
