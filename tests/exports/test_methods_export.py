"""Every built-in method is a graph that gives its tokens in ONNX Runtime, or is refused in one line that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foundry_bench import registry
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.errors import UserError
from foundry_bench.exports import Session, to_onnx
from foundry_bench.exports.golden import golden_of
from foundry_bench.exports.graph import Form, graph_of, quiet
from foundry_bench.exports.onnx_file import OPSET, stable_sort, write_graph
from foundry_bench.exports.parity import parity
from foundry_bench.methods.foundry_gate import FoundryGateStudent
from foundry_bench.students.files import make_student
from foundry_bench.students.tokens import content_order
from foundry_bench.teachers.transformer import PointTransformer

QUICK = (
    *("teacher", "foundry", "tome[r=2]", "lowrank", "kd", "kmeans[clusters=5]", "evit", "random-drop"),
    *("fps[tokens=5]", "tofu[r=2]"),
)
"""The teacher, one of each kind, and those that went wrong in other exporters."""
ONE = ("foundry-gate",)
"""Methods whose graph takes one cloud at a time: how much work there is depends on the cloud."""


def check(selector: str, teacher: PointTransformer, clouds: PointCloudDataset, path: Path) -> None:
    """The student's graph gives its tokens, for one cloud and for all, or there is one line and no file."""
    student = make_student(selector, teacher, clouds)
    golden, refused = golden_of(student, clouds), ""
    try:
        to_onnx(student, path, golden=golden)
    except UserError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        assert "cannot be exported to ONNX (" in refused
        assert not list(path.parent.iterdir())
        return
    session = Session(path)
    assert (session.batch == 1) == (selector.partition("[")[0] in ONE)
    for count in (8, 1):
        got = session.run(**{name: array[:count] for name, array in golden.inputs.items()})
        found = parity(got, {name: array[:count] for name, array in golden.outputs.items()})
        assert found.holds, found


@pytest.mark.parametrize("selector", QUICK)
def test_a_student_gives_its_tokens_in_the_runtime(
    selector: str, teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    check(selector, teacher, clouds, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("selector", [*registry.entries("methods"), "random-drop[early=True]"])
def test_every_method_exports_or_says_why_not(
    selector: str, teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    check(selector, teacher, clouds, tmp_path / "model.onnx")


@pytest.fixture
def gate(teacher: PointTransformer, clouds: PointCloudDataset) -> FoundryGateStudent:
    """A gate that has learned something: some tokens of each cloud pass, more of some than of others."""
    student = make_student("foundry-gate[supertokens=4]", teacher, clouds)
    torch.manual_seed(1)
    nn.init.normal_(student.gate.weight, std=2.0)
    return student


def test_a_gate_runs_only_what_a_cloud_keeps(
    gate: FoundryGateStudent, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    golden = golden_of(gate, clouds)
    with torch.no_grad():
        kept = gate(golden.patches).aux["tokens_kept"]
    assert len(kept.unique()) > 2, "clouds that keep equally many show nothing"
    made = to_onnx(gate, tmp_path / "model.onnx", golden=golden)
    assert made.form == Form("packed", 1)
    gate.r = 0.9
    alone = golden_of(gate, clouds)
    assert not parity(Session(made.path).run(**golden.inputs), alone.outputs).holds
    # one row in all: no token passes, and one SuperToken has all of them
    nn.init.constant_(gate.gate.bias, -100.0)
    with torch.no_grad():
        gate.dso.supertokens.copy_(gate.dso.supertokens[:1].expand_as(gate.dso.supertokens).clone())
    single = golden_of(gate, clouds)
    with torch.no_grad():
        assert gate(single.patches[:1]).aux["tokens_kept"].tolist() == [1]
    assert to_onnx(gate, tmp_path / "single.onnx", golden=single).form.name == "packed"


def test_a_masked_gate_takes_any_number_of_clouds(
    gate: FoundryGateStudent, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    golden, form = golden_of(gate, clouds), Form("masked", None)
    with quiet():
        write_graph(graph_of(gate, form), golden.patches, form.batch, tmp_path / "model.onnx")
    assert gate.packs, "the student itself is left alone"
    assert parity(Session(tmp_path / "model.onnx").run(**golden.inputs), golden.outputs).holds


def run_in_runtime(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """What ONNX Runtime makes of ``module`` on ``x``, translated as students are."""
    import onnxruntime

    table = {torch.ops.aten.sort.stable: stable_sort}
    with torch.no_grad():
        made = torch.onnx.export(
            module.eval(),
            (x,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            custom_translation_table=table,
        )
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


class Sorted(nn.Module):
    def __init__(self, descending: bool) -> None:
        super().__init__()
        self.descending = descending

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.argsort(dim=1, descending=self.descending, stable=True)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_equal_numbers_stay_in_their_order(descending: bool, dtype: torch.dtype) -> None:
    x = torch.randint(0, 4, (3, 40), generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = x.argsort(dim=1, descending=descending, stable=True)
    assert (run_in_runtime(Sorted(descending), x) == wanted.numpy()).all()


class Ordered(nn.Module):
    def forward(self, centers: torch.Tensor) -> torch.Tensor:
        return content_order(centers)


def test_the_order_by_content_is_the_same_in_the_runtime(
    teacher: PointTransformer, clouds: PointCloudDataset
) -> None:
    """Written with a number of Python's, the exporter rounded it to single precision: another order in most clouds."""
    centers = teacher.tokenize(torch.from_numpy(clouds.points[:, :256])).centers
    assert (run_in_runtime(Ordered(), centers) == content_order(centers).numpy()).all()


def test_a_student_left_in_training_mode_is_exported_as_it_is_used(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    student = make_student("evit", teacher, clouds)
    wanted = golden_of(student, clouds)
    student.train()
    to_onnx(student, tmp_path / "model.onnx", golden=wanted)
    assert student.training


def test_a_graph_of_other_tokens_is_refused(
    teacher: PointTransformer,
    clouds: PointCloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The student in the graph chooses other tokens on some clouds: what a wrong translation of an order did."""
    student = make_student("random-drop[keep=0.5]", teacher, clouds)
    golden, spoiled = golden_of(student, clouds), make_student("random-drop[keep=0.4]", teacher, clouds)
    monkeypatch.setattr(
        "foundry_bench.exports.onnx_file.graph_of", lambda _, form, levels: graph_of(spoiled, form, levels)
    )
    with pytest.raises(UserError, match=r"random-drop cannot be exported .* other tokens on 8 of 8 clouds"):
        to_onnx(student, tmp_path / "model.onnx", golden=golden)
    assert not list(tmp_path.iterdir())


def test_levels_are_outputs_where_they_are_asked_for(
    teacher: PointTransformer, clouds: PointCloudDataset, tmp_path: Path
) -> None:
    golden = golden_of(teacher, clouds, levels=True)
    to_onnx(teacher, tmp_path / "model.onnx", golden=golden, levels=True, batch=1)
    session = Session(tmp_path / "model.onnx")
    assert session.batch == 1
    assert session.outputs[2:] == ("level_0", "level_1", "level_2")
    assert parity(session.run(**golden.inputs), golden.outputs).holds
