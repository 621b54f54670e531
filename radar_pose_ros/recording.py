"""Bags: ordinary rosbag2 folders in mcap format, written and read without a ROS installation.

Messages are stored as the bytes that came over the wire, so a recorder decodes nothing. The
definitions of this package's own messages are read from its ``msg`` folder and stored in the bag:
a reader elsewhere needs nothing of this package.

A recorder can be killed at any moment. Everything up to the last `BagWriter.flush` is then on the
disk, and `repair` makes the bag readable again. Chunks bear a checksum: what was damaged later is
found, and never taken for a message.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, TracebackType
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
from rosbags.rosbag2.metadata import dump_qos_v8
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from radar_pose_ros import documents, mcap_index
from radar_pose_ros.resources import PACKAGE, share_directory

# Version 8 of the metadata is what ROS 2 Iron wrote first; every later release reads it.
_METADATA_VERSION: Literal[8] = 8
_ABOUT = "rosbag2_bagfile_information"  # the one key of ``metadata.yaml``
# What of it is from those who recorded the bag, and not found in its files.
_NOT_IN_THE_FILE = ("custom_data", "compression_format", "compression_mode", "ros_distro")
_ENDLESS = QosTime(0x7FFFFFFF, 0xFFFFFFFF)
_TYPE_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)+", re.ASCII)
_LONGEST_DEFINITION = 1 << 18  # characters; an image's has 3,000 [choice]
_DEPTH = 10  # of the queue of a topic that does not say
HELD_NS = 200_000_000
"""Messages wait so long for those that were received before them, but are handed over later."""

LEVELS = ("sensor", "adc", "heatmap", "pose")
"""From where on what a bag holds can be computed again."""

_ADC, _CONFIG, _HEATMAP, _SKELETON = (
    f"{PACKAGE}/msg/{name}"
    for name in ("RadarAdcFrame", "RadarConfig", "RadarHeatmap", "SkeletonDefinition")
)
_POSES_2D, _POSES_3D = (f"{PACKAGE}/msg/HumanPose{n}DArray" for n in (2, 3))
_POINTS, _TRANSFORMS = "sensor_msgs/msg/PointCloud2", "tf2_msgs/msg/TFMessage"
_CAMERA = "sensor_msgs/msg/CameraInfo"
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# What is computed from, and what says how to read it.
_SOURCES_OF_LEVEL = {
    "sensor": (_ADC, _POINTS, *_IMAGES, _POSES_2D),
    "adc": (_ADC, _POINTS),
    "heatmap": (_HEATMAP,),
    "pose": (_POSES_2D, _POSES_3D),
}
_FACTS_OF_LEVEL = {
    "sensor": (_CONFIG, _CAMERA, _SKELETON, _TRANSFORMS),
    "adc": (_CONFIG, _TRANSFORMS),
    "heatmap": (_CONFIG, _TRANSFORMS),
    "pose": (_SKELETON, _CAMERA, _TRANSFORMS),
}
_DRAWN = ("heatmap/preview", "overlay")  # images that this package draws
_TRUTH, _SIMULATED = "ground_truth", "simulation"  # name and model of poses that are the truth
MADE_OF = " of "
"""In `model`, between what made poses and the model of the poses that they were made of.

So the model of refined or lifted poses is ``refiner of estimator``; no other model has it.
"""
_RADAR_MODEL = "millimamba/"  # so begin the models of poses in an image that are a radar's


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
    if len(definition.data) > _LONGEST_DEFINITION:
        return {}
    try:
        found = dict(get_types_from_msg(definition.data, connection.msgtype))
    except Exception:  # whatever a damaged definition ends in
        return {}
    # The library makes a program with these names in it, and runs that.
    return found if all(_TYPE_NAME.fullmatch(name) for name in found) else {}


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
    except Exception:  # of types that cannot be the library raises whatever comes
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


class _Storage(McapWriter):
    """The library's mcap file, with a checksum for each chunk."""

    def close_chunk(self) -> None:
        """Write the messages that wait."""
        checksum = zlib.crc32(self.chunk.bio.getbuffer())
        begin = self.bio.tell()
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(begin + mcap_index.CHECKSUM_PLACE)
        self.bio.write(struct.pack("<I", checksum))
        self.bio.seek(end)


class _Writer(Writer):
    STORAGE_PLUGINS = MappingProxyType({StoragePlugin.MCAP: _Storage})


class BagWriter:
    """Writes a rosbag2 folder in mcap format.

    Messages of several topics are written in order of receive time if none is handed over more
    than `HELD_NS` after one that was received later.

    Parameters
    ----------
    path : path
        The folder to make; it must not exist yet.

    Raises
    ------
    RecordingError
        If the folder exists or cannot be made; from all methods, if the disk is full: the bag ends
        there then, as if its recorder had been killed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._connections: dict[str, Connection] = {}
        # Receive time, a number that keeps the order of equal times, topic and content.
        self._waiting: list[tuple[int, int, str, bytes]] = []
        self._numbers = itertools.count()
        if self.path.exists():
            raise RecordingError(f"{self.path} exists already; a bag is never overwritten")
        self._writer = _Writer(
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

    def describe(self, key: str, text: str) -> None:
        """Note something about the bag: it comes into ``custom_data`` of ``metadata.yaml``."""
        self._writer.set_custom_data(key, text)

    def add_topic(
        self,
        topic: str,
        type_name: str,
        *,
        reliable: bool = True,
        latched: bool = False,
        depth: int = _DEPTH,
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
        item = (received_ns, next(self._numbers), topic, bytes(serialized))
        heapq.heappush(self._waiting, item)
        with self._ending_if_the_disk_is_full():
            self._write_until(received_ns - HELD_NS)

    def write_message(self, topic: str, received_ns: int, message: Any) -> None:
        """Store an object made from `message_class`; the topic is announced when it is new."""
        type_name = message.__msgtype__
        self.add_topic(topic, type_name)
        self.write(topic, received_ns, type_store().serialize_cdr(message, type_name))

    def _write_until(self, until_ns: float) -> None:
        while self._waiting and self._waiting[0][0] <= until_ns:
            received_ns, _, topic, serialized = heapq.heappop(self._waiting)
            self._writer.write(self._connections[topic], received_ns, serialized)

    def flush(self, until_ns: float = math.inf) -> None:
        """Hand what was received until then (ns; default: all) to the operating system.

        The mcap writer collects messages in chunks of 1 MiB, which would take minutes to fill with
        poses alone.
        """
        if not self._open:
            return
        storage: Any = self._writer.storage
        with self._ending_if_the_disk_is_full():
            self._write_until(until_ns)
            if storage.chunk.msgs:
                storage.close_chunk()
            storage.bio.flush()

    def close(self) -> None:
        """Write the index and ``metadata.yaml``. Closing twice does no harm."""
        if not self._open:
            return
        with self._ending_if_the_disk_is_full():
            self._write_until(math.inf)
            self._writer.close()
        self._open = False

    @contextlib.contextmanager
    def _ending_if_the_disk_is_full(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._open = False
            self._waiting.clear()
            with contextlib.suppress(OSError):
                self._writer.abort()
            raise RecordingError(
                f"the bag {self.path} ends here: {error.strerror}. "
                f"`radar-pose repair {self.path}` saves what was written"
            ) from error

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
            _refuse_pipes(target)
            if target.is_dir():
                documents.read_yaml(target / "metadata.yaml")  # within the limits of these
            self._reader = Reader(target)
            self._reader.open()
        except Exception as error:  # of damaged files the library raises whatever comes
            why = f"cannot be read: {_what(error)}"
            if self._was_cut():
                why = f"was cut off: `radar-pose repair {self.path}` saves what was written"
            raise RecordingError(f"{self.path} {why}") from error
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

    def _was_cut(self) -> bool:
        """Whether its recorder was killed."""
        try:
            with _mcap_file(self.path).open("rb") as stream:
                return not mcap_index.has_end(stream)
        except (OSError, ValueError, RecordingError):
            return False

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
            except Exception as error:  # as of damaged files
                raise RecordingError(
                    f"{self.path}: {connection.topic} holds a message that is no "
                    f"{connection.msgtype}: {documents.shortened(error)}"
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
                unpacked = mcap_index.unpacked_zstd(data) if packed else data
            except StopIteration:
                return
            except Exception as error:  # of damaged files the library raises whatever comes
                raise RecordingError(
                    f"{self.path} is damaged: {_what(error)} `radar-pose repair` leaves out what "
                    "cannot be read"
                ) from error
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


def is_named(topic: str, names: Iterable[str]) -> bool:
    """Whether an absolute topic name is one of `names`, or ends with one in another namespace."""
    return any(
        topic == name or (not name.startswith("/") and topic.endswith("/" + name))
        for name in names
    )


def is_recorded_for(level: str, topic: str, type_name: str) -> bool:
    """Whether a topic is recorded so that all that follows on a level can be computed again.

    That is told by its type, before anything came; `topics_of_level` chooses among what is
    recorded by what it holds. Images that this package draws are no sensor's.

    Parameters
    ----------
    level : str
        One of `LEVELS`.
    topic, type_name : str
    """
    kinds = (*_SOURCES_OF_LEVEL[level], *_FACTS_OF_LEVEL[level])
    return type_name in kinds and not is_named(topic, _DRAWN)


def topics_of_level(reader: BagReader, level: str) -> list[str]:
    """Return the topics to play so that what follows on a level is computed again.

    `sensor` is what sensors gave: raw samples, points but those made of the samples beside them,
    images but those that this package draws, and poses in an image that neither a radar's network
    nor other poses were made into; with them, how radars and cameras are set up. `adc` is raw
    samples, or, if there are none, points; `heatmap` is heatmaps; `pose` is poses that no other
    poses were made into: not refined ones, nor those in space if there are some in an image.
    Transforms and the truth belong to every level: poses whose topic has ``ground_truth`` in its
    name, and those in space that an emulator knows.

    Raises
    ------
    RecordingError
        If the bag has nothing of that level.
    """
    types = reader.topics
    models = _models(reader, [t for t, kind in types.items() if kind in _SOURCES_OF_LEVEL["pose"]])
    truth = [topic for topic, model in models.items() if _is_truth(topic, types[topic], model)]
    sources = _sources(reader, {t: model for t, model in models.items() if t not in truth})
    if not sources[level]:
        held = " and ".join(name for name in LEVELS if sources[name])
        there_is = f", only of {held}" if held else ""
        raise RecordingError(f"{reader.path} holds nothing of the level {level}{there_is}")
    facts = [topic for topic, kind in types.items() if kind in _FACTS_OF_LEVEL[level]]
    return sorted({*sources[level], *facts, *truth})


def _is_truth(topic: str, type_name: str, model: str) -> bool:
    return _TRUTH in topic.split("/") or (type_name == _POSES_3D and model == _SIMULATED)


def _sources(reader: BagReader, models: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the topics with messages that each level is computed from.

    Parameters
    ----------
    reader : BagReader
    models : dict of str to str
        Of the topics with poses that are not the truth, what made them.
    """
    counts = reader.counts
    types = {topic: kind for topic, kind in reader.topics.items() if counts[topic]}

    def of(*kinds: str) -> list[str]:
        return [topic for topic, kind in types.items() if kind in kinds]

    estimated = [topic for topic, model in models.items() if MADE_OF not in model]
    flat = [topic for topic in estimated if types[topic] == _POSES_2D]
    detected = [topic for topic in flat if not models[topic].startswith(_RADAR_MODEL)]
    samples = of(_ADC)
    computed = {f"{topic.rpartition('/')[0]}/points" for topic in samples}
    measured = [topic for topic in of(_POINTS) if topic not in computed]
    images = [topic for topic in of(*_IMAGES) if not is_named(topic, _DRAWN)]
    return {
        "sensor": [*samples, *measured, *images, *detected],
        "adc": samples or of(_POINTS),
        "heatmap": of(_HEATMAP),
        "pose": flat or estimated,
    }


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
    speaks = isinstance(error, ReaderError | OSError | documents.DocumentError)
    return documents.shortened(error if speaks else repr(error))


def _refuse_pipes(path: Path) -> None:
    for part in (path, *(path.iterdir() if path.is_dir() else ())):
        if part.exists() and not (part.is_file() or part.is_dir()):
            raise ReaderError(f"{part} is no file")


def _mcap_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise RecordingError(f"{path}: there is no such bag")
    files = sorted(file for file in path.glob("*.mcap") if file.is_file())
    if len(files) != 1:
        raise RecordingError(f"{path}: expected one .mcap file in it, found {len(files)}")
    return files[0]


def repair(path: str | Path) -> mcap_index.Repair:
    """Make a bag readable whose recorder was killed, or which was damaged, in place.

    The mcap file is cut after its last complete record, chunks that cannot be read are left out,
    and it gets an index; a folder gets its ``metadata.yaml``, for others' readers, also if the one
    that it has says another number of messages. A bag that was closed properly and is whole is
    left as it is.

    Parameters
    ----------
    path : path
        The bag's folder, or the ``.mcap`` file.

    Returns
    -------
    Repair
        What was lost.

    Raises
    ------
    RecordingError
        If this is not an mcap file, or nothing can be found behind a damaged place.
    """
    file = _mcap_file(Path(path))
    with file.open("r+b") as stream:
        try:
            done = mcap_index.repair(stream)
        except ValueError as error:
            raise RecordingError(f"{file} is {error}") from None
    if Path(path).is_dir():
        metadata = Path(path) / "metadata.yaml"
        before, about = _said(metadata), _metadata(file)
        if done.changed or before.get("message_count") != about["message_count"]:
            about |= {key: before[key] for key in _NOT_IN_THE_FILE if key in before}
            metadata.write_text(yaml.safe_dump({_ABOUT: about}), encoding="utf-8")
    return done


def _said(metadata: Path) -> dict[str, Any]:
    """Return what a ``metadata.yaml`` says; nothing if it is not there or was cut off.

    Half a text may be YAML too: it is whole if its last line is, and if it has what comes last,
    the version if keys are sorted as here, and the files as rosbag2 writes them.
    """
    try:
        text = documents.read_text(metadata, documents.LARGEST_YAML_BYTES)
        said = documents.parse_yaml(text)[_ABOUT]
        whole = text.endswith("\n") and {"version", "relative_file_paths"} <= said.keys()
    except (FileNotFoundError, documents.DocumentError):
        return {}
    except (TypeError, KeyError, AttributeError):  # it is YAML, but of something else
        return {}
    return dict(said) if whole else {}


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
                    "type_description_hash": _hash(c),
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
    return {
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


def _qos_of(connection: Connection) -> Iterable[Qos]:
    written: Any = connection.ext
    return tuple(written.offered_qos_profiles)


def _hash(connection: Connection) -> str:
    """Return the hash of a topic's type as it was when it was recorded, "" if it is not known."""
    store, name = _store_of(connection), connection.msgtype
    return store.hash_rihs01(name) if name in store.types else ""


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
