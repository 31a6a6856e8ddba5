"""Rows compared with each other at the same share of the teacher's cost, and all rows with a reference row, paired over
clusters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import Row
from foundry_bench.report.statistics.paired import Sample, mean_difference
from foundry_bench.report.statistics.ranks import holm
from foundry_bench.report.tables import selector

TARGETS = (0.60, 0.40, 0.25)
"""Shares of the teacher's multiply-adds at which methods are compared."""
TOLERANCE = 0.07


def at_matched_cost(
    board: pd.DataFrame, targets: tuple[float, ...] = TARGETS, tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """The ranked rows of the leaderboard that are closest to each target, one per method and variant, with the column
    ``target``.

    A method that has no row within ``tolerance`` of a target is left out there.
    """
    ranked = board[board["rank"].notna() & board["gmacs_ratio"].notna()]
    parts = []
    for target in targets:
        near = ranked.assign(target=target, distance=(ranked["gmacs_ratio"] - target).abs())
        near = near[near["distance"] <= tolerance].sort_values(
            ["distance", "mean_score"], ascending=[True, False]
        )
        parts.append(
            near.groupby(["method", "variant"], sort=False).head(1).sort_values("mean_score", ascending=False)
        )
    return pd.concat(parts).drop(columns="distance")


def matched_pairs(
    rows: Sequence[Row],
    board: pd.DataFrame,
    targets: tuple[float, ...] = TARGETS,
    tolerance: float = TOLERANCE,
) -> list[tuple[Row, Row]]:
    """All pairs of rows with a random start that :func:`at_matched_cost` shows at one target."""
    named = {selector(row.keys): row for row in rows}
    pairs: list[tuple[Row, Row]] = []
    for _, shown in at_matched_cost(board, targets, tolerance).groupby("target"):
        there = [named[selector(about)] for about in shown.to_dict("records")]
        pairs += combinations([row for row in there if row.random], 2)
    return pairs


def separable(pairs: Sequence[tuple[Row, Row]], sample: Callable[[Row], Sample], level: float = 0.05) -> int:
    """How many pairs differ at ``level``, without correction, where ``sample`` makes of a row what is tested."""
    return sum(mean_difference(sample(first), sample(second))[2] < level for first, second in pairs)


@dataclass(frozen=True)
class Difference:
    """A row's mean score minus the reference's, with its 95 % interval over paired clusters and over starts, in [0, 1];
    ``separable`` after Holm's correction over all rows compared. Of a ``provisional`` row p is nan, and the interval is without
    its start."""

    row: str
    mean: float
    half: float
    p: float
    separable: bool

    @property
    def provisional(self) -> bool:
        """Whether a start is not accounted for, so that nothing was tested."""
        return math.isnan(self.p)


def against(rows: list[Row], reference: str) -> list[Difference]:
    """All complete rows against the one whose selector is ``reference``, best first. Raises UserError if there is none."""
    named = {selector(row.keys): row for row in rows if row.complete}
    if reference not in named:
        raise UserError(f"no complete row {reference!r}; there are {', '.join(named)}")
    base = named.pop(reference)
    found = [(name, *mean_difference(row.sample, base.sample)) for name, row in named.items()]
    rejected = holm([p for *_, p in found])
    made = [Difference(*values, separable) for values, separable in zip(found, rejected, strict=True)]
    return sorted(made, key=lambda d: -d.mean if math.isfinite(d.mean) else np.inf)
