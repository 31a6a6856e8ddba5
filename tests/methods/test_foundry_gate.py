"""Foundry-Gate: what the gate keeps, what that costs, and what it is trained for."""

from __future__ import annotations

import closed_form as form
import pytest
import torch

from foundry_bench.context import Context
from foundry_bench.cost import count_macs
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import EncoderConfig
from foundry_bench.methods.foundry import Foundry
from foundry_bench.methods.foundry_gate import FoundryGate, pack
from foundry_bench.points.patches import Patches
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer


def test_pack_moves_kept_tokens_to_the_front_in_order() -> None:
    keep = torch.tensor([[False, True, False, True], [True, True, True, False]])
    index, valid = pack(keep)
    assert index[0, :2].tolist() == [1, 3]
    assert index[1].tolist() == [0, 1, 2]
    assert valid.tolist() == [[True, True, False], [True, True, True]]


def test_gate_costs_between_foundry_and_the_full_transformer(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(supertokens=4), tiny_teacher, clouds, Context())
    student.eval()
    torch.nn.init.normal_(student.gate.weight, std=1.0)
    encoder_macs = []
    for r in (0.0, 0.5, 1.01):
        FoundryGate(r=r, supertokens=4).configure(student)
        with torch.no_grad():
            kept = student(patches[:1]).aux["tokens_kept"]
        encoder_macs.append((int(kept), count_macs(student, patches[:1]).total))
    assert encoder_macs[0][0] == tiny_teacher.config.groups
    assert encoder_macs[2][0] <= 4 < encoder_macs[1][0] < tiny_teacher.config.groups
    assert encoder_macs[0][1] > encoder_macs[1][1] > encoder_macs[2][1]


def test_gate_that_keeps_nothing_is_foundry(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for published in (False, True):
        gate = FoundryGate(r=1.01, supertokens=1, published=published)
        gated = make_student(gate, tiny_teacher, clouds, Context())
        plain = make_student(Foundry(supertokens=1, published=published), tiny_teacher, clouds, Context())
        plain.load_state_dict(gated.state_dict(), strict=False)
        with torch.no_grad():
            assert torch.allclose(gated(patches).features, plain(patches).features, atol=1e-5)


def test_untrained_tokens_that_run_by_themselves_are_the_teachers_unless_the_skip_is_left_out(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    for published in (False, True):
        student = make_student(
            FoundryGate(r=0.0, supertokens=4, published=published), tiny_teacher, clouds, Context()
        )
        with torch.no_grad():
            same = torch.allclose(student(patches).features, tiny_teacher(patches).features, atol=1e-5)
        assert same is not published


def test_gate_result_does_not_depend_on_the_batch(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(supertokens=4), tiny_teacher, clouds, Context())
    torch.nn.init.normal_(student.gate.weight, std=1.0)
    with torch.no_grad():
        together = student(patches, levels=True)
        alone = [student(patches[i : i + 1], levels=True) for i in range(4)]
    assert len(set(together.aux["tokens_kept"].tolist())) > 1
    assert torch.allclose(together.features, torch.cat([t.features for t in alone]), atol=1e-4)
    assert torch.allclose(together.levels[0], torch.cat([t.levels[0] for t in alone]), atol=1e-4)


def test_gate_is_pulled_to_its_target_in_training_only(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    student = make_student(FoundryGate(target=0.1, weight=2.0), tiny_teacher, clouds, Context())
    student.train()
    penalty = student(patches).penalty
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(2.0 * 0.4**2)
    penalty.backward()
    assert student.gate.bias.grad is not None
    assert float(student.gate.bias.grad) > 0
    assert student.eval()(patches).penalty is None


@pytest.mark.parametrize("values", [{"supertokens": 0}, {"tau": 0.0}, {"r": -0.1}, {"r": "never"}])
def test_impossible_parameters_are_refused(values: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FoundryGate(**values)


ZERO = None  # the reconstruction is always there


def closed_form(method: FoundryGate, config: EncoderConfig, trains: bool, kept: int) -> int:
    """``kept`` tokens of this cloud run through the blocks: those by themselves and the non-empty SuperTokens of the others."""
    s, dim, patches = method.supertokens, config.dim, config.groups
    dso = (s + 2 * patches) * dim**2 + 3 * patches * s * dim + patches * s * dim
    total = form.tokenizer(config) + form.position(config) + patches * dim + dso
    return total + config.depth * form.block(config, kept) + form.cau(config)


def test_the_first_supertokens_of_a_nested_gate_are_a_gate_of_so_many(
    tiny_teacher: PointTransformer, clouds: PointCloudDataset, patches: Patches
) -> None:
    nested = make_student(FoundryGate(supertokens=6, nested=True), tiny_teacher, clouds, Context()).eval()
    torch.nn.init.normal_(nested.gate.weight)
    FoundryGate(supertokens=6, nested=True, used=2).configure(nested)
    plain = make_student(FoundryGate(supertokens=2), tiny_teacher, clouds, Context()).eval()
    state = nested.state_dict()
    state["dso.supertokens"] = state["dso.supertokens"][:2]
    plain.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(nested(patches).features, plain(patches).features)


def test_a_nested_gate_is_trained_with_all_and_some_of_its_supertokens(
    tiny_teacher: PointTransformer,
    clouds: PointCloudDataset,
    patches: Patches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = FoundryGate(supertokens=4, nested=True)
    student = make_student(method, tiny_teacher, clouds, Context())
    counts = []
    monkeypatch.setattr(
        type(student.dso),
        "noise",
        lambda dso, centers: counts.append(dso.count),  # None, as without noise
    )
    torch.manual_seed(0)
    target = tiny_teacher(patches)
    for _ in range(30):
        method.loss(student.train(), patches, target)
    assert counts[::2] == [4] * 30
    assert set(counts[1::2]) == {1, 2, 3}
    assert student.used == 0
