"""Foundry-Gate without training again: score and multiply-adds over the threshold r, a table and a figure.

python benchmarks/gate_curve.py results/reference-gate
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
    """Print the table of every regulariser weight with its spread over r, and draw ``figures/gate-curve``."""
    folder = Path(sys.argv[1])
    rows = curves(str(folder))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
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
        axes.plot(part["gmacs_ratio"], 100 * part["mean_score"], "o-", label=f"weight {weight:g}")
        for row in part.itertuples():
            axes.annotate(
                row.r, (row.gmacs_ratio, 100 * row.mean_score), (0, 5), textcoords="offset points", fontsize=7
            )
    axes.set_xlabel("GMACs of the teacher")
    axes.set_ylabel("mean score over tasks [%]")
    axes.legend(frameon=False)
    for ending in ("png", "svg"):
        figure.savefig(
            folder / "figures" / f"gate-curve.{ending}",
            dpi=150,
            metadata={"Date": None} if ending == "svg" else None,
        )


if __name__ == "__main__":
    main()
