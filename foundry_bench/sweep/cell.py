"""Run one cell: every engine calls :func:`run_cell` and nothing else, and what goes wrong becomes a
record.
"""

from __future__ import annotations

import json
import math
import random
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundry_bench import registry
from foundry_bench.beforehand import plugin_files
from foundry_bench.border import LateError, StrangerError, interruptions, is_ours, message_of, said
from foundry_bench.context import start_seed
from foundry_bench.errors import UserError
from foundry_bench.storage import disk_is_full, write_atomic
from foundry_bench.sweep.environment import here, utc_now
from foundry_bench.sweep.marks import Notice
from foundry_bench.sweep.record import Identity, Record, Spec, blank_record, given
from foundry_bench.sweep.rehearsal import run_rehearsal
from foundry_bench.sweep.store import Store
from foundry_bench.sweep.work import Job, SkipCellError, run_evaluate, run_profile, run_student
from foundry_bench.training.precision import precision

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

RUNNERS = {
    "student": run_student,
    "evaluate": run_evaluate,
    "profile": run_profile,
    "rehearse": run_rehearsal,
}
"""Work by kind of cell."""
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory")
"""What torch says on a GPU, and on the processor of different systems, in place of a MemoryError."""


def run_cell(spec_path: Path, young: bool = False) -> Path:
    """Run the cell of one spec file and return the path of its record, whatever happened. ``young``: nothing has been computed
    in this process.

    A cell that another process is running is waited for, and not run again once it has left its record. Raises OSError, and
    leaves no record, only when the disk is full.
    """
    spec: Spec = json.loads(spec_path.read_bytes())
    store = Store(Path(spec["results"]))
    notice = Notice(spec["kind"], spec["title"], spec["attempt"], spec["engine"])
    with store.marks.held(spec["cell_id"], notice) as tell:
        if store.newer(spec["kind"], spec["cell_id"], spec["tried"]) is not None:
            return store.record_path(spec["kind"], spec["cell_id"])
        return store.write(_plain(_record(spec, store, tell, young)))


def _record(spec: Spec, store: Store, tell: Callable[[str, int, int], None], young: bool) -> Record:
    """Do the work and tell what came of it."""
    started, clock = utc_now(), time.perf_counter()
    record = blank_record(spec)
    scratch = store.cache / "scratch" / spec["cell_id"]
    shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
    scratch.mkdir(parents=True)
    job = Job(spec, store, scratch, tell, young)
    try:
        with interruptions() as came:
            _measure(record, job, came)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    seconds = time.perf_counter() - clock
    record["environment"] = {
        **here(spec["environment"], spec["node"], spec["device"]),
        "threads": spec["threads"],
        "device": spec["device"],
        "precision": str(precision(spec["device"])).removeprefix("torch."),
        "start": started,
        "end": utc_now(),
        "seconds": seconds,
    }
    return record


def _measure(record: Record, job: Job, came: Callable[[], bool]) -> None:
    """Fill in what was measured, or what went wrong; ``came`` tells whether the cell was interrupted."""
    spec = job.spec
    try:
        for file in spec.get("plugins", []):
            if (
                Path(file) not in plugin_files.files()
            ):  # on another machine than the sweep's, or by another process
                plugin_files.use(file)
        _limit_threads(spec["threads"])
        _seed(spec)
        with _limited_memory(spec["memory"]):
            measured = RUNNERS[spec["kind"]](job)
        record["fidelity"] = measured.get("fidelity")
        record["scores"] = measured.get("scores")
        record["cost"] = measured.get("cost")
        record["identity"]["status"] = "ok"
    except SkipCellError as reason:
        record["identity"]["status"] = "skipped"
        record["identity"]["message"] = str(reason)
    except BaseException as error:
        # The one broad except: a method or task is a stranger's code, and one cell must not end the sweep.
        if is_ours(error, came()):
            raise
        if disk_is_full(error):
            raise OSError(said(error)) from error
        record["identity"] = _describe_error(record["identity"], error, job)


def _describe_error(identity: Identity, error: BaseException, job: Job) -> Identity:
    """The identity block of a cell that ended in an error; the traceback goes to a file beside the record."""
    file = job.store.beside(job.spec["kind"], job.spec["cell_id"], ".traceback.txt")
    write_atomic(file, traceback.format_exc().encode())
    message = message_of(error)
    source = error.__cause__ if isinstance(error, StrangerError) and error.__cause__ is not None else error
    memory = isinstance(source, MemoryError) or any(words in message for words in NO_MEMORY)
    status = "timeout" if isinstance(source, LateError) else "oom" if memory else "failed"
    plugin = None if isinstance(error, UserError) else registry.placed(error)
    return {
        **identity,
        "status": status,
        "error_type": type(source).__name__,
        "message": (message or type(error).__name__) + (f" ({plugin})" if plugin else ""),
        "traceback_file": file.name,
        "stage": job.stage,
    }


def _limit_threads(threads: int) -> None:
    """Keep torch and the BLAS behind numpy and scikit-learn to the cell's share of the cores."""
    import torch

    torch.set_num_threads(threads)
    (_pools or _thread_pools()).limit(limits=threads)


def keep_thread_pools() -> None:
    """Find the libraries with threads once for all processes that are forked from this one; to look for them takes a while."""
    global _pools
    _pools = _thread_pools()


def _thread_pools() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_pools: ThreadpoolController | None = None


def _seed(spec: Spec) -> None:
    """Seed the global generators, for plugins that draw from them: the same numbers in every engine and order of cells."""
    import torch

    inputs = spec["inputs"]
    seed = start_seed(given(inputs["seed"]), inputs["method"]["name"], given(inputs["params"]), "global")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def _limited_memory(limit: int | None) -> Iterator[None]:
    """Let allocations beyond ``limit`` bytes of this process fail, so that a cell ends as ``oom`` and its machine goes on."""
    if limit is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1] if before[1] != resource.RLIM_INFINITY else limit
    resource.setrlimit(resource.RLIMIT_DATA, (min(limit, hard), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _plain(value: Any) -> Any:
    """JSON-able: numpy scalars become Python ones and what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
