"""What a folder of clouds was understood as, for people: one line, or all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundry_bench.datasets.dataset import PointCloudDataset
from foundry_bench.datasets.folders.facts import Facts
from foundry_bench.datasets.folders.layout import TEST, TRAIN, UNLABELLED, VAL, Described
from foundry_bench.datasets.folders.options import FolderOptions, Y
from foundry_bench.datasets.folders.splits import DRAWN
from foundry_bench.datasets.listing import Listing
from foundry_bench.datasets.one_file import shown

_CLASSES_SHOWN = 40
_NOTES_IN_LINE = 4


@dataclass(frozen=True)
class Understood:
    """A folder, what it says, what reading its files told, and the data set that it became; ``contents`` are the hashes of its
    clouds."""

    root: Path
    listing: Listing
    described: Described
    facts: Sequence[Facts]
    options: FolderOptions
    data: PointCloudDataset
    contents: Sequence[str]

    def line(self, reads: int | None = None) -> str:
        """All that matters, in one line; ``reads`` is how many points of a cloud an encoder takes, where it is known."""
        notes = [
            *self._left_out(),
            *self._split(),
            *self._series(),
            *self._points(),
            self._up(),
            *self._parts(),
        ]
        notes += self.warnings()[:_NOTES_IN_LINE]
        if (
            reads is not None
            and any(each.rows >= reads for each in self.facts)
            and self.options.points < reads
        ):
            notes.append(
                f"the teacher reads {reads:,} points, of which it gets {self.options.points:,}: ask for points={reads}"
            )
        return "; ".join([f"{shown(self.root)}: {self._counts()}", *notes])

    def lines(self) -> Iterator[tuple[str, str]]:
        """A label and a text for each thing that was understood."""
        endings = Counter(Path(path).suffix.lower() for path in self.listing.clouds)
        yield "clouds", f"{len(self.listing.clouds):,} ({_counted(endings)})"
        yield "layout", self._layout()
        if self.data.classes:
            yield "classes", f"{len(self.data.classes)}: {self._classes()}"
        for name, sides in self.data.splits.items():
            yield f"split {name!r}", self._sides(name, sides)
        if self.data.classes and not self.data.splits:
            yield "split", f"none: {self.data.advice['splits']}"
        if self.data.classes:
            yield "series", "; ".join(self._series()).removeprefix("series ")
        rows = np.array([each.rows for each in self.facts])
        yield (
            "points",
            f"{rows.min():,} to {rows.max():,} a file, median {int(np.median(rows)):,}; {self._brought()}",
        )
        radii = np.array([each.radius for each in self.facts])
        scale = self.options.scale
        how = "each cloud is scaled to 1" if scale is None else f"{scale:g} becomes 1 (scale)"
        yield (
            "radius",
            f"{radii.min():.4g} to {radii.max():.4g}, median {np.median(radii):.4g} in the units of the files; {how}",
        )
        yield "up axis", self._up()
        if self.data.part_names:
            yield "parts", "; ".join(self._parts()).removeprefix("parts ")
        for name, parts in self.data.part_names.items():
            yield f"parts of {shown(name)}", ", ".join(f"{i} {shown(part)}" for i, part in enumerate(parts))
        for note in (*self._left_out(), *self.warnings()):
            yield "note", note
        yield "sha256", self.data.sha256

    def drawn(self) -> str | None:
        """How the clouds were divided, as nothing says which are tested; None where something does."""
        return self._sides(DRAWN, self.data.splits[DRAWN]) if DRAWN in self.data.splits else None

    def warnings(self) -> list[str]:
        """What is not as it may have been meant, a line each."""
        return [
            *self.described.notes,
            *self._empty(),
            *self._alone(),
            *self._untaught(),
            *self._straddling(),
            *self._copies(),
        ]

    def _counts(self) -> str:
        inside = f" in {len(self.data.classes)} classes" if self.data.classes else ""
        return f"{len(self.listing.clouds):,} clouds{inside}"

    def _layout(self) -> str:
        how = self.described.how
        return "no classes, unlabelled" if how == UNLABELLED and not self.data.classes else how

    def _classes(self) -> str:
        counts = Counter(self.described.names)
        named = [f"{shown(name)} {counts[name]}" for name in self.data.classes[:_CLASSES_SHOWN]]
        more = len(self.data.classes) - _CLASSES_SHOWN
        return ", ".join(named) + (f" and {more} more" if more > 0 else "")

    def _left_out(self) -> Iterator[str]:
        rows, files = sum(each.missing for each in self.facts), sum(each.missing > 0 for each in self.facts)
        gaps = f"{rows:,} rows without coordinates in {files:,} clouds" if files else ""
        if unused := ", ".join(filter(None, (self.listing.described(), gaps))):
            yield f"left out: {unused}"

    def _split(self) -> Iterator[str]:
        for name, sides in self.data.splits.items():
            yield f"split {name!r}: {self._sides(name, sides)}"

    def _sides(self, name: str, sides: np.ndarray) -> str:
        known = np.asarray(self.data.labels) >= 0
        counts = {side: int((sides[known] == side).sum()) for side in (TRAIN, VAL, TEST)}
        text = ", ".join(f"{count:,} {side}" for side, count in counts.items() if count)
        if none := int((sides[known] == "").sum()):
            text += f", {none:,} on no side"
        if name != DRAWN:
            return text
        why = "none was given" if not any(self.described.sides) else "only one side was given"
        return f"{text}, by class from hashes of the paths, as {why}"

    def _series(self) -> Iterator[str]:
        if not self.data.classes:
            return
        named = {name for name in self.described.series if name}
        alone = sum(not name for name in self.described.series)
        if not named:
            yield "series unknown: each object its own"
        elif alone:
            yield f"{len(named):,} series, {alone:,} objects without one: each its own"
        else:
            yield f"{len(named):,} series"

    def _points(self) -> Iterator[str]:
        yield self._brought()

    def _brought(self) -> str:
        points = self.options.points
        rows = np.array([each.rows - each.missing for each in self.facts])
        more, fewer = int((rows > points).sum()), int((rows < points).sum())
        parts = []
        if more:
            parts.append(f"up to {rows.max():,} points become {points:,} in {more:,} clouds")
        if fewer:
            parts.append(f"{fewer:,} clouds of fewer than {points:,} points repeat some")
        return "; ".join(parts) or f"{points:,} points each"

    def _up(self) -> str:
        return "y is up, turned to z" if self.options.up == Y else "z taken as up"

    def _parts(self) -> Iterator[str]:
        if self.data.part_names:
            count = sum(each.highest >= 0 for each in self.facts)
            yield f"parts in {count:,} of {len(self.facts):,} clouds, {len(self.data.part_names)} classes"
            if self.listing.part_names is None:
                yield "no parts.yaml: parts are called 'part 0', 'part 1' ..."
        elif self.listing.part_names is not None and self.options.parts is None:
            yield "parts.yaml names parts, and no cloud has labels per point"

    def _empty(self) -> Iterator[str]:
        if empty := self.listing.empty:
            more = f" and {len(empty) - 6} more" if len(empty) > 6 else ""
            yield f"no clouds in {', '.join(map(shown, empty[:6]))}{more}"

    def _alone(self) -> Iterator[str]:
        if DRAWN in self.data.splits:
            sides = self.data.splits[DRAWN]
            tested = set(np.asarray(self.data.labels)[sides == TEST].tolist())
            names = [name for label, name in enumerate(self.data.classes) if label not in tested]
            if names:
                yield f"never tested, for want of a second object or series: {_listed(names)}"

    def _untaught(self) -> Iterator[str]:
        for name, sides in self.data.splits.items():
            if names := untaught(self.data, name, sides):
                yield f"tested and never trained: {_listed(names)}"

    def _straddling(self) -> Iterator[str]:
        for sides in self.data.splits.values():
            kinds: dict[tuple[str, str], set[bool]] = {}
            for name, series, side in zip(
                self.described.names, self.described.series, sides.tolist(), strict=True
            ):
                if series and side:
                    kinds.setdefault((name, series), set()).add(side == TEST)
            if count := sum(len(found) > 1 for found in kinds.values()):
                yield f"{count:,} series on both sides of the split: near-twins are tested"

    def _copies(self) -> Iterator[str]:
        count = len(self.contents) - len(set(self.contents))
        if not count:
            return
        places: dict[str, set[tuple[str, bool]]] = {}
        sides = next(iter(self.data.splits.values()), np.full(len(self.contents), ""))
        for content, name, side in zip(self.contents, self.described.names, sides.tolist(), strict=True):
            places.setdefault(content, set()).add((name, side == TEST))
        several = sum(len({name for name, _ in found}) > 1 for found in places.values())
        both = sum(len({tested for _, tested in found}) > 1 for found in places.values())
        text = f"{count:,} clouds are copies of others"
        text += f", {both:,} on both sides of the split" if both else ""
        yield text + (f", {several:,} in two classes" if several else "")


def untaught(data: PointCloudDataset, split: str, sides: np.ndarray) -> list[str]:
    """Classes that a split tests and has no object to train on."""
    labels = np.asarray(data.labels)
    taught = set(labels[(sides == TRAIN) | (sides == VAL)].tolist())
    tested = set(labels[(labels >= 0) & (sides == TEST)].tolist())
    return [data.classes[label] for label in sorted(tested - taught)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {shown(what)}" for what, count in counts.most_common())
