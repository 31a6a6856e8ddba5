"""What a runtime has made of a teacher, kept for the students that are timed beside it: one export for a sweep, not one a cell.

It is found by its content: the runtime and its code, the teacher's classes, sizes and weights, the code and packages that
export it. What cannot be kept, on a full disk, or read again is made anew.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench import exports, students, teachers
from foundry_bench.exports.card import versions
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.teachers.tensors import content_hash
from foundry_bench.teachers.transformer import PointTransformer

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder
    from foundry_bench.points.patches import Patches

FOLDER = "runtimes"
CODE = (exports, students, teachers)
"""The packages whose source decides what an exported teacher is."""


def prepare(
    runtime: Runtime, encoder: Encoder, example: Patches, folder: Path, threads: int, cache: Path | None
) -> Forward:
    """As :meth:`~foundry_bench.runtimes.base.Runtime.prepare`, from what is kept in ``cache`` where it is there.

    Kept are teachers alone, whose weights and sizes say all of them, and in runtimes that load a prepared folder again.
    """
    again = type(runtime).again is not Runtime.again
    if cache is None or not again or type(encoder) is not PointTransformer:
        return runtime.prepare(encoder, example, folder, threads)
    place = cache / FOLDER / _key(runtime, encoder, example, threads)
    if place.is_dir():
        try:
            shutil.copytree(place, folder, dirs_exist_ok=True)
            return runtime.again(encoder, example, folder, threads)
        except Exception:  # whatever a runtime raises at a damaged file
            shutil.rmtree(place, ignore_errors=True)
            shutil.rmtree(folder)
            folder.mkdir()
    forward = runtime.prepare(encoder, example, folder, threads)
    _keep(folder, place)
    return forward


def _key(runtime: Runtime, encoder: Encoder, example: Patches, threads: int) -> str:
    files = [Path(inspect.getfile(type(runtime)))]
    files += [file for package in CODE for file in sorted(Path(str(package.__file__)).parent.glob("*.py"))]
    code = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    shape = tuple(example.neighborhoods.shape)
    about = (runtime.name, runtime.version(), code, versions(), encoder.config, shape, threads)
    return hashlib.sha256(f"{about}{content_hash(encoder)}".encode()).hexdigest()[:24]


def _keep(folder: Path, place: Path) -> None:
    """Copy ``folder`` to ``place``, whole or not at all; another process may have done so meanwhile."""
    temporary = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        os.replace(temporary, place)
    except OSError:  # it is made again by the next student
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
