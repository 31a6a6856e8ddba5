"""A world in which the commands of the documentation take seconds: tiny teachers, two steps of training, a few clouds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foundry_bench.cost import report as costs
from foundry_bench.cost.report import profile
from foundry_bench.datasets import load_pretrain
from foundry_bench.encoder import EncoderConfig
from foundry_bench.sweep.engines import local
from foundry_bench.sweep.engines.serial import SerialEngine
from foundry_bench.teachers import PointTransformer, save_teacher, shipped
from foundry_bench.training.budget import BUDGETS, REHEARSED

ROOT = Path(__file__).parents[2]
SIZES = {"dim": 16, "depth": 2, "heads": 2, "groups": 16, "group_size": 8, "points": 128}


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with untrained teachers under the names of those that ship."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("small", "small-v1")):
        torch.manual_seed(seed)
        teacher = PointTransformer(EncoderConfig(**SIZES, tokenizer_widths=(8, 8, 16)))
        save_teacher(teacher.eval(), folder / name, {})
    return folder


@pytest.fixture
def world(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, for commands of this process. In it are ``scans/``, ``cloud.npy``, ``point_jepa.ckpt``,
    ``results/before`` and ``results/after``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "WEIGHTS", tiny_weights)
    monkeypatch.setattr(local, "LocalEngine", SerialEngine)
    for name in ("quick", "standard", "paper"):
        monkeypatch.setitem(BUDGETS, name, replace(REHEARSED, name=name))
    monkeypatch.setitem(profile.__kwdefaults__, "seconds", 0.02)
    monkeypatch.setattr(costs, "_memory", lambda *_: None)
    (tmp_path / "scans").mkdir()
    for number, cloud in enumerate(load_pretrain().points[:60]):
        np.save(tmp_path / "scans" / f"{number:02}.npy", 40 * cloud)
    np.save(tmp_path / "cloud.npy", load_pretrain().points[0])
    shutil.copy(ROOT / "tests" / "golden" / "point_jepa.ckpt", tmp_path)
    for name in ("before", "after"):
        shutil.copytree(ROOT / "results" / "reference-frontier", tmp_path / "results" / name)
    return tmp_path
