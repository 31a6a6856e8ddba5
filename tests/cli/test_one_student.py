"""``distill``, ``evaluate`` and ``profile``: the same work as in a sweep, for one student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundry_bench.cli import main
from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers import PointTransformer, save_teacher


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """The folder of a tiny untrained teacher."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "points": 128}
    model = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    save_teacher(model.eval(), tmp_path / "teacher", {})
    return str(tmp_path / "teacher")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The output of a command that must succeed."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert not left.value.code, captured.err
    return captured.out


def test_a_distilled_student_can_be_evaluated_and_profiled(
    teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = str(tmp_path / "student")
    with_teacher = ("--teacher", teacher)
    out = call(
        *(capsys, "distill", "--method", "foundry[supertokens=2]", "-o", student, "--data", "furniture"),
        *with_teacher,
    )
    assert "R2 " in out
    out = call(capsys, "evaluate", student, "--task", "fewshot", "--dataset", "furniture", *with_teacher)
    assert out.startswith("fewshot:furniture:")
    out = call(capsys, "profile", student, "--dataset", "furniture", *with_teacher)
    for figure in ("gmacs", "latency_ratio", "params_m", "disk_mb"):
        assert figure in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("distill", "--method", "teacher"), "teacher has nothing to train"),
        (("distill", "--method", "foundry[supertokens=1,4]"), "stands for 2 students"),
        (("evaluate", "foundry[supertokens=1,4]"), "stands for 2 students"),
    ],
)
def test_a_selector_must_stand_for_one_student(
    teacher: str, tmp_path: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "student")) if arguments[0] == "distill" else ()
    with pytest.raises(SystemExit) as left:
        main([*arguments, *out, "--teacher", teacher])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
