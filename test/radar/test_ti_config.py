"""Command files and mmWave Studio JSON."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from radar_pose_ros.radar.config import ConfigError, UnknownCommand
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio, parse_cfg
from radar_pose_ros.radar.waveform import SPEED_OF_LIGHT_MPS

CONFIGS = Path(__file__).resolve().parents[2] / "config"
TEXT = (CONFIGS / "iwr1843.cfg").read_text()


def with_line(command: str, replacement: str) -> str:
    """The reference file with the first line that starts with `command` replaced."""
    changed, count = re.subn(rf"(?m)^{re.escape(command)}.*$", replacement, TEXT, count=1)
    assert count == 1
    return changed


def line_of(command: str, text: str = TEXT) -> int:
    return next(n for n, line in enumerate(text.split("\n"), 1) if line.startswith(command))


def test_reference_file():
    config = load_cfg(CONFIGS / "iwr1843.cfg")
    assert config.adc_shape == (128, 3, 4, 256)
    assert config.bytes_per_frame == 1_572_864
    assert config.tx_order == (1, 2, 3)
    assert config.rx_antennas == (1, 2, 3, 4)
    assert config.iq_order == "QI"
    assert config.rx_gain_db == 30.0
    assert config.waveform.start_frequency_hz == 77e9
    assert config.waveform.slope_hz_per_s == pytest.approx(60.012e12)
    assert config.waveform.sample_rate_hz == 4.4e6
    assert config.waveform.idle_time_s == pytest.approx(7e-6)
    assert config.waveform.adc_start_time_s == pytest.approx(6e-6)
    assert config.waveform.ramp_end_time_s == pytest.approx(65e-6)
    assert config.waveform.frame_period_s == 0.1
    assert config.commands[0] == "sensorStop"
    assert config.commands[-1] == "sensorStart"
    assert not any("%" in command for command in config.commands)
    assert config.unknown_commands == ()


def test_second_device():
    config = load_cfg(CONFIGS / "iwr6843isk.cfg", device="IWR6843ISK")
    assert config.adc_shape == (128, 3, 4, 256)
    assert config.waveform.max_velocity_mps == pytest.approx(5.5876, rel=1e-4)


def test_file_of_a_real_recording(shared_data):
    directory = shared_data / "radar_adc" / "dca1000_pcap"
    config = load_cfg(directory / "xwr18xx_profile_2023_01_01T00_00_00_000.cfg")
    assert config.adc_shape == (16, 2, 4, 256)
    assert config.tx_order == (1, 3)
    assert config.iq_order == "QI"
    # The comments of that file, written by the vendor's tool, name these; the tool takes the
    # wavelength at the start of the ramp.
    waveform = config.waveform
    to_start = waveform.centre_frequency_hz / waveform.start_frequency_hz
    assert waveform.range_resolution_m == pytest.approx(0.044, abs=5e-4)
    assert waveform.max_velocity_mps * to_start == pytest.approx(1.0, rel=2e-3)
    assert waveform.velocity_resolution_mps * to_start == pytest.approx(0.13, abs=5e-3)
    assert config.unknown_commands == ()


def test_studio_recording(shared_data):
    directory = shared_data / "radar_adc" / "iwr6843_frame"
    config = load_mmwave_studio(
        directory / "mmwaveDevice.mmwave.json", directory / "CaptureSetup.setup.json"
    )
    assert config.device == "IWR6843ISK"
    assert config.adc_shape == (85, 3, 4, 512)
    assert config.bytes_per_frame == (directory / "adc_data.bin").stat().st_size
    assert config.tx_order == (1, 2, 3)
    assert config.iq_order == "IQ"
    assert config.rx_gain_db == 30.0
    assert config.commands == ()
    assert config.waveform.range_resolution_m == pytest.approx(
        0.0392759 * SPEED_OF_LIGHT_MPS / 3e8,
        rel=1e-5,  # as published beside the recording
    )
    # Without the second file the device follows from the carrier.
    alone = load_mmwave_studio(directory / "mmwaveDevice.mmwave.json")
    assert (alone.device, alone.waveform) == (config.device, config.waveform)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\ufeff" + TEXT,
        ("\ufeff" + TEXT).encode(),
        TEXT.encode() + "% temperature: 20 °C\n".encode("latin-1"),
        TEXT.replace(" ", " \t "),
        TEXT.replace("frameCfg 0 2 128 0 100 1 0", "frameCfg 0 2 128 0 100 1 0 % 128 loops"),
        TEXT + "\n" + "frameCfg 0 2 128 0 100 1 0\n",  # repeated unchanged
        "frameCfg 0 2 7 0 10 1 0\n" + TEXT,
    ],
    ids=["CRLF", "CR", "BOM", "BOM bytes", "latin-1", "tabs", "comment", "again", "before flush"],
)
def test_same_content_in_other_guises(text):
    assert parse_cfg(text).waveform == parse_cfg(TEXT).waveform


def test_masks_give_the_firing_order():
    text = with_line("chirpCfg 1", "chirpCfg 1 1 0 0 0 0 0 4")
    text = text.replace("chirpCfg 2 2 0 0 0 0 0 4", "chirpCfg 2 2 0 0 0 0 0 2")
    assert parse_cfg(text).tx_order == (1, 3, 2)


def test_frame_uses_only_its_chirps():
    config = parse_cfg(with_line("frameCfg", "frameCfg 1 2 64 0 100 1 0"))
    assert config.tx_order == (2, 3)
    assert config.adc_shape == (64, 2, 4, 256)


def test_chirps_repeated_within_the_frame_count_as_loops():
    text = with_line("chirpCfg 0", "chirpCfg 0 2 0 0 0 0 0 1")
    text = "\n".join(line for line in text.split("\n") if not re.match("chirpCfg [12]", line))
    config = parse_cfg(text.replace("frameCfg 0 2 128", "frameCfg 0 2 100"))
    assert (config.tx_order, config.adc_shape) == ((1,), (300, 1, 4, 256))


def test_receivers_follow_from_the_mask():
    config = parse_cfg(with_line("channelCfg", "channelCfg 5 7 0"))
    assert config.rx_antennas == (1, 3)
    assert config.bytes_per_chirp == 2 * 256 * 4


def test_sample_swap_off_means_real_part_first():
    assert parse_cfg(with_line("adcbufCfg", "adcbufCfg -1 0 0 1 1")).iq_order == "IQ"


def test_gain_is_in_the_low_six_bits():
    profile = "profileCfg 0 60 7 6 65 0 0 60.012 1 256 4400 0 0 158"
    assert parse_cfg(with_line("profileCfg", profile), device="IWR6843ISK").rx_gain_db == 30.0


def test_unknown_commands_are_kept_with_their_line():
    text = with_line("calibData", "warpDrive 9 9")
    config = parse_cfg(text)
    assert config.unknown_commands == (
        UnknownCommand(line_of("warpDrive", text), "warpDrive 9 9"),
    )
    assert "warpDrive 9 9" in config.commands


@pytest.mark.parametrize(
    ("command", "replacement", "expectation"),
    [
        ("profileCfg", "profileCfg 0 77 7 6 65 0 0 60.012 1 256 4400 0 0",
         "profileCfg wants 14 numbers, got 13"),
        ("profileCfg", "profileCfg 0 x 7 6 65 0 0 60.012 1 256 4400 0 0 30",
         r"wants a number for start frequency in GHz \(argument 2\), got 'x'"),
        ("profileCfg", "profileCfg 0 nan 7 6 65 0 0 60.012 1 256 4400 0 0 30", "wants a number"),
        ("profileCfg", "profileCfg 0 77 7 6 65 0 0 60.012 1 255 4400 0 0 30",
         "even number of samples"),
        ("profileCfg", "profileCfg 0 77 7 6 65 0 0 60.012 1 512 4400 0 0 30", "sampling ends"),
        ("profileCfg", "profileCfg 0 60 7 6 65 0 0 60.012 1 256 4400 0 0 30",
         "sweeps 60 to 63.901 GHz, but IWR1843 covers 76 to 81 GHz"),
        ("profileCfg", "profileCfg 0 77 7 6 65 0 0 -60.012 1 256 4400 0 0 30", "slope_hz_per_s"),
        ("chirpCfg 0", "chirpCfg 0 0 0 0 0 0 0 5", "one transmitter per chirp .* got mask 5"),
        ("chirpCfg 0", "chirpCfg 0 0 0 0 0 0 0 8", "from 1 to 7, got '8'"),
        ("chirpCfg 0", "chirpCfg 0 0 1 0 0 0 0 1", "uses profile"),
        ("chirpCfg 0", "chirpCfg 0 0 0 0 0 1.5 0 1", "all chirps of a frame must be alike"),
        ("chirpCfg 1", "chirpCfg 1 0 0 0 0 0 0 2", "last chirp .* from 1 to 511"),
        ("chirpCfg 1", "chirpCfg 0 1 0 0 0 0 0 2", "describes chirp 0 again, see .* line"),
        ("chirpCfg 1", "chirpCfg 1 1 0 0 0 0 0 1", "each transmitter may fire once"),
        ("channelCfg", "channelCfg 15 3 0", "fires transmitter 3, which the channel"),
        ("channelCfg", "channelCfg 15 7 1", "single devices"),
        ("adcCfg", "adcCfg 1 1", "16 bit"),
        ("adcCfg", "adcCfg 2 0", "complex samples"),
        ("adcbufCfg", "adcbufCfg -1 0 1 0 1", "four-lane layout is not supported"),
        ("adcbufCfg", "adcbufCfg -1 1 1 1 1", "complex samples"),
        ("lvdsStreamCfg", "lvdsStreamCfg -1 1 1 0", "no header"),
        ("lvdsStreamCfg", "lvdsStreamCfg -1 0 0 0", "no raw samples arrive"),
        ("frameCfg", "frameCfg 0 3 128 0 100 1 0", "uses chirp 3, which is not described"),
        ("frameCfg", "frameCfg 2 0 128 0 100 1 0", "last chirp not before the first"),
        ("frameCfg", "frameCfg 0 2 256 0 100 1 0", "loops .* from 1 to 255, got '256'"),
        ("frameCfg", "frameCfg 0 2 128 0 20 1 0", "more than the frame period of 20.00 ms"),
        ("frameCfg", "frameCfg 0 2 128 0 0 1 0", "frame period above 0"),
        ("frameCfg", "advFrameCfg 1 0 0 1 0", "is not supported"),
        ("dfeDataOutputMode", "dfeDataOutputMode 3", r"wants mode 1 \(frames\)"),
        ("lowPower", "bpmCfg -1 1 0 1", "one at a time"),
        ("lowPower", "frameCfg 0 2 64 0 100 1 0", "contradicts line"),
        ("lowPower", "lowPöwer 0 0", "plain ASCII"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_line(command, replacement, expectation):
    text = with_line(command, replacement)
    with pytest.raises(ConfigError, match=expectation) as refusal:
        parse_cfg(text, source="my.cfg")
    number = int(re.match(r"my\.cfg line (\d+)", str(refusal.value)).group(1))
    faulty = text.split("\n")[number - 1].split()[0]
    assert faulty in ("frameCfg", "chirpCfg", replacement.split()[0])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["channelCfg", "adcCfg", "adcbufCfg", "profileCfg", "frameCfg", "lvdsStreamCfg"]
)
def test_what_is_missing_is_named(name):
    with pytest.raises(ConfigError, match=rf"line \d+: the file ends without {name}, "):
        parse_cfg(with_line(name, ""))


def test_missing_chirps_are_named():
    text = re.sub(r"(?m)^chirpCfg.*\n", "", TEXT)
    with pytest.raises(ConfigError, match="ends without chirpCfg"):
        parse_cfg(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file ends without"),
        (bytes(range(256)) * 40, "line 1: is a binary file"),
        (TEXT.encode("utf-16"), "line 1: is UTF-16"),
        (b"\n" * (10 << 20), "line 262145: more than 256 KiB"),
        (b"x" * (10 << 20), "line 1: more than 256 KiB"),
        (b"profileCfg " + b"9" * 200_000, "wants 14 numbers, got 1"),
        (b"a\n" * 120_000, "line 120001: the file ends without"),
    ],
    ids=["empty", "binary", "utf-16", "newlines", "one line", "long number", "many commands"],
)
def test_files_that_are_none(tmp_path, content, message):
    """W10: empty, binary and huge files are refused with a line, in less than a second."""
    path = tmp_path / "x.cfg"
    path.write_bytes(content)
    begin_s = time.process_time()  # this process's own: whatever else the machine does
    with pytest.raises(ConfigError, match=message):
        load_cfg(path)
    assert time.process_time() - begin_s < 1.0


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read, No such file"):
        load_cfg(tmp_path / "none.cfg")
    with pytest.raises(ConfigError, match="cannot be read, it is no file"):
        load_cfg(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # nobody ever writes
    with pytest.raises(ConfigError, match="pipe: cannot be read, it is no file"):
        load_cfg(tmp_path / "pipe")


# --------------------------------------------------------------------------- Studio JSON


@pytest.fixture
def studio(shared_data, tmp_path):
    """Loads the real JSON pair after changing it."""
    directory = shared_data / "radar_adc" / "iwr6843_frame"

    def load(change=None, change_setup=None):
        paths = []
        for name, edit in (
            ("mmwaveDevice.mmwave.json", change),
            ("CaptureSetup.setup.json", change_setup),
        ):
            content = json.loads((directory / name).read_text())
            if edit is not None:
                edit(content)
            paths.append(tmp_path / name)
            paths[-1].write_text(json.dumps(content))
        return load_mmwave_studio(*paths)

    return load


def edit_at(path: str, value: object):
    """An edit that sets, or with value None removes, what the dotted path leads to."""

    def edit(content):
        *parents, last = (int(k) if k.isdigit() else k for k in path.split("."))
        for key in parents:
            content = content[key]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return edit


RF = "mmWaveDevices.0.rfConfig"
CAPTURE = "mmWaveDevices.0.rawDataCaptureConfig"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{CAPTURE}.rlDevLaneEnable_t.laneEn", "0xF", r"laneEn wants 0x3 \(two lanes\)"),
        (f"{CAPTURE}.rlDevDataFmtCfg_t.chInterleave", 0, "one receiver after the other"),
        (f"{CAPTURE}.rlDevDataFmtCfg_t.iqSwapSel", None, "has no key 'iqSwapSel'"),
        (f"{CAPTURE}.rlDevDataPathCfg_t.transferFmtPkt0", "0x6", "ADC samples only"),
        (f"{RF}.rlFrameCfg_t.numLoops", None, r"rlFrameCfg_t has no key 'numLoops'"),
        (f"{RF}.rlFrameCfg_t.numLoops", "many", "whole number from 1 to 255, got 'many'"),
        (f"{RF}.rlFrameCfg_t.framePeriodicity_msec", 50.0, "more than the frame period"),
        (f"{RF}.rlChanCfg_t.txChannelEn", "0x3", "leaves off"),
        (f"{RF}.rlChirps.1.rlChirpCfg_t.txEnable", "0x3", "one transmitter per chirp"),
        (f"{RF}.rlChirps.1.rlChirpCfg_t.idleTimeVar_usec", 1.0, "must be alike"),
        (f"{RF}.rlProfiles.0.rlProfileCfg_t.digOutSampleRate", "fast", "wants a number"),
        (f"{RF}.rlProfiles", {}, "rlProfiles wants a list"),
        (f"{RF}.rlAdcOutCfg_t.fmt.b2AdcOutFmt", 0, "complex samples"),
        (f"{RF}.waveformType", "advancedFrameChirp", "not supported"),
        ("mmWaveDevices", [], "wants 1 device, got 0"),
    ],
)
def test_studio_keys_are_checked(studio, path, value, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        studio(edit_at(path, value))
    assert "mmwaveDevice.mmwave.json: mmWaveDevices" in str(refusal.value)


def test_studio_setup_is_checked(studio):
    assert studio(None, edit_at("mmWaveDevice", "IWR6843")).device == "IWR6843ISK"
    with pytest.raises(ConfigError, match="mmWaveDevice wants a device with 1843 or 6843"):
        studio(None, edit_at("mmWaveDevice", "awr1243"))
    with pytest.raises(ConfigError, match="but IWR1843 covers 76 to 81 GHz"):
        studio(None, edit_at("mmWaveDevice", "iwr1843"))
    with pytest.raises(ConfigError, match="captureHardware wants 'DCA1000'"):
        studio(None, edit_at("captureHardware", "TSW1400"))


def test_studio_swap_means_imaginary_part_first(studio):
    assert studio(edit_at(f"{CAPTURE}.rlDevDataFmtCfg_t.iqSwapSel", 1)).iq_order == "QI"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: is not JSON"),
        (b"{\n\n 1}", "line 3: is not JSON"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"[" * 100_000, "not usable JSON"),
        (b"[]", "wants an object with the key 'mmWaveDevices'"),
        (b"{}", "has no key 'mmWaveDevices'"),
    ],
)
def test_studio_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_mmwave_studio(path)
