"""Pages of real results, and the browser that opens them: the one that is installed, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from foundry_bench.report import html, writer
from foundry_bench.report.html import Comparison

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "results", ROOT / "tests" / "golden")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Page:
    """A page on disk and what it was made of."""

    file: Path
    whole: Comparison
    tables: list[Comparison] = field(default_factory=list)

    def number(self, selector: str) -> int:
        """The number of a row of the whole table, by how the page names it."""
        rows = html.table_data("", "", self.whole.frame, self.whole.board)["rows"]
        return next(number for number, row in enumerate(rows) if row["id"] == selector)


def page_of(name: str, folder: Path) -> Page:
    """The page of a committed sweep, in a folder of its own."""
    shutil.copytree(next(place / name for place in FOLDERS if (place / name).is_dir()), folder / name)
    whole, tables = writer.write_board(folder / name)
    return Page(folder / name / writer.PAGE, whole, tables)


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """21 rows of three starts each, so that there are tests between them."""
    return page_of("reference-forms", tmp_path_factory.mktemp("forms"))


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Students with an inference-time parameter."""
    return page_of("gate", tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The installed browser; for one module at a time, because its loop would be in the way of others."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


class Visit:
    """One open page: ``said`` are its console's errors, ``asked`` all addresses that it asked for, ``beside`` those of files
    beside it that it may ask for."""

    def __init__(self, tab: Any, file: Path, address: str = "") -> None:
        self.tab, self.file = tab, file
        self.beside: set[str] = set()
        self.said: list[str] = []
        self.asked: list[str] = []
        tab.on(
            "console", lambda line: self.said.append(line.text) if line.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.set_default_timeout(60_000)
        tab.goto(f"{file.as_uri()}{address}")

    def all(self, css: str) -> list[str]:
        """The texts of all elements that match."""
        return self.tab.locator(css).all_inner_texts()

    def rows(self, css: str) -> set[int]:
        """The numbers of the rows that the matching elements stand for."""
        found = self.tab.eval_on_selector_all(css, "all => all.map((one) => Number(one.dataset.row))")
        return set(found)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """Open a page: ``visit(file, "#pin=...", width=390)``. Afterwards nothing may have gone wrong in it, and nothing been asked
    for but itself."""
    opened: list[Visit] = []

    def open_page(file: Path, address: str = "", *, width: int = 1280, **options: Any) -> Visit:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, offline=True, accept_downloads=True, **options
        )
        opened.append(Visit(context.new_page(), file, address))
        return opened[-1]

    yield open_page
    for page in opened:
        assert page.said == []
        asked = {address.partition("#")[0] for address in page.asked}
        assert asked - page.beside == {page.file.as_uri()}
        page.tab.context.close()
