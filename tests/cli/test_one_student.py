"""``distill``, ``evaluate`` and ``profile``: the same work as in a sweep, for one student."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from foundry_bench.cli import main
from foundry_bench.encoder import EncoderConfig
from foundry_bench.students.files import make_student, save_student
from foundry_bench.teachers import PointTransformer, load_teacher, save_teacher


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


@pytest.fixture
def student(teacher: str, tmp_path: Path) -> str:
    """The folder of an untrained student of the tiny teacher."""
    made = make_student("foundry[supertokens=2]", load_teacher(teacher))
    save_student(made, tmp_path / "student")
    return str(tmp_path / "student")


def test_a_saved_student_is_measured_beside_its_own_teacher(
    student: str, teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cost.json"
    quick = ("--dataset", "furniture", "--no-memory")
    out = call(capsys, "profile", student, *quick, "--json", "-o", str(file))
    found = json.loads(out)
    assert found == json.loads(file.read_text())
    assert found["teacher"] == teacher
    assert found["peak_mem_mb"] is None
    own = call(capsys, "profile", student, *quick, "--json", "--teacher", teacher)
    assert json.loads(own)["gmacs_ratio"] == found["gmacs_ratio"]
    other = call(capsys, "profile", student, *quick, "--json", "--teacher", "small")
    assert json.loads(other)["gmacs_ratio"] < found["gmacs_ratio"] / 10


@pytest.mark.parametrize("lost", ["gone", "other", "unrecorded"])
def test_without_its_teacher_a_student_is_measured_in_absolute_numbers(
    lost: str, student: str, teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(teacher)
    if lost == "gone":
        folder.rename(folder.with_name("elsewhere"))
    elif lost == "other":
        torch.manual_seed(1)
        save_teacher(PointTransformer(load_teacher(teacher).config).eval(), folder, {})
    else:
        card = Path(student) / "config.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "teacher": None}))
    with pytest.raises(SystemExit) as left:
        main(["profile", student, "--dataset", "furniture", "--no-memory", "--json"])
    said = capsys.readouterr()
    assert not left.value.code
    assert said.err.count("compared with no teacher: ") == 1
    found = json.loads(said.out)
    assert found["teacher"] is found["gmacs_ratio"] is found["latency_ratio"] is None
    assert found["latency_ms"] > 0


def test_peak_memory_is_measured_unless_it_is_left_out(
    teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = call(capsys, "profile", "teacher", "--teacher", teacher, "--dataset", "furniture", "--json")
    found = json.loads(out)
    assert found["baseline_mem_mb"] > 50
    assert 0 < found["peak_mem_mb"] < 50, "what the student takes, above that"


def test_a_student_is_measured_in_another_runtime_beside_pytorch(
    student: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    runtimes = ("--runtime", "eager,onnxruntime")
    arguments = ("profile", student, "--dataset", "furniture", "--no-memory", *runtimes)
    out = call(capsys, *arguments, "--threads", "1", "--json")
    elsewhere = json.loads(out)["runtimes"]["onnxruntime"]
    assert elsewhere["reason"] is None
    assert elsewhere["r2"] == pytest.approx(1, abs=1e-3)
    assert elsewhere["latency_ratio"] > 0
    assert elsewhere["latency_total_control_ratio"] > 0


def test_scores_are_given_to_programs_as_json(
    student: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, task = tmp_path / "scores.json", ("--task", "fewshot", "--dataset", "furniture", "--threads", "1")
    found = json.loads(call(capsys, "evaluate", student, *task, "--json", "-o", str(file)))
    assert found == json.loads(file.read_text())
    assert {score["dataset"] for score in found["scores"]} == {"furniture"}
    assert sum(score["primary"] for score in found["scores"]) == 1


@pytest.mark.parametrize("command", ["profile", "evaluate"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda:99"), "cannot compute on device"),
        (("-o", "/dev/null/x.json"), "choose another --output"),
        (("--threads", "0"), "--threads"),
    ],
)
def test_options_are_tried_before_anything_is_loaded(
    command: str, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "teacher", "--teacher", "no-such-teacher", *options])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("distill", "--method", "teacher"),
            "teacher has nothing to train; give it to evaluate, profile or export as it is",
        ),
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
