"""The rules of the kit that take a second, for every command that is about to spend minutes on a method: before a sweep trains
anything, before ``distill`` does, and wherever a student is made to be looked at.

A broken rule is a StrangerError, one line for the author: the class, the file and line, what came back, and what is wanted.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foundry_bench import registry
from foundry_bench.border import StrangerError
from foundry_bench.datasets.few import take
from foundry_bench.method import student_of
from foundry_bench.stack import Stack
from foundry_bench.students.files import make_student, shapes
from foundry_bench.testing.rules import ConformanceError, snapshot, some_clouds, stranger_to, unchanged
from foundry_bench.testing.students import check_dtypes, check_encoder, check_state, check_training_step
from foundry_bench.training.token_cache import held_out

if TYPE_CHECKING:
    from torch import Tensor

    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder
    from foundry_bench.method import Method

CLOUDS = 48
"""Clouds that a method is tried on."""
FEW = 2
"""Those that a student is looked at on: one would not tell whether it mixes clouds."""


def try_method(method: Method, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Make students of ``method`` on a few clouds of ``data``, for ``ctx.variant``, and hold them to the quick rules.

    Raises StrangerError for a broken rule and for what a plugin raises, UserError for what the method itself refuses.
    """
    few = few_of(data, CLOUDS)
    before = snapshot(teacher)
    student = make_student(method, teacher, few, ctx)
    if not unchanged(teacher, before):
        wanted = "leave it as it was, weights, gradients and mode, and work on a copy: copy.deepcopy(teacher)"
        raise registry.broken_rule(method, "compress", "changed the teacher", wanted)
    check_made(method, student, teacher, few)
    if student.in_torch is student:  # a graph is held to its parent when it is made
        with _told(method):
            check_state(student, _another(method, student, teacher, few, ctx), some_clouds(few, student))
    if ctx.trains:
        check_training(method, student, teacher, few, ctx.variant)


def check_made(method: Method, student: Encoder, teacher: Encoder, data: PointCloudDataset) -> None:
    """Hold a student, which stays as it is, to what a drop-in for ``teacher`` has to give. Raises StrangerError."""
    student_of(method, student, teacher)
    with _told(method):
        check_dtypes(student)
        training = student.training
        check_encoder(student, teacher, _clouds(data, student), quick=True)
        student.train(training)


def check_training(
    method: Method, student: Encoder, teacher: Encoder, data: PointCloudDataset, variant: str
) -> None:
    """Hold one step of a copy's training to what the trainer needs. Raises StrangerError."""
    if not isinstance(method, Stack):
        with _told(method):
            check_training_step(method, copy.deepcopy(student), teacher, _clouds(data, student), variant)


def few_of(data: PointCloudDataset, count: int) -> PointCloudDataset:
    """Some objects to train on and some that are held out."""
    kept = held_out(data)
    rows = [np.flatnonzero(kept)[: count // 4], np.flatnonzero(~kept)[: 3 * count // 4]]
    return take(data, np.sort(np.concatenate(rows)))


def _clouds(data: PointCloudDataset, student: Encoder) -> Tensor:
    """A few clouds (B, N, 3) where the student is."""
    points = some_clouds(data, student)[:FEW]
    return next((points.to(value.device) for value in student.state_dict().values()), points)


def _another(
    method: Method, student: Encoder, teacher: Encoder, data: PointCloudDataset, ctx: Context
) -> Encoder:
    """A student that was made with another seed from a teacher of the same sizes that knows nothing."""
    elsewhere = replace(ctx.for_component("other seed"), shapes=shapes(student.state_dict()))
    return make_student(method, stranger_to(teacher), data, elsewhere)


@contextmanager
def _told(method: Method) -> Iterator[None]:
    """A broken rule is the method's; so is what its student raises, where it is a plugin's."""
    with registry.guard("methods", method.name.partition("+")[0], "failed"):
        try:
            yield
        except ConformanceError as error:
            raise StrangerError(f"{registry.owner_of(_first(method))}: {error}") from error


def _first(method: Method) -> type:
    return type(method.parts[0] if isinstance(method, Stack) else method)
