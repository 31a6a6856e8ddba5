"""ToMe agrees with the official implementation; its traps are closed."""

from __future__ import annotations

from pathlib import Path

import closed_form as form
import numpy as np
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.tome import ToMe, bipartite_soft_matching, merge_wavg
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tome.npz")


@pytest.mark.parametrize("r", [4, 16, 31])
def test_agrees_with_official_tome(r: int) -> None:
    x, metric, size = (torch.from_numpy(GOLDEN[f"r{r}_{k}"]) for k in ("x", "metric", "size"))
    merge, unmerge = bipartite_soft_matching(metric, r)
    merged, merged_size = merge_wavg(merge, x, size)
    np.testing.assert_allclose(merged, GOLDEN[f"r{r}_merged"], rtol=0, atol=1e-6 if r == 4 else 1e-12)
    np.testing.assert_array_equal(merged_size, GOLDEN[f"r{r}_merged_size"])
    np.testing.assert_allclose(
        unmerge(merged), GOLDEN[f"r{r}_unmerged"], rtol=0, atol=1e-6 if r == 4 else 1e-12
    )


def test_at_most_half_of_the_tokens_go_and_size_is_conserved() -> None:
    metric = torch.randn(2, 7, 4)
    merge, unmerge = bipartite_soft_matching(metric, 99)
    merged, size = merge_wavg(merge, torch.randn(2, 7, 3))
    assert merged.shape == (2, 4, 3)
    assert torch.equal(size.sum(dim=(1, 2)), torch.full((2,), 7.0))
    assert unmerge(merged).shape == (2, 7, 3)


def test_identical_pairs_are_merged_without_loss() -> None:
    x = torch.randn(1, 6, 5).repeat_interleave(2, dim=1)
    merge, unmerge = bipartite_soft_matching(x, 6)
    assert torch.allclose(unmerge(merge_wavg(merge, x)[0]), x, atol=1e-6)


def test_without_merging_it_is_the_teacher(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    student = make_student(ToMe(r=0), tiny_teacher, clouds, OFF)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:3, :256]))
    with torch.no_grad():
        assert torch.allclose(student(patches).features, tiny_teacher(patches).features, atol=1e-5)


def test_positions_are_merged_with_their_tokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Every patch twice, twins side by side: they merge in the first block, and with proportional attention the network
    then computes what it computes without twins, which it would not if positions were left behind."""
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    twins = Patches(patches.neighborhoods.repeat_interleave(2, 1), patches.centers.repeat_interleave(2, 1))
    student = make_student(ToMe(r=16, proportional=True), tiny_teacher, clouds, OFF)
    first_only = student.blocks[:1]
    with torch.no_grad():
        student.blocks = first_only
        merged = student(twins).features[:, ::2]
        tiny_teacher.blocks = tiny_teacher.blocks[:1]
        assert torch.allclose(merged, tiny_teacher(patches).features, atol=1e-5)


def test_proportional_attention_acts_on_keys(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    outs = []
    for proportional in (False, True):
        student = make_student(ToMe(r=4, proportional=proportional), tiny_teacher, clouds, OFF)
        with torch.no_grad():
            outs.append(student(patches).features)
    assert not torch.allclose(outs[0], outs[1], atol=1e-5)


def test_r_is_read_at_inference(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    student = make_student(ToMe(r=0), tiny_teacher, clouds, OFF)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    with torch.no_grad():
        plain = student(patches).features
        ToMe(r=4).configure(student)
        assert not torch.allclose(student(patches).features, plain, atol=1e-4)


ZERO = ToMe(r=0)


def closed_form(method: ToMe, config: EncoderConfig, trains: bool) -> int:
    """Attention on the tokens that enter a block, MLP on those left; cosine scores of one half with the other."""
    total = form.outside_of_blocks(config, trains and method.upsample)
    tokens, width = config.groups, config.dim // config.heads
    for _ in range(config.depth):
        total += form.attention(config, tokens)
        if min(method.r, tokens // 2):
            total += ((tokens + 1) // 2) * (tokens // 2) * width
        tokens -= min(method.r, tokens // 2)
        total += form.mlp(config, tokens)
    return total
