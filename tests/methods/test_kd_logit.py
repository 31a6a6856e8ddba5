"""Logit distillation shares its student and its trainer with kd-expert, whose tests cover both."""

from __future__ import annotations

from test_kd_expert import closed_form

from foundry_bench.methods.kd_expert import ExpertKD
from foundry_bench.methods.kd_logit import LogitKD

__all__ = ["ZERO", "closed_form"]
ZERO = None


def test_it_differs_from_the_expert_in_what_it_is_shown_and_told() -> None:
    assert (ExpertKD.labelled, LogitKD.labelled) == (True, False)
    assert LogitKD().alpha == 1.0 > ExpertKD().alpha
