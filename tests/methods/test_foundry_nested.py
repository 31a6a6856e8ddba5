"""Nested Foundry: every prefix of the SuperTokens serves by itself, and one student serves all."""

from __future__ import annotations

import pytest
import test_foundry
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.method import Method
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.foundry_nested import MOST, FoundryNested, NestedStudent, balanced, drawn_counts
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
        state = {k: v for k, v in nested.state_dict().items() if not k.startswith("alone.")}
        if assignment == "soft":
            state["dso.supertokens"] = state["dso.supertokens"][:count]
        plain.load_state_dict(state)
        with torch.no_grad():
            assert torch.equal(nested(patches).features, plain(patches).features)


def test_none_of_them_is_foundry_without_context_by_a_reconstruction_of_its_own(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    nested = make_student(FoundryNested(supertokens=0), tiny_teacher, clouds, Context()).eval()
    torch.nn.init.normal_(nested.alone.fc2.weight)  # type: ignore[union-attr]
    alone = make_student(Foundry(supertokens=0), tiny_teacher, clouds, Context()).eval()
    state = {k: v for k, v in nested.state_dict().items() if not k.startswith("cau.")}
    alone.load_state_dict({k.replace("alone.", "cau."): v for k, v in state.items()}, strict=False)
    with torch.no_grad():
        ours, theirs = nested(patches, levels=True), alone(patches, levels=True)
    assert torch.equal(ours.features, theirs.features)
    assert [torch.equal(*pair) for pair in zip(ours.levels, theirs.levels, strict=True)] == [True] * 3


def test_every_step_serves_all_none_and_two_between_and_in_time_every_number() -> None:
    torch.manual_seed(0)
    drawn = [drawn_counts() for _ in range(200)]
    assert all(counts[0] == MOST and counts[-1] == 0 and len(set(counts)) == 4 for counts in drawn)
    assert {count for counts in drawn for count in counts} == set(range(MOST + 1))


@pytest.mark.parametrize("assignment", ["soft", "slots"])
def test_one_loss_reaches_every_part_and_leaves_the_student_configured(
    assignment: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    method = FoundryNested(supertokens=2, assignment=assignment)  # type: ignore[arg-type]
    student = make_student(method, tiny_teacher, clouds, Context()).train()
    target = tiny_teacher(patches)
    loss = method.loss(student, patches, target)
    assert student.supertokens == 2
    full = Method.loss(FoundryNested(MOST), _at(student, MOST), patches, target)
    assert loss.item() == pytest.approx(full.item(), rel=1e-5), "what is logged is the loss of all of them"
    loss.backward()
    for part in (student.alone.fc2, student.cau.fc2, student.dso.q, student.blocks):  # type: ignore[union-attr]
        assert any(float(p.grad.abs().sum()) > 0 for p in part.parameters() if p.grad is not None)


def _at(student: NestedStudent, count: int) -> NestedStudent:
    student.supertokens = count
    return student


def test_balanced_losses_pull_by_the_same_share_of_their_error() -> None:
    x = torch.tensor([2.0, 5.0, 3.0], requires_grad=True)
    losses = [x[0], 10 * x[1], x[2] ** 2]
    value = balanced(losses)
    assert value.item() == pytest.approx(2.0), "the first one's"
    (gradient,) = torch.autograd.grad(value, x)
    log = torch.tensor([1 / 2, 1 / 5, 2 / 3])  # of log(loss)
    assert torch.allclose(gradient, 2.0 * log / 3)


def test_a_loss_of_nothing_is_no_nan() -> None:
    x = torch.zeros(2, requires_grad=True)
    balanced([x.sum(), x.square().sum()]).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_one_student_serves_all_rows_of_the_grid() -> None:
    assert len({str(FoundryNested(supertokens=s).trained()) for s in FoundryNested.grid["supertokens"]}) == 1


ZERO = None  # the reconstruction is always there


def closed_form(method: FoundryNested, config: EncoderConfig, trains: bool) -> int:
    """That of Foundry with as many SuperTokens."""
    plain = Foundry(method.supertokens, assignment=method.assignment)
    return test_foundry.closed_form(plain, config, trains)
