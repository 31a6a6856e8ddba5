"""Which row to deploy: the cheapest that surely keeps so much of its teacher, and why the cheaper ones do not.

*Kept* is a row's mean score over all places (task and data set) as a share of its teacher's. Its lower bound is the lower end
of the 95 % interval, paired over the clusters of objects that both share and with what the row's starts add: that of
``row - kept * teacher``, by the delta method. A row with one start whose family tells nothing of starts has no such bound. The
bound is one row's: the best of many rows that keep about as much as is asked for is chosen with some luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.report.leaderboard import KEYS, Row, one_budget, rows_of
from foundry_bench.report.statistics.paired import Sample, interval
from foundry_bench.report.tables import selector
from foundry_bench.variants import BASELINE

COSTS = ("macs", "latency", "mb")
"""The limits of :class:`Wish`."""


@dataclass(frozen=True)
class Wish:
    """What a row must do: ``keep`` and ``worst`` as shares of the teacher's scores, and at most so much of each cost.

    ``macs`` is a share of the teacher's multiply-adds, ``latency`` milliseconds of a cloud at batch 1 on the machine that
    measured it, ``mb`` megabytes on disk.
    """

    keep: float = 0.99
    worst: float = 0.97
    macs: float | None = None
    latency: float | None = None
    mb: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A row beside its teacher. ``lower``: the bound of ``kept``, None where there is none. ``worst``: the place that keeps
    least, and how much. ``against``: what speaks against it, nothing if it can be chosen."""

    selector: str
    keys: dict[str, str]
    costs: dict[str, float | None]
    kept: float | None = None
    lower: float | None = None
    worst: tuple[str, float] | None = None
    against: tuple[str, ...] = ()


def candidates(frame: pd.DataFrame, wish: Wish, tasks: Sequence[str] = ()) -> list[Candidate]:
    """All rows but the teacher of a table from :func:`~foundry_bench.report.frame.load_results`, the cheapest first.

    Cheapest is least of the first cost that ``wish`` limits, of multiply-adds where it limits none. ``tasks``: names of tasks,
    or ``TASK:DATASET``, that alone count. Raises UserError for an unknown one, several teachers or budgets, or none.
    """
    frame = _only(frame, tasks)
    one_budget(frame)
    disk = frame[frame["kind"] == "profile"].groupby(list(KEYS))["disk_mb"].mean().dropna().to_dict()
    return judged(rows_of(frame), wish, disk)


def judged(rows: Sequence[Row], wish: Wish, disk: dict[Any, float]) -> list[Candidate]:
    """As :func:`candidates`, of ``rows`` with the teacher's among them; ``disk``: megabytes by the values of ``KEYS``."""
    teachers = [row for row in rows if row.keys["method"] == BASELINE and row.complete]
    if len({row.keys["teacher_sha256"] for row in rows}) > 1 or len(teachers) != 1:
        raise UserError(
            "to choose, results need one teacher whose own row did every task; run it with --methods teacher"
        )
    by = next((name for name in COSTS if getattr(wish, name) is not None), "macs")
    found = [_judged(row, teachers[0], wish, disk) for row in rows if row is not teachers[0]]
    return sorted(
        found, key=lambda c: (c.costs[by] is None, c.costs[by] or 0.0, -(c.kept or 0.0), c.selector)
    )


def _only(frame: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    evaluated = frame["kind"] == "evaluate"
    known = sorted(set(frame[evaluated]["task"]) | set(_places(frame[evaluated])))
    for task in tasks:
        if task not in known:
            raise UserError(f"no task {task!r} in these results; there are: {', '.join(known)}")
    if not tasks:
        return frame
    places = pd.Series(_places(frame), index=frame.index)
    return frame[~evaluated | frame["task"].isin(tasks) | places.isin(tasks)]


def _places(frame: pd.DataFrame) -> list[str]:
    return [f"{task}:{data}" for task, data in zip(frame["task"], frame["dataset"], strict=True)]


def _judged(row: Row, teacher: Row, wish: Wish, disk: dict[Any, float]) -> Candidate:
    megabytes = disk.get(tuple(row.keys[key] for key in KEYS))
    costs = dict(
        zip(COSTS, (row.values.get("gmacs_ratio"), row.values.get("latency_ms"), megabytes), strict=True)
    )
    told = Candidate(selector(row.keys), row.keys, costs)
    if row.complete:
        told = _beside(told, row, teacher)
    return replace(told, against=tuple(_against(told, row, wish)))


def _beside(told: Candidate, row: Row, teacher: Row) -> Candidate:
    """With what it keeps of the teacher."""
    kept = row.values["mean_score"] / teacher.values["mean_score"]
    shares = {place: score / teacher.scores[place] for place, score in row.scores.items()}
    worst = min(shares.items(), key=lambda share: share[1])
    lower = None
    alike = row.outcomes.keys() == teacher.outcomes.keys() == row.scores.keys() and all(
        len(values) == len(teacher.outcomes[place]) > 1 for place, values in row.outcomes.items()
    )
    if alike and row.start is not None:
        gaps = {place: values - kept * teacher.outcomes[place] for place, values in row.outcomes.items()}
        lower = kept - interval(Sample(gaps, row.start)) / teacher.values["mean_score"]
    return replace(told, kept=kept, lower=lower, worst=worst)


def _against(told: Candidate, row: Row, wish: Wish) -> Iterator[str]:
    if told.kept is None or told.worst is None:
        yield f"did {row.values['tasks_done']} of {row.values['tasks_total']} tasks"
        return
    if told.lower is None:
        yield (
            "one start tells no lower bound: run with --seeds 3"
            if row.start is None
            else "its outcomes are lost"
        )
    elif told.lower < wish.keep:
        yield f"keeps {100 * told.kept:.1f}, surely {100 * told.lower:.1f}"
    place, share = told.worst
    if share < wish.worst:
        yield f"{place} keeps {100 * share:.1f}"
    for name, cost in told.costs.items():
        limit = getattr(wish, name)
        if limit is not None and cost is None:
            yield f"{name} not measured"
        elif limit is not None and cost > limit:
            yield f"{name} {cost:.3g}"
