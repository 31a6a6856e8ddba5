"""Completion offers names, parameters and values, imports nothing heavy, and understands each shell's way to cut words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundry_bench.cli import COMMANDS, cli, main
from foundry_bench.cli.completion import SCRIPTS, items, words_of


def offered(line: str) -> list[str]:
    """What may stand at the end of a line; ``<file>`` and ``<dir>`` where the shell looks for one."""
    done, typed, _ = words_of(line)
    plain = ("plain", "open")
    return [i.value if i.type in plain else f"<{i.type}>" for i in items(cli, done[1:], typed)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compl", ["completion"]),
        ("list tea", ["teachers"]),
        ("run --tas", ["--tasks"]),
        ("run --budget ", ["quick", "standard", "paper"]),
        ("run --methods foundry-g", ["foundry-gate"]),
        ("run --methods teacher,foundry-g", ["teacher,foundry-gate"]),
        ("run --methods 'teacher,foundry-g", ["teacher,foundry-gate"]),
        ("run --methods tome[r=8]+fm", ["tome[r=8]+fmd"]),
        ("run --methods tome[r=8,proportional=t", ["tome[r=8,proportional=true"]),
        ("run --methods kd[depth=2,wi", ["kd[depth=2,width=1.0", "kd[depth=2,width=0.5"]),
        ("run --methods foundry[supertokens=2", ["foundry[supertokens=27"]),
        ("run --methods foundry[supertokens=27", ["foundry[supertokens=27", "foundry[supertokens=27]"]),
        ("run --methods foundry", ["foundry", "foundry-gate", "foundry-late", "foundry-nested", "foundry["]),
        ("run --tasks onep", ["onepatch"]),
        ("run --tasks fewshot:k", ["fewshot:kicad"]),
        ("run --tasks fewshot:kicad,fewshot[mode=fine", ["fewshot:kicad,fewshot[mode=finetune"]),
        ("run --engine loc", ["local"]),
        ("run --dataset procedural[clo", ["procedural[clouds=150000", "<dir>"]),
        ("search --methods tom", ["tome"]),
        ("evaluate foundry-g", ["foundry-gate", "<dir>"]),
        ("evaluate x --teacher small-", ["small-v1", "<file>"]),
        ("profile x --runtime ex", ["executorch"]),
        ("info kic", ["kicad", "<file>"]),
        ("report ", ["<file>"]),
        ("data ver", ["verify"]),
        ("run --methods nonsense[", []),
        ("run --methods foundry[nonsense=", []),
        ("run --methods ]]((", []),
    ],
)
def test_a_line_may_go_on_with(line: str, expected: list[str]) -> None:
    assert offered(f"foundry-bench {line}") == expected


def test_nothing_typed_offers_all_commands() -> None:
    assert offered("foundry-bench ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("line", "words", "typed", "quoted"),
    [
        ("a b", ["a"], "b", False),
        ("a b ", ["a", "b"], "", False),
        ("a 'b c", ["a"], "b c", True),
        ("a 'b c' d", ["a", "b c"], "d", False),
        ('a "b\\"c', ["a"], 'b"c', True),
        (r"a b\ c", ["a"], "b c", False),
        ("a ''", ["a"], "", False),
        ("a '' b", ["a", ""], "b", False),
        ("", [], "", False),
    ],
)
def test_words_are_cut_as_shells_do(line: str, words: list[str], typed: str, quoted: bool) -> None:
    assert words_of(line) == (words, typed, quoted)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with the command line as a program, and the shells' scripts."""
    for shell in SCRIPTS:
        (tmp_path / shell).write_text(SCRIPTS[shell])
    file = tmp_path / "foundry-bench"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -m foundry_bench "$@"\n')
    file.chmod(0o755)
    return tmp_path


def shell(program: Path, *command: str) -> list[str]:
    """The lines that a shell prints."""
    env = {**os.environ, "PATH": f"{program}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=program, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("foundry-bench run --methods foundry-g", ["foundry-gate"]),
        ("foundry-bench run --methods foundry[supertokens=2", ["27"]),
        ("foundry-bench run --methods=foundry-g", ["foundry-gate"]),
        ("foundry-bench run --methods 'foundry[supertokens=2", ["foundry[supertokens=27"]),
        ("foundry-bench run --tasks fewshot:kic", ["kicad"]),
    ],
)
def test_bash_gets_what_takes_the_place_of_its_word(program: Path, line: str, expected: list[str]) -> None:
    ask = (
        'source ./bash; COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; _foundry_bench_completion foundry-bench; '
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert shell(program, "bash", "--norc", "-c", ask, "bash", line) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_inside_brackets(program: Path) -> None:
    line = "foundry-bench run --methods 'teacher,foundry[supertokens=2"
    found = shell(program, "fish", "--no-config", "-c", 'source ./fish; complete -C "$argv"', line)
    assert found == ["teacher,foundry[supertokens=27"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_can_read_its_script(program: Path) -> None:
    done = subprocess.run(["zsh", "-n", str(program / "zsh")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", ["foundry-bench info fou", "foundry-bench evaluate foundry[supert"])
def test_completion_imports_nothing_heavy(line: str) -> None:
    code = """
import sys
from foundry_bench.cli import cli
from foundry_bench.cli.completion import answer
assert answer(cli, "fish") == 0
heavy = {"torch", "numpy", "pandas", "scipy", "yaml"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    env = {**os.environ, "COMP_LINE": line}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "foundry" in done.stdout


def test_what_goes_wrong_is_silent(tmp_path: Path) -> None:
    for line in ("foundry-bench nonsense ", "foundry-bench run extra "):
        env = {**os.environ, "_FOUNDRY_BENCH_COMPLETE": "bash"}
        env["COMP_LINE"] = line
        done = subprocess.run(
            [sys.executable, "-m", "foundry_bench"], capture_output=True, text=True, env=env
        )
        assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["completion", name])
    assert not left.value.code
    assert capsys.readouterr().out == SCRIPTS[name]
