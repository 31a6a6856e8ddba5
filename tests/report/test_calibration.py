"""Two sweeps with other starts, made up with known variances, and what the counts say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import frame

from foundry_bench.errors import UserError
from foundry_bench.report.calibration import by_metric, calibrate, halves
from foundry_bench.report.frame import COLUMNS
from foundry_bench.report.leaderboard import build, rows_of
from foundry_bench.report.matched import matched_pairs, separable
from foundry_bench.report.statistics.paired import Sample
from foundry_bench.variants import CLUSTERS

METHODS = ("tome", "tofu", "pitome", "foundry", "kd", "fps")
PLACES = ("kicad", "furniture")


def sweep(folder: Path, seeds: int, settings: int = 20, start: float = 0.02) -> pd.DataFrame:
    """Rows of three starts a half or so: hard clusters for all, effects of starts, and the rest."""
    rng = np.random.default_rng(0)
    hard = {place: rng.normal(0, 0.3, 60) for place in PLACES}
    found = []
    for number in range(settings):
        method, params = METHODS[number % len(METHODS)], f"r={number}"
        for seed in range(seeds):
            about = {
                **dict.fromkeys(COLUMNS),
                **{"status": "ok", "teacher": "small", "teacher_sha256": "t", "method": method, "seed": seed},
                **{"variant": "fmd", "params": params, "parameters": params},
            }
            name = f"{method}-{number}-{seed}"
            cost = {"gmacs": 1.0, "gflops": 2.0, "gmacs_ratio": 0.4, "latency_ratio": 0.5}
            found.append({**about, "cell_id": f"{name}-cost", "kind": "profile", **cost})
            for place in PLACES:
                outcomes = 0.7 + hard[place] + rng.normal(0, start) + rng.normal(0, 0.1, 60)
                path = folder / f"{name}-{place}.npz"
                episodes = outcomes.mean() + np.zeros(10)
                np.savez(path, **{"acc": outcomes, "acc/episodes": episodes})
                cell = {**about, "cell_id": f"{name}-{place}", "kind": "evaluate", "task": "fewshot"}
                score = {
                    "metric": "acc",
                    "score": outcomes.mean(),
                    "unit": CLUSTERS,
                    "higher_is_better": True,
                }
                found.append({**cell, **score, "dataset": place, "outcomes": str(path)})
    return frame(found)


def test_the_halves_of_a_sweep_are_told_apart_as_often_as_they_should(tmp_path: Path) -> None:
    found = calibrate(halves(sweep(tmp_path, 6, settings=110))[:1])
    assert len(found.p) == 220
    assert (found.provisional, found.equal) == (0, 0)
    assert 0.02 <= found.share <= 0.08
    assert (found.clusters_p < 0.05).mean() > 0.12


def test_single_starts_are_provisional_and_equal_outcomes_no_comparison(tmp_path: Path) -> None:
    table = sweep(tmp_path, 2, settings=4)
    found = calibrate(halves(table))
    assert (len(found.p), found.provisional, found.equal) == (0, 8, 0)
    assert np.isnan(found.share)
    assert calibrate([(table, table)]).equal == 8
    with pytest.raises(UserError, match="1 seeds cannot be halved"):
        halves(table[table["seed"] == 0])


def test_seeds_are_halved_in_every_way_and_every_metric_counts(tmp_path: Path) -> None:
    table = sweep(tmp_path, 4, settings=2)
    split = [set(lower["seed"]) for lower, _ in halves(table)]
    assert split == [{0, 1}, {0, 2}, {0, 3}]
    for path in table["outcomes"].dropna():
        with np.load(path) as kept:
            np.savez(path, **kept, macc=kept["acc"] - 0.1)
    tables = by_metric(table)
    assert [set(some["metric"].dropna()) for some in tables] == [{"acc"}, {"macc"}]
    once, twice = (calibrate(halves(some)) for some in tables)
    assert len(once.p) == len(twice.p) == 3 * 2 * len(PLACES)
    assert np.allclose(once.p, twice.p)


def test_pairs_at_one_cost_are_counted_by_what_chance_is_taken_to_be(tmp_path: Path) -> None:
    table = sweep(tmp_path, 3, settings=6)
    board = build(table)
    pairs, old = (matched_pairs(rows_of(table, kept), board) for kept in ("", "/episodes"))
    assert len(pairs) == len(old) == 6 * 5 / 2
    by_episodes, by_clusters = (separable(some, lambda row: Sample(row.outcomes)) for some in (old, pairs))
    assert by_episodes == 15, "episodes that never vary separate everything"
    assert separable(pairs, lambda row: row.sample) <= by_clusters < by_episodes
