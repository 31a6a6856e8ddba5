"""``report.html`` in a real browser without a network: every control does what it says, and nothing is computed wrongly."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from board_helpers import cells, frame
from conftest import Page, Visit
from PIL import Image

from foundry_bench.report import html, pictures
from foundry_bench.report.html import Comparison
from foundry_bench.report.leaderboard import board_of
from foundry_bench.report.page_tables import table_data
from foundry_bench.report.served import Served
from foundry_bench.report.statistics.ranks import pareto
from foundry_bench.report.tables import selector

Open = Callable[..., Visit]
PIN = "foundry[supertokens=16]+fmd"
VARIANT = "#filters [data-value='variant:off-the-shelf']"


def written(folder: Path, *parts: pd.DataFrame, live: bool = False) -> Path:
    """A page of made-up results: the whole, and a table of each part if there are several."""
    whole = pd.concat(parts, ignore_index=True).drop_duplicates("cell_id")
    tables = [Comparison(f"table {n}", "", part, board_of(part)) for n, part in enumerate(parts)]
    html.write_page(
        folder,
        Comparison("all rows", "", whole, board_of(whole)),
        tables if len(tables) > 1 else [],
        live=live,
    )
    return folder / html.NAME


def test_it_opens_without_an_error_and_without_a_network(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    assert page.tab.title() == "reference-forms - foundry-bench"
    assert len(page.rows("#table tbody [data-row]")) == len(page.rows("#plot .point")) == 21
    assert page.all("#table tbody th")[0].strip() == "teacher+off-the-shelf"


def test_the_front_of_any_axes_is_that_of_the_harness(visit: Open, forms: Page) -> None:
    page, board = visit(forms.file), forms.whole.board
    data = table_data("", "", forms.whole.frame, board)
    index = {column["key"]: number for number, column in enumerate(data["columns"])}
    chosen = {
        kind: page.tab.eval_on_selector_all(f"#{kind} option", "all => all.map((o) => o.value)")
        for kind in "xy"
    }
    assert {"gmacs", "latency_ms", "params_m", "disk_mb"} <= set(chosen["x"])
    assert {"mean_score", "retained", "worst_retained", "r2", "onepatch:kicad:acc"} <= set(chosen["y"])
    for x in chosen["x"]:
        page.tab.select_option("#x", x)
        for y in chosen["y"]:
            page.tab.select_option("#y", y)
            front = pareto(*([row["values"][index[key]] for row in data["rows"]] for key in (x, y)))
            assert page.rows("#plot .best") == set(np.flatnonzero(front)), (x, y)


def test_equal_rows_are_on_the_front_together(visit: Open, tmp_path: Path) -> None:
    rows = [
        cells(n, tmp_path, level=v, gmacs=g)
        for n, v, g in (("a", 0.5, 1), ("b", 0.5, 1), ("c", 0.5, 2), ("d", 0.4, 1))
    ]
    page = visit(written(tmp_path, frame(*rows)), "#y=r2")
    assert {name.partition(":")[0] for name in labels(page, ".best")} == {"a+fmd", "b+fmd", "d+fmd"}, (
        "R2 is the same"
    )
    page.tab.select_option("#y", "mean_score")
    assert {name.partition(":")[0] for name in labels(page, ".best")} == {"a+fmd"} | (
        {"b+fmd"} if board_of(frame(*rows)).table["pareto"][1] else set()
    )


def labels(page: Visit, css: str) -> list[str]:
    return page.tab.eval_on_selector_all(
        f"#plot {css}", "all => all.map((one) => one.getAttribute('aria-label'))"
    )


def test_a_pinned_row_marks_those_that_the_tests_do_not_tell_apart(visit: Open, forms: Page) -> None:
    page, board = visit(forms.file), forms.whole.board
    ranked = int(board.table["rank"].notna().sum())
    apart = np.zeros((ranked, ranked), bool)
    apart[np.tril_indices(ranked, -1)] = board.separable
    apart |= apart.T
    for number in range(ranked):
        page.tab.click(f"#table tbody button[data-row='{number}']")
        same = {other for other in range(ranked) if other != number and not apart[number, other]}
        assert page.rows("#plot .same") == page.rows("#table tr.same button") == same
        assert f"{len(same)} row" in page.all("#view")[0]
        assert page.rows("#plot [aria-pressed=true]") == {number}
        page.tab.click(f"#table tbody button[data-row='{number}']")
    assert page.rows("#plot .same") == set()


def test_a_provisional_row_is_told_apart_from_none(visit: Open, gate: Page) -> None:
    page = visit(gate.file, "#pin=foundry-gate[r=0.3]%2Bfmd")
    assert "is tested against no other row" in page.all("#view")[0]
    assert page.rows("#plot .same") == page.rows("#plot .apart") == set()


def test_a_filter_changes_no_rank_and_no_front(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    before = dict(zip(page.all("#table tbody th"), page.all("#table tbody td:nth-child(2)"), strict=True))
    front = page.all("#front")
    page.tab.fill("#search", "nested 16")
    after = dict(zip(page.all("#table tbody th"), page.all("#table tbody td:nth-child(2)"), strict=True))
    assert list(after) == ["foundry-nested[supertokens=16]+fmd"]
    assert after.items() <= before.items()
    assert page.all("#front") == front
    assert "1 of 21 rows in view. Ranks are over all 21 ranked rows" in page.all("#view")[0]
    page.tab.click("#clear")
    assert len(page.all("#table tbody tr")) == 21
    assert not page.tab.locator("#clear").is_visible(), "nothing is left out"


def test_chips_leave_rows_in_view(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    page.tab.click("#filtered")
    page.tab.click(VARIANT)
    assert (
        page.rows("#table tbody button") == page.rows("#plot .point") == page.rows("#heatmap button") == {0}
    )
    assert page.tab.get_attribute(VARIANT, "aria-pressed") == "true"
    page.tab.click("#filters [data-value='family:merge']")
    assert page.all("#table tbody tr") == [], "both have to hold"
    page.tab.click(VARIANT)
    assert len(page.all("#table tbody tr")) == 1


@pytest.mark.parametrize("key", ["gmacs", "r2", "row"])
def test_a_heading_sorts_down_up_and_back(visit: Open, forms: Page, key: str) -> None:
    page = visit(forms.file)
    names, orders = [], []
    for _ in range(3):
        page.tab.click(f"#table [data-sort='{key}']")
        names.append(page.all("#table tbody th"))
        orders.append(
            page.tab.eval_on_selector_all("#table th[aria-sort]", "all => all.map((o) => o.ariaSort)")
        )
    first = "descending" if key == "r2" else "ascending"
    second = "ascending" if key == "r2" else "descending"
    assert orders == [[first], [second], []]
    assert names[0] != names[1]
    assert sorted(names[0]) == sorted(names[1]) == sorted(names[2])
    board = forms.whole.board.table
    if key != "row":
        best = board[key].astype(float).idxmax() if key == "r2" else board[key].astype(float).idxmin()
        assert names[0][0].strip().startswith(board["method"][best])


def test_columns_can_be_chosen(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    page.tab.click("#picker summary")
    page.tab.check("#columns [data-value='latency_ms']")
    page.tab.uncheck("#columns [data-value='gmacs']")
    keys = page.tab.eval_on_selector_all("#table [data-sort]", "all => all.map((o) => o.dataset.sort)")
    assert "latency_ms" in keys
    assert "gmacs" not in keys
    again = visit(forms.file, page.tab.evaluate("location.hash"))
    assert again.all("#table thead") == page.all("#table thead")


def test_the_view_is_saved_and_copied_to_the_last_digit(visit: Open, forms: Page) -> None:
    page = visit(forms.file, permissions=["clipboard-read", "clipboard-write"])
    page.tab.fill("#search", "supertokens=16")
    with page.tab.expect_download() as download:
        page.tab.click("#csv")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    board = forms.whole.board.table.loc[sorted(page.rows("#table tbody button"))]
    assert [float(row["mean_score"]) for row in rows] == list(board["mean_score"])
    assert [float(row["mean_score_ci95"]) for row in rows] == pytest.approx(
        list(board["mean_score_ci95"]), rel=1e-3
    )
    page.tab.click("#copy")
    page.tab.locator("#done", has_text="copied").wait_for(state="attached")
    copied = page.tab.evaluate("navigator.clipboard.readText()").split("\n")
    assert [line.split("\t")[0] for line in copied] == ["row", *(row["row"] for row in rows)]


def test_pointer_and_keyboard_show_and_pin_a_point(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    teacher = "#plot .point[data-row='0']"
    page.tab.hover(teacher)
    assert "teacher+off-the-shelf" in page.all("#plot .tip")[0]
    page.tab.click(teacher)
    assert page.all("#row h3")[0] == "teacher+off-the-shelf"
    page.tab.focus("#plot .point[tabindex='0']")
    page.press("ArrowLeft")
    here = page.tab.evaluate("Number(document.activeElement.dataset.row)")
    assert here != 0
    assert page.tab.locator("#plot .tip").is_visible()
    page.press("Enter")
    assert page.rows("#plot [aria-pressed=true]") == {here}
    assert page.tab.evaluate("Number(document.activeElement.dataset.row)") == here, "the focus stays"
    page.press("Escape")
    assert page.rows("#plot [aria-pressed=true]") == set()


def test_a_row_tells_how_it_was_made(visit: Open, forms: Page) -> None:
    page = visit(forms.file, f"#pin={PIN.replace('+', '%2B')}")
    text = page.all("#row")[0]
    command = "foundry-bench run --methods 'foundry[supertokens=16]+fmd' --tasks"
    assert command in text
    assert "--seeds 3" in text
    assert re.search(r"tokenizer 0\.\d+ \(\d+ %\), encoder", text)
    assert "batch_size 64" in text
    assert len(page.all("#row tbody tr")) == 4, "a line for each task"
    assert page.tab.locator("#row svg[role=img]").count() == 4 + 1 + 2, "histograms, cost, loss and R2"
    links = page.tab.eval_on_selector_all(
        "#row .records a", "all => all.map((one) => one.getAttribute('href'))"
    )
    assert len(links) == 3 * (4 + 1 + 1), "evaluations, cost and student of three starts"
    assert all((forms.file.parent / link).is_file() for link in links)


def test_a_slider_goes_along_one_trained_student(visit: Open, gate: Page) -> None:
    page = visit(gate.file, "#pin=foundry-gate[r=0.3]%2Bfmd")
    slider = "#row input[type=range]"
    assert page.tab.get_attribute(slider, "aria-valuetext") == "0.3"
    page.tab.focus(slider)
    page.press("ArrowRight")
    assert page.all("#row h3")[0] == "foundry-gate[r=0.7]+fmd"
    assert page.tab.evaluate("document.activeElement.type") == "range"
    assert page.tab.locator("#plot .trail").get_attribute("points").count(",") == 6
    for _ in range(3):
        page.press("ArrowRight")
    assert page.all("#row h3")[0] == "foundry-gate[r=auto]+fmd", "a word comes after the numbers"


def test_heatmap_and_worst_task_are_shares_of_the_teacher(visit: Open, forms: Page) -> None:
    page, rows = visit(forms.file), forms.whole.board.rows
    shown = page.all("#heatmap tbody td")
    teacher = rows[0].scores
    shares = [row.scores[place] / teacher[place] for row in rows for place in sorted(teacher)]
    assert shown == [f"{100 * share:.1f}" for share in shares]


def test_axes_can_be_logarithmic_and_zoomed(visit: Open, forms: Page) -> None:
    page = visit(forms.file)
    point = page.tab.locator("#plot .point[data-row='5']")
    places = [point.get_attribute("transform")]
    front = page.all("#front")[0]
    for box in ("logx", "logy", "zoom"):
        page.tab.check(f"#{box}")
        places.append(point.get_attribute("transform"))
    assert len(set(places)) == 4
    assert page.all("#front")[0] == f"{front} 5 rows lie below the frame.", (
        "which are on the front all the same"
    )
    page.tab.uncheck("#whiskers")
    assert page.tab.locator("#plot .whisker").count() == 0
    page.tab.uncheck("#labels")
    assert page.tab.locator("#plot .name").count() == 0
    page.tab.uncheck("#shading")
    styles = page.tab.eval_on_selector_all(
        "#table td", "all => all.map((o) => o.style.background).filter(Boolean)"
    )
    assert styles == []


def test_rows_that_would_share_a_name_have_their_parameters_named(visit: Open, forms: Page) -> None:
    page = visit(forms.file, "#zoom=1", width=1440)
    names = page.tab.locator("#plot .name").all_text_contents()
    assert len(set(names)) == len(names)
    assert "foundry supertokens=16,encoder=random" in names


@pytest.mark.parametrize("width", [1280, 390])
def test_names_beside_points_do_not_collide(visit: Open, forms: Page, width: int) -> None:
    page = visit(forms.file, width=width)
    boxes = page.tab.eval_on_selector_all(
        "#plot .name",
        "all => all.map((o) => o.getBBox()).map((b) => [b.x, b.y + 2, b.x + b.width, b.y + b.height - 2])",
    )
    assert len(boxes) >= 3
    for number, a in enumerate(boxes):
        for b in boxes[:number]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_view_is_in_its_address(visit: Open, forms: Page) -> None:
    first = visit(forms.file)
    first.tab.select_option("#x", "latency_ms")
    first.tab.select_option("#y", "r2")
    first.tab.check("#logx")
    first.tab.fill("#search", "foundry")
    first.tab.click("#table [data-sort='r2']")
    first.tab.click("#table tbody button >> nth=0")
    address = first.tab.evaluate("location.hash")
    assert "x=latency_ms" in address
    second = visit(forms.file, address)
    for part in ("#table", "#row", "#front", "#view"):
        assert second.all(part) == first.all(part)
    assert second.tab.input_value("#search") == "foundry"
    assert second.tab.is_checked("#logx")


def test_an_axis_may_be_named_by_how_it_begins(visit: Open, forms: Page) -> None:
    page = visit(forms.file, "#x=latency&y=worst")
    assert page.tab.input_value("#x") == "latency_ms"
    assert page.tab.input_value("#y") == "worst_retained"


def test_of_an_error_the_front_is_below(visit: Open, tmp_path: Path) -> None:
    table = frame(
        cells("teacher", tmp_path, level=0.7),
        cells("kd", tmp_path, level=0.6, gmacs=0.4),
        cells("fps", tmp_path, level=0.5, gmacs=0.1),
    )
    table.loc[table["dataset"] == "kicad", "higher_is_better"] = False
    page = visit(written(tmp_path, table), "#y=fewshot:kicad:acc")
    assert {name.partition(":")[0] for name in labels(page, ".best")} == {"fps+fmd"}


def test_an_address_that_nobody_knows_does_no_harm(visit: Open, forms: Page) -> None:
    page = visit(
        forms.file, "#tab=<b>&x=nothing&y=%00&pin=nobody&sort=-none&columns=none&variant=none&theme=pink&%"
    )
    assert page.all("#table tbody tr") == []
    page.tab.click("#clear")
    assert len(page.all("#table tbody tr")) == 21


def test_tables_of_a_sweep_are_tabs(visit: Open, tmp_path: Path) -> None:
    teacher = cells("teacher", tmp_path, level=0.7, variant="off-the-shelf")
    first = frame(teacher, cells("kd", tmp_path, level=0.6))
    second = frame(teacher, cells("tome", tmp_path, level=0.5, places=("kicad",)))
    page = visit(written(tmp_path, first, second))
    assert page.all("#tabs button") == ["table 0", "table 1", "all rows"]
    assert len(page.all("#table tbody tr")) == 2
    page.tab.click("#tabs button >> nth=2")
    assert len(page.all("#table tbody tr")) == 3
    page.tab.focus("#tabs [aria-selected=true]")
    page.press("ArrowLeft")
    assert [name.strip() for name in page.all("#table tbody th")] == ["teacher+off-the-shelf", "tome+fmd"]
    assert "tab=table+1" in page.tab.evaluate("location.hash")


def test_a_page_with_noisy_rows_and_rows_that_nobody_timed_opens(visit: Open, tmp_path: Path) -> None:
    table = frame(
        cells("teacher", tmp_path, level=0.7),
        cells("kd", tmp_path, level=0.6),
        cells("fps", tmp_path, level=0.5),
    )
    for method, noisy in (("teacher", False), ("kd", True)):
        table.loc[(table["method"] == method) & (table["kind"] == "profile"), "noisy"] = noisy
    page = visit(written(tmp_path, table), "#pin=kd%2Bfmd")
    assert page.all("#row h3")[0] == "kd+fmd"
    heads = page.tab.eval_on_selector_all("#table [data-sort]", "all => all.map((o) => o.dataset.sort)")
    column = heads.index("noisy") + 2
    assert page.all(f"#table td:nth-child({column})") == ["", "yes", ""]


def test_what_failed_is_told(visit: Open, tmp_path: Path) -> None:
    rows = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6, failed=("kicad",)))
    page = visit(written(tmp_path, rows), "#pin=kd%2Bfmd")
    assert "ValueError: no" in page.all("#problems tbody tr")[0]
    assert "Not ranked: 1 of 2 tasks done" in page.all("#row")[0]
    assert page.rows("#plot .point") == {0}


def test_hostile_texts_stay_texts(visit: Open, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    rows = frame(
        cells("teacher", tmp_path, level=0.7, variant="off-the-shelf"),
        cells("kd", tmp_path, level=0.6),
        cells("tome", tmp_path, level=0.6, failed=("kicad",)),
    )
    for column in ("method", "params", "variant", "teacher", "message", "task"):
        rows[column] = rows[column].replace(
            {"kd": evil, "": evil, "fmd": evil, "small": evil, "no": evil, "fewshot": evil}
        )
    page = visit(written(tmp_path, rows))
    page.tab.click("#table tbody button >> nth=0")
    assert evil in page.all("#table tbody th")[0]
    assert evil in page.all("#row")[0]
    assert page.tab.locator("img").count() == 0
    assert page.tab.locator("script").count() == 2


def pictured(folder: Path, table: pd.DataFrame, *names: str) -> dict[str, list[str]]:
    """Files as they would be drawn for every row of a table: row -> the pictures' addresses."""
    whole, made = board_of(table), {}
    for row in whole.rows:
        place = pictures.place_of(row, Served(table))
        assert place is not None
        (folder / place).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (40, 20)).save(folder / place / f"{name}.png")
        made[selector(row.keys)] = [(folder / place / f"{name}.png").as_uri() for name in names]
    return made


@pytest.mark.parametrize("evil", ["kd", "<img src=x onerror=alert(1)>/../%2e%2e/#?'\""])
def test_pictures_of_a_row_are_shown_from_beside_the_page(visit: Open, tmp_path: Path, evil: str) -> None:
    table = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6))
    table["method"] = table["method"].replace("kd", evil)
    made = pictured(tmp_path, table, "errors", "pca")
    page = visit(written(tmp_path, table))
    page.tab.click("#table tbody button >> nth=1")
    page.beside |= set(made[f"{evil}+fmd"])
    for place in range(2):
        page.tab.locator("#row img").nth(place).scroll_into_view_if_needed()
    page.tab.wait_for_function("() => [...document.images].every((one) => one.complete)")
    seen = page.tab.eval_on_selector_all("#row img", "all => all.map((one) => [one.src, one.naturalWidth])")
    assert dict(seen) == dict.fromkeys(made[f"{evil}+fmd"], 40)
    assert "principal components" in page.tab.locator("#row img").first.get_attribute("alt")
    assert len(page.all("#row figcaption a")) == 4
    page.tab.click("#table tbody button >> nth=0")
    page.beside |= set(made["teacher+fmd"])


FORMULA = "=HYPERLINK(1)"


def test_no_cell_of_a_saved_table_is_a_formula(visit: Open, tmp_path: Path) -> None:
    rows = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6))
    rows["method"] = rows["method"].replace("kd", FORMULA)
    page = visit(written(tmp_path, rows))
    with page.tab.expect_download() as download:
        page.tab.click("#csv")
    saved = Path(download.value.path()).read_text()
    assert f"'{FORMULA}" in saved
    assert f"\n{FORMULA}" not in saved


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const layers = (element) => element ? [...layers(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const solid = (colours) => {
    canvas.fillStyle = "#fff";
    for (const colour of [null, ...colours]) { if (colour) canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style, noscript, option")) continue;
    const style = getComputedStyle(element);
    const back = layers(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(solid([...back, ink])), light(solid(back))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_as_the_guidelines_ask(visit: Open, forms: Page, theme: str) -> None:
    page = visit(forms.file, f"#pin={PIN.replace('+', '%2B')}&q=f", color_scheme=theme)
    page.tab.click("#filtered")
    page.tab.click("#picker summary")
    assert page.tab.evaluate(CONTRAST) == []
    before = page.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    page.tab.click("#theme")
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.tab.evaluate(CONTRAST) == []


def test_everything_that_can_be_used_has_a_name(visit: Open, forms: Page) -> None:
    page = visit(forms.file, f"#pin={PIN.replace('+', '%2B')}")
    nameless = page.tab.evaluate("""() => [...document.querySelectorAll("button, input, select, a, [role=button], [role=img]")]
      .filter((o) => !(o.textContent.trim() || o.getAttribute("aria-label") || o.labels?.length)).map((o) => o.outerHTML)""")
    assert nameless == []
    assert page.tab.get_attribute("html", "lang") == "en"
    assert len(page.all("h1")) == 1


WHERE = """() => {
  const here = document.activeElement;
  if (here.id || here.classList.contains("point")) return here.id || "point";
  return here.dataset.sort ? "sort" : here.closest("section")?.querySelector("h2")?.id;
}"""


def test_every_control_is_reached_with_the_keyboard(visit: Open, forms: Page) -> None:
    page = visit(forms.file, "#q=o")
    seen = set()
    for _ in range(80):
        page.press("Tab")
        seen.add(page.tab.evaluate(WHERE))
    controls = {
        "theme",
        "search",
        "filtered",
        "clear",
        "x",
        "y",
        "logx",
        "logy",
        "zoom",
        "whiskers",
        "labels",
    }
    assert controls | {"point", "copy", "csv", "shading", "sort", "table", "table-title"} <= seen


@pytest.mark.parametrize("width", [390, 800, 1440])
def test_nothing_sticks_out_of_a_narrow_screen(visit: Open, forms: Page, width: int) -> None:
    page = visit(forms.file, f"#pin={PIN.replace('+', '%2B')}", width=width)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_print_holds_all_rows_and_no_controls(visit: Open, forms: Page) -> None:
    page = visit(forms.file, color_scheme="dark")
    page.tab.emulate_media(media="print")
    assert page.tab.evaluate("getComputedStyle(document.getElementById('table')).overflow") == "visible"
    assert not page.tab.locator("#search").is_visible()
    assert page.tab.locator("#table tbody tr").count() == 21
    assert page.tab.locator("#plot svg").is_visible()


def large(folder: Path, rows: int = 2000) -> pd.DataFrame:
    """Five cells a row; outcomes are shared, or they would be thousands of files."""
    rng = np.random.default_rng(0)
    places = ("kicad", "furniture", "bricks")
    teacher, one = (
        frame(cells(name, folder, level=0.6, seeds=1, places=places)) for name in ("teacher", "kd")
    )
    table = pd.concat([one] * (rows - 1), ignore_index=True)
    number = pd.Series(np.repeat(np.arange(1, rows), len(one)).astype(str))
    table["params"], table["parameters"] = "r=" + number, '{"r": ' + number + "}"
    table["cell_id"] = number + "-" + table["cell_id"]
    table["student"] = (number + "-" + table["student"]).where(table["student"].notna(), None)
    table["gmacs"] = table["gmacs"].where(table["gmacs"].isna(), np.repeat(rng.random(rows - 1), len(one)))
    table["score"] *= rng.uniform(0.5, 1.2, len(table))
    return pd.concat([teacher, table], ignore_index=True)


def test_ten_thousand_cells_can_be_used(visit: Open, tmp_path: Path) -> None:
    table = large(tmp_path)
    assert len(table) == 10_000
    page = visit(written(tmp_path, table))
    assert page.tab.locator("#plot .point").count() == 2000
    assert page.tab.locator("#table tbody tr").count() == 200
    assert page.all("#more") == ["Show the other 1,800 rows"]
    page.tab.fill("#search", "r=1999")
    assert len(page.all("#table tbody tr")) == 1
    page.tab.click("#table tbody button")
    page.tab.click("#clear")
    page.tab.select_option("#x", "gmacs_ratio")
    assert page.tab.locator("#plot .ring").count() == 1
    page.tab.click("#more")
    assert page.tab.locator("#table tbody tr").count() == 2000


def test_an_unfinished_page_looks_for_news_until_there_are_no_more(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "RELOAD", 0.2)
    whole = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6))
    begun = whole.copy()
    begun.loc[begun["method"] == "kd", "status"] = "missing"
    page = visit(written(tmp_path, begun, live=True), "#x=latency_ratio&pin=teacher%2Bfmd&paused=1")
    assert page.all("#unfinished strong")[0].startswith("Unfinished: 12 of 24 cells have no record yet")
    assert len(page.rows("#plot .point")) == 1
    with page.tab.expect_navigation():
        page.tab.click("#unfinished button")
    written(tmp_path, whole)
    page.tab.locator("#plot .point").nth(1).wait_for(state="attached")
    page.tab.locator("#unfinished").wait_for(state="hidden")
    assert page.all("#row h3")[0] == "teacher+fmd", "the view is kept"
    loads = len(page.asked)
    page.tab.wait_for_timeout(1000)
    assert len(page.asked) == loads


def test_a_reader_can_stop_it_from_looking(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "RELOAD", 0.5)
    begun = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6))
    begun.loc[begun["method"] == "kd", "status"] = "missing"
    page = visit(written(tmp_path, begun, live=True), "#paused=1")
    page.tab.wait_for_timeout(1500)
    assert len(page.asked) == 1
    with page.tab.expect_navigation():
        page.tab.click("#unfinished button")


def test_a_page_of_a_stopped_sweep_does_not_look(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "RELOAD", 0.2)
    begun = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6))
    begun.loc[begun["method"] == "kd", "status"] = "missing"
    page = visit(written(tmp_path, begun))
    assert "No sweep was running when this page was written" in page.all("#unfinished")[0]
    page.tab.wait_for_timeout(1000)
    assert len(page.asked) == 1


SCALING = """\
student,attention,points,groups,cloud,status,stage,knob,base_mb,peak_mb,grouping_mb,tokenizer_mb,encoder_mb,decoder_mb,gmacs,\
gmacs_tokenizer,gmacs_encoder,gmacs_decoder,grouping_cpu_ms,encode_cpu_ms,grouping_ms,encode_ms,runs,memory_limit_mb,reason
teacher,plain,1000,64,real,ok,,,500,510,1,2,3,,1,,,,2,10,2,10,4,600,
teacher,plain,1000,256,real,ok,,,500,590,1,2,3,,1,,,,2,100,2,100,4,600,
teacher,plain,300000,64,resampled,ok,,,500,520,1,2,3,,1,,,,20,10,2,10,4,600,
teacher,plain,300000,256,resampled,out of memory,encoder,,500,,1,2,,,1,,,,,,,,,600,ended
<img src=x onerror=alert(1)>,plain,1000,64,real,ok,,r=8,500,505,1,2,3,,1,,,,2,5,2,5,4,600,
<img src=x onerror=alert(1)>,plain,300000,64,resampled,ok,,r=8,500,505,1,2,3,,1,,,,2,5,2,5,4,600,
<img src=x onerror=alert(1)>,plain,300000,256,resampled,ok,,r=8,500,505,1,2,3,,1,,,,2,6,2,6,4,600,
"""


def scaled(folder: Path, table: str) -> Path:
    (folder / "scaling").mkdir()
    (folder / "scaling" / "scaling.csv").write_text(table)
    return written(folder, frame(cells("teacher", folder, level=0.7)))


def test_costs_against_size_are_drawn_and_listed(visit: Open, tmp_path: Path) -> None:
    page = visit(scaled(tmp_path, SCALING))
    legend = page.all("#scaling-legend")[0]
    assert "teacher" in legend
    assert "<img src=x onerror=alert(1)>" in legend
    assert page.tab.locator("#scaling-plots svg[role=img]").count() == 4
    assert "A cross at the top: out of memory." in page.all("#scaling-about")[0]
    crosses = page.tab.locator("#scaling-plots .end title").all_text_contents()
    assert crosses == ["teacher, plain, 300,000 points, 256 groups: out of memory in encoder"] * 2
    first = page.tab.locator("#scaling-plots svg").first.locator(".dot title").all_text_contents()
    assert [line.rpartition(": ")[2] for line in first] == ["20", "5", "5"], "MB above the base"
    assert not page.tab.locator("#scaling-table").is_visible()
    page.tab.focus("#scaling summary")
    page.press("Enter")
    rows = page.all("#scaling-table tbody tr")
    assert len(rows) == 7
    assert rows[3].split("\t")[:5] == ["teacher", "plain", "300,000", "256", "out of memory in encoder"]


def test_a_page_without_costs_against_size_shows_nothing_of_them(visit: Open, forms: Page) -> None:
    assert not visit(forms.file).tab.locator("#scaling").is_visible()


@pytest.mark.parametrize(
    ("table", "said"),
    [("a,b\n1,2\n", "no column"), (SCALING.replace(",1000,", ",many,", 1), "many"), ("", "no row")],
)
def test_a_damaged_table_of_sizes_is_told(visit: Open, tmp_path: Path, table: str, said: str) -> None:
    page = visit(scaled(tmp_path, table))
    assert said in page.all("#scaling-about")[0]
    assert page.tab.locator("#scaling-plots svg").count() == 0


def test_peak_memory_is_an_axis(visit: Open, tmp_path: Path) -> None:
    rows = frame(cells("teacher", tmp_path, level=0.7), cells("kd", tmp_path, level=0.6, gmacs=0.4))
    profiled = rows["kind"] == "profile"
    rows.loc[profiled, "peak_mem_mb"] = rows.loc[profiled, "gmacs"] * 10
    page = visit(written(tmp_path, rows), "#x=peak&pin=kd%2Bfmd")
    assert page.tab.input_value("#x") == "peak_mem_mb"
    assert page.rows("#plot .point") == {0, 1}
    assert "peak MB" in page.all("#row dl")[0]


@pytest.mark.parametrize(("width", "lines"), [(1280, 1), (390, 2)])
def test_names_of_rows_break_at_their_signs_on_a_phone_alone(
    visit: Open, forms: Page, width: int, lines: int
) -> None:
    page = visit(forms.file, width=width)
    name = page.tab.locator("#table tbody th button", has_text="foundry[supertokens=16]+fmd").first
    assert name.inner_text().strip() == "foundry[supertokens=16]+fmd"
    height = name.evaluate("one => one.getBoundingClientRect().height")
    assert (height > 30) == (lines > 1)
