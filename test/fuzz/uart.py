"""The bytes of a radar board's data UART, cut anywhere."""

from __future__ import annotations

import numpy as np
from fuzz.material import Material

from radar_pose_ros.radar.points import PointCloud
from radar_pose_ros.radar.tlv import (
    FARTHEST_POINT_M,
    MAGIC,
    Dialect,
    Kind,
    TlvFrame,
    TlvStream,
    fixed_point_blocks,
    packet_bytes,
    point_blocks,
)

_PROPERTIES = tuple(name for name, kind in vars(TlvFrame).items() if isinstance(kind, property))
_STEP_MPS = 0.1


def one_input(data: bytes) -> None:
    """Feed a stream at once and in pieces, whose sizes the first bytes say."""
    material = Material(data)
    sizes = [1 + material.number() for _ in range(4)]
    stream = material.rest()
    whole, pieces = TlvStream(_STEP_MPS), TlvStream(_STEP_MPS)
    frames = whole.feed(stream)
    again: list[TlvFrame] = []
    at = number = 0
    while at < len(stream):
        again += pieces.feed(stream[at : at + sizes[number % 4]])
        at += sizes[number % 4]
        number += 1
    assert [frame.blocks for frame in frames] == [frame.blocks for frame in again]
    assert whole.statistics == pieces.statistics, "what is found depends on how it was cut"
    whole.clear()
    counts = whole.statistics
    assert counts.bytes_received == len(stream)
    assert counts.frames == len(frames)
    in_packets = sum(frame.length for frame in frames)
    assert counts.bytes_skipped + in_packets >= len(stream), "bytes without an account"
    assert counts.bytes_skipped <= len(stream)
    for frame in frames:
        _check(frame)


def _check(frame: TlvFrame) -> None:
    for name in _PROPERTIES:
        getattr(frame, name)
    cloud = frame.points
    places = np.abs([cloud.x, cloud.y, cloud.z])
    assert places.size == 0 or places.max() <= FARTHEST_POINT_M
    columns = [*vars(cloud).values()]
    assert {column.shape for column in columns} == {(len(cloud),)}
    assert all(column.dtype == np.float32 for column in columns)
    made = packet_bytes(
        frame.blocks,
        frame.number,
        points=len(cloud),
        dialect=frame.dialect,
        version=frame.version,
        platform=frame.platform,
        subframe=frame.subframe,
    )
    for again in TlvStream(_STEP_MPS).feed(made) if made.count(MAGIC[:4]) == 1 else ():
        if again.dialect is frame.dialect:
            assert again.blocks == frame.blocks
            np.testing.assert_array_equal(list(vars(again.points).values()), columns)


def seeds() -> dict[str, bytes]:
    """A packet of every kind, and two with garbage between them."""
    table = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.25], [0.1, -0.2]], np.float32)
    cloud = PointCloud(*table, np.array([12.0, 20.0], np.float32))
    sdk = packet_bytes(
        [
            *point_blocks(cloud),
            (Kind.STATISTICS, bytes(24)),
            (Kind.RANGE_PROFILE, bytes(8)),
            (Kind.AZIMUTH_HEATMAP, bytes(8)),
            (Kind.TEMPERATURE, bytes(28)),
        ],
        3,
        points=2,
    )
    old = packet_bytes(
        fixed_point_blocks(cloud, _STEP_MPS),
        1,
        points=2,
        dialect=Dialect.XWR14XX,
        version=0x01020005,
        platform=0xA1443,
    )
    units = np.array([0.01, 0.01, 0.1, 0.01, 0.1], "<f4").tobytes()
    people = packet_bytes(
        [(6, units + bytes([1, 2, 3, 0, 100, 0, 9, 0])), (7, bytes(112)), (8, bytes(1))],
        9,
        dialect=Dialect.PEOPLE,
    )
    spherical = packet_bytes([(Kind.SPHERICAL_POINTS, table.astype("<f4").tobytes())], 2)
    cut = bytes([10, 20, 3, 255])
    return {
        "sdk": cut + sdk,
        "xwr14xx": cut + old,
        "people": cut + people,
        "spherical": cut + spherical,
        "two": cut + b"noise" + sdk + MAGIC[:5] + spherical + sdk[:50],
    }
