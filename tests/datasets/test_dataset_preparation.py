"""The whole preparation on small made-up source trees: same bytes, right labels, named errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from meshes import furniture_tree, kicad_tree

from foundry_bench.datasets import load_prepared
from foundry_bench.datasets.preparation import prepare_furniture, prepare_kicad, prepare_pretrain, selection
from foundry_bench.datasets.preparation.parts import NO_PART
from foundry_bench.errors import UserError

pytest.importorskip("numba")

HEADER, SPACER = "pin_header", "spacer"


def first_paths(label: str, count: int) -> list[str]:
    """The first paths of a KiCad class in the selection."""
    return [source.path for source in selection.kicad_sources() if source.label == label][:count]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a data-set folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def kicad_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = first_paths(HEADER, 3) + first_paths(SPACER, 2)
    return kicad_tree(tmp_path_factory.mktemp("kicad"), paths)


@pytest.fixture(scope="module")
def kicad_folder(kicad_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_kicad(kicad_source, tmp_path_factory.mktemp("out") / "kicad", points=64, jobs=1)


def test_same_bytes_twice_whatever_the_number_of_processes(
    kicad_source: Path, kicad_folder: Path, tmp_path: Path
) -> None:
    again = prepare_kicad(kicad_source, tmp_path / "again", points=64, jobs=2)
    assert folder_bytes(again) == folder_bytes(kicad_folder)
    assert set(folder_bytes(again)) == {"points.npz", "index.csv", "dataset.json", "LICENSE", "CREDITS.md"}


def test_bytes_do_not_depend_on_where_the_models_lie(
    kicad_source: Path, kicad_folder: Path, tmp_path: Path
) -> None:
    moved = prepare_kicad(kicad_source / "usr/share/kicad/3dmodels", tmp_path / "moved", points=64, jobs=1)
    assert folder_bytes(moved) == folder_bytes(kicad_folder)


def test_points_follow_the_model(kicad_source: Path, kicad_folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "changed"
    tree = kicad_tree(victim, first_paths(SPACER, 2))
    changed = load_prepared(prepare_kicad(tree, tmp_path / "out", points=64, jobs=1))
    before = load_prepared(kicad_folder)
    row = int(np.flatnonzero(before.paths == changed.paths[0])[0])
    assert not np.array_equal(before.points[row], changed.points[0])
    assert before.sha256 != changed.sha256


def test_prepared_kicad_set_has_labels_splits_and_parts(kicad_folder: Path) -> None:
    dataset = load_prepared(kicad_folder)
    assert dataset.points.shape == (5, 64, 3)
    assert dataset.points.dtype == np.float32
    assert {dataset.classes[label] for label in dataset.labels} == {HEADER, SPACER}
    assert set(dataset.splits) <= {"seed0", "seed1", "seed2"}
    assert dataset.parts is not None
    is_header = dataset.labels == dataset.classes.index(HEADER)
    assert dataset.part_names[HEADER] == ("insulator", "pin")
    assert (dataset.parts[~is_header] == NO_PART).all()
    # The made-up pin (thinner than the body in y) is the lower of the two boxes.
    for points, parts in zip(dataset.points[is_header], dataset.parts[is_header], strict=True):
        assert set(parts.tolist()) == {0, 1}
        assert points[parts == 1, 2].max() <= points[parts == 0, 2].min() + 0.01


def test_missing_models_are_recorded_as_skipped(kicad_folder: Path) -> None:
    about = json.loads((kicad_folder / "dataset.json").read_text(encoding="utf-8"))
    assert about["objects"] == 5
    assert len(about["skipped"]) == len(selection.kicad_sources()) - 5
    assert about["skipped"][0]["reason"] == "No such file or directory"


def test_broken_model_is_skipped_with_its_reason(tmp_path: Path) -> None:
    good, bad = first_paths(HEADER, 2)
    tree = kicad_tree(tmp_path / "tree", [good, bad])
    (tree / "usr/share/kicad/3dmodels" / bad).write_text("Transform { children [ ] }")
    out = prepare_kicad(tree, tmp_path / "out", points=32, jobs=1)
    reasons = {
        item["path"]: item["reason"] for item in json.loads((out / "dataset.json").read_text())["skipped"]
    }
    assert "Transform" in reasons[bad]
    assert load_prepared(out).paths.tolist() == [good]


def test_index_states_real_size_author_and_licence(kicad_folder: Path) -> None:
    with (kicad_folder / "index.csv").open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    # Boxes of 2 x 1 x 2 tenths of an inch: the radius is about half the diagonal, 1.5 x 2.54 mm.
    assert float(row["radius_mm"]) == pytest.approx(1.5 * 2.54, rel=0.2)
    assert row["creator"] == "Ada Lovelace"
    assert row["licence"] == "CC-BY-SA-4.0"
    assert "Ada Lovelace | 5" in (kicad_folder / "CREDITS.md").read_text(encoding="utf-8")


def test_furniture_has_its_catalogue_shape_and_credits(tmp_path: Path) -> None:
    paths = [source.path for source in selection.furniture_sources()][::60]
    tree = furniture_tree(tmp_path / "tree", paths)
    calls: list[tuple[int, int, str]] = []
    out = prepare_furniture(
        tree, tmp_path / "out", points=512, jobs=1, progress=lambda *call: calls.append(call)
    )
    dataset = load_prepared(out)
    assert dataset.paths.tolist() == paths
    assert dataset.parts is None
    assert dataset.splits == {}
    extent = np.ptp(dataset.points, axis=1)
    np.testing.assert_allclose(
        extent / extent[:, :1], np.broadcast_to([1.0, 0.5, 0.8], extent.shape), atol=0.05
    )
    text = (out / "CREDITS.md").read_text(encoding="utf-8")
    assert all(path in text for path in paths)
    total = len(selection.furniture_sources())
    assert [call[:2] for call in calls] == [(done, total) for done in range(1, total + 1)]


def test_pretraining_set_keeps_the_two_packages_in_two_files(tmp_path: Path) -> None:
    kicad = [source.path for source in selection.kicad_pretrain_sources()][:2]
    furniture = [source.path for source in selection.furniture_pretrain_sources()][:2]
    furniture_tree(kicad_tree(tmp_path / "tree", kicad), furniture)
    out = prepare_pretrain(tmp_path / "tree", tmp_path / "out", points=32, jobs=1)
    dataset = load_prepared(out)
    assert dataset.paths.tolist() == kicad + furniture
    assert dataset.labels.tolist() == [-1] * 4
    entries = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["files"]
    assert entries["kicad.npz"]["licence"] == "CC-BY-SA-4.0"
    assert "SA" not in entries["furniture.npz"]["licence"]


def test_an_earlier_folder_is_replaced_and_no_scratch_is_left(kicad_source: Path, tmp_path: Path) -> None:
    out = tmp_path / "kicad"
    out.mkdir()
    (out / "stale.txt").write_text("old")
    prepare_kicad(kicad_source, out, points=32, jobs=1)
    assert not (out / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["kicad"]


@pytest.mark.parametrize("make", [prepare_kicad, prepare_furniture, prepare_pretrain])
def test_missing_source_names_the_package_and_the_command(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"apt-get download .* dpkg -x") as error:
        make(tmp_path / "nowhere", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
