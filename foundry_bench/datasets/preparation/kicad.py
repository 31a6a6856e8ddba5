"""Preparation of the KiCad point clouds from Debian's ``kicad-packages3d``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from foundry_bench.datasets.preparation.pipeline import (
    Cloud,
    Progress,
    Skipped,
    find_sources,
    run_pool,
    sample_cloud,
)
from foundry_bench.datasets.preparation.sampling import SamplingError
from foundry_bench.datasets.preparation.selection import Source, rules
from foundry_bench.datasets.preparation.vrml import VrmlError, copyright_holder, read_vrml

PACKAGE = "kicad-packages3d"
#: Unit of a KiCad VRML file: 0.1 inch.
UNIT_MM = 2.54
#: Author of the files that name none (Debian's copyright file: "Files: *").
DEFAULT_CREATOR = "KiCad Community"


def find_kicad_models(source: Path) -> Path:
    """The folder that holds the ``*.3dshapes`` folders: ``source`` or, in an unpacked package, below it.

    Raises:
        UserError: there is none.
    """
    below = ("usr/share/kicad/3dmodels", "3dmodels")
    return find_sources(source, below, "*.3dshapes", "KiCad models", PACKAGE)


def sample_kicad(
    source: Path, sources: Sequence[Source], points: int, jobs: int, progress: Progress | None
) -> tuple[list[Cloud], list[Skipped]]:
    """Samples KiCad models; a file that is missing or does not parse is skipped and reported.

    Args:
        source: see :func:`find_kicad_models`.
        sources: which files.
        points: number of points a cloud.
        jobs: number of processes.
        progress: called after every model.
    """
    root = find_kicad_models(source)
    return run_pool(partial(_sample_file, root, points), sources, jobs, progress)


def _sample_file(root: Path, points: int, source: Source) -> Cloud | Skipped:
    path = root / source.path
    try:
        mesh = read_vrml(path, rules().palette)
        author = copyright_holder(path) or DEFAULT_CREATOR
        return sample_cloud(replace(source, creator=author, title=path.stem), mesh, points, UNIT_MM)
    except OSError as error:
        # Not str(error): it holds the folder, and the record must not depend on where the models lie.
        return Skipped(source, error.strerror or type(error).__name__)
    except (VrmlError, SamplingError) as error:
        return Skipped(source, str(error))
