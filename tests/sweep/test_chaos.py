"""A sweep whose processes are killed at random moments comes to the same records as one that is left in peace.

Kills hit the driver, one worker, or all processes at once, in every state of a sweep; then the same command is run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweep_helpers import DRIVER

from foundry_bench.report import writer
from foundry_bench.sweep import environment, leftovers
from foundry_bench.sweep.cell import run_cell
from foundry_bench.sweep.marks import SWEEP, Notice
from foundry_bench.sweep.plan import STUDENT, Cell
from foundry_bench.sweep.schedule import Schedule, Settings
from foundry_bench.sweep.store import SET_ASIDE, Store

LOG = logging.getLogger(__name__)
PLUGIN = '''
"""Methods and a task that take their time and note in a file that they were run, and a slow disk."""

import json
import os
import time
from dataclasses import dataclass
from typing import ClassVar

from fake_bench import Distilled, Plain, Spread


def note(ctx):
    """Add one line, whole or not at all: which cell, and whether its record was there already."""
    if ctx.cache is None:  # no cell: a saved student is built anew to be loaded
        return
    results = ctx.scratch.parents[2]
    recorded = any((results / "cells").glob(f"*/{ctx.scratch.name}.json"))
    line = {"folder": str(results), "cell": ctx.scratch.name, "recorded": recorded, "time": time.time()}
    log = os.open(os.environ["CHAOS_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(log, (json.dumps(line) + "\\n").encode())
    os.close(log)
    time.sleep(0.1)


def slowly(descriptor, sync=os.fsync):
    """So that kills find records half written."""
    time.sleep(0.05)
    sync(descriptor)


os.fsync = slowly


@dataclass(frozen=True)
class Slow(Plain):
    name: ClassVar[str] = "slow"

    def compress(self, teacher, data, ctx):
        note(ctx)
        return super().compress(teacher, data, ctx)


@dataclass(frozen=True)
class Trained(Distilled):
    name: ClassVar[str] = "trained"

    def compress(self, teacher, data, ctx):
        note(ctx)
        return super().compress(teacher, data, ctx)


@dataclass(frozen=True)
class SlowFailing(Plain):
    name: ClassVar[str] = "slow-failing"

    def compress(self, teacher, data, ctx):
        note(ctx)
        raise ValueError("this method always fails")


@dataclass(frozen=True)
class SlowSpread(Spread):
    name: ClassVar[str] = "slow-spread"

    def evaluate(self, encoder, data, ctx):
        note(ctx)
        return super().evaluate(encoder, data, ctx)
'''
ENTRY_POINTS = """
[foundry_bench.methods]
slow = chaos_bench:Slow
trained = chaos_bench:Trained
slow-failing = chaos_bench:SlowFailing
sleeping = fake_bench:Sleeping
[foundry_bench.tasks]
slow-spread = chaos_bench:SlowSpread
[foundry_bench.teachers]
tiny = fake_bench:tiny
[foundry_bench.datasets]
blobs = fake_bench:load_blobs
"""
METHODS = f"slow[width={','.join(str(w) for w in range(1, 15))}],trained,slow-failing"
TASKS = "slow-spread[clouds=8,12,16]"
CELLS, JOBS = 64, 2
COMMAND = (
    *("run", "--methods", METHODS, "--tasks", TASKS, "--teacher", "tiny", "--distill-on", "blobs"),
    *("--jobs", str(JOBS), "--out", "results"),
)
AT_ALL, CLAIMED, REHEARSING, WORKING, WRITING, RECORDED = (
    *("start", "folder claimed", "rehearsal", "a cell at work"),
    *("a record half written", "all recorded"),
)
DRIVER_ALONE, WORKER_ALONE, ALL = "driver", "worker", "all processes"
PATIENCE = 900.0
"""Seconds after which a sweep is taken to hang."""
UNTOLD = {"start", "end", "seconds"}


@dataclass(frozen=True)
class Peace:
    """What a sweep leaves behind that nobody disturbs; how many seconds it needs to start, and for one cell."""

    made: dict[str, bytes]
    start: float
    cell: float

    @property
    def gone(self) -> float:
        """Seconds in which the processes of a killed driver must have ended; who imports torch notices it only then."""
        return 10 + 2 * self.start


@dataclass
class Ground:
    """A folder in which sweeps run and are killed. ``kept``: what was recorded, as it was when first seen; ``struck``: cells
    whose process alone was killed; ``abandoned``: what processes were writing when they were killed."""

    folder: Path
    site: Path
    gone: float = 0.0
    kept: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    killed: Counter[tuple[str, str]] = field(default_factory=Counter)
    struck: set[str] = field(default_factory=set)
    abandoned: set[Path] = field(default_factory=set)

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def start(self, *options: str) -> Driver:
        """Run the command in the background; ``options`` win over its own."""
        token = uuid.uuid4().hex
        path = os.pathsep.join(filter(None, [str(self.site), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "CHAOS_NOTES": str(self.notes), "CHAOS_RUN": token}
        environment["GIT_DIR"] = str(self.folder)  # a commit in the meantime is no difference
        with (self.folder / "output").open("a") as output:
            command = [sys.executable, "-c", DRIVER, *COMMAND, *options]
            streams = {"stdout": output, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, cwd=self.folder, env=environment, **streams)  # type: ignore[call-overload]
        return Driver(process, token)

    def finish(self, *drivers: Driver) -> str:
        """Let them come to their end by themselves; what they said."""
        for driver in drivers:
            driver.process.wait(PATIENCE)
        said = (self.folder / "output").read_text()
        codes = [driver.process.returncode for driver in drivers]
        assert codes == [1] * len(drivers), (
            f"one method fails, so the exit code is 1: {codes}\n{said[-3000:]}"
        )
        return said

    def records(self) -> list[Path]:
        """All records of the sweep."""
        return [path for path in (self.store.folder / "cells").glob("*/*.json") if ".spec." not in path.name]

    def nothing_lost(self) -> None:
        """Whatever was recorded once is still there, untouched: the same file with the same bytes."""
        now = {str(path): _seal(path) for path in self.records()}
        for path, seal in self.kept.items():
            assert now.get(path) == seal, f"{path} was finished and has changed"
        self.kept = now

    def workers(self) -> dict[str, Notice]:
        """Cells at work by their ids, those of a rehearsal included."""
        found = {}
        for marks in (self.store.marks, Store(self.store.cache / "rehearsal").marks):
            found.update({name: marks.alive(name) for name in marks.names()})
        return {k: n for k, n in found.items() if n is not None and n.kind not in (SWEEP, "unknown")}

    def is_driven_by(self, driver: Driver) -> bool:
        """Whether this driver has got as far as to say that it works here."""
        notices = [self.store.marks.alive(name) for name in self.store.marks.names()]
        return any(notice is not None and notice.pid == driver.process.pid for notice in notices)

    def is_writing(self) -> bool:
        """Whether a process is writing a record at this moment."""
        return bool(self.half_written() - self.abandoned)

    def half_written(self) -> set[Path]:
        """Temporary files of records."""
        temporary = (self.store.folder / "cells").glob("[es]*/.*.json.*.tmp")
        return {path for path in temporary if ".spec." not in path.name}

    def state(self, driver: Driver) -> str:
        """What is going on, as far as the folder tells."""
        if self.is_writing():
            return "writing a record"
        if kinds := sorted({notice.kind for notice in self.workers().values()}):
            return " and ".join(kinds)
        if len(self.records()) < CELLS:
            return "between cells" if self.is_driven_by(driver) else "planning"
        return "reports" if writer.outdated(self.store.folder) else "all done"

    def kill(self, driver: Driver, whom: str) -> None:
        """Kill the driver, a worker or everything, and see that nothing finished is lost and nothing goes on."""
        state, victims = self.state(driver), driver.processes()
        if whom == WORKER_ALONE and not self._kill_worker():
            whom = DRIVER_ALONE
        if whom != WORKER_ALONE:
            driver.process.kill()
            driver.process.wait()
        if whom == ALL:
            for victim in victims:
                _kill(victim.pid)
        self.killed[whom, state] += 1
        LOG.info("kill %d: %s, %s", self.killed.total(), whom, state)
        if whom != WORKER_ALONE:
            limit = time.monotonic() + self.gone
            while driver.processes():
                assert time.monotonic() < limit, f"left by a killed driver: {driver.processes()}"
                time.sleep(0.05)
        self.abandoned = self.half_written()
        self.nothing_lost()

    def _kill_worker(self) -> bool:
        """Kill one worker whose cell was not struck before: a process that dies twice is a record of its own."""
        for name, notice in self.workers().items():
            if name not in self.struck:
                self.struck.add(name)
                return _kill(notice.pid)
        return False


@dataclass(frozen=True)
class Driver:
    """A running command. Its processes are known by a word in their environment."""

    process: subprocess.Popen[bytes]
    token: str

    def processes(self) -> list[psutil.Process]:
        """All processes that stem from this driver and are not dead, itself included."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("CHAOS_RUN") == self.token
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # it has just ended, or is of another user
                continue
        return found


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _seal(path: Path) -> tuple[int, int, str]:
    info = path.stat()
    return info.st_ino, info.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def timeless(ground: Ground) -> dict[str, bytes]:
    """The bytes of every record, apart from times and from the attempt where a worker was killed, and of all that was made."""
    found = {}
    for path in ground.records():
        record = json.loads(path.read_bytes())
        assert path.read_bytes() == json.dumps(record, indent=1).encode() + b"\n", "only values may differ"
        del record["digest"]  # of the times, too
        for key in UNTOLD:
            record["environment"].pop(key)
        (record["fidelity"] or {}).pop("seconds", None)
        attempts = (1, 2) if path.stem in ground.struck else (1,)
        assert record["identity"].pop("attempt") in attempts, path
        found[path.name] = json.dumps(record, indent=1).encode()
    for path in [*ground.store.folder.glob("students/*/*"), *ground.store.folder.glob("cells/*/*.npz")]:
        found[str(path.relative_to(ground.store.folder))] = path.read_bytes()
    return found


def executions(ground: Ground) -> Counter[str]:
    """How often each cell of the sweep was begun. None may be once its record is there."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in ground.notes.read_text().splitlines()]
    ours = [line for line in lines if line["folder"] == str(ground.store.folder)]
    assert [line for line in ours if line["recorded"]] == []
    written = {path.stem: path.stat().st_mtime for path in ground.records()}
    assert all(line["time"] <= written[line["cell"]] for line in ours), "a cell was begun after its record"
    return Counter(line["cell"] for line in ours)


def wait_until(condition: Callable[[], bool], driver: Driver) -> None:
    """Look often until it is so, or the driver has ended."""
    limit = time.monotonic() + PATIENCE
    while not condition() and driver.process.poll() is None:
        assert time.monotonic() < limit, "nothing happens any more"
        time.sleep(0.005)


def wait_for_records(count: int, ground: Ground, driver: Driver) -> None:
    """Wait for so many more records, so that the work lasts for all kills whatever the load of the machine."""
    goal = min(len(ground.records()) + count, CELLS)
    wait_until(lambda: len(ground.records()) >= goal, driver)


def has_come(moment: str, ground: Ground, driver: Driver) -> bool:
    """Whether a driver has got as far as ``moment``, which never comes back once all is recorded."""
    kinds = {notice.kind for notice in ground.workers().values()}
    return (
        moment == AT_ALL
        or (moment == CLAIMED and ground.is_driven_by(driver))
        or (moment == REHEARSING and bool(kinds))
        or (moment == WORKING and bool(kinds - {"rehearse"}))
        or (moment == WRITING and ground.is_writing())
        or len(ground.records()) == CELLS
    )


@pytest.fixture(scope="module")
def site(tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the distribution of the methods and the task above."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "chaos_bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "chaos_bench.py").write_text(PLUGIN)
    shutil.copy(Path(__file__).with_name("fake_bench_source.py"), folder / "fake_bench.py")
    shutil.copytree(tiny_teacher, folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def peace(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Peace:
    """The sweep, left in peace. Moments to kill at are in units of its times, whatever the machine and its load."""
    ground, clock = Ground(tmp_path_factory.mktemp("peace"), site), time.monotonic()
    driver = ground.start()
    wait_until(lambda: has_come(WORKING, ground, driver), driver)
    begun = time.monotonic()
    wait_until(lambda: has_come(RECORDED, ground, driver), driver)
    seconds = (time.monotonic() - begun) / CELLS
    ground.finish(driver)
    assert len(ground.records()) == CELLS
    assert set(executions(ground).values()) == {1}
    return Peace(timeless(ground), begun - clock, seconds)


def check_end(ground: Ground, peace: Peace) -> None:
    """The final run is over: all is as if nothing had happened, and nothing lies around."""
    ground.nothing_lost()
    states = " ".join(state for _, state in ground.killed.elements())
    assert sum(map(states.count, ("student", "evaluate", "writing"))) >= 4, "many kills hit cells at work"
    begun, kills = executions(ground), ground.killed.total()
    assert sum(begun.values()) <= len(begun) + kills * JOBS, (
        "a kill costs the cells that were running, no more"
    )
    found = timeless(ground)
    assert found.keys() == peace.made.keys()
    assert [name for name in found if found[name] != peace.made[name]] == []
    before = len(ground.finish())
    assert "nothing is left to do" in ground.finish(ground.start())[before:]
    assert executions(ground) == begun
    ground.nothing_lost()
    store = ground.store
    assert store.marks.names() == [], "no mark outlives its process"
    assert [path for path in store.cache.rglob("scratch/*") if path.is_dir()] == []
    removable = {item.path for item in leftovers.find(store, {leftovers.LEFTOVERS})}
    assert set(store.folder.rglob("*.tmp")) <= removable, "what kills left half written, clean finds"
    assert not (store.folder / "cells" / SET_ASIDE).exists(), "no record was ever half written"


@pytest.mark.slow
def test_twenty_kills_change_nothing(site: Path, tmp_path: Path, peace: Peace) -> None:
    ground, rng = Ground(tmp_path, site, peace.gone), random.Random(20)
    usual = [AT_ALL, CLAIMED, *[WORKING] * 8, *[WRITING] * 3]
    rng.shuffle(usual)
    # The last two kills hit a sweep with nothing left to do.
    moments = [CLAIMED, REHEARSING, REHEARSING, *usual, RECORDED, RECORDED, AT_ALL, AT_ALL]
    delays = {AT_ALL: 0.6 * peace.start, CLAIMED: 0.4 * peace.start, REHEARSING: 3 * peace.cell}
    delays |= {WORKING: peace.cell, WRITING: 0.01 * peace.cell, RECORDED: 4 * peace.cell}
    driver = ground.start()
    while ground.killed.total() < 20:
        if driver.process.poll() is not None:
            driver = ground.start()
        moment = moments[ground.killed.total()]
        wait_until(partial(has_come, moment, ground, driver), driver)
        if moment == WORKING:
            wait_for_records(rng.randrange(6), ground, driver)
        time.sleep(rng.uniform(0, delays[moment]))
        if driver.process.poll() is None:
            ground.kill(driver, rng.choice([DRIVER_ALONE, WORKER_ALONE, ALL]))
    ground.finish(ground.start() if driver.process.poll() is not None else driver)
    LOG.info("%s", ground.killed)
    check_end(ground, peace)


@pytest.mark.slow
def test_two_sweeps_in_one_folder_survive_kills(site: Path, tmp_path: Path, peace: Peace) -> None:
    ground, rng = Ground(tmp_path, site, peace.gone), random.Random(21)
    drivers = [ground.start(), ground.start()]
    while ground.killed.total() < 8:
        number = rng.randrange(2)
        if drivers[number].process.poll() is not None:
            drivers[number] = ground.start()
        driver = drivers[number]
        wait_until(partial(has_come, WORKING, ground, driver), driver)
        wait_for_records(rng.randrange(8), ground, driver)
        time.sleep(rng.uniform(0, peace.cell))
        if driver.process.poll() is None:
            ground.kill(driver, rng.choice([DRIVER_ALONE, WORKER_ALONE, ALL]))
    drivers = [ground.start() if driver.process.poll() is not None else driver for driver in drivers]
    ground.finish(*drivers)
    LOG.info("%s", ground.killed)
    check_end(ground, peace)


@pytest.mark.slow
def test_a_cell_that_would_go_on_for_long_ends_with_its_driver(site: Path, tmp_path: Path) -> None:
    ground = Ground(tmp_path, site, gone=20.0)
    driver = ground.start("--methods", "sleeping", "--no-rehearsal")
    wait_until(partial(has_come, WORKING, ground, driver), driver)
    ground.kill(driver, DRIVER_ALONE)
    assert ground.killed == {(DRIVER_ALONE, "student"): 1}


def test_what_another_sweep_could_not_do_is_not_tried_again(tmp_path: Path) -> None:
    method = {"name": "x", "version": None, "code_sha256": None}
    names = {"pipeline": 5, "method": method, "params": {}, "shown": "", "variant": None}
    nothing = dict.fromkeys(("task", "dataset", "protocol", "budget"))
    about = {**names, **nothing, "seed": 0, "teacher": {"name": "t", "sha256": "t"}}
    cell, store, machine = Cell(STUDENT, about), Store(tmp_path), environment.describe()
    heard: list[dict[str, Any]] = []

    def planned(tried: dict[str, int] | None = None) -> Schedule:
        settings = Settings("quick", "cpu", "data", "local")
        hear = lambda _, record: heard.append(record)  # noqa: E731
        return Schedule([cell], store, machine, settings, started=print, done=hear, tried=tried)

    first, second, third = planned(), planned(), planned()
    assert first.next() is second.next() is cell
    spec = second.start(cell, threads=1)
    first.start(cell, threads=1)
    first.lost(cell, "failed", "by the first sweep")
    sealed = _seal(store.record_path(cell.kind, cell.id))
    assert run_cell(spec) == store.record_path(cell.kind, cell.id), "its process was about to begin"
    second.finish(cell)
    assert third.next() is None, "it had not yet begun"
    assert planned(tried={}).next() is None, "its sweep was planned before"
    assert [record["identity"]["message"] for record in heard] == ["by the first sweep"] * 4
    assert _seal(store.record_path(cell.kind, cell.id)) == sealed
    retry = planned(tried={cell.id: 1})
    assert retry.next() is cell
    assert json.loads(retry.start(cell, threads=1).read_text())["attempt"] == 2


def test_a_mark_without_a_word_is_that_of_a_process_that_died_at_once(tmp_path: Path) -> None:
    marks = Store(tmp_path).marks
    marks.folder.mkdir(parents=True)
    (marks.folder / "cell").touch()
    assert marks.alive("cell") is None
    assert marks.left("cell") is not None
    marks.remove("cell")
    assert marks.names() == []
