"""``new`` writes packages that ``check`` finds nothing wrong with; ``check`` says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from click.testing import CliRunner

from foundry_bench.beforehand import plugin_files
from foundry_bench.cli import cli
from foundry_bench.cli.new import NEXT
from foundry_bench.errors import UserError

KEEP_FIRST = Path(__file__).parents[1] / "plugin" / "keep_first.py"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with plugin_files.used_for_a_while():
        yield


def called(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False, standalone_mode=False)
    return done.return_value, done.output


@pytest.mark.parametrize(
    "kind", ["method", "task", "dataset", pytest.param("engine", marks=pytest.mark.slow)]
)
def test_what_is_written_passes(kind: str) -> None:
    code, text = called("new", kind, f"my-{kind}")
    assert code == 0
    assert f"foundry-bench check my-{kind}" in text
    code, text = called("check", f"my-{kind}/my_{kind}.py")
    assert code == 0, text
    assert "rules hold; try it: foundry-bench run" in text
    for file in Path(f"my-{kind}").glob("*.py"):
        compile(file.read_text(), str(file), "exec")


def test_the_entry_point_leads_to_what_is_written() -> None:
    called("new", "method", "keep-apart", "-o", "somewhere")
    text = Path("somewhere/pyproject.toml").read_text()
    assert 'keep-apart = "keep_apart:KeepApart"' in text
    assert 'version = "0.1.0"' in text
    about = Path("site/keep_apart-1.dist-info")
    about.mkdir(parents=True)
    assert PathDistribution(about) is not None


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("method", "tome", "another method"),
        ("method", "fmd", "variant"),
        ("method", "Keep Far", "small letters"),
        ("method", "3d", "small letters"),
        ("method", "json", "another Python module"),
        ("metod", "keep-far", "did you mean 'method'"),
    ],
)
def test_a_name_that_cannot_be_is_refused(kind: str, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        called("new", kind, name)
    assert not list(Path().iterdir())


def test_check_ends_with_the_line_to_change() -> None:
    text = KEEP_FIRST.read_text().replace("features = self.norm(x)", "features = self.norm(x)[:, 1:]")
    Path("keep_first.py").write_text(text)
    code, text = called("check", "keep_first.py:KeepFirst")
    assert code == 1
    assert "BROKEN off-the-shelf: the student is a drop-in" in text
    assert "to change: FirstBlocks.encode (keep_first.py:25): features must be (B, T, D)" in text


EMPTY = '''
from dataclasses import dataclass
from typing import ClassVar
from foundry_bench.authoring import *
import torch

class OddRows(ReducingStudent):
    def begin(self, embedding, pos):
        index = torch.zeros(pos.shape[:2], dtype=torch.long, device=pos.device)
        index[:, 1::2] = 2
        return merge(Stream.of(embedding.tokens, pos), index, 3), embedding.tokens + pos

@dataclass(frozen=True)
class Odd(Method):
    """Merges into the first and the last of three places."""
    name: ClassVar[str] = "odd-rows"
    family: ClassVar[str] = "merge"
    abstract: ClassVar[str] = "two places of three"
    variants: ClassVar[tuple[str, ...]] = (OFF_THE_SHELF,)

    def compress(self, teacher, data, ctx):
        return OddRows(require_transformer(teacher, self.name), upsample=False)
'''


def test_check_says_where_the_mean_of_none_comes_from() -> None:
    Path("odd.py").write_text(EMPTY)
    code, text = called("check", "odd.py")
    assert code == 1
    (line,) = [line for line in text.splitlines() if line.startswith("to change:")]
    assert "features must be finite, got NaN or infinite values" in line
    assert "places received no row (place 1 of 3 in cloud 0), and the mean of none is NaN" in line
    mended = EMPTY.replace("index[:, 1::2] = 2", "index[:, 1::3], index[:, 2::3] = 1, 2")
    Path("odd.py").write_text(mended)
    code, text = called("check", "odd.py")
    assert code == 0, text


@pytest.mark.parametrize(
    ("call", "before", "place"),
    [
        ("encode", "        x, _ = self.run", "FirstBlocks.encode, keep_first.py:26"),
        ("compress", "        return FirstBlocks(", "KeepFirst.compress, keep_first.py:43"),
    ],
)
def test_check_does_not_wait_for_ever(call: str, before: str, place: str) -> None:
    text = KEEP_FIRST.read_text().replace(before, f"        while True: pass\n{before}")
    Path("keep_first.py").write_text(text)
    code, text = called("check", "keep_first.py", "--timeout", "12")
    assert code == 1
    (line,) = [line for line in text.splitlines() if line.startswith("to change:")]
    assert "method 'keep-first' of keep_first.py failed (this rule does not end within 12 seconds" in line
    assert place in line or place.partition(".")[2] in line  # Python 3.10 tells no class


def test_check_of_a_registered_name() -> None:
    code, text = called("check", "foundry-bench:untrained")
    assert code == 0, text
    assert "method 'untrained' of foundry-bench" in text


@pytest.mark.parametrize("target", ["no-such-thing", "package:Name", "gone.py", "keep_first.py:Other"])
def test_check_of_nothing_is_one_line(target: str) -> None:
    Path("keep_first.py").write_text(KEEP_FIRST.read_text())
    with pytest.raises(UserError):
        called("check", target)


def test_every_kind_has_a_template() -> None:
    assert list(NEXT) == ["method", "task", "dataset", "engine"]
