"""Which objects are the same shape up to the noise of sampling: the series that a split must not divide.

Two halves of one object's points lie a certain chamfer distance apart. Two objects are twins if a half of one lies hardly
farther from a half of the other. Nearly all pairs are told apart by less: how their coordinates are distributed first, then
the distance of a few points; only the rest is measured in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

#: Objects nearer to each other than this many times the distance of two samplings of themselves are twins.
TWIN_RATIO = 1.15
#: Points of a half; an object needs twice as many.
HALF = 512

#: Mean gap between the quantiles of a coordinate, or of the distance from the centre, beyond which two objects are no twins.
#: Of 332 twins among 33,992 pairs that were all measured the largest gap was 0.064.
MARGINAL_GAP = 0.1
QUANTILES = 16
#: Points with which a distance is first estimated, to 5 %, and the ratio above which the estimate tells two objects apart.
FEW, FEW_RATIO = 64, 1.5

_BATCH = 8


@dataclass(frozen=True)
class Halves:
    """Objects as two samplings each.

    Attributes:
        first: ``(N, HALF, 3)`` float32, centred, in the unit sphere.
        second: ``(N, HALF, 3)``, further points of the same objects.
        marginals: ``(N, 4, QUANTILES)`` quantiles of x, y, z and the distance from the centre, over both together.
        noise: ``(N,)`` chamfer distance of the two halves.
    """

    first: np.ndarray
    second: np.ndarray
    marginals: np.ndarray
    noise: np.ndarray

    @staticmethod
    def of(points: np.ndarray) -> Halves:
        """Splits clouds ``(N, P, 3)`` of at least ``2 * HALF`` points in random order."""
        first, second = points[:, :HALF], points[:, HALF : 2 * HALF]
        both = points[:, : 2 * HALF]
        values = np.concatenate([both, np.linalg.norm(both, axis=2, keepdims=True)], axis=2)
        levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
        marginals = np.quantile(values, levels, axis=1).transpose(1, 2, 0).astype(np.float32)
        alone = np.arange(len(points))
        noise = np.concatenate([_chamfer(first[rows], second[rows]) for rows in _batches(alone)])
        return Halves(first, second, marginals, noise)

    def __getitem__(self, rows: np.ndarray) -> Halves:
        return Halves(self.first[rows], self.second[rows], self.marginals[rows], self.noise[rows])


def twin_pairs(left: Halves, right: Halves | None = None) -> np.ndarray:
    """Pairs ``(K, 2)`` of rows that are twins: of two sets, or all pairs within one, each once."""
    other = right or left
    pairs = _alike(left.marginals, other.marginals, once=right is None)
    pairs = pairs[_few_ratios(left, other, pairs) < FEW_RATIO]
    return pairs[ratios(left, other, pairs) < TWIN_RATIO]


def ratios(left: Halves, right: Halves, pairs: np.ndarray) -> np.ndarray:
    """Distance of the objects of each pair ``(K, 2)``, as a multiple of their sampling noise: ``(K,)``."""
    found = [np.zeros(0)]
    for rows in _batches(pairs):
        i, j = rows.T
        crossed = _chamfer(left.first[i], right.second[j]) + _chamfer(left.second[i], right.first[j])
        found.append(crossed / (left.noise[i] + right.noise[j]))
    return np.concatenate(found)


def united(series: Sequence[str], pairs: Iterable[Sequence[int]]) -> list[str]:
    """Series names of N objects after the series of every pair of rows are made one, which takes the first name of all."""
    names, number = np.unique(np.asarray(series), return_inverse=True)
    links = number[np.array(list(pairs), dtype=np.int64).reshape(-1, 2)]
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(names), len(names)))
    group = connected_components(graph, directed=False)[1]
    first = [names[np.flatnonzero(group == g)[0]] for g in range(group.max() + 1)]
    return [str(first[g]) for g in group[number]]


def _alike(left: np.ndarray, right: np.ndarray, once: bool) -> np.ndarray:
    """Pairs of rows ``(K, 2)`` with marginals ``(N, 4, QUANTILES)`` that are near; of ``once``, those with i < j only."""
    found = []
    for i, own in enumerate(left):
        gap = np.abs(right - own).mean(axis=2).max(axis=1)
        near = np.flatnonzero(gap < MARGINAL_GAP)
        near = near[near > i] if once else near
        found.append(np.stack([np.full_like(near, i), near], axis=1))
    return np.concatenate(found)


def _few_ratios(left: Halves, right: Halves, pairs: np.ndarray) -> np.ndarray:
    """Estimate of :func:`ratios` from ``FEW`` points of one object against a half of the other: ``(K,)``."""
    found = [np.zeros(0)]
    for rows in _batches(pairs, _BATCH * HALF // FEW):
        i, j = rows.T
        nearest = _squared(left.first[i, :FEW], right.second[j]).min(axis=2)
        found.append(_roots(nearest).mean(axis=1) * 2 / (left.noise[i] + right.noise[j]))
    return np.concatenate(found)


def _chamfer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance to the nearest point of the other cloud, averaged over both ways: ``(B,)`` of ``(B, P, 3)`` each."""
    squared = _squared(a, b)
    there, back = _roots(squared.min(axis=2)), _roots(squared.min(axis=1))
    return (there.mean(axis=1) + back.mean(axis=1)) / 2


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances ``(B, P, Q)``."""
    ones = np.ones((*a.shape[:2], 1), a.dtype), np.ones((*b.shape[:2], 1), b.dtype)
    # One product a pair instead of a sum of three arrays: |a|^2 - 2 ab + |b|^2.
    left = np.concatenate([-2 * a, (a**2).sum(axis=2, keepdims=True), ones[0]], axis=2)
    right = np.concatenate([b, ones[1], (b**2).sum(axis=2, keepdims=True)], axis=2)
    return left @ right.transpose(0, 2, 1)


def _roots(squared: np.ndarray) -> np.ndarray:
    """Square roots, 0 where rounding made a square negative."""
    return np.sqrt(np.maximum(squared, 0.0))


def _batches(rows: np.ndarray, size: int = _BATCH) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
