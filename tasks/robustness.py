"""Robustness: few-shot recognition where the labelled clouds are clean and the clouds that are asked about are not.

What is measured. A robot learns five classes from ten whole models each and then meets what a sensor sees of other objects.
Every episode is drawn as in :mod:`~foundry_bench.tasks.fewshot` (5 ways, 10 shots, support and query from different series,
novel classes); a linear SVM on the frozen encoder's mean + max tokens learns from clean clouds and answers for queries that are

- ``cut``: 25 or 45 % of the points are missing, those farthest along a random direction;
- ``noise``: Gaussian noise of 0.01 or 0.02 of the object's radius, clipped at two deviations;
- ``density``: half or a quarter of the points are left, the fewer the farther they are from a sensor at 1.5 radii;
- ``pose``: tilted by 10 degrees about a horizontal axis, or in any pose at all;
- ``view``: what is seen in two views at a right angle or in one, by hidden-point removal (Katz et al. 2007);

each at both severities. As in a sensor's pipeline, a cloud is centred and scaled to the unit sphere again after its
corruption, and has as many points as are left; a view is brought to a fixed number of points.

On which data: ``kicad`` and ``furniture``, and by name any data set with enough classes and series. One object of every
series is asked about, at most ``objects`` of a class in an episode: near-twins add time and no information. All corruptions
are asked about the same queries of the same episodes, and what happens to an object is hashed from its path, never from
method or seed.

Primary metric: ``mean`` over the five corruptions and their severities; also one score for each corruption, and ``clean`` for
the same queries uncorrupted. An accuracy is the mean over queries, then classes, then episodes. Outcomes and intervals are
over clusters of query objects (class and series).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from foundry_bench.context import derive_seed
from foundry_bench.errors import UserError
from foundry_bench.heads.episodes import COST, queries_of, rows_of, support_svm
from foundry_bench.heads.features import embed_clouds
from foundry_bench.heads.probing import clustered_score, groups_of, posed
from foundry_bench.parameters.types import Bounds
from foundry_bench.points import corruptions, normalize
from foundry_bench.task import Metric, Scores, Supervision, Task
from foundry_bench.tasks.fewshot import SHOTS, FewShot

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.datasets.dataset import Episode
    from foundry_bench.encoder import Encoder

WAY = 5
Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From a cloud (P, 3) in the unit sphere to what is left of it."""


def _view(cloud: np.ndarray, rng: np.random.Generator, views: int, share: float) -> np.ndarray:
    """What ``views`` views see, as a fixed ``share`` of the number of points: about as many as most objects show."""
    seen = corruptions.look(cloud, rng, views)
    return corruptions.resample(seen, rng, round(share * len(cloud)))


CORRUPTIONS: dict[str, tuple[Corruption, Corruption]] = {
    "cut": (partial(corruptions.cut, share=0.25), partial(corruptions.cut, share=0.45)),
    "noise": (partial(corruptions.jitter, deviation=0.01), partial(corruptions.jitter, deviation=0.02)),
    "density": (partial(corruptions.thin, keep=0.5), partial(corruptions.thin, keep=0.25)),
    "pose": (partial(corruptions.tilt, degrees=10.0), corruptions.tumble),
    "view": (partial(_view, views=2, share=0.55), partial(_view, views=1, share=0.4)),
}
"""The milder and the harder severity of each."""


@dataclass(frozen=True)
class Robustness(Task):
    """Few-shot accuracy on corrupted queries: cut, noise, density, pose and view, each at two severities.

    ``episodes`` of 5 ways and 10 shots; ``objects`` is the most query objects of a class in an episode, each from its own
    series.
    """

    name = "robustness"
    version = "1"
    metrics = (Metric("mean", primary=True), *map(Metric, CORRUPTIONS), Metric("clean"))
    datasets = ("kicad", "furniture")

    episodes: Annotated[int, Bounds(at_least=1)] = 60
    objects: Annotated[int, Bounds(at_least=1)] = 12

    def protocol(self) -> dict[str, Any]:
        """The protocol's parameters, JSON-able; part of the cell's identity."""
        return {**asdict(self), "drawn_by": FewShot.version, "classifier": f"linear SVM, C={COST}"}

    @property
    def uses_budget(self) -> bool:
        return False

    def supervision(self, data: PointCloudDataset) -> Supervision | None:
        """Base classes, which no episode draws, as for few-shot recognition."""
        return FewShot().supervision(data)

    def scored(self, data: PointCloudDataset) -> np.ndarray:
        """All rows of the classes that episodes are drawn from."""
        return np.flatnonzero(np.isin(data.labels, FewShot().eligible_classes(data)))

    def rehearsal(self, data: PointCloudDataset) -> tuple[Robustness, PointCloudDataset]:
        """One query of each class in one episode."""
        return replace(self, episodes=1, objects=1), data

    def problems(self, data: PointCloudDataset) -> list[Episode]:
        """The episodes; a pure function of the data and the protocol. Raises UserError if the data set has too few classes."""
        drawing = FewShot(queries=len(data.labels), episodes_per_way=self.episodes)
        if len(drawing.eligible_classes(data)) < WAY:
            raise UserError(drawing.shortfall(data, WAY, SHOTS))
        order = asking_order(data)
        return [ask(episode, order, self.objects) for episode in drawing.episodes(data, WAY)]

    def check_data(self, data: PointCloudDataset) -> None:
        self.problems(data)

    def evaluate(self, encoder: Encoder, data: PointCloudDataset, ctx: Context) -> Scores:
        """Score a frozen encoder. Raises UserError if the data set has too few classes."""
        episodes = self.problems(data)
        asked = rows_of(e.query for e in episodes)
        clean = embed_clean(encoder, data, rows_of([asked, *(e.support for e in episodes)]), ctx)
        versions = np.stack([clean[asked], *embed_corrupted(encoder, data, asked, ctx)])
        right = np.concatenate(
            [_right(e, clean, versions[:, np.searchsorted(asked, e.query)]) for e in episodes]
        )
        query, labels, episode = queries_of(episodes)
        clusters = groups_of(data)[query]
        scored = [
            clustered_score(m, right[:, columns(m.name)].mean(1), clusters, episode, labels, strata=labels)
            for m in self.metrics
        ]
        return Scores(tuple(s for s, _ in scored), {s.metric: outcomes for s, outcomes in scored})


def columns(metric: str) -> list[int]:
    """Versions of a query that a metric is the mean of: 0 is the clean one, the others follow in the order of CORRUPTIONS."""
    if metric == "clean":
        return [0]
    names = [name for name, severities in CORRUPTIONS.items() for _ in severities]
    return [1 + i for i, name in enumerate(names) if metric in (name, "mean")]


def asking_order(data: PointCloudDataset) -> np.ndarray:
    """A place (N,) int64 in a random order, hashed from the paths, for the one object of every series that is asked about;
    -1 for the others."""
    keys = np.array([derive_seed(0, "robustness", "asked", str(path)) for path in data.paths])
    order = np.argsort(keys, kind="stable")
    _, first = np.unique(groups_of(data)[order], return_index=True)
    places = np.full(len(order), -1, np.int64)
    places[order[first]] = first
    return places


def ask(episode: Episode, places: np.ndarray, objects: int) -> Episode:
    """The episode with at most ``objects`` queries of each class, the first of those that have a place."""
    kept = []
    for label in np.unique(episode.query_labels):
        rows = episode.query[episode.query_labels == label]
        rows = rows[places[rows] >= 0]
        kept.append(rows[np.argsort(places[rows])][:objects])
    labels = np.repeat(np.unique(episode.query_labels), [len(rows) for rows in kept])
    return replace(episode, query=np.concatenate(kept), query_labels=labels)


def embed_clean(encoder: Encoder, data: PointCloudDataset, rows: np.ndarray, ctx: Context) -> np.ndarray:
    """Mean and max tokens (len(data), 2D) of ``rows`` as they are, NaN elsewhere; scaled like the corrupted ones."""
    features = np.full((len(data.labels), 2 * encoder.config.dim), np.nan, np.float32)
    clouds = _in_unit_sphere(posed(data, rows, encoder.config.points, rotate=True))
    features[rows] = embed_clouds(encoder, clouds, device=ctx.device, progress=ctx.progress, cache=ctx.cache)
    return features


def embed_corrupted(
    encoder: Encoder, data: PointCloudDataset, rows: np.ndarray, ctx: Context
) -> Iterator[np.ndarray]:
    """Mean and max tokens (n, 2D) of ``rows`` for one corruption and severity after the other."""
    clouds, paths = posed(data, rows, encoder.config.points, rotate=True), np.asarray(data.paths)[rows]
    needed = max(encoder.config.groups, encoder.config.group_size)
    every = [(name, severity) for name, severities in CORRUPTIONS.items() for severity in severities]
    for number, (name, corruption) in enumerate(every):

        def progress(what: str, done: int, total: int, before: int = number * len(rows)) -> None:
            ctx.progress("embedding corrupted clouds", before + done, len(every) * len(rows))

        spoilt = corrupted(clouds, paths, name, corruption, needed)
        yield embed_clouds(encoder, spoilt, device=ctx.device, progress=progress)


def corrupted(
    clouds: np.ndarray, paths: np.ndarray, name: str, corruption: Corruption, needed: int
) -> np.ndarray:
    """Clouds (n, Q, 3) float32 in the unit sphere after one corruption of ``clouds`` (n, P, 3), seeded by ``paths`` (n,).

    Q is what the corruption leaves, or ``needed`` points where it leaves fewer: some then occur more than once. Both
    severities of a corruption draw the same numbers, so that the harder goes on where the milder ends.
    """
    left = []
    for cloud, path in zip(clouds.astype(np.float64), paths, strict=True):
        rng = np.random.default_rng(derive_seed(0, "robustness", name, str(path)))
        spoilt = corruption(cloud, rng)
        left.append(spoilt if len(spoilt) >= needed else corruptions.resample(spoilt, rng, needed))
    return _in_unit_sphere(np.stack(left))


def _in_unit_sphere(clouds: np.ndarray) -> np.ndarray:
    """Clouds (n, P, 3), centred and scaled, float32."""
    return normalize(torch.from_numpy(clouds)).float().numpy()


def _right(episode: Episode, clean: np.ndarray, versions: np.ndarray) -> np.ndarray:
    """Which queries (n, V) are answered right, from features ``versions`` (V, n, F) of theirs."""
    count, queries, width = versions.shape
    answers = support_svm(clean[episode.support], episode.support_labels, versions.reshape(-1, width))
    return (answers.reshape(count, queries) == episode.query_labels).T.astype(np.float64)
