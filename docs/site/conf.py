"""The documentation as a site: `make docs`. Nothing is fetched, when it is built or when it is read."""

import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "src" / "smalti" / "recipes"
# links to what the site does not hold (source, folders of results) are shown as words
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")

CONTENTS = """
```{toctree}
:hidden:
:caption: Use it

gallery
studio
tasks
training
recipes
importing
exporting
integrations
```

```{toctree}
:hidden:
:caption: From Python

api
reference
```

```{toctree}
:hidden:
:caption: Trust it

evaluating
performance
scale
reliability
tuning
experiments
```

```{toctree}
:hidden:
:caption: How it is built

design
map
status
log
```
"""

project = "smalti"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["benchmarks", "experiments", "site"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]
autodoc_typehints = "signature"
default_role = "code"  # what docstrings have in backticks
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": "Module"}
html_theme = "furo"
html_title = "smalti"
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#26478d", "color-brand-content": "#26478d"},
    "dark_css_variables": {"color-brand-primary": "#9db8f2", "color-brand-content": "#9db8f2"},
}


def setup(app: Sphinx) -> None:
    """Write the pages that are made of other files before any is read, and read all without dead ends."""
    app.connect("builder-inited", made)
    app.connect("source-read", within)


def made(app: Sphinx) -> None:
    """Make the start of README, and a page on which every recipe stands whole."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = re.sub(r"\]\(docs/", "](", readme)
    folder = Path(app.srcdir)
    (folder / "index.md").write_text(f"{start}\n{CONTENTS}", encoding="utf-8")
    (folder / "recipes.md").write_text("\n".join(recipes()), encoding="utf-8")


def within(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links that lead out of the site into words."""

    def kept(found: re.Match[str]) -> str:
        page = Path(app.srcdir) / name
        return found[0] if (page.parent / found[2]).is_file() else found[1]

    source[0] = LINK.sub(kept, source[0])


def recipes() -> Iterator[str]:
    """Give the lines of the page of recipes."""
    yield "# Recipes\n\n`smalti recipes` lists them, `smalti train NAME KEY=VALUE ...` takes them.\n"
    for path in sorted(RECIPES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        yield f"## {path.stem}\n\n{text.splitlines()[0].lstrip('# ')}\n\n```yaml\n{text}```\n"
