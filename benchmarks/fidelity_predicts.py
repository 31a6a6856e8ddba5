"""Which fidelity orders students as the tasks do? Rank correlations over the rows of one or more results folders.

    python benchmarks/fidelity_predicts.py RESULTS [RESULTS ...]

One line per fidelity and one column per task and data set: Spearman's rho over rows (method, variant and parameters, seeds
averaged) and its 95 % interval, percentile bootstrap over rows. Rows of one family resemble each other, so the interval is
somewhat too narrow. Left out are the teacher, which is alike by definition, experts, which are not trained to be, and rows
without that number.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import stats

from foundry_bench.report.frame import BY_BAND, FIDELITY, load_results
from foundry_bench.report.leaderboard import Row, rows_of
from foundry_bench.variants import BASELINE, EXPERT

RESAMPLES = 2000
LEAST = 5
"""Fewest rows that a correlation is given for."""


def pairs(rows: list[Row], fidelity: str, place: str) -> np.ndarray:
    """Fidelity and score, higher better, (n, 2), of the rows that have both."""
    found = [(row.values.get(fidelity), row.scores.get(place)) for row in rows]
    return np.array([(x, y) for x, y in found if x is not None and y is not None], dtype=float).reshape(-1, 2)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rank correlations of the rows of x and y (..., n); nan where one of them does not vary."""
    a, b = (stats.rankdata(values, axis=-1) for values in (x, y))
    a, b = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))


def interval(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """95 % interval of the rank correlation of x and y (n,): percentiles over resampled rows."""
    picks = np.random.default_rng(0).integers(0, len(x), (RESAMPLES, len(x)))
    low, high = np.nanquantile(spearman(x[picks], y[picks]), (0.025, 0.975))
    return float(low), float(high)


def correlation(rows: list[Row], fidelity: str, place: str) -> str:
    """``0.81 [0.62, 0.92] n=24``, or a dash where there are too few rows."""
    both = pairs(rows, fidelity, place)
    if len(both) < LEAST or np.ptp(both[:, 0]) == 0 or np.ptp(both[:, 1]) == 0:
        return f"- n={len(both)}"
    low, high = interval(both[:, 0], both[:, 1])
    return f"{spearman(both[:, 0], both[:, 1]):.2f} [{low:.2f}, {high:.2f}] n={len(both)}"


def students(folders: list[str]) -> list[Row]:
    """The rows of all folders whose tokens are meant to be their teacher's."""
    rows = [row for folder in folders for row in rows_of(load_results(folder))]
    return [row for row in rows if row.keys["method"] != BASELINE and row.keys["variant"] != EXPERT]


def table(rows: list[Row]) -> list[str]:
    """The correlations as lines of Markdown."""
    places = sorted({place for row in rows for place in row.scores})
    lines = [f"| fidelity | {' | '.join(places)} |", "|---|" + "---|" * len(places)]
    for fidelity in (*FIDELITY, *BY_BAND):
        texts = [correlation(rows, fidelity, place) for place in places]
        lines.append(f"| `{fidelity}` | {' | '.join(texts)} |")
    return lines


def main() -> None:
    """Print the table."""
    folders = sys.argv[1:] or ["results/reference"]
    sys.stdout.write("\n".join(table(students(folders))) + "\n")


if __name__ == "__main__":
    main()
