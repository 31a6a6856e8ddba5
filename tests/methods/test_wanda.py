"""Wanda agrees with its specification; its traps are closed."""

from __future__ import annotations

import inspect
from dataclasses import replace as changed

import closed_form as form
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.wanda import Wanda, scaler_row, wanda_mask
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.linears import linears
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import training_inputs
from foundry_bench.training.distillation import shares_tokenizer
from foundry_bench.training.token_cache import calibration_patches, held_out

OFF = Context(variant="off-the-shelf")


def inputs_of(encoder: nn.Module, name: str, patches: Patches) -> Tensor:
    """What the layer ``name`` sees, (B, ..., in)."""
    seen = []
    layer = encoder.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        encoder(patches)
    handle.remove()
    return seen[0]


def published_mask(weight: Tensor, samples: Tensor, sparsity: float) -> Tensor:
    """The mask as the paper describes it, with loops: a running mean over ``samples`` (B, N, in) of ||x_col||^2."""
    running = torch.zeros(weight.shape[1], dtype=torch.double)
    for count, sample in enumerate(samples.double()):
        running = running * (count / (count + 1)) + sample.norm(dim=0) ** 2 / (count + 1)
    keep = torch.ones_like(weight, dtype=torch.bool)
    for row, w in enumerate(weight.double()):
        metric = (w.abs() * running.sqrt()).tolist()
        order = sorted(range(len(metric)), key=metric.__getitem__)
        keep[row, order[: int(len(metric) * sparsity)]] = False
    return keep


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.75])
def test_mask_is_the_published_one(sparsity: float) -> None:
    torch.manual_seed(0)
    weight, samples = torch.randn(7, 33), torch.randn(5, 16, 33) * torch.rand(33)
    ours = wanda_mask(weight, scaler_row(samples.flatten(0, 1)), sparsity)
    assert torch.equal(ours, published_mask(weight, samples, sparsity))
    assert ((~ours).sum(dim=1) == int(33 * sparsity)).all()


def test_rows_are_compared_with_themselves_and_ties_fall_to_the_first() -> None:
    weight = torch.tensor([[100.0, 200.0, 300.0, 400.0], [1.0, 1.0, 1.0, 1.0]])
    kept = wanda_mask(weight, torch.ones(4), 0.5)
    assert kept.tolist() == [[False, False, True, True], [False, False, True, True]]
    loud = wanda_mask(weight, torch.tensor([1e4, 1.0, 1.0, 1.0]), 0.5)
    assert loud.tolist() == [[True, False, False, True], [True, False, False, True]]


def test_layers_are_calibrated_behind_pruned_ones(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Every layer's zeros follow from what it sees in the pruned network; the teacher's inputs would give others."""
    method = Wanda(0.5)
    student = make_student(method, tiny_teacher, clouds, OFF)
    patches = calibration_patches(tiny_teacher, clouds, method.samples)
    differing = 0
    for name, layer in linears(student, tokenizer=False).items():
        weight = tiny_teacher.get_submodule(name).weight
        expected = published_mask(weight, inputs_of(student, name, patches), 0.5)
        assert (expected == (layer.weight != 0)).float().mean() > 0.999, name
        assert torch.equal(layer.weight, weight * (layer.weight != 0))
        differing += not torch.equal(
            expected, published_mask(weight, inputs_of(tiny_teacher, name, patches), 0.5)
        )
    assert differing > 6


def test_calibration_is_on_128_training_objects(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    assert inspect.signature(Wanda).parameters["samples"].default == 128
    hidden = held_out(clouds)[:, None, None]
    spoiled = changed(clouds, points=np.where(hidden, np.nan, clouds.points))
    ours, same = (make_student(Wanda(), tiny_teacher, data, OFF).state_dict() for data in (clouds, spoiled))
    assert all(torch.equal(ours[name], same[name]) for name in ours)
    seen = changed(clouds, points=np.where(hidden, clouds.points, clouds.points[:, :, ::-1] ** 2))
    other = make_student(Wanda(), tiny_teacher, seen, OFF).state_dict()
    assert not all(torch.equal(ours[name], other[name]) for name in ours)


def test_the_tokenizer_is_left_alone_unless_asked_for(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    assert shares_tokenizer(make_student(Wanda(), tiny_teacher, clouds, OFF), tiny_teacher)
    student = make_student(Wanda(tokenizer=True), tiny_teacher, clouds, OFF)
    zeros = {name: (layer.weight == 0).float().mean() for name, layer in linears(student).items()}
    assert sum(name.startswith("tokenizer.") for name in zeros) == 4
    assert all(share == 0.5 for share in zeros.values())


def test_zeros_stay_in_training_also_in_a_student_made_anew_and_loaded(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    method = Wanda(0.75)
    state = make_student(Wanda(0.5), tiny_teacher, clouds, Context()).state_dict()
    student = make_student(method, tiny_teacher, clouds, Context())
    student.load_state_dict(state)
    optimizer = torch.optim.AdamW(
        [p for p in student.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.5
    )
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    student.train()
    for _ in range(3):
        optimizer.zero_grad()
        method.loss(student, training_inputs(student, patches), tiny_teacher(patches)).backward()
        optimizer.step()
    for name, layer in linears(student, tokenizer=False).items():
        trained, loaded = layer.weight, state[f"{name}.weight"]
        assert torch.equal(trained == 0, loaded == 0)
        assert ((trained != 0).sum(dim=1) == trained.shape[1] // 2).all()
        assert not torch.equal(trained, loaded)


def test_another_methods_student_is_pruned_with_its_own_layers(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    first = make_student(Foundry(supertokens=2, published=True), tiny_teacher, clouds, Context())
    student = make_student(Wanda(0.5), first, clouds, Context())
    for layer in (student.cau.fc1, student.cau.fc2, student.blocks[2].attn.proj):
        assert ((layer.weight == 0).sum(dim=1) == 16).all()


@pytest.mark.parametrize("values", [{"sparsity": -0.1}, {"sparsity": 1.0}, {"samples": 0}])
def test_bad_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Wanda(**values)


ZERO = Wanda(sparsity=0.0, tokenizer=True)


def closed_form(method: Wanda, config: EncoderConfig, trains: bool) -> int:
    """Zeros are multiplied like any other weight."""
    return form.teacher(config)
