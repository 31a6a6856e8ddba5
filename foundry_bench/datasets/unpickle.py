"""Reads pickles of NumPy arrays without running what else a pickle can hold.

An ordinary unpickler imports and calls whatever the file names. This one refuses the file at the first name that arrays do not
need, before anything is called, and stands in for those that they do need: NumPy's own functions would believe a forged data
type or size, these build a plain array of numbers from bytes of the right length or fail.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.errors import UserError

#: What the unpickler and the functions below raise for a file that is no pickle, or one that was cut off or changed.
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
)
#: Containers in containers that data sets have at most: a dictionary of lists of tuples of arrays.
_DEPTH = 6


def load_arrays(path: Path) -> Any:
    """The content of a pickle of arrays, numbers, texts, lists, tuples and dictionaries.

    Raises:
        UserError: the file is missing or damaged, or it names anything else (the message says what).
    """
    try:
        with path.open("rb") as stream:
            return _plain(_ArrayUnpickler(stream, path).load(), _DEPTH)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): download it again") from error
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is no whole pickle of arrays ({reason}): download it again") from error


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, stream: Any, path: Path) -> None:
        super().__init__(stream)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        found = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise UserError(
                f"{self._path} asks for {module}.{name}, which no file of point clouds needs: "
                "delete it and download it again from the official page"
            )
        return found


class _Dtype:
    """Stands in for ``numpy.dtype``: a code such as ``f4`` with its byte order, no structure and no objects."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise ValueError(f"{code!r} is no type of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields, *_ = state
        if order not in "<>|=" or (subarray, names, fields) != (None, None, None):
            raise ValueError("a structured type is no type of numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for an array between its creation and its content, which arrives by ``__setstate__``."""

    def __init__(self, kind: object, shape: object, code: object) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _from_buffer(content, dtype, shape, "F" if fortran else "C")


def _from_buffer(content: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    values: np.ndarray = np.frombuffer(content, dtype.dtype)
    if len(values) != math.prod(shape):
        raise ValueError(f"an array {shape} has {len(values)} numbers")
    return values.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _Dtype, content: bytes) -> Any:
    return _from_buffer(content, dtype, (), "C")[()]


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 writes them. No other encoding: some of them decompress."""
    if encoding != "latin1":
        raise ValueError(f"bytes are written as latin1, not {encoding!r}")
    return text.encode("latin1")


#: What a pickle may name; NumPy 2 writes ``numpy._core`` where older versions wrote ``numpy.core``.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}


def _plain(value: Any, depth: int) -> Any:
    """The same containers with arrays in place of what stood in for them."""
    if depth < 0:
        raise ValueError("containers are nested too deep")
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array has no content")
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, depth - 1) for item in value)
    return value
