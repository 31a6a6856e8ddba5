"""Makes the columns `series`, `set` and `fold` of the table from which the data sets of bricks are prepared.

Twins are found over all pairs of a class, by points: objects that differ no more than two samplings of one. Their series are
made one; folds and the wall between `bricks` and `bricks-unlabelled` follow. A quarter of an hour on two cores, once:

    python benchmarks/brick_series.py --source DIR --out foundry_bench/datasets/preparation/spec/ldraw_files.csv.gz

Figures of the committed table stand in its output, `docs/bricks.md`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundry_bench.datasets.preparation import brick_selection, selection
from foundry_bench.datasets.preparation.bricks import sample_bricks
from foundry_bench.datasets.preparation.selection import Source
from foundry_bench.datasets.preparation.twins import HALF, Halves, twin_pairs, united

Row = dict[str, str]


def main() -> None:
    """Samples every part of the table, finds twins, writes the table and prints what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True, help="unpacked ldraw-parts-free")
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    rows = sorted(selection.table(brick_selection.TABLE), key=lambda row: row["file"])
    sources = [Source(row["file"], "", "") for row in rows]
    clouds, skipped = sample_bricks(options.source, sources, 2 * HALF, options.jobs, _progress)
    for item in skipped:
        print(f"skipped {item.source.path}: {item.reason}")
    known = {cloud.source.path: number for number, cloud in enumerate(clouds)}
    rows = [row for row in rows if row["file"] in known]
    write(decided(rows, Halves.of(np.stack([cloud.points for cloud in clouds]))), options.out)


def decided(rows: Sequence[Row], halves: Halves) -> list[Row]:
    """The rows with series, set and fold; ``halves`` are their objects."""
    labels = np.array([brick_selection.merged_class(row) for row in rows])
    series = _series(rows, labels, halves)
    core, rest = np.flatnonzero(labels != ""), np.flatnonzero(labels == "")
    rest = rest[~_near_core(rows, core, rest, halves)]
    chosen = core[brick_selection.capped(*_columns(rows, labels, series, core))]
    fold = brick_selection.folds(labels[chosen].tolist(), series[chosen].tolist())
    unlabelled = rest[brick_selection.capped(*_columns(rows, labels, series, rest))]
    into = dict.fromkeys(chosen.tolist(), "bricks") | dict.fromkeys(unlabelled.tolist(), "bricks-unlabelled")
    tested = dict(zip(chosen.tolist(), fold.tolist(), strict=True))
    _report(labels, series, chosen, fold, unlabelled)
    return [
        row | {"series": str(series[i]), "set": into.get(i, ""), "fold": str(tested.get(i, ""))}
        for i, row in enumerate(rows)
    ]


def write(rows: Sequence[Row], path: Path) -> None:
    """Writes the compressed table, without a date in it."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode("utf-8"), 9, mtime=0))


def _series(rows: Sequence[Row], labels: np.ndarray, halves: Halves) -> np.ndarray:
    """Class and mould number of every row, united over the twins of the class."""
    of = [f"{label or row['class']}/{row['mould']}" for row, label in zip(rows, labels, strict=True)]
    series = np.array(of, dtype=object)
    for label in sorted(set(labels) - {""}):
        members = np.flatnonzero(labels == label)
        pairs = twin_pairs(halves[members])
        before = len(set(series[members]))
        series[members] = united(series[members].astype(str).tolist(), pairs)
        after = len(set(series[members]))
        print(
            f"{label:<18} {len(members):>4} objects, {len(pairs):>5} twins, series {before:>3} -> {after:>3}"
        )
    return series


def _near_core(rows: Sequence[Row], core: np.ndarray, rest: np.ndarray, halves: Halves) -> np.ndarray:
    """Which rows of ``rest`` are twins of an object of a class of ``bricks``, or are made from its mould."""
    moulds = {rows[i]["mould"] for i in core}
    same = np.array([rows[i]["mould"] in moulds for i in rest])
    twins = np.isin(np.arange(len(rest)), twin_pairs(halves[rest], halves[core])[:, 0])
    print(
        f"outside the classes: {len(rest)} objects, {same.sum()} of a mould within, {twins.sum()} twins of one"
    )
    return same | twins


def _columns(
    rows: Sequence[Row], labels: np.ndarray, series: np.ndarray, chosen: np.ndarray
) -> tuple[list[Row], list[str], list[str]]:
    return [rows[i] for i in chosen], labels[chosen].tolist(), series[chosen].tolist()


def _report(
    labels: np.ndarray, series: np.ndarray, chosen: np.ndarray, fold: np.ndarray, unlabelled: np.ndarray
) -> None:
    sizes = [len(set(series[chosen[labels[chosen] == label]])) for label in sorted(set(labels[chosen]))]
    print(
        f"bricks: {len(chosen)} objects, {len(set(series[chosen]))} series, {len(sizes)} classes of "
        f"{min(sizes)} to {max(sizes)} series, folds of {np.bincount(fold).tolist()}"
    )
    smallest = min(min(Counter(fold[labels[chosen] == label]).values()) for label in set(labels[chosen]))
    print(f"fewest objects of a class in a fold: {smallest}")
    print(f"bricks-unlabelled: {len(unlabelled)} objects, {len(set(series[unlabelled]))} series")


def _progress(done: int, total: int, path: str) -> None:
    if done % 250 == 0 or done == total:
        print(f"{done}/{total}", flush=True)


if __name__ == "__main__":
    main()
