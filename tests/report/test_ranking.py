"""Ranks say no more than the episodes do."""

from __future__ import annotations

import time
from itertools import accumulate, combinations

import numpy as np
import pytest
from scipy import stats

from foundry_bench.report import ranking
from foundry_bench.report.ranking import (
    Outcomes,
    all_paired_p,
    holm,
    mean_difference,
    paired_p,
    pareto,
    shared_ranks,
)


def outcomes(shift: float, seed: int = 0, noise: float = 0.0, episodes: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    own = np.random.default_rng(seed)
    return {place: rng.normal(0.7 + shift, 0.1, episodes) + own.normal(0, noise, episodes) for place in "ab"}


def random_rows(seed: int, count: int = 40) -> list[Outcomes]:
    """Rows with all that leaderboards have seen: copies, constant gaps, tiny noise, coarse scores that tie, several places
    of different size, and rows that were measured on less."""
    rng = np.random.default_rng(seed)
    hard = {place: rng.normal(0.7, 0.1, n) for place, n in (("a", 60), ("b", 7), ("c", 2))[: seed % 3 + 1]}
    rows: list[Outcomes] = []
    for _ in range(count):
        noise = rng.choice([0.0, 1e-12, 1e-8, 1e-4, 0.02])
        row = {place: v + rng.normal(0, 0.02) + rng.normal(0, noise, len(v)) for place, v in hard.items()}
        if rng.random() < 0.3:
            row = {place: np.round(20 * v) / 20 for place, v in row.items()}
        if rows and rng.random() < 0.3:
            other = rows[rng.integers(len(rows))]
            row = {place: v + rng.choice([0.0, 1e-13, 0.05]) for place, v in other.items()}
        kept = rng.random()
        if kept < 0.1:
            row = {place: v[:-1] for place, v in row.items()}
        elif kept < 0.2:
            row = dict(list(row.items())[1:])
        rows.append(row)
    return rows


def one_by_one(rows: list[Outcomes]) -> list[float]:
    """P-values of all pairs as :func:`paired_p` defines them, in the order of :func:`all_paired_p`."""
    return [paired_p(rows[above], rows[below]) for below in range(len(rows)) for above in range(below)]


def step_down(p_values: list[float], level: float) -> list[bool]:
    """Holm's procedure as it is told: the smallest against level / m, the next against level / (m - 1), until one is kept."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("block", [1, 7, 256])
def test_all_pairs_at_once_are_the_pairs_one_by_one(
    seed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "BLOCK", block)
    rows = random_rows(seed)
    expected = np.array(one_by_one(rows))
    found = all_paired_p(rows)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)
    assert np.array_equal(found == 1.0, expected == 1.0), "rows that cannot be told apart stay tied"
    assert np.array_equal(found == 0.0, expected == 0.0), "constant gaps stay certain"
    rejected = iter(step_down(expected.tolist(), ranking.LEVEL))
    better = [sum(next(rejected) for _ in range(below)) for below in range(len(rows))]
    assert shared_ranks(rows) == [1 + most for most in accumulate(better, max)]


def test_thousands_of_rows_are_ranked_in_seconds() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.7, 0.1, 60)
    rows = [{"a": hard - 1e-5 * i + rng.normal(0, 0.03, 60)} for i in range(1500)]
    rows += [rows[-1]] * 500
    clock = time.perf_counter()
    ranks = shared_ranks(rows)
    assert time.perf_counter() - clock < 20, "one by one it takes minutes"
    assert ranks == sorted(ranks)
    assert len(set(ranks[1499:])) == 1, "copies share the rank"


def test_outcomes_that_are_not_numbers_separate_nothing() -> None:
    first, broken = outcomes(0.3), {place: np.full(40, np.nan) for place in "ab"}
    assert paired_p(first, broken) == 1.0
    assert np.isnan(mean_difference(first, broken)[0])
    assert all_paired_p([first, broken]).tolist() == [1.0]
    assert shared_ranks([first, broken, outcomes(0.0, seed=3, noise=0.01)]) == [1, 1, 2]


def test_one_place_is_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(0.7, 0.1, (2, 40))
    expected = stats.ttest_rel(first, second).pvalue
    assert paired_p({"a": first}, {"a": second}) == pytest.approx(expected, rel=1e-9)


def test_places_weigh_the_same_whatever_their_number_of_episodes() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.normal(0.02, 0.05, 400), rng.normal(-0.02, 0.05, 40)
    difference = paired_p({"a": many, "b": few}, {"a": np.zeros(400), "b": np.zeros(40)})
    assert difference > 0.5, "the two places cancel, though 400 of 440 episodes favour the first row"


def test_pairing_separates_what_single_intervals_do_not() -> None:
    better, worse = outcomes(0.02, noise=0.01, seed=1), outcomes(0.0, noise=0.01, seed=2)
    assert stats.ttest_ind(better["a"], worse["a"]).pvalue > 0.05
    assert paired_p(better, worse) < 1e-6


def test_rows_without_common_episodes_cannot_be_separated() -> None:
    first = outcomes(0.3)
    assert paired_p(first, {"a": first["a"]}) == 1.0
    assert paired_p(first, {place: values[:20] for place, values in first.items()}) == 1.0
    assert paired_p({}, {}) == 1.0


def test_identical_rows_are_not_separable_and_constant_gaps_are() -> None:
    first = outcomes(0.0)
    assert paired_p(first, first) == 1.0
    assert paired_p(first, {place: values - 0.1 for place, values in first.items()}) < 1e-12


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
