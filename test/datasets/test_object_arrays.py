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


def load(data: bytes) -> object:
    return object_arrays.load_pickle(io.BytesIO(data), len(data))


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


@pytest.mark.parametrize("protocol", range(6))
def test_all_protocols(protocol):
    for wanted in CONTENT.values():
        assert_same(load(pickle.dumps(wanted, protocol)), wanted)


def test_names_of_older_numpy():
    """What numpy 1 wrote says numpy.core where numpy 2 says numpy._core."""
    data = pickle.dumps(CONTENT["sequences"], 2)
    old = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert_same(load(old), CONTENT["sequences"])


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
            load(pickle.dumps(Crafted(state)))
    endless: list = []
    endless.append(endless)
    with pytest.raises(pickle.UnpicklingError, match="damaged: "):
        load(pickle.dumps(endless))
    data = pickle.dumps(b"\xff", 2).replace(b"latin1", b"rot_13")
    with pytest.raises(pickle.UnpicklingError, match="asks for the encoding 'rot_13'"):
        load(data)


def nested(width: int, depth: int, leaf: object = 0) -> list:
    """A list of many times the same list of many times the same list: small in a file."""
    value: list = [leaf] * width
    for _ in range(depth - 1):
        value = [value] * width
    return value


AGAIN = "bytes come out of it: it holds the same data again and again"


def test_a_small_file_that_stands_for_large_data_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, poses=ragged(nested(10, 12), 1))
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match=rf"a\.npz: more than 67\d{{6}} {AGAIN}"):
        object_arrays.read(path)


def test_whatever_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(object_arrays, "EXPANSION_BYTES", 2**20)
    path = tmp_path / "a.npz"
    for item in (
        nested(10, 6, np.zeros(20)),
        nested(10, 5, "x" * 2000),
        dict.fromkeys(range(100), nested(10, 6, (1, 2))),
        [np.zeros((10**12, 0))],
    ):
        np.savez(path, poses=ragged(item, 1))
        assert path.stat().st_size < 10_000
        with pytest.raises(ValueError, match=rf"a\.npz: more than \d+ {AGAIN}"):
            object_arrays.read(path)
    np.savez(path, poses=np.zeros((10**12, 0)))
    with pytest.raises(ValueError, match=AGAIN):
        object_arrays.read(path)


def test_text_that_is_encoded_again_and_again_is_refused():
    """As Python 2 wrote bytes; each time it is read it is made anew."""
    text = b"X\xff\xff\x0f\x00" + b"a" * 0xFFFFF + b"q\x01X\x06\x00\x00\x00latin1q\x02"
    once = b"c_codecs\nencode\nh\x01h\x02\x86R"
    assert len(load(b"\x80\x02]" + text + b"00(" + 3 * once + b"e.")) == 3
    with pytest.raises(pickle.UnpicklingError, match="again and again"):
        load(b"\x80\x02]" + text + b"00(" + 300 * once + b"e.")


def test_shared_data_of_an_honest_file_are_read(tmp_path):
    shape, names = np.array([240, 320, 3]), ["a.jpg"] * 20_000
    np.savez(tmp_path / "a.npz", shapes=ragged([shape] * 20_000, 0), names=ragged(names, 0))
    read = object_arrays.read(tmp_path / "a.npz")
    assert read["names"][0] == names and (read["shapes"][0][-1] == shape).all()


def test_the_shortest_objects_are_read(monkeypatch):
    """A byte each in the file."""
    monkeypatch.setattr(object_arrays, "EXPANSION_BYTES", 0)
    numbers = [True, None] * 5000
    assert load(pickle.dumps(numbers)) == numbers


def test_too_large_archives_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros(100_000), few=np.zeros(10))
    monkeypatch.setattr(object_arrays, "LARGEST_BYTES", 1000)
    sentence = r"a\.npz: its arrays are 800\d{3} bytes long, 1000 are allowed"
    with pytest.raises(ValueError, match=sentence):
        object_arrays.read(path)
    assert len(object_arrays.read(path, ["few"], [])["few"]) == 10


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        # a memo of four thousand million entries is made up of one
        (b"\x80\x02]r\xff\xff\xff\xffK\x01a.", ""),
        (b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".", "damaged: maximum recursion"),
        # a hash of what is nested deeply would end the program
        (b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.", "keys that are no numbers or text"),
        (b"\x80\x02}]K\x01s.", "keys that are no numbers or text"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0f.", "more memory|truncated|damaged"),
        (b"\x80\x02J\x01.", "damaged: "),  # a number cut off
        (b"\x80\x02\xfe.", "damaged: "),  # no such opcode
        (b"\x80\x02", "damaged: EOFError"),
        (b"\x80\x02K\x01.K\x02.", "damaged: goes on after its end"),
        (b"\x80\x04\x8f.", "asks for other things"),  # a set
        (b"\x80\x02K\x01Q.", "asks for other things"),  # somebody's object number 1
        (b"\x80\x02\x82\x01.", "asks for other things"),  # an extension
        (b"c_codecs\nencode\n.", "neither an array nor plain data"),
        (b"c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.", "asks to change what is no array"),
        (b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R.", "neither an array nor plain data"),
        (b"cbuiltins\n" + b"x" * 10_000 + b"\n.", r"asks for builtins\.x{200}; only"),
    ],
    ids=range(16),
)
def test_crafted_pickles_are_refused(data, sentence):
    if not sentence:
        assert load(data) == [1]
        return
    with pytest.raises(pickle.UnpicklingError, match=sentence):
        load(data)


def test_arrays_of_nothing_but_a_size_are_refused():
    """What numpy makes of the bytes of an array may be a number of them."""
    crafted = pickle.dumps(np.zeros(3), 5).replace(b"\x96\x18\0\0\0\0\0\0\0" + bytes(24), b"K\x18")
    assert b"K\x18" in crafted
    with pytest.raises(pickle.UnpicklingError, match="damaged: "):
        load(crafted)


def test_every_cut_and_every_changed_byte_ends_in_one_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, poses=ragged(np.arange(6.0), ["a"]), plain=np.arange(5))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    sentences = []
    for content in damaged:
        path.write_bytes(content)
        try:
            object_arrays.read(path)
        except ValueError as error:
            sentences.append(str(error))
    assert all(sentence.startswith(f"{path}: ") for sentence in sentences)
    # what is left are bytes that say nothing, of dates and the like
    assert len(sentences) > 0.6 * len(damaged)


@pytest.mark.parametrize("place", [6, 8, 10])
def test_archives_of_other_kinds_are_refused(tmp_path, place):
    """Encrypted, compressed in another way, or of a later version."""
    path = tmp_path / "a.npz"
    np.savez(path, poses=np.zeros(3))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + place] = 99
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: damaged, or no \.npz file: "):
        object_arrays.read(path)


def test_a_damaged_compressed_stream_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, poses=np.random.default_rng(0).normal(size=1000))
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: damaged, or no \.npz file: Error -3"):
        object_arrays.read(path)


def test_arrays_that_are_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(1), b=np.ones(2), c=ragged(Command(), 1))
    assert object_arrays.read(path, ["a"], ["b", "d"]).keys() == {"a", "b"}
    with pytest.raises(ValueError, match=r"a\.npz: no array d, e, only a, b, c"):
        object_arrays.read(path, ["e", "a", "d"])
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as file:
        file.writestr("a.npy", b"")
    with pytest.raises(ValueError, match=r"a\.npz: holds a twice"):
        object_arrays.read(path, ["a"])


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError):
        object_arrays.read(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.npz: damaged, or no \.npz file: File is not a zip"):
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


def test_plain_pickles(tmp_path, monkeypatch):
    """Lists of dictionaries, as some data sets label images."""
    path = tmp_path / "a.pkl"
    rows = [{"image": "a.jpg", "joints": np.eye(3), "centre": (np.float64(1.5), 2.0), "id": 7}] * 2
    path.write_bytes(pickle.dumps(rows))
    assert_same(object_arrays.read_pickle(path), rows)
    path.write_bytes(pickle.dumps([Command()]))
    with pytest.raises(ValueError, match=r"a\.pkl: asks for posix\.system"):
        object_arrays.read_pickle(path)
    path.write_bytes(pickle.dumps(rows)[:-5])
    with pytest.raises(ValueError, match=r"a\.pkl: damaged"):
        object_arrays.read_pickle(path)
    path.write_bytes(pickle.dumps(nested(10, 12)))
    with pytest.raises(ValueError, match=AGAIN):
        object_arrays.read_pickle(path)
    monkeypatch.setattr(object_arrays, "LARGEST_BYTES", 10)
    with pytest.raises(ValueError, match=r"a\.pkl: \d+ bytes long, 10 are allowed"):
        object_arrays.read_pickle(path)
    with pytest.raises(FileNotFoundError):
        object_arrays.read_pickle(tmp_path / "b.pkl")


def npy(descr: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """Return a file of numpy's whose header may say what its content is not."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (npy("<f8", (1 << 40,)), r"of shape \(1099511627776,\) is not 0 bytes long"),
        (npy("<f8", (2,), bytes(8)), r"of shape \(2,\) is not 8 bytes long"),
        (npy("<f8", (1,), bytes(16)), r"of shape \(1,\) is not 16 bytes long"),
        (npy("<U0", (1 << 40,)), "holds an array of type '<U0'"),
        (npy("|V0", (10**7,)), r"holds an array of type '\|V0'"),
        (npy("<M8[s]", (1,), bytes(8)), "holds an array of type 'datetime64"),
    ],
)
def test_what_a_header_says_is_compared_with_what_is_there(tmp_path, content, sentence):
    """Before memory is taken for it."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", content)
    with pytest.raises(ValueError, match=rf"a\.npz: .*{sentence}"):
        object_arrays.read(tmp_path / "a.npz")


def test_compressed_zeros_are_read_up_to_a_limit(tmp_path, monkeypatch):
    """A file of zeros is a thousand times as large as the archive of it."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros(1 << 18))
    assert path.stat().st_size < (1 << 21) / object_arrays.COMPRESSION
    assert object_arrays.read(path)["zeros"].nbytes == 1 << 21
    monkeypatch.setattr(object_arrays, "COMPRESSION_BYTES", 0)
    allowed = object_arrays.COMPRESSION * path.stat().st_size
    with pytest.raises(ValueError, match=f"its arrays are 2097280 bytes long, {allowed} are"):
        object_arrays.read(path)
