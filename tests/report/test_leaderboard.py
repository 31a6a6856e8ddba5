"""The leaderboard's columns, its aggregation, and who is ranked."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import cells, frame
from rich.console import Console
from scipy import stats

from foundry_bench.errors import UserError
from foundry_bench.report import leaderboard
from foundry_bench.report.frame import load_results, load_together
from foundry_bench.report.leaderboard import build
from foundry_bench.report.tables import (
    SHOWN,
    markdown,
    narrowed,
    print_board,
    rank_texts,
    rich_table,
    text_table,
)
from foundry_bench.variants import CLUSTERS, EPISODES

CONTROLS = Path(__file__).parents[1] / "golden" / "controls"
DESIGNED = [
    *("rank", "method", "variant", "params", "teacher"),
    *("fewshot:furniture:acc", "fewshot:furniture:acc_ci95", "fewshot:furniture:acc_unit"),
    *("fewshot:kicad:acc", "fewshot:kicad:acc_ci95", "fewshot:kicad:acc_unit"),
    *(
        "mean_score",
        "mean_score_ci95",
        "retained",
        "r2",
        "r2_linear",
        "r2_within",
        "gmacs",
        "gmacs_ratio",
        "gflops",
        "params_m",
        "latency_ms",
    ),
    *(
        "latency_ratio",
        "latency_ratio_iqr",
        "latency_total_ratio",
        "latency_cpu_ratio",
        "noisy",
        "peak_mem_mb",
        "train_s",
        "seeds",
        "provisional",
        "tasks_done",
        "tasks_total",
        "pareto",
    ),
]


def test_the_columns_are_those_of_the_design(tmp_path: Path) -> None:
    board = build(frame(cells("teacher", tmp_path, level=0.8)))
    assert list(board.columns) == DESIGNED


def test_rows_are_ordered_by_mean_score_and_share_of_the_teacher(tmp_path: Path) -> None:
    board = build(
        frame(
            cells("tome", tmp_path, level=0.6, params="r=4"),
            cells("teacher", tmp_path, level=0.8, variant="off-the-shelf"),
            cells("foundry", tmp_path, level=0.7, params="supertokens=4"),
        )
    )
    assert list(board["method"]) == ["teacher", "foundry", "tome"]
    assert list(board["rank"]) == [1, 2, 3]
    assert board["retained"].iloc[0] == 1.0
    assert board["retained"].iloc[1] == pytest.approx(
        board["mean_score"].iloc[1] / board["mean_score"].iloc[0]
    )
    assert board["r2"].iloc[0] == 0.9, "measured with the inference-time parameters"


def test_only_rows_with_every_task_are_ranked(tmp_path: Path) -> None:
    board = build(
        frame(
            cells("teacher", tmp_path, level=0.7),
            cells("lucky", tmp_path, level=0.9, failed=("furniture",)),
            cells("lost", tmp_path, level=0.9, failed=("kicad", "furniture")),
        )
    )
    assert list(board["method"]) == ["teacher", "lucky", "lost"]
    assert list(board["tasks_done"]) == [2, 1, 0]
    assert set(board["tasks_total"]) == {2}
    assert board["rank"].isna().tolist() == [False, True, True]
    assert board["mean_score"].isna().tolist() == [False, True, True]
    assert board["fewshot:kicad:acc"].iloc[1] == pytest.approx(0.9, abs=0.02)


def test_seeds_are_averaged_before_the_interval_over_clusters(tmp_path: Path) -> None:
    table = frame(cells("foundry", tmp_path, level=0.7, seeds=3))
    board = build(table)
    assert (len(board), board["seeds"].iloc[0]) == (1, 3)
    paths = table[(table["kind"] == "evaluate") & (table["dataset"] == "kicad")]["outcomes"]
    mean = np.mean([np.load(path)["acc"] for path in paths], axis=0)
    assert board["fewshot:kicad:acc"].iloc[0] == pytest.approx(mean.mean())
    expected = stats.t.ppf(0.975, 39) * stats.sem(mean)
    assert board["fewshot:kicad:acc_ci95"].iloc[0] == pytest.approx(expected)


def test_the_interval_of_a_row_with_several_starts_is_over_clusters_and_starts(tmp_path: Path) -> None:
    table = frame(cells("foundry", tmp_path, level=0.7, seeds=3, start=0.05))
    board = build(table)
    for place in ("kicad", "furniture"):
        paths = table[(table["kind"] == "evaluate") & (table["dataset"] == place)]["outcomes"]
        values = np.stack([np.load(path)["acc"] for path in paths])
        rest = np.square(values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()).sum() / (
            2 * 39
        )
        by_start = (values.mean(axis=1).var(ddof=1) - rest / 40) / 3
        by_cluster = values.mean(axis=0).var(ddof=1) / 40
        total = by_cluster + by_start
        degrees = total**2 / (by_cluster**2 / 39 + by_start**2 / 2)
        expected = stats.t.ppf(0.975, degrees) * total**0.5
        assert board[f"fewshot:{place}:acc_ci95"].iloc[0] == pytest.approx(expected)
    assert board["mean_score_ci95"].iloc[0] > stats.t.ppf(0.975, 40) * by_start**0.5, (
        "the mean has the same starts"
    )


def test_a_row_with_one_start_is_widened_by_its_family_or_provisional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"tome": "merge", "pitome": "merge", "fps": "drop"}
    monkeypatch.setattr(leaderboard, "families", lambda methods: {name: known.get(name) for name in methods})
    table = frame(
        cells("tome", tmp_path, level=0.9, seeds=3, start=0.05),
        cells("pitome", tmp_path, level=0.8, seeds=1),
        cells("fps", tmp_path, level=0.5, seeds=1),
        cells("teacher", tmp_path, level=0.3, seeds=1, variant="off-the-shelf"),
    )
    board = build(table).set_index("method")
    assert board["provisional"].to_dict() == {"tome": False, "pitome": False, "fps": True, "teacher": False}
    halves = board["fewshot:kicad:acc_ci95"]
    assert halves["pitome"] > 0.1 > 0.01 > halves["fps"], (
        "a start moves merging by 0.05, two degrees of freedom"
    )
    assert board["rank"].to_dict() == {"tome": 1, "pitome": 1, "fps": 1, "teacher": 3}
    assert rank_texts(build(table)) == ["1=", "1=", "1=?", "3"]


def test_headings_say_what_the_intervals_are_over(tmp_path: Path) -> None:
    table = frame(cells("teacher", tmp_path, level=0.8), cells("old", tmp_path, level=0.8, seeds=1))
    page = markdown(build(table), "sweep", table)
    assert "| fewshot kicad ± clusters |" in page
    assert "`?` is provisional" in page
    table.loc[table["method"] == "old", "unit"] = EPISODES
    board = build(table)
    assert "| fewshot kicad ± clusters or episodes |" in markdown(board, "sweep", table)
    assert set(board["fewshot:kicad:acc_unit"]) == {CLUSTERS, EPISODES}


def test_rows_that_the_data_cannot_separate_share_a_rank_and_say_so(tmp_path: Path) -> None:
    board = build(
        frame(
            cells("a", tmp_path, level=0.7),
            cells("b", tmp_path, level=0.7),
            cells("c", tmp_path, level=0.5),
        )
    )
    assert list(board["rank"]) == [1, 1, 3]
    assert rank_texts(board) == ["1=", "1=", "3"]


def test_a_lower_is_better_metric_counts_as_its_complement(tmp_path: Path) -> None:
    table = frame(cells("good", tmp_path, level=0.2), cells("bad", tmp_path, level=0.4))
    table["higher_is_better"] = table["higher_is_better"].map({True: False})
    board = build(table)
    assert list(board["method"]) == ["good", "bad"]
    assert board["mean_score"].iloc[0] == pytest.approx(0.8, abs=0.02)


def test_different_budgets_are_not_put_into_one_table(tmp_path: Path) -> None:
    table = frame(cells("a", tmp_path, level=0.7), cells("b", tmp_path, level=0.7))
    table.loc[(table["method"] == "b") & (table["kind"] == "student"), "budget"] = "paper"
    with pytest.raises(UserError, match="different budgets"):
        build(table)


def test_the_page_names_what_failed_and_escapes_nothing_away(tmp_path: Path) -> None:
    table = frame(cells("foundry", tmp_path, level=0.7, params="supertokens=4", failed=("kicad",)))
    page = markdown(build(table), "sweep", table)
    assert "foundry[supertokens=4]+fmd" in page
    assert "failed: evaluate foundry[supertokens=4]+fmd on fewshot:kicad: ValueError: no" in page


def test_a_folder_without_results_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results"):
        load_results(tmp_path)


def test_one_student_serves_the_rows_of_all_its_settings(tmp_path: Path) -> None:
    rows = cells("gate", tmp_path, level=0.7, params="tau=1")
    shared = rows[0]["cell_id"]
    other = [cell for cell in cells("gate", tmp_path, level=0.6, params="tau=2") if cell["kind"] != "student"]
    board = build(frame(rows, [{**cell, "student": shared} for cell in other]))
    assert list(board["params"]) == ["tau=1", "tau=2"]
    assert list(board["train_s"]) == [10.0, 10.0]


def test_a_student_that_nothing_was_measured_on_is_a_row_and_one_under_a_stack_is_not(tmp_path: Path) -> None:
    alone = cells("lonely", tmp_path, level=0.7)[:1]
    under, *measured = cells("stack", tmp_path, level=0.7)
    under = {**under, "student": "below"}
    below = {**alone[0], "method": "below", "cell_id": "below"}
    board = build(frame(alone, [below], [under], measured))
    assert list(board["method"]) == ["stack", "lonely"]
    assert list(board["tasks_done"]) == [2, 0]


def test_a_row_without_kept_outcomes_takes_the_reported_interval_and_is_not_separable(tmp_path: Path) -> None:
    table = frame(cells("a", tmp_path, level=0.9), cells("b", tmp_path, level=0.5))
    lost = (table["method"] == "a") & (table["dataset"] == "kicad")
    table.loc[lost, ["ci_low", "ci_high"]] = [0.85, 0.95]
    Path(table.loc[lost, "outcomes"].iloc[0]).unlink()
    board = build(table)
    assert board["fewshot:kicad:acc_ci95"].iloc[0] == pytest.approx(0.05)
    assert list(board["rank"]) == [1, 1]
    table[["ci_low", "ci_high"]] = None
    assert pd.isna(build(table)["fewshot:kicad:acc_ci95"].iloc[0])


def test_the_terminal_shows_the_first_rows_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    board = build(frame(*(cells("tome", tmp_path, level=0.9 - r / 1000, params=f"r={r}") for r in range(3))))
    many = pd.concat([board] * 20, ignore_index=True)
    table = rich_table(many, "title", "in elsewhere.csv")
    assert (table.row_count, table.caption) == (SHOWN, "20 more rows in elsewhere.csv")
    assert rich_table(many[: SHOWN + 1], "title").caption == "1 more row in leaderboard.csv"
    assert rich_table(board, "title").caption is None
    assert markdown(many, "title", frame()).count("tome[r=") == 60


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_a_narrow_terminal_has_fewer_columns_and_says_so(width: int) -> None:
    board = build(load_results(CONTROLS))
    whole = text_table(board).columns
    screen = Console(file=StringIO(), width=width)
    print_board(screen, board, "title")
    lines = screen.file.getvalue().splitlines()
    heads = [name for name in whole if name in narrowed(text_table(board).head(SHOWN), width)]
    assert max(map(len, lines)) <= width
    assert {"rank", "method", "mean"} <= set(heads)
    assert (
        f"{len(whole) - len(heads)} of {len(whole)} columns do not fit into {width} characters"
        in " ".join(lines)
    )
    best = next(line for line in lines if "teacher+" in line)
    assert f"{100 * board['mean_score'][0]:.1f}" in best, "no number is folded or cut"


def test_wide_prints_every_column_in_lines_of_any_length() -> None:
    board = build(load_results(CONTROLS))
    screen = Console(file=StringIO(), width=80)
    print_board(screen, board, "title", wide=True)
    text = screen.file.getvalue()
    assert "do not fit" not in text
    text_of_all = text_table(board).head(SHOWN)
    for row in text_of_all.itertuples(index=False):
        assert any(all(cell in line for cell in row) for line in text.splitlines()), row


def test_a_cell_of_two_folders_counts_once(tmp_path: Path) -> None:
    folder = CONTROLS
    once = load_together([folder])
    pd.testing.assert_frame_equal(load_together([folder, folder]), once)
    pd.testing.assert_frame_equal(build(load_together([folder, folder])), build(load_results(folder)))
