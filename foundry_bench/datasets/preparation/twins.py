"""Which objects are the same shape up to the noise of sampling: the series that a split must not divide.

Two halves of one object's points lie a certain chamfer distance apart. Two objects are twins if a half of one lies hardly
farther from a half of the other. Nearly all pairs are told apart by less: second moments first, then the distance of a few
points; only the rest is measured in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

#: Objects nearer to each other than this many times the distance of two samplings of themselves are twins.
TWIN_RATIO = 1.15
#: Points of a half; an object needs twice as many.
HALF = 512

#: Two objects whose second moments (unit sphere) differ by more anywhere are no twins: a shift of the surface that the
#: ratio allows changes them by 0.03.
MOMENT_GAP = 0.08
#: Points with which a distance is first estimated, to 5 %, and the ratio above which the estimate tells two objects apart.
FEW, FEW_RATIO = 64, 1.5

_BATCH = 32


@dataclass(frozen=True)
class Halves:
    """Objects as two samplings each.

    Attributes:
        first: ``(N, HALF, 3)`` float32, centred, in the unit sphere.
        second: ``(N, HALF, 3)``, further points of the same objects.
        moments: ``(N, 6)`` second moments of both together.
        noise: ``(N,)`` chamfer distance of the two halves.
    """

    first: np.ndarray
    second: np.ndarray
    moments: np.ndarray
    noise: np.ndarray

    @staticmethod
    def of(points: np.ndarray) -> Halves:
        """Splits clouds ``(N, P, 3)`` of at least ``2 * HALF`` points in random order."""
        first, second = points[:, :HALF], points[:, HALF : 2 * HALF]
        both = points[:, : 2 * HALF].astype(np.float64)
        covariance = both.transpose(0, 2, 1) @ both / both.shape[1]
        upper = np.triu_indices(3)
        alone = np.arange(len(points))
        noise = np.concatenate([_chamfer(first[rows], second[rows]) for rows in _batches(alone)])
        return Halves(first, second, covariance[:, upper[0], upper[1]], noise)

    def __getitem__(self, rows: np.ndarray) -> Halves:
        return Halves(self.first[rows], self.second[rows], self.moments[rows], self.noise[rows])


def twin_pairs(left: Halves, right: Halves | None = None) -> np.ndarray:
    """Pairs ``(K, 2)`` of rows that are twins: of two sets, or all pairs within one, each once."""
    other = right or left
    pairs = _alike_in_moments(left.moments, None if right is None else right.moments)
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


def _alike_in_moments(left: np.ndarray, right: np.ndarray | None) -> np.ndarray:
    tree = cKDTree(left)
    if right is None:
        found = tree.query_pairs(MOMENT_GAP, p=np.inf, output_type="ndarray")
    else:
        near = tree.query_ball_tree(cKDTree(right), MOMENT_GAP, p=np.inf)
        found = np.array([(i, j) for i, row in enumerate(near) for j in row], dtype=np.int64)
    found = found.reshape(-1, 2)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _few_ratios(left: Halves, right: Halves, pairs: np.ndarray) -> np.ndarray:
    """Estimate of :func:`ratios` from ``FEW`` points of one object against a half of the other: ``(K,)``."""
    found = [np.zeros(0)]
    for rows in _batches(pairs, _BATCH * HALF // FEW):
        i, j = rows.T
        nearest = _squared(left.first[i, :FEW], right.second[j]).min(axis=2)
        found.append(np.sqrt(nearest).mean(axis=1) * 2 / (left.noise[i] + right.noise[j]))
    return np.concatenate(found)


def _chamfer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance to the nearest point of the other cloud, averaged over both ways: ``(B,)`` of ``(B, P, 3)`` each."""
    squared = _squared(a, b)
    there, back = np.sqrt(squared.min(axis=2)), np.sqrt(squared.min(axis=1))
    return (there.mean(axis=1) + back.mean(axis=1)) / 2


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances ``(B, P, Q)``."""
    lengths = (a**2).sum(axis=2)[:, :, None] + (b**2).sum(axis=2)[:, None, :]
    return np.maximum(lengths - 2 * a @ b.transpose(0, 2, 1), 0.0)


def _batches(rows: np.ndarray, size: int = _BATCH) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
