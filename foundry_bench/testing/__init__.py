"""The conformance kit: what every method, encoder and task has to keep, checked on real clouds.

Plugin authors run ``foundry-bench check keep_first.py``, or call it from their own tests::

    from foundry_bench.testing import check_method
    check_method(MyMethod(), teacher, data, Context())

Each function returns nothing and raises :class:`ConformanceError`, whose message says which rule is broken.
"""

from __future__ import annotations

from foundry_bench.testing.extra_rows import check_prefix, with_prefix
from foundry_bench.testing.methods import check_declaration, check_family, check_method
from foundry_bench.testing.rules import ConformanceError, require
from foundry_bench.testing.students import (
    check_encoder,
    check_state,
    check_tokens,
    check_training_step,
    training_inputs,
)
from foundry_bench.testing.tasks import check_task

__all__ = [
    "ConformanceError",
    "check_declaration",
    "check_encoder",
    "check_family",
    "check_method",
    "check_prefix",
    "check_state",
    "check_task",
    "check_tokens",
    "check_training_step",
    "require",
    "training_inputs",
    "with_prefix",
]
