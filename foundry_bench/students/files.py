"""Making, saving and loading students; the base of those that keep the teacher's frozen tokenizer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from foundry_bench import registry, selectors
from foundry_bench.beforehand import plugin_files
from foundry_bench.beforehand.checks import check_folder, check_path
from foundry_bench.border import plain
from foundry_bench.context import Context
from foundry_bench.encoder import Encoder, EncoderConfig, Origin
from foundry_bench.errors import UserError, unknown
from foundry_bench.method import FMD, student_of
from foundry_bench.storage import atomic_folder
from foundry_bench.teachers.cards import check_format, of_card, read_card, shown
from foundry_bench.teachers.layout import as_made, lay_out
from foundry_bench.teachers.tensors import (
    SLACK,
    Allotment,
    check_finite,
    load_exactly,
    numbers,
    read_tensors,
    sizes_of,
)
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.variants import VARIANTS

if TYPE_CHECKING:
    from foundry_bench.datasets import PointCloudDataset
    from foundry_bench.method import Method

FORMAT = "foundry-bench student 2"
FIX = "make it again"
"""What to do about a student's folder that is damaged."""
PARENT = "parent."
"""How the tensors begin that a student holds of the encoder that it was made from, beside its own."""
STAND_INS = 16
"""Random clouds that a student is rebuilt on."""
COMPRESSION = 1000
"""How many times as many numbers as its student's a teacher may have."""
LARGEST_STAND_IN = 2**30
"""Numbers beyond which a teacher is only built again where its student has a quarter as many itself: 4 GiB."""


def make_student(
    method: Method | str, teacher: Encoder, data: PointCloudDataset | None = None, ctx: Context | None = None
) -> Encoder:
    """An untrained student, from a method or from a selector that names one method.

    ``data`` are clouds for methods that calibrate, by default the embedded unlabelled set. Raises UserError, also for a
    selector that stands for several students.
    """
    if not isinstance(teacher, Encoder):
        raise UserError(f"teacher must be an encoder, as load_teacher gives one, got {shown(teacher)}")
    if isinstance(method, str):
        named = selectors.parse_selector(method).variant
        method = selectors.one_method(method)[0]
        named = named or (ctx.variant if ctx else default_variant(method))
        ctx = replace(ctx or Context(), variant=named)
    if reason := method.lacks():
        raise UserError(f"{method.name} cannot be made here: {reason}")
    if data is None:
        data = registry.load("datasets", "pretrain")()
    ctx = ctx or Context(variant=default_variant(method))
    torch.manual_seed(ctx.for_component("init").seed)
    with registry.guard("methods", method.name.partition("+")[0], "failed"):
        with as_made(teacher):
            student = student_of(method, method.compress(teacher, data, ctx), teacher)
        method.configure(student)
    lay_out(student, columns=True)
    return mark(student, method, ctx.variant, teacher).eval()


def mark(student: Encoder, method: Method, variant: str, teacher: Encoder) -> Encoder:
    """Note on ``student`` where it comes from."""
    source = getattr(teacher, "source", None)
    known = () if source is None else (source.name, source.sha256)
    student.origin = Origin(method, variant, teacher.config, *known)
    return student


def origin_of(student: Encoder) -> Origin:
    """Where ``student`` comes from. Raises UserError for an encoder that no method made."""
    origin = getattr(student, "origin", None)
    if origin is None:
        raise UserError("this encoder is no student; make one with make_student(selector, teacher)")
    return origin


def default_variant(method: Method) -> str:
    """The variant that is used when none is named: distilled (``fmd``), if the method allows it."""
    return FMD if FMD in method.variants else method.variants[0]


def save_student(student: Encoder, folder: Path | str) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``, both or none.

    The folder is all that :func:`load_student` needs. Raises UserError, before anything is written or replaced, for an encoder
    that no method made, for weights that are not finite and for a folder that cannot be written.
    """
    origin = origin_of(student)
    folder = check_path(folder, "folder")
    check_folder(folder, "folder")
    check_finite(student.state_dict(), f"the student cannot be saved in {folder}")
    state = {k: v.detach().cpu().contiguous() for k, v in student.state_dict().items()}
    config = {
        "format": FORMAT,
        "method": origin.method.name,
        "version": origin.method.version,
        "params": origin.method.params(),
        "variant": origin.variant,
        "teacher": origin.teacher,
        "teacher_sha256": origin.teacher_sha256,
        "encoder": asdict(origin.config),
    }
    if plugins := _plugins(origin.method):
        config["plugins"] = plugins
    with atomic_folder(folder) as place:
        save_file(state, place / "model.safetensors")
        (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_student(folder: Path | str) -> Encoder:
    """Read what :func:`save_student` wrote; neither the teacher nor any data is needed.

    The method builds its student again from a teacher of the same sizes with random weights; the saved weights then replace
    the student's. Raises UserError for a missing, truncated or foreign folder, for a method, parameters, a variant or sizes
    that cannot be, and for weights that do not fit or are not finite. No code in a file is run.
    """
    folder = check_path(folder, "folder")
    card, weights = read_card(folder, FIX), folder / "model.safetensors"
    check_format(folder, card, FORMAT)
    name = of_card(folder, card, "method", str, "the name of a method")
    _check_plugins(folder, card, name)
    params = of_card(folder, card, "params", dict, "the method's parameters")
    version = of_card(folder, card, "version", str, "the version of the method")
    variant = of_card(folder, card, "variant", str, f"one of {', '.join(VARIANTS)}")
    teacher = of_card(folder, card, "teacher", str | None, "the teacher's name or null")
    sha256 = of_card(folder, card, "teacher_sha256", str | None, "the teacher's SHA-256 or null")
    sizes = sizes_of(folder, card)
    try:
        method = selectors.build_method(name, params)
        if variant not in method.variants:
            raise unknown(f"variant of {method.name}", shown(variant), method.variants)
        if version != method.version:
            raise UserError(
                f"a student of {method.name} version {shown(version)}, whose parameters mean another student in version "
                f"{method.version}; make it again"
            )
    except UserError as error:
        raise UserError(f"{folder}/config.json: {error}") from error
    if reason := method.lacks():
        raise UserError(f"{folder} is a student of {method.name}, which cannot run here: {reason}")
    state = read_tensors(weights, FIX)
    try:
        with Allotment(allowed_numbers(numbers(state))):
            ctx = Context(variant=variant, shapes=shapes(state))
            student = make_student(method, _stand_in(sizes), _no_clouds(sizes), ctx)
        load_exactly(student, state)
    except UserError as error:
        raise UserError(f"{weights} does not fit its config.json: {error}; {FIX}") from error
    student.origin = Origin(method, variant, sizes, teacher, sha256)
    return student


def _plugins(method: Method) -> list[dict[str, str]]:
    """The plugin files that a method, or a part of a stack, comes from: their names, and the hashes of their content."""
    files = {registry.file_of("methods", name) for name in method.name.split("+")} - {None}
    return [{"file": file.name, "sha256": plugin_files.sha256(file)} for file in files if file is not None]


def _check_plugins(folder: Path, card: Mapping[str, object], name: str) -> None:
    """Raise UserError where a method of the student is known to nobody here and its card names the file that it is in."""
    lost = [part for part in name.split("+") if part not in registry.entries("methods")]
    named = card.get("plugins")
    said = [one.get("file") for one in named if isinstance(one, dict)] if isinstance(named, list) else []
    files = [one for one in said if isinstance(one, str)]
    if lost and files:
        wanted = " ".join(f"--plugin {shlex.quote(f'path/to/{one}')}" for one in files)
        raise UserError(
            f"{folder} is a student of {lost[0]!r}, a method of the plugin file {shown(files[0])}, which is not in use; add "
            f"{plain(wanted)}, or call fb.load_plugin first"
        )


def own_teacher(student: Encoder) -> PointTransformer:
    """The teacher that ``student`` was made from. Raises UserError where that is not recorded, or it is not here any more."""
    origin = student.origin
    return recorded_teacher(*((None, None) if origin is None else (origin.teacher, origin.teacher_sha256)))


def recorded_teacher(name: str | None, sha256: str | None) -> PointTransformer:
    """The teacher of a student that records its name and hash. Raises UserError as :func:`own_teacher` does."""
    from foundry_bench.teachers import load_teacher, teacher_sha256

    fix = "give it with --teacher"
    if name is None:
        raise UserError(f"the student's teacher is not recorded; {fix}")
    if sha256 not in (None, teacher_sha256(name)):
        raise UserError(
            f"teacher {name} has other weights than the one that the student was made from; {fix}"
        )
    return load_teacher(name)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """What ``Context.shapes`` says of a student's ``state``; what it holds of the encoder that it was made from has that one's
    names, too."""
    found = {name: tuple(value.shape) for name, value in state.items()}
    return {name.removeprefix(PARENT): shape for name, shape in found.items()} | found


def allowed_numbers(held: int) -> int:
    """Numbers that rebuilding a student may take whose file has ``held`` of them: its teacher's, at most so many times as
    many, and its own."""
    return max(SLACK * held, min(COMPRESSION * held, LARGEST_STAND_IN))


def _stand_in(sizes: EncoderConfig) -> PointTransformer:
    """A frozen teacher of the given sizes with random weights."""
    return PointTransformer(sizes).eval().requires_grad_(False)


def _no_clouds(sizes: EncoderConfig) -> PointCloudDataset:
    """A few random clouds, no larger than patches need; the saved weights replace whatever a method calibrates on them."""
    from foundry_bench.datasets import PointCloudDataset

    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (STAND_INS, max(sizes.groups, sizes.group_size), 3))
    names = np.array([f"random {i}" for i in range(STAND_INS)])
    return PointCloudDataset(
        name="random",
        version="1",
        sha256="random",
        classes=(),
        points=points.astype(np.float32),
        labels=np.full(STAND_INS, -1),
        series=names,
        paths=names,
        splits={},
        parts=None,
        part_names={},
        novel_classes=(),
        licence="CC0-1.0",
    )
