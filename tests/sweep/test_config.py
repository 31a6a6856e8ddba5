"""A sweep's numbers are held to their kind before anything is planned."""

from __future__ import annotations

from typing import Any

import pytest

from foundry_bench.errors import UserError
from foundry_bench.sweep.config import SweepConfig


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("seeds", 1.5, "a whole number"),
        ("seeds", True, "a whole number"),
        ("jobs", "two", "a whole number"),
        ("threads", 0, "a whole number"),
        ("memory", False, "a number"),
        ("timeout", -1, "a number"),
    ],
)
def test_a_wrong_number_is_named_with_its_kind(key: str, value: Any, kind: str) -> None:
    with pytest.raises(UserError, match=f"{key} must be {kind} of at least .*, got {value!r}"):
        SweepConfig.from_plain({key: value})


def test_memory_and_time_need_not_be_whole() -> None:
    config = SweepConfig.from_plain({"memory": 0.5, "timeout": 1})
    assert (config.memory, config.timeout) == (0.5, 1)
