"""How long the command line takes with a finished sweep of 10,000 cells.

    python benchmarks/ten_thousand_cells.py [--rows 2500] [--repetitions 5] [--folder FOLDER]

Makes a results folder as a sweep of ``teacher`` and a throw-away method would leave it: the real plan, and for every cell a
finished record of the real format with made-up numbers and, for evaluations, outcomes of 60 episodes or 300 objects. Then
runs each command in a fresh process, with and without what the folder keeps to be quick, and prints a table of seconds:
as a clock on the wall shows them, and those of the processor, which another load hardly changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from foundry_bench.storage import write_atomic
from foundry_bench.sweep import environment, snapshot
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import EVALUATE, PROFILE, STUDENT, Cell, plan
from foundry_bench.sweep.record import blank_record
from foundry_bench.sweep.store import Store
from foundry_bench.task import Metric, score_from_outcomes

METHOD = '''
from dataclasses import dataclass
from typing import ClassVar

from foundry_bench.method import OFF_THE_SHELF, Method


@dataclass(frozen=True)
class Dial(Method):
    """A method with a dial of many positions; it is planned and never run."""

    name: ClassVar[str] = "dial"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    grid: ClassVar[dict[str, tuple[int, ...]]] = {{"position": tuple(range({rows}))}}
    position: int = 0

    def compress(self, teacher, data, ctx):
        raise NotImplementedError
'''
PRIMARY = {"fewshot": ("acc_5w10s", 60), "classification": ("oa", 300)}
"""Task -> its primary metric and how many outcomes are made up for it."""
OPTIONS = {"methods": "teacher,dial", "tasks": ",".join(PRIMARY), "dataset": "kicad"}
PLUGIN = "dial_bench.py"
CHECK, LEADERBOARD = "run, nothing left", "leaderboard"
DONE = "nothing is left to do"


@dataclass(frozen=True)
class Case:
    """One command in one state of the folder. ``removed`` are patterns of files that are deleted before each run, ``touched``
    files that look as if they had been edited."""

    name: str
    state: str
    arguments: tuple[str, ...]
    removed: tuple[str, ...] = ()
    says: str = ""
    target: float | None = None
    touched: tuple[Path, ...] = ()


def main() -> None:
    """Make the folder, time every case, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2500, help="settings of the method, of four cells each")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="where to keep the results; deleted afterwards if not given"
    )
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="ten-thousand-") as scratch:
        install(Path(scratch), asked.rows)
        results = asked.folder or Path(scratch) / "results"
        clock = time.perf_counter()
        count = make_results(results)
        Console().print(f"{count} cells written in {time.perf_counter() - clock:.0f} s")
        Console().print(_timed(results, asked.repetitions, count))


def install(folder: Path, rows: int) -> None:
    """Make the method a distribution that this process and its children can import."""
    info = folder / "dial_bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dial-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[foundry_bench.methods]\ndial = dial_bench:Dial\n")
    (folder / PLUGIN).write_text(METHOD.format(rows=rows))
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def make_results(folder: Path, methods: str = OPTIONS["methods"]) -> int:
    """Plan a sweep of ``methods``, write a finished record for each of its cells and return their number."""
    store, config = Store(folder), SweepConfig.from_sources(None, {**OPTIONS, "methods": methods})
    planned = plan(config)
    store.claim(planned.config)
    snapshot.save(store, config, planned)
    rng, about = np.random.default_rng(0), environment.describe()
    about.update(threads=1, device="cpu", start=environment.utc_now(), end=environment.utc_now(), seconds=1.0)
    for cell in planned.cells:
        spec = {
            "cell_id": cell.id,
            "kind": cell.kind,
            "attempt": 1,
            "inputs": cell.inputs,
            "environment": about,
        }
        record = blank_record(spec)
        record["identity"]["status"] = "ok"
        record.update(MEASURED[cell.kind](cell, store, rng))
        store.write(record)
    return len(planned.cells)


def _student(cell: Cell, store: Store, rng: np.random.Generator) -> dict[str, Any]:
    store.student_folder(cell.id).mkdir(parents=True)
    return {"fidelity": {"curve": [], "steps": 0, "samples": 0, "seconds": 0.0, "r2": rng.uniform(0.3, 0.9)}}


def _evaluate(cell: Cell, store: Store, rng: np.random.Generator) -> dict[str, Any]:
    """Outcomes of episodes that are easy or hard for every row, around a level that depends on the dial."""
    name, count = PRIMARY[cell.inputs["task"]["name"]]
    hard = np.random.default_rng(count).normal(0, 0.08, count)
    level = 0.6 + 0.2 * _share(cell) + rng.normal(0, 0.01)
    outcomes = np.clip(level + hard + rng.normal(0, 0.03, count), 0, 1)
    buffer = BytesIO()
    np.savez_compressed(buffer, **{name: outcomes})  # type: ignore[arg-type]
    file = store.beside(cell.kind, cell.id, ".npz")
    write_atomic(file, buffer.getvalue())
    return {
        "scores": {
            "values": [asdict(score_from_outcomes(Metric(name, primary=True), outcomes))],
            "outcomes_file": file.name,
            "outcomes_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        }
    }


def _profile(cell: Cell, store: Store, rng: np.random.Generator) -> dict[str, Any]:
    share = _share(cell)
    gmacs = 0.335 * (0.2 + 0.8 * share)
    split = {"gmacs_tokenizer": 0.09, "gmacs_encoder": gmacs - 0.09, "gmacs_decoder": 0.0}
    same = {"gmacs": gmacs, "gmacs_p95": gmacs, "gmacs_flop_counter": gmacs}
    size = {"params_m": 2.6, "nonzero_m": 2.6, "disk_mb": 10.4, "peak_mem_mb": None, "baseline_mem_mb": None}
    teacher, ratio = 12.0, 0.3 + 0.7 * share + rng.normal(0, 0.01)
    latency = {"latency_ms": ratio * teacher, "latency_teacher_ms": teacher, "latency_ratio": ratio}
    total = {
        "latency_total_ms": ratio * teacher + 4,
        "latency_total_ratio": ratio,
        "latency_total_ratio_iqr": 0.01,
    }
    how = {"batch": 1, "dtype": "float32", "threads": 1, "device": "cpu", "clouds": 1, "pairs": 40}
    cost = {**same, **split, "gmacs_ratio": gmacs / 0.335, "gflops": 2 * gmacs, **size}
    return {"cost": {**cost, **latency, "latency_ratio_iqr": 0.01, **total, **how}}


MEASURED = {STUDENT: _student, EVALUATE: _evaluate, PROFILE: _profile}


def _share(cell: Cell) -> float:
    """Where the dial stands, from 0 to 1; the teacher is at the end."""
    return cell.inputs["params"].get("position", 2500) % 2501 / 2500


def _timed(results: Path, repetitions: int, cells: int) -> Table:
    """Run every case ``repetitions`` times, each time in a new process."""
    again = (
        "run",
        *(part for key, value in OPTIONS.items() for part in (f"--{key}", value)),
        "--out",
        str(results),
    )
    board = ("leaderboard", str(results), "-o", str(results.parent / "ten-thousand.csv"))
    index, plan_file = ".cache/index*", "cells/plan.json"
    cases = (
        Case(CHECK, "no index", again, (index,), DONE),
        Case(CHECK, "as left", again, (), DONE, 3.0),
        Case(CHECK, "method touched", again, (), DONE, touched=(Path(sys.path[0]) / PLUGIN,)),
        Case(CHECK, "no plan", again, (plan_file,), DONE),
        Case(LEADERBOARD, "no index", board, (index,)),
        Case(LEADERBOARD, "as left", board, (), "", 5.0),
        Case("report, with figures", "as left", ("report", str(results))),
    )
    table = Table(title=f"{cells} finished cells: seconds of the whole command, {repetitions} runs")
    for heading in ("command", "folder", "median", "worst", "target", "processor"):
        table.add_column(heading, justify="left" if heading in ("command", "folder") else "right")
    _seconds(
        Case("first", "", again, (), DONE), results
    )  # writes the report, which later checks find up to date
    for case in cases:
        found = [_seconds(case, results) for _ in range(repetitions)]
        wall, processor = zip(*found, strict=True)
        target = "" if case.target is None else f"{case.target:.1f}"
        seconds = (f"{median(wall):.2f}", f"{max(wall):.2f}", target, f"{median(processor):.2f}")
        table.add_row(case.name, case.state, *seconds)
    return table


def _seconds(case: Case, results: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of one run of a case. Raises RuntimeError when the command fails or does not say what
    it should."""
    for path in (path for pattern in case.removed for path in results.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in case.touched:
        path.touch()
    program = [sys.executable, "-c", "from foundry_bench.cli import main; main()", *case.arguments]
    clock, before = time.perf_counter(), _used()
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - clock, _used() - before
    if done.returncode != 0 or case.says not in done.stdout + done.stderr:
        raise RuntimeError(
            f"{case.name} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
        )
    return seconds


def _used() -> float:
    """Processor seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
