"""Two results folders side by side: what went in, with what it was run, and what came out.

Reading it: rows are paired by method, variant and parameters, scores by place (task and data set) too; a change is B - A.
Where both sides scored the same items the interval is that of the mean paired difference, elsewhere Welch's from the
standard errors in the records. Separable is what Holm's procedure rejects over all scores compared. The intervals are over
items: what another training seed would change is not in them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.report.frame import MISSING, load_results
from foundry_bench.report.leaderboard import KEYS, Row, rows_of
from foundry_bench.report.provenance import (
    count,
    differing_environment,
    differing_settings,
    environment_of,
    inputs_of,
    joined,
    mixed_environments,
)
from foundry_bench.report.ranking import holm, mean_difference
from foundry_bench.report.tables import selector
from foundry_bench.sweep.record import Record, ScoreValue, given
from foundry_bench.sweep.store import ORPHAN, Store

SCORES = (
    *("row", "place", "metric", "a", "b", "difference", "ci_low", "ci_high", "p"),
    *("paired", "equal", "separable", "better"),
)
COSTS = ("row", "quantity", "a", "b", "difference", "spread_a", "spread_b", "changed")
QUANTITIES = {
    **{"gmacs": "GMACs", "params_m": "parameters", "latency_ratio": "latency ratio"},
    **{"peak_mem_mb": "memory", "train_s": "training time", "r2": "R2"},
}
"""Costs that are compared, and what they are called in the verdict."""
RELATIVE = {"gmacs": 1e-9, "params_m": 1e-9, "peak_mem_mb": 0.05, "train_s": 0.2}
"""Relative change above which a cost is listed. Multiply-adds and parameters are counted, so that any change is one (what is
below is the rounding of means over seeds). Memory comes in pages and allocator blocks. Training times of students that came
out bit-equal in two sweeps of one machine differed by up to 15 %."""
R2_STEP = 0.005
"""Change of R2 above which it is listed: what two digits show."""
Key = tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What differs between the folders A and B.

    ``verdict`` is one sentence; ``about`` says what A and B are; ``settings`` are sentences; ``environment`` holds what
    differs (item, a, b); ``mixed`` are sentences about folders with several environments. ``scores`` (columns ``SCORES``,
    values in [0, 1]; ``better`` is about B and means something where ``separable``) and ``costs`` (``COSTS``) hold all that
    was compared. ``only_a`` and ``only_b`` are rows, ``statuses`` cells that ended in another way (cell, a, b, message).
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


@dataclass(frozen=True)
class _Side:
    """One folder: its cells, their records by id, its rows, the evaluate records of each row and place, and the
    interquartile range of each row's latency ratio."""

    folder: Path
    frame: pd.DataFrame
    records: dict[str, Record]
    rows: list[Row]
    evaluated: dict[tuple[Key, str], list[Record]]
    spreads: dict[Key, float]

    @property
    def about(self) -> str:
        times = sorted(filter(None, (r["environment"].get("start") for r in self.records.values())))
        when = f", {_minute(times[0])} to {_minute(times[-1])} UTC" if times else ""
        return f"{self.folder}: {len(self.rows)} rows, {len(self.records)} of {len(self.frame)} cells{when}"


def compare(a: Path, b: Path) -> Comparison:
    """Compare two results folders. Raises UserError for a folder without results and for two without a row in common."""
    sides = _load(a), _load(b)
    pairs = _pairs(*sides)
    if not pairs:
        raise UserError(f"{a} and {b} have no row in common; run one of them with the --methods of the other")
    scores, costs, statuses = _scores(*sides, pairs), _costs(*sides, pairs), _statuses(*sides)
    settings = differing_settings(*(inputs_of(side.records.values()) for side in sides))
    first, second = (environment_of(side.records.values()) for side in sides)
    mixed = [*mixed_environments("A", first), *mixed_environments("B", second)]
    common = {id(row) for pair in pairs for row in pair}
    only_a, only_b = (sorted(selector(r.keys) for r in side.rows if id(r) not in common) for side in sides)
    about = sides[0].about, sides[1].about
    environment = differing_environment(first, second)
    found = Comparison(*("", about, settings, environment, mixed, scores, costs, only_a, only_b, statuses))
    same = a.resolve() == b.resolve()
    verdict = "nothing changed: A and B are the same folder" if same else _verdict(found, len(pairs))
    return replace(found, verdict=verdict)


def _verdict(found: Comparison, rows: int) -> str:
    """One sentence: what came out otherwise, and what may be the reason."""
    outcome = _outcome(found.scores, found.costs, rows)
    if len(found.statuses):
        outcome.append(f"{count(len(found.statuses), 'cell')} ended in another way")
    environment = found.environment.to_dict("records")
    causes = [*found.settings, *(f"{item['item']} {item['a']} -> {item['b']}" for item in environment)]
    if not outcome and not causes and not found.only_a and not found.only_b:
        return f"nothing changed in {count(rows, 'row')} and {count(len(found.scores), 'score')}"
    if not causes:
        cause = "settings and environment are the same"
    elif len(causes) <= 3:
        cause = f"nothing but {joined(causes)} differs"
    else:
        cause = f"{len(causes)} settings and parts of the environment differ"
    return "; ".join([*(outcome or [f"no score and no cost changed in {count(rows, 'common row')}"]), cause])


def _outcome(scores: pd.DataFrame, costs: pd.DataFrame, rows: int) -> list[str]:
    """What came out otherwise; nothing where nothing did."""
    separable = scores[scores["separable"]]
    found = []
    if len(separable):
        worse = separable.loc[~separable["better"], "row"].nunique()
        many = separable["row"].nunique()
        found.append(f"{many} of {rows} rows changed their score separably, {worse} got worse")
    elif not scores["equal"].all():
        found.append(f"none of {rows} rows changed its score separably")
    counts = costs.loc[costs["changed"], "quantity"].value_counts(sort=False)
    if len(counts):
        found.append(f"{joined([f'{QUANTITIES[name]} of {n}' for name, n in counts.items()])} rows changed")
    return found


def _load(folder: Path) -> _Side:
    frame = load_results(folder)
    store = Store(folder)
    found = (
        (cell, store.read(kind, cell)) for kind, cell in zip(frame["kind"], frame["cell_id"], strict=True)
    )
    records = {cell: record for cell, record in found if record is not None}
    frame.loc[~frame["cell_id"].isin(records), "status"] = MISSING  # replaced or removed a moment ago
    evaluated: dict[tuple[Key, str], list[Record]] = {}
    spreads: dict[Key, list[float]] = {}
    for cell in frame[frame["status"] == "ok"].to_dict("records"):
        keys = tuple(str(cell[name]) for name in KEYS)
        if cell["kind"] == "evaluate":
            evaluated.setdefault((keys, f"{cell['task']}:{cell['dataset']}"), []).append(
                records[cell["cell_id"]]
            )
        elif cell["kind"] == "profile" and pd.notna(cell["latency_ratio_iqr"]):
            spreads.setdefault(keys, []).append(cell["latency_ratio_iqr"])
    means = {keys: float(np.mean(values)) for keys, values in spreads.items()}
    return _Side(folder, frame, records, rows_of(frame), evaluated, means)


def _keys(row: Row) -> Key:
    return tuple(row.keys[name] for name in KEYS)


def _pairs(a: _Side, b: _Side) -> list[tuple[Row, Row]]:
    """Rows of the same method, variant and parameters; of the same teacher too where a folder has several.

    A parameter that only one side knows was added between two versions. Where what is shown of the parameters agrees, it
    is at its default, and the rows belong together.
    """
    several = any(side.frame["teacher_sha256"].nunique() > 1 for side in (a, b))
    names = ("method", "variant", *(("teacher", "teacher_sha256") if several else ()))

    def keyed(rows: Iterable[Row], by: str) -> dict[Key, Row]:
        return {tuple(row.keys[name] for name in (*names, by)): row for row in rows}

    first, second = keyed(a.rows, "parameters"), keyed(b.rows, "parameters")
    pairs = [(row, second[key]) for key, row in first.items() if key in second]
    shown = keyed((row for key, row in second.items() if key not in first), "params")
    for key, row in keyed((row for key, row in first.items() if key not in second), "params").items():
        if key in shown and _agree(*(json.loads(r.keys["parameters"]) for r in (row, shown[key]))):
            pairs.append((row, shown[key]))
    return pairs


def _agree(a: dict[str, Any] | None, b: dict[str, Any] | None) -> bool:
    """Whether two sets of fields have the same values in the fields that both have."""
    a, b = a or {}, b or {}
    return all(a[name] == b[name] for name in a.keys() & b.keys())


def _scores(a: _Side, b: _Side, pairs: list[tuple[Row, Row]]) -> pd.DataFrame:
    """Every score that both sides have, separable changes for the worse first."""
    found = []
    for first, second in pairs:
        for place in sorted(first.scores.keys() & second.scores.keys()):
            seen = a.evaluated[_keys(first), place], b.evaluated[_keys(second), place]
            if _primary(seen[0][0])["metric"] == _primary(seen[1][0])["metric"]:
                found.append(
                    {"row": selector(second.keys), "place": place, **_score(place, first, second, *seen)}
                )
    table = pd.DataFrame(found, columns=list(SCORES))
    tested = table["p"].notna()
    table["separable"] = False
    table.loc[tested, "separable"] = holm(list(table.loc[tested, "p"]))
    table = table.astype(dict.fromkeys(("paired", "equal", "separable", "better"), bool))
    order = table.assign(
        late=~table["separable"], good=table["separable"] & table["better"], size=-table["difference"].abs()
    ).sort_values(["late", "good", "size", "row", "place"])
    return table.loc[order.index].reset_index(drop=True)


def _score(place: str, first: Row, second: Row, a: list[Record], b: list[Record]) -> dict[str, Any]:
    """The change of one score; a, b: the records of its seeds."""
    about = _primary(a[0])
    values = [float(np.mean([_number(_primary(record)["value"]) for record in side])) for side in (a, b)]
    outcomes = [{place: row.outcomes[place]} for row in (first, second) if place in row.outcomes]
    equal, paired, half, p = values[0] == values[1], False, math.nan, math.nan
    if len(outcomes) == 2 and _same_items(a[0], b[0]):
        mean, half, p = mean_difference(outcomes[1], outcomes[0])
        paired = math.isfinite(mean)
        equal = equal and not (paired and np.any(outcomes[0][place] != outcomes[1][place]))
    if not paired:
        half, p = _welch(values[1] - values[0], *map(_uncertainty, (a, b)))
    change = values[1] - values[0]
    return {
        **{"metric": about["metric"], "a": values[0], "b": values[1], "difference": change, "p": p},
        **{"ci_low": change - half, "ci_high": change + half, "paired": paired, "equal": equal},
        "better": (change > 0) == about["higher_is_better"],
    }


def _primary(record: Record) -> ScoreValue:
    return next(value for value in given(record["scores"])["values"] if value["primary"])


def _same_items(a: Record, b: Record) -> bool:
    """Whether two records scored the same items: same task version, data and protocol.

    The budget decides how a head is trained and not on what it is scored. A field that only one protocol has was added
    between two versions of the program; it is at its default, for the place would name it otherwise.
    """
    first, second = a["inputs"], b["inputs"]
    protocols = [
        {k: v for k, v in given(side["protocol"]).items() if k != "budget"} for side in (first, second)
    ]
    return (
        given(first["task"])["version"] == given(second["task"])["version"]
        and given(first["dataset"])["sha256"] == given(second["dataset"])["sha256"]
        and _agree(*protocols)
    )


def _uncertainty(records: list[Record]) -> tuple[float, int]:
    """Standard error, nan where a record has none, and number of items. Seeds saw the same items, so they do not narrow it."""
    scores = [_primary(record) for record in records]
    return float(np.mean([_number(score["stderr"]) for score in scores])), min(score["n"] for score in scores)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _welch(change: float, a: tuple[float, int], b: tuple[float, int]) -> tuple[float, float]:
    """Half width of the 95 % interval of a difference of independent means, and p; a, b: standard error and n."""
    variances = [error**2 for error, _ in (a, b)]
    total = sum(variances)
    if not math.isfinite(total) or min(a[1], b[1]) < 2:
        return math.nan, math.nan
    if total < 1e-18:
        return 0.0, 1.0 if math.isclose(change, 0.0, abs_tol=1e-12) else 0.0
    degrees = total**2 / sum(v**2 / (n - 1) for v, (_, n) in zip(variances, (a, b), strict=True))
    error = math.sqrt(total)
    return float(stats.t.ppf(0.975, degrees)) * error, float(2 * stats.t.sf(abs(change) / error, degrees))


def _costs(a: _Side, b: _Side, pairs: list[tuple[Row, Row]]) -> pd.DataFrame:
    """Every cost that both sides measured, and whether it changed by more than its threshold."""
    found = []
    for first, second in pairs:
        for quantity in QUANTITIES:
            x, y = first.values[quantity], second.values[quantity]
            if x is None or y is None:
                continue
            spreads = [math.nan, math.nan]
            limit = R2_STEP if quantity == "r2" else RELATIVE.get(quantity, 0.0) * abs(x)
            if quantity == "latency_ratio":
                spreads = [a.spreads.get(_keys(first), math.nan), b.spreads.get(_keys(second), math.nan)]
                limit = sum(spreads) / 2
            values = (selector(second.keys), quantity, x, y, y - x, *spreads, abs(y - x) > limit)
            found.append(dict(zip(COSTS, values, strict=True)))
    return pd.DataFrame(found, columns=list(COSTS)).astype({"changed": bool})


def _statuses(a: _Side, b: _Side) -> pd.DataFrame:
    """Cells that both folders ran and that ended in different ways, without those whose student had failed already."""
    ends: list[dict[str, dict[Any, Any]]] = []
    for side in (a, b):
        cells = side.frame[(side.frame["stage"] != ORPHAN) & (side.frame["status"] != MISSING)]
        ends.append({_cell(cell): cell for cell in cells.to_dict("records")})
    found = []
    for name in ends[0].keys() & ends[1].keys():
        first, second = ends[0][name], ends[1][name]
        if first["status"] != second["status"]:
            said = [end["message"] for end in (first, second) if isinstance(end["message"], str)]
            found.append((name, first["status"], second["status"], "; ".join(said)))
    return pd.DataFrame(sorted(found), columns=["cell", "a", "b", "message"])


def _cell(cell: dict[Any, Any]) -> str:
    place = f" on {cell['task']}:{cell['dataset']}" if cell["kind"] == "evaluate" else ""
    seed = f" seed {int(cell['seed'])}" if pd.notna(cell["seed"]) and cell["seed"] else ""
    return f"{cell['kind']} {selector(cell)}{seed}{place}"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
