"""From a method and a variant to a finished student: what a sweep's student cell and ``foundry-bench distill`` share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foundry_bench import selectors
from foundry_bench.context import derive_seed
from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.datasets.few import spread
from foundry_bench.encoder import DistillReport, Encoder, TokenEncoder
from foundry_bench.errors import UserError
from foundry_bench.stack import Stack
from foundry_bench.students.files import make_student, mark
from foundry_bench.teachers.layout import lay_out
from foundry_bench.training import expert
from foundry_bench.training.budget import Budget, halved, resolve
from foundry_bench.training.distillation import distill, heldout_fidelity
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
    method: Method,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    ctx: Context,
    budget: Budget,
    making: Context | None = None,
) -> tuple[Encoder, DistillReport | None]:
    """The student of ``method`` in the variant of ``ctx``, trained and, for a stack, with the other methods applied.

    ``making``: the context in which students are made, if not ``ctx``, in which they are trained.
    """
    making = making or ctx
    if isinstance(method, Stack) and method.tuned(ctx.variant):
        return _tuned_stack(method, teacher, data, ctx, halved(resolve(budget, data)), making)
    first = method.parts[0] if isinstance(method, Stack) else method
    student = make_student(first, teacher, data, making)
    report = train(student, teacher, data, method=first, ctx=ctx, budget=budget)
    if isinstance(method, Stack):
        student = _finished(method, student, teacher, data, making)
    return student.eval(), report


def _finished(
    stack: Stack, student: Encoder, teacher: TokenEncoder, data: PointCloudDataset, ctx: Context
) -> Encoder:
    """The first method's ``student`` with the others applied, marked as the stack's."""
    lay_out(student, columns=False)
    student = mark(stack.finish(student, data, ctx), stack, ctx.variant, teacher)
    lay_out(student, columns=True)
    stack.configure(student)
    return student


def _tuned_stack(
    stack: Stack,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    ctx: Context,
    half: Budget,
    making: Context,
) -> tuple[Encoder, DistillReport]:
    """The student of a stack, trained as its first method's and again as a whole; the report is of both trainings."""
    student = make_student(stack.parts[0], teacher, data, making)
    before = distill(student, teacher, data, method=stack.parts[0], ctx=ctx, budget=half)
    body = stack.body
    assert isinstance(body, Stack)  # it has a method behind the first that can be trained
    student = _finished(body, student.eval(), teacher, data, making)
    again = replace(ctx, seed=derive_seed(ctx.seed, "stack"))
    after = distill(student, teacher, data, method=body, ctx=again, budget=half)
    if stack.last:
        lay_out(student, columns=False)
        student = mark(stack.parts[-1].compress(student.eval(), data, making), stack, ctx.variant, teacher)
        after = replace(after, **vars(heldout_fidelity(student, teacher, data, ctx, half)))
    later = [{**point, "step": before.steps + point["step"]} for point in after.curve]
    both = replace(
        after,
        curve=before.curve + later,
        steps=before.steps + after.steps,
        samples=before.samples + after.samples,
        seconds=before.seconds + after.seconds,
    )
    return student.eval(), both
