"""Which tasks tell which encoders from their teacher? Every row of finished sweeps against the teacher, task by task.

    foundry-bench run --methods 'teacher,untrained,truncate[blocks=0,1,2,4]+off-the-shelf' --tasks all --out results/resolution
    foundry-bench run --methods 'foundry[supertokens=0,16]' --tasks all --seeds 3 --out results/starts
    python benchmarks/resolution.py results/resolution results/starts

``truncate[blocks=0]`` is token and position of each patch, without any block. Rows that draw no start need one seed and a
folder of their own. z is over a task's outcomes (clusters of objects, or folds) and, for rows with several starts, over
these. A row without context far below the teacher (z >= 4) says that a task asks for context.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.report.frame import load_results
from foundry_bench.report.statistics.starts import start_variance
from foundry_bench.report.tables import selector
from foundry_bench.variants import BASELINE

Place = tuple[str, str]
"""Task and data set."""


@dataclass(frozen=True)
class Measured:
    """A row at one place: the primary metric's outcomes (starts, n), and the seconds of one evaluation."""

    outcomes: np.ndarray
    seconds: float

    @property
    def score(self) -> float:
        """Mean over starts and outcomes."""
        return float(self.outcomes.mean())


def difference(row: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Mean of ``row`` (S, n) minus ``reference`` (1, n), paired over outcomes, and its standard error.

    The variance over outcomes and that of the starts, :func:`~foundry_bench.report.statistics.starts.start_variance`; of one
    start nothing is known, and nothing added.
    """
    gaps = row - reference
    variance = gaps.mean(axis=0).var(ddof=1) / gaps.shape[1]
    start = start_variance({"": gaps})
    if start is not None:
        variance += start.of_mean(len(gaps)).value
    return float(gaps.mean()), float(np.sqrt(variance))


def measured(frame: pd.DataFrame) -> dict[str, dict[Place, Measured]]:
    """Selector -> place -> what was measured, of all finished evaluations of a table of cells."""
    done = frame[(frame["kind"] == "evaluate") & (frame["status"] == "ok") & frame["outcomes"].notna()]
    found: dict[str, dict[Place, Measured]] = {}
    for (task, dataset), cells in done.groupby(["task", "dataset"], sort=False):
        for name, part in cells.groupby(cells.apply(_selector, axis=1), sort=False):
            outcomes = np.stack([_outcomes(cell) for cell in part.to_dict("records")])
            found.setdefault(str(name), {})[task, dataset] = Measured(outcomes, float(part["seconds"].mean()))
    return found


def _selector(cell: Any) -> str:
    return selector({key: cell[key] for key in ("method", "variant", "params")})


def _outcomes(cell: dict[Any, Any]) -> np.ndarray:
    with np.load(cell["outcomes"]) as arrays:
        return np.asarray(arrays[cell["metric"]], dtype=float)


def baseline(rows: dict[str, dict[Place, Measured]]) -> str:
    """The teacher's selector. Raises UserError where it was not evaluated."""
    for name in rows:
        if name.split("+")[0] == BASELINE:
            return name
    raise UserError("the teacher was not evaluated here; add 'teacher' to --methods of the same command")


def lines(rows: dict[str, dict[Place, Measured]]) -> list[str]:
    """The table, most of the teacher's score first: score in points, difference to the teacher and z of every place."""
    reference = rows[baseline(rows)]
    places = list(reference)
    heads = " | ".join(f"{task}:{dataset}" for task, dataset in places)
    order = sorted(rows, key=lambda name: -np.mean([found.score for found in rows[name].values()]))
    table = [f"| row | starts | {heads} |", f"|{'---|' * (2 + len(places))}"]
    for name in order:
        starts = max(len(found.outcomes) for found in rows[name].values())
        cells = [_cell(rows[name].get(place), reference[place]) for place in places]
        table.append(f"| `{name}` | {starts} | {' | '.join(cells)} |")
    units = [str(reference[place].outcomes.shape[1]) for place in places]
    seconds = [
        f"{np.mean([found[place].seconds for found in rows.values() if place in found]):.1f}"
        for place in places
    ]
    return [
        *table,
        f"| outcomes | | {' | '.join(units)} |",
        f"| seconds an evaluation | | {' | '.join(seconds)} |",
    ]


def _cell(found: Measured | None, reference: Measured) -> str:
    if found is None:
        return ""
    if found is reference:
        return f"**{100 * found.score:.1f}**"
    if found.outcomes.shape[1:] != reference.outcomes.shape[1:]:
        return f"{100 * found.score:.1f}"
    mean, error = difference(found.outcomes, reference.outcomes[:1])
    z = f"z = {abs(mean) / error:.1f}" if error > 0 else "the same"
    return f"{100 * found.score:.1f}; {100 * mean:+.1f} ({z})"


def main() -> None:
    """Print the table of the results folders named on the command line."""
    try:
        rows = measured(pd.concat(load_results(folder) for folder in sys.argv[1:]))
        sys.stdout.write("\n".join(lines(rows)) + "\n")
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
