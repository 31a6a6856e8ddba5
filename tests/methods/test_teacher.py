"""The uncompressed row."""

from __future__ import annotations

import closed_form as form
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.teacher import NoCompression
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

ZERO = NoCompression()


def closed_form(method: NoCompression, config: EncoderConfig, trains: bool) -> int:
    return form.teacher(config)


def test_it_is_a_copy_and_not_the_teacher_itself(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    row = make_student(NoCompression(), tiny_teacher, clouds, Context())
    ours, theirs = next(row.parameters()), next(tiny_teacher.parameters())
    assert torch.equal(ours, theirs)
    assert ours.data_ptr() != theirs.data_ptr()
