"""Names of code on the pages lead to the code: `` `billy/submission.py:Submitter.perform` `` to its line.

Sphinx's own viewcode links what autodoc describes, and Billy is a server and no library to be described so. The files
that are named are pages of the site, so no address of a repository is needed. A name that is not there is a warning.

The files beside the pages, such as CHANGELOG.md, are included in pages of their own; links to them lead there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

CHECKOUT = Path(__file__).parents[1]
NAME = re.compile(r"(?P<path>(?:alembic|benchmarks|billy|docs|fuzz|tests|torture)/[\w./]+\.py)(?::(?P<name>[\w.]+))?")
BESIDE = re.compile(r"(?<=\]\()\.\./([A-Z]+)\.md(?=[#)])")
PAGES = "code"
"""Where the files stand in the site."""

log = logging.getLogger(__name__)


def line_of(path: str, name: str | None) -> int | None:
    """The line of a file that defines a function, class, method or constant; None if there is none."""
    if not (CHECKOUT / path).is_file():
        return None
    line, body = 1, _syntax(path).body
    for part in name.split(".") if name else ():
        found = next((node for node in body if part in _defined(node)), None)
        if found is None:
            return None
        line, body = found.lineno, getattr(found, "body", [])
    return line


@cache
def _syntax(path: str) -> ast.Module:
    return ast.parse((CHECKOUT / path).read_text())


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


class Link(SphinxPostTransform):
    """Makes a link of each name."""

    default_priority = 500

    def run(self, **options: Any) -> None:
        """Look at all literals of a page."""
        up = "../" * self.env.docname.count("/")
        for literal in list(self.document.findall(nodes.literal)):
            match = NAME.fullmatch(literal.astext())
            if match is None or isinstance(literal.parent, nodes.reference):
                continue
            line = line_of(match["path"], match["name"])
            if line is None:
                log.warning("there is no %s", literal.astext(), location=literal)
                continue
            uri = f"{up}{PAGES}/{match['path']}.html#line-{line}"
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=uri, internal=True))


def code_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The files that are named anywhere, as pages with an anchor at each line."""
    if not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    texts = [app.env.doc2path(name).read_text() for name in app.env.found_docs]
    texts += [path.read_text() for path in CHECKOUT.glob("*.md")]  # some are included
    paths = {match["path"] for text in texts for match in NAME.finditer(text) if (CHECKOUT / match["path"]).is_file()}
    for path in sorted(paths):
        code = app.builder.highlighter.highlight_block(
            (CHECKOUT / path).read_text(), "python", linenos="inline", lineanchors="line"
        )
        yield f"{PAGES}/{path}", {"title": path, "body": f"<h1>{path}</h1>\n{code}"}, "page.html"


def link_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead ``../SECURITY.md``, which is right in a checkout, to the page that includes it."""
    source[0] = BESIDE.sub(lambda match: f"/{match[1].lower()}.md", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Have names linked and their files shown."""
    app.connect("source-read", link_pages)
    app.add_post_transform(Link)
    app.connect("html-collect-pages", code_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
