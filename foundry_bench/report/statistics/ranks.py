"""Ranks that the data can support: which rows are separably better, after correction for all the pairs that are tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from foundry_bench.report.statistics.paired import Sample, all_paired_p

LEVEL = 0.05
"""Family-wise error of all comparisons of one leaderboard."""


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise ``level``, in the given order; nan was not tested."""
    return _rejected(np.asarray(p_values, dtype=float), level).tolist()


def _rejected(p_values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Holm's procedure on (m,) p-values: every p-value is rejected that is smaller than the smallest one not rejected.

    A p-value of nan is none: it is not rejected, and the others are not corrected for it.
    """
    ordered = np.sort(p_values)
    ordered = ordered[: len(ordered) - np.isnan(ordered).sum()]
    kept = ordered > level / np.arange(len(ordered), 0, -1)
    return p_values < ordered[kept.argmax()] if kept.any() else ~np.isnan(p_values)


def separable_pairs(rows: Sequence[Sample]) -> np.ndarray:
    """Which of all pairs of R rows differ separably, bool (R (R - 1) / 2,), in the order of :func:`all_paired_p`.

    All pairs are tested and corrected together. A provisional row is tested against no other, and so differs from none.
    """
    return _rejected(all_paired_p(rows))


def shared_ranks(rows: Sequence[Sample], separable: np.ndarray | None = None) -> list[int]:
    """Ranks of rows that come best first: 1 + how many rows above are separably better, never below the row
    above.

    ``separable``: what :func:`separable_pairs` says of them, where that is known already. As all pairs are corrected together,
    a chain of small differences does not give the first and the last row one rank. A provisional row shares the rank of the row
    above, and lowers nobody's.
    """
    if not rows:
        return []
    found = separable_pairs(rows) if separable is None else separable
    below = np.repeat(np.arange(len(rows)), np.arange(len(rows)))
    better = np.bincount(below[found], minlength=len(rows))
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
