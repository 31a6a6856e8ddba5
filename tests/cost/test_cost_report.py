"""The report of one student: every key that records and leaderboard read, measured on the real data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_encoders import D, Decoding, Lift, Quantised, Transformer

from foundry_bench.context import Context
from foundry_bench.cost import (
    bytes_on_disk,
    count_nonzero,
    count_parameters,
    measure_peak_memory,
    profile,
    spare_process,
)
from foundry_bench.datasets import load_furniture
from foundry_bench.encoder import Encoder, EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.points.patches import Patches
from foundry_bench.runtimes.base import Forward, Runtime
from foundry_bench.runtimes.columns import flat
from foundry_bench.sweep.cell import _plain
from foundry_bench.sweep.record import Cost
from foundry_bench.sweep.shapes import shape
from foundry_bench.teachers.transformer import PointTransformer

CONFIG = EncoderConfig(dim=32, depth=4, heads=2, groups=16, group_size=8, tokenizer_widths=(16, 16, 16))
KEYS = {
    "gmacs", "gmacs_p95", "gmacs_tokenizer", "gmacs_encoder", "gmacs_decoder", "gmacs_ratio", "gflops",
    "gmacs_flop_counter", "params_m", "nonzero_m", "disk_mb", "latency_ms", "latency_teacher_ms", "latency_ratio",
    "latency_ratio_iqr", "peak_mem_mb", "batch", "dtype", "threads", "clouds", "pairs",
}  # fmt: skip


@pytest.fixture(scope="module")
def teacher() -> PointTransformer:
    return PointTransformer(CONFIG).eval()


def test_report_of_a_shallower_student(teacher: PointTransformer) -> None:
    student = PointTransformer(EncoderConfig(**{**vars(CONFIG), "depth": 2})).eval()
    report = profile(student, teacher, load_furniture(), Context(), seconds=0.2)
    values = report.to_dict()
    assert values.keys() >= KEYS
    json.dumps(values)
    assert report.gflops == 2 * report.gmacs
    assert report.gmacs == pytest.approx(report.gmacs_tokenizer + report.gmacs_encoder + report.gmacs_decoder)
    assert report.gmacs_flop_counter == pytest.approx(report.gmacs, rel=0.01)
    assert 0 < report.gmacs_ratio < 1
    assert report.params_m * 1e6 == sum(p.numel() for p in student.parameters())
    assert report.nonzero_m * 1e6 == sum(int((p != 0).sum()) for p in student.parameters())
    assert report.peak_mem_mb is None


def test_the_teacher_beside_itself_costs_the_same(teacher: PointTransformer) -> None:
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    report = profile(teacher, teacher, load_furniture(), Context(), seconds=0)
    assert report.gmacs_ratio == 1
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


class Elsewhere(Runtime):
    """Gives so many times the tokens of the encoder, or cannot run it."""

    name = "elsewhere"

    def __init__(self, factor: float | None) -> None:
        self.factor = factor

    def available(self) -> str | None:
        return None

    def version(self) -> str:
        return "7"

    def prepare(self, encoder: Encoder, example: Patches, folder: Path, threads: int) -> Forward:
        factor = self.factor
        if factor is None:
            raise UserError("an operator is not known here")
        return lambda patches: factor * encoder(patches).features


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (1.0, None),
        (0.0, "its tokens there explain only"),
        (float("nan"), "its tokens there explain only nan"),
        (None, "an operator is not known here"),
    ],
)
def test_other_runtimes_are_told_by_name_or_with_the_reason(
    factor: float | None, reason: str | None, teacher: PointTransformer
) -> None:
    runtimes = [Elsewhere(factor)]
    report = profile(teacher, teacher, load_furniture(), Context(), seconds=0, runtimes=runtimes)
    told = report.runtimes["elsewhere"]
    assert told["version"] == "7"
    assert (told["reason"] or "")[: len(reason or "")] == (reason or "")
    assert ("latency_ratio" in told) is (reason is None)
    recorded = json.loads(json.dumps(_plain(report.to_dict())))
    assert shape(Cost)(recorded), "it is read back as it was written"
    assert flat(recorded)["version_elsewhere"] == "7"


def test_without_a_teacher_there_are_no_shares_of_it(teacher: PointTransformer) -> None:
    report = profile(teacher, None, load_furniture(), Context(), seconds=0)
    assert report.gmacs_ratio is report.latency_ratio is report.latency_teacher_ms is None
    assert report.latency_ms > 0
    assert report.latency_control_ratio > 0


def test_shared_parameters_are_counted_and_stored_once() -> None:
    shared, plain = Decoding(), Transformer()
    extra = sum(p.numel() for p in shared.head.parameters())
    assert count_parameters(shared) == count_parameters(plain) + extra
    assert bytes_on_disk(shared) == pytest.approx(bytes_on_disk(plain) + 4 * extra, abs=400)


def test_zeros_are_told_apart_and_weigh_the_same() -> None:
    encoder = Transformer()
    weights, bytes_before, zeros = count_parameters(encoder), bytes_on_disk(encoder), D * D
    before = count_nonzero(encoder)
    with torch.no_grad():
        encoder.blocks[0].attn.proj.weight.zero_()
    assert count_nonzero(encoder) == before - zeros
    assert (count_parameters(encoder), bytes_on_disk(encoder)) == (weights, bytes_before)


def test_quantised_weights_are_weights_of_one_byte() -> None:
    encoder, plain = Quantised(), Lift()
    assert count_parameters(encoder) == count_parameters(plain) + D * D
    assert count_nonzero(encoder) == count_nonzero(plain) + D * D // 2
    assert bytes_on_disk(encoder) == pytest.approx(bytes_on_disk(plain) + D * D + 4 * D, abs=200)


def test_bytes_on_disk_are_those_of_a_file() -> None:
    encoder = Lift()
    assert 0 <= bytes_on_disk(encoder) - 4 * count_parameters(encoder) < 400


def test_peak_memory_is_what_an_encoder_takes_in_another_process(teacher: PointTransformer) -> None:
    clouds = torch.randn(1, CONFIG.points, 3)
    heavy = Lift()
    heavy.ballast = torch.nn.Parameter(torch.ones(10_000_000))
    with spare_process() as one, spare_process() as other:
        small, large = measure_peak_memory(teacher, clouds, one), measure_peak_memory(heavy, clouds, other)
    assert small.baseline > 50e6
    assert 0 < small.peak < 20e6
    assert 40e6 <= large.peak < 100e6, "its weights, once or twice, and no library"
    fresh = measure_peak_memory(teacher, clouds)
    assert fresh.peak == pytest.approx(small.peak, abs=5e6), "whichever process it is"


def test_an_encoder_that_fails_elsewhere_is_reported(teacher: PointTransformer) -> None:
    clouds = torch.full((1, CONFIG.points, 3), torch.nan)
    with pytest.raises(UserError, match="NaN"):
        measure_peak_memory(teacher, clouds)
    with spare_process() as spare, pytest.raises(UserError, match=r"cannot be measured: .*NaN"):
        measure_peak_memory(teacher, clouds, spare)
