"""What a method has to keep."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from foundry_bench.encoder import Encoder
from foundry_bench.method import VARIANTS, Method
from foundry_bench.students.files import make_student, shapes
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing.extra_rows import check_prefix
from foundry_bench.testing.rules import (
    ConformanceError,
    require,
    snapshot,
    some_clouds,
    stranger_to,
    unchanged,
)
from foundry_bench.testing.students import check_encoder, check_state, check_training_step
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
    check_declaration(method)
    before = snapshot(teacher)
    student = make_student(method, teacher, data, ctx)
    twin = make_student(method, teacher, data, ctx)
    require(_equal_states(student, twin), f"{method.name}: the same seed must give the same student")
    points = some_clouds(data, student)
    check_encoder(student, teacher, points)
    elsewhere = replace(ctx.for_component("other seed"), shapes=shapes(student.state_dict()))
    other = make_student(method, stranger_to(teacher), data, elsewhere)
    check_state(student, other, points)
    if ctx.trains:
        check_training_step(method, make_student(method, teacher, data, ctx), teacher, points, ctx.variant)
    if (
        isinstance(teacher, PointTransformer) and student.in_torch is student
    ):  # a graph is held to its parent when it is made
        check_prefix(method, teacher, data, ctx)
    require(unchanged(teacher, before), f"{method.name}: the teacher must stay untouched")


def check_declaration(method: Method) -> None:
    """Names, variants and parameters are what the registry and the records need."""
    require(bool(method.name), f"{type(method).__name__} has no name")
    require(
        bool(method.variants) and set(method.variants) <= set(VARIANTS),
        f"{method.name}: variants must be among {VARIANTS}",
    )
    check_family(method)
    known = set(method.params())
    hidden = sorted(name for name in known if callable(getattr(Method, name, None)))
    require(not hidden, f"{method.name}: parameters must not be called as what a Method does: {hidden}")
    also, matched = ({name for row in rows for name in row} for rows in (method.also, method.matched))
    declared = {
        "grid": set(method.grid),
        "also": also,
        "matched": matched,
        "inference": set(method.inference),
    }
    for what, names in declared.items():
        require(names <= known, f"{method.name}: {what} names no parameters: {sorted(names - known)}")
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
