// The table: the rows in view, sorted, shaded, copied and saved.

const ROWS_AT_ONCE = 200;
let rowsShown = ROWS_AT_ONCE;

/** The columns in view: the chosen ones, else those that are shown without being asked for. */
function columnsInView() {
  const chosen = listed("columns");
  return table().columns.filter((column) => (chosen.length ? chosen.includes(column.key) : column.shown));
}

function drawTable() {
  const shown = table();
  const rows = visible();
  const columns = columnsInView();
  const shades = columns.map((column) => shadeOf(shown, column));
  const held = heldFocus(byId("table"));
  refill(
    byId("table"),
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, head("row", "row", "", "text"), rankHead(), ...columns.map(headOf))),
      make("tbody", {}, ...rows.slice(0, rowsShown).map((row) => rowOf(shown, row, columns, shades))),
    ),
  );
  held();
  drawMore(rows);
  tellView(shown, rows);
}

const headOf = (column) => head(column.key, column.label, column.about, column.form === "text" ? "text" : "");

/** A heading that sorts: down first where more is better, up first elsewhere, then the other way, then as ranked. */
function head(key, label, about, kind) {
  const [up, down] = [state.sort === key, state.sort === `-${key}`];
  const sorted = up ? "ascending" : down ? "descending" : null;
  const button = make("button", { type: "button", title: about, "data-sort": key }, label, up ? " ▲" : down ? " ▼" : "");
  return make("th", { scope: "col", class: kind, "aria-sort": sorted }, button);
}

function rankHead() {
  const about = `1 + how many of all ${table().ranked} ranked rows are separably better`;
  return make("th", { scope: "col", title: about }, "rank");
}

function sortBy(key) {
  const column = table().column(key);
  const order = column && column.better > 0 ? [`-${key}`, key, ""] : [key, `-${key}`, ""];
  state.sort = order[(order.indexOf(state.sort) + 1) % 3];
}

function rowOf(shown, row, columns, shades) {
  const chosen = pinned();
  const relation = chosen ? shown.relation(chosen, row) : "";
  const mark = row === chosen ? "● " : relation === "same" ? "≈ " : "";
  const said = relation === "same" ? "not separable from the pinned row" : null;
  const pressed = { "data-row": row.number, "aria-pressed": String(row === chosen), title: said };
  const name = make("button", { type: "button", ...pressed });
  name.append(swatch(row), mark, ...breakable(row.id));
  const kind = [row === chosen ? "pinned" : "", relation, row.ranked ? "" : "unranked"].join(" ").trim();
  return make(
    "tr",
    { class: kind || null },
    make("th", { scope: "row" }, name),
    make("td", {}, row.rank),
    ...columns.map((column, number) => {
      const value = shown.value(row, column.key);
      const cell = make("td", { class: column.form === "text" ? "text" : null }, cellText(shown, row, column));
      if (state.shading) cell.style.background = shades[number](value);
      return cell;
    }),
  );
}

const cellText = (shown, row, column) => withInterval(column, shown.value(row, column.key), shown.half(row, column.key));

/** Value -> the cell's background: the better in its column, over all ranked rows of the table, the stronger. */
function shadeOf(shown, column) {
  if (!column.better) return () => "";
  const values = shown.rows.filter((row) => row.ranked).map((row) => shown.value(row, column.key));
  const known = values.filter((value) => value !== null);
  const [low, high] = [least(known), most(known)];
  if (!(high > low)) return () => "";
  return (value) => {
    if (value === null) return "";
    const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
    return tint("--shade", column.better > 0 ? share : 1 - share);
  };
}

/** A colour of the style sheet, laid thin over the page's own: text on it stays readable. */
const tint = (name, share) => `color-mix(in srgb, var(${name}) ${Math.round(40 * share)}%, transparent)`;

function drawMore(rows) {
  const left = rows.length - rowsShown;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show the other ${count(left, "row")}`;
}

function tellView(shown, rows) {
  const all = rows.length === shown.rows.length;
  const chosen = pinned();
  const same = chosen ? shown.rows.filter((row) => shown.relation(chosen, row) === "same").length : 0;
  const others = all ? "" : ", not over those in view";
  const ranks = `Ranks are over all ${count(shown.ranked, "ranked row")} of this table${others}.`;
  const view = all ? `All ${count(rows.length, "row")}.` : `${rows.length} of ${count(shown.rows.length, "row")} in view.`;
  let tests = "";
  if (chosen && (!chosen.ranked || chosen.untested)) tests = ` ${chosen.id} is tested against no other row.`;
  else if (chosen) tests = ` ${count(same, "row")} not separable from ${chosen.id} (≈, paired test, Holm over all pairs).`;
  byId("view").textContent = `${view} ${ranks}${tests}`;
}

/** Remember which control inside an element has the focus; the function returned gives it back after a redraw. */
function heldFocus(element) {
  const active = document.activeElement;
  if (!active || !element.contains(active)) return () => {};
  const key = ["data-row", "data-sort", "data-value"].find((name) => active.hasAttribute(name));
  const value = key && active.getAttribute(key);
  return () => key && element.querySelector(`[${key}="${CSS.escape(value)}"]`)?.focus({ preventScroll: true });
}

/** The view as lists of texts, its headings first. Numbers are whole, not as they are shown. */
function viewAsTexts() {
  const shown = table();
  const columns = columnsInView();
  const heads = columns.flatMap((column) => (column.half ? [column.key, `${column.key}_ci95`] : [column.key]));
  const plain = (value) => (value === null ? "" : String(value));
  const rows = visible().map((row) => [
    row.id,
    row.rank,
    ...columns.flatMap((column) => {
      const value = plain(shown.value(row, column.key));
      return column.half ? [value, plain(shown.half(row, column.key))] : [value];
    }),
  ]);
  return [["row", "rank", ...heads], ...rows];
}

/** A field of a CSV file. A text that a spreadsheet would take for a formula gets an apostrophe in front. */
function csvField(field) {
  const safe = /^[=+@\t\r-]/.test(field) && Number.isNaN(Number(field)) ? `'${field}` : field;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const asCsv = () => `${viewAsTexts().map((fields) => fields.map(csvField).join(",")).join("\n")}\n`;

function saveCsv() {
  const link = make("a", { download: `${DATA.title}-${table().name}.csv` });
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.click();
  URL.revokeObjectURL(link.href);
  byId("done").textContent = "saved";
}

async function copyView() {
  const lines = viewAsTexts().map((fields) => fields.map((field) => field.replace(/[\t\r\n]/g, " ")).join("\t"));
  try {
    await navigator.clipboard.writeText(lines.join("\n"));
    byId("done").textContent = `${count(lines.length - 1, "row")} copied`;
  } catch {
    byId("done").textContent = "the browser does not let this page copy; save it as CSV";
  }
}
