"""W10: the text of the radar's configuration."""

from __future__ import annotations

import itertools
import math
import random
import re
import time
from pathlib import Path

from faults.rows import Outcome, row
from faults.wire import MIB, Complaints

from radar_pose_ros.radar.config import ConfigError, RadarConfig
from radar_pose_ros.radar.ti_config import parse_cfg

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = {  # and what is wanted of a radar that they configure
    "iwr1843.cfg": ("IWR1843", "samples"),
    "iwr6843isk.cfg": ("IWR6843ISK", "samples"),
    "iwr1843_points.cfg": ("IWR1843", "points"),
}
PIECES = (
    *(
        b"-1",
        b"1e999",
        b"\0",
        b"\xff",
        b"9" * 50,
        b"\n",
        b" ",
        b"%",
        b"inf",
        b"-",
        b"nan",
        b"0x10",
    ),
    *(b"\r\n", b"\r", b"\xef\xbb\xbf", b"\nfrobnicate 1 2 3\n", b"\nflushCfg\n", b"\nsensorStart"),
)


def _mutant(text: bytes, rng: random.Random) -> bytes:
    """A configuration file with up to eight changes: bytes, pieces, whole lines."""
    mutant = bytearray(text)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(mutant) or 1)
        kind = rng.randrange(7)
        if kind == 0:
            mutant[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            mutant[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in mutant[at:][:1])
        elif kind == 2:
            del mutant[at : at + rng.randrange(60)]
        elif kind == 3:
            mutant[at:at] = mutant[rng.randrange(len(mutant) or 1) :][: rng.randrange(80)]
        elif kind == 4:
            mutant[at:at] = rng.choice(PIECES)
        else:  # a line once more, or two of them exchanged
            lines = mutant.split(b"\n")
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            if kind == 5:
                lines.insert(one, lines[other])
            else:
                lines[one], lines[other] = lines[other], lines[one]
            mutant = bytearray(b"\n".join(lines))
    return bytes(mutant)


def _usable(config: RadarConfig) -> bool:
    """Whether what was read is a radar that there can be."""
    waveform = config.waveform
    numbers = (
        *(waveform.start_frequency_hz, waveform.slope_hz_per_s, waveform.sample_rate_hz),
        *(waveform.range_resolution_m, waveform.max_velocity_mps, waveform.frame_period_s),
    )
    return (
        all(math.isfinite(number) and number > 0 for number in numbers)
        and config.bytes_per_frame == 4 * math.prod(config.adc_shape) > 0
        and len(set(config.tx_order)) == len(config.tx_order)
    )


@row(
    "W10",
    fault="configuration files of three radars with up to eight changes; empty, binary, 10 MiB, "
    "UTF-16, other line ends, byte-order mark, commands twice and unknown",
    must_hold="a configuration, or one sentence with the line, within 1 s",
    volume=10_000,
    unit="mutated files",
)
def configuration_files(volume: int, seed: int) -> Outcome:
    """W10."""
    complaints, slowest_s, read, refused = Complaints(), 0.0, 0, 0
    texts = {name: (CONFIG / name).read_bytes() for name in FILES}
    rng = random.Random(seed)
    names = list(FILES)
    chosen = (names[number % len(names)] for number in range(volume))
    mutants = ((name, _mutant(texts[name], rng), None) for name in chosen)
    cases = itertools.chain(_special(texts), mutants)
    for number, (name, content, wanted) in enumerate(cases):
        device, output = FILES[name]
        begin_s, config, said = time.process_time(), None, ""
        try:
            config = parse_cfg(content, "mutant.cfg", device, output)
        except ConfigError as error:
            said = str(error)
        except Exception as error:
            complaints.expect(False, f"file {number} raised {error!r}")
            continue
        took_s = time.process_time() - begin_s
        slowest_s = max(slowest_s, took_s)
        complaints.expect(took_s < 1, f"file {number} took {took_s:.2f} s")
        read, refused = read + (config is not None), refused + (config is None)
        if config is not None:
            complaints.expect(_usable(config), f"file {number} gave {config.waveform}")
        else:
            one_sentence = re.fullmatch(r"mutant\.cfg line \d+: .{1,400}", said)
            complaints.expect(bool(one_sentence), f"file {number} said {said!r:.300}")
        if wanted is not None:
            fits = bool(said) and wanted in said if wanted else config is not None
            complaints.expect(fits, f"file {number} said {said!r:.300}, not {wanted!r}")
    # Changes that neither spare nor destroy everything.
    complaints.expect(volume < 1000 or read > 0.02 * volume, "hardly a file was read")
    complaints.expect(volume < 1000 or refused > 0.1 * volume, "hardly a file was refused")
    return complaints.outcome(
        f"{read + refused:,} files: {read:,} read, {refused:,} refused with their line, at most "
        f"{1e3 * slowest_s:.0f} ms"
    )


def _special(texts: dict[str, bytes]) -> list[tuple[str, bytes, str]]:
    """Files, and what must be said of them; "" where they are right."""
    found = []
    for name, text in texts.items():
        lines = text.split(b"\n")
        frame = next(line for line in lines if line.startswith(b"frameCfg"))
        guises = {
            "CRLF": text.replace(b"\n", b"\r\n"),
            "CR": text.replace(b"\n", b"\r"),
            "byte-order mark": b"\xef\xbb\xbf" + text,
            "a command twice": text + b"\n" + frame + b"\n",
            "unknown commands": text + b"\nfrobnicate 1 2 3\n",
            "tabs": text.replace(b" ", b" \t "),
        }
        found += [(name, guise, "") for guise in guises.values()]
        found += [
            (name, b"", "line 1: the file ends without"),
            (name, text.decode().encode("utf-16"), "line 1: is UTF-16"),
            (name, text + b"\n" + frame.replace(b" 100 ", b" 99 ") + b"\n", "contradicts line"),
        ]
    return [
        *found,
        (name, bytes(range(256)) * 40, "line 1: is a binary file"),
        (name, b"\n" * (10 * MIB), "more than 256 KiB"),
        (name, b"x" * (10 * MIB), "line 1: more than 256 KiB"),
        (name, text * 4000, "more than 256 KiB"),
        (name, b"profileCfg " + b"9" * 200_000, "wants 14 numbers, got 1"),
        (name, b"a\n" * 120_000, "line 120001: the file ends without"),
    ]
