"""Ranks say no more than the episodes do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from foundry_bench.report.ranking import holm, paired_p, pareto, shared_ranks


def outcomes(shift: float, seed: int = 0, noise: float = 0.0, episodes: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    own = np.random.default_rng(seed)
    return {place: rng.normal(0.7 + shift, 0.1, episodes) + own.normal(0, noise, episodes) for place in "ab"}


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
