"""The figures of a student: clouds by rule, groups and gates as the student has them, the same files for the same content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import foundry_bench as fb
from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.figures.clouds import GREY, colours_of_groups, mixed, of_nearest, seen
from foundry_bench.figures.entropy import assignment_entropy, attention_entropy
from foundry_bench.figures.kinds import KINDS
from foundry_bench.figures.looked import Looked, chosen, look
from foundry_bench.figures.student import FIGURES
from foundry_bench.figures.tokens import groups_of
from foundry_bench.teachers import PointTransformer


def looked_at(selector: str, teacher: PointTransformer, clouds: PointCloudDataset) -> Looked:
    return look(fb.make_student(selector, teacher), teacher, clouds, Context())


def test_the_best_the_median_and_the_worst_are_shown() -> None:
    r2 = np.array([0.5, 0.9, 0.1, 0.7, 0.8])
    assert chosen(r2, 3) == [1, 3, 2]
    assert chosen(r2, 1) == [3]
    assert chosen(r2, 9) == [1, 4, 3, 0, 2]


def test_the_teacher_itself_has_no_error(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    looked = look(tiny_teacher, tiny_teacher, clouds, Context())
    assert np.allclose(looked.r2, 1.0)
    assert looked.student.shape == (len(clouds.points), tiny_teacher.config.groups, tiny_teacher.config.dim)


def test_r2_of_a_cloud_is_one_minus_its_mean_error(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    looked = looked_at("fps[tokens=4]+off-the-shelf", tiny_teacher, clouds)
    tokens = looked.teacher.flatten(0, 1)
    variance = (tokens - tokens.mean(dim=0)).square().sum() / len(tokens)
    error = (looked.student[0] - looked.teacher[0]).square().sum(dim=-1).mean()
    assert looked.r2[0] == pytest.approx(float(1 - error / variance), rel=1e-4)


@pytest.mark.parametrize(
    ("selector", "most"), [("foundry[supertokens=3]", 3), ("tome[r=4]+off-the-shelf", 16)]
)
def test_groups_are_those_that_the_student_made(
    selector: str, most: int, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    groups = groups_of(looked_at(selector, tiny_teacher, clouds))
    assert groups is not None
    assert groups.shape == (len(clouds.points), tiny_teacher.config.groups)
    counts = [len(row.unique()) for row in groups]
    assert 1 < max(counts) <= most


def test_a_student_that_groups_nothing_has_no_picture_of_groups(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    assert groups_of(looked_at("kd[depth=1]", tiny_teacher, clouds)) is None


def test_a_point_has_the_colour_of_its_patch() -> None:
    centers = np.array([[0.0, 0, 0], [1, 0, 0]])
    values = np.array([[1.0, 0, 0], [0, 0, 1]])
    points = np.array([[0.0, 0, 0], [0.9, 0, 0], [0.5, 0, 0]])
    assert of_nearest(points, centers, values)[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert mixed(points, centers, values)[2].tolist() == pytest.approx([0.5, 0, 0.5])
    assert mixed(points, centers, values)[0] == pytest.approx([1, 0, 0], abs=0.01)


def test_groups_have_colours_of_their_own_and_who_is_alone_is_grey() -> None:
    colours = colours_of_groups(np.array([7, 7, 7, 2, 2, 5]))
    assert len({tuple(colour) for colour in colours}) == 3
    assert tuple(colours[5]) == GREY


def test_up_is_up_on_the_page() -> None:
    place, _ = seen(np.array([[0.0, 0, 0], [0, 0, 1]]))
    assert place[1, 1] > place[0, 1]
    assert place[1, 0] == pytest.approx(place[0, 0])


def test_entropy_is_one_where_all_are_looked_at_alike(tiny_teacher: PointTransformer) -> None:
    assert assignment_entropy(torch.ones(2, 5, 4)) == pytest.approx(1.0)
    assert assignment_entropy(torch.eye(4)[None]) == pytest.approx(0.0)
    for block in tiny_teacher.blocks:
        block.attn.qkv.weight.zero_()
        block.attn.qkv.bias.zero_()
    patches = tiny_teacher.tokenize(torch.randn(2, 256, 3).clamp(-0.5, 0.5))
    found = attention_entropy(tiny_teacher, patches)
    assert found == pytest.approx([1.0] * tiny_teacher.config.depth)


def test_all_figures_of_a_gate_are_written_and_are_the_same_twice(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    student = fb.make_student("foundry-gate[supertokens=4]", tiny_teacher)
    files = fb.visualize(student, tmp_path / "a", tiny_teacher, clouds, objects=2)
    names = {"pca", "groups", "gate", "errors", "entropy"}
    assert {path.name for path in files} == {f"{n}.{e}" for n in names for e in ("png", "svg", "csv")}
    again = fb.visualize(student, tmp_path / "b", tiny_teacher, clouds, objects=2)
    assert [p.read_bytes() for p in files if p.suffix == ".svg"] == [
        p.read_bytes() for p in again if p.suffix == ".svg"
    ]
    curve = pd.read_csv(tmp_path / "a" / "gate.csv")
    assert curve["share_alone"].is_monotonic_decreasing
    assert curve["rows"].iloc[0] == tiny_teacher.config.groups  # r = 0: all run by themselves
    assert student.r == "auto"  # type: ignore[union-attr]  # as it was before
    objects = pd.read_csv(tmp_path / "a" / "errors.csv")
    assert objects["shown"].sum() == 2
    assert objects["r2"].is_monotonic_decreasing


def test_a_teacher_of_another_kind_is_refused(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    student = fb.make_student("kd[depth=1]", tiny_teacher)
    with pytest.raises(UserError, match="give the teacher that it was made from"):
        fb.visualize(student, tmp_path, fb.load_teacher("small"), clouds)
    with pytest.raises(UserError, match="teacher is not recorded"):
        fb.visualize(student, tmp_path, dataset=clouds)


def test_every_figure_is_told_in_words() -> None:
    assert list(KINDS) == list(FIGURES)
