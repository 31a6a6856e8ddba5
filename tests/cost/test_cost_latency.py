"""Student and teacher are timed in turns; the ratio says which one is slower."""

from __future__ import annotations

import pytest
import torch
from tiny_encoders import Transformer, blank_clouds

from foundry_bench.cost import measure_latency


def test_a_student_four_times_as_deep_is_slower() -> None:
    latency = measure_latency(Transformer(8), Transformer(2), blank_clouds(4), seconds=0.5)
    assert latency.encode.ratio > 1.2
    assert latency.encode.student_ms > latency.encode.teacher_ms > 0
    assert latency.total.teacher_ms > latency.encode.teacher_ms
    assert (latency.batch, latency.dtype, latency.threads) == (1, "float32", 1)


def test_a_model_beside_itself_has_ratio_one() -> None:
    encoder = Transformer(4)
    timing = measure_latency(encoder, encoder, blank_clouds(4), seconds=1).encode
    assert timing.ratio == pytest.approx(1, abs=0.4)
    assert timing.pairs >= 5


def test_timing_leaves_mode_and_threads_alone() -> None:
    encoder, threads = Transformer(1).train(), torch.get_num_threads()
    measure_latency(encoder, encoder, blank_clouds(1), seconds=0)
    assert encoder.training
    assert torch.get_num_threads() == threads


def test_a_batch_needs_its_clouds() -> None:
    with pytest.raises(ValueError, match="do not fill a batch"):
        measure_latency(Transformer(1), Transformer(1), blank_clouds(2), batch=4)
