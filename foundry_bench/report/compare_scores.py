"""The change of a score between two results folders: its interval, its p-value, and whether it is separable.

Where both sides scored the same items, the interval is that of the mean paired difference, elsewhere Welch's from the
standard errors in the records. Separable is what Holm's procedure rejects over all scores compared. The intervals are over
clusters of objects and over starts, which are taken to be other ones on the two sides; a row with one start has the start
variance of its family, over both folders. Without any it is provisional: its interval is without the start, and nothing is
tested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy import stats

from foundry_bench.report.compare_pairs import Pair, Side, agree
from foundry_bench.report.leaderboard import add_starts
from foundry_bench.report.statistics.paired import NONE, mean_difference
from foundry_bench.report.statistics.ranks import holm
from foundry_bench.report.statistics.starts import NO_START, StartVariance
from foundry_bench.sweep.record import Record, ScoreValue, given, unit_of


@dataclass(frozen=True, kw_only=True)
class Score:
    """The change of one score from A to B, in [0, 1].

    ``ci_low`` and ``ci_high`` bound the 95 % interval of ``difference``; they and ``p`` are nan where a record has no
    standard error, and p where the score is ``provisional``. ``unit``: what the interval is over besides starts. ``separable``
    is known when all scores are. ``better`` is about B and means something where ``separable``.
    """

    row: str
    place: str
    metric: str
    a: float
    b: float
    difference: float
    ci_low: float
    ci_high: float
    p: float
    unit: str
    provisional: bool
    paired: bool
    equal: bool
    separable: bool = False
    better: bool


SCORES = tuple(field.name for field in fields(Score))


@dataclass(frozen=True)
class _Mean:
    """A score averaged over seeds, its standard error (nan where a record has none) and its number of items."""

    value: float
    error: float
    n: int


@dataclass(frozen=True)
class _Test:
    """The half width of the 95 % interval of a difference, its p-value, whether the test is paired, and whether all that
    was tested is equal on both sides."""

    half: float
    p: float
    paired: bool
    equal: bool


def scores_of(a: Side, b: Side, pairs: list[Pair]) -> pd.DataFrame:
    """Every score that both sides have (columns ``SCORES``), separable changes for the worse first."""
    add_starts([*a.rows, *b.rows])
    table = pd.DataFrame(list(_scores(a, b, pairs)), columns=list(SCORES))
    table["separable"] = holm(list(table["p"]))
    table = table.astype(dict.fromkeys(("provisional", "paired", "equal", "separable", "better"), bool))
    order = table.assign(
        late=~table["separable"], good=table["separable"] & table["better"], size=-table["difference"].abs()
    ).sort_values(["late", "good", "size", "row", "place"])
    return table.loc[order.index].reset_index(drop=True)


def _scores(a: Side, b: Side, pairs: list[Pair]) -> Iterator[Score]:
    """The scores of all places and pairs, where both sides have the same primary metric."""
    for pair in pairs:
        for place in sorted(pair.a.scores.keys() & pair.b.scores.keys()):
            first, second = a.evaluations(pair.a, place), b.evaluations(pair.b, place)
            if _primary(first[0])["metric"] == _primary(second[0])["metric"]:
                yield _score(pair, place, first, second)


def _score(pair: Pair, place: str, a: list[Record], b: list[Record]) -> Score:
    """The change of one score; a, b: the records of its seeds."""
    about, first, second = _primary(a[0]), _mean(a), _mean(b)
    difference = second.value - first.value
    starts = [row.starts.get(place, NO_START) for row in (pair.a, pair.b)]
    test = (_paired(pair, place) if _same_items(a[0], b[0]) else None) or _welch(first, second, starts)
    return Score(
        row=pair.name,
        place=place,
        metric=about["metric"],
        a=first.value,
        b=second.value,
        difference=difference,
        ci_low=difference - test.half,
        ci_high=difference + test.half,
        p=test.p,
        unit=" or ".join(sorted({unit_of(_primary(side[0])) for side in (a, b)})),
        provisional=None in starts,
        paired=test.paired,
        equal=first.value == second.value and test.equal,
        better=(difference > 0) == about["higher_is_better"],
    )


def _primary(record: Record) -> ScoreValue:
    return next(value for value in given(record["scores"])["values"] if value["primary"])


def _same_items(a: Record, b: Record) -> bool:
    """Whether two records have outcomes of the same items: same unit, task version, data and protocol.

    The budget decides how a head is trained and not on what it is scored. A field that only one protocol has was added
    between two versions of the program; it is at its default, for the place would name it otherwise.
    """
    first, second = a["inputs"], b["inputs"]
    protocols = [
        {k: v for k, v in given(side["protocol"]).items() if k != "budget"} for side in (first, second)
    ]
    return (
        unit_of(_primary(a)) == unit_of(_primary(b))
        and given(first["task"])["version"] == given(second["task"])["version"]
        and given(first["dataset"])["sha256"] == given(second["dataset"])["sha256"]
        and agree(*protocols)
    )


def _paired(pair: Pair, place: str) -> _Test | None:
    """The test over the items of both sides; None where one side kept no outcomes or they do not match."""
    if place not in pair.a.outcomes or place not in pair.b.outcomes:
        return None
    first, second = pair.a.sample_at(place), pair.b.sample_at(place)
    mean, half, p = mean_difference(second, first)
    if not math.isfinite(mean):
        return None
    equal = bool(np.all(first.outcomes[place] == second.outcomes[place]))
    return _Test(half=half, p=p, paired=True, equal=equal)


def _mean(records: list[Record]) -> _Mean:
    """The score over the records of its seeds. Seeds saw the same items, so they do not narrow the error."""
    scores = [_primary(record) for record in records]
    return _Mean(
        value=float(np.mean([_number(score["value"]) for score in scores])),
        error=float(np.mean([_number(score["stderr"]) for score in scores])),
        n=min(score["n"] for score in scores),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _welch(a: _Mean, b: _Mean, starts: list[StartVariance | None]) -> _Test:
    """The test of two independent means; nan where a standard error is missing, and p where a start is not accounted for."""
    half, p = _welch_interval(a, b, [start or NO_START for start in starts])
    p = math.nan if None in starts else p
    return _Test(half=half, p=p, paired=False, equal=a.value == b.value)


def _welch_interval(a: _Mean, b: _Mean, starts: list[StartVariance]) -> tuple[float, float]:
    """Half width of the 95 % interval of the difference of independent means, and p."""
    change = b.value - a.value
    parts = [(side.error**2, side.n - 1.0) for side in (a, b)] + [(s.value, s.freedom) for s in starts]
    total = sum(variance for variance, _ in parts)
    if not math.isfinite(total) or min(a.n, b.n) < 2:
        return math.nan, math.nan
    if total < NONE:
        return 0.0, 1.0 if math.isclose(change, 0.0, abs_tol=1e-12) else 0.0
    degrees = total**2 / sum(variance**2 / freedom for variance, freedom in parts)
    error = math.sqrt(total)
    return float(stats.t.ppf(0.975, degrees)) * error, float(2 * stats.t.sf(abs(change) / error, degrees))
