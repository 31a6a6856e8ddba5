"""The change of a cost between two results folders, and whether it is large enough to be listed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import pandas as pd

from foundry_bench.report.compare_pairs import Pair, Side

QUANTITIES = {
    **{"gmacs": "GMACs", "params_m": "parameters", "latency_ratio": "latency ratio"},
    **{"peak_mem_mb": "memory", "train_s": "training time", "r2": "R2"},
}
"""Costs that are compared, and what they are called in the verdict."""
RELATIVE = {"gmacs": 1e-9, "params_m": 1e-9, "peak_mem_mb": 0.05, "train_s": 0.2}
"""Relative change above which a cost is listed. Multiply-adds and parameters are counted, so that any change is one (what is
below is the rounding of means over seeds). Memory comes in pages and allocator blocks. Training times of students that came
out bit-equal in two sweeps of one machine differed by up to 15 %."""
R2_STEP = 0.005
"""Change of R2 above which it is listed: what two digits show."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The change of one cost from A to B. The spreads are the interquartile ranges of a latency ratio, nan elsewhere."""

    row: str
    quantity: str
    a: float
    b: float
    difference: float
    spread_a: float = math.nan
    spread_b: float = math.nan
    changed: bool


COSTS = tuple(field.name for field in fields(Cost))


def costs_of(a: Side, b: Side, pairs: list[Pair]) -> pd.DataFrame:
    """Every cost that both sides measured (columns ``COSTS``), and whether it changed by more than its threshold."""
    table = pd.DataFrame(list(_costs(a, b, pairs)), columns=list(COSTS))
    return table.astype({"changed": bool})


def _costs(a: Side, b: Side, pairs: list[Pair]) -> Iterator[Cost]:
    for pair in pairs:
        for quantity in QUANTITIES:
            first, second = pair.a.values[quantity], pair.b.values[quantity]
            if first is None or second is None:
                continue
            if quantity == "latency_ratio":
                yield _latency(pair, first, second, a.spread(pair.a), b.spread(pair.b))
            else:
                yield _cost(pair, quantity, first, second)


def _latency(pair: Pair, a: float, b: float, spread_a: float, spread_b: float) -> Cost:
    """A latency ratio changed where the interquartile ranges, taken as centred, do not overlap."""
    return Cost(
        row=pair.name,
        quantity="latency_ratio",
        a=a,
        b=b,
        difference=b - a,
        spread_a=spread_a,
        spread_b=spread_b,
        changed=abs(b - a) > (spread_a + spread_b) / 2,
    )


def _cost(pair: Pair, quantity: str, a: float, b: float) -> Cost:
    limit = R2_STEP if quantity == "r2" else RELATIVE[quantity] * abs(a)
    return Cost(row=pair.name, quantity=quantity, a=a, b=b, difference=b - a, changed=abs(b - a) > limit)
