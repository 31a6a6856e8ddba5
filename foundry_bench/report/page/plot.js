// The scatter: rows as points, their intervals, the front, the teacher's level, and what is pinned.

const MARGIN = { left: 58, right: 14, top: 12, bottom: 44 };
const CROWD = 80;
const SWARM = 300;
const NAMED = 40;
const SHAPES = {
  fmd: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
  "off-the-shelf": "M-4.5,-4.5h9v9h-9z",
  expert: "M0,-6L5.6,4.2H-5.6z",
};
const OTHER_SHAPE = "M0,-6L6,0L0,6L-6,0z";

let tip = null;

/** Draw the plot anew. */
function drawPlot() {
  const shown = table();
  const [x, y] = [axis("x"), axis("y")];
  const holder = byId("plot");
  if (!x || !y) {
    refill(holder, make("p", {}, "No row has both a score on every task and a measured cost yet."));
    byId("front").textContent = "";
    return;
  }
  const width = Math.max(holder.clientWidth, 280);
  const height = Math.round(Math.min(Math.max(width * 0.62, 300), 560));
  const points = pointsOf(shown, x, y, width, height);
  const keys = "Arrow keys move between rows, Enter pins one.";
  const label = `${y.label} against ${x.label}; ${count(points.drawn.length, "row")}. ${keys}`;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  svg.append(...frameOf(points, x, y, width, height), ...linesOf(shown, points, x, y, width));
  svg.append(...whiskersOf(shown, points, y), ...marksOf(shown, points, x, y), ...ringOf(points));
  svg.append(...namesOf(points, width, height));
  tip = make("div", { class: "tip", hidden: true });
  refill(holder, svg, tip);
  drawLegend(points);
  tellFront(shown, points, x, y);
}

/** The points in view, left to right, with the scales and the front. */
function pointsOf(shown, x, y, width, height) {
  const has = (row) => row.ranked && shown.value(row, x.key) !== null && shown.value(row, y.key) !== null;
  const measured = shown.rows.filter(has);
  const all = state.zoom ? near(shown, measured, y) : measured;
  const passes = filter();
  const rows = all.filter((row) => passes(row) || row.id === state.pin);
  const halves = state.whiskers && all.length <= CROWD ? (row) => shown.half(row, y.key) || 0 : () => 0;
  const levels = all.flatMap((row) => [-1, 1].map((sign) => shown.value(row, y.key) + sign * halves(row)));
  const across = scaleOf(all.map((row) => shown.value(row, x.key)), MARGIN.left, width - MARGIN.right, state.logx);
  const up = scaleOf(levels, height - MARGIN.bottom, MARGIN.top, state.logy);
  const place = (row) => ({ row, x: across.at(shown.value(row, x.key)), y: up.at(shown.value(row, y.key)) });
  const fits = (row) => across.holds(shown.value(row, x.key)) && up.holds(shown.value(row, y.key));
  const drawn = rows.filter(fits).map(place).sort((a, b) => a.x - b.x || a.y - b.y);
  const there = new Set(all);
  const whole = frontRows(shown, x, y);
  const front = whole.filter((row) => there.has(row) && fits(row));
  return { all, drawn, across, up, place, whole, front, away: measured.length - all.length };
}

/** The better half of the rows and all that are not further below it than it reaches itself, and the pinned row. */
function near(shown, rows, y) {
  const sign = y.better < 0 ? -1 : 1;
  const level = (row) => sign * shown.value(row, y.key);
  const sorted = rows.map(level).sort((a, b) => b - a);
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  const floor = middle - (sorted[0] - middle);
  return rows.filter((row) => level(row) >= floor || row.id === state.pin);
}

/** Grid, ticks and titles. */
function frameOf(points, x, y, width, height) {
  const bottom = height - MARGIN.bottom;
  const right = width - MARGIN.right;
  const unit = (column, log) => `${column.label}${column.form === "percent" ? ", %" : ""}${log ? " (log)" : ""} →`;
  const side = { transform: `translate(13 ${MARGIN.top}) rotate(-90)`, "text-anchor": "end" };
  const tick = (column, value) => (column.form === "percent" ? figure(100 * value) : figure(value));
  const room = points.across.ticks.filter((_, number, all) => all.length <= width / 48 || number % 2 === 0);
  return [
    ...room.flatMap((value) => {
      const at = points.across.at(value);
      return [
        draw("line", { class: "grid", x1: at, x2: at, y1: MARGIN.top, y2: bottom }),
        draw("text", { class: "soft", x: at, y: bottom + 16, "text-anchor": "middle" }, tick(x, value)),
      ];
    }),
    ...points.up.ticks.flatMap((value) => {
      const at = points.up.at(value);
      return [
        draw("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }),
        draw("text", { class: "soft", x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, tick(y, value)),
      ];
    }),
    draw("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }),
    draw("line", { class: "axis", x1: MARGIN.left, x2: MARGIN.left, y1: MARGIN.top, y2: bottom }),
    draw("text", { x: right, y: height - 6, "text-anchor": "end" }, unit(x, state.logx)),
    draw("text", side, unit(y, state.logy)),
  ];
}

/** The front, the teacher's level, and the path along one trained student. */
function linesOf(shown, points, x, y, width) {
  const path = (rows) => rows.map(points.place).map((p) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`).join(" ");
  const lines = [];
  const teacher = points.all.find((row) => row.method === REFERENCE);
  if (teacher && points.up.holds(shown.value(teacher, y.key))) {
    const at = points.up.at(shown.value(teacher, y.key));
    lines.push(draw("line", { class: "teacher", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
  }
  if (points.front.length > 1) lines.push(draw("polyline", { class: "front", points: path(points.front) }));
  const chosen = pinned();
  const served = chosen ? shown.siblings(chosen).filter((row) => points.all.includes(row)) : [];
  if (served.length > 1) {
    served.sort((a, b) => shown.value(a, x.key) - shown.value(b, x.key));
    lines.push(draw("polyline", { class: "trail", points: path(served) }));
  }
  return lines;
}

function whiskersOf(shown, points, y) {
  if (!state.whiskers || !y.half) return [];
  const few = points.all.length <= CROWD;
  const front = new Set(points.front);
  return points.drawn
    .filter(({ row }) => shown.half(row, y.key) !== null && (few || front.has(row) || row.id === state.pin))
    .map(({ row, x }) => {
      const ends = [-1, 1].map((sign) => shown.value(row, y.key) + sign * shown.half(row, y.key));
      const [low, high] = ends.map((end) => points.up.at(points.up.holds(end) ? end : shown.value(row, y.key)));
      return draw("line", { class: "whisker", x1: x, x2: x, y1: low, y2: high });
    });
}

/** The points themselves; one of them can be reached with Tab, the others from it with arrow keys. */
function marksOf(shown, points, x, y) {
  const chosen = pinned();
  const front = new Set(points.front);
  const first = points.drawn.find(({ row }) => row === chosen) || points.drawn[0];
  return points.drawn.map((point) => {
    const { row } = point;
    const kinds = ["point", chosen ? shown.relation(chosen, row) : "", front.has(row) ? "best" : ""];
    const shape = draw("path", {
      class: kinds.filter(Boolean).join(" "),
      d: SHAPES[row.variant] || OTHER_SHAPE,
      transform: `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})${points.all.length > SWARM ? " scale(.7)" : ""}`,
      role: "button",
      tabindex: point === first ? 0 : -1,
      "aria-pressed": String(row === chosen),
      "aria-label": `${row.id}: ${tellPoint(shown, row, x, y).join(", ")}`,
      "data-row": row.number,
    });
    shape.style.fill = colour(row);
    return shape;
  });
}

/** A ring around the pinned row. */
function ringOf(points) {
  return points.drawn
    .filter(({ row }) => row.id === state.pin)
    .map(({ x, y }) => draw("circle", { class: "ring", cx: x, cy: y, r: 10 }));
}

/** Names of the pinned row, the teacher, the front and the best of each family, as far as there is room. */
function namesOf(points, width, height) {
  if (!state.labels) return [];
  const front = new Set(points.front);
  const families = new Set();
  const sign = axis("y").better < 0 ? -1 : 1;
  const best = [...points.drawn].sort((a, b) => sign * (a.y - b.y));
  const wanted = (point) => {
    const fresh = !families.has(point.row.family);
    families.add(point.row.family);
    return point.row.id === state.pin || point.row.method === REFERENCE || front.has(point.row) || fresh;
  };
  const rank = ({ row }) => (row.id === state.pin ? 0 : row.method === REFERENCE ? 1 : front.has(row) ? 2 : 3);
  const chosen = best.filter(wanted);
  if (best.length <= NAMED) chosen.push(...best.filter((point) => !chosen.includes(point)));
  chosen.sort((a, b) => rank(a) - rank(b));
  const frame = [MARGIN.left + 2, MARGIN.top, width, height - MARGIN.bottom];
  const obstacles = [...points.drawn, ...along(points.front.map(points.place))];
  return placeNames(chosen.slice(0, NAMED), obstacles, frame, namesAmong(points.all)).flatMap((named) => {
    const edge = Math.min(Math.max(named.x, named.box[0]), named.box[2]);
    const leader = { class: "leader", x1: named.x, y1: named.y, x2: edge, y2: named.at[1] };
    return [
      named.ring > RINGS[1] ? draw("line", leader) : null,
      draw("text", { class: "name", x: named.box[0], y: named.box[3] - 2.5, "aria-hidden": "true" }, named.name),
    ].filter(Boolean);
  });
}

/** Places close to each other along a broken line. */
function along(corners) {
  return corners.slice(1).flatMap((end, number) => {
    const start = corners[number];
    const parts = Math.ceil(Math.hypot(end.x - start.x, end.y - start.y) / 8);
    return Array.from({ length: parts }, (_, n) => ({
      x: start.x + ((end.x - start.x) * n) / parts,
      y: start.y + ((end.y - start.y) * n) / parts,
      thin: true,
    }));
  });
}

/** What a point is, in short texts. */
function tellPoint(shown, row, x, y) {
  const value = (column) => {
    const unit = column.form === "percent" ? " %" : "";
    return `${column.label} ${withInterval(column, shown.value(row, column.key), shown.half(row, column.key))}${unit}`;
  };
  return [`rank ${row.rank}`, value(y), value(x)];
}

function showTip(row, mark) {
  const shown = table();
  const [x, y] = [axis("x"), axis("y")];
  const chosen = pinned();
  const relation = chosen ? shown.relation(chosen, row) : "";
  const said = { same: "not separable from the pinned row", apart: "separable from the pinned row", "": "" }[relation];
  const lines = [...tellPoint(shown, row, x, y), row.family ? `family ${row.family}` : "", said].filter(Boolean);
  refill(tip, make("strong", {}, row.id), ...lines.map((line) => make("div", {}, line)));
  tip.hidden = false;
  const holder = byId("plot").getBoundingClientRect();
  const at = mark.getBoundingClientRect();
  const left = at.left - holder.left + 14;
  tip.style.left = `${Math.max(0, Math.min(left, holder.width - tip.offsetWidth))}px`;
  const below = at.top - holder.top + 16;
  tip.style.top = `${below + tip.offsetHeight > holder.height ? below - tip.offsetHeight - 24 : below}px`;
}

function hideTip() {
  if (tip) tip.hidden = true;
}

/** What colours, shapes and lines mean. */
function drawLegend(points) {
  const families = [...new Set(points.all.map((row) => row.family))];
  const variants = [...new Set(points.all.map((row) => row.variant))].filter(Boolean);
  const key = (shape, meaning) => {
    const size = { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" };
    return make("span", {}, draw("svg", size, draw("path", { d: shape, class: "axis", fill: "none" })), meaning);
  };
  const line = (name, meaning) => {
    const size = { width: 22, height: 10, "aria-hidden": "true" };
    return make("span", {}, draw("svg", size, draw("line", { class: name, x1: 0, x2: 22, y1: 5, y2: 5 })), meaning);
  };
  const chosen = pinned();
  const tested = chosen && points.drawn.some(({ row }) => table().relation(chosen, row));
  refill(
    byId("legend"),
    ...families.map((family) => make("span", {}, swatch({ family }), family || "family not known")),
    ...variants.map((variant) => key(SHAPES[variant] || OTHER_SHAPE, variant)),
    line("front", "front"),
    points.all.some((row) => row.method === REFERENCE) ? line("teacher", "teacher's level") : null,
    tested ? make("span", {}, "blue outline: not separable from the pinned row; faint: separable") : null,
  );
}

/** In words: which rows are on the front, and what the drawing leaves out. */
function tellFront(shown, points, x, y) {
  const over = `of all ${count(shown.ranked, "ranked row")}, those left out of view too`;
  const said = [`Front of ${y.label} over ${x.label}, ${over}: ${joined(points.whole.map((row) => row.id))}.`];
  if (points.away) said.push(`${count(points.away, "row")} lie below the frame.`);
  if (state.whiskers && !y.half) said.push(`${y.label} has no interval of its own.`);
  const crowd = state.whiskers && y.half && points.all.length > CROWD;
  if (crowd) said.push("Of so many rows only the front's have their intervals drawn.");
  refill(byId("front"), ...breakable(said.join(" ")));
}
