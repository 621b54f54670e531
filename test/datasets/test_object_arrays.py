"""Pickled arrays: what numpy wrote is read back, and nothing else is."""

from __future__ import annotations

import collections
import fractions
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from radar_pose_ros.datasets import object_arrays


def ragged(*items: object) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


CONTENT = {
    "numbers": np.arange(6.0).reshape(2, 3),
    "sequences": ragged(np.ones((3, 51), np.float32), np.zeros((5, 51), ">f8")),
    "names": ragged(["a.jpg", "b.jpg"], []),
    "tree": {
        "S1": {"Walking 1": np.arange(12, dtype=np.int16).reshape(2, 2, 3)},
        "S9": collections.OrderedDict(views=[np.asfortranarray(np.eye(3)[:2]), None, True]),
        3: (1, 2.5, "text", b"bytes", np.float32(0.5), np.array(["ab", "c"])),
    },
}


def assert_same(got: object, wanted: object) -> None:
    if isinstance(wanted, np.ndarray):
        assert isinstance(got, np.ndarray) and got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        if wanted.dtype.hasobject:
            for one, other in zip(got.flat, wanted.flat, strict=True):
                assert_same(one, other)
        else:
            np.testing.assert_array_equal(got, wanted)
    elif isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        for key in wanted:
            assert_same(got[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert type(got) is type(wanted) and len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_same(one, other)
    else:
        assert got == wanted and isinstance(got, type(wanted))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read_back(tmp_path, save):
    save(tmp_path / "a.npz", **CONTENT)
    assert_same(object_arrays.read(tmp_path / "a.npz"), CONTENT)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_all_protocols(protocol):
    for wanted in CONTENT.values():
        stream = io.BytesIO(pickle.dumps(wanted, protocol))
        assert_same(object_arrays.load_pickle(stream), wanted)


def test_names_of_older_numpy():
    """What numpy 1 wrote says numpy.core where numpy 2 says numpy._core."""
    data = pickle.dumps(CONTENT["sequences"], 2)
    old = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert_same(object_arrays.load_pickle(io.BytesIO(old)), CONTENT["sequences"])


def test_arrays_can_be_written_to(tmp_path):
    np.savez(tmp_path / "a.npz", **CONTENT)
    object_arrays.read(tmp_path / "a.npz")["sequences"][0][0, 0] = 5.0


class Command:
    def __reduce__(self):
        return os.system, ("touch been_here",)


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (Command(), r"asks for posix\.system"),
        (fractions.Fraction(1, 3), r"asks for fractions\.Fraction"),
        (getattr, r"asks for builtins\.getattr"),
        (np.zeros(2, [("a", "f8"), ("b", "O")]), r"asks for arrays of type 'V16'"),
        (np.zeros(2, "M8[s]"), "asks for arrays of type 'M8'"),
        (np.zeros(2).view(np.recarray), "asks for numpy"),
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, item, sentence):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", poses=ragged(item, 1))
    with pytest.raises(ValueError, match=rf"a\.npz: {sentence}"):
        object_arrays.read("a.npz")
    assert not (tmp_path / "been_here").exists()


def test_crafted_arrays_are_refused():
    """Bytes that claim to be objects, too few bytes, and encodings that are not text."""
    reconstruct = np.zeros(1).__reduce__()[0]

    class Crafted:
        def __init__(self, state):
            self.state = state

        def __reduce__(self):
            return reconstruct, (np.ndarray, (0,), b"b"), self.state

    for state in (
        (1, (2,), np.dtype(float), False, b"12345678"),
        (1, (1,), np.dtype(object), False, None),
        (1, (1,), None, False, b"12345678"),
        (1,),
    ):
        with pytest.raises(pickle.UnpicklingError, match="damaged: "):
            object_arrays.load_pickle(io.BytesIO(pickle.dumps(Crafted(state))))
    endless: list = []
    endless.append(endless)
    with pytest.raises(pickle.UnpicklingError, match="damaged: "):
        object_arrays.load_pickle(io.BytesIO(pickle.dumps(endless)))
    data = pickle.dumps(b"\xff", 2).replace(b"latin1", b"rot_13")
    with pytest.raises(pickle.UnpicklingError, match="asks for the encoding 'rot_13'"):
        object_arrays.load_pickle(io.BytesIO(data))


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError):
        object_arrays.read(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.npz: File is not a zip file"):
        object_arrays.read(path)
    for content in (b"nothing", b"\x93NUMPY\x09\x00", b""):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("poses.npy", content)
        with pytest.raises(ValueError, match=r"a\.npz: "):
            object_arrays.read(path)
    stream = io.BytesIO()
    np.save(stream, ragged(np.ones(5), 1))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("poses.npy", stream.getvalue()[:-20])
    with pytest.raises(ValueError, match=r"a\.npz: "):
        object_arrays.read(path)
