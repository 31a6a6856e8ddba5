"""Configurations, selectors, outputs, devices, seeds and derived files with odd content: one line, before work."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from door import assert_harmless, assert_refused, tried, tried_call

SWEEPS = {
    "seeds: 1.5": "seeds",
    "seeds: 0": "seeds",
    "seeds: true": "seeds",
    "seeds: '3'": "seeds",
    "seeds: [1]": "seeds",
    "seeds: 2026-01-01": "seeds",
    f"seeds: {10**30}": "seeds",
    "seeds: null": "seeds",
    "jobs: 1.5": "jobs",
    "jobs: -1": "jobs",
    "threads: 0": "threads",
    "memory: .nan": "memory",
    "memory: .inf": "memory",
    "memory: 0": "memory",
    "timeout: .nan": "timeout",
    "timeout: -.inf": "timeout",
    "timeout: {}": "timeout",
    "device: 3": "device",
    "device: ''": "device",
    "device: zzz": "device",
    "device: meta": "device",
    "device: 'cpu:1'": "write cpu",
    "dataset: ''": "dataset",
    "track: ','": "track",
    "device: 'cuda:-1'": "device",
    "tasks: []": "tasks",
    "tasks: null": "tasks",
    "tasks: [1]": "tasks",
    "tasks: ['']": "tasks",
    "methods: []": "methods",
    "methods: {a: 1}": "methods",
    "methods: .nan": "methods",
    "methods: ['foundry[supertokens=.nan]']": "supertokens",
    "methods: ['foundry[supertokens=nan]']": "supertokens",
    "methods: ['foundry[supertokens=1e400]']": "supertokens",
    "methods: ['foundry[']": "foundry[",
    "budget: 3": "budget",
    "budget: [quick]": "budget",
    "budget: quik": "did you mean 'quick'",
    "engine: null": "engine",
    "engine: 7": "engine",
    "engine: 'local[x=1]'": "local",
    "teacher: 5": "teacher",
    "dataset: 5": "dataset",
    "distill_on: {}": "distill_on",
    "data_root: 1": "data_root",
    "track: 3": "track",
    "tables: 3": "tables",
    "tables: {a: {methods: [], tasks: fewshot}}": "methods",
    "tables: {a: {methods: teacher, tasks: 3}}": "tasks",
    "tables: {3: {methods: teacher, tasks: fewshot}}": "name",
    "seedz: 3": "did you mean 'seeds'",
    "1: 2": "keys and values",
    "[]": "keys and values",
    "": "keys and values",
    "a: [": "cannot read",
    "seeds: 0x" + "f" * 5000: "seeds",
    "seeds: " + "9" * 5000: "cannot read",
    "methods: teacher\nmethods: tome": "'methods' stands twice",
    "tables: {a: {methods: x, tasks: y, tasks: z}}": "'tasks' stands twice",
    "--- {seeds: 1}\n--- {seeds: 2}": "cannot read",
    "methods: !!binary aGFsbG8=": "methods",
    "methods: !!set {teacher}": "methods",
    "? [a]\n: 1": "cannot read",
    "methods: &a [x, x]\ntasks: &b [*a, *a]\ndevice: &c [*b, *b]\nbudget: [*c, *c]": "tasks",
    "a: !!python/object/apply:os.system [x]": "cannot read",
    "\x00": "cannot read",
    "[" * 3000: "a.yaml",
    "seeds: 1000000": "--yes",
    f"methods: ['foundry[supertokens={','.join(map(str, range(1, 20001)))}]']": "--yes",
    "seeds: &a [*a]": "seeds",
    "x" * (2**20 + 1): "larger",
}


@pytest.mark.parametrize("text", SWEEPS, ids=lambda text: text[:40].encode("unicode_escape").decode())
def test_an_odd_sweep_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    seen = tried("run", "--config", "a.yaml", "--dry-run", cwd=tmp_path)
    assert_refused(seen, says=SWEEPS[text])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml"]


@pytest.mark.parametrize("file", ["/dev/zero", "/proc/self", "missing.yaml"])
def test_what_is_no_file_is_not_read_as_one(file: str, tmp_path: Path) -> None:
    assert_refused(tried("run", "--config", file, cwd=tmp_path), says="cannot read")


EMPTY = {
    "run": ("run", "--out", ""),
    "config": ("run", "--config", ""),
    "distill": ("distill", "--method", "foundry", "-o", ""),
    "pretrain": ("pretrain", "--out", ""),
    "report": ("report", ""),
    "status": ("status", ""),
    "clean": ("clean", ""),
    "compare": ("compare", "", ""),
    "leaderboard": ("leaderboard", ""),
    "verify": ("data", "verify", "kicad", "--root", ""),
}


@pytest.mark.parametrize("case", EMPTY)
def test_an_empty_path_is_not_the_folder_one_is_in(case: str, tmp_path: Path) -> None:
    assert_refused(tried(*EMPTY[case], cwd=tmp_path), says="must be the path of a file or folder")
    assert list(tmp_path.iterdir()) == []


ANSWERS = {b"n\n": 2, b"\n": 2, b"\x04": 130, b"\x03": 130, b"what\nn\n": 2}


@pytest.mark.parametrize("answer", ANSWERS, ids=ascii)
def test_a_person_at_a_terminal_is_asked_before_a_large_plan(answer: bytes, tmp_path: Path) -> None:
    seen = tried_call(_asked, answer, cwd=tmp_path, seconds=60)
    assert_harmless(seen)
    code, shown = seen.value
    assert code == ANSWERS[answer]
    assert "about 100,000 cells" in shown
    assert "plan them all? [y/N]" in shown
    assert "Traceback" not in shown


def _asked(answer: bytes) -> tuple[int, str]:
    """The exit code of a large plan and what a terminal shows, where a person gives ``answer``, and again while nothing
    happens: a Ctrl-C just before the program begins to read waits for the next key."""
    pid, terminal = pty.fork()
    if pid == 0:
        from foundry_bench.cli import main

        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            main(["run", "--methods", "teacher", "--tasks", "fewshot", "--seeds", "20000", "--dry-run"])
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(int(end.code or 0))
    shown = b""
    with suppress(OSError):  # the other side is closed
        while True:
            ready, _, _ = select.select([terminal], [], [], 1.0)
            if ready:
                shown += os.read(terminal, 4096)
            elif b"[y/N]" in shown:
                os.write(terminal, answer)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


OUTPUTS = ["/proc/x/y", "/dev/null/x", "/etc/passwd/x", "a" * 300, "a/" * 3000, "loop", "file"]
COMMANDS = {
    "run": ("run", "--methods", "teacher", "--out"),
    "distill": ("distill", "--method", "foundry[supertokens=4]", "-o"),
    "pretrain": ("pretrain", "--out"),
}


@pytest.mark.parametrize("out", OUTPUTS, ids=lambda out: out[:20])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_written_is_refused_before_work(
    command: str, out: str, tmp_path: Path
) -> None:
    os.symlink("loop", tmp_path / "loop")
    (tmp_path / "file").write_text("")
    assert_refused(tried(*COMMANDS[command], out, cwd=tmp_path), says="choose another --out")


@pytest.mark.parametrize("seed", ["-1", str(10**30)])
def test_a_seed_that_no_generator_takes_is_refused(seed: str, tmp_path: Path) -> None:
    seen = tried("distill", "--method", "foundry", "-o", "new", f"--seed={seed}", cwd=tmp_path)
    assert_refused(seen, says="seed")


PRETRAININGS = [
    "steps: 1.5",
    "lr: .nan",
    "keep: [0, 2]",
    "keep: [0]",
    "weights: {contrast: -1}",
    "crop: 0",
    "ema: x",
]


@pytest.mark.parametrize("text", PRETRAININGS)
def test_an_odd_pretraining_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    seen = tried("pretrain", "--out", "new", "--config", "a.yaml", cwd=tmp_path)
    assert_refused(seen, says=text.partition(":")[0].replace("weights", "contrast"))


INDEXES = ['{"version":1,"entries":null}', "[]", "{", "[" * 10**5, '{"sha256":"x","content":{}}', "null"]


@pytest.mark.parametrize("place", [".cache/index.json", "cells/plan.json"])
@pytest.mark.parametrize("text", INDEXES, ids=range(len(INDEXES)))
def test_an_odd_index_or_plan_is_made_again(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / place).write_text(text)
    for command in ("report", "status"):
        assert_refused(tried(command, ".", cwd=tmp_path), says="foundry-bench run")


@pytest.mark.parametrize(
    ("kind", "says"),
    [("loop", "holds no results"), ("folder", "no record of . can be used"), ("file", "is not a folder")],
)
def test_records_that_are_no_files_count_as_missing(kind: str, says: str, tmp_path: Path) -> None:
    record = tmp_path / "cells" / "student" / f"{'0' * 64}.json"
    record.parent.mkdir(parents=True)
    if kind == "loop":
        record.symlink_to(record.name)
    elif kind == "folder":
        record.mkdir()
    else:
        record.parent.rmdir()
        record.parent.write_text("")
    seen = tried("report", ".", cwd=tmp_path)
    assert_harmless(seen)
    assert_refused(seen, says=says)
