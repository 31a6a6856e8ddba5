"""ONNX Runtime on the CPU: the exported graph of an encoder, as a robot or a phone runs it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.runtimes.base import Forward, Runtime

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder
    from foundry_bench.points.patches import Patches

MODEL = "model.onnx"


class OnnxRuntime(Runtime):
    """The graph is verified against the encoder before it is timed. One in eight bits, and an exported folder, is a
    graph already."""

    name = "onnxruntime"
    abstract = "the exported graph in ONNX Runtime on the CPU; pip install 'foundry-bench[onnx]'"

    def available(self) -> str | None:
        from foundry_bench.exports import onnx_missing

        return onnx_missing()

    def version(self) -> str:
        return version("onnxruntime")

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        from foundry_bench.exports import QuantizedEncoder, RuntimeEncoder, to_onnx

        if isinstance(encoder, QuantizedEncoder | RuntimeEncoder):
            (folder / MODEL).write_bytes(encoder.content)
        else:
            to_onnx(encoder, folder / MODEL, batch=1 if len(example) == 1 else None)
        return self.again(encoder, example, folder, threads)

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        """Another session of the same graph."""
        import torch

        from foundry_bench.exports import Session

        session = Session(folder / MODEL, threads=threads)

        def forward(patches: Patches) -> torch.Tensor:
            tokens, _ = session(patches.centers.numpy(), patches.neighborhoods.numpy())
            return torch.from_numpy(tokens)

        return forward
