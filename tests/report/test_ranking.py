"""Ranks say no more than clusters and starts do."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate, combinations

import numpy as np
import pytest
from scipy import stats

from foundry_bench.report.statistics import paired, ranks
from foundry_bench.report.statistics.paired import (
    Sample,
    all_paired_p,
    mean_difference,
    paired_p,
)
from foundry_bench.report.statistics.ranks import holm, pareto, shared_ranks
from foundry_bench.report.statistics.starts import NO_START, StartVariance


def outcomes(shift: float, seed: int = 0, noise: float = 0.0, clusters: int = 40) -> Sample:
    rng = np.random.default_rng(1)
    own = np.random.default_rng(seed)
    return Sample(
        {place: rng.normal(0.7 + shift, 0.1, clusters) + own.normal(0, noise, clusters) for place in "ab"}
    )


def changed(sample: Sample, change: Callable[[np.ndarray], np.ndarray]) -> Sample:
    return Sample({place: change(values) for place, values in sample.outcomes.items()}, sample.start)


STARTS = (
    *(NO_START, NO_START, None),
    *(StartVariance(1e-4, 2), StartVariance(1e-6, 2), StartVariance(0.0, 2)),
    *(StartVariance(2e-4, 6, "merge"), StartVariance(2e-4, 6, "merge"), StartVariance(1e-5, 4, "foundry")),
    *(StartVariance(1e-4, 2, "merge"), StartVariance(5e-5, 3, "merge")),
)
"""Of untrained rows, of a provisional one, of rows with several starts, and of rows that have their family's."""


def random_rows(seed: int, count: int = 40) -> list[Sample]:
    """Rows with all that leaderboards have seen: copies, constant gaps, tiny noise, coarse scores that tie, several places
    of different size, rows that were measured on less, and all kinds of starts."""
    rng = np.random.default_rng(seed)
    hard = {place: rng.normal(0.7, 0.1, n) for place, n in (("a", 60), ("b", 7), ("c", 2))[: seed % 3 + 1]}
    rows: list[Sample] = []
    for _ in range(count):
        noise = rng.choice([0.0, 1e-12, 1e-8, 1e-4, 0.02])
        row = {place: v + rng.normal(0, 0.02) + rng.normal(0, noise, len(v)) for place, v in hard.items()}
        if rng.random() < 0.3:
            row = {place: np.round(20 * v) / 20 for place, v in row.items()}
        if rows and rng.random() < 0.3:
            other = rows[rng.integers(len(rows))]
            row = {place: v + rng.choice([0.0, 1e-13, 0.05]) for place, v in other.outcomes.items()}
        kept = rng.random()
        if kept < 0.1:
            row = {place: v[:-1] for place, v in row.items()}
        elif kept < 0.2:
            row = dict(list(row.items())[1:])
        rows.append(Sample(row, STARTS[rng.integers(len(STARTS))]))
    return rows


def one_by_one(rows: list[Sample]) -> list[float]:
    """P-values of all pairs as :func:`paired_p` defines them, in the order of :func:`all_paired_p`."""
    return [paired_p(rows[above], rows[below]) for below in range(len(rows)) for above in range(below)]


def step_down(p_values: list[float], level: float) -> list[bool]:
    """Holm's procedure as it is told: the smallest against level / m, the next against level / (m - 1), until one is kept."""
    rejected = [False] * len(p_values)
    tested = sum(not np.isnan(p) for p in p_values)
    for step, index in enumerate(np.argsort(p_values, kind="stable")[:tested]):
        if p_values[index] > level / (tested - step):
            break
        rejected[index] = True
    return rejected


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("block", [1, 7, 256])
def test_all_pairs_at_once_are_the_pairs_one_by_one(
    seed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "BLOCK", block)
    rows = random_rows(seed)
    expected = np.array(one_by_one(rows))
    found = all_paired_p(rows)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300, nan_ok=True)
    assert np.isnan(found).any(), "some rows are provisional"
    assert np.array_equal(found == 1.0, expected == 1.0), "rows that cannot be told apart stay tied"
    assert np.array_equal(found == 0.0, expected == 0.0), "constant gaps stay certain"
    rejected = iter(step_down(expected.tolist(), ranks.LEVEL))
    better = [sum(next(rejected) for _ in range(below)) for below in range(len(rows))]
    assert shared_ranks(rows) == [1 + most for most in accumulate(better, max)]


def test_thousands_of_rows_are_ranked_in_seconds() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.7, 0.1, 60)
    rows = [Sample({"a": hard - 1e-5 * i + rng.normal(0, 0.03, 60)}) for i in range(1500)]
    rows += [rows[-1]] * 500
    clock = time.perf_counter()
    ranks = shared_ranks(rows)
    assert time.perf_counter() - clock < 20, "one by one it takes minutes"
    assert ranks == sorted(ranks)
    assert len(set(ranks[1499:])) == 1, "copies share the rank"


def test_outcomes_that_are_not_numbers_separate_nothing() -> None:
    first, broken = outcomes(0.3), Sample({place: np.full(40, np.nan) for place in "ab"})
    assert paired_p(first, broken) == 1.0
    assert np.isnan(mean_difference(first, broken)[0])
    assert all_paired_p([first, broken]).tolist() == [1.0]
    assert shared_ranks([first, broken, outcomes(0.0, seed=3, noise=0.01)]) == [1, 1, 2]


def test_one_place_is_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(0.7, 0.1, (2, 40))
    expected = stats.ttest_rel(first, second).pvalue
    assert paired_p(Sample({"a": first}), Sample({"a": second})) == pytest.approx(expected, rel=1e-9)


def test_places_weigh_the_same_whatever_their_number_of_clusters() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.normal(0.02, 0.05, 400), rng.normal(-0.02, 0.05, 40)
    difference = paired_p(Sample({"a": many, "b": few}), Sample({"a": np.zeros(400), "b": np.zeros(40)}))
    assert difference > 0.5, "the two places cancel, though 400 of 440 clusters favour the first row"


def test_pairing_separates_what_single_intervals_do_not() -> None:
    better, worse = outcomes(0.02, noise=0.01, seed=1), outcomes(0.0, noise=0.01, seed=2)
    assert stats.ttest_ind(better.outcomes["a"], worse.outcomes["a"]).pvalue > 0.05
    assert paired_p(better, worse) < 1e-6


def test_rows_without_common_clusters_cannot_be_separated() -> None:
    first = outcomes(0.3)
    assert paired_p(first, Sample({"a": first.outcomes["a"]})) == 1.0
    assert paired_p(first, changed(first, lambda values: values[:20])) == 1.0
    assert paired_p(Sample({}), Sample({})) == 1.0


def test_identical_rows_are_not_separable_and_constant_gaps_are() -> None:
    first = outcomes(0.0)
    assert paired_p(first, first) == 1.0
    assert paired_p(first, changed(first, lambda values: values - 0.1)) < 1e-12


def test_a_constant_gap_within_what_starts_do_is_not_separable() -> None:
    first = outcomes(0.0)
    gap = 0.02
    second = Sample(changed(first, lambda values: values - gap).outcomes, StartVariance(0.01**2, 4))
    mean, half, p = mean_difference(first, second)
    assert (mean, half) == (pytest.approx(gap), pytest.approx(stats.t.ppf(0.975, 4) * 0.01))
    assert p == pytest.approx(2 * stats.t.sf(gap / 0.01, 4))


def test_two_rows_with_the_variance_of_their_family_share_its_error() -> None:
    """Two estimates of their own would have eight degrees of freedom together; one estimate counted twice has its four."""
    first = outcomes(0.0)
    second = changed(first, lambda values: values - 0.02)

    def half(pool: str | None) -> float:
        start = StartVariance(0.01**2, 4, pool)
        return mean_difference(Sample(first.outcomes, start), Sample(second.outcomes, start))[1]

    error = 0.01 * np.sqrt(2)
    assert half("merge") == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert half(None) == pytest.approx(stats.t.ppf(0.975, 8) * error)


def test_a_provisional_row_is_tested_against_nothing_and_costs_the_others_nothing() -> None:
    best, worst = outcomes(0.2, seed=1, noise=0.02), outcomes(0.0, seed=2, noise=0.02)
    between = Sample(outcomes(0.1, seed=3, noise=0.02).outcomes, None)
    mean, half, p = mean_difference(best, between)
    assert (mean > 0.05, half > 0, np.isnan(p)) == (True, True, True)
    assert holm([0.04, np.nan, np.nan]) == [True, False, False]
    assert holm([np.nan]) == [False]
    assert shared_ranks([best, between, worst]) == [1, 1, 2]


def test_holm_stops_at_the_first_that_it_keeps() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert holm([0.2, 0.001, 0.04]) == [False, True, False]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_its_own_step_down_also_with_equal_p_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values = rng.choice(
        np.concatenate([10 ** rng.uniform(-5, 0, 6), [0.0, 0.05, 0.05 / 30, 1.0]]), 30
    ).tolist()
    assert holm(p_values) == step_down(p_values, 0.05)
    assert holm(p_values, 0.5) == step_down(p_values, 0.5)


def test_rows_share_a_rank_until_some_row_above_is_separably_better() -> None:
    rows = [outcomes(shift, seed=i, noise=0.02) for i, shift in enumerate((0.2, 0.199, 0.1, 0.099, 0.0))]
    assert shared_ranks(rows) == [1, 1, 3, 3, 5]


def test_a_chain_of_small_steps_does_not_tie_the_first_to_the_last() -> None:
    rows = [outcomes(-0.004 * i, seed=i, noise=0.02) for i in range(12)]
    ranks = shared_ranks(rows)
    assert ranks == sorted(ranks)
    assert ranks[1] == 1
    assert ranks[-1] > 6


def test_the_front_holds_what_nothing_else_beats() -> None:
    assert pareto([1.0, 2.0, 3.0, 2.0, None], [0.5, 0.7, 0.6, 0.7, 0.9]) == [True, True, False, True, False]


@pytest.mark.parametrize("seed", range(10))
def test_the_front_is_what_comparing_all_pairs_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        (
            None if rng.random() < 0.1 else float(rng.integers(8)),
            None if rng.random() < 0.1 else float(rng.integers(8)),
        )
        for _ in range(30)
    ]
    beaten = set()
    for first, second in combinations([row for row in rows if None not in row], 2):
        for one, other in ((first, second), (second, first)):
            if other[0] <= one[0] and other[1] >= one[1] and one != other:
                beaten.add(one)
    expected = [None not in row and row not in beaten for row in rows]
    assert pareto([cost for cost, _ in rows], [score for _, score in rows]) == expected
