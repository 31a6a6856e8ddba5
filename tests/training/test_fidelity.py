"""Fidelity seen four ways: equal to plain formulas on tokens, never scored on what a map was found on, one series one side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Fidelity
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.teacher import NoCompression
from foundry_bench.report import frame
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.budget import Budget
from foundry_bench.training.distillation import distill, heldout_fidelity
from foundry_bench.training.fidelity import (
    BANDS,
    Moments,
    band_limits,
    folds,
    from_moments,
    linear_map,
    squares,
)

CLOUDS, PATCHES, WIDTH = 40, 8, 24
FOLD = np.arange(CLOUDS) % 4


@pytest.fixture
def teacher() -> Tensor:
    """Tokens with a spectrum, partly common to their cloud."""
    torch.manual_seed(0)
    scale = 0.8 ** torch.arange(WIDTH).double()
    common, own = torch.randn(CLOUDS, 1, WIDTH).double(), torch.randn(CLOUDS, PATCHES, WIDTH).double()
    return 3 + (common + own) * scale


def measured(student: Tensor, teacher: Tensor) -> Fidelity:
    moments = [Moments.zero(WIDTH) for _ in range(5)]  # the last one stays empty
    for fold in range(4):
        for rows in np.array_split(np.flatnonzero(fold == FOLD), 3):
            moments[fold].add(student[rows], teacher[rows])
    error = (student - teacher).square().sum() / (teacher - teacher.mean((0, 1))).square().sum()
    return from_moments(float(1 - error), moments)


def test_the_teacher_is_like_itself_in_every_way(teacher: Tensor) -> None:
    found = measured(teacher, teacher)
    assert found.r2 == pytest.approx(1)
    assert found.r2_linear == pytest.approx(1)
    assert found.r2_within == pytest.approx(1)
    assert [(b.first, b.last) for b in found.bands] == [(1, 4), (5, 16), (17, 24)]
    assert sum(b.share for b in found.bands) == pytest.approx(1)
    assert all(b.r2_linear == pytest.approx(1) == b.r2_within for b in found.bands)


def test_a_linear_map_undoes_scale_and_mixing_but_not_plain_r2(teacher: Tensor) -> None:
    mixed = teacher @ (torch.eye(WIDTH) + 0.3 * torch.randn(WIDTH, WIDTH)).double() * 2 - 1
    found = measured(mixed, teacher)
    assert found.r2 < 0
    assert found.r2_linear is not None
    assert found.r2_linear > 0.9


def test_noise_is_not_explained_by_a_map_found_on_other_objects(teacher: Tensor) -> None:
    """One random token a cloud, as many dimensions as clouds: scored where it was found, the map explains a lot."""
    noise = torch.randn(CLOUDS, 1, WIDTH).double().expand_as(teacher)
    found = measured(noise, teacher)
    assert found.r2_linear is not None
    assert found.r2_linear < 0
    whole = Moments.zero(WIDTH)
    whole.add(noise, teacher)
    total = whole.centred()[WIDTH:, WIDTH:].trace()
    assert 1 - squares(whole.every, linear_map(whole)).sum() / total > 0.2


def test_within_is_about_differences_inside_a_cloud(teacher: Tensor) -> None:
    mean = teacher.mean(dim=1, keepdim=True)
    assert measured(mean.expand_as(teacher), teacher).r2_within == pytest.approx(0)
    moved = measured(teacher - mean, teacher)
    assert moved.r2_within == pytest.approx(1)
    assert moved.r2 < 0.5
    noisy = teacher + torch.randn_like(teacher)
    centred, wanted = noisy - noisy.mean(dim=1, keepdim=True), teacher - mean
    expected = 1 - (centred - wanted).square().sum() / wanted.square().sum()
    assert measured(noisy, teacher).r2_within == pytest.approx(float(expected))


def test_bands_are_of_the_teachers_principal_components(teacher: Tensor) -> None:
    flat = teacher.flatten(0, 1)
    axes = np.linalg.svd((flat - flat.mean(0)).numpy(), full_matrices=False)[2].T
    lost = torch.from_numpy(axes[:, :4] @ axes[:, :4].T)
    student = flat.mean(0) + (teacher - flat.mean(0)) @ (torch.eye(WIDTH).double() - lost)
    first, *others = measured(student, teacher).bands
    assert first.r2_within == pytest.approx(0, abs=1e-9)
    assert first.share > 0.5
    for band in others:
        assert band.r2_within == pytest.approx(1)
        assert band.r2_linear == pytest.approx(1, abs=0.05)


def test_one_fold_alone_has_no_linear_map(teacher: Tensor) -> None:
    some, none = Moments.zero(WIDTH), Moments.zero(WIDTH)
    some.add(teacher, teacher)
    found = from_moments(1.0, [some, none])
    assert found.r2_linear is None
    assert found.r2_within == pytest.approx(1)
    assert {b.r2_linear for b in found.bands} == {None}


def test_a_series_is_in_one_fold_and_the_folds_are_even() -> None:
    series = np.repeat([f"series {i}" for i in range(30)], np.arange(30) % 5 + 1)
    fold = folds(series, 4)
    assert all(len(set(fold[series == name])) == 1 for name in set(series))
    sizes = np.bincount(fold)
    assert len(sizes) == 4
    assert np.ptp(sizes) <= 5
    order = np.random.default_rng(0).permutation(len(series))
    assert (folds(series[order], 4) == fold[order]).all()


def test_bands_and_columns_are_the_same() -> None:
    assert tuple(frame.BANDS) == BANDS
    assert [text.removeprefix("pc").split("_") for text in frame.BANDS.values()] == [
        [str(first), "up" if first == BANDS[-1] else str(last)] for first, last in band_limits(192)
    ]
    assert band_limits(4) == [(1, 4)]
    assert band_limits(20) == [(1, 4), (5, 16), (17, 20)]


def test_students_are_measured_on_heldout_objects(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    ctx = Context(cache=tmp_path / "cache", scratch=tmp_path)
    whole = heldout_fidelity(
        make_student(NoCompression(), tiny_teacher, clouds, ctx), tiny_teacher, clouds, ctx
    )
    assert whole.r2_linear is not None
    assert whole.r2_within is not None
    assert min(whole.r2, whole.r2_linear, whole.r2_within) > 0.99
    method = Foundry(supertokens=1)
    student = make_student(method, tiny_teacher, clouds, ctx)
    budget = Budget("short", steps=4, batch_size=8, views=4, curve=2)
    report = distill(student, tiny_teacher, clouds, method=method, ctx=ctx, budget=budget)
    again = heldout_fidelity(student, tiny_teacher, clouds, ctx, budget)
    assert {key: asdict(report)[key] for key in asdict(again)} == asdict(again)
    assert report.curve[-1]["r2"] == report.r2
    assert report.r2_within is not None
    assert report.r2_within < whole.r2_within
