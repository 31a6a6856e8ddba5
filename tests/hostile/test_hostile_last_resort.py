"""Whatever escapes is one line with the file that holds the traceback, on whatever terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from door import assert_harmless, assert_refused, tried, tried_call

import foundry_bench.cli.info

ERRORS = {
    "runtime": "RuntimeError('no luck')",
    "memory": "MemoryError()",
    "recursion": "RecursionError('deep')",
    "system-exit": "SystemExit(0)",
    "system-exit-text": "SystemExit('bye')",
    "base": "BaseException('base')",
    "assertion": "AssertionError()",
    "os": "OSError(5, 'I/O', '/x')",
    "unicode": "UnicodeDecodeError('utf-8', bytes([255]), 0, 1, 'bad')",
    "escapes": r"ValueError('\x1b[31mred\n\nlines')",
    "surrogate": r"ValueError('\udcff')",
    "str-raises": "type('E', (Exception,), {'__str__': lambda e: 1 / 0})()",
    "group": "ExceptionGroup('all', [ValueError(1), KeyError(2)])",
}


def _command_raises(text: str, *actions: str) -> None:
    """``info tome`` with an error of the package's own in its middle, after ``actions``."""
    from foundry_bench.cli import main

    def describe(plugin: object) -> None:
        for action in actions:
            exec(action)
        raise eval(text)

    foundry_bench.cli.info.describe = describe  # type: ignore[assignment]
    main(["info", "tome"])


@pytest.mark.parametrize("case", ERRORS)
def test_what_escapes_is_one_line_with_its_traceback_in_a_file(tmp_path: Path, case: str) -> None:
    seen = tried_call(_command_raises, ERRORS[case], cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert_refused(seen, code=70, says="the traceback is in ")
    files = list(tmp_path.rglob("*.traceback.txt")) or list(Path(_named(seen.err)).parent.glob("*"))
    assert files == [] or "describe" in files[0].read_text()


def _named(text: str) -> str:
    found = re.search(r"the traceback is in (\S+)", text)
    assert found is not None
    return found[1]


def test_an_interrupt_is_no_error(tmp_path: Path) -> None:
    seen = tried_call(_command_raises, "KeyboardInterrupt()", cwd=tmp_path)
    assert (seen.code, seen.lines()) == (130, ["interrupted"])


BROKEN = {
    "none": "sys.stderr = sys.stdout = None",
    "closed": "sys.stderr.close(); sys.stdout.close()",
    "replaced": "sys.stderr = sys.stdout = object()",
    "no-folder": "import tempfile; tempfile.tempdir = '/no/such/folder'",
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_line_comes_out_of_broken_streams(tmp_path: Path, case: str) -> None:
    seen = tried_call(_command_raises, "ValueError('x')", f"import sys; {BROKEN[case]}", cwd=tmp_path)
    assert_refused(seen, code=70, says="ValueError: x")


ENCODINGS = ("ascii", "ascii:strict", "latin-1", "cp1252", "utf-16", "koi8-r")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command", [("info", "foundry"), ("data", "list"), ("info", "modelnet40")], ids=" ".join
)
def test_output_that_a_terminal_cannot_encode_is_replaced(
    tmp_path: Path, encoding: str, command: tuple[str, ...]
) -> None:
    seen = tried(*command, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert seen.code == 0
    assert "Traceback" not in seen.err


NAMES = (
    "é",
    "\u202e",
    "日本",
    "\x1b[31m",
    "\x07",
    "\ud83d",
    "\udcff",
    "a\nb",
    "\t",
    "[red]x[/red]",
    "\\",
    "😀",
    "x" * 5000,
    "\u200b",
    "",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_cannot_be_shown_are_escaped_in_errors(tmp_path: Path, encoding: str, name: str) -> None:
    for command in (("list", f"k{name}"), ("info", f"n{name}"), (f"c{name}",)):
        seen = tried(*command, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
        assert_refused(seen)


def _to_full_device() -> None:
    from foundry_bench.cli import main

    sys.stdout = open("/dev/full", "w")  # noqa: SIM115
    main(["info", "tome"])


def test_output_to_a_full_disk_is_one_line(tmp_path: Path) -> None:
    assert_refused(tried_call(_to_full_device, cwd=tmp_path), code=74, says="the output cannot be written")


def test_nothing_of_this_is_seen_where_all_is_well(tmp_path: Path) -> None:
    seen = tried("info", "tome", cwd=tmp_path)
    assert_harmless(seen)
    assert (seen.code, seen.err) == (0, "")
