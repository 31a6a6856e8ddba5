"""Every row of a finished sweep against one of them, paired over clusters, as a Markdown table.

python benchmarks/against.py results/reference-forms 'foundry[supertokens=16]+fmd'
python benchmarks/against.py results/reference 'foundry-late[supertokens=20]+fmd' densefewshot     # of one task alone
"""

from __future__ import annotations

import sys

from foundry_bench.report.frame import load_results
from foundry_bench.report.leaderboard import rows_of
from foundry_bench.report.matched import against
from foundry_bench.report.tables import selector


def main() -> None:
    """Print score differences to the row named second on the command line, in points, with R2 and cost of each; of the tasks
    that follow it alone, where any do."""
    frame = load_results(sys.argv[1])
    if sys.argv[3:]:
        frame = frame[(frame["kind"] != "evaluate") | frame["task"].isin(sys.argv[3:])]
    rows = rows_of(frame)
    values = {selector(row.keys): row.values for row in rows}
    sys.stdout.write(
        f"Mean score minus that of `{sys.argv[2]}`, in points; * separable (paired t over clusters "
        "and starts, Holm), ? one start.\n\n"
    )
    sys.stdout.write("| row | difference | p | held-out R2 | GMACs of teacher |\n|---|---|---|---|---|\n")
    for d in against(rows, sys.argv[2]):
        about = values[d.row]
        star = " *" if d.separable else " ?" if d.provisional else ""
        sys.stdout.write(
            f"| `{d.row}` | {100 * d.mean:+.1f} ± {100 * d.half:.1f}{star} | {d.p:.2g} | {about['r2']:.3f} "
            f"| {about['gmacs_ratio']:.2f} |\n"
        )


if __name__ == "__main__":
    main()
