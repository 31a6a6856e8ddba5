"""What a distillation may spend: named budgets in steps and samples."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundry_bench.errors import unknown

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset

REHEARSAL = "rehearsal"
"""Name of the budget that a sweep is rehearsed with: two steps on a few clouds, so that errors show before hours are spent."""


@dataclass(frozen=True)
class Budget:
    """What one distillation may spend, counted in training steps and samples. ``views``: augmented views cached per
    object; ``curve``: how many points the held-out curve has; ``clouds``: read no more than so many, 0 for all."""

    name: str
    steps: int
    batch_size: int
    views: int
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    curve: int = 4
    clouds: int = 0


BUDGETS = {
    "quick": Budget("quick", steps=200, batch_size=64, views=4),
    "standard": Budget("standard", steps=1200, batch_size=128, views=8, curve=6),
    "paper": Budget("paper", steps=0, batch_size=512, views=16, lr=1e-3, warmup=0.2, curve=15),
}
"""By the names that people give. ``paper``: 150 epochs (Foundry) with Point-JEPA's published optimiser settings; its steps
follow from the data's size."""
PAPER_EPOCHS = 150
REHEARSED = Budget(REHEARSAL, steps=2, batch_size=4, views=1, curve=1, clouds=48)
"""What a rehearsal spends; nobody asks for it by its name."""


def get_budget(name: str) -> Budget:
    """A named budget, or a part of one: ``quick/9`` has a ninth of its steps. Raises UserError for an unknown name."""
    whole, part = _parted(name) if isinstance(name, str) else ("", 1)
    if whole not in BUDGETS:
        raise unknown("budget", str(name), BUDGETS)
    found = BUDGETS[whole]
    return found if part == 1 else replace(found, name=name, steps=math.ceil(found.steps / part), curve=1)


def budget_of(budget: Budget | str) -> Budget:
    """A budget, or the one that a context names, which in a rehearsal nobody can ask for."""
    if isinstance(budget, Budget):
        return budget
    return REHEARSED if budget == REHEARSAL else get_budget(budget)


def _parted(name: str) -> tuple[str, int]:
    """``quick`` and 9 of ``quick/9``, the name itself and 1 of any other."""
    found = re.fullmatch(r"([a-z]+)/([1-9]\d{0,3})", name)
    return (name, 1) if found is None or found[2] == "1" else (found[1], int(found[2]))


def resolve(budget: Budget, data: PointCloudDataset) -> Budget:
    """``budget`` with its steps; the paper's follow from the size of ``data``."""
    if budget.steps > 0:
        return budget
    steps = PAPER_EPOCHS * len(data.points) / budget.batch_size / _parted(budget.name)[1]
    return replace(budget, steps=max(1, round(steps)))


def halved(budget: Budget) -> Budget:
    """Half the steps of ``budget``, one that is resolved: what each of the two trainings of a stack may spend."""
    return replace(budget, steps=max(1, budget.steps // 2))
