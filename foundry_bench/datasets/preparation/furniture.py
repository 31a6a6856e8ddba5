"""Preparation of the furniture point clouds from Debian's ``sweethome3d-furniture``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from foundry_bench.datasets.preparation.obj import CatalogueEntry, ObjError, parse_obj, place, read_catalogue
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

PACKAGE = "sweethome3d-furniture"
#: Unit of the catalogue sizes: cm.
UNIT_MM = 10.0


def find_furniture_libraries(source: Path) -> Path:
    """The folder that holds the ``*.sh3f`` archives: ``source`` or, in an unpacked package, below it.

    Raises:
        UserError: there is none.
    """
    below = ("usr/share/sweethome3d/furniture", "furniture")
    return find_sources(source, below, "*.sh3f", "furniture libraries", PACKAGE)


def sample_furniture(
    source: Path, sources: Sequence[Source], points: int, jobs: int, progress: Progress | None
) -> tuple[list[Cloud], list[Skipped]]:
    """Samples furniture models; one that is missing or has no faces is skipped and reported.

    Args:
        source: see :func:`find_furniture_libraries`.
        sources: which models; the first component of a path names the archive.
        points: number of points a cloud.
        jobs: number of processes.
        progress: called after every model.
    """
    root = find_furniture_libraries(source)
    return run_pool(partial(_sample_model, root, points), sources, jobs, progress)


def _sample_model(root: Path, points: int, source: Source) -> Cloud | Skipped:
    library, model = source.path.split("/", 1)
    try:
        archive, catalogue = _open_library(root / f"{library}.sh3f")
        mesh = place(parse_obj(archive.read(model).decode("latin-1")), catalogue[model])
        return sample_cloud(source, mesh, points, UNIT_MM)
    except OSError as error:
        return Skipped(source, error.strerror or type(error).__name__)
    except KeyError:
        return Skipped(source, "not in the archive or its catalogue")
    except (BadZipFile, ObjError, SamplingError) as error:
        return Skipped(source, str(error))


@cache
def _open_library(path: Path) -> tuple[ZipFile, dict[str, CatalogueEntry]]:
    """An archive and its catalogue, opened once per process."""
    archive = ZipFile(path)
    return archive, read_catalogue(archive)
