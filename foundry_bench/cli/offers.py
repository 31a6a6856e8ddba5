"""What completion offers for a value: names of plugins, their parameters and the values of these, without importing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from foundry_bench.variants import VARIANTS

OPEN = "open"
"""Type of an item after which more follows, so that no space does."""
FILE, FOLDER = "file", "dir"
"""Types of the items that leave a word to the shell."""
Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def values(*texts: str) -> Offer:
    """Offers some texts."""
    return lambda context, parameter, typed: _items(typed, texts)


def budgets(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offers the budgets that are for people."""
    from foundry_bench.training.budget import BUDGETS

    return _items(typed, BUDGETS)


def plugins(kind: str, *also: str, several: bool = False, path: str | None = None) -> Offer:
    """Offers names of one kind, parameters in brackets, and their values.

    ``also``: words that stand beside the names. ``several``: a list by commas, as ``--methods`` takes it. ``path``: FILE or
    FOLDER where one can stand in the place of a name.
    """

    def offer(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        start = _last(typed, ",") if several else 0
        found = list(_selectors(kind, typed[start:], also))
        items = [CompletionItem(typed[:start] + item.value, item.type) for item in found]
        return [*items, CompletionItem(typed, path)] if path is not None else items

    return offer


devices = values("cpu", "cuda", "cuda:0", "cuda:1")
teacher = plugins("teachers", path=FILE)
method = plugins("methods")
methods = plugins("methods", "all", several=True)
student = plugins("methods", path=FOLDER)
tasks = plugins("tasks", "all", "default", "none", several=True)
task = plugins("tasks")
dataset = plugins("datasets", path=FOLDER)
datasets = plugins("datasets", path=FOLDER, several=True)
engine = plugins("engines")
runtimes = plugins("runtimes", several=True)
trackers = plugins("trackers", several=True)


def names(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offers the names of all kinds, and files."""
    from foundry_bench import registry

    every = [name for kind in registry.KINDS for name in registry.entries(kind)]
    return [*_items(typed, dict.fromkeys(every)), CompletionItem(typed, FILE)]


def kinds(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offers the kinds of plugins."""
    from foundry_bench import registry

    return _items(typed, registry.KINDS)


def _selectors(kind: str, typed: str, also: Iterable[str]) -> Iterable[CompletionItem]:
    """How one selector may go on."""
    from foundry_bench import registry

    if kind == "tasks" and (place := _last(typed, ":")):
        return [_after(typed[:place], item) for item in _selectors("datasets", typed[place:], ())]
    start = _last(typed, "+") if kind == "methods" else 0
    before, last = typed[:start], typed[start:]
    name, bracket, inside = last.partition("[")
    known = registry.entries(kind)
    if bracket and name in known:
        return [_after(f"{before}{name}[", item) for item in _inside(kind, name, inside)]
    offered = [*known, *(VARIANTS if before else also)]
    items = [_after(before, item) for item in _items(last, offered)]
    if last in known and _parameters(kind, last):
        items.append(CompletionItem(f"{typed}[", OPEN))
    return items


def _inside(kind: str, name: str, inside: str) -> Iterable[CompletionItem]:
    """How the parameters of a plugin may go on, of which ``inside`` is written."""
    offered = _parameters(kind, name)
    start = _last(inside, ",")
    before, last = inside[:start], inside[start:]
    key, equals, value = last.partition("=")
    if equals:
        found = [
            CompletionItem(f"{before}{key}={item.value}", OPEN)
            for item in _items(value, offered.get(key, []))
        ]
        done = [CompletionItem(f"{inside}]", OPEN)] if value in offered.get(key, []) else []
        return [*found, *done]
    used = [item.partition("=")[0] for item in before.split(",")]
    left = [parameter for parameter in offered if parameter not in used and parameter.startswith(last)]
    if (
        len(left) == 1 and offered[left[0]]
    ):  # at once its values, for quotes would be closed behind a single item
        return [CompletionItem(f"{before}{left[0]}={value}", OPEN) for value in offered[left[0]]]
    return [CompletionItem(f"{before}{parameter}=", OPEN) for parameter in left]


def _parameters(kind: str, name: str) -> dict[str, list[str]]:
    """Parameters of a plugin with values to offer; nothing of one that would have to be imported for it."""
    from foundry_bench.descriptions.known import described

    return described(kind, [name], ask_for=False)[name].parameters


def _last(text: str, mark: str) -> int:
    """The place behind the last ``mark`` outside of brackets, 0 without one."""
    depth = place = 0
    for number, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char == mark and depth == 0:
            place = number + 1
    return place


def _items(typed: str, offered: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(text) for text in offered if text.startswith(typed)]


def _after(before: str, item: CompletionItem) -> CompletionItem:
    return CompletionItem(before + item.value, item.type)
