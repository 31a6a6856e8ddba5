"""Results folders in which somebody wrote nonsense and a digest that goes with it, or put something else in a file's place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from door import assert_harmless, tried, tried_call

from foundry_bench.errors import UserError
from foundry_bench.report.frame import load_results
from foundry_bench.storage import sealed
from foundry_bench.sweep import snapshot
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.leftovers import Leftover
from foundry_bench.sweep.store import KINDS, Store, digest

SOURCE = Path(__file__).parents[2] / "tests" / "golden" / "standard"
SURROGATE = "\ud800"


def finished_cells(folder: Path) -> int:
    """How many cells count as finished; a function of this module, so that it can be called in another process."""
    return int((load_results(folder)["status"] == "ok").sum())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished sweep with its plan."""
    folder = tmp_path / "results"
    shutil.copytree(SOURCE, folder)
    cells = []
    for kind in KINDS:
        for file in sorted((folder / "cells" / kind).glob("*.json")):
            inputs = json.loads(file.read_bytes())["inputs"]
            about = {"kind": kind, "id": file.stem, "parent": inputs.get("student"), "broken": None}
            cells.append({**about, "inputs": inputs})
    plain = SweepConfig.from_sources(folder / "sweep.yaml", {}).to_plain()
    empty: dict[str, Any] = {"fingerprint": None, "sources": [], "warnings": [], "tables": {}}
    (folder / "cells" / "plan.json").write_bytes(sealed({**empty, "resolved": plain, "cells": cells}))
    return folder


def changed(content: Any, path: str, value: Any) -> Any:
    *above, last = path.split(".")
    place = content
    for name in above:
        place = place[int(name) if isinstance(place, list) else name]
    place[last] = value
    return content


RECORDS: list[tuple[str, str, Any]] = [
    *(("student", "inputs.shown", value) for value in ([], 5, SURROGATE)),
    *(("student", "inputs.teacher", value) for value in (float("nan"), None, "small")),
    *(("student", "inputs.teacher.name", value) for value in ({"a": None}, [])),
    *(("student", "environment.packages", value) for value in ("x", [None])),
    *(("student", "environment.git.sha", value) for value in ([None], 5)),
    *(("student", "identity.attempt", value) for value in (10**30, "1", True, None)),
    *(("student", "identity.status", value) for value in ("okay", [], None)),
    *(("student", "fidelity.r2", value) for value in (float("inf"), "1", 10**400)),
    *(("profile", "cost.latency_ratio", value) for value in ("[red]", [], float("nan"))),
    *(("evaluate", "scores.values", value) for value in ([None], {}, [{}])),
    *(("evaluate", "scores.outcomes_file", value) for value in ("../../x", 5, "a" * 5000)),
    *(("evaluate", "inputs.dataset", value) for value in ("kicad", None)),
    *(("evaluate", "inputs.dataset.name", value) for value in ([], None)),
    ("evaluate", "scores", None),
    ("evaluate", "identity.kind", "student"),
]


@pytest.mark.parametrize(
    ("kind", "path", "value"), RECORDS, ids=lambda value: repr(value)[:30].encode("ascii", "replace").decode()
)
def test_a_record_of_a_shape_that_no_cell_leaves_counts_as_missing(
    kind: str, path: str, value: Any, results: Path
) -> None:
    before = finished_cells(results)
    file = sorted((results / "cells" / kind).glob("*.json"))[0]
    record = changed(json.loads(file.read_bytes()), path, value)
    file.write_text(json.dumps({**record, "digest": digest(record)}))
    assert finished_cells(results) == before - 1
    (results / "cells" / "plan.json").unlink()
    assert finished_cells(results) == before - 1
    assert Store(results).read(kind, file.stem) is None


PLANS: list[tuple[str, Any]] = [
    *(("cells", value) for value in (True, None, [None], [{}])),
    *(("cells.3.inputs", value) for value in (None, [], {})),
    *(("cells.3.inputs.dataset", value) for value in ("kicad", 5)),
    *(("cells.3.parent", value) for value in ({}, 5)),
    *(("resolved", value) for value in ({"seeds": -1}, {"x": 1}, [], None)),
    ("tables", {"a": None}),
    ("sources", "x"),
]


@pytest.mark.parametrize(("path", "value"), PLANS, ids=lambda value: repr(value)[:30])
def test_a_plan_of_another_shape_is_none(path: str, value: Any, results: Path) -> None:
    file = results / "cells" / "plan.json"
    content = changed(json.loads(file.read_bytes())["content"], path, value)
    file.write_bytes(sealed(content))
    assert snapshot.read(Store(results)) is None
    assert finished_cells(results) > 0, "reports are made from the records alone"


@pytest.mark.parametrize(
    "value", [None, True, [], {}, {"stamp": [1], "entry": {}}, {"stamp": None, "entry": None}]
)
def test_an_index_of_another_shape_is_made_again(value: Any, results: Path) -> None:
    before = finished_cells(results)
    file = results / ".cache" / "index.json"
    content = json.loads(file.read_bytes())["content"]
    first = next(iter(content["entries"]))
    content["entries"][first] = value
    file.write_bytes(sealed(content))
    assert finished_cells(results) == before


def test_the_command_goes_on_too(results: Path, tmp_path: Path) -> None:
    file = sorted((results / "cells" / "student").glob("*.json"))[0]
    record = changed(json.loads(file.read_bytes()), "inputs.teacher.name", {"a": None})
    file.write_text(json.dumps({**record, "digest": digest(record)}))
    seen = tried("status", "results", cwd=tmp_path)
    assert_harmless(seen)
    assert (seen.code, "1 missing" in seen.out) == (0, True)


# What stands in the place of a folder or a file.

INSTEAD: dict[str, Callable[[Path], object]] = {
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a file": lambda path: path.write_text("x"),
    "a deep file": lambda path: path.write_text("[" * 60_000),
    "a notice of other types": lambda path: path.write_text('{"kind": 5, "title": null, "engine": []}'),
    "a notice without a zone": lambda path: path.write_text(
        '{"kind": "x", "title": "y", "start": "2026-01-01"}'
    ),
    "a file of a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}
PLACES = ("cells/evaluate", ".cache", ".cache/running", ".cache/running/sweep-1", ".cache/index.json")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", INSTEAD)
def test_whatever_stands_there_is_passed_over(what: str, place: str, results: Path, tmp_path: Path) -> None:
    path = results / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    INSTEAD[what](path)
    for command in (("status", "results"), ("clean", "results", "--dry-run", "--others")):
        seen = tried(*command, cwd=tmp_path)
        assert_harmless(seen)
        assert seen.code == 0, seen.err


@pytest.mark.parametrize("what", [name for name in INSTEAD if "notice" not in name])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_student_that_is_none_is_not_waited_for(what: str, file: str, tmp_path: Path) -> None:
    folder = tmp_path / "students" / "x"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "config.json").write_text('{"a": 1}')
    assert Store(tmp_path).has_student("x")
    (folder / file).unlink()
    INSTEAD[what](folder / file)
    seen = tried_call(has_student, tmp_path, cwd=tmp_path, seconds=5)
    assert (seen.code, seen.value) == (0, False), seen.err


def has_student(folder: Path) -> bool:
    return Store(folder).has_student("x")


def test_clean_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    Leftover(tmp_path / "link", "leftovers", 1).remove()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_of_another_version_is_told_as_such(results: Path) -> None:
    for file in (results / "cells").rglob("*.json"):
        if file.parent.name in KINDS:
            file.write_text(json.dumps({**json.loads(file.read_bytes()), "schema_version": 7}))
    with pytest.raises(UserError, match=r"no record of .* has schema version 7, this program reads 1"):
        load_results(results)
