"""The page's script is linted as the browser gets it: all its files as one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundry_bench.report import html

FOLDER = Path(html.__file__).with_name(html.FOLDER)
LONGEST = 128


def lint(script: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("oxlint", path=str(Path(sys.executable).parent)) or shutil.which("oxlint")
    if program is None:
        pytest.skip("oxlint is not installed: pip install -e '.[test]'")
    command = [program, "--deny-warnings", "-c", str(FOLDER / ".oxlintrc.json"), str(script)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_has_no_unused_or_unknown_names(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(html._script())
    done = lint(script)
    assert done.returncode == 0, done.stdout
    script.write_text(html._script().replace("const front = ", "const frond = ", 1))
    assert lint(script).returncode != 0, "the linter sees a slip"


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_lines_are_short_and_clean(file: Path) -> None:
    lines = file.read_text().split("\n")
    if file.suffix == ".js":
        assert max(map(len, lines)) <= LONGEST
        assert file.stem in html.SCRIPTS
    assert not [line for line in lines if line != line.rstrip() or "\t" in line]
    assert lines[-1] == ""
    assert lines[-2] != ""


def test_no_script_turns_texts_into_markup() -> None:
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "fetch(",
        "XMLHttp",
        "import(",
    ):
        assert word not in html._script()
