"""What ``report.html`` shows of costs against size: the table that ``foundry-bench scale -o RESULTS/scaling`` has written."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from foundry_bench.border import plain
from foundry_bench.report.page_tables import rounded

FILE = Path("scaling") / "scaling.csv"
"""Where the table lies in a results folder."""
TEXTS = ("student", "attention", "status", "stage", "knob")
SIZES = ("points", "groups")
FIGURES = ("base_mb", "peak_mb", "grouping_cpu_ms", "encode_cpu_ms", "memory_limit_mb")
MOST = 5000
"""Rows that a page shows."""


def scaling_data(folder: Path) -> dict[str, Any] | None:
    """The measured sizes of a results folder, None where there are none; ``reason`` where the table cannot be read.

    Of each row its texts, ``points``, ``groups`` and, null where not measured, ``memory`` in 1e6 bytes above the base,
    ``encoder`` and ``grouping`` in milliseconds of CPU time. ``limit``: the memory that a process might have, in 1e6 bytes.
    """
    try:
        with (folder / FILE).open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))[:MOST]
        if not table:
            raise ValueError("it has no row")
        limits = {_number(line["memory_limit_mb"]) for line in table}
        return {
            "reason": None,
            "limit": max(filter(None, limits), default=None),
            "rows": list(map(_row, table)),
        }
    except FileNotFoundError:
        return None
    except KeyError as error:
        reason = f"it has no column {error}"
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = str(error)
    return {"reason": plain(f"{FILE.as_posix()} cannot be read: {reason}"), "limit": None, "rows": []}


def _row(line: dict[str, str]) -> dict[str, Any]:
    base, peak, grouping, encoder, _ = (_number(line[name]) for name in FIGURES)
    above = None if base is None or peak is None else rounded(max(peak - base, 0.0))
    return {
        **{name: plain(line[name]) for name in TEXTS},
        **{name: int(line[name]) for name in SIZES},
        **{"memory": above, "grouping": grouping, "encoder": encoder},
    }


def _number(text: str) -> float | None:
    value = float(text) if text else None
    return value if value is not None and math.isfinite(value) else None
