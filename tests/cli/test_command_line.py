"""The command line: quick help, one line for every mistake, exit codes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundry_bench.cli import COMMANDS, main
from foundry_bench.errors import UserError
from foundry_bench.training.budget import REHEARSAL, get_budget


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, output and error output of one command in this process."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_help_imports_nothing_heavy() -> None:
    program = """
import sys
from foundry_bench.cli import main
try:
    main(["--help"])
except SystemExit as left:
    assert not left.code
heavy = {"torch", "numpy", "pandas", "rich", "scipy", "matplotlib", "timm", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


def test_no_commands_help_imports_torch() -> None:
    program = """
import sys
from foundry_bench.cli import COMMANDS, cli
for name in COMMANDS:
    cli.get_command(None, name)
heavy = {"torch", "pandas", "scipy", "matplotlib", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_is_there_in_well_under_a_second() -> None:
    command = [sys.executable, "-c", "from foundry_bench.cli import main; main()", "--help"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0, "0.3 s on a quiet machine"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call([command, "--help"], capsys)
    assert code == 0
    assert f"Usage: foundry-bench {command}" in out
    assert f"\n  foundry-bench {command}" in out, "an example"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "unknown command 'runn'; did you mean 'run'?"),
        (["run", "--budgett", "quick"], "No such option"),
        (["run", "--methods", "fondry"], "unknown method 'fondry'; did you mean 'foundry'?"),
        (["run", "--methods", "foundry[supertoken=4]"], "did you mean 'supertokens'?"),
        (["run", "--tasks", "fewshoot"], "unknown task 'fewshoot'; did you mean 'fewshot'?"),
        (["run", "--dataset", "kikad"], "unknown dataset 'kikad'; did you mean 'kicad'?"),
        (["run", "--engine", "lokal"], "unknown engine 'lokal'; did you mean 'local'?"),
        (["run", "--tasks", "default:kicad"], "default takes no data set"),
        (["run", "--seeds", "0"], "seeds must be a whole number of at least 1"),
        (["run", "--config", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["list", "method"], "unknown kind 'method'; did you mean 'methods'?"),
        (["info", "foundri"], "unknown name 'foundri'; did you mean 'foundry'?"),
        (["report", "nowhere"], "holds no results"),
        (["search", "--methods", "fondry"], "unknown method 'fondry'; did you mean 'foundry'?"),
        (["search", "--methods", "teacher"], "'teacher' is nothing to search"),
        (["search", "--tasks", "fewshoot"], "unknown task 'fewshoot'; did you mean 'fewshot'?"),
        (["search", "--budget", "quick/9"], "parts of its budget by itself; write --budget quick"),
        (["search", "--budget", "quik"], "unknown budget 'quik'; did you mean 'quick'?"),
        (["search", "--hours", "0"], "Invalid value for '--hours'"),
        (["search", "--keep", "nan"], "Invalid value for '--keep'"),
        (["search", "--latency", "5"], "write it with its unit, such as 5ms"),
        (["search", "--seeds", "0"], "seeds must be a whole number of at least 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(arguments, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


def test_a_dry_run_prints_the_cells_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["run", "--methods", "foundry[supertokens=4]", "--tasks", "fewshot", "--dry-run"]
    code, out, _ = call([*arguments, "--out", str(tmp_path / "out")], capsys)
    assert code == 0
    assert "student foundry[supertokens=4]+fmd" in out
    assert "5 cells to run, 0 reused, about" in out
    assert "a guess from the budget" in out
    assert not (tmp_path / "out").exists()


def test_lists_name_what_is_registered_and_by_whom(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(["list"], capsys)
    assert code == 0
    for name in ("foundry", "fewshot", "small", "kicad", "local"):
        assert name in out
    assert "foundry-bench" in out


def test_info_shows_parameters_grid_and_variants(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(["info", "foundry"], capsys)
    assert code == 0
    assert "supertokens = " in out
    assert "grid: supertokens = " in out
    assert "variants: fmd" in out


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foundry_bench", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("foundry-bench, version")


def test_an_unknown_budget_names_those_that_are_for_people() -> None:
    for name in ("fast", "", REHEARSAL):
        with pytest.raises(UserError, match=rf"unknown budget '{name}'; known: quick, standard, paper$"):
            get_budget(name)
    for name in ("Quick", "quick/0", "quick/99999", "quick/1"):
        with pytest.raises(UserError, match=rf"unknown budget '{name}'; did you mean 'quick'\?$"):
            get_budget(name)


@pytest.mark.parametrize("name", ["", REHEARSAL])
@pytest.mark.parametrize(
    "command",
    [
        ("run", "--methods", "teacher", "--dry-run"),
        ("search", "--dry-run"),
        ("evaluate", "teacher"),
        ("distill", "--method", "foundry", "-o", "student"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_refuses_a_budget_that_nobody_offers(
    command: tuple[str, ...],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main([*command, "--budget", name])
    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: unknown budget '{name}'; known: quick, standard, paper\n"
