"""Foundry-Gate without training again: score and multiply-adds over the threshold r. The figure of it is
``inference-curve`` of ``foundry-bench report``.

python benchmarks/gate_curve.py results/reference-gate
"""

from __future__ import annotations

import json
import sys

import pandas as pd

from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import build


def curves(folder: str) -> pd.DataFrame:
    """Foundry-Gate's rows with their r and regulariser weight, cheapest first."""
    results = load_results(folder)
    board = build(results)
    rows = board[board["method"] == "foundry-gate"].copy()
    gates = results[results["method"] == "foundry-gate"]
    # what a row shows leaves out defaults, which may have been others then
    full = dict(zip(gates["params"], gates["parameters"], strict=True))
    parameters = [json.loads(full[shown]) for shown in rows["params"]]
    rows["r"] = [str(values["r"]) for values in parameters]
    rows["weight"] = [float(values["weight"]) for values in parameters]
    return rows.sort_values(["weight", "gmacs_ratio"])


def main() -> None:
    """Print the table of every regulariser weight with its spread over r."""
    rows = curves(sys.argv[1])
    for weight, part in rows.groupby("weight"):
        sys.stdout.write(
            f"\nRegulariser weight {weight:g}:\n\n| r | GMACs of teacher | mean score | R2 |\n|---|---|---|---|\n"
        )
        for row in part.itertuples():
            sys.stdout.write(
                f"| {row.r} | {row.gmacs_ratio:.2f} | {100 * row.mean_score:.1f} | {row.r2:.3f} |\n"
            )
        spread = 100 * (part["mean_score"].max() - part["mean_score"].min())
        sys.stdout.write(f"\nSpread of the score over r: {spread:.1f} points.\n")


if __name__ == "__main__":
    main()
