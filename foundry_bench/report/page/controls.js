// What the reader can press: everything changes the state, the address, and then what is drawn.

/** Change the state and draw what depends on it. */
function change(values) {
  Object.assign(state, values);
  writeAddress();
  redraw();
}

function pin(id) {
  change({ pin: id });
}

const togglePin = (row) => pin(row.id === state.pin ? "" : row.id);

function connect() {
  for (const key of ["logx", "logy", "zoom", "whiskers", "labels", "shading"]) {
    byId(key).addEventListener("change", (event) => change({ [key]: event.target.checked }));
  }
  for (const key of ["x", "y"]) byId(key).addEventListener("change", (event) => change({ [key]: event.target.value }));
  byId("search").addEventListener("input", (event) => change({ q: event.target.value }));
  byId("clear").addEventListener("click", () => {
    change({ q: "", variant: "", family: "", method: "" });
    byId("search").focus();
  });
  byId("theme").addEventListener("click", () => change({ theme: isDark() ? "light" : "dark" }));
  byId("copy").addEventListener("click", copyView);
  byId("csv").addEventListener("click", saveCsv);
  byId("more").addEventListener("click", () => {
    rowsShown = Infinity;
    redraw();
  });
  byId("table").addEventListener("click", onTable);
  byId("heatmap").addEventListener("click", onTable);
  byId("row").addEventListener("click", (event) => {
    if (event.target.id === "unpin") pin("");
  });
  connectPlot();
  addEventListener("hashchange", () => {
    readAddress();
    redraw();
  });
  new ResizeObserver(onResize()).observe(byId("plot"));
  addEventListener("beforeprint", () => {
    rowsShown = Infinity;
    redraw();
  });
}

/** Draws the plot anew where its width has changed. */
function onResize() {
  let width = byId("plot").clientWidth;
  return () => {
    if (byId("plot").clientWidth !== width) {
      width = byId("plot").clientWidth;
      drawPlot();
    }
  };
}

const rowAt = (element) => {
  const found = element.closest?.("[data-row]");
  return found ? table().rows[Number(found.dataset.row)] : null;
};

function onTable(event) {
  const sort = event.target.closest("[data-sort]");
  if (sort) {
    sortBy(sort.dataset.sort);
    change({});
    return;
  }
  const row = rowAt(event.target);
  if (row) togglePin(row);
}

function connectPlot() {
  const plot = byId("plot");
  plot.addEventListener("pointerover", (event) => {
    const row = rowAt(event.target);
    if (row) showTip(row, event.target);
    else hideTip();
  });
  plot.addEventListener("pointerleave", hideTip);
  plot.addEventListener("focusin", (event) => {
    const row = rowAt(event.target);
    if (row) light(event.target, row);
  });
  plot.addEventListener("focusout", (event) => {
    event.target.classList?.remove("lit");
    hideTip();
  });
  plot.addEventListener("click", (event) => {
    const row = rowAt(event.target);
    if (row) togglePinThere(row);
  });
  plot.addEventListener("keydown", onPlotKey);
}

function light(mark, row) {
  mark.classList.add("lit");
  showTip(row, mark);
}

/** Pin from the plot, and keep the focus on the same point of the new drawing. */
function togglePinThere(row) {
  togglePin(row);
  focusPoint(row);
}

function focusPoint(row) {
  byId("plot").querySelector(`.point[data-row="${row.number}"]`)?.focus({ preventScroll: true });
}

function onPlotKey(event) {
  const row = rowAt(event.target);
  if (!row) return;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step) {
    const marks = [...byId("plot").querySelectorAll(".point")];
    const next = marks[(marks.indexOf(event.target) + step + marks.length) % marks.length];
    for (const mark of marks) mark.setAttribute("tabindex", mark === next ? 0 : -1);
    next.focus({ preventScroll: true });
  } else if (event.key === "Enter" || event.key === " ") {
    togglePinThere(row);
  } else if (event.key === "Escape") {
    hideTip();
    if (state.pin) {
      pin("");
      focusPoint(row);
    }
  } else {
    return;
  }
  event.preventDefault();
}

/** Tabs, axes, chips and the column picker as the table in view has them. */
function drawControls() {
  const shown = table();
  drawTabs(shown);
  byId("about").textContent = shown.about;
  for (const kind of ["x", "y"]) {
    const chosen = axis(kind);
    refill(byId(kind), ...axes(kind).map((column) => option(column, chosen)));
  }
  for (const key of ["logx", "logy", "zoom", "whiskers", "labels", "shading"]) byId(key).checked = state[key];
  if (byId("search").value !== state.q) byId("search").value = state.q;
  const chosen = ["variant", "family", "method"].flatMap(listed);
  byId("clear").hidden = !chosen.length && !state.q;
  byId("filtered").textContent = chosen.length ? `Filter: ${chosen.join(", ")}` : "Filter";
  const held = heldFocus(byId("filters"));
  refill(byId("filters"), ...["variant", "family", "method"].map((key) => chipsOf(shown, key)));
  held();
  drawPicker(shown);
}

function option(column, chosen) {
  const made = make("option", { value: column.key, title: column.about }, column.label);
  made.selected = column === chosen;
  return made;
}

function drawTabs(shown) {
  const tabs = byId("tabs");
  tabs.hidden = TABLES.length < 2;
  const held = heldFocus(tabs);
  const buttons = TABLES.map((found) => {
    const on = found === shown;
    const about = { type: "button", role: "tab", "aria-selected": String(on), tabindex: on ? 0 : -1, "data-value": found.name };
    const button = make("button", about, found.name);
    button.addEventListener("click", () => change({ tab: found.name, pin: "", sort: "" }));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = TABLES[(TABLES.indexOf(found) + step + TABLES.length) % TABLES.length];
      change({ tab: next.name, pin: "", sort: "" });
      tabs.querySelector(`[data-value="${CSS.escape(next.name)}"]`).focus();
    });
    return button;
  });
  refill(tabs, ...buttons);
  held();
}

/** Toggles for the values of one property of rows; none pressed lets all pass. Many stand behind a line that opens. */
function chipsOf(shown, key) {
  const counts = new Map();
  for (const row of shown.rows) counts.set(row[key] || "unknown", (counts.get(row[key] || "unknown") || 0) + 1);
  const chosen = listed(key);
  const chips = [...counts].map(([name, rows]) => {
    const on = chosen.includes(name);
    const about = { type: "button", "aria-pressed": String(on), "data-value": `${key}:${name}` };
    const button = make("button", about, `${name} (${rows})`);
    button.addEventListener("click", () => {
      setList(key, on ? chosen.filter((other) => other !== name) : [...chosen, name]);
      change({});
    });
    return button;
  });
  const line = make("div", { class: "chips", role: "group", "aria-label": key }, make("span", {}, key), ...chips);
  if (key !== "method" || chips.length < 2) return line;
  const open = chosen.length > 0 || byId("methods")?.open;
  return make("details", { id: "methods", open }, make("summary", {}, `Methods (${chips.length})`), line);
}

function drawPicker(shown) {
  const inView = columnsInView();
  const held = heldFocus(byId("columns"));
  const boxes = shown.columns.map((column) => {
    const box = make("input", { type: "checkbox", "data-value": column.key });
    box.checked = inView.includes(column);
    box.addEventListener("change", () => {
      const chosen = shown.columns.filter((other) => (other === column ? box.checked : inView.includes(other)));
      setList("columns", chosen.map((other) => other.key));
      change({});
    });
    return make("label", { title: column.about }, box, ` ${column.label}`);
  });
  refill(byId("columns"), ...boxes);
  held();
}

/** Whether the page is dark now, by choice or by the system's setting. */
function isDark() {
  return state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function applyTheme() {
  if (state.theme === "dark" || state.theme === "light") document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}
