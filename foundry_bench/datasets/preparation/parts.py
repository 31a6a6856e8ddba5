"""From the material of a CAD face to the part of an object, by rules per category.

Material names are an appearance palette, not semantics (PIN-01 is a lead here and a shield there), so every
category has its own table. Beside plain names a rule may be ``SPLITZ:high:low``, which tells two parts of one
material apart by height, or ``IFGLASS:yes:no``, which depends on whether the model has a glass body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

#: Label of a point that belongs to no part.
NO_PART = -1

_ANY = "*"


@dataclass(frozen=True)
class PartRules:
    """How the materials of one category become parts.

    Attributes:
        parts: part names; a label is an index into them.
        materials: material name to part name or rule; ``*`` stands for every other material.
        merge: intermediate name to part name, applied last.
        needs: parts of which an object must show one, else it is not labelled; none if empty. A gear whose teeth were drawn
            face by face has no face that is named a tooth: calling them body would be wrong.
    """

    parts: tuple[str, ...]
    materials: Mapping[str, str]
    merge: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def part_labels(rules: PartRules, point_material: Sequence[str], height: np.ndarray) -> np.ndarray:
    """Part of every point.

    Args:
        rules: the table of the object's category.
        point_material: material name of each of the P points.
        height: ``(P,)`` z coordinates, any unit.

    Returns:
        ``(P,)`` int8 indices into ``rules.parts``; ``NO_PART`` where the category has no rule for the
        material, and everywhere if no part that it ``needs`` is there.
    """
    materials = np.asarray(point_material)
    present = set(materials.tolist())
    labels = np.full(len(materials), NO_PART, dtype=np.int8)
    for material in sorted(present):
        rule = rules.materials.get(material, rules.materials.get(_ANY))
        if rule is None:
            continue
        here = materials == material
        if rule.startswith("SPLITZ:"):
            high, low = rule.split(":")[1:]
            middle = _middle_height(height, here)
            labels[here & (height >= middle)] = _index(rules, high)
            labels[here & (height < middle)] = _index(rules, low)
        elif rule.startswith("IFGLASS:"):
            yes, no = rule.split(":")[1:]
            labels[here] = _index(rules, yes if _has_glass(present) else no)
        else:
            labels[here] = _index(rules, rule)
    needed = [rules.parts.index(name) for name in rules.needs]
    return labels if not needed or np.isin(needed, labels).any() else np.full_like(labels, NO_PART)


def _middle_height(height: np.ndarray, here: np.ndarray) -> float:
    """Mid-height of the points of the other materials (of all points where there is no other)."""
    others = height[~here] if (~here).any() else height
    return float(others.min() + others.max()) / 2


def _has_glass(materials: set[str]) -> bool:
    return any(material.startswith("GLASS-") or material == "LED-RED" for material in materials)


def _index(rules: PartRules, name: str) -> int:
    return rules.parts.index(rules.merge.get(name, name))
