"""Reads what a TI radar was told to transmit: SDK command files and mmWave Studio JSON.

Both readers end in one `RadarConfig`. What cannot be used is refused with a `ConfigError` that
names the file, the line (or the JSON key), what was found and what is allowed; commands that mean
nothing to this package are kept and reported, never fatal.

Field meanings: mmWave SDK user's guide, "Configuration (.cfg) file format", and the mmWaveLink
interface for the JSON keys.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from radar_pose_ros.documents import DocumentError, open_file
from radar_pose_ros.radar.config import ConfigError, RadarConfig, UnknownCommand
from radar_pose_ros.radar.waveform import Waveform

# A command file has a few kilobytes. The limits bound the time spent on one that is none.
MAX_CFG_BYTES = 256 * 1024
MAX_JSON_BYTES = 4 * 1024 * 1024

# Numbers that follow each command this package reads (SDK 3.x).
ARGUMENTS = {
    "dfeDataOutputMode": 1,
    "channelCfg": 3,
    "adcCfg": 2,
    "adcbufCfg": 5,
    "profileCfg": 14,
    "chirpCfg": 8,
    "bpmCfg": 4,
    "frameCfg": 7,
    "lvdsStreamCfg": 4,
}

# Commands of the SDK's demo that do not change what is transmitted or how it is stored.
WITHOUT_EFFECT = frozenset(
    {
        "sensorStop",
        "sensorStart",
        "flushCfg",
        "lowPower",
        "guiMonitor",
        "cfarCfg",
        "multiObjBeamForming",
        "multiObjBeamFormingCfg",
        "clutterRemoval",
        "calibDcRangeSig",
        "extendedMaxVelocity",
        "compRangeBiasAndRxChanPhase",
        "measureRangeBiasAndRxChanPhase",
        "CQRxSatMonitor",
        "CQSigImgMonitor",
        "analogMonitor",
        "aoaFovCfg",
        "cfarFovCfg",
        "calibData",
        "nearFieldCfg",
        "peakGrouping",
        "version",
        "configDataPort",
        "queryDemoStatus",
        "idlePowerCycle",
    }
)

# What a radar is to send: raw samples to a capture card, or the points that it detects itself.
Output = Literal["samples", "points"]

# Carrier limits (data sheets of IWR1843 and IWR6843), Hz.
_BANDS_HZ = {"IWR1843": (76e9, 81e9), "IWR6843ISK": (60e9, 64e9)}
_BAND_TOLERANCE_HZ = 5e6
_TRANSMITTERS = 3
_RECEIVERS = 4
_MAX_LOOPS = 255  # mmWaveLink, rlFrameCfg_t.numLoops
_MAX_CHIRP_INDEX = 511  # mmWaveLink, rlChirpCfg_t.chirpEndIdx
_MAX_SAMPLES = 8192  # 32 KiB of ADC buffer
_MAX_FRAME_PERIOD_MS = 1342.0  # mmWaveLink, rlFrameCfg_t.framePeriodicity

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class _Profile:
    """The numbers of one chirp profile, in the units of the files, and where they came from."""

    where: str
    start_frequency_ghz: float
    idle_us: float
    adc_start_us: float
    ramp_end_us: float
    slope_mhz_per_us: float
    samples: int
    sample_rate_ksps: float
    rx_gain_db: float


@dataclass(frozen=True)
class _Chirp:
    """One chirp of the sequence: its profile and the mask of transmitters that are on."""

    where: str
    profile: int
    tx_mask: int


@dataclass(frozen=True)
class _Frame:
    where: str
    first_chirp: int
    last_chirp: int
    loops: int
    period_ms: float


def load_cfg(path: str | Path, device: str = "IWR1843", output: Output = "samples") -> RadarConfig:
    """Read an mmWave SDK command file; see `parse_cfg`.

    Raises
    ------
    ConfigError
        If the file cannot be read or cannot be used.
    """
    text = _read(Path(path), MAX_CFG_BYTES)
    return parse_cfg(text, source=str(path), device=device, output=output)


def parse_cfg(
    text: str | bytes,
    source: str = "<text>",
    device: str = "IWR1843",
    output: Output = "samples",
) -> RadarConfig:
    """Read the text of an mmWave SDK command file.

    Comments start with ``%``; line ends may be of any kind; a byte-order mark is skipped.
    ``flushCfg`` forgets what came before it, as it does on the radar. A command that is repeated
    must be repeated unchanged, except ``chirpCfg``, of which each describes other chirps.

    Parameters
    ----------
    text : str or bytes
        The commands.
    source : str
        What to call it in messages.
    device : str
        One of `radar_pose_ros.radar.config.DEVICES`: a command file does not name it.
    output : {"samples", "points"}
        What is wanted of the radar. For samples ``lvdsStreamCfg`` must send them; for points
        ``guiMonitor`` must, and ``lvdsStreamCfg`` is not looked at.

    Returns
    -------
    RadarConfig
        ``commands`` holds every command, in order, without comments.

    Raises
    ------
    ConfigError
        Names source, line, command and what is expected.
    """
    reader = _CfgReader(source, output)
    lines = _text_lines(text, source)
    for number, line in enumerate(lines, start=1):
        command = line.partition("%")[0].replace("\t", " ").strip(" ")
        if command:
            reader.read(number, command)
    return reader.result(len(lines), device)


def load_mmwave_studio(
    mmwave_json: str | Path, setup_json: str | Path | None = None
) -> RadarConfig:
    """Read the configuration that mmWave Studio exports beside a recording.

    Parameters
    ----------
    mmwave_json : path
        ``*.mmwave.json``: the radar's configuration.
    setup_json : path, optional
        ``*.setup.json``: names the device and the settings of the capture card. Without it the
        device is told from the carrier frequency.

    Raises
    ------
    ConfigError
        Names the file and the key. Four-lane and interleaved captures, several devices, real
        samples and packets with anything but ADC samples are refused.
    """
    root = _JsonNode.load(Path(mmwave_json))
    devices = root.at("mmWaveDevices").items()
    if len(devices) != 1:
        root.at("mmWaveDevices").fail(f"wants 1 device, got {len(devices)}")
    rf, capture = devices[0].at("rfConfig"), devices[0].at("rawDataCaptureConfig")
    if rf.has("waveformType") and rf.at("waveformType").text() != "legacyFrameChirp":
        rf.at("waveformType").fail("wants 'legacyFrameChirp': advanced frames are not supported")

    iq_order = _check_studio_capture(rf, capture)
    channels = rf.at("rlChanCfg_t")
    rx_antennas = _antennas(channels.at("rxChannelEn").integer(1, (1 << _RECEIVERS) - 1))
    profiles = {
        node.at("profileId").integer(0, 3): _studio_profile(node)
        for node in (item.at("rlProfileCfg_t") for item in rf.at("rlProfiles").items())
    }
    chirps: dict[int, _Chirp] = {}
    for item in rf.at("rlChirps").items():
        _add_studio_chirp(chirps, item.at("rlChirpCfg_t"))
    frame_node = rf.at("rlFrameCfg_t")
    frame = _Frame(
        where=frame_node.where,
        first_chirp=frame_node.at("chirpStartIdx").integer(0, _MAX_CHIRP_INDEX),
        last_chirp=frame_node.at("chirpEndIdx").integer(0, _MAX_CHIRP_INDEX),
        loops=frame_node.at("numLoops").integer(1, _MAX_LOOPS),
        period_ms=frame_node.at("framePeriodicity_msec").number(),
    )
    tx_mask = channels.at("txChannelEn").integer(1, (1 << _TRANSMITTERS) - 1)
    tx_order, loops, profile = _firing_order(frame, chirps, profiles, tx_mask)
    return RadarConfig(
        device=_studio_device(profile, setup_json),
        waveform=_waveform(profile, frame, len(tx_order), loops),
        tx_order=tx_order,
        rx_antennas=rx_antennas,
        iq_order=iq_order,
        rx_gain_db=profile.rx_gain_db,
        source=str(mmwave_json),
    )


# --------------------------------------------------------------------------- command files


@dataclass(frozen=True)
class _Command:
    """One line of a command file with its numbers."""

    source: str
    line: int
    name: str
    words: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"{self.source} line {self.line}: {self.name}"

    def fail(self, expectation: str) -> NoReturn:
        raise ConfigError(f"{self.where} {expectation}")

    def number(self, index: int, meaning: str) -> float:
        word = self.words[index]
        if len(word) > 32 or not _NUMBER.fullmatch(word):
            self.fail(f"wants a number for {meaning} (argument {index + 1}), got {word[:32]!r}")
        return float(word)

    def integer(self, index: int, meaning: str, low: int, high: int) -> int:
        word = self.words[index]
        if not _INTEGER.fullmatch(word) or not low <= int(word) <= high:
            self.fail(
                f"wants {meaning} (argument {index + 1}) as a whole number from {low} to {high}, "
                f"got {word[:32]!r}"
            )
        return int(word)


@dataclass
class _CfgReader:
    """Collects the commands of one file."""

    source: str
    output: Output
    commands: list[str] = field(default_factory=list)
    unknown: list[UnknownCommand] = field(default_factory=list)
    once: dict[tuple[str, str], _Command] = field(default_factory=dict)
    profiles: dict[int, _Profile] = field(default_factory=dict)
    chirps: dict[int, _Chirp] = field(default_factory=dict)

    def read(self, line: int, text: str) -> None:
        if not (text.isascii() and text.isprintable()):
            raise ConfigError(
                f"{self.source} line {line}: a command wants plain ASCII text, got {text[:40]!r}"
            )
        name, *words = text.split()
        self.commands.append(text)
        if name == "flushCfg":
            self.once.clear()
            self.profiles.clear()
            self.chirps.clear()
            return
        if name in ("advFrameCfg", "subFrameCfg"):
            raise ConfigError(
                f"{self.source} line {line}: {name} is not supported, "
                "only one kind of frame (dfeDataOutputMode 1 and frameCfg)"
            )
        command = _Command(self.source, line, name, tuple(words))
        if self.output == "points" and name in _OUTPUT_COMMANDS.values():
            if name == _OUTPUT_COMMANDS["points"] and self._first_time(command):
                _check_monitor(command)
            return
        if name not in ARGUMENTS:
            if name not in WITHOUT_EFFECT:
                self.unknown.append(UnknownCommand(line, text))
            return
        if len(words) != ARGUMENTS[name]:
            command.fail(f"wants {ARGUMENTS[name]} numbers, got {len(words)}")
        if name == "chirpCfg":
            self._chirp(command)
        elif self._first_time(command):
            check = _CHECKS.get(name)
            if check is not None:
                check(command)
            elif name == "profileCfg":
                self._profile(command)

    def _first_time(self, command: _Command) -> bool:
        """Remember a command; False if it was given before with the same numbers."""
        key = (command.name, command.words[0] if command.name == "profileCfg" else "")
        before = self.once.get(key)
        if before is None:
            self.once[key] = command
            return True
        if before.words != command.words:
            command.fail(f"contradicts line {before.line}: it may be given once")
        return False

    def _profile(self, command: _Command) -> None:
        gain = command.integer(13, "receiver gain", 0, 255)
        self.profiles[command.integer(0, "profile number", 0, 3)] = _Profile(
            where=command.where,
            start_frequency_ghz=command.number(1, "start frequency in GHz"),
            idle_us=command.number(2, "idle time in us"),
            adc_start_us=command.number(3, "ADC start time in us"),
            ramp_end_us=command.number(4, "ramp end time in us"),
            slope_mhz_per_us=command.number(7, "slope in MHz/us"),
            samples=command.integer(9, "samples per chirp", 1, _MAX_SAMPLES),
            sample_rate_ksps=command.number(10, "sample rate in ksps"),
            # Bits 0-5 are the gain, bits 6-7 its target in the radio-frequency stage.
            rx_gain_db=float(gain & 0x3F),
        )

    def _chirp(self, command: _Command) -> None:
        first = command.integer(0, "first chirp", 0, _MAX_CHIRP_INDEX)
        last = command.integer(1, "last chirp", first, _MAX_CHIRP_INDEX)
        offsets = ("start frequency", "slope", "idle time", "ADC start time")
        for index, meaning in enumerate(offsets, start=3):
            if command.number(index, f"offset of the {meaning}") != 0:
                command.fail(
                    f"wants 0 as offset of the {meaning} (argument {index + 1}), "
                    f"got {command.words[index]}: all chirps of a frame must be alike"
                )
        chirp = _Chirp(
            where=command.where,
            profile=command.integer(2, "profile number", 0, 3),
            tx_mask=command.integer(7, "transmitter mask", 1, (1 << _TRANSMITTERS) - 1),
        )
        for index in range(first, last + 1):
            if self.chirps.setdefault(index, chirp) != chirp and (
                self.chirps[index].profile != chirp.profile
                or self.chirps[index].tx_mask != chirp.tx_mask
            ):
                command.fail(f"describes chirp {index} again, see {self.chirps[index].where}")

    def result(self, last_line: int, device: str) -> RadarConfig:
        where = f"{self.source} line {max(last_line, 1)}: the file ends"
        sends = _OUTPUT_COMMANDS[self.output]
        for name, purpose in (_REQUIRED | {sends: _SENDS[sends]}).items():
            if not any(key[0] == name for key in self.once):
                raise ConfigError(f"{where} without {name}, {purpose}")
        if not self.chirps:
            raise ConfigError(f"{where} without chirpCfg, which says what fires when")
        channels = self.once["channelCfg", ""]
        rx_antennas = _antennas(channels.integer(0, "receiver mask", 1, (1 << _RECEIVERS) - 1))
        tx_mask = channels.integer(1, "transmitter mask", 1, (1 << _TRANSMITTERS) - 1)
        command = self.once["frameCfg", ""]
        frame = _Frame(
            where=command.where,
            first_chirp=command.integer(0, "first chirp", 0, _MAX_CHIRP_INDEX),
            last_chirp=command.integer(1, "last chirp", 0, _MAX_CHIRP_INDEX),
            loops=command.integer(2, "loops", 1, _MAX_LOOPS),
            period_ms=command.number(4, "frame period in ms"),
        )
        tx_order, loops, profile = _firing_order(frame, self.chirps, self.profiles, tx_mask)
        if device in _BANDS_HZ:
            _check_band(profile, device)
        return RadarConfig(
            device=device,
            waveform=_waveform(profile, frame, len(tx_order), loops),
            tx_order=tx_order,
            rx_antennas=rx_antennas,
            iq_order="QI" if self.once["adcbufCfg", ""].words[2] == "1" else "IQ",
            rx_gain_db=profile.rx_gain_db,
            commands=tuple(self.commands),
            unknown_commands=tuple(self.unknown),
            source=self.source,
        )


_REQUIRED = {
    "channelCfg": "which selects the antennas",
    "adcCfg": "which selects the sample format",
    "adcbufCfg": "which selects the order of the samples",
    "profileCfg": "which describes the chirp",
    "frameCfg": "which describes the frame",
}
_OUTPUT_COMMANDS: dict[Output, str] = {"samples": "lvdsStreamCfg", "points": "guiMonitor"}
_SENDS = {
    "lvdsStreamCfg": "so the radar would not send raw samples to the capture card",
    "guiMonitor": "so the radar would not send points",
}


def _check_output_mode(command: _Command) -> None:
    if command.integer(0, "mode", 0, 9) != 1:
        command.fail("wants mode 1 (frames), other modes are not supported")


def _check_channels(command: _Command) -> None:
    command.integer(0, "receiver mask", 1, (1 << _RECEIVERS) - 1)
    command.integer(1, "transmitter mask", 1, (1 << _TRANSMITTERS) - 1)
    if command.integer(2, "cascading", 0, 9) != 0:
        command.fail("wants 0 for cascading (argument 3): only single devices are supported")


def _check_adc(command: _Command) -> None:
    if command.integer(0, "bits", 0, 9) != 2:
        command.fail("wants 2 (16 bit) as first argument, other widths are not supported")
    if command.integer(1, "format", 0, 9) not in (1, 2):
        command.fail("wants 1 or 2 (complex samples) as second argument")


def _check_adc_buffer(command: _Command) -> None:
    command.integer(0, "sub-frame", -1, 3)
    if command.integer(1, "format", 0, 9) != 0:
        command.fail("wants 0 (complex samples) as second argument")
    command.integer(2, "sample swap (1: imaginary part first)", 0, 1)
    if command.integer(3, "channel interleaving", 0, 9) != 1:
        command.fail(
            "wants 1 (one receiver after the other) as argument 4: "
            "the interleaved four-lane layout is not supported"
        )
    command.integer(4, "chirp threshold", 0, 8)


def _check_bpm(command: _Command) -> None:
    if command.integer(1, "enable", 0, 9) != 0:
        command.fail("wants 0 (off) as second argument: transmitters must fire one at a time")


def _check_lvds(command: _Command) -> None:
    command.integer(0, "sub-frame", -1, 3)
    if command.integer(1, "header", 0, 9) != 0:
        command.fail("wants 0 (no header) as argument 2: headers would shift the samples")
    if command.integer(2, "data format", 0, 9) != 1:
        command.fail("wants 1 (ADC samples) as argument 3, or no raw samples arrive")
    if command.integer(3, "software stream", 0, 9) != 0:
        command.fail("wants 0 (off) as argument 4: user data would mix with the samples")


def _check_monitor(command: _Command) -> None:
    if len(command.words) not in (6, 7):
        command.fail(f"wants 7 numbers, got {len(command.words)}")
    points = len(command.words) - 6  # SDK 2.x on xWR14xx has no sub-frame before it
    if command.integer(points, "points", 0, 2) == 0:
        command.fail(
            f"wants 1 (points and their signal-to-noise ratios) or 2 (points) as argument "
            f"{points + 1}, or no points arrive"
        )


_CHECKS: dict[str, Callable[[_Command], None]] = {
    "dfeDataOutputMode": _check_output_mode,
    "channelCfg": _check_channels,
    "adcCfg": _check_adc,
    "adcbufCfg": _check_adc_buffer,
    "bpmCfg": _check_bpm,
    "lvdsStreamCfg": _check_lvds,
}


def _text_lines(text: str | bytes, source: str) -> list[str]:
    """Lines of a command file, or a ConfigError with the line that shows it to be none."""
    if isinstance(text, bytes):
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ConfigError(f"{source} line 1: is UTF-16, save it as plain text (UTF-8)")
        # Comments may hold any legacy encoding; commands are checked to be ASCII later.
        text = text[: MAX_CFG_BYTES + 1].decode("utf-8", errors="replace")
    if len(text) > MAX_CFG_BYTES:
        line = text.count("\n", 0, MAX_CFG_BYTES) + 1
        raise ConfigError(
            f"{source} line {line}: more than {MAX_CFG_BYTES // 1024} KiB, "
            "a command file has a few kilobytes"
        )
    zero = text.find("\0")
    if zero >= 0:
        line = text.count("\n", 0, zero) + 1
        raise ConfigError(f"{source} line {line}: is a binary file, a text file is expected")
    return _LINE_END.split(text.removeprefix("\ufeff"))


# --------------------------------------------------------------------------- mmWave Studio


@dataclass(frozen=True)
class _JsonNode:
    """A value in a JSON file together with the path that leads to it."""

    file: str
    path: str
    value: Any

    @classmethod
    def load(cls, path: Path) -> _JsonNode:
        raw = _read(path, MAX_JSON_BYTES)
        if len(raw) > MAX_JSON_BYTES:
            raise ConfigError(f"{path}: more than {MAX_JSON_BYTES // 1024} KiB, is this the file?")
        try:
            value = json.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 text ({error.reason})") from error
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path} line {error.lineno}: is not JSON, {error.msg}") from error
        except (RecursionError, ValueError) as error:
            raise ConfigError(f"{path}: is not usable JSON, {error}") from error
        return cls(str(path), "", value)

    @property
    def where(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file

    def fail(self, expectation: str) -> NoReturn:
        raise ConfigError(f"{self.where} {expectation}")

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def at(self, key: str) -> _JsonNode:
        if not isinstance(self.value, dict):
            self.fail(f"wants an object with the key {key!r}")
        if key not in self.value:
            self.fail(f"has no key {key!r}")
        return _JsonNode(self.file, f"{self.path}.{key}".lstrip("."), self.value[key])

    def items(self) -> list[_JsonNode]:
        if not isinstance(self.value, list):
            self.fail("wants a list")
        return [
            _JsonNode(self.file, f"{self.path}[{index}]", value)
            for index, value in enumerate(self.value)
        ]

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.fail(f"wants a text, got {self.value!r:.40}")
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"wants a number, got {self.value!r:.40}")
        try:
            value = float(self.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.fail("wants a finite number")
        return value

    def integer(self, low: int, high: int) -> int:
        """A whole number, also written as text such as "0x1E"."""
        value = self.value
        if isinstance(value, str) and len(value) <= 18:
            try:
                value = int(value, 0)
            except ValueError:
                value = None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(f"wants a whole number from {low} to {high}, got {self.value!r:.40}")
        return value


def _check_studio_capture(rf: _JsonNode, capture: _JsonNode) -> Literal["IQ", "QI"]:
    """Refuse sample formats that the two-lane reader cannot read; return the sample order."""
    adc = rf.at("rlAdcOutCfg_t").at("fmt")
    if adc.at("b2AdcBits").integer(0, 3) != 2:
        adc.at("b2AdcBits").fail("wants 2 (16 bit), other widths are not supported")
    if adc.at("b2AdcOutFmt").integer(0, 3) not in (1, 2):
        adc.at("b2AdcOutFmt").fail("wants 1 or 2 (complex samples)")
    lanes = capture.at("rlDevLaneEnable_t").at("laneEn")
    if lanes.integer(0, 15) != 0b0011:
        lanes.fail(
            f"wants 0x3 (two lanes), got {lanes.value!r}: the four-lane layout of other devices "
            "is not supported"
        )
    layout = capture.at("rlDevDataFmtCfg_t")
    if layout.at("chInterleave").integer(0, 1) != 1:
        layout.at("chInterleave").fail("wants 1 (one receiver after the other)")
    packet = capture.at("rlDevDataPathCfg_t").at("transferFmtPkt0")
    if packet.integer(0, 255) != 1:
        packet.fail("wants 0x1 (ADC samples only)")
    return "QI" if layout.at("iqSwapSel").integer(0, 1) == 1 else "IQ"


def _studio_profile(node: _JsonNode) -> _Profile:
    return _Profile(
        where=node.where,
        start_frequency_ghz=node.at("startFreqConst_GHz").number(),
        idle_us=node.at("idleTimeConst_usec").number(),
        adc_start_us=node.at("adcStartTimeConst_usec").number(),
        ramp_end_us=node.at("rampEndTime_usec").number(),
        slope_mhz_per_us=node.at("freqSlopeConst_MHz_usec").number(),
        samples=node.at("numAdcSamples").integer(1, _MAX_SAMPLES),
        sample_rate_ksps=node.at("digOutSampleRate").number(),
        rx_gain_db=float(node.at("rxGain_dB").integer(0, 255) & 0x3F),
    )


def _add_studio_chirp(chirps: dict[int, _Chirp], node: _JsonNode) -> None:
    first = node.at("chirpStartIdx").integer(0, _MAX_CHIRP_INDEX)
    last = node.at("chirpEndIdx").integer(first, _MAX_CHIRP_INDEX)
    offsets = (
        "startFreqVar_MHz",
        "freqSlopeVar_KHz_usec",
        "idleTimeVar_usec",
        "adcStartTimeVar_usec",
    )
    for key in offsets:
        if node.at(key).number() != 0:
            node.at(key).fail("wants 0: all chirps of a frame must be alike")
    chirp = _Chirp(
        where=node.where,
        profile=node.at("profileId").integer(0, 3),
        tx_mask=node.at("txEnable").integer(1, (1 << _TRANSMITTERS) - 1),
    )
    for index in range(first, last + 1):
        if index in chirps:
            node.fail(f"describes chirp {index} again, see {chirps[index].where}")
        chirps[index] = chirp


def _studio_device(profile: _Profile, setup_json: str | Path | None) -> str:
    if setup_json is None:
        device = "IWR6843ISK" if profile.start_frequency_ghz < 70 else "IWR1843"
        _check_band(profile, device)
        return device
    setup = _JsonNode.load(Path(setup_json))
    hardware = setup.at("captureHardware")
    if hardware.text() != "DCA1000":
        hardware.fail(f"wants 'DCA1000', got {hardware.value!r}")
    mode = setup.at("DCA1000Config").at("dataLoggingMode")
    if mode.text() != "raw":
        mode.fail(f"wants 'raw', got {mode.value!r}")
    name = setup.at("mmWaveDevice")
    for digits, device in (("1843", "IWR1843"), ("6843", "IWR6843ISK")):
        if digits in name.text():
            _check_band(profile, device)
            return device
    name.fail(f"wants a device with 1843 or 6843 in its name, got {name.value!r}")


# --------------------------------------------------------------------------- common


def _read(path: Path, limit: int) -> bytes:
    """The file's bytes, at most one more than ``limit``."""
    try:
        with open_file(path) as file:
            return file.read(limit + 1)
    except DocumentError as error:
        raise ConfigError(f"{path}: cannot be read, it is no file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read, {error.strerror or error}") from error


def _antennas(mask: int) -> tuple[int, ...]:
    """Numbers, from 1, of the bits that are set."""
    return tuple(bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1)


def _firing_order(
    frame: _Frame, chirps: dict[int, _Chirp], profiles: dict[int, _Profile], tx_mask: int
) -> tuple[tuple[int, ...], int, _Profile]:
    """Transmitters in firing order, number of loops, and the profile they share."""
    if frame.last_chirp < frame.first_chirp:
        raise ConfigError(
            f"{frame.where} wants a last chirp not before the first, "
            f"got {frame.first_chirp} to {frame.last_chirp}"
        )
    order: list[int] = []
    first = chirps.get(frame.first_chirp)
    for index in range(frame.first_chirp, frame.last_chirp + 1):
        chirp = chirps.get(index)
        if first is None or chirp is None:
            raise ConfigError(f"{frame.where} uses chirp {index}, which is not described")
        if chirp.tx_mask.bit_count() != 1:
            raise ConfigError(
                f"{chirp.where} wants one transmitter per chirp (mask 1, 2 or 4), got mask "
                f"{chirp.tx_mask}: transmitters that fire together cannot be told apart"
            )
        if chirp.tx_mask & ~tx_mask:
            raise ConfigError(
                f"{chirp.where} fires transmitter {chirp.tx_mask.bit_length()}, "
                f"which the channel configuration (mask {tx_mask}) leaves off"
            )
        if chirp.profile != first.profile:
            raise ConfigError(
                f"{chirp.where} uses profile {chirp.profile} and an earlier chirp of the frame "
                f"profile {first.profile}: all chirps of a frame must be alike"
            )
        order.append(chirp.tx_mask.bit_length())
    assert first is not None  # the range holds at least the first chirp
    if first.profile not in profiles:
        raise ConfigError(f"{first.where} uses profile {first.profile}, which is not described")
    sequence = _shortest_period(order)
    if len(set(sequence)) != len(sequence):
        raise ConfigError(
            f"{frame.where} fires transmitters {sequence} in turn: "
            "within a loop each transmitter may fire once"
        )
    return tuple(sequence), frame.loops * (len(order) // len(sequence)), profiles[first.profile]


def _shortest_period(order: Sequence[int]) -> list[int]:
    """The shortest sequence whose repetition is ``order``: who counts the loops is no matter."""
    for length in range(1, len(order)):
        if len(order) % length == 0 and list(order[:length]) * (len(order) // length) == order:
            return list(order[:length])
    return list(order)


def _check_band(profile: _Profile, device: str) -> None:
    low_hz, high_hz = _BANDS_HZ[device]
    start_hz = profile.start_frequency_ghz * 1e9
    end_hz = start_hz + profile.slope_mhz_per_us * 1e12 * profile.ramp_end_us * 1e-6
    if start_hz < low_hz - _BAND_TOLERANCE_HZ or end_hz > high_hz + _BAND_TOLERANCE_HZ:
        raise ConfigError(
            f"{profile.where} sweeps {start_hz / 1e9:g} to {end_hz / 1e9:.3f} GHz, "
            f"but {device} covers {low_hz / 1e9:g} to {high_hz / 1e9:g} GHz"
        )


def _waveform(profile: _Profile, frame: _Frame, transmitters: int, loops: int) -> Waveform:
    if profile.samples % 2:
        raise ConfigError(
            f"{profile.where} wants an even number of samples per chirp, got {profile.samples}: "
            "the two-lane layout stores them in pairs"
        )
    if not 0 < frame.period_ms <= _MAX_FRAME_PERIOD_MS:
        raise ConfigError(
            f"{frame.where} wants a frame period above 0 and up to {_MAX_FRAME_PERIOD_MS:g} ms, "
            f"got {frame.period_ms:g}"
        )

    def build(loops: int, frame_period_s: float) -> Waveform:
        return Waveform(
            start_frequency_hz=profile.start_frequency_ghz * 1e9,
            slope_hz_per_s=profile.slope_mhz_per_us * 1e12,
            sample_rate_hz=profile.sample_rate_ksps * 1e3,
            samples=profile.samples,
            idle_time_s=profile.idle_us * 1e-6,
            adc_start_time_s=profile.adc_start_us * 1e-6,
            ramp_end_time_s=profile.ramp_end_us * 1e-6,
            loops=loops,
            transmitters=transmitters,
            frame_period_s=frame_period_s,
        )

    where = profile.where  # the chirp alone first, so that a message names the line at fault
    try:
        build(loops=1, frame_period_s=1e6)
        where = frame.where
        return build(loops, frame.period_ms * 1e-3)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
