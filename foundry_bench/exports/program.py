"""The other formats: a program of torch.export, and one of ExecuTorch for its XNNPACK back end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foundry_bench.context import Progress
from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports.golden import Golden
from foundry_bench.exports.graph import INPUTS, OUTPUTS, Form, forms, graph_of, program_of, quiet
from foundry_bench.exports.onnx_file import called, reason_of
from foundry_bench.exports.parity import Parity, parity

Run = Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]]
"""A loaded program: tensors in, tensors out."""


def write_program(
    encoder: Encoder, path: Path, kind: str, golden: Golden, progress: Progress
) -> tuple[Form, Parity]:
    """Write ``encoder`` as a program of ``torch`` or ``executorch``, held to it on the ``golden`` clouds in that runtime.

    Raises UserError, in one line, where no form can be exported and where none gives the encoder's tokens.
    """
    write, load = KINDS[kind]
    name, tries = called(encoder), forms(encoder, 1 if kind == "executorch" else None)
    reasons: list[str] = []
    for number, form in enumerate(tries):
        progress(f"exporting {name}", number, len(tries))
        try:
            with quiet():
                write(program_of(graph_of(encoder, form), golden.patches, form.batch), path)
                found = parity(_run(load(path), golden, form.batch), golden.outputs)
        except Exception as error:  # exporters raise whatever their parts raise
            reasons.append(reason_of(error))
            continue
        if found.holds:
            progress(f"exporting {name}", len(tries), len(tries))
            return form, found
        reasons.append(f"it gives other tokens on {found.wrong} of {found.clouds} clouds")
    raise UserError(f"{name} cannot be exported as a program of {kind} ({reasons[-1]}); try --format onnx")


def _run(program: Run, golden: Golden, batch: int | None) -> dict[str, np.ndarray]:
    """What a program makes of the golden clouds, all at once where it takes any number."""
    arrays = [torch.from_numpy(golden.inputs[name]) for name in INPUTS]
    size = len(arrays[0]) if batch is None else batch
    pieces = [
        program(tuple(array[i : i + size].contiguous() for array in arrays))
        for i in range(0, len(arrays[0]), size)
    ]
    joined = [torch.cat([piece[i] for piece in pieces]).numpy() for i in range(len(OUTPUTS))]
    return dict(zip(OUTPUTS, joined, strict=True))


def _write_torch(program: Any, path: Path) -> None:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # file names of the machine that made it
    torch.export.save(program, path)


def _load_torch(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(arrays: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return tuple(module(*arrays))

    return run


def _write_executorch(program: Any, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def _load_executorch(path: Path) -> Run:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return lambda arrays: tuple(output.clone() for output in method.execute(list(arrays)))


KINDS: dict[str, tuple[Callable[[Any, Path], None], Callable[[Path], Run]]] = {
    "torch": (_write_torch, _load_torch),
    "executorch": (_write_executorch, _load_executorch),
}
"""Format -> how a program is written, and how it is loaded in the runtime that it is for."""
