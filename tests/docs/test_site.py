"""The documentation is a site that builds without a warning, with every page in its navigation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_builds_and_every_warning_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    for page in (
        "index.html",
        "results/index.html",
        "results/teacher-search/index.html",
        "notebooks/write-a-method/index.html",
    ):
        assert (tmp_path / page).is_file(), page
    reference = (tmp_path / "api" / "index.html").read_text()
    for name in ("distill", "run_sweep", "Method", "Patches", "check_method"):
        assert (
            f'<span class="doc doc-object-name doc-function-name">{name}</span>' in reference
            or name in reference
        )
    assert ":class:" not in reference


def test_every_page_stands_once_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = re.findall(r"[\w/-]+\.md$", nav, re.MULTILINE)
    assert pages
    assert len(pages) == len(set(pages))
