"""The layout of weights in memory changes neither values nor outputs, and every way to an encoder ends in the fast one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from foundry_bench import registry, selectors
from foundry_bench.context import Context
from foundry_bench.cost.macs import count_macs
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers import load_teacher
from foundry_bench.teachers.layout import lay_out
from foundry_bench.variants import OFF_THE_SHELF


def by_columns(encoder: nn.Module) -> list[bool]:
    """Whether each linear layer's weight, of more than one row and column, lies by columns."""
    weights = [m.weight for m in encoder.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) > 1]
    return [w.t().is_contiguous() for w in weights]


@pytest.mark.parametrize("clouds", [1, 16])
def test_outputs_values_and_costs_do_not_depend_on_the_layout(clouds: int) -> None:
    columns = load_teacher("small")
    rows = copy.deepcopy(columns)
    lay_out(rows, columns=False)
    assert all(by_columns(columns))
    assert not any(by_columns(rows))
    assert all(torch.equal(value, rows.state_dict()[name]) for name, value in columns.state_dict().items())
    patches = rows.tokenize(torch.rand(clouds, 1024, 3, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        torch.testing.assert_close(columns(patches).features, rows(patches).features, rtol=0, atol=1e-5)
    if clouds == 1:
        assert count_macs(columns, patches) == count_macs(rows, patches)


def test_layout_outlives_copying_and_loading_a_state() -> None:
    teacher = load_teacher("small")
    again = copy.deepcopy(teacher)
    again.load_state_dict({name: value.contiguous() for name, value in teacher.state_dict().items()})
    assert all(by_columns(again))


@pytest.mark.parametrize("selector", ["tome", "lowrank", "truncate"])
def test_students_made_and_loaded_lie_by_columns(selector: str, tmp_path: Path) -> None:
    student = make_student(selector, load_teacher("small"))
    save_student(student, tmp_path)
    assert all(by_columns(student))
    assert all(by_columns(load_student(tmp_path)))


@pytest.mark.parametrize("selector", ["lowrank", "prune-structured", "foundry"])
def test_training_finds_weights_as_the_method_makes_them(selector: str) -> None:
    rows = load_teacher("small")
    lay_out(rows, columns=False)
    (method,) = selectors.one_method(selector)[:1]
    torch.manual_seed(0)
    alone = method.compress(rows, registry.load("datasets", "pretrain")(), Context(variant=OFF_THE_SHELF))
    student = make_student(selector, load_teacher("small"))
    lay_out(student, columns=False)
    strides = {name: weight.stride() for name, weight in alone.named_parameters()}
    assert {name: weight.stride() for name, weight in student.named_parameters()} == strides
