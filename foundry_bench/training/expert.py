"""Experts: students that are trained for one task, on its labels and on the logits that the teacher gives it (Hinton et al.,
arXiv 1503.02531). They get the training, steps, samples and views of Foundation Model Distillation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.encoder import DistillReport, Encoder, Fidelity, TokenEncoder, pool
from foundry_bench.errors import UserError
from foundry_bench.method import Method
from foundry_bench.points.patches import Patches
from foundry_bench.training.budget import Budget, resolve
from foundry_bench.training.distillation import heldout_fidelity, inputs_of, shares_tokenizer, train_student
from foundry_bench.training.token_cache import TokenCache, token_cache

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.task import Supervision, Task


TOKENS = 20_000
"""Tokens that the teacher's head for parts is fitted on."""
UNSEEN = -20.0
"""Logit of a part that is the commonest of no patch: nothing is known of it."""


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
    """What an expert learns from. ``labelled`` holds the clouds that the teacher's head is fitted on, with ``labels`` (N,), or
    with none where each of their points has its own part; ``clouds`` those that the student is trained on, the same or the
    unlabelled set; R2 is measured on ``unlabelled``."""

    labelled: PointCloudDataset
    labels: np.ndarray | None
    clouds: PointCloudDataset
    unlabelled: PointCloudDataset

    def read(self, features: Tensor) -> Tensor:
        """What a head reads of tokens (B, T, D): mean and max (B, 2D) of whole clouds, every token (B T, D) for parts."""
        return features.flatten(0, 1) if self.labels is None else pool(features)

    def labels_of(self, cache: TokenCache, rows: np.ndarray, views: np.ndarray) -> Tensor:
        """The labels of what :meth:`read` gives for ``rows`` (B,) in ``views`` (B,); -1 where there is none."""
        if self.labels is not None:
            return torch.from_numpy(self.labels[rows])
        assert cache.parts is not None
        return torch.from_numpy(cache.parts[rows, views].astype(np.int64)).flatten()


def prepare(method: Expert, task: Task, data: PointCloudDataset, unlabelled: PointCloudDataset) -> Lesson:
    """The lesson of ``task`` on ``data``. Raises UserError for a task or data set without labels to train on."""
    supervision: Supervision | None = task.supervision(data)
    if supervision is None or len(supervision.rows) == 0:
        raise UserError(
            f"task {task.name!r} has no labelled training objects in data set {data.name!r}; "
            f"choose another dataset= for {method.name}"
        )
    dense = supervision.labels.ndim == 2
    labelled = _subset(data, supervision.rows, supervision.labels if dense else None, task)
    labels = None if dense else supervision.labels
    return Lesson(labelled, labels, labelled if method.labelled else unlabelled, unlabelled)


def train(
    student: Encoder, teacher: TokenEncoder, lesson: Lesson, *, method: Expert, ctx: Context, budget: Budget
) -> DistillReport:
    """Train ``student`` in place for one task; its head starts as the teacher's, is trained along and thrown away."""
    budget = resolve(budget, lesson.clouds)
    labelled = token_cache(teacher, lesson.labelled, budget.views, ctx)
    reference = fit_head(lesson, labelled)
    head = copy.deepcopy(reference)
    cache = labelled if method.labelled else token_cache(teacher, lesson.clouds, budget.views, ctx)
    cached = shares_tokenizer(student, teacher)
    reference.to(ctx.device)

    def loss(batch: np.ndarray, views: np.ndarray) -> Tensor:
        inputs = inputs_of(cache, batch, views, cached, ctx)
        tokens = student(inputs) if isinstance(inputs, Patches) else student.encode(inputs)  # type: ignore[operator]
        seen, taught = (
            lesson.read(f) for f in (tokens.features, cache.target(batch, views).features.to(ctx.device))
        )
        with torch.no_grad():
            target = reference(taught.float())
        labels = torch.zeros(len(seen), dtype=torch.long)
        if method.labelled:
            labels = lesson.labels_of(cache, batch, views)
        known = (labels >= 0).to(ctx.device)
        value = method.expert_loss(
            head(seen.float()).float()[known], target.float()[known], labels.to(ctx.device)[known]
        )
        return value if tokens.penalty is None else value + tokens.penalty

    def fidelity(limit: int | None) -> Fidelity:
        return heldout_fidelity(student, teacher, lesson.unlabelled, ctx, budget)

    rows = np.arange(len(lesson.clouds.points))
    if not method.labelled:
        rows = np.flatnonzero(~cache.held_out)
    return train_student(
        student, loss, fidelity, rows, what=f"train {method.name}", ctx=ctx, budget=budget, head=head
    )


def fit_head(lesson: Lesson, cache: TokenCache) -> nn.Linear:
    """The teacher's linear head, fitted by logistic regression: mean + max features (B, 2D) -> (B, C) on all views, or every
    token (B, D) -> (B, C) for parts, on ``TOKENS`` random ones."""
    # here, because every method's import passes this file and few train an expert
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    views, rows = np.indices(cache.features.shape[1::-1]).reshape(2, -1)
    rng = np.random.default_rng(0)
    if lesson.labels is None:
        picked = rng.permutation(len(rows))[: TOKENS // 10]
        views, rows = views[picked], rows[picked]
    features = lesson.read(cache.target(rows, views).features).numpy()
    labels = lesson.labels_of(cache, rows, views).numpy()
    used = np.flatnonzero(labels >= 0)
    if lesson.labels is None:
        used = rng.permutation(used)[:TOKENS]
    scaler = StandardScaler().fit(features[used])
    model = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(features[used]), labels[used])
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn gives the difference of the two logits
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    head = nn.Linear(features.shape[1], int(labels.max()) + 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(UNSEEN)
        head.weight[model.classes_] = torch.from_numpy(weight).float()
        head.bias[model.classes_] = torch.from_numpy(bias - weight @ scaler.mean_).float()
    return head


def _subset(
    data: PointCloudDataset, rows: np.ndarray, parts: np.ndarray | None, task: Task
) -> PointCloudDataset:
    """The objects ``rows`` of ``data``, with labels (n, P) of their points or none."""
    picked = {name: getattr(data, name)[rows] for name in ("points", "labels", "series", "paths")}
    splits = {name: split[rows] for name, split in data.splits.items()}
    sha256 = f"{data.sha256} {task.name} {task.version} supervision"
    return replace(data, **picked, splits=splits, parts=parts, sha256=sha256)
