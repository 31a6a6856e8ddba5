"""The size of an encoder: parameters, bytes on disk, and the peak memory of a fresh process that runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from foundry_bench.encoder import Encoder
from foundry_bench.errors import UserError
from foundry_bench.exports import QuantizedEncoder, RuntimeEncoder

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT_S = 120
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class PeakMemory:
    """Resident bytes of a fresh process: at its ``peak``, and the ``baseline`` before the encoder is loaded."""

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


def measure_peak_memory(encoder: Encoder, clouds: Tensor) -> PeakMemory:
    """Run ``clouds`` (B, P, 3) through the encoder in a fresh Python process on the CPU; takes seconds.

    The encoder is pickled, so its class must be importable. Raises
    :class:`~foundry_bench.errors.UserError` if the process fails or takes longer than two minutes.
    """
    with tempfile.TemporaryDirectory() as folder:
        parcel = Path(folder) / "encoder.pt"
        needed = encoder.alone() if isinstance(encoder, QuantizedEncoder) else encoder
        torch.save({"encoder": needed, "clouds": clouds.cpu()}, parcel)
        command = [sys.executable, "-m", "foundry_bench.cost.memory", str(parcel)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        except subprocess.SubprocessError as error:
            tail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            raise UserError(f"peak memory of {type(encoder).__name__} cannot be measured: {tail}") from error
    return PeakMemory(**json.loads(done.stdout))


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


def _measure(parcel: Path) -> PeakMemory:
    baseline = peak_resident_bytes()
    content = torch.load(parcel, map_location="cpu", weights_only=False)  # written by the parent a moment ago
    encoder: Encoder = content["encoder"].eval()
    with torch.inference_mode():
        encoder(encoder.tokenize(content["clouds"]))
    return PeakMemory(peak_resident_bytes(), baseline)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_measure(Path(sys.argv[1])))))
