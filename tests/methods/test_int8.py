"""What is scored, saved and counted is the quantised graph, and what cannot be is refused or skipped with its reason."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import closed_form as form
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.cost import bytes_on_disk, count_macs, count_parameters
from foundry_bench.cost.memory import bytes_of_state
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.exports import QuantizedEncoder, Session, eight_bits
from foundry_bench.exports.eight_bits import check_r2
from foundry_bench.exports.golden import golden_of
from foundry_bench.exports.parity import Parity, parity
from foundry_bench.method import OFF_THE_SHELF
from foundry_bench.methods.foundry_gate import FoundryGate as Gate
from foundry_bench.methods.int8 import Int8
from foundry_bench.points.patches import Patches
from foundry_bench.stack import MisplacedError, Stack
from foundry_bench.students.files import load_student, make_student, save_student
from foundry_bench.teachers.transformer import PointTransformer
from foundry_bench.training.budget import REHEARSAL, Budget
from foundry_bench.training.distillation import heldout_r2
from foundry_bench.training.finished import finished_student

OFF = Context(variant=OFF_THE_SHELF)
ZERO = None
"""There is no setting without rounding."""


def closed_form(method: Int8, config: EncoderConfig, trains: bool) -> int:
    """The teacher's: an integer multiply-add is a multiply-add."""
    return form.teacher(config)


@pytest.fixture(scope="module")
def teacher() -> PointTransformer:
    torch.manual_seed(0)
    config = EncoderConfig(
        dim=32, depth=3, heads=4, groups=16, group_size=8, points=256, tokenizer_widths=(16, 32, 32)
    )
    return PointTransformer(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def student(teacher: PointTransformer, clouds: PointCloudDataset) -> QuantizedEncoder:
    return make_student(Int8(), teacher, clouds, OFF)


@pytest.fixture
def patches(teacher: PointTransformer, clouds: PointCloudDataset) -> Patches:
    return teacher.tokenize(torch.from_numpy(clouds.points[:6, :256]))


def features(encoder: Encoder, patches: Patches) -> Tensor:
    with torch.no_grad():
        return encoder(patches).features


def test_tokens_and_levels_are_those_of_the_quantised_graph(
    student: QuantizedEncoder, teacher: PointTransformer, patches: Patches
) -> None:
    import onnx

    operators = {node.op_type for node in onnx.load_from_string(student.content).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= operators
    tokens, theirs = student(patches, levels=True), teacher(patches, levels=True)
    session = Session(student.content)
    for i in range(len(patches)):
        one = patches[i : i + 1]
        found = session.run(centers=one.centers.numpy(), neighborhoods=one.neighborhoods.numpy())
        assert np.array_equal(found["tokens"][0], tokens.features[i].numpy())
        for k, level in enumerate(tokens.levels):
            assert np.array_equal(found[f"level_{k}"][0], level[i].numpy())
    for ours, right in zip((tokens.features, *tokens.levels), (theirs.features, *theirs.levels), strict=True):
        close = parity({"tokens": ours.numpy()}, {"tokens": right.numpy()})
        assert 0.98 < close.r2 < 1


def test_its_r2_is_that_of_the_graph_against_the_float_parent(
    student: QuantizedEncoder, teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    golden = golden_of(teacher, clouds)
    own = features(student, golden.patches).numpy()
    assert float(student.r2) == pytest.approx(
        parity({"tokens": own}, {"tokens": golden.outputs["tokens"]}).r2, abs=1e-6
    )


def test_a_clouds_tokens_do_not_depend_on_an_outlier_beside_it(
    student: QuantizedEncoder, patches: Patches
) -> None:
    loud = Patches(
        torch.cat([patches.neighborhoods[:1], 50 * patches.neighborhoods[1:2]]), patches.centers[:2]
    )
    assert torch.equal(features(student, loud)[:1], features(student, patches[:1]))


def test_costs_are_the_float_parents_and_bytes_the_graphs(
    student: QuantizedEncoder, teacher: PointTransformer, patches: Patches
) -> None:
    assert count_macs(student, patches[:1]) == count_macs(teacher, patches[:1])
    assert count_parameters(student) == count_parameters(teacher)
    assert bytes_on_disk(student) == len(student.content)
    assert bytes_of_state(student) > bytes_on_disk(student) + bytes_on_disk(teacher)
    assert student.runtime == "onnxruntime"


def test_it_is_saved_and_loaded_copied_and_pickled(
    student: QuantizedEncoder, patches: Patches, tmp_path: Path
) -> None:
    save_student(student, tmp_path)
    alone = pickle.loads(pickle.dumps(student.alone()))
    assert not list(alone.parameters())
    for twin in (
        load_student(tmp_path),
        copy.deepcopy(student),
        pickle.loads(pickle.dumps(student)),
        alone,
    ):
        assert torch.equal(features(twin, patches), features(student, patches))
    assert float(load_student(tmp_path).r2) == float(student.r2)


@pytest.mark.parametrize("damage", ["noise", "short", "another", "none"])
def test_a_forged_graph_is_told_in_one_line(
    damage: str, student: QuantizedEncoder, folder_of_grouping: bytes, tmp_path: Path
) -> None:
    save_student(student, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    graph = state["graph"]
    state["graph"] = {
        "noise": torch.randint(0, 255, graph.shape, dtype=torch.uint8),
        "short": graph[:100].clone(),
        "another": torch.from_numpy(np.frombuffer(folder_of_grouping, np.uint8).copy()),
        "none": torch.zeros(0, dtype=torch.uint8),
    }[damage]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors does not fit .*graph.*; make it again") as error:
        load_student(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture
def folder_of_grouping() -> bytes:
    """A graph of ONNX that is not one of an encoder."""
    from foundry_bench.exports.grouping import grouping

    return bytes(grouping(16, 8, None).SerializeToString())


def test_parameters_of_inference_are_part_of_the_graph(
    teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """A stack that ends in a graph has one student for every value: none can be set afterwards."""
    stack = Stack((Gate(supertokens=2, r=0.7), Int8()))
    assert "r" in Gate.inference
    assert stack.inference == ()
    assert stack.trained() == stack
    assert stack.training_params()["r"] == 0.7
    made = make_student(stack, teacher, clouds, OFF)
    assert made.parent.r == 0.7
    assert made.data_dependent


def test_nothing_stands_behind_it_and_nothing_compresses_it(
    student: QuantizedEncoder, clouds: PointCloudDataset
) -> None:
    from foundry_bench.methods.lowrank import LowRank

    with pytest.raises(MisplacedError, match=r"int8\+lowrank: .*put it last, as in lowrank\+int8"):
        Stack((Int8(), LowRank()))
    for selector in ("lowrank+off-the-shelf", "tome+off-the-shelf", "wanda+off-the-shelf"):
        with pytest.raises(UserError) as error:
            make_student(selector, student, clouds)
        assert "\n" not in str(error.value)


def test_a_stack_that_is_trained_as_a_whole_is_quantised_afterwards(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    from foundry_bench.selectors import one_method

    method, variant = one_method("kd[depth=2]+lowrank+int8+fmd")
    ctx = Context(cache=tmp_path / "cache", variant=variant)
    budget = Budget("tiny", steps=4, batch_size=8, views=1, curve=1)
    made, report = finished_student(method, teacher, clouds, ctx, budget)
    assert isinstance(made, QuantizedEncoder)
    assert made.origin is not None
    assert made.origin.method == method
    assert report is not None
    assert report.steps == 4
    assert report.r2 == pytest.approx(heldout_r2(made, teacher, clouds, ctx, budget)), "of the graph itself"
    save_student(made, tmp_path / "student")
    clouds_ = torch.from_numpy(clouds.points[:2, :256])
    twin = load_student(tmp_path / "student")
    assert torch.equal(features(twin, twin.tokenize(clouds_)), features(made, made.tokenize(clouds_)))


def test_what_eight_bits_cost_too_much_is_refused() -> None:
    found = Parity(clouds=8, difference=1.0, share=1.0, wrong=8, r2=0.89)
    with pytest.raises(
        UserError, match=r"tome in eight bits has an R2 of 0\.890 .* below 0\.9; leave int8 out"
    ):
        check_r2("tome", found, "leave int8 out")
    check_r2("tome", replace(found, r2=0.91), "leave int8 out")


def test_other_patches_than_it_was_made_for_are_refused(
    student: QuantizedEncoder, teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    other = PointTransformer(replace(teacher.config, groups=20))
    with pytest.raises(UserError, match="made for 16 patches of 8 points and was given 20 of 8"):
        student(other.tokenize(torch.from_numpy(clouds.points[:1, :256])))


def test_without_the_runtime_it_says_what_to_install(
    student: QuantizedEncoder,
    teacher: PointTransformer,
    clouds: PointCloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_student(student, tmp_path)
    monkeypatch.setattr("foundry_bench.exports.needs.find_spec", lambda name: None)
    fix = r"pip install 'foundry-bench\[onnx\]'"
    assert Stack((Int8(),)).lacks() == Int8().lacks() is not None
    with pytest.raises(UserError, match=f"int8 cannot be made here: .*{fix}"):
        make_student(Int8(), teacher, clouds, OFF)
    with pytest.raises(UserError, match=f"a student of int8, which cannot run here: .*{fix}"):
        load_student(tmp_path)


def test_it_gives_no_gradient(student: QuantizedEncoder, patches: Patches) -> None:
    assert Int8.variants == (OFF_THE_SHELF,)
    assert not student(patches).features.requires_grad
    assert not any(p.requires_grad for p in student.parameters())


def test_what_was_trained_for_two_steps_is_not_refused_for_what_it_lost(
    teacher: PointTransformer, clouds: PointCloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal would tell that ``foundry+int8`` fails, whose R2 after two steps says nothing of it after all of them."""
    lost = Parity(clouds=8, difference=1.0, share=1.0, wrong=8, r2=-0.65)
    monkeypatch.setattr(eight_bits, "parity", lambda *_: lost)
    rehearsed = Context(budget=REHEARSAL)
    assert float(eight_bits.quantized(teacher, clouds, rehearsed).r2) == pytest.approx(-0.65)
    for trained in (Context(), replace(rehearsed, variant=OFF_THE_SHELF)):
        with pytest.raises(UserError, match=r"R2 of -0\.650"):
            eight_bits.quantized(teacher, clouds, trained)
