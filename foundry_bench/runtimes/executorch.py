"""ExecuTorch on the CPU with its XNNPACK back end, as a phone's app runs an encoder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from foundry_bench.runtimes.base import Forward, Runtime

if TYPE_CHECKING:
    from foundry_bench.encoder import Encoder
    from foundry_bench.points.patches import Patches

PROGRAM = "model.pte"


class ExecuTorch(Runtime):
    """The program is verified against the encoder before it is timed. It takes one cloud at a time."""

    name = "executorch"
    abstract = "a program for ExecuTorch's XNNPACK back end; pip install 'foundry-bench[executorch]'"

    def available(self) -> str | None:
        from foundry_bench.exports.needs import missing

        return missing("executorch")

    def version(self) -> str:
        return version("executorch")

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        from foundry_bench import registry
        from foundry_bench.context import no_progress
        from foundry_bench.errors import UserError
        from foundry_bench.exports.golden import golden_of
        from foundry_bench.exports.program import write_program

        if encoder.in_torch is not encoder:
            raise UserError(
                "an encoder in eight bits is a graph of ONNX Runtime, which ExecuTorch does not run"
            )
        golden = golden_of(encoder, registry.load("datasets", "kicad")())
        write_program(encoder, folder / PROGRAM, "executorch", golden, no_progress)
        return self.again(encoder, example, folder, threads)

    def again(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        """The same program, loaded once more."""
        from executorch.extension.pybindings import portable_lib

        from foundry_bench.exports.program import KINDS

        portable_lib._unsafe_reset_threadpool(threads)  # no program is running now, which is what is unsafe
        run = KINDS["executorch"][1](folder / PROGRAM)
        return lambda patches: run((patches.centers, patches.neighborhoods))[0]
