"""Figures of chosen rows' students: drawn once, shown by the page, and never in the way of a report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from sweep_helpers import Sweep

from foundry_bench.cli.run import run
from foundry_bench.errors import UserError
from foundry_bench.report import pictures, writer
from foundry_bench.report.pictures import FOLDER
from foundry_bench.report.writer import Drawn, write_reports


def shown(folder: Path) -> list[list[str]]:
    """Folder and names of the pictures that the page tells of."""
    data = re.search(r'id="data">(.*?)</script>', (folder / writer.PAGE).read_text(), re.DOTALL)
    assert data
    return [about["pictures"] for about in json.loads(data[1])["details"] if "pictures" in about]


def test_they_are_drawn_once_and_the_page_shows_them(sweep: Sweep, tmp_path: Path) -> None:
    sweep("distilled,teacher-copy[scale=1.0,2.0]")
    out, told = tmp_path / "out", list[str]()
    write_reports(out, Drawn(rows="distilled,teacher-copy[scale=2.0]"), tell=told.append, warn=pytest.fail)
    assert len(told) == 2
    found = shown(out)
    assert len(found) == 2
    for place, *names in found:
        assert {"pca", "errors"} <= set(names)
        for name in names:
            assert all((out / place / f"{name}.{ending}").is_file() for ending in ("png", "svg", "csv"))
    write_reports(out, Drawn(rows="distilled"), tell=pytest.fail, warn=pytest.fail)
    write_reports(out)
    assert shown(out) == found, "later reports show them, too"


def test_what_cannot_be_drawn_is_told_and_the_report_is_whole(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep("teacher-copy[scale=1.0,2.0]")
    out, warned = tmp_path / "out", list[str]()
    with monkeypatch.context() as broken:
        broken.setattr("foundry_bench.figures.student.visualize", lambda *_, **__: 1 / 0)
        write_reports(out, Drawn(rows="teacher-copy"), warn=warned.append)
    assert len([line for line in warned if "ZeroDivisionError" in line]) == 2
    shutil.rmtree(out / "students")
    warned.clear()
    write_reports(out, Drawn(rows="teacher-copy[scale=1.0]"), warn=warned.append)
    assert len(warned) == 1
    assert "its weights are not in the folder" in warned[0]
    assert not (out / FOLDER).exists() or not list((out / FOLDER).iterdir())
    monkeypatch.setattr(pictures, "MOST", 1)
    (out / writer.PAGE).unlink()
    with pytest.raises(UserError, match="figures of 2 rows are asked for"):
        write_reports(out, Drawn(rows="teacher-copy"))
    assert not writer.outdated(out)


@pytest.mark.parametrize("rows", ["", ",", "tome[r="])
def test_rows_that_cannot_be_read_are_refused_before_a_sweep(rows: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        CliRunner().invoke(run, ["--figures", rows, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert not (tmp_path / "out").exists()
