"""Foundry's equations and its controls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import closed_form as form
import numpy as np
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Embedding, EncoderConfig
from foundry_bench.methods.foundry import (
    ASSIGNMENTS,
    DSO,
    Foundry,
    assign,
    assign_at_random,
    assign_softly,
    load_balance,
    own_supertokens,
    random_order,
    sample_tokens,
)
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import assigned_mean, content_order, nearest
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_method
from foundry_bench.training.token_cache import held_out


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


def test_soft_assignment_is_a_distribution_over_supertokens_and_its_mean_is_weighted() -> None:
    tokens = torch.randn(2, 10, 8)
    cam = assign_softly(torch.randn(3, 8), tokens, tau=0.5)
    assert torch.allclose(cam.sum(dim=-1), torch.ones(2, 10), atol=1e-6)
    dso = DSO(8, 3, tau=1.0, assignment="soft")
    mean, counts = dso.mean(tokens, 0.01 * cam)
    assert float(counts.max().detach()) < 1
    expected = (cam[..., None] * tokens[:, :, None]).sum(dim=1) / cam.sum(dim=1)[..., None]
    assert torch.allclose(mean, expected, atol=1e-4)


def test_random_assignment_does_not_look_at_tokens(clouds: PointCloudDataset) -> None:
    dso, centers = DSO(8, 4, tau=1.0, assignment="random").eval(), torch.randn(2, 12, 3)
    cam = dso(torch.randn(2, 12, 8), centers)
    assert torch.equal(cam, dso(torch.randn(2, 12, 8), centers))
    assert cam.sum(dim=1).tolist() == [[3.0] * 4] * 2
    assert torch.equal(
        assign_at_random(torch.tensor([[2, 0, 1]]), 2).argmax(dim=-1), torch.tensor([[0, 0, 1]])
    )


def test_frozen_and_random_encoders_differ_from_the_teachers_in_one_thing(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    plain, frozen, fresh = (
        make_student(Foundry(encoder=encoder), tiny_teacher, clouds, Context())
        for encoder in ("teacher", "frozen", "random")
    )
    assert all(p.requires_grad for p in plain.blocks.parameters())
    assert not any(p.requires_grad for p in frozen.blocks.parameters())
    assert all(p.requires_grad for p in frozen.cau.parameters())
    weight = "0.attn.qkv.weight"
    teachers = tiny_teacher.blocks.state_dict()[weight]
    assert torch.equal(plain.blocks.state_dict()[weight], teachers)
    assert not torch.equal(fresh.blocks.state_dict()[weight], teachers)
    assert all(p.requires_grad for p in fresh.blocks.parameters())


def test_without_residual_the_reconstruction_knows_only_supertoken_and_position(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for residual, same in ((False, True), (True, False)):
        method = Foundry(supertokens=1, residual=residual, published=True)
        student = make_student(method, tiny_teacher, clouds, Context())
        embedding = student.embed(patches)
        moved = Embedding(embedding.tokens, torch.zeros_like(embedding.centers))
        with torch.no_grad():
            rows = student.encode(moved).features
        assert torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-5) is same


def test_supertokens_start_from_training_objects_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    rows = held_out(clouds)
    assert rows.any()
    spoiled = replace(clouds, points=np.where(rows[:, None, None], 0.5, clouds.points).astype(np.float32))
    assert torch.equal(sample_tokens(tiny_teacher, spoiled), sample_tokens(tiny_teacher, clouds))


@pytest.mark.parametrize("values", [{"assignment": "firm"}, {"encoder": "gone"}])
def test_unknown_controls_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Foundry(**values)


@pytest.mark.parametrize("name", ASSIGNMENTS)
@pytest.mark.parametrize("training", [True, False])
def test_every_assignment_shares_each_token_out_once_and_draws_nothing_itself(
    name: str, training: bool
) -> None:
    torch.manual_seed(0)
    queries, keys, centers = torch.randn(4, 8), torch.randn(2, 12, 8), torch.randn(2, 12, 3)
    dso = DSO(8, 4, tau=0.5, assignment=name).train(training)
    noise = dso.noise(centers)
    cam = ASSIGNMENTS[name](queries, keys, 0.5, noise)
    assert cam.shape == (2, 12, 4)
    assert torch.allclose(cam.sum(dim=-1), torch.ones(2, 12), atol=1e-6)
    assert torch.equal(cam, ASSIGNMENTS[name](queries, keys, 0.5, noise))


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({}, (False, "soft", True)),
        ({"published": True}, (True, "hard", False)),
        ({"assignment": "hard", "cau_skip": False}, (True, "hard", False)),
        ({"published": True, "assignment": "hard"}, (True, "hard", False)),
        ({"assignment": "hard"}, (False, "hard", True)),
        ({"assignment": "random", "cau_skip": False}, (False, "random", False)),
    ],
    ids=str,
)
def test_two_forms_of_which_each_has_one_set_of_parameters(
    asked: dict[str, Any], held: tuple[bool, str, bool]
) -> None:
    method = Foundry(**asked)
    assert (method.published, method.assignment, method.cau_skip) == held
    assert Foundry(**method.params()) == method


def test_the_form_of_a_method_can_be_replaced() -> None:
    published = replace(Foundry(supertokens=4), published=True)
    assert published == Foundry(supertokens=4, published=True)
    assert published.params()["published"]
    assert replace(published, tau=2.0) == Foundry(supertokens=4, published=True, tau=2.0)
    assert replace(Foundry(), assignment="hard", cau_skip=False) == Foundry(published=True)


@pytest.mark.parametrize(
    ("asked", "odd"), [({"assignment": "soft"}, "assignment=soft"), ({"cau_skip": True}, "cau_skip=True")]
)
def test_what_the_paper_does_not_have_is_refused_beside_published(asked: dict[str, Any], odd: str) -> None:
    with pytest.raises(ValueError, match=f"leave out {odd} or published"):
        Foundry(published=True, **asked)


def test_rows_name_their_form_and_not_what_follows_from_it() -> None:
    for asked, shown in (
        ({"published": True}, {"supertokens": 16, "published": True}),
        ({"assignment": "soft", "cau_skip": True}, {"supertokens": 16}),
        ({"assignment": "hard"}, {"supertokens": 16, "assignment": "hard"}),
    ):
        method = Foundry(**asked)
        assert method.shown(method.params()) == shown


def test_with_the_skip_training_starts_from_what_the_supertokens_say(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(Foundry(supertokens=4), tiny_teacher, clouds, Context())
    with torch.no_grad():
        tokens = student(patches)
    weights = tokens.aux["assignment"]
    assert weights.shape == (4, 16, 4)
    rows = torch.linalg.lstsq(weights, tokens.features).solution
    assert torch.allclose(weights @ rows, tokens.features, atol=1e-4)


def test_every_cloud_has_supertokens_of_its_own_where_they_are_slots() -> None:
    keys = torch.randn(2, 12, 8)
    own = own_supertokens(keys, 4)
    assert own.shape == (2, 4, 8)
    assert torch.allclose(own.norm(dim=-1), torch.full((2, 4), 8**0.5))
    assert torch.equal(own[1:], own_supertokens(keys[1:], 4))
    picked = assign_softly(own, torch.nn.functional.normalize(keys, dim=-1), tau=1.0).argmax(dim=-1)
    assert picked[:, :4].tolist() == [[0, 1, 2, 3]] * 2, "each is most like itself, so none is empty"
    assert own_supertokens(keys, 30).shape == (2, 12, 8), "no more than there are tokens"


def test_slots_have_no_codebook_and_learn_how_it_asks() -> None:
    dso = DSO(8, 4, tau=1.0, assignment="slots")
    assert "supertokens" not in dict(dso.named_parameters())
    tokens, centers = torch.randn(2, 12, 8), torch.randn(2, 12, 3)
    (dso(tokens, centers) * torch.rand(2, 12, 4)).sum().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in (dso.q, dso.k))


@pytest.mark.parametrize(
    "asked", [{"assignment": "slots"}, {"balance": 0.1}, {"assignment": "hard"}], ids=str
)
def test_what_is_not_on_the_grid_keeps_the_rules_too(
    asked: dict[str, Any], tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    check_method(Foundry(supertokens=4, **asked), tiny_teacher, clouds, Context())


@pytest.mark.parametrize("supertokens", [4, 27])
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_cost_of_every_assignment_is_its_closed_form(
    assignment: str,
    supertokens: int,
    tiny_teacher: PointTransformer,
    clouds: PointCloudDataset,
    patches: Patches,
) -> None:
    method = Foundry(supertokens, assignment=assignment)
    student = make_student(method, tiny_teacher, clouds, Context())
    expected = closed_form(method, tiny_teacher.config, trains=True)
    assert count_macs(student, patches[:1]).total == pytest.approx(expected, rel=0.01)


def test_load_balance_is_one_where_all_have_equally_much_and_s_where_one_has_all() -> None:
    even, one = torch.eye(4).repeat(3, 1)[None], torch.eye(4)[:1].repeat(12, 1)[None]
    assert load_balance(even).item() == pytest.approx(1)
    assert load_balance(one).item() == pytest.approx(4)
    assert load_balance(torch.cat([even, one])).item() == pytest.approx(2.5), "by cloud, not over the batch"


def test_load_balance_makes_what_is_used_most_the_dearest() -> None:
    cam = torch.tensor(
        [[[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.2, 0.6, 0.2], [0.8, 0.1, 0.1]]]
    ).requires_grad_()
    (gradient,) = torch.autograd.grad(load_balance(cam), cam)
    used = torch.tensor([3 / 4, 1 / 4, 0])
    assert torch.allclose(gradient, (3 * used / 4).expand(1, 4, 3))


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_load_balance_reaches_the_queries(assignment: str) -> None:
    torch.manual_seed(0)
    queries, keys, noise = torch.randn(4, 8).requires_grad_(), torch.randn(2, 12, 8), torch.zeros(2, 12, 4)
    load_balance(ASSIGNMENTS[assignment](queries, keys, 1.0, noise)).backward()
    assert queries.grad.abs().sum() > 0


def test_the_balance_is_a_part_of_the_loss_of_training_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(Foundry(supertokens=4, balance=0.5), tiny_teacher, clouds, Context())
    assert student(patches).penalty is None
    tokens = student.train()(patches)
    assert torch.equal(tokens.penalty, 0.5 * load_balance(tokens.aux["assignment"]))
    plain = make_student(Foundry(supertokens=4), tiny_teacher, clouds, Context()).train()
    assert plain(patches).penalty is None


def test_random_order_is_new_at_every_step_of_training_only() -> None:
    centers = torch.randn(2, 12, 3)
    assert torch.equal(random_order(centers, training=False), random_order(centers, training=False))
    assert not torch.equal(random_order(centers, training=True), random_order(centers, training=True))


@pytest.mark.parametrize(
    "other",
    [
        {"supertokens": 3},
        {"tau": 0.5},
        {"hidden_ratio": 0.5},
        {"position": False},
        {"sharpness": 0.0},
        {"assignment": "random"},
        {"assignment": "hard"},
        {"assignment": "slots"},
        {"encoder": "random"},
        {"residual": False},
        {"located": True},
        {"mean_position": False},
        {"cau_skip": False},
    ],
    ids=str,
)
def test_every_parameter_reaches_the_student(
    other: dict[str, float | str], tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    # a random start does not depend on where tokens are; with the skip the reconstruction adds nothing before training
    unskipped = {key: {"cau_skip": False} for key in ("hidden_ratio", "position", "residual")}
    shown_by = {"located": {"sharpness": 0.0}, **unskipped}
    plain = Foundry(supertokens=4, **shown_by.get(next(iter(other)), {}))
    students = []
    for method in (plain, replace(plain, **other)):
        torch.manual_seed(0)
        students.append(make_student(method, tiny_teacher, clouds, Context()).eval())
    with torch.no_grad():
        one, two = (student(patches).features for student in students)
    assert not torch.equal(one, two)


ZERO = None  # the reconstruction is always there


def closed_form(method: Foundry, config: EncoderConfig, trains: bool) -> int:
    """DSO: queries, keys and values, scores, means of values and positions, reading back; blocks on s; CAU on all. Slots are no
    more than there are patches."""
    s, dim, patches = method.supertokens, config.dim, config.groups
    s = min(s, patches) if method.assignment == "slots" else s
    total = form.tokenizer(config) + form.position(config) + round(method.hidden_ratio * form.cau(config))
    if s == 0:
        return total
    keys = 0 if method.assignment == "random" else (s + patches) * dim**2 + patches * s * dim
    gather = patches * dim**2 + 2 * patches * s * dim
    read = patches * s * dim
    return total + keys + gather + read + config.depth * form.block(config, s)
