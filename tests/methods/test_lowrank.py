"""Low-rank layers: the cut is the best one, and it is made only where it saves something."""

from __future__ import annotations

from pathlib import Path

import closed_form as form
import pytest
import torch
from torch import nn

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.lowrank import LowRank, directions, factored, rank, saved_rank, truncated_svd
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.students.linears import linears
from foundry_bench.students.ranks import global_ranks, worths
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.distillation import shares_tokenizer

OFF = Context(variant="off-the-shelf")


@pytest.mark.parametrize(("m", "n", "most"), [(384, 1536, 307), (384, 1152, 287), (384, 384, 191)])
def test_rank_stays_below_what_gains(m: int, n: int, most: int) -> None:
    """The published bounds of a ViT-S: 384 x 1536 gains below 307.2, 384 x 1152 below 288, 384 x 384 below 192."""
    assert rank(m, n, 0.9999) == most
    assert rank(m, n, 0.5) == m * n // (2 * (m + n))
    assert rank(m, n, 1.0) is None


def test_a_layer_that_cannot_gain_stays_dense() -> None:
    assert rank(8, 1, 0.99) is None
    assert rank(2, 2, 0.99) is None
    assert rank(8, 8, 0.01) == 1


def test_plain_cut_is_the_nearest_matrix_of_its_rank() -> None:
    """Eckart-Young: the error is what the dropped singular values hold."""
    torch.manual_seed(0)
    weight = torch.randn(20, 30, dtype=torch.double)
    second, first = truncated_svd(weight, 7)
    tail = torch.linalg.svdvals(weight)[7:]
    assert (second.shape, first.shape) == ((20, 7), (7, 30))
    assert (weight - second @ first).norm() == pytest.approx(float(tail.norm()))


def test_whitened_cut_is_the_nearest_in_outputs_and_the_published_formula() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 30, dtype=torch.double) @ torch.randn(30, 30, dtype=torch.double)
    weight = torch.randn(20, 30, dtype=torch.double)
    moment = x.T @ x / len(x)
    ours = torch.linalg.multi_dot(truncated_svd(weight, 7, moment))
    root = torch.linalg.cholesky(moment)
    u, s, vt = torch.linalg.svd(weight @ root, full_matrices=False)
    published = (u[:, :7] * s[:7]) @ vt[:7] @ torch.linalg.inv(root)
    assert torch.allclose(ours, published, atol=1e-8)
    plain = torch.linalg.multi_dot(truncated_svd(weight, 7))
    best = torch.linalg.svdvals(x @ weight.T)[7:].norm()
    assert (x @ (weight - ours).T).norm() == pytest.approx(float(best))
    assert (x @ (weight - plain).T).norm() > 1.05 * best


def test_a_layer_of_low_rank_is_found_exactly() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 16)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(16, 3) @ torch.randn(3, 24))
    pair = factored(layer, 3, None)
    x = torch.randn(5, 24)
    assert torch.allclose(pair(x), layer(x), atol=1e-4)
    assert pair[0].bias is None
    assert torch.equal(pair[1].bias, layer.bias)


def test_whitening_survives_inputs_that_are_zero_or_all_the_same(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    with torch.no_grad():
        tiny_teacher.blocks[0].mlp.fc1.weight.zero_()
        tiny_teacher.blocks[0].mlp.fc1.bias.zero_()
        tiny_teacher.blocks[1].norm1.weight.zero_()
    student = make_student(LowRank(0.5), tiny_teacher, clouds, OFF)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:4, :256]))
    assert all(torch.isfinite(p).all() for p in student.parameters())
    assert torch.isfinite(student(patches).features).all()


def test_whitening_brings_students_nearer_to_the_teacher(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256]))
    target = tiny_teacher(patches).features
    errors = [
        (make_student(LowRank(0.5, whiten=whiten), tiny_teacher, clouds, OFF)(patches).features - target)
        .square()
        .mean()
        for whiten in (True, False)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_the_tokenizer_is_the_teachers_unless_asked_for(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student = make_student(LowRank(0.5, tokenizer=False), tiny_teacher, clouds, Context())
    assert shares_tokenizer(student, tiny_teacher)
    both = make_student(LowRank(0.5), tiny_teacher, clouds, Context())
    assert all(p.requires_grad for p in both.parameters())
    assert isinstance(both.tokenizer.lift, nn.Linear)
    assert all(
        isinstance(both.tokenizer.get_submodule(n), nn.Sequential) for n in ("local", "from_point", "project")
    )


def test_another_methods_student_gets_cheaper(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    first = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context())
    student = make_student(LowRank(0.5), first, clouds, Context())
    patches = first.tokenize(torch.from_numpy(clouds.points[:1, :256]))
    assert count_macs(student, patches).total < 0.65 * count_macs(first, patches).total
    assert linears(student)["cau.fc1.0"].out_features == 8


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.8])
def test_global_ranks_cost_what_uniform_ones_do_and_lose_less(
    keep: float, tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """One block whose MLP adds next to nothing: its directions go to the other layers."""
    with torch.no_grad():
        tiny_teacher.blocks[1].mlp.fc2.weight.mul_(0.01)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:, :256]))
    target = tiny_teacher(patches).features
    macs, errors, idle = [], [], []
    for allocate in ("uniform", "global"):
        student = make_student(LowRank(keep, allocate), tiny_teacher, clouds, OFF)
        macs.append(count_macs(student, patches[:1]).total)
        errors.append((student(patches).features - target).square().mean().item())
        fc1 = student.blocks[1].mlp.fc1
        idle.append(fc1[0].out_features if isinstance(fc1, nn.Sequential) else fc1.in_features)
    assert 0.99 * macs[0] < macs[1] <= macs[0]
    assert errors[1] < 0.8 * errors[0]
    assert idle[1] < idle[0]


def test_global_ranks_without_whitening_and_without_the_tokenizer(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    student, uniform = (
        make_student(LowRank(0.3, allocate, tokenizer=False, whiten=False), tiny_teacher, clouds, Context())
        for allocate in ("global", "uniform")
    )
    assert shares_tokenizer(student, tiny_teacher)
    patches = tiny_teacher.tokenize(torch.from_numpy(clouds.points[:1, :256]))
    ours, theirs = (count_macs(one, patches).total for one in (student, uniform))
    assert 0.99 * theirs < ours <= theirs


def test_layers_that_no_output_token_hears_of_keep_their_uniform_rank(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Foundry's assignment is an argmax: what its queries and keys say has no gradient."""
    first = make_student(Foundry(supertokens=2), tiny_teacher, clouds, Context()).eval()
    layers = linears(first, tokenizer=False)
    patches = first.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    bases = {name: directions(layer.weight) for name, layer in layers.items()}
    found = worths(first, patches, layers, bases)
    silent = {name for name, worth in found.items() if not worth.gains.any()}
    assert silent
    assert any(name.startswith("blocks") for name in set(found) - silent)
    uniform = {name: rank(m.out_features, m.in_features, 0.5) for name, m in layers.items()}
    spread = global_ranks(first, patches, layers, bases, uniform)
    assert all(spread[name] == uniform[name] for name in silent)
    assert spread != uniform


@pytest.mark.parametrize(
    "selector", ["lowrank[keep=0.2,allocate=global]", "kd+lowrank[allocate=global]+int8"]
)
def test_a_saved_student_has_its_own_ranks(
    selector: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    """They are not those that the stand-in, which it is made again from, would get."""
    student = make_student(f"{selector}+fmd", tiny_teacher, clouds)
    save_student(student, tmp_path / "student")
    patches = student.tokenize(torch.from_numpy(clouds.points[:2, :256]))
    assert torch.equal(load_student(tmp_path / "student")(patches).features, student(patches).features)


@pytest.mark.parametrize(("shape", "expected"), [((3, 8), 3), ((), None), ((0, 8), None), (None, None)])
def test_a_saved_rank_is_read_from_a_shape(shape: tuple[int, ...] | None, expected: int | None) -> None:
    shapes = {} if shape is None else {"blocks.0.mlp.fc1.0.weight": shape}
    assert saved_rank("blocks.0.mlp.fc1", shapes) == expected


@pytest.mark.parametrize("values", [{"keep": 0.0}, {"keep": 1.1}, {"samples": 0}])
def test_bad_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        LowRank(**values)


ZERO = LowRank(keep=1.0)


def closed_form(method: LowRank, config: EncoderConfig, trains: bool) -> int:
    """r (m + n) for each layer n -> m in place of m n; coordinates' layers and attention products are not factored."""

    def cost(n: int, m: int) -> int:
        r = max(1, int(method.keep * m * n / (m + n)))
        return m * n if method.keep == 1 else min(m * n, r * (m + n))

    tokens, dim, hidden = config.groups, config.dim, round(config.mlp_ratio * config.dim)
    total = tokens * (3 * 128 + cost(128, dim))
    if method.tokenizer:
        w0, w1, w2 = config.tokenizer_widths
        per_point = 3 * w0 + cost(w0, w1) + cost(w1, w2) + cost(w2, dim)
        total += tokens * (config.group_size * per_point + cost(w1, w2))
    else:
        total += form.tokenizer(config)
    layers = cost(dim, 3 * dim) + cost(dim, dim) + cost(dim, hidden) + cost(hidden, dim)
    return total + config.depth * (tokens * layers + 2 * tokens**2 * dim)
