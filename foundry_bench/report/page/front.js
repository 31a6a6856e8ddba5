// The Pareto front of the chosen axes.

/**
 * Which rows no other row beats: none is as cheap and as good, and better in one of the two. The harness's own definition,
 * foundry_bench.report.statistics.ranks.pareto; a row without one of the values is not on the front.
 */
function pareto(costs, scores) {
  const known = costs.map((_, number) => number).filter((n) => costs[n] !== null && scores[n] !== null);
  known.sort((a, b) => costs[a] - costs[b] || scores[b] - scores[a]);
  const front = costs.map(() => false);
  let best = -Infinity;
  let last = null;
  for (const number of known) {
    const tied = last !== null && costs[number] === costs[last] && scores[number] === scores[last];
    if (scores[number] > best || tied) {
      front[number] = true;
      best = scores[number];
      last = number;
    }
  }
  return front;
}

/** The rows on the front of two columns, cheapest first: over all ranked rows of the table, whatever is in view. */
function frontRows(shown, x, y) {
  const rows = shown.rows.filter((row) => row.ranked);
  const costs = rows.map((row) => shown.value(row, x.key));
  const scores = rows.map((row) => shown.value(row, y.key));
  const turned = y.better < 0 ? scores.map((score) => (score === null ? null : -score)) : scores;
  const front = pareto(costs, turned);
  return rows
    .filter((_, number) => front[number])
    .sort((a, b) => shown.value(a, x.key) - shown.value(b, x.key));
}
