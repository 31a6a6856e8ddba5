"""Networks are trained in bfloat16 where the hardware computes it, and in single precision where it would be emulated."""

from __future__ import annotations

import pytest
import torch

from foundry_bench.training.precision import autocast, precision


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ("AVX512", torch.bfloat16),
        ("SVE256", torch.bfloat16),
        ("AVX2", torch.float32),
        ("DEFAULT", torch.float32),
    ],
)
def test_a_processor_trains_in_what_it_computes(
    capability: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    layer = torch.nn.Linear(4, 4)
    assert precision("cpu") is expected
    with autocast("cpu"):
        assert layer(torch.ones(1, 4)).dtype is expected
    with autocast("cpu", enabled=False):
        assert layer(torch.ones(1, 4)).dtype is torch.float32


def test_a_card_without_bfloat16_trains_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert precision("cuda:0") is torch.float32
