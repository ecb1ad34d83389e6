"""Configuration of the documentation: Sphinx with MyST (Markdown) and NumPy docstrings."""

import re

import mantid_insgan

project = "mantid-insgan"
author = "The mantid-insgan developers"
copyright = author
release = version = mantid_insgan.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"mantid-insgan {release}"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"

#: In docstrings |Q| is a modulus and *grid a shape; reStructuredText would take them for a substitution and emphasis.
_MARKUP = re.compile(r"`.*?`|(?<!\\)\||(?<=[ (])\*(?=\w[^*]*$)")


def _plain(found: re.Match) -> str:
    return found[0] if found[0].startswith("`") else "\\" + found[0]


def _escape(app, what, name, obj, options, lines):
    lines[:] = [_MARKUP.sub(_plain, line) for line in lines]


def setup(app):
    """Sphinx calls it; the priority puts it after napoleon."""
    app.connect("autodoc-process-docstring", _escape, priority=600)
