"""The sweep of the paper's tables, from data sets in the official layouts and a checkpoint in the public one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from official_layouts import box_cloud, write_modelnet40, write_shapenet55, write_shapenetpart

from foundry_bench.api import run_sweep
from foundry_bench.datasets.official.shapenet55 import CLOUDS
from foundry_bench.report.frame import load_results

CHECKPOINT = Path(__file__).parents[1] / "golden" / "point_jepa.ckpt"
TEACHER = f"{CHECKPOINT}?heads=4&groups=16&group_size=8&points=256"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three official data sets of a few clouds, ShapeNet55 with enough to hold some out."""
    root = tmp_path / "data"
    write_modelnet40(root, train=(8, 8), test=(6,))
    write_shapenetpart(root, points=2100)
    folder = write_shapenet55(root)
    lists = folder / "ShapeNet-55"
    for side, first in (("train", 100), ("test", 200)):
        names = [f"{synset}-{first + i:031x}.npy" for i in range(16) for synset in ("02691156", "03001627")]
        for i, name in enumerate(names):
            np.save(folder / CLOUDS / name, box_cloud(first + i, 8192))
        (lists / f"{side}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


@pytest.mark.slow
def test_the_papers_tables_come_from_one_file(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = {"tables": "general-vs-experts,gate", "device": "cpu", "engine": "serial"}
    board = run_sweep(out, "paper", teacher=TEACHER, data_root=str(root), **chosen)
    cells = load_results(out)
    assert set(cells["status"]) == {"ok"}
    assert set(cells["budget"].dropna()) == {"paper"}
    general = pd.read_csv(out / "tables" / "general-vs-experts.csv")
    assert list(general["method"]).count("kd-expert") == 2
    columns = [column for column in general.columns if ":" in column and not column.endswith("_ci95")]
    assert columns == [
        "classification[mode=finetune,rotate=False]:shapenet55:oa",
        "partseg[mode=finetune,rotate=False]:shapenetpart:miou_i",
    ]
    gate = pd.read_csv(out / "tables" / "gate.csv")
    assert (gate["method"] == "foundry-gate").sum() == 7
    assert list(board.loc[board["rank"].notna(), "method"]) == ["teacher"]  # the one row of both tables
