"""Numbers are written for people: no exponents, and large changes as a factor."""

from __future__ import annotations

import pytest

from foundry_bench.report.numbers import change, figures


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (12345.6, 3, "12,346"),
        (12345.6, 5, "12,346"),
        (999.96, 3, "1,000"),
        (0.00123, 3, "0.00123"),
        (-3.14159, 3, "-3.14"),
        (0.5, 3, "0.5"),
        (0, 3, "0"),
        (1e-9, 3, "0.000000001"),
        (1e6, 4, "1,000,000"),
        (float("nan"), 3, "nan"),
    ],
)
def test_a_number_has_so_many_figures(number: float, digits: int, text: str) -> None:
    assert figures(number, digits) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (1, 1.123, "+12.3 %"),
        (10, 9, "-10 %"),
        (1, 3.5, "+250 %"),
        (1, 15.4, "15.4 times as much"),
        (2000, 20, "1/100 of it"),
        (1, 0, "-100 %"),
        (1, 1, "+0 %"),
    ],
)
def test_a_change_is_told_in_percent_or_as_a_factor(before: float, after: float, text: str) -> None:
    assert change(before, after) == text
