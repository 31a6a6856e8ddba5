"""Every registered method passes the conformance kit, at every point of its grid; the kit catches
offenders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from foundry_bench import registry, selectors
from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_furniture, load_kicad
from foundry_bench.encoder import Encoder, EncoderConfig, Tokens
from foundry_bench.errors import UserError
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.points.patches import Patches
from foundry_bench.selectors import selector_text
from foundry_bench.task import Metric, Scores, Task, score_from_outcomes
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import ConformanceError, check_declaration, check_method, check_task
from foundry_bench.variants import FAMILIES, Paper


def grid_points() -> list[Any]:
    """One test per method, parameter values and variant; a method that cannot be imported is one that
    fails."""
    points = []
    for name in registry.entries("methods"):
        try:
            expanded = selectors.expand(selectors.parse_selector(name))
        except UserError as error:
            points.append(pytest.param(error, "", id=name))
            continue
        points += [pytest.param(m, v, id=selector_text(name, m.shown(m.params()), v)) for m, v in expanded]
    return points


@pytest.fixture(scope="module")
def teacher() -> PointTransformer:
    torch.manual_seed(0)
    config = EncoderConfig(
        dim=32, depth=4, heads=4, groups=32, group_size=8, points=256, tokenizer_widths=(16, 32, 32)
    )
    return PointTransformer(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data() -> PointCloudDataset:
    return load_furniture()


@pytest.mark.parametrize(("method", "variant"), grid_points())
def test_method_conforms(
    method: Method | UserError, variant: str, teacher: PointTransformer, data: PointCloudDataset
) -> None:
    if isinstance(method, UserError):
        raise method
    check_method(method, teacher, data, Context(variant=variant))


@pytest.mark.parametrize("name", registry.entries("methods"))
def test_every_method_says_its_family_and_what_it_does(name: str) -> None:
    method = registry.load("methods", name)
    assert {"family", "abstract"} <= set(vars(method)), "not one that is inherited"
    assert method.family in FAMILIES
    assert method.abstract


@pytest.fixture(scope="module")
def labelled() -> PointCloudDataset:
    """Two classes of KiCad with parts, on one of its splits."""
    data = load_kicad()
    rows = np.flatnonzero(np.isin(data.labels, [data.classes.index(name) for name in ("so", "dsub")]))
    kept = {name: getattr(data, name)[rows] for name in ("points", "labels", "series", "paths", "parts")}
    return replace(data, **kept, splits={"seed0": data.splits["seed0"][rows]}, sha256="two classes")


@pytest.mark.parametrize("name", registry.entries("tasks"))
def test_task_conforms(
    name: str, teacher: PointTransformer, data: PointCloudDataset, labelled: PointCloudDataset
) -> None:
    task = registry.load("tasks", name)()
    check_task(task, teacher, labelled if "splits" in task.needs else data, Context())


class Altered(Encoder):
    """A copy of the teacher whose forward pass is followed by ``alter(self, tokens)``."""

    def __init__(self, teacher: Encoder, alter: Callable[[Altered, Tokens], Tokens]) -> None:
        super().__init__()
        self.config, self.inner, self.alter = teacher.config, copy.deepcopy(teacher), alter
        self.calls = 0

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        self.calls += 1
        return self.alter(self, self.inner(patches, levels))


def replaced(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Altered, Tokens], Tokens]:
    return lambda _, tokens: Tokens(change(tokens.features), tokens.levels)


OFFENCES: dict[str, tuple[Callable[[Altered, Tokens], Tokens], str]] = {
    "wrong shape": (replaced(lambda x: x[:, :-1]), "must be \\(B, T, D\\)"),
    "not finite": (replaced(lambda x: x / 0), "finite"),
    "random in eval": (replaced(lambda x: x + torch.rand_like(x)), "same patches"),
    "batch dependent": (replaced(lambda x: x - x.mean(dim=0, keepdim=True)), "others in its batch"),
    "no levels": (lambda _, tokens: Tokens(tokens.features), "three levels"),
    "no empty batch": (replaced(lambda x: x + 0 * x.amax(dim=0)), "without clouds"),
    "uncountable": (replaced(lambda x: torch.fft.fft(x, dim=1).real), "aten::fft"),
}


@dataclass(frozen=True)
class Offender(Method):
    """A method that breaks one rule."""

    name: ClassVar[str] = "offender"
    offence: str = "wrong shape"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return Altered(teacher, OFFENCES[self.offence][0])


@pytest.mark.parametrize("offence", OFFENCES)
def test_kit_catches(offence: str, teacher: PointTransformer, data: PointCloudDataset) -> None:
    with pytest.raises(ConformanceError, match=OFFENCES[offence][1]):
        check_method(Offender(offence), teacher, data, Context())


@dataclass(frozen=True)
class TeacherChanger(Method):
    """Compresses in place."""

    name: ClassVar[str] = "teacher-changer"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        with torch.no_grad():
            next(teacher.parameters()).mul_(0.5)
        return copy.deepcopy(teacher)


class Stateful(Altered):
    """Draws a number at construction and keeps it outside its state."""

    def __init__(self, teacher: Encoder) -> None:
        shift = torch.rand(1)
        super().__init__(teacher, lambda _, tokens: Tokens(tokens.features + shift, tokens.levels))


@dataclass(frozen=True)
class StateHider(Method):
    """Its students are more than their state_dict."""

    name: ClassVar[str] = "state-hider"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return Stateful(teacher)


@dataclass(frozen=True)
class Deaf(Method):
    """Its loss does not depend on the student."""

    name: ClassVar[str] = "deaf"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = copy.deepcopy(teacher)
        student.unused = nn.Linear(2, 2)
        return student

    def loss(self, student: Encoder, inputs: Any, target: Tokens) -> torch.Tensor:
        return 0 * sum(p.sum() for p in student.parameters())


@dataclass(frozen=True)
class Shadow(Offender):
    """Has a parameter where the harness expects the method's answer."""

    name: ClassVar[str] = "shadow"
    skip: bool = False


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (Shadow(), "parameter called skip"),
        (TeacherChanger(), "same student|untouched"),
        (StateHider(), "outside of it"),
        (Deaf(), "reach the student"),
    ],
    ids=lambda value: value.name if isinstance(value, Method) else "",
)
def test_kit_catches_method(
    method: Method, rule: str, teacher: PointTransformer, data: PointCloudDataset
) -> None:
    with pytest.raises(ConformanceError, match=rule):
        check_method(method, copy.deepcopy(teacher), data, Context())


@dataclass(frozen=True)
class Copy(Method):
    """As little as a method can be: it does not say its family."""

    name: ClassVar[str] = "copy"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return copy.deepcopy(teacher)


def test_a_method_without_a_family_works_and_is_told_how_to_say_it(
    teacher: PointTransformer, data: PointCloudDataset
) -> None:
    with pytest.warns(UserWarning, match=r'copy has no family; add family: .* = "merge" \(one of .*distil'):
        check_method(Copy(), teacher, data, Context(variant=OFF_THE_SHELF))


@pytest.mark.parametrize(
    ("attribute", "value", "rule"),
    [
        ("family", "fusion", "unknown family 'fusion'; write family: .*merge"),
        ("family", "", "unknown family"),
        ("family", ("merge",), "unknown family"),
        ("family", ["merge"], "unknown family"),
        ("abstract", "It merges.", "abstract must be one line"),
        ("abstract", "two\nlines", "abstract must be one line"),
        ("abstract", "x" * 101, "at most 100"),
        ("abstract", None, "abstract must be one line"),
        ("paper", "2210.09461", "paper must be None or Paper"),
        ("paper", ("Token Merging", "2210.09461"), "paper must be None or Paper"),
        ("paper", Paper("Token Merging", "arXiv 2210.09461"), "paper must be None or Paper"),
        ("paper", Paper("", "2210.09461"), "paper must be None or Paper"),
    ],
)
def test_kit_catches_what_tables_cannot_show(
    attribute: str, value: object, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Copy, "family", "reference")
    check_declaration(Copy())
    monkeypatch.setattr(Copy, attribute, value)
    with pytest.raises(ConformanceError, match=rule):
        check_declaration(Copy())


def test_a_stack_is_of_its_first_part_s_family() -> None:
    ((stack, _),) = selectors.expand(selectors.parse_selector("foundry+int8+fmd"), grid=None)
    assert stack.family == "foundry"


@dataclass(frozen=True)
class Moody(Task):
    """Scores that differ from call to call."""

    name: ClassVar[str] = "moody"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("mood", primary=True),)
    datasets: ClassVar[tuple[str, ...]] = ("furniture",)

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        outcomes = torch.rand(5).numpy()
        return Scores((score_from_outcomes(self.metrics[0], outcomes),), {"mood": outcomes})


def test_kit_catches_a_task_that_is_not_pure(teacher: PointTransformer, data: PointCloudDataset) -> None:
    with pytest.raises(ConformanceError, match="same scores"):
        check_task(Moody(), teacher, data, Context())
