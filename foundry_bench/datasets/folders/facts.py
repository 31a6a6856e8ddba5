"""What reading every file of a folder once tells: that it can be used, how large it is, and the parts that it labels.

It is remembered in the cache until a file changes.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from foundry_bench.datasets.cloud_files import column_names, finite_rows, read_cloud
from foundry_bench.datasets.folders.options import IGNORED, MIN_POINTS
from foundry_bench.datasets.folders.parts import checked_labels, column_of, read_labels
from foundry_bench.datasets.lazy import Progress, centred, unit_sphere
from foundry_bench.datasets.listing import Listing
from foundry_bench.datasets.official.cache import cache_root
from foundry_bench.datasets.one_file import FileError, one_file, shown
from foundry_bench.errors import UserError
from foundry_bench.storage import read_sealed, sealed, write_atomic

_FORM = 1
"""Part of the names of what is remembered: raise it with the fields of :class:`Facts`."""


@dataclass(frozen=True)
class Facts:
    """One file.

    Attributes:
        rows: points of the file, ``missing`` of which have no coordinates.
        radius: distance from the mean to the farthest point, in the units of the file.
        column: the column with its labels per point, or an empty text.
        highest: the highest of its labels, -1 where it has none.
    """

    rows: int
    missing: int
    radius: float
    column: str
    highest: int


def check_once(
    root: Path, listing: Listing, asked: str | None, content: str, progress: Progress
) -> list[Facts]:
    """Facts of all clouds of a folder whose files have the hash ``content``; ``asked`` is the option ``parts``.

    Raises UserError for files that cannot be used; the first one is named, and how many there are.
    """
    mark = cache_root() / f"checked-{_FORM}-{content}.json"
    files = listing.clouds
    if (known := _remembered(mark, len(files))) is not None:
        return known
    found: list[Facts] = []
    bad: list[str] = []
    for done, file in enumerate(files, 1):
        try:
            found.append(_facts(root, file, listing.labels.get(file), asked))
        except FileError as error:
            bad.append(f"{shown(root / file)} {error}")
        progress("checking clouds", done, len(files))
    if bad:
        raise UserError(f"{bad[0]}; {len(bad)} of {len(files)} files cannot be used: repair or remove them")
    if asked not in (None, IGNORED) and not listing.labels and not any(each.column for each in found):
        names = ", ".join(map(shown, column_names(root / files[0])[:12]))
        raise UserError(
            f"no cloud of {shown(root)} has the column {shown(str(asked)[:40])!r}; {shown(files[0])} has {names or 'none'}"
        )
    with contextlib.suppress(OSError):  # without a cache the files are checked again next time
        write_atomic(mark, sealed([list(astuple(each)) for each in found]), durable=False)
    return found


def _remembered(mark: Path, count: int) -> list[Facts] | None:
    try:
        found = [Facts(*values) for values in read_sealed(mark)]
    except (OSError, ValueError, TypeError):
        return None
    return found if len(found) == count else None


def _facts(root: Path, file: str, beside: str | None, asked: str | None) -> Facts:
    """Raises FileError for a file that cannot be used."""
    path = root / file
    with one_file():
        if not _is_text(str(path)):
            raise FileError("has a name that is not UTF-8: rename it")
        cloud = read_cloud(path)
        if len(cloud) < MIN_POINTS:
            raise FileError(f"has {len(cloud)} points, at least {MIN_POINTS} are needed")
        whole = finite_rows(cloud)
        if len(whole) < MIN_POINTS:
            raise FileError(f"has {len(whole)} points with coordinates, at least {MIN_POINTS} are needed")
        unit_sphere(whole)
        with np.errstate(over="ignore"):
            radius = min(centred(whole)[1], sys.float_info.max)
        column, highest = "", -1
        source = beside or column_of(path, asked) or ""
        if source:
            column = "" if beside else source
            use = np.isfinite(cloud).all(axis=1)
            labels = read_labels(root, file, source, beside=beside is not None)
            highest = int(checked_labels(labels, len(cloud), use)[use].max())
        return Facts(len(cloud), len(cloud) - len(whole), radius, column, highest)


def _is_text(name: str) -> bool:
    """Whether a path can be written as UTF-8; what the system could not decode is kept as half a character."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def too_large(root: Path, files: Sequence[str], facts: Sequence[Facts], scale: float) -> UserError | None:
    """The error for clouds that do not fit into the radius ``scale``; None where all do."""
    radii = np.array([each.radius for each in facts])
    if not (radii > scale).any():
        return None
    row = int(radii.argmax())
    return UserError(
        f"{shown(root / files[row])} has a radius of {radii[row]:.6g}, more than scale={scale:g}, as "
        f"{int((radii > scale).sum()):,} of {len(files):,} clouds have: write scale={_above(radii[row])}"
    )


def _above(radius: float) -> str:
    """A short number that is not below ``radius``."""
    step = 10.0 ** (math.floor(math.log10(radius)) - 2)
    return f"{math.ceil(radius / step) * step:.6g}"
