"""Files of numpy arrays, objects among them: .npz, .npy, .pkl, and what data sets make of them.

What comes out is plain data, and while it is read nothing is run, opened or imported.
"""

from __future__ import annotations

import gzip
import io
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.material import Material, folder, refusal

from radar_pose_ros.datasets import (
    cmu_mocap,
    deciwatch,
    gtrack,
    irds,
    kinect,
    mars,
    object_arrays,
    pose2sim,
    radhar,
    recordings,
)
from radar_pose_ros.skeleton.definitions import CMU23

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic)
_MOST_BYTES = 1 << 30
# What a pickle would do to the machine.
_ACTS = ("os.", "subprocess.", "shutil.", "socket.", "ctypes.", "pickle.", "import", "exec")
_watching, _seen = [False], list[str]()


def _watch(event: str, arguments: tuple) -> None:
    # An encoding that is needed for the first time is a module; nobody can choose which.
    if _watching[0] and event.startswith(_ACTS) and "encodings" not in f"{arguments[0]}":
        _seen.append(f"{event}{arguments!r:.200}")


sys.addaudithook(_watch)


@contextmanager
def _nothing_happens() -> Iterator[None]:
    _seen.clear()
    _watching[0] = True
    try:
        yield
    finally:
        _watching[0] = False
        # readers take whatever an archive ends in for damage, but not this
        if _seen:
            raise RuntimeError(f"reading a file leads to {_seen}")


def one_input(data: bytes) -> None:
    """Read a file as the first byte says."""
    material = Material(data)
    kind = material.number() % len(_READERS)
    with folder() as here, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = refusal(lambda: _READERS[kind](here, material), ValueError)
        assert not refused or str(here) in refused, f"names no file: {refused}"


def _check_plain(value: Any) -> None:
    """Fail on what is no plain data, or on more than there may be."""
    stack, entries, size = [value], 0, 0
    while stack:
        item = stack.pop()
        entries += 1
        assert entries < 10_000_000, "too much comes out of it"
        if isinstance(item, np.ndarray):
            size += item.nbytes
            assert item.dtype.kind in "?biufcSUO", item.dtype
            stack += item.ravel().tolist() if item.dtype.hasobject else []
        elif isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            stack += item
        else:
            assert type(item) in _PLAIN or isinstance(item, np.generic), type(item)
    assert size < _MOST_BYTES


def _archive(here: Path, material: Material) -> None:
    (here / "a.npz").write_bytes(material.rest())
    with _nothing_happens():
        content = object_arrays.read(here / "a.npz")
    _check_plain(content)


def _packed(here: Path, material: Material) -> None:
    """An archive with right checksums around members that may be anything."""
    with zipfile.ZipFile(here / "a.npz", "w") as file:
        while material.left:
            options = material.number()
            packing = zipfile.ZIP_DEFLATED if options & 1 else zipfile.ZIP_STORED
            content = material.take(material.number(2)) * (1 + (options >> 1))
            file.writestr(f"a{options & 3}.npy", content, packing)
    with _nothing_happens():
        content = object_arrays.read(here / "a.npz")
    _check_plain(content)


def _pickle(here: Path, material: Material) -> None:
    (here / "a.pkl").write_bytes(material.rest())
    with _nothing_happens():
        content = object_arrays.read_pickle(here / "a.pkl")
    _check_plain(content)


def _map(here: Path, material: Material) -> None:
    (here / "a.npy").write_bytes(material.rest())
    array = recordings.load_array(here / "a.npy")
    assert isinstance(array, np.ndarray) and not array.dtype.hasobject


def _dump(here: Path, material: Material) -> None:
    path = here / ("a.txt.gz" if material.number() & 1 else "a.txt")
    path.write_bytes(material.rest())
    clip = radhar.load_dump(path)
    assert len(clip.times_s) == len(clip.clouds) and (np.diff(clip.times_s) > 0).all()


def _detections(here: Path, material: Material) -> None:
    (here / "trial.npz").write_bytes(material.rest())
    pose2sim.read_detections(here / "trial")


# Per data set: the file's name and its arrays, of which a case may have others.
_LAYOUTS: dict[str, dict[str, Any]] = {
    "mars_subject1.npz": {
        "points": np.ones((4, 5)),
        "points_cols": np.array(["x_m", "y_depth_m", "z_up_m", "doppler_mps", "intensity"]),
        "points_per_frame": np.array([1, 2, 1]),
        "kinect_joints_m": np.ones((3, 25, 3)),
        "joint_names": np.array(kinect.JOINT_NAMES),
        "movement": np.array([1, 1, 2]),
        "radar_frame": np.array([5, 7, 9]),
    },
    "radhar.npz": {
        "points": np.ones((3, 5)),
        "points_per_frame": np.array([1, 2]),
        "frame_time_unix_s": np.array([1.0, 2.0]),
        "clip_start_frame": np.array([0]),
        "clip_label": np.array(["walk"]),
        "clip_name": np.array(["one"]),
    },
    "irds.npz": {
        "joints_m": np.ones((3, 25, 3)),
        "joint_names": np.array(kinect.JOINT_NAMES),
        "tracking": np.full((3, 25), 2),
        "timestamps_raw": np.array([[0, 0, 0], [1, 0, 33], [2, 0, 66]]),
        "clip_start": np.array([0]),
        "subject": np.array([215]),
        "gesture": np.array([0]),
        "gesture_names": np.array(["bow"]),
        "repetition": np.array([1]),
    },
    "people_counting_points.npz": {
        "points": np.ones((3, 4)),
        "offset": np.array([0, 1, 3]),
        "frame_number": np.array([7, 8]),
    },
    "deciwatch.npz": {
        "imgname": np.array([["S9_walk_1.jpg", "S9_walk_2.jpg"], None], object)[:1],
        "joints_3d": np.array([np.ones((2, 51)), None], object)[:1],
        "pose": np.array([np.ones((2, 72)), None], object)[:1],
    },
    "cmu_60hz.npz": {
        "joints_m": np.ones((3, 23, 3), np.float32),
        "joint_names": np.array(CMU23.joints),
        "clip_start": np.array([0]),
        "clip_name": np.array(["one"]),
        "clip_subject": np.array(["7"]),
        "fps": np.array(60.0),
    },
}
_LOADERS = {
    "mars_subject1.npz": (mars.load, mars.load_points),
    "radhar.npz": (radhar.load,),
    "irds.npz": (irds.load,),
    "people_counting_points.npz": (lambda path: gtrack.load(path.parent),),
    "deciwatch.npz": (
        lambda path: deciwatch.load(path, "h36m"),
        lambda path: deciwatch.load_rotations(path, "h36m"),
    ),
    "cmu_60hz.npz": (cmu_mocap.read,),
}


def _data_set(here: Path, material: Material) -> None:
    """Change some values, sizes or types of a data set's arrays."""
    name = [*_LAYOUTS][material.number() % len(_LAYOUTS)]
    arrays = dict(_LAYOUTS[name])
    while material.left:
        key = [*arrays][material.number() % len(arrays)]
        arrays[key] = _changed(np.asarray(arrays[key]), material)
    np.savez(here / name, **arrays)
    if name == "people_counting_points.npz":
        tracks = {
            "tracks": np.full((2, 6), 7.0),
            "cols": np.array(["frame", "tid", "x", "y", "vx", "vy"]),
            "first_frame": 7,
        }
        np.savez(here / gtrack.TRACKS_FILE, **tracks, index_offset=np.array([0, 1]))
    said = [refusal(lambda r=load: r(here / name), ValueError) for load in _LOADERS[name]]
    for sentence in said:
        assert not sentence or str(here) in sentence, f"names no file: {sentence}"


def _changed(array: np.ndarray, material: Material) -> np.ndarray:
    kind, flat = material.number() % 8, array.copy()
    if kind == 0 and array.size:
        value = (0, -1, 1, 2**31, 2**62, np.nan, np.inf, 1e300)[material.number() % 8]
        with np.errstate(all="ignore"):
            changed = flat.ravel()
            try:
                changed[material.number() % array.size] = value
            except (ValueError, OverflowError):
                return np.full(array.shape, value)
            return changed.reshape(array.shape)
    if kind == 1:
        return flat[: material.number() % (len(flat) + 1)] if flat.ndim else flat
    if kind == 2:
        return np.concatenate([flat, flat]) if flat.ndim and max(flat.shape) < 10_000 else flat
    if kind == 3:
        return flat[None] if flat.ndim < 6 else flat
    if kind == 4:
        types = ("f4", "i1", "u8", "c8", "U7", "?", "S3", "O")
        try:
            return flat.astype(types[material.number() % 8])
        except (TypeError, ValueError, OverflowError):
            return flat
    if kind == 5:
        return flat.reshape(-1)
    if kind == 6:
        return np.zeros((0, *flat.shape[1:]), flat.dtype)
    return flat[..., 0] if flat.ndim and flat.shape[-1] else flat


_FIELDS = radhar._MESSAGE
_READERS = (_archive, _packed, _pickle, _map, _dump, _detections, _data_set)


def _message(point: int, time_s: float) -> bytes:
    values = {"seq": 1, "secs": int(time_s), "nsecs": int(time_s % 1 * 1e9), "point_id": point}
    fields = [f"{name}: {values.get(name, 0.5 if kind is float else 1)}" for name, kind in _FIELDS]
    return "\n".join([*fields, "---\n"]).encode()


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """One file of each kind."""
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    ragged = np.array([numbers, {"a": [1, "text", None], "b": (2.5, b"x")}], object)
    saved = io.BytesIO()
    np.savez(saved, numbers=numbers, ragged=ragged, names=np.array(["one", "two"]))
    packed = b"".join(
        bytes([n]) + len(_npy(a)).to_bytes(2, "little") + _npy(a)
        for n, a in enumerate((numbers, ragged))
    )
    detected = io.BytesIO()
    np.savez(detected, keypoints=np.ones((1, 2, 1, 26, 3)), cams=np.array(["left"]))
    sets = {f"set_{number}": bytes([6, number]) for number in range(len(_LAYOUTS))}
    text = b"".join(_message(point, 1.5 + n / 30) for n, point in enumerate((0, 1, 0, 2)))
    return {
        "archive": b"\0" + saved.getvalue(),
        "packed": b"\1" + packed,
        "pickle": b"\2" + pickle.dumps({"a": ragged, "b": np.float32(2)}, 4),
        "pickle_0": b"\2" + pickle.dumps([numbers, "text", 5, None], 0),
        "pickle_2": b"\2" + pickle.dumps(numbers, 2),
        "map": b"\3" + _npy(numbers),
        "dump": b"\4\0" + text,
        "dump_gz": b"\4\1" + gzip.compress(text, mtime=0),
        "detections": b"\5" + detected.getvalue(),
        **sets,
    }
