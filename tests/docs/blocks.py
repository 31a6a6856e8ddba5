"""Reads what the documentation tells a reader to type, holds it to the real parser, and runs it.

Blocks without a language, and ``bash``, are commands; ``python`` is run; ``toml`` and ``yaml`` are read. A block that begins
with ``# some/file.py`` is also put into that file. What is not run says so in the page's source, in the syntax of Sybil::

    <!-- skip: next "reason" -->
    <!-- skip: next if(quick, reason="reason") -->

the latter only with ``-m slow``. ``<!-- invisible-code: bash`` ... ``-->`` is a block that readers do not see.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any
from unittest import SkipTest

import click
import yaml
from sybil import Document, Example, Region
from sybil.example import NotEvaluated
from sybil.parsers.markdown import SkipParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

from foundry_bench import selectors
from foundry_bench.beforehand import plugin_files
from foundry_bench.cli import cli, main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *ROOT.glob("results/README.md"),
        *ROOT.glob("results/*/README.md"),
        *ROOT.glob("docs/**/*.md"),
    )
)
SHELL, PYTHON, DATA = (
    ("", "bash", "sh", "console"),
    ("python",),
    {"toml": tomllib.loads, "yaml": yaml.safe_load},
)
NOT_HERE = {
    "pip": "installs packages",
    "mkdocs": "serves until it is ended; test_site.py builds the site",
    "ruff": "CI runs it",
    "mypy": "CI runs it",
}
"""Programs that no test starts, and why."""
JOINS = ("&&", ";")
FILE = re.compile(r"# (?P<name>[\w./-]+\.(?:py|toml|yaml))\b.*")
INLINE = re.compile(r"(?<!`)`(?P<code>[^`\n]+)`(?!`)")
SELECTOR = re.compile(r"[a-z0-9-]+\[[a-z_]+=[^`]*\](?:\+[a-z0-9-]+(?:\[[^`]*\])?)*")
CHOOSING = ("methods", "method", "tasks", "task")
"""Options that hold selectors."""


class Blocks:
    """A parser of Sybil's: every fenced block and every invisible one, whatever its language."""

    def __init__(self) -> None:
        info = re.compile(r"(?P<arguments>[^\n]*)$\n", re.MULTILINE)
        self.lexers = (
            RawFencedCodeBlockLexer(info),
            DirectiveInHTMLCommentLexer(directive="(invisible-)?code", arguments=".+"),
        )

    def __call__(self, document: Document) -> Iterator[Region]:
        for lexer in self.lexers:
            for region in lexer(document):
                region.parsed = (region.lexemes["arguments"].split(" ")[0].strip(), region.lexemes["source"])
                region.evaluator = evaluate
                yield region


def read(page: str, **namespace: Any) -> Document:
    """A page with its blocks as Sybil's examples, in order."""
    document = Document.parse(str(ROOT / page), Blocks(), SkipParser())
    document.namespace.update(namespace)
    return document


def evaluate(example: Example) -> None:
    """Run one block in the current folder. Raises AssertionError where it fails."""
    language, source = example.parsed
    if (named := FILE.match(source)) is not None:
        Path(named["name"]).parent.mkdir(parents=True, exist_ok=True)
        Path(named["name"]).write_text(source)
    if language in SHELL:
        for line in lines(source):
            run_line(line)
    elif language in PYTHON and named is not None:
        example.namespace.update(runpy.run_path(named["name"]))
    elif language in PYTHON:
        code = compile("\n" * example.line + source, example.path, "exec", dont_inherit=True)
        exec(code, example.namespace)
    elif language in DATA:
        DATA[language](source)


def write_files(page: str) -> None:
    """Put the blocks of a page that say so into their files, below the current folder."""
    for example in read(page).examples():
        source = example.parsed[1] if isinstance(example.parsed, tuple) else ""
        if isinstance(source, str) and (named := FILE.match(source)) is not None:
            Path(named["name"]).parent.mkdir(parents=True, exist_ok=True)
            Path(named["name"]).write_text(source)


def run(page: str, *, quick: bool) -> list[str]:
    """Run the blocks of a page in the current folder; gives the reasons why some were not."""
    reasons = []
    for example in read(page, quick=quick).examples():
        try:
            example.evaluate()
        except SkipTest as skipped:
            reasons.append(f"{page}:{example.line}: {skipped}")
        except NotEvaluated:
            pass
        except Exception as error:
            raise AssertionError(f"{page}:{example.line}: {error}") from error
    return reasons


def lines(source: str) -> list[list[str]]:
    """The commands of a block, in words as a shell reads them; what joins commands is a word of its own."""
    text = source.replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        words = list(lexer)
        if words:
            found.append(words)
    return found


def commands(words: list[str]) -> list[list[str]]:
    """The single commands of a line, without variables of the environment before them."""
    found: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("&|;<>"):
            found.append([])
        else:
            found[-1].append(word)
    found = [list(dropwhile(re.compile("[A-Z_]+=").match, command)) for command in found]
    return [command for command in found if command]


def ours(command: list[str]) -> list[str] | None:
    """The arguments of ``foundry-bench``, or None for another program."""
    if command[:1] == ["foundry-bench"]:
        return command[1:]
    if command[1:3] == ["-m", "foundry_bench"]:
        return command[3:]
    return None


def typed(page: str) -> Iterator[tuple[int, list[str]]]:
    """Every command that a page shows, in blocks and in the text, with the line of its block, or 0."""
    document = read(page)
    for example in document.examples():
        language, source = example.parsed if isinstance(example.parsed, tuple) else ("skip", "")
        if language in SHELL and isinstance(source, str):
            for words in lines(source):
                for command in commands(words):
                    yield example.line, command
    for code in inline(document.text):
        if code.startswith(("foundry-bench ", "python ")) or re.match("[A-Z_]+=", code):
            with contextlib.suppress(ValueError):  # half a command, with an open quote
                for command in commands(lines(code)[0]):
                    yield 0, command


def inline(text: str) -> list[str]:
    """What stands as code within the text of a page, blocks left out."""
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [found["code"] for found in INLINE.finditer(prose)]


def check_script(command: list[str]) -> None:
    """Hold ``python benchmarks/NAME.py ...`` to the script: it exists, and its text has the options. Raises LookupError."""
    if command[0] != "python" or not command[1:2] or not command[1].startswith("benchmarks/"):
        return
    if not (ROOT / command[1]).is_file():
        raise LookupError(f"there is no {command[1]}")
    source = (ROOT / command[1]).read_text()
    if missing := [o for o in command[2:] if o.startswith("--") and f'"{o}"' not in source]:
        raise LookupError(f"{command[1]} takes no {', '.join(missing)}")


def check(arguments: list[str], *, whole: bool = True) -> None:
    """Hold a call to the real parser, and its selectors to methods and tasks. Raises click's errors and UserError.

    One that is not ``whole``, as a text mentions it, may leave out what the command needs.
    """
    partial = (click.MissingParameter, click.exceptions.NoArgsIsHelpError)
    bearable = (click.exceptions.Exit, *(() if whole else partial))
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, plugin_files.used_for_a_while(), contextlib.suppress(*bearable):
        context = cli.make_context("foundry-bench", list(arguments))
        while isinstance(context.command, click.Group):
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not rest:
                return
            name, command, rest = context.command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
        for option, value in context.params.items():
            if option in CHOOSING and isinstance(value, str):
                _check_selectors(value, tasks=option.startswith("task"))


def _check_selectors(text: str, *, tasks: bool) -> None:
    for piece in selectors.split_selectors(text):
        if piece in ("all", "default", "none", "teacher") or piece.isupper():  # a place for a name
            continue
        if tasks:
            selectors.expand_task(piece)
        elif Path(piece).suffix != ".py":
            selectors.expand(selectors.parse_selector(piece))


def run_line(words: list[str]) -> None:
    """Run the commands of a line one after the other."""
    if others := {word for word in words if set(word) <= set("&|;<>")} - set(JOINS):
        raise AssertionError(f"{' '.join(words)!r} uses {', '.join(others)}: have it skipped, with a reason")
    for command in commands(words):
        if command[0] in NOT_HERE or command[:3] == ["python", "-m", "pytest"]:
            continue
        if (arguments := ours(command)) is not None:
            call(arguments)
        elif command[:2] == ["python", "-c"]:
            exec(command[2], {})
        elif command[0] == "cd":
            os.chdir(command[1])
        else:
            program = [sys.executable, *command[1:]] if command[0] == "python" else command
            done = subprocess.run(program, capture_output=True, text=True)
            assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr or done.stdout}"


def call(arguments: list[str]) -> None:
    """The command line in this process, which must succeed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as left:
            if left.code:
                said = err.getvalue() or out.getvalue()
                raise AssertionError(f"foundry-bench {shlex.join(arguments)}: {said}") from None
