"""Magnitude pruning: the smallest weights of every matrix become zero (Han et al., arXiv 1506.02626)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor

from foundry_bench.encoder import Encoder
from foundry_bench.method import FMD, OFF_THE_SHELF, Method
from foundry_bench.parameters.types import Bounds
from foundry_bench.students.linears import SparseLinear, linears, replace, trainable_copy
from foundry_bench.variants import Family, Paper

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Which weights stay, (out, in): those above the value at place ``sparsity`` x size of the sorted |W|.

    One threshold for the whole matrix, as in the baseline of Wanda's authors: what equals it goes too, so that a little more
    than the asked share may go. Nothing goes at sparsity 0.
    """
    if sparsity == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    size = weight.abs()
    threshold = size.flatten().sort().values[int(size.numel() * sparsity)]
    return size > threshold


@dataclass(frozen=True)
class MagnitudePruning(Method):
    """Unstructured: multiply-adds and latency stay the teacher's, only the density falls. Biases, norms and layers that read
    or write coordinates are not pruned.

    ``sparsity``: share of zeros in every matrix. ``tokenizer``: whether the tokenizer's linear layers are pruned too; it is
    then trained, on patches; if not it is the teacher's, frozen.
    """

    name: ClassVar[str] = "prune-magnitude"
    family: ClassVar[Family] = "prune"
    paper: ClassVar[Paper] = Paper(
        "Learning both Weights and Connections for Efficient Neural Networks", "1506.02626"
    )
    abstract: ClassVar[str] = "the smallest weights are zero: fewer to store, as many to multiply"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"sparsity": (0.75,)}

    sparsity: Annotated[float, Bounds(at_least=0, below=1)] = 0.5
    tokenizer: bool = False

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, self.tokenizer)
        for name, layer in linears(student, self.tokenizer).items():
            with torch.no_grad():
                layer.weight.mul_(magnitude_mask(layer.weight, self.sparsity))
            replace(student, name, SparseLinear.of(layer))
        return student
