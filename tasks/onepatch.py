"""The class of an object from one frozen token: what a patch's row says of the whole that the patch belongs to.

Measured is the share of the patches of an unseen object that a linear classifier puts into the object's class, where it sees
one token at a time and never the object. A patch by itself says little of the class (a pin, a flat face); an encoder brings
the rest by attention. Pooled tokens do not ask for this, since pooling gathers the object whatever the blocks did.

All splits of a data set are used: KiCad's three keep whole series on one side. The classifier is ridge regression in closed
form on the tokens of all patches of the training side, standardised by them, with one relative regularisation for every
encoder (``foundry_bench/heads/ridge.py``); nothing is drawn or tuned. Clouds are turned about the up axis by an angle hashed
from their path. Primary metric: ``acc``, the mean over splits of the mean over objects of the share of patches. The unit of
intervals is the cluster of class and series.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from foundry_bench.datasets.few import few_of_each_side
from foundry_bench.heads.patches import BATCH, frozen, token_store
from foundry_bench.heads.probing import clustered_score, groups_of, posed, probed_sides, split_sides
from foundry_bench.heads.ridge import Linear, Moments, ridge
from foundry_bench.task import Metric, Scores, Task

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder

STRENGTH = 1e-3
"""The ridge for every encoder: with as many tokens, little is needed. On KiCad objects that no split tests, less changes
little."""

Sides = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class OnePatch(Task):
    """Class of the object from a single token by ridge regression: share of right patches, averaged over objects and splits."""

    name = "onepatch"
    default = True
    version = "1"
    metrics = (Metric("acc", primary=True),)
    datasets = ("kicad", "bricks")
    needs = ("labels", "splits")

    @property
    def uses_budget(self) -> bool:
        return False

    def protocol(self) -> dict[str, Any]:
        """The protocol's parameters, JSON-able; part of the cell's identity."""
        return {"classifier": f"ridge, {STRENGTH} of the variance"}

    def scored(self, data: PointCloudDataset) -> np.ndarray:
        """Rows on the test side of any split."""
        return np.unique(np.concatenate([split_sides(data, name)[1] for name in data.splits]))

    def rehearsal(self, data: PointCloudDataset) -> tuple[OnePatch, PointCloudDataset]:
        """A few objects of five classes in one split."""
        return self, few_of_each_side(data, np.asarray(data.labels) >= 0)

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        """Score a frozen encoder, with one outcome per cluster. Raises UserError for a split with an empty test side or fewer
        than two classes to learn."""
        sides = probed_sides(data)
        labels = np.where(data.labels >= 0, data.labels, 0).astype(np.int64)
        moments, tested, tokens = _embed(encoder, data, sides, labels, ctx)
        right = []
        for name, (_, test) in sides.items():
            learnt = (found for splits, found in moments.items() if name in splits)
            classify = ridge(sum(learnt, Moments.zero(encoder.config.dim, len(data.classes))), STRENGTH)
            right.append(_shares(classify, tokens, np.searchsorted(tested, test), labels[test]))
        objects = np.concatenate([test for _, test in sides.values()])
        split = np.repeat(np.arange(len(sides)), [len(shares) for shares in right])
        score, outcomes = clustered_score(
            self.metrics[0], np.concatenate(right), groups_of(data)[objects], split
        )
        return Scores((score,), {score.metric: outcomes})


def _embed(
    encoder: Encoder, data: PointCloudDataset, sides: Sides, labels: np.ndarray, ctx: Context
) -> tuple[dict[tuple[str, ...], Moments], np.ndarray, np.ndarray]:
    """The sums over objects by the splits that they train, and the rows and tokens (n, T, D) of tested objects.

    Every object is embedded once, and of those that only train nothing is kept.
    """
    tested = np.unique(np.concatenate([test for _, test in sides.values()]))
    used = np.unique(np.concatenate([rows for pair in sides.values() for rows in pair]))
    trains = {name: set(train.tolist()) for name, (train, _) in sides.items()}
    tokens = token_store((len(tested), encoder.config.groups, encoder.config.dim), ctx.scratch)
    moments: dict[tuple[str, ...], Moments] = defaultdict(
        lambda: Moments.zero(encoder.config.dim, len(data.classes))
    )
    with frozen(encoder, ctx.device, ctx.cache) as embed:
        for start in range(0, len(used), BATCH):
            rows = used[start : start + BATCH]
            found = embed(torch.from_numpy(posed(data, rows, encoder.config.points, rotate=True)))[0]
            splits = [tuple(name for name, train in trains.items() if row in train) for row in rows.tolist()]
            for key in set(splits):
                mine = np.array([other == key for other in splits])
                moments[key] += _sums(found[mine], labels[rows[mine]], len(data.classes))
            kept = np.isin(rows, tested)
            tokens[np.searchsorted(tested, rows[kept])] = found[kept].numpy()
            ctx.progress("embedding patches", start + len(rows), len(used))
    return moments, tested, tokens


def _sums(tokens: torch.Tensor, labels: np.ndarray, classes: int) -> Moments:
    """The sums over all patches of some objects' ``tokens`` (B, T, D), which have the labels (B,) of their objects."""
    each = torch.from_numpy(labels).repeat_interleave(tokens.shape[1])
    return Moments.of(tokens.flatten(0, 1), each, classes)


def _shares(classify: Linear, tokens: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share (n,) of right patches of each of the objects ``rows`` (n,)."""
    shares = np.empty(len(rows))
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        guesses = classify(torch.from_numpy(tokens[rows[part]])).numpy()
        shares[part] = (guesses == labels[part, None]).mean(axis=1)
    return shares
