"""A cheap tokenizer: the teacher's PointNet, narrowed, on some of the points of a patch; the blocks stay as they are.

The tokenizer runs on every point, the blocks once a patch: of a student with few blocks it is most. Widths are narrowed as
``prune-structured`` does it (DepGraph, arXiv 2301.12900), with the layers that read removed channels re-fitted by least squares
(channel pruning, arXiv 1707.06168), so that the student is no stranger to its blocks before it is distilled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from foundry_bench.authoring import (
    FMD,
    OFF_THE_SHELF,
    Bounds,
    Context,
    Encoder,
    Family,
    FoldedPointNet,
    Method,
    Paper,
    PointCloudDataset,
    UserError,
    calibration_patches,
    farthest_point_sample,
    replace,
    take,
    trainable_copy,
)
from foundry_bench.methods.prune_structured import activation, best, pointnet_groups, prune, reader_moments


def thinned(neighborhoods: Tensor, count: int) -> Tensor:
    """``count`` of the K points of each patch (B, T, K, 3): the one farthest from the centre, and then always the one farthest
    from those that were taken, so that the patch keeps its extent. The same ones whatever order the points had."""
    points = neighborhoods.flatten(0, 1)
    first = points.square().sum(dim=-1).argsort(dim=-1, descending=True)
    points = take(points, first)
    return take(points, farthest_point_sample(points, count)).unflatten(0, neighborhoods.shape[:2])


class ThinPointNet(FoldedPointNet):
    """A PointNet with the layers of another that runs on ``count`` points of each patch."""

    def __init__(self, pointnet: FoldedPointNet, count: int) -> None:
        nn.Module.__init__(self)
        for name, layer in pointnet.named_children():
            setattr(self, name, layer)
        self.count = count

    def forward(self, neighborhoods: Tensor) -> Tensor:
        """(B, T, K, 3) -> (B, T, D)."""
        return super().forward(thinned(neighborhoods, min(self.count, neighborhoods.shape[-2])))


def pointnet_in(student: Encoder) -> tuple[str, FoldedPointNet]:
    """The PointNet of ``student`` and its name. Raises UserError where there is none, or another method changed it."""
    part = getattr(student, "tokenizer", None)
    inner = getattr(part, "pointnet", None)
    name, found = ("tokenizer", part) if inner is None else ("tokenizer.pointnet", inner)
    if not isinstance(found, FoldedPointNet):
        raise UserError(f"tokenizer needs a PointNet tokenizer, {type(student).__name__} has none")
    changed = [child for child, layer in found.named_children() if not isinstance(layer, nn.Linear)]
    if changed:
        raise UserError(
            f"tokenizer cannot narrow {name}.{changed[0]}, which another method changed; put it before that one"
        )
    return name, found


@dataclass(frozen=True)
class CheapTokenizer(Method):
    """``width``: share of each of the PointNet's three inner widths that stays; D is the teacher's. ``points``: share of a
    patch's points that it reads. ``samples``: calibration clouds, of training objects.

    It stands in stacks, as ``kd[depth=2]+tokenizer``, and first in those whose others would factor it too.
    """

    name: ClassVar[str] = "tokenizer"
    family: ClassVar[Family] = "prune"
    paper: ClassVar[Paper] = Paper("Channel Pruning for Accelerating Very Deep Neural Networks", "1707.06168")
    abstract: ClassVar[str] = "a narrower tokenizer on some of a patch's points, before all of the blocks"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF, FMD)
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"points": (1.0, 0.5)}
    matched: ClassVar[tuple[dict[str, Any], ...]] = ({"points": 0.5},)

    width: Annotated[float, Bounds(above=0, at_most=1)] = 0.5
    points: Annotated[float, Bounds(above=0, at_most=1)] = 0.5
    samples: Annotated[int, Bounds(at_least=1)] = 64

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        student = trainable_copy(teacher, tokenizer=True)
        name, pointnet = pointnet_in(student)
        if self.points < 1:
            pointnet = ThinPointNet(pointnet, max(1, round(self.points * student.config.group_size)))
            replace(student, name, pointnet)
        every = [group for group in pointnet_groups(pointnet, self.width) if group.kept < group.units]
        if every:
            moments = reader_moments(student, every, calibration_patches(student, data, self.samples))
            for group, moment in zip(every, moments, strict=True):
                prune(group, best(activation(group, moment), group.kept), moment)
        return student
