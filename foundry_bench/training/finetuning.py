"""Fine-tuning: a head trained on labels, on frozen features or with the encoder under it, by one recipe for every student.

The recipe is that of Point-JEPA and Point-MAE: AdamW, linear warm-up, cosine decay, and an encoder that is frozen for the
first part of the epochs. Their code reports the best epoch on the test side; here the last epoch is the result, and the test
side decides nothing.

Sources: Saito et al., arXiv 2404.16432 (github.com/Ayumu-J-S/Point-JEPA); Pang et al., arXiv 2203.06604
(github.com/Pang-Yatian/Point-MAE).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foundry_bench.context import Context, derive_seed
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.students.tokens import set_fused_attention
from foundry_bench.teachers.layout import lay_out
from foundry_bench.training.loop import adamw, learning_rate, train_step, warmup_steps
from foundry_bench.training.precision import autocast

Loss = Callable[[np.ndarray], Tensor]
"""Called as ``loss(rows)``: the scalar loss of some rows. The encoder's ``training`` flag tells whether it is being trained;
while it is not, a loss may read cached features."""


@dataclass(frozen=True)
class Recipe:
    """How a head, and the encoder under it, is trained; counted in epochs as the field does.

    ``warmup``: share of the steps with linear warm-up before the cosine (Point-JEPA: 10 of 150 epochs). ``frozen``: share of
    the epochs in which the encoder is frozen, 1: always (Point-JEPA on ScanObjectNN: 100 of 150). ``clip``: largest norm of
    the gradient (Point-JEPA and Point-MAE: 10).
    """

    epochs: int
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.067
    frozen: float = 1.0
    clip: float = 10.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"epochs must be >= 1 and batch_size >= 2, got {self.epochs} and {self.batch_size}"
            )
        if not 0 <= self.frozen <= 1:
            raise ValueError(f"frozen is a share of the epochs, from 0 to 1, got {self.frozen}")

    @property
    def frozen_epochs(self) -> int:
        """Epochs in which the encoder is frozen."""
        return round(self.frozen * self.epochs)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of ``step`` (from 0 on) of ``steps``."""
        return learning_rate(step, steps, peak=self.lr, warmup=warmup_steps(self.warmup, steps))


def train_head(
    head: nn.Module,
    encoder: nn.Module | None,
    loss: Loss,
    rows: np.ndarray,
    recipe: Recipe,
    ctx: Context,
    *,
    what: str,
) -> None:
    """Train ``head``, and ``encoder`` once the recipe no longer freezes it, in place; every epoch sees each of ``rows`` once.

    While frozen the encoder is in eval mode and gets no gradients. Afterwards it is in training mode, batch norms included
    unless its own ``train()`` says otherwise, and *all* its floating-point parameters are trained, also those that
    distillation left frozen, such as a student's tokenizer. A task that thaws the encoder hands over a copy. At the end the
    head is in eval mode, and the encoder's mode and ``requires_grad`` flags are what they were.

    The order of rows and the noise (dropout) depend on ``ctx.seed`` and ``what`` only, so that the same call gives the same
    weights. Raises UserError for an encoder that must be trained and cannot be, ValueError for fewer than two rows, and
    FloatingPointError when the loss is not finite.
    """
    if len(rows) < 2:
        raise ValueError(f"{what}: {len(rows)} rows are too few to train on")
    thaws = encoder is not None and recipe.frozen_epochs < recipe.epochs
    trained: list[nn.Module] = [head.to(ctx.device)]
    if encoder is not None:
        encoder.to(ctx.device)
    if encoder is not None and thaws:
        _check_trainable(encoder, what)
        trained.append(encoder)
    # even batches: a last one of a single row would have no batch statistics
    per_epoch = math.ceil(len(rows) / recipe.batch_size)
    steps = recipe.epochs * per_epoch
    stream = np.random.default_rng(derive_seed(ctx.seed, what, "batches"))
    # AdamW passes over a parameter that is still frozen: it has no gradient
    parameters = [p for module in trained for p in floating_parameters(module)]
    optimizer = adamw(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.999))
    head.train()
    with seeded(ctx, what, "noise"), _restored(encoder):
        for epoch in range(recipe.epochs):
            if encoder is not None and epoch in (0, recipe.frozen_epochs):
                _freeze(encoder, epoch < recipe.frozen_epochs, ctx)
            for i, batch in enumerate(np.array_split(stream.permutation(rows), per_epoch)):
                step = epoch * per_epoch + i
                with autocast(ctx.device, enabled=_is_trained(encoder)):
                    value = loss(batch)
                train_step(optimizer, value, recipe.rate(step, steps), clip=recipe.clip, what=what)
                if encoder is not None and _is_trained(encoder):
                    _check_gradient(encoder, what)
                ctx.progress(what, step + 1, steps)
    head.eval()


@contextmanager
def seeded(ctx: Context, *names: str) -> Iterator[None]:
    """Torch's own generators start from the seed of one component, for dropout and initial weights; then they are as before."""
    devices = [ctx.device] if ctx.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(derive_seed(ctx.seed, *names))
        yield


def floating_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that can have a gradient, whether or not they are frozen now."""
    return [p for p in module.parameters() if p.is_floating_point()]


def _is_trained(encoder: nn.Module | None) -> bool:
    return encoder is not None and encoder.training


def _freeze(encoder: nn.Module, frozen: bool, ctx: Context) -> None:
    for parameter in floating_parameters(encoder):
        parameter.requires_grad_(not frozen)
    encoder.train(not frozen)
    set_fused_attention(encoder, frozen or ctx.device.type != "cpu")
    lay_out(encoder, columns=frozen)


@contextmanager
def _restored(encoder: nn.Module | None) -> Iterator[None]:
    """Mode and flags of ``encoder`` are what they were, whatever happens inside."""
    if encoder is None:
        yield
        return
    training, flags = encoder.training, [p.requires_grad for p in encoder.parameters()]
    try:
        yield
    finally:
        for parameter, flag in zip(encoder.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
        encoder.train(training)
        set_fused_attention(encoder, True)
        lay_out(encoder, columns=True)


INTEGER_WEIGHTS = (torch.int8, torch.uint8)
"""Types of quantised weights; masks are bool and indices are int64."""


def _check_trainable(encoder: nn.Module, what: str) -> None:
    if not floating_parameters(encoder):
        raise _untrainable(encoder, what, "it has no parameters")
    tensors = [*encoder.parameters(), *encoder.buffers()]
    if any(t.dtype in INTEGER_WEIGHTS for t in tensors):
        # rounding has no gradient: what trains around it would be the norms only
        raise _untrainable(encoder, what, "its weights are integers")


def _check_gradient(encoder: nn.Module, what: str) -> None:
    if all(p.grad is None for p in floating_parameters(encoder)):
        raise _untrainable(encoder, what, "it gives no gradient")


def _untrainable(encoder: nn.Module, what: str, why: str) -> UserError:
    kind = "encoder" if not isinstance(encoder, Encoder) else type(encoder).__name__
    return UserError(
        f"{what}: this {kind} cannot be fine-tuned, {why}; "
        "evaluate it on frozen features (mode=svm, or mode=frozen for part segmentation)"
    )
