// Names beside points that cover neither each other nor a marker.

const RINGS = [9, 16, 26, 40, 56];
const ANGLES = [0, 180, 90, 270, 40, 140, 220, 320, 20, 160, 200, 340];
const LETTER = 6.1;
const LINE = 12;
const LONGEST_NAME = 36;

/** A row's name beside its point: the method, and the values of its parameters where they are short. */
function shortName(row) {
  const values = row.params.split(",").filter(Boolean).map(shortValue).join(" ");
  return values && values.length < 26 ? `${row.method} ${values}` : row.method;
}

/** Row -> its name beside its point, with its parameters' names where another row of its variant has the same short name. */
function namesAmong(rows) {
  const key = (row) => `${row.variant} ${shortName(row)}`;
  const counts = new Map();
  for (const row of rows) counts.set(key(row), (counts.get(key(row)) || 0) + 1);
  const whole = (row) => (row.params && row.params.length < LONGEST_NAME ? `${row.method} ${row.params}` : shortName(row));
  return (row) => (counts.get(key(row)) > 1 ? whole(row) : shortName(row));
}

/** "16" of "supertokens=16", "early" of "early=True", "no early" of "early=False". */
function shortValue(parameter) {
  const [name, value] = [parameter.split("=")[0], parameter.split("=").slice(1).join("=")];
  const known = { True: name, False: `no ${name}` };
  return known[value] || value || name;
}

/**
 * Boxes for the names of points, the first ones first. `points` are {row, x, y}; a name for which there is
 * no room near its point is left out.
 */
function placeNames(points, obstacles, frame, nameOf) {
  const around = (x, y, half) => [x - half, y - half, x + half, y + half];
  const taken = obstacles.map(({ x, y, thin }) => around(x, y, thin ? 2 : 6));
  const placed = [];
  for (const point of points) {
    const name = nameOf(point.row);
    const spot = freeSpot(point, name.length * LETTER, taken, frame);
    if (spot) {
      taken.push(spot.box);
      placed.push({ ...point, ...spot, name });
    }
  }
  return placed;
}

/** The nearest free place for a text of a width beside a point, null without one. */
function freeSpot(point, width, taken, frame) {
  for (const ring of RINGS) {
    for (const angle of ANGLES) {
      const across = Math.cos((angle * Math.PI) / 180);
      const x = point.x + ring * across;
      const y = point.y - ring * Math.sin((angle * Math.PI) / 180);
      const left = across > 0.3 ? x : across < -0.3 ? x - width : x - width / 2;
      const box = [left, y - LINE / 2, left + width, y + LINE / 2];
      const inside = box[0] >= frame[0] && box[1] >= frame[1] && box[2] <= frame[2] && box[3] <= frame[3];
      if (inside && !taken.some((other) => overlap(box, other))) return { box, ring, at: [x, y] };
    }
  }
  return null;
}

const overlap = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
