"""Files of numpy arrays that hold Python objects, read without running what they say.

Data sets of poses keep lists and dictionaries of arrays in ``.npz`` files. numpy stores these as
pickles, and a pickle may call any function of the machine that reads it. Here only plain data come
out of one: numbers, text, lists, tuples, dictionaries, and arrays of numbers, text or plain data.
Every other name in the file is an error. Arrays are made here from their bytes; numpy's own
functions for that trust what the file says about their memory.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

# Booleans, numbers, bytes and text of a fixed length, and objects.
_PLAIN_TYPE = re.compile(r"[?biufcSUO]\d*")
# What a damaged pickle ends in, besides `pickle.UnpicklingError`.
_DAMAGE = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def read(path: Path | str) -> dict[str, Any]:
    """Read an ``.npz`` file.

    Parameters
    ----------
    path : Path

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
        If the file is damaged, or asks for anything but plain data: says for what.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                with file.open(name) as stream:
                    arrays[name.removesuffix(".npy")] = _read_array(stream)
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error
    return arrays


def _read_array(stream: IO[bytes]) -> Any:
    version = np.lib.format.read_magic(stream)
    readers: dict[tuple[int, int], Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of numpy's format is not known")
    _, _, dtype = readers[version](stream)
    if dtype.hasobject:
        array = load_pickle(stream)
        return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def load_pickle(stream: IO[bytes]) -> Any:
    """Return the plain data of a pickle.

    Raises
    ------
    pickle.UnpicklingError
        If the pickle is damaged, or asks for anything but plain data.
    """
    try:
        return _finished(_PlainUnpickler(stream, encoding="latin1").load())
    except _DAMAGE as error:
        raise pickle.UnpicklingError(f"damaged: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved its functions from numpy.core to numpy._core
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
            ("numpy.core.multiarray", "_reconstruct"): _empty,
            ("numpy.core.multiarray", "scalar"): _scalar,
            ("numpy.core.numeric", "_frombuffer"): _from_buffer,
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): _encode,
        }
        found = known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise pickle.UnpicklingError(
                f"asks for {module}.{name}; only arrays and plain data are read"
            )
        return found


class _Type:
    """A data type as the file describes it: what numpy calls it, and the order of its bytes."""

    def __init__(self, name: str, align: object = False, copy: object = False) -> None:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise pickle.UnpicklingError(f"asks for arrays of type {name!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"asks for the byte order {order!r}")
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

    def finished(self) -> np.ndarray:
        if self.dtype.hasobject:
            flat = np.empty(len(self.content), object)
            for number, item in enumerate(self.content):
                flat[number] = _finished(item)
        else:
            content = self.content
            if isinstance(content, str):  # as Python 2 wrote bytes
                content = content.encode("latin1")
            flat = np.frombuffer(content, self.dtype).copy()
        return flat.reshape(self.shape, order=self.order)


def _empty(kind: type, shape: object, typecode: object) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("asks for a special kind of array")
    return _Array()


def _from_buffer(content: Any, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", bytes(content)))
    return array


def _scalar(kind: _Type, content: Any) -> Any:
    array = _Array()
    array.__setstate__((1, (), kind, False, content))
    return array.finished()[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _finished(value: Any) -> Any:
    """Return plain data with arrays in place of descriptions of arrays."""
    if isinstance(value, _Array):
        return value.finished()
    if isinstance(value, dict):
        return {_finished(key): _finished(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finished(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_finished(item) for item in value)
    return value
