"""The leaderboard: one row per method, variant and parameters, over all tasks and seeds.

Reading it: ``mean_score`` is the mean over (task, data set) of the primary metric, ``retained`` its share of the
teacher's. Only rows that did every task have a ``rank`` and a ``mean_score``. ``rank`` is 1 + the number of rows that
are separably better (paired t over clusters of objects and over starts, Holm-corrected over all pairs), so rows that
the data cannot tell apart share it; the order of the file is that of ``mean_score``. ``_ci95`` is the half width of the
95 % interval over these, and ``_unit`` says what the objects' part is over; starts are in it where another start makes
another student. ``provisional`` rows have one start and no row of their family has several: their interval is without
it, and they are tested against no other row. ``latency_*`` is timed in turns with the teacher, in PyTorch, and, where
the name ends so, in another runtime or on another machine; it is ``noisy`` where the teacher against itself was off by
more than 10 %.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from foundry_bench.descriptions.known import families
from foundry_bench.errors import UserError
from foundry_bench.report.frame import BY_BAND, FIDELITY
from foundry_bench.report.statistics.paired import Outcomes, Sample, interval
from foundry_bench.report.statistics.ranks import pareto, separable_pairs, shared_ranks
from foundry_bench.report.statistics.starts import NO_START, Runs, Started, StartVariance, start_variances
from foundry_bench.runtimes.columns import NOISY, SHOWN, runtimes_among
from foundry_bench.variants import BASELINE, OFF_THE_SHELF

KEYS = ("teacher", "teacher_sha256", "method", "variant", "params", "parameters")
BEFORE = ("rank", "method", "variant", "params", "teacher")
COSTS = ("gmacs", "gmacs_ratio", "gflops", "params_m", *SHOWN, "peak_mem_mb")
SCORE = ("mean_score", "mean_score_ci95", "retained", *FIDELITY)
COUNTS = ("train_s", "seeds", "provisional", "tasks_done", "tasks_total", "pareto")
SCORED = ("task", "dataset", "metric", "score", "unit", "ci_low", "ci_high", "higher_is_better", "outcomes")
USED = (
    *("cell_id", "kind", "status", "seed", "student", *KEYS, *SCORED, *COSTS),
    *(*FIDELITY, *BY_BAND, "seeded", "train_s"),
)
"""Columns of the cells that a leaderboard is made of."""

Key = TypeVar("Key", bound=Hashable)
Cells = list[dict[str, Any]]
"""Rows of a table of cells. Going through thousands of groups is far quicker over these than over data frames."""


@dataclass
class Row:
    """One line of the leaderboard in the making. ``outcomes``, ``scores``, ``runs`` and ``metrics``, the columns of the scores,
    are keyed by place.

    ``random``: whether another start makes another student. ``start``: what starts add to the variance of the mean over all
    places, ``starts`` to that of each place; None where it is not known.
    """

    keys: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    runs: Runs = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    random: bool = True
    start: StartVariance | None = NO_START
    starts: dict[str, StartVariance | None] = field(default_factory=dict)

    @property
    def sample(self) -> Sample:
        """The mean over all places, for tests."""
        return Sample(self.outcomes, self.start)

    def sample_at(self, place: str) -> Sample:
        """The score of one place, for tests."""
        return Sample({place: self.outcomes[place]}, self.starts[place])

    @property
    def complete(self) -> bool:
        """Whether every task was done."""
        return 0 < self.values["tasks_done"] == self.values["tasks_total"]


@dataclass(frozen=True)
class Board:
    """A leaderboard with what it was made of: ``rows`` in the order of ``table``, the ranked ones first, and which pairs of
    these differ separably, ``separable`` as of :func:`~foundry_bench.report.statistics.ranks.separable_pairs`."""

    table: pd.DataFrame
    rows: list[Row]
    separable: np.ndarray


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard of a table from :func:`~foundry_bench.report.frame.load_results`, ranked rows first.

    Raises UserError for results of different budgets, which would compare training times and not methods.
    """
    return board_of(frame).table


def board_of(frame: pd.DataFrame) -> Board:
    """As :func:`build`, with the rows and their tests."""
    one_budget(frame)
    evaluated, places = _places(frame)
    rows = rows_of(frame)
    _retain(rows)
    ranked = sorted((row for row in rows if row.complete), key=_order)
    samples = [row.sample for row in ranked]
    separable = separable_pairs(samples)
    for row, rank in zip(ranked, shared_ranks(samples, separable), strict=True):
        row.values["rank"] = rank
    front = pareto([r.values["gmacs"] for r in ranked], [r.values["mean_score"] for r in ranked])
    for row, best in zip(ranked, front, strict=True):
        row.values["pareto"] = best
    others = sorted((r for r in rows if not r.complete), key=lambda r: (-r.values["tasks_done"], *_name(r)))
    ordered = [*ranked, *others]
    return Board(_table(ordered, _score_columns(evaluated, places), costs_of(frame)), ordered, separable)


def one_budget(frame: pd.DataFrame) -> str | None:
    """The budget of a table of cells, None where nothing was trained. Raises UserError for several."""
    budgets = sorted(frame["budget"].dropna().unique())
    if len(budgets) > 1:
        raise UserError(f"these results have different budgets ({', '.join(budgets)}); pass one of them")
    return budgets[0] if budgets else None


def rows_of(frame: pd.DataFrame, kept: str = "") -> list[Row]:
    """The rows of a table of cells with their outcomes, in no order that means anything.

    ``kept``: such as ``/episodes``, takes the outcomes that a task keeps under ``METRIC/episodes`` in place of its own.
    """
    _, places = _places(frame)
    costs = costs_of(frame)
    cells: Cells = frame[list(dict.fromkeys((*USED, *costs)))].to_dict("records")  # type: ignore[assignment]
    rows = [
        _row(dict(zip(KEYS, key, strict=True)), part, places, kept, costs)
        for key, part in cells_by_row(cells)
    ]
    add_starts(rows)
    for row in rows:
        _add_intervals(row)
    return rows


def add_starts(rows: list[Row]) -> None:
    """Find for all rows what their starts add to the variances of their scores; rows of a family tell of each other."""
    family = _families(rows)
    for place in dict.fromkeys(place for row in rows for place in row.runs):
        measured = [row for row in rows if place in row.runs]
        known = [Started({place: row.runs[place]}, family(row), row.random) for row in measured]
        for row, start in zip(measured, start_variances(known), strict=True):
            row.starts[place] = start
    for row, start in zip(
        rows, start_variances([Started(r.runs, family(r), r.random) for r in rows]), strict=True
    ):
        row.start = start


def _families(rows: list[Row]) -> Callable[[Row], str]:
    """The family of a row's method, or its name where it has none; looked up only where one row needs another's starts."""
    counts = [len(values) for row in rows if row.random for values in row.runs.values()]
    mixed = min(counts, default=1) < max(counts, default=1)
    known = families({row.keys["method"] for row in rows}) if mixed else {}
    return lambda row: known.get(row.keys["method"]) or row.keys["method"]


def _places(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The evaluate cells, and the (task, data set) pairs they were run on."""
    evaluated = frame[frame["kind"] == "evaluate"]
    return evaluated, sorted(set(zip(evaluated["task"], evaluated["dataset"], strict=True)))


def cells_by_row(cells: Cells) -> list[tuple[tuple[str, ...], Cells]]:
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


def costs_of(frame: pd.DataFrame) -> list[str]:
    """The columns of costs of a table: those of all tables, and latency in each runtime that was measured in any row."""
    elsewhere = [f"{key}_{name}" for name in runtimes_among(frame.columns) for key in SHOWN]
    place = COSTS.index(SHOWN[-1]) + 1
    return [*COSTS[:place], *elsewhere, *COSTS[place:]]


def _row(
    keys: dict[str, str], part: Cells, places: list[tuple[str, str]], kept: str, costs: list[str]
) -> Row:
    row = Row(keys)
    ok = _grouped((cell for cell in part if cell["status"] == "ok"), itemgetter("kind"))
    by_place = _grouped(ok.get("evaluate", []), itemgetter("task", "dataset"))
    seeds = []
    for place in places:
        if place in by_place:
            _add_score(row, ":".join(place), by_place[place], kept)
            seeds.append(len({cell["seed"] for cell in by_place[place]}))
    profiled, students = ok.get("profile", []), ok.get("student", [])
    row.values.update({key: (_any if key.startswith(NOISY) else _mean)(profiled, key) for key in costs})
    alike = students if _mean(profiled, "r2") is None else profiled
    row.values.update({key: _mean(alike, key) for key in (*FIDELITY, *BY_BAND)})
    row.values["train_s"] = _mean(students, "train_s")
    row.values.update(tasks_done=len(row.scores), tasks_total=len(places), seeds=min(seeds, default=0))
    row.values["mean_score"] = float(np.mean(list(row.scores.values()))) if row.complete else None
    row.runs = _common(row.runs, by_place)
    row.random = _random(row, part)
    return row


def _random(row: Row, part: Cells) -> bool:
    """Whether another start makes another student: as its record says, or its outcomes; older records of untrained students do
    not say."""
    if row.keys["variant"] != OFF_THE_SHELF or any(cell["seeded"] in (True,) for cell in part):
        return True
    return any(not np.array_equal(run, values[0]) for values in row.runs.values() for run in values[1:])


def _add_score(row: Row, place: str, done: Cells, kept: str) -> None:
    """Score, interval and outcomes of one place, over its finished cells of all seeds."""
    higher, metric = bool(done[0]["higher_is_better"]), done[0]["metric"]
    score, outcomes = _mean(done, "score"), _outcomes(done, kept)
    value = float("nan") if score is None else score
    row.values[f"{place}:{metric}"] = value
    row.values[f"{place}:{metric}_ci95"] = _reported_half(done)
    row.values[f"{place}:{metric}_unit"] = " or ".join(sorted({cell["unit"] for cell in done}))
    row.scores[place] = value if higher else 1.0 - value
    row.metrics[place] = f"{place}:{metric}"
    if outcomes is not None:
        row.runs[place] = outcomes if higher else 1.0 - outcomes
        row.outcomes[place] = row.runs[place].mean(axis=0)


def _outcomes(done: Cells, kept: str) -> np.ndarray | None:
    """Outcomes (S, n) of the primary metric, of each start, in one unit for all."""
    loaded = []
    for path, metric in ((cell["outcomes"], cell["metric"]) for cell in done):
        try:
            content = BytesIO(Path(path).read_bytes())
        except (FileNotFoundError, TypeError):  # lost, or none were kept
            return None
        with np.load(content) as arrays:
            name = f"{metric}{kept}" if f"{metric}{kept}" in arrays else metric
            if name not in arrays:
                return None
            loaded.append(np.asarray(arrays[name], dtype=float))
    same = len({values.shape for values in loaded}) == 1 and len({cell["unit"] for cell in done}) == 1
    return np.stack(loaded) if same else None


def _common(runs: Runs, by_place: dict[tuple[str, str], Cells]) -> Runs:
    """The outcomes of the starts that were measured at all places, in one order; the same where all were."""
    seeds = {":".join(place): [cell["seed"] for cell in done] for place, done in by_place.items()}
    if len({tuple(seeds[place]) for place in runs}) <= 1:
        return runs
    shared = sorted(set.intersection(*(set(seeds[place]) for place in runs)))
    if not shared:
        return {place: values[:1] for place, values in runs.items()}
    return {place: values[[seeds[place].index(s) for s in shared]] for place, values in runs.items()}


def _add_intervals(row: Row) -> None:
    """Half widths of the 95 % intervals: of every place whose outcomes are kept, and of the mean score."""
    halves = []
    for place, column in row.metrics.items():
        if len(row.outcomes.get(place, ())) > 1:
            row.values[f"{column}_ci95"] = interval(row.sample_at(place))
        halves.append(row.values[f"{column}_ci95"])
    row.values["provisional"] = any(start is None for start in row.starts.values())
    if not row.complete:
        return
    if row.outcomes.keys() == row.scores.keys():
        row.values["mean_score_ci95"] = interval(row.sample)
    elif all(half is not None for half in halves):
        row.values["mean_score_ci95"] = float(np.linalg.norm(halves)) / len(halves)


def _reported_half(done: Cells) -> float | None:
    """Half of the 95 % interval that the task reported, averaged over the starts."""
    reported = [cell for cell in done if not pd.isna(cell["ci_low"])]
    return _mean([{"half": (cell["ci_high"] - cell["ci_low"]) / 2} for cell in reported], "half")


def _mean(cells: Cells, key: str) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = [cell[key] for cell in cells if not pd.isna(cell[key])]
    return float(np.mean(known)) if known else None


def _any(cells: Cells, key: str) -> bool | None:
    """Whether it is so in any cell that knows, None where none does."""
    known = [bool(cell[key]) for cell in cells if not pd.isna(cell[key])]
    return any(known) if known else None


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
            columns += [f"{task}:{dataset}:{metric}{ending}" for ending in ("", "_ci95", "_unit")]
    return columns


def _table(rows: list[Row], scores: list[str], costs: list[str]) -> pd.DataFrame:
    empty = {"pareto": False, "provisional": False}
    table = pd.DataFrame([{**row.keys, **empty, **row.values} for row in rows])
    table = table.reindex(columns=[*BEFORE, *scores, *SCORE, *costs, *COUNTS])
    whole = ("rank", "seeds", "tasks_done", "tasks_total")
    noisy = [column for column in costs if column.startswith(NOISY)]
    kinds: dict[str, Any] = {
        **dict.fromkeys(whole, "Int64"),
        **dict.fromkeys(empty, bool),
        **dict.fromkeys(noisy, "boolean"),
    }
    return table.astype(kinds)
