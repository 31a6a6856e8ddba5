"""Two results folders side by side: what went in, with what it was run, and what came out.

Reading it: rows are paired by method, variant and parameters, scores by place (task and data set) too; a change is B - A.
``compare_pairs`` says which rows belong together, ``compare_scores`` when a score is separable, ``compare_costs`` when a
cost is listed, ``provenance`` what differs in settings and environment; ``compare_text`` writes it all down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.report.compare_costs import QUANTITIES, costs_of
from foundry_bench.report.compare_pairs import load_side, pairs_of, statuses_of, unpaired
from foundry_bench.report.compare_scores import scores_of
from foundry_bench.report.provenance import (
    count,
    differing_environment,
    differing_settings,
    environment_of,
    inputs_of,
    joined,
    mixed_environments,
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between the folders A and B.

    ``verdict`` is one sentence; ``about`` says what A and B are; ``settings`` are sentences; ``environment`` holds what
    differs (item, a, b); ``mixed`` are sentences about folders with several environments. ``scores`` (columns ``SCORES``)
    and ``costs`` (``COSTS``) hold all that was compared. ``only_a`` and ``only_b`` are rows, ``statuses`` cells that ended
    in another way (``STATUSES``).
    """

    verdict: str
    about: tuple[str, str]
    settings: list[str]
    environment: pd.DataFrame
    mixed: list[str]
    scores: pd.DataFrame
    costs: pd.DataFrame
    only_a: list[str]
    only_b: list[str]
    statuses: pd.DataFrame

    def listed(self, everything: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Scores that are not exactly equal and costs that changed, or all that were compared."""
        if everything:
            return self.scores, self.costs
        return self.scores[~self.scores["equal"]], self.costs[self.costs["changed"]]


def compare(a: Path, b: Path) -> Comparison:
    """Compare two results folders. Raises UserError for a folder without results and for two without a row in common."""
    first, second = load_side(a), load_side(b)
    pairs = pairs_of(first, second)
    if not pairs:
        raise UserError(f"{a} and {b} have no row in common; run one of them with the --methods of the other")
    made_a, made_b = (environment_of(side.records.values()) for side in (first, second))
    found = Comparison(
        verdict="",
        about=(first.about, second.about),
        settings=differing_settings(*(inputs_of(side.records.values()) for side in (first, second))),
        environment=differing_environment(made_a, made_b),
        mixed=[*mixed_environments("A", made_a), *mixed_environments("B", made_b)],
        scores=scores_of(first, second, pairs),
        costs=costs_of(first, second, pairs),
        only_a=unpaired(first, pairs),
        only_b=unpaired(second, pairs),
        statuses=statuses_of(first, second),
    )
    same = a.resolve() == b.resolve()
    verdict = "nothing changed: A and B are the same folder" if same else _verdict(found, len(pairs))
    return replace(found, verdict=verdict)


def _verdict(found: Comparison, rows: int) -> str:
    """One sentence: what came out otherwise, and what may be the reason; ``rows`` were paired."""
    outcome, causes = _outcome(found, rows), _causes(found)
    if not outcome and not causes and not found.only_a and not found.only_b:
        return f"nothing changed in {count(rows, 'row')} and {count(len(found.scores), 'score')}"
    if not causes:
        cause = "settings and environment are the same"
    elif len(causes) <= 3:
        cause = f"nothing but {joined(causes)} differs"
    else:
        cause = f"{len(causes)} settings and parts of the environment differ"
    return "; ".join([*(outcome or [f"no score and no cost changed in {count(rows, 'common row')}"]), cause])


def _causes(found: Comparison) -> list[str]:
    """What may be the reason of a change."""
    environment = found.environment.to_dict("records")
    return [*found.settings, *(f"{item['item']} {item['a']} -> {item['b']}" for item in environment)]


def _outcome(found: Comparison, rows: int) -> list[str]:
    """What came out otherwise; nothing where nothing did."""
    scores, costs = found.scores, found.costs
    separable = scores[scores["separable"]]
    said = []
    if len(separable):
        worse = separable.loc[~separable["better"], "row"].nunique()
        many = separable["row"].nunique()
        said.append(f"{many} of {rows} rows changed their score separably, {worse} got worse")
    elif not scores["equal"].all():
        said.append(f"none of {rows} rows changed its score separably")
    counts = costs.loc[costs["changed"], "quantity"].value_counts(sort=False)
    if len(counts):
        said.append(f"{joined([f'{QUANTITIES[name]} of {n}' for name, n in counts.items()])} rows changed")
    if len(found.statuses):
        said.append(f"{count(len(found.statuses), 'cell')} ended in another way")
    return said
