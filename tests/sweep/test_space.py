"""What a search may choose from comes from what methods declare."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from foundry_bench import registry
from foundry_bench.errors import UserError
from foundry_bench.sweep.space import Choice, choice_of, drawn, lattice, space, stacks


def test_a_lattice_holds_the_declared_grid_and_stays_within_the_bounds() -> None:
    for choice in space():
        assert choice_of(choice.selector).selector == choice.selector
    assert set(lattice("pitome", {})["ratio"]) == {0.5, 0.78, 0.6, 0.75, 0.9}
    assert {0, 1, 4, 9, 16, 27, 2, 32, 96} <= set(lattice("foundry", {})["supertokens"])
    assert max(lattice("kd", {})["depth"]) == 12
    assert set(lattice("random-drop", {})["early"]) == {False, True}


def test_every_method_that_compresses_is_in_the_space_and_no_reference_and_no_expert() -> None:
    found = {choice.method.name for choice in space()}
    left_out = set(registry.entries("methods")) - found
    assert left_out == {"teacher", "untrained", "3dlst", "kd-expert", "kd-logit"}


def test_a_plugin_is_in_the_space_by_itself_and_a_broken_one_stops_nothing(plugins: Path) -> None:
    found = {choice.method.name for choice in space()}
    assert {"distilled", "halving", "foundry"} <= found
    with pytest.raises(UserError, match="broken"):
        space(["broken"])


def test_parameters_that_are_given_keep_their_values() -> None:
    assert {choice.selector for choice in space(["kd[depth=2,width=0.5,1.0]"])} == {
        "kd[depth=2,width=0.5]+fmd",
        "kd[depth=2,width=1.0]+fmd",
    }
    found = space(["kd[depth=2]+int8"])
    assert {choice.method.name for choice in found} == {"kd+int8"}
    assert len(found) > 2


def test_what_this_machine_cannot_run_is_left_out_and_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("foundry_bench.exports.needs.find_spec", lambda name: None)
    assert "int8" not in {choice.method.name for choice in space()}
    for name in ("int8", "kd+int8"):
        with pytest.raises(UserError, match=r"cannot be used here: .*pip install"):
            space([name])


@pytest.mark.parametrize("name", ["teacher", "kd-expert"])
def test_what_compresses_nothing_or_for_one_task_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is nothing to search"):
        space([name])


def test_stacks_are_of_two_methods_in_an_order_that_can_be() -> None:
    singles = [choice_of(text) for text in ("kd[depth=2]+fmd", "lowrank[keep=0.4]+fmd", "kd[depth=1]+fmd")]
    found = {pair.choice.method.name for pair in stacks(singles)}
    assert found == {"kd+lowrank"}, "kd is trained from its start and stands first"
    (pair, *_) = stacks(singles)
    assert (pair.choice.variant, pair.first, pair.second) == ("fmd", singles[0], singles[1])
    assert not stacks([pair.choice, singles[1]]), "no stack of three"


def test_any_beginning_of_a_draw_has_every_group_alike() -> None:
    choices = space(["kd", "lowrank", "truncate[blocks=1,2]"])
    groups = {choice.group for choice in choices}
    first = list(islice(drawn(choices, seed=0), 2 * len(groups)))
    assert all(sum(c.group == group for c in first) == 2 for group in groups)

    def order(seed: int) -> list[str]:
        return [choice.selector for choice in drawn(choices, seed)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(1)) == sorted(choice.selector for choice in choices)


def test_a_choice_is_written_as_tables_write_its_row() -> None:
    assert Choice(*_pair("tome[r=8]+fmd")).selector == "tome[r=8,proportional=False]+fmd"


def _pair(text: str) -> tuple:  # type: ignore[type-arg]
    choice = choice_of(text)
    return choice.method, choice.variant
