"""Labels per point of a folder's clouds: columns and files beside them give the same parts, and names come from parts.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_layouts import box_cloud
from plyfile import PlyData, PlyElement

from foundry_bench.datasets.catalog import load_dataset
from foundry_bench.datasets.folder import load_folder, understand_folder
from foundry_bench.errors import UserError

CLOUD = np.round(box_cloud(1, 200), 3).astype(np.float64)
EDGE = float(np.median(CLOUD[:, 1])) + 5e-4
PARTS = (CLOUD[:, 1] > EDGE).astype(int)
NAMES = "bolt: [head, shaft]\nnut: [ring]\n"


def rows(separator: str, cells: np.ndarray) -> str:
    return "".join(separator.join(f"{value:g}" for value in row) + "\n" for row in cells.tolist())


def _ply(path: Path, text: bool) -> None:
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("part", "u1")]
    points = np.array([(*point, part) for point, part in zip(CLOUD, PARTS, strict=True)], kinds)
    PlyData([PlyElement.describe(points, "vertex")], text=text).write(path)


def _pcd(path: Path, style: str) -> None:
    head = (
        "VERSION 0.7\nFIELDS x y z part\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 200\nHEIGHT 1\n"
        f"POINTS 200\nDATA {style}\n"
    )
    cells = np.column_stack([CLOUD, PARTS])
    body = rows(" ", cells).encode() if style == "ascii" else cells.astype("<f4").tobytes()
    path.write_bytes(head.encode() + body)


def _beside(name: str, labels: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        np.save(folder / "a.npy", CLOUD)
        labels(folder / name)

    return write


WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file of labels": (_beside("a.parts.npy", lambda path: np.save(path, PARTS)), ""),
    "of floats": (_beside("a.parts.npy", lambda path: np.save(path, PARTS[:, None].astype(np.float32))), ""),
    "of text": (_beside("a.parts.txt", lambda path: np.savetxt(path, PARTS, "%d")), ""),
    "of text with a name": (
        _beside("a.parts.csv", lambda path: path.write_text("part\n" + rows(",", PARTS[:, None]))),
        "",
    ),
    "as ShapeNet has them": (_beside("a.seg", lambda path: np.savetxt(path, PARTS, "%d")), ""),
    "a named column of text": (
        lambda folder: (folder / "a.csv").write_text(
            "part,x,y,z\n" + rows(",", np.column_stack([PARTS, CLOUD]))
        ),
        "",
    ),
    "another column of text": (
        lambda folder: (folder / "a.csv").write_text(
            "x,y,z,label\n" + rows(",", np.column_stack([CLOUD, PARTS]))
        ),
        "?parts=label",
    ),
    "a column of text by its number": (
        lambda folder: (folder / "a.xyz").write_text(rows(" ", np.column_stack([CLOUD, CLOUD, PARTS]))),
        "?parts=6",
    ),
    "a column of an array": (
        lambda folder: np.save(folder / "a.npy", np.column_stack([CLOUD, PARTS])),
        "?parts=3",
    ),
    "an array of an archive": (lambda folder: np.savez(folder / "a.npz", points=CLOUD, part=PARTS), ""),
    "a property": (lambda folder: _ply(folder / "a.ply", text=False), ""),
    "a property of text": (lambda folder: _ply(folder / "a.ply", text=True), ""),
    "a field": (lambda folder: _pcd(folder / "a.pcd", "binary"), ""),
    "a field of text": (lambda folder: _pcd(folder / "a.pcd", "ascii"), ""),
}


def folder(root: Path, write: Callable[[Path], object]) -> Path:
    for name in ("bolt", "nut"):
        (root / name).mkdir(parents=True)
    write(root / "bolt")
    np.save(root / "nut" / "b.npy", box_cloud(2, 64))
    (root / "parts.yaml").write_text(NAMES)
    return root


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_each_point_its_part(way: str, tmp_path: Path) -> None:
    write, query = WAYS[way]
    data = load_dataset(f"{folder(tmp_path, write)}{query}")
    assert data.part_names == {"bolt": ("head", "shaft")}
    assert data.parts is not None
    assert data.parts.shape == (2, 2048)
    assert (np.asarray(data.parts[1]) == -1).all()
    points, parts = data.points[0], data.parts[0]
    middle = CLOUD.mean(axis=0)
    radius = np.linalg.norm(CLOUD - middle, axis=1).max()
    np.testing.assert_array_equal(parts, points[:, 1] * radius + middle[1] > EDGE)
    np.testing.assert_array_equal(data.parts[[0, 1], :5], np.stack([parts[:5], [-1] * 5]))


def test_points_without_coordinates_have_no_part(tmp_path: Path) -> None:
    def write(place: Path) -> None:
        gaps = np.vstack([np.full((90, 3), np.nan), CLOUD])
        np.save(place / "a.npy", gaps)
        np.save(place / "a.parts.npy", np.concatenate([np.full(90, np.nan), PARTS]))

    data = load_folder(folder(tmp_path, write))
    assert data.parts is not None
    middle, radius = CLOUD.mean(axis=0), np.linalg.norm(CLOUD - CLOUD.mean(axis=0), axis=1).max()
    np.testing.assert_array_equal(data.parts[0], data.points[0][:, 1] * radius + middle[1] > EDGE)


def test_without_names_parts_are_numbered_and_it_is_said(tmp_path: Path) -> None:
    folder(tmp_path, WAYS["a file of labels"][0])
    (tmp_path / "parts.yaml").unlink()
    data, understood = understand_folder(tmp_path)
    assert data.part_names == {"bolt": ("part 0", "part 1")}
    assert "parts in 1 of 2 clouds, 1 classes; no parts.yaml: parts are called 'part 0'" in understood.line()


def test_parts_without_classes_are_of_one_class(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", CLOUD)
        np.save(tmp_path / f"{name}.parts.npy", PARTS)
    data, understood = understand_folder(tmp_path)
    assert data.classes == (tmp_path.name,)
    assert data.part_names == {tmp_path.name: ("part 0", "part 1")}
    assert f"no classes: all clouds are taken for one, '{tmp_path.name}'" in understood.line()


def test_parts_can_be_left_out(tmp_path: Path) -> None:
    folder(tmp_path, WAYS["a file of labels"][0])
    np.save(tmp_path / "bolt" / "a.parts.npy", np.full(3, np.nan))
    with pytest.raises(UserError, match="has 3 labels for 200 points"):
        load_folder(tmp_path)
    data = load_dataset(f"{tmp_path}?parts=none")
    assert (data.parts, data.part_names) == (None, {})
    assert data.paths.tolist() == ["bolt/a.npy", "bolt/a.parts.npy", "nut/b.npy"][::2]


def test_a_changed_label_and_a_changed_name_change_the_hash(tmp_path: Path) -> None:
    folder(tmp_path, WAYS["a file of labels"][0])
    hashes = [load_folder(tmp_path).sha256]
    np.save(tmp_path / "bolt" / "a.parts.npy", 1 - PARTS)
    hashes.append(load_folder(tmp_path).sha256)
    (tmp_path / "parts.yaml").write_text("bolt: [shaft, head]\n")
    hashes.append(load_folder(tmp_path).sha256)
    assert len(set(hashes)) == 3


BAD: dict[str, tuple[object, str]] = {
    "NaN": (np.where(np.arange(200) == 7, np.nan, PARTS), r"has NaN in its part labels \(nan, point 8\)"),
    "fraction": (PARTS + 0.5, "has a fraction in its part labels"),
    "negative": (PARTS - 2, "has a number below -1"),
    "large": (PARTS * 1000, "has a number above 126"),
    "fewer": (PARTS[:150], "has 150 labels for 200 points: write one a point"),
    "more columns": (np.stack([PARTS, PARTS], 1), r"holds an array \(200, 2\), expected one number a point"),
    "unnamed": (PARTS + 1, r"names 2 parts of 'bolt' \(0 to 1\), its clouds have part 2: name all of them"),
    "objects": (np.array([{}], dtype=object), "is no array of numbers"),
}


@pytest.mark.parametrize("kind", BAD)
def test_labels_that_do_not_fit_are_one_line(kind: str, tmp_path: Path) -> None:
    content, line = BAD[kind]
    folder(tmp_path, _beside("a.parts.npy", lambda path: np.save(path, content, allow_pickle=True)))
    with pytest.raises(UserError, match=line) as error:
        load_folder(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "line"),
    [
        ("?parts=label", "has the column 'label'; bolt/a.csv has x, y, z, part, kind"),
        ("?parts=9", "has the column '9'"),
        ("?parts=kind", "holds something else than numbers in column 4"),
    ],
)
def test_a_column_that_is_none_is_one_line(column: str, line: str, tmp_path: Path) -> None:
    text = "x,y,z,part,kind\n" + rows(",", np.column_stack([CLOUD, PARTS])).replace("\n", ",metal\n")
    folder(tmp_path, lambda place: (place / "a.csv").write_text(text))
    np.save(tmp_path / "nut" / "b.npy", np.column_stack([CLOUD] * 2))
    assert load_folder(tmp_path).part_names
    with pytest.raises(UserError, match=line):
        load_dataset(f"{tmp_path}{column}")


NAMES_THAT_ARE_NONE = {
    "no mapping": ("- head\n- shaft\n", "must hold keys and values such as"),
    "empty": ("", "must hold keys and values such as"),
    "no YAML": ("bolt: [head\n", "cannot read"),
    "no UTF-8": (b"bolt: [t\xeate, shaft]\n", "cannot read|cannot be read"),
    "a class without names": (
        "nut: [ring]\n",
        r"has no names for the parts of class 'bolt': add the line 'bolt: \[name0, name1\]'",
    ),
    "another case": ("Bolt: [head, shaft]\n", "rename 'Bolt' there"),
    "too few names": ("bolt: [head]\n", "names 1 parts of 'bolt'"),
    "a text": ("bolt: head\n", "instead of the names of its parts"),
    "nothing": ("bolt:\n", "instead of the names of its parts"),
    "one name twice": ("bolt: [head, head]\n", "two parts called 'head'"),
    "a switch": ("bolt: [head, yes]\n", "a part called True: write a name"),
    "numbers with a gap": ("bolt: {0: head, 2: shaft}\n", "number them 0, 1, 2"),
    "a class twice": ("bolt: [head, shaft]\nbolt: [a, b]\n", "'bolt' stands twice"),
    "something to run": ("!!python/object/apply:os.system ['true']\n", "cannot read"),
}


@pytest.mark.parametrize("kind", NAMES_THAT_ARE_NONE)
def test_names_that_cannot_be_read_are_one_line(kind: str, tmp_path: Path) -> None:
    content, line = NAMES_THAT_ARE_NONE[kind]
    folder(tmp_path, WAYS["a file of labels"][0])
    (tmp_path / "parts.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=line) as error:
        load_folder(tmp_path)
    assert "parts.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_names_may_be_numbered(tmp_path: Path) -> None:
    folder(tmp_path, WAYS["a file of labels"][0])
    (tmp_path / "parts.yaml").write_text("bolt: {1: shaft, 0: head}\n")
    assert load_folder(tmp_path).part_names == {"bolt": ("head", "shaft")}


def test_labels_that_two_clouds_claim_are_one_line(tmp_path: Path) -> None:
    folder(tmp_path, WAYS["a file of labels"][0])
    (tmp_path / "bolt" / "a.xyz").write_text(rows(" ", CLOUD))
    with pytest.raises(UserError, match=r"bolt/a.npy and bolt/a.xyz would share the labels bolt/a.parts.npy"):
        load_folder(tmp_path)
    (tmp_path / "bolt" / "a.xyz").unlink()
    np.savetxt(tmp_path / "bolt" / "a.seg", PARTS)
    with pytest.raises(UserError, match=r"bolt/a.npy has two files of labels"):
        load_folder(tmp_path)
