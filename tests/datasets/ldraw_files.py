"""A small LDraw library in the official layout: parts/, parts/s/, p/ and p/48/, written by the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HEADER = "0 {title}\r\n0 Name: {name}\r\n0 Author: Ada Lovelace\r\n0 !LICENSE Licensed under CC BY 4.0 : see CAreadme.txt\r\n"
IDENTITY = "1 0 0 0 1 0 0 0 1"


def box_lines(size: Sequence[float], low: Sequence[float] = (0.0, 0.0, 0.0)) -> list[str]:
    """The six sides of a box as lines of type 4, in the frame of the file (y down)."""
    (x, y, z), (a, b, c) = low, size
    far = (x + a, y + b, z + c)
    near = (x, y, z)
    lines = []
    for axis in range(3):
        i, j = [k for k in range(3) if k != axis]
        for level in (near[axis], far[axis]):
            corners = []
            for u, v in ((near[i], near[j]), (far[i], near[j]), (far[i], far[j]), (near[i], far[j])):
                corner = [0.0, 0.0, 0.0]
                corner[axis], corner[i], corner[j] = level, u, v
                corners.extend(corner)
            lines.append("4 16 " + " ".join(f"{value:g}" for value in corners))
    return lines


def place(name: str, offset: Sequence[float] = (0, 0, 0), matrix: str = IDENTITY) -> str:
    """A line of type 1."""
    return f"1 16 {' '.join(map(str, offset))} {matrix} {name}"


def write(root: Path, name: str, lines: Sequence[str]) -> Path:
    """Writes ``name`` below a library with the official header, line ends included."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((HEADER.format(title="Test", name=path.name) + "\r\n".join(lines) + "\r\n").encode())
    return path


def library(root: Path) -> Path:
    """Primitives: a stud (6 x 4 x 6), a tube that uses a plain box, and the rim of a pin hole."""
    write(root, "p/stud.dat", box_lines((6, 4, 6), (-3, -4, -3)))
    write(root, "p/box.dat", box_lines((2, 2, 2), (-1, -1, -1)))
    write(root, "p/stud4.dat", [place("box.dat", matrix="4 0 0 0 8 0 0 0 4")])
    write(root, "p/peghole.dat", ["3 16 8 0 0 0 0 8 8 2 0"])
    return root


def ldraw_tree(root: Path, paths: Sequence[str]) -> Path:
    """An unpacked package: at every path a box of its own height with a stud on top and a tube of a sub-file below it."""
    base = library(root / "usr/share/ldraw")
    write(base, "parts/s/Sub01.dat", [place("Stud4.DAT", (10, 20, 10))])
    for number, path in enumerate(paths):
        lines = [*box_lines((20, 8 + number, 20)), place("STUD.dat", (10, 0, 10)), place("s\\sub01.dat")]
        write(base, f"parts/{path}", lines)
    return root
