"""Methods at the same share of the teacher's multiply-adds, as Markdown tables, and how many pairs of them differ.

python benchmarks/matched_cost.py results/reference
"""

from __future__ import annotations

import sys

import pandas as pd

from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import build, rows_of
from foundry_bench.report.matched import TARGETS, TOLERANCE, at_matched_cost, matched_pairs, separable
from foundry_bench.report.statistics.paired import Sample
from foundry_bench.report.tables import selector


def main() -> None:
    """Print one table per target for the results folder named on the command line, best row first."""
    frame = load_results(sys.argv[1])
    board = build(frame)
    table = at_matched_cost(board)
    spread = frame[frame["kind"] == "profile"].set_index(["method", "variant", "params"])["latency_ratio_iqr"]
    scores = [name for name in table.columns if f"{name}_unit" in table.columns]
    for target in TARGETS:
        sys.stdout.write(
            f"\nAbout {target:.0%} of the teacher's multiply-adds (within {TOLERANCE:.0%} of it):\n\n"
        )
        heads = [name.split(":")[1] for name in scores]
        sys.stdout.write(
            f"| row | GMACs of teacher | latency of teacher (IQR) | {' | '.join(heads)} | kept | R2 |\n"
        )
        sys.stdout.write(f"|{'---|' * (5 + len(heads))}\n")
        for row in table[table["target"] == target].to_dict("records"):
            sys.stdout.write(_line(row, scores, spread))
    sys.stdout.write(_separable(frame, board))


def _separable(frame: pd.DataFrame, board: pd.DataFrame) -> str:
    """Pairs of rows with a random start that differ at one target, by what chance is taken to be."""
    rows = rows_of(frame)
    pairs, old = matched_pairs(rows, board), matched_pairs(rows_of(frame, "/episodes"), board)
    provisional = sum(row.start is None for pair in pairs for row in pair)
    over = " or ".join(sorted(frame["unit"].dropna().unique()))
    counts = {
        "episodes, where they are kept": separable(old, lambda row: Sample(row.outcomes)),
        over: separable(pairs, lambda row: Sample(row.outcomes)),
        f"{over}, and starts": separable(pairs, lambda row: row.sample),
    }
    lines = "".join(f"| {over} | {count} |\n" for over, count in counts.items())
    return (
        f"\nOf {len(pairs)} pairs of rows with a random start at one cost, separable at 5 % without correction "
        f"({provisional} of {2 * len(pairs)} sides provisional):\n\n| over | pairs |\n|---|---|\n{lines}"
    )


def _percent(share: float | None) -> str:
    """A share in percent; nothing where the teacher is not in the folder."""
    return "" if share is None else f"{100 * share:.1f}"


def _line(row: dict, scores: list[str], spread: pd.Series) -> str:
    iqr = spread.loc[[(row["method"], row["variant"], row["params"])]].mean()
    values = " | ".join(f"{100 * row[name]:.1f} ± {100 * row[f'{name}_ci95']:.1f}" for name in scores)
    cost = f"{row['gmacs_ratio']:.2f} | {row['latency_ratio']:.2f} ({iqr:.2f})"
    return f"| `{selector(row)}` | {cost} | {values} | {_percent(row['retained'])} | {row['r2']:.3f} |\n"


if __name__ == "__main__":
    main()
