"""Plugin files: tried without an installation, in every command, every engine's cells and from Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import foundry_bench as fb
from foundry_bench import registry, selectors
from foundry_bench.beforehand import plugin_files
from foundry_bench.cli import COMMANDS, LazyGroup, cli, main
from foundry_bench.errors import UserError
from foundry_bench.report.page_details import options
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.identity import code_sha256
from foundry_bench.teachers.transformer import PointTransformer

KEEP_FIRST = Path(__file__).parents[1] / "plugin" / "keep_first.py"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What a test puts to use is not in use afterwards."""
    with plugin_files.used_for_a_while():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the plugin that has a name no module can have."""
    return Path(shutil.copy(KEEP_FIRST, tmp_path / "my keep-first.py"))


def foundry_bench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The real command line in a process of its own."""
    command = [sys.executable, "-m", "foundry_bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_plugin_files(command: str) -> None:
    assert isinstance(cli, LazyGroup)
    found = cli.get_command(None, command)  # type: ignore[arg-type]
    several = [found, *getattr(found, "commands", {}).values()]
    assert all(any("--plugin" in p.opts for p in one.params) for one in several if one is not None)


def test_a_file_is_used_by_its_name_and_forgotten_after_the_command(file: Path) -> None:
    done = CliRunner().invoke(cli, ["info", "keep-first", "--plugin", str(file)], catch_exceptions=False)
    assert f"keep-first (method) from {plugin_files.shown(file)}, KeepFirst" in done.output


def test_the_variable_reaches_another_process(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugin_files.VARIABLE, str(file))
    assert selectors.method_class("keep-first").__module__ == plugin_files.module_name(file)
    code = "from foundry_bench import selectors; print(selectors.method_class('keep-first').abstract)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "the first blocks" in done.stdout


def test_ids_change_with_the_file_and_with_what_it_imports(file: Path) -> None:
    neighbour = file.with_name("blocks_of_mine.py")
    neighbour.write_text("ONE = 1\n")
    file.write_text(file.read_text().replace("blocks: int = 1", "blocks: int = ONE").replace(
        "from typing", "from blocks_of_mine import ONE\nfrom typing", 1
    ))  # fmt: skip
    fb.load_plugin(file)
    first = code_sha256([selectors.method_class("keep-first")])
    neighbour.write_text("ONE = 1  # edited\n")
    assert code_sha256([selectors.method_class("keep-first")]) != first


def test_a_file_is_read_anew_when_it_is_loaded_again(file: Path) -> None:
    assert fb.load_plugin(file) == ("keep-first",)
    assert selectors.method_class("keep-first").grid == {"blocks": (1,)}
    file.write_text(file.read_text().replace('{"blocks": (1,)}', '{"blocks": (1, 2)}'))
    fb.load_plugin(file)
    assert selectors.method_class("keep-first").grid == {"blocks": (1, 2)}


def test_a_saved_student_names_its_file(file: Path, tiny_teacher: PointTransformer, tmp_path: Path) -> None:
    with plugin_files.used_for_a_while():
        fb.load_plugin(file)
        student = fb.make_student("keep-first[blocks=2]", tiny_teacher)
        fb.save_student(student, tmp_path / "student")
        assert torch.equal(
            *(next(one.parameters()) for one in (student, fb.load_student(tmp_path / "student")))
        )
    card = json.loads((tmp_path / "student" / "config.json").read_text())
    assert card["plugins"] == [{"file": file.name, "sha256": plugin_files.sha256(file)}]
    with pytest.raises(
        UserError, match=r"file my keep-first.py.*--plugin 'path/to/my keep-first.py'.*load_plugin"
    ):
        fb.load_student(tmp_path / "student")


WRONG = {
    "missing": (None, "does not exist"),
    "folder": ("folder", "is no file"),
    "syntax": ("def (:\n", ":1 cannot be read"),
    "nothing": ("x = 1\n", "registers nothing"),
    "no-name": ("from foundry_bench.authoring import Method\nclass KeepFirst(Method): pass\n", "has no name; add"),
    "bytes": ("\0", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, case: str) -> None:
    content, says = WRONG[case]
    path = tmp_path / "keep_first.py"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        fb.load_plugin(path)
    assert "\n" not in str(caught.value)


def test_a_broken_file_in_the_variable_is_told_where_a_name_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugin_files.VARIABLE, str(tmp_path / "gone.py"))
    assert "tome" in registry.entries("methods")
    with pytest.raises(UserError, match=r"'keep-first'.*gone.py' does not exist"):
        registry.load("methods", "keep-first")


def test_a_name_that_is_taken_spoils_that_name_only(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(KEEP_FIRST.read_text().replace('"keep-first"', '"tome"'))
    fb.load_plugin(file)
    with pytest.raises(
        UserError, match=r"two plugins are called 'tome' in methods: foundry-bench and .*mine.py"
    ):
        selectors.method_class("tome")
    assert selectors.method_class("fps").name == "fps"


def test_a_class_is_known_by_a_base_of_this_package(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from foundry_bench.methods.fps import FPS as Base\n"
        "from foundry_bench.datasets import PointCloudDataset, load_furniture\n"
        'NAME = "mine"\n'
        "class Mine(Base):\n    name = NAME\n"
        "def load_chairs_of_mine() -> PointCloudDataset:\n    return load_furniture()\n"
        "def _private() -> PointCloudDataset: ...\n"
        "def other(needed) -> PointCloudDataset: ...\n"
    )
    assert fb.load_plugin(file) == ("mine", "chairs-of-mine")
    assert selectors.method_class("mine")().tokens == 16
    assert len(fb.load_dataset("chairs-of-mine").points) > 10


def test_a_sweep_names_its_files_and_runs_again_by_them(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out + said.err

    monkeypatch.chdir(tmp_path)
    dry = ("--tasks", "none", "--dry-run", "--out", "again")
    code, first = call("run", "--methods", "keep-first", *dry, "--plugin", file.name)
    assert code == 0, first
    other = Path(shutil.copy(KEEP_FIRST, tmp_path / "second.py"))
    other.write_text(other.read_text().replace('"keep-first"', '"keep-second"'))
    with plugin_files.used_for_a_while():
        plugin_files.use(file)
        config = SweepConfig.about_to_run(None, {"methods": "keep-first", "tasks": "none"})
    assert config.plugins == (file.name,)
    Path("sweep.yaml").write_text(config.to_yaml())
    assert "keep-first" not in registry.entries("methods")
    code, again = call("run", "--config", "sweep.yaml", *dry)
    assert code == 0, again
    assert again.split()[1] == first.split()[1]  # the same student
    monkeypatch.setenv(plugin_files.VARIABLE, str(other))
    code, both = call("run", "--config", "sweep.yaml", "--methods", "keep-first,keep-second", *dry)
    assert code == 0, both
    assert "student keep-second" in both
    monkeypatch.delenv(plugin_files.VARIABLE)
    file.unlink()
    code, said = call("run", "--config", "sweep.yaml", *dry)
    assert (code, said.count("\n")) == (2, 1)
    assert f"plugins in sweep.yaml: plugin '{file.name}' does not exist" in said


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("plugins: 3", "plugins"),
        ("plugins: [4]", "plugins"),
        ("plugins: gone.py", "'gone.py' does not exist"),
    ],
)
def test_a_sweep_with_plugins_that_are_none_is_one_line(written: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(f"{written}\n")
    with pytest.raises(UserError, match=says) as caught:
        SweepConfig.about_to_run(tmp_path / "sweep.yaml", {})
    assert "\n" not in str(caught.value)


def test_a_command_of_one_row_names_the_files(file: Path) -> None:
    fb.load_plugin(file)
    sweep = SweepConfig.about_to_run(None, {"methods": "keep-first"})
    assert f"--plugin '{file}'" in options(["fewshot:kicad"], "small", sweep, None)


@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("local", "serial", "ray")],
)
def test_cells_of_an_engine_know_the_file(file: Path, tmp_path: Path, engine: str) -> None:
    from foundry_bench.encoder import EncoderConfig
    from foundry_bench.teachers import save_teacher

    sizes = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "points": 128}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16))).eval()
    save_teacher(teacher, tmp_path / "teacher", {})
    (tmp_path / "sweep.yaml").write_text("distill_on: procedural[clouds=100]\ntasks: [none]\n")
    options = ("--config", "sweep.yaml", "--teacher", "teacher", "--engine", engine, "--no-rehearsal")
    done = foundry_bench(
        "run", "--methods", "keep-first", *options, "--out", "out", "--plugin", file, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out" / "cells").glob("*/*.json"))) == 2
    assert os.environ.get(plugin_files.VARIABLE) is None
