"""How many comparisons of two runs of one sweep with other starts are separated at the nominal 5 %, without correction.

    python benchmarks/calibration.py A B
    python benchmarks/calibration.py A

A and B are results folders of one sweep with other starts; A alone, run with an even number of seeds such as ``--seeds 4``, is
halved by seeds in every way. Every row is compared with itself at every place, by every metric. Between 2 and 8 % of at least
200 comparisons should be separated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scipy import stats

from foundry_bench.report.calibration import LEVEL, Calibration, by_metric, calibrate, halves
from foundry_bench.report.frame import load_results


def main() -> None:
    """Print the share with its interval, beside that of clusters alone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path, nargs="?")
    asked = parser.parse_args()
    a = load_results(asked.a)
    if asked.b is None:
        pairs = [pair for table in by_metric(a) for pair in halves(table)]
    else:
        pairs = list(zip(by_metric(a), by_metric(load_results(asked.b)), strict=True))
    sys.stdout.write(report(calibrate(pairs)))


def report(found: Calibration) -> str:
    """The counts as lines."""
    alone = int((found.clusters_p < LEVEL).sum())
    left = f"{found.equal} with equal outcomes and {found.provisional} provisional ones are left out."
    return (
        f"Separated at the nominal {LEVEL:.0%}, without correction:\n"
        f"- over clusters and starts: {_share(found.separated, len(found.p))}\n"
        f"- over clusters alone: {_share(alone, len(found.p))}\n{left}\n"
    )


def _share(separated: int, count: int) -> str:
    """A share with its exact binomial interval, which takes comparisons for independent."""
    if not count:
        return "no comparison"
    interval = stats.binomtest(separated, count).proportion_ci()
    return (
        f"{separated} of {count}, {separated / count:.1%} ({interval.low:.1%} to {interval.high:.1%} if comparisons were "
        "independent)"
    )


if __name__ == "__main__":
    main()
