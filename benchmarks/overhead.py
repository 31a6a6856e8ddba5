"""What the harness costs beside the work: a sweep of cells that do almost nothing, by the local engine.

    python benchmarks/overhead.py [--cells 500] [--jobs 2] [--repetitions 3] [--engine local]

Writes a throw-away distribution with a tiny teacher, a method and a task that do nothing, and runs it by the real ``run``
command in a fresh process: cells of 25 students and their evaluations, without the profile cells, which measure times
and take seconds. The work is what the same cells take by ``--engine serial``, in one process that is warm after its first cell.

    overhead = wall time of the cells / their number - work / jobs

One more sweep by an engine that looks at the clock shows where the time of a cell goes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

PLUGIN = '''
"""A teacher, data, a method and a task that cost next to nothing, and an engine that looks at the clock."""

import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.sweep.engines import local
from foundry_bench.task import Metric, Scores, Task, score_from_outcomes
from foundry_bench.teachers import PointTransformer


def tiny():
    return Path(__file__).parent / "tiny"


def load_specks():
    points = np.random.default_rng(0).normal(size=(40, 64, 3)).astype(np.float32) / 4
    labels, names = np.arange(40) % 2, np.array([f"speck-{i}" for i in range(40)])
    rest = ({"seed0": np.array(["train", "test"] * 20)}, None, {}, ("a", "b"), "CC0-1.0")
    return PointCloudDataset("specks", "1", "5" * 64, ("a", "b"), points, labels, names, names, *rest)


@dataclass(frozen=True)
class Idle(Method):
    """A copy of the teacher."""

    name: ClassVar[str] = "idle"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    inference: ClassVar[tuple[str, ...]] = ("dial",)
    student: int = 0
    dial: int = 0

    def compress(self, teacher, data, ctx):
        copy = PointTransformer(teacher.config)
        copy.load_state_dict(teacher.state_dict())
        return copy.requires_grad_(False)


@dataclass(frozen=True)
class Nothing(Task):
    """Always the same score."""

    name: ClassVar[str] = "nothing"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("nothing", primary=True),)
    datasets: ClassVar[tuple[str, ...]] = ("specks",)

    def evaluate(self, encoder, data, ctx):
        outcomes = np.full(8, 0.5)
        return Scores((score_from_outcomes(self.metrics[0], outcomes),), {"nothing": outcomes})


@dataclass
class Watched(local.LocalEngine):
    """The local engine; every cell leaves a line about its times beside the results."""

    def launch(self, spec, cell, threads):
        log = spec.with_name(f"{cell.id}.log")
        arguments = (str(spec), str(log), time.monotonic())
        process = self._context.Process(target=_watched_child, args=arguments, daemon=False)
        process.start()
        return process


def _watched_child(spec, log, launched):
    from foundry_bench.sweep import cell, marks, store

    begun, before, times, used = time.monotonic(), set(sys.modules), {}, time.process_time()

    def clocked(name, function):
        def inner(*args, **kwargs):
            clock = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                times[name] = times.get(name, 0.0) + time.monotonic() - clock

        return inner

    os.fsync = clocked("fsync", os.fsync)
    store.Store.write = clocked("record", store.Store.write)
    marks.Marks._acquire = clocked("mark", marks.Marks._acquire)
    for kind, runner in list(cell.RUNNERS.items()):
        cell.RUNNERS[kind] = clocked("work", runner)
    kind = "student" if "/student/" in spec else "evaluate"
    local._child(spec, log)
    ended = time.monotonic()
    line = {"kind": kind, "start": begun - launched, "cell": ended - begun, **times}
    line["processor"] = time.process_time() - used
    line["imports"] = sorted(set(sys.modules) - before)
    with open(os.environ["OVERHEAD_NOTES"], "a") as notes:
        notes.write(json.dumps(line) + "\\n")
'''
ENTRY_POINTS = """
[foundry_bench.methods]
idle = idle_bench:Idle
[foundry_bench.tasks]
nothing = idle_bench:Nothing
[foundry_bench.teachers]
specks-teacher = idle_bench:tiny
[foundry_bench.datasets]
specks = idle_bench:load_specks
[foundry_bench.engines]
watched = idle_bench:Watched
"""
DRIVER = """
import json, os, sys, time
from dataclasses import replace
from foundry_bench.sweep import runner
from foundry_bench.sweep.engines.base import Engine
whole, run, times = runner.plan, Engine.run, {}
def without_profiles(config, most):
    planned = whole(config, most)
    return replace(planned, cells=[cell for cell in planned.cells if cell.kind != "profile"])
def clocked(self, schedule, *args):
    times.update(begin=time.monotonic(), before=time.process_time())
    run(self, schedule, *args)
    times.update(end=time.monotonic(), driver=time.process_time() - times["before"])
runner.plan, Engine.run = without_profiles, clocked
from foundry_bench.cli import main
try:
    main()
finally:
    print("TIMES", json.dumps(times), file=sys.stderr)
"""
"""The real command without profile cells; it tells when the first cell could start and when the last one had ended."""
STUDENTS = 25


@dataclass(frozen=True)
class Timing:
    """Seconds of one sweep: until its first cell, for all cells, after them; and of the driver's processor for all cells."""

    start: float
    cells: float
    reports: float
    driver: float


def main() -> None:
    """Run the sweeps and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=500, help="of 25 students and their evaluations")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--engine", default="local")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="overhead-") as scratch:
        folder = Path(scratch)
        install(folder)
        methods = f"idle[student={_numbers(STUDENTS)},dial={_numbers(asked.cells // STUDENTS - 1)}]"
        options = ("--methods", methods, "--jobs", str(asked.jobs), "--threads", "1")
        runs = {
            engine: [sweep(folder, f"{engine}-{i}", engine, options) for i in range(asked.repetitions)]
            for engine in ("serial", asked.engine)
        }
        sweep(folder, "watched", "watched", options)
        lines = [json.loads(line) for line in (folder / "notes").read_text().splitlines()]
        count = len(records(folder / f"{asked.engine}-0"))
    Console().print(_overheads(runs, count, asked.jobs))
    Console().print(_shares(lines))
    Console().print(f"imported in the cells' processes: {', '.join(_imports(lines)) or 'nothing'}")


def install(folder: Path) -> None:
    """Make the plugin and its teacher a distribution that child processes can import."""
    import torch

    from foundry_bench.encoder import EncoderConfig
    from foundry_bench.teachers import save_teacher
    from foundry_bench.teachers.transformer import PointTransformer

    info = folder / "idle_bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: idle-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "idle_bench.py").write_text(PLUGIN)
    torch.manual_seed(0)
    config = EncoderConfig(
        dim=16, depth=1, heads=2, groups=8, group_size=4, points=64, tokenizer_widths=(8, 8, 16)
    )
    teacher = PointTransformer(config)
    teacher.eval()
    save_teacher(teacher, folder / "tiny", {})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    os.environ["OVERHEAD_NOTES"] = str(folder / "notes")


def _numbers(count: int) -> str:
    return ",".join(str(number) for number in range(count))


def sweep(folder: Path, name: str, engine: str, options: tuple[str, ...]) -> Timing:
    """Run the whole sweep in a new process. Raises RuntimeError when the command fails."""
    where = ("--tasks", "nothing", "--teacher", "specks-teacher", "--distill-on", "specks", "--no-rehearsal")
    command = [sys.executable, "-c", DRIVER, "run", "--engine", engine, "--out", str(folder / name)]
    clock = time.monotonic()
    done = subprocess.run([*command, *where, *options], capture_output=True, text=True, check=False)
    end = time.monotonic()
    if done.returncode != 0:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    times = json.loads(done.stderr.rpartition("TIMES ")[2])
    begin, last = times["begin"], times["end"]
    return Timing(begin - clock, last - begin, end - last, times["driver"])


def records(folder: Path) -> list[dict[str, Any]]:
    """All records of a sweep."""
    paths = (folder / "cells").glob("*/*.json")
    return [json.loads(path.read_bytes()) for path in paths if not path.name.endswith(".spec.json")]


def _overheads(runs: dict[str, list[Timing]], count: int, jobs: int) -> Table:
    """One line per engine, and what the second one costs beyond the work that the first one found."""
    table = Table(title=f"{count} cells, {jobs} at a time: milliseconds a cell, median and worst")
    for heading in ("", "median", "worst"):
        table.add_column(heading, justify="right" if heading else "left")

    def add(name: str, seconds: list[float], per: float = 1000 / count, unit: str = "ms") -> None:
        table.add_row(f"{name}, {unit}", f"{median(seconds) * per:.1f}", f"{max(seconds) * per:.1f}")

    serial, other = runs.values()
    work = median(timing.cells for timing in serial)
    engine = list(runs)[1]
    add("work of a cell (serial)", [timing.cells for timing in serial])
    add(f"wall time of a cell ({engine})", [timing.cells for timing in other])
    add("processor time of a cell, driver", [timing.driver for timing in other])
    add("overhead of a cell", [timing.cells - work / jobs for timing in other])
    add("overhead with start and reports", [_whole(timing) - work / jobs for timing in other])
    add("start: planning, fork server", [timing.start for timing in other], 1, "s")
    add("reports", [timing.reports for timing in other], 1, "s")
    add("whole command", [_whole(timing) for timing in other], 1, "s")
    return table


def _whole(timing: Timing) -> float:
    return timing.start + timing.cells + timing.reports


def _shares(lines: list[dict[str, Any]]) -> Table:
    """Where the time of a cell's process goes, by kind of cell."""
    parts = {
        "start": "from the launch to the first line of the process",
        "cell": "all of run_cell, of which:",
        "mark": "  taking the mark",
        "work": "  the work",
        "record": "  writing the record",
        "fsync": "  of all writing, waiting for the disk",
        "processor": "processor time of all of run_cell",
    }
    kinds = sorted({line["kind"] for line in lines})
    table = Table(title="in the process of a cell: milliseconds, mean")
    for heading in ("", *kinds):
        table.add_column(heading, justify="right" if heading else "left")
    for key, name in parts.items():
        values = [mean(line.get(key, 0.0) for line in lines if line["kind"] == kind) for kind in kinds]
        table.add_row(name, *(f"{1000 * value:.1f}" for value in values))
    return table


def _imports(lines: list[dict[str, Any]]) -> list[str]:
    """Packages of the modules that at least one cell had to import itself, with their number."""
    found = {module for line in lines for module in line["imports"]}
    packages = sorted({name.partition(".")[0] for name in found})
    return [f"{p} ({sum(name.partition('.')[0] == p for name in found)})" for p in packages]


if __name__ == "__main__":
    main()
