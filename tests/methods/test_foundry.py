"""Foundry's equations, its controls and its gate."""

from __future__ import annotations

import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.cost import closed_form_block_macs, count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, Patches
from foundry_bench.methods.foundry import DSO, Foundry, assign
from foundry_bench.methods.foundry_gate import FoundryGate, pack
from foundry_bench.students import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.tokens import assigned_mean, content_order, nearest


@pytest.fixture
def patches(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))


def test_every_token_picks_one_supertoken_not_the_other_way_round() -> None:
    cam = assign(torch.randn(3, 8), torch.randn(2, 10, 8), tau=1.0)
    assert cam.shape == (2, 10, 3)
    assert torch.equal(cam.sum(dim=-1), torch.ones(2, 10))


def test_assignment_is_the_nearest_by_inner_product() -> None:
    queries, keys = torch.eye(3), torch.tensor([[[0.0, 2, 1], [3, 0, 0]]])
    assert assign(queries, keys, tau=1.0).argmax(dim=-1).tolist() == [[1, 0]]


def test_straight_through_has_the_gradient_of_the_softmax_under_the_same_noise() -> None:
    torch.manual_seed(0)
    queries = torch.randn(3, 4, requires_grad=True)
    keys, noise, weight = torch.randn(1, 5, 4), torch.rand(1, 5, 3), torch.randn(1, 5, 3)
    (assign(queries, keys, 0.7, noise) * weight).sum().backward()
    found, queries.grad = queries.grad.clone(), None
    soft = ((keys @ queries.T / 2 + noise) / 0.7).softmax(dim=-1)
    (soft * weight).sum().backward()
    assert torch.allclose(found, queries.grad, atol=1e-6)


def test_supertokens_are_unbiased_means_and_empty_ones_are_zero() -> None:
    x = torch.tensor([[[2.0], [4.0], [9.0]]])
    cam = torch.tensor([[[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    mean, counts = assigned_mean(x, cam)
    assert mean.flatten().tolist() == [3.0, 9.0, 0.0]
    assert counts.tolist() == [[2.0, 1.0, 0.0]]


def test_no_gumbel_noise_at_inference_and_fresh_noise_in_training() -> None:
    torch.manual_seed(0)
    dso, tokens, centers = DSO(8, 4, tau=1.0), torch.randn(2, 50, 8), torch.randn(2, 50, 3)
    dso.eval()
    assert torch.equal(dso(tokens, centers), dso(tokens, centers))
    dso.train()
    assert not torch.equal(dso(tokens, centers), dso(tokens, centers))


def test_one_supertoken_is_a_plain_mean() -> None:
    dso, tokens = DSO(8, 1, tau=1.0).eval(), torch.randn(2, 50, 8)
    cam = dso(tokens, torch.randn(2, 50, 3))
    assert torch.allclose(dso.gather(tokens, cam)[:, 0], dso.v(tokens).mean(dim=1), atol=1e-6)


def test_control_without_supertokens_sees_no_context(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for supertokens, local in ((0, True), (4, False)):
        student = make_student(Foundry(supertokens=supertokens), tiny_teacher, clouds, Context())
        with torch.no_grad():
            embedding = student.embed(patches)
            changed = Embedding(embedding.tokens.clone(), embedding.centers)
            changed.tokens[:, 1:] += 1.0
            same = torch.allclose(
                student.encode(embedding).features[:, 0], student.encode(changed).features[:, 0]
            )
        assert same is local


@pytest.mark.parametrize("supertokens", [1, 4, 16])
def test_macs_follow_the_number_of_supertokens(
    supertokens: int, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(Foundry(supertokens=supertokens), tiny_teacher, clouds, Context())
    base = make_student(Foundry(supertokens=supertokens + 1), tiny_teacher, clouds, Context())
    counts = [count_macs(s, patches[:1]).total for s in (student, base)]
    dim, groups = tiny_teacher.config.dim, tiny_teacher.config.groups
    blocks = sum(
        closed_form_block_macs(n, dim) * sign for n, sign in ((supertokens + 1, 1), (supertokens, -1))
    )
    position = 3 * 128 + 128 * dim
    assign_and_gather = dim * dim + groups * (3 * dim + 3)  # query; logits, values, upsampling; mean centre
    assert counts[1] - counts[0] == pytest.approx(3 * blocks + position + assign_and_gather, rel=0.01)


def test_pack_moves_kept_tokens_to_the_front_in_order() -> None:
    keep = torch.tensor([[False, True, False, True], [True, True, True, False]])
    index, valid = pack(keep)
    assert index[0, :2].tolist() == [1, 3]
    assert index[1].tolist() == [0, 1, 2]
    assert valid.tolist() == [[True, True, False], [True, True, True]]


def test_gate_costs_between_foundry_and_the_full_transformer(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(supertokens=4), tiny_teacher, clouds, Context())
    student.eval()
    torch.nn.init.normal_(student.gate.weight, std=1.0)
    encoder_macs = []
    for r in (0.0, 0.5, 1.01):
        FoundryGate(r=r, supertokens=4).configure(student)
        with torch.no_grad():
            kept = student(patches[:1]).aux["tokens_kept"]
        encoder_macs.append((int(kept), count_macs(student, patches[:1]).total))
    assert encoder_macs[0][0] == tiny_teacher.config.groups
    assert encoder_macs[2][0] <= 4 < encoder_macs[1][0] < tiny_teacher.config.groups
    assert encoder_macs[0][1] > encoder_macs[1][1] > encoder_macs[2][1]


def test_gate_that_keeps_nothing_is_foundry(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    gated = make_student(FoundryGate(r=1.01, supertokens=1), tiny_teacher, clouds, Context())
    plain = make_student(Foundry(supertokens=1), tiny_teacher, clouds, Context())
    plain.load_state_dict(gated.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(gated(patches).features, plain(patches).features, atol=1e-5)


def test_gate_result_does_not_depend_on_the_batch(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(supertokens=4), tiny_teacher, clouds, Context())
    torch.nn.init.normal_(student.gate.weight, std=1.0)
    with torch.no_grad():
        together = student(patches, levels=True)
        alone = [student(patches[i : i + 1], levels=True) for i in range(4)]
    assert len(set(together.aux["tokens_kept"].tolist())) > 1
    assert torch.allclose(together.features, torch.cat([t.features for t in alone]), atol=1e-4)
    assert torch.allclose(together.levels[0], torch.cat([t.levels[0] for t in alone]), atol=1e-4)


def test_gate_is_pulled_to_its_target_in_training_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(target=0.1, weight=2.0), tiny_teacher, clouds, Context())
    student.train()
    penalty = student(patches).penalty
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(2.0 * 0.4**2)
    penalty.backward()
    assert student.gate.bias.grad is not None
    assert float(student.gate.bias.grad) > 0
    assert student.eval()(patches).penalty is None


@pytest.mark.parametrize("values", [{"supertokens": -1}, {"tau": 0.0}])
def test_impossible_parameters_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Foundry(**values)


def test_nearest_and_content_order(patches: Patches) -> None:
    index = nearest(patches.centers, patches.centers[:, :4])
    assert torch.equal(index[:, :4], torch.arange(4).expand(4, -1))
    orders = content_order(patches.centers)
    assert torch.equal(orders[1:2], content_order(patches.centers[1:2]))
    assert torch.equal(orders.sort(dim=1).values, torch.arange(16).expand(4, -1))
    assert not torch.equal(orders[0], orders[1])
