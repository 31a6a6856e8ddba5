"""How large ``report.html`` is, and how many processor seconds it takes, by the number of rows.

    python benchmarks/page_size.py [--rows 20,100,2000,2500] [--folders results/reference ...]

Rows are those of ``ten_thousand_cells.py``: records of the real format with made-up numbers, four cells a row. ``--folders``
adds real results. ``all`` is everything from reading the records, ``page`` the page alone, of what was read and tested. Every
page is built twice, and has to be the same to the byte.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from ten_thousand_cells import install, make_results

from foundry_bench.report import html
from foundry_bench.report.writer import gathered

Found = TypeVar("Found")


def main() -> None:
    """Make the folders, build every page, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="20,100,2000,2500")
    parser.add_argument("--folders", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    table = Table(title="report.html")
    for heading in ("results", "rows", "cells", "KB", "all, CPU s", "page, CPU s"):
        table.add_column(heading, justify="left" if heading == "results" else "right")
    with TemporaryDirectory(prefix="page-") as scratch:
        counts = [int(text) for text in asked.rows.split(",")]
        install(Path(scratch), max(counts) - 1)
        for rows in counts:
            folder = Path(scratch) / "made up"
            positions = ",".join(map(str, range(rows - 1)))
            make_results(folder, f"teacher,dial[position={positions}]")
            table.add_row(*_measured(folder))
            shutil.rmtree(folder)
        for folder in asked.folders:
            table.add_row(*_measured(folder))
    Console().print(table)


def _measured(folder: Path) -> tuple[str, ...]:
    """One line of the table. Raises RuntimeError where the same results give another page."""
    (whole, parts), reading = _seconds(lambda: gathered(folder))
    text, building = _seconds(lambda: html.page(folder, whole, parts))
    if html.page(folder, *gathered(folder)) != text:
        raise RuntimeError(f"{folder} gives another page when it is built again")
    kilobytes = len(text.encode("utf-8", "xmlcharrefreplace")) / 1000
    numbers = (f"{len(whole.board.rows):,}", f"{len(whole.frame):,}", f"{kilobytes:,.0f}")
    return folder.name, *numbers, f"{reading + building:.1f}", f"{building:.1f}"


def _seconds(work: Callable[[], Found]) -> tuple[Found, float]:
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


if __name__ == "__main__":
    main()
