"""Reading and writing teachers: a folder with ``model.safetensors`` (half precision) and ``config.json``.

Public checkpoints are read by :mod:`foundry_bench.teachers.checkpoints`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundry_bench import registry
from foundry_bench.beforehand.checks import check_folder, check_path
from foundry_bench.border import StrangerError, expected
from foundry_bench.errors import UserError, no_folder, unknown
from foundry_bench.parameters.query import exists
from foundry_bench.storage import atomic_folder
from foundry_bench.teachers.cards import LARGEST_WEIGHTS, check_file, check_format, of_card, read_card, shown
from foundry_bench.teachers.checkpoints.names import (
    Options,
    TeacherSource,
    join_name,
    split_name,
)

if TYPE_CHECKING:
    from foundry_bench.teachers.transformer import PointTransformer

FORMAT = "foundry-bench teacher 1"
CHUNK = 1 << 20
FIX = "reinstall or pre-train again"
"""What to do about a folder that is damaged."""


def teacher_folder(name_or_path: str | Path) -> Path:
    """The folder of a registered teacher or of a path, or a checkpoint file, whose options after ``?`` are left out.

    Raises UserError for an unknown name or option and for a missing folder or file.
    """
    return _locate(name_or_path)[0]


def _locate(name_or_path: str | Path) -> tuple[Path, Options]:
    check_path(name_or_path, "the teacher")
    name, options = split_name(os.fspath(name_or_path))
    path = Path(name)
    there = exists(path)
    if there and path.is_dir():
        return path, options
    if name in registry.entries("teachers"):
        folder = registry.load("teachers", name)
        with registry.guard("teachers", name, "cannot be found"):
            place = folder()
        what = f"what {registry.called('teachers', name)} gives"
        path = Path(expected(place, (str, Path), what))
        if not exists(path):
            raise StrangerError(f"{what}, {shown(path)}, does not exist; reinstall or uninstall it")
        return path, options
    if there:
        return path, options
    wanted = "give a folder with model.safetensors and config.json, or a checkpoint file"
    raise no_folder("teacher", name, wanted) or unknown("teacher", name, registry.entries("teachers"))


def teacher_sha256(name_or_path: str | Path) -> str:
    """SHA-256 of a teacher's weights file, or of the file and the options for a checkpoint with options; torch is not
    imported.

    Raises UserError when the file is missing, no regular file or too large.
    """
    path, options = _locate(name_or_path)
    weights, fix = (path / "model.safetensors", FIX) if path.is_dir() else (path, "download it again")
    check_file(weights, LARGEST_WEIGHTS, fix)
    try:
        digest = _sha256(weights, weights.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"teacher weights {weights} cannot be read ({error.strerror}); {fix}") from error
    if not options.query:
        return digest
    return hashlib.sha256(f"{digest}?{options.query}".encode()).hexdigest()


@lru_cache
def _sha256(path: Path, _modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def save_teacher(model: PointTransformer, folder: Path | str, provenance: dict[str, Any]) -> None:
    """Write the weights in half precision with their sizes and ``provenance`` (command, data hash, log).

    Raises UserError, before anything is written or replaced, for weights that are not finite in half precision and for a
    folder that cannot be written.
    """
    from safetensors.torch import save_file

    from foundry_bench.teachers.tensors import check_finite

    folder = check_path(folder, "folder")
    check_folder(folder, "folder")
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    check_finite(state, f"the teacher cannot be saved in {folder}")
    with atomic_folder(folder) as place:
        save_file({k: v.cpu().contiguous() for k, v in state.items()}, place / "model.safetensors")
        digest = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
        config = {"format": FORMAT, "sha256": digest, "encoder": asdict(model.config), **provenance}
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_teacher(
    name_or_path: str | Path = "small",
    branch: str | None = None,
    *,
    heads: int | None = None,
    groups: int | None = None,
    group_size: int | None = None,
    points: int | None = None,
    up: str | None = None,
) -> PointTransformer:
    """A frozen teacher in eval mode, single precision, with its ``source``.

    ``name_or_path``: a registered name (the teacher that comes with the package if left out), a folder of ours, or a public
    checkpoint of Point-JEPA, point2vec, Point-MAE, ACT or Point-BERT, pre-trained or fine-tuned (``.ckpt``, ``.pth``, ``.pt``,
    or their weights as ``.safetensors``). The other arguments are for checkpoints and may also stand in the name,
    ``FILE?branch=ema&groups=128``: ``branch`` chooses between the two encoders of checkpoints that hold two, ``student``
    (default) or ``ema``; ``heads`` of attention, ``groups`` of ``group_size`` points and ``points`` per cloud cannot be read
    from the weights. Checkpoints were trained on clouds with y up; here z is up in all data sets, and the encoder is turned
    accordingly. ``up="y"`` leaves it as it was trained.

    Raises UserError for a missing or truncated file, for an unknown format or layout, for sizes that no encoder has, for
    weights that do not fit or are not finite, and for a file that holds more than weights. No code in a file is run.
    """
    path, named = _locate(name_or_path)
    options = named.merged(
        branch=branch, heads=heads, groups=groups, group_size=group_size, points=points, up=up
    )
    name = join_name(split_name(str(name_or_path))[0], options)
    if not path.is_dir():
        from foundry_bench.teachers.checkpoints.building import load_checkpoint

        return load_checkpoint(path, options, name, teacher_sha256(name))
    if options.query:
        raise UserError(
            f"teacher {name}: this teacher has one encoder of known sizes; leave {', '.join(options.given)} out, which is for "
            "public checkpoint files"
        )
    return _read_folder(path, name)


def _read_folder(folder: Path, name: str) -> PointTransformer:
    from foundry_bench.teachers.layout import lay_out
    from foundry_bench.teachers.tensors import SLACK, Allotment, load_exactly, numbers, read_tensors, sizes_of
    from foundry_bench.teachers.transformer import PointTransformer

    card, weights = read_card(folder, FIX), folder / "model.safetensors"
    check_format(folder, card, FORMAT)
    sizes = sizes_of(folder, card)
    wanted, found = of_card(folder, card, "sha256", str, "the SHA-256 of the weights"), teacher_sha256(folder)
    if found != wanted:
        raise UserError(
            f"{weights} is damaged: expected SHA-256 {shown(wanted[:12])}…, found {found[:12]}…; {FIX}"
        )
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_tensors(weights, FIX).items()}
    try:
        with Allotment(SLACK * numbers(state)):
            model = PointTransformer(sizes)
        load_exactly(model, state)
    except UserError as error:
        raise UserError(f"{weights} does not fit its config.json: {error}; {FIX}") from error
    model.source = TeacherSource(name, "foundry-bench", "student", found)
    lay_out(model, columns=True)
    return model.eval().requires_grad_(False)
