"""What a method has to keep."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.method import Method
from foundry_bench.parameters.declared import check_declared
from foundry_bench.registry import code_of
from foundry_bench.students.files import make_student, shapes
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing.extra_rows import check_prefix
from foundry_bench.testing.rules import (
    ConformanceError,
    Rule,
    require,
    snapshot,
    some_clouds,
    stranger_to,
    unchanged,
)
from foundry_bench.testing.students import check_dtypes, check_encoder, check_state, check_training_step
from foundry_bench.variants import FAMILIES, Paper

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

ABSTRACT = 100
"""Most characters of a method's abstract."""
ARXIV = re.compile(r"\d{4}\.\d{4,5}")


def check_method(method: Method, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Check one method, made for ``ctx.variant``, on a few clouds of ``data``; the teacher comes back as it was.

    Raises ConformanceError for a broken rule, and whatever the method itself raises.
    """
    for rule in method_rules(method, teacher, data, ctx):
        rule.check()


def method_rules(method: Method, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Iterator[Rule]:
    """The rules of :func:`check_method`; what one has made the next looks at."""
    before = snapshot(teacher)
    made: list[Encoder] = []

    def make() -> None:
        made.extend(make_student(method, teacher, data, ctx) for _ in range(2))
        rule = "the same seed must give the same student; draw from ctx.generator('what for')"
        require(_equal_states(*made), f"{code_of(method, 'compress')}: {rule}")

    def keep_state() -> None:
        elsewhere = replace(ctx.for_component("other seed"), shapes=shapes(made[0].state_dict()))
        other = make_student(method, stranger_to(teacher), data, elsewhere)
        check_state(made[0], other, some_clouds(data, made[0]))

    def train() -> None:
        student = make_student(method, teacher, data, ctx)
        check_training_step(method, student, teacher, some_clouds(data, student), ctx.variant)

    def leave_teacher() -> None:
        rule = (
            f"{code_of(method, 'compress')}: the teacher must stay untouched; work on copy.deepcopy(teacher)"
        )
        require(unchanged(teacher, before), rule)

    def heed_prefix() -> None:
        if made[0].in_torch is made[0] and isinstance(teacher, PointTransformer):
            check_prefix(method, teacher, data, ctx)  # a graph is held to its parent when it is made

    yield Rule("it declares what the registry and the records need", lambda: check_declaration(method))
    yield Rule("compress gives a student, the same for the same seed", make)
    yield Rule("the teacher stays untouched", leave_teacher)
    yield Rule("no weight is in double precision", lambda: check_dtypes(made[0]))
    yield Rule(
        "the student is a drop-in for its teacher, and its cost can be counted",
        lambda: check_encoder(made[0], teacher, some_clouds(data, made[0])),
    )
    yield Rule("all of the student is in its state, which can be saved and loaded", keep_state)
    if ctx.trains:
        yield Rule(f"a training step of the variant {ctx.variant} reaches its weights", train)
    if isinstance(teacher, PointTransformer):
        yield Rule("it works on teachers with rows in front of the patches (a CLS token)", heed_prefix)
    yield Rule("the teacher is still untouched", leave_teacher)


def check_declaration(method: Method) -> None:
    """Names, variants and parameters are what the registry and the records need."""
    check_family(method)
    try:
        check_declared.__wrapped__(type(method), "methods", Method)
    except UserError as error:
        raise ConformanceError(str(error)) from error
    try:
        json.dumps(method.params())
    except TypeError as error:
        raise ConformanceError(f"{method.name}: parameters must be JSON-able ({error})") from error


def check_family(method: Method) -> None:
    """What tables and figures say of a method; one without a family works, is grey in figures, and gets a warning."""
    example = f'family: ClassVar[Family] = "merge" (one of {", ".join(FAMILIES)})'
    require(
        method.family is None or method.family in FAMILIES,
        f"{method.name}: unknown family {method.family!r}; write {example}",
    )
    if method.family is None:
        warnings.warn(f"{method.name} has no family; add {example}", stacklevel=3)
    require(
        isinstance(method.abstract, str)
        and len(method.abstract) <= ABSTRACT
        and method.abstract == " ".join(method.abstract.split())
        and not method.abstract.endswith("."),
        f"{method.name}: abstract must be one line of at most {ABSTRACT} characters without a full stop",
    )
    paper = method.paper
    require(
        paper is None
        or (isinstance(paper, Paper) and bool(paper.title) and bool(ARXIV.fullmatch(str(paper.arxiv)))),
        f'{method.name}: paper must be None or Paper(title, arXiv number), as Paper("Token Merging", "2210.09461")',
    )


def _equal_states(one: Encoder, other: Encoder) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
