"""The size of an encoder: parameters, bytes on disk, and the memory that it takes in a process that runs nothing else."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.exports import QuantizedEncoder, RuntimeEncoder
from foundry_bench.teachers.transformer import PointTransformer

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT_S = 120
STATUS = Path("/proc/self/status")
METHODS_USE = "foundry_bench.authoring"
"""What methods import, so that it is there before an encoder is loaded."""
TINY = EncoderConfig(
    dim=32, depth=1, heads=2, groups=8, group_size=8, points=64, tokenizer_widths=(32, 32, 32)
)
"""An encoder that makes the libraries load what they compute with and takes next to nothing itself."""


@dataclass(frozen=True)
class PeakMemory:
    """Resident bytes of a process: its ``baseline`` with all libraries at work, and what the encoder, its weights and one pass
    take above that at the ``peak``."""

    peak: int
    baseline: int


def count_parameters(encoder: Encoder) -> int:
    """Number of weights; one that is shared between modules counts once."""
    return sum(weight.numel() for weight in _weights(encoder))


def count_nonzero(encoder: Encoder) -> int:
    """Number of weights that are not zero. Zero weights save neither bytes on disk nor multiply-adds here: they are
    stored and multiplied like any other weight."""
    return sum(int(weight.count_nonzero()) for weight in _weights(encoder))


def _weights(encoder: Encoder) -> Iterator[Tensor]:
    """Parameters, and int8 buffers: quantised weights, which cannot be parameters because those must be able to have a
    gradient. Those of what it was made from where another runtime runs the encoder."""
    own = encoder.in_torch
    encoder = encoder if own is None else own
    yield from encoder.parameters()
    yield from (buffer for buffer in encoder.buffers() if buffer.dtype == torch.int8)


def bytes_on_disk(encoder: Encoder) -> int:
    """Size of what a device needs: of the graph of an encoder in eight bits or an exported folder, of :func:`bytes_of_state` of
    others."""
    if isinstance(encoder, QuantizedEncoder | RuntimeEncoder):
        return len(encoder.content)
    return bytes_of_state(encoder)


def bytes_of_state(encoder: Encoder) -> int:
    """Size of the encoder's state as a safetensors file; tensors that share memory are stored once."""
    unique: dict[tuple[int, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in encoder.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape)) if tensor.numel() else (id(tensor), ())
        unique.setdefault(key, (name, tensor.detach().cpu().clone().contiguous()))
    return len(save(dict(unique.values())))


def measure_peak_memory(encoder: Encoder, clouds: Tensor, spare: Connection | None = None) -> PeakMemory:
    """Run ``clouds`` (B, P, 3) through the encoder on one thread of the CPU in a ``spare`` process of :func:`spare_process`, or
    in a fresh one, which takes seconds to import PyTorch.

    The encoder is pickled, so its class must be importable. Raises
    :class:`~foundry_bench.errors.UserError` if the process fails or takes longer than two minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        parcel = Path(folder) / "encoder.pt"
        needed = encoder.alone() if isinstance(encoder, QuantizedEncoder) else encoder
        torch.save({"encoder": needed, "clouds": clouds.cpu()}, parcel)
        runtime = [needed.runtime] if isinstance(needed, QuantizedEncoder | RuntimeEncoder) else []
        given = [str(parcel), METHODS_USE, type(needed).__module__, *runtime]
        try:
            return PeakMemory(**(_fresh(given) if spare is None else _told(spare, given)))
        except (subprocess.SubprocessError, EOFError, OSError, RuntimeError) as error:
            tail = (getattr(error, "stderr", None) or str(error) or "its process ended").strip()
            raise UserError(
                f"peak memory of {type(encoder).__name__} cannot be measured: {tail.splitlines()[-1]}"
            ) from error


@contextmanager
def spare_process() -> Iterator[Connection]:
    """Fork a process that waits, inside, for an encoder to measure. It has this one's libraries for nothing. Fork it before
    anything is loaded or computed here: what this process holds besides would hide what the encoder takes."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_wait, args=(ours, theirs), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, none of which has computed anything yet
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _wait(theirs: Connection, wire: Connection) -> None:
    """Body of a spare process; it ends with the one that it was forked from."""
    theirs.close()
    try:
        given = wire.recv()
    except EOFError:
        return
    try:
        wire.send(asdict(_measure(*given)))
    except Exception as error:  # the boundary of one measurement
        wire.send(f"{type(error).__name__}: {error}")


def _told(spare: Connection, given: list[str]) -> dict[str, int]:
    spare.send(given)
    if not spare.poll(TIMEOUT_S):
        raise RuntimeError(f"it took longer than {TIMEOUT_S} seconds")
    found = spare.recv()
    if isinstance(found, str):
        raise RuntimeError(found)
    return dict(found)


def _fresh(given: list[str]) -> dict[str, int]:
    command = [sys.executable, "-m", "foundry_bench.cost.memory", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return dict(json.loads(done.stdout))


def peak_resident_bytes() -> int:
    """The most resident memory that this process has had so far, in bytes.

    Linux keeps ``ru_maxrss`` across ``exec``, so a child would report its parent's; ``VmHWM`` is reset.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _measure(parcel: str, *modules: str) -> PeakMemory:
    """What the encoder of a parcel takes; ``modules`` are imported and the libraries used once before it is loaded."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        for module in modules:
            importlib.import_module(module)
        tiny = PointTransformer(TINY).eval()
        tiny(tiny.tokenize(torch.rand(1, TINY.points, 3)))
        baseline = peak_resident_bytes()
        content = torch.load(
            parcel, map_location="cpu", weights_only=False
        )  # written by the parent a moment ago
        encoder: Encoder = content["encoder"].eval()
        encoder(encoder.tokenize(content["clouds"]))
    return PeakMemory(peak_resident_bytes() - baseline, baseline)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_measure(*sys.argv[1:]))))
