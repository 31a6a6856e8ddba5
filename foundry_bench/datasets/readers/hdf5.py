"""Arrays of HDF5 files that are in the file itself and have the size that they announce.

Source: the HDF5 Group's documentation of external links, external storage and virtual data sets, all of which read other files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundry_bench.datasets.one_file import FileError, reading, shown
from foundry_bench.datasets.readers.bounds import must_be_small, must_fit

_PACKED = 1100
"""How many times smaller than itself an array can be packed: deflate does not get further."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """A read-only HDF5 file. Raises UserError for one that is missing or damaged, and for whatever is raised inside."""
    import h5py

    # Without locks: data sets often lie on read-only or network disks, where HDF5 cannot take one.
    with reading(path, "download it again"), h5py.File(path, "r", locking=False) as file:
        yield file


def own_array(file: Any, key: str) -> Any:
    """The data set ``key`` of numbers; raises FileError where it is none, or where its values are not all in ``file``."""
    import h5py

    if key not in file:
        raise FileError(f"has no {key!r}, only {shown(', '.join(list(file)[:8])) or 'nothing'}")
    array = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if array is not None and not isinstance(array, h5py.Dataset):
        raise FileError(f"has a {key!r} that is no array")
    if array is None or array.external or array.is_virtual:
        raise FileError(f"keeps its {key!r} in another file")
    if array.dtype.kind not in "fiu":
        raise FileError(f"has a {key!r} of {array.dtype} and not numbers")
    stored = array.id.get_storage_size()
    must_fit(stored, os.path.getsize(file.filename), repr(key))
    must_fit(math.prod(array.shape) * array.dtype.itemsize, _PACKED * stored, repr(key))
    must_be_small(math.prod(array.chunks or ()) * array.dtype.itemsize, "write it in smaller chunks")
    return array
