"""Records as one pandas table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from foundry_bench.errors import UserError
from foundry_bench.runtimes.columns import columns_of, figures_elsewhere, runtimes_among
from foundry_bench.sweep import index, snapshot
from foundry_bench.sweep.plan import Cell, task_text
from foundry_bench.sweep.record import Cost, Entry, Fidelity, ScoresBlock, unit_of
from foundry_bench.sweep.store import FINISHED, IGNORED, Store

COST = (
    "gmacs",
    "gmacs_p95",
    "gmacs_flop_counter",
    "gmacs_tokenizer",
    "gmacs_encoder",
    "gmacs_decoder",
    "gmacs_ratio",
    "gflops",
    "params_m",
    "nonzero_m",
    "latency_ms",
    "latency_ratio",
    "latency_ratio_iqr",
    "latency_total_ratio",
    "latency_cpu_ratio",
    "latency_control_ratio",
    "noisy",
    "peak_mem_mb",
    "disk_mb",
)
BANDS = {1: "pc1_4", 5: "pc5_16", 17: "pc17_64", 65: "pc65_up"}
"""First principal component of a band of the teacher's tokens -> the end of its columns' names."""
FIDELITY = ("r2", "r2_linear", "r2_within")
BY_BAND = tuple(f"{key}_{name}" for key in FIDELITY[1:] for name in BANDS.values())
IDENTITY = ("cell_id", "kind", "status", "attempt", "stage", "error_type", "message", "traceback_file")
COLUMNS = (
    *IDENTITY,
    *("teacher", "teacher_sha256", "method", "variant", "params", "parameters", "seed", "budget", "student"),
    *(
        "task",
        "dataset",
        "split",
        "metric",
        "score",
        "n",
        "unit",
        "ci_low",
        "ci_high",
        "higher_is_better",
        "outcomes",
    ),
    *(*FIDELITY, *BY_BAND, "seeded", "steps", "samples", "train_s", *COST, "seconds"),
)
MISSING = "missing"
"""Status of a planned cell that has no record yet."""


def load_results(folder: str | Path) -> pd.DataFrame:
    """One row per cell of the folder's last plan, with the columns ``COLUMNS``, and then figures of other runtimes than
    PyTorch.

    ``metric`` and ``score`` are the task's primary metric; ``outcomes`` is the path of the per-item outcomes.
    ``split`` says how a folder was divided that says nothing of it.
    ``unit`` says what ``n`` counts and the interval is over. ``seeded``, of a student: whether another seed makes another.
    ``params`` is the short form that tables show, ``parameters`` the canonical JSON of all of them.
    Raises UserError where there are no results.
    """
    store = Store(Path(folder))
    content = snapshot.read(store)
    recorded = index.load(store)
    if not recorded and store.warnings:
        more = f", and {len(store.warnings) - 1} more" if len(store.warnings) > 1 else ""
        first = store.warnings[0].removesuffix(IGNORED)
        raise UserError(f"no record of {folder} can be used: {first}{more}; run its sweep again")
    cells = snapshot.cells_of(content) if content is not None else _cells(recorded, store)
    rows = [_row(cell, recorded.get(cell.id), store) for cell in cells]
    if not rows:
        raise UserError(f"{folder} holds no results; make some with 'foundry-bench run --out {folder}'")
    return pd.DataFrame(rows, columns=_columns(name for row in rows for name in row))


def with_runtimes(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """A table of cells with empty columns for further runtimes."""
    added = frame.reindex(columns=_columns([*frame.columns, *columns_of(names)]))
    return added.astype(dict.fromkeys(columns_of(names), object))


def _columns(found: Iterable[str]) -> list[str]:
    """The columns that all tables have, and then those of each runtime that something ``found`` was measured in."""
    return [*COLUMNS, *columns_of(runtimes_among(found))]


def load_together(folders: Sequence[str | Path]) -> pd.DataFrame:
    """The rows of several folders; a cell that several hold counts once, by a record that is finished where there is one.

    Raises UserError as :func:`load_results` does.
    """
    frame = pd.concat([load_results(folder) for folder in folders], ignore_index=True)
    frame = frame.reindex(columns=_columns(frame.columns))
    first = (~frame["status"].isin(FINISHED)).sort_values(kind="stable").index
    counted = frame.loc[first].drop_duplicates("cell_id").index
    return frame.loc[counted.sort_values()].reset_index(drop=True)


def _cells(recorded: index.Entries, store: Store) -> list[Cell]:
    """The cells of a folder without a plan, from their records."""
    found = []
    for cell_id, entry in recorded.items():
        record = store.read(entry["identity"]["kind"], cell_id)
        if record is not None:
            inputs = record["inputs"]
            found.append(Cell(entry["identity"]["kind"], inputs, inputs.get("student"), id=cell_id))
    return found


def _row(cell: Cell, record: Entry | None, store: Store) -> dict[str, Any]:
    """One row from the short record of a cell."""
    inputs = cell.inputs
    row: dict[str, Any] = {
        "cell_id": cell.id,
        "kind": cell.kind,
        "status": MISSING,
        "teacher": inputs["teacher"]["name"],
        "teacher_sha256": inputs["teacher"]["sha256"],
        "method": inputs["method"]["name"],
        "variant": inputs["variant"] or "",
        "params": inputs["shown"],
        "parameters": json.dumps(inputs["params"], sort_keys=True),
        "seed": inputs["seed"],
        "budget": inputs["budget"] and inputs["budget"]["name"],
        "student": cell.parent,
        "task": task_text(inputs["task"]) if inputs["task"] else None,
        "dataset": inputs["dataset"] and inputs["dataset"]["name"],
        "split": inputs["dataset"] and inputs["dataset"].get("split"),
    }
    if record is None:
        return row
    row.update({key: value for key, value in record["identity"].items() if key in IDENTITY})
    row["seconds"] = record["environment"]["seconds"]
    row.update(_measured(record, store))
    return row


def _measured(record: Entry, store: Store) -> dict[str, Any]:
    """The numbers of a record: fidelity, cost and the primary score."""
    fidelity, scores = record["fidelity"], record["scores"]
    cost: Cost = record["cost"] or {}
    trained: dict[str, float | None] = {
        **(_fidelity(fidelity) if fidelity else {}),
        "steps": fidelity and fidelity.get("steps"),
        "samples": fidelity and fidelity.get("samples"),
        "train_s": fidelity and fidelity.get("seconds"),
    }
    row: dict[str, Any] = {**{key: cost.get(key) for key in COST}, **figures_elsewhere(cost), **trained}
    row["seeded"] = fidelity and fidelity.get("seeded")
    if scores is not None:
        row.update(_scored(scores))
        if scores["outcomes_file"]:
            folder = store.record_path(record["identity"]["kind"], record["identity"]["cell_id"]).parent
            row["outcomes"] = str(folder / scores["outcomes_file"])
    return row


def _fidelity(fidelity: Fidelity) -> dict[str, float | None]:
    """R2 of all kinds, as far as it was measured."""
    row = {
        "r2": fidelity["r2"],
        "r2_linear": fidelity.get("r2_linear"),
        "r2_within": fidelity.get("r2_within"),
    }
    for band in fidelity.get("bands", []):
        name = BANDS.get(band["first"])
        if name is not None:
            row.update({f"r2_linear_{name}": band["r2_linear"], f"r2_within_{name}": band["r2_within"]})
    return row


def _scored(scores: ScoresBlock) -> dict[str, Any]:
    """The primary score, nothing where a task has none."""
    for value in scores["values"]:
        if value["primary"]:
            return {
                "metric": value["metric"],
                "score": value["value"],
                "n": value["n"],
                "unit": unit_of(value),
                "ci_low": value["ci_low"],
                "ci_high": value["ci_high"],
                "higher_is_better": value["higher_is_better"],
            }
    return {}
