"""From material to part: plain rules, SPLITZ, IFGLASS and merging."""

from __future__ import annotations

import numpy as np
import pytest

from foundry_bench.datasets.preparation.parts import NO_PART, PartRules, part_labels
from foundry_bench.datasets.preparation.selection import rules


def named(category: str, materials: list[str], height: list[float] | None = None) -> list[str | None]:
    """Part names of points with the given materials (and heights) under the shipped rules."""
    table = rules().part_rules[category]
    heights = np.zeros(len(materials)) if height is None else np.array(height)
    labels = part_labels(table, materials, heights)
    return [None if label == NO_PART else table.parts[label] for label in labels]


def test_one_material_is_another_part_in_another_category() -> None:
    assert named("pin_header", ["PIN-01", "IC-BODY-EPOXY-04"]) == ["pin", "insulator"]
    assert named("dsub", ["PIN-01", "IC-BODY-EPOXY-04"]) == ["shell_and_pins", "rear_housing"]


def test_material_without_a_rule_has_no_part() -> None:
    assert named("dsub", ["PLASTIC-WHITE-01", "RGB-123456"]) == ["insert", None]


def test_black_ring_is_a_cathode_band_only_on_a_glass_diode() -> None:
    assert named("diode_axial", ["GLASS-13", "IC-BODY-EPOXY-04"]) == ["body", "cathode_band"]
    assert named("diode_axial", ["LED-RED", "IC-BODY-EPOXY-04"]) == ["body", "cathode_band"]
    assert named("diode_axial", ["PLASTIC-WHITE-01", "IC-BODY-EPOXY-04"]) == ["cathode_band", "body"]


def test_split_by_height_cuts_at_the_middle_of_the_other_materials() -> None:
    materials = ["SLEEVE", "SLEEVE", "PIN-01", "PIN-01", "PIN-01"]
    assert named("cap_can_tht", materials, [0.0, 10.0, 10.1, 4.9, -3.0]) == [
        "sleeve",
        "sleeve",
        "top",
        "lead",
        "lead",
    ]


def test_split_by_height_without_other_materials_uses_the_whole() -> None:
    assert named("cap_can_tht", ["PIN-01", "PIN-01"], [0.0, 1.0]) == ["lead", "top"]


def test_merged_intermediate_names_never_show() -> None:
    assert named("led_tht", ["IC-BODY-EPOXY-04", "LED-RED", "PIN-01"]) == ["lens", "lens", "lead"]
    assert named("seven_segment", ["GLASS-19", "LED-RED", "PIN-02"]) == ["housing", "segment", "pin"]


def test_every_rule_leads_to_a_part_of_its_category() -> None:
    for name, table in rules().part_rules.items():
        targets = set()
        for rule in table.materials.values():
            targets |= set(rule.split(":")[1:]) if ":" in rule else {rule}
        assert {table.merge.get(target, target) for target in targets} == set(table.parts), name


def test_unknown_target_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        part_labels(PartRules(("a",), {"*": "b"}), ["X"], np.zeros(1))


def test_an_object_without_the_parts_that_its_category_needs_is_not_labelled() -> None:
    assert named("technic_gear", ["tooth", "body", "axle_hole", "stud"]) == [
        "tooth",
        "body",
        "axle_hole",
        "body",
    ]
    assert named("technic_gear", ["body", "axle_hole"]) == [None, None]
    assert named("technic_axle_pin", ["body", "pin"]) == ["body", "pin"]
