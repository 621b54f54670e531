"""Bags: mcap files, their repair, and the metadata beside them."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path

from fuzz.material import folder, refusal

from radar_pose_ros import mcap_index, recording
from radar_pose_ros.recording import BagReader, BagWriter, RecordingError

_FILE = "fuzz.mcap"
_KINDS = ("file", "unchecked", "metadata")


def one_input(data: bytes) -> None:
    """Read and repair an mcap file, or read a bag whose metadata is other."""
    kind, content = _KINDS[data[0] % len(_KINDS) if data else 0], data[1:]
    with folder() as here:
        if kind == "metadata":
            (here / _FILE).write_bytes(_bag()[0])
            (here / "metadata.yaml").write_bytes(content)
            _read(here)
            return
        if kind == "unchecked":
            content = _with_checksums(content)
        (here / _FILE).write_bytes(content)
        before = _read(here / _FILE)
        _repair(here, content, before)


def _repair(here: Path, content: bytes, before: list[tuple[str, int, bytes]] | None) -> None:
    """What was repaired is whole, stays as it is, and has all that was there."""
    done: list[mcap_index.Repair] = []
    if refusal(lambda: done.append(recording.repair(here / _FILE)), RecordingError):
        assert (here / _FILE).read_bytes() == content, "refused, but changed"
        return
    after = _read(here / _FILE)
    if not done[0].changed:
        assert (here / _FILE).read_bytes() == content
        return
    assert not recording.repair(here / _FILE).changed, "a second repair changes something"
    if before is not None and after is not None and not done[0].damaged_chunks:
        assert len(after) >= len(before), "messages were lost"


def _read(path: Path) -> list[tuple[str, int, bytes]] | None:
    """Return all messages, None if they cannot be read; decode those that can be."""
    found: list[tuple[str, int, bytes]] = []

    def read() -> None:
        with BagReader(path) as reader:
            _ = reader.details, reader.counts, reader.begin_ns, reader.end_ns
            for message in reader.serialized():
                assert len(found) < 100_000, "more messages than the file can hold"
                found.append(message)
            for topic in reader.topics:
                refusal(lambda t=topic: [*reader.messages([t])], RecordingError)

    refused = refusal(read, RecordingError)
    assert not refused or str(path) in refused, f"names no file: {refused}"
    return None if refused else found


def _with_checksums(content: bytes) -> bytes:
    """Make the checksums of uncompressed chunks right, so that what is in them is read."""
    made, at = bytearray(content), len(mcap_index.MAGIC)
    while at + 49 < len(made):
        end = at + 9 + int.from_bytes(made[at + 1 : at + 9], "little")
        if end > len(made):
            break
        if made[at] == mcap_index._CHUNK:
            head = at + 9 + 32 + int.from_bytes(made[at + 37 : at + 41], "little") + 8
            checksum = zlib.crc32(made[head:end])
            made[at + 33 : at + 37] = checksum.to_bytes(4, "little")
        at = end
    return bytes(made)


@functools.cache
def _bag() -> tuple[bytes, bytes]:
    """Return a small bag: its mcap file and its metadata."""
    with folder() as here:
        kind = "std_msgs/msg/String"
        made = recording.message_class(kind)
        with BagWriter(here / "bag") as writer:
            writer.add_topic("/latched", kind, latched=True)
            writer.describe("made", "of seeds")
            for number in range(3):
                writer.write_message("/words", 10**18 + number, made(data=f"word {number}"))
                writer.flush()
            writer.write_message("/latched", 10**18 + 9, made(data="last"))
        (file,) = (here / "bag").glob("*.mcap")
        metadata = (here / "bag" / "metadata.yaml").read_text()
        return file.read_bytes(), metadata.replace(file.name, _FILE).encode()


def seeds() -> dict[str, bytes]:
    """A bag that is whole, one whose recorder was killed, and metadata."""
    file, metadata = _bag()
    return {
        "whole": b"\0" + file,
        "cut": b"\0" + file[: 2 * len(file) // 3],
        "unchecked": b"\1" + file,
        "metadata": b"\2" + metadata,
    }
