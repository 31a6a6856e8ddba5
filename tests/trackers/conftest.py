"""A part of the reference sweep in a temporary folder, and the trackers as an installed distribution."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import Cell, Plan
from foundry_bench.sweep.store import KINDS, Store
from foundry_bench.trackers import Row, Session, Sweep, Tracker, Trackers
from foundry_bench.trackers.rows import rows_of

REFERENCE = Path(__file__).parents[1] / "golden" / "pipeline-2"
METHODS = (("tome", "fmd"), ("kd", "fmd"))
"""Four rows that share a student, and four with their own."""
CONFIG = SweepConfig(methods=("tome+fmd", "kd+fmd"), tasks=("fewshot",), data_root="/home/somebody/data")
ENTRY_POINTS = """
[foundry_bench.trackers]
mlflow = foundry_bench.trackers.mlflow:MLflow
tensorboard = foundry_bench.trackers.tensorboard:TensorBoard
wandb = foundry_bench.trackers.wandb:WeightsAndBiases
"""


@dataclass
class Results:
    """A results folder with its plan and leaderboard, and what trackers warned of."""

    store: Store
    plan: Plan
    board: pd.DataFrame
    warnings: list[str]

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind, in the order of the plan."""
        found = [self.store.read(cell.kind, cell.id) for cell in self.plan.cells if cell.kind == kind]
        return [record for record in found if record is not None]

    @property
    def rows(self) -> list[Row]:
        """The rows of the plan."""
        return rows_of(self.plan.cells)

    def trackers(self, patience: float = 30.0, **trackers: Tracker) -> Trackers:
        """Opened trackers, by name."""
        guard = Trackers(dict(trackers), self.warnings.append, patience)
        guard.open(self.plan, self.store)
        return guard

    def log(self, **trackers: Tracker) -> None:
        """What a run does in which all is recorded already."""
        self.trackers(**trackers).close(self.board)

    def forget(self) -> None:
        """What a crash leaves between showing a cell and remembering it: the same sweep, and no cell known."""
        file = self.store.cache / "trackers.json"
        content = json.loads(file.read_text())
        for page in content["pages"].values():
            page.update(logged={}, state={})
        file.write_text(json.dumps(content))

    def fail(self, index: int, message: str) -> Cell:
        """Turn the record of one evaluate cell into a failed one, as if it had been so from the start."""
        cell = [cell for cell in self.plan.cells if cell.kind == "evaluate"][index]
        record = self.store.read(cell.kind, cell.id)
        assert record is not None
        record["identity"].update(status="failed", error_type="ValueError", message=message, stage="evaluate")
        self.store.write({**record, "scores": None})
        return cell

    def mend(self, cell: Cell) -> dict[str, Any]:
        """Put the committed record back as the second attempt of a cell."""
        record = next(record for other, record in committed() if other.id == cell.id)
        record["identity"]["attempt"] = 2
        write(self.store, cell, record)
        return record


def committed() -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Cells and records of METHODS in the committed sweep, of whatever version, as this version would name them."""
    names: dict[str | None, str | None] = {None: None}
    for kind in KINDS:
        for path in sorted((REFERENCE / "cells" / kind).glob("*.json")):
            record = json.loads(path.read_text())
            inputs = record["inputs"]
            if (inputs["method"]["name"], inputs["variant"]) in METHODS:
                if "student" in inputs:
                    inputs["student"] = names[inputs["student"]]
                cell = Cell(kind, inputs, inputs.get("student"))
                record["identity"]["cell_id"] = names[path.stem] = cell.id
                yield cell, record


def write(store: Store, cell: Cell, record: dict[str, Any]) -> None:
    """Write a record as this version does, with its outcomes."""
    if record["scores"]:
        source = REFERENCE / "cells" / cell.kind / record["scores"]["outcomes_file"]
        outcomes = store.beside(cell.kind, cell.id, ".npz")
        outcomes.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, outcomes)
        digest = hashlib.sha256(outcomes.read_bytes()).hexdigest()
        record = {
            **record,
            "scores": {**record["scores"], "outcomes_file": outcomes.name, "outcomes_sha256": digest},
        }
    store.write(record)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cell]]:
    """The results folder that every test gets a copy of, and its cells."""
    store = Store(tmp_path_factory.mktemp("template") / "fewshot-quick")
    records = dict(committed())
    for cell, record in records.items():
        write(store, cell, record)
    store.claim(CONFIG)
    return store.folder, list(records)


@pytest.fixture
def results(template: tuple[Path, list[Cell]], tmp_path: Path) -> Results:
    """Two methods of the committed reference sweep."""
    folder, cells = template
    store = Store(Path(shutil.copytree(folder, tmp_path / folder.name)))
    board = pd.read_csv(REFERENCE / "leaderboard.csv")
    chosen = board[board["method"].isin([name for name, _ in METHODS]) & (board["variant"] == "fmd")]
    return Results(store, Plan(CONFIG, cells), chosen, [])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in trackers, also where the installed distribution does not name them yet."""
    info = tmp_path / "site" / "fake_trackers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-trackers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(info.parent))


@dataclass(frozen=True)
class Fake(Tracker):
    """Writes what it is told to ``file`` and does ``trouble`` when it is called ``at``."""

    file: Path
    at: str = ""
    trouble: Callable[[], None] = lambda: None

    def open(self, sweep: Sweep, state: dict[str, Any]) -> Session:
        state["opened"] = state.get("opened", 0) + 1
        session = FakeSession(self)
        session.say("open", f"{sweep.id} {state['opened']}")
        return session

    def destination(self, folder: Path) -> str:
        return "fake"


class FakeSession(Session):
    """Session of :class:`Fake`."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def say(self, call: str, text: str) -> None:
        """Be in trouble, or write a line."""
        if self._fake.at in (call, "all"):
            self._fake.trouble()
        with self._fake.file.open("a", encoding="utf-8") as file:
            file.write(f"{call} {text}\n")

    def cell(self, row: Row, record: dict[str, Any]) -> None:
        self.say("cell", f"{row.id} {record['identity']['cell_id']} {record['identity']['attempt']}")

    def row(self, row: Row, records: list[dict[str, Any]]) -> None:
        self.say("row", f"{row.id} {len(records)}")

    def close(self, board: pd.DataFrame | None) -> None:
        self.say("close", "interrupted" if board is None else f"{len(board)} lines")


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Fake]:
    """Make a fake tracker; all of one test write to the same file."""

    def make(at: str = "", trouble: Callable[[], None] = lambda: None) -> Fake:
        return Fake(tmp_path / "fake.txt", at, trouble)

    return make


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str], list[str]]:
    """The lines of one kind that fake trackers have written."""

    def read(call: str) -> list[str]:
        file = tmp_path / "fake.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(f"{call} ")]

    return read
