"""What a data set is, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from foundry_bench.errors import UserError


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
        advice: what its owner can add for a need of tasks that it lacks (``labels``, ``parts``, ``splits``).
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
    advice: dict[str, str] = field(default_factory=dict)


def check_whole(data: PointCloudDataset, what: str) -> PointCloudDataset:
    """``data``, which a plugin or a caller made. Raises UserError, whose line names ``what`` and the field, for texts that are
    none, clouds that are not (N, P, 3) numbers, and labels, series or paths that are not one for each cloud."""
    for name in ("name", "version", "sha256", "licence"):
        if not isinstance(getattr(data, name), str):
            raise UserError(f"{what} has a {name} that is no text; mend where it is made")
    shape: tuple[int, ...] = getattr(data.points, "shape", ())
    kind = getattr(getattr(data.points, "dtype", None), "kind", "f")
    if len(shape) != 3 or shape[2] != 3 or kind != "f":
        raise UserError(
            f"{what} has points that are no (N, P, 3) floating-point numbers; mend where it is made"
        )
    for name in ("labels", "series", "paths"):
        if np.shape(getattr(data, name)) != shape[:1]:
            raise UserError(
                f"{what} has not one of its {name} for each of {shape[0]} clouds; mend where it is made"
            )
    return data
