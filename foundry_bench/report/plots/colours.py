"""Colours of families, for figures and for the page."""

from __future__ import annotations

from foundry_bench.variants import Family

Colour = tuple[float, float, float]
FAMILY_COLOURS: dict[Family, str] = {
    "reference": "#262626",
    "foundry": "#d55e00",
    "merge": "#0072b2",
    "drop": "#009e73",
    "pool": "#56b4e9",
    "distil": "#cc79a7",
    "prune": "#e69f00",
    "factor": "#f0e442",
    "quantise": "#882255",
}
"""Okabe and Ito's colours, which colour-blind readers tell apart, their black a little lighter, and the wine of Paul Tol's."""
UNKNOWN_COLOUR = "#b3b3b3"
"""Of a method that does not say its family, or whose plugin is not installed."""


def family_colour(family: Family | None) -> Colour:
    """Red, green and blue in [0, 1]."""
    text = UNKNOWN_COLOUR if family is None else FAMILY_COLOURS[family]
    red, green, blue = (int(text[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def darker(colour: Colour) -> Colour:
    """The colour of text, which needs more contrast than a marker."""
    red, green, blue = (0.6 * channel for channel in colour)
    return red, green, blue
