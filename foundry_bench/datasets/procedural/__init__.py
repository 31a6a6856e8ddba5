"""Shapes made from a seed and a number: random solids, how they are put together, and points on their surfaces."""
