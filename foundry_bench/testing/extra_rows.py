"""What a student has to keep of a teacher that runs rows in front of the patches (a CLS token)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from foundry_bench.encoder import Encoder
from foundry_bench.method import Method
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing.rules import close, require, some_clouds, stranger_to
from foundry_bench.testing.students import check_tokens, check_training_step

if TYPE_CHECKING:
    from foundry_bench.context import Context
    from foundry_bench.datasets import PointCloudDataset

LOSSLESS = 1e-5
"""Largest difference from the teacher's tokens at a setting that compresses nothing."""
PREFIXES = (1, 3)
"""Rows in front of the patches that stand for none of them, of the teachers that a method is tried on besides its own."""
REMEDY = (
    "run blocks by self.run(x, pos) of TokenStudent, in a ReducingStudent by self.through(stream, block), never one by one: "
    "they also run the rows that some teachers have in front of the patches (a CLS token)"
)
LAYERS = ("norm1", "attn.proj", "norm2", "mlp")
"""The layers of a timm block that are looked into, in the order in which they run."""
E = TypeVar("E", bound=Encoder)


def check_prefix(method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context) -> None:
    """A student of a teacher that runs rows in front of the patches (a CLS token) runs them too, and gives the patches alone.

    The method is tried on copies of ``teacher`` with no, one and three such rows. Every block runs them as the block before
    left them, with their positions; what is in them reaches the patches through attention and in no other way, the levels that
    dense heads read included; and what a student gives as its teacher does to 1e-5 without them, it gives so with them.
    """
    plain = with_prefix(teacher, 0)
    student = make_student(method, plain, data, ctx)
    points = some_clouds(data, student)
    lossless = [distance <= LOSSLESS for distance in _distances(student, plain, points)]
    for count in PREFIXES:
        behind = with_prefix(teacher, count)
        student = make_student(method, behind, data, ctx)
        name = f"{method.name}, of a teacher with {count} rows in front of the patches"
        with torch.no_grad():
            tokens = student.eval()(student.tokenize(points), levels=True)
        check_tokens(tokens, (len(points), behind.config.groups, behind.config.dim), name)
        distances = _distances(student, behind, points)
        away = max((far for far, kept in zip(distances, lossless, strict=True) if kept), default=0.0)
        for holds, rule in (
            (_runs_prefix(student, points, ctx.trains), "every block must run these rows"),
            (_heeds_prefix(student, method, behind, data, ctx), "what is in these rows must matter"),
            (not _leaks_prefix(method, behind, data, ctx), "these rows must not be read as patches"),
            (
                away <= LOSSLESS,
                f"must be its teacher, as it is without them, and is {away:.2g} away",
            ),
        ):
            require(holds, f"{name}: {rule}; {REMEDY}")
        if ctx.trains:
            check_training_step(method, student, behind, points, ctx.variant)


@torch.no_grad()
def with_prefix(teacher: PointTransformer, count: int) -> PointTransformer:
    """A copy of ``teacher`` with ``count`` random rows in front of the patches instead of its own."""
    made = copy.deepcopy(teacher)
    made.config = replace(teacher.config, prefix=count)
    like = next(teacher.parameters())
    for seed, name in enumerate(("prefix", "prefix_pos")):
        rows = torch.randn(1, count, made.config.dim, generator=torch.Generator().manual_seed(seed))
        made.register_parameter(name, nn.Parameter(rows.to(like), like.requires_grad) if count else None)
    return made


def _runs_prefix(student: Encoder, points: Tensor, trains: bool) -> bool:
    """Whether every block starts with the rows that a student holds, as the block before left them, at their positions, in
    training too; True for a student without them, or with other blocks than timm's."""
    rows, pos = getattr(student, "prefix", None), getattr(student, "prefix_pos", None)
    if rows is None or pos is None:
        return True
    for training in (False, True) if trains else (False,):
        seen = _layers_run(student, points, training)
        if [layer for layer, _, _ in seen] != len(seen) // 4 * ["norm1", "proj", "norm2", "mlp"]:
            continue
        x = rows.expand(len(points), -1, -1)
        for at in range(0, len(seen), 4):
            (_, start, _), (_, _, attended), (_, middle, _), (_, _, out) = seen[at : at + 4]
            front = [value[:, : rows.shape[1]] for value in (start, attended, middle, out)]
            if not (close(front[0], x + pos) and close(front[2], front[0] + front[1])):
                return False
            x = front[2] + front[3]
    return True


@torch.no_grad()
def _layers_run(student: Encoder, points: Tensor, training: bool = False) -> list[tuple[str, Tensor, Tensor]]:
    """The norms, attention's projections and MLPs of the blocks of ``student`` as they run: name, input and output."""
    student, seen = copy.deepcopy(student), []
    for block in student.modules():
        parts = dict(block.named_modules())
        for name in LAYERS if all(name in parts for name in LAYERS) else ():
            layer = name.rpartition(".")[2]
            parts[name].register_forward_hook(
                lambda _, inputs, out, layer=layer: seen.append((layer, inputs[0], out))
            )
    student.train(training)(student.tokenize(points))
    return seen


def _heeds_prefix(
    student: Encoder, method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context
) -> bool:
    """Whether other rows, and other positions of them, make another encoder, in training too, wherever a patch's row depends on
    other patches at all. A student that holds none has to be another if its teacher's are others, unless nothing of the
    teacher's blocks is in it."""
    points = some_clouds(data, student)
    own = [name for name, _ in student.named_parameters() if _in_prefix(name)]
    if own:
        modes = (False, True) if ctx.trains else (False,)
        others = [stranger_to(student, name.__eq__) for name in own]
        mixing = [mode for mode in modes if _mixes_patches(student, points, mode)]
        return all(_differ(student, other, points, mode) for other in others for mode in mixing)
    of_rows, of_blocks = (
        make_student(method, stranger_to(teacher, chosen), data, ctx) for chosen in (_in_prefix, _in_blocks)
    )
    return _differ(student, of_rows, points) or not _differ(student, of_blocks, points)


@torch.no_grad()
def _mixes_patches(student: Encoder, points: Tensor, training: bool) -> bool:
    """Whether the row of a cloud's first patch changes with its other patches, with the same random draws."""
    patches = student.tokenize(points)
    others = [torch.cat([x[:, :1], x[:, 1:].roll(1, 0)], 1) for x in (patches.neighborhoods, patches.centers)]
    found = []
    for seen in (patches, Patches(*others)):
        with _same_draws():
            found.append(copy.deepcopy(student).train(training)(seen).features[:, 0])
    return not torch.equal(*found)


def _leaks_prefix(method: Method, teacher: PointTransformer, data: PointCloudDataset, ctx: Context) -> bool:
    """Whether a student heeds the rows it holds though its attention looks at all rows alike and adds nothing; False for one
    with attention of another kind than timm's, which cannot be silenced here."""
    student = make_student(method, _without_attention(teacher), data, ctx)
    student, points = _without_attention(student), some_clouds(data, student)
    added = [bool(out.any()) for layer, _, out in _layers_run(student, points) if layer == "proj"]
    mute = bool(added) and not any(added)
    return mute and _differ(student, stranger_to(student, _in_prefix), points, levels=True)


@torch.no_grad()
def _without_attention(encoder: E) -> E:
    """A copy of ``encoder`` without queries and without what attention adds, as far as its layers are plain ones."""
    made = copy.deepcopy(encoder)
    for block in made.modules():
        qkv, proj = (getattr(getattr(block, "attn", None), name, None) for name in ("qkv", "proj"))
        if isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear):
            for layer, rows in ((qkv, qkv.out_features // 3), (proj, proj.out_features)):
                layer.weight[:rows] = 0
                if layer.bias is not None:
                    layer.bias[:rows] = 0
    return made


def _in_prefix(name: str) -> bool:
    return name.rpartition(".")[2] in ("prefix", "prefix_pos")


def _in_blocks(name: str) -> bool:
    return name.startswith("blocks.")


@torch.no_grad()
def _distances(student: Encoder, teacher: Encoder, points: Tensor) -> list[float]:
    """Largest difference of the student's features from the teacher's, and of each of the three levels."""
    ours, theirs = (_rows(encoder.eval(), points, True) for encoder in (student, teacher))
    return [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]


@torch.no_grad()
def _differ(
    one: Encoder, other: Encoder, points: Tensor, training: bool = False, levels: bool = False
) -> bool:
    """Whether two encoders give different features, or ``levels``, to the same clouds, with the same random draws."""
    found = []
    for encoder in (one, other):
        with _same_draws():
            found.append(_rows(copy.deepcopy(encoder).train(training), points, levels))
    return not all(map(torch.equal, *found))


@contextmanager
def _same_draws() -> Iterator[None]:
    """The random draws inside are the same every time, and those outside are not moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _rows(encoder: Encoder, points: Tensor, levels: bool) -> list[Tensor]:
    """The features (B, T, D) of an encoder, and after them its ``levels``, if asked for."""
    tokens = encoder(encoder.tokenize(points), levels=levels)
    return [tokens.features, *tokens.levels]
