"""What mmWave Studio exports: the radar's settings and, behind a zero byte, the card's."""

from __future__ import annotations

import json
from typing import Any

from fuzz.material import folder, refusal

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.ti_config import load_mmwave_studio


def one_input(data: bytes) -> None:
    """Read both files, or the first alone."""
    radar, zero, card = data.partition(b"\0")
    found: list[RadarConfig] = []
    with folder() as here:
        (here / "a.mmwave.json").write_bytes(radar)
        (here / "a.setup.json").write_bytes(card)

        def read() -> None:
            setup = here / "a.setup.json" if zero else None
            found.append(load_mmwave_studio(here / "a.mmwave.json", setup))

        refused = refusal(read, ConfigError)
    assert not refused or "/a." in refused, f"names no file: {refused}"
    for config in found:
        assert 0 < config.bytes_per_frame <= 1 << 32


def _exported() -> dict[str, Any]:
    chirps = [
        {
            "rlChirpCfg_t": {
                "chirpStartIdx": number,
                "chirpEndIdx": number,
                "profileId": 0,
                "startFreqVar_MHz": 0.0,
                "freqSlopeVar_KHz_usec": 0.0,
                "idleTimeVar_usec": 0.0,
                "adcStartTimeVar_usec": 0.0,
                "txEnable": f"0x{1 << number}",
            }
        }
        for number in range(2)
    ]
    profile = {
        "profileId": 0,
        "startFreqConst_GHz": 77.0,
        "idleTimeConst_usec": 100.0,
        "adcStartTimeConst_usec": 6.0,
        "rampEndTime_usec": 60.0,
        "freqSlopeConst_MHz_usec": 29.982,
        "numAdcSamples": 256,
        "digOutSampleRate": 10000,
        "rxGain_dB": "0x1E",
    }
    frame = {"chirpStartIdx": 0, "chirpEndIdx": 1, "numLoops": 16, "framePeriodicity_msec": 50.0}
    rf = {
        "waveformType": "legacyFrameChirp",
        "rlChanCfg_t": {"rxChannelEn": "0xF", "txChannelEn": "0x7"},
        "rlAdcOutCfg_t": {"fmt": {"b2AdcBits": 2, "b2AdcOutFmt": 1}},
        "rlProfiles": [{"rlProfileCfg_t": profile}],
        "rlChirps": chirps,
        "rlFrameCfg_t": frame,
    }
    capture = {
        "rlDevDataFmtCfg_t": {"iqSwapSel": 1, "chInterleave": 1},
        "rlDevDataPathCfg_t": {"transferFmtPkt0": "0x1"},
        "rlDevLaneEnable_t": {"laneEn": "0x3"},
    }
    return {"mmWaveDevices": [{"rfConfig": rf, "rawDataCaptureConfig": capture}]}


def seeds() -> dict[str, bytes]:
    """Both files, and the first alone."""
    radar = json.dumps(_exported(), separators=(",", ":")).encode()
    card = {
        "captureHardware": "DCA1000",
        "mmWaveDevice": "awr1843",
        "DCA1000Config": {"dataLoggingMode": "raw"},
    }
    return {"radar": radar, "both": radar + b"\0" + json.dumps(card).encode()}
