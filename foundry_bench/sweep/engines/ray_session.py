"""A connection to Ray: to a cluster that runs already, or to one that is started on this machine for a sweep."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from foundry_bench.errors import UserError
from foundry_bench.sweep.engines.base import GRACE
from foundry_bench.sweep.schedule import cores

OBJECT_STORE = 100 * 2**20
"""Bytes of shared memory of a local cluster. Cells talk through files; Ray would take a third of the machine."""
SOCKET_ROOM = 35
"""Longest temporary folder: Ray puts sockets below it, whose path may have 107 characters."""
SETTINGS = b"\x04"
"""Type of the first frame that an HTTP/2 server, and so any gRPC server, sends."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
"""How an HTTP/2 client begins."""


class Session:
    """A connection to Ray, in a thread of its own that lives as long as it.

    ``ray.init`` may hang; it takes over SIGTERM when it is called in the main thread; and the processes of a local cluster die
    with the thread that started them.
    """

    def __init__(self, address: str | None, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self.folder: Path | None = None
        self._error: BaseException | None = None
        self._answered, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)

    def start(self, limit: float) -> None:
        """Connect, or start a cluster, until ``limit`` on the monotonic clock. Raises UserError."""
        _keep_quiet()
        where = f"a Ray cluster at {self.address}" if self.address else "a local Ray cluster"
        if self.address is None:
            self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir=_short_folder()))
            # Without a token of ours, Ray leaves one in the home folder. Ray reads it once per process.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        elif self.address != "auto":
            _knock(self.address, limit)
        self._thread.start()
        with _silent_errors():
            answered = self._answered.wait(max(limit - time.monotonic(), 0.0))
        if not answered:
            raise UserError(
                f"{where} did not answer within {self.timeout:g} s; check it with 'ray status', or allow more time by "
                "--engine ray[start_timeout=300]"
            )
        if self._error is not None:
            raise UserError(f"cannot use {where} ({first_line(self._error)}); {self._advice(self._error)}")
        if threading.current_thread() is threading.main_thread():
            # Ray's native code has put its own handler, which ends the process, below that of Python.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))

    def _advice(self, error: BaseException) -> str:
        cause = error.__cause__ or error
        if "AuthToken" in str(cause) or type(cause).__name__ == "AuthenticationError":
            return "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the token of the cluster"
        if self.address is None:
            return "see whether 'ray start --head' works, or use --engine local"
        return "check it with 'ray status', or leave the address out to start one here"

    def close(self) -> None:
        """Disconnect; end a cluster of our own and remove its files."""
        import ray

        if self._answered.is_set():
            ray.shutdown()
        self._over.set()
        if self._answered.is_set() and self._thread.is_alive():
            self._thread.join(GRACE)
        if self.folder is not None:
            _end_processes(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _hold(self) -> None:
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self.address is None:
            options |= {"address": "local", "num_cpus": cores(), "include_dashboard": False}
            options |= {"object_store_memory": OBJECT_STORE, "_temp_dir": str(self.folder)}
        else:
            options |= {"address": self.address, "runtime_env": {"env_vars": _environment()}}
        try:
            ray.init(**options)
        except BaseException as error:  # also SystemExit; told by start()
            self._error = error
        self._answered.set()
        self._over.wait()


def first_line(error: BaseException) -> str:
    """An error on one line, without Ray's remote traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).splitlines() if line.strip()] or [""]
    return f"{type(cause).__name__}: {lines[-1].strip()[:200]}"


def _keep_quiet() -> None:
    """No usage statistics, and nothing of Ray's on the screen, where a progress bar is."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    ray._private.worker._worker_logs_enabled = False  # reports of dead workers, which our records tell


@contextmanager
def _silent_errors() -> Iterator[None]:
    """Drop what Ray's native code writes to the standard error every second while nobody answers; we say it in one line."""
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _knock(address: str, limit: float) -> None:
    """Raise UserError where no gRPC server is at ``host:port``: Ray itself says so late, at length, or never."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        patience = max(limit - time.monotonic(), 0.1)
        with socket.create_connection((host, int(port)), timeout=patience) as server:
            if os.environ.get("RAY_USE_TLS", "0") != "1":
                server.sendall(HELLO)
                if server.recv(9)[3:4] != SETTINGS:
                    raise OSError("what listens there is not Ray")
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address!r} ({error}); write host:port of its head node, "
            "or leave the address out to start one here"
        ) from error


def _environment() -> dict[str, str]:
    """Variables of this process that cells on a cluster started elsewhere need, paths made absolute."""
    chosen = {key: value for key, value in os.environ.items() if key.startswith("FOUNDRY_BENCH_")}
    folders = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return chosen | ({"PYTHONPATH": os.pathsep.join(folders)} if folders else {})


def _short_folder() -> str:
    """The temporary folder, or another one where its name is too long for sockets in it."""
    usual = tempfile.gettempdir()
    return usual if len(usual) + len("/ray-12345678") <= SOCKET_ROOM else "/tmp"


def _end_processes(folder: Path) -> None:
    """Kill what a local cluster has left: processes of ours that name its folder."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                process.kill()
                process.wait(GRACE)
