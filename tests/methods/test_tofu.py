"""ToFu prunes early and merges late by MLERP; the traps of the public re-implementation are closed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_tome import closed_form

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.methods.tofu import ToFu, mlerp, prune
from foundry_bench.methods.tome import match
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import Attended, Stream, merge
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")


@pytest.fixture
def stream() -> Stream:
    """Nine rows of different norms that stand for 1 to 9 patches each."""
    torch.manual_seed(0)
    x, pos = torch.randn(2, 9, 6) * torch.arange(1, 10)[:, None], torch.randn(2, 9, 6)
    source = torch.arange(9).repeat_interleave(torch.arange(1, 10)).expand(2, -1)
    return Stream(x, pos, torch.arange(1.0, 10)[:, None].expand(2, -1, -1), source)


def test_the_norm_of_two_merged_tokens_is_the_larger_one() -> None:
    """Whichever of the two it is: the re-implementation divides by the norm of the row merged into, not by the mean's."""
    x = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    for pair in (x, x.flip(1)):
        merged = mlerp(Stream.of(pair, pair), torch.tensor([[0, 0]]), 1).x[0, 0]
        assert merged.norm().item() == pytest.approx(3.0, abs=1e-6)
        assert torch.allclose(merged / 3, torch.tensor([3.0, 1.0]) / 10**0.5, atol=1e-6)


def test_the_norm_of_many_merged_tokens_is_the_largest_and_the_direction_their_weighted_mean(
    stream: Stream,
) -> None:
    index = torch.tensor([0, 1, 1, 0, 1, 2, 0, 1, 0]).expand(2, -1)
    merged = mlerp(stream, index, 3)
    for row in range(3):
        rows = index[0] == row
        x, size = stream.x[:, rows], stream.size[:, rows]
        mean = (x * size).sum(1) / size.sum(1)
        expected = mean / mean.norm(dim=-1, keepdim=True) * x.norm(dim=-1).amax(1, keepdim=True)
        assert torch.allclose(merged.x[:, row], expected, atol=1e-5)


def test_rows_that_do_not_merge_keep_their_value(stream: Stream) -> None:
    assert torch.allclose(mlerp(stream, torch.arange(9).expand(2, -1), 9).x, stream.x, atol=1e-5)


def test_opposite_tokens_merge_to_something_finite() -> None:
    x = torch.tensor([[[2.0, 0.0], [-2.0, 0.0]]], requires_grad=True)
    merged = mlerp(Stream.of(x, x), torch.tensor([[0, 0]]), 1).x
    merged.sum().backward()
    assert torch.isfinite(merged).all()
    assert torch.isfinite(x.grad).all()


def test_merged_positions_are_the_weighted_mean(stream: Stream) -> None:
    index, count = match(stream.x, 3)
    merged, plain = mlerp(stream, index, count), merge(stream, index, count)
    assert torch.equal(merged.pos, plain.pos)
    assert torch.equal(merged.size, plain.size)
    assert torch.equal(merged.source, plain.source)
    assert not torch.allclose(merged.x, plain.x, atol=1e-3)


@pytest.mark.parametrize("r", [1, 3, 4])
def test_pruning_keeps_the_partners_value_and_position(stream: Stream, r: int) -> None:
    index, count = match(stream.x, r)
    pruned = prune(stream, index, count)
    for cloud in range(2):
        owners = [(stream.x[cloud] == row).all(-1).nonzero().item() for row in pruned.x[cloud]]
        assert set(range(1, 9, 2)) <= set(owners)  # odd tokens are only merged into
        dropped = set(range(9)) - set(owners)
        assert len(dropped) == r
        for row, owner in enumerate(owners):
            assert torch.equal(pruned.pos[cloud, row], stream.pos[cloud, owner])
            assert index[cloud, owner] == row
        unit = torch.nn.functional.normalize(stream.x[cloud], dim=-1)
        for token in dropped:
            partner = owners[index[cloud, token]]
            assert partner == 2 * int((unit[1::2] @ unit[token]).argmax()) + 1
            assert (pruned.source[cloud][stream.source[cloud] == token] == index[cloud, token]).all()


def test_dropped_patches_are_counted_with_their_partner(stream: Stream) -> None:
    pruned = prune(stream, *match(stream.x, 4))
    for size, source in zip(pruned.size[..., 0], pruned.source, strict=True):
        assert torch.equal(size, source.bincount(minlength=5).float())


@pytest.mark.parametrize(("share", "pruning"), [(0.0, 0), (0.5, 2), (1.0, 3)])
def test_early_blocks_prune_and_late_ones_merge(
    share: float, pruning: int, stream: Stream, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(ToFu(pruned=share), tiny_teacher, clouds, OFF)
    for block in range(3):
        reduced = student.reduce(block, stream, Attended(stream.x, stream.x), 3)
        expected = (prune if block < pruning else mlerp)(stream, *match(stream.x, 3))
        assert torch.equal(reduced.x, expected.x)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_size_is_updated_so_that_proportional_attention_is_not_inert(
    share: float, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    outs = []
    for method in (ToFu(r=4, pruned=share), ToFu(r=4, pruned=share, proportional=True)):
        student = make_student(method, tiny_teacher, clouds, OFF)
        with torch.no_grad():
            outs.append(student(patches))
    for size, source in zip(outs[0].aux["size"], outs[0].aux["source"], strict=True):
        assert torch.equal(size, source.bincount(minlength=len(size)).float())
    assert not torch.allclose(outs[0].features, outs[1].features, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_positions_stay_with_their_tokens(
    share: float, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Every patch twice, twins side by side: they fuse in the first block, and with proportional attention the next block then
    computes what it computes without twins, which it would not if positions were left behind."""
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    twins = Patches(patches.neighborhoods.repeat_interleave(2, 1), patches.centers.repeat_interleave(2, 1))
    student = make_student(ToFu(r=16, pruned=share, proportional=True), tiny_teacher, clouds, OFF)
    tiny_teacher.blocks = tiny_teacher.blocks[:2]
    with torch.no_grad():
        stream, base = student.begin(student.embed(twins), student.positional_encoding(twins.centers))
        stream = student.step(0, student.blocks[0], stream)
        assert torch.equal(stream.size, torch.full((2, 16, 1), 2.0))
        stream = student.step(1, student.blocks[1], replace(stream, strength=0))
        fused = student.restore(stream, base, final=True)[:, ::2]
        assert torch.allclose(fused, tiny_teacher(patches).features, atol=1e-5)


def test_a_single_token_is_left_alone(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    student = make_student(ToFu(r=99), tiny_teacher, clouds, OFF)
    one = Stream.of(torch.randn(2, 1, 32), torch.randn(2, 1, 32))
    assert student.reduce(2, one, Attended(one.x, one.x), 99) is one


def test_r_is_read_at_inference(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    student = make_student(ToFu(r=0), tiny_teacher, clouds, OFF)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        plain = student(patches).features
        ToFu(r=4).configure(student)
        assert not torch.allclose(student(patches).features, plain, atol=1e-4)


def test_training_draws_r_and_survives_bfloat16(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(ToFu(r=0, trained_r=(2, 8)), tiny_teacher, clouds).train()
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    rows = set()
    for _ in range(12):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens = student(patches)
        tokens.features.float().square().mean().backward()
        rows.add(tokens.aux["size"].shape[1])
    assert rows == {10, 2}  # 16 -> 14 -> 12 -> 10 and 16 -> 8 -> 4 -> 2
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize(
    "values", [{"r": -1}, {"trained_r": ()}, {"trained_r": (-1,)}, {"pruned": 1.5}, {"pruned": -0.1}]
)
def test_impossible_parameters_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|trained_r takes a tuple"):
        ToFu(**values)


__all__ = ["ZERO", "closed_form"]  # pruned or merged, as many tokens go as in ToMe, by the same matching
ZERO = ToFu(r=0)
