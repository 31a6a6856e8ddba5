"""Ranks by worth: the gains are what is lost to first order, and the budget goes to what gains most for its cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foundry_bench.datasets import PointCloudDataset
from foundry_bench.students.linears import calibrate, linears, trainable_copy
from foundry_bench.students.ranks import Choices, Worth, choices, spread, worths
from foundry_bench.teachers.transformer import PointTransformer


def test_a_gain_is_the_squared_error_of_the_tokens_without_the_direction(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on the norm's neighbour, the last layer, by taking a thousandth of each direction away."""
    monkeypatch.setattr("foundry_bench.students.ranks.PROBES", 300)
    student = trainable_copy(tiny_teacher, tokenizer=True)
    name = "blocks.2.mlp.fc2"
    layer = student.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    patches = student.tokenize(torch.from_numpy(clouds.points[:6, :256]))
    basis = torch.linalg.svd(layer.weight.detach()).U
    worth = worths(student, patches, {name: layer}, {name: basis})[name]
    assert worth.rows == tiny_teacher.config.groups
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        before, lost = student(patches).features, []
        for u in basis.T:
            layer.weight.copy_(weight - 1e-2 * torch.outer(u, u @ weight))
            lost.append((student(patches).features - before).square().sum(dim=(1, 2)).mean() * 1e4)
    assert torch.allclose(worth.gains.float(), torch.stack(lost), rtol=0.25)


def test_rows_are_counted_per_cloud_and_layers_that_do_not_run_are_left_out(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = trainable_copy(tiny_teacher, tokenizer=True)
    student.idle = nn.Linear(8, 8)
    layers = linears(student)
    bases = {name: torch.eye(layer.out_features) for name, layer in layers.items()}
    patches = student.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    found = worths(student, patches, layers, bases)
    assert set(layers) - set(found) == {"idle"}
    seen: dict[str, int] = {}
    calibrate(student, patches, layers, lambda name, _, inputs: seen.update({name: len(inputs)}))
    assert {name: worth.rows for name, worth in found.items()} == {k: n / 2 for k, n in seen.items()}
    assert found["tokenizer.local"].rows == 8 * found["blocks.0.mlp.fc1"].rows


def test_choices_stop_where_the_layer_itself_is_cheaper() -> None:
    layer = nn.Linear(12, 8)
    some = choices(layer, Worth(torch.arange(8, 0, -1).double(), 2.0), 3)
    assert some.ranks == [1, 2, 3, 4, None]
    assert some.costs == [40.0, 80.0, 120.0, 160.0, 192.0]
    assert some.gains == [8.0, 15.0, 21.0, 26.0, 36.0]
    silent = choices(layer, Worth(torch.zeros(8), 2.0), 3)
    assert (silent.ranks, silent.costs) == ([3], [120.0])


def test_the_budget_goes_to_what_gains_most_for_its_cost() -> None:
    dear = Choices([1, 2, None], [10.0, 20.0, 25.0], [100.0, 109.0, 110.0])
    cheap = Choices([1, 2, None], [1.0, 2.0, 3.0], [5.0, 7.0, 8.0])
    assert spread({"dear": dear, "cheap": cheap}, 11.0) == {"dear": 1, "cheap": 1}
    assert spread({"dear": dear, "cheap": cheap}, 13.0) == {"dear": 1, "cheap": None}
    assert spread({"dear": dear, "cheap": cheap}, 23.0) == {"dear": 2, "cheap": None}
    assert spread({"dear": dear, "cheap": cheap}, 28.0) == {"dear": None, "cheap": None}


def test_a_layer_may_gain_most_by_all_its_directions_at_once() -> None:
    late = Choices([1, 2, None], [10.0, 20.0, 22.0], [1.0, 2.0, 50.0])
    steady = Choices([1, 2, 3, None], [10.0, 20.0, 30.0, 34.0], [10.0, 20.0, 30.0, 31.0])
    assert spread({"late": late, "steady": steady}, 32.0) == {"late": None, "steady": 1}
