"""Pictures of what a student does to a cloud: its tokens, groups, gate, errors and attention."""

from foundry_bench.figures.student import FIGURES, visualize

__all__ = ["FIGURES", "visualize"]
