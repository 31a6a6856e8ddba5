// Costs against size: what each student takes as clouds grow, where foundry-bench scale has measured it.

const PANEL = { width: 340, height: 250, left: 50, right: 12, top: 8, bottom: 40 };
const MARKS = [...Object.values(SHAPES), OTHER_SHAPE];
const HUES = 4;
const WELL = "ok";
const PANELS = [
  { title: "Memory, MB", size: "groups", value: (row) => row.memory },
  { title: "Encoder, CPU ms", size: "groups", value: (row) => row.encoder },
  { title: "Memory, MB", size: "points", value: (row) => row.memory },
  { title: "Grouping and encoder, CPU ms", size: "points", value: (row) => together(row.grouping, row.encoder) },
];

const together = (a, b) => (a === null || b === null ? null : a + b);
const bySize = (size) => (a, b) => a[size] - b[size];

function drawScaling() {
  const found = DATA.scaling;
  byId("scaling").hidden = !found;
  if (!found) return;
  if (found.reason !== null) {
    byId("scaling-about").textContent = found.reason;
    return;
  }
  const { rows, limit } = found;
  const students = [...new Set(rows.map((row) => row.student))];
  const short = rows.filter((row) => row.status !== WELL);
  const ends = [...new Set(short.map((row) => row.status))];
  byId("scaling-about").textContent = [
    "Each size in a process of its own; memory is above what it holds after a cloud of the usual size.",
    limit === null ? "" : `None might take more than ${figure(limit)} MB.`,
    ends.length ? `A cross at the top: ${joined(ends)}.` : "Every size ended well.",
  ].join(" ");
  const kinds = [...new Set(rows.map((row) => row.attention))];
  refill(byId("scaling-legend"), ...students.map(keyOfStudent), ...kinds.map(keyOfLine));
  refill(byId("scaling-plots"), ...PANELS.map((panel) => panelOf(panel, rows, students)).filter(Boolean));
  refill(byId("scaling-table"), scalingTable(rows));
}

const hue = (number) => `hue-${number % HUES}`;
const markOf = (number) => MARKS[(number + Math.floor(number / HUES)) % MARKS.length];

function keyOfStudent(student, number) {
  const size = { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" };
  return make("span", {}, draw("svg", size, draw("path", { d: markOf(number), class: `dot ${hue(number)}` })), student);
}

function keyOfLine(attention) {
  const size = { width: 26, height: 10, "aria-hidden": "true" };
  const line = draw("line", { class: `run ${attention}`, x1: 0, x2: 26, y1: 5, y2: 5 });
  return make("span", {}, draw("svg", size, line), `${attention} attention`);
}

/** One figure over groups at the most points, or over points at the fewest groups; null where there is one size alone. */
function panelOf({ title, size, value }, all, students) {
  const other = size === "groups" ? "points" : "groups";
  const held = (size === "groups" ? most : least)(all.map((row) => row[other]));
  const rows = all.filter((row) => row[other] === held);
  if (new Set(rows.map((row) => row[size])).size < 2) return null;
  const { width, height, left, right, top, bottom } = PANEL;
  const across = scaleOf(rows.map((row) => row[size]), left, width - right, true);
  const up = scaleOf(rows.map(value), height - bottom, top + 14, true);
  const heading = `${title}, over ${size} at ${held.toLocaleString("en")} ${other}`;
  const label = `${heading}; ${count(students.length, "student")}. The table below has all figures.`;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(...gridOf(across, up, size));
  students.forEach((student, number) => {
    for (const attention of new Set(rows.map((row) => row.attention))) {
      const own = rows.filter((row) => row.student === student && row.attention === attention).sort(bySize(size));
      svg.append(...runOf(own, number, { across, up, size, value, attention }));
    }
  });
  return make("figure", {}, make("figcaption", {}, heading), svg);
}

function gridOf(across, up, size) {
  const { width, height, left, right, top, bottom } = PANEL;
  const base = height - bottom;
  const thinned = (ticks, room) => ticks.filter((_, number) => number % Math.ceil(ticks.length / room) === 0);
  return [
    ...thinned(across.ticks, 5).flatMap((tick) => {
      const at = across.at(tick);
      return [
        draw("line", { class: "grid", x1: at, x2: at, y1: top, y2: base }),
        draw("text", { class: "soft", x: at, y: base + 15, "text-anchor": "middle" }, tick.toLocaleString("en")),
      ];
    }),
    ...thinned(up.ticks, 6).flatMap((tick) => {
      const at = up.at(tick);
      return [
        draw("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }),
        draw("text", { class: "soft", x: left - 5, y: at + 4, "text-anchor": "end" }, figure(tick)),
      ];
    }),
    draw("line", { class: "axis", x1: left, x2: width - right, y1: base, y2: base }),
    draw("line", { class: "axis", x1: left, x2: left, y1: top, y2: base }),
    draw("text", { x: width - right, y: height - 6, "text-anchor": "end" }, `${size} (log) →`),
  ];
}

/** One student's line; a size that did not end well is a cross at the top. */
function runOf(rows, number, { across, up, size, value, attention }) {
  const there = rows.filter((row) => row.status === WELL && up.holds(value(row)));
  const place = (row) => [across.at(row[size]).toFixed(1), up.at(value(row)).toFixed(1)];
  const line = { class: `run ${hue(number)} ${attention}`, points: there.map((row) => place(row).join(",")).join(" ") };
  const dots = there.map((row) =>
    markAt(place(row), markOf(number), `dot ${hue(number)}`, `${named(row)}: ${figure(value(row))}`),
  );
  const ends = rows
    .filter((row) => row.status !== WELL)
    .map((row) => {
      const at = [across.at(row[size]).toFixed(1), PANEL.top + 3 * number];
      return markAt(at, "M-5,-5L5,5M-5,5L5,-5", `end ${hue(number)}`, `${named(row)}: ${outcome(row)}`);
    });
  return [draw("polyline", line), ...dots, ...ends];
}

function markAt([x, y], shape, kind, title) {
  return draw("path", { class: kind, d: shape, transform: `translate(${x} ${y}) scale(.7)` }, draw("title", {}, title));
}

const named = (row) => `${row.student}, ${row.attention}, ${count(row.points, "point")}, ${count(row.groups, "group")}`;
const outcome = (row) => (row.stage ? `${row.status} in ${row.stage}` : row.status);

function scalingTable(rows) {
  const heads = ["student", "attention", "points", "groups", "result", "memory MB", "grouping CPU ms", "encoder CPU ms"];
  const kind = (number) => (number < 2 || number === 4 ? "text" : null);
  const body = rows.map((row) => {
    const student = row.knob ? `${row.student} (${row.knob})` : row.student;
    const sizes = [row.points, row.groups].map((size) => size.toLocaleString("en"));
    const figures = [row.memory, row.grouping, row.encoder].map((value) => (value === null ? "" : figure(value)));
    const [first, ...texts] = [student, row.attention, ...sizes, outcome(row), ...figures];
    const cells = texts.map((words, number) => make("td", { class: kind(number + 1) }, words));
    return make("tr", {}, make("th", { scope: "row" }, first), ...cells);
  });
  const top = heads.map((name, number) => make("th", { scope: "col", class: kind(number) }, name));
  return make("table", {}, make("thead", {}, make("tr", {}, ...top)), make("tbody", {}, ...body));
}
