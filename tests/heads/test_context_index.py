"""The context index: 0 where attention does not depend on who asks, not fooled by attention to oneself, blind to the prefix."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import foundry_bench as fb
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.heads.context_index import (
    changed_attention,
    effective_rank,
    query_mean,
    self_kept,
    unchanged,
)
from foundry_bench.points.patches import Patches
from foundry_bench.teachers import load_teacher
from foundry_bench.teachers.transformer import PointTransformer
from tests.conftest import TINY

GOLDEN = Path(__file__).parents[1] / "golden"


class SelfOnly(nn.Module):
    """Identity attention, with the projections of a timm ``Attention``."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, **_: object) -> Tensor:
        layer, (batch, count, _) = self.attention, x.shape
        q, k, v = layer.qkv(x).reshape(batch, count, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
        itself = torch.eye(count, dtype=torch.bool)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=itself)
        return layer.proj(out.transpose(1, 2).reshape(batch, count, -1))


@pytest.fixture
def eager() -> PointTransformer:
    """A tiny teacher whose attention depends strongly on the query."""
    return sharp(0)


def sharp(prefix: int) -> PointTransformer:
    torch.manual_seed(0)
    teacher = PointTransformer(replace(TINY, prefix=prefix)).eval().requires_grad_(False)
    for block in teacher.blocks:
        block.attn.qkv.weight *= 10
        block.attn.qkv.bias[: TINY.dim] = 1.0
    return teacher


@pytest.fixture
def points(clouds: PointCloudDataset) -> np.ndarray:
    return np.asarray(clouds.points[:8])


def without_queries(teacher: PointTransformer) -> PointTransformer:
    """Every query is the layer's bias: the maps still weigh the keys, but do not depend on who asks."""
    for block in teacher.blocks:
        block.attn.qkv.weight[: teacher.config.dim] = 0
    return teacher


def test_attention_that_depends_on_the_query_has_an_index(
    eager: PointTransformer, points: np.ndarray
) -> None:
    found = fb.context_index(eager, points)
    assert found.index == min(found.query_mean, found.self_kept)
    assert found.index > 0.05
    assert found.clouds == 8


@pytest.mark.parametrize("prefix", [0, 3])
def test_attention_that_does_not_has_none(prefix: int, points: np.ndarray) -> None:
    found = fb.context_index(without_queries(sharp(prefix)), points)
    assert found.query_mean < 1e-9
    assert found.self_kept < 1e-9


def test_identity_attention_is_no_context(eager: PointTransformer, points: np.ndarray) -> None:
    for block in eager.blocks:
        block.attn = SelfOnly(block.attn)
    found = fb.context_index(eager, points)
    assert found.query_mean > 0.1
    assert found.index == found.self_kept < 1e-9


def test_what_the_prefix_asks_is_no_context(points: np.ndarray) -> None:
    """The patches' queries are one and the same, those of the rows in front are others."""
    teacher = without_queries(sharp(2))
    before = fb.context_index(teacher, points, batch_size=4)

    def ask_otherwise(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        changed = out.clone()
        changed[:, :2, : TINY.dim] = -8 * out[:, :2, : TINY.dim]
        return changed

    for block in teacher.blocks:
        block.attn.qkv.register_forward_hook(ask_otherwise)
    after = fb.context_index(teacher, points, batch_size=4)
    assert after.effective_rank != pytest.approx(before.effective_rank, rel=1e-6), "the rows in front matter"
    assert max(after.query_mean, after.self_kept) < 1e-9


@pytest.mark.parametrize("prefix", [0, 2])
def test_the_changes_by_hand(prefix: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5 + prefix, 5 + prefix).softmax(dim=-1)
    for change in (query_mean, self_kept):
        changed = change(maps, prefix)
        assert torch.equal(changed[..., :prefix, :], maps[..., :prefix, :])
        assert torch.allclose(changed.sum(dim=-1), torch.ones(()), atol=1e-6)
    one, columns = maps[1, 2, prefix:], range(5 + prefix)
    averaged = query_mean(maps, prefix)[1, 2, prefix:]
    assert torch.allclose(averaged, one.mean(dim=0).expand_as(one))
    kept = self_kept(maps, prefix)[1, 2, prefix:]
    mean = [np.mean([float(one[i, j]) for i in range(5) if i + prefix != j]) for j in columns]
    for i in range(5):
        others = [j for j in columns if j != i + prefix]
        total = sum(mean[j] for j in others)
        own = float(one[i, i + prefix])
        assert float(kept[i, i + prefix]) == pytest.approx(own)
        for j in others:
            assert float(kept[i, j]) == pytest.approx((1 - own) * mean[j] / total, rel=1e-4)


@pytest.mark.parametrize("change", [query_mean, self_kept])
@pytest.mark.parametrize("prefix", [0, 1])
def test_maps_that_are_alike_and_the_identity_stay(change: object, prefix: int) -> None:
    alike = torch.randn(1, 1, 1, 6).softmax(dim=-1).expand(1, 1, 6, 6)
    assert torch.allclose(change(alike, prefix), alike, atol=1e-6)  # type: ignore[operator]
    assert torch.allclose(self_kept(torch.eye(6)[None, None], prefix), torch.eye(6)[None, None])


def test_effective_rank_counts_equal_directions() -> None:
    assert effective_rank(torch.diag(torch.tensor([2.0, 2.0, 2.0, 0.0]))) == pytest.approx(3)
    assert effective_rank(torch.diag(torch.tensor([1.0, 0.0]))) == pytest.approx(1)


def test_the_encoder_is_as_it_was(eager: PointTransformer, points: np.ndarray) -> None:
    patches = eager.tokenize(torch.from_numpy(points))
    eager.blocks[0].attn.fused_attn = False
    eager.train()
    eager.tokenizer.eval()
    before, modes = eager(patches).features, [module.training for module in eager.modules()]
    weights = copy.deepcopy(eager.state_dict())
    fb.context_index(eager, points)
    with pytest.raises(TypeError), changed_attention(eager, query_mean):
        eager(patches, wrong=not eager.training)
    assert [module.training for module in eager.modules()] == modes
    assert [block.attn.fused_attn for block in eager.blocks] == [False, True, True]
    assert not any(module._forward_hooks for module in eager.modules())
    assert torch.equal(eager(patches).features, before)
    assert all(torch.equal(value, weights[name]) for name, value in eager.state_dict().items())


def test_maps_left_as_they_are_give_the_same_tokens(eager: PointTransformer, points: np.ndarray) -> None:
    patches = eager.tokenize(torch.from_numpy(points))
    with torch.no_grad():
        before = eager(patches).features
        with changed_attention(eager, unchanged):
            assert torch.allclose(eager(patches).features, before, atol=1e-5)


@pytest.mark.parametrize("file", ["point_jepa.ckpt", "point_mae.pth"])
def test_public_checkpoints_have_one(file: str, points: np.ndarray) -> None:
    found = fb.context_index(
        load_teacher(f"{GOLDEN / file}?heads=4&groups=16&group_size=8&points=256"), points
    )
    assert 0 < found.index < 1
    assert 1 < found.effective_rank < 48


@pytest.mark.parametrize("selector", ["kd[depth=1]", "lowrank", "truncate[blocks=2]"])
def test_students_that_keep_their_patches_have_one(
    selector: str, eager: PointTransformer, clouds: PointCloudDataset, points: np.ndarray
) -> None:
    assert fb.context_index(fb.make_student(selector, eager, clouds), points).index > 0


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ("foundry[supertokens=4]", "over 4 queries and 4 keys, not over all 16 patches"),
        ("tome[r=2]", "not over all 16 patches"),
        ("foundry[supertokens=0]", "NoContextStudent no attention calls"),
        ("dynamicvit", "not over all 16 patches"),
        ("evit", "in EViTStudent no attention calls"),
    ],
)
def test_students_without_maps_over_patches_say_so(
    selector: str, reason: str, eager: PointTransformer, clouds: PointCloudDataset, points: np.ndarray
) -> None:
    student = fb.make_student(selector, eager, clouds)
    with pytest.raises(UserError, match=reason) as error:
        fb.context_index(student, points)
    assert "\n" not in str(error.value)


def test_a_constant_encoder_is_refused(eager: PointTransformer, points: np.ndarray) -> None:
    class Constant(PointTransformer):
        def forward(self, patches: Patches, levels: bool = False) -> Tokens:
            return Tokens(torch.zeros_like(super().forward(patches).features))

    with pytest.raises(UserError, match="the same token to every patch"):
        fb.context_index(Constant(eager.config), points)


def test_an_encoder_of_another_kind_is_refused(points: np.ndarray) -> None:
    class Plain(Encoder):
        config = TINY

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, TINY.dim)

        def forward(self, patches: Patches, levels: bool = False) -> Tokens:
            return Tokens(self.layer(patches.centers))

    with pytest.raises(UserError, match="in Plain no attention calls"):
        fb.context_index(Plain(), points)
