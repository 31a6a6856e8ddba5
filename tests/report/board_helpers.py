"""Results made up for tests of the report: the cells of a few rows, as ``load_results`` gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from foundry_bench.report.frame import COLUMNS, with_runtimes
from foundry_bench.variants import CLUSTERS


def cells(
    method: str,
    folder: Path,
    *,
    level: float,
    params: str = "",
    variant: str = "fmd",
    gmacs: float = 1.0,
    places: tuple[str, ...] = ("kicad", "furniture"),
    failed: tuple[str, ...] = (),
    seeds: int = 3,
    noise: float = 0.01,
    start: float = 0.0,
) -> list[dict[str, object]]:
    """Student, evaluate and profile cells of one row whose mean score is about ``level``; every start adds ``start`` more."""
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        student = f"{method}-{params}-{variant}-{seed}"
        row = {
            **dict.fromkeys(COLUMNS),
            **{"status": "ok", "teacher": "small", "teacher_sha256": "t", "method": method},
            **{"variant": variant, "params": params, "parameters": params, "seed": seed},
        }
        trained = {"r2": 0.5, "train_s": 10.0, "budget": "quick"}
        rows.append({**row, "cell_id": student, "kind": "student", **trained})
        cost = {"gmacs": gmacs, "gflops": 2 * gmacs, "gmacs_ratio": gmacs, "latency_ratio": 0.5, "r2": 0.9}
        rows.append({**row, "cell_id": f"{student}-cost", "kind": "profile", "student": student, **cost})
        for place in places:
            cell = {**row, "cell_id": f"{student}-{place}", "kind": "evaluate", "student": student}
            cell.update(task="fewshot", dataset=place)
            if place in failed:
                rows.append({**cell, "status": "failed", "error_type": "ValueError", "message": "no"})
                continue
            outcomes = (
                level
                + seed * start
                + clusters(place, noise)
                + np.random.default_rng(seed + 9).normal(0, 0.001, 40)
            )
            path = folder / f"{student}-{place}.npz"
            np.savez(path, acc=outcomes)
            score = {
                "metric": "acc",
                "score": outcomes.mean(),
                "n": 40,
                "unit": CLUSTERS,
                "higher_is_better": True,
            }
            rows.append({**cell, **score, "outcomes": str(path)})
    return rows


def clusters(place: str, noise: float) -> np.ndarray:
    """Easy and hard clusters (40,), the same for every row: what makes the comparison a paired one."""
    return np.random.default_rng(len(place)).normal(0, noise, 40)


def frame(*rows: list[dict[str, object]]) -> pd.DataFrame:
    """A table as ``load_results`` gives it."""
    return with_runtimes(pd.DataFrame([cell for row in rows for cell in row]), ())
