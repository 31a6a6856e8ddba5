"""Smaller transformers, distilled on the teacher's tokens."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.kd import FeatureKD, spaced
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.distillation import shares_tokenizer

ZERO = FeatureKD(depth=3)


def closed_form(method: FeatureKD, config: EncoderConfig, trains: bool) -> int:
    from dataclasses import replace

    if method.width == 1:
        return (
            form.tokenizer(config) + form.position(config) + method.depth * form.block(config, config.groups)
        )
    heads = max(1, round(config.heads * method.width))
    widths = tuple(round(w * method.width) for w in config.tokenizer_widths)
    dim = heads * round(config.dim * method.width / heads)
    small = replace(config, dim=dim, depth=method.depth, heads=heads, tokenizer_widths=widths)
    return form.teacher(small) + config.groups * dim * config.dim


def test_blocks_are_spread_over_the_depth_ends_included() -> None:
    assert [spaced(8, count) for count in (1, 2, 4, 8)] == [[7], [0, 7], [0, 2, 5, 7], list(range(8))]


def test_a_narrow_student_learns_its_own_tokenizer_batch_norm_included(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    narrow = make_student(FeatureKD(depth=2, width=0.5), tiny_teacher, clouds, Context())
    assert not shares_tokenizer(narrow, tiny_teacher)
    narrow.train()
    before = {k: v.clone() for k, v in narrow.tokenizer.state_dict().items() if "running_mean" in k}
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    narrow(patches)
    after = narrow.tokenizer.state_dict()
    assert before
    assert all(not torch.equal(after[k], v) for k, v in before.items())
    narrow.eval()
    assert narrow(patches).features.shape == (4, 16, tiny_teacher.config.dim)


@pytest.mark.parametrize("values", [{"depth": 0}, {"width": 0.0}, {"width": 1.5}])
def test_impossible_sizes_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FeatureKD(**values)
