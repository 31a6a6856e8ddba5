"""Nested Foundry: every prefix of the SuperTokens serves by itself, and one student serves all."""

from __future__ import annotations

import pytest
import test_foundry
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.foundry_nested import MOST, FoundryNested
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer


@pytest.mark.parametrize("assignment", ["soft", "slots"])
def test_a_prefix_is_foundry_with_the_first_supertokens(
    assignment: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    nested = make_student(FoundryNested(assignment=assignment), tiny_teacher, clouds, Context()).eval()  # type: ignore[arg-type]
    for count in (1, 5, MOST):
        FoundryNested(supertokens=count).configure(nested)
        plain = make_student(Foundry(count, assignment=assignment), tiny_teacher, clouds, Context()).eval()  # type: ignore[arg-type]
        state = nested.state_dict()
        if assignment == "soft":
            state["dso.supertokens"] = state["dso.supertokens"][:count]
        plain.load_state_dict(state)
        with torch.no_grad():
            assert torch.equal(nested(patches).features, plain(patches).features)


def test_none_of_them_is_foundry_without_context(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    nested = make_student(FoundryNested(supertokens=0), tiny_teacher, clouds, Context()).eval()
    alone = make_student(Foundry(supertokens=0), tiny_teacher, clouds, Context()).eval()
    alone.load_state_dict(nested.state_dict(), strict=False)
    with torch.no_grad():
        ours, theirs = nested(patches, levels=True), alone(patches, levels=True)
    assert torch.equal(ours.features, theirs.features)
    assert [torch.equal(*pair) for pair in zip(ours.levels, theirs.levels, strict=True)] == [True] * 3


def test_training_draws_every_number_and_later_ones_get_gradients_less_often(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryNested(supertokens=2), tiny_teacher, clouds, Context()).train()
    torch.manual_seed(0)
    drawn = []
    for _ in range(200):
        found = student(patches[:1])
        drawn.append(found.aux["assignment"].shape[-1] if found.aux else 0)
    assert set(drawn) == set(range(MOST + 1))
    student.eval()
    assert student(patches[:1]).aux["assignment"].shape[-1] == 2, "what was configured, after any training"


def test_one_student_serves_all_rows_of_the_grid() -> None:
    assert len({str(FoundryNested(supertokens=s).trained()) for s in FoundryNested.grid["supertokens"]}) == 1


ZERO = None  # the reconstruction is always there


def closed_form(method: FoundryNested, config: EncoderConfig, trains: bool) -> int:
    """That of Foundry with as many SuperTokens."""
    plain = Foundry(method.supertokens, assignment=method.assignment)
    return test_foundry.closed_form(plain, config, trains)
