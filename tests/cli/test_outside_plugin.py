"""A method from a distribution of its own is installed, listed and swept like the built-in ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers import PointTransformer, save_teacher

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin, installed by pip from its source without network."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def foundry_bench(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command line with the plugin on its path."""
    command = [sys.executable, "-c", "from foundry_bench.cli import main; main()", *arguments]
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_info_names_the_distribution_it_came_from(installed: Path) -> None:
    done = foundry_bench(installed, "info", "keep-first")
    assert done.returncode == 0, done.stderr
    assert "keep-first (method) from foundry-bench-keep-first" in done.stdout


def test_a_sweep_runs_it_beside_a_built_in_method(installed: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "points": 128}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16))).eval()
    save_teacher(teacher, tmp_path / "teacher", {})
    sweep = ["run", "--methods", "teacher,keep-first", "--tasks", "fewshot", "--dataset", "furniture"]
    where = ["--teacher", str(tmp_path / "teacher"), "--out", str(tmp_path / "out")]
    (tmp_path / "sweep.yaml").write_text("distill_on: furniture\n")
    first = foundry_bench(installed, *sweep, *where, "--config", str(tmp_path / "sweep.yaml"))
    assert first.returncode == 0, first.stdout + first.stderr
    board = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert sorted(board["method"]) == ["keep-first", "teacher"]
    assert board["rank"].notna().all()
    plugin = board.set_index("method").loc["keep-first"]
    assert plugin["params"] == "blocks=1"
    assert 0 < plugin["gmacs_ratio"] < 1
    assert (tmp_path / "out" / "figures" / "accuracy-vs-flops.svg").exists()
    second = foundry_bench(installed, *sweep, *where, "--config", str(tmp_path / "sweep.yaml"))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "nothing is left to do: all 6 cells are finished" in second.stdout
