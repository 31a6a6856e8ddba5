"""What a training step is: AdamW with two groups, the learning rate of a step, and the step itself.

Distillation, experts, fine-tuning and pre-training train by these functions; they differ in the numbers they hand over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def adamw(
    parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """AdamW in two groups: matrices with ``weight_decay``, then biases, norms and other vectors without.

    A group with no parameters is left out. A checkpoint of the optimiser counts on the order of the groups.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=betas)


def warmup_steps(share: float, steps: int) -> int:
    """The whole steps, one at least, that a ``share`` (0 to 1) of ``steps`` makes."""
    return max(1, round(share * steps))


def learning_rate(step: int, steps: int, *, peak: float, warmup: int, floor: float = 0.0) -> float:
    """Learning rate of ``step`` (from 0 on) of ``steps``: linear to ``peak`` in ``warmup`` steps, then half a cosine.

    ``floor``: the share of the peak that the cosine falls to; a step after the last one gets it.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    falling = max(1, steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(step - warmup, falling) / falling))
    return peak * (floor + (1 - floor) * cosine)


def train_step(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    rate: float,
    *,
    clip: float,
    what: str,
    parameters: Iterable[nn.Parameter] | None = None,
) -> None:
    """One training step down the gradient of the scalar ``loss``, at the learning rate ``rate``.

    ``clip``: largest norm of the gradient. ``parameters``: what the norm is taken over, by default all that ``optimizer`` has,
    group by group; their order decides the last bit of the norm. Raises FloatingPointError, which names ``what``, when the
    loss is not finite; nothing has changed then.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"{what}: the loss is {float(loss.detach())}; lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained if parameters is None else parameters, clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
