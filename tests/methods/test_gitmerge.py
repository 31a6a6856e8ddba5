"""gitmerge3D: bins and matching are the published ones, merged tokens are un-merged at once, every token keeps its state."""

from __future__ import annotations

import closed_form as form
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.gitmerge import (
    GitMerge,
    bin_match,
    bin_stride,
    merge_rows,
    offsets,
    z_order,
)
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import take
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")


def groups_by_loop(v: Tensor, stride: int, r: int, at: int) -> list[list[int]]:
    """Who merges with whom, from the description: one list of tokens per row, [unmerged by falling similarity |
    destinations], the destination first. ``v`` (N, C) is one head's metric."""
    total = len(v)
    destinations = [b * stride + at for b in range(total // stride)]
    found = []
    for token in range(total):
        if token not in destinations:
            cosine = [float(F.cosine_similarity(v[token], v[d], dim=0)) for d in destinations]
            found.append((max(cosine), token, destinations[cosine.index(max(cosine))]))
    found.sort(key=lambda item: -item[0])
    merged = {d: [d] for d in destinations}
    for _, token, destination in found[:r]:
        merged[destination].append(token)
    return [[token] for _, token, _ in found[r:]] + list(merged.values())


@pytest.mark.parametrize(("stride", "r"), [(10, 57), (10, 30), (4, 48), (3, 36), (64, 63), (7, 99)])
def test_matching_of_every_head_is_the_published_one(stride: int, r: int) -> None:
    torch.manual_seed(0)
    v = torch.randn(2, 6, 64, 64, dtype=torch.double)
    index, count = bin_match(v, stride, r)
    for b in range(2):
        for h in range(6):
            rows = groups_by_loop(v[b, h], stride, r, (max(stride // 6, 1) * h) % stride)
            assert count == len(rows)
            merged = merge_rows(v[b, h][None], index[b, h][None], count)
            assert torch.allclose(
                merged[0], torch.stack([v[b, h][g].mean(dim=0) for g in rows]), rtol=0, atol=1e-12
            )
            for place, group in enumerate(rows):
                assert (index[b, h][group] == place).all()


def test_one_metric_for_all_heads_has_one_destination_offset() -> None:
    metric = torch.randn(3, 20, 8)
    for at in (0, 2):
        index, count = bin_match(metric, 4, 9, [at])
        assert (index.shape, count) == ((3, 20), 11)
        assert index[:, at::4].tolist() == [[6, 7, 8, 9, 10]] * 3


def test_there_is_always_a_destination() -> None:
    index, count = bin_match(torch.randn(1, 5, 3), stride=20, r=4)
    assert count == 1
    assert index.tolist() == [[0] * 5]


@pytest.mark.parametrize(
    ("r", "stride"), [(0.5, 2), (0.57, 3), (0.75, 4), (0.8, 5), (0.85, 7), (0.9, 10), (0.95, 20)]
)
def test_stride_is_the_next_whole_number_and_leaves_enough_to_merge(r: float, stride: int) -> None:
    assert bin_stride(r) == stride
    assert 64 - 64 // stride >= int(64 * r)


def test_heads_spread_their_destinations_over_the_bin() -> None:
    assert offsets(6, 10) == [0, 1, 2, 3, 4, 5]
    assert offsets(3, 10) == [0, 3, 6]
    assert offsets(4, 2) == [0, 1, 0, 1]


def test_tokens_are_sorted_by_interleaved_bits(patches: Patches) -> None:
    def code(center: list[float]) -> str:
        x, y, z = (f"{min(max(int((c + 1) * 512), 0), 1023):010b}" for c in center)
        return "".join(a + b + c for a, b, c in zip(x, y, z, strict=True))

    order = z_order(patches.centers)
    for centers, found in zip(patches.centers.tolist(), order.tolist(), strict=True):
        assert found == sorted(range(len(centers)), key=lambda i: code(centers[i]))


def test_consecutive_tokens_are_neighbours(patches: Patches) -> None:
    def steps(centers: Tensor) -> Tensor:
        return centers.diff(dim=1).norm(dim=2).mean()

    assert steps(take(patches.centers, z_order(patches.centers))) < 0.7 * steps(patches.centers)


def test_centres_outside_of_the_unit_cube_are_sorted_too() -> None:
    assert z_order(torch.tensor([[[1.5, 1.5, 1.5], [0, 0, 0], [-1.5, -1.5, -1.5]]])).tolist() == [[2, 1, 0]]


def published_attention(attention: nn.Module, x: Tensor, index: Tensor, count: int) -> Tensor:
    """Queries, keys and values of one cloud x (N, D) are merged, log(size) is added as published, the result un-merged."""
    q, k, v = attention.qkv(x).reshape(len(x), 3, attention.num_heads, -1).permute(1, 2, 0, 3)
    q, k, v = (torch.stack([t[:, index == c].mean(dim=1) for c in range(count)], dim=1) for t in (q, k, v))
    size = index.bincount().float()[None, :, None]
    weights = ((q * attention.scale) @ k.transpose(1, 2) + size.log()).softmax(dim=-1)
    return attention.proj((weights @ v)[:, index].transpose(0, 1).flatten(1))


@pytest.mark.parametrize("r", [0.5, 0.85])
def test_blocks_merge_update_and_unmerge_one_cloud_at_a_time(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches, r: float
) -> None:
    """The whole student, written with loops: merging inputs equals merging q, k, v; log(size) on the query axis does
    nothing; positions are added to the dense stream; each token adds its group's update to its own state."""
    student = make_student(GitMerge(r=r), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        found = student(patches).features
        tokens, pos = tiny_teacher.embed(patches).tokens, tiny_teacher.positional_encoding(patches.centers)
        for b, order in enumerate(z_order(patches.centers)):
            x = tokens[b, order]
            for i, block in enumerate(tiny_teacher.blocks):
                x = x + pos[b, order]
                normed = block.norm1(x)
                rows = groups_by_loop(normed, bin_stride(r), int(16 * r), offsets(3, bin_stride(r))[i])
                index = torch.empty(16, dtype=torch.long)
                for place, group in enumerate(rows):
                    index[group] = place
                x = x + published_attention(block.attn, normed, index, len(rows))
                normed = block.norm2(x)
                x = x + block.mlp(torch.stack([normed[group].mean(dim=0) for group in rows]))[index]
            assert torch.allclose(found[b, order], tiny_teacher.norm(x), atol=1e-5)


@pytest.mark.parametrize(("r", "left"), [(0.0, 16), (0.25, 12), (0.5, 8), (0.75, 4), (0.9, 2)])
def test_r_is_the_share_that_is_merged_in_attention_and_mlp(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches, r: float, left: int
) -> None:
    """Not the share that is kept, as the published guide calls it; and the student reads it at inference."""
    student = make_student(GitMerge(), tiny_teacher, clouds, OFF)
    GitMerge(r=r).configure(student)
    seen: list[int] = []
    for block in student.blocks:
        for part in (block.attn, block.mlp):
            part.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        student(patches)
    assert seen == [left] * 6


def test_every_token_keeps_its_own_state(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(GitMerge(r=0.9), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        tokens = student(patches, levels=True)
    for rows in (tokens.features[0], tokens.levels[0][0]):
        assert len(rows.unique(dim=0)) == 16


def test_the_order_of_the_patches_does_not_matter(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(GitMerge(r=0.6), tiny_teacher, clouds, OFF)
    order = torch.randperm(16)
    with torch.no_grad():
        shuffled = student(Patches(patches.neighborhoods[:, order], patches.centers[:, order]), levels=True)
        plain = student(patches, levels=True)
    assert torch.allclose(shuffled.features, plain.features[:, order], atol=1e-5)
    assert torch.allclose(shuffled.levels[0], plain.levels[0][:, order], atol=1e-5)


def test_training_draws_its_compression_anew(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(GitMerge(trained_r=(0.25, 0.75)), tiny_teacher, clouds, Context()).train()
    seen: set[int] = set()
    student.blocks[0].mlp.register_forward_pre_hook(lambda _, args: seen.add(args[0].shape[1]))
    for _ in range(20):
        student(patches)
    assert seen == {4, 12}


@pytest.mark.parametrize("values", [{"r": 1.0}, {"r": -0.1}, {"trained_r": (0.5, 1.0)}])
def test_refuses_what_it_cannot_do(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        GitMerge(**values)


ZERO = GitMerge(r=0)


def closed_form(method: GitMerge, config: EncoderConfig, trains: bool) -> int:
    """Every block on the tokens that are left, and the cosines of all others with one destination a bin."""
    total = form.outside_of_blocks(config, trains)
    tokens, merged = config.groups, int(config.groups * method.r)
    if merged == 0:
        return total + config.depth * form.block(config, tokens)
    bins = tokens // min(bin_stride(method.r), tokens)
    scores = bins * (tokens - bins) * config.dim
    return total + config.depth * (form.block(config, tokens - min(merged, tokens - bins)) + scores)
