"""The door through which every hostile test sends its input: a bounded, watched process for each case.

A command line as a user types it, and what must be seen of one that is refused::

    from door import assert_refused, tried

    seen = tried("info", "teacher", cwd=tmp_path)
    assert_refused(seen, says="teacher/config.json")          # exit code 2, one line, nothing executed or written outside

A function of the Python interface; a ``UserError`` counts as exit code 2 with its line, any other exception as a traceback::

    seen = tried_call(load_folder, tmp_path / "clouds", cwd=tmp_path)
    assert_refused(seen, says="cloud.ply")                    # or, for what must be read: seen.code == 0, seen.value

The function and its arguments are pickled: it is importable (a module's or a test module's own, no lambda or closure).

A plugin lies in a folder that ``plugins=[folder]`` puts on the path of the process and of those that it starts, as an
installation does; :func:`plugin_folder` writes one. Code that must not run calls :func:`payload`; a pickle that must not be
opened holds :class:`Executes`; both end in ``Seen.executed``.

A case costs about a tenth of a second: a server imports the whole package once and forks for each case. The child is in a
session of its own, holds at most ``megabytes`` more than the server, and is killed after ``seconds`` with all that it started.
What it may write is ``cwd``, the folders ``allowed``, its temporary folder and the package's cache; devices do not count.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SECONDS = 20.0
"""In which a case ends; a machine whose cores are all taken needs most of it for one that takes a second."""
MEGABYTES = 768
"""That a case may hold beside what the imports of the package hold: a small teacher and a batch of clouds need a third."""
MARK = "FOUNDRY_HOSTILE_MARK"
"""Names the file to which foreign code writes when it is executed."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one case.

    ``code`` is the exit code, negative for a signal; ``out`` and ``err`` are what it printed; ``seconds`` is wall time and
    ``megabytes`` the most memory that it held beside the server's own. ``executed`` names payloads that ran and foreign
    programs that were started, ``wrote_outside`` the paths outside the allowed folders that were written or removed, ``left``
    the number of processes that outlived it. ``value`` is what a function returned, None where it cannot be pickled.
    """

    args: tuple[Any, ...]
    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    executed: tuple[str, ...]
    wrote_outside: tuple[str, ...]
    left: int
    limits: tuple[float, float]
    value: Any = None

    def lines(self) -> list[str]:
        """The lines on standard error that are not empty."""
        return [line for line in self.err.splitlines() if line.strip()]


def tried(*args: object, cwd: Path, **bounds: Any) -> Seen:
    """Run ``foundry-bench ARGS`` in folder ``cwd``, within the ``bounds`` that :func:`_ask` explains."""
    return _ask(("command", list(map(os.fspath, map(_text, args)))), args, cwd, **bounds)


def tried_call(function: Callable[..., Any], *args: object, cwd: Path, **bounds: Any) -> Seen:
    """Call ``function(*args)`` in folder ``cwd``, bounded and watched as a command line is."""
    call = ("call", pickle.dumps((function, args)))
    return _ask(call, (function.__name__, *args), cwd, **bounds)


def assert_refused(seen: Seen, code: int = 2, says: str | Sequence[str] = ()) -> None:
    """Assert that the case ended with ``code`` and one line that a person understands, which holds every text of ``says``."""
    assert_harmless(seen)
    lines = seen.lines()
    assert seen.code == code, _told(seen, f"exit code {seen.code}, not {code}")
    assert len(lines) == 1, _told(seen, f"{len(lines)} lines on standard error, not one")
    line = lines[0].removeprefix("error: ").strip()
    assert line != lines[0], _told(seen, "the line is not marked as an error")
    assert len(line.split()) > 2, _told(seen, "no line that says what is wrong")
    for text in [says] if isinstance(says, str) else says:
        assert text in line, _told(seen, f"the line does not say {text!r}")


def assert_harmless(seen: Seen) -> None:
    """Assert what holds of every case, refused or not: no traceback, bounded, nothing executed, written outside or left."""
    seconds, megabytes = seen.limits
    assert seen.seconds < seconds, _told(seen, f"did not end in {seconds:.0f} seconds")
    assert seen.megabytes < megabytes, _told(seen, f"held {seen.megabytes:.0f} of {megabytes:.0f} MB")
    assert seen.code >= 0, _told(seen, f"was ended by signal {-seen.code}")
    assert "Traceback (most recent call last)" not in seen.out + seen.err, _told(seen, "a traceback")
    assert (seen.out + seen.err).replace("\n", "").replace("\t", "").isprintable(), _told(
        seen, "raw characters"
    )
    assert not seen.executed, _told(seen, f"executed {seen.executed}")
    assert not seen.wrote_outside, _told(seen, f"wrote {seen.wrote_outside}")
    assert not seen.left, _told(seen, f"left {seen.left} processes")


def payload(name: str = "payload") -> str:
    """A line of Python that is seen as ``name`` in ``Seen.executed`` when it runs, in whatever process."""
    return f"import os; open(os.environ[{MARK!r}], 'a').write({name + chr(10)!r})"


class Executes:
    """Runs a payload when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, (payload("unpickled"),)


def plugin_folder(
    folder: Path, entry_points: str | bytes, modules: Mapping[str, str] | None = None, name: str = "stranger"
) -> Path:
    """Write an installed distribution into ``folder``: the text of its ``entry_points.txt``, and module -> source."""
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    text = (
        entry_points if isinstance(entry_points, bytes) else entry_points.encode("utf-8", "surrogateescape")
    )
    (about / "entry_points.txt").write_bytes(text)
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source)
    return folder


def _text(argument: object) -> Any:
    return argument if isinstance(argument, (str, bytes, os.PathLike)) else str(argument)


def _told(seen: Seen, what: str) -> str:
    """A case in full, as the message of a failed assertion."""
    shown = " ".join(map(str, seen.args))
    return f"{what}\n  case: {shown}\n  out: {seen.out[-2000:]}\n  err: {seen.err[-4000:]}"


def _ask(
    what: tuple[str, Any],
    args: tuple[Any, ...],
    cwd: Path,
    *,
    env: Mapping[str, str | None] | None = None,
    seconds: float = SECONDS,
    megabytes: float = MEGABYTES,
    allowed: Iterable[Path] = (),
    plugins: Sequence[Path] = (),
) -> Seen:
    """Send one case to the server and read what it saw.

    ``env`` adds to the environment, or takes away where a value is None; ``allowed`` are folders in which the case may write,
    ``plugins`` those that are on its path.
    """
    request = {
        "what": what,
        "cwd": os.fspath(cwd),
        "environment": {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, plugins)), **(env or {})},
        "path": [*map(str, plugins), *sys.path],
        "seconds": seconds,
        "megabytes": megabytes,
        "allowed": list(map(str, allowed)),
    }
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    pickle.dump(request, server.stdin)
    server.stdin.flush()
    return Seen(args=args, limits=(seconds, megabytes), **pickle.load(server.stdout))


@cache
def _server() -> subprocess.Popen[bytes]:
    """The process that forks, started for the first case and ended with the tests."""
    folder = tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("door_server.py")), folder.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return process
