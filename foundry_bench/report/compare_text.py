"""A comparison as text: sections for the terminal, a Markdown page, and a long table for other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from foundry_bench.report.compare import Comparison
from foundry_bench.report.compare_costs import COSTS
from foundry_bench.report.compare_scores import SCORES
from foundry_bench.report.numbers import change as percent
from foundry_bench.report.numbers import figures

RULES = (
    "Scores in percent. Paired: over the same items on both sides, else Welch's interval from the standard errors. Separable: "
    "after Holm's correction over all scores compared. Intervals are over what 'over' says and over starts, taken to be other "
    "ones on the two sides. One start: no row of its family has several; nothing is tested, and the interval is without it.",
    "Costs listed: any change of GMACs and parameters; latency ratios whose interquartile ranges (in brackets; taken as "
    "centred) do not overlap; memory by more than 5 %; training time by more than 20 %; R2 by more than 0.005. An "
    "interquartile range is that of one measurement: a busier hour of the same machine may lie outside it.",
)


@dataclass(frozen=True)
class Section:
    """A heading with its lines and perhaps a table of text."""

    heading: str
    lines: list[str]
    table: pd.DataFrame | None = None


def sections(comparison: Comparison, everything: bool = False) -> list[Section]:
    """What a reader is shown below the verdict; a section without anything to say is left out."""
    scores, costs = comparison.listed(everything)
    equal = len(comparison.scores) - len(scores)
    hidden = (
        [f"{equal} of {len(comparison.scores)} scores are exactly equal and not listed."] if equal else []
    )
    environment = comparison.environment.rename(columns={"a": "A", "b": "B"})
    statuses = comparison.statuses.rename(columns={"a": "A", "b": "B"})
    found = [
        Section("What went in", comparison.settings),
        Section("Environment", comparison.mixed, environment),
        Section("Scores", hidden, _score_text(scores)),
        Section("Costs", [], _cost_text(costs)),
        Section("Rows only in A", comparison.only_a),
        Section("Rows only in B", comparison.only_b),
        Section("Cells that ended in another way", [], statuses),
    ]
    tables = [
        replace(section, table=None if section.table is None or section.table.empty else section.table)
        for section in found
    ]
    read = [Section("How to read it", list(RULES))] if len(scores) or len(costs) else []
    return [section for section in tables if section.lines or section.table is not None] + read


def to_markdown(comparison: Comparison, everything: bool = False) -> str:
    """The comparison as a page that begins with the verdict; ``everything`` lists what is equal too."""
    lines = [_capital(comparison.verdict), ""]
    lines += [f"- {side}: {text}" for side, text in zip("AB", comparison.about, strict=True)]
    for section in sections(comparison, everything):
        lines += ["", f"## {section.heading}", "", *(f"- {line}" for line in section.lines)]
        if section.table is not None:
            table = section.table
            lines += [""] if section.lines else []
            lines += [_line(table.columns), _line(["---"] * len(table.columns))]
            lines += [_line(row) for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def changes(comparison: Comparison, everything: bool = False) -> pd.DataFrame:
    """Scores and costs in long form: the column ``kind`` tells which, ``quantity`` is the metric or the cost."""
    scores, costs = comparison.listed(everything)
    long = [scores.rename(columns={"metric": "quantity"}).assign(kind="score"), costs.assign(kind="cost")]
    columns = dict.fromkeys(["kind", *(name.replace("metric", "quantity") for name in SCORES), *COSTS])
    known = [part for part in long if len(part)]
    return (pd.concat(known) if known else pd.DataFrame()).reindex(columns=list(columns))


def _score_text(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores in percent, as text."""
    half = 100 * (scores["ci_high"] - scores["ci_low"]) / 2
    change = 100 * scores["difference"]
    return pd.DataFrame(
        {
            "row": scores["row"],
            "place": scores["place"],
            "A": [f"{100 * value:.1f}" for value in scores["a"]],
            "B": [f"{100 * value:.1f}" for value in scores["b"]],
            "B - A": [
                f"{c:+.2f}" + (f" ± {h:.2f}" if pd.notna(h) else "")
                for c, h in zip(change, half, strict=True)
            ],
            "over": [unit.rpartition(" ")[2] for unit in scores["unit"]],
            "separable": [_separable(score) for score in scores.to_dict("records")],
            "paired": ["yes" if paired else "no" for paired in scores["paired"]],
        }
    )


def _separable(score: dict[Any, Any]) -> str:
    if score["separable"]:
        return "better" if score["better"] else "worse"
    if score["provisional"]:
        return "one start"
    return "no" if pd.notna(score["p"]) else "no interval"


def _cost_text(costs: pd.DataFrame) -> pd.DataFrame:
    """Costs as text, latency ratios with their interquartile range."""

    def value(number: float, spread: float) -> str:
        return figures(number, 5) if pd.isna(spread) else f"{number:.3f} ({spread:.3f})"

    def change(cost: dict[Any, Any]) -> str:
        if cost["quantity"] == "r2" or not cost["a"]:
            return f"{'+' if cost['difference'] >= 0 else ''}{figures(cost['difference'])}"
        return percent(cost["a"], cost["b"])

    return pd.DataFrame(
        {
            "row": costs["row"],
            "cost": costs["quantity"],
            "A": list(map(value, costs["a"], costs["spread_a"])),
            "B": list(map(value, costs["b"], costs["spread_b"])),
            "change": [change(cost) for cost in costs.to_dict("records")],
        }
    )


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}."
