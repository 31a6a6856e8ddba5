"""What the random start of a student does to its score: the part of the variance that no number of objects makes smaller.

Outcomes of one row are crossed: S starts, the same C clusters of objects for each. In the random-effects model

    x[s, c] = mean + cluster[c] + start[s] + rest[s, c]

the mean over both has the variance var(cluster) / C + var(start) / S + var(rest) / (S C). Over clusters alone the outcomes
averaged over starts give the first and the last term, without bias (:mod:`foundry_bench.report.statistics.paired`). What is
missing is var(start) / S. Its estimate is that of two-way analysis of variance: the variance of the S means less what the rest
puts into it, var(rest) / C. The rest is thus counted once, as in the two-way clustered variance (by clusters plus by starts
less by both) of Cameron, Gelbach and Miller 2011. Owen's pigeonhole bootstrap (2007), which resamples clusters and starts, is a
little wider, because it counts the rest with both.

Rows differ in their starts and share their clusters. A negative estimate counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Runs = dict[str, np.ndarray]
"""Place (task and data set) -> outcomes (S, C) of every start and cluster, starts in one order at all places."""


@dataclass(frozen=True)
class StartVariance:
    """The part of a mean's variance that comes of random starts, with ``freedom`` degrees of freedom.

    ``pool`` names the rows whose estimates are pooled with it: two estimates of one pool err alike.
    """

    value: float
    freedom: float
    pool: Hashable = None

    def of_mean(self, starts: int) -> StartVariance:
        """That of a mean over ``starts``; a negative estimate becomes zero."""
        return replace(self, value=max(self.value, 0.0) / starts)


PRIOR = 4.0
"""Degrees of freedom that a family counts as beside a row's own: twice those of three starts."""
NO_START = StartVariance(0.0, math.inf)
"""Of a row that every start leaves the same."""


@dataclass(frozen=True)
class Started:
    """What is known of a row's starts. ``random``: whether another start makes another student. ``family``: the rows that a
    start is taken to move alike."""

    runs: Runs
    family: Hashable
    random: bool = True


def start_variance(runs: Runs) -> StartVariance | None:
    """The variance of one start's effect on the mean over places, which may come out negative; None for a single start.

    The rest is taken to be independent between places.
    """
    counts = {len(values) for values in runs.values()}
    starts = min(counts, default=1)
    if starts < 2 or len(counts) > 1:
        return None
    means = np.mean([values.mean(axis=1) for values in runs.values()], axis=0)
    rest = sum(_rest(values) for values in runs.values()) / len(runs) ** 2
    return StartVariance(float(means.var(ddof=1)) - rest, starts - 1)


def _rest(values: np.ndarray) -> float:
    """The variance that the rest puts into the mean of one start, from outcomes (S, C)."""
    starts, clusters = values.shape
    if clusters < 2:
        return 0.0
    centred = values - values.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    return float(np.square(centred).sum()) / ((starts - 1) * (clusters - 1) * clusters)


def start_variances(rows: Sequence[Started]) -> list[StartVariance | None]:
    """What starts add to the variance of each row's mean over its starts and places.

    A row with several starts has its own estimate, :func:`moderated` by that of its family, pooled by degrees of freedom over
    the rows that have several and were measured at the same places. A row with one takes the latter alone; None,
    *provisional*, where there is none.
    """
    own = [start_variance(row.runs) if row.random else None for row in rows]
    groups: dict[Hashable, list[StartVariance]] = {}
    for row, estimate in zip(rows, own, strict=True):
        if estimate is not None:
            groups.setdefault(_group(row), []).append(estimate)
    pools = {group: pooled(estimates, group) for group, estimates in groups.items()}
    return [_of_row(row, estimate, pools) for row, estimate in zip(rows, own, strict=True)]


def _of_row(
    row: Started, own: StartVariance | None, pools: dict[Hashable, StartVariance]
) -> StartVariance | None:
    if not row.random:
        return NO_START
    pool = pools.get(_group(row))
    if own is None or pool is None:
        return None if pool is None else pool.of_mean(1)
    return moderated(own, pool).of_mean(len(next(iter(row.runs.values()))))


def moderated(own: StartVariance, pool: StartVariance) -> StartVariance:
    """A row's estimate drawn towards that of its family, which counts as ``PRIOR`` further degrees of freedom.

    The moderated variance of Smyth 2004 (Stat Appl Genet Mol Biol 3:3), with a fixed prior. Three starts alone often show next
    to none of their variance by chance, and of many rows those that did would be told apart. Alone in its family, a row has
    what it shows itself.
    """
    value = (own.freedom * own.value + PRIOR * pool.value) / (own.freedom + PRIOR)
    return StartVariance(value, min(own.freedom + PRIOR, pool.freedom), pool.pool)


def _group(row: Started) -> Hashable:
    return row.family, tuple(sorted(row.runs))


def pooled(estimates: Iterable[StartVariance], name: Hashable) -> StartVariance:
    """Their mean, weighted by degrees of freedom."""
    known = list(estimates)
    freedom = sum(estimate.freedom for estimate in known)
    value = sum(estimate.value * estimate.freedom for estimate in known) / freedom
    return StartVariance(value, freedom, name)
