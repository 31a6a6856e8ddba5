"""The FMD trainer: it learns, repeats, keeps its promises about budgets, caches and held-out objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.method import Method
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.teacher import NoCompression
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.budget import BUDGETS, REHEARSAL, Budget, budget_of, get_budget
from foundry_bench.training.distillation import distill, heldout_r2, shares_tokenizer
from foundry_bench.training.token_cache import held_out, token_cache

SHORT = Budget("short", steps=30, batch_size=16, views=2, lr=3e-3, curve=3)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context(cache=tmp_path / "cache", scratch=tmp_path)


def test_distillation_explains_more_of_the_teacher_and_repeats(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    runs = []
    for _ in range(2):
        student = make_student(Foundry(supertokens=4), tiny_teacher, clouds, ctx)
        before = heldout_r2(student, tiny_teacher, clouds, ctx, SHORT)
        report = distill(student, tiny_teacher, clouds, method=Foundry(supertokens=4), ctx=ctx, budget=SHORT)
        runs.append((before, report))
    (before, first), (_, second) = runs
    assert first.r2 > before + 0.1
    assert (first.steps, first.samples) == (30, 480)
    assert [point["step"] for point in first.curve] == [10, 20, 30]
    assert first.curve == second.curve


def test_the_teacher_explains_itself(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    student = make_student(NoCompression(), tiny_teacher, clouds, ctx)
    assert heldout_r2(student, tiny_teacher, clouds, ctx) > 0.999


def test_a_constant_explains_nothing(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    class Constant(Encoder):
        config = tiny_teacher.config

        def forward(self, patches: Patches, levels: bool = False) -> Tokens:
            return Tokens(torch.zeros(len(patches), 16, 32))

    assert heldout_r2(Constant(), tiny_teacher, clouds, ctx) <= 1e-3


def test_held_out_objects_are_about_a_tenth_and_never_drawn(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = held_out(clouds)
    assert 0 < mask.mean() < 0.3
    drawn: set[int] = set()
    cache_type = type(token_cache(tiny_teacher, clouds, SHORT.views, ctx))
    original = cache_type.target

    def spy(self: object, rows: np.ndarray, views: np.ndarray) -> Tokens:
        if torch.is_grad_enabled():
            drawn.update(rows.tolist())
        return original(self, rows, views)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_type, "target", spy)
    student = make_student(Foundry(supertokens=1), tiny_teacher, clouds, ctx)
    distill(student, tiny_teacher, clouds, method=Foundry(supertokens=1), ctx=ctx, budget=SHORT)
    assert drawn
    assert drawn.isdisjoint(np.flatnonzero(mask))


def test_cached_tokens_are_the_teachers(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    cache = token_cache(tiny_teacher, clouds, 2, ctx)
    rows, views = np.array([0, 5]), np.array([0, 1])
    with torch.no_grad():
        tokens = tiny_teacher(cache.patches(rows, views)).features
    assert torch.allclose(cache.target(rows, views).features, tokens, atol=0.1)
    assert torch.allclose(
        cache.embedding(rows, views).tokens, tiny_teacher.embed(cache.patches(rows, views)).tokens, atol=0.05
    )


def test_views_are_made_once(tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context) -> None:
    token_cache(tiny_teacher, clouds, 2, ctx)
    stamps = {p: p.stat().st_mtime_ns for p in ctx.cache.rglob("*.npy")}  # type: ignore[union-attr]
    token_cache(tiny_teacher, clouds, 2, ctx)
    assert stamps == {p: p.stat().st_mtime_ns for p in ctx.cache.rglob("*.npy")}  # type: ignore[union-attr]
    assert stamps


def test_held_out_objects_come_first_and_are_what_they_are_among_all(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    begun, whole = Context(cache=tmp_path / "begun"), Context(cache=tmp_path / "whole")
    first = token_cache(tiny_teacher, clouds, 2, begun, whole=False)
    (folder,) = (path for path in (tmp_path / "begun").iterdir() if path.is_dir())
    assert not (folder / "done").exists()
    mine = np.flatnonzero(first.held_out)
    assert first.features[mine, 0].any(axis=(1, 2)).all()
    assert not first.features[~first.held_out].any(), "of the others nothing is made yet"
    early = np.array(first.features[mine, 0])
    both = [token_cache(tiny_teacher, clouds, 2, ctx) for ctx in (begun, whole)]
    assert (folder / "done").exists()
    assert np.array_equal(both[0].features[mine, 0], early), "what was made is not made again"
    for name in ("neighborhoods", "centers", "tokens", "features"):
        assert np.array_equal(*(getattr(cache, name) for cache in both))


def test_a_cache_that_was_not_finished_is_finished(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    ctx = Context(cache=tmp_path)
    made = np.array(token_cache(tiny_teacher, clouds, 2, ctx).features)
    (mark,) = tmp_path.glob("tokens-*/done")
    mark.unlink()  # as after a kill on the way
    assert np.array_equal(token_cache(tiny_teacher, clouds, 2, ctx).features, made)


@dataclass(frozen=True)
class OwnTokenizer(Method):
    """A student that trains its tokenizer too and therefore gets patches."""

    name: ClassVar[str] = "own-tokenizer"

    def compress(self, teacher: Encoder, data: PointCloudDataset, ctx: Context) -> Encoder:
        return PointTransformer(teacher.config)


def test_students_with_their_own_tokenizer_get_patches(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    student = make_student(OwnTokenizer(), tiny_teacher, clouds, ctx)
    assert not shares_tokenizer(student, tiny_teacher)
    report = distill(student, tiny_teacher, clouds, method=OwnTokenizer(), ctx=ctx, budget=SHORT)
    assert report.r2 > 0.1


def test_a_loss_that_is_not_finite_stops_the_training(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, ctx: Context
) -> None:
    student = make_student(Foundry(supertokens=1), tiny_teacher, clouds, ctx)
    nn.init.constant_(student.cau.fc2.weight, float("nan"))
    with pytest.raises(FloatingPointError, match="foundry"):
        distill(student, tiny_teacher, clouds, method=Foundry(supertokens=1), ctx=ctx, budget=SHORT)


def test_budgets_are_known_by_name() -> None:
    assert get_budget("quick") is BUDGETS["quick"]
    assert budget_of(REHEARSAL).steps == 2
    assert budget_of("quick") is budget_of(BUDGETS["quick"]) is BUDGETS["quick"]
    with pytest.raises(UserError, match="did you mean 'quick'"):
        get_budget("quik")
