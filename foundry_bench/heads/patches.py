"""Single frozen tokens: the rows that an encoder gives to patches, and the label of a patch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foundry_bench.encoder import Encoder
from foundry_bench.heads.features import finite
from foundry_bench.heads.groupings import Grouped
from foundry_bench.points import gather, nearest_neighbors

BATCH = 64
"""Clouds embedded at a time."""
IN_MEMORY = 2**30
"""Bytes of kept tokens above which they lie in a temporary file."""

Embed = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gives tokens (B, T, D) float32 and the centres (B, T, 3) of their patches for clouds (B, P, 3), all on the CPU."""


@contextmanager
def frozen(
    encoder: Encoder, device: torch.device | str = "cpu", cache: Path | None = None
) -> Iterator[Embed]:
    """The encoder in float32 and eval mode, as a function; it goes back to the mode it was in.

    The first ``encoder.config.points`` points of each cloud are used; what other encoders make of them too is kept in
    ``cache``. The function raises UserError for clouds that cannot be
    grouped and for tokens that are not finite.
    """
    training = encoder.training
    encode = Grouped(encoder.eval().to(device), cache)

    def embed(clouds: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            tokens, centers = encode(clouds[:, : encoder.config.points].to(device))
        return finite(tokens).float().cpu(), centers.cpu()

    try:
        yield embed
    finally:
        encoder.train(training)


def token_store(shape: tuple[int, int, int], folder: Path) -> np.ndarray:
    """Room for tokens ``shape`` (n, T, D) in float32: in memory, or in a temporary file of ``folder`` where they are large."""
    if 4 * np.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.float32)
    with TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def patch_labels(points: Tensor, labels: Tensor, centers: Tensor, size: int) -> Tensor:
    """The commonest label (B, T) among the ``size`` points nearest to each of ``centers`` (B, T, 3).

    ``points`` (B, P, 3) carry ``labels`` (B, P) int64, -1 for none, which counts as a label. Of labels that are as common the
    lowest is taken, and none the last.
    """
    near = gather(labels[..., None], nearest_neighbors(points, centers, size))[..., 0]
    none = max(int(labels.max()) + 1, 0)
    counts = F.one_hot(torch.where(near < 0, none, near), none + 1).sum(dim=2)
    commonest = counts.argmax(dim=-1)
    return torch.where(commonest == none, -1, commonest)
