"""Which share of the teacher's score each row keeps, place by place."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from foundry_bench.report.leaderboard import Board
from foundry_bench.variants import BASELINE


def shares_of(board: Board) -> list[dict[str, float]]:
    """Place -> share of the same teacher's score that each row keeps, where both have one."""
    teachers = {r.keys["teacher_sha256"]: r.scores for r in board.rows if r.keys["method"] == BASELINE}
    found = []
    for row in board.rows:
        base = teachers.get(row.keys["teacher_sha256"], {})
        shares = {place: score / base[place] for place, score in row.scores.items() if base.get(place)}
        found.append({place: share for place, share in shares.items() if math.isfinite(share)})
    return found


def worst_retained(board: Board) -> np.ndarray:
    """The least share of the teacher's score that each complete row keeps at any place, (rows,); nan where there is none."""
    pairs = zip(board.rows, shares_of(board), strict=True)
    return np.array([min(s.values(), default=math.nan) if row.complete else math.nan for row, s in pairs])


def lower_places(frame: pd.DataFrame) -> set[str]:
    """The places of a table of cells at whose primary metric less is better."""
    cells = frame[frame["higher_is_better"].isin([False])]
    return set(cells["task"] + ":" + cells["dataset"]) if len(cells) else set()
