// The data of the page, and what all its parts share: elements, numbers as text, tests between rows.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const REFERENCE = "teacher";

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text nodes, never markup. */
function make(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a shape of a drawing. */
function draw(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A selector's pieces, between which a line may end: before a bracket or a plus and after a comma. */
function breakable(words) {
  return words.split(/(?=[[+])|(?<=,)/).flatMap((piece, number) => (number ? [make("wbr"), piece] : [piece]));
}

/** Replace all that is inside an element. */
function refill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

/** A number with so many digits that neighbours differ, without needless zeros. */
function figure(value) {
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(2);
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(size >= 1 ? 3 : 4)));
}

/** A value of a column as text, nothing where there is none. */
function text(column, value) {
  if (value === null || value === undefined) return "";
  if (column.form === "flag") return value ? "yes" : "";
  if (column.form === "percent") return (100 * value).toFixed(1);
  if (column.form === "whole" || column.form === "text") return String(value);
  return column.better > 0 ? value.toFixed(3) : figure(value);
}

/** As text(), with the half width of the interval where one is known. */
function withInterval(column, value, half) {
  const shown = text(column, value);
  return shown && half !== null ? `${shown} ± ${text(column, half)}` : shown;
}

/** One table with what is looked up in it often. */
class Table {
  constructor(data) {
    Object.assign(this, data);
    this.index = new Map(this.columns.map((column, number) => [column.key, number]));
    this.halves = new Map(this.columns.filter((column) => column.half).map((column, number) => [column.key, number]));
    for (const row of this.rows) row.ranked = row.rank !== "";
    this.byRow = new Map(this.rows.map((row, number) => [row.id, number]));
    this.ranked = this.rows.filter((row) => row.ranked).length;
    const known = (column) => this.rows.some((row) => row.ranked && this.value(row, column.key) !== null);
    const drawn = (kind) => this.columns.filter((column) => column.axis === kind && known(column));
    this.axes = { x: drawn("x"), y: drawn("y") };
    this.bits = Uint8Array.from(atob(this.separable), (char) => char.charCodeAt(0));
    this.rows.forEach((row, number) => Object.assign(row, { number, about: DATA.details[row.detail] }));
  }

  column(key) {
    return this.columns[this.index.get(key)];
  }

  value(row, key) {
    const number = this.index.get(key);
    return number === undefined ? null : row.values[number];
  }

  half(row, key) {
    const number = this.halves.get(key);
    return number === undefined ? null : row.halves[number];
  }

  /** What the harness's tests say of two rows: "same" where they are not separable, "apart", or "" where nothing was tested. */
  relation(first, second) {
    if (first === second || !first.ranked || !second.ranked || first.untested || second.untested) return "";
    const high = Math.max(first.number, second.number);
    const place = (high * (high - 1)) / 2 + Math.min(first.number, second.number);
    return (this.bits[place >> 3] >> (7 - (place & 7))) & 1 ? "apart" : "same";
  }

  /** The rows that one trained student serves with other inference-time parameters, this one among them. */
  siblings(row) {
    const student = row.about?.student;
    return student !== undefined ? this.rows.filter((other) => other.about && other.about.student === student) : [];
  }
}

const TABLES = DATA.tables.map((data) => new Table(data));

/** The colour of a row's family, as the style sheet names it. */
const colour = (row) => `var(--family-${row.family || "unknown"})`;

/** A square of a family's colour. */
function swatch(row) {
  const square = make("span", { class: "swatch", "aria-hidden": "true" });
  square.style.background = colour(row);
  return square;
}

/** Text for people of several things: "a, b and c". */
const joined = (texts) => [texts.slice(0, -1).join(", "), ...texts.slice(-1)].filter(Boolean).join(" and ");

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
