"""The trainer freezes, thaws, repeats itself exactly, and says no to what cannot be trained."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, TokenEncoder, pool
from foundry_bench.errors import UserError
from foundry_bench.method import OFF_THE_SHELF
from foundry_bench.methods.truncate import Truncate
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.finetuning import Loss, Recipe, floating_parameters, seeded, train_head

ROWS = np.arange(14)
CTX = Context()


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(len(ROWS), 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def patches(clouds: PointCloudDataset, tiny_teacher: PointTransformer) -> Patches:
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[: len(ROWS)]))


def new_head(inputs: int = 8) -> nn.Sequential:
    with seeded(CTX, "head"):
        return nn.Sequential(
            nn.Linear(inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2)
        )


def two_classes(head: nn.Module, inputs: Tensor) -> Loss:
    labels = torch.arange(len(inputs)) % 2
    return lambda rows: F.cross_entropy(head(inputs[rows]), labels[rows])


def on_encoder(head: nn.Module, encoder: Encoder, patches: Patches) -> Loss:
    labels = torch.arange(len(patches)) % 2

    def loss(rows: np.ndarray) -> Tensor:
        pooled = pool(encoder(patches[torch.from_numpy(rows)]).features)
        return F.cross_entropy(head(pooled).float(), labels[rows])

    return loss


def state(*modules: nn.Module) -> list[Tensor]:
    return [value.clone() for module in modules for value in module.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_rate_warms_up_over_its_share_of_the_steps_and_then_falls_to_zero() -> None:
    recipe = Recipe(150, lr=1e-3, warmup=10 / 150)
    rates = [recipe.rate(step, 1500) for step in range(1500)]
    assert rates[0] == pytest.approx(1e-5)
    assert int(np.argmax(rates)) in (99, 100)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] < 1e-8
    assert rates[100 + 700] == pytest.approx(5e-4)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"frozen": 1.1}, {"frozen": -0.1}])
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        Recipe(**{"epochs": 2, **wrong})  # type: ignore[arg-type]


def test_a_head_learns_what_can_be_learnt(features: Tensor) -> None:
    head = new_head()
    train_head(
        head, None, two_classes(head, features), ROWS, Recipe(60, batch_size=8, lr=1e-2), CTX, what="head"
    )
    assert not head.training
    assert (head(features).argmax(dim=1) == torch.arange(len(ROWS)) % 2).all()


def test_the_same_call_gives_the_same_weights_and_another_seed_others(features: Tensor) -> None:
    def trained(ctx: Context, what: str = "head") -> list[Tensor]:
        head = new_head()
        train_head(head, None, two_classes(head, features), ROWS, Recipe(3, batch_size=4), ctx, what=what)
        return state(head)

    torch.manual_seed(1)
    first = trained(CTX)
    torch.manual_seed(2)
    assert same(first, trained(CTX))
    assert not same(first, trained(Context(seed=1)))
    assert not same(first, trained(CTX, "another head"))


def test_the_callers_random_numbers_are_left_alone(features: Tensor) -> None:
    head = new_head()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_head(head, None, two_classes(head, features), ROWS, Recipe(1), CTX, what="head")
    assert torch.equal(torch.rand(3), expected)


def test_every_epoch_sees_each_row_once_in_even_batches(features: Tensor) -> None:
    """13 rows in batches of 4 would leave one row alone, for which a batch norm has no statistics."""
    head, seen, told = new_head(), [], []
    loss = two_classes(head, features)

    def spy(rows: np.ndarray) -> Tensor:
        seen.append(rows)
        return loss(rows)

    ctx = Context(progress=lambda what, done, total: told.append((what, done, total)))
    train_head(head, None, spy, ROWS[:13], Recipe(2, batch_size=4), ctx, what="head")
    assert sorted(len(rows) for rows in seen) == [3] * 6 + [4] * 2
    epochs = [np.concatenate(seen[:4]), np.concatenate(seen[4:])]
    assert all((np.sort(epoch) == np.arange(13)).all() for epoch in epochs)
    assert not np.array_equal(*epochs)
    assert told[-1] == ("head", 8, 8)


def test_a_frozen_encoder_keeps_its_weights_and_statistics_and_mode(
    tiny_teacher: PointTransformer, patches: Patches
) -> None:
    head, before = new_head(64), state(tiny_teacher)
    flags = [p.requires_grad for p in tiny_teacher.parameters()]
    loss = on_encoder(head, tiny_teacher, patches)

    def spy(rows: np.ndarray) -> Tensor:
        assert not tiny_teacher.training
        assert not any(p.requires_grad for p in tiny_teacher.parameters())
        return loss(rows)

    for training in (True, False):
        tiny_teacher.train(training)
        train_head(head, tiny_teacher, spy, ROWS, Recipe(1), CTX, what="head")
        assert tiny_teacher.training == training
    assert same(state(tiny_teacher), before)
    assert [p.requires_grad for p in tiny_teacher.parameters()] == flags


def test_the_encoder_thaws_after_its_share_of_the_epochs(
    tiny_teacher: PointTransformer, patches: Patches
) -> None:
    head, seen = new_head(64), []
    loss = on_encoder(head, tiny_teacher, patches)

    def spy(rows: np.ndarray) -> Tensor:
        seen.append((tiny_teacher.training, state(tiny_teacher.blocks)))
        return loss(rows)

    train_head(head, tiny_teacher, spy, ROWS, Recipe(5, batch_size=7, frozen=0.6), CTX, what="head")
    assert [training for training, _ in seen] == [False] * 6 + [True] * 4
    moved = [not same(seen[0][1], blocks) for _, blocks in seen]
    assert moved == [False] * 7 + [True] * 3


def test_what_distillation_left_frozen_is_trained_too(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(Truncate(), tiny_teacher, clouds, CTX)
    assert isinstance(student, TokenEncoder)
    assert not any(p.requires_grad for p in student.tokenizer.parameters())
    head, before = new_head(64), state(student)
    weights = [p.detach().clone() for p in student.tokenizer.parameters()]
    train_head(
        head,
        student,
        on_encoder(head, student, patches),
        ROWS,
        Recipe(2, batch_size=7, frozen=0),
        CTX,
        what="all",
    )
    assert not any(torch.equal(a, b) for a, b in zip(weights, student.tokenizer.parameters(), strict=True))
    assert not any(p.requires_grad for p in student.tokenizer.parameters())
    statistics = [name for name in student.state_dict() if "running_mean" in name]
    changed = dict(zip(student.state_dict(), before, strict=True))
    # the student's own train() keeps its tokenizer's batch norms still
    assert statistics
    assert all(torch.equal(changed[name], student.state_dict()[name]) for name in statistics)


def test_training_an_encoder_is_repeatable(tiny_teacher: PointTransformer, patches: Patches) -> None:
    results = []
    for _ in range(2):
        encoder, head = copy.deepcopy(tiny_teacher), new_head(64)
        train_head(
            head, encoder, on_encoder(head, encoder, patches), ROWS, Recipe(2, frozen=0), CTX, what="both"
        )
        results.append(state(encoder, head))
    assert same(*results)
    assert not same(results[0][: len(state(tiny_teacher))], state(tiny_teacher))


def test_integer_weights_cannot_be_thawed_but_can_carry_a_head(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    from foundry_bench.methods.int8 import Int8

    student = make_student(Int8(), tiny_teacher, clouds, Context(variant=OFF_THE_SHELF))
    assert floating_parameters(student), "its norms are floating point: that alone does not make it trainable"
    head, before, asked = new_head(64), state(student), []
    loss = on_encoder(head, student, patches)

    def spy(rows: np.ndarray) -> Tensor:
        asked.append(rows)
        return loss(rows)

    with pytest.raises(UserError, match=r"integers.*mode=svm") as error:
        train_head(head, student, spy, ROWS, Recipe(10, frozen=0.9), CTX, what="thaw")
    assert "\n" not in str(error.value)
    assert not asked, "it must say so before nine epochs are spent"
    train_head(head, student, loss, ROWS, Recipe(2, frozen=1), CTX, what="frozen")
    assert same(state(student), before)


def test_an_encoder_without_gradients_is_refused_and_comes_back_as_it_was(
    tiny_teacher: PointTransformer, patches: Patches
) -> None:
    head = new_head(64)

    def loss(rows: np.ndarray) -> Tensor:
        with torch.no_grad():
            pooled = pool(tiny_teacher(patches[torch.from_numpy(rows)]).features)
        return head(pooled).float().square().mean()

    with pytest.raises(UserError, match=r"no gradient.*mode=svm"):
        train_head(head, tiny_teacher, loss, ROWS, Recipe(2, frozen=0), CTX, what="cut")
    assert not tiny_teacher.training
    assert not any(p.requires_grad for p in tiny_teacher.parameters())


def test_a_loss_that_is_not_finite_stops_the_training(features: Tensor) -> None:
    head = new_head()
    with pytest.raises(FloatingPointError, match="head: the loss is nan"):
        train_head(
            head, None, lambda rows: head(features).sum() * math.nan, ROWS, Recipe(1), CTX, what="head"
        )


def test_one_row_is_not_enough(features: Tensor) -> None:
    head = new_head()
    with pytest.raises(ValueError, match="too few"):
        train_head(head, None, two_classes(head, features), ROWS[:1], Recipe(1), CTX, what="head")


def test_gradients_are_clipped() -> None:
    """With plain steps of AdamW the size of a gradient cancels, so the gradients themselves are looked at."""
    layer = nn.Linear(1, 1)
    norms: list[float] = []

    def loss(rows: np.ndarray) -> Tensor:
        if layer.weight.grad is not None:
            norms.append(float(torch.stack([layer.weight.grad.norm(), layer.bias.grad.norm()]).norm()))
        return 1e6 * (layer(torch.ones(2, 1)) + 3).square().sum()

    train_head(layer, None, loss, ROWS, Recipe(3, clip=0.5), CTX, what="layer")
    assert norms == pytest.approx([0.5] * len(norms), rel=1e-3)
    assert len(norms) == 2
