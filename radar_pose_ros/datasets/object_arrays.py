"""Files of numpy arrays that hold Python objects, read without running what they say.

Data sets of poses keep lists and dictionaries of arrays in ``.npz`` and ``.pkl`` files. Both are
pickles, and a pickle may call any function of the machine that reads it. Here only plain data come
out of one: numbers, text, lists, tuples, dictionaries, and arrays of numbers, text or plain data.
Everything else in the file is an error. Arrays are made here from their bytes; numpy's own
functions for that trust what the file says about their memory.

A small file can stand for very large data: what is compressed may be `LARGEST_BYTES` long, and
`COMPRESSION` times as large as the file, with `COMPRESSION_BYTES` on top; what comes out of a
pickle may be `EXPANSION` times as large as the pickle, and `EXPANSION_BYTES` on top, where each
object counts as 64 bytes.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from radar_pose_ros import documents

# AIST++'s rotations for training, the largest we know of, would be 3.4 GB in double precision.
LARGEST_BYTES = 16 * 2**30
COMPRESSION = 200  # of arrays that are mostly zero [choice]
COMPRESSION_BYTES = 256 * 2**20
# The shortest object in a pickle is one byte long, so this is enough for what is in it once.
EXPANSION = 64
EXPANSION_BYTES = 64 * 2**20
_OBJECT_BYTES = 64
# Booleans, numbers, bytes and text of a fixed length, and objects.
_PLAIN_TYPE = re.compile(r"[?biufcSUO]\d*")
_SCALARS = (type(None), bool, int, float, complex, str, bytes, np.generic)
# Opcodes for sets, for other classes, and for what lies outside of the file.
_REFUSED = (
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
    *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
# A message quotes no more of a file than this.
_QUOTED = 200


def read(
    path: Path | str, required: Collection[str] = (), optional: Collection[str] | None = None
) -> dict[str, Any]:
    """Read an ``.npz`` file.

    Parameters
    ----------
    path : Path
    required : collection of str
        Arrays that have to be there.
    optional : collection of str, optional
        Arrays that are read, too, if they are there; all others by default.

    Returns
    -------
    dict of str to object
        The arrays by name. An array without dimensions that holds an object, which is how numpy
        stores a dictionary, gives that object.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, lacks an array, is larger than the module says, or asks for
        anything but plain data: names the file and says what.
    """
    with documents.open_file(path) as stream:
        try:
            return _read_archive(stream, required, optional)
        except MemoryError as error:
            raise ValueError(f"{path}: asks for more memory than there is") from error
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: {_said(error)}") from error
        except Exception as error:  # a damaged file ends in whatever its readers meet
            raise ValueError(f"{path}: damaged, or no .npz file: {_said(error)}") from error


def read_arrays(
    path: Path | str, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """Read an ``.npz`` file of which arrays are wanted, and no other objects; else as `read`."""
    content = read(path, required, optional)
    for name, value in content.items():
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{path}: {name} wants an array, got {type(value).__name__}")
    return content


def read_pickle(path: Path | str) -> Any:
    """Read a ``.pkl`` file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        For instance a list of dictionaries of arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is larger than the module says, or asks for anything but plain
        data: names the file and says what.
    """
    with documents.open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LARGEST_BYTES:
            raise ValueError(f"{path}: {size} bytes long, {LARGEST_BYTES} are allowed")
        try:
            return load_pickle(stream, size)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: {_said(error)}") from error


def _read_archive(
    stream: IO[bytes], required: Collection[str], optional: Collection[str] | None
) -> dict[str, Any]:
    with zipfile.ZipFile(stream) as file:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in file.infolist():
            name = info.filename.removesuffix(".npy")
            if name in members:
                raise pickle.UnpicklingError(f"holds {name} twice")
            members[name] = info
        missing = sorted({*required} - {*members})
        if missing:
            there = ", ".join(sorted(members)) or "nothing"
            raise pickle.UnpicklingError(f"no array {', '.join(missing)}, only {there}")
        if optional is not None:
            members = {n: i for n, i in members.items() if n in required or n in optional}
        total = sum(info.file_size for info in members.values())
        packed = os.fstat(stream.fileno()).st_size
        allowed = min(LARGEST_BYTES, COMPRESSION * packed + COMPRESSION_BYTES)
        if total > allowed:
            raise pickle.UnpicklingError(
                f"its arrays are {total} bytes long, {allowed} are allowed"
            )
        arrays = {}
        for name, info in members.items():
            with file.open(info) as member:
                arrays[name] = _read_array(member, info.file_size)
                if member.read(1):
                    raise ValueError(f"{name} goes on after its end")
    return arrays


def _read_array(stream: IO[bytes], size: int) -> Any:
    version = np.lib.format.read_magic(stream)
    readers: dict[tuple[int, int], Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of numpy's format is not known")
    shape, _, dtype = readers[version](stream)
    if dtype.kind not in "biufcSUO" or not dtype.itemsize:
        raise pickle.UnpicklingError(f"holds an array of type {str(dtype)[:_QUOTED]!r}")
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of shape {shape} is not {size - stream.tell()} bytes long")
    if dtype.hasobject:
        array = load_pickle(stream, size)
        return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    stream.seek(0)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    _count_empty(array, _Budget(size).spend)
    return array


def numbers(value: Any, where: str) -> np.ndarray:
    """Return what a file holds as an array of numbers.

    Parameters
    ----------
    value : object
        For instance a list of arrays.
    where : str
        What the error names.

    Returns
    -------
    ndarray
        Of its own type, unless that is objects: then float64.

    Raises
    ------
    ValueError
        If it is ragged, or holds anything but real numbers.
    """
    try:
        array = np.asarray(value)
        if array.dtype == object:
            if not all(isinstance(item, int | float | np.number) for item in array.flat):
                raise TypeError("other things are among them")
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: want an array of numbers: {_said(error)}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where}: want an array of numbers, got {array.dtype}")
    return array


def load_pickle(stream: Any, size: int) -> Any:
    """Return the plain data of a pickle.

    Parameters
    ----------
    stream : binary file
        Holds the pickle, and nothing after it.
    size : int
        Bytes of the pickle; says how large what comes out may be.

    Raises
    ------
    pickle.UnpicklingError
        If the pickle is damaged, too much comes out of it, or it asks for anything but plain data.
    """
    budget = _Budget(size)
    # single bytes are read from a compressed file at a small fraction of the speed
    buffered = io.BufferedReader(stream)
    try:
        content = _PlainUnpickler(buffered, budget).load()
        if buffered.read(1):
            raise ValueError("goes on after its end")
        return _finished(content, budget.spend)
    except pickle.UnpicklingError:
        raise
    except MemoryError as error:
        raise pickle.UnpicklingError("asks for more memory than there is") from error
    except Exception as error:  # whatever a damaged pickle ends in
        raise pickle.UnpicklingError(f"damaged: {_said(error)}") from error
    finally:
        buffered.detach()


class _Budget:
    """How many bytes may still come out of a pickle."""

    def __init__(self, size: int) -> None:
        self.allowed = EXPANSION * size + EXPANSION_BYTES
        self.left = self.allowed

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise pickle.UnpicklingError(
                f"more than {self.allowed} bytes come out of it: it holds the same data again and "
                f"again"
            )


Spend = Callable[[int], None]


class _PlainUnpickler(pickle._Unpickler):
    """The unpickler that is written in Python, without all that leads out of plain data.

    The one in C takes memory for as many objects as the pickle says that it has.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BufferedReader, budget: _Budget) -> None:
        super().__init__(stream, encoding="latin1")
        self.spend = budget.spend

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved its functions from numpy.core to numpy._core
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
            ("numpy.core.multiarray", "_reconstruct"): _empty,
            ("numpy.core.multiarray", "scalar"): self._scalar,
            ("numpy.core.numeric", "_frombuffer"): _from_buffer,
            ("collections", "OrderedDict"): _ordered,
            ("_codecs", "encode"): self._encode,
        }
        found = known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(
                f"asks for {module:.{_QUOTED}}.{name:.{_QUOTED}}; only arrays and plain data are "
                f"read"
            )
        return found

    def _scalar(self, kind: _Type, content: Any) -> Any:
        if kind.dtype.hasobject:
            raise pickle.UnpicklingError("asks for a number that is an object")
        array = _Array()
        array.__setstate__((1, (), kind, False, content))
        return array.finished(self.spend)[()]

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"asks for the encoding {str(encoding)[:_QUOTED]!r}")
        self.spend(len(text))
        return text.encode("latin1")

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Type):
            raise pickle.UnpicklingError("asks to change what is no array")
        self.stack[-1].__setstate__(state)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        _set_items(self.stack[-1], items)

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("asks for other things than arrays and plain data")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        **dict.fromkeys((code[0] for code in _REFUSED), _refuse),
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dictionary,
    }


def _set_items(target: Any, items: list) -> None:
    if not isinstance(target, dict):
        raise pickle.UnpicklingError("asks to change what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        parts: Iterable = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _SCALARS) for part in parts):
            raise pickle.UnpicklingError("holds a dictionary by keys that are no numbers or text")
        target[key] = value


def _ordered(pairs: Iterable = ()) -> OrderedDict:
    found: OrderedDict = OrderedDict()
    _set_items(found, [part for key, value in pairs for part in (key, value)])
    return found


class _Type:
    """A data type as the file describes it: what numpy calls it, and the order of its bytes."""

    def __init__(self, name: str, align: object = False, copy: object = False) -> None:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise pickle.UnpicklingError(f"asks for arrays of type {str(name)[:_QUOTED]!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"asks for the byte order {str(order)[:_QUOTED]!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array whose elements may not be finished yet."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = np.dtype(float)
        self.content: Any = b""
        self.order: Any = "C"

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, kind, fortran, self.content = state
        self.dtype, self.order = kind.dtype, "F" if fortran else "C"

    def finished(self, spend: Spend) -> np.ndarray:
        content = self.content
        if self.dtype.hasobject:
            if not isinstance(content, list):
                raise TypeError("an array of objects without a list of them")
            spend(_OBJECT_BYTES * len(content))
            flat = np.empty(len(content), object)
            for number, item in enumerate(content):
                flat[number] = _finished(item, spend)
        else:
            if not isinstance(content, bytes | bytearray | str):
                raise TypeError("an array without bytes")
            spend(len(content))
            if isinstance(content, str):  # as Python 2 wrote bytes
                content = content.encode("latin1")
            flat = np.frombuffer(content, self.dtype).copy()
        array = flat.reshape(self.shape, order=self.order)
        _count_empty(array, spend)
        return array


def _count_empty(array: np.ndarray, spend: Spend) -> None:
    """Count the rows of an array without elements, for which no byte of the file stands."""
    if not array.size:
        spend(_OBJECT_BYTES * sum(array.shape))


def _empty(kind: type, shape: object, typecode: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("asks for a special kind of array")
    return _Array()


def _from_buffer(content: Any, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", content))
    return array


def _finished(value: Any, spend: Spend) -> Any:
    """Return plain data with arrays in place of descriptions of arrays."""
    spend(_OBJECT_BYTES)
    if isinstance(value, str | bytes | bytearray):
        spend(len(value))
        return value
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, _Array):
        return value.finished(spend)
    if isinstance(value, dict):
        return {key: _finished(item, spend) for key, item in value.items()}
    if isinstance(value, list):
        return [_finished(item, spend) for item in value]
    if isinstance(value, tuple):
        return tuple(_finished(item, spend) for item in value)
    raise pickle.UnpicklingError("holds what is neither an array nor plain data")


def _said(error: Exception) -> str:
    return str(error)[:_QUOTED] or type(error).__name__
