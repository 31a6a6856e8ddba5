"""How much of an encoder's tokens hangs on *who asks* in attention: the context index.

A network whose attention maps are the same for every query broadcasts one vector to all patches: it knows the set, not the
place of a patch in it. The index takes that dependence away and tells what share of the tokens' variance goes with it, once
by :func:`query_mean` and once by :func:`self_kept`, which leaves to each query what it pays to itself: attention to oneself
alone is no context, but changes with the query. Effective rank: Roy and Vetterli, EUSIPCO 2007, on the eigenvalues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from foundry_bench.context import Progress, no_progress
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.heads.features import turned

EVERY = 9
"""The index is measured on KiCad, every ninth object, unless other clouds are given."""

MapChange = Callable[[Tensor, int], Tensor]
"""Attention maps (B, H, N, N), whose rows are queries, and how many of the first rows are no patches -> other maps."""


@dataclass(frozen=True)
class ContextIndex:
    """What an encoder's attention owes to the query; 0 for attention that does not depend on it.

    ``query_mean`` and ``self_kept`` are losses of R2: the squared change of the final tokens under the map changes of these
    names, over the tokens' variance around their mean over the whole set of ``clouds``. They exceed 1 where the changed tokens
    are further from the true ones than the mean token is. ``effective_rank`` is the exponential of the entropy of the
    normalised eigenvalues of the final tokens' covariance, between 1 and D.
    """

    query_mean: float
    self_kept: float
    effective_rank: float
    clouds: int

    @property
    def index(self) -> float:
        """The smaller loss."""
        return min(self.query_mean, self.self_kept)

    def to_dict(self) -> dict[str, float]:
        """The numbers by name, for a teacher's card."""
        return {"index": self.index, **asdict(self)}


def query_mean(maps: Tensor, prefix: int = 0) -> Tensor:
    """Maps (B, H, N, N) in which every patch asks as the average patch: each patch's row is the mean of the patches' rows.

    The rows of the ``prefix`` are no patches: as queries they are in no average and keep their maps, as keys they are like all.
    """
    patches = maps[..., prefix:, :]
    return torch.cat([maps[..., :prefix, :], patches.mean(dim=-2, keepdim=True).expand_as(patches)], dim=-2)


def self_kept(maps: Tensor, prefix: int = 0) -> Tensor:
    """Maps (B, H, N, N) in which every patch keeps the weight of itself and spreads the rest as the others' average does.

    With ``m_j`` the mean of ``A_ij`` over the patches i other than j, the new weight of a key j other than i is
    ``(1 - A_ii) m_j / sum of m_k over the keys k other than i``. Maps that do not depend on the query and the identity stay as
    they are. ``prefix`` as in :func:`query_mean`.
    """
    patches = maps[..., prefix:, :]
    itself = torch.eye(*maps.shape[-2:], dtype=torch.bool, device=maps.device)[prefix:]
    others = patches.masked_fill(itself, 0)
    mean = others.sum(dim=-2, keepdim=True) / (~itself).sum(dim=0).clamp_min(1)
    rest = mean.expand_as(patches).masked_fill(itself, 0)
    tiny = torch.finfo(maps.dtype).tiny
    spread = others.sum(dim=-1, keepdim=True) * rest / rest.sum(dim=-1, keepdim=True).clamp_min(tiny)
    return torch.cat([maps[..., :prefix, :], torch.where(itself, patches, spread)], dim=-2)


def unchanged(maps: Tensor, prefix: int = 0) -> Tensor:
    """The maps as they are."""
    return maps


class _ChangedMaps(TorchFunctionMode):
    """Inside, ``scaled_dot_product_attention`` over ``rows`` queries and keys, or over any number where it is None, is written
    out with changed maps. ``seen`` counts the layers."""

    def __init__(self, change: MapChange, rows: int | None, prefix: int) -> None:
        super().__init__()
        self.change, self.rows, self.prefix = change, rows, prefix
        self.seen = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self.seen += 1
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        alike = self.rows is None or (query.shape[-2], key.shape[-2]) == (self.rows, self.rows)
        if not alike or is_causal or enable_gqa:
            raise UserError(
                f"no context index: an attention layer runs over {query.shape[-2]} queries and {key.shape[-2]} keys, not "
                f"over all {(self.rows or 0) - self.prefix} patches; measure the teacher, or a student that keeps its patches, "
                "such as kd"
            )
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self.change(scores.softmax(dim=-1), self.prefix) @ value


@contextmanager
def changed_attention(encoder: Encoder, change: MapChange) -> Iterator[None]:
    """Inside, ``encoder`` runs in eval mode with ``change`` applied to all of its attention maps; afterwards all is as it was.

    Attention is reached where it calls ``torch.nn.functional.scaled_dot_product_attention``, as timm's blocks do while their
    ``fused_attn`` is set. Raises UserError for layers over other rows than the patches (and the rows in front of them), and at
    the end for an encoder without attention or with some that is written out and so left as it was.
    """
    prefix = encoder.config.prefix
    mode = _ChangedMaps(change, prefix + encoder.config.groups, prefix)
    with _evaluating(encoder), _projections(encoder) as projected, mode:
        yield
    if mode.seen == 0 or len(projected) > mode.seen:
        calls = "no attention calls" if mode.seen == 0 else "not all attention calls"
        raise UserError(
            f"no context index: in {type(encoder).__name__} {calls} scaled_dot_product_attention, where its maps are changed; "
            "measure the teacher, or a student that keeps its blocks, such as kd"
        )


@contextmanager
def watched_attention(encoder: Encoder, see: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside, ``encoder`` runs in eval mode and ``see`` gets each of its attention maps (B, H, N, M), over whatever rows.

    Attention is reached as in :func:`changed_attention`; layers that write their maps out themselves are passed over.
    """

    def change(maps: Tensor, prefix: int) -> Tensor:
        see(maps)
        return maps

    with _evaluating(encoder), _ChangedMaps(change, None, encoder.config.prefix):
        yield


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Inside: eval mode and fused attention."""
    modes = [(module, module.training) for module in encoder.modules()]
    fused = [(layer, layer.fused_attn) for layer in _attention_layers(encoder)]
    encoder.eval()
    try:
        for layer, _ in fused:
            layer.fused_attn = True
        yield
    finally:
        for layer, value in fused:
            layer.fused_attn = value
        for module, training in modes:
            module.training = training


@contextmanager
def _projections(encoder: Encoder) -> Iterator[list[None]]:
    """A list that grows by one for each attention layer that projects its queries."""
    projected: list[None] = []
    hooks = [
        layer.qkv.register_forward_hook(lambda *_: projected.append(None))
        for layer in _attention_layers(encoder)
    ]
    try:
        yield projected
    finally:
        for hook in hooks:
            hook.remove()


def _attention_layers(encoder: Encoder) -> list[Any]:
    """The modules that follow timm's convention."""
    return [m for m in encoder.modules() if hasattr(m, "qkv") and hasattr(m, "fused_attn")]


def context_index(
    encoder: Encoder,
    clouds: np.ndarray | Tensor | None = None,
    *,
    batch_size: int = 64,
    progress: Progress = no_progress,
) -> ContextIndex:
    """Measure the context index of ``encoder`` on ``clouds`` (N, P, 3), by default :func:`standard_clouds`.

    The smaller of two losses of R2 of the final tokens: after every attention map is averaged over its queries
    (:func:`query_mean`), and after each query keeps its own self weight and spreads the rest as the average does
    (:func:`self_kept`). The encoder runs three times where it is, in float32; the first ``config.points`` points are used.
    Raises UserError for encoders without attention maps over all patches (:func:`changed_attention`), for clouds that cannot be
    grouped and for tokens that are all the same.
    """
    points = torch.as_tensor(standard_clouds() if clouds is None else clouds, dtype=torch.float32)
    points = points[:, : encoder.config.points]
    width = encoder.config.dim
    gram, total, count = torch.zeros(width, width).double(), torch.zeros(width).double(), 0
    averaged, kept = 0.0, 0.0
    for start in range(0, len(points), batch_size):
        batch = points[start : start + batch_size]
        tokens, asked_alike, self_alone = _runs(encoder, batch)
        gram += tokens.T @ tokens
        total += tokens.sum(dim=0)
        count += len(tokens)
        averaged += float((asked_alike - tokens).square().sum())
        kept += float((self_alone - tokens).square().sum())
        progress("context index", start + len(batch), len(points))
    covariance = gram - torch.outer(total, total) / count
    variance = float(covariance.trace())
    if not variance > 1e-12 * float(gram.trace()):
        raise UserError(f"no context index: {type(encoder).__name__} gives the same token to every patch")
    return ContextIndex(averaged / variance, kept / variance, effective_rank(covariance), len(points))


@torch.inference_mode()
def _runs(encoder: Encoder, points: Tensor) -> list[Tensor]:
    """Final tokens (B * T, D) in float64 of clouds (B, P, 3) as they are and under both changes."""
    patches = encoder.tokenize(points.to(next(encoder.parameters()).device))
    found = []
    for change in (unchanged, query_mean, self_kept):
        with changed_attention(encoder, change):
            found.append(encoder(patches).features.double().flatten(0, 1).cpu())
    return found


def effective_rank(covariance: Tensor) -> float:
    """exp of the entropy of the normalised eigenvalues of a covariance (D, D)."""
    values = torch.linalg.eigvalsh(covariance).clamp_min(0)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def standard_clouds() -> np.ndarray:
    """KiCad, every ninth object, turned about the up axis as all tasks turn them: (N, P, 3) float32."""
    from foundry_bench.datasets import load_embedded

    data = load_embedded("kicad")
    return turned(data.points[::EVERY], data.paths[::EVERY])
