"""What every row of a finished sweep costs, by both counters and in bytes, as a Markdown table.

python benchmarks/cost_table.py results/reference
"""

from __future__ import annotations

import sys

from foundry_bench.report.frame import load_results
from foundry_bench.report.tables import selector

COLUMNS = {
    "gmacs": "fvcore",
    "gmacs_flop_counter": "flop_counter",
    "gmacs_p95": "95th percentile",
    "gmacs_tokenizer": "tokenizer",
    "gmacs_encoder": "encoder",
    "gmacs_decoder": "decoder",
    "params_m": "weights M",
    "nonzero_m": "not zero M",
    "disk_mb": "MB",
}


def main() -> None:
    """Print the profile cells of the results folder named on the command line, in GMACs, dearest first."""
    frame = load_results(sys.argv[1])
    sys.stdout.write(f"| row | {' | '.join(COLUMNS.values())} | latency of teacher (IQR) |\n")
    sys.stdout.write(f"|{'---|' * (2 + len(COLUMNS))}\n")
    for _, row in frame[frame["kind"] == "profile"].sort_values("gmacs", ascending=False).iterrows():
        name = selector(row.to_dict())
        counts = " | ".join(f"{row[column]:.4f}" for column in COLUMNS)
        latency = f"{row['latency_ratio']:.2f} ({row['latency_ratio_iqr']:.2f})"
        sys.stdout.write(f"| `{name}` | {counts} | {latency} |\n")


if __name__ == "__main__":
    main()
