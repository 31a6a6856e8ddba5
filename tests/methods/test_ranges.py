"""Every method inside the ranges that its parameters declare: at their ends and beside them it gives finite tokens of the right
shape, or says in one line why this teacher cannot have it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import torch

from foundry_bench import registry
from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.method import OFF_THE_SHELF, Method
from foundry_bench.methods.random_drop import RandomDrop
from foundry_bench.parameters.types import LARGEST, Bounds, hints
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import content_order
from foundry_bench.teachers import load_teacher
from foundry_bench.teachers.transformer import PointTransformer

NAMES = list(registry.entries("methods"))
DEAR = (
    *("lowrank", "int8", "prune-structured", "prune-magnitude", "kmeans", "wanda", "patchmerger"),
    *("3dlst", "foundry", "foundry-gate", "foundry-nested", "foundry-late", "dynamicvit", "evit"),
)
"""Methods whose students of the shipped teacher take seconds each."""


def edges(hint: Any, bounds: Bounds | None = None) -> list[Any]:
    """Both ends of what an annotation takes and their neighbours inside; every value of a choice."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return edges(inner[0], next(b for b in inner if isinstance(b, Bounds)))
    if origin in (Union, UnionType):
        return [value for member in inner for value in edges(member, bounds)]
    if origin is Literal:
        return list(inner)
    if origin is tuple:
        return [(value,) for value in edges(inner[0], bounds)]
    if hint is bool:
        return [False, True]
    if hint not in (int, float) or bounds is None:
        return []
    low, high = ends(hint, bounds)
    beside = (low + 1, high - 1) if hint is int else (math.nextafter(low, high), math.nextafter(high, low))
    return list(dict.fromkeys((low, *(min(max(value, low), high) for value in beside), high)))


def ends(kind: type, bounds: Bounds) -> tuple[Any, Any]:
    """The least and the greatest number inside ``bounds``."""
    largest = LARGEST if kind is int else sys.float_info.max
    least, most = bounds.at_least, bounds.at_most
    low = math.nextafter(bounds.above, math.inf) if bounds.above is not None else least
    high = math.nextafter(bounds.below, -math.inf) if bounds.below is not None else most
    return kind(-largest if low is None else low), kind(largest if high is None else high)


def at_the_edges(cls: type[Method]) -> Iterator[Method]:
    """The method with one parameter after the other at each of its edges, the others at their defaults."""
    cheap = {"samples": 2} if "samples" in hints(cls) else {}
    for name, hint in hints(cls).items():
        for value in edges(hint):
            yield cls(**{**cheap, name: value})


def few(clouds: PointCloudDataset) -> PointCloudDataset:
    """Every fourth cloud: calibration on more takes longer and is none of these tests' business."""
    fields = ("points", "labels", "series", "paths")
    return replace(
        clouds,
        **{name: getattr(clouds, name)[::4] for name in fields},
        splits={name: rows[::4] for name, rows in clouds.splits.items()},
    )


def check(cls: type[Method], teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    patches = teacher.tokenize(torch.from_numpy(clouds.points[:3, : teacher.config.points]))
    for method in at_the_edges(cls):
        for variant in cls.variants:
            try:
                student = make_student(method, teacher, clouds, Context(variant=variant))
            except UserError as error:
                if "teacher's" not in str(error):
                    raise
                continue
            for batch in (patches[:0], patches[:1], patches):
                with torch.no_grad():
                    found = student(batch).features
                assert found.shape == (len(batch), teacher.config.groups, teacher.config.dim), method
                assert found.isfinite().all(), method


@pytest.mark.parametrize("name", NAMES)
def test_inside_its_ranges_every_method_gives_finite_tokens(
    name: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    check(registry.load("methods", name), tiny_teacher, few(clouds))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in DEAR else ()) for n in NAMES]
)
def test_the_same_holds_with_the_shipped_teacher(name: str, clouds: PointCloudDataset) -> None:
    check(registry.load("methods", name), load_teacher("small"), few(clouds))


SMALL = {
    "eight tokens, two blocks": EncoderConfig(
        dim=16, depth=2, heads=2, groups=8, group_size=8, points=128, tokenizer_widths=(8, 8, 16)
    ),
    "one token, one block": EncoderConfig(
        dim=16, depth=1, heads=1, groups=1, group_size=2, points=64, tokenizer_widths=(4, 4, 4)
    ),
    "nine tokens and a prefix, three blocks": EncoderConfig(
        dim=16, depth=3, heads=4, mlp_ratio=0.3, qkv_bias=False, groups=9, group_size=8, points=128,
        tokenizer_widths=(8, 8, 16), prefix=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("sizes", SMALL)
@pytest.mark.parametrize("name", NAMES)
def test_small_teachers_have_whole_students_in_every_precision_and_for_every_batch(
    name: str, sizes: str, clouds: PointCloudDataset
) -> None:
    """Features and three levels, also where the teacher has fewer blocks than levels; empty batches in training, too."""
    torch.manual_seed(0)
    teacher = PointTransformer(SMALL[sizes]).eval().requires_grad_(False)
    patches = teacher.tokenize(torch.from_numpy(clouds.points[:3, : teacher.config.points]))
    cls = registry.load("methods", name)
    for variant in cls.variants:
        try:
            student = make_student(cls(), teacher, few(clouds), Context(variant=variant))
        except UserError as error:
            if "teacher's" not in str(error):
                raise
            continue
        for dtype in (torch.float, torch.bfloat16, torch.half):
            for count in (0, 1, 3):
                with torch.no_grad():
                    tokens = student.to(dtype)(patches[:count].to(dtype), levels=True)
                assert len(tokens.levels) == 3
                for found in (tokens.features, *tokens.levels):
                    assert found.shape == (count, teacher.config.groups, teacher.config.dim), variant
                    assert found.dtype == dtype, variant
                    assert found.isfinite().all(), variant
        assert student.float().train()(patches[:0]).features.shape[0] == 0, variant


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_two_ends_or_is_cut_to_what_the_teacher_has(name: str) -> None:
    """A float without an end can make any product infinite."""
    for parameter, hint in hints(registry.load("methods", name)).items():
        for member in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
            if get_origin(member) is Annotated and get_args(member)[0] in (float, tuple[float, ...]):
                low, high = ends(float, get_args(member)[1])
                assert (low, high) > (-1e7, -1e7), parameter
                assert parameter == "r" or high <= 1e7, parameter


@pytest.mark.parametrize("early", [False, True])
def test_random_drop_keeps_the_same_patches_in_half_precision(
    early: bool, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    method = RandomDrop(keep=0.5, early=early)
    student = make_student(method, tiny_teacher, clouds, Context(variant=OFF_THE_SHELF))
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256]))
    kept = student.choose(patches.centers)  # type: ignore[operator]
    assert torch.equal(kept, student.choose(patches.centers.half()))  # type: ignore[operator]
    with torch.no_grad():
        full = student(patches).aux["source"]
        half = student.half()(patches.to(torch.half)).aux["source"]
    for one, other in zip(full, half, strict=True):
        assert torch.equal(one.unique(), other.unique())


def test_the_order_of_a_cloud_survives_half_precision_and_differs_between_clouds(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    centers = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256])).centers
    order = content_order(centers)
    assert torch.equal(order, content_order(centers.half()))
    assert len({tuple(row.tolist()) for row in order}) == len(order)


def test_clouds_in_millimetres_are_told_once_how_to_come_into_the_unit_sphere(
    clouds: PointCloudDataset,
) -> None:
    teacher = load_teacher("small")
    points = torch.from_numpy(clouds.points[:2, :1024])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        teacher.tokenize(points)
        assert not said
        for scale in (50.0, 60.0, 70.0):
            teacher.tokenize(scale * points)
    assert len(said) == 1
    assert "fb.normalize" in str(said[0].message)
    assert said[0].filename == __file__, "at the line that has to change"
