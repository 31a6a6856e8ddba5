"""Late Foundry: blocks on all patches first, then on SuperTokens, whose change reaches every patch."""

from __future__ import annotations

import closed_form as form
import pytest
import torch
from torch import nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.foundry_late import FoundryLate, LateStudent
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer


def made(method: FoundryLate, teacher: PointTransformer, clouds: PointCloudDataset) -> LateStudent:
    student = make_student(method, teacher, clouds, Context())
    assert isinstance(student, LateStudent)
    return student.eval()


def row_counts(student: nn.Module, patches: Patches) -> list[int]:
    """How many rows each block is given."""
    seen: list[int] = []
    hooks = [
        b.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1])) for b in student.blocks
    ]
    with torch.no_grad():
        student(patches)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("after", [0, 1])
def test_where_every_patch_is_its_own_supertoken_it_is_the_teacher(
    after: int, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    config = tiny_teacher.config
    method = FoundryLate(config.groups, depth=config.depth, after=after, sharpness=1000.0)
    student = made(method, tiny_teacher, clouds)
    with torch.no_grad():
        ours, theirs = student(patches, levels=True), tiny_teacher(patches, levels=True)
    assert torch.allclose(ours.features, theirs.features, atol=1e-3)
    for level, expected in zip(ours.levels, (*theirs.levels[:2], theirs.features), strict=True):
        assert torch.allclose(level, expected, atol=1e-3)


def test_a_patch_adds_the_mean_change_to_its_own_row_where_there_is_one_supertoken(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = made(FoundryLate(1, depth=2, after=1), tiny_teacher, clouds)
    with torch.no_grad():
        embedding = tiny_teacher.embed(patches)
        pos = tiny_teacher.positional_encoding(embedding.centers)
        own = tiny_teacher.blocks[0](embedding.tokens + pos)
        mean, place = own.mean(dim=1, keepdim=True), pos.mean(dim=1, keepdim=True)
        change = tiny_teacher.blocks[-1](mean + place) - (mean + place)
        assert torch.allclose(student(patches).features, tiny_teacher.norm(own + pos + change), atol=1e-4)


def test_the_first_of_the_kept_blocks_see_all_patches_and_the_others_the_supertokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    groups = tiny_teacher.config.groups
    for depth, after, chosen in ((2, 0, [0, 2]), (2, 1, [0, 2]), (5, 1, [0, 1, 2]), (3, 2, [0, 1, 2])):
        student = made(FoundryLate(4, depth, after), tiny_teacher, clouds)
        assert student.chosen == chosen
        assert row_counts(student, patches) == [groups] * after + [4] * (len(chosen) - after)


def test_the_last_block_is_always_of_the_supertokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    groups = tiny_teacher.config.groups
    assert row_counts(made(FoundryLate(4, after=3), tiny_teacher, clouds), patches) == [groups, groups, 4]
    assert row_counts(made(FoundryLate(4, depth=1), tiny_teacher, clouds), patches) == [4]


def test_training_reaches_the_assignment_and_both_kinds_of_blocks(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    method = FoundryLate(4, depth=2)
    student = made(method, tiny_teacher, clouds).train()
    method.loss(student, patches, tiny_teacher(patches)).backward()
    assert student.cau is not None
    for part in (student.dso.q, student.dso.k, *student.blocks, student.cau.fc2):
        assert any(float(p.grad.abs().sum()) > 0 for p in part.parameters() if p.grad is not None)


def test_the_first_supertokens_of_a_nested_student_are_a_student_of_so_many(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    nested = made(FoundryLate(6, depth=2, nested=True), tiny_teacher, clouds)
    FoundryLate(6, depth=2, nested=True, used=2).configure(nested)
    plain = made(FoundryLate(2, depth=2), tiny_teacher, clouds)
    plain.load_state_dict(nested.state_dict())
    with torch.no_grad():
        assert torch.equal(nested(patches).features, plain(patches).features)
    assert row_counts(nested, patches)[-1] == 2


ZERO = None  # the reconstruction is always there


def closed_form(method: FoundryLate, config: EncoderConfig, trains: bool) -> int:
    """Blocks on all patches; queries, keys, scores, means of rows and positions; blocks on s; the change read back; CAU."""
    s, dim, patches = min(method.supertokens, config.groups), config.dim, config.groups
    blocks = min(method.depth, config.depth) - method.after
    assign = (s + patches) * dim**2 + patches * s * dim
    moved = 3 * patches * s * dim
    return (
        form.outside_of_blocks(config, True)
        + method.after * form.block(config, patches)
        + blocks * form.block(config, s)
        + assign
        + moved
    )
