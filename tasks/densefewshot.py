"""Parts from a handful of labelled objects: which part does a patch show, its category not given?

It is what a robotics user does: label three scans of each category, segment the rest with a frozen encoder. Measured are single
frozen tokens. A patch's label is the commonest label among its points, the pair of category and part; patches that show no part
in the main are left out. Pairs and not names alone: on KiCad the contacts of a component are called pin, lead, pad, ball,
contact or terminal by its category, and ``body`` is another thing in each, so a name means nothing across categories.
``label=name`` is for data sets whose names do, such as functional parts.

On each split 1, 3 and 10 objects of every category, of distinct series as far as there are such, come from the training side;
every patch of every object with parts on the test side is asked for. The support depends on the data and the protocol, never on
method or seed. Ten ranked objects make ten supports of one, three of three and one of ten; each is scored on all queries, and
an object's accuracy is the mean over them. Two classifiers, the same for every encoder and not tuned: ridge regression in
closed form on tokens standardised by the support (``foundry_bench/heads/ridge.py``), and the nearest support token by cosine.
Clouds are turned about the up axis by an angle hashed from their path.

Primary metric: ``acc_3``, the mean over splits of the mean over objects of the share of patches that ridge gets right from
three objects a category; ``nn_3`` is that of the nearest neighbour. The unit of intervals is the cluster of category and series
of the queries; which objects are labelled is the same for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foundry_bench.context import derive_seed
from foundry_bench.datasets.few import few_of_each_side
from foundry_bench.errors import UserError
from foundry_bench.heads.patches import BATCH, frozen, patch_labels, token_store
from foundry_bench.heads.probing import clustered_score, groups_of
from foundry_bench.heads.ridge import Linear, Moments, ridge
from foundry_bench.heads.segmentation import PartObjects
from foundry_bench.task import Metric, Scores, Task

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.encoder import Encoder

Labelled = tuple[Tensor, Tensor, np.ndarray]
"""Patches of some objects: tokens (k, D), labels (k,) int64, and which of the objects each is of (k,)."""
Solver = Callable[[Tensor], dict[int, Tensor]]
"""Gives for tokens (m, D) and each number of shots the labels (supports, m) from every support of that size."""

SHOTS = (1, 3, 10)
RANKS = max(SHOTS)
"""Labelled objects of each category."""
STRENGTH = 0.01
"""The ridge for every encoder. On KiCad objects that no split tests, 0.01 to 0.3 are alike from three objects a category, and
the smaller is better from ten."""


@dataclass(frozen=True)
class Problem:
    """One split: rows of the labelled objects ``support`` (RANKS, C), the next of every category in each line, and of the
    ``query`` (n,)."""

    support: np.ndarray
    query: np.ndarray


@dataclass(frozen=True)
class PatchTable:
    """Tokens (n, T, D) and labels (n, T), -1 for none, of the patches of the objects ``rows`` (n,), ascending."""

    rows: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray

    def shows_parts(self, rows: np.ndarray) -> bool:
        """Whether any patch of the objects ``rows`` (m,) has a label."""
        return bool((self.labels[np.searchsorted(self.rows, rows)] >= 0).any())

    def labelled(self, rows: np.ndarray) -> Labelled:
        """The patches with a label of the objects ``rows`` (m,)."""
        where = np.searchsorted(self.rows, rows)
        labels = self.labels[where]
        seen = labels >= 0
        return torch.from_numpy(self.tokens[where][seen]), torch.from_numpy(labels[seen]), np.nonzero(seen)[0]


@dataclass(frozen=True)
class DenseFewShot(Task):
    """Part of a patch, category not given, from 1, 3 and 10 labelled objects a category, by ridge and by nearest neighbour.

    ``label``: a patch is asked for its category and part (``pair``), or for the name of its part alone (``name``).
    """

    name = "densefewshot"
    default = True
    version = "1"
    metrics = (
        Metric("acc_3", primary=True),
        *(Metric(f"acc_{shots}") for shots in (1, 10)),
        *(Metric(f"nn_{shots}") for shots in SHOTS),
    )
    datasets = ("kicad", "bricks")
    needs = ("labels", "parts", "splits")

    label: Literal["pair", "name"] = "pair"

    @property
    def uses_budget(self) -> bool:
        return False

    def protocol(self) -> dict[str, Any]:
        """The protocol's parameters, JSON-able; part of the cell's identity."""
        return {
            **asdict(self),
            "shots": list(SHOTS),
            "classifiers": f"ridge, {STRENGTH} of the variance; 1-NN, cosine",
        }

    def scored(self, data: PointCloudDataset) -> np.ndarray:
        """Rows with parts on the test side of any split."""
        objects = PartObjects.of(data, rotate=False)
        return np.unique(np.concatenate([objects.sides(name)[1] for name in data.splits]))

    def rehearsal(self, data: PointCloudDataset) -> tuple[DenseFewShot, PointCloudDataset]:
        """A few objects of five categories in one split."""
        return self, few_of_each_side(data, PartObjects.of(data, rotate=False).category >= 0)

    def problems(self, objects: PartObjects) -> dict[str, Problem]:
        """The problem of each split; a pure function of the data and the protocol. Raises UserError for a split without
        objects with parts on one side."""
        return {name: self._problem(objects, name) for name in objects.data.splits}

    def _problem(self, objects: PartObjects, split: str) -> Problem:
        train, test = objects.sides(split)
        seed = derive_seed(0, self.name, self.version, objects.data.sha256, split)
        rng, series = np.random.default_rng(seed), groups_of(objects.data)
        known = np.unique(objects.category[train])
        support = [ranked(train[objects.category[train] == category], series, rng) for category in known]
        return Problem(np.stack(support, axis=1), test[np.isin(objects.category[test], known)])

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        """Score a frozen encoder, with one outcome per cluster. Raises UserError for a split without objects with parts on one
        side."""
        objects = PartObjects.of(data, rotate=True)
        problems = self.problems(objects)
        table = self._embed(encoder, objects, problems, ctx)
        found = []
        for split, problem in problems.items():
            if not all(table.shows_parts(rows) for rows in (*problem.support, problem.query)):
                raise UserError(
                    f"split {split!r} of data set {data.name!r} has labelled or tested objects without a patch that shows a "
                    "part; choose a data set with larger parts"
                )
            found.append(accuracies(problem, table, sum(objects.sizes)))
            ctx.progress("segment patches", len(found), len(problems))
        return self._scores(objects, [problem.query for problem in problems.values()], found)

    def _embed(
        self, encoder: Encoder, objects: PartObjects, problems: dict[str, Problem], ctx: Context
    ) -> PatchTable:
        """Tokens and labels of all objects that any split needs, each embedded once."""
        config, numbers = encoder.config, self._numbers(objects)
        needed = [part for problem in problems.values() for part in (problem.support.ravel(), problem.query)]
        rows = np.unique(np.concatenate(needed))
        tokens = token_store((len(rows), config.groups, config.dim), ctx.scratch)
        labels = np.empty(tokens.shape[:2], np.int64)
        with frozen(encoder, ctx.device, ctx.cache) as embed:
            for start in range(0, len(rows), BATCH):
                part = slice(start, start + BATCH)
                clouds, parts = (each[:, : config.points] for each in objects.batch(rows[part])[:2])
                found, centers = embed(clouds)
                shown = patch_labels(clouds, parts, centers, config.group_size).numpy()
                tokens[part], labels[part] = found.numpy(), np.where(shown < 0, -1, numbers[shown])
                ctx.progress("embedding patches", min(start + BATCH, len(rows)), len(rows))
        return PatchTable(rows, tokens, labels)

    def _numbers(self, objects: PartObjects) -> np.ndarray:
        """The label of each pair of category and part: its number, or that of its name."""
        if self.label == "pair":
            return np.arange(sum(objects.sizes))
        names = [part for category in objects.names for part in objects.data.part_names[category]]
        return np.unique(names, return_inverse=True)[1]

    def _scores(
        self, objects: PartObjects, queries: list[np.ndarray], found: list[dict[str, np.ndarray]]
    ) -> Scores:
        rows = np.concatenate(queries)
        split = np.repeat(np.arange(len(queries)), [len(query) for query in queries])
        clusters = groups_of(objects.data)[rows]
        scored = []
        for metric in self.metrics:
            values = np.concatenate([shares[metric.name] for shares in found])
            seen = np.isfinite(values)
            scored.append(clustered_score(metric, values[seen], clusters[seen], split[seen]))
        return Scores(
            tuple(score for score, _ in scored), {score.metric: outcomes for score, outcomes in scored}
        )


def ranked(rows: np.ndarray, series: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``RANKS`` of ``rows`` (n,), one series after the other in turns, each in random order; all of them again where they are
    fewer. ``series`` (N,) is that of every row of the data set."""
    shuffled = rng.permutation(rows)
    names = series[shuffled]
    first = {name: number for number, name in enumerate(dict.fromkeys(names))}
    turn = [int(np.sum(names[:i] == name)) for i, name in enumerate(names)]
    order = np.lexsort(([first[name] for name in names], turn))
    return np.resize(shuffled[order], RANKS)


def by_ridge(bank: list[Labelled], classes: int) -> Solver:
    """Ridge regression from each support of the ranked objects ``bank``, whose labels are below ``classes``."""
    sums = [Moments.of(tokens, labels, classes) for tokens, labels, _ in bank]

    def answers(shots: int) -> list[Linear]:
        return [ridge(reduce(add, sums[start : start + shots]), STRENGTH) for start in _starts(shots)]

    linear = {shots: answers(shots) for shots in SHOTS}
    return lambda tokens: {
        shots: torch.stack([answer(tokens) for answer in found]) for shots, found in linear.items()
    }


def by_neighbours(bank: list[Labelled]) -> Solver:
    """The label of the nearest token, by cosine, in each support of the ranked objects ``bank``."""
    known = [(F.normalize(tokens, dim=-1), labels) for tokens, labels, _ in bank]

    def solve(tokens: Tensor) -> dict[int, Tensor]:
        asked = F.normalize(tokens, dim=-1)
        nearest = [(asked @ support.T).max(dim=-1) for support, _ in known]
        near = torch.stack([found.values for found in nearest])
        label = torch.stack(
            [labels[found.indices] for found, (_, labels) in zip(nearest, known, strict=True)]
        )
        return {shots: torch.stack([_best(near, label, s, shots) for s in _starts(shots)]) for shots in SHOTS}

    return solve


def _best(near: Tensor, label: Tensor, start: int, shots: int) -> Tensor:
    """The label (m,) that is nearest among some ranks; ``near`` and ``label`` are (RANKS, m)."""
    ranks = slice(start, start + shots)
    return label[ranks].gather(0, near[ranks].argmax(dim=0, keepdim=True))[0]


def _starts(shots: int) -> range:
    """The first rank of each support of so many objects a category."""
    return range(0, RANKS - shots + 1, shots)


def accuracies(problem: Problem, table: PatchTable, classes: int) -> dict[str, np.ndarray]:
    """Metric -> share (n,) of right patches of every query, mean over supports; NaN for one without a labelled patch."""
    bank = [table.labelled(rows) for rows in problem.support]
    solvers = {"acc": by_ridge(bank, classes), "nn": by_neighbours(bank)}
    shares: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(problem.query), BATCH):
        rows = problem.query[start : start + BATCH]
        tokens, labels, owner = table.labelled(rows)
        for name, solve in solvers.items():
            for shots, answers in solve(tokens).items():
                right = (answers == labels).double().mean(dim=0).numpy()
                shares.setdefault(f"{name}_{shots}", []).append(_by_object(right, owner, len(rows)))
    return {metric: np.concatenate(found) for metric, found in shares.items()}


def _by_object(right: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """The mean (count,) of ``right`` (k,) over the patches of each object, ``owner`` (k,); NaN for one without any."""
    patches = np.bincount(owner, minlength=count)
    total = np.bincount(owner, weights=right, minlength=count)
    return np.divide(total, patches, out=np.full(count, np.nan), where=patches > 0)
