"""A sweep file may make several comparisons, which share their students; tasks take parameters and data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from sweep_helpers import Notes, config_of

from foundry_bench.errors import UserError
from foundry_bench.report.writer import write_reports
from foundry_bench.selectors import expand, expand_task, parse_selector
from foundry_bench.sweep.config import SweepConfig, packaged
from foundry_bench.sweep.plan import EVALUATE, STUDENT, plan
from foundry_bench.sweep.runner import run_sweep

pytestmark = pytest.mark.usefixtures("plugins")

TWO = {
    "teacher": "tiny",
    "distill_on": "blobs",
    "engine": "serial",
    "tables": {
        "widths": {
            "about": "How width matters.",
            "methods": ["teacher-copy[width=1,2]"],
            "tasks": ["spread"],
        },
        "scales": {"methods": "teacher-copy[scale=1.0,2.0]", "tasks": "spread[clouds=10]"},
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(TWO))
    return path


def test_tables_share_students(file: Path) -> None:
    planned = plan(SweepConfig.from_sources(file, {}))
    students = [cell.id for cell in planned.cells if cell.kind == STUDENT]
    assert len(students) == 2
    assert set(planned.tables) == {"widths", "scales"}
    shared = set(planned.tables["widths"]) & set(planned.tables["scales"])
    assert len(shared & set(students)) == 1
    assert set().union(*planned.tables.values()) == {cell.id for cell in planned.cells}


def test_some_tables_can_be_chosen_and_the_file_written_is_the_sweep(file: Path, tmp_path: Path) -> None:
    config = SweepConfig.from_sources(file, {"tables": "scales"})
    assert [table.name for table in config.tables] == ["scales"]
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert SweepConfig.from_sources(again, {}) == config
    with pytest.raises(UserError, match="did you mean 'scales'"):
        SweepConfig.from_sources(file, {"tables": "scale"})
    with pytest.raises(UserError, match="--tables instead of --methods"):
        SweepConfig.from_sources(file, {"methods": "teacher-copy"})


@pytest.mark.usefixtures("sweep")  # which leaves out profile cells
def test_every_table_gets_a_page_of_its_own(file: Path, tmp_path: Path) -> None:
    outcome = run_sweep(SweepConfig.from_sources(file, {}), tmp_path / "out", Notes(), rehearse=False)
    assert outcome.exit_code == 0
    write_reports(tmp_path / "out")
    page = (tmp_path / "out" / "tables" / "widths.md").read_text()
    assert "How width matters." in page
    assert "teacher-copy[width=2]" in page
    assert "scale=2.0" not in page
    assert "spread[clouds=10]:blobs" in (tmp_path / "out" / "tables" / "scales.csv").read_text()


def test_tasks_take_parameters_and_data_sets() -> None:
    planned = plan(config_of("teacher-copy", tasks="spread[clouds=10,20]:bare"))
    cells = [cell for cell in planned.cells if cell.kind == EVALUATE]
    assert [cell.inputs["task"]["shown"] for cell in cells] == ["clouds=10", ""]
    assert {cell.inputs["dataset"]["name"] for cell in cells} == {"bare"}
    assert "spread[clouds=10]:bare" in cells[0].title
    with pytest.raises(UserError, match="did you mean 'clouds'"):
        plan(config_of("teacher-copy", tasks="spread[cloud=1]"))


@pytest.mark.parametrize("content", ["[a]", "{a: {methods: x}}", "{a: {methods: x, tasks: y, rows: z}}"])
def test_tables_of_another_shape_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"tables: {content}\n")
    with pytest.raises(UserError, match="tables must map"):
        SweepConfig.from_sources(file, {})


@pytest.mark.parametrize("name", ["embedded", "paper"])
def test_the_sweeps_that_come_with_the_package_can_be_read(name: str) -> None:
    config = SweepConfig.from_sources(Path(name), {})
    assert packaged(Path(name)).name == f"{name}.yaml"
    assert {"general-vs-experts", "supertokens", "gate"} <= {table.name for table in config.tables}
    for table in config.tables:
        assert all(expand(parse_selector(text)) for text in table.methods)
        assert all(expand_task(text) for text in table.tasks)
