"""Points of binary files, each a record of several numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np


def read_records(stream: IO[bytes], kind: np.dtype[Any], count: int) -> np.ndarray:
    """The ``count`` records of type ``kind`` at which a stream stands, which holds at least as many."""
    return np.frombuffer(stream.read(kind.itemsize * count), kind, count)


def axes(records: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The fields ``names`` of records (n,) side by side: (n, names), in the type that holds all of them."""
    columns = [records[name] for name in names]
    points = np.empty((len(records), len(columns)), np.result_type(*columns))
    for place, column in enumerate(columns):
        points[:, place] = column
    return points
