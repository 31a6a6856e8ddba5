"""Frozen descriptors of whole clouds: turned at random about the up axis, embedded in batches, pooled.

Probe and few-shot task share them, so every method and seed sees exactly the same clouds in the same pose.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from foundry_bench.context import Progress, derive_seed, no_progress
from foundry_bench.encoder import Encoder, pool
from foundry_bench.errors import UserError
from foundry_bench.heads.groupings import Grouped


def turn_angles(paths: Iterable[str], seed: int = 0) -> np.ndarray:
    """One angle in [0, 2 pi) per object, (N,) float64, hashed from its path: independent of order and of
    the method."""
    seeds = np.array(
        [derive_seed(seed, "turn about the up axis", str(path)) for path in paths], dtype=np.float64
    )
    return seeds * (2 * np.pi / 2**31)


def turned(points: np.ndarray, paths: Iterable[str], seed: int = 0) -> np.ndarray:
    """Clouds ``points`` (N, P, 3) turned about the up axis by :func:`turn_angles`, (N, P, 3) float32.

    CAD models come upright with a consistent heading, which is a shortcut that a classifier must not take.
    """
    from foundry_bench.points import rotate_about_up

    angles = torch.from_numpy(turn_angles(paths, seed)).float()
    return rotate_about_up(torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)), angles).numpy()


def finite(tokens: torch.Tensor) -> torch.Tensor:
    """The tokens as they are. Raises UserError where one is not finite."""
    if not torch.isfinite(tokens).all():
        raise UserError("the encoder's tokens are not finite; train it again, at a lower rate")
    return tokens


def embed_clouds(
    encoder: Encoder,
    points: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> np.ndarray:
    """Mean and max of the frozen encoder's tokens, (N, 2D) float32, from clouds ``points`` (N, P, 3).

    The first ``encoder.config.points`` points of each cloud are used. The encoder runs in float32 and in
    eval mode, and goes back to the mode it was in. What other encoders make of the clouds too is kept in the folder ``cache``,
    where one is given. Raises :class:`~foundry_bench.errors.UserError` for
    clouds it cannot group and for tokens that are not finite.
    """
    training = encoder.training
    encode = Grouped(encoder.eval().to(device), cache)
    used = points[:, : encoder.config.points]
    rows = []
    try:
        with torch.inference_mode():
            for start in range(0, len(used), batch_size):
                batch = torch.from_numpy(
                    np.ascontiguousarray(used[start : start + batch_size], dtype=np.float32)
                )
                tokens, _ = encode(batch.to(device))
                rows.append(pool(finite(tokens)).float().cpu().numpy())
                progress("embedding clouds", min(start + batch_size, len(used)), len(used))
    finally:
        encoder.train(training)
    return np.concatenate(rows) if rows else np.zeros((0, 2 * encoder.config.dim), np.float32)
