"""Ranks of an encoder's linear layers, spread over them by what a direction is worth at the output tokens for its cost.

The idea of ranks by worth is that of SVD-LLM V2 (arXiv 2503.12340) and Swift-SVD (arXiv 2604.01609), which share them out among
layers of one kind.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Encoder
from foundry_bench.points.patches import Patches

PROBES = 4
"""Random directions of a cloud's output tokens that gradients are taken of."""


@dataclass(frozen=True)
class Worth:
    """Of a layer's ``directions``: ``gains`` (k,), the squared error of a cloud's output tokens where each one is missing, to
    first order, and how many ``rows`` of a cloud the layer runs on."""

    gains: Tensor
    rows: float


def worths(
    student: Encoder, patches: Patches, layers: Mapping[str, nn.Linear], bases: Mapping[str, Tensor]
) -> dict[str, Worth]:
    """What the ``bases`` (m, k) of each layer's output are worth on ``patches``; a layer that does not run is left out.

    Without direction u, an output y of a row loses u u^T W x, and the tokens f lose J u u^T W x, summed over the rows. With
    random v (T, D), E (v . J d)^2 = |J d|^2, and v^T J is the gradient g of v . f: so one gain is the mean over clouds and v of
    (sum over rows of (g . u) (u^T W x))^2. Errors that repeat from row to row add up in it, as they do in the tokens.
    """
    bases = {name: basis.float() for name, basis in bases.items()}
    inner = {name: basis.T @ layers[name].weight.detach().float() for name, basis in bases.items()}
    gains = {name: torch.zeros(basis.shape[1], dtype=torch.double) for name, basis in bases.items()}
    rows = dict.fromkeys(layers, 0)
    seen: list[tuple[str, Tensor, Tensor]] = []

    def after(name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach().flatten(0, -2)
        rows[name] += len(x)
        if output.requires_grad:
            seen.append((name, x.float() @ inner[name].T, output))

    handles = [layer.register_forward_hook(partial(after, name)) for name, layer in layers.items()]
    generator = torch.Generator().manual_seed(0)
    student.eval()
    try:
        with torch.enable_grad():
            for i in range(len(patches)):  # one by one: rows of a layer need not tell which cloud they are of
                seen.clear()
                tokens = student(patches[i : i + 1]).features
                for _ in range(PROBES):
                    probe = torch.randn(tokens.shape, generator=generator).to(tokens)
                    for name, effect in _effects(tokens, probe, seen, bases).items():
                        gains[name] += effect.square().cpu() / (PROBES * len(patches))
    finally:
        for handle in handles:
            handle.remove()
    return {name: Worth(gains[name], count / len(patches)) for name, count in rows.items() if count}


def _effects(
    tokens: Tensor, probe: Tensor, seen: list[tuple[str, Tensor, Tensor]], bases: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Sum over rows of (g . u) (u^T W x) for each direction u of a layer, (k,); ``seen`` are u^T W x (N, k) and the output."""
    outputs = [output for *_, output in seen]
    if not outputs:
        return {}
    gradients = torch.autograd.grad(tokens, outputs, probe, retain_graph=True, allow_unused=True)
    effects: dict[str, Tensor] = {}
    for (name, along, _), gradient in zip(seen, gradients, strict=True):
        if gradient is not None:
            part = (gradient.flatten(0, -2).float() @ bases[name] * along).sum(dim=0).double()
            effects[name] = effects.get(name, 0) + part
    return effects


@dataclass(frozen=True)
class Choices:
    """What a layer can be: ``ranks``, None for dense, with the multiply-adds of a cloud and the gain of each, ascending."""

    ranks: list[int | None]
    costs: list[float]
    gains: list[float]


def cost(layer: nn.Linear, r: int | None) -> int:
    """Multiply-adds of a row of ``layer`` at rank ``r``, None for dense."""
    m, n = layer.out_features, layer.in_features
    return m * n if r is None else r * (m + n)


def choices(layer: nn.Linear, worth: Worth, uniform: int | None) -> Choices:
    """Every rank that costs less than the layer, and the layer itself; the ``uniform`` rank alone where no output token says
    what a direction is worth."""
    m, n, ranks = layer.out_features, layer.in_features, [uniform]
    if bool(worth.gains.any()):
        ranks = [*range(1, (m * n - 1) // (m + n) + 1), None]
    gains = worth.gains.cumsum(0).tolist()
    return Choices(
        ranks,
        [worth.rows * cost(layer, r) for r in ranks],
        [gains[-1 if r is None else r - 1] for r in ranks],
    )


Step = tuple[float, str, int]
"""Minus the gain for a multiply-add, the layer, and the index of what it becomes."""


def next_step(name: str, layer: Choices, at: int, left: float) -> Step | None:
    """The step from what a layer is ``at`` that gains most for its cost, among those that cost no more than ``left``."""
    steps = [
        ((layer.gains[at] - layer.gains[to]) / (layer.costs[to] - layer.costs[at]), name, to)
        for to in range(at + 1, len(layer.ranks))
        if layer.costs[to] - layer.costs[at] <= left
    ]
    return min(steps, default=None)


def spread(layers: Mapping[str, Choices], budget: float) -> dict[str, int | None]:
    """The rank of each layer, None for dense, within ``budget`` multiply-adds of a cloud: from the lowest ranks on, always the
    step that gains most for its cost. Many directions at once are a step too, such as all those that are left."""
    at = dict.fromkeys(layers, 0)
    left = budget - sum(layer.costs[0] for layer in layers.values())
    steps = [step for name in layers if (step := next_step(name, layers[name], 0, left))]
    heapq.heapify(steps)
    while steps:
        _, name, to = heapq.heappop(steps)
        price = layers[name].costs[to] - layers[name].costs[at[name]]
        if price <= left:
            at[name], left = to, left - price
        if step := next_step(name, layers[name], at[name], left):
            heapq.heappush(steps, step)
    return {name: layer.ranks[at[name]] for name, layer in layers.items()}


def global_ranks(
    student: Encoder,
    patches: Patches,
    layers: Mapping[str, nn.Linear],
    bases: Mapping[str, Tensor],
    uniform: Mapping[str, int | None],
) -> dict[str, int | None]:
    """A rank for each of ``layers``, None for dense, that cost together no more than the ``uniform`` ones on ``patches``.

    ``bases``: directions (m, k) of each layer's output in the order in which they are kept. A layer that does not run keeps its
    uniform rank.
    """
    every, budget = {}, 0.0
    for name, worth in worths(student, patches, layers, bases).items():
        every[name] = choices(layers[name], worth, uniform[name])
        budget += worth.rows * cost(layers[name], uniform[name])
    return dict(uniform) | spread(every, budget)
