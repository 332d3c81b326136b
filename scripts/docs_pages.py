"""Pages of the documentation that are made from other files; a hook of mkdocs.

README.md becomes the first page, and the public names of ``rnp_core`` become the reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "DEVELOPMENT.md": "development.md",
    "CHANGELOG.md": "changelog.md",
}

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)\s]*\)")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Mapping[str, Any]) -> Any:
    """Add the made pages to the files of the site."""
    from mkdocs.structure.files import File

    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=page(source)))
    files.append(File.generated(config, "reference.md", content=reference()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page of docs/ that lead out of it become plain text."""
    return _OUTSIDE.sub(r"\1", markdown)


def page(source: str) -> str:
    """A page of the repository's root, its links turned into links of the site.

    What the site does not hold (folders, other files) becomes plain text.
    """

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1].removeprefix("./"), found[2] or ""
        if target in PAGES:
            return f"]({PAGES[target]}{anchor})"
        if target.startswith("docs/") and (ROOT / target).is_file():
            return f"]({target.removeprefix('docs/')}{anchor})"
        return "](#)"

    text = (ROOT / source).read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]*)\]\(#\)", r"\1", _LINK.sub(link, text))


def reference() -> str:
    """One entry for every public name of the package, in its order and groups."""
    from rnp_core import _PLACES

    lines = [
        "# Library",
        "",
        "Every name is imported from `rnp_core`, for example `from rnp_core import scan`.",
    ]
    by_module: dict[str, list[str]] = {}
    for name, module in _PLACES.items():
        by_module.setdefault(module, []).append(name)
    for module, names in by_module.items():
        lines += ["", f"## {module}", ""]
        lines += [f"::: rnp_core.{module}.{name}\n" for name in names]
    return "\n".join(lines) + "\n"
