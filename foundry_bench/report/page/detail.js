// Everything about the pinned row: scores, cost, training, other values of its inference-time parameters, provenance.

const HISTOGRAM = { width: 96, height: 32 };
const PARTS = ["tokenizer", "encoder", "decoder"];
const CURVE = { width: 300, height: 110 };

function drawDetail() {
  const row = pinned();
  const holder = byId("row");
  if (!row) {
    const how = "Choose a point, or a row of the table: it is pinned here, and rows that are not separable from it are marked.";
    refill(holder, make("p", {}, how));
    return;
  }
  const shown = table();
  const about = row.about || {};
  const focused = document.activeElement;
  const kept = focused && holder.contains(focused) ? focused.getAttribute("data-slider") : null;
  refill(
    holder,
    make("h3", {}, swatch(row), row.id),
    make("p", {}, rankText(shown, row), " ", make("button", { type: "button", id: "unpin", class: "screen" }, "Unpin")),
    ...slidersOf(shown, row),
    ...section("Tasks", tasksOf(shown, row, about)),
    ...section("Cost", costOf(shown, row)),
    ...section("Pictures", picturesOf(about.pictures)),
    ...section("Parameters", facts(asTexts(about.parameters || {}))),
    ...section("Distillation", curvesOf(about.curves || [])),
    ...section("This row alone", about.command ? commandOf(about.command) : null),
    ...section("Provenance", provenanceOf(about.made)),
    ...section("Records", recordsOf(about.records || [])),
  );
  if (kept !== null) holder.querySelector(`[data-slider="${CSS.escape(kept)}"]`)?.focus();
}

const section = (title, content) => (content ? [make("h3", {}, title), content] : []);

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

const asTexts = (values) => Object.entries(values).map(([name, value]) => [name, value === null ? null : asText(value)]);

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!known.length) return null;
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function rankText(shown, row) {
  if (!row.ranked) {
    const [done, total] = ["tasks_done", "tasks_total"].map((key) => shown.value(row, key));
    return `Not ranked: ${done ?? 0} of ${total ?? 0} tasks done. The reasons are at the end of the page.`;
  }
  const rank = `Rank ${row.rank} of ${count(shown.ranked, "ranked row")}.`;
  return row.untested ? `${rank} Provisional: one start, tested against no other row.` : rank;
}

/** One slider for each inference-time parameter of which there are rows with other values, made of the same trained student. */
function slidersOf(shown, row) {
  const served = shown.siblings(row);
  const own = row.about?.inference || {};
  return Object.keys(own).flatMap((name) => {
    const others = Object.keys(own).filter((key) => key !== name);
    const alike = (other) => others.every((key) => same(other.about.inference[key], own[key]));
    const rows = served.filter(alike).sort((a, b) => compared(a.about.inference[name], b.about.inference[name], 1));
    if (rows.length < 2) return [];
    const id = `slider-${name}`;
    const slider = make("input", { type: "range", id, min: 0, max: rows.length - 1, step: 1, "data-slider": name });
    slider.value = rows.indexOf(row);
    slider.setAttribute("aria-valuetext", asText(own[name]));
    slider.addEventListener("input", () => pin(rows[Number(slider.value)].id));
    const [x, y] = [axis("x"), axis("y")];
    const told = [y, x].filter(Boolean).map((column) => `${column.label} ${cellText(shown, row, column)}`);
    return [
      make("h3", {}, make("label", { for: id }, `${name} = ${asText(own[name])}`)),
      make("p", { class: "screen" }, slider),
      make("p", {}, `${told.join(", ")}. One trained student serves all ${rows.length} values.`),
    ];
  });
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function tasksOf(shown, row, about) {
  const done = [...shown.places.entries()].filter(([, place]) => shown.value(row, place.column) !== null);
  if (!done.length) return null;
  const heads = ["task", "score", "kept, %", "outcomes"].map((name, number) =>
    make("th", { scope: "col", class: number ? null : "text" }, name),
  );
  const body = done.map(([number, place]) => {
    const share = row.shares[number];
    const known = DATA.places.indexOf(place.key);
    const bins = about.histograms?.[known];
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, place.label),
      make("td", {}, cellText(shown, row, shown.column(place.column))),
      make("td", {}, share === null ? "" : (100 * share).toFixed(1)),
      make("td", {}, bins ? histogram(bins, DATA.edges[known]) : "not kept"),
    );
  });
  const lines = [make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)];
  return make("div", { class: "scroll" }, make("table", {}, ...lines));
}

/** How many outcomes, of clusters of objects or of episodes, fall into each of equal parts of what any row reaches there. */
function histogram(bins, [low, high]) {
  const { width, height } = HISTOGRAM;
  const step = width / bins.length;
  const top = most(bins) || 1;
  const total = bins.reduce((a, b) => a + b, 0);
  const label = `${total} outcomes from ${figure(low)} to ${figure(high)}: ${bins.join(", ")}`;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(draw("title", {}, label), draw("line", { class: "axis", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }));
  bins.forEach((bin, number) => {
    const tall = ((height - 2) * bin) / top;
    if (bin) svg.append(draw("rect", { class: "bar", x: number * step, y: height - tall, width: step - 1, height: tall }));
  });
  return svg;
}

/** Where the multiply-adds are, and all that was measured. */
function costOf(shown, row) {
  const split = PARTS.map((part) => [part, shown.value(row, `gmacs_${part}`)]).filter(([, value]) => value !== null);
  const total = split.reduce((sum, [, value]) => sum + value, 0);
  const isCost = (column) => column.axis === "x" || (column.better === 0 && column.form === "number");
  const costs = shown.columns.filter(isCost);
  const list = facts(costs.map((column) => [column.label, cellText(shown, row, column)]));
  if (!total) return list;
  const width = 300;
  let left = 0;
  const words = { role: "img", "aria-label": splitText(split, total) };
  const bar = draw("svg", { width, height: 16, viewBox: `0 0 ${width} 16`, ...words });
  split.forEach(([, value], number) => {
    const wide = (width * value) / total;
    const part = draw("rect", { class: "bar", x: left, y: 0, width: wide, height: 16 });
    part.style.fillOpacity = [1, 0.55, 0.2][number % 3];
    bar.append(part);
    left += wide;
  });
  return make("div", {}, bar, make("p", { class: "small" }, splitText(split, total)), list);
}

const splitText = (split, total) =>
  `GMACs: ${split.map(([name, value]) => `${name} ${figure(value)} (${((100 * value) / total).toFixed(0)} %)`).join(", ")}`;

/** The figures of the row's student, which lie beside the page; a click shows one as large as it is. */
function picturesOf(found) {
  if (!found) return null;
  const [place, ...names] = found;
  const folder = place.split("/").map(encodeURIComponent).join("/");
  const shown = names.map((name) => {
    const file = `${folder}/${encodeURIComponent(name)}`;
    const alt = DATA.pictures[name] || name;
    const picture = make("img", { src: `${file}.png`, alt, loading: "lazy" });
    const data = make("a", { href: `${file}.csv` }, "numbers");
    const vector = make("a", { href: `${file}.svg` }, "SVG");
    const words = make("figcaption", { class: "small" }, `${alt} (`, vector, ", ", data, ")");
    return make("figure", {}, make("a", { href: `${file}.png` }, picture), words);
  });
  return make("div", {}, ...shown);
}

function curvesOf(curves) {
  const known = curves.filter((curve) => curve.points.length > 1);
  const drawn = ["loss", "R2"].map((name, number) => curveOf(known, name, number + 1)).filter(Boolean);
  return drawn.length ? make("div", {}, ...drawn) : null;
}

/** Loss or R2, the numbers at `which` of the curves' points, over the steps of every start. */
function curveOf(curves, name, which) {
  const finite = (point) => Number.isFinite(point[0]) && Number.isFinite(point[which]);
  const lines = curves.map((curve) => curve.points.filter(finite)).filter((points) => points.length > 1);
  if (!lines.length) return null;
  const { width, height } = CURVE;
  const across = scaleOf(lines.flat().map((point) => point[0]), 44, width - 8, false);
  const up = scaleOf(lines.flat().map((point) => point[which]), height - 20, 8, false);
  const ends = lines.map((points) => `from ${figure(points[0][which])} to ${figure(points.at(-1)[which])}`);
  const title = `${name} over ${lines[0].at(-1)[0]} steps${lines.length > 1 ? `, ${lines.length} starts` : ""}`;
  const words = { role: "img", "aria-label": `${title}: ${ends.join("; ")}` };
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, ...words });
  for (const tick of up.ticks.filter((_, number) => number % 2 === 0)) {
    svg.append(draw("line", { class: "grid", x1: 44, x2: width - 8, y1: up.at(tick), y2: up.at(tick) }));
    svg.append(draw("text", { class: "soft", x: 40, y: up.at(tick) + 4, "text-anchor": "end" }, figure(tick)));
  }
  for (const points of lines) {
    const path = points.map((point) => `${across.at(point[0]).toFixed(1)},${up.at(point[which]).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { class: "curve", points: path }));
  }
  svg.append(draw("text", { class: "soft", x: width - 8, y: height - 4, "text-anchor": "end" }, title));
  return svg;
}

function commandOf([selector, rest]) {
  const command = `foundry-bench run --methods ${selector} ${DATA.asked[rest]}`;
  const copy = make("button", { type: "button", class: "screen" }, "Copy the command");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it and copy";
    }
  });
  return make("div", {}, make("pre", {}, command), copy);
}

function provenanceOf(made) {
  if (!made) return null;
  const setting = DATA.settings[made.setting];
  const { packages, git, ...others } = setting.environment;
  const commit = git ? `${String(git.sha).slice(0, 12)}${git.dirty ? ", with changes of its own" : ""}` : null;
  const listing = (pairs) => pairs.filter(([, value]) => value !== null).map((pair) => pair.join(" ")).join(", ");
  const seconds = made.seconds === null || made.seconds === undefined ? null : `${figure(made.seconds)} s`;
  return facts([
    ["teacher", setting.teacher],
    ["method", made.method],
    ["made with", setting.data],
    ["scored on", setting.splits],
    ["budget", listing(asTexts(setting.budget || {}))],
    ["pipeline", asText(setting.pipeline)],
    ["start", made.start],
    ["took", seconds],
    ["commit", commit],
    ...asTexts(others),
    ["packages", listing(Object.entries(packages || {}))],
    ["sweep", setting.sweep],
  ]);
}

function recordsOf(records) {
  if (!records.length) return null;
  const links = records.map(([kind, place, start, id]) => {
    const words = [DATA.kinds[kind], DATA.places[place], start === null ? "" : `start ${start}`];
    const file = `cells/${DATA.kinds[kind]}/${encodeURIComponent(wholeId(id))}.json`;
    return make("a", { href: file }, words.filter(Boolean).join(" "));
  });
  return make("p", { class: "records" }, ...links);
}

/** The 64 digits of a record's id. */
function wholeId(short) {
  if (!/^[A-Za-z0-9+/]{43}$/.test(short)) return short;
  return [...atob(`${short}=`)].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}
