"""From a student to one ONNX file, verified in ONNX Runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foundry_bench.context import Progress, no_progress
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports.golden import Golden, golden_of
from foundry_bench.exports.graph import INPUTS, EncoderGraph, Form, forms, graph_of, program_of, quiet
from foundry_bench.exports.needs import require
from foundry_bench.exports.parity import Parity, parity
from foundry_bench.exports.session import Session
from foundry_bench.points.patches import Patches
from foundry_bench.storage import atomic_path

OPSET = 18
"""The operator set of the graphs: the one that PyTorch's exporter is written in."""


@dataclass(frozen=True)
class OnnxFile:
    """A verified graph: its ``path``, the ``form`` that was taken and how close it is to the student."""

    path: Path
    form: Form
    parity: Parity
    opset: int = OPSET


def to_onnx(
    encoder: Encoder,
    path: Path | str,
    *,
    batch: int | None = None,
    golden: Golden | None = None,
    levels: bool = False,
    progress: Progress = no_progress,
) -> OnnxFile:
    """Write ``encoder`` as one ONNX file with its weights inside, held to it on ``golden`` clouds, by default of kicad.

    ``batch=1`` asks for a graph of one cloud; None for one of any number, and for one of one cloud where that cannot be had.
    ``levels`` adds what dense heads read to the outputs, which ``golden`` must then hold. The file is written whole or not at
    all. Raises UserError, in one line, where no form can be exported and where none gives the encoder's tokens.
    """
    require("onnx")
    if golden is None:
        golden = _default_golden(encoder, levels)
    name, tries = called(encoder), forms(encoder, batch)
    reasons: list[str] = []
    with atomic_path(Path(path)) as place:
        for number, form in enumerate(tries):
            progress(f"exporting {name}", number, len(tries))
            try:
                with quiet():
                    write_graph(graph_of(encoder, form, levels), golden.patches, form.batch, place)
            except Exception as error:  # exporters raise whatever their parts raise
                reasons.append(reason_of(error))
                continue
            found = parity(Session(place).run(**golden.inputs), golden.outputs)
            if found.holds:
                progress(f"exporting {name}", len(tries), len(tries))
                return OnnxFile(Path(path), form, found)
            reasons.append(
                f"ONNX Runtime gives other tokens on {found.wrong} of {found.clouds} clouds, by up to {found.difference:.2g}"
            )
        raise UserError(f"{name} cannot be exported to ONNX ({reasons[-1]}); try --format torch")


def write_graph(graph: EncoderGraph, patches: Patches, batch: int | None, path: Path) -> None:
    """Write the ONNX of ``graph`` without verifying it. Raises what torch and its exporter raise."""
    program = program_of(graph, patches, batch)
    size = {0: "batch"} if batch is None else None
    made = torch.onnx.export(
        program,
        input_names=list(INPUTS),
        output_names=list(graph.outputs),
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
        external_data=False,
        dynamic_shapes=(size, size),
        custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
    )
    assert made is not None
    save_bare(made.model_proto, path)


def stable_sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """``aten.sort.stable`` as TopK of all, which leaves equal numbers in their order, as ONNX says of it."""
    from onnxscript import opset18

    op: Any = opset18
    length = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]), axis=0)
    return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)


def save_bare(model: Any, path: Path) -> None:
    """Save an ONNX model without what the exporter notes of its source: file names of the machine that made it."""
    import onnx

    graphs = [model.graph, *model.functions]
    for part in graphs:
        for thing in (part, *part.node, *part.value_info):
            del thing.metadata_props[:]
            thing.doc_string = ""
    for thing in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    onnx.save(model, path)


def called(encoder: Encoder) -> str:
    """What a person calls an encoder: its method's name, or ``the encoder``."""
    return encoder.origin.method.name if encoder.origin is not None else "the encoder"


def reason_of(error: BaseException) -> str:
    """What an exporter's error is about, on one line: the operator that it has no function for, or its own first line."""
    text = " ".join(str(one) for one in (error, error.__cause__) if one is not None)
    operator = re.search(r"target=torch\.ops\.([\w.]+)", text)
    if "ConversionError" in type(error).__name__ and operator:
        return f"ONNX has no function for {operator.group(1)}"
    if re.search(r"data-dependent|unbacked|GuardOnDataDependent", text):
        return "a size in it depends on the cloud"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line[:160]


def _default_golden(encoder: Encoder, levels: bool) -> Golden:
    from foundry_bench import registry

    return golden_of(encoder, registry.load("datasets", "kicad")(), levels=levels)
