"""Logit distillation without labels: the student imitates one task's logits of the teacher on the unlabelled set.

It differs from ``kd-expert`` in what it is shown (all unlabelled clouds instead of the task's labelled ones) and in what it is
told (the teacher's softened logits alone, Hinton's loss at alpha = 1), and from ``kd`` in matching a task instead of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from foundry_bench.methods.kd_expert import ExpertKD
from foundry_bench.parameters.types import Bounds
from foundry_bench.variants import Family, Paper


@dataclass(frozen=True)
class LogitKD(ExpertKD):
    """Parameters as in ``kd-expert``; there are no labels for ``alpha`` < 1 to weigh."""

    name: ClassVar[str] = "kd-logit"
    family: ClassVar[Family] = "distil"
    paper: ClassVar[Paper] = Paper("Distilling the Knowledge in a Neural Network", "1503.02531")
    abstract: ClassVar[str] = (
        "the transformer of kd, trained for one task by the teacher's logits on unlabelled clouds"
    )
    labelled: ClassVar[bool] = False

    alpha: Annotated[float, Bounds(at_least=0, at_most=1)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 1:
            raise ValueError(f"kd-logit has no labels, so alpha must be 1, got {self.alpha}; use kd-expert")
