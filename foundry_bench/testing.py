"""The conformance kit: what every method, encoder and task has to keep, checked on real clouds.

Plugin authors call it from their own tests or run ``foundry-bench check PKG:NAME``::

    from foundry_bench.testing import check_method
    check_method(MyMethod(), teacher, data, Context())

Each function returns nothing and raises :class:`ConformanceError`, whose message says which rule is broken.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from foundry_bench.cost import count_macs
from foundry_bench.encoder import Embedding, Encoder, TokenEncoder, Tokens, pool
from foundry_bench.errors import UserError
from foundry_bench.method import EXPERT, FMD, VARIANTS, Method
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.expert import Expert
from foundry_bench.variants import FAMILIES, Paper

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.task import Task

CLOUDS = 4
TOLERANCE = 1e-4
"""Largest difference of two outputs that should be equal up to the order of summation."""
EXTRA_ROWS = (1, 3)
"""Rows in front of the patches of the teachers that every method is also tried on."""
ABSTRACT = 100
"""Most characters of a method's abstract."""
ARXIV = re.compile(r"\d{4}\.\d{4,5}")


class ConformanceError(AssertionError):
    """A rule that the harness relies on is broken."""


def require(holds: bool, rule: str) -> None:
    """Raise ConformanceError with ``rule``, in words, unless it ``holds``."""
    if not holds:
        raise ConformanceError(rule)


def check_method(method: Method, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Check one method, made for ``ctx.variant``, on a few clouds of ``data``; the teacher comes back as it was.

    Raises ConformanceError for a broken rule, and whatever the method itself raises.
    """
    check_declaration(method)
    before = _snapshot(teacher)
    student = make_student(method, teacher, data, ctx)
    twin = make_student(method, teacher, data, ctx)
    require(_equal_states(student, twin), f"{method.name}: the same seed must give the same student")
    points = _clouds(data, student)
    check_encoder(student, teacher, points)
    if isinstance(teacher, PointTransformer):
        for count in EXTRA_ROWS:
            front = with_extra_rows(teacher, count)
            check_extra_rows(make_student(method, front, data, ctx), front, points)
    other = make_student(method, _stranger(teacher), data, ctx.for_component("other seed"))
    check_state(student, other, points)
    if ctx.trains:
        check_training_step(method, make_student(method, teacher, data, ctx), teacher, points, ctx.variant)
    require(_unchanged(teacher, before), f"{method.name}: the teacher must stay untouched")


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
    for what, names in (("grid", set(method.grid)), ("inference", set(method.inference))):
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


def check_encoder(encoder: Encoder, teacher: Encoder, points: Tensor) -> None:
    """A student is a drop-in for its teacher on clouds ``points`` (B, N, 3), and its cost can be counted."""
    encoder.eval()
    patches = encoder.tokenize(points)
    name, shape = type(encoder).__name__, (len(points), teacher.config.groups, teacher.config.dim)
    with torch.no_grad():
        tokens = encoder(patches, levels=True)
        check_tokens(tokens, shape, name)
        again = encoder(patches).features
        alone = torch.cat([encoder(patches[i : i + 1]).features for i in range(len(points))])
    require(
        torch.equal(tokens.features, again),
        f"{name}: in eval mode the same patches must give the same tokens",
    )
    require(_close(again, alone), f"{name}: a cloud's tokens must not depend on the others in its batch")
    try:
        count = count_macs(encoder, patches[:1])
    except UserError as error:
        raise ConformanceError(str(error)) from error
    require(count.total > 0, f"{name}: an encoder must cost something")


def check_extra_rows(student: Encoder, teacher: PointTransformer, points: Tensor) -> None:
    """A student of a ``teacher`` that runs rows in front of the patches (a CLS token) gives a row per patch all the same, and
    where it runs blocks of the teacher, these rows and their positions take part."""
    name, config = type(student).__name__, teacher.config
    student.eval()
    patches = student.tokenize(points)
    shape = (len(points), config.groups, config.dim)
    with torch.no_grad():
        tokens = student(patches, levels=True)
        check_tokens(tokens, shape, f"{name} of a teacher with {config.prefix} extra rows")
        if not len(getattr(student, "blocks", ())):
            return
        before = tokens.features
        for which in ("prefix", "prefix_pos"):
            rows = getattr(student, which, None)
            if rows is None:
                continue
            rows.add_(torch.linspace(-1, 1, rows.numel()).reshape(rows.shape).to(rows))
            after = student(patches).features
            require(
                not torch.equal(before, after),
                f"{name}: the teacher's extra rows ({which}) do not reach the tokens; run the blocks by self.run(x, pos)",
            )
            before = after


def with_extra_rows(teacher: PointTransformer, count: int) -> PointTransformer:
    """A copy of ``teacher`` with ``count`` rows in front of the patches, in evaluation mode and without gradients."""
    front = PointTransformer(replace(teacher.config, prefix=count))
    front.load_state_dict(
        {key: value for key, value in teacher.state_dict().items() if not key.startswith("prefix")},
        strict=False,
    )
    with torch.no_grad():
        for rows in (front.prefix, front.prefix_pos):
            if rows is not None:
                rows.copy_(torch.linspace(-1, 1, rows.numel()).sin().reshape(rows.shape))
    return front.to(next(teacher.parameters()).device).eval().requires_grad_(False)


def check_tokens(tokens: Tokens, shape: tuple[int, ...], name: str) -> None:
    """Features and three levels of ``shape`` (B, T, D), all finite."""
    require(len(tokens.levels) == 3, f"{name}: levels=True must give three levels, got {len(tokens.levels)}")
    for what, value in (
        ("features", tokens.features),
        *((f"levels[{i}]", v) for i, v in enumerate(tokens.levels)),
    ):
        require(
            tuple(value.shape) == shape,
            f"{name}: {what} must be (B, T, D) = {shape}, got {tuple(value.shape)}",
        )
        require(bool(torch.isfinite(value).all()), f"{name}: {what} must be finite")


def check_state(student: Encoder, other: Encoder, points: Tensor) -> None:
    """The state written by ``student`` as safetensors makes ``other`` the same encoder, which was made with another seed
    from a teacher of the same sizes and other weights: a saved student is loaded without its teacher."""
    name = type(student).__name__
    state = load(
        save({key: value.detach().clone().contiguous() for key, value in student.state_dict().items()})
    )
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        raise ConformanceError(f"{name}: state does not load into a fresh student: {error}") from error
    student.eval(), other.eval()
    patches = student.tokenize(points)
    with torch.no_grad():
        same = torch.equal(student(patches).features, other(patches).features)
    require(same, f"{name}: a student must be its state_dict; something outside of it changes the tokens")


def check_training_step(
    method: Method, student: Encoder, teacher: Encoder, points: Tensor, variant: str = FMD
) -> None:
    """One optimiser step of the method's loss: finite loss, finite gradients, and some of them not zero."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    if not parameters:
        require(variant not in method.variants, f"{method.name}: variant {variant} needs parameters to train")
        return
    student.train()
    patches = student.tokenize(points)
    with torch.no_grad():
        target = teacher(teacher.tokenize(points))
    if variant == EXPERT:
        require(
            isinstance(method, Expert),
            f"{method.name}: variant {EXPERT} needs foundry_bench.training.expert.Expert",
        )
        logits = torch.zeros(len(points), 3)
        logits[:, 0] = 1.0
        pooled = pool(student(patches).features)
        head = torch.linspace(-1, 1, 3 * pooled.shape[1], device=pooled.device).reshape(-1, 3)
        labels = torch.zeros(len(points), dtype=torch.long)
        loss = method.expert_loss(pooled @ head, logits.to(pooled), labels.to(pooled.device))  # type: ignore[attr-defined]
    else:
        loss = method.loss(student, training_inputs(student, patches), target)
    require(
        loss.dim() == 0 and bool(torch.isfinite(loss)), f"{method.name}: the loss must be one finite number"
    )
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    loss.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    require(all(bool(torch.isfinite(g).all()) for g in gradients), f"{method.name}: gradients must be finite")
    trained = variant not in method.variants or any(bool(g.any()) for g in gradients)
    require(trained, f"{method.name}: the loss must reach the student's parameters")
    optimizer.step()


def training_inputs(student: Encoder, patches: Patches) -> Patches | Embedding:
    """What the distillation trainer hands to a method's loss: tokens where the tokenizer is frozen, else
    patches."""
    if isinstance(student, TokenEncoder) and not any(p.requires_grad for p in student.tokenizer.parameters()):
        with torch.no_grad():
            return student.embed(patches)
    return patches


def check_task(task: Task, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> None:
    """Scores are a pure function of the arguments, in [0, 1], with an outcome per item; the encoder stays
    as it was."""
    require(sum(m.primary for m in task.metrics) == 1, f"{task.name}: exactly one metric must be primary")
    json.dumps(task.protocol())
    before = _snapshot(encoder)
    first, second = (task.evaluate(encoder, data, ctx) for _ in range(2))
    names = [score.metric for score in first.values]
    require(
        names == [m.name for m in task.metrics_for(data)], f"{task.name}: scores must be those of metrics_for"
    )
    require(first.values == second.values, f"{task.name}: the same arguments must give the same scores")
    for score in first.values:
        require(0 <= score.value <= 1, f"{task.name}: {score.metric} = {score.value} is not in [0, 1]")
        outcomes = first.outcomes.get(score.metric)
        require(
            outcomes is not None and len(outcomes) == score.n,
            f"{task.name}: {score.metric} needs {score.n} outcomes",
        )
        same = np.array_equal(np.asarray(outcomes), np.asarray(second.outcomes[score.metric]))
        require(same, f"{task.name}: the outcomes of {score.metric} must come in a fixed order")
    require(_unchanged(encoder, before), f"{task.name}: a task must leave the frozen encoder untouched")


@torch.no_grad()
def _stranger(teacher: Encoder) -> Encoder:
    """A teacher of the same sizes that knows nothing."""
    stranger = copy.deepcopy(teacher)
    for parameter in stranger.parameters():
        parameter.normal_(
            std=0.05, generator=torch.Generator(parameter.device).manual_seed(parameter.numel())
        )
    return stranger


def _clouds(data: PointCloudDataset, encoder: Encoder) -> Tensor:
    picks = np.linspace(0, len(data.points) - 1, CLOUDS).round().astype(int)
    return torch.from_numpy(data.points[picks, : encoder.config.points].astype(np.float32))


def _snapshot(encoder: Encoder) -> tuple[bool, list[bool], dict[str, Tensor]]:
    state = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    return encoder.training, [p.requires_grad for p in encoder.parameters()], state


def _unchanged(encoder: Encoder, before: tuple[bool, list[bool], dict[str, Tensor]]) -> bool:
    training, flags, state = before
    now = encoder.state_dict()
    same = now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)
    no_gradients = all(p.grad is None for p in encoder.parameters())
    return (
        same
        and no_gradients
        and training == encoder.training
        and flags == [p.requires_grad for p in encoder.parameters()]
    )


def _equal_states(one: Encoder, other: Encoder) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE))
