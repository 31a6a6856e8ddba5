"""The process behind :mod:`door`: it imports the package once, forks for every case, and tells what it saw.

A request and its answer are pickles on standard input and output. The child of a case is the case: it notes, in a hook that no
code can take away, what it opens for writing and which programs it starts.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

IMPORTS = (
    "torch", "pandas", "scipy.stats", "sklearn.linear_model", "h5py", "timm", "safetensors.torch", "matplotlib.pyplot",
    "fvcore.nn", "seaborn", "foundry_bench.api", "foundry_bench.sweep.runner", "foundry_bench.sweep.engines.local",
    "foundry_bench.report.writer", "foundry_bench.display",
)  # fmt: skip
"""What most cases need; what is not here is imported by the case itself."""
OURS = ("git", "nvidia-smi", "lscpu", "uname", "ldconfig", "file")
"""Programs that the package and its libraries start, beside Python."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CREATES = {"os.mkdir", "os.symlink", "os.link", "os.rename", "shutil.move", "shutil.copyfile"}
REMOVES = {
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.rmtree",
    "shutil.move",
}
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}


def serve(room: Path) -> None:
    """Answer requests until standard input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    _adopt_orphans()
    from foundry_bench import registry
    from foundry_bench.cli import COMMANDS

    for module, _ in COMMANDS.values():
        import_module(f"foundry_bench.cli.{module.partition(':')[0]}")
    for kind in registry.KINDS:
        for entry in registry.entries(kind).values():
            with suppress(ImportError):
                entry.load()
    for module in IMPORTS:
        with suppress(ImportError):  # a library of an extra
            import_module(module)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(_case(request, room, (requests, answers)), answers)
        answers.flush()


def _case(request: dict[str, Any], room: Path, ours: tuple[BinaryIO, BinaryIO]) -> dict[str, Any]:
    """Fork, wait within the bounds, and gather what the child left."""
    shutil.rmtree(room, ignore_errors=True)
    for folder in ("tmp", "home"):
        (room / folder).mkdir(parents=True)
    held, began, stamp = _megabytes(), time.monotonic(), time.time_ns()
    child = os.fork()
    if child == 0:
        for stream in ours:
            os.close(stream.fileno())
        _child(request, room)
    status, usage = _wait(child, began + request["seconds"])
    seconds = time.monotonic() - began
    notes = [line.split("\t", 1) for line in _read(room / "notes").splitlines() if "\t" in line]
    paths = {path for kind, path in notes if kind == "removed" or (kind == "made" and _made(path, stamp))}
    value = (room / "value").read_bytes() if (room / "value").exists() else b""
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": _read(room / "out"),
        "err": _read(room / "err"),
        "seconds": seconds,
        "megabytes": max(0.0, usage.ru_maxrss / 1024 - held),
        "executed": tuple(
            _read(room / "mark").splitlines() + [text for kind, text in notes if kind == "started"]
        ),
        "wrote_outside": tuple(sorted(paths)),
        "left": _end_all(child),
        "value": pickle.loads(value) if value else None,
    }


def _child(request: dict[str, Any], room: Path) -> None:
    """Be the case, then end as an interpreter does."""
    os.setsid()
    atexit._clear()  # what libraries registered in the server is not the case's
    atexit.register(multiprocessing.util._exit_function)
    for target, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(room / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), target)
    code = 1
    try:
        _settle(request, room)
        code = _work(*request["what"], room)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def _settle(request: dict[str, Any], room: Path) -> None:
    """Environment, folder, streams, bounds and watch of the case."""
    own = {
        "HOME": str(room / "home"),
        "TMPDIR": str(room / "tmp"),
        "FOUNDRY_HOSTILE_MARK": str(room / "mark"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
    }
    wanted = {**request["environment"], **own}
    os.environ.clear()
    os.environ.update({name: value for name, value in wanted.items() if value is not None})
    tempfile.tempdir = None  # the server's
    os.chdir(request["cwd"])
    sys.path[:] = request["path"]
    sys.dont_write_bytecode = True
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout = open(1, "w", encoding=encoding, errors=errors or "strict", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    cache = [os.environ[name] for name in ("FOUNDRY_BENCH_CACHE",) if name in os.environ]
    watch = _watcher([request["cwd"], str(room / "tmp"), *cache, *request["allowed"]], room / "notes")
    limit = int((_megabytes("VmData") + request["megabytes"]) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(watch)


def _work(kind: str, what: Any, room: Path) -> int:
    """The command line, or the function, whose value is left for the server."""
    from foundry_bench.errors import UserError

    if kind == "command":
        from foundry_bench.cli import main

        main(what)
        return 0
    function, arguments = pickle.loads(what)
    try:
        value = function(*arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with suppress(Exception):  # a value that cannot be pickled is not handed on
        (room / "value").write_bytes(pickle.dumps(value))
    return 0


def _watcher(allowed: list[str], notes: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that notes, line by line, the writing outside ``allowed`` and the starting of foreign programs."""
    inside = tuple(os.path.realpath(folder) + "/" for folder in [*allowed, "/dev"])
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    room = str(notes.parent) + "/"

    def note(kind: str, path: Any) -> None:
        if isinstance(path, int):  # an open file
            return
        real = os.path.realpath(os.fsdecode(path))
        if not (real + "/").startswith(inside) and real not in (room + "value", room + "mark"):
            os.write(file, os.fsencode(f"{kind}\t{real!r}\n"))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & WRITES:
            note("made", arguments[0])
        elif event in STARTS:
            program = os.fsdecode(arguments[0] or arguments[1][0])
            if os.path.basename(program.split()[0]) not in (*OURS, os.path.basename(sys.executable)):
                os.write(file, os.fsencode(f"started\t{program!r}\n"))
        if event in CREATES:
            note(
                "made",
                arguments[1]
                if len(arguments) > 1 and isinstance(arguments[1], (str, bytes))
                else arguments[0],
            )
        if event in REMOVES:
            note("removed", arguments[0])

    return watch


def _made(path: str, stamp: int) -> bool:
    """Whether an attempt to write came to something: ``path``, as the watcher writes it, has changed since ``stamp``."""
    try:
        return os.lstat(path.strip("'\"")).st_mtime_ns >= stamp - 10**7
    except OSError:
        return False


def _wait(child: int, until: float) -> tuple[int, resource.struct_rusage]:
    """Its status and use of resources; one that is late is killed."""
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.003)


def _end_all(child: int) -> int:
    """End what a case left running; the number of processes that it was. Those of other sessions have been adopted."""
    with suppress(ProcessLookupError):
        os.killpg(child, 0)
        time.sleep(0.2)  # what the case has told to end is ending
    left: set[int] = set()
    for _ in range(100):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        running = _children()
        if not running:
            break
        left.update(running)
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return len(left)


def _children() -> list[int]:
    """The children of this process; orphans of a case are among them."""
    text = _read(Path(f"/proc/self/task/{os.getpid()}/children"))
    return list(map(int, text.split()))


def _adopt_orphans() -> None:
    """Make orphans children of this process instead of the system's first one."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _megabytes(field: str = "VmRSS") -> float:
    """What this process holds, in MiB."""
    line = next(line for line in _read(Path("/proc/self/status")).splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


if __name__ == "__main__":
    serve(Path(sys.argv[1]) / "room")
