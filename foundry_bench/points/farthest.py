"""Farthest point sampling with a fixed start: one result by three ways, of which each is the fastest somewhere.

Small clouds go through the library ``fpsample`` where it is installed (extra ``sampling``), large ones through boxes, and what
is neither on a CPU nor in single or double precision through PyTorch. At 1,024 points and 64 groups the library takes a tenth
of the time of PyTorch, at 300,000 and 2,048 boxes take a quarter of the library's.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foundry_bench.points.boxes import farthest_by_boxes

if TYPE_CHECKING:
    from collections.abc import Callable

    Sampler = Callable[[np.ndarray, int], np.ndarray]

LARGE, MANY = 2**14, 2**8
"""Points of a cloud and points chosen of it from which on boxes pay."""
CLOUDS = 8
"""So many clouds for every point chosen are sampled faster together by PyTorch than one by one."""


def farthest_point_sample(points: Tensor, count: int) -> Tensor:
    """Indices (B, count) of farthest point sampling on ``points`` (B, N, 3), starting at point 0.

    The official code starts at a random point even in evaluation; a fixed start makes every evaluation repeatable.
    Ties go to the lowest index.
    """
    way = _way(points, count)
    if way is None:
        return _together(points, count)
    clouds = points.detach().numpy()
    return torch.from_numpy(np.stack([way(cloud, count) for cloud in clouds]))


def traced() -> bool:
    """Whether a graph is made of what runs now, which has to hold for other clouds, and for other numbers of them."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def readable(points: Tensor) -> bool:
    """Whether NumPy may read ``points``: on a CPU, and not while a graph is traced, which would take indices for constants."""
    return points.is_cpu and type(points) in (Tensor, torch.nn.Parameter) and not traced()


def _way(points: Tensor, count: int) -> Sampler | None:
    """The fastest way to sample clouds one by one, None where all at once in PyTorch is faster or the only way."""
    batch, total, _ = points.shape
    if points.dtype not in (torch.float32, torch.float64) or not readable(points):
        return None
    if batch == 0 or not 1 <= count <= total:
        return None
    if total >= LARGE and count >= MANY:
        return farthest_by_boxes
    if points.dtype == torch.float32 and batch <= CLOUDS * count and library_agrees():
        return farthest_by_library
    return None


def _together(points: Tensor, count: int) -> Tensor:
    batch, total, _ = points.shape
    chosen = torch.zeros(batch, count, dtype=torch.long, device=points.device)
    distance = torch.full((batch, total), torch.inf, dtype=points.dtype, device=points.device)
    x, y, z = points.unbind(-1)
    rows = torch.arange(batch, device=points.device)
    last = chosen[:, 0]
    for i in range(1, count):
        dx, dy, dz = (c - c[rows, last, None] for c in (x, y, z))
        distance = torch.minimum(distance, dx.square_().add_(dy.square_()).add_(dz.square_()))
        last = distance.argmax(dim=1)
        chosen[:, i] = last
    return chosen


def farthest_by_library(cloud: np.ndarray, count: int) -> np.ndarray:
    """Numbers (count,) of farthest point sampling on ``cloud`` (N, 3) in single precision, by ``fpsample``.

    It gives ties to the highest number, so it is handed the cloud from its end.
    """
    from fpsample import fps_sampling

    end = len(cloud) - 1
    return end - fps_sampling(cloud[::-1], count, start_idx=end).astype(np.int64)


@cache
def library_agrees() -> bool:
    """Whether ``fpsample`` is installed and chooses as :func:`farthest_point_sample` promises, ties and rounding included.

    Its source does; a build whose compiler fuses products with sums, or another version, need not. Clouds where these tell
    decide: a grid, copies of points, and points at one distance whose squares are rounded apart.
    """
    try:
        return all(
            np.array_equal(
                farthest_by_library(cloud, count), _together(torch.from_numpy(cloud)[None], count)[0]
            )
            for cloud, count in telling_clouds()
        )
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


def telling_clouds() -> list[tuple[np.ndarray, int]]:
    """Clouds (N, 3) in single precision and how many points to choose, on which another rule for ties or another rounding of
    distances chooses others."""
    steps = np.arange(5, dtype=np.float32)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    rng = np.random.default_rng(0)
    mirrored = [
        np.array([(0, 0, 0), *permutations(rng.uniform(0.1, 1, 3))], dtype=np.float32) for _ in range(16)
    ]
    return [(grid, 125), (grid[np.arange(60) % 20], 60), *((cloud, 7) for cloud in mirrored)]
