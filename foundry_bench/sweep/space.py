"""What a search may choose from: all registered methods over a coarse lattice of their parameters, and stacks of two.

Varied are the parameters that a method declares in its ``grid``: over the values there and, within the bounds of the parameter,
over :data:`COUNTS` if it is a whole number or :data:`SHARES` if it is a share. Methods of the family ``reference`` and experts
are left out: they compress nothing, or for one task. A new method is in the space as soon as it is registered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from foundry_bench import registry, selectors
from foundry_bench.context import derive_seed
from foundry_bench.errors import UserError
from foundry_bench.parameters.named import Part
from foundry_bench.parameters.types import checked, hints
from foundry_bench.variants import EXPERT, FMD

if TYPE_CHECKING:
    from foundry_bench.method import Method

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
"""Values of a whole number, up to ``BEYOND`` times the largest that a method declares."""
BEYOND = 4
SHARES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Values of a share."""
REFERENCE, TEACHER = "reference", "teacher"
"""The family of what compresses nothing, and its method that all others are compared with."""


@dataclass(frozen=True)
class Choice:
    """One student that could be made. ``group``: the methods and the variant, whatever their parameters."""

    method: Method
    variant: str

    @property
    def selector(self) -> str:
        """As ``--methods`` takes it, and as tables show it."""
        return selectors.selector_text(
            self.method.name, self.method.shown(self.method.params()), self.variant
        )

    @property
    def group(self) -> str:
        """Name and variant."""
        return f"{self.method.name}+{self.variant}"


def space(asked: Sequence[str] = ()) -> list[Choice]:
    """Every choice of the selectors ``asked`` for, of all methods where none is: a bare name stands for its whole lattice,
    parameters that are given keep their values.

    Raises UserError for selectors that cannot be read; a plugin that cannot be used is left out where nobody named it.
    """
    found: dict[str, Choice] = {}
    for text in asked or registry.entries("methods"):
        try:
            choices = _choices(selectors.parse_selector(text))
        except (UserError, TypeError, AttributeError):
            if asked:
                raise
            continue
        kept = [c for c in choices if c.variant != EXPERT and c.method.family != REFERENCE]
        lacking = next((reason for c in kept if (reason := c.method.lacks()) is not None), None)
        if lacking is not None and asked:
            raise UserError(f"{text!r} cannot be used here: {lacking}")
        kept = [] if lacking is not None else kept
        if asked and not kept:
            raise UserError(f"{text!r} is nothing to search: it compresses nothing, or for one task only")
        found |= {choice.selector: choice for choice in kept}
    return list(found.values())


def _choices(selector: selectors.Selector) -> list[Choice]:
    selectors.check_names(selector)
    parts = tuple(Part(part.name, lattice(part.name, part.values)) for part in selector.parts)
    pairs = selectors.expand(selectors.Selector(parts, selector.variant), grid=None)
    if len(parts) == 1 and not selector.parts[0].values:
        cls = selectors.method_class(parts[0].name)
        for row in (*cls.also, *cls.matched):
            values = {name: (value,) for name, value in row.items()}
            pairs += selectors.expand(
                selectors.Selector((Part(parts[0].name, values),), selector.variant), grid=None
            )
    return [Choice(method, variant) for method, variant in pairs]


def lattice(name: str, given: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Values by parameter of a method, those ``given`` as they are."""
    cls = selectors.method_class(name)
    with registry.guard("methods", name, selectors.UNUSABLE):
        declared = {key: tuple(values) for key, values in cls.grid.items() if key not in given}
    return {key: _values(cls, name, key, values) for key, values in declared.items()} | dict(given)


def _values(cls: type, name: str, key: str, declared: tuple[Any, ...]) -> tuple[Any, ...]:
    """``declared`` values and those of the coarse lattice that the parameter takes."""
    kinds = set(_kinds(hints(cls)[key]))
    share = float in kinds and not _taken(cls, name, key, 1.5)
    largest = max((value for value in declared if type(value) is int), default=0)
    counts = tuple(value for value in COUNTS if value <= BEYOND * largest)
    further = counts if int in kinds else SHARES if share else ()
    return tuple(dict.fromkeys([*declared, *(value for value in further if _taken(cls, name, key, value))]))


def _kinds(hint: Any) -> Iterator[Any]:
    """The plain types in an annotation."""
    inner = get_args(hint)
    yield from (kind for member in inner for kind in _kinds(member)) if inner else (hint,)


def _taken(cls: type, name: str, key: str, value: Any) -> bool:
    try:
        checked(cls, name, {key: value})
    except UserError:
        return False
    return True


def choice_of(selector: str) -> Choice:
    """The choice that a selector names."""
    return Choice(*selectors.one_method(selector))


@dataclass(frozen=True)
class Pair:
    """A stack of two choices, ``first`` and ``second``."""

    choice: Choice
    first: Choice
    second: Choice


def stacks(choices: Sequence[Choice]) -> list[Pair]:
    """All stacks that can be of two of ``choices``, of different methods; distilled where one of the two is and that can be."""
    from foundry_bench.stack import MisplacedError, Stack

    found: dict[str, Pair] = {}
    single = [choice for choice in choices if not isinstance(choice.method, Stack)]
    for first, second in itertools.product(single, single):
        if first.method.name == second.method.name:
            continue
        try:
            stack = Stack((first.method, second.method))
        except MisplacedError:
            continue
        trained = FMD in (first.variant, second.variant) and FMD in stack.variants
        choice = Choice(stack, FMD if trained else first.variant)
        found.setdefault(choice.selector, Pair(choice, first, second))
    return list(found.values())


def drawn(choices: Sequence[Choice], seed: int) -> Iterator[Choice]:
    """``choices`` in turns from every group, in an order of its own within each: any beginning of it has every group alike."""
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(choice.group, []).append(choice)
    orders = []
    for name, members in sorted(groups.items(), key=lambda group: derive_seed(seed, "group", group[0])):
        order = np.random.default_rng(derive_seed(seed, "search", name)).permutation(len(members))
        orders.append([members[i] for i in order])
    for row in itertools.zip_longest(*orders):
        yield from (choice for choice in row if choice is not None)
