"""Paired tests over the clusters of objects that rows share, with the starts that they do not share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from foundry_bench.report.statistics.starts import NO_START, StartVariance

NONE, EQUAL = 1e-18, 1e-12
"""A squared standard error below ``NONE`` is taken for zero; a difference up to ``EQUAL`` then is, too."""
BLOCK = 256
"""Number of rows that are tested against all others at a time. Only a few matrices of this height are held in memory."""
NEAR = 1e-6
"""Where the variance of a difference is a smaller share than this of the two rows' own variances, it is computed from the
difference itself: subtracting a covariance would leave too few digits."""

Outcomes = dict[str, np.ndarray]
"""Place (task and data set) -> outcomes (n,) in a fixed order, one per cluster or episode, averaged over starts."""


@dataclass(frozen=True)
class Sample:
    """One row as tests see it. ``start``: what starts add to the variance of its mean; None where that is not known."""

    outcomes: Outcomes
    start: StartVariance | None = NO_START


def interval(sample: Sample) -> float:
    """Half width of the 95 % interval of a row's mean score; of clusters alone where the start's part is not known, nan
    without outcomes."""
    clusters = [_mean_and_variance(values) for values in sample.outcomes.values()]
    if not clusters:
        return math.nan
    return _half(clusters, [sample.start or NO_START])


def _mean_and_variance(values: np.ndarray) -> tuple[float, float, int]:
    """Mean of outcomes (n,), its variance over them, and the degrees of freedom; nan for the variance of one outcome."""
    count = len(values)
    variance = float(values.var(ddof=1)) / count if count > 1 else math.nan
    return float(values.mean()), variance, count - 1


def _half(clusters: list[tuple[float, float, int]], starts: list[StartVariance]) -> float:
    total, degrees = _variance(clusters, starts)
    if total < NONE:
        return 0.0
    return float(special.stdtrit(degrees, 0.975)) * math.sqrt(total) if math.isfinite(total) else math.nan


def _variance(clusters: list[tuple[float, float, int]], starts: list[StartVariance]) -> tuple[float, float]:
    """Variance of a mean over places, and its degrees of freedom after Welch and Satterthwaite."""
    parts = [(variance / len(clusters) ** 2, float(freedom)) for _, variance, freedom in clusters]
    parts += [(start.value, start.freedom) for start in starts]
    total = sum(value for value, _ in parts)
    squares = sum(value**2 / freedom for value, freedom in parts if value) + _common_error(starts)
    return total, total**2 / squares if squares else math.inf


def _common_error(starts: list[StartVariance]) -> float:
    """What two estimates add to the sum for the degrees of freedom where one is in the other: twice their covariance."""
    if len(starts) < 2 or starts[0].pool is None or starts[0].pool != starts[1].pool:
        return 0.0
    first, second = starts
    return 2 * first.value * second.value / max(first.freedom, second.freedom)


def mean_difference(first: Sample, second: Sample) -> tuple[float, float, float]:
    """Mean score of ``first`` minus that of ``second``, the half width of its 95 % interval, and the two-sided p-value.

    The mean score weighs every place the same, whatever its number of outcomes, and so does the test. It divides the mean
    over places of the mean paired difference by its standard error and compares the quotient with Student's t, with the
    degrees of freedom of Welch and Satterthwaite. The squared error is the variance over clusters, which both rows share, and
    what the starts of each row add, which are independent. Rows that were not measured on the same clusters, or have none that
    are finite, cannot be compared: (nan, nan, 1). Where a row's start is not accounted for (*provisional*), the interval is
    over clusters alone, and p is nan: nothing is tested.
    """
    incomparable = (math.nan, math.nan, 1.0)
    if not first.outcomes or first.outcomes.keys() != second.outcomes.keys():
        return incomparable
    clusters = []
    for place, values in first.outcomes.items():
        if values.shape != second.outcomes[place].shape or len(values) < 2:
            return incomparable
        clusters.append(_mean_and_variance(values - second.outcomes[place]))
    mean = float(np.mean([place for place, _, _ in clusters]))
    provisional = first.start is None or second.start is None
    starts = [first.start or NO_START, second.start or NO_START]
    total, degrees = _variance(clusters, starts)
    if not math.isfinite(total):
        return incomparable
    half = _half(clusters, starts)
    if provisional:
        return mean, half, math.nan
    if total < NONE:
        return mean, half, 1.0 if abs(mean) <= EQUAL else 0.0
    return mean, half, float(2 * special.stdtr(degrees, -abs(mean) / math.sqrt(total)))


def paired_p(first: Sample, second: Sample) -> float:
    """Two-sided p-value that two rows have the same mean score; 1 where they cannot be compared, nan where nothing is
    tested."""
    return mean_difference(first, second)[2]


def all_paired_p(rows: Sequence[Sample]) -> np.ndarray:
    """:func:`paired_p` of all R rows with every row above: (R (R - 1) / 2,), the second with the first, the third with
    the first and the second ...

    The p-values agree with :func:`paired_p` to nine digits, but are computed for thousands of rows at once: the variance of
    a difference is that of both rows less twice their covariance, and covariances of all pairs are one matrix product.
    """
    p_values = np.ones(len(rows) * (len(rows) - 1) // 2)
    for members in _comparable(rows):
        samples = [rows[index] for index in members]
        places = [np.stack([sample.outcomes[place] for sample in samples]) for place in samples[0].outcomes]
        for position, found in enumerate(_p_by_row(places, _Starts.of(samples))):
            row = members[position]
            p_values[row * (row - 1) // 2 + members[:position]] = found
    return p_values


def _comparable(rows: Sequence[Sample]) -> Iterator[np.ndarray]:
    """Ascending indices of rows that were measured on the same clusters of the same places."""
    measured: dict[frozenset[tuple[str, tuple[int, ...]]], list[int]] = {}
    for index, row in enumerate(rows):
        if row.outcomes and all(len(values) > 1 for values in row.outcomes.values()):
            clusters = frozenset((place, values.shape) for place, values in row.outcomes.items())
            measured.setdefault(clusters, []).append(index)
    return map(np.array, measured.values())


@dataclass(frozen=True)
class _Starts:
    """Start variances of R rows, each an array (R,): ``value`` with ``inverse`` 1 / degrees of freedom, ``pool`` the number
    of a common estimate or -1, ``known`` bool, false where provisional."""

    value: np.ndarray
    inverse: np.ndarray
    pool: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Starts:
        starts = [sample.start or NO_START for sample in samples]
        number: dict[Hashable, int] = {None: -1}
        for start in starts:
            number.setdefault(start.pool, len(number))
        return cls(
            np.array([start.value for start in starts]),
            np.array([1 / start.freedom for start in starts]),
            np.array([number[start.pool] for start in starts]),
            np.array([sample.start is not None for sample in samples]),
        )

    def add(self, block: slice, total: np.ndarray, squares: np.ndarray) -> None:
        """Add to the variances of differences, and to the sums for their degrees of freedom, both (rows of block, rows)."""
        if not self.value.any():
            return
        end = block.stop
        total += self.value[block, None] + self.value[:end]
        own = self.value**2 * self.inverse
        squares += own[block, None] + own[:end]
        alike = (self.pool[block, None] == self.pool[:end]) & (self.pool[block, None] >= 0)
        if alike.any():
            common = np.minimum(self.inverse[block, None], self.inverse[:end])
            squares += np.where(alike, 2 * self.value[block, None] * self.value[:end] * common, 0.0)


def _p_by_row(places: list[np.ndarray], starts: _Starts) -> Iterator[np.ndarray]:
    """P-values (row,) of each row with all rows above, from every place's outcomes (R, n)."""
    count = len(places[0])
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        shape = block.stop - start, block.stop
        gap, total, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for values in places:
            difference, variance = _differences(values, block)
            gap += difference / len(places)
            total += variance / len(places) ** 2
            squares += (variance / len(places) ** 2) ** 2 / (values.shape[1] - 1)
        starts.add(block, total, squares)
        with np.errstate(divide="ignore", invalid="ignore"):
            p_values = 2 * special.stdtr(total**2 / squares, -np.abs(gap) / np.sqrt(total))
        exact = total < NONE
        p_values[exact] = np.abs(gap[exact]) <= EQUAL
        p_values[~(starts.known[block, None] & starts.known[: block.stop])] = np.nan
        p_values[~np.isfinite(total)] = 1.0
        yield from (found[:row] for row, found in enumerate(p_values, start))


def _differences(values: np.ndarray, block: slice) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows of ``block`` minus every row up to its end, and that mean's variance, over outcomes (R, n)."""
    episodes = values.shape[1]
    means = values[: block.stop].mean(axis=1)
    centred = values[: block.stop] - means[:, None]
    own = (centred**2).sum(axis=1)
    gap = means[block, None] - means
    both = own[block, None] + own
    variance = both - 2 * centred[block] @ centred.T
    near = variance <= NEAR * both
    for row, columns in enumerate(near):
        above = np.flatnonzero(columns[: block.start + row])
        if above.size:
            difference = values[block.start + row] - values[above]
            gap[row, above] = difference.mean(axis=1)
            variance[row, above] = difference.var(axis=1) * episodes
    return gap, variance / ((episodes - 1) * episodes)
