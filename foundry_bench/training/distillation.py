"""Foundation Model Distillation (FMD): a student learns the teacher's tokens on unlabelled clouds.

Every method gets the same trainer, data, augmentation views, steps and samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from foundry_bench.context import Context, derive_seed
from foundry_bench.encoder import DistillReport, Embedding, Encoder, Fidelity, TokenEncoder, Tokens
from foundry_bench.points.patches import Patches
from foundry_bench.students.tokens import set_fused_attention
from foundry_bench.teachers.layout import lay_out
from foundry_bench.training.budget import Budget, budget_of, resolve
from foundry_bench.training.fidelity import FOLDS, Moments, folds, from_moments
from foundry_bench.training.loop import adamw, learning_rate, train_step, warmup_steps
from foundry_bench.training.precision import autocast
from foundry_bench.training.token_cache import TokenCache, token_cache

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.method import Method


def shares_tokenizer(student: Encoder, teacher: Encoder) -> bool:
    """Whether the student's tokenizer is the teacher's, frozen, so that cached tokens are exactly its own."""
    if not (isinstance(student, TokenEncoder) and isinstance(teacher, TokenEncoder)):
        return False
    if any(p.requires_grad for p in student.tokenizer.parameters()):
        return False
    ours, theirs = student.tokenizer.state_dict(), teacher.tokenizer.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k].cpu(), theirs[k].cpu()) for k in ours)


def distill(
    student: Encoder,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    *,
    method: Method,
    ctx: Context,
    budget: Budget | str,
) -> DistillReport:
    """Train ``student`` in place to give the teacher's tokens. Raises FloatingPointError when the loss is not finite."""
    budget = resolve(budget_of(budget), data)
    cache = token_cache(teacher, data, budget.views, ctx)
    cached = shares_tokenizer(student, teacher)

    def loss(batch: np.ndarray, views: np.ndarray) -> Tensor:
        target = Tokens(cache.target(batch, views).features.to(ctx.device))
        return method.loss(student, inputs_of(cache, batch, views, cached, ctx), target)

    def fidelity(limit: int | None) -> Fidelity:
        return _fidelity(student, cache, data, cached, ctx, limit)

    rows = np.flatnonzero(~cache.held_out)
    return train_student(student, loss, fidelity, rows, what=f"distill {method.name}", ctx=ctx, budget=budget)


def train_student(
    student: Encoder,
    loss: Callable[[np.ndarray, np.ndarray], Tensor],
    fidelity: Callable[[int | None], Fidelity],
    rows: np.ndarray,
    *,
    what: str,
    ctx: Context,
    budget: Budget,
    head: nn.Module | None = None,
) -> DistillReport:
    """Train ``student`` in place; every student goes through this, distilled ones and experts.

    ``loss(batch, views)`` is the loss of some of ``rows`` in some views, ``fidelity(limit)`` the held-out fidelity on all
    objects, or for the curve on at most ``limit``, where R2 is enough; ``head`` is trained along and thrown away. Raises
    FloatingPointError when the loss is not finite.
    """
    stream = np.random.default_rng(derive_seed(ctx.seed, "distill batches"))
    torch.manual_seed(derive_seed(ctx.seed, "distill noise"))
    student.to(ctx.device)
    trained = nn.ModuleList([student] if head is None else [student, head.to(ctx.device)])
    set_fused_attention(student, ctx.device.type != "cpu")
    lay_out(student, columns=False)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimizer = adamw(parameters, lr=budget.lr, weight_decay=budget.weight_decay, betas=(0.9, 0.98))
    warmup = warmup_steps(budget.warmup, budget.steps)
    curve, began = [], time.perf_counter()
    marks = {round(budget.steps * (i + 1) / budget.curve) for i in range(budget.curve)}
    student.train()
    for step in range(1, budget.steps + 1):
        batch = stream.choice(rows, budget.batch_size, replace=budget.batch_size > len(rows))
        views = stream.integers(0, budget.views, budget.batch_size)
        with autocast(ctx.device):
            value = loss(batch, views)
        rate = learning_rate(step - 1, budget.steps, peak=budget.lr, warmup=warmup)
        train_step(optimizer, value, rate, clip=3.0, what=what)
        if step in marks:
            found = fidelity(64 if step < budget.steps else None)
            curve.append({"step": step, "loss": float(value.detach()), "r2": found.r2})
            ctx.log.info("step %d loss %.4f r2 %.4f", step, float(value.detach()), found.r2)
            student.train()
        ctx.progress(what, step, budget.steps)
    set_fused_attention(student, True)
    lay_out(student, columns=True)
    student.eval()
    seconds = time.perf_counter() - began
    samples = budget.steps * budget.batch_size
    return DistillReport(**vars(found), curve=curve, steps=budget.steps, samples=samples, seconds=seconds)


def inputs_of(
    cache: TokenCache, rows: np.ndarray, views: np.ndarray, cached: bool, ctx: Context
) -> Embedding | Patches:
    """What a student is fed: the teacher's tokens where it ``cached`` shares the tokenizer, else patches."""
    if not cached:
        return cache.patches(rows, views).to(ctx.device)
    embedding = cache.embedding(rows, views)
    return Embedding(embedding.tokens.to(ctx.device), embedding.centers.to(ctx.device))


def heldout_fidelity(
    student: Encoder,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    ctx: Context,
    budget: Budget | str = "quick",
) -> Fidelity:
    """How well the tokens of ``student`` are its teacher's on held-out objects."""
    budget = budget_of(budget)
    cache = token_cache(teacher, data, budget.views, ctx, whole=False)
    return _fidelity(student.to(ctx.device), cache, data, shares_tokenizer(student, teacher), ctx)


def heldout_r2(
    student: Encoder,
    teacher: TokenEncoder,
    data: PointCloudDataset,
    ctx: Context,
    budget: Budget | str = "quick",
) -> float:
    """Share of the teacher's token variance that ``student`` explains on held-out objects: 1 - SSE / SST.

    SST is taken around the mean token of the held-out set. 1 is the teacher itself, 0 a constant.
    """
    return heldout_fidelity(student, teacher, data, ctx, budget).r2


def _fidelity(
    student: Encoder,
    cache: TokenCache,
    data: PointCloudDataset,
    cached: bool,
    ctx: Context,
    limit: int | None = None,
) -> Fidelity:
    rows = np.flatnonzero(cache.held_out)[:limit]
    width = cache.features.shape[-1]
    error, squares, total, count = 0.0, 0.0, torch.zeros(width, dtype=torch.double), 0
    fold = folds(data.series[rows])
    moments = [Moments.zero(width) for _ in range(FOLDS)]
    for chunk, tokens, target in _heldout_tokens(student, cache, rows, cached, ctx):
        error += float((tokens - target).square().sum())
        squares += float(target.square().sum())
        total += target.flatten(0, 1).sum(dim=0)
        count += target.shape[0] * target.shape[1]
        if limit is None:
            here = fold[np.searchsorted(rows, chunk)]
            for k in np.unique(here):
                moments[k].add(tokens[here == k], target[here == k])
    r2 = 1 - error / (squares - float(total.square().sum()) / count)
    return Fidelity(r2) if limit is not None else from_moments(r2, moments)


@torch.inference_mode()
def _heldout_tokens(
    student: Encoder, cache: TokenCache, rows: np.ndarray, cached: bool, ctx: Context
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Objects, the student's and the teacher's tokens (B, T, D) of them in float64, in the first view."""
    student.eval()
    for chunk in np.array_split(rows, max(1, math.ceil(len(rows) / 64))):
        views = np.zeros(len(chunk), dtype=np.int64)
        inputs = inputs_of(cache, chunk, views, cached, ctx)
        with autocast(ctx.device):
            tokens = student.encode(inputs) if isinstance(inputs, Embedding) else student(inputs)  # type: ignore[operator]
        yield chunk, tokens.features.double().cpu(), cache.target(chunk, views).features.double()
