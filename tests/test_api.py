"""The library's front door does what the command line does, with encoders and data in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import foundry_bench as fb
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.teachers.transformer import PointTransformer


def test_the_readme_example_runs(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    fb.save_teacher(tiny_teacher, tmp_path / "teacher", {})
    teacher = fb.load_teacher(tmp_path / "teacher")
    patches = teacher.tokenize(torch.from_numpy(clouds.points[:2]))
    student = fb.make_student("foundry[supertokens=2]", teacher, clouds)
    student = fb.distill(student, teacher, clouds)
    assert student.report is not None
    assert student.report.steps == 200
    assert student.report.r2 > 0.2
    fb.save_student(student, tmp_path / "student")
    loaded = fb.load_student(tmp_path / "student")
    with torch.no_grad():
        assert torch.equal(loaded(patches).features, student(patches).features)
    assert loaded.origin is not None
    assert loaded.origin.teacher == str(tmp_path / "teacher")
    assert fb.evaluate(loaded, "fewshot", "furniture").values[0].metric == "acc_5w10s"
    assert fb.profile(loaded, teacher, clouds).gmacs_ratio < 1


def test_distilling_a_stack_trains_its_first_method_and_applies_the_others(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = fb.make_student("foundry[supertokens=2]+int8", tiny_teacher, clouds)
    trained = fb.distill(student, tiny_teacher, clouds)
    assert trained.origin is not None
    assert trained.origin.method.name == "foundry+int8"
    assert trained.report is not None
    assert trained.runtime == "onnxruntime"


def test_what_cannot_be_distilled_or_asked_for_is_one_clear_line(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    with pytest.raises(UserError, match="make_student"):
        fb.distill(tiny_teacher, tiny_teacher, clouds)
    untrained = fb.make_student("tome[r=2]+off-the-shelf", tiny_teacher, clouds)
    with pytest.raises(UserError, match="has no training"):
        fb.distill(untrained, tiny_teacher, clouds)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        fb.distill(fb.make_student("foundry", tiny_teacher, clouds), tiny_teacher, clouds, budget="quik")
    with pytest.raises(UserError, match="unknown dataset"):
        fb.evaluate(tiny_teacher, "fewshot", "kikad")
    with pytest.raises(UserError, match="stands for several"):
        fb.evaluate(tiny_teacher, "fewshot[queries=10,20]", "furniture")


def test_a_folder_of_clouds_is_data_to_distil_on(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    for i, cloud in enumerate(clouds.points[:40]):
        np.save(tmp_path / f"scan-{i}.npy", cloud)
    student = fb.distill(
        fb.make_student("foundry[supertokens=1]", tiny_teacher, clouds), tiny_teacher, tmp_path
    )
    assert student.report is not None
    assert student.report.samples == 200 * 64


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, foundry_bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert callable(fb.distill)
    with pytest.raises(AttributeError):
        fb.no_such_name  # noqa: B018


def test_the_package_offers_its_functions_and_nothing_else() -> None:
    assert set(dir(fb)) == {*fb.__all__, "__version__"}
    assert all(callable(getattr(fb, name)) for name in fb.__all__)


def test_without_a_name_the_teacher_is_the_one_that_comes_with_the_package() -> None:
    assert fb.load_teacher().source == fb.load_teacher("small").source
