"""Repairs an mcap file whose writer was killed, or which was damaged: what is whole gets an index.

The format is that of https://mcap.dev/spec. Readers that find no index have to scan the file, and
some refuse to if messages of several topics do not stand in order of time, which they seldom do.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from rosbags.rosbag2 import ReaderError, storage_mcap

MAGIC = b"\x89MCAP0\r\n"
_HEADER_BYTES = 9  # of a record: opcode and length
CHECKSUM_PLACE = _HEADER_BYTES + 24  # in the record of a chunk
_FOOTER_BYTES = _HEADER_BYTES + 20 + len(MAGIC)
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
_MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS, _DATA_END = 0x07, 0x08, 0x0B, 0x0F
_ATTACHMENT, _ATTACHMENT_INDEX, _METADATA, _METADATA_INDEX = 0x09, 0x0A, 0x0C, 0x0D
_SKIPPED = 0x80  # an opcode that is nobody's, so that all readers skip the record
_DATA_END_BYTES = _HEADER_BYTES + 4
_MAX_RECORD_BYTES = 1 << 32
LARGEST_CHUNK_BYTES = 1 << 28  # unpacked; recorders make chunks of about 1 MB [choice]


@dataclass
class _Chunk:
    """What the index says of a chunk."""

    begin: int
    end: int
    start_ns: int
    end_ns: int
    compression: bytes
    compressed_bytes: int
    bytes: int
    offsets: dict[int, int] = field(default_factory=dict)  # by channel, place of its index
    index_end: int = 0


@dataclass(frozen=True)
class Repair:
    """What was done to a file.

    Parameters
    ----------
    cut_bytes : int
        Cut off at its end: of a record that was not finished.
    damaged_chunks : int
        Left out, for they cannot be read.
    changed : bool
        Whether the file is another one than before, though nothing may be lost.
    """

    cut_bytes: int
    damaged_chunks: int
    changed: bool


def _unpacked(make: Callable[[], Any], data: bytes, size: int) -> bytes:
    """Return what was compressed, but not much more than the size that the file states."""
    if size > LARGEST_CHUNK_BYTES:
        raise ReaderError(f"{size} bytes in a chunk, {LARGEST_CHUNK_BYTES} are allowed")
    unpacker = make()
    unpacked: bytes = unpacker.decompress(data, max_length=size + 1)
    if len(unpacked) <= size and not unpacker.eof:
        raise ReaderError("what is compressed does not end")
    return unpacked


def unpacked_zstd(data: bytes, size: int = LARGEST_CHUNK_BYTES) -> bytes:
    """Return what was compressed by Zstandard, with an error for what is larger."""
    found = _unpacked(storage_mcap.zstd.ZstdDecompressor, data, size)
    if len(found) > size:
        raise ReaderError(f"more than {size} bytes come out of what is compressed")
    return found


# The library's own take memory for whatever comes of it, and look at its length then.
storage_mcap.DECOMPRESSORS.update(
    lz4=partial(_unpacked, sys.modules["lz4.frame"].LZ4FrameDecompressor),  # the library's
    zstd=unpacked_zstd,
)


class _Contents:
    """What is found in the file, in the order in which it is found."""

    def __init__(self) -> None:
        self.schemas: dict[int, bytes] = {}
        self.channels: dict[int, bytes] = {}
        self.chunks: list[_Chunk] = []
        # Of the last chunk, by channel: when messages were received, and where in it they are.
        self.messages: dict[int, list[tuple[int, int]]] = {}
        self.damaged = 0  # chunks that cannot be read
        self.skipped: list[int] = []  # where what readers are to skip begins
        self.attachments: list[bytes] = []  # what the index says of them
        self.metadata: list[bytes] = []
        self.end = len(MAGIC)  # behind the last complete record of the data
        self.summary = 0  # behind the record that ends the data; 0 if there is none
        self.counts: dict[int, int] = {}
        self.times_ns: list[int] = []  # the first and the last

    def add(self, opcode: int, content: bytes) -> None:
        """Take a record: a schema, a channel or a message; others say nothing of the index."""
        if opcode == _SCHEMA:
            self.schemas[_number(content)] = content
        elif opcode == _CHANNEL:
            self.channels[_number(content)] = content
        elif opcode == _MESSAGE:
            channel, time_ns = _of_message(content)
            self.counts[channel] = self.counts.get(channel, 0) + 1
            seen = [*self.times_ns, time_ns]
            self.times_ns = [min(seen), max(seen)]


def has_end(stream: BinaryIO) -> bool:
    """Return whether the file was closed; ``ValueError`` if it is no mcap file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("not an mcap file")
    if size < len(MAGIC) + _FOOTER_BYTES:
        return False
    stream.seek(-len(MAGIC), os.SEEK_END)
    return stream.read() == MAGIC


def _summary(stream: BinaryIO, size: int) -> int:
    """Return where the index of a file that was closed begins; 0 if it has none that is whole."""
    stream.seek(-_FOOTER_BYTES, os.SEEK_END)
    opcode, length, summary, _, checksum = struct.unpack("<BQQQI", stream.read(_HEADER_BYTES + 20))
    if (opcode, length) != (_FOOTER, 20) or not len(MAGIC) + _DATA_END_BYTES <= summary < size:
        return 0
    stream.seek(summary - _DATA_END_BYTES)
    content = stream.read()
    whole = checksum in (0, zlib.crc32(content[_DATA_END_BYTES : -4 - len(MAGIC)]))
    return int(summary) if whole and content[0] == _DATA_END else 0


def repair(stream: BinaryIO) -> Repair:
    """Give a file an end and an index; what was closed, has both and is whole stays as it is.

    An unfinished record at the end is cut off. A chunk whose messages cannot be read stays where
    it is, with the indexes of its messages, but readers skip both.

    Raises
    ------
    ValueError
        If it is no mcap file, or it was closed and what comes after a damaged place cannot be
        found.
    """
    ended = has_end(stream)
    size = stream.seek(0, os.SEEK_END)
    summary = _summary(stream, size) if ended else 0
    try:
        contents = _scan(stream, size, summary)
        lost = ended and (not contents.summary or summary not in (0, contents.summary))
    except struct.error:  # a record is shorter than what it has to hold
        lost = True
    if lost:
        raise ValueError("damaged so that what comes after the damage cannot be found")
    if summary and not contents.damaged:
        return Repair(0, 0, changed=False)
    for begin in contents.skipped:
        stream.seek(begin)
        stream.write(bytes([_SKIPPED]))
    stream.seek(contents.end)
    stream.truncate()
    if contents.end == len(MAGIC):
        _write(stream, _HEADER, struct.pack("<I4sI", 4, b"ros2", 0))
    last = contents.chunks[-1] if contents.chunks else None
    if last and last.index_end == contents.end and {*last.offsets} != {*contents.messages}:
        # The writer was killed before it had done that.
        _index_messages(stream, last, contents.messages)
    _write(stream, _DATA_END, struct.pack("<I", 0))  # no checksum
    _write_summary(stream, contents)
    cut_bytes = 0 if contents.summary else size - contents.end
    return Repair(cut_bytes, contents.damaged, changed=True)


def _index_messages(
    stream: BinaryIO, chunk: _Chunk, messages: dict[int, list[tuple[int, int]]]
) -> None:
    """Write behind a chunk, the last of all, where its messages are."""
    stream.seek(chunk.end)
    stream.truncate()
    chunk.offsets.clear()
    for channel, found in messages.items():
        chunk.offsets[channel] = stream.tell()
        entries = b"".join(struct.pack("<QQ", *entry) for entry in found)
        _write(stream, _MESSAGE_INDEX, struct.pack("<HI", channel, len(entries)) + entries)
    chunk.index_end = stream.tell()


def _scan(stream: BinaryIO, size: int, summary: int = 0) -> _Contents:
    """Return what the file holds; `summary` is where it says that its index begins, if it does."""
    contents = _Contents()
    # It repeats what chunks say of topics, also those that are damaged.
    for opcode, position, end in _places(stream, summary, size) if summary else ():
        if opcode in (_SCHEMA, _CHANNEL):
            contents.add(opcode, _content(stream, position, end))
    chunk: _Chunk | None = None  # whose index records come
    for opcode, position, end in _places(stream, len(MAGIC), size):
        if opcode == _DATA_END:
            contents.summary = end
            break
        if opcode == _CHUNK:
            chunk = _read_chunk(_content(stream, position, end), position, end, contents)
        elif opcode == _SKIPPED:
            chunk = None
        elif opcode == _MESSAGE_INDEX and chunk is None:
            contents.skipped.append(position)
        elif opcode == _MESSAGE_INDEX and chunk is not None:
            chunk.offsets[_number(_content(stream, position, end))] = position
            chunk.index_end = end
        elif opcode in (_METADATA, _ATTACHMENT):
            place = struct.pack("<QQ", position, end - position)
            entries = contents.metadata if opcode == _METADATA else contents.attachments
            try:
                entries.append(place + _about(opcode, _content(stream, position, end)))
            except struct.error:
                contents.skipped.append(position)
        elif opcode in (_SCHEMA, _CHANNEL, _MESSAGE):
            contents.add(opcode, _content(stream, position, end))
        contents.end = end
    return contents


def _places(stream: BinaryIO, begin: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, begin and end of the complete records before the footer."""
    position = begin
    while position + _HEADER_BYTES <= size:
        stream.seek(position)
        opcode, length = struct.unpack("<BQ", stream.read(_HEADER_BYTES))
        end = position + _HEADER_BYTES + length
        if end > size or length > _MAX_RECORD_BYTES or opcode == _FOOTER:
            return
        yield opcode, position, end
        position = end


def _content(stream: BinaryIO, position: int, end: int) -> bytes:
    stream.seek(position + _HEADER_BYTES)
    return stream.read(end - position - _HEADER_BYTES)


def _read_chunk(content: bytes, begin: int, end: int, contents: _Contents) -> _Chunk | None:
    """Add what is in a chunk to the contents; return None if it cannot be read."""
    try:
        bytes_, checksum, length = struct.unpack_from("<16xQII", content)
        compression = content[32 : 32 + length]
        packed = content[40 + length :]
        data = storage_mcap.decompress(packed, compression.decode(), bytes_, checksum)
        records = list(_records(data))
        messages: dict[int, list[tuple[int, int]]] = {}
        for opcode, place, record in records:
            if opcode == _MESSAGE:
                channel, time_ns = _of_message(record)
                messages.setdefault(channel, []).append((time_ns, place))
        announced = {_number(record) for opcode, _, record in records if opcode == _CHANNEL}
        if unknown := messages.keys() - contents.channels.keys() - announced:
            raise ReaderError(f"nobody says what the channels {unknown} are")
    except Exception:  # of a damaged chunk, libraries that unpack it raise what they like
        contents.damaged += 1
        contents.skipped.append(begin)
        return None
    for opcode, _, record in records:
        contents.add(opcode, record)
    times_ns = [time_ns for found in messages.values() for time_ns, _ in found] or [0]
    chunk = _Chunk(
        *(begin, end, min(times_ns), max(times_ns), compression, len(packed), bytes_),
        index_end=end,
    )
    contents.chunks.append(chunk)
    contents.messages = messages
    return chunk


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield opcode, place and content of what is in a chunk; ``ReaderError`` if it ends early."""
    position = 0
    while position < len(data):
        opcode, length = struct.unpack_from("<BQ", data, position)
        end = position + _HEADER_BYTES + length
        if end > len(data):
            raise ReaderError(f"a record of {length} bytes does not end in its chunk")
        yield opcode, position, data[position + _HEADER_BYTES : end]
        position = end


def _number(content: bytes) -> int:
    return int(struct.unpack_from("<H", content)[0])


def _about(opcode: int, content: bytes) -> bytes:
    """Return what the index says of metadata or an attachment beside its place."""
    if opcode == _METADATA:
        return _text(content, 0)
    name = _text(content, 16)  # behind two times
    kind = _text(content, 16 + len(name))
    (size,) = struct.unpack_from("<8s", content, 16 + len(name) + len(kind))
    return content[:16] + bytes(size) + name + kind


def _text(content: bytes, place: int) -> bytes:
    """Return the text there, as it is written: its length before it."""
    (length,) = struct.unpack_from("<I", content, place)
    return bytes(struct.unpack_from(f"{4 + length}s", content, place)[0])


def _of_message(content: bytes) -> tuple[int, int]:
    """Return the channel of a message, and when it was received."""
    channel, _, time_ns = struct.unpack_from("<HIQ", content)
    return channel, time_ns


def _write(stream: BinaryIO, opcode: int, content: bytes) -> None:
    stream.write(struct.pack("<BQ", opcode, len(content)) + content)


def _write_summary(stream: BinaryIO, contents: _Contents) -> None:
    summary = stream.tell()
    for opcode, records in ((_SCHEMA, contents.schemas), (_CHANNEL, contents.channels)):
        for content in records.values():
            _write(stream, opcode, content)
    for c in contents.chunks:
        place = struct.pack("<QQQQ", c.start_ns, c.end_ns, c.begin, c.end - c.begin)
        offsets = b"".join(struct.pack("<HQ", *entry) for entry in c.offsets.items())
        _write(
            stream,
            _CHUNK_INDEX,
            place
            + struct.pack("<I", len(offsets))
            + offsets
            + struct.pack("<QI", c.index_end - c.end, len(c.compression))
            + c.compression
            + struct.pack("<QQ", c.compressed_bytes, c.bytes),
        )
    of_kind = {_ATTACHMENT_INDEX: contents.attachments, _METADATA_INDEX: contents.metadata}
    for opcode, entries in of_kind.items():
        for content in entries:
            _write(stream, opcode, content)
    counts = b"".join(struct.pack("<HQ", *entry) for entry in sorted(contents.counts.items()))
    found = (contents.schemas, contents.channels, contents.attachments, contents.metadata)
    kinds = [*map(len, found), len(contents.chunks)]
    total = sum(contents.counts.values())
    times_ns = contents.times_ns or [0, 0]
    numbers = struct.pack("<QHIIIIQQI", total, *kinds, *times_ns, len(counts))
    _write(stream, _STATISTICS, numbers + counts)
    # No offsets into the summary, no checksum.
    _write(stream, _FOOTER, struct.pack("<QQI", summary, 0, 0))
    stream.write(MAGIC)
