"""The real clouds that an export is verified on and that travel with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports.graph import INPUTS, LEVELS, OUTPUTS, outputs_of
from foundry_bench.heads.features import turned
from foundry_bench.points.patches import Patches

CLOUDS = 8
"""Golden clouds. An order of tokens that rounding decides was right on six of eight: fewer would not have shown it."""


@dataclass(frozen=True)
class Golden:
    """Clouds ``points`` (N, P, 3), their patches, and the arrays that the unmodified encoder makes of them, by output name."""

    points: np.ndarray
    patches: Patches
    outputs: dict[str, np.ndarray]

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The patches by the names of a graph's inputs."""
        arrays = (self.patches.centers, self.patches.neighborhoods)
        return {name: array.numpy() for name, array in zip(INPUTS, arrays, strict=True)}

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, as ``golden.npz`` holds it."""
        return {"points": self.points, **self.inputs, **self.outputs}


def golden_of(encoder: Encoder, data: PointCloudDataset, count: int = CLOUDS, levels: bool = False) -> Golden:
    """``count`` clouds spread over ``data``, turned as tasks turn them, and what ``encoder`` makes of them.

    Raises UserError for a data set of fewer clouds and for tokens that are not finite.
    """
    if len(data.points) < count:
        raise UserError(f"data set {data.name!r} has {len(data.points)} clouds; verifying takes {count}")
    rows = np.linspace(0, len(data.points) - 1, count).round().astype(int)
    points = turned(data.points[rows, : encoder.config.points], np.asarray(data.paths)[rows])
    patches = encoder.tokenize(torch.from_numpy(points))
    names = OUTPUTS + LEVELS if levels else OUTPUTS
    outputs = {
        name: array.numpy() for name, array in zip(names, outputs_of(encoder, patches, levels), strict=True)
    }
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise UserError("the encoder's tokens are not finite; train it again, at a lower rate")
    return Golden(points, patches, outputs)
