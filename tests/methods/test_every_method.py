"""What holds for every registered method: its counted cost is its closed form, and zero compression is the teacher."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import torch

from foundry_bench import registry, selectors
from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

NAMES = list(registry.entries("methods"))


def module_of(name: str) -> ModuleType:
    """The test module of a registered method; a method without one fails here."""
    return importlib.import_module(f"test_{name.replace('-', '_')}")


def rows() -> list[Any]:
    """One test per row of ``--methods all``."""
    pairs = [pair for name in NAMES for pair in selectors.expand(selectors.parse_selector(name))]
    names = [selectors.selector_text(m.name, m.shown(m.params()), v) for m, v in pairs]
    return [pytest.param(*pair, id=name) for pair, name in zip(pairs, names, strict=True)]


@pytest.mark.parametrize(("method", "variant"), rows())
def test_counted_macs_are_the_closed_form(
    method: Method, variant: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    ctx = Context(variant=variant)
    student = make_student(method, tiny_teacher, clouds, ctx)
    patches = student.tokenize(torch.from_numpy(clouds.points[:1, :256]))
    schedule = {}
    if getattr(student, "data_dependent", False):
        with torch.no_grad():
            schedule["kept"] = int(student(patches).aux["tokens_kept"])
    expected = module_of(method.name).closed_form(method, tiny_teacher.config, ctx.trains, **schedule)
    assert count_macs(student, patches).total == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_zero_compression_is_the_teacher(
    name: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    method = module_of(name).ZERO
    if method is None:
        pytest.skip(f"{name} has no setting without compression")
    student = make_student(method, tiny_teacher, clouds, Context(variant=OFF_THE_SHELF))
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    with torch.no_grad():
        ours, theirs = student(patches, levels=True), tiny_teacher(patches, levels=True)
    assert torch.allclose(ours.features, theirs.features, atol=1e-5)
    for level, reference in zip(ours.levels, theirs.levels, strict=True):
        assert torch.allclose(level, reference, atol=1e-5)
