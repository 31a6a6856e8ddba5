"""Which rows of a leaderboard somebody means: by selectors, the front, the best of each family."""

from __future__ import annotations

from foundry_bench.descriptions.known import families
from foundry_bench.errors import UserError, quoted, unknown
from foundry_bench.report.leaderboard import Board, Row
from foundry_bench.report.served import parameters
from foundry_bench.report.tables import selector
from foundry_bench.selectors import Selector, parse_selector, split_selectors

FRONT, BEST = "front", "best"
"""In place of a selector: the rows on the front of the mean over multiply-adds; the best ranked row of each family."""


def check_rows(text: str) -> str:
    """``text`` where it can be read, before there are rows. Raises UserError."""
    for part in _parts(text):
        if part not in (FRONT, BEST):
            parse_selector(part)
    return text


def chosen_rows(text: str, board: Board) -> list[Row]:
    """The rows that ``text`` names, each once, in the order of ``board``: :data:`FRONT`, :data:`BEST` and selectors, joined by
    commas. A selector means all rows that have the values it gives, of every variant where it gives none.

    Raises UserError for what cannot be read or means no row.
    """
    known = {selector(row.keys): row for row in board.rows}
    meant: set[int] = set()
    for part in _parts(text):
        found = _meant(part, board)
        if not found:
            if part in (FRONT, BEST):
                raise UserError(f"no row of these results is ranked, so {part!r} means none")
            raise unknown("row", part, known)
        meant.update(map(id, found))
    return [row for row in board.rows if id(row) in meant]


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in split_selectors(text)]
    if not parts or not all(parts):
        raise UserError(
            f"rows are selectors, {FRONT!r} or {BEST!r}, joined by commas, such as 'tome,foundry[supertokens=16]', "
            f"not {quoted(text)}"
        )
    return parts


def _meant(part: str, board: Board) -> list[Row]:
    if part == FRONT:
        return [row for row in board.rows if row.values.get("pareto")]
    if part == BEST:
        ranked = [row for row in board.rows if row.complete]
        kinds = families({row.keys["method"] for row in ranked})
        first = {kinds[row.keys["method"]] or row.keys["method"]: row for row in reversed(ranked)}
        return list(first.values())
    exact = [row for row in board.rows if selector(row.keys) == part]
    asked = parse_selector(part)
    return exact or [row for row in board.rows if _is(asked, row)]


def _is(asked: Selector, row: Row) -> bool:
    """Whether a row has what a selector asks for."""
    if row.keys["method"] != asked.name or asked.variant not in (None, row.keys["variant"]):
        return False
    own = parameters(row.keys["parameters"])
    for place, part in enumerate(asked.parts):
        for name, values in part.values.items():
            key = f"{part.name}.{name}" if place else name
            if key not in own or own[key] not in [_as_json(value) for value in values]:
                return False
    return True


def _as_json(value: object) -> object:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
