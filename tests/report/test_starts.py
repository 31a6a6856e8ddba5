"""The variance that starts add: its estimate, whose it is, and that tests built on it are wrong as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foundry_bench.report.statistics.paired import Sample, all_paired_p, mean_difference
from foundry_bench.report.statistics.ranks import holm
from foundry_bench.report.statistics.starts import (
    NO_START,
    Runs,
    Started,
    start_variance,
    start_variances,
)

CLUSTERS = 120
ROWS = 6


def runs(
    rng: np.random.Generator,
    starts: int,
    hard: np.ndarray,
    *,
    start: float,
    rest: float = 0.2,
    shift: float = 0.0,
) -> Runs:
    """Outcomes of one row: clusters that are ``hard`` (C,), effects of starts, and the rest."""
    effects = rng.normal(0, start, (starts, 1))
    return {"a": 0.7 + shift + hard + effects + rng.normal(0, rest, (starts, len(hard)))}


def test_the_estimate_is_unbiased_and_counts_the_rest_once() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(800):
        estimate = start_variance(runs(rng, 3, rng.normal(0, 0.3, 60), start=0.03))
        assert estimate is not None
        found.append(estimate.value)
    assert np.mean(found) == pytest.approx(0.03**2, rel=0.1)
    nothing = [start_variance(runs(rng, 3, rng.normal(0, 0.3, 60), start=0.0)) for _ in range(800)]
    assert abs(np.mean([one.value for one in nothing if one is not None])) < 0.1 * 0.2**2 / 60


def test_over_several_places_it_is_that_of_their_mean() -> None:
    """One start moves a student everywhere: effects that cancel between places leave the mean as it is."""
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 0.1, (3, 1))
    rest = rng.normal(0, 1e-6, (2, 3, 50))
    alike = start_variance({"a": effect + rest[0], "b": effect + rest[1]})
    against = start_variance({"a": effect + rest[0], "b": rest[1] - effect})
    assert alike is not None
    assert against is not None
    assert alike.value == pytest.approx(effect.var(ddof=1), rel=1e-3)
    assert abs(against.value) < 1e-9


def test_the_variance_of_a_mean_over_clusters_and_starts_is_that_of_both_bootstraps() -> None:
    """Against Owen's pigeonhole bootstrap, which draws clusters and starts again and counts the rest with both, and so is wider
    by what is known of the rest: once more for each factor it is drawn with."""
    rng = np.random.default_rng(3)
    values = runs(rng, 12, rng.normal(0, 0.3, 80), start=0.05)["a"]
    starts, clusters = values.shape
    drawn = [
        values[np.ix_(rng.integers(0, starts, starts), rng.integers(0, clusters, clusters))].mean()
        for _ in range(3000)
    ]
    estimate = start_variance({"a": values})
    assert estimate is not None
    of_mean = estimate.of_mean(starts).value + values.mean(axis=0).var(ddof=1) / clusters
    centred = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    rest = np.square(centred).sum() / ((starts - 1) * (clusters - 1)) / (starts * clusters)
    assert of_mean + 2 * rest == pytest.approx(np.var(drawn), rel=0.15)
    assert of_mean == pytest.approx(np.var(drawn), rel=0.25)


def test_a_row_with_one_start_has_the_variance_of_its_family() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.3, CLUSTERS)
    several = [Started(runs(rng, s, hard, start=0.1), "merge") for s in (3, 4)]
    single, alone = (Started(runs(rng, 1, hard, start=0.05), family) for family in ("merge", "drop"))
    untrained = Started(runs(rng, 1, hard, start=0.0), "drop", random=False)
    found = start_variances([*several, single, alone, untrained])
    own = [start_variance(row.runs) for row in several]
    pool = found[2]
    assert pool is not None
    assert pool.freedom == 2 + 3
    assert pool.value == pytest.approx((2 * own[0].value + 3 * own[1].value) / 5)  # type: ignore[union-attr]
    assert found[0] is not None
    assert found[0].freedom == pool.freedom, "no more than all rows have"
    assert found[0].value == pytest.approx((2 * own[0].value + 4 * pool.value) / 6 / 3)  # type: ignore[union-attr]
    assert start_variances([several[0]])[0].freedom == 2, "alone, its own"  # type: ignore[union-attr]
    assert found[3] is None, "provisional: no row of its family has several starts"
    assert found[4] == NO_START


def test_rows_that_never_change_with_the_start_tell_a_family_nothing() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(runs(rng, 1, rng.normal(0, 0.3, CLUSTERS), start=0.0)["a"], 3, axis=0)
    untrained = Started({"a": same}, "merge", random=False)
    trained = Started({"a": same[:1]}, "merge")
    assert start_variances([untrained, trained]) == [NO_START, None]


def separated(count: int, starts: int, reference: int, *, effect: float = 0.0, seed: int = 0) -> float:
    """Share of comparisons of two sweeps with other starts that have p < 0.05: ``count`` times six rows of one family with
    ``starts`` starts; a single start has the variance of two other rows of the family with ``reference`` starts."""
    rng = np.random.default_rng(seed)
    rejected = []
    for _ in range(count):
        hard = rng.normal(0, 0.3, CLUSTERS)
        own = [hard + rng.normal(0, 0.05, CLUSTERS) for _ in range(ROWS)]
        told = [runs(rng, reference, mine, start=0.02) for mine in own[:2]]
        a, b = ([runs(rng, starts, mine, start=0.02, shift=s) for mine in own] for s in (0.0, effect))
        known = start_variances([Started(row, "merge") for row in (*a, *b, *told)])
        for first, second, one, other in zip(a, b, known, known[ROWS:], strict=False):
            samples = (
                Sample({"a": row["a"].mean(axis=0)}, start) for row, start in ((first, one), (second, other))
            )
            rejected.append(mean_difference(*samples)[2] < 0.05)
    return float(np.mean(rejected))


@pytest.mark.parametrize("starts", [1, 3])
def test_under_the_null_two_to_eight_percent_are_separated(starts: int) -> None:
    assert 0.02 <= separated(150, starts, 3) <= 0.08


def test_rows_that_are_alike_share_a_rank_in_nineteen_tables_of_twenty() -> None:
    """Holm's level holds for all pairs together only if no row's variance is small by chance alone."""
    rng = np.random.default_rng(0)
    torn = []
    for _ in range(150):
        hard = rng.normal(0, 0.3, CLUSTERS)
        rows = [Started(runs(rng, 3, hard, start=0.02, rest=0.15), "merge") for _ in range(8)]
        samples = [
            Sample({"a": row.runs["a"].mean(axis=0)}, s)
            for row, s in zip(rows, start_variances(rows), strict=True)
        ]
        torn.append(any(holm(all_paired_p(samples).tolist())))
    assert np.mean(torn) < 0.1


@pytest.mark.parametrize("starts", [1, 3])
def test_a_difference_of_seven_standard_errors_is_seen(starts: int) -> None:
    error = math.sqrt(2 * (0.2**2 / CLUSTERS + 0.02**2) / starts)
    assert separated(60, starts, 4, effect=7 * error) > 0.9


def test_clusters_alone_separate_too_much() -> None:
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(400):
        hard = rng.normal(0, 0.3, CLUSTERS)
        first, second = (Sample({"a": runs(rng, 1, hard, start=0.02)["a"][0]}) for _ in range(2))
        rejected.append(mean_difference(first, second)[2] < 0.05)
    assert np.mean(rejected) > 0.12
