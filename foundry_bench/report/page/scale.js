// From values to pixels, and the ticks of an axis.

/** A scale from the values to [from, to] with some margin; log only where all values are positive. */
function scaleOf(values, from, to, log) {
  const known = values.filter((value) => value !== null && (!log || value > 0));
  const turn = log ? Math.log10 : (value) => value;
  let [low, high] = known.length ? [turn(least(known)), turn(most(known))] : [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  [low, high] = [low - margin, high + margin];
  const at = (value) => from + ((turn(value) - low) / (high - low)) * (to - from);
  return { at, ticks: log ? logTicks(low, high) : linearTicks(low, high), holds: (v) => v !== null && (!log || v > 0) };
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/** About six round values between two. */
function linearTicks(low, high) {
  const raw = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((size) => size >= raw);
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) ticks.push(Number((n * step).toPrecision(10)));
  return ticks;
}

/** Powers of ten with 2 and 5 between them; round values where the range is too narrow for three of these. */
function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const digit of [1, 2, 5]) {
      const value = digit * 10 ** power;
      if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push(value);
    }
  }
  if (ticks.length >= 3) return ticks;
  return linearTicks(10 ** low, 10 ** high).filter((value) => value > 0);
}
