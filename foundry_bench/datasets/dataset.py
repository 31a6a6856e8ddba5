"""What a data set is, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


class CloudArray(Protocol):
    """An array (N, P, 3) of float32, or (N, P) of what is known of the points, that need not be in memory.

    ``clouds[rows]`` and ``clouds[rows, :points]`` give NumPy arrays; ``rows`` is a number, a slice or an array of numbers or
    booleans.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Episode:
    """One few-shot problem; ``support`` and ``query`` are rows of the data set, labels are its classes."""

    index: int
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


@dataclass(frozen=True)
class PointCloudDataset:
    """Objects as point clouds, with what is known of them.

    Attributes:
        name: of the data set.
        version: of the data set.
        sha256: hash over its data files, used as the data hash of a sweep's cells.
        classes: class names.
        points: ``(N, P, 3)`` float32 in the unit sphere, centred on the mean, z up, points in random order. A NumPy array,
            or a :class:`CloudArray` that reads from disk, or makes, what is asked for: index the clouds first.
        labels: ``(N,)`` int64 class index, -1 unlabelled.
        series: ``(N,)`` str; objects of one series differ in a dimension only.
        paths: ``(N,)`` str, source file inside its package.
        splits: split name (``seed0``) to ``(N,)`` of ``train``, ``test`` or the empty string.
        parts: ``(N, P)`` int8 part index within the object's category, or, where categories have no ``part_names``, within
            the object; -1 none; None for a set without parts. An array of the same kind as ``points``.
        part_names: category (a class name) to part names.
        novel_classes: classes that the pretraining set does not contain.
        licence: SPDX expression.
        episodes: few-shot problems that the data set itself prescribes, by name (``5w10s``); empty where tasks draw them.
    """

    name: str
    version: str
    sha256: str
    classes: tuple[str, ...]
    points: np.ndarray | CloudArray
    labels: np.ndarray
    series: np.ndarray
    paths: np.ndarray
    splits: dict[str, np.ndarray]
    parts: np.ndarray | CloudArray | None
    part_names: dict[str, tuple[str, ...]]
    novel_classes: tuple[str, ...]
    licence: str
    episodes: dict[str, tuple[Episode, ...]] = field(default_factory=dict)
