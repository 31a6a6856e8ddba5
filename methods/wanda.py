"""Wanda: prune weights by |W| times the norm of the input they meet, row by row (arXiv 2306.11695)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Encoder
from foundry_bench.method import FMD, OFF_THE_SHELF, Method
from foundry_bench.parameters.types import Bounds
from foundry_bench.students.linears import SparseLinear, calibrate, linears, replace, trainable_copy
from foundry_bench.training.token_cache import calibration_patches
from foundry_bench.variants import Family, Paper

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset


def scaler_row(inputs: Tensor) -> Tensor:
    """Mean over the rows of ``inputs`` (N, in) of the squared entries, (in,).

    The paper's is a running mean over samples of ||x_col||^2, a sample being a sequence: that is this times the tokens of a
    sequence, a factor which no comparison within a layer sees.
    """
    return inputs.float().square().mean(dim=0)


def wanda_mask(weight: Tensor, scale: Tensor, sparsity: float) -> Tensor:
    """Which weights (out, in) stay: in every output row all but the floor(in x sparsity) with the lowest
    |W| sqrt(``scale``). Of equal ones the first go (stable sort)."""
    metric = weight.abs() * scale.sqrt()
    pruned = metric.sort(dim=1, stable=True).indices[:, : int(weight.shape[1] * sparsity)]
    return torch.ones_like(weight, dtype=torch.bool).scatter_(1, pruned, False)


@dataclass(frozen=True)
class Wanda(Method):
    """Unstructured: multiply-adds and latency stay the teacher's, only the density falls. Linear layers only; biases, norms
    and layers that read or write coordinates are not pruned.

    ``sparsity``: share of zeros in every output row. ``tokenizer``: whether the tokenizer's linear layers are pruned too; it
    is then trained, on patches; if not it is the teacher's, frozen. ``samples``: calibration clouds, of training objects.
    """

    name: ClassVar[str] = "wanda"
    family: ClassVar[Family] = "prune"
    paper: ClassVar[Paper] = Paper(
        "A Simple and Effective Pruning Approach for Large Language Models", "2306.11695"
    )
    abstract: ClassVar[str] = (
        "weights that are small times their input are zero: fewer to store, as many to multiply"
    )
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"sparsity": (0.75,)}

    sparsity: Annotated[float, Bounds(at_least=0, below=1)] = 0.5
    tokenizer: bool = False
    samples: Annotated[int, Bounds(at_least=1)] = 128

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, self.tokenizer)
        layers = linears(student, self.tokenizer)

        def prune(name: str, layer: nn.Linear, inputs: Tensor) -> None:
            layer.weight.mul_(wanda_mask(layer.weight, scaler_row(inputs), self.sparsity))

        calibrate(student, calibration_patches(student, data, self.samples), layers, prune)
        for name, layer in layers.items():
            replace(student, name, SparseLinear.of(layer))
        return student
