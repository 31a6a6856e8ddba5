"""An encoder in eight bits as ONNX Runtime quantises and runs it: what is scored and timed is the graph itself."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundry_bench.context import Context
from foundry_bench.datasets import PointCloudDataset
from foundry_bench.encoder import Encoder, Tokens
from foundry_bench.errors import UserError
from foundry_bench.exports.golden import CLOUDS, golden_of
from foundry_bench.exports.graph import INPUTS, LEVELS, OUTPUTS, frozen
from foundry_bench.exports.needs import require
from foundry_bench.exports.onnx_file import called, to_onnx
from foundry_bench.exports.parity import LEAST_R2, Parity, parity
from foundry_bench.exports.quantize import quantize
from foundry_bench.exports.session import Session
from foundry_bench.points.patches import Patches
from foundry_bench.training.budget import REHEARSAL

GRAPH = "graph"
"""The tensor of a saved student that holds the graph, a byte per number."""


class QuantizedEncoder(Encoder):
    """The eight-bit ``graph`` of ``parent``, run by ONNX Runtime on the CPU, a cloud at a time: steps of activations are
    measured over all that is given, and no cloud's tokens depend on another's.

    ``graph`` holds the bytes of the ONNX file, uint8. ``r2``: the share of the variance of the parent's tokens that the graph's
    explain on the clouds it was verified on. The float ``parent`` stays beside it: costs are counted on it, exports start from
    it, and no gradient reaches it. Runs with as many threads as PyTorch may use.
    """

    runtime = "onnxruntime"
    graph: Tensor
    r2: Tensor

    def __init__(self, parent: Encoder, graph: Tensor, r2: float) -> None:
        super().__init__()
        self.config, self.parent = parent.config, parent
        self.register_buffer(GRAPH, graph)
        self.register_buffer("r2", torch.tensor(r2))
        self._session: Session | None = None

    @property
    def in_torch(self) -> Encoder:
        return self.parent

    @property
    def data_dependent(self) -> bool:
        """Whether it does less work on some clouds, as its parent does."""
        return bool(getattr(self.parent, "data_dependent", False))

    @property
    def content(self) -> bytes:
        """The bytes of the ONNX file."""
        return self.graph.cpu().numpy().tobytes()

    def session(self) -> Session:
        """The graph in the runtime. Raises UserError where that is not installed, and for bytes that are no such graph."""
        threads = torch.get_num_threads()
        if self._session is None or self._session.threads != threads:
            session = Session(self.content, threads)
            if session.inputs != INPUTS or session.outputs != OUTPUTS + LEVELS:
                raise UserError("its graph is not one of an encoder")
            self._session = session
        return self._session

    def forward(self, patches: Patches, levels: bool = False) -> Tokens:
        """Tokens of the patches, of their type and on their device. Raises UserError for patches of other sizes than the graph
        was made for."""
        session = self.session()
        made, given = session.sizes["neighborhoods"][1:3], tuple(patches.neighborhoods.shape[1:3])
        if given != made:
            raise UserError(
                f"an eight-bit graph is made for {made[0]} patches of {made[1]} points and was given {given[0]} of {given[1]}; "
                "use its float parent"
            )
        names = ("tokens", *LEVELS) if levels else ("tokens",)
        arrays = [a.detach().float().cpu().numpy() for a in (patches.centers, patches.neighborhoods)]
        found = [np.zeros((len(patches), given[0], self.config.dim), np.float32) for _ in names]
        for i in range(len(patches)):
            row = session.run(**{name: a[i : i + 1] for name, a in zip(INPUTS, arrays, strict=True)})
            for whole, name in zip(found, names, strict=True):
                whole[i] = row[name][0]
        tokens, *between = (torch.from_numpy(whole).to(patches.centers) for whole in found)
        return Tokens(tokens, tuple(between))

    def alone(self) -> QuantizedEncoder:
        """The graph without its float parent, as a device holds it."""
        twin = copy.copy(self)
        twin._modules = {}
        return twin

    def _load_from_state_dict(self, *given: Any) -> None:
        super()._load_from_state_dict(*given)
        self._session = None
        self.session()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}


def quantized(encoder: Encoder, data: PointCloudDataset, ctx: Context) -> QuantizedEncoder:
    """``encoder`` with its linear layers in eight bits, exported and quantised by ONNX Runtime, with the levels that dense
    heads read.

    The float graph is held to ``encoder`` on clouds of ``data``, and the tokens of the eight-bit one to an R2 of
    :data:`~foundry_bench.exports.parity.LEAST_R2`. Where ``ctx`` makes a saved student again, its graph is left for the weights
    that replace it; where it rehearses a training, anything may be lost, as nothing has been learned yet. Raises UserError for
    an encoder that cannot be exported or loses more, and without ONNX Runtime.
    """
    require("onnx")
    parent = frozen(encoder)
    if ctx.shapes is not None:
        (size,) = ctx.shapes.get(GRAPH, (0,))
        return QuantizedEncoder(parent, torch.zeros(size, dtype=torch.uint8), 0.0)
    golden = golden_of(parent, data, min(CLOUDS, len(data.points)), levels=True)
    with tempfile.TemporaryDirectory(prefix="foundry-bench-") as folder:
        whole, small = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        to_onnx(parent, whole, batch=1, golden=golden, levels=True)
        quantize(whole, small)
        graph = torch.from_numpy(np.fromfile(small, np.uint8))
    found = parity(Session(graph.numpy().tobytes()).run(**golden.inputs), golden.outputs)
    if not (ctx.trains and ctx.budget == REHEARSAL):
        check_r2(called(encoder), found, "leave int8 out")
    return QuantizedEncoder(parent, graph, found.r2)


def check_r2(name: str, found: Parity, fix: str) -> None:
    """Raise UserError, with ``fix``, where an eight-bit graph has lost too much of its float parent."""
    if not found.r2 >= LEAST_R2:
        raise UserError(
            f"{name} in eight bits has an R2 of {found.r2:.3f} against its float parent's tokens, below {LEAST_R2}; {fix}"
        )
