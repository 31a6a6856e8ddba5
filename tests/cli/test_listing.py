"""``list`` imports no plugin: what it shows was learned by another process, which a plugin may hang or end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry_bench import registry
from foundry_bench.cli import main
from foundry_bench.cli.listing import markdown_table
from foundry_bench.descriptions import asking, known
from foundry_bench.descriptions.description import Description
from foundry_bench.descriptions.known import described, families

GOOD = """
class Good:
    "Not shown, for there is an abstract."
    family, abstract, paper, variants = "merge", "does [good] | better", None, ("fmd",)
"""
BROKEN = {
    "raises": ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
    "lacks": ("import no_such_module", "No module named 'no_such_module'"),
    "unreadable": ("def (", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "dies": ("import os; os._exit(4)", "ends the process with code 4"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "ends the process with code -9"),
    "hangs": ("while True: pass", "does not end within"),
    "sleeps": ("import time; time.sleep(1000)", "does not end within"),
    "empty": ("", "has no attribute 'Good'"),
}
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts methods, module -> source, into a folder of installed distributions, in a world with a cache of its own."""
    site = tmp_path / "site"
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        asking, "FIRST", "json"
    )  # most plugins here do without torch, whose import takes seconds
    monkeypatch.syspath_prepend(str(site))

    def put(entries: dict[str, str], files: dict[str, str]) -> Path:
        info = site / "some_plugins-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugins\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[foundry_bench.methods]", *lines, ""]))
        for name, text in files.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
        registry._installed.cache_clear()
        return site

    return put


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that a process was asked for."""
    names: list[str] = []

    def counted(entries: list[registry.EntryPoint]) -> list[known.Description | None]:
        names.extend(entry.name for entry in entries)
        return asking.ask(entries)

    monkeypatch.setattr(known, "ask", counted)
    return names


def test_tasks_say_whether_they_are_run_without_being_named(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = described("tasks", ["onepatch", "classification"])
    assert [task.default for task in tasks.values()] == [True, False]
    rows = list(markdown_table("tasks", tasks))
    assert rows[0] == "| task | default | what it is |"
    assert any(row.startswith("| `classification` | by name | ") for row in rows)
    assert any(row.startswith("| `onepatch` | yes | ") for row in rows)
    with pytest.raises(SystemExit):
        main(["info", "onepatch"])
    assert "run without --tasks: True" in capsys.readouterr().out


def test_broken_plugins_have_their_rows_and_break_no_other(
    install: Install, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patience = asking.OTHERS
    monkeypatch.setattr(asking, "OTHERS", 6.0)
    sources = {f"{name}_module.py": text for name, (text, _) in BROKEN.items()}
    values = {name: f"{name}_module:Good" for name in BROKEN}
    good = {"aaa": "good_module:Good", "zzz": "good_module:Good"}
    install({**values, **good, "absent": "absent_module:Good"}, {**sources, "good_module.py": GOOD})
    names = [*BROKEN, *good, "absent"]
    first = described("methods", names)
    for name, (_, error) in BROKEN.items():
        assert error in str(first[name].error)
        assert f"method {name!r} of some-plugins cannot be imported" in str(first[name].error)
    assert "absent_module" in str(first["absent"].error)
    assert {first[name].abstract for name in good} == {"does [good] | better"}
    assert sorted(asked) == sorted(names)
    asked.clear()
    assert described("methods", names) == first
    assert asked == [], "errors are kept too"
    monkeypatch.setattr(asking, "OTHERS", patience)
    monkeypatch.setattr(asking, "FIRST", "torch")
    with pytest.raises(SystemExit) as end:
        main(["list", "methods"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "does [good] | better" in out
    assert out.count("broken:") == len(BROKEN) + 1
    assert "tome" in out
    assert families(["hangs", "aaa", "aaa+int8", "nobody"]) == {
        "hangs": None,
        "aaa": "merge",
        "aaa+int8": "merge",
        "nobody": None,
    }
    rows = list(markdown_table("methods", first))
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)


def test_a_plugin_that_prints_or_starts_threads_is_described(install: Install) -> None:
    noise = "import threading, time, os\nprint('noise'); os.write(1, b'{}')\n"
    thread = "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
    install({"noisy": "noisy:Good"}, {"noisy.py": noise + thread + GOOD})
    start = time.monotonic()
    assert described("methods", ["noisy"])["noisy"].family == "merge"
    assert time.monotonic() - start < asking.OTHERS / 2


@pytest.mark.parametrize(
    ("value", "edited"),
    [("alone:Good", "alone.py"), ("pack:Good", "pack/inner.py"), ("pack.sub.deep:Good", "pack/inner.py")],
)
def test_what_is_edited_is_described_anew(
    install: Install, asked: list[str], value: str, edited: str
) -> None:
    files = {"alone.py": GOOD, "pack/__init__.py": "from pack.inner import Good", "pack/inner.py": GOOD}
    files |= {"pack/sub/__init__.py": "", "pack/sub/deep.py": "from pack.inner import Good"}
    site = install({"it": value}, files)
    assert described("methods", ["it"])["it"].family == "merge"
    (site / edited).write_text(GOOD.replace("merge", "drop"))
    assert described("methods", ["it"])["it"].family == "drop"
    described("methods", ["it"])
    assert asked == ["it", "it"]


def test_an_error_is_asked_for_again_when_something_was_installed(install: Install, asked: list[str]) -> None:
    site = install({"needy": "needy:Good"}, {"needy.py": "import companion\n" + GOOD})
    assert described("methods", ["needy"])["needy"].error
    (site / "companion.py").write_text("")
    (site / "companion-1.0.dist-info").mkdir()
    assert described("methods", ["needy"])["needy"].error is None


@pytest.mark.parametrize("spoiled", [b"", b"[]", b"\xff", b'{"a": ', b'{"a": 1}', None])
def test_a_spoiled_cache_is_written_again(install: Install, asked: list[str], spoiled: bytes | None) -> None:
    install({"it": "alone:Good"}, {"alone.py": GOOD})
    first = described("methods", ["it"])
    file = known.cache_file()
    keys = json.loads(file.read_bytes())
    strange = json.dumps({key: {"day": 1, "description": {"paper": 3}} for key in keys}).encode()
    file.write_bytes(strange if spoiled is None else spoiled)
    assert described("methods", ["it"]) == first
    assert described("methods", ["it"]) == first
    assert asked == ["it", "it"]


def test_a_cache_that_cannot_be_written_is_no_error(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install({"it": "alone:Good"}, {"alone.py": GOOD})
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path / "a-file" / "cache"))
    assert described("methods", ["it"])["it"].family == "merge"


def test_list_imports_neither_torch_nor_a_plugin(install: Install) -> None:
    install({}, {})
    described("methods")
    code = (
        "import sys\nfrom foundry_bench.cli import cli\n"
        "cli.main(['list', 'methods'], standalone_mode=False)\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy') or m.startswith('foundry_bench.methods')]\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tome" in done.stdout


def test_info_shows_family_paper_and_abstract(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["info", "tome"])
    out = capsys.readouterr().out
    assert "family: merge" in out
    assert "paper: Token Merging: Your ViT But Faster (arXiv 2210.09461)" in out
    assert "abstract: merges the most similar tokens in every block" in out


def test_a_busy_machine_does_not_make_a_built_in_method_broken_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOUNDRY_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(known, "_read_here", lambda entry: None)  # as where the source does not tell
    answers = [Description(error="its import does not end"), Description(abstract="merges", family="merge")]
    monkeypatch.setattr(known, "ask", lambda entries: [answers.pop(0) for _ in entries])
    assert "its import does not end" in str(described("methods", ["tome"])["tome"].error)
    assert described("methods", ["tome"])["tome"].error is None
    assert described("methods", ["tome"])["tome"].abstract == "merges", "kept, so not asked for again"
