"""From a selector to a finished student, as the command line makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.exports import QuantizedEncoder
from foundry_bench.selectors import expand, parse_selector
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.budget import Budget
from foundry_bench.training.finished import expert_of, finished_student

BUDGET = Budget("tiny", steps=3, batch_size=8, views=2, curve=1)


def test_a_stack_is_trained_first_and_compressed_afterwards(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    ((method, variant),) = expand(parse_selector("foundry[supertokens=2]+int8+fmd"))
    ctx = Context(cache=tmp_path, variant=variant)
    student, report = finished_student(method, tiny_teacher, clouds, ctx, BUDGET)
    assert report is not None
    assert report.steps == 3
    assert isinstance(student, QuantizedEncoder)
    assert not student.training


def test_off_the_shelf_nothing_is_trained(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    ((method, variant),) = expand(parse_selector("lowrank[keep=0.5]+off-the-shelf"))
    ctx = Context(cache=tmp_path, variant=variant)
    student, report = finished_student(method, tiny_teacher, clouds, ctx, BUDGET)
    assert report is None
    assert not torch.equal(
        student(tiny_teacher.tokenize(torch.from_numpy(clouds.points[:1, :256]))).features,
        tiny_teacher(tiny_teacher.tokenize(torch.from_numpy(clouds.points[:1, :256]))).features,
    )


def test_a_method_without_a_task_is_no_expert() -> None:
    ((method, _), *_) = expand(parse_selector("kd[depth=1,width=1.0]"))
    with pytest.raises(UserError, match="kd has no task to be an expert of"):
        expert_of(method)
