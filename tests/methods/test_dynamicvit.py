"""DynamicViT: training hides what inference gathers; its traps are closed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import closed_form as form
import pytest
import torch
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Encoder, EncoderConfig
from foundry_bench.methods import dynamicvit
from foundry_bench.methods.dynamicvit import (
    DynamicViT,
    DynamicViTStudent,
    Predictor,
    block_with_policy,
    gumbel_keep,
    ratio_loss,
    softmax_with_policy,
    stand_in,
    top_keep,
)
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import take
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_method

OFF = Context(variant="off-the-shelf")
ZERO = DynamicViT(rho=1.0)


def opinionated(student: Encoder) -> DynamicViTStudent:
    """The student with predictors that tell tokens apart, as after training."""
    assert isinstance(student, DynamicViTStudent)
    torch.manual_seed(1)
    for predictor in student.predictors:
        nn.init.normal_(predictor.outer[-2].weight, std=3.0)
    return student


@pytest.fixture
def make(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Callable[..., DynamicViTStudent]:
    def build(ctx: Context = OFF, **parameters: Any) -> DynamicViTStudent:
        return opinionated(make_student(DynamicViT(**parameters), tiny_teacher, clouds, ctx))

    return build


def decide_as_at_inference(
    monkeypatch: pytest.MonkeyPatch, student: DynamicViTStudent, patches: int = 16
) -> None:
    """Let training take, of the tokens still there, those that inference would."""
    stages = iter(range(len(student.stages)))

    def keep(log_probability: Tensor, policy: Tensor, tau: float) -> Tensor:
        scores = log_probability.masked_fill(policy < 0.5, -torch.inf)
        kept = top_keep(scores, student.kept_tokens(next(stages), patches))
        return torch.zeros_like(policy).scatter(1, kept[..., None], 1.0)

    monkeypatch.setattr(dynamicvit, "gumbel_keep", keep)


@pytest.mark.parametrize("variant", DynamicViT.variants)
@pytest.mark.parametrize("rho", [0.4, 0.7, 0.9])
def test_training_computes_what_inference_does_under_the_same_decisions(
    make: Callable[..., DynamicViTStudent],
    patches: Patches,
    monkeypatch: pytest.MonkeyPatch,
    rho: float,
    variant: str,
) -> None:
    """Kept rows, and the rows that dropped patches read; up to the eps of the masked softmax."""
    student = make(Context(variant=variant), rho=rho)
    decide_as_at_inference(monkeypatch, student)
    with torch.no_grad():
        inference = student.eval()(patches, levels=True)
        training = student.train()(patches, levels=True)
    assert torch.allclose(inference.features, training.features, atol=1e-4)
    for one, other in zip(inference.levels, training.levels, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    with torch.no_grad():
        everything = make(Context(variant=variant), rho=1.0).eval()(patches).features
    assert not torch.allclose(inference.features, everything, atol=1e-2)


def test_kept_shares_are_those_of_the_tokens_there_were_at_first(
    make: Callable[..., DynamicViTStudent], patches: Patches
) -> None:
    """int(11.2), int(7.84) and int(5.488) of 16, not of an image model's 14 x 14 and not of what the stage before left."""
    student, entered = make(rho=0.7), []
    for block in student.blocks:
        block.norm1.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].shape[1]))
    with torch.no_grad():
        student(patches)
        assert entered == [11, 7, 5]
        entered.clear()
        student(Patches(patches.neighborhoods[:, :10], patches.centers[:, :10]))
        assert entered == [7, 4, 3]
    assert make(rho=0.01).kept_tokens(2, 16) == 1


def test_class_0_keeps() -> None:
    scores = torch.tensor([[[-5.0, 0.0], [0.0, -5.0], [-1.0, -0.5]]])
    assert top_keep(scores, 1).tolist() == [[1]]
    torch.manual_seed(0)
    sure = torch.tensor([[[-50.0, 0.0], [0.0, -50.0]]])
    assert gumbel_keep(sure, torch.ones(1, 2, 1), 1.0)[..., 0].round().tolist() == [[0.0, 1.0]]


def test_kept_tokens_stay_in_order_and_equal_scores_keep_the_first() -> None:
    scores = torch.tensor([[0.1, 0.8, 0.2, 0.9]])
    assert top_keep(torch.stack([scores, -scores], -1), 2).tolist() == [[1, 3]]
    assert top_keep(torch.zeros(1, 5, 2), 3).tolist() == [[0, 1, 2]]


def test_a_dropped_token_stays_dropped() -> None:
    policy = torch.tensor([[[1.0], [0.0]]])
    keep = torch.tensor([[[0.0, -50.0], [0.0, -50.0]]])
    assert gumbel_keep(keep, policy, 1.0)[0, :, 0].round().tolist() == [1.0, 0.0]


def test_decisions_are_hard_random_and_have_the_gradient_of_the_softmax() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(1, 400, 2, requires_grad=True)
    decision = gumbel_keep(logits.log_softmax(-1), torch.ones(1, 400, 1), 1.0)
    assert set(decision.round(decimals=5).flatten().tolist()) == {0.0, 1.0}
    assert 150 < float(decision.detach().sum()) < 250
    decision.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.all())


def test_masked_softmax_is_that_of_the_kept_keys_with_a_self_loop() -> None:
    scores, policy = torch.randn(1, 2, 4, 4), torch.tensor([1.0, 0, 1, 0]).reshape(1, 4, 1)
    weights = softmax_with_policy(scores, policy)
    kept = scores[..., [0, 2], :][..., [0, 2]].softmax(-1)
    assert torch.allclose(weights[..., [0, 2], :][..., [0, 2]], kept, atol=1e-5)
    assert float(weights[..., [0, 2], :][..., [1, 3]].max()) < 1e-5
    own = scores[:, :, 1, [0, 1, 2]].softmax(-1)
    assert torch.allclose(weights[:, :, 1, [0, 1, 2]], own, atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(1, 2, 4), atol=1e-5)


def test_masked_softmax_is_the_published_one() -> None:
    """(e p + eps / N) / (sum + eps) with p the decisions and 1 on the diagonal."""
    scores, policy = torch.randn(2, 3, 5, 5), (torch.rand(2, 5, 1) > 0.5).float()
    seen = policy.reshape(2, 1, 1, 5).expand(2, 3, 5, 5).clone()
    seen.diagonal(dim1=2, dim2=3)[:] = 1.0
    weights = (scores - scores.amax(-1, keepdim=True)).exp() * seen
    published = (weights + 1e-6 / 5) / (weights.sum(-1, keepdim=True) + 1e-6)
    weights = softmax_with_policy(scores, policy)
    assert torch.allclose(weights, published, atol=1e-5)
    assert float(weights.min()) > 0, "eps / N keeps hidden keys above zero"


def test_a_hidden_key_far_above_the_visible_ones_neither_counts_nor_explodes() -> None:
    scores = torch.tensor([[[[-40.0, 0.0], [0.0, 0.0]]]])
    policy = torch.tensor([[[1.0], [0.0]]], requires_grad=True)
    weights = softmax_with_policy(scores, policy)
    assert torch.allclose(weights[0, 0, 0], torch.tensor([1.0, 0.0]), atol=1e-5)
    weights[0, 0, 0, 0].backward()
    assert policy.grad is not None
    assert 0.5 < float(policy.grad.abs().max()) < 2


def test_block_with_everything_kept_is_the_block(tiny_teacher: PointTransformer) -> None:
    block, x = tiny_teacher.blocks[0], torch.randn(2, 6, 32)
    with torch.no_grad():
        assert torch.allclose(block_with_policy(block, x, torch.ones(2, 6, 1)), block(x), atol=1e-5)


def test_predictor_listens_to_kept_tokens_only() -> None:
    torch.manual_seed(0)
    predictor = Predictor(8, 0.5)
    nn.init.normal_(predictor.outer[-2].weight)
    x, policy = torch.randn(1, 5, 8), torch.tensor([1.0, 1, 0, 1, 0]).reshape(1, 5, 1)
    kept = policy[0, :, 0].bool()
    with torch.no_grad():
        alone = predictor(x[:, kept], policy[:, kept])
        among = predictor(x, policy)
        louder = predictor(torch.cat([x[:, :1] + torch.randn(8), x[:, 1:]], dim=1), policy)
    assert torch.allclose(among[:, kept], alone, atol=1e-6)
    assert torch.allclose(among.exp().sum(-1), torch.ones(1, 5), atol=1e-6)
    assert not torch.allclose(louder[:, 1:], among[:, 1:], atol=1e-4), (
        "the global half must reach every token"
    )


def test_predictor_sees_positions(make: Callable[..., DynamicViTStudent], patches: Patches) -> None:
    student, seen = make(rho=0.5), []
    student.predictors[0].register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.no_grad():
        embedding = student.embed(patches)
        student.encode(embedding)
        student.encode(Embedding(embedding.tokens, embedding.centers.flip(-1)))
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_kept_patches_read_their_own_row_and_dropped_ones_the_nearest_kept() -> None:
    """Patches 0 and 1 are twins in space: each still reads its own row."""
    centers = torch.tensor([0.0, 0.0, 1.0, 2.1, 3.0]).reshape(1, 5, 1) * torch.tensor([1.0, 0, 0])
    policy = torch.tensor([1.0, 1, 0, 0, 1]).reshape(1, 5, 1)
    everyone = torch.arange(5)[None]
    assert stand_in(centers, everyone, policy).tolist() == [[0, 1, 0, 4, 4]]
    rows = torch.tensor([[0, 1, 4]])
    assert stand_in(centers, rows, torch.ones(1, 3, 1)).tolist() == [[0, 1, 0, 2, 2]]


def test_half_precision_does_not_mistake_neighbours(patches: Patches) -> None:
    rows, policy = torch.arange(0, 16, 2).expand(4, -1), torch.ones(4, 8, 1)
    exact = torch.cdist(patches.centers.double(), take(patches.centers, rows).double()).argmin(-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stand_in(patches.centers, rows, policy), exact)


def test_every_patch_reads_a_token_that_is_still_there(
    make: Callable[..., DynamicViTStudent], patches: Patches
) -> None:
    """Not one that stood for it after an earlier stage and left since."""
    student, kept = make(rho=0.6), []
    rows = torch.arange(16).expand(4, -1)
    for predictor in student.predictors:
        predictor.register_forward_hook(lambda _, inputs, output: kept.append(output))
    with torch.no_grad():
        tokens = student(patches)
    for stage, output in enumerate(kept):
        rows = rows.gather(1, top_keep(output, student.kept_tokens(stage, 16)))
    nearest = torch.cdist(patches.centers, take(patches.centers, rows)).argmin(-1)
    assert torch.equal(tokens.aux["source"], nearest)
    assert torch.equal(tokens.aux["size"].sum(1), torch.full((4,), 16.0))


def test_ratio_loss_is_the_mean_square_of_what_stages_keep_too_much_or_too_little() -> None:
    """A cloud that keeps too much does not make up for one that keeps too little."""
    shares = [torch.tensor([0.4, 0.6]), torch.tensor([0.25, 0.25]), torch.tensor([0.125, 0.325])]
    expected = (0.1**2 + 0.0 + 0.2**2 / 2) / 3
    assert float(ratio_loss(shares, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_penalty_is_the_weighted_ratio_loss_in_training_only(
    make: Callable[..., DynamicViTStudent], patches: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = make(rho=0.7, ratio_weight=3.0)
    assert student.eval()(patches).penalty is None
    decide_as_at_inference(monkeypatch, student)
    penalty = student.train()(patches).penalty
    expected = sum((kept / 16 - 0.7**k) ** 2 for k, kept in ((1, 11), (2, 7), (3, 5)))
    assert penalty is not None
    assert float(penalty) == pytest.approx(3.0 * expected / 3, rel=1e-4)


@pytest.mark.parametrize("ratio_weight", [0.0, 2.0])
def test_gradient_reaches_all_predictors_in_half_precision(
    make: Callable[..., DynamicViTStudent],
    tiny_teacher: PointTransformer,
    patches: Patches,
    ratio_weight: float,
) -> None:
    """Through the masked attention alone, too."""
    method = DynamicViT(rho=0.7, ratio_weight=ratio_weight)
    student = make(Context(), rho=0.7, ratio_weight=ratio_weight).train()
    torch.manual_seed(0)
    with torch.no_grad():
        target, embedding = tiny_teacher(patches), student.embed(patches)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        method.loss(student, embedding, target).backward()
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.isfinite().all()), name
    for predictor in student.predictors:
        assert bool(predictor.inner[1].weight.grad.any())


def test_a_cloud_that_loses_all_its_tokens_in_training_does_no_harm(
    make: Callable[..., DynamicViTStudent], tiny_teacher: PointTransformer, patches: Patches
) -> None:
    student, method = make(Context(), rho=0.7).train(), DynamicViT(rho=0.7)
    for predictor in student.predictors:
        predictor.outer[-2].bias.data[:] = torch.tensor([-1e4, 1e4])
    with torch.no_grad():
        target = tiny_teacher(patches)
    loss = method.loss(student, patches, target)
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in student.parameters() if p.grad is not None)


def test_off_the_shelf_the_first_tokens_stay(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    """The untrained predictor has no opinion: what is left is the farthest-point subset, in any seed."""
    student = make_student(DynamicViT(rho=0.6), tiny_teacher, clouds, OFF)
    with torch.no_grad():
        source = student(patches).aux["source"]
        other = make_student(DynamicViT(rho=0.6), tiny_teacher, clouds, replace(OFF, seed=5))
        assert torch.equal(source, other(patches).aux["source"])
    assert source[:, :3].tolist() == [[0, 1, 2]] * 4
    assert int(source.max()) == 2


def test_training_starts_at_its_target_ratio(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(DynamicViT(rho=0.3), tiny_teacher, clouds, Context())
    assert isinstance(student, DynamicViTStudent)
    with torch.no_grad():
        for predictor in student.predictors:
            probability = predictor(torch.randn(1, 4, 32), torch.ones(1, 4, 1)).exp()[..., 0]
            assert torch.allclose(probability, torch.full((1, 4), 0.3))


def test_cost_is_that_of_inference(
    make: Callable[..., DynamicViTStudent], tiny_teacher: PointTransformer, patches: Patches
) -> None:
    """Training carries all tokens along; counted in that mode nothing would be saved."""
    student = make(rho=0.5).train()
    cost = count_macs(student, patches[:1]).total
    assert student.training
    assert cost < 0.7 * count_macs(tiny_teacher, patches[:1]).total


@pytest.mark.parametrize(
    "values", [{"rho": 0.0}, {"rho": 1.5}, {"tau": 0.0}, {"ratio_weight": -1.0}], ids=str
)
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        DynamicViT(**values)


@pytest.mark.parametrize("depth", [4, 8])
@pytest.mark.parametrize("variant", DynamicViT.variants)
def test_conforms_on_other_depths(depth: int, variant: str, clouds: PointCloudDataset) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(dim=16, depth=depth, heads=2, groups=16, group_size=8, points=256)
    teacher = PointTransformer(replace(config, tokenizer_widths=(8, 8, 16))).eval().requires_grad_(False)
    check_method(DynamicViT(), teacher, clouds, Context(variant=variant))


def closed_form(method: DynamicViT, config: EncoderConfig, trains: bool) -> int:
    """Predictors on the tokens that enter a stage, blocks on those left, distances of patches to these."""
    total = form.outside_of_blocks(config, trains)
    tokens, d = config.groups, config.dim
    stages = sorted({config.depth * i // 4 for i in (1, 2, 3)})
    for block in range(config.depth):
        if block in stages:
            kept = max(1, math.floor(config.groups * method.rho ** (stages.index(block) + 1)))
            if kept < tokens:
                total += tokens * (d * d + d * (d // 2) + (d // 2) * (d // 4) + 2 * (d // 4))
                tokens = kept
        total += form.block(config, tokens)
    return total + 3 * config.groups * tokens
