"""Who goes on in a search, and who is tried next: pure functions."""

from __future__ import annotations

import numpy as np
import pytest

from foundry_bench.sweep.halving import (
    Measured,
    Verdict,
    go_on,
    layers,
    next_to_try,
    parts_of_budget,
)


def rows(*pairs: tuple[float, float]) -> list[Measured]:
    return [Measured(f"{cost:g}/{fidelity:g}", cost, fidelity) for cost, fidelity in pairs]


def names(found: list[Measured]) -> list[str]:
    return [row.selector for row in found]


def test_a_layer_is_of_those_that_nobody_beats_in_cost_and_fidelity() -> None:
    found = layers(rows((0.5, 0.9), (0.2, 0.7), (0.5, 0.8), (0.3, 0.6), (0.1, 0.1)))
    assert list(map(names, found)) == [["0.1/0.1", "0.2/0.7", "0.5/0.9"], ["0.3/0.6", "0.5/0.8"]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 50])
def test_as_many_go_on_as_there_is_room_for_and_nobody_before_who_beats_him(count: int) -> None:
    rng = np.random.default_rng(count)
    all_rows = rows(*rng.random((30, 2)).round(3).tolist())
    chosen = go_on(all_rows, count)
    assert len(chosen) == min(count, 30)
    assert len({row.selector for row in chosen}) == len(chosen)
    number = {row.selector: i for i, layer in enumerate(layers(all_rows)) for row in layer}
    worst = max(number[row.selector] for row in chosen)
    better = {name for name, i in number.items() if i < worst}
    assert better <= {row.selector for row in chosen}


def test_a_layer_that_does_not_fit_is_thinned_over_all_its_costs() -> None:
    front = rows(*((i / 10, i / 10) for i in range(1, 10)))
    assert names(go_on(front, 3)) == ["0.1/0.1", "0.5/0.5", "0.9/0.9"]
    assert names(go_on(front, 1)) == ["0.9/0.9"], "alone, the one that imitates best"


def test_each_rung_has_three_times_the_steps_of_the_one_before() -> None:
    assert parts_of_budget(2) == [9, 3]
    assert parts_of_budget(3) == [27, 9, 3]


FRONT = rows((0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.4, 0.8), (0.5, 0.9))


def walk(threshold: float) -> list[str]:
    """Whom a search tries where exactly those of a fidelity of at least ``threshold`` keep enough."""
    tried: dict[str, Measured] = {}
    verdicts: list[Verdict] = []
    while (row := next_to_try(FRONT, tried, verdicts, keep=0.99)) is not None:
        tried[row.selector] = row
        able = row.fidelity >= threshold
        verdicts.append(Verdict(row.selector, 1.0 if able else 0.9, able))
    return list(tried)


@pytest.mark.parametrize("cheapest", range(5))
def test_the_cheapest_that_keeps_enough_is_found_without_trying_all(cheapest: int) -> None:
    tried = walk(FRONT[cheapest].fidelity)
    assert FRONT[cheapest].selector in tried
    assert len(tried) <= 3


def test_where_nobody_keeps_enough_the_best_is_tried_last() -> None:
    assert walk(threshold=2.0)[-1] == "0.5/0.9"


def test_a_row_that_keeps_enough_but_not_for_sure_rules_nobody_out() -> None:
    middle = FRONT[2]
    unsure = [Verdict(middle.selector, kept=1.0, able=False)]
    following = next_to_try(FRONT, {middle.selector: middle}, unsure, keep=0.99)
    assert following is not None
    dearer = [row for row in FRONT if row.cost > middle.cost]
    assert {next_to_try([row], {middle.selector: middle}, unsure, 0.99) for row in dearer} == set(dearer)
    cheaper = [row for row in FRONT if row.cost < middle.cost]
    assert {next_to_try([row], {middle.selector: middle}, unsure, 0.99) for row in cheaper} == set(cheaper)


def test_where_much_has_to_be_kept_nobody_is_tried_who_imitates_poorly() -> None:
    """Most candidates are cheap and poor; the middle of their costs would be one of them."""
    poor = rows(*((0.01 * i, 0.05 * i) for i in range(1, 10)))
    good = rows((0.2, 0.94), (0.25, 0.96), (0.35, 0.99), (0.5, 0.997))
    first = next_to_try([*poor, *good], {}, [], keep=0.99)
    assert first is not None
    assert 0.9 <= first.fidelity <= 0.97
