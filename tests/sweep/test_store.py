"""Records are found again as they were written, or set aside; the index only makes that fast."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import Sweep

from foundry_bench.report.frame import load_results
from foundry_bench.sweep import index
from foundry_bench.sweep.store import Store


def evaluation(out: Path) -> Path:
    return next(p for p in (out / "cells" / "evaluate").glob("*.json") if ".spec." not in p.name)


def edit_score(path: Path) -> None:
    record = json.loads(path.read_text())
    record["scores"]["values"][0]["value"] = 0.99
    path.write_text(json.dumps(record, indent=1))


def truncate(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def rename(path: Path) -> None:
    path.rename(path.with_name(path.name.replace(path.stem, "0" * 64)))


def no_digest(path: Path) -> None:
    record = json.loads(path.read_text())
    del record["digest"]
    path.write_text(json.dumps(record))


def other_outcomes(path: Path) -> None:
    outcomes = path.with_suffix(".npz")
    outcomes.write_bytes(outcomes.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [edit_score, truncate, no_digest, other_outcomes])
def test_a_record_that_is_not_as_written_is_set_aside_and_made_again(
    damage: Any, sweep: Sweep, tmp_path: Path
) -> None:
    sweep("teacher-copy")
    path = evaluation(tmp_path / "out")
    good = json.loads(path.read_text())
    damage(path)
    outcome, notes = sweep("teacher-copy")
    assert [cell.kind for cell in outcome.todo] == ["evaluate"]
    assert any(str(path) in line and "counts as missing" in line for line in notes.lines)
    assert any("was set aside as" in line for line in notes.lines)
    assert len(list((tmp_path / "out" / "cells" / "set-aside").iterdir())) == 1
    again = json.loads(path.read_text())
    assert again["scores"] == good["scores"]
    assert sweep("teacher-copy")[0].todo == []


def test_a_record_under_another_name_is_not_believed(sweep: Sweep, tmp_path: Path) -> None:
    sweep("teacher-copy")
    rename(evaluation(tmp_path / "out"))
    store = Store(tmp_path / "out")
    assert store.read("evaluate", "0" * 64) is None
    assert len(index.load(store)) == 1


def test_formatting_a_record_anew_does_not_harm_it(sweep: Sweep, tmp_path: Path) -> None:
    sweep("teacher-copy")
    path = evaluation(tmp_path / "out")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert sweep("teacher-copy")[0].todo == []


def test_truncated_weights_are_made_again_when_a_cell_needs_them(sweep: Sweep, tmp_path: Path) -> None:
    first, _ = sweep("teacher-copy")
    weights = Store(tmp_path / "out").student_folder(first.plan.cells[0].id) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    assert sweep("teacher-copy")[0].todo == [], "nobody needs them"
    outcome, notes = sweep("teacher-copy[scale=2.0]")
    assert [cell.kind for cell in outcome.todo] == ["student", "evaluate"]
    assert set(notes.statuses.values()) == {"ok"}
    assert "1 cells are computed again: weights that another cell needs are gone (1)" in notes.lines


def test_the_index_answers_as_the_records_do(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("teacher-copy,failing")
    store = Store(tmp_path / "out")
    (store.cache / "index.json").unlink()
    cold = index.load(store)
    frame = load_results(tmp_path / "out")
    monkeypatch.setattr(
        Store, "read", lambda *_: pytest.fail("a record was read although the index is fresh")
    )
    assert index.load(store) == cold
    assert load_results(tmp_path / "out").equals(frame)


def test_a_stale_or_damaged_index_is_made_anew(sweep: Sweep, tmp_path: Path) -> None:
    sweep("teacher-copy")
    store = Store(tmp_path / "out")
    whole = index.load(store)
    (store.cache / "index.json").write_text("{")
    assert index.load(store) == whole
    path = evaluation(tmp_path / "out")
    record = json.loads(path.read_text())
    record["environment"]["seconds"] = 123.0
    store.write(record)
    assert index.load(store)[path.stem]["environment"]["seconds"] == 123.0
    path.unlink()
    assert path.stem not in index.load(store)


def test_a_folder_that_may_only_be_read_can_be_asked(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("teacher-copy")
    store = Store(tmp_path / "out")
    (store.cache / "index.json").unlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(index, "write_atomic", refuse)
    assert len(index.load(store)) == 2


def test_a_record_is_whole_or_absent_while_others_read(sweep: Sweep, tmp_path: Path) -> None:
    sweep("teacher-copy")
    path = evaluation(tmp_path / "out")
    store = Store(tmp_path / "out")
    record = json.loads(path.read_text())
    before = os.stat(path).st_ino
    store.write(record)
    assert os.stat(path).st_ino != before, "replaced, never written into"
