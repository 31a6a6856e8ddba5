"""Why a cell is run although something like it was recorded before: one line, so that nobody wonders about lost hours."""

from __future__ import annotations

from collections import Counter

from foundry_bench.sweep.index import Entries
from foundry_bench.sweep.plan import STUDENT, Cell
from foundry_bench.sweep.record import Content, Entry, Inputs
from foundry_bench.sweep.store import FINISHED, SKIPPED, Store

MOST = 6
"""Reasons told one by one; further ones are counted together."""


def explain(cells: list[Cell], todo: list[Cell], recorded: Entries, store: Store) -> list[str]:
    """A line that counts the reasons, none where nothing is computed again.

    The cell that was computed before is the one with the same name for people: kind, method, parameters, variant, seed, place.
    """
    if not todo or not recorded:
        return []
    planned = {cell.id for cell in cells}
    before = {entry["title"]: id for id, entry in recorded.items() if id not in planned}
    reasons: Counter[str] = Counter()
    for cell in todo:
        if cell.id in recorded:
            reasons[_kept(cell, recorded[cell.id])] += 1
        elif cell.title in before:
            old = store.read(cell.kind, before[cell.title])
            if old is not None:
                reasons[_changed(old["inputs"], cell.inputs)] += 1
    if not reasons:
        return []
    told = [f"{reason} ({count})" for reason, count in reasons.most_common(MOST)]
    rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(MOST))
    told += [f"other reasons ({rest})"] if rest else []
    return [f"{sum(reasons.values())} cells are computed again: {', '.join(told)}"]


def _kept(cell: Cell, entry: Entry) -> str:
    """Why a cell is run again whose record is there."""
    status = entry["identity"]["status"]
    if status == SKIPPED:
        return "skipped before"
    if status in FINISHED:
        return "weights that another cell needs are gone" if cell.kind == STUDENT else "asked for"
    return f"{status} before"


def _changed(old: Inputs, new: Inputs) -> str:
    """The first thing that determines a cell and is not what it was, from what is most to what is least general."""
    name, task = new["method"]["name"], new["task"] and new["task"]["name"]
    if old["pipeline"] != new["pipeline"]:
        return "another version of the harness"
    if old["teacher"]["sha256"] != new["teacher"]["sha256"]:
        return "weights of the teacher changed"
    if old["method"] != new["method"]:
        return f"{'code' if old['method']['version'] == new['method']['version'] else 'version'} of {name} changed"
    if old["task"] != new["task"]:
        return f"task {task} changed"
    if _hash(old["dataset"]) != _hash(new["dataset"]):
        return f"data set {new['dataset']['name'] if new['dataset'] else ''} changed"
    if old["budget"] != new["budget"]:
        return "budget changed"
    if old["params"] != new["params"]:
        return f"parameters of {name} changed"
    if old["protocol"] != new["protocol"]:
        return f"protocol of {task or 'the measurement'} changed"
    return "its student is made anew"


def _hash(content: Content | None) -> str | None:
    return content and content["sha256"]
