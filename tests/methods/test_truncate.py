"""The teacher's first blocks."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.methods.truncate import Truncate
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_method

ZERO = Truncate(blocks=3)


def closed_form(method: Truncate, config: EncoderConfig, trains: bool) -> int:
    total = form.tokenizer(config) + form.position(config) + method.blocks * form.block(config, config.groups)
    return total + (form.cau(config) if trains and method.upsample else 0)


def test_off_the_shelf_it_is_the_teachers_hidden_state(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(Truncate(blocks=1), tiny_teacher, clouds, Context(variant="off-the-shelf"))
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        hidden = tiny_teacher(patches, levels=True).levels[0]  # after the first of three blocks
        assert torch.allclose(student(patches).features, tiny_teacher.norm(hidden), atol=1e-5)


def test_more_blocks_than_the_teacher_has_are_refused(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    with pytest.raises(UserError, match="blocks=4 is more than the teacher's 3"):
        make_student(Truncate(blocks=4), tiny_teacher, clouds, Context())


def test_without_blocks_a_patch_is_its_token_and_its_position(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    for variant in ("off-the-shelf", "fmd"):
        method, ctx = Truncate(blocks=0), Context(variant=variant)
        check_method(method, tiny_teacher, clouds, ctx)
        student = make_student(method, tiny_teacher, clouds, ctx)
        patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
        with torch.no_grad():
            embedding = tiny_teacher.embed(patches)
            alone = tiny_teacher.norm(embedding.tokens + tiny_teacher.positional_encoding(embedding.centers))
            assert torch.allclose(student(patches).features, alone, atol=1e-5)
