"""How Sphinx makes the site of these pages: `make docs`. Nothing is fetched, neither now nor by a reader's browser."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from billy.api.openapi import version as version_of_billy

project = "Billy"
author = "The Billy developers"
copyright = "The Billy developers, MIT licence"
version = release = version_of_billy()

extensions = ["myst_parser", "code_links", "printed"]
exclude_patterns = ["_build", "examples"]
nitpicky = True
highlight_language = "none"  # a block says what it is in

myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Billy {release}"
html_copy_source = False
html_show_sphinx = False
