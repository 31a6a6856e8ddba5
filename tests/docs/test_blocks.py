"""What the documentation tells a reader to type: every command parses, and every block runs or says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blocks import (
    PAGES,
    ROOT,
    SELECTOR,
    check,
    check_script,
    commands,
    inline,
    lines,
    ours,
    run,
    typed,
    write_files,
)

import foundry_bench as fb
from foundry_bench import registry, selectors

METHODS = registry.entries("methods")
WITHOUT_REASON = re.compile(
    r"<!--+ *;? *skip: (?!end)(?!(?:next|start) (?:\"[^\"]+\"|if\(quick, reason=\"[^\"]+\"\)) -->)"
)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one_that_the_parser_takes(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(page)
    wrong = []
    for line, command in typed(page):
        try:
            check_script(command)
            if (arguments := ours(command)) is not None:
                check(arguments, whole=line > 0)
        except Exception as error:
            wrong.append(f"{page}:{line}: {' '.join(command)}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --metods all", "No such option"),
        ("run --methods 'tome[rr=8]' --tasks fewshot", "rr"),
        ("run --methods foundry --tasks 'fewshot[shots=3]'", "shots"),
        ("distil --method foundry", "unknown command"),
        ("distill --method foundry", "Missing parameter"),
        ("data prepare kicad --sauce here", "No such option"),
        ("list methods info foundry", "unexpected extra argument"),
    ],
)
def test_a_command_that_nobody_takes_is_found(command: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        check(lines(command)[0])


@pytest.mark.parametrize("page", PAGES)
def test_every_selector_and_name_of_the_library_is_one(page: str) -> None:
    text = (ROOT / page).read_text()
    for code in inline(text):
        if SELECTOR.fullmatch(code) and (parsed := selectors.parse_selector(code)).parts[0].name in METHODS:
            selectors.expand(parsed)
    assert set(re.findall(r"(?<![\w.])fb\.(\w+)", text)) <= set(dir(fb))


def test_a_script_that_nobody_has_is_found() -> None:
    check_script(["python", "benchmarks/runtimes.py", "--seconds", "4"])
    for command in (["benchmarks/no_such.py"], ["benchmarks/runtimes.py", "--second", "4"]):
        with pytest.raises(LookupError):
            check_script(["python", *command])


def test_a_command_that_a_text_mentions_may_leave_out_what_it_needs() -> None:
    check(["distill", "--method", "foundry"], whole=False)
    with pytest.raises(Exception, match="No such option"):
        check(["distill", "--metod", "foundry"], whole=False)


def test_commands_are_read_as_a_shell_reads_them() -> None:
    source = "pip install -e . && foundry-bench run \\\n  --methods 'a,b[c=1]' # why\n\n$ foundry-bench list > list.txt\n"
    assert [commands(words) for words in lines(source)] == [
        [["pip", "install", "-e", "."], ["foundry-bench", "run", "--methods", "a,b[c=1]"]],
        [["foundry-bench", "list"], ["list.txt"]],
    ]


@pytest.mark.parametrize("page", PAGES)
def test_whatever_is_not_run_says_why(page: str) -> None:
    assert not WITHOUT_REASON.findall((ROOT / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, world: Path) -> None:
    print(*run(page, quick=True), sep="\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_the_slow_ones_too(page: str, world: Path) -> None:
    print(*run(page, quick=False), sep="\n")


def test_a_block_that_fails_is_found(world: Path, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n\n```\nfoundry-bench info no-such-thing\n```\n")
    with pytest.raises(AssertionError, match=r"page.md:3: foundry-bench info no-such-thing: error"):
        run(str(tmp_path / "page.md"), quick=True)
    (tmp_path / "page.md").write_text("```python\nimport no_such_module\n```\n")
    with pytest.raises(AssertionError, match="no_such_module"):
        run(str(tmp_path / "page.md"), quick=True)
