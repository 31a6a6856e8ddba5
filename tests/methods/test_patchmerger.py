"""PatchMerger is its formula, is put where the paper puts it, and means something before training."""

from __future__ import annotations

import closed_form as form
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.methods.patchmerger import (
    PM,
    PatchMerger,
    calibrate,
    log_weights,
    reading_weights,
    sample_tokens_after,
)
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import Stream
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.token_cache import held_out

OFF = Context(variant="off-the-shelf")


@pytest.fixture
def merger() -> PM:
    torch.manual_seed(0)
    merger = PM(dim=6, tokens=3)
    with torch.no_grad():
        merger.norm.weight.uniform_(0.5, 2)
        merger.norm.bias.uniform_(-1, 1)
    return merger


def row_counts(student: torch.nn.Module, patches: Patches) -> list[int]:
    """How many tokens each block is given."""
    seen: list[int] = []
    hooks = [
        b.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1])) for b in student.blocks
    ]
    with torch.no_grad():
        student(patches)
    for hook in hooks:
        hook.remove()
    return seen


def test_is_the_published_formula_with_the_softmax_over_tokens(merger: PM) -> None:
    x, pos = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    merged = merger(Stream.of(x, pos))
    normed = F.layer_norm(x, (6,), merger.norm.weight, merger.norm.bias)
    for b in range(2):
        for m, query in enumerate(merger.queries):
            weight = torch.stack([query @ token * 6**-0.5 for token in normed[b]]).exp()
            weight = weight / weight.sum()
            assert torch.allclose(
                merged.x[b, m], sum(w * t for w, t in zip(weight, normed[b], strict=True)), atol=1e-6
            )
            assert torch.allclose(
                merged.pos[b, m], sum(w * p for w, p in zip(weight, pos[b], strict=True)), atol=1e-6
            )


def test_a_query_that_asks_for_nothing_reads_the_mean_token() -> None:
    tokens = torch.randn(2, 5, 6)
    weight = log_weights(torch.zeros(3, 6), tokens).exp()
    assert torch.allclose(weight @ tokens, tokens.mean(dim=1, keepdim=True).expand(-1, 3, -1), atol=1e-6)


def test_patches_read_by_the_transposed_weights_divided_by_their_sum(merger: PM) -> None:
    log_weight = log_weights(merger.queries, torch.randn(2, 5, 6))
    transposed = log_weight.exp().transpose(1, 2)
    expected = transposed / transposed.sum(dim=2, keepdim=True)
    assert torch.allclose(reading_weights(log_weight), expected, atol=1e-6)


def test_a_patch_that_every_query_ignores_is_still_read(merger: PM) -> None:
    log_weight = log_weights(1e4 * merger.queries.detach(), torch.randn(2, 5, 6))
    assert float(log_weight.exp().sum(dim=1).min()) == 0
    assert torch.allclose(reading_weights(log_weight).sum(dim=2), torch.ones(2, 5))


def test_merges_once_after_half_of_the_blocks_or_where_it_is_told(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for after, expected in ((-1, [16, 8, 8]), (0, [8, 8, 8]), (2, [16, 16, 8])):
        student = make_student(PatchMerger(after=after), tiny_teacher, clouds, OFF)
        assert row_counts(student, patches) == expected
    with pytest.raises(UserError, match="after=3"):
        make_student(PatchMerger(after=3), tiny_teacher, clouds, OFF)


def test_tokens_before_the_merger_are_the_teacher_s(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(PatchMerger(after=2), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        ours, theirs = student(patches, levels=True), tiny_teacher(patches, levels=True)
    assert torch.allclose(ours.levels[0], theirs.levels[0], atol=1e-6)
    assert torch.allclose(ours.levels[1], theirs.levels[1], atol=1e-6)
    assert not torch.allclose(ours.levels[2], theirs.levels[2], atol=1e-2)


def test_norm_is_calibrated_to_the_tokens_that_the_next_block_expects(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Off the shelf: LN'ed tokens would shift the frozen blocks' input, so each channel keeps its mean and deviation."""
    tokens = sample_tokens_after(tiny_teacher, clouds, 2)
    merger = PM(32, 4)
    calibrate(merger, tokens, seed=0)
    normed, flat = merger.norm(tokens).flatten(0, 1), tokens.flatten(0, 1)
    assert torch.allclose(normed.mean(dim=0), flat.mean(dim=0), atol=1e-3)
    assert torch.allclose(normed.std(dim=0), flat.std(dim=0), rtol=1e-2)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_queries_are_clusters_that_read_their_share_of_the_tokens(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, count: int
) -> None:
    tokens = sample_tokens_after(tiny_teacher, clouds, 2)
    merger = PM(32, count)
    calibrate(merger, tokens, seed=0)
    log_weight = log_weights(merger.queries, merger.norm(tokens))
    effective = (-log_weight.exp() * log_weight).sum(dim=-1).exp()
    assert effective.mean().item() == pytest.approx(16 / count, rel=0.01)
    normed = merger.norm(tokens)

    def lost(queries: Tensor) -> Tensor:
        log_weight = log_weights(queries, normed)
        return (reading_weights(log_weight) @ log_weight.exp() @ normed - normed).square().mean()

    random = F.normalize(torch.randn(count, 32), dim=1) * merger.queries.norm(dim=1, keepdim=True)
    assert lost(merger.queries) < 0.9 * lost(random)


def test_sample_is_of_training_clouds_after_the_blocks_before_the_merger(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    found = sample_tokens_after(tiny_teacher, clouds, 2, count=48)
    training = torch.from_numpy(clouds.points[~held_out(clouds), :256])
    with torch.no_grad():
        levels = tiny_teacher(tiny_teacher.tokenize(training), levels=True).levels
    assert torch.allclose(found, levels[1], atol=1e-5)


def test_calibration_brings_it_closer_to_the_teacher_than_the_published_start(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    calibrated = make_student(PatchMerger(), tiny_teacher, clouds, OFF)
    random = make_student(PatchMerger(), tiny_teacher, clouds, OFF)
    random.merger = PM(32, 8)

    def error(student: torch.nn.Module) -> Tensor:
        return (student(patches).features - tiny_teacher(patches).features).square().mean()

    with torch.no_grad():
        assert error(calibrated) < 0.8 * error(random)


def test_training_reaches_queries_norm_and_reconstruction(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    method = PatchMerger()
    student = make_student(method, tiny_teacher, clouds, Context()).train()
    method.loss(student, patches, tiny_teacher(patches)).backward()
    for parameter in (student.merger.queries, student.merger.norm.weight, student.cau.fc2.weight):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("values", [{"tokens": 0}, {"after": -2}])
def test_refuses_what_it_cannot_do(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PatchMerger(**values)


ZERO = None  # a softmax over tokens never returns its input


def closed_form(method: PatchMerger, config: EncoderConfig, trains: bool) -> int:
    """Full blocks, then scores, the weighted sum of tokens and of positions, blocks on M tokens, and one reading back."""
    total = form.outside_of_blocks(config, trains)
    after = config.depth // 2 if method.after == -1 else method.after
    total += after * form.block(config, config.groups)
    total += (1 + 2) * method.tokens * config.groups * config.dim
    total += (config.depth - after) * form.block(config, method.tokens)
    return total + config.groups * method.tokens * config.dim
