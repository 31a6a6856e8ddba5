"""The data set ``procedural`` wherever a command names data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from foundry_bench.cli import main
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.sweep.config import SweepConfig
from foundry_bench.sweep.plan import plan
from foundry_bench.teachers import PointTransformer, save_teacher
from foundry_bench.training.budget import BUDGETS, REHEARSED

SIZES = {"dim": 16, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "points": 128}
SMALL = "procedural[clouds=100,points=1024]"
NAME = "procedural[clouds=100,seed=0,points=1024]"


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    torch.manual_seed(0)
    model = PointTransformer(EncoderConfig(**SIZES, tokenizer_widths=(8, 8, 16)))
    save_teacher(model.eval(), tmp_path / "teacher", {})
    return str(tmp_path / "teacher")


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints, errors included."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    assert (left.value.code or 0) == code, captured.err
    return captured.out + captured.err


def test_lists_and_info_explain_it(capsys: pytest.CaptureFixture[str]) -> None:
    listed = call(capsys, "data", "list")
    (line,) = [line for line in listed.splitlines() if line.startswith("procedural ")]
    assert "150000 objects x 2048 points, unlabelled, made as asked for; CC0-1.0; sha256" in line
    about = call(capsys, "info", "procedural")
    assert "clouds = 150000" in about
    assert "seed = 0" in about
    assert "nothing to verify" in call(capsys, "data", "verify", SMALL, code=2)


def test_pretraining_mixes_it_with_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {**SIZES, "tokenizer_widths": [8, 8, 16]}
    settings = {
        "encoder": sizes,
        "steps": 2,
        "batch_size": 8,
        "views": 2,
        "probe_every": 2,
    }
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump({**settings, "data": {"furniture": 0.25, SMALL: 0.75}}))
    call(capsys, "pretrain", "--out", str(out), "--config", str(config), "--no-probe")
    data = json.loads((out / "config.json").read_text())["data"]
    assert [(one["name"], one["share"]) for one in data] == [("furniture", 0.25), (NAME, 0.75)]
    again = ("pretrain", "--out", str(out), "--config", str(config), "--no-probe", "--data", "furniture")
    assert "other data" in call(capsys, *again, code=2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected names of data sets"),
        ({"pretrain": 0}, "needs a share above 0"),
        (["pretrain", "pretrain"], "names a data set twice"),
        (["pretrain", "procedural[clouds=5]"], "clouds must be in"),
    ],
)
def test_a_wrong_mixture_is_one_line(
    data: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"steps": 1, "data": data}))
    said = call(capsys, "pretrain", "--out", str(tmp_path / "out"), "--config", str(config), code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_students_are_distilled_on_it_and_tasks_with_labels_refuse_it(
    teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "quick", REHEARSED)
    student = str(tmp_path / "student")
    distilled = (
        "distill",
        "--method",
        "foundry[supertokens=2]",
        "--data",
        SMALL,
        "-o",
        student,
    )
    assert "R2 " in call(capsys, *distilled, "--teacher", teacher)
    for task in ("fewshot", "classification", "partseg"):
        evaluated = ("evaluate", student, "--task", task, "--dataset", SMALL, "--teacher", teacher)
        said = call(capsys, *evaluated, code=2)
        assert f"data set '{NAME}' has no " in said
        assert len(said.strip().splitlines()) == 1


def test_a_sweep_knows_it_by_its_resolved_name() -> None:
    fixed = {"methods": "random-drop[keep=0.5]", "tasks": "fewshot", "dataset": "furniture"}
    texts = (SMALL, "procedural[points=1024, seed=0, clouds=100]", NAME)
    sweeps = [SweepConfig.from_sources(None, {**fixed, "distill_on": text}) for text in texts]
    assert {sweep.distill_on for sweep in sweeps} == {NAME}
    assert yaml.safe_load(sweeps[0].to_yaml())["distill_on"] == NAME
    students = [cell for cell in plan(sweeps[0]).cells if cell.kind == "student"]
    assert {cell.inputs["dataset"]["name"] for cell in students if cell.inputs["dataset"]} == {NAME}
    other = SweepConfig.from_sources(None, {**fixed, "distill_on": "procedural"})
    assert other.differing(sweeps[0]) == ["distill_on"]
    with pytest.raises(UserError, match="did you mean 'clouds'"):
        SweepConfig.from_sources(None, {**fixed, "distill_on": "procedural[cloud=100]"})
