"""The throw-away distribution ``fake-bench`` on ``sys.path`` and in ``PYTHONPATH``, and sweeps made of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import Notes, Sweep, config_of

from foundry_bench.encoder import EncoderConfig
from foundry_bench.sweep import runner
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import PROFILE, Plan, plan
from foundry_bench.sweep.reporting import Listener, Outcome
from foundry_bench.sweep.runner import run_sweep
from foundry_bench.teachers import PointTransformer, save_teacher
from foundry_bench.training.budget import BUDGETS, Budget

ENTRY_POINTS = """
[foundry_bench.methods]
teacher-copy = fake_bench:Plain
distilled = fake_bench:Distilled
halving = fake_bench:Halving
trimming = fake_bench:Trimming
schooled = fake_bench:Schooled
impostor = fake_bench:Impostor
failing = fake_bench:Failing
hungry = fake_bench:Hungry
leaving = fake_bench:Leaving
sleeping = fake_bench:Sleeping
dying = fake_bench:Dying
skipping = fake_bench:Skipping
lacking = fake_bench:Lacking
choosy = fake_bench:Choosy
counting = fake_bench:Counting
littering = fake_bench:Littering
straying = fake_bench:Straying
orphaned = fake_bench:Orphaned
greedy = fake_bench:Greedy
lucky = fake_bench:Lucky
broken = fake_bench_that_does_not_exist:Method
[foundry_bench.tasks]
spread = fake_bench:Spread
picky = fake_bench:Picky
[foundry_bench.teachers]
tiny = fake_bench:tiny
[foundry_bench.datasets]
blobs = fake_bench:load_blobs
bare = fake_bench:load_bare
naked = fake_bench:load_bare
"""


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained teacher of one block."""
    import torch

    folder = tmp_path_factory.mktemp("teacher") / "tiny"
    sizes = {"dim": 16, "depth": 1, "heads": 2, "groups": 8, "group_size": 4, "points": 64}
    torch.manual_seed(0)
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    save_teacher(teacher.eval(), folder, {})
    return folder


@pytest.fixture
def plugins(tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fake distribution, importable here and in child processes."""
    folder = tmp_path / "site"
    info = folder / "fake_bench-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    shutil.copy(Path(__file__).with_name("fake_bench_source.py"), folder / "fake_bench.py")
    shutil.copytree(tiny_teacher, folder / "tiny")
    monkeypatch.syspath_prepend(str(folder))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), before])))
    monkeypatch.delitem(sys.modules, "fake_bench", raising=False)
    return folder


@pytest.fixture
def sweep(plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Run a sweep of fake methods in a folder of ``tmp_path``, without profile cells, which take seconds."""

    def without_profiles(config: SweepConfig, most: int | None, measured_on: str | None) -> Plan:
        whole = plan(config, most, measured_on)
        return replace(whole, cells=[cell for cell in whole.cells if cell.kind != PROFILE])

    monkeypatch.setattr(runner, "plan", without_profiles)

    def run(
        methods: str,
        out: str = "out",
        *,
        retry: bool = False,
        rehearse: bool = False,
        listeners: Sequence[Listener] = (),
        **values: Any,
    ) -> tuple[Outcome, Notes]:
        notes = Notes()
        config = config_of(methods, **{"engine": "serial", **values})
        folder = tmp_path / out
        return run_sweep(config, folder, notes, retry=retry, rehearse=rehearse, listeners=listeners), notes

    return run


@pytest.fixture
def short_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps of training in place of the quick budget."""

    short = Budget("quick", steps=4, batch_size=8, views=1, curve=2)
    monkeypatch.setitem(BUDGETS, "quick", short)
