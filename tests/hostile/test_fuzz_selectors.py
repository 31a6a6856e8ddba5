"""The grammar of selectors against texts that nobody would write: a text is understood or refused in one line, and what is
understood is written back as a text that is understood the same."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from foundry_bench import registry, selectors
from foundry_bench.errors import UserError
from foundry_bench.parameters.named import bracketed, parse_part, values_text
from foundry_bench.parameters.text import as_text, read_text
from foundry_bench.parameters.types import hints, known
from foundry_bench.variants import VARIANTS

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("FOUNDRY_BENCH_FUZZ", "3000"))
"""Texts a test tries; many more in a run that is left alone."""
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

METHODS = list(registry.entries("methods"))
PARAMETERS = sorted({name for method in METHODS for name in hints(registry.load("methods", method))})
WORDS = some.sampled_from(
    (
        *METHODS,
        *PARAMETERS,
        *VARIANTS,
        *("[", "]", "(", ")", ",", "=", "+", ":", "'", '"', "\\", "\n", "\0", " ", "..", "-", "*"),
        *("null", "true", "nan", ".nan", "inf", "-inf", "1e999", "1_0", "0x1", "1e-320", "٣", "9" * 400),
    )
)
TEXTS = some.one_of(
    some.text(max_size=40),
    some.lists(some.one_of(WORDS, some.text(max_size=3)), max_size=14).map("".join),
)
SINGLE = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(10**20), 10**20),
    some.floats(allow_nan=False, allow_infinity=False),
    some.text(max_size=12),
)
VALUES = some.one_of(SINGLE, some.lists(SINGLE, max_size=4).map(tuple))
"""What the grammar writes: tuples of tuples are none of it."""
NAMES = some.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True)


def one_line(error: UserError) -> None:
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 2000


@fuzzed
@given(TEXTS)
def test_a_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        selectors.parse_selector(text)
    except UserError as error:
        one_line(error)


@fuzzed
@given(TEXTS)
def test_a_text_stands_for_methods_or_is_refused_in_one_line(text: str) -> None:
    try:
        pairs = selectors.expand(selectors.parse_selector(text), grid=None)
    except UserError as error:
        one_line(error)
        return
    for method, variant in pairs:
        assert variant in method.variants
        again = selectors.build_method(method.name, method.params())
        assert again == method


@fuzzed
@given(TEXTS)
def test_a_text_stands_for_tasks_or_is_refused_in_one_line(text: str) -> None:
    try:
        selectors.expand_task(text)
    except UserError as error:
        one_line(error)


@fuzzed
@given(TEXTS)
def test_a_list_of_selectors_is_split_without_loss(text: str) -> None:
    parts = selectors.split_selectors(text)
    assert all(part == part.strip() and part for part in parts)
    assert selectors.split_selectors(",".join(parts)) == parts


@fuzzed
@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    text = as_text(value)
    assert read_text(text) == value
    assert type(read_text(text)) is type(value)


@fuzzed
@given(NAMES, some.dictionaries(NAMES, VALUES, max_size=4))
def test_a_part_is_parsed_as_it_was_written(name: str, values: dict[str, Any]) -> None:
    part = parse_part(bracketed(name, values_text(values)))
    assert part.name == name
    assert part.values == {key: (value,) for key, value in values.items()}


@fuzzed
@given(some.sampled_from(METHODS), some.data())
def test_a_method_takes_a_value_or_says_what_it_takes(name: str, data: some.DataObject) -> None:
    cls = registry.load("methods", name)
    parameters = list(known(cls))
    if not parameters:
        return
    parameter = data.draw(some.sampled_from(parameters))
    value = data.draw(some.one_of(VALUES, some.sampled_from((math.nan, math.inf, 10**400, [1], {"a": 1}))))
    try:
        method = selectors.build_method(name, {parameter: value})
    except UserError as error:
        one_line(error)
        return
    ((again, _), *_) = selectors.expand(
        selectors.parse_selector(selectors.selector_text(name, method.params(), None)), grid=None
    )
    assert again == method
