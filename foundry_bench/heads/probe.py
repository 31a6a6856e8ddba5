"""How good are frozen features? A support vector machine on the series-wise splits of a labelled data set.

The classifier is the field's probe of self-supervised point encoders (Point-JEPA, Point-MAE: a linear SVM on frozen
features), the same that the classification task uses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from foundry_bench.errors import UserError
from foundry_bench.heads.probing import Kind, groups_of, split_sides, svm_predictions

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset


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
    groups, scores = groups_of(data), {}
    for name in data.splits:
        train, test = split_sides(data, name)
        guesses = svm_predictions(features[train], data.labels[train], groups[train], features[test], kind)
        scores[name] = float(np.mean(guesses == data.labels[test]))
    return {**scores, "mean": float(np.mean(list(scores.values())))}


def never_tested(data: PointCloudDataset, folds: int = 3) -> PointCloudDataset:
    """The objects that are on no test side of any split, with new splits among themselves, by series.

    Pre-training is watched and chosen with a probe on these, so that no test side influences it. Classes
    with fewer than ``folds`` series left are dropped.
    """
    sides = np.stack([np.asarray(side) for side in data.splits.values()])
    allowed = np.flatnonzero(~(sides == "test").any(axis=0))
    series = {c: set(data.series[allowed[data.labels[allowed] == c]]) for c in range(len(data.classes))}
    rows = allowed[[len(series[int(label)]) >= folds for label in data.labels[allowed]]]
    labels, groups = data.labels[rows], groups_of(data)[rows]
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
