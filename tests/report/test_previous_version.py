"""Records of an earlier pipeline version stay readable: the folder was written by pipeline version 3, its leaderboard too.

foundry-bench run --methods 'teacher,tome[r=4]' --tasks fewshot:kicad --threads 1 --jobs 1 --no-rehearsal --out pipeline-3
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from foundry_bench.cli.compare import compare
from foundry_bench.cli.leaderboard import leaderboard
from foundry_bench.report.frame import BY_BAND, load_results
from foundry_bench.sweep import index
from foundry_bench.sweep.plan import PIPELINE_VERSION
from foundry_bench.sweep.store import KINDS, Store

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "tests" / "golden" / "pipeline-3"
ROWS = {("teacher", "off-the-shelf"): 1, ("tome", "fmd"): 2, ("tome", "off-the-shelf"): 2}
"""Method and variant -> rows, one for each value of ``proportional``."""
CELLS = {"student": 3, "evaluate": 5, "profile": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, because readers leave an index."""
    return Path(shutil.copytree(COMMITTED, tmp_path_factory.mktemp("previous") / "pipeline-3"))


def test_the_folder_is_of_an_earlier_version_and_holds_every_kind_of_record() -> None:
    records = [json.loads(file.read_bytes()) for file in COMMITTED.glob("cells/*/*.json")]
    assert {record["inputs"]["pipeline"] for record in records} == {3}
    assert PIPELINE_VERSION > 3
    assert {record["identity"]["kind"] for record in records} == set(KINDS)
    assert len(list(COMMITTED.glob("cells/evaluate/*.npz"))) == CELLS["evaluate"]


def test_every_record_is_taken_as_it_was_written(folder: Path) -> None:
    store = Store(folder)
    assert len(index.load(store)) == sum(CELLS.values())
    assert store.warnings == []


def test_load_results_reads_it(folder: Path) -> None:
    frame = load_results(folder)
    assert set(frame["status"]) == {"ok"}
    assert frame["kind"].value_counts().to_dict() == CELLS
    evaluated = frame[frame["kind"] == "evaluate"]
    assert evaluated[["score", "n", "ci_low", "ci_high", "outcomes", "metric"]].notna().all(axis=None)
    assert (
        frame.loc[frame["kind"] == "profile", ["gmacs", "latency_ratio", "params_m"]].notna().all(axis=None)
    )
    assert frame.loc[frame["kind"] == "student", ["r2", "steps", "train_s"]].notna().all(axis=None)
    assert frame[["r2_linear", "r2_within", *BY_BAND]].isna().all(axis=None), "it knew plain R2 alone"


def test_leaderboard_ranks_it_as_the_version_that_wrote_it_did(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(leaderboard, [str(folder), "-o", str(tmp_path / "board.csv")])
    assert done.exit_code == 0, done.output
    now, then = pd.read_csv(tmp_path / "board.csv"), pd.read_csv(COMMITTED / "leaderboard.csv")
    assert now.value_counts(["method", "variant"]).to_dict() == ROWS
    keys = ["method", "variant"]
    numbers = list(then.select_dtypes("number").columns)
    pd.testing.assert_frame_equal(now[[*keys, *numbers]], then[[*keys, *numbers]])


def test_compare_finds_nothing_between_two_copies(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(COMMITTED, tmp_path / "other")
    done = CliRunner().invoke(compare, [str(folder), str(other)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("nothing changed in 5 rows and 5 scores")


def test_compare_takes_a_still_older_version_beside_it(folder: Path, tmp_path: Path) -> None:
    older = shutil.copytree(ROOT / "tests" / "golden" / "controls", tmp_path / "older")
    done = CliRunner().invoke(compare, [str(older), str(folder), "--all"])
    assert done.exit_code == 0, done.output
    assert "pipeline: 2 -> 3" in done.output
    assert "teacher" in done.output
