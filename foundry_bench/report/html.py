"""``report.html``: the results folder as one page that needs no network, and nothing but a browser.

The page is a template with a style sheet, a script and one block of JSON; its policy lets only this style and this script
run. Texts come from results files: they are escaped on the way into the block, and the script writes them as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from foundry_bench.border import plain
from foundry_bench.figures.kinds import KINDS as PICTURES
from foundry_bench.report.frame import MISSING
from foundry_bench.report.leaderboard import Board
from foundry_bench.report.page_details import Details
from foundry_bench.report.page_scaling import scaling_data
from foundry_bench.report.page_tables import key_of, table_data
from foundry_bench.report.plots.colours import FAMILY_COLOURS, UNKNOWN_COLOUR
from foundry_bench.report.tables import NOTES
from foundry_bench.storage import write_atomic
from foundry_bench.sweep.store import KINDS

NAME = "report.html"
FOLDER = "page"
SCRIPTS = (
    "base",
    "state",
    "front",
    "scale",
    "labels",
    "plot",
    "table",
    "heatmap",
    "scaling",
    "detail",
    "controls",
    "main",
)
"""The script's files in their order."""
RELOAD = 10
"""Seconds after which an unfinished page looks for news while a sweep runs."""
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""The policy of a page that loads nothing, to which its own style and script are added, and pictures beside it."""
_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Comparison:
    """One table of the page: its cells, and the leaderboard that was made of them."""

    name: str
    about: str
    frame: pd.DataFrame
    board: Board


def write_page(
    folder: Path, whole: Comparison, tables: Sequence[Comparison] = (), *, live: bool = False
) -> None:
    """Write the page of a results folder: ``tables`` of a sweep that makes several, and the ``whole``. ``live``: a sweep is
    running, so the page looks for news."""
    write_atomic(folder / NAME, page(folder, whole, tables, live=live).encode("utf-8", "xmlcharrefreplace"))


def page(folder: Path, whole: Comparison, tables: Sequence[Comparison] = (), *, live: bool = False) -> str:
    """The page's text; the same results give the same."""
    data = page_data(folder, whole, tables, live=live)
    style, script = _style(), _script()
    return _template().render(
        title=data["title"],
        notes=NOTES,
        style=style,
        script=script,
        data=in_script(data),
        policy=f"{NOTHING}; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
    )


def page_data(folder: Path, whole: Comparison, tables: Sequence[Comparison], *, live: bool) -> dict[str, Any]:
    """All that the page's script reads."""
    shown = [*tables, whole]
    details = Details(folder, whole.frame, whole.board)
    numbers = {key_of(row.keys): number for number, row in enumerate(whole.board.rows)}
    made = [table_data(part.name, part.about, part.frame, part.board) for part in shown]
    for part, table in zip(shown, made, strict=True):
        for row, about in zip(part.board.rows, table["rows"], strict=True):
            about["detail"] = numbers.get(key_of(row.keys))
    frame = whole.frame
    return {
        "title": plain(folder.absolute().name),
        "version": version("foundry-bench"),
        "live": live,
        "reload": RELOAD,
        "cells": len(frame),
        "missing": int((frame["status"] == MISSING).sum()),
        "teachers": [plain(name) for name in sorted(frame["teacher"].unique())],
        "budget": next((plain(name) for name in frame["budget"].dropna()), None),
        "tables": made,
        "details": [details.of(row) for row in whole.board.rows],
        "settings": details.settings.values,
        "asked": details.asked.values,
        "places": [plain(place) for place in details.places],
        "edges": [details.edges.get(place) for place in details.places],
        "kinds": KINDS,
        "pictures": PICTURES,
        "scaling": scaling_data(folder),
    }


def in_script(data: object) -> str:
    """JSON that ends no script element, whatever it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for char, escape in _IN_SCRIPT.items():
        text = text.replace(char, escape)
    return text


def _hash(text: str) -> str:
    """How a page's policy names a style or a script that may be used."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _script() -> str:
    parts = [_file(f"{name}.js") for name in SCRIPTS]
    return "\n".join(['"use strict";', "(() => {", *parts, "})();", ""])


@cache
def _style() -> str:
    lines = [f"  --family-{family}: {colour};" for family, colour in FAMILY_COLOURS.items()]
    lines.append(f"  --family-unknown: {UNKNOWN_COLOUR};")
    return "\n".join(["", ":root {", *lines, "}", _file("page.css")])


def _file(name: str) -> str:
    return files("foundry_bench.report").joinpath(FOLDER, name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_file("page.html.jinja"))
