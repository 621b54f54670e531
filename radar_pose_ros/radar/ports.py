"""Where frames come from and where commands go: sockets, files, the serial port.

Hardware stands behind two small protocols, `FrameSource` and `ConfigPort`. Every wait has a
deadline, every failure is a sentence (`PortError`), and nothing is opened before ``open()``.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import queue
import re
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
import serial

from radar_pose_ros.documents import DocumentError, open_file
from radar_pose_ros.radar.assembler import (
    MAX_FRAME_BYTES,
    AssembledFrame,
    AssemblerStatistics,
    FrameAssembler,
)
from radar_pose_ros.radar.config import RadarConfig
from radar_pose_ros.radar.dca1000 import (
    Command,
    FpgaVersion,
    PacketError,
    Reply,
    SystemStatus,
    command_name,
    decode_reply,
    describe_reply,
    encode_command,
    fpga_config,
    packet_config,
)
from radar_pose_ros.radar.frame_queue import FrameQueue

CARD_IP = "192.168.33.180"
HOST_IP = "192.168.33.30"
CONFIG_PORT = 4096
DATA_PORT = 4098
RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024  # 0.5 s of one radar at 128 loops

_log = logging.getLogger(__name__)

_SO_RCVBUFFORCE = 33  # Linux; needs CAP_NET_ADMIN
_SO_MEMINFO = 55  # Linux 4.12
_MEMINFO_DROPS = 8  # index of the datagrams that found the buffer full
_MAX_DRAIN = 4096  # datagrams before others get a chance
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_MAX_REPLIES = 64  # kept for whoever sends the next command


class PortError(RuntimeError):
    """A source or port that cannot do what it should: says which, what, and what may help."""


class CardError(PortError):
    """The capture card is silent or refuses."""


class ConfigPortError(PortError):
    """The radar's command line is silent, refuses, or is gone; names port and command."""


@dataclass(frozen=True)
class SourceStatistics:
    """What a source has done so far.

    Parameters
    ----------
    assembler : AssemblerStatistics
        Packets, bytes and frames.
    frames_delivered : int
        Frames that were read.
    frames_overwritten : int
        Frames that were dropped because newer ones came before they were read.
    frames_queued : int
        Frames waiting to be read.
    kernel_drops : int or None
        Datagrams that found the socket's buffer full; None if the system does not tell.
    receive_buffer_bytes : int
        Size of the socket's buffer that the system granted.
    replies_ignored : int
        Datagrams on the configuration port that answered nothing that was asked.
    """

    assembler: AssemblerStatistics
    frames_delivered: int = 0
    frames_overwritten: int = 0
    frames_queued: int = 0
    kernel_drops: int | None = None
    receive_buffer_bytes: int = 0
    replies_ignored: int = 0


class FrameSource(Protocol):
    """Something that yields frames: a capture card, a file."""

    def open(self) -> None:
        """Claim what is needed."""

    def start(self) -> None:
        """Let frames come."""

    def stop(self) -> None:
        """Let no more frames come; those that came can still be read."""

    def close(self) -> None:
        """Give everything back; never raises."""

    def read(self, timeout_s: float) -> AssembledFrame | None:
        """The next frame, or None if none came in time."""

    def frames(self) -> Iterator[AssembledFrame]:
        """Frames until the source ends."""

    @property
    def statistics(self) -> SourceStatistics:
        """Counts so far."""


class ConfigPort(Protocol):
    """Something that takes the commands of a radar."""

    def send(self, commands: Sequence[str]) -> None:
        """Send commands one by one, each after the radar accepted the one before."""

    def close(self) -> None:
        """Give the port back; never raises."""


_Opened = TypeVar("_Opened", bound="_Closing")


class _Closing:
    """Lets a source or port be used in a ``with`` statement."""

    def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self: _Opened) -> _Opened:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# --------------------------------------------------------------------------- capture card


class DcaUdpSource(_Closing):
    """Frames from a DCA1000EVM over UDP.

    A thread of its own reads both sockets from `open` to `close`. After the first datagram it
    lets the rest of a burst gather for ``drain_interval_s`` and then takes all of it at once,
    which costs a fraction of waking up for each.

    Parameters
    ----------
    config : RadarConfig
        Sizes of frames and chirps.
    host_ip : str
        Address of this host that the card sends to; the sockets are bound to it and no other.
    card_ip : str
        Address of the card; datagrams from elsewhere are counted and ignored.
    config_port, data_port : int
        Ports of this host for replies and for data.
    card_config_port : int, optional
        Port of the card for commands; the same as ``config_port`` by default.
    card_data_port : int, optional
        Port that the card sends data from. By default the first one that a stream comes from
        (1024 on real cards) is the only one accepted.
    receive_buffer_bytes : int
        Wanted size of the data socket's buffer.
    packet_bytes, packet_delay_us
        See `dca1000.packet_config`.
    queue_frames : int
        Frames kept for the reader; the newest win.
    max_missing_ratio, max_frame_bytes
        See `FrameAssembler`.
    reply_timeout_s, attempts
        How long to wait for the answer to a command, and how often to send it.
    start_timeout_s : float
        Limit for all commands of `start` together.
    drain_interval_s : float
        See above; 0 takes datagrams as they come.
    clock : callable
        Gives the time stamps of frames.

    Raises
    ------
    ValueError
        If sizes or settings are out of range.
    """

    def __init__(
        self,
        config: RadarConfig,
        *,
        host_ip: str = HOST_IP,
        card_ip: str = CARD_IP,
        config_port: int = CONFIG_PORT,
        data_port: int = DATA_PORT,
        card_config_port: int | None = None,
        card_data_port: int | None = None,
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
        packet_bytes: int = 1472,
        packet_delay_us: float = 25.0,
        queue_frames: int = 4,
        max_missing_ratio: float = 0.01,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        reply_timeout_s: float = 1.0,
        attempts: int = 3,
        start_timeout_s: float = 10.0,
        drain_interval_s: float = 0.002,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if attempts < 1:
            raise ValueError("attempts must be at least 1")
        refuse_many("host_ip", host_ip)
        refuse_many("card_ip", card_ip)
        self._packet_config = packet_config(packet_bytes, packet_delay_us)
        self._assembler = FrameAssembler(
            config.bytes_per_frame,
            config.bytes_per_chirp,
            max_missing_ratio=max_missing_ratio,
            source=(card_ip, card_data_port),
            max_frame_bytes=max_frame_bytes,
        )
        self._host_ip, self._card_ip = host_ip, card_ip
        self._config_port, self._data_port = config_port, data_port
        self._card_config_port = config_port if card_config_port is None else card_config_port
        self._wanted_buffer_bytes = receive_buffer_bytes
        self._buffer_bytes = 0
        self._reply_timeout_s = reply_timeout_s
        self._attempts = attempts
        self._start_timeout_s = start_timeout_s
        self._drain_interval_s = drain_interval_s
        self._clock = clock

        self._data: socket.socket | None = None
        self._control: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._assembling = threading.Lock()  # held while datagrams are pushed
        self._replies: queue.Queue[Reply] = queue.Queue(_MAX_REPLIES)
        self._record_completed = threading.Event()
        self._card_status = SystemStatus(0)
        self._fpga_version: FpgaVersion | None = None
        self._replies_ignored = 0  # by who sends commands, and by the reader thread:
        self._replies_refused = 0  # each has a count of its own, so that none is lost
        self._last_kernel_drops: int | None = None

        self._queue: FrameQueue[AssembledFrame] = FrameQueue(queue_frames)
        self._started = False

    # -------------------------------------------------------------- life

    def open(self) -> None:
        """Bind the sockets and start the reader thread.

        Raises
        ------
        PortError
            If an address is not this host's or a port is taken.
        """
        if self._thread is not None:
            return
        try:
            self._control = self._bind(self._config_port)
            self._data = self._bind(self._data_port)
            self._buffer_bytes = _grow_receive_buffer(self._data, self._wanted_buffer_bytes)
            self._wake = socket.socketpair()
        except PortError:
            self.close()
            raise
        if self._buffer_bytes < self._wanted_buffer_bytes:
            _log.warning(
                "receive buffer on %s:%d is %d bytes instead of %d; packets may be lost under "
                "load. Cure: sysctl -w net.core.rmem_max=%d",
                self._host_ip,
                self._data_port,
                self._buffer_bytes,
                self._wanted_buffer_bytes,
                self._wanted_buffer_bytes,
            )
        self._queue.open()
        self._card_status = SystemStatus(0)
        self._thread = threading.Thread(
            target=self._read_sockets, name=f"dca1000 {self._card_ip}", daemon=True
        )
        self._thread.start()

    def start(self) -> None:
        """Configure the card and let it record. Start the radar after this.

        Raises
        ------
        CardError
            If the card does not answer, or refuses.
        """
        self._require_open()
        deadline_s = time.monotonic() + self._start_timeout_s
        self._command(Command.RESET_FPGA, b"", deadline_s)
        self._command(Command.SYSTEM_CONNECT, b"", deadline_s)
        self._fpga_version = self._command(Command.READ_FPGA_VERSION, b"", deadline_s).fpga_version
        self._command(Command.CONFIGURE_FPGA, fpga_config(), deadline_s)
        self._command(Command.CONFIGURE_PACKET, self._packet_config, deadline_s)
        with self._assembling:
            # The card counts from the start again. What it sent before the reset came before the
            # replies, and must not be taken for the beginning of the new recording.
            with suppress(OSError):  # told by the reader thread
                self._drain()
            self._queue.put(self._assembler.flush())
        self._started = True
        self._record_completed.clear()
        self._command(Command.RECORD_START, b"", deadline_s)

    def stop(self) -> None:
        """Let the card stop recording, and close the last frame. Stop the radar before this.

        Raises
        ------
        CardError
            If the card does not answer; reading has stopped all the same.
        """
        self._require_open()
        try:
            if self._started:
                deadline_s = time.monotonic() + self._attempts * self._reply_timeout_s
                self._command(Command.RECORD_STOP, b"", deadline_s)
                # The card sends what it still holds and then says so.
                if self._assembler.statistics.epochs:
                    self._record_completed.wait(1.0)
        finally:
            with self._assembling:
                with suppress(OSError):  # told by the reader thread
                    self._drain()
                self._queue.put(self._assembler.flush())
            self._started = False

    def close(self) -> None:
        """Stop the thread and close the sockets. Never raises."""
        thread, self._thread = self._thread, None
        if thread is not None:
            assert self._wake is not None
            self._wake[1].close()
            thread.join(timeout=5.0)
        self._last_kernel_drops = self._kernel_drops()
        for opened in (self._data, self._control, *(self._wake or ())):
            if opened is not None:
                opened.close()
        self._data = self._control = self._wake = None
        self._started = False
        self._queue.close()

    # -------------------------------------------------------------- frames

    def read(self, timeout_s: float) -> AssembledFrame | None:
        """The oldest frame not yet read, or None if none came in time or the source is closed.

        Raises
        ------
        PortError
            If the sockets failed.
        """
        return self._queue.get(timeout_s)

    def frames(self) -> Iterator[AssembledFrame]:
        """Frames until `stop` or `close`."""
        while self._started or self._queue:
            frame = self.read(timeout_s=0.5)
            if frame is not None:
                yield frame

    @property
    def statistics(self) -> SourceStatistics:
        """Counts so far."""
        return SourceStatistics(
            assembler=self._assembler.statistics,
            frames_delivered=self._queue.delivered,
            frames_overwritten=self._queue.overwritten,
            frames_queued=len(self._queue),
            kernel_drops=self._kernel_drops(),
            receive_buffer_bytes=self._buffer_bytes,
            replies_ignored=self._replies_ignored + self._replies_refused,
        )

    @property
    def card_status(self) -> SystemStatus:
        """What the card reported on its own account since `open`."""
        return self._card_status

    @property
    def fpga_version(self) -> FpgaVersion | None:
        """Version of the card; None before `start`."""
        return self._fpga_version

    # -------------------------------------------------------------- inside

    def _bind(self, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.bind((self._host_ip, port))
        except (OSError, OverflowError) as error:
            opened.close()
            where = f"cannot listen on {self._host_ip}:{port}"
            reason = getattr(error, "errno", None)
            if reason == errno.EADDRNOTAVAIL:
                raise PortError(
                    f"{where}: this host has no such address, give it to the network interface "
                    f"of the card (ip address add {self._host_ip}/24 dev <interface>)"
                ) from error
            if reason == errno.EADDRINUSE:
                raise PortError(f"{where}: the port is taken, by another driver?") from error
            raise PortError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
        return opened

    def _require_open(self) -> None:
        if self._thread is None:
            raise PortError(f"the source for the card at {self._card_ip} is not open")

    def _command(self, command: Command, data: bytes, deadline_s: float) -> Reply:
        """Send a command until it is answered; only a known success is accepted."""
        assert self._control is not None
        address = (self._card_ip, self._card_config_port)
        where = f"the DCA1000 at {address[0]}:{address[1]}"
        while not self._replies.empty():
            self._replies.get()
            self._replies_ignored += 1
        for _ in range(self._attempts):
            until_s = min(time.monotonic() + self._reply_timeout_s, deadline_s)
            try:
                self._control.sendto(encode_command(command, data), address)
            except OSError as error:
                raise CardError(
                    f"{where} cannot be reached for {command_name(command)!r}: {error.strerror}"
                ) from error
            while (left_s := until_s - time.monotonic()) > 0:
                try:
                    reply = self._replies.get(timeout=left_s)
                except queue.Empty:
                    break
                if reply.command != command:
                    self._replies_ignored += 1
                elif reply.ok:
                    return reply
                else:
                    raise CardError(f"{where} answered {describe_reply(reply)}")
            if time.monotonic() >= deadline_s:
                break
        raise CardError(
            f"{where} does not answer {command_name(command)!r}: check its power, the cable, and "
            f"that it sends to {self._host_ip}:{self._config_port}"
        )

    def _read_sockets(self) -> None:
        """The reader thread."""
        assert self._data is not None and self._control is not None and self._wake is not None
        poller = select.poll()
        for opened in (self._data, self._control, self._wake[0]):
            poller.register(opened, select.POLLIN)
        data, control, wake = (s.fileno() for s in (self._data, self._control, self._wake[0]))
        try:
            while True:
                ready = {descriptor for descriptor, _ in poller.poll()}
                if wake in ready:
                    return
                if data in ready:
                    with self._assembling:
                        self._drain()
                if control in ready:
                    self._read_replies()
                if data in ready and self._drain_interval_s:
                    time.sleep(self._drain_interval_s)
        except Exception as error:  # whoever waits for frames must hear of it, whatever it is
            reason = getattr(error, "strerror", None) or repr(error)
            where = f"{self._host_ip}:{self._data_port}"
            self._queue.fail(PortError(f"reading from {where} failed: {reason}"))

    def _drain(self) -> None:
        """Push every datagram that is there."""
        assert self._data is not None
        buffer = bytearray(2048)  # a longer datagram is cut, and then refused for its length
        view = memoryview(buffer)
        receive, push, clock = self._data.recvfrom_into, self._assembler.push, self._clock
        for _ in range(_MAX_DRAIN):
            try:
                length, source = receive(buffer)
            except BlockingIOError:
                return
            frames = push(view[:length], source, clock())
            if frames:
                self._queue.put(frames)

    def _read_replies(self) -> None:
        assert self._control is not None
        for _ in range(_MAX_DRAIN):
            try:
                datagram, source = self._control.recvfrom(2048)
            except BlockingIOError:
                return
            try:
                reply = decode_reply(datagram) if source[0] == self._card_ip else None
            except PacketError:
                reply = None
            if reply is not None and reply.command == Command.SYSTEM_STATUS:
                self._take_status(reply)
            elif reply is None or self._replies.full():
                self._replies_refused += 1
            else:
                self._replies.put_nowait(reply)  # this thread alone does

    def _take_status(self, reply: Reply) -> None:
        news = reply.status & ~self._card_status
        self._card_status |= SystemStatus(reply.status)
        if reply.status & SystemStatus.RECORD_COMPLETED:
            self._record_completed.set()
        if news and not reply.ok:  # once, however often a card says it
            _log.warning("DCA1000 at %s reports %s", self._card_ip, describe_reply(reply))

    def _kernel_drops(self) -> int | None:
        data = self._data  # another thread may close it meanwhile
        if data is None:
            return self._last_kernel_drops
        try:
            info = data.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64)
        except OSError:
            return None
        values = struct.unpack(f"={len(info) // 4}I", info)
        return values[_MEMINFO_DROPS] if len(values) > _MEMINFO_DROPS else None


def refuse_many(name: str, address: str) -> None:
    """Raise ValueError unless an address is that of one interface: not of all, none or a group."""
    try:
        parsed = ipaddress.IPv4Address(address)
        of_one = not (parsed.is_unspecified or parsed.is_multicast or parsed == _BROADCAST)
    except ValueError:
        of_one = False
    if not of_one:
        raise ValueError(
            f"{name}: want the IPv4 address of one interface, such as {HOST_IP}, got {address!r}"
        )


def _grow_receive_buffer(opened: socket.socket, wanted_bytes: int) -> int:
    """Ask for a receive buffer; returns what was granted."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            opened.setsockopt(socket.SOL_SOCKET, option, wanted_bytes)
            break
        except OSError:
            continue  # not privileged, or not Linux
    # Linux doubles the value for its own bookkeeping.
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


# --------------------------------------------------------------------------- files


@dataclass(frozen=True)
class UdpDatagram:
    """A UDP datagram from a capture file; addresses are (IPv4 address, port)."""

    time_s: float
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes


_PCAP_MAGIC = {  # byte order and seconds per tick
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_LINK_ETHERNET, _LINK_RAW_IP, _LINK_LINUX_COOKED = 1, 101, 113
_MAX_PCAP_RECORD = 256 * 1024


def read_pcap(
    path: str | Path, report: Callable[[str], None] = _log.warning
) -> Iterator[UdpDatagram]:
    """UDP datagrams of a classic pcap file (Ethernet, raw IPv4, or Linux cooked capture).

    Other packets, fragments, and packets that were cut when captured are passed over. Of a file
    that was cut off, ``report`` gets a sentence, after the last whole packet.

    Raises
    ------
    PortError
        If it is not such a file, or was cut off before its first packet was whole.
    """
    path = Path(path)
    whole = 0
    try:
        with open_file(path) as file:
            header = file.read(24)
            if header[:4] == _PCAPNG_MAGIC:
                raise PortError(
                    f"{path}: is pcapng, convert it (editcap -F pcap {path.name} new.pcap)"
                )
            if len(header) < 24 or header[:4] not in _PCAP_MAGIC:
                raise PortError(f"{path}: is not a pcap file")
            order, tick_s = _PCAP_MAGIC[header[:4]]
            (link,) = struct.unpack_from(order + "I", header, 20)
            if link not in (_LINK_ETHERNET, _LINK_RAW_IP, _LINK_LINUX_COOKED):
                raise PortError(f"{path}: link type {link} is not supported, only Ethernet and IP")
            record = struct.Struct(order + "IIII")
            while head := file.read(record.size):
                packet = b""
                if is_whole := len(head) == record.size:
                    seconds, ticks, length, _ = record.unpack(head)
                    if length > _MAX_PCAP_RECORD:
                        raise PortError(f"{path}: is damaged at byte {file.tell() - record.size}")
                    packet = file.read(length)
                    is_whole = len(packet) == length
                if not is_whole:
                    if not whole:
                        raise PortError(
                            f"{path}: ends within its first packet, at byte {file.tell()}"
                        )
                    report(
                        f"{path}: was cut off within a packet, at byte {file.tell()}; the {whole} "
                        "packets before are taken"
                    )
                    return
                whole += 1
                datagram = _udp_of(packet, link, seconds + ticks * tick_s)
                if datagram is not None:
                    yield datagram
    except DocumentError as error:
        raise PortError(f"{path}: cannot be read, it is no file") from error
    except OSError as error:
        raise PortError(f"{path}: cannot be read, {error.strerror}") from error


def _udp_of(packet: bytes, link: int, time_s: float) -> UdpDatagram | None:
    """The UDP datagram in a captured packet, if there is a whole one."""
    start = {_LINK_ETHERNET: 14, _LINK_RAW_IP: 0, _LINK_LINUX_COOKED: 16}[link]
    if link != _LINK_RAW_IP:
        kind = packet[start - 2 : start]
        while kind in (b"\x81\x00", b"\x88\xa8"):  # VLAN tags
            start += 4
            kind = packet[start - 2 : start]
        if kind != b"\x08\x00":
            return None
    ip = packet[start:]
    if len(ip) < 28 or ip[0] >> 4 != 4 or ip[9] != 17:
        return None
    header_bytes = (ip[0] & 0x0F) * 4
    more_fragments_or_offset = struct.unpack_from(">H", ip, 6)[0] & 0x3FFF
    udp = ip[header_bytes:]
    if header_bytes < 20 or more_fragments_or_offset or len(udp) < 8:
        return None
    source_port, destination_port, length = struct.unpack_from(">HHH", udp)
    if not 8 <= length <= len(udp):
        return None
    return UdpDatagram(
        time_s=time_s,
        source=(socket.inet_ntoa(ip[12:16]), source_port),
        destination=(socket.inet_ntoa(ip[16:20]), destination_port),
        payload=udp[8:length],
    )


class FileFrameSource(_Closing):
    """Frames from a recording.

    ``.bin`` files hold samples and nothing else; their frames are stamped with the time since the
    start of the file. ``.pcap`` files hold the card's packets and their times of arrival.

    Parameters
    ----------
    path : path
        File whose name ends in .bin or .pcap.
    config : RadarConfig
        Sizes and frame period.
    card_ip : str, optional
        The card whose packets are wanted from a .pcap file; by default the first one.
    data_port : int
        Port that the data packets in a .pcap file were sent to.
    paced : bool
        Whether to yield frames at the frame rate instead of as fast as they can be read.
    max_missing_ratio : float
        See `FrameAssembler`; for .pcap files.
    report : callable
        Gets a sentence if the end of the file is no whole frame or packet, and is left out.
    """

    def __init__(
        self,
        path: str | Path,
        config: RadarConfig,
        *,
        card_ip: str | None = None,
        data_port: int = DATA_PORT,
        paced: bool = False,
        max_missing_ratio: float = 0.01,
        report: Callable[[str], None] = _log.warning,
    ) -> None:
        self._path = Path(path)
        self._report = report
        self._config = config
        self._data_port = data_port
        self._paced = paced
        self._assembler = FrameAssembler(
            config.bytes_per_frame,
            config.bytes_per_chirp,
            max_missing_ratio=max_missing_ratio,
            source=None if card_ip is None else (card_ip, None),
            from_start=False,
        )
        self._frames: Iterator[AssembledFrame] | None = None
        self._next: AssembledFrame | None = None
        self._ended = False
        self._due_s = 0.0
        self._from_bin = self._delivered = 0
        self.bytes_ignored = 0
        """Bytes after the last whole frame of a .bin file."""

    def open(self) -> None:
        """Check the file.

        Raises
        ------
        PortError
            If it does not exist, is of another kind, or does not hold a frame.
        """
        if self._path.suffix not in (".bin", ".pcap"):
            raise PortError(f"{self._path}: wants a .bin or .pcap file")
        if not self._path.is_file():
            raise PortError(f"{self._path}: there is no such file")
        if self._path.suffix == ".pcap":
            next(read_pcap(self._path, report=lambda _: None), None)
            return
        size, frame_bytes = self._path.stat().st_size, self._config.bytes_per_frame
        if size < frame_bytes:
            raise PortError(
                f"{self._path}: has {size} bytes, less than one frame of {frame_bytes} bytes "
                f"(loops, transmitters, receivers, samples: {self._config.adc_shape})"
            )
        self.bytes_ignored = size % frame_bytes
        if self.bytes_ignored:
            self._report(
                f"{self._path}: the last {self.bytes_ignored} bytes are no whole frame of "
                f"{frame_bytes} bytes and are ignored"
            )

    def start(self) -> None:
        """Begin at the start of the file."""
        self._frames = self._read_bin() if self._path.suffix == ".bin" else self._read_pcap()
        self._next = None
        self._ended = False
        self._due_s = time.monotonic()

    def stop(self) -> None:
        """Read no further."""
        self._ended = True

    def close(self) -> None:
        """Close the file."""
        self._ended = True
        self._frames = None

    @property
    def ended(self) -> bool:
        """Whether all frames were read."""
        return self._ended

    def read(self, timeout_s: float) -> AssembledFrame | None:
        """The next frame, or None if it is not due in time or there are no more (`ended`)."""
        if self._ended or self._frames is None:
            return None
        if self._next is None:
            self._next = next(self._frames, None)
            if self._next is None:
                self._ended = True
                return None
        if self._paced:
            wait_s = self._due_s - time.monotonic()
            if wait_s > timeout_s:
                time.sleep(max(timeout_s, 0.0))
                return None
            time.sleep(max(wait_s, 0.0))
            self._due_s += self._config.waveform.frame_period_s
        frame, self._next = self._next, None
        self._delivered += 1
        return frame

    def frames(self) -> Iterator[AssembledFrame]:
        """Frames to the end of the file."""
        while not self._ended and self._frames is not None:
            frame = self.read(timeout_s=1.0)
            if frame is not None:
                yield frame

    @property
    def statistics(self) -> SourceStatistics:
        """Counts so far."""
        counts = self._assembler.statistics
        if self._from_bin:
            counts = replace(
                counts,
                frames_complete=self._from_bin,
                bytes_received=self._from_bin * self._config.bytes_per_frame,
                epochs=1,
            )
        return SourceStatistics(assembler=counts, frames_delivered=self._delivered)

    def _read_bin(self) -> Iterator[AssembledFrame]:
        frame_bytes = self._config.bytes_per_frame
        chirps = frame_bytes // self._config.bytes_per_chirp
        period_s = self._config.waveform.frame_period_s
        try:
            with self._path.open("rb") as file:
                index = 0
                while len(raw := file.read(frame_bytes)) == frame_bytes:
                    self._from_bin += 1
                    yield AssembledFrame(
                        index=index,
                        epoch=0,
                        data=np.frombuffer(bytearray(raw), "<i2"),
                        chirp_valid=np.ones(chirps, np.uint8),
                        bytes_missing=0,
                        first_packet_s=index * period_s,
                        last_packet_s=index * period_s + self._config.waveform.active_time_s,
                    )
                    index += 1
        except OSError as error:
            raise PortError(f"{self._path}: cannot be read, {error.strerror}") from error

    def _read_pcap(self) -> Iterator[AssembledFrame]:
        for datagram in read_pcap(self._path, self._report):
            if datagram.destination[1] == self._data_port:
                yield from self._assembler.push(datagram.payload, datagram.source, datagram.time_s)
        yield from self._assembler.flush()


# --------------------------------------------------------------------------- serial port


class SerialConfigPort(_Closing):
    """The radar's command line on a serial port.

    Each command is sent after the one before was answered by a line "Done". Anything else the
    radar says, such as the echo of the command, is passed over.

    Parameters
    ----------
    port : str
        For instance /dev/ttyACM0.
    baud : int
        115200 for the SDK's firmware.
    command_timeout_s, total_timeout_s : float
        Limits for one command and for all commands of a `send`.
    """

    def __init__(
        self,
        port: str,
        baud: int = 115200,
        *,
        command_timeout_s: float = 2.0,
        total_timeout_s: float = 15.0,
    ) -> None:
        self._port = port
        self._baud = baud
        self._command_timeout_s = command_timeout_s
        self._total_timeout_s = total_timeout_s
        self._serial: serial.Serial | None = None
        self._half_line = b""  # came with the end of an answer, belongs to what comes next

    def open(self) -> None:
        """Open the port; `send` does it where needed.

        Raises
        ------
        ConfigPortError
            If there is no such port, or it may not be used.
        """
        if self._serial is not None:
            return
        try:
            self._serial = serial.Serial(
                self._port,
                self._baud,
                timeout=0.02,
                write_timeout=self._command_timeout_s,
                exclusive=True,
            )
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            number = getattr(error, "errno", None)
            if number == errno.ENOENT:
                reason = "there is no such port, is the radar connected and powered?"
            elif number == errno.EACCES:
                reason = "no permission, add this user to the port's group (often dialout)"
            elif number in (errno.EBUSY, errno.EAGAIN):
                reason = "is in use by another program"
            else:
                reason = str(error)
            raise ConfigPortError(f"{self._port}: {reason}") from error

    def close(self) -> None:
        """Close the port. Never raises."""
        opened, self._serial = self._serial, None
        if opened is not None:
            try:
                opened.close()
            except (serial.SerialException, OSError, termios.error) as error:
                _log.debug("closing %s: %s", self._port, error)

    def send(self, commands: Sequence[str]) -> None:
        """Send commands, each after the one before was accepted.

        Raises
        ------
        ConfigPortError
            Names port and command: refused, not answered in time, or the port is gone.
        """
        deadline_s = time.monotonic() + self._total_timeout_s
        self.open()
        assert self._serial is not None
        command = commands[0] if commands else ""
        try:
            self._serial.reset_input_buffer()
            self._half_line = b""
            for number, command in enumerate(commands, start=1):
                self._exchange(self._serial, command, deadline_s, f"{number} of {len(commands)}")
        except serial.SerialTimeoutException as error:
            raise ConfigPortError(f"{self._port}: does not take {command!r}") from error
        except (serial.SerialException, OSError, termios.error) as error:
            self.close()
            raise ConfigPortError(
                f"{self._port}: was lost during {command!r} ({error}), is the radar still "
                "connected and powered?"
            ) from error

    def _exchange(
        self, opened: serial.Serial, command: str, deadline_s: float, which: str
    ) -> None:
        """Send one command and wait for its "Done"."""
        command_deadline_s = time.monotonic() + self._command_timeout_s
        opened.write(command.encode("ascii", errors="replace") + b"\n")
        pending = self._half_line
        last_line = ""
        while True:
            now_s = time.monotonic()
            if now_s >= min(command_deadline_s, deadline_s):
                limit = (
                    f"the {self._command_timeout_s:g} s for one command"
                    if now_s >= command_deadline_s
                    else f"the {self._total_timeout_s:g} s for all commands"
                )
                heard = last_line or pending.decode("ascii", errors="replace").strip()
                raise ConfigPortError(
                    f"{self._port}: {command!r} ({which}) was not answered by Done within {limit}"
                    + (f"; last heard {heard[:80]!r}" if heard else "; nothing was heard")
                )
            pending += opened.read(min(max(opened.in_waiting, 1), 4096))
            *lines, pending = re.split(rb"[\r\n]+", pending)
            pending = pending[-4096:]  # an endless line is not kept
            for line in lines:
                text = _without_prompt(line.decode("ascii", errors="replace")).strip()
                if text == "Done":
                    self._half_line = pending
                    return
                if text.startswith("Error") or "is not recognized as a CLI command" in text:
                    raise ConfigPortError(
                        f"{self._port}: {command!r} ({which}) was refused: {text[:160]}"
                    )
                last_line = text or last_line


def _without_prompt(line: str) -> str:
    """A line without prompts such as ``mmwDemo:/>`` before it."""
    return re.sub(r"^(\s*\w+:/>)+", "", line)
