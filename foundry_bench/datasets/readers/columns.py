"""Which columns of a table are x, y and z, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foundry_bench.datasets.one_file import FileError, shown

Columns = tuple[int, int, int]

_UP = {"z", "elevation", "elev", "height", "altitude", "alt", "h"}
_AFFIXED = (
    *("{}_coordinate", "{}_coord", "{}coord", "{}_position", "{}_pos", "coordinate_{}", "coord_{}"),
    *("position_{}", "pos_{}", "point_{}", "points_{}", "p_{}", "p{}"),
)
_FAMILIES: tuple[tuple[set[str], set[str], set[str]], ...] = (
    ({"x"}, {"y"}, {"z"}),
    *(({form.format("x")}, {form.format("y")}, {form.format("z")}) for form in _AFFIXED),
    ({"points_0"}, {"points_1"}, {"points_2"}),
    ({"x"}, {"y"}, _UP - {"z"}),
    ({"easting", "east", "e"}, {"northing", "north", "n"}, _UP),
)
"""Names of the three axes that go together; the first family that a table has whole counts."""

_UNITS = {"mm", "cm", "dm", "m", "km", "in", "inch", "ft", "feet", "meter", "metre", "meters", "metres"}
_UNIT = re.compile(
    r"(?P<name>.*?)\s*(?:[\[(]\s*(?P<unit>[^\])]*?)\s*[\])]|_(?P<tail>mm|cm|m|km|ft|met(?:re|er)s?))"
)


def find_columns(names: Sequence[str]) -> Columns | None:
    """The columns of x, y and z among ``names``, or None where they cannot be told.

    Case, quotes, and units as in ``x [m]`` do not count. Raises FileError for a name that occurs twice and for axes in several
    units.
    """
    cleaned = [_clean(name) for name in names]
    for family in _FAMILIES:
        places = [[i for i, (name, _) in enumerate(cleaned) if name in axis] for axis in family]
        if not all(places):
            continue
        if any(len(each) > 1 for each in places):
            raise FileError(
                f"names an axis twice in {shown(', '.join(names[:8]))}: rename the column not meant"
            )
        x, y, z = (each[0] for each in places)
        if len({cleaned[place][1] for place in (x, y, z)} - {""}) > 1:
            raise FileError(f"has x, y and z in different units ({shown(', '.join(names[:8]))})")
        return x, y, z
    return None


def one_unit(cells: Sequence[str], columns: Columns) -> None:
    """Raise FileError where a line of units below the names gives x, y and z several."""
    units = {cells[column].strip("[]() ").lower() for column in columns if column < len(cells)} & _UNITS
    if len(units) > 1:
        raise FileError(f"has x, y and z in different units ({shown(', '.join(cells[:8]))})")


def _clean(name: str) -> tuple[str, str]:
    """The bare name and its unit, or an empty text for none."""
    name = name.strip().strip("\"'").strip().lower()
    found = _UNIT.fullmatch(name)
    if found:
        name = found["name"]
    unit = (found["unit"] or found["tail"] or "") if found else ""
    return re.sub(r"[\s.:/-]+", "_", name).strip("_"), unit
