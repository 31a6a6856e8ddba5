"""The data sets, from the unpacked packages to a folder each."""

from __future__ import annotations

from pathlib import Path

from foundry_bench.datasets.preparation import brick_selection, bricks, furniture, kicad, selection
from foundry_bench.datasets.preparation.credits import (
    bricks_texts,
    furniture_texts,
    kicad_texts,
    pretrain_texts,
)
from foundry_bench.datasets.preparation.pipeline import Cloud, Progress
from foundry_bench.datasets.preparation.writer import Description, PointFile, write_dataset
from foundry_bench.errors import UserError

VERSION = "1"
KICAD_PACKAGE = f"{kicad.PACKAGE} 6.0.10"
FURNITURE_PACKAGE = f"{furniture.PACKAGE} 1.8"
BRICKS_PACKAGE = f"{bricks.PACKAGE} 2502+dfsg-2"
FURNITURE_LICENCE = "CC-BY-3.0 AND CC-BY-3.0-US AND CC0-1.0"


def prepare_kicad(
    source: Path, out: Path, *, points: int = 2048, jobs: int = 2, progress: Progress | None = None
) -> Path:
    """Prepares ``kicad``: 26 classes in three series-wise splits, part labels in 17 categories.

    Args:
        source: unpacked ``kicad-packages3d`` (the root of ``dpkg -x`` or the folder of the models).
        out: folder to write.
        points: points an object.
        jobs: number of processes; the result does not depend on it.
        progress: called after every model.

    Returns:
        ``out``.

    Raises:
        UserError: the source holds no KiCad models.
    """
    wanted = selection.kicad_sources()
    clouds, skipped = kicad.sample_kicad(source, wanted, points, jobs, progress)
    _require(clouds, source)
    known = selection.rules()
    part_names = {name: known.part_rules[name].parts for name in known.kicad_part_categories}
    novel = tuple(name for name in known.kicad_novel_classes if name in known.kicad_classes)
    description = Description(
        "kicad", VERSION, known.kicad_classes, novel, part_names, _command("kicad", points)
    )
    files = [PointFile("points.npz", clouds, selection.KICAD_LICENCE, KICAD_PACKAGE)]
    return write_dataset(out, description, files, skipped, kicad_texts(clouds))


def prepare_furniture(
    source: Path, out: Path, *, points: int = 2048, jobs: int = 2, progress: Progress | None = None
) -> Path:
    """Prepares ``furniture``, the seven few-shot classes; arguments as for :func:`prepare_kicad`."""
    clouds, skipped = furniture.sample_furniture(
        source, selection.furniture_sources(), points, jobs, progress
    )
    _require(clouds, source)
    classes = selection.rules().furniture_classes
    description = Description("furniture", VERSION, classes, (), {}, _command("furniture", points))
    files = [PointFile("points.npz", clouds, FURNITURE_LICENCE, FURNITURE_PACKAGE)]
    return write_dataset(out, description, files, skipped, furniture_texts(clouds))


def prepare_pretrain(
    source: Path, out: Path, *, points: int = 2048, jobs: int = 2, progress: Progress | None = None
) -> Path:
    """Prepares ``pretrain``: unlabelled objects of both packages, none of a novel class or a test series.

    The two packages stay in two files (``kicad.npz``, ``furniture.npz``), since the licence of the first is
    share-alike; see :func:`prepare_kicad` for the arguments. ``source`` must hold both packages.
    """
    kicad_wanted = selection.kicad_pretrain_sources()
    furniture_wanted = selection.furniture_pretrain_sources()
    kicad.find_kicad_models(source)
    furniture.find_furniture_libraries(source)
    total = len(kicad_wanted) + len(furniture_wanted)
    first = _part_of(progress, 0, total)
    second = _part_of(progress, len(kicad_wanted), total)
    kicad_clouds, kicad_skipped = kicad.sample_kicad(source, kicad_wanted, points, jobs, first)
    furniture_clouds, furniture_skipped = furniture.sample_furniture(
        source, furniture_wanted, points, jobs, second
    )
    _require(kicad_clouds, source)
    _require(furniture_clouds, source)
    novel = selection.rules().kicad_novel_classes
    description = Description("pretrain", VERSION, (), novel, {}, _command("pretrain", points))
    files = [
        PointFile("kicad.npz", kicad_clouds, selection.KICAD_LICENCE, KICAD_PACKAGE),
        PointFile("furniture.npz", furniture_clouds, FURNITURE_LICENCE, FURNITURE_PACKAGE),
    ]
    texts = pretrain_texts(kicad_clouds, furniture_clouds)
    return write_dataset(out, description, files, [*kicad_skipped, *furniture_skipped], texts)


def prepare_bricks(
    source: Path, out: Path, *, points: int = 2048, jobs: int = 2, progress: Progress | None = None
) -> Path:
    """Prepares ``bricks``: 31 classes in three series-wise folds, functional parts; arguments as for :func:`prepare_kicad`.

    Every class is novel: none of their objects is in any unlabelled set.
    """
    known = selection.rules()
    classes = brick_selection.brick_classes()
    part_names = {name: known.part_rules[name].parts for name in known.brick_part_categories}
    folds = brick_selection.FOLDS
    about = Description("bricks", VERSION, classes, classes, part_names, _command("bricks", points), folds)
    return _write_bricks(source, out, about, brick_selection.brick_sources(), points, jobs, progress)


def prepare_bricks_unlabelled(
    source: Path, out: Path, *, points: int = 2048, jobs: int = 2, progress: Progress | None = None
) -> Path:
    """Prepares ``bricks-unlabelled``: what is neither of a class of ``bricks`` nor a twin; see :func:`prepare_kicad`."""
    name = "bricks-unlabelled"
    about = Description(name, VERSION, (), brick_selection.brick_classes(), {}, _command(name, points), ())
    sources = brick_selection.unlabelled_brick_sources()
    return _write_bricks(source, out, about, sources, points, jobs, progress)


def _write_bricks(
    source: Path,
    out: Path,
    description: Description,
    sources: list[selection.Source],
    points: int,
    jobs: int,
    progress: Progress | None,
) -> Path:
    clouds, skipped = bricks.sample_bricks(source, sources, points, jobs, progress)
    _require(clouds, source, BRICKS_PACKAGE)
    files = [PointFile("points.npz", clouds, brick_selection.LICENCE, BRICKS_PACKAGE)]
    return write_dataset(out, description, files, skipped, bricks_texts(clouds))


def _part_of(progress: Progress | None, done_before: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, path: progress(done_before + done, total, path)


def _require(
    clouds: list[Cloud], source: Path, packages: str = f"{KICAD_PACKAGE} and {FURNITURE_PACKAGE}"
) -> None:
    if not clouds:
        raise UserError(
            f"none of the listed models could be read under {source}: unpack {packages} there (dpkg -x)"
        )


def _command(name: str, points: int) -> str:
    return f"foundry-bench data prepare {name} --source DIR --points {points}"
