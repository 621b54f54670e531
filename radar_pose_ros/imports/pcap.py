"""``radar-pose import pcap``: what a DCA1000 sent, as tcpdump or Wireshark captured it.

The packets go through the code that takes them from a socket: what is missing is zero, marked per
chirp and counted to the byte, and frames that lack too much are dropped, as by the driver. Stamps
are the capture's: when a frame's first packet came.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from radar_pose_ros.imports import samples, writing
from radar_pose_ros.imports.writing import NANOSECONDS, Timed
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.ports import DATA_PORT, FileFrameSource


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``radar-pose import pcap``."""
    parser.description = "Captured packets of a DCA1000 become a bag of frames."
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FILE",
        help="a classic .pcap; two are those of radar_h and radar_v",
    )
    parser.add_argument(
        "--card",
        nargs="+",
        default=[],
        metavar="IP",
        help="address of the card whose packets are wanted (default: the first that sent); two "
        "are those of radar_h and radar_v",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DATA_PORT,
        help="that the packets were sent to (default %(default)s)",
    )
    parser.add_argument(
        "--max-missing",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="frames that lack more of their bytes are dropped (default %(default)s)",
    )
    samples.add_radar_arguments(parser)
    writing.add_out_argument(parser)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"want a number from 0 to 1, got {text!r}")
    return value


def import_bag(arguments: argparse.Namespace) -> int:
    """Carry out ``radar-pose import pcap``.

    Raises
    ------
    FileNotFoundError, ConfigError, PortError, RecordingError, ValueError
        If a file cannot be read or does not hold a frame, or the bag exists already.
    """
    config = samples.read_config(arguments)
    sources, cards = arguments.sources, arguments.card or [None]
    if len(sources) == 1:
        sources = sources * len(cards)
    if len(cards) == 1:
        cards = cards * len(sources)
    if len(cards) != len(sources):
        raise ValueError(f"{len(sources)} files, but {len(cards)} addresses of cards")
    wanted = samples.by_radar(list(zip(sources, cards, strict=True)), arguments.radar, "capture")
    notes: list[str] = []
    streams = {
        radar: frames(path, radar, config, card, arguments.port, arguments.max_missing, notes)
        for radar, (path, card) in wanted.items()
    }
    writing.write(arguments.out, samples.merged(streams), notes)
    return 0


def frames(
    path: str | Path,
    radar: str,
    config: RadarConfig,
    card_ip: str | None,
    port: int,
    max_missing: float,
    notes: list[str],
) -> Iterator[Timed]:
    """Yield a radar's configuration and all frames of a capture, then note what was lost.

    Parameters
    ----------
    path : path
    radar : str
        Its namespace.
    config : RadarConfig
    card_ip, port, max_missing
        As of `FileFrameSource`.
    notes : list of str
        Gets what was lost, and whether the file was cut off.

    Raises
    ------
    PortError
        If the file cannot be read.
    ValueError
        If no frame came of it.
    """
    if Path(path).suffix != ".pcap":
        raise ValueError(f"{path}: want a capture that ends in .pcap")

    def note(sentence: str) -> None:
        if sentence not in notes:  # a file of two cards is read for each
            notes.append(sentence)

    source = FileFrameSource(
        path,
        config,
        card_ip=card_ip,
        data_port=port,
        max_missing_ratio=max_missing,
        report=note,
    )
    with source:
        source.start()
        yield from samples.frames_of(
            radar,
            config,
            source.frames(),
            lambda frame: (
                int(frame.first_packet_s * NANOSECONDS),
                int(frame.last_packet_s * NANOSECONDS),
            ),
        )
    counts = source.statistics.assembler
    said = (
        f"{counts.packets_accepted} packets, {counts.packets_lost} lost; "
        f"{counts.bytes_missing} bytes missing; frames: {counts.frames_complete} complete, "
        f"{counts.frames_incomplete} with gaps, {counts.frames_dropped} dropped as they lack more "
        f"than {100 * max_missing:g} %, {counts.frames_lost} of which nothing came"
    )
    if not counts.frames_complete + counts.frames_incomplete:
        hint = " (--max-missing 1 keeps all)" if counts.frames_dropped else ""
        sent = "" if counts.datagrams else f": no datagram to port {port}"
        raise ValueError(f"{path}: no frame of {config.bytes_per_frame} bytes{sent}; {said}{hint}")
    notes.append(f"{path}: {said}")
