"""Magnitude pruning: one threshold per matrix, zeros that stay, costs that do not move."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.prune_magnitude import MagnitudePruning, magnitude_mask
from foundry_bench.students.files import make_student
from foundry_bench.students.linears import linears
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import training_inputs
from foundry_bench.training.distillation import shares_tokenizer

OFF = Context(variant="off-the-shelf")


def test_the_threshold_is_one_value_of_the_matrix_and_goes_too() -> None:
    weight = torch.tensor([[1.0, -5.0, 6.0], [-2.0, 2.0, 3.0]])
    assert magnitude_mask(weight, 0.2).tolist() == [[False, True, True], [False, False, True]]
    assert magnitude_mask(weight, 0.5).tolist() == [[False, True, True], [False, False, False]]
    assert magnitude_mask(weight, 0.0).all()


@pytest.mark.parametrize("sparsity", [0.5, 0.75])
def test_every_matrix_reaches_its_sparsity_and_the_rest_is_the_teachers(
    sparsity: float, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(MagnitudePruning(sparsity), tiny_teacher, clouds, OFF)
    pruned = linears(student, tokenizer=False)
    assert len(pruned) == 13
    for name, layer in pruned.items():
        zeros, original = layer.weight == 0, tiny_teacher.get_submodule(name).weight
        assert zeros.float().mean() == pytest.approx(sparsity, abs=1.5 / zeros.numel())
        assert original[zeros].abs().max() < original[~zeros].abs().min()
        assert torch.equal(layer.weight[~zeros], original[~zeros])
    weights = {f"{name}.weight" for name in pruned}
    for name, value in tiny_teacher.state_dict().items():
        assert name in weights or torch.equal(student.state_dict()[name], value)


@pytest.mark.parametrize("tokenizer", [True, False])
def test_zeros_stay_in_training_also_in_a_student_made_anew_and_loaded(
    tokenizer: bool, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    method = MagnitudePruning(0.5, tokenizer=tokenizer)
    state = make_student(method, tiny_teacher, clouds, Context()).state_dict()
    with torch.no_grad():
        state["blocks.0.mlp.fc1.weight"][:, :16] = 0  # another pattern than the one that compress finds
    student = make_student(method, tiny_teacher, clouds, Context())
    student.load_state_dict(state)
    assert shares_tokenizer(student, tiny_teacher) is not tokenizer
    before = {name: layer.weight == 0 for name, layer in linears(student).items()}
    optimizer = torch.optim.AdamW(
        [p for p in student.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.5
    )
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    target = tiny_teacher(patches)
    student.train()
    for _ in range(3):
        optimizer.zero_grad()
        method.loss(student, training_inputs(student, patches), target).backward()
        optimizer.step()
    after = linears(student)
    assert all(torch.equal(after[name].weight == 0, zeros) for name, zeros in before.items())
    assert before["blocks.0.mlp.fc1"][:, :16].all()
    assert not torch.equal(after["blocks.0.mlp.fc1"].weight, state["blocks.0.mlp.fc1.weight"])
    assert before["blocks.1.attn.qkv"].float().mean() == pytest.approx(0.5, abs=0.01)
    pruned_tokenizer = [zeros for name, zeros in before.items() if name.startswith("tokenizer.")]
    assert all((zeros.float().mean() > 0.4) == tokenizer for zeros in pruned_tokenizer)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0])
def test_bad_sparsity_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match="sparsity"):
        MagnitudePruning(sparsity)


ZERO = MagnitudePruning(sparsity=0.0, tokenizer=True)


def closed_form(method: MagnitudePruning, config: EncoderConfig, trains: bool) -> int:
    """Zeros are multiplied like any other weight."""
    return form.teacher(config)
