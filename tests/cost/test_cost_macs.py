"""Multiply-adds are counted as on paper, by both counters, or not at all."""

from __future__ import annotations

import pytest
import torch
from tiny_encoders import (
    LIFT_MACS,
    Convolving,
    Custom,
    D,
    Decoding,
    Einsum,
    Fourier,
    Fused,
    Gated,
    Illustrated,
    Integer,
    Lift,
    T,
    Transformer,
    Wasteful,
    blank_clouds,
)

from foundry_bench.cost import closed_form_block_macs, count_macs, count_macs_over
from foundry_bench.encoder import EncoderConfig
from foundry_bench.errors import UserError
from foundry_bench.teachers.transformer import PointTransformer

BLOCK = closed_form_block_macs(T, D)


def counted(encoder: Lift):  # noqa: ANN201
    return count_macs(encoder, encoder.tokenize(blank_clouds()))


@pytest.mark.parametrize(
    ("encoder", "extra"),
    [
        (Lift(), 0),
        (Transformer(), 2 * BLOCK),
        (Fused(), 2 * T * T * D),
        (Einsum(), T * T * D),
        (Convolving(), T * D * D),
        (Illustrated(), T * T * D),
        (Integer(), T * D * D),
    ],
    ids=lambda value: type(value).__name__,
)
def test_both_counters_agree_with_the_closed_form(encoder: Lift, extra: int) -> None:
    count = counted(encoder)
    assert count.total == LIFT_MACS + extra
    assert count.flop_counter == count.total


def test_closed_form_of_a_block_is_12_t_d2_and_2_t2_d() -> None:
    assert closed_form_block_macs(64, 384) == 12 * 64 * 384**2 + 2 * 64**2 * 384
    assert closed_form_block_macs(64, 384) == pytest.approx(116.39e6, rel=1e-4)


def test_the_paper_size_teacher_costs_what_its_sizes_say() -> None:
    """Derived by hand from its sizes: factored tokenizer 0.7474 G, 12 blocks 1.3967 G, position 3.17 M."""
    teacher = PointTransformer(EncoderConfig())
    count = count_macs(teacher, teacher.tokenize(torch.randn(1, 1024, 3)))
    assert count.tokenizer == pytest.approx(0.7474e9, rel=1e-3)
    assert count.encoder == 12 * closed_form_block_macs(64, 384) + 64 * (3 * 128 + 128 * 384)


def test_parts_add_up_and_a_module_with_two_names_is_counted_once() -> None:
    count = counted(Decoding())
    assert (count.tokenizer, count.encoder, count.decoder) == (LIFT_MACS, 2 * BLOCK, T * D * D)
    assert count.tokenizer + count.encoder + count.decoder == count.total


def test_an_unknown_operator_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match="aten::fft"):
        counted(Fourier())


def test_an_operator_written_in_python_is_an_error() -> None:
    with pytest.raises(UserError, match=r"Hidden|disagree"):
        counted(Custom())


def test_counters_that_disagree_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from foundry_bench.cost import macs

    monkeypatch.setitem(macs.HANDLERS, "aten::linear", lambda inputs, outputs: 1)
    with pytest.raises(UserError, match="disagree"):
        counted(Transformer())


def test_work_whose_result_nobody_uses_is_an_error() -> None:
    with pytest.raises(UserError, match="never used"):
        counted(Wasteful())


def test_a_wrong_part_name_is_an_error() -> None:
    class Wrong(Lift):
        cost_parts = property(lambda self: {"tokeniser": self.tokenizer})

    with pytest.raises(ValueError, match="tokeniser"):
        counted(Wrong())


def test_costs_are_counted_at_batch_one() -> None:
    encoder = Lift()
    with pytest.raises(ValueError, match="batch 1"):
        count_macs(encoder, encoder.tokenize(blank_clouds(2)))


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_encoder_as_it_was(training: bool) -> None:
    encoder = Transformer().train(training)
    threads = torch.get_num_threads()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    counted(encoder)
    assert encoder.training is training
    assert all(block.attn.fused_attn and block.training is training for block in encoder.blocks)
    assert torch.get_num_threads() == threads
    assert not encoder._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_fused_attention_comes_back_after_an_error() -> None:
    class Broken(Transformer):
        def work(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(super().work(x)).real

    encoder = Broken()
    with pytest.raises(UserError):
        counted(encoder)
    assert all(block.attn.fused_attn for block in encoder.blocks)


def test_data_dependent_work_is_counted_on_each_cloud() -> None:
    encoder, clouds = Gated(), blank_clouds(12)
    centers = encoder.tokenize(clouds).centers
    work = LIFT_MACS + (centers[..., 2] > 0).sum(dim=1).double() * D * D
    summary = count_macs_over(encoder, clouds, n=12)
    assert summary.clouds == 12
    assert summary.mean.total == round(work.mean().item())
    assert summary.p95 == pytest.approx(torch.quantile(work, 0.95).item())
    assert summary.p95 > summary.mean.total


def test_a_static_encoder_is_counted_once() -> None:
    summary = count_macs_over(Transformer(), blank_clouds(5), n=5)
    assert summary.clouds == 1
    assert summary.p95 == summary.mean.total


def test_no_clouds_no_cost() -> None:
    with pytest.raises(UserError, match="empty"):
        count_macs_over(Lift(), blank_clouds(0))
