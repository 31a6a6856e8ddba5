"""Successive halving, as pure functions: who goes on from one rung to the next, and what is tried next at the end.

Wanted is the cheapest student that keeps enough and not the best one, so a rung keeps the students that no other one beats in
both cost and fidelity (non-dominated sorting, as in NSGA-II), spread over the costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ETA = 3
"""A rung keeps one of so many, and trains it so much longer."""
LEAST_LOST = 1e-4
"""What a student loses at least, as far as it matters who is tried."""


@dataclass(frozen=True)
class Measured:
    """A student of a rung: ``cost`` in any unit, and held-out ``fidelity``, higher better."""

    selector: str
    cost: float
    fidelity: float


@dataclass(frozen=True)
class Verdict:
    """What tasks say of a student. ``kept``: share of the teacher's score, None while tasks are missing; ``able``: whether it
    keeps what was asked for."""

    selector: str
    kept: float | None
    able: bool


def layers(rows: Sequence[Measured]) -> list[list[Measured]]:
    """``rows`` in layers, the first of those that no other is as cheap and as good as; each from cheap to dear."""
    left = sorted(rows, key=lambda row: (row.cost, -row.fidelity, row.selector))
    found = []
    while left:
        layer: list[Measured] = []
        rest: list[Measured] = []
        best = -math.inf
        for row in left:
            (layer if row.fidelity > best else rest).append(row)
            best = max(best, row.fidelity)
        found.append(layer)
        left = rest
    return found


def go_on(rows: Sequence[Measured], count: int) -> list[Measured]:
    """``count`` of ``rows``: whole layers while they fit, of the next one those that are spread evenly from its cheapest to its
    dearest."""
    chosen: list[Measured] = []
    for layer in layers(rows):
        room = count - len(chosen)
        if room <= 0:
            break
        chosen += layer if len(layer) <= room else _spread(layer, room)
    return chosen


def _spread(layer: list[Measured], count: int) -> list[Measured]:
    if count == 1:
        return layer[-1:]
    return [layer[round(i * (len(layer) - 1) / (count - 1))] for i in range(count)]


def parts_of_budget(rungs: int) -> list[int]:
    """What the steps of the whole budget are divided by in each of ``rungs`` rungs before the last training: 9, 3."""
    return [ETA ** (rungs - rung) for rung in range(rungs)]


def next_to_try(
    left: Sequence[Measured], tried: Mapping[str, Measured], verdicts: Sequence[Verdict], keep: float
) -> Measured | None:
    """Whom of ``left`` to train in full and put to the tasks next, None where nobody is worth it any more.

    Whoever costs as much as a row that keeps enough is out, and so is whoever had no better fidelity than a row that kept too
    little. Of the others the one in the middle of what they lose, 1 - fidelity, on a logarithmic scale: where much has to be
    kept, the middle of their costs would be far from the answer, since most that is cheap is far too poor.
    """
    able = [tried[v.selector].cost for v in verdicts if v.able and v.selector in tried]
    short = [
        tried[v.selector].fidelity
        for v in verdicts
        if v.selector in tried and v.kept is not None and v.kept < keep
    ]
    worth = [
        row
        for row in left
        if row.selector not in tried
        and row.cost < min(able, default=math.inf)
        and row.fidelity > max(short, default=-math.inf)
    ]
    lost = {row.selector: math.log(max(1.0 - row.fidelity, LEAST_LOST)) for row in worth}
    middle = (min(lost.values(), default=0.0) + max(lost.values(), default=0.0)) / 2
    return min(
        worth, key=lambda row: (abs(lost[row.selector] - middle), row.cost, row.selector), default=None
    )
