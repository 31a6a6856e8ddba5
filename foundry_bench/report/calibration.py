"""How often two runs of one sweep with other starts are told apart: at the nominal 5 %, about one comparison in twenty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import KEYS, Row, add_starts, rows_of
from foundry_bench.report.statistics.paired import Sample, mean_difference

LEVEL = 0.05


@dataclass(frozen=True)
class Calibration:
    """Rows and places that two sweeps have in common.

    ``p`` (n,) are those of the comparisons, without correction; ``clusters_p`` (n,) what clusters alone would say.
    ``provisional`` comparisons have one start on a side and no start variance, ``equal`` ones the same outcomes on both sides,
    as where no start is drawn; neither counts.
    """

    p: np.ndarray
    clusters_p: np.ndarray
    provisional: int
    equal: int

    @property
    def separated(self) -> int:
        """How many comparisons the tests separate at the nominal 5 %."""
        return int((self.p < LEVEL).sum())

    @property
    def share(self) -> float:
        """The share of them, nan without comparisons."""
        return self.separated / len(self.p) if len(self.p) else float("nan")


def halves(frame: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """A sweep of an even number of seeds as two, in every way that its seeds can be halved.

    Raises UserError for another number of seeds.
    """
    seeds = sorted(frame["seed"].dropna().unique())
    if len(seeds) < 2 or len(seeds) % 2:
        raise UserError(
            f"{len(seeds)} seeds cannot be halved; run the sweep with an even number, such as --seeds 6"
        )
    chosen = [(seeds[0], *rest) for rest in combinations(seeds[1:], len(seeds) // 2 - 1)]
    lower = [frame["seed"].isin(half) for half in chosen]
    return [(frame[half], frame[~half]) for half in lower]


def by_metric(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """A table of cells once for each metric of its tasks, the primary ones first; a task with fewer metrics than another is
    missing from the last tables."""
    kept = {path: _metrics(path) for path in frame["outcomes"].dropna().unique()}
    evaluated = frame["kind"] == "evaluate"
    found = []
    for number in range(max(map(len, kept.values()), default=0)):
        names = {path: names[number] for path, names in kept.items() if number < len(names)}
        table = frame[~evaluated | frame["outcomes"].isin(names)].copy()
        table["metric"] = table["outcomes"].map(names)
        found.append(table)
    return found


def _metrics(path: str) -> list[str]:
    """Metrics whose outcomes a file holds, as a task lists them."""
    with np.load(path) as arrays:
        return [name for name in arrays.files if "/" not in name]


def calibrate(pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]]) -> Calibration:
    """Compare every row of one sweep with itself in another, at every place, for some pairs of sweeps.

    Raises UserError where nothing is in common.
    """
    found: list[tuple[float, float, bool]] = []
    for a, b in pairs:
        rows = list(_pairs(rows_of(a), rows_of(b)))
        if not rows:
            raise UserError("the two have no row in common; run one sweep twice, with other seeds")
        add_starts([row for pair in rows for row in pair])
        found += [one for pair in rows for one in _comparisons(*pair)]
    return _calibration(found)


def _pairs(a: Iterable[Row], b: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    known = {tuple(row.keys[key] for key in KEYS): row for row in b}
    for row in a:
        other = known.get(tuple(row.keys[key] for key in KEYS))
        if other is not None:
            yield row, other


def _comparisons(a: Row, b: Row) -> Iterator[tuple[float, float, bool]]:
    """P-value, that over clusters alone, and whether outcomes are equal, at every place with the same clusters."""
    for place in a.outcomes.keys() & b.outcomes.keys():
        first, second = a.sample_at(place), b.sample_at(place)
        if first.outcomes[place].shape == second.outcomes[place].shape:
            alone = mean_difference(Sample(first.outcomes), Sample(second.outcomes))[2]
            equal = np.array_equal(first.outcomes[place], second.outcomes[place])
            yield mean_difference(first, second)[2], alone, equal


def _calibration(found: list[tuple[float, float, bool]]) -> Calibration:
    p, alone, equal = (np.array(part) for part in zip(*found, strict=True)) if found else (np.empty(0),) * 3
    same = equal.astype(bool)
    tested = ~same & ~np.isnan(p)
    return Calibration(p[tested], alone[tested], int((~same & np.isnan(p)).sum()), int(same.sum()))
