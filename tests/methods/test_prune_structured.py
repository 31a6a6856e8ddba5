"""Structured pruning: what goes goes everywhere, what stays computes what it did, re-fitting repairs."""

from __future__ import annotations

import math
from dataclasses import replace as changed
from types import SimpleNamespace

import closed_form as form
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.lowrank import LowRank
from foundry_bench.methods.prune_structured import (
    Group,
    NarrowAttention,
    StructuredPruning,
    best,
    heads_kept,
    magnitude,
    refitted,
)
from foundry_bench.methods.tome import ToMe
from foundry_bench.students.files import make_student
from foundry_bench.students.linears import FoldedPointNet
from foundry_bench.students.tokens import set_fused_attention
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.distillation import shares_tokenizer
from foundry_bench.training.token_cache import held_out

OFF = Context(variant="off-the-shelf")


def place_of(rows: Tensor, among: Tensor) -> list[int]:
    """Index in ``among`` (N, n) of each of ``rows`` (M, n)."""
    same = (rows[:, None] == among).all(dim=-1)
    assert (same.sum(dim=1) == 1).all()
    return same.int().argmax(dim=1).tolist()


@pytest.mark.parametrize("importance", ["activation", "magnitude"])
def test_a_pruned_student_is_the_teacher_with_the_same_units_silenced(
    importance: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Heads are taken out of query, key and value alike, with their width and scale; MLP units with their biases."""
    for block in tiny_teacher.blocks:
        nn.init.normal_(block.attn.qkv.bias), nn.init.normal_(block.mlp.fc1.bias)
    method = StructuredPruning(0.3, tokenizer=False, importance=importance, refit=False)
    student = make_student(method, tiny_teacher, clouds, OFF)
    for ours, theirs in zip(student.blocks, tiny_teacher.blocks, strict=True):
        heads = ours.attn.num_heads
        query, key, value = ours.attn.qkv.weight.chunk(3)
        places = [
            place_of(part.flatten().view(heads, -1), whole.flatten().view(4, -1))
            for part, whole in zip((query, key, value), theirs.attn.qkv.weight.chunk(3), strict=True)
        ]
        assert places[0] == places[1] == places[2]
        assert heads < 4
        units = place_of(ours.mlp.fc1.weight, theirs.mlp.fc1.weight)
        assert len(units) == round(0.3 * 128)
        silent_heads = torch.ones(4).index_fill(0, torch.tensor(places[0]), 0).bool()
        silent_units = torch.ones(128).index_fill(0, torch.tensor(units), 0).bool()
        with torch.no_grad():
            theirs.attn.proj.weight[:, silent_heads.repeat_interleave(8)] = 0
            theirs.mlp.fc2.weight[:, silent_units] = 0
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    with torch.no_grad():
        assert torch.allclose(student(patches).features, tiny_teacher(patches).features, atol=1e-5)


def test_pointnet_widths_go_on_both_sides_of_the_group_and_the_point_half(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    method = StructuredPruning(0.3, refit=False)
    student = make_student(method, tiny_teacher, clouds, OFF)
    ours, theirs = student.tokenizer, FoldedPointNet(tiny_teacher.tokenizer)
    w0 = place_of(ours.lift.weight, theirs.lift.weight)
    assert [len(w0), ours.local.out_features, ours.project.in_features] == [
        round(math.sqrt(0.3) * w) for w in (16, 32, 32)
    ]
    w1 = place_of(ours.local.weight, theirs.local.weight[:, w0])
    with torch.no_grad():
        theirs.local.weight[:, [i for i in range(16) if i not in w0]] = 0
        for layer in (theirs.from_group, theirs.from_point):
            layer.weight[:, [i for i in range(32) if i not in w1]] = 0
        w2 = place_of(ours.from_point.weight, theirs.from_point.weight[:, w1])
        assert w2 == place_of(ours.from_group.weight, theirs.from_group.weight[:, w1])
        theirs.project.weight[:, [i for i in range(32) if i not in w2]] = 0
        patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
        expected, got = theirs(patches.neighborhoods), ours(patches.neighborhoods)
    assert torch.allclose(got, expected, atol=1e-5)


def test_group_magnitude_is_the_norm_over_all_layers_of_a_unit() -> None:
    writer, reader = nn.Linear(2, 12), nn.Linear(4, 3)
    group = Group(2, 2, 1, (writer,), (reader,), repeats=3)
    rows = [0, 1, 4, 5, 8, 9]
    assert group.rows(torch.tensor([0])).tolist() == rows
    expected = writer.weight[rows].square().sum() + reader.weight[:, :2].square().sum()
    assert float(magnitude(group)[0]) == pytest.approx(expected.item())


def test_the_best_stay_in_order() -> None:
    assert best(torch.tensor([3.0, 1.0, 2.0, 5.0]), 2).tolist() == [0, 3]


def test_refitting_repairs_what_the_kept_units_can_tell() -> None:
    """The removed numbers are sums of kept ones, so nothing is lost; the formula is that of least squares."""
    torch.manual_seed(0)
    kept = torch.randn(200, 3, dtype=torch.double)
    x = torch.cat([kept, kept @ torch.randn(3, 2, dtype=torch.double)], dim=1)
    weight = torch.randn(4, 5, dtype=torch.double)
    columns = torch.tensor([0, 1, 2])
    new = refitted(weight, x.T @ x / len(x), columns)
    assert torch.allclose(kept @ new.T, x @ weight.T)
    noisy = x + torch.randn_like(x)
    new = refitted(weight, noisy.T @ noisy / len(x), columns)
    assert torch.allclose(new, torch.linalg.lstsq(noisy[:, :3], noisy @ weight.T).solution.T)


def test_refitting_brings_students_nearer_to_the_teacher(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256]))
    target = tiny_teacher(patches).features
    errors = [
        (
            make_student(StructuredPruning(0.3, refit=refit), tiny_teacher, clouds, OFF)(patches).features
            - target
        )
        .square()
        .mean()
        for refit in (True, False)
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.7])
def test_every_block_keeps_a_head_and_the_residual_width(
    keep: float, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(StructuredPruning(keep), tiny_teacher, clouds, OFF)
    heads = [block.attn.num_heads for block in student.blocks]
    assert min(heads) >= 1
    assert sum(heads) == max(3, round(12 * math.sqrt(keep)))
    for block in student.blocks:
        assert (block.attn.qkv.in_features, block.attn.proj.out_features) == (32, 32)
        assert (block.mlp.fc1.in_features, block.mlp.fc2.out_features) == (32, 32)
        assert block.attn.qkv.out_features == 3 * 8 * block.attn.num_heads
    assert sum(heads_kept(i, 3, math.sqrt(keep)) for i in range(8)) >= 8


def test_narrow_attention_is_the_same_fused_and_written_out(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(StructuredPruning(0.3), tiny_teacher, clouds, OFF)
    assert any(isinstance(block.attn, NarrowAttention) for block in student.blocks)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    fused = student(patches).features
    set_fused_attention(student, False)
    assert not any(block.attn.fused_attn for block in student.blocks)
    assert torch.allclose(student(patches).features, fused, atol=1e-5)
    with pytest.raises(ValueError, match="causal"):
        student.blocks[0].attn(torch.zeros(1, 2, 32), is_causal=True)


def test_calibration_never_sees_held_out_objects(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    hidden = held_out(clouds)[:, None, None]
    spoiled = changed(clouds, points=np.where(hidden, np.nan, clouds.points))
    ours, same = (
        make_student(StructuredPruning(0.3), tiny_teacher, data, OFF).state_dict()
        for data in (clouds, spoiled)
    )
    assert all(torch.equal(ours[name], same[name]) for name in ours)


def test_magnitude_without_refit_needs_no_data(tiny_teacher: PointTransformer) -> None:
    method = StructuredPruning(0.3, importance="magnitude", refit=False)
    assert make_student(method, tiny_teacher, SimpleNamespace(), OFF).blocks[0].mlp.fc1.out_features == 38


def test_the_tokenizer_is_the_teachers_unless_asked_for(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(StructuredPruning(tokenizer=False), tiny_teacher, clouds, Context())
    assert shares_tokenizer(student, tiny_teacher)
    both = make_student(StructuredPruning(), tiny_teacher, clouds, Context())
    assert all(p.requires_grad for p in both.parameters())


def test_it_stacks_on_students_that_have_blocks(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:1, :256]))
    for first in (Foundry(supertokens=2), ToMe(r=4)):
        student = make_student(first, tiny_teacher, clouds, OFF)
        smaller = make_student(StructuredPruning(0.3), student, clouds, OFF)
        first.configure(smaller)
        assert smaller(patches).features.shape == (1, 16, 32)
        assert count_macs(smaller, patches).total < 0.7 * count_macs(student, patches).total


def test_encoders_that_it_cannot_prune_are_named(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    factored = make_student(LowRank(0.5), tiny_teacher, clouds, OFF)
    with pytest.raises(UserError, match="changed; put it before"):
        make_student(StructuredPruning(), factored, clouds, OFF)
    del tiny_teacher.blocks
    with pytest.raises(UserError, match="blocks"):
        make_student(StructuredPruning(), tiny_teacher, clouds, OFF)


@pytest.mark.parametrize("values", [{"keep": 0.0}, {"keep": 1.1}, {"importance": "random"}, {"samples": 0}])
def test_bad_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        StructuredPruning(**values)


ZERO = StructuredPruning(keep=1.0)


def closed_form(method: StructuredPruning, config: EncoderConfig, trains: bool) -> int:
    """A transformer with fewer heads of the same width, fewer hidden units and, if asked for, a narrower PointNet."""
    root, tokens, dim = math.sqrt(method.keep), config.groups, config.dim
    widths = tuple(round(root * w) if method.tokenizer else w for w in config.tokenizer_widths)
    total = form.tokenizer(changed(config, tokenizer_widths=widths)) + form.position(config)
    before = 0
    for i in range(config.depth):
        upto = round((i + 1) * config.heads * root)
        inner = max(1, upto - before) * dim // config.heads
        before = upto
        total += 4 * tokens * dim * inner + 2 * tokens**2 * inner
        total += 2 * tokens * dim * round(method.keep * round(config.mlp_ratio * dim))
    return total
