"""Whatever a cell does, it leaves a record and the rest of the sweep goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sweep_helpers import Sweep

from foundry_bench.training.budget import BUDGETS, Budget


@pytest.mark.parametrize("engine", ["serial", "local"])
def test_errors_become_records_and_the_rest_finishes(sweep: Sweep, tmp_path: Path, engine: str) -> None:
    outcome, notes = sweep("failing,hungry,leaving,skipping,teacher-copy,broken", engine=engine)
    assert notes.statuses == {
        "student failing": "failed",
        "student hungry": "oom",
        "student leaving": "failed",
        "student skipping": "ok",
        "student teacher-copy": "ok",
        "student broken": "failed",
        "evaluate failing": "failed",
        "evaluate hungry": "failed",
        "evaluate leaving": "failed",
        "evaluate skipping": "skipped",
        "evaluate teacher-copy": "ok",
    }
    assert outcome.exit_code == 1
    identity = next(r["identity"] for r in outcome.failed if r["inputs"]["method"]["name"] == "failing")
    assert (identity["error_type"], identity["stage"]) == ("ValueError", "compress")
    traceback = tmp_path / "out" / "cells" / "student" / identity["traceback_file"]
    assert "this method always fails" in traceback.read_text()


def test_a_child_names_the_student_that_failed(sweep: Sweep) -> None:
    outcome, _ = sweep("failing")
    student, child = outcome.failed
    assert child["identity"]["stage"] == "parent"
    assert student["identity"]["cell_id"][:12] in child["identity"]["message"]


def test_a_cell_that_takes_too_long_is_stopped_from_outside(sweep: Sweep) -> None:
    outcome, notes = sweep("sleeping", engine="local", timeout=3.0)
    assert notes.statuses == {"student sleeping": "timeout", "evaluate sleeping": "failed"}
    assert "--timeout" in outcome.failed[0]["identity"]["message"]


def test_a_process_that_dies_by_a_signal_is_tried_once_more(sweep: Sweep, tmp_path: Path) -> None:
    outcome, notes = sweep(f"dying[once={tmp_path / 'died'}]", engine="local")
    assert set(notes.statuses.values()) == {"ok"}
    assert notes.records[0]["identity"]["attempt"] == 2
    assert outcome.exit_code == 0


def test_a_process_that_dies_twice_is_recorded_as_killed(sweep: Sweep, tmp_path: Path) -> None:
    outcome, _ = sweep("dying", engine="local")
    identity = outcome.failed[0]["identity"]
    assert (identity["status"], identity["attempt"]) == ("killed", 2)
    assert "the process died twice" in identity["message"]
    assert "SIGKILL" in (tmp_path / "out" / "cells" / "student" / identity["traceback_file"]).read_text()


def test_a_script_is_not_run_again_by_its_cells(plugins: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import foundry_bench as fb\nprint('begun')\n"
        "options = dict(methods='teacher-copy', tasks='spread', teacher='tiny', distill_on='blobs', engine='local')\n"
        "table = fb.run_sweep('out', rehearse=False, **options)\nprint(len(table), 'rows')\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.count("begun")) == (0, 1), done.stdout + done.stderr
    assert done.stdout.endswith("rows\n")
    assert list((tmp_path / "out" / "cells").glob("*/*.log")) == []


def test_failed_cells_are_kept_and_run_again_only_when_asked_for(sweep: Sweep) -> None:
    sweep("failing,teacher-copy")
    outcome, notes = sweep("failing,teacher-copy")
    assert (outcome.todo, notes.records, outcome.exit_code) == ([], [], 1)
    outcome, notes = sweep("failing,teacher-copy", retry=True)
    assert {record["inputs"]["method"]["name"] for record in notes.records} == {"failing"}
    assert [record["identity"]["attempt"] for record in outcome.failed] == [2, 2]


def test_engines_agree_on_every_number(sweep: Sweep) -> None:
    results = []
    for engine in ("serial", "local"):
        _, notes = sweep("teacher-copy[scale=2.0]", out=engine, engine=engine)
        student, evaluation = notes.records
        fidelity = [student["fidelity"][key] for key in ("r2", "r2_linear", "r2_within")]
        assert [band["first"] for band in student["fidelity"]["bands"]] == [1, 5]
        results.append((*fidelity, evaluation["scores"]["values"][0]["value"]))
    assert results[0] == pytest.approx(results[1], abs=1e-6)


def test_a_distilled_student_records_its_fidelity_and_curve(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Budget("quick", steps=4, batch_size=8, views=1, curve=2)
    monkeypatch.setitem(BUDGETS, "quick", short)
    outcome, notes = sweep("distilled")
    fidelity = notes.records[0]["fidelity"]
    assert (fidelity["steps"], fidelity["samples"], len(fidelity["curve"])) == (4, 32, 2)
    assert fidelity["r2"] == fidelity["curve"][-1]["r2"]
    assert fidelity["r2_linear"] <= 1
    assert fidelity["r2_within"] <= 1
    assert outcome.plan.cells[0].inputs["budget"]["steps"] == 4
    assert outcome.exit_code == 0


def test_a_record_says_what_it_was_made_of_and_where(sweep: Sweep, tmp_path: Path) -> None:
    from foundry_bench.sweep.identity import identity

    outcome, _ = sweep("teacher-copy")
    for cell in outcome.plan.cells:
        record = json.loads((tmp_path / "out" / "cells" / cell.kind / f"{cell.id}.json").read_text())
        assert list(record) == [
            *("schema_version", "identity", "inputs", "fidelity", "scores", "cost", "environment", "digest")
        ]
        assert identity(record["identity"]["kind"], record["inputs"]) == cell.id
        assert record["environment"]["packages"]["torch"]
        assert record["environment"]["start"] < record["environment"]["end"]
