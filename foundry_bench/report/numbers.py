"""Numbers as a reader sees them: so many figures, and never an exponent."""

from __future__ import annotations

import math

MANY = 10
"""A change to as many times as much, or to that part of it, is told as a factor."""


def figures(number: float, digits: int = 3) -> str:
    """``number`` with so many figures, whole from its size on, as ``12,346`` and ``0.0012``; ``nan`` as such."""
    if not math.isfinite(number) or not number:
        return f"{number:g}"
    places = max(digits - 1 - math.floor(math.log10(abs(number))), 0)
    text = f"{number:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(before: float, after: float) -> str:
    """From ``before``, which is not 0, to ``after``: ``+12.3 %``, or ``15.4 times as much`` from :data:`MANY` times on."""
    ratio = after / before
    if ratio >= MANY:
        return f"{figures(ratio)} times as much"
    if 0 < ratio <= 1 / MANY:
        return f"1/{figures(1 / ratio)} of it"
    return f"{'+' if ratio >= 1 else ''}{figures(100 * (ratio - 1))} %"
