"""Multiply-adds of one cloud, by two independent counters that have to agree.

fvcore traces the encoder on a real cloud and sums closed forms over the operators of the trace;
:class:`torch.utils.flop_counter.FlopCounterMode` watches the kernels that PyTorch dispatches. Both run the
code that inference runs, so a student that skips work on an easy cloud is charged for the work that it did on
that cloud, and a module registered under two names is charged as often as it is called. Grouping (farthest
points, neighbours) is not included: it is the same for all, 0.4 M of a teacher's 2,000 M.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foundry_bench.cost.operators import HANDLERS, is_ignored
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches

PARTS = ("tokenizer", "encoder", "decoder")
TOLERANCE = 0.01
"""Largest relative difference between the two counters."""


@dataclass(frozen=True)
class MacCount:
    """Multiply-adds of one cloud at batch 1. ``flop_counter`` is the second counter's total (its FLOPs /
    2)."""

    total: int
    tokenizer: int
    encoder: int
    decoder: int
    flop_counter: int


@dataclass(frozen=True)
class MacSummary:
    """Multiply-adds over ``clouds`` counted clouds: ``mean`` of every number, 95th percentile of the
    total."""

    mean: MacCount
    p95: float
    clouds: int


class _Countable(nn.Module):
    """An encoder in the form that the tracer needs: tensors in, tensors out. Those in ``aux`` are
    returned too, because a trace leaves out what is not used."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, neighborhoods: Tensor, centers: Tensor) -> tuple[Tensor, ...]:
        tokens = self.encoder(Patches(neighborhoods, centers))
        return tokens.features, *tokens.aux.values()


@contextmanager
def countable(encoder: Encoder) -> Iterator[None]:
    """Inside: eval mode, non-fused attention, no gradients and one thread. Afterwards all is as it was
    before, even after an error.

    Fused kernels hide their products from a tracer. timm's convention is followed: a module that has
    ``fused_attn`` writes the products out when it is False. One cloud's operators are so small that threads
    only wait for each other.
    """
    modes = [(module, module.training) for module in encoder.modules()]
    fused = [(m, m.fused_attn) for m in encoder.modules() if isinstance(getattr(m, "fused_attn", None), bool)]
    fast_path, threads = torch.backends.mha.get_fastpath_enabled(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        encoder.eval()
        for module, _ in fused:
            module.fused_attn = False  # type: ignore[assignment]
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, value in fused:
            module.fused_attn = value  # type: ignore[assignment]
        for module, training in modes:
            module.training = training


def count_macs(encoder: Encoder, patches: Patches) -> MacCount:
    """Count one cloud, ``patches`` of batch 1, split by ``encoder.cost_parts`` (the rest is
    ``encoder``).

    One that another runtime runs counts as what it was made from. Raises ValueError for another batch size, and
    :class:`~foundry_bench.errors.UserError` for an operator without a known cost or when the two counters differ by more
    than 1 %.
    """
    own = encoder.in_torch
    if own is None:
        raise UserError(
            "the operators of an exported folder cannot be counted; profile the student it was made from"
        )
    encoder = own
    if len(patches) != 1:
        raise ValueError(f"costs are counted at batch 1, got {len(patches)} clouds")
    with countable(encoder):
        by_part = _count_by_trace(encoder, patches)
        watched = _count_by_dispatch(encoder, patches)
    count = MacCount(**by_part, flop_counter=watched)
    if abs(count.total - watched) > TOLERANCE * max(count.total, watched):
        raise UserError(
            f"MAC counters disagree on {type(encoder).__name__}: fvcore {count.total:,}, torch {watched:,}; "
            "a product is hidden in an operator of its own, or its result is computed and never used"
        )
    return count


def count_macs_over(encoder: Encoder, clouds: Tensor, n: int = 32) -> MacSummary:
    """Count ``clouds`` (N, P, 3), at most ``n`` of them evenly spaced; an encoder with static shapes is
    counted once.

    An encoder whose work depends on its input says so with the attribute ``data_dependent = True``.
    Raises as :func:`count_macs` does, and UserError if there is no cloud.
    """
    if len(clouds) == 0:
        raise UserError("costs are counted on real clouds, but the data set is empty")
    n = min(n, len(clouds)) if getattr(encoder, "data_dependent", False) else 1
    picks = torch.linspace(0, len(clouds) - 1, n).round().long()
    counts = [count_macs(encoder, encoder.tokenize(clouds[i : i + 1])) for i in picks.tolist()]
    names = ("total", *PARTS, "flop_counter")
    mean = MacCount(**{name: round(float(np.mean([getattr(c, name) for c in counts]))) for name in names})
    return MacSummary(mean, float(np.percentile([c.total for c in counts], 95)), n)


def closed_form_block_macs(tokens: int, dim: int, mlp_ratio: float = 4.0) -> int:
    """A transformer block on T tokens of width D: T (4 D^2 + 2 r D^2) + 2 T^2 D, that is 12 T D^2 + 2 T^2 D
    at r = 4.

    Query, key, value and output projections are 4 D^2 a token, the two MLP layers 2 r D^2, scores and
    weighted sum T D each.
    """
    return round(tokens * (4 * dim**2 + 2 * mlp_ratio * dim**2) + 2 * tokens**2 * dim)


def _count_by_trace(encoder: Encoder, patches: Patches) -> dict[str, int]:
    # fvcore scripts a loss at import, which warns; the caller silences the warning.
    from fvcore.nn import FlopCountAnalysis

    model = _Countable(encoder)
    analysis = FlopCountAnalysis(model, (patches.neighborhoods, patches.centers)).clear_op_handles()
    analysis.set_op_handle(**HANDLERS).tracer_warnings("none")
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    try:
        totals = analysis.by_module()
    except ValueError as error:
        raise UserError(f"cannot count {type(encoder).__name__}: {error}") from error
    unknown = sorted(op for op in analysis.unsupported_ops() if not is_ignored(op))
    if unknown:
        raise UserError(
            f"cannot count {type(encoder).__name__}: no cost is known for {', '.join(unknown)}; "
            "add a handler in foundry_bench/cost/operators.py"
        )
    names = {id(module): name for name, module in model.named_modules()}
    split = {part: totals[names[id(module)]] for part, module in _parts(encoder).items()}
    tokenizer, decoder, total = split.get("tokenizer", 0), split.get("decoder", 0), totals[""]
    return {
        "total": total,
        "tokenizer": tokenizer,
        "encoder": total - tokenizer - decoder,
        "decoder": decoder,
    }


def _parts(encoder: Encoder) -> dict[str, nn.Module]:
    parts = encoder.cost_parts
    wrong = set(parts) - set(PARTS)
    if wrong:
        raise ValueError(f"{type(encoder).__name__}.cost_parts names {sorted(wrong)}; known parts: {PARTS}")
    return parts


def _count_by_dispatch(encoder: Encoder, patches: Patches) -> int:
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten._int_mm: _int_mm_flops}) as counter:
        encoder(patches)
    return counter.get_total_flops() // 2


def _int_mm_flops(a: torch.Size, b: torch.Size, out_shape: torch.Size, **_: object) -> int:
    """An integer product, which torch's counter does not know: (n, k) x (k, m) as in float."""
    return 2 * out_shape[0] * out_shape[1] * a[1]
