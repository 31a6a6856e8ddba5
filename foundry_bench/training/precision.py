"""In which precision networks are trained: bfloat16 where the hardware computes it, single precision elsewhere."""

from __future__ import annotations

import torch

NATIVE = ("AVX512", "SVE")
"""What the names of those processor capabilities begin with for which PyTorch has fast bfloat16 kernels."""


def precision(device: torch.device | str) -> torch.dtype:
    """``torch.bfloat16`` or ``torch.float32``, for networks that are trained on ``device``.

    Processors without instructions for bfloat16 emulate it, about ten times slower than single precision and no better.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        native = torch.backends.cpu.get_cpu_capability().startswith(NATIVE)
    else:
        native = kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device | str, enabled: bool = True) -> torch.autocast:
    """A context in which networks on ``device`` run in its :func:`precision`; without effect unless ``enabled``."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled and precision(device) is torch.bfloat16)
