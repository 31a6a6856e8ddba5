"""The data sets that ship: intact, of the stated size, in the unit sphere, and clean."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from foundry_bench.datasets import EMBEDDED, PointCloudDataset, load_embedded, load_prepared
from foundry_bench.datasets.codec import STEP
from foundry_bench.datasets.embedded_reader import embedded_folder
from foundry_bench.datasets.preparation import selection
from foundry_bench.datasets.preparation.twins import TWIN_RATIO, Halves, ratios, twin_pairs
from foundry_bench.datasets.verification import verify_folder
from foundry_bench.errors import UserError

SHAPES = {
    "kicad": (1807, 1024, 3),
    "furniture": (264, 1024, 3),
    "pretrain": (2316, 2048, 3),
    "bricks": (2087, 2048, 3),
    "bricks-unlabelled": (1955, 1024, 3),
}


@pytest.fixture(params=EMBEDDED)
def dataset(request: pytest.FixtureRequest) -> PointCloudDataset:
    return load_embedded(request.param)


def index(name: str) -> list[dict[str, str]]:
    """Rows of the index of an embedded set."""
    with (embedded_folder(name) / "index.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_file_has_its_stated_sha256_and_counts(name: str) -> None:
    report = verify_folder(name)
    assert (report.objects, report.points) == SHAPES[name][:2]
    assert report.sha256 == load_embedded(name).sha256


def test_clouds_are_centred_in_the_unit_sphere(dataset: PointCloudDataset) -> None:
    assert dataset.points.shape == SHAPES[dataset.name]
    radius = np.linalg.norm(dataset.points, axis=2).max(axis=1)
    assert np.abs(radius - 1).max() < 2 * STEP
    assert np.abs(dataset.points.mean(axis=1)).max() < STEP


def test_points_are_in_random_order(dataset: PointCloudDataset) -> None:
    half = dataset.points.shape[1] // 2
    first, second = dataset.points[:, :half], dataset.points[:, half:]
    # Standard error of a half's mean is below 1 / sqrt(half); a sorted cloud is off by 0.3 and more.
    assert np.abs(first.mean(axis=1) - second.mean(axis=1)).max() < 6 / np.sqrt(half)
    assert np.abs(dataset.points[:, 0].mean(axis=0)).max() < 0.1


def test_objects_differ_from_one_another(dataset: PointCloudDataset) -> None:
    assert len(np.unique(dataset.paths)) == len(dataset.paths)
    assert len(np.unique(dataset.points[:, :4].reshape(len(dataset.points), -1), axis=0)) == len(
        dataset.points
    )


def test_kicad_labels_splits_and_parts_fit_together() -> None:
    kicad = load_embedded("kicad")
    assert len(kicad.classes) == 26
    assert kicad.labels.min() == 0
    assert set(kicad.novel_classes) < set(kicad.classes)
    for sides in kicad.splits.values():
        assert set(sides) == {"train", "test", ""}
        assert set(kicad.labels[sides == "train"]) == set(kicad.labels[sides == "test"]) == set(range(26))
        assert not set(kicad.series[sides == "train"]) & set(kicad.series[sides == "test"])
    assert kicad.parts is not None
    for label, name in enumerate(kicad.classes):
        found = set(np.unique(kicad.parts[kicad.labels == label]).tolist())
        assert found == (set(range(len(kicad.part_names[name]))) if name in kicad.part_names else {-1})


@pytest.mark.parametrize(
    ("category", "shares"),
    [
        ("to_can", [77.8, 17.5, 4.7]),
        ("seven_segment", [70.4, 21.8, 7.8]),
        ("ind_axial", [58.3, 41.7]),
        ("bga", [92.4, 7.6]),
    ],
)
def test_part_shares_are_those_of_the_independent_prototype(category: str, shares: list[float]) -> None:
    kicad = load_embedded("kicad")
    assert kicad.parts is not None
    labels = kicad.parts[kicad.labels == kicad.classes.index(category)]
    measured = [100 * float((labels == part).mean()) for part in range(len(shares))]
    assert measured == pytest.approx(shares, abs=1.0)


def test_pretraining_holds_no_novel_class_no_test_series_and_no_gpl_file() -> None:
    rows = index("pretrain")
    kicad_rows = [row for row in rows if row["file"] == "kicad.npz"]
    assert len(kicad_rows) == 1782
    novel = set(load_embedded("pretrain").novel_classes)
    assert len(novel) == 13
    tested = [row for row in index("kicad") if "test" in (row[f"split_seed{seed}"] for seed in range(3))]
    test_series = {(row["class"], row["series"]) for row in tested}
    clean = {source.path for source in selection.kicad_pretrain_sources()}
    for row in kicad_rows:
        assert row["class"] not in novel
        assert (row["class"], row["series"]) not in test_series
        assert row["path"] in clean
        assert row["licence"] == "CC-BY-SA-4.0"
    few_shot = set(load_embedded("furniture").classes)
    assert not few_shot & {row["class"] for row in rows}


def test_bricks_are_tested_once_each_and_folds_share_no_series() -> None:
    bricks = load_embedded("bricks")
    assert len(bricks.classes) == 31
    assert bricks.novel_classes == bricks.classes
    assert bricks.labels.min() == 0
    assert list(bricks.splits) == ["fold0", "fold1", "fold2"]
    sides = np.stack(list(bricks.splits.values()))
    assert ((sides == "test").sum(axis=0) == 1).all()
    assert ((sides == "train").sum(axis=0) == 2).all()
    for side in sides:
        assert not set(bricks.series[side == "train"]) & set(bricks.series[side == "test"])
        assert set(bricks.labels[side == "test"]) == set(range(31))
    assert max(Counter(bricks.series).values()) <= 3
    assert max(Counter(bricks.labels.tolist()).values()) <= 90


def test_bricks_have_functional_parts_in_eight_categories() -> None:
    bricks = load_embedded("bricks")
    assert len(bricks.part_names) == 8
    assert bricks.parts is not None
    for label, name in enumerate(bricks.classes):
        of_class = bricks.parts[bricks.labels == label]
        if name not in bricks.part_names:
            assert (of_class == -1).all()
            continue
        labelled = of_class[(of_class >= 0).any(axis=1)]
        assert (labelled >= 0).all()
        shown = [(labelled == part).sum(axis=1) >= 16 for part in range(len(bricks.part_names[name]))]
        assert min(part.sum() for part in shown) >= 8


def clear_twins(left: Halves, right: Halves | None = None) -> np.ndarray:
    """Twins whatever points were drawn: twins were chosen by other samplings, which differ by a few per cent."""
    pairs = twin_pairs(left, right)
    return pairs[ratios(left, right or left, pairs) < TWIN_RATIO - 0.07]


def test_no_near_twin_of_a_brick_is_unlabelled() -> None:
    bricks, rest = load_embedded("bricks"), load_embedded("bricks-unlabelled")
    cores = Halves.of(bricks.points[:, :1024])
    # A tenth of them: all take a minute.
    assert len(clear_twins(Halves.of(rest.points[::10]), cores)) == 0
    some = np.arange(0, len(bricks.points), 50)
    assert {tuple(pair) for pair in clear_twins(cores[some], cores).tolist()} >= {
        (number, row) for number, row in enumerate(some.tolist())
    }


@pytest.mark.parametrize("name", ["tyre", "train_track", "technic_axle_pin"])
def test_near_twins_among_bricks_are_of_one_series(name: str) -> None:
    bricks = load_embedded("bricks")
    rows = np.flatnonzero(bricks.labels == bricks.classes.index(name))
    twins = clear_twins(Halves.of(bricks.points[rows, :1024]))
    assert len(twins)
    first, second = bricks.series[rows[twins]].T
    assert (first == second).all()


def test_no_brick_and_no_class_of_bricks_is_unlabelled() -> None:
    bricks, rest = load_embedded("bricks"), load_embedded("bricks-unlabelled")
    assert not set(bricks.paths) & set(rest.paths)
    merged = selection.rules().brick_merged
    for row in index("bricks-unlabelled"):
        assert merged.get(row["class"], row["class"]) not in bricks.classes
        assert row["licence"] == "CC-BY-4.0"
        assert row["creator"]


def test_every_furniture_model_is_credited() -> None:
    text = (embedded_folder("furniture") / "CREDITS.md").read_text(encoding="utf-8")
    for row in index("furniture"):
        assert row["path"] in text
        assert row["creator"]
        assert row["licence"] in {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US"}


def test_embedded_sets_stay_small() -> None:
    size = sum(path.stat().st_size for name in EMBEDDED for path in embedded_folder(name).iterdir())
    assert size < 45e6


def test_truncated_file_is_an_error_that_names_file_sums_and_fix(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedded_folder("furniture"), tmp_path / "furniture"))
    path = folder / "points.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError) as error:
        load_prepared(folder)
    message = str(error.value)
    assert str(path) in message
    assert len(set(re.findall(r"[0-9a-f]{64}", message))) == 2
    assert "data prepare" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["points.npz", "index.csv", "dataset.json"])
def test_missing_file_is_named(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedded_folder("furniture"), tmp_path / "furniture"))
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing"):
        load_prepared(folder)


def test_loading_twice_reads_once() -> None:
    assert load_embedded("furniture") is load_embedded("furniture")


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="kicad, furniture, pretrain"):
        load_embedded("shapenet")


def test_import_is_light() -> None:
    heavy = ("torch", "pandas", "numba", "rich", "matplotlib")
    code = f"import sys, foundry_bench.datasets; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
