"""``foundry-bench data`` as a user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from meshes import kicad_tree

from foundry_bench.cli.data import data
from foundry_bench.datasets import EMBEDDED, load_embedded, load_prepared
from foundry_bench.datasets.embedded_reader import embedded_folder
from foundry_bench.datasets.preparation import selection
from foundry_bench.errors import UserError


def invoke(*arguments: object) -> Result:
    """Runs ``data`` with the arguments."""
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_shows_every_embedded_set_with_its_hash() -> None:
    lines = invoke("list").output.splitlines()[: len(EMBEDDED)]
    assert [line.split()[0] for line in lines] == list(EMBEDDED)
    for name, line in zip(EMBEDDED, lines, strict=True):
        assert load_embedded(name).sha256[:12] in line


def test_prepare_writes_a_folder_that_verifies(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    tree = kicad_tree(tmp_path / "tree", [source.path for source in selection.kicad_sources()][:2])
    out = tmp_path / "out"
    done = invoke("prepare", "kicad", "--source", tree, "--out", out, "--points", 32, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert f"2 objects x 32 points in {out}, 1805 skipped" in done.output
    assert "1807/1807" in done.output
    assert load_prepared(out).points.shape == (2, 32, 3)
    checked = invoke("verify", "kicad", "--root", out)
    assert checked.exit_code == 0
    assert "ok  2 objects x 32 points" in checked.output


def test_verify_accepts_the_parent_folder_and_refuses_another_set(tmp_path: Path) -> None:
    shutil.copytree(embedded_folder("furniture"), tmp_path / "furniture")
    assert invoke("verify", "furniture", "--root", tmp_path).exit_code == 0
    refused = invoke("verify", "kicad", "--root", tmp_path / "furniture")
    assert isinstance(refused.exception, UserError)
    assert "'furniture'" in str(refused.exception)


def test_verify_finds_a_changed_byte_in_any_file(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedded_folder("furniture"), tmp_path / "furniture"))
    path = folder / "CREDITS.md"
    path.write_bytes(path.read_bytes().replace(b"Credits", b"credits", 1))
    refused = invoke("verify", "furniture", "--root", folder)
    assert isinstance(refused.exception, UserError)
    assert "CREDITS.md is damaged" in str(refused.exception)


def test_prepare_without_the_package_says_how_to_get_it(tmp_path: Path) -> None:
    refused = invoke("prepare", "furniture", "--source", tmp_path, "--out", tmp_path / "out")
    assert isinstance(refused.exception, UserError)
    assert "apt-get download sweethome3d-furniture" in str(refused.exception)
