"""Sampling of many models in a pool of processes, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import numpy as np

from foundry_bench.datasets.preparation.mesh import Mesh
from foundry_bench.datasets.preparation.parts import part_labels
from foundry_bench.datasets.preparation.sampling import sample_visible
from foundry_bench.datasets.preparation.selection import Source, rules
from foundry_bench.errors import UserError

#: Called after every model with the number done, the number in all, and the path just done.
Progress = Callable[[int, int, str], None]

#: Models handed to a worker at a time: small, since models differ in size by four orders of magnitude.
_CHUNK = 4


@dataclass(frozen=True)
class Cloud:
    """A sampled object.

    Attributes:
        source: where it is from.
        points: ``(P, 3)`` float32, centred on the mean of the points, unit sphere, z up, random order.
        parts: ``(P,)`` int8 part labels, or None where the source asks for none.
        radius_mm: real radius of the unit sphere, in mm.
        visible_fraction: share of the surface that can be seen from outside.
    """

    source: Source
    points: np.ndarray
    parts: np.ndarray | None
    radius_mm: float
    visible_fraction: float


@dataclass(frozen=True)
class Skipped:
    """A model that could not be sampled, and why."""

    source: Source
    reason: str


def find_sources(
    source: Path, below: Sequence[str], pattern: str, what: str, package: str, note: str = ""
) -> Path:
    """The folder that holds what matches ``pattern``: ``source`` itself or, in an unpacked package, one ``below`` it.

    Raises:
        UserError: there is none; the message says how to get ``package``, with a ``note`` where that is not all.
    """
    for folder in (source, *(source / name for name in below)):
        if next(folder.glob(pattern), None) is not None:
            return folder
    raise UserError(
        f"no {what} ({pattern}) under {source}: "
        f"apt-get download {package} && dpkg -x {package}_*.deb DIR, then give DIR as the source{note}"
    )


def sample_cloud(source: Source, mesh: Mesh, count: int, unit_mm: float) -> Cloud:
    """Samples, labels, centres and scales one mesh; the seed is the CRC-32 of the source's path.

    Args:
        source: identity and, if wanted, the category of the part rules.
        mesh: the model, z up.
        count: number of points.
        unit_mm: length of the mesh's unit in mm.

    Raises:
        SamplingError: the mesh has no area or hardly any visible surface.
    """
    sample = sample_visible(mesh, count, crc32(source.path.encode("utf-8")))
    parts = None
    if source.part_category:
        materials = np.array(mesh.materials)[mesh.face_material[sample.faces]]
        parts = part_labels(rules().part_rules[source.part_category], materials, sample.points[:, 2])
    centred = sample.points - sample.points.mean(axis=0)
    radius = float(np.sqrt((centred**2).sum(axis=1).max()))
    points = (centred / radius).astype(np.float32)
    return Cloud(source, points, parts, radius * unit_mm, sample.visible_fraction)


def run_pool(
    work: Callable[[Source], Cloud | Skipped], sources: Sequence[Source], jobs: int, progress: Progress | None
) -> tuple[list[Cloud], list[Skipped]]:
    """Applies ``work`` to every source, in ``jobs`` processes, and keeps the order of the sources.

    Args:
        work: picklable function of one source.
        sources: what to sample.
        jobs: number of processes; 1 works in this one.
        progress: see ``Progress``.

    Returns:
        The clouds, and the models that were skipped.
    """
    clouds: list[Cloud] = []
    skipped: list[Skipped] = []
    for done, result in enumerate(_results(work, sources, jobs), start=1):
        if isinstance(result, Cloud):
            clouds.append(result)
        else:
            skipped.append(result)
        if progress is not None:
            progress(done, len(sources), result.source.path)
    return clouds, skipped


def _results(
    work: Callable[[Source], Cloud | Skipped], sources: Iterable[Source], jobs: int
) -> Iterator[Cloud | Skipped]:
    if jobs <= 1:
        yield from map(work, sources)
        return
    # A fresh interpreter per worker: forking a process that runs threads (a progress bar, numba, torch) can
    # hang.
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, sources, chunksize=_CHUNK)
