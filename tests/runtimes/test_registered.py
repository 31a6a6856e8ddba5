"""Runtimes by name: which there are, which can be used here, and what they give."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from foundry_bench import registry
from foundry_bench.datasets import load_kicad
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes import registered
from foundry_bench.runtimes.base import Runtime
from foundry_bench.runtimes.registered import check_runtimes, others, runtime_of
from foundry_bench.students.files import make_student
from foundry_bench.teachers.transformer import PointTransformer
from tests.conftest import TINY

EXECUTORCH = pytest.param(
    "executorch",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(find_spec("executorch") is None, reason="executorch is not installed"),
    ],
)


@pytest.fixture
def patches() -> Patches:
    """One real cloud, cut for the tiny encoder."""
    encoder = PointTransformer(TINY)
    return encoder.tokenize(torch.from_numpy(load_kicad().points[5:6, : TINY.points].copy()))


@pytest.mark.parametrize("name", list(registry.entries("runtimes")))
def test_every_runtime_is_called_as_it_is_registered(name: str) -> None:
    runtime = runtime_of(name)
    assert runtime.name == name
    assert runtime.abstract
    assert runtime.available() is None or "pip install" in str(runtime.available())


@pytest.mark.parametrize("name", ["eager", "onnxruntime", EXECUTORCH])
def test_a_runtime_gives_the_encoders_tokens_and_so_does_a_second_copy(
    name: str, patches: Patches, tmp_path: Path
) -> None:
    runtime = runtime_of(name)
    if reason := runtime.available():
        pytest.skip(reason)
    torch.manual_seed(0)
    encoder = PointTransformer(replace(TINY, depth=1)).eval().requires_grad_(False)
    wanted = encoder(patches).features
    with torch.no_grad():
        first = runtime.prepare(encoder, patches, tmp_path, 1)
        second = runtime.again(encoder, patches, tmp_path, 1)
    for forward in (first, second):
        torch.testing.assert_close(forward(patches), wanted, atol=1e-4, rtol=1e-4)
    assert runtime.version()


def test_a_student_in_eight_bits_is_one_in_onnxruntime_too(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path
) -> None:
    runtime = runtime_of("onnxruntime")
    if reason := runtime.available():
        pytest.skip(reason)
    import onnx

    student = make_student("int8", tiny_teacher)
    forward = runtime.prepare(student, patches, tmp_path, 1)
    operators = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= operators
    assert torch.equal(student(patches).features, forward(patches))
    with pytest.raises(UserError, match="graph of ONNX Runtime, which ExecuTorch does not run"):
        runtime_of("executorch").prepare(student, patches, tmp_path, 1)


def test_a_copy_in_eager_has_weights_of_its_own_that_lie_in_the_same_order(
    tiny_teacher: PointTransformer, patches: Patches, tmp_path: Path
) -> None:
    from foundry_bench.teachers.layout import lay_out

    lay_out(tiny_teacher, columns=True)
    eager = runtime_of("eager")
    copy = eager.again(tiny_teacher, patches, tmp_path, 1)
    weight = tiny_teacher.blocks[0].mlp.fc1.weight
    (copied,) = [cell.cell_contents for cell in copy.__closure__ or ()]
    other = copied.blocks[0].mlp.fc1.weight
    assert other.data_ptr() != weight.data_ptr()
    assert other.stride() == weight.stride() == (1, weight.shape[0])


def test_what_is_always_measured_is_no_other_and_each_is_once() -> None:
    assert others(["onnxruntime", "eager", "onnxruntime", "b"]) == ("b", "onnxruntime")
    assert check_runtimes(["eager"]) == ()


def test_an_unknown_runtime_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown runtime 'onnx'; did you mean 'onnxruntime'"):
        check_runtimes(["onnx"])


def test_a_runtime_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(runtime_of("onnxruntime")), "available", lambda self: "install it")
    with pytest.raises(UserError, match="runtime onnxruntime cannot be used here: install it"):
        check_runtimes(["onnxruntime"])


class Misnamed(Runtime):
    """Registered under another name than its own."""

    name = "other"

    def available(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def prepare(self, *given: object) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize("name", ["mine", "iqr"])
def test_a_name_that_columns_could_not_tell_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Misnamed, "name", "iqr")
    monkeypatch.setattr(registry, "load", lambda kind, name, contract: Misnamed)
    monkeypatch.setattr(registry, "called", lambda kind, name: f"{kind} {name} of somebody")
    with pytest.raises(UserError, match="must be called as it is registered"):
        registered.runtime_of(name)
