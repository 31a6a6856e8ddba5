"""``info`` of weights: what their card says without torch, and the context index, kept or measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import foundry_bench as fb
from foundry_bench.cli import main
from foundry_bench.cli.pretrain import _context
from foundry_bench.context import no_progress
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.heads import context_index
from foundry_bench.teachers import save_teacher
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.teachers.weights import teacher_folder

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = """
import sys
from foundry_bench.cli import main
try:
    main(["info", "small"])
except SystemExit:
    sys.exit("torch" in sys.modules)
"""
CHECKPOINT = f"{GOLDEN / 'point_mae.pth'}?heads=4&groups=16&group_size=8&points=256"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, clouds: PointCloudDataset) -> None:
    """The index of all here is measured on eight clouds."""
    monkeypatch.setattr(context_index, "standard_clouds", lambda: np.asarray(clouds.points[:8]))


def info(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["info", *arguments])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_the_shipped_teacher_tells_its_index_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=True)
    card = json.loads((teacher_folder("small") / "config.json").read_text())
    assert f"context index: {card['context']['index']:.3f} (query mean" in done.stdout
    assert "measured by: foundry-bench info small --context" in done.stdout
    assert "sizes: dim = 192" in done.stdout


def test_a_folder_shows_what_pretraining_wrote(
    tiny_teacher: PointTransformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block = _context(tiny_teacher, tmp_path, no_progress)
    expected = fb.context_index(tiny_teacher)
    assert block["index"] == expected.index == min(block["query_mean"], block["self_kept"])
    save_teacher(tiny_teacher, tmp_path, {"command": "foundry-bench pretrain --out mine", "context": block})
    kept, measured = info(capsys, str(tmp_path))[1], info(capsys, str(tmp_path), "--context")[1]
    assert "command: foundry-bench pretrain --out mine" in kept
    for out in (kept, measured):
        assert f"context index: {expected.index:.3f} (" in out
        assert f"effective rank {expected.effective_rank:.1f} of 32" in out
    assert "measured now" in measured


def test_a_teacher_without_an_index_keeps_the_reason(
    tiny_teacher: PointTransformer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_teacher.norm.weight.zero_()
    block = _context(tiny_teacher, tmp_path, no_progress)
    assert block["index"] is None
    save_teacher(tiny_teacher, tmp_path, {"context": block})
    assert "gives the same token to every patch" in info(capsys, str(tmp_path))[1]


def test_a_checkpoint_is_measured_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = info(capsys, CHECKPOINT)
    assert code == 0
    assert "context index: not measured; foundry-bench info '" in out
    code, out, _ = info(capsys, CHECKPOINT, "--context")
    assert code == 0
    assert "of 48; measured now" in out


def test_a_student_has_one_where_it_keeps_its_patches(
    tiny_teacher: PointTransformer,
    clouds: PointCloudDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for selector in ("kd[depth=1]", "foundry[supertokens=2]"):
        fb.save_student(fb.make_student(selector, tiny_teacher, clouds), tmp_path / selector[:2])
    code, out, _ = info(capsys, str(tmp_path / "kd"), "--context")
    assert code == 0
    assert "method: kd" in out
    assert "of 32; measured now" in out
    code, _, err = info(capsys, str(tmp_path / "fo"), "--context")
    assert (code, err.count("\n")) == (2, 1)
    assert "not over all 16 patches" in err


def test_only_weights_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = info(capsys, "foundry", "--context")
    assert (code, err.count("\n")) == (2, 1)
    assert "--context measures a teacher" in err
