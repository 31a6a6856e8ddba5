"""How good are frozen features? A support vector machine on the series-wise splits of a labelled data set.

The classifier is the field's probe of self-supervised point encoders (Point-JEPA, Point-MAE: a linear SVM
on frozen features). Its only free number, C, is chosen by cross-validation inside the training side,
grouped by series, so that the test side decides nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from foundry_bench.errors import UserError

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

Kind = Literal["linear", "rbf"]
COSTS = (1.0, 10.0, 100.0)
"""Values of C to choose from, up to a nearly hard margin; kernels are scaled so that a typical k(x, x) is
1."""
FOLDS = 3


def linear_probe(features: np.ndarray, data: PointCloudDataset) -> dict[str, float]:
    """Test accuracy in [0, 1] of a linear SVM on ``features`` (N, F), per split of ``data`` and as
    ``mean``."""
    return probe(features, data, kind="linear")


def probe(features: np.ndarray, data: PointCloudDataset, kind: Kind = "linear") -> dict[str, float]:
    """Test accuracy in [0, 1] of an SVM on ``features`` (N, F), per split of ``data`` and as ``mean``.

    Raises :class:`~foundry_bench.errors.UserError` if the data set has no splits, or if the features are
    not finite or not one row per cloud.
    """
    if not data.splits:
        raise UserError(f"data set {data.name!r} has no splits to probe on; use kicad")
    if features.shape[0] != len(data.labels) or not np.isfinite(features).all():
        raise UserError(
            f"features {features.shape} must be finite, one row for each of {len(data.labels)} clouds"
        )
    scores = {}
    for name in data.splits:
        train, test = split_sides(data, name)
        scores[name] = _accuracy(features, data.labels, data.series, train, test, kind)
    return {**scores, "mean": float(np.mean(list(scores.values())))}


def split_sides(data: PointCloudDataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test side of one split."""
    side = np.asarray(data.splits[name])
    return np.flatnonzero(side == "train"), np.flatnonzero(side == "test")


def _accuracy(
    features: np.ndarray,
    labels: np.ndarray,
    series: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    kind: Kind,
) -> float:
    scaler = StandardScaler().fit(features[train])
    rows = {
        side: scaler.transform(features[index]).astype(np.float64)
        for side, index in (("train", train), ("test", test))
    }
    gram = _kernel(rows["train"], rows["train"], kind)
    cost = _choose_cost(gram, labels[train], series[train])
    machine = SVC(C=cost, kernel="precomputed").fit(gram, labels[train])
    return float(machine.score(_kernel(rows["test"], rows["train"], kind), labels[test]))


def _kernel(left: np.ndarray, right: np.ndarray, kind: Kind) -> np.ndarray:
    """Linear or RBF kernel, scaled by the number of features so that C means the same for every feature
    width."""
    width = left.shape[1]
    return rbf_kernel(left, right, gamma=1.0 / width) if kind == "rbf" else left @ right.T / width


def _choose_cost(gram: np.ndarray, labels: np.ndarray, series: np.ndarray) -> float:
    """The C with the best cross-validated accuracy; whole series are held out, the smaller C wins a tie."""
    groups = np.array([f"{label}/{name}" for label, name in zip(labels, series, strict=True)])
    folds = list(StratifiedGroupKFold(FOLDS).split(gram, labels, groups))
    scores = [
        np.mean(
            [
                SVC(C=cost, kernel="precomputed")
                .fit(gram[np.ix_(fit, fit)], labels[fit])
                .score(gram[np.ix_(held, fit)], labels[held])
                for fit, held in folds
            ]
        )
        for cost in COSTS
    ]
    return COSTS[int(np.argmax(scores))]


def never_tested(data: PointCloudDataset, folds: int = 3) -> PointCloudDataset:
    """The objects that are on no test side of any split, with new splits among themselves, by series.

    Pre-training is watched and chosen with a probe on these, so that no test side has a say in it. Classes
    with fewer than ``folds`` series left are dropped.
    """
    sides = np.stack([np.asarray(side) for side in data.splits.values()])
    allowed = np.flatnonzero(~(sides == "test").any(axis=0))
    series = {c: set(data.series[allowed[data.labels[allowed] == c]]) for c in range(len(data.classes))}
    rows = allowed[[len(series[int(label)]) >= folds for label in data.labels[allowed]]]
    labels = data.labels[rows]
    groups = np.array([f"{label}/{name}" for label, name in zip(labels, data.series[rows], strict=True)])
    splits = {}
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(rows, labels, groups)
    for i, (_, test) in enumerate(cut):
        splits[f"fold{i}"] = np.where(np.isin(np.arange(len(rows)), test), "test", "train")
    parts = None if data.parts is None else data.parts[rows]
    return replace(
        data,
        points=data.points[rows],
        labels=labels,
        series=data.series[rows],
        paths=data.paths[rows],
        splits=splits,
        parts=parts,
    )
