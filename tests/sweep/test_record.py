"""The record's types say what records hold: those that were committed, and what the harness puts into them."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from foundry_bench.cost.report import CostReport
from foundry_bench.encoder import Band, DistillReport
from foundry_bench.report import frame, provenance
from foundry_bench.sweep import record as module
from foundry_bench.sweep.record import Cost, Environment, Identity, Record, Spec, blank_record, given
from foundry_bench.task import Score
from foundry_bench.trackers import rows
from foundry_bench.training.budget import Budget

ROOT = Path(__file__).parents[2]
COMMITTED = (*ROOT.glob("results/*/cells/*/*.json"), *ROOT.glob("tests/golden/*/cells/*/*.json"))
TYPES = [value for value in vars(module).values() if is_typeddict(value)]
PUBLIC = [kind for kind in TYPES if not kind.__name__.startswith("_")]
SPEC: Spec = {
    "schema_version": 1,
    "cell_id": "0" * 64,
    "kind": "student",
    "title": "student teacher",
    "attempt": 2,
    "tried": 1,
    "inputs": {
        "pipeline": 1,
        "teacher": {"name": "small", "sha256": "1" * 64},
        "method": {"name": "gone", "version": None, "code_sha256": None},
        "variant": None,
        "params": None,
        "shown": "",
        "seed": None,
        "task": None,
        "dataset": None,
        "protocol": None,
        "budget": None,
    },
    "results": "results",
    "cache": "results/.cache",
    "threads": 1,
    "budget": "quick",
    "device": "cpu",
    "data_root": "data",
    "engine": "local",
    "memory": None,
    "peak_memory": False,
    "plugins": [],
    "node": "here",
    "environment": {
        "python": "3.11.0",
        "platform": "Linux-x86_64",
        "packages": {"torch": "2.4.0", "timm": None},
        "cpu": "any",
        "gpu": None,
        "git": {"sha": "2" * 40, "dirty": False},
        "command": "foundry-bench run",
    },
}


def problems(value: object, kind: Any, where: str = "record") -> list[str]:
    """What of a JSON value is not as the type ``kind`` says."""
    if kind is Any:
        return []
    if NoneType in get_args(kind):
        (other,) = set(get_args(kind)) - {NoneType}
        return [] if value is None else problems(value, other, where)
    if is_typeddict(kind):
        return _problems_of_keys(value, kind, where) if isinstance(value, dict) else [f"{where}: {value!r}"]
    if get_origin(kind) is list and isinstance(value, list):
        return [line for item in value for line in problems(item, get_args(kind)[0], f"{where}[]")]
    if get_origin(kind) is dict and isinstance(value, dict):
        return [line for key in value for line in problems(value[key], get_args(kind)[1], f"{where}.{key}")]
    right = type(value) in ((int, float) if kind is float else (kind,))
    return [] if right else [f"{where}: {value!r} is no {kind}"]


def _problems_of_keys(value: dict[str, object], kind: Any, where: str) -> list[str]:
    hints = get_type_hints(kind)
    found = [f"{where} lacks {key}" for key in kind.__required_keys__ - value.keys()]
    found += [f"{where} has {key}, which nobody declared" for key in value.keys() - hints.keys()]
    known = value.keys() & hints.keys()
    return found + [line for key in known for line in problems(value[key], hints[key], f"{where}.{key}")]


def test_every_committed_record_is_as_its_type_says() -> None:
    assert len(COMMITTED) > 800
    found = {line for file in COMMITTED for line in problems(json.loads(file.read_bytes()), Record)}
    assert not found


def test_a_record_with_a_foreign_key_or_value_is_found_out() -> None:
    record: dict[str, Any] = json.loads(json.dumps(blank_record(SPEC)))
    assert problems(record, Record) == []
    record["identity"]["statsu"] = record["identity"].pop("status")
    record["inputs"]["seed"] = "0"
    assert sorted(problems(record, Record)) == [
        "record.identity has statsu, which nobody declared",
        "record.identity lacks status",
        "record.inputs.seed: '0' is no <class 'int'>",
    ]


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_key_has_its_words(kind: Any) -> None:
    own = inspect.getdoc(kind) or ""
    pointed_to = [inspect.getdoc(other) or "" for other in PUBLIC if f":class:`{other.__name__}`" in own]
    missing = [key for key in get_type_hints(kind) if f"``{key}``" not in " ".join((own, *pointed_to))]
    assert not missing


def test_blocks_have_the_fields_of_what_they_are_made_of() -> None:
    def keys(kind: Any) -> set[str]:
        return set(get_type_hints(kind))

    def names(cls: Any) -> set[str]:
        return {field.name for field in fields(cls)}

    assert keys(module.ScoreValue) == names(Score)
    assert keys(module.Fidelity) == names(DistillReport) | {"seeded", "r2_parent"}
    assert keys(module.Band) == names(Band)
    assert keys(module.BudgetInputs) == names(Budget)
    assert keys(Cost) == names(CostReport) | {"student_bytes", "cache_bytes"}


def test_lists_of_keys_name_keys() -> None:
    cost = set(get_type_hints(Cost))
    assert set(frame.COST) <= cost
    assert set(provenance.MEASURED_WITH) <= cost
    assert set(rows.SETTINGS) <= cost
    assert set(frame.IDENTITY) == set(get_type_hints(Identity))
    assert set(provenance.VOLATILE) <= set(get_type_hints(Environment))


def test_a_blank_record_does_not_share_the_environment_of_its_spec() -> None:
    record = blank_record(SPEC)
    record["environment"]["threads"] = 7
    assert "threads" not in SPEC["environment"]
    assert record["identity"]["attempt"] == 2


def test_what_a_cell_lacks_is_said() -> None:
    assert given(0) == 0
    with pytest.raises(ValueError, match="needs"):
        given(None)
