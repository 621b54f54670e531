"""Bags: ordinary rosbag2 folders in mcap format, written and read without a ROS installation.

Messages are stored as the bytes that came over the wire, so a recorder decodes nothing. The
definitions of this package's own messages are read from its ``msg`` folder and stored in the bag:
a reader elsewhere needs nothing of this package.

A recorder can be killed at any moment. Everything up to the last `BagWriter.flush` is then on the
disk, and `repair` makes the bag readable again.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml
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
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from radar_pose_ros import mcap_index
from radar_pose_ros.resources import PACKAGE, share_directory

# Version 8 of the metadata is what ROS 2 Iron wrote first; every later release reads it.
_METADATA_VERSION: Literal[8] = 8
_ENDLESS = QosTime(0x7FFFFFFF, 0xFFFFFFFF)
_DEPTH = 10  # of the queue of a topic that does not say

LEVELS = ("adc", "heatmap", "pose")
"""From where on what a bag holds can be computed again."""

_ADC, _CONFIG, _HEATMAP = (
    f"{PACKAGE}/msg/{name}" for name in ("RadarAdcFrame", "RadarConfig", "RadarHeatmap")
)
_POSES = (f"{PACKAGE}/msg/HumanPose2DArray", f"{PACKAGE}/msg/HumanPose3DArray")
_POINTS, _TRANSFORMS = "sensor_msgs/msg/PointCloud2", "tf2_msgs/msg/TFMessage"
_TYPES_OF_LEVEL = {
    "adc": (_ADC, _CONFIG, _POINTS, _TRANSFORMS),
    "heatmap": (_HEATMAP, _CONFIG, _TRANSFORMS),
    "pose": (*_POSES, f"{PACKAGE}/msg/SkeletonDefinition", _TRANSFORMS),
}
_SIMULATED = "simulation"  # the model of poses that are the truth of an emulator


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


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Parameters
    ----------
    name, type_name : str
    count : int
        Number of messages.
    reliable, latched : bool
        What those who published it offered; reliable and not latched if the bag does not say.
    depth : int
        Of their queue.
    as_today : bool
        Whether its type is defined as it is here; true of types that are not known here.
    """

    name: str
    type_name: str
    count: int
    reliable: bool
    latched: bool
    depth: int
    as_today: bool


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


def _recorded_types(connection: Connection) -> dict[str, Any]:
    """Return the types that the bag defines for a topic, which may be none."""
    definition = connection.msgdef
    if definition.format != MessageDefinitionFormat.MSG or not definition.data:
        return {}
    try:
        return dict(get_types_from_msg(definition.data, connection.msgtype))
    except TypesysError:
        return {}


def _is_as_today(recorded: dict[str, Any]) -> bool:
    """Whether what a bag defines is defined alike here, as far as it is known here."""
    known = type_store().fielddefs
    return all(known[name][1] == fields[1] for name, fields in recorded.items() if name in known)


def _store_of(connection: Connection) -> Typestore:
    """Return types with which a recorded topic can be read: as they were when it was recorded."""
    recorded = _recorded_types(connection)
    known = type_store().types
    if all(name in known for name in recorded) and _is_as_today(recorded):
        return type_store()
    store = get_typestore(Stores.ROS2_KILTED)
    ours_or_new = {
        name: fields
        for name, fields in recorded.items()
        if name.startswith(PACKAGE) or name not in known
    }
    try:
        store.register(ours_or_new)
    except TypesysError:
        return type_store()
    return store


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
        self.flush()  # even a recorder that is killed at once leaves a bag

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
    """Reads a rosbag2 folder, or a single mcap or sqlite3 file, into objects with numpy arrays.

    What it says of topics, counts and times is from the files themselves: ``metadata.yaml`` may be
    missing or speak of another quality of service than they do.

    Parameters
    ----------
    path : path
        The folder (or a ``.mcap`` or ``.db3`` file in it).

    Raises
    ------
    RecordingError
        If there is no bag, it was not closed (see `repair`), or its messages are not in CDR.
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
        except Exception as error:  # of damaged files the library raises whatever comes
            what = _what(error)
            raise RecordingError(f"{self.path} cannot be read: {what}{self._advice()}") from error
        storage: Any = self._reader.storage
        self._storages: list[Any] = getattr(storage, "storages", [storage])
        self._connections: list[Connection] = [
            connection for part in self._storages for connection in part.connections
        ]
        for connection in self._connections:
            written: Any = connection.ext
            if written.serialization_format != "cdr":
                self._reader.close()
                raise RecordingError(
                    f"{self.path} cannot be read: {connection.topic} is written in "
                    f"{written.serialization_format}, want cdr"
                )

    def _advice(self) -> str:
        """Return what helps if the bag's recorder was killed."""
        try:
            with _mcap_file(self.path).open("rb") as stream:
                cut = not mcap_index.has_end(stream)
        except (OSError, ValueError):
            return ""
        if not cut:
            return ""
        return (
            f" Its recorder was killed: `radar-pose repair {self.path}` saves what was written "
            "(from Python, radar_pose_ros.recording.repair)"
        )

    @property
    def topics(self) -> dict[str, str]:
        """Message type of each topic."""
        return {c.topic: c.msgtype for c in (*self._reader.connections, *self._connections)}

    @property
    def counts(self) -> dict[str, int]:
        """Number of messages of each topic."""
        counts = dict.fromkeys(self.topics, 0)
        for connection in self._connections:
            counts[connection.topic] += connection.msgcount
        return counts

    @property
    def details(self) -> list[Topic]:
        """All that the bag says of its topics, in the order of their names."""
        return [self._topic(name) for name in sorted(self.topics)]

    def _topic(self, name: str) -> Topic:
        of_it = [c for c in (*self._connections, *self._reader.connections) if c.topic == name]
        extensions: list[Any] = [c.ext for c in of_it]
        offered = [qos for ext in extensions for qos in ext.offered_qos_profiles]
        return Topic(
            name,
            of_it[0].msgtype,
            self.counts[name],
            reliable=all(q.reliability != QosReliability.BEST_EFFORT for q in offered),
            latched=bool(offered)
            and all(q.durability == QosDurability.TRANSIENT_LOCAL for q in offered),
            depth=max((q.depth for q in offered), default=0) or _DEPTH,
            as_today=all(_is_as_today(_recorded_types(c)) for c in of_it),
        )

    @property
    def begin_ns(self) -> int:
        """When the first message was received, nanoseconds since 1970; 0 if there is none."""
        return min((s.metadata.start_time for s in self._filled), default=0)

    @property
    def end_ns(self) -> int:
        """When the last message was received; 0 if there is none."""
        return max((s.metadata.end_time - 1 for s in self._filled), default=0)

    @property
    def _filled(self) -> list[Any]:
        return [s for s in self._storages if s.metadata.message_count]

    def serialized(
        self,
        topics: Iterable[str] | None = None,
        begin_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, receive time in ns, bytes) in order of receive time.

        Parameters
        ----------
        topics : iterable of str, optional
            Default: all.
        begin_ns, end_ns : int, optional
            Only messages received from then on, and before then.
        """
        for connection, received_ns, data in self._raw(topics, begin_ns, end_ns):
            yield connection.topic, received_ns, bytes(data)

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[Recorded]:
        """Yield decoded messages of these topics (default: all) in order of receive time.

        Messages of an older version of this package have the fields that they had then.

        Raises
        ------
        RecordingError
            If a message does not fit its definition, or nobody defines it.
        """
        stores = {(id(c.owner), c.id): _store_of(c) for c in self._connections}
        for connection, received_ns, data in self._raw(topics, None, None):
            store = stores[id(connection.owner), connection.id]
            if connection.msgtype not in store.types:
                raise RecordingError(
                    f"{self.path}: {connection.topic} is of the type {connection.msgtype}, which "
                    "is not known, and the bag does not define it"
                )
            try:
                message = store.deserialize_cdr(data, connection.msgtype)
            except (SerdeError, KeyError) as error:
                raise RecordingError(
                    f"{self.path}: {connection.topic} holds a message that is no "
                    f"{connection.msgtype}: {error}"
                ) from error
            yield Recorded(connection.topic, received_ns, message)

    def _raw(
        self, topics: Iterable[str] | None, begin_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        wanted = None if topics is None else set(topics)
        streams = []
        for storage in self._storages:
            chosen = [c for c in storage.connections if wanted is None or c.topic in wanted]
            if chosen:  # an empty list would mean "all" to the library
                streams.append(storage.messages(chosen, begin_ns, end_ns))
        packed = self._reader.compression_mode == "message"
        # A folder's files may overlap in time.
        merged = heapq.merge(*streams, key=lambda item: item[1])
        while True:
            try:
                connection, received_ns, data = next(merged)
                unpacked = rosbag2_reader.zstd.decompress(data) if packed else data
            except StopIteration:
                return
            except Exception as error:  # of damaged files the library raises whatever comes
                raise RecordingError(f"{self.path} is damaged: {_what(error)}") from error
            yield connection, received_ns, unpacked

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


def types_of_level(level: str) -> tuple[str, ...]:
    """Return the types of the messages from which all that follows can be computed again.

    Parameters
    ----------
    level : str
        One of `LEVELS`: what radars measured, their heatmaps, or poses.
    """
    return _TYPES_OF_LEVEL[level]


def topics_of_level(reader: BagReader, level: str) -> list[str]:
    """Return the topics to play so that what follows on a level is computed again.

    What they hold counts, not how they are called. `adc` is raw samples, or, if there are none,
    points, and how the radars are set up; `heatmap` is heatmaps; `pose` is poses that no other
    poses were made into: not refined ones, nor those in space if there are some in an image.
    Transforms and the truth of an emulator belong to every level.

    Raises
    ------
    RecordingError
        If the bag has nothing of that level.
    """
    types = reader.topics
    models = _models(reader, [topic for topic, kind in types.items() if kind in _POSES])
    truth = [topic for topic, model in models.items() if model == _SIMULATED]
    poses = [t for t, model in models.items() if t not in truth and " of " not in model]
    flat = [t for t in poses if types[t] == _POSES[0]]
    chosen = {
        "adc": [t for t, kind in types.items() if kind == _ADC]
        or [t for t, kind in types.items() if kind == _POINTS],
        "heatmap": [t for t, kind in types.items() if kind == _HEATMAP],
        "pose": flat or poses,
    }[level]
    if not any(reader.counts[topic] for topic in chosen):
        held = [name for name in LEVELS if name != level and _has(reader, name)]
        there_is = f", only of {' and '.join(held)}" if held else ""
        raise RecordingError(f"{reader.path} holds nothing of the level {level}{there_is}")
    passive = {*_TYPES_OF_LEVEL[level]} - {_ADC, _HEATMAP, _POINTS, *_POSES}
    chosen += [topic for topic, kind in types.items() if kind in passive]
    return sorted({*chosen, *truth})


def _has(reader: BagReader, level: str) -> bool:
    main = {"adc": (_ADC,), "heatmap": (_HEATMAP,), "pose": _POSES}[level]
    return any(kind in main and reader.counts[t] for t, kind in reader.topics.items())


def _models(reader: BagReader, topics: Iterable[str]) -> dict[str, str]:
    """Return by which model the first poses of each topic were made."""
    models = {}
    for topic in topics:
        for recorded in reader.messages([topic]):
            models[topic] = str(recorded.message.model)
            break
    return models


def _what(error: Exception) -> str:
    """Return what a library says, and what kind of error it is if it does not speak of bags."""
    return str(error) if isinstance(error, ReaderError | OSError) else repr(error)


def _mcap_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.mcap"))
    if len(files) != 1:
        raise RecordingError(f"{path}: expected one .mcap file in it, found {len(files)}")
    return files[0]


def repair(path: str | Path) -> int:
    """Make a bag readable whose recorder was killed, in place.

    The mcap file is cut after its last complete record, and gets an index; a folder gets its
    ``metadata.yaml``, for others' readers. A bag that was closed properly is left as it is.

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
    cut = 0
    with file.open("r+b") as stream:
        try:
            ended = mcap_index.has_end(stream)
        except ValueError as error:
            raise RecordingError(f"{file} is {error}") from None
        if not (ended and mcap_index.has_index(stream)):
            cut = mcap_index.finish(stream)
            cut = 0 if ended else cut  # only an end without an index was taken away
    metadata = Path(path) / "metadata.yaml"
    if Path(path).is_dir() and not metadata.exists():
        metadata.write_text(yaml.safe_dump(_metadata(file)), encoding="utf-8")
    return cut


def _metadata(file: Path) -> dict[str, Any]:
    """Return what a recorder writes to ``metadata.yaml`` when it closes a bag of one file."""
    with BagReader(file) as reader:
        begin_ns, end_ns, count = reader.begin_ns, reader.end_ns, sum(reader.counts.values())
        topics = [
            {
                "topic_metadata": {
                    "name": c.topic,
                    "type": c.msgtype,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": dump_qos_v8(list(_qos_of(c))),
                    "type_description_hash": _hash(c.msgtype),
                },
                "message_count": c.msgcount,
            }
            for c in reader._connections
        ]
    times: dict[str, Any] = {
        "duration": {"nanoseconds": end_ns - begin_ns},
        "starting_time": {"nanoseconds_since_epoch": begin_ns},
        "message_count": count,
    }
    about = {
        "version": _METADATA_VERSION,
        "storage_identifier": "mcap",
        "relative_file_paths": [file.name],
        **times,
        "topics_with_message_count": topics,
        "compression_format": "",
        "compression_mode": "",
        "files": [{"path": file.name, **times}],
        "custom_data": None,
        "ros_distro": "rosbags",
    }
    return {"rosbag2_bagfile_information": about}


def _qos_of(connection: Connection) -> Iterable[Qos]:
    written: Any = connection.ext
    return tuple(written.offered_qos_profiles)


def _hash(type_name: str) -> str:
    """Return the hash of a type's definition, "" if it is not known."""
    store = type_store()
    return store.hash_rihs01(type_name) if type_name in store.types else ""


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
