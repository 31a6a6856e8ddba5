"""An exported graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from foundry_bench.errors import UserError
from foundry_bench.exports.needs import require


class Session:
    """The graph in a file, or in ``model.onnx`` of an exported folder, or in bytes: arrays in, arrays out.

    ``batch`` is 1 for a graph that takes one cloud at a time, which is then given them one by one; None for any number.
    ``sizes``: of each input by name, a name in place of a size that is free. ``threads`` of the runtime within an operator.
    Raises UserError for what the runtime cannot load, or where it is missing.
    """

    def __init__(self, graph: Path | str | bytes, threads: int = 1) -> None:
        require("onnx")
        import onnxruntime

        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        if not isinstance(graph, bytes):
            place = Path(graph)
            graph = str(place / "model.onnx" if place.is_dir() else place)
        try:
            self.inner: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no common base of its errors
            what = "the graph" if isinstance(graph, bytes) else graph
            line = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"{what} cannot be loaded by ONNX Runtime ({line[:200]}); export it again"
            ) from error
        self.inputs = tuple(each.name for each in self.inner.get_inputs())
        self.outputs = tuple(each.name for each in self.inner.get_outputs())
        self.sizes = {each.name: tuple(each.shape) for each in self.inner.get_inputs()}
        size = self.sizes[self.inputs[0]][0]
        self.batch: int | None = size if isinstance(size, int) else None

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """What the graph makes of its inputs, given by name with a cloud per row, by the names of its outputs."""
        feeds = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in self.inputs}
        if self.batch is None:
            found = self.inner.run(None, feeds)
        else:
            count = len(feeds[self.inputs[0]])
            rows = [self.inner.run(None, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
            found = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        return dict(zip(self.outputs, found, strict=True))

    def __call__(self, centers: np.ndarray, neighborhoods: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (B, T, D) and descriptor (B, 2D) of patches (B, T, 3) and (B, T, K, 3)."""
        found = self.run(centers=centers, neighborhoods=neighborhoods)
        return found["tokens"], found["descriptor"]
