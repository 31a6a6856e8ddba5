"""Random dropping, after the tokenizer and before it."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, EncoderConfig
from foundry_bench.methods.random_drop import RandomDrop
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

ZERO = RandomDrop(keep=1.0)


def closed_form(method: RandomDrop, config: EncoderConfig, trains: bool) -> int:
    """Blocks on the kept tokens; dropped early, patches do not reach the tokenizer either."""
    kept = max(1, round(method.keep * config.groups))
    total = form.tokenizer(config, kept if method.early else None) + form.position(config)
    total += 3 * config.groups * kept + config.depth * form.block(config, kept)
    return total + (form.cau(config) if trains and method.upsample else 0)


def test_the_choice_is_fixed_per_cloud_and_new_in_training(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(RandomDrop(keep=0.25), tiny_teacher, clouds, Context())
    chosen = student.choose(patches.centers)
    assert chosen.shape == (4, 4)
    assert torch.equal(chosen, student.choose(patches.centers))
    assert len({tuple(row) for row in chosen.tolist()}) > 1
    student.train()
    assert not torch.equal(student.choose(patches.centers), student.choose(patches.centers))


@pytest.mark.parametrize("early", [False, True])
def test_early_dropping_hides_what_is_dropped_from_the_reconstruction(
    early: bool, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(RandomDrop(keep=0.25, early=early), tiny_teacher, clouds, Context())
    torch.nn.init.normal_(student.cau.fc2.weight, std=0.1)  # it starts at zero
    kept = torch.zeros(4, 16, dtype=torch.bool).scatter(1, student.choose(patches.centers), True)
    other = patches.neighborhoods + 0.1 * torch.randn_like(patches.neighborhoods)
    changed = Patches(torch.where(kept[..., None, None], patches.neighborhoods, other), patches.centers)
    with torch.no_grad():
        assert torch.equal(student(patches).features, student(changed).features) is early


def test_training_from_the_teachers_tokens_is_what_inference_computes(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(RandomDrop(keep=0.25, early=True), tiny_teacher, clouds, Context())
    with torch.no_grad():
        tokens = tiny_teacher.embed(patches).tokens
        from_tokens = student.encode(Embedding(tokens, patches.centers)).features
        assert torch.allclose(student(patches).features, from_tokens, atol=1e-5)
