"""Hinton's distillation for one task, and what its experts may see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_kd
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset, load_furniture, load_kicad
from foundry_bench.encoder import EncoderConfig, pool
from foundry_bench.errors import UserError
from foundry_bench.methods.kd import FeatureKD
from foundry_bench.methods.kd_expert import ExpertKD
from foundry_bench.methods.kd_logit import LogitKD
from foundry_bench.students.files import make_student
from foundry_bench.tasks.fewshot import FewShot
from foundry_bench.tasks.partseg import PartSegmentation
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training import expert
from foundry_bench.training.budget import Budget
from foundry_bench.training.expert import Lesson, fit_head, hinton_loss
from foundry_bench.training.token_cache import token_cache

ZERO = None  # copies of the last of the teacher's blocks only: depth = 8 of 8 would be the teacher, and is kd's ZERO
BUDGET = Budget("tiny", steps=6, batch_size=16, views=2, curve=2)


def closed_form(method: ExpertKD, config: EncoderConfig, trains: bool) -> int:
    return test_kd.closed_form(FeatureKD(method.depth, method.width), config, trains)


def test_the_loss_is_zero_for_the_teachers_own_logits_and_positive_otherwise() -> None:
    logits, labels = torch.randn(5, 4), torch.zeros(5, dtype=torch.long)
    assert float(hinton_loss(logits, logits + 3.0, labels, tau=2.0, alpha=1.0)) == pytest.approx(
        0.0, abs=1e-6
    )
    assert float(hinton_loss(-logits, logits, labels, tau=2.0, alpha=1.0)) > 0.01


def test_the_divergence_goes_from_the_teacher_to_the_student_and_is_a_mean_over_the_batch() -> None:
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    p, q = (teacher / 4).softmax(-1), (student / 4).softmax(-1)
    expected = 16 * (p * (p.log() - q.log())).sum(-1).mean()
    assert torch.allclose(hinton_loss(student, teacher, torch.zeros(6).long(), tau=4.0, alpha=1.0), expected)


def test_tau_squared_keeps_the_size_of_the_gradient() -> None:
    norms = []
    for tau in (10.0, 1000.0):
        student = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
        teacher = torch.linspace(1, -1, 12).reshape(3, 4) ** 3
        hinton_loss(student, teacher, torch.zeros(3).long(), tau, alpha=1.0).backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_alpha_weighs_labels_against_the_teacher() -> None:
    student, teacher, labels = torch.randn(5, 4), torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    hard, soft = (hinton_loss(student, teacher, labels, 3.0, alpha) for alpha in (0.0, 1.0))
    assert torch.allclose(hard, torch.nn.functional.cross_entropy(student, labels))
    assert torch.allclose(hinton_loss(student, teacher, labels, 3.0, 0.25), 0.75 * hard + 0.25 * soft)


def test_experts_see_no_object_that_a_task_scores() -> None:
    data = load_kicad()
    supervision = FewShot().supervision(data)
    assert supervision is not None
    assert not {data.classes[i] for i in np.unique(data.labels[supervision.rows])} & set(data.novel_classes)
    assert all((split[supervision.rows] != "test").all() for split in data.splits.values())
    assert sorted(np.unique(supervision.labels)) == list(range(len(np.unique(supervision.labels))))
    assert FewShot().supervision(load_furniture()) is None


def test_a_task_without_labels_to_train_on_is_named() -> None:
    furniture = load_furniture()
    with pytest.raises(UserError, match="no labelled training objects in data set 'furniture'"):
        expert.prepare(ExpertKD(), FewShot(), furniture, furniture)


@pytest.fixture(scope="module")
def labelled() -> PointCloudDataset:
    """Sixty training objects of three base classes."""
    data = load_kicad()
    supervision = FewShot().supervision(data)
    assert supervision is not None
    rows = supervision.rows[np.concatenate([np.flatnonzero(supervision.labels == c)[:20] for c in range(3)])]
    fields = {name: getattr(data, name)[rows] for name in ("points", "labels", "series", "paths")}
    return replace(
        data, **fields, sha256="sixty", splits={k: v[rows] for k, v in data.splits.items()}, parts=None
    )


def test_the_teachers_head_knows_the_classes(
    tiny_teacher: PointTransformer, labelled: PointCloudDataset, tmp_path: Path
) -> None:
    labels = np.unique(labelled.labels, return_inverse=True)[1]
    cache = token_cache(tiny_teacher, labelled, 2, Context(cache=tmp_path))
    head = fit_head(Lesson(labelled, labels, labelled, labelled), cache)
    with torch.no_grad():
        logits = head(pool(cache.target(np.arange(60), np.ones(60, int)).features))
    assert float((logits.argmax(-1).numpy() == labels).mean()) > 0.6  # chance is 1/3


@pytest.mark.parametrize("method", [ExpertKD(depth=1), LogitKD(depth=1)])
def test_training_for_a_task_lowers_its_loss_and_moves_the_student(
    method: ExpertKD,
    tiny_teacher: PointTransformer,
    clouds: PointCloudDataset,
    labelled: PointCloudDataset,
    tmp_path: Path,
) -> None:
    ctx = Context(cache=tmp_path, variant="expert")
    student = make_student(method, tiny_teacher, clouds, ctx)
    before = student.blocks[0].mlp.fc1.weight.clone()
    lesson = expert.prepare(method, FewShot(), labelled, clouds)
    assert lesson.clouds is (lesson.labelled if method.labelled else clouds)
    report = expert.train(student, tiny_teacher, lesson, method=method, ctx=ctx, budget=BUDGET)
    assert report.steps == 6
    assert np.isfinite(report.r2)
    assert not torch.equal(student.blocks[0].mlp.fc1.weight, before)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"] + 0.5


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_has_an_output_per_class_also_for_two(
    classes: int, tiny_teacher: PointTransformer, labelled: PointCloudDataset, tmp_path: Path
) -> None:
    labels = np.unique(labelled.labels, return_inverse=True)[1] % classes
    cache = token_cache(tiny_teacher, labelled, 1, Context(cache=tmp_path))
    head = fit_head(Lesson(labelled, labels, labelled, labelled), cache)
    assert head.out_features == classes
    with torch.no_grad():
        found = head(pool(cache.target(np.arange(60), np.zeros(60, int)).features)).argmax(-1).numpy()
    assert float((found == labels).mean()) > 0.75


def test_an_expert_for_parts_learns_the_part_of_every_patch(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    method, data, ctx = (
        ExpertKD(depth=1, task="partseg"),
        load_kicad(),
        Context(cache=tmp_path, variant="expert"),
    )
    few = np.flatnonzero(data.labels == data.classes.index("so"))[:40]
    fields = {name: getattr(data, name)[few] for name in ("points", "labels", "series", "paths", "parts")}
    small = replace(data, **fields, sha256="forty", splits={k: v[few] for k, v in data.splits.items()})
    lesson = expert.prepare(method, PartSegmentation(), small, clouds)
    assert lesson.labels is None
    cache = token_cache(tiny_teacher, lesson.labelled, BUDGET.views, ctx)
    rows = np.arange(len(lesson.labelled.points))
    known = lesson.labels_of(cache, rows, rows * 0)
    parts = np.unique(known)
    assert len(parts) == 2
    head = fit_head(lesson, cache)
    with torch.no_grad():
        found = head(lesson.read(cache.target(rows, rows * 0).features)).argmax(-1)
    majority = max(float((known == part).float().mean()) for part in parts)
    assert float((found == known).float().mean()) > majority + 0.05
    student = make_student(method, tiny_teacher, clouds, ctx)
    report = expert.train(student, tiny_teacher, lesson, method=method, ctx=ctx, budget=BUDGET)
    assert report.curve[-1]["loss"] < report.curve[0]["loss"] + 0.5


def test_logit_distillation_has_no_labels_to_weigh() -> None:
    with pytest.raises(ValueError, match="alpha must be in"):
        LogitKD(alpha=0.5)
