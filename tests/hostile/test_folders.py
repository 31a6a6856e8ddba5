"""Folders of clouds with links, lists, foreign and unreadable files: what is not used is said, nothing loops or vanishes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from door import assert_harmless, assert_refused, tried, tried_call

from foundry_bench.datasets.embedded_reader import load_prepared
from foundry_bench.datasets.folder import load_folder

CLOUD = np.random.default_rng(0).normal(size=(64, 3))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "cache"))


def clouds(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, CLOUD)


def _classes(root: Path) -> None:
    clouds(root / "bolt" / "a.npy", root / "nut" / "b.npy")


def _linked_classes(root: Path) -> None:
    clouds(root.parent / "store" / "bolt" / "a.npy", root.parent / "store" / "nut" / "b.npy")
    root.mkdir()
    for name in ("bolt", "nut"):
        (root / name).symlink_to(root.parent / "store" / name)


def _loop(root: Path) -> None:
    _classes(root)
    for number in range(5):
        (root / "bolt" / f"up{number}").symlink_to(root)
        (root / "nut" / f"side{number}").symlink_to(root / "bolt")


def _dead_links(root: Path) -> None:
    _classes(root)
    (root / "bolt" / "gone.npy").symlink_to(root / "nowhere.npy")
    (root / "bolt" / "round.npy").symlink_to(root / "bolt" / "round.npy")


def _lists(root: Path) -> None:
    _classes(root)
    (root / "shape_names.txt").write_text("bolt\nnut\n")
    (root / "train.txt").write_text("bolt_0001\nnut_0002\n")
    (root / "filelist.csv").write_text("file,class\nbolt/a.npy,bolt\n")


def _inner_lists(root: Path) -> None:
    _classes(root)
    (root / "bolt" / "readme.txt").write_text("seen from the left\n")
    (root / "nut" / "inner").mkdir()
    np.savetxt(root / "nut" / "inner" / "b.txt", CLOUD)
    (root / "nut" / "b.npy").unlink()
    (root / "nut" / "angles.txt").write_text("inner 90\n")


def _upwards(root: Path) -> None:
    _classes(root)
    clouds(root.parent / "other" / "c.npy")
    (root / "bolt" / "all").symlink_to("/")
    (root / "nut" / "up").symlink_to(root.parent)


def _meshes(root: Path) -> None:
    _classes(root)
    (root / "bolt" / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")


def _foreign(root: Path) -> None:
    _classes(root)
    for name in ("README.md", "bolt/scan.e57", "bolt/scan2.E57", "LICENSE"):
        (root / name).write_text("x")


def _devices(root: Path) -> None:
    _classes(root)
    os.mkfifo(root / "bolt" / "pipe.npy")
    (root / "bolt" / "zero.npy").symlink_to("/dev/zero")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "plain": (_classes, "2 clouds in 2 classes"),
    "classes that are links": (_linked_classes, "2 clouds in 2 classes"),
    "links that go round": (_loop, "2 clouds in 2 classes; left out: 10 links"),
    "links that lead nowhere": (_dead_links, "2 clouds in 2 classes; left out: 2 links"),
    "lists beside classes": (_lists, "2 clouds in 2 classes; left out: 3 lists"),
    "lists inside classes": (_inner_lists, "2 clouds in 2 classes; left out: 2 lists"),
    "links to what holds the folder": (_upwards, "2 clouds in 2 classes; left out: 2 links"),
    "meshes beside points": (_meshes, "2 clouds in 2 classes; left out: 1 .obj"),
    "files of other kinds": (_foreign, "left out: 2 .e57, 1 .md, 1 without ending"),
    "pipes and devices": (_devices, "2 clouds in 2 classes; left out: 1"),
}


def _told(root: Path) -> tuple[list[str], tuple[str, ...], list[int]]:
    """What the log says, the classes and the labels of a folder."""
    said: list[str] = []
    log = logging.getLogger("foundry_bench")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    data = load_folder(root)
    data.points[:]
    return said, data.classes, data.labels.tolist()


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_is_used_and_what_is_left_out_is_said_in_one_line(kind: str, tmp_path: Path) -> None:
    make, line = FOLDERS[kind]
    make(tmp_path / "set")
    seen = tried_call(_told, tmp_path / "set", cwd=tmp_path)
    assert_harmless(seen)
    said, classes, labels = seen.value
    assert len(said) == 1
    assert line in said[0]
    assert (classes, labels) == (("bolt", "nut"), [0, 1])


def test_rows_without_coordinates_are_counted_also_when_they_are_remembered(tmp_path: Path) -> None:
    _classes(tmp_path / "set")
    np.save(tmp_path / "set" / "nut" / "b.npy", np.vstack([CLOUD, np.full((9, 3), np.nan)]))
    for _ in range(2):
        said = tried_call(_told, tmp_path / "set", cwd=tmp_path).value[0]
        assert "9 rows without coordinates in 1 clouds" in said[0]


def test_verify_says_what_a_folder_holds_and_what_is_left_out(tmp_path: Path) -> None:
    _lists(tmp_path / "set")
    seen = tried("data", "verify", "set", cwd=tmp_path)
    assert_harmless(seen)
    assert seen.code == 0
    assert "2 clouds in 2 classes; left out: 3 lists" in seen.err


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"[" * 100_000, b'{"version": 1, "entries": null}'])
def test_a_cache_that_holds_anything_else_is_made_again(content: bytes, tmp_path: Path) -> None:
    _lists(tmp_path / "set")
    first = tried_call(_told, tmp_path / "set", cwd=tmp_path).value
    for kept in (tmp_path / "cache").iterdir():
        kept.write_bytes(content)
    seen = tried_call(_told, tmp_path / "set", cwd=tmp_path)
    assert_harmless(seen)
    assert seen.value == first


DESCRIPTIONS = {
    "a list": "[]",
    "nothing of it": '{"schema_version": 1}',
    "deep": "[" * 100_000,
    "no files": '{"schema_version": 1, "name": "kicad", "files": null}',
    "files elsewhere": '{"schema_version": 1, "name": "kicad", "files": {"../a": {"sha256": "0"}}}',
}


@pytest.mark.parametrize("kind", [*DESCRIPTIONS, "a device"])
def test_a_description_of_anything_else_is_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    about = tmp_path / "set" / "dataset.json"
    if kind in DESCRIPTIONS:
        about.write_text(DESCRIPTIONS[kind])
    else:
        about.symlink_to("/dev/zero")
    for command in (("data", "verify", "set"), ("data", "verify", "kicad", "--root", "set")):
        assert_refused(tried(*command, cwd=tmp_path), says="set")
    assert_refused(tried_call(load_prepared, tmp_path / "set", cwd=tmp_path), says="set")


BAD_NAMES = [b"caf\xe9.npy", b"\xff\xfe.npy"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_utf8_is_one_line(name: bytes, tmp_path: Path) -> None:
    _classes(tmp_path / "set")
    (tmp_path / "set" / "bolt" / "a.npy").rename(tmp_path / "set" / "bolt" / os.fsdecode(name))
    assert_refused(tried_call(_told, tmp_path / "set", cwd=tmp_path), says="not UTF-8: rename it")


@pytest.mark.parametrize("name", ["a\nb.npy", "\x1b[31m.npy", "[red]a.npy", "'; true #.npy"])
def test_a_name_that_steers_a_terminal_is_read_and_shown_as_text(name: str, tmp_path: Path) -> None:
    clouds(tmp_path / "set" / name)
    seen = tried_call(_told, tmp_path / "set", cwd=tmp_path)
    assert_harmless(seen)
    assert seen.code == 0
    (tmp_path / "set" / name).write_bytes(b"")
    assert_refused(tried_call(_told, tmp_path / "set", cwd=tmp_path), says="cannot be read")


def test_many_of_other_kinds_beside_one_cloud_are_counted(tmp_path: Path) -> None:
    clouds(tmp_path / "set" / "a.npy")
    for number in range(80):
        (tmp_path / "set" / f"{number}.e57").write_bytes(b"x")
    said = tried_call(_told, tmp_path / "set", cwd=tmp_path).value[0]
    assert "1 clouds; left out: 80 .e57;" in said[0]


def test_a_folder_of_other_kinds_only_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "scan.e57").write_bytes(b"x")
    assert_refused(tried_call(_told, tmp_path / "set", cwd=tmp_path), says=["no point clouds", "1 .e57"])
