"""Configuration of the documentation: Sphinx with MyST (Markdown) and NumPy docstrings."""

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
