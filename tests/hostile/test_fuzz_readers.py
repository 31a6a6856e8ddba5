"""Whatever bytes a point file holds, it is read or refused as one file: whole files with changed bytes, and made-up tables.

``pytest -m slow tests/hostile/test_fuzz_readers.py``; FOUNDRY_FUZZ_SECONDS says for how long each format is tried.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "datasets"))
from test_real_files import WRITERS

from foundry_bench.datasets.cloud_files import READERS, finite_rows, read_cloud
from foundry_bench.datasets.one_file import FileError

SECONDS = float(os.environ.get("FOUNDRY_FUZZ_SECONDS", "60"))
EXAMPLES = 200
"""Tried between two looks at the clock."""
# The folder is the same for all examples, and each writes its own file over the last one.
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = st.sampled_from([0, 1, 2, 127, 128, 255])
CHANGES = st.lists(st.tuples(st.floats(0, 1), NUMBERS, st.integers(1, 8)), min_size=1, max_size=6)
CELLS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(["", "x", "y", "z", "nan", "#", "//", '"', "1,5"]),
)


def holds(path: Path, content: bytes) -> None:
    """Assert that a file is points (n, 3), or is refused in one line that can be printed."""
    path.write_bytes(content)
    refused = ""
    try:
        cloud = finite_rows(read_cloud(path))
    except FileError as error:
        refused = str(error)
    assert refused.isprintable()
    assert refused or (cloud.shape[1:] == (3,) and np.isfinite(cloud).all())


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_changed_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    until = time.monotonic() + SECONDS

    @SETTINGS
    @given(changes=CHANGES, keep=st.floats(0.3, 2), near=st.booleans())
    def tried(changes: list[tuple[float, int, int]], keep: float, near: bool) -> None:
        content = bytearray(whole)
        for place, value, length in changes:
            # Headers are where sizes are, so every second example is changed there only.
            start = int(place * (min(len(content), 400) if near else len(content) - 1))
            content[start : start + length] = bytes([value]) * length
        holds(tmp_path / name, bytes(content[: int(keep * len(content))]))

    while time.monotonic() < until:
        tried()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [name for name in READERS if name in (".xyz", ".csv", ".pts")])
def test_tables_of_anything_are_read_or_refused(ending: str, tmp_path: Path) -> None:
    until = time.monotonic() + SECONDS

    @SETTINGS
    @given(
        rows=st.lists(st.lists(CELLS, max_size=6), max_size=12),
        separator=st.sampled_from([" ", ",", ";", "\t", "  "]),
        end=st.sampled_from(["\n", "\r\n", "\r"]),
    )
    def tried(rows: list[list[str]], separator: str, end: str) -> None:
        holds(tmp_path / f"a{ending}", end.join(separator.join(row) for row in rows).encode())

    while time.monotonic() < until:
        tried()
