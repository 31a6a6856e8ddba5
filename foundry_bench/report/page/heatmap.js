// Rows by tasks: the share of the teacher's score that each keeps, as the harness found it.

/** Shares at which the colour is full, below and above 1. */
const FULL = 0.25;

function drawHeatmap() {
  const shown = table();
  const { places } = shown;
  const rows = visible().filter((row) => row.shares.some((share) => share !== null));
  const holder = byId("heatmap");
  if (!rows.length || !places.length) {
    byId("scale").textContent = "";
    refill(holder, make("p", {}, "No row in view has a score beside its teacher's."));
    return;
  }
  refill(byId("scale"), ...[0.75, 0.875, 1, 1.125].map((share) => make("span", {}, sample(share), `${100 * share} %`)));
  const heads = places.map((place) => make("th", { scope: "col" }, place.label));
  const held = heldFocus(holder);
  refill(
    holder,
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "text" }, "row"), ...heads)),
      make("tbody", {}, ...rows.slice(0, rowsShown).map((row) => heatRow(row, places))),
    ),
  );
  held();
}

function heatRow(row, places) {
  const chosen = row.id === state.pin;
  const button = make("button", { type: "button", "data-row": row.number, "aria-pressed": String(chosen) });
  button.append(swatch(row), ...breakable(row.id));
  const cells = places.map((_, number) => {
    const share = row.shares[number];
    const cell = make("td", {}, share === null ? "" : (100 * share).toFixed(1));
    if (share !== null) cell.style.background = heat(share);
    return cell;
  });
  return make("tr", { class: chosen ? "pinned" : null }, make("th", { scope: "row" }, button), ...cells);
}

/** Warm below the teacher, cold above. */
function heat(share) {
  return tint(share < 1 ? "--warm" : "--shade", Math.min(Math.abs(share - 1) / FULL, 1) * 1.5);
}

function sample(share) {
  const square = make("span", { class: "swatch", "aria-hidden": "true" });
  square.style.background = heat(share);
  return square;
}
