"""The leaderboard: one row per method, variant and parameters, over all tasks and seeds.

Reading it: ``mean_score`` is the mean over (task, data set) of the primary metric, ``retained`` its share of
the teacher's. Only rows that did every task have a ``rank`` and a ``mean_score``. ``rank`` is 1 + the number
of rows that are separably better (paired t over episodes, or over clusters of objects, Holm-corrected over all
pairs), so rows that the data cannot tell apart share it; the order of the file is that of ``mean_score``. ``_ci95``
is the half width of the 95 % interval over these, after averaging seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import special

from foundry_bench.errors import UserError
from foundry_bench.report.frame import BY_BAND, FIDELITY
from foundry_bench.report.ranking import Outcomes, pareto, shared_ranks

BASELINE = "teacher"
"""The method whose row is the uncompressed reference."""
KEYS = ("teacher", "teacher_sha256", "method", "variant", "params", "parameters")
BEFORE = ("rank", "method", "variant", "params", "teacher")
COSTS = ("gmacs", "gmacs_ratio", "gflops", "params_m", "latency_ms", "latency_ratio", "peak_mem_mb")
AFTER = (
    "mean_score",
    "retained",
    *FIDELITY,
    *COSTS,
    "train_s",
    "seeds",
    "tasks_done",
    "tasks_total",
    "pareto",
)
SCORED = ("task", "dataset", "metric", "score", "ci_low", "ci_high", "higher_is_better", "outcomes")
USED = (
    "cell_id",
    "kind",
    "status",
    "seed",
    "student",
    *KEYS,
    *SCORED,
    *COSTS,
    *FIDELITY,
    *BY_BAND,
    "train_s",
)
"""Columns of the cells that a leaderboard is made of."""

Key = TypeVar("Key", bound=Hashable)
Cells = list[dict[str, Any]]
"""Rows of a table of cells. Going through thousands of groups is far quicker over these than over data frames."""


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
    cells: Cells = frame[list(USED)].to_dict("records")  # type: ignore[assignment]
    return [_row(dict(zip(KEYS, key, strict=True)), part, places) for key, part in _groups(cells)]


def _places(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The evaluate cells, and the (task, data set) pairs they were run on."""
    evaluated = frame[frame["kind"] == "evaluate"]
    return evaluated, sorted(set(zip(evaluated["task"], evaluated["dataset"], strict=True)))


def _groups(cells: Cells) -> list[tuple[tuple[str, ...], Cells]]:
    """Cells by row: what was measured on a student, and its student; students without any cell stand
    alone.
    """
    students = _grouped((c for c in cells if c["kind"] == "student"), itemgetter("cell_id"))
    measured = _grouped((c for c in cells if c["kind"] != "student"), _key)
    needed = {cell["student"] for cell in cells}
    alone = _grouped((c for c in cells if c["kind"] == "student" and c["cell_id"] not in needed), _key)
    groups = []
    for key, part in sorted(measured.items(), key=itemgetter(0)):
        parents = dict.fromkeys(cell["student"] for cell in part)
        groups.append((key, part + [cell for parent in parents for cell in students.get(parent, [])]))
    return groups + sorted(alone.items(), key=itemgetter(0))


def _grouped(cells: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], Key]) -> dict[Key, Cells]:
    groups: dict[Key, Cells] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def _key(cell: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(cell[key]) for key in KEYS)


def _row(keys: dict[str, str], part: Cells, places: list[tuple[str, str]]) -> Row:
    row = Row(keys)
    ok = _grouped((cell for cell in part if cell["status"] == "ok"), itemgetter("kind"))
    by_place = _grouped(ok.get("evaluate", []), itemgetter("task", "dataset"))
    seeds = []
    for place in places:
        if place in by_place:
            _add_score(row, ":".join(place), by_place[place])
            seeds.append(len({cell["seed"] for cell in by_place[place]}))
    profiled, students = ok.get("profile", []), ok.get("student", [])
    row.values.update({key: _mean(profiled, key) for key in COSTS})
    alike = students if _mean(profiled, "r2") is None else profiled
    row.values.update({key: _mean(alike, key) for key in (*FIDELITY, *BY_BAND)})
    row.values["train_s"] = _mean(students, "train_s")
    row.values.update(tasks_done=len(row.scores), tasks_total=len(places), seeds=min(seeds, default=0))
    row.values["mean_score"] = float(np.mean(list(row.scores.values()))) if row.complete else None
    return row


def _add_score(row: Row, place: str, done: Cells) -> None:
    """Score, interval and outcomes of one place, over its finished cells of all seeds."""
    higher, metric = bool(done[0]["higher_is_better"]), done[0]["metric"]
    score, outcomes = _mean(done, "score"), _outcomes(done)
    value = float("nan") if score is None else score
    row.values[f"{place}:{metric}"] = value
    row.values[f"{place}:{metric}_ci95"] = _half_width(done, outcomes)
    row.scores[place] = value if higher else 1.0 - value
    if outcomes is not None:
        row.outcomes[place] = outcomes if higher else 1.0 - outcomes


def _outcomes(done: Cells) -> np.ndarray | None:
    """Outcomes (n,) of the primary metric, averaged over the seeds, which all saw the same episodes."""
    loaded = []
    for path, metric in ((cell["outcomes"], cell["metric"]) for cell in done):
        try:
            content = BytesIO(Path(path).read_bytes())
        except (FileNotFoundError, TypeError):  # lost, or none were kept
            return None
        with np.load(content) as arrays:
            if metric not in arrays:
                return None
            loaded.append(np.asarray(arrays[metric], dtype=float))
    return np.mean(loaded, axis=0) if len({values.shape for values in loaded}) == 1 else None


def _half_width(done: Cells, outcomes: np.ndarray | None) -> float | None:
    """Half of the 95 % interval: over episodes where they are kept, else what the task reported."""
    if outcomes is not None and len(outcomes) > 1:
        return _quantile(len(outcomes) - 1) * float(outcomes.std(ddof=1) / len(outcomes) ** 0.5)
    reported = [cell for cell in done if not pd.isna(cell["ci_low"])]
    return _mean([{"half": (cell["ci_high"] - cell["ci_low"]) / 2} for cell in reported], "half")


@cache
def _quantile(degrees: int) -> float:
    """Student's t that 2.5 % exceed."""
    return float(special.stdtrit(degrees, 0.975))


def _mean(cells: Cells, key: str) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = [cell[key] for cell in cells if not pd.isna(cell[key])]
    return float(np.mean(known)) if known else None


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
