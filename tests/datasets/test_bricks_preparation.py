"""The bricks from a small library: same bytes, folds, functions, credits, named errors."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ldraw_files import ldraw_tree, write

from foundry_bench.cli.data import data
from foundry_bench.datasets import load_embedded, load_prepared
from foundry_bench.datasets.embedded_reader import embedded_folder
from foundry_bench.datasets.format import index_columns
from foundry_bench.datasets.preparation import (
    brick_selection,
    prepare_bricks,
    prepare_bricks_unlabelled,
    selection,
)
from foundry_bench.datasets.preparation.brick_selection import capped, folds
from foundry_bench.errors import UserError

pytest.importorskip("numba")

SOURCE = "FOUNDRY_BENCH_LDRAW"
"""Environment variable that names an unpacked ``ldraw-parts-free``, for the rebuild of what ships."""


def of_class(label: str, count: int) -> list[str]:
    """The first paths of a class of the bricks."""
    return [source.path for source in brick_selection.brick_sources() if source.label == label][:count]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a data-set folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    unlabelled = [source.path for source in brick_selection.unlabelled_brick_sources()][:3]
    paths = of_class("brick", 3) + of_class("animal", 2) + unlabelled
    return ldraw_tree(tmp_path_factory.mktemp("ldraw"), paths)


@pytest.fixture(scope="module")
def folder(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_bricks(tree, tmp_path_factory.mktemp("out") / "bricks", points=128, jobs=1)


def test_same_bytes_whatever_the_processes_and_wherever_the_library_lies(
    tree: Path, folder: Path, tmp_path: Path
) -> None:
    again = prepare_bricks(tree / "usr/share/ldraw", tmp_path / "again", points=128, jobs=2)
    assert folder_bytes(again) == folder_bytes(folder)
    assert set(folder_bytes(again)) == {"points.npz", "index.csv", "dataset.json", "LICENSE", "CREDITS.md"}


def test_prepared_bricks_have_folds_and_functions(folder: Path) -> None:
    bricks = load_prepared(folder)
    assert bricks.points.shape == (5, 128, 3)
    assert bricks.novel_classes == bricks.classes
    assert set(bricks.splits) == {"fold0", "fold1", "fold2"}
    sides = np.stack(list(bricks.splits.values()))
    assert ((sides == "test").sum(axis=0) == 1).all()
    assert ((sides == "train").sum(axis=0) == 2).all()
    assert bricks.parts is not None
    is_brick = bricks.labels == bricks.classes.index("brick")
    assert (bricks.parts[~is_brick] == -1).all()
    names = bricks.part_names["brick"]
    for points, parts in zip(bricks.points[is_brick], bricks.parts[is_brick], strict=True):
        assert {names[part] for part in set(parts.tolist())} == {"body", "stud", "tube"}
        height = {name: points[parts == number, 2] for number, name in enumerate(names)}
        assert height["stud"].mean() > height["body"].mean() > height["tube"].mean()


def test_index_states_size_author_and_licence(folder: Path) -> None:
    with (folder / "index.csv").open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    # A box of 20 x 8 x 20 units of 0.4 mm with a stud and a tube: about 8 mm from its middle to its farthest corner.
    assert 5 < float(row["radius_mm"]) < 12
    assert row["licence"] == "CC-BY-4.0"
    assert row["creator"]
    credit = (folder / "CREDITS.md").read_text(encoding="utf-8")
    assert row["creator"] in credit
    assert "neither endorsed by nor affiliated with the LEGO Group" in credit
    assert "CC BY 4.0" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_unlabelled_bricks_have_no_labels_splits_or_parts(tree: Path, tmp_path: Path) -> None:
    rest = load_prepared(prepare_bricks_unlabelled(tree, tmp_path / "out", points=64, jobs=1))
    assert rest.labels.tolist() == [-1] * 3
    assert rest.splits == {}
    assert rest.parts is None


def test_the_command_gives_as_many_points_as_the_package_has(tree: Path, tmp_path: Path) -> None:
    asked = [
        "prepare",
        "bricks-unlabelled",
        "--source",
        str(tree),
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "1",
    ]
    done = CliRunner().invoke(data, asked)
    assert done.exit_code == 0, done.output
    assert (
        load_prepared(tmp_path / "out").points.shape[1] == load_embedded("bricks-unlabelled").points.shape[1]
    )


def test_a_broken_part_is_skipped_with_its_reason(tmp_path: Path) -> None:
    good, bad = of_class("brick", 2)
    tree = ldraw_tree(tmp_path / "tree", [good, bad])
    write(tree / "usr/share/ldraw", f"parts/{bad}", ["3 16 0 0 nonsense"])
    out = prepare_bricks(tree, tmp_path / "out", points=32, jobs=1)
    skipped = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["skipped"]
    reasons = {item["path"]: item["reason"] for item in skipped}
    assert reasons[bad] == f"{bad} line 5: not a number in '0 0 nonsense'"
    assert len(skipped) == len(brick_selection.brick_sources()) - 1
    assert load_prepared(out).paths.tolist() == [good]


@pytest.mark.parametrize("make", [prepare_bricks, prepare_bricks_unlabelled])
def test_a_missing_library_says_where_the_package_is(make: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"apt-get download ldraw-parts-free .* Debian 13.*docs/data.md"
    ) as error:
        make(tmp_path / "nowhere", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_the_selection_takes_a_few_of_a_series_and_every_series_before_seconds() -> None:
    rows = [{"file": f"{series}{number}.dat"} for series in range(80) for number in range(5)]
    series = [row["file"][:-5] for row in rows]
    chosen = capped(rows, ["brick"] * len(rows), series)
    counts = Counter(series[i] for i in chosen)
    assert len(chosen) == brick_selection.CLASS_CAP
    assert len(counts) == 80
    assert max(counts.values()) == 2
    few = capped(rows[:10], ["brick"] * 10, series[:10])
    assert [rows[i]["file"] for i in few] == [f"{s}{n}.dat" for s in range(2) for n in range(3)]
    assert len(capped(rows, [""] * len(rows), series)) == 80 * brick_selection.SERIES_CAP


def test_folds_keep_series_whole_and_classes_even() -> None:
    labels = ["a"] * 60 + ["b"] * 30
    series = [f"{label}/{number // 2}" for number, label in enumerate(labels)]
    fold = folds(labels, series)
    assert len({(name, number) for name, number in zip(series, fold.tolist(), strict=True)}) == len(
        set(series)
    )
    assert Counter(fold[:60].tolist()) == {0: 20, 1: 20, 2: 20}
    assert Counter(fold[60:].tolist()) == {0: 10, 1: 10, 2: 10}


def test_columns_of_the_other_sets_are_as_they_were() -> None:
    head = (embedded_folder("kicad") / "index.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.split(",") == list(index_columns(selection.SPLITS))


@pytest.mark.slow
@pytest.mark.skipif(SOURCE not in os.environ, reason=f"{SOURCE} names no unpacked ldraw-parts-free")
@pytest.mark.parametrize(
    ("name", "make", "points"),
    [("bricks", prepare_bricks, 2048), ("bricks-unlabelled", prepare_bricks_unlabelled, 1024)],
)
def test_what_ships_is_made_again_to_the_byte(
    name: str, make: Callable[..., Path], points: int, tmp_path: Path
) -> None:
    again = make(Path(os.environ[SOURCE]), tmp_path / name, points=points, jobs=os.cpu_count() or 1)
    assert folder_bytes(again) == folder_bytes(embedded_folder(name))
