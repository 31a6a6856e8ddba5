"""``foundry-bench compare`` on the command line; what it finds is tested with the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from foundry_bench.cli.compare import compare
from foundry_bench.errors import UserError
from foundry_bench.report import compare as report
from foundry_bench.report.compare_costs import Cost
from foundry_bench.report.compare_pairs import STATUSES
from foundry_bench.report.compare_scores import Score

VERDICT = "1 of 1 rows changed their score separably, 1 got worse; nothing but torch 1 -> 2 differs"


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> report.Comparison:
    """A comparison that does not need two sweeps: one score and one cost changed, one score is equal."""
    changed = Score(
        row="foundry[s=4]",
        place="fewshot:kicad",
        metric="acc",
        a=0.7,
        b=0.6,
        difference=-0.1,
        ci_low=-0.12,
        ci_high=-0.08,
        p=1e-6,
        unit="class-and-series clusters",
        provisional=False,
        paired=True,
        equal=False,
        separable=True,
        better=False,
    )
    equal = replace(
        changed,
        row="[red]tome",
        b=0.7,
        difference=0.0,
        ci_low=0.0,
        ci_high=0.0,
        p=1.0,
        equal=True,
        separable=False,
    )
    cost = Cost(row="foundry[s=4]", quantity="gmacs", a=0.5, b=0.4, difference=-0.1, changed=True)
    made = report.Comparison(
        verdict=VERDICT,
        about=("a: 1 row", "b: 1 row"),
        settings=["code of foundry changed"],
        environment=pd.DataFrame({"item": ["torch"], "a": ["1"], "b": ["2"]}),
        mixed=[],
        scores=pd.DataFrame([changed, equal]),
        costs=pd.DataFrame([cost]),
        only_a=["fps[tokens=9]+fmd"],
        only_b=[],
        statuses=pd.DataFrame(columns=list(STATUSES)),
    )
    monkeypatch.setattr(report, "compare", lambda a, b: made)
    return made


def call(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(
        compare, list(map(str, arguments)), standalone_mode=False, catch_exceptions=False
    )


def test_the_first_line_is_the_verdict_and_a_change_is_no_failure() -> None:
    done = call("a", "b")
    assert (done.exit_code, done.return_value) == (0, 0)
    assert done.output.splitlines()[0] == VERDICT
    for text in ("code of foundry changed", "-10.00 ± 2.00", "worse", "-20 %", "fps[tokens=9]+fmd"):
        assert text in done.output


def test_what_is_equal_is_counted_or_listed_with_its_name_as_it_is() -> None:
    assert "1 of 2 scores are exactly equal and not listed" in call("a", "b").output
    assert "[red]tome" not in call("a", "b").output
    assert "[red]tome" in call("a", "b", "--all").output


def test_the_page_and_the_table_are_written(tmp_path: Path) -> None:
    call("a", "b", "-o", tmp_path / "changes.md")
    assert (tmp_path / "changes.md").read_text().startswith(f"{VERDICT}.\n")
    call("a", "b", "-o", tmp_path / "changes.csv")
    assert pd.read_csv(tmp_path / "changes.csv")["kind"].tolist() == ["score", "cost"]


def test_a_file_of_another_kind_is_refused_before_any_work() -> None:
    with pytest.raises(UserError, match=r"ends in \.md or \.csv"):
        call("a", "b", "-o", "changes.txt")
