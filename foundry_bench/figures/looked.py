"""What a student and its teacher make of real clouds, and which of the clouds are shown: the best, the median and the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.heads.features import turned
from foundry_bench.points.patches import Patches

MOST = 256
"""Clouds that are looked at; of a larger data set so many, evenly spaced."""
BATCH = 32


@dataclass(frozen=True)
class Looked:
    """Clouds with the tokens that teacher and student give them.

    ``names`` and ``labels`` (n,), ``clouds`` (n, P, 3), ``patches`` of n clouds, ``teacher`` and ``student`` (n, T, D), and the
    student's ``aux`` by cloud. ``centers`` (n, T, 3) are the patches'.
    """

    names: list[str]
    labels: list[str]
    clouds: Tensor
    patches: Patches
    teacher: Tensor
    student: Tensor
    aux: dict[str, Tensor]

    @property
    def centers(self) -> Tensor:
        """Centres (n, T, 3) of the patches."""
        return self.patches.centers

    @property
    def variance(self) -> float:
        """Mean squared distance of the teacher's tokens from their mean over all clouds."""
        tokens = self.teacher.flatten(0, 1)
        return float((tokens - tokens.mean(dim=0)).square().sum(dim=-1).mean())

    @property
    def errors(self) -> Tensor:
        """Squared error (n, T) of every token, as a share of :attr:`variance`; their mean over a cloud is 1 - its R2."""
        return (self.student - self.teacher).square().sum(dim=-1) / self.variance

    @property
    def r2(self) -> np.ndarray:
        """R2 of every cloud's tokens, (n,), about the mean of all clouds."""
        return 1 - self.errors.mean(dim=1).numpy()


def look(student: Encoder, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Looked:
    """Run both on at most :data:`MOST` clouds of ``data``, turned as tasks turn them.

    Raises UserError for a student and a teacher that cut a cloud into patches differently or differ in the width of tokens.
    """
    ours, theirs = student.config, teacher.config
    if (ours.groups, ours.group_size, ours.dim) != (theirs.groups, theirs.group_size, theirs.dim):
        raise UserError(
            f"the student gives {ours.groups} tokens of {ours.dim} channels, the teacher {theirs.groups} of {theirs.dim}; "
            "give the teacher that it was made from"
        )
    picks = np.unique(np.linspace(0, len(data.points) - 1, min(MOST, len(data.points))).round().astype(int))
    paths = np.asarray(data.paths)[picks]
    clouds = torch.from_numpy(turned(data.points[picks, : theirs.points], paths))
    student.to(ctx.device).eval(), teacher.to(ctx.device).eval()
    found: list[tuple[Patches, Tensor, Tensor, dict[str, Tensor]]] = []
    with torch.inference_mode():
        for part in clouds.split(BATCH):
            patches = teacher.tokenize(part.to(ctx.device))
            tokens = student(patches)
            aux = {name: value.float().cpu() for name, value in tokens.aux.items()}
            found.append((patches.to("cpu"), teacher(patches).features.cpu(), tokens.features.cpu(), aux))
            ctx.progress("looking at clouds", sum(len(p) for p, *_ in found), len(clouds))
    parts, targets, outputs, extras = zip(*found, strict=True)
    patches = Patches(torch.cat([p.neighborhoods for p in parts]), torch.cat([p.centers for p in parts]))
    kept = {
        name: values for name in extras[0] if (values := _joined([aux[name] for aux in extras])) is not None
    }
    labels = [data.classes[label] if label >= 0 else "" for label in np.asarray(data.labels)[picks]]
    names = [str(path) for path in paths]
    return Looked(names, labels, clouds, patches, torch.cat(targets), torch.cat(outputs), kept)


def _joined(values: list[Tensor]) -> Tensor | None:
    """The values of all batches, None where they are not of one size for each cloud."""
    sizes = {tuple(value.shape[1:]) for value in values}
    return torch.cat(values) if len(sizes) == 1 else None


def chosen(r2: np.ndarray, count: int) -> list[int]:
    """``count`` clouds by their R2, from the best to the worst at even steps: of three the best, the median and the worst."""
    order = np.argsort(-r2, kind="stable")
    steps = np.linspace(0, len(order) - 1, count) if count > 1 else np.array([(len(order) - 1) / 2])
    return [int(order[place]) for place in np.unique(steps.round().astype(int))]
