"""The leaderboard: one row per method, variant and parameters, over all tasks and seeds.

Reading it: ``mean_score`` is the mean over (task, data set) of the primary metric, ``retained`` its share of
the teacher's. Only rows that did every task have a ``rank`` and a ``mean_score``. ``rank`` is 1 + the number
of rows that are separably better (paired t over episodes, or over clusters of objects, Holm-corrected over all
pairs), so rows that the data cannot tell apart share it; the order of the file is that of ``mean_score``. ``_ci95``
is the half width of the 95 % interval over these, after averaging seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.report.ranking import Outcomes, pareto, shared_ranks

BASELINE = "teacher"
"""The method whose row is the uncompressed reference."""
KEYS = ("teacher", "teacher_sha256", "method", "variant", "params", "parameters")
BEFORE = ("rank", "method", "variant", "params", "teacher")
COSTS = ("gmacs", "gmacs_ratio", "gflops", "params_m", "latency_ms", "latency_ratio", "peak_mem_mb")
AFTER = ("mean_score", "retained", "r2", *COSTS, "train_s", "seeds", "tasks_done", "tasks_total", "pareto")


@dataclass
class Row:
    """One line of the leaderboard in the making. ``outcomes`` and ``scores`` are keyed by place."""

    keys: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every task was done."""
        return 0 < self.values["tasks_done"] == self.values["tasks_total"]


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of a table from :func:`~foundry_bench.report.frame.load_results`, ranked rows first.

    Raises UserError for results of different budgets, which would compare training times and not methods.
    """
    budgets = sorted(frame["budget"].dropna().unique())
    if len(budgets) > 1:
        raise UserError(f"these results have different budgets ({', '.join(budgets)}); pass one of them")
    evaluated, places = _places(frame)
    rows = rows_of(frame)
    _retain(rows)
    ranked = sorted((row for row in rows if row.complete), key=_order)
    for row, rank in zip(ranked, shared_ranks([row.outcomes for row in ranked]), strict=True):
        row.values["rank"] = rank
    front = pareto([r.values["gmacs"] for r in ranked], [r.values["mean_score"] for r in ranked])
    for row, best in zip(ranked, front, strict=True):
        row.values["pareto"] = best
    others = sorted((r for r in rows if not r.complete), key=lambda r: (-r.values["tasks_done"], *_name(r)))
    return _table([*ranked, *others], _score_columns(evaluated, places))


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a table of cells with their outcomes, in no order that means anything."""
    _, places = _places(frame)
    return [_row(dict(zip(KEYS, key, strict=True)), part, places) for key, part in _groups(frame)]


def _places(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The evaluate cells, and the (task, data set) pairs they were run on."""
    evaluated = frame[frame["kind"] == "evaluate"]
    return evaluated, sorted(set(zip(evaluated["task"], evaluated["dataset"], strict=True)))


def _groups(frame: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Cells by row: what was measured on a student, and its student; students without any cell stand
    alone.
    """
    measured = frame[frame["kind"] != "student"]
    students = frame[frame["kind"] == "student"].set_index("cell_id", drop=False)
    groups: list[tuple[tuple[str, ...], pd.DataFrame]] = []
    for key, part in measured.groupby(list(KEYS), sort=True):
        parents = students.loc[[cell for cell in part["student"].unique() if cell in students.index]]
        groups.append((tuple(map(str, key)), pd.concat([part, parents])))
    alone = students[~students["cell_id"].isin(set(frame["student"].dropna()))]
    groups += [(tuple(map(str, key)), part) for key, part in alone.groupby(list(KEYS), sort=True)]
    return groups


def _row(keys: dict[str, str], part: pd.DataFrame, places: list[tuple[str, str]]) -> Row:
    row = Row(keys)
    ok = part[part["status"] == "ok"]
    seeds = []
    for task, dataset in places:
        done = ok[(ok["kind"] == "evaluate") & (ok["task"] == task) & (ok["dataset"] == dataset)]
        if done.empty:
            continue
        place = f"{task}:{dataset}"
        seeds.append(done["seed"].nunique())
        higher = bool(done["higher_is_better"].iloc[0])
        value, half = float(done["score"].mean()), _half_width(done)
        row.values[f"{place}:{done['metric'].iloc[0]}"] = value
        row.values[f"{place}:{done['metric'].iloc[0]}_ci95"] = half
        row.scores[place] = value if higher else 1.0 - value
        outcomes = _outcomes(done)
        if outcomes is not None:
            row.outcomes[place] = outcomes if higher else 1.0 - outcomes
    profiled, students = ok[ok["kind"] == "profile"], ok[ok["kind"] == "student"]
    row.values.update({key: _mean(profiled[key]) for key in COSTS})
    fidelity = _mean(profiled["r2"])
    row.values["r2"] = _mean(students["r2"]) if fidelity is None else fidelity
    row.values["train_s"] = _mean(students["train_s"])
    row.values.update(tasks_done=len(row.scores), tasks_total=len(places), seeds=min(seeds, default=0))
    row.values["mean_score"] = float(np.mean(list(row.scores.values()))) if row.complete else None
    return row


def _outcomes(done: pd.DataFrame) -> np.ndarray | None:
    """Outcomes (n,) of the primary metric, averaged over the seeds, which all saw the same episodes."""
    loaded = []
    for path, metric in zip(done["outcomes"], done["metric"], strict=True):
        if not isinstance(path, str) or not Path(path).exists():
            return None
        with np.load(path) as arrays:
            if metric not in arrays:
                return None
            loaded.append(np.asarray(arrays[metric], dtype=float))
    return np.mean(loaded, axis=0) if len({values.shape for values in loaded}) == 1 else None


def _half_width(done: pd.DataFrame) -> float | None:
    """Half of the 95 % interval: over episodes where they are kept, else what the task reported."""
    outcomes = _outcomes(done)
    if outcomes is not None and len(outcomes) > 1:
        return float(stats.t.ppf(0.975, len(outcomes) - 1) * stats.sem(outcomes))
    return _mean((done["ci_high"] - done["ci_low"]) / 2)


def _mean(values: pd.Series) -> float | None:
    known = pd.to_numeric(values).dropna()
    return None if known.empty else float(known.mean())


def _retain(rows: list[Row]) -> None:
    """Fill ``retained``: the share of the mean score of the same teacher's own row."""
    baseline = {
        row.keys["teacher_sha256"]: row.values["mean_score"] for row in rows if row.keys["method"] == BASELINE
    }
    for row in rows:
        reference, score = baseline.get(row.keys["teacher_sha256"]), row.values["mean_score"]
        row.values["retained"] = score / reference if reference and score is not None else None


def _order(row: Row) -> tuple[Any, ...]:
    """Best first; equal scores by cost, then by name, so that the order never depends on the disk."""
    cost = row.values["gmacs"]
    return (-row.values["mean_score"], float("inf") if cost is None else cost, *_name(row))


def _name(row: Row) -> tuple[str, ...]:
    return row.keys["method"], row.keys["variant"], row.keys["params"]


def _score_columns(evaluated: pd.DataFrame, places: list[tuple[str, str]]) -> list[str]:
    columns = []
    for task, dataset in places:
        known = evaluated[(evaluated["task"] == task) & (evaluated["dataset"] == dataset)]["metric"].dropna()
        for metric in known.unique():
            columns += [f"{task}:{dataset}:{metric}", f"{task}:{dataset}:{metric}_ci95"]
    return columns


def _table(rows: list[Row], scores: list[str]) -> pd.DataFrame:
    table = pd.DataFrame([{**row.keys, "pareto": False, **row.values} for row in rows])
    table = table.reindex(columns=[*BEFORE, *scores, *AFTER])
    whole = ("rank", "seeds", "tasks_done", "tasks_total")
    return table.astype({**dict.fromkeys(whole, "Int64"), "pareto": bool})
