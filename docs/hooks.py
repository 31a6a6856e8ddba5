"""What MkDocs needs to know of this repository: its pages outside ``docs/``, its notebooks, and how docstrings name other
objects.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("results/README.md", "results/teacher-search/README.md"),
)
"""Pages that lie elsewhere in the repository, where they are read without the site."""
LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|mailto:|#)(?P<path>[^)#\s]+)(?P<rest>[^)]*)\)"
)
ROLE = re.compile(r":[a-z]+:`(?P<tilde>~?)(?P<target>[^`]+)`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of :data:`OUTSIDE`, and a page for every notebook."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=_written(notebook)))
    return files


def _written(notebook: Path) -> str:
    """The cells of a notebook as a page, with a link to the notebook behind its title."""
    title, *cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    heading, _, rest = "".join(title["source"]).partition("\n")
    parts = [heading, f"[The notebook]({notebook.name}) for Jupyter.", rest]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links are written as they lead through the repository: make them lead through the site, and of one to a file that the
    site does not have only its text remain.
    """
    here = page.file.src_uri
    start = posixpath.dirname(here if here in OUTSIDE else f"docs/{here}")

    def within(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(start, found["path"]))
        file = target.removeprefix("docs/")
        if files.get_file_from_path(file) is None and (ROOT / target).is_file():
            return found["text"]
        path = posixpath.relpath(file, posixpath.dirname(here) or ".")
        return f"{found['image']}[{found['text']}]({path}{found['rest']})"

    return LINK.sub(within, markdown)


class Roles(Extension):
    """Docstrings name objects as Sphinx does, ``:class:`~package.module.Name```: shows the name as code."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of what was read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(_name, obj.docstring.value)


def _name(found: re.Match[str]) -> str:
    target = found["target"]
    return f"`{target.rpartition('.')[2] if found['tilde'] else target}`"
