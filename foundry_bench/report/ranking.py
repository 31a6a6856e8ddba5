"""Ranks that the data can support: paired tests over the episodes that all rows were measured on."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Family-wise error of all comparisons of one leaderboard."""

Outcomes = dict[str, np.ndarray]
"""Place (task and data set) -> outcomes (n,) in a fixed order, averaged over seeds."""


def mean_difference(first: Outcomes, second: Outcomes) -> tuple[float, float, float]:
    """Mean score of ``first`` minus that of ``second``, the half width of its 95 % interval, and the two-sided p-value.

    The mean score weighs every place the same, whatever its number of episodes, and so does the test: the
    mean over places of the mean paired difference, over its standard error, against Student's t with the
    degrees of freedom of Welch and Satterthwaite. Rows that were not measured on the same episodes cannot be
    compared: (nan, nan, 1).
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
    if total < 1e-18:
        return mean, 0.0, 1.0 if math.isclose(mean, 0.0, abs_tol=1e-12) else 0.0
    degrees = total**2 / sum(v**2 / f for v, f in zip(variances, freedom, strict=True))
    error = math.sqrt(total) / len(means)
    half = float(stats.t.ppf(0.975, degrees)) * error
    return mean, half, float(2 * stats.t.sf(abs(mean / error), degrees))


def paired_p(first: Outcomes, second: Outcomes) -> float:
    """Two-sided p-value that two rows have the same mean score; 1 where they cannot be compared."""
    return mean_difference(first, second)[2]


def holm(p_values: list[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise ``level``, in the given order."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


def shared_ranks(rows: list[Outcomes]) -> list[int]:
    """Ranks of rows that come best first: 1 + how many rows above are separably better, never below the row
    above.

    All pairs are tested and corrected together, so that a chain of small steps does not tie the first to the
    last.
    """
    pairs = [(above, below) for below in range(len(rows)) for above in range(below)]
    rejected = holm([paired_p(rows[above], rows[below]) for above, below in pairs])
    ranks = [1] * len(rows)
    for (_, below), separable in zip(pairs, rejected, strict=True):
        ranks[below] += separable
    return [int(rank) for rank in np.maximum.accumulate(ranks)] if ranks else []


def pareto(costs: list[float | None], scores: list[float | None]) -> list[bool]:
    """Which rows no other row beats: none is as cheap and as good, and better in one of the two."""

    def dominated(cost: float, score: float) -> bool:
        return any(
            c is not None and s is not None and c <= cost and s >= score and (c < cost or s > score)
            for c, s in zip(costs, scores, strict=True)
        )

    return [
        c is not None and s is not None and not dominated(c, s) for c, s in zip(costs, scores, strict=True)
    ]
