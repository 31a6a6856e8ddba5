"""From a method and a variant to a finished student: what a sweep's student cell and ``foundry-bench distill`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundry_bench import selectors
from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.datasets.few import spread
from foundry_bench.encoder import DistillReport, Encoder, TokenEncoder
from foundry_bench.errors import UserError
from foundry_bench.stack import Stack
from foundry_bench.students.files import make_student, mark
from foundry_bench.training import expert
from foundry_bench.training.budget import Budget
from foundry_bench.training.distillation import distill
from foundry_bench.variants import FMD, OFF_THE_SHELF

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.method import Method
    from foundry_bench.task import Task


def expert_of(method: Method) -> expert.Expert:
    """The method, or the first of a stack, as one that is trained for a task. Raises UserError if it cannot be."""
    first = method.parts[0] if isinstance(method, Stack) else method
    if not isinstance(first, expert.Expert):
        raise UserError(
            f"{method.name} has no task to be an expert of; derive it from foundry_bench.training.expert.Expert"
        )
    return first


def lesson_task(pupil: expert.Expert) -> Task:
    """The task that an expert is trained for."""
    return selectors.task_class(pupil.task)()


def train(
    student: Encoder,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    *,
    method: Method,
    ctx: Context,
    budget: Budget,
) -> DistillReport | None:
    """Train ``student`` in place as ``ctx.variant`` says: on the teacher's tokens of ``data``, for the method's one task, or
    not at all (None). Raises UserError where an expert has no labels to learn from."""
    if ctx.variant == OFF_THE_SHELF:
        return None
    if ctx.variant == FMD:
        return distill(student, teacher, data, method=method, ctx=ctx, budget=budget)
    pupil = expert_of(method)
    labelled = load_dataset(pupil.dataset, ctx.data_root)
    if budget.clouds:
        # More than are needed: some are on test sides, some in classes that are not taught.
        labelled = spread(labelled, 4 * budget.clouds)
    lesson = expert.prepare(pupil, lesson_task(pupil), labelled, data)
    return expert.train(student, teacher, lesson, method=pupil, ctx=ctx, budget=budget)


def finished_student(
    method: Method, teacher: TokenEncoder, data: PointCloudDataset, ctx: Context, budget: Budget
) -> tuple[Encoder, DistillReport | None]:
    """The student of ``method`` in the variant of ``ctx``, trained and, for a stack, with the other methods applied."""
    first = method.parts[0] if isinstance(method, Stack) else method
    student = make_student(first, teacher, data, ctx)
    report = train(student, teacher, data, method=first, ctx=ctx, budget=budget)
    if isinstance(method, Stack):
        student = mark(method.finish(student, data, ctx), method, ctx.variant, teacher)
        method.configure(student)
    return student.eval(), report
