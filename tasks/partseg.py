"""Part segmentation as ShapeNetPart measures it: one head over the parts of all categories on an encoder's dense tokens.

The head is that of point2vec and Point-JEPA (:mod:`foundry_bench.heads.segmentation`). An object's category is given, so that
only the category's own parts compete for its points. Sides of a split differ in whole series where the data set has series.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from foundry_bench.context import derive_seed
from foundry_bench.datasets.few import few_of_each_side
from foundry_bench.errors import unknown
from foundry_bench.heads.probing import clustered_score, groups_of
from foundry_bench.heads.segmentation import (
    Dense,
    PartHead,
    PartObjects,
    Source,
    bootstrap,
    instance_iou,
    live_tokens,
    part_loss,
    predict,
)
from foundry_bench.parameters.types import Bounds
from foundry_bench.points import normalize, random_angles, rotate_about_up
from foundry_bench.task import Metric, Scores, Supervision, Task
from foundry_bench.training.budget import REHEARSAL
from foundry_bench.training.finetuning import Recipe, seeded, train_head

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder


@dataclass(frozen=True)
class PartTraining:
    """How a head is trained, and on how many random points of an object per step."""

    recipe: Recipe
    points: int


OFFICIAL = Recipe(300, batch_size=16, lr=2e-4, weight_decay=0.05, warmup=10 / 300, frozen=0.0, clip=10.0)
"""Point-JEPA on ShapeNetPart (configs/Point-JEPA/segmentation/shapenetpart.yaml): the encoder is trained from the start, on
2,048 points drawn with replacement."""
TRAININGS = {
    "frozen": {
        "quick": PartTraining(Recipe(32, lr=4e-3), points=16),
        "standard": PartTraining(Recipe(80, lr=4e-3), points=32),
        "paper": PartTraining(replace(OFFICIAL, frozen=1.0), points=2048),
        REHEARSAL: PartTraining(Recipe(2, lr=4e-3), points=16),
    },
    "finetune": {
        "quick": PartTraining(Recipe(32, lr=4e-3, frozen=28 / 32), points=32),
        "standard": PartTraining(Recipe(80, lr=4e-3, frozen=0.8), points=64),
        "paper": PartTraining(OFFICIAL, points=2048),
        REHEARSAL: PartTraining(Recipe(2, lr=4e-3, frozen=0.5), points=16),
    },
}
"""Epochs, rate and points of the quick budget on frozen tokens were chosen for the shipped teacher on objects that no split
tests (``benchmarks/partseg_baseline.py --choose``): many steps on few points beat few steps on many."""
SCALE = (0.8, 1.25)
"""Per-axis scale while fine-tuning, Point-JEPA's only augmentation."""
BATCH = 32
IN_MEMORY = 2**30
"""Bytes of cached tokens above which they lie in a temporary file."""


@dataclass(frozen=True)
class PartSegmentation(Task):
    """Parts of clouds: instance and category mIoU by the rules of ShapeNetPart.

    ``mode``: ``frozen`` trains the head on cached tokens of one pose per object; ``finetune`` then the encoder along, on
    clouds that are scaled and turned anew at every step: in the last 4 of 32 epochs in the budget ``quick``, 16 of 80 in
    ``standard``, in all 300 in ``paper``.

    ``rotate`` turns every cloud about the up axis by an angle hashed from its path, since CAD models share a heading;
    official protocols do not. ``splits``: how many of the data set's splits are used; one split of KiCad has about two
    points standard error. Objects are scored on their first ``eval_points`` points; the encoder reads as many as it was
    pre-trained on.

    How the head is trained follows from the budget (``TRAININGS``) and is the same for every encoder. Intervals are over
    clusters: a category's series, or an object without one.
    """

    name = "partseg"
    version = "1"
    metrics = (Metric("miou_i", primary=True), Metric("miou_c"))
    datasets = ("kicad",)
    needs = ("parts", "splits")

    mode: Literal["frozen", "finetune"] = "frozen"
    rotate: bool = True
    splits: Annotated[int, Bounds(at_least=1)] = 3
    eval_points: Annotated[int, Bounds(at_least=1)] = 2048

    def used(self, data: PointCloudDataset) -> list[str]:
        """Names of the splits that are used."""
        return list(data.splits)[: self.splits]

    def scored(self, data: PointCloudDataset) -> np.ndarray:
        """Rows with parts on the test side of a split that is used."""
        objects = PartObjects.of(data, rotate=False)
        return np.unique(np.concatenate([objects.sides(name)[1] for name in self.used(data)]))

    def supervision(self, data: PointCloudDataset) -> Supervision | None:
        """Objects with parts that are on no test side of any split; their points carry parts, numbered over all categories."""
        if data.parts is None:
            return None
        objects = PartObjects.of(data, rotate=False)
        allowed = objects.category >= 0
        for side in data.splits.values():
            allowed &= np.asarray(side) != "test"
        rows = np.flatnonzero(allowed)
        return Supervision(rows, objects.batch(rows)[1].numpy()) if len(rows) else None

    def training(self, budget: str) -> PartTraining:
        """How the head is trained under a budget. Raises UserError for an unknown one."""
        trainings = TRAININGS[self.mode]
        if budget not in trainings:
            raise unknown("budget", budget, trainings)
        return trainings[budget]

    def rehearsal(self, data: PointCloudDataset) -> tuple[PartSegmentation, PointCloudDataset]:
        """Two epochs on a few objects of five categories in one split."""
        return self, few_of_each_side(data, PartObjects.of(data, rotate=False).category >= 0)

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        """Score an encoder, which stays as it is; raises UserError for a split without objects to train on or to score."""
        training = self.training(ctx.budget)
        objects = PartObjects.of(data, self.rotate)
        sides = {name: objects.sides(name) for name in self.used(data)}
        rows = np.unique(np.concatenate([side for pair in sides.values() for side in pair]))
        frozen = training.recipe.frozen_epochs > 0
        cache = cached_tokens(encoder, objects, rows, ctx) if frozen else live_tokens(encoder)
        ious = []
        for name, (train, test) in sides.items():
            # Seeded by the protocol: every encoder's head starts from the same weights and sees the same batches.
            own = replace(ctx, seed=derive_seed(0, self.name, self.version, data.sha256, name))
            tuned = None if self.mode == "frozen" else copy.deepcopy(encoder)
            with seeded(own, "part head"):
                head = PartHead(encoder.config.dim, len(objects.names), sum(objects.sizes)).to(ctx.device)
            loss = self._loss(head, cache, tuned, objects, training.points, own)
            train_head(head, tuned, loss, train, training.recipe, own, what=f"train part head, {name}")
            if tuned is not None:
                tuned.eval()
            source = cache if tuned is None else live_tokens(tuned)
            ious.append(self._ious(head, source, objects, test, ctx))
        tested = np.concatenate([test for _, test in sides.values()])
        return self._scores(objects, tested, np.concatenate(ious))

    def _loss(
        self,
        head: PartHead,
        cache: Source,
        encoder: Encoder | None,
        objects: PartObjects,
        count: int,
        ctx: Context,
    ) -> Callable[[np.ndarray], Tensor]:
        generator = ctx.generator("part views")

        def loss(rows: np.ndarray) -> Tensor:
            clouds, labels, categories = objects.batch(rows)
            source = cache
            if encoder is not None and encoder.training:
                source, clouds = live_tokens(encoder), self._view(clouds, generator)
            keep = torch.randint(clouds.shape[1], (len(rows), count), generator=generator)
            points = clouds.gather(1, keep[..., None].expand(-1, -1, 3))
            tokens, centers, penalty = source(rows, clouds.to(ctx.device))
            with torch.autocast(ctx.device.type, enabled=False):
                logits = head(tokens.float(), centers, points.to(ctx.device), categories.to(ctx.device))
            value = part_loss(logits, labels.gather(1, keep).to(ctx.device))
            return value if penalty is None else value + penalty

        return loss

    def _view(self, clouds: Tensor, generator: torch.Generator) -> Tensor:
        factor = torch.empty(len(clouds), 1, 3).uniform_(*SCALE, generator=generator)
        view = normalize(clouds * factor)
        return rotate_about_up(view, random_angles(len(view), generator)) if self.rotate else view

    @torch.inference_mode()
    def _ious(
        self, head: PartHead, source: Source, objects: PartObjects, rows: np.ndarray, ctx: Context
    ) -> np.ndarray:
        """IoU (n,) of each object."""
        ious = []
        for start in range(0, len(rows), BATCH):
            chunk = rows[start : start + BATCH]
            clouds, labels, categories = (part.to(ctx.device) for part in objects.batch(chunk))
            tokens, centers, _ = source(chunk, clouds)
            logits = head(tokens, centers, clouds[:, : self.eval_points], categories)
            predicted = predict(logits, objects.allowed(categories)).cpu().numpy()
            true = labels[:, : self.eval_points].cpu().numpy()
            parts = [objects.parts_of(category) for category in objects.category[chunk]]
            ious += [instance_iou(*triple) for triple in zip(predicted, true, parts, strict=True)]
            ctx.progress("segment parts", start + len(chunk), len(rows))
        return np.array(ious)

    def _scores(self, objects: PartObjects, rows: np.ndarray, ious: np.ndarray) -> Scores:
        clusters, categories = groups_of(objects.data)[rows], objects.category[rows]
        levels = {"miou_i": np.zeros(len(rows)), "miou_c": categories}
        scored = [clustered_score(metric, ious, clusters, levels[metric.name]) for metric in self.metrics]
        (first, _), (second, _) = scored
        drawn = bootstrap(ious, clusters, categories)
        second = replace(
            second,
            stderr=float(drawn.std(ddof=1)),
            ci_low=float(np.percentile(drawn, 2.5)),
            ci_high=float(np.percentile(drawn, 97.5)),
            ci_method=f"bootstrap of clusters (category and series), {len(drawn):,} draws, 95 %",
        )
        outcomes = {score.metric: outcomes for score, outcomes in scored}
        return Scores((first, second), outcomes)


def cached_tokens(encoder: Encoder, objects: PartObjects, rows: np.ndarray, ctx: Context) -> Source:
    """Tokens of the frozen encoder for ``rows`` (n,), computed once, in half precision; the encoder stays as it is."""
    config = encoder.config
    shape = (len(rows), config.groups, config.dim)
    if 2 * np.prod(shape) > IN_MEMORY:
        with TemporaryFile(dir=ctx.scratch) as file:
            features: np.ndarray = np.memmap(file, np.float16, "w+", shape=shape)
    else:
        features = np.empty(shape, np.float16)
    centers = np.empty((*shape[:2], 3), np.float32)
    training = encoder.training
    live = live_tokens(encoder.eval().to(ctx.device))
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                part = slice(start, start + BATCH)
                tokens, middle, _ = live(rows[part], objects.batch(rows[part])[0].to(ctx.device))
                features[part], centers[part] = tokens.cpu().numpy(), middle.cpu().numpy()
                ctx.progress("embedding parts", min(start + BATCH, len(rows)), len(rows))
    finally:
        encoder.train(training)

    def source(wanted: np.ndarray, clouds: Tensor) -> Dense:
        where = np.searchsorted(rows, wanted)
        tokens, middle = (torch.from_numpy(kept[where]).float() for kept in (features, centers))
        return tokens.to(ctx.device), middle.to(ctx.device), None

    return source
