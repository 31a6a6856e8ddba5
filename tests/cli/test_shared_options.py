"""One option means one thing in every command, and what programs read is nothing but JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest

from foundry_bench.cli import COMMANDS, cli, main
from foundry_bench.datasets import load_pretrain
from foundry_bench.sweep.store import Store

ROOT = Path(__file__).parents[2]
PLACES = {"-o", "--out"}
FINDS = sorted(set(COMMANDS) - {"data", "completion", "new", "check", "search"})
"""Commands that find something at once; `data` has commands below it, and the last two tell how they go on line by line."""


def options(command: str) -> dict[str, click.Option]:
    """The options of a command by each of their names."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return {name: p for p in found.params if isinstance(p, click.Option) for name in p.opts}


@pytest.mark.parametrize("name", ["--device", "--threads", "--data-root", "--json", "--teacher"])
def test_an_option_takes_the_same_everywhere(name: str) -> None:
    known = {command: options(command)[name] for command in COMMANDS if name in options(command)}
    assert len(known) > 5
    kinds = {(type(o.type), o.is_flag, o.multiple, getattr(o.type, "max", None)) for o in known.values()}
    assert len(kinds) == 1, known
    words = {str(option.help).partition(" ")[0] for option in known.values()}
    assert len(words - {"Name"}) == 1, words


def test_wherever_a_folder_may_stand_its_options_may(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = {"--dataset", "--data", "--distill-on"}
    named = {command for command in COMMANDS if takes & set(options(command))}
    asked = {command: {"--up", "--scale", "--points"} & set(options(command)) for command in named}
    without = {command for command, found in asked.items() if len(found) < 3}
    assert without == {"scale"}  # whose --points are sizes of one cloud, of which nothing is scored
    assert len(named) >= 8
    folder, out = str(scans), str(scans.parent / "out")
    for arguments in (
        ("run", "--methods", "teacher", "--tasks", "none", "--distill-on", folder, "--dry-run"),
        ("search", "--distill-on", folder, "--dry-run"),
        ("distill", "--method", "foundry", "--data", folder, "-o", out),
        ("evaluate", "teacher", "--dataset", folder),
        ("profile", "teacher", "--dataset", folder),
        ("visualize", "teacher", "--dataset", folder, "-o", out),
        ("export", "teacher", "--dataset", folder, "-o", out),
        ("pretrain", "--data", f"pretrain,{folder}", "-o", out),
        ("data", "verify", folder),
        ("info", folder),
        ("check", "fps", "--data", folder),
    ):
        for option, value, says in (
            ("--up", "x", "unknown up axis of a folder 'x'"),
            ("--points", "3", "points=3 must be a whole number"),
            ("--scale", "0", "scale=0.0 must be a number above 0"),
        ):
            with pytest.raises(SystemExit) as left:
                main([*arguments, option, value])
            said = capsys.readouterr().err
            assert (left.value.code, said.count("\n")) == (2, 1), said
            assert says in said, arguments


def test_options_of_a_folder_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("profile", "teacher"), ("pretrain", "-o", "nowhere"), ("data", "verify", "kicad")):
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--up", "y"])
        assert left.value.code == 2
        assert "--up is for folders of clouds, and none is named" in capsys.readouterr().err


def test_a_folder_is_read_as_its_options_say(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sha256(*more: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["data", "verify", *more])
        said = capsys.readouterr().out
        assert not left.value.code, said
        return said.split("sha256 ")[1].split()[0]

    plain, turned = sha256(str(scans)), sha256(str(scans), "--up", "y")
    assert turned != plain
    assert turned == sha256(f"{scans}?up=y")
    assert "x 64 points" in _said(capsys, "data", "verify", str(scans), "--points", "64")


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(arguments)
    return capsys.readouterr().out


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of eight real clouds."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, cloud in enumerate(load_pretrain().points[:8]):
        np.save(folder / f"{number}.npy", cloud)
    return folder


@pytest.mark.parametrize("command", [c for c in COMMANDS if PLACES & set(options(c))])
def test_a_place_for_the_result_is_called_the_same_everywhere(command: str) -> None:
    known = options(command)
    assert known["-o"] is known["--out"]


@pytest.mark.parametrize("command", FINDS)
def test_what_finds_something_tells_it_to_programs(command: str) -> None:
    assert "--json" in options(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is_for(command: str) -> None:
    assert all(option.help for option in options(command).values())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published results folder."""
    folder = tmp_path_factory.mktemp("published") / "reference-teacher"
    shutil.copytree(ROOT / "results" / "reference-teacher", folder, ignore=shutil.ignore_patterns(".cache"))
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object], str]:
    """Exit code, the JSON on standard output, and the error output of a command."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    return int(left.value.code or 0), json.loads(said.out), said.err


def test_json_is_all_that_goes_to_standard_output(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(results)
    for arguments, key in (
        (("list",), "methods"),
        (("list", "tasks"), "tasks"),
        (("info", "foundry"), "methods"),
        (("info", "kicad"), "datasets"),
        (("info", "small"), "encoder"),
        (("status", folder), "counts"),
        (("leaderboard", folder), "rows"),
        (("choose", folder, "--keep", "1", "--worst", "1"), "chosen"),
        (("compare", folder, folder, "--all"), "changes"),
        (("clean", folder, "--dry-run"), "would_remove"),
        (("data", "list"), "datasets"),
        (("run", "--methods", "teacher", "--tasks", "none", "--dry-run", "-o", f"{folder}-new"), "cells"),
    ):
        code, found, err = told(capsys, *arguments, "--json")
        assert (code, err) == (0, ""), arguments
        assert key in found


def test_a_data_set_tells_counts_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["info", "kicad"])
    said = capsys.readouterr().out
    assert "1807 objects x 1024 points, 26 classes, parts in 17 categories; CC-BY-SA-4.0" in said
    with pytest.raises(SystemExit):
        main(["info", "modelnet40"])
    assert "terms: " in capsys.readouterr().out


def test_a_published_folder_has_a_status_and_can_be_cleaned(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    before = {p for p in results.rglob("*") if p.is_file() and Store(results).cache not in p.parents}
    code, said = say("clean", str(results), "--cache", "--students")
    assert code == 0
    assert "a published folder" in said
    assert before <= set(results.rglob("*"))
    code, said = say("clean", str(results), "--others")
    assert (code, said.count("\n")) == (2, 1)
    assert "published without its plan" in said
    code, said = say("status", str(results))
    assert code == 0
    assert "a published folder" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--threds", "2"), "'--threads'"),
        (("evaluate", "teacher", "--devise", "cpu"), "Did you mean '--device'?"),
        (("profile", "teacher", "--outt", "x"), "--out"),
        (("leaderbord",), "did you mean 'leaderboard'?"),
        (("completion", "bsh"), "bash"),
        (("completion",), "zsh"),
        (("distill",), "--method"),
        (("run", "--threads", "0"), "--threads"),
    ],
)
def test_a_slip_is_one_line_with_what_was_meant(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert left.value.code == 2
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
