"""EViT agrees with a slow transcription of the paper; its traps are closed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import closed_form as form
import pytest
import torch
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig, TokenEncoder
from foundry_bench.methods.evit import EViT, EViTStudent, kept_tokens, quarters, reorganise
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import Attended, Stream
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_method

OFF = Context(variant="off-the-shelf")
ZERO = EViT(keep=1.0)


def stream_of(x: Tensor, pos: Tensor | None = None) -> Stream:
    return Stream.of(x, torch.zeros_like(x) if pos is None else pos)


def slow_evit(teacher: Any, patches: Patches, cloud: int, keep: float, normalise: bool) -> Tensor:
    """One cloud, token by token, with sets of patches instead of an index map."""
    x = teacher.tokenizer(patches.neighborhoods[cloud : cloud + 1])[0]
    pos = teacher.positional_encoding(patches.centers[cloud])
    holds = [{i} for i in range(len(x))]
    heads = teacher.config.heads
    for index, block in enumerate(teacher.blocks):
        x = x + pos
        q, k, v = (
            t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in block.attn.qkv(block.norm1(x)).chunk(3, -1)
        )
        attention = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + block.attn.proj((attention @ v).transpose(0, 1).flatten(1))
        scores = [float(attention[:, :, i].mean()) for i in range(len(x))]
        count = math.ceil(keep * len(x))
        if index in (len(teacher.blocks) * i // 4 for i in (1, 2, 3)) and count < len(x):
            ranked = sorted(range(len(x)), key=lambda i: -scores[i])
            best, rest = ranked[:count], ranked[count:]
            total = sum(scores[i] for i in rest) if normalise else 1.0
            x, pos = (
                torch.stack([*(t[i] for i in best), sum(scores[i] / total * t[i] for i in rest)])
                for t in (x, pos)
            )
            holds = [*(holds[i] for i in best), set().union(*(holds[i] for i in rest))]
        x = x + block.mlp(block.norm2(x))
    return torch.stack([teacher.norm(x)[next(r for r, h in enumerate(holds) if i in h)] for i in range(16)])


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.7, 0.93])
def test_agrees_with_a_slow_transcription(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches, keep: float, normalise: bool
) -> None:
    student = make_student(EViT(keep=keep, normalise=normalise), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        ours = student(patches).features
        for cloud in range(len(patches)):
            slow = slow_evit(tiny_teacher, patches, cloud, keep, normalise)
            assert torch.allclose(ours[cloud], slow, atol=1e-5)


def test_tokens_go_at_the_quarters_of_the_depth() -> None:
    assert quarters(12) == (3, 6, 9)
    assert quarters(8) == (2, 4, 6)
    assert quarters(1) == (0,)


def tokens_by_block(student: Any, patches: Patches) -> list[tuple[int, int]]:
    """Tokens that enter attention and MLP of every block."""
    seen: list[int] = []
    for block in student.blocks:
        for layer in (block.norm1, block.norm2):
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        student(patches)
    return list(zip(seen[::2], seen[1::2], strict=True))


def test_counts_are_rounded_up_and_include_the_fused_token(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    """16 -> ceil(11.2) + 1 = 13 -> ceil(9.1) + 1 = 11 -> ceil(7.7) + 1 = 9, after attention and before the MLP."""
    student = make_student(EViT(keep=0.7), tiny_teacher, clouds, OFF)
    assert tokens_by_block(student, patches) == [(16, 13), (13, 11), (11, 9)]
    assert kept_tokens(0.7, 16) == 12


def test_kept_tokens_come_by_falling_score_and_the_fused_one_last() -> None:
    x = torch.arange(5.0).reshape(1, 5, 1)
    out = reorganise(stream_of(x), torch.tensor([[0.1, 0.3, 0.2, 0.05, 0.35]]), 3)
    assert out.x[0, :3, 0].tolist() == [4.0, 1.0, 2.0]
    assert out.source.tolist() == [[3, 1, 2, 3, 0]]
    assert out.size.flatten().tolist() == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(("normalise", "share"), [(False, 1.0), (True, 0.25)])
def test_fused_token_is_the_published_sum_and_takes_its_position_along(normalise: bool, share: float) -> None:
    x, pos = torch.tensor([[[5.0], [2.0], [8.0]]]), torch.tensor([[[7.0], [1.0], [3.0]]])
    out = reorganise(stream_of(x, pos), torch.tensor([[0.75, 0.05, 0.2]]), 1, normalise)
    assert out.x[0, 1].item() == pytest.approx((0.05 * 2 + 0.2 * 8) / share)
    assert out.pos[0, 1].item() == pytest.approx((0.05 * 1 + 0.2 * 3) / share)


def test_fused_token_takes_part_in_later_choices() -> None:
    """It can win, and its patches then read a kept row; and it can lose, and is fused again with all it stands for."""
    first = reorganise(stream_of(torch.randn(1, 6, 4)), torch.tensor([[6.0, 5, 4, 3, 2, 1]]) / 21, 3)
    assert first.source.tolist() == [[0, 1, 2, 3, 3, 3]]
    won = reorganise(first, torch.tensor([[0.1, 0.3, 0.2, 0.4]]), 2)
    assert won.source.tolist() == [[2, 1, 2, 0, 0, 0]]
    assert won.size.flatten().tolist() == [3.0, 1.0, 2.0]
    lost = reorganise(first, torch.tensor([[0.4, 0.3, 0.2, 0.1]]), 2)
    assert lost.source.tolist() == [[0, 1, 2, 2, 2, 2]]


def test_nothing_is_fused_when_nothing_is_dropped(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(EViT(keep=0.95), tiny_teacher, clouds, OFF)
    assert tokens_by_block(student, patches) == [(16, 16)] * 3
    with torch.no_grad():
        assert torch.allclose(student(patches).features, tiny_teacher(patches).features, atol=1e-5)


def test_pruning_depends_on_the_current_keep_rate_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    """The official code prunes only if a block was also *constructed* with a rate below 1."""
    late = make_student(EViT(keep=1.0), tiny_teacher, clouds, OFF)
    EViT(keep=0.5).configure(late)
    early = make_student(EViT(keep=0.5), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        assert torch.equal(late(patches).features, early(patches).features)
        assert not torch.allclose(late(patches).features, tiny_teacher(patches).features, atol=1e-3)


def test_gradient_reaches_attention_through_the_fused_weights(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(EViT(keep=0.5), tiny_teacher, clouds, OFF)
    assert isinstance(student, EViTStudent)
    received = torch.tensor([[0.4, 0.1, 0.3, 0.2]], requires_grad=True)
    x = torch.randn(1, 4, 32)
    student.reduce(0, stream_of(x), Attended(x, x, received), 0.5).x.sum().backward()
    assert received.grad is not None
    assert received.grad[0].bool().tolist() == [False, True, False, True]


def test_scores_are_the_attention_received_not_paid(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    """Every query pays 1 in all: only what is received can tell tokens apart."""
    seen: list[Attended] = []

    class Spy(EViTStudent):
        def reduce(self, index: int, stream: Stream, attended: Attended, strength: float) -> Stream:
            seen.append(attended)
            return super().reduce(index, stream, attended, strength)

    student = Spy(tiny_teacher, False, (0.5,), False).eval()
    student.keep = 0.5
    with torch.no_grad():
        student(patches)
    for attended in seen:
        assert attended.received is not None
        assert torch.allclose(attended.received.sum(dim=1), torch.ones(4), atol=1e-5)
        assert float(attended.received.std(dim=1).min()) > 1e-5


def test_training_draws_its_keep_rate(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(
        EViT(keep=0.5, trained_keep=(1.0,), upsample=False), tiny_teacher, clouds, Context()
    )
    with torch.no_grad():
        assert torch.allclose(student.train()(patches).features, tiny_teacher(patches).features, atol=1e-5)
        assert not torch.allclose(student.eval()(patches).features, tiny_teacher(patches).features, atol=1e-3)


def test_every_trained_part_gets_a_gradient_in_half_precision(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    method = EViT(keep=0.3)
    student = make_student(method, tiny_teacher, clouds, Context())
    assert isinstance(student, TokenEncoder)
    with torch.no_grad():
        target, embedding = tiny_teacher(patches), student.embed(patches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method.loss(student.train(), embedding, target).backward()
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    "values", [{"keep": 0.0}, {"keep": 1.1}, {"trained_keep": ()}, {"trained_keep": (0.5, 2.0)}], ids=str
)
def test_impossible_shares_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keep must be in|trained_keep takes a tuple"):
        EViT(**values)


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("variant", EViT.variants)
def test_conforms_on_other_depths(depth: int, variant: str, clouds: PointCloudDataset) -> None:
    torch.manual_seed(0)
    config = replace(EncoderConfig(dim=16, heads=2, groups=16, group_size=8), depth=depth, points=256)
    teacher = PointTransformer(replace(config, tokenizer_widths=(8, 8, 16))).eval().requires_grad_(False)
    check_method(EViT(), teacher, clouds, Context(variant=variant))


def closed_form(method: EViT, config: EncoderConfig, trains: bool) -> int:
    """Attention on the tokens that enter a block, MLP on those left; choosing and fusing contract nothing."""
    total = form.outside_of_blocks(config, trains)
    tokens = config.groups
    for block in range(config.depth):
        total += form.attention(config, tokens)
        kept = math.ceil(method.keep * tokens)
        if block in (config.depth * i // 4 for i in (1, 2, 3)) and kept < tokens:
            tokens = kept + 1
        total += form.mlp(config, tokens)
    return total
