"""Experts: students that are trained for one task, on its labels and on the logits that the teacher gives it (Hinton et al.,
arXiv 1503.02531). They get the trainer, steps, samples and views of Foundation Model Distillation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from foundry_bench.distill import (
    Budget,
    DistillReport,
    heldout_r2,
    inputs_of,
    optimise,
    resolve,
    shares_tokenizer,
)
from foundry_bench.encoder import Encoder, Patches, TokenEncoder, pool
from foundry_bench.errors import UserError
from foundry_bench.method import Method
from foundry_bench.token_cache import TokenCache, token_cache

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.task import Supervision, Task


def hinton_loss(student: Tensor, teacher: Tensor, labels: Tensor, tau: float, alpha: float) -> Tensor:
    """``(1 - alpha) CE(student, labels) + alpha tau^2 KL(teacher || student)``, both softened by ``tau``, mean over the batch.

    ``student`` and ``teacher`` are logits (B, C), ``labels`` (B,). tau^2 keeps the gradients' scale; the KL goes from the
    teacher to the student.
    """
    soft = F.kl_div(
        F.log_softmax(student / tau, dim=-1),
        F.log_softmax(teacher / tau, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    hard = F.cross_entropy(student, labels) if alpha < 1 else student.new_zeros(())
    return (1 - alpha) * hard + alpha * tau**2 * soft


@dataclass(frozen=True)
class Expert(Method):
    """Base of methods with the variant ``expert``: ``task`` and ``dataset`` give the labels, see ``Task.supervision``."""

    labelled: ClassVar[bool] = True
    """Train on the labelled clouds; otherwise on the unlabelled set, where only the teacher's logits are known."""

    task: str = "fewshot"
    dataset: str = "kicad"

    def expert_loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits (B, C) of the student's head given the teacher's and the labels (B,)."""
        return hinton_loss(student, teacher, labels, tau=4.0, alpha=0.9)


@dataclass(frozen=True)
class Lesson:
    """What an expert learns from. ``labelled`` holds the clouds that the teacher's head is fitted on, with ``labels``
    (N,); ``clouds`` those that the student is trained on, the same or the unlabelled set; R2 is measured on ``unlabelled``."""

    labelled: PointCloudDataset
    labels: np.ndarray
    clouds: PointCloudDataset
    unlabelled: PointCloudDataset


def prepare(method: Expert, task: Task, data: PointCloudDataset, unlabelled: PointCloudDataset) -> Lesson:
    """The lesson of ``task`` on ``data``. Raises UserError for a task or data set without labels to train on."""
    supervision: Supervision | None = task.supervision(data)
    if supervision is None or len(supervision.rows) == 0:
        raise UserError(
            f"task {task.name!r} has no labelled training objects in data set {data.name!r}; "
            f"choose another dataset= for {method.name}"
        )
    labelled = _subset(data, supervision.rows, f"{task.name} {task.version} supervision")
    return Lesson(labelled, supervision.labels, labelled if method.labelled else unlabelled, unlabelled)


def train(
    student: Encoder, teacher: TokenEncoder, lesson: Lesson, *, method: Expert, ctx: Context, budget: Budget
) -> DistillReport:
    """Train ``student`` in place for one task; its head starts as the teacher's, is trained along and thrown away."""
    budget = resolve(budget, lesson.clouds)
    labelled = token_cache(teacher, lesson.labelled, budget.views, ctx)
    reference = fit_head(labelled, lesson.labels)
    head = copy.deepcopy(reference)
    cache = labelled if method.labelled else token_cache(teacher, lesson.clouds, budget.views, ctx)
    cached = shares_tokenizer(student, teacher)
    reference.to(ctx.device)

    def loss(batch: np.ndarray, views: np.ndarray) -> Tensor:
        inputs = inputs_of(cache, batch, views, cached, ctx)
        tokens = student(inputs) if isinstance(inputs, Patches) else student.encode(inputs)  # type: ignore[operator]
        with torch.no_grad():
            target = reference(pool(cache.target(batch, views).features.to(ctx.device)).float())
        labels = torch.from_numpy(lesson.labels[batch] if method.labelled else np.zeros(len(batch), np.int64))
        value = method.expert_loss(
            head(pool(tokens.features).float()).float(), target.float(), labels.to(ctx.device)
        )
        return value if tokens.penalty is None else value + tokens.penalty

    def fidelity(limit: int | None) -> float:
        return heldout_r2(student, teacher, lesson.unlabelled, ctx, budget)

    rows = np.arange(len(lesson.clouds.points))
    if not method.labelled:
        rows = np.flatnonzero(~cache.held_out)
    return optimise(
        student, loss, fidelity, rows, what=f"train {method.name}", ctx=ctx, budget=budget, head=head
    )


def fit_head(cache: TokenCache, labels: np.ndarray) -> nn.Linear:
    """The teacher's linear head on mean + max features, (B, 2D) -> (B, C), fitted by logistic regression on all views."""
    rows, views = cache.features.shape[:2]
    features = np.concatenate(
        [pool(cache.target(np.arange(rows), np.full(rows, v)).features).numpy() for v in range(views)]
    )
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(features), np.tile(labels, views))
    scale = scaler.scale_
    head = nn.Linear(features.shape[1], len(model.classes_))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(model.coef_ / scale))
        head.bias.copy_(torch.from_numpy(model.intercept_ - (model.coef_ / scale) @ scaler.mean_))
    return head


def _subset(data: PointCloudDataset, rows: np.ndarray, why: str) -> PointCloudDataset:
    picked = {name: getattr(data, name)[rows] for name in ("points", "labels", "series", "paths")}
    splits = {name: split[rows] for name, split in data.splits.items()}
    return replace(data, **picked, splits=splits, parts=None, sha256=f"{data.sha256} {why}")
