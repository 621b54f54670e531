"""Bags: ordinary rosbag2 folders in mcap format, written and read without a ROS installation.

Messages are stored as the bytes that came over the wire, so a recorder decodes nothing. The
definitions of this package's own messages are read from its ``msg`` folder and stored in the bag:
a reader elsewhere needs nothing of this package.

A recorder can be killed at any moment. Everything up to the last `BagWriter.flush` is then on the
disk, and `repair` makes the bag readable again.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from radar_pose_ros.resources import PACKAGE, share_directory

# Version 8 of the metadata is what ROS 2 Iron wrote first; every later release reads it.
_METADATA_VERSION: Literal[8] = 8
_MCAP_MAGIC = b"\x89MCAP0\r\n"
_MCAP_DATA_END, _MCAP_FOOTER = 0x0F, 0x02
_MCAP_FIRST_SUMMARY_OPCODES = (_MCAP_DATA_END, _MCAP_FOOTER)
_MAX_MCAP_RECORD_BYTES = 1 << 32
_ENDLESS = QosTime(0x7FFFFFFF, 0xFFFFFFFF)


class RecordingError(RuntimeError):
    """A bag that cannot be written or read: says which, why, and what helps."""


@dataclass(frozen=True)
class Recorded:
    """One message of a bag.

    Parameters
    ----------
    topic : str
        Its absolute name.
    received_ns : int
        When the recorder received it, nanoseconds since 1970.
    message : object
        Fields as attributes; arrays of numbers are numpy arrays.
    """

    topic: str
    received_ns: int
    message: Any


def message_directory() -> Path:
    """Return the folder with this package's ``.msg`` files.

    Raises `RecordingError` if it is not there.
    """
    try:
        folder = share_directory() / "msg"
    except FileNotFoundError as error:
        raise RecordingError(str(error)) from error
    if not (folder / "RadarAdcFrame.msg").is_file():
        raise RecordingError(f"there are no message definitions in {folder}")
    return folder


@lru_cache(maxsize=1)
def type_store() -> Typestore:
    """Return the types of ROS 2 and of this package, by names such as ``std_msgs/msg/Header``."""
    store = get_typestore(Stores.ROS2_KILTED)
    definitions: dict[str, Any] = {}
    for path in sorted(message_directory().glob("*.msg")):
        name = f"{PACKAGE}/msg/{path.stem}"
        try:
            definitions.update(get_types_from_msg(path.read_text(encoding="utf-8"), name))
        except TypesysError as error:
            raise RecordingError(f"{path}: {error}") from error
    store.register(definitions)
    return store


def _store_of(connection: Connection) -> Typestore:
    """Return types with which a recorded topic can be read: as they were when it was recorded."""
    store = type_store()
    definition, kind = connection.msgdef, connection.msgtype
    if definition.format != MessageDefinitionFormat.MSG or not definition.data:
        return store
    try:
        if kind in store.types and store.generate_msgdef(kind)[0] == definition.data:
            return store
        recorded = get_types_from_msg(definition.data, kind)
        own = {name: fields for name, fields in recorded.items() if name.startswith(PACKAGE)}
        earlier = get_typestore(Stores.ROS2_KILTED)
        earlier.register(own)
    except TypesysError:
        return store
    return earlier if kind in own else store


def message_class(type_name: str) -> Any:
    """Return the class that stands for a message type, to be called with its fields by name."""
    store = type_store()
    if type_name not in store.types:
        raise RecordingError(f"message type {type_name!r} is not known")
    return store.types[type_name]


def _qos(reliable: bool, latched: bool, depth: int) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_ENDLESS,
        lifespan=_ENDLESS,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_ENDLESS,
        avoid_ros_namespace_conventions=False,
    )


class BagWriter:
    """Writes a rosbag2 folder in mcap format.

    Parameters
    ----------
    path : path
        The folder to make; it must not exist yet.

    Raises
    ------
    RecordingError
        If the folder exists or cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._connections: dict[str, Connection] = {}
        if self.path.exists():
            raise RecordingError(f"{self.path} exists already; a bag is never overwritten")
        self._writer = Writer(
            self.path, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
        )
        try:
            self._writer.open()
        except OSError as error:
            raise RecordingError(f"cannot make the bag {self.path}: {error.strerror}") from error
        self._open = True

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return {topic: self._writer.counts[c.id] for topic, c in self._connections.items()}

    def add_topic(
        self,
        topic: str,
        type_name: str,
        *,
        reliable: bool = True,
        latched: bool = False,
        depth: int = 10,
    ) -> None:
        """Announce a topic, with the quality of service that a replay should offer.

        Raises `RecordingError` if the type is not known or the topic has another type already.
        """
        if topic in self._connections:
            known = self._connections[topic].msgtype
            if known != type_name:
                raise RecordingError(f"{topic} is recorded as {known}, not as {type_name}")
            return
        message_class(type_name)
        self._connections[topic] = self._writer.add_connection(
            topic,
            type_name,
            typestore=type_store(),
            offered_qos_profiles=[_qos(reliable, latched, depth)],
        )

    def write(self, topic: str, received_ns: int, serialized: bytes | memoryview) -> None:
        """Store a message as it came over the wire (CDR with its four-byte header)."""
        if topic not in self._connections:
            raise RecordingError(f"{topic} was not announced with add_topic")
        self._writer.write(self._connections[topic], received_ns, serialized)

    def write_message(self, topic: str, received_ns: int, message: Any) -> None:
        """Store an object made from `message_class`; the topic is announced when it is new."""
        type_name = message.__msgtype__
        self.add_topic(topic, type_name)
        self.write(topic, received_ns, type_store().serialize_cdr(message, type_name))

    def flush(self) -> None:
        """Hand everything written so far to the operating system.

        The mcap writer collects messages in chunks of 1 MiB, which would take minutes to fill with
        poses alone.
        """
        storage: Any = self._writer.storage
        if storage is None:
            return
        if storage.chunk.msgs:
            storage.close_chunk()
        storage.bio.flush()

    def close(self) -> None:
        """Write the index and ``metadata.yaml``. Closing twice does no harm."""
        if not self._open:
            return
        self._open = False
        self._writer.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class BagReader:
    """Reads a rosbag2 folder, or a single mcap file, into objects with numpy arrays.

    Parameters
    ----------
    path : path
        The folder (or the ``.mcap`` file in it).

    Raises
    ------
    RecordingError
        If there is no bag, or it was not closed (see `repair`).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise RecordingError(f"{self.path}: there is no such bag")
        target = self.path
        if target.is_dir() and not (target / "metadata.yaml").exists():
            # A recorder that was killed leaves no metadata; the mcap file says all of it too.
            target = _mcap_file(target)
        try:
            self._reader = Reader(target)
            self._reader.open()
        except (ReaderError, FileNotFoundError, PermissionError, struct.error) as error:
            raise RecordingError(
                f"{self.path} cannot be read: {error} If its recorder was killed, "
                f"radar_pose_ros.recording.repair({str(self.path)!r}) saves what was written"
            ) from error

    @property
    def topics(self) -> dict[str, str]:
        """Message type of each topic."""
        return {c.topic: c.msgtype for c in self._reader.connections}

    @property
    def counts(self) -> dict[str, int]:
        """Number of messages of each topic."""
        return {c.topic: c.msgcount for c in self._reader.connections}

    def serialized(self, topics: Iterable[str] | None = None) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, receive time in ns, bytes) in order of receive time."""
        for connection, received_ns, data in self._raw(topics):
            yield connection.topic, received_ns, bytes(data)

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[Recorded]:
        """Yield decoded messages of these topics (default: all) in order of receive time.

        Messages of an older version of this package have the fields that they had then.

        Raises
        ------
        RecordingError
            If a message does not fit its definition.
        """
        stores = {c.id: _store_of(c) for c in self._reader.connections}
        for connection, received_ns, data in self._raw(topics):
            try:
                message = stores[connection.id].deserialize_cdr(data, connection.msgtype)
            except (SerdeError, KeyError) as error:
                raise RecordingError(
                    f"{self.path}: {connection.topic} holds a message that is no "
                    f"{connection.msgtype}: {error}"
                ) from error
            yield Recorded(connection.topic, received_ns, message)

    def _raw(self, topics: Iterable[str] | None) -> Iterator[tuple[Connection, int, bytes]]:
        wanted = None if topics is None else set(topics)
        connections = [c for c in self._reader.connections if wanted is None or c.topic in wanted]
        if not connections:  # an empty list would mean "all" to the library
            return
        try:
            yield from self._reader.messages(connections=connections)
        except (ReaderError, struct.error) as error:
            raise RecordingError(f"{self.path}: {error}") from error

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _mcap_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.mcap"))
    if len(files) != 1:
        raise RecordingError(f"{path}: expected one .mcap file in it, found {len(files)}")
    return files[0]


def repair(path: str | Path) -> int:
    """Make a bag readable whose recorder was killed, in place.

    The mcap file is cut after its last complete record and closed with an empty summary, which
    tells readers to scan the data. A bag that was closed properly is left as it is.

    Parameters
    ----------
    path : path
        The bag's folder, or the ``.mcap`` file.

    Returns
    -------
    int
        Bytes that were cut off.

    Raises
    ------
    RecordingError
        If this is not an mcap file.
    """
    file = _mcap_file(Path(path))
    with file.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        if stream.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC:
            raise RecordingError(f"{file} is not an mcap file")
        if size >= 2 * len(_MCAP_MAGIC):
            stream.seek(-len(_MCAP_MAGIC), os.SEEK_END)
            if stream.read() == _MCAP_MAGIC:
                return 0
        end = _end_of_data(stream, size)
        stream.seek(end)
        stream.truncate()
        # DataEnd: no checksum. Footer: no summary section, no offsets, no checksum.
        stream.write(struct.pack("<BQI", _MCAP_DATA_END, 4, 0))
        stream.write(struct.pack("<BQQQI", _MCAP_FOOTER, 20, 0, 0, 0))
        stream.write(_MCAP_MAGIC)
    return size - end


def _end_of_data(stream: Any, size: int) -> int:
    """Return the position behind the last complete record before the summary."""
    position = len(_MCAP_MAGIC)
    while position + 9 <= size:
        stream.seek(position)
        opcode, length = struct.unpack("<BQ", stream.read(9))
        end = position + 9 + length
        if end > size or length > _MAX_MCAP_RECORD_BYTES or opcode in _MCAP_FIRST_SUMMARY_OPCODES:
            break
        position = end
    return position


def stamp_s(message: Any) -> float:
    """Return a message's ``header.stamp`` in seconds since 1970."""
    stamp = message.header.stamp
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def stamp_ns(message: Any) -> int:
    """Return a message's ``header.stamp`` in nanoseconds since 1970: exact, to match by."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def topic_named(topics: Iterable[str], name: str) -> str:
    """Return the one topic whose name ends in ``/name``, in whatever namespace.

    If all others are further down in its own namespace (``refined/name``), it is still the one.
    Raises `RecordingError` if there is none, or more than one.
    """
    found = [t for t in topics if re.fullmatch(rf"(/[^/]+)*/{re.escape(name)}", t)]
    for topic in found:
        namespace = topic.removesuffix(name)
        if all(other.startswith(namespace) for other in found):
            return topic
    if len(found) != 1:
        what = "no topic" if not found else f"{len(found)} topics ({', '.join(sorted(found))})"
        raise RecordingError(f"expected one topic named .../{name}, found {what}")
    return found[0]
