"""An emulated capture card that costs next to nothing: one call of the kernel sends many packets.

Headers are those of a real stream; payloads are always the same bytes, which nobody looks at.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import time
from typing import Any

import numpy as np

from radar_pose_ros.radar.dca1000 import DATA_HEADER_BYTES, USUAL_PAYLOAD_BYTES
from radar_pose_ros.simulation.boards import EmulatedDca1000, Frame

_HEADER = np.dtype([("sequence", "<u4"), ("count_low", "<u4"), ("count_high", "<u2")])
_BURST_S = 0.001
_BUSY_SHARE = 0.9  # of a frame's time, at most


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # what sendmmsg takes
    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


class FastCard(EmulatedDca1000):
    """A card whose frames come ``speed`` times as often as they do in reality.

    Within a frame packets are as far apart as the card was told, or nearer if there is no time.

    Attributes
    ----------
    speed : float
        May change at any time.
    """

    def __init__(self, bytes_per_frame: int, *addresses: Any, frame_period_s: float) -> None:
        self.speed = 1.0
        self._bytes_per_frame, self._real_period_s = bytes_per_frame, frame_period_s
        self._due_s = 0.0
        self._bytes_due = 0  # of this stream, up to the end of the present frame
        frame = np.zeros(1, np.int16)  # never looked at
        super().__init__(itertools.repeat(frame), *addresses, paced=False)
        self._kernel = ctypes.CDLL(None, use_errno=True)
        most = bytes_per_frame // USUAL_PAYLOAD_BYTES + 1
        self._headers = np.zeros(most, _HEADER)
        self._payload = np.zeros(USUAL_PAYLOAD_BYTES, np.uint8)
        self._vectors = (_Vector * (2 * most))()
        self._messages = (_Message * most)()
        for k in range(most):
            header = self._headers.ctypes.data + k * DATA_HEADER_BYTES
            self._vectors[2 * k] = _Vector(header, DATA_HEADER_BYTES)
            self._vectors[2 * k + 1] = _Vector(self._payload.ctypes.data, USUAL_PAYLOAD_BYTES)
            self._messages[k].header.vectors = ctypes.cast(
                ctypes.byref(self._vectors, 2 * k * ctypes.sizeof(_Vector)),
                ctypes.POINTER(_Vector),
            )
            self._messages[k].header.vector_count = 2

    def _restart_stream(self) -> None:
        super()._restart_stream()
        self._bytes_due = 0

    def _send_frame(self, frame: Frame, start_s: float) -> None:
        self._recorded = True
        period_s = self._real_period_s / self.speed
        now_s = time.monotonic()
        begin_s = self._due_s = self._due_s if now_s < self._due_s + 0.5 * period_s else now_s
        self._due_s += period_s
        self._bytes_due += self._bytes_per_frame
        made = self._stream.made
        count = self._bytes_due // USUAL_PAYLOAD_BYTES - made
        places = made + np.arange(count, dtype=np.int64)
        self._headers["sequence"][:count] = places + 1
        self._headers["count_low"][:count] = places * USUAL_PAYLOAD_BYTES & 0xFFFFFFFF
        self._headers["count_high"][:count] = places * USUAL_PAYLOAD_BYTES >> 32
        self._stream.made += count
        step_s = min(self._packet_interval_s, _BUSY_SHARE * period_s / count)
        burst = max(int(_BURST_S / step_s), 1)
        for first in range(0, count, burst):
            time.sleep(max(0.0, begin_s + first * step_s - time.monotonic()))
            if self._closing:
                return
            self._send_some(first, min(burst, count - first))
        self._told = self._stream.made
        time.sleep(max(0.0, self._due_s - time.monotonic()))

    def _send_some(self, first: int, count: int) -> None:
        assert self._data is not None
        while count:
            where = ctypes.byref(self._messages, first * ctypes.sizeof(_Message))
            sent = self._kernel.sendmmsg(self._data.fileno(), where, count, 0)
            if sent < 0:
                number = ctypes.get_errno()
                if number == errno.ECONNREFUSED:  # of an earlier packet
                    self._unsent += 1
                    sent = 1
                elif number == errno.EINTR:
                    sent = 0
                else:
                    raise OSError(number, os.strerror(number))
            else:
                self._packets_sent += sent
                self._bytes_sent += sent * USUAL_PAYLOAD_BYTES
            first, count = first + sent, count - sent
