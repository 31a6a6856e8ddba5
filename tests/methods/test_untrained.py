"""The row without any training."""

from __future__ import annotations

import closed_form as form
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.untrained import Untrained
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

ZERO = None


def closed_form(method: Untrained, config: EncoderConfig, trains: bool) -> int:
    return form.teacher(config)


def test_it_shares_sizes_with_the_teacher_and_no_weight_matrix(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    first, again, other = (
        make_student(Untrained(), tiny_teacher, clouds, Context(seed=seed)).state_dict() for seed in (0, 0, 1)
    )
    for name, theirs in tiny_teacher.state_dict().items():
        assert first[name].shape == theirs.shape
        assert torch.equal(first[name], again[name])
        if theirs.dim() > 1:
            assert not torch.allclose(first[name], theirs)
            assert not torch.allclose(first[name], other[name])
