"""The cheap tokenizer: fewer points that keep a patch's extent, narrower layers that are re-fitted, blocks as they were."""

from __future__ import annotations

from dataclasses import replace

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.methods.tokenizer import CheapTokenizer, thinned
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers.transformer import PointTransformer

OFF = Context(variant="off-the-shelf")
ZERO = CheapTokenizer(width=1.0, points=1.0)


def closed_form(method: CheapTokenizer, config: EncoderConfig, trains: bool) -> int:
    widths = tuple(round(method.width * w) for w in config.tokenizer_widths)
    size = round(method.points * config.group_size)
    cheap = form.tokenizer(replace(config, tokenizer_widths=widths, group_size=size))
    return form.teacher(config) - form.tokenizer(config) + cheap


def test_thinning_keeps_the_extent_and_forgets_the_order() -> None:
    line = torch.tensor([0.0, 3.0, 1.0, 4.0, 1.5])[:, None] * torch.tensor([1.0, 0.0, 0.0])
    points = line[None, None]
    assert thinned(points, 3)[0, 0, :, 0].tolist() == [4.0, 0.0, 1.5]
    assert torch.equal(thinned(points[:, :, torch.tensor([4, 2, 0, 1, 3])], 3), thinned(points, 3))
    assert thinned(points, 1)[0, 0, :, 0].tolist() == [4.0]
    assert sorted(thinned(points, 5)[0, 0, :, 0].tolist()) == [0.0, 1.0, 1.5, 3.0, 4.0]


def test_tokens_do_not_depend_on_the_order_of_points(
    tiny_teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    student = make_student(CheapTokenizer(), tiny_teacher, clouds, OFF)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    moved = Patches(patches.neighborhoods[:, :, order], patches.centers)
    with torch.no_grad():
        assert torch.allclose(student(moved).features, student(patches).features, atol=1e-5)


def test_the_teachers_blocks_are_left_and_its_tokens_nearly(
    tiny_teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset
) -> None:
    student = make_student(CheapTokenizer(points=1.0), tiny_teacher, clouds, OFF)
    ours, theirs = student.state_dict(), tiny_teacher.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("tokenizer."))
    with torch.no_grad():
        target = tiny_teacher.tokenizer(patches.neighborhoods)
        error = (student.tokenizer(patches.neighborhoods) - target).square().mean()
    assert error < 0.2 * (target - target.mean(dim=(0, 1))).square().mean()


@pytest.mark.parametrize(
    "selector", ["kd[depth=2]+tokenizer", "lowrank[tokenizer=false]+tokenizer", "tokenizer+lowrank"]
)
def test_it_stands_in_stacks_that_are_saved_and_trained(
    selector: str, tiny_teacher: PointTransformer, patches: Patches, clouds: PointCloudDataset, tmp_path
) -> None:
    student = make_student(f"{selector}+fmd", tiny_teacher, clouds)
    assert all(p.requires_grad for p in student.tokenizer.parameters())
    save_student(student, tmp_path / "student")
    assert torch.equal(load_student(tmp_path / "student")(patches).features, student(patches).features)
    assert count_macs(student, patches[:1]).tokenizer < 0.4 * count_macs(tiny_teacher, patches[:1]).tokenizer


def test_a_tokenizer_that_another_method_changed_is_named(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    factored = make_student("lowrank[keep=0.5]+off-the-shelf", tiny_teacher, clouds)
    with pytest.raises(UserError, match="changed; put it before"):
        make_student(CheapTokenizer(), factored, clouds, OFF)
    del tiny_teacher.tokenizer
    with pytest.raises(UserError, match="has none"):
        make_student(CheapTokenizer(), tiny_teacher, clouds, OFF)


@pytest.mark.parametrize("values", [{"width": 0.0}, {"width": 1.5}, {"points": 0.0}, {"samples": 0}])
def test_bad_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        CheapTokenizer(**values)
