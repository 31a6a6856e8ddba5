"""The fine-tuned classifier of Point-JEPA and Point-MAE, for the classification and the few-shot task.

Mean and max of the tokens go through a small MLP. At first only the MLP is trained, later the encoder too. The clouds a
student meets and the order of the steps depend on the data and the seed only, never on the method.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.encoder import Encoder, pool
from foundry_bench.errors import unknown
from foundry_bench.heads.features import embed_clouds
from foundry_bench.heads.probing import CHUNK, posed
from foundry_bench.points.sampling import gather
from foundry_bench.points.transforms import augment, normalize
from foundry_bench.training.finetuning import Recipe, seeded, train_head
from foundry_bench.training.precision import autocast

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

WIDTH = 256
DROPOUT = 0.5


@dataclass(frozen=True)
class Finetuning:
    """How a classifier is fine-tuned.

    Attributes:
        recipe: settings of the optimiser.
        views: random views of each object whose frozen features are made once and kept; the head draws from them while the
            encoder is frozen. 0: a new view at every step, as the official code does.
        smoothing: how much the labels are smoothed.
        scale: views are scaled by factors in 1 - scale ... 1 + scale, per axis.
        turn: whether clouds are turned about the up axis and views mirrored, as for objects without a heading.
        votes: number of random views of a test object over which predictions are averaged; 0: only its fixed pose.
    """

    recipe: Recipe
    views: int = 0
    smoothing: float = 0.2
    scale: float = 0.2
    turn: bool = True
    votes: int = 0


def classification_head(dim: int, classes: int) -> nn.Sequential:
    """Point-JEPA's head, mean and max tokens (B, 2D) -> logits (B, C): MLP 256-256 with batch norm, ReLU and dropout."""

    def layer(width: int) -> list[nn.Module]:
        # no bias: the batch norm after it would subtract it again
        return [nn.Linear(width, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)]

    return nn.Sequential(*layer(2 * dim), *layer(WIDTH), nn.Linear(WIDTH, classes))


def random_views(points: np.ndarray, count: int, how: Finetuning, generator: torch.Generator) -> Tensor:
    """One random view (B, count, 3) of each cloud (B, P, 3): some of its points, scaled, in the unit sphere, turned."""
    clouds = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    limits = (1 - how.scale, 1 + how.scale)
    if how.turn:
        return augment(clouds, count, generator, limits)
    keep = torch.rand(clouds.shape[:2], generator=generator).argsort(dim=1)[:, :count]
    return normalize(
        gather(clouds, keep) * torch.empty(len(clouds), 1, 3).uniform_(*limits, generator=generator)
    )


def for_budget(table: dict[str, Finetuning], budget: str) -> Finetuning:
    """The entry of a budget. Raises UserError for an unknown one."""
    if budget not in table:
        raise unknown("budget", budget, table)
    return table[budget]


@dataclass(frozen=True)
class FinetunedClassifier:
    """Fine-tunes a copy of ``encoder`` for each problem on one data set.

    ``clouds``: rows (n,) -> clouds (n, P, 3) in the pose they are tested in. ``features`` (N, V, 2D) are those of the views
    that the head is trained on while the encoder is frozen, or None.
    """

    encoder: Encoder
    clouds: Callable[[np.ndarray], np.ndarray]
    features: np.ndarray | None
    how: Finetuning
    ctx: Context

    @classmethod
    def of(
        cls, encoder: Encoder, data: PointCloudDataset, learnt: np.ndarray, how: Finetuning, ctx: Context
    ) -> FinetunedClassifier:
        """A classifier for problems on ``data`` whose training rows are among ``learnt``; the views are embedded here."""

        def clouds(rows: np.ndarray) -> np.ndarray:
            return posed(data, rows, None, how.turn)

        classifier = cls(encoder, clouds, None, how, ctx)
        return replace(classifier, features=classifier._embedded(learnt, len(data.labels)))

    def _embedded(self, rows: np.ndarray, size: int) -> np.ndarray | None:
        """Features (size, V, 2D) of random views of ``rows``, in half precision as when it is trained; the others NaN."""
        if self.how.views == 0:
            return None
        features = np.full((size, self.how.views, 2 * self.encoder.config.dim), np.nan, np.float32)
        generator = self.ctx.generator("views of frozen features")
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            points = self.clouds(chunk)
            for view in range(self.how.views):
                seen = random_views(points, self.encoder.config.points, self.how, generator).numpy()
                with autocast(self.ctx.device):
                    features[chunk, view] = embed_clouds(self.encoder, seen, device=self.ctx.device)
                done = start * self.how.views + (view + 1) * len(chunk)
                self.ctx.progress("embedding views", done, len(rows) * self.how.views)
        return features

    def predict(self, train: np.ndarray, labels: np.ndarray, test: np.ndarray, what: str) -> np.ndarray:
        """Labels of the rows ``test`` after training on the rows ``train`` with their ``labels``; ``what`` names the problem.

        Raises what :func:`~foundry_bench.training.finetuning.train_head` raises.
        """
        classes, targets = np.unique(labels, return_inverse=True)
        student = copy.deepcopy(self.encoder).to(self.ctx.device)
        with seeded(self.ctx, what, "head"):
            head = classification_head(student.config.dim, len(classes))
        generator = self.ctx.generator(what, "views")

        def loss(picked: np.ndarray) -> Tensor:
            pooled, penalty = self._pooled(student, train[picked], generator)
            wanted = torch.from_numpy(targets[picked]).to(self.ctx.device)
            value = F.cross_entropy(head(pooled).float(), wanted, label_smoothing=self.how.smoothing)
            return value if penalty is None else value + penalty

        train_head(head, student, loss, np.arange(len(train)), self.how.recipe, self.ctx, what=what)
        return classes[self._probabilities(student, head, test, what).argmax(axis=1)]

    def _pooled(
        self, student: Encoder, rows: np.ndarray, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Mean and max tokens (n, 2D) of one view of each of ``rows``, and the student's regulariser.

        The regulariser is kept: without it a learned gate would keep more tokens, for more accuracy at a higher cost.
        """
        if self.features is not None and not student.training:
            drawn = torch.randint(self.how.views, (len(rows),), generator=generator).numpy()
            return torch.from_numpy(self.features[rows, drawn]).to(self.ctx.device), None
        views = random_views(self.clouds(rows), student.config.points, self.how, generator)
        tokens = student(student.tokenize(views.to(self.ctx.device)))
        return pool(tokens.features).float(), tokens.penalty

    @torch.no_grad()
    def _probabilities(self, student: Encoder, head: nn.Module, rows: np.ndarray, what: str) -> np.ndarray:
        """Class probabilities (n, C) of ``rows``, the mean over the votes if there are any."""
        generator = self.ctx.generator(what, "votes")
        out = []
        for start in range(0, len(rows), CHUNK):
            seen, votes = self.clouds(rows[start : start + CHUNK]), []
            for _ in range(max(1, self.how.votes)):
                view = seen
                if self.how.votes:
                    view = random_views(seen, student.config.points, self.how, generator).numpy()
                pooled = torch.from_numpy(embed_clouds(student, view, device=self.ctx.device))
                votes.append(head(pooled.to(self.ctx.device)).softmax(dim=1).cpu().numpy())
            out.append(np.mean(votes, axis=0))
        return np.concatenate(out)
