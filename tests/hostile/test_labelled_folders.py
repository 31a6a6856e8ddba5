"""Folders whose labels contradict themselves, their files or each other: one line that names the fix, or a sensible reading."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from door import Executes, assert_harmless, assert_refused, tried, tried_call

from foundry_bench.datasets.catalog import load_dataset

CLOUD = np.random.default_rng(0).normal(size=(64, 3))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "cache"))


def cloud(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, CLOUD + seed * CLOUD[::-1] ** 2)


def _labelled(content: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name in ("a.npy", "b.npy", "sub/Big.npy", "c, d.npy"):
            cloud(root / name)
        (root / "labels.csv").write_bytes(content)

    return make


def _rows(*rows: str, head: str = "path,class,split,series") -> Callable[[Path], None]:
    return _labelled("\n".join([head, *rows, ""]).encode())


def _linked(to: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        cloud(root / "a.npy")
        (root / "labels.csv").symlink_to(to)

    return make


def _piped(root: Path) -> None:
    cloud(root / "a.npy")
    os.mkfifo(root / "labels.csv")


def _beside(write: Callable[[Path], object], name: str = "a.parts.npy") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        cloud(root / "bolt" / "a.npy")
        cloud(root / "nut" / "b.npy")
        write(root / "bolt" / name)

    return make


def _two_tables(root: Path) -> None:
    _rows("a.npy,bolt,,")(root)
    (root / "Labels.csv").write_text("path,class\na.npy,nut\n")


def _two_names(root: Path) -> None:
    _beside(lambda path: np.save(path, np.zeros(64)))(root)
    for name in ("parts.yaml", "parts.yml"):
        (root / name).write_text("bolt: [head]\n")


def _names_are_a_device(root: Path) -> None:
    _beside(lambda path: np.save(path, np.zeros(64)))(root)
    (root / "parts.yaml").symlink_to("/dev/zero")


REFUSED: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a row without its file": (
        _rows("a.npy,x,,", "gone.npy,x,,", "lost.npy,x,,"),
        ["line 3", "gone.npy", "add the file", "2 rows"],
    ),
    "another case": (_rows("sub/big.npy,x,,"), ["line 2", "did you mean 'sub/Big.npy'?"]),
    "no ending": (_rows("b,x,,"), ["did you mean 'b.npy'?"]),
    "a path outside": (_rows("../a.npy,x,,"), ["line 2", "'../a.npy'", "remove the row"]),
    "an absolute path": (_rows("/etc/passwd,x,,"), ["line 2", "'/etc/passwd'", "remove the row"]),
    "a file that is no cloud": (_rows("labels.csv,x,,"), ["is read as no cloud"]),
    "an empty path": (_rows(",x,,"), ["line 2"]),
    "two rows of one cloud": (_rows("a.npy,x,,", "./a.npy,y,,"), ["line 3", "as line 2 is: keep one"]),
    "an unknown side": (_rows("a.npy,x,holdout,"), ["line 2", "'holdout'", "write train, val or test"]),
    "a comma without quotes": (_rows("c, d.npy,x,,"), ["line 2", "5 cells, expected 4", "put quotes"]),
    "too few cells": (_rows("a.npy,x"), ["line 2", "2 cells, expected 4"]),
    "an open quote": (_rows('"a.npy,x,,'), ["cannot be read", "mend it"]),
    "no path": (_rows("a.npy,x", head="file,class"), ["no column 'path'", "path,class,split,series"]),
    "no class": (_rows("a.npy,x", head="path,klass"), ["no column 'class'", "rename its column 'klass'"]),
    "two classes": (_rows("a.npy,x,y", head="path,class,Class"), ["two columns 'class': keep one"]),
    "no rows": (_rows(), ["has no rows"]),
    "nothing": (_labelled(b""), ["no column 'path'"]),
    "Latin-1": (
        _labelled("path,class\na.npy,caf\u00e9\n".encode("latin-1")),
        ["is not UTF-8 (line 2)", "save it as UTF-8"],
    ),
    "UTF-16": (_labelled("path,class\na.npy,x\n".encode("utf-16")), ["UTF-16", "save it as UTF-8"]),
    "bytes": (_labelled(bytes(range(256)) * 8), ["labels.csv"]),
    "a path of many letters": (_rows(f"{'x' * 5000},x,,"), ["line 2", "remove the row"]),
    "no line ends": (_labelled(b"path,class" + b"x" * 300_000), ["labels.csv"]),
    "two tables": (_two_tables, ["Labels.csv and labels.csv: keep one"]),
    "two files of names": (_two_names, ["parts.yaml and parts.yml: keep one"]),
    "labels that would run": (
        _beside(lambda p: np.save(p, np.array([Executes()], object), allow_pickle=True)),
        ["a.parts.npy", "no array of numbers"],
    ),
    "labels cut off": (_beside(lambda p: p.write_bytes(b"\x93NUMPY\x01\x00")), ["a.npy", "a.parts.npy"]),
    "labels of words": (
        _beside(lambda p: p.write_text("head\n" * 3), "a.parts.txt"),
        ["a.parts.txt", "'head' (line 2)", "one whole number a point"],
    ),
    "labels of Latin-1": (
        _beside(lambda p: p.write_bytes(b"0\n\xe9\n"), "a.parts.txt"),
        ["a.parts.txt", "(line 2)"],
    ),
    "labels of UTF-16": (
        _beside(lambda p: p.write_bytes("0\n".encode("utf-16")), "a.seg"),
        ["a.seg", "UTF-16"],
    ),
    "endless numbers": (
        _beside(lambda p: p.write_text("1e999\n" * 64), "a.parts.txt"),
        ["NaN in its part labels"],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_labels_that_cannot_be_meant_are_one_line(kind: str, tmp_path: Path) -> None:
    make, says = REFUSED[kind]
    make(tmp_path / "set")
    assert_refused(tried_call(load_dataset, "set", cwd=tmp_path), says=says)


READ: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link that leads nowhere": (_linked("nowhere.csv"), "left out: 1 link"),
    "a link to a device": (_linked("/dev/zero"), "left out: 1"),
    "names that are a device": (_names_are_a_device, "no parts.yaml: parts are called 'part 0'"),
    "a pipe": (_piped, "left out: 1"),
    "a further column": (_rows("a.npy,x,9", "b.npy,y,8", head="path,class,weight"), "4 clouds in 2 classes"),
    "blank lines and spaces": (
        _rows("", " a.npy , x , Train ,", "", "b.npy, y,TEST,"),
        "split 'given': 1 train, 1 test",
    ),
    "quotes": (_rows('"c, d.npy","x, y",,'), "4 clouds in 1 classes"),
    "DOS line ends": (_labelled(b"path,class\r\na.npy,x\r\nb.npy,y\r\n"), "4 clouds in 2 classes"),
    "a class like a command": (_rows("a.npy,\x1b[31mred,,", "b.npy,'; true #,,"), "4 clouds in 2 classes"),
}


@pytest.mark.parametrize("kind", READ)
def test_labels_that_can_be_meant_are_read_and_said(kind: str, tmp_path: Path) -> None:
    make, line = READ[kind]
    make(tmp_path / "set")
    seen = tried("data", "verify", "set", cwd=tmp_path)
    assert_harmless(seen)
    assert seen.code == 0
    assert line in " ".join(seen.err.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("info", "set", "--up", "x"), "unknown up axis"),
        (("info", "set?up=y", "--up", "z"), "give one of them"),
        (("info", "kicad", "--up", "y"), "--up is for folders of clouds"),
        (("info", "set", "--points", "3"), "points=3 must be"),
        (("info", "set", "--scale", "nan"), "scale=nan must be"),
        (("evaluate", "teacher", "--task", "classification:set", "--scale", "-1"), "scale=-1.0 must be"),
        (("evaluate", "teacher", "--task", "fewshot:kicad", "--points", "64"), "--points is for folders"),
        (("evaluate", "teacher", "--task", "classification:set?parts=label"), "has the column 'label'"),
        (
            ("run", "--methods", "teacher", "--tasks", "fewshot:kicad", "--up", "y", "--dry-run"),
            "--up is for folders",
        ),
        (
            ("distill", "--method", "foundry", "--data", "set?axis=y", "-o", "out"),
            "unknown folder option 'axis'",
        ),
        (("distill", "--method", "foundry", "--up", "y", "-o", "out"), "--up is for folders"),
    ],
)
def test_options_that_cannot_be_meant_are_one_line(
    arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    for name in ("bolt/a.npy", "bolt/b.npy", "nut/a.npy", "nut/b.npy"):
        cloud(tmp_path / "set" / name)
    assert_refused(tried(*arguments, cwd=tmp_path), says=says)


NAMES = ["my, data", "a:b", "x [1]", "gr\u00f6\u00dfe \u5927", "it's", "a=b&c"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_is_a_data_set(name: str, tmp_path: Path) -> None:
    for seed, path in enumerate(("bolt/a.npy", "bolt/b, c.npy", "n\u00fct, m/a.npy", "n\u00fct, m/b.npy")):
        cloud(tmp_path / name / path, seed)
    for task in (f"classification:{name}",) if not set(name) & set(",[]'") else ():
        seen = tried("run", "--methods", "teacher", "--tasks", task, "--dry-run", "--out", "r", cwd=tmp_path)
        assert seen.code == 0, seen.err
    quoted = '"' + name + '"'
    for arguments in (
        ("--tasks", f"classification:{quoted}"),
        ("--tasks", "classification", "--dataset", quoted),
    ):
        seen = tried(
            "run", "--methods", "teacher", *arguments, "--dry-run", "--out", "r", "--up", "y", cwd=tmp_path
        )
        assert_harmless(seen)
        assert seen.code == 0, seen.err
        assert "y is up, turned to z" in seen.out
        assert f"classification:{name}?up=y" in seen.out
