"""What a broken rule is, and what the checks share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foundry_bench.encoder import Encoder

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

CLOUDS = 4
"""On how many clouds the rules are checked."""
TOLERANCE = 1e-4
"""Largest difference of two outputs that should be equal up to the order of summation."""


class ConformanceError(AssertionError):
    """A rule that the harness relies on is broken."""


@dataclass(frozen=True)
class Rule:
    """One rule in words, and what raises where it is broken."""

    title: str
    check: Callable[[], None]


def require(holds: bool, rule: str) -> None:
    """Raise ConformanceError with ``rule``, in words, unless it ``holds``."""
    if not holds:
        raise ConformanceError(rule)


@torch.no_grad()
def stranger_to(teacher: Encoder, chosen: Callable[[str], bool] = lambda name: True) -> Encoder:
    """An encoder of the same sizes that knows nothing in its parameters with ``chosen`` names."""
    stranger = copy.deepcopy(teacher)
    for name, parameter in stranger.named_parameters():
        if chosen(name):
            parameter.normal_(
                std=0.05, generator=torch.Generator(parameter.device).manual_seed(parameter.numel())
            )
    return stranger


def some_clouds(data: PointCloudDataset, encoder: Encoder) -> Tensor:
    """A few clouds (B, N, 3) of ``data``, with as many points as ``encoder`` wants."""
    picks = np.linspace(0, len(data.points) - 1, CLOUDS).round().astype(int)
    return torch.from_numpy(data.points[picks, : encoder.config.points].astype(np.float32))


def snapshot(encoder: Encoder) -> tuple[bool, list[bool], dict[str, Tensor]]:
    """What :func:`unchanged` compares: training mode, which parameters get gradients, and a copy of the state."""
    state = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    return encoder.training, [p.requires_grad for p in encoder.parameters()], state


def unchanged(encoder: Encoder, before: tuple[bool, list[bool], dict[str, Tensor]]) -> bool:
    """Whether ``encoder`` is as it was when :func:`snapshot` gave ``before``, and holds no gradients."""
    training, flags, state = before
    now = encoder.state_dict()
    same = now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)
    no_gradients = all(p.grad is None for p in encoder.parameters())
    return (
        same
        and no_gradients
        and training == encoder.training
        and flags == [p.requires_grad for p in encoder.parameters()]
    )


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two outputs are equal up to the order of summation."""
    return bool(torch.allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE))
