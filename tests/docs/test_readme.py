"""The README is short, begins with a picture, and its numbers and tables are those of the package and of ``results/``."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from foundry_bench import __version__, registry
from foundry_bench.cli.listing import markdown_table
from foundry_bench.descriptions.known import described

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BOARD = ROOT / "results" / "reference-forms" / "leaderboard.csv"
SHOWN = {
    "one patch KiCad": ("onepatch:kicad:acc", "onepatch:kicad:acc_ci95"),
    "one patch bricks": ("onepatch:bricks:acc", "onepatch:bricks:acc_ci95"),
    "parts KiCad": ("densefewshot:kicad:acc_3", "densefewshot:kicad:acc_3_ci95"),
    "mean of four": ("mean_score", "mean_score_ci95"),
    "kept": ("retained",),
    "kept %": ("retained",),
    "R2": ("r2",),
    "GMACs of teacher": ("gmacs_ratio",),
    "latency of teacher": ("latency_ratio",),
}
"""Headings of tables in the documentation, and the columns of the leaderboard that they show."""
RATIOS = ("R2", "GMACs of teacher", "latency of teacher")


def built_in(kind: str) -> list[str]:
    """The names that this package itself registers."""
    return [n for n, e in registry.entries(kind).items() if registry.distribution(e) == "foundry-bench"]


def table(text: str, first: str) -> list[str]:
    """The lines of the table whose first heading is ``first``."""
    return re.search(rf"^\| {first} \|.*\n(?:\|.*\n?)+", text, re.MULTILINE)[0].splitlines()


def test_it_has_at_most_900_words_and_a_figure_before_anything_to_run() -> None:
    assert len(README.split()) <= 900
    assert README.index("](docs/images/") < README.index("```")
    for image in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (ROOT / image).stat().st_size < 200_000


def test_what_ci_runs_is_what_it_shows() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    for command in ("python -m pytest -n 2 --dist loadfile", "pip install"):
        assert command in README
        assert command in ci


@pytest.mark.parametrize(
    ("page", "kind", "first"), [("docs/methods.md", "methods", "method"), ("README.md", "tasks", "task")]
)
def test_a_table_of_plugins_is_the_one_that_list_writes(page: str, kind: str, first: str) -> None:
    names = built_in(kind)
    made = list(markdown_table(kind, described(kind, names)))
    assert table((ROOT / page).read_text(), first) == made
    assert len(made) == 2 + len(names)


def test_it_says_how_many_methods_there_are() -> None:
    assert f"[{len(built_in('methods'))} methods](docs/methods.md)" in README


@pytest.mark.parametrize(("page", "count"), [("README.md", 6), ("docs/findings.md", 21)])
def test_every_figure_of_a_board_is_the_leaderboards(page: str, count: int) -> None:
    with BOARD.open() as file:
        rows = {(row["method"], row["params"]): row for row in csv.DictReader(file)}
    head, _, *shown = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table((ROOT / page).read_text(), "row")
    ]
    assert len(shown) == count
    for label, *cells in shown:
        name, _, params = label.strip("`]").partition("[")
        row = rows[name, params]
        for heading, cell in zip(head[1:], cells, strict=True):
            if heading != "rank":
                scale, digits = (1, 3 if heading == "R2" else 2) if heading in RATIOS else (100, 1)
                figures = (f"{scale * float(row[column]):.{digits}f}" for column in SHOWN[heading])
                assert cell == " ± ".join(figures), (label, heading)


def test_the_citation_is_valid_and_of_this_version() -> None:
    """The keys that the Citation File Format 1.2.0 requires, and the forms it has them in."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    assert all("name" in author or "family-names" in author for author in citation["authors"])
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
