// The page as a whole, and looking for news while the sweep runs.

/** Times that an unfinished page may look for news in vain before it stops: a sweep that was killed tells nobody. */
const IN_VAIN = 360;

function redraw() {
  applyTheme();
  drawControls();
  drawPlot();
  drawTable();
  drawHeatmap();
  drawDetail();
  drawProblems();
}

function drawSummary() {
  const teacher = DATA.teachers.length ? `teacher ${joined(DATA.teachers)}` : "";
  const budget = DATA.budget ? `budget ${DATA.budget}` : "";
  const rows = new Set(TABLES.flatMap((found) => found.rows.map((row) => row.id))).size;
  const said = [teacher, budget, count(rows, "row"), count(DATA.cells, "cell")];
  byId("summary").textContent = said.filter(Boolean).join(" · ");
  const made = `Made by foundry-bench ${DATA.version} from the records beside this file.`;
  byId("made").textContent = `${made} It loads nothing from elsewhere.`;
}

function drawProblems() {
  const { lines, more } = table().problems;
  const holder = byId("problems");
  if (!lines.length) {
    refill(holder, make("p", {}, "None: every cell of this table ended well."));
    return;
  }
  const names = ["status", "row", "cell", "reason"];
  const heads = names.map((name) => make("th", { scope: "col", class: "text" }, name));
  const body = lines.map((line) => make("tr", {}, ...names.map((key) => make("td", { class: "text" }, line[key]))));
  const list = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
  const region = { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "problems-title" };
  refill(
    holder,
    make("div", region, list),
    more ? make("p", {}, `and ${more} more, in leaderboard.md`) : null,
  );
}

/** Say what is missing, and look for news while a sweep writes the page again. */
function watch() {
  if (!DATA.missing && !DATA.live) return;
  const note = byId("unfinished");
  note.hidden = false;
  const left = `${DATA.missing} of ${count(DATA.cells, "cell")} have no record yet`;
  const missing = `Unfinished: ${left}; ranks and tests may still change.`;
  if (!DATA.live) {
    refill(note, make("strong", {}, missing), " No sweep was running when this page was written.");
    return;
  }
  const stamp = `${DATA.missing} ${document.getElementById("data").textContent.length}`;
  const before = history.state || {};
  const vain = before.stamp === stamp ? before.vain + 1 : 0;
  history.replaceState({ stamp, vain }, "");
  if (vain >= IN_VAIN) {
    refill(note, make("strong", {}, missing), " Nothing has changed for long, so this page no longer looks for news.");
    return;
  }
  const button = make("button", { type: "button" });
  const tell = () => {
    button.textContent = state.paused ? "Look for news again" : "Stop looking";
    const looks = state.paused ? "It does not look for news." : `It looks for news every ${DATA.reload} seconds.`;
    refill(note, make("strong", {}, missing), ` ${looks}`, button);
  };
  button.addEventListener("click", () => {
    state.paused = !state.paused;
    writeAddress();
    tell();
    button.focus();
  });
  tell();
  setInterval(() => {
    if (!state.paused && !isBusy()) location.reload();
  }, 1000 * DATA.reload);
}

/** Whether a reload would take something out of the reader's hand. */
function isBusy() {
  const active = document.activeElement;
  const typing = active && ["search", "select-one"].includes(active.type);
  return typing || !document.getSelection().isCollapsed;
}

readAddress();
drawSummary();
drawScaling();
connect();
redraw();
watch();
