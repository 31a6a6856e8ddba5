"""The training step: its learning rate, its two groups, its clipping, and a loss that is not finite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foundry_bench.training.loop import adamw, learning_rate, train_step, warmup_steps


def test_the_rate_rises_in_equal_steps_to_the_peak_and_falls_by_half_a_cosine() -> None:
    rates = [learning_rate(step, 110, peak=2.0, warmup=10) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[35] == pytest.approx(1 + math.cos(math.pi / 4))
    assert rates[110] == pytest.approx(0.0)


@pytest.mark.parametrize("floor", [0.0, 0.01, 0.3, 1.0])
def test_the_rate_falls_to_its_floor_and_stays_there(floor: float) -> None:
    rates = [learning_rate(step, 50, peak=3.0, warmup=0, floor=floor) for step in (0, 25, 50, 51, 500)]
    assert rates == pytest.approx([3.0, 1.5 * (1 + floor), *[3.0 * floor] * 3])


def test_a_warm_up_of_all_steps_or_of_more_never_falls() -> None:
    assert [learning_rate(s, 4, peak=1.0, warmup=4) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [learning_rate(s, 2, peak=1.0, warmup=4) for s in range(2)] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("share", "steps", "whole"), [(0.1, 200, 20), (0.067, 100, 7), (0.0, 50, 1), (1, 3, 3)]
)
def test_a_warm_up_has_one_step_at_least(share: float, steps: int, whole: int) -> None:
    assert warmup_steps(share, steps) == whole


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2), nn.Conv1d(2, 2, 1))
    first, second = adamw(model.parameters(), lr=0.1, weight_decay=0.5, betas=(0.8, 0.9)).param_groups
    assert [tuple(p.shape) for p in first["params"]] == [(2, 4), (2, 2, 1)]
    assert [tuple(p.shape) for p in second["params"]] == [(4,), (4,), (2,), (2,)]
    assert (first["weight_decay"], second["weight_decay"]) == (0.5, 0.0)
    assert all((group["lr"], group["betas"]) == (0.1, (0.8, 0.9)) for group in (first, second))


def test_a_group_without_parameters_is_left_out() -> None:
    groups = adamw(nn.LayerNorm(4).parameters(), lr=0.1, weight_decay=0.5, betas=(0.9, 0.98)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.0]


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def gradient(layer: nn.Linear) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in layer.parameters() if p.grad is not None])


@pytest.mark.parametrize("alone", [False, True])
def test_the_gradient_is_clipped_to_its_norm_over_what_is_named(layer: nn.Linear, alone: bool) -> None:
    optimizer = adamw(layer.parameters(), lr=0.1, weight_decay=0.0, betas=(0.9, 0.98))
    loss = 100 * layer(torch.ones(2, 4)).sum()
    train_step(optimizer, loss, 0.1, clip=0.5, what="x", parameters=[layer.weight] if alone else None)
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert float((layer.weight.grad if alone else gradient(layer)).norm()) == pytest.approx(0.5, rel=1e-3)
    assert float(layer.bias.grad[0]) == (200 if alone else pytest.approx(0.5 / math.sqrt(15), rel=1e-3))


def test_a_small_gradient_is_not_clipped_and_an_old_one_is_forgotten(layer: nn.Linear) -> None:
    optimizer = adamw(layer.parameters(), lr=0.1, weight_decay=0.0, betas=(0.9, 0.98))
    for _ in range(2):
        train_step(optimizer, layer(torch.ones(2, 4)).sum(), 0.1, clip=math.inf, what="x")
        assert gradient(layer).tolist() == [2.0] * 15


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2])
def test_every_group_steps_at_the_rate_that_is_given(layer: nn.Linear, rate: float) -> None:
    optimizer = adamw(layer.parameters(), lr=0.1, weight_decay=0.0, betas=(0.9, 0.98))
    before = [p.detach().clone() for p in layer.parameters()]
    train_step(optimizer, layer(torch.ones(2, 4)).sum(), rate, clip=math.inf, what="x")
    for was, now in zip(before, layer.parameters(), strict=True):
        assert (was - now).detach().flatten().tolist() == pytest.approx([rate] * was.numel(), abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_an_error_and_changes_nothing(layer: nn.Linear, value: float) -> None:
    optimizer = adamw(layer.parameters(), lr=0.1, weight_decay=0.5, betas=(0.9, 0.98))
    before = [p.detach().clone() for p in layer.parameters()]
    loss = (layer(torch.ones(2, 4)).sum() * 0 + 1) * value
    with pytest.raises(
        FloatingPointError, match=r"distill x: the loss is -?(nan|inf); lower the learning rate"
    ):
        train_step(optimizer, loss, 0.3, clip=3.0, what="distill x")
    assert all(torch.equal(was, now) for was, now in zip(before, layer.parameters(), strict=True))
    assert all(p.grad is None for p in layer.parameters())
    assert not optimizer.state
    assert all(group["lr"] == 0.1 for group in optimizer.param_groups)
