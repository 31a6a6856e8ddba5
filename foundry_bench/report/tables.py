"""The leaderboard for people: a rich table for the terminal, Markdown for a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from foundry_bench.border import plain
from foundry_bench.runtimes.columns import NOISY, REASON, runtimes_among
from foundry_bench.selectors import read_values, selector_text

NOTES = (
    "Scores in percent, with the 95 % confidence interval over what the heading says and, where another start makes another "
    "student, over starts: a row with one start has the start variance of its family. Rank: 1 + the number of rows that are "
    "separably better (paired t, Holm-corrected over all pairs); rows with `=` share it. `?` is provisional: one start, and no "
    "row of its family has several. Its interval is without the start and it is tested against no other row; `--seeds 3` ranks "
    "it.",
    "GMACs are multiply-adds of one cloud / 1e9 (GFLOPs are twice that); latency is student / teacher, timed in turns, with "
    "the interquartile range of that, in PyTorch or where the heading says; it is `noisy` where the teacher against itself was "
    "off by more than 10 % in the same turns, or the turns differ too much to know the ratio to 10 %; "
    "R2 is the share of the teacher's token variance on held-out clouds; * is on the accuracy-cost front.",
)

SHOWN = 40
"""Most rows that the terminal shows; pages and files hold all of them."""

IMPORTANT = ("method", "rank", "mean", "retained", "of teacher", "latency", "R2", "tasks", "GMACs")
"""Columns that a narrow terminal keeps, the most important first; those of single tasks and all others come after them."""
ENDLESS = 10_000
"""Characters of a line that nothing folds."""
NARROW = 24
"""Characters of a row's name that are not folded."""

Format = Callable[[Any], str]


def _number(digits: int, factor: float = 1.0) -> Format:
    return lambda value: "" if pd.isna(value) else f"{factor * value:.{digits}f}"


def text_table(board: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard as text, one column per thing that a reader compares."""
    text = pd.DataFrame(
        {"rank": rank_texts(board), "method": [selector(row) for row in board.to_dict("records")]}
    )
    for column in board.columns:
        if f"{column}_unit" in board.columns:
            text[f"{' '.join(column.split(':')[:2])} ± {_over(board[f'{column}_unit'])}"] = [
                _score(value, half)
                for value, half in zip(board[column], board[f"{column}_ci95"], strict=True)
            ]
    shown: dict[str, tuple[str, Format]] = {
        "mean": ("mean_score", _number(1, 100)),
        "retained": ("retained", _number(1, 100)),
        "R2": ("r2", _number(3)),
        "GMACs": ("gmacs", _number(4)),
        "of teacher": ("gmacs_ratio", _number(2)),
        "params M": ("params_m", _number(2)),
    }
    for name, (column, as_text) in shown.items():
        text[name] = [as_text(value) for value in board[column]]
    for runtime in ("", *runtimes_among(board.columns)):
        text[f"latency {runtime}".strip()] = _latencies(board, f"_{runtime}" if runtime else "")
    text["train s"] = [_number(0)(value) for value in board["train_s"]]
    text["front"] = ["*" if best else "" for best in board["pareto"]]
    text["tasks"] = [f"{d}/{t}" for d, t in zip(board["tasks_done"], board["tasks_total"], strict=True)]
    return text


def selector(row: Mapping[Any, Any]) -> str:
    """A row's selector as ``--methods`` takes it: ``tome[r=4]+fmd``."""
    return selector_text(row["method"], read_values(row["params"]), row["variant"])


def rank_texts(board: pd.DataFrame) -> list[str]:
    """Ranks as shown: ``2=`` where several rows share rank 2, ``2=?`` of a provisional row, nothing for a row that is not
    ranked."""
    counts = board["rank"].value_counts()
    return [
        "" if pd.isna(rank) else f"{rank}{'=' if counts[rank] > 1 else ''}{'?' if provisional else ''}"
        for rank, provisional in zip(board["rank"], board["provisional"], strict=True)
    ]


def _latencies(board: pd.DataFrame, ending: str) -> list[str]:
    """Ratios of one runtime with their spread, marked where the measurement was disturbed."""
    columns = [board[f"{name}{ending}"] for name in ("latency_ratio", "latency_ratio_iqr", NOISY)]
    return [_latency(*values) for values in zip(*columns, strict=True)]


def _latency(ratio: float, spread: float, noisy: bool) -> str:
    if pd.isna(ratio):
        return ""
    range_ = "" if pd.isna(spread) else f" ({spread:.2f})"
    return f"{ratio:.2f}{range_}{'' if pd.isna(noisy) or not noisy else ' noisy'}"


def _over(units: pd.Series) -> str:
    """What the intervals of a column are over, in a word each: ``clusters``."""
    return " or ".join(unit.rpartition(" ")[2] for unit in sorted(units.dropna().unique()))


def print_board(
    console: Console, board: pd.DataFrame, title: str, rest: str = "in leaderboard.csv", *, wide: bool = False
) -> None:
    """Show the leaderboard on a terminal: as many columns as its width holds, or with ``wide`` all, in lines as long as they
    have to be."""
    if not wide:
        console.print(rich_table(board, title, rest, console.width))
        return
    endless = Console(file=console.file, width=ENDLESS, highlight=False, force_terminal=console.is_terminal)
    endless.print(rich_table(board, title, rest), crop=False)


def rich_table(
    board: pd.DataFrame, title: str, rest: str = "in leaderboard.csv", width: int | None = None
) -> Table:
    """The leaderboard for the terminal: its first rows, and a line that says how many more there are. ``rest`` says
    where they are. In a ``width`` that cannot hold all columns the least important are left out, and a line says so."""
    whole = text_table(board).head(SHOWN)
    text = whole if width is None else whole[narrowed(whole, width)]
    left, hidden = len(board) - len(text), whole.shape[1] - text.shape[1]
    said = [f"{left} more row{'s' if left > 1 else ''} {rest}"] if left else []
    if hidden:
        said.append(
            f"{hidden} of {whole.shape[1]} columns do not fit into {width} characters; --wide shows all"
        )
    table = Table(
        title=title,
        title_justify="left",
        caption="\n".join(said) or None,
        caption_justify="left",
        header_style="bold",
        pad_edge=False,
    )
    for column in text.columns:
        justify: JustifyMethod = "left" if column == "method" else "right"
        least = None if width is not None and column == "method" else text[column].str.len().max()
        table.add_column(column, justify=justify, overflow="fold", min_width=least)
    for row, ranked in zip(text.itertuples(index=False), board["rank"].notna().head(SHOWN), strict=True):
        table.add_row(*map(escape, row), style=None if ranked else "dim")
    return table


def narrowed(text: pd.DataFrame, width: int) -> list[str]:
    """The columns of a text table that ``width`` characters hold, in their order: the most important ones, among them the names
    of rows, which may be folded."""
    order = [name for name in IMPORTANT if name in text.columns]
    order += [name for name in text.columns if name not in order]
    needed = {name: _needed(text, name) for name in order}
    needed["method"] = min(needed["method"], max(NARROW, width // 3))
    kept, used = [], 1 - 2  # the last border; the outer padding is left out
    for name in order:
        if used + needed[name] + 3 <= width or name == "method":
            kept.append(name)
            used += needed[name] + 3
    return [name for name in text.columns if name in kept]


def _needed(text: pd.DataFrame, column: str) -> int:
    """Characters of a column's longest cell, or of the longest word of its heading."""
    return max([len(word) for word in column.split()] + [len(cell) for cell in text[column]])


def markdown(board: pd.DataFrame, title: str, frame: pd.DataFrame, about: str = "") -> str:
    """The page ``leaderboard.md``: the text ``about``, the table, how to read it, and the cells of ``frame`` that failed,
    were skipped or could not be measured somewhere."""
    text = text_table(board)
    lines = [
        f"# {title}",
        "",
        *([about.strip(), ""] if about else []),
        _line(text.columns),
        _line(["---"] * len(text.columns)),
    ]
    lines += [_line(row) for row in text.itertuples(index=False)]
    lines += ["", *NOTES]
    if drawn := split_lines(frame):
        lines += ["", *drawn]
    for heading, found in (
        ("Not finished", failure_lines(frame)),
        ("Skipped", skip_lines(frame)),
        ("Not measured", unmeasured_lines(frame)),
    ):
        if found:
            lines += ["", f"## {heading}", "", *(f"- {line}" for line in found)]
    return "\n".join(lines) + "\n"


def split_lines(frame: pd.DataFrame) -> list[str]:
    """One line per folder whose clouds were divided by a rule, as nothing in it says which are tested."""
    known = frame[frame["split"].notna()].sort_values("dataset")
    pairs = dict.fromkeys(zip(known["dataset"], known["split"], strict=True))
    return [plain(f"Split of {name}, drawn: {split}.") for name, split in pairs]


def failure_lines(frame: pd.DataFrame) -> list[str]:
    """One line per planned cell that is not finished, with its error."""
    return [_cell_line(row) for row in frame[~frame["status"].isin(["ok", "skipped"])].to_dict("records")]


def skip_lines(frame: pd.DataFrame) -> list[str]:
    """One line per cell that was skipped, with the reason."""
    return [_cell_line(row) for row in frame[frame["status"] == "skipped"].to_dict("records")]


def unmeasured_lines(frame: pd.DataFrame) -> list[str]:
    """One line per row and runtime that could not run it, with the reason."""
    return [
        f"{selector(row)} in {runtime}: {row[f'{REASON}_{runtime}']}"
        for runtime in runtimes_among(frame.columns)
        for row in frame[frame[f"{REASON}_{runtime}"].notna()].to_dict("records")
    ]


def _cell_line(row: Mapping[Any, Any]) -> str:
    place = f" on {row['task']}:{row['dataset']}" if row["kind"] == "evaluate" else ""
    error = f"{row['error_type']}: " if isinstance(row["error_type"], str) else ""
    reason = f": {error}{row['message']}" if isinstance(row["message"], str) else ""
    return f"{row['status']}: {row['kind']} {selector(row)}{place}{reason}"


def _score(value: float, half: float) -> str:
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" if pd.isna(half) else f"{100 * value:.1f} ± {100 * half:.1f}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
