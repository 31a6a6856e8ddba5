"""Plugins that do harm by carelessness or intent: at import, when they are called, in what they give back and what they say."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from door import assert_harmless, assert_refused, plugin_folder, tried, tried_call

from foundry_bench.border import LateError, in_time
from foundry_bench.encoder import EncoderConfig
from foundry_bench.teachers import PointTransformer, save_teacher

KINDS = ("methods", "tasks", "teachers", "datasets", "engines", "trackers", "runtimes")
RAISES = {
    "exit-0": ("import sys; sys.exit(0)", "SystemExit: 0"),
    "exit": ("import sys; sys.exit()", "SystemExit"),
    "exit-text": ("import sys; sys.exit('good\\nbye')", "SystemExit: good bye"),
    "quit": ("quit()", "SystemExit"),
    "system-exit": ("raise SystemExit(70)", "SystemExit: 70"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "generator-in": ("next(iter(()))", "StopIteration"),
    "base": ("raise BaseException('base')", "BaseException: base"),
    "own-base": ("class Own(BaseException): pass\nraise Own('mine')", "Own: mine"),
    "group": ("raise BaseExceptionGroup('all', [KeyboardInterrupt(), ValueError()])", "BaseExceptionGroup"),
    "runtime": ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
    "str-raises": ("class E(Exception):\n def __str__(self): raise ValueError\nraise E", "E: (a message"),
    "str-exits": ("class E(Exception):\n def __str__(self): raise SystemExit(0)\nraise E", "E: (a message"),
    "str-number": ("class E(Exception):\n def __str__(self): return 5\nraise E", "E: (a message"),
    "type-raises": (
        "class M(type):\n def __getattribute__(c, n): raise KeyError\nclass E(Exception, metaclass=M): pass\nraise E('x')",
        "E: x",
    ),
    "long": ("raise ValueError('x' * 10**6)", "ValueError: xxx"),
    "escapes": ("raise ValueError('\\x1b[31mred\\x1b[0m\\x07')", r"\x1b[31mred"),
    "markup": ("raise ValueError('[red]no[/blue]')", "[red]no[/blue]"),
    "surrogate": ("raise ValueError('\\udcff')", r"\udcff"),
    "not-utf8": ("raise UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'bad')", "UnicodeDecodeError"),
    "memory": ("x = bytearray(10**13)", "MemoryError"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "syntax": ("def (", "SyntaxError"),
    "null": ("x = 1\0", "null byte"),
    "lacks": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "empty": ("", "has no attribute 'Odd'"),
    "property": ("def __getattr__(name): raise SystemExit(name)", "SystemExit: "),
    "warning": ("import warnings\nwarnings.simplefilter('error')\nwarnings.warn('w')", "UserWarning: w"),
    "os-error": ("open('/no/such/file')", "No such file"),
    "stream": ("import sys; sys.stderr = None; raise ValueError('silent')", "ValueError: silent"),
    "closed": ("import sys; sys.stderr.close(); raise ValueError('closed')", "ValueError: closed"),
    "handler": ("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); raise ValueError(1)", "ValueError: 1"),
    "hook": ("import sys; sys.excepthook = print; raise ValueError('hooked')", "ValueError: hooked"),
}  # fmt: skip
"""What a module does at import -> what the one line says of it."""


def stranger(folder: Path, kind: str, source: str, name: str = "odd") -> Path:
    """An installed distribution with one module that registers ``Odd``."""
    return plugin_folder(
        folder / "site", f"[foundry_bench.{kind}]\n{name} = odd_one:Odd\n", {"odd_one": source}
    )


@pytest.mark.parametrize("case", RAISES)
def test_what_is_raised_at_import_is_one_line(tmp_path: Path, case: str) -> None:
    source, says = RAISES[case]
    seen = tried("info", "odd", cwd=tmp_path, plugins=[stranger(tmp_path, "tasks", source)])
    assert_refused(seen, says=["task 'odd' of stranger cannot be imported", says])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["exit-0", "interrupt", "str-raises"])
def test_every_kind_of_plugin_has_the_same_border(tmp_path: Path, kind: str, case: str) -> None:
    source, says = RAISES[case]
    seen = tried("info", "odd", cwd=tmp_path, plugins=[stranger(tmp_path, kind, source)])
    assert_refused(seen, says=[f"{kind.rstrip('s')} 'odd' of stranger", says])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [("info", "tome"), ("data", "list"), ("run", "--help")], ids=" ".join)
def test_a_broken_plugin_breaks_no_other_command(tmp_path: Path, kind: str, command: tuple[str, ...]) -> None:
    seen = tried(*command, cwd=tmp_path, plugins=[stranger(tmp_path, kind, "import sys; sys.exit(0)")])
    assert_harmless(seen)
    assert (seen.code, seen.err) == (0, "")
    assert len(seen.out.splitlines()) > 5


USES = {
    "methods": ("run", "--methods", "odd[x=1]", "--dry-run", "--out", "out"),
    "tasks": ("run", "--methods", "teacher", "--tasks", "odd", "--dry-run", "--out", "out"),
    "teachers": ("run", "--teacher", "odd", "--dry-run", "--out", "out"),
    "datasets": ("run", "--methods", "teacher", "--distill-on", "odd", "--dry-run", "--out", "out"),
    "engines": ("run", "--methods", "teacher", "--engine", "odd", "--no-rehearsal", "--out", "out"),
    "trackers": ("run", "--methods", "teacher", "--track", "odd", "--dry-run", "--out", "out"),
    "runtimes": ("profile", "teacher", "--runtime", "odd"),
}
"""The command that calls a plugin of each kind."""


@pytest.mark.parametrize("kind", USES)
@pytest.mark.parametrize(
    "source", ["import sys; sys.exit(0)", "Odd = 5", "class Odd: pass"], ids=["exits", "5", "class"]
)
def test_what_is_registered_is_held_to_its_contract(tmp_path: Path, kind: str, source: str) -> None:
    seen = tried(*USES[kind], cwd=tmp_path, plugins=[stranger(tmp_path, kind, source)], seconds=60)
    assert_refused(seen, says="odd")


@pytest.mark.parametrize("kind", ["methods", "tasks", "engines", "trackers", "runtimes"])
def test_an_abstract_plugin_is_named_with_its_distribution(tmp_path: Path, kind: str) -> None:
    base = {
        "methods": "foundry_bench.method import Method",
        "tasks": "foundry_bench.task import Task",
        "engines": "foundry_bench.sweep.engines.base import Engine",
        "trackers": "foundry_bench.trackers.base import Tracker",
        "runtimes": "foundry_bench.runtimes.base import Runtime",
    }[kind]
    lacking = "from abc import abstractmethod\nclass Odd(Base):\n    @abstractmethod\n    def spin(self): ..."
    plugin = stranger(tmp_path, kind, f"from {base} as Base\n{lacking}")
    seen = tried(*USES[kind], cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_refused(seen, says=[f"{kind.rstrip('s')} 'odd' of stranger is an abstract class", "spin"])


GIVES = ("5", "None", "'text'", "[1, 2]", "{'points': 3}", "print", "b'bytes'")


@pytest.mark.parametrize("value", GIVES)
def test_what_a_data_set_gives_is_checked(tmp_path: Path, value: str) -> None:
    plugin = stranger(tmp_path, "datasets", f"def Odd(): return {value}")
    seen = tried_call(_load_dataset, "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says=["data set 'odd'", "not PointCloudDataset"])


@pytest.mark.parametrize("value", ["5", "None", "[]", "{}", "print", "b'bytes'"])
def test_what_a_teacher_gives_is_checked(tmp_path: Path, value: str) -> None:
    plugin = stranger(tmp_path, "teachers", f"def Odd(): return {value}")
    seen = tried("info", "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says=["teacher 'odd' of stranger", "not str or Path"])


@pytest.mark.parametrize("value", ["'nowhere'", "'/no/such/folder'", r"'a\\x1bb'"])
def test_a_teacher_that_is_nowhere(tmp_path: Path, value: str) -> None:
    plugin = stranger(tmp_path, "teachers", f"def Odd(): return {value}")
    assert_refused(tried("info", "odd", cwd=tmp_path, plugins=[plugin]), says="does not exist")


CALLS = {
    "exit-0": "raise SystemExit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "error": "return 1 / 0",
    "argument": "return needed",
    "memory": "return bytearray(10**13)",
    "recursion": "return Odd()",
    "str-raises": "raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})()",
    "escape": r"raise OSError('\x1b]0;title\x07')",
}


@pytest.mark.parametrize("case", CALLS)
def test_what_a_data_set_raises_is_one_line(tmp_path: Path, case: str) -> None:
    plugin = stranger(tmp_path, "datasets", f"def Odd(): {CALLS[case]}")
    seen = tried_call(_load_dataset, "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says="dataset 'odd' of stranger cannot be read")


@pytest.mark.parametrize("case", CALLS)
def test_what_a_teacher_raises_is_one_line(tmp_path: Path, case: str) -> None:
    plugin = stranger(tmp_path, "teachers", f"def Odd(): {CALLS[case]}")
    seen = tried("info", "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says="teacher 'odd' of stranger cannot be found")


METHOD = """
from dataclasses import dataclass
from typing import ClassVar
from foundry_bench.method import Method

@dataclass(frozen=True)
class Odd(Method):
    "An odd method."
    name = "odd"
    {0}
    def compress(self, teacher, data, ctx):
        import copy
        return copy.deepcopy(teacher)
"""
METHODS = {
    "variants-number": ("variants = 5", "not tuple"),
    "variants-empty": ("variants = ()", "variants ()"),
    "variants-unknown": ("variants = ('fmd', 'magic')", "magic"),
    "variants-list": ("variants = ['fmd']", "not tuple"),
    "grid-number": ("grid = 5", "grid 5, which is no dict"),
    "grid-value": ("width: int = 1\n    grid = {'width': 5}", "no tuple of values"),
    "grid-unknown": ("grid = {'nothing': (1,)}", "nothing"),
    "other-name": ("name = 'tome'", "calls itself 'tome'"),
    "no-name": ("name = None", "has no name"),
    "init-raises": ("def __post_init__(self): raise SystemExit(0)", "SystemExit: 0"),
    "init-error": ("def __post_init__(self): 1 / 0", "ZeroDivisionError"),
    "params-raise": ("def params(self): raise OSError('no')", "OSError: no"),
    "params-number": ("def params(self): return 5", "cannot be planned"),
    "params-odd": ("def params(self): return {'x': object()}", "cannot be planned"),
    "trained-number": ("def trained(self): return 5", "cannot be planned"),
    "version-odd": ("version = {1, 2}", "no text"),
    "classes-odd": ("def classes(self): return (5,)", "cannot be planned"),
    "shown-exits": ("def shown(self, values): raise SystemExit(0)", "SystemExit: 0"),
    "property": ("variants = property(lambda self: 1 / 0)", "not tuple"),
    "abstract": ("", "is an abstract class that lacks compress"),
}


@pytest.mark.parametrize("case", METHODS)
def test_a_method_that_declares_nonsense_is_one_line(tmp_path: Path, case: str) -> None:
    line, says = METHODS[case]
    source = METHOD.format(line)
    if case == "abstract":
        source = source.replace("def compress", "def squeeze")
    plugin = stranger(tmp_path, "methods", source)
    seen = tried_call(_plan, "odd+fmd" if "variants" not in case else "odd", cwd=tmp_path, plugins=[plugin])
    if seen.code == 0:  # a bare name is a cell that fails, with a warning
        assert_harmless(seen)
        assert says in str(seen.value)
    else:
        assert_refused(seen, says=says)


TASK = """
from dataclasses import dataclass
from foundry_bench.task import Metric, Scores, Task

@dataclass(frozen=True)
class Odd(Task):
    "An odd task."
    name = "odd"
    metrics = (Metric("odd", primary=True),)
    datasets = ("furniture",)
    needs = ()
    {0}
    def evaluate(self, encoder, data, ctx):
        {1}
"""
TASKS = {
    "protocol-raises": ("def protocol(self): raise SystemExit(0)", "SystemExit: 0"),
    "protocol-number": ("def protocol(self): return 5", "cannot be planned"),
    "datasets-number": ("datasets = 5", "not tuple"),
    "datasets-text": ("datasets = 'furniture'", "not tuple"),
    "datasets-unknown": ("datasets = ('no-such-data',)", "no-such-data"),
    "other-name": ("name = 'fewshot'", "calls itself 'fewshot'"),
    "init-exits": ("def __post_init__(self): raise SystemExit(0)", "SystemExit: 0"),
    "init-interrupts": ("def __post_init__(self): raise KeyboardInterrupt", "KeyboardInterrupt"),
    "budget-raises": ("uses_budget = property(lambda self: 1 / 0)", "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", TASKS)
def test_a_task_that_declares_nonsense_is_one_line(tmp_path: Path, case: str) -> None:
    line, says = TASKS[case]
    plugin = stranger(tmp_path, "tasks", TASK.format(line, "return Scores(())"))
    seen = tried(*USES["tasks"], cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_refused(seen, says=says)


SCORES = {
    "number": ("return 0.5", "returned a float"),
    "score": ("return Scores((0.5,))", "a float among the values"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
    "raises": ("1 / 0", "task 'odd' of stranger failed (ZeroDivisionError"),
    "deep": ("encoder.no_such_attribute", "task 'odd' of stranger failed (AttributeError"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher that is loaded at once."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 1, "heads": 2, "groups": 8, "group_size": 4, "points": 64}
    teacher = PointTransformer(EncoderConfig(**sizes, tokenizer_widths=(8, 8, 16)))
    folder = tmp_path_factory.mktemp("teacher")
    save_teacher(teacher.eval(), folder, {})
    return folder


@pytest.mark.parametrize("case", SCORES)
def test_what_a_task_gives_is_checked(tmp_path: Path, tiny: Path, case: str) -> None:
    line, says = SCORES[case]
    plugin = stranger(tmp_path, "tasks", TASK.format("", line))
    where = ("--task", "odd", "--dataset", "procedural[clouds=100]", "--teacher", tiny)
    seen = tried("evaluate", "teacher", *where, cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_refused(seen, says=says)


ENTRY_POINTS = {
    "no-value": b"[foundry_bench.tasks]\nodd\n",
    "words": b"[foundry_bench.tasks]\nthis is no entry point\n",
    "no-group": b"foundry_bench.tasks = odd_one:Odd\n",
    "not-utf8": b"[foundry_bench.tasks]\n\xff\xfe = odd_one:Odd\n",
    "utf16": "[foundry_bench.tasks]\nodd = odd_one:Odd\n".encode("utf-16"),
    "nulls": b"[foundry_bench.tasks]\nodd = odd_one:Odd\0\n",
    "only-nulls": b"foundry_bench.\0\0\0\n",
    "empty": b"",
    "no-module": b"[foundry_bench.tasks]\nodd = \n",
    "only-colon": b"[foundry_bench.tasks]\nodd = :\n",
    "no-name": b"[foundry_bench.tasks]\n = odd_one:Odd\n",
    "spaces": b"[foundry_bench.tasks]\nodd = not a module\n",
    "dots": b"[foundry_bench.tasks]\nodd = ...:Odd\n",
    "parents": b"[foundry_bench.tasks]\nodd = ../../etc/passwd:Odd\n",
    "code": b"[foundry_bench.tasks]\nodd = __import__('os').system('true'):Odd\n",
    "extras": b"[foundry_bench.tasks]\nodd = odd_one:Odd [extra\n",
    "group-open": b"[foundry_bench.tasks\nodd = odd_one:Odd\n",
    "group-odd": b"[foundry_bench.]\nodd = odd_one:Odd\n",
    "group-unknown": b"[foundry_bench.spells]\nodd = odd_one:Odd\n",
    "twice": b"[foundry_bench.tasks]\nodd = odd_one:Odd\nodd = odd_one:Odd\n",
    "long": b"[foundry_bench.tasks]\n" + b"o" * 100_000 + b" = odd_one:Odd\n",
    "many": b"[foundry_bench.tasks]\n" + b"".join(b"o%d = odd_one:Odd\n" % i for i in range(3000)),
}


@pytest.mark.parametrize("case", ENTRY_POINTS)
def test_damaged_entry_points_break_no_command(tmp_path: Path, case: str) -> None:
    plugin = plugin_folder(tmp_path / "site", ENTRY_POINTS[case], {"odd_one": "class Odd: 'Odd.'\n"})
    seen = tried("info", "tome", cwd=tmp_path, plugins=[plugin])
    assert_harmless(seen)
    assert (seen.code, seen.err) == (0, "")


@pytest.mark.parametrize("case", ["no-value", "words", "not-utf8"])
def test_damaged_entry_points_are_told_where_a_name_is_missed(tmp_path: Path, case: str) -> None:
    plugin = plugin_folder(tmp_path / "site", ENTRY_POINTS[case])
    seen = tried(*USES["tasks"], cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says="the entry points of stranger cannot be read")


@pytest.mark.parametrize("case", ["no-module", "only-colon", "spaces", "dots", "parents", "code", "nulls"])
def test_an_entry_point_that_names_nothing_is_one_line(tmp_path: Path, case: str) -> None:
    plugin = plugin_folder(tmp_path / "site", ENTRY_POINTS[case], {"odd_one": ""})
    seen = tried("info", "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says="task 'odd' of stranger cannot be imported")


def test_two_plugins_of_one_name_are_both_named(tmp_path: Path) -> None:
    text = "[foundry_bench.tasks]\nodd = {}:Odd\n"
    plugins = [plugin_folder(tmp_path / name, text.format(name), name=name) for name in ("first", "second")]
    assert_refused(tried("info", "odd", cwd=tmp_path, plugins=plugins), says=["first", "second"])


@pytest.mark.parametrize(
    "metadata", [None, b"", b"\xff\xfe", b"Name: \nVersion: 1", b"Name: [bold]x[/bold]\n", b"Name: \x1b[1m\n"]
)
def test_a_distribution_without_a_name_has_one(tmp_path: Path, metadata: bytes | None) -> None:
    plugin = stranger(tmp_path, "tasks", "import sys; sys.exit(0)")
    file = plugin / "stranger-1.0.dist-info" / "METADATA"
    file.unlink() if metadata is None else file.write_bytes(metadata)
    assert_refused(tried("info", "odd", cwd=tmp_path, plugins=[plugin]), says="task 'odd' of ")


NAMES = (
    "[red]x[/red]y",
    "a[/]b",
    "[link]z",
    "x\x1b[31m",
    "\x07bell",
    "tab\there",
    "é\u202edlrow",
    "*a*|b|",
    "`x`",
    "\\",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_words_of_plugins_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    source = f"def Odd():\n    {'say [bold]' + name + '[/red]'!r}\n"
    plugin = stranger(tmp_path, "teachers", source, name)
    for form in ((), ("--markdown",)):
        seen = tried_call(_listed, *form, cwd=tmp_path, plugins=[plugin], seconds=60)
        assert_harmless(seen)
        assert seen.code == 0
        assert "say [bold]" in seen.out
        assert "small" in seen.out


IMPORTS = {
    "loops": "while True: pass",
    "sleeps": "import time; time.sleep(1000)",
    "joins": "import threading; threading.Event().wait()",
    "exits": "import os; os._exit(0)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "forks": "import os; os.fork()\ndef Odd(): 'odd'",
    "prints": "import os; os.write(1, b'{}\\n' * 1000); print('x' * 10**6)\ndef Odd(): 'odd'",
    "closes": "import os; os.closerange(0, 100)\ndef Odd(): 'odd'",
    "thread": "import threading, time; threading.Thread(target=time.sleep, args=(900,)).start()\ndef Odd(): 'odd'",
    "daemon": "import subprocess; subprocess.Popen(['sleep', '900'])\ndef Odd(): 'odd'",
    "long": "def Odd(): pass\nOdd.__doc__ = 'x' * 10**7",
    "doc-raises": "class M(type):\n    abstract = property(lambda c: 1 / 0)\nclass Odd(metaclass=M): pass",
    "doc-number": "class Odd:\n    abstract, family, paper, variants = 5, [1], 'x', {1: 2}",
    "exit-0": "import sys; sys.exit(0)",
}


@pytest.mark.parametrize("case", IMPORTS)
def test_list_ends_whatever_an_import_does(tmp_path: Path, case: str) -> None:
    plugin = stranger(tmp_path, "teachers", IMPORTS[case])
    seen = tried_call(_listed, cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_harmless(seen)
    assert seen.code == 0
    assert "odd" in seen.out
    assert "small" in seen.out


def test_list_tells_of_damaged_entry_points(tmp_path: Path) -> None:
    plugin = plugin_folder(tmp_path / "site", ENTRY_POINTS["no-value"])
    seen = tried_call(_listed, cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_harmless(seen)
    assert seen.lines() == [
        line for line in seen.lines() if line.startswith("warning: the entry points of stranger")
    ]


def _load_dataset(name: str) -> object:
    from foundry_bench.datasets.catalog import load_dataset

    return load_dataset(name)


def _plan(method: str) -> list[str]:
    """Plan a sweep of one method; what it warns of."""
    from foundry_bench.sweep.config import SweepConfig
    from foundry_bench.sweep.plan import plan

    return plan(SweepConfig.from_sources(None, {"methods": method, "tasks": "fewshot"})).warnings


def _listed(*options: str) -> None:
    """``list teachers`` with little patience, and without the import of torch, which no plugin here needs."""
    from foundry_bench.cli import main
    from foundry_bench.descriptions import asking

    asking.FIRST, asking.OTHERS = "json", 8.0
    main(["list", "teachers", *options])


WAITS = {
    "loops": "while True: pass",
    "sleeps": "import time; time.sleep(1000)",
    "joins": "import threading; threading.Event().wait()",
    "swallows": "import time\nfor _ in range(1):\n    try: time.sleep(1000)\n    except BaseException: pass\nraise ValueError",
    "swallows-errors": "while True:\n    try: 1 / 0\n    except Exception: pass",
    "pipe": "import os; os.read(os.pipe()[0], 1)",
    "locks": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
}


@pytest.mark.parametrize("case", WAITS)
def test_an_import_that_does_not_end_is_ended(tmp_path: Path, case: str) -> None:
    plugin = stranger(tmp_path, "teachers", WAITS[case])
    seen = tried_call(_impatient, "info", "odd", cwd=tmp_path, plugins=[plugin])
    says = "ValueError" if case == "swallows" else "its import does not end within 1 seconds"
    assert_refused(seen, says=["teacher 'odd' of stranger cannot be imported", says])


@pytest.mark.parametrize("kind", USES)
def test_no_command_waits_for_an_import_for_ever(tmp_path: Path, kind: str) -> None:
    plugin = stranger(tmp_path, kind, WAITS["loops"])
    seen = tried_call(_impatient, *USES[kind], cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_refused(seen, says="'odd' of stranger cannot be imported (its import does not end")


def _impatient(*command: str) -> None:
    """A command that waits a second for an import, and half a second for its end."""
    from foundry_bench import registry
    from foundry_bench.beforehand import watchdog
    from foundry_bench.cli import main

    registry.IMPORT, registry.PATIENCE, watchdog.LATER = 1.0, 0.5, 0.5  # type: ignore[misc]
    sys.argv = ["foundry-bench", *command]
    main()


KEEPS = {
    "swallows": "while True:\n    try: import time; time.sleep(1000)\n    except BaseException: pass",
    "recurses": "def f():\n    try: f()\n    finally: f()\nf()",
    "takes-the-alarm": "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ntime.sleep(1000)",
    "stops-the-timer": "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\ntime.sleep(1000)",
    "waits-in-c": "import ctypes\nwhile True: ctypes.CDLL(None).sleep(1000)",
}
"""Imports that no exception ends."""


@pytest.mark.parametrize("case", KEEPS)
def test_an_import_that_keeps_the_process_ends_with_it(tmp_path: Path, case: str) -> None:
    plugin = stranger(tmp_path, "teachers", KEEPS[case])
    seen = tried_call(_impatient, "info", "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(
        seen, says=["teacher 'odd' of stranger cannot be imported", "does not end within 1 seconds"]
    )


def test_an_import_that_lets_no_thread_run_ends_with_the_process(tmp_path: Path) -> None:
    source = "import collections, itertools; collections.deque(itertools.repeat(0), maxlen=0)"
    plugin = stranger(tmp_path, "teachers", source)
    seen = tried_call(_impatient, "info", "odd", cwd=tmp_path, plugins=[plugin])
    assert seen.code == -signal.SIGKILL
    assert len(seen.lines()) == 1
    assert "teacher 'odd' of stranger cannot be imported (its import does not end" in seen.err
    assert seen.seconds < seen.limits[0]
    assert not seen.left


def test_an_import_never_ends_a_process_that_is_not_a_command(tmp_path: Path) -> None:
    source = "import time\nfor _ in range(2):\n    try: time.sleep(1000)\n    except BaseException: pass\n"
    plugin = stranger(tmp_path, "teachers", f"{source}def Odd(): 'odd'")
    seen = tried_call(_loaded_impatiently, cwd=tmp_path, plugins=[plugin])
    assert_harmless(seen)
    assert (seen.code, seen.value) == (0, "odd")


def _loaded_impatiently() -> str | None:
    """The description of a plugin whose import may take no time at all."""
    from foundry_bench import registry

    registry.IMPORT = registry.PATIENCE = 0.1  # type: ignore[misc]
    return registry.load("teachers", "odd").__doc__


def test_the_timer_of_a_caller_goes_on() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with in_time(0.1, "it"), pytest.raises(LateError, match="it does not end"):
            time.sleep(5)
        with in_time(5, "it"):
            time.sleep(0.01)
        time.sleep(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came == [signal.SIGALRM]


DATA = """
from dataclasses import replace
from foundry_bench.datasets import load_pretrain

def Odd():
    return replace(load_pretrain(), {0})
"""


@pytest.mark.parametrize("field", ["points=5", "labels=None", "paths=5", "sha256=5"])
def test_what_is_in_a_data_set_is_checked(tmp_path: Path, field: str) -> None:
    plugin = stranger(tmp_path, "datasets", DATA.format(field))
    seen = tried_call(_load_dataset, "odd", cwd=tmp_path, plugins=[plugin])
    assert_refused(seen, says=["data set 'odd'", field.partition("=")[0]])


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "EOFError", "SystemExit(0)"])
def test_what_a_method_raises_is_no_interruption(tmp_path: Path, tiny: Path, error: str) -> None:
    plugin = stranger(tmp_path, "methods", METHOD.format(f"def configure(self, student): raise {error}"))
    where = ("--dataset", "procedural[clouds=100]", "--teacher", tiny)
    seen = tried("profile", "odd", *where, cwd=tmp_path, plugins=[plugin], seconds=60)
    assert_refused(seen, says="method 'odd' of stranger failed")


def test_a_teacher_with_a_name_that_no_system_takes(tmp_path: Path) -> None:
    plugin = stranger(tmp_path, "teachers", "def Odd(): return 'a' * 5000")
    assert_refused(tried("info", "odd", cwd=tmp_path, plugins=[plugin]), says="does not exist")
