"""What a method says of itself, and a score of its interval, in a module that imports nothing heavy: variants, family, paper,
units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

OFF_THE_SHELF, FMD, EXPERT = "off-the-shelf", "fmd", "expert"
"""Without training; distilled on unlabelled clouds; trained for one task."""
VARIANTS = (OFF_THE_SHELF, FMD, EXPERT)
BASELINE = "teacher"
"""Name of the method whose row the others are measured against."""

CLUSTERS, EPISODES, FOLDS = "class-and-series clusters", "episodes", "folds"
"""What a score's interval is over, as far as the data set is concerned: objects of one class and series, which are near-twins;
drawings of a few-shot problem; those that a data set prescribes. Only the first are independent of each other."""

Family = Literal["reference", "foundry", "merge", "drop", "pool", "distil", "prune", "factor", "quantise"]
FAMILIES: tuple[Family, ...] = get_args(Family)
"""The families in the order of tables and figures: the uncompressed teacher; learned SuperTokens; tokens merged in pairs,
left out, or pooled; a smaller student imitates; weights left out, factored, or stored in fewer bits."""


@dataclass(frozen=True)
class Paper:
    """Where a method is published: the paper's ``title`` and its number on arXiv, such as ``2210.09461``."""

    title: str
    arxiv: str

    def __str__(self) -> str:
        return f"{self.title} (arXiv {self.arxiv})"
