"""The layout of a data-set folder, shared by the writer and the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

SCHEMA_VERSION = 1

#: What the name of a split is preceded by in the head of ``index.csv``.
SPLIT_PREFIX = "split_"

_WHAT = ("path", "file", "class", "series")
_ABOUT = ("part_category", "radius_mm", "visible_fraction", "licence", "creator", "title", "link")


def index_columns(splits: Sequence[str]) -> tuple[str, ...]:
    """Columns of ``index.csv``: one row an object, in the order of the clouds in the point files."""
    return (*_WHAT, *(SPLIT_PREFIX + name for name in splits), *_ABOUT)


def data_hash(sha256_by_file: Mapping[str, str]) -> str:
    """SHA-256 of the data files together: the hash over ``name sha256`` lines in the order of the names."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(sha256_by_file.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()
