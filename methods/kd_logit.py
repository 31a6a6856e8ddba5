"""Logit distillation without labels: the student imitates one task's logits of the teacher on the unlabelled set.

It differs from ``kd-expert`` in what it is shown (all unlabelled clouds instead of the task's labelled ones) and in what it is
told (the teacher's softened logits alone, Hinton's loss at alpha = 1), and from ``kd`` in matching a task instead of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from foundry_bench.authoring import Bounds, Family, Paper
from foundry_bench.methods.kd_expert import ExpertKD


@dataclass(frozen=True)
class LogitKD(ExpertKD):
    """Parameters as in ``kd-expert``, which is the one to use for ``alpha`` < 1: there are no labels here for it to weigh."""

    name: ClassVar[str] = "kd-logit"
    family: ClassVar[Family] = "distil"
    paper: ClassVar[Paper] = Paper("Distilling the Knowledge in a Neural Network", "1503.02531")
    abstract: ClassVar[str] = (
        "the transformer of kd, trained for one task by the teacher's logits on unlabelled clouds"
    )
    labelled: ClassVar[bool] = False

    alpha: Annotated[float, Bounds(at_least=1, at_most=1)] = 1.0
