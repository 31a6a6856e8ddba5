"""Linear layers of an encoder: folding, freezing, listing, and calibration in the order in which they run."""

from __future__ import annotations

import copy
from dataclasses import replace as changed

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.methods.foundry import Foundry
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.linears import (
    RIDGE,
    FoldedPointNet,
    SparseLinear,
    calibrate,
    linears,
    replace,
    second_moments,
    trainable_copy,
)
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.distillation import shares_tokenizer
from foundry_bench.training.token_cache import calibration_patches, held_out


@pytest.fixture
def patches(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[:6, :256]))


@pytest.fixture
def seasoned(tiny_teacher: PointTransformer, patches: Patches) -> PointTransformer:
    """A teacher whose batch norms have statistics, scales and shifts of their own."""
    for module in tiny_teacher.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    tiny_teacher.train()
    with torch.no_grad():
        tiny_teacher(patches)
    return tiny_teacher.eval()


def inputs_of(encoder: nn.Module, layer: nn.Linear, patches: Patches) -> Tensor:
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    with torch.no_grad():
        encoder(patches)
    handle.remove()
    return seen[0]


def test_a_folded_pointnet_is_the_same_function(seasoned: PointTransformer, patches: Patches) -> None:
    folded = FoldedPointNet(seasoned.tokenizer)
    with torch.no_grad():
        ours, theirs = folded(patches.neighborhoods), seasoned.tokenizer(patches.neighborhoods)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert {type(m) for m in folded.children()} == {nn.Linear}


@pytest.mark.parametrize("tokenizer", [True, False])
def test_a_copy_trains_and_its_statistics_never_move(
    tokenizer: bool, seasoned: PointTransformer, patches: Patches
) -> None:
    student = trainable_copy(seasoned, tokenizer)
    assert shares_tokenizer(student, seasoned) is not tokenizer
    assert not any(p.requires_grad for p in seasoned.parameters())
    frozen = {name.split(".")[0] for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == (set() if tokenizer else {"tokenizer"})
    before = {name: value.clone() for name, value in student.state_dict().items()}
    trained, reference = student.train()(patches).features, seasoned(patches).features
    assert torch.allclose(trained, reference, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_copy_of_another_methods_student_may_train_its_tokenizer_too(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    first = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    student = trainable_copy(first, tokenizer=True)
    assert isinstance(student.tokenizer, FoldedPointNet)
    assert torch.allclose(student.eval()(patches).features, first(patches).features, atol=1e-5)
    assert {"dso.q", "cau.fc1", "blocks.0.attn.qkv", "tokenizer.project"} <= set(linears(student))


def test_layers_of_coordinates_are_not_listed(tiny_teacher: PointTransformer) -> None:
    names = set(linears(trainable_copy(tiny_teacher, True)))
    assert "positional_encoding.0" not in names
    assert "tokenizer.lift" not in names
    assert {"positional_encoding.2", "tokenizer.local", "blocks.2.mlp.fc2"} <= names
    assert not any(name.startswith("tokenizer.") for name in linears(tiny_teacher, tokenizer=False))


def test_replace_reaches_into_sequences(tiny_teacher: PointTransformer) -> None:
    student = trainable_copy(tiny_teacher, False)
    replace(student, "positional_encoding.2", nn.Identity())
    assert isinstance(student.positional_encoding[2], nn.Identity)


def test_calibration_sees_training_objects_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    kept_back = held_out(clouds)
    assert 0 < kept_back.sum() < len(kept_back)
    spoiled = changed(clouds, points=np.where(kept_back[:, None, None], np.nan, clouds.points))
    every = calibration_patches(tiny_teacher, spoiled, clouds=1000)
    assert len(every) == (~kept_back).sum()
    few = calibration_patches(tiny_teacher, spoiled, clouds=5)
    assert len(few) == 5
    first, last = np.flatnonzero(~kept_back)[[0, -1]]
    ends = tiny_teacher.tokenize(torch.from_numpy(clouds.points[[first, last], :256]))
    assert torch.equal(few.centers[[0, -1]], ends.centers)


def test_layers_are_visited_once_in_running_order_and_see_what_was_done_before(
    tiny_teacher: PointTransformer, patches: Patches
) -> None:
    student = trainable_copy(tiny_teacher, False)
    layers = linears(student, tokenizer=False)
    seen: dict[str, Tensor] = {}

    def halve(name: str, layer: nn.Linear, inputs: Tensor) -> None:
        assert name not in seen
        seen[name] = inputs.clone()
        layer.weight.mul_(0.5)

    calibrate(student, patches, dict(reversed(layers.items())), halve)
    order = [
        f"blocks.{i}.{part}" for i in range(3) for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    assert list(seen) == ["positional_encoding.2", *order]
    for name, layer in layers.items():
        assert torch.allclose(seen[name], inputs_of(student, layer, patches), atol=1e-6)
        assert torch.equal(layer.weight, 0.5 * tiny_teacher.get_submodule(name).weight)
    assert not torch.allclose(
        seen["blocks.2.mlp.fc2"], inputs_of(tiny_teacher, tiny_teacher.blocks[2].mlp.fc2, patches), atol=1e-3
    )


def test_no_hook_stays_behind_even_after_an_error(tiny_teacher: PointTransformer, patches: Patches) -> None:
    def fail(name: str, layer: nn.Linear, inputs: Tensor) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        calibrate(tiny_teacher, patches, linears(tiny_teacher), fail)
    assert not any(layer._forward_pre_hooks for layer in tiny_teacher.modules())


def test_second_moments_are_those_of_the_inputs(tiny_teacher: PointTransformer, patches: Patches) -> None:
    idle = nn.Linear(16, 16)
    layer = tiny_teacher.blocks[1].mlp.fc2
    moments = second_moments(tiny_teacher, patches, {"fc2": layer, "idle": idle})
    x = inputs_of(tiny_teacher, layer, patches).double()
    expected = x.T @ x / len(x)
    damping = RIDGE * expected.diagonal().mean() * torch.eye(len(expected), dtype=torch.double)
    assert torch.allclose(moments["fc2"], expected + damping, rtol=1e-4, atol=1e-6)
    assert torch.equal(moments["idle"], torch.eye(16, dtype=torch.double))


def test_second_moments_of_many_inputs_are_not_those_of_the_same_point_of_every_patch(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """48 clouds have 16 x 8 points each, more than are used; every eighth input is the first point of a patch."""
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256]))
    distance = patches.neighborhoods.norm(dim=-1, keepdim=True)
    patches = Patches(
        patches.neighborhoods.gather(2, distance.argsort(2).expand(-1, -1, -1, 3)), patches.centers
    )
    student = trainable_copy(tiny_teacher, True)
    layer = student.tokenizer.local
    moment = second_moments(student, patches, {"local": layer})["local"]
    x = inputs_of(student, layer, patches).double()
    assert torch.allclose(moment.trace(), (1 + RIDGE) * x.square().sum() / len(x), rtol=0.05)


def test_zeros_of_a_sparse_layer_stay_through_adamw_and_survive_a_copy() -> None:
    torch.manual_seed(0)
    dense = nn.Linear(12, 9)
    with torch.no_grad():
        dense.weight.mul_(torch.rand(9, 12) > 0.5)
    layer = copy.deepcopy(SparseLinear.of(dense))
    zeros = layer.weight == 0
    x = torch.randn(32, 12)
    assert torch.equal(layer(x), dense(x))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    before = layer.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        (layer(x) - 1).square().mean().backward()
        optimizer.step()
    assert torch.equal(layer.weight == 0, zeros)
    assert not torch.isclose(layer.weight[~zeros], before[~zeros]).any()
