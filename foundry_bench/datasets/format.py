"""The layout of a data-set folder, shared by the writer and the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SCHEMA_VERSION = 1

#: Columns of ``index.csv``: one row an object, in the order of the clouds in the point files.
INDEX_COLUMNS = (
    "path",
    "file",
    "class",
    "series",
    "split_seed0",
    "split_seed1",
    "split_seed2",
    "part_category",
    "radius_mm",
    "visible_fraction",
    "licence",
    "creator",
    "title",
    "link",
)


def data_hash(sha256_by_file: Mapping[str, str]) -> str:
    """SHA-256 of the data files together: the hash over ``name sha256`` lines in the order of the names."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(sha256_by_file.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()
