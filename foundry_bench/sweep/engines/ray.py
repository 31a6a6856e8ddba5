"""The same cells as tasks of a Ray cluster: one that runs already, or one that is started on this machine for the sweep.

A Ray task does not compute. It supervises one cell in a process of its own, as the local engine does, on whatever node Ray
chose. So a cell never meets what another one left in memory, can be stopped with all that it started, tells how it ended, and
starts in milliseconds once its worker has imported torch. Ray itself tries nothing again; the base class does.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foundry_bench.errors import UserError
from foundry_bench.storage import write_atomic
from foundry_bench.sweep.engines.base import GRACE, Ending, Engine
from foundry_bench.sweep.engines.local import LocalEngine
from foundry_bench.sweep.engines.ray_session import Session, first_line
from foundry_bench.sweep.plan import Cell
from foundry_bench.sweep.store import Store

PACKAGES = ("foundry-bench", "torch")
"""What must have the same version on every node, or records could not be compared."""
POLL = 0.2
"""Seconds between two moments in which a supervising task hears that it was cancelled."""


@dataclass
class RayEngine(Engine):
    """Cells as tasks of the Ray cluster at ``address`` or ``RAY_ADDRESS``; without either, of one started on this machine.

    address: ``host:port``, or ``auto`` for the cluster of this machine. A cluster that was found running is left running. Its
    nodes must see the results folder and have the same versions; both are checked when the engine opens.
    gpus: of one cell, 1 on cuda and else 0; half a GPU is 0.5. start_timeout: seconds until the cluster has to answer.
    """

    address: str | None = None
    gpus: float | None = None
    start_timeout: float = 60.0

    queues = True
    elsewhere = True

    def __post_init__(self) -> None:
        self._session: Session | None = None
        self._cpus: list[float] = []
        self._slots = 0
        self._task: Any = None

    @property
    def slots(self) -> int:
        return self._slots

    def open(self, store: Store) -> None:
        if self.device.startswith("cuda:"):
            raise UserError(f"Ray chooses the GPU of each cell; use --device cuda instead of {self.device}")
        ray = _import_ray()
        limit = time.monotonic() + self.start_timeout
        try:
            if not ray.is_initialized():
                where = self.address or os.environ.get("RAY_ADDRESS") or None
                self._session = Session(where, self.start_timeout)
                self._session.start(limit)
            nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
            self._check_resources(nodes)
            _check_nodes(nodes, store, limit)
        except BaseException:
            self.close()
            raise
        # A process sees the GPUs that it was started with, so a worker with GPUs is not used again.
        calls = 1 if self._gpus_of_a_cell else 0
        self._task = ray.remote(max_calls=calls, max_retries=0, retry_exceptions=False)(supervise)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def launch(self, spec: Path, cell: Cell, threads: int) -> Any:
        options = {"num_cpus": min(threads, max(self._cpus)), "num_gpus": self._gpus_of_a_cell}
        if self.memory is not None:
            options["memory"] = self.memory
        task = self._task.options(name=f"{cell.kind} {cell.id[:12]}", **options)
        return task.remote(spec.resolve(), cell, threads, os.getcwd())

    def wait(self, handles: Sequence[Any], seconds: float) -> None:
        import ray

        ray.wait(list(handles), num_returns=1, timeout=seconds)

    def ended(self, handle: Any) -> Ending | None:
        import ray

        try:
            return ray.get(handle, timeout=0)
        except ray.exceptions.GetTimeoutError:
            return None
        except ray.exceptions.RayError as error:
            return _ending(error)

    def stop(self, handles: Sequence[Any]) -> None:
        if not handles:
            return
        import ray

        for handle in handles:
            ray.cancel(handle)
        # The supervisor itself takes GRACE seconds when its cell does not listen.
        _, deaf = ray.wait(list(handles), num_returns=len(handles), timeout=GRACE + 2)
        for handle in deaf:
            ray.cancel(handle, force=True)
        if deaf:
            ray.wait(deaf, num_returns=len(deaf), timeout=GRACE)

    @property
    def _gpus_of_a_cell(self) -> float:
        return self.gpus if self.gpus is not None else float(self.device.startswith("cuda"))

    def _check_resources(self, nodes: list[dict[str, Any]]) -> None:
        """Raise UserError where no node could ever run a cell, which Ray would wait for without end; count the slots."""
        self._cpus = [node["Resources"]["CPU"] for node in nodes]
        if not nodes:
            raise UserError("the Ray cluster has no node with CPUs; start one with: ray start --address=...")
        gpus = [node["Resources"].get("GPU", 0) for node in nodes]
        need = self._gpus_of_a_cell
        if need > max(gpus):
            raise UserError(
                f"a cell needs {need:g} GPUs and no node of the Ray cluster has them; use --device cpu or set gpus"
            )
        largest = max(node["Resources"].get("memory", 0) for node in nodes)
        if self.memory is not None and self.memory > largest:
            raise UserError(
                f"no node of the Ray cluster has {self.memory} bytes of memory, the largest has {largest:.0f}; "
                "lower --memory"
            )
        places = [int(cpus // min(self.share, max(self._cpus))) for cpus in self._cpus]
        if need:
            places = [min(place, int(count // need)) for place, count in zip(places, gpus, strict=True)]
        self._slots = self.jobs or max(sum(places), 1)


def supervise(spec: Path, cell: Cell, threads: int, folder: str) -> Ending:
    """Body of a Ray task: run one cell in a process of its own and tell how it ended.

    folder: where the sweep was started. Raises KeyboardInterrupt, with the cell stopped, when the task was cancelled.
    """
    with suppress(OSError):  # relative paths of data sets are meant from there
        os.chdir(folder)
    cancelled = threading.Event()
    # Ray raises KeyboardInterrupt wherever the task is; between the start of a process and its handle that would lose it.
    before = signal.signal(signal.SIGINT, lambda number, frame: cancelled.set())
    local = LocalEngine()
    try:
        local.open(Store(Path(folder)))
        process = local.launch(spec, cell, threads)
        while (ending := local.ended(process)) is None:
            local.wait([process], POLL)
            if cancelled.is_set():
                local.stop([process])
                raise KeyboardInterrupt
        return ending
    finally:
        signal.signal(signal.SIGINT, before)


def _looker() -> Callable[[str], tuple[str | None, dict[str, str]]]:
    """What a node is asked: the content of a file in the results folder, None where it sees none, and versions of ``PACKAGES``.

    A function within a function travels by value, so that a node answers without importing foundry-bench, and torch with it.
    """
    packages = PACKAGES

    def look(token: str) -> tuple[str | None, dict[str, str]]:
        from importlib.metadata import version
        from pathlib import Path

        try:
            content = Path(token).read_text()
        except OSError:
            content = None
        return content, {name: version(name) for name in packages}

    return look


def _check_nodes(nodes: list[dict[str, Any]], store: Store, limit: float) -> None:
    """Ask every node whether it sees the results folder and has our versions. Raises UserError."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    token = (store.cache / f"ray-{secrets.token_hex(8)}").resolve()
    write_atomic(token, token.name.encode())
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(_looker())
        asked = {
            node["NodeManagerHostname"]: task.options(
                scheduling_strategy=On(node["NodeID"], soft=False)
            ).remote(str(token))
            for node in nodes
        }
        for host, answer in asked.items():
            _check_answer(host, answer, token, limit)
    finally:
        token.unlink(missing_ok=True)


def _check_answer(host: str, answer: Any, token: Path, limit: float) -> None:
    import ray

    here = {name: version(name) for name in PACKAGES}
    try:
        content, there = ray.get(answer, timeout=max(limit - time.monotonic(), 1.0))
    except ray.exceptions.GetTimeoutError as error:
        raise UserError(
            f"node {host} of the Ray cluster runs nothing; check it with 'ray status', or allow more time by "
            "--engine ray[start_timeout=300]"
        ) from error
    except ray.exceptions.RayError as error:
        raise UserError(
            f"node {host} of the Ray cluster cannot run foundry-bench ({first_line(error)}); "
            f"install foundry-bench {here['foundry-bench']} there"
        ) from error
    if content != token.name:
        raise UserError(
            f"node {host} of the Ray cluster does not see {token.parent.parent}; choose an --out on a file system "
            "that all nodes share"
        )
    for name, ours in here.items():
        if there[name] != ours:
            raise UserError(
                f"node {host} of the Ray cluster has {name} {there[name]} and this machine {ours}; "
                f"install the same version on both"
            )


def _ending(error: Exception) -> Ending:
    """What an error of Ray means: of the task itself, or the death of its worker or node."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, RuntimeEnvSetupError

    if isinstance(error, RayTaskError | RuntimeEnvSetupError):
        return Ending(detail=first_line(error))
    if isinstance(error, OutOfMemoryError):
        return Ending(died=True, detail="by Ray's memory monitor, as its node ran out of memory")
    if isinstance(error, NodeDiedError):
        return Ending(died=True, detail="with its node")
    return Ending(died=True, detail=f"with its Ray worker ({type(error).__name__})")


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "the engine ray needs Ray; install it with: pip install foundry-bench[ray]"
        ) from error
    return ray
