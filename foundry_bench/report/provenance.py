"""The inputs that determined the numbers of a results folder, the environment they were computed in, and how two folders
differ in both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import pandas as pd

from foundry_bench.runtimes.columns import EAGER
from foundry_bench.sweep.plan import task_text
from foundry_bench.sweep.record import Record, given, harness_protocol

VOLATILE = ("start", "end", "seconds", "command")
"""Keys of ``environment`` that differ from record to record in any case."""
MEASURED_WITH = ("batch", "dtype", "threads")
"""Keys of a record's ``cost`` that say how latency was measured."""
Facts = dict[tuple[str, str], Counter[str]]
"""(Kind, item) -> the values that the records of a folder have for it, and how many have each."""


def inputs_of(records: Iterable[Record]) -> Facts:
    """The inputs that determined the numbers of a folder."""
    facts: Facts = {}
    for record in records:
        for kind, item, value in _stated(record):
            facts.setdefault((kind, item), Counter())[value] += 1
    return facts


def _stated(record: Record) -> Iterator[tuple[str, str, str]]:
    """Kind, item and value of everything that one record's inputs say."""
    inputs, kind = record["inputs"], record["identity"]["kind"]
    method, protocol = inputs["method"], inputs["protocol"] or {}
    budget, cost, ours = inputs["budget"], record["cost"], harness_protocol(inputs)
    yield "value", "teacher", inputs["teacher"]["name"]
    yield "hash", f"teacher {inputs['teacher']['name']}", inputs["teacher"]["sha256"]
    yield "value", "pipeline", str(inputs["pipeline"])
    yield "value", "seeds", str(inputs["seed"])
    yield "value", f"version of {method['name']}", str(method["version"])
    yield "code", method["name"], str(method["code_sha256"])
    for data in (inputs["dataset"], ours.get("labels"), ours.get("fidelity_on")):
        if data:
            yield "hash", f"data set {data['name']}", data["sha256"]
    for name in filter(None, (budget and budget["name"], ours.get("budget"))):
        yield "value", "budget", name
    if budget is not None:
        for name, value in budget.items():
            yield "value", f"{name} of budget {budget['name']}", str(value)
    if kind == "student" and inputs["dataset"]:
        yield "value", "distilled on", inputs["dataset"]["name"]
    for name in ("device", "views"):
        if kind == "profile" and name in protocol:
            yield "value", f"{name} of profiles", str(protocol[name])
    if kind == "evaluate":
        task, dataset, scores = given(inputs["task"]), given(inputs["dataset"]), record["scores"]
        text = task_text(task)
        yield "place", f"{text}:{dataset['name']}", ""
        yield "value", f"version of task {text}", str(task["version"])
        yield "code", f"task {task['name']}", task["code_sha256"]
        for name in protocol.keys() - {"budget"}:
            yield "protocol", f"{name} of task {text}", json.dumps(protocol[name])
        for score in scores["values"] if scores else ():
            if score["primary"]:
                yield "value", f"primary metric of {text}:{dataset['name']}", score["metric"]
    if kind != "profile" or not cost:
        return
    for name, value in cost.items():
        if name in MEASURED_WITH:
            yield "value", f"{name} of cost measurements", str(value)
    yield "value", f"runtime of {method['name']}", cost.get("runtime", EAGER)
    for name, block in (cost.get("runtimes") or {}).items():
        yield "place", f"latency in {name}", ""
        yield "value", f"version of {name}", str(block.get("version"))


def differing_settings(a: Facts, b: Facts) -> list[str]:
    """Sentences on the inputs that differ. Of what only one side has, places and fields of a protocol are named."""
    found, code = [], []
    for kind, item in sorted(a.keys() | b.keys()):
        first, second = set(a.get((kind, item), ())), set(b.get((kind, item), ()))
        if first == second:
            continue
        if first and second:
            if kind == "code":
                code.append(item)
            elif kind == "hash":
                found.append(f"{item} is another ({_values(first, 12)} -> {_values(second, 12)})")
            else:
                found.append(f"{item}: {_values(first)} -> {_values(second)}")
        elif kind == "place":
            found.append(f"{item} only in {'A' if first else 'B'}")
        elif kind == "protocol" and _has_task(b if first else a, item):
            found.append(f"{item} is stated only in {'A' if first else 'B'} ({_values(first | second)})")
    return [*([f"code of {joined(code)} changed"] if code else []), *found]


def _has_task(facts: Facts, item: str) -> bool:
    """Whether the task of a protocol's field was run at all."""
    return ("value", f"version of task {item.partition(' of task ')[2]}") in facts


def environment_of(records: Iterable[Record]) -> Facts:
    """The environment in which the records of a folder were made: packages, commit, machine, threads."""
    facts: Facts = {}
    for record in records:
        for item, value in _conditions(record):
            facts.setdefault(("", item), Counter())[value] += 1
    return facts


def _conditions(record: Record) -> Iterator[tuple[str, str]]:
    environment = record["environment"]
    for name, version in (environment.get("packages") or {}).items():
        yield name, "not installed" if version is None else str(version)
    git = environment.get("git")
    yield "commit", git["sha"][:12] if git else "none"
    yield "uncommitted changes", "unknown" if git is None else "yes" if git["dirty"] else "no"
    for name, value in environment.items():
        if name == "threads":
            yield f"threads of {record['identity']['kind']} cells", str(value)
        elif name not in (*VOLATILE, "packages", "git"):
            yield name, value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def differing_environment(a: Facts, b: Facts) -> pd.DataFrame:
    """Columns item, a, b: the facts that differ. A fact that only one side records is ``not recorded`` on the other."""
    names = sorted(name for name in a.keys() | b.keys() if set(a.get(name, ())) != set(b.get(name, ())))
    rows = [(n[1], *(_values(side[n]) if n in side else "not recorded" for side in (a, b))) for n in names]
    return pd.DataFrame(rows, columns=["item", "a", "b"])


def mixed_environments(side: str, facts: Facts) -> list[str]:
    """Sentences on what is not the same in all records of one folder, the most frequent values first."""
    found = []
    for (_, item), values in facts.items():
        often = sorted(values.items(), key=lambda value: (-value[1], value[0]))[:4]
        if len(values) > 1:
            counts = joined([f"{value} in {count(cells, 'cell')}" for value, cells in often])
            found.append(f"{side} holds several environments, {item}: {counts}")
    return found


def _values(values: Iterable[str], digits: int | None = None) -> str:
    """Values as text, the first three of many."""
    texts = sorted(value[:digits] for value in values)
    return joined(texts if len(texts) < 5 else [*texts[:3], f"{len(texts) - 3} more"])


def joined(texts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
