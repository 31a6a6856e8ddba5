"""``foundry-bench data`` on official data sets and folders of clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from official_layouts import WRITERS, box_cloud, write_modelnet40

from foundry_bench.cli.data import data
from foundry_bench.datasets import EMBEDDED
from foundry_bench.datasets.official.base import OfficialDataset
from foundry_bench.datasets.official.modelnet40 import ModelNet40
from foundry_bench.errors import UserError

every_set = pytest.mark.parametrize("official", WRITERS, ids=lambda official: official.name)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def invoke(*arguments: object) -> Result:
    """Runs ``data`` with the arguments."""
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_names_embedded_sets_first_and_says_which_official_ones_are_there(tmp_path: Path) -> None:
    folder = write_modelnet40(tmp_path)
    lines = invoke("list", "--root", tmp_path).stdout.splitlines()
    names = [line.split()[0] for line in lines]
    assert names[: len(EMBEDDED)] == list(EMBEDDED)
    assert names[len(EMBEDDED)] == "procedural"
    assert set(names[len(EMBEDDED) + 1 :]) == {official.name for official in WRITERS}
    for line in lines[len(EMBEDDED) + 1 :]:
        name = line.split()[0]
        expected = f"found in {folder};" if name == "modelnet40" else f"`foundry-bench data verify {name}`"
        assert expected in line


@every_set
def test_verify_of_a_whole_set_gives_counts_and_hash(official: type[OfficialDataset], tmp_path: Path) -> None:
    WRITERS[official](tmp_path)
    done = invoke("verify", official.name, "--root", tmp_path)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[-1] == "ok"
    assert lines[-2] == f"sha256 {official().sha256(tmp_path)}"
    dataset = official().load(tmp_path)
    assert f"{len(dataset.points)} clouds x {dataset.points.shape[1]} points" in lines[-3]
    test = int((dataset.splits["official"] == "test").sum())
    assert any(line.startswith(f"official test  {test} clouds") for line in lines)


def test_verify_points_out_counts_that_are_not_the_official_ones(tmp_path: Path) -> None:
    write_modelnet40(tmp_path)
    assert (
        "official train 8 clouds  (the official data set has 9840)"
        in invoke("verify", "modelnet40", "--root", tmp_path).stdout
    )


@every_set
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "nowhere"])
def test_verify_of_a_missing_set_says_all_about_it_and_exits_2(
    official: type[OfficialDataset], empty: bool, tmp_path: Path
) -> None:
    if empty:
        (tmp_path / official.folder).mkdir()
    done = invoke("verify", official.name, "--root", tmp_path if empty else tmp_path / "nowhere")
    assert done.exit_code == 2
    for line in official().problems(tmp_path if empty else tmp_path / "nowhere"):
        assert line in done.stdout.splitlines()
    assert official.url in done.stdout
    assert official.terms in done.stdout
    assert official.layout in done.stdout
    assert "ok" not in done.stdout.splitlines()


def test_verify_reads_every_cloud(tmp_path: Path) -> None:
    import h5py

    folder = write_modelnet40(tmp_path)
    with h5py.File(folder / "ply_data_test1.h5", "r+") as file:
        file["data"][1, 0, 0] = np.inf
    assert ModelNet40().problems(tmp_path) == []
    refused = invoke("verify", "modelnet40", "--root", tmp_path)
    assert isinstance(refused.exception, UserError)
    assert "ply_data_test1.h5 (cloud 1)" in str(refused.exception)


def test_verify_takes_a_folder_of_clouds(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", box_cloud(len(name), 100))
    done = invoke("verify", tmp_path)
    assert done.exit_code == 0, done.output
    assert "3 clouds x 2048 points, 2 classes" in done.stdout
    (tmp_path / "b" / "2.npy").write_bytes(b"")
    refused = invoke("verify", tmp_path)
    assert isinstance(refused.exception, UserError)
    assert "1 of 4 files" in str(refused.exception)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    refused = invoke("verify", "modelnet4", "--root", tmp_path)
    assert isinstance(refused.exception, UserError)
    assert "did you mean 'modelnet40'?" in str(refused.exception)
