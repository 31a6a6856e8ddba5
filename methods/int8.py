"""Linear layers in eight-bit integers, after training (Jacob et al., arXiv 1712.05877), as ONNX Runtime quantises and runs
them.

The student is exported and its float graph quantised by the runtime: weights with a scale per output channel, activations with
a step per product that is measured when it runs. Layer norms, GELU, softmax and the two products of attention stay float.
Tokens, levels and scores are those of the quantised graph, and so are bytes and latency, whatever runtime others are timed in;
multiply-adds and parameters are the float student's, since an integer multiply-add is a multiply-add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foundry_bench.authoring import (
    OFF_THE_SHELF,
    Context,
    Encoder,
    Family,
    Method,
    Paper,
    PointCloudDataset,
    onnx_missing,
    quantized,
)


@dataclass(frozen=True)
class Int8(Method):
    """There is nothing to train and nothing to set: a distilled student is quantised afterwards, as ``foundry+int8``."""

    name: ClassVar[str] = "int8"
    family: ClassVar[Family] = "quantise"
    paper: ClassVar[Paper] = Paper(
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        "1712.05877",
    )
    abstract: ClassVar[str] = "linear layers in 8 bits"
    version: ClassVar[str] = "2"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)
    stacked_on: ClassVar[tuple[str, ...]] = ("foundry",)
    last: ClassVar[bool] = True

    def lacks(self) -> str | None:
        return onnx_missing()

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return quantized(teacher, data, ctx)
