"""What the tasks that draw few-shot episodes share: rows of episodes, and the classifier on frozen features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from foundry_bench.datasets.dataset import Episode

COST = 10.0
"""The SVM's C, fixed in advance for every method; the kernel is scaled so that a typical k(x, x) is 1."""


def support_svm(support: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Labels (M,) of ``query`` (M, F) by a linear SVM on the frozen features ``support`` (N, F) with their ``labels`` (N,).

    Features are standardised by the support set, since mean and max tokens differ in scale and from
    encoder to encoder. With fewer clouds than features a large-margin classifier needs no tuning: C is the
    same for every method. SVC on the small Gram matrix takes a millisecond.
    """
    scaler = StandardScaler().fit(support)
    seen, asked = scaler.transform(support), scaler.transform(query)
    width = support.shape[1]
    machine = SVC(C=COST, kernel="precomputed").fit(seen @ seen.T / width, labels)
    return machine.predict(asked @ seen.T / width)


def rows_of(parts: Iterable[np.ndarray]) -> np.ndarray:
    """All rows of some arrays, sorted, each once."""
    return np.unique(np.concatenate(list(parts)))


def queries_of(episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels and episode numbers (n,) of the queries of all episodes."""
    sizes = [len(episode.query) for episode in episodes]
    rows, labels = (
        np.concatenate([getattr(e, name) for e in episodes]) for name in ("query", "query_labels")
    )
    return rows, labels, np.repeat(np.arange(len(episodes)), sizes)
