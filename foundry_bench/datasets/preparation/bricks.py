"""Preparation of the bricks from Debian's ``ldraw-parts-free``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from foundry_bench.datasets.preparation.ldraw import UNIT_MM, LdrawError, Library
from foundry_bench.datasets.preparation.pipeline import (
    Cloud,
    Progress,
    Skipped,
    find_sources,
    run_pool,
    sample_cloud,
)
from foundry_bench.datasets.preparation.sampling import SamplingError
from foundry_bench.datasets.preparation.selection import Source

PACKAGE = "ldraw-parts-free"
_NOTE = "; the package is in Debian 13: docs/data.md says how to fetch it on another system"


def find_ldraw_library(source: Path) -> Path:
    """The folder that holds ``parts`` and ``p``: ``source`` or, in an unpacked package, below it.

    Raises:
        UserError: there is none.
    """
    return find_sources(source, ("usr/share/ldraw", "ldraw"), "parts/*.dat", "LDraw parts", PACKAGE, _NOTE)


def sample_bricks(
    source: Path, sources: Sequence[Source], points: int, jobs: int, progress: Progress | None
) -> tuple[list[Cloud], list[Skipped]]:
    """Samples LDraw parts; one that is missing, or whose files do not parse, is skipped and reported.

    Args:
        source: see :func:`find_ldraw_library`.
        sources: which parts; a path is the name of a file in ``parts``.
        points: number of points a cloud.
        jobs: number of processes.
        progress: called after every part.
    """
    root = find_ldraw_library(source)
    return run_pool(partial(_sample_part, root, points), sources, jobs, progress)


def _sample_part(root: Path, points: int, source: Source) -> Cloud | Skipped:
    try:
        return sample_cloud(source, _open_library(root).read(source.path), points, UNIT_MM)
    except OSError as error:
        return Skipped(source, error.strerror or type(error).__name__)
    except (LdrawError, SamplingError) as error:
        return Skipped(source, str(error))


@cache
def _open_library(root: Path) -> Library:
    """A library, looked through once per process."""
    return Library(root)
