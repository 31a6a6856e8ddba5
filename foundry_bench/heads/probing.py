"""What the pre-training probe and the classification task share: classifiers on frozen features, and honest scores.

The one free parameter of a classifier is chosen by cross-validation within the training side, grouped by series. The test
side has no influence on it. Objects of one series are near-twins, and one object may be a test item of several splits:
scores come with standard errors over such clusters, not over items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from foundry_bench.context import Context
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.heads.features import embed_clouds, turned
from foundry_bench.task import CLUSTERS, Metric, Score

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

Kind = Literal["linear", "rbf"]
COSTS = (1.0, 10.0, 100.0)
"""Values of C to choose from, up to a nearly hard margin; kernels are scaled so that a typical k(x, x) is 1."""
FOLDS = 3
CHUNK = 1024
"""Clouds in memory at a time; a multiple of the batch size, so that a data set is cut into the same batches as in one piece."""


def split_sides(data: PointCloudDataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labelled rows of the training side of one split, ``val`` included, and of its test side."""
    side = np.where(np.asarray(data.labels) >= 0, np.asarray(data.splits[name]), "")
    return np.flatnonzero(np.isin(side, ("train", "val"))), np.flatnonzero(side == "test")


def probed_sides(data: PointCloudDataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """:func:`split_sides` of every split. Raises UserError for an empty test side and for fewer than two classes to learn."""
    sides = {name: split_sides(data, name) for name in data.splits}
    for name, (train, test) in sides.items():
        require_classes(data.labels[train], data.name)
        if len(test) == 0:
            raise UserError(f"split {name!r} of data set {data.name!r} has no test objects; choose another")
    return sides


def groups_of(data: PointCloudDataset) -> np.ndarray:
    """The cluster (N,) str of each object: class and series; an object without a series forms its own cluster."""
    pairs = enumerate(zip(np.asarray(data.labels), np.asarray(data.series), strict=True))
    return np.array([f"{label}/{series or f'only {row}'}" for row, (label, series) in pairs])


def posed(data: PointCloudDataset, rows: np.ndarray, points: int | None, rotate: bool) -> np.ndarray:
    """Clouds (n, points, 3) of ``rows`` only, each turned about the up axis by its own angle if ``rotate``."""
    clouds = data.points[rows, :points]
    return turned(clouds, np.asarray(data.paths)[rows]) if rotate else clouds


def embed_objects(
    encoder: Encoder, data: PointCloudDataset, rows: np.ndarray, ctx: Context, *, rotate: bool
) -> np.ndarray:
    """Mean and max of the frozen encoder's tokens, (len(data), 2D) float32; only ``rows`` are read, the others are NaN."""
    features = np.full((len(data.labels), 2 * encoder.config.dim), np.nan, np.float32)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        clouds = posed(data, chunk, encoder.config.points, rotate)

        def progress(what: str, done: int, total: int, start: int = start) -> None:
            ctx.progress(what, start + done, len(rows))

        features[chunk] = embed_clouds(encoder, clouds, device=ctx.device, progress=progress, cache=ctx.cache)
    return features


def svm_predictions(
    train: np.ndarray, labels: np.ndarray, groups: np.ndarray, test: np.ndarray, kind: Kind = "linear"
) -> np.ndarray:
    """Labels of ``test`` (M, F) by an SVM on ``train`` (N, F), ``labels`` and ``groups`` (N,), one machine per pair of classes.

    This is the field's probe of self-supervised point encoders (Point-JEPA, Point-MAE); those fix C per data set. The Gram
    matrix takes 8 N^2 bytes, 0.8 GB for ModelNet40.
    """
    seen, asked = _standardised(train, test)
    gram = _kernel(seen, seen, kind)
    cost = _choose_cost(gram, labels, groups)
    machine = SVC(C=cost, kernel="precomputed").fit(gram, labels)
    return machine.predict(_kernel(asked, seen, kind))


def logistic_predictions(
    train: np.ndarray, labels: np.ndarray, groups: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Labels of ``test`` (M, F) by multinomial logistic regression on ``train`` (N, F), ``labels`` and ``groups`` (N,)."""
    seen, asked = (x / math.sqrt(train.shape[1]) for x in _standardised(train, test))

    def accuracy(cost: float, fit: np.ndarray, held: np.ndarray) -> float:
        return float(_logistic(cost).fit(seen[fit], labels[fit]).score(seen[held], labels[held]))

    return _logistic(best_cost(accuracy, labels, groups)).fit(seen, labels).predict(asked)


def _logistic(cost: float) -> LogisticRegression:
    return LogisticRegression(C=cost, max_iter=2000, tol=1e-3)


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides, standardised with the mean and deviation of the training side, because mean and max tokens differ in scale,
    and encoders do too."""
    scaler = StandardScaler().fit(train)
    return scaler.transform(train).astype(np.float64), scaler.transform(test).astype(np.float64)


def _kernel(left: np.ndarray, right: np.ndarray, kind: Kind) -> np.ndarray:
    """Linear or RBF kernel, scaled by the number of features so that C means the same for every feature
    width."""
    width = left.shape[1]
    return rbf_kernel(left, right, gamma=1.0 / width) if kind == "rbf" else left @ right.T / width


def _choose_cost(gram: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """The C of an SVM with this Gram matrix (N, N)."""

    def accuracy(cost: float, fit: np.ndarray, held: np.ndarray) -> float:
        machine = SVC(C=cost, kernel="precomputed").fit(gram[np.ix_(fit, fit)], labels[fit])
        return float(machine.score(gram[np.ix_(held, fit)], labels[held]))

    return best_cost(accuracy, labels, groups)


def best_cost(
    accuracy: Callable[[float, np.ndarray, np.ndarray], float], labels: np.ndarray, groups: np.ndarray
) -> float:
    """The cost with the best cross-validated ``accuracy(cost, fit, held)``; whole groups are held out, the smaller wins a tie.

    The middle one where there are too few objects to cross-validate.
    """
    folds = _folds(labels, groups)
    if not folds:
        return COSTS[len(COSTS) // 2]
    return COSTS[
        int(np.argmax([np.mean([accuracy(cost, fit, held) for fit, held in folds]) for cost in COSTS]))
    ]


def _folds(labels: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions to fit on and positions to hold out; folds with a single class to fit on or nothing to hold out are
    left out."""
    count = min(FOLDS, int(np.unique(labels, return_counts=True)[1].max()))
    if count < 2:
        return []
    alone = len(np.unique(groups)) == len(groups)
    plain, grouped = StratifiedKFold(count), StratifiedGroupKFold(count)
    folds = plain.split(labels, labels) if alone else grouped.split(labels, labels, groups)
    return [(fit, held) for fit, held in folds if len(held) and len(np.unique(labels[fit])) > 1]


def require_classes(labels: np.ndarray, name: str) -> None:
    """Raise UserError unless a training side's ``labels`` hold at least two classes."""
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"data set {name!r} has objects of fewer than two classes on a training side: add a class, or choose another"
        )


def level_weights(*levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n,) that sum to 1, and the innermost group (n,) of each item.

    With these weights, items are averaged within each innermost group, these means within each group of the level above, and
    so on. ``level_weights(splits, classes)`` averages items per class, classes per split, and then splits.
    """
    weights, parent = np.ones(len(levels[0])), np.zeros(len(levels[0]), np.int64)
    for level in levels:
        codes = np.unique(level, return_inverse=True)[1]
        cells, index = np.unique(parent * (codes.max() + 1) + codes, return_inverse=True)
        children = np.bincount(cells // (codes.max() + 1), minlength=parent.max() + 1)
        weights, parent = weights / children[parent], index
    return weights / np.bincount(parent)[parent], parent


def cluster_outcomes(
    values: np.ndarray, clusters: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """One outcome per cluster, in sorted order of the clusters, whose plain mean is the weighted mean of ``values`` (n,).

    Paired tests treat outcomes as independent, which clusters are and near-twins are not. An outcome is the cluster's share
    of the metric times the number of clusters, so it may exceed 1. ``weights`` (n,) sum to 1; default: all the same.
    """
    names, index = np.unique(clusters, return_inverse=True)
    shares = values / len(values) if weights is None else values * weights
    return np.bincount(index, weights=shares) * len(names)


def clustered_score(
    metric: Metric,
    values: np.ndarray,
    clusters: np.ndarray,
    *levels: np.ndarray,
    strata: np.ndarray | None = None,
) -> tuple[Score, np.ndarray]:
    """Mean of ``values`` (n,) over ``levels`` as in :func:`level_weights`, and one outcome per cluster with the same mean.

    An outcome is the metric plus the sum of the cluster's deviations from the means of the ``strata`` (n,), by default the
    innermost groups. Clusters of unequal size alone therefore cause no spread. Student's t over the outcomes, with one degree
    of freedom less than there are clusters, gives the cluster-robust 95 % interval; over the differences of two encoders'
    outcomes it gives the paired interval. An outcome may lie outside [0, 1]. The interval is about other objects of these
    classes, not about other training runs.
    """
    weights, cell = level_weights(*levels)
    if strata is not None:
        cell = np.unique(strata, return_inverse=True)[1]
    means = np.bincount(cell, weights=weights * values) / np.bincount(cell, weights=weights)
    deviations = cluster_outcomes(values - means[cell], clusters, weights)
    value, count = float(weights @ values), len(deviations)
    outcomes = value + deviations
    kind = (metric.higher_is_better, metric.primary, CLUSTERS)
    if count < 2:
        return Score(metric.name, value, count, None, None, None, None, *kind), outcomes
    stderr = float(np.sqrt(np.square(deviations).sum() / (count * (count - 1))))
    half = float(stats.t.ppf(0.975, count - 1)) * stderr
    interval = (value - half, value + half, f"cluster-robust over {CLUSTERS}, 95 %")
    return Score(metric.name, value, count, stderr, *interval, *kind), outcomes
