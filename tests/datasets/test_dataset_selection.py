"""What may be in which data set: licences, splits, and the wall between pretraining and tests."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable
from importlib.resources import files

import pytest

from foundry_bench.datasets.preparation import selection
from foundry_bench.datasets.preparation.selection import Source


def table(name: str) -> list[dict[str, str]]:
    """All rows of a spec table, GPL files included."""
    raw = files("foundry_bench.datasets.preparation").joinpath("spec", name).read_bytes()
    return list(csv.DictReader(gzip.decompress(raw).decode("utf-8").splitlines()))


SELECTIONS = {
    selection.kicad_sources: 1807,
    selection.kicad_pretrain_sources: 1782,
    selection.furniture_sources: 264,
    selection.furniture_pretrain_sources: 534,
}


@pytest.mark.parametrize(
    ("select", "count"), SELECTIONS.items(), ids=lambda item: getattr(item, "__name__", item)
)
def test_selection_is_licence_clean_sorted_and_complete(
    select: Callable[[], list[Source]], count: int
) -> None:
    sources = select()
    paths = [source.path for source in sources]
    assert len(paths) == count
    assert paths == sorted(set(paths))
    kicad = {row["path"]: row["licence"] for row in table("kicad_files.csv.gz")}
    furniture = {row["path"]: row["licence"] for row in table("furniture_models.csv.gz")}
    licences = {(kicad | furniture)[path] for path in paths}
    assert licences <= {"CC-BY-SA-4.0", "CC-BY-3.0", "CC-BY-3.0-US", "CC0-1.0"}
    assert {source.licence for source in sources} == licences


def test_tables_do_hold_files_that_must_stay_out() -> None:
    assert sum(row["licence"].startswith("GPL") for row in table("kicad_files.csv.gz")) == 603
    assert sum(row["licence"] == "LicenseRef-unclear" for row in table("furniture_models.csv.gz")) == 92


@pytest.mark.parametrize("split", range(3))
def test_no_series_is_on_both_sides_of_a_split_and_no_class_exceeds_the_cap(split: int) -> None:
    sources = [source for source in selection.kicad_sources() if source.splits[split]]
    sides = {(source.label, source.series, source.splits[split]) for source in sources}
    assert len(sides) == len({side[:2] for side in sides})
    assert max(Counter(source.label for source in sources).values()) == 60
    assert {source.label for source in sources} == set(selection.rules().kicad_classes)


def test_pretraining_has_no_novel_class_no_test_series_and_no_twin_of_either() -> None:
    novel = set(selection.rules().kicad_novel_classes)
    assert len(novel) == 13
    rows = {row["path"]: row for row in table("kicad_files.csv.gz")}
    test_series = {
        (source.label, source.series) for source in selection.kicad_sources() if "test" in source.splits
    }
    chosen = {source.path for source in selection.kicad_pretrain_sources()}
    for path in chosen:
        assert rows[path]["class"] not in novel
        assert (rows[path]["class"], rows[path]["series"]) not in test_series
        assert not rows[path]["duplicate_of"]
    twins = {
        row["duplicate_of"]
        for row in rows.values()
        if row["class"] in novel or (row["class"], row["series"]) in test_series
    }
    assert not chosen & twins
    assert "Diode_SMD.3dshapes/D_SOT-23.wrl" in twins


def test_pretraining_never_shares_an_object_with_the_test_sides() -> None:
    pretrain = {source.path for source in selection.kicad_pretrain_sources()}
    tested = {source.path for source in selection.kicad_sources() if "test" in source.splits}
    assert tested
    assert not pretrain & tested


def test_furniture_pools_are_disjoint_and_plugs_are_capped() -> None:
    few_shot, pretrain = selection.furniture_sources(), selection.furniture_pretrain_sources()
    counts = Counter(source.label for source in few_shot)
    assert set(counts) == set(selection.rules().furniture_classes)
    assert min(counts.values()) == 30
    labels = Counter(source.label for source in pretrain)
    assert not set(labels) & set(counts)
    assert labels["plug_switch"] == selection.PLUG_SWITCH_CAP


def test_pretraining_asks_for_no_labels() -> None:
    assert {source.part_category for source in selection.kicad_pretrain_sources()} == {""}
    assert {source.splits for source in selection.kicad_pretrain_sources()} == {("", "", "")}
    assert len({source.part_category for source in selection.kicad_sources()} - {""}) == 17
