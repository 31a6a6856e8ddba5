"""Does what ``choose`` promises hold on objects that it did not see? Clusters of recorded results are halved many times:
the row is chosen by one half and looked at on the other. Nothing is computed again.

python benchmarks/choice_holds.py results/reference results/reference-frontier
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.errors import UserError
from foundry_bench.heads.probing import groups_of
from foundry_bench.report.choice import Candidate, Wish, judged
from foundry_bench.report.frame import load_together
from foundry_bench.report.leaderboard import Row, add_starts, rows_of
from foundry_bench.selectors import expand_task

Halves = dict[str, np.ndarray]
"""Place -> which of its clusters (n,) are in the half that a row is chosen by."""


def clusters_of(place: str, count: int) -> np.ndarray:
    """Names (n,) of the clusters of a place (task and data set), in the order of its outcomes. Raises UserError where they are
    not ``count``."""
    text, _, name = place.partition(":")
    data = load_dataset(name)
    scored = expand_task(text)[0][0].scored(data)
    names = np.unique(groups_of(data)[slice(None) if scored is None else scored])
    if len(names) != count:
        raise UserError(
            f"{place} has {count} outcomes of {len(names)} clusters; only outcomes by cluster can be halved"
        )
    return names


def halvings(rows: Sequence[Row], times: int) -> Iterator[Halves]:
    """``times`` halvings; a cluster is in the same half of all tasks on its data set."""
    names = {place: clusters_of(place, len(values)) for place, values in rows[0].outcomes.items()}
    rng = np.random.default_rng(0)
    for _ in range(times):
        first: dict[str, set[str]] = {}
        for data in sorted({place.rpartition(":")[2] for place in names}):
            own = [n for place, n in names.items() if place.rpartition(":")[2] == data]
            every = np.unique(np.concatenate(own))
            first[data] = set(every[rng.permutation(len(every))[: len(every) // 2]])
        yield {place: np.isin(n, list(first[place.rpartition(":")[2]])) for place, n in names.items()}


def half(rows: Sequence[Row], chosen: Halves) -> list[Row]:
    """The rows as they were if only the ``chosen`` clusters had been tested."""
    found = []
    for row in rows:
        runs = {place: values[:, chosen[place]] for place, values in row.runs.items()}
        outcomes = {place: values.mean(axis=0) for place, values in runs.items()}
        scores = {place: float(values.mean()) for place, values in outcomes.items()}
        values = {**row.values, "mean_score": float(np.mean(list(scores.values())))}
        found.append(replace(row, runs=runs, outcomes=outcomes, scores=scores, values=values, starts={}))
    add_starts(found)
    return found


def winner(candidates: Sequence[Candidate]) -> Candidate | None:
    """The cheapest that nothing speaks against."""
    return next((one for one in candidates if not one.against), None)


def main() -> None:
    """Print for each share how often a row was found, what it promised, and what it kept of the other half."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", help="folders with finished sweeps")
    parser.add_argument("--keep", type=float, nargs="+", default=[99.0, 98.0, 97.0, 95.0])
    parser.add_argument("--times", type=int, default=200, help="halvings")
    given = parser.parse_args()
    rows = [row for row in rows_of(load_together(given.results)) if row.complete]
    halved = [(half(rows, a), half(rows, {k: ~v for k, v in a.items()})) for a in halvings(rows, given.times)]
    table = pd.DataFrame([held(keep / 100, halved) for keep in given.keep])
    sys.stdout.write(table.to_markdown(index=False) + "\n")


def held(keep: float, halved: Sequence[tuple[list[Row], list[Row]]]) -> dict[str, object]:
    """One line: choices by the first halves, and what they are on the second ones."""
    wish, rows, named = Wish(keep=keep), [], Counter[str]()
    for first, second in halved:
        found = winner(judged(first, wish, {}))
        if found is not None:
            there = next(one for one in judged(second, wish, {}) if one.selector == found.selector)
            rows.append((found.kept, found.lower, there.kept, there.worst[1] if there.worst else np.nan))
            named[found.selector] += 1
    kept = np.array(rows, float).reshape(-1, 4)
    often = ", ".join(f"`{name}` {count}" for name, count in named.most_common(3))
    line: dict[str, object] = {"asked %": f"{100 * keep:g}", "found": f"{len(rows)} of {len(halved)}"}
    if len(rows):
        line |= {
            "promised %": f"{100 * kept[:, 0].mean():.1f}",
            "surely %": f"{100 * kept[:, 1].mean():.1f}",
            "kept there %": f"{100 * kept[:, 2].mean():.1f}",
            "at least what was asked": f"{(kept[:, 2] >= keep).mean():.2f}",
            "at least what was sure": f"{(kept[:, 2] >= kept[:, 1]).mean():.2f}",
            "worst task above 97 %": f"{(kept[:, 3] >= wish.worst).mean():.2f}",
        }
    return {**line, "chosen most": often}


if __name__ == "__main__":
    main()
