"""Rows are complete early, and the leaderboard is there while the sweep still runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sweep_helpers import Sweep

from foundry_bench.report import live
from foundry_bench.report.writer import PAGE, outdated, write_reports
from foundry_bench.sweep.plan import Cell
from foundry_bench.sweep.record import Record


class Watch(live.LiveBoard):
    """Notes what lies in the folder after every cell."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str], str]] = []

    def cell(self, cell: Cell, record: Record) -> None:
        super().cell(cell, record)
        page = self._store.folder / "leaderboard.md"
        rows = (
            list(csv.DictReader((self._store.folder / "leaderboard.csv").open()))
            if (self._store.folder / "leaderboard.csv").exists()
            else []
        )
        ranked = [row["method"] for row in rows if row["rank"]]
        self.seen.append((cell.kind, ranked, page.read_text() if page.exists() else ""))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(live, "PAUSE", 0.0)
    monkeypatch.setattr(live, "SHARE", 0.0)
    return Watch()


def test_a_row_is_in_the_table_as_soon_as_it_is_complete(sweep: Sweep, watch: Watch) -> None:
    sweep("distilled,teacher-copy", listeners=(watch,))
    assert [kind for kind, _, _ in watch.seen] == ["student", "evaluate", "student", "evaluate"]
    assert [ranked for _, ranked, _ in watch.seen[:3]] == [[], ["teacher-copy"], ["teacher-copy"]], (
        "cheap rows first"
    )
    assert "Not finished: 2 of 4 cells" in watch.seen[1][2]
    assert sorted(watch.seen[3][1]) == ["distilled", "teacher-copy"]
    assert "Not finished" not in watch.seen[3][2]


def test_tables_in_a_hurry_wait_and_the_last_word_is_the_reports(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    sweep("teacher-copy[width=1,2,3]", listeners=(watch,))
    pages = {page for _, _, page in watch.seen if page}
    assert len(pages) == 1, "the first row's, and none within ten seconds"
    assert outdated(tmp_path / "out")
    write_reports(tmp_path / "out")
    assert "Not finished" not in (tmp_path / "out" / "leaderboard.md").read_text()


def test_what_is_recorded_already_counts_as_done(sweep: Sweep, watch: Watch) -> None:
    sweep("teacher-copy")
    sweep("teacher-copy[scale=1.0,2.0]", listeners=(watch,))
    assert [(kind, len(ranked)) for kind, ranked, _ in watch.seen] == [("evaluate", 2)]


def test_a_row_that_failed_completes_nothing(sweep: Sweep, watch: Watch) -> None:
    sweep("failing,teacher-copy", listeners=(watch,))
    assert [ranked for kind, ranked, _ in watch.seen if kind == "evaluate"][-1] == ["teacher-copy"]


def test_the_page_looks_for_news_until_the_sweep_is_over(sweep: Sweep, watch: Watch, tmp_path: Path) -> None:
    page = tmp_path / "out" / PAGE
    watch.stop()
    sweep("distilled,teacher-copy", listeners=(watch,))
    assert '"live":true' in page.read_text()
    watch.stop()
    assert '"live":false' in page.read_text(), "as after an interruption"
    write_reports(tmp_path / "out")
    assert '"live":false' in page.read_text()
