"""What a folder's sub-folders and labels.csv say of its clouds: classes, sides, series; and the split that is drawn without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from official_layouts import box_cloud

from foundry_bench.datasets.catalog import dataset_sha256, load_dataset, resolved, understood
from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.folder import load_folder, understand_folder
from foundry_bench.datasets.folders.options import FolderOptions
from foundry_bench.errors import UserError

CLASSES = ("bolt", "nut")


def cloud(path: Path, seed: int = 0, points: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, box_cloud(seed, points))


def clouds(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        cloud(root / name, seed)


def table(root: Path, *rows: str, head: str = "path,class,split,series") -> None:
    (root / "labels.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


def said(root: Path) -> str:
    return understand_folder(root)[1].line()


def sides(data: PointCloudDataset) -> dict[str, str]:
    ((_, split),) = data.splits.items()
    return dict(zip(data.paths.tolist(), split.tolist(), strict=True))


def named(data: PointCloudDataset) -> dict[str, str]:
    names = [data.classes[label] if label >= 0 else "" for label in data.labels]
    return dict(zip(data.paths.tolist(), names, strict=True))


def test_sides_hold_classes(tmp_path: Path) -> None:
    clouds(
        tmp_path,
        "train/bolt/a.npy",
        "Training/nut/b.npy",
        "VAL/nut/c.npy",
        "test/bolt/x/d.npy",
        "test/nut/e.npy",
    )
    data = load_folder(tmp_path)
    assert named(data) == {
        "Training/nut/b.npy": "nut",
        "VAL/nut/c.npy": "nut",
        "test/bolt/x/d.npy": "bolt",
        "test/nut/e.npy": "nut",
        "train/bolt/a.npy": "bolt",
    }
    assert list(data.splits) == ["given"]
    assert list(sides(data).values()) == ["train", "val", "test", "test", "train"]
    assert "split 'given': 2 train, 1 val, 2 test" in said(tmp_path)


def test_classes_hold_sides(tmp_path: Path) -> None:
    clouds(
        tmp_path,
        *(f"{name}/{side}/{i}.npy" for name in CLASSES for side in ("train", "test") for i in range(2)),
    )
    data = load_folder(tmp_path)
    assert data.classes == CLASSES
    assert all(side == path.split("/")[1] for path, side in sides(data).items())
    cloud(tmp_path / "nut" / "loose.npy", 9)
    with pytest.raises(UserError, match=r"nut/loose.npy on neither side \(1 such clouds\): move them"):
        load_folder(tmp_path)


def test_a_class_may_be_called_like_a_side(tmp_path: Path) -> None:
    clouds(tmp_path, "train/a.npy", "car/b.npy", "bus/c.npy")
    assert load_folder(tmp_path).classes == ("bus", "car", "train")


def test_sides_beside_classes_are_one_line(tmp_path: Path) -> None:
    clouds(tmp_path, "train/bolt/a.npy", "test/bolt/b.npy", "washer/c.npy")
    with pytest.raises(
        UserError, match=r"has test, train beside washer: move the clouds of the latter into train/CLASS"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize("side", ["train", "test", "val"])
def test_one_side_alone_is_no_split(side: str, tmp_path: Path) -> None:
    clouds(tmp_path, *(f"{side}/{name}/{i}.npy" for name in CLASSES for i in range(4)))
    assert list(load_folder(tmp_path).splits) == ["drawn"]
    assert "by class from hashes of the paths, as only one side was given" in said(tmp_path)


def test_a_table_says_class_side_and_series(tmp_path: Path) -> None:
    clouds(tmp_path, "s/a.npy", "s/b, c.npy", "s/ü.npy", "s/d.npy", "s/e.npy")
    table(
        tmp_path,
        "./s/a.npy,bolt,Train,x",
        '"s/b, c.npy",nut,TESTING,',
        "s\\ü.npy,nut,validation,y",
        "s/d.npy,,,",
    )
    data = load_folder(tmp_path)
    assert named(data) == {
        "s/a.npy": "bolt",
        "s/b, c.npy": "nut",
        "s/d.npy": "",
        "s/e.npy": "",
        "s/ü.npy": "nut",
    }
    assert sides(data) == {
        "s/a.npy": "train",
        "s/b, c.npy": "test",
        "s/d.npy": "",
        "s/e.npy": "",
        "s/ü.npy": "val",
    }
    assert data.series.tolist() == ["x", "", "", "", "y"]
    assert "1 clouds have no row in labels.csv: unlabelled" in said(tmp_path)


@pytest.mark.parametrize("head", ["Path;Class", "path\tclass", "\ufeffpath,class", "class,note,path"])
def test_a_table_may_be_written_otherwise(head: str, tmp_path: Path) -> None:
    clouds(tmp_path, "a.npy", "b.npy")
    mark = ";" if ";" in head else "\t" if "\t" in head else ","
    rows = [["a.npy", "bolt"], ["b.npy", "nut"]]
    if head.startswith("class"):
        rows = [[name, "heavy", path] for path, name in rows]
    table(tmp_path, *(mark.join(row) for row in rows), head=head)
    assert named(load_folder(tmp_path)) == {"a.npy": "bolt", "b.npy": "nut"}


def test_a_table_without_sides_leaves_those_of_the_folders(tmp_path: Path) -> None:
    clouds(tmp_path, "train/a.npy", "train/b.npy", "test/c.npy", "test/d.npy")
    rows = ("train/a.npy,x", "train/b.npy,y", "test/c.npy,x", "test/d.npy,y")
    table(tmp_path, *rows, head="path,class")
    data = load_folder(tmp_path)
    assert list(data.splits) == ["given"]
    assert all(path.startswith(side) for path, side in sides(data).items())
    table(tmp_path, *(f"{row},train" for row in rows), head="path,class,split")
    assert list(load_folder(tmp_path).splits) == ["drawn"]


def test_a_table_counts_more_than_sub_folders(tmp_path: Path) -> None:
    clouds(tmp_path, "bolt/a.npy", "nut/b.npy")
    table(tmp_path, "bolt/a.npy,long", "nut/b.npy,short", head="path,class")
    assert load_folder(tmp_path).classes == ("long", "short")


def test_a_cloud_called_labels_is_a_cloud(tmp_path: Path) -> None:
    rows = "".join(f"{x},{y},{z}\n" for x, y, z in box_cloud(0, 64).tolist())
    (tmp_path / "labels.csv").write_text(f"x,y,z\n{rows}")
    assert load_folder(tmp_path).paths.tolist() == ["labels.csv"]


def test_a_drawn_split_takes_three_tenths_of_each_class_and_moves_little(tmp_path: Path) -> None:
    clouds(tmp_path, *(f"{name}/{i:02d}.npy" for name in CLASSES for i in range(20)))
    before = sides(load_folder(tmp_path))
    counts = Counter((path.split("/")[0], side) for path, side in before.items())
    assert counts == {(name, side): n for name in CLASSES for side, n in (("train", 14), ("test", 6))}
    assert "split 'drawn': 28 train, 12 test, by class from hashes of the paths, as none was given" in said(
        tmp_path
    )
    cloud(tmp_path / "nut" / "new.npy", 99)
    after = sides(load_folder(tmp_path))
    assert sum(after[path] != side for path, side in before.items()) <= 1


def test_a_drawn_split_keeps_series_and_copies_on_one_side(tmp_path: Path) -> None:
    names = [f"{i:02d}.npy" for i in range(30)]
    clouds(tmp_path, *names)
    for copy in ("07.npy", "19.npy"):
        (tmp_path / copy).write_bytes((tmp_path / "28.npy").read_bytes())
    table(tmp_path, *(f"{name},{CLASSES[i % 2]},,{i // 6 if i < 24 else ''}" for i, name in enumerate(names)))
    data = load_folder(tmp_path)
    found = sides(data)
    both = {(label, series): set() for label, series in zip(data.labels, data.series, strict=True) if series}
    for (path, side), label, series in zip(found.items(), data.labels, data.series, strict=True):
        if series:
            both[label, series].add(side)
        assert side, path
    assert all(len(kinds) == 1 for kinds in both.values())
    assert found["07.npy"] == found["19.npy"]  # of one class, and copies of each other
    assert "2 clouds are copies of others" in said(tmp_path)


def test_a_class_of_one_object_is_never_tested(tmp_path: Path) -> None:
    clouds(tmp_path, "bolt/a.npy", "bolt/b.npy", "nut/c.npy")
    assert sides(load_folder(tmp_path))["nut/c.npy"] == "train"
    assert "never tested, for want of a second object or series: nut" in said(tmp_path)
    (tmp_path / "bolt" / "b.npy").unlink()
    data = load_folder(tmp_path)
    assert data.splits == {}
    assert "two clouds or more, no copies" in data.advice["splits"]
    assert dict(understand_folder(tmp_path)[1].lines())["split"].startswith(
        "none: give its classes two clouds"
    )


def test_what_may_be_a_mistake_is_said(tmp_path: Path) -> None:
    clouds(tmp_path, "train/bolt/a.npy", "train/bolt/b.npy", "test/nut/c.npy", "test/d.npy")
    (tmp_path / "train" / "washer").mkdir()
    (tmp_path / "test" / "bolt").mkdir()
    line = said(tmp_path)
    assert "tested and never trained: nut" in line
    assert "no clouds in test/bolt, train/washer" in line
    assert "1 clouds lie in no class: unlabelled" in line
    assert "series unknown: each object its own" in line
    assert "z taken as up" in line


def test_one_folder_of_folders_says_which_to_name(tmp_path: Path) -> None:
    clouds(tmp_path, "set/bolt/a.npy", "set/nut/b.npy")
    assert f"if the sub-folders of set are classes, name {tmp_path / 'set'}" in said(tmp_path)


@pytest.mark.parametrize("pair", [("Bolt", "bolt"), ("caf\u00e9", "cafe\u0301"), ("big nut", "big  nut")])
def test_classes_that_differ_in_case_only_are_one_line(pair: tuple[str, str], tmp_path: Path) -> None:
    clouds(tmp_path, f"{pair[0]}/a.npy", f"{pair[1]}/b.npy")
    with pytest.raises(UserError, match="differ in case, accents or spaces only: give them one name"):
        load_folder(tmp_path)


def test_options_are_part_of_the_name_the_points_and_the_hash(tmp_path: Path) -> None:
    for name, factor in (("small", 1.0), ("large", 4.0)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", factor * box_cloud(1, 200))
    plain = load_dataset(str(tmp_path))
    turned = load_dataset(f"{tmp_path}?points=128&up=y&scale=10")
    assert turned.points.shape == (2, 128, 3)
    radii = np.linalg.norm(turned.points[:], axis=-1).max(axis=1)
    np.testing.assert_allclose(radii[0], 4 * radii[1], rtol=0.3)
    assert radii.max() < 1
    # Boxes are tall along y, which up=y makes z.
    assert (np.ptp(turned.points[:], axis=1).argmax(axis=1) == 2).all()
    assert (np.ptp(plain.points[:], axis=1).argmax(axis=1) == 1).all()
    asked = ["", "?up=y", "?points=128", "?scale=10", "?parts=none"]
    assert len({dataset_sha256(f"{tmp_path}{query}") for query in asked}) == len(asked)
    assert resolved(f"{tmp_path}?points=128&up=y&scale=10") == f"{tmp_path}?up=y&scale=10.0&points=128"
    assert resolved(f"{tmp_path}?up=z&points=2048") == str(tmp_path)
    assert dataset_sha256(f"{tmp_path}?up=z") == plain.sha256
    found = understood(f"{tmp_path}?up=y")
    assert found is not None
    assert "y is up, turned to z" in found.line()


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("up=x", "unknown up axis of a folder 'x'; known: z, y"),
        ("axis=y", "unknown folder option 'axis'"),
        ("scale=0", "scale=0.0 must be a number above 0"),
        ("scale=inf", "scale=inf must be"),
        ("scale=big", "scale=big must be"),
        ("scale=0.001", r"radius of \S+, more than scale=0.001, as 1 of 1 clouds have: write scale="),
        ("points=7", "points=7 must be a whole number from 32"),
        ("points=1e3", "points=1e3 must be"),
        ("parts=", "parts= names no column"),
        ("up=y&up=z", "up is given twice"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(query: str, line: str, tmp_path: Path) -> None:
    cloud(tmp_path / "a.npy")
    with pytest.raises(UserError, match=line) as error:
        load_dataset(f"{tmp_path}?{query}")
    assert "\n" not in str(error.value)


def test_the_scale_that_an_error_names_fits(tmp_path: Path) -> None:
    cloud(tmp_path / "a.npy")
    with pytest.raises(UserError) as error:
        load_folder(tmp_path, options=FolderOptions(scale=1e-3))
    assert load_dataset(f"{tmp_path}?{str(error.value).rpartition(' ')[2]}").points[0].shape == (2048, 3)


def test_options_of_what_is_no_folder_of_clouds_are_one_line() -> None:
    with pytest.raises(UserError, match="kicad takes no options such as"):
        load_dataset("kicad?up=y")
    with pytest.raises(UserError, match="data folder 'no/where' does not exist"):
        load_dataset("no/where?up=y")


def test_a_folder_that_is_called_as_if_it_had_options_is_itself(tmp_path: Path) -> None:
    cloud(tmp_path / "a?up=y" / "a.npy")
    assert load_dataset(str(tmp_path / "a?up=y")).paths.tolist() == ["a.npy"]


def test_what_a_table_says_is_part_of_the_hash(tmp_path: Path) -> None:
    clouds(tmp_path, "a.npy", "b.npy", "c.npy", "d.npy")
    hashes = [load_folder(tmp_path).sha256]
    for rows in (("a.npy,x", "b.npy,x", "c.npy,y"), ("a.npy,x", "b.npy,y", "c.npy,y")):
        table(tmp_path, *rows, head="path,class")
        hashes.append(load_folder(tmp_path).sha256)
    assert len(set(hashes)) == 3
