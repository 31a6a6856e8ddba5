"""3DLST (arXiv 2405.15826), our re-implementation: its code is not public and its text was not read beyond the abstract.

Learnable supertokens (DSO), an encoder on them and upsampling by cross-attention (CAU) are what Foundry took over from it; so
the operators here are those of Foundry's default form, with the soft assignment of a plain cross-attention. What is 3DLST's
own is the training: for one task, by that task's labels alone, without a teacher; distilled from one it would be Foundry.
The encoder starts from the teacher's blocks as everybody's does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from foundry_bench.authoring import (
    EXPERT,
    Bounds,
    Context,
    Encoder,
    Expert,
    Family,
    Paper,
    PointCloudDataset,
    require_transformer,
)
from foundry_bench.methods.foundry import Foundry, FoundryStudent


@dataclass(frozen=True)
class ThreeDLST(Expert):
    """``supertokens``: s. ``task`` and ``dataset``: what it is trained for. Supertokens start as k-means centres of the
    teacher's tokens, ``sharpness`` times more peaked than their cosine. There is no ``fmd``: distilled, it would be
    ``foundry``."""

    name: ClassVar[str] = "3dlst"
    version: ClassVar[str] = "2"
    family: ClassVar[Family] = "foundry"
    paper: ClassVar[Paper] = Paper(
        "3D Learnable Supertoken Transformer for LiDAR Point Cloud Scene Segmentation", "2405.15826"
    )
    abstract: ClassVar[str] = "our re-implementation of learnable supertokens trained by labels alone"
    variants: ClassVar[tuple[str, ...]] = (EXPERT,)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"supertokens": (9,)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"supertokens": 16},)

    supertokens: Annotated[int, Bounds(at_least=1, at_most=1024)] = 16
    tau: Annotated[float, Bounds(at_least=1e-3, at_most=1e3)] = 1.0
    sharpness: Annotated[float, Bounds(at_least=0, at_most=1e3)] = 20.0

    def classes(self) -> tuple[type, ...]:
        return (type(self), Foundry)

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        source = require_transformer(teacher, self.name)
        student = FoundryStudent(source, Foundry(self.supertokens, tau=self.tau, sharpness=self.sharpness))
        student.start(source, data, ctx.seed)
        return student

    def expert_loss(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The labels alone: 3DLST has no teacher."""
        return F.cross_entropy(student, labels)
