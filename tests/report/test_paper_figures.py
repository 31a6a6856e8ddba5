"""Figures for a paper: real text, sizes and fonts as asked, data beside each, names of rows taken as they are."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import cells, frame
from click.testing import CliRunner
from conftest import Page, page_of
from PIL import Image

from foundry_bench.cli.report import report
from foundry_bench.errors import UserError
from foundry_bench.figures.files import Style, read_size
from foundry_bench.report.chosen import chosen_rows
from foundry_bench.report.leaderboard import board_of
from foundry_bench.report.plots import bars, curve, every, heatmap, scatter
from foundry_bench.report.shares import shares_of
from foundry_bench.report.tables import selector

HOSTILE = "$\\frac{a}$<b>&\u202e\n"


def rows_at_one_cost(folder: Path, *, name: str = "kd") -> pd.DataFrame:
    """A teacher and three methods, two of them at 0.4 of its cost."""
    return frame(
        cells("teacher", folder, level=0.7, variant="off-the-shelf"),
        cells(name, folder, level=0.6, gmacs=0.4),
        cells("tome", folder, level=0.65, gmacs=0.42),
        cells("fps", folder, level=0.5, gmacs=0.1),
    )


def test_every_figure_has_its_numbers_beside_it(tmp_path: Path) -> None:
    table = rows_at_one_cost(tmp_path)
    files = every.write(table, board_of(table), tmp_path / "figures", style=Style(size=(4, 3), pdf=True))
    stems = {path.name.rpartition(".")[0] for path in files}
    places = {f"accuracy-vs-flops-fewshot-{name}" for name in ("kicad", "furniture")}
    assert stems == {"accuracy-vs-flops", "accuracy-vs-latency", "matched-cost", "retained"} | places
    assert {path.suffix for path in files} == {".png", ".svg", ".pdf", ".csv"}
    for stem in stems:
        assert len([path for path in files if path.name.rpartition(".")[0] == stem]) == 4
    matched = pd.read_csv(tmp_path / "figures" / "matched-cost.csv")
    assert list(matched["method"]) == ["tome", "kd"]
    kept = pd.read_csv(tmp_path / "figures" / "retained.csv").set_index("row")
    shares = dict(
        zip([selector(row.keys) for row in board_of(table).rows], shares_of(board_of(table)), strict=True)
    )
    assert kept.loc["kd+fmd", "fewshot:kicad"] == pytest.approx(100 * shares["kd+fmd"]["fewshot:kicad"])


def test_text_in_vector_graphics_is_text(tmp_path: Path) -> None:
    table = rows_at_one_cost(tmp_path)
    style = Style(size=(3.3, 2.5), font="DejaVu Serif", points=7, pdf=True)
    *_, pdf, _ = scatter.accuracy_vs(scatter.FLOPS, board_of(table).table, tmp_path, style=style)
    svg = (tmp_path / "accuracy-vs-flops.svg").read_text()
    assert ">tome</text>" in svg.replace("\n", "")
    assert "font-size: 7px; font-family: 'DejaVu Serif'" in svg
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf.read_bytes(), re.DOTALL)
    inside = pdf.read_bytes() + b"".join(zlib.decompressobj().decompress(s) for s in streams if s[:1] == b"x")
    assert b"/Type3" not in inside
    assert b"/CIDFontType2" in inside
    with Image.open(tmp_path / "accuracy-vs-flops.png") as image:
        assert image.size == (495, 375)


def test_a_score_of_which_less_is_better_has_the_front_below(tmp_path: Path) -> None:
    table = rows_at_one_cost(tmp_path)
    table.loc[table["dataset"] == "kicad", "higher_is_better"] = False
    board = board_of(table)
    scores = {score.column: score for score in every.scores_of(table, board)}
    lower = scores["fewshot:kicad:acc"]
    assert lower.lower
    assert not scores["fewshot:furniture:acc"].lower
    points = scatter.points_of(board.table, scatter.FLOPS, lower)
    assert [point.method for point in points if point.front] == ["fps"], "the cheapest has the least"


def test_rows_that_are_asked_for_are_named_first(tmp_path: Path) -> None:
    rows = [cells("teacher", tmp_path, level=0.9, variant="off-the-shelf")]
    rows += [cells(f"m{n}", tmp_path, level=0.5 + n / 100, gmacs=0.1 + n / 50, seeds=1) for n in range(14)]
    dull = cells("m0", tmp_path, level=0.3, gmacs=0.9, params="r=9", seeds=1)
    points = scatter.points_of(board_of(frame(*rows, dull)).table)
    asked = {("m0", "fmd", "r=9")}
    assert asked.isdisjoint(point.key for point in scatter.named_points(points))
    named = scatter.named_points(points, asked)
    assert asked <= {point.key for point in named}
    assert len(named) == scatter.LABELS


def test_names_from_results_are_no_mathematics_and_no_markup(tmp_path: Path) -> None:
    table = rows_at_one_cost(tmp_path, name=HOSTILE)
    table["dataset"] = table["dataset"].replace("kicad", HOSTILE)
    board = board_of(table)
    folder = tmp_path / "figures"
    files = every.write(table, board, folder)
    assert all(path.parent == folder for path in files)
    assert "&lt;b&gt;&amp;" in (folder / "matched-cost.svg").read_text()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("front", ["teacher+off-the-shelf", "tome[r=4]+fmd", "fps[tokens=4]+fmd"]),
        ("best", ["teacher+off-the-shelf", "tome[r=4]+fmd", "fps[tokens=4]+fmd"]),
        ("tome", ["tome[r=4]+fmd", "tome[r=8]+off-the-shelf"]),
        ("tome+fmd", ["tome[r=4]+fmd"]),
        ("tome[r=8], fps", ["tome[r=8]+off-the-shelf", "fps[tokens=4]+fmd"]),
        ("tome[r=4,8]", ["tome[r=4]+fmd", "tome[r=8]+off-the-shelf"]),
    ],
)
def test_rows_are_chosen_as_people_name_them(text: str, found: list[str], tmp_path: Path) -> None:
    assert [selector(row.keys) for row in chosen_rows(text, board_of(chosen_from(tmp_path)))] == found


def chosen_from(folder: Path) -> pd.DataFrame:
    table = frame(
        cells("teacher", folder, level=0.7, variant="off-the-shelf"),
        cells("tome", folder, level=0.6, gmacs=0.5, params="r=4"),
        cells("tome", folder, level=0.5, gmacs=0.6, params="r=8", variant="off-the-shelf"),
        cells("fps", folder, level=0.4, gmacs=0.2, params="tokens=4"),
    )
    table["parameters"] = table["params"].replace(
        {"": "{}", "r=4": '{"r": 4}', "r=8": '{"r": 8}', "tokens=4": '{"tokens": 4}'}
    )
    return table


@pytest.mark.parametrize("text", ["", " ,", "tome[r=", "tome[r=5]", "nothing", "tome[s=4]", "<script>"])
def test_rows_that_are_not_there_are_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        chosen_rows(text, board_of(chosen_from(tmp_path)))


@pytest.mark.parametrize("text", ["", "3", "3x", "axb", "3x2x1", "0x2", "3x900", "nanxnan", "-3x2"])
def test_a_size_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"size is written as|must be from"):
        Style(size=read_size(text))


def test_a_font_that_is_not_installed_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'DejaVu Sans'"):
        Style(font="DejaVu Snas")
    with pytest.raises(UserError, match="from 3 to 40 points"):
        Style(points=float("nan"))


def test_a_narrow_heatmap_holds_as_many_rows_as_can_be_read(tmp_path: Path, forms: Page) -> None:
    heatmap.retained(forms.whole.board, tmp_path, style=Style(size=(3.3, 3), points=7))
    assert re.search(r"the first \d of 21 rows", (tmp_path / "retained.svg").read_text())
    assert len(pd.read_csv(tmp_path / "retained.csv")) == 21


def test_a_curve_follows_one_trained_student(tmp_path: Path, gate: Page) -> None:
    curve.inference_curve(gate.whole.frame, gate.whole.board, tmp_path)
    numbers = pd.read_csv(tmp_path / f"{curve.NAME}.csv")
    assert set(numbers["parameter"]) == {"r"}
    for _, along in numbers.groupby("curve"):
        assert len(along) == 6, "one trained student serves six values of r"
        number = pd.to_numeric(along["value"], errors="coerce")
        known = along[number.notna()]
        assert list(number.dropna()) == sorted(number.dropna())
        assert np.all(np.diff(known["gmacs_ratio"]) <= 0), "fewer tokens run over a higher threshold"


def test_without_matched_rows_or_curves_there_is_no_figure_of_them(tmp_path: Path) -> None:
    table = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6, gmacs=0.9))
    assert bars.matched_cost(board_of(table).table, tmp_path) == []
    assert curve.inference_curve(table, board_of(table), tmp_path) == []


def test_the_command_takes_style_and_names(tmp_path: Path) -> None:
    page = page_of("gate", tmp_path)
    options = ["--size", "3.3x2.5", "--font-size", "7", "--pdf", "--label", "foundry-gate[r=0.3]"]
    done = CliRunner().invoke(report, [str(page.file.parent), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    figures = page.file.parent / "figures"
    assert (figures / "inference-curve.pdf").read_bytes().startswith(b"%PDF")
    assert "0.3</text>" in (figures / "accuracy-vs-flops.svg").read_text()
    done = CliRunner().invoke(report, [str(page.file.parent), "--figures", "front"])
    assert "warning: no figures of foundry-gate" in done.output
    several = ["--label", "nobody", "--label", "foundry-gate[r=0.3]"]
    with pytest.raises(UserError, match="unknown row"):
        CliRunner().invoke(report, [str(page.file.parent), *several], catch_exceptions=False)
