// What the reader has chosen, kept in the page's address so that a view can be shared and outlives a reload.

const DEFAULTS = {
  tab: TABLES[0].name,
  x: "gmacs",
  y: "mean_score",
  logx: false,
  logy: false,
  zoom: false,
  whiskers: true,
  labels: true,
  shading: true,
  pin: "",
  q: "",
  variant: "",
  family: "",
  method: "",
  sort: "",
  columns: "",
  theme: "",
  paused: false,
};

const state = {};

/** Read the address. What it does not say is at its default; what nobody knows is left out. */
function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(DEFAULTS)) {
    const given = found.get(key);
    state[key] = given === null ? value : typeof value === "boolean" ? given === "1" : given;
  }
}

/** Write what is not at its default into the address, without a new step in the browser's history. */
function writeAddress() {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(DEFAULTS)) {
    if (state[key] !== value) said.set(key, state[key] === true ? "1" : state[key] === false ? "0" : state[key]);
  }
  const hash = said.toString();
  if (hash !== location.hash.slice(1)) history.replaceState(history.state, "", hash ? `#${hash}` : "#");
}

/** The names of a list in the state, joined by semicolons there; a semicolon in a name is doubled. */
function listed(key) {
  return state[key] ? state[key].split(/(?<!;);(?!;)/).map((name) => name.replaceAll(";;", ";")) : [];
}

function setList(key, names) {
  state[key] = names.map((name) => name.replaceAll(";", ";;")).join(";");
}

/** The table in view. */
function table() {
  return TABLES.find((found) => found.name === state.tab) || TABLES[0];
}

/** The pinned row, null without one. */
function pinned() {
  const found = table().byRow.get(state.pin);
  return found === undefined ? null : table().rows[found];
}

/** Columns that can be drawn on an axis, of which a ranked row has a value. */
const axes = (kind) => table().axes[kind];

/** The column of an axis: the chosen one, also by how its name begins (x=latency), else the usual one. */
function axis(kind) {
  const there = axes(kind);
  const named = (key) => there.find((column) => column.key === key);
  const begins = () => state[kind] && there.find((column) => column.key.startsWith(`${state[kind]}_`));
  return named(state[kind]) || begins() || named(DEFAULTS[kind]) || there[0];
}

/** Row -> whether it passes the search and the chips. Ranks and tests know nothing of it. */
function filter() {
  const chosen = ["variant", "family", "method"].map((key) => [key, listed(key)]).filter(([, names]) => names.length);
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return (row) =>
    chosen.every(([key, names]) => names.includes(row[key] || "unknown")) &&
    words.every((word) => row.id.toLowerCase().includes(word));
}

/** The rows of the table in view that pass, in the order of the table. */
function visible() {
  const shown = table();
  const rows = shown.rows.filter(filter());
  const key = state.sort.replace(/^-/, "");
  if (!key) return rows;
  const sign = state.sort.startsWith("-") ? -1 : 1;
  const value = key === "row" ? (row) => row.id : (row) => shown.value(row, key);
  const keyed = rows.map((row) => [value(row), row]);
  return keyed.sort((a, b) => compared(a[0], b[0], sign) || a[1].number - b[1].number).map(([, row]) => row);
}

/** Order of two values, numbers before texts; what is not known comes last either way. */
function compared(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  const [first, second] = [typeof a === "string", typeof b === "string"];
  if (first !== second) return sign * (first - second);
  return sign * (first ? a.localeCompare(b, "en") : a - b);
}
