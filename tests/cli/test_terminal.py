"""What a terminal shows: phases and the time left, a last line that stays, no colours where none are wanted, quiet pipes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

SWEEP = """
import sys, time
from types import SimpleNamespace
from foundry_bench.cli import main
from foundry_bench.progress import SHARED
from foundry_bench.sweep import runner
from foundry_bench.sweep.estimate import Estimate
from foundry_bench.sweep.marks import Marks, Notice
from foundry_bench.sweep.reporting import InterruptedSweepError

def run_sweep(config, folder, display, **how):
    inputs = {"method": {"name": "foundry"}, "variant": "fmd", "task": None, "budget": {"steps": 200}}
    cell = SimpleNamespace(id="cell", kind="student", title="student foundry[supertokens=4]", inputs=inputs)
    marks = Marks(folder / "running")
    with marks.held("cell", Notice("student", cell.title)) as tell:
        display.step("rehearsing", 1, 2)
        display.step("rehearsing", 2, 2)
        display.begin([cell, SimpleNamespace(**{**vars(cell), "id": "other"})], Estimate({}), 2, marks)
        display.started(cell)
        time.sleep(0.2)
        tell(f"{SHARED}, 340 MB", 30, 60)
        time.sleep(1.5)
        raise InterruptedSweepError("interrupted; run the same command again to complete")

runner.run_sweep = run_sweep
main(["run", "--methods", "teacher", "--out", sys.argv[1]])
"""


def on_a_terminal(*command: str, **env: str) -> tuple[int, str]:
    """Exit code and all that a command writes to a terminal of 80 columns."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], command, {**os.environ, "COLUMNS": "120", "TERM": "xterm-256color", **env})
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # its end has gone
            break
        if not piece:
            break
        written += piece
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written.decode(errors="replace")


def test_an_interrupted_sweep_ends_with_the_line_that_says_how_to_go_on(tmp_path: Path) -> None:
    code, seen = on_a_terminal(sys.executable, "-c", SWEEP, str(tmp_path))
    assert code == 130
    shown, line, after = seen.partition("interrupted; run the same command again to complete")
    assert line
    assert after.strip() == "", "nothing moves the cursor up again or erases the line"
    assert "teacher's tokens, 340 MB" in shown, "the phase of the running cell"
    assert "30/60" in shown
    assert "0/?" not in shown
    assert re.search(r"\d+ (s|min) left", shown)


@pytest.mark.parametrize("colours", [True, False])
def test_colours_are_left_out_where_nobody_wants_them(colours: bool) -> None:
    env = {} if colours else {"NO_COLOR": "1"}
    code, seen = on_a_terminal(sys.executable, "-m", "foundry_bench", "run", "--methods", "fondry", **env)
    assert code == 2
    code, seen = on_a_terminal(
        sys.executable,
        "-c",
        "import sys; from foundry_bench.progress import console; console().print('[red]red[/red]')",
        **env,
    )
    assert code == 0
    assert bool(re.search(r"\x1b\[3\d", seen)) is colours


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "foundry_bench", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


def test_a_terminal_without_these_characters_gets_others() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "foundry_bench", "list", "engines"], capture_output=True, text=True, env=env
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "local" in done.stdout
