"""Frames of raw samples from files, as the driver of that radar publishes them."""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from radar_pose_ros import resources
from radar_pose_ros.datasets.hupr import Layout
from radar_pose_ros.imports import messages
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.radar.assembler import AssembledFrame
from radar_pose_ros.radar.config import DEVICES, RadarConfig
from radar_pose_ros.radar.ti_config import load_cfg, load_mmwave_studio

RADARS = ("radar_h", "radar_v")

# From a frame to its stamp and to when it had been received, ns.
TimesOf = Callable[[AssembledFrame], tuple[int, int]]


def add_radar_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which radar, and how it was set up."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="how the radar was set up: commands as sent to it (.cfg), what mmWave Studio exports "
        "(.mmwave.json), or a data set's layout (.yaml, as config/hupr.yaml)",
    )
    parser.add_argument(
        "--device",
        default=DEVICES[0],
        choices=DEVICES,
        help="the board, which a .cfg does not name (default %(default)s)",
    )
    parser.add_argument(
        "--iq-order", default="auto", choices=("auto", "IQ", "QI"), help="default: as FILE says"
    )
    parser.add_argument(
        "--radar",
        choices=RADARS,
        help=f"whose namespace a single radar's topics get (default {RADARS[0]})",
    )


def read_config(arguments: argparse.Namespace) -> RadarConfig:
    """Return the configuration that `add_radar_arguments` asks for.

    Raises
    ------
    FileNotFoundError, ConfigError
        If there is none, or it cannot be used.
    """
    path = resources.resolve(arguments.config, "config")
    if path.suffix == ".json":
        config = load_mmwave_studio(path)
    elif path.suffix in (".yaml", ".yml"):
        config = Layout.load(path).radar
    else:
        config = load_cfg(path, arguments.device)
    if arguments.iq_order != "auto":
        config = replace(config, iq_order=arguments.iq_order)
    return config


def by_radar(sources: Sequence[Any], radar: str | None, what: str) -> dict[str, Any]:
    """Return whose each source is: of one radar, or of both in the order of `RADARS`.

    Raises
    ------
    ValueError
        If there are more, or a radar is named for two.
    """
    if len(sources) == 1:
        return {radar or RADARS[0]: sources[0]}
    if len(sources) > len(RADARS):
        raise ValueError(
            f"want one {what}, or two, of {' and '.join(RADARS)}, got {len(sources)}; parts of "
            "one recording are to be joined first (cat)"
        )
    if radar is not None:
        raise ValueError(f"--radar is for a single {what}; two are of {' and '.join(RADARS)}")
    return dict(zip(RADARS, sources, strict=True))


def frames_of(
    radar: str, config: RadarConfig, frames: Iterator[AssembledFrame], times: TimesOf
) -> Iterator[Timed]:
    """Yield a radar's configuration and its frames; nothing if there is no frame.

    The configuration comes a period before the first frame, so that readers know it by then; when
    it took effect is in no file.
    """
    frame_id = f"{radar}_link"
    period_ns = round(config.waveform.frame_period_s * NANOSECONDS)
    for number, frame in enumerate(frames):
        stamp_ns, received_ns = times(frame)
        if not number:
            before_ns = max(1, stamp_ns - period_ns)
            about = messages.radar_config(config, before_ns, frame_id)
            yield Timed(before_ns, f"/{radar}/radar_config", about)
        message = messages.adc_frame(frame, config, stamp_ns, frame_id)
        yield Timed(received_ns, f"/{radar}/adc", message)


def merged(streams: Mapping[str, Iterator[Timed]]) -> Iterator[Timed]:
    """Yield the messages of several streams in the order of their times."""
    return heapq.merge(*streams.values(), key=lambda item: item.received_ns)
