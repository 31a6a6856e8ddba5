"""Ranks that the data can support: paired tests over the episodes that all rows were measured on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from scipy import special

LEVEL = 0.05
"""Family-wise error of all comparisons of one leaderboard."""

NONE, EQUAL = 1e-18, 1e-12
"""A squared standard error below ``NONE`` is taken for zero; a difference up to ``EQUAL`` then is, too."""
BLOCK = 256
"""Number of rows that are tested against all others at a time. Only a few matrices of this height are held in memory."""
NEAR = 1e-6
"""Where the variance of a difference is a smaller share than this of the two rows' own variances, it is computed from the
difference itself: subtracting a covariance would leave too few digits."""

Outcomes = dict[str, np.ndarray]
"""Place (task and data set) -> outcomes (n,) in a fixed order, averaged over seeds."""


def mean_difference(first: Outcomes, second: Outcomes) -> tuple[float, float, float]:
    """Mean score of ``first`` minus that of ``second``, the half width of its 95 % interval, and the two-sided p-value.

    The mean score weighs every place the same, whatever its number of episodes, and so does the test. It divides the mean
    over places of the mean paired difference by its standard error and compares the quotient with Student's t, with the
    degrees of freedom of Welch and Satterthwaite. Rows that were not measured on the same episodes, or have none that are
    finite, cannot be compared: (nan, nan, 1).
    """
    incomparable = (math.nan, math.nan, 1.0)
    if not first or first.keys() != second.keys():
        return incomparable
    means, variances, freedom = [], [], []
    for place, values in first.items():
        if values.shape != second[place].shape or len(values) < 2:
            return incomparable
        difference = values - second[place]
        means.append(float(difference.mean()))
        variances.append(float(difference.var(ddof=1)) / len(difference))
        freedom.append(len(difference) - 1)
    total, mean = sum(variances), float(np.mean(means))
    if not math.isfinite(total):
        return incomparable
    if total < NONE:
        return mean, 0.0, 1.0 if abs(mean) <= EQUAL else 0.0
    degrees = total**2 / sum(v**2 / f for v, f in zip(variances, freedom, strict=True))
    error = math.sqrt(total) / len(means)
    half = float(special.stdtrit(degrees, 0.975)) * error
    return mean, half, float(2 * special.stdtr(degrees, -abs(mean / error)))


def paired_p(first: Outcomes, second: Outcomes) -> float:
    """Two-sided p-value that two rows have the same mean score; 1 where they cannot be compared."""
    return mean_difference(first, second)[2]


def all_paired_p(rows: Sequence[Outcomes]) -> np.ndarray:
    """:func:`paired_p` of all R rows with every row above: (R (R - 1) / 2,), the second with the first, the third with
    the first and the second ...

    The p-values agree with :func:`paired_p` to nine digits, but are computed for thousands of rows at once: the variance of
    a difference is that of both rows less twice their covariance, and covariances of all pairs are one matrix product.
    """
    p_values = np.ones(len(rows) * (len(rows) - 1) // 2)
    for members in _comparable(rows):
        places = [np.stack([rows[index][place] for index in members]) for place in rows[members[0]]]
        for position, found in enumerate(_p_by_row(places)):
            row = members[position]
            p_values[row * (row - 1) // 2 + members[:position]] = found
    return p_values


def _comparable(rows: Sequence[Outcomes]) -> Iterator[np.ndarray]:
    """Ascending indices of rows that were measured on the same episodes of the same places."""
    measured: dict[frozenset[tuple[str, tuple[int, ...]]], list[int]] = {}
    for index, row in enumerate(rows):
        if row and all(len(values) > 1 for values in row.values()):
            episodes = frozenset((place, values.shape) for place, values in row.items())
            measured.setdefault(episodes, []).append(index)
    return map(np.array, measured.values())


def _p_by_row(places: list[np.ndarray]) -> Iterator[np.ndarray]:
    """P-values (row,) of each row with all rows above, from every place's outcomes (R, n)."""
    count = len(places[0])
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        shape = block.stop - start, block.stop
        gap, total, squares = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for values in places:
            difference, variance = _differences(values, block)
            gap += difference
            total += variance
            squares += variance**2 / (values.shape[1] - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            p_values = 2 * special.stdtr(total**2 / squares, -np.abs(gap) / np.sqrt(total))
        exact = total < NONE
        p_values[exact] = np.abs(gap[exact]) / len(places) <= EQUAL
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


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise ``level``, in the given order."""
    return _rejected(np.asarray(p_values, dtype=float), level).tolist()


def _rejected(p_values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Holm's procedure on (m,) p-values: every p-value is rejected that is smaller than the
    smallest one not rejected."""
    ordered = np.sort(p_values)
    kept = ordered > level / np.arange(len(ordered), 0, -1)
    return p_values < ordered[kept.argmax()] if kept.any() else np.ones(len(ordered), dtype=bool)


def shared_ranks(rows: list[Outcomes]) -> list[int]:
    """Ranks of rows that come best first: 1 + how many rows above are separably better, never below the row
    above.

    All pairs are tested and corrected together, so that a chain of small differences does not give the
    first and the last row one rank.
    """
    if not rows:
        return []
    separable = _rejected(all_paired_p(rows))
    below = np.repeat(np.arange(len(rows)), np.arange(len(rows)))
    better = np.bincount(below[separable], minlength=len(rows))
    return (1 + np.maximum.accumulate(better)).tolist()


def pareto(costs: list[float | None], scores: list[float | None]) -> list[bool]:
    """Which rows no other row beats: none is as cheap and as good, and better in one of the two."""
    known = sorted((c, s) for c, s in zip(costs, scores, strict=True) if c is not None and s is not None)
    front, best = set(), -math.inf
    for cost, rows in groupby(known, key=lambda row: row[0]):
        score = max(score for _, score in rows)
        if score > best:
            best = score
            front.add((cost, score))
    return [row in front for row in zip(costs, scores, strict=True)]
