"""Every kind of hostile input is tried in CI, in three minutes; all cases of the kinds with many are tried on request."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

ALL = 8
"""Cases of one test that are always tried; of more, every third one."""
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark two of three cases of the tests with many cases as slow: ``pytest -m '' tests/hostile`` tries them all."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.path.parent == HERE:
            cases[item.nodeid.partition("[")[0]].append(item)
    for several in cases.values():
        for number, item in enumerate(several):
            if len(several) > ALL and number % 3 != 0:
                item.add_marker(pytest.mark.slow)
