"""``report.html`` as a file: whole, small, the same for the same results, and harmless whatever is in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from board_helpers import cells, frame
from conftest import Page, page_of

from foundry_bench.report import html, writer
from foundry_bench.report.frame import load_results
from foundry_bench.report.html import Comparison
from foundry_bench.report.leaderboard import board_of
from foundry_bench.report.page_tables import table_data

LIMIT = 400_000
"""Bytes of a page of 100 rows."""


def data_in(text: str) -> dict[str, Any]:
    """The page's data, as a browser would read them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def comparison(table: pd.DataFrame, name: str = "all rows") -> Comparison:
    return Comparison(name, "", table, board_of(table))


def test_the_same_results_give_the_same_bytes(forms: Page) -> None:
    first = forms.file.read_bytes()
    writer.write_board(forms.file.parent)
    assert forms.file.read_bytes() == first


def test_a_page_of_a_hundred_rows_is_small(tmp_path: Path) -> None:
    page = page_of("reference-one-start", tmp_path)
    text = page.file.read_bytes()
    rows = len(page.whole.board.rows)
    fixed = len(text) - len(html.in_script(data_in(text.decode())))
    assert rows >= 50
    assert fixed + (len(text) - fixed) * 100 / rows <= LIMIT


def test_the_page_holds_all_it_needs(forms: Page) -> None:
    text = forms.file.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text.split('id="data"')[0])
    assert "@import" not in text
    assert "url(" not in text


def test_what_was_measured_stands_in_it_to_the_last_digit(forms: Page) -> None:
    board, table = forms.whole.board.table, data_in(forms.file.read_text())["tables"][0]
    for number, column in enumerate(table["columns"]):
        if column["key"] in board.columns and column["form"] in ("percent", "number"):
            shown = [row["values"][number] for row in table["rows"]]
            assert shown == [None if pd.isna(value) else value for value in board[column["key"]]]


HOSTILE = "</script><script>document.title='taken'</script><!--<script>\u2028\u202e&lt;"


def test_texts_of_results_end_no_script(tmp_path: Path) -> None:
    table = frame(
        cells("teacher", tmp_path, level=0.7, variant="off-the-shelf"), cells("kd", tmp_path, level=0.6)
    )
    table["method"] = table["method"].replace("kd", HOSTILE)
    html.write_page(tmp_path, comparison(table))
    text = (tmp_path / html.NAME).read_text()
    assert text.count("</script>") == 2, "the data's and the script's"
    assert "\u2028" not in text
    assert data_in(text)["tables"][0]["rows"][1]["method"].startswith("</script><script>document.title")


def test_a_folders_name_is_text(tmp_path: Path) -> None:
    folder = tmp_path / "<b>bold&"
    folder.mkdir()
    html.write_page(folder, comparison(frame(cells("teacher", tmp_path, level=0.7))))
    assert "<title>&lt;b&gt;bold&amp; - foundry-bench</title>" in (folder / html.NAME).read_text()


def test_only_the_pages_own_style_and_script_may_run(forms: Page) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', forms.file.read_text())
    assert policy
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]


def test_columns_of_other_parts_of_the_program_are_shown(tmp_path: Path) -> None:
    table = frame(cells("teacher", tmp_path, level=0.7), cells("a", tmp_path, level=0.6))
    board = board_of(table)
    wider = board.table.assign(latency_ms_onnxruntime=[2.0, 1.0], remark=["x", None])
    wider["noisy"] = pd.array([True, None], "boolean")
    columns = {c["key"]: c for c in table_data("", "", table, replace(board, table=wider))["columns"]}
    assert columns["latency_ms_onnxruntime"]["axis"] == "x"
    assert columns["noisy"]["form"] == "flag"
    assert columns["noisy"]["shown"]
    assert columns["remark"]["form"] == "text"


def test_of_an_error_less_is_better(tmp_path: Path) -> None:
    table = frame(cells("teacher", tmp_path, level=0.7), cells("a", tmp_path, level=0.6))
    table.loc[table["dataset"] == "kicad", "higher_is_better"] = False
    columns = {c["key"]: c for c in table_data("", "", table, board_of(table))["columns"]}
    assert columns["fewshot:kicad:acc"]["better"] == -1
    assert columns["fewshot:furniture:acc"]["better"] == 1


def test_what_did_not_end_well_is_listed_with_its_reason(tmp_path: Path) -> None:
    table = frame(
        cells("teacher", tmp_path, level=0.7, seeds=1),
        cells("lost", tmp_path, level=0.6, seeds=1, failed=("kicad",)),
    )
    table.loc[table["kind"] == "profile", "status"] = "missing"
    data = html.page_data(tmp_path, comparison(table), [], live=True)
    assert (data["missing"], data["live"]) == (2, True)
    lines = data["tables"][0]["problems"]["lines"]
    assert {
        "status": "failed",
        "row": "lost+fmd",
        "cell": "evaluate on fewshot:kicad",
        "reason": "ValueError: no",
    } in lines
    assert {(line["status"], line["row"]) for line in lines if line["status"] == "missing"} == {
        ("missing", "teacher+fmd"),
        ("missing", "lost+fmd"),
    }
    assert [row["rank"] for row in data["tables"][0]["rows"]] == ["1?", ""]


def test_a_parameter_may_be_infinite(tmp_path: Path) -> None:
    row = cells("kd", tmp_path, level=0.7, params="r=inf")
    table = frame([{**cell, "parameters": '{"r": Infinity}'} for cell in row])
    html.write_page(tmp_path, comparison(table))
    assert data_in((tmp_path / html.NAME).read_text())["details"][0]["parameters"] == {"r": "Infinity"}


def test_no_row_needs_to_be_ranked(tmp_path: Path) -> None:
    html.write_page(
        tmp_path, comparison(frame(cells("lost", tmp_path, level=0.7, failed=("kicad", "furniture"))))
    )
    assert data_in((tmp_path / html.NAME).read_text())["tables"][0]["rows"][0]["rank"] == ""


def test_a_page_that_is_missing_is_out_of_date(tmp_path: Path) -> None:
    page = page_of("gate", tmp_path)
    writer.write_reports(page.file.parent)
    assert not writer.outdated(page.file.parent)
    page.file.unlink()
    assert writer.outdated(page.file.parent)


def test_details_are_those_of_the_records(gate: Page) -> None:
    data = data_in(gate.file.read_text())
    rows, details = data["tables"][0]["rows"], data["details"]
    one = details[next(row["detail"] for row in rows if row["id"] == "foundry-gate[r=0.3]+fmd")]
    assert one["inference"] == {"r": 0.3}
    assert "r" in one["parameters"]
    assert one["curves"][0]["points"][-1][0] == 200
    own = [about for about in details if about.get("student") == one["student"]]
    assert len(own) == 6, "one trained student serves six values of r"
    outcomes = gate.whole.board.rows[0].outcomes
    histograms = dict(zip(data["places"], details[0]["histograms"], strict=True))
    assert {place: sum(counts) for place, counts in histograms.items()} == {
        p: len(v) for p, v in outcomes.items()
    }


@pytest.mark.parametrize("name", ["embedded"])
def test_skipped_cells_have_their_reasons(name: str, tmp_path: Path) -> None:
    page = page_of(name, tmp_path)
    skipped = load_results(page.file.parent).query("status == 'skipped'")
    lines = data_in(page.file.read_text())["tables"][0]["problems"]["lines"]
    assert len(skipped) > 0
    assert [line["reason"] for line in lines if line["status"] == "skipped"] == list(skipped["message"])
