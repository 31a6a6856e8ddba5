"""Integers stay exact, tokens stay apart, and what is stored, counted and left float is what the method says."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace as changed

import closed_form as form
import pytest
import torch
from torch import Tensor, nn

from foundry_bench.context import Context
from foundry_bench.cost import bytes_on_disk, count_macs, count_parameters
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.method import OFF_THE_SHELF
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.int8 import (
    ACTIVATIONS,
    WEIGHT_LEVELS,
    Int8,
    Int8Linear,
    affine,
    float_product,
    integer_product,
    quantize_calibrated,
    quantize_tokens,
    quantize_weight,
)
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.students.linears import SparseLinear, linears, trainable_copy
from foundry_bench.teachers import load_teacher
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.testing import check_encoder, check_state
from foundry_bench.training.token_cache import held_out

OFF = Context(variant=OFF_THE_SHELF)
both = pytest.mark.parametrize("activations", ACTIVATIONS)

ZERO = None
"""There is no setting without rounding."""


def closed_form(method: Int8, config: EncoderConfig, trains: bool) -> int:
    """The teacher's: an integer multiply-add is a multiply-add."""
    return form.teacher(config)


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40)


@pytest.fixture
def patches(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return tiny_teacher.tokenize(torch.from_numpy(clouds.points[:6, :256]))


@pytest.fixture
def student_of(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> Callable[[str], PointTransformer]:
    return lambda activations: make_student(Int8(activations), tiny_teacher, clouds, OFF)


def features(encoder: Encoder, patches: Patches) -> Tensor:
    with torch.no_grad():
        return encoder(patches).features


def explained(ours: Tensor, theirs: Tensor) -> float:
    return float(1 - (ours - theirs).square().sum() / (theirs - theirs.mean(dim=(0, 1))).square().sum())


def test_weights_have_a_scale_for_every_output_channel(layer: nn.Linear) -> None:
    weight = layer.weight.detach()
    q, scale = quantize_weight(weight)
    assert q.dtype == torch.int8
    assert (q.abs().amax(dim=1) == WEIGHT_LEVELS).all()
    assert ((q * scale[:, None] - weight).abs() <= scale[:, None] / 2 * 1.0001).all()
    weight[3] *= 1000
    assert torch.equal(quantize_weight(weight)[0], q)


def test_tokens_have_a_scale_each(layer: nn.Linear) -> None:
    x = torch.randn(7, 24)
    q, step = quantize_tokens(x)
    assert ((q * step - x).abs() <= step / 2 * 1.0001).all()
    x[2] *= 1000
    assert torch.equal(quantize_tokens(x)[0], q)


def test_zeros_stay_zero() -> None:
    assert not quantize_weight(torch.zeros(3, 8))[0].any()
    assert not quantize_tokens(torch.zeros(3, 8))[0].any()
    for span in ((1.0, 3.0), (-3.0, -1.0), (-0.17, 2.5), (0.0, 0.0)):
        step, zero = (torch.tensor(float(v)) for v in affine(span))
        assert torch.equal(quantize_calibrated(torch.zeros(1, 1), step, zero).float(), zero.view(1, 1))


def test_a_calibrated_range_uses_all_integers_and_clips_what_is_outside() -> None:
    step, zero = (torch.tensor(float(v)) for v in affine((-0.17, 2.5)))
    x = torch.tensor([[-9.0, -0.17, 2.5, 9.0]])
    assert quantize_calibrated(x, step, zero).tolist() == [[-128, -128, 127, 127]]


@pytest.mark.parametrize("rows", [1, 64, 300])
def test_the_largest_products_do_not_overflow(rows: int) -> None:
    """Processors without VNNI add pairs of products in 16 bits."""
    q = torch.randint(-128, 128, (rows, 192), dtype=torch.int8)
    weight = torch.randint(-WEIGHT_LEVELS, WEIGHT_LEVELS + 1, (96, 192)).to(torch.int8)
    q[::3], q[1::5], weight[::4], weight[1::3] = 127, -128, WEIGHT_LEVELS, -WEIGHT_LEVELS
    expected = (q.long() @ weight.long().T).float()
    assert torch.equal(integer_product(q, weight), expected)
    assert torch.equal(float_product(q, weight), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(float_product(q, weight), expected)


@both
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_float_layer_to_rounding(activations: str, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(96, 40, bias=bias)
    x = torch.randn(2, 50, 96) + 1
    ours = Int8Linear(layer, (float(x.min()), float(x.max())) if activations == "static" else None)
    with torch.no_grad():
        assert ours(x).shape == (2, 50, 40)
        assert explained(ours(x), layer(x)) > 0.999
        assert ours(x.bfloat16()).dtype == torch.bfloat16
        assert ours(x[:, :0]).shape == (2, 0, 40)


@both
def test_every_linear_layer_but_those_that_read_coordinates(
    activations: str, student_of: Callable[[str], PointTransformer]
) -> None:
    """Layer norms, GELU and attention's own products are no linear layers: they are the teacher's modules, in float."""
    student = student_of(activations)
    quantised = {name for name, module in student.named_modules() if isinstance(module, Int8Linear)}
    left = {name for name, module in student.named_modules() if isinstance(module, nn.Linear)}
    blocks = [
        f"blocks.{i}.{name}" for i in range(3) for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    tokenizer = [f"tokenizer.{name}" for name in ("local", "from_group", "from_point", "project")]
    assert quantised == {*blocks, *tokenizer, "positional_encoding.2"}
    assert left == {"tokenizer.lift", "positional_encoding.0"}
    rest = {
        name: t.dtype for name, t in student.state_dict().items() if name.rpartition(".")[0] not in quantised
    }
    assert set(rest.values()) == {torch.float32}
    assert not any(p.requires_grad for p in student.parameters())


@both
def test_a_clouds_tokens_do_not_depend_on_an_outlier_beside_it(
    activations: str, patches: Patches, student_of: Callable[[str], PointTransformer]
) -> None:
    student = student_of(activations)
    alone = features(student, patches[:1])
    loud = Patches(
        torch.cat([patches.neighborhoods[:1], 50 * patches.neighborhoods[1:2]]), patches.centers[:2]
    )
    assert torch.allclose(features(student, loud)[:1], alone, atol=1e-5)


@pytest.mark.parametrize(("activations", "least"), [("dynamic", 0.9995), ("static", 0.999)])
def test_tokens_are_nearly_the_shipped_teachers(
    activations: str, least: float, clouds: PointCloudDataset
) -> None:
    teacher = load_teacher("small")
    student = make_student(Int8(activations, samples=16), teacher, clouds, OFF)
    patches = teacher.tokenize(torch.from_numpy(clouds.points[held_out(clouds), : teacher.config.points]))
    theirs = features(teacher, patches)
    assert least < explained(features(student, patches), theirs) < 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explained(features(student, patches), theirs) > 0.999


def test_bytes_fall_fourfold_and_weights_are_still_counted(clouds: PointCloudDataset) -> None:
    teacher = load_teacher("small")
    student = make_student(Int8(), teacher, clouds, OFF)
    assert bytes_on_disk(student) < 0.27 * bytes_on_disk(teacher)
    assert count_parameters(student) == count_parameters(trainable_copy(teacher, tokenizer=True))


@both
def test_both_counters_see_the_integer_products(
    activations: str,
    tiny_teacher: PointTransformer,
    patches: Patches,
    student_of: Callable[[str], PointTransformer],
) -> None:
    count = count_macs(student_of(activations), patches[:1])
    assert count == count_macs(tiny_teacher, patches[:1])
    assert count.flop_counter == count.total == form.teacher(tiny_teacher.config)


def test_ranges_come_from_training_objects_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    out = held_out(clouds)
    assert 0 < out.sum() < len(out)

    def ranges(spoiled: Tensor) -> dict[str, Tensor]:
        points = clouds.points.copy()
        points[spoiled.numpy()] *= 3
        student = make_student(Int8("static"), tiny_teacher, changed(clouds, points=points), OFF)
        return {name: t for name, t in student.state_dict().items() if name.endswith((".step", ".zero"))}

    held = torch.from_numpy(out)
    plain = ranges(torch.zeros_like(held))
    assert len(plain) == 2 * 17
    assert all(torch.equal(plain[name], t) for name, t in ranges(held).items())
    assert not all(torch.equal(plain[name], t) for name, t in ranges(~held).items())


@both
def test_survives_copying_and_pickling(
    activations: str, patches: Patches, student_of: Callable[[str], PointTransformer]
) -> None:
    student = student_of(activations)
    stored = io.BytesIO()
    torch.save(student, stored)
    stored.seek(0)
    for twin in (copy.deepcopy(student), torch.load(stored, weights_only=False)):
        assert torch.equal(features(twin, patches), features(student, patches))


@both
def test_a_distilled_student_is_quantised_with_its_upsampling(
    activations: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    foundry = make_student(Foundry(supertokens=4), tiny_teacher, clouds, Context())
    method = Int8(activations)
    stacked, again = (method.compress(foundry, clouds, OFF) for _ in range(2))
    assert isinstance(stacked.cau.fc1, Int8Linear)
    assert isinstance(stacked.dso.k, Int8Linear)
    points = torch.from_numpy(clouds.points[:4, :256])
    check_encoder(stacked, tiny_teacher, points)
    check_state(stacked, again, points)
    assert count_macs(stacked, patches[:1]) == count_macs(foundry, patches[:1])


@both
def test_a_layer_that_never_runs_is_quantised_all_the_same(
    activations: str, tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    foundry = make_student(Foundry(supertokens=4, assignment="random"), tiny_teacher, clouds, Context())
    stacked = Int8(activations).compress(foundry, clouds, OFF)
    assert isinstance(stacked.dso.q, Int8Linear)
    assert torch.isfinite(features(stacked, patches)).all()


def test_pruned_weights_stay_zero(tiny_teacher: PointTransformer, clouds: PointCloudDataset) -> None:
    pruned = trainable_copy(tiny_teacher, tokenizer=True)
    sparse = SparseLinear.of(pruned.blocks[0].mlp.fc1)
    with torch.no_grad():
        sparse.weight[:, ::2] = 0
    pruned.blocks[0].mlp.fc1 = sparse
    weight = Int8().compress(pruned, clouds, OFF).blocks[0].mlp.fc1.weight
    assert weight.dtype == torch.int8
    assert not weight[:, ::2].any()
    assert weight[:, 1::2].any()


def test_nothing_is_left_to_train_or_to_compress(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    assert Int8.variants == (OFF_THE_SHELF,)
    student = make_student(Int8(), tiny_teacher, clouds, OFF)
    assert set(linears(student)) == set()
    assert torch.equal(features(Int8().compress(student, clouds, OFF), patches), features(student, patches))


@pytest.mark.parametrize("values", [{"activations": "guessed"}, {"samples": 0}])
def test_impossible_parameters(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Int8(**values)
