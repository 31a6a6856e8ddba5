"""What every tracker is told, in words of no particular one: rows, their parameters, numbers and failures.

A row is a line of the leaderboard for one seed: method, variant, parameters and seed. Names of metrics group at ``/``, as
the pages of all three tools do: ``r2``, ``curve/loss``, ``fewshot/kicad/acc_5w10s``, ``cost/gmacs``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from foundry_bench.runtimes.columns import flat
from foundry_bench.selectors import record_selector
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import EVALUATE, STUDENT, Cell, task_text
from foundry_bench.sweep.record import Inputs, Record, given
from foundry_bench.sweep.store import FINISHED

PRIVATE = ("data_root", "track")
"""Keys of a sweep that say where things lie on this machine, or hold addresses with passwords."""
SETTINGS = ("batch", "clouds", "clock_mhz", "pairs", "threads")
"""Numbers of a record's cost block that say how it was measured."""
_FOLDERS = re.compile(r"(?<![\w.\-/\\\]])(?:~|[A-Za-z]:)?[/\\](?:[^\s,=\[\]'\"]*[/\\])?")
"""The folders of an absolute path, which often hold a user's name."""


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard for one seed.

    ``id`` stays the same when a sweep is resumed. ``name`` is unique in the sweep. ``config`` are flat scalars.
    ``cells`` are the ids of the student and of everything measured on it.
    """

    id: str
    name: str
    config: dict[str, Any]
    cells: tuple[str, ...]


def rows_of(cells: list[Cell]) -> list[Row]:
    """The rows of a plan. A student that nothing is measured on, such as a broken plugin's, is a row of its own."""
    students = {cell.id: cell for cell in cells if cell.kind == STUDENT}
    used = {cell.parent for cell in cells}
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.kind != STUDENT or cell.id not in used:
            groups.setdefault(_row_id(cell), []).append(cell)
    rows = []
    for row_id, members in groups.items():
        parents = sorted({cell.parent for cell in members if cell.parent in students} - {None})
        ids = [parent for parent in parents if parent] if members[0].kind != STUDENT else []
        rows.append(_row(row_id, members[0].inputs, (*ids, *(cell.id for cell in members))))
    repeated = {name for name, count in Counter(row.name for row in rows).items() if count > 1}
    return [replace(r, name=f"{r.name} {r.id[:6]}") if r.name in repeated else r for r in rows]


def _row_id(cell: Cell) -> str:
    student = cell.id if cell.kind == STUDENT else cell.parent
    text = json.dumps([student, cell.inputs["params"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(row_id: str, inputs: Inputs, cells: tuple[str, ...]) -> Row:
    method = inputs["method"]
    seed = f" seed {inputs['seed']}" if inputs["seed"] else ""
    config = {
        "method": method["name"],
        "method_version": method["version"],
        "variant": inputs["variant"],
        "seed": inputs["seed"],
        "teacher": inputs["teacher"]["name"],
        "teacher_sha256": inputs["teacher"]["sha256"][:12],
        **{f"params.{key}": value for key, value in (inputs["params"] or {}).items()},
    }
    known = {key: _scalar(value) for key, value in config.items() if value is not None}
    name = public(record_selector(inputs))
    return Row(row_id, name + seed, known, cells)


def _scalar(value: object) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float) else public(str(value))


def sweep_config(config: SweepConfig) -> dict[str, Any]:
    """The resolved sweep as flat scalars and texts, without what belongs to this machine."""
    from importlib.metadata import version

    plain = {key: value for key, value in config.to_plain().items() if key not in PRIVATE}
    plain["foundry_bench"] = version("foundry-bench")
    flat = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            value = json.dumps(value)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value is not None and value != "":
            flat[key] = _scalar(value)
    return flat


def metrics(record: Record) -> dict[str, float]:
    """The final numbers of one record; what was not measured is left out."""
    inputs, fidelity, scores = record["inputs"], record["fidelity"], record["scores"]
    trained: dict[str, float | None] = {
        "r2": fidelity and fidelity["r2"],
        "r2_linear": fidelity and fidelity.get("r2_linear"),
        "r2_within": fidelity and fidelity.get("r2_within"),
        "train_s": fidelity and fidelity.get("seconds"),
    }
    found: dict[str, Any] = {**trained}
    found.update({f"cost/{k}": v for k, v in flat(record["cost"] or {}).items() if k not in SETTINGS})
    if record["identity"]["kind"] == EVALUATE and scores is not None:
        place = f"{public(task_text(given(inputs['task'])))}/{public(given(inputs['dataset'])['name'])}"
        for score in scores["values"]:
            name = _plain_name(f"{place}/{score['metric']}")
            found[name] = score["value"]
            found.update({f"{name}_ci_low": score["ci_low"], f"{name}_ci_high": score["ci_high"]})
    return {name: float(value) for name, value in found.items() if _finite(value)}


def curve(record: Record) -> list[tuple[int, dict[str, float]]]:
    """The training curve of one record: steps, and ``curve/loss`` and ``curve/r2`` there."""
    fidelity = record["fidelity"]
    points = fidelity.get("curve", []) if fidelity else []
    return [
        (int(p["step"]), {f"curve/{k}": float(v) for k, v in p.items() if k != "step" and _finite(v)})
        for p in points
    ]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain_name(text: str) -> str:
    """A name with the characters that all three tools take; ``[mode=finetune]`` becomes ``.mode-finetune``."""
    return re.sub(r"[^\w./-]+", "-", text.replace("[", ".").replace("]", ""))


def ended(record: Record) -> float:
    """When the cell ended, in seconds since 1970: the same however often it is asked."""
    end = record["environment"].get("end")
    return datetime.fromisoformat(end).astimezone(timezone.utc).timestamp() if end else 0.0


def failure(records: list[Record]) -> str | None:
    """One line about the first of these records that failed, None where all came to their end."""
    for about in (record["identity"] for record in records):
        if about["status"] not in FINISHED:
            lines = str(about["message"] or "").strip().splitlines() or [""]
            return public(f"{about['status']} in {about['kind']}: {lines[0]}")[:500]
    return None


def public(text: str) -> str:
    """``text`` with the folders of absolute paths cut off: they tell a user's name and are of no use elsewhere."""
    return _FOLDERS.sub("", text)
